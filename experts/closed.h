/* A density given by its closed form: what the planner's algebra produces, and what gaussian and gmm are underneath.
 * Gaussian mixtures in information form evaluate, differentiate, draw and normalise through Cholesky factors. */
#ifndef POE_EXPERTS_CLOSED_H
#define POE_EXPERTS_CLOSED_H

#include "poe/expert.h"

/* An expert with the density of the form, exactly as given (its constant included). Copies `form`. Every component of a
 * GAUSSIANS form must be proper (else POE_E_IMPROPER, naming the component and the failing direction as a vector). */
poe_status poei_closed_create(const poe_form *form, poe_expert **expert, poe_error *error);

/* log of the integral (sum) of a form; POE_E_IMPROPER naming the failing direction when it diverges. */
poe_status poei_form_log_z(const poe_form *form, double *log_z, poe_error *error);
/* Allocates the arrays of a zeroed GAUSSIANS form of k components in d dimensions, zero-filled. */
poe_status poei_form_gaussians(poe_form *form, size_t components, size_t dim, poe_error *error);
poe_status poei_form_copy(const poe_form *source, poe_form *form, poe_error *error);

#endif
