/* What the run loops share: cutting draws short, and the defaults of the options. */
#ifndef POE_SAMPLER_DRAWS_H
#define POE_SAMPLER_DRAWS_H

#include "sampler/target.h"

/* Keeps the first `kept` draws of every chain, in place. */
void poei_draws_cut(poei_draws *draws, size_t kept);
/* *out = the options with the defaults of target.h filled in for chains, warmup, draws and thin. E_USAGE, E_SHAPE for
 * what cannot be run. */
poe_status poei_run_defaults(const poe_expert *expert, const poei_run_options *options, poei_run_options *out,
                             poe_error *error);

#endif
