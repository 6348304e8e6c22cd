/* Means and variances of Gaussians, exactly (see moments.h).
 *
 * Dense ones by inverting the precision; sparse ones by the selected inverse, the entries of P^-1 on the pattern of P's
 * factor (Takahashi, Fagan and Chin 1973), without forming the rest. Of a mixture with probabilities w_k
 *
 *   m = sum_k w_k m_k,   v = sum_k w_k (v_k + (m_k - m)^2)
 */
#include "compose/exact/moments.h"

#include <math.h>
#include <string.h>

#include "compose/exact/tree.h"
#include "compose/nodes/nodes.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "core/numerics.h"
#include "experts/low_rank.h"
#include "experts/sparse_normal.h"

typedef struct moments {
  size_t dim;
  double *mean, *variance; /* [dim] */
} moments;

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

static poe_status moments_open(size_t dim, moments *out, poe_error *error) {
  *out = (moments){dim, poei_alloc(dim, sizeof(double)), poei_alloc(dim, sizeof(double))};
  if (out->mean == NULL || out->variance == NULL) {
    poei_free(out->mean);
    poei_free(out->variance);
    *out = (moments){0};
    return no_memory(error);
  }
  for (size_t j = 0; j < dim; j++) {
    out->mean[j] = out->variance[j] = NAN;
  }
  return POE_OK;
}

static void moments_close(moments *m) {
  poei_free(m->mean);
  poei_free(m->variance);
}

/* ---- mixtures ---- */

/* Sums over components: the weighted means and squares around the first component's means, which are near the rest. */
static void mix_add(moments *out, const moments *part, double weight, bool first, double *origin) {
  for (size_t j = 0; j < out->dim; j++) {
    if (first) {
      origin[j] = part->mean[j];
      out->mean[j] = out->variance[j] = 0.0;
    }
    double shift = part->mean[j] - origin[j];
    out->mean[j] += weight * shift;
    out->variance[j] += weight * (part->variance[j] + shift * shift);
  }
}

static void mix_finish(moments *out, const double *origin) {
  for (size_t j = 0; j < out->dim; j++) {
    out->variance[j] -= out->mean[j] * out->mean[j];
    out->mean[j] += origin[j];
  }
}

/* ---- forms ---- */

/* Component k of a form: its moments, and the log of its integral. False when it is improper. work[d * d]. */
static bool form_component(const poe_form *form, size_t k, moments *out, double *log_z, double *work) {
  size_t d = form->dim;
  const double *linear = form->linear + k * d;
  if (poei_cholesky(d, form->precision + k * d * d, work) != 0) {
    return false;
  }
  double half_log_det = poei_cholesky_half_log_det(d, work), gain = 0.0;
  memcpy(out->mean, linear, d * sizeof *linear);
  poei_solve_lower(d, work, 1, out->mean, d);
  poei_solve_lower_transposed(d, work, 1, out->mean, d);
  for (size_t j = 0; j < d; j++) {
    gain += linear[j] * out->mean[j] / 2.0;
    out->mean[j] += form->origin[k * d + j];
  }
  *log_z = form->constant[k] + gain + (double)d * POEI_LOG_2PI / 2.0 - half_log_det;
  poei_cholesky_inverse(d, work, work);
  for (size_t j = 0; j < d; j++) {
    out->variance[j] = work[j * d + j];
  }
  return true;
}

static poe_status form_moments(const poe_form *form, moments *out, bool *known, poe_error *error) {
  size_t d = form->dim, n = form->components;
  double *work = poei_alloc(d * d, sizeof *work), *origin = poei_alloc(d, sizeof *origin);
  double *log_z = poei_alloc(n, sizeof *log_z);
  moments part = {0};
  poe_status status =
      work == NULL || origin == NULL || log_z == NULL ? no_memory(error) : moments_open(d, &part, error);
  *known = status == POE_OK;
  for (size_t k = 0; k < n && *known; k++) {
    *known = form_component(form, k, n == 1 ? out : &part, &log_z[k], work);
  }
  double total = *known ? poei_log_sum_exp(log_z, n, 1) : 0.0, ignored;
  for (size_t k = 0; k < n && *known && n > 1; k++) { /* again: the weights had to be known first */
    form_component(form, k, &part, &ignored, work);
    mix_add(out, &part, exp(log_z[k] - total), k == 0, origin);
  }
  if (*known && n > 1) {
    mix_finish(out, origin);
  }
  moments_close(&part);
  poei_free(work);
  poei_free(origin);
  poei_free(log_z);
  return status;
}

