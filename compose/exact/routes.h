/* What the planner asks about a target before it chooses a route. Inside compose/ only. */
#ifndef POE_COMPOSE_EXACT_ROUTES_H
#define POE_COMPOSE_EXACT_ROUTES_H

#include "compose/exact/tree.h"
#include "compose/names.h"
#include "compose/plan.h"

/* Refuses what is known to have no finite integral: POE_E_IMPROPER for coordinates nobody bounds, bare networks over
 * an unbounded space, divisors whose support ends before the rest's, and Gaussian forms that grow in some direction. */
poe_status poei_check_proper(const poe_expert *target, const poei_names *names, poe_error *error);
/* Its last part (tails.c): divisors that fall off faster than the rest along some direction. */
poe_status poei_check_tails(const poe_expert *target, const poei_names *names, poe_error *error);
/* Looks far out along rays, where no form shows what a target does (rays.c): POE_E_IMPROPER where it grows without
 * bound. Where it falls too slowly, or not at all, *caution (NULL: not wanted) becomes a text on the heap that says so.
 */
poe_status poei_check_rays(const poe_expert *target, const poei_names *names, char **caution, poe_error *error);

/* target = base * rest with a base that can be drawn exactly and whose log Z is known. */
typedef struct poei_base {
  poe_expert *base, *rest; /* owned; base NULL: there is none */
  double log_z;            /* of base                         */
  char *why;               /* what it is made of, on the heap */
} poei_base;
poe_status poei_base_find(const poe_expert *target, poei_base *found, poe_error *error);
/* The same from a proposal that covers some of the coordinates, or all; found->base stays NULL when nothing that can be
 * drawn covers the others. */
poe_status poei_base_around(const poe_expert *target, const poei_proposal *proposal, poei_base *found,
                            poe_error *error);
void poei_base_free(poei_base *base);

/* Takes constants off: target = exp(constant) * inner. `inner` lives in the target. */
const poe_expert *poei_strip(const poe_expert *target, double *constant);

#endif
