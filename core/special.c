/* Special functions in logarithms (special.h).
 *
 * log Gamma: Stirling's series, reflection (Abramowitz and Stegun 6.1.41, 6.1.17). The Poisson probability as Loader
 * (2000), "Fast and accurate computation of binomial probabilities": log p = -rest(n) - log(2 pi n) / 2 - deviance.
 * Bessel I_0: power series DLMF 10.25.2, asymptotic series DLMF 10.40.1. Mass of a normal interval by Mills' ratio M(x)
 * = Q(x) / phi(x), in the tail by its continued fraction (Abramowitz and Stegun 26.2.14). */
#include "core/special.h"

#include <math.h>

#include "core/numerics.h"

/* ---- second-order remainders ---- */

double poei_log1p_less(double x) {
  if (x < -0.4 || x > 0.7) {
    return log1p(x) - x;
  }
  /* log(1 + x) = 2 (r + r^3/3 + r^5/5 + ...), r = x / (2 + x), and 2 r - x = -r x */
  double r = x / (2.0 + x), square = r * r, sum = 0.0;
  for (int k = 29; k >= 3; k -= 2) {
    sum = sum * square + 1.0 / k;
  }
  return r * (2.0 * square * sum - x);
}

double poei_expm1_less(double x) {
  if (fabs(x) > 0.5) {
    return expm1(x) - x;
  }
  double sum = 1.0;
  for (int k = 17; k >= 3; k--) { /* x^2/2 (1 + x/3 (1 + x/4 (1 + ...))) */
    sum = 1.0 + x / k * sum;
  }
  return 0.5 * x * x * sum;
}

/* ---- gamma function ---- */

double poei_stirling_rest(double x) {
  if (x < 1e-20) { /* Gamma(x) is 1/x */
    return -0.5 * (log(x) + POEI_LOG_2PI);
  }
  double shift = 0.0;
  while (x < 12.0) { /* rest(x) = rest(x + 1) + (x + 1/2) log(1 + 1/x) - 1 */
    shift += (x + 0.5) * log1p(1.0 / x) - 1.0;
    x += 1.0;
  }
  double y = 1.0 / (x * x);
  double series =
      1.0 / 12.0 +
      y * (-1.0 / 360.0 + y * (1.0 / 1260.0 + y * (-1.0 / 1680.0 + y * (1.0 / 1188.0 + y * (-691.0 / 360360.0)))));
  return shift + series / x;
}

/* Of C's tgamma where that is in range, which keeps the zeros at 1 and 2; above by Stirling's series, below by
 * reflection. */
double poei_log_gamma(double x) {
  if (isnan(x) || isinf(x)) {
    return isnan(x) ? x : INFINITY;
  }
  if (x <= 0.0 && x == floor(x)) {
    return INFINITY;
  }
  if (fabs(x) < 20.0) {
    return log(fabs(tgamma(x)));
  }
  if (x < 0.0) {
    double turn = x - floor(x); /* sin(pi x) up to its sign, without the rounding of pi * x */
    return log(POEI_PI / sin(POEI_PI * turn)) - poei_log_gamma(1.0 - x);
  }
  return (x - 0.5) * log(x) - x + 0.5 * POEI_LOG_2PI + poei_stirling_rest(x);
}

double poei_log_factorial(double n) {
  return poei_log_gamma(n + 1.0);
}

double poei_poisson_log_p(double n, double rate) {
  static const double rest[16] = {0.0,
                                  0.08106146679532725822,
                                  0.041340695955409294094,
                                  0.027677925684998339149,
                                  0.020790672103765093112,
                                  0.016644691189821192163,
                                  0.013876128823070747999,
                                  0.011896709945891770095,
                                  0.010411265261972096497,
                                  0.0092554621827127329177,
                                  0.0083305634333628712565,
                                  0.007573675487951840795,
                                  0.0069428401072095298657,
                                  0.0064089941880042070684,
                                  0.0059513701127588477356,
                                  0.005554733551962801371};
  if (n == 0.0) {
    return -rate;
  }
  double excess = (rate - n) / n; /* deviance: n log(n / rate) + rate - n */
  double deviance = excess > -0.4 ? -n * poei_log1p_less(excess) : n * (log(n) - log(rate)) + (rate - n);
  return -deviance - 0.5 * (POEI_LOG_2PI + log(n)) - (n < 16.0 ? rest[(int)n] : poei_stirling_rest(n));
}

