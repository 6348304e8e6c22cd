/* N(x; m, S) with S = D + FF', D = diag(sd^2), in time proportional to d r (Woodbury 1950; the factor analysis model).
 *
 * With z = D^-1/2 (x - m), W = D^-1/2 F and M = I + W'W = LL':
 *   S^-1 (x - m) = D^-1/2 (z - W c),  c = M^-1 W'z,    log det S = sum log sd_j^2 + log det M,
 *   (x - m)'S^-1(x - m) = |z - W c|^2 + |c|^2,
 * the last because c minimises the right-hand side (ridge regression): a sum of squares, where z'z - c'Mc would cancel.
 * A draw is m + D^1/2 e + F f with e, f standard normal.
 */
#include "experts/low_rank.h"

#include <string.h>

#include "core/alloc.h"
#include "core/linalg.h"
#include "core/numerics.h"
#include "core/pool.h"
#include "experts/closed.h"
#include "experts/family.h"

enum { TILE = POEI_TILE, PAD = 8 }; /* tiles of a multiple of eight rows, as in normals_eval.c */

/* ---- making ---- */

poei_low_rank *poei_low_rank_alloc(size_t d, size_t r) {
  poei_low_rank *g = poei_calloc(1, sizeof *g);
  size_t wide = 0, square = 0;
  if (g == NULL || !poei_mul_size(d, r, &wide) || !poei_mul_size(r, r, &square)) {
    poei_free(g);
    return NULL;
  }
  g->d = d;
  g->r = r;
  g->mean = poei_calloc(d, sizeof(double));
  g->scale = poei_calloc(d, sizeof(double));
  g->w = poei_calloc(wide, sizeof(double));
  g->m = poei_calloc(square, sizeof(double));
  g->support = poei_family_reals(d);
  g->head = poei_family_heads(d);
  if (g->mean == NULL || g->scale == NULL || g->w == NULL || g->m == NULL || g->support == NULL || g->head == NULL) {
    poei_low_rank_destroy(g);
    return NULL;
  }
  return g;
}

poe_status poei_low_rank_finish(poei_low_rank *g, poe_error *error) {
  size_t d = g->d, r = g->r;
  double half_log_det = 0.0;
  for (size_t j = 0; j < d; j++) {
    half_log_det -= log(g->scale[j]);
    for (size_t k = 0; k < r; k++) {
      g->w[j * r + k] *= g->scale[j];
    }
  }
  poei_dgemm(true, false, r, r, d, 1.0, g->w, r, g->w, r, 0.0, g->m, r);
  for (size_t k = 0; k < r; k++) {
    g->m[k * r + k] += 1.0;
  }
  if (poei_cholesky(r, g->m, g->m) != 0) { /* I + W'W is positive definite, unless it overflows or drowns the I */
    return poe_error_set(error, POE_E_DOMAIN,
                         "`factor` and `sd` of `gaussian` are too many orders of magnitude apart to be added");
  }
  half_log_det += poei_cholesky_half_log_det(r, g->m);
  g->offset = -(double)d * POEI_LOG_2PI / 2.0 - half_log_det;
  return POE_OK;
}

void poei_low_rank_destroy(void *self) {
  poei_low_rank *g = self;
  if (g != NULL) {
    poei_free(g->mean);
    poei_free(g->scale);
    poei_free(g->w);
    poei_free(g->m);
    poei_free(g->support);
    poei_free(g->head);
    poei_free(g);
  }
}

void poei_low_rank_traits(const void *self, poe_traits *traits) {
  const poei_low_rank *g = self;
  *traits = (poe_traits){.dim = g->d, .support = g->support, .head = g->head};
  traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z |
                         (g->d <= POEI_FORM_NUMBERS / g->d ? (unsigned)POE_CAN_FORM : 0u);
}

poe_status poei_low_rank_log_z(const void *self, double *log_z, poe_error *error) {
  (void)self;
  (void)error;
  *log_z = 0.0;
  return POE_OK;
}

/* ---- values ---- */

static size_t tile_padded(size_t n) {
  size_t tile = n < TILE ? n : TILE;
  return (tile + PAD - 1) / PAD * PAD;
}

size_t poei_low_rank_scratch(const void *self, unsigned want, size_t n) {
  const poei_low_rank *g = self;
  if ((want & POE_WANT_SAMPLE) != 0) {
    return poe_scratch_need(g->r, sizeof(double));
  }
  size_t rows = tile_padded(n);
  return poe_scratch_need(rows * g->d, sizeof(double)) + poe_scratch_need(rows * g->r, sizeof(double));
}

/* NaN is kept only for a row that has one; overflow on the way is just far away. */
static double far_away(double square, size_t d, const double *x) {
  if (isfinite(square)) {
    return square;
  }
  for (size_t j = 0; j < d; j++) {
    if (isnan(x[j])) {
      return NAN;
    }
  }
  return INFINITY;
}

