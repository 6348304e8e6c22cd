/* Simplices through the verbs: log Z by every route against closed forms and a sum over the triangle, draws against
 * exact means, modes, clamped rows, derived variables. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/answer/fixture.h"
#include "tests/net/model_file.h"
#include "tests/support/check.h"

/* `shape` and `bare` are Dirichlet densities that no rule can see. */
static const char program[] =
    "var w : simplex(3)\n"
    "var q : simplex(4)\n"
    "var v : simplex(2)[3]\n"
    "var x : real\n"
    "a = dirichlet(w | alpha=[2, 3, 4])\n"
    "b = dirichlet(w | alpha=[1.5, 0.7, 5])\n"
    "square = a^2 / b\n"
    "mix = 0.3*a + 0.7*b\n"
    "tilt = a * gaussian(w[0] | mean=0.2, sd=0.05) * formula(w[1], w[2] | energy=5*w[1]*w[2])\n"
    "four = dirichlet(q | alpha=[1, 2, 3, 1.5])\n"
    "shape = four * formula(q | log_density=1.5*log(q[0]) + 0.7*log(q[3]))\n"
    "bare = formula(q | log_density=1.5*log(q[0]) + log(q[1]) + 2*log(q[2]) + 0.7*log(q[3]))\n"
    "pairs = dirichlet(v | alpha=[0.5, 2]) * formula(v[1], x | energy=(v[1, 0] - x)^2) * gaussian(x | mean=0, sd=1)\n"
    "joint = a * gaussian(x | mean=0, sd=1) * formula(w, x | energy=3*(w[1] - x)^2)\n"
    "known = joint given w = [0.2, 0.3, 0.5]\n"
    "seen = joint given x = 0.4\n"
    "left = marginal(joint, over=w)\n";

static const char *const none[][2] = {{NULL, NULL}};
static const double pi = 3.14159265358979323846;

static double log_beta(size_t k, const double *alpha) {
  double total = 0.0, sum = 0.0;
  for (size_t i = 0; i < k; i++) {
    total += alpha[i];
    sum += lgamma(alpha[i]);
  }
  return sum - lgamma(total);
}

static json_t *perform(fixture *f, fixture_verb *verb, const char *word, const char *target,
                       const char *const (*options)[2]) {
  fixture_action a;
  poe_error error = {0};
  return fixture_perform(f, verb, fixture_act(&a, word, target, options), POE_OK, &error);
}

static json_t *logz(fixture *f, const char *target) {
  return perform(f, poei_answer_logz, "logz", target, none);
}

/* log Z that must be exact. */
static void check_exact(fixture *f, const char *target, double expected) {
  json_t *r = logz(f, target);
  assert_true(json_is_true(json_object_get(r, "exact")));
  check_close(fixture_number(r, "log_z"), expected, 1e-12, 1e-12);
  json_decref(r);
}

static void check_near(fixture *f, const char *target, const char *method, double expected, double tolerance) {
  json_t *r = logz(f, target);
  assert_string_equal(json_string_value(json_object_get(r, "method")), method);
  check_close(fixture_number(r, "log_z"), expected, tolerance, 0.0);
  json_decref(r);
}

/* A sum over the triangle by the midpoint rule in x = a, y = (1 - a) b; its error is that of 1 / N^2. */
static double triangle(double (*density)(double x, double y, double z)) {
  enum { N = 1500 };
  double sum = 0.0;
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < N; j++) {
      double a = (i + 0.5) / N, b = (j + 0.5) / N;
      sum += (1.0 - a) * density(a, (1.0 - a) * b, (1.0 - a) * (1.0 - b)) / ((double)N * N);
    }
  }
  return log(sum);
}

static double density_a(double x, double y, double z) {
  return exp(-log_beta(3, (double[]){2.0, 3.0, 4.0})) * x * y * y * z * z * z;
}

static double density_tilt(double x, double y, double z) {
  double u = (x - 0.2) / 0.05;
  return density_a(x, y, z) * exp(-0.5 * u * u - 5.0 * y * z) / (0.05 * sqrt(2.0 * pi));
}

/* x integrated out: int N(x; 0, 1) e^{-3 (y - x)^2} = e^{-3 y^2 / 7} / sqrt(7). */
static double density_joint(double x, double y, double z) {
  return density_a(x, y, z) * exp(-3.0 * y * y / 7.0) / sqrt(7.0);
}

static double density_seen(double x, double y, double z) {
  return density_a(x, y, z) * exp(-0.5 * 0.16 - 3.0 * (y - 0.4) * (y - 0.4)) / sqrt(2.0 * pi);
}

