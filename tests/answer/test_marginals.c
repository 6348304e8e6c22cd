/* The verb marginals, mixed targets drawn through their continuous marginal, marginals drawn through their joint, UAI
 * networks in place of programs, and scores as differences. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "tests/answer/fixture.h"
#include "tests/support/check.h"

static const char program[] =
    "var x : real\n"
    "var h : real\n"
    "var k : int(3)\n"
    "var s : binary[2, 3]\n"
    "grid = product(i in 0:2, j in 0:2 -> table(s[i, j], s[i, j+1] | p=[[2, 1], [1, 3]]))\n"
    "mixed = categorical(k | p=[0.2, 0.5, 0.3]) * formula(x, k | energy=(x - 2*k)^2*(1 + k)/2)\n"
    "opaque = marginal(gaussian(h | mean=0, sd=1) * formula(x, h | energy=(x - h)^2/2), over=h)\n"
    "wild = gaussian(x | mean=0, sd=1) * formula(x | energy=x^4 + sin(3*x))\n"
    "n = normalise(wild)\n";

static double item(const json_t *array, size_t i) {
  return json_number_value(json_array_get(array, i));
}

static const char *const none[][2] = {{NULL, NULL}};

/* Two independent rows of three binary sites, against the sum over the 8 states of one. */
static void exact_marginals(void **state) {
  (void)state;
  static const double p[2][2] = {{2, 1}, {1, 3}};
  double one[3] = {0.0}, total = 0.0;
  for (int v = 0; v < 8; v++) {
    int a = v & 1, b = (v >> 1) & 1, c = v >> 2;
    double w = p[a][b] * p[b][c];
    total += w;
    one[0] += a * w;
    one[1] += b * w;
    one[2] += c * w;
  }
  fixture f;
  fixture_action a;
  poe_error error = {0};
  fixture_open(&f, "marginals.poe", program, 0);
  json_t *r = fixture_perform(&f, poei_answer_marginals, fixture_act(&a, "marginals", "grid", none), POE_OK, &error);
  assert_true(json_is_true(json_object_get(r, "exact")));
  const json_t *s = json_object_get(json_object_get(r, "marginals"), "s");
  for (size_t i = 0; i < 2; i++) {
    for (size_t j = 0; j < 3; j++) {
      const json_t *site = json_array_get(json_array_get(s, i), j);
      check_close(item(site, 1), one[j] / total, 1e-12, 0.0);
      check_close(item(site, 0), 1.0 - one[j] / total, 1e-12, 0.0);
    }
  }
  json_decref(r);
  /* a clamped site is certain */
  r = fixture_perform(&f, poei_answer_marginals, fixture_act(&a, "marginals", "grid given s[0, 1] = 1", none), POE_OK,
                      &error);
  s = json_object_get(json_object_get(r, "marginals"), "s");
  check_close(item(json_array_get(json_array_get(s, 0), 1), 1), 1.0, 0.0, 0.0);
  check_close(item(json_array_get(json_array_get(s, 0), 0), 1), 3.0 / 4.0, 1e-12, 0.0);
  json_decref(r);
  /* beside a continuous coordinate they are counted, and said to be: 8000 draws, 5 standard errors */
  const char *const more[][2] = {{"draws", "2000"}, {NULL, NULL}};
  r = fixture_perform(&f, poei_answer_marginals, fixture_act(&a, "marginals", "mixed", more), POE_OK, &error);
  assert_true(json_is_false(json_object_get(r, "exact")));
  double z = 0.2 + 0.5 / sqrt(2.0) + 0.3 / sqrt(3.0), first = 0.2 / z;
  const json_t *k = json_object_get(json_object_get(r, "marginals"), "k");
  check_close(item(k, 0), first, 5.0 * sqrt(first * (1.0 - first) / 8000.0), 0.0);
  check_close(item(k, 0) + item(k, 1) + item(k, 2), 1.0, 1e-9, 0.0);
  json_decref(r);
  json_t *nothing = NULL;
  check_fails(poei_answer_marginals(&f.session, fixture_act(&a, "marginals", "wild", none), &nothing, &error),
              POE_E_CAPABILITY, error, "no discrete coordinate");
  fixture_close(&f);
}

/* p(k) is proportional to p_k / sqrt(1 + k), and x given k is N(2k, 1 / (1 + k)). The counts of k by chi-square at 1e-4
 * and the means of x given k within 5 standard errors (6e-7 each), for each of 3 seeds. */
static void mixed_targets_are_drawn(void **state) {
  (void)state;
  double expected[3], total = 0.0;
  for (int k = 0; k < 3; k++) {
    static const double p[3] = {0.2, 0.5, 0.3};
    expected[k] = p[k] / sqrt(1.0 + k);
    total += expected[k];
  }
  for (uint64_t seed = 0; seed < 3; seed++) {
    fixture f;
    poe_error error = {0};
    fixture_open(&f, "marginals.poe", program, seed);
    poei_solved solved;
    check_ok(poei_solve(&f.session, "mixed", &solved, &error), error);
    assert_int_equal(solved.plan->method, POEI_METHOD_MARGINAL);
    check_close(solved.plan->log_z, log(total) + 0.5 * log(2.0 * acos(-1.0)), 1e-7, 0.0);
    const poei_run_options options = {.chains = 4, .draws = 2000, .seed = seed, .pool = f.session.pool};
    poei_sampling sampling = {0};
    check_ok(poei_draw(&f.session, solved.plan, NULL, &options, NULL, 0, &sampling, &error), error);
    assert_int_equal(sampling.draws.dim, 2);
    double count[3] = {0}, sum[3] = {0}, chi = 0.0, n = 8000.0;
    for (size_t i = 0; i < 8000; i++) {
      int k = (int)sampling.draws.x[2 * i + 1];
      count[k]++;
      sum[k] += sampling.draws.x[2 * i];
    }
    for (int k = 0; k < 3; k++) {
      double mean = n * expected[k] / total, se = 1.0 / sqrt((1.0 + k) * count[k]);
      chi += (count[k] - mean) * (count[k] - mean) / mean;
      check_close(sum[k] / count[k], 2.0 * k, 5.0 * se, 0.0);
    }
    assert_true(poei_chi_square_tail(chi, 2.0) > 1e-4);
    poei_sampling_free(&sampling);
    poei_solved_free(&solved);
    fixture_close(&f);
  }
}

