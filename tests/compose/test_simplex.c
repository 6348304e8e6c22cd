/* Simplices: Dirichlet densities against numbers of another implementation, stick-breaking against finite differences,
 * integrals against quadrature over the triangle, draws against their marginals. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/rules.h"
#include "compose/exact/simplices.h"
#include "compose/nodes/sticks.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/dirichlet.h"
#include "experts/list.h"
#include "tests/compose/build.h"
#include "tests/compose/simplices.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

/* ---- values ---- */

/* Written down from mpmath 1.3 with 40 digits; SciPy 1.10's dirichlet.logpdf gives the same to 1e-10. */
static void test_values(void **state) {
  (void)state;
  static const struct {
    size_t k;
    double alpha[4], x[4], value;
  } cases[] = {
      {3, {2, 3, 4}, {0.2, 0.3, 0.5}, 2.0228711901914416116},
      {4, {0.5, 0.7, 0.9, 1.3}, {0.1, 0.2, 0.3, 0.4}, 1.7805284212170924758},
      {2, {0.01, 0.02}, {1e-9, 1 - 1e-9}, 15.505719828858961178},
      {3, {1e4, 2e4, 3e4}, {0.166, 0.334, 0.5}, 10.837817651943529245},
      {4, {1, 1, 1, 1}, {0.1, 0.2, 0.3, 0.4}, 1.7917594692280550008},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tree t = {0};
    const poe_expert *expert = tree_dirichlet(&t, 1, cases[i].k, cases[i].alpha);
    tree_check(&t);
    check_close(tree_value(expert, cases[i].x), cases[i].value, 1e-13, 2e-12);
    tree_free(&t);
  }
}

/* Off the simplex, beyond rounding, and at its faces. */
static void test_outside(void **state) {
  (void)state;
  static const double alpha[3] = {2.0, 1.0, 0.5};
  tree t = {0};
  const poe_expert *expert = tree_dirichlet(&t, 1, 3, alpha);
  tree_check(&t);
  assert_true(isfinite(tree_value(expert, (double[]){0.2, 0.3, 0.5 + 9e-9})));
  assert_true(isfinite(tree_value(expert, (double[]){0.2, 0.0, 0.8})));
  assert_true(tree_value(expert, (double[]){0.2, 0.3, 0.5 + 2e-8}) == -INFINITY);
  assert_true(tree_value(expert, (double[]){0.2, 0.3, 0.4}) == -INFINITY);
  assert_true(tree_value(expert, (double[]){0.6, -0.1, 0.5}) == -INFINITY);
  assert_true(tree_value(expert, (double[]){0.0, 0.5, 0.5}) == -INFINITY);
  assert_true(tree_value(expert, (double[]){0.5, 0.5, 0.0}) == -INFINITY);
  tree_free(&t);
}

/* ---- sticks ---- */

enum { MOST = 9 };

/* log |det| of the Jacobian of the first k - 1 sticks, by central differences and elimination with pivots. */
static double numeric_log_slope(size_t k, const double *u) {
  double a[MOST][MOST], log_det = 0.0, up[MOST], x[2][MOST];
  size_t d = k - 1;
  for (size_t j = 0; j < d; j++) {
    const double h = 1e-5;
    for (size_t side = 0; side < 2; side++) {
      memcpy(up, u, k * sizeof *up);
      up[j] += side == 0 ? -h : h;
      poei_sticks_break(k, up, x[side]);
    }
    for (size_t i = 0; i < d; i++) {
      a[i][j] = (x[1][i] - x[0][i]) / (2.0 * h);
    }
  }
  for (size_t j = 0; j < d; j++) {
    size_t pivot = j;
    for (size_t i = j; i < d; i++) {
      pivot = fabs(a[i][j]) > fabs(a[pivot][j]) ? i : pivot;
    }
    for (size_t c = 0; c < d; c++) {
      double swap = a[j][c];
      a[j][c] = a[pivot][c];
      a[pivot][c] = swap;
    }
    log_det += log(fabs(a[j][j]));
    for (size_t i = j + 1; i < d; i++) {
      double factor = a[i][j] / a[j][j];
      for (size_t c = j; c < d; c++) {
        a[i][c] -= factor * a[j][c];
      }
    }
  }
  return log_det;
}

