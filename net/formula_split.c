/* Sums taken apart (formula_quadratic.h): log f(x) = sum_i w_i t_i(x) by the sweep of formula_sweep.h, its terms put
 * together again by the coordinates they share.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "net/formula_quadratic.h"
#include "net/formula_sweep.h"

enum { MOST_WORK = 1 << 24, MOST_PARTS = 1024, WHOLE_DIM = 3 };

/* One term: a node and its weight. */
typedef struct term {
  size_t node;
  double weight;
  bool quadratic;
  size_t n, *index; /* coordinates it reads */
  size_t group;
} term;

typedef struct splitting {
  const poei_formula *formula;
  size_t work;
  unsigned char *seen; /* [n_nodes] */
  size_t *list;        /* [n_nodes] */
  size_t n;
  term *item; /* [n_nodes] room */
  double constant;
  size_t *hard, *soft;    /* [dim] sets of coordinates joined by terms that are not, that are quadratic */
  unsigned char *is_hard; /* [dim] read by a term that is not quadratic                                */
  unsigned char *tied;    /* [dim] of roots of hard: a quadratic term ties the set to others           */
} splitting;

static size_t root_of(size_t *parent, size_t i) {
  while (parent[i] != i) {
    parent[i] = parent[parent[i]];
    i = parent[i];
  }
  return i;
}

static void join(size_t *parent, const term *t) {
  for (size_t k = 1; k < t->n; k++) {
    parent[root_of(parent, t->index[k])] = root_of(parent, t->index[0]);
  }
}

/* Every node below `top`, itself included, list[*n]; any order. */
static void list_below(splitting *s, size_t top, size_t *n) {
  size_t done = 0;
  *n = 0;
  s->list[(*n)++] = top;
  s->seen[top] = 1;
  while (done < *n) {
    const poei_formula_node *node = &s->formula->nodes[s->list[done++]];
    for (size_t k = 0; k < node->n_args; k++) {
      size_t next = (size_t)s->formula->args[node->first + k];
      if (!s->seen[next]) {
        s->seen[next] = 1;
        s->list[(*n)++] = next;
      }
    }
  }
  for (size_t i = 0; i < *n; i++) {
    s->seen[s->list[i]] = 0;
  }
  s->work += *n;
}

static bool is_affine(splitting *s, size_t top) {
  size_t n;
  bool is = true;
  poei_formula_sweep(s->formula, top, s->seen, s->list, &n);
  s->work += n;
  for (size_t i = 0; i < n && is; i++) {
    poei_formula_role role = poei_formula_role_of(s->formula, &s->formula->nodes[s->list[i]]);
    is = role == POEI_ROLE_SPREAD || role == POEI_ROLE_CONSTANT || role == POEI_ROLE_COORDINATE;
  }
  return is;
}

/* Is a term a product of affine nodes, or of the squares of some? */
static bool is_quadratic(splitting *s, const poei_formula_node *node) {
  poei_formula_role role = poei_formula_role_of(s->formula, node);
  const poei_formula_node *of = role == POEI_ROLE_SQUARES ? poei_formula_argument(s->formula, node, 0) : node;
  bool is = role != POEI_ROLE_OTHER;
  for (size_t k = 0; k < of->n_args && is; k++) {
    is = is_affine(s, (size_t)s->formula->args[of->first + k]);
  }
  return is;
}

/* Fills in what a term reads. */
static poe_status read_term(splitting *s, term *t, poe_error *error) {
  size_t n;
  t->quadratic = is_quadratic(s, &s->formula->nodes[t->node]);
  list_below(s, t->node, &n);
  for (size_t i = 0; i < n; i++) {
    t->n += s->formula->nodes[s->list[i]].kind == POEI_FORMULA_COORDINATE;
  }
  t->index = poei_alloc(t->n, sizeof *t->index);
  if (t->index == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for a formula");
  }
  for (size_t i = 0, k = 0; i < n; i++) {
    const poei_formula_node *node = &s->formula->nodes[s->list[i]];
    if (node->kind == POEI_FORMULA_COORDINATE) {
      t->index[k++] = node->coordinate;
    }
  }
  return POE_OK;
}

/* The terms of the root with their weights. */
static poe_status list_terms(splitting *s, poe_error *error) {
  const poei_formula *f = s->formula;
  size_t n, *swept = poei_alloc(f->n_nodes, sizeof *swept);
  double *weight = poei_calloc(f->n_nodes, sizeof *weight);
  poe_status status =
      swept == NULL || weight == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory for a formula") : POE_OK;
  if (status == POE_OK) {
    poei_formula_sweep(f, f->n_nodes - 1, s->seen, swept, &n);
    weight[f->n_nodes - 1] = 1.0;
  }
  for (size_t i = 0; status == POE_OK && i < n && s->work <= MOST_WORK; i++) {
    const poei_formula_node *node = &f->nodes[swept[i]];
    double w = weight[swept[i]];
    poei_formula_role role = poei_formula_role_of(f, node);
    if (role == POEI_ROLE_SPREAD) {
      for (size_t k = 0; k < node->n_args; k++) {
        weight[f->args[node->first + k]] += poei_formula_share(f, node, k, w);
      }
    } else if (role == POEI_ROLE_CONSTANT) {
      s->constant += w == 0.0 ? 0.0 : w * node->constant;
    } else {
      s->item[s->n] = (term){.node = swept[i], .weight = w};
      status = read_term(s, &s->item[s->n++], error);
    }
  }
  poei_free(swept);
  poei_free(weight);
  return status;
}

