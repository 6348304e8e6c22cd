/* Discrete experts and their states, for the tests of elimination. */
#ifndef POE_TESTS_COMPOSE_DISCRETE_TREES_H
#define POE_TESTS_COMPOSE_DISCRETE_TREES_H

#include "compose/exact/discrete.h"

poe_expert *hmm(size_t d);
poe_expert *markov(size_t d);
poei_plan_options defaults(void);
size_t states_of(const poe_expert *expert);
/* x[dim] of state s, the first coordinate slowest; index[dim] (NULL is allowed) counts from the lowest value. */
void point(const poe_expert *expert, size_t s, double *x, size_t *index);
/* log Z of the graph with the coordinates clamped is the density there. */
void same_density(const poe_expert *expert);

#endif
