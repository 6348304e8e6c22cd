/* Mixed targets with their discrete coordinates summed out by elimination: the continuous marginal, the discrete
 * coordinates given the continuous ones, and the planner's route. What is true is found by adding up all joint values
 * of the target as written, by a chain's recursion written here, and by Simpson's rule. */
#include <math.h>
#include <string.h>

#include "compose/exact/latent.h"
#include "compose/exact/summed.h"
#include "compose/plan.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static const double ones[64] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/* ---- the continuous marginal ---- */

enum { STEPS = 5, VALUES = 3, DIM = 2 * STEPS, JOINT = 243 };

/* s[0..4] a chain of three values each, y[0..4] at coordinates 5..9 with y[t] normal given s[t]; y[2] again given s[0]
 * to the power 1/2, a ring over y[0] and y[1]. `plates`: as plates, else one by one. */
static const poe_expert *chain_target(tree *t, poe_stream *stream, bool plates) {
  double pair[9], first[3];
  for (size_t i = 0; i < 9; i++) {
    pair[i] = i == 5 ? -INFINITY : poe_stream_normal(stream);
  }
  for (size_t i = 0; i < 3; i++) {
    first[i] = poe_stream_normal(stream);
  }
  double a = 1.0 + poe_stream_uniform(stream), b = poe_stream_normal(stream), c = -0.7;
  const poe_expert *link = tree_table(t, 2, (size_t[]){3, 3}, pair), *own = tree_table(t, 1, (size_t[]){3}, first);
  const poe_expert *emit = tree_linear(t, 1, 1, &a, &b, 0.9), *extra = tree_linear(t, 1, 1, &c, &b, 1.3);
  const poe_expert *part[16];
  size_t n = 0, links[2 * (STEPS - 1)], emissions[2 * STEPS];
  for (size_t i = 0; i < STEPS; i++) {
    if (i + 1 < STEPS) {
      links[2 * i] = i;
      links[2 * i + 1] = i + 1;
    }
    emissions[2 * i] = STEPS + i;
    emissions[2 * i + 1] = i;
  }
  if (plates) {
    part[n++] = tree_plate(t, link, STEPS - 1, DIM, links);
    part[n++] = tree_plate(t, emit, STEPS, DIM, emissions);
  }
  for (size_t i = 0; i < STEPS && !plates; i++) {
    if (i + 1 < STEPS) {
      part[n++] = tree_slice(t, link, DIM, links + 2 * i);
    }
    part[n++] = tree_slice(t, emit, DIM, emissions + 2 * i);
  }
  part[n++] = tree_slice(t, own, DIM, (size_t[]){3});
  part[n++] = tree_slice(t, tree_ring(t, 1.0, 0.8), DIM, (size_t[]){5, 6});
  part[n++] = tree_power(t, tree_slice(t, extra, DIM, (size_t[]){7, 0}), 0.5);
  return tree_product(t, DIM, n, part, ones);
}

static poei_plan_options defaults(void) {
  poei_plan_options options;
  poei_plan_options_default(&options);
  return options;
}

/* value[JOINT] of the target at all values of s, y[STEPS] given. */
static double all_values(const poe_expert *target, const double *y, double *value) {
  double x[DIM];
  memcpy(x + STEPS, y, STEPS * sizeof *y);
  for (size_t s = 0; s < JOINT; s++) {
    size_t left = s;
    for (size_t k = STEPS; k-- > 0; left /= VALUES) {
      x[k] = (double)(left % VALUES);
    }
    value[s] = tree_value(target, x);
  }
  return poei_log_sum_exp(value, JOINT, 1);
}

/* log p and its gradient at y[STEPS]. */
static double marginal_at(const poe_expert *marginal, const double *y, double *grad) {
  double logp = 0.0, one = 1.0;
  poe_error error = {0};
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(marginal, POE_WANT_GRAD, 1));
  memset(grad, 0, STEPS * sizeof *grad);
  check_ok(poe_expert_eval_add(marginal, (poe_rows){1, STEPS, STEPS, y}, (poe_weights){&one, 0},
                               (poe_accum){&logp, grad, STEPS}, scratch, &error),
           error);
  poe_scratch_destroy(scratch);
  return logp;
}

/* Values against all 243 joint values, gradients against differences of those, conditional probabilities of every s[t];
 * a target with one factor less is told apart. */
