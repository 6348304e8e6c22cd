/* Greedy elimination orders of a graph: min-fill and min-weight (Koller and Friedman 2009, section 9.4.3).
 *
 * Eliminating a vertex joins its neighbours into a clique. Min-fill takes the vertex whose neighbours lack the fewest
 * edges, min-weight the one whose clique has the fewest joint states; ties go by the other measure, then at random.
 * Measures are kept in a heap and changed only where an elimination touches them, so that a graph of a hundred thousand
 * variables of small degree is ordered in a fraction of a second; a vertex with very many neighbours costs little as
 * long as its neighbourhood only shrinks.
 *
 * Invariants: adjacency lists are ascending and may hold eliminated vertices, which are dropped when they are half of a
 * list; `degree` counts the others. Measures are whole numbers (bits in steps of 2^-20), so that they never drift.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/junction_parts.h"
#include "core/alloc.h"

static const double bit = 1048576.0; /* steps of a measure in bits */

typedef struct vertex {
  uint32_t *list; /* [length] */
  uint32_t length, capacity, degree;
  bool gone, owned;
  unsigned char phase;
  int64_t own, weight, fill; /* log2 of its cardinality, of its clique's states; edges its neighbours lack */
  uint64_t tie;
  size_t place; /* in the heap */
} vertex;

typedef struct greedy {
  poei_greedy rule;
  size_t n, steps;
  vertex *v;      /* [n]                                        */
  uint32_t *pool; /* where the lists begin                      */
  uint32_t *heap; /* [left]                                     */
  size_t left;
  uint32_t *mark; /* [n] stamp of the last list that marked it  */
  uint32_t stamp;
  uint32_t *clique, *merged; /* [n] */
} greedy;

/* ---- heap ---- */

static bool before(const greedy *run, uint32_t a, uint32_t b) {
  const vertex *p = &run->v[a], *q = &run->v[b];
  if (p->phase != q->phase) {
    return p->phase < q->phase;
  }
  bool by_fill = run->rule == POEI_GREEDY_FILL;
  int64_t first = by_fill ? p->fill - q->fill : p->weight - q->weight;
  if (first == 0) {
    first = by_fill ? p->weight - q->weight : 0;
  }
  return first != 0 ? first < 0 : p->tie < q->tie;
}

static void put(greedy *run, size_t at, uint32_t u) {
  run->heap[at] = u;
  run->v[u].place = at;
}

static void sift(greedy *run, uint32_t u) {
  size_t at = run->v[u].place;
  while (at > 0 && before(run, u, run->heap[(at - 1) / 2])) {
    put(run, at, run->heap[(at - 1) / 2]);
    at = (at - 1) / 2;
  }
  for (;;) {
    size_t child = 2 * at + 1;
    if (child + 1 < run->left && before(run, run->heap[child + 1], run->heap[child])) {
      child++;
    }
    if (child >= run->left || !before(run, run->heap[child], u)) {
      break;
    }
    put(run, at, run->heap[child]);
    at = child;
  }
  put(run, at, u);
}

static uint32_t take_first(greedy *run) {
  uint32_t first = run->heap[0], last = run->heap[--run->left];
  if (run->left > 0) {
    put(run, 0, last);
    sift(run, last);
  }
  return first;
}

/* After a measure of u changed. */
static void moved(greedy *run, uint32_t u) {
  if (run->v[u].phase < 2) {
    sift(run, u);
  }
}

/* ---- neighbourhoods ---- */

static void compact(greedy *run, vertex *u) {
  uint32_t kept = 0;
  for (uint32_t k = 0; k < u->length; k++) {
    if (!run->v[u->list[k]].gone) {
      u->list[kept++] = u->list[k];
    }
  }
  run->steps += u->length;
  u->length = kept;
}

static bool has(greedy *run, const vertex *u, uint32_t w) {
  uint32_t low = 0, high = u->length;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (u->list[middle] < w) {
      low = middle + 1;
    } else {
      high = middle;
    }
    run->steps++;
  }
  return low < u->length && u->list[low] == w;
}

static bool adjacent(greedy *run, uint32_t a, uint32_t b) {
  return run->v[a].length < run->v[b].length ? has(run, &run->v[a], b) : has(run, &run->v[b], a);
}

