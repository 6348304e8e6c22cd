/* Mixed targets whose continuous coordinates are islands given the discrete ones: log Z, marginals and draws, against
 * closed forms and Simpson's rule for every island and adding up all joint values of the discrete coordinates. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/discrete.h"
#include "compose/exact/islands.h"
#include "compose/plan.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static const double ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

enum { STEPS = 5, VALUES = 3, JOINT = 243 };

enum { SEA = 11 };

static const double sea_pair[9] = {0.4, -0.9, 0.1, -0.3, 0.8, -INFINITY, 0.0, 0.5, 0.2};

/* s[0..4] a chain; y5 | s0 under a prior, y6 | s1 under a Student prior, y8 | y7 and s2 under priors, and two rings of
 * (y9, s3) and (y10, s4), which are one factor in two places. */
static const poe_expert *archipelago(tree *t) {
  double a = 1.4, b = -0.6, both[2] = {0.7, -1.1};
  const poe_expert *link = tree_table(t, 2, (size_t[]){3, 3}, sea_pair), *emit = tree_linear(t, 1, 1, &a, &b, 0.9);
  const poe_expert *part[9] = {
      tree_plate(t, link, 4, SEA, (size_t[]){0, 1, 1, 2, 2, 3, 3, 4}),
      tree_slice(t, emit, SEA, (size_t[]){5, 0}),
      tree_at(t, tree_normal(t, 0.0, 1.5), SEA, 5),
      tree_slice(t, emit, SEA, (size_t[]){6, 1}),
      tree_at(t, tree_student(t, 3.0, 0.5, 1.0), SEA, 6),
      tree_slice(t, tree_linear(t, 1, 2, both, &b, 0.8), SEA, (size_t[]){8, 7, 2}),
      tree_at(t, tree_normal(t, 0.3, 1.1), SEA, 7),
      tree_at(t, tree_normal(t, 1.0, 2.0), SEA, 8),
      tree_plate(t, tree_ring(t, 1.5, 0.7), 2, SEA, (size_t[]){9, 3, 10, 4}),
  };
  return tree_product(t, SEA, 9, part, ones);
}

static double normal_density(double x, double mean, double variance) {
  return exp(-0.5 * (x - mean) * (x - mean) / variance) / sqrt(2.0 * POEI_PI * variance);
}

/* What y6 and a ring have at x for a value s of what they read. */
static double sea_student(double x, double s) {
  double z = x - 0.5, student = 2.0 / (POEI_PI * sqrt(3.0) * pow(1.0 + z * z / 3.0, 2.0));
  return student * normal_density(x, 1.4 * s - 0.6, 0.81);
}

static double sea_ring(double x, double s) {
  double off = sqrt(x * x + s * s) - 1.5;
  return exp(-off * off / (2.0 * 0.49));
}

/* The integral of a function of x, by Simpson's rule over [-14, 14]. */
static double integral(double (*f)(double, double), double s) {
  double sum = 0.0, h = 28.0 / 20000.0;
  for (int i = 0; i <= 20000; i++) {
    sum += f(-14.0 + h * i, s) * (i == 0 || i == 20000 ? 1.0 : i % 2 == 1 ? 4.0 : 2.0) * h / 3.0;
  }
  return sum;
}

/* value[JOINT]: p(s) without the normalising constant; those of the islands by closed forms and Simpson's rule. */
static double sea_states(double *value) {
  double island[5][VALUES], total = 0.0;
  for (size_t v = 0; v < VALUES; v++) {
    double s = (double)v;
    island[0][v] = normal_density(1.4 * s - 0.6, 0.0, 0.81 + 2.25);
    island[1][v] = integral(sea_student, s);
    island[2][v] = normal_density(1.0, 0.7 * 0.3 - 1.1 * s - 0.6, 0.64 + 0.49 * 1.21 + 4.0);
    island[3][v] = island[4][v] = integral(sea_ring, s);
  }
  for (size_t k = 0; k < JOINT; k++) {
    size_t digit[STEPS], left = k;
    for (size_t j = STEPS; j-- > 0; left /= VALUES) {
      digit[j] = left % VALUES;
    }
    value[k] = 1.0;
    for (size_t j = 0; j < STEPS; j++) {
      value[k] *= island[j][digit[j]] * (j == 0 ? 1.0 : exp(sea_pair[3 * digit[j - 1] + digit[j]]));
    }
    total += value[k];
  }
  return total;
}

