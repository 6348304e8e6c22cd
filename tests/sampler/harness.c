/* Running kernels on many chains outside of a run (harness.h). */
#include "tests/sampler/harness.h"

#include <stdlib.h>

#include "core/alloc.h"
#include "core/pool.h"
#include "sampler/kernels/density.h"
#include "tests/support/check.h"

enum { INVARIANCE_CHAINS = 8192, INVARIANCE_STEPS = 10 };

static void harness_tile(const poei_kernel *kernel, const poei_density *density, const poei_kernel_settings *settings,
                         const target *what, size_t first, size_t n, size_t steps, uint64_t seed, double *x,
                         poe_scratch *scratch, double *acceptance) {
  double logp[POEI_TILE], rate[POEI_TILE], energy[POEI_TILE], grad[POEI_TILE * TARGET_MAX_DIM];
  unsigned char diverging[POEI_TILE];
  poe_rng at[POEI_TILE];
  poe_error error = {0};
  uint64_t rows = 0;
  for (size_t i = 0; i < n; i++) {
    at[i] = poe_rng_child(poe_rng_seed(seed), 99);
    at[i].chain = (uint32_t)(first + i);
    poe_stream stream = poe_stream_open(at[i]);
    what->draw(what, &stream, x + i * what->d);
    at[i] = poe_rng_seed(seed);
    at[i].chain = (uint32_t)(first + i);
  }
  check_ok(poei_density_eval(density, n, what->d, x, logp, grad, scratch, &error), error);
  poei_tile tile = {n, what->d, x, logp, grad, rate, energy, diverging, at};
  uint64_t before = poei_alloc_count();
  for (size_t s = 0; s < steps; s++) {
    for (size_t i = 0; i < n; i++) {
      at[i].step = (uint32_t)s;
    }
    check_ok(kernel->step(density, settings, &tile, &rows, &rows, scratch, &error), error);
    for (size_t i = 0; i < n; i++) {
      *acceptance += rate[i];
    }
  }
  assert_int_equal(poei_alloc_count(), before);
}

double harness_move(const poei_kernel *kernel, const target *what, double step_size, size_t leapfrog, size_t chains,
                    size_t steps, uint64_t seed, double *x) {
  static const double one = 1.0;
  double metric[TARGET_MAX_DIM], acceptance = 0.0;
  for (size_t j = 0; j < what->d; j++) { /* not the identity, so that its place in the formulas is tested */
    metric[j] = j % 2 == 0 ? 1.0 : 0.6;
  }
  poe_expert *expert = target_expert(what, POE_CAN_EVAL | POE_CAN_GRADIENT);
  poei_density density = {.n_terms = 1, .term = {expert}, .weight = {{.w = &one, .inc = 0}}};
  poei_kernel_settings settings = {.step_size = step_size, .metric = metric, .leapfrog = leapfrog};
  size_t bytes = kernel->scratch(POEI_TILE, what->d);
  poe_scratch *scratch = poe_scratch_create(bytes + poei_density_scratch(&density, POE_WANT_GRAD, POEI_TILE));
  assert_non_null(scratch);
  for (size_t first = 0; first < chains; first += POEI_TILE) {
    size_t n = chains - first < POEI_TILE ? chains - first : POEI_TILE;
    harness_tile(kernel, &density, &settings, what, first, n, steps, seed, x + first * what->d, scratch, &acceptance);
  }
  assert_true(poe_scratch_high_water(scratch) <= bytes);
  poe_scratch_destroy(scratch);
  poe_expert_release(expert);
  return acceptance / (double)(chains * steps);
}

double harness_ks(const target *what, const double *x, size_t chains) {
  size_t d = what->d;
  double *u = calloc(chains * d, sizeof *u), *column = calloc(chains, sizeof *column), least = 1.0;
  assert_true(u != NULL && column != NULL);
  for (size_t i = 0; i < chains; i++) {
    what->uniforms(what, x + i * d, u + i * d);
  }
  for (size_t j = 0; j < d; j++) {
    for (int folded = 0; folded < 2; folded++) {
      for (size_t i = 0; i < chains; i++) {
        column[i] = folded ? 2.0 * fabs(u[i * d + j] - 0.5) : u[i * d + j];
      }
      least = fmin(least, target_ks(column, chains));
    }
  }
  free(u);
  free(column);
  return least;
}

double harness_invariance(const poei_kernel *kernel, const target *what, double step_size, size_t leapfrog,
                          uint64_t seed) {
  double *x = calloc(INVARIANCE_CHAINS * what->d, sizeof *x);
  assert_non_null(x);
  harness_move(kernel, what, step_size, leapfrog, INVARIANCE_CHAINS, INVARIANCE_STEPS, seed, x);
  double least = harness_ks(what, x, INVARIANCE_CHAINS);
  free(x);
  return least;
}
