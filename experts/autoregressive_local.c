/* Single sites of autoregressive(x | file=...) over sequences of discrete coordinates (experts/autoregressive.h).
 *
 * What comes before a coordinate does not change with it: the network's state and the sum of log-densities up to there
 * are kept for some positions (checkpoints), and only what follows is walked through, all values of the coordinate at
 * once. Setting a coordinate forgets the checkpoints behind it; a sweep in order finds each from the one before. */
#include <string.h>

#include "experts/autoregressive.h"

enum { LOCAL_ROWS = 64, LOCAL_ALIGNMENT = 64 };

/* Bytes that the networks' states at the checkpoints may take together, unless there is a single one. */
#define LOCAL_BYTES ((size_t)1 << 20)

/* The state of a row: this head; numbers x[d], sum[checkpoints], ended[checkpoints]; aligned, the network's states.
 * Checkpoint c is what is known before position c * stride; the first `known` of them hold. */
typedef struct local_state {
  size_t known;
} local_state;

static size_t local_aligned(size_t bytes) {
  return (bytes + LOCAL_ALIGNMENT - 1) / LOCAL_ALIGNMENT * LOCAL_ALIGNMENT;
}

static size_t local_one(const poei_autoregressive *a) {
  return local_aligned(poei_net_state(a->net, 1));
}

/* Positions from checkpoint to checkpoint. */
static size_t local_stride(const poei_autoregressive *a) {
  size_t most = LOCAL_BYTES / (local_one(a) + 1) + 1;
  return (a->positions + most - 1) / most;
}

static size_t local_checkpoints(const poei_autoregressive *a) {
  size_t stride = local_stride(a);
  return (a->positions + stride - 1) / stride;
}

static double *local_x(local_state *s) {
  return (double *)(void *)((unsigned char *)s + local_aligned(sizeof *s));
}

static size_t local_front(const poei_autoregressive *a) {
  return local_aligned(sizeof(local_state)) + local_aligned((a->d + 2 * local_checkpoints(a)) * sizeof(double));
}

static unsigned char *local_checkpoint(const poei_autoregressive *a, local_state *s, size_t c) {
  return (unsigned char *)s + local_front(a) + c * local_one(a);
}

static size_t local_state_bytes(const void *self) {
  const poei_autoregressive *a = self;
  return local_front(a) + local_checkpoints(a) * local_one(a);
}

static size_t local_scratch(const void *self) {
  const poei_autoregressive *a = self;
  size_t each = a->d / a->positions;
  return poei_net_step_scratch(a->net, LOCAL_ROWS) + poe_scratch_need(poei_net_state(a->net, LOCAL_ROWS), 1) +
         poe_scratch_need(local_one(a), 1) + poe_scratch_need(a->conditional.parameters, sizeof(double)) +
         poe_scratch_need(LOCAL_ROWS * poei_autoregressive_width(a), sizeof(double)) +
         poe_scratch_need(poei_autoregressive_width(a), sizeof(double)) +
         poe_scratch_need(LOCAL_ROWS * each, sizeof(double)) + poe_scratch_need(a->d, sizeof(double));
}

static poe_status local_open(const void *self, const double *x, void *state, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_autoregressive *a = self;
  local_state *s = state;
  memset(s, 0, local_state_bytes(a)); /* the first checkpoint is all 0 */
  memcpy(local_x(s), x, a->d * sizeof *x);
  s->known = 1;
  return POE_OK;
}

static poe_status local_set(const void *self, void *state, size_t j, double value, poe_scratch *scratch,
                            poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_autoregressive *a = self;
  local_state *s = state;
  size_t holds = j / (a->d / a->positions) / local_stride(a) + 1;
  local_x(s)[j] = value;
  s->known = holds < s->known ? holds : s->known;
  return POE_OK;
}

/* A walk at some position: the network's state, the sum of what came before, whether an end did. */
typedef struct local_walk {
  const poei_autoregressive *a;
  void *net;
  double *y, *t; /* [rows, width], [parameters] */
  double sum;
  bool ended;
} local_walk;

/* Adds the log-densities of the coordinates of position `at` of row x[d], given y. */
static double local_add(const local_walk *walk, const double *y, const double *x, size_t at, bool *ended) {
  const poei_autoregressive *a = walk->a;
  size_t each = a->d / a->positions, width = poei_autoregressive_width(a);
  double sum = 0.0, dx;
  for (size_t j = at * each; j < (at + 1) * each; j++) {
    poei_autoregressive_gather(a, y, at * width, j, walk->t);
    sum += poei_autoregressive_coordinate(a, x, j, walk->t, ended, NULL, &dx);
  }
  return sum;
}

