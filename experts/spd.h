/* Symmetric positive definite matrices as users give them: checked, made exactly symmetric, factored, and when they are
 * not positive definite, the direction that fails put into words. */
#ifndef POE_EXPERTS_SPD_H
#define POE_EXPERTS_SPD_H

#include <stdbool.h>
#include <stddef.h>

/* Writes (a[i,j] + a[j,i]) / 2 over a[d,d]. False, with the first offending pair, when they differ by more than a
 * millionth of the scale sqrt(|a_ii a_jj|) (single-precision matrices pass). */
bool poei_spd_symmetrise(size_t d, double *a, size_t *i, size_t *j);

/* Factor L (lower, upper zeroed) of the symmetric a[d,d] into l[d,d], through the matrix scaled to unit diagonal, so
 * that units do not matter. False when a is not positive definite to rounding (a pivot of the scaled matrix under
 * 4 d epsilon); then why[size] says along which direction: "0.707*x[0] - 0.707*x[1] (value -0.25)".
 * Heap memory is taken only for that text, which is shorter when there is none. */
bool poei_spd_factor(size_t d, const double *a, double *l, char *why, size_t size);

/* A direction v[d] and the value v'Av along it in words: the at most four largest entries of the unit vector, and the
 * value for it, as above. v is overwritten. */
void poei_spd_direction(size_t d, double *v, double value, char *why, size_t size);

/* True when every off-diagonal number is exactly 0. */
bool poei_spd_diagonal(size_t d, const double *a);

#endif
