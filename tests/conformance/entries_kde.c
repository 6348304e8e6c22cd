/* Conformance entry of kde. */
#include <math.h>

#include "experts/list.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

enum { KDE_POINTS = 40, KDE_DIM = 2 };

static void kde_data(double *data) {
  for (size_t i = 0; i < KDE_POINTS * KDE_DIM; i++) {
    data[i] = poet_spread(i, 77, -2.0, 2.0) + (double)(i % KDE_DIM);
  }
}

static poe_status kde_build(size_t d, size_t n, const double *bandwidth, const char *rule, poe_expert **expert,
                            poe_error *error) {
  double data[KDE_POINTS * KDE_DIM];
  poet_args a;
  kde_data(data);
  poet_args_start(&a, "kde");
  poet_args_real_variable(&a, "x", d);
  if (d == 1) {
    poet_args_vector(&a, "data", n, data);
  } else {
    poet_args_matrix(&a, "data", n, d, data);
  }
  if (rule != NULL) {
    poet_args_text(&a, "bandwidth", POE_ARG_SYMBOL, rule);
  } else {
    poet_args_vector(&a, "bandwidth", d, bandwidth);
  }
  return poe_expert_create(&poei_kde_ops, &a.args, expert, error);
}

static double kde_value(size_t d, size_t n, const double *bandwidth, const double *x) {
  double data[KDE_POINTS * KDE_DIM], sum = 0.0;
  kde_data(data);
  for (size_t i = 0; i < n; i++) {
    double product = 1.0 / (double)n;
    for (size_t j = 0; j < d; j++) {
      double z = (x[j] - data[i * d + j]) / bandwidth[j];
      product *= exp(-0.5 * z * z) / (bandwidth[j] * sqrt(2.0 * acos(-1.0)));
    }
    sum += product;
  }
  return log(sum);
}

static const double kde_bandwidth[KDE_DIM] = {0.3, 0.6};

static poe_status kde_plane(poe_expert **expert, poe_error *error) {
  return kde_build(KDE_DIM, KDE_POINTS, kde_bandwidth, NULL, expert, error);
}

static double kde_plane_value(const double *x) {
  return kde_value(KDE_DIM, KDE_POINTS, kde_bandwidth, x);
}

static poe_status kde_line(poe_expert **expert, poe_error *error) {
  return kde_build(1, KDE_POINTS, NULL, "silverman", expert, error);
}

static double kde_line_value(const double *x) {
  double data[KDE_POINTS * KDE_DIM], mean = 0.0, square = 0.0, n = KDE_POINTS;
  kde_data(data);
  for (size_t i = 0; i < KDE_POINTS; i++) {
    mean += data[i] / n;
    square += data[i] * data[i] / n;
  }
  double bandwidth = sqrt((square - mean * mean) * n / (n - 1.0)) * pow(4.0 / 3.0 / n, 0.2);
  return kde_value(1, KDE_POINTS, &bandwidth, x);
}

static poe_status kde_scott(poe_expert **expert, poe_error *error) {
  return kde_build(KDE_DIM, 7, NULL, "scott", expert, error);
}

static poe_status kde_point(poe_expert **expert, poe_error *error) {
  return kde_build(1, 1, kde_bandwidth, NULL, expert, error);
}

static double kde_point_value(const double *x) {
  return kde_value(1, 1, kde_bandwidth, x);
}

static const poet_case kde_cases[] = {
    {.name = "kde in the plane",
     .build = kde_plane,
     .points = poet_points_normal,
     .log_density = kde_plane_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-3.2, 3.2, -3.0, 5.0},
     .knows_log_z = true},
    {.name = "kde on a line by Silverman's rule",
     .build = kde_line,
     .points = poet_points_normal,
     .log_density = kde_line_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-4.5, 5.0},
     .knows_log_z = true},
    {.name = "kde of few points", .build = kde_scott, .points = poet_points_normal, .knows_log_z = true},
    {.name = "kde of one point",
     .build = kde_point,
     .points = poet_points_normal,
     .log_density = kde_point_value,
     .knows_log_z = true},
};
POET_ENTRY(kde, kde_cases);