/* x ~ N(0, 2) once h is left out: the variance of hmc's draws within 5 standard errors at 1000 effective ones. */
static void marginals_are_drawn_through_their_joint(void **state) {
  (void)state;
  fixture f;
  poe_error error = {0};
  fixture_open(&f, "marginals.poe", program, 1);
  poei_solved solved;
  check_ok(poei_solve(&f.session, "opaque", &solved, &error), error);
  assert_int_equal(solved.plan->method, POEI_METHOD_JOINT);
  const poei_run_options options = {.chains = 4, .warmup = 500, .draws = 2000, .thin = 2, .seed = 1};
  poei_sampling sampling = {0};
  check_ok(poei_draw(&f.session, solved.plan, NULL, &options, NULL, 0, &sampling, &error), error);
  assert_int_equal(sampling.draws.dim, 1);
  double square = 0.0;
  for (size_t i = 0; i < 8000; i++) {
    square += sampling.draws.x[i] * sampling.draws.x[i] / 8000.0;
  }
  check_close(square, 2.0, 5.0 * 2.0 * sqrt(2.0 / 1000.0), 0.0);
  poei_sampling_free(&sampling);
  poei_solved_free(&solved);
  fixture_close(&f);
}

/* Differences need no constant: the same with and without normalise, and none is estimated. */
static void differences_need_no_constant(void **state) {
  (void)state;
  static const char rows[] = "0.5\n-1\n0.1\n";
  fixture f;
  fixture_action a;
  poe_error error = {0};
  fixture_open(&f, "marginals.poe", program, 0);
  const char *points = poet_temp_file("rows.csv", rows, strlen(rows));
  const char *const options[][2] = {{"data", points}, {"relative_to", "1"}, {"rank", "true"}, {NULL, NULL}};
  json_t *r = fixture_perform(&f, poei_answer_score, fixture_act(&a, "score", "n", options), POE_OK, &error);
  static const double x[3] = {0.5, -1.0, 0.1};
  double value[3];
  for (size_t i = 0; i < 3; i++) {
    value[i] = -0.5 * x[i] * x[i] - pow(x[i], 4) - sin(3.0 * x[i]);
  }
  for (size_t i = 0; i < 3; i++) {
    check_close(item(json_object_get(r, "log_density"), i), value[i] - value[1], 1e-12, 0.0);
  }
  assert_int_equal(json_integer_value(json_array_get(json_object_get(r, "rank"), 0)), 2);
  assert_true(json_is_false(json_object_get(r, "normalised")));
  json_decref(r);
  poei_solved solved;
  check_ok(poei_solve_differences(&f.session, "n", &solved, &error), error);
  assert_int_equal(solved.n_estimates, 0);
  poei_solved_free(&solved);
  json_t *nothing = NULL;
  const char *const hidden[][2] = {{"data", points}, {NULL, NULL}};
  check_fails(poei_answer_score(&f.session, fixture_act(&a, "score", "opaque", hidden), &nothing, &error),
              POE_E_CAPABILITY, error, "no closed form");
  fixture_close(&f);
}

static void networks_stand_for_programs(void **state) {
  (void)state;
  static const char net[] = "MARKOV\n3\n2 3 2\n2\n2 0 1\n2 1 2\n6 1 2 3 4 5 6\n6 1 0 2 1 0 3\n";
  static const char evidence[] = "1 2 1\n", impossible[] = "2 1 0 2 1\n";
  const char *path = poet_temp_file("small.uai", net, strlen(net));
  char *text = NULL;
  poe_error error = {0};
  check_ok(poei_uai_program(path, poet_temp_file("small.evid", evidence, strlen(evidence)), &text, &error), error);
  assert_string_equal(text, "var x : int(3)[3]\nnet = uai(x | file=\"small.uai\")\n"
                            "observed = net given (x[2] = 1)\n");
  fixture f;
  fixture_action a;
  fixture_open(&f, "small.poe", text, 0);
  poei_free(text);
  json_t *r = fixture_perform(&f, poei_answer_logz, fixture_act(&a, "logz", NULL, none), POE_OK, &error);
  double z = (2 * 1 + 3 * 3) + (5 * 1 + 6 * 3); /* x2 = 1: weights 0, 1, 3 of the middle variable */
  check_close(fixture_number(r, "log_z"), log(z), 1e-12, 0.0);
  json_decref(r);
  fixture_close(&f);
  check_ok(poei_uai_program(path, poet_temp_file("none.evid", impossible, strlen(impossible)), &text, &error), error);
  fixture_open(&f, "small.poe", text, 0);
  poei_free(text);
  json_t *nothing = NULL;
  check_fails(poei_answer_logz(&f.session, fixture_act(&a, "logz", NULL, none), &nothing, &error), POE_E_EMPTY, error,
              "");
  assert_true(error.line > 0);
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(exact_marginals),
      cmocka_unit_test(mixed_targets_are_drawn),
      cmocka_unit_test(marginals_are_drawn_through_their_joint),
      cmocka_unit_test(differences_need_no_constant),
      cmocka_unit_test(networks_stand_for_programs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
