/* Plans through another density: the joint of a marginal that cannot be evaluated, the continuous marginal of a target
 * with a few discrete values (latent.h). */
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
  const char *how = method == POEI_METHOD_JOINT
                        ? "drawn together with its latent variables"
                        : "its continuous coordinates by themselves, the others exactly given them";
  return poei_choose_reason(plan, poei_format("%s (%s: %s)", how, poei_method_word(part->method), part->reason), error);
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
  const char *why = NULL;
  bool done = false;
  poe_status status = poei_route_elimination(choose, &done, error);
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
poe_status poei_route_mixed(const poei_chooser *choose, bool *done, poe_error *error) {
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
