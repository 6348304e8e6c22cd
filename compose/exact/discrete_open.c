/* Opening a discrete target into a factor graph (see discrete.h).
 *
 * A node's coordinates have a place each: the graph's variable they are. Powers multiply on the way down. What clamps a
 * coordinate makes a variable of one value; a mixture makes one that says which component it is, which gates the
 * component's factors (p = sum_z w_z prod_f f_z). The experts themselves are in discrete_leaves.c.
 */
#include <math.h>

#include "compose/exact/discrete_parts.h"
#include "compose/exact/summed_parts.h"
#include "compose/nodes/node.h"
#include "core/alloc.h"

enum {
  FEW_STATES = 4096,    /* mixtures of so many joint values are tabulated           */
  MOST_VALUES = 1 << 24 /* of a coordinate                                          */
};

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

static poe_status open_expert(poei_opener *opener, const poe_expert *expert, const size_t *place, double exponent,
                              const poei_gate *gate, poe_error *error);

/* ---- nodes ---- */

static poe_status open_product(poei_opener *opener, const poe_expert *expert, const size_t *place, double exponent,
                               const poei_gate *gate, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(expert);
  size_t *own = poei_alloc(traits->dim, sizeof *own);
  poe_status status = own == NULL ? no_memory(error) : POE_OK;
  for (size_t j = 0; j < traits->dim && poei_product_has_walls(expert) && status == POE_OK; j++) {
    status = poei_opener_box(opener, place[j], &traits->support[j], exponent, gate, error);
  }
  for (size_t i = 0; i < poei_node_child_count(expert) && status == POE_OK; i++) {
    const poe_expert *child = poei_node_child(expert, i);
    const size_t *index = poei_product_index(expert, i);
    for (size_t j = 0; j < poe_expert_traits(child)->dim; j++) {
      own[j] = place[index == NULL ? j : index[j]];
    }
    status = open_expert(opener, child, own, exponent * poei_product_exponent(expert, i), gate, error);
  }
  poei_free(own);
  return status;
}

/* Slices and plates: a child over places index[sets, child dim]. */
static poe_status open_sets(poei_opener *opener, const poe_expert *child, size_t sets, const size_t *index,
                            const size_t *place, double exponent, const poei_gate *gate, poe_error *error) {
  size_t d = poe_expert_traits(child)->dim;
  size_t *own = poei_alloc(d, sizeof *own);
  poe_status status = own == NULL ? no_memory(error) : POE_OK;
  for (size_t s = 0; s < sets && status == POE_OK; s++) {
    for (size_t j = 0; j < d; j++) {
      own[j] = place[index[s * d + j]];
    }
    status = open_expert(opener, child, own, exponent, gate, error);
  }
  poei_free(own);
  return status;
}

static poe_status open_given(poei_opener *opener, const poe_expert *expert, const size_t *place, double exponent,
                             const poei_gate *gate, poe_error *error) {
  const poe_expert *child = poei_node_child(expert, 0);
  size_t full = poe_expert_traits(child)->dim, free_one = 0;
  size_t *own = poei_alloc(full, sizeof *own);
  poe_status status = own == NULL ? no_memory(error) : POE_OK;
  for (size_t c = 0; c < full && status == POE_OK; c++) {
    own[c] = SIZE_MAX;
  }
  for (size_t k = 0; k < poei_given_count(expert) && status == POE_OK; k++) {
    status = poei_opener_variable(opener, 1, poei_given_value(expert)[k], &own[poei_given_index(expert)[k]], error);
  }
  for (size_t c = 0; c < full && status == POE_OK; c++) {
    own[c] = own[c] == SIZE_MAX ? place[free_one++] : own[c];
  }
  if (status == POE_OK) {
    status = open_expert(opener, child, own, exponent, gate, error);
  }
  poei_free(own);
  return status;
}

/* The variable that says which component it is. Inside another mixture it has one more value, for when that one's gate
 * is closed: the only one then, and impossible otherwise. */
