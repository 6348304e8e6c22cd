/* Discrete targets as factor graphs: the graph has the target's density at every state, whatever nodes it was opened
 * through; the planner's route by elimination agrees with adding up the states of the tree as written; marginals and
 * the most probable points of plans; what is refused, and how it is said. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/discrete.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/list.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static const double ones[64] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/* ---- families that the builders lack ---- */

static poe_expert *hmm(size_t d) {
  static const double initial[2] = {0.6, 0.4}, transition[4] = {0.9, 0.1, 0.25, 0.75},
                      emission[6] = {0.5, 0.3, 0.2, 0.1, 0.0, 0.9};
  poet_args a;
  poet_args_start(&a, "hmm");
  poet_args_discrete_variable(&a, "x", d, 3);
  poet_args_vector(&a, "initial", 2, initial);
  poet_args_matrix(&a, "transition", 2, 2, transition);
  poet_args_matrix(&a, "emission", 2, 3, emission);
  poe_expert *made = NULL;
  poe_error error = {0};
  check_ok(poe_expert_create(&poei_hmm_ops, &a.args, &made, &error), error);
  return made;
}

static poe_expert *markov(size_t d) {
  static const double initial[3] = {0.5, 0.25, 0.25}, transition[9] = {0.1, 0.6, 0.3, 0.5, 0.5, 0.0, 0.2, 0.2, 0.6};
  poet_args a;
  poet_args_start(&a, "markov");
  poet_args_discrete_variable(&a, "x", d, 3);
  poet_args_vector(&a, "initial", 3, initial);
  poet_args_matrix(&a, "transition", 3, 3, transition);
  poe_expert *made = NULL;
  poe_error error = {0};
  check_ok(poe_expert_create(&poei_markov_ops, &a.args, &made, &error), error);
  return made;
}

static poei_plan_options defaults(void) {
  poei_plan_options options;
  poei_plan_options_default(&options);
  return options;
}

/* ---- states ---- */

static size_t states_of(const poe_expert *expert) {
  const poe_traits *traits = poe_expert_traits(expert);
  size_t states = 1;
  for (size_t j = 0; j < traits->dim; j++) {
    states *= (size_t)(traits->support[j].high - traits->support[j].low) + 1;
  }
  return states;
}

/* x[dim] of state s, the first coordinate slowest; index[dim] (NULL is allowed) counts from the lowest value. */
static void point(const poe_expert *expert, size_t s, double *x, size_t *index) {
  const poe_traits *traits = poe_expert_traits(expert);
  for (size_t j = traits->dim; j-- > 0;) {
    size_t values = (size_t)(traits->support[j].high - traits->support[j].low) + 1;
    x[j] = traits->support[j].low + (double)(s % values);
    if (index != NULL) {
      index[j] = s % values;
    }
    s /= values;
  }
}

/* log Z of the graph with the coordinates clamped is the density there. */
static void same_density(const poe_expert *expert) {
  enum { MOST = 64 };
  poei_plan_options options = defaults();
  poei_discrete *discrete = NULL;
  poe_error error = {0};
  size_t dim = poe_expert_traits(expert)->dim, index[MOST], value[256];
  double x[MOST];
  check_ok(poei_discrete_open(expert, &options, &discrete, &error), error);
  assert_int_equal(discrete->dim, dim);
  size_t n = poei_field_variables(discrete->graph);
  assert_true(dim <= MOST && n <= 256);
  for (size_t s = 0; s < states_of(expert); s++) {
    point(expert, s, x, index);
    for (size_t v = 0; v < n; v++) {
      value[v] = v < dim ? index[v] : POEI_FIELD_FREE;
    }
    poei_field *clamped = NULL;
    poei_junction *junction = NULL;
    poei_junction_options own = {.goal = POEI_JUNCTION_LOG_Z, .byte_limit = options.byte_limit};
    check_ok(poei_field_clamp(discrete->graph, value, &clamped, &error), error);
    check_ok(poei_junction_create(clamped, &own, &junction, &error), error);
    double expected = tree_value(expert, x);
    if (expected == -INFINITY) {
      check_fails(poei_junction_run(junction, &error), POE_E_EMPTY, error, "probability 0");
    } else {
      check_ok(poei_junction_run(junction, &error), error);
      check_close(poei_junction_log_z(junction), expected, 1e-11, 1e-12);
    }
    poei_junction_destroy(junction);
    poei_field_destroy(clamped);
  }
  poei_discrete_destroy(discrete);
}

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

