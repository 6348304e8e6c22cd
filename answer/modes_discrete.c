/* The search for modes (modes.h), discrete and mixed coordinates.
 *
 * Few joint values: all are looked at, and the best are exact. More: max-product elimination where the target is a
 * factor graph of small treewidth, exact too; else coordinate ascent from many starts (each
 * coordinate takes its best value in turn until none changes; Besag 1986, "iterated conditional modes"). Mixed: the
 * continuous search for each joint value of the discrete coordinates.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "answer/modes_parts.h"
#include "compose/exact/discrete.h"
#include "compose/nodes/nodes.h"
#include "core/alloc.h"

enum {
  ENUMERATED = 1 << 12,  /* looked at one by one without asking for better */
  MOST_STATES = 1 << 20, /* looked at one by one                          */
  MOST_BRANCHES = 256,   /* searched one by one in their continuous rest  */
  MOST_SWEEPS = 1000     /* of coordinate ascent; each step only ascends  */
};

/* ---- joint values ---- */

/* Number of joint values of the discrete coordinates, SIZE_MAX when there are too many to count. *infinite: a
 * coordinate has infinitely many. */
static size_t joint_states(const poe_traits *traits, bool *infinite) {
  size_t states = 1;
  *infinite = false;
  for (size_t j = 0; j < traits->dim; j++) {
    *infinite = *infinite ||
                (traits->support[j].kind == POE_DISCRETE && !(traits->support[j].high - traits->support[j].low < 9e15));
  }
  for (size_t j = 0; j < traits->dim; j++) {
    const poe_support *s = &traits->support[j];
    if (s->kind == POE_DISCRETE &&
        (!(s->high - s->low < 9e15) || !poei_mul_size(states, (size_t)(s->high - s->low) + 1, &states))) {
      return SIZE_MAX;
    }
  }
  return states;
}

/* The discrete coordinates of x[dim] at joint value `state`, the first slowest. */
static void state_point(const poe_traits *traits, size_t state, double *x) {
  for (size_t j = traits->dim; j-- > 0;) {
    const poe_support *s = &traits->support[j];
    if (s->kind == POE_DISCRETE) {
      size_t values = (size_t)(s->high - s->low) + 1;
      x[j] = s->low + (double)(state % values);
      state /= values;
    }
  }
}

/* Keeps a point among the `keep` best, in order; equal ones in the order they came. */
static void modes_offer(poei_modes *modes, size_t keep, const double *x, double value, poei_mode_end end,
                        bool at_bound) {
  size_t d = modes->dim, at = modes->n;
  if (modes->n == keep && !(value > modes->log_density[keep - 1])) {
    return;
  }
  while (at > 0 && value > modes->log_density[at - 1]) {
    at--;
  }
  size_t last = modes->n < keep ? modes->n++ : keep - 1;
  memmove(modes->x + (at + 1) * d, modes->x + at * d, (last - at) * d * sizeof *modes->x);
  memmove(modes->log_density + at + 1, modes->log_density + at, (last - at) * sizeof *modes->log_density);
  memmove(modes->starts + at + 1, modes->starts + at, (last - at) * sizeof *modes->starts);
  memcpy(modes->x + at * d, x, d * sizeof *x);
  memmove(modes->end + at + 1, modes->end + at, (last - at) * sizeof *modes->end);
  memmove(modes->at_bound + at + 1, modes->at_bound + at, (last - at) * sizeof *modes->at_bound);
  modes->log_density[at] = value;
  modes->starts[at] = 1;
  modes->end[at] = end;
  modes->at_bound[at] = at_bound;
}

static poe_status modes_any(const poei_modes *modes, poe_error *error) {
  return modes->n > 0 ? POE_OK : poe_error_set(error, POE_E_EMPTY, "the density is 0 at every point looked at");
}

/* ---- all of them ---- */

enum { CHUNK = 16 * POEI_TILE };

