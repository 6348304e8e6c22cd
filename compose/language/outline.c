/* The tree of a target as written, for `explain`: names, places, variables, and the maps behind derived ones.
 *
 * A named expert is written out where it comes first; later it is its name alone. Factors that one expression made, one
 * for every value of an index, are told once with their number.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compose/language/program_parts.h"

/* ---- coordinates in words ---- */

enum { FEW_COORDINATES = 3, PIECE_SIZE = 3 * (POEI_MAX_NAME + 64) };

/* What is read of a variable: ids[n] of it, ascending. */
static void piece_text(const poei_program *program, const poei_variable *variable, size_t n, const size_t *ids,
                       char *text, size_t size) {
  size_t first = ids[0] - variable->offset;
  bool run = ids[n - 1] - ids[0] == n - 1;
  if (n == variable->dim) {
    snprintf(text, size, "%s", variable->name);
  } else if (n == 1) {
    poei_program_coordinate_text(program, ids[0], text, size);
  } else if (run && variable->ndim == 1) {
    snprintf(text, size, "%s[%zu:%zu]", variable->name, first, first + n);
  } else if (n <= FEW_COORDINATES) {
    size_t used = 0;
    for (size_t i = 0; i < n && used < size; i++) {
      used += (size_t)snprintf(text + used, size - used, "%s", i > 0 ? ", " : "");
      if (used < size) {
        poei_program_coordinate_text(program, ids[i], text + used, size - used);
        used += strlen(text + used);
      }
    }
  } else {
    snprintf(text, size, "%s (%zu of %zu)", variable->name, n, variable->dim);
  }
}

bool poei_program_over_next(const poei_program *program, size_t n, const size_t *ids, size_t *at,
                            const poei_variable **variable, size_t *count, char *text, size_t size) {
  const poei_variable *own = *at < n ? poei_variable_of(program, ids[*at]) : NULL;
  if (!own) {
    return false;
  }
  size_t end = *at;
  while (end < n && ids[end] < own->offset + own->dim) {
    end++;
  }
  *variable = own;
  *count = end - *at;
  piece_text(program, own, *count, ids + *at, text, size);
  *at = end;
  return true;
}

const char *poei_program_over_text(const poei_program *program, size_t n, const size_t *ids, char *text, size_t size) {
  const poei_variable *variable;
  char piece[PIECE_SIZE];
  size_t at = 0, count, used = 0;
  text[0] = '\0';
  while (poei_program_over_next(program, n, ids, &at, &variable, &count, piece, sizeof piece)) {
    size_t length = strlen(piece);
    if (used + length + 7 >= size) { /* room for ", ..." is always kept */
      snprintf(text + used, size - used, "%s...", used > 0 ? ", " : "");
      break;
    }
    used += (size_t)snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "", piece);
  }
  return text;
}

/* ---- nodes ---- */

typedef struct outliner {
  poei_checker *checker;
  const void **seen; /* named terms and maps already written out */
  size_t n_seen, seen_capacity;
} outliner;

static const char *word_of(const poei_term *term) {
  switch (term->kind) {
  case POEI_TERM_PRODUCT:
    return "product";
  case POEI_TERM_PLATE:
    return "plate";
  case POEI_TERM_MIXTURE:
    return "mixture";
  case POEI_TERM_NORMALISE:
    return "normalise";
  case POEI_TERM_UNNORMALISED:
    return "unnormalised";
  case POEI_TERM_GIVEN:
    return "given";
  case POEI_TERM_MARGINAL:
    return isinf(term->beta) ? "profile" : "marginal";
  case POEI_TERM_LEAF:
    break;
  }
  return term->leaf->kind;
}

static bool already_seen(outliner *out, const void *thing, bool *again) {
  *again = false;
  for (size_t i = 0; i < out->n_seen && !*again; i++) {
    *again = out->seen[i] == thing;
  }
  if (*again) {
    return true;
  }
  const void **seen =
      poei_region_grow(&out->checker->program->region, out->seen, out->n_seen, &out->seen_capacity, sizeof *seen);
  if (seen) {
    out->seen = seen;
    seen[out->n_seen++] = thing;
  }
  return seen != NULL;
}

