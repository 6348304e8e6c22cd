/* Form algebra against other routes: products against pointwise evaluation, log Z against quadrature and against
 * integrating one coordinate at a time, conditionals and marginals against each other, tables against brute force. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/gaussian.h"
#include "compose/exact/table.h"
#include "core/numerics.h"
#include "core/quadrature.h"
#include "experts/closed.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/reference.h"
#include "tests/support/check.h"

enum { TRIALS = 40 };

/* Random numbers by address. */
static double draw(size_t trial, size_t place, double low, double high) {
  return poet_spread(trial, place, low, high);
}

/* A random positive definite matrix: B B' + 0.2 I. */
static void random_cov(size_t trial, size_t d, size_t place, double *cov) {
  double b[64];
  for (size_t i = 0; i < d * d; i++) {
    b[i] = draw(trial, place + i, -1.0, 1.0);
  }
  for (size_t i = 0; i < d; i++) {
    for (size_t j = 0; j < d; j++) {
      double sum = i == j ? 0.2 : 0.0;
      for (size_t k = 0; k < d; k++) {
        sum += b[i * d + k] * b[j * d + k];
      }
      cov[i * d + j] = sum;
    }
  }
}

static const poe_expert *random_gaussian(tree *t, size_t trial, size_t d, size_t place) {
  double mean[8], cov[64];
  for (size_t i = 0; i < d; i++) {
    mean[i] = draw(trial, place + 500 + i, -2.0, 2.0);
  }
  random_cov(trial, d, place, cov);
  return tree_gaussian(t, d, mean, cov);
}

static poe_form form_of(const poe_expert *expert) {
  poe_form form = {0};
  poe_error error = {0};
  check_ok(poe_expert_form(expert, &form, &error), error);
  return form;
}

static double form_value(const poe_form *form, const double *x) {
  double each[4096];
  assert_true(form->components <= 4096);
  for (size_t k = 0; k < form->components; k++) {
    each[k] = form->constant[k];
    for (size_t i = 0; i < form->dim; i++) {
      const double *o = &form->origin[k * form->dim];
      each[k] += form->linear[k * form->dim + i] * (x[i] - o[i]);
      for (size_t j = 0; j < form->dim; j++) {
        each[k] -= 0.5 * (x[i] - o[i]) * form->precision[(k * form->dim + i) * form->dim + j] * (x[j] - o[j]);
      }
    }
  }
  return poei_log_sum_exp(each, form->components, 1);
}

static double log_z_of(const poe_form *form) {
  double log_z = NAN;
  poe_error error = {0};
  check_ok(poei_form_log_z(form, &log_z, &error), error);
  return log_z;
}

/* log of the integral of a product of Gaussians without forms: means and covariances alone, by
 * N(x; a, A) N(x; b, B) = N(a; b, A + B) N(x; c, C) applied twice (elimination, no Cholesky). */
static double product_log_z(size_t d, const double *mean, const double *cov) {
  double m[8], c[64], total = 0.0;
  memcpy(m, mean, d * sizeof *m);
  memcpy(c, cov, d * d * sizeof *c);
  for (size_t f = 1; f < 3; f++) {
    const double *b = mean + f * d, *covariance = cov + f * d * d;
    double sum[64], inverse[64], gain[64], next[64];
    for (size_t i = 0; i < d * d; i++) {
      sum[i] = c[i] + covariance[i];
    }
    total += reference_gaussian(d, m, b, sum);
    reference_inverse(d, sum, inverse);
    for (size_t i = 0; i < d; i++) { /* gain = C (C + B)^-1 */
      for (size_t j = 0; j < d; j++) {
        gain[i * d + j] = 0.0;
        for (size_t k = 0; k < d; k++) {
          gain[i * d + j] += c[i * d + k] * inverse[k * d + j];
        }
      }
    }
    double shifted[8];
    for (size_t i = 0; i < d; i++) {
      shifted[i] = m[i];
      for (size_t j = 0; j < d; j++) {
        shifted[i] += gain[i * d + j] * (b[j] - m[j]);
        next[i * d + j] = c[i * d + j];
        for (size_t k = 0; k < d; k++) {
          next[i * d + j] -= gain[i * d + k] * c[k * d + j];
        }
      }
    }
    memcpy(m, shifted, sizeof shifted);
    memcpy(c, next, d * d * sizeof *c);
  }
  return total;
}

