/* Weighted Gaussians around an origin of their own (fused.c). Inside compose/exact only. */
#ifndef POE_COMPOSE_EXACT_FUSED_H
#define POE_COMPOSE_EXACT_FUSED_H

#include "experts/normals.h"

/* An expert with the density of `normals` moved by origin[d] (copied). Takes ownership of `normals` (finished), also on
 * failure. */
poe_status poei_fused_create(poei_normals *normals, const double *origin, poe_expert **out, poe_error *error);

#endif
