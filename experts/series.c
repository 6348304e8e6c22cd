/* Adding up log-concave sequences of whole numbers (series.h), and the law of products of Poisson and geometric
 * probabilities to any powers (Conway and Maxwell 1962).
 *
 * Steps do not increase, so beyond a state n with step s < 0 the weights fall at least like a geometric series: what is
 * left is at most w(n) e^s / (1 - e^s), and likewise below the mode with -step(n - 1).
 */
#include "experts/series.h"

#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "core/special.h"
#include "experts/laws.h"

static const double most_terms = 4194304.0, left_out = 0x1p-60;

/* The first n from low on with step(n) <= 0 (a mode), high when there is none; NaN when there is none and no end. */
static double find_mode(const poei_sequence *s, double low, double high) {
  double inside = low, jump = 1.0;
  if (!(s->step(s->p, low) > 0.0) || low == high) {
    return low;
  }
  for (;;) { /* step(inside) > 0 */
    double next = inside + jump;
    if (next >= high) {
      next = high;
    }
    if (next == INFINITY || next > 0x1p52) {
      return NAN;
    }
    if (next == high || !(s->step(s->p, next) > 0.0)) {
      while (next - inside > 1.0) {
        double middle = floor(0.5 * (inside + next));
        if (s->step(s->p, middle) > 0.0) {
          inside = middle;
        } else {
          next = middle;
        }
      }
      return next;
    }
    inside = next;
    jump *= 2.0;
  }
}

/* Walks from the mode (weight 1) in direction +1 or -1 as far as it takes and writes the weights to weight[] (NULL:
 * only counts them). The logs are summed with compensation. *sum gains the weights. */
static double walk(const poei_sequence *s, double mode, double end, double side, double *weight, double *sum) {
  double n = mode, log_w = 0.0, lost = 0.0, count = 0.0;
  while (n != end && count < most_terms) {
    double step = side > 0.0 ? s->step(s->p, n) : -s->step(s->p, n - 1.0);
    double w = exp(log_w + lost), ratio = exp(step);
    if (step < 0.0 && w * ratio <= left_out * *sum * (1.0 - ratio)) {
      break;
    }
    double next = log_w + step;
    lost += fabs(log_w) >= fabs(step) ? (log_w - next) + step : (step - next) + log_w;
    log_w = next;
    n += side;
    w = exp(log_w + lost);
    *sum += w;
    if (weight != NULL) {
      weight[(size_t)count] = w;
    }
    count += 1.0;
  }
  return count;
}

poe_status poei_series_create(const poei_sequence *s, double low, double high, poei_series **out, poe_error *error) {
  double mode = find_mode(s, low, high), sum = 1.0;
  if (isnan(mode)) {
    return poe_error_set(error, POE_E_IMPROPER, "the probabilities do not fall");
  }
  double above = walk(s, mode, high, 1.0, NULL, &sum), below = walk(s, mode, low, -1.0, NULL, &sum);
  if (above + below >= most_terms) {
    return poe_error_set(error, POE_E_CAPABILITY, "more than %.0f probabilities would have to be added up", most_terms);
  }
  size_t n_above = (size_t)above, n_below = (size_t)below, n = n_above + n_below + 1;
  poei_series *made = poei_alloc(1, sizeof *made + n * sizeof made->cumulative[0]);
  double *down = poei_alloc(n_below, sizeof *down);
  if (made == NULL || down == NULL) {
    poei_free(made);
    poei_free(down);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  double again = 1.0, *weight = made->cumulative;
  walk(s, mode, high, 1.0, weight + n_below + 1, &again);
  walk(s, mode, low, -1.0, down, &again);
  weight[n_below] = 1.0;
  for (size_t i = 0; i < n_below; i++) {
    weight[n_below - 1 - i] = down[i];
  }
  double total = 0.0, lost = 0.0; /* Neumaier's sum, kept monotone */
  for (size_t i = 0; i < n; i++) {
    double value = weight[i], next = total + value;
    lost += fabs(total) >= value ? (total - next) + value : (value - next) + total;
    total = next;
    weight[i] = i > 0 ? fmax(total + lost, weight[i - 1]) : total + lost;
  }
  made->low = mode - below;
  made->n = n;
  made->log_total = s->value(s->p, mode) + log(weight[n - 1]);
  poei_free(down);
  *out = made;
  return POE_OK;
}

double poei_series_quantile(const poei_series *series, double u) {
  double target = u * series->cumulative[series->n - 1];
  size_t low = 0, high = series->n - 1; /* the first state whose running sum is above the target */
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (series->cumulative[middle] > target) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return series->low + (double)low;
}

/* ---- t n + f log n! + q n^2: p = t, f, q, rho ---- */

/* The step is f log((n + 1) / rho) + q (2 n + 1): digits where it is 0. */
void poei_series_set(double t, double f, double q, double *p) {
  p[0] = t;
  p[1] = f;
  p[2] = q;
  p[3] = f != 0.0 ? exp(-t / f) : 0.0;
  p[3] = isnormal(p[3]) ? p[3] : 0.0;
}

static double series_value(const double *p, double n) {
  return p[0] * n + (p[1] != 0.0 ? p[1] * poei_log_factorial(n) : 0.0) + p[2] * n * n;
}

static double series_step(const double *p, double n) {
  double main = p[3] > 0.0 ? p[1] * log((n + 1.0) / p[3]) : p[0] + (p[1] != 0.0 ? p[1] * log(n + 1.0) : 0.0);
  return main + p[2] * (2.0 * n + 1.0);
}

static void series_eval(const double *p, size_t n, const double *x, double *value, double *slope) {
  (void)slope;
  for (size_t i = 0; i < n; i++) {
    value[i] = series_value(p, x[i]);
  }
}

static poe_status series_prepare(const double *p, const poe_support *on, double *log_mass, void **table,
                                 poe_error *error) {
  poei_sequence sequence = {series_value, series_step, p};
  poei_series *series = NULL;
  poe_status status = poei_series_create(&sequence, on->low, on->high, &series, error);
  if (status == POE_OK) {
    *log_mass = series->log_total;
    *table = series;
  }
  return status;
}

static double series_draw(const double *p, const poe_support *on, const void *table, poe_stream *stream) {
  (void)p;
  (void)on;
  return poei_series_quantile(table, poe_stream_uniform(stream));
}

static double series_natural(const double *p, double *coefficient) {
  coefficient[POE_STATISTIC_IDENTITY] += p[0];
  coefficient[POE_STATISTIC_LOG_FACTORIAL] += p[1];
  coefficient[POE_STATISTIC_SQUARE] += p[2];
  return 0.0;
}

const poei_law poei_series_law = {"Conway-Maxwell-Poisson", series_eval, series_prepare, series_draw, series_natural};
