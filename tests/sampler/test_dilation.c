/* Dilations leave targets as they are, alone and inside hmc; without the Jacobian they do not. */
#include <string.h>

#include "sampler/kernels/dilation.h"
#include "tests/sampler/harness.h"
#include "tests/support/check.h"

/* Of a check: 2 d of them on d = 2 to 4 coordinates and three seeds each are one false alarm in 40,000 runs. */
#define ALARM 1e-6

/* Off every target's own. */
static const double center[TARGET_MAX_DIM] = {0.7, -0.4, 1.3, 0.2};

static poei_kernel_settings with_center(const poei_kernel_settings *settings) {
  poei_kernel_settings own = *settings;
  own.center = center;
  return own;
}

static poe_status step_dilation(const poei_density *density, const poei_kernel_settings *settings, poei_tile *tile,
                                uint64_t *densities, uint64_t *gradients, poe_scratch *scratch, poe_error *error) {
  (void)densities;
  poei_kernel_settings own = with_center(settings);
  return poei_dilate(density, &own, tile, gradients, scratch, error);
}

static poe_status step_hmc(const poei_density *density, const poei_kernel_settings *settings, poei_tile *tile,
                           uint64_t *densities, uint64_t *gradients, poe_scratch *scratch, poe_error *error) {
  poei_kernel_settings own = with_center(settings);
  return poei_hmc_kernel.step(density, &own, tile, densities, gradients, scratch, error);
}

/* The mistake: the volume is forgotten. */
static poe_status step_flat(const poei_density *density, const poei_kernel_settings *settings, poei_tile *tile,
                            uint64_t *densities, uint64_t *gradients, poe_scratch *scratch, poe_error *error) {
  (void)settings;
  (void)gradients;
  size_t n = tile->n, d = tile->d, mark = poe_scratch_mark(scratch);
  double *y = poe_scratch_doubles(scratch, n * d), *logp = poe_scratch_doubles(scratch, n);
  double *stretch = poe_scratch_doubles(scratch, n * d);
  poei_tile_noise(tile, stretch);
  for (size_t i = 0; i < n * d; i++) {
    y[i] = center[i % d] + exp(0.5 * stretch[i / d * d]) * (tile->x[i] - center[i % d]);
  }
  poe_status status = poei_density_eval(density, n, d, y, logp, NULL, scratch, error);
  for (size_t i = 0; i < n; i++) {
    poe_rng at = tile->at[i];
    at.site += POEI_SITE_ACCEPT;
    poe_stream stream = poe_stream_open(at);
    if (log(poe_stream_uniform(&stream)) < logp[i] - tile->logp[i]) {
      memcpy(tile->x + i * d, y + i * d, d * sizeof *y);
      tile->logp[i] = logp[i];
    }
  }
  *densities += n;
  poe_scratch_release(scratch, mark);
  return status;
}

static size_t hmc_scratch(size_t n, size_t d) {
  return poei_hmc_kernel.scratch(n, d);
}

static const poei_kernel dilation = {
    .name = "dilation", .needs_gradient = true, .scratch = poei_dilation_scratch, .step = step_dilation};
static const poei_kernel centered = {.name = "hmc", .needs_gradient = true, .scratch = hmc_scratch, .step = step_hmc};
static const poei_kernel flat = {
    .name = "flat", .needs_gradient = true, .scratch = poei_dilation_scratch, .step = step_flat};

static void test_invariance(void **state) {
  (void)state;
  const target targets[] = {target_gaussian(2, 0.0, 1.0), target_student(4, 3.0), target_wells(3, 1.5, 0.3)};
  for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
    for (uint64_t seed = 1; seed <= 3; seed++) {
      double alone = harness_invariance(&dilation, &targets[t], 1.0, 1, seed);
      double inside = harness_invariance(&centered, &targets[t], 0.4, 3, seed);
      double wrong = harness_invariance(&flat, &targets[t], 1.0, 1, seed);
      if (alone < ALARM || inside < ALARM || wrong > ALARM) {
        fail_msg("%s, seed %d: dilation %g, hmc %g, without the volume %g", targets[t].name, (int)seed, alone, inside,
                 wrong);
      }
    }
  }
}

/* A step in four, the same for all chains of a tile. */
static void test_frequency(void **state) {
  (void)state;
  enum { STEPS = 40000 };
  size_t count = 0;
  for (uint32_t step = 0; step < STEPS; step++) {
    poe_rng at[2] = {poe_rng_seed(7), poe_rng_seed(7)};
    at[0].step = at[1].step = step;
    at[1].chain = 5;
    poei_tile first = {.n = 1, .at = at}, second = {.n = 1, .at = at + 1};
    assert_int_equal(poei_dilates(&first), poei_dilates(&second));
    count += poei_dilates(&first);
  }
  check_close((double)count, STEPS / 4.0, 5.0 * sqrt(STEPS * 0.25 * 0.75), 0.0); /* 6e-7 */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_invariance), cmocka_unit_test(test_frequency)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
