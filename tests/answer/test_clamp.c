/* The option clamp: a target with some coordinates given, against sums and integrals written down here; and the rows of
 * a file for part of a variable. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/answer/fixture.h"
#include "tests/support/check.h"

static const char program[] =
    "var s : binary[2, 2]\n"
    "var x : real[3]\n"
    "pairs = table(s[0, 0], s[0, 1], s[1, 0], s[1, 1] | p=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])\n"
    "cloud = gaussian(x | mean=[1, 2, 3], cov=[[2, 1, 0], [1, 2, 0], [0, 0, 1]])\n";

static const double half_log_2pi = 0.91893853320467274178;

static json_t *perform(fixture *f, fixture_verb *verb, const char *word, const char *target, const char *clamp) {
  const char *const options[][2] = {{"clamp", clamp}, {NULL, NULL}};
  fixture_action a;
  poe_error error = {0};
  return fixture_perform(f, verb, fixture_act(&a, word, target, options), POE_OK, &error);
}

/* p(s) = 1 + the binary number s00 s01 s10 s11. */
static void discrete_values(void **state) {
  (void)state;
  fixture f;
  fixture_open(&f, "clamp.poe", program, 0);
  json_t *r = perform(&f, poei_answer_logz, "logz", "pairs", "s[0, 1]=1, s[1, 1] = 0");
  check_close(fixture_number(r, "log_z"), log(5.0 + 7.0 + 13.0 + 15.0), 1e-12, 0.0);
  json_decref(r);
  r = perform(&f, poei_answer_logz, "logz", "pairs", "s[1]=[0, 1]");
  check_close(fixture_number(r, "log_z"), log(2.0 + 6.0 + 10.0 + 14.0), 1e-12, 0.0);
  json_decref(r);
  r = perform(&f, poei_answer_marginals, "marginals", "pairs", "s[1]=[0, 1]");
  const json_t *site = json_array_get(json_array_get(json_object_get(json_object_get(r, "marginals"), "s"), 0), 1);
  check_close(json_number_value(json_array_get(site, 1)), (6.0 + 14.0) / 32.0, 1e-12, 0.0);
  json_decref(r);
  r = perform(&f, poei_answer_minimize, "minimize", "pairs", "s[0, 0]=0");
  const json_t *mode = json_array_get(json_object_get(r, "modes"), 0);
  assert_int_equal(json_array_size(json_object_get(mode, "x")), 3);
  check_close(fixture_number(mode, "log_density"), log(8.0), 1e-12, 0.0);
  json_decref(r);
  fixture_close(&f);
}

static void continuous_values(void **state) {
  (void)state;
  fixture f;
  fixture_open(&f, "clamp.poe", program, 0);
  json_t *r = perform(&f, poei_answer_logz, "logz", "cloud", "x[1:3]=[2.5, 3]"); /* x[1] has variance 2, x[2] 1 */
  check_close(fixture_number(r, "log_z"), -2.0 * half_log_2pi - 0.5 * log(2.0) - 0.25 / 4.0, 1e-12, 0.0);
  json_decref(r);
  r = perform(&f, poei_answer_minimize, "minimize", "cloud", "x[0]=2");
  const json_t *at = json_object_get(json_array_get(json_object_get(r, "modes"), 0), "x");
  check_close(json_number_value(json_array_get(at, 0)), 2.5, 1e-9, 0.0); /* 2 + (2 - 1) / 2 */
  check_close(json_number_value(json_array_get(at, 1)), 3.0, 1e-9, 0.0);
  json_decref(r);
  fixture_close(&f);
}

/* Rows for x[0:2]: the rest is at its mean; for one coordinate: the conditional mean. */
static void rows_of_a_slice(void **state) {
  (void)state;
  static const char points[] = "2\n-1\n";
  char clamp[256];
  fixture f;
  fixture_open(&f, "clamp.poe", program, 0);
  snprintf(clamp, sizeof clamp, "x[1]=%s", poet_temp_file("column.csv", points, strlen(points)));
  json_t *r = perform(&f, poei_answer_minimize, "minimize", "cloud", clamp);
  const json_t *modes = json_object_get(r, "modes");
  assert_int_equal(json_array_size(modes), 2);
  const json_t *first = json_object_get(json_array_get(modes, 0), "x");
  const json_t *second = json_object_get(json_array_get(modes, 1), "x");
  check_close(json_number_value(json_array_get(first, 0)), 1.0, 1e-6, 0.0);
  check_close(json_number_value(json_array_get(second, 0)), 1.0 - 3.0 / 2.0, 1e-6, 0.0);
  check_close(json_number_value(json_array_get(second, 1)), 3.0, 1e-6, 0.0);
  json_decref(r);
  fixture_close(&f);
}

/* Values and the rows of several files together: x[0] = 2 for all, x[1] by row. E x[2] does not depend on them. Files
 * that do not go together are both named. */
