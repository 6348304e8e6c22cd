/* Elimination in a discrete factor graph some of whose factors are new at every point: what a mixed density says of its
 * discrete coordinates when the continuous ones have values. Inside compose/ only.
 *
 *   p(s; t) = exp(constant + sum_f log_value_f(s_f) + sum_i t_i(s_i))   t: the live tables
 *
 * What no live table reaches on its way through the junction tree is eliminated once, when the tree is made; the rest
 * ("live" too) at every point. Tables are logs; results are functions of the tables alone. */
#ifndef POE_COMPOSE_EXACT_LIVE_H
#define POE_COMPOSE_EXACT_LIVE_H

#include "compose/exact/junction.h"

typedef struct poei_live poei_live;

/* Live are the graph's factors factor[n]: of their tables only the sizes matter. POE_E_CAPABILITY, saying why, when the
 * tables would need more than byte_limit; POE_E_EMPTY when no joint value is possible whatever the live tables. The
 * graph is not kept. */
poe_status poei_live_create(const poei_field *graph, size_t n, const size_t *factor, size_t byte_limit,
                            poei_live **live, poe_error *error);
void poei_live_destroy(poei_live *live); /* NULL is allowed */

/* The live tables lie one after the other, in the order of factor[n], each with its first variable slowest: how many
 * numbers they are together, and where table i begins. */
size_t poei_live_tables(const poei_live *live);
size_t poei_live_start(const poei_live *live, size_t i);
/* Numbers in the messages of one point, and the joint states visited there. */
size_t poei_live_messages(const poei_live *live);
double poei_live_work(const poei_live *live);
size_t poei_live_variables(const poei_live *live);
size_t poei_live_values(const poei_live *live); /* of all variables together */
/* Scratch for any of the functions below; for poei_live_marginals, which visits what is not live as well. */
size_t poei_live_scratch(const poei_live *live, bool marginals);

/* log sum_s p(s; table), and the messages that the others need: message[messages]. NaN where a table has one. */
double poei_live_log_z(const poei_live *live, const double *table, double *message, poe_scratch *scratch);
/* posterior[tables]: the probability of every entry of every live table. After a finite log Z. */
void poei_live_posterior(const poei_live *live, const double *table, const double *message, double *posterior,
                         poe_scratch *scratch);
/* p[values]: the probabilities of the values of all variables, one variable after the other. After a finite log Z. */
void poei_live_marginals(const poei_live *live, const double *table, const double *message, double *p,
                         poe_scratch *scratch);
/* One exact draw x[variables], a function of the address. After a finite log Z. */
void poei_live_draw(const poei_live *live, const double *table, const double *message, poe_rng at, size_t *x,
                    poe_scratch *scratch);

#endif
