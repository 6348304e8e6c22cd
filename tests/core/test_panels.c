/* Panels against closed forms: masses of whole and truncated densities, several tops, gaps between them, divergence;
 * quantiles against closed inverses. */
#include <math.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "core/panels.h"
#include "core/special.h"
#include "tests/support/check.h"

static double bell(const void *context, double s) {
  (void)context;
  return -0.5 * s * s;
}

static double falling(const void *context, double s) {
  return -*(const double *)context * s;
}

/* Gamma(a) e^-a... over log x: a s - e^s. */
static double log_gamma_density(const void *context, double s) {
  return *(const double *)context * s - exp(s);
}

static double circular(const void *context, double s) {
  double sine = sin(0.5 * s);
  return -2.0 * *(const double *)context * sine * sine;
}

static double flat(const void *context, double s) {
  (void)context;
  (void)s;
  return 0.0;
}

static void masses(void **state) {
  (void)state;
  double whole[3] = {-INFINITY, 0.0, INFINITY}, half = 0.5 * POEI_LOG_2PI;
  check_close(poei_panels_log_mass(bell, NULL, 2, whole), half, 0, 1e-15);
  static const double ends[][2] = {{30.0, INFINITY}, {-INFINITY, -40.0}, {5.0, 5.5}, {-12.0, -3.0}, {37.0, 41.0}};
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    double exact = poei_normal_log_mass(ends[i][0], ends[i][1], ends[i][1] - ends[i][0]) + half;
    check_close(poei_panels_log_mass(bell, NULL, 1, ends[i]), exact, 0, 1e-15);
  }
  for (double rate = 1e-300; rate < 1e300; rate *= 1e30) {
    double cut[2] = {0.0, INFINITY};
    check_close(poei_panels_log_mass(falling, &rate, 1, cut), -log(rate), 1e-13, 1e-15);
  }
  /* From nearly flat with a corner to sharp; the corner of the small ones is at 0, far from the top. */
  for (double a = 1e-8; a < 1e7; a *= 3.7) {
    double cut[4] = {-INFINITY, fmin(log(a), 0.0), fmax(log(a), 0.0), INFINITY};
    check_close(poei_panels_log_mass(log_gamma_density, &a, 3, cut), poei_log_gamma(a), 1e-13, 4e-15);
  }
  /* Two whole tops and two halves, with nothing between them that counts. */
  for (double kappa = 0.1; kappa < 1e6; kappa *= 9.0) {
    double cut[7];
    for (int i = 0; i < 7; i++) {
      cut[i] = i * POEI_PI;
    }
    double exact = log(3.0) + POEI_LOG_2PI + poei_log_bessel_i0(kappa);
    check_close(poei_panels_log_mass(circular, &kappa, 6, cut), exact, 1e-14, 1e-14);
  }
}

static void quantiles(void **state) {
  (void)state;
  double whole[3] = {-INFINITY, 0.0, INFINITY}, half_line[2] = {2.0, INFINITY}, rate = 3.0, kappa = 2000.0;
  poei_panels *normal = poei_panels_create(bell, NULL, 2, whole);
  poei_panels *exponential = poei_panels_create(falling, &rate, 1, half_line);
  double cut[5] = {0.0, POEI_PI, 2.0 * POEI_PI, 3.0 * POEI_PI, 4.0 * POEI_PI};
  poei_panels *circle = poei_panels_create(circular, &kappa, 4, cut);
  assert_true(normal != NULL && exponential != NULL && circle != NULL);
  double before = -INFINITY;
  for (double u = 1e-12; u < 1.0; u = u < 0.5 ? u * 1.3 : 1.0 - (1.0 - u) / 1.3) {
    if (1.0 - u < 1e-10) {
      break;
    }
    double z = poei_panels_quantile(normal, bell, NULL, u);
    check_close(z, poei_normal_quantile(u), 1e-15 / exp(poei_normal_log_pdf(z)) + 1e-13, 0); /* 1e-15 of the mass */
    check_close(poei_panels_quantile(exponential, falling, &rate, u), 2.0 - log1p(-u) / rate, 1e-15 / (1.0 - u) + 1e-14,
                0);
    double w = poei_panels_quantile(circle, circular, &kappa, u);
    assert_true(w >= before && w >= 0.0 && w <= cut[4]);
    before = w;
  }
  /* A quarter of the mass is the half of a top at 0, a half the top at 2 pi. */
  check_close(poei_panels_quantile(circle, circular, &kappa, 0.5), 2.0 * POEI_PI, 1e-13, 0);
  double sd = 1.0 / sqrt(kappa);
  assert_true(poei_panels_quantile(circle, circular, &kappa, 0.2499) < 8.0 * sd);
  assert_true(poei_panels_quantile(circle, circular, &kappa, 0.2501) > 2.0 * POEI_PI - 8.0 * sd);
  poei_free(normal);
  poei_free(exponential);
  poei_free(circle);
}

/* Cuts a rounding error apart, and a piece without width. */
static void narrow_pieces(void **state) {
  (void)state;
  double next = nextafter(1.0, 2.0), cut[6] = {-INFINITY, 0.0, 1.0, next, nextafter(next, 2.0), INFINITY};
  check_close(poei_panels_log_mass(bell, NULL, 5, cut), 0.5 * POEI_LOG_2PI, 0, 1e-15);
  double twice[4] = {-INFINITY, 0.0, 0.0, INFINITY};
  check_close(poei_panels_log_mass(bell, NULL, 3, twice), 0.5 * POEI_LOG_2PI, 0, 1e-15);
}

static void divergence_and_memory(void **state) {
  (void)state;
  double half_line[2] = {0.0, INFINITY}, whole[3] = {-INFINITY, 0.0, INFINITY};
  check_close(poei_panels_log_mass(flat, NULL, 1, half_line), INFINITY, 0, 0);
  assert_null(poei_panels_create(flat, NULL, 2, whole));
  poei_alloc_fail_at(1);
  assert_null(poei_panels_create(bell, NULL, 2, whole));
  poei_alloc_fail_at(0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(masses),
      cmocka_unit_test(quantiles),
      cmocka_unit_test(narrow_pieces),
      cmocka_unit_test(divergence_and_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
