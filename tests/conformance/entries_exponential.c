/* Conformance entries of exponential, gamma, beta, lognormal, von_mises and poisson, whole and on bounded variables;
 * and of kde. */
#include <math.h>

#include "experts/list.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

/* Two parameters (the second name NULL: one), alternating over d coordinates; low < high: a bounded variable. */
static poe_status build(const poe_expert_ops *ops, size_t d, const char *first, const double *a, const char *second,
                        const double *b, double low, double high, poe_expert **expert, poe_error *error) {
  double first_values[POET_MAX_DIM], second_values[POET_MAX_DIM];
  poet_args args;
  poet_args_start(&args, ops->kind);
  if (low < high) {
    poet_args_interval_variable(&args, "x", d, low, high);
  } else {
    poet_args_real_variable(&args, "x", d);
  }
  for (size_t j = 0; j < d; j++) {
    first_values[j] = a[j % 3];
    second_values[j] = b == NULL ? 0.0 : b[j % 3];
  }
  poet_args_vector(&args, first, d, first_values);
  if (second != NULL) {
    poet_args_vector(&args, second, d, second_values);
  }
  return poe_expert_create(ops, &args.args, expert, error);
}

#define BUILD(name, ops, d, first, a, second, b, low, high)                                                            \
  static poe_status name(poe_expert **expert, poe_error *error) {                                                      \
    return build(ops, d, first, a, second, b, low, high, expert, error);                                               \
  }

static void points_between(size_t n, size_t d, double low, double high, double *x) {
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < d; j++) {
      x[i * d + j] = poet_spread(i, j, low, high);
    }
  }
}

static void points_positive(size_t n, size_t d, double *x) {
  points_between(n, d, 0.05, 4.0, x);
}

static void points_unit(size_t n, size_t d, double *x) {
  points_between(n, d, 0.02, 0.98, x);
}

static void points_middle(size_t n, size_t d, double *x) {
  points_between(n, d, 0.55, 2.45, x);
}

static void points_angle(size_t n, size_t d, double *x) {
  points_between(n, d, -3.1, 3.1, x);
}

enum { MANY = 17 };

/* ---- exponential ---- */

static const double rates[3] = {1.5, 0.25, 7.0};

BUILD(exponential_line, &poei_exponential_ops, 1, "rate", rates, NULL, NULL, 0.0, 0.0)
BUILD(exponential_many, &poei_exponential_ops, MANY, "rate", rates, NULL, NULL, 0.0, 0.0)
BUILD(exponential_bounded, &poei_exponential_ops, 2, "rate", rates, NULL, NULL, 0.5, 2.5)

static double exponential_value(size_t d, const double *x) {
  double sum = 0.0;
  for (size_t j = 0; j < d; j++) {
    sum += log(rates[j % 3]) - rates[j % 3] * x[j];
  }
  return sum;
}

static double exponential_line_value(const double *x) {
  return exponential_value(1, x);
}

static double exponential_many_value(const double *x) {
  return exponential_value(MANY, x);
}

static double exponential_bounded_value(const double *x) {
  return exponential_value(2, x);
}

static const poet_case exponential_cases[] = {
    {.name = "exponential on the half-line",
     .build = exponential_line,
     .points = points_positive,
     .log_density = exponential_line_value,
     .sample = POET_SAMPLE_BOX,
     .box = {0.0, 6.0},
     .knows_log_z = true},
    {.name = "exponential in 17 dimensions",
     .build = exponential_many,
     .points = points_positive,
     .log_density = exponential_many_value,
     .knows_log_z = true},
    {.name = "exponential on a square",
     .build = exponential_bounded,
     .points = points_middle,
     .log_density = exponential_bounded_value,
     .sample = POET_SAMPLE_BOX,
     .box = {0.5, 2.5, 0.5, 2.5},
     .knows_log_z = true,
     .expected_log_z = -1.8588213105098902}, /* log(e^-.75 - e^-3.75) + log(e^-.125 - e^-.625) */
};
POET_ENTRY(exponential, exponential_cases);

/* ---- gamma ---- */

static const double shapes[3] = {2.5, 0.6, 1.0}, gamma_rates[3] = {1.5, 0.75, 2.0};
static const double big_shapes[3] = {300.0, 20.0, 4000.0}, big_rates[3] = {150.0, 9.0, 1999.0};

