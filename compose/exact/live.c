/* Making a junction tree of which a part is live (see live.h).
 *
 * Two orders are looked at: any, and one in which the variables that live tables read go last, so that the rest is
 * eliminated once onto them. The one with less work at every point is taken. Where some variables must go first there
 * is one order, with these in front.
 */
#include "compose/exact/live.h"

#include <math.h>
#include <string.h>

#include "compose/exact/live_parts.h"
#include "core/alloc.h"

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* What making needs of the graph. */
typedef struct maker {
  const poei_field *graph;
  size_t n;
  const size_t *factor; /* [n] live ones                                      */
  size_t *which;        /* [graph factors] number among the live, SIZE_MAX: no */
  double beta;
  const unsigned char *first; /* [graph variables] 1: summed plainly, before the others; NULL: no order is called for */
  poei_elimination order;
} maker;

/* ---- which order ---- */

/* The first position that a factor reads, POEI_NO_POSITION for none. */
static size_t home_of(const poei_field *graph, const poei_elimination *order, size_t f) {
  size_t home = POEI_NO_POSITION;
  for (size_t k = 0; k < graph->factor[f].n; k++) {
    size_t at = order->position[graph->factor[f].variable[k]];
    home = at < home ? at : home;
  }
  return home;
}

static double clique_states(const poei_field *graph, const poei_elimination *order, size_t p) {
  double states = (double)graph->cardinality[order->variable[p]];
  for (size_t k = order->start[p]; k < order->start[p + 1]; k++) {
    states *= (double)graph->cardinality[order->variable[order->scope[k]]];
  }
  return states;
}

/* Joint states of all cliques, and of those that live tables reach; live[order n] is set. */
static void weigh(const maker *make, const poei_elimination *order, unsigned char *live, double *all, double *work) {
  *all = *work = 0.0;
  memset(live, 0, order->n);
  for (size_t i = 0; i < make->n; i++) {
    size_t home = home_of(make->graph, order, make->factor[i]);
    if (home != POEI_NO_POSITION) {
      live[home] = 1;
    }
  }
  for (size_t p = 0; p < order->n; p++) {
    double states = clique_states(make->graph, order, p);
    *all += states;
    *work += live[p] ? states : 0.0;
    if (live[p] && order->parent[p] != POEI_NO_POSITION) {
      live[order->parent[p]] = 1;
    }
  }
}

static poe_status too_large(const poei_junction_size *size, size_t byte_limit, poe_error *error) {
  char needed[32], allowed[32];
  poe_error_set(error, POE_E_CAPABILITY,
                "eliminating the discrete coordinates needs %s%s of tables, and %s are allowed: treewidth %s%zu",
                size->at_least ? "at least " : "", poei_bytes_text(size->bytes, needed, sizeof needed),
                poei_bytes_text((double)byte_limit, allowed, sizeof allowed), size->at_least ? "at least " : "",
                size->width);
  poe_error_hint(error, "--table-bytes allows more (now %s)", allowed);
  return POE_E_CAPABILITY;
}

/* The better of the two orders into make->order; its memory is of `region`. */
static poe_status choose_order(maker *make, size_t byte_limit, poei_region *region, poe_error *error) {
  const poei_field *graph = make->graph;
  unsigned char *phase = poei_calloc(graph->n, 1), *live = poei_calloc(graph->n, 1);
  poei_elimination order[2] = {{0}, {0}};
  double best = INFINITY;
  poe_status status = phase == NULL || live == NULL ? no_memory(error) : POE_OK;
  for (size_t i = 0; i < make->n && status == POE_OK && make->first == NULL; i++) {
    const poei_field_factor_data *factor = &graph->factor[make->factor[i]];
    for (size_t k = 0; k < factor->n; k++) {
      phase[factor->variable[k]] = 1;
    }
  }
  for (size_t v = 0; v < graph->n && status == POE_OK && make->first != NULL; v++) {
    phase[v] = make->first[v] ? 0 : 1;
  }
  for (size_t o = make->first == NULL ? 0 : 1; o < 2 && status == POE_OK; o++) {
    status = poei_elimination_find(graph, o == 0 ? NULL : phase, byte_limit, region, &order[o], error);
    if (status == POE_OK && order[o].found) {
      double all, work;
      weigh(make, &order[o], live, &all, &work);
      order[o].size.bytes = all * (double)sizeof(double);
      if (order[o].size.bytes <= (double)byte_limit && work < best) {
        best = work;
        make->order = order[o];
      }
    }
  }
  if (status == POE_OK && isinf(best)) {
    status = too_large(&order[make->first == NULL ? 0 : 1].size, byte_limit, error);
  }
  poei_free(phase);
  poei_free(live);
  return status;
}

