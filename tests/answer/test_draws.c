/* Draws put together from parts: mixtures by their written weights whatever the constants, independent blocks, clamped
 * coordinates, and what an interruption leaves. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "tests/answer/fixture.h"
#include "tests/support/check.h"

/* Chance of a false alarm of each chi-square test here. */
#define FALSE_ALARM 1e-6

/* Components differ in x[0], far apart, and their constants by e^7. In 1 dimension the constants come from quadrature,
 * in 3 from sequential Monte Carlo. */
static const char flat[] = "var x : real\n"
                           "a = formula(x | energy=(x + 9)^4 - 7)\n"
                           "b = formula(x | energy=(x - 0)^4)\n"
                           "c = formula(x | energy=3*(x - 9)^4 + 2)\n"
                           "mix = 0.2*a + 0.3*b + 0.5*c\n"
                           "either = a or b\n"
                           "raw = 0.2*unnormalised(a) + 0.3*unnormalised(b) + 0.5*unnormalised(c)\n";
static const char deep[] = "var x : real[3]\n"
                           "a = gaussian(x | mean=[-9, 0, 0], sd=1) * formula(x | energy=(x[1]*x[2])^2 - 7)\n"
                           "b = gaussian(x | mean=0, sd=1) * formula(x | energy=(x[1]*x[2])^2)\n"
                           "c = gaussian(x | mean=[9, 0, 0], sd=1)\n"
                           "mix = 0.2*a + 0.3*b + 0.5*c\n"
                           "either = a or b\n"
                           "raw = 0.2*unnormalised(a) + 0.3*unnormalised(b) + 0.5*unnormalised(c)\n";

static void draw(fixture *f, const char *target, size_t chains, size_t draws, poei_solved *solved,
                 poei_sampling *sampling) {
  poe_error error = {0};
  poei_run_options options = {.chains = chains,
                              .draws = draws,
                              .warmup = 300,
                              .seed = f->session.seed,
                              .pool = f->session.pool,
                              .monitor = f->session.monitor};
  check_ok(poei_solve(&f->session, target, solved, &error), error);
  check_ok(poei_draw(&f->session, solved->plan, "auto", &options, NULL, 0, sampling, &error), error);
  assert_int_equal(sampling->draws.chains, chains);
  assert_int_equal(sampling->draws.draws, draws);
}

/* Tail probability of the counts of x[0] near -9, 0 and 9 under weight[3]. */
static double component_tail(const poei_draws *draws, const double *weight) {
  size_t n = draws->chains * draws->draws, count[3] = {0};
  for (size_t i = 0; i < n; i++) {
    double x = draws->x[i * draws->dim];
    count[x < -4.5 ? 0 : (x < 4.5 ? 1 : 2)]++;
  }
  double chi = 0.0, kinds = 0.0;
  for (size_t k = 0; k < 3; k++) {
    double expected = weight[k] * (double)n;
    if (expected > 0.0) {
      chi += ((double)count[k] - expected) * ((double)count[k] - expected) / expected;
      kinds += 1.0;
    } else if (count[k] > 0) {
      return 0.0;
    }
  }
  return poei_chi_square_tail(chi, kinds - 1.0);
}

static double drawn_tail(fixture *f, const char *target, const double *weight, bool *mixture) {
  poei_solved solved;
  poei_sampling sampling;
  draw(f, target, 4, 2000, &solved, &sampling);
  *mixture = solved.plan->method == POEI_METHOD_MIXTURE;
  double tail = component_tail(&sampling.draws, weight);
  poei_sampling_free(&sampling);
  poei_solved_free(&solved);
  return tail;
}

static void test_mixture_weights(void **state) {
  (void)state;
  static const double mix[3] = {0.2, 0.3, 0.5}, two[3] = {0.5, 0.5, 0.0};
  static const char *const texts[] = {flat, deep};
  for (size_t t = 0; t < 2; t++) {
    fixture f;
    bool parts = false;
    fixture_open(&f, "mix.poe", texts[t], 3);
    assert_true(drawn_tail(&f, "mix", mix, &parts) > FALSE_ALARM);
    assert_true(parts || t == 0); /* in 3 dimensions nothing else could draw it */
    assert_true(drawn_tail(&f, "either", two, &parts) > FALSE_ALARM);
    /* the test would notice weights that are mixed with constants: that is what `raw` means */
    assert_true(drawn_tail(&f, "raw", mix, &parts) < FALSE_ALARM);
    fixture_close(&f);
  }
}

