/* Conformance entries of the composition nodes, against formulas written down again. */
#include <math.h>

#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static double log_normal(double x, double mean, double sd) {
  double z = (x - mean) / sd;
  return -0.5 * z * z - log(sd) - 0.5 * log(2.0 * acos(-1.0));
}

static double log_student(double x, double df) {
  return lgamma(0.5 * (df + 1.0)) - lgamma(0.5 * df) - 0.5 * log(df * acos(-1.0)) -
         0.5 * (df + 1.0) * log1p(x * x / df);
}

static void spread_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n * d; i++) {
    x[i] = poet_spread(i / d, i % d, -2.0, 2.0);
  }
}

/* Points inside (0, 1), away from the ends. */
static void inner_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n * d; i++) {
    x[i] = poet_spread(i / d, i % d, 0.05, 0.95);
  }
}

/* ---- product ---- */

static poe_status product_blocks(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *children[3] = {tree_at(&t, tree_student(&t, 5.0, 0.0, 1.0), 3, 2),
                                   tree_at(&t, tree_normal(&t, 1.0, 0.5), 3, 0),
                                   tree_at(&t, tree_uniform(&t, 1, -2.5, 2.5), 3, 1)};
  return tree_finish(&t, tree_product(&t, 3, 3, children, (double[]){1.0, 1.0, 1.0}), expert, error);
}

static double product_blocks_value(const double *x) {
  return log_student(x[2], 5.0) + log_normal(x[0], 1.0, 0.5) - log(5.0);
}

/* a b^0.5 / c^1.5, two coordinates, one factor on one of them. */
static poe_status product_quotient(poe_expert **expert, poe_error *error) {
  tree t = {0};
  double mean[2] = {0.3, -0.4}, cov[4] = {1.0, 0.3, 0.3, 0.5}, wide[4] = {4.0, 0.0, 0.0, 5.0};
  const poe_expert *children[4] = {tree_gaussian(&t, 2, mean, wide), tree_ring(&t, 1.0, 0.7),
                                   tree_at(&t, tree_student(&t, 3.0, 0.0, 1.0), 2, 1), tree_gaussian(&t, 2, mean, cov)};
  return tree_finish(&t, tree_product(&t, 2, 4, children, (double[]){-0.25, 0.5, -1.5, 1.0}), expert, error);
}

static double product_quotient_value(const double *x) {
  double a = x[0] - 0.3, b = x[1] + 0.4, det = 1.0 * 0.5 - 0.09, pi = acos(-1.0);
  double narrow = -0.5 * (0.5 * a * a - 0.6 * a * b + b * b) / det - log(2.0 * pi) - 0.5 * log(det);
  double wide = -0.5 * (a * a / 4.0 + b * b / 5.0) - log(2.0 * pi) - 0.5 * log(20.0);
  double gap = hypot(x[0], x[1]) - 1.0;
  return narrow - 0.25 * wide - 0.5 * 0.5 * gap * gap / 0.49 - 1.5 * log_student(x[1], 3.0);
}

static poe_status product_empty(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *flat = tree_uniform(&t, 2, -3.0, 3.0), *one = NULL;
  one = tree_product(&t, 2, 0, &flat, (double[]){0.0});
  return tree_finish(&t, tree_times(&t, one, flat), expert, error);
}

static double product_empty_value(const double *x) {
  (void)x;
  return -2.0 * log(6.0);
}

/* p(x) p(y | x): normalised by its heads, and a Gaussian in closed form. */
static poe_status product_chain(poe_expert **expert, poe_error *error) {
  tree t = {0};
  double a = 0.7, b = 0.2;
  const poe_expert *children[2] = {tree_slice(&t, tree_linear(&t, 1, 1, &a, &b, 0.5), 2, (size_t[]){1, 0}),
                                   tree_at(&t, tree_normal(&t, -0.5, 1.5), 2, 0)};
  return tree_finish(&t, tree_product(&t, 2, 2, children, (double[]){1.0, 1.0}), expert, error);
}

