/* Small targets that are almost exact: a Gaussian of which other factors read one, two or three coordinates, mixtures
 * of such, Gaussian factors that are proper only given what others read. log Z against integrals over what is read,
 * draws by the regression of the rest on it. */
#include <math.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "tests/answer/fixture.h"
#include "tests/support/check.h"

static void solve(fixture *f, const char *target, poei_solved *solved) {
  poe_error error = {0};
  check_ok(poei_solve(&f->session, target, solved, &error), error);
}

static double log_z_of(fixture *f, const char *target, poei_method method) {
  poei_solved solved;
  solve(f, target, &solved);
  assert_int_equal(solved.plan->method, method);
  assert_true(solved.plan->has_log_z && !solved.plan->exact);
  double log_z = solved.plan->log_z;
  poei_solved_free(&solved);
  return log_z;
}

static const char rests[] =
    "var x : real[6]\nvar k : int(2)\n"
    "base = gaussian(x[0] | mean=1, sd=1) * product(i in 0:5 -> linear_gaussian(x[i+1], x[i] | A=0.5, b=0.2, sd=1))\n"
    "quartic = base * formula(x[3] | energy=x[3]^4)\n"
    "two = base * formula(x[1], x[4] | energy=softplus(x[1]*x[4]) + x[1]^4)\n"
    "three = base * formula(x[0], x[2], x[5] | energy=(x[0]*x[2]*x[5])^2)\n"
    "mix = (0.3*gaussian(x | mean=0, sd=1) + 0.7*gaussian(x | mean=1, sd=0.5)) * formula(x[3] | energy=x[3]^4)\n"
    "apart = quartic * bernoulli(k | p=0.25)\n"
    "normed = student_t(x[0] | df=3) * formula(x[0:2] | energy=(x[1] - x[0])^2/2)\n"
    "conditional = student_t(x[0] | df=3) * formula(x[0] | energy=abs(x[0]))"
    " * formula(x[0:3] | energy=(x[1] - x[0])^2/2 + 2*(x[2] - x[1]/2)^2 + x[2])\n"
    "powers = formula(x | energy=sum(x^4))\n"
    "wave = formula(x | energy=sum((x[1:6] - 0.5*x[0:5] - 0.2)^2)/2 + (x[0] - 1)^2/2 + x[3]^4)\n"
    "pairs = formula(x | energy=sum(x^2)/2 + (x[0]*x[1])^2)\n"
    "values = bernoulli(k | p=0.25) * formula(x, k | energy=sum((x - k)^2)/2 + (1 + k)*x[3]^4)\n"
    "small = gaussian(x[0:2] | mean=0, sd=1) * formula(x[0] | energy=x[0]^4)\n";

/* log int N(u; m, sd) exp(-u^4) du by the trapezoidal rule, exact to rounding for such functions. */
static double log_quartic(double m, double sd) {
  double sum = 0.0, h = 1e-3;
  for (int i = -8000; i <= 8000; i++) {
    double u = h * i, z = (u - m) / sd;
    sum += h * exp(-0.5 * z * z - u * u * u * u) / sd / sqrt(2.0 * acos(-1.0));
  }
  return log(sum);
}

/* Mean and variance of x_i. */
static void chain_moments(size_t i, double *mean, double *variance) {
  *mean = *variance = 1.0;
  for (size_t k = 0; k < i; k++) {
    *mean = 0.5 * *mean + 0.2;
    *variance = 0.25 * *variance + 1.0;
  }
}

/* log int N(u, v; moments of x_1 and x_4) exp(-softplus(u v) - u^4) by the trapezoidal rule. */
static double log_two(void) {
  double m1, v1, m4, v4, sum = 0.0, h = 0.02, pi = acos(-1.0);
  chain_moments(1, &m1, &v1);
  chain_moments(4, &m4, &v4);
  double cov = 0.125 * v1, det = v1 * v4 - cov * cov;
  for (int i = -200; i <= 200; i++) {
    for (int j = -500; j <= 500; j++) {
      double u = h * i, v = h * j, a = u - m1, b = v - m4;
      double square = (v4 * a * a - 2.0 * cov * a * b + v1 * b * b) / det;
      sum += h * h * exp(-0.5 * square - log1p(exp(u * v)) - u * u * u * u) / (2.0 * pi * sqrt(det));
    }
  }
  return log(sum);
}

