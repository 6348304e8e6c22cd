/* Counting, drawing and testing the accepted sequences of one length.
 *
 *   N_t(s) = number of ways to go on from state s with the symbols t .. d-1 and end in acceptance
 *          = sum over classes c of size_c N_(t+1)(next(s, c)),   N_d(s) = [s accepts]
 *
 * in the log domain, since N grows like k^d. log Z = log N_0(start). A draw takes class c with probability
 * size_c N_(t+1)(next) / N_t(s), and a symbol of the class evenly: every accepted sequence is equally likely. Of the d
 * vectors N_t only every sqrt(d)-th is kept; drawing counts again from there, once for all rows.
 */
#include "experts/accepted.h"

#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/family.h"
#include "experts/messages.h"
#include "experts/states.h"

/* ---- counting ---- */

static double class_size(const poei_dfa *dfa, size_t c) {
  return (double)(dfa->member_start[c + 1] - dfa->member_start[c]);
}

/* log sum_c size_c exp(after[next(s, c)] - shift) term by term, for sums too small to trust. */
static double count_exact(const poei_dfa *dfa, size_t s, const double *after, double shift) {
  const int32_t *next = dfa->next + s * dfa->classes;
  double total = -INFINITY;
  for (size_t c = 0; c < dfa->classes; c++) {
    if (next[c] >= 0) {
      total = poei_log_add(total, log(class_size(dfa, c)) + after[next[c]] - shift);
    }
  }
  return total;
}

/* before[states] = log N_t - shift from after = log N_(t+1); returns the shift. work[states]. */
static double count_step(const poei_dfa *dfa, const double *after, double *before, double *work) {
  double shift = -INFINITY;
  for (size_t s = 0; s < dfa->states; s++) {
    shift = after[s] > shift ? after[s] : shift;
  }
  shift = shift == -INFINITY ? 0.0 : shift;
  for (size_t s = 0; s < dfa->states; s++) {
    work[s] = after[s] - shift;
  }
  poei_vexp(work, work, dfa->states);
  for (size_t s = 0; s < dfa->states; s++) {
    const int32_t *next = dfa->next + s * dfa->classes;
    double sum = 0.0;
    for (size_t c = 0; c < dfa->classes; c++) {
      sum += next[c] >= 0 ? class_size(dfa, c) * work[next[c]] : 0.0;
    }
    before[s] = sum < 1e-250 ? count_exact(dfa, s, after, shift) : log(sum);
  }
  return shift;
}

/* Fills a->count and a->log_z. work[3, states]. */
static void count_all(poei_accepted *a, double *work) {
  const poei_dfa *dfa = &a->dfa;
  double *after = work, *before = work + dfa->states, *rest = work + 2 * dfa->states;
  poei_running_sum total = {0};
  for (size_t s = 0; s < dfa->states; s++) {
    after[s] = dfa->accept[s] ? 0.0 : -INFINITY;
  }
  for (size_t t = a->d; t > 0; t--) {
    if (t == a->d || t % a->segment == 0) {
      memcpy(a->count + (t - 1) / a->segment * dfa->states, after, dfa->states * sizeof *after);
    }
    poei_running_add(&total, count_step(dfa, after, before, rest));
    double *swap = after;
    after = before;
    before = swap;
  }
  poei_running_add(&total, after[dfa->start]);
  a->log_z = poei_running_total(&total);
}

/* ---- making ---- */

static poe_status accepted_fill(poei_accepted *a, poe_error *error) {
  size_t states = a->dfa.states, segments;
  a->segment = (size_t)ceil(sqrt((double)a->d));
  segments = (a->d + a->segment - 1) / a->segment;
  a->count = poei_alloc(segments, states * sizeof *a->count);
  a->support = poei_discrete_support(a->d, a->dfa.symbols);
  double *work = poei_alloc(states, 3 * sizeof *work);
  poe_status status = POE_OK;
  if (a->count == NULL || a->support == NULL || work == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory for an automaton");
  } else {
    count_all(a, work);
    if (a->log_z == -INFINITY) {
      status = poe_error_set(error, POE_E_EMPTY, "no sequence of length %zu is accepted", a->d);
    }
  }
  poei_free(work);
  return status == POE_OK ? poei_accepted_measure(a, error) : status;
}

poe_status poei_accepted_create(poei_dfa *dfa, size_t d, poei_accepted **accepted, poe_error *error) {
  poei_accepted *a = poei_calloc(1, sizeof *a);
  if (a == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for an automaton");
  }
  a->dfa = *dfa;
  a->d = d;
  poe_status status = accepted_fill(a, error);
  if (status != POE_OK) {
    memset(&a->dfa, 0, sizeof a->dfa); /* still the caller's */
    poei_accepted_destroy(a);
    return status;
  }
  memset(dfa, 0, sizeof *dfa);
  *accepted = a;
  return POE_OK;
}

