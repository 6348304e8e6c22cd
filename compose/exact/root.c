/* Square roots of precision matrices (root.h): the square-root information filter.
 *
 * A precision matrix that is a sum, P = sum_i t_i w_i w_i', squares what it is made of: a step of standard deviation
 * 1e-3 behind a prior of 1e3 puts 1e6 and 1e-6 into one number, of which ten digits of the smaller are lost. Its square
 * root M, P = M' M, holds both: each row w is rotated into M from the last coordinate to the first (Givens),
 *
 *   (p, w) <- (c p + s w, c w - s p),   c = p_j / r,  s = w_j / r,  r = |(p_j, w_j)|,
 *
 * which leaves rows of very different size their digits (Bierman 1977, Factorization Methods for Discrete Sequential
 * Estimation, chapter V; Cox and Higham 1998 on row-wise errors). What rounding leaves of a row that depends on the
 * others is told from information by a running bound on each row's error.
 *
 * Subtracting rows N:  M'M - N'N = M'(I - V'V)M with V M = N; with I - V'V = K'K, K lower, the new root is K M.
 * Coordinates are scaled by powers of two to precisions near 1, so that units do not matter.
 */
#include "compose/exact/root.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/linalg.h"
#include "experts/spd.h"

static const double doubt = 16.0;                    /* a pivot must be this many times its error bound */
static const double input_noise = 8.0 * DBL_EPSILON; /* of a row as given, relative                      */

poe_status poei_root_start(poei_root *root, size_t d, const double *diagonal, poe_error *error) {
  *root = (poei_root){.d = d};
  root->scale = poei_alloc(d, sizeof(double));
  root->factor = poei_calloc(d, d * sizeof(double));
  root->noise = poei_calloc(d, sizeof(double));
  root->work = poei_alloc(d, sizeof(double));
  if (root->scale == NULL || root->factor == NULL || root->noise == NULL || root->work == NULL) {
    poei_root_free(root);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t j = 0; j < d; j++) {
    int exponent = 0;
    bool usable = diagonal[j] > 0.0 && isfinite(diagonal[j]);
    frexp(usable ? sqrt(diagonal[j]) : 1.0, &exponent);
    root->scale[j] = ldexp(1.0, exponent);
  }
  return POE_OK;
}

void poei_root_free(poei_root *root) {
  poei_free(root->scale);
  poei_free(root->factor);
  poei_free(root->noise);
  poei_free(root->work);
  *root = (poei_root){0};
}

void poei_root_copy(poei_root *to, const poei_root *from) {
  memcpy(to->scale, from->scale, from->d * sizeof(double));
  memcpy(to->factor, from->factor, from->d * from->d * sizeof(double));
  memcpy(to->noise, from->noise, from->d * sizeof(double));
}

/* Rotates row w (coordinates 0..j) into row p so that w_j becomes 0; `noise` are their error bounds. */
static void rotate(size_t j, double *restrict p, double *restrict w, double *p_noise, double *w_noise) {
  double r = hypot(p[j], w[j]), c = p[j] / r, s = w[j] / r, most = 0.0;
  for (size_t k = 0; k < j; k++) {
    double kept = c * w[k], moved = s * p[k];
    p[k] = c * p[k] + s * w[k];
    w[k] = kept - moved;
    most = fmax(most, fmax(fabs(kept), fabs(moved)));
  }
  p[j] = r;
  w[j] = 0.0;
  double before = *p_noise;
  *p_noise = fabs(c) * before + fabs(s) * *w_noise + 2.0 * DBL_EPSILON * r;
  *w_noise = fabs(c) * *w_noise + fabs(s) * before + 2.0 * DBL_EPSILON * most;
}

void poei_root_add(poei_root *root, double t, size_t n, const size_t *index, const double *w) {
  size_t d = root->d, last = 0;
  double *row = root->work, weight = sqrt(t), noise = 0.0;
  memset(row, 0, d * sizeof *row);
  for (size_t i = 0; i < n; i++) {
    size_t j = index == NULL ? i : index[i];
    row[j] = weight * w[i] / root->scale[j];
    last = row[j] != 0.0 && j > last ? j : last;
    noise = fmax(noise, input_noise * fabs(row[j]));
  }
  for (size_t j = last + 1; j-- > 0;) {
    double *pivot = &root->factor[j * d];
    if (fabs(row[j]) <= noise) {
      row[j] = 0.0;
    } else if (pivot[j] == 0.0) { /* the first to say something about coordinate j */
      for (size_t k = 0; k <= j; k++) {
        pivot[k] = row[j] < 0.0 ? -row[k] : row[k];
      }
      root->noise[j] = noise;
      return;
    } else {
      rotate(j, pivot, row, &root->noise[j], &noise);
    }
  }
}

bool poei_root_proper(const poei_root *root) {
  for (size_t j = 0; j < root->d; j++) {
    double pivot = root->factor[j * root->d + j];
    if (!(pivot > doubt * root->noise[j]) || isinf(pivot)) {
      return false;
    }
  }
  return true;
}

/* K lower triangular with K'K = C: the Cholesky factor of C with its coordinates in reverse order. c[d, d] becomes K;
 * work[d, d]. */
static bool reversed_cholesky(size_t d, double *c, double *work) {
  for (size_t i = 0; i < d; i++) {
    for (size_t j = 0; j < d; j++) {
      work[i * d + j] = c[(d - 1 - i) * d + d - 1 - j];
    }
  }
  if (poei_cholesky(d, work, work) != 0) {
    return false;
  }
  for (size_t i = 0; i < d; i++) {
    if (!(work[i * d + i] * work[i * d + i] > 4.0 * (double)d * DBL_EPSILON)) {
      return false;
    }
    for (size_t j = 0; j < d; j++) {
      c[i * d + j] = work[(d - 1 - j) * d + d - 1 - i];
    }
  }
  return true;
}

