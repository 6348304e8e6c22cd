/* Choosing how a target is answered: the routes, from exact to sampled, each tried only when those before it fail.
 *
 *   closed form    the target can be drawn and its log Z is known
 *   elimination    every coordinate is discrete, and the factors make a graph of small treewidth
 *   enumeration    every coordinate is discrete and there are few states, or one count whose probabilities provably
 * fall blocks         groups of factors over disjoint coordinates: each has a plan of its own mixture        components
 * of known log Z: each has a plan of its own exact rest     a large Gaussian of which the other factors read few
 * coordinates: these are planned by themselves quadrature     one or two continuous coordinates SMC            from a
 * factor that can be drawn MCMC           when there is nothing to start from
 *
 * log Z is found on its own: it may be known where draws have to be sampled.
 */
#include "compose/exact/choose.h"

#include <math.h>
#include <stdint.h>

#include "compose/exact/discrete.h"
#include "compose/exact/latent.h"
#include "compose/exact/numeric.h"
#include "compose/exact/rest.h"
#include "compose/exact/routes.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "core/pool.h"
#include "experts/rbm.h"

static const double worst_bound = 1e-2; /* nats: a quadrature less certain than this is not used */

typedef struct chooser {
  const poei_plan_options *options;
  bool log_z_only;
  poei_plan *plan;
  poe_error *refusal; /* why elimination is no route, once it was tried */
} chooser;

/* Takes ownership of a heap text (NULL: out of memory) as the plan's reason. */
static poe_status set_reason(poei_plan *plan, char *text, poe_error *error) {
  poei_free(plan->reason);
  plan->reason = text;
  return text == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
}

static void set_log_z(poei_plan *plan, poei_method method, double log_z, double log_z_error) {
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

/* The kind of the first leaf that stands in the way of a closed form. */
static const char *obstacle(const poe_expert *expert) {
  if (poei_expert_can(expert, POE_CAN_FORM)) {
    return NULL;
  }
  for (size_t i = 0; i < poei_node_child_count(expert); i++) {
    const char *found = obstacle(poei_node_child(expert, i));
    if (found != NULL) {
      return found;
    }
  }
  return poe_expert_ops_of(expert)->kind;
}

static const char *obstacle_word(const poe_expert *expert) {
  const char *kind = obstacle(expert);
  return kind == NULL ? "the target" : kind;
}

/* ---- closed form, enumeration ---- */

static poe_status try_closed(const chooser *choose, bool *done, poe_error *error) {
  poei_plan *plan = choose->plan;
  double log_z;
  if (poei_expert_known_log_z(plan->expert, &log_z)) {
    if (!isfinite(log_z)) {
      return poe_error_set(error, log_z < 0.0 ? POE_E_EMPTY : POE_E_IMPROPER, "log Z of the target is %g", log_z);
    }
    double offset = poei_expert_normalised(plan->expert) ? 0.0 : poe_expert_traits(plan->expert)->offset_error;
    set_log_z(plan, POEI_METHOD_CLOSED, log_z, offset);
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
  return set_reason(plan,
                    poei_format("`%s` can be drawn from exactly%s", poe_expert_ops_of(plan->expert)->kind,
                                plan->has_log_z ? " and its log Z is known" : ""),
                    error);
}

static poe_status try_elimination(const chooser *choose, bool *done, poe_error *error) {
  poei_plan *plan = choose->plan;
  poei_elimination_answer answer;
  poe_status status =
      poei_eliminate(plan->expert, choose->options, choose->log_z_only, &answer, choose->refusal, error);
  if (status != POE_OK || !answer.done) {
    return status;
  }
  *done = true;
  if (!plan->has_log_z) {
    set_log_z(plan, POEI_METHOD_ELIMINATION, answer.log_z, with_offset(plan->expert, 0.0));
  }
  plan->method = POEI_METHOD_ELIMINATION;
  plan->exact = plan->log_z_error == 0.0;
  plan->sampler = answer.sampler;
  return set_reason(plan, answer.reason, error);
}

static poe_status try_enumeration(const chooser *choose, bool *done, poe_error *error) {
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
    set_log_z(plan, POEI_METHOD_ENUMERATION, log_z, with_offset(plan->expert, 0.0));
  }
  plan->method = POEI_METHOD_ENUMERATION;
  plan->exact = plan->log_z_error == 0.0;
  plan->sampler = all;
  return status == POE_OK ? set_reason(plan, poei_format("all %zu states were added up", states), error) : status;
}

/* One count without an upper end. */
static poe_status try_counts(const chooser *choose, bool *done, poe_error *error) {
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
    set_log_z(plan, POEI_METHOD_ENUMERATION, log_z, with_offset(plan->expert, 0.0));
  }
  plan->method = POEI_METHOD_ENUMERATION;
  plan->exact = plan->log_z_error == 0.0;
  plan->sampler = all;
  return status != POE_OK
             ? status
             : set_reason(
                   plan,
                   poei_format("the states up to %.0f were added up; the rest is less than 1e-18 of the sum", last),
                   error);
}

