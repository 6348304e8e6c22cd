/* Dense linear algebra over OpenBLAS and LAPACK (linalg.h), with own loops where the matrices are so small that a call
 * costs more than the arithmetic.
 *
 * LAPACK reads matrices by columns: a row-major lower triangle is its upper triangle, and A = U'U there is A = LL'
 * here. Source of the small factorisation: Golub and Van Loan, Matrix Computations, section 4.2 (row-oriented
 * Cholesky). Invariants: no call reaches BLAS with a zero size (it would print); BLAS runs with one thread. */
#include "core/linalg.h"

#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "core/alloc.h"

/* Up to here own loops are faster than LAPACK. */
enum { LINALG_SMALL = 16 };

/* Fortran entry points; the trailing sizes are the lengths of the text arguments. */
void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info, size_t uplo_length);
void dpotri_(const char *uplo, const int *n, double *a, const int *lda, int *info, size_t uplo_length);
void dsyev_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w, double *work,
            const int *lwork, int *info, size_t jobz_length, size_t uplo_length);

static pthread_once_t linalg_once = PTHREAD_ONCE_INIT;

static void linalg_pin(void) {
  openblas_set_num_threads(1);
}

void poei_linalg_init(void) {
  pthread_once(&linalg_once, linalg_pin);
}

const char *poei_linalg_core_name(void) {
  poei_linalg_init();
  return openblas_get_corename();
}

void poei_dgemm(bool ta, bool tb, size_t m, size_t n, size_t k, double alpha, const double *a, size_t lda,
                const double *b, size_t ldb, double beta, double *c, size_t ldc) {
  if (m == 0 || n == 0) {
    return;
  }
  if (k == 0) {
    for (size_t i = 0; i < m; i++) {
      for (size_t j = 0; j < n; j++) {
        c[i * ldc + j] = beta == 0.0 ? 0.0 : beta * c[i * ldc + j];
      }
    }
    return;
  }
  poei_linalg_init();
  cblas_dgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n,
              (blasint)k, alpha, a, (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
}

void poei_sgemm(bool ta, bool tb, size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
                size_t ldb, float beta, float *c, size_t ldc) {
  if (m == 0 || n == 0) {
    return;
  }
  if (k == 0) {
    for (size_t i = 0; i < m; i++) {
      for (size_t j = 0; j < n; j++) {
        c[i * ldc + j] = beta == 0.0F ? 0.0F : beta * c[i * ldc + j];
      }
    }
    return;
  }
  poei_linalg_init();
  cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n,
              (blasint)k, alpha, a, (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
}

double poei_ddot(size_t n, const double *x, const double *y) {
  if (n == 0) {
    return 0.0;
  }
  poei_linalg_init();
  return cblas_ddot((blasint)n, x, 1, y, 1);
}

/* Row-oriented factorisation; safe in place, for a_ij is read before l_ij is written. */
static size_t cholesky_small(size_t d, const double *a, double *l) {
  for (size_t i = 0; i < d; i++) {
    for (size_t j = 0; j <= i; j++) {
      double sum = a[i * d + j];
      for (size_t k = 0; k < j; k++) {
        sum -= l[i * d + k] * l[j * d + k];
      }
      if (j < i) {
        l[i * d + j] = sum / l[j * d + j];
      } else if (sum > 0.0 && sum < INFINITY) { /* false for NaN too */
        l[i * d + i] = sqrt(sum);
      } else {
        return i + 1;
      }
    }
  }
  return 0;
}

static size_t cholesky_large(size_t d, const double *a, double *l) {
  if (d > INT_MAX) {
    return 1;
  }
  if (l != a) {
    memcpy(l, a, d * d * sizeof *l);
  }
  int n = (int)d, info = 0;
  poei_linalg_init();
  dpotrf_("U", &n, l, &n, &info, 1);
  if (info != 0) {
    return info > 0 ? (size_t)info : 1;
  }
  for (size_t i = 0; i < d; i++) { /* LAPACK lets NaN and infinity pass */
    if (!(l[i * d + i] > 0.0 && l[i * d + i] < INFINITY)) {
      return i + 1;
    }
  }
  return 0;
}

size_t poei_cholesky(size_t d, const double *a, double *l) {
  size_t minor = d <= LINALG_SMALL ? cholesky_small(d, a, l) : cholesky_large(d, a, l);
  for (size_t i = 0; minor == 0 && i + 1 < d; i++) {
    memset(l + i * d + i + 1, 0, (d - i - 1) * sizeof *l);
  }
  return minor;
}

double poei_cholesky_half_log_det(size_t d, const double *l) {
  double sum = 0.0;
  for (size_t i = 0; i < d; i++) {
    sum += log(l[i * d + i]);
  }
  return sum;
}

void poei_solve_lower(size_t d, const double *l, size_t n, double *x, size_t ldx) {
  if (d == 0 || n == 0) {
    return;
  }
  if (d > LINALG_SMALL) {
    poei_linalg_init();
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (blasint)n, (blasint)d, 1.0, l,
                (blasint)d, x, (blasint)ldx);
    return;
  }
  for (size_t row = 0; row < n; row++) {
    double *y = x + row * ldx;
    for (size_t i = 0; i < d; i++) {
      double sum = y[i];
      for (size_t k = 0; k < i; k++) {
        sum -= l[i * d + k] * y[k];
      }
      y[i] = sum / l[i * d + i];
    }
  }
}

void poei_solve_lower_transposed(size_t d, const double *l, size_t n, double *x, size_t ldx) {
  if (d == 0 || n == 0) {
    return;
  }
  if (d > LINALG_SMALL) {
    poei_linalg_init();
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, (blasint)n, (blasint)d, 1.0, l,
                (blasint)d, x, (blasint)ldx);
    return;
  }
  for (size_t row = 0; row < n; row++) {
    double *y = x + row * ldx;
    for (size_t i = d; i-- > 0;) { /* row i of L is column i of L': subtract as soon as y_i is known */
      y[i] /= l[i * d + i];
      for (size_t k = 0; k < i; k++) {
        y[k] -= l[i * d + k] * y[i];
      }
    }
  }
}

void poei_cholesky_inverse(size_t d, const double *l, double *inv) {
  if (d == 0) {
    return;
  }
  if (inv != l) {
    memcpy(inv, l, d * d * sizeof *inv);
  }
  int n = (int)d, info = 0;
  poei_linalg_init();
  dpotri_("U", &n, inv, &n, &info, 1);
  for (size_t i = 0; i < d; i++) {
    for (size_t j = 0; j < i; j++) {
      inv[j * d + i] = inv[i * d + j];
    }
  }
}

bool poei_symmetric_eigen(size_t d, const double *a, double *values, double *v) {
  if (d == 0) {
    return true;
  }
  if (d > 40000) { /* LAPACK counts its elements in int */
    return false;
  }
  for (size_t i = 0; i < d * d; i++) { /* LAPACK may loop for ever over NaN */
    if (!isfinite(a[i])) {
      return false;
    }
  }
  int n = (int)d, info = 0, length = -1;
  double best = 0.0;
  if (v != a) {
    memcpy(v, a, d * d * sizeof *v);
  }
  poei_linalg_init();
  dsyev_("V", "U", &n, v, &n, values, &best, &length, &info, 1, 1); /* asks for the best work size */
  size_t size = best >= 3.0 * (double)d ? (size_t)best : 3 * d;
  double *work = poei_alloc(size, sizeof *work);
  if (work == NULL) {
    return false;
  }
  length = (int)size;
  dsyev_("V", "U", &n, v, &n, values, work, &length, &info, 1, 1);
  poei_free(work);
  return info == 0;
}
