/* Making the summed expert of a target (see summed.h): its factors are discrete, continuous or mixed (mixed_factors.c);
 * the mixed ones are its own, the discrete ones go into the junction tree, the continuous ones stand beside it. Where
 * only some discrete coordinates are summed out, a discrete factor that reads others as well is sliced at every point
 * (summed_slices.c), or is a mixed one where it has no table.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/discrete_parts.h"
#include "compose/exact/summed_parts.h"
#include "core/alloc.h"

enum { MOST_VALUES = 1 << 20 }; /* of mixed factors at one point */

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* ---- sorts ---- */

poei_sort poei_summed_sort(const poei_summing *opening, const poei_part *part) {
  size_t summed = 0, continuous = 0;
  for (size_t j = 0; j < part->n; j++) {
    summed += poei_summing_has(opening, part->index[j]);
    continuous += opening->traits->support[part->index[j]].kind != POE_DISCRETE;
  }
  return summed == 0 ? POEI_ALL_CONTINUOUS : continuous == 0 ? POEI_ALL_DISCRETE : POEI_MIXED;
}

/* ---- one mixed factor ---- */

/* Sets up a factor of the state from a part of the target; place[target dim]: the expert's own coordinates. */
static poe_status make_factor(const poei_summing *opening, const poei_part *part, const size_t *place,
                              poei_summed_factor *factor, poe_error *error) {
  const unsigned char *touch = poei_node_touch(part->expert);
  factor->expert = poe_expert_retain(part->expert);
  factor->exponent = part->exponent;
  factor->n = part->n;
  factor->states = 1;
  factor->from = poei_alloc(3 * part->n, sizeof *factor->from);
  factor->low = poei_calloc(part->n, sizeof *factor->low);
  if (factor->from == NULL || factor->low == NULL) {
    return no_memory(error);
  }
  factor->digit = factor->from + part->n;
  factor->cardinality = factor->digit + part->n;
  for (size_t j = 0; j < part->n; j++) {
    const poe_support *support = &opening->traits->support[part->index[j]];
    factor->from[j] = SIZE_MAX;
    if (!poei_summing_has(opening, part->index[j])) {
      factor->from[j] = place[part->index[j]];
      continue;
    }
    factor->low[j] = support->low;
    if (touch == NULL || touch[j]) {
      size_t values = poei_support_states(support);
      if (values == 0 || factor->states > POEI_MARGINAL_STATES / values) {
        poe_error_set(error, POE_E_CAPABILITY,
                      "`%s` reads discrete coordinates of more than %d joint values beside continuous ones",
                      poe_expert_ops_of(part->expert)->kind, (int)POEI_MARGINAL_STATES);
        return POE_E_CAPABILITY;
      }
      factor->states *= values;
      factor->digit[factor->n_digits] = j;
      factor->cardinality[factor->n_digits++] = values;
    }
  }
  return POE_OK;
}

/* The mixed factors; scope[n] gets their discrete coordinates, in room[]. */
static poe_status make_factors(poei_summed *self, const poei_summing *opening, const size_t *place, poei_scope *scope,
                               size_t *room, poe_error *error) {
  poe_status status = POE_OK;
  size_t total = 0;
  for (size_t i = 0; i < opening->parts->n && status == POE_OK; i++) {
    const poei_part *part = &opening->parts->item[i];
    if (opening->sorts[i] != POEI_MIXED) {
      continue;
    }
    if (!(part->exponent > 0.0)) {
      return poe_error_set(error, POE_E_CAPABILITY, "`%s`, over discrete and continuous coordinates, is a divisor",
                           poe_expert_ops_of(part->expert)->kind);
    }
    if (!poei_expert_can(part->expert, POE_CAN_EVAL)) {
      return poe_error_set(error, POE_E_CAPABILITY, "`%s` cannot be evaluated", poe_expert_ops_of(part->expert)->kind);
    }
    poei_summed_factor *factor = &self->factor[self->n];
    status = make_factor(opening, part, place, factor, error);
    scope[self->n++] = (poei_scope){.n = factor->n_digits, .index = room};
    for (size_t k = 0; k < factor->n_digits; k++) {
      *room++ = part->index[factor->digit[k]];
    }
    double own = part->exponent * poe_expert_traits(part->expert)->offset_error;
    self->offset_error = sqrt(self->offset_error * self->offset_error + own * own);
    self->gradient = self->gradient && poei_expert_differentiable(part->expert);
    self->widest = part->n > self->widest ? part->n : self->widest;
    total += factor->states;
  }
  if (status == POE_OK && total > MOST_VALUES) {
    status =
        poe_error_set(error, POE_E_CAPABILITY,
                      "the factors over discrete and continuous coordinates have %zu values at every point", total);
  }
  return status;
}

