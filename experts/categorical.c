/* categorical(c | p | logits): independent coordinates over {0, ..., k-1}, P(c = i) = p_i / sum p or softmax(logits)_i.
 *
 * k numbers serve every coordinate of the subjects, [d, k] gives each its own. Numbers are normalised; a logit may be
 * -inf, which is probability 0.
 */
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/discrete.h"
#include "experts/family.h"
#include "experts/independent.h"
#include "experts/list.h"

static const poe_param categorical_params[] = {
    {"p", POE_ARG_REAL, "k", NULL, "probabilities of the values, scaled to sum to 1; or [d, k]"},
    {"logits", POE_ARG_REAL, "k", NULL, "log probabilities up to a constant; or [d, k]"},
    {0},
};

static poe_status categorical_read(const poe_args *args, const char *name, poei_independent *made, poe_error *error) {
  const poe_arg *arg = poe_args_find(args, name);
  size_t d = made->d, k = made->k, shape[2] = {d, k};
  bool logits = name[0] == 'l', each = arg->ndim == 2;
  if (arg->ndim == 0 && k > 1) {
    return poe_args_error(arg, error, POE_E_SHAPE, "`%s` of `%s` must be %zu numbers, not one", name, args->kind, k);
  }
  poe_status status = poe_args_real(args, name, each ? 2 : 1, each ? shape : &k, NAN, logits, made->log_p, error);
  for (size_t j = 0; status == POE_OK && j < d; j++) {
    double *row = made->log_p + j * k;
    if (j > 0 && !each) {
      memcpy(row, made->log_p, k * sizeof *row);
      continue;
    }
    if (!logits) {
      status = poei_family_log_weights(args, name, k, row, error);
      continue;
    }
    double total = poei_log_sum_exp(row, k, 1);
    if (!isfinite(total)) {
      return poe_args_error(arg, error, POE_E_DOMAIN, "`logits` of `%s` must not all be -inf, nor any of them inf",
                            args->kind);
    }
    for (size_t i = 0; i < k; i++) {
      row[i] -= total;
    }
  }
  return status;
}

static poe_status categorical_create(const poe_args *args, void **self, poe_error *error) {
  static const char *const names[] = {"p", "logits"};
  size_t which = 0, k = 0;
  poe_status status = poei_discrete_values(args, &k, error);
  if (status == POE_OK) {
    status = poei_family_one_of(args, 2, names, &which, error);
  }
  if (status != POE_OK) {
    return status;
  }
  poei_independent *made = poei_independent_alloc(poe_args_dim(args), k);
  if (made == NULL) {
    return poei_family_memory(args->kind, error);
  }
  status = categorical_read(args, names[which], made, error);
  if (status != POE_OK) {
    poei_independent_destroy(made);
    return status;
  }
  poei_independent_finish(made);
  *self = made;
  return POE_OK;
}

const poe_expert_ops poei_categorical_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "categorical",
    .doc = "independent variables over finitely many values",
    .params = categorical_params,
    .create = categorical_create,
    .destroy = poei_independent_destroy,
    .traits = poei_independent_traits,
    .scratch = poei_independent_scratch,
    .eval_add = poei_independent_eval_add,
    .sample = poei_independent_sample,
    .log_z = poei_independent_log_z,
    .form = poei_independent_form,
    .structure = poei_independent_structure,
    .local = &poei_independent_local,
    .onehot_grad_add = poei_independent_onehot_grad_add,
};
