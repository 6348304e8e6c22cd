/* Kernel density estimates: what the constructor refuses, points from a file, and when there is a closed form. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experts/list.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static poet_args a;
static poe_error error;
static const double minus = -1.0;

static void refuses(const poe_expert_ops *ops, poe_status status, int column, const char *part) {
  poe_expert *expert = NULL;
  memset(&error, 0, sizeof error);
  check_fails(poe_expert_create(ops, &a.args, &expert, &error), status, error, part);
  assert_null(expert);
  assert_int_equal(error.column, column);
}

static void kernel_densities_are_named(void **state) {
  (void)state;
  static const double same[4] = {1.0, 2.0, 1.0, 3.0}, bad[2] = {1.0, INFINITY};
  poet_args_start(&a, "kde");
  poet_args_real_variable(&a, "x", 2);
  refuses(&poei_kde_ops, POE_E_USAGE, 0, "data or file");
  poet_args_vector(&a, "data", 4, same);
  refuses(&poei_kde_ops, POE_E_SHAPE, 10, "shape [4], but [n, 2] is needed");
  poet_args_start(&a, "kde");
  poet_args_real_variable(&a, "x", 2);
  poet_args_matrix(&a, "data", 2, 2, same);
  refuses(&poei_kde_ops, POE_E_DOMAIN, 0, "no spread in coordinate 0");
  poet_args_text(&a, "bandwidth", POE_ARG_SYMBOL, "scot");
  refuses(&poei_kde_ops, POE_E_NAME, 20, "`scott` or `silverman`, not `scot`");
  a.args.n_args = 1;
  poet_args_scalar(&a, "bandwidth", &minus);
  refuses(&poei_kde_ops, POE_E_DOMAIN, 20, "must be positive");
  poet_args_start(&a, "kde");
  poet_args_real_variable(&a, "x", 1);
  poet_args_vector(&a, "data", 2, bad);
  refuses(&poei_kde_ops, POE_E_DOMAIN, 10, "row 1, column 0 is inf");
  poet_args_start(&a, "kde");
  poet_args_real_variable(&a, "x", 1);
  poet_args_text(&a, "file", POE_ARG_FILE, "nowhere.csv");
  refuses(&poei_kde_ops, POE_E_FILE, 0, "nowhere.csv");
}

/* The same points by a file. */
static void kernels_from_a_file(void **state) {
  (void)state;
  static const double points[6] = {0.5, 1.0, -1.0, 2.25, 0.0, -0.5};
  static const char text[] = "a,b\n0.5,1\n-1,2.25\n0,-0.5\n";
  poe_expert *by_file = NULL, *by_data = NULL;
  memset(&error, 0, sizeof error);
  poet_args_start(&a, "kde");
  poet_args_real_variable(&a, "x", 2);
  poet_args_text(&a, "file", POE_ARG_FILE, poet_temp_file("points.csv", text, sizeof text - 1));
  check_ok(poe_expert_create(&poei_kde_ops, &a.args, &by_file, &error), error);
  poet_args_start(&a, "kde");
  poet_args_real_variable(&a, "x", 2);
  poet_args_matrix(&a, "data", 3, 2, points);
  check_ok(poe_expert_create(&poei_kde_ops, &a.args, &by_data, &error), error);
  double x[20], values[2][10];
  poet_points_normal(10, 2, x);
  assert_int_equal(poet_eval(by_file, 10, 2, x, values[0], NULL), POE_OK);
  assert_int_equal(poet_eval(by_data, 10, 2, x, values[1], NULL), POE_OK);
  check_same_bits(values[0], values[1], 10);
  poe_expert_release(by_file);
  poe_expert_release(by_data);
}

/* Of many points no closed form is offered, of few it is. */
static void many_kernels(void **state) {
  (void)state;
  enum { POINTS = 4097 };
  double *points = poet_doubles(POINTS);
  for (size_t i = 0; i < POINTS; i++) {
    points[i] = poet_spread(i, 0, -1.0, 1.0);
  }
  for (size_t less = 0; less < 2; less++) {
    poe_expert *expert = NULL;
    memset(&error, 0, sizeof error);
    poet_args_start(&a, "kde");
    poet_args_real_variable(&a, "x", 1);
    poet_args_vector(&a, "data", POINTS - less, points);
    check_ok(poe_expert_create(&poei_kde_ops, &a.args, &expert, &error), error);
    assert_int_equal((poe_expert_traits(expert)->capabilities & POE_CAN_FORM) != 0, less == 1);
    poe_expert_release(expert);
  }
  free(points);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(kernel_densities_are_named),
      cmocka_unit_test(kernels_from_a_file),
      cmocka_unit_test(many_kernels),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
