/* Discrete targets as factor graphs: the graph has the target's density at every state, whatever nodes it was opened
 * through; plans by elimination agree with adding up the states of the tree as written; marginals and the most probable
 * points of plans. */
#include "compose/exact/discrete.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/list.h"
#include "tests/compose/build.h"
#include "tests/compose/discrete_trees.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double ones[64] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/* ---- nodes ---- */

static const double rough[6] = {0.5, -1.0, 0.25, 0.0, 1.5, -0.5},
                    holes[6] = {0.5, -INFINITY, 0.25, 0.0, 1.5, -INFINITY}, square[4] = {0.3, -0.2, -0.7, 0.9};

static void nodes(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *two_three = tree_table(&t, 2, (size_t[]){2, 3}, rough),
                   *gaps = tree_table(&t, 2, (size_t[]){2, 3}, holes);
  const poe_expert *two_two = tree_table(&t, 2, (size_t[]){2, 2}, square), *coin = tree_bernoulli(&t, 0.3);
  /* x0: 2, x1: 3, x2: 2, x3: 2 */
  const poe_expert *factor[6] = {tree_slice(&t, two_three, 4, (size_t[]){0, 1}),
                                 tree_slice(&t, gaps, 4, (size_t[]){2, 1}),
                                 tree_slice(&t, two_two, 4, (size_t[]){3, 0}),
                                 tree_at(&t, coin, 4, 2),
                                 tree_plate(&t, two_two, 2, 4, (size_t[]){0, 2, 2, 3}),
                                 tree_normalise(&t, tree_slice(&t, two_two, 4, (size_t[]){2, 0}), 0.75, 0.0)};
  const poe_expert *joint = tree_product(&t, 4, 6, factor, (double[]){1.0, 1.0, -0.5, 2.0, 1.0, 1.5});
  tree_check(&t);
  same_density(joint);
  /* Clamped, restricted, powered as a whole. */
  same_density(tree_given(&t, joint, 2, (size_t[]){1, 3}, (double[]){2.0, 0.0}));
  same_density(tree_power(&t, joint, 0.7));
  same_density(tree_restrict(&t, tree_slice(&t, two_three, 2, (size_t[]){1, 0}), 0.0, 1.0));
  same_density(tree_product(&t, 2, 2, (const poe_expert *const[]){two_three, tree_restrict(&t, two_three, 0.0, 1.0)},
                            (double[]){2.0, 1.0}));
  /* 0/0 = 0: the divisor's zeros are the dividend's. */
  same_density(tree_product(&t, 2, 2, (const poe_expert *const[]){gaps, gaps}, (double[]){1.0, -0.5}));
  same_density(
      tree_product(&t, 2, 2, (const poe_expert *const[]){gaps, tree_over(&t, two_three, gaps)}, (double[]){2.0, 1.0}));
  /* A power of a quotient is tabulated: (b/c)^-1 is not c/b where both vanish. */
  same_density(tree_product(&t, 2, 2, (const poe_expert *const[]){two_three, tree_over(&t, two_three, two_three)},
                            (double[]){1.0, -1.0}));
  tree_check(&t);
  tree_free(&t);
}

static void hidden_variables(void **state) {
  (void)state;
  tree t = {0};
  poe_expert *h = hmm(4), *m = markov(4);
  const poe_expert *pairs =
      tree_plate(&t, tree_table(&t, 2, (size_t[]){3, 3}, (double[]){0.1, 0.5, -1.0, 0.0, 0.3, -0.2, 0.7, 0.0, -0.4}), 3,
                 4, (size_t[]){0, 1, 1, 2, 2, 3});
  const poe_expert *factor[4] = {h, m, pairs, h};
  same_density(h);
  same_density(tree_product(&t, 4, 4, factor, (double[]){1.0, 0.5, 1.0, 1.0}));
  same_density(tree_given(&t, tree_product(&t, 4, 2, factor, ones), 2, (size_t[]){0, 2}, (double[]){2.0, 0.0}));
  same_density(tree_power(&t, h, 0.5)); /* tabulated: few states */
  same_density(tree_power(&t, h, 3.0)); /* hidden variables of its own for each time */
  tree_check(&t);
  tree_free(&t);
  poe_expert_release(h);
  poe_expert_release(m);
}

