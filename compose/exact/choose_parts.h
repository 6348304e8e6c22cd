/* What the files of the chooser share. Inside compose/exact/ only. */
#ifndef POE_COMPOSE_EXACT_CHOOSE_PARTS_H
#define POE_COMPOSE_EXACT_CHOOSE_PARTS_H

#include "compose/exact/choose.h"

typedef struct poei_chooser {
  const poei_plan_options *options;
  bool log_z_only;
  poei_plan *plan;
  poe_error *refusal; /* why elimination is no route, once it was tried */
} poei_chooser;

/* Takes ownership of a heap text (NULL: out of memory) as the plan's reason. */
poe_status poei_choose_reason(poei_plan *plan, char *text, poe_error *error);
/* log Z is known, by that method and with that error. */
void poei_choose_log_z(poei_plan *plan, poei_method method, double log_z, double log_z_error);
/* Why there is no closed form, on the heap. */
char *poei_choose_no_form(const poe_expert *expert);
/* plan->scratch_bytes. */
void poei_choose_scratch(poei_plan *plan);
/* Room for n parts in the plan. */
poe_status poei_choose_parts(poei_plan *plan, size_t n, poe_error *error);

/* Routes: *done when the plan is made. */
poe_status poei_route_elimination(const poei_chooser *choose, bool *done, poe_error *error);
poe_status poei_route_blocks(const poei_chooser *choose, bool *done, poe_error *error);
poe_status poei_route_mixture(const poei_chooser *choose, bool *done, poe_error *error);
/* Few discrete values, closed for each of them (branches.c); with a plan for each that knows log Z. */
poe_status poei_route_values(const poei_chooser *choose, bool *done, poe_error *error);
poe_status poei_route_branches(const poei_chooser *choose, bool *done, poe_error *error);
/* Closed or integrable islands of continuous coordinates given the discrete ones (islands.c). */
poe_status poei_route_islands(const poei_chooser *choose, bool *done, poe_error *error);
poe_status poei_route_rest(const poei_chooser *choose, bool *done, poe_error *error);
poe_status poei_route_replicas(const poei_chooser *choose, bool *done, poe_error *error);
poe_status poei_route_mixed(const poei_chooser *choose, bool *done, poe_error *error);
/* Sequential Monte Carlo, else Markov chains; POE_E_CAPABILITY for discrete coordinates and nothing to start from. */
poe_status poei_route_sampling(const poei_chooser *choose, poe_error *error);
/* The only route of a target that cannot be evaluated; an error when it is none. */
poe_status poei_route_blind(const poei_chooser *choose, poe_error *error);

#endif
