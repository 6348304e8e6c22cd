/* The verb score: log-densities, gradients and each named expert's share at given points. */
#include <math.h>
#include <string.h>

#include "answer/session.h"
#include "core/alloc.h"
#include "formats/text_file.h"

/* Log-densities of a named expert at rows of the whole target: its own coordinates are gathered. */
static poe_status score_each(poei_session *session, const char *name, size_t n, size_t total, const double *full,
                             double *logp, poe_error *error) {
  poei_solved solved;
  poe_status status = poei_solve_values(session, name, &solved, error);
  if (status != POE_OK) {
    return status;
  }
  size_t d = solved.target.dim;
  double *x = poei_alloc(n * d, sizeof *x);
  if (x == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else {
    for (size_t i = 0; i < n; i++) {
      for (size_t j = 0; j < d; j++) {
        x[i * d + j] = full[i * total + solved.target.coordinates[j]];
      }
    }
    status = poei_evaluate_rows(session, solved.plan->expert, (poe_rows){n, d, d, x}, logp, NULL, error);
  }
  poei_free(x);
  poei_solved_free(&solved);
  return status;
}

static poe_status score_all_each(poei_session *session, const char *expression, size_t n, const double *full,
                                 json_t *each, poe_error *error) {
  const char *names[256];
  size_t count = poei_program_mentions(session->program, expression, names, 256);
  size_t total = poei_program_dim(session->program);
  double *logp = poei_alloc(n, sizeof *logp);
  poe_status status = logp == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t k = 0; status == POE_OK && k < count && k < 256; k++) {
    status = score_each(session, names[k], n, total, full, logp, error);
    if (status == POE_OK) {
      json_object_set_new(each, names[k], poei_json_numbers(logp, n));
    }
  }
  poei_free(logp);
  return status;
}

/* NaN or +inf at a given point: says at which row and, asking the named experts one by one, whose value it is. */
static poe_status score_check(poei_session *session, const char *expression, size_t n, const double *full,
                              const double *logp, poe_error *error) {
  size_t bad = 0;
  while (bad < n && !isnan(logp[bad]) && logp[bad] != INFINITY) {
    bad++;
  }
  if (bad == n) {
    return POE_OK;
  }
  const char *names[256], *culprit = NULL;
  size_t count = poei_program_mentions(session->program, expression, names, 256);
  size_t total = poei_program_dim(session->program);
  for (size_t k = 0; culprit == NULL && k < count && k < 256; k++) {
    double value = 0.0;
    if (score_each(session, names[k], 1, total, full + bad * total, &value, NULL) == POE_OK && !isfinite(value)) {
      culprit = names[k];
    }
  }
  poe_error_set(error, POE_E_NUMERIC, "the log-density of row %zu is %s%s%s%s", bad,
                isnan(logp[bad]) ? "not a number" : "+infinity", culprit == NULL ? "" : "; it comes from '",
                culprit == NULL ? "" : culprit, culprit == NULL ? "" : "'");
  if (logp[bad] == INFINITY) {
    poe_error_hint(error, "an expert is divided out at a point where it is zero");
  }
  return POE_E_NUMERIC;
}

static json_t *score_grad_json(const double *grad, size_t n, size_t d) {
  json_t *rows = json_array();
  for (size_t i = 0; i < n; i++) {
    json_array_append_new(rows, poei_json_numbers(grad + i * d, d));
  }
  return rows;
}

static poe_status score_points(poei_session *session, const poei_action *action, const poei_solved *solved, size_t n,
                               const double *x, json_t **result, poe_error *error) {
  const char *expression = action->n_targets > 0 ? action->targets[0] : NULL;
  size_t d = solved->target.dim, total = poei_program_dim(session->program);
  bool want_grad = poei_option_flag(action, "grad");
  if (want_grad && (poe_expert_traits(solved->plan->expert)->capabilities & POE_CAN_GRADIENT) == 0) {
    return poe_error_set(error, POE_E_CAPABILITY, "'%s' has no gradient: %s", solved->target.name,
                         solved->plan->reason);
  }
  double *logp = poei_alloc(n, sizeof *logp), *full = poei_alloc(n * total, sizeof *full);
  double *grad = want_grad ? poei_alloc(n * d, sizeof *grad) : NULL;
  json_t *each = json_object();
  poe_status status = logp == NULL || full == NULL || (want_grad && grad == NULL)
                          ? poe_error_set(error, POE_E_MEMORY, "out of memory for %zu points", n)
                          : POE_OK;
  if (status == POE_OK) {
    poei_expand_rows(session->program, &solved->target, n, x, full);
    status = poei_evaluate_rows(session, solved->plan->expert, (poe_rows){n, d, d, x}, logp, grad, error);
  }
  if (status == POE_OK) {
    status = score_check(session, solved->target.text, n, full, logp, error);
  }
  if (status == POE_OK && poei_option_flag(action, "each")) {
    status = score_all_each(session, expression, n, full, each, error);
  }
  if (status == POE_OK) {
    *result = json_pack("{s:s,s:b,s:o}", "target", solved->target.name, "normalised", (int)solved->target.normalised,
                        "log_density", poei_json_numbers(logp, n));
    if (want_grad) {
      json_object_set_new(*result, "grad", score_grad_json(grad, n, d));
    }
    if (poei_option_flag(action, "each")) {
      json_object_set(*result, "each", each);
    }
  }
  json_decref(each);
  poei_free(logp);
  poei_free(full);
  poei_free(grad);
  return status;
}

poe_status poei_answer_score(poei_session *session, const poei_action *action, json_t **result, poe_error *error) {
  const char *path = poei_option_text(action, "data");
  if (path == NULL) {
    poe_error_set(error, POE_E_USAGE, "score needs points");
    poe_error_hint(error, "give them with --data FILE (csv, npy or npz; one row per point)");
    return POE_E_USAGE;
  }
  poei_solved solved;
  poe_status status = poei_solve_values(session, action->n_targets > 0 ? action->targets[0] : NULL, &solved, error);
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
  if (status == POE_OK) {
    status = score_points(session, action, &solved, n, x, result, error);
  }
  poei_free(x);
  poei_solved_free(&solved);
  return status;
}
