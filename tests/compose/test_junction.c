/* The junction tree against brute force on random factor graphs: log Z, marginals, the best joint values, tables over
 * chosen variables, clamping, draws; with zeros, with factors of extreme range, and mixtures of sums and maxima. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/junction.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

enum { MOST = 24, DRAWS = 20000 };

static const double false_alarm = 1e-6; /* of one chi-square comparison */

static const size_t no_limit = (size_t)1 << 30;

/* ---- random graphs ---- */

typedef struct shape {
  size_t variables, most_values, factors, most_scope;
  double scale, zeros; /* log values are scale * normal, a part of them -inf; one joint value is always possible */
  bool all;            /* every variable has most_values values, else 1 to most_values                            */
  double steep;        /* some of the other values are so much lower                                              */
} shape;

static size_t below(poe_stream *stream, size_t n) {
  size_t i = (size_t)(poe_stream_uniform(stream) * (double)n);
  return i < n ? i : n - 1;
}

static void random_factor(poei_field *graph, const shape *s, poe_stream *stream, const size_t *possible) {
  size_t n = 1 + below(stream, s->most_scope), scope[8], size = 1, at = 0;
  n = n < s->variables ? n : s->variables;
  for (size_t i = 0; i < n; i++) {
    bool again = true;
    while (again) {
      scope[i] = below(stream, s->variables);
      again = false;
      for (size_t k = 0; k < i; k++) {
        again = again || scope[k] == scope[i];
      }
    }
    size_t cardinality = poei_field_cardinality(graph, scope[i]);
    size *= cardinality;
    at = at * cardinality + possible[scope[i]];
  }
  double *value = poet_doubles(size);
  for (size_t i = 0; i < size; i++) {
    value[i] = s->scale * poe_stream_normal(stream);
    double low = poe_stream_uniform(stream), zero = poe_stream_uniform(stream);
    value[i] -= low < 0.15 && i != at ? s->steep : 0.0;
    value[i] = zero < s->zeros && i != at ? -INFINITY : value[i];
  }
  poe_error error = {0};
  check_ok(poei_field_add(graph, n, scope, value, &error), error);
  free(value);
}

static poei_field *random_graph(const shape *s, uint64_t seed) {
  poe_stream stream = poe_stream_open(poe_rng_seed(seed));
  poei_field *graph = NULL;
  poe_error error = {0};
  check_ok(poei_field_create(&graph, &error), error);
  size_t possible[MOST], variable;
  for (size_t i = 0; i < s->variables; i++) {
    size_t cardinality = s->all ? s->most_values : 1 + below(&stream, s->most_values);
    check_ok(poei_field_variable(graph, cardinality, &variable, &error), error);
    assert_int_equal(variable, i);
    possible[i] = below(&stream, cardinality);
  }
  for (size_t f = 0; f < s->factors; f++) {
    random_factor(graph, s, &stream, possible);
  }
  poei_field_scale(graph, 3.25);
  return graph;
}

/* ---- brute force ---- */

typedef struct truth {
  size_t n, states, *cardinality;
  double *log_p; /* [states] first variable slowest */
  double log_z;
} truth;

static void unpack(const truth *all, size_t s, size_t *x) {
  for (size_t i = all->n; i-- > 0;) {
    x[i] = s % all->cardinality[i];
    s /= all->cardinality[i];
  }
}

static truth enumerate(const poei_field *graph) {
  truth all = {.n = poei_field_variables(graph), .states = 1};
  all.cardinality = calloc(all.n, sizeof *all.cardinality);
  for (size_t i = 0; i < all.n; i++) {
    all.cardinality[i] = poei_field_cardinality(graph, i);
    all.states *= all.cardinality[i];
  }
  all.log_p = poet_doubles(all.states);
  size_t x[MOST];
  for (size_t s = 0; s < all.states; s++) {
    unpack(&all, s, x);
    all.log_p[s] = poei_field_log_value(graph, x);
  }
  all.log_z = poei_log_sum_exp(all.log_p, all.states, 1);
  return all;
}

static void forget(truth *all) {
  free(all->cardinality);
  free(all->log_p);
}

static poei_junction *junction_of(const poei_field *graph, poei_junction_goal goal, const unsigned char *summed) {
  poei_junction_options options = {goal, no_limit, summed};
  poei_junction *junction = NULL;
  poe_error error = {0};
  check_ok(poei_junction_create(graph, &options, &junction, &error), error);
  check_ok(poei_junction_run(junction, &error), error);
  return junction;
}

