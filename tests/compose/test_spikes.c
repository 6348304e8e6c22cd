/* Narrow and far: peaks that a grid around 0 does not see. log Z by quadrature, and draws, against closed forms, for
 * peaks that the parts of a target know of (components, Gaussian factors, locations of other families, boxes), for
 * peaks that following the gradient finds, and in one and two dimensions. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/numeric.h"
#include "compose/nodes/node.h"
#include "compose/plan.h"
#include "core/numerics.h"
#include "experts/list.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

/* ---- experts that know nothing about themselves ---- */

enum { MOST_PEAKS = 4 };

/* sum_k w_k N(x; at_k, scale_k), independent coordinates: values, and gradients when it has them. */
typedef struct peaks {
  size_t d, n;
  poei_spot spot[MOST_PEAKS];
  double weight[MOST_PEAKS];
  bool gradient;
  poe_support support[2];
} peaks;

static double peak_value(const peaks *self, size_t k, const double *x) {
  double value = log(self->weight[k]);
  for (size_t j = 0; j < self->d; j++) {
    double sd = self->spot[k].scale[j];
    value += poei_normal_log_pdf((x[j] - self->spot[k].at[j]) / sd) - log(sd);
  }
  return value;
}

static poe_status peaks_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                 poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  const peaks *self = state;
  for (size_t i = 0; i < rows.n; i++) {
    const double *x = &rows.x[i * rows.ld];
    double each[MOST_PEAKS], w = weights.w[i * weights.inc];
    for (size_t k = 0; k < self->n; k++) {
      each[k] = peak_value(self, k, x);
    }
    double value = poei_log_sum_exp(each, self->n, 1);
    poe_accum_value(&out.logp[i], w, value);
    for (size_t k = 0; out.grad != NULL && k < self->n; k++) {
      for (size_t j = 0; j < self->d; j++) {
        double sd = self->spot[k].scale[j];
        out.grad[i * out.ldg + j] -= w * exp(each[k] - value) * (x[j] - self->spot[k].at[j]) / (sd * sd);
      }
    }
  }
  return POE_OK;
}

static void peaks_traits(const void *state, poe_traits *traits) {
  const peaks *self = state;
  *traits = (poe_traits){.dim = self->d, .support = self->support, .capabilities = POE_CAN_EVAL};
  traits->capabilities |= self->gradient ? POE_CAN_GRADIENT : 0u;
}

static size_t no_scratch(const void *self, unsigned want, size_t n) {
  (void)self;
  (void)want;
  (void)n;
  return 0;
}

static void nothing(void *self) {
  (void)self;
}

static const poe_param no_params[] = {{0}};
static const poe_expert_ops peaks_ops = {.struct_size = sizeof(poe_expert_ops),
                                         .kind = "peaks",
                                         .doc = "peaks",
                                         .params = no_params,
                                         .destroy = nothing,
                                         .traits = peaks_traits,
                                         .scratch = no_scratch,
                                         .eval_add = peaks_eval_add};

static poe_expert *peaks_of(peaks *self) {
  poe_expert *expert = NULL;
  poe_error error = {0};
  for (size_t j = 0; j < self->d; j++) {
    self->support[j] = poei_support_reals();
  }
  check_ok(poe_expert_wrap(&peaks_ops, self, &expert, &error), error);
  return expert;
}

/* ---- checks ---- */

/* log Z of a target by quadrature at its spots, which must be within the bound of the truth and the bound within the
 * tolerance. */
static poei_spots check_integral(const poe_expert *target, double truth, double tolerance) {
  poei_spots spots = {0};
  poe_error error = {0};
  double log_z, bound;
  bool converged;
  check_ok(poei_spots_find(target, &spots, &error), error);
  check_ok(poei_integrate(target, &spots, tolerance, &log_z, &bound, &converged, &error), error);
  if (!converged || !(fabs(log_z - truth) <= bound + 1e-12 * (1.0 + fabs(truth)))) {
    fail_msg("log Z is %.15g, not %.15g; bound %g, %zu spots", log_z, truth, bound, spots.n);
  }
  return spots;
}

