/* What the files of the product node share (product*.c only). */
#ifndef POE_COMPOSE_NODES_PRODUCT_PARTS_H
#define POE_COMPOSE_NODES_PRODUCT_PARTS_H

#include "compose/nodes/view.h"

/* A factor that is drawn on its own. */
typedef struct poei_block {
  const poe_expert *expert; /* lives in the tree of the children */
  poei_place_in place;
} poei_block;

typedef struct poei_product {
  poei_node node;
  double *exponent; /* [node.n] */
  size_t **index;   /* [node.n] coordinates of each child, NULL: all of them */
  size_t n_factors;
  poei_factor *factor;  /* [n_factors] as evaluated, positive exponents first             */
  poei_place_in *place; /* [n_factors] where they are in a row                            */
  size_t *inner;        /* the coordinates of the factors of nested products              */
  bool divides;         /* some exponent is negative                                       */
  unsigned char *wall;  /* [dim] integer coordinates that only divisors bound; NULL: none  */
  size_t n_blocks;      /* > 0: the product of independent blocks that can be drawn        */
  poei_block *block;
} poei_product;

/* Support, head, independent blocks, capabilities and the single-site view, from the children and the factors. */
poe_status poei_product_traits(poei_product *self, poe_error *error);

#endif
