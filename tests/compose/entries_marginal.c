/* Conformance entries of marginal: finite latent values at several temperatures, gone through or eliminated, continuous
 * ones by quadrature and by search, and draws from a joint density. */
#include <math.h>

#include "compose/exact/summed.h"
#include "core/numerics.h"
#include "tests/compose/curves.h"
#include "tests/conformance/conformance.h"

static const double latent_log[6] = {0.5, -0.3, 1.2, -INFINITY, 0.0, -1.0};

/* Two latent variables k (3 values) and b (2): x ~ N(1.5 k - 1, 0.8), a table over (k, b), and y ~ N(2 b, 0.5). */
static const poe_expert *joint(tree *t) {
  double slope_k = 1.5, shift_k = -1.0, slope_b = 2.0, shift_b = 0.0, ones[3] = {1, 1, 1};
  const poe_expert *parts[3] = {
      tree_slice(t, tree_linear(t, 1, 1, &slope_k, &shift_k, 0.8), 4, (size_t[]){0, 1}),
      tree_slice(t, tree_table(t, 2, (size_t[]){3, 2}, latent_log), 4, (size_t[]){1, 3}),
      tree_slice(t, tree_linear(t, 1, 1, &slope_b, &shift_b, 0.5), 4, (size_t[]){2, 3}),
  };
  return tree_product(t, 4, 3, parts, ones);
}

static double log_normal(double x, double mean, double sd) {
  double z = (x - mean) / sd;
  return -0.5 * z * z - log(sd) - 0.5 * log(2.0 * acos(-1.0));
}

static double joint_value(const double *x, int k, int b) {
  return log_normal(x[0], 1.5 * k - 1.0, 0.8) + latent_log[2 * k + b] + log_normal(x[1], 2.0 * b, 0.5);
}

static poe_status build(double beta, poe_expert **expert, poe_error *error) {
  tree t = {0};
  size_t latent[2] = {1, 3};
  const poe_expert *child = joint(&t);
  poe_expert *made = NULL;
  if (t.status == POE_OK) {
    t.status = poei_marginal_create(child, 2, latent, beta, &made, &t.error);
  }
  poe_status status = tree_finish(&t, made, expert, error);
  poe_expert_release(made);
  return status;
}

static double sum_over(const double *x, double beta) {
  double total = 0.0;
  for (int k = 0; k < 3; k++) {
    for (int b = 0; b < 2; b++) {
      total += exp(beta * joint_value(x, k, b));
    }
  }
  return log(total) / beta;
}

static poe_status summed(poe_expert **expert, poe_error *error) {
  return build(1.0, expert, error);
}

static double summed_value(const double *x) {
  return sum_over(x, 1.0);
}

static poe_status warm(poe_expert **expert, poe_error *error) {
  return build(0.5, expert, error);
}

static double warm_value(const double *x) {
  return sum_over(x, 0.5);
}

static poe_status profile(poe_expert **expert, poe_error *error) {
  return build(INFINITY, expert, error);
}

static double profile_value(const double *x) {
  double best = -INFINITY;
  for (int k = 0; k < 3; k++) {
    for (int b = 0; b < 2; b++) {
      best = fmax(best, joint_value(x, k, b));
    }
  }
  return best;
}

/* Away from where two latent values are equally good, where the profile has a kink. */
static void points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < d; j++) {
      x[i * d + j] = poet_spread(i, j, -3.0, 4.0);
    }
  }
}

