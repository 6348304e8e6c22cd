/* Operators on sequences [positions, ...]: what recurrent and autoregressive models are made of (net/graph.h). Shapes,
 * checks and costs are here, what they compute in sequence_kernels.h.
 *
 * Each can be evaluated whole, with its gradient by back-propagation through time, or one position after the other with
 * a state. Gates and layouts are those of torch.nn.GRU and torch.nn.LSTM, with s the logistic function:
 *
 *   gru   r, z = s(W_i{r,z} x_t + b_i{r,z} + W_h{r,z} h + b_h{r,z}),  n = tanh(W_in x_t + b_in + r (W_hn h + b_hn)),
 *         h = (1 - z) n + z h                                        (Cho et al. 2014, with the reset after the
 * product) lstm  i, f, o = s(...), g = tanh(...), c = f c + i g, h = o tanh(c); gates in the order i, f, g, o
 *                                                                    (Hochreiter and Schmidhuber 1997; Gers et al.
 * 2000) nade  a_0 = c, a_{d+1} = a_d + W_d x_d, y_d = b_d + V_d f(a_d)   (Larochelle and Murray 2011, equations 9 to
 * 12)
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "net/op_parts.h"
#include "net/product.h"

#define POEI_KERNELS "net/sequence_kernels.h"
#include "net/each_type.h"

/* POE_E_SHAPE naming weight i, which needs the shape in words. */
static poe_status sequence_misfit(const poei_graph *graph, const poei_node *node, size_t i, const char *needs,
                                  poe_error *error) {
  char text[160], have[160];
  return poe_error_set(error, POE_E_SHAPE, "weight '%s' has shape %s, but its input %s needs %s",
                       graph->weights[node->weights[i]].name,
                       poei_op_text(poei_node_weight_shape(graph, node, i), text),
                       poei_op_text(poei_node_input_shape(graph, node, 0), have), needs);
}

static bool sequence_is(const poei_shape *shape, size_t rows, size_t columns) {
  return columns == 0 ? shape->ndim == 1 && shape->count == rows
                      : shape->ndim == 2 && shape->size[0] == rows && shape->size[1] == columns;
}

/* The input must have positions: a first axis. */
static poe_status sequence_check_input(const poei_shape *in, poe_error *error) {
  return in->ndim >= 1 ? POE_OK : poe_error_set(error, POE_E_SHAPE, "the input has no positions");
}

/* Positions of the input's first axis, and numbers at each. */
static size_t sequence_positions(const poei_graph *graph, const poei_node *node) {
  return poei_node_input_shape(graph, node, 0)->size[0];
}

static size_t sequence_width(const poei_graph *graph, const poei_node *node) {
  return poei_node_input_shape(graph, node, 0)->count / sequence_positions(graph, node);
}

/* ---- embedding ---- */

static poe_status embedding_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0), *w = poei_node_weight_shape(graph, node, 0);
  if (w != NULL && w->ndim != 2) {
    return sequence_misfit(graph, node, 0, "[values, size]", error);
  }
  if (w == NULL && node->attributes.size[0] == 0) {
    return poe_error_set(error, POE_E_DOMAIN, "it needs the number of values");
  }
  size_t size[POEI_MAX_DIMS + 1];
  memcpy(size, in->size, in->ndim * sizeof *size);
  size[in->ndim] = w == NULL ? node->attributes.size[0] : w->size[1];
  return poei_shape_make(in->ndim + 1, size, &node->shape, error);
}

static bool embedding_by_position(const poei_graph *graph, const poei_node *node, size_t positions) {
  return poei_node_input_shape(graph, node, 0)->count % positions == 0;
}

static void embedding_depend(const poei_graph *graph, const poei_node *node, size_t words, const uint64_t *const *from,
                             uint64_t *sets) {
  size_t count = poei_node_input_shape(graph, node, 0)->count, each = node->shape.count / count;
  for (size_t i = 0; i < node->shape.count; i++) {
    memcpy(sets + i * words, from[0] + i / each * words, words * sizeof *sets);
  }
}

const poei_op_record poei_op_embedding = {.name = "embedding",
                                          .n_inputs = 1,
                                          .max_weights = 1,
                                          .infer = embedding_infer,
                                          POEI_OP_FUNCTIONS(embedding),
                                          .by_position = embedding_by_position,
                                          .depend = embedding_depend};

/* ---- shift ---- */

static poe_status shift_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0), *w = poei_node_weight_shape(graph, node, 0);
  poe_status status = sequence_check_input(in, error);
  if (status == POE_OK && w != NULL && w->count != in->count / in->size[0]) {
    status = sequence_misfit(graph, node, 0, "as many numbers as there are at a position", error);
  }
  if (status == POE_OK && !isfinite(node->attributes.scale)) {
    status = poe_error_set(error, POE_E_DOMAIN, "the start must be finite");
  }
  return status == POE_OK ? poei_op_same_shape(graph, node, error) : status;
}