/* ---- comparisons ---- */

static void same_log_z(const poei_field *graph, const truth *all) {
  poei_junction *junction = junction_of(graph, POEI_JUNCTION_LOG_Z, NULL);
  check_close(poei_junction_log_z(junction), all->log_z, 1e-10, 1e-12);
  poei_junction_destroy(junction);
}

static void same_marginals(const poei_field *graph, const truth *all) {
  poei_junction *junction = junction_of(graph, POEI_JUNCTION_DRAWS, NULL);
  check_close(poei_junction_log_z(junction), all->log_z, 1e-10, 1e-12);
  size_t values = poei_field_values(graph), x[MOST];
  double *p = poet_doubles(values), *expected = calloc(values, sizeof *expected);
  poe_error error = {0};
  check_ok(poei_junction_marginals(junction, p, &error), error);
  for (size_t s = 0; s < all->states; s++) {
    unpack(all, s, x);
    for (size_t i = 0, at = 0; i < all->n; at += all->cardinality[i++]) {
      expected[at + x[i]] += exp(all->log_p[s] - all->log_z);
    }
  }
  for (size_t i = 0; i < values; i++) {
    check_close(p[i], expected[i], 1e-10, 1e-9);
  }
  free(p);
  free(expected);
  poei_junction_destroy(junction);
}

static int descending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x < y) - (x > y);
}

static void same_best(const poei_field *graph, const truth *all) {
  enum { K = 40 };
  poei_junction *junction = junction_of(graph, POEI_JUNCTION_BEST, NULL);
  size_t *x = calloc(K * all->n, sizeof *x), found;
  double log_value[K], *sorted = poet_doubles(all->states);
  poe_error error = {0};
  check_ok(poei_junction_best(junction, K, &found, x, log_value, &error), error);
  memcpy(sorted, all->log_p, all->states * sizeof *sorted);
  qsort(sorted, all->states, sizeof *sorted, descending);
  for (size_t k = 0; k < K; k++) {
    bool there = k < all->states && sorted[k] != -INFINITY;
    assert_int_equal(k < found, there);
    if (!there) {
      break;
    }
    check_close(log_value[k], sorted[k], 1e-10, 1e-12);
    check_close(poei_field_log_value(graph, &x[k * all->n]), sorted[k], 1e-10, 1e-12);
    for (size_t j = 0; j < k; j++) {
      assert_true(memcmp(&x[k * all->n], &x[j * all->n], all->n * sizeof *x) != 0);
    }
  }
  free(x);
  free(sorted);
  poei_junction_destroy(junction);
}

/* A table over a few variables, from enumeration. */
static double *project(const truth *all, size_t n, const size_t *keep, size_t *size) {
  *size = 1;
  for (size_t i = 0; i < n; i++) {
    *size *= all->cardinality[keep[i]];
  }
  double *out = poet_doubles(*size);
  for (size_t s = 0; s < *size; s++) {
    out[s] = -INFINITY;
  }
  size_t x[MOST];
  for (size_t s = 0; s < all->states; s++) {
    unpack(all, s, x);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
      at = at * all->cardinality[keep[i]] + x[keep[i]];
    }
    out[at] = poei_log_add(out[at], all->log_p[s]);
  }
  return out;
}

static void same_projection(const poei_field *graph, const truth *all, poe_stream *stream) {
  size_t keep[3], n = 1 + below(stream, 3), size;
  for (size_t i = 0; i < n; i++) {
    keep[i] = (below(stream, all->n) / 3 * 3 + i) % all->n; /* different remainders or neighbours */
  }
  for (size_t i = 1; i < n; i++) {
    for (size_t j = 0; j < i; j++) {
      n = keep[i] == keep[j] ? i : n;
    }
  }
  double *expected = project(all, n, keep, &size), *out = poet_doubles(size);
  poe_error error = {0};
  check_ok(poei_field_project(graph, no_limit, n, keep, out, &error), error);
  for (size_t s = 0; s < size; s++) {
    check_close(out[s], expected[s], 1e-10, 1e-11);
  }
  free(out);
  free(expected);
}

