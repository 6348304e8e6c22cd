/* A marginal over finitely many latent values: the node runs through them and adds up on line, gradients weighed by the
 * posterior of h (d log p = E[d log p_child | x]); a profile keeps the best.
 *
 *   log p(x) = (1/beta) log sum_h exp(beta log p_child(x, h))      log p(x) = max_h log p_child(x, h)
 */
#include <string.h>

#include "compose/nodes/marginal.h"

size_t poei_marginal_sum_scratch(const poei_marginal *self, unsigned want, size_t n) {
  size_t d = self->node.traits.dim, rows = poe_scratch_need(n * self->full, sizeof(double));
  size_t bytes = poei_child_scratch(self->node.child[0], want, n) + rows;
  bytes += 3 * poe_scratch_need(n, sizeof(double));
  return bytes + ((want & POE_WANT_GRAD) != 0 ? rows + poe_scratch_need(n * d, sizeof(double)) : 0);
}

/* x[n, full] with the free coordinates of the rows; latent ones are left to fill in. */
static double *spread_rows(const poei_marginal *self, poe_rows rows, poe_scratch *scratch) {
  double *x = poe_scratch_doubles(scratch, rows.n * self->full);
  for (size_t i = 0; i < rows.n; i++) {
    for (size_t j = 0; j < rows.d; j++) {
      x[i * self->full + self->free[j]] = rows.x[i * rows.ld + j];
    }
  }
  return x;
}

static void set_latents(const poei_marginal *self, size_t state, size_t n, double *x) {
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
static void add_state(const poei_marginal *self, row_sum all, size_t i, double value, const double *gradient) {
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

poe_status poei_marginal_sum(const poei_marginal *self, poe_rows rows, poe_weights weights, poe_accum out,
                             poe_scratch *scratch, poe_error *error) {
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
