/* Conformance entries of marginal: finite latent values at several temperatures, and draws from a joint density. */
#include <math.h>

#include "tests/compose/build.h"
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

static const poet_case marginal_cases[] = {
    {.name = "sum over two latent variables", .build = summed, .points = points, .log_density = summed_value},
    {.name = "sum at beta 1/2", .build = warm, .points = points, .log_density = warm_value},
    {.name = "profile", .build = profile, .points = points, .log_density = profile_value},
    {.name = "joint drawn without its latent", .build = drawn, .log_density = drawn_value, .sample = POET_SAMPLE_STEIN},
};
POET_ENTRY(marginal, marginal_cases);