/* ---- routes ---- */

/* A ring of n binary variables with a coupling: Z = (2 cosh k)^n + (2 sinh k)^n. */
static const poe_expert *ring(tree *t, size_t n, double k) {
  double table[4] = {k, -k, -k, k};
  size_t *index = calloc(2 * n, sizeof *index);
  assert_non_null(index);
  for (size_t i = 0; i < n; i++) {
    index[2 * i] = i;
    index[2 * i + 1] = (i + 1) % n;
  }
  const poe_expert *made = tree_plate(t, tree_table(t, 2, (size_t[]){2, 2}, table), n, n, index);
  free(index);
  return made;
}

static double ring_log_z(size_t n, double k) {
  return (double)n * log(2.0 * cosh(k)) + log1p(pow(tanh(k), (double)n));
}

static void routes(void **state) {
  (void)state;
  tree t = {0};
  poei_plan *plan = NULL;
  poe_error error = {0};
  static const struct {
    size_t n;
    bool no_rewrite;
    poei_method method;
  } cases[] = {{8, false, POEI_METHOD_CLOSED},        {8, true, POEI_METHOD_ENUMERATION},
               {14, false, POEI_METHOD_ELIMINATION},  {14, true, POEI_METHOD_ENUMERATION},
               {60, false, POEI_METHOD_ELIMINATION},  {60, true, POEI_METHOD_ELIMINATION},
               {5000, false, POEI_METHOD_ELIMINATION}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    poei_plan_options options = defaults();
    options.no_rewrite = cases[i].no_rewrite;
    const poe_expert *target = ring(&t, cases[i].n, 0.8);
    tree_check(&t);
    check_ok(poei_plan_build(target, &options, &plan, &error), error);
    if (plan->method != cases[i].method) {
      fail_msg("%zu variables: %s (%s)", cases[i].n, poei_method_word(plan->method), plan->reason);
    }
    assert_true(plan->exact && plan->has_log_z && plan->log_z_error == 0.0 && plan->sampler != NULL);
    check_close(plan->log_z, ring_log_z(cases[i].n, 0.8), 1e-9, 1e-13);
    if (plan->method == POEI_METHOD_ELIMINATION) {
      assert_non_null(strstr(plan->reason, "treewidth 2"));
      assert_non_null(strstr(plan->reason, " of tables"));
    }
    poei_plan_destroy(plan);
  }
  /* A constant inside a mixture is found without draws; a mixture's components have plans of their own. */
  poe_expert *far = hmm(30);
  const poe_expert *either = tree_or(&t, tree_product(&t, 30, 2, (const poe_expert *const[]){far, far}, ones), far);
  const poe_expert *whole = tree_normalise(&t, either, NAN, 0.0);
  tree_check(&t);
  check_ok(poei_plan_build(whole, NULL, &plan, &error), error);
  assert_int_equal(plan->n_holes, 0);
  check_close(plan->log_z, 0.0, 1e-12, 0.0);
  poei_marginals marginals = {0};
  check_ok(poei_plan_marginals(plan, NULL, &marginals, &error), error);
  check_close(marginals.p[0] + marginals.p[1] + marginals.p[2], 1.0, 1e-12, 0.0);
  poei_marginals_free(&marginals);
  poei_plan_destroy(plan);
  poe_expert_release(far);
  tree_free(&t);
}

