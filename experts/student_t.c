/* student_t(x | df, loc, scale): independent coordinates of Student's t.
 *
 * log p = sum_j [log Gamma((v+1)/2) - log Gamma(v/2) - log(v pi)/2 - log s - (v+1)/2 log(1 + z^2/v)], z = (x - loc)/s
 * (Johnson, Kotz and Balakrishnan 1995, volume 2, chapter 28). The ratio of gamma functions is expanded for large v,
 * where its terms would cancel: log G(a+1/2) - log G(a) = log(a)/2 - 1/(8a) + 1/(192a^3) - 1/(640a^5) + ...
 */
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "core/pool.h"
#include "experts/family.h"
#include "experts/list.h"

enum { TILE = POEI_TILE, PAD = 8 };

static const poe_param student_t_params[] = {
    {"df", POE_ARG_REAL, "d", NULL, "degrees of freedom, > 0"},
    {"loc", POE_ARG_REAL, "d", "0", "location"},
    {"scale", POE_ARG_REAL, "d", "1", "scale, > 0"},
    {0},
};

typedef struct student_t {
  size_t d;
  double *df, *loc, *inverse; /* [d]; inverse = 1 / scale                */
  double *half;               /* [d] (df + 1) / 2                        */
  double constant;            /* sum of the terms that do not depend on x */
  poe_support *support;       /* [d] */
  unsigned char *head;        /* [d] */
} student_t;

static void student_t_destroy(void *self) {
  student_t *t = self;
  if (t != NULL) {
    poei_free(t->df);
    poei_free(t->loc);
    poei_free(t->inverse);
    poei_free(t->half);
    poei_free(t->support);
    poei_free(t->head);
    poei_free(t);
  }
}

/* log Gamma(a + 1/2) - log Gamma(a) for a > 0; tgamma rather than lgamma, whose sign is a global. */
static double log_gamma_step(double a) {
  if (a < 50.0) {
    return log(tgamma(a + 0.5)) - log(tgamma(a + 1.0)) + log(a);
  }
  double square = a * a;
  return log(a) / 2.0 - (1.0 / 8.0 - (1.0 / 192.0 - 1.0 / (640.0 * square)) / square) / a;
}

static poe_status student_t_read(const poe_args *args, student_t *t, poe_error *error) {
  size_t d = t->d;
  poe_status status = poe_args_real(args, "df", 1, &d, NAN, false, t->df, error);
  if (status == POE_OK) {
    status = poei_family_positive(args, "df", d, t->df, error);
  }
  if (status == POE_OK) {
    status = poe_args_real(args, "loc", 1, &d, 0.0, false, t->loc, error);
  }
  if (status == POE_OK) {
    status = poe_args_real(args, "scale", 1, &d, 1.0, false, t->inverse, error);
  }
  if (status == POE_OK) {
    status = poei_family_positive(args, "scale", d, t->inverse, error);
  }
  for (size_t j = 0; status == POE_OK && j < d; j++) {
    t->constant += log_gamma_step(t->df[j] / 2.0) - log(t->df[j]) / 2.0 - log(POEI_PI) / 2.0 - log(t->inverse[j]);
    t->inverse[j] = 1.0 / t->inverse[j];
    t->half[j] = (t->df[j] + 1.0) / 2.0;
  }
  return status;
}

static poe_status student_t_create(const poe_args *args, void **self, poe_error *error) {
  poe_status status = poei_family_need(args, POE_CONTINUOUS, error);
  if (status != POE_OK) {
    return status;
  }
  student_t *t = poei_calloc(1, sizeof *t);
  if (t == NULL) {
    return poei_family_memory(args->kind, error);
  }
  t->d = poe_args_dim(args);
  t->df = poei_alloc(t->d, sizeof(double));
  t->loc = poei_alloc(t->d, sizeof(double));
  t->inverse = poei_alloc(t->d, sizeof(double));
  t->half = poei_alloc(t->d, sizeof(double));
  t->support = poei_family_reals(t->d);
  t->head = poei_family_heads(t->d);
  bool complete =
      t->df != NULL && t->loc != NULL && t->inverse != NULL && t->half != NULL && t->support != NULL && t->head != NULL;
  status = complete ? student_t_read(args, t, error) : poei_family_memory(args->kind, error);
  if (status != POE_OK) {
    student_t_destroy(t);
    return status;
  }
  *self = t;
  return POE_OK;
}