/* ---- sparse precisions ---- */

static poe_status sparse_moments(const poe_sparse_gaussian *sparse, moments *out, bool *known, poe_error *error) {
  size_t d = out->dim;
  poei_sparse_matrix precision = {d, sparse->column_start, sparse->row, sparse->precision}; /* borrowed */
  poei_sparse_factor *factor = NULL;
  char why[256];
  poe_status status = poei_sparse_normal_factor(&precision, &factor, why, sizeof why, error);
  *known = status == POE_OK;
  if (!*known) {
    return status == POE_E_IMPROPER ? POE_OK : status;
  }
  double *work = poei_alloc(d, sizeof *work), *inverse = poei_alloc(factor->start[d], sizeof *inverse);
  double *room = poei_alloc(factor->most, sizeof *room);
  *known = work != NULL && inverse != NULL && room != NULL;
  if (*known) {
    memcpy(out->mean, sparse->linear, d * sizeof *out->mean);
    poei_sparse_solve(factor, out->mean, work);
    poei_sparse_inverse(factor, inverse, room);
    for (size_t k = 0; k < d; k++) {
      out->mean[k] += sparse->origin[k];
      out->variance[factor->order[k]] = inverse[factor->start[k]];
    }
  }
  poei_free(work);
  poei_free(inverse);
  poei_free(room);
  poei_sparse_factor_destroy(factor);
  return *known ? POE_OK : no_memory(error);
}

/* ---- experts ---- */

static poe_status expert_moments(const poe_expert *expert, moments *out, bool *known, poe_error *error);

static bool is_unbounded(const poe_expert *expert) {
  const poe_traits *traits = poe_expert_traits(expert);
  bool all = true;
  for (size_t j = 0; j < traits->dim; j++) {
    const poe_support *own = &traits->support[j];
    all = all && own->kind == POE_CONTINUOUS && own->low == -INFINITY && own->high == INFINITY;
  }
  return all;
}

static poe_status leaf_moments(const poe_expert *expert, moments *out, bool *known, poe_error *error) {
  const poei_sparse_normal *normal = poei_sparse_normal_of(expert);
  poe_status status = POE_OK;
  if (normal != NULL) {
    memcpy(out->mean, normal->mean, out->dim * sizeof *out->mean);
    *known = true;
    return poei_sparse_normal_variances(normal, out->variance, error);
  }
  const poei_low_rank *low_rank = poei_low_rank_of(expert);
  for (size_t j = 0; low_rank != NULL && j < out->dim; j++) {
    const double *w = low_rank->w + j * low_rank->r;
    out->mean[j] = low_rank->mean[j];
    out->variance[j] = (1.0 + poei_ddot(low_rank->r, w, w)) / (low_rank->scale[j] * low_rank->scale[j]);
    *known = true;
  }
  if (*known || !is_unbounded(expert)) { /* a form says nothing about where the density ends */
    return POE_OK;
  }
  if (poei_expert_can(expert, POE_CAN_STRUCTURE)) {
    poe_structure structure = {0};
    status = poe_expert_structure(expert, &structure, error);
    if (status == POE_OK && structure.kind == POE_STRUCTURE_SPARSE) {
      status = sparse_moments(&structure.as.sparse, out, known, error);
    }
    poe_structure_release(&structure);
  }
  if (status == POE_OK && !*known && poei_expert_can(expert, POE_CAN_FORM)) {
    poe_form form = {0};
    status = poe_expert_form(expert, &form, error);
    if (status == POE_OK && form.kind == POE_FORM_GAUSSIANS) {
      status = form_moments(&form, out, known, error);
    }
    poe_form_release(&form);
  }
  return status == POE_E_CAPABILITY ? POE_OK : status;
}

