/* Quadrature against closed forms: smooth, heavy-tailed, singular, discontinuous, narrow and many-peaked integrands in
 * one and two dimensions. Every case must have a true error below the stated bound, and a bound below the tolerance
 * where it says that it converged. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "core/quadrature.h"
#include "core/quadrature_rule.h"
#include "tests/support/check.h"

typedef double (*density)(const double *x, const double *p);

typedef struct integrand {
  density f;
  const double *p;
  size_t calls;
} integrand;

static poe_status integrand_values(void *context, size_t n, size_t d, const double *x, double *log_value,
                                   poe_error *error) {
  (void)error;
  integrand *g = context;
  g->calls++;
  for (size_t i = 0; i < n; i++) {
    log_value[i] = g->f(x + i * d, g->p);
  }
  return POE_OK;
}

/* Integrates and checks bound, truth and honesty; prints what it cost. */
static poei_quadrature_result integrate(const char *name, density f, const double *p, size_t d, const double *low,
                                        const double *high, const double *hint, double tolerance, double truth,
                                        bool must_converge) {
  integrand g = {f, p, 0};
  poei_quadrature_result r;
  poe_error error = {0};
  check_ok(poei_quadrature(integrand_values, &g, d, low, high, hint, tolerance, &r, &error), error);
  print_message("  %-28s tol %.0e: error %9.2e bound %9.2e, %zu evaluations%s\n", name, tolerance,
                r.log_integral - truth, r.error_bound, r.evaluations, r.converged ? "" : ", not converged");
  if (must_converge) {
    assert_true(r.converged);
  }
  assert_true(r.converged == (r.error_bound <= tolerance));
  /* the closed form and log(value) are rounded too */
  assert_true(fabs(r.log_integral - truth) <= r.error_bound + 1e-14 * (1.0 + fabs(truth)));
  return r;
}

static const double all[2][2] = {{-INFINITY, -INFINITY}, {INFINITY, INFINITY}};

/* p: mean, sd; normalised */
static double gaussian(const double *x, const double *p) {
  return poei_normal_log_pdf((x[0] - p[0]) / p[1]) - log(p[1]);
}

static void test_gaussians(void **state) {
  (void)state;
  static const double cases[][2] = {{0, 1}, {3, 0.01}, {-7.123, 1e-4}, {0, 1e3}, {1000, 1}, {0.1, 1e-9}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    /* Rounding of x, and of t without a hint (dx/dt is about 2 x^2), against the peak's width: no smaller tolerance can
     * be met, or claimed. */
    double mean = fabs(cases[i][0]), sd = cases[i][1], hinted = 2e-15 * (1.0 + mean / sd);
    double least = hinted + 4e-15 * mean * mean / sd;
    for (double tolerance = 1e-3; tolerance > 1e-11; tolerance *= 1e-4) {
      integrate("gaussian", gaussian, cases[i], 1, all[0], all[1], NULL, tolerance, 0.0, tolerance > least);
    }
    integrate("gaussian with hint", gaussian, cases[i], 1, all[0], all[1], cases[i], 1e-9, 0.0, 1e-9 > hinted);
    const double bad_hint[2] = {cases[i][0] + 20.0 * cases[i][1], 10.0 * cases[i][1]};
    integrate("gaussian with poor hint", gaussian, cases[i], 1, all[0], all[1], bad_hint, 1e-9, 0.0, 1e-9 > hinted);
  }
  const double low[1] = {-10}, high[1] = {10}, far[2] = {1e6, 1e-3}, hint[2] = {1e6, 1e-3};
  integrate("sd .01 in (-10,10)", gaussian, cases[1], 1, low, high, NULL, 1e-8, 0.0, true);
  integrate("far and narrow with hint", gaussian, far, 1, all[0], all[1], hint, 1e-5, 0.0, true);
  const double shift[2] = {0, 1}, zero[1] = {0}, two[1] = {2};
  integrate("half gaussian", gaussian, shift, 1, zero, all[1], NULL, 1e-10, -POEI_LOG_2, true);
  integrate("lower tail", gaussian, shift, 1, all[0], low, NULL, 1e-10, poei_normal_log_cdf(-10.0), true);
  integrate("upper tail", gaussian, shift, 1, high, all[1], NULL, 1e-10, poei_normal_log_cdf(-10.0), true);
  integrate("a piece", gaussian, shift, 1, zero, two, NULL, 1e-12, log(poei_normal_cdf(2.0) - 0.5), true);
}

