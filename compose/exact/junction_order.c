/* Choosing an elimination order: several candidates, the one with the fewest joint states wins.
 *
 * Candidates are min-fill, min-weight, the order of the variables' numbers, breadth first from a far end (which sweeps
 * grids along their length), and min-fill with random ties; the search goes on while it costs little beside the
 * elimination it might save. Everything is a function of the graph alone.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/junction_parts.h"
#include "core/alloc.h"

enum {
  TRIALS = 64,     /* random candidates at most                         */
  WORTH = 4,       /* joint states that one step of the search may cost */
  STEPS = 1 << 24, /* of one candidate                                  */
  SCOPES = 1 << 22 /* total length of the scopes of a given order       */
};

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* ---- the graph of variables that share a factor ---- */

static int by_number(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/* For each vertex the factors that read it: list[start[i] .. start[i + 1] - 1]. */
static poe_status readers(const poei_field *graph, const size_t *vertex, size_t n, poei_region *region, size_t **start,
                          size_t **list, poe_error *error) {
  *start = poei_region_take(region, n + 2, sizeof **start);
  if (*start == NULL) {
    return no_memory(error);
  }
  size_t *count = *start + 1;
  for (int filling = 0; filling <= 1; filling++) { /* count, then fill: start[i + 1] runs from start of i to its end */
    for (size_t f = 0; f < graph->n_factors; f++) {
      for (size_t k = 0; k < graph->factor[f].n; k++) {
        size_t i = vertex[graph->factor[f].variable[k]];
        if (i != POEI_NO_POSITION && filling == 0) {
          count[i]++;
        } else if (i != POEI_NO_POSITION) {
          (*list)[count[i]++] = f;
        }
      }
    }
    if (filling == 0) {
      size_t total = 0;
      for (size_t i = 0; i < n; i++) {
        size_t own = count[i];
        count[i] = total;
        total += own;
      }
      *list = poei_region_take(region, total, sizeof **list);
      if (*list == NULL) {
        return no_memory(error);
      }
    }
  }
  return POE_OK;
}

/* Appends the neighbours of vertex i to list (NULL: counts only), ascending; mark[n] holds i + 1 at what was seen. */
static size_t neighbours(const poei_field *graph, const size_t *vertex, size_t i, const size_t *first, size_t n,
                         uint32_t *mark, uint32_t *list) {
  size_t count = 0;
  mark[i] = (uint32_t)i + 1;
  for (size_t r = 0; r < n; r++) {
    const poei_field_factor_data *factor = &graph->factor[first[r]];
    for (size_t k = 0; k < factor->n; k++) {
      size_t j = vertex[factor->variable[k]];
      if (j != POEI_NO_POSITION && mark[j] != (uint32_t)i + 1) {
        mark[j] = (uint32_t)i + 1;
        if (list != NULL) {
          list[count] = (uint32_t)j;
        }
        count++;
      }
    }
  }
  if (list != NULL) {
    qsort(list, count, sizeof *list, by_number);
  }
  return count;
}

/* vertex[graph n] -> number among those with two values or more. */
static poe_status adjacency(const poei_field *graph, const size_t *vertex, size_t n, poei_region *region,
                            poei_adjacency *out, poe_error *error) {
  size_t *start = NULL, *list = NULL;
  poe_status status = readers(graph, vertex, n, region, &start, &list, error);
  uint32_t *mark = poei_region_take(region, n, sizeof *mark);
  *out = (poei_adjacency){.n = n, .start = poei_region_take(region, n + 1, sizeof *out->start)};
  out->bits = poei_region_take(region, n, sizeof *out->bits);
  if (status != POE_OK || mark == NULL || out->start == NULL || out->bits == NULL) {
    return no_memory(error);
  }
  for (size_t i = 0; i < n; i++) {
    out->start[i + 1] =
        out->start[i] + neighbours(graph, vertex, i, &list[start[i]], start[i + 1] - start[i], mark, NULL);
  }
  out->neighbour = poei_region_take(region, out->start[n], sizeof *out->neighbour);
  if (out->neighbour == NULL) {
    return no_memory(error);
  }
  memset(mark, 0, n * sizeof *mark);
  for (size_t i = 0; i < n; i++) {
    neighbours(graph, vertex, i, &list[start[i]], start[i + 1] - start[i], mark, &out->neighbour[out->start[i]]);
  }
  for (size_t v = 0; v < graph->n; v++) {
    if (vertex[v] != POEI_NO_POSITION) {
      out->bits[vertex[v]] = log2((double)graph->cardinality[v]);
    }
  }
  return POE_OK;
}

/* ---- candidates ---- */

typedef struct search {
  const poei_adjacency *graph;
  const unsigned char *phase; /* [n] or NULL               */
  size_t eliminated;
  double message_bits, spent;
  uint32_t *best, *order; /* [n] best: valid when work is finite */
  double work;
  poei_symbolic tree;
} search;

/* Vertices that stay go last, those of phase 1 after those of phase 0; otherwise the order is kept. */
static void by_phase(const search *run, uint32_t *order, uint32_t *other) {
  size_t n = run->graph->n, at = 0;
  for (unsigned char p = 0; p <= 2 && run->phase != NULL; p++) {
    for (size_t i = 0; i < n; i++) {
      if (run->phase[order[i]] == p) {
        other[at++] = order[i];
      }
    }
  }
  if (run->phase != NULL) {
    memcpy(order, other, n * sizeof *order);
  }
}

static void keep(search *run, double work) {
  if (work < run->work) {
    run->work = work;
    uint32_t *swap = run->best;
    run->best = run->order;
    run->order = swap;
  }
}

static poe_status try_greedy(search *run, poei_greedy rule, uint64_t seed, poe_error *error) {
  poei_greedy_bounds bounds = {run->work, run->message_bits, STEPS};
  poei_greedy_result result;
  poe_status status = poei_greedy_order(run->graph, run->phase, rule, seed, &bounds, run->order, &result, error);
  for (size_t i = 0; run->phase != NULL && i < run->graph->n && status == POE_OK; i++) {
    if (run->phase[i] == 2) {
      run->order[result.n++] = (uint32_t)i;
    }
  }
  run->spent += (double)result.steps;
  if (status == POE_OK && result.complete) {
    keep(run, result.work);
  }
  return status;
}

/* run->order as it is. */
static poe_status try_given(search *run, poe_error *error) {
  poei_greedy_bounds bounds = {run->work, run->message_bits, SCOPES};
  by_phase(run, run->order, run->tree.place);
  poe_status status = poei_symbolic_run(run->graph, run->order, run->eliminated, &bounds, &run->tree, error);
  run->spent += (double)run->tree.start[run->tree.eliminated] + (double)run->graph->n;
  if (status == POE_OK) {
    keep(run, run->tree.work);
  }
  return status;
}

/* Fills order[from ..] breadth first from vertex `first`; seen[] marks what was reached with `stamp`. */
static size_t breadth_first(const poei_adjacency *graph, uint32_t first, uint32_t stamp, uint32_t *seen,
                            uint32_t *order, size_t from) {
  size_t end = from;
  order[end++] = first;
  seen[first] = stamp;
  for (size_t at = from; at < end; at++) {
    for (size_t k = graph->start[order[at]]; k < graph->start[order[at] + 1]; k++) {
      if (seen[graph->neighbour[k]] != stamp) {
        seen[graph->neighbour[k]] = stamp;
        order[end++] = graph->neighbour[k];
      }
    }
  }
  return end;
}

/* Breadth first through each component, from the vertex that two such sweeps find farthest. */
static void sweep(const search *run, uint32_t *order, uint32_t *seen) {
  size_t n = run->graph->n, done = 0;
  memset(seen, 0, n * sizeof *seen);
  for (uint32_t i = 0; i < n; i++) {
    if (seen[i] == 0) {
      size_t end = breadth_first(run->graph, i, 1, seen, order, done);
      end = breadth_first(run->graph, order[end - 1], 2, seen, order, done);
      done = breadth_first(run->graph, order[end - 1], 3, seen, order, done);
    }
  }
}

static bool worth_more(const search *run) {
  return run->spent < run->work / WORTH;
}

static poe_status try_all(search *run, poe_error *error) {
  poe_status status = try_greedy(run, POEI_GREEDY_FILL, 0, error);
  if (status == POE_OK && worth_more(run)) {
    status = try_greedy(run, POEI_GREEDY_WEIGHT, 0, error);
  }
  if (status == POE_OK && worth_more(run)) {
    for (uint32_t i = 0; i < run->graph->n; i++) {
      run->order[i] = i;
    }
    status = try_given(run, error);
  }
  if (status == POE_OK && worth_more(run)) {
    sweep(run, run->order, run->tree.mark);
    status = try_given(run, error);
  }
  for (uint64_t seed = 1; seed <= TRIALS && isfinite(run->work) && status == POE_OK && worth_more(run); seed++) {
    status = try_greedy(run, POEI_GREEDY_FILL, seed, error);
  }
  return status;
}

/* When not even the steps allowed are enough: how large it would be at least. */
static poe_status measure(search *run, poei_elimination *order, poe_error *error) {
  poei_greedy_bounds bounds = {INFINITY, INFINITY, STEPS};
  poei_greedy_result result;
  poe_status status =
      poei_greedy_order(run->graph, run->phase, POEI_GREEDY_WEIGHT, 0, &bounds, run->order, &result, error);
  order->size = (poei_junction_size){.width = result.widest - 1,
                                     .states = exp2(result.widest_bits),
                                     .bytes = result.bytes,
                                     .work = result.work,
                                     .at_least = !result.complete};
  order->peak_bytes = result.bytes;
  return status;
}

/* ---- a lower bound ---- */

/* The largest smallest degree of a subgraph, which no treewidth is below (Bodlaender and Koster 2011): vertices of
 * smallest degree are taken away one after the other. work[4 n]. */
static uint32_t degeneracy(const poei_adjacency *graph, uint32_t *work) {
  uint32_t n = (uint32_t)graph->n, most = 0;
  uint32_t *degree = work, *head = work + n, *next = work + 2 * (size_t)n, *before = work + 3 * (size_t)n;
  for (uint32_t d = 0; d < n; d++) {
    head[d] = POEI_NO_VERTEX;
  }
  for (uint32_t i = 0; i < n; i++) { /* lists of the vertices of each degree */
    degree[i] = (uint32_t)(graph->start[i + 1] - graph->start[i]);
    next[i] = head[degree[i]];
    before[i] = POEI_NO_VERTEX;
    if (next[i] != POEI_NO_VERTEX) {
      before[next[i]] = i;
    }
    head[degree[i]] = i;
  }
  for (uint32_t left = n, d = 0; left > 0; left--) {
    while (head[d] == POEI_NO_VERTEX) {
      d++;
    }
    most = d > most ? d : most;
    uint32_t u = head[d];
    head[d] = next[u];
    if (next[u] != POEI_NO_VERTEX) {
      before[next[u]] = POEI_NO_VERTEX;
    }
    degree[u] = POEI_NO_VERTEX; /* gone */
    for (size_t k = graph->start[u]; k < graph->start[u + 1]; k++) {
      uint32_t w = graph->neighbour[k];
      if (degree[w] == POEI_NO_VERTEX) {
        continue;
      }
      uint32_t *from = before[w] == POEI_NO_VERTEX ? &head[degree[w]] : &next[before[w]];
      *from = next[w];
      if (next[w] != POEI_NO_VERTEX) {
        before[next[w]] = before[w];
      }
      degree[w]--;
      next[w] = head[degree[w]];
      before[w] = POEI_NO_VERTEX;
      if (next[w] != POEI_NO_VERTEX) {
        before[next[w]] = w;
      }
      head[degree[w]] = w;
    }
    d = d > 0 ? d - 1 : 0;
  }
  return most;
}

/* Is it certain, without a search, that some message is too large? Then the sizes say how large at least. */
static poe_status is_hopeless(const search *run, bool *hopeless, poei_elimination *order, poe_error *error) {
  uint32_t *work = poei_alloc(run->graph->n, 4 * sizeof *work);
  if (work == NULL) {
    return no_memory(error);
  }
  double width = degeneracy(run->graph, work);
  poei_free(work);
  *hopeless = width > run->message_bits && run->eliminated == run->graph->n;
  if (*hopeless) {
    order->peak_bytes = 8.0 * exp2(width);
    order->size = (poei_junction_size){.width = (size_t)width,
                                       .states = exp2(width + 1.0),
                                       .bytes = order->peak_bytes,
                                       .work = exp2(width + 1.0),
                                       .at_least = true};
  }
  return POE_OK;
}

/* ---- all of it ---- */

static poe_status find(search *run, const size_t *name, poei_region *region, poei_elimination *order,
                       poe_error *error) {
  size_t n = run->graph->n;
  run->best = poei_alloc(n, sizeof *run->best);
  run->order = poei_alloc(n, sizeof *run->order);
  poe_status status =
      run->best == NULL || run->order == NULL ? no_memory(error) : poei_symbolic_open(n, &run->tree, error);
  bool hopeless = false;
  if (status == POE_OK) {
    status = is_hopeless(run, &hopeless, order, error);
  }
  for (int bounded = 1; bounded >= 0 && status == POE_OK && !hopeless && !isfinite(run->work); bounded--) {
    run->message_bits = bounded == 1 ? run->message_bits : INFINITY; /* for the report: it will be refused */
    status = try_all(run, error);
  }
  order->found = isfinite(run->work);
  if (status == POE_OK && !hopeless) {
    status = order->found
                 ? poei_symbolic_publish(run->graph, run->best, run->eliminated, name, region, &run->tree, order, error)
                 : measure(run, order, error);
  }
  poei_symbolic_close(&run->tree);
  poei_free(run->best);
  poei_free(run->order);
  return status;
}

poe_status poei_elimination_find(const poei_field *graph, const unsigned char *phase, size_t byte_limit,
                                 poei_region *region, poei_elimination *order, poe_error *error) {
  *order = (poei_elimination){0};
  poei_region own;
  poei_region_init(&own, SIZE_MAX);
  size_t n = 0, *name = poei_region_take(&own, graph->n, sizeof *name);
  unsigned char *phases = poei_region_take(&own, graph->n, 1);
  order->position = poei_region_take(region, graph->n, sizeof *order->position);
  poei_adjacency neighbourhood;
  search run = {.graph = &neighbourhood, .phase = phase == NULL ? NULL : phases, .work = INFINITY};
  run.message_bits = fmin(log2((double)byte_limit / sizeof(double)), 32.0); /* offsets into a table have 32 bits */
  poe_status status = name == NULL || phases == NULL || order->position == NULL ? no_memory(error) : POE_OK;
  for (size_t v = 0; status == POE_OK && v < graph->n; v++) {
    order->position[v] = graph->cardinality[v] > 1 ? n : POEI_NO_POSITION;
    if (graph->cardinality[v] > 1) {
      phases[n] = phase == NULL ? 0 : phase[v];
      run.eliminated += phases[n] < 2;
      name[n++] = v;
    }
  }
  if (status == POE_OK && n >= UINT32_MAX / 2) {
    status = poe_error_set(error, POE_E_CAPABILITY, "a factor graph of %zu variables is too large", n);
  }
  if (status == POE_OK) {
    status = adjacency(graph, order->position, n, &own, &neighbourhood, error);
  }
  if (status == POE_OK) {
    status = find(&run, name, region, order, error);
  }
  poei_region_free(&own);
  return status;
}
