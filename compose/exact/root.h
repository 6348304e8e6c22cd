/* Precision matrices by their square roots: P = M' M with M lower triangular, gathered from rows (root.c). */
#ifndef POE_COMPOSE_EXACT_ROOT_H
#define POE_COMPOSE_EXACT_ROOT_H

#include <stdbool.h>
#include <stddef.h>

#include "poe/status.h"

/* Zero-initialise; filled by poei_root_start. */
typedef struct poei_root {
  size_t d;
  double *scale;  /* [d] powers of two; M's columns are kept divided by them         */
  double *factor; /* [d, d] M, zero rows where nothing is known yet                   */
  double *noise;  /* [d] bound on the rounding errors in each row                     */
  double *work;   /* [d] */
} poei_root;

/* An empty root (P = 0) over d coordinates whose precisions will be about diagonal[d] (0 is allowed). */
poe_status poei_root_start(poei_root *root, size_t d, const double *diagonal, poe_error *error);
void poei_root_free(poei_root *root);
/* `to` (started, of equal size) becomes a copy. */
void poei_root_copy(poei_root *to, const poei_root *from);

/* P += t w w', w over coordinates index[n] (NULL: 0..n-1), t > 0. */
void poei_root_add(poei_root *root, double t, size_t n, const size_t *index, const double *w);
/* P -= sum_i w_i w_i' over the m rows w[m, d], which are overwritten. Call it last. *proper: the result is positive
 * definite; otherwise the root is spoilt. */
poe_status poei_root_subtract(poei_root *root, size_t m, double *w, bool *proper, poe_error *error);
/* True when rounding leaves no doubt that P is positive definite. */
bool poei_root_proper(const poei_root *root);
/* L[d, d] = M^-1, lower triangular with a positive diagonal: the Cholesky factor of the covariance P^-1 = L L'. */
void poei_root_inverse(const poei_root *root, double *l);

/* Rows w[*n, d] with P = sum_i w_i w_i' for a symmetric positive semidefinite P[d, d], *n <= d; work[d, d]. False when
 * P has a negative direction. */
bool poei_root_rows(size_t d, const double *precision, double *work, double *w, size_t *n);

#endif
