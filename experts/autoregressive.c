/* autoregressive(x | file=...): log p(x) = sum_j log p(x_j | what comes before it), normalised.
 *
 * A network gives the parameters of every coordinate's conditional density from all of x (MADE: Germain, Gregor, Murray
 * and Larochelle 2015; PixelCNN: van den Oord, Kalchbrenner and Kavukcuoglu 2016). That the parameters of no coordinate
 * see it, or what follows it, is not believed but shown when the file is read (net/dependence.h), which also finds the
 * order: coordinates stand on levels, those of one level see only levels below. A density is one pass of the network,
 * its gradient one more; a draw is one pass per level, all coordinates of a level at once. Networks over sequences
 * (NADE: Larochelle and Murray 2011; recurrent networks) are walked through with a state instead: a draw costs as much
 * as one pass.
 *
 * Of P parameters of d coordinates, parameter p of coordinate j is number p d + j of the network's output ("layout":
 * "grouped"), or those of one coordinate, of an image of one channel, stand together ("interleaved": j P + p; [c, P, h,
 * w]).
 */
#include "experts/autoregressive.h"

#include <string.h>

#include "experts/list.h"
#include "experts/network.h"

/* Networks over sequences are walked through position by position where going through whole sequences would take more
 * working memory than this: values then stay in the cache. */
#define AUTOREGRESSIVE_WHOLE_BYTES ((size_t)1 << 24)

static const poe_param autoregressive_params[] = {
    {"file", POE_ARG_FILE, "", NULL, "safetensors file with the network's weights, poe.layers and poe.output"},
    POEI_DESCRIPTION_PARAM,
    {"precision", POE_ARG_SYMBOL, "single|double", NULL, "arithmetic of the network (default: that of its weights)"},
    {0},
};

static void autoregressive_traits(const void *self, poe_traits *traits) {
  const poei_autoregressive *a = self;
  *traits =
      (poe_traits){.dim = a->d,
                   .support = a->support,
                   .head = a->head,
                   .capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z | POE_CAN_PREFIX};
  traits->capabilities |= a->positions > 0 && a->conditional.values > 0 ? POE_CAN_LOCAL : 0u;
}

static poe_status autoregressive_log_z(const void *self, double *log_z, poe_error *error) {
  (void)self;
  (void)error;
  *log_z = 0.0;
  return POE_OK;
}

/* ---- values ---- */

/* Scratch for going through whole rows at once. */
static size_t autoregressive_whole(const poei_autoregressive *a, unsigned want, size_t n) {
  return poei_net_scratch(a->net, want & POE_WANT_GRAD, n) +
         poe_scratch_need(n * poei_net_out_dim(a->net), sizeof(double));
}

static bool autoregressive_walks(const poei_autoregressive *a, size_t n) {
  return a->positions > 0 && autoregressive_whole(a, POE_WANT_LOGP, n) > AUTOREGRESSIVE_WHOLE_BYTES;
}

static size_t autoregressive_walk_scratch(const poei_autoregressive *a, size_t n) {
  if (a->positions == 0) {
    return 0;
  }
  return poei_net_step_scratch(a->net, n) + poe_scratch_need(poei_net_state(a->net, n), 1) +
         poe_scratch_need(n * poei_autoregressive_width(a), sizeof(double));
}

/* Monotone in n: where a walk begins to need less than whole rows, the most of those stays. */
size_t poei_autoregressive_scratch(const void *self, unsigned want, size_t n) {
  const poei_autoregressive *a = self;
  size_t whole = autoregressive_whole(a, want, n);
  bool walks = a->positions > 0 && ((want & POE_WANT_GRAD) == 0 || a->conditional.values > 0);
  whole = walks && whole > AUTOREGRESSIVE_WHOLE_BYTES ? AUTOREGRESSIVE_WHOLE_BYTES : whole;
  size_t rows = poe_scratch_need(n, sizeof(double)) + poe_scratch_need(n, sizeof(bool));
  size_t draws = (want & POE_WANT_SAMPLE) != 0 ? poe_scratch_need(n, sizeof(poe_stream)) : 0;
  return whole + autoregressive_walk_scratch(a, n) + rows + draws +
         2 * poe_scratch_need(a->conditional.parameters, sizeof(double));
}

typedef struct autoregressive_call {
  const poei_autoregressive *a;
  poe_rows rows;
  poe_weights weights;
  poe_accum out;
} autoregressive_call;

