/* The verb score: log-densities, gradients and each named expert's share at given points. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "answer/session.h"
#include "compose/exact/latent.h"
#include "core/alloc.h"
#include "formats/text_file.h"

/* One call's points and numbers. */
typedef struct score_job {
  poei_session *session;
  const char *expression; /* as asked; NULL: the last density */
  const poei_solved *solved;
  const double *x; /* [n, d]     */
  double *full;    /* [n, total] */
  bool want_each, relative, rank;
  size_t reference; /* relative: the row that all others are compared with */
  poei_scores scores;
} score_job;

static poe_status score_each(poei_session *session, const char *name, size_t n, const double *full, double *logp,
                             poe_error *error) {
  poei_solved solved;
  poe_status status = poei_solve_values(session, name, &solved, error);
  if (status == POE_OK) {
    status = poei_full_values(session, &solved, n, full, logp, error);
    poei_solved_free(&solved);
  }
  return status;
}

/* NaN or +inf at a given point: says at which row, and whose doing it is. */
static poe_status score_check(const score_job *job, poe_error *error) {
  const poei_scores *s = &job->scores;
  size_t bad = 0;
  while (bad < s->n && !isnan(s->logp[bad]) && s->logp[bad] != INFINITY) {
    bad++;
  }
  if (bad == s->n) {
    return POE_OK;
  }
  poe_error_set(error, POE_E_NUMERIC, "the log-density of row %zu is %s", bad,
                isnan(s->logp[bad]) ? "not a number" : "+infinity");
  if (s->logp[bad] == INFINITY) {
    poe_error_hint(error, "an expert is divided out at a point where it is zero, or has a pole there");
  }
  poei_blame(job->session, job->solved->filled, job->x + bad * s->d, false, error);
  return POE_E_NUMERIC;
}

enum { SCORE_CHUNK = 1024 * POEI_TILE }; /* rows between two looks at whether the run was interrupted */

static poe_status score_values(const score_job *job, poe_error *error) {
  const poei_scores *s = &job->scores;
  poe_status status = POE_OK;
  for (size_t first = 0; status == POE_OK && first < s->n; first += SCORE_CHUNK) {
    const poei_monitor *monitor = &job->session->monitor;
    if (monitor->stop != NULL && atomic_load(monitor->stop)) {
      return poe_error_set(error, POE_E_INTERRUPTED, "interrupted at point %zu of %zu", first, s->n);
    }
    size_t n = s->n - first < SCORE_CHUNK ? s->n - first : SCORE_CHUNK;
    status =
        poei_evaluate_rows(job->session, job->solved->plan->expert, (poe_rows){n, s->d, s->d, job->x + first * s->d},
                           s->logp + first, s->grad == NULL ? NULL : s->grad + first * s->d, error);
  }
  return status;
}

/* Numbers become differences from the reference row. */
static poe_status score_compare(const score_job *job, double *logp, poe_error *error) {
  double reference = logp[job->reference];
  if (!isfinite(reference)) {
    poe_error_set(error, POE_E_NUMERIC, "row %zu has density 0: nothing can be compared with it", job->reference);
    poe_error_hint(error, "take another row with --relative-to");
    return POE_E_NUMERIC;
  }
  for (size_t i = 0; i < job->scores.n; i++) {
    logp[i] -= reference;
  }
  return POE_OK;
}

static poe_status score_run(score_job *job, poe_error *error) {
  poei_scores *s = &job->scores;
  poei_expand_rows(job->session->program, &job->solved->target, s->n, job->x, job->full);
  poe_status status = score_values(job, error);
  if (status == POE_OK) {
    status = score_check(job, error);
  }
  for (size_t k = 0; status == POE_OK && job->want_each && k < s->n_each; k++) {
    status = score_each(job->session, s->names[k], s->n, job->full, s->each + k * s->n, error);
  }
  for (size_t k = 0; status == POE_OK && job->relative && job->want_each && k < s->n_each; k++) {
    status = score_compare(job, s->each + k * s->n, error);
  }
  return status == POE_OK && job->relative ? score_compare(job, s->logp, error) : status;
}

