/* The planner where nothing is exact: what sampling starts from, base * rest = target, kernels where nothing can be
 * drawn.
 */
#include "compose/nodes/node.h"
#include "compose/plan.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "tests/compose/plans.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double ones[8] = {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0};

/* ---- sampling ---- */

/* smooth = base * rest at random points of the unconstrained space, and the constants agree. */
static void base_times_rest(const poei_plan *plan) {
  enum { N = 100 };
  size_t d = plan->dim;
  double *u = poet_doubles(N * d), *whole = poet_doubles(N), *base = poet_doubles(N), *rest = poet_doubles(N);
  poet_points_normal(N, d, u);
  assert_int_equal(poet_eval(plan->smooth, N, d, u, whole, NULL), POE_OK);
  assert_int_equal(poet_eval(plan->base, N, d, u, base, NULL), POE_OK);
  assert_int_equal(poet_eval(plan->rest, N, d, u, rest, NULL), POE_OK);
  for (size_t i = 0; i < N; i++) {
    check_close(whole[i], base[i] + rest[i], 1e-10, 1e-10);
  }
  double log_z;
  poe_error error = {0};
  assert_true(poei_expert_can(plan->base, POE_CAN_SAMPLE));
  if (poei_expert_can(plan->base, POE_CAN_LOG_Z)) {
    check_ok(poe_expert_log_z(plan->base, &log_z, &error), error);
    check_close(plan->base_log_z, log_z, 1e-12, 0.0);
  }
  assert_int_equal(poet_draw(plan->base, 1, N, d, u), POE_OK);
  for (size_t i = 0; i < N * d; i++) {
    assert_true(isfinite(u[i]));
  }
  assert_int_equal(poei_node_kind_of(plan->smooth), POEI_NODE_transform);
  free(u);
  free(whole);
  free(base);
  free(rest);
}

static poei_plan *smc(const tree *t, const poe_expert *target, bool no_rewrite) {
  poei_plan *plan = plan_with(t, target, no_rewrite);
  if (plan->method != POEI_METHOD_SMC) {
    fail_msg("the method is %s: %s", poei_method_word(plan->method), plan->reason);
  }
  assert_true(plan->scratch_bytes > 0);
  base_times_rest(plan);
  return plan;
}

static void smc_from_factors(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *code = standard(&t, 3), *three = tree_bare(&t, 3, 0.1), *thick = tree_bare(&t, 3, 0.8);
  for (int no_rewrite = 0; no_rewrite <= 1; no_rewrite++) {
    poei_plan_destroy(smc(&t, tree_times(&t, code, three), no_rewrite));
    const poe_expert *thin[3] = {code, three, thick};
    poei_plan_destroy(smc(&t, tree_product(&t, 3, 3, thin, (double[]){1.0, 1.0, -0.5}), no_rewrite));
    /* Disjoint drawable factors together, a power above one, and bounded coordinates. */
    const poe_expert *parts[4] = {tree_at(&t, tree_uniform(&t, 1, -1.0, 2.0), 3, 1),
                                  tree_slice(&t, standard(&t, 2), 3, (size_t[]){2, 0}), three,
                                  tree_at(&t, tree_student(&t, 3.0, 0.0, 1.0), 3, 0)};
    poei_plan_destroy(smc(&t, tree_product(&t, 3, 4, parts, (double[]){1.0, 2.0, 1.0, 1.0}), no_rewrite));
    const poe_expert *mixed =
        tree_gmm(&t, 2, 3, (double[]){0.5, 0.5}, (double[]){0.0, 0.0, 0.0, 2.0, 2.0, 2.0}, (double[]){1.0, 0.5});
    poei_plan_destroy(smc(&t, tree_times(&t, mixed, three), no_rewrite));
  }
  /* The narrower of two drawable factors that cannot be fused. */
  double wide_cov[9] = {25.0, 0.0, 0.0, 0.0, 25.0, 0.0, 0.0, 0.0, 25.0}, zero[3] = {0.0, 0.0, 0.0};
  const poe_expert *both[3] = {tree_gaussian(&t, 3, zero, wide_cov), code, three};
  poei_plan *plan = smc(&t, tree_product(&t, 3, 3, both, ones), true);
  check_close(tree_value(plan->base, zero), tree_value(code, zero), 1e-12, 0.0);
  poei_plan_destroy(plan);
  /* Rewritten, the two are one, narrower still. */
  plan = smc(&t, tree_product(&t, 3, 3, both, ones), false);
  check_close(plan->base_log_z, -1.5 * log(2.0 * acos(-1.0) * 26.0), 1e-10, 0.0);
  poei_plan_destroy(plan);
  tree_free(&t);
}

