/* Formulas that are polynomials of degree two or less, and formulas with coordinates fixed. */
#ifndef POE_NET_FORMULA_QUADRATIC_H
#define POE_NET_FORMULA_QUADRATIC_H

#include "core/sparse.h"
#include "net/formula.h"

/* constant + linear . u - u' P u / 2 with u = x - origin. Owned by whoever has it; released with
 * poei_quadratic_release (zeroed: allowed). */
typedef struct poei_quadratic {
  size_t dim;
  double constant;
  double *linear; /* [dim] */
  poei_sparse_matrix precision;
} poei_quadratic;

/* The coefficients of a formula around origin[dim] (NULL: 0), derived from its operations: sums, differences, constant
 * factors, products of two affine terms, sums of squares. Nothing is evaluated or guessed at; what needs more (x^3 -
 * x^3) counts as no polynomial. *is false: it is none, or one that is too large to be multiplied out, and *out stays
 * zeroed. Coefficients that are nothing but the rounding of what cancels are 0. POE_E_MEMORY. */
poe_status poei_formula_quadratic(const poei_formula *formula, const double *origin, poei_quadratic *out, bool *is,
                                  poe_error *error);
void poei_quadratic_release(poei_quadratic *quadratic);

/* The formula with coordinates index[n] at value[n], n < dim, over the others in order. */
poe_status poei_formula_bind(const poei_formula *formula, size_t n, const size_t *index, const double *value,
                             poei_formula **out, poe_error *error);

/* One of the formulas that a formula is the sum of, over coordinates index[n] of it. */
typedef struct poei_formula_part {
  poei_formula *formula;
  size_t n;
  size_t *index; /* [n] ascending */
} poei_formula_part;

/* The formula as a sum of two or more over different coordinates, by its outermost terms: terms that share a coordinate
 * and are not quadratic stay together; quadratic ones that tie such groups, or lie outside of them, are formulas of
 * their own. *n 0: there is nothing to take apart, or too much. Released with poei_formula_parts_free. */
poe_status poei_formula_split(const poei_formula *formula, size_t *n, poei_formula_part **parts, poe_error *error);
void poei_formula_parts_free(size_t n, poei_formula_part *parts);

#endif
