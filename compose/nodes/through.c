/* A density seen through a map: log p(z, r) = log p_child(f(z), r); z are the first in_dim coordinates.
 *
 * f is deterministic and not invertible in general, so there is no Jacobian: the node is an expert over z by what it
 * says about f(z). Gradient by the chain rule, J' grad_y, in one forward and one backward pass of the map; in the
 * middle of which the child is evaluated on f(z).
 */
#include <string.h>

#include "compose/nodes/node.h"
#include "core/alloc.h"

typedef struct through {
  poei_node node;
  poe_map *map;
  size_t in, out, rest; /* dimensions of z, f(z) and r */
} through;

static void through_destroy(void *state) {
  through *self = state;
  poe_map_release(self->map);
  poei_node_free(&self->node);
}

static size_t through_scratch(const void *state, unsigned want, size_t n) {
  const through *self = state;
  const poe_map_ops *map = poe_map_ops_of(self->map);
  size_t full = self->out + self->rest, bytes = poei_child_scratch(self->node.child[0], want, n);
  bytes += map->scratch(poe_map_self(self->map), want & (unsigned)POE_WANT_GRAD, n);
  bytes += poe_scratch_need(n * full, sizeof(double));
  if ((want & POE_WANT_GRAD) != 0) {
    bytes += poe_scratch_need(n * full, sizeof(double)) + poe_scratch_need(n * self->in, sizeof(double));
  }
  return bytes;
}

/* One evaluation with gradient, as the map calls back. */
typedef struct pull_context {
  const through *self;
  poe_rows rows;
  poe_weights weights;
  poe_accum out;
} pull_context;

/* [y, r] side by side when there is an r; else y where it lies. */
static poe_rows child_rows(const through *self, poe_rows rows, poe_rows y, poe_scratch *scratch) {
  if (self->rest == 0) {
    return y;
  }
  size_t full = self->out + self->rest;
  double *x = poe_scratch_doubles(scratch, rows.n * full);
  for (size_t i = 0; i < rows.n; i++) {
    memcpy(&x[i * full], &y.x[i * y.ld], self->out * sizeof *x);
    memcpy(&x[i * full + self->out], &rows.x[i * rows.ld + self->in], self->rest * sizeof *x);
  }
  return (poe_rows){rows.n, full, full, x};
}

