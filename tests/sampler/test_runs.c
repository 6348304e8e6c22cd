/* Runs: estimates against the truth, bits for any number of threads, interruption, starts, adaptation, evaluation
 * counts, memory.
 *
 * False alarms: in `estimates`, 20 seeds of every case give 20 (means and squares) x coordinates deviations in units of
 * their MCSE, close to N(0, 1): about 1700. A deviation above 4 has probability 6e-5 each, three or more of them 2e-4
 * (binomial); the mean square of the deviations has a standard deviation of about .1 (they are correlated within a run)
 * and may be off by .5. Both together fail a correct library once in more than 3000 seeds. */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/pool.h"
#include "sampler/adaptation.h"
#include "sampler/diagnostics.h"
#include "sampler/run.h"
#include "tests/sampler/targets.h"
#include "tests/support/check.h"

static poei_draws run(const target *what, const char *kernel, const poei_run_options *options) {
  poe_expert *expert = target_expert(what, POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE);
  poei_draws draws;
  poe_error error = {0};
  if (kernel != NULL) {
    check_ok(poei_run_mcmc(expert, poei_kernel_find(kernel), options, NULL, &draws, &error), error);
  } else {
    check_ok(poei_run_exact(expert, options, &draws, &error), error);
  }
  poe_expert_release(expert);
  return draws;
}

/* ---- estimates ---- */

typedef struct deviations {
  size_t n, far;
  double squares;
} deviations;

/* Deviations of the means of x_j and (x_j - mean_j)^2 from the truth, in MCSE. */
static void deviate(const target *what, const poei_draws *draws, deviations *out) {
  size_t rows = draws->chains * draws->draws;
  double *values = calloc(rows, sizeof *values);
  for (size_t j = 0; j < what->d; j++) {
    for (int square = 0; square < 2; square++) {
      for (size_t k = 0; k < rows; k++) {
        double off = draws->x[k * what->d + j] - what->mean[j];
        values[k] = square ? off * off : off;
      }
      poei_summary summary;
      poe_error error = {0};
      check_ok(poei_summarise((poei_series){values, draws->chains, draws->draws, draws->draws, 1}, &summary, &error),
               error);
      double z = (summary.mean - (square ? what->sd[j] * what->sd[j] : 0.0)) / summary.mcse_mean;
      out->n++;
      out->far += fabs(z) > 4.0;
      out->squares += z * z;
    }
  }
  free(values);
}

static void estimates(void **state) {
  (void)state;
  const struct {
    const char *kernel;
    target what;
    size_t chains, thin;
  } cases[] = {
      {"hmc", target_ar1(8, 0.8), 4, 1},           {"hmc", target_ill_conditioned(6, 1000.0), 4, 1},
      {"hmc", target_wells(2, 1.5, 0.3), 4, 2},    {"mala", target_ar1(4, 0.5), 4, 2},
      {"mala", target_banana(3, 0.5, 1.0), 16, 3}, {"rwm", target_gaussian(2, 1.0, 3.0), 16, 4},
      {"hmc", target_student(3, 9.0), 16, 1},      {NULL, target_student(2, 9.0), 4, 1},
  };
  deviations all = {0};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    deviations one = {0};
    for (uint64_t seed = 1; seed <= 20; seed++) {
      poei_run_options options = {.chains = cases[k].chains, .thin = cases[k].thin, .seed = seed};
      poei_draws draws = run(&cases[k].what, cases[k].kernel, &options);
      deviate(&cases[k].what, &draws, &one);
      poei_draws_free(&draws);
    }
    double mean_square = one.squares / (double)one.n;
    if (one.far > 2 || mean_square > 1.6 || mean_square < 0.5) {
      fail_msg("%s on %s: %zu of %zu deviations above 4, mean square %g",
               cases[k].kernel != NULL ? cases[k].kernel : "exact", cases[k].what.name, one.far, one.n, mean_square);
    }
    all.n += one.n;
    all.far += one.far;
    all.squares += one.squares;
  }
  assert_true(all.n > 1000 && all.far <= 2);
  assert_true(all.squares / (double)all.n < 1.4 && all.squares / (double)all.n > 0.7);
}

/* ---- bits ---- */