/* ---- the state ---- */

/* The coordinates: those that are summed out, and those read with them. place[target dim]: the numbers of these. */
static poe_status set_coordinates(poei_summed *self, const poei_summing *opening, size_t *place, poe_error *error) {
  const poe_traits *traits = opening->traits;
  const poei_parts *parts = opening->parts;
  self->own = poei_alloc(traits->dim, sizeof *self->own);
  self->discrete = poei_alloc(traits->dim, sizeof *self->discrete);
  self->low = poei_alloc(traits->dim, sizeof *self->low);
  self->support = poei_alloc(traits->dim, sizeof *self->support);
  if (self->own == NULL || self->discrete == NULL || self->low == NULL || self->support == NULL) {
    return no_memory(error);
  }
  for (size_t c = 0; c < traits->dim; c++) {
    place[c] = SIZE_MAX;
  }
  for (size_t i = 0; i < parts->n; i++) {
    for (size_t j = 0; j < parts->item[i].n && opening->sorts[i] != POEI_ALL_CONTINUOUS; j++) {
      place[parts->item[i].index[j]] = 0;
    }
  }
  self->target_dim = traits->dim;
  for (size_t c = 0; c < traits->dim; c++) {
    if (poei_summing_has(opening, c)) {
      self->low[self->n_discrete] = traits->support[c].low;
      self->discrete[self->n_discrete++] = c;
      size_t values = poei_support_states(&traits->support[c]);
      if (values == 0 || !poei_add_size(self->probabilities, values, &self->probabilities)) {
        return poe_error_set(error, POE_E_CAPABILITY, "a discrete coordinate takes infinitely many values");
      }
    } else if (place[c] != SIZE_MAX) {
      self->support[self->dim] = traits->support[c];
      self->own[self->dim] = c;
      place[c] = self->dim++;
    }
  }
  return self->dim > 0 ? POE_OK : poe_error_set(error, POE_E_CAPABILITY, "no factor joins both kinds of coordinates");
}

/* The discrete factors and room for the mixed ones as a graph over the target's discrete coordinates. */
static poe_status open_graph(const poei_summed *self, const poei_summing *opening, const poei_scope *scope,
                             size_t *factor, poei_discrete **discrete, poe_error *error) {
  poei_plan_options own = *opening->options;
  own.names = (poei_names){0}; /* the graph has a numbering of its own */
  unsigned char *member = poei_alloc(opening->parts->n, 1);
  if (member == NULL) {
    return no_memory(error);
  }
  for (size_t i = 0; i < opening->parts->n; i++) {
    member[i] = opening->sorts[i] == POEI_ALL_DISCRETE;
  }
  poe_status status = poei_discrete_open_among(opening->traits, opening->parts, member, self->n, scope, NULL, factor,
                                               &own, discrete, error);
  poei_free(member);
  return status;
}

/* The junction tree. */
static poe_status set_tree(poei_summed *self, const poei_summing *opening, const poei_scope *scope, const size_t *place,
                           poe_error *error) {
  size_t *factor = poei_alloc(self->n, sizeof *factor), limit = opening->options->byte_limit;
  poei_discrete *discrete = NULL;
  poe_status status = factor == NULL ? no_memory(error) : open_graph(self, opening, scope, factor, &discrete, error);
  if (status == POE_OK && opening->latent == NULL) {
    status = poei_live_create(discrete->graph, self->n, factor, limit, &self->live, error);
  } else if (status == POE_OK) {
    self->graph = discrete;
    discrete = NULL;
    status = poei_summed_slice_tree(self, opening, factor, place, error);
  }
  for (size_t m = 0; m < self->n && status == POE_OK; m++) {
    self->factor[m].start = poei_live_start(self->live, m);
  }
  poei_discrete_destroy(discrete);
  poei_free(factor);
  return status;
}