static void test_sticks(void **state) {
  (void)state;
  for (size_t k = 2; k <= MOST; k++) {
    for (size_t row = 0; row < 20; row++) {
      double u[MOST], x[MOST], back[MOST], in_place[MOST], sum = 0.0;
      for (size_t i = 0; i < k; i++) {
        u[i] = in_place[i] = poet_spread(row, i, -3.0, 3.0);
      }
      poei_sticks_break(k, u, x);
      poei_sticks_break(k, in_place, in_place);
      check_same_bits(x, in_place, k);
      for (size_t i = 0; i < k; i++) {
        assert_true(x[i] > 0.0);
        sum += x[i];
      }
      check_close(sum, 1.0, 1e-14, 0.0);
      assert_true(poei_simplex_holds(k, x));
      poei_sticks_join(k, x, back);
      for (size_t i = 0; i + 1 < k; i++) {
        check_close(back[i], u[i], 1e-12, 1e-12);
      }
      check_close(poei_sticks_log_slope(k, u), numeric_log_slope(k, u), 1e-7, 0.0);
    }
  }
  double middle[5] = {0.0}, x[5];
  poei_sticks_break(5, middle, x);
  for (size_t i = 0; i < 5; i++) {
    check_close(x[i], 0.2, 1e-15, 0.0);
  }
  /* however far out: finite, positive, on the simplex */
  double far[3] = {900.0, -900.0, 0.0}, end[3];
  poei_sticks_break(3, far, end);
  assert_true(poei_simplex_holds(3, end) && end[1] > 0.0 && end[2] > 0.0);
}

/* What a transform adds to the child's value at a point: off from the numeric Jacobian by how much? */
static double jacobian_gap(const poe_expert *smooth, const poe_expert *child, size_t k, const double *u) {
  double x[MOST];
  poei_transform_constrain(smooth, 1, u, k, x, k);
  double idle = -0.5 * u[k - 1] * u[k - 1] - 0.5 * log(2.0 * acos(-1.0));
  return fabs(tree_value(smooth, u) - tree_value(child, x) - idle - numeric_log_slope(k, u));
}

/* The transform carries its Jacobian; one without is told apart at every point. */
static void test_transform(void **state) {
  (void)state;
  static const double alpha[5] = {0.5, 1.5, 1.0, 2.0, 4.0};
  tree t = {0};
  const poe_expert *child = tree_dirichlet(&t, 1, 5, alpha), *smooth = tree_transform(&t, child);
  tree_check(&t);
  poe_expert *broken = NULL;
  poe_error error = {0};
  check_ok(poei_transform_create_over(child, poe_expert_traits(child)->support, false, &broken, &error), error);
  for (size_t row = 0; row < 30; row++) {
    double u[5], x[5], back[5];
    for (size_t i = 0; i < 5; i++) {
      u[i] = poet_spread(row, i, -3.0, 3.0);
    }
    assert_true(jacobian_gap(smooth, child, 5, u) < 1e-7);
    assert_true(jacobian_gap(broken, child, 5, u) > 1.0);
    poei_transform_constrain(smooth, 1, u, 5, x, 5);
    poei_transform_unconstrain(smooth, 1, x, 5, back, 5);
    for (size_t i = 0; i < 4; i++) {
      check_close(back[i], u[i], 1e-11, 1e-11);
    }
    assert_true(back[4] == 0.0);
  }
  poe_expert_release(broken);
  tree_free(&t);
}

/* ---- integrals ---- */

static void test_integrals(void **state) {
  (void)state;
  static const double alpha[][3] = {{2.0, 3.0, 4.0}, {1.0, 1.0, 1.0}, {0.4, 2.0, 0.7}, {60.0, 1.5, 9.0}};
  for (size_t i = 0; i < 4; i++) {
    tree t = {0};
    const poe_expert *three = tree_dirichlet(&t, 1, 3, alpha[i]), *two = tree_dirichlet(&t, 1, 2, alpha[i]);
    tree_check(&t);
    check_close(simplex_planned_integral(three), 0.0, 1e-7, 0.0);
    check_close(simplex_planned_integral(two), 0.0, 1e-8, 0.0);
    if (i != 2) { /* powers below 0 at an end are beyond the plain square */
      check_close(simplex_integral(three, 2), 0.0, 1e-7, 0.0);
      check_close(simplex_integral(two, 1), 0.0, 1e-7, 0.0);
    }
    tree_free(&t);
  }
  tree t = {0};
  const poe_expert *parts[2] = {tree_dirichlet(&t, 1, 3, alpha[0]),
                                tree_simplex(&t, tree_at(&t, tree_normal(&t, 0.2, 0.05), 3, 1), simplex_triangle)};
  const poe_expert *both = tree_product(&t, 3, 2, parts, (double[]){1.0, 1.0});
  const poe_expert *flat = tree_simplex(&t, tree_uniform(&t, 3, 0.0, 1.0), simplex_triangle);
  tree_check(&t);
  check_close(simplex_planned_integral(both), simplex_integral(both, 2), 1e-7, 0.0);
  check_close(simplex_planned_integral(flat), -log(2.0), 1e-8, 0.0); /* -log (k - 1)! */
  check_close(simplex_integral(flat, 2), -log(2.0), 1e-8, 0.0);
  tree_free(&t);
}

