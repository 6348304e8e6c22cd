/* compare: one target's draws and everything that is measured on them. Fractions have the standard error of a mean of
 * indicators over their effective sample size, with half a success and half a failure added, so that 0 and 1 have one
 * too.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "evaluate/compare_internal.h"
#include "formats/text_file.h"

/* ---- draws ---- */

void compare_draws_free(compare_draws *draws) {
  poei_sampling_free(&draws->sampling);
  poei_solved_free(&draws->solved);
  poei_free(draws->full);
  memset(draws, 0, sizeof *draws);
}

poe_status compare_draw(const compare_job *job, const char *expression, compare_draws *draws, poe_error *error) {
  poe_status status = poei_solve(job->session, expression, &draws->solved, error);
  if (status != POE_OK) {
    return status;
  }
  status = poei_draw(job->session, draws->solved.plan, poei_option_text(job->action, "method"), &job->run, NULL, 0,
                     &draws->sampling, error);
  poei_target_place_numbers(&draws->solved.target, status, error);
  if (status == POE_OK && draws->sampling.draws.interrupted) {
    status = poe_error_set(error, POE_E_INTERRUPTED, "interrupted while drawing '%s'", expression);
  }
  if (status == POE_OK) {
    status = poei_gate_run(&draws->sampling.draws, draws->sampling.exact, draws->sampling.biased, &draws->gate, error);
  }
  if (status == POE_OK) {
    draws->n = draws->sampling.draws.chains * draws->sampling.draws.draws;
    draws->full = poei_alloc(draws->n * job->total, sizeof *draws->full);
    if (draws->full == NULL) {
      status = poe_error_set(error, POE_E_MEMORY, "out of memory for %zu draws", draws->n);
    } else {
      poei_expand_rows(job->session->program, &draws->solved.target, draws->n, draws->sampling.draws.x, draws->full);
    }
  }
  if (status != POE_OK) {
    compare_draws_free(draws);
  }
  return status;
}

/* ---- fractions and means with errors ---- */

/* Effective number of independent draws behind the mean of values[n]; n when it cannot be told (a constant). */
static poe_status measure_ess(const poei_draws *draws, const double *values, double *ess, poe_error *error) {
  poei_series series = {values, draws->chains, draws->draws, draws->draws, 1};
  double n = (double)(draws->chains * draws->draws), found = NAN;
  poe_status status = poei_ess_mean(series, &found, error);
  *ess = isfinite(found) ? fmin(found, n) : n;
  return status;
}

