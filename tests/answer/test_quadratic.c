/* Formulas that are Gaussian factors, end to end: against the same Gaussian in closed form, against quadrature of the
 * tree as written, on bounded variables, beside discrete ones (one component per value); and mixtures pruned on
 * request. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/linalg.h"
#include "core/numerics.h"
#include "tests/answer/fixture.h"
#include "tests/support/check.h"

enum { MOST_DIM = 4, TEXT = 8192 };

static const char *const none[][2] = {{NULL, NULL}};

static double number(uint64_t *state) { /* in (-1, 1); splitmix64 */
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return (double)((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1.0;
}

static void solve(fixture *f, const char *target, poei_solved *solved) {
  poe_error error = {0};
  check_ok(poei_solve(&f->session, target, solved, &error), error);
}

/* Adds to text[TEXT] in the manner of printf. */
__attribute__((format(printf, 2, 3))) static void append(char *text, const char *format, ...) {
  size_t used = strlen(text);
  va_list args;
  va_start(args, format);
  vsnprintf(text + used, TEXT - used, format, args);
  va_end(args);
}

/* ---- one Gaussian out of formulas ---- */

/* c + b'x - x'Px / 2. */
typedef struct factor {
  double c, b[MOST_DIM], p[MOST_DIM][MOST_DIM];
} factor;

/* Appends it as the arguments of a formula over x, its terms in one of two orders. */
static void write_formula(char *text, size_t d, const factor *f, bool energy) {
  double sign = energy ? -1.0 : 1.0;
  append(text, "formula(x | %s=%.17g", energy ? "energy" : "log_density", sign * f->c);
  for (size_t i = 0; i < d; i++) {
    append(text, " + (%.17g)*x[%zu]", sign * f->b[i], i);
    for (size_t j = 0; j < d; j++) {
      append(text, " - (%.17g)*x[%zu]*x[%zu]/2", sign * f->p[i][j], i, j);
    }
  }
  append(text, ")");
}

/* log int exp(c + b'x - x'Px / 2) dx. */
static double closed_log_z(size_t d, const factor *f) {
  double l[MOST_DIM * MOST_DIM], y[MOST_DIM], square = 0.0;
  for (size_t i = 0; i < d; i++) {
    y[i] = f->b[i];
    for (size_t j = 0; j < d; j++) {
      l[i * d + j] = f->p[i][j];
    }
  }
  assert_int_equal(poei_cholesky(d, l, l), 0);
  poei_solve_lower(d, l, 1, y, 1);
  for (size_t i = 0; i < d; i++) {
    square += y[i] * y[i];
  }
  return f->c + square / 2.0 + (double)d * POEI_LOG_2PI / 2.0 - poei_cholesky_half_log_det(d, l);
}

/* A random factor; `base` makes it positive definite, 0 leaves it indefinite. */
static factor random_factor(size_t d, double size, double base, uint64_t *state) {
  factor f = {.c = number(state)};
  for (size_t i = 0; i < d; i++) {
    f.b[i] = 2.0 * number(state);
    for (size_t j = 0; j <= i; j++) {
      f.p[i][j] = f.p[j][i] = size * number(state) + (i == j ? base : 0.0);
    }
  }
  return f;
}

static void add_factor(factor *sum, double t, const factor *f) {
  sum->c += t * f->c;
  for (size_t i = 0; i < MOST_DIM; i++) {
    sum->b[i] += t * f->b[i];
    for (size_t j = 0; j < MOST_DIM; j++) {
      sum->p[i][j] += t * f->p[i][j];
    }
  }
}

/* The rewritten density is the written one. */
static void check_density(fixture *f, const poei_solved *solved, size_t d, uint64_t *state) {
  double x[8 * MOST_DIM], a[8], b[8];
  poe_error error = {0};
  for (size_t i = 0; i < 8 * d; i++) {
    x[i] = 3.0 * number(state);
  }
  poe_rows rows = {8, d, d, x};
  check_ok(poei_evaluate_rows(&f->session, solved->plan->expert, rows, a, NULL, &error), error);
  check_ok(poei_evaluate_rows(&f->session, solved->plan->written, rows, b, NULL, &error), error);
  for (size_t i = 0; i < 8; i++) {
    check_close(a[i], b[i], 1e-11, 1e-11);
  }
}

/* f1 * f2^t / f3 with an indefinite f2 and f3, against the Gaussian they are together; in two dimensions against
 * quadrature of what is written as well. */
static void products_are_gaussians(void **unused) {
  (void)unused;
  uint64_t state = 1;
  for (size_t trial = 0; trial < 40; trial++) {
    size_t d = 1 + trial % MOST_DIM;
    double t = trial % 3 == 0 ? 2.0 : 0.5;
    factor f1 = random_factor(d, 0.3, 3.0, &state), f2 = random_factor(d, 0.3, 0.0, &state);
    factor f3 = random_factor(d, 0.3, 0.0, &state), sum = {0};
    add_factor(&sum, 1.0, &f1);
    add_factor(&sum, t, &f2);
    add_factor(&sum, -1.0, &f3);
    char text[TEXT] = "";
    append(text, "var x : real[%zu]\nt = ", d);
    write_formula(text, d, &f1, trial % 2 == 0);
    append(text, " * ");
    write_formula(text, d, &f2, trial % 5 == 0);
    append(text, "^%g / ", t);
    write_formula(text, d, &f3, false);
    fixture f;
    poei_solved solved;
    fixture_open(&f, "quadratic.poe", text, 0);
    solve(&f, "t", &solved);
    assert_int_equal(solved.plan->method, POEI_METHOD_CLOSED);
    assert_true(solved.plan->exact);
    check_close(solved.plan->log_z, closed_log_z(d, &sum), 1e-12, 1e-12);
    check_density(&f, &solved, d, &state);
    poei_solved_free(&solved);
    if (d <= 2 && trial < 8) {
      f.session.no_rewrite = true;
      solve(&f, "t", &solved);
      assert_int_equal(solved.plan->method, POEI_METHOD_QUADRATURE);
      check_close(solved.plan->log_z, closed_log_z(d, &sum), 1e-7, 0.0);
      poei_solved_free(&solved);
    }
    fixture_close(&f);
  }
}

static double log_z_of(fixture *f, const char *target, bool no_rewrite, poei_method method) {
  poei_solved solved;
  f->session.no_rewrite = no_rewrite;
  solve(f, target, &solved);
  assert_int_equal(solved.plan->method, method);
  assert_true(solved.plan->has_log_z);
  assert_true(solved.plan->exact == (method == POEI_METHOD_CLOSED));
  double log_z = solved.plan->log_z;
  poei_solved_free(&solved);
  f->session.no_rewrite = false;
  return log_z;
}

/* As people write them, against closed forms. */
static void forms_of_writing(void **unused) {
  (void)unused;
  static const char program[] =
      "var x, y : real\nvar v : real[3]\nvar u : real[10000]\nmu = [1, -2, 0.5]\nA = [[1, 2, 0], [0, 1, 1], [1, 0, "
      "3]]\n"
      "tilted = formula(x, y | log_density=-(x - 2*y)^2/2 - 3*x) * gaussian(y | mean=0, sd=1)\n"
      "normed = formula(v | energy=norm(v - mu)^2/2)\n"
      "dotted = formula(v | log_density=-dot(v - mu, v - mu)/2 + 7)\n"
      "saddle = formula(v | log_density=v[0]*v[1]) * gaussian(v | mean=0, sd=[0.5, 1, 1])\n"
      "far = formula(x | energy=((x - 1e8)*1e4)^2/2)\n"
      "fixed = formula(x, y | log_density=-x^2*y^2/2) given y = 2\n"
      "walk = formula(u | energy=sum((u[1:10000] - 0.9*u[0:9999])^2)/2 + u[0]^2/2)\n"
      "improper = formula(v | log_density=v[0]*v[1]) * gaussian(v | mean=0, sd=[2, 1, 1])\n"
      "flat = formula(x, y | energy=(x - 2*y)^2)\n";
  fixture f;
  poe_error error = {0};
  poei_solved solved;
  fixture_open(&f, "forms.poe", program, 0);
  double one = POEI_LOG_2PI / 2.0;
  /* x | y ~ N(2 y - 3, 1) times exp(4.5 - 6 y), and E exp(-6 y) = exp(18) */
  check_close(log_z_of(&f, "tilted", false, POEI_METHOD_CLOSED), one + 22.5, 1e-13, 1e-14);
  check_close(log_z_of(&f, "normed", false, POEI_METHOD_CLOSED), 3.0 * one, 1e-14, 0.0);
  check_close(log_z_of(&f, "dotted", false, POEI_METHOD_CLOSED), 3.0 * one + 7.0, 1e-14, 1e-15);
  check_close(log_z_of(&f, "saddle", false, POEI_METHOD_CLOSED), -0.5 * log(1.0 - 0.25), 1e-14, 0.0);
  check_close(log_z_of(&f, "far", false, POEI_METHOD_CLOSED), one - log(1e4), 1e-12, 0.0);
  check_close(log_z_of(&f, "fixed", false, POEI_METHOD_CLOSED), one - log(2.0), 1e-14, 0.0);
  check_close(log_z_of(&f, "walk", false, POEI_METHOD_CLOSED), 10000.0 * one, 1e-9, 0.0);
  check_fails(poei_solve(&f.session, "improper", &solved, &error), POE_E_IMPROPER, error,
              "along 0.89*v[0] + 0.45*v[1]");
  assert_int_equal(error.line, 13);
  check_fails(poei_solve(&f.session, "flat", &solved, &error), POE_E_IMPROPER, error, "along 0.89*x + 0.45*y");
  assert_int_equal(error.line, 14);
  fixture_close(&f);
}

/* Inside bounds a Gaussian is truncated: exactly where coordinates are independent, by quadrature where not. */
static void bounded_variables(void **unused) {
  (void)unused;
  static const char program[] = "var x : real in (0, inf)\nvar y : real[2] in (0, 1)\n"
                                "half = formula(x | energy=(x + 1)^2/2)\n"
                                "box = formula(y | energy=20*sum((y - 0.3)^2))\n"
                                "both = formula(y | energy=20*(y[0] - y[1])^2) * formula(y | energy=y[1]^2)\n"
                                "tilt = formula(x, y | log_density=1 - 2*x + 3*y[0])\n"
                                "grows = formula(x | log_density=3*x)\n";
  fixture f;
  fixture_open(&f, "bounded.poe", program, 0);
  double half = log_z_of(&f, "half", false, POEI_METHOD_CLOSED);
  check_close(half, log(0.5 * erfc(1.0 / sqrt(2.0))) + POEI_LOG_2PI / 2.0, 1e-13, 0.0);
  check_close(log_z_of(&f, "box", false, POEI_METHOD_CLOSED), log_z_of(&f, "box", true, POEI_METHOD_QUADRATURE), 1e-7,
              0.0);
  check_close(log_z_of(&f, "both", false, POEI_METHOD_QUADRATURE), log_z_of(&f, "both", true, POEI_METHOD_QUADRATURE),
              1e-7, 0.0);
  /* slopes are exponential families, 0 among them */
  check_close(log_z_of(&f, "tilt", false, POEI_METHOD_CLOSED), 1.0 - log(2.0) + log(expm1(3.0) / 3.0), 1e-14, 0.0);
  poe_error error = {0};
  poei_solved solved;
  check_fails(poei_solve(&f.session, "grows", &solved, &error), POE_E_IMPROPER, error, "along x it grows");
  fixture_close(&f);
}

/* ---- one Gaussian for each value ---- */

static const char branches[] =
    "var x : real[2]\nvar k : int(3)\nvar s : binary\n"
    "switch = table(k, s | p=[[0.2, 0.1], [0, 0.3], [0.25, 0.15]])\n"
    "t = switch * formula(x, k, s | log_density=-(x[0] - 1.5*k)^2*(1 + s)/2 - (x[1] - s*x[0])^2*(1 + k)/2)\n"
    "seen = t given s = 1\n"
    "bad = switch * formula(x, k | energy=(2 - k)*sum(x^2))\n";

/* x0 | k, s ~ N(1.5 k, 1 / (1 + s)), x1 | x0 ~ N(s x0, 1 / (1 + k)): the weights are p / sqrt((1 + s) (1 + k)). */
static const double table[3][2] = {{0.2, 0.1}, {0.0, 0.3}, {0.25, 0.15}};

static double weight_of(int k, int s) {
  return table[k][s] / sqrt((1.0 + s) * (1.0 + k));
}

static void values_have_gaussians(void **unused) {
  (void)unused;
  enum { N = 8000 };
  double total = 0.0, with_s = 0.0;
  for (int k = 0; k < 3; k++) {
    total += weight_of(k, 0) + weight_of(k, 1);
    with_s += weight_of(k, 1);
  }
  for (uint64_t seed = 0; seed < 3; seed++) {
    fixture f;
    poe_error error = {0};
    poei_solved solved;
    fixture_open(&f, "branches.poe", branches, seed);
    check_close(log_z_of(&f, "t", false, POEI_METHOD_CLOSED), log(total) + POEI_LOG_2PI, 1e-13, 0.0);
    check_close(log_z_of(&f, "seen", false, POEI_METHOD_CLOSED), log(with_s) + POEI_LOG_2PI, 1e-13, 0.0);
    if (seed == 0) {
      check_close(log_z_of(&f, "t", true, POEI_METHOD_MARGINAL), log(total) + POEI_LOG_2PI, 1e-6, 0.0);
    }
    solve(&f, "t", &solved);
    const poei_run_options options = {.chains = 4, .draws = N / 4, .seed = seed, .pool = f.session.pool};
    poei_sampling sampling = {0};
    check_ok(poei_draw(&f.session, solved.plan, NULL, &options, NULL, 0, &sampling, &error), error);
    assert_true(sampling.exact);
    double count[3][2] = {{0}}, chi = 0.0, first = 0.0, second = 0.0;
    for (size_t i = 0; i < N; i++) { /* x[0], x[1], k, s; standardised they are N(0, 1) */
      const double *x = sampling.draws.x + 4 * i;
      count[(int)x[2]][(int)x[3]]++;
      double a = (x[0] - 1.5 * x[2]) * sqrt(1.0 + x[3]), b = (x[1] - x[3] * x[0]) * sqrt(1.0 + x[2]);
      first += (a + b) / sqrt(2.0 * N);
      second += (a * a + b * b - 2.0) / sqrt(4.0 * N);
    }
    for (int k = 0; k < 3; k++) {
      for (int s = 0; s < 2; s++) {
        double mean = N * weight_of(k, s) / total;
        assert_true(mean > 0.0 || count[k][s] == 0.0);
        chi += mean > 0.0 ? (count[k][s] - mean) * (count[k][s] - mean) / mean : 0.0;
      }
    }
    assert_true(poei_chi_square_tail(chi, 4.0) > 1e-5); /* false alarms: 1e-5, and 6e-7 each */
    check_close(first, 0.0, 5.0, 0.0);
    check_close(second, 0.0, 5.0, 0.0);
    poei_sampling_free(&sampling);
    poei_solved_free(&solved);
    fixture_close(&f);
  }
}

static void values_are_told(void **unused) {
  (void)unused;
  double total = 0.0, first[3] = {0};
  for (int k = 0; k < 3; k++) {
    first[k] = weight_of(k, 0) + weight_of(k, 1);
    total += first[k];
  }
  fixture f;
  fixture_action a;
  poe_error error = {0};
  poei_solved solved;
  fixture_open(&f, "branches.poe", branches, 0);
  json_t *r = fixture_perform(&f, poei_answer_marginals, fixture_act(&a, "marginals", "t", none), POE_OK, &error);
  assert_true(json_is_true(json_object_get(r, "exact")));
  const json_t *k = json_object_get(json_object_get(r, "marginals"), "k");
  for (size_t i = 0; i < 3; i++) {
    check_close(json_number_value(json_array_get(k, i)), first[i] / total, 1e-13, 0.0);
  }
  json_decref(r);
  check_fails(poei_solve(&f.session, "bad", &solved, &error), POE_E_IMPROPER, error, "with k = 2, s = 0");
  assert_int_equal(error.line, 7);
  fixture_close(&f);
}

/* ---- pruning ---- */

static const char mixtures[] =
    "var x, y : real\n"
    "a = 0.9*gaussian(x | mean=0, sd=1) + 0.099*gaussian(x | mean=3, sd=1) + 0.001*gaussian(x | mean=-4, sd=2)\n"
    "b = 0.5*gaussian(x | mean=0, sd=1) + 0.5*gaussian(x | mean=8, sd=1)\n"
    "c = a * b\n"
    "d = c * (0.999*gaussian(y | mean=0, sd=1) + 0.001*gaussian(y | mean=1, sd=1))\n"
    "e = c * student_t(x | df=3)\n";

static void pruning_is_asked_for(void **unused) {
  (void)unused;
  static const char *const masses[] = {"1e-12", "1e-6", "1e-3", "0.1"};
  fixture f;
  fixture_action a;
  poe_error error = {0};
  fixture_open(&f, "mixtures.poe", mixtures, 0);
  json_t *r = fixture_perform(&f, poei_answer_logz, fixture_act(&a, "logz", "c", none), POE_OK, &error);
  double whole = fixture_number(r, "log_z"), last = 0.0;
  assert_true(json_is_true(json_object_get(r, "exact")));
  assert_null(json_object_get(r, "discarded_mass"));
  json_decref(r);
  for (size_t i = 0; i < sizeof masses / sizeof *masses; i++) {
    const char *const options[][2] = {{"prune", masses[i]}, {NULL, NULL}};
    r = fixture_perform(&f, poei_answer_logz, fixture_act(&a, "logz", "c", options), POE_OK, &error);
    double gone = fixture_number(r, "discarded_mass"), log_z = fixture_number(r, "log_z");
    assert_true(gone <= strtod(masses[i], NULL) && gone >= last);
    assert_true(json_is_true(json_object_get(r, "exact")) == (gone == 0.0));
    check_close(whole + log1p(-gone), log_z, 1e-12, 0.0); /* what is left is what is told */
    check_close(fixture_number(r, "std_error"), whole - log_z, 1e-12, 0.0);
    last = gone;
    json_decref(r);
  }
  assert_true(last > 1e-3);
  const char *const asked[][2] = {{"prune", "1e-3"}, {NULL, NULL}};
  r = fixture_perform(&f, poei_answer_logz, fixture_act(&a, "logz", "d", asked), POE_OK, &error);
  double both = fixture_number(r, "discarded_mass"); /* two blocks share what may go */
  assert_true(both > 0.0 && both <= 1e-3);
  json_decref(r);
  r = fixture_perform(&f, poei_answer_explain, fixture_act(&a, "explain", "c", asked), POE_OK, &error);
  assert_non_null(strstr(json_string_value(json_object_get(r, "reason")), "left out, as was asked"));
  assert_true(fixture_number(r, "discarded_mass") > 0.0);
  json_decref(r);
  /* a factor of something else is never pruned */
  r = fixture_perform(&f, poei_answer_logz, fixture_act(&a, "logz", "e", asked), POE_OK, &error);
  assert_true(fixture_number(r, "discarded_mass") == 0.0);
  json_decref(r);
  const char *const draws[][2] = {{"prune", "1e-3"}, {"draws", "250"}, {NULL, NULL}};
  r = fixture_perform(&f, poei_answer_sample, fixture_act(&a, "sample", "c", draws), POE_OK, &error);
  assert_true(fixture_number(r, "discarded_mass") > 0.0);
  assert_true(json_is_false(json_object_get(r, "exact")));
  json_decref(r);
  const char *const wrong[][2] = {{"prune", "2"}, {NULL, NULL}};
  json_t *nothing = NULL;
  check_fails(poei_answer_logz(&f.session, fixture_act(&a, "logz", "c", wrong), &nothing, &error), POE_E_USAGE, error,
              "prune");
  fixture_close(&f);
}

/* ---- memory ---- */

static void fail_every_allocation(const char *program, const char *target, double prune) {
  fixture f;
  poei_solved solved;
  fixture_open(&f, "memory.poe", program, 0);
  solve(&f, target, &solved);
  poe_status status = POE_E_MEMORY;
  poei_plan_options options;
  poei_plan_options_default(&options);
  options.prune = prune;
  for (uint64_t n = 1; status == POE_E_MEMORY; n++) {
    poei_plan *plan = NULL;
    poe_error error = {0};
    poei_alloc_fail_at(n);
    status = poei_plan_build(solved.plan->written, &options, &plan, &error);
    poei_alloc_fail_at(0);
    assert_true(status == POE_OK || (status == POE_E_MEMORY && error.status == POE_E_MEMORY));
    poei_plan_destroy(plan);
  }
  assert_int_equal(status, POE_OK);
  poei_solved_free(&solved);
  fixture_close(&f);
}

static void every_allocation_fails(void **unused) {
  (void)unused;
  fail_every_allocation(branches, "t", 0.0);
  fail_every_allocation(mixtures, "c", 1e-3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_are_gaussians), cmocka_unit_test(forms_of_writing),
      cmocka_unit_test(bounded_variables),      cmocka_unit_test(values_have_gaussians),
      cmocka_unit_test(values_are_told),        cmocka_unit_test(pruning_is_asked_for),
      cmocka_unit_test(every_allocation_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
