/* Means and standard deviations of Gaussian coordinates, and mixtures over spaces too large for dense forms: against
 * recursions and integrals written down here, and against the same density put together in another way. */
#include <math.h>
#include <string.h>

#include "answer/marginals_gaussian.h"
#include "compose/exact/moments.h"
#include "core/alloc.h"
#include "tests/answer/fixture.h"
#include "tests/support/check.h"

enum { LONG = 2500 };

static const char program[] =
    "var x : real[3]\n"
    "var h : real[2500]\n"
    "var c : int(3)\n"
    "var u : real in (0, 1)\n"
    "joint = gaussian(x | mean=[1, 2, 3], cov=[[2, 1, 0], [1, 2, 0.5], [0, 0.5, 1]])\n"
    "two = 0.25*gaussian(x | mean=[0, 0, 0], sd=1) + 0.75*gaussian(x | mean=[4, 0, 1], sd=2)\n"
    "sides = joint * beta(u | a=2, b=3) * categorical(c | p=[1, 1, 2])\n"
    "seen = joint given x[1] = 5\n"
    "walk = gaussian(h[0] | mean=3, sd=1) * product(i in 0:2499 -> linear_gaussian(h[i+1], h[i] | A=1, b=0.5, cov=2))\n"
    "down = gaussian(h[0] | mean=-3, sd=2) * product(i in 0:2499 -> linear_gaussian(h[i+1], h[i] | A=1, b=-1, cov=1))\n"
    "watched = walk * gaussian(h[1000] | mean=600, sd=3) * gaussian(h[2000] | mean=900, sd=0.5)\n"
    "bump = 0.3*gaussian(h[5] | mean=0, sd=1) + 0.7*gaussian(h[5] | mean=10, sd=1)\n"
    "pulled = walk * bump\n"
    "first = walk * gaussian(h[5] | mean=0, sd=1)\n"
    "second = walk * gaussian(h[5] | mean=10, sd=1)\n"
    "paths = 0.4*walk + 0.6*down\n"
    "nailed = paths * gaussian(h[7] | mean=1, sd=0.1)\n"
    "forked = paths * bump\n"
    "opaque = walk * formula(h[3] | energy=h[3]^4/1000)\n";

typedef struct answer {
  double log_z, mean[LONG], variance[LONG];
  bool exact;
} answer;

static void solve(fixture *f, const char *target, answer *out) {
  poei_solved solved;
  poe_error error = {0};
  check_ok(poei_solve(&f->session, target, &solved, &error), error);
  assert_true(solved.plan->dim <= LONG);
  out->log_z = solved.plan->has_log_z ? solved.plan->log_z : NAN;
  out->exact = solved.plan->exact;
  check_ok(poei_plan_moments(solved.plan, out->mean, out->variance, &error), error);
  poei_solved_free(&solved);
}

static answer a, b, c;

static void small_ones(void **state) {
  (void)state;
  static const double mean[3] = {1, 2, 3}, variance[3] = {2, 2, 1};
  fixture f;
  fixture_open(&f, "moments.poe", program, 0);
  solve(&f, "joint", &a);
  solve(&f, "sides", &b);
  for (size_t j = 0; j < 3; j++) {
    check_close(a.mean[j], mean[j], 1e-12, 0.0);
    check_close(a.variance[j], variance[j], 1e-12, 0.0);
    check_close(b.mean[j], mean[j], 1e-12, 0.0);
    check_close(b.variance[j], variance[j], 1e-12, 0.0);
  }
  for (size_t j = 3; j < 5; j++) { /* a beta is no Gaussian, and a label has no mean */
    assert_true(isnan(b.mean[j]) && isnan(b.variance[j]));
  }
  solve(&f, "seen", &a); /* x[1] = 5: 3 above its mean */
  check_close(a.mean[0], 1.0 + 3.0 / 2.0, 1e-12, 0.0);
  check_close(a.variance[0], 2.0 - 1.0 / 2.0, 1e-12, 0.0);
  check_close(a.mean[1], 3.0 + 0.25 * 3.0, 1e-12, 0.0);
  check_close(a.variance[1], 1.0 - 0.125, 1e-12, 0.0);
  solve(&f, "two", &a);
  check_close(a.mean[0], 3.0, 1e-12, 0.0);
  check_close(a.variance[0], 0.25 * 1.0 + 0.75 * 4.0 + 0.25 * 9.0 + 0.75 * 1.0, 1e-12, 0.0);
  check_close(a.mean[2], 0.75, 1e-12, 0.0);
  fixture_close(&f);
}

/* A random walk seen at two places: the forward filter and the backward smoother (Rauch, Tung and Striebel 1965). */
static void a_long_walk(void **state) {
  (void)state;
  static double m[LONG], v[LONG];
  double sm = 0.0, sv = 0.0;
  fixture f;
  fixture_open(&f, "moments.poe", program, 0);
  solve(&f, "watched", &a);
  for (size_t i = 0; i < LONG; i++) {
    m[i] = i == 0 ? 3.0 : m[i - 1] + 0.5;
    v[i] = i == 0 ? 1.0 : v[i - 1] + 2.0;
    double seen = i == 1000 ? 600.0 : 900.0, noise = i == 1000 ? 9.0 : 0.25;
    if (i == 1000 || i == 2000) {
      double gain = v[i] / (v[i] + noise);
      m[i] += gain * (seen - m[i]);
      v[i] *= 1.0 - gain;
    }
  }
  for (size_t i = LONG; i-- > 0;) {
    double g = i + 1 < LONG ? v[i] / (v[i] + 2.0) : 0.0;
    sm = i + 1 < LONG ? m[i] + g * (sm - (m[i] + 0.5)) : m[i];
    sv = i + 1 < LONG ? v[i] + g * g * (sv - (v[i] + 2.0)) : v[i];
    check_close(a.mean[i], sm, 1e-7, 1e-9);
    check_close(a.variance[i], sv, 1e-7, 1e-8);
  }
  fixture_close(&f);
}

