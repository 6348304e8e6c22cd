/* Independence Metropolis-Hastings of a plan that has a base. Inside answer/ only. */
#ifndef POE_ANSWER_DRAW_INDEPENDENT_H
#define POE_ANSWER_DRAW_INDEPENDENT_H

#include "answer/session.h"

/* Draws of a plan from proposals of its base; chains start at init[n_init, dim] in turn. log Z comes from the weights
 * where these can be trusted. */
poe_status poei_draw_independent(const poei_session *session, const poei_plan *plan, const poei_run_options *options,
                                 const double *init, size_t n_init, poei_sampling *sampling, poe_error *error);

#endif