/* `value` under `key` and its standard error under `key`_se. */
static poe_status measure_put(json_t *out, const char *key, double value, double se, poe_error *error) {
  char *key_se = poei_format("%s_se", key);
  if (key_se == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = poei_json_set(POE_OK, out, key, poei_json_number(value), error);
  status = poei_json_set(status, out, key_se, poei_json_number(se), error);
  poei_free(key_se);
  return status;
}

static poe_status measure_fraction(json_t *out, const char *key, const poei_draws *draws, const double *indicator,
                                   poe_error *error) {
  size_t n = draws->chains * draws->draws;
  double sum = 0.0, ess = 0.0;
  for (size_t i = 0; i < n; i++) {
    sum += indicator[i];
  }
  poe_status status = measure_ess(draws, indicator, &ess, error);
  if (status != POE_OK) {
    return status;
  }
  double smoothed = (sum / (double)n * ess + 0.5) / (ess + 1.0);
  return measure_put(out, key, sum / (double)n, sqrt(smoothed * (1.0 - smoothed) / (ess + 1.0)), error);
}

static poe_status measure_mean(json_t *out, const char *key, const poei_draws *draws, const double *values,
                               poe_error *error) {
  size_t n = draws->chains * draws->draws;
  double mean = 0.0, square = 0.0, ess = 0.0;
  for (size_t i = 0; i < n; i++) {
    mean += values[i] / (double)n;
  }
  for (size_t i = 0; i < n; i++) {
    square += (values[i] - mean) * (values[i] - mean) / (double)n;
  }
  poe_status status = measure_ess(draws, values, &ess, error);
  return status == POE_OK ? measure_put(out, key, mean, sqrt(square / ess), error) : status;
}

/* ---- by the experts ---- */

/* Working memory for numbers of all draws. */
typedef struct measure_space {
  double *logp, *one, *all; /* [n] */
} measure_space;

static poe_status measure_space_open(measure_space *space, size_t n, poe_error *error) {
  *space = (measure_space){poei_alloc(n, sizeof(double)), poei_alloc(n, sizeof(double)), poei_alloc(n, sizeof(double))};
  if (space->logp == NULL || space->one == NULL || space->all == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for %zu draws", n);
  }
  for (size_t i = 0; i < n; i++) {
    space->all[i] = 1.0;
  }
  return POE_OK;
}

static void measure_space_close(measure_space *space) {
  poei_free(space->logp);
  poei_free(space->one);
  poei_free(space->all);
}

static poe_status measure_expert(const compare_job *job, const compare_expert *expert, const compare_draws *draws,
                                 measure_space *space, json_t *satisfaction, json_t *mean, poe_error *error) {
  poe_status status = poei_full_values(job->session, &expert->solved, draws->n, draws->full, space->logp, error);
  if (status != POE_OK) {
    return status;
  }
  for (size_t i = 0; i < draws->n; i++) {
    space->one[i] = space->logp[i] >= expert->threshold;
    space->all[i] *= space->one[i];
  }
  status = measure_fraction(satisfaction, expert->name, &draws->sampling.draws, space->one, error);
  return status == POE_OK ? measure_mean(mean, expert->name, &draws->sampling.draws, space->logp, error) : status;
}

static poe_status measure_experts(const compare_job *job, const compare_draws *draws, json_t *entry, poe_error *error) {
  json_t *satisfaction = json_object(), *mean = json_object();
  poe_status status = poei_json_set(POE_OK, entry, "satisfaction", satisfaction, error);
  status = poei_json_set(status, entry, "mean_log_density", mean, error);
  measure_space space = {0};
  if (status == POE_OK) {
    status = measure_space_open(&space, draws->n, error);
  }
  for (size_t e = 0; status == POE_OK && e < job->n_experts; e++) {
    status = measure_expert(job, &job->experts[e], draws, &space, satisfaction, mean, error);
  }
  if (status == POE_OK) {
    status = measure_fraction(entry, "all", &draws->sampling.draws, space.all, error);
  }
  measure_space_close(&space);
  return status;
}

/* ---- by the judge ---- */

/* Is this label one of the experts compared by? */
static bool measure_asked(const compare_job *job, size_t label) {
  for (size_t e = 0; e < job->n_experts; e++) {
    if (job->experts[e].label == label) {
      return true;
    }
  }
  return false;
}

static poe_status measure_count(json_t *judged, json_t *counts, const char *label, const poei_draws *draws,
                                const double *found, poe_error *error) {
  double count = 0.0;
  for (size_t i = 0; i < draws->chains * draws->draws; i++) {
    count += found[i];
  }
  poe_status status = measure_fraction(judged, label, draws, found, error);
  return poei_json_set(status, counts, label, json_integer((json_int_t)count), error);
}

/* found[n, labels]. "all" is of the experts whose labels the judge knows; it is not there when it knows none. */
static poe_status measure_labels(const compare_job *job, const compare_draws *draws, const unsigned char *found,
                                 measure_space *space, json_t *judged, json_t *counts, poe_error *error) {
  size_t labels = poei_judge_label_count(job->judge);
  poe_status status = POE_OK;
  for (size_t k = 0; status == POE_OK && k < labels; k++) {
    bool asked = measure_asked(job, k);
    for (size_t i = 0; i < draws->n; i++) {
      space->one[i] = found[i * labels + k];
      space->all[i] *= asked ? space->one[i] : 1.0;
    }
    status = measure_count(judged, counts, poei_judge_label(job->judge, k), &draws->sampling.draws, space->one, error);
  }
  if (status == POE_OK && job->any_label) {
    status = measure_count(judged, counts, "all", &draws->sampling.draws, space->all, error);
  }
  return status;
}

static poe_status measure_judge(const compare_job *job, const compare_draws *draws, const double *view, json_t *entry,
                                poe_error *error) {
  json_t *judged = json_object(), *counts = json_object();
  poe_status status = poei_json_set(POE_OK, entry, "judge", judged, error);
  status = poei_json_set(status, entry, "judge_counts", counts, error);
  unsigned char *found = poei_alloc(draws->n, poei_judge_label_count(job->judge));
  measure_space space = {0};
  if (status == POE_OK && found == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory for %zu verdicts", draws->n);
  }
  if (status == POE_OK) {
    status = measure_space_open(&space, draws->n, error);
  }
  if (status == POE_OK) {
    status = poei_judge_rows(job->session, job->judge, draws->n, view, found, error);
  }
  if (status == POE_OK) {
    status = measure_labels(job, draws, found, &space, judged, counts, error);
  }
  poei_free(found);
  measure_space_close(&space);
  return status;
}

json_t *compare_distances(size_t n, double *distances) {
  qsort(distances, n, sizeof *distances, compare_ascending);
  return json_pack("{s:o,s:o,s:o}", "q5", poei_json_number(distances[n / 20]), "median",
                   poei_json_number(distances[n / 2]), "q95", poei_json_number(distances[n - 1 - n / 20]));
}

static poe_status measure_nearest(const compare_job *job, const compare_draws *draws, const double *view, json_t *entry,
                                  poe_error *error) {
  double *distance = poei_alloc(draws->n, sizeof *distance);
  poe_status status = distance == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                       : poei_reference_nearest(job->reference, draws->n, view, distance, error);
  if (status == POE_OK) {
    status = poei_json_set(status, entry, "nearest", compare_distances(draws->n, distance), error);
  }
  poei_free(distance);
  return status;
}

/* ---- one target ---- */

/* view[n, dim] of every draw. */
static poe_status measure_view(const compare_job *job, const compare_draws *draws, double *view, poe_error *error) {
  if (job->view.map != NULL) {
    return poei_full_derived(job->session, &job->view, draws->n, draws->full, view, error);
  }
  for (size_t i = 0; i < draws->n; i++) {
    memcpy(view + i * job->view.dim, draws->full + i * job->total + job->view_offset, job->view.dim * sizeof *view);
  }
  return POE_OK;
}

static poe_status measure_seen(compare_job *job, const compare_draws *draws, json_t *entry, poe_error *error) {
  double *view = poei_alloc(draws->n, job->view.dim * sizeof *view);
  if (view == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for %zu images", draws->n);
  }
  poe_status status = measure_view(job, draws, view, error);
  if (status == POE_OK && job->judge != NULL) {
    status = measure_judge(job, draws, view, entry, error);
  }
  if (status == POE_OK && job->reference != NULL) {
    status = measure_nearest(job, draws, view, entry, error);
  }
  if (status == POE_OK) {
    status = compare_grid_keep(job, draws, view, error);
  }
  poei_free(view);
  return status;
}

/* `run` keeps the draws of every named target beside its other results. */
static poe_status measure_save(compare_job *job, const compare_draws *draws, json_t *entry, poe_error *error) {
  const char *name = draws->solved.target.name;
  if (job->session->out_dir == NULL || !poei_program_density_named(job->session->program, name)) {
    return POE_OK;
  }
  size_t n_save = 0;
  const char *const *save = poei_option_items(job->action, "save", &n_save);
  char *file = poei_format("%s.npz", name);
  char *path = file == NULL ? NULL : poei_session_path(job->session, file);
  poe_status status = path == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                   : poei_save_draws(job->session, &draws->solved.target, &draws->sampling, path,
                                                     n_save, save, &draws->gate, error);
  if (status == POE_OK) {
    status = poei_json_set(status, entry, "file", json_string(path), error);
  }
  poei_free(file);
  poei_free(path);
  return status;
}

void compare_gate(compare_job *job, const char *target, const poei_gate *gate) {
  if (!gate->passed && !job->gate_failed) {
    job->gate_failed = true;
    snprintf(job->gate_target, sizeof job->gate_target, "%s", target);
    snprintf(job->gate_reason, sizeof job->gate_reason, "%s", gate->reasons[0]);
  }
}

static poe_status measure_all(compare_job *job, const compare_draws *draws, json_t *entry, poe_error *error) {
  const poei_sampling *sampling = &draws->sampling;
  poe_status status = poei_json_set(POE_OK, entry, "gate", poei_gate_json(&draws->gate), error);
  if (sampling->has_log_z) {
    status = poei_json_set(status, entry, "log_z", poei_json_number(sampling->log_z.log_z), error);
    status = poei_json_set(status, entry, "log_z_se", poei_json_number(sampling->log_z.std_error), error);
    status = poei_settled_json(status, entry, &draws->solved, &sampling->log_z, "draws", error);
  }
  compare_gate(job, draws->solved.target.name, &draws->gate);
  if (status == POE_OK) {
    status = measure_experts(job, draws, entry, error);
  }
  if (status == POE_OK && job->has_view) {
    status = measure_seen(job, draws, entry, error);
  }
  return status == POE_OK ? measure_save(job, draws, entry, error) : status;
}

poe_status compare_measure(compare_job *job, const char *expression, json_t *targets, poe_error *error) {
  compare_draws draws = {0};
  poe_status status = compare_draw(job, expression, &draws, error);
  if (status != POE_OK) {
    return status;
  }
  json_t *entry = json_pack("{s:s,s:b,s:I}", "method", draws.sampling.method, "exact", (int)draws.sampling.exact,
                            "draws", (json_int_t)draws.n);
  status = poei_json_made(entry, error);
  if (status == POE_OK) {
    status = measure_all(job, &draws, entry, error);
  }
  status = poei_json_set(status, targets, draws.solved.target.name, entry, error);
  compare_draws_free(&draws);
  return status;
}
