/* Choosing how a target is answered: the routes, from exact to sampled, each tried only when those before it fail.
 *
 *   closed form    the target can be drawn and its log Z is known
 *   elimination    every coordinate is discrete, and the factors make a graph of small treewidth
 *   enumeration    every coordinate is discrete and there are few states, or one count that provably falls
 *   blocks         groups of factors over disjoint coordinates: each has a plan of its own
 *   mixture        components of known log Z: each has a plan of its own
 *   branches       few discrete values, and a closed form of the rest for each of them
 *   islands        many discrete values; integrals of few continuous coordinates for each that these read
 *   exact rest     a Gaussian of which the other factors read only some coordinates: these by themselves
 *   values         few discrete values, and log Z of the rest for each of them: each has a plan of its own
 *   marginal       few discrete values beside continuous coordinates: these by themselves
 *   quadrature     one or two continuous coordinates
 *   SMC            from a factor that can be drawn
 *   MCMC           when there is nothing to start from
 *
 * The last two are in choose_sampled.c. What cannot be evaluated may still be eliminated, or drawn with its latent
 * variables. log Z is found on its own: it may be known where draws have to be sampled. Plans made of other plans are
 * in choose_parts.c, those through another density in choose_latent.c.
 */
#include "compose/exact/choose.h"

#include <math.h>
#include <stdint.h>

#include "compose/exact/choose_parts.h"
#include "compose/exact/discrete.h"
#include "compose/exact/numeric.h"
#include "compose/exact/prune.h"
#include "compose/exact/routes.h"
#include "compose/exact/simplices.h"
#include "compose/exact/trace.h"
#include "compose/exact/words.h"
#include "compose/nodes/sticks.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "core/pool.h"
#include "experts/network.h"

static const double worst_bound = 1e-2; /* nats: a quadrature less certain than this is not used */

poe_status poei_choose_reason(poei_plan *plan, char *text, poe_error *error) {
  poei_free(plan->reason);
  plan->reason = text;
  return text == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
}

void poei_choose_log_z(poei_plan *plan, poei_method method, double log_z, double log_z_error) {
  plan->has_log_z = true;
  plan->log_z_method = method;
  plan->log_z = log_z;
  plan->log_z_error = log_z_error;
}

/* Error of a log Z found by integrating the target as evaluated: its constants may be estimates. */
static double with_offset(const poe_expert *target, double bound) {
  double offset = poei_expert_normalised(target) ? 0.0 : poe_expert_traits(target)->offset_error;
  return sqrt(bound * bound + offset * offset);
}

/* The first leaf that stands in the way of a closed form: it has neither a dense nor a factored one. */
static const poe_expert *obstacle(const poe_expert *expert) {
  if (poei_node_kind_of(expert) == POEI_NODE_LEAF) {
    unsigned closed = poe_expert_traits(expert)->capabilities & (POE_CAN_FORM | POE_CAN_STRUCTURE);
    return closed != 0 ? NULL : expert;
  }
  for (size_t i = 0; i < poei_node_child_count(expert); i++) {
    const poe_expert *found = obstacle(poei_node_child(expert, i));
    if (found != NULL) {
      return found;
    }
  }
  return NULL;
}

char *poei_choose_no_form(const poe_expert *expert) {
  const poe_expert *leaf = obstacle(expert);
  if (leaf == NULL) {
    return poei_strdup("the factors have closed forms, but their product as it stands has none");
  }
  double low, high;
  if (poei_flow_cut(leaf, &low, &high)) {
    return poei_format("a variable's bounds cut off part of a flow, which reaches from %.12g to %.12g there", low,
                       high);
  }
  return poei_format("`%s` has no closed form", poe_expert_ops_of(leaf)->kind);
}

/* ---- closed form, enumeration ---- */

static poe_status try_closed(const poei_chooser *choose, bool *done, poe_error *error) {
  poei_plan *plan = choose->plan;
  double log_z;
  if (poei_expert_known_log_z(plan->expert, &log_z)) {
    if (!isfinite(log_z)) {
      return poe_error_set(error, log_z < 0.0 ? POE_E_EMPTY : POE_E_IMPROPER, "log Z of the target is %g", log_z);
    }
    double offset = poei_expert_normalised(plan->expert) ? 0.0 : poe_expert_traits(plan->expert)->offset_error;
    poei_choose_log_z(plan, POEI_METHOD_CLOSED, log_z, offset);
    if (choose->log_z_only) {
      *done = true;
      return POE_OK;
    }
  }
  if (!poei_expert_can(plan->expert, POE_CAN_SAMPLE)) {
    return POE_OK;
  }
  *done = true;
  plan->method = POEI_METHOD_CLOSED;
  plan->sampler = poe_expert_retain(plan->expert);
  plan->exact = plan->has_log_z && plan->log_z_error == 0.0;
  char words[POEI_WORDS_SIZE];
  poei_expert_words(plan->expert, words, sizeof words);
  const char *known = plan->has_log_z ? "known" : "not known";
  bool product = poei_node_kind_of(plan->expert) == POEI_NODE_product;
  return poei_choose_reason(plan,
                            product ? poei_format("its %zu factors are drawn from one after another; log Z is %s",
                                                  poei_node_child_count(plan->expert), known)
                                    : poei_format("the whole is %s %s, which is drawn from directly; log Z is %s",
                                                  poei_article(words), words, known),
                            error);
}

