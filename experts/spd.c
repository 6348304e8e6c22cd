/* Factoring symmetric positive definite matrices, and naming the direction along which one is not.
 *
 * With s_i = 1/sqrt(a_ii) the matrix S A S has unit diagonal and A = S^-1 (L_s L_s') S^-1, so L = S^-1 L_s. Scaling by
 * the diagonal is nearly optimal among diagonal scalings (van der Sluis 1969, Numer. Math. 14, theorem 4.1), so a pivot
 * near rounding is singularity, not a choice of units.
 */
#include "experts/spd.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/linalg.h"

enum { EIGEN_MOST = 200 }; /* up to here the failing direction is an eigenvector */

bool poei_spd_symmetrise(size_t d, double *a, size_t *i, size_t *j) {
  for (size_t r = 0; r < d; r++) {
    for (size_t c = 0; c < r; c++) {
      double lower = a[r * d + c], upper = a[c * d + r];
      double scale = sqrt(fabs(a[r * d + r])) * sqrt(fabs(a[c * d + c]));
      if (!(fabs(lower - upper) <= 1e-6 * scale)) {
        *i = r;
        *j = c;
        return false;
      }
      a[r * d + c] = a[c * d + r] = lower + (upper - lower) / 2.0;
    }
  }
  return true;
}

bool poei_spd_diagonal(size_t d, const double *a) {
  for (size_t i = 0; i < d; i++) {
    for (size_t j = 0; j < d; j++) {
      if (i != j && a[i * d + j] != 0.0) {
        return false;
      }
    }
  }
  return true;
}

static void why_append(char *why, size_t size, const char *text) {
  size_t used = strlen(why), length = strlen(text);
  if (used + length < size) {
    memcpy(why + used, text, length + 1);
  }
}

void poei_spd_direction(size_t d, double *v, double value, char *why, size_t size) {
  why[0] = '\0';
  double norm = 0.0, lead = 0.0;
  for (size_t i = 0; i < d; i++) {
    norm = hypot(norm, v[i]);
    lead = fabs(v[i]) > fabs(lead) ? v[i] : lead;
  }
  double sign = lead < 0.0 ? -1.0 : 1.0, last = INFINITY;
  size_t shown = 0;
  for (; shown < 4 && shown < d; shown++) {
    size_t at = 0;
    for (size_t i = 1; i < d; i++) {
      at = fabs(v[i]) > fabs(v[at]) ? i : at;
    }
    double entry = sign * v[at] / norm;
    if (fabs(entry) < 1e-3 * fmin(last, 1.0)) {
      break;
    }
    last = fabs(entry);
    char term[64];
    snprintf(term, sizeof term, "%s%.3g*x[%zu]",
             shown == 0    ? ""
             : entry < 0.0 ? " - "
                           : " + ",
             shown == 0 ? entry : fabs(entry), at);
    why_append(why, size, term);
    v[at] = 0.0;
  }
  char text[64];
  snprintf(text, sizeof text, "%s (value %.3g)", shown == 4 && d > 4 ? " + ..." : "", value / norm / norm);
  why_append(why, size, text);
}

/* Explains why the scaled matrix failed at leading minor `order` by the direction (-A_11^-1 a_k, 1), along which it is
 * the pivot that failed: one more factorisation, where eigenvectors of a large matrix take a hundred. */
static void why_pivot(size_t d, const double *a, size_t order, char *why, size_t size) {
  size_t k = order - 1;
  double *l = poei_alloc(k + 1, (k + 1) * sizeof *l), *v = poei_calloc(d, sizeof *v), value = 0.0;
  bool solved = l != NULL && v != NULL;
  for (size_t i = 0; solved && i < k; i++) {
    for (size_t j = 0; j < k; j++) {
      l[i * k + j] = a[i * d + j] / sqrt(a[i * d + i]) / sqrt(a[j * d + j]);
    }
    v[i] = -a[i * d + k] / sqrt(a[i * d + i]) / sqrt(a[k * d + k]);
  }
  if (solved && poei_cholesky(k, l, l) == 0) {
    poei_solve_lower(k, l, 1, v, k);
    poei_solve_lower_transposed(k, l, 1, v, k);
    v[k] = 1.0;
    for (size_t i = 0; i <= k; i++) {
      v[i] /= sqrt(a[i * d + i]);
    }
    for (size_t i = 0; i <= k; i++) {
      for (size_t j = 0; j <= k; j++) {
        value += v[i] * a[i * d + j] * v[j];
      }
    }
    poei_spd_direction(d, v, value, why, size);
  } else {
    snprintf(why, size, "the leading minor of order %zu", order);
  }
  poei_free(l);
  poei_free(v);
}

/* Explains why the scaled matrix failed at leading minor `order`; the scaling is s_i = 1/sqrt(a_ii). */
static void why_singular(size_t d, const double *a, size_t order, char *why, size_t size) {
  double *work = poei_alloc(d, (2 * d + 2) * sizeof *work);
  if (work == NULL) {
    snprintf(why, size, "the leading minor of order %zu", order);
    return;
  }
  double *scaled = work, *vectors = work + d * d, *values = vectors + d * d, *v = values + d;
  for (size_t i = 0; i < d; i++) {
    for (size_t j = 0; j < d; j++) {
      scaled[i * d + j] = a[i * d + j] / sqrt(a[i * d + i]) / sqrt(a[j * d + j]);
    }
  }
  if (poei_symmetric_eigen(d, scaled, values, vectors)) {
    for (size_t i = 0; i < d; i++) {
      v[i] = vectors[i] / sqrt(a[i * d + i]); /* v' A v = the smallest eigenvalue */
    }
    poei_spd_direction(d, v, values[0], why, size);
  } else {
    snprintf(why, size, "the leading minor of order %zu", order);
  }
  poei_free(work);
}

bool poei_spd_factor(size_t d, const double *a, double *l, char *why, size_t size) {
  why[0] = '\0';
  for (size_t i = 0; i < d; i++) {
    if (!(a[i * d + i] > 0.0) || isinf(a[i * d + i])) {
      snprintf(why, size, "x[%zu] (value %.3g)", i, a[i * d + i]);
      return false;
    }
  }
  for (size_t i = 0; i < d; i++) {
    for (size_t j = 0; j < d; j++) {
      l[i * d + j] = a[i * d + j] / sqrt(a[i * d + i]) / sqrt(a[j * d + j]);
    }
  }
  size_t failed = poei_cholesky(d, l, l);
  for (size_t i = 0; failed == 0 && i < d; i++) {
    failed = l[i * d + i] * l[i * d + i] > 4.0 * (double)d * DBL_EPSILON ? 0 : i + 1;
  }
  if (failed > 0) {
    (d > EIGEN_MOST ? why_pivot : why_singular)(d, a, failed, why, size);
    return false;
  }
  for (size_t i = 0; i < d; i++) {
    double root = sqrt(a[i * d + i]);
    for (size_t j = 0; j <= i; j++) {
      l[i * d + j] *= root;
    }
  }
  return true;
}
