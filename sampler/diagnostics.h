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
 * False alarms, measured (the gate run as if the draws were not exact; 1000 draws after 1000 warmup steps unless said):
@@RATES@@ */
poe_status poei_gate_run(const poei_draws *draws, bool exact, const char *biased, poei_gate *gate, poe_error *error);

#endif