static void smc_around_mixtures(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *code = standard(&t, 3), *three = tree_bare(&t, 3, 0.1), *thick = tree_bare(&t, 3, 0.8),
                   *ring = tree_slice(&t, tree_ring(&t, 1.0, 0.5), 3, (size_t[]){0, 2});
  /* code * (a or b) */
  poei_plan_destroy(smc(&t, tree_times(&t, code, tree_or(&t, three, thick)), false));
  poei_plan_destroy(smc(&t, tree_times(&t, code, tree_or(&t, three, thick)), true));
  /* (code * a or code * b) * c, with the same base and with different ones */
  const poe_expert *a = tree_normalise(&t, tree_times(&t, code, three), 0.4, 0.01);
  const poe_expert *b = tree_normalise(&t, tree_times(&t, code, thick), 0.1, 0.02);
  double cov[9] = {0.25, 0.0, 0.0, 0.0, 0.25, 0.0, 0.0, 0.0, 0.25}, mean[3] = {1.0, 0.0, 0.0};
  const poe_expert *other = tree_normalise(&t, tree_times(&t, tree_gaussian(&t, 3, mean, cov), thick), 0.1, 0.02);
  for (int no_rewrite = 0; no_rewrite <= 1; no_rewrite++) {
    poei_plan_destroy(smc(&t, tree_times(&t, tree_or(&t, a, b), ring), no_rewrite));
    poei_plan_destroy(smc(&t, tree_times(&t, tree_or(&t, a, other), ring), no_rewrite));
    /* (normalised product) * c: the base is inside */
    poei_plan_destroy(smc(&t, tree_times(&t, a, ring), no_rewrite));
  }
  tree_free(&t);
}

/* A Gaussian of dependent coordinates on a box: the base is drawn exactly and nowhere narrower than the target, so that
 * log rest has its largest value at the mean; base * rest is the target. */
static void smc_for_a_gaussian_on_a_box(void **state) {
  (void)state;
  tree t = {0};
  double mean[3] = {0.5, 0.0, -0.5}, cov[9] = {1.0, 0.8, 0.7, 0.8, 1.0, 0.75, 0.7, 0.75, 1.0};
  const poe_expert *box = tree_restrict(&t, tree_gaussian(&t, 3, mean, cov), -2.0, INFINITY);
  const poe_expert *ring = tree_slice(&t, tree_ring(&t, 1.0, 0.5), 3, (size_t[]){0, 2});
  const poe_expert *targets[2] = {box, tree_times(&t, box, ring)};
  tree_check(&t);
  for (size_t i = 0; i < 2; i++) {
    poei_plan *plan = plan_of(&t, targets[i]);
    assert_int_equal(plan->method, POEI_METHOD_SMC);
    assert_true(isfinite(plan->base_log_z));
    poe_traits traits = *poe_expert_traits(plan->base);
    assert_int_equal(traits.dim, 3);
    double at_mean[3], u[3], jacobian = log(2.5) + log(2.0) + log(1.5);
    for (size_t j = 0; j < 3; j++) {
      at_mean[j] = log(mean[j] + 2.0); /* the unconstrained coordinate of a half-line */
    }
    double most = tree_value(plan->rest, at_mean), ring_most = i == 0 ? 0.0 : -tree_value(ring, mean);
    check_close(tree_value(plan->base, at_mean) + most, tree_value(targets[i], mean) + jacobian, 1e-12, 1e-12);
    for (size_t k = 0; k < 200; k++) {
      for (size_t j = 0; j < 3; j++) {
        u[j] = poet_spread(k, j, -1.0, 2.0);
      }
      assert_true(tree_value(plan->rest, u) <= most + ring_most + 1e-9);
    }
    poei_plan_destroy(plan);
  }
  tree_free(&t);
}

static void mcmc_when_nothing_can_be_drawn(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *plate = tree_plate(&t, tree_ring(&t, 1.0, 0.5), 3, 3, (size_t[]){0, 1, 1, 2, 2, 0});
  poei_plan *plan = plan_of(&t, plate);
  assert_int_equal(plan->method, POEI_METHOD_MCMC);
  assert_true(plan->smooth != NULL && plan->base == NULL && !plan->has_log_z);
  poei_plan_destroy(plan);
  tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(smc_from_factors),
      cmocka_unit_test(smc_around_mixtures),
      cmocka_unit_test(smc_for_a_gaussian_on_a_box),
      cmocka_unit_test(mcmc_when_nothing_can_be_drawn),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
