/* Programs with marginals that are integrated row by row, from text to log Z, draws and refusals: scale mixtures of
 * Gaussians, which are Student t densities; and a chain of latent values that is summed out row by row. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/plan.h"
#include "core/numerics.h"
#include "tests/answer/fixture.h"
#include "tests/support/check.h"

static const char program[] =
    "var x : real\n"
    "var l : real in (0, inf)\n"
    "var y, h : real[3]\n"
    "scales(u) = marginal(formula(u, l | log_density=0.5*log(l) - 0.5*l*u^2 - 0.918938533204672742) * "
    "gamma(l | shape=2.5, rate=2.5), over=l)\n"
    "t = scales(x)\n"
    "held = gaussian(y | mean=0, sd=2) * scales(y[0])\n"
    "mix = normalise(t) or gaussian(x | mean=4, sd=1)\n"
    "ratio = t / student_t(x | df=5, loc=0, scale=1)^0.5\n"
    "most = profile(formula(x, l | log_density=log(l) - l*(1 + x^2/2)) * gaussian(x | mean=0, sd=3), over=l)\n"
    "ring = marginal(formula(y, l | log_density=1.5*log(l) - 0.5*l*sum(y^2)) * gamma(l | shape=2, rate=2), over=l)\n"
    "whole = gaussian(y | mean=0, sd=1) * ring\n"
    "half = gaussian(y | mean=0, sd=1) * ring^1.5\n"
    "var z : real[14]\n"
    "var s : binary[14]\n"
    "chain = product(i in 0:13 -> table(s[i], s[i+1] | log=[[0.4, -0.4], [-0.4, 0.7]])) * "
    "product(i in 0:14 -> formula(z[i], s[i] | energy=(z[i] - 2*s[i] + 0.3*sin(z[i]))^2))\n"
    "seen = marginal(chain, over=s, beta=0.6)\n"
    "most_seen = profile(chain, over=s)\n"
    "deep = marginal(formula(y[0], h | energy=(y[0] - h[0]*h[1]*h[2])^2 + sum(h^2)/2), over=h)^1.5\n"
    "var v : binary[14]\n"
    "marked = chain * product(i in 0:14 -> table(s[i], v[i] | log=[[0.3, -0.2], [-0.7, 0.5]]))\n"
    "most_marked = profile(marked, over=s)\n"
    "soft_marked = marginal(marked, over=s, beta=1.7)\n"
    "var w : binary[24]\n"
    "wide = profile(gaussian(x | mean=0, sd=1) * product(i in 1:24 -> product(j in 0:i -> "
    "formula(w[i], w[j], x | log_density=sin(i*j + x)*w[i]*w[j]))), over=w)\n";

static poei_plan *solve(fixture *f, const char *target, poei_solved *solved) {
  poe_error error = {0};
  check_ok(poei_solve(&f->session, target, solved, &error), error);
  return solved->plan;
}

/* int f over the line by the trapezoid rule, step 1/1000. */
static double trapezoid(double (*f)(double x), double reach) {
  double sum = 0.0;
  for (double x = -reach; x <= reach; x += 1e-3) {
    sum += 1e-3 * f(x);
  }
  return sum;
}

static double student(double x) {
  return exp(lgamma(3.0) - lgamma(2.5) - 0.5 * log(5.0 * POEI_PI) - 3.0 * log1p(x * x / 5.0));
}

static double held_density(double x) {
  return student(x) * exp(poei_normal_log_pdf(x / 2.0) - log(2.0));
}

static double ratio_density(double x) {
  return sqrt(student(x));
}

/* max over l of log l - l r is -log r - 1 */
static double most_density(double x) {
  return exp(-log(1.0 + 0.5 * x * x) - 1.0 + poei_normal_log_pdf(x / 3.0) - log(3.0));
}

