/* Names: the table of a program's symbols, and what to say about a name that is not there.
 *
 * Variables and definitions share one namespace. Families, maps, operations and functions are words of calls and have
 * another. Invariant: every unknown name gets the nearest known one, or the list of those there are.
 */
#include <string.h>

#include "compose/language/program_parts.h"
#include "experts/list.h"

/* Operations on densities, beside the operators. */
static const char *const operation_words[] = {"product",  "mixture", "normalise", "unnormalised",
                                              "marginal", "profile", "data",      NULL};

static uint64_t hash_name(const char *name) {
  return poei_hash_bytes(14695981039346656037u, name, strlen(name));
}

poei_symbol *poei_symbol_find(const poei_program *program, const char *name) {
  if (program->table_size == 0) {
    return NULL;
  }
  for (size_t at = (size_t)hash_name(name);; at++) {
    poei_symbol *symbol = program->table[at & (program->table_size - 1)];
    if (!symbol || strcmp(symbol->name, name) == 0) {
      return symbol;
    }
  }
}

static void table_put(poei_symbol **table, size_t size, poei_symbol *symbol) {
  size_t at = (size_t)hash_name(symbol->name);
  while (table[at & (size - 1)]) {
    at++;
  }
  table[at & (size - 1)] = symbol;
}

bool poei_symbol_add(poei_checker *checker, const poei_name *name, const poei_variable *variable,
                     poei_definition *definition) {
  poei_program *program = checker->program;
  poei_symbol *old = poei_symbol_find(program, name->text);
  if (old) { /* the later one in the file is to blame, and the earlier one stays */
    bool later = old->span.source == name->span.source && old->span.offset > name->span.offset;
    poei_span first = later ? name->span : old->span;
    poei_report(&checker->reader, POE_E_NAME, later ? old->span : name->span, NULL,
                "'%s' is already defined at %s:%d:%d", name->text, first.source->path, first.line, first.column);
    if (later) {
      *old = (poei_symbol){.name = name->text, .span = name->span, .variable = variable, .definition = definition};
    }
    return later;
  }
  if (program->n_symbols * 2 >= program->table_size) {
    size_t size = program->table_size == 0 ? 64 : program->table_size * 2;
    poei_symbol **table = poei_region_take(&program->region, size, sizeof *table);
    if (!table) {
      return false;
    }
    for (size_t i = 0; i < program->table_size; i++) {
      if (program->table[i]) {
        table_put(table, size, program->table[i]);
      }
    }
    program->table = table;
    program->table_size = size;
  }
  poei_symbol *symbol = poei_region_take(&program->region, 1, sizeof *symbol);
  if (!symbol) {
    return false;
  }
  *symbol = (poei_symbol){.name = name->text, .span = name->span, .variable = variable, .definition = definition};
  table_put(program->table, program->table_size, symbol);
  program->n_symbols++;
  return true;
}

void poei_symbol_fail(poei_checker *checker, const poei_statement *statement) {
  for (size_t i = 0; i < statement->n_names; i++) {
    poei_definition *definition = poei_region_take(&checker->program->region, 1, sizeof *definition);
    if (!definition) {
      return;
    }
    *definition = (poei_definition){.name = statement->names[i].text, .statement = statement, .state = POEI_FAILED};
    if (!poei_symbol_find(checker->program, definition->name)) {
      poei_symbol_add(checker, &statement->names[i], NULL, definition);
    }
  }
}

/* ---- lists of words ---- */

typedef struct words {
  poei_region *region;
  size_t n, capacity;
  const char **items;
} words;

static void add_word(words *list, const char *word) {
  for (size_t i = 0; i < list->n; i++) {
    if (strcmp(list->items[i], word) == 0) {
      return;
    }
  }
  const char **items = poei_region_grow(list->region, list->items, list->n, &list->capacity, sizeof *items);
  if (items) {
    list->items = items;
    items[list->n++] = word;
  }
}

static void add_families(words *list) {
  for (size_t i = 0; poei_families[i]; i++) {
    add_word(list, poei_families[i]->kind);
  }
}

static void add_maps(words *list) {
  for (size_t i = 0; poei_maps[i]; i++) {
    add_word(list, poei_maps[i]->kind);
  }
}

static void add_all(words *list, const char *const *items) {
  for (; *items; items++) {
    add_word(list, *items);
  }
}

enum { MANY_WORDS = 2000 }; /* beyond this nobody searches for the nearest name */

static void add_scope(words *list, const poei_scope *scope) {
  for (; scope && list->n < MANY_WORDS; scope = scope->outer) {
    add_word(list, scope->name);
  }
}

