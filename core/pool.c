/* Worker pool (pool.h): threads that wait for a run, take task numbers from one counter, and go back to waiting.
 *
 * Determinism of errors: numbers are handed out in ascending order and a failure stops only the handing out of higher
 * ones, so every task below a failed one has run, and the lowest failure is the same whatever the timing.
 * Invariants: fields below `lock` change only while it is held; `next` is atomic; workers block all signals, so that an
 * interrupt reaches the caller's own threads. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "core/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "core/alloc.h"

typedef poe_status (*pool_task)(void *context, size_t index, size_t worker);

typedef struct pool_worker {
  poei_pool *pool;
  size_t number;
  pthread_t thread;
} pool_worker;

struct poei_pool {
  size_t threads;       /* workers, the caller included          */
  pool_worker *workers; /* [threads - 1]: numbers 1..threads - 1 */

  pthread_mutex_t lock;
  pthread_cond_t wake, done;
  uint64_t run;  /* number of the current run              */
  size_t active; /* workers that have not finished the run */
  bool stop;
  pool_task task;
  void *context;
  size_t failed_index; /* lowest failed task, SIZE_MAX = none    */
  poe_status failed;

  _Atomic size_t next;  /* next task to hand out                  */
  _Atomic size_t limit; /* hand out only below it                 */
};

/* Remembers the failure of a task if it is the lowest so far, and stops the handing out of higher ones. */
static void pool_fail(poei_pool *pool, size_t index, poe_status status) {
  pthread_mutex_lock(&pool->lock);
  if (index < pool->failed_index) {
    pool->failed_index = index;
    pool->failed = status;
    atomic_store(&pool->limit, index);
  }
  pthread_mutex_unlock(&pool->lock);
}

/* Takes tasks until none is left. */
static void pool_work(poei_pool *pool, pool_task task, void *context, size_t worker) {
  for (;;) {
    size_t index = atomic_fetch_add(&pool->next, 1);
    if (index >= atomic_load(&pool->limit)) {
      return;
    }
    poe_status status = task(context, index, worker);
    if (status != POE_OK) {
      pool_fail(pool, index, status);
    }
  }
}

static void *pool_main(void *argument) {
  pool_worker *worker = argument;
  poei_pool *pool = worker->pool;
  uint64_t seen = 0;
  pthread_mutex_lock(&pool->lock);
  for (;;) {
    while (!pool->stop && pool->run == seen) {
      pthread_cond_wait(&pool->wake, &pool->lock);
    }
    if (pool->stop) {
      break;
    }
    seen = pool->run;
    pool_task task = pool->task;
    void *context = pool->context;
    pthread_mutex_unlock(&pool->lock);
    pool_work(pool, task, context, worker->number);
    pthread_mutex_lock(&pool->lock);
    if (--pool->active == 0) {
      pthread_cond_signal(&pool->done);
    }
  }
  pthread_mutex_unlock(&pool->lock);
  return NULL;
}

/* Stops and joins the first `started` threads and frees everything. */
static void pool_close(poei_pool *pool, size_t started) {
  pthread_mutex_lock(&pool->lock);
  pool->stop = true;
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->lock);
  for (size_t i = 0; i < started; i++) {
    pthread_join(pool->workers[i].thread, NULL);
  }
  pthread_cond_destroy(&pool->done);
  pthread_cond_destroy(&pool->wake);
  pthread_mutex_destroy(&pool->lock);
  poei_free(pool->workers);
  poei_free(pool);
}

/* Locks and conditions; false when the system has none left. */
static bool pool_open_locks(poei_pool *pool) {
  if (pthread_mutex_init(&pool->lock, NULL) != 0) {
    return false;
  }
  if (pthread_cond_init(&pool->wake, NULL) != 0) {
    pthread_mutex_destroy(&pool->lock);
    return false;
  }
  if (pthread_cond_init(&pool->done, NULL) != 0) {
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    return false;
  }
  return true;
}

poei_pool *poei_pool_create(size_t threads) {
  if (threads == 0) {
    threads = 1;
  }
  poei_pool *pool = poei_calloc(1, sizeof *pool);
  pool_worker *workers = poei_calloc(threads - 1, sizeof *workers);
  if (pool == NULL || workers == NULL || !pool_open_locks(pool)) {
    poei_free(workers);
    poei_free(pool);
    return NULL;
  }
  pool->threads = threads;
  pool->workers = workers;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  size_t started = 0;
  while (started < threads - 1) {
    pool_worker *worker = &workers[started];
    worker->pool = pool;
    worker->number = started + 1;
    if (pthread_create(&worker->thread, NULL, pool_main, worker) != 0) {
      break;
    }
    started++;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (started < threads - 1) {
    pool_close(pool, started);
    return NULL;
  }
  return pool;
}

void poei_pool_destroy(poei_pool *pool) {
  if (pool != NULL) {
    pool_close(pool, pool->threads - 1);
  }
}

size_t poei_pool_threads(const poei_pool *pool) {
  return pool != NULL ? pool->threads : 1;
}

size_t poei_pool_default_threads(void) {
  cpu_set_t usable;
  if (sched_getaffinity(0, sizeof usable, &usable) == 0) {
    int count = CPU_COUNT(&usable);
    if (count > 0) {
      return (size_t)count;
    }
  }
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (size_t)online : 1;
}

poe_status poei_pool_run(poei_pool *pool, size_t count, poe_status (*task)(void *context, size_t index, size_t worker),
                         void *context) {
  if (pool == NULL || pool->threads == 1 || count <= 1) {
    for (size_t index = 0; index < count; index++) {
      poe_status status = task(context, index, 0);
      if (status != POE_OK) {
        return status;
      }
    }
    return POE_OK;
  }
  pthread_mutex_lock(&pool->lock);
  pool->task = task;
  pool->context = context;
  pool->failed_index = SIZE_MAX;
  pool->failed = POE_OK;
  pool->active = pool->threads - 1;
  atomic_store(&pool->next, 0);
  atomic_store(&pool->limit, count);
  pool->run++;
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->lock);
  pool_work(pool, task, context, 0);
  pthread_mutex_lock(&pool->lock);
  while (pool->active > 0) {
    pthread_cond_wait(&pool->done, &pool->lock);
  }
  poe_status status = pool->failed;
  pthread_mutex_unlock(&pool->lock);
  return status;
}
