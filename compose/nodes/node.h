/* What every composition node is made of; inside compose/ only.
 *
 * The state of a node begins with a poei_node: its traits with the arrays they point to, and its children. Slots that
 * do not depend on the kind of node (traits, destroy of the common part) live here.
 */
#ifndef POE_COMPOSE_NODE_H
#define POE_COMPOSE_NODE_H

#include "compose/nodes/nodes.h"

enum {
  POEI_FORM_MAX_DIM = 2000,        /* dense closed forms above this dimension are not offered  */
  POEI_FORM_MAX_COMPONENTS = 4096, /* nor mixtures with more components                         */
  POEI_FORM_MAX_STATES = 1 << 20   /* nor tables with more states                               */
};

typedef struct poei_view poei_view;

typedef struct poei_node {
  poe_traits traits;    /* support and head point at the arrays below                              */
  poe_support *support; /* [dim]                                                                   */
  unsigned char *head;  /* [dim]; traits.head is NULL when it marks nothing                        */
  unsigned char *touch; /* [dim] 1: the value depends on this coordinate                           */
  bool diverges;        /* has a divisor inside, so that +inf is possible                          */
  size_t n;
  poe_expert **child; /* [n] retained; filled in order, so that destroy works half-way            */
  poei_view *view;    /* POE_CAN_LOCAL, POE_CAN_ONEHOT; NULL: neither (view.h)                    */
} poei_node;

/* How a kind of node is taken apart and put together again. */
typedef struct poei_node_look {
  const poe_expert_ops *ops;
  const char *name;
  poe_status (*rebuild)(const poei_node *node, const poe_expert *const *children, poe_expert **out, poe_error *error);
} poei_node_look;

#define POEI_NODE_LOOK(kind) extern const poei_node_look poei_##kind##_look;
POEI_NODE_LIST(POEI_NODE_LOOK)
#undef POEI_NODE_LOOK

/* Allocates a zeroed state of `size` bytes that begins with a poei_node of `dim` coordinates (support: all reals, no
 * head, nothing touched) and retains children[n]. NULL when out of memory (reported in `error`). */
void *poei_node_new(size_t size, size_t dim, size_t n, const poe_expert *const *children, poe_error *error);
/* Frees the common part and the state itself (NULL is allowed). */
void poei_node_free(poei_node *node);
/* Slots that all nodes share. */
poe_status poei_node_create(const poe_args *args, void **self, poe_error *error);
void poei_node_traits(const void *self, poe_traits *traits);
/* Wraps a finished state, destroying it when that fails. */
poe_status poei_node_wrap(const poe_expert_ops *ops, void *self, poe_expert **out, poe_error *error);

/* The common part, NULL for a leaf. */
const poei_node *poei_node_of(const poe_expert *expert);
/* [dim] coordinates the value depends on; NULL: on all. */
const unsigned char *poei_node_touch(const poe_expert *expert);
bool poei_node_diverges(const poe_expert *expert);
bool poei_expert_can(const poe_expert *expert, unsigned capabilities);
/* True when every coordinate is in the head: integrates to 1. */
bool poei_expert_normalised(const poe_expert *expert);
/* True when gradients can be had, or there is no continuous coordinate to have one for. */
bool poei_expert_differentiable(const poe_expert *expert);
/* Exact log Z by the slot, or 0 when the head covers everything. False when neither. */
bool poei_expert_known_log_z(const poe_expert *expert, double *log_z);
/* Sets traits.head from the marks in node->head. */
void poei_node_publish_head(poei_node *node);

/* eval_add, without asking for a gradient that the child has none of. */
poe_status poei_child_eval(const poe_expert *child, poe_rows rows, poe_weights weights, poe_accum out,
                           poe_scratch *scratch, poe_error *error);
/* Scratch of a child for a want it may not have (then 0). */
size_t poei_child_scratch(const poe_expert *child, unsigned want, size_t n);
/* Adds weight * value to logp and weight * grad to out.grad, row by row: value[n], grad[n, d] contiguous (NULL when
 * none wanted). Rows whose value is -inf add no gradient; discrete coordinates never. */
void poei_accum_rows(size_t n, size_t d, const double *value, const double *grad, poe_weights weights, poe_accum out,
                     const poe_support *support);
/* at[n] -> addresses of child `index`, taken from the scratch. */
poe_rng *poei_child_addresses(size_t n, const poe_rng *at, uint32_t index, poe_scratch *scratch);

/* ---- one site at a time (view.c) ---- */

typedef struct poei_view_term poei_view_term;

