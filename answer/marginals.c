/* The verb marginals: probabilities of the values of a target's discrete coordinates, exact where the plan allows, else
 * from draws with their standard errors (marginals_drawn.h). Means and standard deviations of Gaussian coordinates,
 * where they are exact (marginals_gaussian.h).
 */
#include <math.h>
#include <string.h>

#include "answer/marginals_drawn.h"
#include "answer/marginals_gaussian.h"
#include "core/alloc.h"
#include "formats/json_text.h"

/* ---- results ---- */

/* One number for each value of every discrete coordinate: probabilities, or their standard errors. */
typedef struct numbers {
  const poei_target *target;
  const poei_marginals *m; /* their ranges */
  const double *p;         /* like m->p    */
  double certain;          /* that of the one value a clamped coordinate has; 0 for the others */
} numbers;

/* Those of one coordinate of a variable: free, clamped, or (null) not in the target. */
static json_t *coordinate_json(const numbers *all, const poei_variable *variable, size_t id) {
  const poei_target *target = all->target;
  for (size_t j = 0; j < target->dim; j++) {
    if (target->coordinates[j] == id) {
      return poei_json_numbers(all->p + all->m->start[j], all->m->states[j]);
    }
  }
  for (size_t k = 0; k < target->n_clamped; k++) {
    const poe_support *s = &variable->support[id - variable->offset];
    if (target->clamped[k] == id && s->high - s->low < 1e6) {
      size_t n = (size_t)(s->high - s->low) + 1, at = (size_t)(target->clamped_value[k] - s->low);
      json_t *array = json_array();
      for (size_t v = 0; array != NULL && v < n; v++) {
        if (json_array_append_new(array, json_real(v == at ? all->certain : 0.0)) != 0) {
          json_decref(array);
          return NULL;
        }
      }
      return array;
    }
  }
  return json_null();
}

/* The coordinates from *id on, nested by axes axis, axis + 1, ... */
static json_t *variable_json(const numbers *all, const poei_variable *variable, size_t axis, size_t *id) {
  if (axis == variable->ndim) {
    return coordinate_json(all, variable, (*id)++);
  }
  json_t *array = json_array();
  for (size_t i = 0; array != NULL && i < variable->shape[axis]; i++) {
    if (json_array_append_new(array, variable_json(all, variable, axis + 1, id)) != 0) {
      json_decref(array);
      return NULL;
    }
  }
  return array;
}

/* Is a coordinate of the variable free in the target, and discrete with finitely many values? */
static bool variable_told(const poei_target *target, const poei_marginals *m, const poei_variable *variable) {
  for (size_t j = 0; j < target->dim; j++) {
    size_t id = target->coordinates[j];
    if (id >= variable->offset && id < variable->offset + variable->dim && m->states[j] > 0) {
      return true;
    }
  }
  return false;
}

/* {variable: nested numbers}; a new reference, empty when nothing is told. */
static poe_status numbers_json(const poei_session *session, const numbers *all, json_t **out, poe_error *error) {
  *out = json_object();
  poe_status status = poei_json_made(*out, error);
  for (size_t i = 0; i < poei_program_variable_count(session->program) && status == POE_OK; i++) {
    const poei_variable *variable = poei_program_variable(session->program, i);
    size_t id = variable->offset;
    if (variable_told(all->target, all->m, variable)) {
      status = poei_json_set(status, *out, variable->name, variable_json(all, variable, 0, &id), error);
    }
  }
  return status;
}

/* Appends what is said of draws. */
static poe_status drawn_json(const poei_session *session, const poei_solved *solved, const poei_drawn_marginals *drawn,
                             json_t *out, poe_error *error) {
  numbers errors = {&solved->target, &drawn->m, drawn->std_error, 0.0};
  json_t *all = NULL;
  double largest = 0.0;
  for (size_t j = 0; j < drawn->m.dim; j++) {
    for (size_t v = 0; v < drawn->m.states[j]; v++) {
      double own = drawn->std_error[drawn->m.start[j] + v];
      if (own > largest || isnan(own)) {
        largest = own;
      }
    }
  }
  poe_status status = numbers_json(session, &errors, &all, error);
  if (status != POE_OK) {
    json_decref(all);
    return status;
  }
  status = poei_json_set(status, out, "std_error", all, error);
  status = poei_json_set(status, out, "largest_std_error", poei_json_number(largest), error);
  status = poei_json_set(status, out, "gate", poei_gate_json(&drawn->gate), error);
  return poei_json_set(status, out, "draws", json_integer((json_int_t)drawn->draws), error);
}

