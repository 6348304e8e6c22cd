/* The digits of log Z: chains of Gaussians far from 0, narrow and wide at once, as the planner closes them, against the
 * Kalman filter in quadruple precision (113 bits).
 *
 * x_0 ~ N(m, s_0), x_t | x_{t-1} ~ N(a_t x_{t-1} + b_t, s_t), y_t | x_t ~ N(c_t x_t + e_t, r_t) at some t, y_t given.
 * All parameters are taken as the doubles they are; what is tested is what the library makes of them. */
#include <math.h>
#include <stdlib.h>

#include "compose/nodes/node.h"
#include "compose/plan.h"
#include "core/linalg.h"
#include "core/numerics.h"
#include "experts/form.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

__extension__ typedef __float128 quad;

enum { MOST = 50 };

typedef struct chain {
  size_t n;
  double mean, sd[MOST], a[MOST], b[MOST];
  bool seen[MOST];
  double c[MOST], e[MOST], r[MOST], y[MOST];
} chain;

/* log N(gap; 0, variance); only the logarithm is rounded to double. */
static quad log_normal(quad gap, quad variance) {
  return -gap * gap / (2 * variance) - (quad)(0.5 * log((double)variance)) - (quad)(0.5 * POEI_LOG_2PI);
}

/* A variance as the families read it: sd * sd rounded for the first, the square of sd for the others. */
static double kalman(const chain *k, double *mean, double *sd) {
  quad m = k->mean, v = (quad)(k->sd[0] * k->sd[0]), total = 0;
  for (size_t t = 0; t < k->n; t++) {
    if (t > 0) {
      m = (quad)k->a[t] * m + (quad)k->b[t];
      v = (quad)k->a[t] * (quad)k->a[t] * v + (quad)k->sd[t] * (quad)k->sd[t];
    }
    if (k->seen[t]) {
      quad c = k->c[t], noise = (quad)k->r[t] * (quad)k->r[t], whole = c * c * v + noise;
      quad gap = (quad)k->y[t] - c * m - (quad)k->e[t];
      total += log_normal(gap, whole);
      m += v * c * gap / whole;
      v = v * noise / whole;
    }
  }
  *mean = (double)m; /* of the last coordinate */
  *sd = sqrt((double)v);
  return (double)total;
}

/* How the same density is written down. */
typedef enum writing {
  GIVEN_JOINT, /* (prior * steps * sightings) given y = ...               */
  GIVEN_TERMS, /* prior * steps * (sighting given y = ...)                */
  NESTED,      /* ((prior * steps) * sighting) * sighting ..., all given  */
  WRITINGS
} writing;

static const poe_expert *build(tree *t, const chain *k, writing how) {
  const poe_expert *part[2 * MOST];
  size_t n = 0, dim = k->n, index[MOST];
  double ones[2 * MOST], y[MOST];
  for (size_t i = 0; how != GIVEN_TERMS && i < k->n; i++) {
    dim += k->seen[i];
  }
  part[n++] = tree_at(t, tree_normal(t, k->mean, k->sd[0]), dim, 0);
  for (size_t i = 1; i < k->n; i++) {
    part[n++] = tree_slice(t, tree_linear(t, 1, 1, &k->a[i], &k->b[i], k->sd[i]), dim, (size_t[]){i, i - 1});
  }
  size_t steps = n, at = k->n;
  for (size_t i = 0; i < k->n; i++) {
    if (k->seen[i]) {
      const poe_expert *sighting = tree_linear(t, 1, 1, &k->c[i], &k->e[i], k->r[i]);
      y[at - k->n] = k->y[i];
      index[at - k->n] = at;
      part[n++] = how == GIVEN_TERMS ? tree_at(t, tree_given(t, sighting, 1, (size_t[]){0}, &k->y[i]), dim, i)
                                     : tree_slice(t, sighting, dim, (size_t[]){at, i});
      at++;
    }
  }
  for (size_t i = 0; i < n; i++) {
    ones[i] = 1.0;
  }
  if (how == GIVEN_TERMS) {
    return tree_product(t, dim, n, part, ones);
  }
  const poe_expert *joint = tree_product(t, dim, how == NESTED ? steps : n, part, ones);
  for (size_t i = steps; how == NESTED && i < n; i++) {
    joint = tree_times(t, joint, part[i]);
  }
  return tree_given(t, joint, at - k->n, index, y);
}

/* A chain of n around `offset` with standard deviations from low to high (log-uniform), growing by |a| in [1/2, most].
 */
