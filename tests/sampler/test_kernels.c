/* The kernels one step at a time: invariance from exact draws, at ordinary and at deliberately large steps; the
 * integrator; rejections; and kernels with a mistake, which the same check must find.
 *
 * False alarms: a check fails a correct kernel when a Kolmogorov-Smirnov probability is below 1e-7; the file looks at
 * 2 d of them per case, 470 in all, so that all tests together fail by chance once in more than 20000 seeds. */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/pool.h"
#include "sampler/kernels/leapfrog.h"
#include "tests/sampler/broken.h"
#include "tests/sampler/harness.h"
#include "tests/support/check.h"

#define ALARM 1e-7

typedef struct kernel_case {
  const poei_kernel *kernel;
  double step_size; /* relative to the target's own */
  size_t leapfrog;
} kernel_case;

/* Ordinary steps, and steps at which most proposals are refused. */
static const kernel_case sound[] = {
    {&poei_rwm_kernel, 0.8, 1}, {&poei_rwm_kernel, 4.0, 1}, {&poei_mala_kernel, 0.7, 1}, {&poei_mala_kernel, 2.4, 1},
    {&poei_hmc_kernel, 0.4, 3}, {&poei_hmc_kernel, 2.4, 2}, {&poei_hmc_kernel, 0.9, 1},
};

enum { TARGETS = 6 };

static target target_number(int which, double *step) {
  *step = 1.0;
  switch (which) {
  case 0:
    *step = 0.5;
    return target_ar1(6, 0.7);
  case 1:
    *step = 0.5;
    return target_ill_conditioned(5, 10.0);
  case 2:
    return target_student(3, 4.0);
  case 3:
    *step = 0.7;
    return target_banana(3, 0.5, 1.0);
  case 4:
    return target_wall(2);
  default:
    return target_wells(3, 1.5, 0.3);
  }
}

static void invariance(void **state) {
  (void)state;
  for (int which = 0; which < TARGETS; which++) {
    double step;
    target what = target_number(which, &step);
    for (size_t k = 0; k < sizeof sound / sizeof *sound; k++) {
      double p = harness_invariance(sound[k].kernel, &what, step * sound[k].step_size, sound[k].leapfrog, 11 + k);
      if (p < ALARM) {
        fail_msg("%s with step %g on %s: p = %g", sound[k].kernel->name, step * sound[k].step_size, what.name, p);
      }
    }
  }
}

/* The large steps are large: proposals are refused, and what is refused matters. */
static void large_steps_are_refused(void **state) {
  (void)state;
  double step, x[1024 * TARGET_MAX_DIM];
  target what = target_number(0, &step);
  assert_true(harness_move(&poei_mala_kernel, &what, 2.4 * step, 1, 1024, 10, 3, x) < 0.5);
  assert_true(harness_move(&poei_hmc_kernel, &what, 2.4 * step, 2, 1024, 10, 3, x) < 0.5);
  assert_true(harness_move(&poei_rwm_kernel, &what, 4.0 * step, 1, 1024, 10, 3, x) < 0.2);
}

static void mistakes_are_found(void **state) {
  (void)state;
  static const struct {
    const poei_kernel *kernel;
    broken_mistake mistake;
  } cases[] = {
#define BROKEN_CASE(name, move, mistake) {&broken_##name, mistake},
      BROKEN_LIST(BROKEN_CASE)
#undef BROKEN_CASE
  };
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    bool retries = cases[k].kernel == &broken_retry_sound || cases[k].kernel == &broken_retry_one_way;
    target what = retries ? target_wall(2) : target_wells(3, 1.5, 0.3);
    bool finds = harness_invariance(cases[k].kernel, &what, retries ? 1.6 : 1.1, retries ? 2 : 3, 29) < ALARM;
    if (finds != (cases[k].mistake != MISTAKE_NONE)) {
      fail_msg("%s: %s", cases[k].kernel->name, finds ? "sound, but refused" : "broken, but not found");
    }
  }
}

/* ula is not invariant. On N(0, 1) its stationary variance is 1 / (1 - eps^2/4) exactly: the bias shrinks with the
 * step. 4096 chains, 200 steps from exact draws; the standard error of a variance is its size times sqrt(2/4096) = 2.2
 * %, and 5.5 standard errors are allowed (4e-8). */
