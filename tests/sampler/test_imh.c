/* Independence Metropolis-Hastings: the kernel's invariance, from proposals that are and are not a factor of the
 * density; kernels with a mistake, which the same check must find; runs in bulk; and what weights say.
 *
 * False alarms: a check fails a correct kernel when a Kolmogorov-Smirnov probability is below 1e-7; at most 2 d of them
 * per case, 24 in all. */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/pool.h"
#include "sampler/diagnostics.h"
#include "sampler/kernels/density.h"
#include "sampler/run.h"
#include "tests/sampler/harness.h"
#include "tests/support/check.h"

#define ALARM 1e-7
enum { CHAINS = 8192, STEPS = 6 };

typedef enum mistake { SOUND, NO_Q, ONE_Q, ALWAYS, SIGN, LIBRARY } mistake;

/* The kernel anew, plainly, with or without a mistake. */
static void step(mistake what, const poei_density *density, const poei_kernel_settings *settings, poei_tile *t,
                 poe_scratch *scratch) {
  static const double one = 1.0;
  static double y[POEI_TILE * TARGET_MAX_DIM], logp[POEI_TILE], here[POEI_TILE], there[POEI_TILE];
  poei_density q = {.n_terms = 1, .term = {settings->proposal}, .weight = {{.w = &one, .inc = 0}}};
  poe_rng at[POEI_TILE];
  for (size_t i = 0; i < t->n; i++) {
    at[i] = poe_rng_child(t->at[i], 4711);
  }
  poe_expert_sample(settings->proposal, (poe_rows_out){t->n, t->d, t->d, y}, at, scratch, NULL);
  poei_density_eval(density, t->n, t->d, y, logp, NULL, scratch, NULL);
  poei_density_eval(&q, t->n, t->d, y, there, NULL, scratch, NULL);
  poei_density_eval(&q, t->n, t->d, t->x, here, NULL, scratch, NULL);
  for (size_t i = 0; i < t->n; i++) {
    double ratio = logp[i] - t->logp[i];
    ratio += what == NO_Q ? 0.0 : what == ONE_Q ? -there[i] : here[i] - there[i];
    ratio = what == SIGN ? -ratio : what == ALWAYS ? 0.0 : ratio;
    poe_stream stream = poe_stream_open(poe_rng_child(t->at[i], 4712));
    if (log(poe_stream_uniform(&stream)) < ratio) {
      memcpy(t->x + i * t->d, y + i * t->d, t->d * sizeof(double));
      t->logp[i] = logp[i];
    }
  }
}

/* CHAINS exact draws of `what` moved STEPS times by proposals from `from`: the smallest KS probability. As a path: the
 * density is given as the proposal times what is missing, raised to a power of 1. */
