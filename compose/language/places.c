/* Places: names, and slices of what they stand for.
 *
 *   x        all of it          x[i]     one index of the leading axis, which goes
 *   x[a:b]   a half-open range  x[:, 2]  all of an axis
 *
 * Fewer slices than axes leave the last axes whole. The same slices index constants (lists and tables of numbers).
 */
#include <math.h>
#include <string.h>

#include "compose/language/program_parts.h"

/* ---- whole numbers ---- */

bool poei_evaluate_whole(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax, const char *what,
                         double *number) {
  poei_value value;
  poei_formula_frame *formula = checker->formula;
  checker->formula = NULL; /* an index does not depend on coordinates */
  bool ok = poei_evaluate(checker, scope, syntax, POEI_WANT_NUMBER, &value);
  checker->formula = formula;
  if (!ok) {
    return false;
  }
  if (value.sort != POEI_SORT_NUMBERS || value.ndim != 0 || value.code) {
    return poei_report(&checker->reader, POE_E_TYPE, syntax->span, NULL, "%s must be a number, not %s", what,
                       poei_sort_text(&value));
  }
  if (floor(value.number[0]) != value.number[0] || fabs(value.number[0]) > 9007199254740992.0) {
    char text[POEI_NUMBER_TEXT];
    return poei_report(&checker->reader, POE_E_TYPE, syntax->span, NULL, "%s must be a whole number, not %s", what,
                       poei_number_text(value.number[0], text));
  }
  *number = value.number[0];
  return true;
}

/* ---- slices ---- */

typedef struct axis_slice {
  size_t first, count;
  bool keep; /* the axis stays in the shape */
} axis_slice;

static bool read_slice(poei_checker *checker, const poei_scope *scope, const poei_syntax *place,
                       const poei_syntax *slice, size_t axis, size_t size, axis_slice *out) {
  if (slice->kind == POEI_SYNTAX_ALL) {
    *out = (axis_slice){.first = 0, .count = size, .keep = true};
    return true;
  }
  bool range = slice->kind == POEI_SYNTAX_RANGE;
  double first, last;
  if (!poei_evaluate_whole(checker, scope, range ? slice->items[0] : slice, "an index", &first) ||
      (range && !poei_evaluate_whole(checker, scope, slice->items[1], "an index", &last))) {
    return false;
  }
  last = range ? last : first + 1;
  if (range && last <= first) {
    return poei_report(&checker->reader, POE_E_SHAPE, slice->span, "ranges are half-open: 0:3 is 0, 1, 2",
                       "the range %g:%g is empty", first, last);
  }
  if (first < 0 || last > (double)size) {
    const char *where = place->n > 1 ? poei_region_format(&checker->program->region, " (axis %zu)", axis) : "";
    const char *hint = first < 0 ? "indices count from 0" : NULL;
    if (range) {
      return poei_report(&checker->reader, POE_E_SHAPE, slice->span, hint, "the range %g:%g is outside 0:%zu of '%s'%s",
                         first, last, size, place->text, where ? where : "");
    }
    return poei_report(&checker->reader, POE_E_SHAPE, slice->span, hint, "index %g is outside 0..%zu of '%s'%s", first,
                       size - 1, place->text, where ? where : "");
  }
  *out = (axis_slice){.first = (size_t)first, .count = (size_t)(last - first), .keep = range};
  return true;
}

/* Positions (row-major) of a slice of an array; the new shape goes into *value, positions into the region. */
static bool slice_positions(poei_checker *checker, const poei_scope *scope, const poei_syntax *place, poei_value *value,
                            size_t **positions) {
  axis_slice slices[POE_MAX_DIMS];
  if (place->n > value->ndim) {
    return poei_report(&checker->reader, POE_E_SHAPE, place->span, NULL,
                       value->ndim == 0 ? "'%s' is a scalar: it has no indices" : "'%s' has only %zu %s", place->text,
                       value->ndim, value->ndim == 1 ? "axis" : "axes");
  }
  size_t ndim = 0, n = 1, shape[POE_MAX_DIMS] = {0};
  for (size_t a = 0; a < value->ndim; a++) {
    slices[a] = (axis_slice){.first = 0, .count = value->shape[a], .keep = true};
    if (a < place->n && !read_slice(checker, scope, place, place->items[a], a, value->shape[a], &slices[a])) {
      return false;
    }
    n *= slices[a].count;
    if (slices[a].keep) {
      shape[ndim++] = slices[a].count;
    }
  }
  *positions = poei_region_take(&checker->program->region, n, sizeof **positions);
  if (!*positions) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    size_t rest = i, position = 0, stride = 1;
    for (size_t a = value->ndim; a-- > 0;) {
      position += (slices[a].first + rest % slices[a].count) * stride;
      rest /= slices[a].count;
      stride *= value->shape[a];
    }
    (*positions)[i] = position;
  }
  value->ndim = ndim;
  memcpy(value->shape, shape, sizeof shape);
  value->n = n;
  return true;
}

