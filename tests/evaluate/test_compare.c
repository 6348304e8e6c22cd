/* compare, against fractions worked out by hand: satisfaction, judge, errors told before anything is drawn. */
#include "evaluate/compare.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "tests/answer/fixture.h"
#include "tests/net/model_file.h"
#include "tests/support/check.h"

/* base * left has x0 ~ N(1, 1/2); left is satisfied where |x0 - 2| is small. */
static const char program[] = "var x : real[2, 1]\n"
                              "base = gaussian(x | mean=0, sd=1)\n"
                              "left = gaussian(x[0] | mean=2, sd=1)\n"
                              "right = gaussian(x[1] | mean=2, sd=1)\n"
                              "both = base * left * right\n"
                              "either = base * left or base * right\n";

/* The judge's logits are x0 - 1 and x1 - 1. */
static void write_judge(const char *heads) {
  static const float weights[4] = {1, 0, 0, 1}, biases[2] = {-1, -1};
  const model_tensor tensors[] = {{"w", 2, 2, weights}, {"b", 2, 0, biases}};
  const char *const metadata[][2] = {
      {"poe.format", "1"},  {"poe.family", "classifier"},
      {"poe.input", "[2]"}, {"poe.layers", "[{\"op\":\"linear\",\"weight\":\"w\",\"bias\":\"b\"}]"},
      {"poe.heads", heads}, {NULL, NULL}};
  model_write("judge.safetensors", 2, tensors, metadata);
}

static double below(double x, double mean, double variance) {
  return 0.5 * erfc((mean - x) / sqrt(2.0 * variance));
}

static double inside(double c, double mean, double variance) {
  return below(2.0 + c, mean, variance) - below(2.0 - c, mean, variance);
}

static json_t *compare(fixture *f, const char *target, const char *const (*options)[2], poe_status expected,
                       poe_error *error) {
  fixture_action a;
  fixture_act(&a, "compare", target, options);
  if (strcmp(target, "both") == 0) {
    a.targets[1] = "either";
    a.action.n_targets = 2;
  }
  return fixture_perform(f, poei_evaluate_compare, &a.action, expected, error);
}

static const json_t *of(const json_t *object, const char *a, const char *b) {
  return json_object_get(json_object_get(object, a), b);
}

static void test_fractions(void **state) {
  (void)state;
  fixture f;
  poe_error error = {0};
  write_judge("[{\"name\":\"left\",\"kind\":\"sigmoid\"},{\"name\":\"right\",\"kind\":\"sigmoid\"}]");
  fixture_open(&f, "compare.poe", program, 3);
  const char *const options[][2] = {
      {"by", "left,right"}, {"base", "base"}, {"judge", poet_temp_path("judge.safetensors")}, {"view", "x"},
      {"draws", "2000"},    {"grid", "4"},    {"output", poet_temp_path("grid.png")},         {NULL, NULL}};
  json_t *r = compare(&f, "both", options, POE_OK, &error);
  assert_true(json_is_true(json_object_get(r, "gate_passed")));
  double low = 0.0, high = 10.0;
  for (int i = 0; i < 60; i++) {
    double c = 0.5 * (low + high);
    *(inside(c, 1.0, 0.5) > 0.95 ? &high : &low) = c;
  }
  double c = low, chance = inside(c, 0.0, 1.0), found = below(-1.0, -1.0, 0.5), found_base = below(-1.0, 0.0, 1.0);
  const struct {
    const char *target;
    double satisfied, all, judged, judged_all;
  } expected[] = {{"base", chance, chance * chance, found_base, found_base * found_base},
                  {"both", 0.95, 0.95 * 0.95, found, found * found},
                  {"either", 0.5 * (0.95 + chance), 0.95 * chance, 0.5 * (found + found_base), found * found_base}};
  /* 8000 draws, and thresholds from 8000 more that move a fraction at most 2.5 times as much as their own 5 %: 6
   * standard errors, false alarm 2e-9 each */
  double near = 6.0 * sqrt(0.25 / 8000.0 + 2.5 * 2.5 * 0.05 * 0.95 / 8000.0);
  for (size_t t = 0; t < 3; t++) {
    const json_t *entry = of(r, "targets", expected[t].target);
    assert_non_null(entry);
    const json_t *satisfaction = json_object_get(entry, "satisfaction"), *judge = json_object_get(entry, "judge");
    check_close(fixture_number(satisfaction, "left"), expected[t].satisfied, near, 0);
    check_close(fixture_number(satisfaction, "right"), expected[t].satisfied, near, 0);
    check_close(fixture_number(entry, "all"), expected[t].all, near, 0);
    check_close(fixture_number(judge, "left"), expected[t].judged, near, 0);
    check_close(fixture_number(judge, "all"), expected[t].judged_all, near, 0);
    double counted = fixture_number(json_object_get(entry, "judge_counts"), "left") / fixture_number(entry, "draws");
    check_close(counted, fixture_number(judge, "left"), 1e-12, 0);
    double p = fixture_number(judge, "left");
    check_close(fixture_number(judge, "left_se"), sqrt(p * (1.0 - p) / 8000.0), 0, 0.2);
  }
  json_decref(r);
  assert_int_equal(access(poet_temp_path("grid.png"), R_OK), 0);
  fixture_close(&f);
}

