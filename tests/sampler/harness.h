/* Running kernels on many chains outside of a run, and the invariance check that every kernel is put to. */
#ifndef POE_TESTS_SAMPLER_HARNESS_H
#define POE_TESTS_SAMPLER_HARNESS_H

#include "sampler/kernel.h"
#include "tests/sampler/targets.h"

/* `chains` exact draws of `what` are moved `steps` times each, in tiles; x[chains, d] receives the end states. Fails
 * the test on an error. Returns the mean acceptance. Asserts that no step allocates. */
double harness_move(const poei_kernel *kernel, const target *what, double step_size, size_t leapfrog, size_t chains,
                    size_t steps, uint64_t seed, double *x);

/* The smallest Kolmogorov-Smirnov tail probability, over the coordinates of Rosenblatt's transform and of its absolute
 * deviation from 1/2, of x[chains, d] against the exact distribution. */
double harness_ks(const target *what, const double *x, size_t chains);

/* Moves 8192 exact draws 10 times and returns harness_ks. A correct kernel gives less than p with probability at most
 * 2 d p. */
double harness_invariance(const poei_kernel *kernel, const target *what, double step_size, size_t leapfrog,
                          uint64_t seed);

#endif
