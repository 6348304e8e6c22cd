/* Adding factors to the graph of a discrete target: powers, gates, divisors with zeros, tables seen before.
 *
 * Behind a gate a factor is 1 unless the gate's variable has the gate's value. A divisor's zeros count as zeros of the
 * density, which is right where the rest vanishes as well (0/0 = 0); whether it does is asked of the graph of the other
 * factors, by looking for a joint value at which the divisor is 0 and they are not.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compose/exact/discrete_parts.h"
#include "compose/exact/junction_parts.h"
#include "core/alloc.h"

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* Appends an element to a growing array. */
static poe_status append(void **array, size_t *n, size_t *capacity, size_t size, const void *element,
                         poe_error *error) {
  if (*n == *capacity) {
    size_t wanted = *capacity == 0 ? 64 : 2 * *capacity;
    void *wide = poei_realloc(*array, wanted, size);
    if (wide == NULL) {
      return no_memory(error);
    }
    *array = wide;
    *capacity = wanted;
  }
  memcpy((char *)*array + (*n)++ * size, element, size);
  return POE_OK;
}

void poei_opener_free(poei_opener *opener) {
  for (size_t i = 0; i < opener->known_capacity; i++) {
    poei_known *known = &opener->known[i];
    if (known->has_structure) {
      poe_structure_release(&known->structure);
    }
    poei_free(known->table);
    poei_free(known->cardinality);
    poei_free(known->low);
  }
  poei_free(opener->known);
  poei_free(opener->low);
  poei_free(opener->positive);
  poei_free(opener->doubtful);
  poei_free(opener->maximised);
  poei_field_destroy(opener->graph);
}

/* ---- variables and factors ---- */

poe_status poei_opener_variable(poei_opener *opener, size_t cardinality, double low, size_t *variable,
                                poe_error *error) {
  void *array = opener->low;
  poe_status status = append(&array, &opener->n_low, &opener->low_capacity, sizeof low, &low, error);
  opener->low = array;
  return status == POE_OK ? poei_field_variable(opener->graph, cardinality, variable, error) : status;
}

/* Notes what kind of factor was added last. */
static poe_status note(poei_opener *opener, double exponent, bool doubtful, poe_error *error) {
  unsigned char positive = exponent > 0.0;
  size_t last = opener->n_positive;
  void *array = opener->positive;
  poe_status status =
      append(&array, &opener->n_positive, &opener->positive_capacity, sizeof positive, &positive, error);
  opener->positive = array;
  if (status == POE_OK && doubtful) {
    array = opener->doubtful;
    status = append(&array, &opener->n_doubtful, &opener->doubtful_capacity, sizeof last, &last, error);
    opener->doubtful = array;
  }
  return status;
}

/* Any factor with the table `log_value`, as it is. */
static poe_status add_plain(poei_opener *opener, size_t n, const size_t *variable, const double *log_value,
                            double exponent, bool doubtful, size_t *table, poe_error *error) {
  size_t size = 1, made;
  for (size_t i = 0; i < n; i++) {
    size *= poei_field_cardinality(opener->graph, variable[i]);
  }
  poe_status status = poei_field_table(opener->graph, size, log_value, &made, error);
  if (status == POE_OK) {
    status = poei_field_factor(opener->graph, n, variable, made, error);
  }
  if (status == POE_OK && table != NULL) {
    *table = made;
  }
  return status == POE_OK ? note(opener, exponent, doubtful, error) : status;
}

/* The same behind a gate: one block of numbers for each value of the gate's variable. */
static poe_status add_gated(poei_opener *opener, size_t n, const size_t *variable, size_t size, const double *log_value,
                            double exponent, bool doubtful, const poei_gate *gate, poe_error *error) {
  size_t values = poei_field_cardinality(opener->graph, gate->variable), total;
  if (!poei_mul_size(values, size, &total)) {
    return no_memory(error);
  }
  size_t *scope = poei_alloc(n + 1, sizeof *scope);
  double *wide = poei_calloc(total, sizeof *wide);
  poe_status status = scope == NULL || wide == NULL ? no_memory(error) : POE_OK;
  if (status == POE_OK) {
    scope[0] = gate->variable;
    for (size_t i = 0; i < n; i++) {
      scope[i + 1] = variable[i];
    }
    memcpy(&wide[gate->value * size], log_value, size * sizeof *wide);
    status = add_plain(opener, n + 1, scope, wide, exponent, doubtful, NULL, error);
  }
  poei_free(scope);
  poei_free(wide);
  return status;
}

poe_status poei_opener_factor(poei_opener *opener, size_t n, const size_t *variable, double *log_value, double exponent,
                              const poei_gate *gate, size_t *table, poe_error *error) {
  size_t size = 1;
  bool doubtful = false;
  for (size_t i = 0; i < n; i++) {
    size *= poei_field_cardinality(opener->graph, variable[i]);
  }
  for (size_t s = 0; s < size; s++) {
    bool zero = log_value[s] == -INFINITY;
    doubtful = doubtful || (zero && exponent < 0.0);
    log_value[s] = zero ? -INFINITY : log_value[s] * exponent;
  }
  return gate == NULL ? add_plain(opener, n, variable, log_value, exponent, doubtful, table, error)
                      : add_gated(opener, n, variable, size, log_value, exponent, doubtful, gate, error);
}

