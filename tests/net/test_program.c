/* The compiled program: memory plan, allocation, position of rows, accumulation, scaling of seeds, costs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "net/simd.h"
#include "tests/net/net_build.h"
#include "tests/support/check.h"

enum { IN = 30, OUT = 1, WIDE = 70 };

static poei_net *mlp(poei_precision precision, size_t out) {
  net_build b = net_build_start(precision, 1, (size_t[]){IN});
  poei_value h = net_build_activation(&b, net_build_linear(&b, 0, WIDE, true), POEI_SILU);
  h = net_build_activation(&b, net_build_linear(&b, h, WIDE, true), POEI_TANH);
  net_build_linear(&b, h, out, true);
  return net_build_finish(&b);
}

static poei_net *cnn(poei_precision precision) {
  net_build b = net_build_start(precision, 3, (size_t[]){1, 6, 5});
  poei_value h = net_build_activation(&b, net_build_conv(&b, 0, 4, 3, 3, 1, 1, true), POEI_GELU);
  h = net_build_activation(&b, net_build_conv(&b, h, 4, 3, 3, 2, 1, true), POEI_SILU);
  net_build_linear(&b, h, 1, true);
  return net_build_finish(&b);
}

/* pull: dy = the context's seeds. */
static poe_status pull_seeds(void *context, poe_rows y, double *dy, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  memcpy(dy, context, y.n * y.d * sizeof *dy);
  return POE_OK;
}

static void gradient(const poei_net *net, size_t n, size_t ld, const double *x, double *seeds, double *dx, size_t ldx,
                     poe_scratch *scratch) {
  poe_error error = {0};
  check_ok(poei_net_eval_vjp(net, (poe_rows){n, IN, ld, x}, pull_seeds, seeds, dx, ldx, scratch, &error), error);
}

/* A row's bits depend on the row and the number of rows, not on its place. */
static void check_places(const poei_net *net, size_t n) {
  double x[64 * IN], moved[64 * IN], y[64], y_moved[64], dx[64 * IN] = {0}, dx_moved[64 * IN] = {0}, seeds[64],
                                                                 seeds_moved[64];
  poe_scratch *scratch = poe_scratch_create(poei_net_scratch(net, POE_WANT_GRAD, n));
  net_numbers(1, n * IN, x);
  net_numbers(2, n, seeds);
  for (size_t r = 0; r < n; r++) { /* 5 is prime to the sizes used */
    memcpy(moved + (5 * r + 3) % n * IN, x + r * IN, IN * sizeof *x);
    seeds_moved[(5 * r + 3) % n] = seeds[r];
  }
  poei_net_eval(net, (poe_rows){n, IN, IN, x}, y, 1, scratch);
  poei_net_eval(net, (poe_rows){n, IN, IN, moved}, y_moved, 1, scratch);
  gradient(net, n, IN, x, seeds, dx, IN, scratch);
  gradient(net, n, IN, moved, seeds_moved, dx_moved, IN, scratch);
  for (size_t r = 0; r < n; r++) {
    check_same_bits(&y[r], &y_moved[(5 * r + 3) % n], 1);
    check_same_bits(&dx[r * IN], &dx_moved[(5 * r + 3) % n * IN], IN);
  }
  poe_scratch_destroy(scratch);
}

static void test_places(void **state) {
  (void)state;
  for (int precision = 0; precision < 2; precision++) {
    poei_net *nets[2] = {mlp((poei_precision)precision, OUT), cnn((poei_precision)precision)};
    for (int i = 0; i < 2; i++) {
      check_places(nets[i], 1);
      check_places(nets[i], 4);
      check_places(nets[i], 7);
      check_places(nets[i], 8);
      check_places(nets[i], 16);
      check_places(nets[i], 32);
      check_places(nets[i], 64);
      poei_net_release(nets[i]);
    }
  }
}

