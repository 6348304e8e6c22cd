/* beta(x | a, b): independent coordinates 0 < x < 1 with density x^(a-1) (1-x)^(b-1) / B(a, b).
 *
 * The end at 0 belongs to the support only when a = 1, the end at 1 only when b = 1: elsewhere the density there is 0
 * or infinite. On a bounded variable it is that density restricted to the bound; log Z is the log of the mass inside.
 *
 * Values are taken around the mean m = a / (a + b), log p = (a-1) log(x/m) + (b-1) log((1-x)/(1-m)) + const, where
 * large terms cancel before they are rounded. In u = logit(x) - logit(m) the density is analytic and log-concave for
 * all a, b: masses and truncated draws are taken there by panels (core/panels.h). Draws of the whole: two gamma
 * numbers, in logs.
 */
#include <math.h>

#include "core/numerics.h"
#include "core/panels.h"
#include "core/special.h"
#include "experts/list.h"
#include "experts/separable.h"

static const poe_param beta_params[] = {
    {"a", POE_ARG_REAL, "d", NULL, "exponent of x plus 1, > 0"},
    {"b", POE_ARG_REAL, "d", NULL, "exponent of 1 - x plus 1, > 0"},
    {0},
};

/* ---- the law ---- */

enum { A, B, MEAN, REST, CONSTANT, LEAN }; /* REST = 1 - MEAN; LEAN = a REST - b MEAN, 0 at the true mean */

void poei_beta_set(double a, double b, double anchor, double *p) {
  bool proper = a > 0.0 && b > 0.0;
  p[A] = a;
  p[B] = b;
  p[MEAN] = proper ? a / (a + b) : anchor;
  p[REST] = proper ? b / (a + b) : 1.0 - anchor;
  p[LEAN] = proper ? 0.0 : a - (a + b) * anchor;
  p[CONSTANT] = 0.0;
  if (proper) { /* log B(a, b) - a log m - b log(1 - m) by Stirling, and dx = x (1 - x) du */
    double main = 0.5 * (POEI_LOG_2PI + log(a / p[MEAN]) - log(a) - log(b));
    double log_integral = main + poei_stirling_rest(a) + poei_stirling_rest(b) - poei_stirling_rest(a + b);
    p[CONSTANT] = -log_integral - log(p[MEAN]) - log(p[REST]);
  }
}

static void beta_eval(const double *p, size_t n, const double *x, double *value, double *slope) {
  double log_ratio[POEI_LAW_ROWS], power = p[A] - 1.0, other = p[B] - 1.0;
  for (size_t i = 0; i < n; i++) {
    value[i] = p[CONSTANT];
    if (slope != NULL) { /* a power of 0 counts for nothing, at the end as well */
      slope[i] = (power == 0.0 ? 0.0 : power / x[i]) - (other == 0.0 ? 0.0 : other / (1.0 - x[i]));
    }
  }
  if (power != 0.0) {
    poei_law_log_ratio(n, x, p[MEAN], log_ratio);
    for (size_t i = 0; i < n; i++) {
      value[i] += power * log_ratio[i];
    }
  }
  if (other != 0.0) {
    poei_law_log_rest(n, x, p[MEAN], p[REST], log_ratio);
    for (size_t i = 0; i < n; i++) {
      value[i] += other * log_ratio[i];
    }
  }
}

/* The density over w = logit(x) - logit(base), relative to the base, the highest point of the interval at hand: there
 * the numbers are small and keep their digits. */
typedef struct beta_curve {
  double a, b, base, rest; /* rest = 1 - base                          */
  double lean;             /* a rest - b base: slope at the base       */
} beta_curve;

/* log(part + rest e^-w) for part + rest = 1, w >= 0. */
static double log_blend(double part, double rest, double w) {
  double lost = rest * expm1(-w);
  return lost > -0.5 ? log1p(lost) : log(part + rest * exp(-w));
}

/* log(x / base) and log((1 - x) / (1 - base)) at w; they differ by w. */
static void beta_logs(const beta_curve *c, double w, double *log_x, double *log_rest) {
  if (w > 0.0) {
    *log_x = -log_blend(c->base, c->rest, w);
    *log_rest = *log_x - w;
  } else {
    *log_rest = -log_blend(c->rest, c->base, -w);
    *log_x = *log_rest + w;
  }
}

static double beta_log_curve(const void *context, double w) {
  const beta_curve *c = context;
  if (fabs(w) >= 1.0) {
    double log_x, log_rest;
    beta_logs(c, w, &log_x, &log_rest);
    return c->a * log_x + c->b * log_rest;
  }
  /* -a log(1 + rest d) - b log(1 + base e) with d = e^-w - 1, e = e^w - 1: the terms of first order cancel up to lean
   */
  double d = expm1(-w), e = expm1(w), half = sinh(0.5 * w);
  double second = c->a * poei_log1p_less(c->rest * d) + c->b * poei_log1p_less(c->base * e);
  return -second - 4.0 * c->b * c->base * half * half - c->lean * d;
}

static beta_curve beta_about(const double *p, double base) {
  if (base == p[MEAN]) {
    return (beta_curve){p[A], p[B], base, p[REST], p[LEAN]};
  }
  return (beta_curve){p[A], p[B], base, 1.0 - base, p[A] * (1.0 - base) - p[B] * base};
}

/* logit(x) - logit(base), also for ends. */
static double logit_from(double x, double base, double rest) {
  if (x == 0.0 || x == 1.0) {
    return x == 0.0 ? -INFINITY : INFINITY;
  }
  double t = (x - base) / (base * (1.0 - x)); /* x rest / (base (1 - x)) - 1 */
  return fabs(t) < 0.5 ? log1p(t) : log(x / base) - log((1.0 - x) / rest);
}

