/* The Gaussians that a factor of a product is a sum of (terms.h): a Gaussian is one, a mixture has one per component.
 *
 * A Gaussian with an expert of its own is evaluated by it, which knows its parameters as they were written; components
 * of a form around their origins, c + l u - |W u|^2 / 2 with rows W of the precision's square root: nothing larger than
 * the answer is squared. A precision that is not positive (of a formula, of a quotient) is the difference of two
 * squares by its eigenvectors.
 */
#include "compose/exact/terms.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "compose/exact/root.h"
#include "compose/exact/truncated.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "experts/spd.h"

/* The expert without its box. */
static const poe_expert *unboxed(const poe_expert *expert) {
  while (poei_node_kind_of(expert) == POEI_NODE_restrict) {
    expert = poei_node_child(expert, 0);
  }
  return expert;
}

static poe_status form_of(const poe_expert *expert, poe_form *form, poe_error *error) {
  return poei_truncated_is(expert) ? poei_truncated_form(expert, form, error) : poe_expert_form(expert, form, error);
}

poe_status poei_unboxed_form(const poe_expert *expert, poe_form *form, poe_error *error) {
  return form_of(unboxed(expert), form, error);
}

/* Number of experts that `expert` is a sum of: the children of mixtures. */
static size_t count_summands(const poe_expert *expert) {
  if (poei_node_kind_of(expert) != POEI_NODE_mixture) {
    return 1;
  }
  size_t n = 0;
  for (size_t i = 0; i < poei_node_child_count(expert); i++) {
    n += count_summands(poei_node_child(expert, i));
  }
  return n;
}

/* Fills forms, and `whole`[n_forms], `weight`[n_forms]: the expert each is of, and its log weight. */
static poe_status open_summands(poei_terms *own, const poe_expert *expert, double log_weight, const poe_expert **whole,
                                double *weight, poe_error *error) {
  poe_status status = POE_OK;
  if (poei_node_kind_of(expert) == POEI_NODE_mixture) {
    for (size_t i = 0; i < poei_node_child_count(expert) && status == POE_OK; i++) {
      status = open_summands(own, poei_node_child(expert, i), log_weight + poei_mixture_log_weight(expert, i), whole,
                             weight, error);
    }
    return status;
  }
  status = form_of(expert, &own->form[own->n_forms], error);
  if (status == POE_OK && own->form[own->n_forms].kind != POE_FORM_GAUSSIANS) {
    poe_form_release(&own->form[own->n_forms]);
    return poe_error_set(error, POE_E_CAPABILITY, "a table is no Gaussian");
  }
  if (status == POE_OK) {
    whole[own->n_forms] = expert;
    weight[own->n_forms++] = log_weight;
  }
  return status;
}

/* Rows of a precision[n, n] that is not positive, w[n, n]: those of the positive part first. False when they are not to
 * be had. scaled[n, n] is work space. */
static bool split_rows(size_t n, const double *precision, double *scaled, double *w, size_t *plus, size_t *minus) {
  double *scale = poei_alloc(n, 2 * sizeof *scale), most = 0.0;
  if (scale == NULL) {
    return false;
  }
  double *value = scale + n;
  for (size_t i = 0; i < n; i++) { /* to the size of each coordinate's largest number */
    double largest = 0.0;
    for (size_t j = 0; j < n; j++) {
      largest = fmax(largest, fabs(precision[i * n + j]));
    }
    scale[i] = largest > 0.0 ? sqrt(largest) : 1.0;
  }
  for (size_t i = 0; i < n * n; i++) {
    scaled[i] = precision[i] / scale[i / n] / scale[i % n];
  }
  bool found = poei_symmetric_eigen(n, scaled, value, scaled);
  *plus = *minus = 0;
  for (size_t r = 0; r < n; r++) {
    most = fmax(most, fabs(value[r]));
  }
  for (size_t sign = 0; sign < 2 && found; sign++) {
    for (size_t r = 0; r < n; r++) {
      double own = sign == 0 ? value[r] : -value[r];
      if (own > (double)n * DBL_EPSILON * most) {
        double *row = w + (*plus + *minus) * n;
        for (size_t j = 0; j < n; j++) {
          row[j] = sqrt(own) * scaled[r * n + j] * scale[j];
        }
        *(sign == 0 ? plus : minus) += 1;
      }
    }
  }
  poei_free(scale);
  return found;
}

