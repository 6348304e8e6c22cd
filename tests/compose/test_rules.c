/* The rewriting rules: each on its own (what it must do, and where it must not fire), and all together on random trees:
 * the rewritten density is the written one at every point, its gradient too, and so is log Z. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/rules.h"
#include "compose/nodes/node.h"
#include "experts/formula.h"
#include "experts/list.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

/* Rewrites with one rule (NULL: all); how often it fired. The result is the caller's. */
static poe_expert *rewrite(const poe_expert *expert, const char *only, size_t *fired) {
  poei_plan_options options;
  poei_plan_options_default(&options);
  poei_fired list = {0};
  poe_expert *out = NULL;
  poe_error error = {0};
  check_ok(poei_rewrite(expert, &options, only, &list, &out, &error), error);
  if (fired != NULL) {
    *fired = list.n;
  }
  for (size_t i = 0; i < list.n; i++) {
    assert_true(only == NULL || strcmp(list.item[i].rule, only) == 0);
    assert_non_null(list.item[i].what);
  }
  poei_fired_free(&list);
  return out;
}

/* Values and gradients of both at n random points, in [low, high]; discrete coordinates get integers. */
static void same_density(const poe_expert *a, const poe_expert *b, double low, double high, double tolerance) {
  enum { N = 128 };
  size_t d = poe_expert_traits(a)->dim;
  assert_int_equal(d, poe_expert_traits(b)->dim);
  double *x = poet_doubles(N * d), *va = poet_doubles(N), *vb = poet_doubles(N), *ga = poet_doubles(N * d),
         *gb = poet_doubles(N * d);
  for (size_t i = 0; i < N * d; i++) {
    const poe_support *s = &poe_expert_traits(a)->support[i % d];
    double u = poet_spread(i / d, i % d, 0.0, 1.0);
    x[i] = s->kind == POE_DISCRETE ? s->low + floor(u * (s->high - s->low + 1.0)) : low + (high - low) * u;
  }
  bool gradient = poei_expert_can(a, POE_CAN_GRADIENT) && poei_expert_can(b, POE_CAN_GRADIENT);
  assert_int_equal(poet_eval(a, N, d, x, va, gradient ? ga : NULL), POE_OK);
  assert_int_equal(poet_eval(b, N, d, x, vb, gradient ? gb : NULL), POE_OK);
  for (size_t i = 0; i < N; i++) {
    if (isnan(va[i]) || va[i] == INFINITY) { /* a divisor vanished alone: no density there */
      continue;
    }
    check_close(va[i], vb[i], tolerance, tolerance);
    for (size_t j = 0; j < d && gradient && isfinite(va[i]); j++) {
      check_close(ga[i * d + j], gb[i * d + j], 10.0 * tolerance, 10.0 * tolerance);
    }
  }
  free(x);
  free(va);
  free(vb);
  free(ga);
  free(gb);
}

/* The rule fires `times` times and keeps the density; the result. */
static poe_expert *fires(tree *t, const poe_expert *expert, const char *rule, size_t times) {
  size_t fired;
  tree_check(t);
  poe_expert *out = rewrite(expert, rule, &fired);
  assert_int_equal(fired, times);
  same_density(expert, out, -2.0, 2.5, 1e-11);
  return out;
}

static void silent(tree *t, const poe_expert *expert, const char *rule) {
  poe_expert *out = fires(t, expert, rule, 0);
  assert_ptr_equal(out, expert);
  poe_expert_release(out);
}

static const double ones[8] = {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0};

/* ---- one rule at a time ---- */

