/* Marginals and profiles over discrete latent coordinates in programs: an HMM's profile against a Viterbi recursion
 * written here, whole discrete programs and their draws against enumeration of the tree as written, the best points of
 * a profile. */
#include <math.h>
#include <string.h>

#include "compose/exact/numeric.h"
#include "compose/plan.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "tests/compose/build.h"
#include "tests/compose/discrete_trees.h"
#include "tests/compose/fields.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static double value_and_gradient(const poe_expert *expert, const double *y, double *grad) {
  double logp = 0.0, one = 1.0;
  size_t d = poe_expert_traits(expert)->dim;
  poe_error error = {0};
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(expert, POE_WANT_GRAD, 1));
  memset(grad, 0, d * sizeof *grad);
  check_ok(poe_expert_eval_add(expert, (poe_rows){1, d, d, y}, (poe_weights){&one, 0}, (poe_accum){&logp, grad, d},
                               scratch, &error),
           error);
  poe_scratch_destroy(scratch);
  return logp;
}

/* ---- a long chain ---- */

enum { STEPS = 300, STATES = 4, SYMBOLS = 5 };

typedef struct chain {
  double link[STATES * STATES], emission[STATES * SYMBOLS], slope, shift, sd;
} chain;

/* s[t] at t, x[t] at STEPS + t, y[t] at 2 STEPS + t: p = prod link(s[t], s[t+1]) emission(s[t], x[t]) N(y[t] | s[t]).
 */
static const poe_expert *long_chain(tree *t, poe_stream *stream, chain *c) {
  size_t links[2 * (STEPS - 1)], emissions[2 * STEPS], normals[2 * STEPS];
  for (size_t i = 0; i < STATES * STATES; i++) {
    c->link[i] = poe_stream_normal(stream);
  }
  for (size_t i = 0; i < STATES * SYMBOLS; i++) {
    c->emission[i] = poe_stream_normal(stream);
  }
  c->slope = 0.8, c->shift = -1.0, c->sd = 1.3;
  for (size_t i = 0; i < STEPS; i++) {
    if (i + 1 < STEPS) {
      links[2 * i] = i;
      links[2 * i + 1] = i + 1;
    }
    emissions[2 * i] = i;
    emissions[2 * i + 1] = STEPS + i;
    normals[2 * i] = 2 * STEPS + i;
    normals[2 * i + 1] = i;
  }
  const poe_expert *part[3] = {
      tree_plate(t, tree_table(t, 2, (size_t[]){STATES, STATES}, c->link), STEPS - 1, 3 * STEPS, links),
      tree_plate(t, tree_table(t, 2, (size_t[]){STATES, SYMBOLS}, c->emission), STEPS, 3 * STEPS, emissions),
      tree_plate(t, tree_linear(t, 1, 1, &c->slope, &c->shift, c->sd), STEPS, 3 * STEPS, normals)};
  return tree_product(t, 3 * STEPS, 3, part, (double[]){1.0, 1.0, 1.0});
}

static double emitted(const chain *c, size_t s, const double *row, size_t step) {
  double z = (row[STEPS + step] - c->slope * (double)s - c->shift) / c->sd;
  return c->emission[s * SYMBOLS + (size_t)row[step]] - 0.5 * z * z - log(c->sd) - 0.5 * POEI_LOG_2PI;
}

/* The best path of states and its log value; row: x[STEPS], y[STEPS]. */
static double viterbi(const chain *c, const double *row, size_t *path) {
  static double best[STEPS][STATES];
  static size_t from[STEPS][STATES];
  for (size_t step = 0; step < STEPS; step++) {
    for (size_t s = 0; s < STATES; s++) {
      best[step][s] = -INFINITY;
      for (size_t r = 0; r < (step == 0 ? 1 : STATES); r++) {
        double v = step == 0 ? 0.0 : best[step - 1][r] + c->link[r * STATES + s];
        if (v > best[step][s]) {
          best[step][s] = v;
          from[step][s] = r;
        }
      }
      best[step][s] += emitted(c, s, row, step);
    }
  }
  size_t s = 0;
  for (size_t r = 1; r < STATES; r++) {
    s = best[STEPS - 1][r] > best[STEPS - 1][s] ? r : s;
  }
  double top = best[STEPS - 1][s];
  for (size_t step = STEPS; step-- > 0;) {
    path[step] = s;
    s = from[step][s];
  }
  return top;
}

