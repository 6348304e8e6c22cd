/* Bases that are filled up with uniform densities (base_parts.h).
 *
 * Whatever can be drawn, or a proposal that somebody names and what can be drawn beside it, is the base over its own
 * coordinates, and over the others the constant 1 is, which takes that these are bounded. What the base takes that the
 * target does not have, the rest divides by.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/base_parts.h"
#include "core/alloc.h"
#include "experts/natural.h"

/* The constant 1 over coordinates index[n] of the target's as one more factor, drawn uniformly. *bounded is false, and
 * nothing has changed, when one of them has no ends. */
static poe_status add_uniform(const poe_traits *traits, size_t n, const size_t *index, poei_parts *parts, bool *bounded,
                              poe_error *error) {
  poei_natural_coordinate *one = poei_calloc(n, sizeof *one);
  poe_expert *uniform = NULL;
  poe_status status = one == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  *bounded = true;
  for (size_t k = 0; k < n && status == POE_OK; k++) {
    const poe_support *support = &traits->support[index[k]];
    bool known = support->kind == POE_DISCRETE || support->kind == POE_CONTINUOUS;
    *bounded = *bounded && known && isfinite(support->low) && isfinite(support->high);
    one[k].support = *support;
  }
  if (status == POE_OK && *bounded) {
    status = poei_natural_create(n, one, 0.0, &uniform, error);
  }
  if (status == POE_OK && *bounded) {
    status = poei_parts_add(parts, uniform, n, index, 1.0, error);
  }
  poe_expert_release(uniform);
  poei_free(one);
  return status;
}

/* For targets with discrete coordinates: what can be drawn, in order, and uniform densities elsewhere. */
poe_status poei_base_fill(const poe_traits *traits, poei_parts *parts, double constant, poei_base *found,
                          poe_error *error) {
  bool discrete = false, bounded = false;
  for (size_t j = 0; j < traits->dim; j++) {
    discrete = discrete || traits->support[j].kind == POE_DISCRETE;
  }
  if (!discrete) {
    return POE_OK;
  }
  poei_base_candidate *list = poei_alloc(parts->n, sizeof *list);
  unsigned char *chosen = poei_alloc(parts->n, 1), *taken = poei_calloc(parts->dim, 1);
  size_t *index = poei_alloc(parts->dim, sizeof *index), n = 0;
  poe_status status = list == NULL || chosen == NULL || taken == NULL || index == NULL
                          ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                          : POE_OK;
  if (status == POE_OK) {
    size_t candidates = poei_base_list(parts, POEI_BASE_SOME, list);
    if (candidates > 0) {
      poei_base_cover(parts, list, candidates, 0, chosen, taken);
    }
    for (size_t j = 0; j < parts->dim; j++) {
      if (!taken[j]) {
        index[n++] = j;
      }
    }
    status = add_uniform(traits, n, index, parts, &bounded, error);
  }
  if (status == POE_OK && bounded) {
    status = poei_base_cover_find(parts, POEI_BASE_SOME, constant, found, error);
  }
  if (status == POE_OK && found->base != NULL) {
    poei_free(found->why);
    found->why = n == parts->dim
                     ? poei_strdup("a uniform density: no factor can be drawn exactly")
                     : poei_format("what can be drawn exactly of %zu coordinates, uniform over the other %zu",
                                   parts->dim - n, n);
    status = found->why == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  }
  poei_free(list);
  poei_free(chosen);
  poei_free(taken);
  poei_free(index);
  return status;
}

/* ---- around a proposal ---- */

/* The factors of `parts` that cover what a proposal leaves, which is the last of them: list[n] without those that it
 * overlaps, the proposal first. */
static size_t list_beside(const poei_parts *parts, poei_base_candidate *list) {
  poei_parts others = *parts;
  others.n--;
  size_t n = poei_base_list(&others, POEI_BASE_SOME, list + 1);
  list[0] = (poei_base_candidate){others.n, parts->item[others.n].n, 0.0};
  return n + 1;
}

static poe_status split_around(const poe_traits *traits, poei_parts *parts, double constant, poei_base *found,
                               poe_error *error) {
  poei_base_candidate *list = poei_alloc(parts->n + 1, sizeof *list);
  unsigned char *chosen = poei_calloc(parts->n + 2, 1), *taken = poei_calloc(parts->dim, 1);
  size_t *index = poei_alloc(parts->dim, sizeof *index), n = 0, own = parts->n - 1;
  poe_status status = list == NULL || chosen == NULL || taken == NULL || index == NULL
                          ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                          : POE_OK;
  bool covered = status == POE_OK && poei_base_cover(parts, list, list_beside(parts, list), 0, chosen, taken);
  for (size_t j = 0; j < parts->dim && status == POE_OK && !covered; j++) {
    if (!taken[j]) {
      index[n++] = j;
    }
  }
  if (status == POE_OK && !covered) {
    status = add_uniform(traits, n, index, parts, &covered, error);
    chosen[own + 1] = covered; /* the constant 1 */
  }
  if (status == POE_OK && covered) { /* what the base takes of the proposal the target does not have */
    const poei_part *proposal = &parts->item[own];
    status = poei_parts_add(parts, proposal->expert, proposal->n, proposal->index, -1.0, error);
  }
  if (status == POE_OK && covered) {
    status = poei_base_split(parts, chosen, constant, "", found, error);
  }
  poei_free(list);
  poei_free(chosen);
  poei_free(taken);
  poei_free(index);
  return status;
}

poe_status poei_base_around(const poe_expert *target, const poei_proposal *proposal, poei_base *found,
                            poe_error *error) {
  *found = (poei_base){0};
  double constant;
  const poe_expert *inner = poei_strip(target, &constant);
  poei_parts parts = {0};
  size_t n = poe_expert_traits(proposal->expert)->dim;
  poe_status status = poei_parts_open(inner, POEI_OPEN_ALL, &parts, NULL, error);
  if (status == POE_OK) {
    status = poei_parts_add(&parts, proposal->expert, n, proposal->index, 1.0, error);
  }
  if (status == POE_OK) {
    status = split_around(poe_expert_traits(target), &parts, constant, found, error);
  }
  if (status == POE_OK && found->base != NULL) {
    poei_free(found->why);
    found->why = poei_format("`%s`, as asked", proposal->name);
    status = found->why == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  }
  poei_parts_free(&parts);
  if (status != POE_OK) {
    poei_base_free(found);
  }
  return status;
}
