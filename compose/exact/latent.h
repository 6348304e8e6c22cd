/* Targets answered through another one: a marginal by its joint density, a mixed target by its continuous marginal.
 * Inside compose/ only. */
#ifndef POE_COMPOSE_EXACT_LATENT_H
#define POE_COMPOSE_EXACT_LATENT_H

#include "compose/plan.h"

/* The joint density whose first dim coordinates have the target as their density: every factor M^w with
 * M = (1/beta) log int exp(beta .) dh that cannot be evaluated, or only by integrating at
 * every point, becomes r = w / beta copies of exp(beta .), each with
 * latent coordinates of its own (replicas of the state). *joint stays NULL when there is no such factor, r is not a
 * whole number, or a maximum is taken; then *why (static text, NULL allowed) says what stands in the way. */
poe_status poei_latent_joint(const poe_expert *target, poe_expert **joint, const char **why, poe_error *error);
/* The same with marginals that are eliminated at every point opened, too. */
poe_status poei_latent_joint_whole(const poe_expert *target, poe_expert **joint, poe_error *error);

/* POE_E_CAPABILITY for a target that cannot be evaluated: names the marginal in the way, its beta and exponent, whether
 * it can be drawn from instead, and if not what would do. byte_limit: of the tables of elimination, 0 for the default.
 */
poe_status poei_latent_refuse(const poe_expert *target, size_t byte_limit, poe_error *error);

/* A mixed target by its continuous marginal. Owned; released with poei_mixed_free. */
typedef struct poei_mixed {
  poe_expert *marginal; /* over the continuous coordinates; NULL: the target is not of this kind       */
  poe_expert *summed;   /* draws the discrete coordinates given the others (summed.h)                  */
  size_t n;
  size_t *continuous; /* [n] coordinates of the marginal in the target                               */
} poei_mixed;

/* Sums the discrete coordinates of a target out: one joint value after the other (a marginal node) where there are at
 * most POEI_MARGINAL_STATES, and they are few or what is left has a closed form; else by elimination (summed.h).
 * *refusal says why it cannot be done. A target with one kind of coordinates is left alone. */
poe_status poei_mixed_find(const poe_expert *target, const poei_plan_options *options, poei_mixed *found,
                           poe_error *refusal, poe_error *error);
void poei_mixed_free(poei_mixed *mixed);

#endif