/* p: log height */
static double high_gaussian(const double *x, const double *p) {
  return p[0] - 0.5 * x[0] * x[0];
}

static void test_any_height(void **state) {
  (void)state;
  static const double heights[] = {-1e8, -800.0, 0.0, 900.0, 1e8};
  for (size_t i = 0; i < 5; i++) {
    double tolerance = fmax(1e-9, 1e-13 * fabs(heights[i])); /* the height itself is rounded */
    integrate("height", high_gaussian, &heights[i], 1, all[0], all[1], NULL, tolerance, heights[i] + 0.5 * POEI_LOG_2PI,
              true);
  }
}

static double cauchy(const double *x, const double *p) {
  return -log1p(x[0] * x[0] / (p[0] * p[0]));
}
/* Student, 3 degrees of freedom, p: centre */
static double student3(const double *x, const double *p) {
  double t = x[0] - p[0];
  return -2.0 * log1p(t * t / 3.0);
}
/* p: a, b */
static double beta(const double *x, const double *p) {
  return (p[0] - 1.0) * log(x[0]) + (p[1] - 1.0) * log1p(-x[0]);
}
static double gamma_like(const double *x, const double *p) {
  return (p[0] - 1.0) * log(x[0]) - x[0];
}
static double laplace(const double *x, const double *p) {
  return -fabs(x[0] - p[0]);
}

static void test_tails_and_ends(void **state) {
  (void)state;
  const double zero[1] = {0}, one[1] = {1};
  static const double scales[] = {1.0, 0.01, 100.0};
  for (size_t i = 0; i < 3; i++) {
    integrate("cauchy", cauchy, &scales[i], 1, all[0], all[1], NULL, 1e-9, log(POEI_PI * scales[i]), true);
    integrate("student 3", student3, &scales[i], 1, all[0], all[1], NULL, 1e-9, log(POEI_PI * sqrt(3.0) / 2.0),
              true); /* B(1/2, 3/2) sqrt(3) */
    integrate("laplace", laplace, &scales[i], 1, all[0], all[1], NULL, 1e-9, POEI_LOG_2, true);
  }
  static const double shapes[][2] = {{1, 1}, {2, 3}, {0.5, 2}, {0.5, 0.5}, {50, 200}, {0.7, 30}};
  for (size_t i = 0; i < 6; i++) {
    double a = shapes[i][0], b = shapes[i][1], truth = lgamma(a) + lgamma(b) - lgamma(a + b);
    integrate("beta", beta, shapes[i], 1, zero, one, NULL, 1e-6, truth, true);
    integrate("gamma", gamma_like, shapes[i], 1, zero, all[1], NULL, 1e-7, lgamma(a), true);
  }
}

/* 1 inside [p0, p1], -inf outside */
static double box(const double *x, const double *p) {
  return x[0] >= p[0] && x[0] <= p[1] ? 0.0 : -INFINITY;
}
/* a finite step on a Gaussian: log(1 + p1 [x > p0]) */
static double step(const double *x, const double *p) {
  return poei_normal_log_pdf(x[0]) + (x[0] > p[0] ? log1p(p[1]) : 0.0);
}

static void test_discontinuities(void **state) {
  (void)state;
  const double low[1] = {-10}, high[1] = {10};
  static const double boxes[][2] = {{-0.3, 0.7}, {1.0 / 3.0, 2.0 / 3.0}, {5.0001, 9.99}, {0, 0.3125}, {-1.25, -0.7}};
  for (size_t i = 0; i < 5; i++) {
    double truth = log(boxes[i][1] - boxes[i][0]);
    integrate("box", box, boxes[i], 1, low, high, NULL, 1e-9, truth, true);
    integrate("box, infinite", box, boxes[i], 1, all[0], all[1], NULL, 1e-9, truth, true);
  }
  /* Edges swept over a cell of the grid (width 0.3125), also through the blind gaps at its ends. */
  for (int i = 0; i < 400; i++) {
    double p[2] = {0.0, 0.625 + 0.3125 * (double)i / 400.0}, s[2] = {p[1], 2.0};
    integrand g = {box, p, 0}, h = {step, s, 0};
    poei_quadrature_result r;
    poe_error error = {0};
    check_ok(poei_quadrature(integrand_values, &g, 1, low, high, NULL, 1e-6, &r, &error), error);
    assert_true(r.converged && fabs(r.log_integral - log(p[1])) <= r.error_bound + 1e-14);
    check_ok(poei_quadrature(integrand_values, &h, 1, low, high, NULL, 1e-6, &r, &error), error);
    double truth = log1p(2.0 * poei_normal_cdf(-p[1]));
    assert_true(r.converged && fabs(r.log_integral - truth) <= r.error_bound + 1e-14);
  }
}