BUILD(gamma_line, &poei_gamma_ops, 1, "shape", shapes, "rate", gamma_rates, 0.0, 0.0)
BUILD(gamma_many, &poei_gamma_ops, MANY, "shape", shapes, "rate", gamma_rates, 0.0, 0.0)
BUILD(gamma_big, &poei_gamma_ops, 3, "shape", big_shapes, "rate", big_rates, 0.0, 0.0)
BUILD(gamma_bounded, &poei_gamma_ops, 2, "shape", shapes, "rate", gamma_rates, 0.5, 2.5)

static double gamma_value(size_t d, const double *shape, const double *rate, const double *x) {
  double sum = 0.0;
  for (size_t j = 0; j < d; j++) {
    double k = shape[j % 3], r = rate[j % 3];
    sum += k * log(r) - lgamma(k) + (k - 1.0) * log(x[j]) - r * x[j];
  }
  return sum;
}

static double gamma_line_value(const double *x) {
  return gamma_value(1, shapes, gamma_rates, x);
}

static double gamma_many_value(const double *x) {
  return gamma_value(MANY, shapes, gamma_rates, x);
}

static double gamma_big_value(const double *x) {
  return gamma_value(3, big_shapes, big_rates, x);
}

static double gamma_bounded_value(const double *x) {
  return gamma_value(2, shapes, gamma_rates, x);
}

static void points_near_two(size_t n, size_t d, double *x) {
  points_between(n, d, 1.8, 2.25, x);
}

static const poet_case gamma_cases[] = {
    {.name = "gamma on the half-line",
     .build = gamma_line,
     .points = points_positive,
     .log_density = gamma_line_value,
     .sample = POET_SAMPLE_BOX,
     .box = {0.0, 8.0},
     .knows_log_z = true},
    {.name = "gamma in 17 dimensions",
     .build = gamma_many,
     .points = points_positive,
     .log_density = gamma_many_value,
     .knows_log_z = true},
    {.name = "gamma of large shapes",
     .build = gamma_big,
     .points = points_near_two,
     .log_density = gamma_big_value,
     .tolerance = 2e-11, /* the plain formula loses that: its terms are 30000 */
     .gradient_tolerance = 1e-5,
     .knows_log_z = true},
    {.name = "gamma on a square",
     .build = gamma_bounded,
     .points = points_middle,
     .log_density = gamma_bounded_value,
     .sample = POET_SAMPLE_BOX,
     .box = {0.5, 2.5, 0.5, 2.5},
     .knows_log_z = true,
     .expected_log_z = -1.266678587373054},
};
POET_ENTRY(gamma, gamma_cases);

/* ---- beta ---- */

static const double beta_a[3] = {2.5, 0.6, 1.0}, beta_b[3] = {3.5, 1.0, 0.5};

BUILD(beta_line, &poei_beta_ops, 1, "a", beta_a, "b", beta_b, 0.0, 0.0)
BUILD(beta_many, &poei_beta_ops, MANY, "a", beta_a, "b", beta_b, 0.0, 1.0)
BUILD(beta_bounded, &poei_beta_ops, 2, "a", beta_a, "b", beta_b, 0.25, 0.75)

static double beta_value(size_t d, const double *x) {
  double sum = 0.0;
  for (size_t j = 0; j < d; j++) {
    double a = beta_a[j % 3], b = beta_b[j % 3];
    sum += lgamma(a + b) - lgamma(a) - lgamma(b) + (a - 1.0) * log(x[j]) + (b - 1.0) * log(1.0 - x[j]);
  }
  return sum;
}

static double beta_line_value(const double *x) {
  return beta_value(1, x);
}

static double beta_many_value(const double *x) {
  return beta_value(MANY, x);
}

static double beta_bounded_value(const double *x) {
  return beta_value(2, x);
}

static void points_quarter(size_t n, size_t d, double *x) {
  points_between(n, d, 0.26, 0.74, x);
}

static const poet_case beta_cases[] = {
    {.name = "beta on the unit interval",
     .build = beta_line,
     .points = points_unit,
     .log_density = beta_line_value,
     .sample = POET_SAMPLE_BOX,
     .box = {0.0, 1.0},
     .knows_log_z = true},
    {.name = "beta in 17 dimensions",
     .build = beta_many,
     .points = points_unit,
     .log_density = beta_many_value,
     .knows_log_z = true},
    {.name = "beta on a square",
     .build = beta_bounded,
     .points = points_quarter,
     .log_density = beta_bounded_value,
     .sample = POET_SAMPLE_BOX,
     .box = {0.25, 0.75, 0.25, 0.75},
     .knows_log_z = true,
     .expected_log_z = -1.1928492861764437},
};
POET_ENTRY(beta, beta_cases);

