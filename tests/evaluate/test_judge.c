/* The judge: its verdicts against a linear network worked out by hand, and what is refused. */
#include "evaluate/judge.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "tests/net/model_file.h"
#include "tests/support/check.h"

static const char linear[] = "[{\"op\":\"linear\",\"weight\":\"w\",\"bias\":\"b\"}]";
static const char heads[] = "[{\"name\":\"kind\",\"kind\":\"softmax\",\"labels\":[\"low\",\"middle\",\"high\"]},"
                            "{\"name\":\"bright\",\"kind\":\"sigmoid\"}]";
/* logits of (u, v): 0, u, 2u - 2 (so: low u < 0, middle 0 < u < 2, high u > 2), and v - 1 */
static const float weights[8] = {0, 0, 1, 0, 2, 0, 0, 1}, biases[4] = {0, 0, -2, -1};

static const char *judge_file(const char *family, const char *layers, const char *said) {
  const model_tensor tensors[] = {{"w", 4, 2, weights}, {"b", 4, 0, biases}};
  const char *const metadata[][2] = {{"poe.format", "1"},
                                     {"poe.family", family},
                                     {"poe.input", "[2]"},
                                     {"poe.layers", layers},
                                     {said == NULL ? NULL : "poe.heads", said},
                                     {NULL, NULL}};
  return model_write("judge.safetensors", 2, tensors, metadata);
}

static void test_verdicts(void **state) {
  (void)state;
  poe_error error = {0};
  poei_judge *judge = NULL;
  check_ok(poei_judge_open(judge_file("classifier", linear, heads), &judge, &error), error);
  assert_int_equal(poei_judge_in_dim(judge), 2);
  assert_int_equal(poei_judge_label_count(judge), 4);
  static const char *const labels[] = {"low", "middle", "high", "bright"};
  for (size_t k = 0; k < 4; k++) {
    assert_string_equal(poei_judge_label(judge, k), labels[k]);
    assert_int_equal(poei_judge_find(judge, labels[k]), k);
  }
  assert_true(poei_judge_find(judge, "kind") == SIZE_MAX);
  enum { ROWS = 200 }; /* more than a tile, the last not full */
  double x[2 * ROWS];
  for (size_t i = 0; i < ROWS; i++) {
    x[2 * i] = -1.0 + 4.0 * (double)i / ROWS + 0.003;
    x[2 * i + 1] = (double)(i % 7) - 2.5;
  }
  x[0] = NAN; /* nothing is found where the logits are not numbers */
  x[3] = NAN;
  x[4] = 0.0; /* equal logits: the first */
  for (size_t threads = 1; threads <= 2; threads++) {
    unsigned char found[4 * ROWS];
    poei_session session = {.pool = poei_pool_create(threads)};
    check_ok(poei_judge_rows(&session, judge, ROWS, x, found, &error), error);
    for (size_t i = 0; i < ROWS; i++) {
      double u = x[2 * i], v = x[2 * i + 1];
      /* a NaN in a linear layer reaches every logit: 0 NaN is NaN */
      bool fine = !isnan(u) && !isnan(v);
      unsigned char expected[4] = {fine && u <= 0, fine && u > 0 && u <= 2, fine && u > 2, fine && v > 1};
      assert_memory_equal(found + 4 * i, expected, 4);
    }
    poei_pool_destroy(session.pool);
  }
  poei_judge_close(judge);
  poei_judge_close(NULL);
}

