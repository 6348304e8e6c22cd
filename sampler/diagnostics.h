/* How far to trust draws: split rank-normalised R-hat, bulk and tail ESS, MCSE (Vehtari, Gelman, Simpson, Carpenter,
 * Buerkner 2021), nested R-hat (Margossian et al. 2022), E-BFMI, and the gate that sums them up. */
#ifndef POE_SAMPLER_DIAGNOSTICS_H
#define POE_SAMPLER_DIAGNOSTICS_H

#include "sampler/target.h"

/* All take draws of one quantity, x[chain * stride_chain + draw * stride_draw]. NaN when it is constant or has a
 * non-finite value. */
typedef struct poei_series {
  const double *x;
  size_t chains, draws, stride_chain, stride_draw;
} poei_series;

typedef struct poei_summary {
  double mean, sd, mcse_mean, q5, median, q95, rhat, ess_bulk, ess_tail;
} poei_summary;

poe_status poei_summarise(poei_series series, poei_summary *summary, poe_error *error);
poe_status poei_rhat(poei_series series, double *rhat, poe_error *error);
/* The larger of nested R-hat of the normal scores of ranks and of their folding, over 2 to 32 superchains (runs of
 * consecutive chains; a divisor of their number) whose halves are groups of their own. */
poe_status poei_nested_rhat(poei_series series, size_t superchains, double *rhat, poe_error *error);
poe_status poei_ess_mean(poei_series series, double *ess, poe_error *error);
poe_status poei_ess_bulk(poei_series series, double *ess, poe_error *error);
poe_status poei_ess_tail(poei_series series, double *ess, poe_error *error);
poe_status poei_ess_quantile(poei_series series, double probability, double *ess, poe_error *error);

enum { POEI_GATE_MAX_REASONS = 16, POEI_GATE_REASON_SIZE = 256 };

typedef struct poei_gate {
  bool passed;
  size_t n_reasons;
  char reasons[POEI_GATE_MAX_REASONS][POEI_GATE_REASON_SIZE]; /* what failed and what to try */
} poei_gate;

/* The gate over all coordinates of `draws` (its limits and their derivation are in gate.c). `exact`: draws are
 * independent, only non-finite values can fail it. `biased` names an unadjusted kernel, or NULL; such draws never pass.
 * Constant coordinates, and indicators that are constant as on binary coordinates, have no say.
 *
 * False alarms, measured with the gate run as if the draws were not exact; 1000 draws after 1000 warmup steps unless
 * said; d coordinates; failures / runs.
 *
 * - exact, 4 chains: 0/2000 at d = 2, 10, 16, and 0/2000 for Cauchy draws at d = 10; 200 draws at d = 16: 6/2000
 *
 * - exact, 64 chains: 0/2000 at d = 2 and 16, 0/1000 at d = 10; 50 or 200 draws at d = 16: 0/1000 each
 *
 * - rwm, 4 chains, thin 5: 0/500 at d = 2
 *
 * - mala, 4 chains: 0/500 at d = 2, 2/500 at d = 16 with scales 1 to 100; 64 chains: 0/200 at d = 2
 *
 * - hmc, 4 chains: 0/500 at d = 2, 0/500 on AR(1) at d = 10, 0/300 at d = 16 with scales 1 to 100; 64 chains: 0/60 on
 *   AR(1) at d = 10; 64 chains of 200 draws at d = 16: 0/200, and 0/200 for mala
 *
 * Not covered by this: a kernel whose true ESS is near the one wanted (hmc on Student t with 5 degrees of freedom at
 * d = 10: 6/300, by the tail ESS), and hmc where the density falls off faster than a Gaussian, which truly diverges now
 * and then. */
poe_status poei_gate_run(const poei_draws *draws, bool exact, const char *biased, poei_gate *gate, poe_error *error);

#endif
