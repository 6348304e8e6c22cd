/* What `classifier` refuses, and the files it takes without heads. */
#include <string.h>

#include "experts/list.h"
#include "formats/tensor_write.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static poet_args a;

/* A linear classifier [2] -> 3 logits; heads NULL: none. */
static const char *file(const char *heads) {
  static const double w[6] = {1.0, 0.0, 0.0, 1.0, -1.0, -1.0};
  const poei_tensor tensor = {
      .name = "w", .dtype = POEI_F64, .ndim = 2, .shape = {3, 2}, .count = 6, .data = (const unsigned char *)w};
  const char *const metadata[][2] = {{"poe.format", "1"},
                                     {"poe.family", "classifier"},
                                     {"poe.input", "[2]"},
                                     {"poe.layers", "[{\"op\":\"linear\",\"weight\":\"w\"}]"},
                                     {"poe.heads", heads}};
  poe_error error = {0};
  const char *path = poet_temp_path("linear.safetensors");
  check_ok(poei_safetensors_write(path, 1, &tensor, heads == NULL ? 4 : 5, metadata, &error), error);
  return path;
}

static void start(const char *heads, size_t labels) {
  poet_args_start(&a, "classifier");
  poet_args_real_variable(&a, "x", 2);
  if (labels > 0) {
    poet_args_discrete_variable(&a, "c", 1, labels);
  }
  poet_args_text(&a, "file", POE_ARG_FILE, file(heads));
}

static void refuses(poe_status status, int column, const char *part, const char *hint) {
  poe_expert *expert = NULL;
  poe_error error = {0};
  check_fails(poe_expert_create(&poei_classifier_ops, &a.args, &expert, &error), status, error, part);
  assert_null(expert);
  assert_int_equal(error.column, column);
  assert_non_null(strstr(error.hint, hint));
}

static const char two[] = "[{\"name\":\"kind\",\"kind\":\"softmax\",\"labels\":[\"a\",\"b\"]},"
                          "{\"name\":\"big\",\"kind\":\"sigmoid\"}]";

static void test_refused(void **state) {
  (void)state;
  start(NULL, 0);
  refuses(POE_E_USAGE, 0, "two variables", "");
  start(NULL, 4);
  refuses(POE_E_FORMAT, 10, "has 3 labels, but `c` has 4 values", "");
  start(two, 2);
  refuses(POE_E_DOMAIN, 10, "has 2 heads", "\"kind\", \"big\"");
  start(two, 2);
  poet_args_text(&a, "head", POE_ARG_STRING, "small");
  refuses(POE_E_DOMAIN, 20, "'small' is none of the 2 heads", "\"kind\", \"big\"");
  start(NULL, 3);
  poet_args_text(&a, "head", POE_ARG_STRING, "small");
  refuses(POE_E_DOMAIN, 20, "none of the 0 heads", "none");
  start("[{\"name\":\"kind\",\"kind\":\"softmax\",\"labels\":[\"a\",\"b\"]}]", 2);
  refuses(POE_E_FORMAT, 10, "describes 2 logits, the network has 3", "");
  start("[7]", 3);
  refuses(POE_E_FORMAT, 10, "poe.heads: a head is", "");
  /* the label is one discrete coordinate and comes last */
  poet_args_start(&a, "classifier");
  poet_args_discrete_variable(&a, "c", 1, 3);
  poet_args_real_variable(&a, "x", 2);
  poet_args_text(&a, "file", POE_ARG_FILE, file(NULL));
  refuses(POE_E_TYPE, 0, "predicts `x`, which must be one label", "comes last");
  poet_args_start(&a, "classifier");
  poet_args_real_variable(&a, "x", 2);
  poet_args_discrete_variable(&a, "c", 2, 3);
  poet_args_text(&a, "file", POE_ARG_FILE, file(NULL));
  refuses(POE_E_TYPE, 0, "predicts `c`", "int(10)");
  /* the network's input is what stands before it */
  poet_args_start(&a, "classifier");
  poet_args_real_variable(&a, "x", 3);
  poet_args_discrete_variable(&a, "c", 1, 3);
  poet_args_text(&a, "file", POE_ARG_FILE, file(NULL));
  refuses(POE_E_FORMAT, 10, "takes 2 numbers, but the variable has 3", "");
}

/* Without heads, all logits are one softmax. */
static void test_plain(void **state) {
  (void)state;
  poe_expert *expert = NULL;
  poe_error error = {0};
  start(NULL, 3);
  check_ok(poe_expert_create(&poei_classifier_ops, &a.args, &expert, &error), error);
  const double x[3] = {0.5, -1.5, 2.0}, z[3] = {0.5, -1.5, 1.0};
  double logp;
  check_ok(poet_eval(expert, 1, 3, x, &logp, NULL), error);
  check_close(logp, z[2] - log(exp(z[0]) + exp(z[1]) + exp(z[2])), 1e-14, 0.0);
  poe_expert_release(expert);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused), cmocka_unit_test(test_plain)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
