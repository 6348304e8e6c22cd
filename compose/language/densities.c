/* What the operators mean on densities, and what is said where they mean nothing.
 *
 *   a * b, a and b   product          a / b, a and not b   quotient       a ^ t   power
 *   w*a + v*b        mixture of the normalised           a or b or c    equal weights over one chain
 *
 * A number times a density is a value of its own sort (WEIGHTED), as is `not a` (NEGATED); only a sum takes the one and
 * `and` the other. Everything else tells the user what was probably meant.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/language/program_parts.h"
#include "compose/nodes/sticks.h"
#include "formats/tensor_file.h"

const char *poei_sort_text(const poei_value *value) {
  switch (value->sort) {
  case POEI_SORT_NUMBERS:
    return value->ndim == 0 ? "a number" : value->ndim == 1 ? "a list" : "a table";
  case POEI_SORT_TEXT:
    return "a text";
  case POEI_SORT_TEXTS:
    return "a list of texts";
  case POEI_SORT_PLACE:
    return value->of ? "a derived variable" : "a variable";
  case POEI_SORT_DENSITY:
    return "an expert";
  case POEI_SORT_WEIGHTED:
    return "a weighted expert";
  case POEI_SORT_NEGATED:
    return "a negated expert";
  }
  return "nothing";
}

/* An expression as an operand that binds tightly: in parentheses unless it is a name or a call. */
static const char *operand_text(poei_checker *checker, const poei_syntax *syntax) {
  poei_region *region = &checker->program->region;
  const char *text = poei_print_expression(region, syntax);
  bool simple = syntax->kind == POEI_SYNTAX_PLACE || syntax->kind == POEI_SYNTAX_CALL;
  return !text || simple ? text : poei_region_format(region, "(%s)", text);
}

/* The item of `2*a` that is a density, when there is exactly one. */
static const poei_syntax *only_density(const poei_syntax *syntax) {
  const poei_syntax *found = NULL;
  for (size_t i = 0; syntax->kind == POEI_SYNTAX_TERM && i < syntax->n; i++) {
    poei_syntax_kind kind = syntax->items[i]->kind;
    bool number = kind == POEI_SYNTAX_NUMBER || kind == POEI_SYNTAX_NEGATIVE;
    if (!number && found) {
      return NULL;
    }
    found = number ? found : syntax->items[i];
  }
  return found;
}

static bool report_weight(poei_checker *checker, const poei_syntax *syntax, const poei_value *value) {
  poei_region *region = &checker->program->region;
  const poei_syntax *density = only_density(syntax);
  const char *hint = "a power is written a^2, a mixture 0.3*a + 0.7*b";
  if (density) {
    char number[POEI_NUMBER_TEXT];
    hint = poei_region_format(region, "did you mean '%s^%s'?", operand_text(checker, density),
                              poei_number_text(value->weight, number));
  }
  return poei_report(&checker->reader, POE_E_TYPE, syntax->span, hint, "a weight only means something in a sum");
}

static bool report_negation(poei_checker *checker, const poei_syntax *syntax) {
  const char *text = poei_print_expression(&checker->program->region, syntax);
  const char *hint = poei_region_format(&checker->program->region, "write: something and %s", text ? text : "not b");
  return poei_report(&checker->reader, POE_E_TYPE, syntax->span, hint, "a negation needs something to stand on");
}

bool poei_need_density(poei_checker *checker, const poei_syntax *syntax, const poei_value *value) {
  switch (value->sort) {
  case POEI_SORT_DENSITY:
    return true;
  case POEI_SORT_WEIGHTED:
    return report_weight(checker, syntax, value);
  case POEI_SORT_NEGATED:
    return report_negation(checker, syntax);
  case POEI_SORT_PLACE: {
    const char *text = poei_print_expression(&checker->program->region, syntax);
    const char *hint = poei_region_format(&checker->program->region, "an expert over it is %s(%s | ...)",
                                          value->of ? "energy" : "gaussian", text ? text : "x");
    return poei_report(&checker->reader, POE_E_TYPE, syntax->span, hint, "an expert is needed here, this is %s",
                       poei_sort_text(value));
  }
  default:
    return poei_report(&checker->reader, POE_E_TYPE, syntax->span, NULL, "an expert is needed here, this is %s",
                       poei_sort_text(value));
  }
}

