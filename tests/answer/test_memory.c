/* Every allocation failing in turn: each call gives POE_E_MEMORY (or, where memory is not needed after all, its
 * answer), leaks nothing (under the sanitizers) and can be asked again. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "poe/session.h"
#include "tests/answer/fixture.h"
#include "tests/support/check.h"

static const char program[] = "var x : real[3]\n"
                              "a = gaussian(x | mean=0, sd=1) * formula(x | energy=norm(x)^4 + x[0]*x[1]*x[2])\n"
                              "b = gaussian(x | mean=[4, 0, 0], sd=1)\n"
                              "both = b * b\n"
                              "mix = 0.3*a + 0.7*b\n";

enum { MOST_ALLOCATIONS = 100000 };

/* One life of a session; the first failure is returned. */
static poe_status live(const char *path, double *out, poe_error *error) {
  poe_session *session = NULL;
  double x[6] = {0.5, 0.25, -1.0, 4.0, 0.0, 0.5}, logp[2], grad[6], se = 0.0, draws[12];
  bool exact = false, trusted = false;
  poe_status status = poe_session_open(path, 1, 1, &session, error);
  if (status == POE_OK) {
    status = poe_session_score(session, "both", 2, x, logp, grad, error);
  }
  if (status == POE_OK) {
    status = poe_session_log_z(session, "both", out, &se, &exact, error);
  }
  if (status == POE_OK) {
    status = poe_session_sample(session, "b", 2, 2, draws, &trusted, error);
  }
  if (status == POE_OK) {
    out[1] = logp[0];
    out[2] = grad[5];
    out[3] = draws[11];
  }
  poe_session_close(session);
  return status;
}

static void test_session(void **state) {
  (void)state;
  setenv("XDG_CACHE_HOME", poet_temp_dir(), 1);
  const char *path = poet_temp_file("memory.poe", program, strlen(program));
  poe_error error = {0};
  double expected[4], out[4];
  check_ok(live(path, expected, &error), error);
  size_t failed = 0, n = 1;
  for (; n < MOST_ALLOCATIONS; n++) {
    uint64_t before = poei_alloc_count();
    memset(&error, 0, sizeof error);
    poei_alloc_fail_at(n);
    poe_status status = live(path, out, &error);
    poei_alloc_fail_at(0);
    if (status == POE_OK) {
      check_same_bits(out, expected, 4); /* never a wrong answer instead */
    } else {
      poet_check_status(status, POE_E_MEMORY, &error, "a session without memory", __FILE__, __LINE__);
      assert_int_equal(error.status, POE_E_MEMORY);
      failed++;
    }
    if (poei_alloc_count() - before < n) {
      break; /* the call asked for fewer than n */
    }
  }
  assert_true(n < MOST_ALLOCATIONS);
  assert_true(failed > 100);
}

/* An estimate on the way: only some of its allocations, since it takes a while. */
static void test_estimate(void **state) {
  (void)state;
  setenv("XDG_CACHE_HOME", "/none/such", 1); /* estimated every time */
  const char *path = poet_temp_file("memory.poe", program, strlen(program));
  poe_error error = {0};
  double x[3] = {0.5, 0.25, -1.0}, expected = 0.0;
  poe_session *session = NULL;
  check_ok(poe_session_open(path, 1, 1, &session, &error), error);
  uint64_t before = poei_alloc_count();
  check_ok(poe_session_score(session, "mix", 1, x, &expected, NULL, &error), error);
  uint64_t asked = poei_alloc_count() - before;
  assert_true(asked > 50);
  enum { TRIES = 40 };
  for (uint64_t k = 0; k < TRIES; k++) {
    double value = 0.0;
    memset(&error, 0, sizeof error);
    poei_alloc_fail_at(1 + k * asked / TRIES);
    poe_status status = poe_session_score(session, "mix", 1, x, &value, NULL, &error);
    poei_alloc_fail_at(0);
    if (status == POE_OK) {
      check_same_bits(&value, &expected, 1);
    } else {
      poet_check_status(status, POE_E_MEMORY, &error, "an estimate without memory", __FILE__, __LINE__);
    }
  }
  poe_session_close(session);
}

/* ---- jansson's allocations ---- */

static size_t json_asked, json_fails_at;

static void *json_allocate(size_t size) {
  return ++json_asked == json_fails_at ? NULL : malloc(size);
}

/* A verb whose JSON runs out of memory says so and gives none, or gives all of it. */
static void json_starve(fixture *f, fixture_verb *verb, const poei_action *action, poe_status usual) {
  poe_error error = {0};
  json_t *full = fixture_perform(f, verb, action, usual, &error);
  assert_non_null(full);
  size_t n = 1;
  for (;; n++) {
    json_t *result = NULL;
    json_asked = 0;
    json_fails_at = n;
    json_set_alloc_funcs(json_allocate, free);
    poe_status status = verb(&f->session, action, &result, &error);
    json_set_alloc_funcs(malloc, free);
    if (status == usual) {
      assert_non_null(result);
      assert_true(json_equal(result, full));
    } else {
      poet_check_status(status, POE_E_MEMORY, &error, action->verb->name, __FILE__, __LINE__);
      assert_null(result);
    }
    json_decref(result);
    if (json_asked < n) {
      break;
    }
  }
  assert_true(n > 8);
  json_decref(full);
}

static void test_json(void **state) {
  (void)state;
  fixture f;
  fixture_action a;
  fixture_open(&f, "memory.poe", program, 1);
  const char *points = poet_temp_file("points.csv", "1,2,3\n4,5,6\n", 12);
  const char *const score[][2] = {{"data", points}, {"grad", "true"}, {"each", "true"}, {NULL, NULL}};
  const char *const sample[][2] = {{"draws", "20"}, {"chains", "2"}, {NULL, NULL}};
  json_starve(&f, poei_answer_score, fixture_act(&a, "score", "both", score), POE_OK);
  json_starve(&f, poei_answer_logz, fixture_act(&a, "logz", "both", NULL), POE_OK);
  json_starve(&f, poei_answer_explain, fixture_act(&a, "explain", "mix", NULL), POE_OK);
  json_starve(&f, poei_answer_verify, fixture_act(&a, "verify", "b", NULL), POE_OK);
  json_starve(&f, poei_answer_sample, fixture_act(&a, "sample", "both", sample), POE_OK);
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_session),
      cmocka_unit_test(test_estimate),
      cmocka_unit_test(test_json),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
