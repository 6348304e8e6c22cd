/* Dilations (dilation.h).
 *
 * With m the centre and f = exp(s z), z a standard normal number: y = m + f (x - m), accepted with min(1, p(y) f^d /
 * p(x)), f^d being the Jacobian's determinant. The way back has -z, which is as likely: detailed balance holds for any
 * centre and s. A step's energy changes by about sqrt(d) under a Hamiltonian, whatever the trajectory (Betancourt
 * 2016), so that a heavy tail, where energies differ by much more, is left by a random walk; a dilation crosses it at
 * once. Source: the multiplicative random walk of Dutta 2012; here along rays. s = 2.4 / sqrt(2 d): 2.4 standard
 * deviations of log |x| under a Gaussian. */
#include "sampler/kernels/dilation.h"

#include <string.h>

enum { DILATION_EVERY = 4 };

bool poei_dilates(const poei_tile *tile) {
  poe_rng at = tile->at[0];
  at.chain = UINT32_MAX; /* the same for all chains */
  at.site += POEI_SITE_DILATES;
  poe_stream stream = poe_stream_open(at);
  return poe_stream_uniform(&stream) * DILATION_EVERY < 1.0;
}

size_t poei_dilation_scratch(size_t n, size_t d) {
  return 2 * poe_scratch_need(n * d, sizeof(double)) + 3 * poe_scratch_need(n, sizeof(double));
}

poe_status poei_dilate(const poei_density *density, const poei_kernel_settings *settings, poei_tile *tile,
                       uint64_t *gradients, poe_scratch *scratch, poe_error *error) {
  size_t n = tile->n, d = tile->d, mark = poe_scratch_mark(scratch);
  double *y = poe_scratch_doubles(scratch, n * d), *grad = poe_scratch_doubles(scratch, n * d);
  double *logp = poe_scratch_doubles(scratch, n), *jacobian = poe_scratch_doubles(scratch, n);
  double *bar = poe_scratch_doubles(scratch, n), spread = 2.4 / sqrt(2.0 * (double)d);
  for (size_t i = 0; i < n; i++) {
    poe_rng at = tile->at[i];
    at.site += POEI_SITE_DILATION;
    poe_stream stream = poe_stream_open(at);
    double stretch = spread * poe_stream_normal(&stream), factor = exp(stretch);
    bar[i] = log(poe_stream_uniform(&stream));
    jacobian[i] = (double)d * stretch;
    for (size_t j = 0; j < d; j++) {
      double center = settings->center[j];
      y[i * d + j] = center + factor * (tile->x[i * d + j] - center);
    }
  }
  poe_status status = poei_density_eval(density, n, d, y, logp, grad, scratch, error);
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    double log_ratio = logp[i] - tile->logp[i] + jacobian[i];
    if (logp[i] < INFINITY && bar[i] < log_ratio) { /* NaN: not accepted */
      memcpy(tile->x + i * d, y + i * d, d * sizeof *y);
      memcpy(tile->grad + i * d, grad + i * d, d * sizeof *grad);
      tile->logp[i] = logp[i];
    }
  }
  *gradients += n;
  poe_scratch_release(scratch, mark);
  return status;
}
