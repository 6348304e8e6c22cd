/* The rule of powers on simplices: products, mixtures and families against closed forms and quadrature. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/rules.h"
#include "compose/exact/simplices.h"
#include "compose/nodes/sticks.h"
#include "core/numerics.h"
#include "experts/dirichlet.h"
#include "experts/list.h"
#include "tests/compose/build.h"
#include "tests/compose/simplices.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static const char *number_name(const void *context, size_t dimension, char *text, size_t size) {
  (void)context;
  snprintf(text, size, "w[%zu]", dimension);
  return text;
}

/* The rewritten tree, of the same value at points of the simplex; owned by the caller. */
static poe_expert *rewritten(const poe_expert *expert, size_t n, size_t k, size_t *firings) {
  assert_true(n <= 4 && k <= 4);
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
    double x[16], u[4];
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
    const poe_expert *on = tree_simplex(&t, gamma, simplex_triangle);
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
    check_close(simplex_planned_integral(on), simplex_integral(on, 2), 1e-7, 0.0);
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
  const poe_expert *on = tree_simplex(&t, tree_at(&t, beta, 2, 0), simplex_triangle);
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
    four[j] = simplex_triangle[j % 2];
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
  check_close(plan->log_z, simplex_integral(alone, 1), 1e-7, 0.0);
  poei_plan_destroy(plan);
  tree_free(&t);
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_products), cmocka_unit_test(test_mixtures), cmocka_unit_test(test_improper_mixture),
      cmocka_unit_test(test_families), cmocka_unit_test(test_improper), cmocka_unit_test(test_taken_apart),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
