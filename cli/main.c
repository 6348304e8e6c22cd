/* The poe command: read the line, open a session, perform the verb, print. */
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "core/alloc.h"
#include "evaluate/compare.h"
#include "formats/text_file.h"

void cli_print_error(const poei_program *program, const poe_error *error) {
  poei_diagnostic diagnostic = {POEI_ERROR, *error};
  const char *source = program == NULL ? NULL : poei_program_source(program, error->file);
  char *text = poei_diagnostic_text(&diagnostic, source, cli_colour(stderr));
  fputs(text == NULL ? error->message : text, stderr);
  fputs(text == NULL || text[0] == '\0' || text[strlen(text) - 1] != '\n' ? "\n" : "", stderr);
  poei_free(text);
}

void cli_print_diagnostics(const poei_program *program, const poei_diagnostics *diagnostics) {
  for (size_t i = 0; i < diagnostics->n; i++) {
    const poei_diagnostic *d = &diagnostics->items[i];
    const char *source = program == NULL ? NULL : poei_program_source(program, d->error.file);
    char *file = NULL;
    size_t size = 0;
    if (source == NULL && d->error.file[0] != '\0' &&
        poei_file_read(d->error.file, 1u << 24, &file, &size, NULL) == POE_OK) {
      source = file;
    }
    char *text = poei_diagnostic_text(d, source, cli_colour(stderr));
    fputs(text == NULL ? d->error.message : text, stderr);
    fputs(text == NULL || text[0] == '\0' || text[strlen(text) - 1] != '\n' ? "\n" : "", stderr);
    poei_free(text);
    poei_free(file);
  }
}

poe_status cli_perform(poei_session *session, const poei_action *action, json_t **result, poe_error *error) {
  static const struct {
    const char *name;
    poe_status (*perform)(poei_session *, const poei_action *, json_t **, poe_error *);
  } verbs[] = {{"explain", poei_answer_explain},  {"score", poei_answer_score},   {"logz", poei_answer_logz},
               {"sample", poei_answer_sample},    {"verify", poei_answer_verify}, {"bench", poei_answer_bench},
               {"compare", poei_evaluate_compare}};
  for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
    if (strcmp(verbs[i].name, action->verb->name) == 0) {
      double start = poei_clock();
      poe_status status = verbs[i].perform(session, action, result, error);
      if (*result != NULL) {
        json_object_set_new(*result, "seconds", json_real(poei_clock() - start));
      }
      return status;
    }
  }
  return poe_error_set(error, POE_E_USAGE, "'%s' is not an action", action->verb->name);
}

static json_t *main_diagnostics(const poei_diagnostics *diagnostics) {
  json_t *list = json_array();
  for (size_t i = 0; i < diagnostics->n; i++) {
    const poe_error *e = &diagnostics->items[i].error;
    json_array_append_new(list,
                          json_pack("{s:s,s:i,s:i,s:s,s:s,s:s}", "file", e->file, "line", e->line, "column", e->column,
                                    "severity", diagnostics->items[i].severity == POEI_ERROR ? "error" : "warning",
                                    "message", e->message, "hint", e->hint));
  }
  return list;
}

/* `check`: parse, check, and build every density, so that parameters are checked too. */
static poe_status main_check(poei_session *session, poei_diagnostics *diagnostics) {
  poe_status status = POE_OK;
  for (size_t i = 0; i < poei_program_density_count(session->program); i++) {
    poei_target target;
    poe_status built =
        poei_program_target(session->program, poei_program_density(session->program, i), &target, diagnostics);
    if (built == POE_OK) {
      poei_target_free(&target);
    } else if (status == POE_OK) {
      status = built;
    }
  }
  return status;
}

