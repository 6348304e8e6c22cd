/* The single-site view of the summed expert (see summed.h): of an elimination at a point, what changes with one
 * discrete coordinate is the tables that it has a part in and the messages above them. A conditional makes these anew
 * for every value; the others are kept, and made current when they are next read.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/summed_parts.h"
#include "core/alloc.h"

/* ---- who reads a coordinate ---- */

/* Counts the readers of each coordinate into at[c + 1], or lists them from at[c] on. */
static void list(const poei_summed *self, size_t *at, size_t *reader) {
  for (size_t m = 0; m < self->n; m++) {
    const poei_summed_factor *factor = &self->factor[m];
    const unsigned char *touch = poei_node_touch(factor->expert);
    for (size_t j = 0; j < factor->n; j++) {
      size_t c = factor->from[j];
      if (c != SIZE_MAX && (touch == NULL || touch[j]) && reader == NULL) {
        at[c + 1]++;
      } else if (c != SIZE_MAX && (touch == NULL || touch[j])) {
        reader[at[c]++] = m;
      }
    }
  }
  for (size_t k = 0; k < self->n_slices; k++) {
    for (size_t j = 0; j < self->slice[k].n; j++) {
      size_t c = self->slice[k].from[j];
      if (reader == NULL) {
        at[c + 1]++;
      } else {
        reader[at[c]++] = self->n + k;
      }
    }
  }
}

poe_status poei_summed_list_readers(poei_summed *self, poe_error *error) {
  bool discrete = false;
  for (size_t c = 0; c < self->dim; c++) {
    discrete = discrete || self->support[c].kind == POE_DISCRETE;
  }
  if (!discrete) {
    return POE_OK;
  }
  self->first_reader = poei_calloc(self->dim + 1, sizeof *self->first_reader);
  size_t *at = poei_alloc(self->dim, sizeof *at);
  if (self->first_reader != NULL && at != NULL) {
    list(self, self->first_reader, NULL);
    for (size_t c = 0; c < self->dim; c++) {
      self->first_reader[c + 1] += self->first_reader[c];
      at[c] = self->first_reader[c];
    }
    self->reader = poei_alloc(self->first_reader[self->dim], sizeof *self->reader);
  }
  if (self->reader != NULL) {
    list(self, at, self->reader);
  }
  poei_free(at);
  return self->reader != NULL ? POE_OK : poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* ---- the state ---- */

typedef struct site {
  double *x, *table, *message, *shift, *outside; /* [dim], [tables], [messages], [buckets], [messages] */
  unsigned char *stale, *away;                   /* [buckets]                                          */
} site;

static site look(const poei_summed *self, void *state) {
  size_t buckets = poei_live_buckets(self->live), messages = poei_live_messages(self->live);
  site s = {.x = state};
  s.table = s.x + self->dim;
  s.message = s.table + poei_live_tables(self->live);
  s.outside = s.message + messages;
  s.shift = s.outside + messages;
  s.stale = (unsigned char *)(s.shift + buckets);
  s.away = s.stale + buckets;
  return s;
}

static size_t local_state_bytes(const void *state) {
  const poei_summed *self = state;
  size_t buckets = poei_live_buckets(self->live), messages = poei_live_messages(self->live);
  return (self->dim + poei_live_tables(self->live) + 2 * messages + buckets) * sizeof(double) + 2 * buckets;
}

static size_t local_scratch(const void *state) {
  const poei_summed *self = state;
  size_t values = poei_summed_batch_scratch(self, POE_WANT_LOGP), live = poei_live_local_scratch(self->live);
  return poe_scratch_need(poei_live_buckets(self->live), 1) + (values > live ? values : live);
}

/* The tables that coordinate j has a part in, at the state's row. */
static poe_status renew(const poei_summed *self, size_t j, const site *s, poe_scratch *scratch, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t r = self->first_reader[j]; r < self->first_reader[j + 1] && status == POE_OK; r++) {
    size_t i = self->reader[r];
    if (i < self->n) {
      status = poei_summed_table(self, i, s->x, s->table, scratch, error);
    } else {
      poei_summed_slice_at(self, &self->slice[i - self->n], s->x, s->table);
    }
  }
  return status;
}

static poe_status local_open(const void *state, const double *x, void *memory, poe_scratch *scratch, poe_error *error) {
  const poei_summed *self = state;
  size_t buckets = poei_live_buckets(self->live);
  site s = look(self, memory);
  memcpy(s.x, x, self->dim * sizeof *x);
  memset(s.stale, 1, buckets);
  memset(s.away, 1, buckets);
  return poei_summed_tables(self, (poe_rows){1, self->dim, self->dim, s.x}, s.table, scratch, error);
}

static poe_status local_set(const void *state, void *memory, size_t j, double value, poe_scratch *scratch,
                            poe_error *error) {
  const poei_summed *self = state;
  site s = look(self, memory);
  s.x[j] = value;
  for (size_t r = self->first_reader[j]; r < self->first_reader[j + 1]; r++) {
    poei_live_touch(self->live, self->reader[r], s.stale);
    poei_live_hear(self->live, self->reader[r], s.away);
  }
  return renew(self, j, &s, scratch, error);
}

/* The one bucket where all that coordinate j has a part in is read, but for plain numbers, and from which the rest can
 * be told; POEI_LIVE_NOWHERE: there is none. */
