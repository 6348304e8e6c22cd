/* Metropolis-adjusted Langevin algorithm: the proposal of langevin.h, accepted with
 * min(1, p(y) q(x|y) / (p(x) q(y|x))), both directions of q, one decision per chain.
 *
 * Source: Besag 1994; Roberts and Tweedie 1996; optimal acceptance .574: Roberts and Rosenthal 1998. */
#include "sampler/kernels/langevin.h"

static poe_status mala_step(const poei_density *density, const poei_kernel_settings *settings, poei_tile *tile,
                            uint64_t *densities, uint64_t *gradients, poe_scratch *scratch, poe_error *error) {
  (void)densities;
  size_t mark = poe_scratch_mark(scratch);
  poei_langevin step;
  poe_status status = poei_langevin_propose(density, settings, tile, &step, gradients, scratch, error);
  if (status == POE_OK) {
    poei_tile_decide(tile, step.y, step.logp, step.grad, step.log_ratio, step.accepted);
    for (size_t i = 0; i < tile->n; i++) {
      tile->energy[i] = NAN;
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

const poei_kernel poei_mala_kernel = {
    .name = "mala",
    .doc = "Metropolis-adjusted Langevin: one gradient per step",
    .needs_gradient = true,
    .target_acceptance = 0.574,
    .scratch = poei_langevin_scratch,
    .step = mala_step,
};