static void same_draws(const poei_draws *a, const poei_draws *b) {
  size_t rows = a->chains * a->draws;
  assert_true(a->chains == b->chains && a->draws == b->draws && a->dim == b->dim);
  assert_memory_equal(a->x, b->x, rows * a->dim * sizeof(double));
  assert_memory_equal(a->lp, b->lp, rows * sizeof(double));
  assert_memory_equal(a->acceptance, b->acceptance, rows * sizeof(double));
  assert_memory_equal(a->energy, b->energy, rows * sizeof(double));
  assert_memory_equal(a->diverging, b->diverging, rows);
  assert_memory_equal(a->step_size, b->step_size, a->chains * sizeof(double));
  assert_true(a->density_evaluations == b->density_evaluations && a->gradient_evaluations == b->gradient_evaluations);
}

static void threads_do_not_change_bits(void **state) {
  (void)state;
  static const char *const kernels[] = {"rwm", "ula", "mala", "hmc", NULL};
  target what = target_ar1(5, 0.6);
  poei_pool *pool = poei_pool_create(2);
  assert_non_null(pool);
  for (size_t k = 0; k < 5; k++) {
    poei_run_options options = {.chains = 100, .warmup = 60, .draws = 40, .thin = 2, .seed = 5};
    poei_draws one = run(&what, kernels[k], &options);
    options.pool = pool;
    poei_draws two = run(&what, kernels[k], &options);
    same_draws(&one, &two);
    options.seed = 6;
    poei_draws other = run(&what, kernels[k], &options);
    assert_memory_not_equal(one.x, other.x, 100 * 40 * 5 * sizeof(double));
    poei_draws_free(&one);
    poei_draws_free(&two);
    poei_draws_free(&other);
  }
  poei_pool_destroy(pool);
}

/* A chain's exact draws do not depend on how many are asked for. */
static void exact_draws_are_addressed(void **state) {
  (void)state;
  target what = target_banana(3, 0.5, 1.0);
  poei_run_options options = {.chains = 3, .draws = 700, .seed = 9};
  poei_draws many = run(&what, NULL, &options);
  options.chains = 2;
  options.draws = 100;
  poei_draws few = run(&what, NULL, &options);
  for (size_t c = 0; c < 2; c++) {
    check_same_bits(few.x + c * 100 * 3, many.x + c * 700 * 3, 300);
    check_same_bits(few.lp + c * 100, many.lp + c * 700, 100);
  }
  for (size_t k = 0; k < 100; k++) {
    check_close(few.lp[k], what.log_density(&what, few.x + k * 3, NULL), 1e-12, 0.0);
    assert_true(isnan(few.energy[k]) && isnan(few.acceptance[k]) && few.diverging[k] == 0);
  }
  poei_draws_free(&many);
  poei_draws_free(&few);
}

/* ---- interruption ---- */

typedef struct stopper {
  atomic_bool stop;
  const char *phase;
  size_t at, calls;
} stopper;

static void stopper_report(void *context, const char *phase, size_t done, size_t total) {
  stopper *self = context;
  self->calls++;
  assert_true(done <= total);
  if (strcmp(phase, self->phase) == 0 && done >= self->at) {
    atomic_store(&self->stop, true);
  }
}

static void interruption_keeps_draws(void **state) {
  (void)state;
  static const char *const kernels[] = {"hmc", NULL};
  target what = target_ar1(3, 0.5);
  for (size_t k = 0; k < 2; k++) {
    poei_run_options options = {.chains = 70, .warmup = 50, .draws = 3000, .seed = 3};
    poei_draws whole = run(&what, kernels[k], &options);
    stopper self = {.phase = "draws", .at = 200};
    options.monitor = (poei_monitor){stopper_report, &self, &self.stop};
    poei_draws part = run(&what, kernels[k], &options);
    assert_true(part.interrupted && !whole.interrupted);
    assert_true(part.draws >= 200 && part.draws < 1000);
    for (size_t c = 0; c < 70; c++) {
      check_same_bits(part.x + c * part.draws * 3, whole.x + c * 3000 * 3, part.draws * 3);
      check_same_bits(part.lp + c * part.draws, whole.lp + c * 3000, part.draws);
    }
    poei_draws_free(&whole);
    poei_draws_free(&part);
  }
  stopper self = {.phase = "warmup", .at = 10};
  poei_run_options options = {.warmup = 100, .monitor = {stopper_report, &self, &self.stop}};
  poei_draws none = run(&what, "mala", &options);
  assert_true(none.interrupted && none.draws == 0 && none.chains == 4);
  poei_draws_free(&none);
}

