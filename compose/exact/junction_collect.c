/* Collecting: from the leaves of the junction tree to its roots, one bucket after the other.
 *
 * A bucket's message is the product of its tables, summed (maximised) over its variable. Messages are divided by their
 * largest value (by a power of two while they are values), and the logs of what was divided by are added up with
 * compensation: they are log Z. A bucket works on values while the smallest product of its tables keeps its digits,
 * else on logs. Small tables of a large clique are first multiplied into one.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "compose/exact/junction_parts.h"
#include "core/alloc.h"
#include "core/numerics.h"

enum {
  SMALL = 1024,    /* states of a table that is made of several     */
  LARGE = 1 << 14, /* states of a clique for which that is worth it */
  MANY = 16        /* or this many tables                           */
};

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* ---- tables ---- */

void poei_potential_bring(poei_potential *table, bool logs) {
  if (table->own == NULL) {
    table->value = logs ? table->logs : table->linear;
  } else if (logs && !table->log) {
    poei_vlog(table->own, table->own, table->size);
  } else if (!logs && table->log) {
    poei_vexp(table->own, table->own, table->size);
  }
  table->log = logs;
}

/* Divides value[size] by its largest, or nearly so; returns the log of what it was divided by, -inf when all are 0.
 * *depth: from 1 down to the smallest positive value. */
static double normalise(double *value, size_t size, bool logs, double *depth) {
  double top = -INFINITY, bottom = INFINITY, zero = logs ? -INFINITY : 0.0;
  for (size_t i = 0; i < size; i++) {
    double v = value[i], positive = v > zero ? v : INFINITY;
    top = v > top ? v : top;
    bottom = positive < bottom ? positive : bottom;
  }
  *depth = 0.0;
  if (top == zero) {
    return -INFINITY;
  }
  if (logs) {
    for (size_t i = 0; i < size; i++) {
      value[i] -= top;
    }
    *depth = top - bottom;
    return top;
  }
  int power = ilogb(top) + 1;
  double scale = ldexp(1.0, -power); /* a power of two: nothing is rounded */
  for (size_t i = 0; power != 0 && i < size; i++) {
    value[i] *= scale;
  }
  *depth = -log(bottom * scale);
  return (double)power * POEI_LOG_2;
}

static void add_log(poei_junction *junction, double value) { /* Neumaier's sum */
  if (value == -INFINITY) {
    junction->sum = -INFINITY;
    junction->lost = 0.0;
    return;
  }
  double next = junction->sum + value;
  junction->lost +=
      fabs(junction->sum) >= fabs(value) ? (junction->sum - next) + value : (value - next) + junction->sum;
  junction->sum = next;
}

/* The table of a factor over positions, by value where that loses nothing. */
static poe_status factor_potential(poei_junction *junction, size_t f, poei_potential *out, poe_error *error) {
  const poei_field_factor_data *factor = &junction->graph->factor[f];
  const poei_field_table_data *table = &junction->graph->table[factor->table];
  size_t *axis = poei_region_take(&junction->region, factor->n, sizeof *axis), n = 0;
  if (axis == NULL) {
    return no_memory(error);
  }
  for (size_t k = 0; k < factor->n; k++) {
    size_t at = junction->order.position[factor->variable[k]];
    if (at != POEI_NO_POSITION) {
      axis[n++] = at;
    }
  }
  *out = (poei_potential){.n = n,
                          .axis = axis,
                          .size = table->size,
                          .depth = table->depth,
                          .logs = table->log_value,
                          .linear = table->linear,
                          .child = POEI_NO_POSITION};
  return POE_OK;
}

/* ---- the inputs of a bucket ---- */

bool poei_bucket_is_maximum(const poei_junction *junction, size_t p) {
  return junction->options.goal == POEI_JUNCTION_BEST &&
         (junction->phase == NULL || junction->phase[junction->order.variable[p]] != 0);
}

