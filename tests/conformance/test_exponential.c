/* Exponential families on parts of their range: masses against values computed with 150 digits (mpmath 1.2.1), far into
 * the tails; draws from tails and of extreme shapes; draws of unbounded counts; closed forms by coefficients; and what
 * the constructors refuse. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/list.h"
#include "experts/natural.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

enum { DRAWS = 20000, SEEDS = 3 };

/* An expert of a family with one or two parameters on [low, high] (poisson: counts). */
static poe_expert *make(const poe_expert_ops *ops, double a, double b, double low, double high) {
  poet_args args;
  poe_expert *made = NULL;
  poe_error error = {0};
  poet_args_start(&args, ops->kind);
  if (ops == &poei_poisson_ops) {
    poet_args_discrete_variable(&args, "k", 1, 1);
    args.support[0][0].low = low;
    args.support[0][0].high = high;
  } else {
    poet_args_interval_variable(&args, "x", 1, low, high);
  }
  poet_args_scalar(&args, ops->params[0].name, &a);
  if (ops->params[1].name != NULL) {
    poet_args_scalar(&args, ops->params[1].name, &b);
  }
  check_ok(poe_expert_create(ops, &args.args, &made, &error), error);
  return made;
}

/* ---- masses ---- */

/* family, parameters, interval, log of the mass */
static const struct {
  const poe_expert_ops *ops;
  double a, b, low, high, log_mass;
} masses[] = {
    {&poei_gamma_ops, 2.5, 1.5, 0.5, 2.5, -0.31877380854324705244},
    {&poei_gamma_ops, 2.5, 1.5, 0.0, 1e-08, -46.239012702671862607},
    {&poei_gamma_ops, 2.5, 1.5, 60.0, INFINITY, -83.518348490210089736},
    {&poei_gamma_ops, 2.5, 1.5, 600.0, 601.0, -890.33262478212706068},
    {&poei_gamma_ops, 0.01, 1.0, 1e-200, 1e-100, -2.402255300705802382},
    {&poei_gamma_ops, 0.01, 1.0, 0.0, 0.5, -0.0056426460200850017518},
    {&poei_gamma_ops, 1e-06, 1.0, 0.0, 0.001, -6.331540185603407494e-6},
    {&poei_gamma_ops, 1e-06, 1.0, 3.0, INFINITY, -18.154599868498089826},
    {&poei_gamma_ops, 400.0, 2.0, 150.0, INFINITY, -2.2066520386350112869e-8},
    {&poei_gamma_ops, 400.0, 2.0, 0.0, 150.0, -17.629204302744157013},
    {&poei_gamma_ops, 1000000.0, 1000000.0, 1.002, INFINITY, -3.7808151144730312519},
    {&poei_gamma_ops, 1000000.0, 1.0, 1000000.0, 1000000.001, -14.734449127504996692},
    {&poei_gamma_ops, 3.0, 1.0, 0.0, 60.0, -1.629586652937822435e-23},
    {&poei_gamma_ops, 50.0, 0.1, 499.9, 500.1, -6.788640005793616035},
    {&poei_beta_ops, 2.5, 3.5, 0.25, 0.75, -0.29191769016282110621},
    {&poei_beta_ops, 2.5, 3.5, 0.0, 1e-09, -49.422620056063844476},
    {&poei_beta_ops, 2.5, 3.5, 0.999999, 1.0, -46.305215817974738544},
    {&poei_beta_ops, 0.01, 0.02, 0.4, 0.6, -5.2408850040468242136},
    {&poei_beta_ops, 0.01, 0.02, 0.0, 1e-100, -2.7077282577039401416},
    {&poei_beta_ops, 300.0, 200.0, 0.0, 0.4, -43.689038955587813695},
    {&poei_beta_ops, 300.0, 200.0, 0.8, 0.81, -55.46489539884948762},
    {&poei_beta_ops, 1.0, 1.0, 0.25, 0.5, -1.3862943611198906188},
    {&poei_beta_ops, 5000.0, 3.0, 0.99, 1.0, -1.9513435187485910842e-19},
    {&poei_beta_ops, 2.0, 0.5, 0.5, 1.0, -0.12343003896576289894},
    {&poei_beta_ops, 100.0, 100.0, 0.5, 0.5000001, -13.695978315648527635},
    {&poei_von_mises_ops, 0.5, 2.5, 0.5, 2.5, -0.71002075297513295538},
    {&poei_von_mises_ops, 0.0, 40.0, 1.0, 1.25, -20.999427043957792262},
    {&poei_von_mises_ops, 0.0, 0.0, 1.0, 2.0, -1.8378770664093454836},
    {&poei_von_mises_ops, -2.0, 10000.0, -1.0, 0.0, -4602.3285350694583002},
    {&poei_von_mises_ops, 3.0, 7.0, 2.0, 6.0, -0.006578939534296501874},
    {&poei_von_mises_ops, 1.0, 0.001, -3.0, 3.2, -0.01331943590621849458},
    {&poei_von_mises_ops, 2.5, 300.0, 2.49, 2.4901, -7.2926554051531393649},
    {&poei_lognormal_ops, 0.25, 0.5, 0.5, 2.5, -0.12892743011372735232},
    {&poei_lognormal_ops, 0.0, 1.0, 0.0, 1e-10, -269.15233890039936384},
    {&poei_lognormal_ops, 0.0, 1.0, 1000000000.0, INFINITY, -218.67938416756837318},
    {&poei_lognormal_ops, 0.0, 0.1, 5.0, 5.001, -136.66421659088151956},
    {&poei_lognormal_ops, 2.0, 3.0, 0.0, 10000.0, -0.0081538174086880766692},
    {&poei_lognormal_ops, 0.0, 0.01, 1.5, INFINITY, -826.63176507237583757},
    {&poei_exponential_ops, 1.5, 0.0, 0.5, 2.5, -0.80106918094270158654},
    {&poei_exponential_ops, 1.0, 0.0, 800.0, INFINITY, -800.0},
    {&poei_exponential_ops, 1e-09, 0.0, 0.0, 1.0, -20.723265837446411094},
    {&poei_exponential_ops, 20.0, 0.0, 3.0, 3.0000001, -73.122364379040739365},
    {&poei_exponential_ops, 2.0, 0.0, 0.0, 40.0, -1.8048513878454151723e-35},
    {&poei_poisson_ops, 2.5, 0.0, 0.0, 5.0, -0.042929461790310477318},
    {&poei_poisson_ops, 2.5, 0.0, 40.0, INFINITY, -76.106196384286342209},
    {&poei_poisson_ops, 10000.0, 0.0, 0.0, 9000.0, -54.933001043885588851},
    {&poei_poisson_ops, 10000.0, 0.0, 9500.0, 1000000.0, -2.2561937487517531792e-7},
    {&poei_poisson_ops, 0.001, 0.0, 0.0, 1.0, -4.996669164668332114e-7},
    {&poei_poisson_ops, 300.0, 0.0, 200.0, 450.0, -3.3711062070976730179e-10},
    {&poei_poisson_ops, 300.0, 0.0, 600.0, 610.0, -119.31642882487575197},
};

