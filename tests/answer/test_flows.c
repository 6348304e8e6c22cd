/* Flows composed: the product of two flows of the plane, by a program, against a sum over a fine grid. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experts/list.h"
#include "tests/answer/fixture.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/flow_files.h"
#include "tests/support/check.h"

static poe_expert *open_flow(flow_kind kind, uint32_t seed) {
  poet_args a;
  poe_error error = {0};
  poe_expert *expert = NULL;
  poet_args_start(&a, "flow");
  poet_args_real_variable(&a, "x", 2);
  poet_args_text(&a, "file", POE_ARG_FILE, flow_kind_file(kind, seed, POEI_F64));
  check_ok(poe_expert_create(&poei_flow_ops, &a.args, &expert, &error), error);
  return expert;
}

/* log of the integral of the product, its mean[2] and standard deviation[2], by the midpoint rule with spacing 1/16 on
 * [-12, 12]^2: both flows are smooth, so that its error is far below what is asserted. */
static double grid_sum(const poe_expert *a, const poe_expert *b, double *mean, double *sd) {
  enum { SIDE = 384 };
  double x[2 * SIDE], p[SIDE], q[SIDE], sum = 0.0, step = 1.0 / 16.0;
  mean[0] = mean[1] = sd[0] = sd[1] = 0.0;
  for (size_t i = 0; i < SIDE; i++) {
    for (size_t j = 0; j < SIDE; j++) {
      x[2 * j] = ((double)i + 0.5) * step - 12.0;
      x[2 * j + 1] = ((double)j + 0.5) * step - 12.0;
    }
    assert_int_equal(poet_eval(a, SIDE, 2, x, p, NULL), POE_OK);
    assert_int_equal(poet_eval(b, SIDE, 2, x, q, NULL), POE_OK);
    for (size_t j = 0; j < SIDE; j++) {
      double mass = exp(p[j] + q[j]) * step * step;
      sum += mass;
      for (size_t k = 0; k < 2; k++) {
        mean[k] += mass * x[2 * j + k];
        sd[k] += mass * x[2 * j + k] * x[2 * j + k];
      }
    }
  }
  for (size_t k = 0; k < 2; k++) {
    mean[k] /= sum;
    sd[k] = sqrt(sd[k] / sum - mean[k] * mean[k]);
  }
  return log(sum);
}

/* Independent draws: their mean is within 6 standard errors (false alarm 2e-9 each). */
static void check_draws(fixture *f, const double *mean, const double *sd) {
  enum { CHAINS = 4, DRAWS = 1000 };
  poe_error error = {0};
  poei_solved solved;
  poei_sampling sampling;
  poei_run_options options = {.chains = CHAINS,
                              .draws = DRAWS,
                              .warmup = 100,
                              .seed = f->session.seed,
                              .pool = f->session.pool,
                              .monitor = f->session.monitor};
  check_ok(poei_solve(&f->session, "both", &solved, &error), error);
  assert_int_equal(solved.plan->method, POEI_METHOD_QUADRATURE);
  check_ok(poei_draw(&f->session, solved.plan, "auto", &options, NULL, 0, &sampling, &error), error);
  for (size_t k = 0; k < 2; k++) {
    double sum = 0.0;
    for (size_t i = 0; i < CHAINS * DRAWS; i++) {
      sum += sampling.draws.x[2 * i + k];
    }
    check_close(sum / (CHAINS * DRAWS), mean[k], 6.0 * sd[k] / sqrt(CHAINS * DRAWS), 0.0);
  }
  poei_sampling_free(&sampling);
  poei_solved_free(&solved);
}

static void test_product(void **state) {
  (void)state;
  char program[1200];
  poe_error error = {0};
  fixture f;
  fixture_action action;
  poe_expert *a = open_flow(FLOW_coupling, 1), *b = open_flow(FLOW_maf, 2);
  double mean[2], sd[2], log_z = grid_sum(a, b, mean, sd);
  poe_expert_release(a);
  poe_expert_release(b);
  snprintf(program, sizeof program,
           "var x : real[2]\na = flow(x | file=\"%s\")\nb = flow(x | file=\"%s\")\nboth = a * b\n",
           flow_kind_file(FLOW_coupling, 1, POEI_F64), flow_kind_file(FLOW_maf, 2, POEI_F64));
  fixture_open(&f, "flows.poe", program, 1);
  check_draws(&f, mean, sd);
  json_t *r = fixture_perform(&f, poei_answer_logz, fixture_act(&action, "logz", "both", NULL), POE_OK, &error);
  check_close(fixture_number(r, "log_z"), log_z, 1e-5, 0.0);
  json_decref(r);
  r = fixture_perform(&f, poei_answer_logz, fixture_act(&action, "logz", "a", NULL), POE_OK, &error);
  assert_true(fixture_number(r, "log_z") == 0.0);
  json_decref(r);
  fixture_close(&f);
}

/* Divided by a flow, whose tails are those of its normal base, a density with heavier ones is refused by name. */
static void test_lighter_tails(void **state) {
  (void)state;
  static const flow_kind kinds[] = {FLOW_coupling, FLOW_maf};
  for (size_t k = 0; k < 2; k++) {
    char text[1024];
    fixture f;
    snprintf(text, sizeof text,
             "var x : real[2]\na = flow(x | file=\"%s\")\n"
             "heavy = laplace(x | loc=0, scale=1) / a\nslow = student_t(x | df=3, loc=0, scale=1) / a^0.5\n"
             "light = gaussian(x | mean=0, sd=0.2) / a^0.01\nsame = a^2 / a\n",
             flow_kind_file(kinds[k], 1, POEI_F64));
    fixture_open(&f, "lighter.poe", text, 1);
    static const char *const targets[] = {"heavy", "slow", "light", "same"};
    for (size_t i = 0; i < 4; i++) {
      poei_target target;
      poe_error error = {0};
      assert_int_equal(poei_program_target(f.session.program, targets[i], &target, &f.diagnostics), POE_OK);
      poe_status status = poei_target_check_proper(&f.session, &target, &error);
      if (status != (i < 2 ? POE_E_IMPROPER : POE_OK) ||
          (i < 2 && strstr(error.message, "divided by a flow") == NULL)) {
        fail_msg("%s, %s: %s %s", flow_kind_name(kinds[k]), targets[i], poe_status_name(status), error.message);
      }
      poei_target_free(&target);
    }
    fixture_close(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_product), cmocka_unit_test(test_lighter_tails)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
