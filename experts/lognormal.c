/* lognormal(x | mu, sigma): independent coordinates x > 0 whose logarithm is normal with mean mu and standard deviation
 * sigma: log p = -(log x - mu)^2 / (2 sigma^2) - log x - log sigma - log(2 pi) / 2.
 *
 * On a bounded variable it is that density restricted to the bound (log Z is the log of the mass inside).
 */
#include <math.h>

#include "core/numerics.h"
#include "core/special.h"
#include "experts/list.h"
#include "experts/separable.h"

static const poe_param lognormal_params[] = {
    {"mu", POE_ARG_REAL, "d", "0", "mean of log x"},
    {"sigma", POE_ARG_REAL, "d", NULL, "standard deviation of log x, > 0"},
    {0},
};

/* ---- the law: p as of the normal law of log x ---- */

static void lognormal_eval(const double *p, size_t n, const double *x, double *value, double *slope) {
  poei_vlog(x, value, n);
  for (size_t i = 0; i < n; i++) {
    double z = (value[i] - p[0]) / p[1];
    if (slope != NULL) {
      slope[i] = -(z / p[1] + 1.0) / x[i];
    }
    value[i] = p[2] - 0.5 * z * z - value[i];
  }
}

static poe_status lognormal_prepare(const double *p, const poe_support *on, double *log_mass, void **table,
                                    poe_error *error) {
  (void)table;
  (void)error;
  double low = (log(on->low) - p[0]) / p[1], high = (log(on->high) - p[0]) / p[1];
  *log_mass = poei_normal_log_mass(low, high, log1p((on->high - on->low) / on->low) / p[1]);
  return POE_OK;
}

static double lognormal_draw(const double *p, const poe_support *on, const void *table, poe_stream *stream) {
  (void)table;
  if (on->low == 0.0 && isinf(on->high)) {
    return exp(p[0] + p[1] * poe_stream_normal(stream));
  }
  double low = (log(on->low) - p[0]) / p[1], high = (log(on->high) - p[0]) / p[1];
  return exp(p[0] + p[1] * poei_normal_between(low, high, poe_stream_uniform(stream)));
}

static double lognormal_natural(const double *p, double *coefficient) {
  double precision = 1.0 / (p[1] * p[1]);
  coefficient[POE_STATISTIC_LOG] += p[0] * precision - 1.0;
  coefficient[POE_STATISTIC_LOG_SQUARE] -= 0.5 * precision;
  return p[2] - 0.5 * p[0] * p[0] * precision;
}

const poei_law poei_lognormal_law = {"lognormal", lognormal_eval, lognormal_prepare, lognormal_draw, lognormal_natural};

/* ---- the family ---- */

static poe_support lognormal_set(const double *param, const poe_support *declared, double *p) {
  (void)declared;
  poei_normal_set(0.0, param[0], param[1], p);
  return (poe_support){POE_CONTINUOUS, 0.0, INFINITY, true, true};
}

static poe_status lognormal_create(const poe_args *args, void **self, poe_error *error) {
  static const poei_separable_family family = {POE_CONTINUOUS,
                                               &poei_lognormal_law,
                                               2,
                                               {{"mu", 0.0, POEI_ANY_NUMBER}, {"sigma", NAN, POEI_POSITIVE}},
                                               lognormal_set};
  return poei_separable_create(&family, args, self, error);
}

const poe_expert_ops poei_lognormal_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "lognormal",
    .doc = "density of independent coordinates with normal logarithms",
    .params = lognormal_params,
    .create = lognormal_create,
    .destroy = poei_separable_destroy,
    .traits = poei_separable_traits,
    .scratch = poei_separable_scratch,
    .eval_add = poei_separable_eval_add,
    .sample = poei_separable_sample,
    .log_z = poei_separable_log_z,
    .structure = poei_separable_structure,
};
