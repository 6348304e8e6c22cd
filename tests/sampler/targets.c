/* Experts with a known truth (targets.h). */
#include "tests/sampler/targets.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"

static atomic_ulong rows_evaluated;

unsigned long target_rows(void) {
  return atomic_load(&rows_evaluated);
}

/* ---- the expert ---- */

typedef struct target_self {
  target what;
  unsigned capabilities;
  poe_support support[TARGET_MAX_DIM];
} target_self;

static void target_destroy(void *self) {
  poei_free(self);
}

static void target_traits(const void *self, poe_traits *traits) {
  const target_self *s = self;
  *traits = (poe_traits){.dim = s->what.d, .support = s->support, .capabilities = s->capabilities};
}

static size_t target_scratch(const void *self, unsigned want, size_t n) {
  (void)self;
  (void)want;
  (void)n;
  return 0;
}

static poe_status target_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                  poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  const target *what = &((const target_self *)self)->what;
  double g[TARGET_MAX_DIM];
  for (size_t i = 0; i < rows.n; i++) {
    double w = weights.w[i * weights.inc];
    w *= what->faithless == TARGET_MOVES_OFF && w != 1.0     ? 1.5
         : what->faithless == TARGET_WEIGHTS_OFF && w == 1.0 ? 0.9
                                                             : 1.0;
    double value = what->log_density(what, rows.x + i * rows.ld, out.grad != NULL ? g : NULL);
    poe_accum_value(&out.logp[i], w, value);
    for (size_t j = 0; out.grad != NULL && j < rows.d; j++) {
      out.grad[i * out.ldg + j] += w * g[j];
    }
  }
  atomic_fetch_add(&rows_evaluated, rows.n);
  return POE_OK;
}

static poe_status target_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                poe_error *error) {
  (void)scratch;
  (void)error;
  const target *what = &((const target_self *)self)->what;
  for (size_t i = 0; i < rows.n; i++) {
    poe_stream stream = poe_stream_open(at[i]);
    what->draw(what, &stream, rows.x + i * rows.ld);
  }
  return POE_OK;
}

static poe_status target_create(const poe_args *args, void **self, poe_error *error) {
  (void)args;
  (void)self;
  return poe_error_set(error, POE_E_USAGE, "made by the tests alone");
}

static const poe_expert_ops target_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "target",
    .doc = "a density with a known truth",
    .create = target_create,
    .destroy = target_destroy,
    .traits = target_traits,
    .scratch = target_scratch,
    .eval_add = target_eval_add,
    .sample = target_sample,
};

poe_expert *target_expert(const target *self, unsigned capabilities) {
  target_self *copy = poei_calloc(1, sizeof *copy);
  if (copy == NULL) {
    return NULL;
  }
  copy->what = *self;
  copy->capabilities = capabilities & (POE_CAN_EVAL | POE_CAN_GRADIENT | (self->draw != NULL ? POE_CAN_SAMPLE : 0u));
  bool bounds = self->low < self->high;
  for (size_t j = 0; j < self->d; j++) {
    bool low = bounds && isfinite(self->low), high = bounds && isfinite(self->high);
    copy->support[j] = (poe_support){POE_CONTINUOUS, low ? self->low : -INFINITY, high ? self->high : INFINITY,
                                     !low || self->open, !high || self->open};
  }
  poe_expert *expert = NULL;
  if (poe_expert_wrap(&target_ops, copy, &expert, NULL) != POE_OK) {
    poei_free(copy);
  }
  return expert;
}

/* ---- densities ---- */

static double normal(double z, double scale) {
  return -0.5 * z * z - log(scale) - 0.5 * POEI_LOG_2PI;
}

static double gaussian_log(const target *t, const double *x, double *g) {
  double sum = 0.0;
  for (size_t j = 0; j < t->d; j++) {
    double z = (x[j] - t->location[j]) / t->scale[j];
    sum += normal(z, t->scale[j]);
    if (g != NULL) {
      g[j] = -z / t->scale[j];
    }
  }
  return sum;
}

