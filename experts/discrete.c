/* Discrete families: their variables, their small joint tables, one-hot gradients by conditionals.
 *
 * The log-density of such a family is linear in the indicator of each single coordinate, log p = sum_v [x_j = v] c_v,
 * with c the conditional of coordinate j: that is the gradient in the one-hot embedding, at no approximation.
 */
#include "experts/discrete.h"

#include <string.h>

#include "core/alloc.h"
#include "experts/family.h"
#include "experts/form.h"
#include "experts/states.h"
#include "formats/tensor_file.h"

/* ---- variables and arguments ---- */

poe_status poei_discrete_values(const poe_args *args, size_t *k, poe_error *error) {
  poe_status status = poei_family_need_finite(args, error);
  size_t d = poe_args_dim(args), shared = 0;
  for (size_t j = 0; status == POE_OK && j < d; j++) {
    const poe_subject *subject = NULL;
    const poe_support *support = poei_family_support(args, j, &subject);
    if (support->low != 0.0) {
      return poe_error_set(error, POE_E_TYPE, "`%s` needs values 0, 1, ..., but those of `%s` start at %g", args->kind,
                           subject->name, support->low);
    }
    if (support->high >= (double)POEI_VALUES_MAX) {
      return poe_error_set(error, POE_E_SHAPE, "`%s` over `%s`, which has %.0f values, is too large", args->kind,
                           subject->name, support->high + 1.0);
    }
    size_t values = (size_t)support->high + 1;
    if (j > 0 && values != shared) {
      status =
          poe_error_set(error, POE_E_SHAPE, "`%s` needs variables of equal range, but `%s` has %zu values, not %zu",
                        args->kind, subject->name, values, shared);
      poe_error_hint(error, "use one `%s` for each", args->kind);
    }
    shared = values;
  }
  if (status == POE_OK) {
    *k = shared;
  }
  return status;
}

poe_status poei_discrete_sequence(const poe_args *args, size_t *k, poe_error *error) {
  poe_status status = poei_discrete_values(args, k, error);
  for (size_t i = 0; status == POE_OK && i < args->n_subjects; i++) {
    const poe_subject *subject = &args->subjects[i];
    if (subject->ndim > 1) {
      status = poe_error_set(error, POE_E_SHAPE, "`%s` is over one sequence, but `%s` has %zu axes", args->kind,
                             subject->name, subject->ndim);
      poe_error_hint(error, "for rows that are each a sequence: product(i in 0:%zu -> %s(x[i] | ...))",
                     subject->shape[0], args->kind);
    }
  }
  return status;
}

/* Row r of p becomes probabilities that sum to 1. */
static poe_status stochastic_row(const poe_args *args, const poe_arg *arg, size_t r, size_t rows, size_t columns,
                                 double *row, poe_error *error) {
  double sum = 0.0;
  for (size_t c = 0; c < columns; c++) {
    if (row[c] < 0.0) {
      return poe_args_error(arg, error, POE_E_DOMAIN,
                            "`%s` of `%s` holds probabilities, but number %zu of row %zu is %g", arg->name, args->kind,
                            c, r, row[c]);
    }
    sum += row[c];
  }
  if (!(fabs(sum - 1.0) <= 1e-5)) {
    if (rows == 1) {
      poe_args_error(arg, error, POE_E_DOMAIN, "`%s` of `%s` must sum to 1; it sums to %g", arg->name, args->kind, sum);
    } else {
      poe_args_error(arg, error, POE_E_DOMAIN, "row %zu of `%s` of `%s` must sum to 1; it sums to %g", r, arg->name,
                     args->kind, sum);
      poe_error_hint(error, "%s[i][j] is the probability of j given i: one row for each i", arg->name);
    }
    return POE_E_DOMAIN;
  }
  for (size_t c = 0; c < columns; c++) {
    row[c] /= sum;
  }
  return POE_OK;
}

static poe_status stochastic_shape(const poe_args *args, const char *name, size_t rows, size_t columns,
                                   poe_error *error) {
  const poe_arg *arg = poe_args_find(args, name);
  if (arg == NULL) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs `%s`", args->kind, name);
  }
  bool vector = rows == 1 && (arg->ndim == 1 || columns == 1), matrix = arg->ndim == 2 && arg->shape[0] == rows;
  size_t given = arg->ndim == 0 ? 1 : arg->shape[arg->ndim - 1], shape[2] = {rows, columns};
  if (given == columns && (vector || matrix)) {
    return POE_OK;
  }
  char has[160], needs[160];
  poe_args_error(arg, error, POE_E_SHAPE, "`%s` of `%s` has shape %s, but %s is needed", name, args->kind,
                 poei_shape_text(arg->ndim, arg->shape, has, sizeof has),
                 poei_shape_text(rows > 1 ? 2 : 1, rows > 1 ? shape : &columns, needs, sizeof needs));
  if (rows > 1) {
    poe_error_hint(error, "%s[i][j] is the probability of j given i: one row for each i", name);
  }
  return POE_E_SHAPE;
}

poe_status poei_discrete_stochastic(const poe_args *args, const char *name, size_t rows, size_t columns, double **p,
                                    double **log_p, poe_error *error) {
  poe_status status = stochastic_shape(args, name, rows, columns, error);
  if (status != POE_OK) {
    return status;
  }
  *p = poei_alloc(rows, columns * sizeof **p);
  *log_p = poei_alloc(rows, columns * sizeof **log_p);
  if (*p == NULL || *log_p == NULL) {
    return poei_family_memory(args->kind, error);
  }
  size_t numbers = rows * columns;
  status = poe_args_real(args, name, 1, &numbers, NAN, false, *p, error);
  for (size_t r = 0; status == POE_OK && r < rows; r++) {
    status = stochastic_row(args, poe_args_find(args, name), r, rows, columns, *p + r * columns, error);
  }
  for (size_t i = 0; status == POE_OK && i < numbers; i++) {
    (*log_p)[i] = log((*p)[i]);
  }
  return status;
}