/* Values at different tile shapes agree to rounding. */
static void test_tiles(void **state) {
  (void)state;
  for (int precision = 0; precision < 2; precision++) {
    poei_net *net = mlp((poei_precision)precision, OUT);
    double x[64 * IN], y[64], one, tolerance = precision == 0 ? 1e-6 : 1e-12;
    poe_scratch *scratch = poe_scratch_create(poei_net_scratch(net, POE_WANT_LOGP, 64));
    net_numbers(1, 64 * IN, x);
    poei_net_eval(net, (poe_rows){64, IN, IN, x}, y, 1, scratch);
    for (size_t r = 0; r < 64; r++) {
      poei_net_eval(net, (poe_rows){1, IN, IN, x + r * IN}, &one, 1, scratch);
      check_close(one, y[r], tolerance, tolerance);
    }
    poe_scratch_destroy(scratch);
    poei_net_release(net);
  }
}

/* Every instruction set gives the same numbers to rounding, for few rows and many. */
static void test_instruction_sets(void **state) {
  (void)state;
  static const size_t rows[] = {1, 2, 3, 64};
  for (int precision = 0; precision < 2; precision++) {
    poei_net *net = mlp((poei_precision)precision, OUT);
    double x[64 * IN], seeds[64], tolerance = precision == 0 ? 2e-6 : 1e-13;
    poe_scratch *scratch = poe_scratch_create(poei_net_scratch(net, POE_WANT_GRAD, 64));
    net_numbers(1, 64 * IN, x);
    net_numbers(2, 64, seeds);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
      double y[2][64], dx[2][64 * IN] = {{0}};
      for (int level = 0; level < POEI_SIMD_COUNT; level++) {
        int slot = level == 0 ? 0 : 1;
        poei_simd_limit((poei_simd)level);
        memset(dx[slot], 0, sizeof dx[slot]);
        poei_net_eval(net, (poe_rows){rows[k], IN, IN, x}, y[slot], 1, scratch);
        gradient(net, rows[k], IN, x, seeds, dx[slot], IN, scratch);
        for (size_t i = 0; slot == 1 && i < rows[k]; i++) {
          check_close(y[1][i], y[0][i], tolerance, tolerance);
        }
        for (size_t i = 0; slot == 1 && i < rows[k] * IN; i++) {
          check_close(dx[1][i], dx[0][i], tolerance, tolerance);
        }
      }
    }
    poei_simd_limit(POEI_SIMD_COUNT - 1);
    poe_scratch_destroy(scratch);
    poei_net_release(net);
  }
}

/* Nothing is allocated, no more scratch is used than declared, and all of it is given back. */
static void test_memory(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++) {
    poei_net *net = i == 2 ? cnn(POEI_FLOAT32) : mlp(POEI_FLOAT32, i == 0 ? OUT : WIDE);
    size_t out = poei_net_out_dim(net);
    double *x = calloc(64 * IN, sizeof *x), *y = calloc(64 * WIDE, sizeof *y), *dx = calloc(64 * IN, sizeof *dx);
    for (size_t n = 1; n <= 64; n *= 8) {
      for (unsigned want = 0; want < 2; want++) {
        size_t declared = poei_net_scratch(net, want == 0 ? POE_WANT_LOGP : POE_WANT_GRAD, n);
        poe_scratch *scratch = poe_scratch_create(declared);
        uint64_t before = poei_alloc_count();
        if (want == 0) {
          poei_net_eval(net, (poe_rows){n, IN, IN, x}, y, out, scratch);
        } else {
          gradient(net, n, IN, x, y, dx, IN, scratch);
        }
        assert_int_equal(poei_alloc_count(), before);
        assert_true(poe_scratch_high_water(scratch) <= declared);
        assert_int_equal(poe_scratch_mark(scratch), 0);
        poe_scratch_destroy(scratch);
      }
    }
    free(x);
    free(y);
    free(dx);
    poei_net_release(net);
  }
}

/* Buffers that live at the same time do not overlap, by a simulation of the evaluation's own order; and a deep network
 * forwards needs two of them, not one per layer. */
