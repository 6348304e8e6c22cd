/* Moves along a fan (fan.h).
 *
 * u' = u + s z, z a standard normal number and log s uniform between those of .24 and 2.4, and for every other
 * coordinate
 *   y_j = center_j + tilt_j u' + e^(rate_j (u' - u)) (x_j - center_j - tilt_j u),
 * accepted with min(1, p(y) / p(x) e^(sum_j rate_j (u' - u))), the exponential being the Jacobian's determinant. The
 * way back has -z, which is as likely with the same s: detailed balance holds for any center, tilt and rate that do not
 * depend on x. Where they are those of the target, x_j keeps its place within the spread at u, and what is left to
 * accept is the marginal density of u alone: a step is as wide as that, where a Hamiltonian, whose energy hardly
 * changes, walks from the mouth of a funnel to its neck in hundreds (Betancourt and Girolami 2015). This is
 * the move between the parametrisations of Papaspiliopoulos, Roberts and Skoeld 2007, learnt. */
#include "sampler/kernels/fan.h"

#include <string.h>

#define FAN_LONGEST 2.4             /* standard deviations of a Gaussian: what suits a random walk in one dimension */
#define FAN_RANGE 2.302585092994046 /* log of the longest over the shortest */

size_t poei_fan_scratch(size_t n, size_t d) {
  return 2 * poe_scratch_need(n * d, sizeof(double)) + 3 * poe_scratch_need(n, sizeof(double));
}

/* y[d], and the log of the Jacobian's determinant. */
static double fan_move(const poei_fan *fan, size_t d, double move, const double *x, double *y) {
  double from = (x[fan->along] - fan->origin) / fan->unit, jacobian = 0.0;
  for (size_t j = 0; j < d; j++) {
    y[j] = x[j];
    if (fan->tilt[j] != 0.0 || fan->rate[j] != 0.0) {
      double middle = fan->center[j] + fan->tilt[j] * from;
      y[j] = middle + fan->tilt[j] * move + exp(fan->rate[j] * move) * (x[j] - middle);
      jacobian += fan->rate[j] * move;
    }
  }
  y[fan->along] = x[fan->along] + fan->unit * move;
  return jacobian;
}

poe_status poei_fan_step(const poei_density *density, const poei_fan *fan, poei_tile *tile, bool gradient,
                         poe_scratch *scratch, poe_error *error) {
  size_t n = tile->n, d = tile->d, mark = poe_scratch_mark(scratch);
  double *y = poe_scratch_doubles(scratch, n * d), *grad = poe_scratch_doubles(scratch, n * d);
  double *logp = poe_scratch_doubles(scratch, n), *jacobian = poe_scratch_doubles(scratch, n);
  double *bar = poe_scratch_doubles(scratch, n);
  for (size_t i = 0; i < n; i++) {
    poe_stream stream = poe_stream_open(tile->at[i]);
    double size = FAN_LONGEST * exp(-FAN_RANGE * poe_stream_uniform(&stream));
    double move = size * poe_stream_normal(&stream);
    bar[i] = log(poe_stream_uniform(&stream));
    jacobian[i] = fan_move(fan, d, move, tile->x + i * d, y + i * d);
  }
  poe_status status = poei_density_eval(density, n, d, y, logp, gradient ? grad : NULL, scratch, error);
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    if (logp[i] < INFINITY && bar[i] < logp[i] - tile->logp[i] + jacobian[i]) { /* NaN: not accepted */
      memcpy(tile->x + i * d, y + i * d, d * sizeof *y);
      if (gradient) {
        memcpy(tile->grad + i * d, grad + i * d, d * sizeof *grad);
      }
      tile->logp[i] = logp[i];
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}
