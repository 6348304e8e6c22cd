/* What the nodes mean: zeros and infinities, supports, heads, capabilities, refusals. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/quadrature.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static const poe_traits *traits_of(const poe_expert *expert) {
  return poe_expert_traits(expert);
}

static bool can(const poe_expert *expert, unsigned bits) {
  return (traits_of(expert)->capabilities & bits) == bits;
}

static bool normalised(const poe_expert *expert) {
  const poe_traits *traits = traits_of(expert);
  return traits->head != NULL && memchr(traits->head, 0, traits->dim) == NULL;
}

/* log p at x with a weight, added to `start`. */
static double weighted(const poe_expert *expert, double x, double weight, double start) {
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(expert, POE_WANT_LOGP, 1));
  poe_error error = {0};
  assert_non_null(scratch);
  check_ok(poe_expert_eval_add(expert, (poe_rows){1, 1, 1, &x}, (poe_weights){&weight, 0}, (poe_accum){.logp = &start},
                               scratch, &error),
           error);
  poe_scratch_destroy(scratch);
  return start;
}

/* ---- zeros and infinities ---- */

/* a is 0 outside [0, 2], b outside [1, 3], c outside [0, 1]. */
static void zero_over_zero(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *a = tree_uniform(&t, 1, 0.0, 2.0), *b = tree_uniform(&t, 1, 1.0, 3.0);
  const poe_expert *quotient = tree_over(&t, a, b);
  const poe_expert *backwards = tree_product(&t, 1, 2, (const poe_expert *const[]){b, a}, (double[]){-1.0, 1.0});
  tree_check(&t);
  for (int order = 0; order < 2; order++) {
    const poe_expert *q = order == 0 ? quotient : backwards;
    check_close(tree_value(q, (double[]){1.5}), 0.0, 1e-15, 0.0);
    check_close(tree_value(q, (double[]){0.5}), INFINITY, 0.0, 0.0);   /* a / 0 */
    check_close(tree_value(q, (double[]){-1.0}), -INFINITY, 0.0, 0.0); /* 0 / 0 */
    check_close(tree_value(q, (double[]){2.5}), -INFINITY, 0.0, 0.0);  /* 0 / b */
    /* Under a negative weight the value is formed first: -(-inf) = +inf, -(+inf) = -inf. */
    check_close(weighted(q, 1.5, -2.0, 0.25), 0.25, 1e-15, 0.0);
    check_close(weighted(q, -1.0, -2.0, 0.0), INFINITY, 0.0, 0.0);
    check_close(weighted(q, 0.5, -2.0, 0.0), -INFINITY, 0.0, 0.0);
    check_close(weighted(q, -1.0, 0.0, 0.5), 0.5, 0.0, 0.0);
    check_close(weighted(q, 0.5, 1.0, -INFINITY), -INFINITY, 0.0, 0.0);
  }
  tree_free(&t);
}

/* Nested products and powers of quotients keep the rules at every point. */
static void nested_zeros(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *a = tree_uniform(&t, 1, 0.0, 2.0), *b = tree_uniform(&t, 1, 1.0, 3.0);
  const poe_expert *c = tree_normal(&t, 0.0, 1.0), *quotient = tree_over(&t, a, b);
  const poe_expert *inverse = tree_power(&t, quotient, -1.0); /* 1 / (a / b) */
  const poe_expert *times = tree_times(&t, quotient, tree_uniform(&t, 1, 1.0, 2.0));
  const poe_expert *slices[2] = {tree_slice(&t, quotient, 1, (size_t[]){0}), tree_uniform(&t, 1, 1.0, 2.0)};
  const poe_expert *through_slice = tree_product(&t, 1, 2, slices, (double[]){1.0, 1.0});
  const poe_expert *either = tree_or(&t, c, quotient);
  tree_check(&t);
  check_close(tree_value(inverse, (double[]){-1.0}), INFINITY, 0.0, 0.0);
  check_close(tree_value(inverse, (double[]){0.5}), -INFINITY, 0.0, 0.0);
  check_close(tree_value(inverse, (double[]){1.5}), 0.0, 1e-15, 0.0);
  check_close(tree_value(times, (double[]){0.5}), -INFINITY, 0.0, 0.0); /* (a/0) * 0 = 0 in either order */
  check_close(tree_value(through_slice, (double[]){0.5}), -INFINITY, 0.0, 0.0);
  check_close(tree_value(through_slice, (double[]){1.5}), 0.0, 1e-14, 0.0);
  check_close(tree_value(either, (double[]){0.5}), INFINITY, 0.0, 0.0);
  tree_free(&t);
}

