/* --set name.param=value: another value for an argument of the call a definition makes.
 *
 * The call is the definition's own, or the only one inside of it that has such a parameter. Without a parameter the
 * whole definition is replaced (a constant). Paths are then relative to the working directory. Trees are immutable:
 * the way down to the call is copied.
 */
#include <string.h>

#include "compose/language/program_parts.h"
#include "experts/list.h"

static const poe_param *params_of(const poei_syntax *call) {
  const poe_expert_ops *family = poei_family_find(call->text);
  const poe_map_ops *map = poei_map_find(call->text);
  return family ? family->params : map ? map->params : NULL;
}

/* Calls below that have the parameter; *last is the last of them. */
static size_t count_calls(const poei_syntax *syntax, const char *param, const poei_syntax **last) {
  size_t n = 0;
  if (syntax->kind == POEI_SYNTAX_CALL && poei_find_param(params_of(syntax), param)) {
    *last = syntax;
    n++;
  }
  for (size_t i = 0; i < syntax->n; i++) {
    n += count_calls(syntax->items[i], param, last);
  }
  return n;
}

static const poei_syntax *replace(poei_region *region, const poei_syntax *syntax, const poei_syntax *old,
                                  const poei_syntax *new) {
  if (syntax == old) {
    return new;
  }
  for (size_t i = 0; i < syntax->n; i++) {
    const poei_syntax *item = replace(region, syntax->items[i], old, new);
    if (item == syntax->items[i]) {
      continue;
    }
    poei_syntax *copy = poei_region_copy(region, syntax, 1, sizeof *copy);
    const poei_syntax **items = poei_region_copy(region, syntax->items, syntax->n, sizeof *items);
    if (!item || !copy || !items) {
      return NULL;
    }
    items[i] = item;
    copy->items = items;
    return copy;
  }
  return syntax;
}

/* The call with `param=value`, in the place of the argument it has or as its last. */
static const poei_syntax *with_argument(poei_region *region, const poei_syntax *call, const char *param,
                                        const poei_syntax *value) {
  poei_syntax *copy = poei_region_copy(region, call, 1, sizeof *copy);
  poei_syntax *argument = poei_region_take(region, 1, sizeof *argument);
  const poei_syntax **items = poei_region_take(region, call->n + 1, sizeof *items);
  const poei_syntax **inner = poei_region_copy(region, &value, 1, sizeof *inner);
  if (!copy || !argument || !items || !inner) {
    return NULL;
  }
  *argument = (poei_syntax){
      .kind = POEI_SYNTAX_ARGUMENT, .span = value->span, .at = value->span, .text = param, .n = 1, .items = inner};
  size_t at = call->n;
  for (size_t i = 0; i < call->n; i++) {
    items[i] = call->items[i];
    at = items[i]->kind == POEI_SYNTAX_ARGUMENT && strcmp(items[i]->text, param) == 0 ? i : at;
  }
  items[at] = argument;
  copy->n = at == call->n ? call->n + 1 : call->n;
  copy->items = items;
  if (!copy->bar && at == call->n) {
    copy->bar = true; /* gaussian(x) becomes gaussian(x | mean=0) */
    copy->n_subjects = call->n;
  }
  return copy;
}

static poei_statement *find_definition(poei_checker *checker, const char *name) {
  const poei_program *program = checker->program;
  for (size_t i = 0; i < program->n_statements; i++) {
    poei_statement *statement = program->statements[i];
    if (statement->kind == POEI_STATEMENT_DEFINITION && strcmp(statement->names[0].text, name) == 0) {
      return statement;
    }
  }
  size_t n = 0;
  const char **words = poei_region_take(&checker->program->region, program->n_statements, sizeof *words);
  for (size_t i = 0; words && i < program->n_statements; i++) {
    if (program->statements[i]->kind == POEI_STATEMENT_DEFINITION) {
      words[n++] = program->statements[i]->names[0].text;
    }
  }
  poei_report(&checker->reader, POE_E_NAME, (poei_span){0}, poei_suggest(checker, name, "definitions", n, words),
              "--set: unknown definition '%s'", name);
  return NULL;
}

/* A text parameter takes the value as it stands, without quotes. */
static bool is_text(const poe_param *param, const char *value) {
  return param && (param->type == POE_ARG_FILE || param->type == POE_ARG_STRING) && value[0] != '"';
}

static const poei_syntax *read_value(poei_checker *checker, const poe_param *param, const char *value) {
  poei_region *region = &checker->program->region;
  const char *text = poei_region_text(region, value, strlen(value));
  const poei_source *source = text ? poei_program_add_source(checker, "--set", "", text, strlen(text)) : NULL;
  if (!source) {
    return NULL;
  }
  if (!is_text(param, value)) {
    return poei_parse_expression_text(&checker->reader, source);
  }
  poei_syntax *syntax = poei_region_take(region, 1, sizeof *syntax);
  if (syntax) {
    poei_span span = {.source = source, .length = source->size, .line = 1, .column = 1};
    *syntax = (poei_syntax){.kind = POEI_SYNTAX_STRING, .span = span, .at = span, .text = text};
  }
  return syntax;
}

static bool apply(poei_checker *checker, const poei_override *override) {
  poei_region *region = &checker->program->region;
  poei_statement *statement = find_definition(checker, override->name);
  if (!statement) {
    return false;
  }
  if (!override->param || !override->param[0]) {
    const poei_syntax *value = read_value(checker, NULL, override->value);
    statement->body = value ? value : statement->body;
    return value != NULL;
  }
  const poei_syntax *call = NULL, *body = statement->body;
  bool own = body->kind == POEI_SYNTAX_CALL && params_of(body);
  size_t n = own && poei_find_param(params_of(body), override->param) ? 1 : count_calls(body, override->param, &call);
  call = call ? call : body;
  if (n == 0 && own) {
    poei_syntax argument = {.text = override->param, .at = statement->names[0].span};
    return poei_unknown_param(checker, body->text, params_of(body), &argument);
  }
  if (n != 1) {
    return poei_report(&checker->reader, POE_E_NAME, statement->names[0].span, "set a definition that is one call",
                       n == 0 ? "--set: no call in '%s' has a parameter '%s'"
                              : "--set: several calls in '%s' have a parameter '%s'",
                       override->name, override->param);
  }
  const poe_param *param = poei_find_param(params_of(call), override->param);
  const poei_syntax *value = read_value(checker, param, override->value);
  const poei_syntax *changed = value ? with_argument(region, call, param->name, value) : NULL;
  body = changed ? replace(region, body, call, changed) : NULL;
  if (!body) {
    return false;
  }
  statement->body = body;
  return true;
}

bool poei_apply_overrides(poei_checker *checker, size_t n, const poei_override *overrides) {
  bool ok = true;
  for (size_t i = 0; i < n; i++) {
    ok = apply(checker, &overrides[i]) && ok;
  }
  return ok;
}