static double product_chain_value(const double *x) {
  return log_normal(x[0], -0.5, 1.5) + log_normal(x[1], 0.7 * x[0] + 0.2, 0.5);
}

static const double pair_table[6] = {0.1, -0.4, 0.8, -1.5, 0.3, 0.0}, edge_table[4] = {0.5, -0.5, -1.0, 0.25};

static poe_status product_tables(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *children[3] = {tree_slice(&t, tree_table(&t, 2, (size_t[]){2, 3}, pair_table), 3, (size_t[]){0, 2}),
                                   tree_slice(&t, tree_table(&t, 2, (size_t[]){2, 2}, edge_table), 3, (size_t[]){1, 0}),
                                   tree_at(&t, tree_bernoulli(&t, 0.3), 3, 1)};
  return tree_finish(&t, tree_product(&t, 3, 3, children, (double[]){2.0, -1.0, 1.0}), expert, error);
}

static double product_tables_value(const double *x) {
  return 2.0 * pair_table[(int)x[0] * 3 + (int)x[2]] - edge_table[(int)x[1] * 2 + (int)x[0]] +
         log(x[1] == 1.0 ? 0.3 : 0.7);
}

static void table_points(size_t n, size_t d, double *x) {
  static const double top[3] = {2.0, 2.0, 3.0};
  for (size_t i = 0; i < n * d; i++) {
    x[i] = floor(poet_spread(i / d, i % d, 0.0, 1.0) * top[i % d]);
  }
}

static const poet_case product_cases[] = {
    {.name = "product of blocks",
     .build = product_blocks,
     .log_density = product_blocks_value,
     .points = spread_points,
     .expected_log_z = 0.0,
     .knows_log_z = true},
    {.name = "product with divisors",
     .build = product_quotient,
     .points = spread_points,
     .log_density = product_quotient_value},
    {.name = "empty product inside",
     .build = product_empty,
     .points = spread_points,
     .log_density = product_empty_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-3.0, 3.0, -3.0, 3.0}},
    {.name = "product along a chain",
     .build = product_chain,
     .points = spread_points,
     .log_density = product_chain_value},
    {.name = "product of tables",
     .build = product_tables,
     .points = table_points,
     .log_density = product_tables_value,
     .needs_no_interior = true},
};
POET_ENTRY(product, product_cases);

/* ---- mixture ---- */

static poe_status mixture_two(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *children[3] = {tree_normal(&t, -1.0, 0.5), tree_student(&t, 4.0, 0.0, 1.0),
                                   tree_uniform(&t, 1, -2.5, 2.5)};
  return tree_finish(&t, tree_mixture(&t, 3, children, (double[]){0.2, 0.5, 0.6}), expert, error);
}

static double mixture_two_value(const double *x) {
  double flat = fabs(x[0]) <= 2.5 ? 0.6 / 5.0 : 0.0;
  return log(0.2 * exp(log_normal(x[0], -1.0, 0.5)) + 0.5 * exp(log_student(x[0], 4.0)) + flat);
}

static poe_status mixture_apart(poe_expert **expert, poe_error *error) {
  tree t = {0};
  double mean[2] = {0.0, 1.0}, cov[4] = {1.0, 0.2, 0.2, 0.5}, other[2] = {30.0, -40.0};
  const poe_expert *children[2] = {tree_gaussian(&t, 2, mean, cov), tree_gaussian(&t, 2, other, cov)};
  return tree_finish(&t, tree_mixture(&t, 2, children, (double[]){0.25, 0.75}), expert, error);
}

static const poet_case mixture_cases[] = {
    {.name = "mixture of three families",
     .build = mixture_two,
     .points = spread_points,
     .log_density = mixture_two_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-8.0, 8.0, 0.0, 0.0},
     .expected_log_z = 0.262364264467491,
     .knows_log_z = true}, /* log 1.3 */
    {.name = "mixture far apart",
     .build = mixture_apart,
     .points = spread_points,
     .expected_log_z = 0.0,
     .knows_log_z = true},
};
POET_ENTRY(mixture, mixture_cases);

