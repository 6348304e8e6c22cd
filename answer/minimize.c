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
  size_t *owner;    /* [n] the file that gives its values */
  double *value;    /* [rows, n] */
} clamp;

static void clamp_free(clamp *c) {
  poei_free(c->position);
  poei_free(c->owner);
  poei_free(c->value);
}

/* ---- --clamp name=file, ... ---- */

/* The coordinates that a file is for, all of which must be free: appended to c->position. *n: how many. */
static poe_status clamp_places(const poei_session *session, const poei_target *target, const poei_clamp_rows *file,
                               clamp *c, size_t *n, poe_error *error) {
  const poei_variable *variable = poei_program_variable_find(session->program, file->place);
  size_t *position = c->position + c->n;
  *n = 0;
  if (variable == NULL) {
    return poei_clamp_places(session, target, file->place, n, position, error);
  }
  for (size_t j = 0; j < target->dim; j++) {
    size_t id = target->coordinates[j];
    if (id >= variable->offset && id < variable->offset + variable->dim) {
      position[(*n)++] = j;
    }
  }
  if (*n == variable->dim) {
    return POE_OK;
  }
  return poe_error_set(error, POE_E_USAGE,
                       "--clamp: '%s' has %zu free coordinates of '%s', not all %zu that '%s' is for", target->name, *n,
                       file->place, variable->dim, file->path);
}

/* None of the n coordinates that file `which` is for has a value by an earlier one: c->owner[position]. */
static poe_status clamp_once(const poei_target *target, const poei_clamps *clamps, size_t which, size_t n, clamp *c,
                             poe_error *error) {
  for (size_t k = c->n; k < c->n + n; k++) {
    for (size_t i = 0; i < c->n; i++) {
      if (c->position[i] == c->position[k]) {
        char name[POEI_NAME_SIZE];
        const poei_clamp_rows *first = &clamps->file[c->owner[i]], *second = &clamps->file[which];
        return poe_error_set(error, POE_E_USAGE, "--clamp gives %s values twice: by '%s=%s' and by '%s=%s'",
                             poei_names_text(&target->names, c->position[k], name, sizeof name), first->place,
                             first->path, second->place, second->path);
      }
    }
    c->owner[k] = which;
  }
  return POE_OK;
}

/* Puts the rows of file `which`, own[rows, n], beside those of the files before. Takes over `own`. */
static poe_status clamp_join(const poei_clamps *clamps, size_t which, size_t rows, size_t n, double *own, clamp *c,
                             poe_error *error) {
  size_t wide = c->n + n, total = 0;
  const poei_clamp_rows *first = &clamps->file[0], *file = &clamps->file[which];
  if (which > 0 && rows != c->rows) {
    poei_free(own);
    poe_error_set(error, POE_E_SHAPE, "--clamp: '%s=%s' has %zu row%s, '%s=%s' has %zu", first->place, first->path,
                  c->rows, c->rows == 1 ? "" : "s", file->place, file->path, rows);
    poe_error_hint(error, "files that are read together need as many rows each; one value for all rows: %s=VALUE",
                   rows == 1 ? file->place : first->place);
    return POE_E_SHAPE;
  }
  double *all = poei_mul_size(rows, wide, &total) ? poei_alloc(total, sizeof *all) : NULL;
  for (size_t i = 0; all != NULL && i < rows; i++) {
    if (c->n > 0) {
      memcpy(all + i * wide, c->value + i * c->n, c->n * sizeof *all);
    }
    memcpy(all + i * wide + c->n, own + i * n, n * sizeof *all);
  }
  poei_free(own);
  poei_free(c->value);
  c->value = all;
  c->rows = rows;
  c->n = wide;
  return all == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
}

static poe_status clamp_read_one(const poei_session *session, const poei_target *target, const poei_clamps *clamps,
                                 size_t which, clamp *c, poe_error *error) {
  const poei_clamp_rows *file = &clamps->file[which];
  double *own = NULL;
  size_t n = 0, rows = 0, columns = 0;
  poe_status status = clamp_places(session, target, file, c, &n, error);
  if (status == POE_OK) {
    status = clamp_once(target, clamps, which, n, c, error);
  }
  if (status == POE_OK && c->n + n == target->dim) {
    status = poe_error_set(error, POE_E_USAGE, "--clamp: nothing is left to minimise over besides '%s'", file->place);
  }
  if (status == POE_OK) {
    status = poei_points_read(file->path, &own, &rows, &columns, error);
  }
  if (status == POE_OK && columns != n) {
    poei_free(own);
    return poe_error_set(error, POE_E_SHAPE, "'%s' has %zu number%s in a row; '%s' has %zu coordinate%s", file->path,
                         columns, columns == 1 ? "" : "s", file->place, n, n == 1 ? "" : "s");
  }
  return status == POE_OK ? clamp_join(clamps, which, rows, n, own, c, error) : status;
}

/* Reads the files, whose rows go together. */
static poe_status clamp_read(const poei_session *session, const poei_target *target, const poei_clamps *clamps,
                             clamp *c, poe_error *error) {
  c->position = poei_alloc(2 * target->dim, sizeof *c->position); /* what a file is for may have values already */
  c->owner = poei_alloc(2 * target->dim, sizeof *c->owner);
  poe_status status =
      c->position == NULL || c->owner == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t i = 0; i < clamps->n && status == POE_OK; i++) {
    status = clamp_read_one(session, target, clamps, i, c, error);
  }
  return status;
}

/* ---- results ---- */

