/* Conformance entries of the node on simplices, and of transforms of simplices. */
#include <math.h>

#include "compose/exact/numeric.h"
#include "compose/exact/rules.h"
#include "compose/exact/simplices.h"
#include "tests/compose/build.h"
#include "tests/compose/simplices.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

/* ---- simplex ---- */

/* A simplex of three numbers, a real number between two simplices, and a simplex of two. */
static const poe_support mixed_support[6] = {
    {.kind = POE_SIMPLEX, .low = 0.0, .high = 1.0},      {.kind = POE_SIMPLEX_NEXT, .low = 0.0, .high = 1.0},
    {.kind = POE_SIMPLEX_NEXT, .low = 0.0, .high = 1.0}, {.low = -INFINITY, .high = INFINITY},
    {.kind = POE_SIMPLEX, .low = 0.0, .high = 1.0},      {.kind = POE_SIMPLEX_NEXT, .low = 0.0, .high = 1.0},
};

static poe_status simplex_mixed(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *children[4] = {
      tree_at(&t, tree_normal(&t, 0.3, 0.2), 6, 0), tree_at(&t, tree_normal(&t, 0.5, 0.4), 6, 2),
      tree_at(&t, tree_normal(&t, 0.0, 2.0), 6, 3), tree_at(&t, tree_student(&t, 3.0, 0.0, 1.0), 6, 5)};
  const poe_expert *all = tree_product(&t, 6, 4, children, (double[]){1.0, 1.0, 1.0, 1.0});
  return tree_finish(&t, tree_simplex(&t, all, mixed_support), expert, error);
}

static double log_normal(double x, double mean, double sd) {
  double z = (x - mean) / sd;
  return -0.5 * z * z - log(sd) - 0.5 * log(2.0 * acos(-1.0));
}

static double simplex_mixed_value(const double *x) {
  double t = log(6.0 * sqrt(3.0)) - log(acos(-1.0)) - 2.0 * log(3.0 + x[5] * x[5]);
  return log_normal(x[0], 0.3, 0.2) + log_normal(x[2], 0.5, 0.4) + log_normal(x[3], 0.0, 2.0) + t;
}

static void mixed_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    double *row = &x[i * d], a = poet_spread(i, 0, 0.02, 0.95), b = poet_spread(i, 1, 0.02, 0.98);
    row[0] = a;
    row[1] = (1.0 - a) * b;
    row[2] = 1.0 - row[0] - row[1];
    row[3] = poet_spread(i, 2, -3.0, 3.0);
    row[4] = poet_spread(i, 3, 0.01, 0.99);
    row[5] = 1.0 - row[4];
  }
}

static const poet_case simplex_cases[] = {
    {.name = "normals on simplices",
     .build = simplex_mixed,
     .points = mixed_points,
     .log_density = simplex_mixed_value},
};
POET_ENTRY(simplex, simplex_cases);

/* ---- transforms of simplices ---- */

static const double alpha[3] = {1.5, 0.8, 3.0};

/* A normal coordinate before a simplex of three. */
static const poe_expert *with_normal(tree *t) {
  const poe_expert *parts[2] = {tree_at(t, tree_normal(t, 1.0, 0.5), 4, 0),
                                tree_slice(t, tree_dirichlet(t, 1, 3, alpha), 4, (size_t[]){1, 2, 3})};
  return tree_product(t, 4, 2, parts, (double[]){1.0, 1.0});
}

static poe_status transform_simplex(poe_expert **expert, poe_error *error) {
  tree t = {0};
  return tree_finish(&t, tree_transform(&t, with_normal(&t)), expert, error);
}

/* Sticks written out: z0 = 1 / (1 + 2 e^-u0), z1 = 1 / (1 + e^-u1); u2 is standard normal. */
static double transform_simplex_value(const double *u) {
  double z0 = 1.0 / (1.0 + 2.0 * exp(-u[1])), z1 = 1.0 / (1.0 + exp(-u[2]));
  double x[3] = {z0, (1.0 - z0) * z1, (1.0 - z0) * (1.0 - z1)};
  double value = lgamma(5.3) - lgamma(1.5) - lgamma(0.8) - lgamma(3.0);
  for (size_t i = 0; i < 3; i++) {
    value += (alpha[i] - 1.0) * log(x[i]);
  }
  double slope = z0 * (1.0 - z0) * (1.0 - z0) * z1 * (1.0 - z1);
  return value + log(slope) + log_normal(u[3], 0.0, 1.0) + log_normal(u[0], 1.0, 0.5);
}

static poe_status transform_pair(poe_expert **expert, poe_error *error) {
  static const double two[2] = {0.6, 2.0};
  tree t = {0};
  return tree_finish(&t, tree_transform(&t, tree_dirichlet(&t, 1, 2, two)), expert, error);
}

static double transform_pair_value(const double *u) {
  double z = 1.0 / (1.0 + exp(-u[0]));
  return lgamma(2.6) - lgamma(0.6) - lgamma(2.0) + 0.6 * log(z) + 2.0 * log(1.0 - z) + log_normal(u[1], 0.0, 1.0);
}

static void wide_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n * d; i++) {
    x[i] = poet_spread(i / d, i % d, -4.0, 4.0);
  }
}

