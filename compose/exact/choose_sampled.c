/* The routes that are always there: sequential Monte Carlo from what can be drawn, and Markov chains. */
#include "compose/exact/choose_parts.h"
#include "compose/exact/routes.h"
#include "compose/nodes/node.h"
#include "core/alloc.h"
#include "core/pool.h"

/* POE_E_CAPABILITY when there are discrete coordinates. */
static poe_status refuse_discrete(const poei_chooser *choose, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(choose->plan->expert);
  size_t discrete = 0, first = 0;
  for (size_t j = traits->dim; j-- > 0;) {
    if (traits->support[j].kind == POE_DISCRETE) {
      discrete++;
      first = j;
    }
  }
  if (discrete == 0) {
    return POE_OK;
  }
  if (discrete == traits->dim) {
    poe_error_set(
        error, POE_E_CAPABILITY,
        "the %zu discrete coordinates have more than %zu joint states, and nothing to start sampling from%s%s",
        discrete, choose->options->state_limit, choose->refusal->message[0] == '\0' ? "" : ": ",
        choose->refusal->message);
    poe_error_hint(error, "%s",
                   choose->refusal->hint[0] != '\0' ? choose->refusal->hint
                                                    : "give values to some of them, or make independent blocks");
  } else {
    char name[POEI_NAME_SIZE];
    poei_names_text(&choose->options->names, first, name, sizeof name);
    poe_error_set(
        error, POE_E_CAPABILITY,
        "%zu of the %zu coordinates are discrete (the first is %s) with more than %d joint values: too many to "
        "sum out beside continuous ones, and there is nothing to start sampling from%s%s",
        discrete, traits->dim, name, (int)POEI_MARGINAL_STATES, choose->refusal->message[0] == '\0' ? "" : ": ",
        choose->refusal->message);
    poe_error_hint(error, "give values to some of the discrete coordinates, or multiply by an expert over the "
                          "unbounded coordinates that can be drawn exactly");
  }
  return POE_E_CAPABILITY;
}

void poei_choose_scratch(poei_plan *plan) {
  const poe_expert *target = plan->smooth != NULL ? plan->smooth : plan->expert;
  unsigned want = poei_expert_can(target, POE_CAN_GRADIENT) ? POE_WANT_GRAD : POE_WANT_LOGP;
  plan->scratch_bytes = poe_expert_scratch(target, want, POEI_TILE);
  if (plan->rest != NULL) {
    size_t own =
        poe_expert_scratch(plan->rest, poei_expert_can(plan->rest, POE_CAN_GRADIENT) ? want : POE_WANT_LOGP, POEI_TILE);
    plan->scratch_bytes = own > plan->scratch_bytes ? own : plan->scratch_bytes;
  }
}

/* Sampling happens in the unconstrained coordinates of the base: its support holds the target's. */
static poe_status plan_smc(const poei_chooser *choose, const poei_base *found, poe_error *error) {
  poei_plan *plan = choose->plan;
  const poe_support *support = poe_expert_traits(found->base)->support;
  plan->base_log_z = found->log_z;
  plan->method = POEI_METHOD_SMC;
  plan->start = poei_strdup(found->why);
  poe_status status = plan->start == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  if (status == POE_OK) {
    status = poei_transform_create_over(plan->expert, support, true, &plan->smooth, error);
  }
  if (status == POE_OK) {
    status = poei_transform_create_over(found->base, support, true, &plan->base, error);
  }
  if (status == POE_OK) {
    status = poei_transform_create_over(found->rest, support, false, &plan->rest, error);
  }
  const char *refusal = choose->refusal->message;
  char *obstacle = status != POE_OK     ? NULL
                   : refusal[0] != '\0' ? poei_strdup(refusal)
                                        : poei_choose_no_form(plan->expert);
  if (status == POE_OK) {
    status = poei_choose_reason(
        plan,
        obstacle == NULL
            ? NULL
            : poei_format("%s; weighted draws are moved along a path that starts from %s", obstacle, found->why),
        error);
  }
  poei_free(obstacle);
  return status;
}

