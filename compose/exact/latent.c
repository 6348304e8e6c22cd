/* Joint densities behind marginals, marginals behind mixed targets (latent.h). */
#include "compose/exact/latent.h"

#include <math.h>

#include "compose/exact/tree.h"
#include "core/alloc.h"

enum { MOST_REPLICAS = 64 };

static bool is_blind(const poe_expert *expert) {
  return poei_node_kind_of(expert) == POEI_NODE_marginal && !poei_expert_can(expert, POE_CAN_EVAL);
}

/* Number of replicas of a factor, 0 when it is not a small whole number. */
static size_t replicas(const poei_part *part) {
  double r = part->exponent / poei_marginal_beta(part->expert);
  return r >= 1.0 && r <= (double)MOST_REPLICAS && r == floor(r) ? (size_t)r : 0;
}

/* Coordinates that the replicas add, SIZE_MAX when one factor cannot have any. */
static size_t added_coordinates(const poei_parts *parts, const char **why) {
  size_t added = 0;
  for (size_t i = 0; i < parts->n; i++) {
    const poei_part *part = &parts->item[i];
    if (!is_blind(part->expert)) {
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

poe_status poei_latent_joint(const poe_expert *target, poe_expert **joint, const char **why, poe_error *error) {
  poei_parts parts;
  const char *reason = NULL;
  *joint = NULL;
  poe_status status = poei_parts_open(target, POEI_OPEN_ALL, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  size_t added = added_coordinates(&parts, &reason), dim = parts.dim, widest = 0;
  if (added != 0 && added != SIZE_MAX) {
    for (size_t i = 0; i < parts.n; i++) {
      size_t own =
          is_blind(parts.item[i].expert) ? poe_expert_traits(poei_node_child(parts.item[i].expert, 0))->dim : 0;
      widest = own > widest ? own : widest;
    }
    poei_parts whole = {.dim = dim + added, .constant = parts.constant, .variance = parts.variance};
    size_t *index = poei_alloc(widest, sizeof *index), next = dim;
    status = index == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
    for (size_t i = 0; i < parts.n && status == POE_OK; i++) {
      const poei_part *part = &parts.item[i];
      status = is_blind(part->expert)
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

poe_status poei_latent_continuous(const poe_expert *target, poe_expert **marginal, size_t *n, size_t **continuous,
                                  poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  size_t latents = 0;
  *marginal = NULL;
  *continuous = NULL;
  *n = 0;
  size_t *kept = poei_alloc(traits->dim, sizeof *kept), *latent = poei_alloc(traits->dim, sizeof *latent);
  if (kept == NULL || latent == NULL) {
    poei_free(kept);
    poei_free(latent);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t j = 0; j < traits->dim; j++) {
    if (traits->support[j].kind == POE_DISCRETE) {
      latent[latents++] = j;
    } else {
      kept[(*n)++] = j;
    }
  }
  poe_status status = POE_OK;
  if (latents > 0 && *n > 0) {
    status = poei_marginal_create(target, latents, latent, 1.0, marginal, error);
    if (status == POE_OK && !poei_expert_can(*marginal, POE_CAN_EVAL)) {
      poe_expert_release(*marginal);
      *marginal = NULL;
    }
  }
  poei_free(latent);
  if (status == POE_OK && *marginal != NULL) {
    *continuous = kept;
  } else {
    poei_free(kept);
  }
  return status;
}
