/* log p(x) = constant + sum_f t_f(x[scope of f]), every t_f a table of log values.
 *
 * State index of a factor: ((i_0 k_1 + i_1) k_2 + i_2) ..., i_j = x_j - low_j (first variable slowest). Each coordinate
 * has the list of the factors it is in with its stride there, so that its conditional reads only those.
 */
#include "experts/factor_graph.h"

#include <string.h>

#include "core/alloc.h"
#include "experts/discrete.h"
#include "experts/factors.h"
#include "experts/family.h"
#include "experts/states.h"

/* One place of a coordinate in a factor's scope. */
typedef struct graph_link {
  size_t factor, stride;
} graph_link;

struct poei_factor_graph {
  size_t dim;
  poe_factors factors;
  poe_support *support; /* [dim]                                                      */
  unsigned char *head;  /* [dim] or NULL                                              */
  size_t *first;        /* [dim + 1] where each coordinate's links begin              */
  graph_link *link;     /* [first[dim]]                                               */
};

static poe_status graph_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory for a factor graph");
}

/* The stride of scope position j of a factor. */
static size_t graph_stride(const poei_factor_graph *graph, const poe_factor *factor, size_t j) {
  size_t stride = 1;
  for (size_t k = j + 1; k < factor->n; k++) {
    stride *= graph->factors.cardinality[factor->variable[k]];
  }
  return stride;
}

/* Sorts the scopes' places by coordinate: first[] counts, then marks the ends, then the beginnings. */
static void graph_link_all(poei_factor_graph *graph) {
  for (size_t f = 0; f < graph->factors.n; f++) {
    for (size_t j = 0; j < graph->factors.factor[f].n; j++) {
      graph->first[graph->factors.factor[f].variable[j]]++;
    }
  }
  for (size_t c = 1; c <= graph->dim; c++) {
    graph->first[c] += graph->first[c - 1];
  }
  for (size_t f = graph->factors.n; f-- > 0;) {
    const poe_factor *factor = &graph->factors.factor[f];
    for (size_t j = 0; j < factor->n; j++) {
      graph->link[--graph->first[factor->variable[j]]] = (graph_link){f, graph_stride(graph, factor, j)};
    }
  }
}

poe_status poei_factor_graph_create(size_t dim, poe_factors *factors, const unsigned char *head,
                                    poei_factor_graph **graph, poe_error *error) {
  poei_factor_graph *made = poei_calloc(1, sizeof *made);
  if (made == NULL) {
    return graph_memory(error);
  }
  size_t places = 0;
  for (size_t f = 0; f < factors->n; f++) {
    places += factors->factor[f].n;
  }
  made->dim = dim;
  made->support = poei_alloc(dim, sizeof *made->support);
  made->head = head == NULL ? NULL : poei_copy(head, dim, 1);
  made->first = poei_calloc(dim + 1, sizeof *made->first);
  made->link = poei_alloc(places, sizeof *made->link);
  if (made->support == NULL || (head != NULL && made->head == NULL) || made->first == NULL || made->link == NULL) {
    poei_factor_graph_destroy(made);
    return graph_memory(error);
  }
  for (size_t j = 0; j < dim; j++) {
    double low = factors->low[j];
    made->support[j] = (poe_support){POE_DISCRETE, low, low + (double)(factors->cardinality[j] - 1), false, false};
  }
  made->factors = *factors;
  *factors = (poe_factors){0};
  graph_link_all(made);
  *graph = made;
  return POE_OK;
}

void poei_factor_graph_destroy(void *self) {
  poei_factor_graph *graph = self;
  if (graph != NULL) {
    poe_structure owned = {.kind = POE_STRUCTURE_FACTORS, .dim = graph->dim, .as.factors = graph->factors};
    poe_structure_release(&owned);
    poei_free(graph->support);
    poei_free(graph->head);
    poei_free(graph->first);
    poei_free(graph->link);
    poei_free(graph);
  }
}

