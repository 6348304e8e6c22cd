/* One step: shift by the maximum, exponentiate, multiply by the matrix, take logs.
 *
 * A sum that comes out below 1e-250 may have lost terms to underflow; it is formed again term by term in the log
 * domain. In the others the terms lost are at most 1e-308 each, a relative error of no consequence. So one exponential
 * and one logarithm per state and step do where states^2 would be needed.
 */
#include "experts/messages.h"

#include <math.h>
#include <string.h>

#include "core/numerics.h"

static const double tiny = 1e-250;

void poei_running_add(poei_running_sum *total, double x) {
  double next = total->sum + x;
  total->lost += fabs(total->sum) >= fabs(x) ? (total->sum - next) + x : (x - next) + total->sum;
  total->sum = next;
}

double poei_running_total(const poei_running_sum *total) {
  return isfinite(total->sum) ? total->sum + total->lost : total->sum; /* what was lost to an infinity is NaN */
}

/* log sum_z exp(a[z, i] - shift) p[z, y], term by term. */
static double exact_entry(size_t from, size_t to, const double *log_p, size_t y, size_t n, const double *a, size_t i,
                          double shift) {
  double top = -INFINITY, sum = 0.0;
  for (size_t z = 0; z < from; z++) {
    double term = a[z * n + i] + log_p[z * to + y];
    top = term > top ? term : top;
  }
  if (top == -INFINITY) {
    return top;
  }
  for (size_t z = 0; z < from; z++) {
    sum += exp(a[z * n + i] + log_p[z * to + y] - top);
  }
  return top - shift + log(sum);
}

/* out[y, i] = sum_z e[z, i] p[z, y] */
static void multiply(size_t from, size_t to, const double *p, size_t n, const double *e, double *out) {
  memset(out, 0, to * n * sizeof *out);
  for (size_t z = 0; z < from; z++) {
    const double *row = p + z * to;
    if (n == 1) {
      for (size_t y = 0; y < to; y++) {
        out[y] += e[z] * row[y];
      }
      continue;
    }
    for (size_t y = 0; y < to; y++) {
      for (size_t i = 0; row[y] != 0.0 && i < n; i++) {
        out[y * n + i] += row[y] * e[z * n + i];
      }
    }
  }
}

/* shift[i] = max_z a[z, i], 0 when that is -inf. */
static void find_shift(size_t from, size_t n, const double *a, double *shift) {
  memcpy(shift, a, n * sizeof *shift);
  for (size_t z = 1; z < from; z++) {
    for (size_t i = 0; i < n; i++) {
      shift[i] = a[z * n + i] > shift[i] ? a[z * n + i] : shift[i];
    }
  }
  for (size_t i = 0; i < n; i++) {
    shift[i] = shift[i] == -INFINITY ? 0.0 : shift[i];
  }
}

void poei_message_step(size_t from, size_t to, const double *p, const double *log_p, size_t n, const double *a,
                       double *out, double *shift, double *work) {
  find_shift(from, n, a, shift);
  for (size_t z = 0; z < from; z++) {
    for (size_t i = 0; i < n; i++) {
      work[z * n + i] = a[z * n + i] - shift[i];
    }
  }
  poei_vexp(work, work, from * n);
  multiply(from, to, p, n, work, out);
  memcpy(work, out, to * n * sizeof *out);
  poei_vlog(out, out, to * n);
  for (size_t y = 0; y < to; y++) {
    for (size_t i = 0; i < n; i++) {
      if (work[y * n + i] < tiny) {
        out[y * n + i] = exact_entry(from, to, log_p, y, n, a, i, shift[i]);
      }
    }
  }
}
