/* The public session: composed densities from C, against closed forms; errors with their place. */
#include "poe/session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "tests/support/check.h"

static const char program[] = "var x : real[2]\n"
                              "var y : real\n"
                              "a = gaussian(x | mean=[1, -1], sd=2)\n"
                              "b = gaussian(x | mean=0, sd=[1, 3])\n"
                              "w = formula(y | energy=y^4/4)\n"
                              "slope = a / b\n"
                              "both = a * b\n";

static poe_session *open_text(const char *text, uint64_t seed) {
  poe_error error = {0};
  poe_session *session = NULL;
  setenv("XDG_CACHE_HOME", poet_temp_dir(), 1);
  check_ok(poe_session_open(poet_temp_file("session.poe", text, strlen(text)), seed, 2, &session, &error), error);
  return session;
}

static double log_normal(double x, double mean, double variance) {
  return -0.5 * log(2.0 * 3.14159265358979323846 * variance) - 0.5 * (x - mean) * (x - mean) / variance;
}

static void test_score(void **state) {
  (void)state;
  poe_error error = {0};
  poe_session *session = open_text(program, 1);
  size_t dim = 0;
  check_ok(poe_session_dim(session, NULL, &dim, &error), error); /* NULL: the last, both */
  assert_int_equal(dim, 2);
  check_ok(poe_session_dim(session, "both * w", &dim, &error), error);
  assert_int_equal(dim, 3);
  static const double x[3][2] = {{0, 0}, {1, -1}, {-2.5, 40}};
  double logp[3], grad[3][2];
  check_ok(poe_session_score(session, "both", 3, &x[0][0], logp, &grad[0][0], &error), error);
  for (size_t i = 0; i < 3; i++) {
    double expected =
        log_normal(x[i][0], 1, 4) + log_normal(x[i][1], -1, 4) + log_normal(x[i][0], 0, 1) + log_normal(x[i][1], 0, 9);
    check_close(logp[i], expected, 1e-12, 1e-12);
    check_close(grad[i][0], -(x[i][0] - 1) / 4 - x[i][0], 1e-12, 1e-12);
    check_close(grad[i][1], -(x[i][1] + 1) / 4 - x[i][1] / 9, 1e-12, 1e-12);
  }
  check_ok(poe_session_score(session, "slope", 1, x[0], logp, NULL, &error), error); /* improper, and yet a value */
  check_ok(poe_session_score(session, "both", 0, NULL, NULL, NULL, &error), error);
  poe_session_close(session);
  poe_session_close(NULL);
}

static void test_log_z(void **state) {
  (void)state;
  poe_error error = {0};
  poe_session *session = open_text(program, 1);
  double z = NAN, se = NAN;
  bool exact = false;
  check_ok(poe_session_log_z(session, "both", &z, &se, &exact, &error), error);
  check_close(z, log_normal(1, 0, 5) + log_normal(-1, 0, 13), 1e-9, 0);
  check_close(se, 0, 0, 0);
  assert_true(exact);
  /* int exp(-y^4/4) dy = 2^(1/2) Gamma(1/4) / 2, by quadrature */
  check_ok(poe_session_log_z(session, "w", &z, &se, &exact, &error), error);
  check_close(z, log(sqrt(2.0) * tgamma(0.25) / 2.0), 1e-7, 0);
  assert_true(se >= 0.0 && se < 1e-6);
  assert_false(exact);
  poe_session_close(session);
}

static void test_sample(void **state) {
  (void)state;
  poe_error error = {0};
  enum { CHAINS = 4, DRAWS = 2000 };
  double *x = malloc(sizeof(double) * CHAINS * DRAWS * 2), *again = malloc(sizeof(double) * CHAINS * DRAWS * 2);
  for (uint64_t seed = 1; seed <= 2; seed++) {
    poe_session *session = open_text(program, seed);
    bool trusted = false;
    check_ok(poe_session_sample(session, "both", CHAINS, DRAWS, seed == 1 ? x : again, &trusted, &error), error);
    assert_true(trusted);
    poe_session_close(session);
  }
  assert_memory_not_equal(x, again, sizeof(double) * CHAINS * DRAWS * 2);
  double sum = 0.0;
  for (size_t i = 0; i < CHAINS * DRAWS; i++) {
    sum += x[2 * i];
  }
  /* x0 ~ N(0.2, 0.8): 5 standard errors, false alarm 6e-7 */
  check_close(sum / (CHAINS * DRAWS), 0.2, 5.0 * sqrt(0.8 / (CHAINS * DRAWS)), 0);
  poe_session *session = open_text(program, 1);
  bool trusted = false;
  check_ok(poe_session_sample(session, "both", CHAINS, DRAWS, again, &trusted, &error), error);
  check_same_bits(x, again, CHAINS * DRAWS * 2);
  check_fails(poe_session_sample(session, "both", 0, 5, again, &trusted, &error), POE_E_USAGE, error, "0 chains");
  check_fails(poe_session_sample(session, "both", 5, 0, again, &trusted, &error), POE_E_USAGE, error, "0 draws");
  poe_session_close(session);
  free(x);
  free(again);
}

static void test_errors(void **state) {
  (void)state;
  poe_error error = {0};
  poe_session *session = NULL;
  check_fails(poe_session_open(poet_temp_path("none.poe"), 0, 1, &session, &error), POE_E_FILE, error, "none.poe");
  assert_null(session);
  const char bad[] = "var x : real\na = gaussian(x | mean=0, sd=1)\nb = gausian(x | mean=0, sd=1)\n";
  poe_status status = poe_session_open(poet_temp_file("bad.poe", bad, strlen(bad)), 0, 1, &session, &error);
  assert_int_equal(poe_status_exit_code(status), 2);
  assert_int_equal(error.status, status);
  assert_int_equal(error.line, 3);
  assert_int_equal(error.column, 5);
  assert_non_null(strstr(error.hint, "gaussian"));
  session = open_text(program, 0);
  double z, se;
  bool exact;
  /* each failure tells of itself, not of the one before it */
  assert_int_not_equal(poe_session_log_z(session, "first", &z, &se, &exact, &error), POE_OK);
  assert_non_null(strstr(error.message, "first"));
  assert_int_not_equal(poe_session_log_z(session, "second", &z, &se, &exact, &error), POE_OK);
  assert_non_null(strstr(error.message, "second"));
  assert_int_not_equal(poe_session_log_z(session, "first", &z, &se, &exact, &error), POE_OK);
  assert_non_null(strstr(error.message, "first"));
  check_fails(poe_session_log_z(session, "slope", &z, &se, &exact, &error), POE_E_IMPROPER, error, "normalis");
  assert_int_not_equal(poe_session_log_z(session, "both *", &z, &se, &exact, NULL), POE_OK); /* error may be NULL */
  check_ok(poe_session_log_z(session, "both", &z, &se, &exact, &error), error);
  poe_session_close(session);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_score),
      cmocka_unit_test(test_log_z),
      cmocka_unit_test(test_sample),
      cmocka_unit_test(test_errors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
