/* Walking through a network over sequences, one position after the other (net/net.h).
 *
 * Every value is at the output's position t or one behind it, at t - 1: the input is behind, what a strict operator
 * (graph.h) gives is not, and everything else stands where its inputs stand. When the output stands at t, it has been
 * shown to depend on inputs before t alone. Operators that see one part at a time run as they are on a node of the
 * part's size; the others have a function of their own and a state. An operator with a cache of all that it saw (as
 * attention has) is one whose state has room for every position.
 */
#include <string.h>

#include "core/alloc.h"
#include "net/compile.h"

/* Numbers per row are rounded up so that every buffer is 64-byte aligned for any n. */
static size_t step_round(size_t count) {
  return (count + 15) / 16 * 16;
}

/* ---- making ---- */

static bool step_has_own(const poei_node *node) {
  return poei_op_records[node->op]->step[0] != NULL;
}

/* Positions of the first operator that has a step of its own; 0 where there is none, or others have other numbers. */
static size_t step_positions(const poei_graph *graph) {
  size_t positions = 0;
  for (size_t i = 0; i < graph->n_nodes; i++) {
    const poei_node *node = &graph->nodes[i];
    if (step_has_own(node)) {
      size_t own = poei_node_input_shape(graph, node, 0)->size[0];
      positions = positions == 0 ? own : positions;
      if (own != positions) {
        return 0;
      }
    }
  }
  return positions;
}

/* Whether node i can be computed part by part, and before[i]: whether it is behind the output's position. */
static bool step_follows(const poei_graph *graph, size_t i, size_t positions, bool *before) {
  const poei_node *node = &graph->nodes[i];
  const poei_op_record *record = poei_op_records[node->op];
  if (node->shape.count % positions != 0) {
    return false;
  }
  if (i == 0) {
    before[0] = true;
    return true;
  }
  before[i] = before[node->inputs[0]];
  for (size_t k = 1; k < node->n_inputs; k++) {
    if (before[node->inputs[k]] != before[i]) {
      return false;
    }
  }
  if (step_has_own(node)) {
    bool fits = !record->strict || before[i];
    before[i] = before[i] && !record->strict;
    return fits;
  }
  return record->view || (record->by_position != NULL && record->by_position(graph, node, positions));
}

static void step_lay_out(poei_net *net, const bool *before) {
  poei_walk *walk = &net->walk;
  const poei_graph *graph = net->graph;
  size_t most = 0;
  for (size_t k = 0; k < net->n_steps; k++) {
    const poei_node *node = &graph->nodes[net->node[k]];
    const poei_op_record *record = poei_op_records[node->op];
    size_t count = node->shape.count / walk->positions;
    walk->part[k] = *node;
    walk->part[k].shape = (poei_shape){.ndim = 1, .size = {count}, .count = count};
    walk->before[k] = before[net->node[k]];
    walk->value[k] = walk->per_row;
    walk->per_row += step_round(count);
    walk->state[k] = walk->state_size;
    walk->state_size += record->state == NULL ? 0 : step_round(record->state(graph, node));
    size_t work = record->work == NULL ? 0 : step_round(record->work(graph, node, POEI_PASS_STEP));
    most = work > most ? work : most;
  }
  walk->work = walk->per_row;
  walk->per_row += most;
}

void poei_walk_free(poei_walk *walk) {
  poei_free(walk->part);
  poei_free(walk->before);
  poei_free(walk->value);
  poei_free(walk->state);
  *walk = (poei_walk){0};
}

poe_status poei_walk_make(poei_net *net, poe_error *error) {
  const poei_graph *graph = net->graph;
  poei_walk *walk = &net->walk;
  walk->positions = step_positions(graph);
  if (walk->positions == 0) {
    return POE_OK;
  }
  bool *before = poei_calloc(graph->n_nodes, sizeof *before);
  walk->part = poei_alloc(net->n_steps, sizeof *walk->part);
  walk->before = poei_alloc(net->n_steps, sizeof *walk->before);
  walk->value = poei_alloc(net->n_steps, sizeof *walk->value);
  walk->state = poei_alloc(net->n_steps, sizeof *walk->state);
  bool memory =
      before != NULL && walk->part != NULL && walk->before != NULL && walk->value != NULL && walk->state != NULL;
  bool can = memory;
  for (size_t i = 0; can && i < graph->n_nodes; i++) {
    can = step_follows(graph, i, walk->positions, before);
  }
  can = can && !before[graph->n_nodes - 1];
  if (can) {
    step_lay_out(net, before);
  } else {
    poei_walk_free(walk);
  }
  poei_free(before);
  return memory ? POE_OK : poe_error_set(error, POE_E_MEMORY, "out of memory for a network");
}

/* ---- walking ---- */

static size_t step_size(const poei_net *net) {
  return net->graph->precision == POEI_FLOAT32 ? sizeof(float) : sizeof(double);
}

size_t poei_net_positions(const poei_net *net) {
  return net->walk.positions;
}

size_t poei_net_state(const poei_net *net, size_t n) {
  return n * net->walk.state_size * step_size(net);
}

