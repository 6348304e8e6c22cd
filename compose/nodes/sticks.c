/* Stick-breaking: a simplex of k numbers by k - 1 free ones.
 *
 *   v_i = u_i - log(k - 1 - i)   z_i = 1 / (1 + e^-v_i)   x_i = z_i prod_{j<i} (1 - z_j)   x_{k-1} = prod_j (1 - z_j)
 *   log |dx/du| = sum_i [log z_i + (k - 1 - i) log(1 - z_i)]
 *
 * as in Stan's reference manual ("Unit simplex"): u = 0 is the middle, x = 1/k. Products are sums of logarithms, so
 * that small sticks keep their digits. Source of the Jacobian: it is triangular, dx_i/du_i = z_i (1 - z_i) prod_{j<i}
 * (1 - z_j).
 */
#include "compose/nodes/sticks.h"

#include <math.h>

/* ---- simplices in a row ---- */

size_t poei_simplex_at(size_t dim, const poe_support *support, size_t j) {
  size_t end = j + 1;
  if (support[j].kind != POE_SIMPLEX) {
    return 0;
  }
  while (end < dim && support[end].kind == POE_SIMPLEX_NEXT) {
    end++;
  }
  return end - j;
}

bool poei_simplex_any(size_t dim, const poe_support *support) {
  for (size_t j = 0; j < dim; j++) {
    if (support[j].kind == POE_SIMPLEX || support[j].kind == POE_SIMPLEX_NEXT) {
      return true;
    }
  }
  return false;
}

bool poei_simplex_holds(size_t k, const double *x) {
  double sum = 0.0;
  for (size_t i = 0; i < k; i++) {
    if (!(x[i] >= 0.0)) {
      return false;
    }
    sum += x[i];
  }
  return fabs(sum - 1.0) <= POEI_SIMPLEX_SLACK;
}

/* ---- sticks ---- */

/* The logarithms of z_i and 1 - z_i. */
typedef struct stick {
  double log_own, log_rest;
} stick;

static stick stick_at(size_t k, size_t i, double u) {
  double v = u - log((double)(k - 1 - i)), bend = log1p(exp(-fabs(v)));
  return (stick){(v < 0.0 ? v : 0.0) - bend, (v > 0.0 ? -v : 0.0) - bend};
}

static double at_least_floor(double x) {
  return x < POEI_SIMPLEX_FLOOR ? POEI_SIMPLEX_FLOOR : x; /* NaN passes */
}

void poei_sticks_break(size_t k, const double *u, double *x) {
  double log_left = 0.0;
  for (size_t i = 0; i + 1 < k; i++) {
    stick own = stick_at(k, i, u[i]);
    x[i] = at_least_floor(exp(log_left + own.log_own));
    log_left += own.log_rest;
  }
  x[k - 1] = at_least_floor(exp(log_left));
}

void poei_sticks_join(size_t k, const double *x, double *u) {
  double left = x[k - 1];
  for (size_t i = k - 1; i-- > 0;) {
    double own = x[i];
    u[i] = log(at_least_floor(own)) - log(at_least_floor(left)) + log((double)(k - 1 - i));
    left += own;
  }
}

double poei_sticks_log_slope(size_t k, const double *u) {
  double sum = 0.0;
  for (size_t i = 0; i + 1 < k; i++) {
    stick own = stick_at(k, i, u[i]);
    sum += own.log_own + (double)(k - 1 - i) * own.log_rest;
  }
  return sum;
}

void poei_sticks_pull(size_t k, const double *u, const double *x, const double *slope, double w, double *grad) {
  double after = slope[k - 1] == 0.0 ? 0.0 : x[k - 1] * slope[k - 1]; /* sum over m > i of x_m df/dx_m */
  for (size_t i = k - 1; i-- > 0;) {
    double v = u[i] - log((double)(k - 1 - i)), e = exp(-fabs(v)), less = e / (1.0 + e), more = 1.0 / (1.0 + e);
    double z = v < 0.0 ? less : more, rest = v < 0.0 ? more : less;
    double own = slope[i] == 0.0 ? 0.0 : x[i] * slope[i];
    grad[i] += own * rest - z * after;
    grad[i] += w == 0.0 ? 0.0 : w * (rest - (double)(k - 1 - i) * z);
    after += own;
  }
}
