/* Diagnostics against R's package posterior 1.4.0 (mean, sd, mcse_mean, quantiles, rhat, ess_bulk, ess_tail, ess_mean,
 * ess_quantile at .3) on fixed draws, and against their definitions where posterior has none. */
#include "core/numerics.h"
#include "sampler/diagnostics.h"
#include "tests/sampler/series.h"
#include "tests/support/check.h"

enum { KNOWN = 11 };

static const double known[SERIES_COUNT][KNOWN] = {
    [SERIES_SLOW] = {-0.09457087812288123, 0.71129184670522239, 0.053903213739637183, -1.2581755288683731,
                     -0.0581863724301366, 1.0121561897831135, 1.0237804963186494, 173.02168302349219,
                     325.73161260388196, 174.12709050444502, 259.60873239108861},
    [SERIES_ODD] = {0.042254410970182996, 0.74052279265952536, 0.05384551329800473, -1.1386994293856698,
                    0.018162999595102675, 1.2885738556029629, 1.0169988744113214, 188.54554990184937,
                    343.99733730539174, 189.1375755877911, 245.67778110393817},
    [SERIES_HEAVY] = {1.2459593685304717, 36.883983762907938, 1.3212105796874591, -16.181380280424314,
                      -2.0347211183599025, 17.082478552537353, 1.0013206048780201, 784.38724197764293,
                      851.18678903261412, 779.34823999787909, 787.2214516442159},
    [SERIES_TIES] = {-0.67749999999999999, 2.9842516893458249, 0.34220891238575996, -6, -1, 4, 1.0318032595025757,
                     76.319352721732102, 175.61988052526303, 76.048081923602908, 97.771934594928808},
    [SERIES_SHIFTED] = {0.37528930783955022, 0.83199366063528968, 0.158336018974853, -1.0546993805303979,
                        0.36330849592577974, 1.7043711811873825, 1.1480112844799497, 27.786386390737526,
                        82.584576280100634, 27.610901824877978, 59.050442935373248},
    [SERIES_ANTITHETIC] = {0.0047892632085421456, 0.55987852147685857, 0.010874394625260332, -0.89354467017008277,
                           -0.010284098867682251, 0.96958207453820966, 1.0036137481786302, 2641.0876467423363,
                           782.30735897307807, 2650.8028913540934, 951.25102928463571},
    [SERIES_BINARY] = {0.47999999999999998, 0.50043459373697941, 0.068813638496636589, 0, 0, 1, 1.0182140784885898,
                       52.886594689263887, NAN, 52.88659468926388, 52.886594689263873},
    [SERIES_SHORT] = {-0.39765891158545946, 0.70305395213662036, 0.20295419426045402, -1.5880883824975904,
                      -0.43957803403265971, 0.87002722793885801, 1.1108018078549984, 12, 12, 12, 12},
    [SERIES_TINY] = {-0.066221740525507847, 0.46551523185336779, NAN, -0.86606553715692547, -0.058168363359372366,
                     0.56518466442820059, 1.2958936482104839, NAN, NAN, NAN, NAN},
    [SERIES_STICKY] = {0.11351872553311405, 1.9126688025023766, 0.22020388723888568, -3.0201734021489441,
                       0.087509044644409256, 3.3242480995172468, 1.0538088020239003, 77.247604334867802,
                       167.17588572778513, 75.444847634035156, 147.2282179169876},
};

static const struct {
  size_t chains, draws;
} size_of[SERIES_COUNT] = {
#define SERIES_SIZE(name, c, s) {c, s},
    SERIES_LIST(SERIES_SIZE)
#undef SERIES_SIZE
};

static poei_series series_of(series_case which, double *x) {
  size_t chains = size_of[which].chains, draws = size_of[which].draws;
  series_make(which, chains, draws, x);
  return (poei_series){x, chains, draws, draws, 1};
}

static void check_number(double actual, double expected) {
  if (isnan(expected)) {
    assert_true(isnan(actual));
  } else {
    check_close(actual, expected, 1e-8, 1e-8);
  }
}

static void agrees_with_posterior(void **state) {
  (void)state;
  for (int i = 0; i < SERIES_COUNT; i++) {
    double x[SERIES_MAX], number;
    poei_series series = series_of((series_case)i, x);
    poei_summary s;
    poe_error error = {0};
    check_ok(poei_summarise(series, &s, &error), error);
    const double ours[] = {s.mean, s.sd, s.mcse_mean, s.q5, s.median, s.q95, s.rhat, s.ess_bulk};
    for (size_t k = 0; k < sizeof ours / sizeof *ours; k++) {
      check_number(ours[k], known[i][k]);
    }
    if (i != SERIES_BINARY) { /* posterior has none when one of the two indicators is constant; the other speaks here */
      check_number(s.ess_tail, known[i][8]);
    }
    check_ok(poei_ess_mean(series, &number, &error), error);
    check_number(number, known[i][9]);
    check_ok(poei_ess_quantile(series, 0.3, &number, &error), error);
    check_number(number, known[i][10]);
    check_ok(poei_rhat(series, &number, &error), error);
    check_number(number, known[i][6]);
    check_ok(poei_ess_bulk(series, &number, &error), error);
    check_number(number, known[i][7]);
    check_ok(poei_ess_tail(series, &number, &error), error);
    check_number(number, s.ess_tail);
  }
}

