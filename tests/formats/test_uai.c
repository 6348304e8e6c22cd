/* UAI networks and evidence: what is read, and that every violation is named with its place. */
#include <string.h>

#include "core/alloc.h"
#include "formats/uai.h"
#include "tests/support/check.h"

static const char net[] = "MARKOV\n3\n2 3 1\n3\n2 1 0\n 1 2\n0\n\n6\n 1 2 3 4 5 6e-1\n1\n 7\n1 0.5\n";

static const char *file_of(const char *text) {
  return poet_temp_file("net.uai", text, strlen(text));
}

static void networks_are_read(void **state) {
  (void)state;
  poei_uai network = {0};
  poe_error error = {0};
  check_ok(poei_uai_read(file_of(net), &network, &error), error);
  assert_false(network.bayes);
  assert_int_equal(network.n, 3);
  assert_int_equal(network.cardinality[1], 3);
  assert_int_equal(network.factors, 3);
  assert_int_equal(network.factor[0].n, 2);
  assert_int_equal(network.factor[0].variable[0], 1); /* the factor's own order */
  assert_int_equal(network.factor[0].states, 6);
  check_close(network.factor[0].value[5], 0.6, 0.0, 0.0);
  assert_int_equal(network.factor[1].variable[0], 2);
  assert_int_equal(network.factor[2].n, 0);
  check_close(network.factor[2].value[0], 0.5, 0.0, 0.0);
  poei_uai_free(&network);
  poei_uai_free(&network);
  poei_uai_free(NULL);
}

static const struct {
  const char *text;
  int line, column;
  const char *part;
} bad[] = {
    {"", 1, 1, "begins with MARKOV or BAYES"},
    {"GRAPH\n1\n", 1, 1, "begins with MARKOV or BAYES"},
    {"MARKOV\n0\n", 2, 1, "the number of variables"},
    {"MARKOV\n-1\n", 2, 1, "not '-1'"},
    {"MARKOV\n99999999\n", 2, 1, "the number of variables"},
    {"MARKOV\n2\n2 0\n", 3, 3, "the number of values of a variable"},
    {"MARKOV\n2\n2\n", 4, 1, "the file ends where"},
    {"MARKOV\n1\n2\n1\n1 1\n", 5, 3, "a variable's number should be a whole number from 0 to 0"},
    {"MARKOV\n2\n2 2\n1\n2 1 1\n4 1 1 1 1\n", 5, 5, "stands twice"},
    {"MARKOV\n1\n2\n1\n1 0\n3 1 1 1\n", 6, 1, "2 joint states, but its table has 3"},
    {"MARKOV\n1\n2\n1\n1 0\n2 1 -1\n", 6, 5, "at least 0, not '-1'"},
    {"MARKOV\n1\n2\n1\n1 0\n2 1 nan\n", 6, 5, "finite"},
    {"MARKOV\n1\n2\n1\n1 0\n2 1 1e999\n", 6, 5, "finite"},
    {"MARKOV\n1\n2\n1\n1 0\n2 1 1x\n", 6, 5, "'1x'"},
    {"MARKOV\n1\n2\n1\n1 0\n2 1\n", 7, 1, "ends inside a table"},
    {"MARKOV\n1\n1000000\n1\n1 0\n1000000 1\n", 6, 1, "too short"},
    {"MARKOV\n3\n1073741824 1073741824 1073741824\n1\n3 0 1 2\n", 5, 7, "too many joint states"},
    {"MARKOV\n1\n2\n1\n1 0\n2 1 1\n0.5\n", 7, 1, "what stands after the last table"},
};

static void violations_are_named(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    poei_uai network = {.n = 7};
    poe_error error = {0};
    check_fails(poei_uai_read(file_of(bad[i].text), &network, &error), POE_E_FORMAT, error, bad[i].part);
    assert_int_equal(error.line, bad[i].line);
    assert_int_equal(error.column, bad[i].column);
    assert_non_null(strstr(error.file, "net.uai"));
    assert_int_equal(network.n, 7); /* untouched */
  }
  poei_uai network;
  poe_error error = {0};
  check_fails(poei_uai_read(poet_temp_path("absent.uai"), &network, &error), POE_E_FILE, error, "absent.uai");
}

static poe_status observe(const char *text, poei_uai_evidence *evidence, poe_error *error) {
  size_t cardinality[3] = {2, 3, 4};
  const poei_uai network = {.n = 3, .cardinality = cardinality};
  return poei_uai_evidence_read(poet_temp_file("net.evid", text, strlen(text)), &network, evidence, error);
}

static void evidence_is_read(void **state) {
  (void)state;
  static const char *const same[] = {"2 2 3 1 0\n", "1\n2 2 3 1 0\n"}; /* before and after the 2010 competition */
  for (size_t i = 0; i < 2; i++) {
    poei_uai_evidence evidence = {0};
    poe_error error = {0};
    check_ok(observe(same[i], &evidence, &error), error);
    assert_int_equal(evidence.n, 2);
    assert_int_equal(evidence.variable[0], 2);
    assert_int_equal(evidence.value[0], 3);
    assert_int_equal(evidence.variable[1], 1);
    assert_int_equal(evidence.value[1], 0);
    poei_uai_evidence_free(&evidence);
  }
  poei_uai_evidence evidence = {.n = 7};
  poe_error error = {0};
  check_ok(observe("1 0 1\n", &evidence, &error), error); /* one observation, not one sample */
  assert_int_equal(evidence.n, 1);
  poei_uai_evidence_free(&evidence);
  check_ok(observe("0", &evidence, &error), error);
  assert_int_equal(evidence.n, 0);
  poei_uai_evidence_free(&evidence);
  evidence.n = 7;
  check_fails(observe("1 3 0\n", &evidence, &error), POE_E_FORMAT, error, "from 0 to 2");
  check_fails(observe("1 0 2\n", &evidence, &error), POE_E_FORMAT, error, "an observed value");
  assert_int_equal(error.column, 5);
  check_fails(observe("2 0 1 0 1\n", &evidence, &error), POE_E_FORMAT, error, "observed twice");
  check_fails(observe("2 0 1\n", &evidence, &error), POE_E_FORMAT, error, "the file ends");
  check_fails(observe("1 0 1 9\n", &evidence, &error), POE_E_FORMAT, error, "");
  assert_int_equal(evidence.n, 7);
}

static void allocations_may_fail(void **state) {
  (void)state;
  const char *path = file_of(net);
  poe_status status = POE_E_MEMORY;
  for (uint64_t n = 1; status == POE_E_MEMORY; n++) {
    poei_uai network = {0};
    poe_error error = {0};
    poei_alloc_fail_at(n);
    status = poei_uai_read(path, &network, &error);
    poei_alloc_fail_at(0);
    assert_true(status == POE_OK || status == POE_E_MEMORY);
    poei_uai_free(&network);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(networks_are_read),
      cmocka_unit_test(violations_are_named),
      cmocka_unit_test(evidence_is_read),
      cmocka_unit_test(allocations_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