/* An integer coordinate that only a divisor speaks of has the divisor's range, and nothing beyond it. */
static void divisors_bound_integers(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *only = tree_power(&t, tree_bernoulli(&t, 0.2), -1.0), *nested = tree_power(&t, only, 2.0);
  const poe_expert *both[2] = {nested, tree_power(&t, tree_bernoulli(&t, 0.5), -1.0)};
  const poe_expert *deep = tree_product(&t, 1, 2, both, (double[]){1.0, 1.0});
  tree_check(&t);
  for (size_t i = 0; i < 3; i++) {
    const poe_expert *expert = i == 0 ? only : i == 1 ? nested : deep;
    assert_true(traits_of(expert)->support[0].high == 1.0);
    check_close(tree_value(expert, (double[]){2.0}), -INFINITY, 0.0, 0.0);
    check_close(tree_value(expert, (double[]){1.0}), i == 0 ? log(5.0) : i == 1 ? log(25.0) : log(50.0), 1e-14, 0.0);
  }
  tree_free(&t);
}

static void zero_exponents(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *both[2] = {tree_uniform(&t, 1, 0.0, 1.0), tree_normal(&t, 0.0, 1.0)};
  const poe_expert *product = tree_product(&t, 1, 2, both, (double[]){0.0, 1.0});
  tree_check(&t);
  assert_int_equal(poei_node_child_count(product), 1);
  check_close(tree_value(product, (double[]){5.0}), tree_value(both[1], (double[]){5.0}), 0.0, 0.0);
  assert_true(isinf(traits_of(product)->support[0].low));
  tree_free(&t);
}

/* Rows of one call may have weights of any sign. */
static void mixed_weights(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *q = tree_over(&t, tree_uniform(&t, 1, 0.0, 2.0), tree_normal(&t, 0.0, 1.0));
  tree_check(&t);
  double x[4] = {0.5, 1.5, 3.0, 0.5}, w[4] = {1.0, -1.0, -1.0, 0.0}, logp[4] = {0.0, 0.0, 0.0, 7.0}, grad[4] = {0.0};
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(q, POE_WANT_GRAD, 4));
  poe_error error = {0};
  check_ok(
      poe_expert_eval_add(q, (poe_rows){4, 1, 1, x}, (poe_weights){w, 1}, (poe_accum){logp, grad, 1}, scratch, &error),
      error);
  poe_scratch_destroy(scratch);
  double constant = -log(2.0) + 0.5 * log(2.0 * acos(-1.0));
  check_close(logp[0], constant + 0.125, 1e-14, 0.0);
  check_close(logp[1], -(constant + 1.125), 1e-14, 0.0);
  check_close(logp[2], INFINITY, 0.0, 0.0);
  check_close(logp[3], 7.0, 0.0, 0.0);
  check_close(grad[0], 0.5, 1e-14, 0.0);
  check_close(grad[1], -1.5, 1e-14, 0.0);
  check_close(grad[3], 0.0, 0.0, 0.0);
  tree_free(&t);
}

/* ---- refusals ---- */

static void refused(poe_status status, tree *t, const char *part) {
  assert_true(t->status != POE_OK);
  check_fails(t->status, status, t->error, part);
  tree_free(t);
}

