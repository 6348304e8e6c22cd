/* Independent discrete coordinates: log p(x) = sum_j log p_j(x_j). */
#include "experts/independent.h"

#include "core/alloc.h"
#include "experts/discrete.h"
#include "experts/factors.h"
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
  traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z | POE_CAN_STRUCTURE |
                         POE_CAN_LOCAL | POE_CAN_ONEHOT;
  if (independent->small) {
    traits->capabilities |= POE_CAN_FORM;
  }
}

size_t poei_independent_scratch(const void *self, unsigned want, size_t n) {
  const poei_independent *independent = self;
  (void)n;
  return (want & POE_WANT_ONEHOT) != 0
             ? poei_onehot_scratch(&poei_independent_local, self, independent->d, independent->support)
             : 0;
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

poe_status poei_independent_structure(const void *self, poe_structure *structure, poe_error *error) {
  const poei_independent *independent = self;
  size_t d = independent->d, k = independent->k;
  poe_structure made = {0};
  poe_status status = poei_factors_start(&made, d, k, 0, d, error);
  for (size_t j = 0; status == POE_OK && j < d; j++) {
    status = poei_factors_copy(&made, 1, &j, independent->log_p + j * k, error);
  }
  if (status == POE_OK) {
    *structure = made;
  }
  return status;
}

/* ---- one site: broken counts the coordinates that are impossible or outside ---- */

static bool site_broken(const poei_independent *independent, size_t j, size_t value) {
  return value == independent->k || independent->log_p[j * independent->k + value] == -INFINITY;
}

static size_t independent_state_bytes(const void *self) {
  return poei_sites_bytes(((const poei_independent *)self)->d);
}

static size_t independent_local_scratch(const void *self) {
  (void)self;
  return 0;
}

static poe_status independent_open(const void *self, const double *x, void *state, poe_scratch *scratch,
                                   poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_independent *independent = self;
  poei_sites *sites = state;
  poei_sites_open(sites, independent->d, independent->k, x);
  sites->broken = 0;
  for (size_t j = 0; j < independent->d; j++) {
    sites->broken += site_broken(independent, j, sites->value[j]);
  }
  return POE_OK;
}

static poe_status independent_conditional(const void *self, void *state, size_t j, double *out, poe_scratch *scratch,
                                          poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_independent *independent = self;
  const poei_sites *sites = state;
  bool broken = sites->broken > site_broken(independent, j, sites->value[j]);
  for (size_t v = 0; v < independent->k; v++) {
    out[v] = broken ? -INFINITY : independent->log_p[j * independent->k + v];
  }
  return POE_OK;
}

static poe_status independent_set(const void *self, void *state, size_t j, double value, poe_scratch *scratch,
                                  poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_independent *independent = self;
  poei_sites *sites = state;
  sites->broken -= site_broken(independent, j, sites->value[j]);
  sites->value[j] = (uint32_t)poei_state_index(value, 0.0, independent->k);
  sites->broken += site_broken(independent, j, sites->value[j]);
  return POE_OK;
}

const poe_local_ops poei_independent_local = {
    .state_bytes = independent_state_bytes,
    .scratch = independent_local_scratch,
    .open = independent_open,
    .conditional = independent_conditional,
    .set = independent_set,
};

poe_status poei_independent_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out,
                                            size_t ldo, poe_scratch *scratch, poe_error *error) {
  const poei_independent *independent = self;
  return poei_onehot_grad_add(&poei_independent_local, self, independent->support, rows, weights, out, ldo, scratch,
                              error);
}
