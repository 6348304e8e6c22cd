/* Sparse symmetric positive definite matrices: A = P'LL'P with a fill-reducing order, solves, log determinant, the
 * direction along which a matrix fails to be positive definite, and the entries of the inverse on the pattern of L.
 *
 * A matrix is its lower triangle in compressed columns: column j holds rows row[start[j]] .. row[start[j + 1] - 1],
 * ascending, the diagonal first and always there. "Elimination order" numbers coordinates as they are eliminated:
 * position k is coordinate order[k]. Nothing here has global state; a factor may be used from many threads at once.
 */
#ifndef POE_CORE_SPARSE_H
#define POE_CORE_SPARSE_H

#include <stdbool.h>
#include <stddef.h>

#include "poe/status.h"

/* A symmetric matrix. Owned by whoever has it; released with poei_sparse_matrix_release. */
typedef struct poei_sparse_matrix {
  size_t n;
  size_t *start; /* [n + 1]    */
  size_t *row;   /* [start[n]] */
  double *value; /* [start[n]] */
} poei_sparse_matrix;

/* One number of a matrix that is being put together; entries at one place add up. */
typedef struct poei_triplet {
  size_t row, column; /* row >= column */
  double value;
} poei_triplet;

/* The matrix of entry[count] over n coordinates; missing diagonals become 0. POE_E_SHAPE for an entry outside of the
 * lower triangle. *out is untouched on failure. */
poe_status poei_sparse_assemble(size_t n, size_t count, const poei_triplet *entry, poei_sparse_matrix *out,
                                poe_error *error);
/* Frees the arrays (NULL is allowed) and zeroes it. */
void poei_sparse_matrix_release(poei_sparse_matrix *a);
/* y[n, m] = A x[n, m]: m vectors side by side, each number of A is read once. x and y do not overlap. */
void poei_sparse_multiply(const poei_sparse_matrix *a, size_t m, const double *x, double *y);

typedef struct poei_sparse_factor {
  size_t n, most; /* most: numbers in the longest column of L                                     */
  size_t *order;  /* [n] coordinate of each position                                              */
  size_t *place;  /* [n] position of each coordinate                                              */
  size_t *parent; /* [n] elimination tree: first row below the diagonal of each column of L, n: none */
  size_t *start;  /* [n + 1] columns of L, in elimination order                                   */
  double flops;   /* of the numeric factorisation: sum of squares of the columns' lengths         */
  size_t *row;    /* [start[n]] ascending, the diagonal first; NULL before the numeric part       */
  double *value;  /* [start[n]]                                                                   */
} poei_sparse_factor;

/* Order (approximate minimum degree) and pattern of the factor; no numbers yet, so that its cost can be looked at
 * first. Freed with poei_sparse_factor_destroy (NULL is allowed). POE_E_MEMORY. */
poe_status poei_sparse_analyse(const poei_sparse_matrix *a, poei_sparse_factor **out, poe_error *error);
void poei_sparse_factor_destroy(poei_sparse_factor *factor);

/* Where a matrix is not positive definite to rounding. */
typedef struct poei_sparse_failure {
  size_t coordinate; /* whose column could not be eliminated                                                   */
  double value;      /* v'Av <= 0, or nothing but rounding; v'Av / v'v is at least the smallest eigenvalue     */
  double *direction; /* [n] v, zero outside of what was eliminated; the caller's room, or NULL: not wanted     */
} poei_sparse_failure;

/* Fills the numbers of the factor from the matrix it was analysed for. *failed: not positive definite, then `failure`
 * says where and the factor holds no numbers (this is no error status). POE_E_MEMORY. */
poe_status poei_sparse_factorise(poei_sparse_factor *factor, const poei_sparse_matrix *a, bool *failed,
                                 poei_sparse_failure *failure, poe_error *error);

/* sum_k log L_kk: half the log determinant of A. */
double poei_sparse_half_log_det(const poei_sparse_factor *factor);
/* x <- L^-1 x and x <- L^-T x for m vectors side by side in elimination order, x[n, m]. */
void poei_sparse_solve_lower(const poei_sparse_factor *factor, size_t m, double *x);
void poei_sparse_solve_lower_transposed(const poei_sparse_factor *factor, size_t m, double *x);
/* x[n] <- A^-1 x in the order of the coordinates; work[n]. */
void poei_sparse_solve(const poei_sparse_factor *factor, double *x, double *work);
/* inverse[start[n]]: the entries of the inverse on the pattern of L, laid out as L's values; in elimination order.
 * work[most]. */
void poei_sparse_inverse(const poei_sparse_factor *factor, double *inverse, double *work);

#endif