void poei_accepted_destroy(void *self) {
  poei_accepted *a = self;
  if (a != NULL) {
    poei_dfa_release(&a->dfa);
    poei_free(a->count);
    poei_free(a->support);
    poei_free(a);
  }
}

void poei_accepted_traits(const void *self, poe_traits *traits) {
  const poei_accepted *a = self;
  *traits = (poe_traits){.dim = a->d, .support = a->support};
  traits->capabilities =
      POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z | POE_CAN_LOCAL | POE_CAN_ONEHOT;
  if (poei_discrete_small(a->d, a->dfa.symbols)) {
    traits->capabilities |= POE_CAN_FORM;
  }
  if (a->numbers > 0) {
    traits->capabilities |= POE_CAN_STRUCTURE;
  }
}

/* ---- values ---- */

static double accepted_value(const poei_accepted *a, const double *x) {
  int32_t state = (int32_t)a->dfa.start;
  for (size_t t = 0; t < a->d; t++) {
    if (isnan(x[t])) {
      return NAN;
    }
    state = poei_dfa_next(&a->dfa, state, poei_state_index(x[t], 0.0, a->dfa.symbols));
  }
  return state >= 0 && a->dfa.accept[state] ? 0.0 : -INFINITY;
}

poe_status poei_accepted_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                  poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  for (size_t i = 0; i < rows.n; i++) {
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], accepted_value(self, rows.x + i * rows.ld));
  }
  return POE_OK;
}

poe_status poei_accepted_log_z(const void *self, double *log_z, poe_error *error) {
  (void)error;
  *log_z = ((const poei_accepted *)self)->log_z;
  return POE_OK;
}

/* ---- draws ---- */

size_t poei_accepted_scratch(const void *self, unsigned want, size_t n) {
  const poei_accepted *a = self;
  if ((want & POE_WANT_ONEHOT) != 0) {
    return poei_onehot_scratch(&poei_accepted_local, self, a->d, a->support);
  }
  if ((want & POE_WANT_SAMPLE) == 0) {
    return 0;
  }
  return poe_scratch_need((a->segment + 1) * a->dfa.states, sizeof(double)) +
         poe_scratch_need(a->dfa.classes, sizeof(double)) + poe_scratch_need(n, sizeof(poe_stream)) +
         poe_scratch_need(n, sizeof(int32_t));
}

/* The next symbol from a state, with the counts after it; *state moves on. weight[classes]. */
static size_t draw_symbol(const poei_dfa *dfa, const double *after, int32_t *state, double *weight,
                          poe_stream *stream) {
  const int32_t *next = dfa->next + (size_t)*state * dfa->classes;
  double top = -INFINITY;
  for (size_t c = 0; c < dfa->classes; c++) {
    top = next[c] >= 0 && after[next[c]] > top ? after[next[c]] : top;
  }
  for (size_t c = 0; c < dfa->classes; c++) {
    weight[c] = next[c] >= 0 ? class_size(dfa, c) * exp(after[next[c]] - top) : 0.0;
  }
  size_t c = poe_stream_categorical(stream, weight, dfa->classes);
  size_t first = dfa->member_start[c], size = dfa->member_start[c + 1] - first;
  size_t which = size > 1 ? (size_t)(poe_stream_uniform(stream) * (double)size) : 0;
  *state = next[c];
  return dfa->member[first + (which < size ? which : size - 1)];
}

poe_status poei_accepted_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                poe_error *error) {
  (void)error;
  const poei_accepted *a = self;
  const poei_dfa *dfa = &a->dfa;
  size_t mark = poe_scratch_mark(scratch), q = dfa->states;
  double *work = poe_scratch_doubles(scratch, (a->segment + 1) * q), *count = work + q; /* [segment, states] */
  double *weight = poe_scratch_doubles(scratch, dfa->classes);
  poe_stream *stream = poe_scratch_bytes(scratch, rows.n * sizeof *stream);
  int32_t *state = poe_scratch_bytes(scratch, rows.n * sizeof *state);
  for (size_t i = 0; i < rows.n; i++) {
    stream[i] = poe_stream_open(at[i]);
    state[i] = (int32_t)dfa->start;
  }
  for (size_t low = 0; low < a->d; low += a->segment) {
    size_t steps = a->d - low < a->segment ? a->d - low : a->segment;
    memcpy(count + (steps - 1) * q, a->count + low / a->segment * q, q * sizeof *count);
    for (size_t t = steps - 1; t > 0; t--) { /* count[t] is N after symbol low + t */
      count_step(dfa, count + t * q, count + (t - 1) * q, work);
    }
    for (size_t i = 0; i < rows.n; i++) {
      for (size_t t = 0; t < steps; t++) {
        rows.x[i * rows.ld + low + t] = (double)draw_symbol(dfa, count + t * q, &state[i], weight, &stream[i]);
      }
    }
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}
