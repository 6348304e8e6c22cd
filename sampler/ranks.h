/* The workbench of the diagnostics: draws of one quantity, their order, and the transformed half chains on which R-hat
 * and effective sample sizes are computed. Created once, loaded with one quantity after the other. */
#ifndef POE_SAMPLER_RANKS_H
#define POE_SAMPLER_RANKS_H

#include "sampler/diagnostics.h"

typedef struct poei_ranked {
  double value;
  size_t index;
} poei_ranked;

typedef struct poei_bench {
  size_t chains, draws, half; /* half: draws per half chain; an odd middle draw belongs to neither             */
  double *x;                  /* [chains, draws] the quantity                                                  */
  double *sorted;             /* [chains * draws] ascending                                                    */
  double *part;               /* [2 * chains, half] the transformed half chains, see poei_bench_fill           */
  double *rho;                /* [half] autocorrelations                                                       */
  double *mean;               /* [2 * chains]                                                                  */
  double *score;              /* [2 * chains * half] normal scores of the ranks 1, 2, ..; filled on first use  */
  poei_ranked *order, *spare; /* [chains * draws] order: ascending, index into x                               */
  bool centred;               /* the filled half chains have had their means (in `mean`) subtracted             */
  bool constant;              /* the filled half chains hold one value: nothing is defined on them             */
  double error;               /* relative standard error of the ESS computed last                              */
} poei_bench;

/* The limit of R-hat for that many groups, effective draws and numbers looked at (gate.c). */
double poei_gate_rhat_limit(size_t groups, double ess, size_t looks);

typedef enum poei_part { POEI_PART_PLAIN, POEI_PART_BULK, POEI_PART_FOLDED, POEI_PART_BELOW } poei_part;

poe_status poei_bench_create(size_t chains, size_t draws, poei_bench *bench, poe_error *error);
void poei_bench_free(poei_bench *bench);
typedef enum poei_load { POEI_LOAD_VARIES, POEI_LOAD_CONSTANT, POEI_LOAD_NOT_FINITE } poei_load;
/* Takes one quantity (of the bench's size) and, when it is finite, sorts it. */
poei_load poei_bench_load(poei_bench *bench, poei_series series);
/* Quantile of the loaded quantity, interpolated between the order statistics at 1 + (S - 1) probability (R's type 7).
 */
double poei_bench_quantile(const poei_bench *bench, double probability);
/* part = the half chains as they are (PLAIN), as normal scores of their ranks (BULK), as normal scores of the ranks of
 * |x - median| (FOLDED), or as 1 where x <= the quantile at `probability`, else 0 (BELOW). */
void poei_bench_fill(poei_bench *bench, poei_part part, double probability);

/* On the filled half chains (ess.c). NaN when undefined, as on constant ones. */
double poei_bench_rhat(poei_bench *bench);
/* Superchains (2 to 32) are runs of chains / superchains consecutive chains, each split like the chains: the first
 * halves of its chains are one group, the second halves another. */
double poei_bench_nested_rhat(poei_bench *bench, size_t superchains);
/* Also leaves its relative standard error in bench->error: with the sum of autocorrelations cut at lag M of N draws,
 * sqrt((4 M + 2) / N) (Madras and Sokal 1988, equation 3.19). */
double poei_bench_ess(poei_bench *bench);
/* The ESS if all half chains had the same expectation: from the autocorrelation inside them alone. Too large where they
 * are short beside it. */
double poei_bench_within_ess(poei_bench *bench);

/* On the loaded quantity: fills the half chains twice. The smaller ESS of the two tail indicators that vary, with its
 * relative standard error in bench->error. */
double poei_bench_tail_ess(poei_bench *bench);

#endif
