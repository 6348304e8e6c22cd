/* Exact means and standard deviations of Gaussian coordinates (see compose/exact/moments.h), as JSON. */
#include "answer/marginals_gaussian.h"

#include <math.h>

#include "compose/exact/moments.h"
#include "core/alloc.h"
#include "formats/json_text.h"

typedef struct numbers {
  const poei_target *target;
  const double *value; /* [target dim] NaN: unknown  */
  bool spread;         /* standard deviations: 0 for a clamped coordinate */
} numbers;

static json_t *coordinate_json(const numbers *all, size_t id) {
  const poei_target *target = all->target;
  for (size_t j = 0; j < target->dim; j++) {
    if (target->coordinates[j] == id) {
      return isnan(all->value[j]) ? json_null() : poei_json_number(all->value[j]);
    }
  }
  for (size_t k = 0; k < target->n_clamped; k++) {
    if (target->clamped[k] == id) {
      return poei_json_number(all->spread ? 0.0 : target->clamped_value[k]);
    }
  }
  return json_null();
}

/* The coordinates from *id on, nested by axes axis, axis + 1, ... */
static json_t *variable_json(const numbers *all, const poei_variable *variable, size_t axis, size_t *id) {
  if (axis == variable->ndim) {
    return coordinate_json(all, (*id)++);
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

static bool is_known(const poei_target *target, const double *mean, const poei_variable *variable) {
  bool known = false;
  for (size_t j = 0; j < target->dim; j++) {
    size_t id = target->coordinates[j];
    known = known || (id >= variable->offset && id < variable->offset + variable->dim && !isnan(mean[j]));
  }
  return known;
}

static poe_status add_variable(const poei_target *target, const double *mean, const double *sd,
                               const poei_variable *variable, json_t *all, poe_error *error) {
  numbers means = {target, mean, false}, spreads = {target, sd, true};
  size_t id = variable->offset, again = variable->offset;
  json_t *item = json_pack("{s:o,s:o}", "mean", variable_json(&means, variable, 0, &id), "sd",
                           variable_json(&spreads, variable, 0, &again));
  return poei_json_set(POE_OK, all, variable->name, item, error);
}

static poe_status moments_json(const poei_session *session, const poei_target *target, const double *mean,
                               const double *sd, json_t *result, bool *told, poe_error *error) {
  json_t *all = json_object();
  poe_status status = poei_json_made(all, error);
  for (size_t i = 0; i < poei_program_variable_count(session->program) && status == POE_OK; i++) {
    const poei_variable *variable = poei_program_variable(session->program, i);
    if (is_known(target, mean, variable)) {
      *told = true;
      status = add_variable(target, mean, sd, variable, all, error);
    }
  }
  if (status != POE_OK || !*told) {
    json_decref(all);
    return status;
  }
  return poei_json_set(status, result, "moments", all, error);
}

poe_status poei_marginals_moments(const poei_session *session, const poei_solved *solved, json_t *result, bool *told,
                                  poe_error *error) {
  size_t dim = solved->plan->dim;
  double *mean = poei_alloc(dim, 2 * sizeof *mean), *sd = mean == NULL ? NULL : mean + dim;
  *told = false;
  if (mean == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = poei_plan_moments(solved->plan, mean, sd, error);
  for (size_t j = 0; j < dim && status == POE_OK; j++) {
    sd[j] = sqrt(sd[j]);
  }
  if (status == POE_OK) {
    status = moments_json(session, &solved->target, mean, sd, result, told, error);
  }
  poei_free(mean);
  return status;
}
