/* Leaving out components of mixtures, on request only. Inside compose/ only. */
#ifndef POE_COMPOSE_EXACT_PRUNE_H
#define POE_COMPOSE_EXACT_PRUNE_H

#include "compose/plan.h"

/* Where the plan's expert is a mixture of components of known integrals, leaves out the smallest as long as what they
 * hold of the mass is at most `most` (0 < most < 1): plan->expert gets fewer, plan->discarded and plan->left_out say
 * how much and how many. POE_E_MEMORY. */
poe_status poei_prune(poei_plan *plan, double most, poe_error *error);
/* Once log Z of a plan is there: what was left out goes into its error, and into the reason. log Z of the target is at
 * least what is left, and more by -log(1 - discarded) at most. */
poe_status poei_prune_tell(poei_plan *plan, poe_error *error);

#endif