static poei_plan *sea_plan(const poe_expert *target) {
  poei_plan *plan = NULL;
  poe_error error = {0};
  check_ok(poei_plan_build(target, NULL, &plan, &error), error);
  assert_int_equal(plan->method, POEI_METHOD_QUADRATURE);
  assert_true(poei_islands_is(plan->sampler));
  return plan;
}

static void islands_are_integrated(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *target = archipelago(&t);
  double value[JOINT], total = sea_states(value);
  tree_check(&t);
  poei_plan *plan = sea_plan(target);
  poe_error error = {0};
  assert_false(plan->exact);
  assert_true(plan->log_z_error > 0.0 && plan->log_z_error < 1e-6);
  check_close(plan->log_z, log(total), 1e-9 + plan->log_z_error, 0.0);
  poei_marginals m = {0};
  check_ok(poei_plan_marginals(plan, NULL, &m, &error), error);
  assert_true(m.error > 0.0 && m.error < 1e-5);
  for (size_t k = 0; k < STEPS; k++) {
    double expected[VALUES] = {0};
    for (size_t s = 0; s < JOINT; s++) {
      expected[(s / (size_t)pow(VALUES, (double)(STEPS - 1 - k))) % VALUES] += value[s] / total;
    }
    for (size_t v = 0; v < VALUES; v++) {
      check_close(m.p[m.start[k] + v], expected[v], 1e-9 + m.error, 0.0);
    }
  }
  poei_marginals_free(&m);
  poei_plan_destroy(plan);
  tree_free(&t);
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Kolmogorov's p-value of u[n] as uniform numbers; sorts them. */
static double uniformity(double *u, size_t n) {
  double worst = 0.0;
  qsort(u, n, sizeof *u, ascending);
  for (size_t i = 0; i < n; i++) {
    worst = fmax(worst, fmax(u[i] - (double)i / (double)n, (double)(i + 1) / (double)n - u[i]));
  }
  return poei_kolmogorov_tail(sqrt((double)n) * worst);
}

enum { GRID = 14000 };

/* share[GRID + 1]: the share of a function below each point of a grid over [-14, 14], by the trapezoidal rule. */
static void share_open(double (*f)(double, double), double s, double *share) {
  double h = 28.0 / GRID;
  share[0] = 0.0;
  for (int i = 1; i <= GRID; i++) {
    share[i] = share[i - 1] + 0.5 * h * (f(-14.0 + h * (i - 1), s) + f(-14.0 + h * i, s));
  }
  for (int i = 0; i <= GRID; i++) {
    share[i] /= share[GRID];
  }
}

static double share_below(const double *share, double x) {
  double at = fmin(fmax((x + 14.0) / 28.0, 0.0), 1.0 - 1e-12) * GRID;
  size_t i = (size_t)at;
  return share[i] + (at - (double)i) * (share[i + 1] - share[i]);
}

/* All joint values of s by chi-square, and four of the continuous coordinates by Kolmogorov's test of their conditional
 * distribution functions given s, at 1e-5 each, for each of 2 seeds; at the distribution functions of other values
 * of s it must fail. */
static void islands_are_drawn(void **state) {
  (void)state;
  enum { DRAWS = 10000 };
  tree t = {0};
  const poe_expert *target = archipelago(&t);
  double value[JOINT], total = sea_states(value), *x = poet_doubles((size_t)DRAWS * SEA), *u = poet_doubles(DRAWS);
  static double shares[2][VALUES][GRID + 1];
  for (size_t v = 0; v < VALUES; v++) {
    share_open(sea_student, (double)v, shares[0][v]);
    share_open(sea_ring, (double)v, shares[1][v]);
  }
  tree_check(&t);
  poei_plan *plan = sea_plan(target);
  for (uint64_t seed = 0; seed < 2; seed++) {
    double count[JOINT] = {0}, chi = 0.0, rest = 0.0, rest_count = 0.0, cells = 0.0;
    assert_int_equal(poet_draw(plan->sampler, seed, DRAWS, SEA, x), POE_OK);
    for (size_t i = 0; i < DRAWS; i++) {
      size_t s = 0;
      for (size_t k = 0; k < STEPS; k++) {
        s = s * VALUES + (size_t)x[i * SEA + k];
      }
      count[s]++;
    }
    for (size_t s = 0; s < JOINT; s++) {
      double mean = DRAWS * value[s] / total;
      if (mean < 5.0) {
        rest += mean;
        rest_count += count[s];
      } else {
        chi += (count[s] - mean) * (count[s] - mean) / mean;
        cells++;
      }
    }
    chi += (rest_count - rest) * (rest_count - rest) / rest;
    assert_true(poei_chi_square_tail(chi, cells) > 1e-5);
    for (int wrong = 0; wrong < 2; wrong++) {
      for (size_t i = 0; i < DRAWS; i++) { /* y5 given s0 */
        double s = fmod(x[i * SEA] + wrong, 3.0), v = 1.0 / (1.0 / 0.81 + 1.0 / 2.25);
        u[i] = poei_normal_cdf((x[i * SEA + 5] - v * (1.4 * s - 0.6) / 0.81) / sqrt(v));
      }
      assert_int_equal(uniformity(u, DRAWS) > 1e-5, wrong == 0);
      for (size_t i = 0; i < DRAWS; i++) { /* y8 given s2 */
        double s = fmod(x[i * SEA + 2] + wrong, 3.0), own = 0.64 + 0.49 * 1.21, v = 1.0 / (1.0 / own + 0.25);
        u[i] = poei_normal_cdf((x[i * SEA + 8] - v * ((0.7 * 0.3 - 1.1 * s - 0.6) / own + 0.25)) / sqrt(v));
      }
      assert_int_equal(uniformity(u, DRAWS) > 1e-5, wrong == 0);
      for (size_t c = 0; c < 2; c++) { /* y6 given s1, y10 given s4 */
        for (size_t i = 0; i < DRAWS; i++) {
          size_t v = ((size_t)x[i * SEA + (c == 0 ? 1 : 4)] + (size_t)wrong) % VALUES;
          u[i] = share_below(shares[c][v], x[i * SEA + (c == 0 ? 6 : 10)]);
        }
        assert_int_equal(uniformity(u, DRAWS) > 1e-5, wrong == 0);
      }
    }
    for (size_t i = 0; i < DRAWS; i++) { /* the two rings share their samplers, but no random numbers */
      assert_true(x[i * SEA + 9] != x[i * SEA + 10]);
    }
  }
  poei_free(x);
  poei_free(u);
  poei_plan_destroy(plan);
  tree_free(&t);
}

/* One factor in two places, with its discrete coordinates in another order, and another factor over as many: each has
 * its own integrals. */
static void islands_that_look_alike(void **state) {
  (void)state;
  enum { ALL = 6 };
  static const double table[9] = {0.3, -0.2, 1.0, 0.5, 0.0, -0.7, 0.1, 0.9, -0.4};
  tree t = {0};
  double a[2] = {0.9, -0.4}, c[2] = {-0.5, 0.8}, b = 0.3, p[2][3] = {{0}}, total = 0.0;
  const poe_expert *link = tree_table(&t, 2, (size_t[]){3, 3}, table);
  const poe_expert *one = tree_restrict(&t, tree_linear(&t, 1, 2, a, &b, 0.8), 0.0, 2.0);
  const poe_expert *other = tree_restrict(&t, tree_linear(&t, 1, 2, c, &b, 0.8), 0.0, 2.0);
  const poe_expert *part[3] = {tree_plate(&t, link, 2, ALL, (size_t[]){0, 1, 1, 2}),
                               tree_plate(&t, one, 2, ALL, (size_t[]){3, 0, 1, 4, 1, 0}),
                               tree_slice(&t, other, ALL, (size_t[]){5, 0, 1})};
  const poe_expert *target = tree_product(&t, ALL, 3, part, ones);
  tree_check(&t);
  for (size_t k = 0; k < 27; k++) {
    size_t s = k / 9, r = k / 3 % 3;
    double x = (double)s, y = (double)r, value = exp(table[3 * s + r] + table[3 * r + k % 3]);
    double mean[3] = {a[0] * x + a[1] * y + b, a[0] * y + a[1] * x + b, c[0] * x + c[1] * y + b};
    for (size_t i = 0; i < 3; i++) {
      value *= poei_normal_cdf((2.0 - mean[i]) / 0.8) - poei_normal_cdf(-mean[i] / 0.8);
    }
    total += value;
    p[0][s] += value;
    p[1][r] += value;
  }
  poei_plan *plan = NULL;
  poei_marginals m = {0};
  poe_error error = {0};
  check_ok(poei_plan_build(target, NULL, &plan, &error), error);
  assert_true(poei_islands_is(plan->sampler));
  check_close(plan->log_z, log(total), 1e-9 + plan->log_z_error, 0.0);
  check_ok(poei_plan_marginals(plan, NULL, &m, &error), error);
  for (size_t i = 0; i < 6; i++) {
    check_close(m.p[i], p[i / 3][i % 3] / total, 1e-9 + m.error, 0.0);
  }
  poei_marginals_free(&m);
  poei_plan_destroy(plan);
  tree_free(&t);
}

/* ---- memory ---- */

static poe_status plan_and_forget(const poe_expert *target, poe_error *error) {
  poei_plan *plan = NULL;
  poei_marginals m = {0};
  poe_status status = poei_plan_build(target, NULL, &plan, error);
  if (status == POE_OK) {
    status = poei_plan_marginals(plan, NULL, &m, error);
  }
  poei_marginals_free(&m);
  poei_plan_destroy(plan);
  return status;
}

/* The plan of islands; every 7th allocation of some thousands, and the first 300. */
static void allocations_of_islands_may_fail(void **state) {
  (void)state;
  tree t = {0};
  poe_error error = {0};
  double a = 1.4, b = -0.6;
  const poe_expert *part[3] = {
      tree_plate(&t, tree_table(&t, 2, (size_t[]){3, 3}, sea_pair), 3, 6, (size_t[]){0, 1, 1, 2, 2, 3}),
      tree_plate(&t, tree_linear(&t, 1, 1, &a, &b, 0.9), 2, 6, (size_t[]){4, 0, 5, 3}),
      tree_at(&t, tree_normal(&t, 0.0, 1.5), 6, 4)};
  const poe_expert *target = tree_product(&t, 6, 3, part, ones);
  tree_check(&t);
  uint64_t before = poei_alloc_count();
  check_ok(plan_and_forget(target, &error), error);
  uint64_t all = poei_alloc_count() - before;
  for (uint64_t n = 1; n <= all; n += n < 300 ? 1 : 7) { /* what fails to find something out may go on without it */
    poei_alloc_fail_at(n);
    poe_status status = plan_and_forget(target, &error);
    poei_alloc_fail_at(0);
    if (status != POE_OK && status != POE_E_MEMORY && status != POE_E_CAPABILITY) {
      fail_msg("allocation %llu of %llu: %s", (unsigned long long)n, (unsigned long long)all, error.message);
    }
  }
  tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(islands_are_integrated),
      cmocka_unit_test(islands_are_drawn),
      cmocka_unit_test(islands_that_look_alike),
      cmocka_unit_test(allocations_of_islands_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
