/* Heap functions (overflow, zero sizes, the failing hook) and the scratch arena (alignment, exhaustion, high water,
 * and, under AddressSanitizer, that what is not taken is poisoned). */
#include <stdint.h>
#include <string.h>

#include "core/alloc.h"
#include "poe/expert.h"
#include "tests/support/check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISONED(p) (__asan_address_is_poisoned(p) != 0)
#endif

static void test_checked_products(void **state) {
  (void)state;
  size_t out = 7;
  assert_true(poei_mul_size(6, 7, &out));
  assert_int_equal(out, 42);
  assert_true(poei_mul_size(0, SIZE_MAX, &out));
  assert_int_equal(out, 0);
  assert_true(poei_mul_size(SIZE_MAX, 0, &out));
  assert_true(poei_mul_size(SIZE_MAX / 2, 2, &out));
  out = 7;
  assert_false(poei_mul_size(SIZE_MAX / 2 + 1, 2, &out));
  assert_false(poei_mul_size((size_t)1 << 32, (size_t)1 << 32, &out));
  assert_false(poei_add_size(SIZE_MAX, 1, &out));
  assert_int_equal(out, 7);
  assert_true(poei_add_size(SIZE_MAX - 1, 1, &out));
  assert_true(out == SIZE_MAX);
}

static void test_allocation(void **state) {
  (void)state;
  assert_null(poei_alloc(SIZE_MAX / 2, 3));
  assert_null(poei_alloc(SIZE_MAX, 1));
  assert_null(poei_calloc(SIZE_MAX, 2));
  void *empty = poei_alloc(0, 8);
  assert_non_null(empty);
  poei_free(empty);
  unsigned char *zero = poei_calloc(100, 3);
  for (size_t i = 0; i < 300; i++) {
    assert_int_equal(zero[i], 0);
  }
  zero[17] = 9;
  assert_null(poei_realloc(zero, SIZE_MAX / 2, 8));
  assert_int_equal(zero[17], 9);
  zero = poei_realloc(zero, 1000, 8);
  assert_int_equal(zero[17], 9);
  poei_free(zero);
  poei_free(NULL);
}

static void test_copies(void **state) {
  (void)state;
  char *a = poei_strdup("abc"), *b = poei_strndup("abcdef", 2), *c = poei_format("%d-%s", 12, "x"),
       *d = poei_format("%s", "");
  assert_string_equal(a, "abc");
  assert_string_equal(b, "ab");
  assert_string_equal(c, "12-x");
  assert_string_equal(d, "");
  const double numbers[3] = {1, 2, 3};
  double *e = poei_copy(numbers, 3, sizeof *numbers);
  assert_memory_equal(e, numbers, sizeof numbers);
  assert_non_null(e);
  void *f = poei_copy(NULL, 0, 8);
  assert_non_null(f);
  poei_free(f);
  poei_free(a);
  poei_free(b);
  poei_free(c);
  poei_free(d);
  poei_free(e);
}

static void test_fail_hook(void **state) {
  (void)state;
  uint64_t before = poei_alloc_count();
  poei_alloc_fail_at(3);
  void *piece[5];
  for (size_t i = 0; i < 5; i++) {
    piece[i] = poei_alloc(1, 8);
    assert_true((piece[i] == NULL) == (i == 2)); /* the third and only it */
  }
  assert_int_equal(poei_alloc_count() - before, 5);
  for (size_t i = 0; i < 5; i++) {
    poei_free(piece[i]);
  }
  poei_alloc_fail_at(1);
  assert_null(poei_format("%d", 1));
  poei_alloc_fail_at(1);
  assert_null(poei_strdup("x"));
  poei_alloc_fail_at(1);
  assert_null(poei_copy("x", 1, 1));
  poei_alloc_fail_at(1);
  poei_alloc_fail_at(0);
  void *fine = poei_calloc(1, 1);
  assert_non_null(fine);
  poei_free(fine);
}

static void test_scratch_creation_fails_cleanly(void **state) {
  (void)state;
  for (uint64_t n = 1; n <= 2; n++) {
    poei_alloc_fail_at(n);
    assert_null(poe_scratch_create(1000));
  }
  poei_alloc_fail_at(0);
  assert_null(poe_scratch_create(SIZE_MAX));
  assert_null(poe_scratch_create(poe_scratch_need(SIZE_MAX / 2, 8)));
  poe_scratch_destroy(NULL);
}

