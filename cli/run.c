/* `poe run`: the actions of a file in order, their results in one folder with a summary and a manifest that says from
 * what they were made. A failed gate does not stop the others; anything else does.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "formats/text_file.h"

/* "dir/name.poe" -> "dir/name.out", on the heap. */
static char *run_folder(const cli_call *call) {
  const char *wanted = poei_option_text(&call->action, "output");
  if (wanted != NULL) {
    return poei_strdup(wanted);
  }
  size_t length = strlen(call->file);
  if (length > 4 && strcmp(call->file + length - 4, ".poe") == 0) {
    length -= 4;
  }
  return poei_format("%.*s.out", (int)length, call->file);
}

/* The action with its input files relative to the .poe file rather than to the working directory, and with options of
 * the command line that every verb has. */
typedef struct run_action {
  poei_action action;
  poei_option_value *options;
  char **paths;
} run_action;

static void run_action_free(run_action *copy) {
  for (size_t i = 0; copy->paths != NULL && i < copy->action.n_options; i++) {
    poei_free(copy->paths[i]);
  }
  poei_free(copy->paths);
  poei_free(copy->options);
}

static poe_status run_action_copy(const poei_session *session, const poei_action *action, run_action *copy,
                                  poe_error *error) {
  const char *file = poei_program_path(session->program), *slash = strrchr(file, '/');
  copy->action = *action;
  copy->options = poei_copy(action->options, action->n_options, sizeof *copy->options);
  copy->paths = poei_calloc(action->n_options, sizeof *copy->paths);
  if (copy->options == NULL || copy->paths == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  copy->action.options = copy->options;
  for (size_t i = 0; i < action->n_options; i++) {
    const poei_option *option = poei_option_find(action->verb, action->options[i].name);
    bool input = option != NULL && option->type == POEI_OPTION_FILE && strcmp(option->name, "output") != 0;
    if (input && slash != NULL && action->options[i].text[0] != '/') {
      copy->paths[i] = poei_format("%.*s/%s", (int)(slash - file), file, action->options[i].text);
      if (copy->paths[i] == NULL) {
        return poe_error_set(error, POE_E_MEMORY, "out of memory");
      }
      copy->options[i].text = copy->paths[i];
    }
  }
  return POE_OK;
}

static poe_status run_one(poei_session *session, const poei_action *action, bool quiet, json_t *results,
                          poe_error *error) {
  run_action copy = {0};
  poe_status status = run_action_copy(session, action, &copy, error);
  json_t *result = NULL;
  if (status == POE_OK) {
    status = cli_perform(session, &copy.action, &result, error);
  }
  cli_monitor_end();
  json_t *targets = json_array();
  for (size_t i = 0; i < action->n_targets; i++) {
    json_array_append_new(targets, json_string(action->targets[i]));
  }
  json_t *entry =
      json_pack("{s:s,s:o,s:s}", "verb", action->verb->name, "targets", targets, "status", poe_status_name(status));
  if (result != NULL) {
    if (!quiet) {
      cli_print(stdout, action->verb, result);
      fputc('\n', stdout);
      fflush(stdout);
    }
    json_object_set_new(entry, "result", result);
  }
  if (status != POE_OK) {
    json_object_set_new(entry, "error", json_string(error->message));
  }
  json_array_append_new(results, entry);
  run_action_free(&copy);
  return status;
}

static poe_status run_manifest(const poei_session *session, const char *folder, poe_error *error) {
  const poei_program *program = session->program;
  json_t *inputs = json_array();
  poe_status status = POE_OK;
  for (size_t i = 0; status == POE_OK && i < poei_program_file_count(program); i++) {
    char hex[65];
    const char *path = poei_program_file(program, i);
    status = poei_sha256_file(path, hex, error);
    if (status == POE_OK) {
      json_array_append_new(inputs, json_pack("{s:s,s:s}", "file", path, "sha256", hex));
    }
  }
  const char *text = poei_program_source(program, poei_program_path(program));
  json_t *manifest =
      json_pack("{s:s,s:s,s:s,s:I,s:I,s:b,s:o,s:{s:s,s:s,s:s}}", "poe", POE_VERSION, "file", poei_program_path(program),
                "text", text == NULL ? "" : text, "seed", (json_int_t)session->seed, "threads",
                (json_int_t)poei_pool_threads(session->pool), "no_rewrite", (int)session->no_rewrite, "inputs", inputs,
                "build", "compiler", __VERSION__, "blas_core", poei_linalg_core_name(), "jansson", JANSSON_VERSION);
  char *path = poei_format("%s/manifest.json", folder);
  if (status == POE_OK && (manifest == NULL || path == NULL)) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (status == POE_OK) {
    status = poei_json_write(path, manifest, error);
  }
  json_decref(manifest);
  poei_free(path);
  return status;
}

static poe_status run_all(poei_session *session, const cli_call *call, const char *folder, json_t *results,
                          poe_error *error) {
  bool quiet = poei_option_flag(&call->action, "json");
  const char *gate = poei_option_text(&call->action, "gate");
  poe_status worst = POE_OK;
  poe_error gate_error = {0};
  for (size_t i = 0; i < poei_program_action_count(session->program); i++) {
    poe_status status = run_one(session, poei_program_action(session->program, i), quiet, results, error);
    if (status == POE_E_GATE) {
      worst = gate != NULL && strcmp(gate, "report") == 0 ? worst : status;
      gate_error = *error;
    } else if (status != POE_OK) {
      return status;
    }
  }
  if (worst == POE_E_GATE) {
    *error = gate_error;
  }
  poe_status status = run_manifest(session, folder, error);
  return status != POE_OK ? status : worst;
}

poe_status cli_run(poei_session *session, const cli_call *call, json_t **result, poe_error *error) {
  if (poei_program_action_count(session->program) == 0) {
    poe_error_set(error, POE_E_USAGE, "%s has no actions to run", call->file);
    poe_error_hint(error, "add one, such as sample(target), or name a verb: poe sample %s", call->file);
    return POE_E_USAGE;
  }
  char *folder = run_folder(call);
  if (folder == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
    poe_status status = poe_error_set(error, POE_E_FILE, "cannot create the folder %s: %s", folder, strerror(errno));
    poei_free(folder);
    return status;
  }
  session->out_dir = folder;
  json_t *results = json_array();
  poe_status status = run_all(session, call, folder, results, error);
  json_t *summary = json_pack("{s:s,s:s,s:s,s:O}", "file", call->file, "folder", folder, "status",
                              poe_status_name(status), "actions", results);
  char *path = poei_format("%s/summary.json", folder);
  if (summary != NULL && path != NULL && json_array_size(results) > 0) {
    poe_error write_error = {0};
    poe_status written = poei_json_write(path, summary, &write_error);
    if (written != POE_OK && status == POE_OK) {
      status = written;
      *error = write_error;
    }
  }
  *result = summary;
  json_decref(results);
  poei_free(path);
  session->out_dir = NULL;
  poei_free(folder);
  return status;
}
