/* Which variables of a factor graph are functions of others, as the states of an automaton are of what it reads.
 *
 * A variable is determined when some factor allows at most one of its values for each joint value of the factor's other
 * variables, and those are given or determined already. Where all hidden variables are determined, a sum over them has
 * at most one positive term, and may as well be a maximum: the order of elimination is free.
 */
#include "compose/exact/junction_parts.h"
#include "core/alloc.h"

typedef struct determiner {
  const poei_field *graph;
  unsigned char *known;  /* [n]                                                              */
  size_t *start, *list;  /* [n + 1], [start[n]] the factors that read each variable          */
  size_t *unknown;       /* [factors] variables of theirs that are not known                 */
  size_t *queue, queued; /* factors that came down to one unknown variable                   */
} determiner;

/* Does the factor allow at most one value of its k-th variable for each joint value of the others? */
static bool is_function(const poei_field *graph, const poei_field_factor_data *factor, size_t k) {
  const double *value = graph->table[factor->table].log_value;
  size_t inner = 1, values = graph->cardinality[factor->variable[k]], size = graph->table[factor->table].size;
  for (size_t i = k + 1; i < factor->n; i++) {
    inner *= graph->cardinality[factor->variable[i]];
  }
  for (size_t outer = 0; outer < size; outer += inner * values) {
    for (size_t i = 0; i < inner; i++) {
      size_t positive = 0;
      for (size_t a = 0; a < values; a++) {
        positive += value[outer + a * inner + i] != -INFINITY;
      }
      if (positive > 1) {
        return false;
      }
    }
  }
  return true;
}

static poe_status open_run(const poei_field *graph, unsigned char *known, determiner *run, poe_error *error) {
  *run = (determiner){.graph = graph, .known = known};
  size_t total = 0;
  run->start = poei_calloc(graph->n + 2, sizeof *run->start);
  run->unknown = poei_calloc(graph->n_factors, sizeof *run->unknown);
  run->queue = poei_alloc(graph->n_factors, sizeof *run->queue);
  for (size_t f = 0; run->start != NULL && f < graph->n_factors; f++) {
    for (size_t k = 0; k < graph->factor[f].n; k++) {
      run->start[graph->factor[f].variable[k] + 2]++;
      total++;
    }
  }
  run->list = poei_alloc(total, sizeof *run->list);
  if (run->start == NULL || run->unknown == NULL || run->queue == NULL || run->list == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t v = 0; v < graph->n; v++) {
    known[v] = known[v] || graph->cardinality[v] == 1;
    run->start[v + 2] += run->start[v + 1];
  }
  for (size_t f = 0; f < graph->n_factors; f++) {
    for (size_t k = 0; k < graph->factor[f].n; k++) {
      size_t v = graph->factor[f].variable[k];
      run->list[run->start[v + 1]++] = f;
      run->unknown[f] += !known[v];
    }
    if (run->unknown[f] == 1) {
      run->queue[run->queued++] = f;
    }
  }
  return POE_OK;
}

/* Looks at a factor with one unknown variable; when that is determined, others may come down to one. */
static void visit(determiner *run, size_t f) {
  const poei_field_factor_data *factor = &run->graph->factor[f];
  for (size_t k = 0; k < factor->n; k++) {
    size_t v = factor->variable[k];
    if (run->known[v] || !is_function(run->graph, factor, k)) {
      continue;
    }
    run->known[v] = 1;
    for (size_t i = run->start[v]; i < run->start[v + 1]; i++) {
      if (--run->unknown[run->list[i]] == 1) {
        run->queue[run->queued++] = run->list[i];
      }
    }
  }
}

poe_status poei_field_determine(const poei_field *graph, unsigned char *known, poe_error *error) {
  determiner run;
  poe_status status = open_run(graph, known, &run, error);
  for (size_t next = 0; status == POE_OK && next < run.queued; next++) { /* each factor comes at most once */
    if (run.unknown[run.queue[next]] == 1) {
      visit(&run, run.queue[next]);
    }
  }
  poei_free(run.start);
  poei_free(run.list);
  poei_free(run.unknown);
  poei_free(run.queue);
  return status;
}
