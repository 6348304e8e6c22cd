/* Action statements: `verb(target, option=value)` checked against the table of verbs.
 *
 * Targets are worked out as densities; options get the text the command line would give them. Paths of files that are
 * read are made relative to the working directory here; a result's stays as written (it goes into the run's folder).
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compose/language/program_parts.h"

typedef struct option_job {
  poei_checker *checker;
  const poei_option *option;
  const poei_syntax *value;
  poei_option_value *out;
} option_job;

static bool wrong(const option_job *job, const char *wanted, const char *hint) {
  return poei_report(&job->checker->reader, POE_E_TYPE, job->value->span, hint, "'%s' must be %s", job->option->name,
                     wanted);
}

static bool is_word(const poei_syntax *syntax) {
  return (syntax->kind == POEI_SYNTAX_PLACE && syntax->n == 0) || syntax->kind == POEI_SYNTAX_STRING;
}

static bool give_text(const option_job *job, const char *text) {
  job->out->text = text;
  return text != NULL;
}

static bool read_flag(const option_job *job) {
  bool known = is_word(job->value) && (strcmp(job->value->text, "true") == 0 || strcmp(job->value->text, "false") == 0);
  return known ? give_text(job, job->value->text) : wrong(job, "true or false", NULL);
}

static bool read_number(const option_job *job) {
  poei_value value;
  char text[POEI_NUMBER_TEXT];
  if (!poei_evaluate(job->checker, NULL, job->value, POEI_WANT_NUMBER, &value)) {
    return false;
  }
  if (value.sort != POEI_SORT_NUMBERS || value.ndim != 0 || !isfinite(value.number[0])) {
    return wrong(job, "a number", NULL);
  }
  double number = value.number[0];
  if (job->option->type == POEI_OPTION_INTEGER && (number < 0 || floor(number) != number || number > 9e15)) {
    return wrong(job, "a whole number, 0 or more", NULL);
  }
  if (job->option->type == POEI_OPTION_INTEGER) {
    snprintf(text, sizeof text, "%.0f", number);
  } else {
    poei_number_text(number, text);
  }
  return give_text(job, poei_region_text(&job->checker->program->region, text, strlen(text)));
}

static bool read_choice(const option_job *job) {
  size_t n;
  const char *const *words;
  if (!poei_split_words(job->checker, job->option->choices, &n, &words)) {
    return false;
  }
  if (!is_word(job->value)) {
    return wrong(job, poei_region_format(&job->checker->program->region, "one of %s", job->option->choices), NULL);
  }
  for (size_t i = 0; i < n; i++) {
    if (strcmp(words[i], job->value->text) == 0) {
      return give_text(job, words[i]);
    }
  }
  return poei_report(&job->checker->reader, POE_E_NAME, job->value->span,
                     poei_suggest(job->checker, job->value->text, "choices", n, words), "'%s' is no value of '%s'",
                     job->value->text, job->option->name);
}

/* What the names of an option stand for; options that are not here take any text. */
typedef enum meaning { ANYTHING, EXPERTS, PLACES } meaning;

static meaning meaning_of(const poei_option *option) {
  if (strcmp(option->name, "by") == 0 || strcmp(option->name, "base") == 0) {
    return EXPERTS;
  }
  return strcmp(option->name, "save") == 0 ? PLACES : ANYTHING;
}

static bool check_meaning(const option_job *job, const poei_syntax *syntax) {
  poei_value value;
  switch (meaning_of(job->option)) {
  case EXPERTS:
    return poei_evaluate(job->checker, NULL, syntax, POEI_WANT_EXPERT, &value) &&
           poei_need_density(job->checker, syntax, &value);
  case PLACES:
    if (!poei_evaluate(job->checker, NULL, syntax, POEI_WANT_PLACE, &value)) {
      return false;
    }
    return value.sort == POEI_SORT_PLACE ||
           poei_report(&job->checker->reader, POE_E_TYPE, syntax->span, NULL, "'%s' takes variables, this is %s",
                       job->option->name, poei_sort_text(&value));
  default:
    return true;
  }
}