static double invariance(mistake which, const target *what, const target *from, double *acceptance) {
  static const double one = 1.0;
  double *x = calloc(CHAINS * what->d, sizeof *x), accepted = 0.0;
  assert_non_null(x);
  poe_expert *density_of = target_expert(what, POE_CAN_EVAL);
  poe_expert *proposal = target_expert(from, POE_CAN_EVAL | POE_CAN_SAMPLE);
  poei_density density = {.n_terms = 1, .term = {density_of}, .weight = {{.w = &one, .inc = 0}}};
  poei_kernel_settings settings = {.proposal = proposal};
  poe_scratch *scratch = poe_scratch_create(poei_imh_kernel.scratch(POEI_TILE, what->d) +
                                            poei_imh_kernel.more(&density, &settings, POEI_TILE));
  for (size_t first = 0; first < CHAINS; first += POEI_TILE) {
    double logp[POEI_TILE], rate[POEI_TILE], energy[POEI_TILE];
    unsigned char diverging[POEI_TILE];
    poe_rng at[POEI_TILE];
    poei_tile tile = {.n = POEI_TILE,
                      .d = what->d,
                      .x = x + first * what->d,
                      .logp = logp,
                      .acceptance = rate,
                      .energy = energy,
                      .diverging = diverging,
                      .at = at};
    poe_error error = {0};
    uint64_t rows = 0;
    for (size_t i = 0; i < POEI_TILE; i++) {
      poe_rng start = poe_rng_child(poe_rng_seed(31), 99);
      start.chain = (uint32_t)(first + i);
      poe_stream stream = poe_stream_open(start);
      what->draw(what, &stream, tile.x + i * what->d);
    }
    check_ok(poei_density_eval(&density, POEI_TILE, what->d, tile.x, logp, NULL, scratch, &error), error);
    uint64_t before = poei_alloc_count();
    for (size_t s = 0; s < STEPS; s++) {
      for (size_t i = 0; i < POEI_TILE; i++) {
        at[i] = poe_rng_seed(32);
        at[i].chain = (uint32_t)(first + i);
        at[i].step = (uint32_t)s;
      }
      if (which == LIBRARY) {
        check_ok(poei_imh_kernel.step(&density, &settings, &tile, &rows, &rows, scratch, &error), error);
        for (size_t i = 0; i < POEI_TILE; i++) {
          accepted += rate[i] / (CHAINS * STEPS);
          assert_true(diverging[i] == 0 && isfinite(logp[i]));
        }
      } else {
        step(which, &density, &settings, &tile, scratch);
      }
    }
    assert_int_equal(poei_alloc_count(), before);
  }
  double p = harness_ks(what, x, CHAINS);
  poe_scratch_destroy(scratch);
  poe_expert_release(density_of);
  poe_expert_release(proposal);
  free(x);
  if (acceptance != NULL) {
    *acceptance = accepted;
  }
  return p;
}

static void kernel_is_invariant(void **state) {
  (void)state;
  target banana = target_banana(3, 0.5, 1.0), wide = target_student(3, 4.0), wells = target_wells(3, 1.5, 0.3);
  target round = target_gaussian(3, 0.2, 2.0);
  double acceptance;
  assert_true(invariance(LIBRARY, &banana, &wide, &acceptance) > ALARM);
  assert_true(acceptance > 0.2 && acceptance < 0.9); /* refusals matter */
  assert_true(invariance(LIBRARY, &wells, &round, &acceptance) > ALARM);
  assert_true(acceptance > 0.2 && acceptance < 0.9);
  assert_true(invariance(SOUND, &wells, &round, NULL) > ALARM);
  assert_true(poei_imh_kernel.independent && !poei_imh_kernel.biased);
}

static void mistakes_are_found(void **state) {
  (void)state;
  target wells = target_wells(3, 1.5, 0.3), round = target_gaussian(3, 0.2, 2.0);
  static const mistake mistakes[] = {NO_Q, ONE_Q, ALWAYS, SIGN};
  for (size_t k = 0; k < sizeof mistakes / sizeof *mistakes; k++) {
    assert_true(invariance(mistakes[k], &wells, &round, NULL) < ALARM);
  }
}

/* ---- runs ---- */

/* rest for the base N(0, 2^2): together N(.3, 1) in each coordinate, and its log Z. */
static double log_ratio(const target *t, const double *x, double *g) {
  (void)g;
  double sum = 0.0;
  for (size_t j = 0; j < t->d; j++) {
    sum += 0.125 * x[j] * x[j] - 0.5 * (x[j] - 0.3) * (x[j] - 0.3);
  }
  return sum;
}

static double log_edge(const target *t, const double *x, double *g) {
  return x[0] > 5.0 ? (double)NAN : x[0] > 1.0 ? -INFINITY : log_ratio(t, x, g);
}

static double log_nowhere(const target *t, const double *x, double *g) {
  (void)t, (void)g;
  return x[0] > 50.0 ? 0.0 : -INFINITY;
}

static poe_status run_of(double (*rest_of)(const target *, const double *, double *), const poei_run_options *options,
                         const double *start, poei_draws *draws, poei_weights *weights, poe_error *error) {
  target wide = target_gaussian(2, 0.0, 2.0), what = wide;
  what.log_density = rest_of;
  poe_expert *base = target_expert(&wide, POE_CAN_EVAL | POE_CAN_SAMPLE), *rest = target_expert(&what, POE_CAN_EVAL);
  assert_true(base != NULL && rest != NULL);
  poe_status status = poei_run_independent(base, rest, options, start, draws, weights, error);
  poe_expert_release(base);
  poe_expert_release(rest);
  return status;
}

