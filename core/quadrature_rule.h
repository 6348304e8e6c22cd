/* One cell of adaptive quadrature: its points, its Gauss-Kronrod value and the bound on the error of that value. Shared
 * by quadrature.c and its tests; the method is described in quadrature_rule.c. */
#ifndef POE_CORE_QUADRATURE_RULE_H
#define POE_CORE_QUADRATURE_RULE_H

#include <stdbool.h>
#include <stddef.h>

enum {
  POEI_NODES = 15,                                      /* of the rule                      */
  POEI_LINE = POEI_NODES + 2,                           /* points of a cell in 1 dimension  */
  POEI_PLANE = POEI_NODES * POEI_NODES + 4 * POEI_NODES /* in 2: with edges, without corners */
};

/* One coordinate: x = t, or x = centre + scale t / (1 - t^2). */
typedef struct poei_axis {
  bool curved;
  double centre, scale;
  double low, high;     /* of x */
  double t_low, t_high; /* of t */
} poei_axis;

/* x of t, strictly between the ends of the interval: an end may be a pole, or outside an open support. */
double poei_axis_x(const poei_axis *axis, double t);
/* t of x. */
double poei_axis_t(const poei_axis *axis, double x);
/* log dx/dt. */
double poei_axis_log_slope(const poei_axis *axis, double t);

/* A rectangle in t. */
typedef struct poei_cell {
  double low[2], high[2];
  double log_value, log_error; /* logs of its integral and of that one's error */
  double log_seen;             /* log_error without the peaks that may hide    */
  unsigned axis;               /* the coordinate to halve                      */
  unsigned piece;              /* the caller's: whose axes these are           */
} poei_cell;

/* The map for the interval low < high (ends may be infinite); hint [2] (centre, scale > 0) or NULL. */
poei_axis poei_axis_make(double low, double high, const double *hint);
/* Points of a cell in d = 1 or 2 dimensions: 17 or 285. */
size_t poei_cell_size(size_t d);
/* Writes the points x[size, d] and the logs of the volume factor dx/dt to log_slope[size]. axis[d]. */
void poei_cell_points(size_t d, const poei_axis *axis, const poei_cell *cell, double *x, double *log_slope);
/* weight[POEI_LINE] of the points of a one-dimensional cell in its value, which is their sum times exp(log_value). */
void poei_line_weights(const poei_cell *cell, double *weight);
/* Sets log_value, log_error and axis of a cell from log_value[size] = log f + log_slope; value[size] is workspace. */
void poei_cell_rule(size_t d, const poei_axis *axis, poei_cell *cell, const double *log_value, double *value);

#endif