static void products_of_gaussians(void **state) {
  (void)state;
  for (size_t trial = 0; trial < TRIALS; trial++) {
    size_t d = 1 + trial % 6;
    tree t = {0};
    double mean[24], cov[192];
    const poe_expert *factor[3];
    for (size_t f = 0; f < 3; f++) {
      for (size_t i = 0; i < d; i++) {
        mean[f * d + i] = draw(trial, 700 + 10 * f + i, -2.0, 2.0);
      }
      random_cov(trial, d, 100 * f, cov + f * d * d);
      factor[f] = tree_gaussian(&t, d, mean + f * d, cov + f * d * d);
    }
    const poe_expert *product = tree_product(&t, d, 3, factor, (double[]){1.0, 1.0, 1.0});
    tree_check(&t);
    poe_form form = form_of(product);
    check_close(log_z_of(&form), product_log_z(d, mean, cov), 1e-9, 1e-9);
    poe_form_release(&form);
    tree_free(&t);
  }
}

/* Any exponents that leave it proper: pointwise equality, and log Z by integrating coordinates out one by one. */
static void quotients_and_powers(void **state) {
  (void)state;
  for (size_t trial = 0; trial < TRIALS; trial++) {
    size_t d = 2 + trial % 4;
    tree t = {0};
    double wide[25] = {0.0}, mean[5] = {0.1, -0.2, 0.3, 0.0, 0.5};
    for (size_t i = 0; i < d; i++) {
      wide[i * d + i] = 30.0 + (double)i;
    }
    const poe_expert *factor[3] = {random_gaussian(&t, trial, d, 0), random_gaussian(&t, trial, d, 100),
                                   tree_gaussian(&t, d, mean, wide)};
    double exponents[3] = {draw(trial, 900, 0.3, 2.5), 1.0, -draw(trial, 901, 0.2, 1.2)};
    const poe_expert *target = tree_product(&t, d, 3, factor, exponents);
    tree_check(&t);
    poe_form form = form_of(target);
    for (size_t k = 0; k < 10; k++) {
      double x[5];
      for (size_t i = 0; i < d; i++) {
        x[i] = draw(trial + 1000 * k, 950 + i, -3.0, 3.0);
      }
      check_close(form_value(&form, x), tree_value(target, x), 1e-9, 1e-10);
    }
    double log_z = log_z_of(&form);
    for (size_t left = d - 1; left >= 1; left--) { /* the marginal of a marginal has the same integral */
      poe_form smaller = {0};
      size_t keep[5] = {1, 0, 2, 3, 4};
      poe_error error = {0};
      if (left == 1) {
        keep[0] = 0;
      }
      check_ok(poei_gaussians_marginal(&form, left, keep, &smaller, &error), error);
      check_close(log_z_of(&smaller), log_z, 1e-9, 1e-10);
      poe_form_release(&form);
      form = smaller;
    }
    poe_form_release(&form);
    tree_free(&t);
  }
}

typedef struct one_form {
  const poe_form *form;
} one_form;

static poe_status one_form_value(void *context, size_t n, size_t d, const double *x, double *value, poe_error *error) {
  (void)error;
  const one_form *one = context;
  for (size_t i = 0; i < n; i++) {
    value[i] = form_value(one->form, &x[i * d]);
  }
  return POE_OK;
}

static double quadrature_log_z(const poe_form *form) {
  double low[2] = {-INFINITY, -INFINITY}, high[2] = {INFINITY, INFINITY};
  one_form one = {form};
  poei_quadrature_result result;
  poe_error error = {0};
  check_ok(poei_quadrature(one_form_value, &one, form->dim, low, high, NULL, 1e-10, &result, &error), error);
  assert_true(result.converged);
  return result.log_integral;
}

