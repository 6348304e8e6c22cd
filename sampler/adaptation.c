/* Tuning during warmup (adaptation.h).
 *
 * Dual averaging: with w = 1/(t + t0), H <- (1 - w) H + w (delta - alpha), log eps = mu - sqrt(t)/gamma H and
 * log eps_bar <- t^-kappa log eps + (1 - t^-kappa) log eps_bar, where gamma = .05, t0 = 10, kappa = .75 and
 * mu = log(10 eps_0): Hoffman and Gelman 2014, equation (6). */
#include "sampler/adaptation.h"

#include <string.h>

void poei_dual_averaging_start(poei_dual_averaging *state, double target, double step_size) {
  *state = (poei_dual_averaging){.target = target, .mu = log(10.0 * step_size), .log_step_bar = log(step_size)};
}

double poei_dual_averaging_update(poei_dual_averaging *state, double acceptance) {
  const double gamma = 0.05, t0 = 10.0, kappa = 0.75;
  double t = state->count += 1.0, w = 1.0 / (t + t0), share = pow(t, -kappa);
  state->h_bar = (1.0 - w) * state->h_bar + w * (state->target - acceptance);
  double log_step = state->mu - sqrt(t) / gamma * state->h_bar;
  log_step = fmin(fmax(log_step, -690.0), 690.0); /* a chain that never moves must not underflow it */
  state->log_step_bar = share * log_step + (1.0 - share) * state->log_step_bar;
  return exp(log_step);
}

double poei_dual_averaging_final(const poei_dual_averaging *state) {
  return exp(state->log_step_bar);
}

void poei_moments_clear(poei_moments *moments) {
  moments->count = 0.0;
  memset(moments->mean, 0, moments->d * sizeof *moments->mean);
  memset(moments->squares, 0, moments->d * sizeof *moments->squares);
}

void poei_moments_add(poei_moments *moments, const double *x, size_t n) {
  for (size_t i = 0; i < n; i++) {
    moments->count += 1.0;
    double share = 1.0 / moments->count;
    for (size_t j = 0; j < moments->d; j++) {
      double off = x[i * moments->d + j] - moments->mean[j];
      moments->mean[j] += off * share;
      moments->squares[j] += off * (x[i * moments->d + j] - moments->mean[j]);
    }
  }
}

void poei_moments_metric(const poei_moments *moments, double *metric) {
  double n = moments->count;
  for (size_t j = 0; j < moments->d; j++) {
    double variance = n > 1.0 ? moments->squares[j] / (n - 1.0) : 1.0;
    double wanted = n / (n + 5.0) * variance + 1e-3 * 5.0 / (n + 5.0);
    metric[j] = isfinite(wanted) ? fmin(fmax(wanted, 1e-200), 1e200) : 1.0;
  }
}

poei_windows poei_windows_start(size_t warmup) {
  size_t first = 75, last = 50, size = 25;
  if (warmup < 20) {
    return (poei_windows){.begin = warmup, .end = warmup, .next = SIZE_MAX};
  }
  if (warmup < first + last + size) {
    first = warmup * 15 / 100;
    last = warmup / 10;
    size = warmup - first - last;
  }
  poei_windows windows = {.begin = first, .end = warmup - last, .next = first + size, .size = size};
  if (windows.next + 2 * size > windows.end) { /* no room for another one twice as long */
    windows.next = windows.end;
  }
  return windows;
}

bool poei_windows_feeds(const poei_windows *windows, size_t step) {
  return step >= windows->begin && step < windows->end;
}

bool poei_windows_ends(poei_windows *windows, size_t step) {
  if (step + 1 != windows->next) {
    return false;
  }
  windows->size *= 2;
  windows->next += windows->size;
  if (step + 1 == windows->end) {
    windows->next = SIZE_MAX;
  } else if (windows->next + 2 * windows->size > windows->end) {
    windows->next = windows->end;
  }
  return true;
}

size_t poei_leapfrog_steps(double time, double step_size) {
  double steps = time / step_size;
  return steps >= 64.0 ? 64 : steps > 1.0 ? (size_t)(steps + 0.5) : 1;
}
