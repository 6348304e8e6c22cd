/* The planner's inside: choosing a route for a tree without holes, and finding holes. Inside compose/ only. */
#ifndef POE_COMPOSE_EXACT_CHOOSE_H
#define POE_COMPOSE_EXACT_CHOOSE_H

#include "compose/exact/rules.h"

/* Plans a tree in which every constant is known. log_z_only: draws are not prepared (no grids, no parts), only what
 * is needed to say whether log Z is known. */
poe_status poei_plan_tree(const poe_expert *tree, const poei_plan_options *options, bool log_z_only, poei_plan **plan,
                          poe_error *error);

/* Fills every hole whose constant the planner can compute without sampling; what is left is listed in holes[*n] (each
 * a child of a normalise node of `written`, itself without holes; retained, array owned by the caller). */
poe_status poei_resolve_holes(const poe_expert *written, const poei_plan_options *options, poe_expert **resolved,
                              size_t *n, poe_expert ***holes, poe_error *error);

#endif