static void ula_bias(void **state) {
  (void)state;
  static double x[4096 * 2];
  target what = target_gaussian(2, 0.0, 1.0);
  const double steps[] = {1.2, 0.6, 0.2};
  double last = INFINITY;
  for (size_t k = 0; k < 3; k++) {
    double e = steps[k], sum = 0.0, expected = 1.0 / (1.0 - e * e / 4.0);
    harness_move(&poei_ula_kernel, &what, e, 1, 4096, 200, 5, x);
    for (size_t i = 0; i < 4096; i++) { /* coordinate 0, whose metric is 1 */
      sum += x[2 * i] * x[2 * i] / 4096.0;
    }
    check_close(sum, expected, 0.0, 5.5 * sqrt(2.0 / 4096.0));
    assert_true(expected < last);
    last = expected;
  }
  assert_true(harness_invariance(&poei_ula_kernel, &what, 1.2, 1, 7) < ALARM);
  assert_true(poei_ula_kernel.biased && !poei_mala_kernel.biased);
}

/* ---- the integrator ---- */

enum { ROWS = 7, DIM = 5 };

typedef struct flow {
  poei_density density;
  poe_scratch *scratch;
  double scale[DIM], y[ROWS * DIM], p[ROWS * DIM], logp[ROWS], grad[ROWS * DIM], energy[ROWS];
} flow;

static double flow_energy(const flow *f, size_t i) {
  return 0.5 * poei_square_norm(f->p + i * DIM, DIM) - f->logp[i];
}

static void flow_start(flow *f, double eps) {
  poe_error error = {0};
  for (size_t i = 0; i < ROWS; i++) {
    poe_rng at = poe_rng_seed(41);
    at.chain = (uint32_t)i;
    poe_rng_normals(at, DIM, f->y + i * DIM);
    at.site = 1;
    poe_rng_normals(at, DIM, f->p + i * DIM);
  }
  for (size_t j = 0; j < DIM; j++) {
    f->scale[j] = eps * (1.0 + 0.1 * (double)j);
  }
  check_ok(poei_density_eval(&f->density, ROWS, DIM, f->y, f->logp, f->grad, f->scratch, &error), error);
  for (size_t i = 0; i < ROWS; i++) {
    f->energy[i] = flow_energy(f, i);
  }
}

static void flow_run(flow *f, size_t steps) {
  poe_error error = {0};
  check_ok(poei_leapfrog(&f->density, ROWS, DIM, steps, f->scale, f->y, f->p, f->logp, f->grad, f->scratch, &error),
           error);
}

static void leapfrog(void **state) {
  (void)state;
  static const double one = 1.0;
  target what = target_banana(DIM, 0.4, 1.0);
  poe_expert *expert = target_expert(&what, POE_CAN_EVAL | POE_CAN_GRADIENT);
  flow f = {.density = {.n_terms = 1, .term = {expert}, .weight = {{.w = &one, .inc = 0}}},
            .scratch = poe_scratch_create(1024)};
  /* there and back */
  flow_start(&f, 0.1);
  flow start = f;
  flow_run(&f, 50);
  assert_true(fabs(f.y[0] - start.y[0]) > 0.05);
  for (size_t k = 0; k < ROWS * DIM; k++) {
    f.p[k] = -f.p[k];
  }
  flow_run(&f, 50);
  for (size_t k = 0; k < ROWS * DIM; k++) {
    check_close(f.y[k], start.y[k], 1e-12, 1e-12);
    check_close(f.p[k], -start.p[k], 1e-12, 1e-12);
  }
  /* the energy error at the same time falls by 4 with half the step */
  double error_of[3];
  for (int k = 0; k < 3; k++) {
    double sum = 0.0;
    flow_start(&f, 0.04 / (double)(1 << k));
    flow_run(&f, (size_t)40 << k);
    for (size_t i = 0; i < ROWS; i++) {
      sum += (flow_energy(&f, i) - f.energy[i]) * (flow_energy(&f, i) - f.energy[i]);
    }
    error_of[k] = sqrt(sum);
  }
  check_close(error_of[0] / error_of[1], 4.0, 0.2, 0.0);
  check_close(error_of[1] / error_of[2], 4.0, 0.1, 0.0);
  poe_scratch_destroy(f.scratch);
  poe_expert_release(expert);
}