static poe_status open_mixture(poei_opener *opener, const poe_expert *expert, const size_t *place,
                               const poei_gate *gate, poe_error *error) {
  size_t n = poei_node_child_count(expert), values = gate == NULL ? n : n + 1, variable = 0;
  size_t gates = gate == NULL ? 1 : poei_field_cardinality(opener->graph, gate->variable), total;
  double *weight = poei_mul_size(gates, values, &total) ? poei_alloc(total, sizeof *weight) : NULL;
  poe_status status = weight == NULL ? no_memory(error) : poei_opener_variable(opener, values, 0.0, &variable, error);
  for (size_t i = 0; i < total && status == POE_OK; i++) {
    size_t k = i % values;
    bool closed = gate != NULL && i / values != gate->value;
    weight[i] = closed ? (k == n ? 0.0 : -INFINITY) : k == n ? -INFINITY : poei_mixture_log_weight(expert, k);
  }
  if (status == POE_OK) {
    size_t scope[2] = {gate == NULL ? variable : gate->variable, variable};
    status = poei_opener_factor(opener, gate == NULL ? 1 : 2, scope, weight, 1.0, NULL, NULL, error);
  }
  poei_free(weight);
  for (size_t k = 0; k < n && status == POE_OK; k++) {
    poei_gate own = {variable, k};
    status = open_expert(opener, poei_node_child(expert, k), place, 1.0, &own, error);
  }
  return status;
}

static bool has_finite_latents(const poe_expert *expert) {
  const poe_support *support = poe_expert_traits(poei_node_child(expert, 0))->support;
  for (size_t k = 0; k < poei_marginal_count(expert); k++) {
    const poe_support *own = &support[poei_marginal_latent(expert)[k]];
    if (own->kind != POE_DISCRETE || poei_support_states(own) == 0 || poei_support_states(own) > MOST_VALUES) {
      return false;
    }
  }
  return true;
}

/* How many copies of child^beta, each with latent coordinates of its own, make a marginal to this power: exponent /
 * beta where that is a whole number; 0 when there is no such number or a latent coordinate has no finite range. */
static size_t copies(const poe_expert *expert, double exponent) {
  double beta = poei_marginal_beta(expert);
  return has_finite_latents(expert) && isfinite(beta) ? poei_opener_times(exponent / beta) : 0;
}

/* The child with the marginal's latent coordinates as variables of their own, `times` times. */
static poe_status open_latents(poei_opener *opener, const poe_expert *expert, const size_t *place, size_t times,
                               double exponent, const poei_gate *gate, poe_error *error) {
  const poe_expert *child = poei_node_child(expert, 0);
  const poe_traits *traits = poe_expert_traits(child);
  size_t *own = poei_alloc(traits->dim, sizeof *own);
  poe_status status = own == NULL ? no_memory(error) : POE_OK;
  for (size_t j = 0; status == POE_OK && j < poe_expert_traits(expert)->dim; j++) {
    own[poei_marginal_free(expert)[j]] = place[j];
  }
  for (size_t i = 0; i < times && status == POE_OK; i++) {
    for (size_t k = 0; k < poei_marginal_count(expert) && status == POE_OK; k++) {
      const poe_support *support = &traits->support[poei_marginal_latent(expert)[k]];
      status = poei_opener_hidden(opener, poei_support_states(support), support->low, gate,
                                  &own[poei_marginal_latent(expert)[k]], error);
      if (status == POE_OK && isinf(poei_marginal_beta(expert))) {
        status = poei_opener_maximised(opener, own[poei_marginal_latent(expert)[k]], error);
      }
    }
    if (status == POE_OK) {
      status = open_expert(opener, child, own, exponent, gate, error);
    }
  }
  poei_free(own);
  return status;
}

