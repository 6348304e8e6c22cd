/* Rational-quadratic splines (Durkan, Bekasov, Murray and Papamakarios 2019, equations 4 to 8).
 *
 * In the bin [x_k, x_k + w] -> [y_k, y_k + h] with slopes d0, d1 at its ends, s = h / w, t = (v - x_k) / w, q = t (1 -
 * t):
 *
 *   T = y_k + h (s t^2 + d0 q) / (s + (d0 + d1 - 2 s) q)
 *   T' = s^2 (d1 t^2 + 2 s q + d0 (1 - t)^2) / (s + (d0 + d1 - 2 s) q)^2
 *
 * Outside [-B, B] T(v) = v; the slopes at the two ends are 1, so that T' is continuous.
 */
#include "experts/flow_spline.h"

#include <math.h>
#include <string.h>

#include "core/numerics.h"

/* One axis: its K bins, and what their derivatives need. */
typedef struct spline_axis {
  double size[POEI_CURVE_MAX_BINS];        /* sum 2 B                                  */
  double probability[POEI_CURVE_MAX_BINS]; /* softmax                                  */
  double slope[POEI_CURVE_MAX_BINS];       /* d (argument of the softmax) / d raw      */
  double stretch;                          /* d size / d probability                   */
} spline_axis;

/* The bin that holds a point, and where it is. */
typedef struct spline_bin {
  size_t k;
  double x, y, w, h, d0, d1;
} spline_bin;

static double spline_soft(double r, double limit, double *slope) {
  double s = 1.0 + fabs(r) / limit;
  *slope = 1.0 / (s * s);
  return r / s;
}

static void spline_axis_make(const poei_curve *curve, const double *raw, double least, spline_axis *axis) {
  size_t bins = curve->bins;
  double most = -INFINITY, sum = 0.0;
  for (size_t k = 0; k < bins; k++) {
    axis->slope[k] = curve->factor;
    axis->probability[k] = curve->knots == POEI_KNOTS_EXP ? spline_soft(raw[k], 0.5 * curve->limit, &axis->slope[k])
                                                          : curve->factor * raw[k];
    most = fmax(most, axis->probability[k]);
  }
  for (size_t k = 0; k < bins; k++) {
    sum += axis->probability[k] = exp(axis->probability[k] - most);
  }
  axis->stretch = 2.0 * curve->bound * (1.0 - (double)bins * least);
  for (size_t k = 0; k < bins; k++) {
    axis->probability[k] /= sum;
    axis->size[k] = 2.0 * curve->bound * least + axis->stretch * axis->probability[k];
  }
}

/* Slope at knot k of 0..K, and its derivative with respect to its raw number. */
static double spline_slope(const poei_curve *curve, const double *raw, size_t k, double *derivative) {
  *derivative = 0.0;
  if (k == 0 || k == curve->bins) {
    return 1.0;
  }
  if (curve->knots == POEI_KNOTS_EXP) {
    double slope = exp(spline_soft(raw[k - 1], curve->limit, derivative));
    *derivative *= slope;
    return slope;
  }
  *derivative = poei_sigmoid(raw[k - 1]);
  return curve->min_slope + poei_softplus(raw[k - 1]);
}

/* The bin where `along` (x or y) holds the point `at` inside [-B, B]. */
static spline_bin spline_find(const poei_curve *curve, const double *theta, const spline_axis *x, const spline_axis *y,
                              double at, bool by_y) {
  spline_bin bin = {.x = -curve->bound, .y = -curve->bound};
  for (; bin.k + 1 < curve->bins; bin.k++) {
    double end = by_y ? bin.y + y->size[bin.k] : bin.x + x->size[bin.k];
    if (at < end) {
      break;
    }
    bin.x += x->size[bin.k];
    bin.y += y->size[bin.k];
  }
  double unused;
  bin.w = x->size[bin.k];
  bin.h = y->size[bin.k];
  bin.d0 = spline_slope(curve, theta + 2 * curve->bins, bin.k, &unused);
  bin.d1 = spline_slope(curve, theta + 2 * curve->bins, bin.k + 1, &unused);
  return bin;
}

/* Derivatives of the value and of the log slope with respect to what describes a bin. */
typedef struct spline_partials {
  double t, s, d0, d1; /* with h and y_k held */
  double h;            /* explicit            */
} spline_partials;

