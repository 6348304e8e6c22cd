/* Gibbs sampling of discrete coordinates: the kernel's invariance, with and without single-site views, on coordinates
 * of few and of many values, beside a continuous one that stays; kernels and views with a mistake, which the same check
 * must find.
 *
 * x = (x0, c, x2, x3), three discrete coordinates that start at 0, 0 and 2 and a number c: the density is
 *   p_i(x) = B(x0, x2, x3) N(c; sin x0, 1) R(x0, x2, x3)^w_i
 * with tables B, R and a weight w_i of the row, .4 or 1.6 in turn, as along a path. Exact draws, moved STEPS times, are
 * compared to p by chi-square over the values of (x0, x2, x3, c < .3), for either weight.
 *
 * False alarms: a check fails a correct kernel when a chi-square probability is below 1e-7; two a case, ten cases. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "core/pool.h"
#include "sampler/kernels/density.h"
#include "tests/support/check.h"

#define ALARM 1e-7
enum { DIM = 4, FEW = 3, MANY = 100, MOST = MANY * 8, ROWS = 1 << 15, STEPS = 3 };
static const double weights[2] = {0.4, 1.6}, edge = 0.3;

/* ---- the experts ---- */

/* Of a view: `set` that changes nothing; conditionals of the density to the power .7. */
typedef enum view { VIEW_NONE, VIEW_SOUND, VIEW_STALE, VIEW_POWER } view;

typedef struct table {
  size_t values; /* of x0 */
  bool leads;    /* with the factor over c */
  view view;
  poe_support support[DIM];
  double log_p[MOST];
} table;

static double log_normal(double z) {
  return -0.5 * z * z - 0.5 * POEI_LOG_2PI;
}

static size_t cell_of(const double *x) {
  return ((size_t)x[0] * 2 + (size_t)x[2]) * 4 + (size_t)(x[3] - 2.0);
}

static double value_at(const table *t, const double *x) {
  for (size_t j = 0; j < DIM; j++) {
    if (x[j] < t->support[j].low || x[j] > t->support[j].high) {
      return -INFINITY;
    }
  }
  return t->log_p[cell_of(x)] + (t->leads ? log_normal(x[1] - sin(x[0])) : 0.0);
}

static void table_destroy(void *self) {
  poei_free(self);
}

static void table_traits(const void *self, poe_traits *traits) {
  const table *t = self;
  *traits = (poe_traits){.dim = DIM,
                         .support = t->support,
                         .capabilities = POE_CAN_EVAL | (t->view != VIEW_NONE ? (unsigned)POE_CAN_LOCAL : 0u)};
}

static size_t table_scratch(const void *self, unsigned want, size_t n) {
  (void)self, (void)want, (void)n;
  return 0;
}

static poe_status table_eval_add(const void *self, poe_rows rows, poe_weights w, poe_accum out, poe_scratch *scratch,
                                 poe_error *error) {
  (void)scratch, (void)error;
  for (size_t i = 0; i < rows.n; i++) {
    poe_accum_value(&out.logp[i], w.w[i * w.inc], value_at(self, rows.x + i * rows.ld));
  }
  return POE_OK;
}

static poe_status table_create(const poe_args *args, void **self, poe_error *error) {
  (void)args, (void)self;
  return poe_error_set(error, POE_E_USAGE, "made by the tests alone");
}

static size_t view_bytes(const void *self) {
  (void)self;
  return DIM * sizeof(double);
}

static size_t view_scratch(const void *self) {
  (void)self;
  return 0;
}

static poe_status view_open(const void *self, const double *x, void *state, poe_scratch *scratch, poe_error *error) {
  (void)self, (void)scratch, (void)error;
  memcpy(state, x, DIM * sizeof *x);
  return POE_OK;
}

static poe_status view_conditional(const void *self, void *state, size_t j, double *out, poe_scratch *scratch,
                                   poe_error *error) {
  (void)scratch, (void)error;
  const table *t = self;
  double x[DIM], low = t->support[j].low;
  memcpy(x, state, sizeof x);
  for (size_t v = 0; v < (size_t)(t->support[j].high - low) + 1; v++) {
    x[j] = low + (double)v;
    out[v] = (t->view == VIEW_POWER ? 0.7 : 1.0) * value_at(t, x);
  }
  return POE_OK;
}

