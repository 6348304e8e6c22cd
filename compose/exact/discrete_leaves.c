/* The leaves of a discrete target in its factor graph (see discrete.h): experts that give their factors, and tables of
 * those that do not, by evaluation. What is made of an expert is remembered for the next time it comes.
 *
 * Ranges are those of the target: what an expert says outside its own is 0.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/discrete_parts.h"
#include "compose/exact/numeric.h"
#include "compose/nodes/node.h"
#include "core/alloc.h"

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* ---- tables by evaluation ---- */

size_t poei_opener_states(const poei_opener *opener, const poe_expert *expert, const size_t *place, size_t limit,
                          size_t *n, size_t *which) {
  const unsigned char *touch = poei_node_touch(expert);
  size_t dim = poe_expert_traits(expert)->dim, states = 1;
  *n = 0;
  for (size_t j = 0; j < dim; j++) {
    if (touch == NULL || touch[j]) {
      size_t values = poei_field_cardinality(opener->graph, place[j]);
      if (!poei_mul_size(states, values, &states) || states > limit) {
        return 0;
      }
      if (which != NULL) {
        which[*n] = j;
      }
      (*n)++;
    }
  }
  return states;
}

/* value[states] of the expert at all joint values of the coordinates which[n]. */
static poe_status evaluate(const poei_opener *opener, const poe_expert *expert, const size_t *place, size_t n,
                           const size_t *which, size_t states, double *value, poe_error *error) {
  size_t dim = poe_expert_traits(expert)->dim;
  double *x = poei_alloc(POEI_EVALUATOR_ROWS * dim, sizeof *x);
  if (x == NULL) {
    return no_memory(error);
  }
  poei_evaluator evaluator;
  poe_status status = poei_evaluator_open(expert, &evaluator, error);
  for (size_t first = 0; first < states && status == POE_OK; first += POEI_EVALUATOR_ROWS) {
    size_t count = states - first < POEI_EVALUATOR_ROWS ? states - first : POEI_EVALUATOR_ROWS;
    for (size_t r = 0; r < count; r++) {
      for (size_t j = 0; j < dim; j++) {
        x[r * dim + j] = opener->low[place[j]];
      }
      size_t state = first + r;
      for (size_t k = n; k-- > 0;) {
        size_t values = poei_field_cardinality(opener->graph, place[which[k]]);
        x[r * dim + which[k]] += (double)(state % values);
        state /= values;
      }
    }
    status = poei_evaluator_run(&evaluator, count, x, &value[first], error);
  }
  poei_evaluator_close(&evaluator);
  poei_free(x);
  for (size_t s = 0; s < states && status == POE_OK; s++) {
    if (value[s] == INFINITY) {
      status = poe_error_set(error, POE_E_IMPROPER, "a divisor is 0 where the rest is not, in state %zu of %zu of `%s`",
                             s, states, poe_expert_ops_of(expert)->kind);
    } else if (isnan(value[s])) {
      status = poe_error_set(error, POE_E_NUMERIC, "the density of `%s` is not a number in state %zu of %zu",
                             poe_expert_ops_of(expert)->kind, s, states);
    }
  }
  return status;
}

/* Is the known table over the same ranges? */
static bool same_ranges(const poei_opener *opener, const poei_known *known, size_t n, const size_t *variable) {
  bool same = known->cardinality != NULL && known->n == n;
  for (size_t k = 0; k < n && same; k++) {
    same = known->cardinality[k] == poei_field_cardinality(opener->graph, variable[k]) &&
           known->low[k] == opener->low[variable[k]];
  }
  return same;
}

static poe_status remember(const poei_opener *opener, poei_known *known, size_t n, const size_t *variable, size_t table,
                           poe_error *error) {
  poei_free(known->table);
  known->cardinality = poei_alloc(n, sizeof *known->cardinality);
  known->low = poei_alloc(n, sizeof *known->low);
  known->table = poei_copy(&table, 1, sizeof table);
  if (known->cardinality == NULL || known->low == NULL || known->table == NULL) {
    return no_memory(error);
  }
  known->n = n;
  known->n_tables = 1;
  for (size_t k = 0; k < n; k++) {
    known->cardinality[k] = poei_field_cardinality(opener->graph, variable[k]);
    known->low[k] = opener->low[variable[k]];
  }
  return POE_OK;
}

