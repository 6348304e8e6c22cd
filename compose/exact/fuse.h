/* Products of Gaussians, and of mixtures of them, as one closed expert (fuse.c). Inside compose/ only. */
#ifndef POE_COMPOSE_EXACT_FUSE_H
#define POE_COMPOSE_EXACT_FUSE_H

#include "compose/exact/tree.h"

/* The product of parts[n] over dim coordinates, boxes ignored: each part must have a form of
 * Gaussians without its box. The result evaluates, differentiates, draws and knows its log Z. POE_E_IMPROPER when it
 * has no finite integral; POE_E_CAPABILITY when a mixture has an exponent other than a small whole one or there would
 * be more than `limit` components. */
poe_status poei_fuse(size_t dim, size_t n, const poei_part *parts, size_t limit, poe_expert **out, poe_error *error);

#endif
