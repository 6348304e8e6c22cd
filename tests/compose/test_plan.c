/* The planner: which route is taken and why, log Z against closed forms, holes and their filling, what is refused, and
 * every allocation failing in turn. */
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

/* ---- exact routes ---- */

static void closed_forms(void **state) {
  (void)state;
  tree t = {0};
  double log_2pi = log(2.0 * acos(-1.0));
  /* N(0,1)^3: (2 pi)^-1.5 sqrt(2 pi / 3). */
  const poe_expert *cube = tree_power(&t, tree_normal(&t, 0.0, 1.0), 3.0);
  poei_plan *plan = plan_of(&t, cube);
  assert_true(plan->exact && plan->n_rules > 0 && plan->sampler != NULL && plan->log_z_error == 0.0);
  assert_int_equal(plan->log_z_method, POEI_METHOD_CLOSED);
  expect(plan, POEI_METHOD_CLOSED, -log_2pi - 0.5 * log(3.0), 1e-12);
  /* A family, a product of blocks, a mixture of them: as they are. */
  expect(plan_of(&t, tree_student(&t, 3.0, 0.0, 1.0)), POEI_METHOD_CLOSED, 0.0, 1e-15);
  const poe_expert *apart[2] = {tree_at(&t, tree_student(&t, 3.0, 0.0, 1.0), 2, 0),
                                tree_at(&t, tree_bernoulli(&t, 0.5), 2, 1)};
  const poe_expert *blocks = tree_product(&t, 2, 2, apart, ones);
  expect(plan_of(&t, blocks), POEI_METHOD_CLOSED, 0.0, 1e-15);
  expect(plan_of(&t, tree_or(&t, blocks, blocks)), POEI_METHOD_CLOSED, 0.0, 1e-15);
  /* The evidence of a linear-Gaussian model. */
  double a = 2.0, b = 0.5;
  const poe_expert *model[2] = {tree_at(&t, tree_normal(&t, 1.0, 0.5), 2, 0),
                                tree_slice(&t, tree_linear(&t, 1, 1, &a, &b, 0.3), 2, (size_t[]){1, 0})};
  const poe_expert *joint = tree_product(&t, 2, 2, model, ones);
  double y = 3.1, variance = 4.0 * 0.25 + 0.09;
  double evidence = -0.5 * (y - 2.5) * (y - 2.5) / variance - 0.5 * log(variance) - 0.5 * log_2pi;
  expect(plan_of(&t, tree_given(&t, joint, 1, (size_t[]){1}, &y)), POEI_METHOD_CLOSED, evidence, 1e-10);
  tree_free(&t);
}

static void enumeration(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *factors[24];
  double edge[4] = {0.5, -0.5, -0.5, 0.5};
  for (size_t i = 0; i < 23; i++) {
    factors[i] = tree_slice(&t, tree_table(&t, 2, (size_t[]){2, 2}, edge), 24, (size_t[]){i, i + 1});
  }
  double all[24];
  for (size_t i = 0; i < 24; i++) {
    all[i] = 1.0;
  }
  /* A chain of 24 binary variables has too many states to add up, and is eliminated ... */
  expect(plan_of(&t, tree_product(&t, 24, 23, factors, all)), POEI_METHOD_ELIMINATION,
         log(2.0) + 23.0 * log(2.0 * cosh(0.5)), 1e-11);
  /* ... 12 become one table: Z = 2 (e^.5 + e^-.5)^11. */
  tree u = {0};
  for (size_t i = 0; i < 11; i++) {
    factors[i] = tree_slice(&u, tree_table(&u, 2, (size_t[]){2, 2}, edge), 12, (size_t[]){i, i + 1});
  }
  const poe_expert *chain = tree_product(&u, 12, 11, factors, all);
  expect(plan_of(&u, chain), POEI_METHOD_CLOSED, log(2.0) + 11.0 * log(2.0 * cosh(0.5)), 1e-11);
  poei_plan *plan = plan_with(&u, chain, true);
  assert_true(plan->exact);
  expect(plan, POEI_METHOD_ENUMERATION, log(2.0) + 11.0 * log(2.0 * cosh(0.5)), 1e-11);
  tree_free(&u);
  tree_free(&t);
}

