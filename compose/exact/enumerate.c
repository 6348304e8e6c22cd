/* All-discrete targets of few states: log Z = log sum_s p(s), and draws by inversion of the cumulative sum.
 *
 * The whole table of cumulative probabilities is kept; a draw is one uniform number and a binary search, so each row is
 * a function of its address alone. Values are those of the target itself.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/numeric.h"
#include "compose/nodes/node.h"
#include "core/alloc.h"
#include "core/numerics.h"

/* ---- evaluating from the planner ---- */

poe_status poei_evaluator_open(const poe_expert *expert, poei_evaluator *evaluator, poe_error *error) {
  evaluator->expert = expert;
  evaluator->stop = NULL;
  evaluator->scratch = poe_scratch_create(poe_expert_scratch(expert, POE_WANT_LOGP, POEI_EVALUATOR_ROWS));
  return evaluator->scratch == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
}

void poei_evaluator_close(poei_evaluator *evaluator) {
  poe_scratch_destroy(evaluator->scratch);
}

poe_status poei_evaluator_run(poei_evaluator *evaluator, size_t n, const double *x, double *value, poe_error *error) {
  size_t d = poe_expert_traits(evaluator->expert)->dim;
  double one = 1.0;
  poe_status status = POE_OK;
  memset(value, 0, n * sizeof *value);
  for (size_t first = 0; first < n && status == POE_OK; first += POEI_EVALUATOR_ROWS) {
    size_t count = n - first < POEI_EVALUATOR_ROWS ? n - first : POEI_EVALUATOR_ROWS;
    if (evaluator->stop != NULL && atomic_load(evaluator->stop)) {
      return poe_error_set(error, POE_E_INTERRUPTED, "interrupted while integrating numerically");
    }
    status = poe_expert_eval_add(evaluator->expert, (poe_rows){count, d, d, &x[first * d]}, (poe_weights){&one, 0},
                                 (poe_accum){.logp = &value[first]}, evaluator->scratch, error);
  }
  return status;
}

/* ---- the expert ---- */

typedef struct enumeration {
  poe_expert *target;
  size_t states;
  size_t *cardinality; /* [dim]                                                    */
  double *cumulative;  /* [states] p(0) + ... + p(s), relative to the largest; last = total */
  double log_z;
} enumeration;

static void enumeration_destroy(void *state) {
  enumeration *self = state;
  poe_expert_release(self->target);
  poei_free(self->cardinality);
  poei_free(self->cumulative);
  poei_free(self);
}

static void enumeration_traits(const void *state, poe_traits *traits) {
  *traits = *poe_expert_traits(((const enumeration *)state)->target);
  traits->capabilities &= POE_CAN_EVAL;
  traits->capabilities |= POE_CAN_SAMPLE | POE_CAN_LOG_Z;
}

static size_t enumeration_scratch(const void *state, unsigned want, size_t n) {
  const enumeration *self = state;
  return (want & POE_WANT_SAMPLE) != 0 ? 0 : poe_expert_scratch(self->target, POE_WANT_LOGP, n);
}

static poe_status enumeration_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                       poe_scratch *scratch, poe_error *error) {
  return poe_expert_eval_add(((const enumeration *)state)->target, rows, weights, out, scratch, error);
}

/* x[dim] of state s, first coordinate slowest. */
static void state_point(const enumeration *self, size_t s, double *x) {
  const poe_traits *traits = poe_expert_traits(self->target);
  for (size_t j = traits->dim; j-- > 0;) {
    x[j] = traits->support[j].low + (double)(s % self->cardinality[j]);
    s /= self->cardinality[j];
  }
}

