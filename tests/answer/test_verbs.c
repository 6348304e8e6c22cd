/* The verbs' JSON: score, logz, explain, info, verify. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/tensor_file.h"
#include "formats/tensor_write.h"
#include "formats/text_file.h"
#include "tests/answer/fixture.h"
#include "tests/support/check.h"

static const char *text_file(const char *name, const char *text) {
  return poet_temp_file(name, text, strlen(text));
}

static const char program[] = "var x : real[2]\n"
                              "var n : int(3)\n"
                              "a = gaussian(x | mean=[1, -1], sd=2)\n"
                              "u = uniform(x[0] | low=0, high=1)\n"
                              "p = categorical(n | p=[0.2, 0.3, 0.5])\n"
                              "pole = formula(x | log_density=-log(abs(x[0])))\n"
                              "root = formula(x | log_density=sqrt(x[0]) - x[0]^2 - x[1]^2)\n"
                              "cut = a * u\n"
                              "over = a / u\n"
                              "spike = a * pole\n"
                              "half = a * root\n"
                              "mixed = a * p\n";

/* ---- score ---- */

static double element(const json_t *array, size_t i) {
  const json_t *value = json_array_get(array, i);
  if (json_is_string(value)) {
    return strcmp(json_string_value(value), "-inf") == 0 ? -INFINITY : NAN;
  }
  return json_number_value(value);
}

static void test_score(void **state) {
  (void)state;
  fixture f;
  fixture_action a;
  poe_error error = {0};
  fixture_open(&f, "score.poe", program, 0);
  const char *points = text_file("points.csv", "0.5,0\n-1,0\n");
  const char *const cut[][2] = {{"data", points}, {"each", "true"}, {NULL, NULL}};
  json_t *r = fixture_perform(&f, poei_answer_score, fixture_act(&a, "score", "cut", cut), POE_OK, &error);
  json_t *logp = json_object_get(r, "log_density"), *each = json_object_get(r, "each");
  double expected = -log(2.0 * 3.14159265358979323846 * 4.0) - (0.25 + 1.0) / 8.0;
  check_close(element(logp, 0), expected, 1e-12, 0);
  check_close(element(logp, 1), -INFINITY, 0, 0); /* outside the support: a value */
  check_close(element(json_object_get(each, "a"), 0), expected, 1e-12, 0);
  check_close(element(json_object_get(each, "u"), 0), 0.0, 1e-12, 0);
  check_close(element(json_object_get(each, "u"), 1), -INFINITY, 0, 0);
  assert_int_equal(json_object_size(each), 2);
  json_decref(r);
  /* a discrete coordinate beside continuous ones, in the order of declaration */
  const char *const mixed[][2] = {{"data", text_file("mixed.csv", "1,-1,2\n1,-1,0\n1,-1,3\n")}, {NULL, NULL}};
  r = fixture_perform(&f, poei_answer_score, fixture_act(&a, "score", "mixed", mixed), POE_OK, &error);
  logp = json_object_get(r, "log_density");
  check_close(element(logp, 0) - element(logp, 1), log(0.5 / 0.2), 1e-12, 0);
  check_close(element(logp, 2), -INFINITY, 0, 0);
  json_decref(r);
  fixture_close(&f);
}

/* NaN and +inf are refused, with the row and whose value it is. */
static void test_score_refuses(void **state) {
  (void)state;
  static const struct {
    const char *target, *points, *row, *culprit;
  } cases[] = {{"over", "0.5,0\n0.5,1\n7,0\n", "row 2", "'u'"},
               {"spike", "0.5,0\n0,0\n", "row 1", "'pole'"},
               {"half", "-1,0\n", "row 0", "'root'"},
               {"pole", "0,0\n", "row 0", "'pole'"}};
  fixture f;
  fixture_open(&f, "score.poe", program, 0);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    fixture_action a;
    poe_error error = {0};
    const char *const options[][2] = {{"data", text_file("points.csv", cases[i].points)}, {NULL, NULL}};
    json_t *r = fixture_perform(&f, poei_answer_score, fixture_act(&a, "score", cases[i].target, options),
                                POE_E_NUMERIC, &error);
    assert_null(r);
    if (strstr(error.message, cases[i].row) == NULL || strstr(error.message, cases[i].culprit) == NULL) {
      fail_msg("%s: %s", cases[i].target, error.message);
    }
  }
  fixture_close(&f);
}

