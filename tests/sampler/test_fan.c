/* Moves along a fan leave targets as they are, whatever the fan; without the Jacobian they do not. Along its own fan a
 * funnel is forgotten soon. */
#include <string.h>

#include "sampler/kernels/fan.h"
#include "tests/sampler/harness.h"
#include "tests/support/check.h"

/* Of a check: 2 d of them on d = 2 to 4 coordinates, three seeds and three targets each are one false alarm in 15,000
 * runs. */
#define ALARM 1e-6

/* Nothing that suits a target; coordinate 1 stays where it is. */
static double center[TARGET_MAX_DIM] = {9.0, -0.4, 1.3, 0.2}, tilt[TARGET_MAX_DIM] = {0.0, 0.0, 0.3, -0.2};
static double rate[TARGET_MAX_DIM] = {0.0, 0.0, 0.4, 0.3};
/* Neal's funnel of sd 1.5: its own. */
static double own_rate[TARGET_MAX_DIM] = {0.0, 0.75, 0.75, 0.75}, none[TARGET_MAX_DIM];

static const poei_fan any_fan = {.along = 0, .origin = 0.3, .unit = 0.8, .center = center, .tilt = tilt, .rate = rate};
static const poei_fan own_fan = {.along = 0, .unit = 1.5, .center = none, .tilt = none, .rate = own_rate};

static poe_status step_fan(const poei_density *density, const poei_kernel_settings *settings, poei_tile *tile,
                           uint64_t *densities, uint64_t *gradients, poe_scratch *scratch, poe_error *error) {
  (void)densities;
  *gradients += tile->n;
  return poei_fan_step(density, settings->leapfrog == 1 ? &any_fan : &own_fan, tile, true, scratch, error);
}

/* The mistake: the volume is forgotten. */
static poe_status step_flat(const poei_density *density, const poei_kernel_settings *settings, poei_tile *tile,
                            uint64_t *densities, uint64_t *gradients, poe_scratch *scratch, poe_error *error) {
  (void)gradients;
  (void)settings;
  size_t n = tile->n, d = tile->d, mark = poe_scratch_mark(scratch);
  double *y = poe_scratch_doubles(scratch, n * d), *logp = poe_scratch_doubles(scratch, n);
  for (size_t i = 0; i < n; i++) {
    poe_stream stream = poe_stream_open(tile->at[i]);
    double move = poe_stream_normal(&stream);
    y[i * d] = tile->x[i * d] + move;
    for (size_t j = 1; j < d; j++) {
      y[i * d + j] = tile->x[i * d + j] * exp(0.4 * move);
    }
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

static const poei_kernel fan = {.name = "fan", .needs_gradient = true, .scratch = poei_fan_scratch, .step = step_fan};
static const poei_kernel flat = {
    .name = "flat", .needs_gradient = true, .scratch = poei_fan_scratch, .step = step_flat};

static void test_invariance(void **state) {
  (void)state;
  const target targets[] = {target_gaussian(3, 0.0, 1.0), target_funnel(4, 1.5), target_wells(3, 1.5, 0.3)};
  for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
    for (uint64_t seed = 1; seed <= 3; seed++) {
      double any = harness_invariance(&fan, &targets[t], 1.0, 1, seed);
      double own = harness_invariance(&fan, &targets[t], 1.0, 2, seed);
      double wrong = harness_invariance(&flat, &targets[t], 1.0, 1, seed);
      if (any < ALARM || own < ALARM || wrong > ALARM) {
        fail_msg("%s, seed %d: any fan %g, the funnel's %g, without the volume %g", targets[t].name, (int)seed, any,
                 own, wrong);
      }
    }
  }
}

/* Correlation of the first coordinate with where it was 30 steps ago. */
static double remembered(const poei_kernel *kernel, size_t leapfrog) {
  enum { CHAINS = 4096, D = 4 };
  static double before[CHAINS * D], after[CHAINS * D];
  target what = target_funnel(D, 1.5);
  harness_move(kernel, &what, 0.3, leapfrog, CHAINS, 0, 5, before);
  harness_move(kernel, &what, 0.3, leapfrog, CHAINS, 30, 5, after);
  double xy = 0.0;
  for (size_t i = 0; i < CHAINS; i++) {
    xy += before[i * D] * after[i * D] / (CHAINS * 1.5 * 1.5);
  }
  return xy;
}

/* A random walk of 2.4 sd and less in one dimension forgets in a few steps. 4.5 standard errors of 1/64. */
static void test_forgets(void **state) {
  (void)state;
  assert_true(fabs(remembered(&fan, 2)) < 0.07);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_invariance), cmocka_unit_test(test_forgets)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
