/* `var` statements: spaces, shapes and supports of variables.
 *
 *   real[shape] in (lo, hi) · binary[shape] · int(k)[shape] · int[shape] · simplex(k)[shape] · tokens(k)[shape]
 *
 * Coordinates are numbered over all variables in the order of declaration, each variable's row-major. Infinite ends are
 * always open. An interval on int keeps the integers inside of it.
 */
#include <math.h>
#include <string.h>

#include "compose/language/program_parts.h"

static const struct space_kind {
  const char *word;
  poei_space_kind kind;
  bool needs_count, may_count; /* a number in parentheses */
  double least;                /* of that number */
} space_kinds[] = {
    {"real", POEI_SPACE_REAL, false, false, 0},   {"binary", POEI_SPACE_BINARY, false, false, 0},
    {"int", POEI_SPACE_INT, false, true, 1},      {"simplex", POEI_SPACE_SIMPLEX, true, true, 2},
    {"tokens", POEI_SPACE_TOKENS, true, true, 1},
};

static bool find_space(poei_checker *checker, const poei_space *space, const struct space_kind **found) {
  static const char *const words[] = {"real", "binary", "int", "simplex", "tokens"};
  for (size_t i = 0; i < sizeof space_kinds / sizeof *space_kinds; i++) {
    if (strcmp(space_kinds[i].word, space->kind.text) == 0) {
      *found = &space_kinds[i];
      return true;
    }
  }
  const char *hint = poei_suggest(checker, space->kind.text, "spaces", 5, words);
  return poei_report(&checker->reader, POE_E_NAME, space->kind.span, hint, "unknown space '%s'", space->kind.text);
}

/* The k of int(k), simplex(k), tokens(k); 0 when there is none. */
static bool read_count(poei_checker *checker, const poei_space *space, const struct space_kind *kind, double *count) {
  *count = 0;
  if (!space->has_args) {
    return !kind->needs_count || poei_report(&checker->reader, POE_E_SHAPE, space->kind.span, NULL,
                                             "%s needs its size: %s(3)", kind->word, kind->word);
  }
  if (!kind->may_count || space->n_args != 1) {
    const char *hint = poei_region_format(&checker->program->region, "a shape is written %s[3]", kind->word);
    return poei_report(&checker->reader, POE_E_SHAPE, space->kind.span, hint, "%s takes %s in parentheses", kind->word,
                       kind->may_count ? "one number" : "nothing");
  }
  if (!poei_evaluate_whole(checker, NULL, space->args[0], "a size", count)) {
    return false;
  }
  if (*count < kind->least || *count > POEI_MAX_COORDINATES) {
    return poei_report(&checker->reader, POE_E_SHAPE, space->args[0]->span, NULL, "%s(%g): the size must be in %g..%d",
                       kind->word, *count, kind->least, POEI_MAX_COORDINATES);
  }
  return true;
}

static bool read_shape(poei_checker *checker, const poei_space *space, poei_variable *variable) {
  variable->dim = 1;
  if (space->ndim > POE_MAX_DIMS - 1) {
    return poei_report(&checker->reader, POE_E_SHAPE, space->span, NULL, "a shape has at most %d sizes",
                       POE_MAX_DIMS - 1);
  }
  for (size_t i = 0; i < space->ndim; i++) {
    double size;
    if (!poei_evaluate_whole(checker, NULL, space->shape[i], "a size", &size)) {
      return false;
    }
    if (size < 1 || size > POEI_MAX_COORDINATES || variable->dim * (size_t)size > POEI_MAX_COORDINATES) {
      return poei_report(&checker->reader, POE_E_SHAPE, space->shape[i]->span, NULL,
                         size < 1 ? "a size must be at least 1" : "this variable has more than %d coordinates",
                         POEI_MAX_COORDINATES);
    }
    variable->shape[variable->ndim++] = (size_t)size;
    variable->dim *= (size_t)size;
  }
  return true;
}