static void log_constants(void **state) {
  (void)state;
  static const double a[3] = {2, 3, 4}, b[3] = {1.5, 0.7, 5}, both[3] = {2.5, 5.3, 3}, four[4] = {1, 2, 3, 1.5},
                      up[4] = {2.5, 2, 3, 2.2}, bare[4] = {2.5, 2, 3, 1.7};
  fixture f;
  fixture_open(&f, "simplex.poe", program, 3);
  check_exact(&f, "a", 0.0);
  check_exact(&f, "mix", 0.0);
  check_exact(&f, "square", log_beta(3, both) - 2.0 * log_beta(3, a) + log_beta(3, b));
  check_exact(&f, "uniform(w | low=0, high=1)", -log(2.0)); /* -log (k - 1)! */
  check_exact(&f, "uniform(q)", -log(6.0));
  check_near(&f, "tilt", "quadrature", triangle(density_tilt), 1e-5);
  check_near(&f, "seen", "quadrature", triangle(density_seen), 1e-5);
  check_near(&f, "known", "quadrature", log(density_a(0.2, 0.3, 0.5)) - 3.0 * 0.09 / 7.0 - 0.5 * log(7.0), 1e-8);
  /* estimates: 6 of their standard errors, which are below 0.05: at most 1e-8 of false alarm each */
  const struct {
    const char *target;
    double expected;
  } estimated[] = {{"shape", log_beta(4, up) - log_beta(4, four)},
                   {"bare", log_beta(4, bare)},
                   {"joint", triangle(density_joint)},
                   {"left", triangle(density_joint)}};
  for (size_t i = 0; i < 4; i++) {
    json_t *r = logz(&f, estimated[i].target);
    double se = fixture_number(r, "std_error");
    assert_true(se > 0.0 && se < 0.06);
    check_close(fixture_number(r, "log_z"), estimated[i].expected, 6.0 * se, 0.0);
    json_decref(r);
  }
  fixture_close(&f);
}

/* Means of sampled targets within 6 of their standard errors; the kernel and sequential Monte Carlo agree with the
 * closed form, and lp is the log-density in the user's space. 3 seeds, 4 numbers, 2 methods: 5e-8. */
static void sampled_means(void **state) {
  (void)state;
  static const double alpha[4] = {2.5, 2.0, 3.0, 2.2};
  static const char *const methods[2] = {"hmc", "smc"};
  for (uint64_t seed = 1; seed <= 3; seed++) {
    for (size_t m = 0; m < 2; m++) {
      fixture f;
      fixture_open(&f, "simplex.poe", program, seed);
      const char *const options[][2] = {{"method", methods[m]}, {NULL, NULL}};
      json_t *r = perform(&f, poei_answer_sample, "sample", "shape", options);
      const json_t *rows = json_object_get(json_object_get(r, "summary"), "q");
      assert_int_equal(json_array_size(rows), 4);
      for (size_t i = 0; i < 4; i++) {
        const json_t *row = json_array_get(rows, i);
        check_close(fixture_number(row, "mean"), alpha[i] / 9.7, 6.0 * fixture_number(row, "mcse_mean"), 0.0);
      }
      assert_true(json_is_true(json_object_get(json_object_get(r, "gate"), "passed")));
      json_decref(r);
      fixture_close(&f);
    }
  }
}

static void draws_on_simplices(void **state) {
  (void)state;
  static const char *const targets[4] = {"tilt", "shape", "pairs", "square"};
  static const size_t size[4] = {3, 4, 2, 3};
  for (size_t t = 0; t < 4; t++) {
    fixture f;
    poe_error error = {0};
    poei_solved solved;
    poei_sampling sampling;
    fixture_open(&f, "simplex.poe", program, 11);
    poei_run_options options = {.chains = 4, .draws = 200, .warmup = 200, .seed = 11, .pool = f.session.pool};
    check_ok(poei_solve(&f.session, targets[t], &solved, &error), error);
    check_ok(poei_draw(&f.session, solved.plan, "auto", &options, NULL, 0, &sampling, &error), error);
    size_t d = sampling.draws.dim, n = 800;
    double logp[800];
    check_ok(
        poei_evaluate_rows(&f.session, solved.target.expert, (poe_rows){n, d, d, sampling.draws.x}, logp, NULL, &error),
        error);
    for (size_t i = 0; i < n; i++) {
      double sum = 0.0;
      for (size_t j = 0; j < size[t]; j++) {
        assert_true(sampling.draws.x[i * d + j] > 0.0);
        sum += sampling.draws.x[i * d + j];
      }
      check_close(sum, 1.0, 1e-13, 0.0);
      check_close(sampling.draws.lp[i], logp[i], 1e-9, 1e-9);
    }
    poei_sampling_free(&sampling);
    poei_solved_free(&solved);
    fixture_close(&f);
  }
}

/* A decoder reads all numbers of the simplex, or two of them: (2 x - y, x + 3 y), which single precision holds to 1e-7.
 */