static void masses_to_twelve_digits(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof masses / sizeof *masses; i++) {
    poe_expert *expert = make(masses[i].ops, masses[i].a, masses[i].b, masses[i].low, masses[i].high);
    poe_error error = {0};
    double log_z;
    check_ok(poe_expert_log_z(expert, &log_z, &error), error);
    check_close(log_z, masses[i].log_mass, 0, 1e-12);
    assert_null(poe_expert_traits(expert)->head);
    double x[50];
    assert_int_equal(poet_draw(expert, 3, 50, 1, x), POE_OK);
    for (size_t k = 0; k < 50; k++) {
      assert_true(x[k] >= masses[i].low && x[k] <= masses[i].high);
    }
    poe_expert_release(expert);
  }
}

/* ---- draws ---- */

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Kolmogorov's test of draws against a distribution function, at three seeds: false alarms 1e-4 each. */
static void follow(poe_expert *expert, double (*cdf)(double x)) {
  double *x = poet_doubles(DRAWS);
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    double gap = 0.0;
    assert_int_equal(poet_draw(expert, seed, DRAWS, 1, x), POE_OK);
    qsort(x, DRAWS, sizeof *x, ascending);
    for (size_t i = 0; i < DRAWS; i++) {
      double p = cdf(x[i]);
      gap = fmax(gap, fmax(p - (double)i / DRAWS, (double)(i + 1) / DRAWS - p));
    }
    assert_true(poei_kolmogorov_tail(sqrt(DRAWS) * gap) > 1e-4);
  }
  free(x);
  poe_expert_release(expert);
}

