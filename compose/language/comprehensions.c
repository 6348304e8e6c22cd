/* Comprehensions: product(i in 0:9 -> ...), mixture(...), and the values of sum(...).
 *
 * The body is worked out for every index. Factors that are the same expert over other coordinates are gathered in a
 * plate: one expert and a table of index sets, so a graph of ten thousand equal factors is one node.
 */
#include <string.h>

#include "compose/language/program_parts.h"

typedef struct loop_state {
  poei_checker *checker;
  const poei_syntax *each;
  poei_want want;
  size_t n, capacity;
  poei_value *values;
} loop_state;

/* Says at which step of the comprehension an expert of its own was made. */
static bool note_step(loop_state *loop, const poei_scope *scope, poei_term *term) {
  enum { MOST_NOTED = 4096 };
  poei_region *region = &loop->checker->program->region;
  const char *text = NULL;
  if (term->name || term->step || loop->n >= MOST_NOTED) {
    return true;
  }
  for (size_t level = 0; level + 1 < loop->each->n; level++, scope = scope->outer) {
    text = poei_region_format(region, "%s = %.17g%s%s", scope->name, scope->value.number[0], text ? ", " : "",
                              text ? text : "");
    if (!text) {
      return false;
    }
  }
  term->step = text;
  return true;
}

static bool add_value(loop_state *loop, const poei_scope *scope) {
  poei_checker *checker = loop->checker;
  if (loop->n >= POEI_MAX_SIZE) {
    return poei_report(&checker->reader, POE_E_SYNTAX, loop->each->span, NULL,
                       "this comprehension has more than %d steps", POEI_MAX_SIZE);
  }
  poei_value *values =
      poei_region_grow(&checker->program->region, loop->values, loop->n, &loop->capacity, sizeof *values);
  if (!values) {
    return false;
  }
  loop->values = values;
  if (!poei_evaluate(checker, scope, loop->each->items[loop->each->n - 1], loop->want, &values[loop->n])) {
    return false;
  }
  poei_sort sort = values[loop->n].sort;
  if ((sort == POEI_SORT_DENSITY || sort == POEI_SORT_WEIGHTED) && !note_step(loop, scope, values[loop->n].term)) {
    return false;
  }
  loop->n++;
  return true;
}

static bool run_loop(loop_state *loop, const poei_scope *scope, size_t level) {
  if (level + 1 == loop->each->n) {
    return add_value(loop, scope);
  }
  poei_checker *checker = loop->checker;
  const poei_syntax *index = loop->each->items[level];
  double first, last;
  if (!poei_evaluate_whole(checker, scope, index->items[0], "the end of a range", &first) ||
      !poei_evaluate_whole(checker, scope, index->items[1], "the end of a range", &last)) {
    return false;
  }
  if (last - first > POEI_MAX_SIZE) {
    return poei_report(&checker->reader, POE_E_SYNTAX, index->span, NULL, "this comprehension has more than %d steps",
                       POEI_MAX_SIZE);
  }
  for (double i = first; i < last; i++) {
    poei_scope inner = {.name = index->text, .outer = scope};
    if (!poei_numbers_scalar(checker, i, &inner.value) || !run_loop(loop, &inner, level + 1)) {
      return false;
    }
  }
  return true;
}

bool poei_evaluate_each(poei_checker *checker, const poei_scope *scope, const poei_syntax *each, poei_want want,
                        size_t *n, poei_value **values) {
  loop_state loop = {.checker = checker, .each = each, .want = want};
  if (!run_loop(&loop, scope, 0)) {
    return false;
  }
  *n = loop.n;
  *values = loop.values;
  return true;
}

static bool read_each(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, size_t *n,
                      poei_value **values) {
  if (call->n != 1 || call->items[0]->kind != POEI_SYNTAX_EACH || call->bar) {
    const char *hint = strcmp(call->text, "product") == 0 ? "a product of a few experts is written a * b"
                                                          : "a mixture of a few experts is written 0.3*a + 0.7*b";
    return poei_report(&checker->reader, POE_E_USAGE, call->span, hint,
                       "'%s' takes a comprehension: %s(i in 0:9 -> ...)", call->text, call->text);
  }
  return poei_evaluate_each(checker, scope, call->items[0], POEI_WANT_EXPERT, n, values);
}

/* ---- plates ---- */

/* Equal experts found so far, with the coordinates each stands on. */
typedef struct factor_group {
  poei_term *child;
  double exponent;
  size_t count, capacity;
  size_t *index; /* [count, child dim] */
} factor_group;

typedef struct groups {
  poei_checker *checker;
  size_t n, capacity, table_size;
  factor_group *items;
  size_t *table; /* group + 1 by hash, 0 = empty */
  size_t *image; /* [longest] scratch of the comparison */
  size_t longest;
} groups;

static bool grow_table(groups *all) {
  poei_region *region = &all->checker->program->region;
  size_t size = all->table_size == 0 ? 64 : all->table_size * 2;
  size_t *table = poei_region_take(region, size, sizeof *table);
  if (!table) {
    return false;
  }
  for (size_t g = 0; g < all->n; g++) {
    size_t at = (size_t)all->items[g].child->hash;
    while (table[at & (size - 1)]) {
      at++;
    }
    table[at & (size - 1)] = g + 1;
  }
  all->table = table;
  all->table_size = size;
  return true;
}

