/* A density with latent coordinates h integrated out at inverse temperature beta, or maximised over (beta infinite):
 *
 *   log p(x) = (1/beta) log int exp(beta log p_child(x, h)) dh     (sum over h where h is discrete)
 *   log p(x) = max_h log p_child(x, h)
 *
 * Few latent values are added up (marginal_sum.c), many through another expert where the planner has one; one or two
 * continuous ones are integrated or searched through row by row (marginal_line.c), beside a few discrete ones too. One
 * Gaussian and tables have closed forms at every beta: with q(h) the quadratic part, (1/beta) log int exp(beta q) = max
 * q + (n/2 log(2 pi / beta) - 1/2 log |P_hh|) / beta for n latent coordinates. Otherwise the node cannot be evaluated;
 * the planner may still draw from it through its child.
 */
#include <stdint.h>
#include <string.h>

#include "compose/exact/gaussian.h"
#include "compose/exact/table.h"
#include "compose/nodes/marginal.h"
#include "compose/nodes/view.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "core/numerics.h"

static void marginal_destroy(void *state) {
  poei_marginal *self = state;
  poei_free(self->latent);
  poei_free(self->free);
  poei_free(self->inner_free);
  poei_free(self->look);
  poe_expert_release(self->inner);
  poe_expert_release(self->value);
  poei_node_free(&self->node);
}

/* ---- values ---- */

static size_t marginal_scratch(const void *state, unsigned want, size_t n) {
  const poei_marginal *self = state;
  if ((want & POE_WANT_SAMPLE) != 0) {
    return poei_child_scratch(self->node.child[0], want, n) + poe_scratch_need(n * self->full, sizeof(double));
  }
  if ((want & POE_WANT_ONEHOT) != 0) {
    return poei_node_onehot_scratch(&self->node, n);
  }
  if (self->route == POEI_MARGINAL_VALUE) {
    return poei_child_scratch(self->value, want, n);
  }
  if (self->route == POEI_MARGINAL_SUM) {
    return poei_marginal_sum_scratch(self, want, n);
  }
  return self->route == POEI_MARGINAL_LINE ? poei_marginal_integral_scratch(self, want) : 0;
}

/* Row after row: what is looked at depends on the row. */
static poe_status eval_lines(const poei_marginal *self, poe_rows rows, poe_weights weights, poe_accum out,
                             poe_scratch *scratch, poe_error *error) {
  size_t mark = poe_scratch_mark(scratch), d = rows.d;
  double *grad = out.grad != NULL ? poe_scratch_doubles(scratch, d) : NULL;
  poei_line line;
  poei_line_open(&line, self, grad != NULL, scratch, error);
  poe_status status = POE_OK;
  for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
    double value = NAN;
    poei_line_row(&line, &rows.x[i * rows.ld]);
    status =
        isinf(self->beta) ? poei_marginal_profile(&line, &value, grad) : poei_marginal_integral(&line, &value, grad);
    if (status == POE_OK) {
      poe_accum one = {&out.logp[i], grad == NULL ? NULL : &out.grad[i * out.ldg], out.ldg};
      poei_accum_rows(1, d, &value, grad, (poe_weights){&weights.w[i * weights.inc], 0}, one, self->node.support);
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status marginal_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                    poe_scratch *scratch, poe_error *error) {
  const poei_marginal *self = state;
  if (self->route == POEI_MARGINAL_VALUE) {
    return poei_child_eval(self->value, rows, weights, out, scratch, error);
  }
  return self->route == POEI_MARGINAL_SUM ? poei_marginal_sum(self, rows, weights, out, scratch, error)
                                          : eval_lines(self, rows, weights, out, scratch, error);
}

/* ---- draws, log Z ---- */

static poe_status marginal_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                  poe_error *error) {
  const poei_marginal *self = state;
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
  const poei_marginal *self = state;
  return poei_expert_known_log_z(self->node.child[0], log_z)
             ? POE_OK
             : poe_error_set(error, POE_E_CAPABILITY, "the joint density has no exact log Z");
}

/* ---- closed forms ---- */

