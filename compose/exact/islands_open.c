/* Finding the islands of a mixed target (see islands.c): groups of factors that share continuous coordinates, a plan
 * for every value of the discrete ones each group reads, and the planner's route. Islands that are one factor in
 * different places share their integrals. */
#include <math.h>
#include <string.h>

#include "compose/exact/choose_parts.h"
#include "compose/exact/islands_parts.h"
#include "compose/exact/summed_parts.h"
#include "core/alloc.h"

enum {
  FEW_STATES = 16,   /* joint values of all discrete coordinates that the other routes may as well go through */
  MOST_VALUES = 256, /* joint values of an island's discrete coordinates                                      */
  MOST_GRIDS = 64    /* integrals by quadrature                                                               */
};

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* ---- one island ---- */

/* log Z and the sampler of an island at one value, from a plan of its own; *fits false: it has none. */
static poe_status plan_value(poei_islands *self, const poe_expert *expert, const poei_plan_options *options,
                             poei_shore *out, size_t k, bool *fits, poe_error *error) {
  poei_plan *plan = NULL;
  poe_error why = {0};
  poe_status status = poei_plan_tree(expert, options, !self->draws, &plan, &why);
  out->log_z[k] = -INFINITY;
  if (status == POE_E_EMPTY) {
    return POE_OK;
  }
  *fits = status == POE_OK && plan->has_log_z && isfinite(plan->log_z) && (!self->draws || plan->sampler != NULL);
  if (*fits && plan->log_z_error > 0.0) {
    *fits = plan->log_z_method == POEI_METHOD_QUADRATURE && ++self->grids <= MOST_GRIDS;
  }
  if (*fits) {
    out->log_z[k] = plan->log_z;
    out->error = plan->log_z_error > out->error ? plan->log_z_error : out->error;
    out->sampler[k] = self->draws ? poe_expert_retain(plan->sampler) : NULL;
  }
  poei_plan_destroy(plan);
  if (status == POE_E_MEMORY) {
    *error = why;
    return status;
  }
  return POE_OK;
}

/* All values of an island; expert: its factors over index[] of the target's coordinates. */
static poe_status plan_values(poei_islands *self, poei_island *own, const poe_expert *expert, const size_t *index,
                              const poei_plan_options *options, bool *fits, poe_error *error) {
  size_t dim = poe_expert_traits(expert)->dim;
  size_t *where = poei_alloc(dim, sizeof *where), n = 0;
  double *value = poei_alloc(dim, sizeof *value);
  poei_shore *made = own->shore;
  poe_status status = where == NULL || value == NULL ? no_memory(error) : POE_OK;
  for (size_t j = 0; j < dim && status == POE_OK && n < own->n_discrete; j++) { /* in the order of own->discrete */
    if (index[j] == own->discrete[n]) {
      where[n++] = j;
    }
  }
  for (size_t k = 0; k < made->states && status == POE_OK && *fits; k++) {
    poe_expert *given = NULL;
    size_t left = k;
    for (size_t j = n; j-- > 0;) {
      value[j] = self->low[own->discrete[j]] + (double)(left % own->cardinality[j]);
      left /= own->cardinality[j];
    }
    status = n == 0 ? POE_OK : poei_given_create(expert, n, where, value, &given, error);
    if (status == POE_E_EMPTY) {
      made->log_z[k] = -INFINITY;
      status = POE_OK;
    } else if (status == POE_OK) {
      status = plan_value(self, n == 0 ? expert : given, options, made, k, fits, error);
    }
    poe_expert_release(given);
  }
  poei_free(where);
  poei_free(value);
  return status;
}

/* An earlier island that is the same factor over the same ranges. */
static poei_shore *known_shore(const poei_islands *self, const poei_island *own, const poe_traits *traits) {
  for (size_t i = 0; i < self->n && own->factor != NULL; i++) {
    const poei_island *other = &self->island[i];
    size_t dim = own->n_discrete + own->n_continuous;
    bool same = other->factor == own->factor && other->exponent == own->exponent &&
                other->n_discrete + other->n_continuous == dim;
    for (size_t j = 0; j < dim && same; j++) {
      const poe_support *a = &traits->support[other->both[j]], *b = &traits->support[own->both[j]];
      same = other->order[j] == own->order[j] && a->kind == b->kind && a->low == b->low && a->high == b->high &&
             a->low_open == b->low_open && a->high_open == b->high_open;
    }
    if (same) {
      return other->shore;
    }
  }
  return NULL;
}

