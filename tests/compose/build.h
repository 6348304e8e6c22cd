/* Experts and compositions for tests, built with a sticky error: after a failure every builder returns NULL, and
 * tree_finish reports the first one and releases everything. */
#ifndef POE_TESTS_COMPOSE_BUILD_H
#define POE_TESTS_COMPOSE_BUILD_H

#include "compose/nodes/nodes.h"

enum { TREE_MAX = 256 };

/* Zero-initialise. */
typedef struct tree {
  size_t n;
  poe_expert *made[TREE_MAX];
  size_t n_maps;
  poe_map *map[8];
  poe_status status;
  poe_error error;
} tree;

/* Hands `root` out (or the first error) and releases everything else. */
poe_status tree_finish(tree *t, const poe_expert *root, poe_expert **out, poe_error *error);
/* For tests without failing memory: the expert, which stays owned by the tree; fails the test on any error. */
void tree_check(const tree *t);
void tree_free(tree *t);

/* ---- leaves ---- */

const poe_expert *tree_normal(tree *t, double mean, double sd);
/* d coordinates, mean[d], cov[d,d] */
const poe_expert *tree_gaussian(tree *t, size_t d, const double *mean, const double *cov);
/* k components: weights[k], means[k,d], one sd per component */
const poe_expert *tree_gmm(tree *t, size_t k, size_t d, const double *weights, const double *means, const double *sds);
const poe_expert *tree_student(tree *t, double df, double loc, double scale);
const poe_expert *tree_uniform(tree *t, size_t d, double low, double high);
/* One coordinate restricted to [low, high] (ends may be infinite). */
const poe_expert *tree_bounded_normal(tree *t, double low, double high, double mean, double sd);
/* p(y | x): y first, A[dy,dx], b[dy], sd of y. */
const poe_expert *tree_linear(tree *t, size_t dy, size_t dx, const double *a, const double *b, double sd);
/* n variables with k[n] values each; log_value[product of k], first slowest. */
const poe_expert *tree_table(tree *t, size_t n, const size_t *k, const double *log_value);
const poe_expert *tree_bernoulli(tree *t, double p);
/* -(|x| - radius)^2 / (2 width^2) over two coordinates: value and gradient only. */
const poe_expert *tree_ring(tree *t, double radius, double width);
/* sum_j cos(x_j + shift) over d coordinates, of the kind `energy`: a network that nothing normalises. */
const poe_expert *tree_bare(tree *t, size_t d, double shift);

/* ---- nodes ---- */

const poe_expert *tree_product(tree *t, size_t dim, size_t n, const poe_expert *const *children,
                               const double *exponents);
/* a * b, a / b over equal coordinates */
const poe_expert *tree_times(tree *t, const poe_expert *a, const poe_expert *b);
const poe_expert *tree_over(tree *t, const poe_expert *a, const poe_expert *b);
const poe_expert *tree_power(tree *t, const poe_expert *a, double exponent);
/* weights, not logs */
const poe_expert *tree_mixture(tree *t, size_t n, const poe_expert *const *children, const double *weights);
/* Half each. */
const poe_expert *tree_or(tree *t, const poe_expert *a, const poe_expert *b);
const poe_expert *tree_normalise(tree *t, const poe_expert *child, double log_z, double std_error);
const poe_expert *tree_slice(tree *t, const poe_expert *child, size_t dim, const size_t *index);
const poe_expert *tree_at(tree *t, const poe_expert *child, size_t dim, size_t coordinate); /* of one coordinate */
const poe_expert *tree_plate(tree *t, const poe_expert *child, size_t m, size_t dim, const size_t *index);
const poe_expert *tree_given(tree *t, const poe_expert *child, size_t n, const size_t *index, const double *value);
const poe_expert *tree_through(tree *t, const poe_map *map, const poe_expert *child);
const poe_expert *tree_restrict(tree *t, const poe_expert *child, double low, double high); /* every coordinate */
const poe_expert *tree_transform(tree *t, const poe_expert *child);
/* (z0, z1) -> (tanh(z0 + z1), z0 z1, sin(z1) - 0.5 z0); NULL after a failure. Counts its forward passes. */
const poe_map *tree_map(tree *t);
extern size_t tree_map_passes;

/* log p at one point of the expert's coordinates; fails the test on an error. */
double tree_value(const poe_expert *expert, const double *x);

#endif
