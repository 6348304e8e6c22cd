/* The single-site view of a hidden Markov model.
 *
 *   p(x_j = v, rest) = sum_z before_j[z] emission[z][v] after_j[z]
 *
 * with before_j[z] = p(z_j = z, x_0 .. x_(j-1)) and after_j[z] = p(x_(j+1) .. | z_j = z), each up to a factor. They are
 * kept from site to site: `set` at j leaves before_0..j and after_j.. as they are, so that a sweep along the sequence
 * costs one step, states^2, per site.
 */
#include <string.h>

#include "experts/hmm.h"
#include "experts/messages.h"
#include "experts/states.h"

typedef struct view {
  size_t forward, backward; /* before_0 .. forward and after_backward .. d-1 are up to date */
  double message[];         /* before [d, states], after [d, states], then symbols uint32_t[d] */
} view;

static double *view_before(const poei_hmm *h, view *v, size_t t) {
  return v->message + t * h->states;
}

static double *view_after(const poei_hmm *h, view *v, size_t t) {
  return v->message + (h->d + t) * h->states;
}

static uint32_t *view_symbols(const poei_hmm *h, view *v) {
  return (uint32_t *)(void *)(v->message + 2 * h->d * h->states);
}

static size_t hmm_state_bytes(const void *self) {
  const poei_hmm *h = self;
  return sizeof(view) + 2 * h->d * h->states * sizeof(double) + h->d * sizeof(uint32_t);
}

static size_t hmm_local_scratch(const void *self) {
  const poei_hmm *h = self;
  size_t most = h->states > h->k ? h->states : h->k;
  return poe_scratch_need(h->states, sizeof(double)) + poe_scratch_need(most, sizeof(double));
}

static poe_status hmm_open(const void *self, const double *x, void *state, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_hmm *h = self;
  view *v = state;
  uint32_t *symbol = view_symbols(h, v);
  for (size_t t = 0; t < h->d; t++) {
    symbol[t] = (uint32_t)poei_state_index(x[t], 0.0, h->k);
  }
  memcpy(view_before(h, v, 0), h->log_initial, h->states * sizeof(double));
  memset(view_after(h, v, h->d - 1), 0, h->states * sizeof(double));
  v->forward = 0;
  v->backward = h->d - 1;
  return POE_OK;
}

/* to = log of the message `from` seen with a symbol, taken one step by the matrix. seen[states], work[states or more].
 */
static void view_step(const poei_hmm *h, const double *p, const double *log_p, const double *from, size_t symbol,
                      double *to, double *seen, double *work) {
  double shift;
  for (size_t z = 0; z < h->states; z++) {
    seen[z] = from[z] + h->log_symbol[symbol * h->states + z];
  }
  poei_message_step(h->states, h->states, p, log_p, 1, seen, to, &shift, work);
}

static poe_status hmm_conditional(const void *self, void *state, size_t j, double *out, poe_scratch *scratch,
                                  poe_error *error) {
  (void)error;
  const poei_hmm *h = self;
  view *v = state;
  const uint32_t *symbol = view_symbols(h, v);
  size_t mark = poe_scratch_mark(scratch);
  double *seen = poe_scratch_doubles(scratch, h->states), shift;
  double *work = poe_scratch_doubles(scratch, h->states > h->k ? h->states : h->k);
  for (; v->forward < j; v->forward++) {
    size_t t = v->forward;
    view_step(h, h->transition, h->log_transition, view_before(h, v, t), symbol[t], view_before(h, v, t + 1), seen,
              work);
  }
  for (; v->backward > j; v->backward--) {
    size_t t = v->backward;
    view_step(h, h->back, h->log_back, view_after(h, v, t), symbol[t], view_after(h, v, t - 1), seen, work);
  }
  for (size_t z = 0; z < h->states; z++) {
    seen[z] = view_before(h, v, j)[z] + view_after(h, v, j)[z];
  }
  poei_message_step(h->states, h->k, h->emission, h->log_emission, 1, seen, out, &shift, work);
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

static poe_status hmm_set(const void *self, void *state, size_t j, double value, poe_scratch *scratch,
                          poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_hmm *h = self;
  view *v = state;
  view_symbols(h, v)[j] = (uint32_t)poei_state_index(value, 0.0, h->k);
  v->forward = v->forward < j ? v->forward : j;
  v->backward = v->backward > j ? v->backward : j;
  return POE_OK;
}

const poe_local_ops poei_hmm_local = {
    .state_bytes = hmm_state_bytes,
    .scratch = hmm_local_scratch,
    .open = hmm_open,
    .conditional = hmm_conditional,
    .set = hmm_set,
};
