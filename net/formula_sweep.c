/* Formulas as linear combinations of their nodes (formula_sweep.h). */
#include "net/formula_sweep.h"

#include <stdlib.h>

/* Two nodes that are the square of something affine when they are multiplied: |a| |a|, norm(a) norm(a). */
static bool squares_itself(const poei_formula *formula, const poei_formula_node *node) {
  const poei_formula_node *one = poei_formula_argument(formula, node, 0);
  return one == poei_formula_argument(formula, node, 1) && one->kind == POEI_FORMULA_APPLY &&
         (one->op == POEI_FORMULA_NORM || one->op == POEI_FORMULA_ABS);
}

poei_formula_role poei_formula_role_of(const poei_formula *formula, const poei_formula_node *node) {
  if (!node->varies) {
    return node->kind == POEI_FORMULA_CONSTANT ? POEI_ROLE_CONSTANT : POEI_ROLE_OTHER;
  }
  if (node->kind == POEI_FORMULA_COORDINATE) {
    return POEI_ROLE_COORDINATE;
  }
  switch (node->op) {
  case POEI_FORMULA_ADD:
  case POEI_FORMULA_SUB:
  case POEI_FORMULA_NEG:
  case POEI_FORMULA_SUM:
    return POEI_ROLE_SPREAD;
  case POEI_FORMULA_DIV:
    return poei_formula_argument(formula, node, 1)->kind == POEI_FORMULA_CONSTANT ? POEI_ROLE_SPREAD : POEI_ROLE_OTHER;
  case POEI_FORMULA_MUL:
    if (!poei_formula_argument(formula, node, 0)->varies || !poei_formula_argument(formula, node, 1)->varies) {
      return POEI_ROLE_SPREAD;
    }
    return squares_itself(formula, node) ? POEI_ROLE_SQUARES : POEI_ROLE_PRODUCT;
  default:
    return POEI_ROLE_OTHER;
  }
}

double poei_formula_share(const poei_formula *formula, const poei_formula_node *node, size_t k, double weight) {
  switch (node->op) {
  case POEI_FORMULA_SUB:
    return k == 1 ? -weight : weight;
  case POEI_FORMULA_NEG:
    return -weight;
  case POEI_FORMULA_DIV: /* the divisor is a constant, and gets nothing */
    return k == 1 ? 0.0 : weight / poei_formula_argument(formula, node, 1)->constant;
  case POEI_FORMULA_MUL: { /* the constant is visited as well: with weight 0 */
    const poei_formula_node *other = poei_formula_argument(formula, node, 1 - k);
    return other->varies ? 0.0 : weight * other->constant;
  }
  default:
    return weight;
  }
}

static int compare_down(const void *a, const void *b) {
  size_t x = *(const size_t *)a, y = *(const size_t *)b;
  return (x < y) - (x > y);
}

void poei_formula_sweep(const poei_formula *formula, size_t top, unsigned char *seen, size_t *list, size_t *n) {
  size_t done = 0;
  *n = 0;
  list[(*n)++] = top;
  seen[top] = 1;
  while (done < *n) {
    const poei_formula_node *node = &formula->nodes[list[done++]];
    for (size_t k = 0; poei_formula_role_of(formula, node) == POEI_ROLE_SPREAD && k < node->n_args; k++) {
      size_t next = (size_t)formula->args[node->first + k];
      if (!seen[next]) {
        seen[next] = 1;
        list[(*n)++] = next;
      }
    }
  }
  qsort(list, *n, sizeof *list, compare_down);
  for (size_t i = 0; i < *n; i++) {
    seen[list[i]] = 0;
  }
}
