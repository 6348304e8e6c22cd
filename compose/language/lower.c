/* Terms to experts.
 *
 * Every term is lowered once and remembers its expert, over its own coordinates in ascending order; a definition's
 * term is shared by all who name it, so its expert is one object (the planner knows constants by identity). Equal
 * leaves share one expert whatever definitions they stand in. The program keeps one reference of everything made.
 *
 *   product, quotient, power   a product node with exponents, children widened to the union of coordinates
 *   plate                      one child and positions of its index sets
 *   given                      a given node with positions and values
 *   mixture, normalise         lower_mixture.c           leaf   lower_leaf.c, lower_derived.c
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/language/program_parts.h"
#include "compose/nodes/nodes.h"
#include "core/alloc.h"

/* ---- reports ---- */

static bool is_source(const poei_program *program, const char *file) {
  for (size_t i = 0; i < program->n_sources; i++) {
    if (strncmp(program->sources[i]->path, file, POE_ERROR_FILE_SIZE - 1) == 0) {
      return true;
    }
  }
  return false;
}

bool poei_report_at(poei_checker *checker, poei_span span, poe_error *error) {
  if (error->status == POE_E_MEMORY) { /* told once, where it happened first */
    checker->program->region.failed = true;
    if (checker->reader.status == POE_E_MEMORY) {
      return false;
    }
    checker->reader.status = POE_E_MEMORY;
  }
  if (error->file[0] == '\0' || error->line == 0 || !is_source(checker->program, error->file)) {
    const char *name = strrchr(error->file, '/') ? strrchr(error->file, '/') + 1 : error->file;
    if (error->file[0] && !strstr(error->message, name)) {
      poe_error copy = *error;
      poe_error_set(error, copy.status, "%s: %s", copy.file, copy.message);
      poe_error_hint(error, "%s", copy.hint);
    }
    poei_span_place(span, error);
  }
  return poei_report_error(&checker->reader, POEI_ERROR, error);
}

/* ---- what is kept ---- */

/* What was made of leaves is found again by their hashes. */
static void enter_bucket(poei_program *program, size_t i) {
  poei_made *made = &program->made[i];
  if (made->leaf) {
    size_t *bucket = &program->made_bucket[made->hash & (program->made_capacity - 1)];
    made->next = *bucket;
    *bucket = i + 1;
  }
}

static bool grow_made(poei_program *program) {
  size_t capacity = program->made_capacity == 0 ? 16 : program->made_capacity * 2;
  size_t *buckets = poei_calloc(capacity, sizeof *buckets);
  poei_made *larger = buckets ? poei_realloc(program->made, capacity, sizeof *larger) : NULL;
  if (!larger) {
    poei_free(buckets);
    return false;
  }
  poei_free(program->made_bucket);
  program->made = larger;
  program->made_bucket = buckets;
  program->made_capacity = capacity;
  for (size_t i = 0; i < program->n_made; i++) {
    enter_bucket(program, i);
  }
  return true;
}

static bool keep(poei_checker *checker, const poei_made *made) {
  poei_program *program = checker->program;
  if (program->n_made == program->made_capacity && !grow_made(program)) {
    program->region.failed = true;
    poe_expert_release(made->expert);
    poe_map_release(made->map);
    return false;
  }
  program->made[program->n_made] = *made;
  enter_bucket(program, program->n_made++);
  return true;
}

bool poei_keep_expert(poei_checker *checker, const poei_leaf *leaf, const void *ops, poe_expert *expert) {
  return keep(checker, &(poei_made){.hash = leaf ? leaf->hash : 0, .leaf = leaf, .ops = ops, .expert = expert});
}

bool poei_keep_map(poei_checker *checker, const poei_leaf *leaf, const void *ops, poe_map *map) {
  return keep(checker, &(poei_made){.hash = leaf ? leaf->hash : 0, .leaf = leaf, .ops = ops, .map = map});
}

/* ---- coordinates ---- */

