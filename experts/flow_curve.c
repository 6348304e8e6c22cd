/* The increasing functions of experts/flow_curve.h: values, slopes, inverses and their derivatives; the spline's own
 * part is in experts/flow_spline.c. */
#include "experts/flow_curve.h"

#include <math.h>
#include <stdio.h>

#include "core/numerics.h"
#include "experts/flow_spline.h"

/* ---- scales ---- */

/* log s of a raw number, and its derivative. */
static double curve_log_scale(const poei_curve *curve, double r, double *derivative) {
  double at = r + curve->offset, s, ds;
  switch (curve->scale) {
  case POEI_SCALE_EXP:
    break;
  case POEI_SCALE_TANH:
    s = tanh(r);
    *derivative = curve->limit * (1.0 - s * s);
    return curve->limit * s;
  case POEI_SCALE_ATAN:
    *derivative = curve->limit / (1.0 + r * r);
    return curve->limit * atan(r);
  case POEI_SCALE_SOFT:
    s = 1.0 + fabs(r) / curve->limit;
    *derivative = 1.0 / (s * s);
    return r / s;
  case POEI_SCALE_SIGMOID:
    if (curve->eps == 0.0) {
      *derivative = poei_sigmoid(-at);
      return -poei_softplus(-at);
    }
    s = poei_sigmoid(at);
    *derivative = s * poei_sigmoid(-at) / (s + curve->eps);
    return log(s + curve->eps);
  case POEI_SCALE_SOFTPLUS:
    if (curve->eps == 0.0 && at < -30.0) { /* softplus(r) = e^r to rounding */
      *derivative = 1.0;
      return at;
    }
    s = poei_softplus(at);
    ds = poei_sigmoid(at);
    *derivative = ds / (s + curve->eps);
    return log(s + curve->eps);
  }
  *derivative = 1.0;
  return r;
}

/* ---- curves ---- */

poei_curve_point poei_curve_at(const poei_curve *curve, double v, const double *theta, double *value_theta,
                               double *slope_theta) {
  if (curve->kind == POEI_CURVE_RQS) {
    return poei_spline_at(curve, v, theta, value_theta, slope_theta);
  }
  size_t shift = curve->scale_first ? 1 : 0, raw = 1 - shift;
  double derivative = 0.0, log_scale = 0.0;
  if (curve->kind == POEI_CURVE_AFFINE) {
    log_scale = curve_log_scale(curve, theta[raw], &derivative);
  }
  double stretched = exp(log_scale) * v;
  if (value_theta != NULL) {
    value_theta[shift] = 1.0;
    slope_theta[shift] = 0.0;
    if (curve->kind == POEI_CURVE_AFFINE) {
      value_theta[raw] = stretched * derivative;
      slope_theta[raw] = derivative;
    }
  }
  return (poei_curve_point){.value = stretched + theta[shift], .log_slope = log_scale};
}

double poei_curve_solve(const poei_curve *curve, double y, const double *theta, double *log_slope) {
  if (curve->kind == POEI_CURVE_RQS) {
    return poei_spline_solve(curve, y, theta, log_slope);
  }
  size_t shift = curve->scale_first ? 1 : 0;
  double derivative;
  *log_slope = curve->kind == POEI_CURVE_AFFINE ? curve_log_scale(curve, theta[1 - shift], &derivative) : 0.0;
  return (y - theta[shift]) * exp(-*log_slope);
}

/* ---- reading ---- */