/* Draws of a mixture's component are draws of the component: x[1] x[2] of `deep` is narrower than without its factor.
 */
static void test_mixture_components(void **state) {
  (void)state;
  fixture f;
  poei_solved solved;
  poei_sampling sampling;
  fixture_open(&f, "mix.poe", deep, 4);
  draw(&f, "mix", 8, 2000, &solved, &sampling);
  double inside = 0.0, outside = 0.0, n_in = 0.0, n_out = 0.0;
  for (size_t i = 0; i < 16000; i++) {
    const double *x = sampling.draws.x + 3 * i;
    double square = x[1] * x[1] * x[2] * x[2];
    *(x[0] < 4.5 ? &inside : &outside) += square;
    *(x[0] < 4.5 ? &n_in : &n_out) += 1.0;
  }
  /* E (ab)^2 is 1 for c, and for a and b E[s exp(-s)] / E[exp(-s)], s = (ab)^2; a integrated out, b by the trapezoid */
  double top = 0.0, bottom = 0.0;
  for (int i = -4000; i <= 4000; i++) {
    double b = 0.0025 * i, p = exp(-0.5 * b * b), v = 1.0 + 2.0 * b * b;
    bottom += p / sqrt(v);
    top += p * b * b / (v * sqrt(v));
  }
  /* s has standard deviation sqrt(8) under c (8000 draws) and below 0.3 under a and b, whose 8000 particles may be
   * worth as few as 1000 draws: 6 standard errors, false alarm 2e-9 */
  check_close(outside / n_out, 1.0, 6.0 * sqrt(8.0 / 7500.0), 0);
  check_close(inside / n_in, top / bottom, 6.0 * 0.3 / sqrt(1000.0), 0);
  for (size_t i = 0; i < 100; i++) { /* lp is of the whole target */
    double logp = NAN;
    poe_error error = {0};
    check_ok(poei_evaluate_rows(&f.session, solved.plan->expert, (poe_rows){1, 3, 3, sampling.draws.x + 3 * i}, &logp,
                                NULL, &error),
             error);
    check_close(sampling.draws.lp[i], logp, 1e-9, 1e-9);
  }
  poei_sampling_free(&sampling);
  poei_solved_free(&solved);
  fixture_close(&f);
}

static void test_blocks(void **state) {
  (void)state;
  fixture f;
  poei_solved solved;
  poei_sampling sampling;
  fixture_open(&f, "blocks.poe",
               "var x : real[2]\nvar y : real\n"
               "p = formula(x[1] | energy=x[1]^4/4)\n"
               "q = formula(x[0], y | energy=(x[0] - 3)^4 + (y + x[0])^4)\n"
               "pair = p * q\n",
               5);
  draw(&f, "pair", 4, 2000, &solved, &sampling);
  assert_int_equal(solved.plan->method, POEI_METHOD_BLOCKS);
  double mean[3] = {0}, square = 0.0, cross = 0.0;
  const size_t n = 8000;
  for (size_t i = 0; i < n; i++) {
    const double *x = sampling.draws.x + 3 * i;
    for (size_t j = 0; j < 3; j++) {
      mean[j] += x[j] / (double)n;
    }
    square += x[1] * x[1] / (double)n;
    cross += (x[0] - 3.0) * x[1] / (double)n;
  }
  /* variance of exp(-u^4) is Gamma(3/4) / Gamma(1/4) = 0.338, of exp(-u^4/4) twice that: 6 standard errors, 2e-9 */
  double v = tgamma(0.75) / tgamma(0.25), se = 6.0 / sqrt((double)n);
  check_close(mean[0], 3.0, se * sqrt(v), 0);
  check_close(mean[1], 0.0, se * sqrt(2.0 * v), 0);
  check_close(mean[2], -3.0, se * sqrt(2.0 * v), 0);
  check_close(square, 2.0 * v, se * sqrt(1.0 - 4.0 * v * v), 0); /* E x^4 = 1 */
  check_close(cross, 0.0, se * sqrt(2.0 * v * v), 0);
  poei_sampling_free(&sampling);
  poei_solved_free(&solved);
  fixture_close(&f);
}

