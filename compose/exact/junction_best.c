/* The k most probable joint values from a junction of maxima, in one pass down the tree.
 *
 * Backwards through the order each variable takes a value; what was chosen so far is a prefix. Because messages are
 * maxima over everything below, the best completion of a prefix has a known value: one value of the next variable
 * keeps it, the others lose the difference of their weights. The k best joint values have prefixes among the k best of
 * every length (each better prefix has a better completion of its own), so that k prefixes are all that is kept. It is
 * Nilsson's (1998) search made level by level, for which each table is needed once.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/junction_parts.h"
#include "core/alloc.h"

/* A prefix: its best completion's log value, and the row of `known` that holds it. */
typedef struct prefix {
  double value;
  size_t row;
} prefix;

/* A prefix's other value at this position. */
typedef struct branch {
  double value;
  size_t row, choice, number;
} branch;

typedef struct beam {
  const poei_junction *junction;
  size_t k, n;              /* most prefixes, prefixes                           */
  prefix *kept, *merged;    /* [k] the best first                                */
  size_t rows;              /* rows of `known` that were ever used               */
  size_t capacity;          /* rows there are                                    */
  size_t *known;            /* [capacity, order n] by position                   */
  size_t *unused, n_unused; /* [k] rows that were given up                       */
  size_t n_branches, b_capacity;
  branch *branch;
  double *weight; /* [longest] */
} beam;

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* ---- branches ---- */

static int by_value(const void *a, const void *b) {
  const branch *x = a, *y = b;
  return x->value != y->value ? (x->value < y->value) - (x->value > y->value)
                              : (x->number > y->number) - (x->number < y->number);
}

/* Equal values: the prefix that came first, then the smaller choice. */
static poe_status push(beam *run, double value, size_t row, size_t choice, poe_error *error) {
  if (run->n_branches == run->b_capacity) {
    size_t capacity = run->b_capacity == 0 ? 64 : 2 * run->b_capacity;
    branch *wide = poei_realloc(run->branch, capacity, sizeof *wide);
    if (wide == NULL) {
      return no_memory(error);
    }
    run->branch = wide;
    run->b_capacity = capacity;
  }
  run->branch[run->n_branches] = (branch){value, row, choice, run->n_branches};
  run->n_branches++;
  if (run->n_branches >= 64 && run->n_branches >= 2 * run->k) { /* no more than k of them can be wanted */
    qsort(run->branch, run->n_branches, sizeof *run->branch, by_value);
    run->n_branches = run->k;
    for (size_t i = 0; i < run->n_branches; i++) {
      run->branch[i].number = i;
    }
  }
  return POE_OK;
}

/* Every prefix takes its best value at p; the others become branches, if they can be among the k best. */
static poe_status choose(beam *run, size_t p, poe_error *error) {
  size_t values = run->junction->cardinality[p], n = run->junction->order.n;
  double least = run->n == run->k ? run->kept[run->n - 1].value : -INFINITY;
  poe_status status = POE_OK;
  run->n_branches = 0;
  for (size_t i = 0; i < run->n && status == POE_OK; i++) {
    size_t *known = &run->known[run->kept[i].row * n], best = 0;
    poei_bucket_weights(run->junction, p, known, run->weight);
    for (size_t a = 1; a < values; a++) {
      best = run->weight[a] > run->weight[best] ? a : best;
    }
    known[p] = best;
    for (size_t a = 0; a < values && status == POE_OK; a++) {
      double value = run->kept[i].value + (run->weight[a] - run->weight[best]);
      if (a != best && run->weight[a] != -INFINITY && value > least) {
        status = push(run, value, run->kept[i].row, a, error);
      }
    }
  }
  if (run->n_branches > 0) {
    qsort(run->branch, run->n_branches, sizeof *run->branch, by_value);
  }
  return status;
}

/* ---- rows ---- */

static poe_status take_row(beam *run, size_t *row, poe_error *error) {
  size_t n = run->junction->order.n;
  if (run->n_unused > 0) {
    *row = run->unused[--run->n_unused];
    return POE_OK;
  }
  if (run->rows == run->capacity) {
    size_t capacity = run->capacity == 0 ? 1 : 2 * run->capacity, total;
    capacity = capacity < run->k ? capacity : run->k;
    size_t *wide =
        poei_mul_size(capacity, n > 0 ? n : 1, &total) ? poei_realloc(run->known, total, sizeof *wide) : NULL;
    if (wide == NULL) {
      return no_memory(error);
    }
    run->known = wide;
    run->capacity = capacity;
  }
  *row = run->rows++;
  return POE_OK;
}