static void check_plan(const poei_net *net, bool backwards) {
  const poei_plan *plan = &net->plan[backwards ? 1 : 0];
  size_t *owner = malloc(plan->per_row * sizeof *owner); /* what was last written where */
#define PLACE(step, kind, count, id, check)                                                                            \
  for (size_t q = 0; plan->offset[step][kind] != POEI_NO_BUFFER && q < (count); q++) {                                 \
    size_t *cell = &owner[plan->offset[step][kind] + q];                                                               \
    if (check) {                                                                                                       \
      assert_int_equal(*cell, id);                                                                                     \
    }                                                                                                                  \
    *cell = (id);                                                                                                      \
  }
  const poei_graph *graph = net->graph;
  for (size_t k = 0; k < net->n_steps; k++) {
    const poei_node *node = &graph->nodes[net->node[k]];
    size_t tape = poei_op_records[node->op]->tape == NULL ? 0 : poei_op_records[node->op]->tape(graph, node);
    if (backwards) {
      PLACE(k, POEI_BUFFER_TAPE, tape, 3 * k + 1, false)
    }
    PLACE(k, POEI_BUFFER_VALUE, node->shape.count, 3 * k, false)
    for (size_t i = 0; i < node->n_inputs; i++) { /* inputs were still there after the output was written */
      size_t from = (size_t)net->step[node->inputs[i]];
      PLACE(from, POEI_BUFFER_VALUE, graph->nodes[node->inputs[i]].shape.count, 3 * from, true)
    }
  }
  size_t last = net->n_steps - 1;
  PLACE(last, POEI_BUFFER_VALUE, graph->nodes[net->node[last]].shape.count, 3 * last, true)
  if (backwards) {
    PLACE(last, POEI_BUFFER_GRAD, graph->nodes[net->node[last]].shape.count, 3 * last + 2, false)
    for (size_t k = net->n_steps; k-- > 1;) {
      const poei_node *node = &graph->nodes[net->node[k]];
      size_t tape = poei_op_records[node->op]->tape == NULL ? 0 : poei_op_records[node->op]->tape(graph, node);
      for (size_t i = 0; i < node->n_inputs; i++) {
        size_t from = (size_t)net->step[node->inputs[i]];
        bool first = net->last_reader[from] == k && (i == 0 || node->inputs[0] != node->inputs[1]);
        PLACE(from, POEI_BUFFER_GRAD, graph->nodes[node->inputs[i]].shape.count, 3 * from + 2, !first)
      }
      PLACE(k, POEI_BUFFER_TAPE, tape, 3 * k + 1, true)
      PLACE(k, POEI_BUFFER_GRAD, node->shape.count, 3 * k + 2, true)
    }
    PLACE(0, POEI_BUFFER_GRAD, graph->nodes[0].shape.count, 2, true)
  }
#undef PLACE
  free(owner);
}

static void test_plan(void **state) {
  (void)state;
  net_build b = net_build_start(POEI_FLOAT32, 1, (size_t[]){64});
  poei_value h = 0;
  for (int i = 0; i < 12; i++) {
    h = net_build_activation(&b, net_build_linear(&b, h, 64, true), POEI_RELU);
  }
  poei_net *net = net_build_finish(&b);
  assert_int_equal(net->plan[0].per_row, 2 * 64);
  assert_int_equal(net->n_steps, 13);           /* activations are fused */
  assert_true(net->plan[1].per_row <= 15 * 64); /* 12 tapes, and two at a time of the rest */
  check_plan(net, false);
  check_plan(net, true);
  poei_net_release(net);
  b = net_build_start(POEI_FLOAT32, 1, (size_t[]){48}); /* shared values */
  h = net_build_linear(&b, 0, 48, true);
  for (int i = 0; i < 5; i++) {
    poei_value f = net_build_activation(&b, net_build_linear(&b, h, 16, true), POEI_TANH);
    h = net_build_add(&b, h, net_build_linear(&b, net_build_layer_norm(&b, f, 1), 48, false));
  }
  net_build_add(&b, 0, h);
  net = net_build_finish(&b);
  check_plan(net, false);
  check_plan(net, true);
  poei_net_release(net);
}

