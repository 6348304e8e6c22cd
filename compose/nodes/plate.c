/* One expert on many index sets: log p(x) = sum_m log p_child(x[index[m, :]]). A graph of ten thousand equal factors is
 * one node.
 *
 * The n * m gathered rows are evaluated in blocks of a fixed number of rows (a function of n alone), so memory does not
 * grow with m and large batches reach the child whatever n is.
 */
#include <string.h>

#include "compose/exact/gaussian.h"
#include "compose/exact/table.h"
#include "compose/nodes/view.h"
#include "core/alloc.h"

enum { BLOCK_ROWS = 256 }; /* rows per call of the child, at least */

typedef struct plate {
  poei_node node;
  size_t m, d;    /* index sets, child's coordinates            */
  size_t *index;  /* [m, d]                                      */
  bool partition; /* the index sets are disjoint and cover the space */
} plate;

static void plate_destroy(void *state) {
  plate *self = state;
  poei_free(self->index);
  poei_node_free(&self->node);
}

static size_t block_rows(const plate *self, size_t n) {
  size_t total, block = n > BLOCK_ROWS ? n : BLOCK_ROWS;
  return poei_mul_size(n, self->m, &total) && total < block ? total : block;
}

static size_t plate_scratch(const void *state, unsigned want, size_t n) {
  const plate *self = state;
  const poe_expert *child = self->node.child[0];
  if ((want & POE_WANT_ONEHOT) != 0) {
    return poei_node_onehot_scratch(&self->node, n);
  }
  if ((want & POE_WANT_SAMPLE) != 0) {
    return poei_child_scratch(child, want, n) + poe_scratch_need(n * self->d, sizeof(double)) +
           poe_scratch_need(n, sizeof(poe_rng));
  }
  size_t block = block_rows(self, n), bytes = poei_child_scratch(child, want, block);
  bytes += poe_scratch_need(block * self->d, sizeof(double)) + poe_scratch_need(block, sizeof(double)) +
           poe_scratch_need(n, sizeof(double));
  bytes += (want & POE_WANT_GRAD) != 0 ? poe_scratch_need(block * self->d, sizeof(double)) : 0;
  return bytes;
}

/* Adds the values of block rows first .. first + count - 1 (row r is set r % m of row r / m) to total[n], and their
 * weighted gradients to out. A value of -inf wins over everything. */
static void collect(const plate *self, size_t first, size_t count, const double *value, const double *grad,
                    poe_weights weights, poe_accum out, double *total) {
  for (size_t b = 0; b < count; b++) {
    size_t i = (first + b) / self->m, set = (first + b) % self->m;
    const size_t *index = &self->index[set * self->d];
    total[i] = total[i] == -INFINITY || value[b] == -INFINITY ? -INFINITY : total[i] + value[b];
    double w = weights.w[i * weights.inc];
    if (out.grad == NULL || w == 0.0 || value[b] == -INFINITY) {
      continue;
    }
    for (size_t j = 0; j < self->d; j++) {
      if (self->node.support[index[j]].kind != POE_DISCRETE) {
        out.grad[i * out.ldg + index[j]] += w * grad[b * self->d + j];
      }
    }
  }
}

