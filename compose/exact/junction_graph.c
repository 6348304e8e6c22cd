/* Factor graphs as data (see junction.h): tables, factors that read them, and clamping.
 *
 * A table is held once however many factors read it, divided by its largest value and both as logs and as values. What
 * it was divided by is added to the graph's constant, factor by factor, in a compensated sum.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/junction_parts.h"
#include "core/alloc.h"
#include "core/numerics.h"

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

poe_status poei_field_create(poei_field **graph, poe_error *error) {
  poei_field *made = poei_calloc(1, sizeof *made);
  if (made == NULL) {
    return no_memory(error);
  }
  *graph = made;
  return POE_OK;
}

void poei_field_destroy(poei_field *graph) {
  if (graph == NULL) {
    return;
  }
  for (size_t t = 0; t < graph->n_tables; t++) {
    poei_free(graph->table[t].log_value);
    poei_free(graph->table[t].linear);
  }
  for (size_t f = 0; f < graph->n_factors; f++) {
    poei_free(graph->factor[f].variable);
  }
  poei_free(graph->cardinality);
  poei_free(graph->table);
  poei_free(graph->factor);
  poei_free(graph);
}

/* Room for one more element of a growing array. */
static poe_status grow(void **array, size_t n, size_t *capacity, size_t size, poe_error *error) {
  if (n < *capacity) {
    return POE_OK;
  }
  size_t wanted = *capacity == 0 ? 8 : 2 * *capacity;
  void *wide = poei_realloc(*array, wanted, size);
  if (wide == NULL) {
    return no_memory(error);
  }
  *array = wide;
  *capacity = wanted;
  return POE_OK;
}

poe_status poei_field_variable(poei_field *graph, size_t cardinality, size_t *variable, poe_error *error) {
  if (cardinality == 0 || cardinality > UINT32_MAX) {
    return poe_error_set(error, POE_E_SHAPE, "a variable of a factor graph with %zu values", cardinality);
  }
  void *array = graph->cardinality;
  poe_status status = grow(&array, graph->n, &graph->n_capacity, sizeof *graph->cardinality, error);
  graph->cardinality = array;
  if (status == POE_OK) {
    *variable = graph->n;
    graph->cardinality[graph->n++] = cardinality;
  }
  return status;
}

/* Shifts the logs by their largest and notes how far down they go. */
static poe_status measure(poei_field_table_data *table, poe_error *error) {
  double top = -INFINITY, bottom = INFINITY;
  for (size_t i = 0; i < table->size; i++) {
    double v = table->log_value[i];
    if (isnan(v) || v == INFINITY) {
      return poe_error_set(error, POE_E_NUMERIC, "log value %zu of a factor is %g", i, v);
    }
    top = fmax(top, v);
    bottom = v == -INFINITY ? bottom : fmin(bottom, v);
  }
  if (top != -INFINITY) {
    table->top = top;
    table->depth = top - bottom;
    for (size_t i = 0; i < table->size; i++) {
      table->log_value[i] -= top;
    }
  }
  return POE_OK;
}

/* One of the last few tables that is the same: a chain's factors come with their numbers again and again. */
static size_t find_same(const poei_field *graph, const poei_field_table_data *table) {
  enum { LOOK_BACK = 4 };
  for (size_t back = 1; back <= LOOK_BACK && back <= graph->n_tables; back++) {
    const poei_field_table_data *other = &graph->table[graph->n_tables - back];
    if (other->size == table->size && other->top == table->top && other->depth == table->depth &&
        memcmp(other->log_value, table->log_value, table->size * sizeof(double)) == 0) {
      return graph->n_tables - back;
    }
  }
  return SIZE_MAX;
}