static void add_definitions(words *list, const poei_program *program, bool with_formals, bool without) {
  for (size_t i = 0; i < program->n_definitions && list->n < MANY_WORDS; i++) {
    const poei_definition *definition = program->definitions[i];
    if (definition->statement->formal ? with_formals : without) {
      add_word(list, definition->name);
    }
  }
}

static void add_variables(words *list, const poei_program *program) {
  for (size_t i = 0; i < program->n_variables && list->n < MANY_WORDS; i++) {
    add_word(list, program->variables[i]->name);
  }
}

const char *poei_suggest(poei_checker *checker, const char *word, const char *what, size_t n,
                         const char *const *known) {
  enum { LISTED = 16 };
  poei_region *region = &checker->program->region;
  const char *nearest = poei_nearest_word(word, n, known);
  if (nearest) {
    return poei_region_format(region, "did you mean '%s'?", nearest);
  }
  const char *text = "";
  for (size_t i = 0; i < n && i < LISTED && text; i++) {
    text = poei_region_format(region, "%s%s%s", text, i > 0 ? ", " : "", known[i]);
  }
  return n == 0 || !text ? NULL : poei_region_format(region, "the %s are: %s%s", what, text, n > LISTED ? ", ..." : "");
}

bool poei_split_words(poei_checker *checker, const char *alternatives, size_t *n, const char *const **split) {
  words list = {.region = &checker->program->region};
  while (*alternatives) {
    size_t length = strcspn(alternatives, "|");
    const char *word = poei_region_text(list.region, alternatives, length);
    if (!word) {
      return false;
    }
    add_word(&list, word);
    alternatives += length + (alternatives[length] == '|');
  }
  *n = list.n;
  *split = list.items;
  return true;
}

/* ---- words that are known ---- */

static bool is_one_of(const char *word, const char *const *items) {
  for (; *items; items++) {
    if (strcmp(*items, word) == 0) {
      return true;
    }
  }
  return false;
}

const char *poei_reserved_call(const char *word) {
  if (is_one_of(word, operation_words)) {
    return "an operation of the language";
  }
  if (poei_is_function(word)) {
    return "a function";
  }
  if (poei_family_find(word)) {
    return "a family of experts";
  }
  if (poei_map_find(word)) {
    return "a map";
  }
  return poei_verb_find(word) ? "an action" : NULL;
}

bool poei_unknown_name(poei_checker *checker, const poei_scope *scope, const poei_syntax *place, poei_want want) {
  const poei_program *program = checker->program;
  words list = {.region = &checker->program->region};
  const char *word = place->text;
  const char *family = poei_family_find(word) ? "family of experts" : poei_map_find(word) ? "map" : NULL;
  if (family) {
    const char *hint = poei_region_format(list.region, "call it: %s(x | ...)", word);
    return poei_report(&checker->reader, POE_E_NAME, place->at, hint, "'%s' is a %s, not a value", word, family);
  }
  add_scope(&list, scope);
  add_definitions(&list, program, want == POEI_WANT_EXPERT, true);
  add_variables(&list, program);
  if (want == POEI_WANT_EXPERT) {
    add_families(&list);
  }
  const char *what = want == POEI_WANT_EXPERT ? "expert" : want == POEI_WANT_PLACE ? "variable" : "name";
  const char *hint = poei_suggest(checker, word, "known names", list.n, list.items);
  return poei_report(&checker->reader, POE_E_NAME, place->at, hint, "unknown %s '%s'", what, word);
}

bool poei_unknown_call(poei_checker *checker, const poei_syntax *call) {
  const poei_program *program = checker->program;
  words list = {.region = &checker->program->region};
  const char *word = call->text;
  if (poei_verb_find(word)) {
    return poei_report(&checker->reader, POE_E_NAME, call->at, "an action stands on a line of its own",
                       "'%s' is an action, not a value", word);
  }
  const poei_symbol *symbol = poei_symbol_find(program, word);
  if (symbol && symbol->definition && symbol->definition->state == POEI_FAILED) {
    return false; /* told where it is */
  }
  if (symbol) {
    return poei_report(&checker->reader, POE_E_TYPE, call->at,
                       symbol->definition ? "leave out the parentheses" : "an expert over it is gaussian(x | ...)",
                       "'%s' takes no arguments", word);
  }
  if (checker->formula) {
    add_all(&list, poei_function_words);
    add_definitions(&list, program, true, false);
    const char *hint = poei_suggest(checker, word, "functions", list.n, list.items);
    return poei_report(&checker->reader, POE_E_NAME, call->at, hint, "unknown function '%s'", word);
  }
  add_definitions(&list, program, true, false);
  add_families(&list);
  add_maps(&list);
  if (!call->bar) {
    add_all(&list, operation_words);
  }
  const char *nearest = poei_nearest_word(word, list.n, list.items);
  if (!nearest && !call->bar) { /* a function only when nothing else is meant */
    words functions = {.region = list.region};
    add_all(&functions, poei_function_words);
    nearest = poei_nearest_word(word, functions.n, functions.items);
  }
  words known = {.region = list.region};
  add_families(&known);
  add_maps(&known);
  const char *hint = nearest ? poei_region_format(list.region, "did you mean '%s'?", nearest)
                             : poei_suggest(checker, word, "experts", known.n, known.items);
  return poei_report(&checker->reader, POE_E_NAME, call->at, hint, "unknown expert '%s'", word);
}

