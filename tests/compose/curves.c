#include "tests/compose/curves.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"

enum { MOST = 8 };

_Atomic size_t tree_curve_points;

typedef struct curve {
  size_t dim;
  const poe_support *support;
  tree_function f;
  bool gradient;
} curve;

static void curve_destroy(void *state) {
  free(state);
}

static void curve_traits(const void *state, poe_traits *traits) {
  const curve *self = state;
  *traits = (poe_traits){.dim = self->dim, .support = self->support};
  traits->capabilities = POE_CAN_EVAL | (self->gradient ? POE_CAN_GRADIENT : 0u);
}

static size_t curve_scratch(const void *state, unsigned want, size_t n) {
  (void)state;
  (void)want;
  (void)n;
  return 0;
}

static bool is_inside(const curve *self, const double *x) {
  for (size_t j = 0; j < self->dim; j++) {
    if (x[j] < self->support[j].low || x[j] > self->support[j].high) { /* NaN is the function's business */
      return false;
    }
  }
  return true;
}

static poe_status curve_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                 poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  const curve *self = state;
  tree_curve_points += rows.n;
  for (size_t i = 0; i < rows.n; i++) {
    const double *x = &rows.x[i * rows.ld];
    double grad[MOST] = {0}, w = weights.w[i * weights.inc];
    double value = is_inside(self, x) ? self->f(x, grad) : -INFINITY;
    poe_accum_value(&out.logp[i], w, value);
    for (size_t j = 0; out.grad != NULL && value > -INFINITY && j < self->dim; j++) {
      out.grad[i * out.ldg + j] += self->support[j].kind == POE_CONTINUOUS ? w * grad[j] : 0.0;
    }
  }
  return POE_OK;
}

static const poe_param no_params[] = {{0}};
static const poe_expert_ops curve_ops = {.struct_size = sizeof(poe_expert_ops),
                                         .kind = "curve",
                                         .doc = "a function of all coordinates",
                                         .params = no_params,
                                         .destroy = curve_destroy,
                                         .traits = curve_traits,
                                         .scratch = curve_scratch,
                                         .eval_add = curve_eval_add};

const poe_expert *tree_curve(tree *t, size_t dim, const poe_support *support, tree_function f, bool gradient) {
  assert_true(dim <= MOST);
  if (t->status != POE_OK) {
    return NULL;
  }
  curve *self = calloc(1, sizeof *self);
  poe_expert *made = NULL;
  assert_non_null(self);
  *self = (curve){dim, support, f, gradient};
  t->status = poe_expert_wrap(&curve_ops, self, &made, &t->error);
  if (t->status != POE_OK) {
    free(self);
    return NULL;
  }
  t->made[t->n++] = made;
  return made;
}