/* A joint Gaussian over three coordinates without its middle: drawn through the joint. */
static poe_status drawn(poe_expert **expert, poe_error *error) {
  tree t = {0};
  double mean[3] = {1.0, 0.0, -1.0}, cov[9] = {1.0, 0.2, 0.3, 0.2, 0.5, 0.1, 0.3, 0.1, 2.0};
  double p[2] = {log(0.3), log(0.7)}, ones[2] = {1, 1};
  size_t k[1] = {2}, latent = 3;
  const poe_expert *parts[2] = {tree_slice(&t, tree_gaussian(&t, 3, mean, cov), 4, (size_t[]){0, 1, 2}),
                                tree_slice(&t, tree_table(&t, 1, k, p), 4, (size_t[]){3})};
  const poe_expert *child = tree_product(&t, 4, 2, parts, ones);
  poe_expert *made = NULL;
  if (t.status == POE_OK) {
    t.status = poei_marginal_create(child, 1, &latent, 1.0, &made, &t.error);
  }
  poe_status status = tree_finish(&t, made, expert, error);
  poe_expert_release(made);
  return status;
}

static double drawn_value(const double *x) {
  /* precision of the covariance above, by cofactors */
  double c[3][3] = {{1.0, 0.2, 0.3}, {0.2, 0.5, 0.1}, {0.3, 0.1, 2.0}}, r[3] = {x[0] - 1.0, x[1], x[2] + 1.0};
  double det = 0.0, quadratic = 0.0;
  for (int i = 0; i < 3; i++) {
    int a = (i + 1) % 3, b = (i + 2) % 3;
    det += c[0][i] * (c[1][a] * c[2][b] - c[1][b] * c[2][a]);
  }
  for (int i = 0; i < 3; i++) {
    for (int j = 0; j < 3; j++) {
      int a = (i + 1) % 3, b = (i + 2) % 3, e = (j + 1) % 3, f = (j + 2) % 3;
      quadratic += r[i] * r[j] * (c[a][e] * c[b][f] - c[a][f] * c[b][e]) / det;
    }
  }
  return -0.5 * quadratic - 0.5 * log(det) - 1.5 * log(2.0 * acos(-1.0));
}

/* ---- continuous latent coordinates ---- */

static const poe_support line = {POE_CONTINUOUS, -INFINITY, INFINITY, true, true};
static const poe_support unit = {POE_CONTINUOUS, 0.0, 1.0, true, true};
static const poe_support three = {POE_DISCRETE, 0.0, 2.0, false, false};

/* x0, x1 | h ~ N(h, 1), N(-h, 2), h ~ N(0, 1.5): Gaussian, which the node does not know. */
static double shared(const double *x, double *grad) {
  grad[0] = x[2] - x[0];
  grad[1] = -(x[1] + x[2]) / 4.0;
  grad[2] = -grad[0] + grad[1] - x[2] / 2.25;
  return log_normal(x[0], x[2], 1.0) + log_normal(x[1], -x[2], 2.0) + log_normal(x[2], 0.0, 1.5);
}

static double shared_answer(const double *x) {
  double a = 3.25, b = 6.25, c = -2.25, det = a * b - c * c; /* the covariance of x0, x1 */
  return -0.5 * (b * x[0] * x[0] - 2.0 * c * x[0] * x[1] + a * x[1] * x[1]) / det - 0.5 * log(det) -
         log(2.0 * acos(-1.0));
}

/* x0^h (1 - h)^k with k in 0..2 and h in (0, 1): latent h and k, beta 2; x1 Gaussian around k. */
static double bounded(const double *x, double *grad) {
  grad[0] = x[2] / x[0];
  grad[1] = x[3] - x[1];
  grad[2] = log(x[0]) - x[3] / (1.0 - x[2]);
  grad[3] = 0.0;
  return x[2] * log(x[0]) + x[3] * log1p(-x[2]) + log_normal(x[1], x[3], 1.0);
}

static double bounded_answer(const double *x) {
  double r = 2.0 * log(x[0]), sum = 0.0; /* int e^(r h) (1 - h)^2k dh by Simpson */
  for (int k = 0; k < 3; k++) {
    double part = 0.0;
    for (int i = 0; i <= 2000; i++) {
      double h = i / 2000.0, w = i == 0 || i == 2000 ? 1.0 : i % 2 == 1 ? 4.0 : 2.0;
      part += w * exp(r * h) * pow(1.0 - h, 2.0 * k) / 6000.0;
    }
    sum += part * exp(2.0 * log_normal(x[1], k, 1.0));
  }
  return 0.5 * log(sum);
}

