/* Sequential Monte Carlo: log Z and its interval on paths with a known truth, draws, hard edges, dead ends, bits,
 * interruption, memory; and reweighting with a mistake, which the coverage check must find.
 *
 * False alarms of `coverage`: nominal 95 % intervals (log Z +- 1.96 SE) must hold the truth in at least 17 of 20 seeds.
 * With coverage .95 exactly, fewer do with probability P(Bin(20, .95) <= 16) = 1.6 % per path and setting; 14 are
 * tested: 20 % for a new choice of seeds. Measured over 40 other seeds (8 islands of 128): 5 Gaussians 39, 20 Gaussians
 * 38, 30 of them 39, bimodal 39, in 8 dimensions 37, banana 36, thin banana 37, hard edge 40, funnel in 5 dimensions
 * 39, in 8 38, in 10 (not tested) 36, pole 39, mild poles 40. The mean deviation over the seeds must be within 4 of its
 * standard errors. */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/pool.h"
#include "sampler/diagnostics.h"
#include "sampler/run.h"
#include "tests/sampler/paths.h"
#include "tests/support/check.h"

enum { SEEDS = 20, ALL = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE };

/* How often the interval holds the truth over SEEDS seeds; *bias: mean deviation in its standard errors. */
static int covered(const path *p, size_t islands, size_t particles, unsigned capabilities, double *bias) {
  poe_expert *base = target_expert(&p->base, ALL), *rest = target_expert(&p->rest, capabilities);
  int inside = 0;
  double sum = 0.0, squares = 0.0;
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    poei_run_options options = {.chains = islands, .draws = particles, .seed = seed};
    poei_draws draws;
    poei_smc_report report;
    poe_error error = {0};
    check_ok(poei_run_smc(base, rest, &options, &draws, &report, &error), error);
    double off = report.log_z_ratio - p->log_z;
    inside += fabs(off) <= 1.96 * report.std_error;
    sum += off;
    squares += report.std_error * report.std_error;
    assert_true(report.std_error > 0.0 && report.std_error < 0.5);
    assert_true(report.ess > 1.0 && report.ess <= (double)draws.density_evaluations);
    assert_true(report.min_ess_fraction > 0.1 && report.steps >= 1);
    assert_true(report.acceptance > 0.1 || (report.steps == 1 && isnan(report.acceptance)));
    poei_draws_free(&draws);
  }
  poe_expert_release(base);
  poe_expert_release(rest);
  *bias = sum / sqrt(squares);
  return inside;
}

static void coverage(void **state) {
  (void)state;
  const struct {
    int path;
    size_t islands, particles;
    unsigned capabilities;
  } cases[] = {{0, 8, 128, ALL}, {1, 8, 128, ALL}, {2, 8, 128, ALL},  {3, 8, 128, ALL}, {4, 8, 128, ALL},
               {5, 8, 128, ALL}, {6, 8, 128, ALL}, {7, 8, 128, ALL},  {1, 4, 500, ALL}, {6, 8, 128, POE_CAN_EVAL},
               {8, 8, 128, ALL}, {9, 8, 128, ALL}, {10, 8, 128, ALL}, {11, 8, 128, ALL}};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    path p = path_make(cases[k].path);
    double bias;
    int inside = covered(&p, cases[k].islands, cases[k].particles, cases[k].capabilities, &bias);
    if (inside < 17 || fabs(bias) > 4.0) {
      fail_msg("%s, %zu x %zu: %d of %d intervals hold the truth, mean deviation %g standard errors", p.name,
               cases[k].islands, cases[k].particles, inside, SEEDS, bias);
    }
  }
}

/* Moves at another temperature than the weights say, or weights of another power than the moves: both must show. */
static void mistakes_are_found(void **state) {
  (void)state;
  for (int which = 0; which < 2; which++) {
    path p = path_make(0);
    double bias;
    p.rest.faithless = which == 0 ? TARGET_MOVES_OFF : TARGET_WEIGHTS_OFF;
    int inside = covered(&p, 8, 128, ALL, &bias);
    if (inside >= 17) {
      fail_msg("mistake %d is not found: %d of %d, %g standard errors", which, inside, SEEDS, bias);
    }
  }
}

