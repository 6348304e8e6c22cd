/* Keeping what rules did (trace.h): only the factors that changed, so that a product of many that is rewritten many
 * times is not kept as often. What is kept is retained: an address cannot come back as another expert. */
#include "compose/exact/trace.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"

/* ---- factors ---- */

static poe_status out_of_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

void poei_traced_free(poei_traced *list, size_t n) {
  for (size_t i = 0; list != NULL && i < n; i++) {
    poe_expert_release(list[i].expert);
    poei_free(list[i].place);
  }
  poei_free(list);
}

poe_status poei_traced_open(const poe_expert *expert, const size_t *place, poei_traced **list, size_t *n,
                            poe_error *error) {
  while (poei_node_kind_of(expert) == POEI_NODE_mixture && poei_node_child_count(expert) == 1) {
    expert = poei_node_child(expert, 0); /* times a constant */
  }
  bool product = poei_node_kind_of(expert) == POEI_NODE_product;
  size_t count = product ? poei_node_child_count(expert) : 1;
  poei_traced *made = poei_calloc(count, sizeof *made);
  poe_status status = made == NULL ? out_of_memory(error) : POE_OK;
  for (size_t i = 0; i < count && status == POE_OK; i++) {
    made[i].expert = poe_expert_retain(product ? poei_node_child(expert, i) : expert);
    made[i].exponent = product ? poei_product_exponent(expert, i) : 1.0;
    made[i].place =
        product ? poei_child_place(expert, i, place) : poei_copy(place, poe_expert_traits(expert)->dim, sizeof *place);
    status = made[i].place == NULL ? out_of_memory(error) : POE_OK;
  }
  if (status != POE_OK) {
    poei_traced_free(made, made == NULL ? 0 : count);
    return status;
  }
  *list = made;
  *n = count;
  return POE_OK;
}

/* By identity, so that equal factors of two sorted lists meet. */
static int compare_traced(const void *a, const void *b) {
  const poei_traced *x = *(poei_traced *const *)a, *y = *(poei_traced *const *)b;
  if (x->expert != y->expert) {
    return (uintptr_t)x->expert < (uintptr_t)y->expert ? -1 : 1;
  }
  if (x->exponent != y->exponent) {
    return x->exponent < y->exponent ? -1 : 1;
  }
  return memcmp(x->place, y->place, poe_expert_traits(x->expert)->dim * sizeof *x->place);
}

static poei_traced **sorted(poei_traced *list, size_t n) {
  poei_traced **order = poei_alloc(n, sizeof *order);
  for (size_t i = 0; order != NULL && i < n; i++) {
    order[i] = &list[i];
  }
  if (order != NULL && n > 1) {
    qsort(order, n, sizeof *order, compare_traced);
  }
  return order;
}

/* Takes out of two lists what both have; those left keep their order. */
static poe_status drop_common(poei_traced *a, size_t *n_a, poei_traced *b, size_t *n_b, poe_error *error) {
  poei_traced **in_a = sorted(a, *n_a), **in_b = sorted(b, *n_b);
  poe_status status = in_a == NULL || in_b == NULL ? out_of_memory(error) : POE_OK;
  for (size_t i = 0, k = 0; status == POE_OK && i < *n_a && k < *n_b;) {
    int order = compare_traced(&in_a[i], &in_b[k]);
    poei_traced *both[2] = {in_a[i], in_b[k]};
    i += order <= 0;
    k += order >= 0;
    for (int side = 0; order == 0 && side < 2; side++) { /* a hole, closed below */
      poei_free(both[side]->place);
      both[side]->place = NULL;
    }
  }
  poei_free(in_a);
  poei_free(in_b);
  poei_traced *const lists[2] = {a, b};
  size_t *const counts[2] = {n_a, n_b};
  for (int side = 0; side < 2 && status == POE_OK; side++) {
    size_t kept = 0;
    for (size_t i = 0; i < *counts[side]; i++) {
      if (lists[side][i].place != NULL) {
        lists[side][kept++] = lists[side][i];
      } else {
        poe_expert_release(lists[side][i].expert);
      }
    }
    *counts[side] = kept;
  }
  return status;
}

/* ---- the trace ---- */

static void firing_free(poei_firing *firing) {
  poei_traced_free(firing->gone, firing->n_gone);
  poei_traced_free(firing->made, firing->n_made);
  poe_expert_release(firing->origin);
  poei_free(firing->place);
  poei_free(firing->what);
}

void poei_trace_free(poei_trace *trace) {
  if (trace == NULL) {
    return;
  }
  for (size_t i = 0; i < trace->n; i++) {
    firing_free(&trace->item[i]);
  }
  poei_free(trace->item);
  poei_memo_free(&trace->ancestor);
  poe_expert_release(trace->root);
  *trace = (poei_trace){0};
}

