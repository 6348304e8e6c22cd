/* L-BFGS from many starts: known minima, difficult valleys, walls, functions without a minimum, independence of starts.
 */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/lbfgs.h"
#include "tests/support/check.h"

enum { N = 16, MAX_D = 60 };

typedef struct counted {
  size_t calls, points, most; /* most: points in one call */
} counted;

static void count(counted *c, size_t n) {
  if (c != NULL) {
    c->calls++;
    c->points += n;
    c->most = n > c->most ? n : c->most;
  }
}

/* sum 100 (x_{j+1} - x_j^2)^2 + (1 - x_j)^2: minimum 0 at 1, with a second local one near (-1, 1, 1, ...). */
static poe_status rosenbrock(void *context, size_t n, size_t d, const double *x, double *value, double *gradient,
                             poe_error *error) {
  (void)error;
  count(context, n);
  memset(gradient, 0, n * d * sizeof *gradient);
  for (size_t i = 0; i < n; i++) {
    const double *p = x + i * d;
    double *g = gradient + i * d;
    value[i] = 0.0;
    for (size_t j = 0; j + 1 < d; j++) {
      double a = p[j + 1] - p[j] * p[j], b = 1.0 - p[j];
      value[i] += 100.0 * a * a + b * b;
      g[j] += -400.0 * a * p[j] - 2.0 * b;
      g[j + 1] += 200.0 * a;
    }
  }
  return POE_OK;
}

/* sum 10^(6 j / (d - 1)) (x_j - j)^2 / 2 */
static poe_status ill_conditioned(void *context, size_t n, size_t d, const double *x, double *value, double *gradient,
                                  poe_error *error) {
  (void)error;
  count(context, n);
  for (size_t i = 0; i < n; i++) {
    value[i] = 0.0;
    for (size_t j = 0; j < d; j++) {
      double k = pow(10.0, 6.0 * (double)j / (double)(d - 1)), r = x[i * d + j] - (double)j;
      value[i] += 0.5 * k * r * r;
      gradient[i * d + j] = k * r;
    }
  }
  return POE_OK;
}

/* x - log x, +inf left of 0: minimum at 1. */
static poe_status walled(void *context, size_t n, size_t d, const double *x, double *value, double *gradient,
                         poe_error *error) {
  (void)error;
  count(context, n);
  for (size_t i = 0; i < n; i++) {
    value[i] = 0.0;
    for (size_t j = 0; j < d; j++) {
      double v = x[i * d + j];
      value[i] += v > 0.0 ? v - log(v) : INFINITY;
      gradient[i * d + j] = v > 0.0 ? 1.0 - 1.0 / v : NAN;
    }
  }
  return POE_OK;
}

static poe_status bottomless(void *context, size_t n, size_t d, const double *x, double *value, double *gradient,
                             poe_error *error) {
  (void)error;
  count(context, n);
  for (size_t i = 0; i < n; i++) {
    value[i] = -exp(x[i * d]);
    for (size_t j = 0; j < d; j++) {
      gradient[i * d + j] = j == 0 ? value[i] : 0.0;
    }
  }
  return POE_OK;
}

static poe_status broken(void *context, size_t n, size_t d, const double *x, double *value, double *gradient,
                         poe_error *error) {
  counted *c = context;
  poe_status status = rosenbrock(c, n, d, x, value, gradient, error);
  return c->calls >= 3 ? poe_error_set(error, POE_E_INTERRUPTED, "enough") : status;
}

/* Starts spread over [-2, 2]: a lattice that has no symmetry of its own. */
static void spread(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n * d; i++) {
    x[i] = 4.0 * fmod(0.6180339887498949 * (double)(i + 1), 1.0) - 2.0;
  }
}

typedef struct outcome {
  double x[N * MAX_D], value[N];
  poei_lbfgs_end end[N];
  size_t evaluations;
} outcome;

static void minimise(poei_objective f, void *context, size_t n, size_t d, outcome *o) {
  poei_lbfgs_options options;
  poe_error error = {0};
  poei_lbfgs_defaults(&options);
  check_ok(poei_lbfgs(f, context, n, d, o->x, &options, o->value, o->end, &o->evaluations, &error), error);
}

