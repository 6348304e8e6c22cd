/* `poe run`: the actions of a file in order, their results in one folder with a summary and a manifest that says from
 * what they were made. A failed gate does not stop the others; anything else does.
 */
#include <errno.h>
#include <stdint.h>
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

/* The action with the settings it brings along: seed, table_bytes, no_rewrite, no_cache. The others are the command's.
 */
static poe_status run_perform(const poei_session *session, const poei_action *action, json_t **result,
                              poe_error *error) {
  poei_session own = *session;
  size_t seed = 0;
  poe_status status = poei_option_integer(action, "seed", 0, SIZE_MAX, &seed, error);
  size_t table_bytes = session->table_bytes;
  if (status == POE_OK && poei_option_given(action, "table_bytes") != NULL) {
    status = poei_option_bytes(action, "table_bytes", &table_bytes, error);
  }
  if (status != POE_OK) {
    return status;
  }
  own.table_bytes = table_bytes;
  own.seed = poei_option_given(action, "seed") != NULL ? seed : session->seed;
  own.no_rewrite = session->no_rewrite || poei_option_flag(action, "no_rewrite");
  own.no_cache = session->no_cache || poei_option_flag(action, "no_cache");
  return cli_perform(&own, action, result, error);
}

/* {verb, targets, status, result, error} of an action. `result` (NULL: none) is taken over. */
static poe_status run_entry(const poei_action *action, poe_status outcome, const char *message, json_t *result,
                            json_t *results, poe_error *error) {
  json_t *targets = json_array(), *entry = json_object();
  poe_status status = poei_json_append(POE_OK, results, entry, error);
  status = poei_json_set(status, entry, "verb", json_string(action->verb->name), error);
  status = poei_json_set(status, entry, "targets", targets, error);
  for (size_t i = 0; i < action->n_targets; i++) {
    status = poei_json_append(status, targets, json_string(action->targets[i]), error);
  }
  status = poei_json_set(status, entry, "status", json_string(poe_status_name(outcome)), error);
  if (result != NULL) {
    status = poei_json_set(status, entry, "result", result, error);
  }
  if (outcome != POE_OK) {
    status = poei_json_set(status, entry, "error", json_string(message), error);
  }
  return status;
}

static poe_status run_one(const poei_session *session, const poei_action *action, bool quiet, json_t *results,
                          poe_error *error) {
  json_t *result = NULL;
  poe_status status = run_perform(session, action, &result, error);
  cli_monitor_end();
  if (result != NULL && !quiet) {
    cli_print(stdout, action->verb, result);
    fputc('\n', stdout);
    fflush(stdout);
  }
  poe_error entry_error = {0};
  poe_status kept = run_entry(action, status, error->message, result, results, &entry_error);
  if (kept != POE_OK && (status == POE_OK || status == POE_E_GATE)) {
    status = kept;
    *error = entry_error;
  }
  return status;
}

static poe_status run_inputs(const poei_program *program, json_t *inputs, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t i = 0; status == POE_OK && i < poei_program_file_count(program); i++) {
    char hex[65];
    const char *path = poei_program_file(program, i);
    status = poei_sha256_file(path, hex, error);
    if (status == POE_OK) {
      status = poei_json_append(status, inputs, json_pack("{s:s,s:s}", "file", path, "sha256", hex), error);
    }
  }
  return status;
}

/* Seeds above what JSON's integers hold are texts. */
static json_t *run_seed(uint64_t seed) {
  char text[32];
  snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
  return seed <= INT64_MAX ? json_integer((json_int_t)seed) : json_string(text);
}

static poe_status run_manifest(const poei_session *session, const char *folder, poe_error *error) {
  const poei_program *program = session->program;
  const char *text = poei_program_source(program, poei_program_path(program));
  json_t *inputs = json_array();
  json_t *manifest =
      json_pack("{s:s,s:s,s:s,s:o,s:I,s:b,s:o,s:{s:s,s:s,s:s}}", "poe", POE_VERSION, "file", poei_program_path(program),
                "text", text == NULL ? "" : text, "seed", run_seed(session->seed), "threads",
                (json_int_t)poei_pool_threads(session->pool), "no_rewrite", (int)session->no_rewrite, "inputs", inputs,
                "build", "compiler", __VERSION__, "blas_core", poei_linalg_core_name(), "jansson", JANSSON_VERSION);
  char *path = poei_format("%s/manifest.json", folder);
  poe_status status =
      path == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : poei_json_made(manifest, error);
  if (status == POE_OK) {
    status = run_inputs(program, inputs, error);
  }
  if (status == POE_OK) {
    status = poei_json_write(path, manifest, error);
  }
  json_decref(manifest);
  poei_free(path);
  return status;
}

/* The actions in order. A failed gate is the outcome unless `report`; any other failure ends the run. */
static poe_status run_actions(poei_session *session, bool quiet, bool report, json_t *results, poe_error *error) {
  poe_status outcome = POE_OK;
  poe_error first = {0};
  for (size_t i = 0; i < poei_program_action_count(session->program); i++) {
    poe_status status = run_one(session, poei_program_action(session->program, i), quiet, results, error);
    if (status != POE_OK && status != POE_E_GATE) {
      return status;
    }
    if (status == POE_E_GATE && !report && outcome == POE_OK) {
      outcome = status;
      first = *error;
    }
  }
  *error = first;
  return outcome;
}

static poe_status run_summary(const cli_call *call, const char *folder, poe_status outcome, json_t *results,
                              json_t **result, poe_error *error) {
  char *path = poei_format("%s/summary.json", folder);
  *result = json_pack("{s:s,s:s,s:s,s:O}", "file", call->file, "folder", folder, "status", poe_status_name(outcome),
                      "actions", results);
  poe_status status =
      path == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : poei_json_made(*result, error);
  if (status == POE_OK) {
    status = poei_json_write(path, *result, error);
  }
  poei_free(path);
  return status;
}

/* Actions, then the files that say what came of them and from what: those are written whatever happened. */
static poe_status run_all(poei_session *session, const cli_call *call, const char *folder, json_t **result,
                          poe_error *error) {
  const char *gate = poei_option_text(&call->action, "gate");
  bool quiet = poei_option_flag(&call->action, "json") || poei_option_flag(&call->action, "quiet");
  json_t *results = json_array();
  poe_status status = poei_json_made(results, error);
  if (status == POE_OK) {
    status = run_actions(session, quiet, gate != NULL && strcmp(gate, "report") == 0, results, error);
    poe_error later = {0};
    poe_status written = run_summary(call, folder, status, results, result, &later);
    if (written == POE_OK) {
      written = run_manifest(session, folder, &later);
    }
    if (written != POE_OK && (status == POE_OK || status == POE_E_GATE)) {
      status = written;
      *error = later;
    }
  }
  json_decref(results);
  return status;
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
  poe_status status = run_all(session, call, folder, result, error);
  session->out_dir = NULL;
  poei_free(folder);
  return status;
}