/* ---- normalise ---- */

static poe_status normalise_power(poe_expert **expert, poe_error *error) {
  tree t = {0};
  double log_z = 0.5 * log(acos(-1.0)) - 0.5 * 2.0 * log(2.0 * acos(-1.0)) + 0.5 * log(1.0);
  return tree_finish(&t, tree_normalise(&t, tree_power(&t, tree_normal(&t, 0.0, 1.0), 2.0), log_z, 0.0), expert, error);
}

static double normalise_power_value(const double *x) {
  return log_normal(x[0], 0.0, sqrt(0.5));
}

static const poet_case normalise_cases[] = {
    {.name = "normalised square of a Gaussian",
     .build = normalise_power,
     .points = spread_points,
     .log_density = normalise_power_value,
     .expected_log_z = 0.0,
     .knows_log_z = true},
};
POET_ENTRY(normalise, normalise_cases);

/* ---- slice ---- */

static poe_status slice_permuted(poe_expert **expert, poe_error *error) {
  tree t = {0};
  double mean[3] = {1.0, 0.0, -1.0}, cov[9] = {1.0, 0.2, 0.0, 0.2, 0.5, 0.1, 0.0, 0.1, 2.0};
  return tree_finish(&t, tree_slice(&t, tree_gaussian(&t, 3, mean, cov), 3, (size_t[]){2, 0, 1}), expert, error);
}

static poe_status slice_identity(poe_expert **expert, poe_error *error) {
  tree t = {0};
  return tree_finish(&t, tree_slice(&t, tree_ring(&t, 1.0, 0.5), 2, (size_t[]){0, 1}), expert, error);
}

static double slice_identity_value(const double *x) {
  double gap = hypot(x[0], x[1]) - 1.0;
  return -2.0 * gap * gap;
}

static const poet_case slice_cases[] = {
    {.name = "permuted slice",
     .build = slice_permuted,
     .points = spread_points,
     .sample = POET_SAMPLE_STEIN,
     .expected_log_z = 0.0,
     .knows_log_z = true},
    {.name = "slice of everything",
     .build = slice_identity,
     .points = spread_points,
     .log_density = slice_identity_value},
};
POET_ENTRY(slice, slice_cases);

/* ---- plate ---- */

static poe_status plate_rings(poe_expert **expert, poe_error *error) {
  tree t = {0};
  return tree_finish(&t, tree_plate(&t, tree_ring(&t, 1.0, 0.5), 3, 3, (size_t[]){0, 1, 2, 1, 0, 2}), expert, error);
}

static double plate_rings_value(const double *x) {
  double sum = 0.0, gap[3] = {hypot(x[0], x[1]) - 1.0, hypot(x[2], x[1]) - 1.0, hypot(x[0], x[2]) - 1.0};
  for (int i = 0; i < 3; i++) {
    sum -= 2.0 * gap[i] * gap[i];
  }
  return sum;
}

static poe_status plate_blocks(poe_expert **expert, poe_error *error) {
  tree t = {0};
  size_t index[70];
  for (size_t i = 0; i < 70; i++) {
    index[i] = i % 2 == 0 ? i / 2 : 35 + i / 2;
  }
  double mean[2] = {0.5, 0.0}, cov[4] = {1.0, -0.4, -0.4, 0.7};
  return tree_finish(&t, tree_plate(&t, tree_gaussian(&t, 2, mean, cov), 35, 70, index), expert, error);
}

static poe_status plate_two(poe_expert **expert, poe_error *error) {
  tree t = {0};
  return tree_finish(&t, tree_plate(&t, tree_student(&t, 6.0, 0.0, 1.0), 2, 2, (size_t[]){1, 0}), expert, error);
}

static double plate_two_value(const double *x) {
  return log_student(x[0], 6.0) + log_student(x[1], 6.0);
}

