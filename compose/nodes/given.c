/* A joint density with some coordinates clamped: log p(x) = log p_child(x, values), over the free coordinates in order.
 *
 * Nothing is renormalised: log Z of the node is the log evidence. Clamping conditions (coordinates outside the head)
 * leaves the head as it is; clamping part of the head leaves nothing normalised.
 *
 * Where the child gives its coordinates one after the other and the clamped ones come first in its order, log Z is the
 * sum of their conditional log-densities, and what follows is drawn exactly, coordinate by coordinate.
 */
#include <stdatomic.h>
#include <string.h>

#include "compose/exact/gaussian.h"
#include "compose/exact/table.h"
#include "compose/nodes/sticks.h"
#include "compose/nodes/view.h"
#include "core/alloc.h"

typedef struct given {
  poei_node node;
  size_t n, full;               /* clamped coordinates, all coordinates of the child */
  size_t *index;                /* [n]                                                */
  double *value;                /* [n]                                                */
  size_t *free;                 /* [dim] the child's coordinate of each free one      */
  size_t *inverse;              /* [full] the free coordinate of each of the child's; SIZE_MAX: clamped */
  double *clamp;                /* [full] its value, where it is clamped                */
  const poe_prefix_ops *prefix; /* the child's, where the clamped coordinates come first; else NULL */
  _Atomic double evidence;      /* their log-density once it was asked for, before that NaN          */
} given;

static void given_destroy(void *state) {
  given *self = state;
  poei_free(self->index);
  poei_free(self->value);
  poei_free(self->free);
  poei_free(self->inverse);
  poei_free(self->clamp);
  poei_node_free(&self->node);
}

/* The most values of a free coordinate, where they are drawn from tables. */
static size_t given_values(const given *self) {
  double most = 0.0;
  for (size_t j = 0; j < self->node.traits.dim; j++) {
    most = fmax(most, self->node.support[j].high - self->node.support[j].low + 1.0);
  }
  return (size_t)most;
}

static size_t given_scratch(const void *state, unsigned want, size_t n) {
  const given *self = state;
  if ((want & POE_WANT_SAMPLE) != 0 && self->prefix != NULL) {
    const void *child = poe_expert_self(self->node.child[0]);
    return self->prefix->scratch(child) + 2 * poe_scratch_need(self->prefix->state_bytes(child), 1) +
           poe_scratch_need(given_values(self), sizeof(double));
  }
  if ((want & POE_WANT_ONEHOT) != 0) {
    return poei_node_onehot_scratch(&self->node, n);
  }
  size_t bytes = poei_child_scratch(self->node.child[0], want, n) + poe_scratch_need(n * self->full, sizeof(double));
  return bytes + ((want & POE_WANT_GRAD) != 0 ? poe_scratch_need(n * self->full, sizeof(double)) : 0);
}