static poe_status enumerate(poei_session *session, const poe_expert *target, size_t states, size_t keep,
                            poei_modes *modes, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  size_t d = traits->dim;
  double *x = poei_alloc(CHUNK * d, sizeof *x), *value = poei_alloc(CHUNK, sizeof *value);
  poei_runner *runner = NULL;
  keep = keep < states ? keep : states;
  poe_status status = x == NULL || value == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  if (status == POE_OK) {
    status = poei_modes_make(keep, d, modes, error);
  }
  if (status == POE_OK) {
    status = poei_runner_open(session, poe_expert_scratch(target, POE_WANT_LOGP, POEI_TILE), &runner, error);
  }
  for (size_t first = 0; first < states && status == POE_OK; first += CHUNK) {
    size_t n = states - first < CHUNK ? states - first : CHUNK;
    for (size_t i = 0; i < n; i++) {
      state_point(traits, first + i, x + i * d);
    }
    status = poei_runner_rows(runner, target, (poe_rows){n, d, d, x}, value, NULL, error);
    for (size_t i = 0; i < n && status == POE_OK; i++) {
      if (value[i] > -INFINITY) {
        modes_offer(modes, keep, x + i * d, value[i], POEI_END_NONE, false);
      }
    }
    if (status == POE_OK && poei_modes_stopped(session)) {
      status = poe_error_set(error, POE_E_INTERRUPTED, "interrupted at value %zu of %zu", first, states);
    }
  }
  if (status == POE_OK) {
    status = modes_any(modes, error);
  }
  if (status == POE_OK) {
    modes->exact = true;
    modes->distinct = modes->n;
    modes->evaluations = states;
    snprintf(modes->method, sizeof modes->method, "enumeration of %zu values", states);
  }
  poei_runner_close(runner);
  poei_free(x);
  poei_free(value);
  return status;
}

/* ---- elimination ---- */

/* The best by exact elimination; *done stays false where the target allows none. */
static poe_status eliminate(const poei_session *session, const poe_expert *target, const poei_plan *plan, size_t keep,
                            poei_modes *modes, bool *done, poe_error *error) {
  poei_plan *own = NULL;
  poe_error refusal = {0};
  poei_plan_options options = poei_session_plan_options(session);
  options.values_only = true; /* nothing is drawn */
  *done = false;
  poe_status status = plan == NULL ? poei_plan_build(target, &options, &own, &refusal) : POE_OK;
  if (status == POE_OK) {
    status = poei_modes_make(keep, poe_expert_traits(target)->dim, modes, &refusal);
  }
  if (status == POE_OK) {
    status =
        poei_plan_best(plan == NULL ? own : plan, &options, keep, &modes->n, modes->x, modes->log_density, &refusal);
  }
  poei_plan_destroy(own);
  if (status == POE_E_CAPABILITY) {
    poei_modes_free(modes);
    return POE_OK;
  }
  if (status != POE_OK) {
    if (error != NULL) {
      *error = refusal;
    }
    return status;
  }
  *done = true;
  for (size_t k = 0; k < modes->n; k++) {
    modes->starts[k] = 1;
  }
  modes->exact = true;
  modes->distinct = modes->n;
  snprintf(modes->method, sizeof modes->method, "max-product elimination");
  return POE_OK;
}

/* ---- coordinate ascent ---- */

typedef struct climb {
  const poe_expert *target;
  poei_runner *runner;
  size_t d, widest;
  double *row;   /* [widest, d] candidates */
  double *value; /* [widest]               */
  size_t evaluations;
  const poe_local_ops *local; /* NULL: candidates are evaluated whole */
  void *state;                /* of the single-site view              */
  poe_scratch *scratch;
} climb;

static poe_status climb_open(climb *c, const poei_session *session, const poe_expert *target, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  *c = (climb){.target = target, .d = traits->dim, .local = poe_expert_local(target)};
  for (size_t j = 0; j < c->d; j++) {
    size_t values = (size_t)(traits->support[j].high - traits->support[j].low) + 1;
    c->widest = values > c->widest ? values : c->widest;
  }
  size_t numbers = 0;
  bool fits = poei_mul_size(c->widest, c->d, &numbers);
  const void *self = poe_expert_self(target);
  c->row = fits ? poei_alloc(numbers, sizeof *c->row) : NULL;
  c->value = poei_alloc(c->widest, sizeof *c->value);
  c->scratch =
      c->local == NULL ? NULL : poe_scratch_create(c->local->scratch(self) + c->local->state_bytes(self) + 256);
  if (c->row == NULL || c->value == NULL || (c->local != NULL && c->scratch == NULL)) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (c->local != NULL) { /* the state stays at the bottom of the arena */
    c->state = poe_scratch_bytes(c->scratch, c->local->state_bytes(self));
  }
  return poei_runner_open(session, poe_expert_scratch(target, POE_WANT_LOGP, POEI_TILE), &c->runner, error);
}

static void climb_close(climb *c) {
  poei_runner_close(c->runner);
  poe_scratch_destroy(c->scratch);
  poei_free(c->row);
  poei_free(c->value);
}

