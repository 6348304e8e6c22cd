/* Adaptive quadrature over function pointers, one and two dimensions, in log space (integrands are exp(log f)).
 * Gauss-Kronrod 7-15 (Piessens et al. 1983, QUADPACK); infinite ends by x = t / (1 - t^2). */
#ifndef POE_CORE_QUADRATURE_H
#define POE_CORE_QUADRATURE_H

#include <stdbool.h>
#include <stddef.h>

#include "poe/status.h"

/* Log-values of an integrand at n points: x[n, d] -> log_value[n]. */
typedef poe_status (*poei_log_integrand)(void *context, size_t n, size_t d, const double *x, double *log_value,
                                         poe_error *error);

typedef struct poei_quadrature_result {
  double log_integral; /* log of the integral; -inf when it is 0        */
  double error_bound;  /* bound on the error of log_integral            */
  size_t evaluations;
  bool converged; /* error_bound <= tolerance                      */
} poei_quadrature_result;

/* Where mass or detail is known to be: centre and scale, per coordinate. A scale that is not a positive number: nothing
 * is known along that coordinate, and mass is looked for within a unit or so of 0, or of an end. */
typedef struct poei_spot {
  double at[2], scale[2];
} poei_spot;

/* Integrates exp(log f) over the box low[d]..high[d] (d = 1 or 2; ends may be infinite) to relative `tolerance`.
 * The integrand is looked at around each of spots[n] with a resolution of its scale, however far apart they are; what
 * is elsewhere is found when a first grid, or the slopes between its points, show it. A peak that is narrower than that
 * grid, that no spot is near, and that no slope leads to is not found, and error_bound knows nothing of it. */
poe_status poei_quadrature_around(poei_log_integrand f, void *context, size_t d, const double *low, const double *high,
                                  size_t n, const poei_spot *spots, double tolerance, poei_quadrature_result *result,
                                  poe_error *error);
/* The same with one spot or none: scale_hint [d, 2] (centre and scale of each coordinate) or NULL. */
poe_status poei_quadrature(poei_log_integrand f, void *context, size_t d, const double *low, const double *high,
                           const double *scale_hint, double tolerance, poei_quadrature_result *result,
                           poe_error *error);

#endif