static poe_status open_marginal(poei_opener *opener, const poe_expert *expert, const size_t *place, double exponent,
                                const poei_gate *gate, poe_error *error) {
  size_t times = copies(expert, exponent);
  if (times > 0) {
    return open_latents(opener, expert, place, times, poei_marginal_beta(expert), gate, error);
  }
  if (opener->maxima && isinf(poei_marginal_beta(expert)) && exponent > 0.0 && gate == NULL &&
      has_finite_latents(expert)) { /* the largest value of all: max_x max_h */
    return open_latents(opener, expert, place, 1, exponent, NULL, error);
  }
  poe_error why = {0};
  poe_status status =
      has_finite_latents(expert) ? poei_opener_reduce(opener, expert, place, exponent, gate, &why) : POE_E_CAPABILITY;
  if (status != POE_E_CAPABILITY) {
    if (status != POE_OK) {
      *error = why;
    }
    return status;
  }
  status = poei_opener_tabulate(opener, expert, place, exponent, gate, error);
  if (status == POE_E_CAPABILITY && why.message[0] != '\0') {
    *error = why;
  }
  return status;
}

/* Can the factors of a product take its power? (b / c)^-1 is not c / b where both vanish. */
static bool opens_to(const poe_expert *product, double exponent) {
  size_t n;
  const poei_factor *factor = poei_product_factors(product, &n);
  return exponent > 0.0 || (!poei_product_has_walls(product) && (n == 0 || factor[n - 1].exponent > 0.0));
}

static poe_status open_expert(poei_opener *opener, const poe_expert *expert, const size_t *place, double exponent,
                              const poei_gate *gate, poe_error *error) {
  const poe_expert *child = poei_node_child_count(expert) == 0 ? NULL : poei_node_child(expert, 0);
  const poe_traits *traits = poe_expert_traits(expert);
  poe_status status = POE_OK;
  size_t n;
  switch (poei_node_kind_of(expert)) {
  case POEI_NODE_LEAF:
    return poei_opener_leaf(opener, expert, place, exponent, gate, error);
  case POEI_NODE_product:
    return opens_to(expert, exponent) ? open_product(opener, expert, place, exponent, gate, error)
                                      : poei_opener_tabulate(opener, expert, place, exponent, gate, error);
  case POEI_NODE_slice:
    return open_sets(opener, child, 1, poei_slice_index(expert), place, exponent, gate, error);
  case POEI_NODE_plate:
    return open_sets(opener, child, poei_plate_count(expert), poei_plate_index(expert), place, exponent, gate, error);
  case POEI_NODE_given:
    return open_given(opener, expert, place, exponent, gate, error);
  case POEI_NODE_normalise: {
    double log_z = poei_normalise_log_z(expert, NULL);
    if (isnan(log_z)) {
      return poe_error_set(error, POE_E_CAPABILITY, "a constant of the target is not known yet");
    }
    status = poei_opener_constant(opener, -exponent * log_z, gate, error);
    return status == POE_OK ? open_expert(opener, child, place, exponent, gate, error) : status;
  }
  case POEI_NODE_mixture:
    if (poei_node_child_count(expert) == 1) {
      status = poei_opener_constant(opener, exponent * poei_mixture_log_weight(expert, 0), gate, error);
      return status == POE_OK ? open_expert(opener, child, place, exponent, gate, error) : status;
    }
    if (poei_opener_times(exponent) == 0 || poei_opener_states(opener, expert, place, FEW_STATES, &n, NULL) > 0) {
      return poei_opener_tabulate(opener, expert, place, exponent, gate, error);
    }
    for (size_t i = 0; i < poei_opener_times(exponent) && status == POE_OK; i++) {
      status = open_mixture(opener, expert, place, gate, error);
    }
    return status;
  case POEI_NODE_marginal:
    return open_marginal(opener, expert, place, exponent, gate, error);
  case POEI_NODE_restrict:
    if (exponent < 0.0) {
      return poei_opener_tabulate(opener, expert, place, exponent, gate, error);
    }
    for (size_t j = 0; j < traits->dim && status == POE_OK; j++) {
      status = poei_opener_box(opener, place[j], &traits->support[j], exponent, gate, error);
    }
    return status == POE_OK ? open_expert(opener, child, place, exponent, gate, error) : status;
  default:
    return poei_opener_tabulate(opener, expert, place, exponent, gate, error);
  }
}

