/* Densities given by a C function of all coordinates, for tests of marginals: whatever integrand one wants, known to
 * the library by its values and gradients only. */
#ifndef POE_TESTS_COMPOSE_CURVES_H
#define POE_TESTS_COMPOSE_CURVES_H

#include "tests/compose/build.h"

/* log p(x) and its gradient grad[dim] (never NULL). */
typedef double (*tree_function)(const double *x, double *grad);

/* support[dim] is borrowed and must outlive the tree. gradient false: the expert has values only. */
const poe_expert *tree_curve(tree *t, size_t dim, const poe_support *support, tree_function f, bool gradient);
/* Points at which curves have been evaluated. */
extern _Atomic size_t tree_curve_points;

#endif
