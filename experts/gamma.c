/* gamma(x | shape, rate): independent coordinates x > 0 with density rate^k x^(k-1) exp(-rate x) / Gamma(k), k = shape.
 *
 * The end at 0 belongs to the support only when k = 1, where the density there is neither 0 nor infinite. On a bounded
 * variable it is that density restricted to the bound; log Z is the log of the mass inside.
 *
 * Values are taken around the mean m = k / rate, log p = (k-1) log(x/m) - k (x/m - 1) + const, where large terms cancel
 * before they are rounded. In v = log(x/m) the density exp(k v - k (e^v - 1)) is analytic and log-concave for every k:
 * masses and truncated draws are taken there by panels (core/panels.h). Draws of the whole: Marsaglia and Tsang (2000).
 */
#include <math.h>

#include "core/numerics.h"
#include "core/panels.h"
#include "core/special.h"
#include "experts/list.h"
#include "experts/separable.h"

static const poe_param gamma_params[] = {
    {"shape", POE_ARG_REAL, "d", NULL, "shape, > 0"},
    {"rate", POE_ARG_REAL, "d", NULL, "rate (one over the scale), > 0"},
    {0},
};

/* ---- the law ---- */

enum { SHAPE, PULL, ANCHOR, LOG_ANCHOR, CONSTANT, RATE }; /* PULL = rate * anchor */

void poei_gamma_set(double shape, double rate, double anchor, double *p) {
  bool proper = shape > 0.0 && rate > 0.0, plain = proper && isnormal(shape / rate);
  p[SHAPE] = shape;
  p[RATE] = rate;
  p[ANCHOR] = plain ? shape / rate : anchor;
  p[PULL] = plain ? shape : rate * anchor;
  p[LOG_ANCHOR] = plain ? log(shape) - log(rate) : log(anchor);
  p[CONSTANT] = 0.0;
  if (plain) { /* the integral over v is Gamma(k) (e / k)^k; by Stirling */
    p[CONSTANT] = -p[LOG_ANCHOR] - 0.5 * (POEI_LOG_2PI - log(shape)) - poei_stirling_rest(shape);
  } else if (proper) { /* a mean that no double holds */
    p[CONSTANT] = shape * log(rate) - poei_log_gamma(shape) + (shape - 1.0) * p[LOG_ANCHOR] - p[PULL];
  }
}

static void gamma_eval(const double *p, size_t n, const double *x, double *value, double *slope) {
  double power = p[SHAPE] - 1.0;
  if (power != 0.0) { /* a power of 0 counts for nothing, at 0 as well */
    poei_law_log_ratio(n, x, p[ANCHOR], value);
  }
  for (size_t i = 0; i < n; i++) {
    double main = power == 0.0 ? 0.0 : power * value[i];
    value[i] = p[CONSTANT] + (main - p[PULL] * ((x[i] - p[ANCHOR]) / p[ANCHOR]));
  }
  for (size_t i = 0; slope != NULL && i < n; i++) {
    slope[i] = (power == 0.0 ? 0.0 : power / x[i]) - p[RATE];
  }
}

/* The density over w = log(x / base), relative to the base, the highest point of the interval at hand: there the
 * numbers are small and keep their digits. */
typedef struct gamma_curve {
  double shape, base, pull; /* pull = rate * base */
} gamma_curve;

static double gamma_log_curve(const void *context, double w) {
  const gamma_curve *c = context;
  return (c->shape - c->pull) * w - (c->pull == 0.0 ? 0.0 : c->pull * poei_expm1_less(w));
}

/* log of the density of log x at x, p's constant included. */
static double gamma_log_height(const double *p, double x) {
  gamma_curve about_anchor = {p[SHAPE], p[ANCHOR], p[PULL]};
  double t = (x - p[ANCHOR]) / p[ANCHOR];
  double v = fabs(t) < 0.5 ? log1p(t) : log(x) - p[LOG_ANCHOR];
  return p[CONSTANT] + p[LOG_ANCHOR] + gamma_log_curve(&about_anchor, v);
}

/* log(x / base) for an end of the interval. */
static double gamma_end(double x, double base) {
  double t = (x - base) / base;
  return x == 0.0 ? -INFINITY : isinf(x) ? INFINITY : fabs(t) < 0.5 ? log1p(t) : log(x) - log(base);
}