/* The particles are draws of the target: mean and variance of a product of Gaussians, and the share of a double well.
 * 20 seeds x 10 numbers; limits of 4.5 MCSE-like errors (7e-6 each). */
static void draws_follow_the_target(void **state) {
  (void)state;
  path p = path_make(0);
  poe_expert *base = target_expert(&p.base, ALL), *rest = target_expert(&p.rest, ALL);
  double mean = 2.0 / 0.25 / 5.0, variance = 1.0 / 5.0, z2 = 0.0;
  for (uint64_t seed = 1; seed <= 20; seed++) {
    poei_run_options options = {.chains = 8, .draws = 300, .seed = seed};
    poei_draws draws;
    poei_smc_report report;
    poe_error error = {0};
    check_ok(poei_run_smc(base, rest, &options, &draws, &report, &error), error);
    for (size_t j = 0; j < 5; j++) {
      poei_summary s;
      poei_series series = {draws.x + j, 8, 300, 300 * 5, 5};
      check_ok(poei_summarise(series, &s, &error), error);
      double z = (s.mean - mean) / s.mcse_mean;
      assert_true(fabs(z) < 4.5);
      assert_true(fabs(s.sd * s.sd / variance - 1.0) < 4.5 * sqrt(2.0 / (0.5 * s.ess_bulk)));
      z2 += z * z / 100.0;
    }
    for (size_t i = 0; i < 8 * 300; i++) {
      const double *x = draws.x + i * 5;
      check_close(draws.lp[i], p.base.log_density(&p.base, x, NULL) + p.rest.log_density(&p.rest, x, NULL), 1e-10, 0.0);
    }
    poei_draws_free(&draws);
  }
  assert_true(z2 > 0.5 && z2 < 1.6);
  poe_expert_release(base);
  poe_expert_release(rest);
}

/* A path of length nothing: rest = 1 gives log Z = 0 exactly, in one step. */
static void nothing_to_do(void **state) {
  (void)state;
  target one = target_edge(1, -INFINITY, INFINITY, 0.0), what = target_gaussian(1, 0.0, 1.0);
  poe_expert *base = target_expert(&what, ALL), *rest = target_expert(&one, ALL);
  poei_run_options options = {.chains = 2, .draws = 50, .seed = 4};
  poei_draws draws;
  poei_smc_report report;
  poe_error error = {0};
  check_ok(poei_run_smc(base, rest, &options, &draws, &report, &error), error);
  check_close(report.log_z_ratio, 0.0, 1e-12, 0.0);
  check_close(report.std_error, 0.0, 1e-9, 0.0);
  assert_int_equal(report.steps, 1);
  assert_true(draws.draws == 50 && draws.chains == 2);
  poei_draws_free(&draws);
  poe_expert_release(base);
  poe_expert_release(rest);
}

static double log_nan(const target *t, const double *x, double *g) {
  if (g != NULL) {
    g[0] = 0.0;
  }
  return x[0] > 1.0 ? t->a : 0.0;
}

static void dead_ends(void **state) {
  (void)state;
  target what = target_gaussian(1, 0.0, 1.0), far = target_edge(1, 50.0, 51.0, 0.0);
  poe_expert *base = target_expert(&what, ALL), *rest = target_expert(&far, ALL);
  poei_run_options options = {.chains = 2, .draws = 128};
  poei_draws draws;
  poei_smc_report report;
  poe_error error = {0};
  check_fails(poei_run_smc(base, rest, &options, &draws, &report, &error), POE_E_NUMERIC, error, "all particles die");
  assert_true(error.hint[0] != '\0');
  check_fails(poei_run_smc(rest, base, &options, &draws, &report, &error), POE_E_CAPABILITY, error, "exactly");
  poe_expert_release(rest);
  far.log_density = log_nan;
  far.a = NAN;
  rest = target_expert(&far, ALL);
  check_fails(poei_run_smc(base, rest, &options, &draws, &report, &error), POE_E_NUMERIC, error, "nan");
  poe_expert_release(rest);
  far.a = INFINITY;
  rest = target_expert(&far, ALL);
  check_fails(poei_run_smc(base, rest, &options, &draws, &report, &error), POE_E_NUMERIC, error, "inf");
  poe_expert_release(rest);
  what = target_gaussian(2, 0.0, 1.0);
  rest = target_expert(&what, ALL);
  check_fails(poei_run_smc(base, rest, &options, &draws, &report, &error), POE_E_SHAPE, error, "coordinates");
  poe_expert_release(rest);
  poe_expert_release(base);
}

