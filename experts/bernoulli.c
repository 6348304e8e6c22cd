/* bernoulli(x | p | logit): independent binary coordinates, P(x_j = 1) = p_j = 1 / (1 + exp(-logit_j)).
 *
 * log p(1) = -softplus(-logit), log p(0) = -softplus(logit). p may be 0 or 1: the other value is outside the support.
 */
#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/family.h"
#include "experts/independent.h"
#include "experts/list.h"

static const poe_param bernoulli_params[] = {
    {"p", POE_ARG_REAL, "d", NULL, "probability of 1, in [0, 1]"},
    {"logit", POE_ARG_REAL, "d", NULL, "log odds of 1"},
    {0},
};

static poe_status bernoulli_binary(const poe_args *args, poe_error *error) {
  poe_status status = poei_family_need(args, POE_DISCRETE, error);
  size_t d = poe_args_dim(args);
  for (size_t j = 0; status == POE_OK && j < d; j++) {
    const poe_subject *subject = NULL;
    const poe_support *support = poei_family_support(args, j, &subject);
    if (support->low != 0.0 || support->high != 1.0) {
      status = poe_error_set(error, POE_E_TYPE, "`%s` needs binary variables, but `%s` takes other values too",
                             args->kind, subject->name);
      poe_error_hint(error, "declare `%s` as binary, or use categorical", subject->name);
    }
  }
  return status;
}

/* log_p[d, 2] from numbers[d], which are probabilities or log odds. */
static poe_status bernoulli_fill(const poe_args *args, size_t which, size_t d, const double *numbers, double *log_p,
                                 poe_error *error) {
  for (size_t j = 0; j < d; j++) {
    double v = numbers[j];
    if (which == 1) {
      log_p[2 * j] = -poei_softplus(v);
      log_p[2 * j + 1] = -poei_softplus(-v);
    } else if (v >= 0.0 && v <= 1.0) {
      log_p[2 * j] = log1p(-v);
      log_p[2 * j + 1] = log(v);
    } else {
      return poe_args_error(poe_args_find(args, "p"), error, POE_E_DOMAIN,
                            "`p` of `%s` must be a probability; number %zu is %g", args->kind, j, v);
    }
  }
  return POE_OK;
}

static poe_status bernoulli_create(const poe_args *args, void **self, poe_error *error) {
  static const char *const names[] = {"p", "logit"};
  size_t which = 0, d = poe_args_dim(args);
  poe_status status = bernoulli_binary(args, error);
  if (status == POE_OK) {
    status = poei_family_one_of(args, 2, names, &which, error);
  }
  if (status != POE_OK) {
    return status;
  }
  poei_independent *made = poei_independent_alloc(d, 2);
  if (made == NULL) {
    return poei_family_memory(args->kind, error);
  }
  status = poe_args_real(args, names[which], 1, &d, NAN, false, made->p, error);
  if (status == POE_OK) {
    status = bernoulli_fill(args, which, d, made->p, made->log_p, error);
  }
  if (status != POE_OK) {
    poei_independent_destroy(made);
    return status;
  }
  poei_independent_finish(made);
  *self = made;
  return POE_OK;
}

const poe_expert_ops poei_bernoulli_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "bernoulli",
    .doc = "independent binary variables",
    .params = bernoulli_params,
    .create = bernoulli_create,
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