static void mixtures_distribute(void **state) {
  (void)state;
  for (size_t trial = 0; trial < 6; trial++) {
    size_t d = 1 + trial % 2;
    tree t = {0};
    double weights[3] = {0.2, 0.5, 0.3}, means[6], sds[3] = {0.5, 1.0, 0.8};
    for (size_t i = 0; i < 6; i++) {
      means[i] = draw(trial, 20 + i, -2.0, 2.0);
    }
    const poe_expert *gmm = tree_gmm(&t, 3, d, weights, means, sds);
    const poe_expert *either = tree_mixture(
        &t, 2, (const poe_expert *const[]){random_gaussian(&t, trial, d, 0), random_gaussian(&t, trial, d, 50)},
        (double[]){0.7, 0.6});
    const poe_expert *all[3] = {gmm, either, random_gaussian(&t, trial, d, 200)};
    const poe_expert *target = tree_product(&t, d, 3, all, (double[]){2.0, 1.0, 0.5});
    tree_check(&t);
    poe_form form = form_of(target);
    assert_int_equal(form.components, 18); /* 3^2 * 2 */
    for (size_t k = 0; k < 20; k++) {
      double x[2] = {draw(trial + 100 * k, 300, -3.0, 3.0), draw(trial + 100 * k, 301, -3.0, 3.0)};
      check_close(form_value(&form, x), tree_value(target, x), 1e-9, 1e-10);
    }
    check_close(log_z_of(&form), quadrature_log_z(&form), 1e-9, 1e-10);
    poe_form_release(&form);
    tree_free(&t);
  }
}

static void refuses_other_powers_of_mixtures(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *gmm = tree_gmm(&t, 2, 1, (double[]){0.5, 0.5}, (double[]){-1.0, 1.0}, (double[]){1.0, 1.0});
  const poe_expert *half = tree_power(&t, gmm, 0.5), *over = tree_over(&t, tree_normal(&t, 0.0, 0.1), gmm);
  tree_check(&t);
  poe_form form = {0};
  poe_error error = {0};
  check_fails(poe_expert_form(half, &form, &error), POE_E_CAPABILITY, error, "power 0.5");
  check_fails(poe_expert_form(over, &form, &error), POE_E_CAPABILITY, error, "power -1");
  poei_scoped_form many[12];
  for (size_t i = 0; i < 12; i++) {
    many[i] = (poei_scoped_form){form_of(gmm), NULL, 1.0};
  }
  check_fails(poei_gaussians_product(1, 12, many, 4000, &form, &error), POE_E_CAPABILITY, error, "4000");
  check_ok(poei_gaussians_product(1, 11, many, 4000, &form, &error), error);
  assert_int_equal(form.components, 2048);
  poe_form_release(&form);
  for (size_t i = 0; i < 12; i++) {
    poe_form_release(&many[i].form);
  }
  tree_free(&t);
}

static void improper_names_the_direction(void **state) {
  (void)state;
  tree t = {0};
  double mean[2] = {0.0, 0.0}, narrow[4] = {1.0, 0.0, 0.0, 4.0}, round[4] = {2.0, 0.0, 0.0, 2.0};
  const poe_expert *target = tree_over(&t, tree_gaussian(&t, 2, mean, narrow), tree_gaussian(&t, 2, mean, round));
  tree_check(&t);
  poe_form form = form_of(target);
  double log_z;
  poe_error error = {0};
  /* Precision 1/4 - 1/2 < 0 along the second coordinate. */
  check_fails(poei_form_log_z(&form, &log_z, &error), POE_E_IMPROPER, error, "along");
  poe_form_release(&form);
  tree_free(&t);
}

/* Narrow Gaussians far from 0: around 0 their constants are of order (mean / sd)^2, here up to 1e28, and every digit of
 * log Z would cancel. Coordinates are independent, so that log Z = sum_j log N(m_j - m'_j; 0, s^2 + s'^2); the answer
 * has the accuracy with which doubles hold the means. */