/* Maxima over what is left when some variables are summed out. */
static void same_best_of_sums(const poei_field *graph, const truth *all, poe_stream *stream) {
  enum { K = 6 };
  unsigned char summed[MOST] = {0};
  size_t keep[MOST], n = 0, size, found, *x = calloc(K * all->n, sizeof *x);
  for (size_t i = 0; i < all->n; i++) {
    summed[i] = poe_stream_uniform(stream) < 0.5;
    if (!summed[i]) {
      keep[n++] = i;
    }
  }
  double *expected = project(all, n, keep, &size), log_value[K];
  poei_junction *junction = junction_of(graph, POEI_JUNCTION_BEST, summed);
  poe_error error = {0};
  check_ok(poei_junction_best(junction, K, &found, x, log_value, &error), error);
  for (size_t k = 0; k < found; k++) {
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
      at = at * all->cardinality[keep[i]] + x[k * all->n + keep[i]];
    }
    check_close(expected[at], log_value[k], 1e-10, 1e-11);
  }
  qsort(expected, size, sizeof *expected, descending);
  for (size_t k = 0; k < K && k < size; k++) {
    assert_int_equal(k < found, expected[k] != -INFINITY);
    if (k < found) {
      check_close(log_value[k], expected[k], 1e-10, 1e-11);
    }
  }
  for (size_t i = 0; i < all->n; i++) {
    assert_int_equal(x[i] == POEI_FIELD_FREE, summed[i]);
  }
  free(x);
  free(expected);
  poei_junction_destroy(junction);
}

static void same_clamped(const poei_field *graph, const truth *all, poe_stream *stream) {
  size_t value[MOST], x[MOST];
  for (size_t i = 0; i < all->n; i++) {
    value[i] = poe_stream_uniform(stream) < 0.7 ? POEI_FIELD_FREE : below(stream, all->cardinality[i]);
  }
  double evidence = -INFINITY;
  for (size_t s = 0; s < all->states; s++) {
    unpack(all, s, x);
    bool agrees = true;
    for (size_t i = 0; i < all->n; i++) {
      agrees = agrees && (value[i] == POEI_FIELD_FREE || value[i] == x[i]);
    }
    evidence = agrees ? poei_log_add(evidence, all->log_p[s]) : evidence;
  }
  poei_field *clamped = NULL;
  poei_junction *junction = NULL;
  poei_junction_options options = {POEI_JUNCTION_DRAWS, no_limit, NULL};
  poe_error error = {0};
  check_ok(poei_field_clamp(graph, value, &clamped, &error), error);
  check_ok(poei_junction_create(clamped, &options, &junction, &error), error);
  if (evidence == -INFINITY) {
    check_fails(poei_junction_run(junction, &error), POE_E_EMPTY, error, "contradict");
    assert_true(poei_junction_conflict(junction) < all->n);
  } else {
    check_ok(poei_junction_run(junction, &error), error);
    check_close(poei_junction_log_z(junction), evidence, 1e-10, 1e-11);
  }
  poei_junction_destroy(junction);
  poei_field_destroy(clamped);
}

static void compare(const shape *s, uint64_t seed) {
  poei_field *graph = random_graph(s, seed);
  truth all = enumerate(graph);
  poe_stream stream = poe_stream_open(poe_rng_child(poe_rng_seed(seed), 7));
  same_log_z(graph, &all);
  same_marginals(graph, &all);
  same_best(graph, &all);
  same_projection(graph, &all, &stream);
  same_best_of_sums(graph, &all, &stream);
  same_clamped(graph, &all, &stream);
  forget(&all);
  poei_field_destroy(graph);
}

static void random_graphs(void **state) {
  (void)state;
  static const shape shapes[] = {
      {5, 4, 6, 3, 1.0, 0.0, false, 0.0},    {8, 3, 12, 4, 1.5, 0.0, false, 0.0},
      {10, 2, 12, 3, 2.0, 0.3, false, 0.0},  {7, 4, 9, 4, 1.0, 0.5, false, 0.0},
      {9, 3, 10, 2, 1.0, 0.2, false, 0.0},   {12, 2, 20, 4, 1.0, 0.1, false, 0.0},
      {6, 4, 8, 3, 300.0, 0.0, false, 0.0},  {8, 3, 9, 3, 500.0, 0.3, false, 0.0},
      {6, 3, 8, 3, 5000.0, 0.1, false, 0.0}, {1, 4, 2, 1, 1.0, 0.0, false, 0.0},
      {4, 3, 0, 1, 1.0, 0.0, false, 0.0},    {10, 2, 200, 2, 0.5, 0.0, false, 0.0},
      {7, 3, 60, 3, 40.0, 0.05, false, 0.0}, {8, 3, 14, 3, 60.0, 0.1, false, 0.0},
      {9, 2, 12, 3, 120.0, 0.0, true, 0.0},  {10, 2, 14, 3, 1.0, 0.1, true, 400.0},
      {8, 3, 12, 3, 1.0, 0.0, false, 900.0},
  };
  for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
    for (uint64_t seed = 1; seed <= 12; seed++) {
      compare(&shapes[k], seed + 100 * k);
    }
  }
}

