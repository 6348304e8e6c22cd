/* Enumeration, quadrature and grid draws against truths found another way: sums by hand, distribution functions in
 * closed form or by a fine midpoint rule. Kolmogorov-Smirnov tests have a false-alarm rate of 1e-4 each; a broken
 * sampler must fail them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/numeric.h"
#include "compose/nodes/node.h"
#include "core/numerics.h"
#include "core/quadrature.h"
#include "core/special.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

enum { DRAWS = 50000 };
static const double false_alarm = 1e-4;

static poe_expert *grid_of(const poe_expert *target, double *log_z) {
  double bound;
  bool converged;
  poei_spots spots = {0};
  poe_expert *grid = NULL;
  poe_error error = {0};
  check_ok(poei_spots_find(target, &spots, &error), error);
  check_ok(poei_integrate(target, &spots, 1e-8, log_z, &bound, &converged, &error), error);
  assert_true(converged || bound < 1e-3);
  check_ok(poei_grid_create(target, &spots, *log_z, bound, &grid, &error), error);
  assert_non_null(grid);
  poei_spots_free(&spots);
  return grid;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* p-value of n numbers against a distribution function; sorts u. */
static double ks(size_t n, double *x, double (*cdf)(double)) {
  qsort(x, n, sizeof *x, ascending);
  double gap = 0.0;
  for (size_t i = 0; i < n; i++) {
    double f = cdf(x[i]);
    gap = fmax(gap, fmax(f - (double)i / (double)n, (double)(i + 1) / (double)n - f));
  }
  return poei_kolmogorov_tail(gap * sqrt((double)n));
}

/* ---- one dimension ---- */

static double truncated_cdf(double x) {
  double low = poei_normal_cdf(-0.5), high = poei_normal_cdf(2.0);
  return (poei_normal_cdf((x - 1.0) / 2.0) - low) / (high - low);
}

static double student_cdf(double x) {
  return poei_student_cdf((x - 3.0) / 0.5, 2.0);
}

static double far_cdf(double x) {
  return poei_normal_cdf((x - 40.0) / 0.01);
}

static double root_cdf(double x) { /* density x^-1/2 / 2 on (0, 1) as a ratio of Gaussians has none: beta(2, 1) */
  return x * x;
}

static void check_draws_1d(const poe_expert *target, double (*cdf)(double), double expected_log_z) {
  double log_z;
  poe_expert *grid = grid_of(target, &log_z);
  check_close(log_z, expected_log_z, 1e-7, 0.0);
  double *x = poet_doubles(DRAWS);
  for (uint64_t seed = 1; seed <= 2; seed++) {
    assert_int_equal(poet_draw(grid, seed, DRAWS, 1, x), POE_OK);
    double p = ks(DRAWS, x, cdf);
    if (p < false_alarm) {
      fail_msg("Kolmogorov-Smirnov p = %g", p);
    }
    const poe_support *s = poe_expert_traits(target)->support;
    assert_true(x[0] >= s->low && x[DRAWS - 1] <= s->high);
    /* The wrong sampler fails: shift the draws by a fortieth of their spread. */
    double shift = (x[3 * DRAWS / 4] - x[DRAWS / 4]) / 40.0;
    for (size_t i = 0; i < DRAWS; i++) {
      x[i] += shift;
    }
    assert_true(ks(DRAWS, x, cdf) < false_alarm);
  }
  free(x);
  poe_expert_release(grid);
}

/* log x on (0, 1): a density with a plain distribution function. */
static poe_status linear_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                  poe_scratch *scratch, poe_error *error) {
  (void)self;
  (void)scratch;
  (void)error;
  for (size_t i = 0; i < rows.n; i++) {
    double x = rows.x[i * rows.ld];
    poe_accum_value(&out.logp[i], weights.w[i * weights.inc], x > 0.0 && x < 1.0 ? log(x) : -INFINITY);
  }
  return POE_OK;
}

