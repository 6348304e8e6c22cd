/* The verb sample: draws, their summary, and how far to trust them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "answer/session.h"
#include "core/alloc.h"
#include "formats/text_file.h"

/* Starting points, one per row, from a csv, npy or npz file; n x dim in the user's space. */
static poe_status sample_init(const poei_action *action, size_t dim, double **init, size_t *n, poe_error *error) {
  const char *path = poei_option_text(action, "init");
  *init = NULL;
  *n = 0;
  if (path == NULL || path[0] == '\0') {
    return POE_OK;
  }
  size_t columns = 0;
  poe_status status = poei_points_read(path, init, n, &columns, error);
  if (status == POE_OK && (columns != dim || *n == 0)) {
    status = poe_error_set(error, POE_E_SHAPE, "%s: %zu starts of %zu columns, the target has %zu free coordinates",
                           path, *n, columns, dim);
    poe_error_hint(error, "one row per start, one column per free coordinate");
    poei_free(*init);
    *init = NULL;
  }
  return status;
}

static json_t *sample_row(const char *name, size_t index, const poei_summary *s) {
  return json_pack("{s:s,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "name", name, "index", (json_int_t)index, "mean",
                   poei_json_number(s->mean), "sd", poei_json_number(s->sd), "mcse_mean",
                   poei_json_number(s->mcse_mean), "q5", poei_json_number(s->q5), "median", poei_json_number(s->median),
                   "q95", poei_json_number(s->q95), "rhat", poei_json_number(s->rhat), "ess_bulk",
                   poei_json_number(s->ess_bulk), "ess_tail", poei_json_number(s->ess_tail));
}

static const poei_variable *sample_variable(const poei_program *program, size_t coordinate) {
  for (size_t v = 0; v < poei_program_variable_count(program); v++) {
    const poei_variable *variable = poei_program_variable(program, v);
    if (coordinate - variable->offset < variable->dim) {
      return variable;
    }
  }
  return NULL;
}

/* {variable: [{index, mean, ...}]} over the free coordinates; index counts the variable's elements from 0. */
static poe_status sample_summary(const poei_session *session, const poei_target *target, const poei_draws *draws,
                                 json_t *summary, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t j = 0; status == POE_OK && j < target->dim; j++) {
    const poei_variable *variable = sample_variable(session->program, target->coordinates[j]);
    poei_series series = {draws->x + j, draws->chains, draws->draws, draws->draws * draws->dim, draws->dim};
    poei_summary row;
    status = poei_summarise(series, &row, error);
    if (status == POE_OK && json_object_get(summary, variable->name) == NULL) {
      status = poei_json_set(status, summary, variable->name, json_array(), error);
    }
    if (status == POE_OK) {
      json_t *list = json_object_get(summary, variable->name);
      char name[POEI_NAME_SIZE];
      poei_names_text(&target->names, j, name, sizeof name);
      status = poei_json_append(status, list, sample_row(name, target->coordinates[j] - variable->offset, &row), error);
    }
  }
  return status;
}

json_t *poei_gate_json(const poei_gate *gate) {
  json_t *reasons = json_array();
  for (size_t i = 0; i < gate->n_reasons; i++) {
    if (json_array_append_new(reasons, json_string(gate->reasons[i])) != 0) {
      json_decref(reasons);
      return NULL;
    }
  }
  return json_pack("{s:b,s:o}", "passed", (int)gate->passed, "reasons", reasons);
}

/* What independent proposals are worth: {from, ess, draws, largest_share, tail_index}. */
static json_t *sample_weights(const poei_sampling *sampling) {
  const poei_weights *w = &sampling->weights;
  return json_pack("{s:s,s:I,s:o,s:o,s:o}", "from", sampling->proposal, "draws", (json_int_t)w->n, "ess",
                   poei_json_number(w->ess), "largest_share", poei_json_number(w->largest), "tail_index",
                   poei_json_number(w->tail_index));
}

/* Mean acceptance of what was proposed; NaN where nothing is. */
static double sample_acceptance(const poei_draws *draws) {
  double sum = 0.0, count = 0.0;
  for (size_t i = 0; i < draws->chains * draws->draws; i++) {
    if (!isnan(draws->acceptance[i])) {
      sum += draws->acceptance[i];
      count += 1.0;
    }
  }
  return count > 0.0 ? sum / count : (double)NAN;
}

/* A gate that passed fails where the proposals' weights say that they miss part of the target. */
static void sample_judge_weights(const poei_sampling *sampling, poei_gate *gate) {
  const poei_weights *w = &sampling->weights;
  if (!sampling->has_weights || poei_weights_trusted(w) || gate->n_reasons == POEI_GATE_MAX_REASONS) {
    return;
  }
  gate->passed = false;
  snprintf(gate->reasons[gate->n_reasons++], POEI_GATE_REASON_SIZE,
           "the proposals miss part of the target: one of %zu has %.2g %% of all weight, tail index %.2f (limit %.1f); "
           "take another expert (--proposal), or method smc",
           w->n, 100.0 * w->largest, w->tail_index, POEI_WEIGHTS_INDEX);
}