static void integral(const tree *t, const poe_expert *target, double truth, double tolerance) {
  tree_check(t);
  poei_spots spots = check_integral(target, truth, tolerance);
  poei_spots_free(&spots);
}

static const poe_expert *laplace(tree *t, double loc, double scale) {
  poet_args a;
  poe_expert *made = NULL;
  poet_args_start(&a, "laplace");
  poet_args_real_variable(&a, "x", 1);
  poet_args_scalar(&a, "loc", &loc);
  poet_args_scalar(&a, "scale", &scale);
  if (t->status == POE_OK) {
    t->status = poe_expert_create(&poei_laplace_ops, &a.args, &made, &t->error);
    t->made[t->n++] = made;
  }
  return made;
}

/* log N(x; m, s) */
static double normal_at(double x, double mean, double sd) {
  return poei_normal_log_pdf((x - mean) / sd) - log(sd);
}

/* ---- one dimension ---- */

/* Components of every kind, none of them near another. */
static const poe_expert *far_mixture(tree *t) {
  const poe_expert *part[6] = {
      tree_student(t, 3.0, 0.0, 1.0), laplace(t, 7000.0, 1e-3), tree_uniform(t, 1, -1300.001, -1300.0),
      tree_normal(t, 1e6, 1e-2),      laplace(t, 0.25, 1e-6),   tree_student(t, 5.0, -4e7, 3.0)};
  return tree_mixture(t, 6, part, (double[]){0.25, 0.1, 0.2, 0.15, 0.05, 0.25});
}

static void known_components(void **state) {
  (void)state;
  tree t = {0};
  integral(&t, far_mixture(&t), 0.0, 1e-7);
  /* The case that was wrong: a component at 7000 with sd 1e-3, under a factor. N(m; 0, s^2 + S^2) each. */
  double weights[3] = {0.5, 0.3, 0.2}, means[3] = {0.0, 7000.0, -2e5}, sds[3] = {1.0, 1e-3, 1e-2}, each[3];
  const poe_expert *gmm = tree_gmm(&t, 3, 1, weights, means, sds);
  for (int with_gradient = 0; with_gradient <= 1; with_gradient++) {
    peaks wide = {.d = 1, .n = 1, .spot = {{{0, 0}, {1e5, 1}}}, .weight = {1.0}, .gradient = with_gradient == 1};
    poe_expert *factor = peaks_of(&wide);
    for (size_t k = 0; k < 3; k++) {
      each[k] = log(weights[k]) + normal_at(means[k], 0.0, hypot(sds[k], 1e5));
    }
    integral(&t, tree_times(&t, gmm, factor), poei_log_sum_exp(each, 3, 1), 1e-8);
    tree_free(&t);
    gmm = tree_gmm(&t, 3, 1, weights, means, sds);
    poe_expert_release(factor);
  }
  tree_free(&t);
}

/* One among a thousand components, far from all others. */
static void one_of_many(void **state) {
  (void)state;
  enum { K = 1000 };
  tree t = {0};
  double weights[K], means[K], sds[K], each[K];
  for (size_t k = 0; k < K; k++) {
    weights[k] = 1.0;
    means[k] = poet_spread(k, 0, -50.0, 50.0);
    sds[k] = poet_spread(k, 1, 0.5, 2.0);
  }
  means[777] = 31234.5;
  sds[777] = 1e-4;
  peaks wide = {.d = 1, .n = 1, .spot = {{{0, 0}, {1e4, 1}}}, .weight = {1.0}, .gradient = true};
  poe_expert *factor = peaks_of(&wide);
  for (size_t k = 0; k < K; k++) {
    each[k] = -log((double)K) + normal_at(means[k], 0.0, hypot(sds[k], 1e4));
  }
  integral(&t, tree_times(&t, tree_gmm(&t, K, 1, weights, means, sds), factor), poei_log_sum_exp(each, K, 1), 1e-8);
  poe_expert_release(factor);
  tree_free(&t);
}

