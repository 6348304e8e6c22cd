/* The worker pool: every task once, workers in range, the lowest failure whatever the timing, no allocation in a run,
 * clean failure of creation. Run it under ThreadSanitizer too. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/pool.h"
#include "tests/support/check.h"

enum { TASKS = 500 };

typedef struct tally {
  size_t threads;
  double out[TASKS];         /* result of each task, written without a lock */
  _Atomic unsigned n[TASKS]; /* how often each ran                          */
  _Atomic unsigned bad;      /* workers out of range                        */
  size_t fails_from, fails_every;
} tally;

static poe_status tally_task(void *context, size_t index, size_t worker) {
  tally *t = context;
  double x = (double)index;
  for (int i = 0; i < 200 + 50 * (int)(index % 7); i++) { /* uneven work */
    x = x * 0.999 + 1.0 / (x + 2.0);
  }
  t->out[index] = x;
  atomic_fetch_add(&t->n[index], 1);
  if (worker >= t->threads) {
    atomic_fetch_add(&t->bad, 1);
  }
  if (t->fails_every > 0 && index >= t->fails_from && (index - t->fails_from) % t->fails_every == 0) {
    return index == t->fails_from ? POE_E_NUMERIC : POE_E_FILE;
  }
  return POE_OK;
}

static void test_every_task_runs_once_with_the_same_result(void **state) {
  (void)state;
  static tally first, next;
  first.threads = 1;
  assert_int_equal(poei_pool_run(NULL, TASKS, tally_task, &first), POE_OK);
  for (size_t threads = 1; threads <= 5; threads++) {
    poei_pool *pool = poei_pool_create(threads);
    assert_non_null(pool);
    assert_int_equal(poei_pool_threads(pool), threads);
    for (int repeat = 0; repeat < 20; repeat++) {
      memset(&next, 0, sizeof next);
      next.threads = threads;
      assert_int_equal(poei_pool_run(pool, TASKS, tally_task, &next), POE_OK);
      for (size_t i = 0; i < TASKS; i++) {
        assert_int_equal(next.n[i], 1);
      }
      assert_int_equal(next.bad, 0);
      check_same_bits(next.out, first.out, TASKS);
    }
    poei_pool_destroy(pool);
  }
}

static void test_lowest_failure_wins(void **state) {
  (void)state;
  static tally t;
  for (size_t threads = 1; threads <= 4; threads++) {
    poei_pool *pool = poei_pool_create(threads);
    for (int repeat = 0; repeat < 50; repeat++) {
      memset(&t, 0, sizeof t);
      t.threads = threads;
      t.fails_from = (size_t)repeat * 7;
      t.fails_every = 1;
      assert_int_equal(poei_pool_run(pool, TASKS, tally_task, &t), POE_E_NUMERIC);
      for (size_t i = 0; i <= t.fails_from; i++) { /* nothing below the failure was left out */
        assert_int_equal(t.n[i], 1);
      }
      memset(&t, 0, sizeof t); /* and the pool is usable afterwards */
      t.threads = threads;
      assert_int_equal(poei_pool_run(pool, 3, tally_task, &t), POE_OK);
    }
    poei_pool_destroy(pool);
  }
}

static void test_small_counts(void **state) {
  (void)state;
  static tally t;
  memset(&t, 0, sizeof t);
  t.threads = 3;
  poei_pool *pool = poei_pool_create(3);
  assert_int_equal(poei_pool_run(pool, 0, tally_task, &t), POE_OK);
  assert_int_equal(poei_pool_run(pool, 1, tally_task, &t), POE_OK);
  assert_int_equal(poei_pool_run(pool, 2, tally_task, &t), POE_OK);
  assert_int_equal(t.n[0], 2);
  assert_int_equal(t.n[1], 1);
  poei_pool_destroy(pool);
  poei_pool_destroy(NULL);
  assert_int_equal(poei_pool_threads(NULL), 1);
  assert_true(poei_pool_default_threads() >= 1);
}

static void test_a_run_allocates_nothing(void **state) {
  (void)state;
  static tally t;
  memset(&t, 0, sizeof t);
  t.threads = 2;
  poei_pool *pool = poei_pool_create(2);
  uint64_t before = poei_alloc_count();
  assert_int_equal(poei_pool_run(pool, TASKS, tally_task, &t), POE_OK);
  assert_int_equal(poei_alloc_count(), before);
  poei_pool_destroy(pool);
}

static void test_creation_fails_cleanly(void **state) {
  (void)state;
  uint64_t before = poei_alloc_count();
  poei_pool_destroy(poei_pool_create(2));
  uint64_t count = poei_alloc_count() - before;
  assert_true(count > 0);
  for (uint64_t n = 1; n <= count; n++) {
    poei_alloc_fail_at(n);
    assert_null(poei_pool_create(2));
  }
  poei_alloc_fail_at(0);
  assert_null(poei_pool_create(SIZE_MAX));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_task_runs_once_with_the_same_result),
      cmocka_unit_test(test_lowest_failure_wins),
      cmocka_unit_test(test_small_counts),
      cmocka_unit_test(test_a_run_allocates_nothing),
      cmocka_unit_test(test_creation_fails_cleanly),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