/* Blocks of which one is discrete: its marginals, and nothing of the other. */
static void blocks(void **state) {
  (void)state;
  tree t = {0};
  size_t place[14];
  for (size_t i = 0; i < 14; i++) {
    place[i] = i + 1;
  }
  const poe_expert *factor[3] = {tree_at(&t, tree_normal(&t, 0.0, 1.0), 15, 0),
                                 tree_slice(&t, ring(&t, 14, 0.5), 15, place),
                                 tree_at(&t, tree_bernoulli(&t, 0.9), 15, 1)};
  const poe_expert *target = tree_product(&t, 15, 3, factor, ones);
  tree_check(&t);
  poei_plan *plan = NULL;
  poei_marginals marginals = {0};
  poe_error error = {0};
  check_ok(poei_plan_build(target, NULL, &plan, &error), error);
  assert_int_equal(plan->method, POEI_METHOD_BLOCKS);
  check_ok(poei_plan_marginals(plan, NULL, &marginals, &error), error);
  assert_int_equal(marginals.states[0], 0);
  check_close(marginals.p[marginals.start[1] + 1], 0.9, 1e-12, 0.0);
  double c = tanh(0.5), correlation = (c + pow(c, 13.0)) / (1.0 + pow(c, 14.0)); /* of neighbours in the ring */
  check_close(marginals.p[marginals.start[2] + 1], 0.5 * (1.0 + 0.8 * correlation), 1e-12, 0.0);
  poei_marginals_free(&marginals);
  size_t found;
  double x[15], log_density;
  check_fails(poei_plan_best(plan, NULL, 1, &found, x, &log_density, &error), POE_E_CAPABILITY, error, "continuous");
  poei_plan_destroy(plan);
  tree_free(&t);
}

/* ---- refusals ---- */

static void fails(const poe_expert *target, poe_status status, const char *part) {
  poei_plan *plan = NULL;
  poe_error error = {0};
  check_fails(poei_plan_build(target, NULL, &plan, &error), status, error, part);
}

