/* Product of experts: log p(x) = sum_i t_i log p_i(x) (Hinton 2002; log-linear pooling with weights t_i).
 *
 * Powers and quotients are exponents, so `a * b / c^t` is one node. Factors with positive exponents are evaluated
 * first, so that a row outside a factor's support stays at -inf whatever the divisors say (0/0 = 0). Nested products
 * are opened for evaluation where that changes no value. With a divisor the value is formed in a temporary, because
 * under a negative weight the order would otherwise be lost.
 *
 * Children and factors are over coordinates of their own: ten thousand factors over two coordinates each take the room
 * of twenty thousand, not of ten thousand rows. Slices are looked through.
 *
 * Exact draws and log Z where the factors are independent: exponents 1 over disjoint coordinates.
 */
#include <string.h>

#include "compose/exact/gaussian.h"
#include "compose/exact/table.h"
#include "compose/nodes/product_parts.h"
#include "core/alloc.h"

/* ---- the factors as evaluated ---- */

/* (b / c)^-1 is not c / b where both vanish, so a product with a divisor is only opened under a positive exponent. */
static bool can_open(const poe_expert *child, double exponent) {
  if (poei_node_kind_of(child) != POEI_NODE_product) {
    return false;
  }
  const poei_product *inner = poe_expert_self(child);
  return inner->wall == NULL && (exponent > 0.0 || !inner->divides);
}

/* How many factors there will be, and how many coordinates of those of nested products. */
static void count_factors(const poei_product *self, size_t *count, size_t *inner) {
  *count = *inner = 0;
  for (size_t i = 0; i < self->node.n; i++) {
    bool open = can_open(self->node.child[i], self->exponent[i]);
    const poei_product *nested = open ? poe_expert_self(self->node.child[i]) : NULL;
    *count += open ? nested->n_factors : 1;
    for (size_t k = 0; open && self->index[i] != NULL && k < nested->n_factors; k++) {
      *inner += poe_expert_traits(nested->factor[k].expert)->dim;
    }
  }
}

/* Rank of evaluation: plain factors, factors that may be +inf, divisors. */
static int factor_rank(const poei_factor *factor) {
  return factor->exponent < 0.0 ? 2 : poei_node_diverges(factor->expert) ? 1 : 0;
}

/* The factors of the nested product `child` over coordinates index[] (NULL: all), appended to all[n]; what they need of
 * coordinates is written to *room. */
static size_t open_child(const poei_product *child, double exponent, const size_t *index, poei_factor *all, size_t n,
                         size_t **room) {
  for (size_t k = 0; k < child->n_factors; k++) {
    poei_factor factor = child->factor[k];
    factor.exponent *= exponent;
    if (index != NULL) {
      size_t d = poe_expert_traits(factor.expert)->dim;
      for (size_t j = 0; j < d; j++) {
        (*room)[j] = index[factor.index == NULL ? j : factor.index[j]];
      }
      factor.index = *room;
      *room += d;
    }
    all[n++] = factor;
  }
  return n;
}

