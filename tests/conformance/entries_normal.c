/* Conformance entries of the Gaussian families linear_gaussian and gmm. */
#include <stdint.h>
#include <string.h>

#include "experts/list.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/reference.h"
#include "tests/support/check.h"

/* ---- linear_gaussian ---- */

static const double line_a = -1.25, line_b = 0.5, line_sd = 0.4;

static poe_status linear_scalar(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "linear_gaussian");
  poet_args_real_variable(&a, "y", 1);
  poet_args_real_variable(&a, "x", 1);
  poet_args_scalar(&a, "A", &line_a);
  poet_args_scalar(&a, "b", &line_b);
  poet_args_scalar(&a, "sd", &line_sd);
  return poe_expert_create(&poei_linear_gaussian_ops, &a.args, expert, error);
}

static double linear_scalar_value(const double *v) {
  double z = (v[0] - line_a * v[1] - line_b) / line_sd;
  return -0.5 * z * z - log(line_sd * sqrt(2.0 * acos(-1.0)));
}

enum { LY = 2, LX = 3 };
static const double linear_a[LY * LX] = {1.0, -0.5, 0.25, 0.0, 2.0, -1.0}, linear_b[LY] = {0.5, -0.5};
static const double linear_cov[LY * LY] = {1.0, 0.6, 0.6, 0.8};

static poe_status linear_dense(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "linear_gaussian");
  poet_args_real_variable(&a, "y", LY);
  poet_args_real_variable(&a, "x", LX);
  poet_args_matrix(&a, "A", LY, LX, linear_a);
  poet_args_vector(&a, "b", LY, linear_b);
  poet_args_matrix(&a, "cov", LY, LY, linear_cov);
  return poe_expert_create(&poei_linear_gaussian_ops, &a.args, expert, error);
}

static double linear_dense_value(const double *v) {
  double mean[LY];
  for (size_t i = 0; i < LY; i++) {
    mean[i] = linear_b[i];
    for (size_t j = 0; j < LX; j++) {
      mean[i] += linear_a[i * LX + j] * v[LY + j];
    }
  }
  return reference_gaussian(LY, v, mean, linear_cov);
}

/* One number for A: it stays one. */
enum { LS = 3 };
static const double slope_a = -0.6, slope_b[LS] = {0.5, 0.0, 700.0}, slope_cov = 0.49;
static const double slope_matrix[LS * LS] = {1.0, 0.3, 0.0, 0.3, 0.8, -0.2, 0.0, -0.2, 0.5};

static poe_status linear_slope(bool dense, poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "linear_gaussian");
  poet_args_real_variable(&a, "y", LS);
  poet_args_real_variable(&a, "x", LS);
  poet_args_scalar(&a, "A", &slope_a);
  poet_args_vector(&a, "b", LS, slope_b);
  if (dense) {
    poet_args_matrix(&a, "cov", LS, LS, slope_matrix);
  } else {
    poet_args_scalar(&a, "cov", &slope_cov);
  }
  return poe_expert_create(&poei_linear_gaussian_ops, &a.args, expert, error);
}

static poe_status linear_slope_plain(poe_expert **expert, poe_error *error) {
  return linear_slope(false, expert, error);
}

static poe_status linear_slope_dense(poe_expert **expert, poe_error *error) {
  return linear_slope(true, expert, error);
}

static double linear_slope_value(const double *v, const double *cov) {
  double mean[LS];
  for (size_t i = 0; i < LS; i++) {
    mean[i] = slope_b[i] + slope_a * v[LS + i];
  }
  return reference_gaussian(LS, v, mean, cov);
}

static double linear_slope_plain_value(const double *v) {
  const double cov[LS * LS] = {slope_cov, 0.0, 0.0, 0.0, slope_cov, 0.0, 0.0, 0.0, slope_cov};
  return linear_slope_value(v, cov);
}

static double linear_slope_dense_value(const double *v) {
  return linear_slope_value(v, slope_matrix);
}

static void linear_slope_points(size_t n, size_t d, double *x) {
  poet_points_normal(n, d, x);
  for (size_t i = 0; i < n; i++) {
    x[i * d + 2] += slope_b[2];
  }
}

static const poet_case linear_gaussian_cases[] = {
    {.name = "linear_gaussian of scalars",
     .build = linear_scalar,
     .points = poet_points_normal,
     .log_density = linear_scalar_value},
    {.name = "linear_gaussian of two in three",
     .build = linear_dense,
     .points = poet_points_normal,
     .log_density = linear_dense_value},
    {.name = "linear_gaussian by one number",
     .build = linear_slope_plain,
     .points = linear_slope_points,
     .log_density = linear_slope_plain_value,
     .tolerance = 1e-11},
    {.name = "linear_gaussian by one number and a covariance",
     .build = linear_slope_dense,
     .points = linear_slope_points,
     .log_density = linear_slope_dense_value,
     .tolerance = 1e-11},
};
POET_ENTRY(linear_gaussian, linear_gaussian_cases);