static void threads_do_not_change_bits(void **state) {
  (void)state;
  poei_pool *pool = poei_pool_create(2);
  static const int paths[] = {1, 4, 8}; /* the last one has moves along a fan */
  for (size_t k = 0; k < sizeof paths / sizeof *paths; k++) {
    path p = path_make(paths[k]);
    poe_expert *base = target_expert(&p.base, ALL), *rest = target_expert(&p.rest, ALL);
    poei_run_options options = {.chains = 3, .draws = 200, .seed = 12};
    poei_draws one, two;
    poei_smc_report a, b;
    poe_error error = {0};
    check_ok(poei_run_smc(base, rest, &options, &one, &a, &error), error);
    options.pool = pool;
    check_ok(poei_run_smc(base, rest, &options, &two, &b, &error), error);
    assert_memory_equal(one.x, two.x, 3 * 200 * p.base.d * sizeof(double));
    assert_memory_equal(one.lp, two.lp, 3 * 200 * sizeof(double));
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(one.gradient_evaluations == two.gradient_evaluations);
    poei_draws_free(&one);
    poei_draws_free(&two);
    poe_expert_release(base);
    poe_expert_release(rest);
  }
  poei_pool_destroy(pool);
}

typedef struct stopper {
  atomic_bool stop;
  size_t at, last;
} stopper;

static void stopper_report(void *context, const char *phase, size_t done, size_t total) {
  stopper *self = context;
  assert_true(done <= total);
  if (strcmp(phase, "path") != 0) {
    return;
  }
  assert_true(done >= self->last);
  self->last = done;
  if (done >= self->at) {
    atomic_store(&self->stop, true);
  }
}

static void interruption(void **state) {
  (void)state;
  path p = path_make(1);
  poe_expert *base = target_expert(&p.base, ALL), *rest = target_expert(&p.rest, ALL);
  poei_draws draws;
  poei_smc_report report;
  poe_error error = {0};
  stopper self = {.at = 1};
  poei_run_options options = {.chains = 2, .draws = 128, .monitor = {stopper_report, &self, &self.stop}};
  check_fails(poei_run_smc(base, rest, &options, &draws, &report, &error), POE_E_INTERRUPTED, error, "interrupted");
  self = (stopper){.at = 1000};
  check_ok(poei_run_smc(base, rest, &options, &draws, &report, &error), error);
  assert_true(draws.interrupted && draws.draws == 128 && fabs(report.log_z_ratio - p.log_z) < 2.0);
  poei_draws_free(&draws);
  poe_expert_release(base);
  poe_expert_release(rest);
}

static void allocations(void **state) {
  (void)state;
  static const int paths[] = {0, 1, 8}; /* few and many temperatures, and fans: the same number of allocations */
  uint64_t used[3];
  for (size_t which = 0; which < 3; which++) {
    path p = path_make(paths[which]);
    poe_expert *base = target_expert(&p.base, ALL), *rest = target_expert(&p.rest, ALL);
    poei_run_options options = {.chains = 2, .draws = 128, .seed = 2};
    poei_draws draws;
    poei_smc_report report;
    poe_error error = {0};
    uint64_t before = poei_alloc_count();
    check_ok(poei_run_smc(base, rest, &options, &draws, &report, &error), error);
    used[which] = poei_alloc_count() - before;
    poei_draws_free(&draws);
    for (size_t n = 1; which == 0 && n <= used[0]; n++) {
      poei_alloc_fail_at(n);
      poe_status status = poei_run_smc(base, rest, &options, &draws, &report, &error);
      poei_alloc_fail_at(0);
      assert_int_equal(status, POE_E_MEMORY);
    }
    poe_expert_release(base);
    poe_expert_release(rest);
  }
  assert_true(used[0] == used[1] && used[0] == used[2]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(coverage),
      cmocka_unit_test(mistakes_are_found),
      cmocka_unit_test(draws_follow_the_target),
      cmocka_unit_test(nothing_to_do),
      cmocka_unit_test(dead_ends),
      cmocka_unit_test(threads_do_not_change_bits),
      cmocka_unit_test(interruption),
      cmocka_unit_test(allocations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
