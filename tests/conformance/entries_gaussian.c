/* Conformance entries of the family gaussian: every way to give its spread. */
#include <stdint.h>
#include <string.h>

#include "experts/list.h"
#include "formats/tensor_write.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/reference.h"
#include "tests/support/check.h"

/* ---- dense ---- */

static const double mean_one = 1.5, sd_one = 0.75;

static poe_status gaussian_sd(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "gaussian");
  poet_args_real_variable(&a, "x", 1);
  poet_args_scalar(&a, "mean", &mean_one);
  poet_args_scalar(&a, "sd", &sd_one);
  return poe_expert_create(&poei_gaussian_ops, &a.args, expert, error);
}

static double gaussian_sd_value(const double *x) {
  double z = (x[0] - mean_one) / sd_one;
  return -0.5 * z * z - log(sd_one * sqrt(2.0 * acos(-1.0)));
}

static const double far_mean[2] = {1000.0, -3.0}, far_cov[4] = {2.0, -0.9, -0.9, 0.5};

static poe_status gaussian_cov(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "gaussian");
  poet_args_real_variable(&a, "x", 1);
  poet_args_real_variable(&a, "y", 1);
  poet_args_vector(&a, "mean", 2, far_mean);
  poet_args_matrix(&a, "cov", 2, 2, far_cov);
  return poe_expert_create(&poei_gaussian_ops, &a.args, expert, error);
}

static double gaussian_cov_value(const double *x) {
  return reference_gaussian(2, x, far_mean, far_cov);
}

static void gaussian_cov_points(size_t n, size_t d, double *x) {
  poet_points_normal(n, d, x);
  for (size_t i = 0; i < n; i++) {
    x[i * d] = far_mean[0] + 2.0 * x[i * d];
    x[i * d + 1] = far_mean[1] + x[i * d + 1];
  }
}

enum { WIDE = 13, LARGE = 40 };

static poe_status gaussian_matrix(size_t d, const char *name, const double *matrix, poe_expert **expert,
                                  poe_error *error) {
  static const double mean = -0.25;
  poet_args a;
  poet_args_start(&a, "gaussian");
  poet_args_real_variable(&a, "x", d);
  poet_args_scalar(&a, "mean", &mean);
  poet_args_matrix(&a, name, d, d, matrix);
  return poe_expert_create(&poei_gaussian_ops, &a.args, expert, error);
}

static poe_status gaussian_precision(poe_expert **expert, poe_error *error) {
  double cov[WIDE * WIDE], precision[WIDE * WIDE];
  reference_cov(WIDE, 0.6, cov);
  reference_inverse(WIDE, cov, precision);
  return gaussian_matrix(WIDE, "precision", precision, expert, error);
}

static double gaussian_precision_value(const double *x) {
  double cov[WIDE * WIDE], mean[WIDE];
  reference_cov(WIDE, 0.6, cov);
  for (size_t j = 0; j < WIDE; j++) {
    mean[j] = -0.25;
  }
  return reference_gaussian(WIDE, x, mean, cov);
}

static poe_status gaussian_large(poe_expert **expert, poe_error *error) {
  double cov[LARGE * LARGE];
  reference_cov(LARGE, -0.5, cov);
  return gaussian_matrix(LARGE, "cov", cov, expert, error);
}

static double gaussian_large_value(const double *x) {
  double cov[LARGE * LARGE], mean[LARGE];
  reference_cov(LARGE, -0.5, cov);
  for (size_t j = 0; j < LARGE; j++) {
    mean[j] = -0.25;
  }
  return reference_gaussian(LARGE, x, mean, cov);
}

static poe_status gaussian_diagonal(poe_expert **expert, poe_error *error) {
  double sd[LARGE];
  for (size_t j = 0; j < LARGE; j++) {
    sd[j] = 0.5 + 0.1 * (double)j;
  }
  poet_args a;
  poet_args_start(&a, "gaussian");
  poet_args_real_variable(&a, "x", LARGE);
  poet_args_vector(&a, "sd", LARGE, sd);
  return poe_expert_create(&poei_gaussian_ops, &a.args, expert, error);
}

