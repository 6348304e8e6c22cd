/* Products of Gaussians of low rank and diagonal ones as one of low rank: in few dimensions against dense algebra, in
 * many against what is known of one factor model; draws against the moments. */
#include <math.h>
#include <string.h>

#include "compose/exact/moments.h"
#include "compose/exact/rules.h"
#include "core/alloc.h"
#include "tests/answer/fixture.h"
#include "tests/support/check.h"

enum { SMALL = 6, LARGE = 2400 };

static const char small[] =
    "var x : real[6]\n"
    "F = [[1, 0], [2, 1], [0.5, -1], [0, 3], [-2, 0.1], [1, 1]]\n"
    "G = [[3], [0], [1], [-1], [2], [0.5]]\n"
    "H = [[1], [100], [1000]]\n"
    "low = gaussian(x | mean=[1, 2, 3, 4, 5, 6], sd=[1, 0.5, 2, 1, 0.1, 3], factor=F)\n"
    "other = gaussian(x | mean=0, sd=2, factor=G)\n"
    "steep = gaussian(x[1:4] | mean=100, sd=0.01, factor=H)\n"
    "base = gaussian(x | mean=-1, sd=4)\n"
    "some = gaussian(x[2:5] | mean=[3, 4, 5], sd=[0.1, 1, 10])\n"
    "a = low * base\n"
    "b = low * some\n"
    "c = low * other * base\n"
    "d = low^2 * other^0.5 / some^0.001\n"
    "e = steep * base * low\n"
    "f = low * low * low\n"
    "dense = gaussian(x | mean=0, cov=[[2, 1, 0, 0, 0, 0], [1, 2, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], "
    "[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]]) * low\n"
    "under = low / other\n";

/* The same density, log Z and moments as the dense closed form. */
static void few_dimensions(void **state) {
  (void)state;
  const char *const targets[] = {"a", "b", "c", "d", "e", "f"};
  fixture f;
  fixture_open(&f, "low.poe", small, 0);
  for (size_t t = 0; t < sizeof targets / sizeof targets[0]; t++) {
    poei_solved solved;
    poe_error error = {0};
    poe_expert *made = NULL;
    char *what = NULL;
    double mean[SMALL], variance[SMALL], value[2], log_z;
    check_ok(poei_solve(&f.session, targets[t], &solved, &error), error);
    assert_true(solved.plan->exact);
    check_ok(poei_rule_low_rank_rewrite(solved.filled, NULL, &made, &what, &error), error);
    if (made == NULL) {
      fail_msg("%s was not rewritten", targets[t]);
    }
    check_ok(poe_expert_log_z(made, &log_z, &error), error);
    check_close(log_z, solved.plan->log_z, 1e-8, 1e-10);
    check_ok(poei_plan_moments(solved.plan, mean, variance, &error), error);
    poei_plan *plan = NULL;
    double own_mean[SMALL], own_variance[SMALL];
    poei_plan_options options = {.no_rewrite = true};
    check_ok(poei_plan_build(made, &options, &plan, &error), error);
    check_ok(poei_plan_moments(plan, own_mean, own_variance, &error), error);
    for (size_t j = 0; j < SMALL; j++) {
      check_close(own_mean[j], mean[j], 1e-8, 1e-9);
      check_close(own_variance[j], variance[j], 1e-10, 1e-7);
      double x[SMALL];
      for (size_t k = 0; k < SMALL; k++) {
        x[k] = mean[k] + (k == j ? 2.0 : -0.3) * sqrt(variance[k]);
      }
      poe_rows rows = {1, SMALL, SMALL, x};
      check_ok(poei_evaluate_rows(&f.session, made, rows, &value[0], NULL, &error), error);
      check_ok(poei_evaluate_rows(&f.session, solved.filled, rows, &value[1], NULL, &error), error);
      check_close(value[0], value[1], 1e-6, 1e-9);
    }
    poei_plan_destroy(plan);
    poe_expert_release(made);
    poei_free(what);
    poei_solved_free(&solved);
  }
  const char *const others[] = {"dense", "under", "low"};
  for (size_t t = 0; t < 3; t++) { /* not of the kind */
    poei_target target;
    poe_error error = {0};
    poe_expert *made = NULL;
    char *what = NULL;
    check_ok(poei_program_target(f.session.program, others[t], &target, f.session.diagnostics), error);
    check_ok(poei_rule_low_rank_rewrite(target.expert, NULL, &made, &what, &error), error);
    assert_null(made);
    assert_null(what);
    poei_target_free(&target);
  }
  fixture_close(&f);
}