static void unwrap(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *ring = tree_ring(&t, 1.0, 0.5), *normal = tree_normal(&t, 0.0, 1.0);
  const poe_expert *wrapped[] = {tree_power(&t, ring, 1.0), tree_slice(&t, ring, 2, (size_t[]){0, 1}),
                                 tree_restrict(&t, ring, -INFINITY, INFINITY),
                                 tree_mixture(&t, 1, &ring, (double[]){1.0})};
  for (size_t i = 0; i < 4; i++) {
    poe_expert *out = fires(&t, wrapped[i], "unwrap", 1);
    assert_ptr_equal(out, ring);
    poe_expert_release(out);
  }
  poe_expert *out = fires(&t, tree_normalise(&t, normal, 0.0, 0.0), "unwrap", 1);
  assert_ptr_equal(out, normal);
  poe_expert_release(out);
  const poe_expert *inner = tree_slice(&t, ring, 3, (size_t[]){2, 0});
  out = fires(&t, tree_slice(&t, inner, 5, (size_t[]){4, 1, 3}), "unwrap", 1);
  assert_int_equal(poei_slice_index(out)[0], 3);
  assert_int_equal(poei_slice_index(out)[1], 4);
  assert_ptr_equal(poei_node_child(out, 0), ring);
  poe_expert_release(out);
  silent(&t, tree_power(&t, ring, 2.0), "unwrap");
  silent(&t, tree_restrict(&t, ring, 0.0, 1.0), "unwrap");
  silent(&t, tree_mixture(&t, 1, &ring, (double[]){2.0}), "unwrap");
  silent(&t, tree_slice(&t, ring, 2, (size_t[]){1, 0}), "unwrap");
  silent(&t, tree_normalise(&t, ring, 0.0, 0.0), "unwrap");
  tree_free(&t);
}

static void flatten(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *a = tree_ring(&t, 1.0, 0.5), *b = tree_bare(&t, 2, 0.3), *c = tree_uniform(&t, 2, -1.0, 2.0);
  const poe_expert *nested = tree_times(&t, tree_power(&t, tree_times(&t, a, b), 0.5), tree_over(&t, c, b));
  poe_expert *out = fires(&t, nested, "flatten", 2);
  assert_int_equal(poei_node_child_count(out), 4);
  poe_expert_release(out);
  /* A quotient under a negative exponent stays: (c/a)^-1 is not a/c where both vanish. */
  silent(&t, tree_product(&t, 2, 2, (const poe_expert *const[]){a, tree_over(&t, b, c)}, (double[]){1.0, -1.0}),
         "flatten");
  /* A constant inside comes out. */
  const poe_expert *constant = tree_normalise(&t, tree_times(&t, a, b), 1.25, 0.1);
  out = fires(&t, tree_times(&t, constant, c), "flatten", 1);
  check_close(poe_expert_traits(out)->offset_error, 0.1, 1e-12, 0.0);
  poe_expert_release(out);
  /* Factors on different coordinates keep their products: they are blocks. */
  const poe_expert *apart[2] = {tree_slice(&t, tree_times(&t, a, b), 4, (size_t[]){0, 1}),
                                tree_slice(&t, tree_times(&t, a, c), 4, (size_t[]){3, 2})};
  silent(&t, tree_product(&t, 4, 2, apart, ones), "flatten");
  const poe_expert *together[2] = {apart[0], tree_slice(&t, tree_times(&t, a, c), 4, (size_t[]){1, 2})};
  out = fires(&t, tree_product(&t, 4, 2, together, ones), "flatten", 1);
  assert_int_equal(poei_node_child_count(out), 4);
  poe_expert_release(out);
  tree_free(&t);
}

static void collect(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *a = tree_ring(&t, 1.0, 0.5), *b = tree_bare(&t, 2, 0.3), *u = tree_uniform(&t, 2, -1.0, 2.0);
  const poe_expert *g = tree_gaussian(&t, 2, (double[]){0.0, 0.0}, (double[]){1.0, 0.0, 0.0, 1.0});
  poe_expert *out =
      fires(&t, tree_product(&t, 2, 3, (const poe_expert *const[]){a, b, a}, (double[]){1.0, 1.0, 0.5}), "collect", 1);
  assert_int_equal(poei_node_child_count(out), 2);
  check_close(poei_product_exponent(out, 0), 1.5, 0.0, 0.0);
  poe_expert_release(out);
  out =
      fires(&t, tree_product(&t, 2, 3, (const poe_expert *const[]){g, b, g}, (double[]){1.0, 1.0, -1.0}), "collect", 1);
  assert_int_equal(poei_node_child_count(out), 1); /* b */
  poe_expert_release(out);
  out =
      fires(&t, tree_product(&t, 2, 3, (const poe_expert *const[]){u, b, u}, (double[]){1.0, 1.0, -0.5}), "collect", 1);
  poe_expert_release(out);
  /* u / u is 0 outside its box, so it must not become 1. */
  silent(&t, tree_product(&t, 2, 3, (const poe_expert *const[]){u, b, u}, (double[]){1.0, 1.0, -1.0}), "collect");
  const poe_expert *swapped = tree_slice(&t, a, 2, (size_t[]){1, 0});
  silent(&t, tree_product(&t, 2, 2, (const poe_expert *const[]){a, swapped}, ones), "collect");
  tree_free(&t);
}

