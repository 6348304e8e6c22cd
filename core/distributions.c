/* Distribution functions and quantiles (numerics.h).
 *
 * Normal: erfc of libm with the rounding of its argument undone; asymptotic series (Abramowitz and Stegun 26.2.12) in
 * the far tail; quantile by Wichura (1988), algorithm AS 241, PPND16.
 * Student: incomplete beta function by the continued fraction of Didonato and Morris (1992, algorithm 708, equation 9),
 * evaluated by Lentz's method; quantile by bisection of the tail in log |x|, finished by Newton steps.
 * Chi-square: incomplete gamma function by series (DLMF 8.11.4) or continued fraction (DLMF 8.9.2).
 * Kolmogorov: the two theta series (Smirnov 1948). */
#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "core/numerics.h"
#include "core/special.h"

#define SQRT_HALF 0.70710678118654752440
#define SQRT_PI 1.77245385090551602730

/* ---- normal ---- */

double poei_normal_log_pdf(double x) {
  return -0.5 * x * x - 0.5 * POEI_LOG_2PI;
}

double poei_normal_cdf(double x) {
  if (isinf(x)) {
    return x > 0.0 ? 1.0 : 0.0;
  }
  /* erfc amplifies a relative error of its argument y by 2 y^2: add the first-order effect of what y lost. */
  const double sqrt_half_low = -4.833646656726457e-17; /* sqrt(1/2) - SQRT_HALF */
  double y = x * SQRT_HALF, lost = fma(x, SQRT_HALF, -y) + x * sqrt_half_low;
  return 0.5 * erfc(-y) + lost * exp(-y * y) / SQRT_PI;
}

double poei_normal_log_cdf(double x) {
  if (x > 0.0) {
    return log1p(-poei_normal_cdf(-x));
  }
  if (x > -30.0) {
    return log(poei_normal_cdf(x));
  }
  if (x == -INFINITY || isnan(x)) {
    return x;
  }
  double y = 1.0 / (x * x);
  double series = y * (-1.0 + y * (3.0 + y * (-15.0 + y * (105.0 + y * (-945.0 + y * 10395.0)))));
  return poei_normal_log_pdf(x) - log(-x) + log1p(series);
}

/* p[0] + p[1] x + ... + p[7] x^7 */
static double polynomial7(const double p[8], double x) {
  double value = p[7];
  for (int i = 6; i >= 0; i--) {
    value = value * x + p[i];
  }
  return value;
}

double poei_normal_quantile(double p) {
  static const double a[8] = {3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
                              1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
                              3.3430575583588128105e4, 2.5090809287301226727e3};
  static const double b[8] = {1.0,
                              4.2313330701600911252e1,
                              6.8718700749205790830e2,
                              5.3941960214247511077e3,
                              2.1213794301586595867e4,
                              3.9307895800092710610e4,
                              2.8729085735721942674e4,
                              5.2264952788528545610e3};
  static const double c[8] = {1.42343711074968357734e0,  4.63033784615654529590e0, 5.76949722146069140550e0,
                              3.64784832476320460504e0,  1.27045825245236838258e0, 2.41780725177450611770e-1,
                              2.27238449892691845833e-2, 7.74545014278341407640e-4};
  static const double d[8] = {1.0,
                              2.05319162663775882187e0,
                              1.67638483018380384940e0,
                              6.89767334985100004550e-1,
                              1.48103976427480074590e-1,
                              1.51986665636164571966e-2,
                              5.47593808499534494600e-4,
                              1.05075007164441684324e-9};
  static const double e[8] = {6.65790464350110377720e0,  5.46378491116411436990e0,  1.78482653991729133580e0,
                              2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                              2.71155556874348757815e-5, 2.01033439929228813265e-7};
  static const double f[8] = {1.0,
                              5.99832206555887937690e-1,
                              1.36929880922735805310e-1,
                              1.48753612908506148525e-2,
                              7.86869131145613259100e-4,
                              1.84631831751005468180e-5,
                              1.42151175831644588870e-7,
                              2.04426310338993978564e-15};
  if (!(p >= 0.0 && p <= 1.0)) {
    return NAN;
  }
  if (p == 0.0 || p == 1.0) {
    return p == 0.0 ? -INFINITY : INFINITY;
  }
  double q = p - 0.5;
  if (fabs(q) <= 0.425) {
    double r = 0.180625 - q * q;
    return q * polynomial7(a, r) / polynomial7(b, r);
  }
  double r = sqrt(-log(q < 0.0 ? p : 1.0 - p));
  double value =
      r <= 5.0 ? polynomial7(c, r - 1.6) / polynomial7(d, r - 1.6) : polynomial7(e, r - 5.0) / polynomial7(f, r - 5.0);
  return q < 0.0 ? -value : value;
}