/* A child's moments at its coordinates in the whole. */
static poe_status moments_at(const poe_expert *child, const size_t *index, moments *out, bool *known,
                             poe_error *error) {
  moments part;
  poe_status status = moments_open(poe_expert_traits(child)->dim, &part, error);
  if (status != POE_OK) {
    return status;
  }
  status = expert_moments(child, &part, known, error);
  for (size_t j = 0; j < part.dim && *known && status == POE_OK; j++) {
    out->mean[index == NULL ? j : index[j]] = part.mean[j];
    out->variance[index == NULL ? j : index[j]] = part.variance[j];
  }
  moments_close(&part);
  return status;
}

/* Independent factors: together they are over each coordinate once. */
static poe_status product_moments(const poe_expert *expert, moments *out, bool *known, poe_error *error) {
  size_t n, covered = 0;
  const poei_factor *factor = poei_product_factors(expert, &n);
  unsigned char *seen = poei_calloc(out->dim, 1);
  bool independent = seen != NULL;
  for (size_t i = 0; i < n && independent; i++) {
    size_t d = poe_expert_traits(factor[i].expert)->dim;
    independent = factor[i].exponent == 1.0;
    for (size_t j = 0; j < d && independent; j++) {
      size_t c = factor[i].index == NULL ? j : factor[i].index[j];
      independent = !seen[c];
      seen[c] = 1;
      covered++;
    }
  }
  poe_status status = seen == NULL ? no_memory(error) : POE_OK;
  poei_free(seen);
  *known = status == POE_OK && independent && covered == out->dim;
  for (size_t i = 0; i < n && *known && status == POE_OK; i++) {
    bool own = false; /* an unknown one leaves NaN at its coordinates */
    status = moments_at(factor[i].expert, factor[i].index, out, &own, error);
  }
  return status;
}

static poe_status mixture_moments(const poe_expert *expert, moments *out, bool *known, poe_error *error) {
  size_t n = poei_node_child_count(expert);
  double *log_w = poei_alloc(n, sizeof *log_w), *origin = poei_alloc(out->dim, sizeof *origin);
  moments part = {0};
  poe_status status = log_w == NULL || origin == NULL ? no_memory(error) : moments_open(out->dim, &part, error);
  *known = status == POE_OK && poe_expert_traits(expert)->offset_error == 0.0;
  for (size_t k = 0; k < n && *known; k++) {
    *known = poei_expert_known_log_z(poei_node_child(expert, k), &log_w[k]);
    log_w[k] += *known ? poei_mixture_log_weight(expert, k) : 0.0;
  }
  double total = *known ? poei_log_sum_exp(log_w, n, 1) : 0.0;
  for (size_t k = 0; k < n && *known && status == POE_OK; k++) {
    *known = false;
    status = expert_moments(poei_node_child(expert, k), &part, known, error);
    if (status == POE_OK && *known) {
      mix_add(out, &part, exp(log_w[k] - total), k == 0, origin);
    }
  }
  if (status == POE_OK && *known) {
    mix_finish(out, origin);
  }
  moments_close(&part);
  poei_free(log_w);
  poei_free(origin);
  return status;
}

/* *known stays false, and `out` as it is or nonsense, for what is no Gaussian and not made of them. */
static poe_status expert_moments(const poe_expert *expert, moments *out, bool *known, poe_error *error) {
  poe_status status = POE_OK;
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_normalise:
    return expert_moments(poei_node_child(expert, 0), out, known, error);
  case POEI_NODE_mixture:
    status = mixture_moments(expert, out, known, error);
    break;
  case POEI_NODE_product:
    status = product_moments(expert, out, known, error);
    break;
  case POEI_NODE_slice:
    if (poe_expert_traits(poei_node_child(expert, 0))->dim == out->dim) {
      return moments_at(poei_node_child(expert, 0), poei_slice_index(expert), out, known, error);
    }
    return POE_OK;
  default:
    break;
  }
  return status != POE_OK || *known ? status : leaf_moments(expert, out, known, error);
}

/* ---- plans ---- */

static poe_status plan_moments(const poei_plan *plan, moments *out, poe_error *error);

