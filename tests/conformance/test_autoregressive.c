/* What `autoregressive` refuses. */
#include <string.h>

#include "experts/list.h"
#include "formats/tensor_write.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static poet_args a;

/* A linear network [3] -> 3 with the given weights [3, 3] in a file with this poe.output (NULL: none). */
static const char *file(const double *w, const char *output) {
  const poei_tensor tensor = {
      .name = "w", .dtype = POEI_F64, .ndim = 2, .shape = {3, 3}, .count = 9, .data = (const unsigned char *)w};
  const char *const metadata[][2] = {{"poe.format", "1"},
                                     {"poe.family", "autoregressive"},
                                     {"poe.input", "[3]"},
                                     {"poe.layers", "[{\"op\":\"linear\",\"weight\":\"w\"}]"},
                                     {"poe.output", output}};
  poe_error error = {0};
  const char *path = poet_temp_path("linear.safetensors");
  check_ok(poei_safetensors_write(path, 1, &tensor, output == NULL ? 4 : 5, metadata, &error), error);
  return path;
}

static const double causal[9] = {0.0, 0.0, 0.0, 0.5, 0.0, 0.0, -1.0, 2.0, 0.0};

static void refuses(const double *w, const char *output, size_t values, poe_status status, const char *part) {
  poet_args_start(&a, "autoregressive");
  if (values > 0) {
    poet_args_discrete_variable(&a, "x", 3, values);
  } else {
    poet_args_real_variable(&a, "x", 3);
  }
  poet_args_text(&a, "file", POE_ARG_FILE, file(w, output));
  poe_expert *expert = NULL;
  poe_error error = {0};
  check_fails(poe_expert_create(&poei_autoregressive_ops, &a.args, &expert, &error), status, error, part);
  assert_null(expert);
  assert_int_equal(error.column, 10);
}

static void test_outputs(void **state) {
  (void)state;
  refuses(causal, NULL, 2, POE_E_FORMAT, "poe.output");
  refuses(causal, "[", 2, POE_E_FORMAT, "poe.output");
  refuses(causal, "{}", 2, POE_E_FORMAT, "no 'op' that is known");
  refuses(causal, "{\"op\":\"poisson\"}", 2, POE_E_FORMAT, "no 'op' that is known");
  refuses(causal, "{\"op\":\"bernoulli\",\"values\":2}", 2, POE_E_FORMAT, "'bernoulli' has no 'values'");
  refuses(causal, "{\"op\":\"bernoulli\",\"layout\":\"last\"}", 2, POE_E_FORMAT, "grouped");
  refuses(causal, "{\"op\":\"categorical\"}", 2, POE_E_FORMAT, "'values' must be an integer from 2");
  refuses(causal, "{\"op\":\"categorical\",\"values\":1e9}", 2, POE_E_FORMAT, "'values' must be");
  refuses(causal, "{\"op\":\"gaussian_mixture\",\"components\":0}", 0, POE_E_FORMAT, "'components' must be");
  refuses(causal, "{\"op\":\"gaussian_mixture\",\"components\":1,\"log_scale_min\":\"a\"}", 0, POE_E_FORMAT,
          "a number");
  refuses(causal, "{\"op\":\"categorical\",\"values\":3}", 3, POE_E_FORMAT,
          "gives 3 numbers, but 3 for each of 3 coordinates are 9");
}

static void test_variables(void **state) {
  (void)state;
  refuses(causal, "{\"op\":\"bernoulli\"}", 0, POE_E_TYPE, "is over 2 values, but those of `x` are others");
  refuses(causal, "{\"op\":\"bernoulli\"}", 3, POE_E_TYPE, "is over 2 values");
}

/* A coordinate that sees itself, and two that see each other. */
static void test_order(void **state) {
  (void)state;
  double itself[9], circle[9];
  memcpy(itself, causal, sizeof causal);
  memcpy(circle, causal, sizeof causal);
  itself[4] = 1e-300;
  circle[2] = 0.25;
  refuses(itself, "{\"op\":\"bernoulli\"}", 2, POE_E_FORMAT, "coordinate 1 depend on coordinate 1, itself");
  refuses(circle, "{\"op\":\"bernoulli\"}", 2, POE_E_FORMAT, "coordinate 0 depend on coordinate 2");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_outputs), cmocka_unit_test(test_variables),
                                     cmocka_unit_test(test_order)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
