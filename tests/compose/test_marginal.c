/* Marginals and profiles: the rule that takes them apart, closed forms at every temperature, joint densities with
 * replicas, mixed targets. */
#include <math.h>
#include <string.h>

#include "compose/exact/gaussian.h"
#include "compose/exact/latent.h"
#include "compose/exact/rules.h"
#include "core/alloc.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static const double ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};

static const poe_expert *marginal_of(tree *t, const poe_expert *child, size_t n, const size_t *index, double beta) {
  poe_expert *made = NULL;
  tree_check(t);
  check_ok(poei_marginal_create(child, n, index, beta, &made, &t->error), t->error);
  t->made[t->n++] = made;
  return made;
}

/* x[0], x[1] real, x[2] and x[3] latent: a ring over x[0], x[1] stays out; a table over x[2] and a conditional that
 * reads it; another table over x[3]. */
static const poe_expert *apart(tree *t, double beta) {
  static const double first[3] = {0.2, -0.4, 0.9}, second[2] = {0.3, -1.0};
  double slope = 1.5, shift = -1.0, other = -2.0;
  const poe_expert *parts[5] = {
      tree_slice(t, tree_ring(t, 1.0, 0.8), 4, (size_t[]){0, 1}),
      tree_slice(t, tree_linear(t, 1, 1, &slope, &shift, 0.8), 4, (size_t[]){0, 2}),
      tree_slice(t, tree_table(t, 1, (size_t[]){3}, first), 4, (size_t[]){2}),
      tree_slice(t, tree_linear(t, 1, 1, &other, &shift, 1.2), 4, (size_t[]){1, 3}),
      tree_slice(t, tree_table(t, 1, (size_t[]){2}, second), 4, (size_t[]){3}),
  };
  return marginal_of(t, tree_product(t, 4, 5, parts, ones), 2, (size_t[]){2, 3}, beta);
}

static poe_expert *rewritten(const poe_expert *expert, const char *only, size_t *fired) {
  poei_plan_options options;
  poei_plan_options_default(&options);
  poei_fired list = {0};
  poe_expert *out = NULL;
  poe_error error = {0};
  check_ok(poei_rewrite(expert, &options, only, &list, &out, &error), error);
  *fired = list.n;
  poei_fired_free(&list);
  return out;
}

static void same_values(const poe_expert *a, const poe_expert *b, size_t d) {
  for (size_t i = 0; i < 50; i++) {
    double x[8];
    for (size_t j = 0; j < d; j++) {
      x[j] = poet_spread(i, j, -3.0, 3.0);
    }
    check_close(tree_value(a, x), tree_value(b, x), 1e-11, 1e-11);
  }
}

static void what_is_apart_is_taken_apart(void **state) {
  (void)state;
  static const double betas[3] = {1.0, 0.25, INFINITY};
  for (size_t k = 0; k < 3; k++) {
    tree t = {0};
    size_t fired = 0;
    const poe_expert *whole = apart(&t, betas[k]);
    poe_expert *out = rewritten(whole, "marginal", &fired);
    assert_int_equal(fired, 1);
    assert_int_equal(poei_node_kind_of(out), POEI_NODE_product);
    assert_int_equal(poei_node_child_count(out), 3);
    same_values(whole, out, 2);
    poe_expert *again = rewritten(out, "marginal", &fired); /* what is left holds together */
    assert_int_equal(fired, 0);
    poe_expert_release(again);
    poe_expert_release(out);
    tree_free(&t);
  }
}

/* (1/beta) log int exp(beta log N) over two of three coordinates, against the eigenvalues' own arithmetic: by hand for
 * a Gaussian whose latent block is diagonal. */
static void gaussians_at_any_temperature(void **state) {
  (void)state;
  double mean[2] = {0.5, -1.0}, cov[4] = {2.0, 0.6, 0.6, 0.5};
  static const double betas[4] = {1.0, 0.3, 40.0, INFINITY};
  for (size_t k = 0; k < 4; k++) {
    tree t = {0};
    const poe_expert *m = marginal_of(&t, tree_gaussian(&t, 2, mean, cov), 1, (size_t[]){1}, betas[k]);
    poe_form form = {0};
    poe_error error = {0};
    check_ok(poe_expert_form(m, &form, &error), error);
    double det = cov[0] * cov[3] - cov[1] * cov[2], latent = cov[0] / det, x = 1.25;
    double r = x - mean[0], u = x - form.origin[0];
    double best = -0.5 * r * r / cov[0] - log(2.0 * acos(-1.0)) - 0.5 * log(det); /* at the best latent value */
    double beta = betas[k], rest = isinf(beta) ? 0.0 : 0.5 * log(2.0 * acos(-1.0) / (beta * latent)) / beta;
    double value = form.constant[0] + form.linear[0] * u - 0.5 * form.precision[0] * u * u;
    check_close(value, best + rest, 1e-12, 0.0);
    poe_form_release(&form);
    tree_free(&t);
  }
}

