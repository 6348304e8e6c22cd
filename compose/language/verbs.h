/* The verbs and their options: one table for the actions of the language, the flags of the command and the help.
 *
 * An option is written `save=[image]` in a file and `--save image` on the command line (underscores become dashes).
 */
#ifndef POE_COMPOSE_LANGUAGE_VERBS_H
#define POE_COMPOSE_LANGUAGE_VERBS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum poei_option_type {
  POEI_OPTION_FLAG,    /* true or false; on the command line present = true          */
  POEI_OPTION_INTEGER, /* a whole number >= 0                                        */
  POEI_OPTION_NUMBER,
  POEI_OPTION_TEXT,   /* a string or a bare word                                    */
  POEI_OPTION_FILE,   /* a path, relative to the .poe file in a file, to the working directory on the command line */
  POEI_OPTION_CHOICE, /* one of `choices`, "a|b|c"                                  */
  POEI_OPTION_NAMES   /* a list of names or expressions: [a, b] or a,b              */
} poei_option_type;

typedef struct poei_option {
  const char *name; /* with underscores */
  poei_option_type type;
  const char *choices;  /* CHOICE only     */
  const char *fallback; /* default as text, NULL = none */
  const char *doc;
} poei_option;

typedef struct poei_verb {
  const char *name;
  const char *doc; /* one line                                          */
  bool action;     /* may stand in a file                               */
  size_t min_targets, max_targets;
  const poei_option *options; /* ends with a zeroed entry                          */
} poei_verb;

/* All verbs, ending with NULL; options that every verb has (seed, threads, json, quiet, ...) are in
 * poei_common_options. */
extern const poei_verb *const poei_verbs[];
extern const poei_option poei_common_options[];
const poei_verb *poei_verb_find(const char *name);
/* The option of a verb, or a common one; NULL when there is none. Dashes and underscores are the same. */
const poei_option *poei_option_find(const poei_verb *verb, const char *name);
/* The word of `words[n]` nearest to `word` by edit distance, NULL when none is near enough to suggest. */
const char *poei_nearest_word(const char *word, size_t n, const char *const *words);

#endif