static const poet_case plate_cases[] = {
    {.name = "plate of overlapping rings",
     .build = plate_rings,
     .points = spread_points,
     .log_density = plate_rings_value},
    {.name = "plate of blocks",
     .build = plate_blocks,
     .points = spread_points,
     .expected_log_z = 0.0,
     .knows_log_z = true},
    {.name = "plate of two",
     .build = plate_two,
     .points = spread_points,
     .log_density = plate_two_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-9.0, 9.0, -9.0, 9.0},
     .expected_log_z = 0.0,
     .knows_log_z = true},
};
POET_ENTRY(plate, plate_cases);

/* ---- given ---- */

static poe_status given_middle(poe_expert **expert, poe_error *error) {
  tree t = {0};
  double mean[3] = {1.0, 0.0, -1.0}, cov[9] = {1.0, 0.2, 0.0, 0.2, 0.5, 0.1, 0.0, 0.1, 2.0}, at = 0.75;
  size_t index = 1;
  return tree_finish(&t, tree_given(&t, tree_gaussian(&t, 3, mean, cov), 1, &index, &at), expert, error);
}

static double given_middle_value(const double *x) {
  /* N(x1) N(x0, x2 | x1) with x1 = 0.75: conditional mean and covariance of (x0, x2). */
  double gain0 = 0.2 / 0.5, gain2 = 0.1 / 0.5, pi = acos(-1.0);
  double m0 = 1.0 + gain0 * 0.75, m2 = -1.0 + gain2 * 0.75;
  double c00 = 1.0 - gain0 * 0.2, c02 = -gain0 * 0.1, c22 = 2.0 - gain2 * 0.1, det = c00 * c22 - c02 * c02;
  double a = x[0] - m0, b = x[1] - m2;
  return log_normal(0.75, 0.0, sqrt(0.5)) - 0.5 * (c22 * a * a - 2.0 * c02 * a * b + c00 * b * b) / det -
         log(2.0 * pi) - 0.5 * log(det);
}

static const poet_case given_cases[] = {
    {.name = "Gaussian given its middle",
     .build = given_middle,
     .points = spread_points,
     .log_density = given_middle_value,
     .tolerance = 1e-11},
};
POET_ENTRY(given, given_cases);

/* ---- through ---- */

static poe_status through_plain(poe_expert **expert, poe_error *error) {
  tree t = {0};
  double mean[3] = {0.1, 0.2, -0.3}, cov[9] = {0.5, 0.1, 0.0, 0.1, 0.4, 0.1, 0.0, 0.1, 0.6};
  return tree_finish(&t, tree_through(&t, tree_map(&t), tree_gaussian(&t, 3, mean, cov)), expert, error);
}

/* y = f(z0, z1), then a fourth coordinate given y: linear_gaussian(rest | y). */
static poe_status through_rest(poe_expert **expert, poe_error *error) {
  tree t = {0};
  double a[3] = {0.5, -1.0, 0.25}, b = 0.1;
  const poe_expert *child = tree_slice(&t, tree_linear(&t, 1, 3, a, &b, 0.8), 4, (size_t[]){3, 0, 1, 2});
  return tree_finish(&t, tree_through(&t, tree_map(&t), child), expert, error);
}

static double through_rest_value(const double *x) {
  double y0 = tanh(x[0] + x[1]), y1 = x[0] * x[1], y2 = sin(x[1]) - 0.5 * x[0];
  return log_normal(x[2], 0.5 * y0 - y1 + 0.25 * y2 + 0.1, 0.8);
}

static const poet_case through_cases[] = {
    {.name = "Gaussian of a map's value", .build = through_plain, .points = spread_points},
    {.name = "conditional on a map's value",
     .build = through_rest,
     .points = spread_points,
     .log_density = through_rest_value},
};
POET_ENTRY(through, through_cases);

/* ---- restrict ---- */

static poe_status restrict_box(poe_expert **expert, poe_error *error) {
  tree t = {0};
  return tree_finish(&t, tree_restrict(&t, tree_ring(&t, 0.5, 0.3), 0.0, 1.0), expert, error);
}