static void share_map(void **state) {
  (void)state;
  tree t = {0};
  const poe_map *map = tree_map(&t), *other = tree_map(&t);
  double mean[3] = {0.1, 0.2, -0.3}, cov[9] = {0.5, 0.0, 0.0, 0.0, 0.4, 0.0, 0.0, 0.0, 0.6}, a[3] = {0.5, -1.0, 0.25};
  const poe_expert *line = tree_slice(&t, tree_linear(&t, 1, 3, a, (double[]){0.1}, 0.8), 4, (size_t[]){3, 0, 1, 2});
  const poe_expert *one = tree_through(&t, map, tree_gaussian(&t, 3, mean, cov));
  const poe_expert *two = tree_through(&t, map, tree_bare(&t, 3, 0.5)), *three = tree_through(&t, map, line);
  const poe_expert *factors[4] = {tree_slice(&t, one, 4, (size_t[]){3, 1}), tree_slice(&t, two, 4, (size_t[]){3, 1}),
                                  tree_slice(&t, three, 4, (size_t[]){3, 1, 0}),
                                  tree_at(&t, tree_normal(&t, 0.0, 1.0), 4, 2)};
  const poe_expert *target = tree_product(&t, 4, 4, factors, (double[]){1.0, -0.5, 1.0, 1.0});
  poe_expert *out = fires(&t, target, "share map", 1);
  double x[4] = {0.1, 0.2, 0.3, 0.4};
  size_t before = tree_map_passes;
  tree_value(target, x);
  assert_int_equal(tree_map_passes - before, 3);
  before = tree_map_passes;
  tree_value(out, x);
  assert_int_equal(tree_map_passes - before, 1);
  poe_expert_release(out);
  /* Another map, or the same map of other coordinates, is another value. */
  const poe_expert *apart[2] = {one, tree_through(&t, other, tree_bare(&t, 3, 0.5))};
  silent(&t, tree_product(&t, 2, 2, apart, ones), "share map");
  const poe_expert *swapped[2] = {one, tree_slice(&t, two, 2, (size_t[]){1, 0})};
  silent(&t, tree_product(&t, 2, 2, swapped, ones), "share map");
  tree_free(&t);
}