static void linear_traits(const void *self, poe_traits *traits) {
  static const poe_support support = {POE_CONTINUOUS, 0.0, 1.0, true, true};
  (void)self;
  *traits = (poe_traits){.dim = 1, .support = &support, .capabilities = POE_CAN_EVAL};
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
static const poe_expert_ops linear_ops = {.struct_size = sizeof(poe_expert_ops),
                                          .kind = "linear",
                                          .doc = "x on (0, 1)",
                                          .params = no_params,
                                          .destroy = nothing,
                                          .traits = linear_traits,
                                          .scratch = no_scratch,
                                          .eval_add = linear_eval_add};

static void one_dimension(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *truncated = tree_restrict(&t, tree_normal(&t, 1.0, 2.0), 0.0, 5.0);
  const poe_expert *student = tree_student(&t, 2.0, 3.0, 0.5), *far = tree_normal(&t, 40.0, 0.01);
  tree_check(&t);
  check_draws_1d(truncated, truncated_cdf, log(poei_normal_cdf(2.0) - poei_normal_cdf(-0.5)));
  check_draws_1d(student, student_cdf, 0.0);
  check_draws_1d(far, far_cdf, 0.0);
  int state_of_linear = 0;
  poe_expert *linear = NULL;
  poe_error error = {0};
  check_ok(poe_expert_wrap(&linear_ops, &state_of_linear, &linear, &error), error);
  check_draws_1d(linear, root_cdf, log(0.5));
  poe_expert_release(linear);
  tree_free(&t);
}

/* ---- two dimensions ---- */

/* Distribution functions of a quantity under a 2-D density, by a fine midpoint rule over a box. */
typedef struct truth {
  size_t n;
  double *value, *mass; /* [n] sorted by value, cumulative */
} truth;

typedef struct weighted {
  double value, mass;
} weighted;

static int by_value(const void *a, const void *b) {
  return ascending(&((const weighted *)a)->value, &((const weighted *)b)->value);
}

static truth truth_of(const poe_expert *target, double low, double high, size_t side, double (*f)(const double *)) {
  size_t n = side * side;
  double *x = poet_doubles(2 * n), *logp = poet_doubles(n), total = 0.0;
  weighted *all = calloc(n, sizeof *all);
  assert_non_null(all);
  for (size_t i = 0; i < n; i++) {
    x[2 * i] = low + (high - low) * ((double)(i % side) + 0.5) / (double)side;
    x[2 * i + 1] = low + (high - low) * ((double)(i / side) + 0.5) / (double)side;
  }
  assert_int_equal(poet_eval(target, n, 2, x, logp, NULL), POE_OK);
  for (size_t i = 0; i < n; i++) {
    all[i] = (weighted){f(&x[2 * i]), exp(logp[i])};
  }
  qsort(all, n, sizeof *all, by_value);
  truth made = {n, poet_doubles(n), poet_doubles(n)};
  for (size_t i = 0; i < n; i++) {
    total += all[i].mass;
    made.value[i] = all[i].value;
    made.mass[i] = total;
  }
  for (size_t i = 0; i < n; i++) {
    made.mass[i] /= total;
  }
  free(x);
  free(logp);
  free(all);
  return made;
}

static const truth *current;

static double truth_cdf(double x) {
  size_t low = 0, high = current->n;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (current->value[middle] <= x) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low == 0 ? 0.0 : current->mass[low - 1];
}

static double first(const double *x) {
  return x[0];
}
static double second(const double *x) {
  return x[1];
}
static double radius(const double *x) {
  return hypot(x[0], x[1]);
}
static double diagonal(const double *x) {
  return x[0] + 0.618 * x[1];
}

static void check_draws_2d(const poe_expert *target, double low, double high) {
  static double (*const quantity[])(const double *) = {first, second, radius, diagonal};
  double log_z;
  poe_expert *grid = grid_of(target, &log_z);
  double *x = poet_doubles(2 * DRAWS), *q = poet_doubles(DRAWS);
  assert_int_equal(poet_draw(grid, 3, DRAWS, 2, x), POE_OK);
  for (size_t k = 0; k < 4; k++) {
    truth made = truth_of(target, low, high, 1500, quantity[k]);
    current = &made;
    for (size_t i = 0; i < DRAWS; i++) {
      q[i] = quantity[k](&x[2 * i]);
    }
    double p = ks(DRAWS, q, truth_cdf);
    if (p < false_alarm) {
      fail_msg("quantity %zu: Kolmogorov-Smirnov p = %g", k, p);
    }
    /* A wrong sampler fails: coordinates drawn independently of each other have the right margins only. */
    if (k == 2) {
      for (size_t i = 0; i < DRAWS; i++) {
        q[i] = hypot(x[2 * i], x[2 * ((i + 1) % DRAWS) + 1]);
      }
      assert_true(ks(DRAWS, q, truth_cdf) < false_alarm);
    }
    free(made.value);
    free(made.mass);
  }
  free(x);
  free(q);
  poe_expert_release(grid);
}

static void two_dimensions(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *ring = tree_ring(&t, 1.0, 0.06);
  const poe_expert *box = tree_restrict(&t, tree_ring(&t, 1.0, 0.2), -0.7, 1.4);
  const poe_expert *banana = tree_times(&t, tree_ring(&t, 2.0, 0.1),
                                        tree_gaussian(&t, 2, (double[]){1.5, 0.5}, (double[]){0.3, 0.1, 0.1, 0.6}));
  tree_check(&t);
  check_draws_2d(ring, -1.5, 1.5);
  check_draws_2d(box, -0.7, 1.4);
  check_draws_2d(banana, -2.6, 2.6);
  tree_free(&t);
}

static void grid_refuses_what_it_cannot_do(void **state) {
  (void)state;
  tree t = {0};
  const poe_expert *ring = tree_ring(&t, 1.0, 0.06);
  tree_check(&t);
  poe_expert *grid = NULL;
  poe_error error = {0};
  check_ok(poei_grid_create(ring, &(poei_spots){0}, 17.0, 1e-9, &grid, &error), error); /* quadrature says otherwise */
  assert_null(grid);
  tree_free(&t);
}

/* ---- quadrature ---- */

static void integrals(void **state) {
  (void)state;
  tree t = {0};
  double log_z, bound;
  bool converged;
  poe_error error = {0};
  /* Ring: integral of r exp(-(r - R)^2 / 2 w^2) dr * 2 pi, R >> w: 2 pi R sqrt(2 pi) w. */
  check_ok(poei_integrate(tree_ring(&t, 1.0, 0.05), &(poei_spots){0}, 1e-8, &log_z, &bound, &converged, &error), error);
  assert_true(converged);
  check_close(log_z, log(2.0 * acos(-1.0) * 0.05 * sqrt(2.0 * acos(-1.0))), 1e-7, 0.0);
  const poe_expert *over = tree_over(&t, tree_normal(&t, 0.0, 1.0), tree_uniform(&t, 1, -1.0, 1.0));
  check_fails(poei_integrate(over, &(poei_spots){0}, 1e-8, &log_z, &bound, &converged, &error), POE_E_IMPROPER, error,
              "divisor");
  tree_check(&t);
  tree_free(&t);
}

/* ---- the normal distribution on an interval ---- */

/* Masses against quadrature (in z, far out and narrow), quantiles by their own masses. */
static poe_status normal_integrand(void *context, size_t n, size_t d, const double *x, double *value,
                                   poe_error *error) {
  (void)context;
  (void)d;
  (void)error;
  for (size_t i = 0; i < n; i++) {
    value[i] = -0.5 * x[i] * x[i] - 0.5 * log(2.0 * acos(-1.0));
  }
  return POE_OK;
}

static void truncated_normals(void **state) {
  (void)state;
  static const double ends[][2] = {{-1.0, 2.0},       {3.0, INFINITY}, {-INFINITY, -8.0}, {40.0, 41.0},
                                   {-0.5, -0.4999},   {6.0, 6.00001},  {-60.0, -50.0},    {-5.0, 9.0},
                                   {100.0, INFINITY}, {-1e-4, 3e-4}};
  for (size_t k = 0; k < sizeof ends / sizeof ends[0]; k++) {
    double a = ends[k][0], b = ends[k][1];
    double hint[2] = {a > 0.0 ? a : b < 0.0 ? b : 0.0, a > 30.0 || b < -30.0 ? 0.02 : 1.0};
    poei_quadrature_result result;
    poe_error error = {0};
    check_ok(poei_quadrature(normal_integrand, NULL, 1, &a, &b, isinf(a) || isinf(b) || b - a > 0.1 ? hint : NULL,
                             1e-11, &result, &error),
             error);
    check_close(poei_normal_log_mass(a, b, b - a), result.log_integral, 2e-10, 1e-13);
    double before = a;
    for (double u = 0.05; u < 1.0; u += 0.09) {
      double z = poei_normal_between(a, b, u);
      assert_true(z > before && z < b);
      before = z;
      check_close(exp(poei_normal_log_mass(a, z, z - a) - poei_normal_log_mass(a, b, b - a)), u, 2e-6, 0.0);
    }
  }
}

/* ---- enumeration ---- */

static void enumeration(void **state) {
  (void)state;
  tree t = {0};
  double pair[6] = {0.5, -1.0, 0.3, -INFINITY, 0.0, 1.2};
  const poe_expert *factors[3] = {tree_slice(&t, tree_table(&t, 2, (size_t[]){2, 3}, pair), 3, (size_t[]){2, 0}),
                                  tree_at(&t, tree_bernoulli(&t, 0.25), 3, 1),
                                  tree_slice(&t, tree_table(&t, 2, (size_t[]){2, 2}, pair), 3, (size_t[]){1, 2})};
  const poe_expert *target = tree_product(&t, 3, 3, factors, (double[]){1.0, 1.0, 2.0});
  tree_check(&t);
  poe_expert *all = NULL;
  poe_error error = {0};
  assert_int_equal(poei_joint_states(target, 100), 12);
  assert_int_equal(poei_joint_states(target, 11), 0);
  check_ok(poei_enumeration_create(target, &all, &error), error);
  double log_z, total = 0.0, p[12], chi = 0.0;
  check_ok(poe_expert_log_z(all, &log_z, &error), error);
  for (size_t s = 0; s < 12; s++) {
    p[s] = exp(tree_value(target, (double[]){(double)(s / 4), (double)(s / 2 % 2), (double)(s % 2)}));
    total += p[s];
  }
  check_close(log_z, log(total), 1e-13, 0.0);
  double *x = poet_doubles(3 * DRAWS);
  size_t count[12] = {0}, df = 0;
  assert_int_equal(poet_draw(all, 5, DRAWS, 3, x), POE_OK);
  for (size_t i = 0; i < DRAWS; i++) {
    count[(size_t)x[3 * i] * 4 + (size_t)x[3 * i + 1] * 2 + (size_t)x[3 * i + 2]]++;
  }
  for (size_t s = 0; s < 12; s++) {
    double expected = p[s] / total * DRAWS;
    if (expected == 0.0) {
      assert_int_equal(count[s], 0);
      continue;
    }
    chi += ((double)count[s] - expected) * ((double)count[s] - expected) / expected;
    df++;
  }
  assert_true(poei_chi_square_tail(chi, (double)(df - 1)) > false_alarm);
  free(x);
  poe_expert_release(all);
  double zero[2] = {-INFINITY, 0.0}, other[2] = {0.0, -INFINITY};
  const poe_expert *empty =
      tree_times(&t, tree_table(&t, 1, (size_t[]){2}, zero), tree_table(&t, 1, (size_t[]){2}, other));
  const poe_expert *over = tree_over(&t, tree_bernoulli(&t, 0.5), tree_table(&t, 1, (size_t[]){2}, zero));
  tree_check(&t);
  check_fails(poei_enumeration_create(empty, &all, &error), POE_E_EMPTY, error, "probability 0");
  check_fails(poei_enumeration_create(over, &all, &error), POE_E_IMPROPER, error, "state 0");
  tree_free(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_dimension),
      cmocka_unit_test(two_dimensions),
      cmocka_unit_test(grid_refuses_what_it_cannot_do),
      cmocka_unit_test(integrals),
      cmocka_unit_test(truncated_normals),
      cmocka_unit_test(enumeration),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
