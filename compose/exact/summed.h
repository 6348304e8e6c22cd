/* A mixed target with its discrete coordinates summed out by elimination, however many they are, as long as every
 * factor that reads both kinds reads few discrete ones:
 *
 *   p(s, x) = C(x) D(s) prod_m M_m(s_m, x_m),   p(x) = C(x) S(x),   S(x) = sum_s D(s) prod_m M_m(s_m, x_m)
 *
 * S is an expert over the continuous coordinates that the mixed factors read: value by elimination at every point,
 * gradient E[sum_m d log M_m | x] by the posterior of every s_m, and s given x exactly. What the mixed factors do not
 * reach is eliminated once (live.h). Inside compose/, and for answer/. */
#ifndef POE_COMPOSE_EXACT_SUMMED_H
#define POE_COMPOSE_EXACT_SUMMED_H

#include "compose/plan.h"

/* *summed: S; *marginal: C times S over all continuous coordinates of the target in order. POE_E_CAPABILITY, saying
 * why, when the target has no such factors, or too much would have to be added up at every point. */
poe_status poei_summed_create(const poe_expert *target, const poei_plan_options *options, poe_expert **summed,
                              poe_expert **marginal, poe_error *error);
/* The marginal of an expert over discrete coordinates latent[n] at inverse temperature beta, or its profile (beta
 * infinite), by elimination at every point: *out is over the other coordinates in order, whatever their kind; it has
 * the single-site view where some are discrete. POE_E_CAPABILITY, saying why, where it cannot be had so. */
poe_status poei_summed_over(const poe_expert *expert, size_t n, const size_t *latent, double beta,
                            const poei_plan_options *options, poe_expert **out, poe_error *error);
/* The target as one mixed factor: all its joint discrete values, of which there must be few (POEI_MARGINAL_STATES). */
poe_status poei_summed_whole(const poe_expert *target, const poei_plan_options *options, poe_expert **summed,
                             poe_error *error);
/* Is it an S? */
bool poei_is_summed(const poe_expert *expert);
/* Values of the mixed factors that one point needs, and joint states visited there; the discrete coordinates. */
size_t poei_summed_values(const poe_expert *summed);
double poei_summed_work(const poe_expert *summed);
size_t poei_summed_discrete(const poe_expert *summed, const size_t **coordinate);

/* Scratch of the functions below. They are about rows of the target: x[n, target dim], of which the continuous
 * coordinates are read. POE_E_NUMERIC where nothing is possible or something is not a number. */
size_t poei_summed_scratch(const poe_expert *summed);
/* Exact draws of the discrete coordinates given the continuous ones, in place: row i is a function of at[i]. */
poe_status poei_summed_draw(const poe_expert *summed, size_t n, double *x, const poe_rng *at, poe_scratch *scratch,
                            poe_error *error);
/* The exact probabilities given the continuous coordinates: p[n, probabilities], those of the values of the discrete
 * coordinates one after the other. */
size_t poei_summed_probabilities(const poe_expert *summed);
poe_status poei_summed_marginals(const poe_expert *summed, size_t n, const double *x, double *p, poe_scratch *scratch,
                                 poe_error *error);

#endif