/* ---- second attempts ---- */

enum { TILE = 48 };

typedef struct moved {
  double start[2 * TILE], x[2 * TILE], logp[TILE], grad[2 * TILE], rate[TILE], energy[TILE];
  unsigned char diverging[TILE];
  uint64_t gradients;
} moved;

/* One step of HMC on rows first .. first + n of the exact draws of a wall, tempered by weight[row]. */
static moved hmc_moves(const double *weight, size_t first, size_t n, double step_size, uint64_t seed) {
  moved m = {.gradients = 0};
  target what = target_wall(2);
  poe_expert *expert = target_expert(&what, POE_CAN_EVAL | POE_CAN_GRADIENT);
  poei_density density = {.n_terms = 1, .term = {expert}, .weight = {{.w = weight + first, .inc = 1}}};
  const double metric[2] = {1.0, 1.0};
  poei_kernel_settings settings = {.step_size = step_size, .metric = metric, .leapfrog = 2};
  poe_scratch *scratch = poe_scratch_create(poei_hmc_kernel.scratch(TILE, 2));
  poe_rng at[TILE];
  poe_error error = {0};
  for (size_t i = 0; i < n; i++) {
    at[i] = poe_rng_child(poe_rng_seed(seed), 7);
    at[i].chain = (uint32_t)(first + i);
    poe_stream stream = poe_stream_open(at[i]);
    what.draw(&what, &stream, m.x + 2 * i);
    at[i] = poe_rng_seed(seed);
    at[i].chain = (uint32_t)(first + i);
  }
  check_ok(poei_density_eval(&density, n, 2, m.x, m.logp, m.grad, scratch, &error), error);
  memcpy(m.start, m.x, sizeof m.x);
  poei_tile tile = {n, 2, m.x, m.logp, m.grad, m.rate, m.energy, m.diverging, at};
  uint64_t before = poei_alloc_count();
  check_ok(poei_hmc_kernel.step(&density, &settings, &tile, &m.gradients, &m.gradients, scratch, &error), error);
  assert_int_equal(poei_alloc_count(), before);
  /* what a row carries belongs to where it is */
  double logp[TILE], grad[2 * TILE];
  check_ok(poei_density_eval(&density, n, 2, m.x, logp, grad, scratch, &error), error);
  check_same_bits(logp, m.logp, n);
  check_same_bits(grad, m.grad, 2 * n);
  poe_scratch_destroy(scratch);
  poe_expert_release(expert);
  return m;
}

/* Rows of a tile, each with a weight of its own, do what they do alone. A row costs as many gradients as its first
 * attempt, or 5 times that with a second, or 6 times with the way back, without which it does not move; it diverges
 * only where the second attempt fails too: with long steps, not with moderate ones. */
static void second_attempts(void **state) {
  (void)state;
  static const double steps[] = {1.6, 10.0};
  double weight[TILE];
  for (size_t i = 0; i < TILE; i++) {
    weight[i] = 0.4 + (double)i / TILE;
  }
  for (size_t k = 0; k < 2; k++) {
    size_t retried = 0, moves = 0, diverging = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
      moved all = hmc_moves(weight, 0, TILE, steps[k], seed), one[TILE];
      uint64_t gradients = 0, length = hmc_moves(weight, 0, 1, 1e-6, seed).gradients;
      for (size_t i = 0; i < TILE; i++) {
        one[i] = hmc_moves(weight, i, 1, steps[k], seed);
        check_same_bits(one[i].x, all.x + 2 * i, 2);
        check_same_bits(one[i].logp, all.logp + i, 1);
        check_same_bits(one[i].energy, all.energy + i, 1);
        assert_true(one[i].diverging[0] == all.diverging[i]);
        gradients += one[i].gradients;
      }
      assert_int_equal(gradients, all.gradients);
      for (size_t i = 0; i < TILE; i++) {
        uint64_t cost = one[i].gradients / length;
        bool stays = all.x[2 * i] == all.start[2 * i];
        assert_true(one[i].gradients % length == 0 && (cost == 1 || cost == 5 || cost == 6));
        assert_true((cost > 1) == (all.rate[i] < exp(-40.0)));
        assert_true(cost == 6 || cost == 1 || stays);
        assert_true(cost > 1 || !all.diverging[i]);
        retried += cost > 1;
        moves += cost > 1 && !stays;
        diverging += all.diverging[i];
      }
    }
    assert_true(retried > 20);
    assert_true(k == 1 ? diverging > 20 : moves > 5 && diverging == 0);
  }
}

