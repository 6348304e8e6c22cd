/* One cell of adaptive quadrature (quadrature_rule.h): Gauss-Kronrod 7-15 (Piessens et al. 1983, QUADPACK), in two
 * dimensions as a tensor. Values and errors are logarithms, so nothing overflows or vanishes.
 *
 * Error of a cell, per line of nodes, is the sum of
 *   the larger of |K15 - G7|, the error of the worse rule, and the sum of gap * f over neighbouring points of which one
 *     is at -inf: where the support ends inside a cell;
 *   gap * |f - the nodes' polynomial| at the line's ends, which are points but not nodes: a jump or a kink just outside
 * of the outermost node, invisible to both rules; the largest peak that can hide between neighbouring points
 * (line_hidden): what makes a narrow ridge through many cells, or one narrow peak of several, count even where no node
 * has hit it.
 *
 * Coordinates: x = c + s t / (1 - t^2) with the hint's centre and scale, or 0 (a finite end) and 1; x = t for a finite
 * interval without hint.
 * Invariant: an end of the whole box is never evaluated. */
#include "core/quadrature_rule.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/numerics.h"

enum { NODES = POEI_NODES, LINE = POEI_LINE };

/* Nodes in (-1, 1) ascending; Kronrod weights; Gauss weights (0 at Kronrod's own nodes). */
static const double node[NODES] = {-0.991455371120812639206854697526329, -0.949107912342758524526189684047851,
                                   -0.864864423359769072789712788640926, -0.741531185599394439863864773280788,
                                   -0.586087235467691130294144691693229, -0.405845151377397166906606412076961,
                                   -0.207784955007898467600689403773245, 0.0,
                                   0.207784955007898467600689403773245,  0.405845151377397166906606412076961,
                                   0.586087235467691130294144691693229,  0.741531185599394439863864773280788,
                                   0.864864423359769072789712788640926,  0.949107912342758524526189684047851,
                                   0.991455371120812639206854697526329};
static const double kronrod[NODES] = {
    0.022935322010529224963732008058970, 0.063092092629978553290700663189204, 0.104790010322250183839876322541518,
    0.140653259715525918745189590510238, 0.169004726639267902826583426598550, 0.190350578064785409913256402421014,
    0.204432940075298892414161999234649, 0.209482141084727828012999174891714, 0.204432940075298892414161999234649,
    0.190350578064785409913256402421014, 0.169004726639267902826583426598550, 0.140653259715525918745189590510238,
    0.104790010322250183839876322541518, 0.063092092629978553290700663189204, 0.022935322010529224963732008058970};
static const double gauss[NODES] = {0.0, 0.129484966168869693270611432679082, 0.0, 0.279705391489276667901467771423780,
                                    0.0, 0.381830050505118944950369775488975, 0.0, 0.417959183673469387755102040816327,
                                    0.0, 0.381830050505118944950369775488975, 0.0, 0.279705391489276667901467771423780,
                                    0.0, 0.129484966168869693270611432679082, 0.0};
/* Value at 1 of the polynomial through all nodes (mirrored: at -1). */
static const double at_end[NODES] = {0.006238528645340282776,  -0.018451577046963430127, 0.03043830953036793299,
                                     -0.043250815978173977256, 0.057719118618911434715,  -0.073778979644262450764,
                                     0.091687296848570965774,  -0.11292917291898148356,  0.13978343178290837655,
                                     -0.17457035156224131965,  0.22117597022489271509,   -0.29141869591999060069,
                                     0.42004719972088290489,   -0.70667399340457376908,  1.4539837311033124183};

/* ---- coordinates ---- */

double poei_axis_x(const poei_axis *axis, double t) {
  double x = axis->curved ? axis->centre + axis->scale * (t / ((1.0 - t) * (1.0 + t))) : t;
  if (x <= axis->low) {
    x = nextafter(axis->low, INFINITY);
  }
  return x >= axis->high ? nextafter(axis->high, -INFINITY) : x;
}