static poe_status curve_read_affine(const poei_flow_reader *reader, poei_curve *curve, poe_error *error) {
  size_t scale = 0, first = 0;
  poe_status status = poei_flow_choice(reader, "scale", POEI_SCALE_WORDS, POEI_SCALE_EXP, &scale, error);
  curve->scale = (poei_curve_scale)scale;
  curve->parameters = 2;
  if (status == POE_OK) {
    status = poei_flow_choice(reader, "first", "shift|scale", 0, &first, error);
  }
  curve->scale_first = first == 1;
  if (status == POE_OK) {
    double limit = curve->scale == POEI_SCALE_SOFT ? log(1e3) : 1.0;
    status = poei_flow_number(reader, "limit", limit, 1e-6, 700.0, &curve->limit, error);
  }
  if (status == POE_OK) {
    status = poei_flow_number(reader, "offset", 0.0, -100.0, 100.0, &curve->offset, error);
  }
  return status == POE_OK ? poei_flow_number(reader, "eps", 0.0, 0.0, 1.0, &curve->eps, error) : status;
}

static poe_status curve_read_spline(const poei_flow_reader *reader, poei_curve *curve, poe_error *error) {
  size_t knots = 0;
  double bins = 0.0, least = 1e-3;
  poe_status status = poei_flow_choice(reader, "knots", POEI_KNOTS_WORDS, POEI_KNOTS_SOFTPLUS, &knots, error);
  curve->knots = (poei_curve_knots)knots;
  if (status == POE_OK) {
    status = poei_flow_number(reader, "bins", NAN, 1.0, POEI_CURVE_MAX_BINS, &bins, error);
  }
  if (status == POE_OK && bins != floor(bins)) {
    status = poei_flow_refuse(reader, error, POE_E_DOMAIN, "'bins' must be a whole number");
  }
  curve->bins = status == POE_OK ? (size_t)bins : 1;
  curve->parameters = 3 * curve->bins - 1;
  if (status == POE_OK) {
    status = poei_flow_number(reader, "bound", NAN, 1e-6, 1e6, &curve->bound, error);
  }
  if (curve->knots == POEI_KNOTS_EXP) {
    return status == POE_OK ? poei_flow_number(reader, "limit", log(1e3), 1e-6, 700.0, &curve->limit, error) : status;
  }
  if (status == POE_OK) {
    status = poei_flow_number(reader, "factor", 1.0, 0.0, 1e3, &curve->factor, error);
  }
  double most = 0.999 / (double)curve->bins; /* room for the bins themselves */
  if (status == POE_OK) {
    status = poei_flow_number(reader, "min_width", fmin(least, most), 0.0, most, &curve->min_width, error);
  }
  if (status == POE_OK) {
    status = poei_flow_number(reader, "min_height", fmin(least, most), 0.0, most, &curve->min_height, error);
  }
  return status == POE_OK ? poei_flow_number(reader, "min_slope", least, 0.0, 0.999, &curve->min_slope, error) : status;
}

poe_status poei_curve_read(const poei_flow_reader *reader, const char *keys, poei_curve *curve, poe_error *error) {
  static const char *const curve_keys[] = {"transform", "transform|scale|first|limit|offset|eps",
                                           "transform|bins|knots|bound|limit|factor|min_width|min_height|min_slope"};
  size_t kind = 0;
  char all[256];
  *curve = (poei_curve){.parameters = 1};
  poe_status status =
      json_object_get(reader->layer, "transform") != NULL
          ? poei_flow_choice(reader, "transform", POEI_CURVE_WORDS, 0, &kind, error)
          : poei_flow_refuse(reader, error, POE_E_FORMAT, "'transform' is missing, one of %s", POEI_CURVE_WORDS);
  if (status == POE_OK) {
    snprintf(all, sizeof all, "%s|%s", keys, curve_keys[kind]);
    status = poei_flow_keys(reader, all, error);
  }
  if (status != POE_OK) {
    return status;
  }
  curve->kind = (poei_curve_kind)kind;
  switch (curve->kind) {
  case POEI_CURVE_ADDITIVE:
    return POE_OK;
  case POEI_CURVE_AFFINE:
    return curve_read_affine(reader, curve, error);
  case POEI_CURVE_RQS:
    break;
  }
  return curve_read_spline(reader, curve, error);
}
