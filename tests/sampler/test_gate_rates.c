/* How often the gate fails draws that are good: at most 1 % (slow; the figures are in sampler/diagnostics.h).
 *
 * Exact independent draws and correct kernels whose effective sample sizes are well above the gate's own minimum, at
 * the default lengths and shorter ones. With a true rate of 1 % the counts allowed below (twice the expected number and
 * a little more) are exceeded with probability under 1e-3 each; the rates measured are far smaller.
 *
 * That the draws are good is checked too: over the runs of a case, failed or not, the shares of draws beyond the exact
 * 2.5 %, 16 %, 84 % and 97.5 % points of every coordinate differ from the exact ones by less than 5 standard errors,
 * taken from the spread between runs: about 900 numbers, each beyond that with probability under 2e-6 (Student's t with
 * 99 degrees of freedom or more). */
#include <stdlib.h>
#include <string.h>

#include "compose/nodes/nodes.h"
#include "sampler/diagnostics.h"
#include "sampler/run.h"
#include "tests/sampler/bounded.h"
#include "tests/support/check.h"

typedef struct rate_case {
  const char *kernel; /* NULL: exact draws */
  target what;
  size_t chains, draws, thin, replications, allowed;
} rate_case;

/* Sums over runs, per coordinate and point, of the share of draws below the point and of its square. */
enum { POINTS = 4 };
static const double points[POINTS] = {0.025, 0.16, 0.84, 0.975};
typedef struct shares {
  double sum[TARGET_MAX_DIM][POINTS], squares[TARGET_MAX_DIM][POINTS];
} shares;

static void shares_add(shares *all, const target *what, const poe_expert *expert, const poei_draws *draws) {
  size_t rows = draws->chains * draws->draws, below[TARGET_MAX_DIM][POINTS] = {{0}};
  double u[TARGET_MAX_DIM], x[TARGET_MAX_DIM];
  for (size_t k = 0; k < rows; k++) {
    memcpy(x, draws->x + k * draws->dim, draws->dim * sizeof *x);
    if (what->line != NULL) {
      poei_transform_constrain(expert, 1, x, draws->dim, x, draws->dim);
    }
    what->uniforms(what, x, u);
    for (size_t j = 0; j < draws->dim; j++) {
      for (size_t p = 0; p < POINTS; p++) {
        below[j][p] += u[j] < points[p];
      }
    }
  }
  for (size_t j = 0; j < draws->dim; j++) {
    for (size_t p = 0; p < POINTS; p++) {
      double off = (double)below[j][p] / (double)rows - points[p];
      all->sum[j][p] += off;
      all->squares[j][p] += off * off;
    }
  }
}

static void shares_judge(const shares *all, size_t dim, size_t runs) {
  double n = (double)runs;
  for (size_t j = 0; j < dim; j++) {
    for (size_t p = 0; p < POINTS; p++) {
      double mean = all->sum[j][p] / n, variance = (all->squares[j][p] - n * mean * mean) / (n - 1.0);
      double z = mean / sqrt(variance / n);
      if (!(fabs(z) < 5.0)) {
        fail_msg("coordinate %zu: %g of the draws are below the %g point, %g standard errors off", j, points[p] + mean,
                 points[p], z);
      }
    }
  }
}

static size_t failures(const rate_case *c) {
  bool bounds = c->what.line != NULL;
  poe_expert *expert =
      bounds ? bounded_expert(&c->what) : target_expert(&c->what, POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE);
  assert_non_null(expert);
  size_t failed = 0;
  shares all = {0};
  for (size_t r = 0; r < c->replications; r++) {
    poei_run_options options = {.chains = c->chains, .draws = c->draws, .thin = c->thin, .seed = 500000 + r};
    poei_draws draws;
    poei_gate gate;
    poe_error error = {0};
    if (c->kernel == NULL) {
      check_ok(poei_run_exact(expert, &options, &draws, &error), error);
    } else {
      check_ok(poei_run_mcmc(expert, poei_kernel_find(c->kernel), &options, NULL, &draws, &error), error);
    }
    check_ok(poei_gate_run(&draws, false, NULL, &gate, &error), error);
    failed += !gate.passed;
    shares_add(&all, &c->what, expert, &draws);
    poei_draws_free(&draws);
  }
  shares_judge(&all, c->what.d, c->replications);
  poe_expert_release(expert);
  return failed;
}