static void test_scratch_never_fails_within_its_declaration(void **state) {
  (void)state;
  static const size_t counts[] = {1, 7, 8, 0, 9, 63, 64, 65, 1000};
  size_t need = 0;
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    need += poe_scratch_need(counts[i], sizeof(double)) + poe_scratch_need(counts[i], sizeof(float));
  }
  poe_scratch *scratch = poe_scratch_create(need);
  assert_non_null(scratch);
  size_t start = poe_scratch_mark(scratch);
  uint64_t allocations = poei_alloc_count();
  for (int round = 0; round < 3; round++) {
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
      double *a = poe_scratch_doubles(scratch, counts[i]);
      float *b = poe_scratch_floats(scratch, counts[i]);
      assert_non_null(a);
      assert_non_null(b);
      assert_int_equal((uintptr_t)a % 64, 0);
      assert_int_equal((uintptr_t)b % 64, 0);
      memset(a, 1, counts[i] * sizeof *a);
      memset(b, 2, counts[i] * sizeof *b);
    }
    assert_null(poe_scratch_bytes(scratch, 1)); /* the declaration was exact */
    assert_int_equal(poe_scratch_high_water(scratch), need);
    poe_scratch_release(scratch, start);
  }
  assert_int_equal(poei_alloc_count(), allocations);
  poe_scratch_destroy(scratch);
}

static void test_scratch_overflow_is_null(void **state) {
  (void)state;
  poe_scratch *scratch = poe_scratch_create(256);
  assert_null(poe_scratch_doubles(scratch, SIZE_MAX / 4));
  assert_null(poe_scratch_doubles(scratch, SIZE_MAX));
  assert_null(poe_scratch_floats(scratch, SIZE_MAX / 2));
  assert_null(poe_scratch_bytes(scratch, SIZE_MAX));
  assert_null(poe_scratch_bytes(scratch, 257));
  assert_int_equal(poe_scratch_high_water(scratch), 0);
  size_t saturated = poe_scratch_need(SIZE_MAX, 2); /* a sum of such needs must not wrap around */
  assert_true(saturated + saturated > saturated);
  assert_true(saturated >= poe_scratch_need(SIZE_MAX / 4096, 1));
  poe_scratch_destroy(scratch);
}

static void test_scratch_marks_nest(void **state) {
  (void)state;
  poe_scratch *scratch = poe_scratch_create(3 * poe_scratch_need(8, 8));
  double *a = poe_scratch_doubles(scratch, 8);
  size_t mark = poe_scratch_mark(scratch);
  double *b = poe_scratch_doubles(scratch, 8);
  a[7] = 1.0;
  b[7] = 2.0;
  poe_scratch_release(scratch, mark);
  assert_ptr_equal(poe_scratch_doubles(scratch, 8), b);
  assert_true(a[7] == 1.0);
  poe_scratch_release(scratch, SIZE_MAX); /* not a position of the arena: nothing is released */
  assert_true(poe_scratch_mark(scratch) > mark);
  assert_int_equal(poe_scratch_high_water(scratch), 2 * poe_scratch_need(8, 8));
  poe_scratch_destroy(scratch);
}

static void test_scratch_poison(void **state) {
  (void)state;
#ifdef POISONED
  poe_scratch *scratch = poe_scratch_create(poe_scratch_need(10, 1) + poe_scratch_need(64, 1));
  unsigned char *a = poe_scratch_bytes(scratch, 10);
  assert_false(POISONED(a));
  assert_false(POISONED(a + 9));
  assert_true(POISONED(a + 10)); /* the rest of the last unit */
  assert_true(POISONED(a + 64)); /* the redzone               */
  size_t mark = poe_scratch_mark(scratch);
  unsigned char *b = poe_scratch_bytes(scratch, 64);
  assert_false(POISONED(b + 63));
  assert_true(POISONED(b + 64));
  poe_scratch_release(scratch, mark);
  assert_true(POISONED(b));
  assert_false(POISONED(a));
  poe_scratch_destroy(scratch);
#else
  skip();
#endif
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_checked_products),
      cmocka_unit_test(test_allocation),
      cmocka_unit_test(test_copies),
      cmocka_unit_test(test_fail_hook),
      cmocka_unit_test(test_scratch_creation_fails_cleanly),
      cmocka_unit_test(test_scratch_never_fails_within_its_declaration),
      cmocka_unit_test(test_scratch_overflow_is_null),
      cmocka_unit_test(test_scratch_marks_nest),
      cmocka_unit_test(test_scratch_poison),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
