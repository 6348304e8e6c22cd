/* Log-space numbers and distribution functions against values computed with 60 digits (mpmath 1.2.1), at the extremes
 * and at the switches between formulas. */
#include <float.h>
#include <math.h>

#include "core/numerics.h"
#include "tests/support/check.h"

static void test_log_add_and_sub(void **state) {
  (void)state;
  check_close(poei_log_add(log(2.0), log(3.0)), log(5.0), 0, 4e-16);
  check_close(poei_log_add(log(3.0), log(2.0)), log(5.0), 0, 4e-16);
  check_close(poei_log_add(1000.0, 1000.0), 1000.0 + POEI_LOG_2, 0, 2e-16);
  check_close(poei_log_add(-1e308, 3.0), 3.0, 0, 0);
  check_close(poei_log_add(-INFINITY, -7.0), -7.0, 0, 0);
  check_close(poei_log_add(-7.0, -INFINITY), -7.0, 0, 0);
  check_close(poei_log_add(-INFINITY, -INFINITY), -INFINITY, 0, 0);
  check_close(poei_log_add(INFINITY, -INFINITY), INFINITY, 0, 0);
  check_close(poei_log_add(INFINITY, INFINITY), INFINITY, 0, 0);
  check_close(poei_log_add(0.0, -40.0), 4.248354255291589e-18, 0, 1e-15);
  check_close(poei_log_sub(log(5.0), log(3.0)), log(2.0), 0, 1e-15);
  check_close(poei_log_sub(7.0, -INFINITY), 7.0, 0, 0);
  check_close(poei_log_sub(7.0, 7.0), -INFINITY, 0, 0);
  check_close(poei_log_sub(-INFINITY, -INFINITY), -INFINITY, 0, 0);
  check_close(poei_log_sub(INFINITY, 3.0), INFINITY, 0, 0);
  assert_true(isnan(poei_log_sub(1.0, 2.0)));
  const double others[] = {0.0, -INFINITY, INFINITY, NAN};
  for (size_t i = 0; i < 4; i++) {
    assert_true(isnan(poei_log_add(NAN, others[i])));
    assert_true(isnan(poei_log_add(others[i], NAN)));
  }
}

/* x, softplus(x), log(1 - e^-|x|), sigmoid(x) */
static const double one_variable[][4] = {
    {-800, 0.0, 0.0, 0.0},
    {-40, 4.2483542552915889863e-18, -4.2483542552915890044e-18, 4.2483542552915889773e-18},
    {-1, 0.31326168751822283405, -0.45867514538708189102, 0.26894142136999512075},
    {-0.6931, 0.40548083520881468043, -0.69319436334600083574, 0.33334381798465339956},
    {-0.6932, 0.40544750193813245834, -0.69309436390963647599, 0.33332159578331903678},
    {-1e-10, 0.69314718050994530942, -23.025850929990456804, 0.499999999975},
    {-1e-300, 0.69314718055994530942, -690.77552789821370518, 0.5},
    {1e-300, 0.69314718055994530942, -690.77552789821370518, 0.5},
    {1e-10, 0.69314718060994530942, -23.025850929990456804, 0.500000000025},
    {1, 1.313261687518222834, -0.45867514538708189102, 0.73105857863000487925},
    {36, 36.000000000000000232, -2.3195228302435696573e-16, 0.99999999999999976805},
    {40, 40.000000000000000004, -4.2483542552915890044e-18, 0.99999999999999999575},
    {800, 800.0, 0.0, 1.0},
};

static void test_functions_of_one_variable(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof one_variable / sizeof *one_variable; i++) {
    double x = one_variable[i][0];
    check_close(poei_softplus(x), one_variable[i][1], 1e-320, 4e-16);
    check_close(poei_log1m_exp(-fabs(x)), one_variable[i][2], 1e-320, 8e-16);
    check_close(poei_sigmoid(x), one_variable[i][3], 1e-320, 4e-16);
  }
  check_close(poei_softplus(INFINITY), INFINITY, 0, 0);
  check_close(poei_softplus(-INFINITY), 0.0, 0, 0);
  check_close(poei_sigmoid(INFINITY), 1.0, 0, 0);
  check_close(poei_sigmoid(-INFINITY), 0.0, 0, 0);
  check_close(poei_log1m_exp(0.0), -INFINITY, 0, 0);
  check_close(poei_log1m_exp(-INFINITY), 0.0, 0, 0);
  assert_true(isnan(poei_softplus(NAN)) && isnan(poei_sigmoid(NAN)) && isnan(poei_log1m_exp(NAN)));
}

