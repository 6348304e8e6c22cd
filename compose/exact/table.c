/* Tables of log-values over a box of integers, first coordinate slowest: products, mixtures, conditioning, marginals.
 *
 * A product is a join: the value of a joint state is the sum of the factors' values at the state's coordinates. Factors
 * with positive exponents go first, so that 0/0 = 0.
 */
#include "compose/exact/table.h"

#include <math.h>

#include "core/alloc.h"
#include "core/numerics.h"

size_t poei_table_states(const poe_form *form) {
  size_t states = 1;
  for (size_t j = 0; j < form->dim; j++) {
    states *= form->cardinality[j];
  }
  return states;
}

/* Allocates cardinality and low of a zeroed form. */
static poe_status table_shape(poe_form *form, size_t dim, poe_error *error) {
  form->kind = POE_FORM_TABLE;
  form->dim = dim;
  form->cardinality = poei_calloc(dim, sizeof *form->cardinality);
  form->low = poei_calloc(dim, sizeof *form->low);
  if (form->cardinality == NULL || form->low == NULL) {
    poe_form_release(form);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  return POE_OK;
}

/* Allocates the values, `fill` each, once cardinality is known. */
static poe_status table_values(poe_form *form, size_t limit, double fill, poe_error *error) {
  size_t states = 1;
  for (size_t j = 0; j < form->dim; j++) {
    if (!poei_mul_size(states, form->cardinality[j], &states) || states > limit) {
      return poe_error_set(error, POE_E_CAPABILITY, "the joint table has more than %zu states", limit);
    }
  }
  form->log_value = poei_alloc(states, sizeof *form->log_value);
  if (form->log_value == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t s = 0; s < states; s++) {
    form->log_value[s] = fill;
  }
  return POE_OK;
}

/* For each coordinate j of `part` (at place[j] in `whole`, NULL: j): the stride in the whole's state number and in the
 * part's, so that whole state s is part state sum_j (s / whole_stride_j % cardinality + shift_j) part_stride_j. */
typedef struct digit {
  size_t whole_stride, whole_cardinality, part_stride, part_cardinality;
  double shift; /* whole low - part low */
} digit;

static digit *digits_of(const poe_form *whole, const poe_form *part, const size_t *place) {
  digit *digits = poei_alloc(part->dim, sizeof *digits);
  size_t part_stride = 1;
  for (size_t j = part->dim; digits != NULL && j-- > 0;) {
    size_t c = place == NULL ? j : place[j], stride = 1;
    for (size_t k = c + 1; k < whole->dim; k++) {
      stride *= whole->cardinality[k];
    }
    digits[j] = (digit){stride, whole->cardinality[c], part_stride, part->cardinality[j], whole->low[c] - part->low[j]};
    part_stride *= part->cardinality[j];
  }
  return digits;
}

/* The part's state of whole state s; SIZE_MAX when it is outside the part's range. */
static size_t part_state(const digit *digits, size_t n, size_t s) {
  size_t state = 0;
  for (size_t j = 0; j < n; j++) {
    double value = (double)(s / digits[j].whole_stride % digits[j].whole_cardinality) + digits[j].shift;
    if (value < 0.0 || value >= (double)digits[j].part_cardinality) {
      return SIZE_MAX;
    }
    state += (size_t)value * digits[j].part_stride;
  }
  return state;
}

/* ---- products ---- */

/* The range of each coordinate: what all factors with positive exponent allow; where there is none, the divisors'. */
static poe_status product_ranges(size_t n, const poei_scoped_form *factors, poe_form *form, poe_error *error) {
  for (int divisors = 0; divisors <= 1; divisors++) {
    unsigned char *bounded = poei_calloc(form->dim, 1);
    if (bounded == NULL) {
      return poe_error_set(error, POE_E_MEMORY, "out of memory");
    }
    for (size_t c = 0; c < form->dim; c++) {
      bounded[c] = form->cardinality[c] != 0;
    }
    for (size_t i = 0; i < n; i++) {
      const poe_form *own = &factors[i].form;
      for (size_t j = 0; (factors[i].exponent < 0.0) == (divisors == 1) && j < own->dim; j++) {
        size_t c = factors[i].index == NULL ? j : factors[i].index[j];
        if (divisors == 1 && bounded[c]) {
          continue;
        }
        double low = own->low[j], high = low + (double)own->cardinality[j] - 1.0;
        if (form->cardinality[c] != 0) {
          low = fmax(low, form->low[c]);
          high = fmin(high, form->low[c] + (double)form->cardinality[c] - 1.0);
        }
        if (low > high) {
          poei_free(bounded);
          return poe_error_set(error, POE_E_EMPTY, "the factors share no value of coordinate %zu", c);
        }
        form->low[c] = low;
        form->cardinality[c] = (size_t)(high - low) + 1;
      }
    }
    poei_free(bounded);
  }
  for (size_t c = 0; c < form->dim; c++) {
    if (form->cardinality[c] == 0) {
      return poe_error_set(error, POE_E_CAPABILITY, "no table covers coordinate %zu", c);
    }
  }
  return POE_OK;
}

static poe_status multiply(poe_form *form, const poei_scoped_form *factor, poe_error *error) {
  digit *digits = digits_of(form, &factor->form, factor->index);
  if (digits == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  size_t states = poei_table_states(form);
  poe_status status = POE_OK;
  for (size_t s = 0; s < states && status == POE_OK; s++) {
    size_t own = part_state(digits, factor->form.dim, s);
    poe_accum_value(&form->log_value[s], factor->exponent, own == SIZE_MAX ? -INFINITY : factor->form.log_value[own]);
    if (form->log_value[s] == INFINITY) {
      status =
          poe_error_set(error, POE_E_IMPROPER, "a divisor is 0 where the rest is not, in state %zu of %zu", s, states);
    }
  }
  poei_free(digits);
  return status;
}

poe_status poei_table_product(size_t dim, size_t n, const poei_scoped_form *factors, size_t limit, poe_form *out,
                              poe_error *error) {
  poe_form form = {0};
  poe_status status = table_shape(&form, dim, error);
  if (status != POE_OK) {
    return status;
  }
  status = product_ranges(n, factors, &form, error);
  if (status == POE_OK) {
    status = table_values(&form, limit, 0.0, error);
  }
  for (int divisors = 0; divisors <= 1; divisors++) {
    for (size_t i = 0; i < n && status == POE_OK; i++) {
      if ((factors[i].exponent < 0.0) == (divisors == 1)) {
        status = multiply(&form, &factors[i], error);
      }
    }
  }
  if (status != POE_OK) {
    poe_form_release(&form);
    return status;
  }
  *out = form;
  return POE_OK;
}

/* ---- mixtures ---- */

static poe_status add_tables(poe_form *form, size_t n, const poe_form *forms, const double *log_weight,
                             poe_error *error) {
  size_t states = poei_table_states(form);
  for (size_t k = 0; k < n; k++) {
    digit *digits = digits_of(form, &forms[k], NULL);
    if (digits == NULL) {
      return poe_error_set(error, POE_E_MEMORY, "out of memory");
    }
    for (size_t s = 0; s < states; s++) {
      size_t own = part_state(digits, form->dim, s);
      if (own != SIZE_MAX) {
        form->log_value[s] = poei_log_add(form->log_value[s], log_weight[k] + forms[k].log_value[own]);
      }
    }
    poei_free(digits);
  }
  return POE_OK;
}

poe_status poei_table_mixture(size_t n, const poe_form *forms, const double *log_weight, size_t limit, poe_form *out,
                              poe_error *error) {
  poe_form form = {0};
  poe_status status = table_shape(&form, forms[0].dim, error);
  if (status != POE_OK) {
    return status;
  }
  for (size_t j = 0; j < form.dim; j++) {
    double low = INFINITY, high = -INFINITY;
    for (size_t k = 0; k < n; k++) {
      low = fmin(low, forms[k].low[j]);
      high = fmax(high, forms[k].low[j] + (double)forms[k].cardinality[j] - 1.0);
    }
    form.low[j] = low;
    form.cardinality[j] = (size_t)(high - low) + 1;
  }
  status = table_values(&form, limit, -INFINITY, error);
  if (status == POE_OK) {
    status = add_tables(&form, n, forms, log_weight, error);
  }
  if (status != POE_OK) {
    poe_form_release(&form);
    return status;
  }
  *out = form;
  return POE_OK;
}

/* ---- conditioning and marginals: sums over the states of the source ---- */

/* The table over coordinates keep[n] of `form`, summing over states that agree with value[] where fixed[]. */
static poe_status project(const poe_form *form, size_t n, const size_t *keep, const unsigned char *fixed,
                          const double *value, double beta, poe_form *out, poe_error *error) {
  poe_form made = {0};
  poe_status status = table_shape(&made, n, error);
  for (size_t j = 0; j < n && status == POE_OK; j++) {
    made.cardinality[j] = form->cardinality[keep[j]];
    made.low[j] = form->low[keep[j]];
  }
  if (status == POE_OK) {
    status = table_values(&made, SIZE_MAX, -INFINITY, error);
  }
  digit *to = status == POE_OK ? digits_of(form, &made, keep) : NULL;
  digit *own = status == POE_OK ? digits_of(form, form, NULL) : NULL;
  if (status == POE_OK && (to == NULL || own == NULL)) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  size_t states = poei_table_states(form);
  for (size_t s = 0; s < states && status == POE_OK; s++) {
    bool agrees = true;
    for (size_t c = 0; c < form->dim && agrees; c++) {
      agrees = !fixed[c] || form->low[c] + (double)(s / own[c].whole_stride % own[c].whole_cardinality) == value[c];
    }
    if (agrees) {
      double *at = &made.log_value[part_state(to, n, s)];
      *at = isinf(beta) ? fmax(*at, form->log_value[s]) : poei_log_add(*at, beta * form->log_value[s]);
    }
  }
  for (size_t s = 0; status == POE_OK && isfinite(beta) && s < poei_table_states(&made); s++) {
    made.log_value[s] /= beta;
  }
  poei_free(to);
  poei_free(own);
  if (status != POE_OK) {
    poe_form_release(&made);
    return status;
  }
  *out = made;
  return POE_OK;
}

poe_status poei_table_given(const poe_form *form, size_t n, const size_t *index, const double *value, poe_form *out,
                            poe_error *error) {
  size_t *keep = poei_alloc(form->dim, sizeof *keep);
  unsigned char *fixed = poei_calloc(form->dim, 1);
  double *at = poei_calloc(form->dim, sizeof *at);
  poe_status status = POE_OK;
  if (keep == NULL || fixed == NULL || at == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else {
    for (size_t k = 0; k < n; k++) {
      fixed[index[k]] = 1;
      at[index[k]] = value[k];
    }
    size_t left = 0;
    for (size_t c = 0; c < form->dim; c++) {
      if (!fixed[c]) {
        keep[left++] = c;
      }
    }
    status = project(form, left, keep, fixed, at, 1.0, out, error);
  }
  poei_free(keep);
  poei_free(fixed);
  poei_free(at);
  return status;
}

poe_status poei_table_marginal(const poe_form *form, size_t n, const size_t *keep, double beta, poe_form *out,
                               poe_error *error) {
  unsigned char *fixed = poei_calloc(form->dim, 1);
  if (fixed == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = project(form, n, keep, fixed, NULL, beta, out, error);
  poei_free(fixed);
  return status;
}