static poe_status sample_report(const poei_session *session, const poei_solved *solved, const poei_sampling *sampling,
                                const poei_gate *gate, const char *file, json_t **result, poe_error *error) {
  const poei_draws *draws = &sampling->draws;
  json_t *summary = json_object();
  poe_status status = sample_summary(session, &solved->target, draws, summary, error);
  if (status != POE_OK) {
    json_decref(summary);
    return status;
  }
  json_t *out =
      json_pack("{s:s,s:s,s:b,s:o,s:o,s:I,s:I,s:I,s:I}", "target", solved->target.name, "method", sampling->method,
                "exact", (int)sampling->exact, "gate", poei_gate_json(gate), "summary", summary, "chains",
                (json_int_t)draws->chains, "draws", (json_int_t)draws->draws, "gradient_evaluations",
                (json_int_t)draws->gradient_evaluations, "density_evaluations", (json_int_t)draws->density_evaluations);
  status = poei_json_made(out, error);
  if (sampling->has_log_z) {
    status = poei_json_set(status, out, "log_z", poei_json_number(sampling->log_z.log_z), error);
    status = poei_json_set(status, out, "log_z_std_error", poei_json_number(sampling->log_z.std_error), error);
    status = poei_json_set(status, out, "log_z_exact", json_boolean(sampling->log_z.exact), error);
    status = poei_settled_json(status, out, solved, &sampling->log_z, "draws", error);
  }
  double acceptance = sample_acceptance(draws);
  if (!isnan(acceptance)) {
    status = poei_json_set(status, out, "acceptance", poei_json_number(acceptance), error);
  }
  if (sampling->has_weights) {
    status = poei_json_set(status, out, "proposal", sample_weights(sampling), error);
  }
  if (session->prune > 0.0) {
    status = poei_json_set(status, out, "discarded_mass", poei_json_number(solved->plan->discarded), error);
  }
  if (draws->interrupted) {
    status = poei_json_set(status, out, "interrupted", json_true(), error);
  }
  if (file != NULL) {
    status = poei_json_set(status, out, "file", json_string(file), error);
  }
  if (status != POE_OK) {
    json_decref(out);
    return status;
  }
  *result = out;
  return POE_OK;
}

/* Where draws go, on the heap: where -o says; `run` saves always, as <target>.npz in its folder. *path NULL: nowhere.
 */
static poe_status sample_path(const poei_session *session, const poei_action *action, const poei_target *target,
                              char **path, poe_error *error) {
  const char *wanted = poei_option_text(action, "output");
  *path = NULL;
  if (wanted == NULL && session->out_dir == NULL) {
    return POE_OK;
  }
  bool named = poei_program_density_named(session->program, target->name);
  char *name = wanted != NULL ? poei_strdup(wanted) : poei_format("%s.npz", named ? target->name : "sample");
  *path = name == NULL ? NULL : poei_session_path(session, name);
  poei_free(name);
  return *path == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
}

static poe_status sample_finish(poei_session *session, const poei_action *action, const poei_solved *solved,
                                const poei_sampling *sampling, const char *path, json_t **result, poe_error *error) {
  size_t n_save = 0;
  const char *const *save = poei_option_items(action, "save", &n_save);
  poei_gate gate = {0};
  poe_status status = poei_gate_run(&sampling->draws, sampling->exact, sampling->biased, &gate, error);
  if (status == POE_OK) {
    sample_judge_weights(sampling, &gate);
  }
  if (status == POE_OK && path != NULL) {
    status = poei_save_draws(session, &solved->target, sampling, path, n_save, save, &gate, error);
  }
  if (status == POE_OK) {
    status = sample_report(session, solved, sampling, &gate, path, result, error);
  }
  if (status != POE_OK) {
    return status;
  }
  if (sampling->draws.interrupted) {
    return poe_error_set(error, POE_E_INTERRUPTED, "interrupted: %zu draws of each chain were kept",
                         sampling->draws.draws);
  }
  const char *mode = poei_option_text(action, "gate");
  if (!gate.passed && (mode == NULL || strcmp(mode, "report") != 0)) {
    return poe_error_set(error, POE_E_GATE, "the gate failed: %s", gate.reasons[0]);
  }
  return POE_OK;
}

/* What can be known to fail does so before anything is planned: the folder of `run` is there. */
static poe_status sample_check(poei_session *session, const poei_action *action, poe_error *error) {
  const char *wanted = poei_option_text(action, "output");
  size_t n_save = 0;
  const char *const *save = poei_option_items(action, "save", &n_save);
  char *path = wanted == NULL ? NULL : poei_session_path(session, wanted);
  if (wanted != NULL && path == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = poei_save_check(session, path, n_save, save, error);
  poei_free(path);
  return status;
}

poe_status poei_answer_sample(poei_session *session, const poei_action *action, json_t **result, poe_error *error) {
  poei_run_options options;
  poe_status status = poei_run_options_read(session, action, &options, error);
  poei_solved solved;
  if (status == POE_OK) {
    status = sample_check(session, action, error);
  }
  if (status == POE_OK) {
    status = poei_solve_action(session, action, &solved, error);
  }
  if (status != POE_OK) {
    return status;
  }
  double *init = NULL;
  char *path = NULL;
  size_t n_init = 0;
  poei_sampling sampling = {0};
  status = sample_init(action, solved.target.dim, &init, &n_init, error);
  if (status == POE_OK) {
    status = sample_path(session, action, &solved.target, &path, error);
  }
  const char *proposed = poei_option_text(action, "proposal");
  poei_plan *around = NULL;
  if (status == POE_OK && proposed != NULL) {
    status = poei_propose(session, &solved, proposed, &around, error);
  }
  if (status == POE_OK) {
    status = poei_draw(session, around != NULL ? around : solved.plan, poei_option_text(action, "method"), &options,
                       init, n_init, &sampling, error);
    if (status == POE_E_CAPABILITY) {
      poei_target_place(&solved.target, error);
    }
    poei_target_place_numbers(&solved.target, status, error);
  }
  if (status == POE_OK) {
    status = sample_finish(session, action, &solved, &sampling, path, result, error);
  }
  poei_sampling_free(&sampling);
  poei_plan_destroy(around);
  poei_free(init);
  poei_free(path);
  poei_solved_free(&solved);
  return status;
}