/* A lone spike of any width anywhere: its slopes lead to it. */
static void lone_spikes(void **state) {
  (void)state;
  static const double centres[] = {0.0, 1300.0, -7e5, 1e8}, widths[] = {1e-6, 1e-3, 1.0, 1e6};
  for (size_t c = 0; c < 16; c++) {
    double centre = centres[c / 4], width = widths[c % 4];
    peaks one = {.d = 1, .n = 1, .spot = {{{centre, 0}, {width, 1}}}, .weight = {2.0}, .gradient = true};
    poe_expert *target = peaks_of(&one);
    /* Doubles near the centre are that far apart: no better can be asked for, or claimed. */
    double tolerance = fmax(1e-8, 1e-14 * fabs(centre) / width);
    poei_spots spots = check_integral(target, log(2.0), tolerance);
    assert_int_equal(spots.n, 1);
    check_close(spots.item[0].at[0], centre, 1e-3 * width, 1e-15);
    assert_true(spots.item[0].scale[0] > 0.5 * width && spots.item[0].scale[0] < 8.0 * width);
    poei_spots_free(&spots);
    poe_expert_release(target);
  }
}

/* A hill at 0, and spikes each of which is uphill from a start at a power of ten. */
static void spikes_beside_a_hill(void **state) {
  (void)state;
  peaks many = {.d = 1,
                .n = 4,
                .spot = {{{0, 0}, {1, 1}}, {{1000.4, 0}, {1e-3, 1}}, {{-99990, 0}, {1e-2, 1}}, {{1.02e8, 0}, {5, 1}}},
                .weight = {0.4, 0.3, 0.2, 0.1},
                .gradient = true};
  poe_expert *target = peaks_of(&many);
  poei_spots spots = check_integral(target, 0.0, 1e-7);
  assert_int_equal(spots.n, 4);
  assert_int_equal(spots.known, 0);
  assert_true(spots.ascents >= 105);
  poei_spots_free(&spots);
  poe_expert_release(target);
}

/* Bounded coordinates: an interval, a half-line, spikes near and far from the ends. */
static void bounded(void **state) {
  (void)state;
  tree t = {0};
  peaks inside = {
      .d = 1, .n = 2, .spot = {{{0.5, 0}, {0.2, 1}}, {{1e-5, 0}, {1e-7, 1}}}, .weight = {0.5, 0.5}, .gradient = true};
  poe_expert *target = peaks_of(&inside);
  double mass = 0.5 * (poei_normal_cdf(2.5) - poei_normal_cdf(-2.5)) + 0.5;
  integral(&t, tree_restrict(&t, target, 0.0, 1.0), log(mass), 1e-8);
  inside.spot[1] = (poei_spot){{5.5e4, 0}, {1e-2, 1}}; /* from 10^4.75 */
  integral(&t, tree_restrict(&t, target, 0.0, INFINITY), log(0.5 * poei_normal_cdf(2.5) + 0.5), 1e-8);
  tree_free(&t);
  poe_expert_release(target);
}

/* ---- two dimensions ---- */

static void known_in_the_plane(void **state) {
  (void)state;
  tree t = {0};
  /* Mixtures of products: each coordinate's location comes from another factor. */
  const double x[4] = {0.0, 7000.0, -1e5, 0.5}, y[4] = {0.0, -300.0, 2e5, 0.5}, s[4] = {1.0, 1e-3, 1e-1, 1e-4};
  const poe_expert *part[4];
  for (size_t k = 0; k < 4; k++) {
    const poe_expert *factor[2] = {tree_at(&t, laplace(&t, x[k], s[k]), 2, 0),
                                   tree_at(&t, tree_normal(&t, y[k], 2.0 * s[k]), 2, 1)};
    part[k] = tree_product(&t, 2, 2, factor, (double[]){1.0, 1.0});
  }
  integral(&t, tree_mixture(&t, 4, part, (double[]){0.4, 0.3, 0.2, 0.1}), 0.0, 1e-6);
  /* A mixture under a wide factor without a form. */
  double weights[3] = {0.5, 0.3, 0.2}, means[6] = {0.0, 0.0, 7000.0, -40.0, -300.0, 2e5}, sds[3] = {1.0, 1e-3, 0.1},
         each[3];
  peaks wide = {.d = 2, .n = 1, .spot = {{{10, 0}, {1e5, 3e5}}}, .weight = {1.0}, .gradient = true};
  poe_expert *factor = peaks_of(&wide);
  for (size_t k = 0; k < 3; k++) {
    each[k] = log(weights[k]) + normal_at(means[2 * k], 10.0, hypot(sds[k], 1e5)) +
              normal_at(means[2 * k + 1], 0.0, hypot(sds[k], 3e5));
  }
  integral(&t, tree_times(&t, tree_gmm(&t, 3, 2, weights, means, sds), factor), poei_log_sum_exp(each, 3, 1), 1e-6);
  poe_expert_release(factor);
  tree_free(&t);
}

