/* laplace(x | loc, scale): independent coordinates with density exp(-|x - loc| / s) / (2 s).
 *
 * The gradient at x = loc, where there is none, is 0.
 */
#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/family.h"
#include "experts/list.h"

static const poe_param laplace_params[] = {
    {"loc", POE_ARG_REAL, "d", "0", "location"},
    {"scale", POE_ARG_REAL, "d", NULL, "mean distance from loc, > 0"},
    {0},
};

typedef struct laplace {
  size_t d;
  double *loc, *inverse; /* [d]; inverse = 1 / scale */
  double constant;       /* -sum log(2 scale)        */
  poe_support *support;  /* [d] */
  unsigned char *head;   /* [d] */
} laplace;

static void laplace_destroy(void *self) {
  laplace *l = self;
  if (l != NULL) {
    poei_free(l->loc);
    poei_free(l->inverse);
    poei_free(l->support);
    poei_free(l->head);
    poei_free(l);
  }
}

static poe_status laplace_read(const poe_args *args, laplace *l, poe_error *error) {
  poe_status status = poe_args_real(args, "loc", 1, &l->d, 0.0, false, l->loc, error);
  if (status == POE_OK) {
    status = poe_args_real(args, "scale", 1, &l->d, NAN, false, l->inverse, error);
  }
  if (status == POE_OK) {
    status = poei_family_positive(args, "scale", l->d, l->inverse, error);
  }
  for (size_t j = 0; status == POE_OK && j < l->d; j++) {
    l->constant -= POEI_LOG_2 + log(l->inverse[j]);
    l->inverse[j] = 1.0 / l->inverse[j];
  }
  return status;
}

static poe_status laplace_create(const poe_args *args, void **self, poe_error *error) {
  poe_status status = poei_family_need(args, POE_CONTINUOUS, error);
  if (status != POE_OK) {
    return status;
  }
  laplace *l = poei_calloc(1, sizeof *l);
  if (l == NULL) {
    return poei_family_memory(args->kind, error);
  }
  l->d = poe_args_dim(args);
  l->loc = poei_alloc(l->d, sizeof(double));
  l->inverse = poei_alloc(l->d, sizeof(double));
  l->support = poei_family_reals(l->d);
  l->head = poei_family_heads(l->d);
  bool complete = l->loc != NULL && l->inverse != NULL && l->support != NULL && l->head != NULL;
  status = complete ? laplace_read(args, l, error) : poei_family_memory(args->kind, error);
  if (status != POE_OK) {
    laplace_destroy(l);
    return status;
  }
  *self = l;
  return POE_OK;
}

static void laplace_traits(const void *self, poe_traits *traits) {
  const laplace *l = self;
  *traits = (poe_traits){.dim = l->d, .support = l->support, .head = l->head};
  traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z;
}

static size_t laplace_scratch(const void *self, unsigned want, size_t n) {
  (void)self;
  (void)want;
  (void)n;
  return 0;
}

/* sum_j |x[j] - loc[j]| / scale[j], over eight interleaved partial sums that the compiler keeps in registers. */
static double laplace_distance(const laplace *l, const double *x) {
  enum { LANES = 8 };
  double sum[LANES] = {0};
  size_t whole = l->d - l->d % LANES;
  for (size_t j = 0; j < whole; j += LANES) {
    for (size_t i = 0; i < LANES; i++) {
      sum[i] += fabs(x[j + i] - l->loc[j + i]) * l->inverse[j + i];
    }
  }
  for (size_t j = whole; j < l->d; j++) {
    sum[j - whole] += fabs(x[j] - l->loc[j]) * l->inverse[j];
  }
  return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

static poe_status laplace_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                   poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  const laplace *l = self;
  for (size_t i = 0; i < rows.n; i++) {
    const double *x = rows.x + i * rows.ld;
    double w = weights.w[i * weights.inc], value = l->constant - laplace_distance(l, x);
    poe_accum_value(&out.logp[i], w, value);
    if (out.grad == NULL || w == 0.0 || !isfinite(value)) {
      continue;
    }
    double *grad = out.grad + i * out.ldg;
    for (size_t j = 0; j < l->d; j++) {
      double z = x[j] - l->loc[j];
      grad[j] += w * (z > 0.0 ? -l->inverse[j] : z < 0.0 ? l->inverse[j] : 0.0);
    }
  }
  return POE_OK;
}

static poe_status laplace_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                 poe_error *error) {
  (void)scratch;
  (void)error;
  const laplace *l = self;
  for (size_t i = 0; i < rows.n; i++) {
    poe_stream stream = poe_stream_open(at[i]);
    for (size_t j = 0; j < l->d; j++) {
      double u = poe_stream_uniform(&stream);
      double z = u < 0.5 ? log(2.0 * u) : -log(2.0 * (1.0 - u));
      rows.x[i * rows.ld + j] = l->loc[j] + z / l->inverse[j];
    }
  }
  return POE_OK;
}

static poe_status laplace_log_z(const void *self, double *log_z, poe_error *error) {
  (void)self;
  (void)error;
  *log_z = 0.0;
  return POE_OK;
}

const poe_expert_ops poei_laplace_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "laplace",
    .doc = "Laplace density of independent coordinates",
    .params = laplace_params,
    .create = laplace_create,
    .destroy = laplace_destroy,
    .traits = laplace_traits,
    .scratch = laplace_scratch,
    .eval_add = laplace_eval_add,
    .sample = laplace_sample,
    .log_z = laplace_log_z,
};