/* A factor that reads one coordinate, a mixture of two Gaussians: the same as the mixture of the two posteriors. */
static void an_exact_rest(void **state) {
  (void)state;
  fixture f;
  fixture_open(&f, "moments.poe", program, 0);
  solve(&f, "pulled", &a);
  solve(&f, "first", &b);
  solve(&f, "second", &c);
  double w = 0.3 * exp(b.log_z) / (0.3 * exp(b.log_z) + 0.7 * exp(c.log_z));
  assert_true(a.exact);
  check_close(a.log_z, log(0.3 * exp(b.log_z) + 0.7 * exp(c.log_z)), 1e-9, 0.0);
  for (size_t j = 0; j < LONG; j++) {
    double mean = w * b.mean[j] + (1.0 - w) * c.mean[j], apart = b.mean[j] - c.mean[j];
    check_close(a.mean[j], mean, 1e-8, 1e-10);
    check_close(a.variance[j], w * b.variance[j] + (1.0 - w) * c.variance[j] + w * (1.0 - w) * apart * apart, 1e-7,
                1e-9);
  }
  solve(&f, "opaque", &a); /* what is not Gaussian has no moments here, nor what it pulls along */
  assert_true(isnan(a.mean[3]) && isnan(a.mean[9]));
  fixture_close(&f);
}

static double normal(double x, double mean, double variance) {
  return exp(-0.5 * (x - mean) * (x - mean) / variance) / sqrt(2.0 * acos(-1.0) * variance);
}

/* Mixtures of sparse Gaussians times Gaussians and other mixtures are multiplied out: exact log Z, values unchanged. */
static void mixtures_of_sparse_ones(void **state) {
  (void)state;
  static double x[3 * LONG];
  static const double w[2] = {0.4, 0.6}, start[2] = {3, -3}, step[2] = {0.5, -1}, v0[2] = {1, 4}, noise[2] = {2, 1};
  double nailed = 0.0, forked = 0.0;
  for (int k = 0; k < 2; k++) {
    nailed += w[k] * normal(1.0, start[k] + 7.0 * step[k], v0[k] + 7.0 * noise[k] + 0.01);
    for (int l = 0; l < 2; l++) {
      forked += w[k] * (l == 0 ? 0.3 : 0.7) *
                normal(l == 0 ? 0.0 : 10.0, start[k] + 5.0 * step[k], v0[k] + 5.0 * noise[k] + 1.0);
    }
  }
  fixture f;
  fixture_open(&f, "moments.poe", program, 0);
  solve(&f, "nailed", &a);
  assert_true(a.exact);
  check_close(a.log_z, log(nailed), 1e-8, 0.0);
  check_close(a.mean[7], 1.0, 0.05, 0.0);
  assert_true(a.variance[7] < 0.0101 && a.variance[7] > 0.009);
  solve(&f, "forked", &a);
  assert_true(a.exact);
  check_close(a.log_z, log(forked), 1e-8, 0.0);
  poe_stream stream = poe_stream_open(poe_rng_seed(4));
  for (size_t i = 0; i < 3 * LONG; i++) {
    x[i] = 3.0 * poe_stream_normal(&stream);
  }
  const char *const targets[] = {"nailed", "forked"};
  for (size_t t = 0; t < 2; t++) {
    poei_solved solved;
    poe_error error = {0};
    double rewritten[3], written[3];
    check_ok(poei_solve(&f.session, targets[t], &solved, &error), error);
    poe_rows rows = {3, LONG, LONG, x};
    check_ok(poei_evaluate_rows(&f.session, solved.plan->expert, rows, rewritten, NULL, &error), error);
    check_ok(poei_evaluate_rows(&f.session, solved.filled, rows, written, NULL, &error), error);
    for (size_t i = 0; i < 3; i++) {
      check_close(rewritten[i], written[i], 1e-7, 1e-11);
    }
    poei_solved_free(&solved);
  }
  fixture_close(&f);
}

static void as_json(void **state) {
  (void)state;
  fixture f;
  poe_error error = {0};
  poei_solved solved;
  bool told = false;
  fixture_open(&f, "moments.poe", program, 0);
  check_ok(poei_solve(&f.session, "seen", &solved, &error), error);
  json_t *result = json_object();
  check_ok(poei_marginals_moments(&f.session, &solved, result, &told, &error), error);
  assert_true(told);
  const json_t *own = json_object_get(json_object_get(result, "moments"), "x");
  check_close(json_number_value(json_array_get(json_object_get(own, "mean"), 1)), 5.0, 0.0, 0.0); /* clamped */
  check_close(json_number_value(json_array_get(json_object_get(own, "sd"), 1)), 0.0, 0.0, 0.0);
  check_close(json_number_value(json_array_get(json_object_get(own, "sd"), 0)), sqrt(1.5), 1e-12, 0.0);
  poei_solved_free(&solved);
  json_decref(result);
  check_ok(poei_solve(&f.session, "beta(u | a=2, b=3)", &solved, &error), error);
  result = json_object();
  check_ok(poei_marginals_moments(&f.session, &solved, result, &told, &error), error);
  assert_true(!told && json_object_size(result) == 0);
  poei_solved_free(&solved);
  json_decref(result);
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(small_ones),    cmocka_unit_test(a_long_walk),
      cmocka_unit_test(an_exact_rest), cmocka_unit_test(mixtures_of_sparse_ones),
      cmocka_unit_test(as_json),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