static void gaussian(void **state) {
  (void)state;
  tree t = {0};
  double cov[4] = {1.0, 0.3, 0.3, 0.5}, wide[4] = {9.0, 0.0, 0.0, 9.0}, a = 0.6, b = 0.2;
  const poe_expert *g = tree_gaussian(&t, 2, (double[]){0.5, -0.5}, cov),
                   *h = tree_gaussian(&t, 2, (double[]){0.0, 0.0}, wide), *e = tree_bare(&t, 3, 0.0);
  const poe_expert *line = tree_slice(&t, tree_linear(&t, 1, 1, &a, &b, 0.5), 3, (size_t[]){2, 1});
  const poe_expert *factors[4] = {tree_slice(&t, g, 3, (size_t[]){1, 0}), e, line,
                                  tree_slice(&t, h, 3, (size_t[]){0, 1})};
  /* Three fuse, over different subsets and with a divisor; the network stays, and the Gaussian can be drawn. */
  poe_expert *out = fires(&t, tree_product(&t, 3, 4, factors, (double[]){1.0, 1.0, 1.0, -1.0}), "gaussian algebra", 1);
  assert_int_equal(poei_node_child_count(out), 2);
  assert_ptr_equal(poei_node_child(out, 0), e);
  assert_true(poei_expert_can(poei_node_child(out, 1), POE_CAN_SAMPLE | POE_CAN_LOG_Z));
  poe_expert_release(out);
  /* Disjoint Gaussians are not made dense; a divisor that makes the rest improper is left outside. */
  const poe_expert *apart[3] = {tree_slice(&t, g, 4, (size_t[]){0, 1}), tree_slice(&t, h, 4, (size_t[]){2, 3}),
                                tree_slice(&t, tree_bare(&t, 2, 0.0), 4, (size_t[]){0, 2})};
  silent(&t, tree_product(&t, 4, 3, apart, ones), "gaussian algebra");
  const poe_expert *improper[4] = {g, h, tree_ring(&t, 1.0, 0.3), g};
  out = fires(&t, tree_product(&t, 2, 4, improper, (double[]){1.0, 1.0, 1.0, -3.0}), "gaussian algebra", 1);
  assert_int_equal(poei_node_child_count(out), 3);
  poe_expert_release(out);
  silent(&t, tree_product(&t, 2, 2, (const poe_expert *const[]){h, g}, (double[]){1.0, -1.0}), "gaussian algebra");
  /* Estimated constants are not closed away: their error would be lost. */
  silent(&t, tree_normalise(&t, g, 0.5, 0.1), "gaussian algebra");
  out = fires(&t, tree_normalise(&t, g, 0.5, 0.0), "gaussian algebra", 1);
  assert_int_equal(poei_node_kind_of(out), POEI_NODE_LEAF);
  poe_expert_release(out);
  out = fires(&t, tree_given(&t, tree_gaussian(&t, 2, (double[]){0.0, 1.0}, cov), 1, (size_t[]){0}, (double[]){0.7}),
              "gaussian algebra", 1);
  assert_int_equal(poei_node_kind_of(out), POEI_NODE_LEAF);
  poe_expert_release(out);
  tree_free(&t);
}

/* Gaussians on a box: independent ones are closed with exact log Z and draws, others keep the box around them. */
static void boxes(void **state) {
  (void)state;
  tree t = {0};
  double mean[3] = {0.5, -0.5, 1.0}, diagonal[9] = {1.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 2.0};
  double full[9] = {1.0, 0.3, 0.0, 0.3, 0.5, 0.0, 0.0, 0.0, 2.0}, log_z;
  const poe_expert *a = tree_restrict(&t, tree_gaussian(&t, 3, mean, diagonal), -1.0, 2.0);
  const poe_expert *b = tree_restrict(&t, tree_gaussian(&t, 3, mean, full), -0.5, INFINITY);
  poe_error error = {0};
  poe_expert *out = fires(&t, a, "gaussian algebra", 1);
  check_ok(poe_expert_log_z(out, &log_z, &error), error);
  double expected = 0.0, sd[3] = {1.0, sqrt(0.5), sqrt(2.0)};
  for (size_t j = 0; j < 3; j++) {
    expected += log(0.5 * (erf((2.0 - mean[j]) / sd[j] / sqrt(2.0)) - erf((-1.0 - mean[j]) / sd[j] / sqrt(2.0))));
  }
  check_close(log_z, expected, 1e-12, 0.0);
  assert_true(poei_expert_can(out, POE_CAN_SAMPLE));
  poe_expert_release(out);
  silent(&t, b, "gaussian algebra");
  /* a^2 * wide * network: one truncated Gaussian and the network. */
  const poe_expert *wide = tree_gaussian(&t, 3, mean, (double[]){9.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0, 9.0});
  const poe_expert *three[3] = {a, wide, tree_bare(&t, 3, 0.2)};
  out = fires(&t, tree_product(&t, 3, 3, three, (double[]){2.0, -0.5, 1.0}), "gaussian algebra", 2);
  assert_int_equal(poei_node_child_count(out), 2);
  assert_true(poei_expert_can(poei_node_child(out, 1), POE_CAN_SAMPLE | POE_CAN_LOG_Z));
  assert_true(poe_expert_traits(out)->support[1].low == -1.0 && poe_expert_traits(out)->support[1].high == 2.0);
  poe_expert_release(out);
  /* Boxes intersect; correlated coordinates keep a box around a Gaussian. */
  out = fires(&t, tree_times(&t, a, b), "gaussian algebra", 2);
  assert_int_equal(poei_node_kind_of(out), POEI_NODE_restrict);
  assert_true(poe_expert_traits(out)->support[0].low == -0.5 && poe_expert_traits(out)->support[0].high == 2.0);
  poe_expert_release(out);
  /* A divisor that is 0 inside the box of the rest stays apart. */
  out = fires(&t, tree_product(&t, 3, 2, (const poe_expert *const[]){b, a}, (double[]){1.0, -0.1}), "gaussian algebra",
              1);
  assert_int_equal(poei_node_kind_of(out), POEI_NODE_product);
  poe_expert_release(out);
  /* A mixture on a box is a mixture on boxes. */
  const poe_expert *m = tree_gmm(&t, 2, 1, (double[]){0.4, 0.6}, (double[]){-1.0, 0.5}, (double[]){0.5, 1.0});
  out = fires(&t, tree_restrict(&t, m, 0.0, INFINITY), "distribute", 1);
  assert_true(poei_expert_can(out, POE_CAN_SAMPLE | POE_CAN_LOG_Z));
  poe_expert_release(out);
  tree_free(&t);
}

