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
    "var h : real[3]\n"
    "var k : int(3)\n"
    "var s : binary[2, 3]\n"
    "grid = product(i in 0:2, j in 0:2 -> table(s[i, j], s[i, j+1] | p=[[2, 1], [1, 3]]))\n"
    "closed = categorical(k | p=[0.2, 0.5, 0.3]) * gmm(x | weights=[0.5, 0.5], means=[0, 1], covs=[1, 2])\n"
    "mixed = categorical(k | p=[0.2, 0.5, 0.3]) * formula(x, k | energy=(x - k/2)^4*(1 + k))\n"
    "opaque = marginal(gaussian(h | mean=0, sd=1) *\n"
    "  formula(x, h | energy=(x - sin(h[0] + h[1] + h[2]))^2/2), over=h)\n"
    "wild = gaussian(x | mean=0, sd=1) * formula(x | energy=x^4 + sin(3*x))\n"
    "bulk = formula(h | energy=(h[0]^2 + h[1]^2 + h[2]^2 + h[0]*h[1]*h[2]/8)^2/8)\n"
    "wells = formula(h | energy=3*(h[0]^2 - 9)^2 + h[1]^2 + h[2]^2 + (h[0]*h[1]*h[2])^2/50)\n"
    "held = bulk * formula(h, k | energy=k*h[0])\n"
    "stuck = wells * formula(h, k | energy=k*h[0]/300)\n"
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
  /* what stands beside an independent continuous coordinate needs no draws */
  r = fixture_perform(&f, poei_answer_marginals, fixture_act(&a, "marginals", "closed", none), POE_OK, &error);
  assert_true(json_is_true(json_object_get(r, "exact")));
  const json_t *k = json_object_get(json_object_get(r, "marginals"), "k");
  check_close(item(k, 0), 0.2, 1e-12, 0.0);
  check_close(item(k, 1), 0.5, 1e-12, 0.0);
  assert_null(json_object_get(r, "std_error"));
  json_decref(r);
  json_t *nothing = NULL;
  check_fails(poei_answer_marginals(&f.session, fixture_act(&a, "marginals", "wild", none), &nothing, &error),
              POE_E_CAPABILITY, error, "no discrete coordinate");
  fixture_close(&f);
}

/* p(k) of `mixed` is proportional to p_k (1 + k)^-1/4: the integral of exp(-a u^4) is 2 Gamma(5/4) a^-1/4. */
static double mixed_probabilities(double *p) {
  static const double prior[3] = {0.2, 0.5, 0.3};
  double total = 0.0;
  for (int k = 0; k < 3; k++) {
    p[k] = prior[k] * pow(1.0 + k, -0.25);
    total += p[k];
  }
  for (int k = 0; k < 3; k++) {
    p[k] /= total;
  }
  return total;
}

static bool gate_passed(const json_t *r) {
  return json_is_true(json_object_get(json_object_get(r, "gate"), "passed"));
}

/* Marginals of drawn targets have the gate of their draws. In `stuck` no kernel takes a chain from one well to the
 * other over 243 nats, so that each is right about one of them only; that all 16 begin in one has probability 3e-5.
 * `held` has one well: a correct gate fails at most one of 4 seeds. */