static void gaussian_draw(const target *t, poe_stream *stream, double *x) {
  for (size_t j = 0; j < t->d; j++) {
    x[j] = t->location[j] + t->scale[j] * poe_stream_normal(stream);
  }
}

static void gaussian_uniforms(const target *t, const double *x, double *u) {
  for (size_t j = 0; j < t->d; j++) {
    u[j] = poei_normal_cdf((x[j] - t->location[j]) / t->scale[j]);
  }
}

static target target_base(const char *name, size_t d) {
  target t = {.name = name, .d = d};
  for (size_t j = 0; j < d; j++) {
    t.scale[j] = 1.0;
    t.sd[j] = 1.0;
  }
  t.log_density = gaussian_log;
  t.draw = gaussian_draw;
  t.uniforms = gaussian_uniforms;
  return t;
}

target target_ill_conditioned(size_t d, double condition) {
  target t = target_base("ill-conditioned Gaussian", d);
  for (size_t j = 0; j < d; j++) {
    t.scale[j] = t.sd[j] = pow(condition, (double)j / (double)(d - 1) - 0.5);
  }
  return t;
}

target target_gaussian(size_t d, double mean, double sd) {
  target t = target_base("Gaussian", d);
  for (size_t j = 0; j < d; j++) {
    t.location[j] = t.mean[j] = mean;
    t.scale[j] = t.sd[j] = sd;
  }
  return t;
}

/* a: rho */
static double ar1_log(const target *t, const double *x, double *g) {
  double rest = sqrt(1.0 - t->a * t->a), sum = normal(x[0], 1.0);
  if (g != NULL) {
    g[0] = -x[0];
  }
  for (size_t j = 1; j < t->d; j++) {
    double z = (x[j] - t->a * x[j - 1]) / rest;
    sum += normal(z, rest);
    if (g != NULL) {
      g[j] = -z / rest;
      g[j - 1] += t->a * z / rest;
    }
  }
  return sum;
}

static void ar1_draw(const target *t, poe_stream *stream, double *x) {
  double rest = sqrt(1.0 - t->a * t->a);
  for (size_t j = 0; j < t->d; j++) {
    double z = poe_stream_normal(stream);
    x[j] = j == 0 ? z : t->a * x[j - 1] + rest * z;
  }
}

static void ar1_uniforms(const target *t, const double *x, double *u) {
  double rest = sqrt(1.0 - t->a * t->a);
  for (size_t j = 0; j < t->d; j++) {
    u[j] = poei_normal_cdf(j == 0 ? x[0] : (x[j] - t->a * x[j - 1]) / rest);
  }
}

target target_ar1(size_t d, double rho) {
  target t = target_base("AR(1)", d);
  t.a = rho;
  t.log_density = ar1_log;
  t.draw = ar1_draw;
  t.uniforms = ar1_uniforms;
  return t;
}

/* a: df */
static double student_log(const target *t, const double *x, double *g) {
  double df = t->a, sum = 0.0;
  double constant = lgamma((df + 1.0) / 2.0) - lgamma(df / 2.0) - 0.5 * log(df * POEI_PI);
  for (size_t j = 0; j < t->d; j++) {
    sum += constant - 0.5 * (df + 1.0) * log1p(x[j] * x[j] / df);
    if (g != NULL) {
      g[j] = -(df + 1.0) * x[j] / (df + x[j] * x[j]);
    }
  }
  return sum;
}

static void student_draw(const target *t, poe_stream *stream, double *x) {
  for (size_t j = 0; j < t->d; j++) {
    double z = poe_stream_normal(stream);
    x[j] = z / sqrt(2.0 * poe_stream_gamma(stream, t->a / 2.0) / t->a);
  }
}

static void student_uniforms(const target *t, const double *x, double *u) {
  for (size_t j = 0; j < t->d; j++) {
    u[j] = poei_student_cdf(x[j], t->a);
  }
}

