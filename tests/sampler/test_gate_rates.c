/* How often the gate fails draws that are good: at most 1 % (slow; the figures are in sampler/diagnostics.h).
 *
 * Exact independent draws and correct kernels whose effective sample sizes are well above the gate's own minimum, at
 * the default lengths and shorter ones. With a true rate of 1 % the counts allowed below (twice the expected number and
 * a little more) are exceeded with probability under 1e-3 each; the rates measured are far smaller. */
#include <stdlib.h>
#include <string.h>

#include "sampler/diagnostics.h"
#include "sampler/run.h"
#include "tests/sampler/targets.h"
#include "tests/support/check.h"

typedef struct rate_case {
  const char *kernel; /* NULL: exact draws */
  target what;
  size_t chains, draws, thin, replications, allowed;
} rate_case;

static size_t failures(const rate_case *c) {
  poe_expert *expert = target_expert(&c->what, POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE);
  size_t failed = 0;
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
    poei_draws_free(&draws);
  }
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(exact_draws),
      cmocka_unit_test(correct_kernels),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