void poei_net_state_repeat(const poei_net *net, const void *from, size_t n, void *to) {
  size_t size = step_size(net);
  for (size_t k = 0; k < net->n_steps; k++) {
    const poei_node *node = &net->graph->nodes[net->node[k]];
    const poei_op_record *record = poei_op_records[node->op];
    size_t parts = record->state_parts == 0 ? 1 : record->state_parts;
    size_t bytes = record->state == NULL ? 0 : record->state(net->graph, node) / parts * size;
    const unsigned char *one = (const unsigned char *)from + net->walk.state[k] * size;
    unsigned char *many = (unsigned char *)to + net->walk.state[k] * size * n;
    for (size_t i = 0; i < parts * n && bytes > 0; i++) {
      memcpy(many + i * bytes, one + i / n * bytes, bytes);
    }
  }
}

size_t poei_net_step_scratch(const poei_net *net, size_t n) {
  size_t out = net->walk.positions == 0 ? 0 : net->out_shape.count / net->walk.positions;
  return poe_scratch_need(n * net->walk.per_row, step_size(net)) + (net->head ? poe_scratch_need(n * out, 8) : 0);
}

/* x[n, ldx] into the input's part. */
static void step_load(const poei_net *net, size_t n, const double *x, size_t ldx, void *to) {
  size_t d = net->walk.part[0].shape.count;
  for (size_t r = 0; r < n; r++) {
    for (size_t i = 0; i < d; i++) {
      if (net->graph->precision == POEI_FLOAT32) {
        ((float *)to)[r * d + i] = (float)x[r * ldx + i];
      } else {
        ((double *)to)[r * d + i] = x[r * ldx + i];
      }
    }
  }
}

/* The output's part to y[n, ldy]: the head's doubles, or numbers of the network's type. */
static void step_store(const poei_net *net, size_t n, const double *head, const void *from, double *y, size_t ldy) {
  size_t d = net->out_shape.count / net->walk.positions;
  for (size_t r = 0; r < n; r++) {
    for (size_t i = 0; i < d; i++) {
      size_t at = r * d + i;
      y[r * ldy + i] = head != NULL                            ? head[at]
                       : net->graph->precision == POEI_FLOAT32 ? (double)((const float *)from)[at]
                                                               : ((const double *)from)[at];
    }
  }
}

/* Where a walk's memory is. */
typedef struct step_frame {
  const poei_net *net;
  size_t n, t;
  bool first; /* what is behind has no position yet */
  bool steady;
  unsigned char *arena, *state;
} step_frame;

static void *step_value(const step_frame *frame, size_t k) {
  return frame->arena + frame->net->walk.value[k] * frame->n * step_size(frame->net);
}

/* Step k of position t, which is t - 1 for those behind. */
static void step_run(const step_frame *frame, size_t k, double *head) {
  const poei_net *net = frame->net;
  const poei_walk *walk = &net->walk;
  const poei_graph *graph = net->graph;
  const poei_node *node = &walk->part[k];
  const poei_op_record *record = poei_op_records[node->op];
  size_t size = step_size(net);
  poei_call call = {.node = node, .n = frame->n, .steady = frame->steady, .head = head};
  call.position = frame->t - (walk->before[k] ? 1 : 0);
  for (size_t i = 0; i < node->n_inputs; i++) {
    size_t from = (size_t)net->step[node->inputs[i]];
    call.in[i] = &walk->part[from].shape;
    call.x[i] = frame->first && walk->before[from] ? NULL : step_value(frame, from);
  }
  for (size_t i = 0; i < node->n_weights; i++) {
    if (node->weights[i] >= 0) {
      call.weights[i] = graph->weights[node->weights[i]].data;
      call.weight_shapes[i] = &graph->weights[node->weights[i]].shape;
    }
  }
  call.y = step_value(frame, k);
  call.work = frame->arena + walk->work * frame->n * size;
  call.state = frame->state + walk->state[k] * frame->n * size;
  (record->step[0] != NULL ? record->step : record->forward)[graph->precision](&call);
}

void poei_net_step(const poei_net *net, bool steady, size_t n, size_t t, const double *x, size_t ldx, double *y,
                   size_t ldy, void *state, poe_scratch *scratch) {
  const poei_walk *walk = &net->walk;
  size_t mark = poe_scratch_mark(scratch), last = net->n_steps - 1;
  step_frame frame = {.net = net, .n = n, .t = t, .first = t == 0, .steady = steady, .state = state};
  frame.arena = poe_scratch_bytes(scratch, n * walk->per_row * step_size(net));
  double *head = net->head ? poe_scratch_doubles(scratch, n * (net->out_shape.count / walk->positions)) : NULL;
  if (!frame.first) {
    step_load(net, n, x, ldx, step_value(&frame, 0));
  }
  for (size_t k = 1; k < net->n_steps; k++) {
    if (!(frame.first && walk->before[k])) {
      step_run(&frame, k, k == last ? head : NULL);
    }
  }
  step_store(net, n, head, step_value(&frame, last), y, ldy);
  poe_scratch_release(scratch, mark);
}
