/* The leapfrog integrator, a tile at a time. */
#ifndef POE_SAMPLER_KERNELS_LEAPFROG_H
#define POE_SAMPLER_KERNELS_LEAPFROG_H

#include "sampler/kernels/density.h"

/* Moves positions y[n, d] and whitened momenta p[n, d] through `length` >= 1 steps of size scale[d] = eps sqrt(M). On
 * entry grad[n, d] is the gradient at y; on return grad and logp[n] are those at the new y. */
poe_status poei_leapfrog(const poei_density *density, size_t n, size_t d, size_t length, const double *scale, double *y,
                         double *p, double *logp, double *grad, poe_scratch *scratch, poe_error *error);

#endif
