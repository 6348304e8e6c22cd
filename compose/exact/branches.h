/* Targets that are closed once their discrete coordinates have values: p(x, k) with p(., k) a Gaussian (or another
 * density with exact log Z and draws) for each of few k. The route is in choose_parts.h. Inside compose/ only. */
#ifndef POE_COMPOSE_EXACT_BRANCHES_H
#define POE_COMPOSE_EXACT_BRANCHES_H

#include "poe/expert.h"

/* Is it the sampler of such a target? */
bool poei_branches_is(const poe_expert *expert);
/* Its possible values: *n of them with their probabilities p[*n], which add up to 1, and the coordinates
 * index[*discrete] they are of, value[*n, *discrete]. All live as long as the expert. */
void poei_branches_look(const poe_expert *expert, size_t *n, const double **p, size_t *discrete, const size_t **index,
                        const double **value);
/* Where values leave more than two continuous coordinates and no closed form: the target as a mixture with a component
 * for each of few values, each by itself for the planner. *out stays NULL when it is no such target. */
poe_status poei_branches_mixture(const poe_expert *target, poe_expert **out, poe_error *error);

#endif
