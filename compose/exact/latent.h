/* Targets answered through another one: a marginal by its joint density, a mixed target by its continuous marginal.
 * Inside compose/ only. */
#ifndef POE_COMPOSE_EXACT_LATENT_H
#define POE_COMPOSE_EXACT_LATENT_H

#include "poe/expert.h"

/* The joint density whose first dim coordinates have the target as their density: every factor M^w with
 * M = (1/beta) log int exp(beta .) dh that cannot be evaluated becomes r = w / beta copies of exp(beta .), each with
 * latent coordinates of its own (replicas of the state). *joint stays NULL when there is no such factor, r is not a
 * whole number, or a maximum is taken; then *why (static text, NULL allowed) says what stands in the way. */
poe_status poei_latent_joint(const poe_expert *target, poe_expert **joint, const char **why, poe_error *error);

/* The target with its discrete coordinates summed out, over continuous[*n] (owned by the caller). NULL when it has no
 * discrete or no continuous coordinates, or more than POEI_MARGINAL_STATES joint values. */
poe_status poei_latent_continuous(const poe_expert *target, poe_expert **marginal, size_t *n, size_t **continuous,
                                  poe_error *error);

#endif