static poe_status make_shore(size_t states, poei_shore **out, poe_error *error) {
  poei_shore *made = poei_calloc(1, sizeof *made);
  if (made == NULL) {
    return no_memory(error);
  }
  made->uses = 1;
  made->states = states;
  made->sampler = poei_calloc(states, sizeof(poe_expert *));
  made->log_z = poei_alloc(states, sizeof *made->log_z);
  if (made->sampler == NULL || made->log_z == NULL) {
    poei_shore_release(made);
    return no_memory(error);
  }
  *out = made;
  return POE_OK;
}

/* Coordinates index[dim] of the target sorted into an island's; *states: joint values, 0 when too many. */
static poe_status sort_coordinates(const poe_traits *traits, size_t dim, const size_t *index, poei_island *own,
                                   size_t *states, poe_error *error) {
  own->continuous = poei_alloc(dim, 5 * sizeof *own->continuous);
  if (own->continuous == NULL) {
    return no_memory(error);
  }
  own->discrete = own->continuous + dim;
  own->cardinality = own->discrete + dim;
  own->both = own->cardinality + dim;
  own->order = own->both + dim;
  memcpy(own->both, index, dim * sizeof *index);
  *states = 1;
  for (size_t j = 0; j < dim; j++) {
    const poe_support *support = &traits->support[index[j]];
    if (support->kind == POE_CONTINUOUS) {
      own->continuous[own->n_continuous++] = index[j];
      continue;
    }
    size_t values = poei_support_states(support);
    *states = values == 0 || *states > MOST_VALUES / values ? 0 : *states * values;
    own->cardinality[own->n_discrete] = values;
    own->discrete[own->n_discrete++] = index[j];
  }
  return POE_OK;
}

/* index[n] of coordinates that a factor has in its own order: index[j] becomes that of its coordinate j, and
 * part->index[j] is j. */
static poe_status own_order(poei_part *part, size_t *index, poe_error *error) {
  size_t *moved = poei_copy(index, part->n, sizeof *moved);
  if (moved == NULL) {
    return no_memory(error);
  }
  for (size_t j = 0; j < part->n; j++) {
    index[j] = moved[part->index[j]];
    part->index[j] = j;
  }
  poei_free(moved);
  return POE_OK;
}

/* The island of one group of factors. */
static poe_status add_island(poei_islands *self, const poe_traits *traits, const poei_parts *parts, const size_t *group,
                             size_t which, const poei_plan_options *options, bool *fits, poe_error *error) {
  poei_parts own_parts = {0};
  size_t *index = NULL, states = 0;
  poe_expert *expert = NULL;
  poei_island own = {0};
  poe_status status = poei_parts_group(parts, group, which, &own_parts, &index, error);
  if (status == POE_OK && own_parts.n == 1 && own_parts.item[0].exponent == 1.0 &&
      own_parts.item[0].n == own_parts.dim) { /* the factor as it is, its coordinates in its own order */
    status = own_order(&own_parts.item[0], index, error);
    expert = poe_expert_retain(own_parts.item[0].expert);
  } else if (status == POE_OK) {
    status = poei_parts_close(&own_parts, &expert, error);
  }
  if (status == POE_OK) {
    status = sort_coordinates(traits, own_parts.dim, index, &own, &states, error);
  }
  *fits = *fits && states > 0;
  if (status == POE_OK && *fits) {
    if (own_parts.n == 1) { /* the target's factors keep it */
      own.factor = own_parts.item[0].expert;
      own.exponent = own_parts.item[0].exponent;
      memcpy(own.order, own_parts.item[0].index, own_parts.dim * sizeof *own.order);
    }
    own.shore = known_shore(self, &own, traits);
    if (own.shore != NULL) {
      own.shore->uses++;
    } else {
      status = make_shore(states, &own.shore, error);
      status = status == POE_OK ? plan_values(self, &own, expert, index, options, fits, error) : status;
    }
  }
  self->widest = own.n_continuous > self->widest ? own.n_continuous : self->widest;
  self->island[self->n++] = own; /* freed with the others, whatever happened */
  poe_expert_release(expert);
  poei_free(index);
  poei_parts_free(&own_parts);
  return status;
}

