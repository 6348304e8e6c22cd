/* Targets with bounds: independent coordinates, each with the same density on a half-line or an interval. They are
 * sampled as the library does it, through a transform node. */
#ifndef POE_TESTS_SAMPLER_BOUNDED_H
#define POE_TESTS_SAMPLER_BOUNDED_H

#include "tests/sampler/targets.h"

/* exp(-(x / scale)^power / power) on [0, inf): exponential, half normal, and steeper ones. */
target target_half_power(size_t d, double power, double scale);
/* x^(shape - 1) e^-x on (0, inf): infinite at 0 for shapes below 1. */
target target_gamma(size_t d, double shape);
/* x^-power on (1, inf) */
target target_pareto(size_t d, double power);
/* N(mean, sd^2) on [0, 1] */
target target_truncated(size_t d, double mean, double sd);
/* (x (1 - x))^-1/2 on (0, 1): infinite at both ends. */
target target_arcsine(size_t d);

/* The target over unconstrained coordinates. NULL on failure. */
poe_expert *bounded_expert(const target *self);

#endif
