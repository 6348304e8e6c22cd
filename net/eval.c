/* Evaluating a compiled network: steps forwards, steps backwards, one arena (net/compile.h).
 *
 * Seeds of the backward pass are scaled per row to a largest size of 1 and the scale is put back in double at the end:
 * weights of any size neither overflow nor underflow the network's type, and a row's gradient is linear in its weight.
 * A row whose seed is 0 gets nothing added, whatever its (possibly not finite) activations were.
 */
#include <math.h>
#include <string.h>

#include "net/compile.h"

/* Everything one evaluation needs to find its buffers. */
typedef struct eval_frame {
  const poei_net *net;
  const poei_plan *plan;
  size_t n;
  unsigned char *arena; /* [n, plan->per_row] numbers */
  void *scratch;        /* [net->scratch] numbers     */
} eval_frame;

static size_t eval_number_size(const poei_net *net) {
  return net->graph->precision == POEI_FLOAT32 ? sizeof(float) : sizeof(double);
}

/* count * n * size bytes, SIZE_MAX / 2 when that overflows (no arena is that large). */
static size_t eval_bytes(const poei_net *net, size_t n, size_t count) {
  size_t size = eval_number_size(net);
  return n != 0 && count > SIZE_MAX / 2 / size / n ? SIZE_MAX / 2 : n * count * size;
}

static eval_frame eval_open(const poei_net *net, bool backwards, size_t n, poe_scratch *scratch) {
  eval_frame frame = {.net = net, .plan = &net->plan[backwards ? 1 : 0], .n = n};
  frame.arena = poe_scratch_bytes(scratch, eval_bytes(net, n, frame.plan->per_row));
  frame.scratch = poe_scratch_bytes(scratch, eval_bytes(net, 1, net->scratch));
  return frame;
}

size_t poei_net_scratch(const poei_net *net, unsigned want, size_t n) {
  bool backwards = (want & POE_WANT_GRAD) != 0;
  size_t out = poe_scratch_need(n * net->out_shape.count, sizeof(double));
  return poe_scratch_need(eval_bytes(net, n, net->plan[backwards ? 1 : 0].per_row), 1) +
         poe_scratch_need(eval_bytes(net, 1, net->scratch), 1) + (net->head ? out : 0) +
         (backwards ? 2 * out + poe_scratch_need(n, sizeof(double)) : 0);
}

static void *eval_buffer(const eval_frame *frame, size_t step, poei_buffer kind) {
  size_t offset = frame->plan->offset[step][kind];
  return offset == POEI_NO_BUFFER ? NULL : frame->arena + offset * frame->n * eval_number_size(frame->net);
}

/* The parts of a call that are the same forwards and backwards. */
static poei_call eval_call(const eval_frame *frame, size_t step) {
  const poei_graph *graph = frame->net->graph;
  const poei_node *node = &graph->nodes[frame->net->node[step]];
  poei_call call = {.node = node, .n = frame->n, .scratch = frame->scratch};
  call.tape = eval_buffer(frame, step, POEI_BUFFER_TAPE);
  for (size_t i = 0; i < node->n_inputs; i++) {
    call.in[i] = &graph->nodes[node->inputs[i]].shape;
  }
  for (size_t i = 0; i < node->n_weights; i++) {
    if (node->weights[i] >= 0) {
      call.weights[i] = graph->weights[node->weights[i]].data;
      call.weight_shapes[i] = &graph->weights[node->weights[i]].shape;
    }
  }
  return call;
}

static void eval_load(const eval_frame *frame, poe_rows x) {
  void *to = eval_buffer(frame, 0, POEI_BUFFER_VALUE);
  for (size_t r = 0; r < x.n; r++) {
    const double *row = x.x + r * x.ld;
    if (frame->net->graph->precision == POEI_FLOAT32) {
      float *out = (float *)to + r * x.d;
      for (size_t i = 0; i < x.d; i++) {
        out[i] = (float)row[i];
      }
    } else {
      memcpy((double *)to + r * x.d, row, x.d * sizeof *row);
    }
  }
}

/* y[n, ldy] from the value of the output's step. */
static void eval_store(const eval_frame *frame, size_t step, double *y, size_t ldy) {
  size_t d = frame->net->out_shape.count;
  const void *from = eval_buffer(frame, step, POEI_BUFFER_VALUE);
  for (size_t r = 0; r < frame->n; r++) {
    for (size_t i = 0; i < d; i++) {
      y[r * ldy + i] = frame->net->graph->precision == POEI_FLOAT32 ? (double)((const float *)from)[r * d + i]
                                                                    : ((const double *)from)[r * d + i];
    }
  }
}

