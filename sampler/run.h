/* Runs: many chains with warmup and adaptation (MCMC), exact draws, and sequential Monte Carlo. */
#ifndef POE_SAMPLER_RUN_H
#define POE_SAMPLER_RUN_H

#include "sampler/kernel.h"

/* MCMC on `target` (unconstrained). start[chains, dim]: initial states, NULL = uniform in (-2, 2) per coordinate,
 * retried until finite. A start whose density is 0, NaN or +inf is POE_E_NUMERIC naming the chain. An interrupted run
 * is POE_OK with draws->interrupted set and the draws there are (none when it was stopped during warmup). */
poe_status poei_run_mcmc(const poe_expert *target, const poei_kernel *kernel, const poei_run_options *options,
                         const double *start, poei_draws *draws, poe_error *error);

/* Exact draws from an expert with POE_CAN_SAMPLE, chains x draws, addressed by (seed, chain, draw). lp is filled when
 * the expert can be evaluated. */
poe_status poei_run_exact(const poe_expert *expert, const poei_run_options *options, poei_draws *draws,
                          poe_error *error);

typedef struct poei_smc_report {
  double log_z_ratio;      /* log of the integral of base*rest over that of base         */
  double std_error;        /* of log_z_ratio; log_z_ratio +- 1.96 std_error holds the truth in 95 % of runs or more */
  size_t steps;            /* temperatures used                                          */
  double ess;              /* effective number of draws of the base that the end descends from, all islands */
  double min_ess_fraction; /* of the weights of one island at one temperature       */
  double acceptance;       /* mean acceptance of the moves                          */
  /* 0: at every temperature the particles were moved until they forgot where they were resampled, as far as log Z
   * cares. Else the largest correlation of log densities with those just after resampling that was left, above .4: as
   * in funnels of many dimensions, log Z may be too low by more than its error says. Largest correlations over 20 seeds
   * of 8 x 128: modes that moves do not leave .10, thin banana .33 (intervals right in 20 and 19); funnel in 5
   * dimensions above .4 in 14 (right in 19), in 8 and in 10 dimensions above .5 in all 20 (right in 16 and 15). */
  double memory;
} poei_smc_report;

/* SMC along base * rest^beta, beta from 0 to 1 chosen adaptively. `chains` islands of `draws` particles each, advanced
 * in lockstep: they share the path and the tuning of the moves, never particles. With fewer than 128 draws an island
 * still has 128 particles, and its draws are spread evenly over them. Particles of an island are ordered so that copies
 * of one ancestor are neighbours: autocorrelation then sees them. `warmup` and `thin` have no meaning here. The base
 * needs POE_CAN_SAMPLE and POE_CAN_EVAL; without a gradient of both, the moves are random walks. Where rest is 0 there
 * are never particles: the base is drawn until enough draws are inside; POE_E_NUMERIC when fewer than 1 in 2000 are
 * ("all particles die"), and when a density at a particle is NaN or +inf. Interrupted before beta = 1:
 * POE_E_INTERRUPTED and no draws. Interrupted there: POE_OK, draws and report are filled and draws->interrupted is set.
 */
poe_status poei_run_smc(const poe_expert *base, const poe_expert *rest, const poei_run_options *options,
                        poei_draws *draws, poei_smc_report *report, poe_error *error);

#endif