static bool apply_slices(poei_checker *checker, const poei_scope *scope, const poei_syntax *place, poei_value *value) {
  poei_region *region = &checker->program->region;
  if (value->sort != POEI_SORT_PLACE && value->sort != POEI_SORT_NUMBERS) {
    return poei_report(&checker->reader, POE_E_TYPE, place->span, NULL, "'%s' is %s: it has no indices", place->text,
                       poei_sort_text(value));
  }
  poei_value whole = *value;
  size_t *positions = NULL;
  if (!slice_positions(checker, scope, place, value, &positions)) {
    return false;
  }
  if (whole.sort == POEI_SORT_PLACE) {
    for (size_t i = 0; i < value->n; i++) {
      positions[i] = whole.index[positions[i]];
    }
    value->index = positions;
    return true;
  }
  double *number = poei_region_take(region, value->n, sizeof *number);
  int32_t *code = whole.code ? poei_region_take(region, value->n, sizeof *code) : NULL;
  if (!number || (whole.code && !code)) {
    return false;
  }
  for (size_t i = 0; i < value->n; i++) {
    number[i] = whole.number[positions[i]];
    if (code) {
      code[i] = whole.code[positions[i]];
    }
  }
  value->number = number;
  value->code = code;
  return true;
}

/* ---- names ---- */

static bool variable_place(poei_checker *checker, const poei_variable *variable, poei_value *value) {
  const size_t *identity = checker->program->identity;
  *value = (poei_value){.sort = POEI_SORT_PLACE,
                        .ndim = variable->ndim,
                        .n = variable->dim,
                        .index = identity + variable->offset,
                        .name = variable->name};
  memcpy(value->shape, variable->shape, sizeof value->shape);
  return true;
}

static bool lookup(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax, poei_want want,
                   poei_value *value) {
  for (const poei_scope *inner = scope; inner; inner = inner->outer) {
    if (strcmp(inner->name, syntax->text) == 0) {
      *value = inner->value;
      return true;
    }
  }
  const poei_symbol *symbol = poei_symbol_find(checker->program, syntax->text);
  if (!symbol) {
    if (strcmp(syntax->text, "inf") == 0 || strcmp(syntax->text, "pi") == 0) {
      return poei_numbers_scalar(checker, syntax->text[0] == 'i' ? INFINITY : 3.14159265358979323846, value);
    }
    return poei_unknown_name(checker, scope, syntax, want);
  }
  if (symbol->variable) {
    if (!checker->program->identity) {
      return poei_report(&checker->reader, POE_E_TYPE, syntax->at, NULL, "a variable cannot size another one");
    }
    return variable_place(checker, symbol->variable, value);
  }
  poei_definition *definition = symbol->definition;
  if (definition->statement->formal) {
    return poei_report(&checker->reader, POE_E_TYPE, syntax->at, "write its arguments in parentheses",
                       "'%s' takes %zu argument%s", definition->name, definition->statement->n_names - 1,
                       definition->statement->n_names == 2 ? "" : "s");
  }
  definition->used = definition->used || checker->inside > 0;
  if (!poei_check_definition(checker, definition, syntax->at)) {
    return false;
  }
  *value = definition->value;
  return true;
}

bool poei_evaluate_place(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax, poei_want want,
                         poei_value *value) {
  if (!lookup(checker, scope, syntax, want, value)) {
    return false;
  }
  if (syntax->n > 0 && !apply_slices(checker, scope, syntax, value)) {
    return false;
  }
  if (checker->formula && value->sort == POEI_SORT_PLACE && want != POEI_WANT_PLACE) {
    poei_value place = *value;
    return poei_place_numbers(checker, syntax->span, &place, value);
  }
  return true;
}