poe_support *poei_discrete_support(size_t d, size_t k) {
  poe_support *support = poei_alloc(d, sizeof *support);
  for (size_t j = 0; support != NULL && j < d; j++) {
    support[j] = (poe_support){POE_DISCRETE, 0.0, (double)(k - 1), false, false};
  }
  return support;
}

/* ---- small tables ---- */

bool poei_discrete_small(size_t d, size_t k) {
  size_t states = 1;
  for (size_t j = 0; j < d && k > 1; j++) {
    if (k > POEI_TABLE_STATES / states) {
      return false;
    }
    states *= k;
  }
  return true;
}

/* Evaluates all states of a zeroed table, a block at a time. */
static poe_status form_fill(const poe_expert_ops *ops, const void *self, poe_form *form, poe_error *error) {
  enum { BLOCK = 64 };
  size_t d = form->dim, states = poei_form_states(form);
  poe_scratch *scratch = poe_scratch_create(ops->scratch(self, POE_WANT_LOGP, BLOCK));
  double *x = poei_alloc(d, BLOCK * sizeof *x), one = 1.0;
  poe_status status = POE_OK;
  if (scratch == NULL || x == NULL) {
    status = poei_family_memory(ops->kind, error);
  }
  for (size_t start = 0; status == POE_OK && start < states; start += BLOCK) {
    size_t n = states - start < BLOCK ? states - start : BLOCK;
    for (size_t i = 0; i < n; i++) {
      size_t index = start + i;
      for (size_t j = d; j-- > 0;) {
        x[i * d + j] = form->low[j] + (double)(index % form->cardinality[j]);
        index /= form->cardinality[j];
      }
    }
    status = ops->eval_add(self, (poe_rows){n, d, d, x}, (poe_weights){&one, 0},
                           (poe_accum){.logp = form->log_value + start}, scratch, error);
  }
  poei_free(x);
  poe_scratch_destroy(scratch);
  return status;
}

poe_status poei_discrete_form(const poe_expert_ops *ops, const void *self, poe_form *form, poe_error *error) {
  poe_traits traits;
  ops->traits(self, &traits);
  size_t d = traits.dim, *cardinality = poei_alloc(d, sizeof *cardinality);
  double *low = poei_alloc(d, sizeof *low);
  poe_form made = {0};
  poe_status status = POE_OK;
  if (cardinality == NULL || low == NULL) {
    status = poei_family_memory(ops->kind, error);
  }
  for (size_t j = 0; status == POE_OK && j < d; j++) {
    low[j] = traits.support[j].low;
    cardinality[j] = (size_t)(traits.support[j].high - low[j]) + 1;
  }
  if (status == POE_OK) {
    status = poei_form_table(&made, d, cardinality, low, error);
  }
  if (status == POE_OK) {
    status = form_fill(ops, self, &made, error);
  }
  poei_free(cardinality);
  poei_free(low);
  if (status != POE_OK) {
    poe_form_release(&made);
    return status;
  }
  *form = made;
  return POE_OK;
}

/* ---- one-hot gradients ---- */

static size_t most_values(size_t dim, const poe_support *support) {
  size_t most = 1;
  for (size_t j = 0; j < dim; j++) {
    size_t k = (size_t)(support[j].high - support[j].low) + 1;
    most = k > most ? k : most;
  }
  return most;
}

size_t poei_onehot_scratch(const poe_local_ops *local, const void *self, size_t dim, const poe_support *support) {
  return local->scratch(self) + poe_scratch_need(local->state_bytes(self), 1) +
         poe_scratch_need(most_values(dim, support), sizeof(double));
}

poe_status poei_onehot_grad_add(const poe_local_ops *local, const void *self, const poe_support *support, poe_rows rows,
                                poe_weights weights, double *out, size_t ldo, poe_scratch *scratch, poe_error *error) {
  size_t mark = poe_scratch_mark(scratch);
  void *state = poe_scratch_bytes(scratch, local->state_bytes(self));
  double *value = poe_scratch_doubles(scratch, most_values(rows.d, support));
  poe_status status = POE_OK;
  for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
    double *to = out + i * ldo, w = weights.w[i * weights.inc];
    status = local->open(self, rows.x + i * rows.ld, state, scratch, error);
    for (size_t j = 0; j < rows.d && status == POE_OK; j++) {
      size_t k = (size_t)(support[j].high - support[j].low) + 1;
      status = local->conditional(self, state, j, value, scratch, error);
      for (size_t v = 0; v < k && status == POE_OK; v++) {
        poe_accum_value(&to[v], w, value[v]);
      }
      to += k;
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

/* ---- sites ---- */

size_t poei_sites_bytes(size_t dim) {
  return sizeof(poei_sites) + dim * sizeof(uint32_t);
}

void poei_sites_open(poei_sites *sites, size_t dim, size_t k, const double *x) {
  sites->broken = 0;
  for (size_t j = 0; j < dim; j++) {
    size_t value = poei_state_index(x[j], 0.0, k);
    sites->value[j] = (uint32_t)value;
    sites->broken += value == k;
  }
}