static void distribute(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *m =
      tree_gmm(&t, 3, 1, (double[]){0.2, 0.3, 0.5}, (double[]){-1.0, 0.0, 2.0}, (double[]){0.5, 1.0, 0.7});
  const poe_expert *g = tree_normal(&t, 0.3, 0.8), *e = tree_bare(&t, 1, 0.2);
  const poe_expert *target = tree_product(&t, 1, 4, (const poe_expert *const[]){m, m, g, e}, ones);
  poe_expert *out = fires(&t, target, "distribute", 1);
  assert_int_equal(poei_node_child_count(out), 2);
  poe_form form = {0};
  poe_error error = {0};
  check_ok(poe_expert_form(poei_node_child(out, 1), &form, &error), error);
  assert_int_equal(form.components, 9);
  poe_form_release(&form);
  poe_expert_release(out);
  silent(&t, tree_product(&t, 1, 2, (const poe_expert *const[]){m, g}, (double[]){0.5, 1.0}), "distribute");
  silent(&t, tree_product(&t, 1, 2, (const poe_expert *const[]){m, e}, ones), "distribute");
  out = fires(&t, tree_or(&t, m, g), "distribute", 1);
  assert_true(poei_expert_can(out, POE_CAN_SAMPLE | POE_CAN_LOG_Z | POE_CAN_FORM));
  poe_expert_release(out);
  /* The limit on components holds. */
  poei_plan_options options;
  poei_plan_options_default(&options);
  options.mixture_limit = 8;
  poei_fired fired = {0};
  check_ok(poei_rewrite(target, &options, "distribute", &fired, &out, &error), error);
  assert_int_equal(fired.n, 0);
  poei_fired_free(&fired);
  poe_expert_release(out);
  tree_free(&t);
}

static void tables(void **state) {
  (void)state;
  tree t = {0};
  double pair[6] = {0.1, -0.4, 0.8, -INFINITY, 0.3, 0.0};
  const poe_expert *edge = tree_table(&t, 2, (size_t[]){2, 3}, pair);
  const poe_expert *factors[4] = {tree_slice(&t, edge, 4, (size_t[]){0, 2}), tree_slice(&t, edge, 4, (size_t[]){1, 2}),
                                  tree_at(&t, tree_bernoulli(&t, 0.3), 4, 1),
                                  tree_at(&t, tree_bernoulli(&t, 0.6), 4, 3)};
  poe_expert *out = fires(&t, tree_product(&t, 4, 4, factors, (double[]){1.0, 2.0, -1.0, 1.0}), "table algebra", 1);
  assert_int_equal(poei_node_child_count(out), 2); /* the coin at 3 is alone */
  poe_expert_release(out);
  tree_free(&t);
}