static poe_status given_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                 poe_scratch *scratch, poe_error *error) {
  const given *self = state;
  size_t mark = poe_scratch_mark(scratch), d = self->full;
  double *x = poe_scratch_doubles(scratch, rows.n * d);
  for (size_t i = 0; i < rows.n; i++) {
    for (size_t k = 0; k < self->n; k++) {
      x[i * d + self->index[k]] = self->value[k];
    }
    for (size_t j = 0; j < rows.d; j++) {
      x[i * d + self->free[j]] = rows.x[i * rows.ld + j];
    }
  }
  poe_accum part = {.logp = out.logp, .ldg = d};
  if (out.grad != NULL) {
    part.grad = poe_scratch_doubles(scratch, rows.n * d);
    memset(part.grad, 0, rows.n * d * sizeof(double));
  }
  poe_status status = poei_child_eval(self->node.child[0], (poe_rows){rows.n, d, d, x}, weights, part, scratch, error);
  for (size_t j = 0; j < rows.d && status == POE_OK && out.grad != NULL; j++) {
    if (self->node.support[j].kind != POE_DISCRETE) {
      for (size_t i = 0; i < rows.n; i++) {
        out.grad[i * out.ldg + j] += part.grad[i * d + self->free[j]];
      }
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

/* The child's state behind the clamped coordinates; log_p: their log-density, NULL where nobody asks. */
static poe_status given_walk(const given *self, void *at, double *log_p, poe_scratch *scratch, poe_error *error) {
  const void *child = poe_expert_self(self->node.child[0]);
  const size_t *order = self->prefix->order(child);
  poe_status status = self->prefix->open(child, at, scratch, error);
  for (size_t k = 0; k < self->n && status == POE_OK; k++) {
    double value = self->clamp[order[k]], part = 0.0;
    if (log_p != NULL) {
      status = self->prefix->density(child, at, 1, &value, &part, scratch, error);
      *log_p += part;
    }
    status = status == POE_OK ? self->prefix->step(child, at, value, scratch, error) : status;
  }
  return status;
}

static poe_status given_log_z(const void *state, double *log_z, poe_error *error) {
  given *self = (given *)(uintptr_t)state; /* what is found is the same for whoever asks */
  *log_z = atomic_load(&self->evidence);
  if (!isnan(*log_z)) {
    return POE_OK;
  }
  const void *child = poe_expert_self(self->node.child[0]);
  size_t bytes = self->prefix->state_bytes(child);
  poe_scratch *scratch = poe_scratch_create(self->prefix->scratch(child) + poe_scratch_need(bytes, 1));
  if (scratch == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  *log_z = 0.0;
  poe_status status = given_walk(self, poe_scratch_bytes(scratch, bytes), log_z, scratch, error);
  poe_scratch_destroy(scratch);
  if (status == POE_OK) {
    atomic_store(&self->evidence, *log_z);
  }
  return status;
}

/* Draws value number v with probability exp(log_p[v]). */
static size_t given_pick(const double *log_p, size_t n, double u) {
  size_t last = 0;
  for (size_t v = 0; v < n; v++) {
    double p = exp(log_p[v]);
    last = p > 0.0 ? v : last;
    if (u < p) {
      return v;
    }
    u -= p;
  }
  return last; /* rounding: the probabilities sum to a little less than 1 */
}

static poe_status given_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                               poe_error *error) {
  const given *self = state;
  const void *child = poe_expert_self(self->node.child[0]);
  const poe_support *support = poe_expert_traits(self->node.child[0])->support;
  const size_t *order = self->prefix->order(child);
  size_t mark = poe_scratch_mark(scratch), bytes = self->prefix->state_bytes(child);
  void *known = poe_scratch_bytes(scratch, bytes), *fork = poe_scratch_bytes(scratch, bytes);
  double *log_p = poe_scratch_doubles(scratch, given_values(self));
  poe_status status = given_walk(self, known, NULL, scratch, error);
  for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
    poe_stream stream = poe_stream_open(at[i]);
    memcpy(fork, known, bytes);
    for (size_t k = self->n; k < self->full && status == POE_OK; k++) {
      const poe_support *s = &support[order[k]];
      status = self->prefix->table(child, fork, log_p, scratch, error);
      size_t v = given_pick(log_p, (size_t)(s->high - s->low) + 1, poe_stream_uniform(&stream));
      rows.x[i * rows.ld + self->inverse[order[k]]] = s->low + (double)v;
      status = status == POE_OK ? self->prefix->step(child, fork, s->low + (double)v, scratch, error) : status;
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status given_form(const void *state, poe_form *form, poe_error *error) {
  const given *self = state;
  poe_form child;
  memset(&child, 0, sizeof child);
  poe_status status = poe_expert_form(self->node.child[0], &child, error);
  if (status != POE_OK) {
    return status;
  }
  status = child.kind == POE_FORM_TABLE ? poei_table_given(&child, self->n, self->index, self->value, form, error)
                                        : poei_gaussians_given(&child, self->n, self->index, self->value, form, error);
  poe_form_release(&child);
  return status;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops given_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "given",
    .doc = "a joint density with some coordinates clamped",
    .params = no_params,
    .create = poei_node_create,
    .destroy = given_destroy,
    .traits = poei_node_traits,
    .scratch = given_scratch,
    .eval_add = given_eval_add,
    .sample = given_sample,
    .log_z = given_log_z,
    .form = given_form,
    .local = &poei_node_local,
    .onehot_grad_add = poei_node_onehot_grad_add,
};

/* ---- making and looking in ---- */

/* Checks the clamped values and marks them in clamped[full] (zeroed). */
static poe_status check(const poe_expert *child, size_t n, const size_t *index, const double *value,
                        unsigned char *clamped, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(child);
  for (size_t k = 0; k < n; k++) {
    if (index[k] >= traits->dim) {
      return poe_error_set(error, POE_E_SHAPE, "coordinate %zu is not among the %zu of the density", index[k],
                           traits->dim);
    }
    if (clamped[index[k]]) {
      return poe_error_set(error, POE_E_SHAPE, "coordinate %zu is given twice", index[k]);
    }
    clamped[index[k]] = 1;
    const poe_support *support = &traits->support[index[k]];
    if (!isfinite(value[k])) {
      return poe_error_set(error, POE_E_DOMAIN, "the value given for coordinate %zu is not finite", index[k]);
    }
    if (!poei_support_contains(support, value[k])) {
      poe_error_set(error, POE_E_EMPTY, "the value %g given for coordinate %zu is outside the density's support",
                    value[k], index[k]);
      poe_error_hint(error, "%s from %g to %g", support->kind == POE_DISCRETE ? "whole numbers" : "numbers",
                     support->low, support->high);
      return POE_E_EMPTY;
    }
  }
  return POE_OK;
}

/* Simplices are clamped as a whole or not at all: at[dim] holds the values of those that clamped[dim] marks. */
static poe_status check_simplices(const poe_traits *traits, const unsigned char *clamped, const double *at,
                                  poe_error *error) {
  for (size_t j = 0; j < traits->dim; j++) {
    size_t k = poei_simplex_at(traits->dim, traits->support, j), marked = 0;
    for (size_t i = 0; i < k; i++) {
      marked += clamped[j + i];
    }
    if (marked > 0 && marked < k) {
      return poe_error_set(error, POE_E_SHAPE, "%zu of the %zu numbers of the simplex at coordinate %zu are given",
                           marked, k, j);
    }
    if (marked > 0 && !poei_simplex_holds(k, &at[j])) {
      return poe_error_set(error, POE_E_EMPTY, "the numbers given for the simplex at coordinate %zu do not sum to 1",
                           j);
    }
  }
  return POE_OK;
}

/* The child's prefix facet, if the n clamped coordinates are the first of its order and the others can be drawn from
 * tables; else NULL. */
static const poe_prefix_ops *given_leading(const poe_expert *child, size_t n, const unsigned char *clamped) {
  if (!poei_expert_can(child, POE_CAN_PREFIX)) {
    return NULL;
  }
  const poe_prefix_ops *prefix = poe_expert_prefix(child);
  const poe_traits *traits = poe_expert_traits(child);
  const size_t *order = prefix->order(poe_expert_self(child));
  for (size_t k = 0; k < traits->dim; k++) {
    const poe_support *s = &traits->support[order[k]];
    if (k < n ? !clamped[order[k]] : s->kind != POE_DISCRETE || !isfinite(s->low) || !isfinite(s->high)) {
      return NULL;
    }
  }
  return prefix;
}

static poe_status set_traits(given *self, const unsigned char *clamped, poe_error *error) {
  const poe_expert *child = self->node.child[0];
  const poe_traits *traits = poe_expert_traits(child);
  const unsigned char *touch = poei_node_touch(child);
  bool whole_head = traits->head != NULL;
  for (size_t c = 0, j = 0; c < self->full; c++) {
    if (clamped[c]) {
      whole_head = whole_head && !traits->head[c];
      self->inverse[c] = SIZE_MAX;
      continue;
    }
    self->inverse[c] = j;
    self->free[j] = c;
    self->node.support[j] = traits->support[c];
    self->node.touch[j] = touch == NULL || touch[c];
    self->node.head[j++] = traits->head != NULL && traits->head[c];
  }
  if (!whole_head) {
    memset(self->node.head, 0, self->node.traits.dim);
  }
  poei_node_publish_head(&self->node);
  self->node.traits.capabilities = traits->capabilities & (POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_FORM);
  self->prefix = given_leading(child, self->n, clamped);
  if (self->prefix != NULL) {
    self->node.traits.capabilities |= POE_CAN_SAMPLE | POE_CAN_LOG_Z;
  }
  self->node.traits.offset_error = traits->offset_error;
  return poei_node_view(&self->node, 1, &(poei_view_term){child, 1.0, self->inverse, self->clamp}, NULL, false, error);
}

poe_status poei_given_create(const poe_expert *child, size_t n, const size_t *index, const double *value,
                             poe_expert **out, poe_error *error) {
  size_t full = poe_expert_traits(child)->dim;
  if (n >= full) {
    return poe_error_set(error, POE_E_SHAPE, "all %zu coordinates are given: nothing is left free", full);
  }
  unsigned char *clamped = poei_calloc(full, 1);
  given *self = clamped == NULL ? NULL : poei_node_new(sizeof *self, full - n, 1, &child, error);
  if (self == NULL) {
    poei_free(clamped);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  self->n = n;
  self->full = full;
  atomic_init(&self->evidence, (double)NAN);
  self->index = poei_copy(index, n, sizeof *index);
  self->value = poei_copy(value, n, sizeof *value);
  self->free = poei_alloc(full - n, sizeof *self->free);
  self->inverse = poei_alloc(full, sizeof *self->inverse);
  self->clamp = poei_calloc(full, sizeof *self->clamp);
  poe_status status = POE_OK;
  if (self->index == NULL || self->value == NULL || self->free == NULL || self->inverse == NULL ||
      self->clamp == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else {
    status = check(child, n, index, value, clamped, error);
    for (size_t k = 0; k < n && status == POE_OK; k++) {
      self->clamp[index[k]] = value[k];
    }
    status = status == POE_OK ? check_simplices(poe_expert_traits(child), clamped, self->clamp, error) : status;
  }
  if (status == POE_OK) {
    status = set_traits(self, clamped, error);
  }
  poei_free(clamped);
  if (status != POE_OK) {
    given_destroy(self);
    return status;
  }
  return poei_node_wrap(&given_ops, self, out, error);
}

size_t poei_given_count(const poe_expert *expert) {
  return ((const given *)poe_expert_self(expert))->n;
}

const size_t *poei_given_index(const poe_expert *expert) {
  return ((const given *)poe_expert_self(expert))->index;
}

const double *poei_given_value(const poe_expert *expert) {
  return ((const given *)poe_expert_self(expert))->value;
}

static poe_status given_rebuild(const poei_node *node, const poe_expert *const *children, poe_expert **out,
                                poe_error *error) {
  const given *self = (const given *)node;
  return poei_given_create(children[0], self->n, self->index, self->value, out, error);
}

const poei_node_look poei_given_look = {&given_ops, "given", given_rebuild};