/* All steps forwards; y[n, ldy]. */
static void eval_forward(const eval_frame *frame, poe_rows x, double *y, size_t ldy, poe_scratch *scratch) {
  const poei_net *net = frame->net;
  eval_load(frame, x);
  for (size_t k = 1; k < net->n_steps; k++) {
    poei_call call = eval_call(frame, k);
    for (size_t i = 0; i < call.node->n_inputs; i++) {
      call.x[i] = eval_buffer(frame, (size_t)net->step[call.node->inputs[i]], POEI_BUFFER_VALUE);
    }
    call.y = eval_buffer(frame, k, POEI_BUFFER_VALUE);
    call.work = eval_buffer(frame, k, POEI_BUFFER_WORK);
    size_t mark = poe_scratch_mark(scratch);
    bool head = net->head && k + 1 == net->n_steps;
    if (head) { /* contiguous, then to the caller's stride */
      call.head = poe_scratch_doubles(scratch, frame->n * net->out_shape.count);
    }
    poei_op_records[call.node->op]->forward[net->graph->precision](&call);
    if (head) {
      for (size_t r = 0; r < frame->n; r++) {
        memcpy(y + r * ldy, call.head + r * net->out_shape.count, net->out_shape.count * sizeof *y);
      }
    }
    poe_scratch_release(scratch, mark);
  }
  if (!net->head) {
    eval_store(frame, net->n_steps - 1, y, ldy);
  }
}

void poei_net_eval(const poei_net *net, poe_rows x, double *y, size_t ldy, poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch);
  eval_frame frame = eval_open(net, false, x.n, scratch);
  eval_forward(&frame, x, y, ldy, scratch);
  poe_scratch_release(scratch, mark);
}

/* The output's gradient buffer from dy[n, out] by rows of largest size 1; scale[n] = what was divided by. */
static void eval_seed(const eval_frame *frame, size_t step, const double *dy, double *scale) {
  size_t d = frame->net->out_shape.count;
  void *to = eval_buffer(frame, step, POEI_BUFFER_GRAD);
  for (size_t r = 0; r < frame->n; r++) {
    const double *row = dy + r * d;
    double largest = 0.0;
    bool finite = true;
    for (size_t i = 0; i < d; i++) {
      largest = fmax(largest, fabs(row[i]));
      finite = finite && isfinite(row[i]);
    }
    scale[r] = finite ? largest : 1.0;
    for (size_t i = 0; i < d; i++) {
      double seed = largest == 0.0 ? 0.0 : row[i] / scale[r];
      if (frame->net->graph->precision == POEI_FLOAT32) {
        ((float *)to)[r * d + i] = (float)seed;
      } else {
        ((double *)to)[r * d + i] = seed;
      }
    }
  }
}

/* All steps backwards, from the output's gradient buffer to the input's. The first of several readers of a value sets
 * its gradient, the others add. */
static void eval_backward(const eval_frame *frame) {
  const poei_net *net = frame->net;
  for (size_t k = net->n_steps; k-- > 1;) {
    poei_call call = eval_call(frame, k);
    call.dy = eval_buffer(frame, k, POEI_BUFFER_GRAD);
    call.work = eval_buffer(frame, k, POEI_BUFFER_WORK_BACK);
    for (size_t i = 0; i < call.node->n_inputs; i++) {
      size_t from = (size_t)net->step[call.node->inputs[i]];
      call.dx[i] = eval_buffer(frame, from, POEI_BUFFER_GRAD);
      call.accumulate[i] = net->last_reader[from] != k || (i > 0 && call.dx[i] == call.dx[i - 1]);
    }
    poei_op_records[call.node->op]->vjp[net->graph->precision](&call);
  }
}

/* dx[n, ldx] += scale[n] * the input's gradient buffer. */
static void eval_add(const eval_frame *frame, const double *scale, double *dx, size_t ldx) {
  size_t d = poei_net_in_dim(frame->net);
  const void *from = eval_buffer(frame, 0, POEI_BUFFER_GRAD);
  for (size_t r = 0; r < frame->n; r++) {
    if (scale[r] == 0.0) {
      continue;
    }
    double *row = dx + r * ldx;
    if (frame->net->graph->precision == POEI_FLOAT32) {
      const float *g = (const float *)from + r * d;
      for (size_t i = 0; i < d; i++) {
        row[i] += scale[r] * (double)g[i];
      }
    } else {
      const double *g = (const double *)from + r * d;
      for (size_t i = 0; i < d; i++) {
        row[i] += scale[r] * g[i];
      }
    }
  }
}

poe_status poei_net_eval_vjp(const poei_net *net, poe_rows x,
                             poe_status (*pull)(void *context, poe_rows y, double *dy, poe_scratch *scratch,
                                                poe_error *error),
                             void *context, double *dx, size_t ldx, poe_scratch *scratch, poe_error *error) {
  size_t mark = poe_scratch_mark(scratch), d = net->out_shape.count;
  double *y = poe_scratch_doubles(scratch, x.n * d);
  double *dy = poe_scratch_doubles(scratch, x.n * d);
  double *scale = poe_scratch_doubles(scratch, x.n);
  eval_frame frame = eval_open(net, true, x.n, scratch);
  eval_forward(&frame, x, y, d, scratch);
  poe_status status = pull(context, (poe_rows){.n = x.n, .d = d, .ld = d, .x = y}, dy, scratch, error);
  if (status == POE_OK) {
    eval_seed(&frame, net->n_steps - 1, dy, scale);
    eval_backward(&frame);
    eval_add(&frame, scale, dx, ldx);
  }
  poe_scratch_release(scratch, mark);
  return status;
}
