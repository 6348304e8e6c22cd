/* Targets on simplices over their free coordinates, for quadrature: k numbers become k - 1 (simplices.h).
 *
 *   log p(x(u)) + log |dx/du| with x = the sticks of u (nodes/sticks.c) where there is a simplex, x = u elsewhere
 *
 * and back: the target with draws of a sampler over u. Both are experts that hold the target.
 */
#include <string.h>

#include "compose/exact/simplices.h"
#include "compose/nodes/sticks.h"
#include "core/alloc.h"
#include "experts/family.h"

typedef struct unstuck {
  poe_expert *target;   /* over x */
  size_t dim;           /* of u   */
  poe_support *support; /* [dim]  */
} unstuck;

typedef struct stuck {
  poe_expert *target, *sampler; /* over x, over u */
} stuck;

/* ---- rows ---- */

/* x of u. */
static void stick(const poe_traits *traits, const double *u, double *x) {
  for (size_t j = 0, c = 0, step; j < traits->dim; j += step) {
    size_t k = poei_simplex_at(traits->dim, traits->support, j);
    step = k > 0 ? k : 1;
    if (k > 0) {
      poei_sticks_break(k, &u[c], &x[j]);
    } else {
      x[j] = u[c];
    }
    c += k > 0 ? k - 1 : 1;
  }
}

/* log |dx/du|, and (slope[dim of x], the target's weighted gradient, not NULL) the gradient in u. */
static double pull(const poe_traits *traits, const double *u, const double *x, const double *slope, double w,
                   double *grad) {
  double total = 0.0;
  for (size_t j = 0, c = 0, step; j < traits->dim; j += step) {
    size_t k = poei_simplex_at(traits->dim, traits->support, j);
    step = k > 0 ? k : 1;
    total += k > 0 ? poei_sticks_log_slope(k, &u[c]) : 0.0;
    if (slope != NULL && k > 0) {
      poei_sticks_pull(k, &u[c], &x[j], &slope[j], w, &grad[c]);
    } else if (slope != NULL) {
      grad[c] += slope[j];
    }
    c += k > 0 ? k - 1 : 1;
  }
  return total;
}

/* ---- over the free coordinates ---- */

static void unstuck_destroy(void *state) {
  unstuck *self = state;
  if (self == NULL) {
    return;
  }
  poe_expert_release(self->target);
  poei_free(self->support);
  poei_free(self);
}

static void unstuck_traits(const void *state, poe_traits *traits) {
  const unstuck *self = state;
  const poe_traits *whole = poe_expert_traits(self->target);
  *traits = (poe_traits){.dim = self->dim,
                         .support = self->support,
                         .capabilities = whole->capabilities & (POE_CAN_EVAL | POE_CAN_GRADIENT),
                         .offset_error = whole->offset_error};
}

static size_t unstuck_scratch(const void *state, unsigned want, size_t n) {
  const unstuck *self = state;
  size_t block = poe_scratch_need(n * poe_expert_traits(self->target)->dim, sizeof(double));
  return poei_child_scratch(self->target, want, n) + block + ((want & POE_WANT_GRAD) != 0 ? block : 0);
}

static poe_status unstuck_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                   poe_scratch *scratch, poe_error *error) {
  const unstuck *self = state;
  const poe_traits *traits = poe_expert_traits(self->target);
  size_t mark = poe_scratch_mark(scratch), d = traits->dim;
  double *x = poe_scratch_doubles(scratch, rows.n * d);
  for (size_t i = 0; i < rows.n; i++) {
    stick(traits, &rows.x[i * rows.ld], &x[i * d]);
  }
  poe_accum part = {.logp = out.logp, .ldg = d};
  if (out.grad != NULL) {
    part.grad = poe_scratch_doubles(scratch, rows.n * d);
    memset(part.grad, 0, rows.n * d * sizeof(double));
  }
  poe_status status = poei_child_eval(self->target, (poe_rows){rows.n, d, d, x}, weights, part, scratch, error);
  for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
    double w = weights.w[i * weights.inc];
    const double *slope = out.grad == NULL ? NULL : &part.grad[i * d];
    double total =
        pull(traits, &rows.x[i * rows.ld], &x[i * d], slope, w, out.grad == NULL ? NULL : &out.grad[i * out.ldg]);
    poe_accum_value(&out.logp[i], w, total);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops unstuck_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "unstuck",
    .doc = "a density on simplices over its free coordinates",
    .params = no_params,
    .create = poei_node_create,
    .destroy = unstuck_destroy,
    .traits = unstuck_traits,
    .scratch = unstuck_scratch,
    .eval_add = unstuck_eval_add,
};