/* The terms of the forms. */
static poe_status make_terms(poei_terms *own, const poe_expert *const *whole, const double *weight, bool *diagonal,
                             poe_error *error) {
  size_t n = own->n, total = 0, numbers;
  for (size_t i = 0; i < own->n_forms; i++) {
    total += own->form[i].components;
  }
  double *work = poei_alloc(n, n * sizeof *work);
  own->term = poei_calloc(total, sizeof *own->term);
  if (poei_mul_size(n, n, &numbers) && poei_mul_size(numbers, total, &numbers)) {
    own->rows = poei_alloc(numbers, sizeof *own->rows);
  }
  poe_status status = work == NULL || own->term == NULL || own->rows == NULL
                          ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                          : POE_OK;
  for (size_t i = 0; i < own->n_forms && status == POE_OK; i++) {
    const poe_form *form = &own->form[i];
    bool evaluates = form->components == 1 && !poei_truncated_is(whole[i]) &&
                     poei_expert_can(whole[i], POE_CAN_EVAL | POE_CAN_GRADIENT);
    for (size_t c = 0; c < form->components && status == POE_OK; c++) {
      if (form->constant[c] == -INFINITY) {
        continue;
      }
      poei_term *made = &own->term[own->n_terms];
      *made = (poei_term){.expert = evaluates ? whole[i] : NULL, .form = form, .component = c, .log_weight = weight[i]};
      made->row = &own->rows[own->n_terms++ * n * n];
      const double *precision = &form->precision[c * n * n];
      *diagonal = *diagonal && poei_spd_diagonal(n, precision);
      if (!poei_root_rows(n, precision, work, made->row, &made->n_rows) &&
          !split_rows(n, precision, work, made->row, &made->n_rows, &made->n_minus)) {
        status = poe_error_set(error, POE_E_IMPROPER, "a factor grows without bound in some direction");
      }
      made->minus = made->row + made->n_rows * n;
    }
  }
  poei_free(work);
  return status;
}

poe_status poei_terms_open(poei_terms *terms, const poe_expert *expert, bool *diagonal, poe_error *error) {
  expert = unboxed(expert);
  size_t n = count_summands(expert);
  terms->n = poe_expert_traits(expert)->dim;
  terms->form = poei_calloc(n, sizeof *terms->form);
  const poe_expert **whole = poei_alloc(n, sizeof *whole);
  double *weight = poei_alloc(n, sizeof *weight);
  poe_status status = terms->form == NULL || whole == NULL || weight == NULL
                          ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                          : open_summands(terms, expert, 0.0, whole, weight, error);
  if (status == POE_OK) {
    status = make_terms(terms, whole, weight, diagonal, error);
  }
  poei_free(whole);
  poei_free(weight);
  return status;
}

void poei_terms_close(poei_terms *terms) {
  for (size_t i = 0; i < terms->n_forms; i++) {
    poe_form_release(&terms->form[i]);
  }
  poei_free(terms->form);
  poei_free(terms->term);
  poei_free(terms->rows);
  *terms = (poei_terms){0};
}

/* ---- values ---- */

size_t poei_term_scratch(const poei_term *term, size_t rows) {
  return term->expert == NULL ? 0 : poe_expert_scratch(term->expert, POE_WANT_GRAD, rows);
}

/* Value and gradient of a form's component at x[n], by its rows. */
static void form_value(const poei_term *one, size_t n, const double *x, double *value, double *gradient) {
  const poe_form *form = one->form;
  const double *origin = &form->origin[one->component * n], *linear = &form->linear[one->component * n];
  *value = form->constant[one->component];
  for (size_t j = 0; j < n; j++) {
    *value += linear[j] * (x[j] - origin[j]);
    gradient[j] = linear[j];
  }
  for (size_t r = 0; r < one->n_rows + one->n_minus; r++) { /* the minus rows stand behind the others */
    double z = 0.0, sign = r < one->n_rows ? 1.0 : -1.0;
    for (size_t j = 0; j < n; j++) {
      z += one->row[r * n + j] * (x[j] - origin[j]);
    }
    *value -= 0.5 * sign * z * z;
    for (size_t j = 0; j < n; j++) {
      gradient[j] -= sign * one->row[r * n + j] * z;
    }
  }
}

poe_status poei_term_values(const poei_term *term, size_t n, size_t count, const double *x, double *value,
                            double *gradient, poe_scratch *scratch, poe_error *error) {
  poe_status status = POE_OK;
  if (term->expert == NULL) {
    for (size_t i = 0; i < count; i++) {
      form_value(term, n, &x[i * n], &value[i], &gradient[i * n]);
    }
  } else {
    double one = 1.0;
    memset(value, 0, count * sizeof *value);
    memset(gradient, 0, count * n * sizeof *gradient);
    status = poe_expert_eval_add(term->expert, (poe_rows){count, n, n, x}, (poe_weights){&one, 0},
                                 (poe_accum){value, gradient, n}, scratch, error);
  }
  for (size_t i = 0; i < count; i++) {
    value[i] += term->log_weight;
  }
  return status;
}