/* 8000 draws of N(.3, 1): means within 5 MCSE, three coordinates and seeds (2e-6 in all); log Z within 5 errors. */
static void estimates(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 3; seed++) {
    poei_run_options options = {.chains = 8, .warmup = 100, .draws = 1000, .thin = 2, .seed = seed};
    poei_draws draws;
    poei_weights weights;
    poei_gate gate;
    poe_error error = {0};
    check_ok(run_of(log_ratio, &options, NULL, &draws, &weights, &error), error);
    assert_int_equal(weights.n, 8 * 2100);
    for (size_t j = 0; j < 2; j++) {
      poei_summary s;
      check_ok(poei_summarise((poei_series){draws.x + j, 8, 1000, 2000, 2}, &s, &error), error);
      check_close(s.mean, 0.3, 5.0 * s.mcse_mean, 0.0);
      check_close(s.sd, 1.0, 0.06, 0.0);
    }
    /* int N(x; 0, 4) rest dx = sqrt(2 pi) / sqrt(8 pi) each */
    check_close(weights.log_mean, -2.0 * log(2.0), 5.0 * weights.std_error, 0.0);
    assert_true(weights.std_error > 1e-4 && weights.std_error < 0.02 && poei_weights_trusted(&weights));
    check_ok(poei_gate_run(&draws, false, NULL, &gate, &error), error);
    assert_true(gate.passed);
    poei_draws_free(&draws);
  }
}

static void threads_and_memory(void **state) {
  (void)state;
  poei_pool *pool = poei_pool_create(2);
  poei_draws draws[2];
  poei_weights weights[2];
  poe_error error = {0};
  for (size_t k = 0; k < 2; k++) {
    poei_run_options options = {.chains = 5, .warmup = 300, .draws = 700, .seed = 9, .pool = k == 0 ? NULL : pool};
    check_ok(run_of(log_ratio, &options, NULL, &draws[k], &weights[k], &error), error);
  }
  check_same_bits(draws[0].x, draws[1].x, 5 * 700 * 2);
  check_same_bits(&weights[0].log_mean, &weights[1].log_mean, 1);
  poei_draws_free(&draws[0]);
  poei_draws_free(&draws[1]);
  poei_pool_destroy(pool);
  uint64_t used[2];
  for (size_t k = 0; k < 2; k++) { /* as many allocations for 4000 steps as for 200 */
    poei_run_options options = {.warmup = 100, .draws = k == 0 ? 100 : 3900, .seed = 3};
    uint64_t before = poei_alloc_count();
    check_ok(run_of(log_ratio, &options, NULL, &draws[0], &weights[0], &error), error);
    used[k] = poei_alloc_count() - before;
    poei_draws_free(&draws[0]);
  }
  assert_int_equal(used[0], used[1]);
  target wide = target_gaussian(2, 0.0, 2.0), what = wide;
  what.log_density = log_ratio;
  poe_expert *base = target_expert(&wide, POE_CAN_EVAL | POE_CAN_SAMPLE), *rest = target_expert(&what, POE_CAN_EVAL);
  size_t failures = 0;
  for (;; failures++) {
    poei_run_options options = {.warmup = 5, .draws = 5};
    poei_alloc_fail_at(failures + 1);
    poe_status status = poei_run_independent(base, rest, &options, NULL, &draws[0], &weights[0], &error);
    poei_alloc_fail_at(0);
    if (status == POE_OK) {
      poei_draws_free(&draws[0]);
      break;
    }
    assert_int_equal(status, POE_E_MEMORY);
  }
  assert_true(failures > 8);
  poe_expert_release(base);
  poe_expert_release(rest);
}