static chain random_chain(size_t trial, size_t n, double offset, double low, double high, double most) {
  chain k = {.n = n, .mean = offset};
  double at = offset;
  for (size_t t = 0; t < n; t++) {
    double u = poet_spread(trial, 10 * t, 0.0, 1.0),
           sign = poet_spread(trial, 10 * t + 1, -1.0, 1.0) < 0.0 ? -1.0 : 1.0;
    k.sd[t] = low * pow(high / low, u);
    k.a[t] = sign * poet_spread(trial, 10 * t + 2, 0.5, most);
    k.b[t] = offset - k.a[t] * offset;
    at = t == 0 ? offset + k.sd[0] * poet_spread(trial, 3, -1.5, 1.5)
                : k.a[t] * at + k.b[t] + k.sd[t] * poet_spread(trial, 10 * t + 3, -1.5, 1.5);
    k.seen[t] = t + 1 == n || poet_spread(trial, 10 * t + 4, 0.0, 1.0) < 0.3;
    k.c[t] = poet_spread(trial, 10 * t + 5, 0.5, 2.0);
    k.e[t] = poet_spread(trial, 10 * t + 6, -1.0, 1.0) * offset;
    k.r[t] = low * pow(high / low, poet_spread(trial, 10 * t + 7, 0.0, 1.0));
    k.y[t] = k.c[t] * at + k.e[t] + k.r[t] * poet_spread(trial, 10 * t + 8, -1.5, 1.5);
  }
  return k;
}

static poei_plan *closed_plan(const tree *t, const poe_expert *target) {
  poei_plan *plan = NULL;
  poe_error error = {0};
  tree_check(t);
  check_ok(poei_plan_build(target, NULL, &plan, &error), error);
  assert_int_equal(plan->method, POEI_METHOD_CLOSED);
  assert_true(plan->exact && plan->has_log_z);
  return plan;
}

/* Mean and standard deviation of a coordinate of a closed Gaussian. */
static void moments(const poe_expert *closed, size_t coordinate, double *mean, double *sd) {
  poe_form form = {0};
  poe_error error = {0};
  size_t d = poe_expert_traits(closed)->dim;
  double *factor = poet_doubles(d * d), *means = poet_doubles(d), *column = poet_doubles(d), log_z;
  check_ok(poe_expert_form(closed, &form, &error), error);
  check_ok(poei_form_component(&form, 0, factor, means, &log_z, &error), error);
  for (size_t j = 0; j < d; j++) {
    column[j] = j == coordinate ? 1.0 : 0.0;
  }
  poei_solve_lower(d, factor, 1, column, d);
  *mean = means[coordinate];
  *sd = sqrt(poei_ddot(d, column, column));
  poe_form_release(&form);
  free(factor);
  free(means);
  free(column);
}

/* The issue that this file is about: around 1e6 the polynomials of the factors have constants of 1e14. */
static void one_step(void **state) {
  (void)state;
  tree t = {0};
  double a = 2.0, b = 3.0, y = 2000003.71;
  const poe_expert *line = tree_linear(&t, 1, 1, &a, &b, 0.1);
  const poe_expert *both[2] = {tree_at(&t, tree_normal(&t, 1e6, 1.0), 2, 0), tree_slice(&t, line, 2, (size_t[]){1, 0})};
  const poe_expert *joint = tree_product(&t, 2, 2, both, (double[]){1.0, 1.0});
  double gap = y - 2000003.0, truth = (double)log_normal(gap, 4 + (quad)0.1 * (quad)0.1);
  poei_plan *plan = closed_plan(&t, tree_given(&t, joint, 1, (size_t[]){1}, &y));
  check_close(plan->log_z, truth, 1e-14, 1e-14);
  poei_plan_destroy(plan);
  /* y with a Gaussian of its own instead */
  const poe_expert *three[3] = {both[0], both[1], tree_at(&t, tree_normal(&t, y, 0.5), 2, 1)};
  plan = closed_plan(&t, tree_product(&t, 2, 3, three, (double[]){1.0, 1.0, 1.0}));
  check_close(plan->log_z, (double)log_normal(gap, 4 + (quad)0.1 * (quad)0.1 + (quad)0.25), 1e-14, 1e-14);
  poei_plan_destroy(plan);
  tree_free(&t);
}

