/* What the families share: checks of their subjects and parameters, and the arrays their traits point to. */
#ifndef POE_EXPERTS_FAMILY_H
#define POE_EXPERTS_FAMILY_H

#include "poe/expert.h"

/* Discrete families offer a table as their closed form up to this many states; Gaussian ones up to this many numbers of
 * precision matrices. */
enum { POEI_FORM_STATES = 1 << 20, POEI_FORM_NUMBERS = 1 << 25 };

/* POE_E_TYPE with a hint unless every coordinate of every subject is of that kind; POE_E_USAGE when there is none. */
poe_status poei_family_need(const poe_args *args, poe_coordinate_kind kind, poe_error *error);
/* Like need(POE_DISCRETE); also every coordinate must have finitely many values. */
poe_status poei_family_need_finite(const poe_args *args, poe_error *error);
/* The support of a coordinate, numbered over all subjects; *subject (may be NULL) is the one it belongs to. */
const poe_support *poei_family_support(const poe_args *args, size_t coordinate, const poe_subject **subject);
/* Exactly one of the arguments `names` (n of them) must be given: *which is its index. */
poe_status poei_family_one_of(const poe_args *args, size_t n, const char *const *names, size_t *which,
                              poe_error *error);
/* Fails at the argument `name` (or without place) unless all values[n] are > 0. */
poe_status poei_family_positive(const poe_args *args, const char *name, size_t n, const double *values,
                                poe_error *error);
/* Reads a matrix argument [rows, columns] into out; a scalar means that multiple of the identity (square only). */
poe_status poei_family_matrix(const poe_args *args, const char *name, size_t rows, size_t columns, double *out,
                              poe_error *error);
/* Makes the symmetric matrix[d,d] read from `name` exactly symmetric and writes its Cholesky factor (may be the same
 * array); POE_E_DOMAIN at the argument naming the pair that differs or the direction that is not positive. */
poe_status poei_family_factor(const poe_args *args, const char *name, size_t d, double *matrix, double *factor,
                              poe_error *error);
/* weights[n] become log weights that sum to 1. Each must be >= 0 and their sum positive: POE_E_DOMAIN at `name`. */
poe_status poei_family_log_weights(const poe_args *args, const char *name, size_t n, double *weights, poe_error *error);
/* The status of reading a model file: shapes and numbers that are wrong in it are the file's fault, POE_E_FORMAT (exit
 * code 3). */
poe_status poei_family_file_status(poe_status status, poe_error *error);
/* POE_E_MEMORY naming the family. */
poe_status poei_family_memory(const char *kind, poe_error *error);

/* d copies of the real line; all ones; on the heap, NULL when out of memory. */
poe_support *poei_family_reals(size_t d);
unsigned char *poei_family_heads(size_t d);
/* The declared supports of all subjects, concatenated; numbers of a simplex as reals. */
poe_support *poei_family_declared(const poe_args *args);
/* Whether x[d] lies in the support. NaN passes: the density is NaN there, not 0. */
bool poei_family_inside(const poe_support *support, size_t d, const double *x);

/* Sum of squares of (x[j] - mean[j]) * scale[j], j < d, over eight interleaved partial sums: the same bits for the same
 * numbers wherever they lie. */
double poei_scaled_square(size_t d, const double *x, const double *mean, const double *scale);
double poei_dot(size_t d, const double *x, const double *y);

#endif
