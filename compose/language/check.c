/* The checker: what every expression stands for.
 *
 * Operators resolve by sort: on numbers they are arithmetic, on densities composition. Definitions are worked out when
 * first used and remembered; one that uses itself is refused. A definition with an error makes its users fail silently:
 * the error is told once, where it is.
 */
#include "compose/language/program_parts.h"

#include <string.h>

#include "experts/list.h"

/* ---- calls ---- */

static bool evaluate_call(poei_checker *checker, const poei_scope *scope, const poei_syntax *call, poei_value *value) {
  const char *word = call->text;
  const poei_symbol *symbol = poei_symbol_find(checker->program, word);
  if (symbol && symbol->definition && symbol->definition->statement->formal) {
    return poei_call_definition(checker, scope, call, symbol->definition, value);
  }
  if (strcmp(word, "product") == 0) {
    return poei_call_product(checker, scope, call, value);
  }
  if (strcmp(word, "mixture") == 0) {
    return poei_call_mixture(checker, scope, call, value);
  }
  if (strcmp(word, "normalise") == 0 || strcmp(word, "unnormalised") == 0) {
    return poei_density_wrap(checker, scope, call, value);
  }
  if (strcmp(word, "marginal") == 0 || strcmp(word, "profile") == 0) {
    return poei_density_marginal(checker, scope, call, value);
  }
  if (strcmp(word, "data") == 0) {
    return poei_call_data(checker, scope, call, value);
  }
  const poe_expert_ops *family = poei_family_find(word);
  if (family) {
    return poei_call_family(checker, scope, call, family, value);
  }
  const poe_map_ops *map = poei_map_find(word);
  if (map) {
    return poei_call_map(checker, scope, call, map, value);
  }
  return poei_is_function(word) ? poei_call_function(checker, scope, call, value) : poei_unknown_call(checker, call);
}

/* ---- operators ---- */

static bool evaluate_items(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax, poei_want want,
                           poei_value **items, bool *numbers) {
  *items = poei_region_take(&checker->program->region, syntax->n, sizeof **items);
  *numbers = true;
  if (!*items) {
    return false;
  }
  bool ok = true;
  for (size_t i = 0; i < syntax->n; i++) { /* all of them, so that all errors are told */
    ok = poei_evaluate(checker, scope, syntax->items[i], want, &(*items)[i]) && ok;
    *numbers = ok && *numbers && (*items)[i].sort == POEI_SORT_NUMBERS;
  }
  return ok;
}

static bool evaluate_arithmetic(poei_checker *checker, const poei_syntax *syntax, const poei_value *items,
                                poei_value *value) {
  bool sum = syntax->kind == POEI_SYNTAX_SUM;
  *value = items[0];
  for (size_t i = 1; i < syntax->n; i++) {
    poei_formula_op op = sum ? (syntax->inverse[i] ? POEI_FORMULA_SUB : POEI_FORMULA_ADD)
                             : (syntax->inverse[i] ? POEI_FORMULA_DIV : POEI_FORMULA_MUL);
    poei_value pair[2] = {*value, items[i]};
    if (!poei_numbers_apply(checker, syntax->span, op, 2, pair, value)) {
      return false;
    }
  }
  return true;
}

static bool evaluate_chain(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax, poei_want want,
                           poei_value *value) {
  poei_value *items;
  bool numbers;
  if (!evaluate_items(checker, scope, syntax, want, &items, &numbers)) {
    return false;
  }
  bool arithmetic = syntax->kind == POEI_SYNTAX_SUM || syntax->kind == POEI_SYNTAX_TERM;
  bool places = false; /* or densities: what is wrong is told as with experts */
  for (size_t i = 0; i < syntax->n; i++) {
    places = places || items[i].sort >= POEI_SORT_PLACE;
  }
  if (arithmetic && (numbers || want == POEI_WANT_NUMBER || !places)) {
    return evaluate_arithmetic(checker, syntax, items, value);
  }
  switch (syntax->kind) {
  case POEI_SYNTAX_SUM:
    return poei_density_sum(checker, syntax, syntax->n, items, syntax->inverse, value);
  case POEI_SYNTAX_TERM:
    return poei_density_product(checker, syntax, syntax->n, items, syntax->inverse, value);
  case POEI_SYNTAX_OR:
    return poei_density_or(checker, syntax, syntax->n, items, value);
  default:
    return poei_density_and(checker, syntax, syntax->n, items, value);
  }
}