static void shift_depend(const poei_graph *graph, const poei_node *node, size_t words, const uint64_t *const *from,
                         uint64_t *sets) {
  size_t width = sequence_width(graph, node);
  poei_op_depend_unite(words, sets + width * words, from[0], node->shape.count - width);
}

const poei_op_record poei_op_shift = {.name = "shift",
                                      .n_inputs = 1,
                                      .max_weights = 1,
                                      .strict = true,
                                      .infer = shift_infer,
                                      POEI_OP_FUNCTIONS(shift),
                                      .step = {shift_step_float, shift_step_double},
                                      .depend = shift_depend};

/* ---- recurrent layers ---- */

enum { GRU_GATES = 3, LSTM_GATES = 4, RECURRENT_KEPT = 2 };

/* Weights W_ih [gates h, in], W_hh [gates h, h], b_ih and b_hh [gates h], where they are. */
static poe_status recurrent_infer(const poei_graph *graph, poei_node *node, size_t gates, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0);
  poe_status status = sequence_check_input(in, error);
  if (status != POE_OK) {
    return status;
  }
  const poei_shape *w_ih = poei_node_weight_shape(graph, node, 0), *w_hh = poei_node_weight_shape(graph, node, 1);
  size_t width = in->count / in->size[0], rows = w_ih->size[0], h = rows / gates;
  char needs[80];
  snprintf(needs, sizeof needs, "[%zu h, %zu]", gates, width);
  if (w_ih->ndim != 2 || w_ih->size[1] != width || rows % gates != 0) {
    return sequence_misfit(graph, node, 0, needs, error);
  }
  snprintf(needs, sizeof needs, "[%zu, %zu] beside '%.30s'", rows, h, graph->weights[node->weights[0]].name);
  if (!sequence_is(w_hh, rows, h)) {
    return sequence_misfit(graph, node, 1, needs, error);
  }
  snprintf(needs, sizeof needs, "[%zu]", rows);
  for (size_t i = 2; i < 4; i++) {
    const poei_shape *b = poei_node_weight_shape(graph, node, i);
    if (b != NULL && !sequence_is(b, rows, 0)) {
      return sequence_misfit(graph, node, i, needs, error);
    }
  }
  return poei_shape_make(2, (size_t[]){in->size[0], h}, &node->shape, error);
}

static size_t recurrent_units(const poei_graph *graph, const poei_node *node) {
  return poei_node_weight_shape(graph, node, 1)->size[1];
}

static double recurrent_flops(const poei_graph *graph, const poei_node *node) {
  double weights = (double)poei_node_weight_shape(graph, node, 0)->count +
                   (double)poei_node_weight_shape(graph, node, 1)->count + 4.0 * (double)recurrent_units(graph, node);
  return 2.0 * (double)sequence_positions(graph, node) * weights;
}

/* Gates of all positions, and two numbers of each unit at each. */
static size_t recurrent_tape(const poei_graph *graph, const poei_node *node, size_t gates) {
  return sequence_positions(graph, node) * (gates + RECURRENT_KEPT) * recurrent_units(graph, node);
}

/* What W_hh h gives and the state, or their gradients; the gates where no tape has them. */
static size_t recurrent_work(const poei_graph *graph, const poei_node *node, poei_pass pass, size_t gates) {
  size_t positions = pass == POEI_PASS_FORWARD ? sequence_positions(graph, node) : pass == POEI_PASS_STEP ? 1 : 0;
  return (gates + 2 + positions * gates) * recurrent_units(graph, node);
}

/* A product with W_hh and W_ih side by side for each position: the latter's share is done for all at once, but counts
 * the same. */
static void recurrent_gemms(const poei_graph *graph, const poei_node *node, size_t n, poei_gemm_shape *shapes) {
  const poei_shape *w = poei_node_weight_shape(graph, node, 1);
  size_t times = sequence_positions(graph, node);
  shapes[0] =
      (poei_gemm_shape){.transposed_b = true, .m = n, .n = w->size[0], .k = w->size[1] + sequence_width(graph, node)};
  shapes[1] = (poei_gemm_shape){.m = n, .n = shapes[0].k, .k = w->size[0]};
  shapes[0].times = shapes[1].times = times;
}

static void recurrent_depend(const poei_graph *graph, const poei_node *node, size_t words, const uint64_t *const *from,
                             uint64_t *sets) {
  poei_op_depend_before(graph, node, sequence_positions(graph, node), false, words, from[0], sets);
}

static poe_status gru_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  return recurrent_infer(graph, node, GRU_GATES, error);
}

static size_t gru_tape(const poei_graph *graph, const poei_node *node) {
  return recurrent_tape(graph, node, GRU_GATES);
}

static size_t gru_work(const poei_graph *graph, const poei_node *node, poei_pass pass) {
  return recurrent_work(graph, node, pass, GRU_GATES);
}

