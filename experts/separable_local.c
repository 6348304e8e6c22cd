/* Discrete independent coordinates of finitely many values: the factor graph of single factors, the single-site view
 * and one-hot gradients (separable.h).
 *
 * Every value of the support is possible, so a row is broken only by coordinates outside of it.
 */
#include <string.h>

#include "core/alloc.h"
#include "experts/discrete.h"
#include "experts/factors.h"
#include "experts/separable.h"
#include "experts/states.h"

enum { ROWS = POEI_LAW_ROWS };

static size_t cardinality(const poei_separable *s, size_t j) {
  return (size_t)(s->support[j].high - s->support[j].low) + 1;
}

void poei_separable_values(const poei_separable *s, size_t j, double *value) {
  double x[ROWS];
  size_t k = cardinality(s, j);
  for (size_t start = 0; start < k; start += ROWS) {
    size_t n = k - start < ROWS ? k - start : ROWS;
    for (size_t i = 0; i < n; i++) {
      x[i] = s->support[j].low + (double)(start + i);
    }
    s->law[j]->eval(s->p[j], n, x, value + start, NULL);
  }
}

poe_status poei_separable_factors(const poei_separable *s, poe_structure *structure, poe_error *error) {
  poe_structure made = {0};
  poe_status status = poei_factors_start(&made, s->d, 1, 0, s->d, error);
  if (status != POE_OK) {
    return status;
  }
  made.as.factors.constant = s->constant;
  for (size_t j = 0; j < s->d; j++) {
    made.as.factors.cardinality[j] = cardinality(s, j);
    made.as.factors.low[j] = s->support[j].low;
  }
  for (size_t j = 0; status == POE_OK && j < s->d; j++) {
    double *log_value = NULL;
    status = poei_factors_add(&made, 1, &j, &log_value, error);
    if (status == POE_OK) {
      poei_separable_values(s, j, log_value);
    }
  }
  if (status == POE_OK) {
    *structure = made;
  }
  return status;
}

/* ---- one site ---- */

typedef struct site_state {
  size_t broken; /* coordinates outside the support */
  double x[];    /* [d]                             */
} site_state;

static bool site_broken(const poei_separable *s, size_t j, double x) {
  size_t k = cardinality(s, j);
  return poei_state_index(x, s->support[j].low, k) == k;
}

static size_t local_state_bytes(const void *self) {
  return sizeof(site_state) + ((const poei_separable *)self)->d * sizeof(double);
}

static size_t local_scratch(const void *self) {
  (void)self;
  return 0;
}

static poe_status local_open(const void *self, const double *x, void *state, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_separable *s = self;
  site_state *sites = state;
  sites->broken = 0;
  memcpy(sites->x, x, s->d * sizeof *x);
  for (size_t j = 0; j < s->d; j++) {
    sites->broken += site_broken(s, j, x[j]);
  }
  return POE_OK;
}

static poe_status local_conditional(const void *self, void *state, size_t j, double *out, poe_scratch *scratch,
                                    poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_separable *s = self;
  const site_state *sites = state;
  if (sites->broken == (size_t)site_broken(s, j, sites->x[j])) {
    poei_separable_values(s, j, out);
    return POE_OK;
  }
  for (size_t v = 0; v < cardinality(s, j); v++) {
    out[v] = -INFINITY;
  }
  return POE_OK;
}

static poe_status local_set(const void *self, void *state, size_t j, double value, poe_scratch *scratch,
                            poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_separable *s = self;
  site_state *sites = state;
  sites->broken -= site_broken(s, j, sites->x[j]);
  sites->broken += site_broken(s, j, value);
  sites->x[j] = value;
  return POE_OK;
}

const poe_local_ops poei_separable_local = {
    .state_bytes = local_state_bytes,
    .scratch = local_scratch,
    .open = local_open,
    .conditional = local_conditional,
    .set = local_set,
};

poe_status poei_separable_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                          poe_scratch *scratch, poe_error *error) {
  const poei_separable *s = self;
  return poei_onehot_grad_add(&poei_separable_local, self, s->support, rows, weights, out, ldo, scratch, error);
}

size_t poei_separable_onehot_scratch(const poei_separable *s) {
  return poei_onehot_scratch(&poei_separable_local, s, s->d, s->support);
}
