/* From files to networks: what is accepted, and every refusal with its message. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "net/net.h"
#include "tests/net/model_file.h"
#include "tests/support/check.h"

/* A described file with these layers over input [in]; tensors w [3, 4], b [3], v [1, 3]. */
static const model_tensor standard[] = {{"w", 3, 4, NULL}, {"b", 3, 0, NULL}, {"v", 1, 3, NULL}};

static poe_status load_described(const char *input, const char *layers, size_t in_dim, poei_net **net,
                                 poe_error *error) {
  const char *metadata[][2] = {
      {"poe.format", "1"}, {"poe.family", "energy"}, {"poe.input", input}, {"poe.layers", layers}, {NULL, NULL}};
  const char *path = model_write("described.safetensors", 3, standard, metadata);
  poei_tensor_file *file = NULL;
  check_ok(poei_tensor_file_open(path, &file, error), *error);
  poe_status status = poei_net_load(&(poei_net_source){.file = file, .in_dim = in_dim}, net, error);
  poei_tensor_file_close(file);
  return status;
}

static double value_at(const poei_net *net, const double *x) {
  double y = NAN;
  size_t d = poei_net_in_dim(net);
  poe_scratch *scratch = poe_scratch_create(poei_net_scratch(net, POE_WANT_LOGP, 1));
  poei_net_eval(net, (poe_rows){1, d, d, x}, &y, 1, scratch);
  poe_scratch_destroy(scratch);
  return y;
}

static const char good_layers[] =
    "[{\"op\":\"linear\",\"weight\":\"w\",\"bias\":\"b\"},{\"op\":\"tanh\"},{\"op\":\"linear\",\"weight\":\"v\"}]";

static double expected_value(const double *x) {
  double y = 0.0;
  for (int o = 0; o < 3; o++) {
    double z = (double)(0.01f * (float)(o + 1));
    for (int i = 0; i < 4; i++) {
      z += x[i] * (double)(0.01f * (float)(o * 4 + i + 1));
    }
    y += tanh(z) * (double)(0.01f * (float)(o + 1));
  }
  return y;
}

static void test_described(void **state) {
  (void)state;
  poe_error error = {0};
  poei_net *net;
  check_ok(load_described("[2, 2]", good_layers, 4, &net, &error), error);
  double x[4] = {0.5, -1.0, 2.0, 0.25};
  check_close(value_at(net, x), expected_value(x), 1e-8, 1e-6);
  assert_int_equal(poei_net_precision(net), POEI_FLOAT32);
  poei_net_release(net);
  /* bias may be null; flatten, reshape, affine, residual and parameters of activations are read */
  check_ok(
      load_described("[4]",
                     "[{\"op\":\"affine\",\"scale\":2,\"shift\":1},{\"op\":\"reshape\",\"shape\":[2,2]},"
                     "{\"op\":\"flatten\"},{\"op\":\"residual\",\"layers\":[{\"op\":\"leaky_relu\",\"slope\":0.5}]},"
                     "{\"op\":\"linear\",\"weight\":\"w\",\"bias\":null},{\"op\":\"layer_norm\",\"weight\":\"b\"},"
                     "{\"op\":\"linear\",\"weight\":\"v\"}]",
                     0, &net, &error),
      error);
  double sum = 0.0, z[3], mean = 0.0, var = 0.0;
  for (int o = 0; o < 3; o++) {
    z[o] = 0.0;
    for (int i = 0; i < 4; i++) {
      double h = 2.0 * x[i] + 1.0;
      z[o] += (h + (h > 0.0 ? h : 0.5 * h)) * (double)(0.01f * (float)(o * 4 + i + 1));
    }
    mean += z[o] / 3.0;
  }
  for (int o = 0; o < 3; o++) {
    var += (z[o] - mean) * (z[o] - mean) / 3.0;
  }
  for (int o = 0; o < 3; o++) {
    sum += (z[o] - mean) / sqrt(var + 1e-5) * 1e-4 * (o + 1) * (o + 1);
  }
  check_close(value_at(net, x), sum, 1e-7, 1e-5);
  poei_net_release(net);
}

