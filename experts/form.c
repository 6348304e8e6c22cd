/* Closed forms as data: allocation, copies, release, log Z.
 *
 * A component exp(c + l.u - u'Pu/2), u = x - o, with P positive definite has mean o + P^-1 l and integrates to
 * exp(c + l'P^-1 l/2) (2 pi)^(d/2) |P|^(-1/2) (completing the square).
 */
#include "experts/form.h"

#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/linalg.h"
#include "core/numerics.h"
#include "experts/closed.h"
#include "experts/family.h"
#include "experts/spd.h"

void poe_form_release(poe_form *form) {
  if (form != NULL) {
    poei_free(form->constant);
    poei_free(form->origin);
    poei_free(form->linear);
    poei_free(form->precision);
    poei_free(form->cardinality);
    poei_free(form->low);
    poei_free(form->log_value);
    memset(form, 0, sizeof *form);
  }
}

void poe_structure_release(poe_structure *structure) {
  if (structure == NULL) {
    return;
  }
  switch (structure->kind) {
  case POE_STRUCTURE_SPARSE:
    poei_free(structure->as.sparse.origin);
    poei_free(structure->as.sparse.linear);
    poei_free(structure->as.sparse.column_start);
    poei_free(structure->as.sparse.row);
    poei_free(structure->as.sparse.precision);
    break;
  case POE_STRUCTURE_NATURAL:
    poei_free(structure->as.natural.coefficient);
    break;
  case POE_STRUCTURE_FACTORS:
    for (size_t f = 0; structure->as.factors.factor != NULL && f < structure->as.factors.n; f++) {
      poei_free(structure->as.factors.factor[f].variable);
      poei_free(structure->as.factors.factor[f].log_value);
    }
    poei_free(structure->as.factors.factor);
    poei_free(structure->as.factors.cardinality);
    poei_free(structure->as.factors.low);
    break;
  }
  memset(structure, 0, sizeof *structure);
}

static poe_status form_memory(poe_form *form, poe_error *error) {
  poe_form_release(form);
  return poe_error_set(error, POE_E_MEMORY, "out of memory for a closed form");
}

poe_status poei_form_gaussians(poe_form *form, size_t components, size_t dim, poe_error *error) {
  size_t vector = 0, matrix = 0;
  if (!poei_mul_size(components, dim, &vector) || !poei_mul_size(vector, dim, &matrix)) {
    return poe_error_set(error, POE_E_MEMORY, "a closed form of %zu components in %zu dimensions is too large",
                         components, dim);
  }
  poe_form made = {.kind = POE_FORM_GAUSSIANS, .dim = dim, .components = components};
  made.constant = poei_calloc(components, sizeof(double));
  made.origin = poei_calloc(vector, sizeof(double));
  made.linear = poei_calloc(vector, sizeof(double));
  made.precision = poei_calloc(matrix, sizeof(double));
  if (made.constant == NULL || made.origin == NULL || made.linear == NULL || made.precision == NULL) {
    return form_memory(&made, error);
  }
  *form = made;
  return POE_OK;
}

poe_status poei_form_table(poe_form *form, size_t dim, const size_t *cardinality, const double *low, poe_error *error) {
  size_t states = 1;
  for (size_t j = 0; j < dim; j++) {
    if (!poei_mul_size(states, cardinality[j], &states)) {
      return poe_error_set(error, POE_E_MEMORY, "a table over %zu variables is too large", dim);
    }
  }
  poe_form made = {.kind = POE_FORM_TABLE, .dim = dim};
  made.cardinality = poei_copy(cardinality, dim, sizeof *cardinality);
  made.low = poei_copy(low, dim, sizeof *low);
  made.log_value = poei_calloc(states, sizeof(double));
  if (made.cardinality == NULL || made.low == NULL || made.log_value == NULL) {
    return form_memory(&made, error);
  }
  *form = made;
  return POE_OK;
}

