/* What a product of experts can do: where it is defined, over which coordinates it is normalised, whether its factors
 * are independent, and which of its factors' capabilities it keeps.
 */
#include "compose/exact/table.h"
#include "compose/nodes/product_parts.h"
#include "core/alloc.h"

/* The product's coordinate that is the j-th of child i. */
static size_t coordinate(const poei_product *self, size_t i, size_t j) {
  return self->index[i] == NULL ? j : self->index[i][j];
}

/* An integer coordinate bounded by nobody takes the range on which the divisors are defined: beyond it the density is
 * taken to be 0, not a/0. */
static poe_status set_walls(poei_product *self, poe_error *error) {
  size_t dim = self->node.traits.dim;
  for (size_t j = 0; j < dim; j++) {
    if (self->node.support[j].kind != POE_DISCRETE || !poei_support_unbounded(&self->node.support[j])) {
      continue;
    }
    if (self->wall == NULL) {
      self->wall = poei_calloc(dim, 1);
    }
    if (self->wall == NULL) {
      return poe_error_set(error, POE_E_MEMORY, "out of memory");
    }
    self->wall[j] = 1;
  }
  for (size_t i = 0; i < self->node.n && self->wall != NULL; i++) {
    const poe_traits *traits = poe_expert_traits(self->node.child[i]);
    for (size_t j = 0; j < traits->dim && self->exponent[i] < 0.0; j++) {
      size_t c = coordinate(self, i, j);
      if (self->wall[c]) {
        poei_support_intersect(&self->node.support[c], &traits->support[j]);
      }
    }
  }
  return POE_OK;
}

static poe_status set_support(poei_product *self, poe_error *error) {
  for (size_t i = 0; i < self->node.n; i++) {
    const poe_traits *traits = poe_expert_traits(self->node.child[i]);
    for (size_t j = 0; j < traits->dim; j++) {
      poe_support other = traits->support[j];
      size_t c = coordinate(self, i, j);
      if (self->exponent[i] < 0.0) { /* a divisor bounds nothing, but integers are integers */
        other.low = -INFINITY;
        other.high = INFINITY;
      }
      if (!poei_support_intersect(&self->node.support[c], &other)) {
        poe_error_set(error, POE_E_EMPTY, "the factors of the product share no value of coordinate %zu", c);
        poe_error_hint(error, "their supports do not overlap: one is [%g, %g]", traits->support[j].low,
                       traits->support[j].high);
        return POE_E_EMPTY;
      }
    }
  }
  return set_walls(self, error);
}

/* Head, independent blocks, and what follows from them. scopes: [n_factors]. */
static poe_status set_blocks(poei_product *self, const poei_scope *scopes, poe_error *error) {
  size_t dim = self->node.traits.dim;
  bool plain = true;
  for (size_t i = 0; i < self->n_factors; i++) {
    plain = plain && self->factor[i].exponent == 1.0;
  }
  if (!plain || self->n_factors == 0) {
    return POE_OK;
  }
  bool normalised = false, partition = false;
  poe_status status = poei_heads_union(dim, self->n_factors, scopes, self->node.head, NULL, &normalised, error);
  if (status == POE_OK) {
    status = poei_scopes_partition(dim, self->n_factors, scopes, &partition, error);
  }
  if (status != POE_OK || !partition) {
    return status;
  }
  bool known = true, sample = true;
  double log_z;
  for (size_t i = 0; i < self->n_factors; i++) {
    known = known && poei_expert_known_log_z(self->factor[i].expert, &log_z);
    sample = sample && poei_expert_can(self->factor[i].expert, POE_CAN_SAMPLE);
  }
  if (!known && !sample) {
    return POE_OK;
  }
  self->block = poei_alloc(self->n_factors, sizeof *self->block);
  if (self->block == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  self->n_blocks = self->n_factors;
  for (size_t i = 0; i < self->n_factors; i++) {
    self->block[i] = (poei_block){self->factor[i].expert, self->place[i]};
  }
  self->node.traits.capabilities |= (known ? POE_CAN_LOG_Z : 0u) | (sample ? POE_CAN_SAMPLE : 0u);
  return POE_OK;
}

/* Forms are offered for all-Gaussian factors of modest dimension and all-discrete ones of few states. Whether the
 * product of mixtures stays small enough is only known when the form is built. */
static bool has_form(const poei_product *self) {
  size_t dim = self->node.traits.dim, states = 1;
  bool continuous = true, discrete = true;
  for (size_t j = 0; j < dim; j++) {
    bool is_discrete = self->node.support[j].kind == POE_DISCRETE;
    continuous = continuous && !is_discrete;
    discrete = discrete && is_discrete && self->node.touch[j];
    if (discrete && (!poei_mul_size(states, poei_support_states(&self->node.support[j]), &states) || states == 0 ||
                     states > POEI_FORM_MAX_STATES)) {
      discrete = false;
    }
  }
  if (self->n_factors == 0 || !((continuous && dim <= POEI_FORM_MAX_DIM) || discrete)) {
    return false;
  }
  for (size_t i = 0; i < self->n_factors; i++) {
    if (!poei_expert_can(self->factor[i].expert, POE_CAN_FORM)) {
      return false;
    }
  }
  return true;
}

static void set_capabilities(poei_product *self) {
  unsigned all = POE_CAN_EVAL | POE_CAN_GRADIENT;
  double variance = 0.0;
  for (size_t i = 0; i < self->n_factors; i++) {
    const poe_expert *expert = self->factor[i].expert;
    if (!poei_expert_can(expert, POE_CAN_EVAL)) {
      all = 0;
    }
    if (!poei_expert_differentiable(expert)) {
      all &= ~(unsigned)POE_CAN_GRADIENT;
    }
    double error = self->factor[i].exponent * poe_expert_traits(expert)->offset_error;
    variance += error * error;
  }
  self->node.traits.capabilities |= all | (has_form(self) ? POE_CAN_FORM : 0u);
  self->node.traits.offset_error = sqrt(variance);
}

static poe_status set_view(poei_product *self, poe_error *error) {
  poei_view_term *terms = poei_alloc(self->n_factors, sizeof *terms);
  if (terms == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < self->n_factors; i++) {
    terms[i] = (poei_view_term){self->factor[i].expert, self->factor[i].exponent, self->factor[i].index, NULL};
  }
  poe_status status = poei_node_view(&self->node, self->n_factors, terms, self->wall, true, error);
  poei_free(terms);
  return status;
}

poe_status poei_product_traits(poei_product *self, poe_error *error) {
  for (size_t i = 0; i < self->node.n; i++) {
    const unsigned char *touch = poei_node_touch(self->node.child[i]);
    for (size_t j = 0; j < poe_expert_traits(self->node.child[i])->dim; j++) {
      self->node.touch[coordinate(self, i, j)] |= touch == NULL || touch[j];
    }
  }
  poe_status status = set_support(self, error);
  if (status != POE_OK) {
    return status;
  }
  poei_scope *scopes = poei_alloc(self->n_factors, sizeof *scopes);
  if (scopes == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < self->n_factors; i++) {
    scopes[i] = poei_scope_of(self->factor[i].expert, NULL);
    scopes[i].index = self->factor[i].index;
  }
  status = set_blocks(self, scopes, error);
  poei_free(scopes);
  if (status == POE_OK) {
    poei_node_publish_head(&self->node);
    set_capabilities(self);
    status = set_view(self, error);
  }
  return status;
}