/* From the last checkpoint that holds to before position `to`, leaving checkpoints on the way. */
static void local_advance(local_walk *walk, local_state *s, size_t to, poe_scratch *scratch) {
  const poei_autoregressive *a = walk->a;
  size_t each = a->d / a->positions, stride = local_stride(a), c = to / stride;
  double *x = local_x(s), *sum = x + a->d, *ended = sum + local_checkpoints(a);
  c = c < s->known ? c : s->known - 1;
  memcpy(walk->net, local_checkpoint(a, s, c), local_one(a));
  walk->sum = sum[c];
  walk->ended = ended[c] != 0.0;
  for (size_t at = c * stride;; at++) {
    if (at % stride == 0 && at / stride == s->known) {
      memcpy(local_checkpoint(a, s, s->known), walk->net, local_one(a));
      sum[s->known] = walk->sum;
      ended[s->known++] = walk->ended ? 1.0 : 0.0;
    }
    if (at == to) {
      return;
    }
    poei_net_step(a->net, true, 1, at, at == 0 ? NULL : x + (at - 1) * each, each, walk->y, 0, walk->net, scratch);
    walk->sum += local_add(walk, walk->y, x, at, &walk->ended);
  }
}

/* Adds to out[n] what follows j's position, which the walk has passed, in n rows that differ in it: moved[n, each] are
 * their numbers there, ended_before[n] whether an end came up to it. */
static void local_follow(const local_walk *walk, const double *x, size_t j, size_t n, double *out,
                         const bool *ended_before, const double *moved, poe_scratch *scratch) {
  const poei_autoregressive *a = walk->a;
  size_t mark = poe_scratch_mark(scratch), each = a->d / a->positions, width = poei_autoregressive_width(a);
  void *net = poe_scratch_bytes(scratch, poei_net_state(a->net, LOCAL_ROWS));
  bool ended[LOCAL_ROWS];
  memcpy(ended, ended_before, n * sizeof *ended);
  poei_net_state_repeat(a->net, walk->net, n, net);
  for (size_t at = j / each + 1; at < a->positions; at++) {
    bool next = at == j / each + 1; /* sees the values; later positions see the same of all rows */
    poei_net_step(a->net, false, n, at, next ? moved : x + (at - 1) * each, next ? each : 0, walk->y, width, net,
                  scratch);
    for (size_t r = 0; r < n; r++) {
      out[r] += local_add(walk, walk->y + r * width, x, at, &ended[r]);
    }
  }
  poe_scratch_release(scratch, mark);
}

static poe_status local_conditional(const void *self, void *state, size_t j, double *out, poe_scratch *scratch,
                                    poe_error *error) {
  (void)error;
  const poei_autoregressive *a = self;
  local_state *s = state;
  size_t mark = poe_scratch_mark(scratch), each = a->d / a->positions, at = j / each;
  local_walk walk = {.a = a, .net = poe_scratch_bytes(scratch, local_one(a))};
  walk.t = poe_scratch_doubles(scratch, a->conditional.parameters);
  walk.y = poe_scratch_doubles(scratch, LOCAL_ROWS * poei_autoregressive_width(a));
  double *moved = poe_scratch_doubles(scratch, LOCAL_ROWS * each), *x = poe_scratch_doubles(scratch, a->d);
  memcpy(x, local_x(s), a->d * sizeof *x);
  local_advance(&walk, s, at, scratch);
  poei_net_step(a->net, true, 1, at, at == 0 ? NULL : x + (at - 1) * each, each, walk.y, 0, walk.net, scratch);
  double *own = poe_scratch_doubles(scratch, poei_autoregressive_width(a)); /* the output at j's own position */
  memcpy(own, walk.y, poei_autoregressive_width(a) * sizeof *own);
  for (size_t v = 0; v < a->conditional.values; v += LOCAL_ROWS) {
    size_t n = a->conditional.values - v < LOCAL_ROWS ? a->conditional.values - v : LOCAL_ROWS;
    bool ended[LOCAL_ROWS];
    for (size_t r = 0; r < n; r++) {
      x[j] = (double)(v + r);
      ended[r] = walk.ended;
      out[v + r] = walk.sum + local_add(&walk, own, x, at, &ended[r]);
      memcpy(moved + r * each, x + at * each, each * sizeof *x);
    }
    local_follow(&walk, x, j, n, out + v, ended, moved, scratch);
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

const poe_local_ops poei_autoregressive_local = {.state_bytes = local_state_bytes,
                                                 .scratch = local_scratch,
                                                 .open = local_open,
                                                 .conditional = local_conditional,
                                                 .set = local_set};