/* ---- gmm ---- */

static const double line_weights[3] = {2.0, 0.0, 6.0}, line_means[3] = {-1.0, 50.0, 2.0}, line_sds[3] = {0.5, 1.0, 1.0};

static poe_status gmm_line(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "gmm");
  poet_args_real_variable(&a, "x", 1);
  poet_args_vector(&a, "weights", 3, line_weights);
  poet_args_vector(&a, "means", 3, line_means);
  poet_args_vector(&a, "sds", 3, line_sds);
  return poe_expert_create(&poei_gmm_ops, &a.args, expert, error);
}

static double gmm_line_value(const double *x) {
  double p = 0.0, root = sqrt(2.0 * acos(-1.0));
  for (size_t c = 0; c < 3; c++) {
    double z = (x[0] - line_means[c]) / line_sds[c];
    p += line_weights[c] / 8.0 * exp(-0.5 * z * z) / line_sds[c] / root;
  }
  return log(p);
}

enum { MANY = 50, FEW = 3, SPACE = 5 };

static void many_parameters(double *means, double *sds) {
  for (size_t c = 0; c < MANY; c++) {
    for (size_t j = 0; j < SPACE; j++) {
      means[c * SPACE + j] = 2.0 * sin((double)(c * SPACE + j));
      sds[c * SPACE + j] = 0.3 + 0.2 * (double)((c + j) % 5);
    }
  }
}

static poe_status gmm_many(poe_expert **expert, poe_error *error) {
  double means[MANY * SPACE], sds[MANY * SPACE];
  many_parameters(means, sds);
  poet_args a;
  poet_args_start(&a, "gmm");
  poet_args_real_variable(&a, "x", SPACE);
  poet_args_matrix(&a, "means", MANY, SPACE, means);
  poet_args_matrix(&a, "sds", MANY, SPACE, sds);
  return poe_expert_create(&poei_gmm_ops, &a.args, expert, error);
}

static double gmm_many_value(const double *x) {
  double means[MANY * SPACE], sds[MANY * SPACE], each[MANY], top = -INFINITY, sum = 0.0;
  many_parameters(means, sds);
  for (size_t c = 0; c < MANY; c++) {
    each[c] = -log((double)MANY);
    for (size_t j = 0; j < SPACE; j++) {
      double sd = sds[c * SPACE + j], z = (x[j] - means[c * SPACE + j]) / sd;
      each[c] -= 0.5 * z * z + log(sd) + 0.5 * log(2.0 * acos(-1.0));
    }
    top = fmax(top, each[c]);
  }
  for (size_t c = 0; c < MANY; c++) {
    sum += exp(each[c] - top);
  }
  return top + log(sum);
}

static const double few_weights[FEW] = {0.2, 0.5, 0.3};
static const double few_means[FEW * 2] = {-2.0, 0.0, 1.0, 1.5, 2.0, -2.0};
static const double few_covs[FEW * 4] = {1.0, 0.5, 0.5, 1.0, 0.5, -0.3, -0.3, 0.4, 0.2, 0.0, 0.0, 0.3};

static poe_status gmm_dense(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "gmm");
  poet_args_real_variable(&a, "x", 2);
  poet_args_vector(&a, "weights", FEW, few_weights);
  poet_args_matrix(&a, "means", FEW, 2, few_means);
  poet_args_cube(&a, "covs", FEW, 2, 2, few_covs);
  return poe_expert_create(&poei_gmm_ops, &a.args, expert, error);
}

static double gmm_dense_value(const double *x) {
  double p = 0.0;
  for (size_t c = 0; c < FEW; c++) {
    p += few_weights[c] * exp(reference_gaussian(2, x, few_means + 2 * c, few_covs + 4 * c));
  }
  return log(p);
}

static const poet_case gmm_cases[] = {
    {.name = "gmm on a line, one weight 0",
     .build = gmm_line,
     .points = poet_points_normal,
     .log_density = gmm_line_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-4.0, 7.0}},
    {.name = "gmm of 50 diagonal components",
     .build = gmm_many,
     .points = poet_points_normal,
     .log_density = gmm_many_value,
     .sample = POET_SAMPLE_STEIN},
    {.name = "gmm of 3 covariances",
     .build = gmm_dense,
     .points = poet_points_normal,
     .log_density = gmm_dense_value,
     .tolerance = 1e-11,
     .sample = POET_SAMPLE_BOX,
     .box = {-6.0, 5.0, -5.0, 5.0}},
};
POET_ENTRY(gmm, gmm_cases);