static void twenty_variables(void **state) {
  (void)state;
  static const shape shapes[] = {{20, 2, 30, 3, 1.0, 0.1, true, 0.0},
                                 {18, 2, 24, 4, 200.0, 0.2, true, 0.0},
                                 {12, 3, 19, 4, 1.0, 0.4, true, 0.0},
                                 {10, 4, 14, 3, 2.0, 0.1, true, 0.0},
                                 {12, 2, 15, 3, 1.0, 0.1, true, 800.0}};
  for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
    compare(&shapes[k], 1000 + k);
  }
}

/* ---- draws ---- */

static void check_draws(const shape *s, uint64_t seed) {
  poei_field *graph = random_graph(s, seed);
  truth all = enumerate(graph);
  poei_junction *junction = junction_of(graph, POEI_JUNCTION_DRAWS, NULL);
  poe_scratch *scratch = poe_scratch_create(poei_junction_draw_scratch(junction));
  assert_non_null(scratch);
  double *count = calloc(all.states, sizeof *count), chi = 0.0, rare = 0.0, rare_expected = 0.0;
  assert_non_null(count);
  size_t x[MOST], cells = 0;
  for (uint32_t i = 0; i < DRAWS; i++) {
    poe_rng at = poe_rng_seed(seed);
    at.chain = i;
    poei_junction_draw(junction, at, x, scratch);
    size_t state = 0;
    for (size_t k = 0; k < all.n; k++) {
      assert_true(x[k] < all.cardinality[k]);
      state = state * all.cardinality[k] + x[k];
    }
    assert_true(all.log_p[state] > -INFINITY);
    count[state] += 1.0;
  }
  for (size_t k = 0; k < all.states; k++) {
    double expected = exp(all.log_p[k] - all.log_z) * DRAWS;
    if (expected < 5.0) {
      rare += count[k];
      rare_expected += expected;
    } else {
      chi += (count[k] - expected) * (count[k] - expected) / expected;
      cells++;
    }
  }
  if (rare_expected >= 5.0) {
    chi += (rare - rare_expected) * (rare - rare_expected) / rare_expected;
    cells++;
  }
  assert_true(cells >= 2);
  double p = poei_chi_square_tail(chi, (double)(cells - 1));
  if (p < false_alarm) {
    fail_msg("draws: chi-square %g over %zu cells, p = %g", chi, cells, p);
  }
  free(count);
  poe_scratch_destroy(scratch);
  poei_junction_destroy(junction);
  forget(&all);
  poei_field_destroy(graph);
}

static void draws(void **state) {
  (void)state;
  static const shape shapes[] = {{5, 3, 8, 3, 1.0, 0.0, true, 0.0},
                                 {7, 2, 9, 3, 1.0, 0.3, true, 0.0},
                                 {6, 3, 12, 4, 0.7, 0.1, false, 0.0},
                                 {8, 2, 20, 2, 0.6, 0.0, true, 0.0},
                                 {6, 2, 9, 3, 0.8, 0.1, true, 900.0}}; /* the last on logs */
  for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
    for (uint64_t seed = 1; seed <= 3; seed++) {
      check_draws(&shapes[k], seed + 50 * k);
    }
  }
}

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
  size_t x[3], found, variable[3], keep[2] = {2, 0};
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_graphs), cmocka_unit_test(twenty_variables), cmocka_unit_test(draws),
      cmocka_unit_test(k_trees),       cmocka_unit_test(bytes_held),       cmocka_unit_test(refusals),
      cmocka_unit_test(too_wide),      cmocka_unit_test(failing_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