/* One expert on coordinates of different ranges: what was made of it for one range does not do for another. */
static void ranges(void **state) {
  (void)state;
  tree t = {0};
  double line[3] = {0.2, -0.7, 0.4}, pair[9] = {0.1, 0.5, -1.0, 0.0, 0.3, -0.2, 0.7, -INFINITY, -0.4};
  const poe_expert *values = tree_table(&t, 1, (size_t[]){3}, line), *pairs = tree_table(&t, 2, (size_t[]){3, 3}, pair);
  const poe_expert *low = tree_restrict(&t, values, 0.0, 1.0), *high = tree_restrict(&t, values, 1.0, 2.0);
  const poe_expert *either = tree_or(&t, values, tree_table(&t, 1, (size_t[]){3}, &pair[3])); /* tabulated */
  const poe_expert *factor[6] = {tree_at(&t, low, 5, 0),
                                 tree_at(&t, high, 5, 1),
                                 tree_at(&t, low, 5, 3),
                                 tree_plate(&t, either, 5, 5, (size_t[]){0, 1, 2, 3, 4}),
                                 tree_plate(&t, pairs, 4, 5, (size_t[]){0, 1, 1, 2, 2, 3, 3, 4}),
                                 tree_plate(&t, tree_or(&t, pairs, pairs), 3, 5, (size_t[]){1, 0, 3, 2, 4, 1})};
  same_density(tree_product(&t, 5, 6, factor, (double[]){1.0, 1.0, 1.0, 1.0, 1.0, 0.5}));
  same_density(tree_restrict(&t, pairs, 1.0, 2.0));
  same_density(tree_product(&t, 2, 2, (const poe_expert *const[]){tree_restrict(&t, pairs, 1.0, 2.0), pairs},
                            (double[]){1.0, -0.5}));
  tree_check(&t);
  tree_free(&t);
}

/* (sum_h p^beta)^(t / beta): t / beta copies of p^beta with latent coordinates of their own. */
static void marginals(void **state) {
  (void)state;
  tree t = {0};
  double pair[9] = {0.1, 0.5, -1.0, 0.0, 0.3, -0.2, 0.7, -INFINITY, -0.4};
  const poe_expert *chain =
      tree_plate(&t, tree_table(&t, 2, (size_t[]){3, 3}, pair), 5, 6, (size_t[]){0, 1, 1, 2, 2, 3, 3, 4, 4, 5});
  static const double beta[] = {1.0, 1.0, 0.5, 2.0, INFINITY, 0.7}, power[] = {1.0, 2.0, 1.0, 4.0, 1.0, 1.0};
  tree_check(&t);
  for (size_t i = 0; i < sizeof beta / sizeof beta[0]; i++) {
    poe_expert *marginal = NULL;
    poe_error error = {0};
    check_ok(poei_marginal_create(chain, 2, (size_t[]){1, 4}, beta[i], &marginal, &error), error);
    const poe_expert *end = tree_at(&t, tree_table(&t, 1, (size_t[]){3}, pair), 4, 2);
    same_density(tree_product(&t, 4, 2, (const poe_expert *const[]){marginal, end}, (double[]){power[i], 1.0}));
    tree_check(&t);
    poe_expert_release(marginal);
  }
  tree_free(&t);
}

/* Mixtures of many joint values become graphs with a variable for the component, also inside one another; components
 * have hidden variables, constants, and ranges of their own. */