static void far_and_narrow(void **state) {
  (void)state;
  static const struct {
    double mean[2], sd[2], other_mean[2], other_sd[2], tolerance;
  } cases[] = {
      {{1e6, -1e6}, {1e-8, 1e-8}, {0.0, 0.0}, {1e8, 1e8}, 1e-12},
      {{1e6, 3.0}, {1e-3, 1e-6}, {1e6 + 0x1p-10, 3.0}, {1e-3, 1e-3}, 1e-12},
      {{1e8, 1e8}, {1.0, 1e-4}, {1e8 + 2.0, 1e8}, {2.0, 1.0}, 1e-12},
  };
  for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
    for (size_t order = 0; order < 2; order++) {
      tree t = {0};
      double truth = 0.0, cov[2][4] = {{0.0}}, log_z = 0.0;
      for (size_t j = 0; j < 2; j++) {
        double s = cases[c].sd[j], r = cases[c].other_sd[j], variance = s * s + r * r;
        double way = cases[c].mean[j] - cases[c].other_mean[j];
        cov[0][3 * j] = s * s;
        cov[1][3 * j] = r * r;
        truth -= 0.5 * way * way / variance + 0.5 * log(variance) + 0.5 * POEI_LOG_2PI;
      }
      const poe_expert *a = tree_gaussian(&t, 2, cases[c].mean, cov[0]);
      const poe_expert *b = tree_gaussian(&t, 2, cases[c].other_mean, cov[1]);
      const poe_expert *target = order == 0 ? tree_times(&t, a, b) : tree_times(&t, b, a);
      tree_check(&t);
      poe_form form = form_of(target);
      poe_error error = {0};
      check_ok(poei_form_log_z(&form, &log_z, &error), error);
      check_close(log_z, truth, cases[c].tolerance, cases[c].tolerance);
      poe_form_release(&form);
      /* Conditioning is around the origin too: p(x1, x0 = m0) p'(...) over the second coordinate. */
      form = form_of(tree_given(&t, target, 1, (size_t[]){0}, cases[c].mean));
      tree_check(&t);
      check_ok(poei_form_log_z(&form, &log_z, &error), error);
      double s = cases[c].sd[0], r = cases[c].other_sd[0], s1 = cases[c].sd[1], r1 = cases[c].other_sd[1];
      double way0 = (cases[c].mean[0] - cases[c].other_mean[0]) / r, way1 = cases[c].mean[1] - cases[c].other_mean[1];
      truth = -0.5 * way0 * way0 - log(s) - log(r) - 1.5 * POEI_LOG_2PI - 0.5 * log(s1 * s1 + r1 * r1) -
              0.5 * way1 * way1 / (s1 * s1 + r1 * r1);
      check_close(log_z, truth, cases[c].tolerance, cases[c].tolerance);
      poe_form_release(&form);
      tree_free(&t);
    }
  }
}

/* Bayes: joint of x and y = A x + b + noise; evidence and posterior by conditioning, against the marginal of y. */
static void conditioning(void **state) {
  (void)state;
  for (size_t trial = 0; trial < TRIALS; trial++) {
    tree t = {0};
    double a[6], b[2] = {0.3, -0.1}, y[2];
    for (size_t i = 0; i < 6; i++) {
      a[i] = draw(trial, 30 + i, -1.0, 1.0);
    }
    y[0] = draw(trial, 40, -2.0, 2.0);
    y[1] = draw(trial, 41, -2.0, 2.0);
    const poe_expert *line = tree_slice(&t, tree_linear(&t, 2, 3, a, b, 0.7), 5, (size_t[]){3, 4, 0, 1, 2});
    const poe_expert *prior = random_gaussian(&t, trial, 3, 0);
    const poe_expert *both[2] = {tree_slice(&t, prior, 5, (size_t[]){0, 1, 2}), line};
    const poe_expert *joint = tree_product(&t, 5, 2, both, (double[]){1.0, 1.0});
    const poe_expert *posterior = tree_given(&t, joint, 2, (size_t[]){4, 3}, (double[]){y[1], y[0]});
    tree_check(&t);
    poe_form full = form_of(joint), given = form_of(posterior), marginal = {0};
    poe_error error = {0};
    check_close(log_z_of(&full), 0.0, 1e-9, 0.0);
    check_ok(poei_gaussians_marginal(&full, 2, (size_t[]){3, 4}, &marginal, &error), error);
    check_close(log_z_of(&given), form_value(&marginal, y), 1e-9, 1e-9);
    for (size_t k = 0; k < 5; k++) {
      double x[5] = {draw(trial, 60 + k, -2.0, 2.0), 0.4, -0.3, y[0], y[1]};
      check_close(form_value(&given, x), tree_value(joint, x), 1e-9, 1e-10);
    }
    poe_form_release(&full);
    poe_form_release(&given);
    poe_form_release(&marginal);
    tree_free(&t);
  }
}