static poe_status fill(poei_summed *self, const poei_summing *opening, poe_error *error) {
  size_t mixed = 0, widths = 0;
  for (size_t i = 0; i < opening->parts->n; i++) {
    mixed += opening->sorts[i] == POEI_MIXED;
    widths += opening->sorts[i] == POEI_MIXED ? opening->parts->item[i].n : 0;
  }
  size_t *place = poei_alloc(opening->traits->dim, sizeof *place), *room = poei_alloc(widths, sizeof *room);
  poei_scope *scope = poei_alloc(mixed, sizeof *scope);
  self->factor = poei_calloc(mixed, sizeof *self->factor);
  self->gradient = true;
  poe_status status =
      place == NULL || room == NULL || scope == NULL || self->factor == NULL ? no_memory(error) : POE_OK;
  if (status == POE_OK) {
    status = set_coordinates(self, opening, place, error);
  }
  if (status == POE_OK) {
    status = make_factors(self, opening, place, scope, room, error);
  }
  if (status == POE_OK) {
    status = set_tree(self, opening, scope, place, error);
  }
  poei_free(place);
  poei_free(room);
  poei_free(scope);
  return status;
}

poe_status poei_summed_make(const poei_summing *opening, poe_expert **out, poe_error *error) {
  poei_summed *self = poei_calloc(1, sizeof *self);
  poe_status status = self == NULL ? no_memory(error) : fill(self, opening, error);
  if (status == POE_OK) {
    return poei_summed_wrap(self, out, error);
  }
  if (self != NULL) {
    poei_summed_destroy(self);
  }
  return status;
}

/* ---- the marginal ---- */

poe_status poei_summed_close(const poei_summing *opening, const poe_expert *summed, poe_expert **marginal,
                             poe_error *error) {
  const poe_traits *traits = opening->traits;
  const poei_parts *parts = opening->parts;
  const poei_summed *self = poe_expert_self(summed);
  size_t *rank = poei_alloc(2 * traits->dim, sizeof *rank), *index = rank + traits->dim;
  if (rank == NULL) {
    return no_memory(error);
  }
  poei_parts whole = {.constant = parts->constant, .variance = parts->variance};
  for (size_t c = 0; c < traits->dim; c++) {
    rank[c] = !poei_summing_has(opening, c) ? whole.dim++ : SIZE_MAX;
  }
  poe_status status = POE_OK;
  for (size_t i = 0; i < parts->n && status == POE_OK; i++) {
    const poei_part *part = &parts->item[i];
    for (size_t j = 0; j < part->n; j++) {
      index[j] = rank[part->index[j]];
    }
    if (opening->sorts[i] == POEI_ALL_CONTINUOUS) {
      status = poei_parts_add(&whole, part->expert, part->n, index, part->exponent, error);
    }
  }
  for (size_t j = 0; j < self->dim; j++) {
    index[j] = rank[self->own[j]];
  }
  if (status == POE_OK) {
    status = poei_parts_add(&whole, summed, self->dim, index, 1.0, error);
  }
  if (status == POE_OK) {
    status = poei_parts_close(&whole, marginal, error);
  }
  poei_parts_free(&whole);
  poei_free(rank);
  return status;
}

poe_status poei_summed_create(const poe_expert *target, const poei_plan_options *options, poe_expert **summed,
                              poe_expert **marginal, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  poei_parts parts = {0};
  poe_expert *made = NULL;
  poe_status status = poei_mixed_factors(target, &parts, error);
  poei_sort *sorts = status == POE_OK ? poei_alloc(parts.n, sizeof *sorts) : NULL;
  if (status == POE_OK && sorts == NULL) {
    status = no_memory(error);
  }
  poei_summing opening = {traits, &parts, sorts, options, NULL, 1.0};
  for (size_t i = 0; i < parts.n && status == POE_OK; i++) {
    sorts[i] = poei_summed_sort(&opening, &parts.item[i]);
  }
  if (status == POE_OK) {
    status = poei_summed_make(&opening, &made, error);
  }
  if (status == POE_OK) {
    status = poei_summed_close(&opening, made, marginal, error);
  }
  poei_free(sorts);
  poei_parts_free(&parts);
  if (status != POE_OK) {
    poe_expert_release(made);
    return status;
  }
  *summed = made;
  return POE_OK;
}

poe_status poei_summed_whole(const poe_expert *target, const poei_plan_options *options, poe_expert **summed,
                             poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  poei_parts parts = {.dim = traits->dim};
  poei_sort mixed = POEI_MIXED;
  size_t *index = poei_alloc(traits->dim, sizeof *index);
  poe_status status = index == NULL ? no_memory(error) : POE_OK;
  for (size_t j = 0; j < traits->dim && status == POE_OK; j++) {
    index[j] = j;
  }
  if (status == POE_OK) {
    status = poei_parts_add(&parts, target, traits->dim, index, 1.0, error);
  }
  if (status == POE_OK) {
    poei_summing opening = {traits, &parts, &mixed, options, NULL, 1.0};
    status = poei_summed_make(&opening, summed, error);
  }
  poei_free(index);
  poei_parts_free(&parts);
  return status;
}