static void refusals(void **state) {
  (void)state;
  tree t = {0};
  tree_times(&t, tree_uniform(&t, 1, 0.0, 1.0), tree_uniform(&t, 1, 2.0, 3.0));
  refused(POE_E_EMPTY, &t, "coordinate 0");
  t = (tree){0};
  tree_times(&t, tree_uniform(&t, 1, 0.0, 1.0), tree_uniform(&t, 1, 1.0, 3.0)); /* one point in common */
  refused(POE_E_EMPTY, &t, "coordinate 0");
  t = (tree){0};
  tree_times(&t, tree_normal(&t, 0.0, 1.0), tree_ring(&t, 1.0, 1.0));
  refused(POE_E_SHAPE, &t, "2 coordinates");
  t = (tree){0};
  tree_power(&t, tree_normal(&t, 0.0, 1.0), NAN);
  refused(POE_E_DOMAIN, &t, "exponent 0");
  t = (tree){0};
  tree_mixture(&t, 0, NULL, NULL);
  refused(POE_E_USAGE, &t, "component");
  t = (tree){0};
  tree_mixture(&t, 1, (const poe_expert *const[]){tree_normal(&t, 0.0, 1.0)}, (double[]){0.0});
  refused(POE_E_DOMAIN, &t, "weight");
  t = (tree){0};
  tree_or(&t, tree_bernoulli(&t, 0.5), tree_normal(&t, 0.0, 1.0));
  refused(POE_E_TYPE, &t, "discrete");
  t = (tree){0};
  tree_slice(&t, tree_ring(&t, 1.0, 1.0), 3, (size_t[]){0, 3});
  refused(POE_E_SHAPE, &t, "coordinate 3");
  t = (tree){0};
  tree_slice(&t, tree_ring(&t, 1.0, 1.0), 3, (size_t[]){2, 2});
  refused(POE_E_SHAPE, &t, "twice");
  t = (tree){0};
  tree_plate(&t, tree_ring(&t, 1.0, 1.0), 2, 3, (size_t[]){0, 1, 2, 2});
  refused(POE_E_SHAPE, &t, "twice");
  t = (tree){0};
  tree_given(&t, tree_uniform(&t, 2, 0.0, 1.0), 1, (size_t[]){1}, (double[]){1.5});
  refused(POE_E_EMPTY, &t, "1.5");
  t = (tree){0};
  tree_given(&t, tree_uniform(&t, 2, 0.0, 1.0), 2, (size_t[]){1, 0}, (double[]){0.5, 0.5});
  refused(POE_E_SHAPE, &t, "nothing is left");
  t = (tree){0};
  tree_given(&t, tree_table(&t, 2, (size_t[]){2, 2}, (double[]){0.0, 0.0, 0.0, 0.0}), 1, (size_t[]){0},
             (double[]){0.5});
  refused(POE_E_EMPTY, &t, "0.5");
  t = (tree){0};
  tree_through(&t, tree_map(&t), tree_ring(&t, 1.0, 1.0));
  refused(POE_E_SHAPE, &t, "3 numbers");
  t = (tree){0};
  tree_restrict(&t, tree_uniform(&t, 1, 0.0, 1.0), 2.0, 3.0);
  refused(POE_E_EMPTY, &t, "coordinate 0");
  t = (tree){0};
  tree_normalise(&t, tree_normal(&t, 0.0, 1.0), INFINITY, 0.0);
  refused(POE_E_NUMERIC, &t, "inf");
}

static void holes_cannot_be_evaluated(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *hole = tree_normalise(&t, tree_ring(&t, 1.0, 1.0), NAN, 0.0);
  const poe_expert *over = tree_times(&t, hole, tree_uniform(&t, 2, -1.0, 1.0));
  tree_check(&t);
  double value = 0.0;
  assert_int_equal(poet_eval(hole, 1, 2, (double[]){0.0, 0.0}, &value, NULL), POE_E_CAPABILITY);
  assert_int_equal(poet_eval(over, 1, 2, (double[]){0.0, 0.0}, &value, NULL), POE_E_CAPABILITY);
  assert_false(can(over, POE_CAN_EVAL));
  tree_free(&t);
}

/* ---- supports, heads, capabilities ---- */

static void supports(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *wide = tree_uniform(&t, 1, 0.0, 2.0), *narrow = tree_uniform(&t, 1, -1.0, 1.0);
  const poe_support *product = traits_of(tree_times(&t, wide, narrow))->support;
  const poe_support *quotient = traits_of(tree_over(&t, wide, narrow))->support;
  const poe_support *mixture = traits_of(tree_or(&t, wide, narrow))->support;
  const poe_support *sliced = traits_of(tree_at(&t, wide, 3, 1))->support;
  const poe_expert *mixed[2] = {tree_at(&t, tree_bernoulli(&t, 0.5), 2, 1), tree_at(&t, wide, 2, 0)};
  const poe_support *both = traits_of(tree_product(&t, 2, 2, mixed, (double[]){1.0, 1.0}))->support;
  tree_check(&t);
  assert_true(product->low == 0.0 && product->high == 1.0);
  assert_true(quotient->low == 0.0 && quotient->high == 2.0);
  assert_true(mixture->low == -1.0 && mixture->high == 2.0);
  assert_true(isinf(sliced[0].low) && sliced[1].high == 2.0 && isinf(sliced[2].high));
  assert_true(both[0].kind == POE_CONTINUOUS && both[1].kind == POE_DISCRETE && both[1].high == 1.0);
  tree_free(&t);
}