static void test_score_output(void **state) {
  (void)state;
  fixture f;
  fixture_action a;
  poe_error error = {0};
  fixture_open(&f, "score.poe", program, 0);
  const char *points = text_file("points.csv", "0.5,0\n0.25,1\n0.75,-3\n");
  static const char *const endings[] = {"npz", "npy", "csv"};
  double logp[3] = {0};
  for (size_t e = 0; e < 3; e++) {
    char path[512];
    snprintf(path, sizeof path, "%s/scores.%s", poet_temp_dir(), endings[e]);
    const char *const options[][2] = {
        {"data", points}, {"grad", "true"}, {"each", "true"}, {"output", path}, {NULL, NULL}};
    json_t *r = fixture_perform(&f, poei_answer_score, fixture_act(&a, "score", "cut", options), POE_OK, &error);
    assert_string_equal(json_string_value(json_object_get(r, "file")), path);
    for (size_t i = 0; i < 3; i++) {
      logp[i] = element(json_object_get(r, "log_density"), i);
    }
    json_decref(r);
    if (e == 2) {
      poei_csv csv = {0};
      check_ok(poei_csv_read(path, &csv, &error), error);
      assert_int_equal(csv.rows, 3);
      assert_int_equal(csv.columns, 5);
      static const char *const names[] = {"log_density", "grad.1", "grad.2", "each.a", "each.u"};
      for (size_t j = 0; j < 5; j++) {
        assert_string_equal(csv.names[j], names[j]);
      }
      for (size_t i = 0; i < 3; i++) {
        check_same_bits(&csv.values[5 * i], &logp[i], 1);
      }
      check_close(csv.values[1], -(0.5 - 1.0) / 4.0, 1e-12, 0);
      poei_csv_free(&csv);
      continue;
    }
    poei_tensor_file *file = NULL;
    check_ok(poei_tensor_file_open(path, &file, &error), error);
    const poei_tensor *t = poei_tensor_file_find(file, e == 0 ? "log_density" : "");
    assert_non_null(t);
    double read[6];
    assert_int_equal(t->count, 3);
    poei_tensor_to_double(t, read);
    check_same_bits(read, logp, 3);
    if (e == 0) {
      assert_int_equal(poei_tensor_file_count(file), 4);
      t = poei_tensor_file_find(file, "grad");
      assert_int_equal(t->ndim, 2);
      assert_int_equal(t->shape[1], 2);
      poei_tensor_to_double(t, read);
      check_close(read[1], -(0.0 + 1.0) / 4.0, 1e-12, 0);
      assert_non_null(poei_tensor_file_find(file, "each.a"));
    }
    poei_tensor_file_close(file);
  }
  const char *const wrong[][2] = {{"data", points}, {"output", "scores.txt"}, {NULL, NULL}};
  assert_null(fixture_perform(&f, poei_answer_score, fixture_act(&a, "score", "cut", wrong), POE_E_USAGE, &error));
  const char *const nowhere[][2] = {{"data", points}, {"output", "/none/such/scores.npy"}, {NULL, NULL}};
  assert_null(fixture_perform(&f, poei_answer_score, fixture_act(&a, "score", "cut", nowhere), POE_E_FILE, &error));
  fixture_close(&f);
}

/* ---- logz, explain, info ---- */