/* The plan's expert, for values alone. */
static poei_plan *plan_of(const poe_expert *target) {
  poei_plan_options options = defaults();
  poei_plan *plan = NULL;
  poe_error error = {0};
  options.values_only = true;
  check_ok(poei_plan_build(target, &options, &plan, &error), error);
  return plan;
}

/* The profile over a chain of 300 states of four values, through the planner, is what Viterbi says; its gradient is
 * that at the best path; with the temperature going down the marginal comes to it from above, by no more than
 * log(states) / beta. */
static void profiles_of_chains_are_viterbi(void **state) {
  (void)state;
  poe_stream stream = poe_stream_open(poe_rng_seed(73));
  tree t = {0};
  chain c;
  const poe_expert *target = long_chain(&t, &stream, &c);
  size_t latent[STEPS], path[STEPS];
  double row[2 * STEPS], grad[2 * STEPS];
  for (size_t i = 0; i < STEPS; i++) {
    latent[i] = i;
  }
  for (int instance = 0; instance < 3; instance++) {
    for (size_t i = 0; i < STEPS; i++) {
      row[i] = (double)below(&stream, SYMBOLS);
      row[STEPS + i] = 2.0 * poe_stream_normal(&stream);
    }
    double best = viterbi(&c, row, path), before = INFINITY;
    for (int k = 0; k < 4; k++) {
      double beta = (double[]){1.0, 30.0, 1e5, INFINITY}[k];
      poe_expert *marginal = NULL;
      poe_error error = {0};
      check_ok(poei_marginal_create(target, STEPS, latent, beta, &marginal, &error), error);
      assert_int_equal(poei_marginal_points(marginal), 0); /* the node alone cannot */
      poei_plan *plan = plan_of(marginal);
      double value = value_and_gradient(plan->expert, row, grad);
      if (isinf(beta)) {
        check_close(value, best, 1e-9, 0.0);
      } else {
        assert_true(value >= best - 1e-9 && value <= best + STEPS * log(STATES) / beta + 1e-9 && value < before);
      }
      for (size_t i = 0; i < STEPS && isinf(beta); i++) {
        double wanted = -(row[STEPS + i] - c.slope * (double)path[i] - c.shift) / (c.sd * c.sd);
        check_close(grad[STEPS + i], wanted, 1e-12, 1e-12);
      }
      before = value;
      poei_plan_destroy(plan);
      poe_expert_release(marginal);
    }
  }
  tree_free(&t);
}

/* ---- whole programs of discrete coordinates ---- */

/* Over x[0..5], the first two ternary: profile^power, marginal at beta 2 as a divisor to the power 0.5, marginal to the
 * power 0.6, and tables. Their latent coordinates are few, so that the tree as written goes through all of them. */
static const poe_expert *program(tree *t, poe_stream *stream, const poe_expert *hidden, double power) {
  enum { FREE = 6, LATENT = 5 };
  const poe_expert *part[8];
  const double exponent[8] = {power, -0.5, 0.6, 1.0, 1.0, 1.0, 1.0, 1.0}, beta[3] = {INFINITY, 2.0, 1.0};
  const size_t k[FREE] = {3, 3, 2, 2, 2, 2};
  for (size_t m = 0; m < 3; m++) {
    const poe_expert *own[8];
    size_t n = 0, latent[LATENT] = {3, 4, 5, 6, 7}, all = LATENT + 3, index[3] = {m, m + 1, m + 2};
    size_t kk[LATENT + 3] = {k[m], k[m + 1], k[m + 2], 3, 3, 3, 3, 3};
    own[n++] = tree_slice(t, hidden, all, latent);
    for (size_t f = 0; f < 6; f++) {
      double value[9];
      size_t a = f < 3 ? f : below(stream, 3), b = 3 + (f < 3 ? f + m % 2 : below(stream, LATENT));
      for (size_t i = 0; i < 9; i++) {
        value[i] = poe_stream_normal(stream);
      }
      own[n++] = tree_slice(t, tree_table(t, 2, (size_t[]){kk[a], kk[b]}, value), all, (size_t[]){a, b});
    }
    const poe_expert *joint = tree_product(t, all, n, own, (double[]){1, 1, 1, 1, 1, 1, 1});
    poe_expert *made = NULL;
    if (t->status == POE_OK) {
      t->status = poei_marginal_create(joint, LATENT, latent, beta[m], &made, &t->error);
      t->made[t->n++] = made;
    }
    part[m] = tree_slice(t, made, FREE, index);
  }
  for (size_t f = 0; f < 5; f++) {
    double value[9];
    for (size_t i = 0; i < 9; i++) {
      value[i] = poe_stream_normal(stream);
    }
    part[3 + f] = tree_slice(t, tree_table(t, 2, (size_t[]){k[f], k[f + 1]}, value), FREE, (size_t[]){f, f + 1});
  }
  return tree_product(t, FREE, 8, part, exponent);
}