poe_status poei_form_independent(poe_form *form, size_t dim, const size_t *cardinality, const double *low,
                                 const double *log_p, poe_error *error) {
  poe_status status = poei_form_table(form, dim, cardinality, low, error);
  if (status != POE_OK) {
    return status;
  }
  /* Each coordinate spreads the values so far over its own states, from the back so that it can be done in place. */
  size_t states = 1;
  const double *factor = log_p;
  for (size_t j = 0; j < dim; j++) {
    for (size_t s = states; s-- > 0;) {
      double before = form->log_value[s];
      for (size_t v = cardinality[j]; v-- > 0;) {
        form->log_value[s * cardinality[j] + v] = before + factor[v];
      }
    }
    states *= cardinality[j];
    factor += cardinality[j];
  }
  return POE_OK;
}

size_t poei_form_states(const poe_form *form) {
  size_t states = 1;
  for (size_t j = 0; j < form->dim; j++) {
    states *= form->cardinality[j];
  }
  return states;
}

poe_status poei_form_copy(const poe_form *source, poe_form *form, poe_error *error) {
  poe_form copy = {0};
  poe_status status = POE_OK;
  if (source->kind == POE_FORM_TABLE) {
    status = poei_form_table(&copy, source->dim, source->cardinality, source->low, error);
    if (status == POE_OK) {
      memcpy(copy.log_value, source->log_value, poei_form_states(source) * sizeof *copy.log_value);
    }
  } else {
    status = poei_form_gaussians(&copy, source->components, source->dim, error);
    if (status == POE_OK) {
      size_t vector = source->components * source->dim;
      memcpy(copy.constant, source->constant, source->components * sizeof *copy.constant);
      memcpy(copy.origin, source->origin, vector * sizeof *copy.origin);
      memcpy(copy.linear, source->linear, vector * sizeof *copy.linear);
      memcpy(copy.precision, source->precision, vector * source->dim * sizeof *copy.precision);
    }
  }
  if (status == POE_OK) {
    *form = copy;
  }
  return status;
}

poe_status poei_form_component(const poe_form *form, size_t c, double *factor, double *mean, double *log_z,
                               poe_error *error) {
  size_t d = form->dim;
  const double *linear = form->linear + c * d;
  char why[256];
  if (!poei_spd_factor(d, form->precision + c * d * d, factor, why, sizeof why)) {
    char which[64] = "";
    if (form->components > 1) {
      snprintf(which, sizeof which, "component %zu of %zu of ", c + 1, form->components);
    }
    poe_error_set(error, POE_E_IMPROPER, "%sthe density cannot be normalised: its precision is not positive along %s",
                  which, why);
    poe_error_hint(error, "multiply it by an expert that is proper in that direction");
    return POE_E_IMPROPER;
  }
  memcpy(mean, linear, d * sizeof *mean);
  poei_solve_lower(d, factor, 1, mean, d);
  poei_solve_lower_transposed(d, factor, 1, mean, d);
  *log_z = form->constant[c] + poei_dot(d, linear, mean) / 2.0 + (double)d * POEI_LOG_2PI / 2.0 -
           poei_cholesky_half_log_det(d, factor);
  for (size_t j = 0; j < d; j++) {
    mean[j] += form->origin[c * d + j];
  }
  return POE_OK;
}

poe_status poei_form_log_z(const poe_form *form, double *log_z, poe_error *error) {
  if (form->kind == POE_FORM_TABLE) {
    *log_z = poei_log_sum_exp(form->log_value, poei_form_states(form), 1);
    return POE_OK;
  }
  size_t d = form->dim, k = form->components;
  double *work = poei_alloc(d * d + d + k, sizeof *work);
  if (work == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for log Z of a closed form");
  }
  double *factor = work, *mean = factor + d * d, *each = mean + d;
  poe_status status = POE_OK;
  for (size_t c = 0; status == POE_OK && c < k; c++) {
    each[c] = -INFINITY;
    if (form->constant[c] != -INFINITY) { /* a component of weight 0 need not be proper */
      status = poei_form_component(form, c, factor, mean, &each[c], error);
    }
  }
  if (status == POE_OK) {
    *log_z = poei_log_sum_exp(each, k, 1);
  }
  poei_free(work);
  return status;
}