static void marginals_are_sums(void **state) {
  (void)state;
  poe_stream stream = poe_stream_open(poe_rng_seed(21));
  for (int instance = 0; instance < 6; instance++) {
    tree t = {0};
    poe_expert *summed = NULL, *marginal = NULL;
    poe_error error = {0};
    poei_plan_options options = defaults();
    double value[JOINT], y[STEPS], grad[STEPS], unused[STEPS], p[STEPS * VALUES], row[DIM];
    const poe_expert *target = chain_target(&t, &stream, instance % 2 == 0);
    tree_check(&t);
    check_ok(poei_summed_create(target, &options, &summed, &marginal, &error), error);
    assert_true(poei_is_summed(summed));
    assert_int_equal(poei_summed_values(summed), (STEPS + 1) * VALUES);
    assert_int_equal(poe_expert_traits(marginal)->dim, STEPS);
    poe_scratch *scratch = poe_scratch_create(poei_summed_scratch(summed));
    for (int point = 0; point < 4; point++) {
      for (size_t j = 0; j < STEPS; j++) {
        y[j] = 1.5 * poe_stream_normal(&stream) + 1.0;
      }
      double total = all_values(target, y, value), h = 1e-5;
      check_close(marginal_at(marginal, y, grad), total, 1e-11, 1e-11);
      for (size_t j = 0; j < STEPS; j++) {
        double keep = y[j], up, down, other[JOINT];
        y[j] = keep + h;
        up = all_values(target, y, other);
        y[j] = keep - h;
        down = all_values(target, y, other);
        y[j] = keep;
        check_close(grad[j], (up - down) / (2.0 * h), 1e-6, 1e-6);
      }
      memcpy(row + STEPS, y, sizeof y);
      check_ok(poei_summed_marginals(summed, 1, row, p, scratch, &error), error);
      for (size_t k = 0; k < STEPS; k++) {
        double expected[VALUES] = {0};
        for (size_t s = 0; s < JOINT; s++) {
          size_t digit = (s / (size_t)pow(VALUES, (double)(STEPS - 1 - k))) % VALUES;
          expected[digit] += exp(value[s] - total);
        }
        for (size_t v = 0; v < VALUES; v++) {
          check_close(p[k * VALUES + v], expected[v], 1e-12, 0.0);
        }
      }
    }
    const poe_expert *less = tree_over(&t, target, tree_slice(&t, tree_normal(&t, 0.0, 1.0), DIM, (size_t[]){9}));
    tree_check(&t);
    assert_true(fabs(marginal_at(marginal, y, unused) - all_values(less, y, value)) > 1e-3);
    poe_scratch_destroy(scratch);
    poe_expert_release(summed);
    poe_expert_release(marginal);
    tree_free(&t);
  }
}

/* Many rows at once, with weights, are the rows one by one. */
static void rows_are_independent(void **state) {
  (void)state;
  enum { ROWS = 150 };
  tree t = {0};
  poe_expert *summed = NULL, *marginal = NULL;
  poe_error error = {0};
  poei_plan_options options = defaults();
  poe_stream stream = poe_stream_open(poe_rng_seed(22));
  double y[ROWS * STEPS], weight[ROWS], logp[ROWS], grad[ROWS * STEPS], own[STEPS];
  const poe_expert *target = chain_target(&t, &stream, true);
  tree_check(&t);
  check_ok(poei_summed_create(target, &options, &summed, &marginal, &error), error);
  for (size_t i = 0; i < ROWS; i++) {
    weight[i] = i % 7 == 0 ? 0.0 : 0.5 + poe_stream_uniform(&stream);
    logp[i] = (double)i;
    for (size_t j = 0; j < STEPS; j++) {
      y[i * STEPS + j] = 2.0 * poe_stream_normal(&stream);
      grad[i * STEPS + j] = (double)j;
    }
  }
  poe_scratch *scratch = poe_scratch_create(poe_expert_scratch(marginal, POE_WANT_GRAD, ROWS));
  check_ok(poe_expert_eval_add(marginal, (poe_rows){ROWS, STEPS, STEPS, y}, (poe_weights){weight, 1},
                               (poe_accum){logp, grad, STEPS}, scratch, &error),
           error);
  for (size_t i = 0; i < ROWS; i++) {
    double value = marginal_at(marginal, y + i * STEPS, own);
    check_close(logp[i], (double)i + weight[i] * value, 1e-11, 1e-12);
    for (size_t j = 0; j < STEPS; j++) {
      check_close(grad[i * STEPS + j], (double)j + weight[i] * own[j], 1e-11, 1e-12);
    }
  }
  poe_scratch_destroy(scratch);
  poe_expert_release(summed);
  poe_expert_release(marginal);
  tree_free(&t);
}