poe_status poei_opener_tabulate(poei_opener *opener, const poe_expert *expert, const size_t *place, double exponent,
                                const poei_gate *gate, poe_error *error) {
  size_t dim = poe_expert_traits(expert)->dim, n, table = 0;
  size_t states = poei_opener_states(opener, expert, place, opener->options->state_limit, &n, NULL);
  if (states == 0) {
    return poe_error_set(error, POE_E_CAPABILITY,
                         "`%s` gives no factors, and over %zu coordinates it has too many joint values for a table",
                         poe_expert_ops_of(expert)->kind, dim);
  }
  size_t *which = poei_alloc(2 * dim, sizeof *which), *variable = which + dim;
  poei_known *known = poei_opener_known(opener, expert, exponent);
  if (which == NULL || known == NULL) {
    poei_free(which);
    return no_memory(error);
  }
  poei_opener_states(opener, expert, place, opener->options->state_limit, &n, which);
  for (size_t k = 0; k < n; k++) {
    variable[k] = place[which[k]];
  }
  poe_status status = POE_OK;
  if (gate == NULL && same_ranges(opener, known, n, variable)) {
    status = poei_opener_again(opener, n, variable, known->table[0], exponent, error);
  } else {
    double *value = poei_alloc(states, sizeof *value);
    status = value == NULL ? no_memory(error) : evaluate(opener, expert, place, n, which, states, value, error);
    if (status == POE_OK) {
      status = poei_opener_factor(opener, n, variable, value, exponent, gate, &table, error);
    }
    if (status == POE_OK && gate == NULL && known->cardinality == NULL) {
      status = remember(opener, known, n, variable, table, error);
    }
    poei_free(value);
  }
  poei_free(which);
  return status;
}

/* ---- experts that give their factors ---- */

/* The numbers of a structure's factor over the ranges of the graph's variables. */
static void convert(const poei_opener *opener, const poe_factors *own, size_t dim, const poe_factor *factor,
                    const size_t *variable, double *out, size_t states) {
  for (size_t s = 0; s < states; s++) {
    size_t left = s, at = 0, stride = 1;
    bool inside = true;
    for (size_t k = factor->n; k-- > 0;) {
      size_t v = factor->variable[k], values = poei_field_cardinality(opener->graph, variable[k]);
      double shift = v < dim ? opener->low[variable[k]] - own->low[v] : 0.0;
      double index = (double)(left % values) + shift;
      inside = inside && index >= 0.0 && index < (double)own->cardinality[v];
      at += inside ? (size_t)index * stride : 0;
      stride *= own->cardinality[v];
      left /= values;
    }
    out[s] = inside ? factor->log_value[at] : -INFINITY;
  }
}

static bool same_range(const poei_opener *opener, const poe_factors *own, size_t dim, size_t v, size_t variable) {
  return own->cardinality[v] == poei_field_cardinality(opener->graph, variable) &&
         (v >= dim || own->low[v] == opener->low[variable]);
}

static poe_status add_factor(poei_opener *opener, poei_known *known, size_t f, const size_t *place, double exponent,
                             const poei_gate *gate, poe_error *error) {
  const poe_factors *own = &known->structure.as.factors;
  const poe_factor *factor = &own->factor[f];
  size_t dim = known->structure.dim, states = 1, table = SIZE_MAX;
  size_t *variable = poei_alloc(factor->n, sizeof *variable);
  if (variable == NULL) {
    return no_memory(error);
  }
  bool same = true;
  for (size_t k = 0; k < factor->n; k++) {
    variable[k] = place[factor->variable[k]];
    same = same && same_range(opener, own, dim, factor->variable[k], variable[k]);
    if (!poei_mul_size(states, poei_field_cardinality(opener->graph, variable[k]), &states)) {
      states = SIZE_MAX; /* cannot be allocated */
    }
  }
  poe_status status = POE_OK;
  if (same && gate == NULL && known->table[f] != SIZE_MAX) {
    status = poei_opener_again(opener, factor->n, variable, known->table[f], exponent, error);
  } else {
    double *value = poei_alloc(states, sizeof *value);
    if (value == NULL) {
      status = no_memory(error);
    } else {
      if (same) {
        memcpy(value, factor->log_value, states * sizeof *value);
      } else {
        convert(opener, own, dim, factor, variable, value, states);
      }
      status = poei_opener_factor(opener, factor->n, variable, value, exponent, gate, &table, error);
    }
    poei_free(value);
    if (same && gate == NULL) {
      known->table[f] = table;
    }
  }
  poei_free(variable);
  return status;
}