static void main_output(const cli_call *call, json_t *result) {
  if (poei_option_flag(&call->action, "json")) {
    json_dumpf(result, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    fputc('\n', stdout);
  } else {
    cli_print(stdout, call->verb, result);
  }
}

static int main_fail(const poei_program *program, const poe_error *error, poe_status status) {
  cli_monitor_end();
  cli_print_error(program, error);
  return poe_status_exit_code(status);
}

static poe_status main_session(const cli_call *call, poei_session *session, poe_error *error) {
  size_t seed = 0, threads = 0;
  poe_status status = poei_option_integer(&call->action, "seed", 0, SIZE_MAX, &seed, error);
  if (status == POE_OK) {
    status = poei_option_integer(&call->action, "threads", 0, 4096, &threads, error);
  }
  if (status != POE_OK) {
    return status;
  }
  session->seed = seed;
  session->no_rewrite = poei_option_flag(&call->action, "no_rewrite");
  session->no_cache = poei_option_flag(&call->action, "no_cache");
  session->monitor = cli_monitor(poei_option_flag(&call->action, "quiet"));
  session->pool = poei_pool_create(threads == 0 ? poei_pool_default_threads() : threads);
  return session->pool == NULL ? poe_error_set(error, POE_E_MEMORY, "no worker threads") : POE_OK;
}

/* Everything that needs a program. */
static int main_program(const cli_call *call, poei_session *session) {
  const char *verb = call->verb->name;
  poei_diagnostics *diagnostics = session->diagnostics;
  poe_status status =
      poei_program_load(call->file, NULL, call->n_overrides, call->overrides, diagnostics, &session->program);
  if (status == POE_OK && strcmp(verb, "check") == 0) {
    status = main_check(session, diagnostics);
  }
  if (strcmp(verb, "check") == 0) {
    json_t *result = json_pack("{s:s,s:b,s:o}", "target", call->file, "ok", status == POE_OK, "diagnostics",
                               main_diagnostics(diagnostics));
    if (!poei_option_flag(&call->action, "json")) {
      cli_print_diagnostics(session->program, diagnostics);
    }
    main_output(call, result);
    json_decref(result);
    return poe_status_exit_code(status);
  }
  if (status != POE_OK) {
    cli_print_diagnostics(NULL, diagnostics);
    return poe_status_exit_code(status);
  }
  if (strcmp(verb, "fmt") == 0) {
    char *text = poei_program_print(session->program);
    fputs(text == NULL ? "" : text, stdout);
    poei_free(text);
    return 0;
  }
  json_t *result = NULL;
  poe_error error = {0};
  status = strcmp(verb, "run") == 0 ? cli_run(session, call, &result, &error)
                                    : cli_perform(session, &call->action, &result, &error);
  cli_monitor_end();
  bool told = diagnostics->errors > 0; /* the error is among the diagnostics */
  if (diagnostics->n > 0 && (told || !poei_option_flag(&call->action, "quiet"))) {
    cli_print_diagnostics(session->program, diagnostics);
  }
  if (result != NULL) {
    main_output(call, result);
    json_decref(result);
  }
  return status == POE_OK || told ? poe_status_exit_code(status) : main_fail(session->program, &error, status);
}

static int main_info(const cli_call *call) {
  json_t *result = NULL;
  poe_error error = {0};
  poe_status status = poei_answer_info(call->file, &result, &error);
  if (status != POE_OK) {
    return main_fail(NULL, &error, status);
  }
  main_output(call, result);
  json_decref(result);
  return 0;
}

static int main_call(const cli_call *call) {
  if (strcmp(call->verb->name, "info") == 0) {
    return main_info(call);
  }
  poei_diagnostics diagnostics = {0};
  poei_session session = {.diagnostics = &diagnostics};
  poe_error error = {0};
  poe_status status = main_session(call, &session, &error);
  int code = status == POE_OK ? main_program(call, &session) : main_fail(NULL, &error, status);
  poei_program_free(session.program);
  poei_pool_destroy(session.pool);
  poei_diagnostics_free(&diagnostics);
  return code;
}

int main(int argc, char **argv) {
  setlocale(LC_ALL, "C");
  if (argc < 2) {
    cli_help(stderr, NULL);
    return 2;
  }
  if (strcmp(argv[1], "--version") == 0) {
    puts("poe " POE_VERSION);
    return 0;
  }
  bool help = strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
  if (help && cli_help(stdout, argc > 2 ? argv[2] : NULL)) {
    return 0;
  }
  if (!help && argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0) &&
      cli_help(stdout, argv[1])) {
    return 0;
  }
  cli_call call = {0};
  poe_error error = {0};
  poe_status status;
  if (help) {
    status = poe_error_set(&error, POE_E_USAGE, "there is no help on '%s'", argv[2]);
    poe_error_hint(&error, "poe help lists the verbs, poe help experts the families");
  } else {
    status = cli_parse(argc, argv, &call, &error);
  }
  int code = status == POE_OK ? main_call(&call) : main_fail(NULL, &error, status);
  cli_call_free(&call);
  return code;
}