/* Strides: the same numbers laid out draw by draw beside two other quantities. */
static void strides(void **state) {
  (void)state;
  static double x[SERIES_MAX], y[3 * SERIES_MAX];
  poei_series plain = series_of(SERIES_SLOW, x);
  for (size_t c = 0; c < plain.chains; c++) {
    for (size_t s = 0; s < plain.draws; s++) {
      y[(s * plain.chains + c) * 3 + 1] = x[c * plain.draws + s];
      y[(s * plain.chains + c) * 3] = y[(s * plain.chains + c) * 3 + 2] = NAN;
    }
  }
  poei_summary a, b;
  poe_error error = {0};
  check_ok(poei_summarise(plain, &a, &error), error);
  check_ok(poei_summarise((poei_series){y + 1, plain.chains, plain.draws, 3, 3 * plain.chains}, &b, &error), error);
  assert_memory_equal(&a, &b, sizeof a);
}

static void constant_and_not_finite(void **state) {
  (void)state;
  double x[80];
  poei_summary s;
  poe_error error = {0};
  poei_series series = {x, 4, 20, 20, 1};
  for (size_t i = 0; i < 80; i++) {
    x[i] = 2.5;
  }
  check_ok(poei_summarise(series, &s, &error), error);
  assert_true(s.mean == 2.5 && s.sd == 0.0 && s.median == 2.5 && isnan(s.rhat) && isnan(s.ess_bulk));
  x[17] = INFINITY;
  check_ok(poei_summarise(series, &s, &error), error);
  assert_true(isnan(s.mean) && isnan(s.rhat) && isnan(s.ess_tail));
  x[17] = NAN;
  check_ok(poei_summarise(series, &s, &error), error);
  assert_true(isnan(s.mean));
  check_fails(poei_summarise((poei_series){x, 4, 0, 0, 1}, &s, &error), POE_E_SHAPE, error, "no draws");
  check_fails(poei_nested_rhat(series, 3, &s.rhat, &error), POE_E_USAGE, error, "superchains");
  check_fails(poei_ess_quantile(series, 1.0, &s.rhat, &error), POE_E_USAGE, error, "probability");
}

/* Two constant chains that disagree: infinitely bad, not undefined. */
static void stuck_chains(void **state) {
  (void)state;
  double x[40], rhat;
  poe_error error = {0};
  for (size_t i = 0; i < 40; i++) {
    x[i] = i < 20 ? 0.0 : 1.0;
  }
  check_ok(poei_rhat((poei_series){x, 2, 20, 20, 1}, &rhat, &error), error);
  assert_true(rhat > 1e6 || isnan(rhat));
  x[3] = 0.5; /* now the folded values vary */
  check_ok(poei_rhat((poei_series){x, 2, 20, 20, 1}, &rhat, &error), error);
  assert_true(rhat > 3.0);
}

/* Normal score by its definition: the rank is a count. */
static double score(const double *x, size_t n, double value) {
  double below = 0.0, equal = 0.0;
  for (size_t i = 0; i < n; i++) {
    below += x[i] < value;
    equal += x[i] == value;
  }
  return poei_normal_quantile((below + (equal + 1.0) / 2.0 - 0.375) / ((double)n + 0.25));
}

static double variance(const double *x, size_t n) {
  double mean = 0.0, sum = 0.0;
  for (size_t i = 0; i < n; i++) {
    mean += x[i] / (double)n;
  }
  for (size_t i = 0; i < n; i++) {
    sum += (x[i] - mean) * (x[i] - mean) / ((double)n - 1.0);
  }
  return sum;
}

/* Nested R-hat written out from its definition: 4 chains in 2 superchains, halves apart. */
static double nested_by_hand(const double *x) {
  enum { DRAWS = 200, HALF = 100 };
  double group[4], within = 0.0;
  for (size_t g = 0; g < 4; g++) {
    double mean[2], inside = 0.0;
    for (size_t member = 0; member < 2; member++) {
      size_t chain = g % 2 * 2 + member, first = chain * DRAWS + (g >= 2 ? HALF : 0);
      double z[HALF];
      mean[member] = 0.0;
      for (size_t s = 0; s < HALF; s++) {
        z[s] = score(x, 4 * DRAWS, x[first + s]);
        mean[member] += z[s] / HALF;
      }
      inside += variance(z, HALF) / 2.0;
    }
    group[g] = (mean[0] + mean[1]) / 2.0;
    within += (inside + variance(mean, 2)) / 4.0;
  }
  return sqrt(1.0 + variance(group, 4) / within);
}

static void nested(void **state) {
  (void)state;
  double x[SERIES_MAX], folded[SERIES_MAX], rhat;
  poe_error error = {0};
  poei_series series = series_of(SERIES_SHIFTED, x);
  poei_summary s;
  check_ok(poei_summarise(series, &s, &error), error);
  for (size_t i = 0; i < 800; i++) {
    folded[i] = fabs(x[i] - s.median);
  }
  check_ok(poei_nested_rhat(series, 2, &rhat, &error), error);
  check_close(rhat, fmax(nested_by_hand(x), nested_by_hand(folded)), 1e-12, 0.0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(agrees_with_posterior), cmocka_unit_test(strides), cmocka_unit_test(constant_and_not_finite),
      cmocka_unit_test(stuck_chains),          cmocka_unit_test(nested),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
