/* Building blocks of closed forms, for the families and the planner's algebra (the rest is in experts/closed.h). */
#ifndef POE_EXPERTS_FORM_H
#define POE_EXPERTS_FORM_H

#include "poe/expert.h"

/* Allocates a TABLE form over states cardinality[dim] from low[dim], all log values 0. *form is untouched on failure.
 */
poe_status poei_form_table(poe_form *form, size_t dim, const size_t *cardinality, const double *low, poe_error *error);
/* The TABLE form of independent coordinates: log_p holds cardinality[0] numbers, then cardinality[1], ... */
poe_status poei_form_independent(poe_form *form, size_t dim, const size_t *cardinality, const double *low,
                                 const double *log_p, poe_error *error);
/* Number of states of a TABLE form. */
size_t poei_form_states(const poe_form *form);
/* Component c of a GAUSSIANS form: the Cholesky factor[d,d] of its precision, its mean[d] and the log of its integral.
 * POE_E_IMPROPER naming the failing direction. */
poe_status poei_form_component(const poe_form *form, size_t c, double *factor, double *mean, double *log_z,
                               poe_error *error);

#endif
