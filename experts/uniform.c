/* uniform(x | low, high): independent coordinates, each uniform between its bounds; normalised.
 *
 * Real coordinates: density 1 / (high - low) on the interval; discrete ones: 1 / (high - low + 1) on the integers low
 * .. high. Bounds that are not given are those of the variable's declaration, open or closed as it says.
 */
#include <math.h>

#include "core/alloc.h"
#include "experts/family.h"
#include "experts/list.h"
#include "experts/separable.h"

static const poe_param uniform_params[] = {
    {"low", POE_ARG_REAL, "d", NULL, "lower bound (default: the variable's)"},
    {"high", POE_ARG_REAL, "d", NULL, "upper bound (default: the variable's)"},
    {0},
};

/* Replaces the declared bounds by the arguments, coordinate by coordinate. */
static poe_status uniform_bounds(const poe_args *args, const char *name, poei_separable *s, double *bound,
                                 poe_error *error) {
  if (poe_args_find(args, name) == NULL) {
    return POE_OK;
  }
  poe_status status = poe_args_real(args, name, 1, &s->d, NAN, false, bound, error);
  bool low = name[0] == 'l';
  for (size_t j = 0; status == POE_OK && j < s->d; j++) {
    if (low) {
      s->support[j].low = bound[j];
      s->support[j].low_open = false;
    } else {
      s->support[j].high = bound[j];
      s->support[j].high_open = false;
    }
  }
  return status;
}

static poe_status uniform_check(const poe_args *args, poei_separable *s, poe_error *error) {
  const poe_arg *place = poe_args_find(args, "high") != NULL ? poe_args_find(args, "high") : poe_args_find(args, "low");
  for (size_t j = 0; j < s->d; j++) {
    const poe_support *own = &s->support[j];
    bool discrete = own->kind == POE_DISCRETE;
    if (!isfinite(own->low) || !isfinite(own->high)) {
      const poe_subject *subject = NULL;
      poei_family_support(args, j, &subject);
      poe_args_error(place, error, POE_E_IMPROPER, "`%s` over `%s`, which has no bounds, cannot be normalised",
                     args->kind, subject->name);
      poe_error_hint(error, "give low and high, or declare the variable within an interval");
      return POE_E_IMPROPER;
    }
    if (discrete ? !(own->low <= own->high) : !(own->low < own->high)) {
      return poe_args_error(place, error, POE_E_DOMAIN,
                            "`low` of `%s` must be less than `high`; at %zu they are %g, %g", args->kind, j, own->low,
                            own->high);
    }
    if (discrete && (own->low != floor(own->low) || own->high != floor(own->high))) {
      return poe_args_error(place, error, POE_E_DOMAIN, "bounds of a discrete variable must be whole; at %zu: %g, %g",
                            j, own->low, own->high);
    }
    double length = own->high - own->low + (discrete ? 1.0 : 0.0);
    if (!isfinite(length)) {
      return poe_args_error(place, error, POE_E_DOMAIN, "the interval of `%s` is too long", args->kind);
    }
    s->law[j] = &poei_flat_law;
    poei_flat_set(-log(length), s->p[j]);
  }
  return POE_OK;
}

static poe_status uniform_create(const poe_args *args, void **self, poe_error *error) {
  size_t d = poe_args_dim(args);
  if (d == 0) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs a variable before the bar", args->kind);
  }
  poei_separable *s = poei_separable_alloc(d);
  double *bound = poei_alloc(d, sizeof *bound);
  poe_status status = s == NULL || bound == NULL ? poei_family_memory(args->kind, error) : POE_OK;
  for (size_t j = 0; status == POE_OK && j < d; j++) {
    s->support[j] = *poei_family_support(args, j, NULL);
    s->support[j].kind = s->support[j].kind == POE_DISCRETE ? POE_DISCRETE : POE_CONTINUOUS;
  }
  if (status == POE_OK) {
    status = uniform_bounds(args, "low", s, bound, error);
  }
  if (status == POE_OK) {
    status = uniform_bounds(args, "high", s, bound, error);
  }
  if (status == POE_OK) {
    status = uniform_check(args, s, error);
  }
  if (status == POE_OK) {
    status = poei_separable_finish(s, error);
  }
  poei_free(bound);
  if (status != POE_OK) {
    poei_separable_destroy(s);
    return status;
  }
  *self = s;
  return POE_OK;
}

const poe_expert_ops poei_uniform_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "uniform",
    .doc = "uniform density (or probability) between bounds",
    .params = uniform_params,
    .create = uniform_create,
    .destroy = poei_separable_destroy,
    .traits = poei_separable_traits,
    .scratch = poei_separable_scratch,
    .eval_add = poei_separable_eval_add,
    .sample = poei_separable_sample,
    .log_z = poei_separable_log_z,
    .form = poei_separable_form,
    .structure = poei_separable_structure,
    .local = &poei_separable_local,
    .onehot_grad_add = poei_separable_onehot_grad_add,
};
