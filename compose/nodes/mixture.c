/* Mixture: log p(x) = log sum_k exp(log_weight_k + log p_k(x)), by an online log-sum-exp over the children.
 *
 * Gradient: sum_k r_k grad log p_k with the responsibilities r_k = w_k p_k / p, kept up to date with the running sum,
 * so one temporary serves every child. Draws: the component with probability proportional to w_k Z_k, then the child.
 */
#include <string.h>

#include "compose/exact/gaussian.h"
#include "compose/exact/table.h"
#include "compose/nodes/node.h"
#include "core/alloc.h"
#include "core/numerics.h"

typedef struct mixture {
  poei_node node;
  double *log_weight;  /* [node.n]                                              */
  double *probability; /* [node.n] of drawing each component; NULL when unknown */
  double log_z;        /* when POE_CAN_LOG_Z                                    */
  double extra_error;  /* of the weights, in quadrature to the children's       */
} mixture;

/* ---- traits ---- */

static poe_status set_support(mixture *self, poe_error *error) {
  for (size_t k = 0; k < self->node.n; k++) {
    const poe_support *support = poe_expert_traits(self->node.child[k])->support;
    const unsigned char *touch = poei_node_touch(self->node.child[k]);
    for (size_t j = 0; j < self->node.traits.dim; j++) {
      bool known = touch == NULL || touch[j], before = self->node.touch[j] != 0;
      self->node.touch[j] |= known;
      if (k == 0) {
        self->node.support[j] = support[j];
        continue;
      }
      if (known && before && self->node.support[j].kind != support[j].kind) {
        return poe_error_set(error, POE_E_TYPE,
                             "coordinate %zu is discrete in one component of the mixture, not in another", j);
      }
      poei_support_hull(&self->node.support[j], &support[j]);
    }
  }
  return POE_OK;
}

/* Equal heads of all components and weights that sum to 1 make the mixture normalised over the same head. */
static void set_head(mixture *self) {
  size_t dim = self->node.traits.dim;
  double total = poei_log_sum_exp(self->log_weight, self->node.n, 1);
  for (size_t k = 0; k < self->node.n; k++) {
    const unsigned char *head = poe_expert_traits(self->node.child[k])->head;
    if (head == NULL || fabs(total) > 1e-12 || (k > 0 && memcmp(head, self->node.head, dim) != 0)) {
      memset(self->node.head, 0, dim);
      return;
    }
    memcpy(self->node.head, head, dim);
  }
}

static bool forms_allowed(const mixture *self) {
  size_t dim = self->node.traits.dim, states = 1;
  bool continuous = true, discrete = true;
  for (size_t j = 0; j < dim; j++) {
    bool is_discrete = self->node.support[j].kind == POE_DISCRETE;
    continuous = continuous && !is_discrete;
    discrete = discrete && is_discrete && poei_mul_size(states, poei_support_states(&self->node.support[j]), &states) &&
               states > 0 && states <= POEI_FORM_MAX_STATES;
  }
  return (continuous && dim <= POEI_FORM_MAX_DIM && self->node.n <= POEI_FORM_MAX_COMPONENTS) || discrete;
}

static poe_status set_traits(mixture *self, poe_error *error) {
  poe_status status = set_support(self, error);
  if (status != POE_OK) {
    return status;
  }
  set_head(self);
  poei_node_publish_head(&self->node);
  unsigned all = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z | POE_CAN_FORM;
  double variance = self->extra_error * self->extra_error;
  for (size_t k = 0; k < self->node.n; k++) {
    const poe_expert *child = self->node.child[k];
    unsigned own = poe_expert_traits(child)->capabilities | POE_CAN_LOG_Z;
    own |= poei_expert_differentiable(child) ? POE_CAN_GRADIENT : 0u;
    all &= own;
    double log_z;
    if (!poei_expert_known_log_z(child, &log_z)) {
      all &= ~(unsigned)(POE_CAN_LOG_Z | POE_CAN_SAMPLE);
    } else {
      self->probability[k] = self->log_weight[k] + log_z;
    }
    double error_of = poe_expert_traits(child)->offset_error;
    variance = fmax(variance, self->extra_error * self->extra_error + error_of * error_of);
  }
  if (!forms_allowed(self)) {
    all &= ~(unsigned)POE_CAN_FORM;
  }
  if ((all & POE_CAN_LOG_Z) != 0) {
    self->log_z = poei_log_sum_exp(self->probability, self->node.n, 1);
    for (size_t k = 0; k < self->node.n; k++) {
      self->probability[k] = exp(self->probability[k] - self->log_z);
    }
  }
  self->node.traits.capabilities = all;
  self->node.traits.offset_error = sqrt(variance);
  return POE_OK;
}