static void blocks(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *factors[4] = {
      tree_slice(&t, tree_ring(&t, 1.0, 0.05), 4, (size_t[]){2, 0}), tree_at(&t, tree_student(&t, 3.0, 0.0, 1.0), 4, 1),
      tree_at(&t, tree_normal(&t, 0.0, 1.0), 4, 1), tree_at(&t, tree_bernoulli(&t, 0.3), 4, 3)};
  const poe_expert *target = tree_product(&t, 4, 4, factors, (double[]){1.0, 0.5, 1.0, 2.0});
  for (int no_rewrite = 0; no_rewrite <= 1; no_rewrite++) {
    poei_plan *plan = plan_with(&t, target, no_rewrite);
    assert_int_equal(plan->n_parts, 3);
    assert_int_equal(plan->method, POEI_METHOD_BLOCKS);
    double total = 0.0;
    size_t seen = 0;
    for (size_t i = 0; i < 3; i++) {
      assert_true(plan->parts[i]->has_log_z);
      total += plan->parts[i]->log_z;
      for (size_t j = 0; j < plan->parts[i]->dim; j++) {
        seen |= (size_t)1 << plan->part_index[i][j];
      }
    }
    assert_int_equal(seen, 15);
    check_close(total, plan->log_z, 1e-12, 0.0);
    assert_false(plan->exact); /* two of them by quadrature */
    double ring = log(2.0 * acos(-1.0) * 0.05 * sqrt(2.0 * acos(-1.0)));
    check_close(plan->parts[plan->part_index[0][0] == 0 ? 0 : 1]->log_z, ring, 1e-7, 0.0);
    poei_plan_destroy(plan);
  }
  tree_free(&t);
}

/* OR of two experts whose constants differ by many nats: weights one half each. */
static void mixtures_weigh_by_weight(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *a = tree_power(&t, tree_ring(&t, 1.0, 0.2), 5.0), *b = tree_ring(&t, 3.0, 0.5);
  const poe_expert *either = tree_or(&t, tree_normalise(&t, a, NAN, 0.0), tree_normalise(&t, b, NAN, 0.0));
  for (int no_rewrite = 0; no_rewrite <= 1; no_rewrite++) {
    poei_plan *plan = plan_with(&t, either, no_rewrite);
    assert_int_equal(plan->n_holes, 0); /* quadrature knew */
    assert_int_equal(plan->n_parts, 2);
    check_close(exp(plan->part_log_weight[0]), 0.5, 1e-12, 0.0);
    check_close(exp(plan->part_log_weight[1]), 0.5, 1e-12, 0.0);
    assert_int_equal(plan->parts[0]->method, POEI_METHOD_QUADRATURE);
    assert_non_null(plan->parts[0]->sampler);
    expect(plan, POEI_METHOD_MIXTURE, 0.0, 1e-12);
  }
  /* Taken as they are, each gives its integral. */
  const poe_expert *sum = tree_or(&t, a, b);
  poei_plan *plan = plan_of(&t, sum);
  double za = log(2.0 * acos(-1.0) * 0.2 / sqrt(5.0) * sqrt(2.0 * acos(-1.0)));
  double zb = log(2.0 * acos(-1.0) * 3.0 * 0.5 * sqrt(2.0 * acos(-1.0)));
  check_close(plan->part_log_weight[0], za - poei_log_add(za, zb), 1e-5, 0.0); /* the ring's hole counts a little */
  expect(plan, POEI_METHOD_MIXTURE, poei_log_add(za, zb) - log(2.0), 1e-4);
  tree_free(&t);
}

static void quadrature(void **state) {
  (void)state;
  tree t = {0};
  double ring = log(2.0 * acos(-1.0) * 0.05 * sqrt(2.0 * acos(-1.0)));
  poei_plan *plan = plan_of(&t, tree_ring(&t, 1.0, 0.05));
  assert_true(!plan->exact && plan->sampler != NULL && plan->log_z_method == POEI_METHOD_QUADRATURE);
  assert_true(plan->log_z_error > 0.0);
  expect(plan, POEI_METHOD_QUADRATURE, ring, 1e-6);
  /* Estimates inside show in the error. */
  const poe_expert *estimated = tree_normalise(&t, tree_ring(&t, 1.0, 0.05), ring, 0.07);
  plan = plan_of(&t, tree_times(&t, estimated, standard(&t, 2)));
  assert_true(plan->log_z_error >= 0.07 && plan->log_z_error < 0.0701);
  poei_plan_destroy(plan);
  tree_free(&t);
}

