/* Products of many small Gaussians (see gaussian_graphs.h). */
#include "tests/compose/gaussian_graphs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/rules.h"
#include "core/alloc.h"
#include "experts/list.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

graph *graph_new(size_t dim) {
  graph *g = calloc(1, sizeof *g);
  assert_non_null(g);
  g->dim = dim;
  return g;
}

void graph_free(graph *g) {
  for (size_t i = 0; i < g->n; i++) {
    poe_expert_release(g->expert[i]);
  }
  free(g);
}

/* Takes over the expert. */
void graph_add(graph *g, poe_expert *expert, const size_t *index, double exponent) {
  size_t n = poe_expert_traits(expert)->dim;
  assert_true(g->n < MOST && g->used + n <= sizeof g->room / sizeof *g->room);
  memcpy(g->room + g->used, index, n * sizeof *index);
  g->index[g->n] = g->room + g->used;
  g->used += n;
  g->exponent[g->n] = exponent;
  g->expert[g->n++] = expert;
}

poe_expert *graph_product(const graph *g) {
  poe_expert *out = NULL;
  poe_error error = {0};
  check_ok(poei_product_create_scoped(g->dim, g->n, (const poe_expert *const *)g->expert, g->index, g->exponent, &out,
                                      &error),
           error);
  return out;
}

poe_expert *leaf_normal(double mean, double sd) {
  poet_args a;
  poe_expert *out = NULL;
  poe_error error = {0};
  poet_args_start(&a, "gaussian");
  poet_args_real_variable(&a, "x", 1);
  poet_args_scalar(&a, "mean", &mean);
  poet_args_scalar(&a, "sd", &sd);
  check_ok(poe_expert_create(&poei_gaussian_ops, &a.args, &out, &error), error);
  return out;
}

/* p(y | x) = N(y; a x + b, sd) */
poe_expert *leaf_linear(double a, double b, double sd) {
  poet_args args;
  poe_expert *out = NULL;
  poe_error error = {0};
  poet_args_start(&args, "linear_gaussian");
  poet_args_real_variable(&args, "y", 1);
  poet_args_real_variable(&args, "x", 1);
  poet_args_scalar(&args, "A", &a);
  poet_args_scalar(&args, "b", &b);
  poet_args_scalar(&args, "sd", &sd);
  check_ok(poe_expert_create(&poei_linear_gaussian_ops, &args.args, &out, &error), error);
  return out;
}

/* Rewrites by the rule alone (all: by every rule); how often it fired. */
poe_expert *rewrite(const poe_expert *expert, bool all, size_t *fired) {
  poei_plan_options options;
  poei_plan_options_default(&options);
  poei_fired list = {0};
  poe_expert *out = NULL;
  poe_error error = {0};
  check_ok(poei_rewrite(expert, &options, all ? NULL : "sparse gaussian algebra", &list, &out, &error), error);
  *fired = list.n;
  poei_fired_free(&list);
  return out;
}

const poei_sparse_normal *sparse(const poe_expert *expert) {
  const poei_sparse_normal *normal = poei_sparse_normal_of(expert);
  assert_non_null(normal);
  return normal;
}

/* Values and gradients at points around `centre`, to a relative `tolerance` of the largest. */
void same_density(const poe_expert *a, const poe_expert *b, double centre, double tolerance) {
  enum { N = 24 };
  size_t d = poe_expert_traits(a)->dim;
  double *x = poet_doubles(N * d), *va = poet_doubles(N), *vb = poet_doubles(N), *ga = poet_doubles(N * d),
         *gb = poet_doubles(N * d);
  poet_points_normal(N, d, x);
  for (size_t i = 0; i < N * d; i++) {
    x[i] = centre + 2.0 * x[i];
  }
  assert_int_equal(poet_eval(a, N, d, x, va, ga), POE_OK);
  assert_int_equal(poet_eval(b, N, d, x, vb, gb), POE_OK);
  for (size_t i = 0; i < N; i++) {
    check_close(va[i], vb[i], 0.0, tolerance);
    for (size_t j = 0; j < d; j++) {
      check_close(ga[i * d + j], gb[i * d + j], 100.0 * tolerance, 100.0 * tolerance);
    }
  }
  free(x), free(va), free(vb), free(ga), free(gb);
}

double uniform(uint64_t seed, size_t i, double low, double high) {
  return poet_spread(seed * 1000003 + i, 17, low, high);
}