/* One after the other at weights that sum to 1; a coordinate that some component does not know becomes NaN. */
static poe_status from_mixture(const poei_plan *plan, moments *out, poe_error *error) {
  moments part = {0};
  double *origin = poei_alloc(out->dim, sizeof *origin);
  poe_status status = origin == NULL ? no_memory(error) : moments_open(out->dim, &part, error);
  for (size_t k = 0; k < plan->n_parts && status == POE_OK; k++) {
    status = plan_moments(plan->parts[k], &part, error);
    if (status == POE_OK) {
      mix_add(out, &part, exp(plan->part_log_weight[k]), k == 0, origin);
    }
  }
  if (status == POE_OK) {
    mix_finish(out, origin);
  }
  moments_close(&part);
  poei_free(origin);
  return status;
}

static poe_status from_blocks(const poei_plan *plan, size_t first, moments *out, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t b = first; b < plan->n_parts && status == POE_OK; b++) {
    moments part;
    status = moments_open(plan->parts[b]->dim, &part, error);
    if (status != POE_OK) {
      return status;
    }
    status = plan_moments(plan->parts[b], &part, error);
    for (size_t j = 0; j < part.dim && status == POE_OK; j++) {
      out->mean[plan->part_index[b][j]] = part.mean[j];
      out->variance[plan->part_index[b][j]] = part.variance[j];
    }
    moments_close(&part);
  }
  return status;
}

/* A Gaussian x with one coordinate r that other factors read as well: x_j = x0_j + g_j (r - r0), where x0 is the
 * Gaussian's own draw and g_j = cov(x_j, r0) / var(r0); so that var x_j = var x0_j + g_j^2 (var r - var r0). */
static poe_status from_rest(const poei_plan *plan, moments *out, poe_error *error) {
  poe_status status = from_blocks(plan, 0, out, error);
  if (status != POE_OK || plan->n_read != 1) {
    for (size_t j = 0; j < out->dim && status == POE_OK; j++) {
      out->mean[j] = out->variance[j] = NAN;
    }
    return status;
  }
  moments before;
  status = moments_open(plan->parts[0]->dim, &before, error);
  if (status != POE_OK) {
    return status;
  }
  status = plan_moments(plan->parts[0], &before, error);
  size_t at = 0; /* of the coordinate that is read, among the Gaussian's */
  while (at + 1 < before.dim && plan->part_index[0][at] != plan->read[0]) {
    at++;
  }
  double moved = out->mean[plan->read[0]] - before.mean[at], wider = out->variance[plan->read[0]] - before.variance[at];
  for (size_t j = 0; j < before.dim && status == POE_OK; j++) {
    size_t c = plan->part_index[0][j];
    if (c != plan->read[0]) {
      out->mean[c] = before.mean[j] + plan->gain[j] * moved;
      out->variance[c] = before.variance[j] + plan->gain[j] * plan->gain[j] * wider;
    }
  }
  moments_close(&before);
  return status;
}

static poe_status plan_moments(const poei_plan *plan, moments *out, poe_error *error) {
  bool known = false;
  poe_status status = POE_OK;
  for (size_t j = 0; j < out->dim; j++) {
    out->mean[j] = out->variance[j] = NAN;
  }
  if (plan->method == POEI_METHOD_MIXTURE && plan->log_z_error == 0.0) {
    return from_mixture(plan, out, error);
  }
  if (plan->method == POEI_METHOD_BLOCKS) {
    return from_blocks(plan, 0, out, error);
  }
  if (plan->method == POEI_METHOD_REST) {
    return from_rest(plan, out, error);
  }
  if (plan->n_parts == 0 && plan->n_holes == 0) {
    status = expert_moments(plan->expert, out, &known, error);
  }
  for (size_t j = 0; j < out->dim && !known; j++) {
    out->mean[j] = out->variance[j] = NAN;
  }
  return status;
}

poe_status poei_plan_moments(const poei_plan *plan, double *mean, double *variance, poe_error *error) {
  moments out = {plan->dim, mean, variance};
  poe_status status = plan_moments(plan, &out, error);
  const poe_traits *traits = poe_expert_traits(plan->expert);
  for (size_t j = 0; j < plan->dim && status == POE_OK; j++) {
    if (traits->support[j].kind != POE_CONTINUOUS) {
      mean[j] = variance[j] = NAN;
    }
  }
  return status;
}