static bool evaluate_power(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax, poei_want want,
                           poei_value *value) {
  poei_value pair[2];
  bool ok = poei_evaluate(checker, scope, syntax->items[0], want, &pair[0]);
  ok = poei_evaluate(checker, scope, syntax->items[1], POEI_WANT_NUMBER, &pair[1]) && ok;
  if (!ok) {
    return false;
  }
  if (pair[0].sort == POEI_SORT_NUMBERS && pair[1].sort == POEI_SORT_NUMBERS) {
    return poei_numbers_apply(checker, syntax->span, POEI_FORMULA_POW, 2, pair, value);
  }
  return poei_density_power(checker, syntax, &pair[0], &pair[1], value);
}

static bool evaluate_negative(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax, poei_want want,
                              poei_value *value) {
  poei_value item;
  if (!poei_evaluate(checker, scope, syntax->items[0], want, &item)) {
    return false;
  }
  if (item.sort >= POEI_SORT_DENSITY) {
    const char *text = poei_print_expression(&checker->program->region, syntax->items[0]);
    const char *hint = poei_region_format(&checker->program->region, "did you mean 'b / %s'?", text ? text : "a");
    return poei_report(&checker->reader, POE_E_TYPE, syntax->span, hint, "a density has no minus");
  }
  return poei_numbers_apply(checker, syntax->span, POEI_FORMULA_NEG, 1, &item, value);
}

/* A long list is nearly always of plain numbers: no value for each of them. */
static bool evaluate_plain_list(poei_checker *checker, const poei_syntax *syntax, bool *plain, poei_value *value) {
  *plain = syntax->n > 0;
  for (size_t i = 0; i < syntax->n && *plain; i++) {
    const poei_syntax *item = syntax->items[i];
    bool negative = item->kind == POEI_SYNTAX_NEGATIVE && item->items[0]->kind == POEI_SYNTAX_NUMBER;
    *plain = item->kind == POEI_SYNTAX_NUMBER || negative;
  }
  if (!*plain) {
    return true;
  }
  double *number = poei_region_take(&checker->program->region, syntax->n, sizeof *number);
  if (!number) {
    return false;
  }
  for (size_t i = 0; i < syntax->n; i++) {
    const poei_syntax *item = syntax->items[i];
    number[i] = item->kind == POEI_SYNTAX_NUMBER ? item->number : -item->items[0]->number;
  }
  *value = (poei_value){.sort = POEI_SORT_NUMBERS, .ndim = 1, .shape = {syntax->n}, .n = syntax->n, .number = number};
  return true;
}

static bool evaluate_list(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax,
                          poei_value *value) {
  bool plain;
  if (!evaluate_plain_list(checker, syntax, &plain, value)) {
    return false;
  }
  if (plain) {
    return true;
  }
  poei_value *items;
  bool numbers;
  return evaluate_items(checker, scope, syntax, POEI_WANT_NUMBER, &items, &numbers) &&
         poei_numbers_list(checker, syntax, syntax->n, items, value);
}

static bool evaluate_not(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax, poei_value *value) {
  poei_value item;
  return poei_evaluate(checker, scope, syntax->items[0], POEI_WANT_EXPERT, &item) &&
         poei_density_not(checker, syntax, &item, value);
}

/* ---- expressions ---- */