static void small_parts_are_integrated(void **unused) {
  (void)unused;
  double mean, variance;
  fixture f;
  poei_solved solved;
  fixture_open(&f, "rests.poe", rests, 0);
  chain_moments(3, &mean, &variance);
  double expected = log_quartic(mean, sqrt(variance));
  check_close(log_z_of(&f, "quartic", POEI_METHOD_REST), expected, 1e-8, 0.0);
  check_close(log_z_of(&f, "mix", POEI_METHOD_MIXTURE),
              log(0.3 * exp(log_quartic(0.0, 1.0)) + 0.7 * exp(log_quartic(1.0, 0.5))), 1e-8, 0.0);
  check_close(log_z_of(&f, "apart", POEI_METHOD_BLOCKS), expected, 1e-8, 0.0);
  check_close(log_z_of(&f, "two", POEI_METHOD_REST), log_two(), 1e-7, 0.0);
  /* one formula, taken apart: blocks, and the chain of `base` without its constant */
  check_close(log_z_of(&f, "powers", POEI_METHOD_BLOCKS), 6.0 * log(2.0 * tgamma(1.25)), 1e-8, 0.0);
  check_close(log_z_of(&f, "wave", POEI_METHOD_REST), expected + 3.0 * POEI_LOG_2PI, 1e-8, 0.0);
  /* int exp(-(u^2 + v^2) / 2 - u^2 v^2) dv du = sqrt(2 pi) int exp(-u^2 / 2) / sqrt(1 + 2 u^2) du */
  double pairs = 0.0;
  for (int i = -12000; i <= 12000; i++) {
    pairs += 1e-3 * exp(-0.5e-6 * i * i) / sqrt(1.0 + 2e-6 * i * i);
  }
  check_close(log_z_of(&f, "pairs", POEI_METHOD_BLOCKS), log(pairs) + 2.5 * POEI_LOG_2PI, 1e-7, 0.0);
  solve(&f, "three", &solved); /* sampled, but in three coordinates */
  assert_int_equal(solved.plan->method, POEI_METHOD_REST);
  assert_int_equal(solved.plan->parts[1]->dim, 3);
  assert_int_equal(solved.plan->parts[1]->method, POEI_METHOD_SMC);
  poei_solved_free(&solved);
  fixture_close(&f);
}

/* Draws: x_3 by its density, the others by their regression on it; of a mixture, by the components' weights. Means of
 * 20000 within 5 standard errors (6e-7 each), for each of 3 seeds. */
static void the_rest_follows(void **unused) {
  (void)unused;
  enum { N = 20000 };
  double mean, variance, m5, v5;
  chain_moments(3, &mean, &variance);
  chain_moments(5, &m5, &v5);
  double p = 0.3 * exp(log_quartic(0.0, 1.0)), q = 0.7 * exp(log_quartic(1.0, 0.5)), share = q / (p + q);
  for (uint64_t seed = 0; seed < 3; seed++) {
    fixture f;
    poe_error error = {0};
    poei_solved solved;
    poei_sampling sampling = {0};
    fixture_open(&f, "rests.poe", rests, seed);
    const poei_run_options options = {.chains = 4, .draws = N / 4, .seed = seed, .pool = f.session.pool};
    solve(&f, "quartic", &solved);
    check_ok(poei_draw(&f.session, solved.plan, NULL, &options, NULL, 0, &sampling, &error), error);
    double gain = 0.25, own = v5 - gain * gain * variance, first = 0.0, second = 0.0, cross = 0.0, square = 0.0;
    for (size_t i = 0; i < N; i++) {
      const double *x = sampling.draws.x + 6 * i;
      double left = (x[5] - m5 - gain * (x[3] - mean)) / sqrt(own);
      first += left / sqrt(N);
      second += (left * left - 1.0) / sqrt(2.0 * N);
      cross += left * x[3] / sqrt(N);
      square += x[3] * x[3] / N;
    }
    check_close(first, 0.0, 5.0, 0.0);
    check_close(second, 0.0, 5.0, 0.0);
    check_close(cross / sqrt(square), 0.0, 5.0, 0.0);
    poei_sampling_free(&sampling);
    poei_solved_free(&solved);
    solve(&f, "mix", &solved);
    check_ok(poei_draw(&f.session, solved.plan, NULL, &options, NULL, 0, &sampling, &error), error);
    double sum = 0.0; /* x_0 is N(0, 1) or N(1, 0.5) */
    for (size_t i = 0; i < N; i++) {
      sum += sampling.draws.x[6 * i] / N;
    }
    double spread = (1.0 - share) + share * 0.25 + share * (1.0 - share);
    check_close(sum, share, 5.0 * sqrt(spread / N), 0.0);
    poei_sampling_free(&sampling);
    poei_solved_free(&solved);
    fixture_close(&f);
  }
}

/* Gaussian factors that are proper only given x_0: x_1 ~ N(x_0 - 1/2, 1) and x_2 ~ N(x_1 / 2 - 1/4, 1 / 4), whose
 * integrals leave pi exp(1/4 - x_0 / 2) of it. */
