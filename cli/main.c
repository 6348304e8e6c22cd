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
  } verbs[] = {
      {"explain", poei_answer_explain}, {"score", poei_answer_score},       {"logz", poei_answer_logz},
      {"sample", poei_answer_sample},   {"minimize", poei_answer_minimize}, {"marginals", poei_answer_marginals},
      {"verify", poei_answer_verify},   {"bench", poei_answer_bench},       {"compare", poei_evaluate_compare}};
  for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
    if (strcmp(verbs[i].name, action->verb->name) == 0) {
      double start = poei_clock();
      poe_status status = verbs[i].perform(session, action, result, error);
      if (*result != NULL && json_object_set_new(*result, "seconds", json_real(poei_clock() - start)) != 0) {
        return poe_error_set(error, POE_E_MEMORY, "out of memory");
      }
      return status;
    }
  }
  return poe_error_set(error, POE_E_USAGE, "'%s' is not an action", action->verb->name);
}

/* ---- check ---- */

/* {target, ok, diagnostics[]}; NULL when out of memory. */
static json_t *check_json(const char *file, bool ok, const poei_diagnostics *diagnostics) {
  json_t *list = json_array();
  poe_status status = POE_OK;
  for (size_t i = 0; i < diagnostics->n; i++) {
    const poe_error *e = &diagnostics->items[i].error;
    const char *severity = diagnostics->items[i].severity == POEI_ERROR ? "error" : "warning";
    json_t *item = json_pack("{s:s,s:i,s:i,s:s,s:s,s:s}", "file", e->file, "line", e->line, "column", e->column,
                             "severity", severity, "message", e->message, "hint", e->hint);
    status = poei_json_append(status, list, item, NULL);
  }
  json_t *out = json_pack("{s:s,s:b,s:o}", "target", file, "ok", (int)ok, "diagnostics", list);
  if (status != POE_OK) {
    json_decref(out);
    return NULL;
  }
  return out;
}

/* How much is asked of a density. Every one is built, so that its parameters are checked. */
typedef enum check_level {
  CHECK_BUILT,   /* a building block: it may lack what its users add         */
  CHECK_ALONE,   /* used by nothing: a warning when it cannot be normalised  */
  CHECK_DEFAULT, /* what commands take when no target is named: an error then */
  CHECK_PLANNED  /* an action needs a plan of it: an error when there is none */
} check_level;

/* What is wrong goes among the diagnostics, at the target's expression or else at the action. */
static poe_status check_target(poei_session *session, const char *expression, check_level level,
                               const poei_action *action) {
  poei_target target;
  poe_status status = poei_program_target(session->program, expression, &target, session->diagnostics);
  if (status != POE_OK) {
    return status;
  }
  poei_plan *plan = NULL;
  size_t constants = 0;
  poe_error error = {0};
  if (level == CHECK_ALONE) {
    status = poei_target_check_proper(session, &target, &error);
  } else if (level != CHECK_BUILT) {
    status = poei_plan_outline(session, &target, &plan, &constants, &error);
  }
  bool known = status == POE_E_IMPROPER || status == POE_E_EMPTY || status == POE_E_MEMORY;
  bool wrong = level == CHECK_PLANNED || (level == CHECK_DEFAULT && known);
  if (status != POE_OK) {
    if (error.line == 0) {
      poe_error_at(&error, poei_program_path(session->program), action == NULL ? 0 : action->line,
                   action == NULL ? 0 : action->column, action == NULL ? 0 : action->span);
    }
    poei_diagnostics_add(session->diagnostics, wrong ? POEI_ERROR : POEI_WARNING, &error);
  }
  poei_plan_destroy(plan);
  poei_target_free(&target);
  return wrong ? status : POE_OK;
}

static poe_status check_worse(poe_status first, poe_status next) {
  return first == POE_OK ? next : first;
}

/* Does the verb need a target that can be normalised and drawn? */
static bool check_plans(const poei_verb *verb) {
  static const char *const names[] = {"explain", "logz", "sample", "compare", "verify"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strcmp(names[i], verb->name) == 0) {
      return true;
    }
  }
  return false;
}

static poe_status check_action(poei_session *session, const poei_action *action) {
  check_level level = check_plans(action->verb) ? CHECK_PLANNED : CHECK_BUILT;
  poe_status status = POE_OK;
  for (size_t t = 0; t < action->n_targets; t++) {
    status = check_worse(status, check_target(session, action->targets[t], level, action));
  }
  return action->n_targets > 0 ? status : check_target(session, NULL, level, action);
}

/* What is asked of density i: no more than what the file does with it, or would without a word. */
static check_level check_level_of(const poei_program *program, size_t i) {
  bool last = i + 1 == poei_program_density_count(program), acted = poei_program_density_is_part(program, i);
  size_t actions = poei_program_action_count(program);
  for (size_t a = 0; a < actions; a++) {
    const poei_action *action = poei_program_action(program, a);
    acted = acted || (last && action->n_targets == 0);
    for (size_t t = 0; t < action->n_targets; t++) {
      acted = acted || strcmp(action->targets[t], poei_program_density(program, i)) == 0;
    }
  }
  return last && actions == 0 ? CHECK_DEFAULT : acted ? CHECK_BUILT : CHECK_ALONE;
}

