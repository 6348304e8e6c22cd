/* Arithmetic on numbers, lists and tables: of constants at once, of coordinates (inside a formula) as code.
 *
 * Operators work element by element; a scalar goes with every element. Inside a formula an element is a constant or a
 * node of the formula's code; operations on constants alone are folded.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/language/program_parts.h"
#include "formats/tensor_file.h"

/* ---- code ---- */

struct poei_formula_coordinate {
  const poei_derivation *of;
  size_t index, local;
};

static int compare_coordinates(const void *a, const void *b) {
  const struct poei_formula_coordinate *x = a, *y = b;
  uintptr_t of_x = (uintptr_t)x->of, of_y = (uintptr_t)y->of;
  if (of_x != of_y) {
    return of_x < of_y ? -1 : 1;
  }
  return (x->index > y->index) - (x->index < y->index);
}

static bool sort_coordinates(poei_checker *checker, poei_formula_frame *frame) {
  const poei_leaf *leaf = frame->leaf;
  frame->sorted = poei_region_take(&checker->program->region, leaf->dim, sizeof *frame->sorted);
  if (!frame->sorted) {
    return false;
  }
  size_t n = 0;
  for (size_t p = 0; p < leaf->n_parts; p++) {
    for (size_t i = 0; i < leaf->parts[p].subject.dim; i++, n++) {
      frame->sorted[n] = (struct poei_formula_coordinate){leaf->parts[p].of, leaf->parts[p].index[i], n};
    }
  }
  qsort(frame->sorted, n, sizeof *frame->sorted, compare_coordinates);
  return true;
}

static int32_t add_node(poei_checker *checker, const poei_code_node *node) {
  poei_code *code = checker->formula->code;
  poei_code_node *nodes =
      poei_region_grow(&checker->program->region, code->nodes, code->n, &code->capacity, sizeof *nodes);
  if (!nodes || code->n >= INT32_MAX) {
    return -1;
  }
  code->nodes = nodes;
  nodes[code->n] = *node;
  uint64_t hash = poei_hash_bytes(code->hash, &node->op, sizeof node->op);
  hash = poei_hash_bytes(hash, &node->coordinate, sizeof node->coordinate);
  hash = poei_hash_bytes(hash, &node->constant, sizeof node->constant);
  code->hash = poei_hash_bytes(hash, node->args, node->n * sizeof *node->args);
  return (int32_t)code->n++;
}

int32_t poei_code_constant(poei_checker *checker, double number) {
  return add_node(checker, &(poei_code_node){.op = POEI_CODE_CONSTANT, .constant = number});
}

static const struct poei_formula_coordinate *find_coordinate(const poei_formula_frame *frame, const poei_value *place,
                                                             size_t i) {
  struct poei_formula_coordinate key = {.of = place->of, .index = place->index[i]};
  return bsearch(&key, frame->sorted, frame->leaf->dim, sizeof key, compare_coordinates);
}

static bool report_missing(poei_checker *checker, poei_span span, const poei_value *place) {
  bool some = false;
  for (size_t i = 0; i < place->n; i++) {
    some = some || find_coordinate(checker->formula, place, i);
  }
  const char *hint = some ? "only a part of it stands before the bar"
                          : poei_region_format(&checker->program->region,
                                               "put it before the bar: formula(%s, ... | ...)", place->name);
  return poei_report(&checker->reader, POE_E_NAME, span, hint, "'%s' is not among the variables of this formula",
                     place->name);
}

bool poei_place_numbers(poei_checker *checker, poei_span span, const poei_value *place, poei_value *numbers) {
  poei_formula_frame *frame = checker->formula;
  if (!frame->sorted && !sort_coordinates(checker, frame)) {
    return false;
  }
  double *number = poei_region_take(&checker->program->region, place->n, sizeof *number);
  int32_t *code = poei_region_take(&checker->program->region, place->n, sizeof *code);
  if (!number || !code) {
    return false;
  }
  for (size_t i = 0; i < place->n; i++) {
    const struct poei_formula_coordinate *found = find_coordinate(frame, place, i);
    if (!found) {
      return report_missing(checker, span, place);
    }
    code[i] = add_node(checker, &(poei_code_node){.op = POEI_CODE_COORDINATE, .coordinate = found->local});
    if (code[i] < 0) {
      return false;
    }
  }
  *numbers = *place;
  numbers->sort = POEI_SORT_NUMBERS;
  numbers->number = number;
  numbers->code = code;
  return true;
}