static bool read_end(poei_checker *checker, const poei_syntax *syntax, double *end) {
  poei_value value;
  if (!poei_evaluate(checker, NULL, syntax, POEI_WANT_NUMBER, &value)) {
    return false;
  }
  if (value.sort != POEI_SORT_NUMBERS || value.ndim != 0) {
    return poei_report(&checker->reader, POE_E_TYPE, syntax->span, NULL, "an end of an interval is a number, not %s",
                       poei_sort_text(&value));
  }
  *end = value.number[0];
  return true;
}

/* Intersects an integer support with an interval. */
static void clip_integers(poe_support *support, double low, bool low_open, double high, bool high_open) {
  double first = ceil(low), last = floor(high);
  first += low_open && first == low && isfinite(low) ? 1 : 0;
  last -= high_open && last == high && isfinite(high) ? 1 : 0;
  support->low = fmax(support->low, first);
  support->high = fmin(support->high, last);
}

static bool read_interval(poei_checker *checker, const poei_space *space, const struct space_kind *kind,
                          poe_support *support) {
  if (!space->has_interval) {
    return true;
  }
  if (kind->kind != POEI_SPACE_REAL && kind->kind != POEI_SPACE_INT) {
    return poei_report(&checker->reader, POE_E_TYPE, space->interval, NULL, "%s takes no interval", kind->word);
  }
  double low = 0, high = 0;
  if (!read_end(checker, space->low, &low) || !read_end(checker, space->high, &high)) {
    return false;
  }
  if (kind->kind == POEI_SPACE_INT) {
    clip_integers(support, low, space->low_open, high, space->high_open);
  } else {
    *support = (poe_support){.kind = POE_CONTINUOUS,
                             .low = low,
                             .high = high,
                             .low_open = space->low_open || isinf(low),
                             .high_open = space->high_open || isinf(high)};
  }
  bool discrete = kind->kind == POEI_SPACE_INT;
  bool empty = !(discrete ? support->low <= support->high : low < high);
  if (empty || low == INFINITY || high == -INFINITY) {
    return poei_report(&checker->reader, POE_E_EMPTY, space->interval, "the lower end comes first",
                       discrete ? "this interval holds no integer" : "this interval is empty");
  }
  return true;
}

static poe_support natural_support(const struct space_kind *kind, double count) {
  switch (kind->kind) {
  case POEI_SPACE_BINARY:
    return (poe_support){.kind = POE_DISCRETE, .low = 0, .high = 1};
  case POEI_SPACE_INT:
  case POEI_SPACE_TOKENS:
    return (poe_support){.kind = POE_DISCRETE, .low = 0, .high = count > 0 ? count - 1 : INFINITY};
  case POEI_SPACE_SIMPLEX:
    return (poe_support){.kind = POE_SIMPLEX, .low = 0, .high = 1};
  default:
    return (poe_support){
        .kind = POE_CONTINUOUS, .low = -INFINITY, .high = INFINITY, .low_open = true, .high_open = true};
  }
}

static bool add_variable(poei_checker *checker, const poei_name *name, const poei_variable *like,
                         const poe_support *support) {
  poei_program *program = checker->program;
  if (like->dim > POEI_MAX_COORDINATES - program->n_coordinates) {
    return poei_report(&checker->reader, POE_E_SHAPE, name->span, NULL, "the variables have more than %d coordinates",
                       POEI_MAX_COORDINATES);
  }
  poei_variable *variable = poei_region_copy(&program->region, like, 1, sizeof *variable);
  poe_support *supports = poei_region_take(&program->region, like->dim, sizeof *supports);
  poei_variable **variables = poei_region_grow(&program->region, program->variables, program->n_variables,
                                               &program->variable_capacity, sizeof *variables);
  if (!variable || !supports || !variables) {
    return false;
  }
  for (size_t i = 0; i < like->dim; i++) {
    supports[i] = *support;
    if (support->kind == POE_SIMPLEX && i % like->shape[like->ndim - 1] > 0) {
      supports[i].kind = POE_SIMPLEX_NEXT;
    }
  }
  variable->name = name->text;
  variable->offset = program->n_coordinates;
  variable->support = supports;
  program->variables = variables;
  if (!poei_symbol_add(checker, name, variable, NULL)) {
    return false;
  }
  variables[program->n_variables++] = variable;
  program->n_coordinates += variable->dim;
  return true;
}