static void heads(void **state) {
  (void)state;
  tree t = {0};
  double a = 0.5, b = 0.0;
  const poe_expert *line = tree_linear(&t, 1, 1, &a, &b, 1.0); /* p(y | x): head is y, coordinate 0 */
  const poe_expert *x = tree_at(&t, tree_student(&t, 3.0, 0.0, 1.0), 3, 0);
  const poe_expert *y_x = tree_slice(&t, line, 3, (size_t[]){1, 0}), *z_y = tree_slice(&t, line, 3, (size_t[]){2, 1});
  const poe_expert *x_z = tree_slice(&t, line, 3, (size_t[]){0, 2});
  const poe_expert *chain = tree_product(&t, 3, 3, (const poe_expert *const[]){z_y, x, y_x}, (double[]){1.0, 1.0, 1.0});
  const poe_expert *cycle =
      tree_product(&t, 3, 3, (const poe_expert *const[]){z_y, x_z, y_x}, (double[]){1.0, 1.0, 1.0});
  const poe_expert *twice = tree_product(&t, 3, 3, (const poe_expert *const[]){x, x, y_x}, (double[]){1.0, 1.0, 1.0});
  const poe_expert *part = tree_product(&t, 3, 2, (const poe_expert *const[]){x, y_x}, (double[]){1.0, 1.0});
  const poe_expert *power = tree_product(&t, 3, 2, (const poe_expert *const[]){x, y_x}, (double[]){1.0, 2.0});
  tree_check(&t);
  assert_true(normalised(chain));
  assert_null(traits_of(cycle)->head);
  assert_null(traits_of(twice)->head);
  assert_null(traits_of(power)->head);
  assert_non_null(traits_of(part)->head);
  assert_true(traits_of(part)->head[0] && traits_of(part)->head[1] && !traits_of(part)->head[2]);
  /* Conditioning keeps the head, clamping the head loses it. */
  const poe_expert *on = tree_given(&t, line, 1, (size_t[]){1}, (double[]){2.0});
  const poe_expert *off = tree_given(&t, line, 1, (size_t[]){0}, (double[]){2.0});
  assert_true(normalised(on));
  assert_null(traits_of(off)->head);
  /* Mixtures of equal heads whose weights sum to 1. */
  const poe_expert *lines[2] = {line, tree_linear(&t, 1, 1, &a, &b, 2.0)};
  assert_non_null(traits_of(tree_mixture(&t, 2, lines, (double[]){0.25, 0.75}))->head);
  assert_null(traits_of(tree_mixture(&t, 2, lines, (double[]){0.25, 0.5}))->head);
  /* A plate that is a Markov chain: x0 is free, the rest is normalised. */
  const poe_traits *steps = traits_of(tree_plate(&t, line, 3, 4, (size_t[]){1, 0, 3, 2, 2, 1}));
  assert_true(steps->head != NULL && !steps->head[0] && steps->head[1] && steps->head[2] && steps->head[3]);
  assert_null(traits_of(tree_plate(&t, line, 2, 2, (size_t[]){0, 1, 1, 0}))->head);
  tree_check(&t);
  tree_free(&t);
}

