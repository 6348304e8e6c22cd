/* Conformance entries of the experts that the planner makes: truncated Gaussians, enumerations, grids. */
#include <math.h>

#include "compose/exact/numeric.h"
#include "compose/exact/truncated.h"
#include "experts/closed.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static double log_normal(double x, double mean, double sd) {
  double z = (x - mean) / sd;
  return -0.5 * z * z - log(sd) - 0.5 * log(2.0 * acos(-1.0));
}

/* ---- truncated ---- */

/* N(1, 4) on (0, 3), N(-2, 1/4) on (-inf, -1.5), times e^0.3. */
static const poe_support truncated_box[2] = {{POE_CONTINUOUS, 0.0, 3.0, true, true},
                                             {POE_CONTINUOUS, -INFINITY, -1.5, true, false}};

static poe_status truncated_two(poe_expert **expert, poe_error *error) {
  poe_form form = {0};
  poe_status status = poei_form_gaussians(&form, 1, 2, error);
  if (status != POE_OK) {
    return status;
  }
  form.precision[0] = 0.25;
  form.precision[3] = 4.0;
  form.linear[0] = 0.25;
  form.linear[1] = -8.0;
  form.constant[0] = 0.3 - 0.125 - log(2.0) - 8.0 - log(0.5) - log(2.0 * acos(-1.0));
  status = poei_truncated_create(&form, 0, truncated_box, expert, error);
  poe_form_release(&form);
  return status;
}

static double truncated_two_value(const double *x) {
  return 0.3 + log_normal(x[0], 1.0, 2.0) + log_normal(x[1], -2.0, 0.5);
}

static double mass(double low, double high) { /* by erfc, not by the library */
  return 0.5 * (erfc(low / sqrt(2.0)) - erfc(high / sqrt(2.0)));
}

static void truncated_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n * d; i++) {
    x[i] = i % d == 0 ? poet_spread(i / d, 0, 0.05, 2.95) : poet_spread(i / d, 1, -4.0, -1.55);
  }
}

static poet_case truncated_cases[] = {
    {.name = "two truncated Gaussians",
     .build = truncated_two,
     .points = truncated_points,
     .log_density = truncated_two_value,
     .sample = POET_SAMPLE_BOX,
     .box = {0.0, 3.0, -4.5, -1.5},
     .knows_log_z = true},
};

const poet_entry *exact_truncated(void);
const poet_entry *exact_truncated(void) {
  static const poet_entry entry = {"truncated", 1, truncated_cases};
  truncated_cases[0].expected_log_z = 0.3 + log(mass(-0.5, 1.0)) + log(mass(-INFINITY, 1.0));
  return &entry;
}

/* ---- enumeration ---- */

static const double edge[6] = {0.5, -1.0, 0.25, 0.0, 1.5, -0.5};

static poe_status enumeration_edges(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *factors[2] = {tree_slice(&t, tree_table(&t, 2, (size_t[]){2, 3}, edge), 3, (size_t[]){0, 2}),
                                  tree_slice(&t, tree_table(&t, 2, (size_t[]){2, 2}, edge), 3, (size_t[]){1, 0})};
  const poe_expert *product = tree_product(&t, 3, 2, factors, (double[]){1.0, -2.0});
  poe_expert *all = NULL;
  if (t.status == POE_OK) {
    t.status = poei_enumeration_create(product, &all, &t.error);
  }
  poe_status status = tree_finish(&t, all, expert, error);
  poe_expert_release(all);
  return status;
}

static double enumeration_edges_value(const double *x) {
  return edge[(int)x[0] * 3 + (int)x[2]] - 2.0 * edge[(int)x[1] * 2 + (int)x[0]];
}

static const poet_case enumeration_cases[] = {
    {.name = "two edges",
     .build = enumeration_edges,
     .log_density = enumeration_edges_value,
     .sample = POET_SAMPLE_STATES,
     .needs_no_interior = true},
};
POET_ENTRY(enumeration, enumeration_cases);

/* ---- grid ---- */

static poe_status grid_student(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *power = tree_power(&t, tree_student(&t, 4.0, 0.0, 1.0), 1.5);
  poe_expert *grid = NULL;
  double log_z, bound;
  bool converged;
  if (t.status == POE_OK) {
    t.status = poei_integrate(power, 1e-6, &log_z, &bound, &converged, &t.error);
  }
  if (t.status == POE_OK) {
    t.status = poei_grid_create(power, log_z, bound, &grid, &t.error);
  }
  poe_status status = tree_finish(&t, grid, expert, error);
  poe_expert_release(grid);
  return status;
}

static double grid_student_value(const double *x) {
  return 1.5 * (lgamma(2.5) - lgamma(2.0) - 0.5 * log(4.0 * acos(-1.0)) - 2.5 * log1p(x[0] * x[0] / 4.0));
}

static poet_case grid_cases[] = {
    {.name = "power of a Student t",
     .build = grid_student,
     .log_density = grid_student_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-6.0, 6.0, 0.0, 0.0}},
};

const poet_entry *exact_grid(void);
const poet_entry *exact_grid(void) {
  static const poet_entry entry = {"grid", 1, grid_cases};
  /* The integral of (1 + x^2/4)^-3.75 is 2 B(1/2, 3.25). */
  grid_cases[0].expected_log_z = 1.5 * (lgamma(2.5) - lgamma(2.0) - 0.5 * log(4.0 * acos(-1.0))) + log(2.0) +
                                 lgamma(0.5) + lgamma(3.25) - lgamma(3.75);
  return &entry;
}
