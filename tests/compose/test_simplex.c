/* Simplices: Dirichlet densities against numbers of another implementation, stick-breaking against finite differences,
 * integrals against quadrature over the triangle, the rule against closed forms, draws against their marginals. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/numeric.h"
#include "compose/exact/rules.h"
#include "compose/exact/simplices.h"
#include "compose/nodes/sticks.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "core/quadrature.h"
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

/* A density over three numbers on the square: x = a, y = (1 - a) b, dx dy = (1 - a) da db. */
static poe_status on_square(void *context, size_t n, size_t d, const double *x, double *value, poe_error *error) {
  (void)error;
  for (size_t i = 0; i < n; i++) {
    double a = x[i * d], b = d == 2 ? x[i * d + 1] : 1.0;
    double point[3] = {a, d == 2 ? (1.0 - a) * b : 1.0 - a, (1.0 - a) * (1.0 - b)};
    value[i] = tree_value(context, point) + (d == 2 ? log1p(-a) : 0.0);
  }
  return POE_OK;
}

static double log_integral(const poe_expert *expert, size_t free_dim) {
  static const double low[2] = {0.0, 0.0}, high[2] = {1.0, 1.0};
  poei_quadrature_result result = {0};
  poe_error error = {0};
  poe_expert *held = poe_expert_retain(expert);
  check_ok(poei_quadrature(on_square, held, free_dim, low, high, NULL, 1e-8, &result, &error), error);
  poe_expert_release(held);
  return result.log_integral;
}

/* log Z over the free coordinates, as the planner takes it. */
static double planned_integral(const poe_expert *expert) {
  poei_spots spots = {0};
  poe_expert *over = NULL;
  poe_error error = {0};
  double log_z = NAN, bound = NAN;
  bool converged = false;
  check_ok(poei_unstuck_create(expert, &over, &error), error);
  assert_int_equal(poe_expert_traits(over)->dim, poei_unstuck_dim(expert));
  check_ok(poei_spots_find(over, &spots, &error), error);
  check_ok(poei_integrate(over, &spots, 1e-9, &log_z, &bound, &converged, &error), error);
  assert_true(converged);
  poei_spots_free(&spots);
  poe_expert_release(over);
  return log_z;
}

static const poe_support triangle[3] = {{.kind = POE_SIMPLEX, .low = 0.0, .high = 1.0},
                                        {.kind = POE_SIMPLEX_NEXT, .low = 0.0, .high = 1.0},
                                        {.kind = POE_SIMPLEX_NEXT, .low = 0.0, .high = 1.0}};

static void test_integrals(void **state) {
  (void)state;
  static const double alpha[][3] = {{2.0, 3.0, 4.0}, {1.0, 1.0, 1.0}, {0.4, 2.0, 0.7}, {60.0, 1.5, 9.0}};
  for (size_t i = 0; i < 4; i++) {
    tree t = {0};
    const poe_expert *three = tree_dirichlet(&t, 1, 3, alpha[i]), *two = tree_dirichlet(&t, 1, 2, alpha[i]);
    tree_check(&t);
    check_close(planned_integral(three), 0.0, 1e-7, 0.0);
    check_close(planned_integral(two), 0.0, 1e-8, 0.0);
    if (i != 2) { /* powers below 0 at an end are beyond the plain square */
      check_close(log_integral(three, 2), 0.0, 1e-7, 0.0);
      check_close(log_integral(two, 1), 0.0, 1e-7, 0.0);
    }
    tree_free(&t);
  }
  tree t = {0};
  const poe_expert *parts[2] = {tree_dirichlet(&t, 1, 3, alpha[0]),
                                tree_simplex(&t, tree_at(&t, tree_normal(&t, 0.2, 0.05), 3, 1), triangle)};
  const poe_expert *both = tree_product(&t, 3, 2, parts, (double[]){1.0, 1.0});
  const poe_expert *flat = tree_simplex(&t, tree_uniform(&t, 3, 0.0, 1.0), triangle);
  tree_check(&t);
  check_close(planned_integral(both), log_integral(both, 2), 1e-7, 0.0);
  check_close(planned_integral(flat), -log(2.0), 1e-8, 0.0); /* -log (k - 1)! */
  check_close(log_integral(flat, 2), -log(2.0), 1e-8, 0.0);
  tree_free(&t);
}

/* ---- the rule ---- */

static const char *number_name(const void *context, size_t dimension, char *text, size_t size) {
  (void)context;
  snprintf(text, size, "w[%zu]", dimension);
  return text;
}