double poei_axis_log_slope(const poei_axis *axis, double t) {
  double rest = (1.0 - t) * (1.0 + t);
  return axis->curved ? log(axis->scale * (1.0 + t * t)) - 2.0 * log(rest) : 0.0;
}

/* Solves y = t / (1 - t^2). */
double poei_axis_t(const poei_axis *axis, double x) {
  if (isinf(x)) {
    return x > 0.0 ? 1.0 : -1.0;
  }
  if (!axis->curved) {
    return x;
  }
  double y = (x - axis->centre) / axis->scale;
  return 2.0 * y / (1.0 + hypot(1.0, 2.0 * y));
}

poei_axis poei_axis_make(double low, double high, const double *hint) {
  poei_axis map = {
      .curved = hint != NULL || isinf(low) || isinf(high), .centre = 0.0, .scale = 1.0, .low = low, .high = high};
  if (hint != NULL) {
    map.centre = hint[0];
    map.scale = hint[1];
  } else if (isfinite(low)) {
    map.centre = low;
  } else if (isfinite(high)) {
    map.centre = high;
  }
  map.t_low = poei_axis_t(&map, low);
  map.t_high = poei_axis_t(&map, high);
  return map;
}

/* ---- the points of a cell ---- */

/* t of node k in -1..15 of a side; -1 and 15 are its ends. */
static double side_point(const poei_cell *c, unsigned axis, int k) {
  double middle = 0.5 * (c->low[axis] + c->high[axis]), half = 0.5 * (c->high[axis] - c->low[axis]);
  if (k < 0) {
    return c->low[axis];
  }
  return k < NODES ? middle + half * node[k] : c->high[axis];
}

/* Index, among a cell's points, of node (i, j); ends have i or j at -1 or 15. One coordinate: j is not used. */
static size_t point_index(size_t d, int i, int j) {
  if (d == 1) {
    return (size_t)(i + 1);
  }
  if (i >= 0 && i < NODES && j >= 0 && j < NODES) {
    return (size_t)(i * NODES + j);
  }
  size_t base = NODES * NODES;
  if (i < 0 || i == NODES) {
    return base + (size_t)(2 * j + (i < 0 ? 0 : 1));
  }
  return base + 2 * NODES + (size_t)(2 * i + (j < 0 ? 0 : 1));
}

/* An end of the whole interval is never evaluated: its nearest node stands in. */
void poei_cell_points(size_t d, const poei_axis *axes, const poei_cell *c, double *x, double *log_slope) {
  double place[2][LINE], slope[2][LINE];
  for (unsigned axis = 0; axis < d; axis++) {
    const poei_axis *map = &axes[axis];
    for (int k = -1; k <= NODES; k++) {
      int at = k < 0 && c->low[axis] <= map->t_low ? 0 : k == NODES && c->high[axis] >= map->t_high ? NODES - 1 : k;
      double t = side_point(c, axis, at);
      place[axis][k + 1] = poei_axis_x(map, t);
      slope[axis][k + 1] = poei_axis_log_slope(map, t);
    }
  }
  if (d == 1) {
    memcpy(x, place[0], sizeof place[0]);
    memcpy(log_slope, slope[0], sizeof slope[0]);
    return;
  }
  for (int i = -1; i <= NODES; i++) {
    for (int j = -1; j <= NODES; j++) {
      if ((i < 0 || i == NODES) && (j < 0 || j == NODES)) {
        continue;
      }
      size_t p = point_index(2, i, j);
      x[2 * p] = place[0][i + 1];
      x[2 * p + 1] = place[1][j + 1];
      log_slope[p] = slope[0][i + 1] + slope[1][j + 1];
    }
  }
}

size_t poei_cell_size(size_t d) {
  return d == 1 ? POEI_LINE : POEI_PLANE;
}

void poei_line_weights(const poei_cell *c, double *weight) {
  double half = 0.5 * (c->high[0] - c->low[0]);
  weight[0] = weight[LINE - 1] = 0.0; /* the ends are no nodes */
  for (int i = 0; i < NODES; i++) {
    weight[i + 1] = half * kronrod[i];
  }
}

/* ---- one line of nodes ---- */

