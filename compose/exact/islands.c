/* Elimination with the continuous coordinates integrated out first (see islands.h):
 *
 *   p(s, x) = D(s) prod_i M_i(s_i, x_i),   Z_i(s_i) = int M_i(s_i, x_i) dx_i,   p(s) ~ D(s) prod_i Z_i(s_i)
 *
 * with islands x_i that no factor joins. Every Z_i is a table; the discrete coordinates are drawn from the junction
 * tree of D and these tables, then each island given its s_i, by the sampler of its own plan for that value: exactly,
 * or by inverse CDF on a grid where the integral is a quadrature. A hidden Markov model with Gaussian emissions is
 * this.
 */
#include <string.h>

#include "compose/exact/islands_parts.h"
#include "compose/nodes/node.h"
#include "core/alloc.h"

void poei_shore_release(poei_shore *s) {
  if (s == NULL || --s->uses > 0) {
    return;
  }
  for (size_t k = 0; s->sampler != NULL && k < s->states; k++) {
    poe_expert_release(s->sampler[k]);
  }
  poei_free(s->sampler);
  poei_free(s->log_z);
  poei_free(s);
}

void poei_islands_destroy(void *state) {
  poei_islands *self = state;
  for (size_t i = 0; self->island != NULL && i < self->n; i++) {
    poei_free(self->island[i].continuous);
    poei_shore_release(self->island[i].shore);
  }
  poei_free(self->island);
  poei_free(self->discrete);
  poei_free(self->low);
  poei_live_destroy(self->live);
  poe_expert_release(self->target);
  poei_free(self);
}

/* ---- the expert ---- */

static void islands_traits(const void *state, poe_traits *traits) {
  const poei_islands *self = state;
  *traits = *poe_expert_traits(self->target);
  traits->capabilities &= POE_CAN_EVAL;
  traits->capabilities |= POE_CAN_LOG_Z | (self->draws ? POE_CAN_SAMPLE : 0u);
}

static size_t islands_scratch(const void *state, unsigned want, size_t n) {
  const poei_islands *self = state;
  if ((want & POE_WANT_SAMPLE) == 0) {
    return poe_expert_scratch(self->target, POE_WANT_LOGP, n);
  }
  size_t most = poei_live_scratch(self->live, false);
  for (size_t i = 0; i < self->n; i++) {
    const poei_shore *own = self->island[i].shore;
    for (size_t k = 0; k < own->states; k++) {
      size_t need = own->sampler[k] == NULL ? 0 : poe_expert_scratch(own->sampler[k], POE_WANT_SAMPLE, n);
      most = need > most ? need : most;
    }
  }
  return most + poe_scratch_need(poei_live_variables(self->live), sizeof(size_t)) +
         2 * poe_scratch_need(n, sizeof(size_t)) + poe_scratch_need(n, sizeof(poe_rng)) +
         poe_scratch_need(n * self->widest, sizeof(double));
}

static poe_status islands_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                   poe_scratch *scratch, poe_error *error) {
  out.grad = NULL; /* what is drawn exactly needs none */
  return poe_expert_eval_add(((const poei_islands *)state)->target, rows, weights, out, scratch, error);
}

static void draw_discrete(const poei_islands *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch);
  size_t *s = poe_scratch_bytes(scratch, poei_live_variables(self->live) * sizeof *s);
  double no_message[1] = {0.0};
  for (size_t i = 0; i < rows.n; i++) {
    poei_live_draw(self->live, NULL, no_message, poe_rng_child(at[i], 0), s, scratch);
    for (size_t k = 0; k < self->n_discrete; k++) {
      rows.x[i * rows.ld + self->discrete[k]] = self->low[self->discrete[k]] + (double)s[k];
    }
  }
  poe_scratch_release(scratch, mark);
}

/* The joint value of an island's discrete coordinates in a row. */
static size_t joint_value(const poei_islands *self, const poei_island *own, const double *x) {
  size_t k = 0;
  for (size_t j = 0; j < own->n_discrete; j++) {
    k = k * own->cardinality[j] + (size_t)(x[own->discrete[j]] - self->low[own->discrete[j]]);
  }
  return k;
}

