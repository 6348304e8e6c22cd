/* Unadjusted Langevin algorithm: every proposal of langevin.h is taken. Its stationary distribution differs from the
 * target by O(eps^2) (Roberts and Tweedie 1996; Dalalyan 2017): the kernel is marked as biased.
 *
 * `acceptance` is what a Metropolis correction would have given. It costs nothing, and keeping it at .95 is how the
 * step size is chosen. Invariant: a chain never steps where the density is not finite; it stays (a divergence where the
 * density is NaN or +inf). */
#include <string.h>

#include "sampler/kernels/langevin.h"

static poe_status ula_step(const poei_density *density, const poei_kernel_settings *settings, poei_tile *tile,
                           uint64_t *densities, uint64_t *gradients, poe_scratch *scratch, poe_error *error) {
  (void)densities;
  size_t d = tile->d, mark = poe_scratch_mark(scratch);
  poei_langevin step;
  poe_status status = poei_langevin_propose(density, settings, tile, &step, gradients, scratch, error);
  for (size_t i = 0; status == POE_OK && i < tile->n; i++) {
    double ratio = step.log_ratio[i];
    tile->energy[i] = NAN;
    tile->diverging[i] = isnan(step.logp[i]) || step.logp[i] == INFINITY || isnan(ratio);
    bool moves = !tile->diverging[i] && step.logp[i] != -INFINITY;
    tile->acceptance[i] = !moves ? 0.0 : ratio < 0.0 ? exp(ratio) : 1.0;
    if (moves) {
      memcpy(tile->x + i * d, step.y + i * d, d * sizeof(double));
      memcpy(tile->grad + i * d, step.grad + i * d, d * sizeof(double));
      tile->logp[i] = step.logp[i];
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

const poei_kernel poei_ula_kernel = {
    .name = "ula",
    .doc = "unadjusted Langevin: biased, by an amount that shrinks with the step",
    .needs_gradient = true,
    .biased = true,
    .target_acceptance = 0.95,
    .scratch = poei_langevin_scratch,
    .step = ula_step,
};
