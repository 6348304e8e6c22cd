/* poisson(k | rate): independent counts with probability rate^k exp(-rate) / k!.
 *
 * On a bounded variable (int(n), binary) it is that probability on the values there are, not renormalised: log Z is the
 * log of the probability of the range. Values as Loader (2000), see core/special.c; draws invert the cumulated
 * probabilities of all states but 2^-60 of the mass.
 */
#include <math.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "core/special.h"
#include "experts/list.h"
#include "experts/separable.h"
#include "experts/series.h"

static const poe_param poisson_params[] = {
    {"rate", POE_ARG_REAL, "d", NULL, "mean, > 0"},
    {0},
};

/* ---- the law: p = rate, log rate ---- */

void poei_poisson_set(double rate, double *p) {
  p[0] = rate;
  p[1] = log(rate);
}

static double poisson_value(const double *p, double n) {
  return poei_poisson_log_p(n, p[0]);
}

static double poisson_step(const double *p, double n) {
  return log(p[0] / (n + 1.0));
}

static void poisson_eval(const double *p, size_t n, const double *x, double *value, double *slope) {
  (void)slope;
  for (size_t i = 0; i < n; i++) {
    value[i] = poei_poisson_log_p(x[i], p[0]);
  }
}

/* Probability of low .. high; 0 when there is nothing to add up. */
static poe_status poisson_sum(const double *p, double low, double high, double *sum, poe_error *error) {
  poei_sequence sequence = {poisson_value, poisson_step, p};
  poei_series *series = NULL;
  *sum = 0.0;
  if (low > high || isinf(low)) {
    return POE_OK;
  }
  poe_status status = poei_series_create(&sequence, low, high, &series, error);
  if (status == POE_OK) {
    *sum = exp(series->log_total);
  }
  poei_free(series);
  return status;
}

static poe_status poisson_prepare(const double *p, const poe_support *on, double *log_mass, void **table,
                                  poe_error *error) {
  poei_sequence sequence = {poisson_value, poisson_step, p};
  poei_series *series = NULL;
  double below = 0.0, above = 0.0;
  poe_status status = poei_series_create(&sequence, on->low, on->high, &series, error);
  if (status != POE_OK) {
    return status;
  }
  *table = series;
  *log_mass = series->log_total;
  if (on->low <= 0.0 && isinf(on->high)) {
    *log_mass = 0.0;
  } else if (*log_mass > -POEI_LOG_2) { /* digits near log 1 = 0: by what is missing */
    status = poisson_sum(p, 0.0, on->low - 1.0, &below, error);
    if (status == POE_OK) {
      status = poisson_sum(p, on->high + 1.0, INFINITY, &above, error);
    }
    *log_mass = log1p(-(below + above));
  }
  return status;
}

static double poisson_draw(const double *p, const poe_support *on, const void *table, poe_stream *stream) {
  (void)p;
  (void)on;
  return poei_series_quantile(table, poe_stream_uniform(stream));
}

static double poisson_natural(const double *p, double *coefficient) {
  coefficient[POE_STATISTIC_IDENTITY] += p[1];
  coefficient[POE_STATISTIC_LOG_FACTORIAL] -= 1.0;
  return -p[0];
}

const poei_law poei_poisson_law = {"poisson", poisson_eval, poisson_prepare, poisson_draw, poisson_natural};

/* ---- the family ---- */

static poe_support poisson_set(const double *param, const poe_support *declared, double *p) {
  (void)declared;
  poei_poisson_set(param[0], p);
  return (poe_support){POE_DISCRETE, 0.0, INFINITY, false, true};
}

static poe_status poisson_create(const poe_args *args, void **self, poe_error *error) {
  static const poei_separable_family family = {
      POE_DISCRETE, &poei_poisson_law, 1, {{"rate", NAN, POEI_POSITIVE}}, poisson_set};
  return poei_separable_create(&family, args, self, error);
}

const poe_expert_ops poei_poisson_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "poisson",
    .doc = "Poisson probabilities of independent counts",
    .params = poisson_params,
    .create = poisson_create,
    .destroy = poei_separable_destroy,
    .traits = poei_separable_traits,
    .scratch = poei_separable_scratch,
    .eval_add = poei_separable_eval_add,
    .sample = poei_separable_sample,
    .log_z = poei_separable_log_z,
    .form = poei_separable_form,
    .structure = poei_separable_structure,
    .local = &poei_separable_local,
    .onehot_grad_add = poei_separable_onehot_grad_add,
};