static poei_outline *new_node(outliner *out, const poei_syntax *syntax, const char *kind, const char *name,
                              const char *inside) {
  poei_outline *node = poei_region_take(&out->checker->program->region, 1, sizeof *node);
  if (node) {
    poei_span span = syntax->span;
    *node = (poei_outline){.kind = kind, .name = name, .inside = name ? name : inside, .factor = 1, .count = 1};
    node->file = span.source->path;
    node->line = span.source->generated ? 0 : span.line;
    node->column = span.source->generated ? 0 : span.column;
  }
  return node;
}

static poei_outline_over *grow_over(outliner *out, poei_outline *node, size_t *capacity) {
  poei_outline_over *over = (poei_outline_over *)(uintptr_t)node->over;
  over = poei_region_grow(&out->checker->program->region, over, node->n_over, capacity, sizeof *over);
  if (!over) {
    return NULL;
  }
  node->over = over;
  return &over[node->n_over++];
}

/* Appends what ids[n], ascending, are of. */
static bool add_over(outliner *out, poei_outline *node, size_t *capacity, size_t n, const size_t *ids) {
  const poei_program *program = out->checker->program;
  const poei_variable *variable;
  char text[PIECE_SIZE];
  size_t at = 0, count;
  while (poei_program_over_next(program, n, ids, &at, &variable, &count, text, sizeof text)) {
    poei_outline_over *over = grow_over(out, node, capacity);
    const char *copy = poei_region_text(&out->checker->program->region, text, strlen(text));
    if (!over || !copy) {
      return false;
    }
    *over = (poei_outline_over){variable->name, copy, count, variable->dim, false};
  }
  return true;
}

/* ---- maps ---- */

static bool add_parts(outliner *out, const poei_leaf *leaf, poei_outline *node);

static poei_outline *outline_map(outliner *out, const poei_derivation *of, const char *inside) {
  poei_region *region = &out->checker->program->region;
  poei_outline *node = new_node(out, of->leaf->syntax, of->leaf->kind, of->name, inside);
  if (!node || !already_seen(out, of, &node->again)) {
    return NULL;
  }
  node->map = true;
  node->text = poei_print_expression(region, of->leaf->syntax);
  return node->text && add_parts(out, of->leaf, node) ? node : NULL;
}

static const char *derived_text(poei_region *region, const poei_derivation *of, size_t n) {
  const char *name = of->name ? of->name : of->leaf->kind;
  return n == of->dim ? name : poei_region_format(region, "%s (%zu of %zu)", name, n, of->dim);
}

/* What a call reads: coordinates of variables, and the values of maps, each of which becomes a child. */
static bool add_parts(outliner *out, const poei_leaf *leaf, poei_outline *node) {
  poei_region *region = &out->checker->program->region;
  const poei_outline **children = poei_region_take(region, leaf->n_parts, sizeof(poei_outline *));
  size_t capacity = 0;
  for (size_t p = 0; children && p < leaf->n_parts; p++) {
    const poei_part *part = &leaf->parts[p];
    size_t n = part->subject.dim;
    if (!part->of) {
      size_t *ids = poei_region_copy(region, part->index, n, sizeof *ids);
      if (!ids || !add_over(out, node, &capacity, poei_sort_unique(ids, n), ids)) {
        return false;
      }
      continue;
    }
    poei_outline_over *over = grow_over(out, node, &capacity);
    const char *text = derived_text(region, part->of, n);
    if (!over || !text) {
      return false;
    }
    *over = (poei_outline_over){part->of->name ? part->of->name : part->of->leaf->kind, text, n, part->of->dim, true};
    bool told = false;
    for (size_t q = 0; q < p; q++) {
      told = told || leaf->parts[q].of == part->of;
    }
    const poei_outline *map = told || node->again ? NULL : outline_map(out, part->of, node->inside);
    if (!told && !node->again && !map) {
      return false;
    }
    if (map) {
      children[node->n++] = map;
    }
  }
  node->children = children;
  return children != NULL;
}

