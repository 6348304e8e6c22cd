/* The junction tree at its limits: the width of orders, the bytes held, messages that are made again because they do
 * not fit, refusals, failing memory. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "tests/compose/fields.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static const size_t no_limit = (size_t)1 << 30;

/* ---- orders ---- */

static size_t place_of(size_t i, size_t n) { /* a permutation of 0 .. n - 1, n prime */
  return (i * 7919 + 3) % n;
}

/* Random k-trees: each new vertex is joined to a clique of k. Min-fill finds their treewidth, which is k. */
static void k_trees(void **state) {
  (void)state;
  enum { N = 499 };
  for (size_t k = 1; k <= 5; k++) {
    poe_stream stream = poe_stream_open(poe_rng_seed(k));
    poei_field *graph = NULL;
    poe_error error = {0};
    size_t variable, table, clique[N][5];
    check_ok(poei_field_create(&graph, &error), error);
    check_ok(poei_field_table(graph, 4, (double[]){0.1, -0.3, 0.2, 0.0}, &table, &error), error);
    for (size_t i = 0; i < N; i++) {
      check_ok(poei_field_variable(graph, 2, &variable, &error), error);
    }
    for (size_t i = 0; i < N; i++) {
      size_t from = i > k ? k + below(&stream, i - k) : 0;
      for (size_t j = 0; j < (i < k ? i : k); j++) { /* clique[i]: k vertices that are joined to each other, i last */
        size_t other = i <= k ? j : clique[from][j];
        check_ok(poei_field_factor(graph, 2, (size_t[]){place_of(i, N), place_of(other, N)}, table, &error), error);
        clique[i][j] = other;
      }
      if (i >= k) {
        clique[i][below(&stream, k)] = i;
      }
    }
    poei_junction *junction = junction_of(graph, POEI_JUNCTION_LOG_Z, NULL);
    assert_int_equal(poei_junction_size_of(junction).width, k);
    poei_junction_destroy(junction);
    poei_field_destroy(graph);
  }
}

/* Bytes held: a star's hub waits for all its leaves but one; along a chain one message is alive while the next is made.
 */
static void bytes_held(void **state) {
  (void)state;
  enum { LEAVES = 10, VALUES = 100 };
  for (int kind = 0; kind < 2; kind++) {
    poei_field *graph = NULL;
    poe_error error = {0};
    size_t variable, table;
    double *value = poet_doubles(VALUES * VALUES);
    check_ok(poei_field_create(&graph, &error), error);
    check_ok(poei_field_table(graph, VALUES * VALUES, value, &table, &error), error);
    for (size_t i = 0; i <= LEAVES; i++) {
      check_ok(poei_field_variable(graph, VALUES, &variable, &error), error);
      if (i > 0) {
        check_ok(poei_field_factor(graph, 2, (size_t[]){kind == 0 ? 0 : i - 1, i}, table, &error), error);
      }
    }
    poei_junction *junction = junction_of(graph, POEI_JUNCTION_LOG_Z, NULL);
    double message = 8.0 * VALUES;
    check_close(poei_junction_size_of(junction).bytes, kind == 0 ? LEAVES * message : 2.0 * message, 0.0, 1e-9);
    check_close(poei_junction_log_z(junction), (LEAVES + 1) * log(VALUES), 1e-11, 0.0);
    poei_junction_destroy(junction);
    junction = junction_of(graph, POEI_JUNCTION_DRAWS, NULL);
    check_close(poei_junction_size_of(junction).bytes, LEAVES * message + 8.0, 0.0, 1e-9);
    poei_junction_destroy(junction);
    poei_field_destroy(graph);
    free(value);
  }
}

/* ---- not all messages held ---- */

