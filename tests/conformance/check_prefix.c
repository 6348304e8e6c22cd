/* Check of the prefix facet: the densities of the coordinates one after the other are normalised, each given what came
 * before, and add up to log p. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

enum { MARK = 0xa5, MARKED = 64 };

/* A walk through the coordinates: the state with marked bytes behind it. */
typedef struct walk {
  const poet_case *c;
  const poe_expert *expert;
  const poe_prefix_ops *prefix;
  const void *self;
  const size_t *order;
  size_t bytes;
  unsigned char *state;
  poe_scratch *scratch;
  poet_report *report;
} walk;

static unsigned char *walk_memory(size_t bytes) {
  size_t size = (bytes + MARKED + 63) / 64 * 64;
  unsigned char *memory = aligned_alloc(64, size);
  assert_non_null(memory);
  memset(memory, MARK, size);
  return memory;
}

static size_t values_of(const poe_expert *expert, size_t j) {
  const poe_support *s = &poe_expert_traits(expert)->support[j];
  bool finite = s->kind == POE_DISCRETE && isfinite(s->low) && isfinite(s->high);
  return finite ? (size_t)(s->high - s->low) + 1 : 0;
}

/* log p of the next coordinate at `value`; tables must be normalised, and agree with `density`. */
static double walk_value(walk *w, size_t j, double value) {
  poe_error error = {0};
  size_t k = values_of(w->expert, j);
  double log_p = NAN;
  uint64_t allocations = poei_alloc_count();
  poe_status status = w->prefix->density(w->self, w->state, 1, &value, &log_p, w->scratch, &error);
  if (status == POE_OK && k > 0) {
    double *table = malloc(k * sizeof *table), sum = 0.0;
    assert_non_null(table);
    status = w->prefix->table(w->self, w->state, table, w->scratch, &error);
    for (size_t v = 0; v < k; v++) {
      sum += exp(table[v]);
    }
    size_t at = (size_t)(value - poe_expert_traits(w->expert)->support[j].low);
    poet_close(w->report, sum, 1.0, 1e-9, "the sum of a table", j, at);
    poet_close(w->report, table[at], log_p, 1e-10, "a table against the density", j, at);
    free(table);
  }
  if (status != POE_OK) {
    poet_fail(w->report, "step %zu failed: %s", j, error.message);
  }
  if (poei_alloc_count() != allocations) {
    poet_fail(w->report, "a step allocates");
  }
  return log_p;
}

/* The density of a continuous coordinate over the real line is 1: the trapezium rule in t of x = sinh(t). */
static void walk_mass(walk *w, size_t j) {
  enum { POINTS = 8000 };
  double *x = poet_doubles(POINTS), *log_p = poet_doubles(POINTS), sum = 0.0, step = 24.0 / POINTS;
  poe_error error = {0};
  for (size_t i = 0; i < POINTS; i++) {
    x[i] = sinh(-12.0 + ((double)i + 0.5) * step);
  }
  if (w->prefix->density(w->self, w->state, POINTS, x, log_p, w->scratch, &error) != POE_OK) {
    poet_fail(w->report, "densities of coordinate %zu failed: %s", j, error.message);
  }
  for (size_t i = 0; i < POINTS; i++) {
    sum += exp(log_p[i]) * sqrt(1.0 + x[i] * x[i]) * step;
  }
  poet_close(w->report, sum, 1.0, 1e-6, "the integral of a step's density", j, 0);
  free(x);
  free(log_p);
}

/* What it did to memory behind its state. */
static void walk_marks(walk *w) {
  for (size_t i = 0; i < MARKED; i++) {
    if (w->state[w->bytes + i] != MARK) {
      poet_fail(w->report, "the state reaches beyond its %zu bytes", w->bytes);
      break;
    }
  }
}

/* Through all coordinates of x[d]; at the middle the state is copied, led astray where it was, and goes on elsewhere.
 */
static void walk_row(walk *w, const double *x, double expected) {
  const poe_traits *traits = poe_expert_traits(w->expert);
  poe_error error = {0};
  unsigned char *left = NULL;
  double sum = 0.0;
  if (w->prefix->open(w->self, w->state, w->scratch, &error) != POE_OK) {
    poet_fail(w->report, "opening failed: %s", error.message);
  }
  for (size_t k = 0; k < traits->dim; k++) {
    size_t j = w->order[k];
    bool real =
        traits->support[j].kind == POE_CONTINUOUS && isinf(traits->support[j].low) && isinf(traits->support[j].high);
    if (real) {
      walk_mass(w, j);
    }
    sum += walk_value(w, j, x[j]);
    if (k == (traits->dim - 1) / 2) {
      unsigned char *other = walk_memory(w->bytes), *before = w->state;
      walk_marks(w);
      memcpy(other, w->state, w->bytes);
      double astray = values_of(w->expert, j) > 0 ? traits->support[j].low : x[j] + 1.5;
      w->prefix->step(w->self, w->state, astray, w->scratch, &error);
      w->state = other;
      memset(before, 0x5a, w->bytes);
      left = before; /* whoever points into it reads what is left there */
    }
    if (w->prefix->step(w->self, w->state, x[j], w->scratch, &error) != POE_OK) {
      poet_fail(w->report, "step %zu failed: %s", j, error.message);
    }
  }
  double tolerance = w->c->shape_tolerance > 0.0 ? w->c->shape_tolerance : 1e-10;
  poet_close(w->report, sum, expected, tolerance * (1.0 + fabs(expected)), "the sum of the steps", 0, 0);
  walk_marks(w);
  free(left);
}

/* Every coordinate once. */
static bool walk_order(const walk *w) {
  size_t d = poe_expert_traits(w->expert)->dim;
  unsigned char *seen = calloc(d, 1);
  assert_non_null(seen);
  bool ok = true;
  for (size_t k = 0; k < d && ok; k++) {
    ok = w->order[k] < d && seen[w->order[k]] == 0;
    if (ok) {
      seen[w->order[k]] = 1;
    }
  }
  free(seen);
  if (!ok) {
    poet_fail(w->report, "the order does not name every coordinate once");
  }
  return ok;
}

void poet_check_prefix(const poet_case *c, const poe_expert *expert, poet_report *report) {
  enum { POINTS = 6 };
  const poe_prefix_ops *prefix = poe_expert_prefix(expert);
  if (prefix == NULL) {
    return;
  }
  size_t d = poe_expert_traits(expert)->dim;
  walk w = {.c = c, .expert = expert, .prefix = prefix, .self = poe_expert_self(expert), .report = report};
  w.bytes = prefix->state_bytes(w.self);
  w.order = prefix->order(w.self);
  w.state = walk_memory(w.bytes);
  size_t declared = prefix->scratch(w.self);
  w.scratch = poe_scratch_create(declared + (1u << 16));
  assert_non_null(w.scratch);
  double *x = poet_points(c, expert, POINTS), *logp = poet_doubles(POINTS);
  if (poet_eval(expert, POINTS, d, x, logp, NULL) != POE_OK) {
    poet_fail(report, "evaluation failed");
  }
  for (size_t i = 0; i < POINTS && walk_order(&w); i++) {
    walk_row(&w, x + i * d, logp[i]);
  }
  if (poe_scratch_high_water(w.scratch) > declared) {
    poet_fail(report, "a step used %zu bytes of scratch, %zu were declared", poe_scratch_high_water(w.scratch),
              declared);
  }
  if (poe_scratch_mark(w.scratch) != 0) {
    poet_fail(report, "a step took scratch and did not release it");
  }
  free(w.state);
  poe_scratch_destroy(w.scratch);
  free(x);
  free(logp);
}
