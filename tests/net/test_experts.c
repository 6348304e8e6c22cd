/* energy and decoder: sign and scale, supports, discrete coordinates, weights, parameters, refusals. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "experts/list.h"
#include "tests/net/model_file.h"
#include "tests/support/check.h"

static const float quadratic_like[] = {1.0f, -2.0f, 0.5f, 0.25f, 1.0f, 3.0f};
static const float last[] = {1.0f, 2.0f, -1.0f}, wide_last[] = {1.0f, 2.0f, -1.0f, 0.5f, 0.5f, 0.5f};
static const char layers_of_one[] =
    "[{\"op\":\"linear\",\"weight\":\"w\"},{\"op\":\"silu\"},{\"op\":\"linear\",\"weight\":\"v\"}]";

/* E(x) = v . silu(W x), W [3, 2]. */
static const char *energy_file(const char *name, const char *scale) {
  const model_tensor tensors[] = {{"w", 3, 2, quadratic_like}, {"v", 1, 3, last}};
  const char *metadata[][2] = {{"poe.format", "1"},
                               {"poe.family", "energy"},
                               {"poe.input", "[2]"},
                               {"poe.layers", layers_of_one},
                               {scale == NULL ? NULL : "poe.energy_scale", scale},
                               {NULL, NULL}};
  return model_write(name, 2, tensors, metadata);
}

static double energy_at(const double *x, double *grad) {
  double e = 0.0;
  grad[0] = grad[1] = 0.0;
  for (int k = 0; k < 3; k++) {
    double a = (double)quadratic_like[2 * k], b = (double)quadratic_like[2 * k + 1], z = a * x[0] + b * x[1];
    double s = 1.0 / (1.0 + exp(-z)), slope = (double)last[k] * (s + z * s * (1.0 - s));
    e += (double)last[k] * z * s;
    grad[0] += slope * a;
    grad[1] += slope * b;
  }
  return e;
}

static const poe_support line = {POE_CONTINUOUS, -INFINITY, INFINITY, true, true};
static const poe_support unit = {POE_CONTINUOUS, 0.0, 1.0, true, false};
static const poe_support bits = {POE_DISCRETE, 0.0, 1.0, false, false};

static poe_status create(const poe_expert_ops *ops, const char *path, size_t n_args, const poe_arg *more,
                         const poe_support *support, size_t d, poe_expert **expert, poe_error *error) {
  poe_arg args[4] = {{.name = "file", .type = POE_ARG_FILE, .text = path, .line = 3, .column = 9, .span = 4}};
  poe_subject subject = {"x", 1, &d, d, support};
  for (size_t i = 0; i < n_args; i++) {
    args[1 + i] = more[i];
  }
  poe_args all = {ops->kind, 1, &subject, n_args + 1, args};
  return poe_expert_create(ops, &all, expert, error);
}

static void evaluate(const poe_expert *e, size_t n, const double *x, const double *w, double *logp, double *grad) {
  poe_error error = {0};
  size_t need = poe_expert_scratch(e, grad == NULL ? POE_WANT_LOGP : POE_WANT_GRAD, n);
  poe_scratch *scratch = poe_scratch_create(need);
  check_ok(
      poe_expert_eval_add(e, (poe_rows){n, 2, 2, x}, (poe_weights){w, 1}, (poe_accum){logp, grad, 2}, scratch, &error),
      error);
  assert_true(poe_scratch_high_water(scratch) <= need);
  poe_scratch_destroy(scratch);
}

static void test_energy(void **state) {
  (void)state;
  poe_error error = {0};
  poe_expert *e = NULL;
  const poe_support both[2] = {line, line};
  for (int scaled = 0; scaled < 2; scaled++) {
    double scale = scaled ? 2.5 : 1.0;
    const char *path = energy_file("energy.safetensors", scaled ? "2.5" : NULL);
    check_ok(create(&poei_energy_ops, path, 0, NULL, both, 2, &e, &error), error);
    const poe_traits *traits = poe_expert_traits(e);
    assert_int_equal(traits->capabilities, POE_CAN_EVAL | POE_CAN_GRADIENT);
    assert_null(traits->head);
    double x[6] = {0.5, -1.0, 2.0, 0.25, -0.75, 1.5}, w[3] = {1.0, -2.0, 0.0}, logp[3] = {10.0, 20.0, 30.0};
    double grad[6] = {1, 2, 3, 4, 5, 6};
    evaluate(e, 3, x, w, logp, grad);
    for (int i = 0; i < 3; i++) {
      double g[2], value = energy_at(x + 2 * i, g);
      check_close(logp[i], 10.0 * (i + 1) - w[i] * value / scale, 1e-6, 1e-7);
      check_close(grad[2 * i], 1.0 + 2 * i - w[i] * g[0] / scale, 1e-6, 1e-6);
      check_close(grad[2 * i + 1], 2.0 + 2 * i - w[i] * g[1] / scale, 1e-6, 1e-6);
    }
    double alone[3] = {10.0, 20.0, 30.0};
    evaluate(e, 3, x, w, alone, NULL);
    check_same_bits(alone, logp, 3);
    poe_expert_release(e);
  }
}

