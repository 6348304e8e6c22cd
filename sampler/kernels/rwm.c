/* Random-walk Metropolis: y = x + eps sqrt(M) xi, xi ~ N(0, I); accepted with min(1, p(y) / p(x)).
 *
 * Source: Metropolis et al. 1953; acceptance for optimal scaling between .234 (many dimensions) and .44 (one): Roberts,
 * Gelman and Gilks 1997. Needs no gradient. Invariant: the proposal is symmetric, so its density cancels. */
#include "sampler/kernels/density.h"

static size_t rwm_scratch(size_t n, size_t d) {
  return 2 * poe_scratch_need(n * d, sizeof(double)) + 2 * poe_scratch_need(n, sizeof(double)) +
         poe_scratch_need(d, sizeof(double)) + poe_scratch_need(n, 1);
}

static poe_status rwm_step(const poei_density *density, const poei_kernel_settings *settings, poei_tile *tile,
                           uint64_t *densities, uint64_t *gradients, poe_scratch *scratch, poe_error *error) {
  (void)gradients;
  size_t n = tile->n, d = tile->d, mark = poe_scratch_mark(scratch);
  double *xi = poe_scratch_doubles(scratch, n * d), *y = poe_scratch_doubles(scratch, n * d);
  double *logp = poe_scratch_doubles(scratch, n), *ratio = poe_scratch_doubles(scratch, n);
  double *scale = poe_scratch_doubles(scratch, d);
  unsigned char *accepted = poe_scratch_bytes(scratch, n);
  poei_metric_scale(settings, d, settings->step_size, scale);
  poei_tile_noise(tile, xi);
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < d; j++) {
      y[i * d + j] = tile->x[i * d + j] + scale[j] * xi[i * d + j];
    }
  }
  poe_status status = poei_density_eval(density, n, d, y, logp, NULL, scratch, error);
  if (status == POE_OK) {
    for (size_t i = 0; i < n; i++) {
      ratio[i] = logp[i] - tile->logp[i];
      tile->energy[i] = NAN;
    }
    poei_tile_decide(tile, y, logp, NULL, ratio, accepted);
    *densities += n;
  }
  poe_scratch_release(scratch, mark);
  return status;
}

const poei_kernel poei_rwm_kernel = {
    .name = "rwm",
    .doc = "random-walk Metropolis; needs no gradient",
    .target_acceptance = 0.3,
    .scratch = rwm_scratch,
    .step = rwm_step,
};