static poe_status plan_mcmc(const poei_chooser *choose, poe_error *error) {
  poei_plan *plan = choose->plan;
  plan->method = POEI_METHOD_MCMC;
  poe_status status = poei_transform_create(plan->expert, &plan->smooth, error);
  char *obstacle = status == POE_OK ? poei_choose_no_form(plan->expert) : NULL;
  if (status == POE_OK) {
    status = poei_choose_reason(plan,
                                obstacle == NULL ? NULL
                                                 : poei_format("%s, and no factors that can be drawn exactly cover all "
                                                               "coordinates, so that there is nothing to start a path "
                                                               "from",
                                                               obstacle),
                                error);
  }
  poei_free(obstacle);
  return status;
}

poe_status poei_route_sampling(const poei_chooser *choose, poe_error *error) {
  poei_base found;
  poe_status status = poei_base_find(choose->plan->expert, &found, error);
  if (status == POE_OK && found.base != NULL) {
    status = plan_smc(choose, &found, error);
  } else if (status == POE_OK) {
    status = refuse_discrete(choose, error);
    status = status == POE_OK ? plan_mcmc(choose, error) : status;
  }
  poei_base_free(&found);
  return status;
}

/* ---- as asked ---- */

/* POE_E_CAPABILITY when the proposal misses part of the support. */
static poe_status check_reach(const poei_plan *plan, const poei_proposal *proposal, poe_error *error) {
  const poe_traits *own = poe_expert_traits(proposal->expert), *traits = poe_expert_traits(plan->expert);
  for (size_t j = 0; j < own->dim; j++) {
    const poe_support *wanted = &traits->support[proposal->index[j]];
    if (!poei_support_covers(&own->support[j], wanted)) {
      char name[POEI_NAME_SIZE];
      poei_plan_coordinate_text(plan, proposal->index[j], name, sizeof name);
      poe_error_set(error, POE_E_CAPABILITY, "`%s` is drawn on [%g, %g] along %s, but the target goes from %g to %g",
                    proposal->name, own->support[j].low, own->support[j].high, name, wanted->low, wanted->high);
      poe_error_hint(error, "what proposals never reach is never drawn: take an expert with a wider support");
      return POE_E_CAPABILITY;
    }
  }
  return POE_OK;
}

static poe_status plan_around(const poei_chooser *choose, const poei_proposal *proposal, poe_error *error) {
  poei_base found = {0};
  poe_status status = check_reach(choose->plan, proposal, error);
  if (status == POE_OK) {
    status = poei_base_around(choose->plan->expert, proposal, &found, error);
  }
  if (status == POE_OK && found.base == NULL) {
    status = poe_error_set(error, POE_E_CAPABILITY,
                           "`%s` covers %zu of the %zu coordinates, and nothing that can be drawn covers the others",
                           proposal->name, poe_expert_traits(proposal->expert)->dim, choose->plan->dim);
  } else if (status == POE_OK) {
    status = plan_smc(choose, &found, error);
  }
  poei_base_free(&found);
  return status;
}

poe_status poei_plan_sampled(const poei_plan *plan, const poei_proposal *proposal, poei_plan **out, poe_error *error) {
  poei_plan *made = poei_calloc(1, sizeof *made);
  if (made == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  made->written = poe_expert_retain(plan->written);
  made->expert = poe_expert_retain(plan->expert);
  made->dim = plan->dim;
  made->names = plan->names;
  made->whole = plan->whole;
  made->whole_index = plan->whole_index;
  poei_plan_options options;
  poei_plan_options_default(&options);
  options.names = plan->names;
  poe_error refusal = {0};
  poei_chooser choose = {&options, false, made, &refusal};
  poe_status status = proposal == NULL ? poei_route_sampling(&choose, error) : plan_around(&choose, proposal, error);
  if (status != POE_OK) {
    poei_plan_destroy(made);
    return status;
  }
  poei_choose_scratch(made);
  *out = made;
  return POE_OK;
}
