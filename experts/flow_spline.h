/* Monotone rational-quadratic splines with linear tails, the curve `rqs` of experts/flow_curve.h. */
#ifndef POE_EXPERTS_FLOW_SPLINE_H
#define POE_EXPERTS_FLOW_SPLINE_H

#include "experts/flow_curve.h"

/* As poei_curve_at and poei_curve_solve. theta = (widths[K], heights[K], slopes[K - 1]), raw. */
poei_curve_point poei_spline_at(const poei_curve *curve, double v, const double *theta, double *value_theta,
                                double *slope_theta);
double poei_spline_solve(const poei_curve *curve, double y, const double *theta, double *log_slope);

#endif
