/* Means and standard deviations of Gaussian coordinates, for the verb marginals. */
#ifndef POE_ANSWER_MARGINALS_GAUSSIAN_H
#define POE_ANSWER_MARGINALS_GAUSSIAN_H

#include "answer/session.h"

/* Adds "moments" to a result, {variable: {mean, sd}} nested by the variable's shape, where they are exact: null at
 * coordinates that are none of the target's, discrete, or not known; clamped ones have their value and 0. *told: is
 * there one? Nothing is added when there is none. */
poe_status poei_marginals_moments(const poei_session *session, const poei_solved *solved, json_t *result, bool *told,
                                  poe_error *error);

#endif
