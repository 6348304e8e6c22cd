/* Mixtures of Gaussians: weighted log-densities and gradients of a tile of rows.
 *
 * log p(x) = log sum_c exp(l_c), l_c = offset_c - q_c / 2, q_c = (x - m_c)' S_c^-1 (x - m_c);
 * grad log p = -sum_c r_c S_c^-1 (x - m_c), r_c = exp(l_c - log p).
 *
 * Diagonal components go row by row: one component along the coordinates, several side by side (transposed arrays), so
 * a row's bits do not depend on its neighbours. Dense components go a tile at a time through one triangular solve (or
 * product) per component; tiles are padded to a multiple of eight rows, at which the kernels of BLAS give a row the
 * same bits wherever it stands.
 */
#include <string.h>

#include "core/linalg.h"
#include "core/numerics.h"
#include "core/pool.h"
#include "experts/family.h"
#include "experts/normals.h"

enum { TILE = POEI_TILE, PAD = 8 };

/* A component this many nats under the largest is left out of a row's gradient: exp(-60) is 1e-26. */
static const double negligible = 60.0;

static size_t tile_padded(size_t n) {
  size_t tile = n < TILE ? n : TILE;
  return (tile + PAD - 1) / PAD * PAD;
}

size_t poei_normals_scratch(const void *self, unsigned want, size_t n) {
  const poei_normals *g = self;
  if ((want & POE_WANT_SAMPLE) != 0) {
    return 0;
  }
  size_t rows = tile_padded(n), number = sizeof(double);
  if (g->shape == POEI_NORMALS_DIAGONAL) {
    return g->k == 1 ? 0 : 2 * poe_scratch_need(g->k, number);
  }
  return 2 * poe_scratch_need(rows * g->d, number) + 2 * poe_scratch_need(rows, number) +
         poe_scratch_need(rows * g->k, number);
}

/* NaN is kept only for a row that has one; overflow on the way (or infinity minus infinity) is just far away. */
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

/* ---- diagonal ---- */

static void diagonal_gradient(const poei_normals *g, size_t c, double weight, const double *x, double *grad) {
  const double *mean = g->mean + c * g->d, *scale = g->factor + c * g->d;
  for (size_t j = 0; j < g->d; j++) {
    grad[j] -= weight * ((x[j] - mean[j]) * scale[j] * scale[j]);
  }
}

static void diagonal_one(const poei_normals *g, poe_rows rows, poe_weights weights, poe_accum out) {
  for (size_t i = 0; i < rows.n; i++) {
    const double *x = rows.x + i * rows.ld;
    double w = weights.w[i * weights.inc];
    double square = poei_scaled_square(g->d, x, g->mean, g->factor);
    poe_accum_value(&out.logp[i], w, g->offset[0] - square / 2.0);
    if (out.grad != NULL && w != 0.0 && square < INFINITY) {
      diagonal_gradient(g, 0, w, x, out.grad + i * out.ldg);
    }
  }
}

/* q[k] for one row: the inner loop runs over components, which are independent. */
static void diagonal_squares(const poei_normals *g, const double *x, double *restrict q) {
  size_t k = g->k;
  memset(q, 0, k * sizeof *q);
  for (size_t j = 0; j < g->d; j++) {
    const double *restrict mean = g->mean_t + j * k, *restrict scale = g->factor_t + j * k;
    double value = x[j];
    for (size_t c = 0; c < k; c++) {
      double z = (value - mean[c]) * scale[c];
      q[c] += z * z;
    }
  }
}

static void diagonal_many(const poei_normals *g, poe_rows rows, poe_weights weights, poe_accum out,
                          poe_scratch *scratch) {
  size_t k = g->k;
  double *l = poe_scratch_doubles(scratch, k), *r = poe_scratch_doubles(scratch, k);
  for (size_t i = 0; i < rows.n; i++) {
    const double *x = rows.x + i * rows.ld;
    double w = weights.w[i * weights.inc];
    diagonal_squares(g, x, l);
    for (size_t c = 0; c < k; c++) {
      l[c] = g->offset[c] - l[c] / 2.0;
    }
    double value = poei_log_sum_exp(l, k, 1);
    poe_accum_value(&out.logp[i], w, value);
    if (out.grad == NULL || w == 0.0 || !isfinite(value)) {
      continue;
    }
    for (size_t c = 0; c < k; c++) {
      r[c] = l[c] - value;
    }
    poei_vexp(r, r, k);
    for (size_t c = 0; c < k; c++) {
      if (l[c] - value > -negligible) {
        diagonal_gradient(g, c, w * r[c], x, out.grad + i * out.ldg);
      }
    }
  }
}

/* ---- dense, one tile ---- */