/* ---- one element ---- */

typedef struct element {
  double number;
  int32_t code; /* -1: a constant */
} element;

static element element_of(const poei_value *value, size_t i) {
  i = value->ndim == 0 ? 0 : i;
  return (element){value->number[i], value->code ? value->code[i] : -1};
}

static double fold_norm(size_t n, const element *args) {
  double sum = 0, largest = 0;
  for (size_t i = 0; i < n; i++) {
    largest = fmax(largest, fabs(args[i].number));
  }
  for (size_t i = 0; i < n && largest > 0 && isfinite(largest); i++) {
    double scaled = args[i].number / largest;
    sum += scaled * scaled;
  }
  return isfinite(largest) ? largest * sqrt(sum) : largest;
}

static double fold_many(poei_formula_op op, size_t n, const element *args) {
  double result = op == POEI_FORMULA_SUM ? 0 : args[0].number;
  if (op == POEI_FORMULA_NORM) {
    return fold_norm(n, args);
  }
  for (size_t i = op == POEI_FORMULA_SUM ? 0 : 1; i < n; i++) {
    double x = args[i].number;
    result = op == POEI_FORMULA_SUM ? result + x : op == POEI_FORMULA_MIN ? fmin(result, x) : fmax(result, x);
  }
  if (op == POEI_FORMULA_LOGSUMEXP && isfinite(result)) {
    double largest = result, sum = 0;
    for (size_t i = 0; i < n; i++) {
      sum += exp(args[i].number - largest);
    }
    result = largest + log(sum);
  }
  return result;
}

static double fold(poei_formula_op op, size_t n, const element *args) {
  double x = args[0].number, y = n > 1 ? args[1].number : 0;
  switch (op) {
  case POEI_FORMULA_ADD:
    return x + y;
  case POEI_FORMULA_SUB:
    return x - y;
  case POEI_FORMULA_MUL:
    return x * y;
  case POEI_FORMULA_DIV:
    return x / y;
  case POEI_FORMULA_POW:
    return pow(x, y);
  case POEI_FORMULA_NEG:
    return -x;
  case POEI_FORMULA_EXP:
    return exp(x);
  case POEI_FORMULA_LOG:
    return log(x);
  case POEI_FORMULA_LOG1P:
    return log1p(x);
  case POEI_FORMULA_EXPM1:
    return expm1(x);
  case POEI_FORMULA_SQRT:
    return sqrt(x);
  case POEI_FORMULA_SIN:
    return sin(x);
  case POEI_FORMULA_COS:
    return cos(x);
  case POEI_FORMULA_TANH:
    return tanh(x);
  case POEI_FORMULA_ATAN2:
    return atan2(x, y);
  case POEI_FORMULA_ABS:
    return fabs(x);
  case POEI_FORMULA_SOFTPLUS:
    return fmax(x, 0) + log1p(exp(-fabs(x)));
  case POEI_FORMULA_SIGMOID:
    return 0.5 * (1 + tanh(0.5 * x));
  case POEI_FORMULA_RELU:
    return fmax(x, 0);
  case POEI_FORMULA_ERF:
    return erf(x);
  case POEI_FORMULA_LGAMMA:
    return lgamma(x);
  default:
    return fold_many(op, n, args);
  }
}