/* The k best of the prefixes and the branches; of equal ones the prefixes first, so that a branch's origin stays. */
static poe_status merge(beam *run, size_t p, poe_error *error) {
  size_t n = run->junction->order.n, from = 0, other = 0, total = run->n + run->n_branches;
  total = total < run->k ? total : run->k;
  size_t took = 0; /* branches among the best */
  for (size_t i = 0; i < total; i++) {
    bool prefix_next = from < run->n && (took == run->n_branches || run->kept[from].value >= run->branch[took].value);
    from += prefix_next;
    took += !prefix_next;
  }
  for (size_t i = from; i < run->n; i++) {
    run->unused[run->n_unused++] = run->kept[i].row;
  }
  run->n = from;
  from = 0;
  for (size_t i = 0; i < total; i++) {
    if (from < run->n && (other == took || run->kept[from].value >= run->branch[other].value)) {
      run->merged[i] = run->kept[from++];
      continue;
    }
    const branch *made = &run->branch[other++];
    size_t row;
    poe_status status = take_row(run, &row, error);
    if (status != POE_OK) {
      return status;
    }
    memcpy(&run->known[row * n + p], &run->known[made->row * n + p], (n - p) * sizeof *run->known);
    run->known[row * n + p] = made->choice;
    run->merged[i] = (prefix){made->value, row};
  }
  prefix *swap = run->kept;
  run->kept = run->merged;
  run->merged = swap;
  run->n = total;
  return POE_OK;
}

static poe_status lengthen(void *context, const poei_junction *part, size_t from, size_t to, poe_error *error) {
  beam *run = context;
  run->junction = part;
  poe_status status = POE_OK;
  for (size_t p = to; p-- > from && status == POE_OK;) {
    if (poei_bucket_is_maximum(part, p)) {
      status = choose(run, p, error);
      status = status == POE_OK ? merge(run, p, error) : status;
    }
  }
  return status;
}

/* ---- all of it ---- */

static poe_status beam_open(const poei_junction *junction, size_t k, beam *run, poe_error *error) {
  *run = (beam){.junction = junction, .k = k};
  run->kept = poei_alloc(k, sizeof *run->kept);
  run->merged = poei_alloc(k, sizeof *run->merged);
  run->unused = poei_alloc(k, sizeof *run->unused);
  run->weight = poei_alloc(junction->longest, sizeof *run->weight);
  if (run->kept == NULL || run->merged == NULL || run->unused == NULL || run->weight == NULL) {
    return no_memory(error);
  }
  size_t row = 0;
  poe_status status = k > 0 ? take_row(run, &row, error) : POE_OK;
  if (status == POE_OK && k > 0) {
    run->kept[run->n++] = (prefix){poei_junction_log_z(junction), row};
  }
  return status;
}

static void beam_close(beam *run) {
  poei_free(run->kept);
  poei_free(run->merged);
  poei_free(run->unused);
  poei_free(run->known);
  poei_free(run->branch);
  poei_free(run->weight);
}

poe_status poei_junction_best(const poei_junction *junction, size_t k, size_t *found, size_t *x, double *log_value,
                              poe_error *error) {
  beam run;
  poe_status status = beam_open(junction, k, &run, error);
  if (status == POE_OK && k > 0) {
    status = poei_junction_descend(junction, lengthen, &run, error);
  }
  const poei_elimination *order = &junction->order;
  size_t n = junction->graph->n;
  *found = status == POE_OK ? run.n : 0;
  for (size_t i = 0; i < *found; i++) {
    const size_t *known = &run.known[run.kept[i].row * order->n];
    for (size_t v = 0; v < n; v++) {
      bool summed = junction->phase != NULL && junction->phase[v] == 0;
      size_t p = order->position[v];
      x[i * n + v] = summed ? POEI_FIELD_FREE : p == POEI_NO_POSITION ? 0 : known[p];
    }
    log_value[i] = run.kept[i].value;
  }
  beam_close(&run);
  return status;
}
