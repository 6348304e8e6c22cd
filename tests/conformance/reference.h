/* Densities written down a second time, as plainly as possible, for comparison with the library's. */
#ifndef POE_TESTS_CONFORMANCE_REFERENCE_H
#define POE_TESTS_CONFORMANCE_REFERENCE_H

#include <stddef.h>

/* log N(x; mean, cov) by Gaussian elimination with pivoting (no Cholesky); d <= 64. */
double reference_gaussian(size_t d, const double *x, const double *mean, const double *cov);
/* cov[d,d] with cov_ij = s_i s_j rho^|i-j|, s_i = 1 + i / d: positive definite for |rho| < 1. */
void reference_cov(size_t d, double rho, double *cov);
/* inverse[d,d] of a[d,d], by Gauss-Jordan elimination with pivoting, exactly symmetrised; d <= 64. */
void reference_inverse(size_t d, const double *a, double *inverse);

#endif
