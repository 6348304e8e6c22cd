/* Every allocation fails in turn while programs are loaded, lowered, printed and shown: each time there is an error
 * and nothing leaks (the sanitizers and valgrind watch), and the next try succeeds. */
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "tests/language/evaluate.h"

static const char rich[] = "# a bit of everything\n"
                           "var x : real[4] in [-10, 10]\n"
                           "var c : int(3)\n"
                           "m = [1, 2, 3, 4]\n"
                           "edge(u, v) = formula(u, v | energy=(u - v)^2*m[1])\n"
                           "a = gaussian(x | mean=m, sd=1)\n"
                           "b = gaussian(x | mean=0, sd=sqrt(4))\n"
                           "chain = product(i in 0:3 -> edge(x[i], x[i+1]))\n"
                           "k = categorical(c | p=[0.2, 0.3, 0.5])\n"
                           "mixed = 0.3*a + 0.7*(a * chain) \n"
                           "var w : simplex(3)[2]\n"
                           "two = dirichlet(w | alpha=[1, 2, 3]) * gaussian(w[0, 1] | mean=0.3, sd=0.1)\n"
                           "shares = two given w[1] = [0.2, 0.3, 0.5]\n"
                           "both = (a and b and not b^0.5) * k given (c = 1, x[0:2] = [1, 2])\n"
                           "final = normalise(mixed or a * chain)\n"
                           "sample(final, chains=3, save=[x], gate=report)\n";
static const char wrong[] = "var x : real\na = gausian(x | mean=0)\nb = a * * 2\nc = 2*gaussian(x | mean=0, sd=1)\n";

/* All of the work on one text; the status of the first thing that failed. */
static poe_status work(const char *text) {
  poei_diagnostics diagnostics = {0};
  poei_program *program = NULL;
  poe_status status = poei_program_load("memory.poe", text, 0, NULL, &diagnostics, &program);
  if (status == POE_OK) {
    static const char *const targets[] = {"mixed", "both", "shares", "final", "a or b"};
    for (size_t i = 0; i < sizeof targets / sizeof *targets && status == POE_OK; i++) {
      poei_target target = {0};
      status = poei_program_target(program, targets[i], &target, &diagnostics);
      poei_target_free(&target);
    }
    const poei_outline *outline = poei_program_outline(program, "final", &diagnostics);
    char *printed = poei_program_print(program);
    status = status == POE_OK && (!outline || !printed) ? POE_E_MEMORY : status;
    poei_free(printed);
  }
  for (size_t i = 0; i < diagnostics.n; i++) {
    char *shown = poei_diagnostic_text(&diagnostics.items[i], text, true);
    status = !shown && status != POE_E_MEMORY ? POE_E_MEMORY : status;
    poei_free(shown);
  }
  poei_diagnostics_free(&diagnostics);
  poei_program_free(program);
  return status;
}

static void fail_each(const char *text, poe_status expected) {
  assert_int_equal(work(text), expected);
  uint64_t before = poei_alloc_count();
  work(text);
  uint64_t n = poei_alloc_count() - before;
  assert_true(n > 5);
  size_t survived = 0;
  for (uint64_t i = 1; i <= n; i++) {
    poei_alloc_fail_at(i);
    poe_status status = work(text);
    poei_alloc_fail_at(0);
    if (status != POE_E_MEMORY) {
      survived++; /* an allocation that can be done without */
      if (status != expected) {
        fail_msg("allocation %zu: %s", (size_t)i, poe_status_name(status));
      }
    }
  }
  printf("%zu allocations, %zu dispensable\n", (size_t)n, survived);
  assert_true(survived * 4 <= n);
  assert_int_equal(work(text), expected);
}

static void test_right(void **state) {
  (void)state;
  fail_each(rich, POE_OK);
}

static void test_wrong(void **state) {
  (void)state;
  fail_each(wrong, POE_E_SYNTAX);
}

static void test_format(void **state) {
  (void)state;
  uint64_t before = poei_alloc_count();
  poei_diagnostics diagnostics = {0};
  char *text = poei_language_format("f.poe", rich, &diagnostics);
  assert_non_null(text);
  poei_free(text);
  uint64_t n = poei_alloc_count() - before;
  for (uint64_t i = 1; i <= n; i++) {
    poei_alloc_fail_at(i);
    text = poei_language_format("f.poe", rich, &diagnostics);
    poei_alloc_fail_at(0);
    assert_null(text);
    poei_diagnostics_free(&diagnostics);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_right), cmocka_unit_test(test_wrong),
                                     cmocka_unit_test(test_format)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