/* Gradients are added to what is there; padding columns are not touched; a strided input is read right. */
static void test_accumulation(void **state) {
  (void)state;
  enum { N = 9, LD = IN + 3, LDX = IN + 2 };
  poei_net *net = mlp(POEI_FLOAT64, OUT);
  double x[N * IN], wide[N * LD], dx[N * IN] = {0}, junk[N * LDX], seeds[N], y[N], y_wide[2 * N];
  poe_scratch *scratch = poe_scratch_create(poei_net_scratch(net, POE_WANT_GRAD, N));
  net_numbers(1, N * IN, x);
  net_numbers(2, N, seeds);
  for (size_t r = 0; r < N; r++) {
    memcpy(wide + r * LD, x + r * IN, IN * sizeof *x);
    wide[r * LD + IN] = wide[r * LD + IN + 1] = wide[r * LD + IN + 2] = NAN;
  }
  for (size_t i = 0; i < N * LDX; i++) {
    junk[i] = (double)i;
  }
  for (size_t i = 0; i < 2 * N; i++) {
    y_wide[i] = 77.0;
  }
  gradient(net, N, IN, x, seeds, dx, IN, scratch);
  gradient(net, N, LD, wide, seeds, junk, LDX, scratch);
  poei_net_eval(net, (poe_rows){N, IN, IN, x}, y, 1, scratch);
  poei_net_eval(net, (poe_rows){N, IN, LD, wide}, y_wide, 2, scratch);
  for (size_t r = 0; r < N; r++) {
    for (size_t i = 0; i < LDX; i++) {
      double base = (double)(r * LDX + i);
      check_close(junk[r * LDX + i], i < IN ? base + dx[r * IN + i] : base, 1e-12, 0.0);
    }
    check_same_bits(&y_wide[2 * r], &y[r], 1);
    check_close(y_wide[2 * r + 1], 77.0, 0.0, 0.0);
  }
  poe_scratch_destroy(scratch);
  poei_net_release(net);
}

/* Seeds far outside the range of single precision scale the gradient exactly; a zero seed adds nothing even where the
 * network's numbers are not finite. */
static void test_seeds(void **state) {
  (void)state;
  poei_net *net = mlp(POEI_FLOAT32, OUT);
  double x[3 * IN], one[3 * IN] = {0}, small[3 * IN] = {0}, seeds[3] = {1.0, 1.0, 1.0};
  poe_scratch *scratch = poe_scratch_create(poei_net_scratch(net, POE_WANT_GRAD, 3));
  net_numbers(1, 3 * IN, x);
  gradient(net, 3, IN, x, seeds, one, IN, scratch);
  seeds[0] = 1e-200;
  seeds[1] = -3e200;
  seeds[2] = 0.0;
  for (size_t i = 0; i < IN; i++) {
    x[2 * IN + i] = i % 2 == 0 ? INFINITY : NAN;
  }
  gradient(net, 3, IN, x, seeds, small, IN, scratch);
  for (size_t i = 0; i < IN; i++) {
    check_close(small[i], 1e-200 * one[i], 0.0, 1e-15);
    check_close(small[IN + i], -3e200 * one[IN + i], 0.0, 1e-15);
    check_close(small[2 * IN + i], 0.0, 0.0, 0.0);
  }
  poe_scratch_destroy(scratch);
  poei_net_release(net);
}

/* An energy's sum is rounded in double: with single weights the output has more digits than a float. */
static void test_head(void **state) {
  (void)state;
  net_build b = net_build_start(POEI_FLOAT32, 1, (size_t[]){2});
  net_build_linear(&b, 0, 1, false);
  poei_net *net = net_build_finish(&b);
  float *w = net->graph->weights[0].data;
  w[0] = 16777216.0f;
  w[1] = 1.0f;
  double x[2] = {1.0, 1.0}, y;
  poe_scratch *scratch = poe_scratch_create(poei_net_scratch(net, POE_WANT_LOGP, 1));
  poei_net_eval(net, (poe_rows){1, 2, 2, x}, &y, 1, scratch);
  check_close(y, 16777217.0, 0.0, 0.0);
  poe_scratch_destroy(scratch);
  poei_net_release(net);
}

