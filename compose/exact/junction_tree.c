/* What an elimination order costs, and the order as it is used: symbolic elimination.
 *
 * A message is over the later neighbours of its variable and what its children's messages are over; the first of these
 * is its parent. The tree is then put into postorder, the subtrees with the highest peak first (Liu 1987), so that few
 * messages are alive at a time.
 */
#include <math.h>
#include <stdlib.h>

#include "compose/exact/junction_parts.h"
#include "core/alloc.h"

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

static int by_number(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/* ---- what an order costs ---- */

void poei_symbolic_close(poei_symbolic *run) {
  poei_free(run->place);
  poei_free(run->parent);
  poei_free(run->child);
  poei_free(run->sibling);
  poei_free(run->mark);
  poei_free(run->start);
  poei_free(run->scope);
}

poe_status poei_symbolic_open(size_t n, poei_symbolic *run, poe_error *error) {
  *run = (poei_symbolic){.n = n, .capacity = 4 * n + 4};
  run->place = poei_alloc(n, sizeof *run->place);
  run->parent = poei_alloc(n, sizeof *run->parent);
  run->child = poei_alloc(n, sizeof *run->child);
  run->sibling = poei_alloc(n, sizeof *run->sibling);
  run->mark = poei_alloc(n, sizeof *run->mark);
  run->start = poei_calloc(n + 1, sizeof *run->start);
  run->scope = poei_alloc(run->capacity, sizeof *run->scope);
  return run->place == NULL || run->parent == NULL || run->child == NULL || run->sibling == NULL || run->mark == NULL ||
                 run->start == NULL || run->scope == NULL
             ? no_memory(error)
             : POE_OK;
}

static poe_status add_scope(poei_symbolic *run, uint32_t p, uint32_t other, poe_error *error) {
  if (run->mark[other] == p) {
    return POE_OK;
  }
  run->mark[other] = p;
  size_t at = run->start[p + 1]++;
  if (at == run->capacity) {
    uint32_t *wide = poei_realloc(run->scope, 2 * run->capacity, sizeof *wide);
    if (wide == NULL) {
      return no_memory(error);
    }
    run->scope = wide;
    run->capacity *= 2;
  }
  run->scope[at] = other;
  return POE_OK;
}

/* The message of position p: later neighbours and what its children's messages are over. */
static poe_status find_scope(const poei_adjacency *graph, const uint32_t *order, uint32_t p, poei_symbolic *run,
                             poe_error *error) {
  poe_status status = POE_OK;
  uint32_t u = order[p];
  run->start[p + 1] = run->start[p];
  run->mark[p] = p;
  for (size_t k = graph->start[u]; k < graph->start[u + 1] && status == POE_OK; k++) {
    uint32_t other = run->place[graph->neighbour[k]];
    status = other > p ? add_scope(run, p, other, error) : POE_OK;
  }
  for (uint32_t c = run->child[p]; c != POEI_NO_VERTEX && status == POE_OK; c = run->sibling[c]) {
    for (size_t k = run->start[c]; k < run->start[c + 1] && status == POE_OK; k++) {
      status = add_scope(run, p, run->scope[k], error);
    }
  }
  if (status == POE_OK) {
    qsort(&run->scope[run->start[p]], run->start[p + 1] - run->start[p], sizeof *run->scope, by_number);
  }
  return status;
}

/* Eliminates in the given order of all vertices, the last of which (beyond `eliminated`) stay. Stops, with infinite
 * work, above the bounds. */
poe_status poei_symbolic_run(const poei_adjacency *graph, const uint32_t *order, size_t eliminated,
                             const poei_greedy_bounds *bounds, poei_symbolic *run, poe_error *error) {
  run->eliminated = eliminated;
  run->work = 0.0;
  for (uint32_t p = 0; p < run->n; p++) {
    run->place[order[p]] = p;
    run->parent[p] = run->child[p] = run->sibling[p] = POEI_NO_VERTEX;
    run->mark[p] = POEI_NO_VERTEX;
  }
  for (uint32_t p = 0; p < eliminated; p++) {
    poe_status status = find_scope(graph, order, p, run, error);
    if (status != POE_OK) {
      return status;
    }
    double bits = 0.0;
    for (size_t k = run->start[p]; k < run->start[p + 1]; k++) {
      bits += graph->bits[order[run->scope[k]]];
    }
    run->work += exp2(bits + graph->bits[order[p]]);
    if (run->work > bounds->work || bits > bounds->message_bits || run->start[p + 1] > bounds->steps) {
      run->work = INFINITY;
      return POE_OK;
    }
    if (run->start[p + 1] > run->start[p] && run->scope[run->start[p]] < eliminated) {
      uint32_t parent = run->parent[p] = run->scope[run->start[p]];
      run->sibling[p] = run->child[parent];
      run->child[parent] = p;
    }
  }
  return POE_OK;
}

/* ---- the order as it will be used ---- */

typedef struct subtree {
  double key; /* peak less what stays */
  uint32_t root;
} subtree;

static int by_key(const void *a, const void *b) {
  const subtree *x = a, *y = b;
  return x->key != y->key ? (x->key < y->key) - (x->key > y->key) : (x->root > y->root) - (x->root < y->root);
}

/* Sorts the children that begin with *first; the bytes held at most while they are made, and after that `own` as well.
 */
static double sort_children(poei_symbolic *tree, uint32_t *first, double own, const double *peak, const double *message,
                            subtree *work) {
  size_t n = 0;
  for (uint32_t c = *first; c != POEI_NO_VERTEX; c = tree->sibling[c]) {
    work[n++] = (subtree){peak[c] - message[c], c};
  }
  qsort(work, n, sizeof *work, by_key);
  double alive = 0.0, most = 0.0;
  *first = POEI_NO_VERTEX;
  for (size_t i = 0; i < n; i++) {
    most = fmax(most, alive + peak[work[i].root]);
    alive += message[work[i].root];
  }
  for (size_t i = n; i-- > 0;) {
    tree->sibling[work[i].root] = *first;
    *first = work[i].root;
  }
  return fmax(most, alive + own);
}

/* renumber[p]: the place of position p in postorder. */
static void postorder(const poei_symbolic *tree, uint32_t first, uint32_t *stack, uint32_t *renumber) {
  uint32_t next = 0, depth = 0;
  for (uint32_t p = first; p != POEI_NO_VERTEX || depth > 0;) {
    if (p != POEI_NO_VERTEX) { /* down to the first leaf */
      stack[depth++] = p;
      p = tree->child[p];
    } else {
      p = stack[--depth];
      renumber[p] = next++;
      p = tree->sibling[p];
    }
  }
  for (size_t p = tree->eliminated; p < tree->n; p++) {
    renumber[p] = (uint32_t)p;
  }
}

static int by_place(const void *a, const void *b) {
  size_t x = *(const size_t *)a, y = *(const size_t *)b;
  return (x > y) - (x < y);
}

/* Copies the tree of `best` into the order, renumbered. name[n]: the graph's variable of each vertex. */
static void publish(const poei_adjacency *graph, const uint32_t *best, const poei_symbolic *tree,
                    const uint32_t *renumber, const size_t *name, poei_elimination *order) {
  size_t *inverse = order->parent; /* until the parents are known */
  for (size_t p = 0; p < tree->n; p++) {
    order->variable[renumber[p]] = name[best[p]];
    order->position[name[best[p]]] = renumber[p];
  }
  for (size_t p = 0; p < tree->eliminated; p++) {
    inverse[renumber[p]] = p;
  }
  for (size_t q = 0; q < tree->eliminated; q++) {
    size_t p = inverse[q], n = tree->start[p + 1] - tree->start[p], *scope = &order->scope[order->start[q]];
    double bits = 0.0, own = graph->bits[best[p]];
    for (size_t k = 0; k < n; k++) {
      scope[k] = renumber[tree->scope[tree->start[p] + k]];
      bits += graph->bits[best[tree->scope[tree->start[p] + k]]];
    }
    qsort(scope, n, sizeof *scope, by_place);
    order->start[q + 1] = order->start[q] + n;
    order->size.width = n > order->size.width ? n : order->size.width;
    order->size.states = fmax(order->size.states, exp2(bits + own));
    order->size.work += exp2(bits + own);
    order->size.bytes += 8.0 * exp2(bits);
  }
  for (size_t q = 0; q < tree->eliminated; q++) {
    bool root = order->start[q + 1] == order->start[q] || order->scope[order->start[q]] >= tree->eliminated;
    order->parent[q] = root ? POEI_NO_POSITION : order->scope[order->start[q]];
  }
}

poe_status poei_symbolic_publish(const poei_adjacency *graph, const uint32_t *best, size_t eliminated,
                                 const size_t *name, poei_region *region, poei_symbolic *tree, poei_elimination *order,
                                 poe_error *error) {
  poei_greedy_bounds none = {INFINITY, INFINITY, SIZE_MAX};
  size_t n = tree->n;
  poe_status status = poei_symbolic_run(graph, best, eliminated, &none, tree, error);
  order->n = n;
  order->eliminated = eliminated;
  order->variable = poei_region_take(region, n, sizeof *order->variable);
  order->parent = poei_region_take(region, n, sizeof *order->parent);
  order->start = poei_region_take(region, n + 1, sizeof *order->start);
  order->scope = poei_region_take(region, tree->start[eliminated], sizeof *order->scope);
  double *peak = poei_alloc(n, sizeof *peak), *message = poei_alloc(n, sizeof *message);
  subtree *work = poei_alloc(n, sizeof *work);
  if (status == POE_OK && (order->variable == NULL || order->parent == NULL || order->start == NULL ||
                           order->scope == NULL || peak == NULL || message == NULL || work == NULL)) {
    status = no_memory(error);
  }
  uint32_t root = POEI_NO_VERTEX;
  for (uint32_t p = 0; status == POE_OK && p < eliminated; p++) {
    double bits = 0.0;
    for (size_t k = tree->start[p]; k < tree->start[p + 1]; k++) {
      bits += graph->bits[best[tree->scope[k]]];
    }
    message[p] = 8.0 * exp2(bits);
    peak[p] = sort_children(tree, &tree->child[p], message[p], peak, message, work);
    if (tree->parent[p] == POEI_NO_VERTEX) {
      tree->sibling[p] = root;
      root = p;
    }
  }
  if (status == POE_OK) {
    order->peak_bytes = sort_children(tree, &root, 0.0, peak, message, work);
    postorder(tree, root, tree->place, tree->mark);
    publish(graph, best, tree, tree->mark, name, order);
  }
  poei_free(peak);
  poei_free(message);
  poei_free(work);
  return status;
}