static size_t position_of(size_t id, size_t n, const size_t *ids) {
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

static size_t *positions(poei_checker *checker, size_t n, const size_t *ids, size_t n_all, const size_t *all) {
  size_t *index = poei_region_take(&checker->program->region, n, sizeof *index);
  for (size_t i = 0; index && i < n; i++) {
    index[i] = position_of(ids[i], n_all, all);
  }
  return index;
}

bool poei_widen(poei_checker *checker, poei_span span, poe_expert *expert, size_t n_from, const size_t *from,
                size_t n_to, const size_t *to, poe_expert **out) {
  size_t *index = positions(checker, n_from, from, n_to, to);
  bool same = index && n_from == n_to;
  for (size_t i = 0; same && i < n_from; i++) {
    same = index[i] == i;
  }
  if (same) {
    *out = expert;
    return true;
  }
  poe_error error = {0};
  poe_status status = index ? poei_slice_create(expert, n_to, index, out, &error)
                            : poe_error_set(&error, POE_E_MEMORY, "out of memory");
  poe_expert_release(expert);
  return status == POE_OK || poei_report_at(checker, span, &error);
}

/* ---- compositions ---- */

/* Where a child is told of: its own place. */
static poei_span span_of(const poei_term *term) {
  return term->syntax->span;
}

/* The children's experts, and where their coordinates are among the term's. */
static bool placed_children(poei_checker *checker, const poei_term *term, const poe_expert **children,
                            const size_t **index) {
  for (size_t i = 0; i < term->n; i++) {
    poei_term *child = term->children[i];
    if (!poei_lower_term(checker, child)) {
      return false;
    }
    children[i] = child->expert;
    index[i] = child->dim == term->dim ? NULL /* ascending, so the same */
                                       : positions(checker, child->dim, child->coordinate, term->dim, term->coordinate);
    if (child->dim != term->dim && !index[i]) {
      return false;
    }
  }
  return true;
}

/* The supports of the factors with positive exponents must meet in every coordinate. */
static bool check_support(poei_checker *checker, const poei_term *term) {
  poe_support *all = poei_region_take(&checker->program->region, term->dim, sizeof *all);
  bool *seen = poei_region_take(&checker->program->region, term->dim, sizeof *seen);
  if (!all || !seen) {
    return false;
  }
  for (size_t i = 0; i < term->n; i++) {
    const poei_term *child = term->children[i];
    const poe_support *supports = poe_expert_traits(child->expert)->support;
    for (size_t j = 0; term->factor[i] > 0 && j < child->dim; j++) {
      size_t at = position_of(child->coordinate[j], term->dim, term->coordinate);
      const poe_support *own = &supports[j];
      poe_support *both = &all[at];
      if (!seen[at]) {
        seen[at] = true;
        *both = *own;
        continue;
      }
      poe_support before = *both;
      *both = poei_space_intersect(both, own);
      if (both->low > both->high || (both->low == both->high && (both->low_open || both->high_open))) {
        char name[64], ends[4][POEI_NUMBER_TEXT];
        const char *hint =
            poei_region_format(&checker->program->region, "one lies in %s..%s, another in %s..%s",
                               poei_number_text(before.low, ends[0]), poei_number_text(before.high, ends[1]),
                               poei_number_text(own->low, ends[2]), poei_number_text(own->high, ends[3]));
        return poei_report(&checker->reader, POE_E_EMPTY, span_of(term), hint,
                           "the joint support is empty: the factors share no value of %s",
                           poei_program_coordinate_text(checker->program, term->coordinate[at], name, sizeof name));
      }
    }
  }
  return true;
}

/* The children at their exponents, then the flat factors. */
static poe_status product_of(poei_checker *checker, const poei_term *term, const poe_expert *const *children,
                             const size_t *const *index, const poei_flat_factors *flat, poe_expert **expert,
                             poe_error *error) {
  if (flat->n == 0) {
    return poei_product_create_scoped(term->dim, term->n, children, index, term->factor, expert, error);
  }
  poei_region *region = &checker->program->region;
  size_t n = term->n + flat->n;
  const poe_expert **all = poei_region_take(region, n, sizeof *all);
  const size_t **place = poei_region_take(region, n, sizeof *place);
  double *exponent = poei_region_take(region, n, sizeof *exponent);
  if (!all || !place || !exponent) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < n; i++) {
    bool own = i < term->n;
    all[i] = own ? children[i] : flat->expert[i - term->n];
    place[i] = own ? index[i] : &flat->coordinate[i - term->n];
    exponent[i] = own ? term->factor[i] : 1.0;
  }
  return poei_product_create_scoped(term->dim, n, all, place, exponent, expert, error);
}