static double restrict_box_value(const double *x) {
  double gap = hypot(x[0], x[1]) - 0.5;
  return -0.5 * gap * gap / 0.09;
}

static poe_status restrict_wide(poe_expert **expert, poe_error *error) {
  tree t = {0};
  return tree_finish(&t, tree_restrict(&t, tree_uniform(&t, 1, 0.0, 1.0), -1.0, INFINITY), expert, error);
}

static double restrict_wide_value(const double *x) {
  (void)x;
  return 0.0;
}

static const poet_case restrict_cases[] = {
    {.name = "ring in a box", .build = restrict_box, .points = inner_points, .log_density = restrict_box_value},
    {.name = "box that changes nothing",
     .build = restrict_wide,
     .points = inner_points,
     .log_density = restrict_wide_value,
     .sample = POET_SAMPLE_BOX,
     .box = {0.0, 1.0, 0.0, 0.0},
     .expected_log_z = 0.0,
     .knows_log_z = true},
};
POET_ENTRY(restrict, restrict_cases);

/* ---- transform ---- */

/* x0 in (0, inf), x1 in (-inf, 2), x2 in (-1, 3), x3 free. */
static poe_status transform_all(poe_expert **expert, poe_error *error) {
  tree t = {0};
  const poe_expert *children[4] = {tree_at(&t, tree_bounded_normal(&t, 0.0, INFINITY, 1.0, 2.0), 4, 0),
                                   tree_at(&t, tree_bounded_normal(&t, -INFINITY, 2.0, 0.0, 1.0), 4, 1),
                                   tree_at(&t, tree_bounded_normal(&t, -1.0, 3.0, 0.5, 1.0), 4, 2),
                                   tree_at(&t, tree_normal(&t, 0.0, 1.0), 4, 3)};
  const poe_expert *x = tree_product(&t, 4, 4, children, (double[]){1.0, 1.0, 1.0, 1.0});
  return tree_finish(&t, tree_transform(&t, x), expert, error);
}

static double transform_all_value(const double *u) {
  double s = 1.0 / (1.0 + exp(-u[2]));
  return log_normal(exp(u[0]), 1.0, 2.0) + u[0] + log_normal(2.0 - exp(u[1]), 0.0, 1.0) + u[1] +
         log_normal(-1.0 + 4.0 * s, 0.5, 1.0) + log(4.0 * s * (1.0 - s)) + log_normal(u[3], 0.0, 1.0);
}

static poe_status transform_uniform(poe_expert **expert, poe_error *error) {
  tree t = {0};
  return tree_finish(&t, tree_transform(&t, tree_uniform(&t, 1, 2.0, 5.0)), expert, error);
}

static double transform_uniform_value(const double *u) {
  double s = 1.0 / (1.0 + exp(-u[0]));
  return log(s * (1.0 - s));
}

static poe_status transform_identity(poe_expert **expert, poe_error *error) {
  tree t = {0};
  return tree_finish(&t, tree_transform(&t, tree_student(&t, 4.0, 0.0, 1.0)), expert, error);
}

static double transform_identity_value(const double *u) {
  return log_student(u[0], 4.0);
}

static const poet_case transform_cases[] = {
    {.name = "all four transforms",
     .build = transform_all,
     .points = spread_points,
     .log_density = transform_all_value},
    {.name = "logit of a uniform",
     .build = transform_uniform,
     .points = spread_points,
     .log_density = transform_uniform_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-9.0, 9.0, 0.0, 0.0},
     .expected_log_z = 0.0,
     .knows_log_z = true},
    {.name = "nothing to transform",
     .build = transform_identity,
     .points = spread_points,
     .log_density = transform_identity_value,
     .sample = POET_SAMPLE_BOX,
     .box = {-9.0, 9.0, 0.0, 0.0},
     .expected_log_z = 0.0,
     .knows_log_z = true},
};
POET_ENTRY(transform, transform_cases);