static poe_status enumeration_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                     poe_error *error) {
  (void)scratch;
  (void)error;
  const enumeration *self = state;
  for (size_t i = 0; i < rows.n; i++) {
    poe_stream stream = poe_stream_open(at[i]);
    double u = poe_stream_uniform(&stream) * self->cumulative[self->states - 1];
    size_t low = 0, high = self->states - 1; /* the first state whose cumulative sum exceeds u */
    while (low < high) {
      size_t middle = low + (high - low) / 2;
      if (self->cumulative[middle] > u) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    state_point(self, low, &rows.x[i * rows.ld]);
  }
  return POE_OK;
}

static poe_status enumeration_log_z(const void *state, double *log_z, poe_error *error) {
  (void)error;
  *log_z = ((const enumeration *)state)->log_z;
  return POE_OK;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops enumeration_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "enumeration",
    .doc = "a discrete density with all its states at hand",
    .params = no_params,
    .create = poei_node_create,
    .destroy = enumeration_destroy,
    .traits = enumeration_traits,
    .scratch = enumeration_scratch,
    .eval_add = enumeration_eval_add,
    .sample = enumeration_sample,
    .log_z = enumeration_log_z,
};

/* ---- making ---- */

size_t poei_joint_states(const poe_expert *expert, size_t limit) {
  const poe_traits *traits = poe_expert_traits(expert);
  size_t states = 1;
  for (size_t j = 0; j < traits->dim; j++) {
    size_t own = poei_support_states(&traits->support[j]);
    if (own == 0 || !poei_mul_size(states, own, &states) || states > limit) {
      return 0;
    }
  }
  return traits->dim == 0 ? 0 : states;
}

/* Turns log-densities log_p[states] into cumulative sums, in place. */
static poe_status accumulate(enumeration *self, poe_error *error) {
  double *p = self->cumulative;
  for (size_t s = 0; s < self->states; s++) {
    if (p[s] == INFINITY) {
      return poe_error_set(error, POE_E_IMPROPER, "a divisor is 0 where the rest is not, in state %zu of %zu", s,
                           self->states);
    }
    if (isnan(p[s])) {
      return poe_error_set(error, POE_E_NUMERIC, "the density is not a number in state %zu of %zu", s, self->states);
    }
  }
  self->log_z = poei_log_sum_exp(p, self->states, 1);
  if (self->log_z == -INFINITY) {
    return poe_error_set(error, POE_E_EMPTY, "every one of the %zu states has probability 0", self->states);
  }
  double total = 0.0, lost = 0.0; /* Neumaier's sum, kept monotone */
  for (size_t s = 0; s < self->states; s++) {
    double value = exp(p[s] - self->log_z), next = total + value;
    lost += fabs(total) >= value ? (total - next) + value : (value - next) + total;
    total = next;
    p[s] = total + lost;
  }
  return POE_OK;
}

static poe_status fill(enumeration *self, poe_error *error) {
  size_t dim = poe_expert_traits(self->target)->dim;
  double *x = poei_alloc(POEI_EVALUATOR_ROWS * dim, sizeof *x);
  if (x == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poei_evaluator evaluator;
  poe_status status = poei_evaluator_open(self->target, &evaluator, error);
  for (size_t first = 0; first < self->states && status == POE_OK; first += POEI_EVALUATOR_ROWS) {
    size_t count = self->states - first < POEI_EVALUATOR_ROWS ? self->states - first : POEI_EVALUATOR_ROWS;
    for (size_t k = 0; k < count; k++) {
      state_point(self, first + k, &x[k * dim]);
    }
    status = poei_evaluator_run(&evaluator, count, x, &self->cumulative[first], error);
  }
  poei_evaluator_close(&evaluator);
  poei_free(x);
  return status == POE_OK ? accumulate(self, error) : status;
}

poe_status poei_enumeration_create(const poe_expert *target, poe_expert **out, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  enumeration *self = poei_calloc(1, sizeof *self);
  if (self == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  self->target = poe_expert_retain(target);
  self->states = poei_joint_states(target, SIZE_MAX);
  self->cardinality = poei_alloc(traits->dim, sizeof *self->cardinality);
  self->cumulative = poei_alloc(self->states, sizeof *self->cumulative);
  poe_status status = POE_OK;
  if (self->cardinality == NULL || self->cumulative == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else {
    for (size_t j = 0; j < traits->dim; j++) {
      self->cardinality[j] = poei_support_states(&traits->support[j]);
    }
    status = fill(self, error);
  }
  if (status != POE_OK) {
    enumeration_destroy(self);
    return status;
  }
  return poei_node_wrap(&enumeration_ops, self, out, error);
}