/* ---- lognormal ---- */

static const double mus[3] = {0.25, -1.0, 2.0}, sigmas[3] = {0.5, 1.25, 0.1};

BUILD(lognormal_line, &poei_lognormal_ops, 1, "mu", mus, "sigma", sigmas, 0.0, 0.0)
BUILD(lognormal_many, &poei_lognormal_ops, MANY, "mu", mus, "sigma", sigmas, 0.0, INFINITY)
BUILD(lognormal_bounded, &poei_lognormal_ops, 2, "mu", mus, "sigma", sigmas, 0.5, 2.5)

static double lognormal_value(size_t d, const double *x) {
  double sum = 0.0;
  for (size_t j = 0; j < d; j++) {
    double s = sigmas[j % 3], z = (log(x[j]) - mus[j % 3]) / s;
    sum -= 0.5 * z * z + log(x[j] * s * sqrt(2.0 * acos(-1.0)));
  }
  return sum;
}

static double lognormal_line_value(const double *x) {
  return lognormal_value(1, x);
}

static double lognormal_many_value(const double *x) {
  return lognormal_value(MANY, x);
}

static double lognormal_bounded_value(const double *x) {
  return lognormal_value(2, x);
}

static const poet_case lognormal_cases[] = {
    {.name = "lognormal on the half-line",
     .build = lognormal_line,
     .points = points_positive,
     .log_density = lognormal_line_value,
     .sample = POET_SAMPLE_BOX,
     .box = {0.0, 7.0},
     .knows_log_z = true},
    {.name = "lognormal in 17 dimensions",
     .build = lognormal_many,
     .points = points_positive,
     .log_density = lognormal_many_value,
     .gradient_tolerance = 1e-5,
     .knows_log_z = true},
    {.name = "lognormal on a square",
     .build = lognormal_bounded,
     .points = points_middle,
     .log_density = lognormal_bounded_value,
     .sample = POET_SAMPLE_BOX,
     .box = {0.5, 2.5, 0.5, 2.5},
     .knows_log_z = true,
     .expected_log_z = -1.2065389571899485},
};
POET_ENTRY(lognormal, lognormal_cases);

/* ---- von Mises: I_0 by the trapezoidal rule, which is exact to rounding for periodic functions ---- */

static const double directions[3] = {0.5, -2.75, 3.0}, kappas[3] = {2.5, 0.4, 40.0}, sharp[3] = {4e4, 0.0, 1e3};

BUILD(von_mises_line, &poei_von_mises_ops, 1, "mu", directions, "kappa", kappas, 0.0, 0.0)
BUILD(von_mises_many, &poei_von_mises_ops, MANY, "mu", directions, "kappa", kappas, 0.0, 0.0)
BUILD(von_mises_around, &poei_von_mises_ops, 1, "mu", directions + 1, "kappa", kappas + 1, 0.0, 2.0 * acos(-1.0))
BUILD(von_mises_sharp, &poei_von_mises_ops, 3, "mu", directions, "kappa", sharp, 0.0, 0.0)
BUILD(von_mises_bounded, &poei_von_mises_ops, 2, "mu", directions, "kappa", kappas, 0.5, 2.5)

static double von_mises_value(size_t d, const double *mu, const double *kappa, const double *x) {
  enum { N = 4000 };
  double sum = 0.0;
  for (size_t j = 0; j < d; j++) {
    double k = kappa[j % 3], mean = 0.0;
    for (int i = 0; i < N; i++) {
      double half = sin(i * acos(-1.0) / N);
      mean += exp(-2.0 * k * half * half) / N;
    }
    double half = sin((x[j] - mu[j % 3]) / 2.0);
    sum += -2.0 * k * half * half - log(2.0 * acos(-1.0) * mean);
  }
  return sum;
}

static double von_mises_line_value(const double *x) {
  return von_mises_value(1, directions, kappas, x);
}

static double von_mises_many_value(const double *x) {
  return von_mises_value(MANY, directions, kappas, x);
}

static double von_mises_around_value(const double *x) {
  return von_mises_value(1, directions + 1, kappas + 1, x);
}

static double von_mises_sharp_value(const double *x) {
  return von_mises_value(3, directions, sharp, x);
}

static double von_mises_bounded_value(const double *x) {
  return von_mises_value(2, directions, kappas, x);
}

