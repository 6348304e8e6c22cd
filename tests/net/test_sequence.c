/* Walks through networks over sequences: position by position they give what the whole network gives, whatever the
 * number of rows, with a state that can be copied; networks whose output sees its own position have no walk. */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "tests/net/net_build.h"
#include "tests/support/check.h"

typedef void builder(net_build *build);

static poei_value head(net_build *b, poei_value h) {
  h = net_build_activation(b, net_build_linear_last(b, net_build_layer_norm(b, h, 1), 6, true), POEI_SILU);
  return net_build_linear_last(b, h, 3, true);
}

static void build_gru(net_build *b) {
  poei_value h = net_build_recurrent(b, net_build_shift(b, 0, false), POEI_OP_GRU, 7, true, true);
  head(b, net_build_recurrent(b, h, POEI_OP_GRU, 5, true, false));
}
static void build_lstm(net_build *b) { /* one layer before the shift, one behind it, a sum around the latter */
  poei_value h = net_build_recurrent(b, 0, POEI_OP_LSTM, 7, true, true);
  h = net_build_shift(b, h, true);
  head(b, net_build_add(b, h, net_build_recurrent(b, h, POEI_OP_LSTM, 7, true, true)));
}
static void build_nade(net_build *b) {
  net_build_nade(b, net_build_affine(b, 0, 2.0, -1.0), 9, 2, POEI_SIGMOID);
}
static void build_wide(net_build *b) { /* beyond the kernels for few rows, no double head */
  net_build_recurrent(b, net_build_shift(b, 0, false), POEI_OP_GRU, 16, true, true);
}

static const struct {
  const char *name;
  builder *build;
  size_t ndim, shape[2], positions;
} walks[] = {
    {"gru", build_gru, 2, {6, 3}, 6},
    {"lstm", build_lstm, 2, {5, 2}, 5},
    {"nade", build_nade, 1, {8}, 8},
    {"wide", build_wide, 1, {9}, 9},
};

enum { WALKS = sizeof walks / sizeof *walks, MOST_ROWS = 40 };

static poei_net *build(builder *of, size_t ndim, const size_t *shape, poei_precision precision) {
  net_build b = net_build_start(precision, ndim, shape);
  of(&b);
  return net_build_finish(&b);
}

static void *state_of(const poei_net *net, size_t n) {
  size_t bytes = (poei_net_state(net, n) + 64) / 64 * 64;
  void *state = aligned_alloc(64, bytes);
  assert_non_null(state);
  memset(state, 0, bytes);
  return state;
}

/* y[n, out] of x[n, in], position by position from `first` on, with exactly the declared scratch. */
static void walk(const poei_net *net, bool steady, size_t n, size_t first, const double *x, double *y, void *state) {
  size_t in = poei_net_in_dim(net), out = poei_net_out_dim(net), positions = poei_net_positions(net);
  poe_scratch *scratch = poe_scratch_create(poei_net_step_scratch(net, n));
  uint64_t allocations = poei_alloc_count();
  for (size_t t = first; t < positions; t++) {
    const double *before = t == 0 ? NULL : x + (t - 1) * (in / positions);
    poei_net_step(net, steady, n, t, before, in, y + t * (out / positions), out, state, scratch);
  }
  assert_int_equal(poei_alloc_count(), allocations);
  poe_scratch_destroy(scratch);
}

static void check_walk(size_t w, size_t n, poei_precision precision) {
  poei_net *net = build(walks[w].build, walks[w].ndim, walks[w].shape, precision);
  size_t in = poei_net_in_dim(net), out = poei_net_out_dim(net), half = walks[w].positions / 2;
  assert_int_equal(poei_net_positions(net), walks[w].positions);
  double *x = malloc(n * in * sizeof *x), *y = malloc(n * out * sizeof *y), *whole = malloc(n * out * sizeof *y);
  double *alone = malloc(out * sizeof *alone), *forked = malloc(n * out * sizeof *forked);
  net_numbers(5, n * in, x);
  poe_scratch *scratch = poe_scratch_create(poei_net_scratch(net, POE_WANT_LOGP, n));
  poei_net_eval(net, (poe_rows){n, in, in, x}, whole, out, scratch);
  poe_scratch_destroy(scratch);
  void *state = state_of(net, n), *copy = state_of(net, n), *one = state_of(net, 1);
  for (int steady = 0; steady < 2; steady++) {
    memset(state, 0, poei_net_state(net, n));
    walk(net, steady, n, 0, x, y, state);
    for (size_t i = 0; i < n * out; i++) {
      check_close(y[i], whole[i], precision == POEI_FLOAT64 ? 1e-13 : 1e-5, 0.0);
    }
  }
  walk(net, true, 1, 0, x + (n - 1) * in, alone, one); /* the last row by itself: the same bits */
  assert_memory_equal(alone, y + (n - 1) * out, out * sizeof *alone);
  /* a state copied in the middle goes on as if nothing had happened, whatever became of the other */
  memset(state, 0, poei_net_state(net, n));
  scratch = poe_scratch_create(poei_net_step_scratch(net, n));
  for (size_t t = 0; t < half; t++) {
    const double *before = t == 0 ? NULL : x + (t - 1) * (in / walks[w].positions);
    poei_net_step(net, true, n, t, before, in, forked + t * (out / walks[w].positions), out, state, scratch);
  }
  memcpy(copy, state, poei_net_state(net, n));
  poei_net_step(net, true, n, half, x, in, alone, 0, state, scratch);
  poe_scratch_destroy(scratch);
  walk(net, true, n, half, x, forked, copy);
  assert_memory_equal(forked, y, n * out * sizeof *y);
  free(state);
  free(copy);
  free(one);
  free(x);
  free(y);
  free(whole);
  free(alone);
  free(forked);
  poei_net_release(net);
}

static void test_walks(void **state) {
  (void)state;
  for (size_t w = 0; w < WALKS; w++) {
    print_message("%s\n", walks[w].name);
    for (size_t n = 1; n <= MOST_ROWS; n = n < 5 ? n + 1 : 8 * n) { /* 1 2 3 4 5 40 */
      check_walk(w, n, POEI_FLOAT64);
      check_walk(w, n, POEI_FLOAT32);
    }
  }
}

/* ---- what has no walk ---- */

static void build_without_shift(net_build *b) {
  net_build_recurrent(b, 0, POEI_OP_GRU, 4, true, true);
}
static void build_around(net_build *b) { /* the input joins behind the shift */
  poei_value h = net_build_recurrent(b, net_build_shift(b, 0, false), POEI_OP_GRU, 3, true, true);
  net_build_add(b, h, 0);
}
static void build_across(net_build *b) { /* a layer over all positions */
  net_build_linear(b, net_build_shift(b, 0, false), 12, true);
}
static void build_twice(net_build *b) { /* positions two behind */
  net_build_shift(b, net_build_shift(b, 0, false), false);
}
static void build_two_lengths(net_build *b) {
  poei_value h = net_build_shift(b, 0, false);
  net_build_shift(b, net_build_reshape(b, h, 2, (size_t[]){2, 6}), false);
}
static void build_plain(net_build *b) {
  net_build_linear(b, 0, 12, true);
}

static void test_none(void **state) {
  (void)state;
  builder *const none[] = {build_without_shift, build_around,      build_across,
                           build_twice,         build_two_lengths, build_plain};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    poei_net *net = build(none[i], 2, (size_t[]){4, 3}, POEI_FLOAT64);
    assert_int_equal(poei_net_positions(net), 0);
    poei_net_release(net);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_walks), cmocka_unit_test(test_none)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
