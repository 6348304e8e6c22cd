/* Special functions against values computed with 60 digits (mpmath 1.2.1), at the extremes and at the switches between
 * formulas. */
#include <math.h>

#include "core/numerics.h"
#include "core/special.h"
#include "tests/support/check.h"

/* x, log(1 + x) - x, e^x - 1 - x */
static const double remainders[][3] = {
    {-0.99990000000000001101, -8.2104403719762928592, 0.36781623095501799342},
    {-0.5, -0.19314718055994530942, 0.1065306597126334236},
    {-0.2999999999999999889, -0.056674943938732374155, 0.040818220681717863189},
    {-0.0010000000000000000208, -5.0033358353350016382e-7, 4.9983337499166807616e-7},
    {-9.9999999999999997989e-13, -5.0000000000033331322e-25, 4.9999999999983331322e-25},
    {1e-300, 0.0, 0.0},
    {1.0000000000000000209e-8, -4.9999999666666671259e-17, 5.0000000166666669176e-17},
    {0.25, -0.026856448685790244234, 0.034025416687741484073},
    {0.68999999999999994671, -0.16527147106501787417, 0.30371553324308227594},
    {0.70999999999999996447, -0.17350662948543151049, 0.32399125864675057526},
    {3.0, -1.6137056388801093812, 16.085536923187667741},
};

static void second_order_remainders(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof remainders / sizeof *remainders; i++) {
    check_close(poei_log1p_less(remainders[i][0]), remainders[i][1], 0, 6e-16);
    check_close(poei_expm1_less(remainders[i][0]), remainders[i][2], 0, 1e-15);
  }
}

/* x, log Gamma(x) less Stirling's main terms, log Gamma(x) */
static const double gammas[][3] = {
    {1.0000000000000000251e-300, 344.46882541590217985, 690.77552789821370518},
    {1.0000000000000000385e-25, 27.863375129220898289, 57.564627324851142062},
    {9.9999999999999995475e-7, 5.9888309840731798623, 13.815509980749431714},
    {0.2999999999999999889, 0.23606490074821558839, 1.0957979948180755606},
    {1.0, 0.08106146679532725822, 0.0},
    {1.5, 0.054814121051917653896, -0.12078223763524522235},
    {2.0, 0.041340695955409294094, 0.0},
    {7.25, 0.011487002684428696791, 7.0521854507385394449},
    {11.990000000000000213, 0.0069486279585434336978, 17.477885575426185546},
    {12.009999999999999787, 0.0069370618876139222361, 17.526738806509965054},
    {19.5, 0.0042731299321030073657, 37.861086508961096992},
    {170.5, 0.00048875799284635245082, 704.00442773420467079},
    {100000.0, 8.3333333333055555556e-7, 1051287.7089736568949},
    {1000000000000.0, 8.3333333333333333333e-14, 26631021115915.651636},
    {1.0000000000000000159e+100, 8.3333333333333332008e-102, 2.2925850929940457206e+102},
};

static void log_gamma(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof gammas / sizeof *gammas; i++) {
    check_close(poei_stirling_rest(gammas[i][0]), gammas[i][1], 1e-15, 2e-15);
    check_close(poei_log_gamma(gammas[i][0]), gammas[i][2], 1e-15, 4e-16);
  }
  check_close(poei_log_factorial(0.0), 0.0, 0, 0);
  check_close(poei_log_factorial(20.0), log(2432902008176640000.0), 0, 2e-16);
}

/* k, log(e^-k I_0(k)) */
static const double bessels[][2] = {
    {0.0, 0.0},
    {1.0000000000000000209e-8, -9.9999999750000002092e-9},
    {0.5, -0.43845028081451869606},
    {3.0, -1.4146923781865790845},
    {19.989999999999998437, -2.4101362126191278782},
    {20.010000000000001563, -2.410642802504741484},
    {700.0, -4.1943000015565509232},
    {100000.0, -6.6754000156835368867},
    {1000000000000.0, -14.734449091168821846},
};

static void bessel(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof bessels / sizeof *bessels; i++) {
    check_close(poei_log_bessel_i0(bessels[i][0]), bessels[i][1], 1e-16, 1e-15);
  }
}

/* n, rate, log probability */
static const double poissons[][3] = {
    {0.0, 0.25, -0.25},
    {1.0, 1.0000000000000000833e-30, -69.077552789821370437},
    {5.0, 5.0, -1.7403021806115441212},
    {15.0, 14.5, -2.2870416424429607996},
    {16.0, 3.0, -16.094063487390917741},
    {100.0, 100000.0, -99212.446829058540648},
    {1000000.0, 1000000.0, -7.8266938955201431272},
    {1000003000.0, 1000000000.0, -11.285072947258968158},
    {3.0, 9.999999999999999821e-201, -1383.3428152656554655},
};

static void poisson(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof poissons / sizeof *poissons; i++) {
    check_close(poei_poisson_log_p(poissons[i][0], poissons[i][1]), poissons[i][2], 0, 1e-15);
  }
  for (double n = 1.0; n <= 40.0; n += 1.0) { /* the table, and the switch behind it */
    check_close(poei_poisson_log_p(n, n), n * log(n) - n - poei_log_factorial(n), 2e-14, 0);
  }
}

/* a, b, log of the mass between */
static const double masses[][3] = {
    {-INFINITY, INFINITY, 0.0},
    {-INFINITY, -40.0, -804.60844201375378817},
    {-1.0, 1.0, -0.38171514630212607227},
    {-9.0, 8.0, -6.2220891626777398999e-16},
    {-0.2999999999999999889, 0.10000000000000000555, -1.8468118656728517527},
    {5.0, 5.5, -15.133540811271287591},
    {30.0, INFINITY, -454.32124395634319711},
    {-30.000099999999999767, -30.0, -460.13077853184862748},
    {100.0, 100.00001000000000317, -5012.4323639562076424},
    {8.0, 8.0014000000000002899, -39.495816674656488642},
    {-0.000010000000000000000818, 0.000010000000000000000818, -11.738716817631622437},
    {-12.0, -3.0, -6.6077262215103495433},
    {37.0, 41.0, -689.0305855768905936},
    {-1000.0, -999.0, -499008.32569431385372},
    {0.0, 1.0000000000000000251e-300, -691.69446643141837792},
};

static void normal_intervals(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof masses / sizeof *masses; i++) {
    double a = masses[i][0], b = masses[i][1];
    check_close(poei_normal_log_mass(a, b, b - a), masses[i][2], 1e-30, 1e-13);
    check_close(poei_normal_log_mass(-b, -a, b - a), masses[i][2], 1e-30, 1e-13);
  }
  /* The point with a share u below it, by the masses themselves; near u = 1 from the other side. */
  for (size_t i = 1; i < 200; i++) {
    double a = -12.0 + 0.1 * (double)i, b = a + exp(0.05 * (double)i - 7.0), u = (double)i / 200.0;
    double z = poei_normal_between(a, b, u), whole = poei_normal_log_mass(a, b, b - a);
    assert_true(z > a && z < b);
    check_close(exp(poei_normal_log_mass(a, z, z - a) - whole), u, 1e-10, 0);
    check_close(exp(poei_normal_log_mass(z, b, b - z) - whole), 1.0 - u, 1e-10, 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(second_order_remainders),
      cmocka_unit_test(log_gamma),
      cmocka_unit_test(bessel),
      cmocka_unit_test(poisson),
      cmocka_unit_test(normal_intervals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