static void test_logz_tolerance(void **state) {
  (void)state;
  fixture f;
  fixture_action a;
  poe_error error = {0};
  fixture_open(&f, "z.poe",
               "var x : real[3]\nt = gaussian(x | mean=0, sd=1) * formula(x | energy=norm(x)^4 + x[0]*x[1]*x[2])\n", 1);
  f.session.no_cache = true;
  double last = INFINITY;
  static const char *const tolerances[] = {"0.1", "0.005"};
  for (size_t k = 0; k < 2; k++) {
    const char *const options[][2] = {{"tol", tolerances[k]}, {"particles", "64"}, {NULL, NULL}};
    json_t *r = fixture_perform(&f, poei_answer_logz, fixture_act(&a, "logz", NULL, options), POE_OK, &error);
    assert_true(json_is_true(json_object_get(r, "tolerance_reached")));
    assert_true(fixture_number(r, "std_error") <= (k == 0 ? 0.1 : 0.005));
    assert_true(fixture_number(r, "std_error") < last);
    last = fixture_number(r, "std_error");
    assert_true(json_is_false(json_object_get(r, "exact")));
    assert_true(fixture_number(r, "ess") > 0.0);
    json_decref(r);
  }
  const char *const greedy[][2] = {{"tol", "1e-9"}, {"particles", "8"}, {"chains", "2"}, {NULL, NULL}};
  json_t *r = fixture_perform(&f, poei_answer_logz, fixture_act(&a, "logz", NULL, greedy), POE_OK, &error);
  assert_true(json_is_false(json_object_get(r, "tolerance_reached")));
  json_decref(r);
  static const char *const bad[][2] = {{"tol", "0"},        {"tol", "nan"},
                                       {"tol", "x"},        {"chains", "1"},
                                       {"chains", " -4"},   {"chains", "0x10"},
                                       {"chains", "2.5"},   {"chains", ""},
                                       {"particles", "+9"}, {"particles", "99999999999999999999"}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    const char *const options[][2] = {{bad[i][0], bad[i][1]}, {NULL, NULL}};
    assert_null(fixture_perform(&f, poei_answer_logz, fixture_act(&a, "logz", NULL, options), POE_E_USAGE, &error));
    assert_non_null(strstr(error.message, bad[i][0]));
  }
  fixture_close(&f);
}

static void test_explain(void **state) {
  (void)state;
  fixture f;
  fixture_action a;
  poe_error error = {0};
  fixture_open(&f, "explain.poe",
               "var x : real[3]\n"
               "a = gaussian(x | mean=0, sd=1)\n"
               "b = gaussian(x | mean=1, sd=1)\n"
               "e = a * formula(x | energy=norm(x)^4 + x[0]*x[1]*x[2])\n"
               "both = a * b\n"
               "mix = e or b\n",
               0);
  static const char *const keys[] = {"target", "expression", "dimensions", "tree",          "rules",
                                     "method", "exact",      "reason",     "scratch_bytes", "constants"};
  static const char *const targets[] = {"both", "mix", "e"};
  for (size_t t = 0; t < 3; t++) {
    json_t *r = fixture_perform(&f, poei_answer_explain, fixture_act(&a, "explain", targets[t], NULL), POE_OK, &error);
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
      if (json_object_get(r, keys[k]) == NULL) {
        fail_msg("explain %s lacks '%s'", targets[t], keys[k]);
      }
    }
    assert_int_equal(json_is_true(json_object_get(r, "exact")), t == 0);
    assert_int_equal(fixture_number(r, "constants"), t == 1 ? 1 : 0);
    assert_int_equal(fixture_number(r, "dimensions"), 3);
    assert_int_equal(json_object_get(r, "parts") != NULL, t == 1);
    const json_t *obstacles = json_object_get(r, "obstacles"), *first = json_array_get(obstacles, 0);
    assert_int_equal(json_array_size(obstacles), t == 0 ? 0 : 1);
    if (t > 0) { /* what has no closed form, by name and place */
      assert_string_equal(json_string_value(json_object_get(first, "kind")), "formula");
      assert_true(fixture_number(first, "line") > 0 && fixture_number(first, "dimensions") > 0);
    }
    json_decref(r);
  }
  fixture_close(&f);
}