/* ---- all of them ---- */

/* Groups of factors that share continuous coordinates: group[parts->n], SIZE_MAX for discrete factors. */
static poe_status find_groups(const poe_traits *traits, const poei_parts *parts, size_t *group, size_t *count,
                              poe_error *error) {
  size_t *parent = poei_alloc(parts->n, sizeof *parent), *owner = poei_alloc(parts->dim, sizeof *owner);
  poe_status status = parent == NULL || owner == NULL ? no_memory(error) : POE_OK;
  for (size_t c = 0; c < parts->dim && status == POE_OK; c++) {
    owner[c] = SIZE_MAX;
  }
  for (size_t i = 0; i < parts->n && status == POE_OK; i++) {
    parent[i] = i;
    for (size_t j = 0; j < parts->item[i].n; j++) {
      size_t c = parts->item[i].index[j], root;
      if (traits->support[c].kind == POE_DISCRETE) {
        continue;
      }
      owner[c] = owner[c] == SIZE_MAX ? i : owner[c];
      for (root = owner[c]; parent[root] != root;) {
        root = parent[root] = parent[parent[root]];
      }
      parent[root] = i; /* i is a root as long as it is the last */
    }
  }
  *count = 0;
  for (size_t i = parts->n; i-- > 0 && status == POE_OK;) { /* roots come last */
    bool discrete = poei_sort_of(traits, &parts->item[i]) == POEI_ALL_DISCRETE;
    group[i] = discrete ? SIZE_MAX : parent[i] == i ? (*count)++ : group[parent[i]];
  }
  poei_free(parent);
  poei_free(owner);
  return status;
}

/* The junction tree of the discrete factors and the islands' tables. */
static poe_status set_tree(poei_islands *self, const poe_traits *traits, const poei_parts *parts, const size_t *group,
                           const poei_plan_options *options, poe_error *error) {
  unsigned char *member = poei_alloc(parts->n, 1);
  poei_scope *scope = poei_alloc(self->n, sizeof *scope);
  const double **value = poei_alloc(self->n, sizeof *value);
  poei_discrete *discrete = NULL;
  poe_status status = member == NULL || scope == NULL || value == NULL ? no_memory(error) : POE_OK;
  for (size_t i = 0; i < parts->n && status == POE_OK; i++) {
    member[i] = group[i] == SIZE_MAX;
  }
  for (size_t i = 0; i < self->n && status == POE_OK; i++) {
    scope[i] = (poei_scope){.n = self->island[i].n_discrete, .index = self->island[i].discrete};
    value[i] = self->island[i].shore->log_z;
    self->error += self->island[i].shore->error;
  }
  if (status == POE_OK) {
    status = poei_discrete_open_among(traits, parts, member, self->n, scope, value, NULL, options, &discrete, error);
  }
  if (status == POE_OK) {
    status = poei_live_create(discrete->graph, 0, NULL, options->byte_limit, &self->live, error);
  }
  poe_scratch *scratch = status == POE_OK ? poe_scratch_create(poei_live_scratch(self->live, false)) : NULL;
  if (status == POE_OK && scratch == NULL) {
    status = no_memory(error);
  } else if (status == POE_OK) {
    double no_message[1] = {0.0};
    self->log_z = parts->constant + poei_live_log_z(self->live, NULL, no_message, scratch);
  }
  poe_scratch_destroy(scratch);
  poei_discrete_destroy(discrete);
  poei_free(member);
  poei_free(scope);
  poei_free(value);
  return status;
}