/* Gamma of shape 3 and rate 2 above 25: the tail is e^-2x (1 + 2x + 2x^2). */
static double gamma_tail(double x) {
  return 1.0 - exp(50.0 - 2.0 * x) * (1.0 + 2.0 * x * (1.0 + x)) / (1.0 + 50.0 * 26.0);
}

/* Gamma of shape 1/2 and rate 1/2: a squared normal, here below 0.01. */
static double gamma_bottom(double x) {
  return erf(sqrt(x / 2.0)) / erf(sqrt(0.005));
}

static double beta_part(double x) {
  return (x * x * x - 0.001) / (0.008 - 0.001);
}

/* Beta(1/2, 1/2): the arc sine law, here near 1. */
static double arc_sine(double x) {
  double pi = acos(-1.0), low = 2.0 / pi * asin(sqrt(0.99));
  return (2.0 / pi * asin(sqrt(x)) - low) / (1.0 - low);
}

static double flat_arc(double x) {
  return (x - 1.0) / 2.0;
}

static double exponential_part(double x) {
  return (exp(-2.0) - exp(-2.0 * x)) / (exp(-2.0) - exp(-4.0));
}

static double lognormal_tail(double x) {
  return 1.0 - exp(poei_normal_log_cdf(-log(x) / 0.5) - poei_normal_log_cdf(-log(30.0) / 0.5));
}

static void draws_of_parts(void **state) {
  (void)state;
  follow(make(&poei_gamma_ops, 3.0, 2.0, 25.0, INFINITY), gamma_tail);
  follow(make(&poei_gamma_ops, 0.5, 0.5, 0.0, 0.01), gamma_bottom);
  follow(make(&poei_beta_ops, 3.0, 1.0, 0.1, 0.2), beta_part);
  follow(make(&poei_beta_ops, 0.5, 0.5, 0.99, 1.0), arc_sine);
  follow(make(&poei_von_mises_ops, 0.7, 0.0, 1.0, 3.0), flat_arc);
  follow(make(&poei_exponential_ops, 2.0, 0.0, 1.0, 2.0), exponential_part);
  follow(make(&poei_lognormal_ops, 0.0, 0.5, 30.0, INFINITY), lognormal_tail);
}

/* Shapes at which almost all draws underflow: they stay inside, with finite density and slope. */
static void extreme_shapes(void **state) {
  (void)state;
  static const double shapes[] = {1e-300, 1e-6, 1e-3, 0.02, 1e8, 1e15};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    poe_expert *all[3] = {make(&poei_gamma_ops, shapes[i], 2.0, 0.0, INFINITY),
                          make(&poei_beta_ops, shapes[i], 0.5 * shapes[i], 0.0, 1.0),
                          make(&poei_beta_ops, shapes[i], 3.0, 0.0, 1.0)};
    for (size_t k = 0; k < 3; k++) {
      double x[200], value[200], slope[200];
      assert_int_equal(poet_draw(all[k], 5, 200, 1, x), POE_OK);
      assert_int_equal(poet_eval(all[k], 200, 1, x, value, slope), POE_OK);
      for (size_t n = 0; n < 200; n++) {
        if (!(x[n] > 0.0 && isfinite(value[n]) && isfinite(slope[n]))) {
          fail_msg("shape %g, %zu: at %g the value is %g, the slope %g", shapes[i], k, x[n], value[n], slope[n]);
        }
      }
      poe_expert_release(all[k]);
    }
  }
}