/* The rewritten tree, of the same value at points of the simplex; owned by the caller. */
static poe_expert *rewritten(const poe_expert *expert, size_t n, size_t k, size_t *firings) {
  poei_plan_options options;
  poei_plan_options_default(&options);
  poei_fired fired = {0};
  poe_expert *out = NULL;
  poe_error error = {0};
  check_ok(poei_rewrite(expert, &options, NULL, &fired, &out, &error), error);
  *firings = 0;
  for (size_t i = 0; i < fired.n; i++) {
    *firings += strcmp(fired.item[i].rule, "dirichlet") == 0;
  }
  poei_fired_free(&fired);
  for (size_t row = 0; row < 10; row++) {
    double x[4 * MOST], u[MOST];
    for (size_t s = 0; s < n; s++) {
      for (size_t i = 0; i < k; i++) {
        u[i] = poet_spread(row, s * k + i, -2.0, 2.0);
      }
      poei_sticks_break(k, u, x + s * k);
    }
    check_close(tree_value(out, x), tree_value(expert, x), 1e-11, 1e-11);
  }
  return out;
}

static double log_beta(size_t k, const double *alpha) {
  double total = 0.0, sum = 0.0;
  for (size_t i = 0; i < k; i++) {
    total += alpha[i];
    sum += lgamma(alpha[i]);
  }
  return sum - lgamma(total);
}

/* prod_f D(alpha_f)^t_f over two simplices: log Z is closed. */
static void test_products(void **state) {
  (void)state;
  enum { N = 2, K = 4, FACTORS = 3 };
  static const double exponents[FACTORS] = {1.0, 0.5, -0.7};
  for (uint64_t seed = 1; seed <= 20; seed++) {
    poe_stream stream = poe_stream_open(poe_rng_seed(seed));
    double alpha[FACTORS][N * K], sum[N * K], expected = 0.0;
    tree t = {0};
    const poe_expert *factors[FACTORS];
    for (size_t f = 0; f < FACTORS; f++) {
      for (size_t j = 0; j < N * K; j++) {
        alpha[f][j] = 0.2 + (f == 2 ? 1.0 : 5.0) * poe_stream_uniform(&stream);
        sum[j] = (f == 0 ? 1.0 : sum[j]) + exponents[f] * (alpha[f][j] - 1.0);
      }
      factors[f] = tree_dirichlet(&t, N, K, alpha[f]);
    }
    bool proper = true;
    for (size_t s = 0; s < N; s++) {
      for (size_t f = 0; f < FACTORS; f++) {
        expected -= exponents[f] * log_beta(K, &alpha[f][s * K]);
      }
      expected += log_beta(K, &sum[s * K]);
    }
    for (size_t j = 0; j < N * K; j++) {
      proper = proper && sum[j] > 0.0;
    }
    const poe_expert *product = tree_product(&t, N * K, FACTORS, factors, exponents);
    tree_check(&t);
    size_t firings;
    poe_expert *out = rewritten(product, N, K, &firings);
    double log_z = NAN;
    poe_error error = {0};
    assert_true(poei_expert_can(out, POE_CAN_LOG_Z | POE_CAN_SAMPLE) == proper);
    if (proper) {
      assert_true(firings > 0 && firings < 4);
      check_ok(poe_expert_log_z(out, &log_z, &error), error);
      check_close(log_z, expected, 1e-10, 1e-12);
    }
    poe_expert_release(out);
    tree_free(&t);
  }
}

