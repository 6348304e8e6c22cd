/* Conformance entries of the planner's experts for mixed targets: discrete coordinates summed out, islands. */
#include <math.h>

#include "compose/exact/islands.h"
#include "compose/exact/summed.h"
#include "compose/plan.h"
#include "core/numerics.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"

static const double pair[9] = {0.4, -0.9, 0.1, -0.3, 0.8, -1.5, 0.0, 0.5, 0.2};
static const double slope = 1.4, shift = -0.6;

/* s0, s1, s2 a chain of three values each; y3 and y4 normal given s0 and s2; and, where they are joined, a ring. */
static const poe_expert *chain(tree *t, bool joined) {
  const poe_expert *part[3] = {
      tree_plate(t, tree_table(t, 2, (size_t[]){3, 3}, pair), 2, 5, (size_t[]){0, 1, 1, 2}),
      tree_plate(t, tree_linear(t, 1, 1, &slope, &shift, 0.9), 2, 5, (size_t[]){3, 0, 4, 2}),
      joined ? tree_slice(t, tree_ring(t, 1.0, 0.8), 5, (size_t[]){3, 4}) : NULL,
  };
  return tree_product(t, 5, joined ? 3 : 2, part, (double[]){1.0, 1.0, 1.0});
}

static double log_normal(double x, double mean, double sd) {
  double z = (x - mean) / sd;
  return -0.5 * z * z - log(sd) - 0.5 * log(2.0 * acos(-1.0));
}

/* ---- summed ---- */

static poe_status summed_chain(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *target = chain(&t, true);
  poe_expert *summed = NULL, *marginal = NULL;
  poei_plan_options options;
  poei_plan_options_default(&options);
  if (t.status == POE_OK) {
    t.status = poei_summed_create(target, &options, &summed, &marginal, &t.error);
  }
  poe_status status = tree_finish(&t, summed, expert, error);
  poe_expert_release(summed);
  poe_expert_release(marginal);
  return status;
}

static double summed_chain_value(const double *y) {
  double value[27];
  for (int k = 0; k < 27; k++) {
    int a = k / 9, b = k / 3 % 3, c = k % 3;
    value[k] = pair[3 * a + b] + pair[3 * b + c] + log_normal(y[0], slope * a + shift, 0.9) +
               log_normal(y[1], slope * c + shift, 0.9);
  }
  return poei_log_sum_exp(value, 27, 1);
}

static void summed_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n * d; i++) {
    x[i] = poet_spread(i / d, i % d, -4.0, 6.0);
  }
}

const poet_entry *exact_summed(void);
const poet_entry *exact_summed(void) {
  static const poet_case cases[] = {
      {.name = "a chain", .build = summed_chain, .points = summed_points, .log_density = summed_chain_value}};
  static const poet_entry entry = {"summed", 1, cases};
  return &entry;
}

/* ---- islands ---- */

static poe_status islands_chain(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *target = chain(&t, false);
  poei_plan *plan = NULL;
  if (t.status == POE_OK) {
    t.status = poei_plan_build(target, NULL, &plan, &t.error);
  }
  if (t.status == POE_OK && (plan->sampler == NULL || !poei_islands_is(plan->sampler))) {
    t.status = poe_error_set(&t.error, POE_E_MEMORY, "a failed allocation left the target to another route");
  }
  poe_status status = tree_finish(&t, t.status == POE_OK ? plan->sampler : NULL, expert, error);
  poei_plan_destroy(plan);
  return status;
}

static double islands_chain_value(const double *x) {
  int a = (int)x[0], b = (int)x[1], c = (int)x[2];
  return pair[3 * a + b] + pair[3 * b + c] + log_normal(x[3], slope * a + shift, 0.9) +
         log_normal(x[4], slope * c + shift, 0.9);
}

static poet_case islands_cases[] = {
    {.name = "a chain with emissions", .build = islands_chain, .log_density = islands_chain_value}};

const poet_entry *exact_islands(void);
const poet_entry *exact_islands(void) {
  static const poet_entry entry = {"islands", 1, islands_cases};
  double value[27];
  for (int k = 0; k < 27; k++) { /* every y integrates to 1 */
    value[k] = pair[k / 3] + pair[3 * (k / 3 % 3) + k % 3];
  }
  islands_cases[0].expected_log_z = poei_log_sum_exp(value, 27, 1);
  islands_cases[0].knows_log_z = true;
  return &entry;
}
