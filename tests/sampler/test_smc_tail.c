/* The tail index of weights: known indices, light tails, ties, few weights; and estimators with a mistake, which the
 * checks must find.
 *
 * The index k of M exceedances is estimated SEEDS times, and the mean is held against bounds. The fit of the
 * generalised Pareto distribution has the variance of maximum likelihood, (1 + k)^2 / M, and a bias of order 1/M, for
 * which BIAS / M is allowed; Hill's estimate of a Pareto tail is a mean of M exponentials of mean k, unbiased with
 * variance k^2 / M. The smaller of the two is at most Hill's, and lies below the mean of both by half their distance,
 * on average by at most half of sqrt(k^2 + (1 + k)^2) / sqrt(M). Bounds are 4.5 standard errors further out (7e-6 each
 * way). */
#include <math.h>
#include <stdlib.h>

#include "sampler/smc.h"
#include "tests/support/check.h"

enum { SEEDS = 40, WEIGHTS = 20000, BIAS = 5 };

typedef double estimator(double *tail, size_t n, double change);

/* floor(min(n / 5, 3 sqrt(n))) */
static size_t exceedances(size_t n) {
  return (size_t)fmin(0.2 * (double)n, 3.0 * sqrt((double)n));
}

/* ---- weights ---- */

typedef enum law { PARETO, SHIFTED, EXPONENTIAL, UNIFORM } law;

/* The log of a weight of tail index k (0 and -1 for the last two). A Pareto weight less 1 has exceedances that follow
 * the generalised Pareto distribution, but no Pareto tail at any threshold. */
static double draw(law which, double k, poe_stream *stream) {
  double u = poe_stream_uniform(stream);
  switch (which) {
  case PARETO:
    return -k * log(u);
  case SHIFTED:
    return log(expm1(-k * log(u)));
  case EXPONENTIAL:
    return log(-log(u));
  default:
    return log(u);
  }
}

static double *draws(law which, double k, size_t n, uint64_t seed) {
  double *log_weight = malloc(n * sizeof *log_weight);
  assert_non_null(log_weight);
  poe_stream stream = poe_stream_open(poe_rng_seed(seed));
  for (size_t i = 0; i < n; i++) {
    log_weight[i] = draw(which, k, &stream);
  }
  return log_weight;
}

/* The index of n weights, in memory of just the size asked for. */
static double index_of(estimator *estimate, const double *log_weight, size_t n, double change) {
  double *tail = malloc(poei_smc_tail_room(n) * sizeof *tail);
  assert_non_null(tail);
  poei_smc_tail(log_weight, n, tail);
  double k = estimate(tail, n, change);
  free(tail);
  return k;
}

static double mean_index(estimator *estimate, law which, double k, double change) {
  double sum = 0.0;
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    double *log_weight = draws(which, k, WEIGHTS, seed);
    sum += index_of(estimate, log_weight, WEIGHTS, change) / SEEDS;
    free(log_weight);
  }
  return sum;
}

/* ---- bounds ---- */

typedef struct bounds {
  double low, high;
} bounds;

static bounds pareto_bounds(double k) {
  double m = (double)exceedances(WEIGHTS), spread = sqrt((k * k + (1.0 + k) * (1.0 + k)) / m), wide = sqrt(SEEDS);
  return (bounds){k - 0.5 * spread - 4.5 * spread / wide - BIAS / m, k + 4.5 * k / sqrt(m) / wide};
}

static bounds fit_bounds(double k) {
  double m = (double)exceedances(WEIGHTS), off = 4.5 * (1.0 + k) / sqrt(m * SEEDS) + BIAS / m;
  return (bounds){k - off, k + off};
}

static bool within(double mean, bounds b) {
  return mean >= b.low && mean <= b.high;
}

static void check_within(const char *what, double k, double mean, bounds b) {
  if (!within(mean, b)) {
    fail_msg("%s of index %g: mean estimate %.4f, not in %.4f .. %.4f", what, k, mean, b.low, b.high);
  }
}

/* ---- tests ---- */

static void known_indices(void **state) {
  (void)state;
  static const double index[] = {0.1, 0.2, 0.5, 1.0, 2.0};
  for (size_t i = 0; i < sizeof index / sizeof *index; i++) {
    double k = index[i];
    check_within("Pareto", k, mean_index(poei_smc_tail_index, PARETO, k, 1.0), pareto_bounds(k));
    check_within("Pareto, a quarter of it", k, mean_index(poei_smc_tail_index, PARETO, 4.0 * k, 0.25),
                 pareto_bounds(k));
    if (k >= 0.5) { /* Hill's estimate, of k / (1 - (M/n)^k) and more, stays above the fit */
      check_within("Pareto less 1", k, mean_index(poei_smc_tail_index, SHIFTED, k, 1.0), fit_bounds(k));
    }
  }
}