static void test_info(void **state) {
  (void)state;
  poe_error error = {0};
  json_t *r = NULL;
  const float numbers[6] = {1, 2, 3, 4, 5, 6};
  const poei_tensor tensor = {"w", POEI_F32, 2, {2, 3}, 6, (const unsigned char *)numbers};
  const char *const metadata[][2] = {{"poe.family", "energy"}, {"poe.note", "six numbers"}};
  char paths[4][512];
  static const char *const formats[] = {"safetensors", "npz", "npy", "csv"};
  for (size_t i = 0; i < 4; i++) {
    snprintf(paths[i], sizeof paths[i], "%s/info.%s", poet_temp_dir(), formats[i]);
  }
  check_ok(poei_safetensors_write(paths[0], 1, &tensor, 2, metadata, &error), error);
  poei_npz_writer *writer = NULL;
  check_ok(poei_npz_writer_open(paths[1], &writer, &error), error);
  check_ok(poei_npz_writer_add(writer, "w", POEI_F32, 2, tensor.shape, numbers, &error), error);
  check_ok(poei_npz_writer_commit(writer, &error), error);
  check_ok(poei_npy_write(paths[2], POEI_F32, 2, tensor.shape, numbers, &error), error);
  text_file("info.csv", "a,b,c\n1,2,3\n4,5,6\n");
  for (size_t i = 0; i < 4; i++) {
    check_ok(poei_answer_info(paths[i], NULL, &r, &error), error);
    assert_string_equal(json_string_value(json_object_get(r, "format")), formats[i]);
    assert_string_equal(json_string_value(json_object_get(r, "file")), paths[i]);
    assert_true(json_is_array(json_object_get(r, "missing_ops")));
    json_t *tensors = json_object_get(r, "tensors");
    assert_int_equal(json_array_size(tensors), i < 3 ? 1 : 0);
    if (i < 3) {
      json_t *shape = json_object_get(json_array_get(tensors, 0), "shape");
      assert_int_equal(json_integer_value(json_array_get(shape, 1)), 3);
      assert_int_equal(fixture_number(r, "numbers"), 6);
    } else {
      assert_int_equal(fixture_number(r, "rows"), 2);
      assert_int_equal(fixture_number(r, "columns"), 3);
    }
    const char *family = json_string_value(json_object_get(r, "family"));
    assert_true(i == 0 ? strcmp(family, "energy") == 0 : family == NULL);
    json_decref(r);
  }
  check_fails(poei_answer_info(poet_temp_path("none.npz"), NULL, &r, &error), POE_E_FILE, error, "none.npz");
  check_fails(poei_answer_info(poet_temp_file("x.npz", "hello", 5), NULL, &r, &error), POE_E_FORMAT, error, "");
}

/* ---- verify ---- */

static void test_verify(void **state) {
  (void)state;
  fixture f;
  fixture_action a;
  poe_error error = {0};
  fixture_open(&f, "verify.poe", program, 0);
  static const char *const points[] = {"1", "20", "100"}; /* 100: a tile and a part of one */
  for (size_t i = 0; i < 3; i++) {
    const char *const options[][2] = {{"points", points[i]}, {NULL, NULL}};
    json_t *r = fixture_perform(&f, poei_answer_verify, fixture_act(&a, "verify", "cut", options), POE_OK, &error);
    assert_true(json_is_true(json_object_get(r, "passed")));
    assert_int_equal(json_array_size(json_object_get(r, "checks")), 4);
    json_decref(r);
  }
  json_t *r = fixture_perform(&f, poei_answer_verify, fixture_act(&a, "verify", "p", NULL), POE_OK, &error);
  json_decref(r);
  fixture_close(&f);
}

/* A constant that the rewritten tree does without leaves nothing to compare it with. */
static void test_verify_normalised(void **state) {
  (void)state;
  fixture f;
  fixture_action a;
  poe_error error = {0};
  fixture_open(&f, "normalised.poe",
               "var x : real[2]\n"
               "n = normalise(gaussian(x | mean=0, sd=1) * formula(x | log_density=-x[0]^4 - cos(x[1])))\n",
               0);
  json_t *r = fixture_perform(&f, poei_answer_verify, fixture_act(&a, "verify", "n", NULL), POE_OK, &error);
  assert_true(json_is_true(json_object_get(r, "passed")));
  json_decref(r);
  fixture_close(&f);
}

/* A standard normal on [0, 0.02], narrower than the wide step of finite differences, sound or with a defect. */
typedef enum broken { SOUND, WRONG_GRADIENT, NAN_GRADIENT, DEPENDS_ON_PLACE, OTHER_CONSTANT } broken;

