/* Numbers in log space (numerics.h). The forms that keep their digits are chosen by the size of the argument: log1p and
 * expm1 where 1 would swallow a small number (Maechler 2012, "Accurately computing log(1 - exp(-|a|))").
 * Invariants: infinities give their limits, NaN gives NaN. */
#include "core/numerics.h"

#include <math.h>

double poei_log_add(double a, double b) {
  double high = a > b ? a : b, low = a > b ? b : a;
  if (isinf(high) || low == -INFINITY) {
    return isnan(low) ? low : high;
  }
  return high + log1p(exp(low - high)); /* NaN in either arrives here or above */
}

double poei_log_sub(double a, double b) {
  if (b == -INFINITY) {
    return a;
  }
  return a + poei_log1m_exp(b - a);
}

double poei_softplus(double x) {
  return x > 0.0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

double poei_log1m_exp(double x) {
  return x > -POEI_LOG_2 ? log(-expm1(x)) : log1p(-exp(x));
}

double poei_sigmoid(double x) {
  if (x >= 0.0) {
    return 1.0 / (1.0 + exp(-x));
  }
  double e = exp(x);
  return e / (1.0 + e);
}

double poei_log_sum_exp(const double *x, size_t n, size_t inc) {
  double high = -INFINITY;
  for (size_t i = 0; i < n; i++) {
    double value = x[i * inc];
    if (isnan(value)) {
      return value;
    }
    high = value > high ? value : high;
  }
  if (isinf(high)) {
    return high;
  }
  enum { BLOCK = 64 };
  double block[BLOCK], sum = 0.0;
  for (size_t start = 0; start < n; start += BLOCK) {
    size_t count = n - start < BLOCK ? n - start : BLOCK;
    for (size_t i = 0; i < count; i++) {
      block[i] = x[(start + i) * inc] - high;
    }
    poei_vexp(block, block, count);
    for (size_t i = 0; i < count; i++) {
      sum += block[i];
    }
  }
  return high + log(sum);
}

double poei_sum(const double *x, size_t n) {
  double sum = 0.0, lost = 0.0;
  for (size_t i = 0; i < n; i++) {
    double next = sum + x[i];
    lost += fabs(sum) >= fabs(x[i]) ? (sum - next) + x[i] : (x[i] - next) + sum;
    sum = next;
  }
  return isfinite(sum) ? sum + lost : sum; /* what was lost to an infinity is NaN */
}
