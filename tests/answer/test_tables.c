/* The option table_bytes: what is exact stays so with little memory, where tables are made again; what does not fit is
 * named with its treewidth and the option. */
#include <math.h>
#include <string.h>

#include "tests/answer/fixture.h"
#include "tests/support/check.h"

static const char program[] = "var s : binary[9, 9]\n"
                              "sheet = ising(s | coupling=0.4, field=0.1)\n";

static json_t *perform(fixture *f, fixture_verb *verb, const char *word, size_t table_bytes) {
  static const char *const none[][2] = {{NULL, NULL}};
  fixture_action a;
  poe_error error = {0};
  f->session.table_bytes = table_bytes;
  return fixture_perform(f, verb, fixture_act(&a, word, "sheet", none), POE_OK, &error);
}

/* All messages take 0.2 MiB. */
static void little_memory(void **state) {
  (void)state;
  static fixture_verb *const verbs[] = {poei_answer_logz, poei_answer_marginals, poei_answer_minimize};
  static const char *const words[] = {"logz", "marginals", "minimize"}, *keys[] = {"log_z", "marginals", "modes"};
  fixture f;
  fixture_open(&f, "tables.poe", program, 5);
  for (size_t i = 0; i < 3; i++) {
    json_t *much = perform(&f, verbs[i], words[i], 0), *little = perform(&f, verbs[i], words[i], 40000);
    assert_true(json_is_true(json_object_get(little, "exact")));
    char *a = json_dumps(json_object_get(much, keys[i]), JSON_REAL_PRECISION(10) | JSON_ENCODE_ANY);
    char *b = json_dumps(json_object_get(little, keys[i]), JSON_REAL_PRECISION(10) | JSON_ENCODE_ANY);
    assert_string_equal(a, b);
    free(a);
    free(b);
    json_decref(much);
    json_decref(little);
  }
  fixture_close(&f);
}

/* The same draws, at the same addresses. */
static void the_same_draws(void **state) {
  (void)state;
  poei_sampling drawn[2] = {0};
  fixture f;
  poe_error error = {0};
  fixture_open(&f, "tables.poe", program, 5);
  for (int i = 0; i < 2; i++) {
    poei_solved solved;
    poei_run_options options = {.chains = 2, .draws = 70, .seed = 9, .pool = f.session.pool};
    f.session.table_bytes = i == 0 ? 0 : 40000;
    check_ok(poei_solve(&f.session, "sheet", &solved, &error), error);
    assert_int_equal(strstr(solved.plan->reason, "made again") != NULL, i == 1);
    check_ok(poei_draw(&f.session, solved.plan, "exact", &options, NULL, 0, &drawn[i], &error), error);
    poei_solved_free(&solved);
  }
  assert_int_equal(drawn[0].draws.draws, drawn[1].draws.draws);
  assert_memory_equal(drawn[0].draws.x, drawn[1].draws.x, 2 * 70 * 81 * sizeof(double));
  assert_memory_equal(drawn[0].draws.lp, drawn[1].draws.lp, 2 * 70 * sizeof(double));
  poei_sampling_free(&drawn[0]);
  poei_sampling_free(&drawn[1]);
  fixture_close(&f);
}

/* Too little for draws, enough for log Z; too little for both. */
static void named(void **state) {
  (void)state;
  fixture f;
  poe_error error = {0};
  poei_solved solved;
  poei_sampling sampling;
  poei_run_options options = {.chains = 1, .draws = 10, .seed = 9};
  fixture_open(&f, "tables.poe", program, 5);
  f.session.table_bytes = 14000;
  check_ok(poei_solve(&f.session, "sheet", &solved, &error), error);
  assert_true(solved.plan->has_log_z && solved.plan->log_z_error == 0.0);
  check_fails(poei_draw(&f.session, solved.plan, "exact", &options, NULL, 0, &sampling, &error), POE_E_CAPABILITY,
              error, "log Z itself is to be had");
  assert_non_null(strstr(error.message, "treewidth 9"));
  assert_non_null(strstr(error.hint, "--table-bytes"));
  poei_solved_free(&solved);
  fixture_close(&f);
}

static void sizes(void **state) {
  (void)state;
  static const struct {
    const char *text;
    double bytes; /* 0: refused */
  } cases[] = {{"1G", 1073741824.0}, {"1.5M", 1572864.0}, {"2000", 2000.0}, {"3e9", 3e9},
               {"64K", 65536.0},     {"1", 0.0},          {"x", 0.0},       {"1GB", 0.0},
               {"-1G", 0.0},         {"", 0.0},           {"nan", 0.0},     {"1e30", 0.0}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const char *const given[][2] = {{"table_bytes", cases[i].text}, {NULL, NULL}};
    fixture_action a;
    poe_error error = {0};
    size_t bytes = 0;
    poe_status status = poei_option_bytes(fixture_act(&a, "logz", "sheet", given), "table_bytes", &bytes, &error);
    assert_int_equal(status, cases[i].bytes == 0.0 ? POE_E_USAGE : POE_OK);
    check_close((double)bytes, cases[i].bytes, 0.0, 0.0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(little_memory),
      cmocka_unit_test(the_same_draws),
      cmocka_unit_test(named),
      cmocka_unit_test(sizes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