/* Is a quadratic term inside one group of others? */
static bool is_inside(splitting *s, const term *t) {
  bool inside = true;
  for (size_t k = 0; k < t->n; k++) {
    inside = inside && s->is_hard[t->index[k]] && root_of(s->hard, t->index[k]) == root_of(s->hard, t->index[0]);
  }
  return inside;
}

/* Numbers the groups; returns how many. */
static size_t number_groups(splitting *s, size_t *number) {
  size_t dim = s->formula->dim, count = 0, hard = 0;
  for (size_t i = 0; i < s->n; i++) {
    for (size_t k = 0; !s->item[i].quadratic && k < s->item[i].n; k++) {
      s->is_hard[s->item[i].index[k]] = 1;
    }
    if (!s->item[i].quadratic) {
      join(s->hard, &s->item[i]);
    }
  }
  for (size_t i = 0; i < s->n; i++) { /* groups that a quadratic term ties to something leave theirs to it */
    for (size_t k = 0; s->item[i].quadratic && !is_inside(s, &s->item[i]) && k < s->item[i].n; k++) {
      size_t c = s->item[i].index[k];
      s->tied[root_of(s->hard, c)] = 1;
    }
  }
  for (size_t c = 0; c < dim; c++) {
    hard += root_of(s->hard, c) == c; /* what no hard term reads is a set by itself */
  }
  bool whole = hard == 1 && dim >= WHOLE_DIM; /* one group: the quadratic terms are somewhere to start from */
  for (size_t i = 0; i < s->n; i++) {
    term *t = &s->item[i];
    bool own = t->quadratic && (whole || !is_inside(s, t) || s->tied[root_of(s->hard, t->index[0])]);
    if (own) {
      join(s->soft, t);
    }
    t->group = own ? dim : 0; /* for the moment */
  }
  memset(number, 0xff, 2 * dim * sizeof *number);
  for (size_t i = 0; i < s->n; i++) {
    term *t = &s->item[i];
    size_t *own =
        t->group == dim ? &number[dim + root_of(s->soft, t->index[0])] : &number[root_of(s->hard, t->index[0])];
    *own = *own == SIZE_MAX ? count++ : *own;
    t->group = *own;
  }
  return count;
}

static int compare_sizes(const void *a, const void *b) {
  size_t x = *(const size_t *)a, y = *(const size_t *)b;
  return (x > y) - (x < y);
}

/* The value of a node in a builder; made[n_nodes]: what is there already, -1: not yet. place[dim]. */
static void rebuild(splitting *s, size_t top, const size_t *place, poei_formula_value *made, poei_formula_value *args,
                    poei_formula_builder *builder) {
  size_t n;
  list_below(s, top, &n);
  qsort(s->list, n, sizeof *s->list, compare_sizes); /* arguments first */
  for (size_t i = 0; i < n; i++) {
    const poei_formula_node *node = &s->formula->nodes[s->list[i]];
    if (made[s->list[i]] >= 0) {
      continue;
    }
    for (size_t k = 0; k < node->n_args; k++) {
      args[k] = made[s->formula->args[node->first + k]];
    }
    made[s->list[i]] = node->kind == POEI_FORMULA_CONSTANT ? poei_formula_constant(builder, node->constant)
                       : node->kind == POEI_FORMULA_COORDINATE
                           ? poei_formula_coordinate(builder, place[node->coordinate])
                           : poei_formula_apply(builder, node->op, node->n_args, args);
  }
}