static void profile_is_the_cold_limit(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *best = apart(&t, INFINITY);
  double before = INFINITY;
  for (double beta = 1.0; beta < 1e5; beta *= 10.0) {
    const poe_expert *cold = apart(&t, beta);
    double x[2] = {0.4, -0.8}, gap = tree_value(cold, x) - tree_value(best, x);
    assert_true(gap >= 0.0 && gap <= log(6.0) / beta + 1e-12 && gap <= before);
    before = gap;
  }
  tree_free(&t);
}

/* M^2 with M = int p(x | h) p(h) dh: the joint has two copies of h. The node has values of its own, by quadrature;
 * drawn with its copies it needs none. */
static void replicas_give_the_power(void **state) {
  (void)state;
  tree t = {0};
  double a = 1.0, b = 0.0;
  const poe_expert *parts[2] = {tree_slice(&t, tree_linear(&t, 1, 1, &a, &b, 0.7), 2, (size_t[]){0, 1}),
                                tree_slice(&t, tree_normal(&t, 0.5, 1.1), 2, (size_t[]){1})};
  const poe_expert *m = marginal_of(&t, tree_product(&t, 2, 2, parts, ones), 1, (size_t[]){1}, 1.0);
  const poe_expert *blind = tree_power(&t, m, 2.0);
  assert_true(poei_marginal_integrates(m));
  poe_expert *joint = NULL;
  const char *why = NULL;
  poe_error error = {0};
  check_ok(poei_latent_joint(blind, &joint, &why, &error), error);
  assert_non_null(joint);
  assert_int_equal(poe_expert_traits(joint)->dim, 3);
  /* at (x, h1, h2): both copies of the same joint density */
  double x[3] = {0.3, -0.2, 1.4}, first[2] = {0.3, -0.2}, second[2] = {0.3, 1.4};
  const poe_expert *pair = tree_product(&t, 2, 2, parts, ones);
  check_close(tree_value(joint, x), tree_value(pair, first) + tree_value(pair, second), 1e-12, 0.0);
  poe_expert_release(joint);
  joint = NULL;
  check_ok(poei_latent_joint(tree_power(&t, m, 1.5), &joint, &why, &error), error);
  assert_null(joint); /* it has values all the same */
  tree_free(&t);
}

/* Three latent coordinates that hang together have no values; then the number of copies must be whole, and whoever
 * wrote it is told which beta would do. */
static void what_has_no_route_is_named(void **state) {
  (void)state;
  static const double betas[4] = {1.0, 0.4, INFINITY, 1.0}, powers[4] = {1.5, 1.0, 1.0, -1.0};
  static const char *const said[4] = {"to the power 1.5", "beta = 0.4", "profile", "divided out"};
  static const char *const hints[4] = {"beta = 0.75 (or the power 2) makes it 2", "beta = 0.333333 (or the power 1.2)",
                                       "draw a `marginal`", "divide by what can be evaluated"};
  for (size_t k = 0; k < 4; k++) {
    tree t = {0};
    double powers_of[2] = {powers[k], 9.0};
    const poe_expert *child =
        tree_product(&t, 4, 2, (const poe_expert *[]){tree_bare(&t, 4, 0.3), tree_bare(&t, 4, 0.1)}, ones);
    const poe_expert *m = marginal_of(&t, child, 3, (size_t[]){1, 2, 3}, betas[k]);
    const poe_expert *parts[2] = {m, tree_normal(&t, 0.0, 1.0)};
    poei_plan *plan = NULL;
    poe_error error = {0};
    check_fails(poei_plan_build(tree_product(&t, 1, 2, parts, powers_of), NULL, &plan, &error), POE_E_CAPABILITY, error,
                said[k]);
    assert_non_null(strstr(error.message, "3 continuous latent coordinates"));
    assert_non_null(strstr(error.hint, hints[k]));
    tree_free(&t);
  }
}