static bool evaluate_node(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax, poei_want want,
                          poei_value *value) {
  switch (syntax->kind) {
  case POEI_SYNTAX_NUMBER:
    return poei_numbers_scalar(checker, syntax->number, value);
  case POEI_SYNTAX_STRING:
    *value = (poei_value){.sort = POEI_SORT_TEXT, .text = syntax->text, .in = syntax->span.source};
    return true;
  case POEI_SYNTAX_LIST:
    return evaluate_list(checker, scope, syntax, value);
  case POEI_SYNTAX_PLACE:
    return poei_evaluate_place(checker, scope, syntax, want, value);
  case POEI_SYNTAX_CALL:
    return evaluate_call(checker, scope, syntax, value);
  case POEI_SYNTAX_OR:
  case POEI_SYNTAX_AND:
    return evaluate_chain(checker, scope, syntax, POEI_WANT_EXPERT, value);
  case POEI_SYNTAX_SUM:
  case POEI_SYNTAX_TERM:
    return evaluate_chain(checker, scope, syntax, want, value);
  case POEI_SYNTAX_NOT:
    return evaluate_not(checker, scope, syntax, value);
  case POEI_SYNTAX_NEGATIVE:
    return evaluate_negative(checker, scope, syntax, want, value);
  case POEI_SYNTAX_POWER:
    return evaluate_power(checker, scope, syntax, want, value);
  case POEI_SYNTAX_GIVEN:
    return poei_density_given(checker, scope, syntax, value);
  case POEI_SYNTAX_EACH:
    return poei_report(&checker->reader, POE_E_SYNTAX, syntax->span, "write product(i in 0:9 -> ...)",
                       "a comprehension stands alone in product, mixture, sum, min, max, norm or logsumexp");
  default:
    return poei_report(&checker->reader, POE_E_SYNTAX, syntax->span, NULL, "this cannot stand here");
  }
}

static bool stop(poei_checker *checker, const poei_syntax *syntax, const char *message) {
  checker->stopped = true;
  return poei_report(&checker->reader, POE_E_SYNTAX, syntax->span, NULL, "%s", message);
}

bool poei_evaluate(poei_checker *checker, const poei_scope *scope, const poei_syntax *syntax, poei_want want,
                   poei_value *value) {
  if (checker->stopped || checker->program->region.failed || checker->program->region.full) {
    return false;
  }
  if (checker->depth >= POEI_MAX_DEPTH) {
    return stop(checker, syntax, "definitions are nested too deep");
  }
  if (++checker->steps > POEI_MAX_STEPS) {
    return stop(checker, syntax, "the program is too large: its comprehensions have too many steps");
  }
  checker->depth++;
  bool ok = evaluate_node(checker, scope, syntax, want, value);
  checker->depth--;
  return ok;
}

/* ---- definitions ---- */

/* What a definition names gets that name, unless it has one already. */
static bool name_value(poei_checker *checker, poei_definition *definition) {
  poei_value *value = &definition->value;
  const poei_syntax *body = definition->statement->body;
  switch (value->sort) {
  case POEI_SORT_DENSITY:
    if (value->term->dim == 0) {
      return poei_report(&checker->reader, POE_E_TYPE, body->span, NULL, "this expert is over no variable");
    }
    if (!value->term->name) {
      value->term->name = definition->name;
    }
    return true;
  case POEI_SORT_WEIGHTED:
  case POEI_SORT_NEGATED:
    return poei_need_density(checker, body, value);
  case POEI_SORT_PLACE:
    if (value->of && !value->of->name && body->kind == POEI_SYNTAX_CALL) {
      poei_derivation *derived = poei_region_copy(&checker->program->region, value->of, 1, sizeof *derived);
      if (!derived) {
        return false;
      }
      derived->name = definition->name;
      value->of = derived;
    }
    value->name = definition->name;
    return true;
  default:
    return true;
  }
}

bool poei_check_definition(poei_checker *checker, poei_definition *definition, poei_span used) {
  if (definition->state == POEI_CHECKING) {
    return poei_report(&checker->reader, POE_E_NAME, used, "a definition cannot use itself",
                       "'%s' is defined in terms of itself", definition->name);
  }
  if (definition->state != POEI_UNCHECKED) {
    return definition->state == POEI_CHECKED;
  }
  poei_formula_frame *formula = checker->formula;
  checker->formula = NULL;
  definition->state = POEI_CHECKING;
  checker->inside++;
  bool ok = poei_evaluate(checker, NULL, definition->statement->body, POEI_WANT_EXPERT, &definition->value) &&
            name_value(checker, definition);
  checker->inside--;
  definition->state = ok ? POEI_CHECKED : POEI_FAILED;
  checker->formula = formula;
  return ok;
}

/* ---- the program ---- */