/* ---- slots ---- */

static void mixture_destroy(void *state) {
  mixture *self = state;
  poei_free(self->log_weight);
  poei_free(self->probability);
  poei_node_free(&self->node);
}

static size_t mixture_scratch(const void *state, unsigned want, size_t n) {
  const mixture *self = state;
  size_t most = 0, dim = self->node.traits.dim;
  for (size_t k = 0; k < self->node.n; k++) {
    size_t bytes = poei_child_scratch(self->node.child[k], want, n);
    most = bytes > most ? bytes : most;
  }
  if ((want & POE_WANT_SAMPLE) != 0) {
    return most + poe_scratch_need(n * dim, sizeof(double)) + poe_scratch_need(n, sizeof(poe_rng)) +
           2 * poe_scratch_need(n, sizeof(size_t));
  }
  most += 2 * poe_scratch_need(n, sizeof(double));
  return most + ((want & POE_WANT_GRAD) != 0 ? 2 * poe_scratch_need(n * dim, sizeof(double)) : 0);
}

/* Takes one child's value[n], grad[n, d] into the running sum[n], mean[n, d]. */
static void merge(size_t n, size_t d, double log_weight, const double *value, const double *grad, double *sum,
                  double *mean) {
  for (size_t i = 0; i < n; i++) {
    double own = log_weight + value[i];
    if (own == -INFINITY) {
      continue;
    }
    double total = poei_log_add(sum[i], own);
    if (mean != NULL) {
      double share = total == own ? 1.0 : exp(own - total), rest = sum[i] == -INFINITY ? 0.0 : 1.0 - share;
      for (size_t j = 0; j < d; j++) {
        mean[i * d + j] = rest * mean[i * d + j] + share * grad[i * d + j];
      }
    }
    sum[i] = total;
  }
}