/* ---- where sampling starts ---- */

static const poe_support tetrahedron[4] = {{.kind = POE_SIMPLEX, .low = 0.0, .high = 1.0},
                                           {.kind = POE_SIMPLEX_NEXT, .low = 0.0, .high = 1.0},
                                           {.kind = POE_SIMPLEX_NEXT, .low = 0.0, .high = 1.0},
                                           {.kind = POE_SIMPLEX_NEXT, .low = 0.0, .high = 1.0}};

/* What has no factor to draw from starts from the uniform density; every allocation of the plan fails in turn. */
static void test_base(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *parts[2] = {tree_simplex(&t, tree_at(&t, tree_student(&t, 3.0, 0.3, 0.1), 4, 1), tetrahedron),
                                tree_simplex(&t, tree_at(&t, tree_student(&t, 5.0, 0.1, 0.2), 4, 2), tetrahedron)};
  const poe_expert *target = tree_product(&t, 4, 2, parts, (double[]){1.0, 1.5});
  tree_check(&t);
  poei_plan *plan = NULL;
  poe_error error = {0};
  check_ok(poei_plan_build(target, NULL, &plan, &error), error);
  assert_int_equal(plan->method, POEI_METHOD_SMC);
  assert_true(plan->base_log_z == 0.0);
  double u[4] = {0.3, -0.4, 1.1, 0.6}, x[4];
  poei_transform_constrain(plan->smooth, 1, u, 4, x, 4);
  check_close(tree_value(plan->base, u) + tree_value(plan->rest, u), tree_value(plan->smooth, u), 1e-12, 1e-12);
  check_close(tree_value(plan->rest, u), tree_value(target, x) - log(6.0), 1e-12, 1e-12);
  poei_plan_destroy(plan);
  for (size_t n = 1;; n++) {
    plan = NULL;
    poei_alloc_fail_at(n);
    poe_status status = poei_plan_build(target, NULL, &plan, &error);
    poei_alloc_fail_at(0);
    poei_plan_destroy(plan);
    if (status == POE_OK) {
      break;
    }
    assert_int_equal(status, POE_E_MEMORY);
    assert_true(n < 5000);
  }
  tree_free(&t);
}

/* ---- given ---- */

static void test_given(void **state) {
  (void)state;
  static const double alpha[5] = {2.0, 3.0, 4.0, 1.0, 5.0};
  tree t = {0};
  const poe_expert *parts[2] = {tree_slice(&t, tree_dirichlet(&t, 1, 3, alpha), 5, (size_t[]){0, 1, 2}),
                                tree_slice(&t, tree_dirichlet(&t, 1, 2, alpha + 3), 5, (size_t[]){3, 4})};
  const poe_expert *both = tree_product(&t, 5, 2, parts, (double[]){1.0, 1.0});
  const poe_expert *rest = tree_given(&t, both, 3, (size_t[]){0, 1, 2}, (double[]){0.2, 0.3, 0.5});
  tree_check(&t);
  check_close(tree_value(rest, (double[]){0.4, 0.6}), tree_value(both, (double[]){0.2, 0.3, 0.5, 0.4, 0.6}), 0.0, 0.0);
  poe_expert *made = NULL;
  poe_error error = {0};
  check_fails(poei_given_create(both, 1, (size_t[]){1}, (double[]){0.3}, &made, &error), POE_E_SHAPE, error,
              "1 of the 3 numbers of the simplex");
  check_fails(poei_given_create(both, 2, (size_t[]){3, 4}, (double[]){0.3, 0.6}, &made, &error), POE_E_EMPTY, error,
              "do not sum to 1");
  tree_free(&t);
}

/* ---- draws ---- */

enum { DRAWS = 20000, SEEDS = 8 };

