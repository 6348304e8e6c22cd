/* The density of a flow's noise (experts/flow.h): independent coordinates z_j = location_j + scale_j e_j, with e
 * standard normal, logistic, Laplace, Student t or uniform on (0, 1). */
#include <math.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/flow.h"

/* log of the density of e at 0, or in the interval. */
static double base_peak(const poei_flow_base *base) {
  switch (base->law) {
  case POEI_FLOW_NORMAL:
    return -0.5 * POEI_LOG_2PI;
  case POEI_FLOW_LOGISTIC:
    return -2.0 * POEI_LOG_2;
  case POEI_FLOW_LAPLACE:
    return -POEI_LOG_2;
  case POEI_FLOW_STUDENT_T:
    return lgamma(0.5 * (base->df + 1.0)) - lgamma(0.5 * base->df) - 0.5 * log(base->df * POEI_PI);
  case POEI_FLOW_UNIFORM:
    break;
  }
  return 0.0;
}

/* log of the density at e relative to its peak, and its derivative. */
static double base_shape(const poei_flow_base *base, double e, double *slope) {
  switch (base->law) {
  case POEI_FLOW_NORMAL:
    *slope = -e;
    return -0.5 * e * e;
  case POEI_FLOW_LOGISTIC: /* -e - 2 log(1 + exp(-e)) + 2 log 2 */
    *slope = -tanh(0.5 * e);
    return -fabs(e) - 2.0 * log1p(exp(-fabs(e))) + 2.0 * POEI_LOG_2;
  case POEI_FLOW_LAPLACE:
    *slope = e > 0.0 ? -1.0 : e < 0.0 ? 1.0 : e; /* 0 at 0, NaN at NaN */
    return -fabs(e);
  case POEI_FLOW_STUDENT_T:
    *slope = -(base->df + 1.0) * e / (base->df + e * e);
    return -0.5 * (base->df + 1.0) * log1p(e * e / base->df);
  case POEI_FLOW_UNIFORM:
    break;
  }
  *slope = 0.0;
  return e < 0.0 || e > 1.0 ? -INFINITY : 0.0 * e;
}

void poei_flow_base_apply(const poei_flow_base *base, poei_flow_pass *pass) {
  for (size_t i = 0; i < pass->n; i++) {
    double sum = base->constant;
    for (size_t j = 0; j < pass->d; j++) {
      double slope, e = (pass->x[i * pass->d + j] - base->location[j]) / base->scale[j];
      sum += base_shape(base, e, &slope);
      if (pass->grad != NULL) {
        pass->grad[i * pass->d + j] = slope / base->scale[j];
      }
    }
    pass->log_p[i] += sum;
  }
}

void poei_flow_base_draw(const poei_flow_base *base, size_t d, poe_rng at, double *x) {
  poe_stream stream = poe_stream_open(at);
  if (base->law == POEI_FLOW_NORMAL) {
    poe_rng_normals(at, d, x);
  }
  for (size_t j = 0; j < d; j++) {
    double e = x[j], u;
    switch (base->law) {
    case POEI_FLOW_NORMAL:
      break;
    case POEI_FLOW_LOGISTIC:
      u = poe_stream_uniform(&stream);
      e = log(u) - log1p(-u);
      break;
    case POEI_FLOW_LAPLACE:
      u = poe_stream_uniform(&stream) - 0.5;
      e = u < 0.0 ? log1p(2.0 * u) : -log1p(-2.0 * u);
      break;
    case POEI_FLOW_STUDENT_T:
      u = poe_stream_normal(&stream);
      e = u / sqrt(poe_stream_gamma(&stream, 0.5 * base->df) / (0.5 * base->df));
      break;
    case POEI_FLOW_UNIFORM:
      e = poe_stream_uniform(&stream);
      break;
    }
    x[j] = base->location[j] + base->scale[j] * e;
  }
}

void poei_flow_base_clear(poei_flow_base *base) {
  poei_free(base->location);
  poei_free(base->scale);
  *base = (poei_flow_base){0};
}

/* ---- reading ---- */

poe_status poei_flow_read_base(poei_flow_reader *reader, size_t d, poei_flow_base *base, poe_error *error) {
  size_t law = 0;
  bool logs = json_object_get(reader->layer, "log_scale") != NULL;
  poe_status status = poei_flow_choice(reader, "op", POEI_FLOW_LAW_WORDS, POEI_FLOW_NORMAL, &law, error);
  *base = (poei_flow_base){.law = (poei_flow_law)law, .df = 1.0};
  bool student = base->law == POEI_FLOW_STUDENT_T;
  if (status == POE_OK) {
    status = poei_flow_keys(reader, student ? "df|location|scale|log_scale" : "location|scale|log_scale", error);
  }
  if (status == POE_OK && student) {
    status = poei_flow_number(reader, "df", NAN, 1e-3, 1e9, &base->df, error);
  }
  if (status == POE_OK && logs && json_object_get(reader->layer, "scale") != NULL) {
    status = poei_flow_refuse(reader, error, POE_E_FORMAT, "either 'scale' or 'log_scale'");
  }
  if (status == POE_OK) {
    status = poei_flow_spread(reader, "location", 0.0, d, &base->location, error);
  }
  if (status == POE_OK) {
    status = poei_flow_spread(reader, logs ? "log_scale" : "scale", logs ? 0.0 : 1.0, d, &base->scale, error);
  }
  for (size_t j = 0; status == POE_OK && j < d; j++) {
    double *scale = &base->scale[j];
    *scale = logs ? exp(*scale) : *scale;
    base->constant += base_peak(base) - log(*scale);
    bool usable = *scale <= POEI_FLOW_LARGEST && *scale * POEI_FLOW_LARGEST >= 1.0;
    if (!(fabs(base->location[j]) <= POEI_FLOW_LARGEST) || !usable) {
      status = poei_flow_refuse(reader, error, POE_E_DOMAIN, "coordinate %zu has location %g and scale %g", j,
                                base->location[j], *scale);
    }
  }
  if (status != POE_OK) {
    poei_flow_base_clear(base);
  }
  return status;
}
