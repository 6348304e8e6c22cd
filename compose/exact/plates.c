/* Plates that lie across independent groups of coordinates are cut along them.
 *
 * A plate is one factor, prod_m f(x[index[m, :]]), but its sets need not hang together: f(x0) f(x1) f(x2) is three
 * blocks. Coordinates that one set touches, or one other factor, belong together; a plate whose sets fall into several
 * groups becomes one plate for each, or f itself where a group has one set.
 */
#include <stdint.h>
#include <string.h>

#include "compose/exact/tree.h"
#include "core/alloc.h"

typedef struct cutting {
  size_t *parent; /* [dim] groups of coordinates                                   */
  size_t *next;   /* [most sets] the next set of its group, SIZE_MAX: the last     */
  size_t *first;  /* [dim] of a group's root: its first set, SIZE_MAX: none        */
  size_t *last;   /* [dim] and its last                                            */
  size_t *place;  /* [dim] a coordinate's place in the plate that is being made    */
} cutting;

static size_t root_of(size_t *parent, size_t c) {
  while (parent[c] != c) {
    parent[c] = parent[parent[c]];
    c = parent[c];
  }
  return c;
}

/* The sets of a part, all of which its coordinates are when it is no plate, and the expert of each. */
static size_t sets_of(const poei_part *part, const poe_expert **each) {
  bool plate = poei_node_kind_of(part->expert) == POEI_NODE_plate;
  *each = plate ? poei_node_child(part->expert, 0) : part->expert;
  return plate ? poei_plate_count(part->expert) : 1;
}

/* Coordinate j of set s, in the parts' space. */
static size_t coordinate(const poei_part *part, size_t d, size_t s, size_t j) {
  return part
      ->index[poei_node_kind_of(part->expert) == POEI_NODE_plate ? poei_plate_index(part->expert)[s * d + j] : j];
}

/* The first coordinate that set s touches, or its first one. */
static size_t leading(const poei_part *part, const poe_expert *each, size_t s) {
  const unsigned char *touch = poei_node_touch(each);
  size_t d = poe_expert_traits(each)->dim, j = 0;
  while (touch != NULL && j + 1 < d && !touch[j]) {
    j++;
  }
  return coordinate(part, d, s, j);
}

static void join(const poei_parts *parts, cutting *cut) {
  for (size_t c = 0; c < parts->dim; c++) {
    cut->parent[c] = c;
  }
  for (size_t i = 0; i < parts->n; i++) {
    const poe_expert *each = NULL;
    size_t sets = sets_of(&parts->item[i], &each), d = poe_expert_traits(each)->dim;
    const unsigned char *touch = poei_node_touch(each);
    for (size_t s = 0; s < sets; s++) {
      size_t to = root_of(cut->parent, leading(&parts->item[i], each, s));
      for (size_t j = 0; j < d; j++) {
        if (touch == NULL || touch[j]) {
          cut->parent[root_of(cut->parent, coordinate(&parts->item[i], d, s, j))] = to;
        }
      }
    }
  }
}

/* Appends to `out` the sets of one group, a list from `first` on: x[count, d] of them go through `index`. */
static poe_status add_group(poei_parts *out, const poei_part *part, const poe_expert *each, size_t first,
                            const cutting *cut, poe_error *error) {
  size_t d = poe_expert_traits(each)->dim, count = 0, dim = 0;
  for (size_t s = first; s != SIZE_MAX; s = cut->next[s]) {
    count++;
  }
  size_t *index = poei_alloc(count * d, sizeof *index), *own = poei_alloc(count * d, sizeof *own);
  if (index == NULL || own == NULL) {
    poei_free(index);
    poei_free(own);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t s = first, at = 0; s != SIZE_MAX; s = cut->next[s]) {
    for (size_t j = 0; j < d; j++, at++) {
      size_t c = coordinate(part, d, s, j);
      if (cut->place[c] == SIZE_MAX) {
        own[dim] = c;
        cut->place[c] = dim++;
      }
      index[at] = cut->place[c];
    }
  }
  for (size_t k = 0; k < dim; k++) {
    cut->place[own[k]] = SIZE_MAX;
  }
  poe_expert *made = NULL;
  poe_status status = count == 1 ? poei_parts_add(out, each, d, own, part->exponent, error)
                                 : poei_plate_create(each, count, dim, index, &made, error);
  if (status == POE_OK && made != NULL) {
    status = poei_parts_add(out, made, dim, own, part->exponent, error);
  }
  poe_expert_release(made);
  poei_free(index);
  poei_free(own);
  return status;
}

/* Does a plate say something about every coordinate that it is over? */
static bool is_tight(const poei_part *part) {
  const unsigned char *touch = poei_node_touch(part->expert);
  return touch == NULL || memchr(touch, 0, part->n) == NULL;
}

/* Appends one part, cut. */
static poe_status add_cut(poei_parts *out, const poei_part *part, const cutting *cut, poe_error *error) {
  const poe_expert *each = NULL;
  size_t sets = sets_of(part, &each), groups = 0;
  for (size_t s = 0; s < sets; s++) {
    size_t root = root_of(cut->parent, leading(part, each, s));
    cut->next[s] = SIZE_MAX;
    if (cut->first[root] == SIZE_MAX) {
      cut->first[root] = s;
      groups++;
    } else {
      cut->next[cut->last[root]] = s;
    }
    cut->last[root] = s;
  }
  bool cuts = groups > 1 || !is_tight(part);
  poe_status status = cuts ? POE_OK : poei_parts_add(out, part->expert, part->n, part->index, part->exponent, error);
  for (size_t s = 0; s < sets; s++) { /* in the order of their first sets */
    size_t root = root_of(cut->parent, leading(part, each, s)), first = cut->first[root];
    cut->first[root] = SIZE_MAX;
    if (cuts && first != SIZE_MAX && status == POE_OK) {
      status = add_group(out, part, each, first, cut, error);
    }
  }
  return status;
}

poe_status poei_parts_cut(poei_parts *parts, poe_error *error) {
  size_t most = 1;
  for (size_t i = 0; i < parts->n; i++) {
    const poe_expert *each = NULL;
    size_t sets = sets_of(&parts->item[i], &each);
    most = sets > most ? sets : most;
  }
  if (most == 1) {
    return POE_OK;
  }
  cutting cut = {poei_alloc(parts->dim, sizeof *cut.parent), poei_alloc(most, sizeof *cut.next),
                 poei_alloc(parts->dim, sizeof *cut.first), poei_alloc(parts->dim, sizeof *cut.last),
                 poei_alloc(parts->dim, sizeof *cut.place)};
  poei_parts out = {.dim = parts->dim, .constant = parts->constant, .variance = parts->variance};
  bool made = cut.parent != NULL && cut.next != NULL && cut.first != NULL && cut.last != NULL && cut.place != NULL;
  poe_status status = made ? POE_OK : poe_error_set(error, POE_E_MEMORY, "out of memory");
  if (made) {
    for (size_t c = 0; c < parts->dim; c++) {
      cut.first[c] = SIZE_MAX;
      cut.place[c] = SIZE_MAX;
    }
    join(parts, &cut);
  }
  for (size_t i = 0; i < parts->n && status == POE_OK; i++) {
    status = add_cut(&out, &parts->item[i], &cut, error);
  }
  if (status == POE_OK) {
    poei_parts_free(parts);
    *parts = out;
  } else {
    poei_parts_free(&out);
  }
  poei_free(cut.parent);
  poei_free(cut.next);
  poei_free(cut.first);
  poei_free(cut.last);
  poei_free(cut.place);
  return status;
}
