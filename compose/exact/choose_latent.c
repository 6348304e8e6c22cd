/* Plans through another density: the joint of a marginal that cannot be evaluated, the continuous marginal of a target
 * with discrete coordinates (latent.h). */
#include "compose/exact/choose_parts.h"

#include "compose/exact/discrete.h"
#include "compose/exact/latent.h"
#include "compose/exact/tree.h"
#include "core/alloc.h"
#include "experts/rbm.h"

/* One part that stands for the whole: its plan, log Z and exactness. index (owned, NULL: the first coordinates of a
 * larger space): where its coordinates are. */
static poe_status plan_through(const poei_chooser *choose, const poe_expert *other, size_t *index, poei_method method,
                               poe_error *error) {
  poei_plan *plan = choose->plan;
  poei_plan_options blind = *choose->options; /* a part numbers its own coordinates */
  blind.names = (poei_names){0};
  poe_status status = poei_choose_parts(plan, 1, error);
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
    poei_choose_log_z(plan, part->log_z_method, part->log_z, part->log_z_error);
  }
  plan->method = method;
  plan->exact = part->exact;
  const char *how =
      method == POEI_METHOD_JOINT
          ? "the latent variables are not integrated out: they are drawn along, and left out of the draws"
          : "its discrete coordinates are summed out of the density; they are drawn exactly given the others";
  return poei_choose_reason(plan, poei_format("%s (%s)", how, poei_method_word(part->method)), error);
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
poe_status poei_route_blind(const poei_chooser *choose, poe_error *error) {
  poe_expert *joint = NULL;
  bool done = false;
  poe_status status = poei_route_elimination(choose, &done, error);
  if (status != POE_OK || done) {
    return status;
  }
  status = poei_latent_joint(choose->plan->expert, &joint, NULL, error);
  const poe_expert *leaf = joint == NULL ? blind_leaf(choose->plan->expert) : NULL;
  if (status == POE_OK && leaf != NULL && poei_boltzmann_of(leaf) != NULL) {
    return poei_boltzmann_evaluable(poei_boltzmann_of(leaf), error);
  }
  if (status == POE_OK && joint == NULL) {
    return poei_latent_refuse(choose->plan->expert, choose->options->byte_limit, error);
  }
  if (status == POE_OK) {
    status = plan_through(choose, joint, NULL, POEI_METHOD_JOINT, error);
  }
  poe_expert_release(joint);
  return status;
}

/* Are there coordinates of both kinds? */
static bool is_mixed(const poe_traits *traits) {
  size_t discrete = 0;
  for (size_t j = 0; j < traits->dim; j++) {
    discrete += traits->support[j].kind == POE_DISCRETE;
  }
  return discrete > 0 && discrete < traits->dim;
}

/* A marginal that every point would have to be integrated for is drawn with its latent coordinates, where that is
 * possible and quadrature of quadrature would take too long or is none. So is one that is eliminated at every point
 * beside coordinates of both kinds: together with the latent ones, the discrete ones may be eliminated at once. */
poe_status poei_route_replicas(const poei_chooser *choose, bool *done, poe_error *error) {
  enum { FEW_POINTS = 2000 };
  poei_parts parts;
  poe_expert *joint = NULL;
  size_t most = 0;
  poe_status status = poei_parts_open(choose->plan->expert, POEI_OPEN_ALL, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  for (size_t i = 0; i < parts.n; i++) {
    const poe_expert *own = parts.item[i].expert;
    if (poei_node_kind_of(own) == POEI_NODE_marginal && poei_marginal_integrates(own)) {
      most = poei_marginal_points(own) > most ? poei_marginal_points(own) : most;
    }
  }
  poei_parts_free(&parts);
  if (most > FEW_POINTS || (most > 0 && choose->plan->dim > 2)) {
    status = poei_latent_joint(choose->plan->expert, &joint, NULL, error);
  }
  if (status == POE_OK && joint == NULL && is_mixed(poe_expert_traits(choose->plan->expert))) {
    status = poei_latent_joint_whole(choose->plan->expert, &joint, error);
  }
  if (status == POE_OK && joint != NULL) {
    *done = true;
    status = plan_through(choose, joint, NULL, POEI_METHOD_JOINT, error);
  }
  poe_expert_release(joint);
  return status;
}

/* Discrete coordinates beside continuous ones. */
poe_status poei_route_mixed(const poei_chooser *choose, bool *done, poe_error *error) {
  poei_mixed mixed;
  poe_status status = poei_mixed_find(choose->plan->expert, choose->options, &mixed, choose->refusal, error);
  if (status == POE_OK && mixed.marginal != NULL) {
    size_t *continuous = mixed.continuous;
    *done = true;
    choose->plan->discrete = poe_expert_retain(mixed.summed);
    mixed.continuous = NULL; /* the plan's from here on */
    status = plan_through(choose, mixed.marginal, continuous, POEI_METHOD_MARGINAL, error);
  }
  poei_mixed_free(&mixed);
  return status;
}
