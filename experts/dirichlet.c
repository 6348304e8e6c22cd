/* dirichlet(x | alpha): a simplex of k numbers with density Gamma(A) prod_i x_i^(alpha_i - 1) / Gamma(alpha_i), A the
 * sum of alpha; the simplices of one variable are independent. Measure: Lebesgue on the first k - 1 numbers.
 *
 * A point where some x_i = 0 belongs to the support only when that alpha_i = 1: elsewhere the density there is 0 or
 * infinite. Values are taken around the mean m_i = alpha_i / A, sum_i (alpha_i - 1) log(x_i / m_i) + const, where large
 * terms cancel before they are rounded; the constant by Stirling's formula with its rest r:
 *
 *   (k - 1/2) log A - sum_i log(alpha_i) / 2 - (k - 1) log(2 pi) / 2 + r(A) - sum_i r(alpha_i)
 *
 * Draws: gamma numbers divided by their sum, in logs. Source: Kotz, Balakrishnan and Johnson 2000, Continuous
 * Multivariate Distributions, chapter 49.
 */
#include "experts/dirichlet.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "core/special.h"
#include "experts/family.h"
#include "experts/laws.h"
#include "experts/list.h"

static const poe_param dirichlet_params[] = {
    {"alpha", POE_ARG_REAL, "k", NULL, "exponents plus 1, > 0; or [n, k], or one number for all"},
    {0},
};

static const double sum_slack = 1e-8;    /* the numbers may miss 1 by so much */
static const double least_draw = 1e-300; /* draws that would be rounded to 0  */

typedef struct dirichlet {
  size_t n, k;
  double *alpha;        /* [n, k] */
  double *constant;     /* [n] log-density where every x_i = m_i */
  double *mean;         /* [n, k] */
  poe_support *support; /* [n k] */
  unsigned char *head;  /* [n k] */
} dirichlet;

static void dirichlet_destroy(void *state) {
  dirichlet *self = state;
  if (self == NULL) {
    return;
  }
  poei_free(self->alpha);
  poei_free(self->constant);
  poei_free(self->mean);
  poei_free(self->support);
  poei_free(self->head);
  poei_free(self);
}

static dirichlet *dirichlet_alloc(size_t n, size_t k) {
  dirichlet *self = poei_calloc(1, sizeof *self);
  if (self == NULL) {
    return NULL;
  }
  self->n = n;
  self->k = k;
  self->alpha = poei_alloc(n, k * sizeof *self->alpha);
  self->constant = poei_alloc(n, sizeof *self->constant);
  self->mean = poei_alloc(n, k * sizeof *self->mean);
  self->support = poei_alloc(n, k * sizeof *self->support);
  self->head = poei_family_heads(n * k);
  if (self->alpha == NULL || self->constant == NULL || self->mean == NULL || self->support == NULL ||
      self->head == NULL) {
    dirichlet_destroy(self);
    return NULL;
  }
  return self;
}

/* Everything that follows from alpha. */
static void dirichlet_finish(dirichlet *self) {
  size_t k = self->k;
  for (size_t s = 0; s < self->n; s++) {
    const double *alpha = &self->alpha[s * k];
    double total = 0.0, halves = 0.0, rests = 0.0;
    for (size_t i = 0; i < k; i++) {
      total += alpha[i];
      halves += 0.5 * log(alpha[i]);
      rests += poei_stirling_rest(alpha[i]);
      self->support[s * k + i] = (poe_support){
          .kind = i == 0 ? POE_SIMPLEX : POE_SIMPLEX_NEXT, .low = 0.0, .high = 1.0, .low_open = alpha[i] != 1.0};
    }
    for (size_t i = 0; i < k; i++) {
      self->mean[s * k + i] = alpha[i] / total;
    }
    self->constant[s] = ((double)k - 0.5) * log(total) - halves - 0.5 * (double)(k - 1) * POEI_LOG_2PI +
                        poei_stirling_rest(total) - rests;
  }
}

/* ---- slots ---- */

static void dirichlet_traits(const void *state, poe_traits *traits) {
  const dirichlet *self = state;
  *traits = (poe_traits){.dim = self->n * self->k,
                         .support = self->support,
                         .head = self->head,
                         .capabilities =
                             POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z | POE_CAN_STRUCTURE};
}

