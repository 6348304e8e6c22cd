/* Walking trees of experts: a memo from expert to expert, so that a sub-expression used twice is rewritten once and
 * stays shared, and the factors of a product as a list that can be edited. Inside compose/ only. */
#ifndef POE_COMPOSE_EXACT_TREE_H
#define POE_COMPOSE_EXACT_TREE_H

#include "compose/nodes/node.h"

/* ---- memo ---- */

typedef struct poei_memo_entry {
  const poe_expert *key; /* retained */
  poe_expert *value;     /* retained */
  bool mark;             /* the user's   */
} poei_memo_entry;

/* Zero-initialise. */
typedef struct poei_memo {
  size_t n, capacity;
  poei_memo_entry *slot; /* [capacity] open addressing, key NULL: free */
} poei_memo;

const poei_memo_entry *poei_memo_find(const poei_memo *memo, const poe_expert *key);
poe_status poei_memo_put(poei_memo *memo, const poe_expert *key, const poe_expert *value, bool mark, poe_error *error);
void poei_memo_free(poei_memo *memo);

/* The node over other children, given by visit(context, child); the same expert (retained) when none changed. */
typedef poe_status (*poei_visit)(void *context, const poe_expert *expert, poe_expert **out, poe_error *error);
poe_status poei_tree_rebuild(const poe_expert *expert, poei_visit visit, void *context, poe_expert **out,
                             poe_error *error);

/* ---- factors ---- */

typedef struct poei_part {
  poe_expert *expert; /* retained */
  size_t n;
  size_t *index; /* [n] its coordinates in the product's space, owned */
  double exponent;
} poei_part;

/* exp(constant) prod_i expert_i(x[index_i])^exponent_i over dim coordinates. */
typedef struct poei_parts {
  size_t dim, n, capacity;
  poei_part *item;
  double constant, variance; /* variance: squared standard error of the constant */
} poei_parts;

/* How far to open an expert. */
typedef enum poei_opening {
  POEI_OPEN_SURFACE, /* one product, its slices                                                     */
  POEI_OPEN_SHARED,  /* nested products; under a slice or normalise only when another factor shares coordinates */
  POEI_OPEN_ALL      /* everything that is a product or a constant times one                         */
} poei_opening;

/* Lists the factors of an expert (one factor when it is no product). *deeper (NULL is allowed): something below the
 * surface was opened. */
poe_status poei_parts_open(const poe_expert *expert, poei_opening opening, poei_parts *parts, bool *deeper,
                           poe_error *error);
void poei_parts_free(poei_parts *parts);
/* Appends a factor (retains the expert, copies the index). */
poe_status poei_parts_add(poei_parts *parts, const poe_expert *expert, size_t n, const size_t *index, double exponent,
                          poe_error *error);
void poei_parts_remove(poei_parts *parts, size_t i);
/* The expert with these factors. */
poe_status poei_parts_close(const poei_parts *parts, poe_expert **out, poe_error *error);
/* `expert` over coordinates index[] of dim: itself when that is the identity, else a slice. */
poe_status poei_place(const poe_expert *expert, size_t dim, const size_t *index, poe_expert **out, poe_error *error);
/* Numbers the connected groups of factors (sharing a coordinate both touch) that satisfy `member` (NULL: all):
 * group[n] in 0..count-1, SIZE_MAX for others. owner[dim]: the group of each coordinate, SIZE_MAX for none. */
poe_status poei_parts_groups(const poei_parts *parts, const unsigned char *member, size_t *group, size_t *owner,
                             size_t *count, poe_error *error);
/* Cuts plates whose sets fall into several groups along them: a plate, or its expert, for each (plates.c). */
poe_status poei_parts_cut(poei_parts *parts, poe_error *error);
/* The factors of one group over their own coordinates, index[dim of *out] in ascending order (owned by the caller). */
poe_status poei_parts_group(const poei_parts *parts, const size_t *group, size_t which, poei_parts *out, size_t **index,
                            poe_error *error);
/* exp(constant) times an expert; the standard error of the constant adds to its offset error. */
poe_status poei_scaled(const poe_expert *expert, double constant, double std_error, poe_expert **out, poe_error *error);

#endif