/* ---- tables ---- */

static void tables_by_brute_force(void **state) {
  (void)state;
  tree t = {0};
  double pair[6], triple[12];
  for (size_t i = 0; i < 12; i++) {
    triple[i] = draw(i, 1, -2.0, 2.0);
    pair[i % 6] = draw(i, 2, -2.0, 2.0);
  }
  pair[4] = -INFINITY;
  const poe_expert *children[3] = {
      tree_slice(&t, tree_table(&t, 2, (size_t[]){3, 2}, pair), 3, (size_t[]){2, 0}),
      tree_slice(&t, tree_table(&t, 3, (size_t[]){2, 2, 3}, triple), 3, (size_t[]){1, 0, 2}),
      tree_at(&t, tree_bernoulli(&t, 0.2), 3, 1)};
  const poe_expert *target = tree_product(&t, 3, 3, children, (double[]){1.5, 1.0, -0.5});
  tree_check(&t);
  poe_form form = form_of(target), clamped = {0}, summed = {0};
  double total = -INFINITY;
  for (size_t s = 0; s < 12; s++) {
    double x[3] = {(double)(s / 6), (double)(s / 3 % 2), (double)(s % 3)};
    double value = tree_value(target, x);
    check_close(form.log_value[s], value, 1e-13, 0.0);
    total = poei_log_add(total, value);
  }
  check_close(log_z_of(&form), total, 1e-12, 0.0);
  poe_error error = {0};
  check_ok(poei_table_given(&form, 1, (size_t[]){1}, (double[]){1.0}, &clamped, &error), error);
  check_ok(poei_table_marginal(&form, 1, (size_t[]){2}, 1.0, &summed, &error), error);
  check_close(clamped.log_value[1 * 3 + 2], form.log_value[1 * 6 + 1 * 3 + 2], 1e-13, 0.0);
  check_close(log_z_of(&summed), total, 1e-12, 0.0);
  poe_form_release(&form);
  poe_form_release(&clamped);
  poe_form_release(&summed);
  tree_free(&t);
}

static void tables_with_zeros(void **state) {
  (void)state;
  tree t = {0};
  double half[2] = {0.0, -INFINITY};
  const poe_expert *zero = tree_table(&t, 1, (size_t[]){2}, half), *coin = tree_bernoulli(&t, 0.3);
  const poe_expert *over = tree_over(&t, coin, zero), *self = tree_over(&t, zero, zero);
  tree_check(&t);
  poe_form form = {0};
  poe_error error = {0};
  check_fails(poe_expert_form(over, &form, &error), POE_E_IMPROPER, error, "state 1");
  check_ok(poe_expert_form(self, &form, &error), error); /* 0/0 = 0 */
  assert_true(form.log_value[1] == -INFINITY && form.log_value[0] == 0.0);
  poe_form_release(&form);
  poe_form mixed = {0}, forms[2] = {form_of(coin), form_of(zero)};
  check_ok(poei_table_mixture(2, forms, (double[]){log(0.25), log(2.0)}, 100, &mixed, &error), error);
  check_close(mixed.log_value[0], log(0.25 * 0.7 + 2.0), 1e-14, 0.0);
  check_close(mixed.log_value[1], log(0.25 * 0.3), 1e-14, 0.0);
  poe_form_release(&mixed);
  poe_form_release(&forms[0]);
  poe_form_release(&forms[1]);
  tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_of_gaussians),
      cmocka_unit_test(quotients_and_powers),
      cmocka_unit_test(mixtures_distribute),
      cmocka_unit_test(refuses_other_powers_of_mixtures),
      cmocka_unit_test(improper_names_the_direction),
      cmocka_unit_test(conditioning),
      cmocka_unit_test(tables_by_brute_force),
      cmocka_unit_test(tables_with_zeros),
      cmocka_unit_test(far_and_narrow),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
