/* log Z of one- and two-dimensional targets by adaptive quadrature over their support box (core/quadrature.h), around
 * the spots where they have mass (spots.h).
 *
 * The bound that comes with it is on what was looked at. A density that is +inf at a point of a quotient is a divisor
 * vanishing alone: improper.
 */
#include <math.h>

#include "compose/exact/numeric.h"
#include "compose/nodes/node.h"
#include "core/quadrature.h"

typedef struct integrand {
  poei_evaluator evaluator;
  bool infinite;
  double at[2];
} integrand;

static poe_status evaluate(void *context, size_t n, size_t d, const double *x, double *log_value, poe_error *error) {
  integrand *f = context;
  poe_status status = poei_evaluator_run(&f->evaluator, n, x, log_value, error);
  for (size_t i = 0; i < n && status == POE_OK && !f->infinite; i++) {
    if (log_value[i] == INFINITY) {
      f->infinite = true;
      for (size_t j = 0; j < d; j++) {
        f->at[j] = x[i * d + j];
      }
    }
  }
  return status;
}

poe_status poei_integrate(const poe_expert *target, const poei_spots *spots, double tolerance, double *log_z,
                          double *bound, bool *converged, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  double low[2], high[2];
  for (size_t j = 0; j < traits->dim; j++) {
    low[j] = traits->support[j].low;
    high[j] = traits->support[j].high;
  }
  integrand f = {.infinite = false};
  poe_status status = poei_evaluator_open(target, &f.evaluator, error);
  if (status != POE_OK) {
    return status;
  }
  f.evaluator.stop = spots->stop;
  poei_quadrature_result result = {0};
  status =
      poei_quadrature_around(evaluate, &f, traits->dim, low, high, spots->n, spots->item, tolerance, &result, error);
  poei_evaluator_close(&f.evaluator);
  if (f.infinite && poei_node_diverges(target)) {
    poe_error_set(error, POE_E_IMPROPER, "a divisor is 0 where the rest is not, at (%g%s%g)", f.at[0],
                  traits->dim == 2 ? ", " : ") = (", f.at[traits->dim - 1]);
    poe_error_hint(error, "restrict the numerator to where the divisor is positive");
    return POE_E_IMPROPER;
  }
  if (status != POE_OK) {
    return status;
  }
  if (result.log_integral == -INFINITY) {
    return poe_error_set(error, POE_E_EMPTY, "the density is 0 everywhere quadrature looked");
  }
  *log_z = result.log_integral;
  *bound = result.error_bound;
  *converged = result.converged && isfinite(result.log_integral);
  return POE_OK;
}