static bool check_var(poei_checker *checker, const poei_statement *statement) {
  const poei_space *space = &statement->space;
  const struct space_kind *kind = NULL;
  poei_variable variable = {0};
  double count;
  if (!find_space(checker, space, &kind) || !read_count(checker, space, kind, &count) ||
      !read_shape(checker, space, &variable)) {
    return false;
  }
  variable.space = kind->kind;
  poe_support support = natural_support(kind, count);
  if (!read_interval(checker, space, kind, &support)) {
    return false;
  }
  if (kind->kind == POEI_SPACE_SIMPLEX) { /* its numbers are the last axis */
    if (variable.dim > POEI_MAX_COORDINATES / (size_t)count) {
      return poei_report(&checker->reader, POE_E_SHAPE, space->span, NULL, "this variable has more than %d coordinates",
                         POEI_MAX_COORDINATES);
    }
    variable.shape[variable.ndim++] = (size_t)count;
    variable.dim *= (size_t)count;
  }
  bool ok = true;
  for (size_t i = 0; i < statement->n_names; i++) {
    ok = add_variable(checker, &statement->names[i], &variable, &support) && ok;
  }
  return ok;
}

bool poei_check_var(poei_checker *checker, const poei_statement *statement) {
  if (check_var(checker, statement)) {
    return true;
  }
  poei_symbol_fail(checker, statement);
  return false;
}

const poei_variable *poei_variable_of(const poei_program *program, size_t coordinate) {
  size_t low = 0, high = program->n_variables;
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    if (program->variables[middle]->offset <= coordinate) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low < program->n_variables ? program->variables[low] : NULL;
}

size_t poei_simplex_of(const poei_program *program, size_t coordinate, size_t *first) {
  const poei_variable *variable = poei_variable_of(program, coordinate);
  if (!variable || variable->space != POEI_SPACE_SIMPLEX) {
    return 0;
  }
  size_t k = variable->shape[variable->ndim - 1];
  *first = coordinate - (coordinate - variable->offset) % k;
  return k;
}

bool poei_check_whole_simplices(poei_checker *checker, poei_span span, size_t n, const size_t *ids, const char *what) {
  for (size_t i = 0, step; i < n; i += step) {
    size_t first = 0, k = poei_simplex_of(checker->program, ids[i], &first);
    step = k > 0 ? k : 1;
    if (k > 0 && (ids[i] != first || n - i < k || ids[i + k - 1] != first + k - 1)) {
      const poei_variable *variable = poei_variable_of(checker->program, ids[i]);
      return poei_report(&checker->reader, POE_E_SHAPE, span, "its numbers sum to 1: none of them is free by itself",
                         "'%s' is a simplex, which is %s as a whole", variable->name, what);
    }
  }
  return true;
}

bool poei_space_contains(const poe_support *support, double value) {
  if (support->kind == POE_DISCRETE) {
    return value >= support->low && value <= support->high && floor(value) == value && isfinite(value);
  }
  return isfinite(value) && (support->low_open ? value > support->low : value >= support->low) &&
         (support->high_open ? value < support->high : value <= support->high);
}

const char *poei_space_text(poei_checker *checker, const poei_variable *variable, const poe_support *support) {
  char low[POEI_NUMBER_TEXT], high[POEI_NUMBER_TEXT];
  poei_number_text(support->low, low);
  poei_number_text(support->high, high);
  poei_region *region = &checker->program->region;
  const char *text = support->kind == POE_DISCRETE
                         ? poei_region_format(region, "'%s' holds the integers %s..%s", variable->name, low,
                                              isinf(support->high) ? "" : high)
                         : poei_region_format(region, "'%s' holds the numbers in %s%s, %s%s", variable->name,
                                              support->low_open ? "(" : "[", low, high, support->high_open ? ")" : "]");
  return text ? text : "";
}
