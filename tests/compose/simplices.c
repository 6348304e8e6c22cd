/* Experts on simplices for tests (see simplices.h). */
#include "tests/compose/simplices.h"

#include <math.h>

#include "compose/exact/numeric.h"
#include "compose/exact/simplices.h"
#include "core/quadrature.h"
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

/* A density over three numbers on the square: x = a, y = (1 - a) b, dx dy = (1 - a) da db. */
static poe_status on_square(void *context, size_t n, size_t d, const double *x, double *value, poe_error *error) {
  (void)error;
  for (size_t i = 0; i < n; i++) {
    double a = x[i * d], b = d == 2 ? x[i * d + 1] : 1.0;
    double point[3] = {a, d == 2 ? (1.0 - a) * b : 1.0 - a, (1.0 - a) * (1.0 - b)};
    value[i] = tree_value(context, point) + (d == 2 ? log1p(-a) : 0.0);
  }
  return POE_OK;
}

double simplex_integral(const poe_expert *expert, size_t free_dim) {
  static const double low[2] = {0.0, 0.0}, high[2] = {1.0, 1.0};
  poei_quadrature_result result = {0};
  poe_error error = {0};
  poe_expert *held = poe_expert_retain(expert);
  check_ok(poei_quadrature(on_square, held, free_dim, low, high, NULL, 1e-8, &result, &error), error);
  poe_expert_release(held);
  return result.log_integral;
}

double simplex_planned_integral(const poe_expert *expert) {
  poei_spots spots = {0};
  poe_expert *over = NULL;
  poe_error error = {0};
  double log_z = NAN, bound = NAN;
  bool converged = false;
  check_ok(poei_unstuck_create(expert, &over, &error), error);
  assert_int_equal(poe_expert_traits(over)->dim, poei_unstuck_dim(expert));
  check_ok(poei_spots_find(over, &spots, &error), error);
  check_ok(poei_integrate(over, &spots, 1e-9, &log_z, &bound, &converged, &error), error);
  assert_true(converged);
  poei_spots_free(&spots);
  poe_expert_release(over);
  return log_z;
}

const poe_support simplex_triangle[3] = {{.kind = POE_SIMPLEX, .low = 0.0, .high = 1.0},
                                         {.kind = POE_SIMPLEX_NEXT, .low = 0.0, .high = 1.0},
                                         {.kind = POE_SIMPLEX_NEXT, .low = 0.0, .high = 1.0}};