/* Two narrow factors, each about one coordinate, that cross far from 0. */
static void crossing_factors(void **state) {
  (void)state;
  tree t = {0};
  peaks wide = {.d = 2, .n = 1, .spot = {{{0, 0}, {1e6, 1e6}}}, .weight = {1.0}};
  for (int with_gradient = 0; with_gradient <= 1; with_gradient++) {
    wide.gradient = with_gradient == 1;
    poe_expert *factor = peaks_of(&wide);
    const poe_expert *cross[3] = {tree_at(&t, laplace(&t, 1300.0, 1e-3), 2, 0),
                                  tree_at(&t, laplace(&t, -7000.0, 1e-2), 2, 1), factor};
    double truth = normal_at(1300.0, 0.0, 1e6) + normal_at(-7000.0, 0.0, 1e6);
    integral(&t, tree_product(&t, 2, 3, cross, (double[]){1.0, 1.0, 1.0}), truth, 1e-6);
    tree_free(&t);
    poe_expert_release(factor);
  }
}

static void found_in_the_plane(void **state) {
  (void)state;
  static const double centres[][2] = {{0, 0}, {1300, -7000}, {-1e6, 3}, {2e-3, 1e7}};
  static const double widths[][2] = {{1e-3, 1e-3}, {1, 1e-4}, {10, 1e3}};
  for (size_t c = 0; c < 12; c++) {
    const double *at = centres[c / 3], *wide = widths[c % 3];
    peaks one = {.d = 2, .n = 1, .spot = {{{at[0], at[1]}, {wide[0], wide[1]}}}, .weight = {0.5}, .gradient = true};
    poe_expert *target = peaks_of(&one);
    double rounding = 1e-14 * fmax(fabs(at[0]) / wide[0], fabs(at[1]) / wide[1]);
    poei_spots spots = check_integral(target, log(0.5), fmax(1e-6, rounding));
    poei_spots_free(&spots);
    poe_expert_release(target);
  }
  /* Hills of different width, none in the shadow of another. */
  peaks many = {.d = 2,
                .n = 4,
                .spot = {{{0, 0}, {1, 1}}, {{50, 20}, {4, 1}}, {{-3000, 1000}, {30, 100}}, {{1e5, 4e5}, {1e3, 1e3}}},
                .weight = {0.4, 0.3, 0.2, 0.1},
                .gradient = true};
  poe_expert *target = peaks_of(&many);
  poei_spots spots = check_integral(target, 0.0, 1e-6);
  assert_int_equal(spots.n, 4);
  poei_spots_free(&spots);
  poe_expert_release(target);
}

/* ---- plans and draws ---- */

/* Each of n components gets its share of the draws within reach[k] of centre[k, d]: at most 5 standard deviations off,
 * of which the false-alarm rate is 6e-7 each. */
