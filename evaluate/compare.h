/* AND versus OR: what does each composition keep, by the experts and by an independent judge? */
#ifndef POE_EVALUATE_COMPARE_H
#define POE_EVALUATE_COMPARE_H

#include "answer/session.h"

/* The verb compare. With `base` every expert e is taken as base * e; an expert is satisfied by a draw when its own
 * log-density there is at least its `quantile` under draws of base * e. Writes draws and an image grid under the
 * session's output folder (or what --output names). */
poe_status poei_evaluate_compare(poei_session *session, const poei_action *action, json_t **result, poe_error *error);

#endif