static poe_status gather(poei_junction *junction, size_t p, poe_error *error) {
  poei_bucket *bucket = &junction->bucket[p];
  size_t n = junction->first[p + 1] - junction->first[p];
  for (size_t c = bucket->child; c != POEI_NO_POSITION; c = junction->bucket[c].sibling) {
    n++;
  }
  bucket->input = poei_region_take(&junction->region, n, sizeof *bucket->input);
  if (bucket->input == NULL) {
    return no_memory(error);
  }
  for (size_t k = junction->first[p]; k < junction->first[p + 1]; k++) {
    poe_status status = factor_potential(junction, junction->factor[k], &bucket->input[bucket->n_inputs++], error);
    if (status != POE_OK) {
      return status;
    }
  }
  for (size_t c = bucket->child; c != POEI_NO_POSITION; c = junction->bucket[c].sibling) {
    bucket->input[bucket->n_inputs++] = junction->bucket[c].message;
  }
  return POE_OK;
}

/* Are logs called for: might a product of values underflow, or is a maximum wanted? */
static bool wants_logs(const poei_junction *junction, size_t p, size_t n, const poei_potential *table) {
  double depth = 0.0;
  for (size_t i = 0; i < n; i++) {
    depth += table[i].depth + POEI_LOG_2; /* the largest is between 1/2 and 1 */
  }
  return depth > POEI_DEPTH || poei_bucket_is_maximum(junction, p);
}

static void bring_all(poei_junction *junction, size_t n, poei_potential *table, bool logs) {
  for (size_t i = 0; i < n; i++) {
    poei_potential_bring(&table[i], logs);
    if (table[i].child != POEI_NO_POSITION) {
      junction->bucket[table[i].child].message.log = logs;
    }
  }
}

/* ---- making small tables one ---- */

static int by_size(const void *a, const void *b) {
  const poei_potential *x = a, *y = b;
  return (x->size > y->size) - (x->size < y->size);
}

static int by_position(const void *a, const void *b) {
  size_t x = *(const size_t *)a, y = *(const size_t *)b;
  return (x > y) - (x < y);
}

enum { SMALL_AXES = 16 }; /* of two values at least, so that more would be more than SMALL states */

/* Adds the axes of a table to axis[*n]; the states that makes, or SIZE_MAX above SMALL (then nothing is added). */
static size_t unite(const size_t *cardinality, const poei_potential *table, size_t states, size_t *n, size_t *axis) {
  size_t count = *n;
  for (size_t k = 0; k < table->n; k++) {
    size_t i = 0;
    while (i < count && axis[i] != table->axis[k]) {
      i++;
    }
    if (i == count) {
      states *= cardinality[table->axis[k]];
      if (states > SMALL) {
        return SIZE_MAX;
      }
      axis[count++] = table->axis[k];
    }
  }
  *n = count;
  return states;
}

/* table[0] becomes the product of table[count], over axis[n]. */
static poe_status multiply(poei_junction *junction, size_t p, size_t count, poei_potential *table, size_t n,
                           size_t *axis, size_t states, poe_error *error) {
  poei_region region;
  poei_region_init(&region, SIZE_MAX);
  poei_walk walk;
  qsort(axis, n, sizeof *axis, by_position);
  bool logs = wants_logs(junction, p, count, table);
  poei_potential made = {.n = n, .size = states, .log = logs, .child = POEI_NO_POSITION};
  made.axis = poei_region_copy(&junction->region, axis, n, sizeof *axis);
  made.own = poei_region_take(&junction->region, states, sizeof *made.own);
  made.value = made.own;
  poe_status status =
      made.axis == NULL || made.own == NULL
          ? no_memory(error)
          : poei_walk_open(&region, junction->cardinality, n, made.axis, POEI_NO_POSITION, count, table, &walk, error);
  double *row = status == POE_OK ? poei_region_take(&region, 3 * walk.block, sizeof *row) : NULL;
  if (status == POE_OK && row == NULL) {
    status = no_memory(error);
  }
  if (status == POE_OK) {
    bring_all(junction, count, table, logs);
    poei_walk_contract(&walk, logs ? POEI_MAX_LOG : POEI_SUM_LINEAR, table, made.own, row);
    add_log(junction, normalise(made.own, states, logs, &made.depth));
    table[0] = made;
  }
  poei_region_free(&region);
  return status;
}