/* p: number of peaks k, spacing, sd: equal weights, normalised */
static double comb(const double *x, const double *p) {
  double values[64];
  size_t k = (size_t)p[0];
  for (size_t i = 0; i < k; i++) {
    values[i] = poei_normal_log_pdf((x[0] - ((double)i - 0.5 * (p[0] - 1.0)) * p[1]) / p[2]) - log(p[2] * p[0]);
  }
  return poei_log_sum_exp(values, k, 1);
}
/* p: spacing, rate: two cusps, normalised */
static double cusps(const double *x, const double *p) {
  return poei_log_add(-p[1] * fabs(x[0] - p[0]), -p[1] * fabs(x[0] + 1.7 * p[0])) + log(p[1] / 4.0);
}
/* a broad Gaussian and a spike of weight p0, sd p1 at p2 */
static double spike(const double *x, const double *p) {
  return poei_log_add(log1p(-p[0]) + poei_normal_log_pdf(x[0]),
                      log(p[0]) + poei_normal_log_pdf((x[0] - p[2]) / p[1]) - log(p[1]));
}

static void test_many_peaks(void **state) {
  (void)state;
  static const double combs[][3] = {{2, 10, 0.5}, {7, 2, 0.02}, {12, 1.5, 0.05}, {2, 18, 0.01}};
  const double low[1] = {-10}, high[1] = {10};
  for (size_t i = 0; i < 4; i++) {
    integrate("peaks", comb, combs[i], 1, low, high, NULL, 1e-8, 0.0, true);
    integrate("peaks, infinite", comb, combs[i], 1, all[0], all[1], NULL, 1e-8, 0.0, true);
  }
  /* Two peaks of which the grid's nodes may hit one and miss the other by a thousand widths. */
  for (int i = 0; i < 600; i++) {
    double p[2] = {2.8 + 0.005 * (double)i, 3000.0}, q[3] = {2, 2.0 * p[0], 1e-4};
    integrand g = {cusps, p, 0}, h = {comb, q, 0};
    poei_quadrature_result r;
    poe_error error = {0};
    check_ok(poei_quadrature(integrand_values, &g, 1, low, high, NULL, 1e-6, &r, &error), error);
    assert_true(r.converged && fabs(r.log_integral) <= r.error_bound + 1e-14);
    check_ok(poei_quadrature(integrand_values, &h, 1, low, high, NULL, 1e-6, &r, &error), error);
    assert_true(r.converged && fabs(r.log_integral) <= r.error_bound + 1e-14);
  }
  static const double spikes[][3] = {{0.5, 0.01, 2.0}, {0.01, 0.01, 1.2345}, {0.3, 0.01, -3.3}};
  for (size_t i = 0; i < 3; i++) {
    integrate("spike on a hill", spike, spikes[i], 1, all[0], all[1], NULL, 1e-7, 0.0, true);
  }
}

/* ---- two dimensions ---- */

/* p: correlation, sd of x, sd of y, mean of x; normalised */
static double gaussian2(const double *x, const double *p) {
  double u = (x[0] - p[3]) / p[1], v = x[1] / p[2], rest = 1.0 - p[0] * p[0];
  return -0.5 * (u * u - 2.0 * p[0] * u * v + v * v) / rest - POEI_LOG_2PI - log(p[1] * p[2]) - 0.5 * log(rest);
}
/* p: sd of the radius */
static double ring(const double *x, const double *p) {
  double r = hypot(x[0], x[1]) - 1.0;
  return -0.5 * r * r / (p[0] * p[0]);
}
/* 2 pi int_0^inf r exp(-(r-1)^2 / (2 s^2)) dr */
static double ring_log_integral(double s) {
  double z = 1.0 / s;
  return POEI_LOG_2PI + log(s * s * exp(-0.5 * z * z) + s * sqrt(2.0 * POEI_PI) * poei_normal_cdf(z));
}
static double box2(const double *x, const double *p) {
  return fabs(x[0] - p[2]) < p[0] && fabs(x[1]) < p[1] ? 0.0 : -INFINITY;
}
static double disc(const double *x, const double *p) {
  return hypot(x[0], x[1]) < p[0] ? 0.0 : -INFINITY;
}
/* Eight Gaussians on a circle, p: radius, sd; normalised */
static double flower(const double *x, const double *p) {
  double values[8];
  for (int k = 0; k < 8; k++) {
    double u = (x[0] - p[0] * cos(k * POEI_PI / 4.0)) / p[1], v = (x[1] - p[0] * sin(k * POEI_PI / 4.0)) / p[1];
    values[k] = -0.5 * (u * u + v * v) - POEI_LOG_2PI - 2.0 * log(p[1]) - log(8.0);
  }
  return poei_log_sum_exp(values, 8, 1);
}
static double cauchy2(const double *x, const double *p) {
  (void)p;
  return -1.5 * log1p(x[0] * x[0] + x[1] * x[1]); /* integrates to 2 pi */
}