poe_status poei_root_subtract(poei_root *root, size_t m, double *w, bool *proper, poe_error *error) {
  size_t d = root->d;
  *proper = poei_root_proper(root);
  if (m == 0 || !*proper) {
    return POE_OK;
  }
  double *c = poei_calloc(d, d * sizeof *c), *product = poei_alloc(d, d * sizeof *product);
  if (c == NULL || product == NULL) {
    poei_free(c);
    poei_free(product);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < m; i++) {
    for (size_t j = 0; j < d; j++) {
      w[i * d + j] /= root->scale[j];
    }
  }
  for (size_t j = 0; j < d; j++) {
    c[j * d + j] = 1.0;
  }
  poei_solve_lower_transposed(d, root->factor, m, w, d); /* rows of V: V M = N */
  poei_dgemm(true, false, d, d, m, -1.0, w, d, w, d, 1.0, c, d);
  *proper = reversed_cholesky(d, c, product);
  if (*proper) {
    poei_dgemm(false, false, d, d, d, 1.0, c, d, root->factor, d, 0.0, product, d);
    for (size_t i = 0; i < d; i++) { /* the product of lower triangles is one */
      memset(&product[i * d + i + 1], 0, (d - i - 1) * sizeof *product);
    }
    memcpy(root->factor, product, d * d * sizeof *product);
  }
  poei_free(c);
  poei_free(product);
  return POE_OK;
}

void poei_root_inverse(const poei_root *root, double *l) {
  size_t d = root->d;
  memset(l, 0, d * d * sizeof *l);
  for (size_t i = 0; i < d; i++) {
    l[i * d + i] = 1.0;
  }
  poei_solve_lower(d, root->factor, d, l, d); /* row i is column i of M^-1 */
  for (size_t i = 0; i < d; i++) {
    for (size_t j = 0; j < i; j++) {
      l[i * d + j] = l[j * d + i] / root->scale[i];
    }
    l[i * d + i] /= root->scale[i];
  }
  for (size_t i = 0; i < d; i++) {
    memset(&l[i * d + i + 1], 0, (d - i - 1) * sizeof *l);
  }
}

/* ---- rows of a given matrix ---- */

/* Cholesky's algorithm without a fixed order: the coordinate of the largest remaining share of its own precision comes
 * next, until what remains is rounding (Higham 2002, Accuracy and Stability of Numerical Algorithms, section 10.3). */
static bool pivoted_rows(size_t d, const double *precision, double *left, double *w, size_t *n) {
  double tolerance = 8.0 * (double)d * DBL_EPSILON;
  memcpy(left, precision, d * d * sizeof *left);
  for (*n = 0; *n < d; (*n)++) {
    size_t pivot = 0;
    double most = 0.0;
    for (size_t j = 0; j < d; j++) {
      double whole = precision[j * d + j], share = whole > 0.0 ? left[j * d + j] / whole : 0.0;
      if (whole < 0.0 || share < -tolerance) {
        return false;
      }
      pivot = share > most ? j : pivot;
      most = fmax(most, share);
    }
    if (most <= tolerance) {
      break;
    }
    double *row = &w[*n * d], scale = 1.0 / sqrt(left[pivot * d + pivot]);
    for (size_t j = 0; j < d; j++) {
      row[j] = left[pivot * d + j] * scale;
    }
    for (size_t i = 0; i < d; i++) {
      for (size_t j = 0; j < d && row[i] != 0.0; j++) {
        left[i * d + j] -= row[i] * row[j];
      }
    }
    for (size_t j = 0; j < d; j++) { /* used up */
      left[pivot * d + j] = left[j * d + pivot] = 0.0;
    }
  }
  for (size_t i = 0; i < d; i++) {
    for (size_t j = 0; j < d; j++) {
      double whole = sqrt(fabs(precision[i * d + i])) * sqrt(fabs(precision[j * d + j]));
      if (!(fabs(left[i * d + j]) <= 4.0 * tolerance * whole)) { /* also NaN */
        return false;
      }
    }
  }
  return true;
}

/* Rows w[d, d], lower triangular, of a positive definite P. False when it is not, to rounding. work[d, d]. */
static bool triangular_rows(size_t d, const double *precision, double *work, double *w) {
  for (size_t i = 0; i < d; i++) {
    for (size_t j = 0; j < d; j++) {
      work[i * d + j] = precision[i * d + j] / sqrt(precision[i * d + i]) / sqrt(precision[j * d + j]);
    }
  }
  if (!reversed_cholesky(d, work, w)) {
    return false;
  }
  for (size_t i = 0; i < d; i++) {
    for (size_t j = 0; j < d; j++) {
      w[i * d + j] = work[i * d + j] * sqrt(precision[j * d + j]);
    }
  }
  return true;
}

bool poei_root_rows(size_t d, const double *precision, double *work, double *w, size_t *n) {
  bool positive = true;
  for (size_t j = 0; j < d; j++) {
    double p = precision[j * d + j];
    positive = positive && p > 0.0;
    if (!(p >= 0.0) || isinf(p)) {
      return false;
    }
  }
  *n = 0;
  if (poei_spd_diagonal(d, precision)) {
    for (size_t j = 0; j < d; j++) {
      if (precision[j * d + j] > 0.0) {
        memset(&w[*n * d], 0, d * sizeof *w);
        w[(*n)++ * d + j] = sqrt(precision[j * d + j]);
      }
    }
    return true;
  }
  if (positive && triangular_rows(d, precision, work, w)) {
    *n = d;
    return true;
  }
  return pivoted_rows(d, precision, work, w, n);
}