poe_status poei_opener_again(poei_opener *opener, size_t n, const size_t *variable, size_t table, double exponent,
                             poe_error *error) {
  const poei_field_table_data *data = &opener->graph->table[table];
  bool doubtful = false;
  for (size_t s = 0; s < data->size && exponent < 0.0; s++) {
    doubtful = doubtful || data->log_value[s] == -INFINITY;
  }
  poe_status status = poei_field_factor(opener->graph, n, variable, table, error);
  return status == POE_OK ? note(opener, exponent, doubtful, error) : status;
}

poe_status poei_opener_constant(poei_opener *opener, double constant, const poei_gate *gate, poe_error *error) {
  if (gate == NULL) {
    poei_field_scale(opener->graph, constant);
    return POE_OK;
  }
  return constant == 0.0 ? POE_OK : add_gated(opener, 0, NULL, 1, &constant, 1.0, false, gate, error);
}

poe_status poei_opener_box(poei_opener *opener, size_t variable, const poe_support *support, double exponent,
                           const poei_gate *gate, poe_error *error) {
  size_t values = poei_field_cardinality(opener->graph, variable);
  double low = opener->low[variable];
  if (support->low <= low && support->high >= low + (double)values - 1.0) {
    return POE_OK;
  }
  double *inside = poei_alloc(values, sizeof *inside);
  if (inside == NULL) {
    return no_memory(error);
  }
  for (size_t i = 0; i < values; i++) {
    double x = low + (double)i;
    inside[i] = x < support->low || x > support->high ? -INFINITY : 0.0;
  }
  poe_status status = poei_opener_factor(opener, 1, &variable, inside, exponent, gate, NULL, error);
  poei_free(inside);
  return status;
}

poe_status poei_opener_hidden(poei_opener *opener, size_t values, double low, const poei_gate *gate, size_t *variable,
                              poe_error *error) {
  poe_status status = poei_opener_variable(opener, values, low, variable, error);
  if (status != POE_OK || gate == NULL || values == 1) {
    return status;
  }
  size_t gates = poei_field_cardinality(opener->graph, gate->variable), scope[2] = {gate->variable, *variable};
  double *share = poei_alloc(gates * values, sizeof *share);
  if (share == NULL) {
    return no_memory(error);
  }
  for (size_t i = 0; i < gates * values; i++) {
    share[i] = i / values == gate->value ? 0.0 : -log((double)values);
  }
  status = poei_opener_factor(opener, 2, scope, share, 1.0, NULL, NULL, error);
  poei_free(share);
  return status;
}

poe_status poei_opener_maximised(poei_opener *opener, size_t variable, poe_error *error) {
  void *array = opener->maximised;
  poe_status status =
      append(&array, &opener->n_maximised, &opener->maximised_capacity, sizeof variable, &variable, error);
  opener->maximised = array;
  return status;
}

size_t poei_opener_times(double exponent) {
  enum { MOST_TIMES = 8 };
  return exponent >= 1.0 && exponent <= MOST_TIMES && exponent == floor(exponent) ? (size_t)exponent : 0;
}

/* ---- divisors with zeros ---- */

/* The state x[graph n] at which a divisor is 0, by the coordinates that it reads. */
static poe_status improper(const poei_opener *opener, const poei_field_factor_data *factor, const size_t *x, size_t dim,
                           poe_error *error) {
  char at[320] = "", name[POEI_NAME_SIZE];
  size_t used = 0;
  for (size_t i = 0; i < factor->n && used + 2 * sizeof name < sizeof at; i++) {
    if (factor->variable[i] < dim) {
      double value = opener->low[factor->variable[i]] + (double)x[factor->variable[i]];
      used += (size_t)snprintf(at + used, sizeof at - used, "%s %s = %g", used == 0 ? " at" : ",",
                               poei_names_text(&opener->options->names, factor->variable[i], name, sizeof name), value);
    }
  }
  poe_error_set(error, POE_E_IMPROPER, "a divisor is 0 where the rest is not:%s", used == 0 ? " everywhere" : at);
  poe_error_hint(error, "divide by a density that is positive wherever the rest is");
  return POE_E_IMPROPER;
}

/* Adds factor f to the graph of the question: for a divisor 1 where it is 0 and else 0, for others 0 where they are
 * positive and else -inf, unless they are positive everywhere. made[tables]: what became of each table, SIZE_MAX none
 * yet. */
static poe_status ask_factor(const poei_opener *opener, size_t f, bool doubtful, size_t *made, poei_field *question,
                             poe_error *error) {
  const poei_field_factor_data *factor = &opener->graph->factor[f];
  const poei_field_table_data *table = &opener->graph->table[factor->table];
  bool zeros = false;
  for (size_t s = 0; s < table->size && !zeros; s++) {
    zeros = table->log_value[s] == -INFINITY;
  }
  if (!zeros) {
    return POE_OK;
  }
  if (made[factor->table] == SIZE_MAX) {
    double *value = poei_alloc(table->size, sizeof *value);
    if (value == NULL) {
      return no_memory(error);
    }
    for (size_t s = 0; s < table->size; s++) {
      bool zero = table->log_value[s] == -INFINITY;
      value[s] = doubtful ? (zero ? 1.0 : 0.0) : zero ? -INFINITY : 0.0;
    }
    poe_status status = poei_field_table(question, table->size, value, &made[factor->table], error);
    poei_free(value);
    if (status != POE_OK) {
      return status;
    }
  }
  return poei_field_factor(question, factor->n, factor->variable, made[factor->table], error);
}

