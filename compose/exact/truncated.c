/* Independent Gaussians on a box: log p(x) = constant + sum_j log N(x_j; m_j, s_j) inside, -inf outside.
 *
 * log Z is the constant plus the log masses of the intervals; draws invert the distribution function coordinate by
 * coordinate. Both are taken in the lower tail, where the normal distribution function keeps its digits: an interval
 * that leans to the right is mirrored. Where the function underflows, the inversion goes on in logarithms (Newton).
 */
#include "compose/exact/truncated.h"

#include <math.h>

#include "compose/nodes/node.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/closed.h"

typedef struct truncated {
  size_t d;
  double constant, log_z; /* constant: of the whole Gaussians' integral, in logs */
  double *mean, *sd;      /* [d] */
  poe_support *support;   /* [d] */
} truncated;

/* ---- one interval ---- */

/* log mass of an interval with a <= -b: it leans to the left. */
static double left_log_mass(double a, double b) {
  double width = b - a, middle = 0.5 * (a + b);
  if (width * (1.0 + fabs(middle)) < 1e-3) { /* the difference would lose its digits: density times width */
    return poei_normal_log_pdf(middle) + log(width) + log1p(width * width * (middle * middle - 1.0) / 24.0);
  }
  return poei_log_sub(poei_normal_log_cdf(b), poei_normal_log_cdf(a));
}

double poei_truncated_log_mass(double a, double b) {
  return a + b > 0.0 ? left_log_mass(-b, -a) : left_log_mass(a, b);
}

/* z with log Phi(z) = log_p, for p far below what a double holds as well. */
static double tail_quantile(double log_p) {
  if (log_p > -600.0) {
    return poei_normal_quantile(exp(log_p));
  }
  double z = -sqrt(-2.0 * log_p);
  for (int step = 0; step < 8; step++) {
    double log_cdf = poei_normal_log_cdf(z);
    z -= (log_cdf - log_p) * exp(log_cdf - poei_normal_log_pdf(z));
  }
  return z;
}

static double left_quantile(double a, double b, double u) {
  double width = b - a;
  if (width * (1.0 + fabs(0.5 * (a + b))) < 1e-3) {
    double tilt = -0.5 * (a + b) * width; /* the density is exponential here, up to the width squared */
    return fabs(tilt) < 1e-12 ? a + width * u : a + width * log1p(u * expm1(tilt)) / tilt;
  }
  double low = poei_normal_log_cdf(a), high = poei_normal_log_cdf(b);
  return tail_quantile(poei_log_add(low + log1p(-u), high + log(u)));
}

double poei_truncated_quantile(double a, double b, double u) {
  double z = a + b > 0.0 ? -left_quantile(-b, -a, 1.0 - u) : left_quantile(a, b, u);
  return fmin(fmax(z, a), b);
}

/* ---- slots ---- */

static void truncated_destroy(void *state) {
  truncated *self = state;
  poei_free(self->mean);
  poei_free(self->sd);
  poei_free(self->support);
  poei_free(self);
}

static void truncated_traits(const void *state, poe_traits *traits) {
  const truncated *self = state;
  *traits = (poe_traits){.dim = self->d,
                         .support = self->support,
                         .capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z};
}

static size_t truncated_scratch(const void *state, unsigned want, size_t n) {
  (void)state;
  (void)want;
  (void)n;
  return 0;
}

static poe_status truncated_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                     poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  const truncated *self = state;
  for (size_t i = 0; i < rows.n; i++) {
    const double *x = &rows.x[i * rows.ld];
    double sum = self->constant, w = weights.w[i * weights.inc];
    for (size_t j = 0; j < self->d; j++) {
      double z = (x[j] - self->mean[j]) / self->sd[j];
      bool outside = !isnan(x[j]) && !poei_support_contains(&self->support[j], x[j]);
      sum = outside ? -INFINITY : sum + poei_normal_log_pdf(z) - log(self->sd[j]);
      if (out.grad != NULL && isfinite(z) && w != 0.0) {
        out.grad[i * out.ldg + j] -= w * z / self->sd[j];
      }
    }
    poe_accum_value(&out.logp[i], w, sum);
  }
  return POE_OK;
}

