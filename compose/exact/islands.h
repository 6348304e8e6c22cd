/* Mixed targets that are exact by elimination: where the discrete coordinates have values, the continuous ones fall
 * into islands, each of which reads few discrete coordinates and can be integrated and drawn for every value of those.
 * The route is in choose_parts.h. Inside compose/ only. */
#ifndef POE_COMPOSE_EXACT_ISLANDS_H
#define POE_COMPOSE_EXACT_ISLANDS_H

#include "poe/expert.h"

/* Is it the sampler of such a target? */
bool poei_islands_is(const poe_expert *expert);
/* A bound on the error of its log Z: of quadrature, 0 where all islands are closed. */
double poei_islands_error(const poe_expert *expert);
/* The probabilities of the values of its discrete coordinates, one after the other: p[sum of their values]. */
poe_status poei_islands_marginals(const poe_expert *expert, double *p, poe_error *error);

#endif