static bool give(poei_value *value, poei_sort sort, poei_term *term, double weight) {
  *value = (poei_value){.sort = sort, .term = term, .weight = weight};
  return term != NULL;
}

/* ---- products ---- */

static bool take_factors(poei_checker *checker, size_t n, poei_term ***children, double **exponents) {
  *children = poei_region_take(&checker->program->region, n, sizeof(poei_term *));
  *exponents = poei_region_take(&checker->program->region, n, sizeof **exponents);
  return *children && *exponents;
}

static bool multiply_weight(poei_checker *checker, const poei_syntax *item, const poei_value *value, bool inverse,
                            double *weight) {
  if (value->ndim != 0) {
    return poei_report(&checker->reader, POE_E_TYPE, item->span, NULL, "a weight is one number, this is %s",
                       poei_sort_text(value));
  }
  *weight = inverse ? *weight / value->number[0] : *weight * value->number[0];
  return true;
}

bool poei_density_product(poei_checker *checker, const poei_syntax *syntax, size_t n, const poei_value *items,
                          const bool *inverse, poei_value *value) {
  poei_term **children;
  double *exponents, weight = 1;
  size_t n_children = 0, n_above = 0;
  bool weighted = false;
  if (!take_factors(checker, n, &children, &exponents)) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    const poei_syntax *item = syntax->items[i];
    if (items[i].sort == POEI_SORT_NUMBERS) {
      weighted = true;
      if (!multiply_weight(checker, item, &items[i], inverse[i], &weight)) {
        return false;
      }
      continue;
    }
    if (items[i].sort == POEI_SORT_WEIGHTED) {
      weighted = true;
      weight = inverse[i] ? weight / items[i].weight : weight * items[i].weight;
    } else if (!poei_need_density(checker, item, &items[i])) {
      return false;
    }
    n_above += !inverse[i];
    children[n_children] = items[i].term;
    exponents[n_children++] = inverse[i] ? -1 : 1;
  }
  if (n_above == 0) {
    return poei_report(&checker->reader, POE_E_TYPE, syntax->span, "a quotient is written b / a",
                       "a number cannot be divided by an expert");
  }
  return give(value, weighted ? POEI_SORT_WEIGHTED : POEI_SORT_DENSITY,
              poei_term_product(checker, syntax, n_children, children, exponents), weight);
}

bool poei_density_power(poei_checker *checker, const poei_syntax *syntax, const poei_value *base,
                        const poei_value *exponent, poei_value *value) {
  if (exponent->sort != POEI_SORT_NUMBERS || exponent->ndim != 0) {
    return poei_report(&checker->reader, POE_E_TYPE, syntax->items[1]->span, NULL,
                       "an exponent is a number, this is %s", poei_sort_text(exponent));
  }
  double t = exponent->number[0];
  if (!isfinite(t)) {
    return poei_report(&checker->reader, POE_E_DOMAIN, syntax->items[1]->span, NULL, "an exponent must be finite");
  }
  return poei_need_density(checker, syntax->items[0], base) &&
         give(value, POEI_SORT_DENSITY, poei_term_product(checker, syntax, 1, &(poei_term *){base->term}, &t), 1);
}

/* ---- sums ---- */

/* Where a component stands in the sum, or in a comprehension where it was defined. */
static poei_span component_span(const poei_syntax *syntax, size_t n, size_t i, const poei_term *component) {
  bool chain = syntax->kind == POEI_SYNTAX_SUM || syntax->kind == POEI_SYNTAX_OR;
  return chain && syntax->n == n ? syntax->items[i]->span : component->syntax->span;
}

