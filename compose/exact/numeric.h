/* Numbers and draws of targets without a closed form: enumeration of discrete states, quadrature and grids over one or
 * two continuous coordinates. Inside compose/ only. */
#ifndef POE_COMPOSE_EXACT_NUMERIC_H
#define POE_COMPOSE_EXACT_NUMERIC_H

#include "compose/exact/spots.h"

/* An expert evaluated from a planner's loop: owns a scratch. */
typedef struct poei_evaluator {
  const poe_expert *expert;
  poe_scratch *scratch;
  const atomic_bool *stop; /* POE_E_INTERRUPTED once it is true; opening sets it to NULL: never */
} poei_evaluator;

enum { POEI_EVALUATOR_ROWS = 64 };
poe_status poei_evaluator_open(const poe_expert *expert, poei_evaluator *evaluator, poe_error *error);
void poei_evaluator_close(poei_evaluator *evaluator);
/* value[n] = log p(x[n, d]). */
poe_status poei_evaluator_run(poei_evaluator *evaluator, size_t n, const double *x, double *value, poe_error *error);

/* Number of joint states of an all-discrete expert; 0 when a coordinate is continuous or unbounded, or above `limit`.
 */
size_t poei_joint_states(const poe_expert *expert, size_t limit);
/* The expert by enumeration of its states: same density, with exact log Z and draws. POE_E_EMPTY when every state is
 * impossible, POE_E_IMPROPER when one has infinite density. */
poe_status poei_enumeration_create(const poe_expert *target, poe_expert **out, poe_error *error);

/* The expert over one count without an upper end by adding up its states as far as *last: what lies beyond is proven to
 * be less than 2^-60 of the sum, with exact log Z and draws. *out stays NULL when the expert is over something else,
 * when nothing bounds how its probabilities fall, or when more than `limit` states would count. */
poe_status poei_counts_create(const poe_expert *target, size_t limit, poe_expert **out, double *last, poe_error *error);

/* log Z of an expert over one or two continuous coordinates by quadrature around `spots`: *converged within
 * `tolerance`, *bound on the error of what was seen. POE_E_EMPTY when it is 0, POE_E_IMPROPER where a divisor vanishes
 * alone. */
poe_status poei_integrate(const poe_expert *target, const poei_spots *spots, double tolerance, double *log_z,
                          double *bound, bool *converged, poe_error *error);

/* The expert over one or two continuous coordinates by an adaptive grid: same density, with draws by inverse CDF whose
 * distribution is within about 1e-4 (1e-6 in one dimension) of the target's in total variation; log_z: known, against
 * which the grid is checked. *out stays NULL when the grid does not reach that. */
poe_status poei_grid_create(const poe_expert *target, const poei_spots *spots, double log_z, double log_z_bound,
                            poe_expert **out, poe_error *error);

#endif