static const poe_support shared_support[3] = {line, line, line};
static const poe_support bounded_support[4] = {{POE_CONTINUOUS, 0.0, INFINITY, true, true}, line, unit, three};

static poe_status build_curve(size_t dim, const poe_support *support, tree_function f, double beta, poe_expert **expert,
                              poe_error *error) {
  tree t = {0};
  size_t latent[2] = {2, 3};
  const poe_expert *child = tree_curve(&t, dim, support, f, true);
  poe_expert *made = NULL;
  if (t.status == POE_OK) {
    t.status = poei_marginal_create(child, dim - 2, latent, beta, &made, &t.error);
  }
  poe_status status = tree_finish(&t, made, expert, error);
  poe_expert_release(made);
  return status;
}

static poe_status integrated(poe_expert **expert, poe_error *error) {
  return build_curve(3, shared_support, shared, 1.0, expert, error);
}

static poe_status beside_values(poe_expert **expert, poe_error *error) {
  return build_curve(4, bounded_support, bounded, 2.0, expert, error);
}

static void positive_points(size_t n, size_t d, double *x) {
  points(n, d, x);
  for (size_t i = 0; i < n; i++) {
    x[i * d] = poet_spread(i, 0, 0.2, 6.0);
  }
}

static poe_status maximised(poe_expert **expert, poe_error *error) {
  return build_curve(3, shared_support, shared, INFINITY, expert, error);
}

/* The best h: precision times h = x0 - x1 / 4. */
static double maximised_value(const double *x) {
  double at[3] = {x[0], x[1], (x[0] - x[1] / 4.0) / (1.0 + 0.25 + 1.0 / 2.25)}, unused[3];
  return shared(at, unused);
}

/* ---- through elimination ---- */

static const double pair_log[9] = {0.4, -0.9, 0.1, -INFINITY, 0.8, -1.5, 0.0, 0.5, 0.2},
                    seen_log[6] = {0.7, -0.2, -INFINITY, 0.3, 0.1, -0.8};

/* h0, h1, h2 of three values, a chain; x0 of two values beside h0, x1 of three beside h1 and h2; y ~ N(h2 - 0.6, 0.9).
 * In order: x0, h0, x1, h1, h2, y. */
static poe_status build_eliminated(bool continuous, double beta, poe_expert **expert, poe_error *error) {
  tree t = {0};
  const double slope = 1.0, shift = -0.6, ones[5] = {1, 1, 1, 1, 1};
  const size_t latent[3] = {1, 3, 4}, dim = continuous ? 6 : 5;
  double wide_log[27];
  for (int i = 0; i < 27; i++) {
    wide_log[i] = cos(3.0 * i);
  }
  const poe_expert *pair = tree_table(&t, 2, (size_t[]){3, 3}, pair_log);
  const poe_expert *parts[5] = {
      tree_slice(&t, pair, dim, (size_t[]){1, 3}), tree_slice(&t, pair, dim, (size_t[]){3, 4}),
      tree_slice(&t, tree_table(&t, 2, (size_t[]){3, 2}, seen_log), dim, (size_t[]){1, 0}),
      tree_slice(&t, tree_table(&t, 3, (size_t[]){3, 3, 3}, wide_log), dim, (size_t[]){3, 2, 4}),
      continuous ? tree_slice(&t, tree_linear(&t, 1, 1, &slope, &shift, 0.9), dim, (size_t[]){5, 4}) : NULL};
  const poe_expert *child = tree_product(&t, dim, continuous ? 5 : 4, parts, ones);
  poe_expert *written = NULL, *value = NULL, *made = NULL;
  poei_plan_options options;
  poei_plan_options_default(&options);
  if (t.status == POE_OK) {
    t.status = poei_marginal_create(child, 3, latent, beta, &written, &t.error);
  }
  if (t.status == POE_OK) {
    t.status = poei_summed_over(child, 3, latent, beta, &options, &value, &t.error);
  }
  if (t.status == POE_OK) {
    t.status = poei_marginal_through(written, value, 1, &made, &t.error);
  }
  poe_status status = tree_finish(&t, made, expert, error);
  poe_expert_release(written);
  poe_expert_release(value);
  poe_expert_release(made);
  return status;
}