static void test_log_sum_exp(void **state) {
  (void)state;
  double x[200];
  for (size_t i = 0; i < 200; i++) { /* sum_{i=1..200} i = 20100, shifted */
    x[i] = log((double)(i + 1)) + 2000.0;
  }
  check_close(poei_log_sum_exp(x, 200, 1), log(20100.0) + 2000.0, 0, 4e-16);
  check_close(poei_log_sum_exp(x, 100, 2), log(10000.0) + 2000.0, 0, 4e-16); /* the odd numbers below 200 */
  check_close(poei_log_sum_exp(x, 0, 1), -INFINITY, 0, 0);
  check_close(poei_log_sum_exp(x, 1, 1), x[0], 0, 0);
  check_close(poei_log_sum_exp(x, 5, 0), x[0] + log(5.0), 0, 4e-16);
  const double empty[3] = {-INFINITY, -INFINITY, -INFINITY}, part[3] = {-INFINITY, -800.0, -INFINITY};
  const double full[3] = {1.0, INFINITY, -INFINITY}, bad[3] = {INFINITY, NAN, 1.0};
  check_close(poei_log_sum_exp(empty, 3, 1), -INFINITY, 0, 0);
  check_close(poei_log_sum_exp(part, 3, 1), -800.0, 0, 0);
  check_close(poei_log_sum_exp(full, 3, 1), INFINITY, 0, 0);
  assert_true(isnan(poei_log_sum_exp(bad, 3, 1)));
}

static void test_sum(void **state) {
  (void)state;
  const double hard[5] = {1.0, 1e100, 1.0, -1e100, 3.0}, infinite[3] = {1.0, INFINITY, 2.0};
  check_close(poei_sum(hard, 5), 5.0, 0, 0); /* a plain sum gives 3 */
  check_close(poei_sum(infinite, 3), INFINITY, 0, 0);
  check_close(poei_sum(hard, 0), 0.0, 0, 0);
  static double tenth[1000000];
  for (size_t i = 0; i < 1000000; i++) {
    tenth[i] = 0.1;
  }
  check_close(poei_sum(tenth, 1000000), 1e6 * 0.1, 0, 2e-16);
  const double opposite[2] = {INFINITY, -INFINITY};
  assert_true(isnan(poei_sum(opposite, 2)));
}

/* x, distribution function, its logarithm */
static const double normal[][3] = {
    {-1e10, 0.0, -50000000000000000024.0},
    {-1000, 0.0, -500007.82669481218431},
    {-40, 0.0, -804.60844201375378817},
    {-37.5, 4.6053530095819548438e-308, -707.66898931750719107},
    {-31, 2.6952500812005000786e-211, -484.85396362717928858},
    {-30.5, 1.3029379131780763509e-204, -469.46273732291211439},
    {-29.5, 1.4394745522291791686e-191, -439.42947460915022775},
    {-20, 2.7536241186062336951e-89, -203.91715537109726394},
    {-10, 7.619853024160526066e-24, -53.231285150512470578},
    {-8.3, 5.2055697448902540246e-17, -37.4942174237482545},
    {-5, 2.8665157187919391167e-7, -15.064998393988725736},
    {-1, 0.15865525393145705141, -1.8410216450092635058},
    {-0.1, 0.46017216272297101633, -0.77615459273027332557},
    {0.0, 0.5, -0.69314718055994530942},
    {1e-8, 0.50000000398942280401, -0.69314717258109973322},
    {0.7, 0.75803634777692697138, -0.277023942277131263},
    {2.5, 0.99379033467422386483, -0.006229025485860002381},
    {6, 0.99999999901341235496, -9.8658764552437573169e-10},
    {8, 0.9999999999999993779, -6.2209605742717860585e-16},
    {9.5, 1.0, -1.0494515075362607493e-21},
};