/* Reads the structure of an expert once. */
static poe_status read_structure(poei_known *known, const poe_expert *expert, poe_error *error) {
  if (known->has_structure) {
    return POE_OK;
  }
  poe_status status = poe_expert_structure(expert, &known->structure, error);
  if (status != POE_OK) {
    return status;
  }
  known->has_structure = true;
  known->n_tables = known->structure.kind == POE_STRUCTURE_FACTORS ? known->structure.as.factors.n : 0;
  known->table = poei_alloc(known->n_tables, sizeof *known->table);
  for (size_t f = 0; known->table != NULL && f < known->n_tables; f++) {
    known->table[f] = SIZE_MAX;
  }
  return known->table == NULL ? no_memory(error) : POE_OK;
}

static poe_status add_structure(poei_opener *opener, poei_known *known, const poe_expert *expert, const size_t *place,
                                double exponent, const poei_gate *gate, poe_error *error) {
  const poe_factors *own = &known->structure.as.factors;
  size_t dim = known->structure.dim;
  size_t *all = poei_alloc(dim + own->latents, sizeof *all);
  poe_status status =
      all == NULL ? no_memory(error) : poei_opener_constant(opener, own->constant * exponent, gate, error);
  for (size_t j = 0; j < dim && status == POE_OK; j++) {
    poe_support range = {POE_DISCRETE, own->low[j], own->low[j] + (double)own->cardinality[j] - 1.0, false, false};
    all[j] = place[j];
    bool meets = poei_support_intersect(&range, &poe_expert_traits(expert)->support[j]);
    if (!meets) { /* nothing is inside both */
      range = (poe_support){POE_DISCRETE, INFINITY, -INFINITY, false, false};
    }
    status = poei_opener_box(opener, place[j], &range, exponent, gate, error);
  }
  for (size_t h = 0; h < own->latents && status == POE_OK; h++) {
    status = poei_opener_hidden(opener, own->cardinality[dim + h], 0.0, gate, &all[dim + h], error);
  }
  for (size_t f = 0; f < own->n && status == POE_OK; f++) {
    status = add_factor(opener, known, f, all, exponent, gate, error);
  }
  poei_free(all);
  return status;
}

poe_status poei_opener_leaf(poei_opener *opener, const poe_expert *expert, const size_t *place, double exponent,
                            const poei_gate *gate, poe_error *error) {
  size_t n;
  poei_known *known = poei_opener_known(opener, expert, exponent);
  if (known == NULL) {
    return no_memory(error);
  }
  bool structured = poei_expert_can(expert, POE_CAN_STRUCTURE) && known->cardinality == NULL;
  if (structured) {
    poe_error why;
    poe_status status = read_structure(known, expert, &why);
    if (status != POE_OK && status != POE_E_CAPABILITY) {
      *error = why;
      return status;
    }
    structured = status == POE_OK && known->structure.kind == POE_STRUCTURE_FACTORS;
  }
  size_t times = structured && known->structure.as.factors.latents > 0 ? poei_opener_times(exponent) : 1;
  poe_status status = POE_OK;
  for (size_t i = 0; i < times && structured && status == POE_OK; i++) { /* hidden variables of its own for each time */
    status = add_structure(opener, known, expert, place, exponent / (double)times, gate, error);
  }
  if (structured && times > 0) {
    return status;
  }
  if (structured && poei_opener_states(opener, expert, place, opener->options->state_limit, &n, NULL) == 0) {
    poe_error_set(error, POE_E_CAPABILITY,
                  "`%s` has hidden variables: its power %g is a sum over them to a power, and only for whole numbers "
                  "from 1 on is that a product of factors",
                  poe_expert_ops_of(expert)->kind, exponent);
    poe_error_hint(error, "take a whole power of `%s`, or give values to its variables",
                   poe_expert_ops_of(expert)->kind);
    return POE_E_CAPABILITY;
  }
  return poei_opener_tabulate(opener, expert, place, exponent, gate, error);
}