/* ---- gamma and beta functions ---- */

/* log B(a, 1/2), without cancellation for large a. */
static double log_beta_half(double a) {
  /* log Gamma(a) - log Gamma(a + 1/2) by Stirling's terms, + log Gamma(1/2) */
  double ratio = -a * log1p(0.5 / a) - 0.5 * log(a) + 0.5 + poei_stirling_rest(a) - poei_stirling_rest(a + 0.5);
  return ratio + log(SQRT_PI);
}

/* B(a, b) I_x(a, b) / (x^a y^b) for x <= a / (a + b). Given apart, x and y = 1 - x both keep their digits. */
static double beta_fraction(double a, double b, double x, double y) {
  const double tiny = 1e-300;
  double lambda = x < y ? a - (a + b) * x : (a + b) * y - b; /* equal; the one that does not cancel */
  double denominator = a / (a + 1.0) * (lambda + 1.0);
  double c = denominator, d = 0.0, value = denominator;
  for (int i = 1; i < 100000; i++) { /* Lentz: the reciprocal of the fraction is built up */
    double n = i, odd = a + 2.0 * n - 1.0;
    double alpha = (a + n - 1.0) / odd * ((a + b + n - 1.0) / odd) * n * (b - n) * x * x;
    double beta = n + n * (b - n) * x / odd + (a + n) / (a + 2.0 * n + 1.0) * (lambda + 1.0 + n * (1.0 + y));
    d = beta + alpha * d;
    d = 1.0 / (fabs(d) < tiny ? tiny : d);
    c = beta + alpha / c;
    c = fabs(c) < tiny ? tiny : c;
    value *= c * d;
    if (fabs(c * d - 1.0) < DBL_EPSILON) {
      break;
    }
  }
  return 1.0 / value;
}

/* ---- Student ---- */

/* log P(T > x) for x > 0: half of I_y(df/2, 1/2) at y = df / (df + x^2). */
static double student_log_tail(double x, double df) {
  double a = 0.5 * df, ratio = x / sqrt(df), square = ratio * ratio;
  /* log y and log(1 - y) from x: y itself may round to 1 or underflow to 0. */
  double log_y, log_rest;
  if (square < 1e300) {
    log_y = -log1p(square);
    log_rest = square < 1.0 ? 2.0 * log(ratio) - log1p(square) : -log1p(1.0 / square);
  } else {
    log_y = -2.0 * log(ratio);
    log_rest = 0.0;
  }
  double y = exp(log_y), rest = exp(log_rest), front = a * log_y + 0.5 * log_rest - log_beta_half(a);
  if ((a + 0.5) * rest >= 0.5) { /* y <= a / (a + 1/2) */
    return front + log(beta_fraction(a, 0.5, y, rest)) - POEI_LOG_2;
  }
  return log1p(-exp(front) * beta_fraction(0.5, a, rest, y)) - POEI_LOG_2;
}

double poei_student_cdf(double x, double df) {
  if (isnan(x) || !(df > 0.0)) {
    return NAN;
  }
  if (df > 1e15) {
    return poei_normal_cdf(x);
  }
  if (x == 0.0) {
    return 0.5;
  }
  if (isinf(x)) {
    return x > 0.0 ? 1.0 : 0.0;
  }
  double log_tail = student_log_tail(fabs(x), df);
  return x < 0.0 ? exp(log_tail) : -expm1(log_tail);
}

