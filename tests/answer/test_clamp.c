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
      cmocka_unit_test(discrete_values),
      cmocka_unit_test(continuous_values),
      cmocka_unit_test(rows_of_a_slice),
      cmocka_unit_test(refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