/* The formula of group g: part->index and part->n are set here too. place[dim], made and args[n_nodes]: room. */
static poe_status build_group(splitting *s, size_t g, size_t *place, poei_formula_value *made, poei_formula_value *args,
                              poei_formula_part *part, poe_error *error) {
  size_t dim = s->formula->dim;
  memset(place, 0xff, dim * sizeof *place);
  memset(made, 0xff, s->formula->n_nodes * sizeof *made); /* all -1 */
  for (size_t i = 0; i < s->n; i++) {
    for (size_t k = 0; s->item[i].group == g && k < s->item[i].n; k++) {
      part->n += place[s->item[i].index[k]] == SIZE_MAX;
      place[s->item[i].index[k]] = 0;
    }
  }
  part->index = poei_alloc(part->n, sizeof *part->index);
  poei_formula_builder *builder = poei_formula_builder_create(part->n);
  if (part->index == NULL || builder == NULL) {
    poei_formula_builder_destroy(builder);
    return poe_error_set(error, POE_E_MEMORY, "out of memory for a formula");
  }
  for (size_t c = 0, k = 0; c < dim; c++) {
    if (place[c] != SIZE_MAX) {
      part->index[k] = c;
      place[c] = k++;
    }
  }
  poei_formula_value sum = poei_formula_constant(builder, g == 0 ? s->constant : 0.0);
  for (size_t i = s->n; i-- > 0;) { /* as they were written */
    const term *t = &s->item[i];
    if (t->group == g) {
      rebuild(s, t->node, place, made, args, builder);
      poei_formula_value both[2] = {made[t->node], poei_formula_constant(builder, t->weight)};
      both[1] = poei_formula_apply(builder, POEI_FORMULA_MUL, 2, both);
      both[0] = sum;
      sum = poei_formula_apply(builder, POEI_FORMULA_ADD, 2, both);
    }
  }
  poe_status status = poei_formula_finish(builder, sum, &part->formula, error);
  poei_formula_builder_destroy(builder);
  return status;
}

static poe_status build(splitting *s, size_t count, poei_formula_part **parts, poe_error *error) {
  size_t most = 1;
  for (size_t i = 0; i < s->formula->n_nodes; i++) {
    most = s->formula->nodes[i].n_args > most ? s->formula->nodes[i].n_args : most;
  }
  poei_formula_part *made = poei_calloc(count, sizeof *made);
  size_t *place = poei_alloc(s->formula->dim, sizeof *place);
  poei_formula_value *value = poei_alloc(s->formula->n_nodes, sizeof *value), *args = poei_alloc(most, sizeof *args);
  poe_status status = made == NULL || place == NULL || value == NULL || args == NULL
                          ? poe_error_set(error, POE_E_MEMORY, "out of memory for a formula")
                          : POE_OK;
  for (size_t g = 0; g < count && status == POE_OK; g++) {
    status = build_group(s, g, place, value, args, &made[g], error);
  }
  poei_free(place);
  poei_free(value);
  poei_free(args);
  if (status != POE_OK) {
    poei_formula_parts_free(made == NULL ? 0 : count, made);
    return status;
  }
  *parts = made;
  return POE_OK;
}

void poei_formula_parts_free(size_t n, poei_formula_part *parts) {
  for (size_t i = 0; i < n; i++) {
    poei_formula_release(parts[i].formula);
    poei_free(parts[i].index);
  }
  poei_free(parts);
}

/* Is every coordinate read, and every weight a number? */
static bool is_sound(splitting *s) {
  size_t dim = s->formula->dim;
  bool sound = isfinite(s->constant);
  for (size_t i = 0; i < s->n; i++) {
    sound = sound && isfinite(s->item[i].weight) && s->item[i].n > 0;
    for (size_t k = 0; k < s->item[i].n; k++) {
      s->is_hard[s->item[i].index[k]] = 1;
    }
  }
  for (size_t c = 0; c < dim; c++) {
    sound = sound && s->is_hard[c];
    s->is_hard[c] = 0;
  }
  return sound;
}

poe_status poei_formula_split(const poei_formula *formula, size_t *n, poei_formula_part **parts, poe_error *error) {
  size_t dim = formula->dim, count = 0;
  splitting s = {.formula = formula};
  s.seen = poei_calloc(formula->n_nodes, 1);
  s.list = poei_alloc(formula->n_nodes, sizeof *s.list);
  s.item = poei_alloc(formula->n_nodes, sizeof *s.item);
  s.hard = poei_alloc(dim, sizeof *s.hard);
  s.soft = poei_alloc(dim, sizeof *s.soft);
  s.is_hard = poei_calloc(dim, 1);
  s.tied = poei_calloc(dim, 1);
  size_t *number = poei_alloc(dim, 2 * sizeof *number);
  poe_status status = POE_OK;
  *n = 0;
  if (s.seen == NULL || s.list == NULL || s.item == NULL || s.hard == NULL || s.soft == NULL || s.is_hard == NULL ||
      s.tied == NULL || number == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory for a formula");
  } else {
    for (size_t c = 0; c < dim; c++) {
      s.hard[c] = s.soft[c] = c;
    }
    status = list_terms(&s, error);
  }
  if (status == POE_OK && s.n > 1 && s.work <= MOST_WORK && is_sound(&s)) {
    count = number_groups(&s, number);
  }
  if (count > 1 && count <= MOST_PARTS && s.work <= MOST_WORK / 2) {
    status = build(&s, count, parts, error);
    *n = status == POE_OK ? count : 0;
  }
  for (size_t i = 0; i < s.n; i++) {
    poei_free(s.item[i].index);
  }
  poei_free(s.seen);
  poei_free(s.list);
  poei_free(s.item);
  poei_free(s.hard);
  poei_free(s.soft);
  poei_free(s.is_hard);
  poei_free(s.tied);
  poei_free(number);
  return status;
}