static void mixtures(void **state) {
  (void)state;
  enum { D = 8 }; /* 6561 states: not tabulated */
  tree t = {0};
  poe_expert *h = hmm(D), *m = markov(D);
  double pair[9] = {0.1, 0.5, -1.0, 0.0, 0.3, -0.2, 0.7, 0.0, -0.4};
  size_t index[2 * (D - 1)];
  for (size_t i = 0; i < 2 * (D - 1); i++) {
    index[i] = i / 2 + i % 2;
  }
  const poe_expert *chain = tree_plate(&t, tree_table(&t, 2, (size_t[]){3, 3}, pair), D - 1, D, index);
  const poe_expert *shifted = tree_normalise(&t, chain, 2.5, 0.0), *boxed = tree_restrict(&t, m, 0.0, 1.0);
  const poe_expert *inner[2] = {h, shifted}, *inside = tree_mixture(&t, 2, inner, (double[]){0.3, 1.7});
  const poe_expert *product[2] = {inside, chain}, *nested = tree_product(&t, D, 2, product, ones);
  const poe_expert *outer[3] = {nested, boxed, tree_product(&t, D, 2, (const poe_expert *const[]){m, h}, ones)};
  const poe_expert *mixture = tree_mixture(&t, 3, outer, (double[]){0.5, 2.0, 0.25});
  const poe_expert *whole = tree_product(&t, D, 2, (const poe_expert *const[]){mixture, chain}, (double[]){1.0, -0.5});
  tree_check(&t);
  poei_plan_options options = defaults();
  poei_discrete *discrete = NULL;
  poe_error error = {0};
  check_ok(poei_discrete_open(whole, &options, &discrete, &error), error);
  assert_true(discrete->hidden >= 2 + 2 * D);
  /* log Z, and the density at some states (with the coordinates clamped) against evaluation. */
  double *x = poet_doubles(D), sum = -INFINITY;
  size_t states = states_of(whole), n = poei_field_variables(discrete->graph);
  size_t *value = calloc(n, sizeof *value), at[D];
  for (size_t s = 0; s < states; s++) {
    point(whole, s, x, at);
    double expected = tree_value(whole, x);
    sum = poei_log_add(sum, expected);
    if (s % 97 == 0) {
      for (size_t v = 0; v < n; v++) {
        value[v] = v < D ? at[v] : POEI_FIELD_FREE;
      }
      poei_field *clamped = NULL;
      poei_junction *junction = NULL;
      poei_junction_options own = {.goal = POEI_JUNCTION_LOG_Z, .byte_limit = options.byte_limit};
      check_ok(poei_field_clamp(discrete->graph, value, &clamped, &error), error);
      check_ok(poei_junction_create(clamped, &own, &junction, &error), error);
      check_ok(poei_junction_run(junction, &error), error);
      check_close(poei_junction_log_z(junction), expected, 1e-11, 1e-12);
      poei_junction_destroy(junction);
      poei_field_destroy(clamped);
    }
  }
  poei_discrete_destroy(discrete);
  poei_plan *plan = NULL;
  check_ok(poei_plan_build(whole, &options, &plan, &error), error);
  assert_int_equal(plan->method, POEI_METHOD_ELIMINATION);
  check_close(plan->log_z, sum, 1e-9, 0.0);
  poei_plan_destroy(plan);
  free(x);
  free(value);
  tree_free(&t);
  poe_expert_release(h);
  poe_expert_release(m);
}

/* ---- random trees: the route by elimination against adding up the states of the tree as written ---- */

enum { COORDINATES = 9 };

static size_t below(poe_stream *stream, size_t n) {
  size_t i = (size_t)(poe_stream_uniform(stream) * (double)n);
  return i < n ? i : n - 1;
}

static const poe_expert *random_table(tree *t, poe_stream *stream, size_t dim, bool zeros) {
  size_t n = 1 + below(stream, 3), index[3], k[3], size = 1;
  double value[27];
  index[0] = below(stream, dim);
  for (size_t i = 1; i < n; i++) {
    index[i] = (index[i - 1] + 1 + below(stream, 2)) % dim;
  }
  n = n == 3 && index[2] == index[0] ? 2 : n;
  for (size_t i = 0; i < n; i++) {
    k[i] = index[i] % 2 == 0 ? 2 : 3;
    size *= k[i];
  }
  for (size_t s = 0; s < size; s++) {
    value[s] = zeros && s > 0 && poe_stream_uniform(stream) < 0.15 ? -INFINITY : poe_stream_normal(stream);
  }
  return tree_slice(t, tree_table(t, n, k, value), dim, index);
}

/* A density over dim coordinates, the even ones with 2 values, the odd ones with 3. */
static const poe_expert *random_tree(tree *t, poe_stream *stream, size_t dim, int depth) {
  const poe_expert *factor[16];
  double exponent[16];
  size_t n = 0;
  for (size_t j = 0; j < dim; j += 2) { /* so that every coordinate is there */
    factor[n] = tree_slice(t, tree_table(t, j + 1 < dim ? 2 : 1, (size_t[]){2, 3}, rough), dim, (size_t[]){j, j + 1});
    exponent[n++] = 0.5 + poe_stream_uniform(stream);
  }
  size_t more = 2 + below(stream, 5);
  for (size_t i = 0; i < more; i++) {
    size_t kind = below(stream, depth > 0 ? 5 : 3);
    exponent[n] = 1.0;
    if (kind == 0) {
      factor[n] = random_table(t, stream, dim, false);
      exponent[n] = -0.5;
    } else if (kind == 1) {
      factor[n] = tree_normalise(t, random_table(t, stream, dim, true), poe_stream_normal(stream), 0.0);
    } else if (kind == 2) {
      factor[n] = random_table(t, stream, dim, true);
      exponent[n] = 0.3 + poe_stream_uniform(stream);
    } else if (kind == 3) {
      factor[n] = tree_or(t, random_tree(t, stream, dim, depth - 1), random_tree(t, stream, dim, depth - 1));
    } else {
      factor[n] = random_tree(t, stream, dim, depth - 1);
      exponent[n] = 0.7;
    }
    n++;
  }
  return tree_product(t, dim, n, factor, exponent);
}