/* The x > 0 with log P(T > x) = log_tail < log(1/2): bisection of s = log x. */
static double student_tail_quantile(double log_tail, double df) {
  double low = -800.0, high = 709.0; /* exp(high) is near the largest double */
  if (student_log_tail(exp(high), df) > log_tail) {
    return INFINITY;
  }
  while (high - low > 1e-9) {
    double middle = 0.5 * (low + high);
    if (student_log_tail(exp(middle), df) > log_tail) {
      low = middle;
    } else {
      high = middle;
    }
  }
  double s = 0.5 * (low + high);
  for (int i = 0; i < 3; i++) { /* Newton on log tail(exp s), slope -x pdf(x) / tail(x) */
    double x = exp(s), tail = student_log_tail(x, df);
    double log_pdf = -0.5 * (df + 1.0) * log1p(x / df * x) - 0.5 * log(df) - log_beta_half(0.5 * df);
    double step = (tail - log_tail) / exp(s + log_pdf - tail);
    if (!(fabs(step) < 1e-6)) {
      break;
    }
    s += step;
  }
  return exp(s);
}

double poei_student_quantile(double p, double df) {
  if (!(p >= 0.0 && p <= 1.0) || !(df > 0.0)) {
    return NAN;
  }
  if (p == 0.0 || p == 1.0) {
    return p == 0.0 ? -INFINITY : INFINITY;
  }
  if (df > 1e15) {
    return poei_normal_quantile(p);
  }
  if (p == 0.5) {
    return 0.0;
  }
  double x = student_tail_quantile(p < 0.5 ? log(p) : log1p(-p), df);
  return p < 0.5 ? -x : x;
}

/* ---- chi-square and Kolmogorov ---- */

/* log of x^a e^-x / Gamma(a + 1), for a > 0, x > 0, without cancellation near x = a. */
static double gamma_log_front(double a, double x) {
  double t = (x - a) / a;
  double excess = fabs(t) < 0.5 ? log1p(t) - t : log(x / a) - t; /* log(x/a) - x/a + 1 */
  return a * excess - 0.5 * (POEI_LOG_2PI + log(a)) - poei_stirling_rest(a);
}

double poei_chi_square_tail(double x, double df) {
  if (isnan(x) || !(df > 0.0)) {
    return NAN;
  }
  if (x <= 0.0) {
    return 1.0;
  }
  if (isinf(x)) {
    return 0.0;
  }
  double a = 0.5 * df, y = 0.5 * x, front = gamma_log_front(a, y);
  if (y < a + 1.0) { /* lower series: sum_k y^k / ((a+1) ... (a+k)) */
    double term = 1.0, sum = 1.0;
    for (double k = 1.0; term > DBL_EPSILON * sum * 0.01; k += 1.0) {
      term *= y / (a + k);
      sum += term;
    }
    return fmax(0.0, 1.0 - exp(front) * sum);
  }
  const double tiny = 1e-300; /* upper fraction, Lentz */
  double b = y + 1.0 - a, c = 1.0 / tiny, d = 1.0 / b, value = d;
  for (int i = 1; i < 1000000; i++) {
    double term = -i * (i - a);
    b += 2.0;
    d = term * d + b;
    d = 1.0 / (fabs(d) < tiny ? tiny : d);
    c = b + term / c;
    c = fabs(c) < tiny ? tiny : c;
    value *= c * d;
    if (fabs(c * d - 1.0) < DBL_EPSILON) {
      break;
    }
  }
  return exp(front + log(a)) * value; /* front holds Gamma(a + 1) = a Gamma(a) */
}

double poei_kolmogorov_tail(double x) {
  if (isnan(x)) {
    return x;
  }
  if (x <= 0.0) {
    return 1.0;
  }
  double sum = 0.0;
  if (x < 1.0) {
    for (int k = 1; k <= 9; k += 2) {
      sum += exp(-(double)(k * k) * POEI_PI * POEI_PI / (8.0 * x * x));
    }
    return 1.0 - sqrt(2.0 * POEI_PI) / x * sum;
  }
  for (int k = 1; k <= 6; k++) {
    sum += (k % 2 == 1 ? 2.0 : -2.0) * exp(-2.0 * k * k * x * x);
  }
  return sum;
}