/* All components over the same coordinates? */
static bool check_spaces(poei_checker *checker, const poei_syntax *syntax, size_t n, poei_term *const *children) {
  for (size_t i = 1; i < n; i++) {
    const poei_term *a = children[0], *b = children[i];
    size_t at = 0;
    while (at < a->dim && at < b->dim && a->coordinate[at] == b->coordinate[at]) {
      at++;
    }
    if (at == a->dim && at == b->dim) {
      continue;
    }
    bool first_lacks = at == a->dim || (at < b->dim && b->coordinate[at] < a->coordinate[at]);
    char name[64];
    poei_program_coordinate_text(checker->program, first_lacks ? b->coordinate[at] : a->coordinate[at], name,
                                 sizeof name);
    return poei_report(&checker->reader, POE_E_TYPE, component_span(syntax, n, i, b),
                       first_lacks ? "multiply the first one by an expert over it"
                                   : "multiply this one by an expert over it",
                       "the components of a mixture must be over the same variables: %s is over %s, %s is not",
                       first_lacks ? "this one" : "the first", name, first_lacks ? "the first" : "this one");
  }
  return n > 0 && (children[0]->dim > 0 || poei_report(&checker->reader, POE_E_TYPE, children[0]->syntax->span, NULL,
                                                       "a component of a mixture must be over some variable"));
}

static bool make_mixture(poei_checker *checker, const poei_syntax *syntax, size_t n, poei_term **children,
                         double *weights, poei_value *value) {
  size_t kept = 0;
  if (!check_spaces(checker, syntax, n, children)) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    if (weights[i] > 0) {
      children[kept] = children[i];
      weights[kept++] = weights[i];
    }
  }
  if (kept == 0) {
    return poei_report(&checker->reader, POE_E_EMPTY, syntax->span, NULL, "all weights of this mixture are 0");
  }
  return give(value, POEI_SORT_DENSITY, poei_term_mixture(checker, syntax, kept, children, weights), 1);
}

static bool check_weight(poei_checker *checker, const poei_syntax *item, double weight) {
  if (weight < 0) {
    return poei_report(&checker->reader, POE_E_DOMAIN, item->span, "to divide by an expert write b / a",
                       "a weight must not be negative");
  }
  return isfinite(weight) ||
         poei_report(&checker->reader, POE_E_DOMAIN, item->span, NULL, "a weight must be a finite number");
}

static bool report_summand(poei_checker *checker, const poei_syntax *item, const poei_value *value) {
  if (value->sort == POEI_SORT_NUMBERS) {
    return poei_report(&checker->reader, POE_E_TYPE, item->span, "a weight is written 0.3*a",
                       "a number cannot be added to an expert");
  }
  return poei_need_density(checker, item, value);
}

bool poei_density_sum(poei_checker *checker, const poei_syntax *syntax, size_t n, const poei_value *items,
                      const bool *inverse, poei_value *value) {
  poei_term **children;
  double *weights;
  if (!take_factors(checker, n, &children, &weights)) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    const poei_syntax *item = inverse ? syntax->items[i] : syntax;
    bool weighted = items[i].sort == POEI_SORT_WEIGHTED;
    if (!weighted && items[i].sort != POEI_SORT_DENSITY) {
      return report_summand(checker, item, &items[i]);
    }
    if (inverse && inverse[i]) {
      const char *a = operand_text(checker, syntax->items[0]), *b = operand_text(checker, item);
      const char *hint =
          poei_region_format(&checker->program->region, "did you mean '%s / %s'?", a ? a : "a", b ? b : "b");
      return poei_report(&checker->reader, POE_E_TYPE, item->span, hint, "a density has no minus");
    }
    children[i] = items[i].term;
    weights[i] = weighted ? items[i].weight : 1;
    if (!check_weight(checker, item, weights[i])) {
      return false;
    }
  }
  return make_mixture(checker, syntax, n, children, weights, value);
}

bool poei_density_or(poei_checker *checker, const poei_syntax *syntax, size_t n, const poei_value *items,
                     poei_value *value) {
  poei_term **children;
  double *weights;
  if (!take_factors(checker, n, &children, &weights)) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    if (items[i].sort == POEI_SORT_WEIGHTED) {
      return poei_report(&checker->reader, POE_E_TYPE, syntax->items[i]->span, "weights stand in a sum: 0.3*a + 0.7*b",
                         "'or' takes no weights");
    }
    if (!poei_need_density(checker, syntax->items[i], &items[i])) {
      return false;
    }
    children[i] = items[i].term;
    weights[i] = 1.0 / (double)n;
  }
  return make_mixture(checker, syntax, n, children, weights, value);
}

/* ---- and, not ---- */