/* ---- bodies that nobody calls ---- */

typedef struct name_walk {
  poei_checker *checker;
  const poei_scope *scope;
} name_walk;

static void walk_names(name_walk *walk, const poei_syntax *syntax, const poe_param *param, poei_want want);

static bool known_name(const name_walk *walk, const char *word) {
  for (const poei_scope *scope = walk->scope; scope; scope = scope->outer) {
    if (strcmp(scope->name, word) == 0) {
      return true;
    }
  }
  return poei_symbol_find(walk->checker->program, word) || strcmp(word, "inf") == 0 || strcmp(word, "pi") == 0;
}

static void walk_call(name_walk *w, const poei_syntax *call) {
  const poe_expert_ops *family = poei_family_find(call->text);
  const poe_map_ops *map = poei_map_find(call->text);
  const poe_param *params = family ? family->params : map ? map->params : NULL;
  const poei_symbol *symbol = poei_symbol_find(w->checker->program, call->text);
  bool callable = symbol && symbol->definition && symbol->definition->statement->formal;
  if (!callable && (!poei_reserved_call(call->text) || poei_verb_find(call->text))) {
    poei_unknown_call(w->checker, call);
  }
  for (size_t i = 0; i < call->n; i++) {
    const poei_syntax *item = call->items[i];
    const poe_param *param = NULL;
    if (item->kind == POEI_SYNTAX_ARGUMENT && params) {
      param = poei_find_param(params, item->text);
      if (!param) {
        poei_unknown_param(w->checker, call->text, params, item);
        continue;
      }
    }
    walk_names(w, item, param, i < call->n_subjects ? POEI_WANT_PLACE : POEI_WANT_ANY);
  }
}

static void walk_each(name_walk *w, const poei_syntax *each) {
  const poei_scope *outer = w->scope;
  for (size_t i = 0; i < each->n; i++) {
    walk_names(w, each->items[i], NULL, POEI_WANT_ANY);
    poei_scope *scope = poei_region_take(&w->checker->program->region, 1, sizeof *scope);
    if (!scope) {
      break;
    }
    if (i + 1 < each->n) {
      *scope = (poei_scope){.name = each->items[i]->text, .outer = w->scope};
      w->scope = scope;
    }
  }
  w->scope = outer;
}

static void walk_names(name_walk *w, const poei_syntax *syntax, const poe_param *param, poei_want want) {
  switch (syntax->kind) {
  case POEI_SYNTAX_PLACE:
    if (!known_name(w, syntax->text) && !(param && param->type == POE_ARG_SYMBOL)) {
      poei_unknown_name(w->checker, w->scope, syntax, want);
    }
    break;
  case POEI_SYNTAX_CALL:
    walk_call(w, syntax);
    return;
  case POEI_SYNTAX_EACH:
    walk_each(w, syntax);
    return;
  default:
    break;
  }
  bool is_operator = syntax->kind >= POEI_SYNTAX_OR && syntax->kind <= POEI_SYNTAX_POWER;
  for (size_t i = 0; i < syntax->n; i++) {
    walk_names(w, syntax->items[i], param, is_operator ? want : POEI_WANT_ANY);
  }
}

void poei_check_names(poei_checker *checker, const poei_definition *definition) {
  name_walk walk = {.checker = checker};
  const poei_statement *statement = definition->statement;
  for (size_t i = 1; i < statement->n_names; i++) {
    poei_scope *scope = poei_region_take(&checker->program->region, 1, sizeof *scope);
    if (!scope) {
      return;
    }
    *scope = (poei_scope){.name = statement->names[i].text, .outer = walk.scope};
    walk.scope = scope;
  }
  walk_names(&walk, statement->body, NULL, POEI_WANT_EXPERT);
}