static void test_two_dimensions(void **state) {
  (void)state;
  static const double correlated[][4] = {
      {0, 1, 1, 0}, {0.95, 1, 2, 0.5}, {-0.999, 1, 1, 0}, {0.5, 0.01, 3, 2}, {0.9, 1e-4, 1e-2, 1.5}};
  const double low[2] = {-2, -2}, high[2] = {2, 2};
  for (size_t i = 0; i < 5; i++) {
    integrate("correlated", gaussian2, correlated[i], 2, all[0], all[1], NULL, 1e-4, 0.0, true);
    const double *c = correlated[i], hint[4] = {c[3], c[1], 0, c[2]};
    integrate("correlated, hint", gaussian2, c, 2, all[0], all[1], hint, 1e-7, 0.0, true);
  }
  static const double widths[] = {0.3, 0.03};
  for (size_t i = 0; i < 2; i++) {
    integrate("ring", ring, &widths[i], 2, all[0], all[1], NULL, 1e-5, ring_log_integral(widths[i]), true);
    integrate("ring in a box", ring, &widths[i], 2, (const double[]){-4, -4}, (const double[]){4, 4}, NULL, 1e-5,
              ring_log_integral(widths[i]), true);
  }
  const double petals[2] = {0.5, 0.03}, bars[3] = {0.2, 1.0, 0.1}, radius[1] = {0.77};
  integrate("flower", flower, petals, 2, low, high, NULL, 1e-6, 0.0, true);
  integrate("flower, infinite", flower, petals, 2, all[0], all[1], NULL, 1e-6, 0.0, true);
  integrate("box", box2, bars, 2, low, high, NULL, 1e-5, log(0.8), true);
  integrate("box, infinite", box2, bars, 2, all[0], all[1], NULL, 1e-4, log(0.8), true);
  integrate("disc", disc, radius, 2, low, high, NULL, 1e-2, log(POEI_PI * 0.77 * 0.77), true);
  integrate("disc, more than it can", disc, radius, 2, low, high, NULL, 1e-9, log(POEI_PI * 0.77 * 0.77), false);
  integrate("heavy tails", cauchy2, NULL, 2, all[0], all[1], NULL, 1e-6, POEI_LOG_2PI, true);
  const double zero[2] = {0, 0}, unit[4] = {0, 1, 1, 0};
  integrate("quadrant", gaussian2, unit, 2, zero, all[1], NULL, 1e-8, log(0.25), true);
}

/* ---- around spots ---- */

/* d-dimensional Gaussians of equal weight at spots, their scales as standard deviations; normalised */
typedef struct spotted {
  size_t n;
  const poei_spot *spot;
  size_t evaluations;
} spotted;

static poe_status spotted_values(void *context, size_t n, size_t d, const double *x, double *log_value,
                                 poe_error *error) {
  (void)error;
  spotted *g = context;
  g->evaluations += n;
  for (size_t i = 0; i < n; i++) {
    double each[8];
    for (size_t k = 0; k < g->n; k++) {
      each[k] = -log((double)g->n);
      for (size_t j = 0; j < d; j++) {
        double sd = g->spot[k].scale[j];
        each[k] += poei_normal_log_pdf((x[i * d + j] - g->spot[k].at[j]) / sd) - log(sd);
      }
    }
    log_value[i] = poei_log_sum_exp(each, g->n, 1);
  }
  return POE_OK;
}

