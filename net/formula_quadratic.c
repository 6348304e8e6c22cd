/* Which formulas are quadratic, and their coefficients (formula_quadratic.h).
 *
 * The root is a linear combination of nodes: from the root down every node hands its weight to its arguments (sums,
 * differences, products with a constant), as in reverse differentiation, so that shared subexpressions are visited
 * once. What is left carries the degree: a coordinate is a linear term, a product of two nodes that are affine by the
 * same sweep is w (a . u + s)(b . u + t), a squared norm the sum of the squares of its arguments. Anything else that
 * varies is no quadratic.
 *
 * A sweep costs what it reaches; products cost the lengths of their two factors. A chain of ten thousand squared
 * differences is linear work, a square of a sum dense, as it is in truth.
 */
#include "net/formula_quadratic.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "net/formula_sweep.h"

enum {
  MOST_WORK = 1 << 27,     /* nodes visited and products of coefficients                              */
  FIRST_ENTRIES = 1 << 20, /* of the precision, before entries at one place are added up on the way    */
  MOST_ENTRIES = 1 << 22   /* of the precision; denser ones in more dimensions are left to be sampled */
};
static const double rounding = 16.0 * DBL_EPSILON; /* of a coefficient, relative to the terms it is the sum of */

/* weight . x[index] + constant. */
typedef struct affine {
  size_t n;
  size_t *index;  /* [dim] */
  double *weight; /* [dim] */
  double constant;
} affine;

/* One number of the precision with the sum of the absolute values it was made of. */
typedef struct entry {
  size_t row, column;
  double value, size;
} entry;

typedef struct derivation {
  const poei_formula *formula;
  const double *origin; /* NULL: 0 */
  size_t work;
  double *weight;      /* [n_nodes] 0 between sweeps                     */
  unsigned char *seen; /* [n_nodes] the same                             */
  size_t *stack;       /* [n_nodes] nodes of a sweep, being sorted       */
  size_t *root;        /* [n_nodes] nodes of the root's sweep            */
  affine a, b;
  double constant, *linear; /* [dim] the result so far */
  size_t n, capacity, merged;
  entry *item;
} derivation;

static poe_status out_of_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory for the coefficients of a formula");
}

static const poei_formula_node *argument(const derivation *d, const poei_formula_node *node, size_t k) {
  return poei_formula_argument(d->formula, node, k);
}

static poei_formula_role role_of(const derivation *d, const poei_formula_node *node) {
  return poei_formula_role_of(d->formula, node);
}

static double share(const derivation *d, const poei_formula_node *node, size_t k, double weight) {
  return poei_formula_share(d->formula, node, k, weight);
}

static void list_sweep(derivation *d, size_t top, size_t *list, size_t *n) {
  poei_formula_sweep(d->formula, top, d->seen, list, n);
  d->work += 4 * *n;
}

/* Hands the weight of a SPREAD node on. */
static void hand_on(derivation *d, const poei_formula_node *node, double weight) {
  for (size_t k = 0; k < node->n_args; k++) {
    d->weight[d->formula->args[node->first + k]] += share(d, node, k, weight);
  }
}

/* The node as an affine function of u. False when it is none. */
static bool affine_of(derivation *d, size_t top, affine *out) {
  size_t n;
  bool is = true;
  out->n = 0;
  out->constant = 0.0;
  list_sweep(d, top, d->stack, &n);
  d->weight[top] = 1.0;
  for (size_t i = 0; i < n; i++) {
    const poei_formula_node *node = &d->formula->nodes[d->stack[i]];
    double w = d->weight[d->stack[i]];
    d->weight[d->stack[i]] = 0.0;
    switch (role_of(d, node)) {
    case POEI_ROLE_SPREAD:
      hand_on(d, node, w);
      break;
    case POEI_ROLE_CONSTANT:
      out->constant += w == 0.0 ? 0.0 : w * node->constant;
      break;
    case POEI_ROLE_COORDINATE:
      out->constant += d->origin == NULL ? 0.0 : w * d->origin[node->coordinate];
      out->index[out->n] = node->coordinate; /* a coordinate is one node */
      out->weight[out->n++] = w;
      break;
    default:
      is = false;
    }
  }
  return is;
}

static int compare_entries(const void *a, const void *b) {
  const entry *x = a, *y = b;
  if (x->column != y->column) {
    return x->column < y->column ? -1 : 1;
  }
  return (x->row > y->row) - (x->row < y->row);
}

/* Adds up the entries at one place. */
static void merge(derivation *d) {
  size_t kept = 0;
  if (d->n == 0) {
    return;
  }
  qsort(d->item, d->n, sizeof *d->item, compare_entries);
  for (size_t i = 0; i < d->n; i++) {
    if (kept > 0 && compare_entries(&d->item[kept - 1], &d->item[i]) == 0) {
      d->item[kept - 1].value += d->item[i].value;
      d->item[kept - 1].size += d->item[i].size;
    } else {
      d->item[kept++] = d->item[i];
    }
  }
  d->n = d->merged = kept;
}

