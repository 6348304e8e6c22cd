/* Walking trees of experts (see tree.h): the memo, and rebuilding a node over rewritten children.
 *
 * Keys are retained while they are in the memo, so that an address cannot come back as another expert.
 */
#include "compose/exact/tree.h"

#include <stdint.h>

#include "core/alloc.h"

/* ---- memo ---- */

static size_t first_slot(const poei_memo *memo, const poe_expert *key) {
  uint64_t h = (uint64_t)(uintptr_t)key;
  h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdULL;
  h ^= h >> 29;
  return (size_t)h & (memo->capacity - 1);
}

static poei_memo_entry *find_slot(const poei_memo *memo, const poe_expert *key) {
  size_t at = first_slot(memo, key);
  while (memo->slot[at].key != NULL && memo->slot[at].key != key) {
    at = (at + 1) & (memo->capacity - 1);
  }
  return &memo->slot[at];
}

const poei_memo_entry *poei_memo_find(const poei_memo *memo, const poe_expert *key) {
  if (memo->n == 0) {
    return NULL;
  }
  const poei_memo_entry *entry = find_slot(memo, key);
  return entry->key == NULL ? NULL : entry;
}

static poe_status grow(poei_memo *memo, poe_error *error) {
  poei_memo wide = {.capacity = memo->capacity == 0 ? 32 : 2 * memo->capacity};
  wide.slot = poei_calloc(wide.capacity, sizeof *wide.slot);
  if (wide.slot == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < memo->capacity; i++) {
    if (memo->slot[i].key != NULL) {
      *find_slot(&wide, memo->slot[i].key) = memo->slot[i];
    }
  }
  wide.n = memo->n;
  poei_free(memo->slot);
  *memo = wide;
  return POE_OK;
}

poe_status poei_memo_put(poei_memo *memo, const poe_expert *key, const poe_expert *value, bool mark, poe_error *error) {
  if (2 * (memo->n + 1) > memo->capacity) {
    poe_status status = grow(memo, error);
    if (status != POE_OK) {
      return status;
    }
  }
  poei_memo_entry *entry = find_slot(memo, key);
  if (entry->key == NULL) {
    *entry = (poei_memo_entry){poe_expert_retain(key), poe_expert_retain(value), mark};
    memo->n++;
  }
  return POE_OK;
}

void poei_memo_free(poei_memo *memo) {
  for (size_t i = 0; i < memo->capacity; i++) {
    if (memo->slot[i].key != NULL) {
      poe_expert_release((poe_expert *)(uintptr_t)memo->slot[i].key);
      poe_expert_release(memo->slot[i].value);
    }
  }
  poei_free(memo->slot);
  *memo = (poei_memo){0};
}

/* ---- rebuilding ---- */

poe_status poei_tree_rebuild(const poe_expert *expert, poei_visit visit, void *context, poe_expert **out,
                             poe_error *error) {
  size_t n = poei_node_child_count(expert), made = 0;
  bool changed = false;
  poe_expert **children = poei_calloc(n, sizeof *children);
  if (children == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = POE_OK;
  for (; made < n && status == POE_OK; made++) {
    status = visit(context, poei_node_child(expert, made), &children[made], error);
    changed = changed || children[made] != poei_node_child(expert, made);
  }
  if (status == POE_OK && changed) {
    status = poei_node_rebuild(expert, (const poe_expert *const *)children, out, error);
  } else if (status == POE_OK) {
    *out = poe_expert_retain(expert);
  }
  for (size_t i = 0; i < made; i++) {
    poe_expert_release(children[i]);
  }
  poei_free(children);
  return status;
}

poe_status poei_scaled(const poe_expert *expert, double constant, double std_error, poe_expert **out,
                       poe_error *error) {
  if (constant == 0.0 && std_error == 0.0) {
    *out = poe_expert_retain(expert);
    return POE_OK;
  }
  return poei_mixture_create_estimated(1, &expert, &constant, std_error, out, error);
}
