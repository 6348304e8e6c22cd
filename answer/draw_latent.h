/* Draws of plans that go through another density (POEI_METHOD_JOINT, POEI_METHOD_MARGINAL). */
#ifndef POE_ANSWER_DRAW_LATENT_H
#define POE_ANSWER_DRAW_LATENT_H

#include "answer/session.h"

/* As poei_draw, with `method` for the plan's only part. */
poe_status poei_draw_latent(poei_session *session, const poei_plan *plan, const char *method,
                            const poei_run_options *options, poei_sampling *sampling, poe_error *error);
/* MARGINAL: p[n, probabilities] of the values of the plan's discrete coordinates, one after the other, given the
 * continuous ones of x[n, plan->dim]. */
poe_status poei_given_marginals(const poei_session *session, const poei_plan *plan, size_t n, const double *x,
                                double *p, poe_error *error);

#endif