/* drawn NULL: exact. */
static poe_status marginals_json(const poei_session *session, const poei_solved *solved, const poei_marginals *m,
                                 const poei_drawn_marginals *drawn, json_t **result, poe_error *error) {
  numbers p = {&solved->target, m, m->p, 1.0};
  json_t *all = NULL;
  poe_status status = numbers_json(session, &p, &all, error);
  if (status != POE_OK) {
    json_decref(all);
    return status;
  }
  bool probabilities = json_object_size(all) > 0, moments = false;
  const char *method = drawn == NULL      ? poei_method_word(solved->plan->method)
                       : !drawn->averaged ? "frequencies among draws"
                       : drawn->counted   ? "Rao-Blackwellised and counted over draws"
                                          : "Rao-Blackwellised over draws";
  json_t *out = json_pack("{s:s,s:o,s:b,s:s}", "target", solved->target.name, "marginals", all, "exact",
                          (int)(drawn == NULL && m->error == 0.0), "method", method);
  status = poei_json_made(out, error);
  if (status == POE_OK && m->error > 0.0) {
    status = poei_json_set(status, out, "error_bound", poei_json_number(m->error), error);
  }
  if (status == POE_OK && drawn != NULL) {
    status = drawn_json(session, solved, drawn, out, error);
  }
  if (status == POE_OK) {
    status = poei_marginals_moments(session, solved, out, &moments, error);
  }
  if (status == POE_OK && !probabilities && !moments) {
    status = poe_error_set(error, POE_E_CAPABILITY,
                           "'%s' has no discrete coordinate with finitely many values, and no exact means: no Gaussian",
                           solved->target.name);
  }
  if (status != POE_OK) {
    json_decref(out);
    return status;
  }
  *result = out;
  return POE_OK;
}

static poe_status marginals_drawn(poei_session *session, const poei_action *action, const poei_solved *solved,
                                  const poei_plan_options *options, json_t **result, poe_error *error) {
  poei_run_options run;
  poei_drawn_marginals drawn = {0};
  poe_status status = poei_run_options_read(session, action, &run, error);
  if (status == POE_OK) {
    status = poei_marginals_draw(session, solved->plan, options, &run, &drawn, error);
  }
  if (status == POE_OK) {
    status = marginals_json(session, solved, &drawn.m, &drawn, result, error);
  }
  const char *mode = poei_option_text(action, "gate");
  if (status == POE_OK && !drawn.gate.passed && (mode == NULL || strcmp(mode, "report") != 0)) {
    status = poe_error_set(error, POE_E_GATE, "the gate failed: %s", drawn.gate.reasons[0]);
  }
  poei_drawn_marginals_free(&drawn);
  return status;
}

poe_status poei_answer_marginals(poei_session *session, const poei_action *action, json_t **result, poe_error *error) {
  poei_solved solved;
  poe_status status = poei_solve_action(session, action, &solved, error);
  if (status != POE_OK) {
    return status;
  }
  poei_marginals m = {0};
  poe_error refusal = {0};
  poei_plan_options options = poei_session_plan_options(session);
  options.names = solved.target.names;
  status = poei_plan_marginals(solved.plan, &options, &m, &refusal);
  if (status == POE_OK) {
    status = marginals_json(session, &solved, &m, NULL, result, error);
  } else if (status == POE_E_CAPABILITY) {
    status = marginals_drawn(session, action, &solved, &options, result, error);
  } else if (error != NULL) {
    *error = refusal;
  }
  if (status != POE_OK) {
    poei_target_place(&solved.target, error);
  }
  poei_marginals_free(&m);
  poei_solved_free(&solved);
  return status;
}
