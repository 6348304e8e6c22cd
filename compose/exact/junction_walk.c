/* Walking over a joint table block by block, and the sums that walking is for (see junction_parts.h).
 *
 * The joint table of a clique is never built: for each block of a message's fastest axes and each value of the variable
 * that is eliminated, the tables' rows are multiplied and added to the block. A table runs along a block directly,
 * stays the same, or is gathered through offsets that are the same in every block.
 *
 *   linear:  out = sum_v prod_f table_f        logs:  out = top + log sum_v exp(sum_f table_f - top)
 */
#include <math.h>
#include <string.h>

#include "compose/exact/junction_parts.h"
#include "core/numerics.h"

enum { BLOCK = 1024 }; /* states, at most, unless a single axis is longer: a few rows stay in the nearest cache */

/* ---- opening ---- */

static size_t stride_of(const poei_potential *table, const size_t *cardinality, size_t axis) {
  size_t stride = 1;
  for (size_t k = table->n; k-- > 0;) {
    if (table->axis[k] == axis) {
      return stride;
    }
    stride *= cardinality[table->axis[k]];
  }
  return 0;
}

/* How the table runs along the axes outer .. n - 1, and the offsets when it jumps. */
static bool open_run(poei_region *region, const size_t *cardinality, size_t n, const size_t *axis, size_t block,
                     const poei_potential *table, poei_walker *walker) {
  bool direct = true, constant = true;
  size_t length = 1;
  for (size_t k = n; k-- > 0;) {
    size_t stride = stride_of(table, cardinality, axis[k]);
    direct = direct && stride == length;
    constant = constant && stride == 0;
    length *= cardinality[axis[k]];
  }
  walker->run = constant ? POEI_RUN_CONSTANT : direct ? POEI_RUN_DIRECT : POEI_RUN_GATHER;
  if (walker->run != POEI_RUN_GATHER) {
    return true;
  }
  walker->index = poei_region_take(region, block, sizeof *walker->index);
  if (walker->index == NULL) {
    return false;
  }
  length = 1;
  for (size_t k = n; k-- > 0;) {
    size_t stride = stride_of(table, cardinality, axis[k]);
    for (size_t j = 1; j < cardinality[axis[k]]; j++) {
      for (size_t i = 0; i < length; i++) {
        walker->index[j * length + i] = walker->index[i] + (uint32_t)(j * stride);
      }
    }
    length *= cardinality[axis[k]];
  }
  return true;
}

poe_status poei_walk_open(poei_region *region, const size_t *cardinality, size_t n, const size_t *axis, size_t variable,
                          size_t n_tables, const poei_potential *table, poei_walk *walk, poe_error *error) {
  *walk = (poei_walk){.block = 1, .blocks = 1, .n_outer = n, .n = n_tables};
  walk->values = variable == POEI_NO_POSITION ? 1 : cardinality[variable];
  while (walk->n_outer > 0 && (walk->n_outer == n || walk->block * cardinality[axis[walk->n_outer - 1]] <= BLOCK)) {
    walk->block *= cardinality[axis[--walk->n_outer]];
  }
  walk->cardinality = poei_region_take(region, walk->n_outer, sizeof *walk->cardinality);
  walk->digit = poei_region_take(region, walk->n_outer, sizeof *walk->digit);
  walk->table = poei_region_take(region, n_tables, sizeof *walk->table);
  bool good = walk->cardinality != NULL && walk->digit != NULL && walk->table != NULL;
  for (size_t k = 0; good && k < walk->n_outer; k++) {
    walk->cardinality[k] = cardinality[axis[k]];
    walk->blocks *= cardinality[axis[k]];
  }
  for (size_t t = 0; good && t < n_tables; t++) {
    poei_walker *walker = &walk->table[t];
    walker->step = variable == POEI_NO_POSITION ? 0 : stride_of(&table[t], cardinality, variable);
    walker->stride = poei_region_take(region, walk->n_outer, sizeof *walker->stride);
    good = walker->stride != NULL &&
           open_run(region, cardinality, n - walk->n_outer, &axis[walk->n_outer], walk->block, &table[t], walker);
    for (size_t k = 0; good && k < walk->n_outer; k++) {
      walker->stride[k] = stride_of(&table[t], cardinality, axis[k]);
    }
  }
  return good ? POE_OK : poe_error_set(error, POE_E_MEMORY, "out of memory");
}

void poei_walk_next(poei_walk *walk) {
  for (size_t k = walk->n_outer; k-- > 0;) {
    bool wraps = ++walk->digit[k] == walk->cardinality[k];
    for (size_t t = 0; t < walk->n; t++) {
      poei_walker *table = &walk->table[t];
      table->offset += wraps ? (size_t)0 - (walk->cardinality[k] - 1) * table->stride[k] : table->stride[k];
    }
    if (!wraps) {
      return;
    }
    walk->digit[k] = 0;
  }
}

/* ---- rows ---- */

