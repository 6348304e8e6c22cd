/* The verb minimize: the modes of a target, or with --clamp the best values of the rest for each given row. */
#include <math.h>
#include <string.h>

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

static poe_status clamp_variable(const poei_session *session, const poei_target *target, const char *name, clamp *c,
                                 poe_error *error) {
  const poei_variable *variable = poei_program_variable_find(session->program, name);
  if (variable == NULL) {
    return poe_error_set(error, POE_E_NAME, "--clamp: there is no variable '%s'", name);
  }
  for (size_t j = 0; j < target->dim; j++) {
    size_t id = target->coordinates[j];
    if (id >= variable->offset && id < variable->offset + variable->dim) {
      c->position[c->n++] = j;
    }
  }
  if (c->n != variable->dim) {
    return poe_error_set(error, POE_E_USAGE, "--clamp: '%s' has %zu free coordinates of '%s', not all %zu",
                         target->name, c->n, name, variable->dim);
  }
  if (c->n == target->dim) {
    return poe_error_set(error, POE_E_USAGE, "--clamp: nothing is left to minimise over besides '%s'", name);
  }
  return POE_OK;
}

/* Reads "name=file". */
static poe_status clamp_read(const poei_session *session, const poei_target *target, const char *text, clamp *c,
                             poe_error *error) {
  const char *equals = strchr(text, '=');
  if (equals == NULL || equals == text || equals[1] == '\0') {
    poe_error_set(error, POE_E_USAGE, "--clamp takes variable=FILE, not '%s'", text);
    poe_error_hint(error, "the file has a value of the variable in each row: npy, npz or csv");
    return POE_E_USAGE;
  }
  char *name = poei_strndup(text, (size_t)(equals - text));
  c->position = poei_alloc(target->dim, sizeof *c->position);
  poe_status status = name == NULL || c->position == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                                          : clamp_variable(session, target, name, c, error);
  size_t columns = 0;
  if (status == POE_OK) {
    status = poei_points_read(equals + 1, &c->value, &c->rows, &columns, error);
  }
  if (status == POE_OK && columns != c->n) {
    status = poe_error_set(error, POE_E_SHAPE, "'%s' has %zu numbers in a row; '%s' has %zu coordinates", equals + 1,
                           columns, name, c->n);
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

static poe_status minimize_clamped(poei_session *session, const poei_solved *solved, const char *text,
                                   poei_mode_options *options, json_t *list, minimize_sum *sum, poe_error *error) {
  clamp c = {0};
  poe_status status = clamp_read(session, &solved->target, text, &c, error);
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

/* Its plan when there is one, else its values: what has no integral may have modes. */
static poe_status minimize_solve(poei_session *session, const char *expression, bool clamped, poei_solved *solved,
                                 poe_error *error) {
  poe_error first = {0};
  poe_status status = clamped ? POE_E_CAPABILITY : poei_solve(session, expression, solved, &first);
  if (status == POE_E_IMPROPER || status == POE_E_CAPABILITY || status == POE_E_NUMERIC) {
    status = poei_solve_values(session, expression, solved, error);
  } else if (status != POE_OK && error != NULL) {
    *error = first;
  }
  return status;
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

static poe_status minimize_options(const poei_session *session, const poei_action *action, poei_mode_options *options,
                                   poe_error *error) {
  *options = (poei_mode_options){.starts = 64, .keep = 10, .seed = session->seed};
  poe_status status = poei_option_integer(action, "starts", 1, 1u << 20, &options->starts, error);
  bool clamped = poei_option_text(action, "clamp") != NULL;
  if (clamped) {
    options->keep = 1;
  }
  if (status == POE_OK && (!clamped || poei_option_given(action, "modes") != NULL)) {
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
  const char *clamped = poei_option_text(action, "clamp");
  poe_status status = minimize_options(session, action, &options, error);
  poei_solved solved;
  if (status == POE_OK) {
    const char *expression = action->n_targets > 0 ? action->targets[0] : NULL;
    status = minimize_solve(session, expression, clamped != NULL, &solved, error);
  }
  if (status != POE_OK) {
    return status;
  }
  minimize_sum sum = {.exact = true};
  double *init = NULL;
  json_t *list = json_array();
  status = poei_json_made(list, error);
  if (status == POE_OK && clamped != NULL && poei_option_text(action, "init") != NULL) {
    status = poe_error_set(error, POE_E_USAGE, "--init and --clamp do not go together");
  } else if (status == POE_OK) {
    status = minimize_init(action, solved.target.dim, &init, &options.n_init, error);
    options.init = init;
  }
  if (status == POE_OK) {
    status = clamped != NULL ? minimize_clamped(session, &solved, clamped, &options, list, &sum, error)
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
