/* Experts on simplices for tests, built as in build.h. */
#ifndef POE_TESTS_COMPOSE_SIMPLICES_H
#define POE_TESTS_COMPOSE_SIMPLICES_H

#include "tests/compose/build.h"

/* n simplices of k numbers, alpha[n, k] */
const poe_expert *tree_dirichlet(tree *t, size_t n, size_t k, const double *alpha);
/* child on the simplices among support[dim] */
const poe_expert *tree_simplex(tree *t, const poe_expert *child, const poe_support *support);

#endif
