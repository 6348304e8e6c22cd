/* A factor graph with some of its variables eliminated: what is left of them are factors over the others
 * (poei_field_reduce of junction.h).
 *
 * Buckets as in live.h, all of them made once: hidden variables first, by sums, then the latent ones, by
 * (1/beta) log sum exp(beta .) or by maxima. A message that reads no variable to be eliminated is a factor of the
 * result.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/live_parts.h"
#include "core/alloc.h"

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

/* A table over positions[n], the first slowest: a factor of the graph (its own variables) or a message. */
typedef struct input {
  size_t n, next; /* next: of the same bucket, SIZE_MAX: none */
  const size_t *position;
  const double *value;
} input;

typedef struct reducer {
  const poei_field *graph;
  const unsigned char *phase;
  double beta;
  poei_region region;
  poei_elimination order;
  size_t n_inputs;
  input *item;   /* [factors + eliminated]       */
  size_t *first; /* [order n] inputs of a bucket */
  poei_field *out;
} reducer;

static size_t cardinality(const reducer *r, size_t position) {
  return r->graph->cardinality[r->order.variable[position]];
}

/* Appends a table to where it is read first, or to the result when nothing it reads is to go. */
static poe_status pass_on(reducer *r, size_t n, const size_t *position, const double *value, poe_error *error) {
  size_t home = SIZE_MAX;
  for (size_t k = 0; k < n; k++) {
    home = position[k] < home ? position[k] : home;
  }
  if (home < r->order.eliminated) {
    r->item[r->n_inputs] = (input){n, r->first[home], position, value};
    r->first[home] = r->n_inputs++;
    return POE_OK;
  }
  size_t *variable = poei_region_take(&r->region, n, sizeof *variable);
  if (variable == NULL) {
    return no_memory(error);
  }
  for (size_t k = 0; k < n; k++) {
    variable[k] = r->order.variable[position[k]];
  }
  return poei_field_add(r->out, n, variable, value, error);
}

/* The factors of the graph, without their variables of one value. */
static poe_status place_factors(reducer *r, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t f = 0; f < r->graph->n_factors && status == POE_OK; f++) {
    const poei_field_factor_data *factor = &r->graph->factor[f];
    size_t n = 0, *position = poei_region_take(&r->region, factor->n, sizeof *position);
    if (position == NULL) {
      return no_memory(error);
    }
    for (size_t k = 0; k < factor->n; k++) {
      size_t at = r->order.position[factor->variable[k]];
      if (at != POEI_NO_POSITION) {
        position[n++] = at;
      }
    }
    status = pass_on(r, n, position, r->graph->table[factor->table].log_value, error);
  }
  return status;
}

/* Strides of the bucket's clique in a table. */
static void set_strides(const reducer *r, const poei_live_bucket *bucket, size_t p, const input *table,
                        size_t *stride) {
  size_t step = 1;
  memset(stride, 0, (bucket->axes + 1) * sizeof *stride);
  for (size_t k = table->n; k-- > 0;) {
    for (size_t j = 0; j < bucket->axes; j++) {
      stride[j] = bucket->axis[j] == table->position[k] ? step : stride[j];
    }
    stride[bucket->axes] = table->position[k] == p ? step : stride[bucket->axes];
    step *= cardinality(r, table->position[k]);
  }
}

