/* Minimisation of a smooth function from many starts at once: L-BFGS (Nocedal 1980; Nocedal and Wright 2006, algorithm
 * 7.4) with a line search to the strong Wolfe conditions (algorithms 3.5 and 3.6). The starts advance in lockstep, so
 * that the function is always asked about many points at a time; what becomes of one does not depend on the others. */
#ifndef POE_CORE_LBFGS_H
#define POE_CORE_LBFGS_H

#include <stdbool.h>
#include <stddef.h>

#include "poe/status.h"

/* Values and gradients at n points: x[n, d] -> value[n], gradient[n, d]. Values may be +inf or NaN (the search backs
 * off). A status other than POE_OK ends the minimisation. */
typedef poe_status (*poei_objective)(void *context, size_t n, size_t d, const double *x, double *value,
                                     double *gradient, poe_error *error);

typedef struct poei_lbfgs_options {
  size_t memory;      /* pairs kept per start (default 20)                                                       */
  size_t iterations;  /* at most (default 5000)                                                                  */
  double gradient;    /* converged: largest |gradient| <= gradient * max(1, |value|) (default 1e-9)              */
  double improvement; /* converged: the value fell by less than improvement * max(1, |value|) twice (default 1e-14) */
} poei_lbfgs_options;
void poei_lbfgs_defaults(poei_lbfgs_options *options);

typedef enum poei_lbfgs_end {
  POEI_LBFGS_CONVERGED, /* a stationary point to the tolerances                      */
  POEI_LBFGS_LIMIT,     /* the iterations were used up                               */
  POEI_LBFGS_UNBOUNDED, /* the value went below -1e300 or to -inf                    */
  POEI_LBFGS_BAD_START  /* the value or its gradient is not finite at the start      */
} poei_lbfgs_end;

/* Minimises from n starts: x[n, d] becomes the best points, value[n] their values, end[n] how each ended;
 * *evaluations (NULL allowed) counts points asked about. POE_E_MEMORY, or the objective's own failure. */
poe_status poei_lbfgs(poei_objective f, void *context, size_t n, size_t d, double *x, const poei_lbfgs_options *options,
                      double *value, poei_lbfgs_end *end, size_t *evaluations, poe_error *error);

#endif
