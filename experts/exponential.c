/* exponential(x | rate): independent coordinates x >= 0 with density rate exp(-rate x).
 *
 * On a bounded variable it is that density restricted to the bound (log Z is the log of the mass inside).
 */
#include <math.h>

#include "experts/list.h"
#include "experts/separable.h"

static const poe_param exponential_params[] = {
    {"rate", POE_ARG_REAL, "d", NULL, "one over the mean, > 0"},
    {0},
};

static poe_support exponential_set(const double *param, const poe_support *declared, double *p) {
  (void)declared;
  poei_exponential_set(param[0], 0.0, p);
  return (poe_support){POE_CONTINUOUS, 0.0, INFINITY, false, true};
}

static poe_status exponential_create(const poe_args *args, void **self, poe_error *error) {
  static const poei_separable_family family = {
      POE_CONTINUOUS, &poei_exponential_law, 1, {{"rate", NAN, POEI_POSITIVE}}, exponential_set};
  return poei_separable_create(&family, args, self, error);
}

const poe_expert_ops poei_exponential_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "exponential",
    .doc = "exponential density of independent coordinates",
    .params = exponential_params,
    .create = exponential_create,
    .destroy = poei_separable_destroy,
    .traits = poei_separable_traits,
    .scratch = poei_separable_scratch,
    .eval_add = poei_separable_eval_add,
    .sample = poei_separable_sample,
    .log_z = poei_separable_log_z,
    .structure = poei_separable_structure,
};
