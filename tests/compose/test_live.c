/* Junction trees of which a part is live: log Z, probabilities and draws at several sets of live tables, against adding
 * up all joint values of small random graphs. */
#include <math.h>
#include <string.h>

#include "compose/exact/live.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static size_t below(poe_stream *stream, size_t n) {
  return (size_t)(poe_stream_uniform(stream) * (double)n);
}

enum { VARIABLES = 6, FIXED = 7, LIVE = 4, MOST_TABLE = 27, MOST_STATES = 729 };

/* A graph of which the last factors are live. */
typedef struct field {
  poei_field *graph;
  size_t card[VARIABLES], states, values;
  size_t n[FIXED + LIVE], scope[FIXED + LIVE][3];
  double fixed[FIXED][MOST_TABLE];
  size_t factor[LIVE], start[LIVE], tables;
} field;

static size_t factor_size(const field *f, size_t k) {
  size_t size = 1;
  for (size_t i = 0; i < f->n[k]; i++) {
    size *= f->card[f->scope[k][i]];
  }
  return size;
}

/* Cardinalities 1 to 3, factors over 0 to 3 variables with some values impossible. */
static void field_open(field *f, poe_stream *stream, double impossible) {
  static const double zero[MOST_TABLE] = {0};
  poe_error error = {0};
  memset(f, 0, sizeof *f);
  check_ok(poei_field_create(&f->graph, &error), error);
  f->states = 1;
  for (size_t v = 0; v < VARIABLES; v++) {
    size_t number;
    f->card[v] = 1 + below(stream, 3);
    f->states *= f->card[v];
    f->values += f->card[v];
    check_ok(poei_field_variable(f->graph, f->card[v], &number, &error), error);
  }
  poei_field_scale(f->graph, 0.75);
  for (size_t k = 0; k < FIXED + LIVE; k++) {
    size_t wanted = below(stream, k < FIXED ? 4 : 3), v = below(stream, VARIABLES);
    for (f->n[k] = 0; f->n[k] < wanted; f->n[k]++, v = (v + 1 + below(stream, 2)) % VARIABLES) {
      f->scope[k][f->n[k]] = v;
    }
    for (size_t s = 0; k < FIXED && s < factor_size(f, k); s++) {
      bool never = poe_stream_uniform(stream) < impossible && f->n[k] > 0;
      f->fixed[k][s] = never ? -INFINITY : 2.0 * poe_stream_normal(stream);
    }
    check_ok(poei_field_add(f->graph, f->n[k], f->scope[k], k < FIXED ? f->fixed[k] : zero, &error), error);
    if (k >= FIXED) {
      f->factor[k - FIXED] = k;
      f->start[k - FIXED] = f->tables;
      f->tables += factor_size(f, k);
    }
  }
}

static void field_point(const field *f, size_t s, size_t *x) {
  for (size_t v = VARIABLES; v-- > 0;) {
    x[v] = s % f->card[v];
    s /= f->card[v];
  }
}

static size_t entry_of(const field *f, size_t k, const size_t *x) {
  size_t at = 0;
  for (size_t i = 0; i < f->n[k]; i++) {
    at = at * f->card[f->scope[k][i]] + x[f->scope[k][i]];
  }
  return at;
}

/* log p(x; table) by the factors as they were made. */
static double field_value(const field *f, const double *table, const size_t *x) {
  double sum = 0.75;
  for (size_t k = 0; k < FIXED + LIVE; k++) {
    size_t at = entry_of(f, k, x);
    sum += k < FIXED ? f->fixed[k][at] : table[f->start[k - FIXED] + at];
  }
  return sum;
}

/* All of what a live tree says, by brute force: posterior[tables], p[values]. */
static double brute(const field *f, const double *table, double *posterior, double *p) {
  double value[MOST_STATES];
  size_t x[VARIABLES];
  for (size_t s = 0; s < f->states; s++) {
    field_point(f, s, x);
    value[s] = field_value(f, table, x);
  }
  double total = poei_log_sum_exp(value, f->states, 1);
  memset(posterior, 0, f->tables * sizeof *posterior);
  memset(p, 0, f->values * sizeof *p);
  for (size_t s = 0; s < f->states && total > -INFINITY; s++) {
    double own = exp(value[s] - total);
    field_point(f, s, x);
    for (size_t k = 0; k < LIVE; k++) {
      posterior[f->start[k] + entry_of(f, FIXED + k, x)] += own;
    }
    for (size_t v = 0, at = 0; v < VARIABLES; at += f->card[v++]) {
      p[at + x[v]] += own;
    }
  }
  return total;
}

static void random_tables(const field *f, poe_stream *stream, double impossible, double *table) {
  for (size_t i = 0; i < f->tables; i++) {
    table[i] = poe_stream_uniform(stream) < impossible ? -INFINITY : 3.0 * poe_stream_normal(stream);
  }
}

/* The tree's numbers against all joint values, at several sets of tables. *off: the largest difference between its
 * posterior and the true one for tables one entry of which was changed, which a tree that ignored that would miss. */
