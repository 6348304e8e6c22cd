/* A formula as a linear combination of nodes: from the root down every sum, difference or product with a constant hands
 * its weight to its arguments. Inside net/ only. */
#ifndef POE_NET_FORMULA_SWEEP_H
#define POE_NET_FORMULA_SWEEP_H

#include "net/formula_nodes.h"

/* What a node is to such a sweep: it hands its weight on, or it is what the combination is of. */
typedef enum poei_formula_role {
  POEI_ROLE_SPREAD,
  POEI_ROLE_CONSTANT,
  POEI_ROLE_COORDINATE,
  POEI_ROLE_PRODUCT, /* of two nodes that vary                          */
  POEI_ROLE_SQUARES, /* |a| |a|, norm(a) norm(a): the sum of squares of its arguments */
  POEI_ROLE_OTHER
} poei_formula_role;

static inline const poei_formula_node *poei_formula_argument(const poei_formula *formula, const poei_formula_node *node,
                                                             size_t k) {
  return &formula->nodes[formula->args[node->first + k]];
}
poei_formula_role poei_formula_role_of(const poei_formula *formula, const poei_formula_node *node);
/* What argument k of a SPREAD node gets of its weight. */
double poei_formula_share(const poei_formula *formula, const poei_formula_node *node, size_t k, double weight);
/* list[*n]: the nodes that SPREAD nodes join to `top`, itself included, later ones first. seen[n_nodes]: 0 before and
 * after. */
void poei_formula_sweep(const poei_formula *formula, size_t top, unsigned char *seen, size_t *list, size_t *n);

#endif