static bool add_definition(poei_checker *checker, const poei_statement *statement) {
  poei_program *program = checker->program;
  const poei_name *name = &statement->names[0];
  poei_definition *definition = poei_region_take(&program->region, 1, sizeof *definition);
  poei_definition **definitions = poei_region_grow(&program->region, program->definitions, program->n_definitions,
                                                   &program->definition_capacity, sizeof *definitions);
  if (!definition || !definitions) {
    return false;
  }
  program->definitions = definitions;
  *definition = (poei_definition){.name = name->text, .statement = statement};
  const char *reserved = statement->formal ? poei_reserved_call(name->text) : NULL;
  if (reserved) {
    definition->state = POEI_FAILED;
    poei_report(&checker->reader, POE_E_NAME, name->span, "choose another name", "'%s' is %s", name->text, reserved);
  }
  for (size_t i = 1; i < statement->n_names; i++) {
    for (size_t j = i + 1; j < statement->n_names; j++) {
      if (strcmp(statement->names[i].text, statement->names[j].text) == 0) {
        poei_report(&checker->reader, POE_E_NAME, statement->names[j].span, NULL, "the formal '%s' stands here twice",
                    statement->names[j].text);
      }
    }
  }
  poei_symbol_add(checker, name, NULL, definition);
  definitions[program->n_definitions++] = definition;
  return true;
}

static bool add_broken(poei_checker *checker, const poei_statement *statement) {
  poei_symbol_fail(checker, statement);
  return true;
}

static bool number_coordinates(poei_program *program) {
  program->identity = poei_region_take(&program->region, program->n_coordinates, sizeof *program->identity);
  program->support = poei_region_take(&program->region, program->n_coordinates, sizeof *program->support);
  if (!program->identity || !program->support) {
    return false;
  }
  for (size_t i = 0; i < program->n_coordinates; i++) {
    program->identity[i] = i;
  }
  for (size_t v = 0; v < program->n_variables; v++) {
    const poei_variable *variable = program->variables[v];
    memcpy(program->support + variable->offset, variable->support, variable->dim * sizeof *program->support);
  }
  return true;
}

static void check_definitions(poei_checker *checker) {
  poei_program *program = checker->program;
  program->densities = poei_region_take(&program->region, program->n_definitions, sizeof *program->densities);
  for (size_t i = 0; program->densities && i < program->n_definitions; i++) {
    poei_definition *definition = program->definitions[i];
    if (definition->statement->formal) {
      continue;
    }
    if (poei_check_definition(checker, definition, definition->statement->span) &&
        definition->value.sort == POEI_SORT_DENSITY) {
      program->densities[program->n_densities++] = definition->name;
    }
  }
}

/* Statements in the order of reading, included files in the place of their include. */
static void each_statement(poei_checker *checker, poei_statement_kind kind,
                           bool (*visit)(poei_checker *, const poei_statement *)) {
  const poei_program *program = checker->program;
  for (size_t i = 0; i < program->n_statements; i++) {
    const poei_statement *statement = program->statements[i];
    bool elsewhere = kind == POEI_STATEMENT_ACTION && statement->span.source != program->sources[0];
    if (statement->kind == kind && !elsewhere) {
      visit(checker, statement);
    }
  }
}

bool poei_check_program(poei_checker *checker) {
  each_statement(checker, POEI_STATEMENT_DEFINITION, add_definition);
  each_statement(checker, POEI_STATEMENT_VAR, poei_check_var);
  each_statement(checker, POEI_STATEMENT_BROKEN, add_broken);
  if (number_coordinates(checker->program)) {
    check_definitions(checker);
    each_statement(checker, POEI_STATEMENT_ACTION, poei_check_action);
    for (size_t i = 0; i < checker->program->n_definitions; i++) {
      const poei_definition *definition = checker->program->definitions[i];
      if (definition->statement->formal && !definition->called) {
        poei_check_names(checker, definition);
      }
    }
  }
  return poei_checker_finish(checker);
}

bool poei_checker_finish(poei_checker *checker) {
  const poei_region *region = &checker->program->region;
  if ((region->failed || region->full) && checker->reader.status != POE_E_MEMORY) {
    poei_report_memory(&checker->reader);
  }
  return checker->reader.status == POE_OK;
}
