/* Marginals from a junction: from the roots of the tree to its leaves, and tables over chosen variables.
 *
 * With S what bucket v's message is over, p(x_v, x_S) = p(x_S) prod_f table_f / message(x_S). The bucket's parent has
 * summed p(x_S) from its own joint table, so each clique is visited once; its joint table gives the marginal of v and
 * p(x_S') of each child. Everything here is a probability: what underflows is below 1e-300.
 */
#include <math.h>
#include <string.h>

#include "compose/exact/junction_parts.h"
#include "core/alloc.h"
#include "core/numerics.h"

typedef struct distribution {
  const poei_junction *junction; /* the part that is gone through */
  double **share;                /* [eliminated] p(x_S) while it is needed, owned */
  size_t *start;                 /* [graph n] where a variable's marginals begin  */
  double *p;                     /* out                                           */
} distribution;

/* ---- one bucket ---- */

static double sum_of(const double *row, size_t n) {
  double sum[4] = {0.0, 0.0, 0.0, 0.0};
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (size_t k = 0; k < 4; k++) {
      sum[k] += row[i + k];
    }
  }
  for (; i < n; i++) {
    sum[0] += row[i];
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* at[offset(i)] += row[i]: the sum over what a child's message is not over. */
static void scatter(const poei_walker *walker, double *at, const double *row, size_t n) {
  if (walker->run == POEI_RUN_CONSTANT) {
    *at += sum_of(row, n);
  } else if (walker->run == POEI_RUN_DIRECT) {
    for (size_t i = 0; i < n; i++) {
      at[i] += row[i];
    }
  } else {
    for (size_t i = 0; i < n; i++) {
      at[walker->index[i]] += row[i];
    }
  }
}

/* share[size] /= the message, as it was before it was divided: then the tables' product times share is p(x_v, x_S). */
static void divide(const poei_bucket *bucket, double *share) {
  const poei_potential *message = &bucket->message;
  double scale = exp(-bucket->shift);
  for (size_t s = 0; s < message->size; s++) {
    double m = message->log ? exp(message->value[s]) : message->value[s];
    share[s] = share[s] > 0.0 ? share[s] * scale / m : 0.0;
  }
}

/* The same for a bucket of logs: row[n] <- share exp(row - message), block by block. */
static void divide_row(const poei_bucket *bucket, const double *message, const double *share, double *row, size_t n) {
  for (size_t i = 0; i < n; i++) {
    row[i] = share[i] > 0.0 ? row[i] - (message[i] + bucket->shift) : -INFINITY;
  }
  poei_vexp(row, row, n);
  for (size_t i = 0; i < n; i++) {
    row[i] *= share[i];
  }
}

/* Walks over the clique of position p: the marginal of its variable and its children's shares. message: logs. */
static void visit(const distribution *run, size_t p, poei_walk *walk, const poei_potential *table,
                  const double *message, double *row) {
  const poei_bucket *bucket = &run->junction->bucket[p];
  const double *share = run->share[p];
  double *marginal = &run->p[run->start[run->junction->order.variable[p]]];
  size_t n = walk->block, k = run->junction->cardinality[p];
  for (size_t b = 0; b < walk->blocks; b++, share += n) {
    for (size_t v = 0; v < k; v++) {
      if (!poei_walk_row(walk, bucket->log, bucket->n_inputs, table, v, row)) {
        continue;
      }
      if (bucket->log) {
        divide_row(bucket, &message[b * n], share, row, n);
      } else {
        for (size_t i = 0; i < n; i++) {
          row[i] *= share[i];
        }
      }
      marginal[v] += sum_of(row, n);
      size_t t = bucket->n_inputs;
      for (size_t c = bucket->child; c != POEI_NO_POSITION; c = run->junction->bucket[c].sibling, t++) {
        const poei_walker *walker = &walk->table[t];
        scatter(walker, &run->share[c][walker->offset + v * walker->step], row, n);
      }
    }
    poei_walk_next(walk);
  }
}

/* The tables of the walk: inputs, then the children's shares, which are zeroed. */
static poe_status list_tables(const distribution *run, size_t p, poei_region *region, size_t *n, poei_potential **table,
                              poe_error *error) {
  const poei_junction *junction = run->junction;
  const poei_bucket *bucket = &junction->bucket[p];
  *n = bucket->n_inputs;
  for (size_t c = bucket->child; c != POEI_NO_POSITION; c = junction->bucket[c].sibling) {
    (*n)++;
  }
  *table = poei_region_take(region, *n, sizeof **table);
  if (*table == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  memcpy(*table, bucket->input, bucket->n_inputs * sizeof **table);
  size_t t = bucket->n_inputs;
  for (size_t c = bucket->child; c != POEI_NO_POSITION; c = junction->bucket[c].sibling) {
    (*table)[t++] = junction->bucket[c].message;
    run->share[c] = poei_calloc(junction->bucket[c].message.size, sizeof(double));
    if (run->share[c] == NULL) {
      return poe_error_set(error, POE_E_MEMORY, "out of memory");
    }
  }
  return POE_OK;
}

static poe_status distribute(const distribution *run, size_t p, poe_error *error) {
  const poei_junction *junction = run->junction;
  const poei_bucket *bucket = &junction->bucket[p];
  poei_region region;
  poei_region_init(&region, SIZE_MAX);
  poei_potential *table = NULL;
  poei_walk walk;
  size_t n = 0;
  double *row = NULL, *message = NULL;
  poe_status status = list_tables(run, p, &region, &n, &table, error);
  if (status == POE_OK) {
    status = poei_walk_open(&region, junction->cardinality, bucket->message.n, bucket->message.axis, p, n, table, &walk,
                            error);
  }
  if (status == POE_OK) {
    row = poei_region_take(&region, walk.block, sizeof *row);
    message = poei_region_take(&region, bucket->log ? bucket->message.size : 0, sizeof *message);
    status = row == NULL || message == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  }
  if (status == POE_OK && bucket->log) {
    memcpy(message, bucket->message.value, bucket->message.size * sizeof *message);
    if (!bucket->message.log) {
      poei_vlog(message, message, bucket->message.size);
    }
  } else if (status == POE_OK) {
    divide(bucket, run->share[p]);
  }
  if (status == POE_OK) {
    visit(run, p, &walk, table, message, row);
  }
  poei_region_free(&region);
  poei_free(run->share[p]);
  run->share[p] = NULL;
  return status;
}

/* ---- all of them ---- */

static poe_status open_run(const poei_junction *junction, double *p, distribution *run, poe_error *error) {
  const poei_field *graph = junction->graph;
  *run = (distribution){.junction = junction, .p = p};
  run->share = poei_calloc(junction->order.eliminated, sizeof *run->share);
  run->start = poei_alloc(graph->n, sizeof *run->start);
  if (run->share == NULL || run->start == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  size_t at = 0;
  for (size_t v = 0; v < graph->n; v++) {
    run->start[v] = at;
    for (size_t a = 0; a < graph->cardinality[v]; a++) {
      p[at++] = graph->cardinality[v] == 1 ? 1.0 : 0.0;
    }
  }
  for (size_t q = 0; q < junction->order.eliminated; q++) {
    if (junction->order.parent[q] == POEI_NO_POSITION) {
      run->share[q] = poei_alloc(1, sizeof(double));
      if (run->share[q] == NULL) {
        return poe_error_set(error, POE_E_MEMORY, "out of memory");
      }
      *run->share[q] = 1.0;
    }
  }
  return POE_OK;
}

static poe_status distribute_all(void *context, const poei_junction *part, size_t from, size_t to, poe_error *error) {
  distribution *run = context;
  run->junction = part;
  poe_status status = POE_OK;
  for (size_t q = to; q-- > from && status == POE_OK;) {
    status = distribute(run, q, error);
  }
  return status;
}

poe_status poei_junction_marginals(const poei_junction *junction, double *p, poe_error *error) {
  const poei_field *graph = junction->graph;
  distribution run;
  poe_status status = open_run(junction, p, &run, error);
  if (status == POE_OK) {
    status = poei_junction_descend(junction, distribute_all, &run, error);
  }
  for (size_t v = 0; v < graph->n && status == POE_OK; v++) { /* takes off what rounding added along the tree */
    double *own = &p[run.start[v]], total = sum_of(own, graph->cardinality[v]);
    for (size_t a = 0; a < graph->cardinality[v]; a++) {
      own[a] /= total;
    }
  }
  for (size_t q = 0; run.share != NULL && q < junction->order.eliminated; q++) {
    poei_free(run.share[q]);
  }
  poei_free(run.share);
  poei_free(run.start);
  return status;
}

/* ---- a table over chosen variables ---- */

/* The product of what is left, over the variables that stayed in the order of axis[n]. */
static poe_status join_rest(poei_junction *junction, size_t n, const size_t *axis, double *out, poe_error *error) {
  poei_potential *rest = NULL;
  poei_walk walk;
  size_t count = 0;
  poe_status status = poei_junction_rest(junction, &count, &rest, error);
  for (size_t i = 0; i < count && status == POE_OK; i++) {
    poei_potential_bring(&rest[i], true);
  }
  if (status == POE_OK) {
    status =
        poei_walk_open(&junction->region, junction->cardinality, n, axis, POEI_NO_POSITION, count, rest, &walk, error);
  }
  double *row = status == POE_OK ? poei_region_take(&junction->region, 3 * walk.block, sizeof *row) : NULL;
  if (status == POE_OK && row == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (status == POE_OK) {
    poei_walk_contract(&walk, POEI_MAX_LOG, rest, out, row);
    for (size_t s = 0; s < walk.blocks * walk.block; s++) {
      out[s] += poei_junction_log_z(junction);
    }
  }
  return status;
}

poe_status poei_field_project(const poei_field *graph, size_t byte_limit, size_t n, const size_t *keep, double *out,
                              poe_error *error) {
  unsigned char *phase = poei_calloc(graph->n, 1);
  size_t *axis = poei_alloc(n, sizeof *axis), kept = 0;
  poei_junction *junction = NULL;
  poei_junction_options options = {.goal = POEI_JUNCTION_LOG_Z, .byte_limit = byte_limit};
  if (phase == NULL || axis == NULL) {
    poei_free(phase);
    poei_free(axis);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < n; i++) {
    phase[keep[i]] = 2;
  }
  poe_status status = poei_junction_open(graph, &options, phase, &junction, error);
  if (status == POE_OK) {
    status = poei_junction_run(junction, error);
  }
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    if (graph->cardinality[keep[i]] > 1) {
      axis[kept++] = junction->order.position[keep[i]];
    }
  }
  if (status == POE_OK) {
    status = join_rest(junction, kept, axis, out, error);
  }
  poei_junction_destroy(junction);
  poei_free(phase);
  poei_free(axis);
  return status;
}
