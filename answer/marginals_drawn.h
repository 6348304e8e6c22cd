/* Probabilities of discrete values from draws, and how far off they may be. */
#ifndef POE_ANSWER_MARGINALS_DRAWN_H
#define POE_ANSWER_MARGINALS_DRAWN_H

#include "answer/session.h"
#include "compose/exact/discrete.h"

typedef struct poei_drawn_marginals {
  poei_marginals m;
  double *std_error; /* like m.p; 0 where exact, NaN where the draws cannot say   */
  size_t draws;
  bool averaged;  /* exact conditional probabilities were averaged somewhere   */
  bool counted;   /* values were counted somewhere                             */
  poei_gate gate; /* of the draws                                              */
} poei_drawn_marginals;

/* The marginals of a plan's target by its own draws. Coordinates of a mixed part are Rao-Blackwellised: the exact
 * p(s_j | continuous coordinates) is averaged over the draws. Those of a block with exact marginals are exact; others
 * are counted. `options`: of the plan. */
poe_status poei_marginals_draw(poei_session *session, const poei_plan *plan, const poei_plan_options *options,
                               const poei_run_options *run, poei_drawn_marginals *out, poe_error *error);
void poei_drawn_marginals_free(poei_drawn_marginals *drawn);

#endif
