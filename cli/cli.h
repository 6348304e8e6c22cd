/* The poe command: one file per concern over the one table of verbs and options (compose/language/verbs.h). */
#ifndef POE_CLI_CLI_H
#define POE_CLI_CLI_H

#include <stdio.h>

#include "answer/session.h"

/* What was typed. Its action has the options given; the rest of the arrays back it. */
typedef struct cli_call {
  const poei_verb *verb;
  const char *file;
  poei_action action;
  size_t n_overrides;
  poei_override *overrides;
  char **owned; /* texts on the heap */
  size_t n_owned;
} cli_call;

/* Reads argv[1..]; on failure an error with a hint. */
poe_status cli_parse(int argc, char **argv, cli_call *call, poe_error *error);
void cli_call_free(cli_call *call);

/* An option's name as it is typed: "step_size" -> "step-size", into text[size] (which may be `name`); returns text. */
const char *cli_flag_text(const char *name, char *text, size_t size);

/* Help: `topic` NULL (all verbs), a verb, "experts" or a family. False when there is no such topic. */
bool cli_help(FILE *out, const char *topic);
/* The topic that is nearest to a misspelt one, NULL when none is near. */
const char *cli_help_nearest(const char *topic);

/* Performs a verb on an open session. */
poe_status cli_perform(poei_session *session, const poei_action *action, json_t **result, poe_error *error);
/* `poe run`: every action of the file, its results in a folder. */
poe_status cli_run(poei_session *session, const cli_call *call, json_t **result, poe_error *error);

/* A result for a person. */
void cli_print(FILE *out, const poei_verb *verb, const json_t *result);
void cli_print_explain(FILE *out, const json_t *result);
void cli_print_info(FILE *out, const json_t *result);
void cli_print_moments(FILE *out, const json_t *moments); /* of `marginals`; NULL is allowed */
/* Errors and warnings, with the source line and carets where there is one. */
void cli_print_diagnostics(const poei_program *program, const poei_diagnostics *diagnostics);
void cli_print_error(const poei_program *program, const poe_error *error);

/* Progress on a terminal, and a flag that SIGINT and SIGTERM set. */
poei_monitor cli_monitor(bool quiet);
void cli_monitor_end(void);
bool cli_colour(FILE *stream);
/* Columns of the terminal behind a stream, by COLUMNS or by asking it; 100 where there is none. */
size_t cli_width(FILE *stream);

#endif
