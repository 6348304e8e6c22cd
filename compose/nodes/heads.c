/* Heads of products: p(x) p(y | x) p(z | y) integrates to 1 over (x, y, z), because integrating in the reverse of a
 * topological order removes one factor after another. That needs disjoint heads and no cycle of dependence.
 */
#include <stdint.h>
#include <string.h>

#include "compose/nodes/node.h"
#include "core/alloc.h"

poei_scope poei_scope_of(const poe_expert *expert, const poe_expert **inside) {
  poei_scope scope = {0};
  if (poei_node_kind_of(expert) == POEI_NODE_slice) {
    const poe_expert *child = poei_node_child(expert, 0);
    scope.index = poei_slice_index(expert);
    expert = child;
  }
  const poe_traits *traits = poe_expert_traits(expert);
  scope.n = traits->dim;
  scope.head = traits->head;
  scope.touch = poei_node_touch(expert);
  if (inside != NULL) {
    *inside = expert;
  }
  return scope;
}

static size_t coordinate(const poei_scope *scope, size_t j) {
  return scope->index == NULL ? j : scope->index[j];
}

/* owner[dim]: which factor has the coordinate in its head; false when two have, or a factor has none. */
static bool find_owners(size_t dim, size_t n, const poei_scope *scopes, size_t *owner) {
  for (size_t c = 0; c < dim; c++) {
    owner[c] = SIZE_MAX;
  }
  for (size_t i = 0; i < n; i++) {
    if (scopes[i].head == NULL) {
      return false;
    }
    for (size_t j = 0; j < scopes[i].n; j++) {
      if (!scopes[i].head[j]) {
        continue;
      }
      size_t c = coordinate(&scopes[i], j);
      if (owner[c] != SIZE_MAX) {
        return false;
      }
      owner[c] = i;
    }
  }
  return true;
}

/* Depth-first search along "depends on", without recursion (chains are as long as the product). order[n] is filled in
 * dependency order; false when there is a cycle. next[n]: position in each factor's coordinates; stack[n]. */
static bool sort_factors(size_t n, const poei_scope *scopes, const size_t *owner, size_t *order, size_t *next,
                         size_t *stack, unsigned char *state) {
  enum { NEW, OPEN, DONE };
  size_t done = 0;
  for (size_t start = 0; start < n; start++) {
    if (state[start] != NEW) {
      continue;
    }
    size_t depth = 0;
    stack[depth++] = start;
    state[start] = OPEN;
    while (depth > 0) {
      size_t i = stack[depth - 1];
      if (next[i] == scopes[i].n) {
        state[i] = DONE;
        order[done++] = i;
        depth--;
        continue;
      }
      size_t j = next[i]++;
      size_t on = owner[coordinate(&scopes[i], j)];
      if (on == SIZE_MAX || on == i || (scopes[i].touch != NULL && !scopes[i].touch[j]) || state[on] == DONE) {
        continue;
      }
      if (state[on] == OPEN) {
        return false;
      }
      state[on] = OPEN;
      stack[depth++] = on;
    }
  }
  return true;
}

poe_status poei_heads_union(size_t dim, size_t n, const poei_scope *scopes, unsigned char *head, size_t *order,
                            bool *normalised, poe_error *error) {
  memset(head, 0, dim);
  *normalised = false;
  for (size_t i = 0; i < n; i++) { /* the usual way to fail costs no memory */
    if (scopes[i].head == NULL) {
      return POE_OK;
    }
  }
  size_t *owner = poei_alloc(dim, sizeof *owner);
  size_t *work = poei_calloc(3 * n, sizeof *work);
  unsigned char *state = poei_calloc(n, 1);
  if (owner == NULL || work == NULL || state == NULL) {
    poei_free(owner);
    poei_free(work);
    poei_free(state);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (n > 0 && find_owners(dim, n, scopes, owner) &&
      sort_factors(n, scopes, owner, order != NULL ? order : work + 2 * n, work, work + n, state)) {
    *normalised = true;
    for (size_t c = 0; c < dim; c++) {
      head[c] = owner[c] != SIZE_MAX;
    }
  }
  poei_free(owner);
  poei_free(work);
  poei_free(state);
  return POE_OK;
}

poe_status poei_scopes_partition(size_t dim, size_t n, const poei_scope *scopes, bool *partition, poe_error *error) {
  *partition = false;
  size_t total = 0;
  for (size_t i = 0; i < n; i++) { /* more coordinates than there are: no partition, and no memory needed to see it */
    for (size_t j = 0; j < scopes[i].n; j++) {
      total += scopes[i].touch == NULL || scopes[i].touch[j];
    }
  }
  if (total != dim) {
    return POE_OK;
  }
  unsigned char *seen = poei_calloc(dim, 1);
  if (seen == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < scopes[i].n; j++) {
      if (scopes[i].touch == NULL || scopes[i].touch[j]) {
        seen[coordinate(&scopes[i], j)] = 1;
      }
    }
  }
  *partition = memchr(seen, 0, dim) == NULL;
  poei_free(seen);
  return POE_OK;
}