/* Edges that the neighbours of u lack, counted pair by pair or list by list, whichever is shorter. */
static int64_t missing(greedy *run, uint32_t u) {
  const vertex *at = &run->v[u];
  int64_t degree = at->degree, edges = 0, total = 0;
  for (uint32_t k = 0; k < at->length; k++) {
    total += run->v[at->list[k]].gone ? 0 : run->v[at->list[k]].length;
  }
  if (2 * degree * degree < total) {
    for (uint32_t k = 0; k < at->length; k++) {
      for (uint32_t i = 0; i < k && !run->v[at->list[k]].gone; i++) {
        edges += !run->v[at->list[i]].gone && adjacent(run, at->list[k], at->list[i]);
      }
    }
    return degree * (degree - 1) / 2 - edges;
  }
  run->stamp++;
  for (uint32_t k = 0; k < at->length; k++) {
    run->mark[at->list[k]] = run->v[at->list[k]].gone ? 0 : run->stamp;
  }
  for (uint32_t k = 0; k < at->length; k++) {
    const vertex *other = &run->v[at->list[k]];
    for (uint32_t i = 0; i < other->length && !other->gone; i++) {
      edges += run->mark[other->list[i]] == run->stamp;
    }
  }
  run->steps += (size_t)total;
  return degree * (degree - 1) / 2 - edges / 2;
}

/* ---- eliminating ---- */

/* The edge a-b is about to come: vertices next to both lack one fewer. The clique's own are counted afresh later. */
static void credit(greedy *run, uint32_t a, uint32_t b) {
  if (run->v[a].length > run->v[b].length) {
    uint32_t swap = a;
    a = b;
    b = swap;
  }
  for (uint32_t k = 0; k < run->v[a].length; k++) {
    uint32_t w = run->v[a].list[k];
    if (!run->v[w].gone && run->mark[w] != run->stamp && has(run, &run->v[b], w)) {
      run->v[w].fill--;
      moved(run, w);
    }
  }
}

/* Joins clique[d] (ascending) to u's list; false when out of memory. */
static bool join(greedy *run, uint32_t u, uint32_t d) {
  vertex *at = &run->v[u];
  uint32_t n = 0;
  for (uint32_t k = 0, c = 0; k < at->length || c < d;) {
    bool old = c == d || (k < at->length && at->list[k] <= run->clique[c]);
    uint32_t w = old ? at->list[k] : run->clique[c];
    c += c < d && run->clique[c] == w;
    k += old;
    if (old ? !run->v[w].gone : w != u) {
      run->merged[n++] = w;
      at->weight += old ? 0 : run->v[w].own;
      at->degree += !old;
    }
  }
  run->steps += n;
  if (n > at->capacity) {
    uint32_t capacity = n + n / 2 + 4, *wide = poei_alloc(capacity, sizeof *wide);
    if (wide == NULL) {
      return false;
    }
    if (at->owned) {
      poei_free(at->list);
    }
    at->list = wide;
    at->capacity = capacity;
    at->owned = true;
  }
  memcpy(at->list, run->merged, n * sizeof *at->list);
  at->length = n;
  return true;
}

/* Gives credit for every edge that clique[d] lacks. */
static void credit_all(greedy *run, uint32_t d) {
  run->stamp++;
  for (uint32_t k = 0; k < d; k++) {
    run->mark[run->clique[k]] = run->stamp;
  }
  for (uint32_t k = 0; k < d; k++) {
    for (uint32_t i = 0; i < k; i++) {
      if (!adjacent(run, run->clique[k], run->clique[i])) {
        credit(run, run->clique[k], run->clique[i]);
      }
    }
  }
}

static bool is_clique(greedy *run, uint32_t d) {
  for (uint32_t k = 0; k < d; k++) {
    for (uint32_t i = 0; i < k; i++) {
      if (!adjacent(run, run->clique[k], run->clique[i])) {
        return false;
      }
    }
  }
  return true;
}

/* Takes vertex u out, joining its neighbours; false when out of memory. */
static bool eliminate(greedy *run, uint32_t u) {
  vertex *at = &run->v[u];
  compact(run, at);
  uint32_t d = at->length;
  memcpy(run->clique, at->list, d * sizeof *run->clique);
  at->gone = true;
  bool by_fill = run->rule == POEI_GREEDY_FILL, whole = by_fill ? at->fill == 0 : is_clique(run, d);
  if (!whole && by_fill) {
    credit_all(run, d);
  }
  for (uint32_t k = 0; k < d; k++) {
    vertex *other = &run->v[run->clique[k]];
    if (whole) { /* u's non-neighbours next to it no longer lack the edge to u */
      other->fill -= (int64_t)other->degree - (int64_t)d;
    }
    other->weight -= at->own;
    other->degree--;
    if (!whole && !join(run, run->clique[k], d)) {
      return false;
    }
    if (other->length > 2 * other->degree + 8) {
      compact(run, other);
    }
  }
  for (uint32_t k = 0; k < d; k++) {
    if (!whole && by_fill) {
      run->v[run->clique[k]].fill = missing(run, run->clique[k]);
    }
    moved(run, run->clique[k]);
  }
  run->steps += (size_t)d + 1;
  if (at->owned) {
    poei_free(at->list);
    at->owned = false;
  }
  return true;
}