/* p, quantile */
static const double quantile[][2] = {
    {1e-300, -37.047096299361199237},
    {1e-100, -21.273453560965324294},
    {1e-20, -9.2623400897984075796},
    {1e-10, -6.3613409024040561991},
    {1e-5, -4.2648907939228246102},
    {0.001, -3.0902323061678135354},
    {0.025, -1.9599639845400542118},
    {0.07, -1.4757910281791706856},
    {0.0751, -1.4388253927525399824},
    {0.3, -0.52440051270804081597},
    {0.5, 0.0},
    {0.6, 0.25334710313579974132},
    {0.925, 1.4395314709384562291},
    {0.975, 1.9599639845400538556},
    {0.999999, 4.7534243088170877657},
    {0.9999999999999999, 8.2095361516013868556},
};

static void test_normal(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof normal / sizeof *normal; i++) {
    check_close(poei_normal_cdf(normal[i][0]), normal[i][1], 1e-320, 1e-15);
    check_close(poei_normal_log_cdf(normal[i][0]), normal[i][2], 0, 1e-15);
  }
  for (size_t i = 0; i < sizeof quantile / sizeof *quantile; i++) {
    check_close(poei_normal_quantile(quantile[i][0]), quantile[i][1], 0, 1e-15);
  }
  check_close(poei_normal_log_pdf(3.0), -4.5 - 0.91893853320467274178, 0, 2e-16);
  check_close(poei_normal_cdf(INFINITY), 1.0, 0, 0);
  check_close(poei_normal_cdf(-INFINITY), 0.0, 0, 0);
  check_close(poei_normal_log_cdf(INFINITY), 0.0, 0, 0);
  check_close(poei_normal_log_cdf(-INFINITY), -INFINITY, 0, 0);
  check_close(poei_normal_quantile(0.0), -INFINITY, 0, 0);
  check_close(poei_normal_quantile(1.0), INFINITY, 0, 0);
  assert_true(isnan(poei_normal_quantile(-0.1)) && isnan(poei_normal_quantile(1.1)) &&
              isnan(poei_normal_quantile(NAN)));
  assert_true(isnan(poei_normal_cdf(NAN)) && isnan(poei_normal_log_cdf(NAN)));
  for (double x = -38.0; x < 8.0; x += 0.01) { /* monotone, also across the switches */
    assert_true(poei_normal_log_cdf(x) < poei_normal_log_cdf(x + 0.01));
  }
}

/* x, degrees of freedom, distribution function */
static const double student[][3] = {
    {-1e150, 0.5, 3.2070097541422290341e-76}, {-50, 1, 0.0063653491009727966793},  {-3, 2, 0.04773298313335456603},
    {-1.2, 2.5, 0.16571941883293878201},      {-0.001, 3, 0.499632447484730469},   {0.4, 3, 0.64203242301281493108},
    {2, 4, 0.94194173824159220275},           {-8, 7, 0.000045574605854376812088}, {-20, 30, 3.3745418328856432006e-19},
    {1.5, 30, 0.92796703543567699935},        {-5, 200, 6.2509906388576976811e-7}, {-2, 1e6, 0.022750266925659604211},
    {-6, 1e6, 9.8692490617721733495e-10},     {0.3, 1e9, 0.61791142215777417916},  {-2, 1e9, 0.022750132083156623547},
    {-1e-9, 10, 0.49999999961089161603},      {4, 0.01, 0.52141822862607031597},
};