/* ---- refusals ---- */

static void refusals(void **state) {
  (void)state;
  tree t = {0};
  double cov[4] = {1.0, 0.0, 0.0, 1.0}, wide[4] = {9.0, 0.0, 0.0, 0.5}, zero[2] = {0.0, 0.0};
  const poe_expert *over = tree_over(&t, tree_gaussian(&t, 2, zero, cov), tree_gaussian(&t, 2, zero, wide));
  plan_fails(&t, over, POE_E_IMPROPER, "along", NULL);
  plan_fails(&t, tree_normalise(&t, over, NAN, 0.0), POE_E_IMPROPER, "along", NULL);
  plan_fails(&t, tree_or(&t, tree_normalise(&t, over, NAN, 0.0), standard(&t, 2)), POE_E_IMPROPER, "along", NULL);
  plan_fails(&t, tree_bare(&t, 3, 0.0), POE_E_IMPROPER, "coordinate 0", "multiply it by a prior");
  plan_fails(&t, tree_normalise(&t, tree_bare(&t, 3, 0.0), NAN, 0.0), POE_E_IMPROPER, "bare", "prior");
  plan_fails(&t, tree_through(&t, tree_map(&t), tree_bare(&t, 3, 0.0)), POE_E_IMPROPER, "coordinate 0", "prior");
  plan_fails(&t, tree_power(&t, tree_student(&t, 3.0, 0.0, 1.0), -1.0), POE_E_IMPROPER, "coordinate 0", NULL);
  /* What is divided out again holds nothing; a mixture falls off like its widest component. */
  const poe_expert *student = tree_student(&t, 3.0, 0.0, 1.0);
  plan_fails(&t, tree_over(&t, tree_power(&t, student, 2.0), tree_power(&t, student, 2.5)), POE_E_IMPROPER,
             "coordinate 0", "prior");
  const poe_expert *two = tree_or(&t, tree_normal(&t, -2.0, 1.0), tree_normal(&t, 2.0, 0.5));
  plan_fails(&t, tree_over(&t, tree_normal(&t, 0.0, 4.0), tree_power(&t, two, 0.1)), POE_E_IMPROPER,
             "along coordinate 0 the divisors fall off faster", "less of the divisor");
  plan_fails(&t, tree_over(&t, student, two), POE_E_IMPROPER, "fall off faster", NULL);
  poei_plan_destroy(plan_of(&t, tree_over(&t, tree_normal(&t, 0.0, 4.0), tree_power(&t, two, 0.06))));
  const poe_expert *partly[2] = {tree_slice(&t, tree_bare(&t, 2, 0.0), 3, (size_t[]){0, 2}),
                                 tree_slice(&t, standard(&t, 2), 3, (size_t[]){0, 1})};
  plan_fails(&t, tree_product(&t, 3, 2, partly, ones), POE_E_IMPROPER, "coordinate 2", "prior");
  plan_fails(&t, tree_at(&t, tree_normal(&t, 0.0, 1.0), 2, 1), POE_E_IMPROPER, "", NULL);
  const poe_expert *boxes = tree_over(&t, tree_uniform(&t, 3, 0.0, 2.0), tree_uniform(&t, 3, 0.0, 1.0));
  plan_fails(&t, boxes, POE_E_IMPROPER, "`uniform` is 0 outside [0, 1] in coordinate 0", NULL);
  const poe_expert *mixed[3] = {
      tree_slice(&t, tree_ring(&t, 1.0, 0.5), 4, (size_t[]){0, 1}),
      tree_slice(&t, tree_table(&t, 2, (size_t[]){2, 2}, (double[]){0.0, 1.0, 0.0, 0.0}), 4, (size_t[]){2, 3}),
      tree_through(&t, tree_map(&t), tree_bare(&t, 3, 0.0))};
  tree_check(&t);
  (void)mixed;
  tree_free(&t);
}