/* The group of a child, made when there is none; image[] then holds the child's coordinates in the group's order. */
static factor_group *find_group(groups *all, poei_term *child, double exponent) {
  poei_region *region = &all->checker->program->region;
  if (all->n * 2 >= all->table_size && !grow_table(all)) {
    return NULL;
  }
  if (child->dim > all->longest) {
    all->longest = child->dim;
    all->image = poei_region_take(region, child->dim, sizeof *all->image);
    if (!all->image) {
      return NULL;
    }
  }
  size_t at = (size_t)child->hash;
  for (; all->table[at & (all->table_size - 1)]; at++) {
    factor_group *found = &all->items[all->table[at & (all->table_size - 1)] - 1];
    if (found->exponent == exponent && poei_term_same(found->child, child, all->image)) {
      return found;
    }
  }
  factor_group *items = poei_region_grow(region, all->items, all->n, &all->capacity, sizeof *items);
  if (!items) {
    return NULL;
  }
  all->items = items;
  items[all->n] = (factor_group){.child = child, .exponent = exponent};
  all->table[at & (all->table_size - 1)] = all->n + 1;
  memcpy(all->image, child->coordinate, child->dim * sizeof *all->image);
  return &items[all->n++];
}

static bool add_index_set(groups *all, factor_group *group, const size_t *ids) {
  size_t dim = group->child->dim;
  size_t *index = poei_region_grow(&all->checker->program->region, group->index, group->count, &group->capacity,
                                   dim * sizeof *index);
  if (!index) {
    return false;
  }
  group->index = index;
  memcpy(index + group->count * dim, ids, dim * sizeof *index);
  group->count++;
  return true;
}

static bool add_factor(groups *all, poei_term *child, double exponent) {
  if (child->dim == 0) {
    return true;
  }
  if (child->kind != POEI_TERM_PLATE || child->name) {
    factor_group *group = find_group(all, child, exponent);
    return group && add_index_set(all, group, all->image);
  }
  const poei_term *body = child->children[0];
  factor_group *group = find_group(all, child->children[0], exponent);
  size_t *ids = poei_region_take(&all->checker->program->region, body->dim, sizeof *ids);
  size_t *order = poei_region_take(&all->checker->program->region, body->dim, sizeof *order);
  if (!group || !ids || !order) {
    return false;
  }
  for (size_t i = 0; i < body->dim; i++) { /* which coordinate of the plate's body is the group's i-th */
    for (size_t j = 0; j < body->dim; j++) {
      order[i] = all->image[i] == body->coordinate[j] ? j : order[i];
    }
  }
  for (size_t m = 0; m < child->count; m++) {
    for (size_t i = 0; i < body->dim; i++) {
      ids[i] = child->index[m * body->dim + order[i]];
    }
    if (!add_index_set(all, group, ids)) {
      return false;
    }
  }
  return true;
}

static bool gather(poei_checker *checker, const poei_syntax *call, groups *all, poei_value *value) {
  poei_region *region = &checker->program->region;
  poei_term **children = poei_region_take(region, all->n, sizeof(poei_term *));
  double *exponents = poei_region_take(region, all->n, sizeof *exponents);
  if (!children || !exponents) {
    return false;
  }
  for (size_t g = 0; g < all->n; g++) {
    const factor_group *group = &all->items[g];
    children[g] =
        group->count == 1 ? group->child : poei_term_plate(checker, call, group->child, group->count, group->index);
    exponents[g] = group->exponent;
    if (!children[g]) {
      return false;
    }
  }
  *value =
      (poei_value){.sort = POEI_SORT_DENSITY, .term = poei_term_product(checker, call, all->n, children, exponents)};
  return value->term != NULL;
}

static bool multiply_numbers(poei_checker *checker, const poei_syntax *call, size_t n, const poei_value *values,
                             poei_value *value) {
  if (!poei_numbers_scalar(checker, 1, value)) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    poei_value pair[2] = {*value, values[i]};
    if (!poei_numbers_apply(checker, call->span, POEI_FORMULA_MUL, 2, pair, value)) {
      return false;
    }
  }
  return true;
}

bool poei_call_product(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, poei_value *value) {
  size_t n;
  poei_value *values;
  if (!read_each(checker, scope, call, &n, &values)) {
    return false;
  }
  if (n > 0 ? values[0].sort == POEI_SORT_NUMBERS : checker->formula != NULL) {
    return multiply_numbers(checker, call, n, values, value);
  }
  const poei_syntax *body = call->items[0]->items[call->items[0]->n - 1];
  groups all = {.checker = checker};
  for (size_t i = 0; i < n; i++) {
    if (!poei_need_density(checker, body, &values[i])) {
      return false;
    }
    poei_term *term = values[i].term;
    bool spliced = term->kind == POEI_TERM_PRODUCT && !term->name;
    for (size_t j = 0; spliced && j < term->n; j++) {
      if (!add_factor(&all, term->children[j], term->factor[j])) {
        return false;
      }
    }
    if (!spliced && !add_factor(&all, term, 1)) {
      return false;
    }
  }
  return gather(checker, call, &all, value);
}

bool poei_call_mixture(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, poei_value *value) {
  size_t n;
  poei_value *values;
  if (!read_each(checker, scope, call, &n, &values)) {
    return false;
  }
  if (n == 0) {
    return poei_report(&checker->reader, POE_E_EMPTY, call->span, NULL, "an empty mixture is no density");
  }
  return poei_density_sum(checker, call->items[0]->items[call->items[0]->n - 1], n, values, NULL, value);
}