static void refusals(void **state) {
  (void)state;
  tree t = {0};
  double zero[2] = {0.0, -INFINITY}, one[2] = {-INFINITY, 0.0}, differ[4] = {-INFINITY, 0.0, 0.0, -INFINITY};
  /* An odd ring with two colours. */
  size_t index[42];
  for (size_t i = 0; i < 21; i++) {
    index[2 * i] = i;
    index[2 * i + 1] = (i + 1) % 21;
  }
  const poe_expert *unequal = tree_table(&t, 2, (size_t[]){2, 2}, differ);
  fails(tree_plate(&t, unequal, 21, 21, index), POE_E_EMPTY, "contradict each other at coordinate");
  /* Values that an even chain cannot have. */
  const poe_expert *even = tree_plate(&t, unequal, 20, 21, index);
  double ends[2] = {0.0, 1.0};
  fails(tree_given(&t, even, 2, (size_t[]){0, 20}, ends), POE_E_EMPTY, "probability 0");
  /* A divisor that is 0 where the rest is not, and one that is 0 where the rest is. */
  const poe_expert *first = tree_at(&t, tree_table(&t, 1, (size_t[]){2}, zero), 21, 3);
  const poe_expert *second = tree_at(&t, tree_table(&t, 1, (size_t[]){2}, one), 21, 3);
  const poe_expert *unequal_at = tree_slice(&t, unequal, 21, (size_t[]){7, 8}); /* 0/0 when divided out */
  const poe_expert *bad[2] = {even, first};
  fails(tree_product(&t, 21, 2, bad, (double[]){1.0, -1.0}), POE_E_IMPROPER, "coordinate 3 = 1");
  bad[1] = second;
  fails(tree_product(&t, 21, 2, bad, (double[]){1.0, -1.0}), POE_E_IMPROPER, "coordinate 3 = 0");
  const poe_expert *mixed[3] = {even, unequal_at, second};
  fails(tree_product(&t, 21, 3, mixed, (double[]){1.0, -0.5, -1.0}), POE_E_IMPROPER, "coordinate 3 = 0");
  const poe_expert *good[3] = {even, first, first};
  poei_plan *plan = NULL;
  poe_error error = {0};
  tree_check(&t);
  check_ok(poei_plan_build(tree_product(&t, 21, 3, good, (double[]){1.0, 1.0, -0.5}), NULL, &plan, &error), error);
  check_close(plan->log_z, 0.0, 1e-12, 0.0);
  poei_plan_destroy(plan);
  const poe_expert *none[3] = {even, first, second};
  fails(tree_product(&t, 21, 3, none, ones), POE_E_EMPTY, "probability 0");
  /* a / (b/c) is a/0 where b is 0, whatever c is. */
  const poe_expert *gaps = tree_table(&t, 2, (size_t[]){2, 3}, holes),
                   *rest = tree_table(&t, 2, (size_t[]){2, 3}, rough);
  poei_plan_options plain = defaults();
  poei_discrete *discrete = NULL;
  const poe_expert *quotient = tree_over(&t, rest, tree_over(&t, gaps, gaps));
  tree_check(&t);
  check_fails(poei_discrete_open(quotient, &plain, &discrete, &error), POE_E_IMPROPER, error, "divisor is 0");
  /* Everything with everything: the treewidth is named. */
  size_t *all = calloc(40 * 39, sizeof *all), n = 0;
  assert_non_null(all);
  for (size_t i = 0; i < 40; i++) {
    for (size_t j = 0; j < i; j++) {
      all[2 * n] = i;
      all[2 * n++ + 1] = j;
    }
  }
  const poe_expert *dense = tree_plate(&t, tree_table(&t, 2, (size_t[]){2, 2}, square), n, 40, all);
  fails(dense, POE_E_CAPABILITY, "treewidth at least 39");
  free(all);
  /* A limit of the user's. */
  poei_plan_options options = defaults();
  options.byte_limit = 20;
  check_fails(poei_plan_build(even, &options, &plan, &error), POE_E_CAPABILITY, error, "treewidth 1");
  /* Log Z fits, the messages that draws need do not. */
  options.byte_limit = 40;
  check_ok(poei_plan_build(even, &options, &plan, &error), error);
  assert_int_equal(plan->method, POEI_METHOD_ELIMINATION);
  assert_true(plan->sampler == NULL && plan->has_log_z && strstr(plan->reason, "for draws") != NULL);
  check_close(plan->log_z, log(2.0), 1e-12, 0.0);
  poei_plan_destroy(plan);
  /* A power of hidden variables; the most probable point of a long chain of them. */
  poe_expert *h = hmm(40);
  fails(tree_power(&t, h, 0.5), POE_E_CAPABILITY, "hidden variables");
  const poe_expert *squared = tree_product(&t, 40, 2, (const poe_expert *const[]){h, h}, ones);
  tree_check(&t);
  check_ok(poei_plan_build(tree_normalise(&t, squared, 0.0, 0.0), NULL, &plan, &error), error);
  size_t found;
  double x[40], log_density;
  check_fails(poei_plan_best(plan, NULL, 1, &found, x, &log_density, &error), POE_E_CAPABILITY, error,
              "hidden variables first");
  poei_plan_destroy(plan);
  poe_expert_release(h);
  tree_free(&t);
}

/* Few hidden variables can be summed out before maximising: the best sequence of a short hidden Markov model. */
static void best_of_hidden(void **state) {
  (void)state;
  tree t = {0};
  poe_expert *h = hmm(7);
  const poe_expert *target = tree_product(&t, 7, 2, (const poe_expert *const[]){h, h}, ones);
  tree_check(&t);
  poei_plan *plan = NULL;
  poe_error error = {0};
  check_ok(poei_plan_build(target, NULL, &plan, &error), error);
  double x[2 * 7], log_density[2], best = -INFINITY, at[7];
  size_t found;
  check_ok(poei_plan_best(plan, NULL, 2, &found, x, log_density, &error), error);
  for (size_t s = 0; s < states_of(target); s++) {
    point(target, s, at, NULL);
    best = fmax(best, tree_value(target, at));
  }
  assert_int_equal(found, 2);
  check_close(log_density[0], best, 1e-11, 0.0);
  check_close(tree_value(target, x), best, 1e-11, 0.0);
  poei_plan_destroy(plan);
  poe_expert_release(h);
  tree_free(&t);
}

