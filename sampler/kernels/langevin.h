/* The Langevin proposal that `ula` and `mala` share. */
#ifndef POE_SAMPLER_KERNELS_LANGEVIN_H
#define POE_SAMPLER_KERNELS_LANGEVIN_H

#include "sampler/kernels/density.h"

/* A proposal for every row of a tile; arrays from scratch. */
typedef struct poei_langevin {
  double *y;               /* [n, d] the proposals                                             */
  double *logp;            /* [n] density there                                                */
  double *grad;            /* [n, d] gradient there                                            */
  double *log_ratio;       /* [n] log p(y) q(x|y) - log p(x) q(y|x)                            */
  unsigned char *accepted; /* [n] room for the decision                                  */
} poei_langevin;

size_t poei_langevin_scratch(size_t n, size_t d);
/* Takes the arrays from `scratch` (the caller releases them), proposes and evaluates. Adds n to *gradients. */
poe_status poei_langevin_propose(const poei_density *density, const poei_kernel_settings *settings,
                                 const poei_tile *tile, poei_langevin *out, uint64_t *gradients, poe_scratch *scratch,
                                 poe_error *error);

#endif