/* Over the free coordinates: a normal one and two sticks. */
static poe_status unstuck_build(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *target = with_normal(&t);
  poe_expert *made = NULL;
  if (t.status == POE_OK) {
    t.status = poei_unstuck_create(target, &made, &t.error);
  }
  poe_status status = tree_finish(&t, made, expert, error);
  poe_expert_release(made);
  return status;
}

static double unstuck_value(const double *u) {
  return transform_simplex_value((double[]){u[0], u[1], u[2], 0.0}) + 0.5 * log(2.0 * acos(-1.0));
}

/* A simplex of two with the draws of a grid. */
static poe_status stuck_build(poe_expert **expert, poe_error *error) {
  static const double two[2] = {1.5, 2.5};
  tree t = {0};
  const poe_expert *target = tree_dirichlet(&t, 1, 2, two);
  poe_expert *over = NULL, *grid = NULL, *made = NULL;
  poei_spots spots = {0};
  double log_z, bound;
  bool converged;
  if (t.status == POE_OK) {
    t.status = poei_unstuck_create(target, &over, &t.error);
  }
  if (t.status == POE_OK) {
    t.status = poei_spots_find(over, &spots, &t.error);
  }
  if (t.status == POE_OK) {
    t.status = poei_integrate(over, &spots, 1e-6, &log_z, &bound, &converged, &t.error);
  }
  if (t.status == POE_OK) {
    t.status = poei_grid_create(over, &spots, log_z, bound, &grid, &t.error);
  }
  if (t.status == POE_OK) {
    t.status = poei_stuck_create(target, grid, &made, &t.error);
  }
  poei_spots_free(&spots);
  poe_status status = tree_finish(&t, made, expert, error);
  poe_expert_release(over);
  poe_expert_release(grid);
  poe_expert_release(made);
  return status;
}

static double stuck_value(const double *x) {
  return lgamma(4.0) - lgamma(1.5) - lgamma(2.5) + 0.5 * log(x[0]) + 1.5 * log(x[1]);
}

/* What the rule makes of (0.4 a + 0.6 b) c and a factor that reads one of two simplices. */
static poe_status rewritten_build(poe_expert **expert, poe_error *error) {
  static const double first[4] = {2.0, 1.5, 3.0, 1.0}, second[4] = {1.2, 4.0, 2.0, 2.0}, weights[2] = {0.4, 0.6};
  static const double third[8] = {2.0, 2.0, 1.0, 0.8, 1.0, 3.0, 2.5, 1.5};
  tree t = {0};
  const poe_expert *leaf[2] = {tree_dirichlet(&t, 1, 4, first), tree_dirichlet(&t, 1, 4, second)};
  const poe_expert *factors[2] = {tree_slice(&t, tree_mixture(&t, 2, leaf, weights), 8, (size_t[]){0, 1, 2, 3}),
                                  tree_dirichlet(&t, 2, 4, third)};
  const poe_expert *product = tree_product(&t, 8, 2, factors, (double[]){1.0, 1.0});
  poe_expert *made = NULL;
  poei_fired fired = {0};
  poei_plan_options options;
  poei_plan_options_default(&options);
  if (t.status == POE_OK) {
    t.status = poei_rewrite(product, &options, NULL, &fired, &made, &t.error);
  }
  poei_fired_free(&fired);
  poe_status status = tree_finish(&t, made, expert, error);
  poe_expert_release(made);
  return status;
}

static double log_dirichlet(const double *a, const double *x) {
  double total = 0.0, value = 0.0;
  for (size_t i = 0; i < 4; i++) {
    total += a[i];
    value += (a[i] - 1.0) * log(x[i]) - lgamma(a[i]);
  }
  return value + lgamma(total);
}

static double rewritten_value(const double *x) {
  static const double first[4] = {2.0, 1.5, 3.0, 1.0}, second[4] = {1.2, 4.0, 2.0, 2.0};
  static const double third[4] = {2.0, 2.0, 1.0, 0.8}, fourth[4] = {1.0, 3.0, 2.5, 1.5};
  return log(0.4 * exp(log_dirichlet(first, x)) + 0.6 * exp(log_dirichlet(second, x))) + log_dirichlet(third, x) +
         log_dirichlet(fourth, x + 4);
}

static const poet_case sticks_cases[] = {
    {.name = "free coordinates", .build = unstuck_build, .points = wide_points, .log_density = unstuck_value},
    {.name = "draws by free coordinates", .build = stuck_build, .log_density = stuck_value},
    {.name = "mixtures multiplied out", .build = rewritten_build, .log_density = rewritten_value},
    {.name = "sticks beside a normal",
     .build = transform_simplex,
     .points = wide_points,
     .log_density = transform_simplex_value,
     .expected_log_z = 0.0,
     .knows_log_z = true},
    {.name = "one stick",
     .build = transform_pair,
     .points = wide_points,
     .log_density = transform_pair_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-12.0, 6.0, -4.0, 4.0},
     .expected_log_z = 0.0,
     .knows_log_z = true},
};
const poet_entry poet_conformance_sticks = {"sticks", sizeof sticks_cases / sizeof *sticks_cases, sticks_cases};