static const char *text_of(const option_job *job, const poei_syntax *syntax) {
  return syntax->kind == POEI_SYNTAX_STRING ? syntax->text
                                            : poei_print_expression(&job->checker->program->region, syntax);
}

static bool read_text(const option_job *job) {
  bool simple = is_word(job->value) || job->value->kind == POEI_SYNTAX_NUMBER;
  if (!simple && meaning_of(job->option) == ANYTHING) {
    return wrong(job, "a text or a word", NULL);
  }
  return check_meaning(job, job->value) && give_text(job, text_of(job, job->value));
}

static bool read_file(const option_job *job) {
  poei_value value;
  poei_region *region = &job->checker->program->region;
  if (job->value->kind == POEI_SYNTAX_PLACE && !poei_symbol_find(job->checker->program, job->value->text)) {
    return wrong(job, "the path of a file, in quotes", NULL);
  }
  if (!poei_evaluate(job->checker, NULL, job->value, POEI_WANT_ANY, &value)) {
    return false;
  }
  if (value.sort != POEI_SORT_TEXT) {
    return wrong(job, "the path of a file, in quotes", NULL);
  }
  bool result = strcmp(job->option->name, "output") == 0;
  return give_text(job, result ? value.text : poei_resolve_path(region, value.in, value.text));
}

static bool read_names(const option_job *job) {
  poei_region *region = &job->checker->program->region;
  bool list = job->value->kind == POEI_SYNTAX_LIST;
  size_t n = list ? job->value->n : 1;
  const char **items = poei_region_take(region, n, sizeof *items);
  if (!items) {
    return false;
  }
  bool ok = true;
  for (size_t i = 0; i < n; i++) {
    const poei_syntax *item = list ? job->value->items[i] : job->value;
    ok = check_meaning(job, item) && ok;
    items[i] = text_of(job, item);
    if (!items[i]) {
      return false;
    }
  }
  job->out->n_items = n;
  job->out->items = items;
  return give_text(job, text_of(job, job->value)) && ok;
}

static bool read_option(const option_job *job) {
  switch (job->option->type) {
  case POEI_OPTION_FLAG:
    return read_flag(job);
  case POEI_OPTION_INTEGER:
  case POEI_OPTION_NUMBER:
    return read_number(job);
  case POEI_OPTION_TEXT:
    return read_text(job);
  case POEI_OPTION_FILE:
    return read_file(job);
  case POEI_OPTION_CHOICE:
    return read_choice(job);
  case POEI_OPTION_NAMES:
    return read_names(job);
  }
  return false;
}

static bool unknown_option(poei_checker *checker, const poei_verb *verb, const poei_syntax *argument) {
  const char *words[64];
  size_t n = 0;
  const poei_option *lists[2] = {verb->options, poei_common_options};
  for (size_t l = 0; l < 2; l++) {
    for (const poei_option *option = lists[l]; option->name && n < sizeof words / sizeof *words; option++) {
      words[n++] = option->name;
    }
  }
  return poei_report(&checker->reader, POE_E_NAME, argument->at,
                     poei_suggest(checker, argument->text, "options", n, words), "'%s' has no option '%s'", verb->name,
                     argument->text);
}

static const poei_verb *find_verb(poei_checker *checker, const poei_syntax *call) {
  const poei_verb *verb = poei_verb_find(call->text);
  if (verb && verb->action) {
    return verb;
  }
  if (verb) {
    const char *hint = poei_region_format(&checker->program->region, "run it as: poe %s FILE", call->text);
    poei_report(&checker->reader, POE_E_NAME, call->at, hint, "'%s' is a command, not an action of a file", call->text);
    return NULL;
  }
  const poei_symbol *symbol = poei_symbol_find(checker->program, call->text);
  if (poei_reserved_call(call->text) || symbol) {
    const char *hint = poei_region_format(&checker->program->region, "write: name = %s(...)", call->text);
    poei_report(&checker->reader, POE_E_SYNTAX, call->at, hint, "an expert needs a name");
    return NULL;
  }
  const char *words[32];
  size_t n = 0;
  for (size_t i = 0; poei_verbs[i]; i++) {
    if (poei_verbs[i]->action && n < sizeof words / sizeof *words) {
      words[n++] = poei_verbs[i]->name;
    }
  }
  poei_report(&checker->reader, POE_E_NAME, call->at, poei_suggest(checker, call->text, "actions", n, words),
              "unknown action '%s'", call->text);
  return NULL;
}