/* The truth table of capabilities. */
static void capabilities(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *g = tree_normal(&t, 0.0, 1.0), *s = tree_student(&t, 3.0, 0.0, 1.0);
  const poe_expert *bare = tree_bare(&t, 1, 0.0), *coin = tree_bernoulli(&t, 0.3);
  const unsigned all = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z;
  assert_true(can(tree_times(&t, g, g), POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_FORM));
  assert_false(can(tree_times(&t, g, g), POE_CAN_SAMPLE));
  assert_false(can(tree_times(&t, g, s), POE_CAN_FORM));
  assert_true(can(tree_or(&t, g, s), all));
  assert_false(can(tree_or(&t, g, bare), POE_CAN_SAMPLE));
  assert_false(can(tree_or(&t, g, bare), POE_CAN_LOG_Z));
  const poe_expert *apart[2] = {tree_at(&t, g, 2, 0), tree_at(&t, coin, 2, 1)};
  const poe_expert *blocks = tree_product(&t, 2, 2, apart, (double[]){1.0, 1.0});
  assert_true(can(blocks, all));
  assert_false(can(blocks, POE_CAN_FORM));
  assert_true(normalised(blocks));
  assert_false(can(tree_product(&t, 2, 2, apart, (double[]){2.0, 1.0}), POE_CAN_SAMPLE));
  assert_false(can(tree_at(&t, g, 2, 0), POE_CAN_SAMPLE));
  assert_true(can(tree_at(&t, g, 2, 0), POE_CAN_FORM));
  assert_false(can(tree_at(&t, coin, 2, 0), POE_CAN_FORM));
  assert_true(can(tree_normalise(&t, bare, 1.0, 0.1), POE_CAN_LOG_Z));
  assert_false(can(tree_normalise(&t, bare, 1.0, 0.1), POE_CAN_SAMPLE));
  assert_true(can(tree_restrict(&t, g, -INFINITY, INFINITY), all));
  assert_false(can(tree_restrict(&t, g, 0.0, INFINITY), POE_CAN_SAMPLE));
  check_close(traits_of(tree_normalise(&t, bare, 1.0, 0.1))->offset_error, 0.1, 0.0, 0.0);
  const poe_expert *estimates[2] = {tree_normalise(&t, bare, 1.0, 0.3), tree_normalise(&t, s, 0.0, 0.4)};
  check_close(traits_of(tree_product(&t, 1, 2, estimates, (double[]){1.0, -1.0}))->offset_error, 0.5, 1e-15, 0.0);
  tree_check(&t);
  /* A form over too many coordinates is not offered. */
  poe_expert *wide = NULL;
  poe_error error = {0};
  size_t first = 0;
  check_ok(poei_slice_create(g, 5000, &first, &wide, &error), error);
  assert_false(can(wide, POE_CAN_FORM));
  poe_expert_release(wide);
  tree_free(&t);
}

/* The same for the single-site view and the one-hot gradient: products and plates have a view of what they can
 * evaluate, the nodes of one child that of the child; a one-hot gradient needs one of all that reads a discrete
 * coordinate. */