static bool lower_product(poei_checker *checker, const poei_term *term, poe_expert **expert) {
  const poe_expert **children = poei_region_take(&checker->program->region, term->n, sizeof *children);
  const size_t **index = poei_region_take(&checker->program->region, term->n, sizeof *index);
  if (!children || !index || !placed_children(checker, term, children, index) || !check_support(checker, term)) {
    return false;
  }
  poe_error error = {0};
  poei_flat_factors flat;
  poe_status status = poei_lower_flat(checker, term, index, &flat, &error);
  if (status == POE_OK) {
    status = product_of(checker, term, children, index, &flat, expert, &error);
  }
  poei_flat_release(&flat);
  return status == POE_OK || poei_report_at(checker, span_of(term), &error);
}

static bool lower_plate(poei_checker *checker, const poei_term *term, poe_expert **expert) {
  poei_term *child = term->children[0];
  if (!poei_lower_term(checker, child)) {
    return false;
  }
  size_t *index = positions(checker, term->count * child->dim, term->index, term->dim, term->coordinate);
  poe_error error = {0};
  poe_status status = index ? poei_plate_create(child->expert, term->count, term->dim, index, expert, &error)
                            : poe_error_set(&error, POE_E_MEMORY, "out of memory");
  return status == POE_OK || poei_report_at(checker, span_of(term), &error);
}

static bool lower_given(poei_checker *checker, const poei_term *term, poe_expert **expert) {
  poei_term *child = term->children[0];
  if (!poei_lower_term(checker, child)) {
    return false;
  }
  size_t *index = positions(checker, term->n_given, term->given, child->dim, child->coordinate);
  poe_error error = {0};
  poe_status status = index ? poei_given_create(child->expert, term->n_given, index, term->given_value, expert, &error)
                            : poe_error_set(&error, POE_E_MEMORY, "out of memory");
  return status == POE_OK || poei_report_at(checker, span_of(term), &error);
}

static bool lower_marginal(poei_checker *checker, const poei_term *term, poe_expert **expert) {
  poei_term *child = term->children[0];
  if (!poei_lower_term(checker, child)) {
    return false;
  }
  size_t *index = positions(checker, term->n_given, term->given, child->dim, child->coordinate);
  poe_error error = {0};
  poe_status status = index ? poei_marginal_create(child->expert, term->n_given, index, term->beta, expert, &error)
                            : poe_error_set(&error, POE_E_MEMORY, "out of memory");
  return status == POE_OK || poei_report_at(checker, span_of(term), &error);
}

static bool lower_kind(poei_checker *checker, poei_term *term, poe_expert **expert) {
  switch (term->kind) {
  case POEI_TERM_LEAF:
    return poei_lower_leaf(checker, term, expert);
  case POEI_TERM_PRODUCT:
    return lower_product(checker, term, expert);
  case POEI_TERM_PLATE:
    return lower_plate(checker, term, expert);
  case POEI_TERM_GIVEN:
    return lower_given(checker, term, expert);
  case POEI_TERM_MARGINAL:
    return lower_marginal(checker, term, expert);
  case POEI_TERM_MIXTURE:
    return poei_lower_mixture(checker, term, expert);
  case POEI_TERM_NORMALISE:
    return poei_lower_normalise(checker, term, expert);
  case POEI_TERM_UNNORMALISED:
    if (!poei_lower_term(checker, term->children[0])) {
      return false;
    }
    term->log_z = term->children[0]->log_z;
    *expert = poe_expert_retain(term->children[0]->expert);
    return true;
  }
  return false;
}

bool poei_lower_term(poei_checker *checker, poei_term *term) {
  if (term->expert) {
    return true;
  }
  if (checker->stopped || checker->program->region.failed || checker->program->region.full) {
    return false;
  }
  poe_expert *expert = NULL;
  if (!lower_kind(checker, term, &expert) || !poei_keep_expert(checker, NULL, NULL, expert)) {
    return false;
  }
  term->expert = expert;
  return true;
}
