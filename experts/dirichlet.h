/* What the planner knows about Dirichlet densities (dirichlet.c). */
#ifndef POE_EXPERTS_DIRICHLET_H
#define POE_EXPERTS_DIRICHLET_H

#include "poe/expert.h"

/* Independent Dirichlet densities of alpha[n, k] > 0 over n simplices of k numbers, one after the other. */
poe_status poei_dirichlet_create(size_t n, size_t k, const double *alpha, poe_expert **out, poe_error *error);
/* alpha[dim] of one, k numbers for each simplex; NULL when the expert is none. */
const double *poei_dirichlet_alpha(const poe_expert *expert, size_t *k);
/* log of the integral of prod_i x_i^(alpha_i - 1) over the simplex of k numbers, alpha[k] > 0. */
double poei_dirichlet_log_integral(size_t k, const double *alpha);

#endif