poe_status poei_route_elimination(const poei_chooser *choose, bool *done, poe_error *error) {
  poei_plan *plan = choose->plan;
  poei_elimination_answer answer;
  poe_status status =
      poei_eliminate(plan->expert, choose->options, choose->log_z_only, &answer, choose->refusal, error);
  if (status != POE_OK || !answer.done) {
    return status;
  }
  *done = true;
  if (!plan->has_log_z) {
    poei_choose_log_z(plan, POEI_METHOD_ELIMINATION, answer.log_z, with_offset(plan->expert, 0.0));
  }
  plan->method = POEI_METHOD_ELIMINATION;
  plan->exact = plan->log_z_error == 0.0;
  plan->sampler = answer.sampler;
  return poei_choose_reason(plan, answer.reason, error);
}

static poe_status try_enumeration(const poei_chooser *choose, bool *done, poe_error *error) {
  poei_plan *plan = choose->plan;
  size_t states = poei_joint_states(plan->expert, choose->options->state_limit);
  if (states == 0) {
    return POE_OK;
  }
  poe_expert *all = NULL;
  poe_status status = poei_enumeration_create(plan->expert, &all, error);
  if (status != POE_OK) {
    return status;
  }
  *done = true;
  double log_z = 0.0;
  status = poe_expert_log_z(all, &log_z, error);
  if (!plan->has_log_z) {
    poei_choose_log_z(plan, POEI_METHOD_ENUMERATION, log_z, with_offset(plan->expert, 0.0));
  }
  plan->method = POEI_METHOD_ENUMERATION;
  plan->exact = plan->log_z_error == 0.0;
  plan->sampler = all;
  return status == POE_OK
             ? poei_choose_reason(plan, poei_format("its %zu joint states are few enough to add up one by one", states),
                                  error)
             : status;
}

/* One count without an upper end. */
static poe_status try_counts(const poei_chooser *choose, bool *done, poe_error *error) {
  poei_plan *plan = choose->plan;
  poe_expert *all = NULL;
  double last = 0.0, log_z = 0.0;
  poe_status status = poei_counts_create(plan->expert, choose->options->state_limit, &all, &last, error);
  if (status != POE_OK || all == NULL) {
    return status;
  }
  *done = true;
  status = poe_expert_log_z(all, &log_z, error);
  if (!plan->has_log_z) {
    poei_choose_log_z(plan, POEI_METHOD_ENUMERATION, log_z, with_offset(plan->expert, 0.0));
  }
  plan->method = POEI_METHOD_ENUMERATION;
  plan->exact = plan->log_z_error == 0.0;
  plan->sampler = all;
  return status != POE_OK
             ? status
             : poei_choose_reason(
                   plan,
                   poei_format("the states up to %.0f were added up; the rest is less than 1e-18 of the sum", last),
                   error);
}
/* ---- continuous coordinates ---- */

/* `over`: the target over its free coordinates, itself where it has no simplex. */
static poe_status quadrature_around(const poei_chooser *choose, const poe_expert *over, const poei_spots *spots,
                                    bool *done, poe_error *error) {
  poei_plan *plan = choose->plan;
  size_t free_dim = poe_expert_traits(over)->dim;
  double log_z, bound;
  bool converged;
  poe_status status = poei_integrate(over, spots, choose->options->tolerance, &log_z, &bound, &converged, error);
  if (status == POE_E_NUMERIC) {
    return POE_OK; /* singular or not a number somewhere: sampling has its own say */
  }
  if (status != POE_OK || !(converged || bound < worst_bound) || !isfinite(log_z)) {
    return status;
  }
  /* The grid is the integral's witness: it is built without it, and where it does not get to the same mass (a ridge
   * thinner than what was looked at) neither is believed. */
  poe_expert *sampler = NULL;
  status = poei_grid_create(over, spots, log_z, bound, &sampler, error);
  if (status != POE_OK || sampler == NULL) {
    return status;
  }
  if (!plan->has_log_z) {
    poei_choose_log_z(plan, POEI_METHOD_QUADRATURE, log_z, with_offset(plan->expert, bound));
  }
  plan->method = POEI_METHOD_QUADRATURE;
  if (!choose->log_z_only && over != plan->expert) {
    status = poei_stuck_create(plan->expert, sampler, &plan->sampler, error);
  } else if (!choose->log_z_only) {
    plan->sampler = poe_expert_retain(sampler);
  }
  poe_expert_release(sampler);
  if (status != POE_OK || choose->log_z_only) {
    *done = status == POE_OK;
    return status;
  }
  *done = true;
  char *looked = poei_spots_text(spots), *obstacle_text = poei_choose_no_form(plan->expert);
  status = poei_choose_reason(
      plan,
      looked == NULL || obstacle_text == NULL
          ? NULL
          : poei_format("%s; with %zu %scoordinate%s the density can be integrated numerically: %s", obstacle_text,
                        free_dim, over == plan->expert ? "" : "free ", free_dim == 1 ? "" : "s", looked),
      error);
  poei_free(looked);
  poei_free(obstacle_text);
  return status;
}