target target_student(size_t d, double df) {
  target t = target_base("Student t", d);
  t.a = df;
  t.log_density = student_log;
  t.draw = student_draw;
  t.uniforms = student_uniforms;
  for (size_t j = 0; j < d; j++) {
    t.sd[j] = sqrt(df / (df - 2.0));
  }
  return t;
}

static double wall_log(const target *t, const double *x, double *g) {
  double sum = 0.0;
  for (size_t j = 0; j < t->d; j++) {
    double square = exp(2.0 * x[j]);
    sum += x[j] - 0.5 * square + 0.5 * log(2.0 / POEI_PI);
    if (g != NULL) {
      g[j] = 1.0 - square;
    }
  }
  return sum;
}

static void wall_draw(const target *t, poe_stream *stream, double *x) {
  for (size_t j = 0; j < t->d; j++) {
    x[j] = log(fabs(poe_stream_normal(stream)));
  }
}

static void wall_uniforms(const target *t, const double *x, double *u) {
  for (size_t j = 0; j < t->d; j++) {
    u[j] = erf(exp(x[j]) / sqrt(2.0));
  }
}

target target_wall(size_t d) {
  target t = target_base("wall", d);
  t.log_density = wall_log;
  t.draw = wall_draw;
  t.uniforms = wall_uniforms;
  for (size_t j = 0; j < d; j++) { /* of log |z|: -(log 2 + gamma)/2 and pi/sqrt(8) */
    t.mean[j] = -0.635181422730739;
    t.sd[j] = POEI_PI / sqrt(8.0);
  }
  return t;
}

/* a: bend, b: width */
static double banana_log(const target *t, const double *x, double *g) {
  double z = (x[1] - t->a * (x[0] * x[0] - 1.0)) / t->b, sum = normal(x[0], 1.0) + normal(z, t->b);
  if (g != NULL) {
    g[0] = -x[0] + z / t->b * 2.0 * t->a * x[0];
    g[1] = -z / t->b;
  }
  for (size_t j = 2; j < t->d; j++) {
    sum += normal(x[j], 1.0);
    if (g != NULL) {
      g[j] = -x[j];
    }
  }
  return sum;
}

static void banana_draw(const target *t, poe_stream *stream, double *x) {
  for (size_t j = 0; j < t->d; j++) {
    x[j] = poe_stream_normal(stream);
  }
  x[1] = t->a * (x[0] * x[0] - 1.0) + t->b * x[1];
}

static void banana_uniforms(const target *t, const double *x, double *u) {
  for (size_t j = 0; j < t->d; j++) {
    u[j] = poei_normal_cdf(j == 1 ? (x[1] - t->a * (x[0] * x[0] - 1.0)) / t->b : x[j]);
  }
}

target target_banana(size_t d, double bend, double width) {
  target t = target_base("banana", d);
  t.a = bend;
  t.b = width;
  t.log_density = banana_log;
  t.draw = banana_draw;
  t.uniforms = banana_uniforms;
  t.sd[1] = sqrt(2.0 * bend * bend + width * width);
  return t;
}

/* a: sd of x0 */
static double funnel_log(const target *t, const double *x, double *g) {
  double precision = exp(-x[0]), sum = normal(x[0] / t->a, t->a);
  if (g != NULL) {
    g[0] = -x[0] / (t->a * t->a);
  }
  for (size_t j = 1; j < t->d; j++) {
    sum += -0.5 * x[j] * x[j] * precision - 0.5 * x[0] - 0.5 * POEI_LOG_2PI;
    if (g != NULL) {
      g[0] += 0.5 * x[j] * x[j] * precision - 0.5;
      g[j] = -x[j] * precision;
    }
  }
  return sum;
}

static void funnel_draw(const target *t, poe_stream *stream, double *x) {
  for (size_t j = 0; j < t->d; j++) {
    x[j] = (j == 0 ? t->a : exp(0.5 * x[0])) * poe_stream_normal(stream);
  }
}