/* ---- buckets ---- */

/* Strides of the clique of position p in a table over position[n] of these cardinalities (POEI_NO_POSITION: of one
 * value), the first slowest. */
static void set_strides(const poei_live *self, size_t p, size_t n, const size_t *position, size_t *stride) {
  const poei_live_bucket *bucket = &self->bucket[p];
  memset(stride, 0, (bucket->axes + 1) * sizeof *stride);
  size_t step = 1;
  for (size_t k = n; k-- > 0;) {
    if (position[k] == POEI_NO_POSITION) {
      continue;
    }
    for (size_t j = 0; j < bucket->axes; j++) {
      stride[j] = bucket->axis[j] == position[k] ? step : stride[j];
    }
    stride[bucket->axes] = position[k] == p ? step : stride[bucket->axes];
    step *= self->bucket[position[k]].values;
  }
}

static poe_status open_bucket(poei_live *self, const maker *make, size_t p, poe_error *error) {
  const poei_elimination *order = &make->order;
  poei_live_bucket *bucket = &self->bucket[p];
  size_t size = 0;
  bucket->axes = order->start[p + 1] - order->start[p];
  bucket->axis = poei_region_copy(&self->region, order->scope + order->start[p], bucket->axes, sizeof *bucket->axis);
  bucket->cardinality = poei_region_take(&self->region, bucket->axes, sizeof *bucket->cardinality);
  if (bucket->axis == NULL || bucket->cardinality == NULL) {
    return no_memory(error);
  }
  bucket->states = 1;
  for (size_t j = 0; j < bucket->axes; j++) { /* no overflow: the cliques fit the byte limit */
    bucket->cardinality[j] = make->graph->cardinality[order->variable[bucket->axis[j]]];
    bucket->states *= bucket->cardinality[j];
  }
  bucket->base = poei_mul_size(bucket->states, bucket->values, &size)
                     ? poei_region_take(&self->region, size, sizeof(double))
                     : NULL;
  if (bucket->base == NULL || bucket->axes >= POEI_LIVE_AXES) {
    return no_memory(error);
  }
  self->largest = size > self->largest ? size : self->largest;
  self->longest = bucket->values > self->longest ? bucket->values : self->longest;
  return POE_OK;
}

/* One more input of bucket p, over position[n]. `capacity` is what the region holds of them. */
static poe_status add_input(poei_live *self, size_t p, size_t *capacity, poei_live_input input, size_t n,
                            const size_t *position, poe_error *error) {
  poei_live_bucket *bucket = &self->bucket[p];
  void *wide = poei_region_grow(&self->region, bucket->input, bucket->n_inputs, capacity, sizeof *bucket->input);
  input.stride = poei_region_take(&self->region, bucket->axes + 1, sizeof *input.stride);
  if (wide == NULL || input.stride == NULL) {
    return no_memory(error);
  }
  bucket->input = wide;
  set_strides(self, p, n, position, input.stride);
  bucket->input[bucket->n_inputs++] = input;
  return POE_OK;
}

/* Factor f to where it is read first. position[], stride[]: work space. */
static poe_status place_factor(poei_live *self, const maker *make, size_t f, size_t *capacity, size_t *position,
                               size_t *stride, poe_error *error) {
  const poei_field_factor_data *factor = &make->graph->factor[f];
  const poei_field_table_data *table = &make->graph->table[factor->table];
  size_t home = home_of(make->graph, &make->order, f), i = make->which[f];
  if (i != SIZE_MAX) {
    self->home[i] = home;
  }
  for (size_t k = 0; k < factor->n; k++) {
    position[k] = make->order.position[factor->variable[k]];
  }
  if (home == POEI_NO_POSITION && i == SIZE_MAX) {
    self->constant += table->log_value[0];
  } else if (home == POEI_NO_POSITION) {
    self->loose[self->n_loose++] = self->table_start[i];
  } else if (i != SIZE_MAX) {
    poei_live_input input = {.table = true, .live = true, .start = self->table_start[i]};
    return add_input(self, home, &capacity[home], input, factor->n, position, error);
  } else {
    set_strides(self, home, factor->n, position, stride);
    poei_live_join(&self->bucket[home], stride, table->log_value, self->bucket[home].base);
  }
  return POE_OK;
}

