/* The plain laws (laws.h): flat, exponential, normal, geometric; and what the others share. */
#include "experts/laws.h"

#include <string.h>

#include "core/numerics.h"
#include "core/special.h"

/* out[n] = log y + shift with y near 1 where that helps: log(y / y0) of y whose distance from y0 is known exactly. */
static void log_argument(double y, double difference, double y0, double log_y0, double *argument, double *shift) {
  double t = difference / y0, ratio = y / y0;
  bool near = fabs(t) < 0.5;
  /* log(1 + t) = log(r) + (1 + t - r) / r to second order in the rounding of r */
  *shift = near ? (t - (ratio - 1.0)) / ratio : -log_y0;
  *argument = near ? ratio : y;
}

static void add_logs(size_t n, const double *shift, double *out) {
  poei_vlog(out, out, n);
  for (size_t i = 0; i < n; i++) {
    out[i] += shift[i];
  }
}

void poei_law_log_ratio(size_t n, const double *x, double x0, double *out) {
  double shift[POEI_LAW_ROWS] = {0.0}, log_x0 = log(x0);
  for (size_t i = 0; i < n; i++) {
    log_argument(x[i], x[i] - x0, x0, log_x0, &out[i], &shift[i]);
  }
  add_logs(n, shift, out);
}

void poei_law_log_rest(size_t n, const double *x, double x0, double rest0, double *out) {
  double shift[POEI_LAW_ROWS] = {0.0}, log_rest0 = log(rest0);
  for (size_t i = 0; i < n; i++) {
    log_argument(1.0 - x[i], x0 - x[i], rest0, log_rest0, &out[i], &shift[i]);
  }
  add_logs(n, shift, out);
}

double poei_log_gamma_draw(poe_stream *stream,
                           double shape) { /* below 1 a power of a uniform number, which may underflow */
  if (shape >= 1.0) {
    return log(poe_stream_gamma(stream, shape));
  }
  double log_power = -poe_stream_exponential(stream) / shape;
  return log(poe_stream_gamma(stream, shape + 1.0)) + log_power;
}

size_t poei_law_cuts(double low, double high, size_t more, const double *candidate, double *cut) {
  size_t n = 1;
  cut[0] = low;
  for (size_t k = 0; k < more; k++) {
    if (candidate[k] > low && candidate[k] < high) { /* NaN is neither */
      size_t at = n++;
      for (; at > 1 && cut[at - 1] > candidate[k]; at--) {
        cut[at] = cut[at - 1];
      }
      cut[at] = candidate[k];
    }
  }
  cut[n] = high;
  return n;
}

/* ---- flat: p = log-density ---- */

void poei_flat_set(double log_density, double *p) {
  p[0] = log_density;
}

static void flat_eval(const double *p, size_t n, const double *x, double *value, double *slope) {
  (void)x;
  for (size_t i = 0; i < n; i++) {
    value[i] = p[0];
  }
  if (slope != NULL) {
    memset(slope, 0, n * sizeof *slope);
  }
}

static poe_status flat_prepare(const double *p, const poe_support *on, double *log_mass, void **table,
                               poe_error *error) {
  (void)table;
  if (isinf(on->low) || isinf(on->high)) {
    return poe_error_set(error, POE_E_IMPROPER, "it is flat on an unbounded range");
  }
  *log_mass = p[0] + log(on->high - on->low + (on->kind == POE_DISCRETE ? 1.0 : 0.0));
  return POE_OK;
}

static double flat_draw(const double *p, const poe_support *on, const void *table, poe_stream *stream) {
  (void)p;
  (void)table;
  double u = poe_stream_uniform(stream), length = on->high - on->low;
  return on->kind == POE_DISCRETE ? on->low + floor(u * (length + 1.0)) : on->low + u * length;
}

static double flat_natural(const double *p, double *coefficient) {
  (void)coefficient;
  return p[0];
}

const poei_law poei_flat_law = {"uniform", flat_eval, flat_prepare, flat_draw, flat_natural};

/* ---- exponential: p = rate, anchor, log |rate| ---- */

void poei_exponential_set(double rate, double anchor, double *p) {
  p[0] = rate;
  p[1] = anchor;
  p[2] = log(fabs(rate));
}

static void exponential_eval(const double *p, size_t n, const double *x, double *value, double *slope) {
  for (size_t i = 0; i < n; i++) {
    value[i] = p[2] - p[0] * (x[i] - p[1]);
  }
  for (size_t i = 0; slope != NULL && i < n; i++) {
    slope[i] = -p[0];
  }
}

