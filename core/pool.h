/* Worker pool over tiles or chains. Tasks are numbered; which worker runs a task never changes its result, because all
 * randomness is addressed and each worker has its own scratch. */
#ifndef POE_CORE_POOL_H
#define POE_CORE_POOL_H

#include <stddef.h>

#include "poe/status.h"

typedef struct poei_pool poei_pool;

/* The rows one worker evaluates at a time. Results are bitwise reproducible at equal tile shape. */
enum { POEI_TILE = 64 };

/* A pool of `threads` >= 1 workers (the caller is one of them). NULL when out of memory or threads. */
poei_pool *poei_pool_create(size_t threads);
void poei_pool_destroy(poei_pool *pool);
size_t poei_pool_threads(const poei_pool *pool);
/* Number of processors this process may use, at least 1. */
size_t poei_pool_default_threads(void);
/* Runs task(context, index, worker) for index in [0, count); worker in [0, threads). Blocks; allocates nothing. Not
 * re-entrant. Returns the status of the failed task with the lowest index, else POE_OK. pool NULL: runs in the caller.
 */
poe_status poei_pool_run(poei_pool *pool, size_t count, poe_status (*task)(void *context, size_t index, size_t worker),
                         void *context);

#endif