/* Integrates to 1 around `given` spots; the error must be within the bound, and the bound within the tolerance. */
static void around(const char *name, size_t d, size_t n, const poei_spot *spots, size_t n_given, const poei_spot *given,
                   const double *low, const double *high, double tolerance) {
  spotted g = {n, spots, 0};
  poei_quadrature_result r;
  poe_error error = {0};
  check_ok(poei_quadrature_around(spotted_values, &g, d, low, high, n_given, given, tolerance, &r, &error), error);
  print_message("  %-28s tol %.0e: error %9.2e bound %9.2e, %zu evaluations\n", name, tolerance, r.log_integral,
                r.error_bound, r.evaluations);
  assert_true(r.converged && r.error_bound <= tolerance);
  assert_true(fabs(r.log_integral) <= r.error_bound + 1e-14);
  assert_int_equal(g.evaluations, r.evaluations);
}

static void test_spots(void **state) {
  (void)state;
  static const poei_spot far[] = {{{0, 0}, {1, 1}},
                                  {{7000, -300}, {1e-3, 1e-2}},
                                  {{-1e6, 2e5}, {1e-2, 1e-1}},
                                  {{1300, 1300}, {1e-3, 1e-3}},
                                  {{3e9, -4e8}, {10, 1}}};
  static const poei_spot nested[] = {{{0.1, -0.3}, {1, 1}},
                                     {{0.4, 0.2}, {1e-3, 1e-3}},
                                     {{0.41, 0.2}, {1e-9, 1e-9}},
                                     {{0.4, 0.2001}, {1e-6, 1e-5}},
                                     {{-0.7, 0.2}, {1e-7, 0.5}}};
  static const poei_spot close[] = {{{2, 1}, {1e-2, 1e-2}}, {{2.1, 1}, {1e-2, 2e-2}}, {{1.9, 1.2}, {1e-2, 1e-2}}};
  const double low[2] = {-1e7, -1e7}, high[2] = {1e10, 1e7}, left[2] = {-5, -5}, right[2] = {5, 5};
  const double far_low[2] = {-1e7, -1e10};
  around("far apart", 1, 5, far, 5, far, all[0], all[1], 1e-7);
  around("far apart, in a box", 1, 5, far, 5, far, low, high, 1e-7);
  around("nested", 1, 5, nested, 5, nested, all[0], all[1], 1e-6);
  around("nested, in a box", 1, 5, nested, 5, nested, (const double[]){-10}, (const double[]){10}, 1e-6);
  around("close", 1, 3, close, 3, close, all[0], all[1], 1e-9);
  around("far apart", 2, 5, far, 5, far, all[0], all[1], 1e-6);
  around("far apart, in a box", 2, 5, far, 5, far, far_low, high, 1e-6);
  around("nested", 2, 4, nested, 4, nested, all[0], all[1], 1e-5);
  around("close", 2, 3, close, 3, close, left, right, 1e-8);
  /* Half of what is known, and what is not so: spots without mass, outside, of unknown scale, many at once. */
  const poei_spot half[] = {{{0, 0}, {1, NAN}}, {{7000, -300}, {NAN, NAN}}, {{12, 2}, {1e-3, 1e-4}}, {{9, 9}, {0, -1}}};
  around("known in part", 1, 1, far, 4, half, all[0], all[1], 1e-9);
  around("known in part", 2, 1, far, 4, half, all[0], all[1], 1e-7);
  around("outside", 1, 1, far, 1, &far[1], (const double[]){-40}, (const double[]){40}, 1e-9);
  poei_spot many[300];
  for (size_t i = 0; i < 300; i++) {
    many[i] = (poei_spot){{1e3 * pow(1.1, (double)i), 0.0}, {1e-6, 1e-6}};
  }
  many[299] = far[0];
  around("many", 1, 1, far, 300, many, all[0], all[1], 1e-9);
}

/* ---- what cannot be answered ---- */

static double constant(const double *x, const double *p) {
  (void)x, (void)p;
  return 0.0;
}
static double nowhere(const double *x, const double *p) {
  (void)x, (void)p;
  return -INFINITY;
}
static double not_a_number(const double *x, const double *p) {
  (void)p;
  return x[0] > 0.5 ? NAN : 0.0;
}
static double pole(const double *x, const double *p) {
  (void)p;
  return x[0] > 0.5 ? INFINITY : 0.0;
}