static size_t dirichlet_scratch(const void *state, unsigned want, size_t n) {
  (void)state;
  (void)want;
  (void)n;
  return 0;
}

/* log(x / m), to full precision near m. */
static double log_ratio(double x, double m) {
  double t = (x - m) / m;
  return fabs(t) < 0.5 ? log1p(t) : log(x / m);
}

/* One simplex x[k]; -inf outside, NaN when a number is. */
static double dirichlet_value(const dirichlet *self, size_t s, const double *x) {
  const double *alpha = &self->alpha[s * self->k], *mean = &self->mean[s * self->k];
  double value = self->constant[s], sum = 0.0;
  bool inside = true;
  for (size_t i = 0; i < self->k; i++) {
    sum += x[i];
    inside = inside && (x[i] > 0.0 || (x[i] == 0.0 && alpha[i] == 1.0));
  }
  if (isnan(sum)) {
    return sum;
  }
  if (!inside || fabs(sum - 1.0) > sum_slack) {
    return -INFINITY;
  }
  for (size_t i = 0; i < self->k; i++) { /* a power of 0 counts for nothing, at the end as well */
    value += alpha[i] == 1.0 ? -0.0 : (alpha[i] - 1.0) * log_ratio(x[i], mean[i]);
  }
  return value;
}

static poe_status dirichlet_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                     poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  const dirichlet *self = state;
  for (size_t i = 0; i < rows.n; i++) {
    const double *x = &rows.x[i * rows.ld];
    double w = weights.w[i * weights.inc], value = 0.0;
    for (size_t s = 0; s < self->n; s++) {
      double own = dirichlet_value(self, s, &x[s * self->k]);
      value = value == -INFINITY && !isnan(own) ? value : value + own;
    }
    poe_accum_value(&out.logp[i], w, value);
    if (out.grad == NULL || w == 0.0 || value == -INFINITY) {
      continue;
    }
    for (size_t j = 0; j < rows.d; j++) {
      double power = self->alpha[j] - 1.0;
      out.grad[i * out.ldg + j] += power == 0.0 ? 0.0 : w * power / x[j];
    }
  }
  return POE_OK;
}

static poe_status dirichlet_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                   poe_error *error) {
  (void)scratch;
  (void)error;
  const dirichlet *self = state;
  for (size_t i = 0; i < rows.n; i++) {
    poe_stream stream = poe_stream_open(at[i]);
    for (size_t s = 0; s < self->n; s++) {
      double *x = &rows.x[i * rows.ld + s * self->k];
      for (size_t j = 0; j < self->k; j++) {
        x[j] = poei_log_gamma_draw(&stream, self->alpha[s * self->k + j]);
      }
      double log_sum = poei_log_sum_exp(x, self->k, 1);
      for (size_t j = 0; j < self->k; j++) {
        x[j] = fmax(exp(x[j] - log_sum), least_draw);
      }
    }
  }
  return POE_OK;
}

static poe_status dirichlet_log_z(const void *state, double *log_z, poe_error *error) {
  (void)state;
  (void)error;
  *log_z = 0.0;
  return POE_OK;
}

/* Inside the support: a constant and (alpha - 1) log x. */
static poe_status dirichlet_structure(const void *state, poe_structure *structure, poe_error *error) {
  const dirichlet *self = state;
  size_t dim = self->n * self->k;
  poe_structure made = {.kind = POE_STRUCTURE_NATURAL, .dim = dim};
  made.as.natural.coefficient = poei_calloc(dim, POE_STATISTICS * sizeof(double));
  if (made.as.natural.coefficient == NULL) {
    return poei_family_memory("dirichlet", error);
  }
  for (size_t j = 0; j < dim; j++) {
    double power = self->alpha[j] - 1.0;
    made.as.natural.coefficient[j * POE_STATISTICS + POE_STATISTIC_LOG] = power;
    made.as.natural.constant += (j % self->k == 0 ? self->constant[j / self->k] : 0.0) - power * log(self->mean[j]);
  }
  *structure = made;
  return POE_OK;
}