/* Multiplies the small tables of a bucket, in groups of some, until there are few. */
static poe_status merge(poei_junction *junction, size_t p, poe_error *error) {
  poei_bucket *bucket = &junction->bucket[p];
  bool large = bucket->message.size * junction->cardinality[p] >= LARGE && bucket->n_inputs >= 3, progress = true;
  poe_status status = POE_OK;
  while (status == POE_OK && progress && (large || bucket->n_inputs > MANY)) {
    size_t kept = 0, next = 0;
    qsort(bucket->input, bucket->n_inputs, sizeof *bucket->input, by_size);
    large = progress = false;
    while (next < bucket->n_inputs && status == POE_OK) {
      size_t axis[SMALL_AXES], n = 0, states = 1, first = next, wide;
      while (next < bucket->n_inputs && next - first < MANY &&
             (wide = unite(junction->cardinality, &bucket->input[next], states, &n, axis)) != SIZE_MAX) {
        states = wide;
        next++;
      }
      if (next - first > 1) {
        status = multiply(junction, p, next - first, &bucket->input[first], n, axis, states, error);
        progress = true;
      }
      next += next == first;
      bucket->input[kept++] = bucket->input[first];
    }
    bucket->n_inputs = kept;
  }
  return status;
}

/* ---- the message of a bucket ---- */

static poe_status contract(poei_junction *junction, size_t p, poe_error *error) {
  poei_bucket *bucket = &junction->bucket[p];
  poei_potential *message = &bucket->message;
  poei_region region;
  poei_region_init(&region, SIZE_MAX);
  poei_walk walk;
  poe_status status = poei_walk_open(&region, junction->cardinality, message->n, message->axis, p, bucket->n_inputs,
                                     bucket->input, &walk, error);
  double *row = status == POE_OK ? poei_region_take(&region, 3 * walk.block, sizeof *row) : NULL;
  bucket->value = poei_alloc(message->size, sizeof *bucket->value);
  if (status == POE_OK && (row == NULL || bucket->value == NULL)) {
    status = no_memory(error);
  }
  if (status == POE_OK) {
    poei_algebra algebra = !bucket->log                          ? POEI_SUM_LINEAR
                           : poei_bucket_is_maximum(junction, p) ? POEI_MAX_LOG
                                                                 : POEI_SUM_LOG;
    poei_walk_contract(&walk, algebra, bucket->input, bucket->value, row);
    message->value = message->own = bucket->value;
    message->log = bucket->log;
    bucket->shift = normalise(bucket->value, message->size, bucket->log, &message->depth);
    add_log(junction, bucket->shift);
    if (algebra == POEI_SUM_LOG && message->depth <= POEI_DEPTH) {
      poei_potential_bring(message, false);
    }
  }
  poei_region_free(&region);
  return status;
}

poe_status poei_bucket_eliminate(poei_junction *junction, size_t p, size_t first_freed, poe_error *error) {
  const poei_elimination *order = &junction->order;
  poei_bucket *bucket = &junction->bucket[p];
  bucket->message.n = order->start[p + 1] - order->start[p];
  bucket->message.axis = &order->scope[order->start[p]];
  bucket->message.size = 1;
  bucket->message.child = p;
  for (size_t k = 0; k < bucket->message.n; k++) {
    bucket->message.size *= junction->cardinality[bucket->message.axis[k]];
  }
  poe_status status = gather(junction, p, error);
  if (status == POE_OK) {
    status = merge(junction, p, error);
  }
  if (status == POE_OK) {
    bucket->log = wants_logs(junction, p, bucket->n_inputs, bucket->input);
    bring_all(junction, bucket->n_inputs, bucket->input, bucket->log);
    status = contract(junction, p, error);
  }
  for (size_t c = bucket->child; c != POEI_NO_POSITION; c = junction->bucket[c].sibling) {
    if (c >= first_freed) {
      poei_free(junction->bucket[c].value);
      junction->bucket[c].value = NULL;
      junction->bucket[c].message.value = junction->bucket[c].message.own = NULL;
    }
  }
  return status;
}

