/* Dense linear algebra: thin, named wrappers over BLAS and LAPACK. Matrices are row-major and contiguous unless a
 * stride is given. BLAS runs with one thread (poei_linalg_init); the library's own workers supply the parallelism. */
#ifndef POE_CORE_LINALG_H
#define POE_CORE_LINALG_H

#include <stdbool.h>
#include <stddef.h>

/* Pins BLAS to one thread. Idempotent and thread-safe; called by everything in this file that needs it. */
void poei_linalg_init(void);
/* Name of the processor core BLAS chose its kernels for, such as "SkylakeX"; static text. */
const char *poei_linalg_core_name(void);

/* C[m,n] = alpha op(A) op(B) + beta C; op(A) is m x k. Strides are of the stored matrices. */
void poei_dgemm(bool ta, bool tb, size_t m, size_t n, size_t k, double alpha, const double *a, size_t lda,
                const double *b, size_t ldb, double beta, double *c, size_t ldc);
void poei_sgemm(bool ta, bool tb, size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b,
                size_t ldb, float beta, float *c, size_t ldc);
double poei_ddot(size_t n, const double *x, const double *y);

/* Factor A = L L' of a symmetric positive definite A[d,d] (lower triangle read): writes L with a zeroed upper triangle.
 * Returns 0, or k > 0 when the leading minor of order k is not positive definite (l is then unspecified).
 * a == l is allowed. No heap memory. */
size_t poei_cholesky(size_t d, const double *a, double *l);
/* sum_i log L_ii, i.e. half the log determinant of A. */
double poei_cholesky_half_log_det(size_t d, const double *l);
/* x <- L^-1 x and x <- L^-T x for each of the n rows of x[n, ldx] (row vectors of length d). */
void poei_solve_lower(size_t d, const double *l, size_t n, double *x, size_t ldx);
void poei_solve_lower_transposed(size_t d, const double *l, size_t n, double *x, size_t ldx);
/* inv[d,d] = A^-1 from its factor, symmetric. */
void poei_cholesky_inverse(size_t d, const double *l, double *inv);
/* Eigenvalues (ascending) and eigenvectors (rows of v[d,d]) of the symmetric a[d,d]. False when it does not converge or
 * memory runs out. */
bool poei_symmetric_eigen(size_t d, const double *a, double *values, double *v);

#endif
