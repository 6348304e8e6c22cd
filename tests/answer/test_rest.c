/* Almost exact targets: a long Gaussian chain of which another factor reads one or four coordinates. log Z and moments
 * against integrals over what is read; the rest against the regression of the Gaussian on it. */
#include <math.h>

#include "answer/session.h"
#include "tests/answer/fixture.h"
#include "tests/support/check.h"

static const char program[] =
    "var x : real[400]\nvar t : real\n"
    "chain = gaussian(x[0] | mean=1, sd=1) * product(i in 0:399 -> linear_gaussian(x[i+1], x[i] | A=0.9, b=0.1, "
    "sd=0.5))\n"
    "steep = chain * formula(x[200] | energy=(x[200] - 1)^4)\n"
    "square = chain * formula(x[10], x[150], x[151], x[390] | energy=expm1(log1p((x[10] + x[150] - x[151] + "
    "x[390])^2))/2)\n"
    "seen = chain * linear_gaussian(t, x[10], x[150], x[151], x[390] | A=[[1, 1, -1, 1]], sd=1) given t = 0\n";

static void solve(fixture *f, const char *target, poei_solved *solved) {
  poe_error error = {0};
  check_ok(poei_solve(&f->session, target, solved, &error), error);
}

/* Variance of x_i in the chain: v_0 = 1, v_i = 0.81 v_{i-1} + 0.25. */
static double variance(size_t i) {
  double v = 1.0;
  for (size_t k = 0; k < i; k++) {
    v = 0.81 * v + 0.25;
  }
  return v;
}

/* int u^power N(u; 0, v) exp(-u^4) du by the trapezoidal rule, exact to rounding for such functions. */
static double moment(double v, int power) {
  double sum = 0.0, h = 1e-3, pi = acos(-1.0);
  for (int k = -6000; k <= 6000; k++) {
    double u = h * k;
    sum += h * pow(u, power) * exp(-u * u / (2.0 * v) - u * u * u * u) / sqrt(2.0 * pi * v);
  }
  return sum;
}

static void one_coordinate_is_read(void **state) {
  (void)state;
  enum { CHAINS = 4, DRAWS = 5000, N = CHAINS * DRAWS };
  fixture f;
  poei_solved solved;
  poei_sampling sampling = {0};
  poe_error error = {0};
  fixture_open(&f, "steep.poe", program, 11);
  solve(&f, "steep", &solved);
  const poei_plan *plan = solved.plan;
  assert_int_equal(plan->method, POEI_METHOD_REST);
  assert_int_equal(plan->parts[1]->dim, 1);
  double v = variance(200), z = moment(v, 0), m2 = moment(v, 2) / z, m4 = moment(v, 4) / z;
  assert_true(plan->has_log_z);
  check_close(plan->log_z, log(z), 1e-7, 0);
  poei_run_options options = {.chains = CHAINS, .draws = DRAWS, .pool = f.session.pool, .seed = 12};
  check_ok(poei_draw(&f.session, plan, "auto", &options, NULL, 0, &sampling, &error), error);
  /* u_i = x_i - 1 is gain u_200 + a Gaussian of its own; five coordinates, each with three moments within 6 standard
   * errors: false alarm below 15 * 2e-9 */
  static const size_t at[] = {198, 199, 200, 201, 230};
  for (size_t a = 0; a < sizeof at / sizeof at[0]; a++) {
    size_t i = at[a], low = i < 200 ? i : 200, far = i < 200 ? 200 - i : i - 200;
    double gain = pow(0.9, (double)far) * variance(low) / v, own = variance(i) - gain * gain * v;
    double mean = 0.0, square = 0.0, cross = 0.0;
    for (size_t k = 0; k < N; k++) {
      const double *x = sampling.draws.x + 400 * k;
      mean += (x[i] - 1.0) / N;
      square += (x[i] - 1.0) * (x[i] - 1.0) / N;
      cross += (x[i] - 1.0) * (x[200] - 1.0) / N;
    }
    double second = gain * gain * m2 + own;
    double fourth = pow(gain, 4) * m4 + 6.0 * gain * gain * m2 * own + 3.0 * own * own;
    double se = 6.0 / sqrt((double)N);
    check_close(mean, 0.0, se * sqrt(second), 0);
    check_close(square, second, se * sqrt(fourth - second * second), 0);
    check_close(cross, gain * m2, se * sqrt(gain * gain * (m4 - m2 * m2) + own * m2), 0);
  }
  for (size_t k = 0; k < N; k += 997) { /* lp is of the whole target */
    double logp = NAN;
    check_ok(poei_evaluate_rows(&f.session, solved.plan->written, (poe_rows){1, 400, 400, sampling.draws.x + 400 * k},
                                &logp, NULL, &error),
             error);
    check_close(sampling.draws.lp[k], logp, 1e-8, 1e-9);
  }
  poei_sampling_free(&sampling);
  poei_solved_free(&solved);
  fixture_close(&f);
}

/* The other factor is a Gaussian in disguise, so that the exact answer is known. */
static void four_coordinates_are_read(void **state) {
  (void)state;
  fixture f;
  poei_solved solved, exact;
  poe_error error = {0};
  fixture_open(&f, "square.poe", program, 13);
  solve(&f, "seen", &exact);
  assert_true(exact.plan->exact);
  double expected = exact.plan->log_z + 0.5 * log(2.0 * acos(-1.0));
  solve(&f, "square", &solved);
  assert_int_equal(solved.plan->method, POEI_METHOD_REST);
  assert_int_equal(solved.plan->parts[1]->dim, 4);
  for (uint64_t seed = 1; seed <= 3; seed++) { /* 6 standard errors of the estimate's own: false alarm 6e-9 */
    poei_log_z estimate;
    check_ok(poei_plan_log_z(&f.session, solved.plan, seed, 0.02, 4, 512, &estimate, &error), error);
    assert_true(estimate.std_error < 0.05);
    check_close(estimate.log_z, expected, 6.0 * estimate.std_error, 0);
  }
  poei_solved_free(&solved);
  poei_solved_free(&exact);
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_coordinate_is_read),
                                     cmocka_unit_test(four_coordinates_are_read)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