/* ---- all of it ---- */

static poe_status check_size(const poei_junction *junction, poe_error *error) {
  poei_junction_size size = poei_junction_size_of(junction);
  double limit = (double)junction->options.byte_limit;
  if (junction->order.found && size.bytes <= limit) {
    return POE_OK;
  }
  char needed[32], allowed[32], alone[32], rest[96] = "";
  const char *least = size.at_least ? "at least " : "";
  bool log_z =
      junction->order.found && junction->options.goal == POEI_JUNCTION_DRAWS && junction->order.peak_bytes <= limit;
  if (log_z) {
    snprintf(rest, sizeof rest, "; log Z itself is to be had, in %s",
             poei_bytes_text(junction->order.peak_bytes, alone, sizeof alone));
  }
  poe_error_set(error, POE_E_CAPABILITY,
                "exact elimination needs %s%s of tables, and %s are allowed: treewidth %s%zu, the largest clique has "
                "%s%zu variables and %.3g joint states%s",
                least, poei_bytes_text(size.bytes, needed, sizeof needed),
                poei_bytes_text(limit, allowed, sizeof allowed), least, size.width, least, size.width + 1, size.states,
                rest);
  poe_error_hint(error,
                 "--table-bytes allows more (now %s), or give values to some of the variables, so that the rest "
                 "falls apart",
                 allowed);
  return POE_E_CAPABILITY;
}

poe_status poei_junction_run(poei_junction *junction, poe_error *error) {
  poe_status status = check_size(junction, error);
  for (size_t p = 0; status == POE_OK && p < junction->order.eliminated && junction->sum != -INFINITY; p++) {
    bool keep =
        junction->kept && (junction->options.goal == POEI_JUNCTION_DRAWS || poei_bucket_is_maximum(junction, p));
    status = poei_bucket_eliminate(junction, p, keep ? SIZE_MAX : 0, error);
    const poei_bucket *bucket = &junction->bucket[p];
    if (status == POE_OK && junction->sum == -INFINITY) {
      junction->conflict = junction->order.variable[p];
    } else if (status == POE_OK && bucket->message.n == 0) { /* a root: one number, of which the log is left */
      add_log(junction, bucket->message.log ? bucket->value[0] : log(bucket->value[0]));
    }
  }
  if (status == POE_OK && junction->sum == -INFINITY) {
    status = poe_error_set(error, POE_E_EMPTY,
                           "every joint value has probability 0: the factors contradict each other at variable %zu",
                           junction->conflict);
  }
  return status;
}

poe_status poei_junction_rest(poei_junction *junction, size_t *n, poei_potential **rest, poe_error *error) {
  const poei_elimination *order = &junction->order;
  size_t from = junction->first[order->eliminated], to = junction->first[order->n];
  *n = 0;
  *rest = poei_region_take(&junction->region, to - from + order->eliminated, sizeof **rest);
  if (*rest == NULL) {
    return no_memory(error);
  }
  for (size_t k = from; k < to; k++) {
    poe_status status = factor_potential(junction, junction->factor[k], &(*rest)[(*n)++], error);
    if (status != POE_OK) {
      return status;
    }
  }
  for (size_t p = 0; p < order->eliminated; p++) {
    if (order->parent[p] == POEI_NO_POSITION && junction->bucket[p].message.n > 0) {
      (*rest)[(*n)++] = junction->bucket[p].message;
    }
  }
  return POE_OK;
}