bool poei_density_and(poei_checker *checker, const poei_syntax *syntax, size_t n, const poei_value *items,
                      poei_value *value) {
  poei_term **children;
  double *exponents;
  bool stands = false;
  if (!take_factors(checker, n, &children, &exponents)) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    bool negated = items[i].sort == POEI_SORT_NEGATED;
    if (items[i].sort == POEI_SORT_WEIGHTED) {
      return poei_report(&checker->reader, POE_E_TYPE, syntax->items[i]->span,
                         "a power is written a^2, a mixture 0.3*a + 0.7*b", "'and' takes no weights");
    }
    if (!negated && !poei_need_density(checker, syntax->items[i], &items[i])) {
      return false;
    }
    stands = stands || !negated;
    children[i] = items[i].term;
    exponents[i] = negated ? -1 : 1;
  }
  if (!stands) {
    return report_negation(checker, syntax);
  }
  return give(value, POEI_SORT_DENSITY, poei_term_product(checker, syntax, n, children, exponents), 1);
}

bool poei_density_not(poei_checker *checker, const poei_syntax *syntax, const poei_value *item, poei_value *value) {
  if (item->sort == POEI_SORT_NEGATED) {
    return give(value, POEI_SORT_DENSITY, item->term, 1);
  }
  return poei_need_density(checker, syntax->items[0], item) && give(value, POEI_SORT_NEGATED, item->term, 1);
}

/* normalise(a), unnormalised(a) */
bool poei_density_wrap(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, poei_value *value) {
  bool one = call->n == 1 && !call->bar && call->items[0]->kind != POEI_SYNTAX_ARGUMENT &&
             call->items[0]->kind != POEI_SYNTAX_EACH;
  if (!one) {
    return poei_report(&checker->reader, POE_E_USAGE, call->span, NULL, "'%s' takes one expert", call->text);
  }
  poei_value item;
  if (!poei_evaluate(checker, scope, call->items[0], POEI_WANT_EXPERT, &item) ||
      !poei_need_density(checker, call->items[0], &item)) {
    return false;
  }
  if (item.term->dim == 0) {
    return poei_report(&checker->reader, POE_E_TYPE, call->items[0]->span, NULL, "this expert is over no variable");
  }
  poei_term_kind kind = strcmp(call->text, "normalise") == 0 ? POEI_TERM_NORMALISE : POEI_TERM_UNNORMALISED;
  return give(value, POEI_SORT_DENSITY, poei_term_wrap(checker, call, kind, item.term), 1);
}

/* ---- given ---- */

typedef struct fixed {
  size_t id;
  double value;
} fixed;

typedef struct bindings {
  size_t n, capacity;
  fixed *items;
} bindings;

static int compare_fixed(const void *a, const void *b) {
  const fixed *x = a, *y = b;
  return (x->id > y->id) - (x->id < y->id);
}

static bool check_fixed(poei_checker *checker, const poei_syntax *binding, const poei_term *term, size_t id,
                        double value) {
  char name[64], number[POEI_NUMBER_TEXT];
  const poei_program *program = checker->program;
  size_t low = 0, high = term->dim;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (term->coordinate[middle] < id) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  poei_program_coordinate_text(program, id, name, sizeof name);
  if (low == term->dim || term->coordinate[low] != id) {
    return poei_report(&checker->reader, POE_E_NAME, binding->items[0]->span, NULL,
                       "%s is not among the variables of this expert", name);
  }
  const poe_support *support = &program->support[id];
  if (!poei_space_contains(support, value)) {
    const poei_variable *variable = poei_variable_of(program, id);
    bool edge = support->kind == POE_CONTINUOUS && (value == support->low || value == support->high);
    return poei_report(&checker->reader, POE_E_EMPTY, binding->items[1]->span,
                       edge ? "declare the variable with a closed interval: in [0, 1]" : NULL,
                       "%s = %s is outside of its space: %s", name, poei_number_text(value, number),
                       poei_space_text(checker, variable, support));
  }
  return true;
}