static void test_costs(void **state) {
  (void)state;
  poei_net *net = mlp(POEI_FLOAT32, OUT);
  assert_int_equal(poei_net_parameters(net), IN * WIDE + WIDE + WIDE * WIDE + WIDE + WIDE + 1);
  check_close(poei_net_flops(net), 2.0 * (IN * WIDE + WIDE * WIDE + WIDE), 0.0, 0.0);
  poei_gemm_shape shapes[8];
  assert_int_equal(poei_net_gemms(net, POE_WANT_LOGP, 64, shapes, 8), 3);
  assert_int_equal(poei_net_gemms(net, POE_WANT_GRAD, 64, shapes, 8), 6);
  assert_true(shapes[0].transposed_b && shapes[0].m == 64 && shapes[0].n == WIDE && shapes[0].k == IN);
  assert_true(!shapes[5].transposed_b && shapes[5].m == 64 && shapes[5].n == IN && shapes[5].k == WIDE);
  double seconds, flops;
  poe_error error = {0};
  check_ok(poei_net_time_gemms(net, POE_WANT_GRAD, 64, 3, &seconds, &flops, &error), error);
  assert_true(seconds > 0.0);
  check_close(flops, 2.0 * 64.0 * poei_net_flops(net), 0.0, 0.0);
  poei_net_release(net);
}

/* A graph that makes no sense is refused when it is built or compiled, not evaluated. */
static void test_refusals(void **state) {
  (void)state;
  poe_error error = {0};
  net_build b = net_build_start(POEI_FLOAT32, 1, (size_t[]){4});
  poei_value value;
  poei_node second_input = {.op = POEI_OP_INPUT};
  check_fails(poei_graph_add(b.graph, &second_input, &value, &error), POE_E_FORMAT, error, "does not fit");
  poei_node ahead = {.op = POEI_OP_AFFINE, .n_inputs = 1, .inputs = {5}};
  check_fails(poei_graph_add(b.graph, &ahead, &value, &error), POE_E_FORMAT, error, "no input");
  poei_node weightless = {.op = POEI_OP_LINEAR, .n_inputs = 1, .n_weights = 1, .weights = {-1}};
  check_fails(poei_graph_add(b.graph, &weightless, &value, &error), POE_E_FORMAT, error, "no weight");
  net_build_linear(&b, 0, 3, true);
  net_build_linear(&b, 0, 3, true);
  poei_net *net;
  check_fails(poei_net_compile(b.graph, &net, &error), POE_E_FORMAT, error, "nothing uses");
  poei_graph_destroy(b.graph);
  poei_shape shape;
  check_fails(poei_shape_make(3, (size_t[]){SIZE_MAX, 3, 2}, &shape, &error), POE_E_SHAPE, error, "holds more");
  check_fails(poei_shape_make(2, (size_t[]){4, 0}, &shape, &error), POE_E_SHAPE, error, "empty");
}

/* Every allocation of building and compiling failing in turn: an error, no leak, nothing half-made. */
static void test_allocation_failures(void **state) {
  (void)state;
  for (uint64_t at = 1;; at++) {
    poe_error error = {0};
    poei_graph *graph = NULL;
    poei_net *net = NULL;
    poei_value value;
    int32_t index[2] = {-1, -1};
    void *data;
    poei_node input = {.op = POEI_OP_INPUT};
    input.attributes.shape.ndim = 1;
    input.attributes.shape.size[0] = 2;
    poei_alloc_fail_at(at);
    poe_status status = poei_graph_create(POEI_FLOAT32, &graph, &error);
    status = status != POE_OK ? status : poei_graph_add(graph, &input, &value, &error);
    status = status != POE_OK ? status : poei_graph_weight(graph, "w", 2, (size_t[]){3, 2}, index, &data, &error);
    poei_node linear = {.op = POEI_OP_LINEAR, .n_inputs = 1, .n_weights = 1, .weights = {index[0]}};
    status = status != POE_OK ? status : poei_graph_add(graph, &linear, &value, &error);
    status = status != POE_OK ? status : poei_net_compile(graph, &net, &error);
    poei_alloc_fail_at(0);
    if (status == POE_OK) {
      poei_net_release(net);
      assert_true(at > 8);
      break;
    }
    assert_int_equal(status, POE_E_MEMORY);
    assert_null(net);
    poei_graph_destroy(graph);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_places),
      cmocka_unit_test(test_tiles),
      cmocka_unit_test(test_instruction_sets),
      cmocka_unit_test(test_memory),
      cmocka_unit_test(test_plan),
      cmocka_unit_test(test_accumulation),
      cmocka_unit_test(test_seeds),
      cmocka_unit_test(test_head),
      cmocka_unit_test(test_costs),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_allocation_failures),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