static double density_derived(double x, double y, double z) {
  double u = 2.0 * x - y - 0.5, v = x + 3.0 * y - 0.2;
  return density_a(x, y, z) * exp(-0.5 * (u * u + v * v) / 0.09) / (2.0 * pi * 0.09);
}

static void derived_variables(void **state) {
  (void)state;
  static const float weight[4] = {2.0f, -1.0f, 1.0f, 3.0f}, whole[6] = {2.0f, -1.0f, 0.0f, 1.0f, 3.0f, 0.0f};
  static const float zero[2] = {0.0f, 0.0f};
  static const char layers[] = "[{\"op\":\"linear\",\"weight\":\"w\",\"bias\":\"b\"}]";
  static const char *const for_two[][2] = {
      {"poe.format", "1"}, {"poe.family", "decoder"}, {"poe.input", "[2]"}, {"poe.layers", layers}, {NULL, NULL}};
  static const char *const for_three[][2] = {
      {"poe.format", "1"}, {"poe.family", "decoder"}, {"poe.input", "[3]"}, {"poe.layers", layers}, {NULL, NULL}};
  const model_tensor two[2] = {{"w", 2, 2, weight}, {"b", 2, 0, zero}};
  const model_tensor three[2] = {{"w", 2, 3, whole}, {"b", 2, 0, zero}};
  model_write("two.safetensors", 2, two, for_two);
  model_write("three.safetensors", 2, three, for_three);
  fixture f;
  fixture_open(&f, "derived.poe",
               "var w : simplex(3)\n"
               "a = dirichlet(w | alpha=[2, 3, 4])\n"
               "s = decoder(w[0:2] | file=\"two.safetensors\")\n"
               "t = decoder(w | file=\"three.safetensors\")\n"
               "part = a * gaussian(s | mean=[0.5, 0.2], sd=0.3)\n"
               "all = a * gaussian(t | mean=[0.5, 0.2], sd=0.3)\n",
               3);
  check_near(&f, "part", "quadrature", triangle(density_derived), 1e-5);
  check_near(&f, "all", "quadrature", triangle(density_derived), 1e-5);
  fixture_close(&f);
}

static double coordinate(const json_t *r, size_t j) {
  const json_t *mode = json_array_get(json_object_get(r, "modes"), 0);
  return json_number_value(json_array_get(json_object_get(mode, "x"), j));
}

static void modes(void **state) {
  (void)state;
  fixture f;
  fixture_open(&f, "simplex.poe", program, 3);
  json_t *r = perform(&f, poei_answer_minimize, "minimize", "a", none); /* (alpha - 1) / (A - k) */
  assert_int_equal(json_array_size(json_object_get(r, "modes")), 1);
  for (size_t i = 0; i < 3; i++) {
    check_close(coordinate(r, i), (double)(i + 1) / 6.0, 1e-6, 0.0);
  }
  json_decref(r);
  r = perform(&f, poei_answer_minimize, "minimize", "shape", none);
  static const double up[4] = {1.5, 1.0, 2.0, 1.2};
  for (size_t i = 0; i < 4; i++) {
    check_close(coordinate(r, i), up[i] / 5.7, 1e-5, 0.0);
  }
  json_decref(r);
  /* rows of a clamped simplex: x = 3 y / (1 / 2 + 3) at each */
  poet_temp_file("rows.csv", "0.2,0.3,0.5\n0.1,0.7,0.2\n", 24);
  char path[512];
  snprintf(path, sizeof path, "w=%s/rows.csv", poet_temp_dir());
  const char *const options[][2] = {{"clamp", path}, {NULL, NULL}};
  r = perform(&f, poei_answer_minimize, "minimize", "joint", options);
  const json_t *first = json_array_get(json_object_get(r, "modes"), 0), *x = json_object_get(first, "x");
  check_close(json_number_value(json_array_get(x, 0)), 0.9 / 3.5, 1e-6, 0.0);
  json_decref(r);
  fixture_close(&f);
}

static void verified(void **state) {
  (void)state;
  static const char *const targets[] = {"a", "tilt", "mix", "square", "shape", "pairs", "seen"};
  fixture f;
  fixture_open(&f, "simplex.poe", program, 3);
  for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
    json_t *r = perform(&f, poei_answer_verify, "verify", targets[t], none);
    const json_t *checks = json_object_get(r, "checks"), *check;
    size_t i;
    json_array_foreach(checks, i, check) {
      if (!json_is_true(json_object_get(check, "passed"))) {
        fail_msg("%s: %s: %s", targets[t], json_string_value(json_object_get(check, "name")),
                 json_string_value(json_object_get(check, "detail")));
      }
    }
    json_decref(r);
  }
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(log_constants),     cmocka_unit_test(sampled_means), cmocka_unit_test(draws_on_simplices),
      cmocka_unit_test(derived_variables), cmocka_unit_test(modes),         cmocka_unit_test(verified),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