static void funnel_uniforms(const target *t, const double *x, double *u) {
  for (size_t j = 0; j < t->d; j++) {
    u[j] = poei_normal_cdf(j == 0 ? x[0] / t->a : x[j] * exp(-0.5 * x[0]));
  }
}

target target_funnel(size_t d, double sd) {
  target t = target_base("funnel", d);
  t.a = sd;
  t.log_density = funnel_log;
  t.draw = funnel_draw;
  t.uniforms = funnel_uniforms;
  t.sd[0] = sd;
  for (size_t j = 1; j < d; j++) {
    t.sd[j] = exp(0.25 * sd * sd);
  }
  return t;
}

/* a: apart, b: weight of the left well */
static double wells_log(const target *t, const double *x, double *g) {
  double left = log(t->b) + normal(x[0] + t->a, 1.0), right = log(1.0 - t->b) + normal(x[0] - t->a, 1.0);
  double sum = poei_log_add(left, right);
  if (g != NULL) {
    double share = exp(left - sum);
    g[0] = -share * (x[0] + t->a) - (1.0 - share) * (x[0] - t->a);
  }
  for (size_t j = 1; j < t->d; j++) {
    sum += normal(x[j], 1.0);
    if (g != NULL) {
      g[j] = -x[j];
    }
  }
  return sum;
}

static void wells_draw(const target *t, poe_stream *stream, double *x) {
  double side = poe_stream_uniform(stream) < t->b ? -1.0 : 1.0;
  for (size_t j = 0; j < t->d; j++) {
    x[j] = poe_stream_normal(stream);
  }
  x[0] += side * t->a;
}

static void wells_uniforms(const target *t, const double *x, double *u) {
  for (size_t j = 0; j < t->d; j++) {
    u[j] = poei_normal_cdf(x[j]);
  }
  u[0] = t->b * poei_normal_cdf(x[0] + t->a) + (1.0 - t->b) * poei_normal_cdf(x[0] - t->a);
}

target target_wells(size_t d, double apart, double weight) {
  target t = target_base("double well", d);
  t.a = apart;
  t.b = weight;
  t.log_density = wells_log;
  t.draw = wells_draw;
  t.uniforms = wells_uniforms;
  t.mean[0] = apart * (1.0 - 2.0 * weight);
  t.sd[0] = sqrt(1.0 + 4.0 * apart * apart * weight * (1.0 - weight));
  return t;
}

/* a, b: ends; c: pull */
static double edge_log(const target *t, const double *x, double *g) {
  double sum = x[0] > t->a && x[0] < t->b ? 0.0 : -INFINITY;
  for (size_t j = 0; j < t->d; j++) {
    sum -= j > 0 ? 0.5 * (x[j] - t->c) * (x[j] - t->c) : 0.0;
    if (g != NULL) {
      g[j] = j > 0 ? t->c - x[j] : 0.0;
    }
  }
  return sum;
}

target target_edge(size_t d, double low, double high, double pull) {
  return (target){.name = "hard edge", .d = d, .a = low, .b = high, .c = pull, .log_density = edge_log};
}

static double ridge_log(const target *t, const double *x, double *g) {
  double z = (x[1] - t->a * x[0] * x[0]) / t->b;
  if (g != NULL) {
    g[0] = z / t->b * 2.0 * t->a * x[0];
    g[1] = -z / t->b;
  }
  return -0.5 * z * z;
}

target target_ridge(double bend, double width) {
  return (target){.name = "ridge", .d = 2, .a = bend, .b = width, .log_density = ridge_log};
}

/* ---- Kolmogorov-Smirnov ---- */

static int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double target_ks(double *u, size_t n) {
  qsort(u, n, sizeof *u, compare_doubles);
  double most = 0.0;
  for (size_t i = 0; i < n; i++) {
    double above = (double)(i + 1) / (double)n - u[i], below = u[i] - (double)i / (double)n;
    most = fmax(most, fmax(above, below));
  }
  double root = sqrt((double)n);
  return poei_kolmogorov_tail((root + 0.12 + 0.11 / root) * most); /* Stephens 1970 */
}
