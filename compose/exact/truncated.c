/* Independent Gaussians on a box: log p(x) = constant + sum_j log N(x_j; m_j, s_j) inside, -inf outside.
 *
 * log Z is the constant plus the log masses of the intervals (core/special.h); draws invert the distribution function
 * coordinate by coordinate.
 */
#include "compose/exact/truncated.h"

#include <math.h>

#include "compose/nodes/node.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "core/special.h"
#include "experts/closed.h"

typedef struct truncated {
  size_t d;
  double constant, log_z; /* constant: of the whole Gaussians' integral, in logs */
  double *mean, *rest;    /* [d] the means are mean + rest: rest is what a double near them cannot hold */
  double *sd;             /* [d] */
  poe_support *support;   /* [d] */
} truncated;

/* ---- slots ---- */

static void truncated_destroy(void *state) {
  truncated *self = state;
  poei_free(self->mean);
  poei_free(self->rest);
  poei_free(self->sd);
  poei_free(self->support);
  poei_free(self);
}

/* (x - mean) / sd in coordinate j. */
static double standard(const truncated *self, size_t j, double x) {
  return (x - self->mean[j] - self->rest[j]) / self->sd[j];
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
      double z = standard(self, j, x[j]);
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
      double u = poe_stream_uniform(&stream);
      double z = poei_normal_between(standard(self, j, s->low), standard(self, j, s->high), u);
      double x = self->mean[j] + (self->rest[j] + self->sd[j] * z);
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
    self->rest[i] = origin[i] - self->mean[i] + shift;
    self->sd[i] = 1.0 / sqrt(p);
    /* c + l u - p u^2 / 2 = (c + l^2 / 2 p + log(2 pi) / 2 + log s) + log N(u; l / p, s) */
    self->constant += 0.5 * linear[i] * shift + 0.5 * POEI_LOG_2PI + log(self->sd[i]);
  }
  self->log_z = self->constant;
  for (size_t i = 0; i < d; i++) {
    const poe_support *s = &self->support[i];
    self->log_z +=
        poei_normal_log_mass(standard(self, i, s->low), standard(self, i, s->high), (s->high - s->low) / self->sd[i]);
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
  self->rest = poei_alloc(form->dim, sizeof *self->rest);
  self->sd = poei_alloc(form->dim, sizeof *self->sd);
  self->support = poei_copy(support, form->dim, sizeof *support);
  bool complete = self->mean != NULL && self->rest != NULL && self->sd != NULL && self->support != NULL;
  poe_status status = complete ? fill(self, form, k, error) : poe_error_set(error, POE_E_MEMORY, "out of memory");
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
    double precision = 1.0 / (self->sd[j] * self->sd[j]), rest = self->rest[j];
    made.precision[j * self->d + j] = precision;
    made.origin[j] = self->mean[j];
    made.linear[j] = precision * rest;
    made.constant[0] -= 0.5 * POEI_LOG_2PI + log(self->sd[j]) + 0.5 * precision * rest * rest;
  }
  *form = made;
  return POE_OK;
}
