/* The junction tree as data (see junction.h): an elimination order, and for each of its positions a bucket.
 *
 * A bucket holds the factors whose first variable in the order is its own, and the messages of its children. The work
 * is in junction_collect.c.
 */
#include "compose/exact/junction.h"

#include <math.h>
#include <stdio.h>

#include "compose/exact/junction_parts.h"
#include "core/alloc.h"

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* ---- opening ---- */

/* Factors by the first position they read; those that read none come to an end here. */
static poe_status sort_factors(poei_junction *junction, poe_error *error) {
  const poei_field *graph = junction->graph;
  size_t n = junction->order.n, *count = poei_region_take(&junction->region, n + 2, sizeof *count);
  size_t *home = poei_alloc(graph->n_factors, sizeof *home);
  junction->factor = poei_region_take(&junction->region, graph->n_factors, sizeof *junction->factor);
  if (count == NULL || home == NULL || junction->factor == NULL) {
    poei_free(home);
    return no_memory(error);
  }
  junction->first = count;
  for (size_t f = 0; f < graph->n_factors; f++) {
    home[f] = POEI_NO_POSITION;
    for (size_t k = 0; k < graph->factor[f].n; k++) {
      size_t at = junction->order.position[graph->factor[f].variable[k]];
      home[f] = at < home[f] ? at : home[f];
    }
    if (home[f] != POEI_NO_POSITION) {
      count[home[f] + 2]++;
    } else if (graph->table[graph->factor[f].table].log_value[0] == -INFINITY) {
      junction->sum = -INFINITY;
      junction->conflict = graph->factor[f].n > 0 ? graph->factor[f].variable[0] : 0;
    }
  }
  for (size_t p = 0; p < n; p++) {
    count[p + 2] += count[p + 1];
  }
  for (size_t f = 0; f < graph->n_factors; f++) {
    if (home[f] != POEI_NO_POSITION) {
      junction->factor[count[home[f] + 1]++] = f;
    }
  }
  poei_free(home);
  return POE_OK;
}

static poe_status open_buckets(poei_junction *junction, poe_error *error) {
  const poei_elimination *order = &junction->order;
  junction->cardinality = poei_region_take(&junction->region, order->n, sizeof *junction->cardinality);
  junction->bucket = poei_region_take(&junction->region, order->eliminated, sizeof *junction->bucket);
  junction->bytes = poei_region_take(&junction->region, order->eliminated + 1, sizeof *junction->bytes);
  if (junction->cardinality == NULL || junction->bucket == NULL || junction->bytes == NULL) {
    return no_memory(error);
  }
  for (size_t p = 0; p < order->n; p++) {
    size_t cardinality = junction->cardinality[p] = junction->graph->cardinality[order->variable[p]];
    junction->longest = cardinality > junction->longest ? cardinality : junction->longest;
  }
  for (size_t p = 0; p < order->eliminated; p++) {
    junction->bucket[p].child = junction->bucket[p].sibling = POEI_NO_POSITION;
  }
  for (size_t p = order->eliminated; p-- > 0;) { /* children in ascending order */
    if (order->parent[p] != POEI_NO_POSITION) {
      poei_bucket *parent = &junction->bucket[order->parent[p]];
      junction->bucket[p].sibling = parent->child;
      parent->child = p;
    }
  }
  for (size_t p = 0; p < order->eliminated; p++) {
    double size = 1.0;
    for (size_t k = order->start[p]; k < order->start[p + 1]; k++) {
      size *= (double)junction->cardinality[order->scope[k]];
    }
    junction->bytes[p + 1] = junction->bytes[p] + sizeof(double) * size;
  }
  return sort_factors(junction, error);
}

/* How much is held: of log Z what is alive at one time; else all messages where they fit, or as much as fits. */
static void decide(poei_junction *junction) {
  const poei_elimination *order = &junction->order;
  double limit = (double)junction->options.byte_limit;
  bool log_z = junction->options.goal == POEI_JUNCTION_LOG_Z;
  junction->kept = !log_z && order->size.bytes <= limit;
  junction->needed = log_z ? order->peak_bytes : order->size.bytes;
  if (order->found && !log_z && !junction->kept) {
    double least = fmax(poei_descent_bytes(junction, 0.0), order->peak_bytes);
    junction->needed = least > limit ? least : fmax(poei_descent_bytes(junction, limit), order->peak_bytes);
  }
}

poe_status poei_junction_open(const poei_field *graph, const poei_junction_options *options, const unsigned char *phase,
                              poei_junction **junction, poe_error *error) {
  poei_junction *made = poei_calloc(1, sizeof *made);
  if (made == NULL) {
    return no_memory(error);
  }
  made->graph = graph;
  made->options = *options;
  made->options.summed = NULL;
  made->sum = graph->constant;
  made->lost = graph->constant_lost;
  poei_region_init(&made->region, SIZE_MAX);
  poe_status status = POE_OK;
  if (phase != NULL) {
    made->phase = poei_region_copy(&made->region, phase, graph->n, 1);
    status = made->phase == NULL ? no_memory(error) : POE_OK;
  }
  if (status == POE_OK) {
    status = poei_elimination_find(graph, made->phase, options->byte_limit, &made->region, &made->order, error);
  }
  if (status == POE_OK && made->order.found) {
    status = open_buckets(made, error);
  }
  if (status != POE_OK) {
    poei_junction_destroy(made);
    return status;
  }
  decide(made);
  *junction = made;
  return POE_OK;
}

poe_status poei_junction_create(const poei_field *graph, const poei_junction_options *options, poei_junction **junction,
                                poe_error *error) {
  unsigned char *phase = NULL;
  if (options->goal == POEI_JUNCTION_BEST && options->summed != NULL) {
    phase = poei_alloc(graph->n, 1);
    if (phase == NULL) {
      return no_memory(error);
    }
    for (size_t i = 0; i < graph->n; i++) {
      phase[i] = options->summed[i] ? 0 : 1;
    }
  }
  poe_status status = poei_junction_open(graph, options, phase, junction, error);
  poei_free(phase);
  return status;
}

void poei_junction_destroy(poei_junction *junction) {
  if (junction == NULL) {
    return;
  }
  for (size_t p = 0; junction->bucket != NULL && p < junction->order.eliminated; p++) {
    poei_free(junction->bucket[p].value);
  }
  poei_region_free(&junction->region);
  poei_free(junction);
}

poei_junction_size poei_junction_size_of(const poei_junction *junction) {
  poei_junction_size size = junction->order.size;
  size.bytes = junction->needed;
  return size;
}

const char *poei_bytes_text(double bytes, char *text, size_t size) {
  static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  for (; bytes >= 1024.0 && unit + 1 < sizeof units / sizeof units[0]; unit++) {
    bytes /= 1024.0;
  }
  snprintf(text, size, "%.3g %s", bytes, units[unit]);
  return text;
}

double poei_junction_log_z(const poei_junction *junction) {
  return junction->sum + junction->lost;
}

size_t poei_junction_conflict(const poei_junction *junction) {
  return junction->conflict;
}