/* Position of point k = 0..16 of a line in [-1, 1]. */
static double line_place(int k) {
  return k == 0 ? -1.0 : k == LINE - 1 ? 1.0 : node[k - 1];
}

/* Both rules from value[LINE]. outside[LINE]: the integrand is -inf there; copied[2]: the low, the high end is only a
 * copy of its neighbour; blur: how far rounding moves points. */
static void line_rule(const double *value, const bool *outside, const bool *copied, double blur, double *integral,
                      double *error) {
  double k = 0.0, g = 0.0, low = 0.0, high = 0.0, gaps = 0.0, variation = 0.0;
  for (int i = 0; i < NODES; i++) {
    k += kronrod[i] * value[i + 1];
    g += gauss[i] * value[i + 1];
    low += at_end[NODES - 1 - i] * value[i + 1];
    high += at_end[i] * value[i + 1];
  }
  for (int i = 0; i + 1 < LINE; i++) {
    variation += fabs(value[i + 1] - value[i]);
    if (outside[i] != outside[i + 1]) {
      gaps += (line_place(i + 1) - line_place(i)) * fabs(value[i + 1] - value[i]);
    }
  }
  /* A jump or a kink between the outermost node and the end: there the value is not what the nodes say. */
  double end_gap = 1.0 - node[NODES - 1], ends = 0.0;
  ends += copied[0] ? 0.0 : end_gap * fabs(value[0] - low);
  ends += copied[1] ? 0.0 : end_gap * fabs(value[LINE - 1] - high);
  *integral = k;
  *error = fmax(fabs(k - g), gaps) + ends + blur * variation;
}

/* Slope of l[LINE] from point i to i + 1; NaN when it is not known: a point outside the line or at -inf, or an end that
 * is only a copy of its neighbour. */
static double line_slope(const double *l, int i, const bool *copied) {
  if (i < (copied[0] ? 1 : 0) || i + 1 >= LINE - (copied[1] ? 1 : 0) || l[i] == -INFINITY || l[i + 1] == -INFINITY) {
    return NAN;
  }
  return (l[i + 1] - l[i]) / (line_place(i + 1) - line_place(i));
}

/* The highest that l can rise between two points of distance `gap` and values l0, l1, given the slopes before, in and
 * after the gap and the curvatures (positive: concave) at the points before, at its two ends, and after; NaN = unknown.
 *
 * Where the curvature is nearly constant, a parabola of 1.5 times the curvature; elsewhere the continued secants of
 * both sides, a bound for every concave l (and too high a one to be used on smooth ridges). */
static double gap_top(double l0, double l1, double gap, const double slope[3], const double curvature[4]) {
  double inner = fmax(curvature[1], curvature[2]), outer = fmin(curvature[0], curvature[3]), high = fmax(l0, l1);
  if (inner <= 3.0 * outer) {
    double c = 1.5 * inner, s = 0.5 * gap + slope[1] / c;
    return s > 0.0 && s < gap ? l0 + slope[1] * s + 0.5 * c * s * (gap - s) : high;
  }
  double a = slope[0], b = -slope[2];
  if (a > 0.0 && b > 0.0) {
    double s = (l1 - l0 + b * gap) / (a + b); /* where the two lines meet */
    return s > 0.0 && s < gap ? l0 + a * s : high;
  }
  if (a > 0.0 && isnan(b)) {
    return l0 + a * gap;
  }
  return b > 0.0 && isnan(a) ? l1 + b * gap : high;
}

/* The largest log of a peak's mass that can hide between neighbouring points of l[LINE]. Counted only where it rises
 * above both points by more than 1: a rule that resolves the integrand has no such gap. */