/* ---- densities ---- */

/* Children that one expression made, of as many parts, with the same exponent or weight, are one group. */
typedef struct grouping {
  size_t n;         /* groups                                                       */
  size_t *start;    /* [n + 1]                                                      */
  size_t *position; /* [children] group g: position[start[g]] .. position[start[g+1] - 1] */
} grouping;

static bool same_group(const poei_term *term, size_t a, size_t b) {
  const poei_term *x = term->children[a], *y = term->children[b];
  if (x->name || y->name || x->kind != y->kind || x->syntax != y->syntax || x->n != y->n || x->count != y->count ||
      !term->factor || term->factor[a] != term->factor[b]) {
    return false;
  }
  return x->kind != POEI_TERM_PLATE || x->children[0]->syntax == y->children[0]->syntax; /* both of one comprehension */
}

/* Groups in the order of their first child; one is found again while it is among the latest. */
static bool group_children(poei_region *region, const poei_term *term, grouping *g) {
  enum { LATEST = 16 };
  size_t *of = poei_region_take(region, term->n, sizeof *of), *first = poei_region_take(region, term->n, sizeof *first);
  g->start = poei_region_take(region, term->n + 2, sizeof *g->start);
  g->position = poei_region_take(region, term->n, sizeof *g->position);
  if (!of || !first || !g->start || !g->position) {
    return false;
  }
  g->n = 0;
  for (size_t i = 0; i < term->n; i++) {
    size_t at = g->n, oldest = g->n > LATEST ? g->n - LATEST : 0;
    while (at > oldest && !same_group(term, first[at - 1], i)) {
      at--;
    }
    of[i] = at > oldest ? at - 1 : g->n;
    if (of[i] == g->n) {
      first[g->n++] = i;
    }
    g->start[of[i] + 2]++; /* moved to its place below */
  }
  for (size_t k = 2; k <= g->n; k++) {
    g->start[k] += g->start[k - 1];
  }
  for (size_t i = 0; i < term->n; i++) {
    g->position[g->start[of[i] + 1]++] = i;
  }
  return true;
}

/* The coordinates of terms[n], together. */
static bool add_coordinates(outliner *out, poei_outline *node, size_t n, poei_term *const *terms) {
  size_t total = 0, used = 0, capacity = 0;
  for (size_t i = 0; i < n; i++) {
    total += terms[i]->dim;
  }
  size_t *ids = poei_region_take(&out->checker->program->region, total, sizeof *ids);
  for (size_t i = 0; ids && i < n; i++) {
    memcpy(ids + used, terms[i]->coordinate, terms[i]->dim * sizeof *ids);
    used += terms[i]->dim;
  }
  return ids && add_over(out, node, &capacity, poei_sort_unique(ids, total), ids);
}

static poei_outline *outline_term(outliner *out, poei_term *const *terms, size_t n, const char *inside);

static poei_outline *outline_group(outliner *out, const poei_term *term, size_t n, const size_t *position,
                                   const char *inside) {
  poei_term **terms = poei_region_take(&out->checker->program->region, n, sizeof(poei_term *));
  for (size_t i = 0; terms && i < n; i++) {
    terms[i] = term->children[position[i]];
  }
  poei_outline *child = terms ? outline_term(out, terms, n, inside) : NULL;
  if (child) {
    child->position = position;
    child->n_position = n;
  }
  return child;
}