/* Island number `number` in all rows, those with the same joint value together. */
static poe_status draw_island(const poei_islands *self, size_t number, poe_rows_out rows, const poe_rng *at,
                              poe_scratch *scratch, poe_error *error) {
  const poei_island *own = &self->island[number];
  size_t mark = poe_scratch_mark(scratch), d = own->n_continuous;
  size_t *value = poe_scratch_bytes(scratch, rows.n * sizeof *value);
  size_t *row = poe_scratch_bytes(scratch, rows.n * sizeof *row);
  poe_rng *address = poe_scratch_bytes(scratch, rows.n * sizeof *address);
  double *x = poe_scratch_doubles(scratch, rows.n * self->widest);
  poe_status status = POE_OK;
  for (size_t i = 0; i < rows.n; i++) {
    value[i] = joint_value(self, own, &rows.x[i * rows.ld]);
  }
  for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
    size_t k = value[i], count = 0;
    for (size_t r = i; r < rows.n && k != SIZE_MAX; r++) {
      if (value[r] == k) {
        value[r] = SIZE_MAX;
        row[count] = r;
        address[count++] = poe_rng_child(at[r], (uint32_t)(number + 1));
      }
    }
    if (count > 0) {
      status = poe_expert_sample(own->shore->sampler[k], (poe_rows_out){count, d, d, x}, address, scratch, error);
    }
    for (size_t r = 0; r < count && status == POE_OK; r++) {
      for (size_t j = 0; j < d; j++) {
        rows.x[row[r] * rows.ld + own->continuous[j]] = x[r * d + j];
      }
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status islands_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                 poe_error *error) {
  const poei_islands *self = state;
  poe_status status = POE_OK;
  draw_discrete(self, rows, at, scratch);
  for (size_t i = 0; i < self->n && status == POE_OK; i++) {
    status = draw_island(self, i, rows, at, scratch, error);
  }
  return status;
}

static poe_status islands_log_z(const void *state, double *log_z, poe_error *error) {
  (void)error;
  *log_z = ((const poei_islands *)state)->log_z;
  return POE_OK;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops islands_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "islands",
    .doc = "a density over discrete coordinates and continuous ones that are integrated given those",
    .params = no_params,
    .create = poei_node_create,
    .destroy = poei_islands_destroy,
    .traits = islands_traits,
    .scratch = islands_scratch,
    .eval_add = islands_eval_add,
    .sample = islands_sample,
    .log_z = islands_log_z,
};

bool poei_islands_is(const poe_expert *expert) {
  return poe_expert_ops_of(expert) == &islands_ops;
}

double poei_islands_error(const poe_expert *expert) {
  return ((const poei_islands *)poe_expert_self(expert))->error;
}

poe_status poei_islands_marginals(const poe_expert *expert, double *p, poe_error *error) {
  const poei_islands *self = poe_expert_self(expert);
  poe_scratch *scratch = poe_scratch_create(poei_live_scratch(self->live, true));
  double *all = poei_alloc(poei_live_values(self->live), sizeof *all), no_message[1] = {0.0};
  poe_status status = scratch == NULL || all == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  if (status == POE_OK) { /* the graph's first variables are the discrete coordinates */
    const poe_support *support = poe_expert_traits(self->target)->support;
    size_t values = 0;
    poei_live_marginals(self->live, NULL, no_message, all, scratch);
    for (size_t k = 0; k < self->n_discrete; k++) {
      values += poei_support_states(&support[self->discrete[k]]);
    }
    memcpy(p, all, values * sizeof *p);
  }
  poei_free(all);
  poe_scratch_destroy(scratch);
  return status;
}

poe_status poei_islands_wrap(poei_islands *self, poe_expert **out, poe_error *error) {
  return poei_node_wrap(&islands_ops, self, out, error);
}