static double line_hidden(const double *l, const bool *copied) {
  double slope[LINE + 1], curvature[LINE + 2]; /* of the gap before point i; at point i - 1 */
  for (int i = 0; i <= LINE; i++) {
    slope[i] = line_slope(l, i - 1, copied);
  }
  curvature[0] = curvature[LINE + 1] = NAN;
  for (int i = 0; i < LINE; i++) {
    double width = i == 0 || i == LINE - 1 ? 1.0 : 0.5 * (line_place(i + 1) - line_place(i - 1));
    curvature[i + 1] = (slope[i] - slope[i + 1]) / width; /* NaN at the ends, where a slope is */
  }
  double most = -INFINITY;
  for (int i = 0; i + 1 < LINE; i++) {
    double gap = line_place(i + 1) - line_place(i);
    double top = isnan(slope[i + 1]) ? -INFINITY : gap_top(l[i], l[i + 1], gap, slope + i, curvature + i);
    if (top > fmax(l[i], l[i + 1]) + 1.0) {
      most = fmax(most, top + log(gap));
    }
  }
  return most;
}

/* ---- one cell ---- */

/* How far rounding may move a point along a side, in units of half the side: t and x are both rounded. */
static double cell_blur(const poei_axis *axis, double t_low, double t_high) {
  double x_low = poei_axis_x(axis, t_low), x_high = poei_axis_x(axis, t_high);
  double in_t = fmax(fabs(t_low), fabs(t_high)) / (t_high - t_low);
  double in_x = fmax(fabs(x_low), fabs(x_high)) / (x_high - x_low);
  double blur = 2.0 * DBL_EPSILON * (in_t + in_x);
  return blur < 1.0 ? blur : 1.0; /* infinite, or NaN, where x overflows or no longer tells the ends apart */
}

void poei_cell_rule(size_t d, const poei_axis *axes, poei_cell *c, const double *log_value, double *value) {
  double half[2] = {0.5 * (c->high[0] - c->low[0]), d == 1 ? 1.0 : 0.5 * (c->high[1] - c->low[1])};
  double total = 0.0, error[2] = {0.0, 0.0}, hidden[2] = {-INFINITY, -INFINITY};
  double high = -INFINITY, volume = half[0] * half[1];
  for (size_t i = 0; i < poei_cell_size(d); i++) {
    high = fmax(high, log_value[i]);
  }
  c->log_value = c->log_error = c->log_seen = -INFINITY;
  c->axis = 0;
  if (high == -INFINITY) {
    return;
  }
  for (size_t i = 0; i < poei_cell_size(d); i++) {
    value[i] = log_value[i] - high;
  }
  poei_vexp(value, value, poei_cell_size(d));
  for (unsigned axis = 0; axis < d; axis++) {
    bool copied[2] = {c->low[axis] <= axes[axis].t_low, c->high[axis] >= axes[axis].t_high};
    double blur = cell_blur(&axes[axis], c->low[axis], c->high[axis]);
    for (int j = 0; j < (d == 1 ? 1 : NODES); j++) {
      double line[LINE], logs[LINE], line_value, line_error, weight = d == 1 ? 1.0 : kronrod[j];
      bool outside[LINE];
      for (int i = -1; i <= NODES; i++) {
        size_t p = axis == 0 ? point_index(d, i, j) : point_index(d, j, i);
        line[i + 1] = value[p];
        logs[i + 1] = log_value[p];
        outside[i + 1] = log_value[p] == -INFINITY;
      }
      line_rule(line, outside, copied, blur, &line_value, &line_error);
      error[axis] += weight * line_error;
      total += axis == 0 ? weight * line_value : 0.0;
      hidden[axis] = fmax(hidden[axis], log(weight) + line_hidden(logs, copied));
    }
  }
  double by_axis[2], scale = log(volume), seen = log(error[0] + error[1] + 4.0 * DBL_EPSILON * total);
  for (unsigned axis = 0; axis < 2; axis++) {
    by_axis[axis] = poei_log_add(high + log(error[axis]), hidden[axis]);
  }
  c->axis = by_axis[1] > by_axis[0] ? 1 : 0;
  c->log_value = scale + high + log(total);
  c->log_seen = scale + high + seen;
  c->log_error = scale + poei_log_add(high + seen, poei_log_add(hidden[0], hidden[1]));
  if (isnan(c->log_error)) { /* slopes beyond the range of doubles */
    c->log_error = INFINITY;
  }
}
