/* The command line into an action: verbs and options from the one table, with suggestions for misspelt ones. */
#include <string.h>

#include "cli/cli.h"
#include "core/alloc.h"

enum { CLI_MAX_WORDS = 512 };

void cli_call_free(cli_call *call) {
  for (size_t i = 0; i < call->n_owned; i++) {
    poei_free(call->owned[i]);
  }
  poei_free(call->owned);
  for (size_t i = 0; i < call->action.n_options; i++) {
    poei_free((void *)call->action.options[i].items);
  }
  poei_free((void *)call->action.options);
  poei_free((void *)call->action.targets);
  poei_free(call->overrides);
  memset(call, 0, sizeof *call);
}

static char *cli_own(cli_call *call, char *text) {
  char **owned = text == NULL ? NULL : poei_realloc(call->owned, call->n_owned + 1, sizeof *owned);
  if (owned == NULL) {
    poei_free(text);
    return NULL;
  }
  call->owned = owned;
  return owned[call->n_owned++] = text;
}

const char *cli_flag_text(const char *name, char *text, size_t size) {
  size_t n = 0;
  for (; name[n] != '\0' && n + 1 < size; n++) {
    text[n] = name[n] == '_' ? '-' : name[n];
  }
  text[n] = '\0';
  return text;
}

static poe_status cli_verb_unknown(const char *word, poe_error *error) {
  const char *words[64];
  size_t n = 0;
  for (; poei_verbs[n] != NULL && n < 64; n++) {
    words[n] = poei_verbs[n]->name;
  }
  const char *nearest = poei_nearest_word(word, n, words);
  poe_error_set(error, POE_E_USAGE, "unknown verb '%s'", word);
  if (nearest != NULL) {
    poe_error_hint(error, "did you mean '%s'?", nearest);
  } else {
    poe_error_hint(error, "poe help lists them");
  }
  return POE_E_USAGE;
}

/* `word` as it was typed, without its dashes. */
static poe_status cli_option_unknown(const poei_verb *verb, const char *word, poe_error *error) {
  const char *words[128];
  size_t n = 0;
  for (const poei_option *o = verb->options; o->name != NULL && n < 128; o++) {
    words[n++] = o->name;
  }
  for (const poei_option *o = poei_common_options; o->name != NULL && n < 128; o++) {
    words[n++] = o->name;
  }
  const char *nearest = poei_nearest_word(word, n, words);
  poe_error_set(error, POE_E_USAGE, "%s has no option '--%s'", verb->name, word);
  if (nearest != NULL) {
    char flag[64];
    poe_error_hint(error, "did you mean '--%s'?", cli_flag_text(nearest, flag, sizeof flag));
  } else {
    poe_error_hint(error, "poe help %s lists them", verb->name);
  }
  return POE_E_USAGE;
}

/* Is `text` one of "a|b|c"? */
static bool cli_is_choice(const char *choices, const char *text) {
  size_t length = strlen(text);
  for (const char *at = choices; at != NULL; at = strchr(at, '|'), at = at == NULL ? NULL : at + 1) {
    if (strncmp(at, text, length) == 0 && (at[length] == '|' || at[length] == '\0')) {
      return true;
    }
  }
  return false;
}

/* "a,b,c" into items; commas inside brackets do not separate. */
static poe_status cli_split(cli_call *call, const char *text, poei_option_value *value, poe_error *error) {
  const char **items = NULL;
  size_t n = 0, first = 0;
  int depth = 0;
  for (size_t i = 0;; i++) {
    char c = text[i];
    depth += (c == '(' || c == '[') - (c == ')' || c == ']');
    if (c == '\0' || (c == ',' && depth == 0)) {
      char *item = cli_own(call, poei_strndup(text + first, i - first));
      const char **grown = item == NULL ? NULL : poei_realloc(items, n + 1, sizeof *items);
      if (grown == NULL) {
        poei_free(items);
        return poe_error_set(error, POE_E_MEMORY, "out of memory");
      }
      items = grown;
      items[n++] = item;
      first = i + 1;
    }
    if (c == '\0') {
      break;
    }
  }
  value->items = items;
  value->n_items = n;
  return POE_OK;
}