static poe_status view_set(const void *self, void *state, size_t j, double value, poe_scratch *scratch,
                           poe_error *error) {
  (void)scratch, (void)error;
  if (((const table *)self)->view != VIEW_STALE) {
    ((double *)state)[j] = value;
  }
  return POE_OK;
}

static const poe_local_ops view_ops = {view_bytes, view_scratch, view_open, view_conditional, view_set};
static const poe_expert_ops table_ops = {.struct_size = sizeof(poe_expert_ops),
                                         .kind = "table of the tests",
                                         .doc = "B or R",
                                         .create = table_create,
                                         .destroy = table_destroy,
                                         .traits = table_traits,
                                         .scratch = table_scratch,
                                         .eval_add = table_eval_add,
                                         .local = &view_ops};

/* B when it leads, else R: normal numbers, on many values of x0 beside a hill; B is 0 at one point in seven. */
static poe_expert *table_expert(size_t values, bool leads, view how) {
  table *t = poei_calloc(1, sizeof *t);
  assert_non_null(t);
  *t = (table){.values = values, .leads = leads, .view = how};
  t->support[0] = (poe_support){.kind = POE_DISCRETE, .low = 0.0, .high = (double)values - 1.0};
  t->support[1] = (poe_support){POE_CONTINUOUS, -INFINITY, INFINITY, true, true};
  t->support[2] = (poe_support){.kind = POE_DISCRETE, .low = 0.0, .high = 1.0};
  t->support[3] = (poe_support){.kind = POE_DISCRETE, .low = 2.0, .high = 5.0};
  poe_stream stream = poe_stream_open(poe_rng_seed(leads ? 51 : 52));
  for (size_t s = 0; s < 8 * values; s++) {
    double far = values == MANY ? ((double)(s / 8) - 45.0) / 15.0 : 0.0;
    t->log_p[s] = leads && s % 7 == 3 ? -INFINITY : poe_stream_normal(&stream) - (leads ? 0.5 * far * far : 0.0);
  }
  poe_expert *expert = NULL;
  poe_error error = {0};
  check_ok(poe_expert_wrap(&table_ops, t, &expert, &error), error);
  return expert;
}

/* ---- the kernel anew, with or without a mistake ---- */

typedef enum mistake {
  LIBRARY,
  SOUND,
  POWER,      /* conditionals of the target, not of the row's bridge on the way to it */
  FIRST_ROW,  /* those of the tile's first row's weight                               */
  STALE,      /* all conditionals given where the step began                          */
  ONE_NUMBER, /* one uniform number for all coordinates                               */
  REST_ONLY   /* conditionals of R alone                                              */
} mistake;

static void plain_row(mistake what, const table *first, const table *second, double w, poe_rng at, double *x) {
  double from[DIM], p[MANY];
  memcpy(from, x, sizeof from);
  poe_stream stream = poe_stream_open(poe_rng_child(at, 4711));
  double u = poe_stream_uniform(&stream);
  for (size_t j = 0; j < DIM; j++) {
    size_t values = (size_t)(first->support[j].high - first->support[j].low) + 1, v = 0;
    double y[DIM], total = 0.0;
    if (first->support[j].kind != POE_DISCRETE) {
      continue;
    }
    memcpy(y, what == STALE ? from : x, sizeof y);
    for (size_t k = 0; k < values; k++) {
      y[j] = first->support[j].low + (double)k;
      p[k] = exp((what == REST_ONLY ? 0.0 : value_at(first, y)) + w * value_at(second, y));
      total += p[k];
    }
    u = what == ONE_NUMBER ? u : poe_stream_uniform(&stream);
    for (double left = u * total; total > 0.0 && v + 1 < values && left >= p[v]; v++) {
      left -= p[v];
    }
    x[j] = total > 0.0 ? first->support[j].low + (double)v : x[j];
  }
}

static void plain_step(mistake what, const poei_density *density, poei_tile *t) {
  for (size_t i = 0; i < t->n; i++) {
    double w = density->weight[1].w[what == FIRST_ROW ? 0 : i];
    plain_row(what, poe_expert_self(density->term[0]), poe_expert_self(density->term[1]), what == POWER ? 1.0 : w,
              t->at[i], t->x + i * DIM);
  }
}