static void live_agrees(const field *f, poe_stream *stream, const poei_live *live, double *off) {
  double table[128], posterior[128], expected[128], p[3 * VARIABLES], q[3 * VARIABLES];
  poe_scratch *scratch = poe_scratch_create(poei_live_scratch(live, true));
  double *message = poet_doubles(poei_live_messages(live) + 1);
  assert_int_equal(poei_live_tables(live), f->tables);
  assert_int_equal(poei_live_values(live), f->values);
  for (int turn = 0; turn < 4; turn++) {
    random_tables(f, stream, turn == 3 ? 0.3 : 0.0, table);
    double total = brute(f, table, expected, q);
    check_close(poei_live_log_z(live, table, message, scratch), total, 1e-11, 1e-12);
    if (total == -INFINITY) {
      continue;
    }
    poei_live_posterior(live, table, message, posterior, scratch);
    poei_live_marginals(live, table, message, p, scratch);
    for (size_t i = 0; i < f->tables; i++) {
      check_close(posterior[i], expected[i], 1e-12, 0.0);
    }
    for (size_t i = 0; i < f->values; i++) {
      check_close(p[i], q[i], 1e-12, 0.0);
    }
    table[below(stream, f->tables)] += 1.0;
    brute(f, table, expected, q);
    for (size_t i = 0; i < f->tables; i++) {
      *off = fmax(*off, fabs(posterior[i] - expected[i]));
    }
  }
  for (size_t i = 0; i < f->tables; i++) {
    table[i] = NAN;
  }
  double nothing = poei_live_log_z(live, table, message, scratch);
  assert_true(isnan(nothing) || nothing == -INFINITY); /* what is impossible anyway may come first */
  poei_free(message);
  poe_scratch_destroy(scratch);
}

static void live_trees_add_up(void **state) {
  (void)state;
  poe_stream stream = poe_stream_open(poe_rng_seed(11));
  double off = 0.0;
  size_t possible = 0;
  for (int instance = 0; instance < 200; instance++) {
    field f;
    poei_live *live = NULL;
    poe_error error = {0};
    double posterior[128], p[3 * VARIABLES], zero[128] = {0};
    field_open(&f, &stream, instance % 2 == 0 ? 0.0 : 0.1);
    poe_status status = poei_live_create(f.graph, LIVE, f.factor, (size_t)1 << 20, &live, &error);
    if (brute(&f, zero, posterior, p) == -INFINITY) {
      assert_true(status == POE_E_EMPTY || status == POE_OK);
    } else {
      check_ok(status, error);
      possible++;
    }
    if (status == POE_OK) {
      live_agrees(&f, &stream, live, &off);
    }
    poei_live_destroy(live);
    poei_field_destroy(f.graph);
  }
  assert_true(possible >= 150);
  assert_true(off > 0.05);
}

/* Chi-square of 20000 joint draws, for each of 5 graphs: false alarm 1e-5 each. */
static void live_trees_draw(void **state) {
  (void)state;
  poe_stream stream = poe_stream_open(poe_rng_seed(12));
  for (uint32_t instance = 0; instance < 5; instance++) {
    enum { DRAWS = 20000 };
    field f;
    poei_live *live = NULL;
    poe_error error = {0};
    double table[128], value[MOST_STATES], count[MOST_STATES] = {0};
    size_t x[VARIABLES];
    field_open(&f, &stream, 0.05);
    random_tables(&f, &stream, 0.0, table);
    check_ok(poei_live_create(f.graph, LIVE, f.factor, (size_t)1 << 20, &live, &error), error);
    poe_scratch *scratch = poe_scratch_create(poei_live_scratch(live, false));
    double *message = poet_doubles(poei_live_messages(live) + 1);
    double total = poei_live_log_z(live, table, message, scratch), chi = 0.0, rest = 0.0, rest_count = 0.0,
           cells = -1.0;
    poe_rng at = poe_rng_seed(99 + instance);
    for (uint32_t i = 0; i < DRAWS; i++) {
      at.step = i;
      poei_live_draw(live, table, message, at, x, scratch);
      size_t s = 0;
      for (size_t v = 0; v < VARIABLES; v++) {
        s = s * f.card[v] + x[v];
      }
      count[s]++;
    }
    for (size_t s = 0; s < f.states; s++) {
      field_point(&f, s, x);
      value[s] = DRAWS * exp(field_value(&f, table, x) - total);
      assert_true(value[s] > 0.0 || count[s] == 0.0);
      if (value[s] < 5.0) { /* together */
        rest += value[s];
        rest_count += count[s];
      } else {
        chi += (count[s] - value[s]) * (count[s] - value[s]) / value[s];
        cells++;
      }
    }
    if (rest > 5.0) {
      chi += (rest_count - rest) * (rest_count - rest) / rest;
      cells++;
    }
    assert_true(cells < 1.0 || poei_chi_square_tail(chi, cells) > 1e-5);
    poei_free(message);
    poe_scratch_destroy(scratch);
    poei_live_destroy(live);
    poei_field_destroy(f.graph);
  }
}

static void live_trees_say_what_they_need(void **state) {
  (void)state;
  field f;
  poei_live *live = NULL;
  poe_error error = {0};
  poe_stream stream = poe_stream_open(poe_rng_seed(13));
  field_open(&f, &stream, 0.0);
  check_fails(poei_live_create(f.graph, LIVE, f.factor, 16, &live, &error), POE_E_CAPABILITY, error, "16 bytes are");
  poei_field_destroy(f.graph);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(live_trees_add_up),
      cmocka_unit_test(live_trees_draw),
      cmocka_unit_test(live_trees_say_what_they_need),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
