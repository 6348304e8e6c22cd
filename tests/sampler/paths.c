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
  default:
    return path_ridge("thin banana", 0.02);
  }
}