/* ---- the check ---- */

/* p[16 values]: the exact probability of (x0, x2, x3, c < edge) at weight w. */
static void truth(const table *first, const table *second, double w, double *p) {
  double total = 0.0;
  for (size_t s = 0; s < 8 * first->values; s++) {
    double all = exp(first->log_p[s] + w * second->log_p[s]), below = poei_normal_cdf(edge - sin((double)(s / 8)));
    p[2 * s] = all * (1.0 - below);
    p[2 * s + 1] = all * below;
    total += all;
  }
  for (size_t s = 0; s < 16 * first->values; s++) {
    p[s] /= total;
  }
}

/* Chi-square probability of the rows of weight number k; cells that expect fewer than five are one. */
static double chi_square(const table *first, const double *p, const double *x, size_t k) {
  static double count[2 * MOST];
  double rows = ROWS / 2, chi = 0.0, rare = 0.0, rare_expected = 0.0, cells = 0.0;
  memset(count, 0, sizeof count);
  for (size_t i = k; i < ROWS; i += 2) {
    count[2 * cell_of(x + i * DIM) + (x[i * DIM + 1] < edge)] += 1.0;
  }
  for (size_t s = 0; s < 16 * first->values; s++) {
    double expected = rows * p[s];
    if (expected < 5.0) {
      rare += count[s];
      rare_expected += expected;
    } else {
      chi += (count[s] - expected) * (count[s] - expected) / expected;
      cells += 1.0;
    }
  }
  if (rare_expected > 0.0) {
    chi += (rare - rare_expected) * (rare - rare_expected) / rare_expected;
  } else {
    chi += rare > 0.0 ? INFINITY : 0.0; /* where the density vanishes */
    cells -= 1.0;
  }
  return isinf(chi) ? 0.0 : poei_chi_square_tail(chi, cells);
}

static void draw_exactly(const table *first, const double *p, poe_rng at, double *x) {
  poe_stream stream = poe_stream_open(at);
  double both[MOST];
  for (size_t s = 0; s < 8 * first->values; s++) {
    both[s] = p[2 * s] + p[2 * s + 1];
  }
  size_t s = poe_stream_categorical(&stream, both, 8 * first->values);
  x[0] = (double)(s / 8);
  x[1] = sin(x[0]) + poe_stream_normal(&stream);
  x[2] = (double)(s / 4 % 2);
  x[3] = 2.0 + (double)(s % 4);
}

/* One tile of rows: moved, its log density kept true, its continuous coordinate kept. */
static void move_tile(mistake what, const poei_density *density, size_t begin, double *x, poe_scratch *scratch) {
  double logp[POEI_TILE], now[POEI_TILE], rate[POEI_TILE], energy[POEI_TILE], stays[POEI_TILE];
  unsigned char diverging[POEI_TILE];
  poe_rng at[POEI_TILE];
  poei_tile tile = {.n = POEI_TILE,
                    .d = DIM,
                    .x = x,
                    .logp = logp,
                    .acceptance = rate,
                    .energy = energy,
                    .diverging = diverging,
                    .at = at};
  poei_kernel_settings settings = {0};
  poe_error error = {0};
  uint64_t rows = 0, before = poei_alloc_count();
  for (size_t i = 0; i < POEI_TILE; i++) {
    stays[i] = x[i * DIM + 1];
  }
  for (size_t s = 0; s < STEPS; s++) {
    for (size_t i = 0; i < POEI_TILE; i++) {
      at[i] = poe_rng_seed(32);
      at[i].chain = (uint32_t)(begin + i);
      at[i].step = (uint32_t)s;
    }
    if (what != LIBRARY) {
      plain_step(what, density, &tile);
      continue;
    }
    check_ok(poei_gibbs_kernel.step(density, &settings, &tile, &rows, &rows, scratch, &error), error);
    check_ok(poei_density_eval(density, POEI_TILE, DIM, x, now, NULL, scratch, &error), error);
    check_same_bits(logp, now, POEI_TILE);
    for (size_t i = 0; i < POEI_TILE; i++) {
      assert_true(diverging[i] == 0 && rate[i] >= 0.0 && rate[i] <= 1.0 + 1e-12);
    }
  }
  assert_int_equal(poei_alloc_count(), before);
  for (size_t i = 0; i < POEI_TILE; i++) {
    assert_true(x[i * DIM + 1] == stays[i]);
  }
}

