/* Checks of the single-site view and of one-hot gradients: against evaluations of every candidate row, at points of the
 * support and at random rows, after random sequences of changes; memory; weights and accumulation. */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static bool has(const poe_expert *expert, unsigned bits) {
  return (poe_expert_traits(expert)->capabilities & bits) == bits;
}

static double tolerance_of(const poet_case *c) {
  return c->tolerance > 0.0 ? c->tolerance : 1e-10;
}

/* Number of values of a coordinate; 0 when it has none to choose from. */
static size_t values_of(const poe_expert *expert, size_t j) {
  const poe_support *s = &poe_expert_traits(expert)->support[j];
  bool finite = s->kind == POE_DISCRETE && isfinite(s->low) && isfinite(s->high);
  return finite ? (size_t)(s->high - s->low) + 1 : 0;
}

static size_t most_values(const poe_expert *expert) {
  size_t most = 1;
  for (size_t j = 0; j < poe_expert_traits(expert)->dim; j++) {
    most = values_of(expert, j) > most ? values_of(expert, j) : most;
  }
  return most;
}

/* log p of x with coordinate j at each of its values, by evaluation. */
static void candidates(const poe_expert *expert, const double *x, size_t j, double *logp) {
  size_t d = poe_expert_traits(expert)->dim, k = values_of(expert, j);
  double *rows = poet_doubles(k * d);
  for (size_t v = 0; v < k; v++) {
    memcpy(rows + v * d, x, d * sizeof *x);
    rows[v * d + j] = poe_expert_traits(expert)->support[j].low + (double)v;
  }
  if (poet_eval(expert, k, d, rows, logp, NULL) != POE_OK) {
    fail_msg("evaluation failed");
  }
  free(rows);
}

/* out[k] must be logp[k] up to a constant, infinities in the same places. */
static bool same_differences(const poet_case *c, size_t k, const double *out, const double *logp, const char *what,
                             size_t row, size_t j, poet_report *report) {
  size_t base = 0;
  for (size_t v = 0; v < k; v++) {
    base = isfinite(logp[v]) && (!isfinite(logp[base]) || logp[v] > logp[base]) ? v : base;
  }
  for (size_t v = 0; v < k; v++) {
    bool infinite = isinf(logp[v]) != 0 || isinf(out[v]) != 0;
    double actual = infinite ? out[v] : out[v] - out[base], expected = infinite ? logp[v] : logp[v] - logp[base];
    double allowed = infinite ? 0.0 : tolerance_of(c) * (1.0 + fabs(logp[base])); /* relative to what was subtracted */
    if (actual != expected && !(fabs(actual - expected) <= allowed)) {
      poet_fail(report, "%s of value %zu of coordinate %zu at row %zu is %.12g, not %.12g", what, v, j, row, actual,
                expected);
      return false;
    }
  }
  return true;
}

/* ---- the view ---- */

/* A view at work: its state, with marked bytes behind it, and the row it stands for. */
typedef struct view {
  const poe_expert *expert;
  const poe_local_ops *local;
  const void *self;
  size_t d, bytes, changes;
  unsigned char *state;
  double *x;
  poe_scratch *scratch;
} view;

enum { MARK = 0xa5, MARKED = 64 };

static void *aligned(size_t bytes) {
  void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
  assert_non_null(memory);
  memset(memory, MARK, (bytes + 63) / 64 * 64);
  return memory;
}

static view view_make(const poe_expert *expert) {
  view v = {.expert = expert, .local = poe_expert_local(expert), .self = poe_expert_self(expert)};
  v.d = poe_expert_traits(expert)->dim;
  v.bytes = v.local->state_bytes(v.self);
  v.state = aligned(v.bytes + MARKED);
  v.x = poet_doubles(v.d);
  v.scratch = poe_scratch_create(v.local->scratch(v.self) + (1u << 16));
  assert_non_null(v.scratch);
  return v;
}

