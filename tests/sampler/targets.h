/* Experts with a known truth, for the tests of the samplers. */
#ifndef POE_TESTS_SAMPLER_TARGETS_H
#define POE_TESTS_SAMPLER_TARGETS_H

#include "poe/expert.h"

enum { TARGET_MAX_DIM = 32 };

/* Mistakes in how an expert heeds the weight of its rows, to stand for a path whose moves and weights disagree: where
 * the weight is not 1 (moves on the way) half as much again; where it is 1 (the weights of a path, and its end) nine
 * tenths.
 */
typedef enum target_faith { TARGET_FAITHFUL, TARGET_MOVES_OFF, TARGET_WEIGHTS_OFF } target_faith;

typedef struct target target;
struct target {
  const char *name;
  size_t d;
  double a, b, c;
  target_faith faithless;
  double location[TARGET_MAX_DIM], scale[TARGET_MAX_DIM];
  /* log density of x[d]; the gradient into g[d] unless NULL */
  double (*log_density)(const target *self, const double *x, double *g);
  /* One exact draw; NULL: none. */
  void (*draw)(const target *self, poe_stream *stream, double *x);
  /* u[d]: independent uniforms under the target (Rosenblatt's transform); NULL: none. */
  void (*uniforms)(const target *self, const double *x, double *u);
  double mean[TARGET_MAX_DIM], sd[TARGET_MAX_DIM]; /* per coordinate, NaN where unknown */
  /* Every coordinate is in low .. high (both 0: any number), without the ends when open. bounded.h's: log density and
   * slope, and distribution function, of one coordinate. */
  double low, high;
  bool open;
  double (*line)(const target *self, double x, double *slope);
  double (*cdf)(const target *self, double x);
};

/* Normalised. Independent Gaussians with geometric scales from 1/sqrt(condition) to sqrt(condition). */
target target_ill_conditioned(size_t d, double condition);
/* Stationary AR(1): unit variances, correlation rho^|i-j|. */
target target_ar1(size_t d, double rho);
/* Independent Student t coordinates. */
target target_student(size_t d, double df);
/* Independent log |z| with z ~ N(0, 1): soft below, a wall above that leapfrog steps may be too long for. */
target target_wall(size_t d);
/* x0 ~ N(0,1), x1 = bend (x0^2 - 1) + width N(0,1), the rest N(0,1). */
target target_banana(size_t d, double bend, double width);
/* Neal's funnel: x0 ~ N(0, sd^2), the others N(0, e^x0): as narrow as you like. */
target target_funnel(size_t d, double sd);
/* x0 ~ weight N(-apart, 1) + (1 - weight) N(apart, 1), the rest N(0,1): a double well. */
target target_wells(size_t d, double apart, double weight);
/* Gaussian with one mean and sd for all coordinates. */
target target_gaussian(size_t d, double mean, double sd);

/* Not normalised: what `rest` is in a path. */
/* 0 where low < x0 < high and -inf elsewhere, times a Gaussian factor exp(-(x1 - pull)^2 / 2) on the other ones. */
target target_edge(size_t d, double low, double high, double pull);
/* exp(-(x1 - bend x0^2)^2 / (2 width^2)) */
target target_ridge(double bend, double width);

/* An expert over a copy of it; POE_CAN_SAMPLE when it can draw. `capabilities` limits what it offers. NULL on failure.
 */
poe_expert *target_expert(const target *self, unsigned capabilities);
/* Rows evaluated so far by all of these experts (a process-wide count). */
unsigned long target_rows(void);

/* Kolmogorov-Smirnov tail probability of n numbers against the uniform distribution. Sorts u. */
double target_ks(double *u, size_t n);

#endif