static poe_status plate_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                 poe_scratch *scratch, poe_error *error) {
  const plate *self = state;
  size_t mark = poe_scratch_mark(scratch), d = self->d, all = rows.n * self->m, block = block_rows(self, rows.n);
  double one = 1.0;
  double *x = poe_scratch_doubles(scratch, block * d), *total = poe_scratch_doubles(scratch, rows.n);
  poe_accum value = {.logp = poe_scratch_doubles(scratch, block), .ldg = d};
  value.grad = out.grad == NULL ? NULL : poe_scratch_doubles(scratch, block * d);
  memset(total, 0, rows.n * sizeof *total);
  poe_status status = POE_OK;
  for (size_t first = 0; first < all && status == POE_OK; first += block) {
    size_t count = all - first < block ? all - first : block;
    for (size_t b = 0; b < count; b++) {
      const double *row = &rows.x[(first + b) / self->m * rows.ld];
      const size_t *index = &self->index[(first + b) % self->m * d];
      for (size_t j = 0; j < d; j++) {
        x[b * d + j] = row[index[j]];
      }
    }
    memset(value.logp, 0, count * sizeof(double));
    if (value.grad != NULL) {
      memset(value.grad, 0, count * d * sizeof(double));
    }
    status =
        poei_child_eval(self->node.child[0], (poe_rows){count, d, d, x}, (poe_weights){&one, 0}, value, scratch, error);
    if (status == POE_OK) {
      collect(self, first, count, value.logp, value.grad, weights, out, total);
    }
  }
  for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], total[i]);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status plate_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                               poe_error *error) {
  const plate *self = state;
  size_t mark = poe_scratch_mark(scratch), d = self->d;
  double *x = poe_scratch_doubles(scratch, rows.n * d);
  poe_rng *own = poe_scratch_bytes(scratch, rows.n * sizeof *own);
  poe_status status = POE_OK;
  for (size_t set = 0; set < self->m && status == POE_OK; set++) {
    for (size_t i = 0; i < rows.n; i++) {
      own[i] = poe_rng_child(at[i], (uint32_t)set);
    }
    status = poe_expert_sample(self->node.child[0], (poe_rows_out){rows.n, d, d, x}, own, scratch, error);
    for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
      for (size_t j = 0; j < d; j++) {
        rows.x[i * rows.ld + self->index[set * d + j]] = x[i * d + j];
      }
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status plate_log_z(const void *state, double *log_z, poe_error *error) {
  const plate *self = state;
  poe_status status = poe_expert_log_z(self->node.child[0], log_z, error);
  if (status == POE_OK) {
    *log_z *= (double)self->m;
  }
  return status;
}

static poe_status plate_form(const void *state, poe_form *form, poe_error *error) {
  const plate *self = state;
  poe_form child;
  memset(&child, 0, sizeof child);
  poe_status status = poe_expert_form(self->node.child[0], &child, error);
  if (status != POE_OK) {
    return status;
  }
  poei_scoped_form *scoped = poei_alloc(self->m, sizeof *scoped);
  if (scoped == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else {
    for (size_t set = 0; set < self->m; set++) { /* the sets share the arrays of one form */
      scoped[set] = (poei_scoped_form){child, &self->index[set * self->d], 1.0};
    }
    size_t dim = self->node.traits.dim;
    status = child.kind == POE_FORM_TABLE
                 ? poei_table_product(dim, self->m, scoped, POEI_FORM_MAX_STATES, form, error)
                 : poei_gaussians_product(dim, self->m, scoped, POEI_FORM_MAX_COMPONENTS, form, error);
  }
  poei_free(scoped);
  poe_form_release(&child);
  return status;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops plate_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "plate",
    .doc = "one density on many sets of coordinates",
    .params = no_params,
    .create = poei_node_create,
    .destroy = plate_destroy,
    .traits = poei_node_traits,
    .scratch = plate_scratch,
    .eval_add = plate_eval_add,
    .sample = plate_sample,
    .log_z = plate_log_z,
    .form = plate_form,
    .local = &poei_node_local,
    .onehot_grad_add = poei_node_onehot_grad_add,
};

/* ---- making and looking in ---- */

static poe_status set_supports(plate *self, poe_error *error) {
  const poe_expert *child = self->node.child[0];
  const poe_support *support = poe_expert_traits(child)->support;
  const unsigned char *touch = poei_node_touch(child);
  size_t dim = self->node.traits.dim;
  for (size_t k = 0; k < self->m * self->d; k++) {
    size_t c = self->index[k], j = k % self->d;
    if (c >= dim) {
      return poe_error_set(error, POE_E_SHAPE, "coordinate %zu is not among the %zu of the space", c, dim);
    }
    for (size_t other = k - j; other < k; other++) {
      if (self->index[other] == c) {
        return poe_error_set(error, POE_E_SHAPE, "index set %zu names coordinate %zu twice", k / self->d, c);
      }
    }
    if (!poei_support_intersect(&self->node.support[c], &support[j])) {
      return poe_error_set(error, POE_E_EMPTY, "the factors of the plate share no value of coordinate %zu", c);
    }
    self->node.touch[c] |= touch == NULL || touch[j];
  }
  return POE_OK;
}

static void set_capabilities(plate *self) {
  const poe_traits *traits = poe_expert_traits(self->node.child[0]);
  size_t dim = self->node.traits.dim, states = 1;
  unsigned own = traits->capabilities;
  if (!self->partition) {
    own &= ~(unsigned)(POE_CAN_SAMPLE | POE_CAN_LOG_Z);
  }
  bool table = self->d > 0 && traits->support[0].kind == POE_DISCRETE;
  for (size_t j = 0; j < dim && table; j++) {
    if (!poei_mul_size(states, poei_support_states(&self->node.support[j]), &states) || states == 0 ||
        states > POEI_FORM_MAX_STATES) {
      own &= ~(unsigned)POE_CAN_FORM;
      break;
    }
  }
  if (!table && dim > POEI_FORM_MAX_DIM) {
    own &= ~(unsigned)POE_CAN_FORM;
  }
  self->node.traits.capabilities = own;
  self->node.traits.offset_error = traits->offset_error * (double)self->m;
}

static poe_status set_view(plate *self, poe_error *error) {
  poei_view_term *terms = poei_alloc(self->m, sizeof *terms);
  if (terms == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t set = 0; set < self->m; set++) {
    terms[set] = (poei_view_term){self->node.child[0], 1.0, &self->index[set * self->d], NULL};
  }
  poe_status status = poei_node_view(&self->node, self->m, terms, NULL, true, error);
  poei_free(terms);
  return status;
}

static poe_status set_traits(plate *self, poe_error *error) {
  poe_status status = set_supports(self, error);
  if (status != POE_OK) {
    return status;
  }
  poei_scope *scopes = poei_alloc(self->m, sizeof *scopes);
  if (scopes == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  const poe_expert *child = self->node.child[0];
  for (size_t set = 0; set < self->m; set++) {
    scopes[set] =
        (poei_scope){self->d, &self->index[set * self->d], poe_expert_traits(child)->head, poei_node_touch(child)};
  }
  bool normalised;
  size_t dim = self->node.traits.dim;
  status = poei_heads_union(dim, self->m, scopes, self->node.head, NULL, &normalised, error);
  if (status == POE_OK) {
    status = poei_scopes_partition(dim, self->m, scopes, &self->partition, error);
  }
  poei_free(scopes);
  poei_node_publish_head(&self->node);
  set_capabilities(self);
  return status == POE_OK ? set_view(self, error) : status;
}

poe_status poei_plate_create(const poe_expert *child, size_t m, size_t dim, const size_t *index, poe_expert **out,
                             poe_error *error) {
  size_t d = poe_expert_traits(child)->dim, total;
  if (m == 0 || d == 0 || !poei_mul_size(m, d, &total)) {
    return poe_error_set(error, POE_E_USAGE, "a plate of %zu sets of %zu coordinates", m, d);
  }
  plate *self = poei_node_new(sizeof *self, dim, 1, &child, error);
  if (self == NULL) {
    return POE_E_MEMORY;
  }
  self->m = m;
  self->d = d;
  self->index = poei_copy(index, total, sizeof *index);
  poe_status status =
      self->index == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : set_traits(self, error);
  if (status != POE_OK) {
    plate_destroy(self);
    return status;
  }
  return poei_node_wrap(&plate_ops, self, out, error);
}

size_t poei_plate_count(const poe_expert *expert) {
  return ((const plate *)poe_expert_self(expert))->m;
}

const size_t *poei_plate_index(const poe_expert *expert) {
  return ((const plate *)poe_expert_self(expert))->index;
}

static poe_status plate_rebuild(const poei_node *node, const poe_expert *const *children, poe_expert **out,
                                poe_error *error) {
  const plate *self = (const plate *)node;
  size_t dim = poe_expert_traits(children[0])->dim;
  if (dim != self->d) {
    return poe_error_set(error, POE_E_SHAPE, "a plate over sets of %zu coordinates cannot hold a density over %zu",
                         self->d, dim);
  }
  return poei_plate_create(children[0], self->m, node->traits.dim, self->index, out, error);
}

const poei_node_look poei_plate_look = {&plate_ops, "plate", plate_rebuild};