static poe_status fill(poei_islands *self, const poei_parts *parts, const poei_plan_options *options, bool *fits,
                       poe_error *error) {
  const poe_traits *traits = poe_expert_traits(self->target);
  size_t *group = poei_alloc(parts->n, sizeof *group), count = 0;
  self->discrete = poei_alloc(traits->dim, sizeof *self->discrete);
  self->low = poei_alloc(traits->dim, sizeof *self->low);
  poe_status status = group == NULL || self->discrete == NULL || self->low == NULL
                          ? no_memory(error)
                          : find_groups(traits, parts, group, &count, error);
  for (size_t c = 0; c < traits->dim && status == POE_OK; c++) {
    self->low[c] = traits->support[c].low;
    if (traits->support[c].kind == POE_DISCRETE) {
      self->discrete[self->n_discrete++] = c;
    }
  }
  if (status == POE_OK) {
    self->island = poei_calloc(count, sizeof *self->island);
    status = self->island == NULL ? no_memory(error) : POE_OK;
  }
  for (size_t g = 0; g < count && status == POE_OK && *fits; g++) {
    status = add_island(self, traits, parts, group, g, options, fits, error);
  }
  if (status == POE_OK && *fits) {
    status = set_tree(self, traits, parts, group, options, error);
  }
  poei_free(group);
  return status;
}

/* *out stays NULL when the target is not of this kind. */
static poe_status create(const poe_expert *target, const poei_plan_options *options, bool draws, poe_expert **out,
                         poe_error *error) {
  poei_plan_options own = *options;
  own.names = (poei_names){0}; /* islands have a numbering of their own */
  own.trace = NULL;
  poei_islands *self = poei_calloc(1, sizeof *self);
  poei_parts parts = {0};
  bool fits = true;
  if (self == NULL) {
    return no_memory(error);
  }
  self->target = poe_expert_retain(target);
  self->draws = draws;
  poe_status status = poei_mixed_factors(target, &parts, error);
  if (status == POE_OK) {
    status = fill(self, &parts, &own, &fits, error);
  }
  poei_parts_free(&parts);
  if (status == POE_OK && fits) {
    return poei_islands_wrap(self, out, error);
  }
  poei_islands_destroy(self);
  return status;
}

/* ---- the route ---- */

/* Discrete and continuous coordinates, with more joint discrete values than are simply gone through. */
static bool applies(const poei_chooser *choose) {
  const poe_traits *traits = poe_expert_traits(choose->plan->expert);
  size_t discrete = 0, states = 1;
  for (size_t c = 0; c < traits->dim; c++) {
    if (traits->support[c].kind == POE_DISCRETE) {
      size_t values = poei_support_states(&traits->support[c]);
      if (values == 0) {
        return false;
      }
      states = states > FEW_STATES ? states : states * (values > FEW_STATES ? FEW_STATES + 1 : values);
      discrete++;
    }
  }
  return discrete > 0 && discrete < traits->dim && states > FEW_STATES && !choose->options->no_rewrite;
}

poe_status poei_route_islands(const poei_chooser *choose, bool *done, poe_error *error) {
  poei_plan *plan = choose->plan;
  poe_expert *made = NULL;
  poe_error why = {0};
  if (!applies(choose)) {
    return POE_OK;
  }
  poe_status status = create(plan->expert, choose->options, !choose->log_z_only, &made, &why);
  if (status == POE_E_CAPABILITY || status == POE_E_IMPROPER || status == POE_E_SHAPE) {
    *choose->refusal = why;
    return POE_OK;
  }
  if (status != POE_OK) {
    *error = why;
    return status;
  }
  if (made == NULL) {
    return POE_OK;
  }
  const poei_islands *self = poe_expert_self(made);
  double offset = poe_expert_traits(plan->expert)->offset_error;
  *done = true;
  plan->method = self->error > 0.0 ? POEI_METHOD_QUADRATURE : POEI_METHOD_ELIMINATION;
  if (!plan->has_log_z) {
    poei_choose_log_z(plan, plan->method, self->log_z, sqrt(self->error * self->error + offset * offset));
  }
  plan->exact = self->error == 0.0 && plan->log_z_error == 0.0;
  plan->sampler = choose->log_z_only ? NULL : made;
  char *text = poei_format("given its %zu discrete coordinates the others fall into %zu independent part%s, each "
                           "%s for every value of those it reads; the discrete ones are eliminated",
                           self->n_discrete, self->n, self->n == 1 ? "" : "s",
                           self->error > 0.0 ? "closed or integrated numerically" : "closed");
  if (choose->log_z_only) {
    poe_expert_release(made);
  }
  return poei_choose_reason(plan, text, error);
}