static void chains(void **state) {
  (void)state;
  static const double offsets[] = {0.0, 1e3, 1e6, 1e8}, growth[] = {1.0, 2.0};
  static const double scales[][2] = {{1e-3, 1e-3}, {1.0, 1.0}, {1e3, 1e3}, {1e-3, 1e3}};
  static const size_t sizes[] = {2, 5, 20, MOST};
  double worst = 0.0;
  for (size_t c = 0; c < 4 * 4 * 4 * 2; c++) {
    const double *scale = scales[c / 4 % 4];
    for (size_t trial = 0; trial < 2; trial++) {
      chain k = random_chain(7 * c + trial, sizes[c % 4], offsets[c / 16 % 4], scale[0], scale[1], growth[c / 64]);
      double mean, sd, own_mean, own_sd, truth = kalman(&k, &mean, &sd);
      for (int how = 0; how < WRITINGS; how++) {
        tree t = {0};
        poei_plan *plan = closed_plan(&t, build(&t, &k, (writing)how));
        worst = fmax(worst, fabs(plan->log_z - truth));
        check_close(plan->log_z, truth, 1e-11, 0.0);
        moments(plan->expert, k.n - 1, &own_mean, &own_sd);
        check_close(own_mean, mean, 1e-6 * sd, 4e-16);
        check_close(own_sd, sd, 0.0, 1e-6);
        poei_plan_destroy(plan);
        tree_free(&t);
      }
    }
  }
  print_message("  the largest error of log Z is %.1e\n", worst);
}

/* Where widths lie further apart than doubles can tell, or coordinates further out, a closed form is either right or
 * not claimed. */
static void no_false_claims(void **state) {
  (void)state;
  static const double offsets[] = {1e4, 1e12, 1e14};
  static const double scales[][2] = {{1e-3, 1e-3}, {1e-6, 1e6}, {1e-9, 1e9}};
  static const size_t sizes[] = {2, 5, 20};
  size_t closed = 0, refused = 0;
  for (size_t c = 0; c < 27; c++) {
    for (size_t trial = 0; trial < 4; trial++) {
      const double *scale = scales[c / 3 % 3];
      chain k = random_chain(11 * c + trial, sizes[c % 3], offsets[c / 9], scale[0], scale[1], 4.0);
      tree t = {0};
      double mean, sd, truth = kalman(&k, &mean, &sd);
      const poe_expert *target = build(&t, &k, GIVEN_JOINT);
      tree_check(&t);
      poei_plan *plan = NULL;
      poe_error error = {0};
      if (poei_plan_build(target, NULL, &plan, &error) == POE_OK && plan->method == POEI_METHOD_CLOSED) {
        check_close(plan->log_z, truth, 1e-8, 0.0);
        closed++;
      } else {
        refused++;
      }
      poei_plan_destroy(plan);
      tree_free(&t);
    }
  }
  print_message("  %zu chains closed, %zu refused\n", closed, refused);
  assert_true(closed > 50 && refused > 5);
}

/* ---- mixtures, powers, boxes ---- */

/* Each sighting comes from one of two lines: a mixture of Gaussians in x that are no densities in x. The truth is a sum
 * of four evidences. */
static void switching_lines(void **state) {
  (void)state;
  static const double offsets[] = {0.0, 1e6, 1e8};
  for (size_t o = 0; o < 3; o++) {
    tree t = {0};
    double at = offsets[o], a[2][2] = {{1.0, 1.0}, {2.0, -1.0}}, b[2] = {0.25, -1.0}, r[2] = {1e-3, 0.1};
    double y[2] = {2.0 * at + 0.2503, 2.0 * at + 0.26}, weight[2] = {0.3, 0.7}, prior[2] = {at, at}, each[4];
    double cov[4] = {0.25, 0.0, 0.0, 0.5};
    const poe_expert *sighting[2], *factor[3];
    for (size_t i = 0; i < 2; i++) {
      for (size_t k = 0; k < 2; k++) {
        sighting[k] = tree_given(&t, tree_linear(&t, 1, 2, a[k], &b[k], r[k]), 1, (size_t[]){0}, &y[i]);
      }
      factor[i] = tree_mixture(&t, 2, sighting, weight);
    }
    factor[2] = tree_gaussian(&t, 2, prior, cov);
    poei_plan *plan = closed_plan(&t, tree_product(&t, 2, 3, factor, (double[]){1.0, 1.0, 1.0}));
    for (size_t c = 0; c < 4; c++) { /* y is Gaussian: mean A m + b, covariance A V A' + R */
      const double *u = a[c % 2], *v = a[c / 2];
      quad s = (quad)u[0] * u[0] * cov[0] + (quad)u[1] * u[1] * cov[3] + (quad)r[c % 2] * r[c % 2];
      quad w = (quad)v[0] * v[0] * cov[0] + (quad)v[1] * v[1] * cov[3] + (quad)r[c / 2] * r[c / 2];
      quad both = (quad)u[0] * v[0] * cov[0] + (quad)u[1] * v[1] * cov[3];
      quad p = (quad)y[0] - b[c % 2] - (quad)u[0] * at - (quad)u[1] * at;
      quad q = (quad)y[1] - b[c / 2] - (quad)v[0] * at - (quad)v[1] * at - both * p / s;
      each[c] = (double)(log_normal(p, s) + log_normal(q, w - both * both / s)) + log(weight[c % 2] * weight[c / 2]);
    }
    check_close(plan->log_z, poei_log_sum_exp(each, 4, 1), 1e-11, 1e-14);
    poei_plan_destroy(plan);
    tree_free(&t);
  }
}