static void drawn_marginals_have_a_gate(void **state) {
  (void)state;
  const char *const settings[][2] = {{"chains", "16"}, {"draws", "500"}, {"warmup", "500"}, {NULL, NULL}};
  const char *const report[][2] = {
      {"chains", "16"}, {"draws", "500"}, {"warmup", "500"}, {"gate", "report"}, {NULL, NULL}};
  size_t passed = 0;
  for (uint64_t seed = 0; seed < 4; seed++) {
    fixture f;
    fixture_action a;
    poe_error error = {0};
    fixture_open(&f, "marginals.poe", program, seed);
    json_t *r =
        fixture_perform(&f, poei_answer_marginals, fixture_act(&a, "marginals", "held", report), POE_OK, &error);
    assert_string_equal(json_string_value(json_object_get(r, "method")), "Rao-Blackwellised over draws");
    passed += gate_passed(r);
    json_decref(r);
    r = fixture_perform(&f, poei_answer_marginals, fixture_act(&a, "marginals", "stuck", settings), POE_E_GATE, &error);
    assert_non_null(strstr(error.message, "the gate failed: "));
    assert_false(gate_passed(r));
    json_decref(r);
    r = fixture_perform(&f, poei_answer_marginals, fixture_act(&a, "marginals", "stuck", report), POE_OK, &error);
    assert_false(gate_passed(r));
    assert_true(json_array_size(json_object_get(json_object_get(r, "gate"), "reasons")) > 0);
    json_decref(r);
    fixture_close(&f);
  }
  assert_true(passed >= 3);
}

/* x given k has mean k / 2 and variance Gamma(3/4) / Gamma(1/4) (1 + k)^-1/2. The counts of k by chi-square at 1e-4
 * and the means of x given k within 5 standard errors (6e-7 each), for each of 3 seeds. */
static void mixed_targets_are_drawn(void **state) {
  (void)state;
  double expected[3], total = mixed_probabilities(expected);
  for (uint64_t seed = 0; seed < 3; seed++) {
    fixture f;
    poe_error error = {0};
    fixture_open(&f, "marginals.poe", program, seed);
    poei_solved solved;
    check_ok(poei_solve(&f.session, "mixed", &solved, &error), error);
    assert_int_equal(solved.plan->method, POEI_METHOD_MARGINAL);
    check_close(solved.plan->log_z, log(total) + log(2.0 * tgamma(1.25)), 1e-7, 0.0);
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
      double mean = n * expected[k], se = sqrt(tgamma(0.75) / tgamma(0.25) / sqrt(1.0 + k) / count[k]);
      chi += (count[k] - mean) * (count[k] - mean) / mean;
      check_close(sum[k] / count[k], 0.5 * k, 5.0 * se, 0.0);
    }
    assert_true(poei_chi_square_tail(chi, 2.0) > 1e-4);
    poei_sampling_free(&sampling);
    poei_solved_free(&solved);
    fixture_close(&f);
  }
}

/* Once h is left out, x has variance 1 + E sin^2(N(0, 3)), and its square one below 4.5: that of hmc's draws within 5
 * standard errors at 1000 effective ones. */
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
  check_close(square, 1.0 + 0.5 * (1.0 - exp(-6.0)), 5.0 * sqrt(4.5 / 1000.0), 0.0);
  poei_sampling_free(&sampling);
  poei_solved_free(&solved);
  fixture_close(&f);
}

/* ---- averages of conditional probabilities ---- */

/* Over 20 seeds the error of p(k = 0), in its own standard errors, is standard normal: the sum of squares by chi-square
 * at 1e-4 on either side. Each standard error is well below that of counting. An estimate that leaves k's prior out is
 * further off than 20 of them. */
static void averages_know_their_errors(void **state) {
  (void)state;
  double p[3], chi = 0.0;
  mixed_probabilities(p);
  for (uint64_t seed = 0; seed < 20; seed++) {
    fixture f;
    fixture_action a;
    poe_error error = {0};
    fixture_open(&f, "marginals.poe", program, seed);
    const char *const more[][2] = {{"draws", "500"}, {NULL, NULL}};
    json_t *r = fixture_perform(&f, poei_answer_marginals, fixture_act(&a, "marginals", "mixed", more), POE_OK, &error);
    assert_true(json_is_false(json_object_get(r, "exact")));
    assert_string_equal(json_string_value(json_object_get(r, "method")), "Rao-Blackwellised over draws");
    assert_int_equal(json_integer_value(json_object_get(r, "draws")), 2000);
    const json_t *k = json_object_get(json_object_get(r, "marginals"), "k");
    const json_t *se = json_object_get(json_object_get(r, "std_error"), "k");
    double off = (item(k, 0) - p[0]) / item(se, 0), wrong = pow(1.0, -0.25) / (1.0 + pow(2.0, -0.25) + pow(3.0, -0.25));
    chi += off * off;
    check_close(item(k, 0) + item(k, 1) + item(k, 2), 1.0, 1e-9, 0.0);
    assert_true(item(se, 0) < 0.6 * sqrt(p[0] * (1.0 - p[0]) / 2000.0));
    assert_true(fabs(item(k, 0) - wrong) > 10.0 * item(se, 0));
    assert_true(fixture_number(r, "largest_std_error") >= item(se, 0));
    json_decref(r);
    fixture_close(&f);
  }
  assert_true(poei_chi_square_tail(chi, 20.0) > 1e-4);
  assert_true(poei_chi_square_tail(chi, 20.0) < 1.0 - 1e-4);
}

