/* Plain second versions of linear algebra and densities (Gauss-Jordan elimination with partial pivoting). */
#include "tests/conformance/reference.h"

#include <math.h>
#include <string.h>

enum { MAX = 64 };

/* Solves a y = b for m right-hand sides b[d, m], overwritten; returns log |det a|. */
static double eliminate(size_t d, double *a, size_t m, double *b) {
  double log_det = 0.0;
  for (size_t k = 0; k < d; k++) {
    size_t pivot = k;
    for (size_t i = k + 1; i < d; i++) {
      pivot = fabs(a[i * d + k]) > fabs(a[pivot * d + k]) ? i : pivot;
    }
    for (size_t j = 0; j < d; j++) {
      double swap = a[k * d + j];
      a[k * d + j] = a[pivot * d + j];
      a[pivot * d + j] = swap;
    }
    for (size_t j = 0; j < m; j++) {
      double swap = b[k * m + j];
      b[k * m + j] = b[pivot * m + j];
      b[pivot * m + j] = swap;
    }
    double diagonal = a[k * d + k];
    log_det += log(fabs(diagonal));
    for (size_t j = 0; j < d; j++) {
      a[k * d + j] /= diagonal;
    }
    for (size_t j = 0; j < m; j++) {
      b[k * m + j] /= diagonal;
    }
    for (size_t i = 0; i < d; i++) {
      double factor = i == k ? 0.0 : a[i * d + k];
      for (size_t j = 0; j < d; j++) {
        a[i * d + j] -= factor * a[k * d + j];
      }
      for (size_t j = 0; j < m; j++) {
        b[i * m + j] -= factor * b[k * m + j];
      }
    }
  }
  return log_det;
}

double reference_gaussian(size_t d, const double *x, const double *mean, const double *cov) {
  double a[MAX * MAX], r[MAX], square = 0.0;
  memcpy(a, cov, d * d * sizeof *a);
  for (size_t i = 0; i < d; i++) {
    r[i] = x[i] - mean[i];
  }
  double log_det = eliminate(d, a, 1, r);
  for (size_t i = 0; i < d; i++) {
    square += (x[i] - mean[i]) * r[i];
  }
  return -0.5 * square - 0.5 * log_det - 0.5 * (double)d * log(2.0 * acos(-1.0));
}

void reference_cov(size_t d, double rho, double *cov) {
  for (size_t i = 0; i < d; i++) {
    for (size_t j = 0; j < d; j++) {
      double si = 1.0 + (double)i / (double)d, sj = 1.0 + (double)j / (double)d;
      cov[i * d + j] = si * sj * pow(rho, fabs((double)i - (double)j));
    }
  }
}

void reference_inverse(size_t d, const double *a, double *inverse) {
  double copy[MAX * MAX], b[MAX * MAX];
  memcpy(copy, a, d * d * sizeof *a);
  memset(b, 0, sizeof b);
  for (size_t i = 0; i < d; i++) {
    b[i * d + i] = 1.0;
  }
  eliminate(d, copy, d, b);
  for (size_t i = 0; i < d; i++) {
    for (size_t j = 0; j < d; j++) {
      inverse[i * d + j] = (b[i * d + j] + b[j * d + i]) / 2.0;
    }
  }
}