static bool read_binding(poei_checker *checker, const poei_scope *scope, const poei_syntax *binding,
                         const poei_term *term, bindings *out) {
  poei_value place, value;
  if (!poei_evaluate(checker, scope, binding->items[0], POEI_WANT_PLACE, &place) ||
      !poei_evaluate(checker, scope, binding->items[1], POEI_WANT_NUMBER, &value)) {
    return false;
  }
  if (place.sort != POEI_SORT_PLACE || place.of) {
    return poei_report(&checker->reader, POE_E_TYPE, binding->items[0]->span,
                       place.of ? "only declared variables can be fixed" : NULL, "this is %s, not a variable",
                       poei_sort_text(&place));
  }
  if (value.sort != POEI_SORT_NUMBERS) {
    return poei_report(&checker->reader, POE_E_TYPE, binding->items[1]->span, NULL,
                       "a variable is fixed at numbers, not at %s", poei_sort_text(&value));
  }
  bool same = value.ndim == place.ndim && memcmp(value.shape, place.shape, place.ndim * sizeof *place.shape) == 0;
  if (value.ndim > 0 && !same && !(value.n == place.n && (value.ndim == 1 || place.ndim == 1))) {
    char numbers[96], variables[96];
    return poei_report(&checker->reader, POE_E_SHAPE, binding->span, NULL,
                       "the numbers have the shape %s, the variables %s",
                       poei_shape_text(value.ndim, value.shape, numbers, sizeof numbers),
                       poei_shape_text(place.ndim, place.shape, variables, sizeof variables));
  }
  for (size_t i = 0; i < place.n; i++) {
    double number = value.number[value.ndim == 0 ? 0 : i];
    if (!check_fixed(checker, binding, term, place.index[i], number)) {
      return false;
    }
    fixed *items = poei_region_grow(&checker->program->region, out->items, out->n, &out->capacity, sizeof *items);
    if (!items) {
      return false;
    }
    out->items = items;
    items[out->n++] = (fixed){place.index[i], number};
  }
  return true;
}

/* Simplices are given as a whole, by numbers that sum to 1. ids[n] ascending. */
static bool check_simplices(poei_checker *checker, const poei_syntax *syntax, size_t n, const size_t *ids,
                            const double *values) {
  if (!poei_check_whole_simplices(checker, syntax->span, n, ids, "given")) {
    return false;
  }
  for (size_t i = 0, step; i < n; i += step) {
    size_t first = 0, k = poei_simplex_of(checker->program, ids[i], &first);
    step = k > 0 ? k : 1;
    if (k > 0 && !poei_simplex_holds(k, &values[i])) {
      double sum = 0;
      for (size_t j = 0; j < k; j++) {
        sum += values[i + j];
      }
      return poei_report(&checker->reader, POE_E_EMPTY, syntax->span, NULL,
                         "the numbers given for the simplex '%s' sum to %.10g, not to 1",
                         poei_variable_of(checker->program, first)->name, sum);
    }
  }
  return true;
}

bool poei_density_given(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax, poei_value *value) {
  poei_value joint;
  bindings all = {0};
  if (!poei_evaluate(checker, scope, syntax->items[0], POEI_WANT_EXPERT, &joint) ||
      !poei_need_density(checker, syntax->items[0], &joint)) {
    return false;
  }
  for (size_t i = 1; i < syntax->n; i++) {
    if (!read_binding(checker, scope, syntax->items[i], joint.term, &all)) {
      return false;
    }
  }
  qsort(all.items, all.n, sizeof *all.items, compare_fixed);
  size_t *ids = poei_region_take(&checker->program->region, all.n, sizeof *ids);
  double *values = poei_region_take(&checker->program->region, all.n, sizeof *values);
  if (!ids || !values) {
    return false;
  }
  for (size_t i = 0; i < all.n; i++) {
    ids[i] = all.items[i].id;
    values[i] = all.items[i].value;
    if (i > 0 && ids[i] == ids[i - 1]) {
      char name[64];
      return poei_report(&checker->reader, POE_E_NAME, syntax->span, NULL, "%s is fixed twice",
                         poei_program_coordinate_text(checker->program, ids[i], name, sizeof name));
    }
  }
  if (!check_simplices(checker, syntax, all.n, ids, values)) {
    return false;
  }
  if (all.n == joint.term->dim) {
    return poei_report(&checker->reader, POE_E_TYPE, syntax->span, "its value at a point is told by 'score'",
                       "nothing is left free");
  }
  return give(value, POEI_SORT_DENSITY, poei_term_given(checker, syntax, joint.term, all.n, ids, values), 1);
}
