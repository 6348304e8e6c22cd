/* Experts on simplices for tests, built as in build.h. */
#ifndef POE_TESTS_COMPOSE_SIMPLICES_H
#define POE_TESTS_COMPOSE_SIMPLICES_H

#include "tests/compose/build.h"

/* n simplices of k numbers, alpha[n, k] */
const poe_expert *tree_dirichlet(tree *t, size_t n, size_t k, const double *alpha);
/* child on the simplices among support[dim] */
const poe_expert *tree_simplex(tree *t, const poe_expert *child, const poe_support *support);

/* three numbers on one simplex */
extern const poe_support simplex_triangle[3];
/* log of the integral over the simplex of two or three numbers (free_dim 1 or 2), by quadrature over the square */
double simplex_integral(const poe_expert *expert, size_t free_dim);
/* the same over the free coordinates, as the planner takes it */
double simplex_planned_integral(const poe_expert *expert);

#endif