/* (w0 a + w1 b) (v0 b + v1 c + v2 d) e^0.5: six components, each closed; the sum of their masses is log Z. */
static void test_mixtures(void **state) {
  (void)state;
  enum { K = 4 };
  static const double w[2] = {0.3, 0.7}, v[3] = {0.2, 0.5, 0.3};
  for (uint64_t seed = 1; seed <= 10; seed++) {
    poe_stream stream = poe_stream_open(poe_rng_seed(seed));
    double alpha[5][K];
    tree t = {0};
    const poe_expert *leaf[5];
    for (size_t f = 0; f < 5; f++) {
      for (size_t j = 0; j < K; j++) {
        alpha[f][j] = 1.0 + 4.0 * poe_stream_uniform(&stream);
      }
      leaf[f] = tree_dirichlet(&t, 1, K, alpha[f]);
    }
    const poe_expert *factors[3] = {tree_mixture(&t, 2, leaf, w), tree_mixture(&t, 3, &leaf[1], v), leaf[4]};
    const poe_expert *product = tree_product(&t, K, 3, factors, (double[]){1.0, 1.0, 0.5});
    tree_check(&t);
    size_t firings;
    poe_expert *out = rewritten(product, 1, K, &firings);
    assert_int_equal(firings, 2); /* the power, then the mixtures */
    double expected = 0.0, log_z = NAN;
    for (size_t i = 0; i < 6; i++) {
      const double *a = alpha[i % 2], *b = alpha[1 + i / 2], *e = alpha[4];
      double sum[K];
      for (size_t j = 0; j < K; j++) {
        sum[j] = a[j] + b[j] - 1.0 + 0.5 * (e[j] - 1.0);
      }
      expected += w[i % 2] * v[i / 2] * exp(log_beta(K, sum) - log_beta(K, a) - log_beta(K, b) - 0.5 * log_beta(K, e));
    }
    poe_error error = {0};
    assert_true(poei_expert_can(out, POE_CAN_SAMPLE));
    check_ok(poe_expert_log_z(out, &log_z, &error), error);
    check_close(log_z, log(expected), 1e-11, 1e-12);
    poe_expert_release(out);
    poei_plan_options few = {.mixture_limit = 5};
    poei_plan *plan = NULL;
    check_ok(poei_plan_build(product, &few, &plan, &error), error);
    assert_int_equal(plan->method, POEI_METHOD_SMC); /* too many */
    poei_plan_destroy(plan);
    tree_free(&t);
  }
}

/* One component that a divisor makes improper: the whole is refused, whatever its weight. */
static void test_improper_mixture(void **state) {
  (void)state;
  static const double up[3] = {5.0, 5.0, 5.0}, low[3] = {1.2, 5.0, 5.0}, down[3] = {2.5, 2.0, 2.0};
  static const double w[2] = {0.99, 0.01};
  tree t = {0};
  const poe_expert *leaf[2] = {tree_dirichlet(&t, 1, 3, up), tree_dirichlet(&t, 1, 3, low)};
  const poe_expert *divisor = tree_dirichlet(&t, 1, 3, down);
  const poe_expert *over[2] = {tree_over(&t, leaf[0], divisor), tree_over(&t, leaf[1], divisor)};
  const poe_expert *mixture = tree_mixture(&t, 2, over, w);
  tree_check(&t);
  poei_plan_options options = {.names = {number_name, NULL}};
  poei_plan *plan = NULL;
  poe_error error = {0};
  check_fails(poei_plan_build(mixture, &options, &plan, &error), POE_E_IMPROPER, error,
              "towards w[0] = 0 it grows like w[0]^-1.3");
  tree_free(&t);
}

/* Which families of real coordinates are powers on a simplex. */
static void test_families(void **state) {
  (void)state;
  static const double rates[2][3] = {{5.0, 5.0, 5.0}, {5.0, 5.0, 6.0}}, shapes[3] = {2.0, 3.0, 4.0}, a = 2.0, b = 3.0;
  for (size_t i = 0; i < 2; i++) {
    poet_args args;
    poe_expert *gamma = NULL;
    poe_error error = {0};
    poet_args_start(&args, "gamma");
    poet_args_real_variable(&args, "x", 3);
    poet_args_vector(&args, "shape", 3, shapes);
    poet_args_vector(&args, "rate", 3, rates[i]);
    check_ok(poe_expert_create(&poei_gamma_ops, &args.args, &gamma, &error), error);
    tree t = {0};
    const poe_expert *on = tree_simplex(&t, gamma, triangle);
    tree_check(&t);
    size_t firings;
    double log_z = NAN;
    poe_expert *out = rewritten(on, 1, 3, &firings);
    assert_int_equal(firings, i == 0);
    assert_int_equal(poei_expert_can(out, POE_CAN_LOG_Z), i == 0);
    if (i == 0) { /* prod_i 5^shape x^(shape - 1) e^-5x / Gamma(shape), sum x = 1 */
      check_ok(poe_expert_log_z(out, &log_z, &error), error);
      check_close(log_z, 9.0 * log(5.0) - 5.0 - lgamma(9.0), 1e-12, 1e-12);
    }
    check_close(planned_integral(on), log_integral(on, 2), 1e-7, 0.0);
    poe_expert_release(out);
    poe_expert_release(gamma);
    tree_free(&t);
  }
  /* one number of two: beta(2, 3) is dirichlet(2, 3) */
  poet_args args;
  poe_expert *beta = NULL;
  poe_error error = {0};
  poet_args_start(&args, "beta");
  poet_args_interval_variable(&args, "x", 1, 0.0, 1.0);
  poet_args_scalar(&args, "a", &a);
  poet_args_scalar(&args, "b", &b);
  check_ok(poe_expert_create(&poei_beta_ops, &args.args, &beta, &error), error);
  tree t = {0};
  size_t firings;
  double log_z = NAN;
  const poe_expert *on = tree_simplex(&t, tree_at(&t, beta, 2, 0), triangle);
  tree_check(&t);
  poe_expert *out = rewritten(on, 1, 2, &firings);
  assert_int_equal(firings, 1);
  check_ok(poe_expert_log_z(out, &log_z, &error), error);
  check_close(log_z, 0.0, 1e-13, 0.0);
  poe_expert_release(out);
  poe_expert_release(beta);
  tree_free(&t);
}

