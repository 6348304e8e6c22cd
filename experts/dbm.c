/* dbm(v | file), dbm(v, h1, h2, ... | file): a deep Boltzmann machine, two or more hidden layers, unnormalised.
 *
 * log p(v, h1, h2, ...) = b'v + sum_l c_l'h_l + v'W1 h1 + h1'W2 h2 + ..., all units binary (Salakhutdinov and Hinton
 * 2009, "Deep Boltzmann machines", equation 9). With v alone the hidden units are summed out: those of every other
 * hidden layer are enumerated, where one of the two choices has at most 20, and the others summed in closed form. When
 * neither has, there is no log-density; the factor graph with its latent variables is there all the same. All
 * arithmetic is in double.
 */
#include "experts/boltzmann_read.h"
#include "experts/list.h"

static const poe_param dbm_params[] = {
    {"file", POE_ARG_FILE, "", NULL, "safetensors or npz with W1, W2, ..., b, c1, c2, ..."},
    {"tensors", POE_ARG_STRINGS, "", NULL, "names of W1, W2, ..., b, c1, c2, ... in the file, when they are others"},
    {"W1", POE_ARG_REAL, "visible,hidden1", NULL, "couplings of the visible units with the first hidden layer"},
    {"W2", POE_ARG_REAL, "hidden1,hidden2", NULL, "couplings of the first hidden layer with the second"},
    {"W3", POE_ARG_REAL, "hidden2,hidden3", NULL, "and so on, up to W8"},
    {"W4", POE_ARG_REAL, "hidden3,hidden4", NULL, ""},
    {"W5", POE_ARG_REAL, "hidden4,hidden5", NULL, ""},
    {"W6", POE_ARG_REAL, "hidden5,hidden6", NULL, ""},
    {"W7", POE_ARG_REAL, "hidden6,hidden7", NULL, ""},
    {"W8", POE_ARG_REAL, "hidden7,hidden8", NULL, ""},
    {"b", POE_ARG_REAL, "visible", "0", "bias of the visible units"},
    {"c1", POE_ARG_REAL, "hidden1", "0", "bias of the first hidden layer"},
    {"c2", POE_ARG_REAL, "hidden2", "0", "bias of the second"},
    {"c3", POE_ARG_REAL, "hidden3", "0", "and so on, up to c8"},
    {"c4", POE_ARG_REAL, "hidden4", "0", ""},
    {"c5", POE_ARG_REAL, "hidden5", "0", ""},
    {"c6", POE_ARG_REAL, "hidden6", "0", ""},
    {"c7", POE_ARG_REAL, "hidden7", "0", ""},
    {"c8", POE_ARG_REAL, "hidden8", "0", ""},
    {0},
};

static const poei_boltzmann_names dbm_names = {.most = 8,
                                               .least = 2,
                                               .weight = {"W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8"},
                                               .bias = {"b", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"}};

static poe_status dbm_create(const poe_args *args, void **self, poe_error *error) {
  poei_boltzmann *machine = NULL;
  poe_status status = poei_boltzmann_read(args, &dbm_names, &machine, error);
  if (status == POE_OK) {
    *self = machine;
  }
  return status;
}

const poe_expert_ops poei_dbm_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "dbm",
    .doc = "deep Boltzmann machine: two or more hidden layers, binary units",
    .params = dbm_params,
    .create = dbm_create,
    .destroy = poei_boltzmann_destroy,
    .traits = poei_boltzmann_traits,
    .scratch = poei_boltzmann_scratch,
    .eval_add = poei_boltzmann_eval_add,
    .sample = poei_boltzmann_sample,
    .log_z = poei_boltzmann_log_z,
    .structure = poei_boltzmann_structure,
    .local = &poei_boltzmann_local,
    .onehot_grad_add = poei_boltzmann_onehot_grad_add,
};