void poei_factor_graph_traits(const void *self, poe_traits *traits) {
  const poei_factor_graph *graph = self;
  *traits = (poe_traits){.dim = graph->dim, .support = graph->support, .head = graph->head};
  traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_STRUCTURE | POE_CAN_LOCAL | POE_CAN_ONEHOT;
}

size_t poei_factor_graph_scratch(const void *self, unsigned want, size_t n) {
  (void)n;
  const poei_factor_graph *graph = self;
  if ((want & POE_WANT_ONEHOT) != 0) {
    return poei_onehot_scratch(&poei_factor_graph_local, self, graph->dim, graph->support);
  }
  return poe_scratch_need(graph->dim, sizeof(size_t));
}

/* state[dim] of a row: which value of each coordinate. 1, or 0 outside the support, or -1 for NaN. */
static int graph_states(const poei_factor_graph *graph, const double *x, size_t *state) {
  int inside = 1;
  for (size_t j = 0; j < graph->dim; j++) {
    if (isnan(x[j])) {
      return -1;
    }
    state[j] = poei_state_index(x[j], graph->factors.low[j], graph->factors.cardinality[j]);
    inside = state[j] == graph->factors.cardinality[j] ? 0 : inside;
  }
  return inside;
}

static size_t factor_state(const poei_factor_graph *graph, const poe_factor *factor, const size_t *state) {
  size_t index = 0;
  for (size_t j = 0; j < factor->n; j++) {
    index = index * graph->factors.cardinality[factor->variable[j]] + state[factor->variable[j]];
  }
  return index;
}

poe_status poei_factor_graph_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                      poe_scratch *scratch, poe_error *error) {
  (void)error;
  const poei_factor_graph *graph = self;
  size_t mark = poe_scratch_mark(scratch);
  size_t *state = poe_scratch_bytes(scratch, graph->dim * sizeof *state);
  for (size_t i = 0; i < rows.n; i++) {
    int inside = graph_states(graph, rows.x + i * rows.ld, state);
    double total = inside > 0 ? graph->factors.constant : inside == 0 ? -INFINITY : NAN;
    for (size_t f = 0; inside > 0 && f < graph->factors.n; f++) {
      const poe_factor *factor = &graph->factors.factor[f];
      total += factor->log_value[factor_state(graph, factor, state)];
    }
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], total);
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

poe_status poei_factor_graph_structure(const void *self, poe_structure *structure, poe_error *error) {
  const poei_factor_graph *graph = self;
  const poe_factors *own = &graph->factors;
  poe_structure made;
  poe_status status = poei_factors_start(&made, graph->dim, 1, 0, own->n, error);
  if (status != POE_OK) {
    return status;
  }
  made.as.factors.constant = own->constant;
  memcpy(made.as.factors.cardinality, own->cardinality, graph->dim * sizeof *own->cardinality);
  memcpy(made.as.factors.low, own->low, graph->dim * sizeof *own->low);
  for (size_t f = 0; f < own->n; f++) {
    const poe_factor *factor = &own->factor[f];
    status = poei_factors_copy(&made, factor->n, factor->variable, factor->log_value, error);
    if (status != POE_OK) {
      return status;
    }
  }
  *structure = made;
  return POE_OK;
}

/* ---- one coordinate at a time ---- */

/* out[k_c] = sum of the factors that have coordinate c, at index[f] with its own value replaced by each one. */
static void graph_conditional(const poei_factor_graph *graph, size_t own, const size_t *index, size_t c, double *out) {
  size_t values = graph->factors.cardinality[c];
  for (size_t v = 0; v < values; v++) {
    out[v] = 0.0;
  }
  for (size_t l = graph->first[c]; l < graph->first[c + 1]; l++) {
    const graph_link *link = &graph->link[l];
    const double *table = graph->factors.factor[link->factor].log_value + index[link->factor] - own * link->stride;
    for (size_t v = 0; v < values; v++) {
      out[v] += table[v * link->stride];
    }
  }
}