/* ---- making ---- */

/* Every subject is made of whole simplices of k numbers: *k. */
static poe_status check_subjects(const poe_args *args, size_t *k, poe_error *error) {
  *k = 0;
  if (poe_args_dim(args) == 0) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs a variable before the bar", args->kind);
  }
  for (size_t i = 0; i < args->n_subjects; i++) {
    const poe_subject *subject = &args->subjects[i];
    size_t own = subject->ndim == 0 ? 0 : subject->shape[subject->ndim - 1];
    bool whole = own > 1;
    for (size_t j = 0; j < subject->dim && whole; j++) {
      whole = subject->support[j].kind == (j % own == 0 ? POE_SIMPLEX : POE_SIMPLEX_NEXT);
    }
    if (!whole) {
      poe_error_set(error, POE_E_TYPE, "`%s` is a density over a simplex, and `%s` is not one", args->kind,
                    subject->name);
      poe_error_hint(error, "declare a simplex and take all of it: var w : simplex(3)");
      return POE_E_TYPE;
    }
    if (*k != 0 && own != *k) {
      return poe_error_set(error, POE_E_SHAPE, "the simplices of `%s` have %zu and %zu numbers", args->kind, *k, own);
    }
    *k = own;
  }
  return POE_OK;
}

static poe_status dirichlet_create(const poe_args *args, void **self, poe_error *error) {
  size_t k = 0, dim = poe_args_dim(args);
  poe_status status = check_subjects(args, &k, error);
  if (status != POE_OK) {
    return status;
  }
  dirichlet *made = dirichlet_alloc(dim / k, k);
  if (made == NULL) {
    return poei_family_memory(args->kind, error);
  }
  const poe_arg *alpha = poe_args_find(args, "alpha");
  size_t shape[2] = {dim / k, k};
  bool each = alpha != NULL && alpha->ndim == 2;
  status = poe_args_real(args, "alpha", each ? 2 : 1, each ? shape : &k, NAN, false, made->alpha, error);
  for (size_t s = 1; s < made->n && !each && status == POE_OK; s++) {
    memcpy(&made->alpha[s * k], made->alpha, k * sizeof *made->alpha);
  }
  if (status == POE_OK) {
    status = poei_family_positive(args, "alpha", dim, made->alpha, error);
  }
  if (status != POE_OK) {
    dirichlet_destroy(made);
    return status;
  }
  dirichlet_finish(made);
  *self = made;
  return POE_OK;
}

const poe_expert_ops poei_dirichlet_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "dirichlet",
    .doc = "Dirichlet density of independent simplices",
    .params = dirichlet_params,
    .create = dirichlet_create,
    .destroy = dirichlet_destroy,
    .traits = dirichlet_traits,
    .scratch = dirichlet_scratch,
    .eval_add = dirichlet_eval_add,
    .sample = dirichlet_sample,
    .log_z = dirichlet_log_z,
    .structure = dirichlet_structure,
};

/* ---- what the planner knows ---- */

poe_status poei_dirichlet_create(size_t n, size_t k, const double *alpha, poe_expert **out, poe_error *error) {
  dirichlet *made = dirichlet_alloc(n, k);
  if (made == NULL) {
    return poei_family_memory("dirichlet", error);
  }
  memcpy(made->alpha, alpha, n * k * sizeof *alpha);
  dirichlet_finish(made);
  poe_status status = poe_expert_wrap(&poei_dirichlet_ops, made, out, error);
  if (status != POE_OK) {
    dirichlet_destroy(made);
  }
  return status;
}

const double *poei_dirichlet_alpha(const poe_expert *expert, size_t *k) {
  if (poe_expert_ops_of(expert) != &poei_dirichlet_ops) {
    return NULL;
  }
  const dirichlet *self = poe_expert_self(expert);
  *k = self->k;
  return self->alpha;
}

double poei_dirichlet_log_integral(size_t k, const double *alpha) {
  double total = 0.0, sum = 0.0;
  for (size_t i = 0; i < k; i++) {
    total += alpha[i];
    sum += poei_log_gamma(alpha[i]);
  }
  return sum - poei_log_gamma(total);
}