/* ---- plans made of plans ---- */

static poe_status part_memory(poei_plan *plan, size_t n, poe_error *error) {
  plan->parts = poei_calloc(n, sizeof(struct poei_plan *));
  plan->part_log_weight = poei_calloc(n, sizeof *plan->part_log_weight);
  plan->part_index = poei_calloc(n, sizeof *plan->part_index);
  if (plan->parts == NULL || plan->part_log_weight == NULL || plan->part_index == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  plan->n_parts = n;
  return POE_OK;
}

static void drop_parts(poei_plan *plan) {
  for (size_t i = 0; i < plan->n_parts; i++) {
    poei_plan_destroy(plan->parts[i]);
    poei_free(plan->part_index[i]);
  }
  poei_free(plan->parts);
  poei_free(plan->part_log_weight);
  poei_free(plan->part_index);
  plan->parts = NULL;
  plan->part_log_weight = NULL;
  plan->part_index = NULL;
  plan->n_parts = 0;
}

/* Plans every block; the factors of `parts` fall into `count` groups. */
static poe_status plan_blocks(const chooser *choose, const poei_parts *parts, const size_t *group, size_t count,
                              poe_error *error) {
  poei_plan *plan = choose->plan;
  poe_status status = part_memory(plan, count, error);
  double total = parts->constant, variance = parts->variance;
  poei_plan_options blind = *choose->options; /* a block numbers its own coordinates */
  blind.names = (poei_names){0};
  bool known = true, exact = true;
  for (size_t g = 0; g < count && status == POE_OK; g++) {
    poei_parts own = {0};
    poe_expert *block = NULL;
    status = poei_parts_group(parts, group, g, &own, &plan->part_index[g], error);
    if (status == POE_OK) {
      status = poei_parts_close(&own, &block, error);
    }
    if (status == POE_OK) {
      status = poei_plan_tree(block, &blind, choose->log_z_only, &plan->parts[g], error);
    }
    if (status == POE_OK) {
      plan->parts[g]->whole = plan;
      plan->parts[g]->whole_index = plan->part_index[g];
      const poei_plan *part = plan->parts[g];
      known = known && part->has_log_z;
      exact = exact && part->exact;
      total += part->log_z;
      variance += part->log_z_error * part->log_z_error;
    }
    poe_expert_release(block);
    poei_parts_free(&own);
  }
  if (status != POE_OK) {
    return status;
  }
  if (known && !plan->has_log_z) {
    set_log_z(plan, POEI_METHOD_BLOCKS, total, sqrt(variance));
  }
  plan->part_constant = parts->constant;
  plan->part_constant_error = sqrt(parts->variance);
  plan->method = POEI_METHOD_BLOCKS;
  plan->exact = exact;
  return set_reason(plan, poei_format("the factors fall into %zu independent blocks of coordinates", count), error);
}

static poe_status try_blocks(const chooser *choose, bool *done, poe_error *error) {
  double constant;
  const poe_expert *inner = poei_strip(choose->plan->expert, &constant);
  if (poei_node_kind_of(inner) != POEI_NODE_product) {
    return POE_OK;
  }
  poei_parts parts;
  poe_status status = poei_parts_open(inner, POEI_OPEN_SURFACE, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  parts.constant += constant;
  size_t *group = poei_alloc(parts.n, sizeof *group), *owner = poei_alloc(parts.dim, sizeof *owner), count = 0;
  status = group == NULL || owner == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                          : poei_parts_groups(&parts, NULL, group, owner, &count, error);
  bool covered = status == POE_OK;
  for (size_t c = 0; c < parts.dim && covered; c++) {
    covered = owner[c] != SIZE_MAX;
  }
  for (size_t i = 0; i < parts.n && covered; i++) { /* a block must own every coordinate its factors are over */
    for (size_t j = 0; j < parts.item[i].n; j++) {
      covered = covered && owner[parts.item[i].index[j]] == group[i];
    }
  }
  if (covered && count >= 2) {
    *done = true;
    status = plan_blocks(choose, &parts, group, count, error);
  }
  poei_free(group);
  poei_free(owner);
  poei_parts_free(&parts);
  return status;
}

/* log Z of component k: by itself, or by its plan. False when neither knows. */
static bool component_log_z(const poe_expert *component, const poei_plan *part, double *log_z, double *log_z_error) {
  *log_z_error = 0.0;
  if (poei_expert_known_log_z(component, log_z)) {
    return true;
  }
  if (part == NULL || !part->has_log_z) {
    return false;
  }
  *log_z = part->log_z;
  *log_z_error = part->log_z_error;
  return true;
}

static poe_status plan_components(const chooser *choose, const poe_expert *mixture, double constant, bool *done,
                                  poe_error *error) {
  poei_plan *plan = choose->plan;
  size_t n = poei_node_child_count(mixture);
  poe_status status = part_memory(plan, n, error);
  double *errors = poei_alloc(n, sizeof *errors), variance = 0.0;
  if (errors == NULL && status == POE_OK) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  bool known = true, exact = true;
  for (size_t k = 0; k < n && known && status == POE_OK; k++) {
    const poe_expert *component = poei_node_child(mixture, k);
    status = poei_plan_tree(component, choose->options, choose->log_z_only, &plan->parts[k], error);
    double log_z = 0.0;
    if (status == POE_OK) {
      plan->parts[k]->whole = plan;
      known = component_log_z(component, plan->parts[k], &log_z, &errors[k]);
      exact = exact && plan->parts[k]->exact;
      plan->part_log_weight[k] = poei_mixture_log_weight(mixture, k) + log_z;
    }
  }
  if (status == POE_OK && known) {
    *done = true;
    double total = poei_log_sum_exp(plan->part_log_weight, n, 1);
    for (size_t k = 0; k < n; k++) {
      plan->part_log_weight[k] -= total;
      double own = exp(plan->part_log_weight[k]) * errors[k];
      variance += own * own;
    }
    if (!plan->has_log_z) {
      set_log_z(plan, variance > 0.0 ? POEI_METHOD_MIXTURE : POEI_METHOD_CLOSED, total + constant, sqrt(variance));
    }
    plan->method = POEI_METHOD_MIXTURE;
    plan->exact = exact && plan->log_z_error == 0.0;
    status = set_reason(plan, poei_format("a mixture of %zu components, each with a plan of its own", n), error);
  } else {
    drop_parts(plan);
  }
  poei_free(errors);
  return status;
}

static poe_status try_mixture(const chooser *choose, bool *done, poe_error *error) {
  double constant;
  const poe_expert *inner = poei_strip(choose->plan->expert, &constant);
  if (poei_node_kind_of(inner) != POEI_NODE_mixture) {
    return POE_OK;
  }
  return plan_components(choose, inner, constant, done, error);
}

/* The front's plan beside the Gaussian's; what completes a draw goes over to the plan. */
static poe_status plan_rest(const chooser *choose, poei_rest *rest, poe_error *error) {
  poei_plan *plan = choose->plan;
  poei_plan_options blind = *choose->options; /* a part numbers its own coordinates */
  blind.names = (poei_names){0};
  poe_status status = part_memory(plan, 2, error);
  if (status != POE_OK) {
    return status;
  }
  plan->part_index[0] = rest->index;
  plan->part_index[1] = rest->front_index;
  plan->n_read = rest->n_read;
  plan->read = rest->read;
  plan->gain = rest->gain;
  rest->index = rest->front_index = rest->read = NULL;
  rest->gain = NULL;
  const poe_expert *part[2] = {rest->gaussian, rest->front};
  for (size_t i = 0; i < 2 && status == POE_OK; i++) {
    status = poei_plan_tree(part[i], &blind, choose->log_z_only, &plan->parts[i], error);
    if (status == POE_OK) {
      plan->parts[i]->whole = plan;
      plan->parts[i]->whole_index = plan->part_index[i];
    }
  }
  if (status != POE_OK) {
    return status;
  }
  const poei_plan *front = plan->parts[1];
  if (front->has_log_z && !plan->has_log_z) {
    set_log_z(plan, front->log_z_method, front->log_z, front->log_z_error);
  }
  plan->method = POEI_METHOD_REST;
  plan->exact = front->exact;
  return set_reason(plan,
                    poei_format("a Gaussian over %zu coordinates of which the other factors read %zu: these by "
                                "themselves (%s: %s), the others exactly given them",
                                rest->n, rest->n_read, poei_method_word(front->method), front->reason),
                    error);
}

static poe_status try_rest(const chooser *choose, bool *done, poe_error *error) {
  poei_rest rest;
  poe_status status = poei_rest_find(choose->plan->expert, &rest, error);
  if (status == POE_OK && rest.gaussian != NULL) {
    *done = true;
    status = plan_rest(choose, &rest, error);
  }
  poei_rest_free(&rest);
  return status;
}

/* ---- latent coordinates ---- */

/* One part that stands for the whole: its plan, log Z and exactness. index (owned, NULL: the first coordinates of a
 * larger space): where its coordinates are. */
static poe_status plan_through(const chooser *choose, const poe_expert *other, size_t *index, poei_method method,
                               poe_error *error) {
  poei_plan *plan = choose->plan;
  poei_plan_options blind = *choose->options; /* a part numbers its own coordinates */
  blind.names = (poei_names){0};
  poe_status status = part_memory(plan, 1, error);
  if (status != POE_OK) {
    poei_free(index);
    return status;
  }
  plan->part_index[0] = index;
  status = poei_plan_tree(other, &blind, choose->log_z_only, &plan->parts[0], error);
  if (status != POE_OK) {
    return status;
  }
  const poei_plan *part = plan->parts[0];
  if (part->has_log_z && !plan->has_log_z) {
    set_log_z(plan, part->log_z_method, part->log_z, part->log_z_error);
  }
  plan->method = method;
  plan->exact = part->exact;
  const char *how = method == POEI_METHOD_JOINT
                        ? "drawn together with its latent variables"
                        : "its continuous coordinates by themselves, the others exactly given them";
  return set_reason(plan, poei_format("%s (%s: %s)", how, poei_method_word(part->method), part->reason), error);
}

/* The first leaf that cannot be evaluated; NULL: none. */
static const poe_expert *blind_leaf(const poe_expert *expert) {
  if (poei_node_kind_of(expert) == POEI_NODE_LEAF) {
    return poei_expert_can(expert, POE_CAN_EVAL) ? NULL : expert;
  }
  const poe_expert *found = NULL;
  for (size_t i = 0; i < poei_node_child_count(expert) && found == NULL; i++) {
    found = blind_leaf(poei_node_child(expert, i));
  }
  return found;
}

/* What cannot be evaluated: discrete factors may still be eliminated, and draws of a marginal's joint density are draws
 * of it. */
static poe_status plan_blind(const chooser *choose, poe_error *error) {
  poe_expert *joint = NULL;
  const char *why = NULL;
  bool done = false;
  poe_status status = try_elimination(choose, &done, error);
  if (status != POE_OK || done) {
    return status;
  }
  status = poei_latent_joint(choose->plan->expert, &joint, &why, error);
  const poe_expert *leaf = joint == NULL ? blind_leaf(choose->plan->expert) : NULL;
  if (status == POE_OK && leaf != NULL && poei_boltzmann_of(leaf) != NULL) {
    return poei_boltzmann_evaluable(poei_boltzmann_of(leaf), error);
  }
  if (status == POE_OK && joint == NULL) {
    poe_error_set(error, POE_E_CAPABILITY, "the log-density of the target cannot be evaluated%s%s",
                  why == NULL ? "" : ": ", why == NULL ? "" : why);
    return POE_E_CAPABILITY;
  }
  if (status == POE_OK) {
    status = plan_through(choose, joint, NULL, POEI_METHOD_JOINT, error);
  }
  poe_expert_release(joint);
  return status;
}

/* Discrete coordinates with few joint values beside continuous ones. */
static poe_status try_mixed(const chooser *choose, bool *done, poe_error *error) {
  poe_expert *marginal = NULL;
  size_t n = 0, *continuous = NULL;
  poe_status status = poei_latent_continuous(choose->plan->expert, &marginal, &n, &continuous, error);
  if (status == POE_OK && marginal != NULL) {
    *done = true;
    status = plan_through(choose, marginal, continuous, POEI_METHOD_MARGINAL, error);
  }
  poe_expert_release(marginal);
  return status;
}

/* ---- continuous coordinates ---- */

static poe_status refuse_discrete(const chooser *choose, poe_error *error) {
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
    poe_error_set(error, POE_E_CAPABILITY,
                  "the %zu discrete coordinates have more than %zu joint states, and discrete sampling is absent%s%s",
                  discrete, choose->options->state_limit, choose->refusal->message[0] == '\0' ? "" : ": ",
                  choose->refusal->message);
    poe_error_hint(error, "give values to some of them, or make independent blocks");
  } else {
    poe_error_set(error, POE_E_CAPABILITY,
                  "coordinate %zu%s discrete and others are continuous: no exact route, and mixed sampling is absent",
                  first, discrete > 1 ? " and others are" : " is");
    poe_error_hint(error, "give values to the discrete coordinates, or make them a mixture");
  }
  return POE_E_CAPABILITY;
}

static poe_status quadrature_around(const chooser *choose, const poei_spots *spots, bool *done, poe_error *error) {
  poei_plan *plan = choose->plan;
  double log_z, bound;
  bool converged;
  poe_status status =
      poei_integrate(plan->expert, spots, choose->options->tolerance, &log_z, &bound, &converged, error);
  if (status == POE_E_NUMERIC) {
    return POE_OK; /* singular or not a number somewhere: sampling has its own say */
  }
  if (status != POE_OK || !(converged || bound < worst_bound) || !isfinite(log_z)) {
    return status;
  }
  if (!plan->has_log_z) {
    set_log_z(plan, POEI_METHOD_QUADRATURE, log_z, with_offset(plan->expert, bound));
  }
  plan->method = POEI_METHOD_QUADRATURE;
  if (choose->log_z_only) {
    *done = true;
    return POE_OK;
  }
  status = poei_grid_create(plan->expert, spots, log_z, bound, &plan->sampler, error);
  if (status != POE_OK || plan->sampler == NULL) {
    return status;
  }
  *done = true;
  char *looked = poei_spots_text(spots);
  status =
      set_reason(plan,
                 looked == NULL ? NULL
                                : poei_format("%zu continuous coordinate%s; `%s` has no closed form; %s", plan->dim,
                                              plan->dim == 1 ? "" : "s", obstacle_word(plan->expert), looked),
                 error);
  poei_free(looked);
  return status;
}

static poe_status try_quadrature(const chooser *choose, bool *done, poe_error *error) {
  poei_spots spots = {0};
  if (choose->plan->dim > 2) {
    return POE_OK;
  }
  poe_status status = poei_spots_find(choose->plan->expert, &spots, error);
  if (status == POE_OK) {
    status = quadrature_around(choose, &spots, done, error);
  }
  poei_spots_free(&spots);
  return status;
}

static poe_status set_scratch(poei_plan *plan) {
  const poe_expert *target = plan->smooth != NULL ? plan->smooth : plan->expert;
  unsigned want = poei_expert_can(target, POE_CAN_GRADIENT) ? POE_WANT_GRAD : POE_WANT_LOGP;
  plan->scratch_bytes = poe_expert_scratch(target, want, POEI_TILE);
  if (plan->rest != NULL) {
    size_t own =
        poe_expert_scratch(plan->rest, poei_expert_can(plan->rest, POE_CAN_GRADIENT) ? want : POE_WANT_LOGP, POEI_TILE);
    plan->scratch_bytes = own > plan->scratch_bytes ? own : plan->scratch_bytes;
  }
  return POE_OK;
}

/* Sampling happens in the unconstrained coordinates of the base: its support holds the target's. */
static poe_status plan_smc(poei_plan *plan, const poei_base *found, poe_error *error) {
  const poe_support *support = poe_expert_traits(found->base)->support;
  plan->base_log_z = found->log_z;
  plan->method = POEI_METHOD_SMC;
  poe_status status = poei_transform_create_over(plan->expert, support, true, &plan->smooth, error);
  if (status == POE_OK) {
    status = poei_transform_create_over(found->base, support, true, &plan->base, error);
  }
  if (status == POE_OK) {
    status = poei_transform_create_over(found->rest, support, false, &plan->rest, error);
  }
  return status == POE_OK ? set_reason(plan,
                                       poei_format("`%s` has no closed form; sampled along a path from %s",
                                                   obstacle_word(plan->expert), found->why),
                                       error)
                          : status;
}

static poe_status plan_sampling(const chooser *choose, poe_error *error) {
  poei_plan *plan = choose->plan;
  poei_base found;
  poe_status status = poei_base_find(plan->expert, &found, error);
  if (status != POE_OK) {
    return status;
  }
  if (found.base != NULL) {
    status = plan_smc(plan, &found, error);
  } else {
    plan->method = POEI_METHOD_MCMC;
    status = poei_transform_create(plan->expert, &plan->smooth, error);
    if (status == POE_OK) {
      status = set_reason(plan,
                          poei_format("`%s` has no closed form, and no factors that can be drawn exactly cover all "
                                      "coordinates",
                                      obstacle_word(plan->expert)),
                          error);
    }
  }
  poei_base_free(&found);
  return status;
}

/* ---- all of it ---- */

static poe_status choose_route(const chooser *choose, poe_error *error) {
  static poe_status (*const routes[])(const chooser *, bool *, poe_error *) = {
      try_closed, try_elimination, try_enumeration, try_counts, try_blocks, try_mixture, try_rest, try_mixed};
  bool done = false;
  poe_status status = POE_OK;
  for (size_t i = 0; i < sizeof routes / sizeof routes[0] && status == POE_OK && !done; i++) {
    status = routes[i](choose, &done, error);
  }
  if (status == POE_OK && !done) {
    status = refuse_discrete(choose, error);
  }
  if (status == POE_OK && !done) {
    status = try_quadrature(choose, &done, error);
  }
  return status == POE_OK && !done ? plan_sampling(choose, error) : status;
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
  if (options->no_rewrite) {
    plan->expert = poe_expert_retain(tree);
  } else {
    poei_fired fired = {0};
    status = poei_rewrite(tree, options, NULL, &fired, &plan->expert, error);
    plan->rules = fired.item;
    plan->n_rules = fired.n;
  }
  poe_error refusal = {0};
  chooser choose = {options, log_z_only, plan, &refusal};
  if (status == POE_OK && options->values_only) {
    status = set_reason(plan, poei_strdup("values only: no route was chosen"), error);
  } else if (status == POE_OK && !poei_expert_can(plan->expert, POE_CAN_EVAL)) {
    status = plan_blind(&choose, error);
  } else if (status == POE_OK) {
    status = poei_check_proper(plan->expert, &options->names, error);
    if (status == POE_OK) {
      status = choose_route(&choose, error);
    }
  }
  if (status == POE_OK) {
    status = set_scratch(plan);
  }
  if (status != POE_OK) {
    poei_plan_destroy(plan);
    return status;
  }
  *out = plan;
  return POE_OK;
}