static void valleys_are_followed(void **state) {
  (void)state;
  static const size_t dims[] = {2, 10, 50};
  for (size_t k = 0; k < 3; k++) {
    size_t d = dims[k], found = 0;
    static outcome o;
    counted c = {0};
    spread(N, d, o.x);
    minimise(rosenbrock, &c, N, d, &o);
    for (size_t i = 0; i < N; i++) {
      double value, gradient[MAX_D];
      assert_int_equal(o.end[i], POEI_LBFGS_CONVERGED);
      rosenbrock(NULL, 1, d, o.x + i * d, &value, gradient, NULL); /* stationary, by the function itself */
      check_close(value, o.value[i], 0.0, 0.0);
      for (size_t j = 0; j < d; j++) {
        check_close(gradient[j], 0.0, 1e-5, 0.0);
      }
      bool global = fabs(o.x[i * d] - 1.0) < 1e-4;
      found += global;
      assert_true(global || o.value[i] > 1.0);
    }
    assert_true(found >= N / 4);
    assert_int_equal(c.points, o.evaluations);
    assert_int_equal(c.most, N); /* lockstep: all at a time */
    assert_true(c.points < N * 40 * d + N * 200);
  }
}

static void bad_scales_converge(void **state) {
  (void)state;
  static outcome o;
  spread(N, 20, o.x);
  minimise(ill_conditioned, NULL, N, 20, &o);
  for (size_t i = 0; i < N * 20; i++) {
    check_close(o.x[i], (double)(i % 20), 1e-4, 0.0);
  }
}

static void walls_are_not_crossed(void **state) {
  (void)state;
  static outcome o;
  for (size_t i = 0; i < N * 3; i++) {
    o.x[i] = pow(10.0, (double)(i % 7) - 3.0);
  }
  o.x[3] = -1.0; /* the second start lies outside */
  minimise(walled, NULL, N, 3, &o);
  for (size_t i = 0; i < N; i++) {
    assert_int_equal(o.end[i], i == 1 ? POEI_LBFGS_BAD_START : POEI_LBFGS_CONVERGED);
    for (size_t j = 0; i != 1 && j < 3; j++) {
      check_close(o.x[3 * i + j], 1.0, 1e-6, 0.0);
    }
  }
}

static void no_minimum_is_said(void **state) {
  (void)state;
  static outcome o;
  spread(N, 2, o.x);
  minimise(bottomless, NULL, N, 2, &o);
  for (size_t i = 0; i < N; i++) {
    assert_int_equal(o.end[i], POEI_LBFGS_UNBOUNDED);
  }
}

/* A start's result is the same bits alone and among others. */
static void starts_do_not_touch(void **state) {
  (void)state;
  static outcome all, one;
  spread(N, 10, all.x);
  minimise(rosenbrock, NULL, N, 10, &all);
  for (size_t i = 0; i < N; i++) {
    static double x[N * 10];
    spread(N, 10, x);
    memcpy(one.x, x + 10 * i, 10 * sizeof *x);
    minimise(rosenbrock, NULL, 1, 10, &one);
    check_same_bits(one.x, all.x + 10 * i, 10);
    check_same_bits(one.value, all.value + i, 1);
  }
}

static void limits_and_failures_end_it(void **state) {
  (void)state;
  static outcome o;
  counted c = {0};
  poei_lbfgs_options options;
  poe_error error = {0};
  poei_lbfgs_defaults(&options);
  options.iterations = 3;
  spread(N, 10, o.x);
  check_ok(poei_lbfgs(rosenbrock, &c, N, 10, o.x, &options, o.value, o.end, NULL, &error), error);
  assert_int_equal(o.end[0], POEI_LBFGS_LIMIT);
  c = (counted){0};
  check_fails(poei_lbfgs(broken, &c, N, 10, o.x, &options, o.value, o.end, NULL, &error), POE_E_INTERRUPTED, error,
              "enough");
  for (uint64_t n = 1; n <= 7; n++) {
    poei_alloc_fail_at(n);
    poe_status status = poei_lbfgs(rosenbrock, NULL, N, 10, o.x, &options, o.value, o.end, NULL, &error);
    poei_alloc_fail_at(0);
    assert_int_equal(status, POE_E_MEMORY);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(valleys_are_followed),  cmocka_unit_test(bad_scales_converge),
      cmocka_unit_test(walls_are_not_crossed), cmocka_unit_test(no_minimum_is_said),
      cmocka_unit_test(starts_do_not_touch),   cmocka_unit_test(limits_and_failures_end_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
