/* Every operator: values against naive double loops, vector-Jacobian products against finite differences of those
 * loops, single against double. Networks are built twice: once to be compiled (and fused), once to be evaluated
 * naively.
 *
 * Tolerances: double values 1e-12 relative to the largest output; gradients 1e-7 (central differences, step 1e-5, whose
 * own error is below 1e-9 in smooth networks of size-one numbers); single 2e-5 against double.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "net/dependence.h"
#include "tests/net/net_build.h"
#include "tests/support/check.h"

typedef void builder(net_build *build);

typedef struct network_case {
  const char *name;
  builder *build;
  size_t ndim, shape[3];
} network_case;

/* ---- the networks: every operator, fused and not, chained and shared ---- */

static void build_linear(net_build *b) {
  net_build_linear(b, 0, 7, true);
}
static void build_linear_no_bias(net_build *b) {
  net_build_linear(b, 0, 33, false);
}
static void build_wide(net_build *b) { /* an output too wide for the double head, several row blocks */
  net_build_activation(b, net_build_linear(b, 0, 40, true), POEI_TANH);
}
static void build_head_activation(net_build *b) { /* the double head with a fused activation */
  net_build_activation(b, net_build_linear(b, 0, 3, true), POEI_SOFTPLUS);
}
static void build_mlp(net_build *b) {
  poei_value h = net_build_activation(b, net_build_linear(b, 0, 24, true), POEI_SILU);
  h = net_build_activation(b, net_build_linear(b, h, 17, true), POEI_GELU);
  net_build_linear(b, h, 1, true);
}
#define BUILD_ACTIVATION(name, word, parameter)                                                                        \
  static void build_##word(net_build *b) {                                                                             \
    poei_value h = net_build_activation(b, 0, POEI_##name);                     /* alone */                            \
    h = net_build_activation(b, net_build_linear(b, h, 11, true), POEI_##name); /* fused */                            \
    net_build_linear(b, h, 2, false);                                                                                  \
  }
POEI_ACTIVATION_LIST(BUILD_ACTIVATION)
static void build_conv(net_build *b) {
  net_build_activation(b, net_build_conv(b, 0, 4, 3, 3, 1, 1, true), POEI_SILU);
}
static void build_conv_stride(net_build *b) {
  net_build_conv(b, 0, 5, 3, 2, 2, 2, false);
}
static void build_conv_valid(net_build *b) { /* kernel as large as the image */
  net_build_conv(b, 0, 3, 7, 6, 3, 0, true);
}
static void build_conv_wide_padding(net_build *b) { /* whole kernels in the padding */
  net_build_conv(b, 0, 2, 2, 2, 3, 4, true);
}
static void build_avg_pool(net_build *b) {
  net_build_pool(b, 0, false, 2);
}
static void build_max_pool(net_build *b) {
  net_build_pool(b, net_build_conv(b, 0, 3, 3, 3, 1, 1, true), true, 3);
}
static void build_pool_moves(net_build *b) { /* overlapping windows, parts of them in the padding */
  poei_attributes moves = {.size = {3, 2}, .stride = {2, 1}, .padding = {1, 1}};
  net_build_pool_with(b, net_build_pool_with(b, 0, false, &moves), true, &moves);
}
static void build_conv_moves(net_build *b) { /* groups, dilation, all different along both axes */
  poei_attributes moves = {.stride = {2, 1}, .padding = {2, 1}, .dilation = {1, 2}, .groups = 2};
  net_build_activation(b, net_build_conv_with(b, 0, false, 6, 3, 2, &moves, true), POEI_SILU);
}
static void build_conv_depthwise(net_build *b) {
  poei_attributes moves = {.stride = {1, 1}, .padding = {1, 1}, .dilation = {1, 1}, .groups = 4};
  net_build_conv_with(b, 0, false, 4, 3, 3, &moves, false);
}
static void build_conv_pixel(net_build *b) { /* one pixel: no columns; the input read twice */
  poei_value h = net_build_conv(b, 0, 5, 1, 1, 1, 0, true);
  net_build_add(b, h, net_build_conv(b, 0, 5, 1, 1, 1, 0, false));
}
static void build_transpose(net_build *b) {
  poei_attributes moves = {
      .stride = {2, 3}, .padding = {1, 2}, .dilation = {1, 1}, .output_padding = {1, 0}, .groups = 1};
  net_build_activation(b, net_build_conv_with(b, 0, true, 3, 4, 3, &moves, true), POEI_TANH);
}
static void build_transpose_moves(net_build *b) { /* and added onto another path's gradient */
  poei_attributes moves = {.stride = {1, 1}, .padding = {2, 1}, .dilation = {2, 1}, .groups = 2};
  poei_value h = net_build_conv_with(b, 0, true, 6, 3, 3, &moves, false);
  net_build_add(b, net_build_conv(b, 0, 6, 1, 1, 1, 0, false), h);
}
static void build_transpose_pixel(net_build *b) {
  poei_attributes moves = {.stride = {1, 1}, .dilation = {1, 1}, .groups = 2};
  net_build_conv_with(b, 0, true, 8, 1, 1, &moves, true);
}
static void build_upsample(net_build *b) {
  net_build_conv(b, net_build_upsample(b, 0, 2, 3), 2, 3, 3, 1, 1, true);
}
static void build_group_norm(net_build *b) {
  net_build_group_norm(b, net_build_group_norm(b, 0, 2, true, true), 4, false, false);
}
static void build_group_norm_vector(net_build *b) {
  net_build_group_norm(b, 0, 3, true, false);
}
static void build_channel_affine(net_build *b) {
  net_build_channel_affine(b, net_build_channel_affine(b, 0, true), false);
}
static void build_affine(net_build *b) {
  net_build_affine(b, 0, -2.5, 0.75);
}
static void build_layer_norm(net_build *b) {
  net_build_layer_norm(b, 0, 1);
}
static void build_layer_norm_image(net_build *b) {
  net_build_layer_norm(b, 0, 2);
}
static void build_reshape(net_build *b) {
  net_build_affine(b, net_build_reshape(b, 0, 2, (size_t[]){2, 6}), 3.0, -1.0);
}
static void build_only_input(net_build *b) {
  (void)b;
}
static void build_only_view(net_build *b) {
  net_build_activation(b, net_build_reshape(b, 0, 1, (size_t[]){12}), POEI_IDENTITY);
}
static void build_double_input(net_build *b) { /* the same value twice */
  net_build_add(b, net_build_linear(b, 0, 5, true), net_build_linear(b, 0, 5, true));
}
static void build_twice(net_build *b) {
  net_build_add(b, 0, 0);
}
static void build_residual(net_build *b) { /* fan-out: the first layer's value must not be fused away */
  poei_value h = net_build_linear(b, 0, 9, true);
  poei_value f = net_build_activation(b, h, POEI_TANH);
  f = net_build_activation(b, net_build_linear(b, f, 9, true), POEI_SILU);
  h = net_build_add(b, h, f);
  f = net_build_linear(b, net_build_layer_norm(b, h, 1), 9, true);
  net_build_add(b, net_build_affine(b, h, 0.5, 0.0), f);
}
static void build_last_axis(net_build *b) { /* per position, fused; and with a head of doubles */
  poei_value h = net_build_activation(b, net_build_linear_last(b, 0, 9, true), POEI_TANH);
  net_build_linear_last(b, h, 2, true);
}
static void build_shift(net_build *b) {
  net_build_add(b, net_build_shift(b, 0, true), net_build_shift(b, 0, false));
}
static void build_gru(net_build *b) {
  net_build_recurrent(b, 0, POEI_OP_GRU, 7, true, true);
}
static void build_gru_stack(net_build *b) { /* a layer's value read twice, biases on one side */
  poei_value h = net_build_recurrent(b, 0, POEI_OP_GRU, 6, false, true);
  poei_value g = net_build_recurrent(b, net_build_layer_norm(b, h, 1), POEI_OP_GRU, 6, true, false);
  net_build_linear_last(b, net_build_add(b, h, g), 1, true);
}
static void build_lstm(net_build *b) {
  net_build_recurrent(b, 0, POEI_OP_LSTM, 5, true, true);
}
static void build_lstm_stack(net_build *b) {
  poei_value h = net_build_recurrent(b, net_build_shift(b, 0, true), POEI_OP_LSTM, 6, false, false);
  net_build_linear(b, net_build_recurrent(b, h, POEI_OP_LSTM, 3, true, false), 2, true);
}
static void build_nade(net_build *b) {
  net_build_nade(b, 0, 11, 1, POEI_SIGMOID);
}
static void build_nade_parameters(net_build *b) { /* the input read twice */
  net_build_add(b, net_build_nade(b, 0, 8, 3, POEI_TANH),
                net_build_nade(b, net_build_affine(b, 0, 2.0, 0.1), 5, 3, POEI_SILU));
}
static void build_cnn(net_build *b) {
  poei_value h = net_build_reshape(b, 0, 3, (size_t[]){2, 7, 6});
  h = net_build_activation(b, net_build_conv(b, h, 6, 3, 3, 1, 1, true), POEI_GELU_TANH);
  h = net_build_pool(b, h, false, 2);
  h = net_build_activation(b, net_build_conv(b, h, 8, 2, 2, 1, 0, true), POEI_ELU);
  net_build_linear(b, h, 1, true);
}

static const network_case cases[] = {
    {"linear", build_linear, 1, {12}},
    {"linear without bias", build_linear_no_bias, 1, {70}},
    {"wide", build_wide, 1, {35}},
    {"head with activation", build_head_activation, 1, {21}},
    {"mlp", build_mlp, 1, {30}},
#define CASE_ACTIVATION(name, word, parameter) {#word, build_##word, 1, {13}},
    POEI_ACTIVATION_LIST(CASE_ACTIVATION){"conv", build_conv, 3, {2, 7, 6}},
    {"conv with stride", build_conv_stride, 3, {2, 7, 6}},
    {"conv, large kernel", build_conv_valid, 3, {2, 7, 6}},
    {"conv, wide padding", build_conv_wide_padding, 3, {2, 7, 6}},
    {"avg_pool", build_avg_pool, 3, {2, 7, 6}},
    {"max_pool", build_max_pool, 3, {2, 7, 6}},
    {"pool, overlapping and padded", build_pool_moves, 3, {2, 7, 6}},
    {"conv, groups and dilation", build_conv_moves, 3, {4, 7, 6}},
    {"conv, depthwise", build_conv_depthwise, 3, {4, 7, 6}},
    {"conv, one pixel", build_conv_pixel, 3, {4, 7, 6}},
    {"conv_transpose", build_transpose, 3, {2, 4, 3}},
    {"conv_transpose, groups and dilation", build_transpose_moves, 3, {4, 5, 4}},
    {"conv_transpose, one pixel", build_transpose_pixel, 3, {4, 5, 4}},
    {"upsample", build_upsample, 3, {2, 3, 4}},
    {"group_norm", build_group_norm, 3, {4, 3, 5}},
    {"group_norm of vectors", build_group_norm_vector, 1, {12}},
    {"channel_affine", build_channel_affine, 3, {4, 3, 5}},
    {"affine", build_affine, 1, {12}},
    {"layer_norm", build_layer_norm, 1, {12}},
    {"layer_norm of images", build_layer_norm_image, 3, {2, 7, 6}},
    {"reshape", build_reshape, 1, {12}},
    {"only the input", build_only_input, 1, {12}},
    {"only a view", build_only_view, 2, {3, 4}},
    {"double input", build_double_input, 1, {12}},
    {"twice", build_twice, 1, {12}},
    {"residual", build_residual, 1, {12}},
    {"cnn", build_cnn, 1, {84}},
    {"linear along the last axis", build_last_axis, 3, {2, 3, 5}},
    {"shift", build_shift, 2, {5, 3}},
    {"gru", build_gru, 2, {6, 3}},
    {"gru, stacked", build_gru_stack, 1, {7}},
    {"lstm", build_lstm, 2, {6, 4}},
    {"lstm, stacked", build_lstm_stack, 3, {5, 2, 2}},
    {"nade", build_nade, 1, {9}},
    {"nade with several parameters", build_nade_parameters, 1, {6}},
};
enum { CASES = sizeof cases / sizeof *cases };

/* ---- evaluation ---- */

typedef struct seeds {
  const double *dy; /* [n, out] */
} seeds;

static poe_status pull_seeds(void *context, poe_rows y, double *dy, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  memcpy(dy, ((const seeds *)context)->dy, y.n * y.d * sizeof *dy);
  return POE_OK;
}

/* Values and, with dy, input gradients of n contiguous rows, in an arena of exactly the declared size. */
static void evaluate(const poei_net *net, size_t n, const double *x, double *y, const double *dy, double *dx) {
  poe_error error = {0};
  size_t in = poei_net_in_dim(net), out = poei_net_out_dim(net);
  poe_rows rows = {n, in, in, x};
  poe_scratch *scratch = poe_scratch_create(poei_net_scratch(net, POE_WANT_LOGP, n));
  poei_net_eval(net, rows, y, out, scratch);
  poe_scratch_destroy(scratch);
  if (dx != NULL) {
    seeds context = {dy};
    memset(dx, 0, n * in * sizeof *dx);
    scratch = poe_scratch_create(poei_net_scratch(net, POE_WANT_GRAD, n));
    check_ok(poei_net_eval_vjp(net, rows, pull_seeds, &context, dx, in, scratch, &error), error);
    poe_scratch_destroy(scratch);
  }
}

static double largest(size_t n, const double *x) {
  double size = 1e-300;
  for (size_t i = 0; i < n; i++) {
    size = fmax(size, fabs(x[i]));
  }
  return size;
}

static double dot(size_t n, const double *a, const double *b) {
  double sum = 0.0;
  for (size_t i = 0; i < n; i++) {
    sum += a[i] * b[i];
  }
  return sum;
}

/* Gradient of dy . f at one row by central differences of the naive evaluation. */
static void difference(const poei_graph *graph, const double *x, const double *dy, double *dx) {
  size_t in = graph->nodes[0].shape.count, out = graph->nodes[graph->n_nodes - 1].shape.count;
  double *moved = malloc(in * sizeof *moved), *y = malloc(out * sizeof *y), step = 1e-5;
  memcpy(moved, x, in * sizeof *x);
  for (size_t i = 0; i < in; i++) {
    moved[i] = x[i] + step;
    net_naive(graph, moved, y);
    double up = dot(out, dy, y);
    moved[i] = x[i] - step;
    net_naive(graph, moved, y);
    dx[i] = (up - dot(out, dy, y)) / (2.0 * step);
    moved[i] = x[i];
  }
  free(moved);
  free(y);
}

enum { ROWS = 13 }; /* beyond the kernels for few rows, and not a multiple of anything */

static void check_case(const network_case *c, size_t n) {
  net_build plain = net_build_start(POEI_FLOAT64, c->ndim, c->shape);
  net_build exact = net_build_start(POEI_FLOAT64, c->ndim, c->shape);
  net_build single = net_build_start(POEI_FLOAT32, c->ndim, c->shape);
  c->build(&plain);
  c->build(&exact);
  c->build(&single);
  poei_net *net = net_build_finish(&exact), *net_single = net_build_finish(&single);
  size_t in = poei_net_in_dim(net), out = poei_net_out_dim(net);
  double *x = malloc(n * in * sizeof *x), *dx = malloc(n * in * sizeof *dx), *dx_single = malloc(n * in * sizeof *dx);
  double *y = malloc(n * out * sizeof *y), *dy = malloc(n * out * sizeof *dy), *naive = malloc(n * out * sizeof *y);
  double *y_single = malloc(n * out * sizeof *y), *slope = malloc(in * sizeof *slope);
  net_numbers(1, n * in, x);
  net_numbers(2, n * out, dy);
  for (size_t i = 0; i < n * in; i++) {
    x[i] = (double)(float)x[i];
  }
  evaluate(net, n, x, y, dy, dx);
  evaluate(net_single, n, x, y_single, dy, dx_single);
  for (size_t r = 0; r < n; r++) {
    net_naive(plain.graph, x + r * in, naive + r * out);
  }
  double size = largest(n * out, naive);
  for (size_t i = 0; i < n * out; i++) {
    check_close(y[i], naive[i], 1e-12 * size, 0.0);
    check_close(y_single[i], naive[i], 2e-5 * size, 0.0);
  }
  double slope_size = largest(n * in, dx);
  for (size_t r = 0; r < n && r < 3; r++) {
    difference(plain.graph, x + r * in, dy + r * out, slope);
    for (size_t i = 0; i < in; i++) {
      check_close(dx[r * in + i], slope[i], 1e-7 * slope_size, 0.0);
    }
  }
  for (size_t i = 0; i < n * in; i++) {
    check_close(dx_single[i], dx[i], 2e-5 * slope_size, 0.0);
  }
  poei_graph_destroy(plain.graph);
  poei_net_release(net);
  poei_net_release(net_single);
  free(x);
  free(dx);
  free(dx_single);
  free(y);
  free(dy);
  free(naive);
  free(y_single);
  free(slope);
}

static void test_all(void **state) {
  (void)state;
  for (size_t i = 0; i < CASES; i++) {
    print_message("%s\n", cases[i].name);
    for (size_t n = 1; n <= ROWS; n = n < 5 ? n + 1 : n + 8) { /* 1 2 3 4 5 13 */
      check_case(&cases[i], n);
    }
  }
}

/* ---- dependences ---- */

/* Whether a case hides dependences from the eye: units that are off, maxima that another number holds. */
static bool hides(const char *name) {
  return strstr(name, "relu") != NULL || strstr(name, "pool") != NULL;
}

/* An output that moves with an input must be said to depend on it; over several points the opposite holds as well. */
static void check_dependence(const network_case *c) {
  enum { POINTS = 3 };
  net_build b = net_build_start(POEI_FLOAT64, c->ndim, c->shape);
  c->build(&b);
  poe_error error = {0};
  size_t in = b.graph->nodes[0].shape.count, out = b.graph->nodes[b.graph->n_nodes - 1].shape.count;
  size_t words = poei_dependence_words(in);
  uint64_t *needs = calloc(out * words, sizeof *needs);
  unsigned char *moved = calloc(out * in, 1);
  double *x = malloc(in * sizeof *x), *y = malloc(out * sizeof *y), *other = malloc(out * sizeof *other);
  check_ok(poei_dependence_find(b.graph, needs, &error), error);
  for (uint32_t point = 0; point < POINTS; point++) {
    net_numbers(10 + point, in, x);
    net_naive(b.graph, x, y);
    for (size_t i = 0; i < in; i++) {
      double kept = x[i];
      x[i] = -kept + 0.7;
      net_naive(b.graph, x, other);
      x[i] = kept;
      for (size_t o = 0; o < out; o++) {
        moved[o * in + i] |= y[o] != other[o];
      }
    }
  }
  for (size_t o = 0; o < out; o++) {
    for (size_t i = 0; i < in; i++) {
      bool said = (needs[o * words + i / 64] >> i % 64 & 1) != 0;
      if (said != (moved[o * in + i] != 0) && (!said || !hides(c->name))) {
        fail_msg("%s: output %zu, input %zu: said %d, moved %d", c->name, o, i, said, moved[o * in + i]);
      }
    }
  }
  poei_graph_destroy(b.graph);
  free(needs);
  free(moved);
  free(x);
  free(y);
  free(other);
}

static void test_dependence(void **state) {
  (void)state;
  for (size_t i = 0; i < CASES; i++) {
    check_dependence(&cases[i]);
  }
}

/* Weights that are 0 cut: two outputs of which each sees the inputs before it can be put in order, one that sees itself
 * cannot. */
static void test_levels(void **state) {
  (void)state;
  static const double allowed[9] = {0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0}; /* 0, then 2, then 1 */
  static const size_t owner[3] = {0, 1, 2};
  for (int cycle = 0; cycle < 2; cycle++) {
    net_build b = net_build_start(POEI_FLOAT64, 1, (size_t[]){3});
    net_build_linear(&b, 0, 3, true);
    double *w = b.graph->weights[0].data;
    for (size_t i = 0; i < 9; i++) {
      w[i] = allowed[i];
    }
    w[1] = cycle ? 0.5 : 0.0; /* coordinate 0 from coordinate 1, which comes from 0 */
    size_t levels[3];
    poe_error error = {0};
    poe_status status = poei_dependence_levels(b.graph, owner, levels, &error);
    if (cycle) {
      check_fails(status, POE_E_FORMAT, error, "parameters of coordinate 0 depend on coordinate 1");
    } else {
      check_ok(status, error);
      assert_int_equal(levels[0], 0);
      assert_int_equal(levels[1], 2);
      assert_int_equal(levels[2], 1);
    }
    poei_graph_destroy(b.graph);
  }
}

/* The maximum's gradient goes to the first of equals, and a NaN in a window is seen. */
static void test_max_pool_ties(void **state) {
  (void)state;
  net_build b = net_build_start(POEI_FLOAT32, 3, (size_t[]){1, 2, 2});
  net_build_pool(&b, 0, true, 2);
  poei_net *net = net_build_finish(&b);
  double x[8] = {1.0, 2.0, 2.0, 0.0, 3.0, NAN, 5.0, 1.0}, y[2], dy[2] = {1.0, 1.0}, dx[8];
  evaluate(net, 2, x, y, dy, dx);
  check_close(y[0], 2.0, 0.0, 0.0);
  assert_true(isnan(y[1]));
  const double expected[4] = {0.0, 1.0, 0.0, 0.0};
  check_same_bits(dx, expected, 4);
  poei_net_release(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_all), cmocka_unit_test(test_max_pool_ties),
                                     cmocka_unit_test(test_dependence), cmocka_unit_test(test_levels)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
