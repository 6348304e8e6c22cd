/* An expert over some coordinates of a larger space: log p(x) = log p_child(x[index]).
 *
 * A contiguous range is a view into the rows (stride unchanged); other index sets are gathered, and gradients scattered
 * back. Over coordinates that are not named the density is flat, so draws, log Z and a head over all of the space exist
 * only when the index is a permutation.
 */
#include <string.h>

#include "compose/exact/gaussian.h"
#include "compose/exact/table.h"
#include "compose/nodes/view.h"
#include "core/alloc.h"

typedef struct slice {
  poei_node node;
  size_t *index; /* [place.n] */
  poei_place_in place;
} slice;

static void slice_destroy(void *state) {
  slice *self = state;
  poei_free(self->index);
  poei_node_free(&self->node);
}

static size_t slice_scratch(const void *state, unsigned want, size_t n) {
  const slice *self = state;
  if ((want & POE_WANT_ONEHOT) != 0) {
    return poei_node_onehot_scratch(&self->node, n);
  }
  return poei_place_scratch(self->node.child[0], &self->place, want, n);
}

static poe_status slice_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                 poe_scratch *scratch, poe_error *error) {
  const slice *self = state;
  return poei_place_eval(self->node.child[0], &self->place, self->node.support, rows, weights, out, scratch, error);
}

static poe_status slice_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                               poe_error *error) {
  const slice *self = state;
  if (self->place.index == NULL) {
    return poe_expert_sample(self->node.child[0], rows, at, scratch, error);
  }
  size_t mark = poe_scratch_mark(scratch), d = self->place.n;
  double *x = poe_scratch_doubles(scratch, rows.n * d);
  poe_status status = poe_expert_sample(self->node.child[0], (poe_rows_out){rows.n, d, d, x}, at, scratch, error);
  for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
    for (size_t j = 0; j < d; j++) {
      rows.x[i * rows.ld + self->index[j]] = x[i * d + j];
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status slice_log_z(const void *state, double *log_z, poe_error *error) {
  const slice *self = state;
  return poe_expert_log_z(self->node.child[0], log_z, error);
}

static poe_status slice_form(const void *state, poe_form *form, poe_error *error) {
  const slice *self = state;
  poei_scoped_form scoped = {.index = self->index, .exponent = 1.0};
  poe_status status = poe_expert_form(self->node.child[0], &scoped.form, error);
  if (status != POE_OK) {
    return status;
  }
  size_t dim = self->node.traits.dim;
  status = scoped.form.kind == POE_FORM_TABLE
               ? poei_table_product(dim, 1, &scoped, POEI_FORM_MAX_STATES, form, error)
               : poei_gaussians_product(dim, 1, &scoped, POEI_FORM_MAX_COMPONENTS, form, error);
  poe_form_release(&scoped.form);
  return status;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops slice_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "slice",
    .doc = "a density over some of the coordinates",
    .params = no_params,
    .create = poei_node_create,
    .destroy = slice_destroy,
    .traits = poei_node_traits,
    .scratch = slice_scratch,
    .eval_add = slice_eval_add,
    .sample = slice_sample,
    .log_z = slice_log_z,
    .form = slice_form,
    .local = &poei_node_local,
    .onehot_grad_add = poei_node_onehot_grad_add,
};

/* ---- making and looking in ---- */

/* Checks that index[n] are distinct and below dim, using marks[dim] (zeroed). */
static poe_status check_index(size_t n, size_t dim, const size_t *index, unsigned char *marks, poe_error *error) {
  for (size_t j = 0; j < n; j++) {
    if (index[j] >= dim) {
      return poe_error_set(error, POE_E_SHAPE, "coordinate %zu is not among the %zu of the space", index[j], dim);
    }
    if (marks[index[j]]) {
      return poe_error_set(error, POE_E_SHAPE, "coordinate %zu is named twice", index[j]);
    }
    marks[index[j]] = 1;
  }
  return POE_OK;
}

static poe_status set_traits(slice *self, poe_error *error) {
  const poe_expert *child = self->node.child[0];
  const poe_traits *traits = poe_expert_traits(child);
  const unsigned char *touch = poei_node_touch(child);
  self->place = poei_place_at(traits->dim, self->index);
  for (size_t j = 0; j < traits->dim; j++) {
    size_t c = self->index[j];
    self->node.support[c] = traits->support[j];
    self->node.touch[c] = touch == NULL || touch[j];
    self->node.head[c] = traits->head != NULL && traits->head[j];
  }
  poei_node_publish_head(&self->node);
  unsigned own = traits->capabilities;
  bool table = traits->dim > 0 && traits->support[0].kind == POE_DISCRETE;
  if (traits->dim < self->node.traits.dim) {
    own &= ~(unsigned)(POE_CAN_SAMPLE | POE_CAN_LOG_Z);
    own &= ~(table || self->node.traits.dim > POEI_FORM_MAX_DIM ? (unsigned)POE_CAN_FORM : 0u);
  }
  self->node.traits.capabilities = own;
  self->node.traits.offset_error = traits->offset_error;
  return poei_node_view(&self->node, 1, &(poei_view_term){child, 1.0, self->index, NULL}, NULL, false, error);
}

poe_status poei_slice_create(const poe_expert *child, size_t dim, const size_t *index, poe_expert **out,
                             poe_error *error) {
  slice *self = poei_node_new(sizeof *self, dim, 1, &child, error);
  if (self == NULL) {
    return POE_E_MEMORY;
  }
  size_t n = poe_expert_traits(child)->dim;
  self->index = poei_copy(index, n, sizeof *index);
  poe_status status = self->index == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                          : check_index(n, dim, index, self->node.touch, error);
  if (status == POE_OK) {
    status = set_traits(self, error);
  }
  if (status != POE_OK) {
    slice_destroy(self);
    return status;
  }
  return poei_node_wrap(&slice_ops, self, out, error);
}

const size_t *poei_slice_index(const poe_expert *expert) {
  return ((const slice *)poe_expert_self(expert))->index;
}

static poe_status slice_rebuild(const poei_node *node, const poe_expert *const *children, poe_expert **out,
                                poe_error *error) {
  const slice *self = (const slice *)node;
  size_t dim = poe_expert_traits(children[0])->dim;
  if (dim != self->place.n) {
    return poe_error_set(error, POE_E_SHAPE, "a slice of %zu coordinates cannot hold a density over %zu", self->place.n,
                         dim);
  }
  return poei_slice_create(children[0], node->traits.dim, self->index, out, error);
}

const poei_node_look poei_slice_look = {&slice_ops, "slice", slice_rebuild};
