/* Independent Gaussians on a box: exact log Z and draws. Inside compose/ only. */
#ifndef POE_COMPOSE_EXACT_TRUNCATED_H
#define POE_COMPOSE_EXACT_TRUNCATED_H

#include "poe/expert.h"

/* Component k of a GAUSSIANS form, with its constant, restricted to support[dim] (reals); its precision must be
 * positive and diagonal: POE_E_CAPABILITY when it is not diagonal, POE_E_IMPROPER when it is not positive. */
poe_status poei_truncated_create(const poe_form *form, size_t k, const poe_support *support, poe_expert **out,
                                 poe_error *error);

/* Is it such an expert, and the form and component it was made of (allocated for the caller). */
bool poei_truncated_is(const poe_expert *expert);
poe_status poei_truncated_form(const poe_expert *expert, poe_form *form, poe_error *error);

#endif