static void light_tails(void **state) {
  (void)state;
  check_within("exponential", 0.0, mean_index(poei_smc_tail_index, EXPONENTIAL, 0.0, 1.0), fit_bounds(0.0));
  assert_true(mean_index(poei_smc_tail_index, UNIFORM, 0.0, 1.0) < -0.5); /* -1, where the fit is not regular */
}

/* Weights that hardly differ have no tail, however heavy that of their logs is. */
static void small_changes(void **state) {
  (void)state;
  double *weight = draws(PARETO, 1.0, WEIGHTS, 3);
  for (size_t i = 0; i < WEIGHTS; i++) {
    weight[i] = exp(weight[i]);
  }
  for (double change = 1e-6; change > 1e-12; change /= 10.0) { /* the largest log is about WEIGHTS */
    double k = index_of(poei_smc_tail_index, weight, WEIGHTS, change);
    assert_true(k >= 0.0 && k <= change * 2.0 * WEIGHTS);
  }
  free(weight);
}

/* Hill's estimate alone: of tails that are not Pareto's it sees too much. */
static double hill_alone(double *tail, size_t n, double change) {
  size_t m = exceedances(n);
  double sum = 0.0;
  for (size_t i = 0; i < m; i++) {
    sum += change * (tail[i] - tail[m]) / (double)m;
  }
  return sum;
}

static double change_squared(double *tail, size_t n, double change) {
  return poei_smc_tail_index(tail, n, change * change);
}

/* The other end of the weights: that of their inverses. */
static double other_tail(double *tail, size_t n, double change) {
  for (size_t i = 0; i <= exceedances(n); i++) {
    tail[i] = -tail[i];
  }
  return poei_smc_tail_index(tail, n, change);
}

static void mistakes_are_found(void **state) {
  (void)state;
  assert_false(within(mean_index(hill_alone, EXPONENTIAL, 0.0, 1.0), fit_bounds(0.0)));
  assert_true(within(mean_index(hill_alone, PARETO, 0.5, 1.0), pareto_bounds(0.5)));
  assert_false(within(mean_index(change_squared, PARETO, 2.0, 0.25), pareto_bounds(0.5)));
  assert_false(within(mean_index(other_tail, PARETO, 0.5, 1.0), pareto_bounds(0.5)));
}

static int descending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x < y) - (x > y);
}

/* The largest ones in order, with ties and weights of 0, against a sort of all. */
static void largest_in_order(void **state) {
  (void)state;
  static const size_t sizes[] = {1, 4, 5, 9, 10, 100, 225, 226, 1000};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    for (uint64_t seed = 1; seed <= 20; seed++) {
      size_t n = sizes[s], m = exceedances(n);
      double *log_weight = draws(EXPONENTIAL, 0.0, n, seed);
      double *tail = malloc(poei_smc_tail_room(n) * sizeof *tail);
      assert_non_null(tail);
      for (size_t i = 0; i < n; i++) {
        double value = seed % 2 == 0 ? floor(2.0 * log_weight[i]) : log_weight[i];
        log_weight[i] = seed % 3 == 0 && i % 2 == 0 ? -INFINITY : value;
      }
      poei_smc_tail(log_weight, n, tail);
      qsort(log_weight, n, sizeof *log_weight, descending);
      assert_memory_equal(tail, log_weight, (m + 1) * sizeof *tail);
      free(tail);
      free(log_weight);
    }
  }
}

/* No tail: fewer than five weights, or equal ones. Few: a number, not above Hill's estimate. */
static void ties_and_few(void **state) {
  (void)state;
  double same[1000];
  for (size_t i = 0; i < 1000; i++) {
    same[i] = -3.25;
  }
  for (size_t n = 1; n <= 1000; n = 2 * n + 1) {
    assert_true(index_of(poei_smc_tail_index, same, n, 1.0) == -INFINITY);
  }
  for (size_t n = 1; n <= 60; n++) {
    for (uint64_t seed = 1; seed <= 50; seed++) {
      double *log_weight = draws(PARETO, 1.0, n, seed);
      double k = index_of(poei_smc_tail_index, log_weight, n, 1.0);
      assert_true(n < 5 ? k == -INFINITY : k <= index_of(hill_alone, log_weight, n, 1.0));
      log_weight[n / 2] = -INFINITY;
      assert_true(!isnan(index_of(poei_smc_tail_index, log_weight, n, 0.5)));
      free(log_weight);
    }
  }
  same[500] = 700.0; /* one weight that is all */
  assert_true(!isnan(index_of(poei_smc_tail_index, same, 1000, 1.0)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_indices),      cmocka_unit_test(light_tails),      cmocka_unit_test(small_changes),
      cmocka_unit_test(mistakes_are_found), cmocka_unit_test(largest_in_order), cmocka_unit_test(ties_and_few),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
