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
static double measure_ess(const poei_draws *draws, const double *values) {
  poei_series series = {values, draws->chains, draws->draws, draws->draws, 1};
  double ess = NAN, n = (double)(draws->chains * draws->draws);
  if (poei_ess_mean(series, &ess, NULL) != POE_OK || !isfinite(ess)) {
    return n;
  }
  return fmin(ess, n);
}

static void measure_fraction(json_t *out, const char *key, const poei_draws *draws, const double *indicator) {
  size_t n = draws->chains * draws->draws;
  double sum = 0.0;
  for (size_t i = 0; i < n; i++) {
    sum += indicator[i];
  }
  double ess = measure_ess(draws, indicator);
  double smoothed = (sum / (double)n * ess + 0.5) / (ess + 1.0);
  char se[96];
  snprintf(se, sizeof se, "%s_se", key);
  json_object_set_new(out, key, poei_json_number(sum / (double)n));
  json_object_set_new(out, se, poei_json_number(sqrt(smoothed * (1.0 - smoothed) / (ess + 1.0))));
}

static void measure_mean(json_t *out, const char *key, const poei_draws *draws, const double *values) {
  size_t n = draws->chains * draws->draws;
  double mean = 0.0, square = 0.0;
  for (size_t i = 0; i < n; i++) {
    mean += values[i] / (double)n;
  }
  for (size_t i = 0; i < n; i++) {
    square += (values[i] - mean) * (values[i] - mean) / (double)n;
  }
  char se[96];
  snprintf(se, sizeof se, "%s_se", key);
  json_object_set_new(out, key, poei_json_number(mean));
  json_object_set_new(out, se, poei_json_number(sqrt(square / measure_ess(draws, values))));
}

/* ---- by the experts ---- */

static poe_status measure_experts(const compare_job *job, const compare_draws *draws, json_t *entry, poe_error *error) {
  json_t *satisfaction = json_object(), *mean = json_object();
  double *logp = poei_alloc(draws->n, sizeof *logp), *one = poei_alloc(draws->n, sizeof *one),
         *all = poei_alloc(draws->n, sizeof *all);
  poe_status status =
      logp == NULL || one == NULL || all == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t i = 0; status == POE_OK && i < draws->n; i++) {
    all[i] = 1.0;
  }
  for (size_t e = 0; status == POE_OK && e < job->n_experts; e++) {
    const compare_expert *expert = &job->experts[e];
    status = compare_expert_values(job, expert, draws->n, draws->full, logp, error);
    for (size_t i = 0; status == POE_OK && i < draws->n; i++) {
      one[i] = logp[i] >= expert->threshold;
      all[i] *= one[i];
    }
    if (status == POE_OK) {
      measure_fraction(satisfaction, expert->name, &draws->sampling.draws, one);
      measure_mean(mean, expert->name, &draws->sampling.draws, logp);
    }
  }
  if (status == POE_OK) {
    json_object_set(entry, "satisfaction", satisfaction);
    measure_fraction(entry, "all", &draws->sampling.draws, all);
    json_object_set(entry, "mean_log_density", mean);
  }
  json_decref(satisfaction);
  json_decref(mean);
  poei_free(logp);
  poei_free(one);
  poei_free(all);
  return status;
}

/* ---- by the judge ---- */

static poe_status measure_judge(const compare_job *job, const compare_draws *draws, const double *view, json_t *entry,
                                poe_error *error) {
  size_t labels = poei_judge_label_count(job->judge);
  unsigned char *found = poei_alloc(draws->n * labels, sizeof *found);
  double *one = poei_alloc(draws->n, sizeof *one), *all = poei_alloc(draws->n, sizeof *all);
  poe_status status =
      found == NULL || one == NULL || all == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  if (status == POE_OK) {
    status = poei_judge_rows(job->session, job->judge, draws->n, view, found, error);
  }
  if (status == POE_OK) {
    json_t *judged = json_object(), *counts = json_object();
    for (size_t i = 0; i < draws->n; i++) {
      all[i] = 1.0;
    }
    for (size_t k = 0; k < labels; k++) {
      json_int_t count = 0;
      for (size_t i = 0; i < draws->n; i++) {
        one[i] = found[i * labels + k];
        count += found[i * labels + k];
      }
      measure_fraction(judged, poei_judge_label(job->judge, k), &draws->sampling.draws, one);
      json_object_set_new(counts, poei_judge_label(job->judge, k), json_integer(count));
      for (size_t e = 0; e < job->n_experts; e++) {
        for (size_t i = 0; job->experts[e].label == k && i < draws->n; i++) {
          all[i] *= one[i];
        }
      }
    }
    json_int_t together = 0;
    for (size_t i = 0; i < draws->n; i++) {
      together += all[i] > 0.5;
    }
    measure_fraction(judged, "all", &draws->sampling.draws, all);
    json_object_set_new(counts, "all", json_integer(together));
    json_object_set_new(entry, "judge", judged);
    json_object_set_new(entry, "judge_counts", counts);
  }
  poei_free(found);
  poei_free(one);
  poei_free(all);
  return status;
}

static int measure_ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

json_t *compare_distances(size_t n, double *distances) {
  qsort(distances, n, sizeof *distances, measure_ascending);
  return json_pack("{s:o,s:o,s:o}", "q5", poei_json_number(distances[n / 20]), "median",
                   poei_json_number(distances[n / 2]), "q95", poei_json_number(distances[n - 1 - n / 20]));
}

