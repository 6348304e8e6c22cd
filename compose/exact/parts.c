/* The factors of a product as a list (see tree.h): opened through nested products, slices and constants, edited by the
 * rewriting rules, closed again into one expert with the same density at every point.
 *
 * Invariant: every factor has an explicit index into the product's space, so that factors from different depths
 * compare.
 */
#include <stdint.h>
#include <string.h>

#include "compose/exact/tree.h"
#include "core/alloc.h"

/* ---- the list ---- */

void poei_parts_free(poei_parts *parts) {
  for (size_t i = 0; i < parts->n; i++) {
    poe_expert_release(parts->item[i].expert);
    poei_free(parts->item[i].index);
  }
  poei_free(parts->item);
  *parts = (poei_parts){0};
}

poe_status poei_parts_add(poei_parts *parts, const poe_expert *expert, size_t n, const size_t *index, double exponent,
                          poe_error *error) {
  if (parts->n == parts->capacity) {
    size_t capacity = parts->capacity == 0 ? 8 : 2 * parts->capacity;
    poei_part *item = poei_realloc(parts->item, capacity, sizeof *item);
    if (item == NULL) {
      return poe_error_set(error, POE_E_MEMORY, "out of memory");
    }
    parts->item = item;
    parts->capacity = capacity;
  }
  size_t *own = poei_copy(index, n, sizeof *index);
  if (own == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  parts->item[parts->n++] = (poei_part){poe_expert_retain(expert), n, own, exponent};
  return POE_OK;
}

void poei_parts_remove(poei_parts *parts, size_t i) {
  poe_expert_release(parts->item[i].expert);
  poei_free(parts->item[i].index);
  memmove(&parts->item[i], &parts->item[i + 1], (parts->n - i - 1) * sizeof *parts->item);
  parts->n--;
}

/* ---- opening ---- */

/* Adds `step` to touching[c] for every coordinate that a part depends on. */
static void count_touching(const poei_part *part, size_t *touching, size_t step) {
  const unsigned char *touch = poei_node_touch(part->expert);
  for (size_t j = 0; j < part->n; j++) {
    touching[part->index[j]] += touch == NULL || touch[j] ? step : 0;
  }
}

/* Does another factor depend on a coordinate of this one? touching[dim]: how many factors depend on each. */
static bool shares(const poei_part *part, const size_t *touching) {
  const unsigned char *touch = poei_node_touch(part->expert);
  for (size_t j = 0; j < part->n; j++) {
    size_t own = touch == NULL || touch[j] ? 1 : 0;
    if (touching[part->index[j]] > own) {
      return true;
    }
  }
  return false;
}

/* Can this expert, to that power, be replaced by what is in it? */
static bool opens(const poe_expert *expert, double exponent) {
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_product:
    if (poei_product_has_walls(expert)) {
      return false;
    }
    if (exponent < 0.0) { /* (b/c)^-1 is not c/b where both vanish */
      size_t n;
      const poei_factor *factors = poei_product_factors(expert, &n);
      return n == 0 || factors[n - 1].exponent > 0.0;
    }
    return true;
  case POEI_NODE_slice:
    return true;
  case POEI_NODE_mixture:
    return poei_node_child_count(expert) == 1;
  case POEI_NODE_normalise:
    return !isnan(poei_normalise_log_z(expert, NULL));
  default:
    return false;
  }
}

/* Appends what is inside `part` to parts. */
static poe_status open_part(poei_parts *parts, const poei_part *part, poe_error *error) {
  const poe_expert *expert = part->expert,
                   *child = poei_node_child_count(expert) == 0 ? NULL : poei_node_child(expert, 0);
  double std_error;
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_slice: {
    const size_t *inner = poei_slice_index(expert);
    size_t n = poe_expert_traits(child)->dim;
    size_t *index = poei_alloc(n, sizeof *index);
    if (index == NULL) {
      return poe_error_set(error, POE_E_MEMORY, "out of memory");
    }
    for (size_t j = 0; j < n; j++) {
      index[j] = part->index[inner[j]];
    }
    poe_status status = poei_parts_add(parts, child, n, index, part->exponent, error);
    poei_free(index);
    return status;
  }
  case POEI_NODE_mixture:
    std_error = part->exponent * poe_expert_traits(expert)->offset_error;
    parts->constant += part->exponent * poei_mixture_log_weight(expert, 0);
    parts->variance += std_error * std_error;
    return poei_parts_add(parts, child, part->n, part->index, part->exponent, error);
  case POEI_NODE_normalise:
    parts->constant -= part->exponent * poei_normalise_log_z(expert, &std_error);
    parts->variance += part->exponent * std_error * part->exponent * std_error;
    return poei_parts_add(parts, child, part->n, part->index, part->exponent, error);
  default: {
    poe_status status = POE_OK;
    size_t *room = poei_alloc(part->n, sizeof *room);
    if (room == NULL) {
      return poe_error_set(error, POE_E_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < poei_node_child_count(expert) && status == POE_OK; i++) {
      const poe_expert *factor = poei_node_child(expert, i);
      const size_t *inner = poei_product_index(expert, i);
      size_t n = poe_expert_traits(factor)->dim;
      for (size_t j = 0; j < n; j++) {
        room[j] = part->index[inner == NULL ? j : inner[j]];
      }
      status = poei_parts_add(parts, factor, n, room, part->exponent * poei_product_exponent(expert, i), error);
    }
    poei_free(room);
    return status;
  }
  }
}