/* A judge that knows none of the experts has no opinion of them all. */
static void test_other_labels(void **state) {
  (void)state;
  fixture f;
  poe_error error = {0};
  write_judge("[{\"name\":\"up\",\"kind\":\"sigmoid\"},{\"name\":\"right\",\"kind\":\"sigmoid\"}]");
  fixture_open(&f, "compare.poe", program, 3);
  for (size_t known = 0; known < 2; known++) {
    const char *const options[][2] = {{"by", known ? "left,right" : "left"},
                                      {"judge", poet_temp_path("judge.safetensors")},
                                      {"view", "x"},
                                      {"draws", "200"},
                                      {NULL, NULL}};
    json_t *r = compare(&f, "base", options, POE_OK, &error);
    const json_t *judge = json_object_get(of(r, "targets", "base"), "judge");
    assert_non_null(json_object_get(judge, "up"));
    assert_int_equal(json_object_get(judge, "all") != NULL, known);
    const json_t *unjudged = json_object_get(r, "unjudged"), *labels = json_object_get(r, "judge_labels");
    assert_int_equal(json_array_size(unjudged), 1);
    assert_string_equal(json_string_value(json_array_get(unjudged, 0)), "left");
    assert_int_equal(json_array_size(labels), 2);
    assert_string_equal(json_string_value(json_array_get(labels, 0)), "up");
    if (known) {
      check_close(fixture_number(judge, "all"), fixture_number(judge, "right"), 0, 0);
    }
    json_decref(r);
  }
  fixture_close(&f);
}

/* Every step of the chains is asked for once: what `thin` and `leapfrog` say reaches the sampler. */
static void test_chains(void **state) {
  (void)state;
  fixture f;
  poe_error error = {0};
  fixture_open(&f, "chains.poe", program, 3);
  double mean[4];
  for (size_t k = 0; k < 4; k++) { /* the same chains but for one option */
    const char *const options[][2] = {
        {"by", "left"},     {"method", "hmc"},
        {"draws", "50"},    {"warmup", "50"},
        {"gate", "report"}, {k == 3 ? "leapfrog" : "thin", k == 0 || k == 3 ? "1" : k == 1 ? "3" : "1"},
        {NULL, NULL}};
    json_t *r = compare(&f, "base", options, POE_OK, &error);
    mean[k] = fixture_number(of(json_object_get(r, "targets"), "base", "mean_log_density"), "left");
    json_decref(r);
  }
  check_close(mean[2], mean[0], 0, 0);
  assert_true(mean[1] != mean[0] && mean[3] != mean[0] && mean[3] != mean[1]);
  const char *const wrong[][2] = {{"by", "left"}, {"leapfrog", "0"}, {NULL, NULL}};
  assert_null(compare(&f, "base", wrong, POE_E_USAGE, &error));
  assert_non_null(strstr(error.message, "leapfrog"));
  fixture_close(&f);
}

static void test_refused_early(void **state) {
  (void)state;
  fixture f;
  poe_error error = {0};
  write_judge("[{\"name\":\"left\",\"kind\":\"sigmoid\"},{\"name\":\"right\",\"kind\":\"sigmoid\"}]");
  fixture_open(&f, "compare.poe", program, 3);
  atomic_store(&f.stop, true); /* drawing would be interrupted */
  const char *judge = poet_temp_path("judge.safetensors");
  const struct {
    const char *options[5][2];
    poe_status status;
    const char *part;
  } cases[] = {
      {{{NULL, NULL}}, POE_E_USAGE, "experts to compare by"},
      {{{"by", "left"}, {"quantile", "2"}}, POE_E_USAGE, "quantile"},
      {{{"by", "left"}, {"judge", judge}}, POE_E_USAGE, "what it looks at"},
      {{{"by", "left"}, {"judge", "none.safetensors"}}, POE_E_FILE, "none.safetensors"},
      {{{"by", "lefft"}}, POE_E_NAME, "lefft"},
      {{{"by", "left"}, {"view", "none"}}, POE_E_NAME, "none"},
      {{{"by", "left"}, {"save", "none"}, {"view", "x"}}, POE_E_NAME, "none"},
      {{{"by", "left"}, {"view", "x"}, {"output", "/none/such.png"}}, POE_E_FILE, "/none"},
      {{{"by", "left"}, {"grid", "0"}}, POE_E_USAGE, "grid"},
      {{{"by", "left"}, {"view", "x"}, {"output", "grid.png"}}, POE_E_INTERRUPTED, "interrupted"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_null(compare(&f, "both", cases[i].options, cases[i].status, &error));
    if (strstr(error.message, cases[i].part) == NULL) {
      fail_msg("case %zu: %s", i, error.message);
    }
  }
  fixture_close(&f);
  fixture_open(&f, "wide.poe", "var x : real[100, 300]\nbase = gaussian(x | mean=0, sd=1)\n", 3);
  atomic_store(&f.stop, true);
  const char *const wide[][2] = {
      {"by", "base"}, {"view", "x"}, {"grid", "256"}, {"output", poet_temp_path("grid.png")}, {NULL, NULL}};
  assert_null(compare(&f, "base", wide, POE_E_SHAPE, &error));
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_fractions),
      cmocka_unit_test(test_other_labels),
      cmocka_unit_test(test_chains),
      cmocka_unit_test(test_refused_early),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
