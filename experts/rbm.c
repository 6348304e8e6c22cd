/* rbm(v | file), rbm(v, h | file): a restricted Boltzmann machine, unnormalised.
 *
 * Binary units: log p(v, h) = b'v + c'h + v'W h, log p(v) = b'v + sum_j log(1 + exp(c_j + (v'W)_j)), which is minus the
 * free energy (Hinton 2012, "A practical guide to training restricted Boltzmann machines", equations 5 and 25).
 * Real v: Gaussian visible units, log p(v, h) = -sum_i (v_i - b_i)^2 / (2 sd_i^2) + c'h + (v / sd^2)'W h (Cho, Ilin and
 * Raiko 2011, "Improved learning of Gaussian-Bernoulli restricted Boltzmann machines", equation 1), in which v given h
 * is normal with mean b + W h. Proper whatever the numbers. All arithmetic is in double.
 */
#include "experts/rbm.h"

#include "experts/boltzmann_read.h"
#include "experts/list.h"

static const poe_param rbm_params[] = {
    {"file", POE_ARG_FILE, "", NULL, "safetensors or npz with W, b, c (and sd)"},
    {"tensors", POE_ARG_STRINGS, "", NULL, "names of W, b, c (and sd) in the file, when they are others"},
    {"W", POE_ARG_REAL, "visible,hidden", NULL, "couplings"},
    {"b", POE_ARG_REAL, "visible", "0", "bias of the visible units; their centre when they are real"},
    {"c", POE_ARG_REAL, "hidden", "0", "bias of the hidden units"},
    {"sd", POE_ARG_REAL, "visible", "1", "real visible units: their standard deviations given the hidden ones"},
    {0},
};

static const poei_boltzmann_names rbm_names = {
    .most = 1, .least = 1, .weight = {"W"}, .bias = {"b", "c"}, .gaussian = true};

static poe_status rbm_create(const poe_args *args, void **self, poe_error *error) {
  poei_boltzmann *machine = NULL;
  poe_status status = poei_boltzmann_read(args, &rbm_names, &machine, error);
  if (status == POE_OK) {
    *self = machine;
  }
  return status;
}

const poe_expert_ops poei_rbm_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "rbm",
    .doc = "restricted Boltzmann machine over binary or Gaussian visible units",
    .params = rbm_params,
    .create = rbm_create,
    .destroy = poei_boltzmann_destroy,
    .traits = poei_boltzmann_traits,
    .scratch = poei_boltzmann_scratch,
    .eval_add = poei_boltzmann_eval_add,
    .sample = poei_boltzmann_sample,
    .log_z = poei_boltzmann_log_z,
    .form = poei_boltzmann_form,
    .structure = poei_boltzmann_structure,
    .local = &poei_boltzmann_local,
    .onehot_grad_add = poei_boltzmann_onehot_grad_add,
};

const poei_boltzmann *poei_rbm_machine(const poe_expert *expert) {
  return poe_expert_ops_of(expert) == &poei_rbm_ops ? poe_expert_self(expert) : NULL;
}

const poei_boltzmann *poei_boltzmann_of(const poe_expert *expert) {
  return poe_expert_ops_of(expert) == &poei_dbm_ops ? poe_expert_self(expert) : poei_rbm_machine(expert);
}

poe_status poei_rbm_create(poei_boltzmann *machine, poe_expert **expert, poe_error *error) {
  poe_status status = poei_boltzmann_finish(machine, error);
  if (status == POE_OK) {
    status = poe_expert_wrap(&poei_rbm_ops, machine, expert, error);
  }
  if (status != POE_OK) {
    poei_boltzmann_destroy(machine);
  }
  return status;
}