static void log_z_is_that_of_the_closed_forms(void **state) {
  (void)state;
  static const char *const target[5] = {"t", "held", "mix", "ratio", "most"};
  double expected[5] = {0.0, log(trapezoid(held_density, 30.0)), 0.0, log(trapezoid(ratio_density, 9e3)),
                        log(trapezoid(most_density, 60.0))};
  fixture f;
  fixture_open(&f, "latent.poe", program, 0);
  for (size_t k = 0; k < 5; k++) {
    poei_solved solved;
    const poei_plan *plan = solve(&f, target[k], &solved);
    assert_true(plan->has_log_z);
    /* (1 + x^2/5)^-1.5 has 1e-7 of its mass beyond what the trapezoid saw */
    check_close(plan->log_z, expected[k], k == 3 ? 2e-7 : 1e-7, 0.0);
    poei_solved_free(&solved);
  }
  fixture_close(&f);
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Kolmogorov's distance of 4000 draws; false alarms 1e-6 of the time. */
static void draws_are_student(void **state) {
  (void)state;
  enum { N = 4000 };
  fixture f;
  poei_solved solved;
  poe_error error = {0};
  fixture_open(&f, "latent.poe", program, 0);
  const poei_plan *plan = solve(&f, "t", &solved);
  assert_int_equal(plan->method, POEI_METHOD_QUADRATURE);
  static double x[N];
  static poe_rng at[N];
  for (uint32_t i = 0; i < N; i++) {
    at[i] = poe_rng_seed(7);
    at[i].chain = i;
  }
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(plan->sampler, POE_WANT_SAMPLE, N));
  assert_non_null(scratch);
  check_ok(poe_expert_sample(plan->sampler, (poe_rows_out){N, 1, 1, x}, at, scratch, &error), error);
  poe_scratch_destroy(scratch);
  qsort(x, N, sizeof *x, ascending);
  double distance = 0.0;
  for (size_t i = 0; i < N; i++) {
    double p = poei_student_cdf(x[i], 5.0);
    distance = fmax(distance, fmax((double)(i + 1) / N - p, p - (double)i / N));
  }
  assert_true(poei_kolmogorov_tail(distance * sqrt((double)N)) > 1e-6);
  poei_solved_free(&solved);
  fixture_close(&f);
}

/* With a whole number of copies the state is drawn with its latent coordinates; else through its values. */
static void the_route_follows_the_power(void **state) {
  (void)state;
  fixture f;
  poei_solved solved;
  poe_error error = {0};
  fixture_open(&f, "latent.poe", program, 0);
  assert_int_equal(solve(&f, "whole", &solved)->method, POEI_METHOD_JOINT);
  assert_true((poe_expert_traits(solved.plan->expert)->capabilities & POE_CAN_EVAL) != 0);
  poei_solved_free(&solved);
  assert_int_equal(solve(&f, "half", &solved)->method, POEI_METHOD_SMC);
  poei_solved_free(&solved);
  check_fails(poei_solve(&f.session, "deep", &solved, &error), POE_E_CAPABILITY, error, "beta = 1 to the power 1.5");
  assert_int_equal(error.line, 18);
  assert_non_null(strstr(error.hint, "beta = 0.75 (or the power 2) makes it 2"));
  fixture_close(&f);
}

/* (1/beta) log sum_s exp(beta f(z, s)) by the forward recursion, or max_s by Viterbi's; v[14] (NULL: none) seen. */
static double forward(const double *z, const double *v, double beta) {
  static const double pair[2][2] = {{0.4, -0.4}, {-0.4, 0.7}}, mark[2][2] = {{0.3, -0.2}, {-0.7, 0.5}};
  double a[2] = {0.0, 0.0}, scale = isinf(beta) ? 1.0 : beta;
  for (int i = 0; i < 14; i++) {
    double next[2];
    for (int s = 0; s < 2; s++) {
      double r = z[i] - 2.0 * s + 0.3 * sin(z[i]);
      double from[2] = {a[0] + scale * pair[0][s], a[1] + scale * pair[1][s]};
      double all = isinf(beta) ? fmax(from[0], from[1]) : poei_log_add(from[0], from[1]);
      next[s] = (i == 0 ? 0.0 : all) + scale * ((v == NULL ? 0.0 : mark[s][(int)v[i]]) - r * r);
    }
    a[0] = next[0];
    a[1] = next[1];
  }
  return isinf(beta) ? fmax(a[0], a[1]) : poei_log_add(a[0], a[1]) / beta;
}

/* 2^14 joint values of the latent coordinates are eliminated at the point, by sums and by maxima, beside continuous
 * coordinates and discrete ones. */