static void files_and_values(void **state) {
  (void)state;
  char clamp[400];
  fixture f;
  fixture_open(&f, "clamp.poe", program, 0);
  poet_temp_file("two.csv", "2\n-1\n", 5);
  poet_temp_file("one.csv", "5\n", 2);
  const char *two = poet_temp_file("again.csv", "4\n7\n", 4);
  size_t folder = strlen(two) - strlen("again.csv");
#define PATH(name) (int)folder, two, name
  snprintf(clamp, sizeof clamp, "x[0]=2, x[1]=%.*s%s", PATH("two.csv"));
  json_t *r = perform(&f, poei_answer_minimize, "minimize", "cloud", clamp);
  const json_t *modes = json_object_get(r, "modes");
  assert_int_equal(json_array_size(modes), 2);
  assert_int_equal(json_array_size(json_object_get(json_array_get(modes, 0), "x")), 1);
  /* density of N(m, [[2, 1], [1, 2]]) at (2, 2) and (2, -1): inverse [[2, -1], [-1, 2]] / 3, and of the third at 0 */
  double square[2] = {2.0 / 3.0, (2.0 + 2.0 * 3.0 + 2.0 * 9.0) / 3.0};
  for (size_t i = 0; i < 2; i++) {
    check_close(fixture_number(json_array_get(modes, i), "log_density"),
                -3.0 * half_log_2pi - 0.5 * log(3.0) - 0.5 * square[i], 1e-9, 0.0);
  }
  json_decref(r);
  snprintf(clamp, sizeof clamp, "x[1]=%.*s%s,x[0]=%.*s%s", PATH("two.csv"), PATH("again.csv"));
  r = perform(&f, poei_answer_minimize, "minimize", "cloud", clamp);
  modes = json_object_get(r, "modes");
  double both[2] = {2.0 * 9.0 / 3.0, (2.0 * 36.0 + 2.0 * 18.0 + 2.0 * 9.0) / 3.0}; /* (4, 2), (7, -1) */
  assert_int_equal(json_array_size(modes), 2);
  for (size_t i = 0; i < 2; i++) {
    check_close(fixture_number(json_array_get(modes, i), "log_density"),
                -3.0 * half_log_2pi - 0.5 * log(3.0) - 0.5 * both[i], 1e-9, 0.0);
  }
  json_decref(r);
  static const struct {
    const char *format, *first, *second, *part[3];
  } bad[] = {{"x[0]=%.*s%s, x[1]=%.*s%s", "two.csv", "one.csv", {"two.csv' has 2 rows", "one.csv' has 1", "x[0]="}},
             {"x[1]=%.*s%s, x[1]=%.*s%s", "two.csv", "again.csv", {"x[1] values twice", "two.csv'", "again.csv'"}},
             {"x[0:2]=%.*s%s, x[2]=%.*s%s", "two.csv", "one.csv", {"two.csv' has 1 number in a row", "x[0:2]", "2 "}}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    const char *const options[][2] = {{"clamp", clamp}, {NULL, NULL}};
    fixture_action a;
    poe_error error = {0};
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#endif
    snprintf(clamp, sizeof clamp, bad[i].format, PATH(bad[i].first), PATH(bad[i].second));
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
    r = NULL;
    assert_int_not_equal(poei_answer_minimize(&f.session, fixture_act(&a, "minimize", "cloud", options), &r, &error),
                         POE_OK);
    for (size_t k = 0; k < 3; k++) {
      if (strstr(error.message, bad[i].part[k]) == NULL) {
        fail_msg("'%s' is not in '%s'", bad[i].part[k], error.message);
      }
    }
  }
  fixture_close(&f);
}

static void refused(void **state) {
  (void)state;
  static const struct {
    fixture_verb *verb;
    const char *word, *clamp, *part;
  } bad[] = {{poei_answer_logz, "logz", "x", "takes variable=value"},
             {poei_answer_logz, "logz", "x=points.csv", "with minimize only"},
             {poei_answer_logz, "logz", "x[7]=1", "outside"},
             {poei_answer_sample, "sample", "x[0]=", "takes variable=value"},
             {poei_answer_marginals, "marginals", "q=1", "'q'"},
             {poei_answer_minimize, "minimize", "x[9]=points.csv", "outside"},
             {poei_answer_minimize, "minimize", "x[0:3]=points.csv", "nothing is left"}};
  fixture f;
  fixture_open(&f, "clamp.poe", program, 0);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    const char *const options[][2] = {{"clamp", bad[i].clamp}, {NULL, NULL}};
    fixture_action a;
    json_t *r = NULL;
    poe_error error = {0};
    f.session.diagnostics->n = f.session.diagnostics->errors = 0;
    assert_int_not_equal(bad[i].verb(&f.session, fixture_act(&a, bad[i].word, "cloud", options), &r, &error), POE_OK);
    assert_null(r);
    if (strstr(error.message, bad[i].part) == NULL) {
      fail_msg("'%s' is not in '%s'", bad[i].part, error.message);
    }
  }
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(discrete_values),  cmocka_unit_test(continuous_values), cmocka_unit_test(rows_of_a_slice),
      cmocka_unit_test(files_and_values), cmocka_unit_test(refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