/* c->value[v]: the log-density where coordinate j of x[d] has its value v, up to a constant. */
static poe_status climb_look(climb *c, size_t j, const double *x, size_t values, poe_error *error) {
  if (c->local != NULL) {
    return c->local->conditional(poe_expert_self(c->target), c->state, j, c->value, c->scratch, error);
  }
  for (size_t v = 0; v < values; v++) {
    memcpy(c->row + v * c->d, x, c->d * sizeof *x);
    c->row[v * c->d + j] = poe_expert_traits(c->target)->support[j].low + (double)v;
  }
  c->evaluations += values;
  return poei_runner_rows(c->runner, c->target, (poe_rows){values, c->d, c->d, c->row}, c->value, NULL, error);
}

/* Coordinate j of x[d] takes its best value; *changed becomes true when it was another one. */
static poe_status climb_one(climb *c, size_t j, double *x, bool *changed, poe_error *error) {
  const poe_support *s = &poe_expert_traits(c->target)->support[j];
  size_t values = (size_t)(s->high - s->low) + 1, now = (size_t)(x[j] - s->low), best = now;
  poe_status status = climb_look(c, j, x, values, error);
  for (size_t v = 0; v < values && status == POE_OK; v++) {
    best = c->value[v] > c->value[best] ? v : best;
  }
  if (status != POE_OK || best == now) {
    return status;
  }
  x[j] = s->low + (double)best;
  *changed = true;
  return c->local == NULL ? POE_OK : c->local->set(poe_expert_self(c->target), c->state, j, x[j], c->scratch, error);
}

static poe_status climb_from(climb *c, double *x, double *level, poe_error *error) {
  bool changed = true;
  poe_status status =
      c->local == NULL ? POE_OK : c->local->open(poe_expert_self(c->target), x, c->state, c->scratch, error);
  for (size_t sweep = 0; changed && sweep < MOST_SWEEPS && status == POE_OK; sweep++) {
    changed = false;
    for (size_t j = 0; j < c->d && status == POE_OK; j++) {
      status = climb_one(c, j, x, &changed, error);
    }
  }
  c->evaluations++;
  return status == POE_OK ? poei_runner_rows(c->runner, c->target, (poe_rows){1, c->d, c->d, x}, level, NULL, error)
                          : status;
}

/* One more end: a new mode, or one more start of a known one. */
static void climb_note(poei_modes *modes, const double *x, double level) {
  for (size_t k = 0; k < modes->n; k++) {
    if (memcmp(modes->x + k * modes->dim, x, modes->dim * sizeof *x) == 0) {
      modes->starts[k]++;
      return;
    }
  }
  size_t room = modes->n + 1;
  modes_offer(modes, room, x, level, POEI_END_NONE, false);
}

static poe_status ascend(poei_session *session, const poe_expert *target, const poei_mode_options *options,
                         poei_modes *modes, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  climb c = {0};
  double *x = poei_alloc(traits->dim, sizeof *x);
  poe_status status = x == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                : poei_modes_make(options->starts, traits->dim, modes, error);
  if (status == POE_OK) {
    status = climb_open(&c, session, target, error);
  }
  for (size_t i = 0; i < options->starts && status == POE_OK; i++) {
    poe_rng at = poe_rng_child(poe_rng_seed(options->seed), 0x6d6f6465u);
    at.chain = (uint32_t)i;
    poe_rng_uniforms(at, c.d, x);
    for (size_t j = 0; j < c.d; j++) {
      const poe_support *s = &traits->support[j];
      x[j] = i < options->n_init ? options->init[i * c.d + j] : s->low + floor(x[j] * (s->high - s->low + 1.0));
    }
    double level = -INFINITY;
    status = climb_from(&c, x, &level, error);
    if (status == POE_OK && level > -INFINITY) {
      climb_note(modes, x, level);
    }
    if (status == POE_OK && poei_modes_stopped(session)) {
      status = poe_error_set(error, POE_E_INTERRUPTED, "interrupted after %zu starts", i + 1);
    }
  }
  if (status == POE_OK) {
    status = modes_any(modes, error);
  }
  if (status == POE_OK) {
    modes->distinct = modes->n;
    modes->n = modes->n < options->keep ? modes->n : options->keep;
    modes->evaluations = c.evaluations;
    snprintf(modes->method, sizeof modes->method, "coordinate ascent from %zu starts", options->starts);
  }
  climb_close(&c);
  poei_free(x);
  return status;
}

/* ---- both kinds ---- */

