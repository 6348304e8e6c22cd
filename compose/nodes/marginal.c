/* A density with latent coordinates h integrated out at inverse temperature beta, or maximised over (beta infinite):
 *
 *   log p(x) = (1/beta) log int exp(beta log p_child(x, h)) dh     (sum over h where h is discrete)
 *   log p(x) = max_h log p_child(x, h)
 *
 * With finitely many latent values the node runs through them and adds up on line, gradients weighed by the posterior
 * of h (d log p = E[d log p_child | x]). One Gaussian and tables have closed forms at every beta: with q(h) the
 * quadratic part, (1/beta) log int exp(beta q) = max q + (n/2 log(2 pi / beta) - 1/2 log |P_hh|) / beta for n latent
 * coordinates. Otherwise the node cannot be evaluated; the planner may still draw from it through its child.
 */
#include <stdint.h>
#include <string.h>

#include "compose/exact/gaussian.h"
#include "compose/exact/table.h"
#include "compose/nodes/node.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "core/numerics.h"

typedef struct marginal {
  poei_node node;
  size_t n, full; /* latent coordinates, all coordinates of the child */
  size_t *latent; /* [n] ascending                                    */
  size_t *free;   /* [dim] the child's coordinate of each free one    */
  double beta;    /* infinite: maximised                              */
  size_t states;  /* joint values of the latents; 0: too many         */
} marginal;

static void marginal_destroy(void *state) {
  marginal *self = state;
  poei_free(self->latent);
  poei_free(self->free);
  poei_node_free(&self->node);
}

/* ---- values ---- */

static size_t marginal_scratch(const void *state, unsigned want, size_t n) {
  const marginal *self = state;
  size_t d = self->node.traits.dim, rows = poe_scratch_need(n * self->full, sizeof(double));
  size_t bytes = poei_child_scratch(self->node.child[0], want, n) + rows;
  if ((want & POE_WANT_SAMPLE) != 0) {
    return bytes;
  }
  bytes += 3 * poe_scratch_need(n, sizeof(double));
  return bytes + ((want & POE_WANT_GRAD) != 0 ? rows + poe_scratch_need(n * d, sizeof(double)) : 0);
}

/* x[n, full] with the free coordinates of the rows; latent ones are left to fill in. */
static double *spread_rows(const marginal *self, poe_rows rows, poe_scratch *scratch) {
  double *x = poe_scratch_doubles(scratch, rows.n * self->full);
  for (size_t i = 0; i < rows.n; i++) {
    for (size_t j = 0; j < rows.d; j++) {
      x[i * self->full + self->free[j]] = rows.x[i * rows.ld + j];
    }
  }
  return x;
}

static void set_latents(const marginal *self, size_t state, size_t n, double *x) {
  const poe_support *support = poe_expert_traits(self->node.child[0])->support;
  for (size_t k = self->n; k-- > 0;) {
    size_t c = self->latent[k], values = poei_support_states(&support[c]);
    double value = support[c].low + (double)(state % values);
    state /= values;
    for (size_t i = 0; i < n; i++) {
      x[i * self->full + c] = value;
    }
  }
}

/* What has been added up of a row: top + log sum is the log-sum-exp so far, grad[dim] the sum of exp(. - top) d log p.
 */
typedef struct row_sum {
  double *top, *sum, *grad;
} row_sum;

/* Takes in one latent value: log p_child value of row i and its gradient[full] (NULL: none). */
static void add_state(const marginal *self, row_sum all, size_t i, double value, const double *gradient) {
  size_t d = self->node.traits.dim;
  double *grad = all.grad == NULL ? NULL : all.grad + i * d, scale = 1.0, weight = 1.0;
  if (isnan(value) || isnan(all.top[i])) {
    all.top[i] = NAN;
    return;
  }
  if (value == -INFINITY || (isinf(self->beta) && value <= all.top[i])) {
    return;
  }
  if (isinf(self->beta)) {
    scale = 0.0;
    all.top[i] = value;
    all.sum[i] = 1.0;
  } else if (self->beta * value > all.top[i]) {
    scale = exp(all.top[i] - self->beta * value);
    all.top[i] = self->beta * value;
    all.sum[i] = all.sum[i] * scale + 1.0;
  } else {
    weight = exp(self->beta * value - all.top[i]);
    all.sum[i] += weight;
  }
  for (size_t j = 0; grad != NULL && j < d; j++) {
    grad[j] = grad[j] * scale + weight * gradient[self->free[j]];
  }
}

