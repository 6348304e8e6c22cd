/* The verb sample: draws, their summary, and how far to trust them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "answer/session.h"
#include "core/alloc.h"
#include "formats/tensor_file.h"
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
    status = poe_error_set(error, POE_E_SHAPE, "%s: starts have %zu columns, the target has %zu free coordinates", path,
                           columns, dim);
    poei_free(*init);
    *init = NULL;
  }
  return status;
}

static json_t *sample_row(size_t index, const poei_summary *s) {
  return json_pack("{s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "index", (json_int_t)index, "mean",
                   poei_json_number(s->mean), "sd", poei_json_number(s->sd), "mcse_mean",
                   poei_json_number(s->mcse_mean), "q5", poei_json_number(s->q5), "median", poei_json_number(s->median),
                   "q95", poei_json_number(s->q95), "rhat", poei_json_number(s->rhat), "ess_bulk",
                   poei_json_number(s->ess_bulk), "ess_tail", poei_json_number(s->ess_tail));
}

/* {variable: [{index, mean, ...}]} over the free coordinates; index counts the variable's elements from 0. */
static poe_status sample_summary(poei_session *session, const poei_target *target, const poei_draws *draws,
                                 json_t **out, poe_error *error) {
  json_t *summary = json_object();
  poe_status status = POE_OK;
  for (size_t j = 0; status == POE_OK && j < target->dim; j++) {
    const poei_variable *variable = NULL;
    for (size_t v = 0; v < poei_program_variable_count(session->program); v++) {
      const poei_variable *candidate = poei_program_variable(session->program, v);
      if (target->coordinates[j] - candidate->offset < candidate->dim) {
        variable = candidate;
      }
    }
    poei_series series = {draws->x + j, draws->chains, draws->draws, draws->draws * draws->dim, draws->dim};
    poei_summary row;
    status = poei_summarise(series, &row, error);
    if (status == POE_OK && variable != NULL) {
      json_t *list = json_object_get(summary, variable->name);
      if (list == NULL) {
        list = json_array();
        json_object_set_new(summary, variable->name, list);
      }
      json_array_append_new(list, sample_row(target->coordinates[j] - variable->offset, &row));
    }
  }
  if (status != POE_OK) {
    json_decref(summary);
    return status;
  }
  *out = summary;
  return POE_OK;
}

json_t *poei_gate_json(const poei_gate *gate) {
  json_t *reasons = json_array();
  for (size_t i = 0; i < gate->n_reasons; i++) {
    json_array_append_new(reasons, json_string(gate->reasons[i]));
  }
  return json_pack("{s:b,s:o}", "passed", (int)gate->passed, "reasons", reasons);
}

static poe_status sample_report(poei_session *session, const poei_solved *solved, const poei_sampling *sampling,
                                const poei_gate *gate, const char *file, json_t **result, poe_error *error) {
  const poei_draws *draws = &sampling->draws;
  json_t *summary = NULL;
  poe_status status = sample_summary(session, &solved->target, draws, &summary, error);
  if (status != POE_OK) {
    return status;
  }
  json_t *out =
      json_pack("{s:s,s:s,s:b,s:o,s:o,s:I,s:I,s:I,s:I}", "target", solved->target.name, "method", sampling->method,
                "exact", (int)sampling->exact, "gate", poei_gate_json(gate), "summary", summary, "chains",
                (json_int_t)draws->chains, "draws", (json_int_t)draws->draws, "gradient_evaluations",
                (json_int_t)draws->gradient_evaluations, "density_evaluations", (json_int_t)draws->density_evaluations);
  if (sampling->has_log_z) {
    json_object_set_new(out, "log_z", poei_json_number(sampling->log_z.log_z));
    json_object_set_new(out, "log_z_std_error", poei_json_number(sampling->log_z.std_error));
    json_object_set_new(out, "log_z_exact", json_boolean(sampling->log_z.exact));
  }
  if (draws->interrupted) {
    json_object_set_new(out, "interrupted", json_true());
  }
  if (file != NULL) {
    json_object_set_new(out, "file", json_string(file));
  }
  *result = out;
  return out == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
}

/* Draws saved where -o says; `run` saves always, as <target>.npz in its folder. */
static poe_status sample_save(poei_session *session, const poei_action *action, const poei_solved *solved,
                              const poei_sampling *sampling, const poei_gate *gate, char **file, poe_error *error) {
  const char *wanted = poei_option_text(action, "output");
  char *name = NULL;
  *file = NULL;
  if (wanted == NULL && session->out_dir == NULL) {
    return POE_OK;
  }
  if (wanted == NULL) {
    name = poei_format("%s.npz", poei_program_density_named(session->program, solved->target.name) ? solved->target.name
                                                                                                   : "sample");
  }
  char *path = poei_session_path(session, wanted == NULL ? name : wanted);
  poei_free(name);
  if (path == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  size_t n_save = 0;
  const char *const *save = poei_option_items(action, "save", &n_save);
  poe_status status = poei_save_draws(session, &solved->target, sampling, path, n_save, save, gate, error);
  if (status != POE_OK) {
    poei_free(path);
    return status;
  }
  *file = path;
  return POE_OK;
}

static poe_status sample_finish(poei_session *session, const poei_action *action, const poei_solved *solved,
                                const poei_sampling *sampling, json_t **result, poe_error *error) {
  poei_gate gate = {0};
  poe_status status = poei_gate_run(&sampling->draws, sampling->exact, sampling->biased, &gate, error);
  char *file = NULL;
  if (status == POE_OK) {
    status = sample_save(session, action, solved, sampling, &gate, &file, error);
  }
  if (status == POE_OK) {
    status = sample_report(session, solved, sampling, &gate, file, result, error);
  }
  poei_free(file);
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

poe_status poei_answer_sample(poei_session *session, const poei_action *action, json_t **result, poe_error *error) {
  poei_run_options options;
  poe_status status = poei_run_options_read(session, action, &options, error);
  poei_solved solved;
  if (status == POE_OK) {
    status = poei_solve(session, action->n_targets > 0 ? action->targets[0] : NULL, &solved, error);
  }
  if (status != POE_OK) {
    return status;
  }
  double *init = NULL;
  size_t n_init = 0;
  status = sample_init(action, solved.target.dim, &init, &n_init, error);
  poei_sampling sampling = {0};
  if (status == POE_OK) {
    status =
        poei_draw(session, solved.plan, poei_option_text(action, "method"), &options, init, n_init, &sampling, error);
  }
  if (status == POE_OK && sampling.draws.draws == 0) {
    status = poe_error_set(error, POE_E_INTERRUPTED, "interrupted before the first draw");
  } else if (status == POE_OK) {
    status = sample_finish(session, action, &solved, &sampling, result, error);
  }
  poei_sampling_free(&sampling);
  poei_free(init);
  poei_solved_free(&solved);
  return status;
}
