/* Gaussian algebra where a dense matrix would be too large: many factors over a few coordinates each. Inside compose/
 * only. */
#ifndef POE_COMPOSE_EXACT_SPARSE_GAUSSIAN_H
#define POE_COMPOSE_EXACT_SPARSE_GAUSSIAN_H

#include "compose/exact/tree.h"
#include "compose/names.h"
#include "core/sparse.h"

/* Entries of a precision that are being collected; entries at one place add up. Zero-initialise. */
typedef struct poei_triplets {
  size_t n, capacity;
  poei_triplet *item;
} poei_triplets;
void poei_triplets_free(poei_triplets *triplets);

/* Appends `exponent` times the precision of `expert` over place[dim] (its coordinates in the space of the triplets;
 * SIZE_MAX: clamped) when it is one Gaussian, possibly improper: a leaf with a form of one component or a SPARSE
 * structure, or a product, power, quotient, plate, slice, given, or constant times such. Otherwise *gaussian is false
 * and what was appended means nothing. */
poe_status poei_sparse_collect(const poe_expert *expert, double exponent, const size_t *place, poei_triplets *triplets,
                               bool *gaussian, poe_error *error);

/* Is a sparse factorisation of this pattern better than a dense one, and small enough to be done at all? */
bool poei_sparse_worth(const poei_sparse_factor *factor);

/* prod_i expert_i(x[index_i])^exponent_i, all Gaussians, as one sparse Gaussian with the same density at every point;
 * triplets: its precision over parts->dim coordinates. POE_E_IMPROPER naming the direction in which it does not fall;
 * POE_E_CAPABILITY when it is not worth it or too large; POE_E_NUMERIC when its factors overflow. */
poe_status poei_sparse_fuse(const poei_parts *parts, const poei_triplets *triplets, poe_expert **out, poe_error *error);

/* POE_E_IMPROPER, naming the direction, when `expert` is one Gaussian that is not positive definite. POE_OK also when
 * it is no Gaussian, or one too large to be looked at. */
poe_status poei_sparse_check(const poe_expert *expert, const poei_names *names, poe_error *error);

/* log det of the precision of a leaf with a SPARSE structure; false when it is none (or memory runs out). */
bool poei_sparse_log_det(const poe_expert *expert, double *log_det);

#endif