/* Should part i be opened? A factor that stands alone keeps its slice and its normalisation: the planner's blocks. */
static bool wanted(const poei_parts *parts, size_t i, poei_opening opening, const size_t *touching) {
  const poe_expert *expert = parts->item[i].expert;
  poei_node_kind kind = poei_node_kind_of(expert);
  if (!opens(expert, parts->item[i].exponent)) {
    return false;
  }
  if (opening == POEI_OPEN_ALL) {
    return true;
  }
  bool below = kind != POEI_NODE_slice && kind != POEI_NODE_product;
  if (kind == POEI_NODE_slice) {
    return true; /* only the place of the factor: nothing is lost */
  }
  if (opening == POEI_OPEN_SURFACE) {
    return false;
  }
  return (parts->item[i].n == parts->dim && !below) || shares(&parts->item[i], touching);
}

/* Opens part i; what comes out takes its place: the order of the source is kept. touching[dim] follows. */
static poe_status open_in_place(poei_parts *parts, size_t i, size_t *touching, poe_error *error) {
  poei_part part = parts->item[i];
  count_touching(&part, touching, SIZE_MAX); /* minus 1 */
  memmove(&parts->item[i], &parts->item[i + 1], (parts->n - i - 1) * sizeof *parts->item);
  parts->n--;
  size_t tail = parts->n - i;
  poe_status status = open_part(parts, &part, error);
  size_t came = parts->n - i - tail;
  poei_part *hold = status == POE_OK ? poei_copy(&parts->item[i + tail], came, sizeof *hold) : NULL;
  if (status == POE_OK && hold == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else if (status == POE_OK) {
    memmove(&parts->item[i + came], &parts->item[i], tail * sizeof *hold);
    memcpy(&parts->item[i], hold, came * sizeof *hold);
    for (size_t k = i; k < i + came; k++) {
      count_touching(&parts->item[k], touching, 1);
    }
  }
  poei_free(hold);
  poe_expert_release(part.expert);
  poei_free(part.index);
  return status;
}

/* Opens, in place, until nothing is left to open. */
static poe_status open_all(poei_parts *parts, poei_opening opening, bool *deeper, poe_error *error) {
  size_t *touching = poei_calloc(parts->dim, sizeof *touching);
  poe_status status = touching == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t i = 0; status == POE_OK && i < parts->n; i++) {
    count_touching(&parts->item[i], touching, 1);
  }
  for (size_t i = 0; status == POE_OK && i < parts->n;) {
    if (!wanted(parts, i, opening, touching)) {
      i++;
      continue;
    }
    if (deeper != NULL && poei_node_kind_of(parts->item[i].expert) != POEI_NODE_slice) {
      *deeper = true;
    }
    status = open_in_place(parts, i, touching, error);
  }
  poei_free(touching);
  return status;
}

poe_status poei_parts_open(const poe_expert *expert, poei_opening opening, poei_parts *parts, bool *deeper,
                           poe_error *error) {
  size_t dim = poe_expert_traits(expert)->dim;
  poei_parts made = {.dim = dim};
  size_t *index = poei_alloc(dim, sizeof *index);
  if (index == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t j = 0; j < dim; j++) {
    index[j] = j;
  }
  poei_part whole = {(poe_expert *)(uintptr_t)expert, dim, index, 1.0};
  poe_status status = poei_node_kind_of(expert) == POEI_NODE_product
                          ? open_part(&made, &whole, error)
                          : poei_parts_add(&made, expert, dim, index, 1.0, error);
  poei_free(index);
  if (status == POE_OK) {
    status = open_all(&made, opening, deeper, error);
  }
  if (status != POE_OK) {
    poei_parts_free(&made);
    return status;
  }
  *parts = made;
  return POE_OK;
}

/* ---- closing ---- */

static bool is_identity(size_t n, size_t dim, const size_t *index) {
  for (size_t j = 0; j < n; j++) {
    if (index[j] != j) {
      return false;
    }
  }
  return n == dim;
}