/* One real coordinate and a switch: log Z sums the branches. */
static void mixed_targets_have_a_plan(void **state) {
  (void)state;
  static const double log_p[3] = {-1.0, 0.4, 0.1};
  tree t = {0};
  double slope = 2.0, shift = 0.5;
  const poe_expert *parts[2] = {tree_slice(&t, tree_linear(&t, 1, 1, &slope, &shift, 0.9), 2, (size_t[]){0, 1}),
                                tree_slice(&t, tree_table(&t, 1, (size_t[]){3}, log_p), 2, (size_t[]){1})};
  const poe_expert *target = tree_product(&t, 2, 2, parts, ones);
  for (int no_rewrite = 0; no_rewrite <= 1; no_rewrite++) {
    poei_plan_options options;
    poei_plan_options_default(&options);
    options.no_rewrite = no_rewrite == 1;
    poei_plan *plan = NULL;
    poe_error error = {0};
    check_ok(poei_plan_build(target, &options, &plan, &error), error);
    assert_int_equal(plan->method, no_rewrite == 1 ? POEI_METHOD_MARGINAL : POEI_METHOD_CLOSED);
    assert_true(no_rewrite == 0 || plan->part_index[0][0] == 0);
    assert_true(plan->has_log_z);
    check_close(plan->log_z, log(exp(-1.0) + exp(0.4) + exp(0.1)), no_rewrite == 1 ? 1e-8 : 1e-14, 0.0);
    poei_plan_destroy(plan);
  }
  tree_free(&t);
}

static void every_allocation_fails(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *whole = apart(&t, 1.0);
  poe_status status = POE_E_MEMORY;
  for (uint64_t n = 1; status == POE_E_MEMORY; n++) {
    poei_plan *plan = NULL;
    poe_error error = {0};
    poei_alloc_fail_at(n);
    status = poei_plan_build(whole, NULL, &plan, &error);
    poei_alloc_fail_at(0);
    assert_true(status == POE_OK || status == POE_E_MEMORY);
    poei_plan_destroy(plan);
  }
  tree_free(&t);
}

/* p(x2 | x0) p(x3 | x2) integrates to 1 over x3, then over x2: nothing but the ring is left. Not to a power, and not at
 * another beta. */
static void what_integrates_to_one_goes(void **state) {
  (void)state;
  const double slope = 1.5, shift = -1.0;
  static const struct {
    double power, beta;
    bool goes;
  } cases[] = {{1.0, 1.0, true}, {2.0, 1.0, false}, {1.0, 0.5, false}};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    tree t = {0};
    size_t fired = 0;
    const double exponents[3] = {1.0, 1.0, cases[k].power};
    const poe_expert *parts[3] = {tree_slice(&t, tree_ring(&t, 1.0, 0.8), 4, (size_t[]){0, 1}),
                                  tree_slice(&t, tree_linear(&t, 1, 1, &slope, &shift, 0.8), 4, (size_t[]){2, 0}),
                                  tree_slice(&t, tree_linear(&t, 1, 1, &slope, &shift, 1.2), 4, (size_t[]){3, 2})};
    const poe_expert *product = tree_product(&t, 4, 3, parts, exponents);
    const poe_expert *whole = marginal_of(&t, product, 2, (size_t[]){2, 3}, cases[k].beta);
    poe_expert *out = rewritten(whole, "marginal", &fired);
    bool left = poei_node_kind_of(out) == POEI_NODE_marginal;
    for (size_t i = 0; i < poei_node_child_count(out); i++) {
      left = left || poei_node_kind_of(poei_node_child(out, i)) == POEI_NODE_marginal;
    }
    assert_int_equal(left, !cases[k].goes);
    same_values(cases[k].goes ? parts[0] : whole, out, 2);
    poe_expert_release(out);
    tree_free(&t);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_apart_is_taken_apart), cmocka_unit_test(what_integrates_to_one_goes),
      cmocka_unit_test(gaussians_at_any_temperature), cmocka_unit_test(profile_is_the_cold_limit),
      cmocka_unit_test(replicas_give_the_power),      cmocka_unit_test(mixed_targets_have_a_plan),
      cmocka_unit_test(every_allocation_fails),       cmocka_unit_test(what_has_no_route_is_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