/* Frees it, and tells what it did to memory that is not its own. */
static void view_free(view *v, poet_report *report) {
  for (size_t i = 0; i < MARKED; i++) {
    if (v->state[v->bytes + i] != MARK) {
      poet_fail(report, "the state reaches beyond its %zu bytes", v->bytes);
      break;
    }
  }
  if (poe_scratch_high_water(v->scratch) > v->local->scratch(v->self)) {
    poet_fail(report, "the view used %zu bytes of scratch, %zu were declared", poe_scratch_high_water(v->scratch),
              v->local->scratch(v->self));
  }
  if (poe_scratch_mark(v->scratch) != 0) {
    poet_fail(report, "the view took scratch and did not release it");
  }
  free(v->state);
  free(v->x);
  poe_scratch_destroy(v->scratch);
}

static void view_open(view *v, const double *x, poet_report *report) {
  poe_error error = {0};
  memcpy(v->x, x, v->d * sizeof *x);
  if (v->local->open(v->self, v->x, v->state, v->scratch, &error) != POE_OK) {
    poet_fail(report, "opening a view failed: %s", error.message);
  }
}

static void view_set(view *v, size_t j, double value, poet_report *report) {
  poe_error error = {0};
  v->x[j] = value;
  v->changes++;
  if (v->local->set(v->self, v->state, j, value, v->scratch, &error) != POE_OK) {
    poet_fail(report, "setting coordinate %zu failed: %s", j, error.message);
  }
}

static bool view_check(const poet_case *c, view *v, size_t j, poet_report *report) {
  size_t k = values_of(v->expert, j);
  double *out = poet_doubles(k), *logp = poet_doubles(k);
  poe_error error = {0};
  uint64_t allocations = poei_alloc_count();
  bool ok = true;
  if (v->local->conditional(v->self, v->state, j, out, v->scratch, &error) != POE_OK) {
    poet_fail(report, "the conditional of coordinate %zu failed: %s", j, error.message);
    ok = false;
  }
  if (poei_alloc_count() != allocations) {
    poet_fail(report, "the conditional of coordinate %zu allocates", j);
  }
  candidates(v->expert, v->x, j, logp);
  ok = ok && same_differences(c, k, out, logp, "the conditional", v->changes, j, report);
  free(out);
  free(logp);
  return ok;
}

/* Up to 12 discrete coordinates, spread over all of them and shifted from turn to turn. */
static bool view_check_some(const poet_case *c, view *v, size_t turn, poet_report *report) {
  size_t step = v->d / 12 + 1;
  for (size_t j = turn % step; j < v->d; j += step) {
    size_t at = turn % 2 == 0 ? j : v->d - 1 - j; /* also from the end to the beginning */
    if (values_of(v->expert, at) > 0 && !view_check(c, v, at, report)) {
      return false;
    }
  }
  return true;
}

static size_t random_index(size_t row, size_t column, size_t n) {
  size_t index = (size_t)poet_spread(row, column, 0.0, (double)n);
  return index < n ? index : n - 1;
}

/* A value for coordinate j: any of its values, or of another point when it is real; rarely a value outside. */
static double random_value(const view *v, size_t turn, size_t j, const double *other) {
  size_t k = values_of(v->expert, j);
  if (k == 0) {
    return other[j];
  }
  size_t index = turn % 7 == 3 ? k : random_index(turn, j + 1000, k);
  return poe_expert_traits(v->expert)->support[j].low + (double)index;
}

/* From a point: sweeps that keep a positive density, and changes that need not. other[d]: another point. */
static void view_walk(const poet_case *c, view *v, const double *x, const double *other, size_t seed,
                      poet_report *report) {
  enum { TURNS = 40 };
  view_open(v, x, report);
  bool ok = view_check_some(c, v, 0, report) && view_check_some(c, v, 1, report);
  for (size_t turn = 1; ok && turn <= TURNS; turn++) {
    size_t number = seed * TURNS + turn, j = random_index(number, 1, v->d);
    if (turn % 10 == 0) { /* back to a point of the support, coordinate by coordinate */
      for (size_t i = 0; i < v->d; i++) {
        view_set(v, i, other[i], report);
      }
    } else if (turn % 3 == 0 && values_of(v->expert, j) > 0) { /* as a sampler does: look, then set */
      ok = view_check(c, v, j, report);
      view_set(v, j, random_value(v, number, j, other), report);
    } else if (turn % 3 == 1 && values_of(v->expert, j) > 0) { /* look, set another, set this */
      size_t i = random_index(number, 2, v->d);
      ok = view_check(c, v, j, report);
      view_set(v, i, random_value(v, number + 1, i, other), report);
      view_set(v, j, random_value(v, number, j, other), report);
    } else {
      view_set(v, j, random_value(v, number, j, other), report);
    }
    ok = ok && view_check_some(c, v, turn, report);
  }
}