/* ---- all of it ---- */

void poei_discrete_destroy(poei_discrete *discrete) {
  if (discrete != NULL) {
    poei_field_destroy(discrete->graph);
    poei_free(discrete->low);
    poei_free(discrete->maximised);
    poei_free(discrete);
  }
}

/* Coordinate j of the target as the next variable. */
static poe_status add_coordinate(poei_opener *opener, const poe_traits *traits, size_t j, size_t *place,
                                 poe_error *error) {
  size_t states = poei_support_states(&traits->support[j]);
  char name[POEI_NAME_SIZE];
  if (traits->support[j].kind != POE_DISCRETE) {
    return poe_error_set(error, POE_E_CAPABILITY, "%s is continuous",
                         poei_names_text(&opener->options->names, j, name, sizeof name));
  }
  if (states == 0 || states > MOST_VALUES) {
    return poe_error_set(error, POE_E_CAPABILITY, "%s takes more than %d values",
                         poei_names_text(&opener->options->names, j, name, sizeof name), MOST_VALUES);
  }
  return poei_opener_variable(opener, states, traits->support[j].low, place, error);
}

/* Hands the opener's graph over. */
static poe_status publish(poei_opener *opener, size_t dim, poei_discrete **out, poe_error *error) {
  poei_discrete *made = poei_calloc(1, sizeof *made);
  if (made == NULL) {
    return no_memory(error);
  }
  made->low = poei_copy(opener->low, dim, sizeof *made->low);
  if (made->low == NULL) {
    poei_free(made);
    return no_memory(error);
  }
  made->dim = dim;
  if (opener->n_maximised > 0) {
    made->maximised = opener->maximised;
    made->n_maximised = opener->n_maximised;
    opener->maximised = NULL;
  }
  made->graph = opener->graph;
  opener->graph = NULL;
  for (size_t v = dim; v < poei_field_variables(made->graph); v++) {
    made->hidden += poei_field_cardinality(made->graph, v) > 1;
  }
  *out = made;
  return POE_OK;
}

static poe_status open_whole(const poe_expert *target, const poei_plan_options *options, bool maxima,
                             poei_discrete **out, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  poei_opener opener = {.options = options, .maxima = maxima};
  size_t *place = poei_alloc(traits->dim, sizeof *place);
  poe_status status = place == NULL ? no_memory(error) : poei_field_create(&opener.graph, error);
  for (size_t j = 0; j < traits->dim && status == POE_OK; j++) {
    status = add_coordinate(&opener, traits, j, &place[j], error);
  }
  if (status == POE_OK) {
    status = open_expert(&opener, target, place, 1.0, NULL, error);
  }
  if (status == POE_OK) {
    status = poei_opener_check(&opener, traits->dim, error);
  }
  if (status == POE_OK) {
    status = publish(&opener, traits->dim, out, error);
  }
  poei_opener_free(&opener);
  poei_free(place);
  return status;
}

poe_status poei_discrete_open(const poe_expert *target, const poei_plan_options *options, poei_discrete **out,
                              poe_error *error) {
  return open_whole(target, options, false, out, error);
}

poe_status poei_discrete_open_best(const poe_expert *target, const poei_plan_options *options, poei_discrete **out,
                                   poe_error *error) {
  return open_whole(target, options, true, out, error);
}