/* ---- starts ---- */

static void starts(void **state) {
  (void)state;
  target what = target_gaussian(2, 0.0, 1.0);
  poe_expert *expert = target_expert(&what, POE_CAN_EVAL | POE_CAN_GRADIENT);
  double start[6] = {1, 2, 3, 4, NAN, 6};
  poei_draws draws;
  poe_error error = {0};
  poei_run_options options = {.chains = 3, .warmup = POEI_NO_WARMUP, .draws = 1, .step_size = 1e-9};
  check_fails(poei_run_mcmc(expert, &poei_hmc_kernel, &options, start, &draws, &error), POE_E_NUMERIC, error,
              "chain 2");
  start[4] = 5;
  check_ok(poei_run_mcmc(expert, &poei_hmc_kernel, &options, start, &draws, &error), error);
  for (size_t i = 0; i < 6; i++) {
    check_close(draws.x[i], start[i], 1e-6, 0.0);
  }
  poei_draws_free(&draws);
  check_ok(poei_run_mcmc(expert, &poei_rwm_kernel, &options, NULL, &draws, &error), error);
  for (size_t i = 0; i < 6; i++) {
    assert_true(fabs(draws.x[i]) < 2.0 && draws.x[i] != draws.x[(i + 2) % 6]);
  }
  poei_draws_free(&draws);
  poe_expert_release(expert);
  /* a support of a fifth of the starts is found; an empty one is named */
  what = target_edge(2, 1.2, INFINITY, 0.0);
  expert = target_expert(&what, POE_CAN_EVAL | POE_CAN_GRADIENT);
  check_ok(poei_run_mcmc(expert, &poei_rwm_kernel, &options, NULL, &draws, &error), error);
  poei_draws_free(&draws);
  check_fails(poei_run_mcmc(expert, &poei_rwm_kernel, &options, start + 0, &draws, &error), POE_E_NUMERIC, error,
              "chain 0");
  poe_expert_release(expert);
  what = target_edge(2, 2.5, INFINITY, 0.0);
  expert = target_expert(&what, POE_CAN_EVAL);
  check_fails(poei_run_mcmc(expert, &poei_rwm_kernel, &options, NULL, &draws, &error), POE_E_NUMERIC, error,
              "no finite log density");
  assert_true(error.hint[0] != '\0');
  check_fails(poei_run_mcmc(expert, &poei_hmc_kernel, &options, NULL, &draws, &error), POE_E_CAPABILITY, error,
              "no gradient");
  check_fails(poei_run_exact(expert, &options, &draws, &error), POE_E_CAPABILITY, error, "exactly");
  options.step_size = -1.0;
  check_fails(poei_run_mcmc(expert, &poei_rwm_kernel, &options, NULL, &draws, &error), POE_E_USAGE, error, "step size");
  poe_expert_release(expert);
}

/* ---- adaptation ---- */

/* The step size settles near where the mean acceptance is the target. Averaging log eps over the last 50 steps of
 * warmup, which begin at ten times the step found, errs towards small steps: up to .2 above the target; noise: .1. */
static void step_sizes_reach_their_acceptance(void **state) {
  (void)state;
  static const char *const kernels[] = {"rwm", "mala", "hmc"};
  for (size_t k = 0; k < 3; k++) {
    for (size_t chains = 4; chains <= 64; chains *= 16) {
      target what = target_ill_conditioned(6, 1e4);
      poei_run_options options = {.chains = chains, .seed = 17};
      poei_draws draws = run(&what, kernels[k], &options);
      double mean = 0.0;
      for (size_t i = 0; i < chains * 1000; i++) {
        mean += draws.acceptance[i] / (double)(chains * 1000);
      }
      double over = mean - poei_kernel_find(kernels[k])->target_acceptance;
      assert_true(over > -0.1 && over < 0.25);
      poei_draws_free(&draws);
    }
  }
}

static void windows(void **state) {
  (void)state;
  static const struct {
    size_t warmup, ends[6];
  } cases[] = {
      {1000, {100, 150, 250, 450, 950, 0}}, {150, {100, 0}}, {100, {90, 0}}, {10, {0}}, {300, {100, 150, 250, 0}}};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    poei_windows w = poei_windows_start(cases[k].warmup);
    size_t found = 0;
    for (size_t step = 0; step < cases[k].warmup; step++) {
      if (poei_windows_feeds(&w, step) && poei_windows_ends(&w, step)) {
        assert_int_equal(step + 1, cases[k].ends[found]);
        found++;
      }
    }
    assert_int_equal(cases[k].ends[found], 0);
  }
}

