/* What the ways to a base share (base.c): factors that can be drawn and cover coordinates once. */
#ifndef POE_COMPOSE_EXACT_BASE_PARTS_H
#define POE_COMPOSE_EXACT_BASE_PARTS_H

#include "compose/exact/routes.h"

/* The exponent that a drawable factor must have: more than none of it, or at least one whole. */
#define POEI_BASE_SOME 0x1p-20
#define POEI_BASE_WHOLE 1.0

/* A factor that can be drawn, with known log Z. */
typedef struct poei_base_candidate {
  size_t part, size;
  double sharpness;
} poei_base_candidate;

/* list[parts->n]: the candidates of exponents from `least` on, larger ones first, then narrower ones; how many. */
size_t poei_base_list(const poei_parts *parts, double least, poei_base_candidate *list);
/* Takes candidates in order, beginning with `first`, while they are disjoint; true when they cover everything.
 * chosen[parts->n], taken[parts->dim]. */
bool poei_base_cover(const poei_parts *parts, const poei_base_candidate *list, size_t n, size_t first,
                     unsigned char *chosen, unsigned char *taken);
/* The factors marked in chosen[parts->n] as base, what is left as rest. `choice`: why, or "". */
poe_status poei_base_split(const poei_parts *parts, const unsigned char *chosen, double constant, const char *choice,
                           poei_base *found, poe_error *error);
/* All of that; found->base stays NULL where no candidates cover everything. */
poe_status poei_base_cover_find(const poei_parts *parts, double least, double constant, poei_base *found,
                                poe_error *error);
/* For targets with discrete coordinates: what can be drawn, in order, and uniform densities elsewhere, which are added
 * to `parts`. found->base stays NULL where these are not bounded. */
poe_status poei_base_fill(const poe_traits *traits, poei_parts *parts, double constant, poei_base *found,
                          poe_error *error);

#endif