static poe_status pull(void *context, poe_rows y, double *dy, poe_scratch *scratch, poe_error *error) {
  const pull_context *pulled = context;
  const through *self = pulled->self;
  size_t mark = poe_scratch_mark(scratch), n = pulled->rows.n, full = self->out + self->rest;
  poe_rows rows = child_rows(self, pulled->rows, y, scratch);
  poe_accum part = {.logp = pulled->out.logp, .grad = dy, .ldg = full};
  if (self->rest > 0) {
    part.grad = poe_scratch_doubles(scratch, n * full);
  }
  memset(part.grad, 0, n * full * sizeof(double));
  poe_status status = poei_child_eval(self->node.child[0], rows, pulled->weights, part, scratch, error);
  for (size_t i = 0; i < n && status == POE_OK && self->rest > 0; i++) {
    memcpy(&dy[i * self->out], &part.grad[i * full], self->out * sizeof *dy);
    for (size_t j = 0; j < self->rest; j++) {
      if (self->node.support[self->in + j].kind != POE_DISCRETE) {
        pulled->out.grad[i * pulled->out.ldg + self->in + j] += part.grad[i * full + self->out + j];
      }
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status through_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                   poe_scratch *scratch, poe_error *error) {
  const through *self = state;
  const poe_map_ops *map = poe_map_ops_of(self->map);
  const void *map_self = poe_map_self(self->map);
  poe_rows z = {rows.n, self->in, rows.ld, rows.x};
  size_t mark = poe_scratch_mark(scratch), full = self->out + self->rest;
  if (out.grad != NULL) {
    pull_context context = {self, rows, weights, out};
    double *dz = poe_scratch_doubles(scratch, rows.n * self->in);
    memset(dz, 0, rows.n * self->in * sizeof *dz);
    poe_status status = map->apply_vjp(map_self, z, pull, &context, dz, self->in, scratch, error);
    for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
      for (size_t j = 0; j < self->in && out.logp[i] != -INFINITY; j++) { /* outside, the map's slope may be NaN */
        out.grad[i * out.ldg + j] += dz[i * self->in + j];
      }
    }
    poe_scratch_release(scratch, mark);
    return status;
  }
  double *x = poe_scratch_doubles(scratch, rows.n * full);
  poe_status status = map->apply(map_self, z, (poe_rows_out){rows.n, self->out, full, x}, scratch, error);
  for (size_t i = 0; i < rows.n && self->rest > 0; i++) {
    memcpy(&x[i * full + self->out], &rows.x[i * rows.ld + self->in], self->rest * sizeof *x);
  }
  if (status == POE_OK) {
    status = poei_child_eval(self->node.child[0], (poe_rows){rows.n, full, full, x}, weights, out, scratch, error);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops through_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "through",
    .doc = "a density evaluated on the value of a map",
    .params = no_params,
    .create = poei_node_create,
    .destroy = through_destroy,
    .traits = poei_node_traits,
    .scratch = through_scratch,
    .eval_add = through_eval_add,
};

/* ---- making and looking in ---- */

static void set_traits(through *self) {
  const poe_expert *child = self->node.child[0];
  const poe_traits *traits = poe_expert_traits(child);
  const unsigned char *touch = poei_node_touch(child);
  bool whole_head = traits->head != NULL;
  for (size_t j = 0; j < self->out; j++) {
    whole_head = whole_head && !traits->head[j];
  }
  for (size_t j = 0; j < self->in; j++) {
    self->node.touch[j] = 1;
  }
  for (size_t j = 0; j < self->rest; j++) {
    size_t c = self->out + j;
    self->node.support[self->in + j] = traits->support[c];
    self->node.touch[self->in + j] = touch == NULL || touch[c];
    self->node.head[self->in + j] = whole_head && traits->head[c];
  }
  poei_node_publish_head(&self->node);
  unsigned own = traits->capabilities & (POE_CAN_EVAL | POE_CAN_GRADIENT);
  for (size_t j = 0; j < self->out; j++) {
    if (traits->support[j].kind == POE_DISCRETE) {
      own &= ~(unsigned)POE_CAN_GRADIENT;
    }
  }
  if (poe_map_ops_of(self->map)->apply_vjp == NULL) {
    own &= ~(unsigned)POE_CAN_GRADIENT;
  }
  self->node.traits.capabilities = own;
  self->node.traits.offset_error = traits->offset_error;
}

poe_status poei_through_create(const poe_map *map, const poe_expert *child, poe_expert **out, poe_error *error) {
  const poe_map_ops *ops = poe_map_ops_of(map);
  const void *map_self = poe_map_self(map);
  size_t shape[POE_MAX_DIMS], in = ops->in_dim(map_self), made = 1, dim = poe_expert_traits(child)->dim;
  size_t ndim = ops->out_shape(map_self, shape);
  for (size_t k = 0; k < ndim; k++) {
    if (!poei_mul_size(made, shape[k], &made)) {
      return poe_error_set(error, POE_E_SHAPE, "the value of the map `%s` is too large", ops->kind);
    }
  }
  if (dim < made) {
    return poe_error_set(error, POE_E_SHAPE, "the map `%s` makes %zu numbers, the density reads %zu", ops->kind, made,
                         dim);
  }
  through *self = poei_node_new(sizeof *self, in + dim - made, 1, &child, error);
  if (self == NULL) {
    return POE_E_MEMORY;
  }
  self->map = poe_map_retain(map);
  self->in = in;
  self->out = made;
  self->rest = dim - made;
  set_traits(self);
  return poei_node_wrap(&through_ops, self, out, error);
}

const poe_map *poei_through_map(const poe_expert *expert) {
  return ((const through *)poe_expert_self(expert))->map;
}

static poe_status through_rebuild(const poei_node *node, const poe_expert *const *children, poe_expert **out,
                                  poe_error *error) {
  return poei_through_create(((const through *)node)->map, children[0], out, error);
}

const poei_node_look poei_through_look = {&through_ops, "through", through_rebuild};
