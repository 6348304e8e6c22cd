/* Hamiltonian Monte Carlo with a fresh momentum per draw and a jittered number of leapfrog steps.
 *
 * In whitened momentum p ~ N(0, I): H(x, p) = -log p(x) + |p|^2/2, moved by leapfrog.h. The end point is accepted with
 * min(1, exp(H0 - H1)); flipping the momentum makes the map an involution and, the momentum being thrown away and |p|
 * unchanged, needs no instruction. The number of steps is uniform on 1..2 leapfrog - 1 (mean: leapfrog): a fixed length
 * can be a period of the target. It depends on the step's address alone, not on a state or a chain, so that all tiles
 * move in lockstep. Source: Duane et al. 1987; Neal 2011 (sections 2 and 3.2 on jitter). Divergence: H1 - H0 > 1000, or
 * not a number. */
#include <string.h>

#include "sampler/kernels/leapfrog.h"

#define HMC_DIVERGENCE 1000.0

static size_t hmc_scratch(size_t n, size_t d) {
  return 3 * poe_scratch_need(n * d, sizeof(double)) + 3 * poe_scratch_need(n, sizeof(double)) +
         poe_scratch_need(d, sizeof(double)) + poe_scratch_need(n, 1);
}

static size_t hmc_length(const poei_tile *tile, size_t leapfrog) {
  poe_rng at = tile->at[0];
  at.chain = UINT32_MAX; /* the same for all chains */
  at.site += POEI_SITE_LENGTH;
  poe_stream stream = poe_stream_open(at);
  size_t most = leapfrog > 0 ? 2 * leapfrog - 1 : 1;
  return 1 + (size_t)(poe_stream_uniform(&stream) * (double)most);
}

static poe_status hmc_step(const poei_density *density, const poei_kernel_settings *settings, poei_tile *tile,
                           uint64_t *densities, uint64_t *gradients, poe_scratch *scratch, poe_error *error) {
  (void)densities;
  size_t n = tile->n, d = tile->d, mark = poe_scratch_mark(scratch);
  double *p = poe_scratch_doubles(scratch, n * d), *y = poe_scratch_doubles(scratch, n * d);
  double *grad = poe_scratch_doubles(scratch, n * d), *logp = poe_scratch_doubles(scratch, n);
  double *energy = poe_scratch_doubles(scratch, n), *ratio = poe_scratch_doubles(scratch, n);
  double *scale = poe_scratch_doubles(scratch, d);
  unsigned char *accepted = poe_scratch_bytes(scratch, n);
  poei_metric_scale(settings, d, settings->step_size, scale);
  poei_tile_noise(tile, p);
  memcpy(y, tile->x, n * d * sizeof *y);
  memcpy(grad, tile->grad, n * d * sizeof *grad);
  for (size_t i = 0; i < n; i++) {
    energy[i] = 0.5 * poei_square_norm(p + i * d, d) - tile->logp[i];
  }
  size_t length = hmc_length(tile, settings->leapfrog);
  poe_status status = poei_leapfrog(density, n, d, length, scale, y, p, logp, grad, scratch, error);
  if (status == POE_OK) {
    for (size_t i = 0; i < n; i++) {
      ratio[i] = energy[i] - (0.5 * poei_square_norm(p + i * d, d) - logp[i]);
    }
    poei_tile_decide(tile, y, logp, grad, ratio, accepted);
    for (size_t i = 0; i < n; i++) {
      /* leaving the support is no divergence: there the density is truly 0 */
      tile->diverging[i] |= ratio[i] < -HMC_DIVERGENCE && logp[i] != -INFINITY;
      tile->energy[i] = accepted[i] ? energy[i] - ratio[i] : energy[i];
    }
    *gradients += n * length;
  }
  poe_scratch_release(scratch, mark);
  return status;
}

const poei_kernel poei_hmc_kernel = {
    .name = "hmc",
    .doc = "Hamiltonian Monte Carlo with jittered trajectories",
    .needs_gradient = true,
    .target_acceptance = 0.8,
    .scratch = hmc_scratch,
    .step = hmc_step,
};
