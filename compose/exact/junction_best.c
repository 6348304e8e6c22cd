/* The most probable joint values from a junction of maxima, in order (Lawler 1972; Nilsson 1998).
 *
 * Backwards through the order each variable takes the value at which its bucket's product is largest. The next best
 * answer agrees with one already found on the variables before some turn and takes the next best value there; after
 * that it goes on as before. Because messages are maxima over everything below, its value is known without completing
 * it: the answer's value less what is lost at that turn. Each answer found opens its own alternatives, each set of
 * joint values in exactly one place.
 */
#include <math.h>
#include <stdlib.h>

#include "compose/exact/junction_parts.h"
#include "core/alloc.h"

/* Answers that agree with answer `from` before a turn and have the value `choice` there; the best of them is `value`.
 */
typedef struct branch {
  double value;
  size_t from, turn, choice, number;
} branch;

typedef struct chase {
  const poei_junction *junction;
  size_t turns, *turn; /* [turns] the positions that are maximised, the last first */
  size_t k, found, *x; /* [k, graph n]                                             */
  double *log_value;   /* [k]                                                      */
  size_t *known;       /* [order n] by position                                    */
  double *weight;      /* [longest]                                                */
  size_t n, capacity, made;
  branch *heap; /* [n] largest first */
} chase;

/* ---- the queue ---- */

static bool better(const branch *a, const branch *b) {
  return a->value != b->value ? a->value > b->value : a->number < b->number;
}

static int by_value(const void *a, const void *b) {
  return better(a, b) ? -1 : better(b, a) ? 1 : 0;
}

static poe_status push(chase *run, branch made, poe_error *error) {
  if (run->n == run->capacity && run->capacity > 2 * run->k) { /* no more than k of them can be wanted */
    qsort(run->heap, run->n, sizeof *run->heap, by_value);
    run->n = run->k;
  } else if (run->n == run->capacity) {
    size_t capacity = run->capacity == 0 ? 64 : 2 * run->capacity;
    branch *wide = poei_realloc(run->heap, capacity, sizeof *wide);
    if (wide == NULL) {
      return poe_error_set(error, POE_E_MEMORY, "out of memory");
    }
    run->heap = wide;
    run->capacity = capacity;
  }
  made.number = run->made++;
  size_t at = run->n++;
  for (; at > 0 && better(&made, &run->heap[(at - 1) / 2]); at = (at - 1) / 2) {
    run->heap[at] = run->heap[(at - 1) / 2];
  }
  run->heap[at] = made;
  return POE_OK;
}

static branch pop(chase *run) {
  branch first = run->heap[0], last = run->heap[--run->n];
  size_t at = 0;
  for (size_t child = 1; child < run->n; child = 2 * at + 1) {
    child += child + 1 < run->n && better(&run->heap[child + 1], &run->heap[child]);
    if (!better(&run->heap[child], &last)) {
      break;
    }
    run->heap[at] = run->heap[child];
    at = child;
  }
  run->heap[at] = last;
  return first;
}

/* ---- answers ---- */

/* The best value that comes after `from` in the order of falling weight (SIZE_MAX: the best of all); SIZE_MAX when
 * none is left. Equal weights go by number. */
static size_t next_value(const double *weight, size_t k, size_t from) {
  size_t best = SIZE_MAX;
  for (size_t a = 0; a < k; a++) {
    bool after = from == SIZE_MAX || weight[a] < weight[from] || (weight[a] == weight[from] && a > from);
    if (after && weight[a] != -INFINITY && (best == SIZE_MAX || weight[a] > weight[best])) {
      best = a;
    }
  }
  return best;
}

/* Completes a branch to the answer `found`, and opens the branches that leave it. */
static poe_status complete(chase *run, const branch *from, poe_error *error) {
  const poei_elimination *order = &run->junction->order;
  size_t n = run->junction->graph->n, *x = &run->x[run->found * n];
  bool first = from->from == SIZE_MAX;
  for (size_t t = 0; t < run->turns; t++) {
    size_t p = run->turn[t], k = run->junction->cardinality[p];
    if (!first && t < from->turn) {
      run->known[p] = run->x[from->from * n + order->variable[p]];
      continue;
    }
    poei_bucket_weights(run->junction, p, run->known, run->weight);
    size_t choice = !first && t == from->turn ? from->choice : next_value(run->weight, k, SIZE_MAX);
    size_t other = next_value(run->weight, k, choice);
    run->known[p] = choice;
    if (other != SIZE_MAX && run->found + 1 < run->k) {
      branch made = {from->value + (run->weight[other] - run->weight[choice]), run->found, t, other, 0};
      poe_status status = push(run, made, error);
      if (status != POE_OK) {
        return status;
      }
    }
  }
  for (size_t v = 0; v < n; v++) {
    size_t p = order->position[v];
    bool summed = run->junction->phase != NULL && run->junction->phase[v] == 0;
    x[v] = summed ? POEI_FIELD_FREE : p == POEI_NO_POSITION ? 0 : run->known[p];
  }
  run->log_value[run->found++] = from->value;
  return POE_OK;
}

poe_status poei_junction_best(const poei_junction *junction, size_t k, size_t *found, size_t *x, double *log_value,
                              poe_error *error) {
  chase run = {.junction = junction, .k = k, .x = x, .log_value = log_value};
  run.turn = poei_alloc(junction->order.n, sizeof *run.turn);
  run.known = poei_calloc(junction->order.n, sizeof *run.known);
  run.weight = poei_alloc(junction->longest, sizeof *run.weight);
  poe_status status = POE_OK;
  if (run.turn == NULL || run.known == NULL || run.weight == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t p = junction->order.eliminated; status == POE_OK && p-- > 0;) {
    if (poei_bucket_is_maximum(junction, p)) {
      run.turn[run.turns++] = p;
    }
  }
  if (status == POE_OK && k > 0) {
    status = push(&run, (branch){poei_junction_log_z(junction), SIZE_MAX, 0, 0, 0}, error);
  }
  while (status == POE_OK && run.n > 0 && run.found < k) {
    branch next = pop(&run);
    status = complete(&run, &next, error);
  }
  *found = run.found;
  poei_free(run.turn);
  poei_free(run.known);
  poei_free(run.weight);
  poei_free(run.heap);
  return status;
}