/* All 243 joint values of s given y among 20000 draws, by chi-square at 1e-5 for each of 3 targets; the same at
 * probabilities of another y must fail. */
static void discrete_coordinates_are_drawn(void **state) {
  (void)state;
  enum { DRAWS = 20000 };
  poe_stream stream = poe_stream_open(poe_rng_seed(23));
  for (uint32_t instance = 0; instance < 3; instance++) {
    tree t = {0};
    poe_expert *summed = NULL, *marginal = NULL;
    poe_error error = {0};
    poei_plan_options options = defaults();
    double y[STEPS], value[JOINT], count[JOINT] = {0};
    const poe_expert *target = chain_target(&t, &stream, true);
    tree_check(&t);
    check_ok(poei_summed_create(target, &options, &summed, &marginal, &error), error);
    for (size_t j = 0; j < STEPS; j++) {
      y[j] = poe_stream_normal(&stream) + 1.0;
    }
    double *x = poet_doubles((size_t)DRAWS * DIM);
    poe_rng *at = poei_alloc(DRAWS, sizeof *at);
    assert_non_null(at);
    for (uint32_t i = 0; i < DRAWS; i++) {
      memcpy(x + i * DIM + STEPS, y, sizeof y);
      at[i] = poe_rng_seed(5 + instance);
      at[i].step = i;
    }
    poe_scratch *scratch = poe_scratch_create(poei_summed_scratch(summed));
    check_ok(poei_summed_draw(summed, DRAWS, x, at, scratch, &error), error);
    for (size_t i = 0; i < DRAWS; i++) {
      size_t s = 0;
      for (size_t k = 0; k < STEPS; k++) {
        s = s * VALUES + (size_t)x[i * DIM + k];
      }
      count[s]++;
    }
    for (int wrong = 0; wrong < 2; wrong++) {
      y[1] += wrong == 0 ? 0.0 : 0.5;
      double total = all_values(target, y, value), chi = 0.0, rest = 0.0, rest_count = 0.0, cells = 0.0;
      for (size_t s = 0; s < JOINT; s++) {
        double mean = DRAWS * exp(value[s] - total);
        if (mean < 5.0) {
          rest += mean;
          rest_count += count[s];
        } else {
          chi += (count[s] - mean) * (count[s] - mean) / mean;
          cells++;
        }
      }
      chi += rest > 0.0 ? (rest_count - rest) * (rest_count - rest) / rest : 0.0;
      assert_int_equal(poei_chi_square_tail(chi, cells) > 1e-5, wrong == 0);
    }
    poei_free(x);
    poei_free(at);
    poe_scratch_destroy(scratch);
    poe_expert_release(summed);
    poe_expert_release(marginal);
    tree_free(&t);
  }
}

/* ---- the route ---- */

enum { LONG = 40 };

/* A chain of 40 variables of three values, of which the one in the middle is joined to x: an infeasible number of joint
 * values, and work at each point for one variable. */
static const poe_expert *long_target(tree *t, const double *pair, const double *extra) {
  size_t links[2 * (LONG - 1)];
  double slope = 1.2, shift = -0.4;
  for (size_t i = 0; i + 1 < LONG; i++) {
    links[2 * i] = i;
    links[2 * i + 1] = i + 1;
  }
  const poe_expert *part[4] = {
      tree_plate(t, tree_table(t, 2, (size_t[]){3, 3}, pair), LONG - 1, LONG + 1, links),
      tree_slice(t, tree_table(t, 1, (size_t[]){3}, extra), LONG + 1, (size_t[]){LONG - 1}),
      tree_slice(t, tree_power(t, tree_linear(t, 1, 1, &slope, &shift, 0.7), 0.8), LONG + 1,
                 (size_t[]){LONG, LONG / 2}),
      tree_at(t, tree_student(t, 4.0, 0.0, 1.5), LONG + 1, LONG),
  };
  return tree_product(t, LONG + 1, 4, part, ones);
}