/* von Mises of large concentration is normal: (x - mu) sqrt(kappa) at 1e14, by Kolmogorov's test. */
static double sharp_cdf(double x) {
  return poei_normal_cdf((x - 0.25) * 1e7);
}

/* And of none, or hardly any, flat. */
static double round_cdf(double x) {
  return (x + acos(-1.0)) / (2.0 * acos(-1.0));
}

static void whole_circles(void **state) {
  (void)state;
  double pi = acos(-1.0);
  follow(make(&poei_von_mises_ops, 0.25, 1e14, -pi, pi), sharp_cdf);
  follow(make(&poei_von_mises_ops, 0.25, 0.0, -pi, pi), round_cdf);
  follow(make(&poei_von_mises_ops, 9.25, 1e-9, -pi, pi), round_cdf);
}

/* Chi-square over the states of which five draws or more are expected, at three seeds: false alarms 1e-4 each. */
static void unbounded_counts(void **state) {
  (void)state;
  static const double rates[] = {0.05, 1.0, 4.0, 700.0};
  enum { STATES = 1200 };
  double *x = poet_doubles(DRAWS), *count = poet_doubles(STATES);
  for (size_t r = 0; r < sizeof rates / sizeof *rates; r++) {
    poe_expert *expert = make(&poei_poisson_ops, rates[r], 0.0, 0.0, INFINITY);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
      memset(count, 0, STATES * sizeof *count);
      assert_int_equal(poet_draw(expert, seed, DRAWS, 1, x), POE_OK);
      for (size_t i = 0; i < DRAWS; i++) {
        assert_true(x[i] >= 0.0 && x[i] < STATES && x[i] == floor(x[i]));
        count[(size_t)x[i]] += 1.0;
      }
      double statistic = 0.0, df = 0.0, rest = DRAWS, seen = DRAWS;
      for (size_t k = 0; k < STATES; k++) {
        double expected = DRAWS * exp((double)k * log(rates[r]) - rates[r] - lgamma((double)k + 1.0));
        if (expected >= 5.0) {
          statistic += (count[k] - expected) * (count[k] - expected) / expected;
          rest -= expected;
          seen -= count[k];
          df += 1.0;
        }
      }
      if (rest >= 1.0) { /* too few to follow chi-square closely, but never by far */
        statistic += (seen - rest) * (seen - rest) / fmax(rest, 5.0);
        df += 1.0;
      }
      assert_true(poei_chi_square_tail(statistic, df - 1.0) > 1e-4);
    }
    poe_expert_release(expert);
  }
  free(x);
  free(count);
}

/* ---- by coefficients ---- */

static poei_natural_coordinate blank(double low, double high, poe_coordinate_kind kind) {
  return (poei_natural_coordinate){.support = {kind, low, high, true, true}};
}

