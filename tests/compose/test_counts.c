/* Counts without an upper end: log Z against plain sums and closed forms, draws against the density, with rewriting and
 * without; and when there is no proof that what is left out is small. */
#include <math.h>
#include <stdlib.h>

#include "compose/exact/numeric.h"
#include "compose/nodes/node.h"
#include "compose/plan.h"
#include "core/numerics.h"
#include "experts/list.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static const poe_expert *poisson_of(tree *t, double rate) {
  poet_args args;
  poe_expert *made = NULL;
  poet_args_start(&args, "poisson");
  poet_args_discrete_variable(&args, "k", 1, 1);
  args.support[0][0].high = INFINITY;
  poet_args_scalar(&args, "rate", &rate);
  if (t->status == POE_OK) {
    t->status = poe_expert_create(&poei_poisson_ops, &args.args, &made, &t->error);
  }
  if (t->status != POE_OK) {
    return NULL;
  }
  assert_true(t->n < TREE_MAX);
  t->made[t->n++] = made;
  return made;
}

static const poe_expert *two(tree *t, const poe_expert *a, const poe_expert *b, double p, double q) {
  return tree_product(t, 1, 2, (const poe_expert *const[]){a, b}, (double[]){p, q});
}

/* log sum_k exp(log_p), k = 0 .. 2000, by long doubles. */
static double plain_sum(double (*log_p)(double k)) {
  long double sum = 0.0L;
  double top = -INFINITY;
  for (int k = 0; k <= 2000; k++) {
    top = fmax(top, log_p(k));
  }
  for (int k = 0; k <= 2000; k++) {
    sum += expl((long double)log_p(k) - (long double)top);
  }
  return top + (double)logl(sum);
}

static double poisson_log_p(double rate, double k) {
  return k * log(rate) - rate - lgamma(k + 1.0);
}

static double squared(double k) {
  return 2.0 * poisson_log_p(7.5, k);
}

static double odd_powers(double k) {
  return 0.5 * poisson_log_p(30.0, k) + 1.25 * poisson_log_p(12.0, k) - 0.75 * poisson_log_p(3.0, k);
}

static double two_kinds(double k) {
  return log(0.3 * exp(poisson_log_p(2.0, k)) + 0.7 * exp(poisson_log_p(9.0, k))) + poisson_log_p(4.0, k);
}

/* log Z and draws by the plan, with rewriting and without. */
static void counts_to(tree *t, const poe_expert *target, double log_z, bool rewritten_only) {
  tree_check(t);
  for (int no_rewrite = 0; no_rewrite <= (rewritten_only ? 0 : 1); no_rewrite++) {
    poei_plan_options options;
    poei_plan_options_default(&options);
    options.no_rewrite = no_rewrite == 1;
    poei_plan *plan = NULL;
    poe_error error = {0};
    check_ok(poei_plan_build(target, &options, &plan, &error), error);
    assert_true(plan->exact && plan->has_log_z && plan->sampler != NULL && plan->log_z_error == 0.0);
    check_close(plan->log_z, log_z, 1e-12, 1e-12);
    /* Draws by chi-square over the values 0 .. 39: three seeds, false alarms 1e-4 each. */
    enum { DRAWS = 20000, VALUES = 40 };
    double *x = poet_doubles(DRAWS);
    for (uint64_t seed = 1; seed <= 3; seed++) {
      double count[VALUES + 1] = {0.0}, statistic = 0.0, df = -1.0, rest = DRAWS, seen = DRAWS;
      assert_int_equal(poet_draw(plan->sampler, seed, DRAWS, 1, x), POE_OK);
      for (size_t i = 0; i < DRAWS; i++) {
        assert_true(x[i] >= 0.0 && x[i] == floor(x[i]));
        count[x[i] < VALUES ? (size_t)x[i] : VALUES] += 1.0;
      }
      for (size_t k = 0; k < VALUES; k++) {
        double at = (double)k, expected = DRAWS * exp(tree_value(target, &at) - log_z);
        if (expected >= 5.0) {
          statistic += (count[k] - expected) * (count[k] - expected) / expected;
          rest -= expected;
          seen -= count[k];
          df += 1.0;
        }
      }
      if (rest >= 5.0) {
        statistic += (seen - rest) * (seen - rest) / rest;
        df += 1.0;
      }
      assert_true(df < 1.0 || poei_chi_square_tail(statistic, df) > 1e-4);
    }
    free(x);
    poei_plan_destroy(plan);
  }
}