static double gaussian_diagonal_value(const double *x) {
  double sum = 0.0;
  for (size_t j = 0; j < LARGE; j++) {
    double sd = 0.5 + 0.1 * (double)j, z = x[j] / sd;
    sum += -0.5 * z * z - log(sd) - 0.5 * log(2.0 * acos(-1.0));
  }
  return sum;
}

/* ---- low rank plus diagonal ---- */

enum { LOW = 12, RANK = 3 };

static void low_rank_numbers(double *sd, double *factor, double *mean, double *cov) {
  for (size_t j = 0; j < LOW; j++) {
    sd[j] = 0.4 + 0.1 * (double)j;
    mean[j] = j % 2 == 0 ? 0.5 : -1.0;
    for (size_t k = 0; k < RANK; k++) {
      factor[j * RANK + k] = sin(1.0 + (double)(3 * j + 7 * k));
    }
  }
  for (size_t i = 0; i < LOW; i++) {
    for (size_t j = 0; j < LOW; j++) {
      cov[i * LOW + j] = i == j ? sd[i] * sd[i] : 0.0;
      for (size_t k = 0; k < RANK; k++) {
        cov[i * LOW + j] += factor[i * RANK + k] * factor[j * RANK + k];
      }
    }
  }
}

static poe_status gaussian_low_rank(poe_expert **expert, poe_error *error) {
  double sd[LOW], factor[LOW * RANK], mean[LOW], cov[LOW * LOW];
  low_rank_numbers(sd, factor, mean, cov);
  poet_args a;
  poet_args_start(&a, "gaussian");
  poet_args_real_variable(&a, "x", LOW);
  poet_args_vector(&a, "mean", LOW, mean);
  poet_args_vector(&a, "sd", LOW, sd);
  poet_args_matrix(&a, "factor", LOW, RANK, factor);
  return poe_expert_create(&poei_gaussian_ops, &a.args, expert, error);
}

static double gaussian_low_rank_value(const double *x) {
  double sd[LOW], factor[LOW * RANK], mean[LOW], cov[LOW * LOW];
  low_rank_numbers(sd, factor, mean, cov);
  return reference_gaussian(LOW, x, mean, cov);
}

/* One column, ten times the standard deviation, far from 0. */
static const double ray_mean[2] = {-400.0, 700.0}, ray_sd = 0.3, ray[2] = {3.0, -2.0};

static poe_status gaussian_ray(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "gaussian");
  poet_args_real_variable(&a, "x", 2);
  poet_args_vector(&a, "mean", 2, ray_mean);
  poet_args_scalar(&a, "sd", &ray_sd);
  poet_args_vector(&a, "factor", 2, ray);
  return poe_expert_create(&poei_gaussian_ops, &a.args, expert, error);
}

static double gaussian_ray_value(const double *x) {
  const double cov[4] = {0.09 + 9.0, -6.0, -6.0, 0.09 + 4.0};
  return reference_gaussian(2, x, ray_mean, cov);
}

static void gaussian_ray_points(size_t n, size_t d, double *x) {
  poet_points_normal(n, d, x);
  for (size_t i = 0; i < n; i++) {
    x[2 * i] = ray_mean[0] + 3.0 * x[2 * i];
    x[2 * i + 1] = ray_mean[1] + 2.0 * x[2 * i + 1];
  }
}

/* ---- sparse precision ---- */

enum { BAND = 23 };
static const double band_mean = 2.0;

/* A second-order band with a corner: 5 numbers a row and one far off. */
static void band_precision(double *p) {
  memset(p, 0, (size_t)BAND * BAND * sizeof *p);
  for (size_t i = 0; i < BAND; i++) {
    p[i * BAND + i] = 3.0 + 0.1 * (double)i;
    for (size_t k = 1; k <= 2 && i + k < BAND; k++) {
      p[i * BAND + i + k] = p[(i + k) * BAND + i] = k == 1 ? -1.0 : 0.4;
    }
  }
  p[BAND - 1] = p[(size_t)(BAND - 1) * BAND] = 0.7;
}