/* ---- proposals that are no numbers ---- */

static double log_trap(const target *t, const double *x, double *g) {
  if (g != NULL) {
    g[0] = -x[0];
  }
  return x[0] > t->a ? t->b : -0.5 * x[0] * x[0];
}

/* A proposal beyond the edge is NaN, +inf or -inf: refused each time; a divergence unless it is -inf
 * (for hmc: where the second attempt ends there too). */
static void bad_proposals(void **state) {
  (void)state;
  static const double bad[] = {NAN, INFINITY, -INFINITY}, one = 1.0;
  for (size_t k = 0; poei_kernels[k] != NULL; k++) {
    for (size_t b = 0; b < 3 && !poei_kernels[k]->independent && !poei_kernels[k]->discrete; b++) { /* test_imh.c */
      target what = target_gaussian(1, 0.0, 1.0);
      what.log_density = log_trap;
      what.a = 0.5;
      what.b = bad[b];
      poe_expert *expert = target_expert(&what, POE_CAN_EVAL | POE_CAN_GRADIENT);
      poei_density density = {.n_terms = 1, .term = {expert}, .weight = {{.w = &one, .inc = 0}}};
      double x[64] = {0}, logp[64] = {0}, grad[64] = {0}, rate[64], energy[64];
      unsigned char diverging[64];
      poe_rng at[64];
      for (size_t i = 0; i < 64; i++) {
        at[i] = poe_rng_seed(8);
        at[i].chain = (uint32_t)i;
      }
      poei_tile tile = {64, 1, x, logp, grad, rate, energy, diverging, at};
      poei_kernel_settings settings = {.step_size = 1.0, .metric = &one, .leapfrog = 1};
      poe_scratch *scratch = poe_scratch_create(poei_kernels[k]->scratch(64, 1));
      uint64_t rows = 0;
      poe_error error = {0};
      check_ok(poei_kernels[k]->step(&density, &settings, &tile, &rows, &rows, scratch, &error), error);
      size_t stayed = 0, diverged = 0;
      for (size_t i = 0; i < 64; i++) {
        assert_true(x[i] <= 0.5 && isfinite(logp[i]));
        stayed += rate[i] == 0.0;
        diverged += diverging[i];
        assert_true(diverging[i] == 0 || x[i] == 0.0);
      }
      assert_true(stayed > 5); /* 30 % of proposals are beyond the edge */
      bool retries = poei_kernels[k] == &poei_hmc_kernel && bad[b] != -INFINITY;
      if (retries) { /* four steps from 0, and one back from where that is not refused: few of these are inside */
        assert_true(diverged <= stayed && diverged + 5 > stayed);
        assert_int_equal(rows, 64 + 4 * stayed + (stayed - diverged));
      } else {
        assert_int_equal(diverged, bad[b] == -INFINITY ? 0 : stayed);
        assert_int_equal(rows, 64);
      }
      poe_scratch_destroy(scratch);
      poe_expert_release(expert);
    }
  }
}

static void list(void **state) {
  (void)state;
  size_t n = 0;
  for (; poei_kernels[n] != NULL; n++) {
    assert_ptr_equal(poei_kernel_find(poei_kernels[n]->name), poei_kernels[n]);
  }
  assert_int_equal(n, 6);
  assert_null(poei_kernel_find("nuts"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(list),          cmocka_unit_test(invariance),         cmocka_unit_test(large_steps_are_refused),
      cmocka_unit_test(ula_bias),      cmocka_unit_test(leapfrog),           cmocka_unit_test(second_attempts),
      cmocka_unit_test(bad_proposals), cmocka_unit_test(mistakes_are_found),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
