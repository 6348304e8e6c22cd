/* Terms: densities over sorted coordinates, and how two of them are compared.
 *
 * Invariants: coordinates are ascending and distinct; a product has no unnamed product inside; hashes and
 * poei_term_same see structure and numbers, not which coordinates stand in it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/language/program_parts.h"

uint64_t poei_hash_bytes(uint64_t hash, const void *data, size_t size) {
  const unsigned char *bytes = data; /* FNV-1a */
  for (size_t i = 0; i < size; i++) {
    hash = (hash ^ bytes[i]) * 1099511628211u;
  }
  return hash;
}

static int compare_ids(const void *a, const void *b) {
  size_t x = *(const size_t *)a, y = *(const size_t *)b;
  return (x > y) - (x < y);
}

size_t poei_sort_unique(size_t *ids, size_t n) {
  bool sorted = true;
  for (size_t i = 1; i < n && sorted; i++) {
    sorted = ids[i - 1] < ids[i];
  }
  if (sorted) {
    return n;
  }
  qsort(ids, n, sizeof *ids, compare_ids);
  size_t kept = 0;
  for (size_t i = 0; i < n; i++) {
    if (kept == 0 || ids[kept - 1] != ids[i]) {
      ids[kept++] = ids[i];
    }
  }
  return kept;
}

static poei_term *new_term(poei_checker *checker, poei_term_kind kind, const poei_syntax *syntax) {
  poei_term *term = poei_region_take(&checker->program->region, 1, sizeof *term);
  if (term) {
    term->kind = kind;
    term->syntax = syntax;
    term->log_z = NAN;
    term->hash = poei_hash_bytes(14695981039346656037u, &kind, sizeof kind);
  }
  return term;
}

/* ---- leaves ---- */

/* The coordinates of a leaf: those it reads, and the rest of each simplex that it reads a number of. */
static bool complete_simplices(poei_checker *checker, poei_term *term) {
  size_t n = 0, first = 0, last = SIZE_MAX; /* last: where the simplex counted last begins */
  for (size_t i = 0; i < term->n_read; i++) {
    size_t k = poei_simplex_of(checker->program, term->read[i], &first);
    n += k == 0 ? 1 : first == last ? 0 : k;
    last = k == 0 ? last : first;
  }
  size_t *ids = poei_region_take(&checker->program->region, n, sizeof *ids);
  if (!ids) {
    return false;
  }
  n = 0;
  for (size_t i = 0; i < term->n_read; i++) {
    size_t k = poei_simplex_of(checker->program, term->read[i], &first);
    if (k == 0) {
      ids[n++] = term->read[i];
    } else if (n == 0 || ids[n - 1] < first) {
      for (size_t j = 0; j < k; j++) {
        ids[n++] = first + j;
      }
    }
  }
  term->dim = n;
  term->coordinate = ids;
  return true;
}

poei_term *poei_term_leaf(poei_checker *checker, const poei_syntax *syntax, const poe_expert_ops *family,
                          const poei_leaf *leaf) {
  poei_term *term = new_term(checker, POEI_TERM_LEAF, syntax);
  size_t n = 0;
  for (size_t p = 0; p < leaf->n_parts; p++) {
    n += leaf->parts[p].of ? leaf->parts[p].of->flat_dim : leaf->parts[p].subject.dim;
  }
  size_t *ids = poei_region_take(&checker->program->region, n, sizeof *ids);
  if (!term || !ids) {
    return NULL;
  }
  n = 0;
  for (size_t p = 0; p < leaf->n_parts; p++) {
    const poei_derivation *of = leaf->parts[p].of;
    size_t dim = of ? of->flat_dim : leaf->parts[p].subject.dim;
    memcpy(ids + n, of ? of->flat_coordinate : leaf->parts[p].index, dim * sizeof *ids);
    n += dim;
    term->has_derived = term->has_derived || of;
  }
  term->n_read = poei_sort_unique(ids, n);
  term->read = ids;
  if (!complete_simplices(checker, term)) {
    return NULL;
  }
  term->depth = term->size = 1;
  term->family = family;
  term->leaf = leaf;
  term->hash = poei_hash_bytes(term->hash, &leaf->hash, sizeof leaf->hash);
  return term;
}