/* A weight of NaN is a divergence and never a state, one of 0 a refusal; starts are starts; supports may miss. */
static void edges(void **state) {
  (void)state;
  poei_draws draws;
  poei_weights weights;
  poe_error error = {0};
  poei_run_options options = {.chains = 4, .warmup = 10, .draws = 2000, .seed = 5};
  check_ok(run_of(log_edge, &options, NULL, &draws, &weights, &error), error);
  size_t diverging = 0;
  for (size_t i = 0; i < 8000; i++) {
    assert_true(draws.x[2 * i] <= 1.0);
    diverging += draws.diverging[i];
  }
  assert_true(diverging > 10 && diverging < 150); /* P(N(0, 2^2) > 5) = .0062: 50 of 8000 */
  poei_draws_free(&draws);
  const double inside[8] = {0.5, 0.5, 0.6, 0.5, 0.7, 0.5, 0.8, 0.5}, outside[8] = {0.5, 0.5, 1.5, 0.5};
  options.warmup = POEI_NO_WARMUP;
  options.draws = 1;
  check_ok(run_of(log_edge, &options, inside, &draws, &weights, &error), error);
  assert_int_equal(weights.n, 4);
  poei_draws_free(&draws);
  assert_int_equal(run_of(log_edge, &options, outside, &draws, &weights, &error), POE_E_NUMERIC);
  assert_non_null(strstr(error.message, "chain 1"));
  options = (poei_run_options){.chains = 2, .warmup = 100, .draws = 100};
  assert_int_equal(run_of(log_nowhere, &options, NULL, &draws, &weights, &error), POE_E_NUMERIC);
  assert_non_null(strstr(error.hint, "--proposal"));
  atomic_bool stop = true;
  options.monitor.stop = &stop;
  check_ok(run_of(log_ratio, &options, NULL, &draws, &weights, &error), error);
  assert_true(draws.interrupted && draws.draws == 0);
  poei_draws_free(&draws);
}

/* Weights u^-k have tail index k, and mean 1 / (1 - k). */
static void tails(void **state) {
  (void)state;
  enum { N = 20000 };
  double *log_w = calloc(N, sizeof *log_w);
  assert_non_null(log_w);
  static const double index[] = {0.2, 0.4, 1.1};
  for (size_t k = 0; k < 3; k++) {
    poei_weights w;
    poe_error error = {0};
    poe_stream stream = poe_stream_open(poe_rng_seed(77 + k));
    for (size_t i = 0; i < N; i++) {
      log_w[i] = -index[k] * log(poe_stream_uniform(&stream));
    }
    check_ok(poei_weights_judge(log_w, N, &w, &error), error);
    /* the fit's standard error is about (1 + k) / sqrt(424) = .1 at most: 4 of them */
    check_close(w.tail_index, index[k], 0.4, 0.0);
    assert_true(poei_weights_trusted(&w) == (k < 2));
    if (k == 0) {
      check_close(w.log_mean, -log1p(-index[k]), 6.0 * w.std_error, 0.0);
      /* ess / n = (E w)^2 / E w^2 = (1 - 2 k) / (1 - k)^2 */
      check_close(w.ess / N, 0.6 / 0.64, 0.02, 0.0);
    }
  }
  for (size_t i = 0; i < N; i++) {
    log_w[i] = i == 3 ? 0.0 : -12.0;
  }
  poei_weights w;
  poe_error error = {0};
  check_ok(poei_weights_judge(log_w, N, &w, &error), error);
  check_close(w.largest, 1.0 / (1.0 + (N - 1) * exp(-12.0)), 1e-12, 0.0);
  assert_false(poei_weights_trusted(&w));
  for (size_t i = 0; i < N; i++) {
    log_w[i] = -INFINITY;
  }
  assert_int_equal(poei_weights_judge(log_w, N, &w, &error), POE_E_NUMERIC);
  free(log_w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(kernel_is_invariant),
      cmocka_unit_test(mistakes_are_found),
      cmocka_unit_test(estimates),
      cmocka_unit_test(threads_and_memory),
      cmocka_unit_test(edges),
      cmocka_unit_test(tails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
