/* energy(x | file=...): log p(x) = -E(x) / scale, with E a network whose output is one number per row.
 *
 * The network is read from a safetensors file with poe.* metadata, or from a bare state dict with its layers as
 * arguments (docs/MODEL-FORMAT.md). scale is the file's poe.energy_scale, the temperature at which it was trained,
 * default 1. Not normalised. The density lives on the subjects' declared support: -inf outside it. Discrete coordinates
 * enter the network as numbers; then there is no gradient.
 */
#include "core/alloc.h"
#include "experts/family.h"
#include "experts/list.h"
#include "experts/network.h"

static const poe_param energy_params[] = {POEI_NETWORK_PARAMS, {0}};

typedef struct energy {
  poei_net *net;
  double scale;
  size_t d;
  poe_support *support; /* [d]                                      */
  bool bounded;         /* some coordinate has a bound or is discrete */
  bool differentiable;  /* all coordinates are continuous           */
} energy;

static void energy_destroy(void *self) {
  energy *e = self;
  if (e != NULL) {
    poei_net_release(e->net);
    poei_free(e->support);
    poei_free(e);
  }
}

static poe_status energy_create(const poe_args *args, void **self, poe_error *error) {
  size_t d = poe_args_dim(args);
  if (d == 0) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs a variable before the bar", args->kind);
  }
  energy *e = poei_calloc(1, sizeof *e);
  poe_support *support = poei_family_declared(args);
  if (e == NULL || support == NULL) {
    poei_free(e);
    poei_free(support);
    return poei_family_memory(args->kind, error);
  }
  e->d = d;
  e->support = support;
  e->differentiable = true;
  for (size_t j = 0; j < d; j++) {
    e->differentiable = e->differentiable && support[j].kind == POE_CONTINUOUS;
    e->bounded = e->bounded || support[j].kind == POE_DISCRETE || isfinite(support[j].low) || isfinite(support[j].high);
  }
  poe_status status = poei_network_open(args, "energy", &e->net, &e->scale, error);
  if (status == POE_OK && poei_net_out_dim(e->net) != 1) {
    status = poe_args_error(poe_args_find(args, "file"), error, POE_E_FORMAT,
                            "the network in '%s' gives %zu numbers per row, but an energy is one",
                            poe_args_find(args, "file")->text, poei_net_out_dim(e->net));
  }
  if (status != POE_OK) {
    energy_destroy(e);
    return status;
  }
  *self = e;
  return POE_OK;
}

static void energy_traits(const void *self, poe_traits *traits) {
  const energy *e = self;
  *traits = (poe_traits){
      .dim = e->d, .support = e->support, .capabilities = POE_CAN_EVAL | (e->differentiable ? POE_CAN_GRADIENT : 0u)};
}

static size_t energy_scratch(const void *self, unsigned want, size_t n) {
  const energy *e = self;
  return poei_net_scratch(e->net, want, n) + poe_scratch_need(n, sizeof(double));
}

/* One evaluation, as the pull of the network's backward pass sees it. */
typedef struct energy_call {
  const energy *e;
  poe_rows rows;
  poe_weights weights;
  poe_accum out;
} energy_call;

/* Adds the log-densities and asks for the gradient's share of each row: nothing where log p = -inf. */
static poe_status energy_pull(void *context, poe_rows y, double *dy, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  const energy_call *call = context;
  const energy *e = call->e;
  for (size_t i = 0; i < y.n; i++) {
    double w = call->weights.w[i * call->weights.inc];
    double value = !e->bounded || poei_family_inside(e->support, e->d, call->rows.x + i * call->rows.ld)
                       ? -y.x[i * y.ld] / e->scale
                       : -INFINITY;
    poe_accum_value(&call->out.logp[i], w, value);
    if (dy != NULL) {
      dy[i] = value == -INFINITY ? 0.0 : -w / e->scale;
    }
  }
  return POE_OK;
}

static poe_status energy_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                  poe_scratch *scratch, poe_error *error) {
  const energy *e = self;
  energy_call call = {e, rows, weights, out};
  if (out.grad != NULL && e->differentiable) {
    return poei_net_eval_vjp(e->net, rows, energy_pull, &call, out.grad, out.ldg, scratch, error);
  }
  size_t mark = poe_scratch_mark(scratch);
  double *y = poe_scratch_doubles(scratch, rows.n);
  poei_net_eval(e->net, rows, y, 1, scratch);
  poe_status status = energy_pull(&call, (poe_rows){.n = rows.n, .d = 1, .ld = 1, .x = y}, NULL, scratch, error);
  poe_scratch_release(scratch, mark);
  return status;
}

const poe_expert_ops poei_energy_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "energy",
    .doc = "minus a network's output as log-density: log p = -E(x), not normalised",
    .params = energy_params,
    .create = energy_create,
    .destroy = energy_destroy,
    .traits = energy_traits,
    .scratch = energy_scratch,
    .eval_add = energy_eval_add,
};

const poei_net *poei_energy_net(const poe_expert *expert) {
  return poe_expert_ops_of(expert) == &poei_energy_ops ? ((const energy *)poe_expert_self(expert))->net : NULL;
}
