/* Layered Boltzmann machines: exact log Z and exact draws.
 *
 * log Z is the log of the sum of the weights of the smaller side's states, the other side summed out
 * (boltzmann_sides.c). A draw takes a state of the small side from the table of these weights and then the other units,
 * which are independent given it: Bernoulli, or normal with mean bias + sd^2 field. Large tables are made when first
 * asked for, once, under a lock; what is in them does not depend on who asks.
 */
#include <pthread.h>
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/boltzmann.h"
#include "experts/family.h"

static const double early_work = 0x1p23; /* tables of up to so many factors are made at once */

/* ---- the table of states ---- */

struct poei_boltzmann_states {
  pthread_mutex_t lock;
  size_t parity, count; /* of the side that is enumerated                       */
  double *cumulative;   /* [count] running sums of exp(log weight - log Z); NULL: not made yet */
  double log_z;
};

static poe_status make_states(const poei_boltzmann *m, poei_boltzmann_states *states, poe_error *error) {
  double *p = poei_alloc(states->count, sizeof *p), sum = 0.0;
  poe_status status =
      p == NULL ? poei_family_memory(m->kind, error) : poei_boltzmann_log_weights(m, 0, states->parity, p, error);
  if (status != POE_OK) {
    poei_free(p);
    return status;
  }
  double log_z = poei_log_sum_exp(p, states->count, 1);
  if (!isfinite(log_z)) {
    poei_free(p);
    return poe_error_set(error, POE_E_NUMERIC, "log Z of the `%s` is %g: its weights are too large", m->kind, log_z);
  }
  for (size_t s = 0; s < states->count; s++) {
    p[s] -= log_z;
  }
  poei_vexp(p, p, states->count);
  for (size_t s = 0; s < states->count; s++) {
    sum += p[s];
    p[s] = sum;
  }
  states->log_z = log_z;
  states->cumulative = p;
  return POE_OK;
}

/* The table, made unless it is there. */
static poe_status need_states(const poei_boltzmann *m, poe_error *error) {
  poei_boltzmann_states *states = m->states;
  pthread_mutex_lock(&states->lock);
  poe_status status = states->cumulative == NULL ? make_states(m, states, error) : POE_OK;
  pthread_mutex_unlock(&states->lock);
  return status;
}

poe_status poei_boltzmann_states_create(poei_boltzmann *m, poe_error *error) {
  double even = poei_boltzmann_work(m, 0, 0), odd = poei_boltzmann_work(m, 0, 1);
  if (!poei_boltzmann_few(m, 0, 0) && !poei_boltzmann_few(m, 0, 1)) {
    return POE_OK;
  }
  poei_boltzmann_states *states = poei_calloc(1, sizeof *states);
  if (states == NULL) {
    return poei_family_memory(m->kind, error);
  }
  states->parity = odd <= even ? 1 : 0;
  states->count = (size_t)1 << poei_boltzmann_side(m, 0, states->parity);
  pthread_mutex_init(&states->lock, NULL);
  m->states = states;
  return fmin(even, odd) <= early_work ? need_states(m, error) : POE_OK;
}

void poei_boltzmann_states_destroy(poei_boltzmann_states *states) {
  if (states != NULL) {
    pthread_mutex_destroy(&states->lock);
    poei_free(states->cumulative);
    poei_free(states);
  }
}

poe_status poei_boltzmann_log_z(const void *self, double *log_z, poe_error *error) {
  const poei_boltzmann *m = self;
  poe_status status = need_states(m, error);
  if (status == POE_OK) {
    *log_z = m->states->log_z;
  }
  return status;
}

/* ---- draws ---- */

/* The first state whose running sum is above u times the total. */
static size_t find_state(const poei_boltzmann_states *states, double u) {
  size_t low = 0, high = states->count - 1;
  double target = u * states->cumulative[high];
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (states->cumulative[middle] > target) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  while (low > 0 && states->cumulative[low] == states->cumulative[low - 1]) { /* only by rounding at the very end */
    low--;
  }
  return low;
}

/* Draws the units of a layer with field[units] from uniforms or normals number[size]. */
static void draw_layer(const poei_boltzmann *m, size_t layer, const double *number, double *field, double *x) {
  size_t n = m->size[layer];
  double *f = field + m->start[layer];
  if (layer == 0 && m->scale != NULL) {
    for (size_t i = 0; i < n; i++) {
      double sd = 1.0 / m->scale[i];
      x[i] = m->bias[i] + sd * (sd * f[i] + number[i]);
    }
    return;
  }
  for (size_t i = 0; i < n; i++) {
    f[i] = -f[i];
  }
  poei_vexp(f, f, n); /* infinite: probability 0 */
  for (size_t i = 0; i < n; i++) {
    x[i] = number[i] * (1.0 + f[i]) < 1.0 ? 1.0 : 0.0;
  }
}

/* The units of the side in state s: those that are coordinates go to x[dim], their couplings to the fields. */
static void place_state(const poei_boltzmann *m, size_t s, double *field, double *x) {
  size_t parity = m->states->parity, side = poei_boltzmann_side(m, 0, parity);
  for (size_t l = parity; l < m->layers && m->start[l] < m->dim; l += 2) {
    memset(x + m->start[l], 0, m->size[l] * sizeof *x);
  }
  for (size_t i = 0; i < side; i++) {
    if ((s >> i & 1) != 0) {
      size_t layer, unit;
      poei_boltzmann_side_unit(m, 0, parity, i, &layer, &unit);
      poei_boltzmann_shift(m, layer, unit, 1.0, field);
      if (m->start[layer] < m->dim) {
        x[m->start[layer] + unit] = 1.0;
      }
    }
  }
}

poe_status poei_boltzmann_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                 poe_error *error) {
  const poei_boltzmann *m = self;
  poe_status status = need_states(m, error);
  if (status != POE_OK) {
    return status;
  }
  size_t mark = poe_scratch_mark(scratch), other = 1 - m->states->parity;
  double *field = poe_scratch_doubles(scratch, m->units), *number = poe_scratch_doubles(scratch, m->units);
  for (size_t i = 0; i < rows.n; i++) {
    double *x = rows.x + i * rows.ld;
    poe_stream stream = poe_stream_open(at[i]); /* the state reads the row's own sequence, each layer a child's */
    poei_boltzmann_quiet(m, field);
    place_state(m, find_state(m->states, poe_stream_uniform(&stream)), field, x);
    for (size_t l = other; l < m->layers && m->start[l] < m->dim; l += 2) {
      poe_rng own = poe_rng_child(at[i], (uint32_t)l + 1);
      if (l == 0 && m->scale != NULL) {
        poe_rng_normals(own, m->size[l], number);
      } else {
        poe_rng_uniforms(own, m->size[l], number);
      }
      draw_layer(m, l, number, field, x + m->start[l]);
    }
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}