/* What the continuous variables say nothing about is the same at every draw but for rounding: its error is that, and a
 * number. */
static void what_does_not_vary_has_no_error(void **state) {
  static const double weight[3] = {2.843, 2.136, 0.945};
  (void)state;
  static const char text[] =
      "var a : binary\nvar b, c, d, e : int(3)\nvar x : real\n"
      "f0 = formula(x, d | energy=0.825*(x + 0.133*d)^2/2) * formula(x, b | energy=0.757*(x + 0.651*b)^2/2) * "
      "formula(x, a | energy=0.828*(x + 0.709*a)^2/2) * gaussian(x | mean=0.959, sd=1.639)\n"
      "f1 = formula(x, e | log_density=0.3*cos(x)*e) * gaussian(x | mean=-0.247, sd=1.004)\n"
      "t = f0 * f1 * table(c | p=[2.843, 2.136, 0.945]) * gaussian(x | mean=1.044, sd=1.023) given a = 0\n";
  fixture f;
  fixture_action a;
  poe_error error = {0};
  fixture_open(&f, "constant.poe", text, 0);
  f.session.no_rewrite = true;
  json_t *r = fixture_perform(&f, poei_answer_marginals, fixture_act(&a, "marginals", "t", NULL), POE_OK, &error);
  const json_t *p = json_object_get(json_object_get(r, "marginals"), "c");
  const json_t *se = json_object_get(json_object_get(r, "std_error"), "c");
  assert_string_equal(json_string_value(json_object_get(r, "method")), "Rao-Blackwellised over draws");
  for (size_t v = 0; v < 3; v++) {
    check_close(item(p, v), weight[v] / 5.924, 1e-12, 0.0);
    assert_true(json_is_number(json_array_get(se, v)) && item(se, v) <= 1e-12);
  }
  json_decref(r);
  fixture_close(&f);
}

/* log of the integral of exp(-energy) over [-12, 12] by Simpson's rule. */
static double log_integral(double (*energy)(double x, double s), double s) {
  double sum = 0.0, h = 0.001;
  for (int i = 0; i <= 24000; i++) {
    sum += exp(-energy(-12.0 + h * i, s)) * (i == 0 || i == 24000 ? 1.0 : i % 2 == 1 ? 4.0 : 2.0) * h / 3.0;
  }
  return log(sum);
}

static double wavy(double x, double s) {
  return (x - s) * (x - s) / 2.0 + s * cos(3.0 * x) + x * x / 8.0;
}

/* The marginals of `one` of a program against truth[n, 3]: within `most` standard errors where they are from draws,
 * else within their bound. */