static void push_given(void **state) {
  (void)state;
  tree t = {0};
  double a = 0.6, b = 0.2;
  const poe_expert *line = tree_slice(&t, tree_linear(&t, 1, 1, &a, &b, 0.5), 4, (size_t[]){2, 1});
  const poe_expert *factors[4] = {tree_slice(&t, tree_ring(&t, 1.0, 0.4), 4, (size_t[]){3, 0}), line,
                                  tree_at(&t, tree_student(&t, 3.0, 0.0, 1.0), 4, 2),
                                  tree_at(&t, tree_normal(&t, 0.0, 2.0), 4, 0)};
  const poe_expert *joint = tree_product(&t, 4, 4, factors, (double[]){1.0, 1.0, 2.0, 1.0});
  poe_expert *out = fires(&t, tree_given(&t, joint, 2, (size_t[]){2, 3}, (double[]){0.7, -0.4}), "push given", 1);
  poe_expert_release(out);
  const poe_expert *either = tree_or(&t, joint, tree_normalise(&t, joint, 0.3, 0.2));
  out = fires(&t, tree_given(&t, either, 1, (size_t[]){1}, (double[]){0.7}), "push given", 4);
  check_close(poe_expert_traits(out)->offset_error, 0.2, 1e-12, 0.0);
  poe_expert_release(out);
  silent(&t, tree_given(&t, tree_ring(&t, 1.0, 0.4), 1, (size_t[]){1}, (double[]){0.7}), "push given");
  tree_free(&t);
}

static void common_factor(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *code = tree_gaussian(&t, 2, (double[]){0.0, 0.0}, (double[]){1.0, 0.0, 0.0, 1.0});
  const poe_expert *three = tree_bare(&t, 2, 0.1), *thick = tree_bare(&t, 2, 0.9), *ring = tree_ring(&t, 1.0, 0.3);
  const poe_expert *either = tree_or(&t, tree_normalise(&t, tree_times(&t, code, three), 0.7, 0.05),
                                     tree_normalise(&t, tree_times(&t, code, thick), -0.2, 0.1));
  poe_expert *out = fires(&t, tree_times(&t, either, ring), "common factor", 1);
  check_close(poe_expert_traits(out)->offset_error, 0.1, 1e-12, 0.0);
  poe_expert_release(out);
  silent(&t, either, "common factor"); /* alone, each component has its own plan */
  const poe_expert *distinct = tree_or(&t, tree_times(&t, code, three), tree_times(&t, ring, thick));
  silent(&t, tree_times(&t, distinct, ring), "common factor");
  tree_free(&t);
}

static void blocks(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *ring = tree_ring(&t, 1.0, 0.3), *s = tree_student(&t, 3.0, 0.0, 1.0);
  const poe_expert *factors[5] = {tree_slice(&t, ring, 5, (size_t[]){0, 3}), tree_at(&t, s, 5, 3),
                                  tree_slice(&t, ring, 5, (size_t[]){4, 1}), tree_at(&t, s, 5, 1),
                                  tree_at(&t, s, 5, 2)};
  const poe_expert *target = tree_product(&t, 5, 5, factors, (double[]){1.0, 2.0, 1.0, -0.5, 1.0});
  poe_expert *out = fires(&t, target, "blocks", 1);
  assert_int_equal(poei_node_child_count(out), 3);
  poe_expert_release(out);
  size_t fired;
  poe_expert *all = rewrite(target, NULL, &fired); /* and no other rule undoes it */
  assert_int_equal(fired, 1);
  poe_expert_release(all);
  silent(&t, tree_product(&t, 5, 1, factors, ones), "blocks");
  tree_free(&t);
}

/* ---- all together ---- */

/* A random leaf over `d` of the coordinates 0..4. */
static const poe_expert *random_leaf(tree *t, size_t trial, size_t place) {
  double pick = poet_spread(trial, place, 0.0, 7.0), mean = poet_spread(trial, place + 1, -1.0, 1.0);
  double sd = poet_spread(trial, place + 2, 0.5, 2.0);
  size_t first = (size_t)poet_spread(trial, place + 3, 0.0, 4.999),
         second = (first + 1 + (size_t)poet_spread(trial, place + 4, 0.0, 3.999)) % 5;
  size_t pair[2] = {first, second};
  switch ((int)pick) {
  case 0:
    return tree_at(t, tree_student(t, 4.0, mean, sd), 5, first);
  case 1:
    return tree_slice(t, tree_ring(t, sd, 0.5), 5, pair);
  case 2:
    return tree_at(t, tree_gmm(t, 2, 1, (double[]){0.3, 0.7}, (double[]){mean, -mean}, (double[]){sd, 1.0}), 5, first);
  case 4:
    return tree_at(t, tree_bounded_normal(t, -2.0, 1.5, mean, sd), 5, first);
  case 3:
    return tree_slice(t, tree_linear(t, 1, 1, &mean, &sd, sd), 5, pair);
  default:
    return tree_at(t, tree_normal(t, mean, sd), 5, first);
  }
}

