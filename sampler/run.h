/* Runs: many chains with warmup and adaptation (MCMC), exact draws, independence chains, and sequential Monte Carlo. */
#ifndef POE_SAMPLER_RUN_H
#define POE_SAMPLER_RUN_H

#include "sampler/kernel.h"
#include "sampler/weights.h"

/* MCMC on `target` (unconstrained). start[chains, dim]: initial states, NULL = uniform in (-2, 2) per coordinate,
 * retried until finite. A start whose density is 0, NaN or +inf is POE_E_NUMERIC naming the chain. An interrupted run
 * is POE_OK with draws->interrupted set and the draws there are (none when it was stopped during warmup). */
poe_status poei_run_mcmc(const poe_expert *target, const poei_kernel *kernel, const poei_run_options *options,
                         const double *start, poei_draws *draws, poe_error *error);

/* Exact draws from an expert with POE_CAN_SAMPLE, chains x draws, addressed by (seed, chain, draw). lp is filled when
 * the expert can be evaluated. */
poe_status poei_run_exact(const poe_expert *expert, const poei_run_options *options, poei_draws *draws,
                          poe_error *error);

/* Independence Metropolis-Hastings (kernels/imh.c) from `base` to base * rest, over coordinates of any kind: a proposal
 * is a draw of the base, its weight rest, and needs POE_CAN_SAMPLE and POE_CAN_EVAL. As proposals do not depend on the
 * chains they are drawn and weighed in bulk, in tiles over the pool; then every chain goes through its own, one after
 * the other. Chain c begins at start[c, :] (NULL: at its first proposal of positive weight). draws->lp: log weights;
 * draws->diverging: proposals whose weight was NaN or +inf, which are refused. *weights: of the proposals (at most
 * 2^20), of warmup and after. POE_E_NUMERIC when a chain has no proposal of positive weight in all of warmup.
 * Interruptions as in poei_run_mcmc. */
poe_status poei_run_independent(const poe_expert *base, const poe_expert *rest, const poei_run_options *options,
                                const double *start, poei_draws *draws, poei_weights *weights, poe_error *error);

typedef struct poei_smc_report {
  double log_z_ratio;      /* log of the integral of base*rest over that of base         */
  double std_error;        /* of log_z_ratio; log_z_ratio +- 1.96 std_error holds the truth in 95 % of runs or more */
  size_t steps;            /* temperatures used                                          */
  double ess;              /* effective number of draws of the base that the end descends from, all islands */
  double min_ess_fraction; /* of the weights of one island at one temperature       */
  double acceptance;       /* mean acceptance of the moves                          */
  /* 0: at every temperature the particles were moved until they forgot where they were resampled, as far as log Z
   * cares. Else the largest correlation of log densities with those just after resampling that was left, above .4: as
   * in a funnel with two mouths, log Z may be off by more than its error says. With 8 x 128 particles modes that moves
   * do not leave are left with .10, a thin banana with .33 (largest of 20 seeds); Neal's funnels are above .4 in 3 of
   * 40 seeds in 5 dimensions and in none in 8 and 10 (intervals right in 39, 38 and 36 of 40). */
  double memory;
} poei_smc_report;

/* SMC along base * rest^beta, beta from 0 to 1 chosen adaptively. `chains` islands of `draws` particles each, advanced
 * in lockstep: they share the path and the tuning of the moves, never particles. With fewer than 128 draws an island
 * still has 128 particles, and its draws are spread evenly over them. Particles of an island are ordered so that copies
 * of one ancestor are neighbours: autocorrelation then sees them. `warmup` and `thin` have no meaning here. The base
 * needs POE_CAN_SAMPLE and POE_CAN_EVAL; without a gradient of both, the moves are random walks. Discrete coordinates
 * are moved by Gibbs steps and by independence proposals of the base. Where rest is 0 there
 * are never particles: the base is drawn until enough draws are inside; POE_E_NUMERIC when fewer than 1 in 2000 are
 * ("all particles die"), and when a density at a particle is NaN or +inf. Interrupted before beta = 1:
 * POE_E_INTERRUPTED and no draws. Interrupted there: POE_OK, draws and report are filled and draws->interrupted is set.
 */
poe_status poei_run_smc(const poe_expert *base, const poe_expert *rest, const poei_run_options *options,
                        poei_draws *draws, poei_smc_report *report, poe_error *error);

#endif