/* row = c op table, row op= table */
#define ROWS(name, op)                                                                                                 \
  static void name##_load(double *restrict row, double c, const double *restrict t, const uint32_t *restrict index,    \
                          size_t n) {                                                                                  \
    if (index == NULL) {                                                                                               \
      for (size_t i = 0; i < n; i++) {                                                                                 \
        row[i] = c op t[i];                                                                                            \
      }                                                                                                                \
    } else {                                                                                                           \
      for (size_t i = 0; i < n; i++) {                                                                                 \
        row[i] = c op t[index[i]];                                                                                     \
      }                                                                                                                \
    }                                                                                                                  \
  }                                                                                                                    \
  static void name##_more(double *restrict row, const double *restrict t, const uint32_t *restrict index, size_t n) {  \
    if (index == NULL) {                                                                                               \
      for (size_t i = 0; i < n; i++) {                                                                                 \
        row[i] = row[i] op t[i];                                                                                       \
      }                                                                                                                \
    } else {                                                                                                           \
      for (size_t i = 0; i < n; i++) {                                                                                 \
        row[i] = row[i] op t[index[i]];                                                                                \
      }                                                                                                                \
    }                                                                                                                  \
  }
ROWS(times, *)
ROWS(plus, +)
#undef ROWS

bool poei_walk_row(const poei_walk *walk, bool logs, size_t n, const poei_potential *table, size_t value, double *row) {
  double c = logs ? 0.0 : 1.0;
  for (size_t t = 0; t < n; t++) {
    if (walk->table[t].run == POEI_RUN_CONSTANT) {
      double own = table[t].value[walk->table[t].offset + value * walk->table[t].step];
      c = logs ? c + own : c * own;
    }
  }
  if (c == (logs ? -INFINITY : 0.0)) {
    return false;
  }
  bool loaded = false;
  for (size_t t = 0; t < n; t++) {
    const poei_walker *at = &walk->table[t];
    const double *from = &table[t].value[at->offset + value * at->step];
    if (at->run == POEI_RUN_CONSTANT) {
      continue;
    }
    if (!loaded && logs) {
      plus_load(row, c, from, at->index, walk->block);
    } else if (!loaded) {
      times_load(row, c, from, at->index, walk->block);
    } else if (logs) {
      plus_more(row, from, at->index, walk->block);
    } else {
      times_more(row, from, at->index, walk->block);
    }
    loaded = true;
  }
  for (size_t i = 0; !loaded && i < walk->block; i++) {
    row[i] = c;
  }
  return true;
}

/* ---- sums ---- */

static void add_row(double *restrict out, const double *restrict row, size_t n) {
  for (size_t i = 0; i < n; i++) {
    out[i] += row[i];
  }
}

static void raise_row(double *restrict out, const double *restrict row, size_t n) {
  for (size_t i = 0; i < n; i++) {
    out[i] = out[i] > row[i] ? out[i] : row[i];
  }
}

static void fill_row(double *out, double value, size_t n) {
  for (size_t i = 0; i < n; i++) {
    out[i] = value;
  }
}

static void sum_block(const poei_walk *walk, const poei_potential *table, double *out, double *row) {
  fill_row(out, 0.0, walk->block);
  for (size_t v = 0; v < walk->values; v++) {
    if (poei_walk_row(walk, false, walk->n, table, v, row)) {
      add_row(out, row, walk->block);
    }
  }
}

static void max_block(const poei_walk *walk, const poei_potential *table, double *out, double *row) {
  fill_row(out, -INFINITY, walk->block);
  for (size_t v = 0; v < walk->values; v++) {
    if (poei_walk_row(walk, true, walk->n, table, v, row)) {
      raise_row(out, row, walk->block);
    }
  }
}

/* Twice over the values: for the largest, then for the sum relative to it. */
static void sum_logs_block(const poei_walk *walk, const poei_potential *table, double *out, double *row) {
  double *top = &row[walk->block], *sum = &row[2 * walk->block];
  size_t n = walk->block;
  max_block(walk, table, out, row);
  for (size_t i = 0; i < n; i++) {
    top[i] = out[i] == -INFINITY ? 0.0 : out[i];
    sum[i] = 0.0;
  }
  for (size_t v = 0; v < walk->values; v++) {
    if (poei_walk_row(walk, true, walk->n, table, v, row)) {
      for (size_t i = 0; i < n; i++) {
        row[i] -= top[i];
      }
      poei_vexp(row, row, n);
      add_row(sum, row, n);
    }
  }
  poei_vlog(sum, sum, n);
  for (size_t i = 0; i < n; i++) {
    out[i] = top[i] + sum[i];
  }
}

void poei_walk_contract(poei_walk *walk, poei_algebra algebra, const poei_potential *table, double *out, double *row) {
  for (size_t b = 0; b < walk->blocks; b++) {
    double *at = &out[b * walk->block];
    switch (algebra) {
    case POEI_SUM_LINEAR:
      sum_block(walk, table, at, row);
      break;
    case POEI_SUM_LOG:
      sum_logs_block(walk, table, at, row);
      break;
    case POEI_MAX_LOG:
      max_block(walk, table, at, row);
      break;
    }
    poei_walk_next(walk);
  }
}