/* forward[3] = log sum over what is left of variable LONG/2, and what is right of it, written as a recursion. */
static void middle_messages(const double *pair, const double *extra, double *message) {
  double left[3] = {0}, right[3], next[3];
  memcpy(right, extra, sizeof right);
  for (size_t i = 0; i < LONG / 2; i++) {
    for (size_t b = 0; b < 3; b++) {
      double term[3] = {left[0] + pair[b], left[1] + pair[3 + b], left[2] + pair[6 + b]};
      next[b] = poei_log_sum_exp(term, 3, 1);
    }
    memcpy(left, next, sizeof left);
  }
  for (size_t i = LONG - 1; i > LONG / 2; i--) {
    for (size_t a = 0; a < 3; a++) {
      double term[3] = {right[0] + pair[3 * a], right[1] + pair[3 * a + 1], right[2] + pair[3 * a + 2]};
      next[a] = poei_log_sum_exp(term, 3, 1);
    }
    memcpy(right, next, sizeof right);
  }
  for (size_t a = 0; a < 3; a++) {
    message[a] = left[a] + right[a];
  }
}

static void an_interface_of_a_long_chain(void **state) {
  (void)state;
  poe_stream stream = poe_stream_open(poe_rng_seed(31));
  for (int instance = 0; instance < 3; instance++) {
    tree t = {0};
    double pair[9], extra[3], message[3];
    for (size_t i = 0; i < 9; i++) {
      pair[i] = poe_stream_normal(&stream);
    }
    for (size_t i = 0; i < 3; i++) {
      extra[i] = poe_stream_normal(&stream);
    }
    const poe_expert *target = long_target(&t, pair, extra);
    tree_check(&t);
    poei_mixed mixed;
    poe_error error = {0}, refusal = {0};
    poei_plan_options options = defaults();
    check_ok(poei_mixed_find(target, &options, &mixed, &refusal, &error), error);
    assert_true(poei_is_summed(mixed.summed));
    assert_int_equal((int)poei_summed_work(mixed.summed), 3); /* only the middle one is gone through at a point */
    middle_messages(pair, extra, message);
    double sum = 0.0, top = message[0], h = 0.01;
    for (int i = 0; i <= 40000; i++) { /* Simpson on [-200, 200]: the tail beyond falls like x^-5 e^(-x^2) */
      double x = -200.0 + h * i, value = 0.0, z = x / 1.5;
      double student = tgamma(2.5) / (tgamma(2.0) * sqrt(4.0 * POEI_PI) * 1.5) * pow(1.0 + z * z / 4.0, -2.5);
      for (size_t a = 0; a < 3; a++) {
        double off = (x - 1.2 * (double)a + 0.4) / 0.7;
        double log_normal = -0.5 * off * off - log(0.7) - 0.5 * POEI_LOG_2PI;
        value += exp(message[a] - top + 0.8 * log_normal) * student;
      }
      sum += value * (i == 0 || i == 40000 ? 1.0 : i % 2 == 1 ? 4.0 : 2.0) * h / 3.0;
      if (i % 997 == 0 && fabs(x) < 20.0) {
        check_close(tree_value(mixed.marginal, &x), log(value) + top, 1e-10, 1e-11);
      }
    }
    poei_plan *plan = NULL;
    check_ok(poei_plan_build(target, NULL, &plan, &error), error);
    assert_true(plan->has_log_z);
    check_close(plan->log_z, log(sum) + top, 1e-7 + plan->log_z_error, 0.0);
    poei_plan_destroy(plan);
    poei_mixed_free(&mixed);
    tree_free(&t);
  }
}

/* y given: all discrete, and exact. */
static void given_the_continuous_all_is_exact(void **state) {
  (void)state;
  poe_stream stream = poe_stream_open(poe_rng_seed(32));
  for (int instance = 0; instance < 4; instance++) {
    tree t = {0};
    double y[STEPS], value[JOINT];
    const poe_expert *target = chain_target(&t, &stream, instance % 2 == 0);
    for (size_t j = 0; j < STEPS; j++) {
      y[j] = poe_stream_normal(&stream);
    }
    const poe_expert *given = tree_given(&t, target, STEPS, (size_t[]){5, 6, 7, 8, 9}, y);
    tree_check(&t);
    poei_plan *plan = NULL;
    poe_error error = {0};
    check_ok(poei_plan_build(given, NULL, &plan, &error), error);
    assert_true(plan->exact);
    check_close(plan->log_z, all_values(target, y, value), 1e-11, 1e-11);
    poei_plan_destroy(plan);
    tree_free(&t);
  }
}