static void check_shares(const poe_expert *sampler, size_t d, size_t n, const double *centre, const double *reach,
                         const double *share) {
  enum { N = 20000 };
  double *x = poet_doubles(2 * N);
  assert_int_equal(poet_draw(sampler, 5, N, d, x), POE_OK);
  for (size_t k = 0; k < n; k++) {
    size_t count = 0;
    for (size_t i = 0; i < N; i++) {
      bool near = true;
      for (size_t j = 0; j < d; j++) {
        near = near && fabs(x[i * d + j] - centre[k * d + j]) < reach[k];
      }
      count += near;
    }
    double expected = share[k] * N, sd = sqrt(expected * (1.0 - share[k]));
    if (fabs((double)count - expected) > 5.0 * sd) {
      fail_msg("component %zu has %zu draws, not %g", k, count, expected);
    }
  }
  free(x);
}

static void draws_fall_on_spikes(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *line = far_mixture(&t);
  tree_check(&t);
  poei_spots spots = {0};
  poe_expert *grid = NULL;
  poe_error error = {0};
  check_ok(poei_spots_find(line, &spots, &error), error);
  check_ok(poei_grid_create(line, &spots, 0.0, 1e-7, &grid, &error), error);
  assert_non_null(grid);
  check_shares(grid, 1, 5, (double[]){7000.0, -1300.0005, 1e6, 0.25, -4e7}, (double[]){0.05, 0.01, 1.0, 3e-5, 1e4},
               (double[]){0.1, 0.2, 0.15, 0.05, 0.25});
  poe_expert_release(grid);
  poei_spots_free(&spots);
  /* In the plane, by a plan: a mixture under a factor that is as high at all of its components. */
  double means[6] = {0.0, 0.0, 3000.0, -4000.0, -5000.0, 0.0}, weights[3] = {0.5, 0.3, 0.2}, sds[3] = {1.0, 1e-3, 0.1};
  peaks wide = {.d = 2, .n = 1, .spot = {{{-1000, -2000}, {1e7, 1e7}}}, .weight = {1.0}, .gradient = true};
  poe_expert *factor = peaks_of(&wide);
  const poe_expert *plane = tree_times(&t, tree_gmm(&t, 3, 2, weights, means, sds), factor);
  tree_check(&t);
  poei_plan *plan = NULL;
  check_ok(poei_plan_build(plane, NULL, &plan, &error), error);
  assert_int_equal(plan->method, POEI_METHOD_QUADRATURE);
  check_close(plan->log_z, 2.0 * normal_at(0.0, 0.0, 1e7), 1e-6, 0.0);
  check_shares(plan->sampler, 2, 3, means, (double[]){8.0, 8e-3, 0.8}, weights);
  poei_plan_destroy(plan);
  poe_expert_release(factor);
  tree_free(&t);
}

/* What nothing leads to is missed; the plan says so, and what it looked at. */
static void the_plan_says_what_it_saw(void **state) {
  (void)state;
  peaks hidden = {
      .d = 1, .n = 2, .spot = {{{0, 0}, {1, 1}}, {{1300, 0}, {1e-3, 1}}}, .weight = {0.5, 0.5}, .gradient = true};
  for (int with_gradient = 0; with_gradient <= 1; with_gradient++) {
    hidden.gradient = with_gradient == 1;
    poe_expert *target = peaks_of(&hidden);
    poei_plan *plan = NULL;
    poe_error error = {0};
    check_ok(poei_plan_build(target, NULL, &plan, &error), error);
    assert_int_equal(plan->method, POEI_METHOD_QUADRATURE);
    assert_false(plan->exact);
    check_close(plan->log_z, log(0.5), 1e-7, 0.0);
    assert_non_null(strstr(plan->reason, "would be missed"));
    assert_non_null(strstr(plan->reason, with_gradient ? "105 ascents" : "on a grid"));
    poei_plan_destroy(plan);
    poe_expert_release(target);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_components),
      cmocka_unit_test(one_of_many),
      cmocka_unit_test(lone_spikes),
      cmocka_unit_test(spikes_beside_a_hill),
      cmocka_unit_test(bounded),
      cmocka_unit_test(known_in_the_plane),
      cmocka_unit_test(crossing_factors),
      cmocka_unit_test(found_in_the_plane),
      cmocka_unit_test(draws_fall_on_spikes),
      cmocka_unit_test(the_plan_says_what_it_saw),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