static void test_student(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof student / sizeof *student; i++) {
    double x = student[i][0], df = student[i][1], p = student[i][2];
    check_close(poei_student_cdf(x, df), p, 0, 1e-12);
    check_close(poei_student_cdf(-x, df), 1.0 - p, 0, 1e-12);
    if (p < 0.5) { /* above, 1 - p has lost digits */
      check_close(poei_student_quantile(p, df), x, 0, fmax(1e-10, 1e-15 / (fabs(x) * p)));
      check_close(poei_student_cdf(poei_student_quantile(p, df), df), p, 0, 1e-12);
    }
  }
  for (double p = 0.001; p < 1.0; p += 0.0131) { /* closed forms: Cauchy and two degrees of freedom */
    check_close(poei_student_quantile(p, 1.0), tan(POEI_PI * (p - 0.5)), 1e-14, 1e-11);
    check_close(poei_student_quantile(p, 2.0), (2.0 * p - 1.0) / sqrt(2.0 * p * (1.0 - p)), 1e-14, 1e-11);
    check_close(poei_student_quantile(p, 1e16), poei_normal_quantile(p), 0, 1e-12);
    check_close(poei_student_quantile(p, 1e14), poei_normal_quantile(p), 1e-12, 1e-10);
  }
  check_close(poei_student_quantile(0.0, 3.0), -INFINITY, 0, 0);
  check_close(poei_student_quantile(1.0, 3.0), INFINITY, 0, 0);
  check_close(poei_student_quantile(0.5, 3.0), 0.0, 0, 0);
  check_close(poei_student_cdf(INFINITY, 3.0), 1.0, 0, 0);
  check_close(poei_student_cdf(-INFINITY, 3.0), 0.0, 0, 0);
  assert_true(isnan(poei_student_cdf(1.0, 0.0)) && isnan(poei_student_quantile(0.5, -1.0)));
  assert_true(isnan(poei_student_cdf(NAN, 1.0)) && isnan(poei_student_quantile(1.5, 1.0)));
}

/* x, degrees of freedom, upper tail */
static const double chi_square[][3] = {
    {0.001, 1, 0.97477287936996038828},
    {1, 1, 0.31731050786291410283},
    {3.841458820694124, 1, 0.050000000000000057435},
    {50, 1, 1.5374597944280348502e-12},
    {0.5, 4, 0.97350097883925608531},
    {20, 10, 0.029252688076961072673},
    {10, 10, 0.44049328506521241144},
    {100, 100, 0.48119168452795671811},
    {150, 100, 0.00090393204235400908576},
    {60, 100, 0.99948110853745196571},
    {1000, 1, 1.7958327848007261946e-219},
    {1e6, 1e6, 0.49981193680339449952},
    {1.003e6, 1e6, 0.017016772933266315089},
    {1300, 50, 2.7676691081234689463e-239},
    {2, 0.1, 0.011523652948539911507},
    {9.9, 0.5, 0.00052063001856053523899},
};

/* x, upper tail */
static const double kolmogorov[][2] = {
    {0.1, 1.0},
    {0.3, 0.99999069419866543338},
    {0.5, 0.96394524366487509439},
    {0.8275735551899077, 0.49999999999999995784},
    {0.99, 0.28087383922554892176},
    {1.0, 0.2699996716773545212},
    {1.01, 0.25943416909359744282},
    {1.3580986393225507, 0.049999999999999972718},
    {2, 0.00067092525577969534654},
    {3.5, 4.5794696912911057882e-11},
};

static void test_tails(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof chi_square / sizeof *chi_square; i++) {
    check_close(poei_chi_square_tail(chi_square[i][0], chi_square[i][1]), chi_square[i][2], 0, 1e-11);
  }
  check_close(poei_chi_square_tail(0.0, 3.0), 1.0, 0, 0);
  check_close(poei_chi_square_tail(-1.0, 3.0), 1.0, 0, 0);
  check_close(poei_chi_square_tail(INFINITY, 3.0), 0.0, 0, 0);
  assert_true(isnan(poei_chi_square_tail(1.0, 0.0)) && isnan(poei_chi_square_tail(NAN, 1.0)));
  for (size_t i = 0; i < sizeof kolmogorov / sizeof *kolmogorov; i++) {
    check_close(poei_kolmogorov_tail(kolmogorov[i][0]), kolmogorov[i][1], 0, 1e-13);
  }
  check_close(poei_kolmogorov_tail(0.0), 1.0, 0, 0);
  check_close(poei_kolmogorov_tail(INFINITY), 0.0, 0, 0);
  assert_true(isnan(poei_kolmogorov_tail(NAN)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_log_add_and_sub), cmocka_unit_test(test_functions_of_one_variable),
      cmocka_unit_test(test_log_sum_exp),     cmocka_unit_test(test_sum),
      cmocka_unit_test(test_normal),          cmocka_unit_test(test_student),
      cmocka_unit_test(test_tails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
