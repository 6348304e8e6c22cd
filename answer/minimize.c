/* The verb minimize: the modes of a target, or with --clamp the best values of the rest for each given row. */
#include <math.h>
#include <string.h>

#include "answer/clamp.h"
#include "answer/modes.h"
#include "compose/nodes/nodes.h"
#include "core/alloc.h"
#include "formats/json_text.h"

/* What is clamped: the coordinates of variables (positions in the target), a value for each row. */
typedef struct clamp {
  size_t rows, n;
  size_t *position; /* [n]       */
  double *value;    /* [rows, n] */
} clamp;

static void clamp_free(clamp *c) {
  poei_free(c->position);
  poei_free(c->value);
}

/* ---- --clamp name=file ---- */

/* The coordinates named, all of which must be free. */
static poe_status clamp_places(const poei_session *session, const poei_target *target, const char *place, clamp *c,
                               poe_error *error) {
  const poei_variable *variable = poei_program_variable_find(session->program, place);
  if (variable == NULL) {
    poe_status status = poei_clamp_places(session, target, place, &c->n, c->position, error);
    if (status != POE_OK) {
      return status;
    }
  }
  for (size_t j = 0; variable != NULL && j < target->dim; j++) {
    size_t id = target->coordinates[j];
    if (id >= variable->offset && id < variable->offset + variable->dim) {
      c->position[c->n++] = j;
    }
  }
  if (variable != NULL && c->n != variable->dim) {
    return poe_error_set(error, POE_E_USAGE, "--clamp: '%s' has %zu free coordinates of '%s', not all %zu",
                         target->name, c->n, place, variable->dim);
  }
  if (c->n == target->dim) {
    return poe_error_set(error, POE_E_USAGE, "--clamp: nothing is left to minimise over besides '%s'", place);
  }
  return POE_OK;
}

/* Reads "place=path". */
static poe_status clamp_read(const poei_session *session, const poei_target *target, const char *text, const char *path,
                             clamp *c, poe_error *error) {
  char *name = poei_strndup(text, (size_t)(path - 1 - text));
  c->position = poei_alloc(target->dim, sizeof *c->position);
  poe_status status = name == NULL || c->position == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                                          : clamp_places(session, target, name, c, error);
  size_t columns = 0;
  if (status == POE_OK) {
    status = poei_points_read(path, &c->value, &c->rows, &columns, error);
  }
  if (status == POE_OK && columns != c->n) {
    status = poe_error_set(error, POE_E_SHAPE, "'%s' has %zu numbers in a row; '%s' has %zu coordinates", path, columns,
                           name, c->n);
  }
  poei_free(name);
  return status;
}

/* ---- results ---- */

/* Appends mode k; row SIZE_MAX: the whole target. */
static poe_status mode_json(const poei_modes *modes, size_t k, size_t row, json_t *list, poe_error *error) {
  json_t *item = json_pack("{s:o,s:o,s:I,s:b}", "x", poei_json_numbers(modes->x + k * modes->dim, modes->dim),
                           "log_density", poei_json_number(modes->log_density[k]), "starts",
                           (json_int_t)modes->starts[k], "at_bound", (int)modes->at_bound[k]);
  poe_status status = poei_json_made(item, error);
  if (status == POE_OK && row != SIZE_MAX) {
    status = poei_json_set(status, item, "row", json_integer((json_int_t)row), error);
  }
  return poei_json_append(status, list, item, error);
}

/* What is said once for all modes. */
typedef struct minimize_sum {
  bool exact;
  size_t distinct, unconverged, evaluations;
  char method[64];
} minimize_sum;

static void minimize_add(minimize_sum *sum, const poei_modes *modes) {
  sum->exact = sum->exact && modes->exact;
  sum->distinct += modes->distinct;
  sum->unconverged += modes->unconverged;
  sum->evaluations += modes->evaluations;
  memcpy(sum->method, modes->method, sizeof sum->method);
}

/* ---- searching ---- */

static poe_status minimize_whole(poei_session *session, const poei_solved *solved, const poei_mode_options *options,
                                 json_t *list, minimize_sum *sum, poe_error *error) {
  poei_modes modes = {0};
  poe_status status = poei_modes_find(session, solved->plan->expert, solved->plan, options, &modes, error);
  if (status == POE_OK) {
    minimize_add(sum, &modes);
  }
  for (size_t k = 0; k < modes.n && status == POE_OK; k++) {
    status = mode_json(&modes, k, SIZE_MAX, list, error);
  }
  poei_modes_free(&modes);
  return status;
}

/* The best values of the rest for one row. */
static poe_status minimize_row(poei_session *session, const poe_expert *target, const clamp *c, size_t row,
                               const poei_mode_options *options, json_t *list, minimize_sum *sum, poe_error *error) {
  poe_expert *rest = NULL;
  poei_modes modes = {0};
  poe_status status = poei_given_create(target, c->n, c->position, c->value + row * c->n, &rest, error);
  if (status == POE_OK) {
    status = poei_modes_find(session, rest, NULL, options, &modes, error);
  }
  if (status != POE_OK && error != NULL) {
    char message[POE_ERROR_MESSAGE_SIZE];
    memcpy(message, error->message, sizeof message);
    int room = POE_ERROR_MESSAGE_SIZE - 64;
    poe_error_set(error, status, "row %zu of the clamped points: %.*s", row, room, message);
  }
  if (status == POE_OK) {
    minimize_add(sum, &modes);
  }
  for (size_t k = 0; k < modes.n && status == POE_OK; k++) {
    status = mode_json(&modes, k, row, list, error);
  }
  poei_modes_free(&modes);
  poe_expert_release(rest);
  return status;
}