poe_status poei_field_table(poei_field *graph, size_t size, const double *log_value, size_t *table, poe_error *error) {
  void *array = graph->table;
  poe_status status = grow(&array, graph->n_tables, &graph->table_capacity, sizeof *graph->table, error);
  graph->table = array;
  if (status != POE_OK) {
    return status;
  }
  poei_field_table_data made = {.size = size, .log_value = poei_copy(log_value, size, sizeof *log_value)};
  if (made.log_value == NULL) {
    return no_memory(error);
  }
  status = measure(&made, error);
  *table = status == POE_OK ? find_same(graph, &made) : SIZE_MAX;
  if (status == POE_OK && *table == SIZE_MAX && made.depth <= POEI_DEPTH) {
    made.linear = poei_alloc(size, sizeof *made.linear);
    status = made.linear == NULL ? no_memory(error) : POE_OK;
  }
  if (status != POE_OK || *table != SIZE_MAX) {
    poei_free(made.log_value);
    return status;
  }
  if (made.linear != NULL) {
    poei_vexp(made.log_value, made.linear, size);
  }
  *table = graph->n_tables;
  graph->table[graph->n_tables++] = made;
  return POE_OK;
}

void poei_field_scale(poei_field *graph, double constant) { /* Neumaier's sum */
  double next = graph->constant + constant;
  graph->constant_lost += fabs(graph->constant) >= fabs(constant) ? (graph->constant - next) + constant
                                                                  : (constant - next) + graph->constant;
  graph->constant = next;
}

static poe_status check_scope(const poei_field *graph, size_t n, const size_t *variable, size_t size,
                              poe_error *error) {
  size_t states = 1;
  for (size_t i = 0; i < n; i++) {
    if (variable[i] >= graph->n || !poei_mul_size(states, graph->cardinality[variable[i]], &states)) {
      return poe_error_set(error, POE_E_SHAPE, "a factor reads variable %zu of %zu", variable[i], graph->n);
    }
    for (size_t k = 0; k < i; k++) {
      if (variable[k] == variable[i]) {
        return poe_error_set(error, POE_E_SHAPE, "a factor reads variable %zu twice", variable[i]);
      }
    }
  }
  if (states != size) {
    return poe_error_set(error, POE_E_SHAPE, "a factor over %zu states has a table of %zu numbers", states, size);
  }
  return POE_OK;
}

poe_status poei_field_factor(poei_field *graph, size_t n, const size_t *variable, size_t table, poe_error *error) {
  poe_status status = check_scope(graph, n, variable, graph->table[table].size, error);
  void *array = graph->factor;
  if (status == POE_OK) {
    status = grow(&array, graph->n_factors, &graph->factor_capacity, sizeof *graph->factor, error);
    graph->factor = array;
  }
  size_t *own = status == POE_OK ? poei_copy(variable, n, sizeof *variable) : NULL;
  if (status == POE_OK && own == NULL) {
    status = no_memory(error);
  }
  if (status == POE_OK) {
    graph->factor[graph->n_factors++] = (poei_field_factor_data){n, table, own};
    poei_field_scale(graph, graph->table[table].top);
  }
  return status;
}

poe_status poei_field_add(poei_field *graph, size_t n, const size_t *variable, const double *log_value,
                          poe_error *error) {
  size_t size = 1, table;
  for (size_t i = 0; i < n; i++) {
    if (variable[i] >= graph->n || !poei_mul_size(size, graph->cardinality[variable[i]], &size)) {
      return poe_error_set(error, POE_E_SHAPE, "a factor reads variable %zu of %zu", variable[i], graph->n);
    }
  }
  poe_status status = poei_field_table(graph, size, log_value, &table, error);
  return status == POE_OK ? poei_field_factor(graph, n, variable, table, error) : status;
}

size_t poei_field_variables(const poei_field *graph) {
  return graph->n;
}

size_t poei_field_cardinality(const poei_field *graph, size_t variable) {
  return graph->cardinality[variable];
}

size_t poei_field_values(const poei_field *graph) {
  size_t values = 0;
  for (size_t i = 0; i < graph->n; i++) {
    values += graph->cardinality[i];
  }
  return values;
}