static bool add_children(outliner *out, const poei_term *term, poei_outline *node) {
  poei_region *region = &out->checker->program->region;
  grouping g;
  const poei_outline **children =
      group_children(region, term, &g) ? poei_region_take(region, g.n, sizeof(poei_outline *)) : NULL;
  for (size_t i = 0; children && i < g.n; i++) {
    const size_t *position = g.position + g.start[i];
    poei_outline *child = outline_group(out, term, g.start[i + 1] - g.start[i], position, node->inside);
    if (!child) {
      return false;
    }
    child->factor = term->factor && term->kind != POEI_TERM_PLATE ? term->factor[position[0]] : 1;
    if (term->kind == POEI_TERM_PLATE) { /* one expert over many index sets: together they are over the node's */
      child->count = term->count;
      child->n_over = node->n_over;
      child->over = node->over;
    }
    node->children = children;
    children[node->n++] = child;
  }
  return children != NULL;
}

/* "k = 0; k = 1; ..." of terms[n] that a comprehension made; NULL when it made none, or the same for all. */
static const char *steps_text(outliner *out, size_t n, poei_term *const *terms) {
  enum { FEW_STEPS = 4 };
  const char *text = terms[0]->step;
  for (size_t i = 1; text && i < n && i <= FEW_STEPS; i++) {
    const char *own = i < FEW_STEPS ? terms[i]->step : "...";
    text = own ? poei_region_format(&out->checker->program->region, "%s; %s", text, own) : text;
  }
  return text;
}

/* The node of terms[n], equal but for their coordinates and numbers. */
static poei_outline *outline_term(outliner *out, poei_term *const *terms, size_t n, const char *inside) {
  poei_term *term = terms[0];
  poei_outline *node = new_node(out, term->syntax, word_of(term), term->name, inside);
  if (!node || (term->name && !already_seen(out, term, &node->again))) {
    return NULL;
  }
  node->term = term;
  node->count = n;
  node->step = steps_text(out, n, terms);
  node->beta = term->beta;
  node->n_gone = term->n_given;
  node->gone = term->given;
  node->gone_value = term->given_value;
  if (term->kind == POEI_TERM_LEAF) {
    node->text = poei_print_expression(&out->checker->program->region, term->syntax);
    bool derived = term->has_derived || n == 1;
    return node->text && (derived ? add_parts(out, term->leaf, node) : add_coordinates(out, node, n, terms)) ? node
                                                                                                             : NULL;
  }
  if (!add_coordinates(out, node, n, terms)) {
    return NULL;
  }
  return node->again || add_children(out, term, node) ? node : NULL;
}

const poei_outline *poei_program_outline(poei_program *program, const char *expression, poei_diagnostics *diagnostics) {
  poei_checker checker = {.reader = {.region = &program->region, .diagnostics = diagnostics}, .program = program};
  const poei_syntax *syntax = NULL;
  poei_term *term = NULL;
  outliner out = {.checker = &checker};
  const poei_outline *outline =
      poei_check_target(&checker, expression, &syntax, &term) ? outline_term(&out, &term, 1, NULL) : NULL;
  poei_checker_finish(&checker);
  program->region.failed = program->region.full = false; /* a later target may need less */
  return outline;
}

/* ---- what was lowered ---- */

typedef struct mentioner {
  bool (*tell)(void *, const poe_expert *, size_t, const size_t *, const poei_outline *, const char *);
  void *context;
} mentioner;

static bool mention_term(const mentioner *m, const poei_term *term, const poei_outline *node) {
  if (term->expert && !m->tell(m->context, term->expert, term->dim, term->coordinate, node, term->step)) {
    return false;
  }
  if (node->again || term->kind == POEI_TERM_LEAF) {
    return true;
  }
  for (size_t c = 0; c < node->n; c++) { /* equal ones may differ inside: the tree is that of the first */
    const poei_outline *child = node->children[c];
    for (size_t k = 0; k < child->n_position; k++) {
      if (child->position[k] < term->n && !mention_term(m, term->children[child->position[k]], child)) {
        return false;
      }
    }
  }
  return true;
}

bool poei_outline_mentions(const poei_outline *outline,
                           bool (*tell)(void *context, const poe_expert *expert, size_t dim, const size_t *ids,
                                        const poei_outline *node, const char *step),
                           void *context) {
  const mentioner m = {tell, context};
  return mention_term(&m, outline->term, outline);
}
