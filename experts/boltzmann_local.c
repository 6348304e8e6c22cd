/* Layered Boltzmann machines one unit at a time.
 *
 * Over the visible units alone the state keeps the fields of layer 1, a = c + v'W, and F(a): flipping unit i moves a by
 * a row of W, so a conditional costs F at one more point. Over all units the state keeps the field of each, which is
 * the conditional; setting a unit moves its neighbours' fields. Fields of binary units add up without rounding
 * (boltzmann.c): a state depends on where it is, not on how it came there. With Gaussian visible units the fields are
 * computed afresh when one of those moves.
 */
#include <string.h>

#include "experts/boltzmann.h"

typedef struct local_state {
  double value;      /* F of the fields                                        */
  double flipped;    /* F with `coordinate` flipped                            */
  size_t coordinate; /* SIZE_MAX: none                                        */
  size_t outside;    /* coordinates that are neither 0 nor 1                   */
  bool known;        /* value is that of the fields                            */
} local_state;

enum { ALIGN = 64 };

static size_t local_fields(const poei_boltzmann *m) {
  return m->joint ? m->units : m->size[1];
}

/* x[dim] and the fields lie behind the head. */
static double *local_x(void *state) {
  return (double *)state + (sizeof(local_state) + ALIGN - 1) / ALIGN * (ALIGN / sizeof(double));
}

static double *local_field(const poei_boltzmann *m, void *state) {
  return local_x(state) + m->dim;
}

static size_t boltzmann_state_bytes(const void *self) {
  const poei_boltzmann *m = self;
  return (sizeof(local_state) + ALIGN - 1) / ALIGN * ALIGN + (m->dim + local_fields(m)) * sizeof(double);
}

static size_t boltzmann_local_scratch(const void *self) {
  const poei_boltzmann *m = self;
  return m->joint ? 0 : poe_scratch_need(m->size[1], sizeof(double)) + poei_boltzmann_sum_scratch(m, 1);
}

static bool is_gaussian(const poei_boltzmann *m, size_t j) {
  return m->scale != NULL && j < m->size[0];
}

/* The binary value that a coordinate counts as; one outside the support counts as 0. */
static double binary(double x) {
  return x == 1.0 ? 1.0 : 0.0;
}

static bool is_outside(const poei_boltzmann *m, size_t j, double x) {
  return is_gaussian(m, j) ? isnan(x) : x != 0.0 && x != 1.0;
}

static size_t layer_of(const poei_boltzmann *m, size_t unit) {
  size_t layer = 0;
  while (unit >= m->start[layer + 1]) {
    layer++;
  }
  return layer;
}

/* The fields of the hidden units when only the visible ones are coordinates: weight_0 starts at layer 1. */
static void shift_hidden(const poei_boltzmann *m, size_t j, double delta, double *field) {
  const double *row = m->weight[0] + j * m->size[1];
  for (size_t k = 0; k < m->size[1]; k++) {
    field[k] += delta * row[k];
  }
}

/* Gaussian units have no field: they are not the ones that are asked about. */
static void fields_afresh(const poei_boltzmann *m, void *state) {
  const double *x = local_x(state);
  double *field = local_field(m, state);
  memcpy(field, m->joint ? m->bias : m->bias + m->start[1], local_fields(m) * sizeof *field);
  for (size_t j = 0; j < (m->scale == NULL ? m->dim : m->size[0]); j++) {
    double value = m->scale == NULL ? binary(x[j]) : x[j];
    if (value == 0.0) {
      continue;
    }
    if (m->joint) {
      size_t layer = layer_of(m, j);
      poei_boltzmann_shift(m, layer, j - m->start[layer], value, field);
    } else {
      shift_hidden(m, j, value, field);
    }
  }
}

static poe_status boltzmann_open(const void *self, const double *x, void *state, poe_scratch *scratch,
                                 poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_boltzmann *m = self;
  local_state *local = state;
  *local = (local_state){.coordinate = SIZE_MAX};
  memcpy(local_x(state), x, m->dim * sizeof *x);
  for (size_t j = 0; j < m->dim; j++) {
    local->outside += is_outside(m, j, x[j]);
  }
  fields_afresh(m, state);
  return POE_OK;
}

/* out[0], out[1] of visible unit j, the hidden units summed out. */
static void marginal_conditional(const poei_boltzmann *m, local_state *local, size_t j, double *out,
                                 poe_scratch *scratch) {
  double *field = local_field(m, local), now = binary(local_x(local)[j]);
  size_t mark = poe_scratch_mark(scratch);
  if (!local->known) {
    poei_boltzmann_sum_out(m, 1, field, &local->value, NULL, scratch);
    local->known = true;
  }
  if (local->coordinate != j) {
    double *moved = poe_scratch_doubles(scratch, m->size[1]);
    memcpy(moved, field, m->size[1] * sizeof *moved);
    shift_hidden(m, j, 1.0 - 2.0 * now, moved);
    poei_boltzmann_sum_out(m, 1, moved, &local->flipped, NULL, scratch);
    local->coordinate = j;
  }
  out[0] = now == 0.0 ? local->value : local->flipped;
  out[1] = m->bias[j] + (now == 0.0 ? local->flipped : local->value);
  poe_scratch_release(scratch, mark);
}

static poe_status boltzmann_conditional(const void *self, void *state, size_t j, double *out, poe_scratch *scratch,
                                        poe_error *error) {
  (void)error;
  const poei_boltzmann *m = self;
  local_state *local = state;
  if (local->outside > (size_t)is_outside(m, j, local_x(state)[j])) {
    out[0] = out[1] = -INFINITY; /* whatever j is, another coordinate is outside */
  } else if (m->joint) {
    out[0] = 0.0;
    out[1] = local_field(m, state)[j];
  } else {
    marginal_conditional(m, local, j, out, scratch);
  }
  return POE_OK;
}

/* Coordinate j went to its other value: what the conditional found there is F now, and the way back is known too. */
static void flip(local_state *local, size_t j) {
  double before = local->value;
  local->known = local->known && local->coordinate == j;
  local->value = local->flipped;
  local->flipped = before;
  local->coordinate = local->known ? j : SIZE_MAX;
}

static poe_status boltzmann_set(const void *self, void *state, size_t j, double value, poe_scratch *scratch,
                                poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_boltzmann *m = self;
  local_state *local = state;
  double *x = local_x(state), delta = binary(value) - binary(x[j]);
  local->outside -= is_outside(m, j, x[j]);
  local->outside += is_outside(m, j, value);
  x[j] = value;
  if (is_gaussian(m, j)) {
    fields_afresh(m, state);
  } else if (delta != 0.0 && m->joint && m->scale == NULL) {
    size_t layer = layer_of(m, j);
    poei_boltzmann_shift(m, layer, j - m->start[layer], delta, local_field(m, state));
  } else if (delta != 0.0 && !m->joint) {
    shift_hidden(m, j, delta, local_field(m, state));
    flip(local, j);
  }
  return POE_OK;
}

const poe_local_ops poei_boltzmann_local = {
    .state_bytes = boltzmann_state_bytes,
    .scratch = boltzmann_local_scratch,
    .open = boltzmann_open,
    .conditional = boltzmann_conditional,
    .set = boltzmann_set,
};