static void counts(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *a = poisson_of(&t, 7.5), *b = poisson_of(&t, 2.5);
  counts_to(&t, tree_power(&t, a, 2.0), plain_sum(squared), false);
  const poe_expert *odd[3] = {poisson_of(&t, 30.0), poisson_of(&t, 12.0), poisson_of(&t, 3.0)};
  counts_to(&t, tree_product(&t, 1, 3, odd, (double[]){0.5, 1.25, -0.75}), plain_sum(odd_powers), false);
  /* poisson / poisson is geometric where the second rate is larger: (7.5/10)^k e^2.5 */
  counts_to(&t, two(&t, a, poisson_of(&t, 10.0), 1.0, -1.0), 2.5 - log(0.25), false);
  /* poisson^2 / poisson is Poisson of rate 7.5^2 / 2.5 */
  counts_to(&t, two(&t, a, b, 2.0, -1.0), -15.0 + 2.5 + 22.5, false);
  /* Steps of a mixture lie between those of its components. */
  const poe_expert *mixed =
      tree_mixture(&t, 2, (const poe_expert *const[]){poisson_of(&t, 2.0), poisson_of(&t, 9.0)}, (double[]){0.3, 0.7});
  counts_to(&t, two(&t, mixed, poisson_of(&t, 4.0), 1.0, 1.0), plain_sum(two_kinds), false);
  /* A large rate: the states before the mode count, too. */
  counts_to(&t, two(&t, poisson_of(&t, 2e4), poisson_of(&t, 5e3), 1.5, -0.5),
            -1.5 * 2e4 + 0.5 * 5e3 + exp(1.5 * log(2e4) - 0.5 * log(5e3)), true);
  tree_free(&t);
}

/* A density over counts about which nothing is known: no proof, no answer. */
static size_t no_scratch(const void *self, unsigned want, size_t n) {
  (void)self;
  (void)want;
  (void)n;
  return 0;
}

static void nothing(void *self) {
  (void)self;
}

static void opaque_traits(const void *self, poe_traits *traits) {
  static const poe_support counts_only = {POE_DISCRETE, 0.0, INFINITY, false, true};
  (void)self;
  *traits = (poe_traits){.dim = 1, .support = &counts_only, .capabilities = POE_CAN_EVAL};
}

static poe_status opaque_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                  poe_scratch *scratch, poe_error *error) {
  (void)self;
  (void)scratch;
  (void)error;
  for (size_t i = 0; i < rows.n; i++) {
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], -rows.x[i * rows.ld]);
  }
  return POE_OK;
}

static void no_proof_no_answer(void **state) {
  (void)state;
  static const poe_param no_params[] = {{0}};
  static const poe_expert_ops ops = {.struct_size = sizeof(poe_expert_ops),
                                     .kind = "opaque",
                                     .doc = "known by its values",
                                     .params = no_params,
                                     .destroy = nothing,
                                     .traits = opaque_traits,
                                     .scratch = no_scratch,
                                     .eval_add = opaque_eval_add};
  int self = 0;
  tree t = {0};
  poe_expert *opaque = NULL, *out = NULL;
  double last = -1.0;
  poe_error error = {0};
  check_ok(poe_expert_wrap(&ops, &self, &opaque, &error), error);
  check_ok(poei_counts_create(opaque, 100000, &out, &last, &error), error);
  assert_null(out);
  const poe_expert *held = two(&t, opaque, poisson_of(&t, 3.0), 1.0, 1.0);
  tree_check(&t);
  check_ok(poei_counts_create(held, 100000, &out, &last, &error), error);
  assert_null(out);
  /* Too many states, or not a count without an end. */
  check_ok(poei_counts_create(two(&t, poisson_of(&t, 5e4), poisson_of(&t, 5e4), 1.0, 1.0), 40000, &out, &last, &error),
           error);
  assert_null(out);
  check_ok(poei_counts_create(tree_bernoulli(&t, 0.5), 100000, &out, &last, &error), error);
  assert_null(out);
  assert_true(last == -1.0);
  poe_expert_release(opaque);
  tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(counts),
      cmocka_unit_test(no_proof_no_answer),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
