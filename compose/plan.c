/* The planner's door: constants first, then the rewritten tree and its route (compose/exact/choose.c).
 *
 * A plan with holes holds nothing but them: whoever can sample fills them and plans the new tree.
 */
#include "compose/plan.h"

#include "compose/exact/choose.h"
#include "compose/exact/routes.h"
#include "core/alloc.h"

const char *poei_method_word(poei_method method) {
  static const char *const words[] = {
#define POEI_METHOD_WORD(name, word, exact) word,
      POEI_METHOD_LIST(POEI_METHOD_WORD)
#undef POEI_METHOD_WORD
  };
  return words[method];
}

void poei_plan_options_default(poei_plan_options *options) {
  *options = (poei_plan_options){
      .mixture_limit = 4096, .state_limit = (size_t)1 << 20, .tolerance = 1e-8, .byte_limit = (size_t)1 << 30};
}

/* Zeroed fields have their defaults. */
static poei_plan_options complete(const poei_plan_options *given) {
  poei_plan_options options;
  poei_plan_options_default(&options);
  if (given == NULL) {
    return options;
  }
  options.values_only = given->values_only;
  options.no_rewrite = given->no_rewrite;
  options.names = given->names;
  options.prune = given->prune > 0.0 && given->prune < 1.0 ? given->prune : 0.0;
  options.trace = given->trace;
  options.checks_only = given->checks_only;
  options.stop = given->stop;
  options.mixture_limit = given->mixture_limit != 0 ? given->mixture_limit : options.mixture_limit;
  options.state_limit = given->state_limit != 0 ? given->state_limit : options.state_limit;
  options.tolerance = given->tolerance > 0.0 ? given->tolerance : options.tolerance;
  options.byte_limit = given->byte_limit != 0 ? given->byte_limit : options.byte_limit;
  return options;
}

/* A plan that only says what is missing. */
static poe_status plan_of_holes(const poe_expert *resolved, size_t n, poe_expert **holes, poei_plan **out,
                                poe_error *error) {
  poei_plan *plan = poei_calloc(1, sizeof *plan);
  if (plan == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  plan->expert = poe_expert_retain(resolved);
  plan->dim = poe_expert_traits(resolved)->dim;
  plan->reason = poei_format("%zu constant%s must be estimated first", n, n == 1 ? "" : "s");
  if (plan->reason == NULL) {
    poei_plan_destroy(plan);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  plan->n_holes = n;
  plan->holes = holes;
  *out = plan;
  return POE_OK;
}

poe_status poei_plan_build(const poe_expert *target, const poei_plan_options *options, poei_plan **plan,
                           poe_error *error) {
  poei_plan_options all = complete(options), inner = all;
  inner.values_only = false;
  inner.prune = 0.0;
  inner.trace = NULL;
  inner.names = (poei_names){0}; /* a constant's expression has coordinates of its own */
  poe_expert *resolved = NULL, **holes = NULL;
  size_t n = 0;
  poe_status status = poei_resolve_holes(target, &inner, &resolved, &n, &holes, error);
  if (status != POE_OK) {
    return status;
  }
  poei_plan *made = NULL;
  status =
      n > 0 ? plan_of_holes(resolved, n, holes, &made, error) : poei_plan_tree(resolved, &all, false, &made, error);
  if (status != POE_OK || n == 0) { /* with holes and success the plan has taken them */
    for (size_t i = 0; i < n; i++) {
      poe_expert_release(holes[i]);
    }
    poei_free(holes);
  }
  poe_expert_release(resolved);
  if (status != POE_OK) {
    return status;
  }
  poe_expert_release(made->written);
  made->written = poe_expert_retain(target);
  *plan = made;
  return POE_OK;
}

const char *poei_plan_coordinate_text(const poei_plan *plan, size_t coordinate, char *text, size_t size) {
  for (; plan->whole != NULL; plan = plan->whole) {
    coordinate = plan->whole_index == NULL ? coordinate : plan->whole_index[coordinate];
  }
  return poei_names_text(&plan->names, coordinate, text, size);
}

poe_status poei_plan_check_proper(const poei_plan *plan, poe_error *error) {
  poe_status status = poei_check_proper(plan->expert, &plan->names, error);
  return status == POE_OK ? poei_check_rays(plan->expert, &plan->names, NULL, error) : status;
}

void poei_plan_destroy(poei_plan *plan) {
  if (plan == NULL) {
    return;
  }
  poe_expert_release(plan->written);
  poe_expert_release(plan->expert);
  for (size_t i = 0; i < plan->n_holes; i++) {
    poe_expert_release(plan->holes[i]);
  }
  poei_free(plan->holes);
  for (size_t i = 0; i < plan->n_rules; i++) {
    poei_free(plan->rules[i].what);
  }
  poei_free(plan->rules);
  poei_free(plan->reason);
  poei_free(plan->start);
  poei_free(plan->caution);
  poe_expert_release(plan->sampler);
  for (size_t i = 0; i < plan->n_parts; i++) {
    poei_plan_destroy(plan->parts[i]);
    if (plan->part_index != NULL) {
      poei_free(plan->part_index[i]);
    }
  }
  poei_free(plan->parts);
  poei_free(plan->part_log_weight);
  poei_free(plan->part_index);
  poei_free(plan->read);
  poei_free(plan->gain);
  poe_expert_release(plan->discrete);
  poe_expert_release(plan->smooth);
  poe_expert_release(plan->base);
  poe_expert_release(plan->rest);
  poei_free(plan);
}