static void agree(const char *text, size_t n, double most, const double *truth) {
  fixture f;
  fixture_action a;
  poe_error error = {0};
  double spread = 0.0;
  fixture_open(&f, "chains.poe", text, 3);
  json_t *r = fixture_perform(&f, poei_answer_marginals, fixture_act(&a, "marginals", "one", none), POE_OK, &error);
  assert_true(json_is_false(json_object_get(r, "exact")));
  const json_t *p = json_object_get(json_object_get(r, "marginals"), "s");
  const json_t *se = json_object_get(json_object_get(r, "std_error"), "s");
  assert_int_equal(json_array_size(p), n);
  assert_true((se != NULL) == (most > 0.0));
  double bound = se == NULL ? fixture_number(r, "error_bound") : 0.0;
  assert_true(bound < 1e-6);
  for (size_t t = 0; t < n; t++) {
    for (size_t v = 0; v < 3; v++) {
      double own = item(json_array_get(p, t), v), error_of = se == NULL ? 0.0 : item(json_array_get(se, t), v);
      check_close(own, truth[3 * t + v], most * error_of + bound + 1e-9, 0.0);
      assert_true(error_of < 0.03);
      spread = fmax(spread, fabs(truth[3 * t + v] - truth[v]));
    }
  }
  assert_true(spread > 0.1); /* else another coordinate's would do as well */
  json_decref(r);
  fixture_close(&f);
}

/* Exact marginals of an all-discrete program's `one`. */
static void exactly(const char *text, size_t n, double *p) {
  fixture f;
  fixture_action a;
  poe_error error = {0};
  fixture_open(&f, "chains.poe", text, 3);
  json_t *r = fixture_perform(&f, poei_answer_marginals, fixture_act(&a, "marginals", "one", none), POE_OK, &error);
  assert_true(json_is_true(json_object_get(r, "exact")));
  const json_t *all = json_object_get(json_object_get(r, "marginals"), "s");
  for (size_t i = 0; i < 3 * n; i++) {
    p[i] = item(json_array_get(all, i / 3), i % 3);
  }
  json_decref(r);
  fixture_close(&f);
}

/* A chain of 40 states, of which one is joined to x: the same as the chain with a table in place of the integral over
 * x. */
static void a_chain_beside_one_coordinate(void **state) {
  (void)state;
  static const char chain[] =
      "var s : int(3)[40]\nvar x : real\n"
      "m = markov(s | initial=[0.7, 0.2, 0.1], transition=[[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])\n";
  char text[1024];
  double truth[120];
  snprintf(text, sizeof text, "%sone = m * table(s[3] | log=[%.15g, %.15g, %.15g])\n", chain, log_integral(wavy, 0.0),
           log_integral(wavy, 1.0), log_integral(wavy, 2.0));
  exactly(text, 40, truth);
  snprintf(text, sizeof text,
           "%sone = m * gaussian(x | mean=0, sd=2) * formula(x, s[3] | energy=(x - s[3])^2/2 + cos(3*x)*s[3])\n",
           chain);
  agree(text, 40, 0.0, truth);
}

static double bent(double x, double s) {
  return pow(x - 1.5 * s, 4.0) / 4.0 + 0.3 * s * sin(2.0 * x);
}

static const double initial[3] = {0.7, 0.2, 0.1},
                    transition[3][3] = {{0.5, 0.3, 0.2}, {0.3, 0.5, 0.2}, {0.2, 0.2, 0.6}};

/* Every state has an emission: the same as the chain with a table in place of each integral. */
static void a_chain_with_emissions(void **state) {
  (void)state;
  static const char chain[] =
      "var s : int(3)[6]\nvar y : real[6]\n"
      "m = markov(s | initial=[0.7, 0.2, 0.1], transition=[[0.5, 0.3, 0.2], [0.3, 0.5, 0.2], [0.2, 0.2, 0.6]])\n";
  char text[1024];
  double truth[18];
  snprintf(text, sizeof text, "%sone = m * product(i in 0:6 -> table(s[i] | log=[%.15g, %.15g, %.15g]))\n", chain,
           log_integral(bent, 0.0), log_integral(bent, 1.0), log_integral(bent, 2.0));
  exactly(text, 6, truth);
  snprintf(text, sizeof text,
           "%sone = m * product(i in 0:6 -> formula(y[i], s[i] | energy=(y[i] - 1.5*s[i])^4/4 + "
           "0.3*s[i]*sin(2*y[i])))\n",
           chain);
  agree(text, 6, 0.0, truth);
}

