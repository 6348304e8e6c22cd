/* What the kernels share: evaluating a tile's density, addressing their randomness, and the Metropolis decision. */
#ifndef POE_SAMPLER_KERNELS_DENSITY_H
#define POE_SAMPLER_KERNELS_DENSITY_H

#include "sampler/kernel.h"

/* Uses of randomness within a step: offsets to the site of the step's address. */
enum {
  POEI_SITE_NOISE,
  POEI_SITE_ACCEPT,
  POEI_SITE_LENGTH,
  POEI_SITE_RETRY,
  POEI_SITE_DILATES,
  POEI_SITE_DILATION,
  POEI_SITE_PROPOSAL,
  POEI_SITE_SCAN,
  POEI_SITE_VALUE /* and all above it: gibbs, one for each coordinate */
};

/* Scratch that poei_density_eval needs for n rows; `want` as in POE_WANT_. */
size_t poei_density_scratch(const poei_density *density, unsigned want, size_t n);
/* logp[n] and, unless NULL, grad[n, d] of the rows x[n, d]; both are overwritten. */
poe_status poei_density_eval(const poei_density *density, size_t n, size_t d, const double *x, double *logp,
                             double *grad, poe_scratch *scratch, poe_error *error);

/* noise[n, d]: standard normals, row i from the tile's i-th address. */
void poei_tile_noise(const poei_tile *tile, double *noise);
/* scale[d] = factor * sqrt(metric). */
void poei_metric_scale(const poei_kernel_settings *settings, size_t d, double factor, double *scale);
/* sum_j x_j^2 over d values. */
double poei_square_norm(const double *x, size_t d);

/* One decision per row: row i becomes the proposal y[i, :] with probability min(1, exp(log_ratio[i])), by the uniform
 * at the row's own address. A proposal whose density is NaN or +inf, or whose ratio is NaN, is a rejection counted as a
 * divergence. Fills acceptance and diverging, sets accepted[n]; moves x, logp and (grad_y not NULL) grad. */
void poei_tile_decide(poei_tile *tile, const double *y, const double *logp_y, const double *grad_y,
                      const double *log_ratio, unsigned char *accepted);

#endif