/* The smaller chi-square probability of the two weights, after STEPS moves of exact draws. */
static double invariance(mistake what, size_t values, view first_view, view second_view) {
  static double x[ROWS * DIM], p[2][2 * MOST];
  static const double one = 1.0;
  double w[POEI_TILE];
  poe_expert *first = table_expert(values, true, first_view), *second = table_expert(values, false, second_view);
  const table *b = poe_expert_self(first), *r = poe_expert_self(second);
  poei_density density = {.n_terms = 2, .term = {first, second}, .weight = {{.w = &one, .inc = 0}, {.w = w, .inc = 1}}};
  poei_kernel_settings settings = {0};
  poe_scratch *scratch = poe_scratch_create(poei_gibbs_kernel.scratch(POEI_TILE, DIM) +
                                            poei_gibbs_kernel.more(&density, &settings, POEI_TILE) +
                                            poei_density_scratch(&density, POE_WANT_LOGP, POEI_TILE));
  assert_non_null(scratch);
  for (size_t i = 0; i < POEI_TILE; i++) {
    w[i] = weights[i % 2];
  }
  for (size_t k = 0; k < 2; k++) {
    truth(b, r, weights[k], p[k]);
  }
  for (size_t begin = 0; begin < ROWS; begin += POEI_TILE) {
    for (size_t i = begin; i < begin + POEI_TILE; i++) {
      poe_rng at = poe_rng_child(poe_rng_seed(31), 99);
      at.chain = (uint32_t)i;
      draw_exactly(b, p[i % 2], at, x + i * DIM);
    }
    move_tile(what, &density, begin, x + begin * DIM, scratch);
  }
  double least = fmin(chi_square(b, p[0], x, 0), chi_square(b, p[1], x, 1));
  poe_scratch_destroy(scratch);
  poe_expert_release(first);
  poe_expert_release(second);
  return least;
}

static void kernel_is_invariant(void **state) {
  (void)state;
  for (size_t values = FEW; values <= MANY; values += MANY - FEW) { /* many: a symmetric step along x0 */
    assert_true(invariance(LIBRARY, values, VIEW_NONE, VIEW_NONE) > ALARM);
    assert_true(invariance(LIBRARY, values, VIEW_SOUND, VIEW_SOUND) > ALARM);
    assert_true(invariance(LIBRARY, values, VIEW_NONE, VIEW_SOUND) > ALARM);
    assert_true(invariance(LIBRARY, values, VIEW_SOUND, VIEW_NONE) > ALARM);
    assert_true(invariance(SOUND, values, VIEW_NONE, VIEW_NONE) > ALARM);
  }
  assert_true(poei_gibbs_kernel.discrete && !poei_gibbs_kernel.biased && !poei_gibbs_kernel.needs_gradient);
}

static void mistakes_are_found(void **state) {
  (void)state;
  static const mistake mistakes[] = {POWER, FIRST_ROW, STALE, ONE_NUMBER, REST_ONLY};
  for (size_t values = FEW; values <= MANY; values += MANY - FEW) {
    for (size_t k = 0; k < sizeof mistakes / sizeof *mistakes; k++) {
      assert_true(invariance(mistakes[k], values, VIEW_NONE, VIEW_NONE) < ALARM);
    }
  }
}

/* The library's kernel, misled by one view. */
static void broken_views_are_found(void **state) {
  (void)state;
  for (size_t values = FEW; values <= MANY; values += MANY - FEW) {
    for (view v = VIEW_STALE; v <= VIEW_POWER; v++) {
      assert_true(invariance(LIBRARY, values, v, VIEW_SOUND) < ALARM);
      assert_true(invariance(LIBRARY, values, VIEW_NONE, v) < ALARM);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(kernel_is_invariant),
      cmocka_unit_test(mistakes_are_found),
      cmocka_unit_test(broken_views_are_found),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
