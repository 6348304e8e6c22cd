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

#endif
