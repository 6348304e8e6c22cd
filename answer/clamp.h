/* The option clamp of the verbs. */
#ifndef POE_ANSWER_CLAMP_H
#define POE_ANSWER_CLAMP_H

#include "answer/session.h"

/* The expression an action is about, its clamp option applied; on the heap (poei_free), NULL when the program has no
 * density. POE_E_USAGE for a malformed option. */
poe_status poei_clamp_target(const poei_session *session, const poei_action *action, char **text, poe_error *error);

/* "x = points.csv": coordinates that take the values of each row of a file. */
typedef struct poei_clamp_rows {
  char *place, *path; /* owned */
} poei_clamp_rows;

/* The pieces of the option. */
typedef struct poei_clamps {
  size_t n;
  poei_clamp_rows *file; /* [n]                                                        */
  char *values;          /* the others, as they stand after `given`; NULL: there are none */
} poei_clamps;
/* Takes the option apart. POE_E_USAGE for a piece that is neither. */
poe_status poei_clamps_read(const char *text, poei_clamps *clamps, poe_error *error);
void poei_clamps_free(poei_clamps *clamps);
/* As poei_clamp_target, for an option taken apart before; files are left to the caller. */
poe_status poei_clamps_target(const poei_session *session, const poei_action *action, const poei_clamps *clamps,
                              char **text, poe_error *error);
/* The dimensions of a target that a place such as "x" or "x[0:2, 1]" names: *n of them in position[target->dim], in
 * the place's order. */
poe_status poei_clamp_places(const poei_session *session, const poei_target *target, const char *place, size_t *n,
                             size_t *position, poe_error *error);

#endif