typedef struct narrow {
  broken broken;
  poe_support support;
} narrow;

static void narrow_destroy(void *self) {
  poei_free(self);
}

static void narrow_traits(const void *self, poe_traits *traits) {
  const narrow *p = self;
  *traits = (poe_traits){.dim = 1, .support = &p->support, .capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT};
}

static size_t narrow_scratch(const void *self, unsigned want, size_t n) {
  (void)self;
  (void)want;
  (void)n;
  return 0;
}

static poe_status narrow_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                  poe_scratch *scratch, poe_error *error) {
  const narrow *p = self;
  (void)scratch;
  (void)error;
  for (size_t i = 0; i < rows.n; i++) {
    double x = rows.x[i * rows.ld], w = weights.w[i * weights.inc];
    bool inside = x >= p->support.low && x <= p->support.high;
    double value = -0.5 * x * x + (p->broken == DEPENDS_ON_PLACE ? 1e-14 * (double)i : 0.0);
    value += p->broken == OTHER_CONSTANT ? 0.125 : 0.0;
    out.logp[i] += inside ? w * value : -INFINITY;
    if (out.grad != NULL && inside) {
      double g = p->broken == WRONG_GRADIENT ? x : (p->broken == NAN_GRADIENT ? NAN : -x);
      out.grad[i * out.ldg] += w * g;
    }
  }
  return POE_OK;
}

static const poe_expert_ops narrow_ops = {.struct_size = sizeof(poe_expert_ops),
                                          .kind = "narrow",
                                          .doc = "a normal on a short interval",
                                          .destroy = narrow_destroy,
                                          .traits = narrow_traits,
                                          .scratch = narrow_scratch,
                                          .eval_add = narrow_eval_add};

static poe_expert *narrow_make(broken how) {
  poe_error error = {0};
  poe_expert *expert = NULL;
  narrow *self = poei_calloc(1, sizeof *self);
  self->broken = how;
  self->support = (poe_support){.kind = POE_CONTINUOUS, .low = 0.0, .high = 0.02};
  check_ok(poe_expert_wrap(&narrow_ops, self, &expert, &error), error);
  return expert;
}

static void test_verify_catches(void **state) {
  (void)state;
  static const char *const failing[] = {NULL, "gradient", "gradient", "rows in another order",
                                        "rewritten against written"};
  fixture f;
  fixture_open(&f, "verify.poe", program, 0);
  double x[10];
  for (size_t i = 0; i < 10; i++) {
    x[i] = 0.005 + 0.001 * (double)i;
  }
  poe_expert *sound = narrow_make(SOUND);
  for (broken b = SOUND; b <= OTHER_CONSTANT; b++) {
    poe_error error = {0};
    poe_expert *expert = narrow_make(b);
    json_t *checks = json_array();
    bool passed = false;
    check_ok(
        poei_verify_expert(&f.session, expert, b == OTHER_CONSTANT ? sound : expert, 10, x, checks, &passed, &error),
        error);
    assert_int_equal(passed, b == SOUND);
    for (size_t k = 0; k < json_array_size(checks); k++) {
      json_t *check = json_array_get(checks, k);
      const char *name = json_string_value(json_object_get(check, "name"));
      bool fails = failing[b] != NULL && strcmp(failing[b], name) == 0;
      if (json_is_true(json_object_get(check, "passed")) == fails && b != DEPENDS_ON_PLACE) {
        fail_msg("defect %d: %s: %s", (int)b, name, json_string_value(json_object_get(check, "detail")));
      }
    }
    json_decref(checks);
    poe_expert_release(expert);
  }
  poe_expert_release(sound);
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_score),          cmocka_unit_test(test_score_refuses),
      cmocka_unit_test(test_score_output),   cmocka_unit_test(test_logz_tolerance),
      cmocka_unit_test(test_explain),        cmocka_unit_test(test_info),
      cmocka_unit_test(test_verify),         cmocka_unit_test(test_verify_normalised),
      cmocka_unit_test(test_verify_catches),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