/* log(y / y0), to full precision near y0; difference = y - y0. */
static double log_near(double y, double difference, double y0) {
  double t = difference / y0;
  return fabs(t) < 0.5 ? log1p(t) : log(y / y0);
}

/* log of the density of logit(x) at x, p's constant included. */
static double beta_log_height(const double *p, double x) {
  double log_x = log_near(x, x - p[MEAN], p[MEAN]), log_rest = log_near(1.0 - x, p[MEAN] - x, p[REST]);
  return p[CONSTANT] + log(p[MEAN]) + log(p[REST]) + p[A] * log_x + p[B] * log_rest;
}

/* The curve and the cuts of an interval of [0, 1]; the number of pieces. */
static size_t beta_interval(const double *p, double low, double high, beta_curve *curve, double *cut) {
  double turn = p[A] / (p[A] + p[B]), base = low;
  if (p[A] > 0.0) {
    base = p[B] > 0.0 ? fmin(fmax(turn, low), high) : high;
  } else if (p[B] < 0.0 && beta_log_height(p, high) > beta_log_height(p, low)) {
    base = high; /* it falls, turns and rises again */
  }
  *curve = beta_about(p, base);
  double offset = log(base) - log(curve->rest);
  double marks[3] = {0.0, log(p[A] / p[B]) - offset, -offset}; /* turns; x = 1/2, where it bends */
  return poei_law_cuts(logit_from(low, base, curve->rest), logit_from(high, base, curve->rest), 3, marks, cut);
}

static double beta_log_mass(const double *p, double low, double high) {
  beta_curve curve;
  double cut[5];
  if (!(low < high)) {
    return -INFINITY;
  }
  size_t n = beta_interval(p, low, high, &curve, cut);
  return beta_log_height(p, curve.base) + poei_panels_log_mass(beta_log_curve, &curve, n, cut);
}

/* As for the gamma: by what lies outside where that is less than a half. */
static poe_status beta_prepare(const double *p, const poe_support *on, double *log_mass, void **table,
                               poe_error *error) {
  bool proper = p[A] > 0.0 && p[B] > 0.0;
  if (proper && on->low <= 0.0 && on->high >= 1.0) {
    *log_mass = 0.0;
    return POE_OK;
  }
  double outside = 1.0;
  if (proper) {
    outside = exp(beta_log_mass(p, 0.0, on->low)) + exp(beta_log_mass(p, on->high, 1.0));
  }
  *log_mass = outside < 0.5 ? log1p(-outside) : beta_log_mass(p, on->low, on->high);
  if (*log_mass == INFINITY) {
    return poe_error_set(error, POE_E_IMPROPER, "its a is %g and its b %g", p[A], p[B]);
  }
  beta_curve curve;
  double cut[5];
  size_t n = beta_interval(p, on->low, on->high, &curve, cut);
  *table = poei_panels_create(beta_log_curve, &curve, n, cut);
  return *table != NULL ? POE_OK : poe_error_set(error, POE_E_MEMORY, "out of memory for a `beta`");
}

static double beta_draw(const double *p, const poe_support *on, const void *table, poe_stream *stream) {
  double log_x, log_rest;
  if (table == NULL) {
    double first = poei_log_gamma_draw(stream, p[A]), second = poei_log_gamma_draw(stream, p[B]);
    return poei_sigmoid(first - second);
  }
  beta_curve curve;
  double cut[5];
  beta_interval(p, on->low, on->high, &curve, cut);
  double w = poei_panels_quantile(table, beta_log_curve, &curve, poe_stream_uniform(stream));
  beta_logs(&curve, w, &log_x, &log_rest);
  return w < 0.0 ? curve.base * exp(log_x) : 1.0 - curve.rest * exp(log_rest);
}

static double beta_natural(const double *p, double *coefficient) {
  coefficient[POE_STATISTIC_LOG] += p[A] - 1.0;
  coefficient[POE_STATISTIC_LOG_COMPLEMENT] += p[B] - 1.0;
  return p[CONSTANT] - (p[A] - 1.0) * log(p[MEAN]) - (p[B] - 1.0) * log(p[REST]);
}

const poei_law poei_beta_law = {"beta", beta_eval, beta_prepare, beta_draw, beta_natural};

/* ---- the family ---- */

static poe_support beta_set(const double *param, const poe_support *declared, double *p) {
  (void)declared;
  poei_beta_set(param[0], param[1], 0.5, p);
  return (poe_support){POE_CONTINUOUS, 0.0, 1.0, param[0] != 1.0, param[1] != 1.0};
}

static poe_status beta_create(const poe_args *args, void **self, poe_error *error) {
  static const poei_separable_family family = {
      POE_CONTINUOUS, &poei_beta_law, 2, {{"a", NAN, POEI_POSITIVE}, {"b", NAN, POEI_POSITIVE}}, beta_set};
  return poei_separable_create(&family, args, self, error);
}

const poe_expert_ops poei_beta_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "beta",
    .doc = "beta density of independent coordinates",
    .params = beta_params,
    .create = beta_create,
    .destroy = poei_separable_destroy,
    .traits = poei_separable_traits,
    .scratch = poei_separable_scratch,
    .eval_add = poei_separable_eval_add,
    .sample = poei_separable_sample,
    .log_z = poei_separable_log_z,
    .structure = poei_separable_structure,
};
