/* Tuning during warmup: the step size by dual averaging, the diagonal metric in growing windows.
 *
 * Everything is pooled over the chains of a run: they target one density, so their acceptance and their spread measure
 * the same thing, and 64 chains learn a metric in a 64th of the steps. State changes between steps only, in the fixed
 * order of the chains and on one thread, so that bits do not depend on the number of threads. After warmup it is
 * frozen, and every chain is a Markov chain of its own. */
#ifndef POE_SAMPLER_ADAPTATION_H
#define POE_SAMPLER_ADAPTATION_H

#include "sampler/kernel.h"

/* Dual averaging of log(step size) (Hoffman and Gelman 2014, section 3.2). */
typedef struct poei_dual_averaging {
  double target;                         /* acceptance aimed at */
  double mu, h_bar, log_step_bar, count; /* their names there   */
} poei_dual_averaging;

void poei_dual_averaging_start(poei_dual_averaging *state, double target, double step_size);
/* Takes the acceptance of one step; returns the step size of the next. */
double poei_dual_averaging_update(poei_dual_averaging *state, double acceptance);
/* The averaged step size, to be kept after warmup. */
double poei_dual_averaging_final(const poei_dual_averaging *state);

/* Running mean and sum of squared deviations of d coordinates (Welford 1962). */
typedef struct poei_moments {
  size_t d;
  double count;
  double *mean, *squares; /* [d] owned by the caller */
} poei_moments;

void poei_moments_clear(poei_moments *moments);
/* Adds the n rows of x[n, d]. */
void poei_moments_add(poei_moments *moments, const double *x, size_t n);
/* metric[d] = the variances, drawn towards 1e-3 as five more observations of it would: n/(n+5) s^2 + 1e-3 5/(n+5). */
void poei_moments_metric(const poei_moments *moments, double *metric);

/* The windows of a warmup: a fast start (step size alone), windows of doubling length after each of which the metric is
 * set anew, and a fast end. 75, 25 doubling, 50 steps as in Stan, or 15/75/10 % of a warmup under 150 steps; under 20
 * steps no metric is learnt. */
typedef struct poei_windows {
  size_t begin, end; /* steps [begin, end) feed the metric */
  size_t next, size; /* the current window's end and length */
} poei_windows;

poei_windows poei_windows_start(size_t warmup);
bool poei_windows_feeds(const poei_windows *windows, size_t step);
/* True when a window ends with this step; then the next one is set up. */
bool poei_windows_ends(poei_windows *windows, size_t step);

/* HMC's default mean number of leapfrog steps: a mean time, in units in which a Gaussian target has period 2 pi, over
 * the step size; at most 64. */
size_t poei_leapfrog_steps(double time, double step_size);

#endif
