/* Experts on simplices for tests (see simplices.h). */
#include "tests/compose/simplices.h"

#include "experts/dirichlet.h"
#include "tests/support/check.h"

static const poe_expert *keep(tree *t, poe_expert *made) {
  if (made != NULL) {
    assert_true(t->n < TREE_MAX);
    t->made[t->n++] = made;
  }
  return made;
}

const poe_expert *tree_dirichlet(tree *t, size_t n, size_t k, const double *alpha) {
  poe_expert *made = NULL;
  if (t->status == POE_OK) {
    t->status = poei_dirichlet_create(n, k, alpha, &made, &t->error);
  }
  return keep(t, made);
}

const poe_expert *tree_simplex(tree *t, const poe_expert *child, const poe_support *support) {
  poe_expert *made = NULL;
  if (t->status == POE_OK) {
    t->status = poei_simplex_create(child, support, &made, &t->error);
  }
  return keep(t, made);
}
