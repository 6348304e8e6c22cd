/* Means and variances of the coordinates of Gaussians and what is made of them. Inside compose/, and for answer/. */
#ifndef POE_COMPOSE_EXACT_MOMENTS_H
#define POE_COMPOSE_EXACT_MOMENTS_H

#include "compose/plan.h"

/* mean[dim] and variance[dim] of the continuous coordinates of a plan's target, where they are exact; NaN for the
 * others, discrete ones among them. Reads plans of Gaussians (dense, sparse, of low rank), mixtures of them,
 * independent blocks, and a Gaussian of which other factors read one coordinate. POE_E_MEMORY. */
poe_status poei_plan_moments(const poei_plan *plan, double *mean, double *variance, poe_error *error);

#endif
