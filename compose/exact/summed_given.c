/* The discrete coordinates of a mixed target given the continuous ones (see summed.h): exact draws and probabilities,
 * row by row. */
#include <math.h>
#include <string.h>

#include "compose/exact/summed_parts.h"

/* What one row needs, in the scratch. */
typedef struct given {
  double *x, *table, *message, *p; /* [dim], [tables], [messages], [values] */
  size_t *s;                       /* [variables]                           */
} given;

size_t poei_summed_scratch(const poe_expert *summed) {
  const poei_summed *self = poe_expert_self(summed);
  size_t batch = poei_summed_batch_scratch(self, POE_WANT_LOGP), live = poei_live_scratch(self->live, true);
  return poe_scratch_need(self->dim, sizeof(double)) + poe_scratch_need(poei_live_tables(self->live), sizeof(double)) +
         poe_scratch_need(poei_live_messages(self->live), sizeof(double)) +
         poe_scratch_need(poei_live_values(self->live), sizeof(double)) +
         poe_scratch_need(poei_live_variables(self->live), sizeof(size_t)) + (batch > live ? batch : live);
}

static given take(const poei_summed *self, poe_scratch *scratch) {
  return (given){.x = poe_scratch_doubles(scratch, self->dim),
                 .table = poe_scratch_doubles(scratch, poei_live_tables(self->live)),
                 .message = poe_scratch_doubles(scratch, poei_live_messages(self->live)),
                 .p = poe_scratch_doubles(scratch, poei_live_values(self->live)),
                 .s = poe_scratch_bytes(scratch, poei_live_variables(self->live) * sizeof(size_t))};
}

/* The tables and messages at a row x[target dim] of the target. */
static poe_status look(const poei_summed *self, const double *x, const given *room, poe_scratch *scratch,
                       poe_error *error) {
  for (size_t j = 0; j < self->dim; j++) {
    room->x[j] = x[self->own[j]];
  }
  poe_rows row = {1, self->dim, self->dim, room->x};
  poe_status status = poei_summed_tables(self, row, room->table, scratch, error);
  if (status == POE_OK && !isfinite(poei_live_log_z(self->live, room->table, room->message, scratch))) {
    status = poe_error_set(error, POE_E_NUMERIC,
                           "the discrete coordinates have no distribution at a draw of the continuous ones");
  }
  return status;
}

poe_status poei_summed_draw(const poe_expert *summed, size_t n, double *x, const poe_rng *at, poe_scratch *scratch,
                            poe_error *error) {
  const poei_summed *self = poe_expert_self(summed);
  size_t mark = poe_scratch_mark(scratch);
  given room = take(self, scratch);
  poe_status status = POE_OK;
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    double *row = x + i * self->target_dim;
    status = look(self, row, &room, scratch, error);
    if (status == POE_OK) {
      poei_live_draw(self->live, room.table, room.message, at[i], room.s, scratch);
    }
    for (size_t k = 0; k < self->n_discrete && status == POE_OK; k++) {
      row[self->discrete[k]] = self->low[k] + (double)room.s[k];
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

poe_status poei_summed_marginals(const poe_expert *summed, size_t n, const double *x, double *p, poe_scratch *scratch,
                                 poe_error *error) {
  const poei_summed *self = poe_expert_self(summed);
  size_t mark = poe_scratch_mark(scratch);
  given room = take(self, scratch);
  poe_status status = POE_OK;
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    status = look(self, x + i * self->target_dim, &room, scratch, error);
    if (status == POE_OK) { /* the graph's first variables are the discrete coordinates */
      poei_live_marginals(self->live, room.table, room.message, room.p, scratch);
      memcpy(p + i * self->probabilities, room.p, self->probabilities * sizeof *p);
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}