/* log |P_hh| of a single Gaussian's latent block; POE_E_IMPROPER when it is not positive definite. */
static poe_status latent_log_det(const poei_marginal *self, const poe_form *form, double *log_det, poe_error *error) {
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

static poe_status gaussian_marginal(const poei_marginal *self, const poe_form *child, poe_form *form,
                                    poe_error *error) {
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
  const poei_marginal *self = state;
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
    .local = &poei_node_local,
    .onehot_grad_add = poei_node_onehot_grad_add,
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

/* Joint values of latent[n]; 0 when a coordinate is continuous or unbounded, or there are more than `most`. */
static size_t count_states(const poei_marginal *self, size_t n, const size_t *latent, size_t most) {
  const poe_support *support = poe_expert_traits(self->node.child[0])->support;
  size_t states = 1;
  for (size_t k = 0; k < n; k++) {
    size_t values = poei_support_states(&support[latent[k]]);
    if (!poei_mul_size(states, values, &states) || states > most) {
      return 0;
    }
  }
  return states;
}

/* Coordinate c after those marked in gone[full] have been taken out. */
static size_t place_without(const unsigned char *gone, size_t c) {
  size_t place = 0;
  for (size_t k = 0; k < c; k++) {
    place += gone[k] ? 0 : 1;
  }
  return place;
}

/* The child without latent[n], which are marked in gone[full] afterwards. */
static poe_status take_out(poei_marginal *self, size_t n, const size_t *latent, unsigned char *gone, poe_error *error) {
  size_t *index = poei_alloc(n, sizeof *index);
  poe_expert *less = NULL;
  if (index == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t k = 0; k < n; k++) {
    index[k] = place_without(gone, latent[k]);
  }
  poe_status status = poei_marginal_create(self->inner, n, index, self->beta, &less, error);
  for (size_t k = 0; k < n && status == POE_OK; k++) {
    gone[latent[k]] = 1;
  }
  if (status == POE_OK) {
    poe_expert_release(self->inner);
    self->inner = less;
  }
  poei_free(index);
  return status;
}

/* One or two continuous latent coordinates, perhaps beside discrete ones: all but the last are taken out by nodes of
 * their own. sorted[n]: the discrete coordinates, then the continuous ones. gone[full]: zeroed. */
static poe_status make_line(poei_marginal *self, const size_t *sorted, size_t discrete, unsigned char *gone,
                            poe_error *error) {
  size_t last = self->n - 1;
  poe_status status = POE_OK;
  self->inner = poe_expert_retain(self->node.child[0]);
  if (discrete > 0) {
    status = take_out(self, discrete, sorted, gone, error);
  }
  if (status == POE_OK && discrete < last) {
    status = take_out(self, 1, &sorted[discrete], gone, error);
  }
  if (status != POE_OK || !poei_expert_can(self->inner, POE_CAN_EVAL)) {
    return status;
  }
  self->route = POEI_MARGINAL_LINE;
  self->wide = poe_expert_traits(self->inner)->dim;
  self->at = place_without(gone, sorted[last]);
  self->inner_free = poei_alloc(self->wide - 1, sizeof *self->inner_free);
  if (self->inner_free == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t j = 0; j + 1 < self->wide; j++) {
    self->inner_free[j] = j < self->at ? j : j + 1;
  }
  return poei_line_prepare(self, error);
}

/* How the node is evaluated, if it can be. */
static poe_status choose_route(poei_marginal *self, poe_error *error) {
  const poe_support *support = poe_expert_traits(self->node.child[0])->support;
  if (!poei_expert_can(self->node.child[0], POE_CAN_EVAL)) {
    return POE_OK;
  }
  self->states = count_states(self, self->n, self->latent, POEI_MARGINAL_STATES);
  if (self->states > 0) {
    self->route = POEI_MARGINAL_SUM;
    return POE_OK;
  }
  size_t *sorted = poei_alloc(self->n, sizeof *sorted), discrete = 0, known = 0;
  unsigned char *gone = poei_calloc(self->full, 1);
  poe_status status = POE_OK;
  if (sorted == NULL || gone == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else {
    for (int kind = 0; kind < 2; kind++) {
      size_t placed = kind == 0 ? 0 : discrete;
      for (size_t k = 0; k < self->n; k++) {
        poe_coordinate_kind own = support[self->latent[k]].kind;
        if (own == (kind == 0 ? POE_DISCRETE : POE_CONTINUOUS)) {
          sorted[placed++] = self->latent[k];
        }
      }
      discrete = kind == 0 ? placed : discrete;
      known = placed;
    }
    size_t continuous = self->n - discrete;
    if (known == self->n && (continuous == 1 || continuous == 2) &&
        (discrete == 0 || count_states(self, discrete, sorted, POEI_MARGINAL_BRANCHES) > 0)) {
      status = make_line(self, sorted, discrete, gone, error);
    }
  }
  poei_free(sorted);
  poei_free(gone);
  return status;
}

static void set_capabilities(poei_marginal *self) {
  const poe_expert *child = self->node.child[0];
  const poe_traits *traits = poe_expert_traits(child);
  double log_z;
  unsigned own = traits->capabilities & POE_CAN_FORM;
  if (self->route != POEI_MARGINAL_NONE) {
    own |= POE_CAN_EVAL;
    own |= poei_expert_differentiable(child) ? POE_CAN_GRADIENT : 0u;
  }
  if (self->route == POEI_MARGINAL_VALUE) {
    own &= ~(unsigned)POE_CAN_GRADIENT;
    own |= poe_expert_traits(self->value)->capabilities & POE_CAN_GRADIENT;
  }
  if (self->beta == 1.0) {
    own |= traits->capabilities & POE_CAN_SAMPLE;
    own |= poei_expert_known_log_z(child, &log_z) ? POE_CAN_LOG_Z : 0u;
  }
  self->node.traits.capabilities = own;
  self->node.traits.offset_error = traits->offset_error;
}

static void set_traits(poei_marginal *self, const unsigned char *latent) {
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
}

/* How the node is evaluated: by itself, or through value[points a row]; and what it can do then. */
static poe_status settle(poei_marginal *self, const poe_expert *value, size_t points, poe_error *error) {
  if (value == NULL) {
    poe_status status = choose_route(self, error);
    if (status == POE_OK) {
      set_capabilities(self);
    }
    return status;
  }
  poei_view_term term = {.expert = value, .exponent = 1.0};
  self->route = POEI_MARGINAL_VALUE;
  self->value = poe_expert_retain(value);
  self->states = points > 0 ? points : 1;
  set_capabilities(self);
  return poei_node_view(&self->node, 1, &term, NULL, false, error);
}

static poe_status create(const poe_expert *child, size_t n, const size_t *index, double beta, const poe_expert *value,
                         size_t points, poe_expert **out, poe_error *error) {
  size_t full = poe_expert_traits(child)->dim;
  unsigned char *latent = poei_calloc(full, 1);
  poe_status status = latent == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                     : mark_latents(child, n, index, latent, error);
  if (status == POE_OK && !(beta > 0.0)) {
    status = poe_error_set(error, POE_E_DOMAIN, "beta must be positive, not %g", beta);
  }
  poei_marginal *self = status == POE_OK ? poei_node_new(sizeof *self, full - n, 1, &child, error) : NULL;
  if (self != NULL) {
    self->n = n;
    self->full = full;
    self->beta = beta;
    self->latent = poei_alloc(n, sizeof *self->latent);
    self->free = poei_alloc(full - n, sizeof *self->free);
    if (self->latent == NULL || self->free == NULL) {
      status = poe_error_set(error, POE_E_MEMORY, "out of memory");
    } else {
      set_traits(self, latent);
      status = settle(self, value, points, error);
    }
    if (status == POE_OK) {
      status = poei_node_wrap(&marginal_ops, self, out, error);
    } else {
      marginal_destroy(self);
    }
  } else if (status == POE_OK) {
    status = POE_E_MEMORY;
  }
  poei_free(latent);
  return status;
}

poe_status poei_marginal_create(const poe_expert *child, size_t n, const size_t *index, double beta, poe_expert **out,
                                poe_error *error) {
  return create(child, n, index, beta, NULL, 0, out, error);
}

poe_status poei_marginal_through(const poe_expert *expert, const poe_expert *value, size_t points, poe_expert **out,
                                 poe_error *error) {
  const poei_marginal *self = poe_expert_self(expert);
  if (poe_expert_traits(value)->dim != self->node.traits.dim) {
    return poe_error_set(error, POE_E_SHAPE, "a marginal over %zu coordinates through an expert over %zu",
                         self->node.traits.dim, poe_expert_traits(value)->dim);
  }
  return create(self->node.child[0], self->n, self->latent, self->beta, value, points, out, error);
}

double poei_marginal_beta(const poe_expert *expert) {
  return ((const poei_marginal *)poe_expert_self(expert))->beta;
}

size_t poei_marginal_count(const poe_expert *expert) {
  return ((const poei_marginal *)poe_expert_self(expert))->n;
}

const size_t *poei_marginal_latent(const poe_expert *expert) {
  return ((const poei_marginal *)poe_expert_self(expert))->latent;
}

size_t poei_marginal_points(const poe_expert *expert) {
  const poei_marginal *self = poe_expert_self(expert);
  if (self->route != POEI_MARGINAL_LINE) {
    return self->route == POEI_MARGINAL_NONE ? 0 : self->states;
  }
  bool nested = poei_node_kind_of(self->inner) == POEI_NODE_marginal && self->inner != self->node.child[0];
  return POEI_LINE_ROWS * (nested ? poei_marginal_points(self->inner) : 1);
}

const poe_expert *poei_marginal_value(const poe_expert *expert) {
  return ((const poei_marginal *)poe_expert_self(expert))->value;
}

bool poei_marginal_integrates(const poe_expert *expert) {
  return ((const poei_marginal *)poe_expert_self(expert))->route == POEI_MARGINAL_LINE;
}

const size_t *poei_marginal_free(const poe_expert *expert) {
  return ((const poei_marginal *)poe_expert_self(expert))->free;
}

static poe_status marginal_rebuild(const poei_node *node, const poe_expert *const *children, poe_expert **out,
                                   poe_error *error) {
  const poei_marginal *self = (const poei_marginal *)node;
  return poei_marginal_create(children[0], self->n, self->latent, self->beta, out, error);
}

const poei_node_look poei_marginal_look = {&marginal_ops, "marginal", marginal_rebuild};
