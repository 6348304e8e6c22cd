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
/* The same at an inverse temperature: a variable a goes by (1/beta) log sum_a exp(beta .), by max_a . where beta is
 * infinite. Those in first[variables] (NULL: none) are summed plainly, and before the others. Sums do not commute with
 * maxima, so that the order is bound to this and its width may be larger than the graph's. Probabilities below are
 * those of the operators: all on the first of the best values for a maximum. */
poe_status poei_live_create_at(const poei_field *graph, size_t n, const size_t *factor, double beta,
                               const unsigned char *first, size_t byte_limit, poei_live **live, poe_error *error);
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
/* The same, one table at a time (live_local.c). A state is the messages and shift[buckets], current but for the buckets
 * marked in stale[buckets]; all are at first. */
size_t poei_live_buckets(const poei_live *live);
size_t poei_live_local_scratch(const poei_live *live); /* for any of these */
/* Marks what live table i has a part in. */
void poei_live_touch(const poei_live *live, size_t i, unsigned char *stale);
/* Makes those of the marked buckets that are not in `but` (NULL: none) current; marks are left. log sum_s p(s; table)
 * but for the part of what was left out; NaN where a table has one. */
double poei_live_refresh(const poei_live *live, const double *table, const unsigned char *stale,
                         const unsigned char *but, double *message, double *shift, poe_scratch *scratch);
/* What the rest says of the message of bucket p, outside[messages], as far as it is marked in away[buckets] (all are at
 * first; one is made current with those above it). Messages must be current but for those of p and above. Only where
 * poei_live_goes_back: sums and maxima that do not commute cannot be told from outside. */
bool poei_live_goes_back(const poei_live *live);
void poei_live_outside(const poei_live *live, size_t p, const double *table, const double *message, double *outside,
                       unsigned char *away, poe_scratch *scratch);
/* Marks in away[buckets] what hears of a change of live table i. */
void poei_live_hear(const poei_live *live, size_t i, unsigned char *away);
/* Where table i is read; POEI_LIVE_NOWHERE: it is one number. */
#define POEI_LIVE_NOWHERE SIZE_MAX
size_t poei_live_home(const poei_live *live, size_t i);
/* log sum_s p(s; table) + a constant that no table read at bucket p has a part in. */
double poei_live_seen_from(const poei_live *live, size_t p, const double *table, const double *message,
                           const double *outside, poe_scratch *scratch);
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