static size_t single_home(const poei_summed *self, size_t j) {
  size_t first = self->first_reader[j], last = self->first_reader[j + 1];
  size_t home = POEI_LIVE_NOWHERE;
  for (size_t r = first; r < last; r++) {
    size_t own = poei_live_home(self->live, self->reader[r]);
    if (own != POEI_LIVE_NOWHERE && home != POEI_LIVE_NOWHERE && own != home) {
      return POEI_LIVE_NOWHERE;
    }
    home = own != POEI_LIVE_NOWHERE ? own : home;
  }
  return poei_live_goes_back(self->live) ? home : POEI_LIVE_NOWHERE;
}

/* The sum of the plain numbers that coordinate j has a part in; they become 0 where `clear`. */
static double plain_numbers(const poei_summed *self, size_t j, const site *s, bool clear) {
  double sum = 0.0;
  for (size_t r = self->first_reader[j]; r < self->first_reader[j + 1]; r++) {
    double *number = &s->table[poei_live_start(self->live, self->reader[r])];
    if (poei_live_home(self->live, self->reader[r]) == POEI_LIVE_NOWHERE) {
      sum += *number;
      *number = clear ? 0.0 : *number;
    }
  }
  return sum;
}

/* out[v] for every value of coordinate j: from its home, or with the messages of all buckets in above[] made anew. */
static poe_status try_values(const poei_summed *self, size_t j, size_t home, const unsigned char *above, const site *s,
                             double *out, poe_scratch *scratch, poe_error *error) {
  size_t values = poei_support_states(&self->support[j]);
  double x = s->x[j];
  poe_status status = POE_OK;
  for (size_t v = 0; v < values && status == POE_OK; v++) {
    s->x[j] = self->support[j].low + (double)v;
    status = renew(self, j, s, scratch, error);
    if (status == POE_OK) {
      out[v] = home != POEI_LIVE_NOWHERE
                   ? poei_live_seen_from(self->live, home, s->table, s->message, s->outside, scratch) +
                         plain_numbers(self, j, s, false)
                   : poei_live_refresh(self->live, s->table, above, NULL, s->message, s->shift, scratch);
    }
    if (status == POE_OK && isnan(out[v])) {
      status = poe_error_set(error, POE_E_NUMERIC, "a sum over latent coordinates is not a number");
    }
  }
  s->x[j] = x;
  return status == POE_OK ? renew(self, j, s, scratch, error) : status;
}

static poe_status local_conditional(const void *state, void *memory, size_t j, double *out, poe_scratch *scratch,
                                    poe_error *error) {
  const poei_summed *self = state;
  site s = look(self, memory);
  size_t mark = poe_scratch_mark(scratch), buckets = poei_live_buckets(self->live), home = single_home(self, j);
  unsigned char *above = poe_scratch_bytes(scratch, buckets);
  memset(above, 0, buckets);
  for (size_t r = self->first_reader[j]; r < self->first_reader[j + 1]; r++) {
    poei_live_touch(self->live, self->reader[r], above);
  }
  if (home != POEI_LIVE_NOWHERE) {
    plain_numbers(self, j, &s, true); /* what vanishes with j now need not with another value */
  }
  double rest = poei_live_refresh(self->live, s.table, s.stale, above, s.message, s.shift, scratch);
  for (size_t p = 0; p < buckets; p++) {
    s.stale[p] = above[p] && (s.stale[p] || home == POEI_LIVE_NOWHERE); /* there, these will be those of other values */
  }
  if (home != POEI_LIVE_NOWHERE) {
    poei_live_outside(self->live, home, s.table, s.message, s.outside, s.away, scratch);
  }
  poe_status status = try_values(self, j, home, above, &s, out, scratch, error);
  for (size_t v = 0; v < poei_support_states(&self->support[j]) && status == POE_OK; v++) {
    out[v] = rest == -INFINITY && home != POEI_LIVE_NOWHERE ? rest : out[v];
  }
  poe_scratch_release(scratch, mark);
  return status;
}

const poe_local_ops poei_summed_local = {
    .state_bytes = local_state_bytes,
    .scratch = local_scratch,
    .open = local_open,
    .conditional = local_conditional,
    .set = local_set,
};

/* ---- the one-hot gradient: the conditionals ---- */

static size_t most_values(const poei_summed *self) {
  size_t most = 1;
  for (size_t j = 0; j < self->dim; j++) {
    size_t values = poei_support_states(&self->support[j]);
    most = values > most ? values : most;
  }
  return most;
}

size_t poei_summed_onehot_scratch(const poei_summed *self) {
  return local_scratch(self) + poe_scratch_need(local_state_bytes(self), 1) +
         poe_scratch_need(most_values(self), sizeof(double));
}

poe_status poei_summed_onehot_grad_add(const void *state, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                       poe_scratch *scratch, poe_error *error) {
  const poei_summed *self = state;
  size_t mark = poe_scratch_mark(scratch);
  void *memory = poe_scratch_bytes(scratch, local_state_bytes(self));
  double *value = poe_scratch_doubles(scratch, most_values(self));
  poe_status status = POE_OK;
  for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
    double *to = out + i * ldo;
    status = local_open(self, rows.x + i * rows.ld, memory, scratch, error);
    for (size_t j = 0; j < self->dim && status == POE_OK; j++) {
      size_t values = poei_support_states(&self->support[j]);
      status = values > 0 ? local_conditional(self, memory, j, value, scratch, error) : POE_OK;
      for (size_t v = 0; v < values && status == POE_OK; v++) {
        poe_accum_value(&to[v], weights.w[i * weights.inc], value[v]);
      }
      to += values;
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}
