/* Targets with bounds (bounded.h). None is normalised; all have exact distribution functions. */
#include "tests/sampler/bounded.h"

#include "compose/nodes/nodes.h"
#include "core/numerics.h"

/* ---- one coordinate ---- */

static double power_line(const target *t, double x, double *slope) {
  double z = x / t->b, part = pow(z, t->a - 1.0);
  *slope = -part / t->b;
  return -z * part / t->a;
}

/* (x / scale)^power / power has a gamma distribution of shape 1 / power. */
static double power_cdf(const target *t, double x) {
  return 1.0 - poei_chi_square_tail(2.0 * pow(x / t->b, t->a) / t->a, 2.0 / t->a);
}

static double gamma_line(const target *t, double x, double *slope) {
  *slope = (t->a - 1.0) / x - 1.0;
  return (t->a - 1.0) * log(x) - x;
}

static double gamma_cdf(const target *t, double x) {
  return 1.0 - poei_chi_square_tail(2.0 * x, 2.0 * t->a);
}

static double pareto_line(const target *t, double x, double *slope) {
  *slope = -t->a / x;
  return -t->a * log(x);
}

static double pareto_cdf(const target *t, double x) {
  return 1.0 - pow(x, 1.0 - t->a);
}

static double truncated_line(const target *t, double x, double *slope) {
  double z = (x - t->a) / t->b;
  *slope = -z / t->b;
  return -0.5 * z * z;
}

static double truncated_cdf(const target *t, double x) {
  double below = poei_normal_cdf(-t->a / t->b), above = poei_normal_cdf((1.0 - t->a) / t->b);
  return (poei_normal_cdf((x - t->a) / t->b) - below) / (above - below);
}

static double arcsine_line(const target *t, double x, double *slope) {
  (void)t;
  *slope = 0.5 / (1.0 - x) - 0.5 / x;
  return -0.5 * (log(x) + log1p(-x));
}

static double arcsine_cdf(const target *t, double x) {
  (void)t;
  return 2.0 / POEI_PI * asin(sqrt(x));
}

/* ---- all of them ---- */

static double bounded_log(const target *t, const double *x, double *g) {
  double sum = 0.0, slope;
  for (size_t j = 0; j < t->d; j++) {
    sum += t->line(t, x[j], &slope);
    if (g != NULL) {
      g[j] = slope;
    }
  }
  return sum;
}

static void bounded_uniforms(const target *t, const double *x, double *u) {
  for (size_t j = 0; j < t->d; j++) {
    u[j] = t->cdf(t, x[j]);
  }
}

static target bounded(target t) {
  t.log_density = bounded_log;
  t.uniforms = bounded_uniforms;
  return t;
}

target target_half_power(size_t d, double power, double scale) {
  return bounded((target){.name = power == 2.0 ? "half normal" : "half power",
                          .d = d,
                          .a = power,
                          .b = scale,
                          .high = INFINITY,
                          .line = power_line,
                          .cdf = power_cdf});
}

target target_gamma(size_t d, double shape) {
  return bounded((target){
      .name = "gamma", .d = d, .a = shape, .open = true, .high = INFINITY, .line = gamma_line, .cdf = gamma_cdf});
}

target target_pareto(size_t d, double power) {
  return bounded((target){.name = "Pareto",
                          .d = d,
                          .a = power,
                          .open = true,
                          .low = 1.0,
                          .high = INFINITY,
                          .line = pareto_line,
                          .cdf = pareto_cdf});
}

target target_truncated(size_t d, double mean, double sd) {
  return bounded((target){.name = "Gaussian on [0, 1]",
                          .d = d,
                          .a = mean,
                          .b = sd,
                          .high = 1.0,
                          .line = truncated_line,
                          .cdf = truncated_cdf});
}

target target_arcsine(size_t d) {
  return bounded(
      (target){.name = "arcsine", .d = d, .open = true, .high = 1.0, .line = arcsine_line, .cdf = arcsine_cdf});
}

poe_expert *bounded_expert(const target *self) {
  poe_expert *child = target_expert(self, POE_CAN_EVAL | POE_CAN_GRADIENT), *out = NULL;
  if (child != NULL) {
    poei_transform_create(child, &out, NULL);
    poe_expert_release(child);
  }
  return out;
}