static poe_status push(derivation *d, size_t i, size_t j, double value, poe_error *error) {
  if (d->n == d->capacity && d->n >= FIRST_ENTRIES && d->n >= 4 * d->merged) {
    merge(d);
    d->work += d->n > MOST_ENTRIES ? (size_t)MOST_WORK : 0;
  }
  if (d->n == d->capacity) {
    size_t capacity = d->capacity == 0 ? 64 : 2 * d->capacity;
    entry *item = poei_realloc(d->item, capacity, sizeof *item);
    if (item == NULL) {
      return out_of_memory(error);
    }
    d->item = item;
    d->capacity = capacity;
  }
  d->item[d->n++] = (entry){i > j ? i : j, i > j ? j : i, value, fabs(value)};
  return POE_OK;
}

/* Adds w (a . u + s)(b . u + t). */
static poe_status add_product(derivation *d, const affine *a, const affine *b, double w, poe_error *error) {
  poe_status status = POE_OK;
  d->constant += w * a->constant * b->constant;
  for (size_t i = 0; i < a->n; i++) {
    d->linear[a->index[i]] += w * b->constant * a->weight[i];
  }
  for (size_t j = 0; j < b->n; j++) {
    d->linear[b->index[j]] += w * a->constant * b->weight[j];
  }
  d->work += a->n * b->n;
  for (size_t i = 0; i < a->n && d->work <= MOST_WORK; i++) {
    for (size_t j = 0; j < b->n && status == POE_OK; j++) {
      double value = -w * a->weight[i] * b->weight[j];
      status = push(d, a->index[i], b->index[j], a->index[i] == b->index[j] ? 2.0 * value : value, error);
    }
  }
  return status;
}

/* Adds w times a product of affine nodes; *is false when they are not. */
static poe_status take_product(derivation *d, const poei_formula_node *node, double w, bool *is, poe_error *error) {
  size_t first = (size_t)d->formula->args[node->first], second = (size_t)d->formula->args[node->first + 1];
  *is = affine_of(d, first, &d->a);
  if (*is && first != second) {
    *is = affine_of(d, second, &d->b);
  }
  return *is ? add_product(d, &d->a, first == second ? &d->a : &d->b, w, error) : POE_OK;
}

/* Adds w times the sum of the squares of the arguments of norm or abs. */
static poe_status take_squares(derivation *d, const poei_formula_node *node, double w, bool *is, poe_error *error) {
  const poei_formula_node *inner = argument(d, node, 0);
  poe_status status = POE_OK;
  for (size_t k = 0; k < inner->n_args && *is && status == POE_OK && d->work <= MOST_WORK; k++) {
    *is = affine_of(d, (size_t)d->formula->args[inner->first + k], &d->a);
    status = *is ? add_product(d, &d->a, &d->a, w, error) : POE_OK;
  }
  return status;
}

/* The whole formula. */
static poe_status derive(derivation *d, bool *is, poe_error *error) {
  size_t top = d->formula->n_nodes - 1, n;
  poe_status status = POE_OK;
  double *weight = poei_calloc(d->formula->n_nodes, sizeof *weight); /* the others' sweeps need d->weight */
  if (weight == NULL) {
    return out_of_memory(error);
  }
  list_sweep(d, top, d->root, &n);
  weight[top] = 1.0;
  *is = true;
  for (size_t i = 0; i < n && *is && status == POE_OK; i++) {
    const poei_formula_node *node = &d->formula->nodes[d->root[i]];
    double w = weight[d->root[i]];
    switch (role_of(d, node)) {
    case POEI_ROLE_SPREAD:
      for (size_t k = 0; k < node->n_args; k++) {
        weight[d->formula->args[node->first + k]] += share(d, node, k, w);
      }
      break;
    case POEI_ROLE_CONSTANT:
      d->constant += w == 0.0 ? 0.0 : w * node->constant;
      break;
    case POEI_ROLE_COORDINATE:
      d->constant += d->origin == NULL ? 0.0 : w * d->origin[node->coordinate];
      d->linear[node->coordinate] += w;
      break;
    case POEI_ROLE_PRODUCT:
      status = take_product(d, node, w, is, error);
      break;
    case POEI_ROLE_SQUARES:
      status = take_squares(d, node, w, is, error);
      break;
    case POEI_ROLE_OTHER:
      *is = false;
    }
    *is = *is && d->work <= MOST_WORK;
  }
  poei_free(weight);
  return status;
}

/* The entries that are not rounding, as a matrix. */
static poe_status assemble(derivation *d, size_t dim, poei_sparse_matrix *out, poe_error *error) {
  merge(d);
  poei_triplet *kept = poei_alloc(d->n, sizeof *kept);
  size_t n = 0;
  if (kept == NULL) {
    return out_of_memory(error);
  }
  for (size_t e = 0; e < d->n; e++) {
    if (fabs(d->item[e].value) > rounding * d->item[e].size) {
      kept[n++] = (poei_triplet){d->item[e].row, d->item[e].column, d->item[e].value};
    }
  }
  poe_status status = poei_sparse_assemble(dim, n, kept, out, error);
  poei_free(kept);
  return status;
}

