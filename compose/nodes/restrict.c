/* A density restricted to a box: log p_child(x) inside, -inf outside; not renormalised.
 *
 * The child is evaluated on every row into a temporary and only rows inside are taken over, because outside the box the
 * child may not be defined. A box that holds the child's whole support changes nothing: then every capability stays.
 */
#include <string.h>

#include "compose/nodes/view.h"
#include "core/alloc.h"

typedef struct restricted {
  poei_node node;
  poe_support *box; /* [dim] as given */
} restricted;

static void restrict_destroy(void *state) {
  restricted *self = state;
  poei_free(self->box);
  poei_node_free(&self->node);
}

static size_t restrict_scratch(const void *state, unsigned want, size_t n) {
  const restricted *self = state;
  if ((want & POE_WANT_ONEHOT) != 0) {
    return poei_node_onehot_scratch(&self->node, n);
  }
  size_t bytes = poei_child_scratch(self->node.child[0], want, n) + poe_scratch_need(n, sizeof(double));
  return bytes + ((want & POE_WANT_GRAD) != 0 ? poe_scratch_need(n * self->node.traits.dim, sizeof(double)) : 0);
}

static poe_status restrict_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                    poe_scratch *scratch, poe_error *error) {
  const restricted *self = state;
  size_t mark = poe_scratch_mark(scratch), size = rows.n * rows.d;
  double one = 1.0;
  poe_accum value = {.logp = poe_scratch_doubles(scratch, rows.n), .ldg = rows.d};
  memset(value.logp, 0, rows.n * sizeof(double));
  if (out.grad != NULL) {
    value.grad = poe_scratch_doubles(scratch, size);
    memset(value.grad, 0, size * sizeof(double));
  }
  poe_status status = poei_child_eval(self->node.child[0], rows, (poe_weights){&one, 0}, value, scratch, error);
  for (size_t i = 0; i < rows.n; i++) {
    for (size_t j = 0; j < rows.d; j++) {
      double x = rows.x[i * rows.ld + j];
      if (!isnan(x) && !poei_support_contains(&self->box[j], x)) { /* NaN is the child's to report */
        value.logp[i] = -INFINITY;
        break;
      }
    }
  }
  if (status == POE_OK) {
    poei_accum_rows(rows.n, rows.d, value.logp, value.grad, weights, out, self->node.support);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

/* The three slots below are reachable only when the box holds the child's support. */
static poe_status restrict_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                  poe_error *error) {
  return poe_expert_sample(((const restricted *)state)->node.child[0], rows, at, scratch, error);
}

static poe_status restrict_log_z(const void *state, double *log_z, poe_error *error) {
  return poe_expert_log_z(((const restricted *)state)->node.child[0], log_z, error);
}

static poe_status restrict_form(const void *state, poe_form *form, poe_error *error) {
  return poe_expert_form(((const restricted *)state)->node.child[0], form, error);
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops restrict_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "restrict",
    .doc = "a density restricted to a box",
    .params = no_params,
    .create = poei_node_create,
    .destroy = restrict_destroy,
    .traits = poei_node_traits,
    .scratch = restrict_scratch,
    .eval_add = restrict_eval_add,
    .sample = restrict_sample,
    .log_z = restrict_log_z,
    .form = restrict_form,
    .local = &poei_node_local,
    .onehot_grad_add = poei_node_onehot_grad_add,
};

/* ---- making ---- */

/* Outside the box every coordinate is beyond a wall. */
static poe_status set_view(restricted *self, poe_error *error) {
  size_t dim = self->node.traits.dim;
  unsigned char *wall = poei_alloc(dim, 1);
  if (wall == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  memset(wall, 1, dim);
  poei_view_term term = {self->node.child[0], 1.0, NULL, NULL};
  poe_status status = poei_node_view(&self->node, 1, &term, wall, false, error);
  poei_free(wall);
  return status;
}

static poe_status set_traits(restricted *self, poe_error *error) {
  const poe_expert *child = self->node.child[0];
  const poe_traits *traits = poe_expert_traits(child);
  const unsigned char *touch = poei_node_touch(child);
  bool trivial = true;
  for (size_t j = 0; j < traits->dim; j++) {
    bool covers = poei_support_covers(&self->box[j], &traits->support[j]);
    trivial = trivial && covers;
    self->node.support[j] = traits->support[j];
    if (!poei_support_intersect(&self->node.support[j], &self->box[j])) {
      poe_error_set(error, POE_E_EMPTY, "nothing of the density's support is left in coordinate %zu", j);
      poe_error_hint(error, "it reaches from %g to %g, the restriction from %g to %g", traits->support[j].low,
                     traits->support[j].high, self->box[j].low, self->box[j].high);
      return POE_E_EMPTY;
    }
    self->node.touch[j] = touch == NULL || touch[j] || !covers;
  }
  if (trivial && traits->head != NULL) {
    memcpy(self->node.head, traits->head, traits->dim);
  }
  poei_node_publish_head(&self->node);
  self->node.traits.capabilities =
      trivial ? traits->capabilities : traits->capabilities & (POE_CAN_EVAL | POE_CAN_GRADIENT);
  self->node.traits.offset_error = traits->offset_error;
  return set_view(self, error);
}

poe_status poei_restrict_create(const poe_expert *child, const poe_support *support, poe_expert **out,
                                poe_error *error) {
  size_t dim = poe_expert_traits(child)->dim;
  restricted *self = poei_node_new(sizeof *self, dim, 1, &child, error);
  if (self == NULL) {
    return POE_E_MEMORY;
  }
  self->box = poei_copy(support, dim, sizeof *support);
  poe_status status = self->box == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : set_traits(self, error);
  if (status != POE_OK) {
    restrict_destroy(self);
    return status;
  }
  return poei_node_wrap(&restrict_ops, self, out, error);
}

static poe_status restrict_rebuild(const poei_node *node, const poe_expert *const *children, poe_expert **out,
                                   poe_error *error) {
  return poei_restrict_create(children[0], ((const restricted *)node)->box, out, error);
}

const poei_node_look poei_restrict_look = {&restrict_ops, "restrict", restrict_rebuild};