/* The message of bucket p to its parent: now where it is not live, else at every point. The region's block for
 * `message` is work space of the largest clique. */
static poe_status pass_on(poei_live *self, const maker *make, size_t p, size_t *capacity, size_t *stride,
                          double *message, poe_error *error) {
  poei_live_bucket *bucket = &self->bucket[p];
  size_t parent = make->order.parent[p];
  bucket->parent = parent;
  if (!bucket->live) {
    double top = -INFINITY;
    poei_live_sum(bucket, bucket->base, message);
    for (size_t s = 0; s < bucket->states; s++) {
      top = message[s] > top ? message[s] : top;
    }
    self->constant += top;
    for (size_t s = 0; s < bucket->states && top > -INFINITY; s++) {
      message[s] -= top;
    }
  }
  if (parent == POEI_NO_POSITION) {
    return POE_OK;
  }
  poei_live_input input = {.live = bucket->live, .start = bucket->start};
  poe_status status = add_input(self, parent, &capacity[parent], input, bucket->axes, bucket->axis, error);
  if (status != POE_OK || bucket->live) {
    return status;
  }
  set_strides(self, parent, bucket->axes, bucket->axis, stride);
  poei_live_join(&self->bucket[parent], stride, message, self->bucket[parent].base);
  return POE_OK;
}

/* Live messages first, then the others. */
static void number_messages(poei_live *self) {
  for (int pass = 0; pass < 2; pass++) {
    for (size_t p = 0; p < self->n; p++) {
      if (self->bucket[p].live == (pass == 0)) {
        self->bucket[p].start = self->all_messages;
        self->all_messages += self->bucket[p].states;
      }
    }
    self->messages = pass == 0 ? self->all_messages : self->messages;
  }
}

static poe_status fill(poei_live *self, const maker *make, poe_error *error) {
  const poei_field *graph = make->graph;
  size_t widest = 1;
  for (size_t f = 0; f < graph->n_factors; f++) {
    widest = graph->factor[f].n > widest ? graph->factor[f].n : widest;
  }
  size_t *position = poei_alloc(widest, sizeof *position), *capacity = poei_calloc(self->n, sizeof *capacity);
  size_t stride[POEI_LIVE_AXES + 1];
  double *message = poei_alloc(self->largest, sizeof *message);
  poe_status status = position == NULL || capacity == NULL || message == NULL ? no_memory(error) : POE_OK;
  for (size_t f = 0; f < graph->n_factors && status == POE_OK; f++) {
    status = place_factor(self, make, f, capacity, position, stride, error);
  }
  for (size_t p = 0; p < self->n && status == POE_OK; p++) {
    status = pass_on(self, make, p, capacity, stride, message, error);
  }
  poei_free(position);
  poei_free(capacity);
  poei_free(message);
  if (status == POE_OK && self->constant == -INFINITY) {
    return poe_error_set(error, POE_E_EMPTY, "every joint value of the discrete coordinates has probability 0");
  }
  return status;
}

/* ---- all of it ---- */

static poe_status open_tables(poei_live *self, const maker *make, poe_error *error) {
  const poei_field *graph = make->graph;
  self->table_start = poei_region_take(&self->region, make->n, sizeof *self->table_start);
  self->home = poei_region_take(&self->region, make->n, sizeof *self->home);
  self->loose = poei_region_take(&self->region, make->n, sizeof *self->loose);
  self->position = poei_region_copy(&self->region, make->order.position, graph->n, sizeof *self->position);
  self->value_start = poei_region_take(&self->region, graph->n, sizeof *self->value_start);
  self->value_count = poei_region_copy(&self->region, graph->cardinality, graph->n, sizeof *self->value_count);
  self->bucket = poei_region_take(&self->region, make->order.n, sizeof *self->bucket);
  if (self->table_start == NULL || self->home == NULL || self->loose == NULL || self->position == NULL ||
      self->value_start == NULL || self->value_count == NULL || self->bucket == NULL) {
    return no_memory(error);
  }
  self->n = make->order.n;
  self->beta = make->beta;
  self->ordered = make->first != NULL;
  self->n_tables = make->n;
  self->variables = graph->n;
  for (size_t v = 0; v < graph->n; v++) {
    self->value_start[v] = self->values;
    self->values += graph->cardinality[v];
  }
  for (size_t i = 0; i < make->n; i++) {
    self->table_start[i] = self->tables;
    self->tables += graph->table[graph->factor[make->factor[i]].table].size;
  }
  return POE_OK;
}