static bool same_texts(const char *a, const char *b) {
  return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_arg(const poe_arg *a, const poe_arg *b) {
  if (strcmp(a->name, b->name) != 0 || a->type != b->type || a->ndim != b->ndim ||
      memcmp(a->shape, b->shape, a->ndim * sizeof *a->shape) != 0 || !same_texts(a->text, b->text) ||
      a->n_texts != b->n_texts) {
    return false;
  }
  for (size_t i = 0; i < a->n_texts; i++) {
    if (strcmp(a->texts[i], b->texts[i]) != 0) {
      return false;
    }
  }
  size_t n = 1;
  for (size_t i = 0; i < a->ndim; i++) {
    n *= a->shape[i];
  }
  return a->real == b->real || (a->real && b->real && memcmp(a->real, b->real, n * sizeof *a->real) == 0);
}

static bool same_code(const poei_code *a, const poei_code *b) {
  if (a == b) {
    return true;
  }
  if (!a || !b || a->hash != b->hash || a->n != b->n || a->root != b->root || a->dim != b->dim) {
    return false;
  }
  for (size_t i = 0; i < a->n; i++) {
    const poei_code_node *x = &a->nodes[i], *y = &b->nodes[i];
    bool constant = memcmp(&x->constant, &y->constant, sizeof x->constant) == 0;
    if (x->op != y->op || x->n != y->n || !constant || x->coordinate != y->coordinate ||
        (x->n > 0 && memcmp(x->args, y->args, x->n * sizeof *x->args) != 0)) {
      return false;
    }
  }
  return true;
}

static bool same_support(const poe_support *a, const poe_support *b) {
  return a->kind == b->kind && a->low == b->low && a->high == b->high && a->low_open == b->low_open &&
         a->high_open == b->high_open;
}

static bool same_part(const poei_part *a, const poei_part *b) {
  const poe_subject *x = &a->subject, *y = &b->subject;
  if (x->ndim != y->ndim || x->dim != y->dim || memcmp(x->shape, y->shape, x->ndim * sizeof *x->shape) != 0) {
    return false;
  }
  for (size_t i = 0; i < x->dim && x->support != y->support; i++) {
    if (!same_support(&x->support[i], &y->support[i])) {
      return false;
    }
  }
  return true;
}

bool poei_leaf_same(const poei_leaf *a, const poei_leaf *b) {
  if (a == b) {
    return true;
  }
  if (a->hash != b->hash || strcmp(a->kind, b->kind) != 0 || a->n_parts != b->n_parts || a->n_args != b->n_args) {
    return false;
  }
  for (size_t p = 0; p < a->n_parts; p++) {
    if (!same_part(&a->parts[p], &b->parts[p])) {
      return false;
    }
  }
  for (size_t i = 0; i < a->n_args; i++) {
    if (!same_arg(&a->args[i], &b->args[i]) || !same_code(a->codes[i], b->codes[i])) {
      return false;
    }
  }
  return true;
}

/* ---- compositions ---- */

/* Coordinates, depth, size, hash and clamped values from the children. */
static bool inherit(poei_checker *checker, poei_term *term) {
  poei_region *region = &checker->program->region;
  size_t n = 0;
  bool equal = true; /* all children over the same coordinates: the common case in a mixture */
  for (size_t i = 0; i < term->n; i++) {
    const poei_term *child = term->children[i], *first = term->children[0];
    n += child->dim;
    term->depth = child->depth > term->depth ? child->depth : term->depth;
    term->size += child->size;
    term->has_derived = term->has_derived || child->has_derived;
    term->hash = poei_hash_bytes(term->hash, &child->hash, sizeof child->hash);
    equal = equal && child->dim == first->dim &&
            memcmp(child->coordinate, first->coordinate, child->dim * sizeof *child->coordinate) == 0;
  }
  if (term->factor) {
    term->hash = poei_hash_bytes(term->hash, term->factor, term->n * sizeof *term->factor);
  }
  term->depth++;
  if (term->depth > POEI_MAX_TERM_DEPTH || term->size > POEI_MAX_SIZE) {
    return poei_report(&checker->reader, POE_E_SYNTAX, term->syntax->span, NULL,
                       term->size > POEI_MAX_SIZE ? "this composition has more than %d experts"
                                                  : "experts are nested more than %d deep",
                       term->size > POEI_MAX_SIZE ? POEI_MAX_SIZE : POEI_MAX_TERM_DEPTH);
  }
  if (equal && term->n > 0) {
    term->dim = term->children[0]->dim;
    term->coordinate = term->children[0]->coordinate;
  } else {
    size_t *ids = poei_region_take(region, n, sizeof *ids);
    if (!ids) {
      return false;
    }
    n = 0;
    for (size_t i = 0; i < term->n; i++) {
      const poei_term *child = term->children[i];
      if (child->dim > 0) {
        memcpy(ids + n, child->coordinate, child->dim * sizeof *ids);
      }
      n += child->dim;
    }
    term->dim = poei_sort_unique(ids, n);
    term->coordinate = ids;
  }
  return true;
}

static bool contains(const poei_term *term, size_t id) {
  return bsearch(&id, term->coordinate, term->dim, sizeof id, compare_ids) != NULL;
}

typedef struct clamp {
  size_t id;
  double value;
} clamp;

static int compare_clamps(const void *a, const void *b) {
  const clamp *x = a, *y = b;
  return compare_ids(&x->id, &y->id);
}

/* Values fixed by `given` in the term or its children, where they do not contradict one another and the coordinate is
 * free nowhere. */
static bool inherit_clamps(poei_checker *checker, poei_term *term) {
  size_t fixed = term->kind == POEI_TERM_GIVEN ? term->n_given : 0, n = fixed, kept = 0;
  for (size_t i = 0; i < term->n; i++) {
    n += term->children[i]->n_clamped;
  }
  if (n == 0) {
    return true;
  }
  poei_region *region = &checker->program->region;
  clamp *clamps = poei_region_take(region, n, sizeof *clamps);
  size_t *ids = poei_region_take(region, n, sizeof *ids);
  double *values = poei_region_take(region, n, sizeof *values);
  if (!clamps || !ids || !values) {
    return false;
  }
  n = 0;
  for (size_t i = 0; i < fixed; i++) {
    clamps[n++] = (clamp){term->given[i], term->given_value[i]};
  }
  for (size_t c = 0; c < term->n; c++) {
    const poei_term *child = term->children[c];
    for (size_t i = 0; i < child->n_clamped; i++) {
      clamps[n++] = (clamp){child->clamped[i], child->clamped_value[i]};
    }
  }
  qsort(clamps, n, sizeof *clamps, compare_clamps);
  for (size_t i = 0; i < n;) {
    size_t j = i;
    bool agree = true;
    for (; j < n && clamps[j].id == clamps[i].id; j++) {
      agree = agree && clamps[j].value == clamps[i].value;
    }
    if (agree && !contains(term, clamps[i].id)) {
      ids[kept] = clamps[i].id;
      values[kept++] = clamps[i].value;
    }
    i = j;
  }
  term->n_clamped = kept;
  term->clamped = ids;
  term->clamped_value = values;
  return true;
}

static poei_term *finish(poei_checker *checker, poei_term *term) {
  return inherit(checker, term) && inherit_clamps(checker, term) ? term : NULL;
}

static bool spliced(const poei_term *term) {
  return term->kind == POEI_TERM_PRODUCT && !term->name;
}

poei_term *poei_term_product(poei_checker *checker, const poei_syntax *syntax, size_t n, poei_term *const *children,
                             const double *exponents) {
  poei_region *region = &checker->program->region;
  size_t total = 0;
  for (size_t i = 0; i < n; i++) {
    total += spliced(children[i]) ? children[i]->n : 1;
  }
  poei_term *term = new_term(checker, POEI_TERM_PRODUCT, syntax);
  poei_term **factors = poei_region_take(region, total, sizeof(poei_term *));
  double *factor = poei_region_take(region, total, sizeof *factor);
  if (!term || !factors || !factor) {
    return NULL;
  }
  for (size_t i = 0; i < n; i++) {
    const poei_term *child = children[i];
    for (size_t j = 0; spliced(child) && j < child->n; j++) {
      factors[term->n] = child->children[j];
      factor[term->n++] = child->factor[j] * exponents[i];
    }
    if (!spliced(child)) {
      factors[term->n] = children[i];
      factor[term->n++] = exponents[i];
    }
  }
  if (term->n == 1 && factor[0] == 1.0) {
    return factors[0];
  }
  term->children = factors;
  term->factor = factor;
  return finish(checker, term);
}

poei_term *poei_term_mixture(poei_checker *checker, const poei_syntax *syntax, size_t n, poei_term *const *children,
                             const double *weights) {
  poei_term *term = new_term(checker, POEI_TERM_MIXTURE, syntax);
  if (!term) {
    return NULL;
  }
  term->n = n;
  term->children = poei_region_copy(&checker->program->region, children, n, sizeof(poei_term *));
  term->factor = poei_region_copy(&checker->program->region, weights, n, sizeof *weights);
  return term->children && term->factor ? finish(checker, term) : NULL;
}

poei_term *poei_term_wrap(poei_checker *checker, const poei_syntax *syntax, poei_term_kind kind, poei_term *child) {
  poei_term *term = new_term(checker, kind, syntax);
  if (!term) {
    return NULL;
  }
  term->n = 1;
  term->children = poei_region_copy(&checker->program->region, &child, 1, sizeof(poei_term *));
  return term->children ? finish(checker, term) : NULL;
}

/* The child without coordinates ids[n]. */
static poei_term *term_without(poei_checker *checker, const poei_syntax *syntax, poei_term_kind kind, poei_term *child,
                               size_t n, const size_t *ids) {
  poei_term *term = poei_term_wrap(checker, syntax, kind, child);
  size_t *left = poei_region_take(&checker->program->region, child->dim, sizeof *left);
  if (!term || !left) {
    return NULL;
  }
  term->n_given = n;
  term->given = ids;
  size_t kept = 0;
  for (size_t i = 0; i < child->dim; i++) {
    size_t id = child->coordinate[i];
    if (!bsearch(&id, ids, n, sizeof id, compare_ids)) {
      left[kept++] = id;
    }
  }
  term->dim = kept;
  term->coordinate = left;
  return term;
}

poei_term *poei_term_given(poei_checker *checker, const poei_syntax *syntax, poei_term *child, size_t n,
                           const size_t *ids, const double *values) {
  poei_term *term = term_without(checker, syntax, POEI_TERM_GIVEN, child, n, ids);
  if (!term) {
    return NULL;
  }
  term->given_value = values;
  term->hash = poei_hash_bytes(term->hash, values, n * sizeof *values);
  return inherit_clamps(checker, term) ? term : NULL;
}

poei_term *poei_term_marginal(poei_checker *checker, const poei_syntax *syntax, poei_term *child, size_t n,
                              const size_t *ids, double beta) {
  poei_term *term = term_without(checker, syntax, POEI_TERM_MARGINAL, child, n, ids);
  if (!term) {
    return NULL;
  }
  term->beta = beta;
  term->hash = poei_hash_bytes(term->hash, &beta, sizeof beta);
  return inherit_clamps(checker, term) ? term : NULL;
}

poei_term *poei_term_plate(poei_checker *checker, const poei_syntax *syntax, poei_term *child, size_t count,
                           const size_t *index) {
  poei_region *region = &checker->program->region;
  poei_term *term = poei_term_wrap(checker, syntax, POEI_TERM_PLATE, child);
  size_t n = count * child->dim;
  size_t *ids = poei_region_copy(region, index, n, sizeof *ids);
  if (!term || !ids) {
    return NULL;
  }
  child->step = NULL; /* it stands for those of all steps */
  term->count = count;
  term->index = index;
  term->size = child->size * count;
  term->dim = poei_sort_unique(ids, n);
  term->coordinate = ids;
  term->hash = poei_hash_bytes(term->hash, &count, sizeof count);
  return inherit_clamps(checker, term) ? term : NULL;
}

/* ---- comparison ---- */

static size_t rank_of(const poei_term *term, size_t id) {
  const size_t *at = bsearch(&id, term->coordinate, term->dim, sizeof id, compare_ids);
  return at ? (size_t)(at - term->coordinate) : SIZE_MAX;
}

/* Coordinate `id` of a corresponds to `other` of b: notes it in image (by rank in `root`) or checks what is there. */
static bool correspond(const poei_term *root, size_t id, size_t other, size_t *image) {
  size_t rank = rank_of(root, id);
  if (rank == SIZE_MAX) {
    return false;
  }
  if (image[rank] == SIZE_MAX) {
    image[rank] = other;
  }
  return image[rank] == other;
}

static bool same_structure(const poei_term *root, const poei_term *a, const poei_term *b, size_t *image) {
  if (a->kind != b->kind || a->hash != b->hash || a->n != b->n || a->dim != b->dim || a->family != b->family ||
      a->has_derived || b->has_derived || a->kind == POEI_TERM_GIVEN || a->kind == POEI_TERM_MARGINAL ||
      a->kind == POEI_TERM_PLATE) {
    return false;
  }
  if (a->kind == POEI_TERM_LEAF) {
    bool whole = a->n_read == a->dim && b->n_read == b->dim; /* numbers of simplices that are not read have no place */
    if (!whole || !poei_leaf_same(a->leaf, b->leaf)) {
      return false;
    }
    for (size_t p = 0; p < a->leaf->n_parts; p++) {
      for (size_t i = 0; i < a->leaf->parts[p].subject.dim; i++) {
        if (!correspond(root, a->leaf->parts[p].index[i], b->leaf->parts[p].index[i], image)) {
          return false;
        }
      }
    }
    return true;
  }
  if (a->factor && memcmp(a->factor, b->factor, a->n * sizeof *a->factor) != 0) {
    return false;
  }
  for (size_t i = 0; i < a->n; i++) {
    if (!same_structure(root, a->children[i], b->children[i], image)) {
      return false;
    }
  }
  return true;
}

bool poei_term_same(const poei_term *a, const poei_term *b, size_t *image) {
  if (a->hash != b->hash || a->dim != b->dim || a->kind == POEI_TERM_GIVEN || a->kind == POEI_TERM_MARGINAL) {
    return false;
  }
  for (size_t i = 0; i < a->dim; i++) {
    image[i] = SIZE_MAX;
  }
  return same_structure(a, a, b, image);
}