/* Dual averaging solves acceptance(log eps) = target for a smooth, noiseless curve. */
static void dual_averaging(void **state) {
  (void)state;
  poei_dual_averaging averaging;
  double step = 8.0;
  poei_dual_averaging_start(&averaging, 0.8, step);
  for (size_t t = 0; t < 2000; t++) {
    step = poei_dual_averaging_update(&averaging, exp(-step));
  }
  check_close(poei_dual_averaging_final(&averaging), -log(0.8), 0.0, 0.02);
}

static void moments(void **state) {
  (void)state;
  double mean[2], squares[2], metric[2];
  const double x[8] = {1, 10, 2, 10, 4, 10, 9, 10};
  poei_moments m = {.d = 2, .mean = mean, .squares = squares};
  poei_moments_clear(&m);
  poei_moments_add(&m, x, 3);
  poei_moments_add(&m, x + 6, 1);
  poei_moments_metric(&m, metric);
  check_close(mean[0], 4.0, 1e-15, 0.0);
  check_close(metric[0], 4.0 / 9.0 * (38.0 / 3.0) + 1e-3 * 5.0 / 9.0, 1e-14, 0.0);
  check_close(metric[1], 1e-3 * 5.0 / 9.0, 1e-17, 0.0);
}

/* ---- counts and memory ---- */

static void evaluations_are_counted(void **state) {
  (void)state;
  static const char *const kernels[] = {"rwm", "ula", "mala", "hmc"};
  target what = target_gaussian(3, 0.0, 1.0);
  for (size_t k = 0; k < 4; k++) {
    poei_run_options options = {.chains = 70, .warmup = 50, .draws = 20, .seed = 3};
    unsigned long before = target_rows();
    poei_draws draws = run(&what, kernels[k], &options);
    assert_int_equal(target_rows() - before, draws.density_evaluations + draws.gradient_evaluations);
    assert_true((draws.gradient_evaluations > 0) == poei_kernel_find(kernels[k])->needs_gradient);
    poei_draws_free(&draws);
  }
}

/* As many allocations for 1000 steps as for 10; and each of them may fail. */
static void allocations(void **state) {
  (void)state;
  target what = target_gaussian(3, 0.0, 1.0);
  poe_expert *expert = target_expert(&what, POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE);
  uint64_t used[2];
  for (size_t k = 0; k < 2; k++) {
    poei_run_options options = {.warmup = k == 0 ? 5 : 500, .draws = k == 0 ? 5 : 500, .seed = 3};
    uint64_t before = poei_alloc_count();
    poei_draws draws;
    poe_error error = {0};
    check_ok(poei_run_mcmc(expert, &poei_hmc_kernel, &options, NULL, &draws, &error), error);
    used[k] = poei_alloc_count() - before;
    poei_draws_free(&draws);
  }
  assert_int_equal(used[0], used[1]);
  for (int exact = 0; exact < 2; exact++) {
    size_t failures = 0;
    for (;; failures++) {
      poei_run_options options = {.warmup = 5, .draws = 5};
      poei_draws draws;
      poe_error error = {0};
      poei_alloc_fail_at(failures + 1);
      poe_status status = exact ? poei_run_exact(expert, &options, &draws, &error)
                                : poei_run_mcmc(expert, &poei_hmc_kernel, &options, NULL, &draws, &error);
      poei_alloc_fail_at(0);
      if (status == POE_OK) {
        poei_draws_free(&draws);
        break;
      }
      assert_true(status == POE_E_MEMORY && error.message[0] != '\0');
    }
    assert_true(failures > 8);
  }
  poe_expert_release(expert);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(threads_do_not_change_bits),
      cmocka_unit_test(exact_draws_are_addressed),
      cmocka_unit_test(interruption_keeps_draws),
      cmocka_unit_test(starts),
      cmocka_unit_test(step_sizes_reach_their_acceptance),
      cmocka_unit_test(windows),
      cmocka_unit_test(dual_averaging),
      cmocka_unit_test(moments),
      cmocka_unit_test(evaluations_are_counted),
      cmocka_unit_test(allocations),
      cmocka_unit_test(estimates),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