/* The best sequences that an automaton accepts: its states are functions of what it reads, so that a long one is no
 * harder. A Markov chain over sequences with an even number of 2s, against the same chain's best by a recursion over
 * (value, parity). */
static void best_accepted(void **state) {
  (void)state;
  enum { N = 200 };
  tree t = {0};
  poet_args a;
  poet_args_start(&a, "regex");
  size_t shape = N;
  poe_support support[N];
  for (size_t i = 0; i < N; i++) {
    support[i] = (poe_support){POE_DISCRETE, 0.0, 2.0, false, false};
  }
  a.subjects[0] = (poe_subject){.name = "x", .ndim = 1, .shape = &shape, .dim = N, .support = support};
  a.args.n_subjects = 1;
  poet_args_text(&a, "pattern", POE_ARG_STRING, "[01]*(2[01]*2[01]*)*");
  poe_expert *even = NULL;
  poe_error error = {0};
  check_ok(poe_expert_create(&poei_regex_ops, &a.args, &even, &error), error);
  double pair[9] = {-1.0, -0.3, 0.2, -0.5, -1.5, 0.1, -0.2, 0.15, -2.0}, lean[3] = {0.0, 0.0, 0.25};
  size_t index[2 * (N - 1)], single[N];
  for (size_t i = 0; i < 2 * (N - 1); i++) {
    index[i] = i / 2 + i % 2;
  }
  for (size_t i = 0; i < N; i++) {
    single[i] = i;
  }
  const poe_expert *factor[3] = {tree_plate(&t, tree_table(&t, 2, (size_t[]){3, 3}, pair), N - 1, N, index),
                                 tree_plate(&t, tree_table(&t, 1, (size_t[]){3}, lean), N, N, single), even};
  const poe_expert *target = tree_product(&t, N, 3, factor, ones);
  tree_check(&t);
  poei_plan *plan = NULL;
  check_ok(poei_plan_build(target, NULL, &plan, &error), error);
  double x[2 * N], log_density[2], best[3][2];
  size_t found;
  check_ok(poei_plan_best(plan, NULL, 2, &found, x, log_density, &error), error);
  for (size_t v = 0; v < 3; v++) {
    best[v][v == 2] = lean[v];
    best[v][v != 2] = -INFINITY;
  }
  for (size_t i = 1; i < N; i++) {
    double next[3][2];
    for (size_t v = 0; v < 6; v++) {
      next[v / 2][v % 2] = -INFINITY;
      for (size_t u = 0; u < 3; u++) {
        next[v / 2][v % 2] =
            fmax(next[v / 2][v % 2], best[u][(v % 2) ^ (v / 2 == 2)] + pair[3 * u + v / 2] + lean[v / 2]);
      }
    }
    memcpy(best, next, sizeof best);
  }
  double expected = fmax(best[0][0], fmax(best[1][0], best[2][0]));
  assert_int_equal(found, 2);
  check_close(log_density[0], expected, 1e-10, 0.0);
  check_close(tree_value(target, x), expected, 1e-10, 0.0);
  check_close(tree_value(target, &x[N]), log_density[1], 1e-10, 0.0);
  assert_true(memcmp(x, &x[N], sizeof(double) * N) != 0);
  poei_plan_destroy(plan);
  poe_expert_release(even);
  tree_free(&t);
}

/* ---- the expert that the route makes ---- */

static const double edge[9] = {0.0, 0.1, 0.2, 0.3, 0.4, -0.3, 0.5, -0.6, 0.5};

/* Ten coordinates with values 1 and 2. */
static poe_status eliminated(poe_expert **expert, poe_error *error) {
  enum { N = 10 };
  tree t = {0};
  size_t index[2 * (N - 1)], far[4] = {0, 5, 2, 9};
  for (size_t i = 0; i < 2 * (N - 1); i++) {
    index[i] = i / 2 + i % 2;
  }
  const poe_expert *table = tree_table(&t, 2, (size_t[]){3, 3}, edge);
  const poe_expert *factor[3] = {tree_plate(&t, tree_restrict(&t, table, 1.0, 2.0), N - 1, N, index),
                                 tree_plate(&t, table, 2, N, far),
                                 tree_at(&t, tree_table(&t, 1, (size_t[]){3}, edge), N, 4)};
  const poe_expert *target = tree_product(&t, N, 3, factor, (double[]){1.0, -0.5, 2.0});
  poei_plan_options options = defaults();
  poei_elimination_answer answer = {0};
  poe_error refusal;
  if (t.status == POE_OK) {
    t.status = poei_eliminate(target, &options, false, &answer, &refusal, &t.error);
    assert_true(t.status != POE_OK || answer.done);
  }
  poei_free(answer.reason);
  poe_status status = tree_finish(&t, answer.sampler, expert, error);
  poe_expert_release(answer.sampler);
  return status;
}