/* A discrete switch between two continuous states, in one factor: no exact route, no mixed sampling. */
static poe_status switch_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                  poe_scratch *scratch, poe_error *error) {
  (void)self;
  (void)scratch;
  (void)error;
  for (size_t i = 0; i < rows.n; i++) {
    const double *x = &rows.x[i * rows.ld];
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], -0.5 * (x[0] - x[1]) * (x[0] - x[1]));
  }
  return POE_OK;
}

static void switch_traits(const void *self, poe_traits *traits) {
  static const poe_support support[2] = {{POE_CONTINUOUS, -INFINITY, INFINITY, true, true},
                                         {POE_DISCRETE, 0.0, 1.0, false, false}};
  (void)self;
  *traits = (poe_traits){.dim = 2, .support = support, .capabilities = POE_CAN_EVAL};
}

static size_t no_scratch(const void *self, unsigned want, size_t n) {
  (void)self;
  (void)want;
  (void)n;
  return 0;
}

static void nothing(void *self) {
  (void)self;
}

static void discrete_and_continuous(void **state) {
  (void)state;
  static const poe_param no_params[] = {{0}};
  static const poe_expert_ops ops = {.struct_size = sizeof(poe_expert_ops),
                                     .kind = "switch",
                                     .doc = "a switch",
                                     .params = no_params,
                                     .destroy = nothing,
                                     .traits = switch_traits,
                                     .scratch = no_scratch,
                                     .eval_add = switch_eval_add};
  int self = 0;
  tree t = {0};
  poe_expert *expert = NULL;
  check_ok(poe_expert_wrap(&ops, &self, &expert, &t.error), t.error);
  expect(plan_of(&t, expert), POEI_METHOD_MARGINAL, log(2.0) + 0.5 * log(2.0 * acos(-1.0)), 1e-7);
  expect(plan_of(&t, tree_given(&t, expert, 1, (size_t[]){1}, (double[]){1.0})), POEI_METHOD_QUADRATURE,
         0.5 * log(2.0 * acos(-1.0)), 1e-7);
  poe_expert_release(expert);
  tree_free(&t);
}

/* ---- holes ---- */

static void holes(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *code = standard(&t, 3), *three = tree_bare(&t, 3, 0.1), *thick = tree_bare(&t, 3, 0.8);
  const poe_expert *a = tree_times(&t, code, three), *b = tree_times(&t, code, thick);
  const poe_expert *na = tree_normalise(&t, a, NAN, 0.0), *again = tree_normalise(&t, a, NAN, 0.0);
  const poe_expert *inner = tree_or(&t, na, tree_normalise(&t, b, NAN, 0.0));
  const poe_expert *outer = tree_normalise(&t, tree_times(&t, inner, thick), NAN, 0.0);
  const poe_expert *target = tree_or(&t, outer, again);
  poei_plan *plan = plan_of(&t, target);
  assert_int_equal(plan->n_holes, 2); /* a, b; once each; the outer one only when they are filled */
  assert_ptr_equal(plan->holes[0], a);
  assert_ptr_equal(plan->holes[1], b);
  poei_constant constants[2] = {{a, 1.5, 0.1}, {b, -0.5, 0.2}};
  poe_expert *next = NULL, *last = NULL;
  poe_error error = {0};
  check_ok(poei_fill_holes(target, 2, constants, &next, &error), error);
  poei_plan_destroy(plan);
  plan = plan_of(&t, next);
  assert_int_equal(plan->n_holes, 1);
  poei_plan *inside = plan_of(&t, plan->holes[0]); /* a hole can be planned as it is */
  assert_int_equal(inside->method, POEI_METHOD_SMC);
  poei_plan_destroy(inside);
  constants[0] = (poei_constant){plan->holes[0], 2.0, 0.3};
  check_ok(poei_fill_holes(next, 1, constants, &last, &error), error);
  poei_plan_destroy(plan);
  plan = plan_of(&t, last);
  assert_int_equal(plan->n_holes, 0);
  assert_int_equal(plan->method, POEI_METHOD_MIXTURE);
  assert_int_equal(plan->n_parts, 2);
  assert_int_equal(plan->parts[1]->method, POEI_METHOD_SMC);
  check_close(plan->part_log_weight[1], log(0.5), 1e-12, 0.0);
  double x[3] = {0.1, -0.2, 0.3};
  double mixed =
      log(0.5 * exp(tree_value(a, x) - 1.5) + 0.5 * exp(tree_value(b, x) + 0.5)) + tree_value(thick, x) - 2.0;
  check_close(tree_value(plan->expert, x), log(0.5 * exp(mixed) + 0.5 * exp(tree_value(a, x) - 1.5)), 1e-10, 0.0);
  assert_true(poe_expert_traits(plan->expert)->offset_error >= 0.3);
  poei_plan_destroy(plan);
  poe_expert_release(next);
  poe_expert_release(last);
  tree_free(&t);
}