/* The single-site view. A coordinate outside its values counts as its first one in the factors' states. */
typedef struct graph_view {
  size_t outside; /* coordinates that are none of their values                              */
  size_t dead;    /* factors that are -inf                                                  */
  size_t own[];   /* [dim] states of the coordinates (cardinality: outside), [factors] states of the factors */
} graph_view;

static size_t graph_state_bytes(const void *self) {
  const poei_factor_graph *graph = self;
  return sizeof(graph_view) + (graph->dim + graph->factors.n) * sizeof(size_t);
}

static size_t graph_local_scratch(const void *self) {
  const poei_factor_graph *graph = self;
  return poe_scratch_need(graph->dim, sizeof(size_t));
}

static bool graph_dead(const poei_factor_graph *graph, const graph_view *view, size_t f) {
  return graph->factors.factor[f].log_value[view->own[graph->dim + f]] == -INFINITY;
}

/* How many of the factors that have coordinate c are -inf. */
static size_t graph_dead_around(const poei_factor_graph *graph, const graph_view *view, size_t c) {
  size_t dead = 0;
  for (size_t l = graph->first[c]; l < graph->first[c + 1]; l++) {
    dead += graph_dead(graph, view, graph->link[l].factor);
  }
  return dead;
}

static poe_status graph_open(const void *self, const double *x, void *state, poe_scratch *scratch, poe_error *error) {
  (void)error;
  const poei_factor_graph *graph = self;
  graph_view *view = state;
  size_t mark = poe_scratch_mark(scratch), *inside = poe_scratch_bytes(scratch, graph->dim * sizeof *inside);
  view->outside = view->dead = 0;
  for (size_t j = 0; j < graph->dim; j++) {
    view->own[j] = poei_state_index(x[j], graph->factors.low[j], graph->factors.cardinality[j]);
    view->outside += view->own[j] == graph->factors.cardinality[j];
    inside[j] = view->own[j] % graph->factors.cardinality[j];
  }
  for (size_t f = 0; f < graph->factors.n; f++) {
    view->own[graph->dim + f] = factor_state(graph, &graph->factors.factor[f], inside);
    view->dead += graph_dead(graph, view, f);
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

static poe_status graph_local_conditional(const void *self, void *state, size_t j, double *out, poe_scratch *scratch,
                                          poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_factor_graph *graph = self;
  const graph_view *view = state;
  size_t values = graph->factors.cardinality[j];
  bool outside = view->own[j] == values;
  if (view->outside > outside || view->dead > graph_dead_around(graph, view, j)) {
    for (size_t v = 0; v < values; v++) {
      out[v] = -INFINITY;
    }
    return POE_OK;
  }
  graph_conditional(graph, outside ? 0 : view->own[j], view->own + graph->dim, j, out);
  return POE_OK;
}

static poe_status graph_set(const void *self, void *state, size_t j, double value, poe_scratch *scratch,
                            poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_factor_graph *graph = self;
  graph_view *view = state;
  size_t values = graph->factors.cardinality[j], next = poei_state_index(value, graph->factors.low[j], values);
  view->dead -= graph_dead_around(graph, view, j);
  for (size_t l = graph->first[j]; l < graph->first[j + 1]; l++) {
    size_t *index = &view->own[graph->dim + graph->link[l].factor];
    *index = *index - view->own[j] % values * graph->link[l].stride + next % values * graph->link[l].stride;
  }
  view->outside -= view->own[j] == values;
  view->outside += next == values;
  view->own[j] = next;
  view->dead += graph_dead_around(graph, view, j);
  return POE_OK;
}

const poe_local_ops poei_factor_graph_local = {
    .state_bytes = graph_state_bytes,
    .scratch = graph_local_scratch,
    .open = graph_open,
    .conditional = graph_local_conditional,
    .set = graph_set,
};

poe_status poei_factor_graph_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out,
                                             size_t ldo, poe_scratch *scratch, poe_error *error) {
  const poei_factor_graph *graph = self;
  return poei_onehot_grad_add(&poei_factor_graph_local, self, graph->support, rows, weights, out, ldo, scratch, error);
}