static void kinds_by_coefficients(void **state) {
  (void)state;
  poei_natural_coordinate c = blank(0.0, INFINITY, POE_CONTINUOUS);
  char why[160];
  assert_true(poei_natural_diverges(&c, why, sizeof why) && poei_natural_kind(&c) == NULL);
  c.coefficient[POE_STATISTIC_IDENTITY] = -2.0;
  assert_string_equal(poei_natural_kind(&c), "exponential");
  c.coefficient[POE_STATISTIC_LOG] = 0.5;
  assert_string_equal(poei_natural_kind(&c), "gamma");
  c.precision = 1.0; /* x, x^2 and log x together */
  assert_false(poei_natural_diverges(&c, why, sizeof why));
  assert_null(poei_natural_kind(&c));
  c.coefficient[POE_STATISTIC_LOG] = 0.0;
  assert_string_equal(poei_natural_kind(&c), "gaussian");
  c.coefficient[POE_STATISTIC_SQUARE] = 0.75;
  assert_true(poei_natural_diverges(&c, why, sizeof why));
  assert_non_null(strstr(why, "x^2"));
  c = blank(0.0, INFINITY, POE_DISCRETE);
  c.coefficient[POE_STATISTIC_IDENTITY] = -0.25;
  assert_string_equal(poei_natural_kind(&c), "geometric");
  c.coefficient[POE_STATISTIC_LOG_FACTORIAL] = -1.0;
  assert_string_equal(poei_natural_kind(&c), "poisson");
  c.coefficient[POE_STATISTIC_LOG_FACTORIAL] = -0.3;
  assert_string_equal(poei_natural_kind(&c), "Conway-Maxwell-Poisson");
  c.coefficient[POE_STATISTIC_LOG_FACTORIAL] = 0.3;
  assert_true(poei_natural_diverges(&c, why, sizeof why));
  c = blank(0.0, 1.0, POE_CONTINUOUS);
  assert_string_equal(poei_natural_kind(&c), "uniform");
  c.coefficient[POE_STATISTIC_LOG_COMPLEMENT] = -0.5;
  assert_string_equal(poei_natural_kind(&c), "beta");
  c.coefficient[POE_STATISTIC_COS] = 1.0;
  assert_null(poei_natural_kind(&c));
  c.coefficient[POE_STATISTIC_LOG_COMPLEMENT] = 0.0;
  assert_string_equal(poei_natural_kind(&c), "von_mises");
}

/* An expert made of the coefficients of another is the same: values, log Z, coefficients. */
static void coefficients_make_the_same(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof masses / sizeof *masses; i++) {
    poe_expert *expert = make(masses[i].ops, masses[i].a, masses[i].b, masses[i].low, masses[i].high), *again = NULL;
    poei_natural_coordinate c;
    poe_error error = {0};
    double constant, x[20], one[20], other[20], log_z, most = fmax(masses[i].a, 1.0);
    /* what rounding costs: of terms that cancel, and of a small shape by its power, shape - 1 */
    double lost = 1e-14 * most * log(2.0 + most) + 1e-16 / fmin(masses[i].a > 0.0 ? masses[i].a : 1.0, 1.0);
    check_ok(poei_natural_read(expert, &c, &constant, &error), error);
    check_ok(poei_natural_create(1, &c, constant, &again, &error), error);
    assert_int_equal(poet_draw(expert, 3, 20, 1, x), POE_OK);
    assert_int_equal(poet_eval(expert, 20, 1, x, one, NULL), POE_OK);
    assert_int_equal(poet_eval(again, 20, 1, x, other, NULL), POE_OK);
    for (size_t k = 0; k < 20; k++) {
      check_close(other[k], one[k], lost, 1e-12);
    }
    check_ok(poe_expert_log_z(again, &log_z, &error), error);
    check_close(log_z, masses[i].log_mass, lost, 1e-12);
    poe_expert_release(expert);
    poe_expert_release(again);
  }
}

/* All laws side by side, each in a coordinate of its own, through the whole suite. */
enum { LAWS = 9 };