/* Descriptions that are wrong: status and a part of the message. */
static void test_wrong_descriptions(void **state) {
  (void)state;
#define LINEAR "{\"op\":\"linear\",\"weight\":\"w\",\"bias\":\"b\"}"
#define LAST "{\"op\":\"linear\",\"weight\":\"v\"}"
  static const struct {
    const char *input, *layers;
    size_t in_dim;
    poe_status status;
    const char *part;
  } wrong[] = {
      {"[4]", "[" LINEAR, 0, POE_E_FORMAT, "poe.layers"},
      {"[4]", "{}", 0, POE_E_FORMAT, "not a list"},
      {"[4]", "[3]", 0, POE_E_FORMAT, "layer 1"},
      {"[4]", "[" LINEAR ",{\"op\":\"lineer\"}]", 0, POE_E_UNSUPPORTED, "layer 2 ('lineer')"},
      {"[4]", "[{\"op\":\"linear\"}]", 0, POE_E_FORMAT, "'weight' is missing"},
      {"[4]", "[{\"op\":\"linear\",\"weight\":3}]", 0, POE_E_FORMAT, "name of a tensor"},
      {"[4]", "[{\"op\":\"linear\",\"weight\":\"nope\"}]", 0, POE_E_FORMAT, "nope"},
      {"[4]", "[{\"op\":\"linear\",\"weight\":\"w\",\"bais\":\"b\"}]", 0, POE_E_FORMAT, "'bais'"},
      {"[4]", "[{\"op\":\"linear\",\"weight\":\"w\",\"bias\":\"v\"}]", 0, POE_E_SHAPE, "bias 'v'"},
      {"[5]", "[" LINEAR "," LAST "]", 0, POE_E_SHAPE, "weight 'w' has shape [3, 4]"},
      {"[4]", "[" LINEAR "," LAST "]", 6, POE_E_SHAPE, "takes 4 numbers, but the variable has 6"},
      {"[4]", "[" LINEAR "]", 0, POE_E_FORMAT, "'v'"},
      {"[4]", "[" LINEAR "," LINEAR "]", 0, POE_E_SHAPE, "layer 2"},
      {"4", "[]", 0, POE_E_FORMAT, "poe.input"},
      {"[]", "[]", 0, POE_E_FORMAT, "poe.input"},
      {"[0]", "[]", 0, POE_E_FORMAT, "poe.input"},
      {"[-4]", "[]", 0, POE_E_FORMAT, "poe.input"},
      {"[99999999999]", "[]", 0, POE_E_FORMAT, "poe.input"},
      {"[16777216, 16777216]", "[]", 0, POE_E_SHAPE, "poe.input"},
      {"[1,1,1,1,1,1,1,1,4]", "[]", 0, POE_E_FORMAT, "poe.input"},
      {"[4]", "[{\"op\":\"reshape\",\"shape\":[3]}]", 0, POE_E_SHAPE, "holds 3 numbers"},
      {"[4]", "[{\"op\":\"reshape\",\"shape\":[-1]}]", 0, POE_E_FORMAT, "list of sizes"},
      {"[4]", "[{\"op\":\"reshape\",\"shape\":[1000000,1000000,1000000]}]", 0, POE_E_SHAPE, "reshape"},
      {"[4]", "[{\"op\":\"avg_pool2d\",\"size\":2}]", 0, POE_E_SHAPE, "[channels, height, width]"},
      {"[1,2,2]", "[{\"op\":\"avg_pool2d\",\"size\":0}]", 0, POE_E_SHAPE, "window"},
      {"[1,2,2]", "[{\"op\":\"max_pool2d\",\"size\":3}]", 0, POE_E_SHAPE, "window"},
      {"[1,2,2]", "[{\"op\":\"max_pool2d\",\"size\":1.5}]", 0, POE_E_FORMAT, "integer"},
      {"[1,2,2]", "[{\"op\":\"conv2d\",\"weight\":\"w\"}]", 0, POE_E_SHAPE, "[out, 1, kh, kw]"},
      {"[4]", "[{\"op\":\"affine\",\"scale\":\"2\"}]", 0, POE_E_FORMAT, "must be a number"},
      {"[4]", "[{\"op\":\"layer_norm\",\"weight\":\"b\"}]", 0, POE_E_SHAPE, "end of its input's shape"},
      {"[4]", "[{\"op\":\"residual\",\"layers\":[" LINEAR "]}]", 0, POE_E_SHAPE, "cannot be added"},
      {"[4]", "[{\"op\":\"residual\"}]", 0, POE_E_FORMAT, "takes 'layers'"},
      {"[4]", "[{\"op\":\"residual\",\"layers\":[],\"shortcut\":[" LINEAR "]}]", 0, POE_E_SHAPE, "cannot be added"},
      {"[1,2,2]", "[{\"op\":\"max_pool2d\",\"size\":2,\"padding\":2}]", 0, POE_E_SHAPE, "at most half the window"},
      {"[1,2,2]", "[{\"op\":\"avg_pool2d\",\"size\":[2,2,2]}]", 0, POE_E_FORMAT, "list of two"},
      {"[1,2,2]", "[{\"op\":\"avg_pool2d\",\"size\":2,\"stride\":99999}]", 0, POE_E_DOMAIN, "1..4096"},
      {"[1,2,2]", "[{\"op\":\"upsample2d\",\"factor\":0}]", 0, POE_E_SHAPE, "empty"},
      {"[1,2,2]", "[{\"op\":\"upsample2d\",\"factor\":16777216}]", 0, POE_E_SHAPE, "more than"},
      {"[4]", "[{\"op\":\"global_avg_pool2d\"}]", 0, POE_E_SHAPE, "[channels, height, width]"},
      {"[1,2,2]", "[{\"op\":\"conv_transpose2d\",\"weight\":\"w\"}]", 0, POE_E_SHAPE, "[1, out / groups, kh, kw]"},
      {"[4]", "[{\"op\":\"linear\",\"weight\":\"w\",\"mask\":\"v\"}]", 0, POE_E_SHAPE, "this mask has shape [1, 3]"},
      {"[4]", "[{\"op\":\"linear\",\"weight\":\"w\",\"mask\":\"w\"}]", 0, POE_E_FORMAT, "but 0 or 1 is needed"},
      {"[4]", "[{\"op\":\"linear\",\"weight\":\"w\",\"mask\":1}]", 0, POE_E_FORMAT, "'mask' must be"},
      {"[4]", "[{\"op\":\"group_norm\",\"groups\":3}]", 0, POE_E_SHAPE, "do not divide into 3 groups"},
      {"[4]", "[{\"op\":\"group_norm\",\"groups\":0}]", 0, POE_E_SHAPE, "0 groups"},
      {"[4]", "[{\"op\":\"group_norm\",\"groups\":2,\"eps\":-1}]", 0, POE_E_DOMAIN, "eps"},
      {"[4]", "[{\"op\":\"instance_norm\",\"weight\":\"b\"}]", 0, POE_E_SHAPE, "weight 'b' has shape [3]"},
      {"[4]", "[{\"op\":\"batch_norm\",\"running_mean\":\"b\",\"running_var\":\"b\"}]", 0, POE_E_SHAPE,
       "[4] is needed"},
      {"[3]", "[{\"op\":\"batch_norm\",\"running_mean\":\"b\"}]", 0, POE_E_FORMAT, "'running_var' must be"},
      {"[3]", "[{\"op\":\"batch_norm\",\"mean\":\"b\"}]", 0, POE_E_FORMAT, "it has no 'mean'"},
      {"[3]", "[{\"op\":\"batch_norm\",\"running_mean\":\"b\",\"running_var\":\"b\",\"eps\":-1}]", 0, POE_E_FORMAT,
       "eps"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    poe_error error = {0};
    poei_net *net = NULL;
    check_fails(load_described(wrong[i].input, wrong[i].layers, wrong[i].in_dim, &net, &error), wrong[i].status, error,
                wrong[i].part);
    assert_non_null(strstr(error.message, "described.safetensors"));
    assert_null(net);
  }
  /* nesting is bounded */
  char deep[1024] = "";
  for (int i = 0; i < 20; i++) {
    strncat(deep, "[{\"op\":\"residual\",\"layers\":", sizeof deep - strlen(deep) - 1);
  }
  strncat(deep, "[]", sizeof deep - strlen(deep) - 1);
  for (int i = 0; i < 20; i++) {
    strncat(deep, "}]", sizeof deep - strlen(deep) - 1);
  }
  poe_error error = {0};
  poei_net *net = NULL;
  check_fails(load_described("[4]", deep, 0, &net, &error), POE_E_UNSUPPORTED, error, "nested");
}

static void test_missing_metadata(void **state) {
  (void)state;
  poe_error error = {0};
  poei_net *net = NULL;
  poei_tensor_file *file = NULL;
  const char *no_input[][2] = {{"poe.format", "1"}, {"poe.family", "energy"}, {"poe.layers", "[]"}, {NULL, NULL}};
  check_ok(poei_tensor_file_open(model_write("a.safetensors", 1, standard, no_input), &file, &error), error);
  check_fails(poei_net_load(&(poei_net_source){.file = file}, &net, &error), POE_E_FORMAT, error, "poe.input");
  check_ok(poei_net_check_family(file, "energy", &error), error);
  check_fails(poei_net_check_family(file, "decoder", &error), POE_E_FORMAT, error, "poe.family is energy");
  assert_non_null(strstr(error.hint, "energy"));
  const char *layers[] = {"net.0"};
  check_fails(poei_net_load(&(poei_net_source){.file = file, .n_layers = 1, .layers = layers}, &net, &error),
              POE_E_USAGE, error, "its own layers");
  poei_tensor_file_close(file);
  const char *newer[][2] = {{"poe.format", "2"}, {"poe.family", "energy"}, {NULL, NULL}};
  check_ok(poei_tensor_file_open(model_write("b.safetensors", 1, standard, newer), &file, &error), error);
  check_fails(poei_net_check_family(file, "energy", &error), POE_E_UNSUPPORTED, error, "poe.format is 2");
  poei_tensor_file_close(file);
  check_ok(poei_tensor_file_open(model_write("c.safetensors", 1, standard, NULL), &file, &error), error);
  check_ok(poei_net_check_family(file, "energy", &error), error);
  check_fails(poei_net_load(&(poei_net_source){.file = file}, &net, &error), POE_E_FORMAT, error,
              "does not say how its tensors");
  assert_non_null(strstr(error.hint, "layers=["));
  poei_tensor_file_close(file);
}

/* ---- bare state dicts ---- */

static const model_tensor bare[] = {
    {"net.0.weight", 3, 4, NULL}, {"net.0.bias", 3, 0, NULL}, {"net.2.weight", 1, 3, NULL}, {"steps", 1, 0, NULL}};

static poe_status load_bare(const poei_net_source *source, poei_net **net, poe_error *error) {
  poei_tensor_file *file = NULL;
  check_ok(poei_tensor_file_open(model_write("bare.safetensors", 4, bare, NULL), &file, error), *error);
  poei_net_source with_file = *source;
  with_file.file = file;
  poe_status status = poei_net_load(&with_file, net, error);
  poei_tensor_file_close(file);
  return status;
}

static void test_bare(void **state) {
  (void)state;
  const char *layers[] = {"net.0", "net.2"}, *swapped[] = {"net.2", "net.0"}, *missing[] = {"net.0", "net.3"};
  double x[4] = {0.5, -1.0, 2.0, 0.25};
  poe_error error = {0};
  poei_net *net = NULL;
  check_ok(
      load_bare(&(poei_net_source){.n_layers = 2, .layers = layers, .activation = "tanh", .in_dim = 4}, &net, &error),
      error);
  check_close(value_at(net, x), expected_value(x), 1e-8, 1e-6);
  poei_net_release(net);
  check_ok(load_bare(&(poei_net_source){.n_layers = 2,
                                        .layers = layers,
                                        .activation = "tanh",
                                        .output_activation = "softplus",
                                        .precision = "double"},
                     &net, &error),
           error);
  check_close(value_at(net, x), log1p(exp(expected_value(x))), 1e-14, 1e-14);
  assert_int_equal(poei_net_precision(net), POEI_FLOAT64);
  poei_net_release(net);
  net = NULL;
  poei_net_source source = {.n_layers = 2, .layers = layers};
  check_fails(load_bare(&source, &net, &error), POE_E_USAGE, error, "needs `activation`");
  source.activation = "swish";
  check_fails(load_bare(&source, &net, &error), POE_E_NAME, error, "swish");
  assert_non_null(strstr(error.hint, "silu"));
  source.activation = "silu";
  source.in_dim = 7;
  check_fails(load_bare(&source, &net, &error), POE_E_SHAPE, error, "'net.0.weight'");
  source.in_dim = 0;
  source.layers = swapped;
  check_fails(load_bare(&source, &net, &error), POE_E_SHAPE, error, "net.0.weight");
  source.layers = missing;
  check_fails(load_bare(&source, &net, &error), POE_E_FORMAT, error, "net.3.weight");
  assert_non_null(strstr(error.message, "net.2.weight")); /* what is there */
  source.layers = layers;
  source.precision = "half";
  check_fails(load_bare(&source, &net, &error), POE_E_USAGE, error, "half");
  assert_null(net);
}

static void test_not_finite(void **state) {
  (void)state;
  static const float bad[] = {1.0f, NAN, 2.0f, 3.0f};
  const model_tensor tensors[] = {{"weight", 2, 2, bad}};
  const char *layers[] = {""};
  poe_error error = {0};
  poei_net *net = NULL;
  poei_tensor_file *file = NULL;
  check_ok(poei_tensor_file_open(model_write("nan.safetensors", 1, tensors, NULL), &file, &error), error);
  check_fails(poei_net_load(&(poei_net_source){.file = file, .n_layers = 1, .layers = layers}, &net, &error),
              POE_E_FORMAT, error, "'weight'");
  assert_non_null(strstr(error.message, "number 1"));
  poei_tensor_file_close(file);
  /* finite in the file, not in the network's precision */
  static const double large[] = {1e300};
  poei_tensor tensor = {.name = "weight",
                        .dtype = POEI_F64,
                        .ndim = 2,
                        .shape = {1, 1},
                        .count = 1,
                        .data = (const unsigned char *)large};
  const char *path = poet_temp_path("large.safetensors");
  check_ok(poei_safetensors_write(path, 1, &tensor, 0, NULL, &error), error);
  check_ok(poei_tensor_file_open(path, &file, &error), error);
  poei_net_source source = {.file = file, .n_layers = 1, .layers = layers, .precision = "single"};
  check_fails(poei_net_load(&source, &net, &error), POE_E_FORMAT, error, "single precision");
  source.precision = NULL; /* that of the weights */
  check_ok(poei_net_load(&source, &net, &error), error);
  assert_int_equal(poei_net_precision(net), POEI_FLOAT64);
  poei_net_release(net);
  poei_tensor_file_close(file);
}

/* npz with the keys of a state dict; a kernel of four dimensions is not a bare layer. */
static void test_npz(void **state) {
  (void)state;
  static const float w[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  poe_error error = {0};
  poei_npz_writer *writer = NULL;
  const char *path = poet_temp_path("bare.npz"), *layers[] = {"fc"}, *conv[] = {"conv"};
  check_ok(poei_npz_writer_open(path, &writer, &error), error);
  check_ok(poei_npz_writer_add(writer, "fc.weight", POEI_F32, 2, (size_t[]){1, 2}, w, &error), error);
  check_ok(poei_npz_writer_add(writer, "fc.bias", POEI_F32, 1, (size_t[]){1}, w, &error), error);
  check_ok(poei_npz_writer_add(writer, "conv.weight", POEI_F32, 4, (size_t[]){2, 1, 2, 2}, w, &error), error);
  check_ok(poei_npz_writer_commit(writer, &error), error);
  poei_tensor_file *file = NULL;
  poei_net *net = NULL;
  check_ok(poei_tensor_file_open(path, &file, &error), error);
  check_ok(poei_net_load(&(poei_net_source){.file = file, .n_layers = 1, .layers = layers}, &net, &error), error);
  check_close(value_at(net, (double[]){3.0, 4.0}), 12.0, 0.0, 0.0);
  poei_net_release(net);
  check_fails(poei_net_load(&(poei_net_source){.file = file, .n_layers = 1, .layers = conv}, &net, &error),
              POE_E_UNSUPPORTED, error, "[2, 1, 2, 2]");
  poei_tensor_file_close(file);
}

/* Every allocation of a load failing in turn. */
/* Batch normalisation becomes a scale and a shift in double; a variance is not negative. */
static void test_batch_norm(void **state) {
  (void)state;
  static const float mean[] = {1.0f, -2.0f}, variance[] = {4.0f, 0.25f}, weight[] = {3.0f, 0.5f}, bias[] = {0.5f, 0.0f};
  static const float negative[] = {4.0f, -0.25f};
  model_tensor tensors[] = {{"m", 2, 0, mean}, {"v", 2, 0, variance}, {"w", 2, 0, weight}, {"b", 2, 0, bias}};
  const char *metadata[][2] = {{"poe.format", "1"},
                               {"poe.family", "energy"},
                               {"poe.input", "[2,1,1]"},
                               {"poe.layers", "[{\"op\":\"batch_norm\",\"running_mean\":\"m\",\"running_var\":\"v\","
                                              "\"weight\":\"w\",\"bias\":\"b\",\"eps\":0.75}]"},
                               {NULL, NULL}};
  poe_error error = {0};
  poei_net *net = NULL;
  poei_tensor_file *file = NULL;
  check_ok(poei_tensor_file_open(model_write("norm.safetensors", 4, tensors, metadata), &file, &error), error);
  check_ok(poei_net_load(&(poei_net_source){.file = file}, &net, &error), error);
  double x[2] = {2.0, 5.0}, y[2];
  poe_scratch *scratch = poe_scratch_create(poei_net_scratch(net, POE_WANT_LOGP, 1));
  poei_net_eval(net, (poe_rows){1, 2, 2, x}, y, 2, scratch);
  check_close(y[0], (2.0 - 1.0) / sqrt(4.75) * 3.0 + 0.5, 1e-6, 0.0);
  check_close(y[1], (5.0 + 2.0) / sqrt(1.0) * 0.5, 1e-6, 0.0);
  poe_scratch_destroy(scratch);
  poei_net_release(net);
  poei_tensor_file_close(file);
  tensors[1].data = negative;
  net = NULL;
  check_ok(poei_tensor_file_open(model_write("negative.safetensors", 4, tensors, metadata), &file, &error), error);
  check_fails(poei_net_load(&(poei_net_source){.file = file}, &net, &error), POE_E_FORMAT, error, "not a variance");
  poei_tensor_file_close(file);
}

static void test_allocation_failures(void **state) {
  (void)state;
  const char *metadata[][2] = {{"poe.format", "1"},
                               {"poe.family", "energy"},
                               {"poe.input", "[4]"},
                               {"poe.layers", "[" LINEAR ",{\"op\":\"batch_norm\",\"running_mean\":\"b\","
                                              "\"running_var\":\"b\"},{\"op\":\"tanh\"}," LAST "]"},
                               {NULL, NULL}};
  poe_error error = {0};
  poei_tensor_file *file = NULL;
  check_ok(poei_tensor_file_open(model_write("failing.safetensors", 3, standard, metadata), &file, &error), error);
  for (uint64_t at = 1;; at++) {
    poei_net *net = NULL;
    poei_alloc_fail_at(at);
    poe_status status = poei_net_load(&(poei_net_source){.file = file}, &net, &error);
    poei_alloc_fail_at(0);
    if (status == POE_OK) {
      poei_net_release(net);
      assert_true(at > 15);
      break;
    }
    assert_null(net);
    assert_int_equal(status, POE_E_MEMORY);
  }
  poei_tensor_file_close(file);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_described),        cmocka_unit_test(test_wrong_descriptions),
      cmocka_unit_test(test_missing_metadata), cmocka_unit_test(test_bare),
      cmocka_unit_test(test_not_finite),       cmocka_unit_test(test_npz),
      cmocka_unit_test(test_batch_norm),       cmocka_unit_test(test_allocation_failures),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