poe_status poei_place(const poe_expert *expert, size_t dim, const size_t *index, poe_expert **out, poe_error *error) {
  if (is_identity(poe_expert_traits(expert)->dim, dim, index)) {
    *out = poe_expert_retain(expert);
    return POE_OK;
  }
  return poei_slice_create(expert, dim, index, out, error);
}

poe_status poei_parts_close(const poei_parts *parts, poe_expert **out, poe_error *error) {
  const poe_expert **children = poei_alloc(parts->n, sizeof *children);
  const size_t **index = poei_alloc(parts->n, sizeof *index);
  double *exponents = poei_alloc(parts->n, sizeof *exponents);
  poe_status status = POE_OK;
  poe_expert *made = NULL;
  if (children == NULL || index == NULL || exponents == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < parts->n && status == POE_OK; i++) {
    children[i] = parts->item[i].expert;
    exponents[i] = parts->item[i].exponent;
    index[i] = is_identity(parts->item[i].n, parts->dim, parts->item[i].index) ? NULL : parts->item[i].index;
  }
  if (status == POE_OK && parts->n == 1 && exponents[0] == 1.0) {
    status = poei_place(children[0], parts->dim, parts->item[0].index, &made, error);
  } else if (status == POE_OK) {
    status = poei_product_create_scoped(parts->dim, parts->n, children, index, exponents, &made, error);
  }
  if (status == POE_OK) {
    status = poei_scaled(made, parts->constant, sqrt(parts->variance), out, error);
  }
  poe_expert_release(made);
  poei_free(children);
  poei_free(index);
  poei_free(exponents);
  return status;
}

/* ---- groups ---- */

/* Root of a group, halving paths on the way. */
static size_t find(size_t *parent, size_t i) {
  while (parent[i] != i) {
    parent[i] = parent[parent[i]];
    i = parent[i];
  }
  return i;
}

poe_status poei_parts_groups(const poei_parts *parts, const unsigned char *member, size_t *group, size_t *owner,
                             size_t *count, poe_error *error) {
  size_t *parent = poei_alloc(parts->n, sizeof *parent);
  if (parent == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t c = 0; c < parts->dim; c++) {
    owner[c] = SIZE_MAX;
  }
  for (size_t i = 0; i < parts->n; i++) {
    parent[i] = i;
    const unsigned char *touch = poei_node_touch(parts->item[i].expert);
    for (size_t j = 0; (member == NULL || member[i]) && j < parts->item[i].n; j++) {
      size_t c = parts->item[i].index[j];
      if (touch != NULL && !touch[j]) {
        continue;
      }
      if (owner[c] == SIZE_MAX) {
        owner[c] = i;
      } else {
        parent[find(parent, i)] = find(parent, owner[c]);
      }
    }
  }
  *count = 0;
  for (size_t i = 0; i < parts->n; i++) {
    group[i] = SIZE_MAX;
  }
  for (size_t i = 0; i < parts->n; i++) { /* numbered by their first factor */
    if (member == NULL || member[i]) {
      size_t root = find(parent, i);
      if (group[root] == SIZE_MAX) {
        group[root] = (*count)++;
      }
      group[i] = group[root];
    }
  }
  for (size_t c = 0; c < parts->dim; c++) {
    owner[c] = owner[c] == SIZE_MAX ? SIZE_MAX : group[owner[c]];
  }
  poei_free(parent);
  return POE_OK;
}

poe_status poei_parts_group(const poei_parts *parts, const size_t *group, size_t which, poei_parts *out, size_t **index,
                            poe_error *error) {
  size_t *position = poei_alloc(parts->dim, sizeof *position), *own = poei_alloc(parts->dim, sizeof *own);
  size_t *place = poei_alloc(parts->dim, sizeof *place), dim = 0;
  poei_parts made = {0};
  poe_status status = POE_OK;
  if (position == NULL || own == NULL || place == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else {
    memset(position, 0, parts->dim * sizeof *position);
    for (size_t i = 0; i < parts->n; i++) {
      for (size_t j = 0; group[i] == which && j < parts->item[i].n; j++) {
        position[parts->item[i].index[j]] = 1;
      }
    }
    for (size_t c = 0; c < parts->dim; c++) {
      if (position[c] != 0) {
        own[dim] = c;
        position[c] = dim++;
      }
    }
    made.dim = dim;
  }
  for (size_t i = 0; i < parts->n && status == POE_OK; i++) {
    if (group[i] != which) {
      continue;
    }
    for (size_t j = 0; j < parts->item[i].n; j++) {
      place[j] = position[parts->item[i].index[j]];
    }
    status = poei_parts_add(&made, parts->item[i].expert, parts->item[i].n, place, parts->item[i].exponent, error);
  }
  poei_free(position);
  poei_free(place);
  if (status != POE_OK) {
    poei_free(own);
    poei_parts_free(&made);
    return status;
  }
  *out = made;
  *index = own;
  return POE_OK;
}