static bool apply_one(poei_checker *checker, poei_span span, poei_formula_op op, size_t n, const element *args,
                      element *out) {
  bool constant = true;
  for (size_t i = 0; i < n; i++) {
    constant = constant && args[i].code < 0;
  }
  if (constant) {
    *out = (element){fold(op, n, args), -1};
    return !isnan(out->number) || poei_report(&checker->reader, POE_E_DOMAIN, span, NULL,
                                              "this is not a number: the argument is outside the "
                                              "domain of the operation");
  }
  int32_t *codes = poei_region_take(&checker->program->region, n, sizeof *codes);
  if (!codes) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    codes[i] = args[i].code;
    if (codes[i] < 0) {
      codes[i] = poei_code_constant(checker, args[i].number);
      if (codes[i] < 0) {
        return false;
      }
    }
  }
  *out = (element){0, add_node(checker, &(poei_code_node){.op = (int)op, .n = n, .args = codes})};
  return out->code >= 0;
}

/* ---- arrays ---- */

bool poei_numbers_scalar(poei_checker *checker, double number, poei_value *value) {
  *value = (poei_value){.sort = POEI_SORT_NUMBERS, .n = 1};
  value->number = poei_region_copy(&checker->program->region, &number, 1, sizeof number);
  return value->number != NULL;
}

static bool same_shape(const poei_value *a, const poei_value *b) {
  return a->ndim == b->ndim && memcmp(a->shape, b->shape, a->ndim * sizeof *a->shape) == 0;
}

typedef struct shape_name {
  char text[96];
} shape_name;

static shape_name name_shape(const poei_value *value) {
  shape_name name;
  poei_shape_text(value->ndim, value->shape, name.text, sizeof name.text);
  return name;
}

static bool need_numbers(poei_checker *checker, poei_span span, size_t n, const poei_value *args) {
  for (size_t i = 0; i < n; i++) {
    if (args[i].sort != POEI_SORT_NUMBERS) {
      return poei_report(&checker->reader, POE_E_TYPE, span, NULL, "numbers are needed here, this is %s",
                         poei_sort_text(&args[i]));
    }
  }
  return true;
}

static bool take_numbers(poei_checker *checker, bool coded, poei_value *value, double **number, int32_t **code) {
  *number = poei_region_take(&checker->program->region, value->n, sizeof **number);
  *code = coded ? poei_region_take(&checker->program->region, value->n, sizeof **code) : NULL;
  value->number = *number;
  value->code = *code;
  return *number && (!coded || *code);
}

/* Element by element over args[n] (n <= 2). */
static bool apply_elementwise(poei_checker *checker, poei_span span, poei_formula_op op, size_t n,
                              const poei_value *args, poei_value *value) {
  const poei_value *widest = &args[0];
  if (n == 2 && args[1].ndim > 0) {
    if (args[0].ndim > 0 && !same_shape(&args[0], &args[1])) {
      return poei_report(&checker->reader, POE_E_SHAPE, span, NULL, "the shapes %s and %s do not fit",
                         name_shape(&args[0]).text, name_shape(&args[1]).text);
    }
    widest = &args[1];
  }
  bool coded = args[0].code || (n == 2 && args[1].code);
  double *number;
  int32_t *code;
  poei_value result = {.sort = POEI_SORT_NUMBERS, .ndim = widest->ndim, .n = widest->n};
  memcpy(result.shape, widest->shape, sizeof result.shape);
  if (!take_numbers(checker, coded, &result, &number, &code)) {
    return false;
  }
  for (size_t i = 0; i < result.n; i++) {
    element pair[2] = {element_of(&args[0], i), n == 2 ? element_of(&args[1], i) : (element){0, -1}}, one;
    if (!apply_one(checker, span, op, n, pair, &one)) {
      return false;
    }
    number[i] = one.number;
    if (code) {
      code[i] = one.code;
    }
  }
  *value = result;
  return true;
}