static poe_status try_quadrature(const poei_chooser *choose, bool *done, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(choose->plan->expert);
  poei_spots spots = {.stop = choose->options->stop};
  poe_expert *over = NULL;
  for (size_t j = 0; j < traits->dim; j++) {
    if (traits->support[j].kind == POE_DISCRETE) {
      return POE_OK;
    }
  }
  if (poei_unstuck_dim(choose->plan->expert) > 2) {
    return POE_OK;
  }
  if (choose->options->checks_only) {
    *done = true;
    choose->plan->method = POEI_METHOD_QUADRATURE;
    return poei_choose_reason(choose->plan, poei_strdup("quadrature could be tried; nothing was integrated"), error);
  }
  poe_status status = POE_OK;
  if (poei_simplex_any(traits->dim, traits->support)) {
    status = poei_unstuck_create(choose->plan->expert, &over, error);
  } else {
    over = poe_expert_retain(choose->plan->expert);
  }
  if (status == POE_OK) {
    status = poei_spots_find(over, &spots, error);
  }
  if (status == POE_OK) {
    status = quadrature_around(choose, over, &spots, done, error);
  }
  poei_spots_free(&spots);
  poe_expert_release(over);
  return status;
}

/* ---- all of it ---- */

static poe_status choose_route(const poei_chooser *choose, poe_error *error) {
  static poe_status (*const routes[])(const poei_chooser *, bool *, poe_error *) = {
      try_closed,        poei_route_elimination, try_enumeration,     try_counts,
      poei_route_blocks, poei_route_mixture,     poei_route_branches, poei_route_islands,
      poei_route_rest,   poei_route_values,      poei_route_mixed,    poei_route_replicas};
  bool done = false;
  poe_status status = POE_OK;
  for (size_t i = 0; i < sizeof routes / sizeof routes[0] && status == POE_OK && !done; i++) {
    status = routes[i](choose, &done, error);
  }
  if (status == POE_OK && !done) {
    status = try_quadrature(choose, &done, error);
  }
  return status == POE_OK && !done ? poei_route_sampling(choose, error) : status;
}

poe_status poei_plan_tree(const poe_expert *tree, const poei_plan_options *options, bool log_z_only, poei_plan **out,
                          poe_error *error) {
  poei_plan *plan = poei_calloc(1, sizeof *plan);
  if (plan == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  plan->written = poe_expert_retain(tree);
  plan->dim = poe_expert_traits(tree)->dim;
  plan->names = options->names;
  poe_status status = POE_OK;
  if (options->trace != NULL) {
    poei_trace_begin(options->trace, tree);
  }
  if (options->no_rewrite) {
    plan->expert = poe_expert_retain(tree);
  } else {
    poei_fired fired = {0};
    status = poei_rewrite(tree, options, NULL, &fired, &plan->expert, error);
    plan->rules = fired.item;
    plan->n_rules = fired.n;
  }
  poe_error refusal = {0};
  poei_plan_options inner = *options; /* what becomes of parts is told by their own plans */
  inner.trace = NULL;
  poei_chooser choose = {&inner, log_z_only, plan, &refusal};
  if (status == POE_OK && options->values_only) {
    status = poei_choose_reason(plan, poei_strdup("values only: no route was chosen"), error);
  } else if (status == POE_OK && !poei_expert_can(plan->expert, POE_CAN_EVAL)) {
    status = poei_route_blind(&choose, error);
  } else if (status == POE_OK) {
    status = poei_check_proper(plan->expert, &options->names, error);
    if (status == POE_OK) {
      status = poei_check_rays(plan->expert, &options->names, &plan->caution, error);
    }
    if (status == POE_OK && options->prune > 0.0) {
      status = poei_prune(plan, options->prune, error);
    }
    if (status == POE_OK) {
      status = choose_route(&choose, error);
    }
  }
  if (status == POE_OK && options->prune > 0.0 && !options->values_only) {
    status = poei_prune_tell(plan, error);
  }
  if (status == POE_OK) {
    poei_choose_scratch(plan);
  }
  if (status != POE_OK) {
    poei_plan_destroy(plan);
    return status;
  }
  *out = plan;
  return POE_OK;
}