static poe_status main_check(poei_session *session) {
  const poei_program *program = session->program;
  poe_status status = POE_OK;
  for (size_t a = 0; a < poei_program_action_count(program); a++) {
    status = check_worse(status, check_action(session, poei_program_action(program, a)));
  }
  for (size_t i = 0; i < poei_program_density_count(program); i++) {
    status =
        check_worse(status, check_target(session, poei_program_density(program, i), check_level_of(program, i), NULL));
  }
  return status;
}

/* ---- the verbs ---- */

static void main_output(const cli_call *call, json_t *result) {
  if (result == NULL) {
    return;
  }
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
  status = poei_option_bytes(&call->action, "table_bytes", &session->table_bytes, error);
  if (status != POE_OK) {
    return status;
  }
  session->no_rewrite = poei_option_flag(&call->action, "no_rewrite");
  session->no_cache = poei_option_flag(&call->action, "no_cache");
  session->monitor = cli_monitor(poei_option_flag(&call->action, "quiet"));
  session->pool = poei_pool_create(threads == 0 ? poei_pool_default_threads() : threads);
  return session->pool == NULL ? poe_error_set(error, POE_E_MEMORY, "no worker threads") : POE_OK;
}

static int main_check_verb(const cli_call *call, poei_session *session, poe_status loaded) {
  poe_status status = loaded == POE_OK ? main_check(session) : loaded;
  json_t *result = check_json(call->file, status == POE_OK, session->diagnostics);
  if (!poei_option_flag(&call->action, "json")) {
    cli_print_diagnostics(session->program, session->diagnostics);
  }
  main_output(call, result);
  bool made = result != NULL;
  json_decref(result);
  return poe_status_exit_code(made ? status : POE_E_MEMORY);
}

static int main_format(const poei_session *session) {
  char *text = poei_program_print(session->program);
  if (text == NULL) {
    return poe_status_exit_code(POE_E_MEMORY);
  }
  fputs(text, stdout);
  poei_free(text);
  return 0;
}

/* Reads the program, or the network that stands for one. */
static poe_status main_load(const cli_call *call, poei_session *session) {
  const char *evidence = poei_option_text(&call->action, "evidence");
  char *text = NULL;
  poe_error error = {0};
  poe_status status = POE_OK;
  if (poei_uai_named(call->file)) {
    status = poei_uai_program(call->file, evidence, &text, &error);
  } else if (evidence != NULL) {
    status = poe_error_set(&error, POE_E_USAGE, "--evidence is for UAI networks (.uai)");
    poe_error_hint(&error, "in a .poe file write `net given (x[3] = 1)`");
  }
  if (status != POE_OK) {
    poei_diagnostics_add(session->diagnostics, POEI_ERROR, &error);
    return status;
  }
  status =
      poei_program_load(call->file, text, call->n_overrides, call->overrides, session->diagnostics, &session->program);
  poei_free(text);
  return status;
}

/* Everything that needs a program. */
static int main_program(const cli_call *call, poei_session *session) {
  const char *verb = call->verb->name;
  poei_diagnostics *diagnostics = session->diagnostics;
  poe_status status = main_load(call, session);
  if (strcmp(verb, "check") == 0) {
    return main_check_verb(call, session, status);
  }
  if (status != POE_OK) {
    cli_print_diagnostics(NULL, diagnostics);
    return poe_status_exit_code(status);
  }
  if (strcmp(verb, "fmt") == 0) {
    return main_format(session);
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
  main_output(call, result);
  json_decref(result);
  return status == POE_OK || told ? poe_status_exit_code(status) : main_fail(session->program, &error, status);
}

static int main_info(const cli_call *call) {
  json_t *result = NULL;
  poe_error error = {0};
  poe_status status = poei_answer_info(call->file, poei_option_text(&call->action, "description"), &result, &error);
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

/* Is help asked for? *topic: on what, NULL: on everything. */
static bool main_wants_help(int argc, char **argv, const char **topic) {
  *topic = strcmp(argv[1], "help") == 0 && argc > 2 ? argv[2] : NULL;
  if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
    return true;
  }
  for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++) {
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
      *topic = argv[1];
      return true;
    }
  }
  return false;
}

static int main_help(const char *topic) {
  poe_error error = {0};
  if (cli_help(stdout, topic)) {
    return 0;
  }
  poe_error_set(&error, POE_E_USAGE, "there is no help on '%s'", topic);
  const char *nearest = cli_help_nearest(topic);
  if (nearest != NULL) {
    poe_error_hint(&error, "did you mean '%s'?", nearest);
  } else {
    poe_error_hint(&error, "poe help lists the verbs, poe help experts the families");
  }
  return main_fail(NULL, &error, POE_E_USAGE);
}

static int main_line(int argc, char **argv) {
  const char *topic = NULL;
  if (argc < 2) {
    cli_help(stderr, NULL);
    return 2;
  }
  if (strcmp(argv[1], "--version") == 0) {
    puts("poe " POE_VERSION);
    return 0;
  }
  if (main_wants_help(argc, argv, &topic)) {
    return main_help(topic);
  }
  cli_call call = {0};
  poe_error error = {0};
  poe_status status = cli_parse(argc, argv, &call, &error);
  int code = status == POE_OK ? main_call(&call) : main_fail(NULL, &error, status);
  cli_call_free(&call);
  return code;
}

int main(int argc, char **argv) {
  setlocale(LC_ALL, "C");
  int code = main_line(argc, argv);
  if ((fflush(stdout) != 0 || ferror(stdout)) && (code == 0 || code == 1)) {
    fputs("error: the results could not be written to the standard output\n", stderr);
    return poe_status_exit_code(POE_E_FILE);
  }
  return code;
}
