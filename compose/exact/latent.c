/* Joint densities behind marginals, marginals behind mixed targets (latent.h). */
#include "compose/exact/latent.h"

#include <math.h>

#include "compose/exact/rules.h"
#include "compose/exact/summed.h"
#include "compose/exact/tree.h"
#include "core/alloc.h"

enum { MOST_REPLICAS = 64 };

/* Number of replicas of a factor, 0 when it is not a small whole number. */
static size_t replicas(const poei_part *part) {
  double r = part->exponent / poei_marginal_beta(part->expert);
  return r >= 1.0 && r <= (double)MOST_REPLICAS && r == floor(r) ? (size_t)r : 0;
}

/* Is a factor's joint density to stand for it? A marginal that cannot be evaluated, or only by integrating (or, when
 * `eliminated`, by eliminating) at every point, and then where there are replicas. */
static bool is_latent(const poei_part *part, bool eliminated) {
  if (poei_node_kind_of(part->expert) != POEI_NODE_marginal) {
    return false;
  }
  bool through = eliminated && poei_marginal_value(part->expert) != NULL;
  return poei_marginal_points(part->expert) == 0 ||
         ((poei_marginal_integrates(part->expert) || through) && replicas(part) > 0);
}

/* Coordinates that the replicas add, SIZE_MAX when one factor cannot have any. */
static size_t added_coordinates(const poei_parts *parts, bool eliminated, const char **why) {
  size_t added = 0;
  for (size_t i = 0; i < parts->n; i++) {
    const poei_part *part = &parts->item[i];
    if (!is_latent(part, eliminated)) {
      continue;
    }
    size_t r = replicas(part), more = 0;
    if (r == 0) {
      *why = isinf(poei_marginal_beta(part->expert)) ? "a maximum over latent coordinates has no joint density"
                                                     : "the exponent of a marginal over beta is not a whole number";
      return SIZE_MAX;
    }
    if (!poei_mul_size(r, poei_marginal_count(part->expert), &more) || !poei_add_size(added, more, &added)) {
      *why = "too many latent coordinates";
      return SIZE_MAX;
    }
  }
  return added;
}

/* Appends the replicas of a factor; *next is the first coordinate not taken. index: [joint dim] work space. */
static poe_status add_replicas(const poei_part *part, size_t *next, size_t *index, poei_parts *joint,
                               poe_error *error) {
  const poe_expert *child = poei_node_child(part->expert, 0);
  size_t n = poe_expert_traits(child)->dim, latents = poei_marginal_count(part->expert), r = replicas(part);
  poe_status status = POE_OK;
  for (size_t j = 0; j < n - latents; j++) {
    index[poei_marginal_free(part->expert)[j]] = part->index[j];
  }
  for (size_t copy = 0; copy < r && status == POE_OK; copy++) {
    for (size_t k = 0; k < latents; k++) {
      index[poei_marginal_latent(part->expert)[k]] = (*next)++;
    }
    status = poei_parts_add(joint, child, n, index, poei_marginal_beta(part->expert), error);
  }
  return status;
}

