/* Derived variables: densities over the output of a map become densities over what the map reads.
 *
 *   one map, nothing else shared   through(map, leaf over (output, rest)), the usual case, which the planner can see
 *   several maps, maps of maps,    through(joined map, leaf): all the numbers the leaf reads, in its order, as one
 *   or what the map reads as well  function of the declared coordinates
 *
 * A map of maps is flattened once: the same derived variable as a function of coordinates of declared variables.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/language/joined_map.h"
#include "compose/language/program_parts.h"
#include "compose/nodes/nodes.h"

/* All numbers a leaf reads as a function of declared coordinates. */
typedef struct joining {
  size_t n_ids;
  size_t *ids; /* [n_ids] ascending */
  size_t n_parts;
  const poei_derivation **of; /* [n_parts] */
  poei_joined_part *parts;
  poei_joined_output *outputs; /* [leaf dim] */
} joining;

static size_t rank_in(size_t id, size_t n, const size_t *ids) {
  size_t low = 0, high = n;
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    if (ids[middle] <= id) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

static bool collect_ids(poei_checker *checker, const poei_leaf *leaf, joining *join) {
  size_t n = 0;
  for (size_t p = 0; p < leaf->n_parts; p++) {
    n += leaf->parts[p].of ? leaf->parts[p].of->flat_dim : leaf->parts[p].subject.dim;
  }
  join->ids = poei_region_take(&checker->program->region, n, sizeof *join->ids);
  if (!join->ids) {
    return false;
  }
  n = 0;
  for (size_t p = 0; p < leaf->n_parts; p++) {
    const poei_derivation *of = leaf->parts[p].of;
    size_t dim = of ? of->flat_dim : leaf->parts[p].subject.dim;
    memcpy(join->ids + n, of ? of->flat_coordinate : leaf->parts[p].index, dim * sizeof *join->ids);
    n += dim;
  }
  join->n_ids = poei_sort_unique(join->ids, n);
  return true;
}

static bool add_part(poei_checker *checker, const poei_derivation *of, joining *join, size_t *part) {
  for (*part = 0; *part < join->n_parts; (*part)++) {
    if (join->of[*part] == of) {
      return true;
    }
  }
  size_t *index = poei_region_take(&checker->program->region, of->flat_dim, sizeof *index);
  if (!index) {
    return false;
  }
  for (size_t i = 0; i < of->flat_dim; i++) {
    index[i] = rank_in(of->flat_coordinate[i], join->n_ids, join->ids);
  }
  join->of[join->n_parts] = of;
  join->parts[join->n_parts++] = (poei_joined_part){.map = of->flat, .index = index};
  return true;
}

static bool join_leaf(poei_checker *checker, const poei_leaf *leaf, joining *join, poe_map **map) {
  poei_region *region = &checker->program->region;
  *join = (joining){.of = poei_region_take(region, leaf->n_parts, sizeof(poei_derivation *)),
                    .parts = poei_region_take(region, leaf->n_parts, sizeof(poei_joined_part)),
                    .outputs = poei_region_take(region, leaf->dim, sizeof(poei_joined_output))};
  if (!join->of || !join->parts || !join->outputs || !collect_ids(checker, leaf, join)) {
    return false;
  }
  size_t at = 0;
  for (size_t p = 0; p < leaf->n_parts; p++) {
    const poei_part *part = &leaf->parts[p];
    size_t number = SIZE_MAX;
    if (part->of && !add_part(checker, part->of, join, &number)) {
      return false;
    }
    for (size_t i = 0; i < part->subject.dim; i++, at++) {
      size_t index = part->of ? part->index[i] : rank_in(part->index[i], join->n_ids, join->ids);
      join->outputs[at] = (poei_joined_output){.part = number, .index = index};
    }
  }
  poe_error error = {0};
  poe_status status =
      poei_joined_map_create(join->n_ids, join->n_parts, join->parts, leaf->dim, join->outputs, map, &error);
  return status == POE_OK || poei_report_at(checker, leaf->syntax->span, &error);
}

bool poei_derivation_flatten(poei_checker *checker, poei_derivation *derivation) {
  const poei_leaf *leaf = derivation->leaf;
  bool plain = true;
  for (size_t p = 0; p < leaf->n_parts; p++) {
    plain = plain && !leaf->parts[p].of;
  }
  if (plain) {
    size_t *ids = poei_region_take(&checker->program->region, leaf->dim, sizeof *ids), at = 0;
    for (size_t p = 0; ids && p < leaf->n_parts; p++) {
      memcpy(ids + at, leaf->parts[p].index, leaf->parts[p].subject.dim * sizeof *ids);
      at += leaf->parts[p].subject.dim;
    }
    derivation->flat = derivation->map;
    derivation->flat_dim = leaf->dim;
    derivation->flat_coordinate = ids;
    return ids != NULL;
  }
  joining join;
  poe_map *inner = NULL, *piped = NULL;
  if (!join_leaf(checker, leaf, &join, &inner) || !poei_keep_map(checker, NULL, NULL, inner)) {
    return false;
  }
  poe_error error = {0};
  if (poei_piped_map_create(inner, derivation->map, &piped, &error) != POE_OK) {
    return poei_report_at(checker, leaf->syntax->span, &error);
  }
  derivation->flat = piped;
  derivation->flat_dim = join.n_ids;
  derivation->flat_coordinate = join.ids;
  return poei_keep_map(checker, NULL, NULL, piped);
}

/* ---- through ---- */

/* The one map a leaf reads when the plain coordinates beside it are none of those the map reads; else NULL. */
static const poei_derivation *only_map(const poei_term *term) {
  const poei_derivation *of = NULL;
  size_t plain = 0;
  for (size_t p = 0; p < term->leaf->n_parts; p++) {
    const poei_part *part = &term->leaf->parts[p];
    if (part->of && of && part->of != of) {
      return NULL;
    }
    of = part->of ? part->of : of;
    plain += part->of ? 0 : part->subject.dim;
  }
  return of->flat_dim + plain == term->n_read ? of : NULL;
}

/* The leaf over (all of the map's output, the plain coordinates in the leaf's order): takes the reference. */
static bool over_output(poei_checker *checker, const poei_leaf *leaf, const poei_derivation *of, poe_expert *expert,
                        size_t *n_plain, size_t *plain, poe_expert **out) {
  size_t *index = poei_region_take(&checker->program->region, leaf->dim, sizeof *index), at = 0;
  *n_plain = 0;
  bool identity = true;
  for (size_t p = 0; index && p < leaf->n_parts; p++) {
    const poei_part *part = &leaf->parts[p];
    for (size_t i = 0; i < part->subject.dim; i++, at++) {
      index[at] = part->of ? part->index[i] : of->dim + *n_plain;
      if (!part->of) {
        plain[(*n_plain)++] = part->index[i];
      }
      identity = identity && index[at] == at;
    }
  }
  poe_error error = {0};
  if (index && identity && leaf->dim == of->dim + *n_plain) {
    *out = expert;
    return true;
  }
  poe_status status = index ? poei_slice_create(expert, of->dim + *n_plain, index, out, &error)
                            : poe_error_set(&error, POE_E_MEMORY, "out of memory");
  poe_expert_release(expert);
  return status == POE_OK || poei_report_at(checker, leaf->syntax->span, &error);
}

static bool through(poei_checker *checker, const poei_leaf *leaf, const poe_map *map, poe_expert *expert,
                    poe_expert **out) {
  poe_error error = {0};
  poe_status status = poei_through_create(map, expert, out, &error);
  poe_expert_release(expert);
  return status == POE_OK || poei_report_at(checker, leaf->syntax->span, &error);
}

bool poei_lower_through(poei_checker *checker, const poei_term *term, poe_expert *expert, poe_expert **out) {
  const poei_leaf *leaf = term->leaf;
  const poei_derivation *of = only_map(term);
  poe_expert *over = NULL, *deep = NULL;
  if (!of) {
    joining join;
    poe_map *map = NULL;
    if (!join_leaf(checker, leaf, &join, &map)) {
      poe_expert_release(expert);
      return false;
    }
    if (!poei_keep_map(checker, NULL, NULL, map)) {
      poe_expert_release(expert);
      return false;
    }
    return through(checker, leaf, map, expert, out); /* its coordinates are those read, ascending */
  }
  size_t *ids = poei_region_take(&checker->program->region, term->n_read, sizeof *ids), n_plain;
  if (!ids) {
    poe_expert_release(expert);
    return false;
  }
  memcpy(ids, of->flat_coordinate, of->flat_dim * sizeof *ids);
  return over_output(checker, leaf, of, expert, &n_plain, ids + of->flat_dim, &over) &&
         through(checker, leaf, of->flat, over, &deep) &&
         poei_widen(checker, leaf->syntax->span, deep, term->n_read, ids, term->n_read, term->read, out);
}
