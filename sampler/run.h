/* Runs: many chains with warmup and adaptation (MCMC), exact draws, and sequential Monte Carlo. */
#ifndef POE_SAMPLER_RUN_H
#define POE_SAMPLER_RUN_H

#include "sampler/kernel.h"

/* MCMC on `target` (unconstrained). start[chains, dim]: initial states, NULL = uniform in (-2, 2) per coordinate,
 * retried until finite. A start with NaN or +inf density is POE_E_NUMERIC naming the chain. *draws is filled also when
 * interrupted. */
poe_status poei_run_mcmc(const poe_expert *target, const poei_kernel *kernel, const poei_run_options *options,
                         const double *start, poei_draws *draws, poe_error *error);

/* Exact draws from an expert with POE_CAN_SAMPLE, chains x draws, addressed by (seed, chain, draw). lp is filled when
 * the expert can be evaluated. */
poe_status poei_run_exact(const poe_expert *expert, const poei_run_options *options, poei_draws *draws,
                          poe_error *error);

typedef struct poei_smc_report {
  double log_z_ratio; /* log of the integral of base*rest over that of base         */
  double std_error;   /* of log_z_ratio                                             */
  size_t steps;       /* temperatures used (largest over islands)                   */
  double ess;         /* effective number of independent ancestors at the end, all islands */
  double min_ess_fraction;
  double acceptance; /* mean acceptance of the moves                               */
} poei_smc_report;

/* SMC along base * rest^beta, beta from 0 to 1 chosen adaptively. `chains` independent islands of `draws` particles
 * each, advanced in lockstep with a beta per island. Particles of an island are ordered so that copies of one ancestor
 * are neighbours: autocorrelation then sees them. Report and draws are filled also when interrupted at beta = 1. */
poe_status poei_run_smc(const poe_expert *base, const poe_expert *rest, const poei_run_options *options,
                        poei_draws *draws, poei_smc_report *report, poe_error *error);

#endif