enum { POINTS = 201 };

/* to[s', y'] = sum over s and y of from[s, y] e(s, y) times the transition (backwards: its transpose) and the coupling
 * of y and y', on a grid over [-4, 7]. The trapezoidal rule of what is smooth and falls off is exact to rounding. */
static void step(const double (*from)[POINTS], double (*to)[POINTS], int backwards) {
  static double inner[3][POINTS];
  double h = 11.0 / (POINTS - 1);
  memset(inner, 0, sizeof inner);
  for (int s = 0; s < 3; s++) {
    for (int b = 0; b < POINTS; b++) {
      for (int g = 0; g < POINTS; g++) {
        double y = -4.0 + h * g, off = h * (g - b);
        inner[s][b] += from[s][g] * exp(-bent(y, s) - 0.8 * off * off) * h;
      }
    }
  }
  for (int s = 0; s < 3; s++) {
    for (int b = 0; b < POINTS; b++) {
      to[s][b] = 0.0;
      for (int r = 0; r < 3; r++) {
        to[s][b] += inner[r][b] * (backwards ? transition[s][r] : transition[r][s]);
      }
    }
  }
}

/* Neighbouring emissions are joined, so that all six are one island and are sampled by hmc: against sums and integrals
 * over all of (s, y), one step of the chain after the other. 5 standard errors for each of 18 numbers: false alarm
 * 1e-5. */
static void a_chain_with_joined_emissions(void **state) {
  (void)state;
  static double left[6][3][POINTS], right[6][3][POINTS];
  double truth[18], h = 11.0 / (POINTS - 1);
  for (int s = 0; s < 3; s++) {
    for (int g = 0; g < POINTS; g++) {
      left[0][s][g] = initial[s];
      right[5][s][g] = 1.0;
    }
  }
  for (int t = 0; t < 5; t++) {
    step((const double(*)[POINTS])left[t], left[t + 1], 0);
    step((const double(*)[POINTS])right[5 - t], right[4 - t], 1);
  }
  for (int t = 0; t < 6; t++) {
    double total = 0.0;
    for (int s = 0; s < 3; s++) {
      truth[3 * t + s] = 0.0;
      for (int g = 0; g < POINTS; g++) {
        truth[3 * t + s] += left[t][s][g] * right[t][s][g] * exp(-bent(-4.0 + h * g, s));
      }
      total += truth[3 * t + s];
    }
    for (int s = 0; s < 3; s++) {
      truth[3 * t + s] /= total;
    }
  }
  agree("var s : int(3)[6]\nvar y : real[6]\n"
        "m = markov(s | initial=[0.7, 0.2, 0.1], transition=[[0.5, 0.3, 0.2], [0.3, 0.5, 0.2], [0.2, 0.2, 0.6]])\n"
        "e = product(i in 0:6 -> formula(y[i], s[i] | energy=(y[i] - 1.5*s[i])^4/4 + 0.3*s[i]*sin(2*y[i])))\n"
        "one = m * e * product(i in 0:5 -> formula(y[i], y[i+1] | energy=0.8*(y[i] - y[i+1])^2))\n",
        6, 5.0, truth);
}

/* ---- scores, networks ---- */

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
              POE_E_CAPABILITY, error, "3 continuous latent coordinates");
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
      cmocka_unit_test(drawn_marginals_have_a_gate),
      cmocka_unit_test(mixed_targets_are_drawn),
      cmocka_unit_test(marginals_are_drawn_through_their_joint),
      cmocka_unit_test(averages_know_their_errors),
      cmocka_unit_test(what_does_not_vary_has_no_error),
      cmocka_unit_test(a_chain_beside_one_coordinate),
      cmocka_unit_test(a_chain_with_emissions),
      cmocka_unit_test(a_chain_with_joined_emissions),
      cmocka_unit_test(differences_need_no_constant),
      cmocka_unit_test(networks_stand_for_programs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