static void test_forced_methods(void **state) {
  (void)state;
  fixture f;
  poe_error error = {0};
  poei_sampling sampling = {0};
  fixture_open(&f, "forced.poe",
               "var x : real\nvar y : real[3]\na = gaussian(x | mean=0, sd=1)\n"
               "b = formula(y | energy=norm(y)^4 + y[0]*y[1]*y[2])\nboth = a * b\n"
               "steep = formula(x | energy=x^4)\nmix = a or steep\n",
               6);
  poei_run_options options = {.chains = 2, .draws = 50, .warmup = 50, .pool = f.session.pool};
  poei_solved solved;
  check_ok(poei_solve(&f.session, "mix", &solved, &error), error);
  check_ok(poei_draw(&f.session, solved.plan, "exact", &options, NULL, 0, &sampling, &error), error);
  poei_sampling_free(&sampling);
  static const char *const kernels[] = {"rwm", "ula", "mala", "hmc"};
  for (size_t k = 0; k < 4; k++) {
    check_ok(poei_draw(&f.session, solved.plan, kernels[k], &options, NULL, 0, &sampling, &error), error);
    assert_string_equal(sampling.method, kernels[k]);
    assert_int_equal(sampling.biased != NULL, k == 1);
    poei_sampling_free(&sampling);
  }
  check_fails(poei_draw(&f.session, solved.plan, "smc", &options, NULL, 0, &sampling, &error), POE_E_CAPABILITY, error,
              "smc");
  check_fails(poei_draw(&f.session, solved.plan, "magic", &options, NULL, 0, &sampling, &error), POE_E_USAGE, error,
              "magic");
  double start = 0.5;
  check_fails(poei_draw(&f.session, solved.plan, "exact", &options, &start, 1, &sampling, &error), POE_E_USAGE, error,
              "starting points");
  check_ok(poei_draw(&f.session, solved.plan, "rwm", &options, &start, 1, &sampling, &error), error);
  poei_sampling_free(&sampling);
  poei_solved_free(&solved);
  fixture_close(&f);
}

/* A stop that is there from the beginning: whatever the plan, nothing half drawn is passed off as draws. */
static void test_interrupted(void **state) {
  (void)state;
  static const char *const texts[] = {flat, deep};
  static const char *const targets[] = {"mix", "either", "a", "b"};
  for (size_t t = 0; t < 2; t++) {
    fixture f;
    fixture_open(&f, "mix.poe", texts[t], 3);
    for (size_t k = 0; k < 4; k++) {
      poe_error error = {0};
      poei_solved solved;
      poei_sampling sampling;
      poei_run_options options = {.chains = 4, .draws = 500, .pool = f.session.pool, .monitor = f.session.monitor};
      atomic_store(&f.stop, false);
      check_ok(poei_solve(&f.session, targets[k], &solved, &error), error);
      atomic_store(&f.stop, true);
      check_fails(poei_draw(&f.session, solved.plan, "auto", &options, NULL, 0, &sampling, &error), POE_E_INTERRUPTED,
                  error, "interrupted");
      poei_solved_free(&solved);
    }
    fixture_close(&f);
  }
}

/* A report that stops the run after some calls. */
typedef struct stopper {
  size_t calls, limit;
  atomic_bool *stop;
} stopper;

static void stop_late(void *context, const char *phase, size_t done, size_t total) {
  stopper *s = context;
  (void)phase;
  if (done < total && ++s->calls == s->limit) {
    atomic_store(s->stop, true);
  }
}

/* Stopped while the last component is drawn by a kernel: what is kept is a prefix of the whole run, with the right
 * weights. */