static void many_values_are_eliminated(void **state) {
  (void)state;
  static const struct {
    const char *target;
    double beta;
    bool marked;
  } cases[] = {{"seen", 0.6, false},
               {"most_seen", INFINITY, false},
               {"soft_marked", 1.7, true},
               {"most_marked", INFINITY, true}};
  fixture f;
  fixture_open(&f, "latent.poe", program, 0);
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    poei_solved solved;
    poe_error error = {0};
    double row[28], value, grad[28], *z = row, *v = cases[k].marked ? row + 14 : NULL, beta = cases[k].beta;
    size_t d = cases[k].marked ? 28 : 14;
    check_ok(poei_solve_values(&f.session, cases[k].target, &solved, &error), error);
    for (int i = 0; i < 14; i++) {
      row[i] = 0.3 * i - 2.0;
      row[14 + i] = i % 3 == 0;
    }
    check_ok(poei_evaluate_rows(&f.session, solved.plan->expert, (poe_rows){1, d, d, row}, &value, grad, &error),
             error);
    check_close(value, forward(z, v, beta), 1e-12, 1e-12);
    for (int i = 0; i < 14; i++) {
      double here = z[i], up, down;
      z[i] = here + 1e-5;
      up = forward(z, v, beta);
      z[i] = here - 1e-5;
      down = forward(z, v, beta);
      z[i] = here;
      check_close(grad[i], (up - down) / 2e-5, 1e-8, 1e-8);
    }
    poei_solved_free(&solved);
  }
  fixture_close(&f);
}

/* A clique of 24 latent coordinates beside a continuous one. */
static void what_is_too_wide_is_named(void **state) {
  (void)state;
  fixture f;
  poei_solved solved;
  poe_error error = {0};
  fixture_open(&f, "latent.poe", program, 0);
  f.session.table_bytes = (size_t)1 << 20;
  check_fails(poei_solve(&f.session, "wide", &solved, &error), POE_E_CAPABILITY, error, "treewidth at least 23");
  assert_non_null(strstr(error.message, "1 MiB are allowed"));
  assert_non_null(strstr(error.hint, "--table-bytes"));
  fixture_close(&f);
}

static double quartic(double x) {
  return exp(-0.1 * x * x * x * x);
}

/* A latent that nothing joins is a constant, int N(y)^2 dy = 1 / (2 sqrt pi). A ridge of sd .004, thinner than what
 * quadrature looks at, must not be told as if it had been seen: log Z is there -2.754506 (an integral over x[0] alone,
 * whatever the ridge's width). */
static void what_stands_alone(void **state) {
  (void)state;
  static const char alone[] =
      "var x, y : real\n"
      "var r : real[2]\n"
      "f = formula(x | energy=0.1*x^4)\n"
      "lone = marginal(f * gaussian(y | mean=0, sd=1)^2, over=y)\n"
      "ridge = gaussian(r[0] | mean=0, sd=1) * gaussian(r[1] | mean=0, sd=6) * formula(r | log_density="
      "-((r[1] - (3*tanh(4*r[0] - 4) - 3*tanh(4*r[0] - 8)))/0.004)^2/2 - log(0.004) - 0.5*log(2*pi))\n";
  fixture f;
  poei_solved solved;
  fixture_open(&f, "alone.poe", alone, 0);
  const poei_plan *plan = solve(&f, "lone", &solved);
  assert_true(plan->has_log_z);
  check_close(plan->log_z, log(trapezoid(quartic, 9.0)) - log(2.0 * sqrt(POEI_PI)), 1e-9, 0.0);
  poei_solved_free(&solved);
  plan = solve(&f, "ridge", &solved);
  assert_true(!plan->has_log_z || fabs(plan->log_z + 2.754506) <= 1e-6 + plan->log_z_error);
  poei_solved_free(&solved);
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(log_z_is_that_of_the_closed_forms), cmocka_unit_test(draws_are_student),
      cmocka_unit_test(many_values_are_eliminated),        cmocka_unit_test(what_is_too_wide_is_named),
      cmocka_unit_test(the_route_follows_the_power),       cmocka_unit_test(what_stands_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
