/* The workers of one run: a scratch arena and an error each, over the pool that the caller gave. */
#ifndef POE_SAMPLER_WORKERS_H
#define POE_SAMPLER_WORKERS_H

#include "sampler/target.h"

typedef struct poei_workers {
  poei_pool *pool; /* NULL = the caller alone                                    */
  size_t n;
  poe_scratch **scratch; /* [n]                                                  */
  poe_error *error;      /* [n] first failure of each                            */
  size_t *failed;        /* [n] the task it was in, SIZE_MAX = none              */
} poei_workers;

typedef poe_status (*poei_worker_task)(void *context, size_t index, poe_scratch *scratch, poe_error *error);

poe_status poei_workers_create(poei_pool *pool, size_t scratch_bytes, poei_workers *out, poe_error *error);
void poei_workers_free(poei_workers *workers);
/* Runs task(context, 0..count-1). The error reported is that of the lowest failed task. Allocates nothing. */
poe_status poei_workers_run(poei_workers *workers, size_t count, poei_worker_task task, void *context,
                            poe_error *error);

/* Rows per tile for that many chains: a function of their number alone, so that threads never change bits. */
size_t poei_tile_rows(size_t chains);
bool poei_monitor_stopped(const poei_monitor *monitor);
void poei_monitor_report(const poei_monitor *monitor, const char *phase, size_t done, size_t total);

#endif