static void views(void **state) {
  (void)state;
  tree t = {0};
  static const size_t k[2] = {2, 2};
  static const double pair[4] = {0.0, 0.1, 0.2, 0.3};
  const unsigned both = POE_CAN_LOCAL | POE_CAN_ONEHOT;
  const poe_expert *coin = tree_bernoulli(&t, 0.3), *table = tree_table(&t, 2, k, pair), *g = tree_normal(&t, 0.0, 1.0);
  const poe_expert *mixed = tree_or(&t, coin, tree_bernoulli(&t, 0.8)); /* neither */
  const poe_expert *bare = tree_bare(&t, 1, 0.0);                       /* of real coordinates, on an integer one */
  const poe_expert *hole = tree_normalise(&t, tree_at(&t, coin, 2, 0), NAN, 0.0);
  const struct {
    const char *what;
    const poe_expert *expert;
    unsigned has;
  } table_of[] = {
      {"coin", coin, both},
      {"table", table, both},
      {"normal", g, 0},
      {"mixture", mixed, 0},
      {"transform of a coin", tree_transform(&t, coin), POE_CAN_LOCAL},
      {"transform of a power of a mixture", tree_transform(&t, tree_power(&t, mixed, 2.0)), 0},
      {"product of normals", tree_times(&t, g, g), 0},
      {"product of coins", tree_times(&t, coin, coin), both},
      {"power", tree_power(&t, coin, -0.5), both},
      {"coin and mixture", tree_times(&t, coin, mixed), POE_CAN_LOCAL},
      {"mixture alone in a product", tree_power(&t, mixed, 2.0), POE_CAN_LOCAL},
      {"coin beside a normal", tree_times(&t, tree_at(&t, coin, 2, 0), tree_at(&t, g, 2, 1)), both},
      {"coin and a density of reals", tree_times(&t, coin, bare), POE_CAN_LOCAL},
      {"coin and a hole", tree_times(&t, tree_at(&t, coin, 2, 0), hole), 0},
      {"plate of tables", tree_plate(&t, table, 2, 3, (size_t[]){0, 1, 1, 2}), both},
      {"plate of mixtures", tree_plate(&t, mixed, 2, 2, (size_t[]){0, 1}), POE_CAN_LOCAL},
      {"plate of normals", tree_plate(&t, g, 2, 2, (size_t[]){0, 1}), 0},
      {"slice of a table", tree_slice(&t, table, 2, (size_t[]){1, 0}), both},
      {"slice beside a real", tree_at(&t, coin, 2, 1), both},
      {"slice of a mixture", tree_at(&t, mixed, 1, 0), 0},
      {"table given one", tree_given(&t, table, 1, (size_t[]){0}, (double[]){1.0}), both},
      {"mixture given one",
       tree_given(&t, tree_times(&t, tree_at(&t, mixed, 2, 0), tree_at(&t, mixed, 2, 1)), 1, (size_t[]){0},
                  (double[]){1.0}),
       POE_CAN_LOCAL},
      {"coins given all but a normal",
       tree_given(&t, tree_times(&t, tree_at(&t, coin, 2, 0), tree_at(&t, g, 2, 1)), 1, (size_t[]){0}, (double[]){1.0}),
       0},
      {"coin in a box", tree_restrict(&t, coin, 0.0, 0.5), both},
      {"mixture in a box", tree_restrict(&t, mixed, 0.0, 0.5), 0},
      {"normalised table", tree_normalise(&t, table, 1.0, 0.0), both},
      {"normalised mixture", tree_normalise(&t, mixed, 0.0, 0.0), 0},
      {"hole", hole, 0},
      {"mixture of coins", tree_or(&t, coin, coin), 0},
      {"transformed normal", tree_transform(&t, g), 0},
  };
  tree_check(&t);
  for (size_t i = 0; i < sizeof table_of / sizeof *table_of; i++) {
    unsigned has = traits_of(table_of[i].expert)->capabilities & both;
    if (has != table_of[i].has) {
      fail_msg("%s: capabilities %#x, not %#x", table_of[i].what, has, table_of[i].has);
    }
    assert_true((poe_expert_local(table_of[i].expert) != NULL) == ((has & POE_CAN_LOCAL) != 0));
  }
  /* Integers without bounds have no values to choose from. */
  poe_support endless = {POE_DISCRETE, 0.0, INFINITY, false, false};
  poe_expert *counts = NULL;
  poe_error error = {0};
  check_ok(poei_restrict_create(g, &endless, &counts, &error), error);
  const poe_expert *open[2] = {counts, tree_times(&t, counts, counts)};
  tree_check(&t);
  assert_false(can(open[0], POE_CAN_LOCAL) || can(open[1], POE_CAN_LOCAL) || can(open[1], POE_CAN_ONEHOT));
  poe_expert_release(counts);
  tree_free(&t);
}

/* A site of a large plate is asked about without touching the rest: what a million conditionals cost does not depend on
 * the number of factors, nor do they spoil each other. */
static void plates_are_local(void **state) {
  (void)state;
  enum { SITES = 20000 };
  tree t = {0};
  static const size_t k[2] = {2, 2};
  static const double pair[4] = {0.7, -0.2, 0.1, 0.4};
  size_t *index = calloc(2 * (SITES - 1), sizeof *index);
  assert_non_null(index);
  for (size_t i = 0; i < 2 * (SITES - 1); i++) {
    index[i] = (i + 1) / 2;
  }
  const poe_expert *chain = tree_plate(&t, tree_table(&t, 2, k, pair), SITES - 1, SITES, index);
  tree_check(&t);
  const poe_local_ops *local = poe_expert_local(chain);
  const void *self = poe_expert_self(chain);
  unsigned char *x = calloc(SITES, 1);
  double *row = poet_doubles(SITES), out[2];
  void *own = aligned_alloc(64, (local->state_bytes(self) + 63) / 64 * 64);
  poe_scratch *scratch = poe_scratch_create(local->scratch(self));
  poe_error error = {0};
  assert_true(x != NULL && own != NULL && scratch != NULL);
  check_ok(local->open(self, row, own, scratch, &error), error);
  for (size_t turn = 0; turn < 1000000; turn++) {
    size_t j = turn * 7919 % SITES;
    check_ok(local->conditional(self, own, j, out, scratch, &error), error);
    double gap = (j > 0 ? pair[2 * x[j - 1] + 1] - pair[2 * x[j - 1]] : 0.0) +
                 (j + 1 < SITES ? pair[2 + x[j + 1]] - pair[x[j + 1]] : 0.0);
    assert_true(fabs((out[1] - out[0]) - gap) < 1e-12);
    x[j] = (unsigned char)(turn % 3 == 0);
    check_ok(local->set(self, own, j, (double)x[j], scratch, &error), error);
  }
  free(index);
  free(x);
  free(row);
  free(own);
  poe_scratch_destroy(scratch);
  tree_free(&t);
}