/* ---- ranking ---- */

typedef struct ranked {
  double value;
  size_t row;
} ranked;

/* Falling values; equal ones by row. */
static int ranked_order(const void *left, const void *right) {
  const ranked *a = left, *b = right;
  if (a->value != b->value) {
    return a->value > b->value ? -1 : 1;
  }
  return (a->row > b->row) - (a->row < b->row);
}

/* A new array of row numbers, the best first; NULL when out of memory. */
static json_t *score_ranks(const poei_scores *s) {
  ranked *order = poei_alloc(s->n, sizeof *order);
  json_t *rows = order == NULL ? NULL : json_array();
  for (size_t i = 0; rows != NULL && i < s->n; i++) {
    order[i] = (ranked){s->logp[i], i};
  }
  if (rows != NULL) {
    qsort(order, s->n, sizeof *order, ranked_order);
  }
  for (size_t i = 0; rows != NULL && i < s->n; i++) {
    if (json_array_append_new(rows, json_integer((json_int_t)order[i].row)) != 0) {
      json_decref(rows);
      rows = NULL;
    }
  }
  poei_free(order);
  return rows;
}

static poe_status score_json(const score_job *job, json_t **result, poe_error *error) {
  const poei_scores *s = &job->scores;
  json_t *out = json_pack("{s:s,s:b,s:o}", "target", job->solved->target.name, "normalised",
                          (int)(job->solved->target.normalised && !job->relative), "log_density",
                          poei_json_numbers(s->logp, s->n));
  json_t *grad = s->grad == NULL ? NULL : json_array(), *each = job->want_each ? json_object() : NULL;
  poe_status status = poei_json_made(out, error);
  for (size_t i = 0; status == POE_OK && grad != NULL && i < s->n; i++) {
    status = poei_json_append(status, grad, poei_json_numbers(s->grad + i * s->d, s->d), error);
  }
  for (size_t k = 0; status == POE_OK && each != NULL && k < s->n_each; k++) {
    status = poei_json_set(status, each, s->names[k], poei_json_numbers(s->each + k * s->n, s->n), error);
  }
  if (job->relative) {
    status = poei_json_set(status, out, "relative_to", json_integer((json_int_t)job->reference), error);
  }
  if (job->rank) {
    status = poei_json_set(status, out, "rank", score_ranks(s), error);
  }
  if (s->grad != NULL) {
    status = poei_json_set(status, out, "grad", grad, error);
  }
  if (job->want_each) {
    status = poei_json_set(status, out, "each", each, error);
  }
  if (status != POE_OK) {
    json_decref(out);
    return status;
  }
  *result = out;
  return POE_OK;
}

static poe_status score_save(const score_job *job, const poei_action *action, json_t *result, poe_error *error) {
  const char *output = poei_option_text(action, "output");
  if (output == NULL) {
    return POE_OK;
  }
  poei_scores scores = job->scores;
  scores.n_each = job->want_each ? scores.n_each : 0;
  char *path = poei_session_path(job->session, output);
  poe_status status =
      path == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : poei_scores_save(path, &scores, error);
  if (status == POE_OK) {
    status = poei_json_set(status, result, "file", json_string(path), error);
  }
  poei_free(path);
  return status;
}