static void holes_the_planner_fills(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *normal = tree_normal(&t, 0.0, 1.0), *ring = tree_ring(&t, 1.0, 0.05);
  poei_plan *plan = plan_of(&t, tree_normalise(&t, tree_power(&t, normal, 3.0), NAN, 0.0));
  check_close(tree_value(plan->expert, (double[]){0.0}), 0.5 * log(3.0 / (2.0 * acos(-1.0))), 1e-12, 0.0);
  expect(plan, POEI_METHOD_CLOSED, 0.0, 1e-12);
  plan = plan_of(&t, tree_normalise(&t, ring, NAN, 0.0));
  check_close(tree_value(plan->expert, (double[]){1.0, 0.0}), -log(2.0 * acos(-1.0) * 0.05 * sqrt(2.0 * acos(-1.0))),
              1e-6, 0.0);
  expect(plan, POEI_METHOD_QUADRATURE, 0.0, 1e-12);
  /* Inner ones in written trees keep their place: the hole listed is the written child. */
  const poe_expert *slices[3] = {tree_slice(&t, tree_normalise(&t, ring, NAN, 0.0), 3, (size_t[]){0, 1}),
                                 standard(&t, 3), tree_bare(&t, 3, 0.0)};
  const poe_expert *product = tree_product(&t, 3, 3, slices, ones);
  plan = plan_of(&t, tree_normalise(&t, product, NAN, 0.0));
  assert_int_equal(plan->n_holes, 1);
  assert_ptr_equal(plan->holes[0], product);
  poei_constant constant = {product, 0.25, 0.01};
  poe_expert *filled = NULL;
  poe_error error = {0};
  check_ok(poei_fill_holes(plan->written, 1, &constant, &filled, &error), error);
  poei_plan_destroy(plan);
  plan = plan_of(&t, filled);
  assert_int_equal(plan->n_holes, 0);
  poei_plan_destroy(plan);
  poe_expert_release(filled);
  tree_free(&t);
}

/* ---- as written, and for values only ---- */

static void no_rewrite_gives_the_same(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *gmm = tree_gmm(&t, 2, 1, (double[]){0.4, 0.6}, (double[]){-1.0, 1.5}, (double[]){0.5, 0.8});
  const poe_expert *targets[4] = {
      tree_product(&t, 1, 3, (const poe_expert *const[]){gmm, tree_normal(&t, 0.0, 2.0), tree_normal(&t, 0.0, 3.0)},
                   (double[]){2.0, 1.0, -0.5}),
      tree_times(&t, tree_ring(&t, 1.0, 0.2), standard(&t, 2)),
      tree_or(&t, tree_times(&t, gmm, gmm), tree_power(&t, gmm, 3.0)),
      tree_restrict(&t, tree_times(&t, gmm, gmm), -0.5, INFINITY)};
  for (size_t i = 0; i < 4; i++) {
    poei_plan *plain = plan_with(&t, targets[i], true), *rewritten = plan_of(&t, targets[i]);
    assert_int_equal(plain->n_rules, 0);
    assert_ptr_equal(plain->expert, targets[i]);
    assert_true(plain->has_log_z && rewritten->has_log_z);
    check_close(plain->log_z, rewritten->log_z, 1e-7, 0.0);
    poei_plan_destroy(plain);
    poei_plan_destroy(rewritten);
  }
  tree_free(&t);
}