/* ---- equivalences ---- */

static void plate_is_product_of_slices(void **state) {
  (void)state;
  tree t = {0};
  size_t index[12] = {0, 1, 1, 2, 2, 3, 3, 4, 4, 0, 1, 3};
  const poe_expert *edge = tree_ring(&t, 0.8, 0.4), *slices[6];
  double ones[6] = {1.0, 1.0, 1.0, 1.0, 1.0, 1.0};
  for (size_t m = 0; m < 6; m++) {
    slices[m] = tree_slice(&t, edge, 5, &index[2 * m]);
  }
  const poe_expert *plate = tree_plate(&t, edge, 6, 5, index), *product = tree_product(&t, 5, 6, slices, ones);
  tree_check(&t);
  enum { N = 200 };
  double *x = poet_doubles(5 * N), *a = poet_doubles(N), *b = poet_doubles(N), *ga = poet_doubles(5 * N),
         *gb = poet_doubles(5 * N);
  poet_points_normal(N, 5, x);
  assert_int_equal(poet_eval(plate, N, 5, x, a, ga), POE_OK);
  assert_int_equal(poet_eval(product, N, 5, x, b, gb), POE_OK);
  for (size_t i = 0; i < N; i++) {
    check_close(a[i], b[i], 1e-12, 1e-12);
    for (size_t j = 0; j < 5; j++) {
      check_close(ga[5 * i + j], gb[5 * i + j], 1e-12, 1e-12);
    }
  }
  free(x);
  free(a);
  free(b);
  free(ga);
  free(gb);
  tree_free(&t);
}

/* OR of two experts with different constants gives each its weight, not its constant. */
static void or_ignores_constants(void **state) {
  (void)state;
  tree t = {0};
  double log_2pi = log(2.0 * acos(-1.0));
  const poe_expert *a = tree_power(&t, tree_normal(&t, -5.0, 1.0), 7.0); /* Z = (2 pi)^-3 / sqrt 7 */
  const poe_expert *b = tree_power(&t, tree_normal(&t, 5.0, 1.0), 0.25); /* Z = (2 pi)^(3/8) * 2    */
  const poe_expert *both = tree_or(&t, tree_normalise(&t, a, -3.0 * log_2pi - 0.5 * log(7.0), 0.0),
                                   tree_normalise(&t, b, 0.375 * log_2pi + log(2.0), 0.0));
  tree_check(&t);
  check_close(tree_value(both, (double[]){-5.0}), log(0.5 * sqrt(7.0) / sqrt(2.0 * acos(-1.0))), 1e-5, 0.0);
  double log_z;
  poe_error error = {0};
  check_ok(poe_expert_log_z(both, &log_z, &error), error);
  check_close(log_z, 0.0, 1e-15, 0.0);
  tree_free(&t);
}

/* ---- transforms ---- */

static poe_status integrand(void *context, size_t n, size_t d, const double *x, double *value, poe_error *error) {
  (void)error;
  return poet_eval(context, n, d, x, value, NULL);
}

static double integral(const poe_expert *expert) {
  const poe_support *s = traits_of(expert)->support;
  poei_quadrature_result result;
  poe_error error = {0};
  check_ok(poei_quadrature(integrand, (void *)(uintptr_t)expert, 1, &s->low, &s->high, NULL, 1e-10, &result, &error),
           error);
  assert_true(result.converged);
  return result.log_integral;
}

