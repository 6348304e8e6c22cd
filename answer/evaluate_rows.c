/* Any number of rows through an expert or a map: fixed tiles over the pool, one scratch per worker. Row results do not
 * depend on the number of workers, because the tiles do not. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "answer/session.h"
#include "core/alloc.h"

typedef struct rows_job {
  const poe_expert *expert;
  const poe_map *map;
  poe_rows rows;
  double *logp, *grad; /* [n], [n, d] or NULL */
  double *y;           /* maps: [n, out]      */
  size_t out;
  poe_scratch **scratch; /* one per worker      */
  poe_error *errors;     /* one per worker      */
} rows_job;

static poe_status rows_tile(void *context, size_t index, size_t worker) {
  rows_job *job = context;
  size_t first = index * POEI_TILE;
  size_t left = job->rows.n - first;
  poe_rows tile = {left < POEI_TILE ? left : POEI_TILE, job->rows.d, job->rows.ld, job->rows.x + first * job->rows.ld};
  poe_scratch *scratch = job->scratch[worker];
  poe_error *error = &job->errors[worker];
  size_t mark = poe_scratch_mark(scratch);
  poe_status status;
  if (job->map != NULL) {
    poe_rows_out y = {tile.n, job->out, job->out, job->y + first * job->out};
    status = poe_map_ops_of(job->map)->apply(poe_map_self(job->map), tile, y, scratch, error);
  } else {
    static const double one = 1.0;
    double *grad = job->grad == NULL ? NULL : job->grad + first * tile.d;
    memset(job->logp + first, 0, tile.n * sizeof(double));
    if (grad != NULL) {
      memset(grad, 0, tile.n * tile.d * sizeof(double));
    }
    poe_accum out = {job->logp + first, grad, tile.d};
    status = poe_expert_eval_add(job->expert, tile, (poe_weights){&one, 0}, out, scratch, error);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

/* ---- workers' memory ---- */

struct poei_runner {
  poei_pool *pool;
  size_t workers;
  poe_scratch **scratch; /* [workers] */
  poe_error *errors;     /* [workers] */
};

void poei_runner_close(poei_runner *runner) {
  if (runner == NULL) {
    return;
  }
  for (size_t i = 0; runner->scratch != NULL && i < runner->workers; i++) {
    poe_scratch_destroy(runner->scratch[i]);
  }
  poei_free(runner->scratch);
  poei_free(runner->errors);
  poei_free(runner);
}

poe_status poei_runner_open(const poei_session *session, size_t scratch_bytes, poei_runner **runner, poe_error *error) {
  poei_runner *self = poei_calloc(1, sizeof *self);
  bool memory = self != NULL;
  if (memory) {
    self->pool = session->pool;
    self->workers = session->pool == NULL ? 1 : poei_pool_threads(session->pool);
    self->scratch = poei_calloc(self->workers, sizeof *self->scratch);
    self->errors = poei_calloc(self->workers, sizeof *self->errors);
    memory = self->scratch != NULL && self->errors != NULL;
  }
  for (size_t i = 0; memory && i < self->workers; i++) {
    self->scratch[i] = poe_scratch_create(scratch_bytes);
    memory = self->scratch[i] != NULL;
  }
  if (!memory) {
    poei_runner_close(self);
    return poe_error_set(error, POE_E_MEMORY, "out of memory for %zu bytes of scratch", scratch_bytes);
  }
  *runner = self;
  return POE_OK;
}

static poe_status rows_run(poei_runner *runner, rows_job *job, poe_error *error) {
  job->scratch = runner->scratch;
  job->errors = runner->errors;
  memset(job->errors, 0, runner->workers * sizeof *job->errors);
  poe_status status = poei_pool_run(runner->pool, (job->rows.n + POEI_TILE - 1) / POEI_TILE, rows_tile, job);
  for (size_t i = 0; status != POE_OK && i < runner->workers; i++) {
    if (job->errors[i].status == status) {
      if (error != NULL) {
        *error = job->errors[i];
      }
      return status;
    }
  }
  return status;
}

/* ---- experts and maps ---- */

poe_status poei_runner_rows(poei_runner *runner, const poe_expert *expert, poe_rows rows, double *logp, double *grad,
                            poe_error *error) {
  rows_job job = {.expert = expert, .rows = rows, .logp = logp, .grad = grad};
  return rows_run(runner, &job, error);
}

poe_status poei_evaluate_rows(const poei_session *session, const poe_expert *expert, poe_rows rows, double *logp,
                              double *grad, poe_error *error) {
  unsigned want = grad == NULL ? POE_WANT_LOGP : POE_WANT_GRAD;
  poei_runner *runner = NULL;
  poe_status status = poei_runner_open(session, poe_expert_scratch(expert, want, POEI_TILE), &runner, error);
  if (status == POE_OK) {
    status = poei_runner_rows(runner, expert, rows, logp, grad, error);
  }
  poei_runner_close(runner);
  return status;
}

poe_status poei_apply_rows(const poei_session *session, const poe_map *map, poe_rows rows, double *y,
                           poe_error *error) {
  const poe_map_ops *ops = poe_map_ops_of(map);
  size_t shape[POE_MAX_DIMS], out = 1;
  size_t ndim = ops->out_shape(poe_map_self(map), shape);
  for (size_t i = 0; i < ndim; i++) {
    out *= shape[i];
  }
  rows_job job = {.map = map, .rows = rows, .y = y, .out = out};
  poei_runner *runner = NULL;
  size_t bytes = ops->scratch(poe_map_self(map), POE_WANT_LOGP, POEI_TILE);
  poe_status status = poei_runner_open(session, bytes, &runner, error);
  if (status == POE_OK) {
    status = rows_run(runner, &job, error);
  }
  poei_runner_close(runner);
  return status;
}

/* ---- rows over all coordinates of the program ---- */

/* x[n, d] = full[n, total] at coordinates[d]; on the heap, NULL when out of memory. */
static double *rows_gather(size_t n, size_t total, const double *full, size_t d, const size_t *coordinates) {
  double *x = poei_alloc(n, d * sizeof *x);
  for (size_t i = 0; x != NULL && i < n; i++) {
    for (size_t j = 0; j < d; j++) {
      x[i * d + j] = full[i * total + coordinates[j]];
    }
  }
  return x;
}

poe_status poei_full_values(const poei_session *session, const poei_solved *solved, size_t n, const double *full,
                            double *logp, poe_error *error) {
  size_t d = solved->target.dim;
  double *x = rows_gather(n, poei_program_dim(session->program), full, d, solved->target.coordinates);
  if (x == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for %zu points", n);
  }
  poe_status status = poei_evaluate_rows(session, solved->plan->expert, (poe_rows){n, d, d, x}, logp, NULL, error);
  poei_free(x);
  return status;
}

poe_status poei_full_derived(const poei_session *session, const poei_derived *derived, size_t n, const double *full,
                             double *y, poe_error *error) {
  size_t d = derived->in_dim;
  double *x = rows_gather(n, poei_program_dim(session->program), full, d, derived->coordinates);
  if (x == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for %zu values of '%s'", n, derived->name);
  }
  poe_status status = poei_apply_rows(session, derived->map, (poe_rows){n, d, d, x}, y, error);
  poei_free(x);
  return status;
}

size_t poei_program_dim(const poei_program *program) {
  size_t dim = 0;
  for (size_t i = 0; i < poei_program_variable_count(program); i++) {
    dim += poei_program_variable(program, i)->dim;
  }
  return dim;
}

void poei_expand_rows(const poei_program *program, const poei_target *target, size_t n, const double *x, double *full) {
  size_t total = poei_program_dim(program);
  for (size_t i = 0; i < n; i++) {
    double *row = full + i * total;
    for (size_t j = 0; j < total; j++) {
      row[j] = NAN;
    }
    for (size_t j = 0; j < target->dim; j++) {
      row[target->coordinates[j]] = x[i * target->dim + j];
    }
    for (size_t j = 0; j < target->n_clamped; j++) {
      row[target->clamped[j]] = target->clamped_value[j];
    }
  }
}