/* Some of y given: values go into the sets of plates, and what is left is summed as before. */
static void given_some_of_the_continuous(void **state) {
  (void)state;
  poe_stream stream = poe_stream_open(poe_rng_seed(34));
  for (int instance = 0; instance < 4; instance++) {
    tree t = {0};
    poe_expert *summed = NULL, *marginal = NULL;
    poe_error error = {0};
    poei_plan_options options = defaults();
    double y[STEPS], value[JOINT];
    const poe_expert *target = chain_target(&t, &stream, instance % 2 == 0);
    for (size_t j = 0; j < STEPS; j++) {
      y[j] = 0.5 + poe_stream_normal(&stream);
    }
    const poe_expert *given = tree_given(&t, target, 2, (size_t[]){5, 8}, (double[]){y[0], y[3]});
    tree_check(&t);
    check_ok(poei_summed_create(given, &options, &summed, &marginal, &error), error);
    check_close(tree_value(marginal, (double[]){y[1], y[2], y[4]}), all_values(target, y, value), 1e-11, 1e-11);
    poe_expert_release(summed);
    poe_expert_release(marginal);
    tree_free(&t);
  }
}

/* What cannot be done says why. */
static void refusals_say_why(void **state) {
  (void)state;
  enum { BITS = 16 };
  tree t = {0};
  double a[BITS], shift = 0.0;
  size_t index[BITS + 1];
  const poe_expert *part[BITS + 1];
  index[0] = BITS;
  for (size_t j = 0; j < BITS; j++) {
    a[j] = 1.0;
    index[j + 1] = j;
    part[j] = tree_at(&t, tree_bernoulli(&t, 0.3), BITS + 1, j);
  }
  const poe_expert *wide = tree_slice(&t, tree_linear(&t, 1, BITS, a, &shift, 1.0), BITS + 1, index);
  part[BITS] = wide;
  const poe_expert *target = tree_product(&t, BITS + 1, BITS + 1, part, ones);
  tree_check(&t);
  poei_plan_options options = defaults();
  poe_expert *summed = NULL, *marginal = NULL;
  poe_error error = {0};
  check_fails(poei_summed_create(target, &options, &summed, &marginal, &error), POE_E_CAPABILITY, error,
              "more than 4096 joint values beside continuous ones");
  const poe_expert *chain = NULL;
  poe_stream stream = poe_stream_open(poe_rng_seed(33));
  chain = chain_target(&t, &stream, false);
  double slope = 0.1;
  const poe_expert *divided =
      tree_over(&t, chain, tree_slice(&t, tree_linear(&t, 1, 1, &slope, &shift, 9.0), DIM, (size_t[]){STEPS, 1}));
  tree_check(&t);
  check_fails(poei_summed_create(divided, &options, &summed, &marginal, &error), POE_E_CAPABILITY, error,
              "is a divisor");
  tree_free(&t);
}

/* ---- memory ---- */

static void every_allocation_may_fail(void **state) {
  (void)state;
  tree t = {0};
  poe_stream stream = poe_stream_open(poe_rng_seed(41));
  const poe_expert *target = chain_target(&t, &stream, true);
  tree_check(&t);
  poei_plan_options options = defaults();
  poe_error error = {0};
  poe_expert *summed = NULL, *marginal = NULL;
  uint64_t before = poei_alloc_count();
  check_ok(poei_summed_create(target, &options, &summed, &marginal, &error), error);
  uint64_t all = poei_alloc_count() - before;
  poe_expert_release(summed);
  poe_expert_release(marginal);
  assert_true(all > 20);
  for (uint64_t n = 1; n <= all; n++) {
    summed = marginal = NULL;
    poei_alloc_fail_at(n);
    poe_status status = poei_summed_create(target, &options, &summed, &marginal, &error);
    poei_alloc_fail_at(0);
    assert_int_equal(status, POE_E_MEMORY);
    assert_null(summed);
    assert_null(marginal);
    poei_mixed mixed;
    poe_error refusal = {0};
    poei_alloc_fail_at(n);
    status = poei_mixed_find(target, &options, &mixed, &refusal, &error);
    poei_alloc_fail_at(0);
    assert_true(status == POE_E_MEMORY || status == POE_OK);
    poei_mixed_free(&mixed);
  }
  tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(marginals_are_sums),
      cmocka_unit_test(rows_are_independent),
      cmocka_unit_test(discrete_coordinates_are_drawn),
      cmocka_unit_test(an_interface_of_a_long_chain),
      cmocka_unit_test(given_the_continuous_all_is_exact),
      cmocka_unit_test(given_some_of_the_continuous),
      cmocka_unit_test(refusals_say_why),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