/* The graph whose best state has as many zeros of divisors as can be where everything else is positive. */
static poe_status ask(const poei_opener *opener, poei_field **question, poe_error *error) {
  size_t tables = opener->graph->n_tables, variable, next = 0;
  size_t *made = poei_alloc(2 * tables, sizeof *made); /* of factors, of divisors */
  poe_status status = made == NULL ? no_memory(error) : poei_field_create(question, error);
  for (size_t t = 0; status == POE_OK && t < 2 * tables; t++) {
    made[t] = SIZE_MAX;
  }
  for (size_t v = 0; v < opener->graph->n && status == POE_OK; v++) {
    status = poei_field_variable(*question, opener->graph->cardinality[v], &variable, error);
  }
  for (size_t f = 0; f < opener->graph->n_factors && status == POE_OK; f++) {
    bool doubtful = next < opener->n_doubtful && opener->doubtful[next] == f;
    next += doubtful;
    if (doubtful || opener->positive[f]) {
      status = ask_factor(opener, f, doubtful, doubtful ? made + tables : made, *question, error);
    }
  }
  poei_free(made);
  return status;
}

/* Names the first divisor that is 0 at x; POE_OK when none is. */
static poe_status judge(const poei_opener *opener, const size_t *x, size_t dim, poe_error *error) {
  for (size_t k = 0; k < opener->n_doubtful; k++) {
    const poei_field_factor_data *factor = &opener->graph->factor[opener->doubtful[k]];
    size_t state = 0;
    for (size_t i = 0; i < factor->n; i++) {
      state = state * opener->graph->cardinality[factor->variable[i]] + x[factor->variable[i]];
    }
    if (opener->graph->table[factor->table].log_value[state] == -INFINITY) {
      return improper(opener, factor, x, dim, error);
    }
  }
  return POE_OK;
}

poe_status poei_opener_check(const poei_opener *opener, size_t dim, poe_error *error) {
  if (opener->n_doubtful == 0) {
    return POE_OK;
  }
  poei_field *question = NULL;
  poei_junction *junction = NULL;
  poei_junction_options options = {.goal = POEI_JUNCTION_BEST, .byte_limit = opener->options->byte_limit};
  size_t *x = poei_alloc(opener->graph->n, sizeof *x), found = 0;
  double value;
  poe_status status = x == NULL ? no_memory(error) : ask(opener, &question, error);
  if (status == POE_OK) {
    status = poei_junction_create(question, &options, &junction, error);
  }
  if (status == POE_OK) {
    status = poei_junction_run(junction, error);
    if (status == POE_OK) {
      status = poei_junction_best(junction, 1, &found, x, &value, error);
      status = status == POE_OK ? judge(opener, x, dim, error) : status;
    } else if (status == POE_E_EMPTY) { /* nothing is positive: no divisor's fault */
      status = POE_OK;
    }
  }
  poei_junction_destroy(junction);
  poei_field_destroy(question);
  poei_free(x);
  return status;
}

/* ---- tables seen before ---- */

static size_t slot_of(const poei_opener *opener, const poe_expert *expert, double exponent) {
  uint64_t h = (uint64_t)(uintptr_t)expert, bits;
  memcpy(&bits, &exponent, sizeof bits);
  h = (h ^ bits ^ (h >> 33)) * 0xff51afd7ed558ccdULL;
  size_t at = (size_t)(h ^ (h >> 29)) & (opener->known_capacity - 1);
  while (opener->known[at].expert != NULL &&
         (opener->known[at].expert != expert || opener->known[at].exponent != exponent)) {
    at = (at + 1) & (opener->known_capacity - 1);
  }
  return at;
}

poei_known *poei_opener_known(poei_opener *opener, const poe_expert *expert, double exponent) {
  if (2 * (opener->n_known + 1) > opener->known_capacity) {
    poei_known *old = opener->known;
    size_t n = opener->known_capacity, capacity = n == 0 ? 32 : 2 * n;
    poei_known *wide = poei_calloc(capacity, sizeof *wide);
    if (wide == NULL) {
      return NULL;
    }
    opener->known = wide;
    opener->known_capacity = capacity;
    for (size_t i = 0; i < n; i++) {
      if (old[i].expert != NULL) {
        wide[slot_of(opener, old[i].expert, old[i].exponent)] = old[i];
      }
    }
    poei_free(old);
  }
  poei_known *known = &opener->known[slot_of(opener, expert, exponent)];
  if (known->expert == NULL) {
    known->expert = expert;
    known->exponent = exponent;
    opener->n_known++;
  }
  return known;
}