static poe_status join(const poe_expert *target, bool eliminated, poe_expert **joint, const char **why,
                       poe_error *error) {
  poei_parts parts;
  const char *reason = NULL;
  *joint = NULL;
  poe_status status = poei_parts_open(target, POEI_OPEN_ALL, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  size_t added = added_coordinates(&parts, eliminated, &reason), dim = parts.dim, widest = 0;
  if (added != 0 && added != SIZE_MAX) {
    for (size_t i = 0; i < parts.n; i++) {
      const poei_part *part = &parts.item[i];
      size_t own = is_latent(part, eliminated) ? poe_expert_traits(poei_node_child(part->expert, 0))->dim : 0;
      widest = own > widest ? own : widest;
    }
    poei_parts whole = {.dim = dim + added, .constant = parts.constant, .variance = parts.variance};
    size_t *index = poei_alloc(widest, sizeof *index), next = dim;
    status = index == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
    for (size_t i = 0; i < parts.n && status == POE_OK; i++) {
      const poei_part *part = &parts.item[i];
      status = is_latent(part, eliminated)
                   ? add_replicas(part, &next, index, &whole, error)
                   : poei_parts_add(&whole, part->expert, part->n, part->index, part->exponent, error);
    }
    if (status == POE_OK) {
      status = poei_parts_close(&whole, joint, error);
    }
    poei_free(index);
    poei_parts_free(&whole);
  }
  if (why != NULL) {
    *why = reason;
  }
  poei_parts_free(&parts);
  return status;
}

poe_status poei_latent_joint(const poe_expert *target, poe_expert **joint, const char **why, poe_error *error) {
  return join(target, false, joint, why, error);
}

poe_status poei_latent_joint_whole(const poe_expert *target, poe_expert **joint, poe_error *error) {
  return join(target, true, joint, NULL, error);
}

/* ---- mixed targets ---- */

enum { FEW_STATES = 16 }; /* joint discrete values that are simply gone through */

void poei_mixed_free(poei_mixed *mixed) {
  poe_expert_release(mixed->marginal);
  poe_expert_release(mixed->summed);
  poei_free(mixed->continuous);
  *mixed = (poei_mixed){0};
}

/* Does the marginal become something that is drawn exactly? */
static poe_status closes(const poe_expert *marginal, const poei_plan_options *options, bool *closed, poe_error *error) {
  poei_fired fired = {0};
  poei_plan_options own = *options;
  poe_expert *rewritten = NULL;
  double log_z;
  *closed = false;
  if (options->no_rewrite) {
    return POE_OK;
  }
  own.trace = NULL;
  poe_status status = poei_rewrite(marginal, &own, NULL, &fired, &rewritten, error);
  if (status == POE_OK) {
    *closed = poei_expert_can(rewritten, POE_CAN_SAMPLE) && poei_expert_known_log_z(rewritten, &log_z);
  }
  poe_expert_release(rewritten);
  poei_fired_free(&fired);
  return status;
}

/* By all joint values; found->marginal stays NULL when they are too many. */
static poe_status find_by_values(const poe_expert *target, size_t latents, const size_t *latent,
                                 const poei_plan_options *options, poei_mixed *found, poe_error *error) {
  poe_status status = poei_marginal_create(target, latents, latent, 1.0, &found->marginal, error);
  if (status == POE_OK && !poei_expert_can(found->marginal, POE_CAN_EVAL)) {
    poe_expert_release(found->marginal);
    found->marginal = NULL;
  } else if (status == POE_OK) {
    status = poei_summed_whole(target, options, &found->summed, error);
  }
  return status;
}

/* By elimination, where that is less work than going through `states` joint values (0: too many) or finds no closed
 * form. */
static poe_status find_by_elimination(const poe_expert *target, const poei_plan_options *options, size_t states,
                                      poei_mixed *found, poe_error *refusal, poe_error *error) {
  poe_expert *summed = NULL, *marginal = NULL;
  poe_error why = {0};
  bool better = states == 0;
  poe_status status = poei_summed_create(target, options, &summed, &marginal, &why);
  if (status == POE_E_CAPABILITY || status == POE_E_IMPROPER || status == POE_E_SHAPE) {
    *refusal = why;
    return POE_OK;
  }
  if (status != POE_OK) {
    *error = why;
    return status;
  }
  if (!better && 2 * poei_summed_values(summed) < states) {
    bool closed = false;
    status = closes(found->marginal, options, &closed, error);
    better = !closed;
  }
  if (better && status == POE_OK) {
    poe_expert_release(found->marginal);
    poe_expert_release(found->summed);
    found->marginal = marginal;
    found->summed = summed;
    return POE_OK;
  }
  poe_expert_release(marginal);
  poe_expert_release(summed);
  return status;
}

poe_status poei_mixed_find(const poe_expert *target, const poei_plan_options *options, poei_mixed *found,
                           poe_error *refusal, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  size_t latents = 0, states = 1;
  *found = (poei_mixed){.continuous = poei_alloc(traits->dim, sizeof(size_t))};
  size_t *latent = poei_alloc(traits->dim, sizeof *latent);
  if (found->continuous == NULL || latent == NULL) {
    poei_mixed_free(found);
    poei_free(latent);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t j = 0; j < traits->dim; j++) {
    if (traits->support[j].kind == POE_DISCRETE) {
      size_t values = poei_support_states(&traits->support[j]);
      bool few = values > 0 && states > 0 && states <= POEI_MARGINAL_STATES / values;
      states = few ? states * values : 0;
      latent[latents++] = j;
    } else {
      found->continuous[found->n++] = j;
    }
  }
  poe_status status = POE_OK;
  if (latents > 0 && found->n > 0) {
    status = find_by_values(target, latents, latent, options, found, error);
    if (status == POE_OK && (states == 0 || states > FEW_STATES)) {
      status = find_by_elimination(target, options, states, found, refusal, error);
    }
  }
  poei_free(latent);
  if (status != POE_OK) {
    poei_mixed_free(found);
  }
  return status;
}