static poe_status collect_factors(poei_product *self, poe_error *error) {
  size_t count, inner, n = 0;
  count_factors(self, &count, &inner);
  self->factor = poei_alloc(count, sizeof *self->factor);
  self->place = poei_alloc(count, sizeof *self->place);
  self->inner = poei_alloc(inner, sizeof *self->inner);
  poei_factor *all = poei_alloc(count, sizeof *all);
  if (self->factor == NULL || self->place == NULL || self->inner == NULL || all == NULL) {
    poei_free(all);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  size_t *room = self->inner;
  for (size_t i = 0; i < self->node.n; i++) {
    const poe_expert *child = self->node.child[i];
    if (can_open(child, self->exponent[i])) {
      n = open_child(poe_expert_self(child), self->exponent[i], self->index[i], all, n, &room);
    } else {
      all[n++] = (poei_factor){child, self->exponent[i], self->index[i]};
    }
  }
  for (int rank = 0; rank <= 2; rank++) {
    for (size_t i = 0; i < n; i++) {
      if (factor_rank(&all[i]) == rank) {
        self->factor[self->n_factors++] = all[i];
      }
    }
  }
  for (size_t i = 0; i < n; i++) {
    self->place[i] = poei_place_at(poe_expert_traits(self->factor[i].expert)->dim, self->factor[i].index);
  }
  self->divides = n > 0 && self->factor[n - 1].exponent < 0.0;
  self->node.diverges = self->node.diverges || self->divides;
  poei_free(all);
  return POE_OK;
}

/* ---- slots ---- */

static void product_destroy(void *state) {
  poei_product *self = state;
  for (size_t i = 0; self->index != NULL && i < self->node.n; i++) {
    poei_free(self->index[i]);
  }
  poei_free(self->index);
  poei_free(self->exponent);
  poei_free(self->factor);
  poei_free(self->place);
  poei_free(self->inner);
  poei_free(self->block);
  poei_free(self->wall);
  poei_node_free(&self->node);
}

static size_t product_scratch(const void *state, unsigned want, size_t n) {
  const poei_product *self = state;
  size_t most = 0, dim = self->node.traits.dim;
  if ((want & POE_WANT_ONEHOT) != 0) {
    return poei_node_onehot_scratch(&self->node, n);
  }
  if ((want & POE_WANT_SAMPLE) != 0) {
    for (size_t b = 0; b < self->n_blocks; b++) {
      size_t bytes = poei_child_scratch(self->block[b].expert, want, n);
      const poei_place_in *place = &self->block[b].place;
      bytes += place->index == NULL ? 0 : poe_scratch_need(n * place->n, sizeof(double));
      most = bytes > most ? bytes : most;
    }
    return most + poe_scratch_need(n, sizeof(poe_rng));
  }
  for (size_t i = 0; i < self->n_factors; i++) {
    size_t bytes = poei_place_scratch(self->factor[i].expert, &self->place[i], want, n);
    most = bytes > most ? bytes : most;
  }
  most += poe_scratch_need(n, sizeof(double));
  if (self->divides) {
    most += poe_scratch_need(n, sizeof(double));
    most += (want & POE_WANT_GRAD) != 0 ? poe_scratch_need(n * dim, sizeof(double)) : 0;
  }
  return most;
}

static poe_status add_factors(const poei_product *self, poe_rows rows, poe_weights weights, poe_accum out,
                              poe_scratch *scratch, poe_error *error) {
  size_t mark = poe_scratch_mark(scratch);
  double one;
  double *scaled = weights.inc == 0 ? &one : poe_scratch_doubles(scratch, rows.n);
  poe_status status = POE_OK;
  for (size_t i = 0; i < self->n_factors && status == POE_OK; i++) {
    const poei_factor *factor = &self->factor[i];
    poe_weights powered = weights;
    if (factor->exponent != 1.0) {
      for (size_t r = 0; r < (weights.inc == 0 ? 1 : rows.n); r++) {
        scaled[r] = weights.w[r] * factor->exponent;
      }
      powered.w = scaled;
    }
    status = poei_place_eval(factor->expert, &self->place[i], self->node.support, rows, powered, out, scratch, error);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status product_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                   poe_scratch *scratch, poe_error *error) {
  const poei_product *self = state;
  if (!self->divides) {
    return add_factors(self, rows, weights, out, scratch, error);
  }
  size_t mark = poe_scratch_mark(scratch), size = rows.n * rows.d;
  double one = 1.0;
  poe_accum value = {.logp = poe_scratch_doubles(scratch, rows.n), .ldg = rows.d};
  memset(value.logp, 0, rows.n * sizeof(double));
  if (out.grad != NULL) {
    value.grad = poe_scratch_doubles(scratch, size);
    memset(value.grad, 0, size * sizeof(double));
  }
  poe_status status = add_factors(self, rows, (poe_weights){&one, 0}, value, scratch, error);
  for (size_t i = 0; i < rows.n && self->wall != NULL; i++) {
    for (size_t j = 0; j < rows.d; j++) {
      double x = rows.x[i * rows.ld + j];
      if (self->wall[j] && !isnan(x) && !poei_support_contains(&self->node.support[j], x)) {
        value.logp[i] = -INFINITY;
      }
    }
  }
  if (status == POE_OK) {
    poei_accum_rows(rows.n, rows.d, value.logp, value.grad, weights, out, self->node.support);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status product_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                 poe_error *error) {
  const poei_product *self = state;
  poe_status status = POE_OK;
  for (size_t b = 0; b < self->n_blocks && status == POE_OK; b++) {
    const poe_expert *expert = self->block[b].expert;
    const poei_place_in *place = &self->block[b].place;
    size_t mark = poe_scratch_mark(scratch);
    poe_rng *own = poei_child_addresses(rows.n, at, (uint32_t)b, scratch);
    if (place->index == NULL) {
      poe_rows_out part = {rows.n, place->n, rows.ld, rows.x + place->offset};
      status = poe_expert_sample(expert, part, own, scratch, error);
    } else {
      poe_rows_out part = {rows.n, place->n, place->n, poe_scratch_doubles(scratch, rows.n * place->n)};
      status = poe_expert_sample(expert, part, own, scratch, error);
      for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
        for (size_t j = 0; j < place->n; j++) {
          rows.x[i * rows.ld + place->index[j]] = part.x[i * place->n + j];
        }
      }
    }
    poe_scratch_release(scratch, mark);
  }
  return status;
}

static poe_status product_log_z(const void *state, double *log_z, poe_error *error) {
  const poei_product *self = state;
  double total = 0.0;
  for (size_t b = 0; b < self->n_blocks; b++) {
    double part;
    if (!poei_expert_known_log_z(self->block[b].expert, &part)) {
      return poe_error_set(error, POE_E_CAPABILITY, "a factor of the product has no exact log Z");
    }
    total += part;
  }
  *log_z = total;
  return POE_OK;
}

static poe_status combine_forms(const poei_product *self, const poei_scoped_form *scoped, poe_form *form,
                                poe_error *error) {
  size_t dim = self->node.traits.dim;
  for (size_t i = 1; i < self->n_factors; i++) {
    if (scoped[i].form.kind != scoped[0].form.kind) {
      return poe_error_set(error, POE_E_CAPABILITY, "the factors of the product have closed forms of different kinds");
    }
  }
  if (scoped[0].form.kind == POE_FORM_TABLE) {
    return poei_table_product(dim, self->n_factors, scoped, POEI_FORM_MAX_STATES, form, error);
  }
  return poei_gaussians_product(dim, self->n_factors, scoped, POEI_FORM_MAX_COMPONENTS, form, error);
}

static poe_status product_form(const void *state, poe_form *form, poe_error *error) {
  const poei_product *self = state;
  poei_scoped_form *scoped = poei_calloc(self->n_factors, sizeof *scoped);
  if (scoped == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = POE_OK;
  size_t built = 0;
  for (; built < self->n_factors && status == POE_OK; built++) {
    scoped[built].index = self->factor[built].index;
    scoped[built].exponent = self->factor[built].exponent;
    status = poe_expert_form(self->factor[built].expert, &scoped[built].form, error);
  }
  if (status == POE_OK) {
    status = combine_forms(self, scoped, form, error);
  }
  for (size_t i = 0; i < built; i++) {
    poe_form_release(&scoped[i].form);
  }
  poei_free(scoped);
  return status;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops product_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "product",
    .doc = "product of experts with exponents: log-densities add",
    .params = no_params,
    .create = poei_node_create,
    .destroy = product_destroy,
    .traits = poei_node_traits,
    .scratch = product_scratch,
    .eval_add = product_eval_add,
    .sample = product_sample,
    .log_z = product_log_z,
    .form = product_form,
    .local = &poei_node_local,
    .onehot_grad_add = poei_node_onehot_grad_add,
};

/* ---- making and looking in ---- */

/* Checks one child over index[] (NULL: all); seen[dim] holds for each coordinate the last child that named it, plus 1.
 */
static poe_status check(size_t dim, size_t i, const poe_expert *child, const size_t *index, double exponent,
                        size_t *seen, poe_error *error) {
  size_t own = poe_expert_traits(child)->dim;
  if (index == NULL && own != dim) {
    return poe_error_set(error, POE_E_SHAPE, "factor %zu of the product has %zu coordinates, not %zu", i, own, dim);
  }
  if (!isfinite(exponent)) {
    return poe_error_set(error, POE_E_DOMAIN, "exponent %zu of the product is not a finite number", i);
  }
  for (size_t j = 0; index != NULL && j < own; j++) {
    if (index[j] >= dim) {
      return poe_error_set(error, POE_E_SHAPE, "coordinate %zu is not among the %zu of the space", index[j], dim);
    }
    if (seen[index[j]] == i + 1) {
      return poe_error_set(error, POE_E_SHAPE, "coordinate %zu is named twice", index[j]);
    }
    seen[index[j]] = i + 1;
  }
  return POE_OK;
}

/* index[n], or index[inner[n]] when both are given, on the heap. */
static size_t *compose_index(size_t n, const size_t *index, const size_t *inner) {
  size_t *own = poei_alloc(n, sizeof *own);
  for (size_t j = 0; own != NULL && j < n; j++) {
    own[j] = inner == NULL ? index[j] : index == NULL ? inner[j] : index[inner[j]];
  }
  return own;
}

/* The children that count: without slices, kept[n], exponents and indices into self. */
static poe_status take_children(poei_product *self, size_t n, const poe_expert *const *children,
                                const size_t *const *index, const double *exponents, poe_error *error) {
  self->exponent = poei_alloc(n, sizeof *self->exponent);
  self->index = poei_calloc(n, sizeof *self->index);
  if (self->exponent == NULL || self->index == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0, k = 0; i < n; i++) {
    if (exponents[i] == 0.0) {
      continue;
    }
    const size_t *outer = index == NULL ? NULL : index[i];
    poei_scope scope = poei_scope_of(children[i], NULL); /* looks through a slice */
    self->exponent[k] = exponents[i];
    if (outer != NULL || scope.index != NULL) {
      self->index[k] = compose_index(scope.n, outer, scope.index);
      if (self->index[k] == NULL) {
        return poe_error_set(error, POE_E_MEMORY, "out of memory");
      }
    }
    k++;
  }
  return POE_OK;
}

/* kept[*n_kept]: the children with exponents other than 0, slices looked through. */
static poe_status check_children(size_t dim, size_t n, const poe_expert *const *children, const size_t *const *index,
                                 const double *exponents, const poe_expert **kept, size_t *n_kept, poe_error *error) {
  size_t *seen = poei_calloc(dim, sizeof *seen);
  poe_status status = seen == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  *n_kept = 0;
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    status = check(dim, i, children[i], index == NULL ? NULL : index[i], exponents[i], seen, error);
    if (exponents[i] != 0.0) {
      poei_scope_of(children[i], &kept[(*n_kept)++]);
    }
  }
  poei_free(seen);
  return status;
}

poe_status poei_product_create_scoped(size_t dim, size_t n, const poe_expert *const *children,
                                      const size_t *const *index, const double *exponents, poe_expert **out,
                                      poe_error *error) {
  const poe_expert **kept = poei_alloc(n, sizeof *kept);
  size_t n_kept = 0;
  if (kept == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = check_children(dim, n, children, index, exponents, kept, &n_kept, error);
  poei_product *self = status == POE_OK ? poei_node_new(sizeof *self, dim, n_kept, kept, error) : NULL;
  poei_free(kept);
  if (self == NULL) {
    return status == POE_OK ? POE_E_MEMORY : status;
  }
  status = take_children(self, n, children, index, exponents, error);
  if (status == POE_OK) {
    status = collect_factors(self, error);
  }
  if (status == POE_OK) {
    status = poei_product_traits(self, error);
  }
  if (status != POE_OK) {
    product_destroy(self);
    return status;
  }
  return poei_node_wrap(&product_ops, self, out, error);
}

poe_status poei_product_create(size_t dim, size_t n, const poe_expert *const *children, const double *exponents,
                               poe_expert **out, poe_error *error) {
  return poei_product_create_scoped(dim, n, children, NULL, exponents, out, error);
}

double poei_product_exponent(const poe_expert *expert, size_t index) {
  return ((const poei_product *)poe_expert_self(expert))->exponent[index];
}

const size_t *poei_product_index(const poe_expert *expert, size_t index) {
  return ((const poei_product *)poe_expert_self(expert))->index[index];
}

const poei_factor *poei_product_factors(const poe_expert *expert, size_t *n) {
  const poei_product *self = poe_expert_self(expert);
  *n = self->n_factors;
  return self->factor;
}

bool poei_product_has_walls(const poe_expert *expert) {
  return ((const poei_product *)poe_expert_self(expert))->wall != NULL;
}

static poe_status product_rebuild(const poei_node *node, const poe_expert *const *children, poe_expert **out,
                                  poe_error *error) {
  const poei_product *self = (const poei_product *)node;
  return poei_product_create_scoped(node->traits.dim, node->n, children, (const size_t *const *)self->index,
                                    self->exponent, out, error);
}

const poei_node_look poei_product_look = {&product_ops, "product", product_rebuild};
