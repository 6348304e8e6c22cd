/* Formulas as the planner sees them. */
#ifndef POE_EXPERTS_FORMULA_H
#define POE_EXPERTS_FORMULA_H

#include "net/formula_quadratic.h"

bool poei_formula_is(const poe_expert *expert);
/* A formula with coordinates index[n] at value[n] (inside its support, n < dim) written into it, over the others in
 * order: what is left of it may be simpler than it was, a Gaussian factor or a table. */
poe_status poei_formula_given(const poe_expert *expert, size_t n, const size_t *index, const double *value,
                              poe_expert **out, poe_error *error);
/* A formula that has no closed form as a sum of two or more: *experts[i] over coordinates (*parts)[i].index; both
 * arrays and what they hold are the caller's (poei_formula_parts_free). *n 0: it is none. */
poe_status poei_formula_terms(const poe_expert *expert, size_t *n, poei_formula_part **parts, poe_expert ***experts,
                              poe_error *error);
/* A form of one Gaussian, proper or not, as a formula: what evaluates where a closed expert must be proper. */
poe_status poei_formula_of_form(const poe_form *form, poe_expert **out, poe_error *error);

#endif