static poe_status build(poei_live *self, maker *make, size_t byte_limit, poe_error *error) {
  const poei_field *graph = make->graph;
  poei_region orders;
  poei_region_init(&orders, SIZE_MAX);
  poe_status status = choose_order(make, byte_limit, &orders, error);
  if (status == POE_OK) {
    status = open_tables(self, make, error);
  }
  unsigned char *live = status == POE_OK ? poei_alloc(make->order.n, 1) : NULL;
  if (status == POE_OK && live == NULL) {
    status = no_memory(error);
  }
  if (status == POE_OK) {
    double all;
    weigh(make, &make->order, live, &all, &self->work);
  }
  for (size_t p = 0; p < self->n && status == POE_OK; p++) {
    self->bucket[p].live = live[p];
    self->bucket[p].variable = make->order.variable[p];
    self->bucket[p].values = graph->cardinality[make->order.variable[p]];
    self->bucket[p].beta = make->first != NULL && make->first[make->order.variable[p]] ? 1.0 : make->beta;
  }
  for (size_t p = 0; p < self->n && status == POE_OK; p++) {
    status = open_bucket(self, make, p, error);
  }
  if (status == POE_OK) {
    number_messages(self);
    self->constant = graph->constant + graph->constant_lost;
    status = fill(self, make, error);
  }
  poei_free(live);
  poei_region_free(&orders);
  return status;
}

/* Is there a variable that must go before others? */
static bool is_ordered(const poei_field *graph, double beta, const unsigned char *first) {
  bool ordered = false;
  for (size_t v = 0; v < graph->n && first != NULL && beta != 1.0; v++) {
    ordered = ordered || (first[v] && graph->cardinality[v] > 1);
  }
  return ordered;
}

poe_status poei_live_create(const poei_field *graph, size_t n, const size_t *factor, size_t byte_limit,
                            poei_live **live, poe_error *error) {
  return poei_live_create_at(graph, n, factor, 1.0, NULL, byte_limit, live, error);
}

poe_status poei_live_create_at(const poei_field *graph, size_t n, const size_t *factor, double beta,
                               const unsigned char *first, size_t byte_limit, poei_live **live, poe_error *error) {
  maker make = {.graph = graph, .n = n, .factor = factor, .which = poei_alloc(graph->n_factors, sizeof(size_t))};
  make.beta = beta;
  make.first = is_ordered(graph, beta, first) ? first : NULL;
  poei_live *self = poei_calloc(1, sizeof *self);
  poe_status status = make.which == NULL || self == NULL ? no_memory(error) : POE_OK;
  if (self != NULL) {
    poei_region_init(&self->region, SIZE_MAX);
  }
  if (status == POE_OK) {
    for (size_t f = 0; f < graph->n_factors; f++) {
      make.which[f] = SIZE_MAX;
    }
    for (size_t i = 0; i < n; i++) {
      make.which[factor[i]] = i;
    }
    status = build(self, &make, byte_limit, error);
  }
  poei_free(make.which);
  if (status != POE_OK) {
    poei_live_destroy(self);
    return status;
  }
  *live = self;
  return POE_OK;
}

void poei_live_destroy(poei_live *live) {
  if (live != NULL) {
    poei_region_free(&live->region);
    poei_free(live);
  }
}

size_t poei_live_tables(const poei_live *live) {
  return live->tables;
}

size_t poei_live_start(const poei_live *live, size_t i) {
  return live->table_start[i];
}

size_t poei_live_messages(const poei_live *live) {
  return live->messages;
}

double poei_live_work(const poei_live *live) {
  return live->work;
}

size_t poei_live_variables(const poei_live *live) {
  return live->variables;
}

size_t poei_live_values(const poei_live *live) {
  return live->values;
}