/* The modes of the continuous coordinates where the discrete ones, index[n], have values value[n]. */
static poe_status branch_modes(poei_session *session, const poe_expert *target, size_t n, const size_t *index,
                               const double *value, const poei_mode_options *options, poei_modes *own,
                               poe_error *error) {
  poe_expert *rest = NULL;
  poe_status status = poei_given_create(target, n, index, value, &rest, error);
  if (status == POE_OK) {
    status = poei_modes_continuous(session, rest, NULL, options, own, error);
  }
  poe_expert_release(rest);
  return status;
}

/* point[dim] from a branch's own coordinates. */
static void branch_point(const poe_traits *traits, const double *discrete, const double *x, double *point) {
  for (size_t j = 0, c = 0; j < traits->dim; j++) {
    point[j] = traits->support[j].kind == POE_DISCRETE ? discrete[j] : x[c++];
  }
}

static poe_status branches(poei_session *session, const poe_expert *target, size_t states,
                           const poei_mode_options *options, poei_modes *modes, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  size_t d = traits->dim, n = 0;
  double *discrete = poei_calloc(d, sizeof *discrete), *value = poei_alloc(d, sizeof *value);
  double *point = poei_alloc(d, sizeof *point);
  size_t *index = poei_alloc(d, sizeof *index);
  poe_status status = discrete == NULL || value == NULL || point == NULL || index == NULL
                          ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                          : poei_modes_make(options->keep, d, modes, error);
  for (size_t j = 0; j < d && status == POE_OK; j++) {
    if (traits->support[j].kind == POE_DISCRETE) {
      index[n++] = j;
    }
  }
  for (size_t s = 0; s < states && status == POE_OK; s++) {
    poei_modes own = {0};
    state_point(traits, s, discrete);
    for (size_t k = 0; k < n; k++) {
      value[k] = discrete[index[k]];
    }
    poei_mode_options here = *options;
    here.n_init = 0;
    here.seed = poei_part_seed(options->seed, s);
    status = branch_modes(session, target, n, index, value, &here, &own, error);
    if (status == POE_E_EMPTY || status == POE_E_NUMERIC) {
      status = POE_OK; /* this joint value is impossible, or was not found possible */
      continue;
    }
    for (size_t k = 0; k < own.n && status == POE_OK; k++) {
      branch_point(traits, discrete, own.x + k * own.dim, point);
      modes_offer(modes, options->keep, point, own.log_density[k], own.end[k], own.at_bound[k]);
    }
    modes->distinct += own.distinct;
    modes->unconverged += own.unconverged;
    modes->evaluations += own.evaluations;
    poei_modes_free(&own);
  }
  if (status == POE_OK) {
    status = modes_any(modes, error);
  }
  if (status == POE_OK) {
    snprintf(modes->method, sizeof modes->method, "L-BFGS for each of %zu joint values", states);
  }
  poei_free(discrete);
  poei_free(value);
  poei_free(point);
  poei_free(index);
  return status;
}

/* ---- which of them ---- */

poe_status poei_modes_find(poei_session *session, const poe_expert *target, const poei_plan *plan,
                           const poei_mode_options *options, poei_modes *modes, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  bool infinite = false;
  size_t states = joint_states(traits, &infinite), discrete = 0;
  for (size_t j = 0; j < traits->dim; j++) {
    discrete += traits->support[j].kind == POE_DISCRETE;
  }
  poe_status status = POE_OK;
  bool done = false;
  if (discrete == traits->dim && states > ENUMERATED && !infinite) {
    status = eliminate(session, target, plan, options->keep, modes, &done, error);
  }
  if (status != POE_OK || done) {
    /* that was it */
  } else if (discrete == 0) {
    status = poei_modes_continuous(session, target, plan, options, modes, error);
  } else if (discrete < traits->dim && states <= MOST_BRANCHES) {
    status = branches(session, target, states, options, modes, error);
  } else if (discrete < traits->dim) {
    poe_error_set(error, POE_E_CAPABILITY,
                  "the discrete coordinates have more than %d joint values to search one by one", MOST_BRANCHES);
    poe_error_hint(error, "give values to some of them with `given` or --clamp");
    status = POE_E_CAPABILITY;
  } else if (states <= MOST_STATES) {
    status = enumerate(session, target, states, options->keep, modes, error);
  } else if (infinite) {
    status = poe_error_set(error, POE_E_CAPABILITY, "a discrete coordinate has infinitely many values");
  } else {
    status = ascend(session, target, options, modes, error);
  }
  if (status != POE_OK) {
    poei_modes_free(modes);
  }
  return status;
}