/* For component c: y[padded, d] becomes S^-1 (x - m) (only when `direction`), square[n] the quadratic forms. */
static void dense_solve(const poei_normals *g, size_t c, poe_rows rows, size_t padded, bool direction, double *r,
                        double *y, double *square) {
  size_t d = g->d;
  const double *mean = g->mean + c * d, *factor = g->factor + c * d * d;
  for (size_t i = 0; i < rows.n; i++) {
    for (size_t j = 0; j < d; j++) {
      r[i * d + j] = rows.x[i * rows.ld + j] - mean[j];
    }
  }
  memset(r + rows.n * d, 0, (padded - rows.n) * d * sizeof *r);
  if (g->shape == POEI_NORMALS_PRECISION) {
    poei_dgemm(false, false, padded, d, d, 1.0, r, d, g->precision + c * d * d, d, 0.0, y, d);
  } else {
    memcpy(y, r, padded * d * sizeof *y);
    poei_solve_lower(d, factor, padded, y, d);
  }
  for (size_t i = 0; i < rows.n; i++) {
    const double *z = y + i * d, *other = g->shape == POEI_NORMALS_PRECISION ? r + i * d : z;
    square[i] = far_away(poei_dot(d, z, other), d, rows.x + i * rows.ld);
  }
  if (direction && g->shape == POEI_NORMALS_COVARIANCE) {
    poei_solve_lower_transposed(d, factor, padded, y, d);
  }
}

typedef struct dense_work {
  double *r, *y;  /* [padded, d] */
  double *square; /* [padded]    */
  double *value;  /* [padded]    */
  double *l;      /* [padded, k] */
} dense_work;

static void dense_gradient(const poei_normals *g, double weight, const double *y, double *grad) {
  for (size_t j = 0; j < g->d; j++) {
    grad[j] -= weight * y[j];
  }
}

/* Adds the gradients of the rows that component c matters to. */
static void dense_mixture_gradient(const poei_normals *g, size_t c, poe_rows rows, size_t padded, poe_weights weights,
                                   poe_accum out, dense_work work) {
  bool any = false;
  for (size_t i = 0; i < rows.n; i++) {
    double w = weights.w[i * weights.inc];
    any = any || (w != 0.0 && isfinite(work.value[i]) && work.l[i * g->k + c] - work.value[i] > -negligible);
  }
  if (!any) {
    return;
  }
  dense_solve(g, c, rows, padded, true, work.r, work.y, work.square);
  for (size_t i = 0; i < rows.n; i++) {
    double w = weights.w[i * weights.inc], l = work.l[i * g->k + c] - work.value[i];
    if (w != 0.0 && isfinite(work.value[i]) && l > -negligible) {
      dense_gradient(g, w * exp(l), work.y + i * g->d, out.grad + i * out.ldg);
    }
  }
}

static void dense_tile(const poei_normals *g, poe_rows rows, poe_weights weights, poe_accum out, dense_work work) {
  size_t k = g->k, padded = tile_padded(rows.n);
  bool wanted = out.grad != NULL;
  for (size_t c = 0; c < k; c++) {
    dense_solve(g, c, rows, padded, wanted && k == 1, work.r, work.y, work.square);
    for (size_t i = 0; i < rows.n; i++) {
      work.l[i * k + c] = g->offset[c] - work.square[i] / 2.0;
    }
  }
  for (size_t i = 0; i < rows.n; i++) {
    double w = weights.w[i * weights.inc];
    work.value[i] = k == 1 ? work.l[i] : poei_log_sum_exp(work.l + i * k, k, 1);
    poe_accum_value(&out.logp[i], w, work.value[i]);
    if (wanted && k == 1 && w != 0.0 && isfinite(work.value[i])) {
      dense_gradient(g, w, work.y + i * g->d, out.grad + i * out.ldg);
    }
  }
  for (size_t c = 0; wanted && k > 1 && c < k; c++) {
    dense_mixture_gradient(g, c, rows, padded, weights, out, work);
  }
}

static void dense_rows(const poei_normals *g, poe_rows rows, poe_weights weights, poe_accum out, poe_scratch *scratch) {
  size_t padded = tile_padded(rows.n);
  dense_work work = {.r = poe_scratch_doubles(scratch, padded * g->d),
                     .y = poe_scratch_doubles(scratch, padded * g->d),
                     .square = poe_scratch_doubles(scratch, padded),
                     .value = poe_scratch_doubles(scratch, padded),
                     .l = poe_scratch_doubles(scratch, padded * g->k)};
  for (size_t start = 0; start < rows.n; start += TILE) {
    size_t n = rows.n - start < TILE ? rows.n - start : TILE;
    poe_rows part = {n, rows.d, rows.ld, rows.x + start * rows.ld};
    poe_weights part_weights = {weights.w + start * weights.inc, weights.inc};
    poe_accum part_out = {out.logp + start, out.grad != NULL ? out.grad + start * out.ldg : NULL, out.ldg};
    dense_tile(g, part, part_weights, part_out, work);
  }
}

poe_status poei_normals_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                 poe_scratch *scratch, poe_error *error) {
  (void)error;
  const poei_normals *g = self;
  size_t mark = poe_scratch_mark(scratch);
  if (g->shape != POEI_NORMALS_DIAGONAL) {
    dense_rows(g, rows, weights, out, scratch);
  } else if (g->k > 1) {
    diagonal_many(g, rows, weights, out, scratch);
  } else {
    diagonal_one(g, rows, weights, out);
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}
