/* The single-site view and the one-hot gradient of composition nodes.
 *
 * Every node that has them is a sum of terms, exponent times log p of an expert over some of the node's coordinates:
 * a product has its factors, a plate its index sets, the others one. What changes with a coordinate is the terms that
 * it is in: those with a view of their own are asked for a conditional, the others are evaluated at each value.
 */
#ifndef POE_COMPOSE_VIEW_H
#define POE_COMPOSE_VIEW_H

#include "compose/nodes/node.h"

/* One term. Its arrays live as long as the node. */
struct poei_view_term {
  const poe_expert *expert;
  double exponent;
  const size_t *index; /* [its dim] coordinates of the node, SIZE_MAX: clamped; NULL: all, in order */
  const double *clamp; /* [its dim] values of the clamped ones; NULL when none is                   */
};

/* A place of a coordinate in a term. */
typedef struct poei_view_link {
  size_t term, position;
} poei_view_link;

struct poei_view {
  size_t dim, n;
  const poe_support *support; /* [dim] the node's                                              */
  unsigned char *wall;    /* [dim] 1: outside of its support the density vanishes, whatever the terms say; or NULL */
  poei_view_term *term;   /* [n]                                                           */
  size_t *first;          /* [dim + 1] where each coordinate's links begin                 */
  poei_view_link *link;   /* [first[dim]] the terms that depend on it, in order            */
  size_t *place;          /* [n] where each term's state begins; those without a view have none */
  size_t *begin;          /* [dim + 1] where each coordinate begins in the one-hot embedding */
  size_t x, status, seen; /* where the row, the terms' and the seen signs begin in a state */
  size_t bytes, scratch, widest, most_links; /* of a state, of a call; most values, most links of a coordinate */
};

/* The coordinate of the node that is the j-th of a term; SIZE_MAX: clamped. */
static inline size_t poei_view_coordinate(const poei_view_term *term, size_t j) {
  return term->index == NULL ? j : term->index[j];
}

#endif