/* Factors with the tables value[i] (NULL: 1 everywhere) over scope[i] of the target's coordinates. */
static poe_status add_scopes(poei_opener *opener, size_t n, const poei_scope *scope, const double *const *value,
                             const size_t *place, size_t *factor, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    size_t states = 1;
    size_t *variable = poei_alloc(scope[i].n, sizeof *variable);
    for (size_t k = 0; variable != NULL && k < scope[i].n; k++) {
      variable[k] = place[scope[i].index[k]];
      states = poei_mul_size(states, poei_field_cardinality(opener->graph, variable[k]), &states) ? states : SIZE_MAX;
    }
    double *own = value == NULL ? poei_calloc(states, sizeof *own) : poei_copy(value[i], states, sizeof *own);
    status = variable == NULL || own == NULL
                 ? no_memory(error)
                 : poei_opener_factor(opener, scope[i].n, variable, own, 1.0, NULL, NULL, error);
    if (factor != NULL) {
      factor[i] = opener->n_positive - 1;
    }
    poei_free(own);
    poei_free(variable);
  }
  return status;
}

/* The factors of `parts` in member[]. own: [parts->dim] work space. */
static poe_status add_members(poei_opener *opener, const poei_parts *parts, const unsigned char *member,
                              const size_t *place, size_t *own, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t i = 0; i < parts->n && status == POE_OK; i++) {
    const poei_part *part = &parts->item[i];
    for (size_t j = 0; member[i] && j < part->n; j++) {
      own[j] = place[part->index[j]];
    }
    if (member[i]) {
      status = open_expert(opener, part->expert, own, part->exponent, NULL, error);
    }
  }
  return status;
}

poe_status poei_discrete_open_among(const poe_traits *traits, const poei_parts *parts, const unsigned char *member,
                                    size_t n, const poei_scope *scope, const double *const *value, size_t *factor,
                                    const poei_plan_options *options, poei_discrete **out, poe_error *error) {
  poei_opener opener = {.options = options};
  size_t discrete = 0, *place = poei_alloc(2 * traits->dim, sizeof *place);
  poe_status status = place == NULL ? no_memory(error) : poei_field_create(&opener.graph, error);
  for (size_t j = 0; j < traits->dim && status == POE_OK; j++) {
    if (traits->support[j].kind == POE_DISCRETE) {
      status = add_coordinate(&opener, traits, j, &place[j], error);
      discrete++;
    } else {
      place[j] = SIZE_MAX; /* no member reads it */
    }
  }
  if (status == POE_OK) {
    status = add_members(&opener, parts, member, place, place + traits->dim, error);
  }
  if (status == POE_OK) {
    status = poei_opener_check(&opener, discrete, error);
  }
  if (status == POE_OK) {
    status = add_scopes(&opener, n, scope, value, place, factor, error);
  }
  if (status == POE_OK) {
    status = publish(&opener, discrete, out, error);
  }
  poei_opener_free(&opener);
  poei_free(place);
  return status;
}

poe_status poei_discrete_beside(const poe_expert *target, const poei_plan_options *options, poei_discrete **out,
                                poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  poei_plan_options own = *options;
  poei_parts parts = {0};
  own.names = (poei_names){0}; /* the graph has a numbering of its own */
  poe_status status = poei_parts_open(target, POEI_OPEN_ALL, &parts, NULL, error);
  unsigned char *member = status == POE_OK ? poei_calloc(parts.n, 1) : NULL;
  if (status == POE_OK && member == NULL) {
    status = no_memory(error);
  }
  for (size_t i = 0; i < parts.n && status == POE_OK; i++) {
    size_t discrete = 0;
    for (size_t j = 0; j < parts.item[i].n; j++) {
      discrete += traits->support[parts.item[i].index[j]].kind == POE_DISCRETE;
    }
    member[i] = discrete > 0;
    if (discrete > 0 && discrete < parts.item[i].n) {
      status = poe_error_set(error, POE_E_CAPABILITY, "`%s` joins discrete coordinates to continuous ones",
                             poe_expert_ops_of(parts.item[i].expert)->kind);
    }
  }
  if (status == POE_OK) {
    status = poei_discrete_open_among(traits, &parts, member, 0, NULL, NULL, NULL, &own, out, error);
  }
  poei_free(member);
  poei_parts_free(&parts);
  return status;
}