static poe_status failing(void *context, size_t n, size_t d, const double *x, double *log_value, poe_error *error) {
  (void)context, (void)n, (void)d, (void)x, (void)log_value;
  return poe_error_set(error, POE_E_NUMERIC, "from the integrand");
}

static void test_refusals(void **state) {
  (void)state;
  integrand g = {constant, NULL, 0};
  poei_quadrature_result r;
  poe_error error = {0};
  const double zero[2] = {0, 0}, one[2] = {1, 1};
  check_ok(poei_quadrature(integrand_values, &g, 1, all[0], all[1], NULL, 1e-3, &r, &error), error);
  assert_false(r.converged); /* diverges */
  assert_true(r.error_bound > 1e-3);
  g.f = nowhere;
  check_ok(poei_quadrature(integrand_values, &g, 2, zero, one, NULL, 1e-3, &r, &error), error);
  assert_true(r.log_integral == -INFINITY && r.error_bound == INFINITY && !r.converged);
  memset(&r, 0x5a, sizeof r);
  poei_quadrature_result before = r;
  g.f = not_a_number;
  check_fails(poei_quadrature(integrand_values, &g, 1, zero, one, NULL, 1e-3, &r, &error), POE_E_NUMERIC, error, "nan");
  g.f = pole;
  check_fails(poei_quadrature(integrand_values, &g, 2, zero, one, NULL, 1e-3, &r, &error), POE_E_NUMERIC, error, "inf");
  check_fails(poei_quadrature(failing, NULL, 1, zero, one, NULL, 1e-3, &r, &error), POE_E_NUMERIC, error,
              "from the integrand");
  check_fails(poei_quadrature(integrand_values, &g, 3, zero, one, NULL, 1e-3, &r, &error), POE_E_SHAPE, error, "3");
  check_fails(poei_quadrature(integrand_values, &g, 1, one, zero, NULL, 1e-3, &r, &error), POE_E_DOMAIN, error,
              "empty");
  assert_memory_equal(&r, &before, sizeof r); /* untouched by failure */
}

static void test_out_of_memory(void **state) {
  (void)state;
  const double p[1] = {0.03};
  integrand g = {ring, p, 0};
  poei_quadrature_result r;
  poe_error error = {0};
  uint64_t before = poei_alloc_count();
  check_ok(poei_quadrature(integrand_values, &g, 2, all[0], all[1], NULL, 1e-3, &r, &error), error);
  uint64_t count = poei_alloc_count() - before;
  assert_true(count >= 4);
  for (uint64_t n = 1; n <= count; n++) {
    poei_alloc_fail_at(n);
    check_fails(poei_quadrature(integrand_values, &g, 2, all[0], all[1], NULL, 1e-3, &r, &error), POE_E_MEMORY, error,
                "memory");
  }
  poei_alloc_fail_at(0);
}

/* The weights of a cell's points integrate what the cell does: x^7 (1 + x) over [0.5, 2], exactly but for rounding. */
static void test_weights(void **state) {
  (void)state;
  poei_axis axis = poei_axis_make(-4.0, 5.0, NULL);
  poei_cell cell = {.low = {0.5, 0.0}, .high = {2.0, 1.0}};
  double x[POEI_LINE], slope[POEI_LINE], weight[POEI_LINE], value[POEI_LINE], log_value[POEI_LINE], sum = 0.0;
  poei_cell_points(1, &axis, &cell, x, slope);
  poei_line_weights(&cell, weight);
  for (size_t k = 0; k < POEI_LINE; k++) {
    double f = pow(x[k], 7.0) * (1.0 + x[k]);
    log_value[k] = log(f) + slope[k];
    sum += weight[k] * f;
  }
  poei_cell_rule(1, &axis, &cell, log_value, value);
  double exact = (256.0 - pow(0.5, 8.0)) / 8.0 + (512.0 - pow(0.5, 9.0)) / 9.0;
  check_close(sum, exact, 0.0, 1e-14);
  check_close(exp(cell.log_value), exact, 0.0, 1e-14);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_gaussians),       cmocka_unit_test(test_any_height), cmocka_unit_test(test_tails_and_ends),
      cmocka_unit_test(test_discontinuities), cmocka_unit_test(test_many_peaks), cmocka_unit_test(test_two_dimensions),
      cmocka_unit_test(test_spots),           cmocka_unit_test(test_weights),    cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_out_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