size_t poei_unstuck_dim(const poe_expert *target) {
  const poe_traits *traits = poe_expert_traits(target);
  size_t dim = traits->dim;
  for (size_t j = 0; j < traits->dim; j++) {
    dim -= traits->support[j].kind == POE_SIMPLEX;
  }
  return dim;
}

poe_status poei_unstuck_create(const poe_expert *target, poe_expert **out, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  unstuck *self = poei_calloc(1, sizeof *self);
  if (self == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  self->target = poe_expert_retain(target);
  self->dim = poei_unstuck_dim(target);
  self->support = poei_family_reals(self->dim);
  poe_status status = self->support == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t j = 0, c = 0, step; j < traits->dim && status == POE_OK; j += step) {
    size_t k = poei_simplex_at(traits->dim, traits->support, j);
    step = k > 0 ? k : 1;
    if (k == 0) {
      self->support[c] = traits->support[j];
    }
    c += k > 0 ? k - 1 : 1;
  }
  if (status == POE_OK) {
    status = poe_expert_wrap(&unstuck_ops, self, out, error);
  }
  if (status != POE_OK) {
    unstuck_destroy(self);
  }
  return status;
}

/* ---- draws of the target ---- */

static void stuck_destroy(void *state) {
  stuck *self = state;
  if (self != NULL) {
    poe_expert_release(self->target);
    poe_expert_release(self->sampler);
    poei_free(self);
  }
}

static void stuck_traits(const void *state, poe_traits *traits) {
  const poe_traits *whole = poe_expert_traits(((const stuck *)state)->target);
  *traits = *whole;
  traits->capabilities = (whole->capabilities & (POE_CAN_EVAL | POE_CAN_GRADIENT)) | POE_CAN_SAMPLE;
}

static size_t stuck_scratch(const void *state, unsigned want, size_t n) {
  const stuck *self = state;
  if ((want & POE_WANT_SAMPLE) == 0) {
    return poei_child_scratch(self->target, want, n);
  }
  size_t block = poe_scratch_need(n * poe_expert_traits(self->sampler)->dim, sizeof(double));
  return poei_child_scratch(self->sampler, want, n) + block;
}

static poe_status stuck_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                 poe_scratch *scratch, poe_error *error) {
  return poe_expert_eval_add(((const stuck *)state)->target, rows, weights, out, scratch, error);
}

static poe_status stuck_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                               poe_error *error) {
  const stuck *self = state;
  size_t mark = poe_scratch_mark(scratch), d = poe_expert_traits(self->sampler)->dim;
  double *u = poe_scratch_doubles(scratch, rows.n * d);
  poe_status status = poe_expert_sample(self->sampler, (poe_rows_out){rows.n, d, d, u}, at, scratch, error);
  for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
    stick(poe_expert_traits(self->target), &u[i * d], &rows.x[i * rows.ld]);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static const poe_expert_ops stuck_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "grid",
    .doc = "a density on simplices with draws of its free coordinates",
    .params = no_params,
    .create = poei_node_create,
    .destroy = stuck_destroy,
    .traits = stuck_traits,
    .scratch = stuck_scratch,
    .eval_add = stuck_eval_add,
    .sample = stuck_sample,
};

poe_status poei_stuck_create(const poe_expert *target, const poe_expert *sampler, poe_expert **out, poe_error *error) {
  stuck *self = poei_calloc(1, sizeof *self);
  if (self == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  self->target = poe_expert_retain(target);
  self->sampler = poe_expert_retain(sampler);
  poe_status status = poe_expert_wrap(&stuck_ops, self, out, error);
  if (status != POE_OK) {
    stuck_destroy(self);
  }
  return status;
}