/* The curve and the cuts of an interval of [0, inf]; the number of pieces. */
static size_t gamma_interval(const double *p, double low, double high, gamma_curve *curve, double *cut) {
  double shape = p[SHAPE], rate = p[RATE], turn = shape / rate, base = low;
  if (shape > 0.0) {
    base = rate > 0.0 ? fmin(fmax(turn, low), high) : high;
  } else if (rate < 0.0 && gamma_log_height(p, high) > gamma_log_height(p, low)) {
    base = high; /* it falls, turns and rises again */
  }
  *curve = (gamma_curve){shape, base, base == p[ANCHOR] ? p[PULL] : rate * base};
  double marks[3] = {0.0, log(turn / base), -log(fabs(curve->pull))}; /* turns; where the exponential sets in */
  return poei_law_cuts(gamma_end(low, base), gamma_end(high, base), 3, marks, cut);
}

static double gamma_log_mass(const double *p, double low, double high) {
  gamma_curve curve;
  double cut[5];
  if (!(low < high)) {
    return -INFINITY;
  }
  size_t n = gamma_interval(p, low, high, &curve, cut);
  return gamma_log_height(p, curve.base) + poei_panels_log_mass(gamma_log_curve, &curve, n, cut);
}

/* log of the mass of [low, high] by what lies outside where that is less than a half: digits near log 1 = 0. */
static poe_status gamma_prepare(const double *p, const poe_support *on, double *log_mass, void **table,
                                poe_error *error) {
  bool proper = p[SHAPE] > 0.0 && p[RATE] > 0.0;
  if (proper && on->low <= 0.0 && isinf(on->high)) {
    *log_mass = 0.0;
    return POE_OK;
  }
  double outside = 1.0;
  if (proper) {
    outside = exp(gamma_log_mass(p, 0.0, on->low)) + exp(gamma_log_mass(p, on->high, INFINITY));
  }
  *log_mass = outside < 0.5 ? log1p(-outside) : gamma_log_mass(p, on->low, on->high);
  if (*log_mass == INFINITY) {
    return poe_error_set(error, POE_E_IMPROPER, "its shape is %g and its rate %g", p[SHAPE], p[RATE]);
  }
  gamma_curve curve;
  double cut[5];
  size_t n = gamma_interval(p, on->low, on->high, &curve, cut);
  *table = poei_panels_create(gamma_log_curve, &curve, n, cut);
  return *table != NULL ? POE_OK : poe_error_set(error, POE_E_MEMORY, "out of memory for a `gamma`");
}

static double gamma_draw(const double *p, const poe_support *on, const void *table, poe_stream *stream) {
  if (table == NULL) {
    return poe_stream_gamma(stream, p[SHAPE]) / p[RATE];
  }
  gamma_curve curve;
  double cut[5];
  gamma_interval(p, on->low, on->high, &curve, cut);
  return curve.base * exp(poei_panels_quantile(table, gamma_log_curve, &curve, poe_stream_uniform(stream)));
}

static double gamma_natural(const double *p, double *coefficient) {
  coefficient[POE_STATISTIC_IDENTITY] -= p[RATE];
  coefficient[POE_STATISTIC_LOG] += p[SHAPE] - 1.0;
  return p[CONSTANT] - (p[SHAPE] - 1.0) * p[LOG_ANCHOR] + p[PULL];
}

const poei_law poei_gamma_law = {"gamma", gamma_eval, gamma_prepare, gamma_draw, gamma_natural};

/* ---- the family ---- */

static poe_support gamma_set(const double *param, const poe_support *declared, double *p) {
  (void)declared;
  poei_gamma_set(param[0], param[1], 1.0, p);
  return (poe_support){POE_CONTINUOUS, 0.0, INFINITY, param[0] != 1.0, true};
}

static poe_status gamma_create(const poe_args *args, void **self, poe_error *error) {
  static const poei_separable_family family = {
      POE_CONTINUOUS, &poei_gamma_law, 2, {{"shape", NAN, POEI_POSITIVE}, {"rate", NAN, POEI_POSITIVE}}, gamma_set};
  return poei_separable_create(&family, args, self, error);
}

const poe_expert_ops poei_gamma_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "gamma",
    .doc = "gamma density of independent coordinates",
    .params = gamma_params,
    .create = gamma_create,
    .destroy = poei_separable_destroy,
    .traits = poei_separable_traits,
    .scratch = poei_separable_scratch,
    .eval_add = poei_separable_eval_add,
    .sample = poei_separable_sample,
    .log_z = poei_separable_log_z,
    .structure = poei_separable_structure,
};
