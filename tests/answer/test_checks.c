/* What check must not do (integrate), what ends when the user says so (quadrature), and what rows of a summary are
 * called. */
#include <math.h>
#include <string.h>

#include "tests/answer/fixture.h"
#include "tests/support/check.h"

static const char program[] = "var x, y : real\n"
                              "var z : real[2, 3]\n"
                              "line = formula(x | energy=x^4 + cos(3*x))\n"
                              "plane = formula(x, y | energy=x^4 + y^4 + x*y)\n"
                              "either = normalise(plane) * line\n"
                              "both = plane or plane^2\n"
                              "square = gaussian(z[1, 2] | mean=1, sd=1)\n"
                              "tail = student_t(z[0, 0], z[0, 1], z[0, 2] | df=1, loc=0, scale=1) /\n"
                              "  formula(z[0] | energy=log1p(norm(z[0])))^2.5\n";

static const char *const targets[] = {"line", "plane", "either", "both"};

/* With the flag up whatever integrates ends with E_INTERRUPTED: the check of a target does not. */
static void checks_do_not_integrate(void **state) {
  (void)state;
  fixture f;
  fixture_open(&f, "checks.poe", program, 0);
  atomic_store(&f.stop, true);
  for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
    poei_target target;
    poei_plan *plan = NULL;
    size_t constants = 0;
    poe_error error = {0};
    assert_int_equal(poei_program_target(f.session.program, targets[i], &target, &f.diagnostics), POE_OK);
    check_ok(poei_plan_outline(&f.session, &target, &plan, &constants, &error), error);
    poei_plan_destroy(plan);
    check_ok(poei_target_check_proper(&f.session, &target, &error), error);
    poei_target_free(&target);
  }
  fixture_close(&f);
}

static void quadrature_is_interrupted(void **state) {
  (void)state;
  static const struct {
    const char *word;
    fixture_verb *verb;
  } verbs[] = {{"logz", poei_answer_logz}, {"sample", poei_answer_sample}};
  fixture f;
  fixture_open(&f, "checks.poe", program, 0);
  f.session.no_cache = true;
  for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
    for (size_t v = 0; v < 2; v++) {
      fixture_action a;
      poe_error error = {0};
      json_t *r = NULL;
      atomic_store(&f.stop, true);
      check_fails(verbs[v].verb(&f.session, fixture_act(&a, verbs[v].word, targets[i], NULL), &r, &error),
                  POE_E_INTERRUPTED, error, "interrupted while");
      assert_null(r);
    }
    atomic_store(&f.stop, false);
    fixture_action a;
    poe_error error = {0};
    json_t *r = fixture_perform(&f, poei_answer_logz, fixture_act(&a, "logz", targets[i], NULL), POE_OK, &error);
    assert_true(isfinite(fixture_number(r, "log_z")));
    json_decref(r);
  }
  fixture_close(&f);
}

static void rows_have_names(void **state) {
  (void)state;
  fixture f;
  fixture_action a;
  poe_error error = {0};
  const char *const settings[][2] = {{"draws", "200"}, {"gate", "report"}, {NULL, NULL}};
  fixture_open(&f, "checks.poe", program, 0);
  json_t *r = fixture_perform(&f, poei_answer_sample, fixture_act(&a, "sample", "square", settings), POE_OK, &error);
  const json_t *row = json_array_get(json_object_get(json_object_get(r, "summary"), "z"), 0);
  assert_string_equal(json_string_value(json_object_get(row, "name")), "z[1, 2]");
  assert_int_equal(fixture_number(row, "index"), 5);
  json_decref(r);
  fixture_close(&f);
}

/* A density that falls like r^-1.5 over a space of three dimensions: the plan and the answer say so. */
static void slow_tails_are_told(void **state) {
  (void)state;
  fixture f;
  fixture_action a;
  poe_error error = {0};
  const char *const settings[][2] = {{"tol", "10"}, {NULL, NULL}};
  fixture_open(&f, "checks.poe", program, 0);
  f.session.no_cache = true;
  json_t *r = fixture_perform(&f, poei_answer_explain, fixture_act(&a, "explain", "tail", NULL), POE_OK, &error);
  const char *caution = json_string_value(json_object_get(r, "caution"));
  assert_true(caution != NULL && strstr(caution, "z[0, ") != NULL && strstr(caution, "may not be finite") != NULL);
  json_decref(r);
  r = fixture_perform(&f, poei_answer_logz, fixture_act(&a, "logz", "tail", settings), POE_OK, &error);
  assert_non_null(json_string_value(json_object_get(r, "caution")));
  json_decref(r);
  r = fixture_perform(&f, poei_answer_explain, fixture_act(&a, "explain", "plane", NULL), POE_OK, &error);
  assert_null(json_object_get(r, "caution"));
  json_decref(r);
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(checks_do_not_integrate),
      cmocka_unit_test(quadrature_is_interrupted),
      cmocka_unit_test(rows_have_names),
      cmocka_unit_test(slow_tails_are_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