/* Powers of -1 and below are refused, and the number is named. */
static void test_improper(void **state) {
  (void)state;
  static const double up[3] = {2.0, 3.0, 4.0}, down[3] = {1.0, 1.5, 5.0}, less[3] = {1.0, 1.5, 4.9};
  poei_plan_options options;
  poei_plan_options_default(&options);
  options.names = (poei_names){number_name, NULL};
  for (size_t rewrite = 0; rewrite < 2; rewrite++) {
    options.no_rewrite = rewrite == 0;
    tree t = {0};
    const poe_expert *numerator = tree_dirichlet(&t, 1, 3, up);
    const poe_expert *bad = tree_over(&t, numerator, tree_dirichlet(&t, 1, 3, down));
    const poe_expert *good = tree_over(&t, numerator, tree_dirichlet(&t, 1, 3, less));
    tree_check(&t);
    poei_plan *plan = NULL;
    poe_error error = {0};
    check_fails(poei_plan_build(bad, &options, &plan, &error), POE_E_IMPROPER, error,
                "towards w[2] = 0 it grows like w[2]^-1");
    check_ok(poei_plan_build(good, &options, &plan, &error), error);
    double expected = log_beta(3, (double[]){2.0, 2.5, 0.1}) - log_beta(3, up) + log_beta(3, less);
    assert_true(plan->has_log_z);
    check_close(plan->log_z, expected, rewrite == 1 ? 1e-12 : 1e-6, 1e-12);
    assert_int_equal(plan->exact, rewrite == 1);
    poei_plan_destroy(plan);
    tree_free(&t);
  }
}

/* A factor that reads one simplex of several leaves the others to themselves. */
static void test_taken_apart(void **state) {
  (void)state;
  static const double alpha[8] = {2.0, 3.0, 4.0, 5.0, 0.5, 0.5, 7.0, 1.0};
  tree t = {0};
  poe_support four[8];
  for (size_t j = 0; j < 8; j++) {
    four[j] = triangle[j % 2];
  }
  const poe_expert *one = tree_simplex(&t, tree_at(&t, tree_student(&t, 3.0, 0.3, 0.1), 2, 0), four);
  const poe_expert *parts[2] = {tree_dirichlet(&t, 4, 2, alpha), tree_slice(&t, one, 8, (size_t[]){2, 3})};
  const poe_expert *product = tree_product(&t, 8, 2, parts, (double[]){1.0, 1.0});
  const poe_expert *alone = tree_times(&t, tree_dirichlet(&t, 1, 2, &alpha[2]), one);
  tree_check(&t);
  poei_plan *plan = NULL;
  poe_error error = {0};
  check_ok(poei_plan_build(product, NULL, &plan, &error), error);
  assert_int_equal(plan->method, POEI_METHOD_BLOCKS);
  assert_true(plan->has_log_z);
  check_close(plan->log_z, log_integral(alone, 1), 1e-7, 0.0);
  poei_plan_destroy(plan);
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
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values),      cmocka_unit_test(test_outside),
      cmocka_unit_test(test_sticks),      cmocka_unit_test(test_transform),
      cmocka_unit_test(test_integrals),   cmocka_unit_test(test_products),
      cmocka_unit_test(test_mixtures),    cmocka_unit_test(test_improper_mixture),
      cmocka_unit_test(test_families),    cmocka_unit_test(test_improper),
      cmocka_unit_test(test_taken_apart), cmocka_unit_test(test_base),
      cmocka_unit_test(test_given),       cmocka_unit_test(test_draws),
      cmocka_unit_test(test_tiny),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