static void compare_plans(const poe_expert *target, size_t state_limit) {
  enum { K = 5 };
  poei_plan_options options = defaults(), written = defaults();
  options.mixture_limit = 1;
  options.state_limit = state_limit;
  written.no_rewrite = true;
  poei_plan *a = NULL, *b = NULL;
  poe_error error = {0};
  check_ok(poei_plan_build(target, &options, &a, &error), error);
  check_ok(poei_plan_build(target, &written, &b, &error), error);
  assert_int_equal(b->method, POEI_METHOD_ENUMERATION);
  assert_true(a->exact && a->has_log_z);
  check_close(a->log_z, b->log_z, 1e-9, 0.0);
  /* Marginals and the best points, from the plan and from the states. */
  size_t states = states_of(target), dim = poe_expert_traits(target)->dim, found, index[COORDINATES];
  double x[COORDINATES], point_x[K * COORDINATES], log_density[K], *p = NULL, best[K + 1];
  poei_marginals marginals = {0};
  check_ok(poei_plan_marginals(a, NULL, &marginals, &error), error);
  size_t values = marginals.start[dim - 1] + marginals.states[dim - 1];
  p = calloc(values, sizeof *p);
  assert_non_null(p);
  for (size_t k = 0; k <= K; k++) {
    best[k] = -INFINITY;
  }
  for (size_t s = 0; s < states; s++) {
    point(target, s, x, index);
    double log_p = tree_value(target, x);
    for (size_t j = 0; j < dim; j++) {
      p[marginals.start[j] + index[j]] += exp(log_p - b->log_z);
    }
    for (size_t k = 0; k <= K && log_p > -INFINITY; k++) {
      if (log_p > best[k]) {
        memmove(&best[k + 1], &best[k], (K - k) * sizeof *best);
        best[k] = log_p;
        break;
      }
    }
  }
  for (size_t i = 0; i < values; i++) {
    check_close(marginals.p[i], p[i], 1e-10, 1e-9);
  }
  for (size_t j = 0; j < dim; j++) {
    assert_true(marginals.low[j] == poe_expert_traits(target)->support[j].low);
  }
  check_ok(poei_plan_best(b, NULL, K, &found, point_x, log_density, &error), error);
  assert_int_equal(found, K);
  for (size_t k = 0; k < K; k++) {
    check_close(log_density[k], best[k], 1e-10, 1e-11);
    check_close(tree_value(target, &point_x[k * dim]), best[k], 1e-10, 1e-11);
  }
  poei_marginals_free(&marginals);
  free(p);
  poei_plan_destroy(a);
  poei_plan_destroy(b);
}

static void random_trees(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 12; seed++) {
    tree t = {0};
    poe_stream stream = poe_stream_open(poe_rng_seed(seed));
    const poe_expert *target = random_tree(&t, &stream, COORDINATES, seed % 3 == 0 ? 1 : 0);
    tree_check(&t);
    compare_plans(target, 1 << 20);
    size_t index[2] = {1, 6};
    double value[2] = {1.0, 0.0};
    const poe_expert *given = tree_given(&t, target, 2, index, value);
    tree_check(&t);
    compare_plans(given, 1 << 20);
    tree_free(&t);
  }
}

/* Components of different ranges: as a plan of plans, and as one graph when a factor is common to all. */
static void mixed_ranges(void **state) {
  (void)state;
  enum { D = 8 };
  tree t = {0};
  poe_expert *m = markov(D);
  double pair[9] = {0.1, 0.5, -1.0, 0.0, 0.3, -0.2, 0.7, 0.0, -0.4};
  size_t index[2 * (D - 1)];
  for (size_t i = 0; i < 2 * (D - 1); i++) {
    index[i] = i / 2 + i % 2;
  }
  const poe_expert *chain = tree_plate(&t, tree_table(&t, 2, (size_t[]){3, 3}, pair), D - 1, D, index);
  const poe_expert *high = tree_restrict(&t, chain, 1.0, 2.0), *low = tree_restrict(&t, m, 0.0, 1.0);
  const poe_expert *part[3] = {high, low, tree_product(&t, D, 2, (const poe_expert *const[]){m, chain}, ones)};
  const poe_expert *mixture = tree_mixture(&t, 3, part, (double[]){0.2, 3.0, 1.0});
  tree_check(&t);
  compare_plans(mixture, 4000);
  compare_plans(tree_product(&t, D, 2, (const poe_expert *const[]){mixture, chain}, (double[]){1.0, 0.3}), 1 << 20);
  tree_check(&t);
  poe_expert_release(m);
  tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nodes),        cmocka_unit_test(hidden_variables), cmocka_unit_test(ranges),
      cmocka_unit_test(marginals),    cmocka_unit_test(mixtures),         cmocka_unit_test(random_trees),
      cmocka_unit_test(mixed_ranges),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