double poei_field_log_value(const poei_field *graph, const size_t *x) {
  double sum = graph->constant, lost = graph->constant_lost;
  for (size_t f = 0; f < graph->n_factors; f++) {
    const poei_field_factor_data *factor = &graph->factor[f];
    size_t state = 0;
    for (size_t i = 0; i < factor->n; i++) {
      state = state * graph->cardinality[factor->variable[i]] + x[factor->variable[i]];
    }
    double v = graph->table[factor->table].log_value[state], next = sum + v;
    if (v == -INFINITY) {
      return v;
    }
    lost += fabs(sum) >= fabs(v) ? (sum - next) + v : (v - next) + sum;
    sum = next;
  }
  return sum + lost;
}

/* ---- clamping ---- */

/* The part of a factor's table that agrees with the clamped values, in out[size of the part]. */
static void take_part(const poei_field *graph, const poei_field_factor_data *factor, const size_t *value, double *out,
                      size_t size) {
  const double *whole = graph->table[factor->table].log_value;
  for (size_t s = 0; s < size; s++) {
    size_t state = 0, stride = 1, left = s;
    for (size_t i = factor->n; i-- > 0;) {
      size_t variable = factor->variable[i], cardinality = graph->cardinality[variable], at = value[variable];
      if (at == POEI_FIELD_FREE) {
        at = left % cardinality;
        left /= cardinality;
      }
      state += at * stride;
      stride *= cardinality;
    }
    out[s] = whole[state];
  }
}

static poe_status clamp_factor(const poei_field *graph, const poei_field_factor_data *factor, const size_t *value,
                               size_t *shared, poei_field *out, poe_error *error) {
  bool clamped = false;
  size_t size = 1, table;
  for (size_t i = 0; i < factor->n; i++) {
    size_t variable = factor->variable[i];
    clamped = clamped || value[variable] != POEI_FIELD_FREE;
    size *= value[variable] != POEI_FIELD_FREE ? 1 : graph->cardinality[variable];
  }
  const poei_field_table_data *source = &graph->table[factor->table];
  poe_status status = POE_OK;
  if (clamped) {
    double *part = poei_alloc(size, sizeof *part);
    if (part == NULL) {
      return no_memory(error);
    }
    take_part(graph, factor, value, part, size);
    status = poei_field_table(out, size, part, &table, error);
    poei_free(part);
  } else {
    if (shared[factor->table] == SIZE_MAX) {
      status = poei_field_table(out, size, source->log_value, &shared[factor->table], error);
    }
    table = shared[factor->table];
  }
  if (status == POE_OK) {
    status = poei_field_factor(out, factor->n, factor->variable, table, error);
  }
  return status;
}

poe_status poei_field_clamp(const poei_field *graph, const size_t *value, poei_field **out, poe_error *error) {
  poei_field *made = NULL;
  size_t *shared = poei_alloc(graph->n_tables, sizeof *shared), variable;
  poe_status status = shared == NULL ? no_memory(error) : poei_field_create(&made, error);
  for (size_t t = 0; status == POE_OK && t < graph->n_tables; t++) {
    shared[t] = SIZE_MAX;
  }
  for (size_t i = 0; i < graph->n && status == POE_OK; i++) {
    if (value[i] != POEI_FIELD_FREE && value[i] >= graph->cardinality[i]) {
      status = poe_error_set(error, POE_E_EMPTY, "variable %zu has no value %zu", i, value[i]);
    } else {
      status = poei_field_variable(made, value[i] == POEI_FIELD_FREE ? graph->cardinality[i] : 1, &variable, error);
    }
  }
  if (status == POE_OK) { /* the tables are less their tops: the graph's constant has them */
    made->constant = graph->constant;
    made->constant_lost = graph->constant_lost;
  }
  for (size_t f = 0; f < graph->n_factors && status == POE_OK; f++) {
    status = clamp_factor(graph, &graph->factor[f], value, shared, made, error);
  }
  poei_free(shared);
  if (status != POE_OK) {
    poei_field_destroy(made);
    return status;
  }
  *out = made;
  return POE_OK;
}