/* Outside the declared support the density is 0: -inf, no gradient, never NaN, even where the network overflows. */
static void test_support(void **state) {
  (void)state;
  poe_error error = {0};
  poe_expert *e = NULL;
  const poe_support both[2] = {unit, unit};
  check_ok(create(&poei_energy_ops, energy_file("bounded.safetensors", NULL), 0, NULL, both, 2, &e, &error), error);
  double x[10] = {0.5, 1.0, 0.0, 0.5, 0.5, 1.5, INFINITY, 0.5, -1e300, 0.5};
  double w[5] = {1.0, 1.0, 1.0, 1.0, 1.0}, logp[5] = {0}, grad[10] = {0}, g[2];
  evaluate(e, 5, x, w, logp, grad);
  check_close(logp[0], -energy_at(x, g), 1e-6, 1e-6); /* 1 is inside, 0 is not */
  check_close(grad[1], -g[1], 1e-6, 1e-6);
  for (int i = 1; i < 5; i++) {
    assert_true(logp[i] == -INFINITY);
    assert_true(grad[2 * i] == 0.0 && grad[2 * i + 1] == 0.0);
  }
  poe_expert_release(e);
}

static void test_discrete(void **state) {
  (void)state;
  poe_error error = {0};
  poe_expert *e = NULL;
  const poe_support both[2] = {line, bits};
  check_ok(create(&poei_energy_ops, energy_file("discrete.safetensors", NULL), 0, NULL, both, 2, &e, &error), error);
  assert_int_equal(poe_expert_traits(e)->capabilities, POE_CAN_EVAL);
  double x[6] = {0.5, 1.0, 0.5, 2.0, 0.5, 0.5}, w[3] = {1.0, 1.0, 1.0}, logp[3] = {0}, g[2];
  evaluate(e, 3, x, w, logp, NULL);
  check_close(logp[0], -energy_at(x, g), 1e-6, 1e-6);
  assert_true(logp[1] == -INFINITY && logp[2] == -INFINITY);
  poe_expert_release(e);
}

static void test_refusals(void **state) {
  (void)state;
  poe_error error = {0};
  poe_expert *e = NULL;
  const poe_support both[3] = {line, line, line};
  const model_tensor two_out[] = {{"w", 3, 2, quadratic_like}, {"v", 2, 3, wide_last}};
  const char *metadata[][2] = {
      {"poe.format", "1"}, {"poe.family", "energy"}, {"poe.input", "[2]"}, {"poe.layers", layers_of_one}, {NULL, NULL}};
  const char *decoder[][2] = {{"poe.format", "1"},
                              {"poe.family", "decoder"},
                              {"poe.input", "[2]"},
                              {"poe.layers", layers_of_one},
                              {NULL, NULL}};
  const char *path = model_write("two.safetensors", 2, two_out, metadata);
  check_fails(create(&poei_energy_ops, path, 0, NULL, both, 2, &e, &error), POE_E_FORMAT, error, "2 numbers per row");
  path = model_write("decoder.safetensors", 2, two_out, decoder);
  check_fails(create(&poei_energy_ops, path, 0, NULL, both, 2, &e, &error), POE_E_FORMAT, error, "decoder");
  assert_non_null(strstr(error.hint, "decoder"));
  assert_int_equal(error.line, 3);
  path = energy_file("three.safetensors", NULL);
  check_fails(create(&poei_energy_ops, path, 0, NULL, both, 3, &e, &error), POE_E_FORMAT, error, "variable has 3");
  path = energy_file("scale.safetensors", "-1");
  check_fails(create(&poei_energy_ops, path, 0, NULL, both, 2, &e, &error), POE_E_FORMAT, error, "energy_scale");
  path = energy_file("scale.safetensors", "warm");
  check_fails(create(&poei_energy_ops, path, 0, NULL, both, 2, &e, &error), POE_E_FORMAT, error, "warm");
  path = poet_temp_path("absent.safetensors");
  check_fails(create(&poei_energy_ops, path, 0, NULL, both, 2, &e, &error), POE_E_FILE, error, "absent");
  poe_subject subject = {"x", 1, (size_t[]){2}, 2, both};
  poe_args none = {"energy", 1, &subject, 0, NULL};
  check_fails(poe_expert_create(&poei_energy_ops, &none, &e, &error), POE_E_USAGE, error, "file");
  assert_null(e);
}

/* ---- decoder ---- */