static poe_status score_open(score_job *job, const poei_action *action, poe_error *error) {
  poei_scores *s = &job->scores;
  const poei_program *program = job->session->program;
  bool want_grad = poei_option_flag(action, "grad");
  if (want_grad && (poe_expert_traits(job->solved->plan->expert)->capabilities & POE_CAN_GRADIENT) == 0) {
    return poe_error_set(error, POE_E_CAPABILITY, "'%s' has no gradient", job->solved->target.name);
  }
  job->relative = poei_option_given(action, "relative_to") != NULL;
  job->rank = poei_option_flag(action, "rank");
  if (job->relative) {
    poe_status status = poei_option_integer(action, "relative_to", 0, s->n - 1, &job->reference, error);
    if (status != POE_OK) {
      return status;
    }
  }
  size_t most = poei_program_density_count(program);
  job->want_each = poei_option_flag(action, "each");
  s->names = poei_alloc(most, sizeof *s->names);
  if (s->names != NULL) {
    s->n_each = poei_program_mentions(job->session->program, job->expression, s->names, most);
  }
  s->logp = poei_alloc(s->n, sizeof *s->logp);
  s->grad = want_grad ? poei_alloc(s->n, s->d * sizeof *s->grad) : NULL;
  s->each = job->want_each ? poei_alloc(s->n, s->n_each * sizeof *s->each) : NULL;
  job->full = poei_alloc(s->n, poei_program_dim(program) * sizeof *job->full);
  if (s->names == NULL || s->logp == NULL || (want_grad && s->grad == NULL) || (job->want_each && s->each == NULL) ||
      job->full == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for %zu points", s->n);
  }
  return POE_OK;
}

static void score_close(score_job *job) {
  poei_free((void *)job->scores.names);
  poei_free(job->scores.logp);
  poei_free(job->scores.grad);
  poei_free(job->scores.each);
  poei_free(job->full);
}

static poe_status score_points(poei_session *session, const poei_action *action, const poei_solved *solved, size_t n,
                               const double *x, json_t **result, poe_error *error) {
  score_job job = {.session = session,
                   .expression = action->n_targets > 0 ? action->targets[0] : NULL,
                   .solved = solved,
                   .x = x,
                   .scores = {.n = n, .d = solved->target.dim}};
  json_t *out = NULL;
  poe_status status = score_open(&job, action, error);
  if (status == POE_OK) {
    status = score_run(&job, error);
  }
  if (status == POE_OK) {
    status = score_json(&job, &out, error);
  }
  if (status == POE_OK) {
    status = score_save(&job, action, out, error);
  }
  if (status == POE_OK) {
    *result = out;
  } else {
    json_decref(out);
  }
  score_close(&job);
  return status;
}

poe_status poei_answer_score(poei_session *session, const poei_action *action, json_t **result, poe_error *error) {
  const char *path = poei_option_text(action, "data");
  if (path == NULL) {
    poe_error_set(error, POE_E_USAGE, "score needs points");
    poe_error_hint(error, "give them with --data FILE (csv, npy or npz; one row per point)");
    return POE_E_USAGE;
  }
  const char *output = poei_option_text(action, "output");
  poei_solved solved;
  poe_status status = output == NULL ? POE_OK : poei_scores_check(output, error);
  if (status == POE_OK) {
    const char *expression = action->n_targets > 0 ? action->targets[0] : NULL;
    bool relative = poei_option_given(action, "relative_to") != NULL;
    status = relative ? poei_solve_differences(session, expression, &solved, error)
                      : poei_solve_values(session, expression, &solved, error);
  }
  if (status != POE_OK) {
    return status;
  }
  double *x = NULL;
  size_t n = 0, d = 0;
  status = poei_points_read(path, &x, &n, &d, error);
  if (status == POE_OK && d != solved.target.dim) {
    poe_error_set(error, POE_E_SHAPE, "%s has %zu columns, the target '%s' has %zu free coordinates", path, d,
                  solved.target.name, solved.target.dim);
    poe_error_hint(error, "one column per free coordinate, variables flattened in the order they are declared");
    status = POE_E_SHAPE;
  }
  if (status == POE_OK && (poe_expert_traits(solved.plan->expert)->capabilities & POE_CAN_EVAL) == 0) {
    status = poei_latent_refuse(solved.plan->expert, session->table_bytes, error);
    poei_target_place(&solved.target, error);
  }
  if (status == POE_OK) {
    status = score_points(session, action, &solved, n, x, result, error);
  }
  poei_free(x);
  poei_solved_free(&solved);
  return status;
}