double poei_autoregressive_coordinate(const poei_autoregressive *a, const double *x, size_t j, const double *t,
                                      bool *ended, double *dt, double *dx) {
  if (*ended) {
    if (dt != NULL) {
      memset(dt, 0, a->conditional.parameters * sizeof *dt);
    }
    *dx = 0.0;
    return poei_conditional_log_padding(&a->conditional, x[j]);
  }
  *ended = a->conditional.ends && x[j] == a->conditional.end;
  return poei_conditional_log_p(&a->conditional, t, x[j], dt, dx);
}

/* Log-densities from the network's outputs; with dy, what it is to be pulled by. The direct share of x_j in its own
 * conditional goes to the gradient here. */
static poe_status autoregressive_pull(void *context, poe_rows y, double *dy, poe_scratch *scratch, poe_error *error) {
  (void)error;
  const autoregressive_call *call = context;
  const poei_autoregressive *a = call->a;
  size_t mark = poe_scratch_mark(scratch), parameters = a->conditional.parameters;
  double *t = poe_scratch_doubles(scratch, parameters), *dt = poe_scratch_doubles(scratch, parameters);
  for (size_t i = 0; i < y.n; i++) {
    const double *x = call->rows.x + i * call->rows.ld;
    double w = call->weights.w[i * call->weights.inc], sum = 0.0, dx = 0.0;
    bool ended = false;
    for (size_t j = 0; j < a->d; j++) {
      poei_autoregressive_gather(a, y.x + i * y.ld, 0, j, t);
      sum += poei_autoregressive_coordinate(a, x, j, t, &ended, dy == NULL ? NULL : dt, &dx);
      for (size_t p = 0; p < parameters && dy != NULL; p++) {
        dy[i * y.d + poei_autoregressive_place(a, j) + p * a->plane] = w * dt[p];
      }
      if (dy != NULL) {
        call->out.grad[i * call->out.ldg + j] += w * dx;
      }
    }
    poe_accum_value(&call->out.logp[i], w, sum);
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

/* Log-densities from one position after the other. */
static void autoregressive_walk(const autoregressive_call *call, poe_scratch *scratch) {
  const poei_autoregressive *a = call->a;
  size_t mark = poe_scratch_mark(scratch), n = call->rows.n, each = a->d / a->positions;
  size_t width = poei_autoregressive_width(a), bytes = poei_net_state(a->net, n);
  double *y = poe_scratch_doubles(scratch, n * width), *t = poe_scratch_doubles(scratch, a->conditional.parameters);
  double *sum = poe_scratch_doubles(scratch, n), dx;
  bool *ended = poe_scratch_bytes(scratch, n * sizeof *ended);
  void *state = poe_scratch_bytes(scratch, bytes);
  memset(state, 0, bytes);
  memset(sum, 0, n * sizeof *sum);
  memset(ended, 0, n * sizeof *ended);
  for (size_t at = 0; at < a->positions; at++) {
    const double *before = at == 0 ? NULL : call->rows.x + (at - 1) * each;
    poei_net_step(a->net, false, n, at, before, call->rows.ld, y, width, state, scratch);
    for (size_t i = 0; i < n; i++) {
      for (size_t j = at * each; j < (at + 1) * each; j++) {
        poei_autoregressive_gather(a, y + i * width, at * width, j, t);
        sum[i] += poei_autoregressive_coordinate(a, call->rows.x + i * call->rows.ld, j, t, &ended[i], NULL, &dx);
      }
    }
  }
  for (size_t i = 0; i < n; i++) {
    poe_accum_value(&call->out.logp[i], call->weights.w[i * call->weights.inc], sum[i]);
  }
  poe_scratch_release(scratch, mark);
}

static poe_status autoregressive_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                          poe_scratch *scratch, poe_error *error) {
  const poei_autoregressive *a = self;
  autoregressive_call call = {a, rows, weights, out};
  if (out.grad != NULL && a->conditional.values == 0) {
    return poei_net_eval_vjp(a->net, rows, autoregressive_pull, &call, out.grad, out.ldg, scratch, error);
  }
  if (autoregressive_walks(a, rows.n)) {
    autoregressive_walk(&call, scratch);
    return POE_OK;
  }
  size_t mark = poe_scratch_mark(scratch), outputs = poei_net_out_dim(a->net);
  double *y = poe_scratch_doubles(scratch, rows.n * outputs);
  poei_net_eval(a->net, rows, y, outputs, scratch);
  poe_rows seen = {.n = rows.n, .d = outputs, .ld = outputs, .x = y};
  poe_status status = autoregressive_pull(&call, seen, NULL, scratch, error);
  poe_scratch_release(scratch, mark);
  return status;
}

/* ---- draws ---- */

/* Where draws of n rows are; y is the network's output from number `first` of each row on. */
typedef struct autoregressive_draws {
  const poei_autoregressive *a;
  poe_rows_out rows;
  double *y, *t;
  size_t ldy, first;
  poe_stream *stream;
  bool *ended;
} autoregressive_draws;

static void autoregressive_draw(const autoregressive_draws *draws, size_t i, size_t j) {
  const poei_autoregressive *a = draws->a;
  double *x = draws->rows.x + i * draws->rows.ld + j;
  if (draws->ended[i]) {
    *x = a->conditional.padding;
    return;
  }
  poei_autoregressive_gather(a, draws->y + i * draws->ldy, draws->first, j, draws->t);
  *x = poei_conditional_draw(&a->conditional, draws->t, &draws->stream[i]);
  draws->ended[i] = a->conditional.ends && *x == a->conditional.end;
}

/* A pass of the network for each level. */
static void autoregressive_draw_levels(autoregressive_draws *draws, poe_scratch *scratch) {
  const poei_autoregressive *a = draws->a;
  poe_rows_out rows = draws->rows;
  draws->ldy = poei_net_out_dim(a->net);
  draws->y = poe_scratch_doubles(scratch, rows.n * draws->ldy);
  for (size_t level = 0; level < a->levels; level++) {
    poei_net_eval(a->net, (poe_rows){.n = rows.n, .d = a->d, .ld = rows.ld, .x = rows.x}, draws->y, draws->ldy,
                  scratch);
    for (size_t i = 0; i < rows.n; i++) {
      for (size_t k = a->first[level]; k < a->first[level + 1]; k++) {
        autoregressive_draw(draws, i, a->order[k]);
      }
    }
  }
}

/* One walk through the network, steady: a draw is a function of its address alone. */
static void autoregressive_draw_walking(autoregressive_draws *draws, poe_scratch *scratch) {
  const poei_autoregressive *a = draws->a;
  poe_rows_out rows = draws->rows;
  size_t each = a->d / a->positions, bytes = poei_net_state(a->net, rows.n);
  void *state = poe_scratch_bytes(scratch, bytes);
  memset(state, 0, bytes);
  draws->ldy = poei_autoregressive_width(a);
  draws->y = poe_scratch_doubles(scratch, rows.n * draws->ldy);
  for (size_t at = 0; at < a->positions; at++) {
    const double *before = at == 0 ? NULL : rows.x + (at - 1) * each;
    poei_net_step(a->net, true, rows.n, at, before, rows.ld, draws->y, draws->ldy, state, scratch);
    draws->first = at * draws->ldy;
    for (size_t i = 0; i < rows.n; i++) {
      for (size_t j = at * each; j < (at + 1) * each; j++) {
        autoregressive_draw(draws, i, j);
      }
    }
  }
}

static poe_status autoregressive_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                        poe_error *error) {
  (void)error;
  const poei_autoregressive *a = self;
  size_t mark = poe_scratch_mark(scratch);
  autoregressive_draws draws = {.a = a, .rows = rows};
  draws.t = poe_scratch_doubles(scratch, a->conditional.parameters);
  draws.stream = poe_scratch_bytes(scratch, rows.n * sizeof *draws.stream);
  draws.ended = poe_scratch_bytes(scratch, rows.n * sizeof *draws.ended);
  for (size_t i = 0; i < rows.n; i++) {
    draws.stream[i] = poe_stream_open(at[i]);
    draws.ended[i] = false;
    memset(rows.x + i * rows.ld, 0, a->d * sizeof *rows.x);
  }
  (a->positions > 0 ? autoregressive_draw_walking : autoregressive_draw_levels)(&draws, scratch);
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

const poe_expert_ops poei_autoregressive_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "autoregressive",
    .doc = "one coordinate after the other, each from a network that sees those before it, normalised",
    .params = autoregressive_params,
    .create = poei_autoregressive_create,
    .destroy = poei_autoregressive_destroy,
    .traits = autoregressive_traits,
    .scratch = poei_autoregressive_scratch,
    .eval_add = autoregressive_eval_add,
    .sample = autoregressive_sample,
    .log_z = autoregressive_log_z,
    .local = &poei_autoregressive_local,
    .prefix = &poei_autoregressive_prefix,
};