/* The same marginals, best values and draws whether messages are held or made again. */
static void same_within(const poei_field *graph, size_t limit) {
  enum { K = 12, N = 50 };
  size_t n = poei_field_variables(graph), values = poei_field_values(graph), found[2], x[2][K * 72];
  poei_junction *junction[2];
  double *p[2], best[2][K];
  poe_error error = {0};
  for (int i = 0; i < 2; i++) {
    junction[i] = junction_within(graph, POEI_JUNCTION_DRAWS, i == 0 ? no_limit : limit, NULL);
    assert_int_equal(poei_junction_is_kept(junction[i]), i == 0);
    p[i] = poet_doubles(values);
    check_ok(poei_junction_marginals(junction[i], p[i], &error), error);
  }
  assert_true(poei_junction_size_of(junction[1]).bytes <= (double)limit);
  check_close(poei_junction_log_z(junction[1]), poei_junction_log_z(junction[0]), 1e-12, 1e-14);
  for (size_t i = 0; i < values; i++) {
    check_close(p[1][i], p[0][i], 1e-12, 1e-11);
  }
  poe_rng at[N];
  size_t *drawn = calloc(N * n, sizeof *drawn), one[72];
  poe_scratch *scratch = poe_scratch_create(poei_junction_draw_scratch(junction[0]));
  for (uint32_t i = 0; i < N; i++) {
    at[i] = poe_rng_seed(limit);
    at[i].step = i;
  }
  check_ok(poei_junction_draws(junction[1], N, at, drawn, &error), error);
  for (size_t i = 0; i < N; i++) {
    poei_junction_draw(junction[0], at[i], one, scratch);
    assert_memory_equal(one, &drawn[i * n], n * sizeof *one);
  }
  for (int i = 0; i < 2; i++) {
    poei_junction_destroy(junction[i]);
    junction[i] = junction_within(graph, POEI_JUNCTION_BEST, i == 0 ? no_limit : limit, NULL);
    assert_int_equal(poei_junction_is_kept(junction[i]), i == 0);
    check_ok(poei_junction_best(junction[i], K, &found[i], x[i], best[i], &error), error);
    poei_junction_destroy(junction[i]);
    free(p[i]);
  }
  assert_int_equal(found[0], found[1]);
  for (size_t k = 0; k < found[0]; k++) {
    check_close(best[1][k], best[0][k], 1e-11, 1e-12);
    check_close(poei_field_log_value(graph, &x[1][k * n]), best[1][k], 1e-10, 1e-12);
  }
  free(drawn);
  poe_scratch_destroy(scratch);
}

/* Every limit from the least that is possible to one byte less than everything. */
static void within_limits(const poei_field *graph) {
  double all, least;
  size_t tried = 0;
  poei_junction *junction = junction_of(graph, POEI_JUNCTION_DRAWS, NULL);
  all = poei_junction_size_of(junction).bytes;
  poei_junction_destroy(junction);
  for (double limit = all - 1.0; limit > 8.0; limit *= 0.8) {
    poei_junction_options options = {POEI_JUNCTION_DRAWS, (size_t)limit, NULL};
    poe_error error = {0};
    check_ok(poei_junction_create(graph, &options, &junction, &error), error);
    least = poei_junction_size_of(junction).bytes;
    poe_status status = poei_junction_run(junction, &error);
    poei_junction_destroy(junction);
    if (status == POE_OK) {
      same_within(graph, (size_t)limit);
      tried++;
    } else {
      check_fails(status, POE_E_CAPABILITY, error, "of tables");
      assert_true(least > limit);
      break;
    }
  }
  assert_true(tried >= 3);
}

static void made_again(void **state) {
  (void)state;
  enum { ROWS = 12, COLUMNS = 6 };
  for (uint64_t seed = 1; seed <= 3; seed++) {
    poe_stream stream = poe_stream_open(poe_rng_seed(seed));
    poei_field *graph = NULL;
    poe_error error = {0};
    size_t variable;
    check_ok(poei_field_create(&graph, &error), error);
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
      check_ok(poei_field_variable(graph, seed == 2 && i % 5 == 0 ? 3 : 2, &variable, &error), error);
      for (size_t step = 1; step <= COLUMNS; step += COLUMNS - 1) {
        if (step == 1 ? i % COLUMNS > 0 : i >= COLUMNS) { /* one seed on logs, with zeros */
          size_t size = poei_field_cardinality(graph, i - step) * poei_field_cardinality(graph, i);
          double value[9];
          for (size_t a = 0; a < size; a++) {
            value[a] = (seed == 3 ? 300.0 : 1.0) * poe_stream_normal(&stream);
            value[a] = seed == 3 && a == 1 && i % 7 == 0 ? -INFINITY : value[a];
          }
          check_ok(poei_field_add(graph, 2, (size_t[]){i - step, i}, value, &error), error);
        }
      }
    }
    within_limits(graph);
    poei_field_destroy(graph);
  }
  static const shape shapes[] = {{24, 3, 30, 3, 1.0, 0.1, false, 0.0}, {24, 4, 22, 3, 3.0, 0.0, true, 0.0}};
  for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
    poei_field *graph = random_graph(&shapes[k], 31 + k);
    within_limits(graph);
    poei_field_destroy(graph);
  }
}

/* ---- refusals ---- */