/* P(X <= x) of Beta(a, b) for whole a and b: at least a successes of a + b - 1. */
static double beta_cdf(int a, int b, double x) {
  double sum = 0.0;
  int n = a + b - 1;
  for (int j = a; j <= n; j++) {
    sum += exp(lgamma(n + 1.0) - lgamma(j + 1.0) - lgamma(n - j + 1.0) + j * log(x) + (n - j) * log1p(-x));
  }
  return sum;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* p-value of Kolmogorov and Smirnov; sorts x[n]. a < 0: the arcsine law, Beta(1/2, 1/2). */
static double ks_tail(size_t n, double *x, int a, int b) {
  double worst = 0.0;
  qsort(x, n, sizeof *x, by_value);
  for (size_t i = 0; i < n; i++) {
    double p = a < 0 ? 2.0 / acos(-1.0) * asin(sqrt(x[i])) : beta_cdf(a, b, x[i]);
    worst = fmax(worst, fmax(p - (double)i / (double)n, (double)(i + 1) / (double)n - p));
  }
  return poei_kolmogorov_tail(worst * sqrt((double)n));
}

/* The smallest p-value over the coordinates of draws, taken to be from alpha[k]; columns of x[DRAWS, ld]. */
static double worst_marginal(size_t k, const int *alpha, const double *x, size_t ld) {
  double *column = poet_doubles(DRAWS), worst = 1.0;
  int total = 0;
  for (size_t i = 0; i < k; i++) {
    total += alpha[i];
  }
  for (size_t i = 0; i < k; i++) {
    for (size_t row = 0; row < DRAWS; row++) {
      column[row] = x[row * ld + i];
    }
    worst = fmin(worst, ks_tail(DRAWS, column, alpha[i], total - alpha[i]));
  }
  free(column);
  return worst;
}

/* Marginals by KS at p < 1e-6, 8 seeds and 7 columns: a false alarm in 2e4 runs. Covariances within 6 standard errors,
 * as many: 1e-7. Draws of another alpha are told apart by every seed. */
static void test_draws(void **state) {
  (void)state;
  static const double alpha[5] = {1.0, 2.0, 4.0, 0.5, 0.5};
  static const int whole[3] = {1, 2, 4}, wrong[3] = {1, 2, 5};
  tree t = {0};
  const poe_expert *three = tree_dirichlet(&t, 1, 3, alpha), *two = tree_dirichlet(&t, 1, 2, alpha + 3);
  tree_check(&t);
  double *x = poet_doubles(DRAWS * 3), *first = poet_doubles(DRAWS);
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    assert_int_equal(poet_draw(three, seed, DRAWS, 3, x), POE_OK);
    assert_true(worst_marginal(3, whole, x, 3) > 1e-6);
    assert_true(worst_marginal(3, wrong, x, 3) < 1e-6);
    for (size_t i = 0; i < 3; i++) { /* cov(x_i, x_j) = -a_i a_j / (A^2 (A + 1)) */
      size_t j = (i + 1) % 3;
      double m = alpha[i] / 7.0, o = alpha[j] / 7.0, sum = 0.0, square = 0.0;
      for (size_t row = 0; row < DRAWS; row++) {
        double product = (x[row * 3 + i] - m) * (x[row * 3 + j] - o);
        sum += product;
        square += product * product;
      }
      double mean = sum / DRAWS, se = sqrt((square / DRAWS - mean * mean) / DRAWS);
      check_close(mean, -m * o / 8.0, 6.0 * se, 0.0);
    }
    assert_int_equal(poet_draw(two, seed, DRAWS, 3, x), POE_OK);
    for (size_t row = 0; row < DRAWS; row++) {
      first[row] = x[row * 3];
    }
    assert_true(ks_tail(DRAWS, first, -1, 0) > 1e-6);
  }
  free(x);
  free(first);
  tree_free(&t);
}

/* Draws of powers so small that numbers are rounded to 0: on the simplex, with finite densities. */
static void test_tiny(void **state) {
  (void)state;
  static const double alpha[3] = {1e-3, 2e-3, 1e-3};
  tree t = {0};
  const poe_expert *expert = tree_dirichlet(&t, 1, 3, alpha);
  tree_check(&t);
  double x[3 * 500], logp[500];
  assert_int_equal(poet_draw(expert, 3, 500, 3, x), POE_OK);
  assert_int_equal(poet_eval(expert, 500, 3, x, logp, NULL), POE_OK);
  for (size_t i = 0; i < 500; i++) {
    assert_true(poei_simplex_holds(3, &x[3 * i]) && isfinite(logp[i]));
  }
  tree_free(&t);
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values),    cmocka_unit_test(test_outside),   cmocka_unit_test(test_sticks),
      cmocka_unit_test(test_transform), cmocka_unit_test(test_integrals), cmocka_unit_test(test_base),
      cmocka_unit_test(test_given),     cmocka_unit_test(test_draws),     cmocka_unit_test(test_tiny),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