/* ---- all of it ---- */

static uint64_t scatter(uint64_t seed, uint64_t index) { /* SplitMix64 (Steele, Lea and Flood 2014) */
  uint64_t h = seed * 0x9e3779b97f4a7c15ULL + index + 1;
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ULL;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebULL;
  return h ^ (h >> 31);
}

static poe_status open_run(const poei_adjacency *graph, const unsigned char *phase, poei_greedy rule, uint64_t seed,
                           greedy *run, poe_error *error) {
  size_t n = graph->n;
  *run = (greedy){.rule = rule, .n = n};
  run->v = poei_calloc(n, sizeof *run->v);
  run->pool = poei_copy(graph->neighbour, graph->start[n], sizeof *run->pool);
  run->heap = poei_alloc(n, sizeof *run->heap);
  run->mark = poei_calloc(n, sizeof *run->mark);
  run->clique = poei_alloc(n, sizeof *run->clique);
  run->merged = poei_alloc(n, sizeof *run->merged);
  if (run->v == NULL || run->pool == NULL || run->heap == NULL || run->mark == NULL || run->clique == NULL ||
      run->merged == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < n; i++) {
    uint32_t degree = (uint32_t)(graph->start[i + 1] - graph->start[i]);
    run->v[i] = (vertex){.list = &run->pool[graph->start[i]], .length = degree, .capacity = degree, .degree = degree};
    run->v[i].phase = phase == NULL ? 0 : phase[i];
    run->v[i].own = run->v[i].weight = llround(graph->bits[i] * bit);
    run->v[i].tie = seed == 0 ? i : scatter(seed, i);
    for (uint32_t k = 0; k < degree; k++) {
      run->v[i].weight += llround(graph->bits[run->v[i].list[k]] * bit);
    }
  }
  for (uint32_t i = 0; i < n; i++) {
    run->v[i].fill = rule == POEI_GREEDY_FILL ? missing(run, i) : 0;
    if (run->v[i].phase < 2) {
      run->v[i].place = run->left++;
      run->heap[run->v[i].place] = i;
      sift(run, i);
    }
  }
  return POE_OK;
}

static void close_run(greedy *run) {
  for (size_t i = 0; run->v != NULL && i < run->n; i++) {
    if (run->v[i].owned) {
      poei_free(run->v[i].list);
    }
  }
  poei_free(run->v);
  poei_free(run->pool);
  poei_free(run->heap);
  poei_free(run->mark);
  poei_free(run->clique);
  poei_free(run->merged);
}

poe_status poei_greedy_order(const poei_adjacency *graph, const unsigned char *phase, poei_greedy rule, uint64_t seed,
                             const poei_greedy_bounds *bounds, uint32_t *order, poei_greedy_result *result,
                             poe_error *error) {
  greedy run;
  *result = (poei_greedy_result){.complete = true};
  poe_status status = open_run(graph, phase, rule, seed, &run, error);
  while (status == POE_OK && run.left > 0 && result->complete) {
    uint32_t u = take_first(&run);
    double bits = (double)run.v[u].weight / bit;
    result->work += exp2(bits);
    result->bytes += 8.0 * exp2(bits - (double)run.v[u].own / bit);
    result->widest_bits = fmax(result->widest_bits, bits);
    result->widest = run.v[u].degree + 1 > result->widest ? run.v[u].degree + 1 : result->widest;
    order[result->n++] = u;
    if (!eliminate(&run, u)) {
      status = poe_error_set(error, POE_E_MEMORY, "out of memory");
    }
    result->complete = result->work <= bounds->work && run.steps <= bounds->steps &&
                       bits - (double)run.v[u].own / bit <= bounds->message_bits;
  }
  result->steps = run.steps;
  close_run(&run);
  return status;
}