/* log Z, marginals and the three best points of the program by elimination, rewritten or not, against all 144 values
 * of the tree as written. */
static void whole_programs_are_eliminated(void **state) {
  (void)state;
  poe_stream stream = poe_stream_open(poe_rng_seed(74));
  poe_expert *hidden = hmm(5);
  for (int instance = 0; instance < 8; instance++) {
    tree t = {0};
    const poe_expert *target = program(&t, &stream, hidden, 1.5);
    tree_check(&t);
    size_t states = states_of(target), index[6], found = 0;
    double value[144], p[14] = {0}, x[18], level[3], best[3] = {-INFINITY, -INFINITY, -INFINITY};
    assert_int_equal(states, 144);
    for (size_t s = 0; s < states; s++) {
      point(target, s, x, NULL);
      value[s] = tree_value(target, x);
      for (int k = 0; k < 3; k++) {
        if (value[s] > best[k]) {
          memmove(best + k + 1, best + k, (size_t)(2 - k) * sizeof *best);
          best[k] = value[s];
          break;
        }
      }
    }
    double log_z = poei_log_sum_exp(value, states, 1);
    for (size_t s = 0; s < states; s++) {
      point(target, s, x, index);
      for (size_t j = 0; j < 6; j++) {
        p[(j < 2 ? 3 * j : 2 + 2 * j) + index[j]] += exp(value[s] - log_z);
      }
    }
    poei_plan_options options = defaults();
    options.state_limit = 16;
    options.no_rewrite = instance % 2 == 1;
    poei_plan *plan = NULL;
    poei_marginals marginals;
    poe_error error = {0};
    check_ok(poei_plan_build(target, &options, &plan, &error), error);
    assert_int_equal(plan->method, POEI_METHOD_ELIMINATION);
    assert_true(plan->exact && plan->sampler != NULL);
    check_close(plan->log_z, log_z, 1e-9, 0.0);
    check_ok(poei_plan_marginals(plan, &options, &marginals, &error), error);
    for (size_t i = 0; i < 14; i++) {
      check_close(marginals.p[i], p[i], 1e-9, 0.0);
    }
    poei_marginals_free(&marginals);
    check_ok(poei_plan_best(plan, &options, 3, &found, x, level, &error), error);
    assert_int_equal(found, 3);
    for (size_t k = 0; k < 3; k++) {
      check_close(level[k], best[k], 1e-9, 0.0);
      check_close(tree_value(target, x + 6 * k), best[k], 1e-9, 0.0);
    }
    poei_plan_destroy(plan);
    tree_free(&t);
  }
  poe_expert_release(hidden);
}

/* x[n, d]: draws at the chains 0 .. n - 1. */
static void draw(const poe_expert *sampler, size_t n, uint64_t seed, double *x) {
  enum { TILE = 64 };
  size_t d = poe_expert_traits(sampler)->dim;
  poe_error error = {0};
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(sampler, POE_WANT_SAMPLE, TILE));
  assert_non_null(scratch);
  for (size_t begin = 0; begin < n; begin += TILE) {
    poe_rng at[TILE];
    size_t rows = n - begin < TILE ? n - begin : TILE;
    for (size_t i = 0; i < rows; i++) {
      at[i] = poe_rng_seed(seed);
      at[i].chain = (uint32_t)(begin + i);
    }
    check_ok(poe_expert_sample(sampler, (poe_rows_out){rows, d, d, x + begin * d}, at, scratch, &error), error);
  }
  poe_scratch_destroy(scratch);
}

/* Draws of such programs against all 144 values of the tree as written, by chi-square; cells that expect fewer than
 * five are one. False alarms: 1e-6 for each of 8. Against the same program without its profile they must not agree. */