static void test_refused(void **state) {
  (void)state;
  static const struct {
    const char *family, *layers, *heads;
    poe_status status;
    const char *part;
  } cases[] = {
      {"energy", linear, heads, POE_E_FORMAT, "classifier"},
      {"classifier", linear, NULL, POE_E_FORMAT, "poe.heads"},
      {"classifier", linear, "", POE_E_FORMAT, "poe.heads"},
      {"classifier", linear, "[", POE_E_FORMAT, "poe.heads"},
      {"classifier", linear, "{}", POE_E_FORMAT, "not a list"},
      {"classifier", linear, "[]", POE_E_FORMAT, "not a list of 1"},
      {"classifier", linear, "[7]", POE_E_FORMAT, "a head is"},
      {"classifier", linear, "[{\"name\":\"a\",\"kind\":\"tanh\"}]", POE_E_FORMAT, "a head is"},
      {"classifier", linear, "[{\"kind\":\"sigmoid\"}]", POE_E_FORMAT, "a name must be"},
      {"classifier", linear, "[{\"name\":\"\",\"kind\":\"sigmoid\"}]", POE_E_FORMAT, "a name must be"},
      {"classifier", linear, "[{\"name\":\"a\",\"kind\":\"softmax\",\"labels\":[\"x\"]}]", POE_E_FORMAT, "two or more"},
      {"classifier", linear, "[{\"name\":\"a\",\"kind\":\"softmax\",\"labels\":[\"x\",3]}]", POE_E_FORMAT,
       "a label must be"},
      {"classifier", linear, "[{\"name\":\"a\",\"kind\":\"softmax\",\"labels\":[\"x\",\"y\",\"x\"]}]", POE_E_FORMAT,
       "'x' is there twice"},
      {"classifier", linear,
       "[{\"name\":\"a\",\"kind\":\"softmax\",\"labels\":[\"x\",\"y\"]},{\"name\":\"b\",\"kind\":\"sigmoid\"}]",
       POE_E_FORMAT, "3 logits, the network has 4"},
      {"classifier", linear, "[{\"name\":\"a\",\"kind\":\"softmax\",\"labels\":[\"p\",\"q\",\"r\",\"s\",\"t\"]}]",
       POE_E_FORMAT, "5 logits, the network has 4"},
      {"classifier", linear,
       "[{\"name\":\"a label that is far too long to be the name of anything one could ask a judge about\","
       "\"kind\":\"sigmoid\"}]",
       POE_E_FORMAT, "a name must be"},
      {"classifier", "[{\"op\":\"linear\",\"weight\":\"none\"}]", heads, POE_E_FORMAT, "none"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    poe_error error = {0};
    poei_judge *judge = NULL;
    const char *path = judge_file(cases[i].family, cases[i].layers, cases[i].heads);
    poe_status status = poei_judge_open(path, &judge, &error);
    poet_check_fails(status, cases[i].status, &error, cases[i].part, cases[i].heads, __FILE__, __LINE__);
    assert_non_null(strstr(error.file, "judge.safetensors"));
    assert_null(judge);
  }
  poe_error error = {0};
  poei_judge *judge = NULL;
  check_fails(poei_judge_open(poet_temp_path("none.safetensors"), &judge, &error), POE_E_FILE, error, "none");
}

/* A file cut off anywhere is refused, and nothing is leaked. */
static void test_truncated(void **state) {
  (void)state;
  const char *path = judge_file("classifier", linear, heads);
  static char bytes[1 << 16];
  FILE *in = fopen(path, "rb");
  size_t size = fread(bytes, 1, sizeof bytes, in);
  fclose(in);
  assert_true(size > 100 && size < sizeof bytes);
  for (size_t cut = 0; cut < size; cut++) {
    poe_error error = {0};
    poei_judge *judge = NULL;
    const char *damaged = poet_temp_file("cut.safetensors", bytes, cut);
    assert_int_equal(poe_status_exit_code(poei_judge_open(damaged, &judge, &error)), 3);
    assert_null(judge);
  }
}

static void test_memory(void **state) {
  (void)state;
  const char *path = judge_file("classifier", linear, heads);
  const double x[4] = {1.0, 2.0, -1.0, 0.0};
  size_t failed = 0;
  for (uint64_t n = 1;; n++) {
    uint64_t before = poei_alloc_count();
    poe_error error = {0};
    poei_judge *judge = NULL;
    poei_session session = {0};
    unsigned char found[8] = {0};
    poei_alloc_fail_at(n);
    poe_status status = poei_judge_open(path, &judge, &error);
    if (status == POE_OK) {
      status = poei_judge_rows(&session, judge, 2, x, found, &error);
    }
    poei_alloc_fail_at(0);
    poei_judge_close(judge);
    if (status == POE_OK) {
      assert_memory_equal(found, ((unsigned char[]){0, 1, 0, 1, 1, 0, 0, 0}), 8);
    } else {
      poet_check_status(status, POE_E_MEMORY, &error, "a judge without memory", __FILE__, __LINE__);
      failed++;
    }
    if (poei_alloc_count() - before < n) {
      break;
    }
  }
  assert_true(failed > 10);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_verdicts),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_truncated),
      cmocka_unit_test(test_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