/* ---- Bessel ---- */

double poei_log_bessel_i0(double k) {
  double term = 1.0, sum = 1.0;
  if (k < 20.0) {
    double quarter = 0.25 * k * k;
    for (double i = 1.0; term > 1e-18 * sum; i += 1.0) {
      term *= quarter / (i * i);
      sum += term;
    }
    return log(sum) - k;
  }
  for (double i = 1.0; fabs(term) > 1e-18 && i < 2.0 * k; i += 1.0) {
    term *= (2.0 * i - 1.0) * (2.0 * i - 1.0) / (8.0 * i * k);
    sum += term;
  }
  return log(sum) - 0.5 * (POEI_LOG_2PI + log(k));
}

/* ---- an interval of the normal ---- */

/* Q(x) / phi(x) for x >= 0. */
static double mills(double x) {
  if (x < 8.0) {
    return exp(0.5 * x * x + 0.5 * POEI_LOG_2PI) * poei_normal_cdf(-x);
  }
  double fraction = x;
  for (int k = 24; k >= 1; k--) {
    fraction = x + k / fraction;
  }
  return 1.0 / fraction;
}

/* log mass of an interval with a <= -b: it leans to the left. */
static double left_log_mass(double a, double b, double width) {
  double middle = 0.5 * (a + b);
  if (width * (1.0 + fabs(middle)) < 1e-2) { /* the difference would lose its digits: density times width */
    double w = width * width, m = middle * middle;
    double series = w * ((m - 1.0) / 24.0 + w * (m * m - 6.0 * m + 3.0) / 1920.0);
    return poei_normal_log_pdf(middle) + log(width) + log1p(series);
  }
  if (b <= 0.0) { /* phi(b) M(-b) - phi(a) M(-a) */
    double lost = a == -INFINITY ? 0.0 : exp(0.5 * width * (a + b)) * mills(-a);
    return poei_normal_log_pdf(b) + log(mills(-b) - lost);
  }
  double outside = poei_normal_cdf(a) + poei_normal_cdf(-b);
  return outside < 0.5 ? log1p(-outside) : log(0.5 * (erf(-a * sqrt(0.5)) + erf(b * sqrt(0.5))));
}

double poei_normal_log_mass(double a, double b, double width) {
  return a + b > 0.0 ? left_log_mass(-b, -a, width) : left_log_mass(a, b, width);
}

/* z with log Phi(z) = log_p, for p far below what a double holds as well. */
static double tail_quantile(double log_p) {
  if (log_p > -600.0) {
    return poei_normal_quantile(exp(log_p));
  }
  double z = -sqrt(-2.0 * log_p);
  for (int step = 0; step < 8; step++) {
    double log_cdf = poei_normal_log_cdf(z);
    z -= (log_cdf - log_p) * exp(log_cdf - poei_normal_log_pdf(z));
  }
  return z;
}

/* In a narrow interval the density is exponential up to the width squared; two Newton steps by the mass do the rest. */
static double narrow_quantile(double a, double b, double u) {
  double width = b - a, tilt = -0.5 * (a + b) * width, whole = left_log_mass(a, b, width);
  double w = fabs(tilt) < 1e-12 ? width * u : width * log1p(u * expm1(tilt)) / tilt;
  for (int step = 0; step < 2 && w > 0.0; step++) {
    double below = exp(left_log_mass(a, a + w, w) - whole);
    w -= (below - u) * exp(whole - poei_normal_log_pdf(a + w));
  }
  return a + w;
}

static double left_quantile(double a, double b, double u) {
  if ((b - a) * (1.0 + fabs(0.5 * (a + b))) < 1e-2) {
    return narrow_quantile(a, b, u);
  }
  double low = poei_normal_log_cdf(a), high = poei_normal_log_cdf(b);
  return tail_quantile(poei_log_add(low + log1p(-u), high + log(u)));
}

double poei_normal_between(double a, double b, double u) {
  double z = a + b > 0.0 ? -left_quantile(-b, -a, 1.0 - u) : left_quantile(a, b, u);
  return fmin(fmax(z, a), b);
}
