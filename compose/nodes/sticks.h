/* Simplices among the coordinates of a row, and the k - 1 free coordinates of one (stick-breaking). */
#ifndef POE_COMPOSE_STICKS_H
#define POE_COMPOSE_STICKS_H

#include "poe/expert.h"

/* Numbers of a simplex may miss 1 by this much; no stick is broken shorter than the floor. */
#define POEI_SIMPLEX_SLACK 1e-8
#define POEI_SIMPLEX_FLOOR 1e-300

/* How many coordinates the simplex has that begins at j of support[dim]; 0 when none does. */
size_t poei_simplex_at(size_t dim, const poe_support *support, size_t j);
/* Is any coordinate one of a simplex? */
bool poei_simplex_any(size_t dim, const poe_support *support);
/* Are the numbers x[k] >= 0 with sum 1? False for NaN. */
bool poei_simplex_holds(size_t k, const double *x);

/* x[k] <- the sticks that u[k - 1] breaks off one after the other, and the last: in place is allowed. Never 0. */
void poei_sticks_break(size_t k, const double *u, double *x);
/* The inverse: writes u[k - 1]; in place is allowed (x[k - 1] stays). */
void poei_sticks_join(size_t k, const double *x, double *u);
/* log |d x[0 .. k-2] / d u|. */
double poei_sticks_log_slope(size_t k, const double *u);
/* grad[k - 1] += w d(log slope)/du + the gradient slope[k] of a function of x, where x[k] = the sticks of u. */
void poei_sticks_pull(size_t k, const double *u, const double *x, const double *slope, double w, double *grad);

#endif