static double eliminated_value(const double *x) {
  double sum = 2.0 * edge[(int)x[4]];
  for (size_t i = 0; i + 1 < 10; i++) {
    sum += edge[3 * (int)x[i] + (int)x[i + 1]];
  }
  return sum - 0.5 * (edge[3 * (int)x[0] + (int)x[5]] + edge[3 * (int)x[2] + (int)x[9]]);
}

static const poet_case elimination_cases[] = {
    {.name = "a chain with two divided chords",
     .build = eliminated,
     .log_density = eliminated_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
};
POET_ENTRY(elimination, elimination_cases);

static void conforms(void **state) {
  (void)state;
  poet_run_entry(&poet_conformance_elimination);
}

/* ---- memory ---- */

static poe_status plan_and_ask(const poe_expert *target, poe_error *error) {
  poei_plan *plan = NULL;
  poei_marginals marginals = {0};
  size_t found;
  double x[3 * 12], log_density[3];
  poe_status status = poei_plan_build(target, NULL, &plan, error);
  if (status == POE_OK) {
    status = poei_plan_marginals(plan, NULL, &marginals, error);
  }
  if (status == POE_OK) {
    status = poei_plan_best(plan, NULL, 3, &found, x, log_density, error);
  }
  poei_marginals_free(&marginals);
  poei_plan_destroy(plan);
  return status;
}

static void failing_memory(void **state) {
  (void)state;
  tree t = {0};
  poe_expert *h = hmm(9);
  double pair[9] = {0.1, -INFINITY, -1.0, 0.0, 0.3, -0.2, 0.7, 0.0, -0.4};
  const poe_expert *table = tree_table(&t, 2, (size_t[]){3, 3}, pair);
  const poe_expert *chain = tree_plate(&t, table, 5, 9, (size_t[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 0});
  const poe_expert *part[2] = {h, chain}, *either = tree_mixture(&t, 2, part, ones);
  const poe_expert *factor[4] = {either, chain, tree_slice(&t, table, 9, (size_t[]){0, 1}), chain};
  const poe_expert *target = tree_product(&t, 9, 4, factor, (double[]){1.0, 2.0, -0.5, 1.0});
  tree_check(&t);
  poe_error error = {0};
  uint64_t before = poei_alloc_count();
  check_ok(plan_and_ask(target, &error), error);
  uint64_t all = poei_alloc_count() - before;
  assert_true(all > 300);
  for (uint64_t n = 1; n <= all; n++) { /* what fails to find something out may go on without it */
    poei_alloc_fail_at(n);
    poe_status status = plan_and_ask(target, &error);
    poei_alloc_fail_at(0);
    if (status != POE_OK && status != POE_E_MEMORY) {
      fail_msg("allocation %llu of %llu: %s", (unsigned long long)n, (unsigned long long)all, error.message);
    }
  }
  poe_expert_release(h);
  tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nodes),        cmocka_unit_test(hidden_variables), cmocka_unit_test(ranges),
      cmocka_unit_test(marginals),    cmocka_unit_test(mixtures),         cmocka_unit_test(random_trees),
      cmocka_unit_test(mixed_ranges), cmocka_unit_test(routes),           cmocka_unit_test(blocks),
      cmocka_unit_test(refusals),     cmocka_unit_test(best_of_hidden),   cmocka_unit_test(best_accepted),
      cmocka_unit_test(conforms),     cmocka_unit_test(failing_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