static poe_status measure_nearest(const compare_job *job, const compare_draws *draws, const double *view, json_t *entry,
                                  poe_error *error) {
  double *distance = poei_alloc(draws->n, sizeof *distance);
  poe_status status = distance == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                       : poei_reference_nearest(job->reference, draws->n, view, distance, error);
  if (status == POE_OK) {
    json_object_set_new(entry, "nearest", compare_distances(draws->n, distance));
  }
  poei_free(distance);
  return status;
}

/* ---- images ---- */

/* view[n, dim] of every draw. */
static poe_status measure_view(const compare_job *job, const compare_draws *draws, double *view, poe_error *error) {
  if (job->view.map == NULL) {
    for (size_t i = 0; i < draws->n; i++) {
      memcpy(view + i * job->view.dim, draws->full + i * job->total + job->view_offset, job->view.dim * sizeof *view);
    }
    return POE_OK;
  }
  size_t d = job->view.in_dim;
  double *in = poei_alloc(draws->n * d, sizeof *in);
  if (in == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < draws->n; i++) {
    for (size_t j = 0; j < d; j++) {
      in[i * d + j] = draws->full[i * job->total + job->view.coordinates[j]];
    }
  }
  poe_status status = poei_apply_rows(job->session, job->view.map, (poe_rows){draws->n, d, d, in}, view, error);
  poei_free(in);
  return status;
}

enum { MEASURE_GRID_ROWS = 3 };

/* Keeps a few images, evenly spread over all chains and draws. */
static poe_status measure_keep(compare_job *job, const compare_draws *draws, const double *view, const char *caption,
                               poe_error *error) {
  size_t n = MEASURE_GRID_ROWS * job->columns, dim = job->view.dim;
  n = n < draws->n ? n : draws->n;
  poei_image_band *bands = poei_realloc(job->bands, job->n_bands + 1, sizeof *bands);
  if (bands == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  job->bands = bands;
  char *text = poei_strdup(caption);
  double *images = poei_alloc(n * dim, sizeof *images);
  if (text == NULL || images == NULL) {
    poei_free(text);
    poei_free(images);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < n; i++) {
    memcpy(images + i * dim, view + i * draws->n / n * dim, dim * sizeof *images);
  }
  bands[job->n_bands++] = (poei_image_band){text, n, images};
  return POE_OK;
}

poe_status compare_grid(const compare_job *job, char **path, poe_error *error) {
  const char *output = poei_option_text(job->action, "output");
  char *text = NULL;
  if (output != NULL) {
    text = poei_session_path(job->session, output);
  } else if (job->session->out_dir != NULL) {
    char name[160];
    snprintf(name, sizeof name, "compare-%s.png",
             job->action->n_targets > 0 ? job->action->targets[job->action->n_targets - 1] : "grid");
    text = poei_session_path(job->session, name);
  } else {
    return POE_OK;
  }
  if (text == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  const poei_derived *view = &job->view;
  poe_status status = poei_image_grid_write(text, view->shape[view->ndim - 2], view->shape[view->ndim - 1],
                                            job->columns, job->n_bands, job->bands, error);
  if (status != POE_OK) {
    poei_free(text);
    return status;
  }
  *path = text;
  return POE_OK;
}

/* ---- one target ---- */

static poe_status measure_seen(compare_job *job, const compare_draws *draws, json_t *entry, poe_error *error) {
  double *view = poei_alloc(draws->n * job->view.dim, sizeof *view);
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
  if (status == POE_OK && job->view.ndim >= 2) {
    status = measure_keep(job, draws, view, draws->solved.target.name, error);
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
    json_object_set_new(entry, "file", json_string(path));
  }
  poei_free(file);
  poei_free(path);
  return status;
}

static void measure_gate(compare_job *job, const compare_draws *draws, json_t *entry) {
  json_object_set_new(entry, "gate", poei_gate_json(&draws->gate));
  if (!draws->gate.passed && !job->gate_failed) {
    job->gate_failed = true;
    snprintf(job->gate_target, sizeof job->gate_target, "%s", draws->solved.target.name);
    snprintf(job->gate_reason, sizeof job->gate_reason, "%s", draws->gate.reasons[0]);
  }
}

poe_status compare_measure(compare_job *job, const char *expression, json_t *targets, poe_error *error) {
  compare_draws draws = {0};
  poe_status status = compare_draw(job, expression, &draws, error);
  if (status != POE_OK) {
    return status;
  }
  const poei_sampling *sampling = &draws.sampling;
  json_t *entry = json_pack("{s:s,s:b,s:I}", "method", sampling->method, "exact", (int)sampling->exact, "draws",
                            (json_int_t)draws.n);
  if (sampling->has_log_z) {
    json_object_set_new(entry, "log_z", poei_json_number(sampling->log_z.log_z));
    json_object_set_new(entry, "log_z_se", poei_json_number(sampling->log_z.std_error));
  }
  measure_gate(job, &draws, entry);
  status = measure_experts(job, &draws, entry, error);
  if (status == POE_OK && job->has_view) {
    status = measure_seen(job, &draws, entry, error);
  }
  if (status == POE_OK) {
    status = measure_save(job, &draws, entry, error);
  }
  if (status == POE_OK) {
    json_object_set(targets, draws.solved.target.name, entry);
  }
  json_decref(entry);
  compare_draws_free(&draws);
  return status;
}