static poe_status mixture_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                   poe_scratch *scratch, poe_error *error) {
  const mixture *self = state;
  size_t mark = poe_scratch_mark(scratch), n = rows.n, size = rows.n * rows.d;
  double one = 1.0, *mean = NULL;
  double *sum = poe_scratch_doubles(scratch, n);
  poe_accum value = {.logp = poe_scratch_doubles(scratch, n), .ldg = rows.d};
  if (out.grad != NULL) {
    mean = poe_scratch_doubles(scratch, size);
    value.grad = poe_scratch_doubles(scratch, size);
    memset(mean, 0, size * sizeof(double));
  }
  for (size_t i = 0; i < n; i++) {
    sum[i] = -INFINITY;
  }
  poe_status status = POE_OK;
  for (size_t k = 0; k < self->node.n && status == POE_OK; k++) {
    memset(value.logp, 0, n * sizeof(double));
    if (value.grad != NULL) {
      memset(value.grad, 0, size * sizeof(double));
    }
    status = poei_child_eval(self->node.child[k], rows, (poe_weights){&one, 0}, value, scratch, error);
    merge(n, rows.d, self->log_weight[k], value.logp, value.grad, sum, mean);
  }
  if (status == POE_OK) {
    poei_accum_rows(n, rows.d, sum, mean, weights, out, self->node.support);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

/* The rows of one component are drawn together, in a block of their own. which[n]: component of each row. */
static poe_status sample_component(const mixture *self, size_t k, const size_t *which, poe_rows_out rows,
                                   const poe_rng *at, poe_scratch *scratch, poe_error *error) {
  size_t mark = poe_scratch_mark(scratch), m = 0, d = rows.d;
  size_t *row = poe_scratch_bytes(scratch, rows.n * sizeof *row);
  poe_rng *own = poe_scratch_bytes(scratch, rows.n * sizeof *own);
  double *x = poe_scratch_doubles(scratch, rows.n * d);
  for (size_t i = 0; i < rows.n; i++) {
    if (which[i] == k) {
      row[m] = i;
      own[m++] = poe_rng_child(at[i], 1);
    }
  }
  poe_status status = POE_OK;
  if (m > 0) {
    status = poe_expert_sample(self->node.child[k], (poe_rows_out){m, d, d, x}, own, scratch, error);
  }
  for (size_t i = 0; i < m && status == POE_OK; i++) {
    memcpy(&rows.x[row[i] * rows.ld], &x[i * d], d * sizeof *x);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status mixture_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                 poe_error *error) {
  const mixture *self = state;
  size_t mark = poe_scratch_mark(scratch);
  size_t *which = poe_scratch_bytes(scratch, rows.n * sizeof *which);
  for (size_t i = 0; i < rows.n; i++) {
    poe_stream stream = poe_stream_open(poe_rng_child(at[i], 0));
    which[i] = poe_stream_categorical(&stream, self->probability, self->node.n);
  }
  poe_status status = POE_OK;
  for (size_t k = 0; k < self->node.n && status == POE_OK; k++) {
    status = sample_component(self, k, which, rows, at, scratch, error);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status mixture_log_z(const void *state, double *log_z, poe_error *error) {
  (void)error;
  *log_z = ((const mixture *)state)->log_z;
  return POE_OK;
}

static poe_status mixture_form(const void *state, poe_form *form, poe_error *error) {
  const mixture *self = state;
  poe_form *forms = poei_calloc(self->node.n, sizeof *forms);
  if (forms == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = POE_OK;
  for (size_t k = 0; k < self->node.n && status == POE_OK; k++) {
    status = poe_expert_form(self->node.child[k], &forms[k], error);
    if (status == POE_OK && forms[k].kind != forms[0].kind) {
      status = poe_error_set(error, POE_E_CAPABILITY, "the components have closed forms of different kinds");
    }
  }
  if (status == POE_OK && forms[0].kind == POE_FORM_TABLE) {
    status = poei_table_mixture(self->node.n, forms, self->log_weight, POEI_FORM_MAX_STATES, form, error);
  } else if (status == POE_OK) {
    status = poei_gaussians_mixture(self->node.n, forms, self->log_weight, POEI_FORM_MAX_COMPONENTS, form, error);
  }
  for (size_t k = 0; k < self->node.n; k++) {
    poe_form_release(&forms[k]);
  }
  poei_free(forms);
  return status;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops mixture_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "mixture",
    .doc = "weighted sum of densities",
    .params = no_params,
    .create = poei_node_create,
    .destroy = mixture_destroy,
    .traits = poei_node_traits,
    .scratch = mixture_scratch,
    .eval_add = mixture_eval_add,
    .sample = mixture_sample,
    .log_z = mixture_log_z,
    .form = mixture_form,
};

/* ---- making and looking in ---- */

static poe_status check(size_t n, const poe_expert *const *children, const double *log_weights, poe_error *error) {
  if (n == 0) {
    return poe_error_set(error, POE_E_USAGE, "a mixture needs at least one component");
  }
  size_t dim = poe_expert_traits(children[0])->dim;
  for (size_t k = 0; k < n; k++) {
    size_t own = poe_expert_traits(children[k])->dim;
    if (own != dim) {
      return poe_error_set(error, POE_E_SHAPE, "component %zu of the mixture has %zu coordinates, the first has %zu", k,
                           own, dim);
    }
    if (!isfinite(log_weights[k])) {
      return poe_error_set(error, POE_E_DOMAIN, "the weight of component %zu must be a positive number", k);
    }
  }
  return POE_OK;
}

poe_status poei_mixture_create_estimated(size_t n, const poe_expert *const *children, const double *log_weights,
                                         double offset_error, poe_expert **out, poe_error *error) {
  poe_status status = check(n, children, log_weights, error);
  if (status != POE_OK) {
    return status;
  }
  mixture *self = poei_node_new(sizeof *self, poe_expert_traits(children[0])->dim, n, children, error);
  if (self == NULL) {
    return POE_E_MEMORY;
  }
  self->extra_error = offset_error;
  self->log_weight = poei_copy(log_weights, n, sizeof *log_weights);
  self->probability = poei_calloc(n, sizeof *self->probability);
  if (self->log_weight == NULL || self->probability == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else {
    status = set_traits(self, error);
  }
  if (status != POE_OK) {
    mixture_destroy(self);
    return status;
  }
  return poei_node_wrap(&mixture_ops, self, out, error);
}

poe_status poei_mixture_create(size_t n, const poe_expert *const *children, const double *log_weights, poe_expert **out,
                               poe_error *error) {
  return poei_mixture_create_estimated(n, children, log_weights, 0.0, out, error);
}

double poei_mixture_log_weight(const poe_expert *expert, size_t index) {
  return ((const mixture *)poe_expert_self(expert))->log_weight[index];
}

static poe_status mixture_rebuild(const poei_node *node, const poe_expert *const *children, poe_expert **out,
                                  poe_error *error) {
  const mixture *self = (const mixture *)node;
  return poei_mixture_create_estimated(node->n, children, self->log_weight, self->extra_error, out, error);
}

const poei_node_look poei_mixture_look = {&mixture_ops, "mixture", mixture_rebuild};
