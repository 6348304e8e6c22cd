/* Targets on simplices: what is known of them as Dirichlet densities, and their free coordinates. Inside compose/exact
 * only. */
#ifndef POE_COMPOSE_EXACT_SIMPLICES_H
#define POE_COMPOSE_EXACT_SIMPLICES_H

#include "compose/exact/tree.h"
#include "compose/names.h"

/* prod_c exp(linear_c x_c) x_c^power_c exp(constant): factors over simplices multiplied. Zero-initialise. */
typedef struct poei_powers {
  size_t dim;
  double constant;
  double *power, *linear;           /* [dim]                                                    */
  double *power_size, *linear_size; /* [dim] sums of |terms|: rounding is relative to them      */
  size_t *factors;                  /* [dim] how many factors there are                         */
} poei_powers;

poe_status poei_powers_start(poei_powers *powers, size_t dim, poe_error *error);
void poei_powers_free(poei_powers *powers);
/* Multiplies by expert^exponent over coordinates index[]: Dirichlet densities, and on simplices exponential families
 * whose statistics are log x and x; products, plates and slices of such. POE_E_CAPABILITY when it is something else,
 * and then what was added is of no use. */
poe_status poei_powers_add(poei_powers *powers, const poe_expert *expert, const size_t *index, double exponent,
                           poe_error *error);
/* Is the simplex of k numbers at `first` a Dirichlet density, its linear part constant? alpha[k]. */
bool poei_powers_are_dirichlet(const poei_powers *powers, size_t first, size_t k, double *alpha);
/* Appends Dirichlet densities, and multiplies by what is constant beside them: one for each simplex among support[dim]
 * that has factors, unless there are more than POEI_MOST_SIMPLICES, whose neighbours share one. POE_E_CAPABILITY when
 * one is no Dirichlet density. */
enum { POEI_MOST_SIMPLICES = 64 };
poe_status poei_powers_close(const poei_powers *powers, const poe_support *support, poei_parts *out, poe_error *error);
/* With a mixture among the factors of the product: multiplied out into one mixture of Dirichlet densities, where it is
 * one of at most `limit` components; *out stays NULL when it is not. */
poe_status poei_simplex_distribute(const poe_expert *product, size_t limit, poe_expert **out, char **what,
                                   poe_error *error);

/* POE_E_IMPROPER naming a number of a simplex that only such factors are over, towards 0 of which they diverge. */
poe_status poei_check_simplices(const poe_expert *target, const poei_names *names, poe_error *error);

/* The target over its free coordinates: k - 1 sticks (nodes/sticks.h) for each simplex, with the Jacobian, and the
 * other coordinates as they are. */
poe_status poei_unstuck_create(const poe_expert *target, poe_expert **out, poe_error *error);
/* How many these are. */
size_t poei_unstuck_dim(const poe_expert *target);
/* The target with the draws of `sampler`, a density over the free coordinates. */
poe_status poei_stuck_create(const poe_expert *target, const poe_expert *sampler, poe_expert **out, poe_error *error);

#endif