static void all_laws(poei_natural_coordinate *c) {
  static const double low[LAWS] = {0.0, 0.5, -INFINITY, 0.5, 0.1, 0.0, -1.0, 0.0, 2.0};
  static const double high[LAWS] = {3.0, 2.0, 1.5, 4.0, 0.9, INFINITY, 2.0, INFINITY, 9.0};
  for (size_t j = 0; j < LAWS; j++) {
    c[j] = blank(low[j], high[j], j >= 7 ? POE_DISCRETE : POE_CONTINUOUS);
  }
  c[1].coefficient[POE_STATISTIC_IDENTITY] = 1.25; /* exponential, growing */
  c[2].origin = 0.5;                               /* Gaussian, cut off */
  c[2].linear = 0.25;
  c[2].precision = 3.0;
  c[2].coefficient[POE_STATISTIC_SQUARE] = -0.5;
  c[3].coefficient[POE_STATISTIC_LOG] = -3.5; /* gamma of negative shape and rate: it falls, turns and rises */
  c[3].coefficient[POE_STATISTIC_IDENTITY] = 1.5;
  c[4].coefficient[POE_STATISTIC_LOG] = -2.0; /* beta of negative a and b */
  c[4].coefficient[POE_STATISTIC_LOG_COMPLEMENT] = -1.5;
  c[5].coefficient[POE_STATISTIC_LOG] = 0.5;
  c[5].coefficient[POE_STATISTIC_LOG_SQUARE] = -2.0;
  c[6].coefficient[POE_STATISTIC_COS] = -1.0;
  c[6].coefficient[POE_STATISTIC_SIN] = 2.0;
  c[7].coefficient[POE_STATISTIC_IDENTITY] = 1.5; /* Conway-Maxwell-Poisson */
  c[7].coefficient[POE_STATISTIC_LOG_FACTORIAL] = -1.75;
  c[8].coefficient[POE_STATISTIC_IDENTITY] = 0.3; /* geometric, growing */
}

static poe_status build_laws(poe_expert **expert, poe_error *why) {
  poei_natural_coordinate c[LAWS];
  all_laws(c);
  return poei_natural_create(LAWS, c, 0.75, expert, why);
}

static double laws_value(const double *x) {
  poei_natural_coordinate c[LAWS];
  double sum = 0.75, u = x[2] - 0.5;
  all_laws(c);
  for (size_t j = 0; j < LAWS; j++) {
    const double *b = c[j].coefficient;
    sum += b[POE_STATISTIC_IDENTITY] * x[j] + b[POE_STATISTIC_SQUARE] * x[j] * x[j] + b[POE_STATISTIC_COS] * cos(x[j]) +
           b[POE_STATISTIC_SIN] * sin(x[j]);
    if (j >= 3 && j <= 5) {
      sum += b[POE_STATISTIC_LOG] * log(x[j]) + b[POE_STATISTIC_LOG_SQUARE] * log(x[j]) * log(x[j]);
      sum += j == 4 ? b[POE_STATISTIC_LOG_COMPLEMENT] * log(1.0 - x[j]) : 0.0;
    }
  }
  return sum + 0.25 * u - 1.5 * u * u - 1.75 * lgamma(x[7] + 1.0);
}

static void points_of_laws(size_t n, size_t d, double *x) {
  static const double low[LAWS] = {0.05, 0.55, -2.0, 0.55, 0.15, 0.1, -0.95, 0.0, 2.0};
  static const double high[LAWS] = {2.95, 1.95, 1.45, 3.9, 0.85, 4.0, 1.95, 9.0, 9.0};
  for (size_t i = 0; i < n * d; i++) {
    double u = poet_spread(i / d, i % d, 0.0, 1.0), length = high[i % d] - low[i % d];
    x[i] = i % d >= 7 ? low[i % d] + floor(u * (length + 1.0)) : low[i % d] + u * length;
  }
}

/* One law alone, against quadrature of its density and a chi-square of its draws. */
static size_t which_law;

static poe_status build_law(poe_expert **expert, poe_error *why) {
  poei_natural_coordinate c[LAWS];
  all_laws(c);
  return poei_natural_create(1, &c[which_law], 0.25, expert, why);
}

