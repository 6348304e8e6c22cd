/* The parts of the search for modes: continuous (modes.c), discrete (modes_discrete.c). */
#ifndef POE_ANSWER_MODES_PARTS_H
#define POE_ANSWER_MODES_PARTS_H

#include "answer/modes.h"

/* Log-densities within this, absolute + relative, are one level. */
#define POEI_MODE_LEVEL 1e-7

/* As poei_modes_find, for a target all of whose coordinates are continuous. */
poe_status poei_modes_continuous(poei_session *session, const poe_expert *target, const poei_plan *plan,
                                 const poei_mode_options *options, poei_modes *modes, poe_error *error);
/* Has the user asked to stop? */
bool poei_modes_stopped(const poei_session *session);

/* A search in the unconstrained coordinates of a target. */
typedef struct poei_ascent {
  poei_session *session;
  const poe_expert *smooth; /* transform node without Jacobian */
  poei_runner *runner;
  size_t rounds;
} poei_ascent;

/* Where one search ended. */
typedef struct poei_search_end {
  double *u, *x; /* [d] unconstrained; user's space, filled for POEI_END_SPIKE and POEI_END_ENDLESS */
  double value;  /* log-density                                                                  */
  poei_mode_end how;
} poei_search_end;

/* Finds out what the ends of n searches are (modes_ends.c), best first, and moves those on that are no modes yet: u and
 * value change, for about `budget` evaluations; *asked: how many they were. */
poe_status poei_ends_judge(const poei_ascent *a, const poe_expert *target, size_t n, size_t d, poei_search_end *end,
                           size_t budget, size_t *asked, poe_error *error);
/* At which end of its range does x lie: -1, 0 (neither), 1. */
int poei_bound_side(const poe_support *support, double x);

#endif