static poei_curve_point spline_inside(const spline_bin *b, double t, spline_partials *value, spline_partials *slope) {
  double s = b->h / b->w, u = 1.0 - t, q = t * u, dq = 1.0 - 2.0 * t, sum = b->d0 + b->d1 - 2.0 * s;
  double above = s * t * t + b->d0 * q, below = s + sum * q;
  double middle = b->d1 * t * t + 2.0 * s * q + b->d0 * u * u;
  double above_t = 2.0 * s * t + b->d0 * dq, below_t = sum * dq, below_s = 1.0 - 2.0 * q;
  double middle_t = 2.0 * (b->d1 * t + s * dq - b->d0 * u), scale = b->h / (below * below);
  *value = (spline_partials){.t = scale * (above_t * below - above * below_t),
                             .s = scale * (t * t * below - above * below_s),
                             .d0 = scale * q * (below - above),
                             .d1 = -scale * q * above,
                             .h = above / below};
  *slope = (spline_partials){.t = middle_t / middle - 2.0 * below_t / below,
                             .s = 2.0 / s + 2.0 * q / middle - 2.0 * below_s / below,
                             .d0 = u * u / middle - 2.0 * q / below,
                             .d1 = t * t / middle - 2.0 * q / below};
  return (poei_curve_point){.value = b->y + b->h * above / below,
                            .log_slope = 2.0 * log(s) + log(middle) - 2.0 * log(below),
                            .bend = slope->t / b->w};
}

/* Chain rule through one axis: its size_k changes the bin's own size and moves the bins behind it. out[K]. */
static void spline_axis_chain(size_t bins, size_t at, const spline_axis *axis, double by_start, double by_size,
                              double *out) {
  double mean = 0.0;
  for (size_t k = 0; k < bins; k++) {
    out[k] = k < at ? by_start : k == at ? by_size : 0.0;
    mean += out[k] * axis->probability[k];
  }
  for (size_t k = 0; k < bins; k++) {
    out[k] = axis->stretch * axis->slope[k] * axis->probability[k] * (out[k] - mean);
  }
}

/* The derivatives of a quantity with partials p and d/dy_k = by_y, to theta. */
static void spline_chain(const poei_curve *curve, const double *theta, const spline_bin *b, double t,
                         const spline_axis *x, const spline_axis *y, const spline_partials *p, double by_y,
                         double *out) {
  size_t bins = curve->bins;
  double s = b->h / b->w;
  spline_axis_chain(bins, b->k, x, -p->t / b->w, -(t * p->t + s * p->s) / b->w, out);
  spline_axis_chain(bins, b->k, y, by_y, p->h + p->s / b->w, out + bins);
  for (size_t k = 1; k < bins; k++) {
    double derivative = 0.0;
    if (k == b->k || k == b->k + 1) {
      spline_slope(curve, theta + 2 * bins, k, &derivative);
    }
    out[2 * bins + k - 1] = derivative * (k == b->k ? p->d0 : p->d1);
  }
}

poei_curve_point poei_spline_at(const poei_curve *curve, double v, const double *theta, double *value_theta,
                                double *slope_theta) {
  if (!(v > -curve->bound && v < curve->bound)) { /* also NaN */
    if (value_theta != NULL) {
      memset(value_theta, 0, curve->parameters * sizeof *value_theta);
      memset(slope_theta, 0, curve->parameters * sizeof *slope_theta);
    }
    return (poei_curve_point){.value = v, .log_slope = 0.0, .bend = 0.0};
  }
  spline_axis x, y;
  spline_axis_make(curve, theta, curve->min_width, &x);
  spline_axis_make(curve, theta + curve->bins, curve->min_height, &y);
  spline_bin bin = spline_find(curve, theta, &x, &y, v, false);
  spline_partials value, slope;
  double t = fmin((v - bin.x) / bin.w, 1.0);
  poei_curve_point point = spline_inside(&bin, t, &value, &slope);
  if (value_theta != NULL) {
    spline_chain(curve, theta, &bin, t, &x, &y, &value, 1.0, value_theta);
    spline_chain(curve, theta, &bin, t, &x, &y, &slope, 0.0, slope_theta);
  }
  return point;
}

/* In the bin, T(v) = y is a quadratic in t; the root is computed without cancellation (their appendix A.2). */
double poei_spline_solve(const poei_curve *curve, double y, const double *theta, double *log_slope) {
  *log_slope = 0.0;
  if (!(y > -curve->bound && y < curve->bound)) {
    return y;
  }
  spline_axis x_axis, y_axis;
  spline_axis_make(curve, theta, curve->min_width, &x_axis);
  spline_axis_make(curve, theta + curve->bins, curve->min_height, &y_axis);
  spline_bin b = spline_find(curve, theta, &x_axis, &y_axis, y, true);
  double s = b.h / b.w, part = y - b.y, sum = b.d0 + b.d1 - 2.0 * s;
  double a2 = b.h * (s - b.d0) + part * sum, a1 = b.h * b.d0 - part * sum, a0 = -s * part;
  double t = 2.0 * a0 / (-a1 - sqrt(fmax(a1 * a1 - 4.0 * a2 * a0, 0.0)));
  spline_partials value, slope;
  poei_curve_point point = spline_inside(&b, t, &value, &slope);
  t = fmin(fmax(t - (point.value - y) / value.t, 0.0), 1.0); /* one step of Newton takes the rounding back */
  *log_slope = spline_inside(&b, t, &value, &slope).log_slope;
  return b.x + t * b.w;
}
