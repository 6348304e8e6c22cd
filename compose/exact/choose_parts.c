/* Plans made of plans: independent blocks, mixtures, a Gaussian beside what reads a few of its coordinates. */
#include "compose/exact/choose_parts.h"

#include <math.h>
#include <stdint.h>

#include "compose/exact/branches.h"
#include "compose/exact/rest.h"
#include "compose/exact/routes.h"
#include "core/alloc.h"
#include "core/numerics.h"

poe_status poei_choose_parts(poei_plan *plan, size_t n, poe_error *error) {
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
static poe_status plan_blocks(const poei_chooser *choose, const poei_parts *parts, const size_t *group, size_t count,
                              poe_error *error) {
  poei_plan *plan = choose->plan;
  poe_status status = poei_choose_parts(plan, count, error);
  double total = parts->constant, variance = parts->variance;
  poei_plan_options blind = *choose->options; /* a block numbers its own coordinates */
  blind.names = (poei_names){0};
  blind.prune /= (double)count;
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
    poei_choose_log_z(plan, POEI_METHOD_BLOCKS, total, sqrt(variance));
  }
  plan->part_constant = parts->constant;
  plan->part_constant_error = sqrt(parts->variance);
  plan->method = POEI_METHOD_BLOCKS;
  plan->exact = exact;
  return poei_choose_reason(
      plan,
      poei_format("the factors fall into %zu blocks that share no coordinate: each is answered by itself, and the "
                  "log Zs add up",
                  count),
      error);
}

poe_status poei_route_blocks(const poei_chooser *choose, bool *done, poe_error *error) {
  double constant;
  const poe_expert *inner = poei_strip(choose->plan->expert, &constant);
  poei_node_kind kind = poei_node_kind_of(inner);
  if (kind != POEI_NODE_product && kind != POEI_NODE_plate) {
    return POE_OK;
  }
  poei_parts parts;
  poe_status status = poei_parts_open(inner, POEI_OPEN_SURFACE, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  parts.constant += constant;
  status = poei_parts_cut(&parts, error);
  if (status != POE_OK) {
    poei_parts_free(&parts);
    return status;
  }
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

static poe_status plan_components(const poei_chooser *choose, const poe_expert *mixture, double constant, bool *done,
                                  poe_error *error) {
  poei_plan *plan = choose->plan;
  size_t n = poei_node_child_count(mixture);
  poe_status status = poei_choose_parts(plan, n, error);
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
      poei_choose_log_z(plan, variance > 0.0 ? POEI_METHOD_MIXTURE : POEI_METHOD_CLOSED, total + constant,
                        sqrt(variance));
    }
    plan->method = POEI_METHOD_MIXTURE;
    plan->exact = exact && plan->log_z_error == 0.0;
    status = poei_choose_reason(
        plan, poei_format("a mixture: a draw picks one of %zu components by its weight, then draws from that one", n),
        error);
  } else {
    drop_parts(plan);
  }
  poei_free(errors);
  return status;
}

poe_status poei_route_mixture(const poei_chooser *choose, bool *done, poe_error *error) {
  double constant;
  const poe_expert *inner = poei_strip(choose->plan->expert, &constant);
  if (poei_node_kind_of(inner) != POEI_NODE_mixture) {
    return POE_OK;
  }
  return plan_components(choose, inner, constant, done, error);
}

/* The front's plan beside the Gaussian's; what completes a draw goes over to the plan. */
static poe_status plan_rest(const poei_chooser *choose, poei_rest *rest, poe_error *error) {
  poei_plan *plan = choose->plan;
  poei_plan_options blind = *choose->options; /* a part numbers its own coordinates */
  blind.names = (poei_names){0};
  poe_status status = poei_choose_parts(plan, 2, error);
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
    poei_choose_log_z(plan, front->log_z_method, front->log_z, front->log_z_error);
  }
  plan->method = POEI_METHOD_REST;
  plan->exact = front->exact;
  return poei_choose_reason(plan,
                            poei_format("the Gaussian part covers %zu coordinates, and the other factors read only %zu "
                                        "of them: these are answered by %s, and all others exactly given them",
                                        rest->n, rest->n_read, poei_method_word(front->method)),
                            error);
}

poe_status poei_route_rest(const poei_chooser *choose, bool *done, poe_error *error) {
  poei_rest rest;
  poe_status status = poei_rest_find(choose->plan->expert, !choose->options->no_rewrite, &rest, error);
  if (status == POE_OK && rest.gaussian != NULL) {
    *done = true;
    status = plan_rest(choose, &rest, error);
  }
  poei_rest_free(&rest);
  poe_expert *mixture = NULL;
  if (status == POE_OK && !*done && !choose->options->no_rewrite) {
    status = poei_rest_mixture(choose->plan->expert, &mixture, error);
  }
  if (mixture != NULL) {
    status = plan_components(choose, mixture, 0.0, done, error);
  }
  poe_expert_release(mixture);
  if (status == POE_OK && !*done && !choose->options->no_rewrite) {
    status = poei_rest_conditional(choose->plan->expert, &rest, error);
    if (status == POE_OK && rest.gaussian != NULL) {
      *done = true;
      status = plan_rest(choose, &rest, error);
    }
    poei_rest_free(&rest);
  }
  return status;
}

poe_status poei_route_values(const poei_chooser *choose, bool *done, poe_error *error) {
  poe_expert *mixture = NULL;
  if (choose->options->no_rewrite || poe_expert_traits(choose->plan->expert)->offset_error != 0.0) {
    return POE_OK;
  }
  poe_status status = poei_branches_mixture(choose->plan->expert, &mixture, error);
  if (mixture != NULL) {
    status = plan_components(choose, mixture, 0.0, done, error);
  }
  poe_expert_release(mixture);
  return status == POE_E_CAPABILITY ? POE_OK : status;
}