/* Gives a node, whose other traits are set, the single-site view and the one-hot gradient of a sum of terms[n] (copied;
 * view.h), where they exist, with their capabilities. wall[dim] (or NULL) marks coordinates outside of whose support
 * the node vanishes though no term says so. evaluates: terms without a view of their own are evaluated instead;
 * otherwise the node has a view only when all of them have. */
poe_status poei_node_view(poei_node *node, size_t n, const poei_view_term *terms, const unsigned char *wall,
                          bool evaluates, poe_error *error);
void poei_view_destroy(poei_view *view);
/* The slots of nodes that have them, and the part of `scratch` for POE_WANT_ONEHOT. */
extern const poe_local_ops poei_node_local;
size_t poei_node_onehot_scratch(const poei_node *node, size_t n);
poe_status poei_node_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                     poe_scratch *scratch, poe_error *error);

/* ---- part of a row (scoped.c) ---- */

/* Where an expert's coordinates are in a larger row. */
typedef struct poei_place_in {
  size_t n, offset;
  const size_t *index; /* [n] borrowed; NULL: offset .. offset + n - 1 */
} poei_place_in;

/* The place index[n]; index NULL: the first n. */
poei_place_in poei_place_at(size_t n, const size_t *index);
/* Scratch and eval_add of a child over part of the rows; support[rows.d] is the larger space's. Like poei_child_*. */
size_t poei_place_scratch(const poe_expert *child, const poei_place_in *place, unsigned want, size_t n);
poe_status poei_place_eval(const poe_expert *child, const poei_place_in *place, const poe_support *support,
                           poe_rows rows, poe_weights weights, poe_accum out, poe_scratch *scratch, poe_error *error);

/* ---- supports (support.c) ---- */

poe_support poei_support_reals(void);
/* *a becomes the intersection; false when it is empty (or, for a continuous coordinate, a single point). */
bool poei_support_intersect(poe_support *a, const poe_support *b);
/* *a becomes the smallest interval that holds both. */
void poei_support_hull(poe_support *a, const poe_support *b);
bool poei_support_contains(const poe_support *a, double x);
/* True when every point of b is in a. */
bool poei_support_covers(const poe_support *a, const poe_support *b);
bool poei_support_unbounded(const poe_support *a);
/* Number of integers of a discrete support; 0 when continuous or infinite. */
size_t poei_support_states(const poe_support *a);

/* ---- scopes and heads (heads.c) ---- */

/* A factor of a product over part of its coordinates. */
typedef struct poei_scope {
  size_t n;
  const size_t *index;        /* [n] coordinates; NULL: 0..n-1                          */
  const unsigned char *head;  /* [n] or NULL: normalised over nothing                   */
  const unsigned char *touch; /* [n] or NULL: depends on all                            */
} poei_scope;

/* The scope of an expert over its own coordinates; a slice is looked through: *inside (NULL is allowed) gets its child,
 * over the scope's coordinates. */
poei_scope poei_scope_of(const poe_expert *expert, const poe_expert **inside);
/* Marks in head[dim] the union of the heads when the product of the factors is normalised over it: every factor has a
 * head, heads are disjoint, and no factor depends, round a cycle, on its own head. Otherwise head is all 0. When order
 * is not NULL it gets the factors sorted so that each comes after those it depends on. *normalised: it worked. */
poe_status poei_heads_union(size_t dim, size_t n, const poei_scope *scopes, unsigned char *head, size_t *order,
                            bool *normalised, poe_error *error);
/* True when the factors touch disjoint sets of coordinates that together are all of 0..dim-1. */
poe_status poei_scopes_partition(size_t dim, size_t n, const poei_scope *scopes, bool *partition, poe_error *error);

/* ---- what single nodes offer beyond nodes.h ---- */

/* The factors of a product as they are evaluated: nested products opened where that changes nothing. */
typedef struct poei_factor {
  const poe_expert *expert; /* over its own coordinates, never a slice */
  double exponent;
  const size_t *index; /* [its dim] coordinates of the product; NULL: all of them */
} poei_factor;
const poei_factor *poei_product_factors(const poe_expert *expert, size_t *n);
/* True when the product is more than its factors: 0 on integers where only its divisors end. Then it is not opened. */
bool poei_product_has_walls(const poe_expert *expert);
/* A mixture whose weights carry estimates: offset_error is added in quadrature. */
poe_status poei_mixture_create_estimated(size_t n, const poe_expert *const *children, const double *log_weights,
                                         double offset_error, poe_expert **out, poe_error *error);

#endif
