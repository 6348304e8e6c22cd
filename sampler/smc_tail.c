/* How heavy the upper tail of weights is (smc.h).
 *
 * The tail index k of weights w: their moments of order 1/k and above are infinite. It is fitted to the M =
 * min(n/5, 3 sqrt(n)) largest of n weights, above the next one, by the generalised Pareto distribution of Zhang and
 * Stephens 2009 (an average over the profile of its likelihood), as Vehtari, Simpson, Gelman, Yao and Gabry 2024 do for
 * importance sampling: from k = 1/2 on the weights have no variance, and the effective number that a sample shows, an
 * error estimated from it, and the mean itself are all too good to be true. Weights are rest^change: their logs are
 * ordered as those of rest are, so that the largest are looked for once. Where the change is so small that weights
 * hardly differ, the fit follows the tail of log rest instead, whatever the weights; Hill's estimate (1975), the mean
 * of log w above the threshold, falls to 0 with the change there. The smaller of the two counts. */
#include "sampler/smc.h"

#include <math.h>

enum { TAIL_GRID = 30, TAIL_PRIOR = 3 };

static size_t tail_size(size_t n) {
  double root = 3.0 * sqrt((double)n), fifth = 0.2 * (double)n;
  return (size_t)(root < fifth ? root : fifth);
}

static size_t tail_grid(size_t m) {
  return TAIL_GRID + (size_t)sqrt((double)m);
}

/* m + 1 values, m weights above the last of them, and the grid of the fit. */
size_t poei_smc_tail_room(size_t n) {
  size_t m = tail_size(n);
  return 2 * m + 1 + 2 * tail_grid(m);
}

/* Restores the heap heap[n], smallest first, below its root. */
static void tail_sink(double *heap, size_t n, size_t at) {
  for (size_t child; (child = 2 * at + 1) < n; at = child) {
    child += child + 1 < n && heap[child + 1] < heap[child];
    if (heap[at] <= heap[child]) {
      return;
    }
    double value = heap[at];
    heap[at] = heap[child];
    heap[child] = value;
  }
}

void poei_smc_tail(const double *log_rest, size_t n, double *tail) {
  size_t m = tail_size(n) + 1;
  for (size_t i = 0; i < m; i++) {
    tail[i] = log_rest[i];
  }
  for (size_t i = m / 2; i-- > 0;) {
    tail_sink(tail, m, i);
  }
  for (size_t i = m; i < n; i++) {
    if (log_rest[i] > tail[0]) {
      tail[0] = log_rest[i];
      tail_sink(tail, m, 0);
    }
  }
  for (size_t left = m; left-- > 1;) { /* heap sort: descending */
    double least = tail[0];
    tail[0] = tail[left];
    tail[left] = least;
    tail_sink(tail, left, 0);
  }
}

/* mean of log(1 - theta x_i) */
static double tail_mean(const double *x, size_t m, double theta) {
  double sum = 0.0;
  for (size_t i = 0; i < m; i++) {
    sum += log1p(-theta * x[i]);
  }
  return sum / (double)m;
}

double poei_smc_tail_index(double *tail, size_t n, double change) {
  size_t m = tail_size(n), grid = tail_grid(m);
  double *x = tail + m + 1, *level = x + m, *theta = level + grid;
  double limit = exp(change * (tail[m] - tail[0])), hill = 0.0, top = -INFINITY, total = 0.0, sum = 0.0;
  for (size_t i = 0; i < m; i++) { /* descending; the largest weight is 1 */
    x[i] = exp(change * (tail[i] - tail[0])) - limit;
    hill += change * (tail[i] - tail[m]) / (double)m;
  }
  size_t quarter = m > 1 ? (m + 2) / 4 : m; /* the first quartile is that many from the end */
  double quartile = m > 0 ? x[m - quarter] : 0.0;
  if (!(quartile > 0.0)) {
    return -INFINITY; /* ties */
  }
  for (size_t j = 0; j < grid; j++) {
    theta[j] = 1.0 / x[0] + (1.0 - sqrt((double)grid / ((double)j + 0.5))) / (TAIL_PRIOR * quartile);
    double k = tail_mean(x, m, theta[j]);
    level[j] = theta[j] == 0.0 || k == 0.0 ? -INFINITY : (double)m * (log(-theta[j] / k) - k - 1.0);
    top = fmax(top, level[j]);
  }
  for (size_t j = 0; j < grid; j++) {
    double weight = exp(level[j] - top);
    total += weight;
    sum += weight * theta[j];
  }
  return fmin(hill, tail_mean(x, m, sum / total));
}
