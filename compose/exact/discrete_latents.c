/* Marginals and profiles in a factor graph where their latent variables cannot be variables of it: maxima do not
 * commute with the sums of the others, nor powers with sums. The latent variables are eliminated from the marginal's
 * own graph,
 *
 *   (max_h prod_f f)^w = prod_r r^w   with r over free coordinates alone (poei_field_reduce of junction.h),
 *
 * which is exact as long as the r are not too large.
 */
#include <math.h>

#include "compose/exact/discrete_parts.h"
#include "compose/exact/junction_parts.h"
#include "compose/nodes/node.h"
#include "core/alloc.h"

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* phase[variables] of the elimination: hidden variables that the coordinates do not determine, latent ones, free ones.
 */
static poe_status set_phases(const poe_expert *expert, const poei_discrete *own, unsigned char *phase,
                             poe_error *error) {
  size_t n = poei_field_variables(own->graph);
  for (size_t v = 0; v < n; v++) {
    phase[v] = v < own->dim;
  }
  poe_status status = poei_field_determine(own->graph, phase, error);
  for (size_t j = 0; j < poe_expert_traits(expert)->dim; j++) {
    phase[poei_marginal_free(expert)[j]] = 2;
  }
  return status;
}

/* Clamps the free coordinates that have one value in the opener's graph; *possible: it is one of theirs. */
static poe_status clamp(const poei_opener *opener, const poe_expert *expert, const poei_discrete *own,
                        const size_t *place, poei_field **out, bool *possible, poe_error *error) {
  size_t n = poei_field_variables(own->graph), *value = poei_alloc(n, sizeof *value);
  if (value == NULL) {
    return no_memory(error);
  }
  *possible = true;
  for (size_t v = 0; v < n; v++) {
    value[v] = POEI_FIELD_FREE;
  }
  for (size_t j = 0; j < poe_expert_traits(expert)->dim; j++) {
    size_t v = poei_marginal_free(expert)[j];
    double at = opener->low[place[j]] - own->low[v];
    if (poei_field_cardinality(opener->graph, place[j]) == 1) {
      bool inside = at >= 0.0 && at < (double)poei_field_cardinality(own->graph, v);
      value[v] = inside ? (size_t)at : 0;
      *possible = *possible && inside;
    }
  }
  poe_status status = poei_field_clamp(own->graph, value, out, error);
  poei_free(value);
  return status;
}

/* One factor of what is left, over the opener's variables, whose ranges may be others. at[coordinates]: the place of
 * each; low[coordinates]: what its 0 means. */
static poe_status add_factor(poei_opener *opener, const poei_field *left, size_t f, const size_t *at, const double *low,
                             double exponent, const poei_gate *gate, poe_error *error) {
  const poei_field_factor_data *factor = &left->factor[f];
  const double *table = left->table[factor->table].log_value;
  size_t states = 1, *variable = poei_alloc(factor->n, sizeof *variable);
  bool fits = variable != NULL;
  for (size_t k = 0; k < factor->n && fits; k++) {
    variable[k] = at[factor->variable[k]];
    fits = poei_mul_size(states, poei_field_cardinality(opener->graph, variable[k]), &states);
  }
  double *value = fits ? poei_alloc(states, sizeof *value) : NULL;
  for (size_t s = 0; value != NULL && s < states; s++) {
    size_t rest = s, from = 0, stride = 1;
    bool inside = true;
    for (size_t k = factor->n; k-- > 0;) {
      size_t own = factor->variable[k], values = poei_field_cardinality(opener->graph, variable[k]);
      double x = opener->low[variable[k]] + (double)(rest % values) - low[own];
      inside = inside && x >= 0.0 && x < (double)left->cardinality[own];
      from += inside ? (size_t)x * stride : 0;
      rest /= values;
      stride *= left->cardinality[own];
    }
    value[s] = inside ? table[from] : -INFINITY;
  }
  poe_status status = value == NULL
                          ? no_memory(error)
                          : poei_opener_factor(opener, factor->n, variable, value, exponent, gate, NULL, error);
  poei_free(value);
  poei_free(variable);
  return status;
}

/* All of them, inside the free coordinates' supports. */
static poe_status add_left(poei_opener *opener, const poe_expert *expert, const poei_discrete *own,
                           const poei_field *left, const size_t *place, double exponent, const poei_gate *gate,
                           poe_error *error) {
  const poe_traits *traits = poe_expert_traits(expert);
  size_t *at = poei_calloc(left->n, sizeof *at);
  poe_status status = at == NULL ? no_memory(error) : POE_OK;
  for (size_t j = 0; status == POE_OK && j < traits->dim; j++) {
    at[poei_marginal_free(expert)[j]] = place[j];
    status = poei_opener_box(opener, place[j], &traits->support[j], exponent, gate, error);
  }
  for (size_t f = 0; f < left->n_factors && status == POE_OK; f++) {
    status = add_factor(opener, left, f, at, own->low, exponent, gate, error);
  }
  if (status == POE_OK) {
    status = poei_opener_constant(opener, exponent * (left->constant + left->constant_lost), gate, error);
  }
  poei_free(at);
  return status;
}

/* The marginal is 0 whatever its coordinates. */
static poe_status add_zero(poei_opener *opener, double exponent, const poei_gate *gate, poe_error *error) {
  double zero = -INFINITY;
  return poei_opener_factor(opener, 0, NULL, &zero, exponent, gate, NULL, error);
}

poe_status poei_opener_reduce(poei_opener *opener, const poe_expert *expert, const size_t *place, double exponent,
                              const poei_gate *gate, poe_error *error) {
  poei_plan_options options = *opener->options;
  options.names = (poei_names){0}; /* the marginal numbers its own coordinates */
  poei_discrete *own = NULL;
  poei_field *clamped = NULL, *left = NULL;
  bool possible = true;
  poe_status status = poei_discrete_open(poei_node_child(expert, 0), &options, &own, error);
  unsigned char *phase = status == POE_OK ? poei_alloc(poei_field_variables(own->graph), 1) : NULL;
  if (status == POE_OK) {
    status = phase == NULL ? no_memory(error) : set_phases(expert, own, phase, error);
  }
  if (status == POE_OK) {
    status = clamp(opener, expert, own, place, &clamped, &possible, error);
  }
  if (status == POE_OK && !possible) {
    status = add_zero(opener, exponent, gate, error);
  } else if (status == POE_OK) {
    status = poei_field_reduce(clamped, phase, poei_marginal_beta(expert), options.byte_limit, &left, error);
    status = status == POE_OK ? add_left(opener, expert, own, left, place, exponent, gate, error) : status;
  }
  poei_field_destroy(left);
  poei_field_destroy(clamped);
  poei_free(phase);
  poei_discrete_destroy(own);
  return status;
}