static void judge_all(const rate_case *cases, size_t n) {
  for (size_t k = 0; k < n; k++) {
    size_t failed = failures(&cases[k]);
    print_message("%s, %s, %zu dimensions, %zu x %zu: %zu of %zu fail\n",
                  cases[k].kernel != NULL ? cases[k].kernel : "exact", cases[k].what.name, cases[k].what.d,
                  cases[k].chains, cases[k].draws, failed, cases[k].replications);
    assert_true(failed <= cases[k].allowed);
  }
}

static void exact_draws(void **state) {
  (void)state;
  const rate_case cases[] = {
      {NULL, target_gaussian(2, 0.0, 1.0), 4, 1000, 1, 2000, 36},
      {NULL, target_student(10, 3.0), 4, 1000, 1, 2000, 36},
      {NULL, target_student(16, 1.0), 4, 1000, 1, 2000, 36},
      {NULL, target_gaussian(2, 0.0, 1.0), 64, 1000, 1, 300, 10},
      {NULL, target_student(16, 3.0), 64, 200, 1, 300, 10},
  };
  judge_all(cases, sizeof cases / sizeof *cases);
}

static void correct_kernels(void **state) {
  (void)state;
  const rate_case cases[] = {
      {"rwm", target_gaussian(2, 0.0, 1.0), 4, 1000, 5, 300, 10},
      {"mala", target_ill_conditioned(16, 100.0), 4, 1000, 1, 300, 10},
      {"hmc", target_ar1(10, 0.7), 4, 1000, 1, 300, 10},
      {"mala", target_gaussian(2, 0.0, 1.0), 64, 1000, 1, 100, 6},
      {"hmc", target_gaussian(16, 0.0, 1.0), 64, 200, 1, 100, 6},
  };
  judge_all(cases, sizeof cases / sizeof *cases);
}

/* Where one step size does not suit all of the target: walls that bounds become, tails, bends. */
static void uneven_targets(void **state) {
  (void)state;
  const rate_case cases[] = {
      {"hmc", target_half_power(1, 2.0, 1.0), 4, 1000, 1, 300, 10},
      {"hmc", target_half_power(1, 2.0, 1e-6), 4, 1000, 1, 300, 10},
      {"hmc", target_half_power(4, 2.0, 1e6), 4, 1000, 1, 300, 10},
      {"hmc", target_half_power(1, 1.0, 1.0), 4, 1000, 1, 300, 10},
      {"hmc", target_half_power(1, 4.0, 1.0), 4, 1000, 1, 300, 10},
      {"hmc", target_gamma(1, 0.5), 4, 1000, 1, 300, 10},
      {"hmc", target_pareto(3, 3.0), 4, 1000, 1, 300, 10},
      {"hmc", target_truncated(10, 0.0, 0.1), 4, 1000, 1, 300, 10},
      {"hmc", target_arcsine(2), 4, 1000, 1, 300, 10},
      {"hmc", target_banana(2, 0.5, 1.0), 4, 1000, 1, 300, 10},
      {"hmc", target_banana(2, 1.0, 1.0), 4, 1000, 1, 300, 10},
      {"hmc", target_student(10, 5.0), 4, 1000, 1, 300, 10},
      {"hmc", target_student(4, 3.0), 4, 1000, 1, 300, 10},
      {"hmc", target_funnel(2, 1.0), 4, 1000, 1, 300, 10},
      {"mala", target_pareto(3, 3.0), 4, 1000, 2, 300, 10},
      {"rwm", target_truncated(2, 0.0, 0.1), 4, 1000, 5, 300, 10},
  };
  judge_all(cases, sizeof cases / sizeof *cases);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(exact_draws),
      cmocka_unit_test(correct_kernels),
      cmocka_unit_test(uneven_targets),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