static void transforms_keep_the_integral(void **state) {
  (void)state;
  static const double ends[4][2] = {{0.0, INFINITY}, {-INFINITY, 1.5}, {-1.0, 2.0}, {-INFINITY, INFINITY}};
  for (size_t k = 0; k < 4; k++) {
    tree t = {0};
    const poe_expert *x = tree_power(&t, tree_bounded_normal(&t, ends[k][0], ends[k][1], 0.5, 1.0), 1.7);
    const poe_expert *u = tree_transform(&t, x);
    tree_check(&t);
    check_close(integral(u), integral(x), 1e-9, 0.0);
    tree_free(&t);
  }
}

static void transforms_stay_inside(void **state) {
  (void)state;
  static const double ends[5][2] = {
      {0.0, INFINITY}, {1e6, INFINITY}, {-INFINITY, -3.0}, {0.0, 1.0}, {1e15, 1e15 + 1.0}};
  static const double extremes[] = {-1e308, -1e5, -800.0, -750.0, -40.0, -1.0, 0.0,
                                    1.0,    40.0, 709.0,  750.0,  1e5,   1e308};
  for (size_t k = 0; k < 5; k++) {
    tree t = {0};
    poe_expert *open = NULL;
    poe_support box = {POE_CONTINUOUS, ends[k][0], ends[k][1], true, true};
    check_ok(poei_restrict_create(tree_bare(&t, 1, 0.0), &box, &open, &t.error), t.error);
    const poe_expert *u = tree_transform(&t, open);
    tree_check(&t);
    for (size_t i = 0; i < sizeof extremes / sizeof extremes[0]; i++) {
      double x, back, value, grad;
      poei_transform_constrain(u, 1, &extremes[i], 1, &x, 1);
      assert_true(isfinite(x) && x > box.low && x < box.high);
      poei_transform_unconstrain(u, 1, &x, 1, &back, 1);
      assert_true(isfinite(back));
      assert_int_equal(poet_eval(u, 1, 1, &extremes[i], &value, &grad), POE_OK);
      assert_false(isnan(value) || isnan(grad) || value == INFINITY);
    }
    poe_expert_release(open);
    tree_free(&t);
  }
}

static void transforms_round_trip(void **state) {
  (void)state;
  static const double ends[4][2] = {{0.0, INFINITY}, {-INFINITY, 1.5}, {-1.0, 2.0}, {-INFINITY, INFINITY}};
  for (size_t k = 0; k < 4; k++) {
    tree t = {0};
    const poe_expert *u = tree_transform(&t, tree_bounded_normal(&t, ends[k][0], ends[k][1], 0.5, 1.0));
    tree_check(&t);
    for (double at = -6.0; at <= 6.0; at += 0.37) {
      double x, back, high, low, h = 1e-6, value = 0.0;
      poei_transform_constrain(u, 1, &at, 1, &x, 1);
      poei_transform_unconstrain(u, 1, &x, 1, &back, 1);
      check_close(back, at, 1e-9, 1e-9);
      /* The Jacobian is the slope. */
      poei_transform_constrain(u, 1, (double[]){at + h}, 1, &high, 1);
      poei_transform_constrain(u, 1, (double[]){at - h}, 1, &low, 1);
      value = tree_value(u, &at) - tree_value(poei_node_child(u, 0), &x);
      check_close(value, log(fabs(high - low) / (2.0 * h)), 1e-6, 0.0);
    }
    tree_free(&t);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(zero_over_zero),
      cmocka_unit_test(nested_zeros),
      cmocka_unit_test(divisors_bound_integers),
      cmocka_unit_test(zero_exponents),
      cmocka_unit_test(mixed_weights),
      cmocka_unit_test(refusals),
      cmocka_unit_test(holes_cannot_be_evaluated),
      cmocka_unit_test(supports),
      cmocka_unit_test(heads),
      cmocka_unit_test(capabilities),
      cmocka_unit_test(views),
      cmocka_unit_test(plates_are_local),
      cmocka_unit_test(plate_is_product_of_slices),
      cmocka_unit_test(or_ignores_constants),
      cmocka_unit_test(transforms_keep_the_integral),
      cmocka_unit_test(transforms_stay_inside),
      cmocka_unit_test(transforms_round_trip),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
