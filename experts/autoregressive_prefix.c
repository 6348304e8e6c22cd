/* One coordinate after the other of autoregressive(x | file=...) (experts/autoregressive.h).
 *
 * The state of a network over sequences is the one that it carries from position to position, beside the numbers of the
 * position at hand; other networks look again at the whole row whenever the next coordinate depends on
 * something new. */
#include <string.h>

#include "experts/autoregressive.h"

enum { PREFIX_ALIGNMENT = 64 };

/* The state: how many coordinates are known, and were when the network was asked last; whether it has been asked for
 * the next one's parameters; whether an end came. Behind it, aligned: numbers x, y, and the network's own state.
 *   walked:  x[coordinates of a position] the last position that is known, then the one that becomes so; y its output
 *   else:    x[d] the row, y[outputs] */
typedef struct prefix_state {
  size_t known, asked;
  bool seen, ended;
} prefix_state;

static size_t prefix_aligned(size_t bytes) {
  return (bytes + PREFIX_ALIGNMENT - 1) / PREFIX_ALIGNMENT * PREFIX_ALIGNMENT;
}

/* How many numbers x has, and y. */
static size_t prefix_inputs(const poei_autoregressive *a) {
  return a->positions > 0 ? a->d / a->positions : a->d;
}

static size_t prefix_outputs(const poei_autoregressive *a) {
  return a->positions > 0 ? poei_autoregressive_width(a) : poei_net_out_dim(a->net);
}

static double *prefix_x(prefix_state *s) {
  return (double *)(void *)((unsigned char *)s + prefix_aligned(sizeof *s));
}

static double *prefix_y(const poei_autoregressive *a, prefix_state *s) {
  return prefix_x(s) + prefix_inputs(a);
}

static size_t prefix_own_bytes(const poei_autoregressive *a) {
  return prefix_aligned(sizeof(prefix_state)) + prefix_aligned((prefix_inputs(a) + prefix_outputs(a)) * sizeof(double));
}

static size_t prefix_state_bytes(const void *self) {
  const poei_autoregressive *a = self;
  return prefix_own_bytes(a) + (a->positions > 0 ? poei_net_state(a->net, 1) : 0);
}

static size_t prefix_scratch(const void *self) {
  return poei_autoregressive_scratch(self, POE_WANT_LOGP, 1);
}

static const size_t *prefix_order(const void *self) {
  return ((const poei_autoregressive *)self)->turn;
}

static poe_status prefix_open(const void *self, void *state, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  memset(state, 0, prefix_state_bytes(self));
  return POE_OK;
}

/* The network's output for the next coordinate, if it is not there yet. */
static void prefix_see(const poei_autoregressive *a, prefix_state *s, poe_scratch *scratch) {
  if (s->seen) {
    return;
  }
  s->seen = true;
  s->asked = s->known;
  if (a->positions == 0) {
    poei_net_eval(a->net, (poe_rows){.n = 1, .d = a->d, .ld = a->d, .x = prefix_x(s)}, prefix_y(a, s),
                  poei_net_out_dim(a->net), scratch);
    return;
  }
  size_t each = prefix_inputs(a), at = s->known / each;
  poei_net_step(a->net, true, 1, at, at == 0 ? NULL : prefix_x(s), each, prefix_y(a, s), prefix_outputs(a),
                (unsigned char *)s + prefix_own_bytes(a), scratch);
}

/* t[parameters] of the next coordinate. */
static void prefix_next(const poei_autoregressive *a, prefix_state *s, double *t, poe_scratch *scratch) {
  prefix_see(a, s, scratch);
  size_t first = a->positions > 0 ? s->known / prefix_inputs(a) * prefix_outputs(a) : 0;
  poei_autoregressive_gather(a, prefix_y(a, s), first, a->turn[s->known], t);
}

static poe_status prefix_table(const void *self, void *state, double *log_p, poe_scratch *scratch, poe_error *error) {
  (void)error;
  const poei_autoregressive *a = self;
  if (((prefix_state *)state)->ended) {
    for (size_t v = 0; v < a->conditional.values; v++) {
      log_p[v] = poei_conditional_log_padding(&a->conditional, (double)v);
    }
    return POE_OK;
  }
  size_t mark = poe_scratch_mark(scratch);
  double *t = poe_scratch_doubles(scratch, a->conditional.parameters);
  prefix_next(a, state, t, scratch);
  poei_conditional_table(&a->conditional, t, log_p);
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

static poe_status prefix_density(const void *self, void *state, size_t n, const double *x, double *log_p,
                                 poe_scratch *scratch, poe_error *error) {
  (void)error;
  const poei_autoregressive *a = self;
  size_t mark = poe_scratch_mark(scratch);
  bool ended = ((prefix_state *)state)->ended;
  double *t = poe_scratch_doubles(scratch, a->conditional.parameters);
  if (!ended) {
    prefix_next(a, state, t, scratch);
  }
  for (size_t i = 0; i < n; i++) {
    log_p[i] = ended ? poei_conditional_log_padding(&a->conditional, x[i])
                     : poei_conditional_log_p(&a->conditional, t, x[i], NULL, NULL);
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

/* A network that is walked through must have passed every position before the next; others look again only when the
 * next one depends on what came since. */
static poe_status prefix_step(const void *self, void *state, double value, poe_scratch *scratch, poe_error *error) {
  (void)error;
  const poei_autoregressive *a = self;
  prefix_state *s = state;
  if (s->ended) { /* nobody will ask the network again */
    s->known++;
    return POE_OK;
  }
  s->ended = a->conditional.ends && value == a->conditional.end;
  if (a->positions > 0) {
    size_t each = prefix_inputs(a);
    prefix_see(a, s, scratch);
    prefix_x(s)[s->known++ % each] = value;
    s->seen = s->known % each != 0;
    return POE_OK;
  }
  prefix_x(s)[a->turn[s->known++]] = value;
  s->seen = s->seen && s->known < a->d && a->need[s->known] <= s->asked;
  return POE_OK;
}

const poe_prefix_ops poei_autoregressive_prefix = {
    .state_bytes = prefix_state_bytes,
    .scratch = prefix_scratch,
    .order = prefix_order,
    .open = prefix_open,
    .table = prefix_table,
    .density = prefix_density,
    .step = prefix_step,
};
