/* A density given by its closed form, constant included.
 *
 * A component exp(c + l.u - u'Pu/2), u = x - o, is w N(x; m, P^-1) with m = o + P^-1 l and log w = c + l.(m - o)/2 +
 * (d/2) log 2 pi - log|P|/2: evaluated around its mean, which loses no digits when the mean is far from the origin.
 */
#include "experts/closed.h"

#include <string.h>

#include "core/alloc.h"
#include "experts/form.h"
#include "experts/normals.h"
#include "experts/spd.h"
#include "experts/states.h"

static const poe_param closed_params[] = {{0}};

static const poe_expert_ops closed_gaussians_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "closed",
    .doc = "a sum of weighted Gaussians in closed form",
    .params = closed_params,
    .destroy = poei_normals_destroy,
    .traits = poei_normals_traits,
    .scratch = poei_normals_scratch,
    .eval_add = poei_normals_eval_add,
    .sample = poei_normals_sample,
    .log_z = poei_normals_log_z,
    .form = poei_normals_form,
    .structure = poei_normals_structure,
};

static const poe_expert_ops closed_table_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "closed",
    .doc = "a table over discrete states",
    .params = closed_params,
    .destroy = poei_states_destroy,
    .traits = poei_states_traits,
    .scratch = poei_states_scratch,
    .eval_add = poei_states_eval_add,
    .sample = poei_states_sample,
    .log_z = poei_states_log_z,
    .form = poei_states_form,
    .structure = poei_states_structure,
    .local = &poei_states_local,
    .onehot_grad_add = poei_states_onehot_grad_add,
};

static poe_status closed_wrap(const poe_expert_ops *ops, void *self, poe_expert **expert, poe_error *error) {
  poe_status status = poe_expert_wrap(ops, self, expert, error);
  if (status != POE_OK) {
    ops->destroy(self);
  }
  return status;
}

static poe_status closed_table(const poe_form *form, poe_expert **expert, poe_error *error) {
  poe_form copy = {0};
  poei_states *states = NULL;
  poe_status status = poei_form_copy(form, &copy, error);
  if (status == POE_OK) {
    status = poei_states_create(&copy, &states, error);
    poe_form_release(&copy);
  }
  return status == POE_OK ? closed_wrap(&closed_table_ops, states, expert, error) : status;
}

/* Number of components of positive weight; *diagonal when all of them are. */
static size_t closed_count(const poe_form *form, bool *diagonal) {
  size_t d = form->dim, k = 0;
  *diagonal = true;
  for (size_t c = 0; c < form->components; c++) {
    if (form->constant[c] != -INFINITY) {
      *diagonal = *diagonal && poei_spd_diagonal(d, form->precision + c * d * d);
      k++;
    }
  }
  return k;
}

static poe_status closed_fill(const poe_form *form, poei_normals *normals, double *factor, poe_error *error) {
  size_t d = form->dim, k = 0;
  for (size_t c = 0; c < form->components; c++) {
    if (form->constant[c] == -INFINITY) {
      continue;
    }
    const double *precision = form->precision + c * d * d;
    poe_status status = poei_form_component(form, c, factor, normals->mean + k * d, &normals->log_weight[k], error);
    if (status == POE_OK && !isfinite(normals->log_weight[k])) {
      status = poe_error_set(error, POE_E_NUMERIC, "the log integral of component %zu of a closed form is %g", c + 1,
                             normals->log_weight[k]);
    }
    if (status != POE_OK) {
      return status;
    }
    if (normals->shape == POEI_NORMALS_DIAGONAL) {
      for (size_t j = 0; j < d; j++) {
        normals->factor[k * d + j] = sqrt(precision[j * d + j]);
      }
    } else {
      memcpy(normals->factor + k * d * d, factor, d * d * sizeof *factor);
      memcpy(normals->precision + k * d * d, precision, d * d * sizeof *precision);
    }
    k++;
  }
  return POE_OK;
}

poe_status poei_closed_create(const poe_form *form, poe_expert **expert, poe_error *error) {
  if (form->dim == 0) {
    return poe_error_set(error, POE_E_SHAPE, "a closed form needs at least one coordinate");
  }
  if (form->kind == POE_FORM_TABLE) {
    return closed_table(form, expert, error);
  }
  bool diagonal = false;
  size_t d = form->dim, k = closed_count(form, &diagonal);
  if (k == 0) {
    return poe_error_set(error, POE_E_EMPTY, "every component of the closed form has weight 0");
  }
  poei_normals *normals = poei_normals_alloc(k, d, diagonal ? POEI_NORMALS_DIAGONAL : POEI_NORMALS_PRECISION, false);
  double *factor = poei_alloc(d, d * sizeof *factor);
  poe_status status = POE_OK;
  if (normals == NULL || factor == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory for a closed form");
  } else {
    status = closed_fill(form, normals, factor, error);
  }
  poei_free(factor);
  if (status != POE_OK) {
    poei_normals_destroy(normals);
    return status;
  }
  poei_normals_finish(normals);
  return closed_wrap(&closed_gaussians_ops, normals, expert, error);
}