/* "name.param=value" for an argument of a constructor, "name=value" for a constant. */
static poe_status cli_override(cli_call *call, const char *text, poe_error *error) {
  const char *equals = strchr(text, '='), *dot = strchr(text, '.');
  dot = dot == NULL || equals == NULL || dot > equals ? equals : dot; /* no parameter */
  bool lacks_param = dot != equals && equals == dot + 1;
  if (equals == NULL || dot == text || lacks_param || equals[1] == '\0') {
    return poe_error_set(error, POE_E_USAGE, "--set takes name.param=value or name=value, not '%s'", text);
  }
  char *name = cli_own(call, poei_strndup(text, (size_t)(dot - text)));
  char *param = cli_own(call, dot == equals ? poei_strdup("") : poei_strndup(dot + 1, (size_t)(equals - dot - 1)));
  poei_override *grown = poei_realloc(call->overrides, call->n_overrides + 1, sizeof *grown);
  if (grown != NULL) {
    call->overrides = grown;
  }
  if (name == NULL || param == NULL || grown == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  grown[call->n_overrides++] = (poei_override){name, param, equals + 1};
  return POE_OK;
}

static poe_status cli_add_option(cli_call *call, const poei_option *option, const char *text, poe_error *error) {
  char flag[64];
  if (option->type == POEI_OPTION_FLAG && strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
    return poe_error_set(error, POE_E_USAGE, "--%s is given or not, without '%s'",
                         cli_flag_text(option->name, flag, sizeof flag), text);
  }
  if (option->type == POEI_OPTION_CHOICE && !cli_is_choice(option->choices, text)) {
    poe_error_set(error, POE_E_USAGE, "--%s cannot be '%s'", cli_flag_text(option->name, flag, sizeof flag), text);
    poe_error_hint(error, "one of %s", option->choices);
    return POE_E_USAGE;
  }
  if (strcmp(option->name, "set") == 0) {
    return cli_override(call, text, error);
  }
  if (poei_option_given(&call->action, option->name) != NULL) {
    return poe_error_set(error, POE_E_USAGE, "--%s is given twice", cli_flag_text(option->name, flag, sizeof flag));
  }
  poei_option_value *options = poei_realloc((void *)call->action.options, call->action.n_options + 1, sizeof *options);
  if (options == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  call->action.options = options;
  poei_option_value *value = &options[call->action.n_options];
  *value = (poei_option_value){.name = option->name, .text = text};
  if (option->type == POEI_OPTION_NAMES) {
    poe_status status = cli_split(call, text, value, error);
    if (status != POE_OK) {
      return status;
    }
  }
  call->action.n_options++;
  return POE_OK;
}

/* One flag at argv[*i]: "--name value", "--name=value", "--flag", "-o value". */
static poe_status cli_flag(cli_call *call, int argc, char **argv, int *i, poe_error *error) {
  const char *word = argv[*i];
  char name[64];
  if (strcmp(word, "-o") == 0) {
    word = "--output";
  }
  const char *equals = strchr(word, '=');
  size_t length = equals == NULL ? strlen(word) : (size_t)(equals - word);
  if (word[1] != '-' || length < 3 || length - 2 >= sizeof name) {
    return cli_option_unknown(call->verb, word + 1, error);
  }
  memcpy(name, word + 2, length - 2);
  name[length - 2] = '\0';
  for (char *c = name; *c != '\0'; c++) {
    *c = *c == '-' ? '_' : *c;
  }
  const poei_option *option = poei_option_find(call->verb, name);
  if (option == NULL) {
    return cli_option_unknown(call->verb, cli_flag_text(name, name, sizeof name), error);
  }
  const char *text = equals == NULL ? NULL : equals + 1;
  if (option->type == POEI_OPTION_FLAG) {
    text = text == NULL ? "true" : text;
  } else if (text == NULL) {
    if (*i + 1 >= argc) {
      return poe_error_set(error, POE_E_USAGE, "--%s needs a value: %s", cli_flag_text(name, name, sizeof name),
                           option->doc);
    }
    text = argv[++*i];
  }
  return cli_add_option(call, option, text, error);
}

static poe_status cli_words(cli_call *call, size_t n, const char **words, poe_error *error) {
  const poei_verb *verb = call->verb;
  if (n == 0) {
    poe_error_set(error, POE_E_USAGE, "%s needs a file", verb->name);
    poe_error_hint(error, "poe %s FILE%s", verb->name, verb->max_targets > 0 ? " [TARGET]" : "");
    return POE_E_USAGE;
  }
  bool plain = strcmp(verb->name, "info") == 0; /* its target is the file */
  call->file = words[0];
  size_t targets = plain ? n : n - 1;
  if (targets > verb->max_targets || targets < verb->min_targets) {
    poe_error_set(error, POE_E_USAGE, "%s takes %zu to %zu targets, %zu were given", verb->name, verb->min_targets,
                  verb->max_targets, targets);
    poe_error_hint(error, "quote an expression: poe %s FILE 'a * b'", verb->name);
    return POE_E_USAGE;
  }
  call->action.targets = poei_copy(words + (plain ? 0 : 1), targets, sizeof *words);
  call->action.n_targets = targets;
  return call->action.targets == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
}

poe_status cli_parse(int argc, char **argv, cli_call *call, poe_error *error) {
  memset(call, 0, sizeof *call);
  call->verb = poei_verb_find(argv[1]);
  if (call->verb == NULL) {
    return cli_verb_unknown(argv[1], error);
  }
  call->action.verb = call->verb;
  const char *words[CLI_MAX_WORDS];
  size_t n = 0;
  bool flags = true;
  poe_status status = POE_OK;
  for (int i = 2; status == POE_OK && i < argc; i++) {
    if (flags && strcmp(argv[i], "--") == 0) {
      flags = false;
    } else if (flags && argv[i][0] == '-' && argv[i][1] != '\0') {
      status = cli_flag(call, argc, argv, &i, error);
    } else if (n == CLI_MAX_WORDS) {
      status = poe_error_set(error, POE_E_USAGE, "too many arguments");
    } else {
      words[n++] = argv[i];
    }
  }
  return status == POE_OK ? cli_words(call, n, words, error) : status;
}