static void test_mixture_interrupted(void **state) {
  (void)state;
  fixture f;
  poe_error error = {0};
  fixture_open(&f, "kernel.poe",
               "var x : real[3]\n"
               "a = gaussian(x | mean=[-9, 0, 0], sd=1)\n"
               "k = formula(x | energy=norm(x)^4 + x[0]*x[1]*x[2]/8)\n"
               "pair = 0.5*a + 0.5*a\n",
               7);
  poei_solved kernel, exact;
  check_ok(poei_solve(&f.session, "a", &exact, &error), error);
  poei_plan_options plan_options;
  poei_plan_options_default(&plan_options);
  poei_target target;
  check_ok(poei_program_target(f.session.program, "k", &target, &f.diagnostics), error);
  check_ok(poei_solve_values(&f.session, "k", &kernel, &error), error);
  poei_plan *part = NULL;
  check_ok(poei_plan_build(target.expert, &plan_options, &part, &error), error);
  assert_int_equal(part->method, POEI_METHOD_MCMC);
  /* a plan by hand: log Z of `k` has no route, its weight is known all the same */
  poei_plan *parts[2] = {part, exact.plan};
  double log_weight[2] = {log(0.4), log(0.6)};
  poei_plan whole = *exact.plan;
  whole.method = POEI_METHOD_MIXTURE;
  whole.sampler = NULL;
  whole.n_parts = 2;
  whole.parts = parts;
  whole.part_log_weight = log_weight;
  stopper stopping = {0, 60, &f.stop};
  poei_run_options options = {.chains = 4, .draws = 5000, .warmup = 100, .seed = 9, .pool = f.session.pool};
  poei_sampling full, cut;
  check_ok(poei_draw(&f.session, &whole, "auto", &options, NULL, 0, &full, &error), error);
  options.monitor = (poei_monitor){stop_late, &stopping, &f.stop};
  check_ok(poei_draw(&f.session, &whole, "auto", &options, NULL, 0, &cut, &error), error);
  assert_true(cut.draws.interrupted);
  assert_true(cut.draws.draws > 0 && cut.draws.draws < 5000);
  for (size_t c = 0; c < 4; c++) {
    check_same_bits(cut.draws.x + c * cut.draws.draws * 3, full.draws.x + c * 5000 * 3, cut.draws.draws * 3);
  }
  poei_sampling_free(&full);
  poei_sampling_free(&cut);
  poei_plan_destroy(part);
  poei_target_free(&target);
  poei_solved_free(&kernel);
  poei_solved_free(&exact);
  fixture_close(&f);
}

static void test_clamped(void **state) {
  (void)state;
  fixture f;
  poei_solved solved;
  poei_sampling sampling;
  fixture_open(&f, "given.poe",
               "var x : real[2, 2]\n"
               "a = gaussian(x | mean=0, cov=[[1, 0.9, 0, 0], [0.9, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])\n"
               "known = a given (x[0, 1] = 2)\n",
               8);
  draw(&f, "known", 4, 1000, &solved, &sampling);
  assert_int_equal(solved.target.dim, 3);
  assert_int_equal(solved.target.n_clamped, 1);
  double *full = poei_alloc(4000 * 4, sizeof *full), mean = 0.0;
  poei_expand_rows(f.session.program, &solved.target, 4000, sampling.draws.x, full);
  for (size_t i = 0; i < 4000; i++) {
    assert_true(full[4 * i + 1] == 2.0);
    mean += full[4 * i] / 4000.0;
  }
  /* x00 | x01 = 2 ~ N(1.8, 0.19): 6 standard errors, 2e-9 */
  check_close(mean, 1.8, 6.0 * sqrt(0.19 / 4000.0), 0);
  poei_free(full);
  poei_sampling_free(&sampling);
  poei_solved_free(&solved);
  fixture_close(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_mixture_weights), cmocka_unit_test(test_mixture_components),
      cmocka_unit_test(test_blocks),          cmocka_unit_test(test_forced_methods),
      cmocka_unit_test(test_interrupted),     cmocka_unit_test(test_mixture_interrupted),
      cmocka_unit_test(test_clamped),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
