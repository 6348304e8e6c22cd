/* Moves along one coordinate that take the spread of the others with them: what funnels need. */
#ifndef POE_SAMPLER_KERNELS_FAN_H
#define POE_SAMPLER_KERNELS_FAN_H

#include "sampler/kernels/density.h"

/* With u = (x_along - origin) / unit, coordinate j lies about center_j + tilt_j u and spreads as e^(rate_j u). Those
 * with tilt and rate 0, the one along which is moved among them, are left as they are. */
typedef struct poei_fan {
  size_t along;
  double origin, unit;
  double *center, *tilt, *rate; /* [d] */
} poei_fan;

size_t poei_fan_scratch(size_t n, size_t d);
/* One move of every row, by random numbers at tile->at alone; tile->grad is kept true when `gradient`, and not looked
 * at otherwise. Leaves acceptance, energy and diverging as they are. */
poe_status poei_fan_step(const poei_density *density, const poei_fan *fan, poei_tile *tile, bool gradient,
                         poe_scratch *scratch, poe_error *error);

#endif
