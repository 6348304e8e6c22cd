/* The memory plan (net/compile.h): liveness, then first fit by decreasing size.
 *
 * Time runs over the K steps forwards (step k at time k), the output (time K), and the steps backwards (step k at time
 * 2K - k). A value lives from its step to its last reader, a tape from its step forwards to its step backwards, a
 * gradient from its first writer backwards (the last reader of the value) to its step; working memory only at its
 * step's time.
 */
#include <stdint.h>
#include <stdlib.h>

#include "core/alloc.h"
#include "net/compile.h"

typedef struct plan_buffer {
  size_t step;
  poei_buffer kind;
  size_t size;        /* numbers per row, a multiple of 16; 0 = none */
  size_t first, last; /* times */
  size_t offset;
} plan_buffer;

static size_t plan_round(size_t count) {
  return (count + 15) / 16 * 16;
}

/* The buffers of step k, one of each kind, of size 0 where there is none. */
static void plan_buffers_of_step(const poei_net *net, bool backwards, size_t k, plan_buffer *buffers) {
  const poei_node *node = &net->graph->nodes[net->node[k]];
  const poei_op_record *record = poei_op_records[node->op];
  size_t count = plan_round(node->shape.count), last = net->last_reader[k], end = 2 * net->n_steps;
  bool in_doubles = net->head && k + 1 == net->n_steps;
  buffers[POEI_BUFFER_VALUE] = (plan_buffer){.size = in_doubles ? 0 : count, .first = k, .last = last};
  buffers[POEI_BUFFER_TAPE] = (plan_buffer){.first = k, .last = end - k};
  buffers[POEI_BUFFER_GRAD] = (plan_buffer){.first = end - last, .last = end - k};
  poei_pass pass = backwards ? POEI_PASS_TAPED : POEI_PASS_FORWARD;
  size_t work = record->work == NULL ? 0 : plan_round(record->work(net->graph, node, pass));
  buffers[POEI_BUFFER_WORK] = (plan_buffer){.size = work, .first = k, .last = k};
  buffers[POEI_BUFFER_WORK_BACK] = (plan_buffer){.size = backwards ? work : 0, .first = end - k, .last = end - k};
  if (backwards) {
    buffers[POEI_BUFFER_TAPE].size = record->tape == NULL ? 0 : plan_round(record->tape(net->graph, node));
    buffers[POEI_BUFFER_GRAD].size = count;
  }
  for (int kind = 0; kind < POEI_BUFFER_COUNT; kind++) {
    buffers[kind].step = k;
    buffers[kind].kind = (poei_buffer)kind;
  }
}

static int plan_by_size(const void *a, const void *b) {
  const plan_buffer *p = a, *q = b;
  if (p->size != q->size) {
    return p->size < q->size ? 1 : -1;
  }
  if (p->first != q->first) {
    return p->first < q->first ? -1 : 1;
  }
  return (int)p->kind - (int)q->kind;
}

/* The lowest offset at which `buffer` meets none of the placed ones (sorted by offset) that live at the same time. */
static size_t plan_lowest_gap(const plan_buffer *buffer, const plan_buffer *placed, size_t n) {
  size_t offset = 0;
  for (size_t i = 0; i < n; i++) {
    bool together = placed[i].first <= buffer->last && buffer->first <= placed[i].last;
    if (!together || placed[i].offset + placed[i].size <= offset) {
      continue;
    }
    if (placed[i].offset >= offset + buffer->size) {
      break;
    }
    offset = placed[i].offset + placed[i].size;
  }
  return offset;
}

poe_status poei_plan_make(const poei_net *net, bool backwards, poei_plan *plan, poe_error *error) {
  size_t n = POEI_BUFFER_COUNT * net->n_steps, placed_count = 0;
  plan_buffer *buffers = poei_alloc(n, sizeof *buffers), *placed = poei_alloc(n, sizeof *placed);
  plan->offset = poei_alloc(net->n_steps, sizeof *plan->offset);
  plan->per_row = 0;
  bool memory = buffers != NULL && placed != NULL && plan->offset != NULL;
  if (memory) {
    for (size_t k = 0; k < net->n_steps; k++) {
      plan_buffers_of_step(net, backwards, k, buffers + POEI_BUFFER_COUNT * k);
    }
    qsort(buffers, n, sizeof *buffers, plan_by_size);
    for (size_t i = 0; i < n; i++) {
      plan_buffer *buffer = &buffers[i];
      if (buffer->size == 0) {
        plan->offset[buffer->step][buffer->kind] = POEI_NO_BUFFER;
        continue;
      }
      buffer->offset = plan_lowest_gap(buffer, placed, placed_count);
      plan->offset[buffer->step][buffer->kind] = buffer->offset;
      size_t end = buffer->offset + buffer->size;
      plan->per_row = end > plan->per_row ? end : plan->per_row;
      size_t at = placed_count++;
      for (; at > 0 && placed[at - 1].offset > buffer->offset; at--) {
        placed[at] = placed[at - 1];
      }
      placed[at] = *buffer;
    }
  }
  poei_free(buffers);
  poei_free(placed);
  if (!memory) {
    poei_free(plan->offset);
    plan->offset = NULL;
    return poe_error_set(error, POE_E_MEMORY, "out of memory for the plan of a network");
  }
  return POE_OK;
}