/* Products, powers, mixtures, constants and clamped values over five coordinates, nested to the given depth. */
static const poe_expert *random_tree(tree *t, size_t trial, size_t place, size_t depth) {
  double pick = poet_spread(trial, place + 10, 0.0, 10.0);
  if (depth == 0 || pick < 2.0) {
    return random_leaf(t, trial, place);
  }
  const poe_expert *a = random_tree(t, trial, place + 20, depth - 1);
  if (pick < 3.0) {
    return tree_mixture(t, 1, &a, (double[]){poet_spread(trial, place + 11, 0.3, 3.0)});
  }
  const poe_expert *b = random_tree(t, trial, place + 1020, depth - 1);
  if (pick < 5.0) {
    return tree_or(t, a, b);
  }
  const poe_expert *c = pick < 6.0 ? a : random_tree(t, trial, place + 2020, depth - 1);
  double exponents[3] = {1.0, poet_spread(trial, place + 12, 0.0, 1.0) < 0.5 ? 1.0 : 2.0, pick < 8.0 ? 1.0 : -0.25};
  return tree_product(t, 5, 3, (const poe_expert *const[]){a, b, c}, exponents);
}

static void random_trees_keep_their_density(void **state) {
  (void)state;
  size_t changed = 0;
  for (size_t trial = 0; trial < 150; trial++) {
    tree t = {0};
    const poe_expert *target = random_tree(&t, trial, 0, 3);
    if (trial % 3 == 0) {
      target = tree_given(&t, target, 1, (size_t[]){trial % 5}, (double[]){0.3});
    }
    tree_check(&t);
    poe_expert *out = rewrite(target, NULL, NULL);
    changed += out != target;
    same_density(target, out, -3.0, 3.0, 1e-9);
    double before, after;
    if (poei_expert_known_log_z(target, &before) && poei_expert_known_log_z(out, &after)) {
      check_close(after, before, 1e-9, 1e-9);
    }
    poe_expert *again = rewrite(out, NULL, NULL);
    assert_ptr_equal(again, out); /* a fixed point */
    poe_expert_release(again);
    poe_expert_release(out);
    tree_free(&t);
  }
  assert_true(changed > 100);
}

/* ---- formulas ---- */

static poei_formula_value both(poei_formula_builder *b, poei_formula_op op, poei_formula_value x,
                               poei_formula_value y) {
  return poei_formula_apply(b, op, 2, (poei_formula_value[]){x, y});
}

/* A formula over x[0..2], its log-density. */
static const poe_expert *written(tree *t,
                                 poei_formula_value (*write)(poei_formula_builder *, const poei_formula_value *)) {
  poei_formula_builder *b = poei_formula_builder_create(3);
  poei_formula_value x[3] = {poei_formula_coordinate(b, 0), poei_formula_coordinate(b, 1),
                             poei_formula_coordinate(b, 2)};
  poei_formula *graph = NULL;
  check_ok(poei_formula_finish(b, write(b, x), &graph, &t->error), t->error);
  poei_formula_builder_destroy(b);
  poet_args a;
  poet_args_start(&a, "formula");
  poet_args_real_variable(&a, "x", 3);
  poet_args_formula(&a, "log_density", graph);
  check_ok(poe_expert_create(&poei_formula_ops, &a.args, &t->made[t->n], &t->error), t->error);
  poei_formula_release(graph);
  return t->made[t->n++];
}