static void student_t_traits(const void *self, poe_traits *traits) {
  const student_t *t = self;
  *traits = (poe_traits){.dim = t->d, .support = t->support, .head = t->head};
  traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z;
}

/* Numbers of a tile, whole vectors. */
static size_t tile_numbers(const student_t *t, size_t n) {
  return ((n < TILE ? n : TILE) * t->d + PAD - 1) / PAD * PAD;
}

static size_t student_t_scratch(const void *self, unsigned want, size_t n) {
  return (want & POE_WANT_SAMPLE) != 0 ? 0 : poe_scratch_need(tile_numbers(self, n), sizeof(double));
}

static void student_t_tile(const student_t *t, poe_rows rows, poe_weights weights, poe_accum out, double *ratio) {
  size_t d = t->d, whole = tile_numbers(t, rows.n);
  for (size_t i = 0; i < rows.n; i++) {
    for (size_t j = 0; j < d; j++) {
      double z = (rows.x[i * rows.ld + j] - t->loc[j]) * t->inverse[j];
      ratio[i * d + j] = z * z / t->df[j];
    }
  }
  memset(ratio + rows.n * d, 0, (whole - rows.n * d) * sizeof *ratio);
  poei_vlog1p(ratio, ratio, whole);
  for (size_t i = 0; i < rows.n; i++) {
    double w = weights.w[i * weights.inc], value = t->constant - poei_dot(d, t->half, ratio + i * d);
    poe_accum_value(&out.logp[i], w, value);
    if (out.grad == NULL || w == 0.0 || !isfinite(value)) {
      continue;
    }
    for (size_t j = 0; j < d; j++) {
      double z = (rows.x[i * rows.ld + j] - t->loc[j]) * t->inverse[j];
      out.grad[i * out.ldg + j] -= w * ((t->df[j] + 1.0) * z / (t->df[j] + z * z) * t->inverse[j]);
    }
  }
}

static poe_status student_t_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                     poe_scratch *scratch, poe_error *error) {
  (void)error;
  const student_t *t = self;
  size_t mark = poe_scratch_mark(scratch);
  double *ratio = poe_scratch_doubles(scratch, tile_numbers(t, rows.n));
  for (size_t start = 0; start < rows.n; start += TILE) {
    size_t n = rows.n - start < TILE ? rows.n - start : TILE;
    poe_rows part = {n, rows.d, rows.ld, rows.x + start * rows.ld};
    poe_weights part_weights = {weights.w + start * weights.inc, weights.inc};
    poe_accum part_out = {out.logp + start, out.grad != NULL ? out.grad + start * out.ldg : NULL, out.ldg};
    student_t_tile(t, part, part_weights, part_out, ratio);
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

/* loc + scale * normal / sqrt(chi-square / df), chi-square = 2 Gamma(df / 2). */
static poe_status student_t_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                   poe_error *error) {
  (void)scratch;
  (void)error;
  const student_t *t = self;
  for (size_t i = 0; i < rows.n; i++) {
    poe_stream stream = poe_stream_open(at[i]);
    for (size_t j = 0; j < t->d; j++) {
      double normal = poe_stream_normal(&stream), gamma = poe_stream_gamma(&stream, t->df[j] / 2.0);
      rows.x[i * rows.ld + j] = t->loc[j] + normal * sqrt(t->df[j] / (2.0 * gamma)) / t->inverse[j];
    }
  }
  return POE_OK;
}

static poe_status student_t_log_z(const void *self, double *log_z, poe_error *error) {
  (void)self;
  (void)error;
  *log_z = 0.0;
  return POE_OK;
}

const poe_expert_ops poei_student_t_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "student_t",
    .doc = "Student's t density of independent coordinates",
    .params = student_t_params,
    .create = student_t_create,
    .destroy = student_t_destroy,
    .traits = student_t_traits,
    .scratch = student_t_scratch,
    .eval_add = student_t_eval_add,
    .sample = student_t_sample,
    .log_z = student_t_log_z,
};
