/* compare: draws of every target, seen by every expert, by the judge, and against the nearest reference images.
 *
 * The order is: the experts' thresholds from their own draws (each taken with the base), then the targets one by one.
 * Draws are kept only as what is measured on them and the few images of the grid.
 */
#include "evaluate/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "evaluate/compare_internal.h"
#include "formats/text_file.h"

/* ---- experts ---- */

static poe_status compare_expert_open(compare_job *job, compare_expert *expert, const char *name, poe_error *error) {
  expert->name = name;
  expert->label = job->judge == NULL ? SIZE_MAX : poei_judge_find(job->judge, name);
  job->any_label = job->any_label || expert->label != SIZE_MAX;
  return poei_solve_values(job->session, name, &expert->solved, error);
}

int compare_ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The q-quantile of sorted values[n], interpolated; -inf stays -inf. */
static double compare_quantile(const double *values, size_t n, double q) {
  double at = q * (double)(n - 1);
  size_t below = (size_t)at;
  double above = below + 1 < n ? values[below + 1] : values[below];
  double step = isfinite(above - values[below]) ? (at - (double)below) * (above - values[below]) : 0.0;
  return values[below] + step;
}

/* Where this expert's own log-density lies under draws of base * expert: its q-quantile becomes the threshold. */
static poe_status compare_threshold(compare_job *job, compare_expert *expert, poe_error *error) {
  char *text = job->base == NULL ? poei_strdup(expert->name) : poei_format("(%s) * (%s)", job->base, expert->name);
  if (text == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  compare_draws draws = {0};
  poe_status status = compare_draw(job, text, &draws, error);
  double *logp = status == POE_OK ? poei_alloc(draws.n, sizeof *logp) : NULL;
  if (status == POE_OK && logp == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (status == POE_OK) {
    status = poei_full_values(job->session, &expert->solved, draws.n, draws.full, logp, error);
  }
  if (status == POE_OK) {
    qsort(logp, draws.n, sizeof *logp, compare_ascending);
    expert->threshold = compare_quantile(logp, draws.n, job->quantile);
    compare_gate(job, text, &draws.gate);
  }
  poei_free(logp);
  compare_draws_free(&draws);
  poei_free(text);
  return status;
}

/* ---- opening ---- */

/* The derived variable that is shown and judged: the one named by `view`, else the first that is saved. */
static poe_status compare_view(compare_job *job, const poei_action *action, poe_error *error) {
  const char *name = poei_option_text(action, "view");
  size_t n_save = 0;
  const char *const *save = poei_option_items(action, "save", &n_save);
  if (name == NULL && n_save > 0) {
    name = save[0];
  }
  if (name == NULL) {
    if (job->judge != NULL || job->reference != NULL) {
      poe_error_set(error, POE_E_USAGE, "a judge or a reference needs to know what it looks at");
      poe_error_hint(error, "name the variable, such as view=image");
      return POE_E_USAGE;
    }
    return POE_OK;
  }
  const poei_variable *variable = poei_program_variable_find(job->session->program, name);
  if (variable != NULL) {
    job->view = (poei_derived){.name = variable->name, .ndim = variable->ndim, .dim = variable->dim};
    memcpy(job->view.shape, variable->shape, sizeof job->view.shape);
    job->view_offset = variable->offset;
  } else {
    poe_status status = poei_program_derived(job->session->program, name, &job->view, error);
    if (status != POE_OK) {
      return status;
    }
  }
  job->has_view = true;
  size_t judged = job->judge == NULL ? job->view.dim : poei_judge_in_dim(job->judge);
  size_t referred = job->reference == NULL ? job->view.dim : poei_reference_dim(job->reference);
  if (judged != job->view.dim || referred != job->view.dim) {
    return poe_error_set(error, POE_E_SHAPE, "'%s' has %zu numbers, the %s expects %zu", name, job->view.dim,
                         judged != job->view.dim ? "judge" : "reference", judged != job->view.dim ? judged : referred);
  }
  return POE_OK;
}

/* The experts to compare by. */
static poe_status compare_by(compare_job *job, const poei_action *action, poe_error *error) {
  const char *const *by = poei_option_items(action, "by", &job->n_experts);
  if (job->n_experts == 0) {
    poe_error_set(error, POE_E_USAGE, "compare needs the experts to compare by");
    poe_error_hint(error, "by=[expert, ...] in a file, --by expert,... on the command line");
    return POE_E_USAGE;
  }
  job->experts = poei_calloc(job->n_experts, sizeof *job->experts);
  if (job->experts == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = POE_OK;
  for (size_t e = 0; status == POE_OK && e < job->n_experts; e++) {
    status = compare_expert_open(job, &job->experts[e], by[e], error);
  }
  return status;
}

/* Everything that can be known to fail does so here, before anything is drawn. */
static poe_status compare_open(compare_job *job, const poei_action *action, poe_error *error) {
  const char *judge = poei_option_text(action, "judge"), *reference = poei_option_text(action, "reference");
  size_t n_save = 0;
  const char *const *save = poei_option_items(action, "save", &n_save);
  job->action = action;
  job->total = poei_program_dim(job->session->program);
  job->base = poei_option_text(action, "base");
  poe_status status = poei_run_options_read(job->session, action, &job->run, error);
  if (status == POE_OK) {
    status = poei_option_number(action, "quantile", 0.0, 1.0, &job->quantile, error);
  }
  if (status == POE_OK) {
    status = poei_option_integer(action, "grid", 1, 256, &job->columns, error);
  }
  if (status == POE_OK && judge != NULL) {
    status = poei_judge_open(judge, &job->judge, error);
  }
  if (status == POE_OK && reference != NULL) {
    status = poei_reference_open(reference, &job->reference, error);
  }
  if (status == POE_OK) {
    status = compare_view(job, action, error);
  }
  if (status == POE_OK) {
    status = poei_save_check(job->session, NULL, n_save, save, error);
  }
  if (status == POE_OK) {
    status = compare_by(job, action, error);
  }
  return status == POE_OK ? compare_grid_open(job, error) : status;
}

static void compare_close(compare_job *job) {
  for (size_t e = 0; job->experts != NULL && e < job->n_experts; e++) {
    poei_solved_free(&job->experts[e].solved);
  }
  poei_free(job->experts);
  poei_judge_close(job->judge);
  poei_reference_close(job->reference);
  for (size_t b = 0; b < job->n_bands; b++) {
    poei_free((char *)job->bands[b].caption);
    poei_free((double *)job->bands[b].images);
  }
  poei_free(job->bands);
  poei_free(job->grid);
}

/* ---- the verb ---- */

static json_t *compare_heldout(const compare_job *job) {
  size_t n = 0;
  const double *heldout = poei_reference_heldout(job->reference, &n);
  double *sorted = poei_copy(heldout, n, sizeof *sorted);
  json_t *out = sorted == NULL ? NULL : compare_distances(n, sorted);
  poei_free(sorted);
  return out;
}

bool compare_adds_base(const compare_job *job) {
  bool listed = job->base == NULL;
  for (size_t t = 0; t < job->action->n_targets; t++) {
    listed = listed || strcmp(job->action->targets[t], job->base) == 0;
  }
  return !listed;
}

/* The base is shown first, as what chance gives, unless it is already among the targets. */
static poe_status compare_targets(compare_job *job, json_t *targets, poe_error *error) {
  poe_status status = compare_adds_base(job) ? compare_measure(job, job->base, targets, error) : POE_OK;
  for (size_t t = 0; status == POE_OK && t < job->action->n_targets; t++) {
    status = compare_measure(job, job->action->targets[t], targets, error);
  }
  return status;
}

/* The experts that the judge has no label of that name for: it says nothing of them. */
static poe_status compare_unjudged(const compare_job *job, json_t *out, poe_error *error) {
  json_t *experts = json_array(), *labels = json_array();
  poe_status status = poei_json_set(POE_OK, out, "unjudged", experts, error);
  status = poei_json_set(status, out, "judge_labels", labels, error);
  for (size_t e = 0; e < job->n_experts; e++) {
    if (job->experts[e].label == SIZE_MAX) {
      status = poei_json_append(status, experts, json_string(job->experts[e].name), error);
    }
  }
  for (size_t k = 0; k < poei_judge_label_count(job->judge); k++) {
    status = poei_json_append(status, labels, json_string(poei_judge_label(job->judge, k)), error);
  }
  return status;
}

/* Thresholds, targets, images: everything goes into *out, which the caller releases. */
static poe_status compare_run(compare_job *job, json_t *out, poe_error *error) {
  json_t *experts = json_array(), *thresholds = json_object(), *targets = json_object();
  poe_status status = poei_json_set(POE_OK, out, "experts", experts, error);
  status = poei_json_set(status, out, "thresholds", thresholds, error);
  status = poei_json_set(status, out, "targets", targets, error);
  for (size_t e = 0; status == POE_OK && e < job->n_experts; e++) {
    compare_expert *expert = &job->experts[e];
    status = compare_threshold(job, expert, error);
    status = poei_json_append(status, experts, json_string(expert->name), error);
    status = poei_json_set(status, thresholds, expert->name, poei_json_number(expert->threshold), error);
  }
  if (status == POE_OK) {
    status = compare_targets(job, targets, error);
  }
  if (status == POE_OK && job->grid != NULL) {
    status = compare_grid_write(job, error);
    status = poei_json_set(status, out, "grid", json_string(job->grid), error);
  }
  status = poei_json_set(status, out, "quantile", poei_json_number(job->quantile), error);
  status = poei_json_set(status, out, "gate_passed", json_boolean(!job->gate_failed), error);
  if (job->base != NULL) {
    status = poei_json_set(status, out, "base", json_string(job->base), error);
  }
  if (status == POE_OK && job->reference != NULL) {
    status = poei_json_set(status, out, "heldout_nearest", compare_heldout(job), error);
  }
  return status == POE_OK && job->judge != NULL ? compare_unjudged(job, out, error) : status;
}

poe_status poei_evaluate_compare(poei_session *session, const poei_action *action, json_t **result, poe_error *error) {
  compare_job job = {.session = session};
  json_t *out = json_object();
  poe_status status = compare_open(&job, action, error);
  if (status == POE_OK) {
    status = compare_run(&job, out, error);
  }
  const char *mode = poei_option_text(action, "gate");
  if (status == POE_OK) {
    *result = json_incref(out);
  }
  if (status == POE_OK && job.gate_failed && (mode == NULL || strcmp(mode, "report") != 0)) {
    status = poe_error_set(error, POE_E_GATE, "the gate failed for '%s': %s", job.gate_target, job.gate_reason);
  }
  json_decref(out);
  compare_close(&job);
  return status;
}
