/* Conformance entries of the experts that the planner makes: fused and truncated Gaussians, enumerations, grids. */
#include <math.h>

#include "compose/exact/fuse.h"
#include "compose/exact/numeric.h"
#include "compose/exact/truncated.h"
#include "experts/closed.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/reference.h"
#include "tests/support/check.h"

static double log_normal(double x, double mean, double sd) {
  double z = (x - mean) / sd;
  return -0.5 * z * z - log(sd) - 0.5 * log(2.0 * acos(-1.0));
}

/* ---- fused ---- */

/* The product of n experts over d coordinates, fused. */
static poe_status fused_product(tree *t, size_t d, size_t n, const poe_expert *const *factor, const double *exponent,
                                poe_expert **expert, poe_error *error) {
  poei_parts parts = {.dim = d};
  poe_expert *made = NULL;
  size_t index[2] = {0, 1};
  for (size_t i = 0; i < n && t->status == POE_OK; i++) {
    t->status = poei_parts_add(&parts, factor[i], d, index, exponent[i], &t->error);
  }
  if (t->status == POE_OK) {
    t->status = poei_fuse(d, parts.n, parts.item, 100, &made, &t->error);
  }
  poei_parts_free(&parts);
  poe_status status = tree_finish(t, made, expert, error);
  poe_expert_release(made);
  return status;
}

/* N(x; m, C)^2 / N(x; 0, 40): dependent coordinates. */
static const double fused_mean[2] = {1.5, -0.5}, fused_cov[4] = {1.0, 0.6, 0.6, 2.0},
                    wide_cov[4] = {40.0, 0.0, 0.0, 40.0};

static poe_status fused_quotient(poe_expert **expert, poe_error *error) {
  tree t = {0};
  double zero[2] = {0.0, 0.0};
  const poe_expert *factor[2] = {tree_gaussian(&t, 2, fused_mean, fused_cov), tree_gaussian(&t, 2, zero, wide_cov)};
  return fused_product(&t, 2, 2, factor, (double[]){2.0, -1.0}, expert, error);
}

static double fused_quotient_value(const double *x) {
  double zero[2] = {0.0, 0.0};
  return 2.0 * reference_gaussian(2, x, fused_mean, fused_cov) - reference_gaussian(2, x, zero, wide_cov);
}

/* Two mixtures of two: as many components as pairs. */
static const double fused_means[2] = {10.0, 12.0}, fused_sds[2] = {0.5, 1.0}, fused_weights[2] = {0.4, 0.6};

static poe_status fused_mixtures(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *gmm = tree_gmm(&t, 2, 1, fused_weights, fused_means, fused_sds);
  const poe_expert *either = tree_or(&t, tree_normal(&t, 9.0, 1.0), tree_normal(&t, 13.0, 2.0));
  const poe_expert *factor[2] = {gmm, either};
  return fused_product(&t, 1, 2, factor, (double[]){1.0, 1.0}, expert, error);
}

static double fused_mixtures_value(const double *x) {
  double gmm = 0.4 * exp(log_normal(x[0], 10.0, 0.5)) + 0.6 * exp(log_normal(x[0], 12.0, 1.0));
  double either = 0.5 * exp(log_normal(x[0], 9.0, 1.0)) + 0.5 * exp(log_normal(x[0], 13.0, 2.0));
  return log(gmm) + log(either);
}

static poet_case fused_cases[] = {
    {.name = "a square over a wide divisor",
     .build = fused_quotient,
     .log_density = fused_quotient_value,
     .sample = POET_SAMPLE_STEIN},
    {.name = "two mixtures",
     .build = fused_mixtures,
     .log_density = fused_mixtures_value,
     .sample = POET_SAMPLE_BOX,
     .box = {5.0, 18.0, 0.0, 0.0},
     .knows_log_z = true},
};

const poet_entry *exact_fused(void);
const poet_entry *exact_fused(void) {
  static const poet_entry entry = {"fused", 2, fused_cases};
  static const double place[2] = {9.0, 13.0}, width[2] = {1.0, 2.0};
  double z = 0.0;
  for (size_t i = 0; i < 4; i++) {
    double sd = hypot(fused_sds[i % 2], width[i / 2]);
    z += 0.5 * fused_weights[i % 2] * exp(log_normal(fused_means[i % 2], place[i / 2], sd));
  }
  fused_cases[1].expected_log_z = log(z);
  return &entry;
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
  poei_spots spots = {0};
  double log_z, bound;
  bool converged;
  if (t.status == POE_OK) {
    t.status = poei_spots_find(power, &spots, &t.error);
  }
  if (t.status == POE_OK) {
    t.status = poei_integrate(power, &spots, 1e-6, &log_z, &bound, &converged, &t.error);
  }
  if (t.status == POE_OK) {
    t.status = poei_grid_create(power, &spots, log_z, bound, &grid, &t.error);
  }
  poei_spots_free(&spots);
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