/* f = N(x; m, s)^2 N(y; 2 x + 3, r) N(y; u, v)^(1/2) / N(x; w, z): eliminated by hand in quadruple precision. */
static void powers_and_divisors(void **state) {
  (void)state;
  static const double offsets[] = {0.0, 1e6, 1e8}, widths[] = {1e-3, 1.0, 1e3};
  for (size_t c = 0; c < 9; c++) {
    double at = offsets[c / 3], s = widths[c % 3], r = 0.3 * s, v = 2.0 * s, z = 1.5 * s, a = 2.0, b = 3.0;
    double m = at + 0.3 * s, u = 2.0 * at + 3.0 - s, w = at - 0.4 * s;
    tree t = {0};
    const poe_expert *factor[4] = {tree_at(&t, tree_normal(&t, m, s), 2, 0),
                                   tree_slice(&t, tree_linear(&t, 1, 1, &a, &b, r), 2, (size_t[]){1, 0}),
                                   tree_at(&t, tree_normal(&t, u, v), 2, 1), tree_at(&t, tree_normal(&t, w, z), 2, 0)};
    double power[4] = {2.0, 1.0, 0.5, -1.0};
    poei_plan *plan = closed_plan(&t, tree_product(&t, 2, 4, factor, power));
    /* Each factor is exp(-t (c . (x, y) - e)^2 / (2 var)) / sqrt(2 pi var)^t; around (at, 2 at + 3). */
    quad line[4][3] = {{1, 0, (quad)m - at},
                       {-2, 1, (quad)2.0 * at + 3 - (2 * (quad)at + 3)},
                       {0, 1, (quad)u - (2 * (quad)at + 3)},
                       {1, 0, (quad)w - at}};
    quad variance[4] = {(quad)(s * s), (quad)r * r, (quad)(v * v), (quad)(z * z)}, p[3][3] = {{0}};
    double truth = 0.0;
    for (size_t i = 0; i < 4; i++) {
      for (size_t j = 0; j < 9; j++) {
        p[j / 3][j % 3] += (quad)power[i] * line[i][j / 3] * line[i][j % 3] / variance[i];
      }
      truth -= power[i] * (0.5 * log((double)variance[i]) + 0.5 * POEI_LOG_2PI);
    }
    for (size_t j = 0; j < 2; j++) { /* complete the square in x, then in y */
      truth += 0.5 * POEI_LOG_2PI - 0.5 * log((double)p[j][j]);
      for (size_t i = j + 1; i < 3; i++) {
        quad share = p[i][j] / p[j][j];
        for (size_t l = j + 1; l < 3; l++) {
          p[i][l] -= share * p[j][l];
        }
      }
    }
    truth -= 0.5 * (double)p[2][2];
    check_close(plan->log_z, truth, 1e-11, 1e-14);
    poei_plan_destroy(plan);
    tree_free(&t);
  }
}

/* A sighting of a bounded variable: the mass of the posterior inside the box. */
static void far_boxes(void **state) {
  (void)state;
  static const double offsets[] = {0.0, 1e6, 1e8};
  for (size_t o = 0; o < 3; o++) {
    double at = offsets[o], a = 3.0, b = -1.0, y = 3.0 * at - 0.9985, r = 1e-3, low = at + 0.0003, s = 1.0;
    tree t = {0};
    const poe_expert *bounded = tree_restrict(&t, tree_normal(&t, at, s), low, INFINITY);
    const poe_expert *line = tree_given(&t, tree_linear(&t, 1, 1, &a, &b, r), 1, (size_t[]){0}, &y);
    poei_plan *plan = closed_plan(&t, tree_times(&t, bounded, line));
    quad gap = (quad)y - 3 * (quad)at + 1, whole = 9 + (quad)r * r, mean = 3 * gap / whole;
    quad z = ((quad)low - at - mean) / ((quad)r / (quad)sqrt((double)whole));
    check_close(plan->log_z, (double)log_normal(gap, whole) + poei_normal_log_cdf(-(double)z), 1e-11, 0.0);
    poei_plan_destroy(plan);
    tree_free(&t);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_step),
      cmocka_unit_test(chains),
      cmocka_unit_test(no_false_claims),
      cmocka_unit_test(switching_lines),
      cmocka_unit_test(powers_and_divisors),
      cmocka_unit_test(far_boxes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
