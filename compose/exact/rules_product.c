/* Rewriting rules that only move factors about: unwrap, flatten, collect, share map, blocks.
 *
 * Each keeps log p at every point, including where factors vanish: with divisors about, factors are merged only where
 * 0/0 = 0 is kept.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/rules.h"
#include "compose/exact/tree.h"
#include "core/alloc.h"

/* ---- unwrap ---- */

static bool same_support(const poe_expert *a, const poe_expert *b) {
  const poe_traits *ta = poe_expert_traits(a), *tb = poe_expert_traits(b);
  for (size_t j = 0; j < ta->dim; j++) {
    const poe_support *sa = &ta->support[j], *sb = &tb->support[j];
    if (sa->kind != sb->kind || sa->low != sb->low || sa->high != sb->high || sa->low_open != sb->low_open ||
        sa->high_open != sb->high_open) {
      return false;
    }
  }
  return true;
}

static bool identity_slice(const poe_expert *expert) {
  size_t dim = poe_expert_traits(expert)->dim;
  const size_t *index = poei_slice_index(expert);
  for (size_t j = 0; j < dim; j++) {
    if (poe_expert_traits(poei_node_child(expert, 0))->dim != dim || index[j] != j) {
      return false;
    }
  }
  return true;
}

bool poei_rule_unwrap_applies(const poe_expert *expert) {
  poei_node_kind kind = poei_node_kind_of(expert);
  if (kind == POEI_NODE_LEAF || poei_node_child_count(expert) != 1) {
    return false;
  }
  const poe_expert *child = poei_node_child(expert, 0);
  double std_error;
  switch (kind) {
  case POEI_NODE_product:
    return poei_product_exponent(expert, 0) == 1.0;
  case POEI_NODE_mixture:
    return poei_mixture_log_weight(expert, 0) == 0.0 &&
           poe_expert_traits(expert)->offset_error == poe_expert_traits(child)->offset_error;
  case POEI_NODE_slice:
    return poei_node_kind_of(child) == POEI_NODE_slice || identity_slice(expert);
  case POEI_NODE_normalise:
    return poei_normalise_log_z(expert, &std_error) == 0.0 && std_error == 0.0 && poei_expert_normalised(child) &&
           poe_expert_traits(child)->offset_error == 0.0;
  case POEI_NODE_restrict:
    return same_support(expert, child);
  default:
    return false;
  }
}

poe_status poei_rule_unwrap_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                    char **what, poe_error *error) {
  (void)options;
  const poe_expert *child = poei_node_child(expert, 0);
  poe_status status = POE_OK;
  if (poei_node_kind_of(expert) == POEI_NODE_slice && !identity_slice(expert)) {
    const poe_expert *inner = poei_node_child(child, 0);
    size_t n = poe_expert_traits(inner)->dim;
    size_t *index = poei_alloc(n, sizeof *index);
    if (index == NULL) {
      return poe_error_set(error, POE_E_MEMORY, "out of memory");
    }
    for (size_t j = 0; j < n; j++) {
      index[j] = poei_slice_index(expert)[poei_slice_index(child)[j]];
    }
    status = poei_slice_create(inner, poe_expert_traits(expert)->dim, index, out, error);
    poei_free(index);
  } else if (poei_node_kind_of(expert) == POEI_NODE_product && poei_product_index(expert, 0) != NULL) {
    status = poei_slice_create(child, poe_expert_traits(expert)->dim, poei_product_index(expert, 0), out, error);
  } else {
    *out = poe_expert_retain(child);
  }
  *what = status == POE_OK
              ? poei_format("a %s that changes nothing is gone", poei_node_kind_name(poei_node_kind_of(expert)))
              : NULL;
  return status;
}

/* ---- flatten ---- */

bool poei_rule_flatten_applies(const poe_expert *expert) {
  return poei_node_kind_of(expert) == POEI_NODE_product;
}

