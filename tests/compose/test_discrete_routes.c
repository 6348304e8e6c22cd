/* The planner's route by elimination: where it is taken, what is refused and how it is said, the most probable values
 * with hidden variables, the expert that the route makes, failing memory. */
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

static const double rough[6] = {0.5, -1.0, 0.25, 0.0, 1.5, -0.5},
                    holes[6] = {0.5, -INFINITY, 0.25, 0.0, 1.5, -INFINITY}, square[4] = {0.3, -0.2, -0.7, 0.9};

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

/* What elimination refuses is sampled, and its reason told. */
static void samples(const poe_expert *target, const poei_plan_options *options, const char *part) {
  poei_plan *plan = NULL;
  poe_error error = {0};
  check_ok(poei_plan_build(target, options, &plan, &error), error);
  assert_true(plan->method == POEI_METHOD_SMC && !plan->exact && !plan->has_log_z);
  if (strstr(plan->reason, part) == NULL) {
    fail_msg("%s", plan->reason);
  }
  poei_plan_destroy(plan);
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
  samples(dense, NULL, "treewidth at least 39");
  free(all);
  /* A limit of the user's. */
  poei_plan_options options = defaults();
  options.byte_limit = 20;
  samples(even, &options, "treewidth 1");
  /* Log Z fits, the messages that draws need do not. */
  options.byte_limit = 40;
  check_ok(poei_plan_build(even, &options, &plan, &error), error);
  assert_int_equal(plan->method, POEI_METHOD_ELIMINATION);
  assert_true(plan->sampler == NULL && plan->has_log_z && strstr(plan->reason, "for draws") != NULL);
  check_close(plan->log_z, log(2.0), 1e-12, 0.0);
  poei_plan_destroy(plan);
  /* A power of hidden variables; the most probable point of a long chain of them. */
  poe_expert *h = hmm(40);
  samples(tree_power(&t, h, 0.5), NULL, "hidden variables");
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
      cmocka_unit_test(routes),         cmocka_unit_test(blocks),        cmocka_unit_test(refusals),
      cmocka_unit_test(best_of_hidden), cmocka_unit_test(best_accepted), cmocka_unit_test(conforms),
      cmocka_unit_test(failing_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
