/* The workers of one run (workers.h). */
#include "sampler/workers.h"

#include "core/alloc.h"

size_t poei_tile_rows(size_t chains) {
  size_t most = chains >= 4 * (size_t)POEI_TILE ? POEI_TILE : POEI_TILE / 2; /* few chains still fill two workers */
  return chains < most ? chains : most;
}

bool poei_monitor_stopped(const poei_monitor *monitor) {
  return monitor->stop != NULL && atomic_load(monitor->stop);
}

void poei_monitor_report(const poei_monitor *monitor, const char *phase, size_t done, size_t total) {
  if (monitor->report != NULL) {
    monitor->report(monitor->context, phase, done, total);
  }
}

poe_status poei_workers_create(poei_pool *pool, size_t scratch_bytes, poei_workers *out, poe_error *error) {
  size_t n = pool != NULL ? poei_pool_threads(pool) : 1;
  *out = (poei_workers){.pool = pool, .n = n};
  out->scratch = poei_calloc(n, sizeof *out->scratch);
  out->error = poei_calloc(n, sizeof *out->error);
  out->failed = poei_calloc(n, sizeof *out->failed);
  bool complete = out->scratch != NULL && out->error != NULL && out->failed != NULL;
  for (size_t i = 0; complete && i < n; i++) {
    out->scratch[i] = poe_scratch_create(scratch_bytes);
    complete = out->scratch[i] != NULL;
  }
  if (!complete) {
    poei_workers_free(out);
    return poe_error_set(error, POE_E_MEMORY, "out of memory for the scratch of %zu workers", n);
  }
  return POE_OK;
}

void poei_workers_free(poei_workers *workers) {
  for (size_t i = 0; workers->scratch != NULL && i < workers->n; i++) {
    poe_scratch_destroy(workers->scratch[i]);
  }
  poei_free(workers->scratch);
  poei_free(workers->error);
  poei_free(workers->failed);
  *workers = (poei_workers){0};
}

typedef struct workers_call {
  poei_workers *workers;
  poei_worker_task task;
  void *context;
} workers_call;

static poe_status workers_task(void *context, size_t index, size_t worker) {
  const workers_call *call = context;
  poei_workers *workers = call->workers;
  poe_error error = {0};
  poe_status status = call->task(call->context, index, workers->scratch[worker], &error);
  if (status != POE_OK && index < workers->failed[worker]) {
    workers->error[worker] = error;
    workers->failed[worker] = index;
  }
  return status;
}

poe_status poei_workers_run(poei_workers *workers, size_t count, poei_worker_task task, void *context,
                            poe_error *error) {
  for (size_t i = 0; i < workers->n; i++) {
    workers->failed[i] = SIZE_MAX;
  }
  workers_call call = {.workers = workers, .task = task, .context = context};
  poe_status status = poei_pool_run(workers->pool, count, workers_task, &call);
  size_t lowest = SIZE_MAX;
  for (size_t i = 0; i < workers->n; i++) {
    if (workers->failed[i] < lowest) {
      lowest = workers->failed[i];
      if (error != NULL) {
        *error = workers->error[i];
      }
    }
  }
  return status;
}
