/* All cases of tests/language/cases, and that the checker of cases can fail. */
#include <stdio.h>

#include "tests/language/cases.h"

static void test_cases(void **state) {
  (void)state;
  poet_case *cases;
  size_t n = poet_cases_read(&cases), failed = 0;
  for (size_t i = 0; i < n; i++) {
    failed += !poet_case_check(&cases[i]);
  }
  printf("%zu cases\n", n);
  poet_cases_free(n, cases);
  assert_true(n >= 80);
  assert_int_equal(failed, 0);
}

/* Expectations that are not met must be seen. */
static void test_wrong_expectations(void **state) {
  (void)state;
  static const char *const wrong[] = {
      "var x : real\na = gaussian(x | mean=0, sd=1)\n# expect error 2:5 unknown\n",
      "var x : real\na = gaussian(y | mean=0, sd=1)\n# expect ok\n",
      "var x : real\na = gaussian(y | mean=0, sd=1)\n# expect error 2:13 unknown variable\n",
      "var x : real\na = gaussian(y | mean=0, sd=1)\n# expect error 2:14 unknown variable\n# expect hint nothing\n",
      "var x : real\na = gaussian(x | mean=0, sd=1)\n# expect logz a 1\n",
      "var x : real\na = gaussian(x | mean=0, sd=1)\n# expect logp a 0 = -0.9\n",
      "var x : real\na = gaussian(x | mean=0, sd=1)\n# expect tree a product(gaussian)\n",
      "var x : real\na = gaussian(x | mean=0, sd=1)\n# expect over a y\n",
      "var x : real\na = gaussian(x|mean=0, sd=1)\n# expect print a = gaussian(x|mean=0, sd=1)\n",
      "var x : real\na = gaussian(x | mean=0, sd=1)\n# expect nonsense\n",
      "var x : real\na = gaussian(x | mean=0, sd=1)\n",
  };
  fprintf(stderr, "(complaints between these lines are what is tested)\n");
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    poet_case test = {(char *)"wrong", (char *)"wrong.poe", (char *)wrong[i]};
    assert_false(poet_case_check(&test));
  }
  fprintf(stderr, "(complaints between these lines are what is tested)\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_wrong_expectations)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