/* All elements of all args into one number. */
static bool apply_reduction(poei_checker *checker, poei_span span, poei_formula_op op, size_t n, const poei_value *args,
                            poei_value *value) {
  size_t total = 0;
  bool coded = false;
  for (size_t i = 0; i < n; i++) {
    total += args[i].n;
    coded = coded || args[i].code;
  }
  if (total == 0) {
    return op == POEI_FORMULA_SUM || op == POEI_FORMULA_NORM
               ? poei_numbers_scalar(checker, 0, value)
               : poei_report(&checker->reader, POE_E_SHAPE, span, NULL, "there is nothing to take this of");
  }
  element *elements = poei_region_take(&checker->program->region, total, sizeof *elements), one;
  if (!elements) {
    return false;
  }
  size_t at = 0;
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < args[i].n; j++) {
      elements[at++] = element_of(&args[i], j);
    }
  }
  double *number;
  int32_t *code;
  poei_value result = {.sort = POEI_SORT_NUMBERS, .n = 1};
  if (!apply_one(checker, span, op, total, elements, &one) || !take_numbers(checker, coded, &result, &number, &code)) {
    return false;
  }
  number[0] = one.number;
  if (code) {
    code[0] = one.code;
  }
  *value = result;
  return true;
}

bool poei_numbers_apply(poei_checker *checker, poei_span span, poei_formula_op op, size_t n, const poei_value *args,
                        poei_value *value) {
  if (!need_numbers(checker, span, n, args)) {
    return false;
  }
  switch (op) {
  case POEI_FORMULA_MIN:
  case POEI_FORMULA_MAX:
  case POEI_FORMULA_SUM:
  case POEI_FORMULA_LOGSUMEXP:
  case POEI_FORMULA_NORM:
    return apply_reduction(checker, span, op, n, args, value);
  default:
    return apply_elementwise(checker, span, op, n, args, value);
  }
}

static bool list_of_texts(poei_checker *checker, const poei_syntax *syntax, size_t n, const poei_value *items,
                          poei_value *value) {
  const char **texts = poei_region_take(&checker->program->region, n, sizeof *texts);
  if (!texts) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    if (items[i].sort != POEI_SORT_TEXT) {
      return poei_report(&checker->reader, POE_E_TYPE, syntax->items[i]->span, NULL,
                         "a list holds numbers or texts, not both");
    }
    texts[i] = items[i].text;
  }
  *value = (poei_value){.sort = POEI_SORT_TEXTS, .n = n, .texts = texts};
  return true;
}

bool poei_numbers_list(poei_checker *checker, const poei_syntax *syntax, size_t n, const poei_value *items,
                       poei_value *value) {
  if (n > 0 && items[0].sort == POEI_SORT_TEXT) {
    return list_of_texts(checker, syntax, n, items, value);
  }
  poei_value result = {.sort = POEI_SORT_NUMBERS, .ndim = 1, .shape = {n}};
  bool coded = false;
  for (size_t i = 0; i < n; i++) {
    const poei_syntax *item = syntax->items[i];
    if (items[i].sort != POEI_SORT_NUMBERS) {
      return poei_report(&checker->reader, POE_E_TYPE, item->span, NULL, "a list holds numbers or texts, not %s",
                         poei_sort_text(&items[i]));
    }
    if (!same_shape(&items[0], &items[i])) {
      return poei_report(&checker->reader, POE_E_SHAPE, item->span, NULL,
                         "all rows must have the same shape: this one is %s, the first %s", name_shape(&items[i]).text,
                         name_shape(&items[0]).text);
    }
    coded = coded || items[i].code;
  }
  if (n > 0) {
    if (items[0].ndim + 1 > POE_MAX_DIMS) {
      return poei_report(&checker->reader, POE_E_SHAPE, syntax->span, NULL, "a table has at most %d axes",
                         POE_MAX_DIMS);
    }
    result.ndim += items[0].ndim;
    memcpy(result.shape + 1, items[0].shape, items[0].ndim * sizeof *result.shape);
    result.n = n * items[0].n;
  }
  double *number;
  int32_t *code;
  if (!take_numbers(checker, coded, &result, &number, &code)) {
    return false;
  }
  for (size_t i = 0; i < result.n; i++) {
    element one = element_of(&items[i / items[0].n], i % items[0].n);
    number[i] = one.number;
    if (code) {
      code[i] = one.code;
    }
  }
  *value = result;
  return true;
}
