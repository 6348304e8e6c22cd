/* The Langevin proposal y = x + (eps^2/2) M g(x) + eps sqrt(M) xi with g = grad log p and xi ~ N(0, I).
 *
 * Its density, q(y|x) = N(y; x + (eps^2/2) M g(x), eps^2 M), is -|xi|^2/2 up to a constant. The way back from y to x
 * needs the noise xi' with x - y - (eps^2/2) M g(y) = eps sqrt(M) xi', hence
 *   xi' = -(xi + (eps/2) sqrt(M) (g(x) + g(y))),
 * and log q(x|y) - log q(y|x) = (|xi|^2 - |xi'|^2) / 2.
 * Source: Rossky, Doll and Friedman 1978; Roberts and Tweedie 1996. */
#include "sampler/kernels/langevin.h"

size_t poei_langevin_scratch(size_t n, size_t d) {
  return 3 * poe_scratch_need(n * d, sizeof(double)) + 2 * poe_scratch_need(n, sizeof(double)) +
         poe_scratch_need(d, sizeof(double)) + poe_scratch_need(n, 1);
}

poe_status poei_langevin_propose(const poei_density *density, const poei_kernel_settings *settings,
                                 const poei_tile *tile, poei_langevin *out, uint64_t *gradients, poe_scratch *scratch,
                                 poe_error *error) {
  size_t n = tile->n, d = tile->d;
  out->y = poe_scratch_doubles(scratch, n * d);
  out->grad = poe_scratch_doubles(scratch, n * d);
  out->logp = poe_scratch_doubles(scratch, n);
  out->log_ratio = poe_scratch_doubles(scratch, n);
  out->accepted = poe_scratch_bytes(scratch, n);
  double *xi = poe_scratch_doubles(scratch, n * d), *scale = poe_scratch_doubles(scratch, d);
  poei_metric_scale(settings, d, settings->step_size, scale);
  poei_tile_noise(tile, xi);
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < d; j++) {
      size_t k = i * d + j;
      out->y[k] = tile->x[k] + scale[j] * (0.5 * scale[j] * tile->grad[k] + xi[k]);
    }
  }
  poe_status status = poei_density_eval(density, n, d, out->y, out->logp, out->grad, scratch, error);
  if (status != POE_OK) {
    return status;
  }
  for (size_t i = 0; i < n; i++) {
    double forward = poei_square_norm(xi + i * d, d), *back = xi + i * d;
    for (size_t j = 0; j < d; j++) {
      back[j] += 0.5 * scale[j] * (tile->grad[i * d + j] + out->grad[i * d + j]);
    }
    out->log_ratio[i] = out->logp[i] - tile->logp[i] + 0.5 * (forward - poei_square_norm(back, d));
  }
  *gradients += n;
  return POE_OK;
}
