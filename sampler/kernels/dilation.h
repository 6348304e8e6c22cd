/* Moves towards and away from a centre: what heavy tails need beside a Hamiltonian. */
#ifndef POE_SAMPLER_KERNELS_DILATION_H
#define POE_SAMPLER_KERNELS_DILATION_H

#include "sampler/kernels/density.h"

/* Whether this step of the tile dilates: one step in four, by the step's address alone. */
bool poei_dilates(const poei_tile *tile);
size_t poei_dilation_scratch(size_t n, size_t d);
/* One dilation of every row about settings->center. */
poe_status poei_dilate(const poei_density *density, const poei_kernel_settings *settings, poei_tile *tile,
                       uint64_t *gradients, poe_scratch *scratch, poe_error *error);

#endif
