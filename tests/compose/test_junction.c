/* The junction tree against brute force on random factor graphs: log Z, marginals, the best joint values, tables over
 * chosen variables, clamping, draws; with zeros, with factors of extreme range, and mixtures of sums and maxima. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/numerics.h"
#include "tests/compose/fields.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

enum { DRAWS = 20000 };

static const double false_alarm = 1e-6; /* of one chi-square comparison */

static const size_t no_limit = (size_t)1 << 30;

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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_graphs),
      cmocka_unit_test(twenty_variables),
      cmocka_unit_test(draws),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