poe_status poei_rule_flatten_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                     char **what, poe_error *error) {
  (void)options;
  poei_parts parts;
  bool deeper = false;
  poe_status status = poei_parts_open(expert, POEI_OPEN_SHARED, &parts, &deeper, error);
  if (status != POE_OK) {
    return status;
  }
  if (deeper) {
    status = poei_parts_close(&parts, out, error);
    *what = status == POE_OK
                ? poei_format("%zu factors became %zu on one level", poei_node_child_count(expert), parts.n)
                : NULL;
  }
  poei_parts_free(&parts);
  return status;
}

/* ---- collect ---- */

/* Merging exponents of both signs keeps 0/0 = 0 only when the sum stays positive, or the factor vanishes nowhere. */
static bool mergeable(const poei_part *a, const poei_part *b) {
  if (a->expert != b->expert || memcmp(a->index, b->index, a->n * sizeof *a->index) != 0) {
    return false;
  }
  if ((a->exponent > 0.0) == (b->exponent > 0.0) || a->exponent + b->exponent > 0.0) {
    return true;
  }
  const poe_traits *traits = poe_expert_traits(a->expert);
  bool gaussian = poei_expert_can(a->expert, POE_CAN_FORM);
  for (size_t j = 0; j < traits->dim; j++) {
    gaussian = gaussian && traits->support[j].kind == POE_CONTINUOUS && traits->support[j].low == -INFINITY &&
               traits->support[j].high == INFINITY;
  }
  return gaussian;
}

/* By identity, then by place, then in the order written, so that factors that may merge stand next to each other. */
typedef struct collectable {
  const poe_expert *expert;
  const poei_part *part; /* NULL: only the experts are compared */
} collectable;

static int compare_collectable(const void *a, const void *b) {
  const collectable *x = a, *y = b;
  if (x->expert != y->expert) {
    return (uintptr_t)x->expert < (uintptr_t)y->expert ? -1 : 1;
  }
  int place = x->part == NULL ? 0 : memcmp(x->part->index, y->part->index, x->part->n * sizeof *x->part->index);
  return place != 0 ? place : (x->part > y->part) - (x->part < y->part);
}

bool poei_rule_collect_applies(const poe_expert *expert) {
  size_t n = poei_node_child_count(expert);
  collectable *list = poei_node_kind_of(expert) == POEI_NODE_product ? poei_alloc(n, sizeof *list) : NULL;
  bool found = false;
  for (size_t i = 0; list != NULL && i < n; i++) {
    list[i] = (collectable){poei_node_child(expert, i), NULL};
  }
  if (list != NULL) {
    qsort(list, n, sizeof *list, compare_collectable);
  }
  for (size_t i = 1; list != NULL && i < n && !found; i++) {
    found = list[i].expert == list[i - 1].expert;
  }
  poei_free(list);
  return found;
}

/* Merges what can be merged in list[n], sorted; what was merged into another has exponent 0 and is marked in gone[]. */
static void merge_equal(poei_parts *parts, size_t n, const collectable *list, unsigned char *gone) {
  for (size_t i = 0; i < n; i++) {
    poei_part *into = &parts->item[list[i].part - parts->item];
    for (size_t k = i + 1; k < n && !gone[into - parts->item] && list[k].expert == list[i].expert; k++) {
      const poei_part *other = list[k].part;
      if (memcmp(into->index, other->index, into->n * sizeof *into->index) != 0) {
        break;
      }
      if (!gone[other - parts->item] && mergeable(into, other)) {
        into->exponent += other->exponent;
        gone[other - parts->item] = 1;
      }
    }
  }
}

/* Takes out the factors marked in gone[], keeping the order. */
static void drop_marked(poei_parts *parts, const unsigned char *gone) {
  size_t kept = 0;
  for (size_t i = 0; i < parts->n; i++) {
    if (gone[i]) {
      poe_expert_release(parts->item[i].expert);
      poei_free(parts->item[i].index);
    } else {
      parts->item[kept++] = parts->item[i];
    }
  }
  parts->n = kept;
}

