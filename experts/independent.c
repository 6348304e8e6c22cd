/* Independent discrete coordinates: log p(x) = sum_j log p_j(x_j). */
#include "experts/independent.h"

#include "core/alloc.h"
#include "experts/family.h"
#include "experts/form.h"
#include "experts/states.h"

poei_independent *poei_independent_alloc(size_t d, size_t k) {
  poei_independent *made = poei_calloc(1, sizeof *made);
  size_t numbers = 0;
  if (made == NULL || !poei_mul_size(d, k, &numbers)) {
    poei_free(made);
    return NULL;
  }
  made->d = d;
  made->k = k;
  made->log_p = poei_alloc(numbers, sizeof(double));
  made->p = poei_alloc(numbers, sizeof(double));
  made->support = poei_alloc(d, sizeof *made->support);
  made->head = poei_family_heads(d);
  if (made->log_p == NULL || made->p == NULL || made->support == NULL || made->head == NULL) {
    poei_independent_destroy(made);
    return NULL;
  }
  size_t states = 1;
  made->small = true;
  for (size_t j = 0; j < d; j++) {
    made->support[j] = (poe_support){POE_DISCRETE, 0.0, (double)(k - 1), false, false};
    made->small = made->small && k <= POEI_FORM_STATES / states;
    states = made->small ? states * k : states;
  }
  return made;
}

void poei_independent_finish(poei_independent *independent) {
  for (size_t i = 0; i < independent->d * independent->k; i++) {
    independent->p[i] = exp(independent->log_p[i]);
  }
}

void poei_independent_destroy(void *self) {
  poei_independent *independent = self;
  if (independent != NULL) {
    poei_free(independent->log_p);
    poei_free(independent->p);
    poei_free(independent->support);
    poei_free(independent->head);
    poei_free(independent);
  }
}

void poei_independent_traits(const void *self, poe_traits *traits) {
  const poei_independent *independent = self;
  *traits = (poe_traits){.dim = independent->d, .support = independent->support, .head = independent->head};
  traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z;
  if (independent->small) {
    traits->capabilities |= POE_CAN_FORM;
  }
}

size_t poei_independent_scratch(const void *self, unsigned want, size_t n) {
  (void)self;
  (void)want;
  (void)n;
  return 0;
}

static double independent_value(const poei_independent *independent, const double *x) {
  size_t k = independent->k;
  double value = 0.0;
  for (size_t j = 0; j < independent->d; j++) {
    if (isnan(x[j])) {
      return NAN;
    }
    size_t index = poei_state_index(x[j], 0.0, k);
    value += index < k ? independent->log_p[j * k + index] : -INFINITY;
  }
  return value;
}

poe_status poei_independent_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                     poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  for (size_t i = 0; i < rows.n; i++) {
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], independent_value(self, rows.x + i * rows.ld));
  }
  return POE_OK;
}

poe_status poei_independent_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                   poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_independent *independent = self;
  size_t k = independent->k;
  for (size_t i = 0; i < rows.n; i++) {
    poe_stream stream = poe_stream_open(at[i]);
    for (size_t j = 0; j < independent->d; j++) {
      rows.x[i * rows.ld + j] = (double)poe_stream_categorical(&stream, independent->p + j * k, k);
    }
  }
  return POE_OK;
}

poe_status poei_independent_log_z(const void *self, double *log_z, poe_error *error) {
  (void)self;
  (void)error;
  *log_z = 0.0;
  return POE_OK;
}

poe_status poei_independent_form(const void *self, poe_form *form, poe_error *error) {
  const poei_independent *independent = self;
  size_t d = independent->d;
  size_t *cardinality = poei_alloc(d, sizeof *cardinality);
  double *low = poei_calloc(d, sizeof *low);
  poe_status status = POE_OK;
  if (cardinality == NULL || low == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory for a closed form");
  }
  for (size_t j = 0; status == POE_OK && j < d; j++) {
    cardinality[j] = independent->k;
  }
  if (status == POE_OK) {
    status = poei_form_independent(form, d, cardinality, low, independent->log_p, error);
  }
  poei_free(cardinality);
  poei_free(low);
  return status;
}
