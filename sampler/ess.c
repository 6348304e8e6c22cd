/* R-hat, nested R-hat and effective sample size of half chains (ranks.h).
 *
 * R-hat (Gelman et al. 2013, section 11.4): sqrt(((n - 1)/n W + B/n) / W), B/n the variance of the m chain means, W the
 * mean of their variances.
 * Nested R-hat (Margossian et al. 2022, equation 4): sqrt(1 + B/W), B the variance of the superchains' means, W the
 * mean over superchains of (variance of the chain means inside + mean variance inside the chains). ESS: m n / tau with
 * tau = -1 + 2 sum_t rho_t, rho_t = 1 - (W - mean autocovariance at lag t) / var+, summed by Geyer's (1992) initial
 * monotone sequence: pairs of lags while their sum is positive, each at most the one before; at most m n log10(m n)
 * (Vehtari et al. 2021, section 3.2; details as in R's `posterior`). Autocovariances are computed lag by lag, only as
 * far as the sum goes. */
#include "sampler/ranks.h"

enum { BENCH_GROUPS = 64 }; /* halves of at most 32 superchains */

static double bench_dot(const double *a, const double *b, size_t n) {
  double part[8] = {0};
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (size_t k = 0; k < 8; k++) {
      part[k] += a[i + k] * b[i + k];
    }
  }
  double sum = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
  for (; i < n; i++) {
    sum += a[i] * b[i];
  }
  return sum;
}

/* Means of the m half chains into bench->mean; then the chains are centred (once after each filling). */
static void bench_centre(poei_bench *bench) {
  size_t m = 2 * bench->chains, n = bench->half;
  for (size_t c = 0; c < m && !bench->centred; c++) {
    double *x = bench->part + c * n, sum = 0.0;
    for (size_t i = 0; i < n; i++) {
      sum += x[i];
    }
    double mean = sum / (double)n, rest = 0.0;
    for (size_t i = 0; i < n; i++) { /* a second pass takes the rounding of the first */
      rest += x[i] - mean;
    }
    mean += rest / (double)n;
    for (size_t i = 0; i < n; i++) {
      x[i] -= mean;
    }
    bench->mean[c] = mean;
  }
  bench->centred = true;
}

static double bench_variance(const double *x, size_t n) {
  double mean = 0.0, sum = 0.0;
  for (size_t i = 0; i < n; i++) {
    mean += x[i] / (double)n;
  }
  for (size_t i = 0; i < n; i++) {
    sum += (x[i] - mean) * (x[i] - mean);
  }
  return sum / (double)(n - 1);
}

/* Mean over the centred half chains of sum_i x_i x_{i+lag} / n. */
static double bench_autocovariance(const poei_bench *bench, size_t lag) {
  size_t m = 2 * bench->chains, n = bench->half;
  double sum = 0.0;
  for (size_t c = 0; c < m; c++) {
    const double *x = bench->part + c * n;
    sum += bench_dot(x, x + lag, n - lag) / (double)n;
  }
  return sum / (double)m;
}

double poei_bench_rhat(poei_bench *bench) {
  double n = (double)bench->half;
  if (bench->half < 2 || bench->constant) {
    return NAN;
  }
  bench_centre(bench);
  double within = bench_autocovariance(bench, 0) * n / (n - 1.0);
  return sqrt(bench_variance(bench->mean, 2 * bench->chains) / within + (n - 1.0) / n);
}

double poei_bench_nested_rhat(poei_bench *bench, size_t superchains) {
  size_t n = bench->half, members = bench->chains / superchains, groups = 2 * superchains;
  double group[BENCH_GROUPS], within = 0.0;
  if (bench->constant || n < 1 || members < 1 || superchains < 2 || groups > BENCH_GROUPS || (n < 2 && members < 2)) {
    return NAN;
  }
  bench_centre(bench);
  for (size_t g = 0; g < groups; g++) {
    /* group g: the first (g < superchains) or second halves of `members` consecutive chains */
    size_t first = g % superchains * members + g / superchains * bench->chains;
    double inside = 0.0, mean = 0.0;
    for (size_t c = first; c < first + members; c++) {
      const double *x = bench->part + c * n;
      mean += bench->mean[c] / (double)members;
      inside += n > 1 ? bench_dot(x, x, n) / (double)(n - 1) / (double)members : 0.0;
    }
    inside += members > 1 ? bench_variance(bench->mean + first, members) : 0.0;
    within += inside / (double)groups;
    group[g] = mean;
  }
  return sqrt(1.0 + bench_variance(group, groups) / within);
}

/* Fills bench->rho up to the end of the initial positive sequence; returns its last even lag. */
static size_t bench_positive_sequence(poei_bench *bench, double within, double total) {
  double *rho = bench->rho, even = 1.0, odd = 1.0 - (within - bench_autocovariance(bench, 1)) / total;
  size_t n = bench->half, t = 0;
  for (size_t i = 0; i < n; i++) {
    rho[i] = 0.0;
  }
  rho[0] = even;
  rho[1] = odd;
  while (t + 5 < n && even + odd > 0.0) {
    t += 2;
    even = 1.0 - (within - bench_autocovariance(bench, t)) / total;
    odd = 1.0 - (within - bench_autocovariance(bench, t + 1)) / total;
    if (even + odd >= 0.0) {
      rho[t] = even;
      rho[t + 1] = odd;
    }
  }
  if (even > 0.0) {
    rho[t] = even;
  }
  return t;
}

/* `compare`: chains that differ in their means count as slow ones. */
static double bench_size(poei_bench *bench, bool compare) {
  size_t m = 2 * bench->chains, n = bench->half;
  double draws = (double)n;
  if (n < 3 || bench->constant) {
    return NAN;
  }
  bench_centre(bench);
  double biased = bench_autocovariance(bench, 0), within = biased * draws / (draws - 1.0);
  double total = biased + (compare ? bench_variance(bench->mean, m) : 0.0);
  if (!(total > 0.0)) {
    return NAN;
  }
  double *rho = bench->rho;
  size_t last = bench_positive_sequence(bench, within, total);
  for (size_t t = 2; t + 2 <= last; t += 2) { /* make the pairs non-increasing */
    double before = rho[t - 2] + rho[t - 1];
    if (rho[t] + rho[t + 1] > before) {
      rho[t] = rho[t + 1] = before / 2.0;
    }
  }
  double sum = last == 0 ? rho[0] : 0.0, size = (double)m * draws;
  for (size_t t = 0; t < last; t++) {
    sum += rho[t];
  }
  bench->error = sqrt((4.0 * (double)last + 2.0) / size);
  return size / fmax(-1.0 + 2.0 * sum + rho[last], 1.0 / log10(size));
}

double poei_bench_ess(poei_bench *bench) {
  return bench_size(bench, true);
}

double poei_bench_within_ess(poei_bench *bench) {
  return bench_size(bench, false);
}