static void draws_of_programs(void **state) {
  (void)state;
  enum { FREE = 6, POINTS = 144, DRAWS = 20000 };
  static double x[DRAWS * FREE];
  poe_stream stream = poe_stream_open(poe_rng_seed(78));
  poe_expert *hidden = hmm(5);
  for (int instance = 0; instance < 8; instance++) {
    tree t = {0};
    poe_stream again = stream;
    const poe_expert *target = program(&t, &stream, hidden, 1.5);
    const poe_expert *targets[2] = {target, program(&t, &again, hidden, 0.0)};
    tree_check(&t);
    poei_plan_options options = defaults();
    options.state_limit = 16;
    options.no_rewrite = instance % 2 == 1;
    poei_plan *plan = NULL;
    poe_error error = {0};
    check_ok(poei_plan_build(target, &options, &plan, &error), error);
    assert_int_equal(plan->method, POEI_METHOD_ELIMINATION);
    draw(plan->sampler, DRAWS, (uint64_t)instance, x);
    for (size_t wrong = 0; wrong < 2; wrong++) {
      double value[POINTS], row[FREE], count[POINTS] = {0}, chi = 0.0, rare = 0.0, rare_expected = 0.0, cells = 0.0;
      size_t index[FREE];
      for (size_t s = 0; s < POINTS; s++) {
        point(target, s, row, index);
        value[s] = tree_value(targets[wrong], row);
      }
      double log_z = poei_log_sum_exp(value, POINTS, 1);
      for (size_t i = 0; i < DRAWS; i++) {
        size_t s = 0;
        for (size_t j = 0; j < FREE; j++) {
          s = s * (j < 2 ? 3 : 2) + (size_t)x[i * FREE + j];
        }
        count[s] += 1.0;
      }
      for (size_t s = 0; s < POINTS; s++) {
        double expected = DRAWS * exp(value[s] - log_z);
        if (expected < 5.0) {
          rare += count[s];
          rare_expected += expected;
        } else {
          chi += (count[s] - expected) * (count[s] - expected) / expected;
          cells += 1.0;
        }
      }
      if (rare_expected > 0.0) {
        chi += (rare - rare_expected) * (rare - rare_expected) / rare_expected;
        cells += 1.0;
      }
      assert_int_equal(poei_chi_square_tail(chi, cells - 1.0) > 1e-6, wrong == 0);
    }
    poei_plan_destroy(plan);
    tree_free(&t);
  }
  poe_expert_release(hidden);
}

/* ---- graphs ---- */

/* What is left of a graph for each value of the variables of phase 2 (the others 0): those of phase 0 are summed, then
 * those of phase 1 by (1/beta) log sum exp(beta .); value[states of all] is used up. */
static void reduce_truth(const truth *all, const unsigned char *phase, double beta) {
  for (unsigned char p = 0; p < 2; p++) {
    double b = p == 0 ? 1.0 : beta;
    size_t stride = all->states;
    for (size_t v = 0; v < all->n; v++) {
      size_t k = all->cardinality[v];
      stride /= k;
      for (size_t s = 0; s < all->states && phase[v] == p; s++) {
        double value[8], best = -INFINITY;
        if (s / stride % k != 0) {
          continue;
        }
        for (size_t a = 0; a < k; a++) {
          value[a] = all->log_p[s + a * stride] * (isinf(b) ? 1.0 : b);
          best = fmax(best, value[a]);
        }
        all->log_p[s] = isinf(b) ? best : poei_log_sum_exp(value, k, 1) / b;
      }
    }
  }
}

/* Random graphs of up to 20 variables, a third of them staying. */
static void graphs_are_reduced(void **state) {
  (void)state;
  poe_stream stream = poe_stream_open(poe_rng_seed(77));
  for (uint64_t instance = 0; instance < 16; instance++) {
    size_t n = instance == 0 ? 20 : 6 + below(&stream, 9);
    shape s = {.variables = n,
               .most_values = n > 12 ? 2 : 3,
               .factors = n + 4,
               .most_scope = 3,
               .scale = 1.0,
               .zeros = 0.05,
               .all = n > 12};
    double beta = (double[]){0.3, 1.0, 3.0, INFINITY}[instance % 4];
    poei_field *graph = random_graph(&s, 700 + instance), *left = NULL;
    unsigned char phase[MOST];
    poe_error error = {0};
    for (size_t v = 0; v < n; v++) {
      phase[v] = (unsigned char)below(&stream, 3);
    }
    truth all = enumerate(graph);
    check_ok(poei_field_reduce(graph, phase, beta, (size_t)1 << 30, &left, &error), error);
    reduce_truth(&all, phase, beta);
    for (size_t k = 0; k < all.states; k++) {
      size_t x[MOST];
      bool kept = true;
      unpack(&all, k, x);
      for (size_t v = 0; v < n; v++) {
        kept = kept && (phase[v] == 2 || x[v] == 0);
      }
      if (kept) {
        check_close(poei_field_log_value(left, x), all.log_p[k], 1e-9, 0.0);
      }
    }
    forget(&all);
    poei_field_destroy(left);
    poei_field_destroy(graph);
  }
}