static poe_status lstm_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  return recurrent_infer(graph, node, LSTM_GATES, error);
}

static size_t lstm_tape(const poei_graph *graph, const poei_node *node) {
  return recurrent_tape(graph, node, LSTM_GATES);
}

static size_t lstm_work(const poei_graph *graph, const poei_node *node, poei_pass pass) {
  return recurrent_work(graph, node, pass, LSTM_GATES);
}

static size_t lstm_state(const poei_graph *graph, const poei_node *node) {
  return 2 * recurrent_units(graph, node);
}

const poei_op_record poei_op_gru = {.name = "gru",
                                    .n_inputs = 1,
                                    .min_weights = 2,
                                    .max_weights = 4,
                                    .infer = gru_infer,
                                    POEI_OP_FUNCTIONS(gru),
                                    .flops = recurrent_flops,
                                    .tape = gru_tape,
                                    .work = gru_work,
                                    .step = {gru_step_float, gru_step_double},
                                    .state = recurrent_units,
                                    .depend = recurrent_depend,
                                    .gemms = recurrent_gemms};

const poei_op_record poei_op_lstm = {.name = "lstm",
                                     .n_inputs = 1,
                                     .min_weights = 2,
                                     .max_weights = 4,
                                     .infer = lstm_infer,
                                     POEI_OP_FUNCTIONS(lstm),
                                     .flops = recurrent_flops,
                                     .tape = lstm_tape,
                                     .work = lstm_work,
                                     .step = {lstm_step_float, lstm_step_double},
                                     .state = lstm_state,
                                     .state_parts = 2,
                                     .depend = recurrent_depend,
                                     .gemms = recurrent_gemms};

/* ---- NADE ---- */

/* Weights W [d, h], V [d, h] or [d, p, h], b [d] or [d, p], c [h]. */
static poe_status nade_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0), *w = poei_node_weight_shape(graph, node, 0);
  const poei_shape *v = poei_node_weight_shape(graph, node, 1), *b = poei_node_weight_shape(graph, node, 2);
  if (in->ndim != 1 || w->ndim != 2 || w->size[0] != in->count) {
    return sequence_misfit(graph, node, 0, "one column for each number of a flat input", error);
  }
  size_t d = in->count, h = w->size[1], p = v->ndim == 3 ? v->size[1] : 1;
  char needs[120];
  snprintf(needs, sizeof needs, "[%zu, %zu] or [%zu, parameters, %zu]", d, h, d, h);
  if (!sequence_is(v, d, h) && (v->ndim != 3 || v->size[0] != d || v->size[2] != h)) {
    return sequence_misfit(graph, node, 1, needs, error);
  }
  snprintf(needs, sizeof needs, v->ndim == 2 ? "[%zu]" : "[%zu, %zu]", d, p);
  if (!sequence_is(b, d, v->ndim == 2 ? 0 : p)) {
    return sequence_misfit(graph, node, 2, needs, error);
  }
  snprintf(needs, sizeof needs, "[%zu]", h);
  if (!sequence_is(poei_node_weight_shape(graph, node, 3), h, 0)) {
    return sequence_misfit(graph, node, 3, needs, error);
  }
  return poei_shape_make(2, (size_t[]){d, p}, &node->shape, error);
}

static size_t nade_units(const poei_graph *graph, const poei_node *node) {
  return poei_node_weight_shape(graph, node, 3)->count;
}

static double nade_flops(const poei_graph *graph, const poei_node *node) {
  return 2.0 * (double)poei_node_weight_shape(graph, node, 0)->count +
         2.0 * (double)poei_node_weight_shape(graph, node, 1)->count;
}

/* f'(a) of every unit at every position. */
static size_t nade_tape(const poei_graph *graph, const poei_node *node) {
  return node->shape.size[0] * nade_units(graph, node);
}

/* a (or its gradient), f(a), the parameters of one position. */
static size_t nade_work(const poei_graph *graph, const poei_node *node, poei_pass pass) {
  (void)pass;
  return 2 * nade_units(graph, node) + node->shape.size[1];
}

static void nade_depend(const poei_graph *graph, const poei_node *node, size_t words, const uint64_t *const *from,
                        uint64_t *sets) {
  poei_op_depend_before(graph, node, node->shape.size[0], true, words, from[0], sets);
}

const poei_op_record poei_op_nade = {.name = "nade",
                                     .n_inputs = 1,
                                     .min_weights = 4,
                                     .max_weights = 4,
                                     .strict = true,
                                     .infer = nade_infer,
                                     POEI_OP_FUNCTIONS(nade),
                                     .flops = nade_flops,
                                     .tape = nade_tape,
                                     .work = nade_work,
                                     .step = {nade_step_float, nade_step_double},
                                     .state = nade_units,
                                     .depend = nade_depend};