static bool all_finite(const derivation *d, size_t dim) {
  bool finite = isfinite(d->constant);
  for (size_t j = 0; j < dim; j++) {
    finite = finite && isfinite(d->linear[j]);
  }
  for (size_t e = 0; e < d->n; e++) {
    finite = finite && isfinite(d->item[e].value);
  }
  return finite;
}

poe_status poei_formula_quadratic(const poei_formula *formula, const double *origin, poei_quadratic *out, bool *is,
                                  poe_error *error) {
  size_t n = formula->n_nodes, dim = formula->dim;
  derivation d = {.formula = formula, .origin = origin};
  *out = (poei_quadratic){0};
  *is = false;
  d.weight = poei_calloc(n, sizeof *d.weight);
  d.seen = poei_calloc(n, 1);
  d.stack = poei_alloc(n, sizeof *d.stack);
  d.root = poei_alloc(n, sizeof *d.root);
  d.a = (affine){.index = poei_alloc(dim, sizeof(size_t)), .weight = poei_alloc(dim, sizeof(double))};
  d.b = (affine){.index = poei_alloc(dim, sizeof(size_t)), .weight = poei_alloc(dim, sizeof(double))};
  d.linear = poei_calloc(dim, sizeof *d.linear);
  bool have = d.weight != NULL && d.seen != NULL && d.stack != NULL && d.root != NULL && d.a.index != NULL &&
              d.a.weight != NULL && d.b.index != NULL && d.b.weight != NULL && d.linear != NULL;
  poe_status status = have ? derive(&d, is, error) : out_of_memory(error);
  *is = *is && status == POE_OK && all_finite(&d, dim);
  if (*is) {
    status = assemble(&d, dim, &out->precision, error);
  }
  if (*is && status == POE_OK) {
    out->dim = dim;
    out->constant = d.constant;
    out->linear = d.linear;
    d.linear = NULL;
  }
  *is = *is && status == POE_OK;
  poei_free(d.weight);
  poei_free(d.seen);
  poei_free(d.stack);
  poei_free(d.root);
  poei_free(d.a.index);
  poei_free(d.a.weight);
  poei_free(d.b.index);
  poei_free(d.b.weight);
  poei_free(d.linear);
  poei_free(d.item);
  return status;
}

void poei_quadratic_release(poei_quadratic *quadratic) {
  poei_free(quadratic->linear);
  poei_sparse_matrix_release(&quadratic->precision);
  *quadratic = (poei_quadratic){0};
}

/* ---- coordinates fixed ---- */

/* Node i of the formula in the builder; place[dim]: new coordinates, SIZE_MAX: at value[dim]. */
static poei_formula_value rebuild(const poei_formula *formula, size_t i, const size_t *place, const double *value,
                                  const poei_formula_value *made, poei_formula_value *args,
                                  poei_formula_builder *builder) {
  const poei_formula_node *node = &formula->nodes[i];
  switch (node->kind) {
  case POEI_FORMULA_CONSTANT:
    return poei_formula_constant(builder, node->constant);
  case POEI_FORMULA_COORDINATE:
    return place[node->coordinate] == SIZE_MAX ? poei_formula_constant(builder, value[node->coordinate])
                                               : poei_formula_coordinate(builder, place[node->coordinate]);
  case POEI_FORMULA_APPLY:
    break;
  }
  for (size_t k = 0; k < node->n_args; k++) {
    args[k] = made[formula->args[node->first + k]];
  }
  return poei_formula_apply(builder, node->op, node->n_args, args);
}

poe_status poei_formula_bind(const poei_formula *formula, size_t n, const size_t *index, const double *value,
                             poei_formula **out, poe_error *error) {
  size_t dim = formula->dim, left = 0, most = 1;
  for (size_t i = 0; i < formula->n_nodes; i++) {
    most = formula->nodes[i].n_args > most ? formula->nodes[i].n_args : most;
  }
  size_t *place = poei_calloc(dim, sizeof *place);
  double *fixed = poei_calloc(dim, sizeof *fixed);
  poei_formula_value *made = poei_alloc(formula->n_nodes, sizeof *made), *args = poei_alloc(most, sizeof *args);
  poei_formula_builder *builder = poei_formula_builder_create(dim - n);
  poe_status status = POE_OK;
  if (place == NULL || fixed == NULL || made == NULL || args == NULL || builder == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory for a formula");
  }
  for (size_t k = 0; status == POE_OK && k < n; k++) {
    place[index[k]] = SIZE_MAX;
    fixed[index[k]] = value[k];
  }
  for (size_t c = 0; status == POE_OK && c < dim; c++) {
    place[c] = place[c] == SIZE_MAX ? SIZE_MAX : left++;
  }
  for (size_t i = 0; status == POE_OK && i < formula->n_nodes; i++) {
    made[i] = rebuild(formula, i, place, fixed, made, args, builder);
  }
  if (status == POE_OK) {
    status = poei_formula_finish(builder, made[formula->n_nodes - 1], out, error);
  }
  poei_formula_builder_destroy(builder);
  poei_free(place);
  poei_free(fixed);
  poei_free(made);
  poei_free(args);
  return status;
}