static void refusals(void **state) {
  (void)state;
  poei_field *graph = NULL;
  poe_error error = {0};
  check_ok(poei_field_create(&graph, &error), error);
  size_t a, b, table;
  check_ok(poei_field_variable(graph, 2, &a, &error), error);
  check_ok(poei_field_variable(graph, 3, &b, &error), error);
  double value[6] = {0.0, 1.0, 2.0, 3.0, 4.0, NAN};
  check_fails(poei_field_add(graph, 2, (size_t[]){a, b}, value, &error), POE_E_NUMERIC, error, "nan");
  value[5] = INFINITY;
  check_fails(poei_field_add(graph, 2, (size_t[]){a, b}, value, &error), POE_E_NUMERIC, error, "inf");
  value[5] = 5.0;
  check_ok(poei_field_table(graph, 6, value, &table, &error), error);
  check_fails(poei_field_factor(graph, 1, &b, table, &error), POE_E_SHAPE, error, "6 numbers");
  check_fails(poei_field_factor(graph, 2, (size_t[]){a, a}, table, &error), POE_E_SHAPE, error, "twice");
  check_fails(poei_field_factor(graph, 2, (size_t[]){a, 9}, table, &error), POE_E_SHAPE, error, "variable 9");
  check_fails(poei_field_variable(graph, 0, &a, &error), POE_E_SHAPE, error, "0 values");
  poei_field_destroy(graph);
}

static void refused(const poei_field *graph, size_t least, size_t most, bool at_least, const char *part) {
  for (int goal = POEI_JUNCTION_LOG_Z; goal <= POEI_JUNCTION_BEST; goal++) {
    poei_junction *junction = NULL;
    poei_junction_options options = {(poei_junction_goal)goal, no_limit, NULL};
    poe_error error = {0};
    check_ok(poei_junction_create(graph, &options, &junction, &error), error);
    poei_junction_size size = poei_junction_size_of(junction);
    assert_in_range(size.width, least, most);
    assert_true(size.states >= exp2((double)least + 1.0) && size.bytes > (double)no_limit);
    assert_int_equal(size.at_least, at_least);
    check_fails(poei_junction_run(junction, &error), POE_E_CAPABILITY, error, part);
    poei_junction_destroy(junction);
  }
}

/* 40 variables all with each other: treewidth 39, as is seen without a search. A 32 x 32 grid: treewidth 32. */
static void too_wide(void **state) {
  (void)state;
  enum { SIDE = 32 };
  poei_field *graph = NULL;
  poe_error error = {0};
  size_t variable, table;
  double pair[4] = {0.1, 0.0, 0.0, 0.1};
  check_ok(poei_field_create(&graph, &error), error);
  check_ok(poei_field_table(graph, 4, pair, &table, &error), error);
  for (size_t i = 0; i < 40; i++) {
    check_ok(poei_field_variable(graph, 2, &variable, &error), error);
    for (size_t k = 0; k < i; k++) {
      check_ok(poei_field_factor(graph, 2, (size_t[]){k, i}, table, &error), error);
    }
  }
  refused(graph, 39, 39, true, "needs at least 4 TiB of tables, and 1 GiB are allowed: treewidth at least 39");
  poei_field_destroy(graph);
  check_ok(poei_field_create(&graph, &error), error);
  check_ok(poei_field_table(graph, 4, pair, &table, &error), error);
  for (size_t i = 0; i < SIDE * SIDE; i++) {
    check_ok(poei_field_variable(graph, 2, &variable, &error), error);
    for (size_t step = 1; step <= SIDE; step += SIDE - 1) {
      if (step == 1 ? i % SIDE > 0 : i >= SIDE) {
        check_ok(poei_field_factor(graph, 2, (size_t[]){i - step, i}, table, &error), error);
      }
    }
  }
  refused(graph, SIDE, SIDE + 4, false, "treewidth 3");
  poei_field_destroy(graph);
}

/* ---- memory ---- */

