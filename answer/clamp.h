/* The option clamp of the verbs. */
#ifndef POE_ANSWER_CLAMP_H
#define POE_ANSWER_CLAMP_H

#include "answer/session.h"

/* The expression an action is about, its clamp option applied; on the heap (poei_free), NULL when the program has no
 * density. POE_E_USAGE for a malformed option. */
poe_status poei_clamp_target(const poei_session *session, const poei_action *action, char **text, poe_error *error);
/* The file in "place=FILE", inside `text`; NULL when it is no file but a value. POE_E_USAGE for what is neither. */
poe_status poei_clamp_file(const char *text, const char **path, poe_error *error);
/* The dimensions of a target that a place such as "x" or "x[0:2, 1]" names: *n of them in position[target->dim], in
 * the place's order. */
poe_status poei_clamp_places(const poei_session *session, const poei_target *target, const char *place, size_t *n,
                             size_t *position, poe_error *error);

#endif