static void points_around(size_t n, size_t d, double *x) {
  points_between(n, d, 0.01, 6.2, x);
}

static const poet_case von_mises_cases[] = {
    {.name = "von Mises on the circle",
     .build = von_mises_line,
     .points = points_angle,
     .log_density = von_mises_line_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-3.141592653589793, 3.141592653589793},
     .knows_log_z = true},
    {.name = "von Mises in 17 dimensions",
     .build = von_mises_many,
     .points = points_angle,
     .log_density = von_mises_many_value,
     .knows_log_z = true},
    {.name = "von Mises from 0 to 2 pi",
     .build = von_mises_around,
     .points = points_around,
     .log_density = von_mises_around_value,
     .sample = POET_SAMPLE_BOX,
     .box = {0.0, 6.283185307179586},
     .knows_log_z = true},
    {.name = "von Mises, sharp and flat",
     .build = von_mises_sharp,
     .points = points_angle,
     .log_density = von_mises_sharp_value,
     .gradient_tolerance = 1e-5,
     .knows_log_z = true},
    {.name = "von Mises on a square",
     .build = von_mises_bounded,
     .points = points_middle,
     .log_density = von_mises_bounded_value,
     .sample = POET_SAMPLE_BOX,
     .box = {0.5, 2.5, 0.5, 2.5},
     .knows_log_z = true,
     .expected_log_z = -2.0264405400752847},
};
POET_ENTRY(von_mises, von_mises_cases);

/* ---- Poisson ---- */

static const double counts[3] = {2.5, 0.3, 11.0}, large_counts[3] = {1e4, 700.0, 2e5};

/* states 0: unbounded */
static poe_status poisson_build(size_t d, size_t states, const double *rate, poe_expert **expert, poe_error *error) {
  double values[POET_MAX_DIM];
  poet_args a;
  poet_args_start(&a, "poisson");
  poet_args_discrete_variable(&a, "k", d, states);
  for (size_t j = 0; j < d; j++) {
    values[j] = rate[j % 3];
    if (states == 0) {
      a.support[0][j].high = INFINITY;
      a.support[0][j].high_open = true;
    }
  }
  poet_args_vector(&a, "rate", d, values);
  return poe_expert_create(&poei_poisson_ops, &a.args, expert, error);
}

static poe_status poisson_all(poe_expert **expert, poe_error *error) {
  return poisson_build(MANY, 0, counts, expert, error);
}

static poe_status poisson_large(poe_expert **expert, poe_error *error) {
  return poisson_build(3, 0, large_counts, expert, error);
}

static poe_status poisson_few(poe_expert **expert, poe_error *error) {
  return poisson_build(3, 6, counts, expert, error);
}

static poe_status poisson_binary(poe_expert **expert, poe_error *error) {
  return poisson_build(2, 2, counts, expert, error);
}

static double poisson_value(size_t d, const double *rate, const double *x) {
  double sum = 0.0;
  for (size_t j = 0; j < d; j++) {
    sum += x[j] * log(rate[j % 3]) - rate[j % 3] - lgamma(x[j] + 1.0);
  }
  return sum;
}

static double poisson_all_value(const double *x) {
  return poisson_value(MANY, counts, x);
}

static double poisson_large_value(const double *x) {
  return poisson_value(3, large_counts, x);
}

static double poisson_few_value(const double *x) {
  return poisson_value(3, counts, x);
}

static double poisson_binary_value(const double *x) {
  return poisson_value(2, counts, x);
}

static void points_counts(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n * d; i++) {
    x[i] = floor(poet_spread(i / d, i % d, 0.0, 25.0));
  }
}

static const poet_case poisson_cases[] = {
    {.name = "poisson counts",
     .build = poisson_all,
     .points = points_counts,
     .log_density = poisson_all_value,
     .needs_no_interior = true,
     .knows_log_z = true},
    {.name = "poisson counts of large rates",
     .build = poisson_large,
     .log_density = poisson_large_value,
     .tolerance = 2e-9, /* the plain formula loses that: its terms are 2e6 */
     .needs_no_interior = true,
     .knows_log_z = true},
    {.name = "poisson on few values",
     .build = poisson_few,
     .log_density = poisson_few_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true,
     .knows_log_z = true,
     .expected_log_z = -3.325816354758045},
    {.name = "poisson on binary values",
     .build = poisson_binary,
     .log_density = poisson_binary_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
};
POET_ENTRY(poisson, poisson_cases);
