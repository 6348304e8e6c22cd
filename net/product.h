/* Products of rows with a weight matrix w[out, in], as torch.nn.Linear stores it, forwards and backwards.
 *
 * Many rows go to BLAS as one matrix product. Few rows (a user's handful of chains) are bound by reading w, which BLAS
 * would copy first: they run through kernels that read w once, in place. Which way is taken depends on the sizes alone,
 * so equal shapes give equal bits.
 */
#ifndef POE_NET_PRODUCT_H
#define POE_NET_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>

/* y[n, out] = x[n, in] w'. */
void poei_product_float(size_t n, size_t out, size_t in, const float *x, const float *w, float *y);
void poei_product_double(size_t n, size_t out, size_t in, const double *x, const double *w, double *y);
/* The same with bits that do not depend on n: never by BLAS. */
void poei_product_steady_float(size_t n, size_t out, size_t in, const float *x, const float *w, float *y);
void poei_product_steady_double(size_t n, size_t out, size_t in, const double *x, const double *w, double *y);
/* dx[n, in] (+)= dz[n, out] w. */
void poei_product_back_float(size_t n, size_t out, size_t in, const float *dz, const float *w, bool accumulate,
                             float *dx);
void poei_product_back_double(size_t n, size_t out, size_t in, const double *dz, const double *w, bool accumulate,
                              double *dx);
/* y[n, out] = x w' + b (b NULL: none), products and sums in double whatever the type: for outputs of few numbers, such
 * as energies. */
void poei_product_head_float(size_t n, size_t out, size_t in, const float *x, const float *w, const float *b,
                             double *y);
void poei_product_head_double(size_t n, size_t out, size_t in, const double *x, const double *w, const double *b,
                              double *y);

#endif