static poe_status marginal_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                    poe_scratch *scratch, poe_error *error) {
  const marginal *self = state;
  static const double one = 1.0;
  size_t mark = poe_scratch_mark(scratch), n = rows.n, d = rows.d;
  double *x = spread_rows(self, rows, scratch), *value = poe_scratch_doubles(scratch, n), *gradient = NULL;
  row_sum all = {.top = poe_scratch_doubles(scratch, n), .sum = poe_scratch_doubles(scratch, n)};
  if (out.grad != NULL) {
    gradient = poe_scratch_doubles(scratch, n * self->full);
    all.grad = poe_scratch_doubles(scratch, n * d);
    memset(all.grad, 0, n * d * sizeof *all.grad);
  }
  for (size_t i = 0; i < n; i++) {
    all.top[i] = -INFINITY;
    all.sum[i] = 0.0;
  }
  poe_status status = POE_OK;
  for (size_t s = 0; s < self->states && status == POE_OK; s++) {
    set_latents(self, s, n, x);
    memset(value, 0, n * sizeof *value);
    if (gradient != NULL) {
      memset(gradient, 0, n * self->full * sizeof *gradient);
    }
    poe_accum part = {value, gradient, self->full};
    status = poei_child_eval(self->node.child[0], (poe_rows){n, self->full, self->full, x}, (poe_weights){&one, 0},
                             part, scratch, error);
    for (size_t i = 0; i < n && status == POE_OK; i++) {
      add_state(self, all, i, value[i], gradient == NULL ? NULL : gradient + i * self->full);
    }
  }
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    double total = isinf(self->beta) ? all.top[i] : (all.top[i] + log(all.sum[i])) / self->beta;
    value[i] = all.top[i] == -INFINITY ? -INFINITY : total;
    for (size_t j = 0; all.grad != NULL && j < d; j++) {
      all.grad[i * d + j] /= all.sum[i];
    }
  }
  if (status == POE_OK) {
    poei_accum_rows(n, d, value, all.grad, weights, out, self->node.support);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

/* ---- draws, log Z ---- */

static poe_status marginal_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                  poe_error *error) {
  const marginal *self = state;
  size_t mark = poe_scratch_mark(scratch), d = self->full;
  double *x = poe_scratch_doubles(scratch, rows.n * d);
  poe_status status = poe_expert_sample(self->node.child[0], (poe_rows_out){rows.n, d, d, x}, at, scratch, error);
  for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
    for (size_t j = 0; j < rows.d; j++) {
      rows.x[i * rows.ld + j] = x[i * d + self->free[j]];
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status marginal_log_z(const void *state, double *log_z, poe_error *error) {
  const marginal *self = state;
  return poei_expert_known_log_z(self->node.child[0], log_z)
             ? POE_OK
             : poe_error_set(error, POE_E_CAPABILITY, "the joint density has no exact log Z");
}

/* ---- closed forms ---- */

/* log |P_hh| of a single Gaussian's latent block; POE_E_IMPROPER when it is not positive definite. */
static poe_status latent_log_det(const marginal *self, const poe_form *form, double *log_det, poe_error *error) {
  size_t n = self->n;
  double *block = poei_alloc(n * n, sizeof *block);
  if (block == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t a = 0; a < n; a++) {
    for (size_t b = 0; b < n; b++) {
      block[a * n + b] = form->precision[self->latent[a] * form->dim + self->latent[b]];
    }
  }
  poe_status status = POE_OK;
  if (poei_cholesky(n, block, block) != 0) {
    status = poe_error_set(error, POE_E_IMPROPER, "the integral over the latent coordinates diverges");
  }
  *log_det = 2.0 * poei_cholesky_half_log_det(n, block);
  poei_free(block);
  return status;
}

static poe_status gaussian_marginal(const marginal *self, const poe_form *child, poe_form *form, poe_error *error) {
  double log_det = 0.0, n = (double)self->n, cold = isinf(self->beta) ? 0.0 : 1.0 / self->beta;
  if (self->beta == 1.0) {
    return poei_gaussians_marginal(child, self->node.traits.dim, self->free, form, error);
  }
  if (child->components != 1) {
    return poe_error_set(error, POE_E_CAPABILITY, "a mixture of Gaussians has no closed marginal at beta %g",
                         self->beta);
  }
  poe_status status = latent_log_det(self, child, &log_det, error);
  if (status == POE_OK) {
    status = poei_gaussians_marginal(child, self->node.traits.dim, self->free, form, error);
  }
  if (status == POE_OK) {
    double warm = cold > 0.0 ? 0.5 * n * log(self->beta) * cold : 0.0;
    form->constant[0] += (cold - 1.0) * 0.5 * (n * POEI_LOG_2PI - log_det) - warm;
  }
  return status;
}

static poe_status marginal_form(const void *state, poe_form *form, poe_error *error) {
  const marginal *self = state;
  poe_form child;
  memset(&child, 0, sizeof child);
  poe_status status = poe_expert_form(self->node.child[0], &child, error);
  if (status == POE_OK) {
    status = child.kind == POE_FORM_TABLE
                 ? poei_table_marginal(&child, self->node.traits.dim, self->free, self->beta, form, error)
                 : gaussian_marginal(self, &child, form, error);
  }
  poe_form_release(&child);
  return status;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops marginal_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "marginal",
    .doc = "a density with latent coordinates integrated out or maximised over",
    .params = no_params,
    .create = poei_node_create,
    .destroy = marginal_destroy,
    .traits = poei_node_traits,
    .scratch = marginal_scratch,
    .eval_add = marginal_eval_add,
    .sample = marginal_sample,
    .log_z = marginal_log_z,
    .form = marginal_form,
};

/* ---- making and looking in ---- */

/* Marks the latent coordinates in latent[full] (zeroed); refuses strange ones. */
static poe_status mark_latents(const poe_expert *child, size_t n, const size_t *index, unsigned char *latent,
                               poe_error *error) {
  size_t dim = poe_expert_traits(child)->dim;
  for (size_t k = 0; k < n; k++) {
    if (index[k] >= dim || latent[index[k]]) {
      return poe_error_set(error, POE_E_SHAPE, "latent coordinate %zu is %s", index[k],
                           index[k] >= dim ? "not among those of the density" : "named twice");
    }
    latent[index[k]] = 1;
  }
  return n < dim ? POE_OK : poe_error_set(error, POE_E_SHAPE, "no coordinate is left free");
}

static void count_states(marginal *self) {
  const poe_support *support = poe_expert_traits(self->node.child[0])->support;
  self->states = 1;
  for (size_t k = 0; k < self->n; k++) {
    size_t values = poei_support_states(&support[self->latent[k]]); /* 0: continuous or infinite */
    if (!poei_mul_size(self->states, values, &self->states) || self->states > POEI_MARGINAL_STATES) {
      self->states = 0;
      return;
    }
  }
}

static void set_capabilities(marginal *self) {
  const poe_expert *child = self->node.child[0];
  const poe_traits *traits = poe_expert_traits(child);
  double log_z;
  unsigned own = traits->capabilities & POE_CAN_FORM;
  if (self->states > 0) {
    own |= traits->capabilities & POE_CAN_EVAL;
    own |= poei_expert_differentiable(child) ? POE_CAN_GRADIENT : 0u;
  }
  if (self->beta == 1.0) {
    own |= traits->capabilities & POE_CAN_SAMPLE;
    own |= poei_expert_known_log_z(child, &log_z) ? POE_CAN_LOG_Z : 0u;
  }
  self->node.traits.capabilities = own;
  self->node.traits.offset_error = traits->offset_error;
}

static void set_traits(marginal *self, const unsigned char *latent) {
  const poe_traits *traits = poe_expert_traits(self->node.child[0]);
  const unsigned char *touch = poei_node_touch(self->node.child[0]);
  bool whole_head = traits->head != NULL && self->beta == 1.0;
  for (size_t c = 0, j = 0, k = 0; c < self->full; c++) {
    if (latent[c]) {
      self->latent[k++] = c;
      whole_head = whole_head && traits->head[c];
      continue;
    }
    self->free[j] = c;
    self->node.support[j] = traits->support[c];
    self->node.touch[j] = touch == NULL || touch[c];
    self->node.head[j++] = traits->head != NULL && traits->head[c];
  }
  if (!whole_head) {
    memset(self->node.head, 0, self->node.traits.dim);
  }
  poei_node_publish_head(&self->node);
  count_states(self);
  set_capabilities(self);
}

poe_status poei_marginal_create(const poe_expert *child, size_t n, const size_t *index, double beta, poe_expert **out,
                                poe_error *error) {
  size_t full = poe_expert_traits(child)->dim;
  unsigned char *latent = poei_calloc(full, 1);
  poe_status status = latent == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                     : mark_latents(child, n, index, latent, error);
  if (status == POE_OK && !(beta > 0.0)) {
    status = poe_error_set(error, POE_E_DOMAIN, "beta must be positive, not %g", beta);
  }
  marginal *self = status == POE_OK ? poei_node_new(sizeof *self, full - n, 1, &child, error) : NULL;
  if (self != NULL) {
    self->n = n;
    self->full = full;
    self->beta = beta;
    self->latent = poei_alloc(n, sizeof *self->latent);
    self->free = poei_alloc(full - n, sizeof *self->free);
    if (self->latent == NULL || self->free == NULL) {
      marginal_destroy(self);
      status = poe_error_set(error, POE_E_MEMORY, "out of memory");
    } else {
      set_traits(self, latent);
      status = poei_node_wrap(&marginal_ops, self, out, error);
    }
  } else if (status == POE_OK) {
    status = POE_E_MEMORY;
  }
  poei_free(latent);
  return status;
}

double poei_marginal_beta(const poe_expert *expert) {
  return ((const marginal *)poe_expert_self(expert))->beta;
}

size_t poei_marginal_count(const poe_expert *expert) {
  return ((const marginal *)poe_expert_self(expert))->n;
}

const size_t *poei_marginal_latent(const poe_expert *expert) {
  return ((const marginal *)poe_expert_self(expert))->latent;
}

const size_t *poei_marginal_free(const poe_expert *expert) {
  return ((const marginal *)poe_expert_self(expert))->free;
}

static poe_status marginal_rebuild(const poei_node *node, const poe_expert *const *children, poe_expert **out,
                                   poe_error *error) {
  const marginal *self = (const marginal *)node;
  return poei_marginal_create(children[0], self->n, self->latent, self->beta, out, error);
}

const poei_node_look poei_marginal_look = {&marginal_ops, "marginal", marginal_rebuild};