/* x: x0, x1 and, unless y is left out (NULL), y. */
static double eliminated_value(const double *x, const double *y, double beta) {
  double value[27], best = -INFINITY;
  for (int k = 0; k < 27; k++) {
    int a = k / 9, b = k / 3 % 3, c = k % 3;
    value[k] = pair_log[3 * a + b] + pair_log[3 * b + c] + seen_log[2 * a + (int)x[0]] +
               cos(3.0 * (9 * b + 3 * (int)x[1] + c)) + (y == NULL ? 0.0 : log_normal(*y, c - 0.6, 0.9));
    best = fmax(best, value[k]);
    value[k] *= isinf(beta) ? 1.0 : beta;
  }
  return isinf(beta) ? best : poei_log_sum_exp(value, 27, 1) / beta;
}

static poe_status eliminated(poe_expert **expert, poe_error *error) {
  return build_eliminated(false, 1.0, expert, error);
}

static poe_status eliminated_warm(poe_expert **expert, poe_error *error) {
  return build_eliminated(true, 0.7, expert, error);
}

static poe_status eliminated_cold(poe_expert **expert, poe_error *error) {
  return build_eliminated(true, INFINITY, expert, error);
}

static double eliminated_sum(const double *x) {
  return eliminated_value(x, NULL, 1.0);
}

static double eliminated_warm_value(const double *x) {
  return eliminated_value(x, x + 2, 0.7);
}

static double eliminated_cold_value(const double *x) {
  return eliminated_value(x, x + 2, INFINITY);
}

static void eliminated_points(size_t n, size_t d, double *x) {
  for (size_t i = 0; i < n; i++) {
    x[i * d] = (double)(i % 2);
    x[i * d + 1] = (double)(i / 2 % 3);
    for (size_t j = 2; j < d; j++) {
      x[i * d + j] = poet_spread(i, j, -2.5, 3.5);
    }
  }
}

static const poet_case marginal_cases[] = {
    {.name = "sum over two latent variables", .build = summed, .points = points, .log_density = summed_value},
    {.name = "sum at beta 1/2", .build = warm, .points = points, .log_density = warm_value},
    {.name = "profile", .build = profile, .points = points, .log_density = profile_value},
    {.name = "eliminated",
     .build = eliminated,
     .points = eliminated_points,
     .log_density = eliminated_sum,
     .needs_no_interior = true},
    {.name = "eliminated at beta 0.7, beside a continuous coordinate",
     .build = eliminated_warm,
     .points = eliminated_points,
     .log_density = eliminated_warm_value},
    {.name = "profile by elimination",
     .build = eliminated_cold,
     .points = eliminated_points,
     .log_density = eliminated_cold_value},
    {.name = "integral over one coordinate",
     .build = integrated,
     .points = points,
     .log_density = shared_answer,
     .tolerance = 1e-9},
    {.name = "integral over an interval, beside values, at beta 2",
     .build = beside_values,
     .points = positive_points,
     .log_density = bounded_answer,
     .tolerance = 1e-9},
    {.name = "profile over one coordinate", .build = maximised, .points = points, .log_density = maximised_value},
    {.name = "joint drawn without its latent", .build = drawn, .log_density = drawn_value, .sample = POET_SAMPLE_STEIN},
};
POET_ENTRY(marginal, marginal_cases);
