/* Paths with a known log Z (paths.h). */
#include "tests/sampler/paths.h"

#include <math.h>

#include "core/numerics.h"

static double log_normal(double x, double sd) {
  return poei_normal_log_pdf(x / sd) - log(sd);
}

/* N(0, 1)^d times N(mean, sd)^d: prod_j N(mean; 0, sqrt(1 + sd^2)). */
static path path_gaussians(const char *name, size_t d, double mean, double sd) {
  return (path){.name = name,
                .base = target_gaussian(d, 0.0, 1.0),
                .rest = target_gaussian(d, mean, sd),
                .log_z = (double)d * log_normal(mean, sqrt(1.0 + sd * sd))};
}

/* N(0, 3)^d times a double well with unequal weights. */
static path path_wells(const char *name, size_t d) {
  double apart = 4.0, weight = 0.3, sd = sqrt(10.0), other = log_normal(0.0, sd);
  return (path){.name = name,
                .base = target_gaussian(d, 0.0, 3.0),
                .rest = target_wells(d, apart, weight),
                .log_z = log_normal(apart, sd) + (double)(d - 1) * other};
}

/* N(0, 1)^2 times a curved ridge: int N(x) width / sqrt(1 + width^2) exp(-(bend x^2)^2 / (2 (1 + width^2))) dx, by the
 * trapezoidal rule, exact to rounding for such an integrand. */
static path path_ridge(const char *name, double width) {
  double bend = 2.0, variance = 1.0 + width * width, sum = 0.0, step = 1.0 / 256.0;
  for (int i = -3000; i <= 3000; i++) {
    double x = i * step, level = bend * x * x;
    sum += step * exp(poei_normal_log_pdf(x) - 0.5 * level * level / variance) * width / sqrt(variance);
  }
  return (path){
      .name = name, .base = target_gaussian(2, 0.0, 1.0), .rest = target_ridge(bend, width), .log_z = log(sum)};
}

/* N(0, 1)^d with hard ends in x0 and a pull on the others: mass inside times prod sqrt(1/2) exp(-pull^2 / 4). */
static path path_edge(const char *name, size_t d, double low, double high, double pull) {
  double inside = log(poei_normal_cdf(high) - poei_normal_cdf(low));
  return (path){.name = name,
                .base = target_gaussian(d, 0.0, 1.0),
                .rest = target_edge(d, low, high, pull),
                .log_z = inside - (double)(d - 1) * (0.5 * POEI_LOG_2 + pull * pull / 4.0)};
}

/* Neal's funnel, v ~ N(0, 3) and x_i ~ N(0, e^(v/2)), from Gaussians of sd 3 and `wide`: both are normalised. a: wide
 */
static double funnel_log(const target *t, const double *x, double *g) {
  double precision = exp(-x[0]), flat = 1.0 / (t->a * t->a), sum = 0.0;
  if (g != NULL) {
    g[0] = 0.0;
  }
  for (size_t j = 1; j < t->d; j++) {
    double square = x[j] * x[j];
    sum += 0.5 * (flat - precision) * square - 0.5 * x[0] + log(t->a);
    if (g != NULL) {
      g[0] += 0.5 * precision * square - 0.5;
      g[j] = (flat - precision) * x[j];
    }
  }
  return sum;
}

static path path_funnel(const char *name, size_t d, double wide) {
  path p = {.name = name, .base = target_gaussian(d, 0.0, wide), .log_z = 0.0};
  p.base.scale[0] = 3.0;
  p.rest = (target){.name = "funnel over Gaussians", .d = d, .a = wide, .log_density = funnel_log};
  return p;
}

/* Gamma(shape) in log coordinates, normalised: a pole x^(shape - 1) becomes a tail e^(shape u). a: shape */
static double log_gamma_log(const target *t, const double *x, double *g) {
  double sum = 0.0;
  for (size_t j = 0; j < t->d; j++) {
    double e = exp(x[j]);
    sum += t->a * x[j] - e - lgamma(t->a);
    if (g != NULL) {
      g[j] = t->a - e;
    }
  }
  return sum;
}

/* Gamma(a) is Gamma(a + 1) U^(1/a). */
static void log_gamma_draw(const target *t, poe_stream *stream, double *x) {
  for (size_t j = 0; j < t->d; j++) {
    double above = log(poe_stream_gamma(stream, t->a + 1.0));
    x[j] = above + log(poe_stream_uniform(stream)) / t->a;
  }
}

/* a: slope */
static double slope_log(const target *t, const double *x, double *g) {
  double sum = 0.0;
  for (size_t j = 0; j < t->d; j++) {
    sum += t->a * x[j];
    if (g != NULL) {
      g[j] = t->a;
    }
  }
  return sum;
}

/* From Gamma(from) to Gamma(to), to < from: Z = Gamma(to) / Gamma(from) per coordinate. */
static path path_pole(const char *name, size_t d, double from, double to) {
  return (path){.name = name,
                .base = {.name = "log gamma", .d = d, .a = from, .log_density = log_gamma_log, .draw = log_gamma_draw},
                .rest = {.name = "slope", .d = d, .a = to - from, .log_density = slope_log},
                .log_z = (double)d * (lgamma(to) - lgamma(from))};
}

path path_make(int which) {
  switch (which) {
  case 0:
    return path_gaussians("5 Gaussians", 5, 2.0, 0.5);
  case 1:
    return path_gaussians("20 Gaussians", 20, 1.0, 0.5);
  case 2:
    return path_wells("bimodal", 2);
  case 3:
    return path_ridge("banana", 0.2);
  case 4:
    return path_edge("hard edge with 5 % inside", 4, 1.645, INFINITY, 1.5);
  case 5:
    return path_edge("slit with 1 % inside", 2, -0.0125, 0.0125, 2.0);
  case 6:
    return path_wells("bimodal in 8 dimensions", 8);
  case 7:
    return path_ridge("thin banana", 0.02);
  case 8:
    return path_funnel("funnel", 5, 10.0);
  case 9:
    return path_pole("pole", 1, 0.6, 0.062);
  case 10:
    return path_pole("mild poles", 2, 1.5, 0.43);
  default:
    return path_funnel("funnel in 8 dimensions", 8, 10.0);
  }
}