static poe_status exponential_prepare(const double *p, const poe_support *on, double *log_mass, void **table,
                                      poe_error *error) {
  (void)table;
  double end = p[0] > 0.0 ? on->low : on->high; /* where the density is highest */
  if (isinf(end)) {
    return poe_error_set(error, POE_E_IMPROPER, "its rate is %g on an unbounded range", p[0]);
  }
  *log_mass = poei_log1m_exp(-fabs(p[0]) * (on->high - on->low)) - p[0] * (end - p[1]);
  return POE_OK;
}

static double exponential_draw(const double *p, const poe_support *on, const void *table, poe_stream *stream) {
  (void)table;
  double rate = fabs(p[0]), u = poe_stream_uniform(stream);
  double away = -log1p(u * expm1(-rate * (on->high - on->low))) / rate; /* from the highest end */
  return p[0] > 0.0 ? on->low + away : on->high - away;
}

static double exponential_natural(const double *p, double *coefficient) {
  coefficient[POE_STATISTIC_IDENTITY] -= p[0];
  return p[2] + p[0] * p[1];
}

const poei_law poei_exponential_law = {"exponential", exponential_eval, exponential_prepare, exponential_draw,
                                       exponential_natural};

/* ---- normal: p = mean, sd, log density at the mean, rest; the mean is mean + rest, more than one double holds ---- */

void poei_normal_set(double origin, double shift, double sd, double *p) {
  p[0] = origin + shift;
  p[1] = sd;
  p[2] = -log(sd) - 0.5 * POEI_LOG_2PI;
  p[3] = (origin - p[0]) + shift;
}

static double standard(const double *p, double x) {
  return ((x - p[0]) - p[3]) / p[1];
}

static void normal_eval(const double *p, size_t n, const double *x, double *value, double *slope) {
  for (size_t i = 0; i < n; i++) {
    double z = standard(p, x[i]);
    value[i] = p[2] - 0.5 * z * z;
  }
  for (size_t i = 0; slope != NULL && i < n; i++) {
    slope[i] = -standard(p, x[i]) / p[1];
  }
}

static poe_status normal_prepare(const double *p, const poe_support *on, double *log_mass, void **table,
                                 poe_error *error) {
  (void)table;
  (void)error;
  *log_mass = poei_normal_log_mass(standard(p, on->low), standard(p, on->high), (on->high - on->low) / p[1]);
  return POE_OK;
}

static double normal_draw(const double *p, const poe_support *on, const void *table, poe_stream *stream) {
  (void)table;
  if (isinf(on->low) && isinf(on->high)) {
    return p[0] + (p[3] + p[1] * poe_stream_normal(stream));
  }
  double u = poe_stream_uniform(stream);
  return p[0] + (p[3] + p[1] * poei_normal_between(standard(p, on->low), standard(p, on->high), u));
}

static double normal_natural(const double *p, double *coefficient) {
  double precision = 1.0 / (p[1] * p[1]), mean = p[0] + p[3];
  coefficient[POE_STATISTIC_IDENTITY] += mean * precision;
  coefficient[POE_STATISTIC_SQUARE] -= 0.5 * precision;
  return p[2] - 0.5 * mean * mean * precision;
}

const poei_law poei_normal_law = {"gaussian", normal_eval, normal_prepare, normal_draw, normal_natural};

/* ---- geometric: p = t, anchor, log(1 - e^-|t|) ---- */

void poei_geometric_set(double t, double anchor, double *p) {
  p[0] = t;
  p[1] = anchor;
  p[2] = poei_log1m_exp(-fabs(t));
}

static void geometric_eval(const double *p, size_t n, const double *x, double *value, double *slope) {
  (void)slope;
  for (size_t i = 0; i < n; i++) {
    value[i] = p[2] + p[0] * (x[i] - p[1]);
  }
}

static poe_status geometric_prepare(const double *p, const poe_support *on, double *log_mass, void **table,
                                    poe_error *error) {
  (void)table;
  double end = p[0] < 0.0 ? on->low : on->high;
  if (isinf(end)) {
    return poe_error_set(error, POE_E_IMPROPER, "its ratio is %g on an unbounded range", exp(p[0]));
  }
  *log_mass = poei_log1m_exp(-fabs(p[0]) * (on->high - on->low + 1.0)) + p[0] * (end - p[1]);
  return POE_OK;
}

static double geometric_draw(const double *p, const poe_support *on, const void *table, poe_stream *stream) {
  (void)table;
  double fall = fabs(p[0]), u = poe_stream_uniform(stream);
  double away = floor(-log1p(u * expm1(-fall * (on->high - on->low + 1.0))) / fall);
  return p[0] < 0.0 ? on->low + away : on->high - away;
}

static double geometric_natural(const double *p, double *coefficient) {
  coefficient[POE_STATISTIC_IDENTITY] += p[0];
  return p[2] - p[0] * p[1];
}

const poei_law poei_geometric_law = {"geometric", geometric_eval, geometric_prepare, geometric_draw, geometric_natural};