/* z[padded, d], c[padded, r]. */
static void low_rank_tile(const poei_low_rank *g, poe_rows rows, poe_weights weights, poe_accum out, double *z,
                          double *c) {
  size_t d = g->d, r = g->r, padded = tile_padded(rows.n);
  for (size_t i = 0; i < rows.n; i++) {
    for (size_t j = 0; j < d; j++) {
      z[i * d + j] = (rows.x[i * rows.ld + j] - g->mean[j]) * g->scale[j];
    }
  }
  memset(z + rows.n * d, 0, (padded - rows.n) * d * sizeof *z);
  poei_dgemm(false, false, padded, r, d, 1.0, z, d, g->w, r, 0.0, c, r);
  poei_solve_lower(r, g->m, padded, c, r);
  poei_solve_lower_transposed(r, g->m, padded, c, r);
  poei_dgemm(false, true, padded, d, r, -1.0, c, r, g->w, r, 1.0, z, d);
  for (size_t i = 0; i < rows.n; i++) {
    const double *row = z + i * d;
    double w = weights.w[i * weights.inc];
    double square = poei_dot(d, row, row) + poei_dot(r, c + i * r, c + i * r);
    square = far_away(square, d, rows.x + i * rows.ld);
    poe_accum_value(&out.logp[i], w, g->offset - square / 2.0);
    for (size_t j = 0; out.grad != NULL && w != 0.0 && square < INFINITY && j < d; j++) {
      out.grad[i * out.ldg + j] -= w * (row[j] * g->scale[j]);
    }
  }
}

poe_status poei_low_rank_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                  poe_scratch *scratch, poe_error *error) {
  (void)error;
  const poei_low_rank *g = self;
  size_t mark = poe_scratch_mark(scratch), padded = tile_padded(rows.n);
  double *z = poe_scratch_doubles(scratch, padded * g->d), *c = poe_scratch_doubles(scratch, padded * g->r);
  for (size_t start = 0; start < rows.n; start += TILE) {
    size_t n = rows.n - start < TILE ? rows.n - start : TILE;
    poe_rows part = {n, rows.d, rows.ld, rows.x + start * rows.ld};
    poe_weights part_weights = {weights.w + start * weights.inc, weights.inc};
    poe_accum part_out = {out.logp + start, out.grad != NULL ? out.grad + start * out.ldg : NULL, out.ldg};
    low_rank_tile(g, part, part_weights, part_out, z, c);
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

/* ---- draws ---- */

poe_status poei_low_rank_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                poe_error *error) {
  (void)error;
  const poei_low_rank *g = self;
  size_t mark = poe_scratch_mark(scratch), r = g->r;
  double *f = poe_scratch_doubles(scratch, r);
  for (size_t i = 0; i < rows.n; i++) {
    double *x = rows.x + i * rows.ld;
    poe_rng_normals(at[i], g->d, x);
    poe_rng_normals(poe_rng_child(at[i], 1), r, f); /* the factors read a sequence of their own */
    for (size_t j = 0; j < g->d; j++) {
      x[j] = g->mean[j] + (x[j] + poei_dot(r, g->w + j * r, f)) / g->scale[j];
    }
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

/* ---- closed form: P = D^-1/2 (I - V V') D^-1/2, V = W L^-T ---- */

poe_status poei_low_rank_form(const void *self, poe_form *form, poe_error *error) {
  const poei_low_rank *g = self;
  size_t d = g->d, r = g->r;
  double *v = poei_copy(g->w, d * r, sizeof *v);
  poe_form made = {0};
  poe_status status = v != NULL ? poei_form_gaussians(&made, 1, d, error) : poei_family_memory("gaussian", error);
  if (status == POE_OK) {
    poei_solve_lower(r, g->m, d, v, r);
    poei_dgemm(false, true, d, d, r, -1.0, v, r, v, r, 0.0, made.precision, d);
    for (size_t i = 0; i < d; i++) {
      made.precision[i * d + i] += 1.0;
      for (size_t j = 0; j <= i; j++) { /* exactly symmetric, which a product is only to rounding */
        made.precision[i * d + j] *= g->scale[i] * g->scale[j];
        made.precision[j * d + i] = made.precision[i * d + j];
      }
    }
    memcpy(made.origin, g->mean, d * sizeof *g->mean);
    made.constant[0] = g->offset;
    *form = made;
  }
  poei_free(v);
  return status;
}

/* ---- as an expert of its own ---- */

static const poe_param no_params[] = {{0}};

const poe_expert_ops poei_low_rank_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "low rank gaussian",
    .doc = "one Gaussian, diagonal plus low rank",
    .params = no_params,
    .destroy = poei_low_rank_destroy,
    .traits = poei_low_rank_traits,
    .scratch = poei_low_rank_scratch,
    .eval_add = poei_low_rank_eval_add,
    .sample = poei_low_rank_sample,
    .log_z = poei_low_rank_log_z,
    .form = poei_low_rank_form,
};

poe_status poei_low_rank_wrap(poei_low_rank *g, poe_expert **out, poe_error *error) {
  return poe_expert_wrap(&poei_low_rank_ops, g, out, error);
}
