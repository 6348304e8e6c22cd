/* Products of many small Gaussians, for the tests of sparse Gaussian algebra. */
#ifndef POE_TESTS_COMPOSE_GAUSSIAN_GRAPHS_H
#define POE_TESTS_COMPOSE_GAUSSIAN_GRAPHS_H

#include "compose/exact/sparse_gaussian.h"
#include "experts/sparse_normal.h"

enum { MOST = 32768 };

/* A product under construction; the experts are released with it. */
typedef struct graph {
  size_t dim, n, used;
  poe_expert *expert[MOST];
  const size_t *index[MOST];
  double exponent[MOST];
  size_t room[4 * MOST];
} graph;

graph *graph_new(size_t dim);
void graph_free(graph *g);
/* Takes over the expert. */
void graph_add(graph *g, poe_expert *expert, const size_t *index, double exponent);
poe_expert *graph_product(const graph *g);
poe_expert *leaf_normal(double mean, double sd);
/* p(y | x) = N(y; a x + b, sd) */
poe_expert *leaf_linear(double a, double b, double sd);
/* Rewrites by the rule alone (all: by every rule); how often it fired. */
poe_expert *rewrite(const poe_expert *expert, bool all, size_t *fired);
const poei_sparse_normal *sparse(const poe_expert *expert);
/* Values and gradients at points around `centre`, to a relative `tolerance` of the largest. */
void same_density(const poe_expert *a, const poe_expert *b, double centre, double tolerance);
/* The i-th number of a seed. */
double uniform(uint64_t seed, size_t i, double low, double high);

#endif