static poe_status minimize_clamped(poei_session *session, const poei_solved *solved, const char *text, const char *path,
                                   poei_mode_options *options, json_t *list, minimize_sum *sum, poe_error *error) {
  clamp c = {0};
  poe_status status = clamp_read(session, &solved->target, text, path, &c, error);
  for (size_t row = 0; row < c.rows && status == POE_OK; row++) {
    const poei_monitor *monitor = &session->monitor;
    if (monitor->stop != NULL && atomic_load(monitor->stop)) {
      status = poe_error_set(error, POE_E_INTERRUPTED, "interrupted at row %zu of %zu", row, c.rows);
      break;
    }
    status = minimize_row(session, solved->plan->expert, &c, row, options, list, sum, error);
  }
  clamp_free(&c);
  return status;
}

/* ---- the verb ---- */

static bool all_discrete(const poe_traits *traits) {
  bool all = true;
  for (size_t j = 0; j < traits->dim; j++) {
    all = all && traits->support[j].kind == POE_DISCRETE;
  }
  return all;
}

/* Its values, and its plan where starts may be drawn from it and there is one: what has no integral may have modes. */
static poe_status minimize_solve(poei_session *session, const poei_action *action, bool rows, poei_solved *solved,
                                 poe_error *error) {
  const char *given = action->n_targets > 0 ? action->targets[0] : NULL;
  char *clamped = NULL;
  poe_status status = rows ? POE_OK : poei_clamp_target(session, action, &clamped, error);
  if (status == POE_OK) {
    status = poei_solve_values(session, clamped == NULL ? given : clamped, solved, error);
  }
  poei_free(clamped);
  if (status != POE_OK || rows || all_discrete(poe_expert_traits(solved->filled))) {
    return status;
  }
  poei_plan *plan = NULL;
  poei_plan_options options = poei_session_plan_options(session);
  options.names = solved->target.names;
  poe_error refusal = {0};
  status = poei_plan_build(solved->filled, &options, &plan, &refusal);
  if (status == POE_OK) {
    poei_plan_destroy(solved->plan);
    solved->plan = plan;
  } else if (status != POE_E_IMPROPER && status != POE_E_CAPABILITY && status != POE_E_NUMERIC) {
    poei_target_place(&solved->target, &refusal);
    poei_solved_free(solved);
    if (error != NULL) {
      *error = refusal;
    }
    return status;
  }
  return POE_OK;
}

static poe_status minimize_init(const poei_action *action, size_t dim, double **init, size_t *n_init,
                                poe_error *error) {
  const char *path = poei_option_text(action, "init");
  size_t columns = 0;
  if (path == NULL) {
    return POE_OK;
  }
  poe_status status = poei_points_read(path, init, n_init, &columns, error);
  if (status == POE_OK && columns != dim) {
    status = poe_error_set(error, POE_E_SHAPE, "'%s' has %zu numbers in a row; the target has %zu coordinates", path,
                           columns, dim);
  }
  return status;
}

static poe_status minimize_options(const poei_session *session, const poei_action *action, bool rows,
                                   poei_mode_options *options, poe_error *error) {
  *options = (poei_mode_options){.starts = 64, .keep = 10, .seed = session->seed};
  poe_status status = poei_option_integer(action, "starts", 1, 1u << 20, &options->starts, error);
  options->keep = rows ? 1 : options->keep;
  if (status == POE_OK && (!rows || poei_option_given(action, "modes") != NULL)) {
    status = poei_option_integer(action, "modes", 1, 1u << 20, &options->keep, error);
  }
  return status;
}

static poe_status minimize_result(const poei_solved *solved, json_t *list, const minimize_sum *sum, json_t **result,
                                  poe_error *error) {
  json_t *out = json_pack("{s:s,s:O,s:b,s:s,s:I,s:I,s:I}", "target", solved->target.name, "modes", list, "exact",
                          (int)sum->exact, "method", sum->method, "distinct", (json_int_t)sum->distinct, "unconverged",
                          (json_int_t)sum->unconverged, "density_evaluations", (json_int_t)sum->evaluations);
  poe_status status = poei_json_made(out, error);
  if (status == POE_OK) {
    *result = out;
  }
  return status;
}

poe_status poei_answer_minimize(poei_session *session, const poei_action *action, json_t **result, poe_error *error) {
  poei_mode_options options;
  const char *clamped = poei_option_text(action, "clamp"), *path = NULL;
  poe_status status = clamped == NULL ? POE_OK : poei_clamp_file(clamped, &path, error);
  if (status == POE_OK) {
    status = minimize_options(session, action, path != NULL, &options, error);
  }
  poei_solved solved;
  if (status == POE_OK) {
    status = minimize_solve(session, action, path != NULL, &solved, error);
  }
  if (status != POE_OK) {
    return status;
  }
  minimize_sum sum = {.exact = true};
  double *init = NULL;
  json_t *list = json_array();
  status = poei_json_made(list, error);
  if (status == POE_OK && path != NULL && poei_option_text(action, "init") != NULL) {
    status = poe_error_set(error, POE_E_USAGE, "--init and --clamp with a file do not go together");
  } else if (status == POE_OK) {
    status = minimize_init(action, solved.target.dim, &init, &options.n_init, error);
    options.init = init;
  }
  if (status == POE_OK) {
    status = path != NULL ? minimize_clamped(session, &solved, clamped, path, &options, list, &sum, error)
                          : minimize_whole(session, &solved, &options, list, &sum, error);
  }
  if (status == POE_OK) {
    status = minimize_result(&solved, list, &sum, result, error);
  } else {
    poei_target_place(&solved.target, error);
  }
  json_decref(list);
  poei_free(init);
  poei_solved_free(&solved);
  return status;
}