/* The state is plain memory: moved elsewhere it goes on. */
static void view_move(const poet_case *c, view *v, const double *x, poet_report *report) {
  view_open(v, x, report);
  view_check_some(c, v, 0, report);
  unsigned char *moved = aligned(v->bytes + MARKED), *before = v->state;
  memcpy(moved, v->state, v->bytes + MARKED);
  memset(v->state, 0x5a, v->bytes);
  v->state = moved;
  view_check_some(c, v, 1, report);
  free(before);
}

void poet_check_local(const poet_case *c, const poe_expert *expert, poet_report *report) {
  if (!has(expert, POE_CAN_LOCAL)) {
    if (poe_expert_local(expert) != NULL) {
      poet_fail(report, "it gives a view without the capability");
    }
    return;
  }
  enum { POINTS = 4 };
  const poe_traits *traits = poe_expert_traits(expert);
  size_t d = traits->dim, discrete = 0;
  for (size_t j = 0; j < d; j++) {
    discrete += values_of(expert, j) > 0;
    if (traits->support[j].kind == POE_DISCRETE && values_of(expert, j) == 0) {
      poet_fail(report, "it has a view, but coordinate %zu has no end of values", j);
      return;
    }
  }
  if (discrete == 0) {
    poet_fail(report, "it has a view, but no discrete coordinate");
    return;
  }
  double *x = poet_points(c, expert, POINTS);
  view v = view_make(expert);
  for (size_t i = 0; i < POINTS; i++) {
    view_walk(c, &v, x + i * d, x + (i + 1) % POINTS * d, i, report);
  }
  view_move(c, &v, x, report);
  view_free(&v, report);
  free(x);
}

/* ---- one-hot gradients ---- */

typedef struct embedding {
  size_t d, width;
  size_t *first; /* [d + 1] where each coordinate begins */
} embedding;

static embedding embedding_make(const poe_expert *expert) {
  embedding e = {.d = poe_expert_traits(expert)->dim};
  e.first = calloc(e.d + 1, sizeof *e.first);
  assert_non_null(e.first);
  for (size_t j = 0; j < e.d; j++) {
    e.first[j + 1] = e.first[j] + values_of(expert, j);
  }
  e.width = e.first[e.d];
  return e;
}

/* Points of the support (the first half) and rows that need not be. */
static double *mixed_points(const poet_case *c, const poe_expert *expert, size_t n) {
  size_t d = poe_expert_traits(expert)->dim;
  double *x = poet_points(c, expert, n);
  for (size_t i = n / 2; i < n; i++) {
    for (size_t j = 0; j < d; j++) {
      size_t k = values_of(expert, j);
      x[i * d + j] = k == 0 ? x[i * d + j] : poe_expert_traits(expert)->support[j].low + (double)random_index(i, j, k);
    }
  }
  return x;
}

static void onehot_run(const poe_expert *expert, size_t n, const double *x, const double *w, size_t inc, double *out,
                       size_t ldo, poet_report *report) {
  size_t d = poe_expert_traits(expert)->dim, declared = poe_expert_scratch(expert, POE_WANT_ONEHOT, n);
  poe_scratch *scratch = poe_scratch_create(declared + (1u << 16));
  poe_error error = {0};
  assert_non_null(scratch);
  uint64_t allocations = poei_alloc_count();
  if (poe_expert_onehot_grad_add(expert, (poe_rows){n, d, d, x}, (poe_weights){w, inc}, out, ldo, scratch, &error) !=
      POE_OK) {
    poet_fail(report, "the one-hot gradient failed: %s", error.message);
  }
  if (poei_alloc_count() != allocations) {
    poet_fail(report, "the one-hot gradient allocates");
  }
  if (poe_scratch_high_water(scratch) > declared) {
    poet_fail(report, "the one-hot gradient used %zu bytes of scratch, %zu were declared",
              poe_scratch_high_water(scratch), declared);
  }
  if (poe_scratch_mark(scratch) != 0) {
    poet_fail(report, "the one-hot gradient took scratch and did not release it");
  }
  poe_scratch_destroy(scratch);
}