/* Appends mode k; row SIZE_MAX: the whole target. */
static poe_status mode_json(const poei_modes *modes, size_t k, size_t row, json_t *list, poe_error *error) {
  json_t *item = json_pack("{s:o,s:o,s:I,s:b}", "x", poei_json_numbers(modes->x + k * modes->dim, modes->dim),
                           "log_density", poei_json_number(modes->log_density[k]), "starts",
                           (json_int_t)modes->starts[k], "at_bound", (int)modes->at_bound[k]);
  poe_status status = poei_json_made(item, error);
  const char *end = poei_mode_end_word(modes->end[k]);
  if (status == POE_OK && end != NULL) {
    status = poei_json_set(status, item, "end", json_string(end), error);
  }
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

static poe_status minimize_clamped(poei_session *session, const poei_solved *solved, const poei_clamps *clamps,
                                   clamp *c, poei_mode_options *options, json_t *list, minimize_sum *sum,
                                   poe_error *error) {
  poe_status status = clamp_read(session, &solved->target, clamps, c, error);
  for (size_t row = 0; row < c->rows && status == POE_OK; row++) {
    const poei_monitor *monitor = &session->monitor;
    if (monitor->stop != NULL && atomic_load(monitor->stop)) {
      status = poe_error_set(error, POE_E_INTERRUPTED, "interrupted at row %zu of %zu", row, c->rows);
      break;
    }
    status = minimize_row(session, solved->plan->expert, c, row, options, list, sum, error);
  }
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
static poe_status minimize_solve(poei_session *session, const poei_action *action, const poei_clamps *clamps,
                                 poei_solved *solved, poe_error *error) {
  char *clamped = NULL;
  poe_status status = poei_clamps_target(session, action, clamps, &clamped, error);
  if (status == POE_OK) {
    status = poei_solve_values(session, clamped, solved, error);
  }
  poei_free(clamped);
  if (status != POE_OK || clamps->n > 0 || all_discrete(poe_expert_traits(solved->filled))) {
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

/* What the numbers of `x` are called, where they are few: the free coordinates but for those clamped row by row. */
static poe_status names_json(const poei_target *target, const clamp *c, json_t *out, poe_error *error) {
  enum { FEW = 64 };
  json_t *names = json_array();
  poe_status status = poei_json_made(names, error);
  for (size_t j = 0; j < target->dim && status == POE_OK; j++) {
    char name[POEI_NAME_SIZE];
    bool clamped = false;
    for (size_t k = 0; k < c->n; k++) {
      clamped = clamped || c->position[k] == j;
    }
    if (!clamped) {
      poei_names_text(&target->names, j, name, sizeof name);
      status = poei_json_append(status, names, json_string(name), error);
    }
    if (json_array_size(names) > FEW) {
      break;
    }
  }
  if (status != POE_OK || json_array_size(names) > FEW) {
    json_decref(names);
    return status;
  }
  return poei_json_set(status, out, "coordinates", names, error);
}

static poe_status minimize_result(const poei_solved *solved, const clamp *c, json_t *list, const minimize_sum *sum,
                                  json_t **result, poe_error *error) {
  json_t *out = json_pack("{s:s,s:O,s:b,s:s,s:I,s:I,s:I}", "target", solved->target.name, "modes", list, "exact",
                          (int)sum->exact, "method", sum->method, "distinct", (json_int_t)sum->distinct, "unconverged",
                          (json_int_t)sum->unconverged, "density_evaluations", (json_int_t)sum->evaluations);
  poe_status status = poei_json_made(out, error);
  if (status == POE_OK) {
    status = names_json(&solved->target, c, out, error);
  }
  if (status != POE_OK) {
    json_decref(out);
    return status;
  }
  *result = out;
  return POE_OK;
}

static poe_status minimize_search(poei_session *session, const poei_action *action, const poei_clamps *clamps,
                                  poei_mode_options *options, const poei_solved *solved, json_t **result,
                                  poe_error *error) {
  minimize_sum sum = {.exact = true};
  clamp c = {0};
  double *init = NULL;
  bool rows = clamps->n > 0;
  json_t *list = json_array();
  poe_status status = poei_json_made(list, error);
  if (status == POE_OK && rows && poei_option_text(action, "init") != NULL) {
    status = poe_error_set(error, POE_E_USAGE, "--init and --clamp with a file do not go together");
  } else if (status == POE_OK) {
    status = minimize_init(action, solved->target.dim, &init, &options->n_init, error);
    options->init = init;
  }
  options->names = rows ? options->names : solved->target.names; /* with rows the rest has other numbers */
  if (status == POE_OK) {
    status = rows ? minimize_clamped(session, solved, clamps, &c, options, list, &sum, error)
                  : minimize_whole(session, solved, options, list, &sum, error);
  }
  if (status == POE_OK) {
    status = minimize_result(solved, &c, list, &sum, result, error);
  }
  json_decref(list);
  clamp_free(&c);
  poei_free(init);
  return status;
}

poe_status poei_answer_minimize(poei_session *session, const poei_action *action, json_t **result, poe_error *error) {
  poei_mode_options options;
  poei_clamps clamps = {0};
  poei_solved solved;
  const char *clamped = poei_option_text(action, "clamp");
  poe_status status = clamped == NULL ? POE_OK : poei_clamps_read(clamped, &clamps, error);
  if (status == POE_OK) {
    status = minimize_options(session, action, clamps.n > 0, &options, error);
  }
  if (status == POE_OK) {
    status = minimize_solve(session, action, &clamps, &solved, error);
  }
  if (status == POE_OK) {
    status = minimize_search(session, action, &clamps, &options, &solved, result, error);
    if (status != POE_OK) {
      poei_target_place(&solved.target, error);
    }
    poei_solved_free(&solved);
  }
  poei_clamps_free(&clamps);
  return status;
}