void poei_trace_begin(poei_trace *trace, const poe_expert *root) {
  poe_expert *kept = poe_expert_retain(root);
  poei_trace_free(trace);
  trace->root = kept;
}

poe_status poei_trace_fired(poei_trace *trace, const char *rule, const char *what, const poe_expert *origin,
                            const poe_expert *before, const poe_expert *after, const size_t *place, poe_error *error) {
  if (trace->n == trace->capacity) {
    size_t capacity = trace->capacity == 0 ? 8 : 2 * trace->capacity;
    poei_firing *item = poei_realloc(trace->item, capacity, sizeof *item);
    if (item == NULL) {
      return out_of_memory(error);
    }
    trace->item = item;
    trace->capacity = capacity;
  }
  size_t dim = poe_expert_traits(before)->dim;
  poei_firing firing = {.rule = rule, .what = poei_strdup(what), .dim = dim};
  firing.place = poei_copy(place, dim, sizeof *place);
  firing.origin = poe_expert_retain(origin);
  poe_status status = firing.what == NULL || firing.place == NULL ? out_of_memory(error) : POE_OK;
  if (status == POE_OK) {
    status = poei_traced_open(before, place, &firing.gone, &firing.n_gone, error);
  }
  if (status == POE_OK) {
    status = poei_traced_open(after, place, &firing.made, &firing.n_made, error);
  }
  if (status == POE_OK) {
    status = drop_common(firing.gone, &firing.n_gone, firing.made, &firing.n_made, error);
  }
  if (status != POE_OK) {
    firing_free(&firing);
    return status;
  }
  trace->item[trace->n++] = firing;
  return POE_OK;
}

/* Does `expert` stand in the tree below `from`, down to two levels? Then it was not made, but came out. */
static bool came_out(const poe_expert *expert, const poe_expert *from) {
  for (size_t i = 0; i < poei_node_child_count(from); i++) {
    const poe_expert *child = poei_node_child(from, i);
    bool inner = poei_node_kind_of(from) == POEI_NODE_slice && poei_node_child_count(child) > 0;
    if (child == expert || (inner && poei_node_child(child, 0) == expert)) {
      return true;
    }
  }
  return false;
}

poe_status poei_trace_made(poei_trace *trace, const poe_expert *made, const poe_expert *from, poe_error *error) {
  if (made == from || came_out(made, from)) {
    return POE_OK;
  }
  return poei_memo_put(&trace->ancestor, made, from, false, error);
}

/* ---- where children are ---- */

static size_t place_in_through(const poe_expert *expert, size_t j, const size_t *place) {
  const poe_map *map = poei_through_map(expert);
  size_t in = poe_map_ops_of(map)->in_dim(poe_map_self(map));
  size_t out = poe_expert_traits(poei_node_child(expert, 0))->dim - (poe_expert_traits(expert)->dim - in);
  return j < out ? SIZE_MAX : place[in + j - out];
}

/* Those of the child that are left when index[n] are taken out are place[], in order. */
static void place_rest(size_t dim, size_t n, const size_t *index, const size_t *place, size_t *out) {
  for (size_t j = 0; j < dim; j++) {
    out[j] = 0;
  }
  for (size_t k = 0; k < n; k++) {
    out[index[k]] = SIZE_MAX;
  }
  for (size_t j = 0, next = 0; j < dim; j++) {
    out[j] = out[j] == SIZE_MAX ? SIZE_MAX : place[next++];
  }
}

size_t *poei_child_place(const poe_expert *expert, size_t i, const size_t *place) {
  size_t dim = poe_expert_traits(poei_node_child(expert, i))->dim;
  size_t *out = poei_alloc(dim, sizeof *out);
  const size_t *index = NULL;
  if (out == NULL) {
    return NULL;
  }
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_given:
    place_rest(dim, poei_given_count(expert), poei_given_index(expert), place, out);
    return out;
  case POEI_NODE_marginal:
    place_rest(dim, poei_marginal_count(expert), poei_marginal_latent(expert), place, out);
    return out;
  case POEI_NODE_through:
    for (size_t j = 0; j < dim; j++) {
      out[j] = place_in_through(expert, j, place);
    }
    return out;
  case POEI_NODE_product:
    index = poei_product_index(expert, i);
    break;
  case POEI_NODE_slice:
    index = poei_slice_index(expert);
    break;
  case POEI_NODE_plate:
    index = poei_plate_index(expert);
    break;
  default:
    break;
  }
  bool same = index != NULL || dim == poe_expert_traits(expert)->dim;
  for (size_t j = 0; j < dim; j++) {
    out[j] = same ? place[index == NULL ? j : index[j]] : SIZE_MAX;
  }
  return out;
}