/* The npz that scipy.sparse.save_npz would write; written once. */
static const char *band_file(void) {
  static char path[256];
  double p[BAND * BAND], data[BAND * BAND];
  int32_t indices[BAND * BAND], indptr[BAND + 1] = {0};
  int64_t shape[2] = {BAND, BAND};
  size_t n = 0;
  if (path[0] != '\0') {
    return path;
  }
  band_precision(p);
  for (size_t i = 0; i < BAND; i++) {
    for (size_t j = 0; j < BAND; j++) {
      if (p[i * BAND + j] != 0.0) {
        indices[n] = (int32_t)j;
        data[n++] = p[i * BAND + j];
      }
    }
    indptr[i + 1] = (int32_t)n;
  }
  poei_npz_writer *writer = NULL;
  poe_error error = {0};
  const char *fresh = poet_temp_path("band.npz");
  check_ok(poei_npz_writer_open(fresh, &writer, &error), error);
  check_ok(poei_npz_writer_add(writer, "indices", POEI_I32, 1, &n, indices, &error), error);
  check_ok(poei_npz_writer_add(writer, "indptr", POEI_I32, 1, (size_t[]){BAND + 1}, indptr, &error), error);
  check_ok(poei_npz_writer_add(writer, "shape", POEI_I64, 1, (size_t[]){2}, shape, &error), error);
  check_ok(poei_npz_writer_add(writer, "data", POEI_F64, 1, &n, data, &error), error);
  check_ok(poei_npz_writer_commit(writer, &error), error);
  memcpy(path, fresh, strlen(fresh) + 1);
  return path;
}

static poe_status gaussian_band(poe_expert **expert, poe_error *error) {
  poet_args a;
  poet_args_start(&a, "gaussian");
  poet_args_real_variable(&a, "x", BAND);
  poet_args_scalar(&a, "mean", &band_mean);
  poet_args_text(&a, "precision_file", POE_ARG_FILE, band_file());
  return poe_expert_create(&poei_gaussian_ops, &a.args, expert, error);
}

static double gaussian_band_value(const double *x) {
  double p[BAND * BAND], cov[BAND * BAND], mean[BAND];
  band_precision(p);
  reference_inverse(BAND, p, cov);
  for (size_t j = 0; j < BAND; j++) {
    mean[j] = band_mean;
  }
  return reference_gaussian(BAND, x, mean, cov);
}

static const poet_case gaussian_cases[] = {
    {.name = "gaussian of one sd",
     .build = gaussian_sd,
     .points = poet_points_normal,
     .log_density = gaussian_sd_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-2.0, 5.0}},
    {.name = "gaussian of a 2 x 2 covariance far from 0",
     .build = gaussian_cov,
     .points = gaussian_cov_points,
     .log_density = gaussian_cov_value,
     .tolerance = 1e-11,
     .sample = POET_SAMPLE_BOX,
     .box = {994.0, 1006.0, -6.0, 0.0}},
    {.name = "gaussian of a precision",
     .build = gaussian_precision,
     .points = poet_points_normal,
     .log_density = gaussian_precision_value,
     .sample = POET_SAMPLE_STEIN},
    {.name = "gaussian of a 40 x 40 covariance",
     .build = gaussian_large,
     .points = poet_points_normal,
     .log_density = gaussian_large_value,
     .sample = POET_SAMPLE_STEIN},
    {.name = "gaussian of 40 sds",
     .build = gaussian_diagonal,
     .points = poet_points_normal,
     .log_density = gaussian_diagonal_value,
     .sample = POET_SAMPLE_STEIN},
    {.name = "gaussian of low rank plus diagonal",
     .build = gaussian_low_rank,
     .points = poet_points_normal,
     .log_density = gaussian_low_rank_value,
     .sample = POET_SAMPLE_STEIN},
    {.name = "gaussian along a ray far from 0",
     .build = gaussian_ray,
     .points = gaussian_ray_points,
     .log_density = gaussian_ray_value,
     .tolerance = 1e-11,
     .sample = POET_SAMPLE_BOX,
     .box = {-418.0, -382.0, 688.0, 712.0}},
    {.name = "gaussian of a sparse precision",
     .build = gaussian_band,
     .points = poet_points_normal,
     .log_density = gaussian_band_value,
     .sample = POET_SAMPLE_STEIN},
};
POET_ENTRY(gaussian, gaussian_cases);