static poe_status truncated_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                   poe_error *error) {
  (void)scratch;
  (void)error;
  const truncated *self = state;
  for (size_t i = 0; i < rows.n; i++) {
    poe_stream stream = poe_stream_open(at[i]);
    for (size_t j = 0; j < self->d; j++) {
      const poe_support *s = &self->support[j];
      double mean = self->mean[j], sd = self->sd[j];
      double z = poei_truncated_quantile((s->low - mean) / sd, (s->high - mean) / sd, poe_stream_uniform(&stream));
      double x = mean + sd * z;
      x = x <= s->low ? (s->low_open ? nextafter(s->low, INFINITY) : s->low) : x;
      rows.x[i * rows.ld + j] = x >= s->high ? (s->high_open ? nextafter(s->high, -INFINITY) : s->high) : x;
    }
  }
  return POE_OK;
}

static poe_status truncated_log_z(const void *state, double *log_z, poe_error *error) {
  (void)error;
  *log_z = ((const truncated *)state)->log_z;
  return POE_OK;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops truncated_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "truncated",
    .doc = "independent Gaussians on a box",
    .params = no_params,
    .create = poei_node_create,
    .destroy = truncated_destroy,
    .traits = truncated_traits,
    .scratch = truncated_scratch,
    .eval_add = truncated_eval_add,
    .sample = truncated_sample,
    .log_z = truncated_log_z,
};

/* ---- making ---- */

static poe_status fill(truncated *self, const poe_form *form, size_t k, poe_error *error) {
  size_t d = self->d;
  const double *origin = &form->origin[k * d], *linear = &form->linear[k * d];
  const double *precision = &form->precision[k * d * d];
  self->constant = form->constant[k];
  for (size_t i = 0; i < d; i++) {
    for (size_t j = 0; j < d; j++) {
      if (i != j && precision[i * d + j] != 0.0) {
        return poe_error_set(error, POE_E_CAPABILITY, "coordinates %zu and %zu are not independent", i, j);
      }
    }
    double p = precision[i * d + i];
    if (!(p > 0.0)) {
      return poe_error_set(error, POE_E_IMPROPER, "the precision of coordinate %zu is %g", i, p);
    }
    double shift = linear[i] / p;
    self->mean[i] = origin[i] + shift;
    self->sd[i] = 1.0 / sqrt(p);
    /* c + l u - p u^2 / 2 = (c + l^2 / 2 p + log(2 pi) / 2 + log s) + log N(u; l / p, s) */
    self->constant += 0.5 * linear[i] * shift + 0.5 * POEI_LOG_2PI + log(self->sd[i]);
  }
  self->log_z = self->constant;
  for (size_t i = 0; i < d; i++) {
    const poe_support *s = &self->support[i];
    self->log_z +=
        poei_truncated_log_mass((s->low - self->mean[i]) / self->sd[i], (s->high - self->mean[i]) / self->sd[i]);
  }
  return isfinite(self->log_z) ? POE_OK
                               : poe_error_set(error, POE_E_NUMERIC, "the log mass in the box is %g", self->log_z);
}

poe_status poei_truncated_create(const poe_form *form, size_t k, const poe_support *support, poe_expert **out,
                                 poe_error *error) {
  truncated *self = poei_calloc(1, sizeof *self);
  if (self == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  self->d = form->dim;
  self->mean = poei_alloc(form->dim, sizeof *self->mean);
  self->sd = poei_alloc(form->dim, sizeof *self->sd);
  self->support = poei_copy(support, form->dim, sizeof *support);
  poe_status status = self->mean == NULL || self->sd == NULL || self->support == NULL
                          ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                          : fill(self, form, k, error);
  if (status != POE_OK) {
    truncated_destroy(self);
    return status;
  }
  return poei_node_wrap(&truncated_ops, self, out, error);
}

bool poei_truncated_is(const poe_expert *expert) {
  return poe_expert_ops_of(expert) == &truncated_ops;
}

poe_status poei_truncated_form(const poe_expert *expert, poe_form *form, poe_error *error) {
  const truncated *self = poe_expert_self(expert);
  poe_form made = {0};
  poe_status status = poei_form_gaussians(&made, 1, self->d, error);
  if (status != POE_OK) {
    return status;
  }
  made.constant[0] = self->constant;
  for (size_t j = 0; j < self->d; j++) {
    made.precision[j * self->d + j] = 1.0 / (self->sd[j] * self->sd[j]);
    made.origin[j] = self->mean[j];
    made.constant[0] -= 0.5 * POEI_LOG_2PI + log(self->sd[j]);
  }
  *form = made;
  return POE_OK;
}