static poe_status eliminate(reducer *r, size_t p, poe_error *error) {
  size_t variable = r->order.variable[p], from = r->order.start[p], stride[POEI_LIVE_AXES + 1], size = 0;
  size_t axis_size[POEI_LIVE_AXES];
  poei_live_bucket bucket = {.variable = variable,
                             .beta = r->phase[variable] == 0 ? 1.0 : r->beta,
                             .axes = r->order.start[p + 1] - from,
                             .states = 1,
                             .values = r->graph->cardinality[variable],
                             .axis = &r->order.scope[from],
                             .cardinality = axis_size};
  if (bucket.axes >= POEI_LIVE_AXES) {
    return no_memory(error);
  }
  for (size_t j = 0; j < bucket.axes; j++) {
    axis_size[j] = cardinality(r, bucket.axis[j]);
    bucket.states *= axis_size[j];
  }
  double *joint = poei_mul_size(bucket.states, bucket.values, &size) ? poei_calloc(size, sizeof *joint) : NULL;
  double *message = poei_region_take(&r->region, bucket.states, sizeof *message);
  poe_status status = joint == NULL || message == NULL ? no_memory(error) : POE_OK;
  for (size_t i = r->first[p]; i != SIZE_MAX && status == POE_OK; i = r->item[i].next) {
    set_strides(r, &bucket, p, &r->item[i], stride);
    poei_live_join(&bucket, stride, r->item[i].value, joint);
  }
  if (status == POE_OK) {
    double top = -INFINITY;
    poei_live_sum(&bucket, joint, message);
    for (size_t s = 0; s < bucket.states; s++) {
      top = message[s] > top ? message[s] : top;
    }
    for (size_t s = 0; s < bucket.states && top > -INFINITY; s++) {
      message[s] -= top;
    }
    poei_field_scale(r->out, top > -INFINITY ? top : 0.0);
    status = pass_on(r, bucket.axes, bucket.axis, message, error);
  }
  poei_free(joint);
  return status;
}

static poe_status too_large(const poei_junction_size *size, size_t byte_limit, poe_error *error) {
  char needed[32], allowed[32];
  const char *least = size->at_least ? "at least " : "";
  poei_bytes_text((double)byte_limit, allowed, sizeof allowed);
  poe_error_set(
      error, POE_E_CAPABILITY,
      "eliminating latent coordinates first needs %s%s of tables, and %s are allowed: treewidth %s%zu in that "
      "order",
      least, poei_bytes_text(size->bytes, needed, sizeof needed), allowed, least, size->width);
  poe_error_hint(error, "--table-bytes allows more (now %s)", allowed);
  return POE_E_CAPABILITY;
}

static poe_status run(reducer *r, size_t byte_limit, poe_error *error) {
  const poei_field *graph = r->graph;
  poe_status status = poei_elimination_find(graph, r->phase, byte_limit, &r->region, &r->order, error);
  if (status == POE_OK && (!r->order.found || r->order.size.bytes > (double)byte_limit)) {
    status = too_large(&r->order.size, byte_limit, error);
  }
  for (size_t v = 0; v < graph->n && status == POE_OK; v++) {
    size_t same;
    status = poei_field_variable(r->out, r->phase[v] == 2 ? graph->cardinality[v] : 1, &same, error);
  }
  if (status != POE_OK) {
    return status;
  }
  poei_field_scale(r->out, graph->constant);
  poei_field_scale(r->out, graph->constant_lost);
  r->item = poei_region_take(&r->region, graph->n_factors + r->order.eliminated, sizeof *r->item);
  r->first = poei_region_take(&r->region, r->order.n, sizeof *r->first);
  if (r->item == NULL || r->first == NULL) {
    return no_memory(error);
  }
  for (size_t p = 0; p < r->order.n; p++) {
    r->first[p] = SIZE_MAX;
  }
  status = place_factors(r, error);
  for (size_t p = 0; p < r->order.eliminated && status == POE_OK; p++) {
    status = eliminate(r, p, error);
  }
  return status;
}

poe_status poei_field_reduce(const poei_field *graph, const unsigned char *phase, double beta, size_t byte_limit,
                             poei_field **out, poe_error *error) {
  reducer r = {.graph = graph, .phase = phase, .beta = beta};
  poei_region_init(&r.region, SIZE_MAX);
  poe_status status = poei_field_create(&r.out, error);
  if (status == POE_OK) {
    status = run(&r, byte_limit, error);
  }
  poei_region_free(&r.region);
  if (status != POE_OK) {
    poei_field_destroy(r.out);
    return status;
  }
  *out = r.out;
  return POE_OK;
}