poe_status poei_rule_collect_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                     char **what, poe_error *error) {
  (void)options;
  poei_parts parts;
  poe_status status = poei_parts_open(expert, POEI_OPEN_SURFACE, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  size_t before = parts.n;
  collectable *list = poei_alloc(before, sizeof *list);
  unsigned char *gone = poei_calloc(before, 1);
  if (list == NULL || gone == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else {
    for (size_t i = 0; i < before; i++) {
      list[i] = (collectable){parts.item[i].expert, &parts.item[i]};
    }
    qsort(list, before, sizeof *list, compare_collectable);
    merge_equal(&parts, before, list, gone);
    drop_marked(&parts, gone);
  }
  if (status == POE_OK && parts.n < before) {
    status = poei_parts_close(&parts, out, error); /* exponents that became 0 are dropped by the product */
    *what = status == POE_OK ? poei_format("%zu factors became %zu", before, parts.n) : NULL;
  }
  poei_free(list);
  poei_free(gone);
  poei_parts_free(&parts);
  return status;
}

/* ---- share map ---- */

static size_t map_in_dim(const poe_map *map) {
  return poe_map_ops_of(map)->in_dim(poe_map_self(map));
}

static bool same_map(const poei_part *a, const poei_part *b) {
  if (poei_node_kind_of(a->expert) != POEI_NODE_through || poei_node_kind_of(b->expert) != POEI_NODE_through) {
    return false;
  }
  const poe_map *map = poei_through_map(a->expert);
  return map == poei_through_map(b->expert) && memcmp(a->index, b->index, map_in_dim(map) * sizeof *a->index) == 0;
}

bool poei_rule_share_map_applies(const poe_expert *expert) {
  if (poei_node_kind_of(expert) != POEI_NODE_product) {
    return false;
  }
  size_t count = 0;
  for (size_t i = 0; i < poei_node_child_count(expert); i++) {
    const poe_expert *inside;
    poei_scope_of(poei_node_child(expert, i), &inside);
    count += poei_node_kind_of(inside) == POEI_NODE_through;
  }
  return count >= 2;
}

/* Where coordinate c is among the shared node's extra coordinates rest[*n]; appended when it is new. */
static size_t rest_position(size_t *rest, size_t *n, size_t c) {
  for (size_t k = 0; k < *n; k++) {
    if (rest[k] == c) {
      return k;
    }
  }
  rest[(*n)++] = c;
  return *n - 1;
}

/* One `through` for all parts with the map of part `first`; they are removed and it is appended. */
static poe_status share_one(poei_parts *parts, size_t first, size_t *count, poe_error *error) {
  const poei_part lead = parts->item[first];
  const poe_map *map = poei_through_map(lead.expert);
  size_t in = map_in_dim(map), made = poe_expert_traits(poei_node_child(lead.expert, 0))->dim - (lead.n - in), n = 0;
  size_t *place = poei_alloc(made + parts->dim, sizeof *place), *whole = poei_alloc(in + parts->dim, sizeof *whole);
  poei_parts inside = {.dim = made + parts->dim};
  poe_expert *product = NULL, *node = NULL;
  poe_status status = POE_OK;
  if (place == NULL || whole == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = first; i < parts->n && status == POE_OK; i++) {
    const poei_part *part = &parts->item[i];
    if (!same_map(&lead, part)) {
      continue;
    }
    for (size_t j = 0; j < made; j++) {
      place[j] = j;
    }
    for (size_t j = in; j < part->n; j++) {
      place[made + j - in] = made + rest_position(whole + in, &n, part->index[j]);
    }
    status =
        poei_parts_add(&inside, poei_node_child(part->expert, 0), made + part->n - in, place, part->exponent, error);
  }
  if (status == POE_OK) {
    *count = inside.n;
    inside.dim = made + n;
    memcpy(whole, lead.index, in * sizeof *whole);
    status = poei_parts_close(&inside, &product, error);
  }
  if (status == POE_OK) {
    status = poei_through_create(map, product, &node, error);
  }
  if (status == POE_OK) {
    status = poei_parts_add(parts, node, in + n, whole, 1.0, error);
  }
  for (size_t i = parts->n - 1; status == POE_OK && i-- > first;) { /* the new one, at the end, stays */
    if (i != first && same_map(&parts->item[first], &parts->item[i])) {
      poei_parts_remove(parts, i);
    }
  }
  if (status == POE_OK) {
    poei_parts_remove(parts, first);
  }
  poe_expert_release(product);
  poe_expert_release(node);
  poei_parts_free(&inside);
  poei_free(place);
  poei_free(whole);
  return status;
}

poe_status poei_rule_share_map_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                       char **what, poe_error *error) {
  (void)options;
  poei_parts parts;
  poe_status status = poei_parts_open(expert, POEI_OPEN_SURFACE, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  size_t count = 0;
  for (size_t i = 0; i < parts.n && count == 0 && status == POE_OK; i++) {
    for (size_t k = i + 1; k < parts.n && count == 0 && status == POE_OK; k++) {
      if (same_map(&parts.item[i], &parts.item[k])) {
        status = share_one(&parts, i, &count, error);
      }
    }
  }
  if (status == POE_OK && count > 0) {
    status = poei_parts_close(&parts, out, error);
    *what = status == POE_OK ? poei_format("%zu factors of one map's value became one", count) : NULL;
  }
  poei_parts_free(&parts);
  return status;
}

/* ---- blocks ---- */

bool poei_rule_blocks_applies(const poe_expert *expert) {
  return poei_node_kind_of(expert) == POEI_NODE_product && poei_node_child_count(expert) >= 3;
}

/* Each group of two or more factors becomes one factor, a product over the group's own coordinates. */
static poe_status group_parts(const poei_parts *parts, const size_t *group, size_t count, poei_parts *grouped,
                              poe_error *error) {
  poe_status status = POE_OK;
  for (size_t g = 0; g < count && status == POE_OK; g++) {
    poei_parts own = {0};
    size_t *index = NULL;
    poe_expert *block = NULL;
    status = poei_parts_group(parts, group, g, &own, &index, error);
    if (status == POE_OK && own.n == 1) {
      const poei_part *only = NULL;
      for (size_t i = 0; i < parts->n; i++) {
        only = group[i] == g ? &parts->item[i] : only;
      }
      status = poei_parts_add(grouped, only->expert, only->n, only->index, only->exponent, error);
    } else if (status == POE_OK) {
      status = poei_parts_close(&own, &block, error);
      if (status == POE_OK) {
        status = poei_parts_add(grouped, block, own.dim, index, 1.0, error);
      }
    }
    poe_expert_release(block);
    poei_parts_free(&own);
    poei_free(index);
  }
  return status;
}

poe_status poei_rule_blocks_rewrite(const poe_expert *expert, const poei_plan_options *options, poe_expert **out,
                                    char **what, poe_error *error) {
  (void)options;
  poei_parts parts, grouped = {.dim = poe_expert_traits(expert)->dim};
  poe_status status = poei_parts_open(expert, POEI_OPEN_SURFACE, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  size_t count = 0;
  size_t *group = poei_alloc(parts.n, sizeof *group), *owner = poei_alloc(parts.dim, sizeof *owner);
  status = group == NULL || owner == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                          : poei_parts_groups(&parts, NULL, group, owner, &count, error);
  bool apart = status == POE_OK && count >= 2 && count < parts.n;
  for (size_t i = 0; i < parts.n && apart; i++) { /* a factor flat in some coordinate may lie across two groups */
    for (size_t j = 0; j < parts.item[i].n && apart; j++) {
      apart = owner[parts.item[i].index[j]] == group[i];
    }
  }
  if (apart) {
    status = group_parts(&parts, group, count, &grouped, error);
    if (status == POE_OK) {
      status = poei_parts_close(&grouped, out, error);
    }
    *what = status == POE_OK ? poei_format("%zu factors fall into %zu independent blocks", parts.n, count) : NULL;
  }
  poei_free(group);
  poei_free(owner);
  poei_parts_free(&grouped);
  poei_parts_free(&parts);
  return status;
}
