/* Composition nodes: experts made of experts. Each constructor retains its children and returns an ordinary expert.
 *
 * The language lowers to these few: `a * b / c^t` is one product with exponents 1, 1 (b), -t (c); `a ^ t` a product of
 * one factor. Nodes can be looked into (poei_node_*), which is what the planner's rewriting rules work on.
 */
#ifndef POE_COMPOSE_NODES_H
#define POE_COMPOSE_NODES_H

#include "poe/expert.h"

/* X(kind) */
#define POEI_NODE_LIST(X)                                                                                              \
  X(product)                                                                                                           \
  X(mixture) X(normalise) X(slice) X(plate) X(given) X(through) X(restrict) X(simplex) X(transform) X(marginal)

typedef enum poei_node_kind {
  POEI_NODE_LEAF, /* not a node: a family, a closed form, a plug-in */
#define POEI_NODE_ENUM(kind) POEI_NODE_##kind,
  POEI_NODE_LIST(POEI_NODE_ENUM)
#undef POEI_NODE_ENUM
} poei_node_kind;

/* prod_i child_i ^ exponent_i over the same dim coordinates (n = 0: the constant 1 over dim coordinates). Factors with
 * exponent 0 are dropped. Positive exponents are evaluated first: a row at -inf stays -inf (0/0 = 0). Support:
 * intersection over positive exponents; an empty one is POE_E_EMPTY naming the coordinate. */
poe_status poei_product_create(size_t dim, size_t n, const poe_expert *const *children, const double *exponents,
                               poe_expert **out, poe_error *error);
/* The same with child i over coordinates index[i] of the product (distinct; NULL: over all of them), so that a product
 * of many factors over a few coordinates each takes no more room than they do. A slice given as a child is taken as
 * what is in it, over the slice's index. */
poe_status poei_product_create_scoped(size_t dim, size_t n, const poe_expert *const *children,
                                      const size_t *const *index, const double *exponents, poe_expert **out,
                                      poe_error *error);
/* sum_k exp(log_weight_k) child_k over equal coordinates; children are taken as they are (the language wraps each in
 * normalise where the language says so). Online log-sum-exp, one temporary. log Z = log sum_k w_k Z_k when all are
 * known. */
poe_status poei_mixture_create(size_t n, const poe_expert *const *children, const double *log_weights, poe_expert **out,
                               poe_error *error);
/* child / Z. When log_z is NaN the constant is a hole: the node is built, but evaluating it is POE_E_CAPABILITY until
 * the holes are filled (poei_fill_holes). std_error: of log_z, 0 when exact. */
poe_status poei_normalise_create(const poe_expert *child, double log_z, double std_error, poe_expert **out,
                                 poe_error *error);
/* child over coordinates index[child dim] of a row of `dim` (indices distinct). A contiguous range costs nothing. */
poe_status poei_slice_create(const poe_expert *child, size_t dim, const size_t *index, poe_expert **out,
                             poe_error *error);
/* prod_m child(x[index[m, :]]): one child on m index sets index[m, child dim], evaluated as gathered n*m rows. */
poe_status poei_plate_create(const poe_expert *child, size_t m, size_t dim, const size_t *index, poe_expert **out,
                             poe_error *error);
/* child with coordinates index[n] clamped to value[n]; over the remaining coordinates in order. A value outside the
 * child's support is POE_E_EMPTY, part of a simplex POE_E_SHAPE. */
poe_status poei_given_create(const poe_expert *child, size_t n, const size_t *index, const double *value,
                             poe_expert **out, poe_error *error);
/* x = (z, rest) -> child(map(z), rest): z are the first in_dim coordinates, rest the remaining child dim - out dim. */
poe_status poei_through_create(const poe_map *map, const poe_expert *child, poe_expert **out, poe_error *error);
/* child restricted to the box support[dim]: -inf outside, not renormalised. */
poe_status poei_restrict_create(const poe_expert *child, const poe_support *support, poe_expert **out,
                                poe_error *error);
/* child on the simplices among support[dim] (the other coordinates are left as they are): -inf off them; not
 * renormalised. */