static poe_status pull_ones(void *context, poe_rows y, double *dy, poe_scratch *scratch, poe_error *error) {
  (void)context;
  (void)scratch;
  (void)error;
  for (size_t i = 0; i < y.n * y.d; i++) {
    dy[i] = 1.0;
  }
  return POE_OK;
}

static void test_decoder(void **state) {
  (void)state;
  poe_error error = {0};
  const model_tensor tensors[] = {{"net.0.weight", 6, 2, NULL}};
  const char *path = model_write("plain.safetensors", 1, tensors, NULL), *texts[] = {"net.0"};
  const double sizes[2] = {2.0, 3.0}, wrong[2] = {2.0, 2.0};
  size_t d = 2;
  const poe_support both[2] = {line, line};
  poe_subject subject = {"z", 1, &d, 2, both};
  poe_arg list[4] = {{.name = "file", .type = POE_ARG_FILE, .text = path},
                     {.name = "layers", .type = POE_ARG_STRINGS, .n_texts = 1, .texts = texts},
                     {.name = "output_activation", .type = POE_ARG_SYMBOL, .text = "sigmoid"},
                     {.name = "shape", .type = POE_ARG_REAL, .ndim = 1, .shape = {2}, .real = sizes}};
  poe_args args = {"decoder", 1, &subject, 4, list};
  poe_map *map = NULL;
  check_ok(poe_map_create(&poei_decoder_ops, &args, &map, &error), error);
  const poe_map_ops *ops = poe_map_ops_of(map);
  const void *self = poe_map_self(map);
  size_t shape[POE_MAX_DIMS];
  assert_int_equal(ops->in_dim(self), 2);
  assert_int_equal(ops->out_shape(self, shape), 2);
  assert_true(shape[0] == 2 && shape[1] == 3);
  double z[4] = {1.0, -2.0, 3.0, 0.5}, y[2 * 8], dx[4] = {7.0, 7.0, 7.0, 7.0};
  y[6] = 99.0;
  poe_scratch *scratch = poe_scratch_create(ops->scratch(self, POE_WANT_GRAD, 2));
  check_ok(ops->apply(self, (poe_rows){2, 2, 2, z}, (poe_rows_out){2, 6, 8, y}, scratch, &error), error);
  check_ok(ops->apply_vjp(self, (poe_rows){2, 2, 2, z}, pull_ones, NULL, dx, 2, scratch, &error), error);
  poe_scratch_destroy(scratch);
  assert_true(y[6] == 99.0);
  for (int r = 0; r < 2; r++) {
    double slope[2] = {0.0, 0.0};
    for (int o = 0; o < 6; o++) {
      double a = 0.01 * (2 * o + 1), b = 0.01 * (2 * o + 2), v = a * z[2 * r] + b * z[2 * r + 1];
      double s = 1.0 / (1.0 + exp(-v));
      check_close(y[8 * r + o], s, 1e-7, 1e-6);
      slope[0] += a * s * (1.0 - s);
      slope[1] += b * s * (1.0 - s);
    }
    check_close(dx[2 * r], 7.0 + slope[0], 1e-6, 1e-6);
    check_close(dx[2 * r + 1], 7.0 + slope[1], 1e-6, 1e-6);
  }
  poe_map_release(map);
  map = NULL;
  list[3].real = wrong;
  check_fails(poe_map_create(&poei_decoder_ops, &args, &map, &error), POE_E_SHAPE, error, "6");
  args.n_args = 3;
  check_ok(poe_map_create(&poei_decoder_ops, &args, &map, &error), error);
  assert_int_equal(poe_map_ops_of(map)->out_shape(poe_map_self(map), shape), 1);
  assert_int_equal(shape[0], 6);
  poe_map_release(map);
  const poe_support mixed[2] = {line, bits};
  subject.support = mixed;
  check_fails(poe_map_create(&poei_decoder_ops, &args, &map, &error), POE_E_TYPE, error, "discrete");
}

/* Every allocation of a construction failing in turn. */
static void test_allocation_failures(void **state) {
  (void)state;
  const char *path = energy_file("failing.safetensors", NULL);
  const poe_support both[2] = {line, line};
  for (uint64_t at = 1;; at++) {
    poe_error error = {0};
    poe_expert *e = NULL;
    poei_alloc_fail_at(at);
    poe_status status = create(&poei_energy_ops, path, 0, NULL, both, 2, &e, &error);
    poei_alloc_fail_at(0);
    if (status == POE_OK) {
      poe_expert_release(e);
      assert_true(at > 15);
      break;
    }
    assert_null(e);
    assert_int_equal(status, POE_E_MEMORY);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_energy),   cmocka_unit_test(test_support),
                                     cmocka_unit_test(test_discrete), cmocka_unit_test(test_refusals),
                                     cmocka_unit_test(test_decoder),  cmocka_unit_test(test_allocation_failures)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