/* x_j = f + e_j with f ~ N(0, 1), e_j ~ N(0, 1), times N(x_j; 1, 2^2) for each j. Given f, x_j has precision 5/4 and
 * mean (f + 1/4) / (5/4); each x_j weighs f by N(1; f, 5). So that f has precision 1 + d/5 and mean (d/5) / (1 + d/5).
 */
static void many_dimensions(void **state) {
  (void)state;
  static const char program[] = "var x : real[2400]\n"
                                "ones = data(\"ones.csv\")\n"
                                "factor = gaussian(x | mean=0, sd=1, factor=ones)\n"
                                "seen = factor * gaussian(x | mean=1, sd=2)\n";
  static double mean[LARGE], variance[LARGE];
  static char text[2 * LARGE + 1];
  for (size_t j = 0; j < LARGE; j++) {
    memcpy(text + 2 * j, "1\n", 2);
  }
  poet_temp_file("ones.csv", text, 2 * LARGE);
  fixture f;
  poei_solved solved;
  poe_error error = {0};
  fixture_open(&f, "factor.poe", program, 0);
  check_ok(poei_solve(&f.session, "seen", &solved, &error), error);
  assert_true(solved.plan->exact && solved.plan->method == POEI_METHOD_CLOSED);
  check_ok(poei_plan_moments(solved.plan, mean, variance, &error), error);
  double precision = 1.0 + LARGE / 5.0, m = LARGE / 5.0 / precision;
  for (size_t j = 0; j < LARGE; j++) {
    check_close(mean[j], (m + 0.25) / 1.25, 1e-10, 0.0);
    check_close(variance[j], 0.8 + 0.64 / precision, 1e-12, 1e-10);
  }
  /* log Z: N(1; 0, 5 I + 1 1') over d coordinates */
  double d = LARGE, log_det = d * log(5.0) + log1p(d / 5.0);
  check_close(solved.plan->log_z, -0.5 * (d * log(2.0 * acos(-1.0)) + log_det + d / (5.0 + d)), 1e-7, 0.0);
  poei_solved_free(&solved);
  fixture_close(&f);
}

/* ---- memory ---- */

typedef poe_status rule(const poe_expert *expert, const poei_plan_options *options, poe_expert **out, char **what,
                        poe_error *error);

static void every_allocation(rule *rewrite, const poe_expert *expert) {
  poe_status status = POE_E_MEMORY;
  uint64_t n = 1;
  for (; status != POE_OK; n++) {
    poe_expert *made = NULL;
    char *what = NULL;
    poe_error error = {0};
    poei_alloc_fail_at(n);
    status = rewrite(expert, NULL, &made, &what, &error);
    poei_alloc_fail_at(0);
    assert_true(status == POE_OK || status == POE_E_MEMORY);
    assert_true((made != NULL) == (status == POE_OK) && (what != NULL) == (status == POE_OK));
    poe_expert_release(made);
    poei_free(what);
  }
  assert_true(n > 20);
}

static poe_status moments(const poe_expert *expert, const poei_plan_options *options, poe_expert **out, char **what,
                          poe_error *error) {
  double mean[SMALL], variance[SMALL];
  poei_plan plan = {.expert = (poe_expert *)(uintptr_t)expert, .dim = SMALL, .method = POEI_METHOD_CLOSED};
  (void)options;
  poe_status status = poei_plan_moments(&plan, mean, variance, error);
  if (status == POE_OK) {
    assert_true(isfinite(variance[SMALL - 1]));
    *what = poei_strdup("told");
    *out = *what == NULL ? NULL : poe_expert_retain(expert);
    status = *what == NULL ? POE_E_MEMORY : POE_OK;
  }
  return status;
}

static void failing_memory(void **state) {
  (void)state;
  fixture f;
  poei_target target;
  poe_error error = {0};
  fixture_open(&f, "low.poe", small, 0);
  check_ok(poei_program_target(f.session.program, "c", &target, f.session.diagnostics), error);
  every_allocation(poei_rule_low_rank_rewrite, target.expert);
  poei_target_free(&target);
  static const char mixed[] = "(0.3*base + 0.7*low) * some";
  check_ok(poei_program_target(f.session.program, mixed, &target, f.session.diagnostics), error);
  every_allocation(poei_rule_sparse_mixture_rewrite, target.expert);
  poei_target_free(&target);
  check_ok(poei_program_target(f.session.program, "0.3*base + 0.7*low", &target, f.session.diagnostics), error);
  every_allocation(moments, target.expert);
  poei_target_free(&target);
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(few_dimensions),
      cmocka_unit_test(many_dimensions),
      cmocka_unit_test(failing_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
