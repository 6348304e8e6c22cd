/* The verb marginals: probabilities of the values of a target's discrete coordinates, exact where the plan allows, else
 * the frequencies among draws.
 */
#include <math.h>
#include <string.h>

#include "answer/session.h"
#include "compose/exact/discrete.h"
#include "core/alloc.h"
#include "formats/json_text.h"
#include "sampler/draws.h"

/* ---- by draws ---- */

static poe_status marginals_make(const poe_traits *traits, poei_marginals *m, poe_error *error) {
  size_t total = 0;
  *m = (poei_marginals){.dim = traits->dim};
  m->states = poei_calloc(traits->dim, sizeof *m->states);
  m->low = poei_calloc(traits->dim, sizeof *m->low);
  m->start = poei_calloc(traits->dim, sizeof *m->start);
  for (size_t j = 0; m->states != NULL && m->low != NULL && m->start != NULL && j < traits->dim; j++) {
    const poe_support *s = &traits->support[j];
    bool finite = s->kind == POE_DISCRETE && s->high - s->low < 1e6;
    m->states[j] = finite ? (size_t)(s->high - s->low) + 1 : 0;
    m->low[j] = s->low;
    m->start[j] = total;
    total += m->states[j];
  }
  m->p = poei_calloc(total, sizeof *m->p);
  if (m->states == NULL || m->low == NULL || m->start == NULL || m->p == NULL) {
    poei_marginals_free(m);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  return POE_OK;
}

static void marginals_count(const poei_draws *draws, poei_marginals *m) {
  size_t n = draws->chains * draws->draws;
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < m->dim; j++) {
      double offset = draws->x[i * m->dim + j] - m->low[j];
      if (m->states[j] > 0 && offset >= 0.0 && offset < (double)m->states[j]) {
        m->p[m->start[j] + (size_t)offset] += 1.0 / (double)n;
      }
    }
  }
}

static poe_status marginals_drawn(poei_session *session, const poei_action *action, const poei_solved *solved,
                                  poei_marginals *m, size_t *draws, poe_error *error) {
  poei_run_options options;
  poei_sampling sampling = {0};
  poe_status status = poei_run_options_read(session, action, &options, error);
  if (status == POE_OK) {
    status = poei_draw(session, solved->plan, "auto", &options, NULL, 0, &sampling, error);
  }
  if (status == POE_OK) {
    *draws = sampling.draws.chains * sampling.draws.draws;
    status = marginals_make(poe_expert_traits(solved->plan->expert), m, error);
  }
  if (status == POE_OK) {
    marginals_count(&sampling.draws, m);
  }
  poei_sampling_free(&sampling);
  return status;
}

/* ---- results ---- */

/* Probabilities of one coordinate of a variable: free, clamped, or (null) not in the target. */
static json_t *coordinate_json(const poei_target *target, const poei_marginals *m, const poei_variable *variable,
                               size_t id) {
  for (size_t j = 0; j < target->dim; j++) {
    if (target->coordinates[j] == id) {
      return poei_json_numbers(m->p + m->start[j], m->states[j]);
    }
  }
  for (size_t k = 0; k < target->n_clamped; k++) {
    const poe_support *s = &variable->support[id - variable->offset];
    if (target->clamped[k] == id && s->high - s->low < 1e6) {
      size_t n = (size_t)(s->high - s->low) + 1, at = (size_t)(target->clamped_value[k] - s->low);
      json_t *array = json_array();
      for (size_t v = 0; array != NULL && v < n; v++) {
        if (json_array_append_new(array, json_real(v == at ? 1.0 : 0.0)) != 0) {
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
static json_t *variable_json(const poei_target *target, const poei_marginals *m, const poei_variable *variable,
                             size_t axis, size_t *id) {
  if (axis == variable->ndim) {
    return coordinate_json(target, m, variable, (*id)++);
  }
  json_t *array = json_array();
  for (size_t i = 0; array != NULL && i < variable->shape[axis]; i++) {
    if (json_array_append_new(array, variable_json(target, m, variable, axis + 1, id)) != 0) {
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

static poe_status marginals_json(const poei_session *session, const poei_solved *solved, const poei_marginals *m,
                                 bool exact, size_t draws, json_t **result, poe_error *error) {
  json_t *all = json_object();
  json_t *out = json_pack("{s:s,s:o,s:b}", "target", solved->target.name, "marginals", all, "exact", (int)exact);
  poe_status status = poei_json_made(out, error);
  for (size_t i = 0; i < poei_program_variable_count(session->program) && status == POE_OK; i++) {
    const poei_variable *variable = poei_program_variable(session->program, i);
    size_t id = variable->offset;
    if (variable_told(&solved->target, m, variable)) {
      status = poei_json_set(status, all, variable->name, variable_json(&solved->target, m, variable, 0, &id), error);
    }
  }
  if (status == POE_OK) {
    const char *method = exact ? poei_method_word(solved->plan->method) : "frequencies among draws";
    status = poei_json_set(status, out, "method", json_string(method), error);
  }
  if (status == POE_OK && !exact) {
    status = poei_json_set(status, out, "draws", json_integer((json_int_t)draws), error);
  }
  if (status == POE_OK && json_object_size(all) == 0) {
    status = poe_error_set(error, POE_E_CAPABILITY, "'%s' has no discrete coordinate with finitely many values",
                           solved->target.name);
  }
  if (status != POE_OK) {
    json_decref(out);
    return status;
  }
  *result = out;
  return POE_OK;
}

poe_status poei_answer_marginals(poei_session *session, const poei_action *action, json_t **result, poe_error *error) {
  poei_solved solved;
  poe_status status = poei_solve(session, action->n_targets > 0 ? action->targets[0] : NULL, &solved, error);
  if (status != POE_OK) {
    return status;
  }
  poei_marginals m = {0};
  poe_error refusal = {0};
  size_t draws = 0;
  status = poei_plan_marginals(solved.plan, NULL, &m, &refusal);
  bool exact = status == POE_OK;
  if (status == POE_E_CAPABILITY) {
    status = marginals_drawn(session, action, &solved, &m, &draws, error);
  } else if (status != POE_OK && error != NULL) {
    *error = refusal;
  }
  if (status == POE_OK) {
    status = marginals_json(session, &solved, &m, exact, draws, result, error);
  } else {
    poei_target_place(&solved.target, error);
  }
  poei_marginals_free(&m);
  poei_solved_free(&solved);
  return status;
}