/* cos(x0) + x0 x0 - x1 x2 - x1 x1 - x2 x2 */
static poei_formula_value write_sum(poei_formula_builder *b, const poei_formula_value *x) {
  poei_formula_value sum = poei_formula_apply(b, POEI_FORMULA_COS, 1, x);
  sum = both(b, POEI_FORMULA_ADD, sum, both(b, POEI_FORMULA_MUL, x[0], x[0]));
  sum = both(b, POEI_FORMULA_SUB, sum, both(b, POEI_FORMULA_MUL, x[1], x[2]));
  sum = both(b, POEI_FORMULA_SUB, sum, both(b, POEI_FORMULA_MUL, x[1], x[1]));
  return both(b, POEI_FORMULA_SUB, sum, both(b, POEI_FORMULA_MUL, x[2], x[2]));
}

/* -(x0 x1 - x2)^2: one term */
static poei_formula_value write_bent(poei_formula_builder *b, const poei_formula_value *x) {
  poei_formula_value gap = both(b, POEI_FORMULA_SUB, both(b, POEI_FORMULA_MUL, x[0], x[1]), x[2]);
  gap = both(b, POEI_FORMULA_MUL, gap, gap);
  return poei_formula_apply(b, POEI_FORMULA_NEG, 1, &gap);
}

/* -|x|^2 + x0 x1 */
static poei_formula_value write_proper(poei_formula_builder *b, const poei_formula_value *x) {
  poei_formula_value norm = poei_formula_apply(b, POEI_FORMULA_NORM, 3, x);
  return both(b, POEI_FORMULA_SUB, both(b, POEI_FORMULA_MUL, x[0], x[1]), both(b, POEI_FORMULA_MUL, norm, norm));
}

/* x0 x1 + x2 */
static poei_formula_value write_saddle(poei_formula_builder *b, const poei_formula_value *x) {
  return both(b, POEI_FORMULA_ADD, both(b, POEI_FORMULA_MUL, x[0], x[1]), x[2]);
}

static void formulas(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *sum = written(&t, write_sum), *bent = written(&t, write_bent);
  const poe_expert *proper = written(&t, write_proper), *saddle = written(&t, write_saddle);
  poe_expert *out = fires(&t, sum, "split formula", 1); /* over x0, and a Gaussian factor over x1 and x2 */
  assert_int_equal(poei_node_kind_of(out), POEI_NODE_product);
  assert_int_equal(poei_node_child_count(out), 2);
  poe_expert_release(out);
  silent(&t, bent, "split formula");
  silent(&t, proper, "split formula");
  silent(&t, saddle, "split formula");
  /* with x0 = 1.5 the bent one is quadratic */
  size_t at = 0;
  double value = 1.5;
  assert_false(poei_expert_can(bent, POE_CAN_FORM));
  out = fires(&t, tree_given(&t, bent, 1, &at, &value), "push given", 1);
  assert_true(poei_formula_is(out) && poei_expert_can(out, POE_CAN_FORM | POE_CAN_STRUCTURE));
  poe_expert_release(out);
  out = fires(&t, proper, "gaussian algebra", 1);
  double log_z = 0.0; /* precision 2 I - E01: determinant 6 */
  assert_true(poei_expert_known_log_z(out, &log_z) && poei_expert_can(out, POE_CAN_SAMPLE));
  check_close(log_z, 1.5 * log(2.0 * acos(-1.0)) - 0.5 * log(6.0), 1e-14, 0.0);
  poe_expert_release(out);
  silent(&t, saddle, "gaussian algebra");
  /* the proper one closes, then both together: precision 2 I - 1.5 E01, slope 1/2 along x2 */
  const poe_expert *two[2] = {proper, saddle};
  out = fires(&t, tree_product(&t, 3, 2, two, (double[]){1.0, 0.5}), "gaussian algebra", 2);
  assert_true(poei_expert_known_log_z(out, &log_z));
  check_close(log_z, 1.5 * log(2.0 * acos(-1.0)) - 0.5 * log(3.5) + 0.0625, 1e-14, 0.0);
  poe_expert_release(out);
  tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(unwrap),        cmocka_unit_test(flatten),  cmocka_unit_test(collect),
      cmocka_unit_test(share_map),     cmocka_unit_test(gaussian), cmocka_unit_test(distribute),
      cmocka_unit_test(boxes),         cmocka_unit_test(tables),   cmocka_unit_test(push_given),
      cmocka_unit_test(common_factor), cmocka_unit_test(blocks),   cmocka_unit_test(random_trees_keep_their_density),
      cmocka_unit_test(formulas),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