static poe_status everything(poei_field **graph, poei_junction **junction, poe_error *error) {
  static const double pair[6] = {0.5, -1.0, 0.3, -INFINITY, 0.0, 1.2};
  size_t x[6], found, variable[3], keep[2] = {2, 0};
  double p[7], log_value[3], table[6];
  poe_status status = poei_field_create(graph, error);
  for (size_t i = 0; i < 3 && status == POE_OK; i++) {
    status = poei_field_variable(*graph, i == 1 ? 3 : 2, &variable[i], error);
  }
  for (size_t i = 0; i < 2 && status == POE_OK; i++) {
    size_t scope[2] = {i == 0 ? variable[0] : variable[2], variable[1]};
    status = poei_field_add(*graph, 2, scope, pair, error);
  }
  for (int goal = POEI_JUNCTION_LOG_Z; goal <= POEI_JUNCTION_BEST && status == POE_OK; goal++) {
    poei_junction_destroy(*junction);
    *junction = NULL;
    poei_junction_options options = {(poei_junction_goal)goal, no_limit, NULL};
    status = poei_junction_create(*graph, &options, junction, error);
    status = status == POE_OK ? poei_junction_run(*junction, error) : status;
    if (status == POE_OK && goal == POEI_JUNCTION_DRAWS) {
      status = poei_junction_marginals(*junction, p, error);
      poe_rng at[2] = {poe_rng_seed(1), poe_rng_seed(2)};
      status = status == POE_OK ? poei_junction_draws(*junction, 2, at, x, error) : status;
    } else if (status == POE_OK && goal == POEI_JUNCTION_BEST) {
      status = poei_junction_best(*junction, 1, &found, x, log_value, error);
    }
  }
  status = status == POE_OK ? poei_field_project(*graph, no_limit, 2, keep, table, error) : status;
  poei_field *clamped = NULL;
  size_t value[3] = {POEI_FIELD_FREE, 2, POEI_FIELD_FREE};
  status = status == POE_OK ? poei_field_clamp(*graph, value, &clamped, error) : status;
  poei_field_destroy(clamped);
  return status;
}

static void failing_memory(void **state) {
  (void)state;
  poe_status status = POE_E_MEMORY;
  uint64_t n = 1;
  for (; status != POE_OK; n++) {
    poei_field *graph = NULL;
    poei_junction *junction = NULL;
    poe_error error = {0};
    poei_alloc_fail_at(n);
    status = everything(&graph, &junction, &error);
    poei_alloc_fail_at(0);
    poei_junction_destroy(junction);
    poei_field_destroy(graph);
    assert_true(status == POE_OK || status == POE_E_MEMORY);
  }
  assert_true(n > 60);
}

/* A chain of which no more than a few messages are held. */
static poe_status with_little(poei_field **graph, poei_junction **junction, poe_error *error) {
  enum { N = 9, K = 3 };
  static const double pair[K * K] = {0.5, -1.0, 0.3, -INFINITY, 0.0, 1.2, 0.1, 0.2, 0.4};
  size_t variable, table, found, x[2 * N];
  double p[N * K], log_value[2];
  poe_status status = poei_field_create(graph, error);
  if (status == POE_OK) {
    status = poei_field_table(*graph, K * K, pair, &table, error);
  }
  for (size_t i = 0; i < N && status == POE_OK; i++) {
    status = poei_field_variable(*graph, K, &variable, error);
    if (status == POE_OK && i > 0) {
      status = poei_field_factor(*graph, 2, (size_t[]){i - 1, i}, table, error);
    }
  }
  for (int goal = POEI_JUNCTION_DRAWS; goal <= POEI_JUNCTION_BEST && status == POE_OK; goal++) {
    poei_junction_destroy(*junction);
    *junction = NULL;
    poei_junction_options options = {(poei_junction_goal)goal, 4 * K * sizeof(double), NULL};
    status = poei_junction_create(*graph, &options, junction, error);
    status = status == POE_OK ? poei_junction_run(*junction, error) : status;
    if (status == POE_OK && goal == POEI_JUNCTION_DRAWS) {
      assert_false(poei_junction_is_kept(*junction));
      poe_rng at[2] = {poe_rng_seed(1), poe_rng_seed(2)};
      status = poei_junction_draws(*junction, 2, at, x, error);
      status = status == POE_OK ? poei_junction_marginals(*junction, p, error) : status;
    } else if (status == POE_OK) {
      status = poei_junction_best(*junction, 2, &found, x, log_value, error);
    }
  }
  return status;
}

static void failing_memory_again(void **state) {
  (void)state;
  poe_status status = POE_E_MEMORY;
  uint64_t n = 1;
  for (; status != POE_OK; n++) {
    poei_field *graph = NULL;
    poei_junction *junction = NULL;
    poe_error error = {0};
    poei_alloc_fail_at(n);
    status = with_little(&graph, &junction, &error);
    poei_alloc_fail_at(0);
    poei_junction_destroy(junction);
    poei_field_destroy(graph);
    assert_true(status == POE_OK || status == POE_E_MEMORY);
  }
  assert_true(n > 100);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(k_trees),
      cmocka_unit_test(bytes_held),
      cmocka_unit_test(made_again),
      cmocka_unit_test(refusals),
      cmocka_unit_test(too_wide),
      cmocka_unit_test(failing_memory),
      cmocka_unit_test(failing_memory_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