static void values_only(void **state) {
  (void)state;
  tree t = {0};
  poei_plan_options options;
  poei_plan_options_default(&options);
  options.values_only = true;
  poei_plan *plan = NULL;
  poe_error error = {0};
  const poe_expert *bare = tree_bare(&t, 3, 0.0);
  tree_check(&t);
  check_ok(poei_plan_build(bare, &options, &plan, &error), error);
  check_close(tree_value(plan->expert, (double[]){0.0, 0.0, 0.0}), 3.0, 1e-15, 0.0);
  poei_plan_destroy(plan);
  tree_free(&t);
}

/* ---- memory ---- */

static const poe_expert *memory_target(tree *t, size_t which) {
  const poe_expert *gmm = tree_gmm(t, 2, 1, (double[]){0.4, 0.6}, (double[]){-1.0, 1.5}, (double[]){0.5, 0.8});
  const poe_expert *code = standard(t, 3), *three = tree_bare(t, 3, 0.1), *thick = tree_bare(t, 3, 0.7);
  double edge[4] = {0.5, -0.5, -0.5, 0.5};
  const poe_expert *apart[3] = {tree_at(t, gmm, 3, 1), tree_slice(t, tree_ring(t, 1.0, 0.5), 3, (size_t[]){0, 2}),
                                tree_at(t, gmm, 3, 1)};
  const poe_expert *through[3] = {tree_through(t, tree_map(t), three), standard(t, 2), NULL};
  switch (which) {
  case 0:
    return tree_product(t, 1, 2, (const poe_expert *const[]){gmm, tree_normal(t, 0.0, 1.0)}, (double[]){2.0, 1.5});
  case 1:
    return tree_or(t, tree_normalise(t, tree_times(t, code, three), 0.3, 0.1),
                   tree_normalise(t, tree_times(t, code, thick), 0.3, 0.1));
  case 2:
    return tree_product(t, 3, 3, apart, ones);
  case 3:
    return tree_normalise(t, tree_times(t, tree_or(t, tree_times(t, code, three), tree_times(t, code, thick)), thick),
                          NAN, 0.0);
  case 4:
    return tree_given(t, tree_table(t, 2, (size_t[]){2, 2}, edge), 1, (size_t[]){0}, (double[]){1.0});
  case 5:
    return tree_product(t, 2, 2, through, ones);
  default:
    return tree_given(t, tree_product(t, 3, 3, apart, ones), 1, (size_t[]){2}, (double[]){0.5});
  }
}

static void every_allocation_fails(void **state) {
  (void)state;
  for (size_t which = 0; which <= 6; which++) {
    tree t = {0};
    const poe_expert *target = memory_target(&t, which);
    tree_check(&t);
    poei_plan_options options;
    poei_plan_options_default(&options);
    options.tolerance = 1e-3; /* the fewest cells: only their allocations matter here */
    uint64_t n = 1, step = 1;
    for (bool reached = true; reached; n += step) {
      poei_plan *plan = NULL;
      poe_error error = {0};
      uint64_t before = poei_alloc_count();
      poei_alloc_fail_at(n);
      poe_status status = poei_plan_build(target, &options, &plan, &error);
      poei_alloc_fail_at(0);
      reached = poei_alloc_count() - before >= n;
      if (status == POE_OK) {
        assert_non_null(plan);
        poei_plan_destroy(plan);
      } else if (!reached || status != POE_E_MEMORY || plan != NULL || error.message[0] == '\0') {
        fail_msg("target %zu, allocation %zu: %s %s", which, (size_t)n, poe_status_name(status), error.message);
      }
    }
    assert_true(n > 10);
    poei_plan *plan = plan_of(&t, target);
    poei_plan_destroy(plan);
    tree_free(&t);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(closed_forms),
      cmocka_unit_test(enumeration),
      cmocka_unit_test(blocks),
      cmocka_unit_test(mixtures_weigh_by_weight),
      cmocka_unit_test(quadrature),
      cmocka_unit_test(refusals),
      cmocka_unit_test(discrete_and_continuous),
      cmocka_unit_test(holes),
      cmocka_unit_test(holes_the_planner_fills),
      cmocka_unit_test(no_rewrite_gives_the_same),
      cmocka_unit_test(values_only),
      cmocka_unit_test(every_allocation_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