static void the_rest_may_be_conditional(void **unused) {
  (void)unused;
  enum { N = 20000 };
  double sum = 0.0, h = 1e-4, pi = acos(-1.0);
  for (int i = -600000; i <= 600000; i++) { /* the kink at 0 costs h^2 / 16 */
    double z = h * i, one = 1.0 + z * z / 3.0;
    sum += h * 2.0 / (pi * sqrt(3.0) * one * one) * exp(-fabs(z) - z / 2.0);
  }
  for (uint64_t seed = 0; seed < 3; seed++) {
    fixture f;
    poe_error error = {0};
    poei_solved solved;
    poei_sampling sampling = {0};
    fixture_open(&f, "rests.poe", rests, seed);
    check_close(log_z_of(&f, "normed", POEI_METHOD_REST), POEI_LOG_2PI / 2.0, 1e-7, 0.0);
    check_close(log_z_of(&f, "conditional", POEI_METHOD_REST), log(sum) + 0.25 + log(pi), 1e-7, 0.0);
    solve(&f, "conditional", &solved);
    const poei_run_options options = {.chains = 4, .draws = N / 4, .seed = seed, .pool = f.session.pool};
    check_ok(poei_draw(&f.session, solved.plan, NULL, &options, NULL, 0, &sampling, &error), error);
    double mean[2] = {0}, square[2] = {0}, cross = 0.0, size = 0.0;
    for (size_t i = 0; i < N; i++) {
      const double *x = sampling.draws.x + 3 * i;
      double left[2] = {x[1] - x[0] + 0.5, 2.0 * (x[2] - x[1] / 2.0 + 0.25)};
      for (size_t k = 0; k < 2; k++) {
        mean[k] += left[k] / sqrt(N);
        square[k] += (left[k] * left[k] - 1.0) / sqrt(2.0 * N);
      }
      cross += (left[0] + left[1]) * x[0] / sqrt(2.0 * N);
      size += x[0] * x[0] / N;
    }
    for (size_t k = 0; k < 2; k++) { /* false alarms: 6e-7 each */
      check_close(mean[k], 0.0, 5.0, 0.0);
      check_close(square[k], 0.0, 5.0, 0.0);
    }
    check_close(cross / sqrt(size), 0.0, 5.0, 0.0);
    poei_sampling_free(&sampling);
    poei_solved_free(&solved);
    fixture_close(&f);
  }
}

/* Beside a discrete value: p(k) is proportional to p_k int exp(-(u - k)^2 / 2 - (1 + k) u^4) du, and x_0 | k ~ N(k, 1).
 * Frequencies and means of 20000 within 5 standard errors (6e-7 each), for each of 3 seeds. */
static void values_have_plans(void **unused) {
  (void)unused;
  enum { N = 20000 };
  double z[2] = {0};
  for (int k = 0; k < 2; k++) {
    for (int i = -8000; i <= 8000; i++) {
      double u = 1e-3 * i;
      z[k] += 1e-3 * (k == 1 ? 0.25 : 0.75) * exp(-(u - k) * (u - k) / 2.0 - (1.0 + k) * u * u * u * u);
    }
  }
  double share = z[1] / (z[0] + z[1]);
  for (uint64_t seed = 0; seed < 3; seed++) {
    fixture f;
    poe_error error = {0};
    poei_solved solved;
    poei_sampling sampling = {0};
    fixture_open(&f, "rests.poe", rests, seed);
    check_close(log_z_of(&f, "values", POEI_METHOD_MIXTURE), log(z[0] + z[1]) + 2.5 * POEI_LOG_2PI, 1e-7, 0.0);
    solve(&f, "values", &solved);
    const poei_run_options options = {.chains = 4, .draws = N / 4, .seed = seed, .pool = f.session.pool};
    check_ok(poei_draw(&f.session, solved.plan, NULL, &options, NULL, 0, &sampling, &error), error);
    double ones = 0.0, mean = 0.0;
    for (size_t i = 0; i < N; i++) {
      const double *x = sampling.draws.x + 7 * i;
      ones += x[6] / N;
      mean += (x[0] - x[6]) / sqrt(N);
    }
    check_close(ones, share, 5.0 * sqrt(share * (1.0 - share) / N), 0.0);
    check_close(mean, 0.0, 5.0, 0.0);
    poei_sampling_free(&sampling);
    poei_solved_free(&solved);
    fixture_close(&f);
  }
}

static void every_allocation_fails(void **unused) {
  (void)unused;
  static const char *const targets[] = {"quartic", "small", "mix", "normed", "wave", "values"};
  fixture f;
  fixture_open(&f, "rests.poe", rests, 0);
  for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
    poei_solved solved;
    solve(&f, targets[i], &solved);
    poe_status status = POE_E_MEMORY;
    for (uint64_t n = 1; status == POE_E_MEMORY; n += 1 + n / 16) { /* the later ones are all of one quadrature */
      poei_plan *plan = NULL;
      poe_error error = {0};
      poei_alloc_fail_at(n);
      status = poei_plan_build(solved.plan->written, NULL, &plan, &error);
      poei_alloc_fail_at(0);
      assert_true(status == POE_OK || (status == POE_E_MEMORY && error.status == POE_E_MEMORY));
      poei_plan_destroy(plan);
    }
    assert_int_equal(status, POE_OK);
    poei_solved_free(&solved);
  }
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(small_parts_are_integrated),  cmocka_unit_test(the_rest_follows),
      cmocka_unit_test(the_rest_may_be_conditional), cmocka_unit_test(values_have_plans),
      cmocka_unit_test(every_allocation_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