/* The best observations of a profiled chain: max_x max_s in any order, though sum_x max_s has no narrow one. */
static void the_best_of_a_profile(void **state) {
  (void)state;
  enum { LENGTH = 40 };
  poe_stream stream = poe_stream_open(poe_rng_seed(75));
  tree t = {0};
  double link[9], emission[6], best[3] = {0}, next[3];
  size_t links[2 * (LENGTH - 1)], emissions[2 * LENGTH], latent[LENGTH], found = 0;
  for (size_t i = 0; i < 9; i++) {
    link[i] = poe_stream_normal(&stream);
  }
  for (size_t i = 0; i < 6; i++) {
    emission[i] = 0.1 * poe_stream_normal(&stream); /* so that few of the best pairs have the same x */
  }
  for (size_t i = 0; i < LENGTH; i++) {
    latent[i] = i;
    emissions[2 * i] = i;
    emissions[2 * i + 1] = LENGTH + i;
    if (i + 1 < LENGTH) {
      links[2 * i] = i;
      links[2 * i + 1] = i + 1;
    }
  }
  for (size_t i = 0; i < LENGTH; i++) {
    for (size_t s = 0; s < 3; s++) {
      next[s] = i == 0 ? 0.0 : -INFINITY;
      for (size_t r = 0; r < 3 && i > 0; r++) {
        next[s] = fmax(next[s], best[r] + link[3 * r + s]);
      }
      next[s] += fmax(emission[2 * s], emission[2 * s + 1]);
    }
    memcpy(best, next, sizeof best);
  }
  const poe_expert *part[2] = {
      tree_plate(&t, tree_table(&t, 2, (size_t[]){3, 3}, link), LENGTH - 1, 2 * LENGTH, links),
      tree_plate(&t, tree_table(&t, 2, (size_t[]){3, 2}, emission), LENGTH, 2 * LENGTH, emissions)};
  const poe_expert *joint = tree_product(&t, 2 * LENGTH, 2, part, (double[]){1.0, 1.0});
  tree_check(&t);
  poe_expert *profile = NULL;
  poe_error error = {0};
  double x[4 * LENGTH], level[4];
  check_ok(poei_marginal_create(joint, LENGTH, latent, INFINITY, &profile, &error), error);
  poei_plan *plan = plan_of(profile);
  check_ok(poei_plan_best(plan, NULL, 4, &found, x, level, &error), error);
  assert_int_equal(found, 4);
  check_close(level[0], fmax(best[0], fmax(best[1], best[2])), 1e-10, 0.0);
  for (size_t k = 0; k < 4; k++) { /* points, not pairs of a point and a path */
    check_close(level[k], tree_value(plan->expert, x + k * LENGTH), 1e-10, 0.0);
    assert_true(k == 0 || level[k] <= level[k - 1]);
    for (size_t i = 0; i < k; i++) {
      assert_true(memcmp(x + i * LENGTH, x + k * LENGTH, LENGTH * sizeof *x) != 0);
    }
  }
  poei_plan_destroy(plan);
  poei_plan_options options = defaults();
  poei_discrete *graph = NULL;
  check_fails(poei_discrete_open(profile, &options, &graph, &error), POE_E_CAPABILITY, error, "treewidth 40");
  poe_expert_release(profile);
  tree_free(&t);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  poe_stream stream = poe_stream_open(poe_rng_seed(76));
  poe_expert *hidden = hmm(5);
  tree t = {0};
  const poe_expert *whole = program(&t, &stream, hidden, 1.5);
  tree_check(&t);
  poei_plan_options options = defaults();
  for (int best = 0; best < 2; best++) {
    poe_status status = POE_E_MEMORY;
    for (uint64_t n = 1; status == POE_E_MEMORY; n++) {
      poei_discrete *graph = NULL;
      poe_error error = {0};
      poei_alloc_fail_at(n);
      status = best ? poei_discrete_open_best(whole, &options, &graph, &error)
                    : poei_discrete_open(whole, &options, &graph, &error);
      poei_alloc_fail_at(0);
      assert_true(status == POE_OK || status == POE_E_MEMORY);
      poei_discrete_destroy(graph);
    }
  }
  poe_expert_release(hidden);
  tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(profiles_of_chains_are_viterbi),
      cmocka_unit_test(whole_programs_are_eliminated),
      cmocka_unit_test(draws_of_programs),
      cmocka_unit_test(graphs_are_reduced),
      cmocka_unit_test(the_best_of_a_profile),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
