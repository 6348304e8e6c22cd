/* child / Z: log p(x) = log p_child(x) - log Z, which integrates to 1.
 *
 * The constant is exact, or an estimate with a standard error (nats), which becomes the node's offset error: any error
 * of the child's own constant cancels, because Z was computed with it. A NaN constant is a hole (see compose/plan.h):
 * the node stands in the tree, without capabilities, until the hole is filled.
 */
#include <string.h>

#include "compose/nodes/view.h"
#include "core/alloc.h"

typedef struct normalise {
  poei_node node;
  double log_z, std_error;
} normalise;

static void normalise_destroy(void *self) {
  poei_node_free(self);
}

static size_t normalise_scratch(const void *state, unsigned want, size_t n) {
  const normalise *self = state;
  if ((want & POE_WANT_ONEHOT) != 0) {
    return poei_node_onehot_scratch(&self->node, n);
  }
  return poei_child_scratch(self->node.child[0], want, n);
}

static poe_status normalise_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                     poe_scratch *scratch, poe_error *error) {
  const normalise *self = state;
  if (isnan(self->log_z)) {
    return poe_error_set(error, POE_E_CAPABILITY, "log Z of a normalised density has not been computed yet");
  }
  poe_status status = poei_child_eval(self->node.child[0], rows, weights, out, scratch, error);
  for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], -self->log_z);
  }
  return status;
}

static poe_status normalise_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                   poe_error *error) {
  const normalise *self = state;
  return poe_expert_sample(self->node.child[0], rows, at, scratch, error);
}

static poe_status normalise_log_z(const void *state, double *log_z, poe_error *error) {
  (void)state;
  (void)error;
  *log_z = 0.0;
  return POE_OK;
}

static poe_status normalise_form(const void *state, poe_form *form, poe_error *error) {
  const normalise *self = state;
  poe_form child;
  memset(&child, 0, sizeof child);
  poe_status status = poe_expert_form(self->node.child[0], &child, error);
  if (status != POE_OK) {
    return status;
  }
  size_t n = child.components;
  double *constant = child.constant;
  if (child.kind == POE_FORM_TABLE) {
    constant = child.log_value;
    n = 1;
    for (size_t j = 0; j < child.dim; j++) {
      n *= child.cardinality[j];
    }
  }
  for (size_t i = 0; i < n; i++) {
    constant[i] -= self->log_z;
  }
  *form = child;
  return POE_OK;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops normalise_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "normalise",
    .doc = "a density divided by its integral",
    .params = no_params,
    .create = poei_node_create,
    .destroy = normalise_destroy,
    .traits = poei_node_traits,
    .scratch = normalise_scratch,
    .eval_add = normalise_eval_add,
    .sample = normalise_sample,
    .log_z = normalise_log_z,
    .form = normalise_form,
    .local = &poei_node_local,
    .onehot_grad_add = poei_node_onehot_grad_add,
};

poe_status poei_normalise_create(const poe_expert *child, double log_z, double std_error, poe_expert **out,
                                 poe_error *error) {
  if (isinf(log_z) || !(std_error >= 0.0)) {
    return poe_error_set(error, POE_E_NUMERIC, "log Z = %g with standard error %g cannot normalise a density", log_z,
                         std_error);
  }
  const poe_traits *traits = poe_expert_traits(child);
  normalise *self = poei_node_new(sizeof *self, traits->dim, 1, &child, error);
  if (self == NULL) {
    return POE_E_MEMORY;
  }
  self->log_z = log_z;
  self->std_error = std_error;
  const unsigned char *touch = poei_node_touch(child);
  for (size_t j = 0; j < traits->dim; j++) {
    self->node.support[j] = traits->support[j];
    self->node.touch[j] = touch == NULL || touch[j];
    self->node.head[j] = 1;
  }
  poei_node_publish_head(&self->node);
  if (!isnan(log_z)) {
    self->node.traits.capabilities = traits->capabilities | POE_CAN_LOG_Z;
    self->node.traits.offset_error = std_error;
  }
  poe_status status = poei_node_view(&self->node, 1, &(poei_view_term){child, 1.0, NULL, NULL}, NULL, false, error);
  if (status != POE_OK) {
    normalise_destroy(self);
    return status;
  }
  return poei_node_wrap(&normalise_ops, self, out, error);
}

double poei_normalise_log_z(const poe_expert *expert, double *std_error) {
  const normalise *self = poe_expert_self(expert);
  if (std_error != NULL) {
    *std_error = self->std_error;
  }
  return self->log_z;
}

static poe_status normalise_rebuild(const poei_node *node, const poe_expert *const *children, poe_expert **out,
                                    poe_error *error) {
  const normalise *self = (const normalise *)node;
  return poei_normalise_create(children[0], self->log_z, self->std_error, out, error);
}

const poei_node_look poei_normalise_look = {&normalise_ops, "normalise", normalise_rebuild};