poe_status poei_simplex_create(const poe_expert *child, const poe_support *support, poe_expert **out, poe_error *error);
/* child with coordinates index[n] integrated out at inverse temperature beta > 0: (1/beta) log int exp(beta log p), or
 * maximised over when beta is infinite; over the remaining coordinates in order. It can be evaluated where the latent
 * coordinates have at most POEI_MARGINAL_STATES joint values, and where one or two are continuous and the others have
 * at most POEI_MARGINAL_BRANCHES. */
enum { POEI_MARGINAL_STATES = 4096, POEI_MARGINAL_BRANCHES = 256 };
poe_status poei_marginal_create(const poe_expert *child, size_t n, const size_t *index, double beta, poe_expert **out,
                                poe_error *error);
/* The same marginal, evaluated through `value`: an expert over its free coordinates that has the same density, whose
 * rows take about as long as `points` points of the child. */
poe_status poei_marginal_through(const poe_expert *expert, const poe_expert *value, size_t points, poe_expert **out,
                                 poe_error *error);
/* child in unconstrained coordinates u: log p(x(u)) + log |dx/du|: identity, log, -log, logit or stick-breaking by the
 * child's support; discrete coordinates are left as they are. Rows keep their length: the last coordinate of a simplex,
 * which the others determine, is a standard normal number that x does not depend on. Applied once, at the root. */
poe_status poei_transform_create(const poe_expert *child, poe_expert **out, poe_error *error);
/* A transform by the given support[dim] instead of the child's. jacobian false: log p(x(u)) alone. */
poe_status poei_transform_create_over(const poe_expert *child, const poe_support *support, bool jacobian,
                                      poe_expert **out, poe_error *error);
/* u[n, ld] -> x and back (in place is allowed); `expert` must be a transform node. */
void poei_transform_constrain(const poe_expert *expert, size_t n, const double *u, size_t ldu, double *x, size_t ldx);
void poei_transform_unconstrain(const poe_expert *expert, size_t n, const double *x, size_t ldx, double *u, size_t ldu);

/* ---- looking in ---- */

poei_node_kind poei_node_kind_of(const poe_expert *expert);
const char *poei_node_kind_name(poei_node_kind kind);
size_t poei_node_child_count(const poe_expert *expert); /* 0 for a leaf */
const poe_expert *poei_node_child(const poe_expert *expert, size_t index);
/* The same node over other children (as many); the children may change dimension only where the node allows it. */
poe_status poei_node_rebuild(const poe_expert *expert, const poe_expert *const *children, poe_expert **out,
                             poe_error *error);

double poei_product_exponent(const poe_expert *expert, size_t index);
const size_t *poei_product_index(const poe_expert *expert, size_t index); /* [child dim]; NULL: all coordinates */
double poei_mixture_log_weight(const poe_expert *expert, size_t index);
double poei_normalise_log_z(const poe_expert *expert, double *std_error); /* NaN: a hole */
const size_t *poei_slice_index(const poe_expert *expert);                 /* [child dim] */
size_t poei_plate_count(const poe_expert *expert);
const size_t *poei_plate_index(const poe_expert *expert); /* [m, child dim] */
size_t poei_given_count(const poe_expert *expert);
const size_t *poei_given_index(const poe_expert *expert);
const double *poei_given_value(const poe_expert *expert);
double poei_marginal_beta(const poe_expert *expert);
size_t poei_marginal_count(const poe_expert *expert);
const size_t *poei_marginal_latent(const poe_expert *expert); /* [count] ascending */
const size_t *poei_marginal_free(const poe_expert *expert);   /* [dim] the child's coordinates, ascending */
/* About how many points of the child one row takes; 0: it cannot be evaluated. */
size_t poei_marginal_points(const poe_expert *expert);
/* Is it evaluated by looking along continuous latent coordinates? */
bool poei_marginal_integrates(const poe_expert *expert);
/* What poei_marginal_through was given; NULL: nothing. */
const poe_expert *poei_marginal_value(const poe_expert *expert);
const poe_map *poei_through_map(const poe_expert *expert);

#endif