/* Weights, accumulation and padding: onto junk, row i with weight w_i, against grad[n, width] of weight 1. */
static void onehot_accumulates(const poe_expert *expert, const embedding *e, size_t n, const double *x,
                               const double *grad, poet_report *report) {
  enum { PAD = 3 };
  static const double weights[] = {1.0, -1.0, 0.0, 0.5, 2.75};
  size_t ldo = e->width + PAD;
  double *out = poet_doubles(n * ldo), *w = poet_doubles(n);
  for (size_t i = 0; i < n; i++) {
    w[i] = weights[i % 5];
    for (size_t a = 0; a < ldo; a++) {
      out[i * ldo + a] = a % 5 == 4 ? -INFINITY : 0.25 * (double)(a + i);
    }
  }
  onehot_run(expert, n, x, w, 1, out, ldo, report);
  for (size_t i = 0; i < n; i++) {
    for (size_t a = 0; a < ldo; a++) {
      double expected = a % 5 == 4 ? -INFINITY : 0.25 * (double)(a + i);
      if (a < e->width) {
        poe_accum_value(&expected, w[i], grad[i * e->width + a]);
      }
      if (isnan(out[i * ldo + a])) {
        poet_fail(report, "number %zu of the one-hot gradient of row %zu is NaN", a, i);
      } else {
        poet_close(report, out[i * ldo + a], expected, 1e-12, "weighted one-hot gradient", i, a);
      }
    }
  }
  free(out);
  free(w);
}

/* d log p / d e_jv = v d log p / d x_j at row i, by central differences of the reference. */
static void onehot_slopes(const poet_case *c, const poe_expert *expert, const embedding *e, size_t i, double *x,
                          const double *grad, poet_report *report) {
  double h = 1e-5, tolerance = c->gradient_tolerance > 0.0 ? c->gradient_tolerance : 1e-6;
  for (size_t j = 0; j < e->d; j++) {
    double keep = x[j], high, low;
    x[j] = keep + h;
    high = c->log_density(x);
    x[j] = keep - h;
    low = c->log_density(x);
    x[j] = keep;
    for (size_t a = e->first[j]; a < e->first[j + 1]; a++) {
      double value = poe_expert_traits(expert)->support[j].low + (double)(a - e->first[j]);
      poet_close(report, grad[a], value * (high - low) / (2.0 * h), tolerance, "one-hot gradient", i, a);
    }
  }
}

void poet_check_onehot(const poet_case *c, const poe_expert *expert, poet_report *report) {
  enum { N = 16 };
  if (!has(expert, POE_CAN_ONEHOT)) {
    return;
  }
  size_t d = poe_expert_traits(expert)->dim;
  embedding e = embedding_make(expert);
  double *x = mixed_points(c, expert, N), *grad = poet_doubles(N * e.width), one = 1.0;
  double *logp = poet_doubles(most_values(expert)), *value = poet_doubles(N);
  onehot_run(expert, N, x, &one, 0, grad, e.width, report);
  poet_eval(expert, N, d, x, value, NULL);
  for (size_t i = 0; i < N && !c->embeds; i++) {
    for (size_t j = 0; j < d && isfinite(value[i]); j++) { /* of other rows only that they are numbers */
      size_t k = values_of(expert, j);
      if (k > 0) {
        candidates(expert, x + i * d, j, logp);
        if (!same_differences(c, k, grad + i * e.width + e.first[j], logp, "the one-hot gradient", i, j, report)) {
          break;
        }
      }
    }
  }
  for (size_t i = 0; i < N / 2 && c->embeds; i++) {
    onehot_slopes(c, expert, &e, i, x + i * d, grad + i * e.width, report);
  }
  onehot_accumulates(expert, &e, N, x, grad, report);
  free(e.first);
  free(x);
  free(grad);
  free(logp);
  free(value);
}