static bool read_target(poei_checker *checker, const poei_syntax *item, const char **text) {
  poei_value value;
  if (!poei_evaluate(checker, NULL, item, POEI_WANT_EXPERT, &value) || !poei_need_density(checker, item, &value)) {
    return false;
  }
  *text = poei_print_expression(&checker->program->region, item);
  return *text != NULL;
}

static bool read_items(poei_checker *checker, const poei_verb *verb, const poei_syntax *call, poei_action *action,
                       const char **targets, poei_option_value *options) {
  bool ok = true;
  for (size_t i = 0; i < call->n; i++) {
    const poei_syntax *item = call->items[i];
    if (item->kind != POEI_SYNTAX_ARGUMENT) {
      ok = read_target(checker, item, &targets[action->n_targets++]) && ok;
      continue;
    }
    const poei_option *option = poei_option_find(verb, item->text);
    if (!option) {
      ok = unknown_option(checker, verb, item);
      continue;
    }
    for (size_t j = 0; j < action->n_options; j++) {
      if (strcmp(options[j].name, option->name) == 0) {
        ok = poei_report(&checker->reader, POE_E_NAME, item->at, NULL, "'%s' is given twice", item->text);
      }
    }
    poei_option_value *out = &options[action->n_options++];
    poe_error place = {0};
    poei_span_place(item->items[0]->span, &place);
    *out = (poei_option_value){.name = option->name, .line = place.line, .column = place.column, .span = place.span};
    option_job job = {.checker = checker, .option = option, .value = item->items[0], .out = out};
    ok = read_option(&job) && ok;
  }
  return ok;
}

bool poei_check_action(poei_checker *checker, const poei_statement *statement) {
  poei_program *program = checker->program;
  const poei_syntax *call = statement->body;
  const poei_verb *verb = find_verb(checker, call);
  if (!verb) {
    return false;
  }
  if (call->bar) {
    return poei_report(&checker->reader, POE_E_SYNTAX, call->at, NULL, "an action has no '|'");
  }
  const char **targets = poei_region_take(&program->region, call->n, sizeof *targets);
  poei_option_value *options = poei_region_take(&program->region, call->n, sizeof *options);
  poei_action *actions = poei_region_grow(&program->region, program->actions, program->n_actions,
                                          &program->action_capacity, sizeof *actions);
  if (!targets || !options || !actions) {
    return false;
  }
  program->actions = actions;
  poe_error place = {0};
  poei_span_place(call->span, &place);
  poei_action action = {.verb = verb,
                        .targets = targets,
                        .options = options,
                        .line = place.line,
                        .column = place.column,
                        .span = place.span};
  if (!read_items(checker, verb, call, &action, targets, options)) {
    return false;
  }
  if (action.n_targets < verb->min_targets || action.n_targets > verb->max_targets) {
    bool few = action.n_targets < verb->min_targets;
    size_t limit = few ? verb->min_targets : verb->max_targets;
    return poei_report(&checker->reader, POE_E_USAGE, call->span, NULL, "'%s' takes at %s %zu target%s", verb->name,
                       few ? "least" : "most", limit, limit == 1 ? "" : "s");
  }
  if (action.n_targets == 0 && program->n_densities == 0) {
    return poei_report(&checker->reader, POE_E_NAME, call->span, NULL, "there is no expert to %s", verb->name);
  }
  actions[program->n_actions++] = action;
  return true;
}