static void laws_conform(void **state) {
  (void)state;
  static const double box[LAWS][2] = {{0.0, 3.0}, {0.5, 2.0},  {-2.5, 1.5}, {0.5, 4.0},
                                      {0.1, 0.9}, {0.0, 12.0}, {-1.0, 2.0}};
  static poet_report report;
  poet_case all = {.name = "all laws", .build = build_laws, .points = points_of_laws, .log_density = laws_value};
  poet_run_check(&all, NULL, &report);
  for (which_law = 0; which_law < LAWS; which_law++) {
    poet_case one_law = {.name = "one law", .build = build_law, .sample = POET_SAMPLE_BOX};
    memcpy(one_law.box, box[which_law], sizeof box[which_law]);
    if (which_law >= 7) {
      one_law.sample = which_law == 8 ? POET_SAMPLE_STATES : POET_SAMPLE_NONE;
    }
    poet_run_check(&one_law, NULL, &report);
  }
  if (report.failures > 0) {
    fail_msg("the laws do not conform:\n%s", report.text);
  }
}

/* ---- what is refused ---- */

static poet_args a;
static poe_error error;
static const double one = 1.0, minus = -1.0;

static void refuses(const poe_expert_ops *ops, poe_status status, int column, const char *part) {
  poe_expert *expert = NULL;
  memset(&error, 0, sizeof error);
  check_fails(poe_expert_create(ops, &a.args, &expert, &error), status, error, part);
  assert_null(expert);
  assert_int_equal(error.column, column);
}

static void parameters_are_named(void **state) {
  (void)state;
  static const poe_expert_ops *const two[] = {&poei_gamma_ops, &poei_beta_ops};
  for (size_t i = 0; i < 2; i++) {
    poet_args_start(&a, two[i]->kind);
    poet_args_real_variable(&a, "x", 2);
    poet_args_scalar(&a, two[i]->params[0].name, &one);
    poet_args_scalar(&a, two[i]->params[1].name, &minus);
    refuses(two[i], POE_E_DOMAIN, 20, "must be positive; number 0 is -1");
    a.args.n_args = 1;
    refuses(two[i], POE_E_USAGE, 0, two[i]->params[1].name);
  }
  poet_args_start(&a, "poisson");
  poet_args_real_variable(&a, "x", 1);
  poet_args_scalar(&a, "rate", &one);
  refuses(&poei_poisson_ops, POE_E_TYPE, 0, "discrete");
  poet_args_start(&a, "gamma");
  poet_args_discrete_variable(&a, "k", 1, 4);
  refuses(&poei_gamma_ops, POE_E_TYPE, 0, "real variables");
  poet_args_start(&a, "beta");
  poet_args_interval_variable(&a, "x", 1, 2.0, 3.0);
  poet_args_scalar(&a, "a", &one);
  poet_args_scalar(&a, "b", &one);
  refuses(&poei_beta_ops, POE_E_EMPTY, 0, "`beta` is a density on [0, 1], but `x` holds [2, 3]");
  poet_args_start(&a, "von_mises");
  poet_args_interval_variable(&a, "x", 1, 0.0, 6.3);
  poet_args_scalar(&a, "kappa", &one);
  refuses(&poei_von_mises_ops, POE_E_DOMAIN, 0, "more than once around");
  assert_non_null(strstr(error.hint, "[-pi, pi]"));
  poet_args_start(&a, "von_mises");
  poet_args_real_variable(&a, "x", 1);
  poet_args_scalar(&a, "kappa", &minus);
  refuses(&poei_von_mises_ops, POE_E_DOMAIN, 10, "at least 0");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(masses_to_twelve_digits), cmocka_unit_test(draws_of_parts),
      cmocka_unit_test(extreme_shapes),          cmocka_unit_test(unbounded_counts),
      cmocka_unit_test(whole_circles),           cmocka_unit_test(laws_conform),
      cmocka_unit_test(kinds_by_coefficients),   cmocka_unit_test(coefficients_make_the_same),
      cmocka_unit_test(parameters_are_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
