/* Sparse Gaussian algebra: random graphs and every node against dense algebra written out here; where the rule must not
 * fire, improper products, failing memory. */
#include "compose/exact/rules.h"
#include "compose/exact/sparse_gaussian.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "experts/list.h"
#include "experts/sparse_normal.h"
#include "tests/compose/build.h"
#include "tests/compose/gaussian_graphs.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* ---- random graphs against dense algebra ---- */

/* log f = c + h.x - x'Px/2, by hand. */
typedef struct quadratic {
  size_t d;
  double c, *h, *p;
} quadratic;

/* Adds t log N(w.x; m, sd) over n coordinates. */
static void add_square(quadratic *q, double t, size_t n, const size_t *index, const double *w, double m, double sd) {
  double s = t / (sd * sd);
  q->c += t * (-0.5 * log(2.0 * acos(-1.0)) - log(sd)) - 0.5 * s * m * m;
  for (size_t i = 0; i < n; i++) {
    q->h[index[i]] += s * m * w[i];
    for (size_t j = 0; j < n; j++) {
      q->p[index[i] * q->d + index[j]] += s * w[i] * w[j];
    }
  }
}

/* log Z, mean and variances of a quadratic; h and p are overwritten. */
static double solve_dense(quadratic *q, double *mean, double *variance) {
  size_t d = q->d;
  memcpy(mean, q->h, d * sizeof *mean);
  assert_int_equal(poei_cholesky(d, q->p, q->p), 0);
  poei_solve_lower(d, q->p, 1, mean, d);
  poei_solve_lower_transposed(d, q->p, 1, mean, d);
  double z = q->c + 0.5 * (double)d * log(2.0 * acos(-1.0)) - poei_cholesky_half_log_det(d, q->p);
  for (size_t j = 0; j < d; j++) {
    z += 0.5 * q->h[j] * mean[j];
  }
  poei_cholesky_inverse(d, q->p, q->p);
  for (size_t j = 0; j < d; j++) {
    variance[j] = q->p[j * d + j];
  }
  return z;
}

/* Neighbours in a ring, random jumps, single coordinates; powers, a divisor that takes half of a factor away. */
static void random_graph(uint64_t seed) {
  size_t d = 200 + (size_t)uniform(seed, 1, 0.0, 100.0);
  graph *g = graph_new(d);
  quadratic q = {d, 0.0, poet_doubles(d), poet_doubles(d * d)};
  memset(q.h, 0, d * sizeof *q.h);
  memset(q.p, 0, d * d * sizeof *q.p);
  for (size_t i = 0; i < 2 * d; i++) {
    size_t from = i % d, jump = i < d ? 1 : 1 + (size_t)uniform(seed, 10 * i + 3, 0.0, (double)d - 2.0);
    size_t at[2] = {(from + jump) % d, from};
    if (i >= d && i % 7 != 0) {
      continue; /* few jumps: the factor stays sparse */
    }
    double a = uniform(seed, 10 * i + 4, -1.0, 1.0), b = uniform(seed, 10 * i + 5, -2.0, 2.0);
    double sd = uniform(seed, 10 * i + 6, 0.3, 2.0), t = i % 3 == 0 ? 1.7 : 1.0;
    graph_add(g, leaf_linear(a, b, sd), at, t);
    add_square(&q, t, 2, at, (double[]){1.0, -a}, b, sd);
    if (i % 5 == 0) {
      graph_add(g, poe_expert_retain(g->expert[g->n - 1]), at, -0.5);
      add_square(&q, -0.5, 2, at, (double[]){1.0, -a}, b, sd);
    }
    if (i < d) {
      double m = uniform(seed, 10 * i + 7, -3.0, 3.0), own = uniform(seed, 10 * i + 8, 0.5, 3.0);
      graph_add(g, leaf_normal(m, own), at, 1.0);
      add_square(&q, 1.0, 1, at, (double[]){1.0}, m, own);
    }
  }
  poe_expert *product = graph_product(g);
  size_t fired;
  poe_expert *out = rewrite(product, false, &fired);
  assert_int_equal(fired, 1);
  const poei_sparse_normal *normal = sparse(out);
  double *mean = poet_doubles(d), *variance = poet_doubles(d), *own = poet_doubles(d), log_z;
  poe_error error = {0};
  double expected = solve_dense(&q, mean, variance);
  check_ok(poe_expert_log_z(out, &log_z, &error), error);
  check_close(log_z, expected, 1e-9, 0.0);
  check_ok(poei_sparse_normal_variances(normal, own, &error), error);
  for (size_t j = 0; j < d; j++) {
    check_close(normal->mean[j], mean[j], 1e-10, 1e-10);
    check_close(own[j], variance[j], 0.0, 1e-10);
  }
  same_density(product, out, 0.0, 1e-11);
  free(mean), free(variance), free(own), free(q.h), free(q.p);
  poe_expert_release(product);
  poe_expert_release(out);
  graph_free(g);
}

static void random_graphs(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 12; seed++) {
    random_graph(seed);
  }
}

/* ---- every node ---- */

/* A chain as a plate, a prior, observations with clamped outcomes (given inside the product), a power of the product, a
 * constant, all in a larger space; against the same factors listed one by one, with the outcomes put in. */
static void all_nodes(void **state) {
  (void)state;
  enum { D = 230 };
  tree t = {0};
  size_t *pairs = poei_alloc(2 * (size_t)D, sizeof *pairs), *where = poei_alloc(D, sizeof *where);
  double a = 0.8, b = 0.25, one = 1.0, none = 0.0;
  for (size_t i = 0; i + 1 < D; i++) {
    pairs[2 * i] = i + 1;
    pairs[2 * i + 1] = i;
  }
  const poe_expert *step = tree_linear(&t, 1, 1, &a, &b, 0.5), *normal = tree_normal(&t, 1.0, 2.0);
  const poe_expert *chain = tree_plate(&t, step, D - 1, D, pairs);
  const poe_expert *prior = tree_at(&t, normal, D, 0);
  const poe_expert *noisy = tree_linear(&t, 1, 1, &one, &none, 0.3); /* p(y | x) */
  const poe_expert *seen = tree_at(&t, tree_given(&t, noisy, 1, (size_t[]){0}, (double[]){2.5}), D, 40);
  const poe_expert *inner =
      tree_product(&t, D, 3, (const poe_expert *[]){chain, prior, seen}, (double[]){1.0, 1.0, 1.0});
  const poe_expert *half = tree_power(&t, tree_normalise(&t, inner, -0.75, 0.0), 0.5);
  for (size_t j = 0; j < D; j++) {
    where[j] = D - 1 - j;
  }
  const poe_expert *placed = tree_slice(&t, half, D, where);
  tree_check(&t);
  size_t fired;
  poe_expert *out = rewrite(placed, true, &fired);
  assert_true(fired > 0);
  graph *g = graph_new(D);
  for (size_t i = 0; i + 1 < D; i++) {
    graph_add(g, leaf_linear(a, b, 0.5), (size_t[]){D - 2 - i, D - 1 - i}, 0.5);
  }
  graph_add(g, leaf_normal(1.0, 2.0), (size_t[]){D - 1}, 0.5);
  graph_add(g, leaf_normal(2.5, 0.3), (size_t[]){D - 41}, 0.5); /* N(2.5; x, .) is N(x; 2.5, .) */
  poe_expert *flat = graph_product(g), *listed = rewrite(flat, true, &fired);
  double one_z, other_z;
  poe_error error = {0};
  check_ok(poe_expert_log_z(out, &one_z, &error), error);
  check_ok(poe_expert_log_z(listed, &other_z, &error), error);
  check_close(one_z, other_z + 0.5 * 0.75, 1e-9, 0.0);
  same_density(placed, out, 0.0, 1e-11);
  poe_expert_release(out), poe_expert_release(flat), poe_expert_release(listed);
  graph_free(g);
  poei_free(pairs), poei_free(where);
  tree_free(&t);
}

/* Conditioning a large joint on half of its coordinates. */
static void clamped(void **state) {
  (void)state;
  enum { D = 250 };
  graph *g = graph_new((size_t)2 * D), *h = graph_new(D);
  size_t index[D];
  double value[D];
  for (size_t i = 0; i < D; i++) {
    double y = uniform(5, i, -2.0, 2.0);
    if (i == 0) {
      graph_add(g, leaf_normal(0.0, 1.0), (size_t[]){0}, 1.0);
      graph_add(h, leaf_normal(0.0, 1.0), (size_t[]){0}, 1.0);
    } else {
      graph_add(g, leaf_linear(0.9, 0.1, 0.5), (size_t[]){i, i - 1}, 1.0);
      graph_add(h, leaf_linear(0.9, 0.1, 0.5), (size_t[]){i, i - 1}, 1.0);
    }
    graph_add(g, leaf_linear(1.0, 0.0, 0.4), (size_t[]){D + i, i}, 1.0);
    graph_add(h, leaf_normal(y, 0.4), (size_t[]){i}, 1.0);
    index[i] = D + i;
    value[i] = y;
  }
  poe_expert *joint = graph_product(g), *given = NULL, *posterior = graph_product(h);
  poe_error error = {0};
  check_ok(poei_given_create(joint, D, index, value, &given, &error), error);
  for (int all = 0; all <= 1; all++) {
    size_t fired;
    poe_expert *a = rewrite(given, all == 1, &fired), *b = rewrite(posterior, all == 1, &fired);
    double one, other;
    sparse(a);
    check_ok(poe_expert_log_z(a, &one, &error), error);
    check_ok(poe_expert_log_z(b, &other, &error), error);
    check_close(one, other, 1e-9, 0.0);
    same_density(given, a, 0.0, 1e-11);
    poe_expert_release(a), poe_expert_release(b);
  }
  poe_expert_release(joint), poe_expert_release(given), poe_expert_release(posterior);
  graph_free(g), graph_free(h);
}

/* ---- beside other factors ---- */

/* Two chains of 210; a ring over two coordinates of the second. */
static void groups(void **state) {
  (void)state;
  enum { HALF = 210 };
  tree t = {0};
  const poe_expert *ring = tree_ring(&t, 1.0, 0.5);
  tree_check(&t);
  graph *g = graph_new((size_t)2 * HALF);
  for (size_t i = 0; i < (size_t)2 * HALF; i++) {
    graph_add(g, leaf_normal(0.5, 1.0), &i, 1.0);
    if (i % HALF > 0) {
      graph_add(g, leaf_linear(0.5, 0.0, 1.0), (size_t[]){i, i - 1}, 1.0);
    }
  }
  poe_expert *apart = graph_product(g);
  size_t fired;
  poe_expert *one = rewrite(apart, false, &fired); /* nobody else: both become one */
  assert_int_equal(sparse(one)->d, 2 * HALF);
  graph_add(g, poe_expert_retain(ring), (size_t[]){HALF + 3, HALF + 9}, 1.0);
  poe_expert *mixed = graph_product(g), *two = rewrite(mixed, false, &fired);
  assert_int_equal(fired, 1);
  assert_int_equal(poei_node_child_count(two), 3);
  assert_ptr_equal(poei_node_child(two, 0), ring);
  assert_int_equal(sparse(poei_node_child(two, 1))->d, HALF);
  assert_int_equal(sparse(poei_node_child(two, 2))->d, HALF);
  same_density(mixed, two, 0.0, 1e-11);
  poe_expert_release(apart), poe_expert_release(one), poe_expert_release(mixed), poe_expert_release(two);
  graph_free(g);
  tree_free(&t);
}

/* A divisor that makes the whole improper is left out; what remains can be drawn from. */
static void divisors(void **state) {
  (void)state;
  enum { D = 220 };
  graph *g = graph_new(D);
  for (size_t i = 0; i < D; i++) {
    graph_add(g, leaf_normal(0.0, 1.0), &i, 1.0);
    if (i > 0) {
      graph_add(g, leaf_linear(0.5, 0.0, 1.0), (size_t[]){i, i - 1}, 1.0);
    }
  }
  graph_add(g, leaf_normal(0.0, 0.1), (size_t[]){7}, -1.0);
  poe_expert *product = graph_product(g);
  size_t fired;
  poe_expert *out = rewrite(product, false, &fired);
  assert_int_equal(poei_node_child_count(out), 2);
  assert_true(poei_product_exponent(out, 0) == -1.0);
  sparse(poei_node_child(out, 1));
  same_density(product, out, 0.0, 1e-11);
  poe_expert_release(product), poe_expert_release(out);
  graph_free(g);
}

static void silent(const poe_expert *expert) {
  size_t fired;
  poe_expert *out = rewrite(expert, false, &fired);
  assert_int_equal(fired, 0);
  assert_ptr_equal(out, expert);
  poe_expert_release(out);
}

/* Small spaces, dense couplings, factors with mixtures in a space for dense forms, no Gaussians. */
static void where_it_stays_silent(void **state) {
  (void)state;
  enum { D = 210 };
  tree t = {0};
  const poe_expert *gmm = tree_gmm(&t, 2, 1, (double[]){0.5, 0.5}, (double[]){-1.0, 1.0}, (double[]){0.3, 0.4});
  const poe_expert *student = tree_student(&t, 4.0, 0.0, 1.0);
  tree_check(&t);
  for (int kind = 0; kind < 4; kind++) {
    size_t d = kind == 0 ? 100 : D;
    graph *g = graph_new(d);
    for (size_t i = 0; i < d; i++) {
      graph_add(g, kind == 3 ? poe_expert_retain(student) : leaf_normal(0.0, 1.0), &i, 1.0);
      if (i > 0 && kind != 3) {
        graph_add(g, leaf_linear(0.5, 0.0, 1.0), (size_t[]){i, i - 1}, 1.0);
      }
      for (size_t j = 0; kind == 1 && j < i; j++) {
        graph_add(g, leaf_linear(0.01, 0.0, 1.0), (size_t[]){i, j}, 1.0);
      }
    }
    if (kind == 2) {
      graph_add(g, poe_expert_retain(gmm), (size_t[]){5}, 1.0);
    }
    poe_expert *product = graph_product(g);
    silent(product);
    poe_expert_release(product);
    graph_free(g);
  }
  tree_free(&t);
}

/* A walk that nobody holds: along its constants nothing falls. */
static void improper(void **state) {
  (void)state;
  enum { D = 3000 };
  graph *g = graph_new(D);
  for (size_t i = 1; i < D; i++) {
    graph_add(g, leaf_linear(1.0, 0.5, 0.3), (size_t[]){i, i - 1}, 1.0);
  }
  poe_expert *product = graph_product(g);
  poei_plan *plan = NULL;
  poe_error error = {0};
  check_fails(poei_plan_build(product, NULL, &plan, &error), POE_E_IMPROPER, error,
              "not positive along 0.018*(coordinate");
  poe_expert_release(product);
  graph_free(g);
}

static void failing_memory(void **state) {
  (void)state;
  enum { D = 204 };
  graph *g = graph_new(D);
  for (size_t i = 0; i < D; i++) {
    graph_add(g, leaf_normal(0.0, 1.0), &i, 1.0);
    if (i == 1) {
      poe_expert *step = leaf_linear(0.5, 0.0, 1.0);
      for (size_t k = 1; k < D; k++) {
        graph_add(g, poe_expert_retain(step), (size_t[]){k, k - 1}, 1.0);
      }
      poe_expert_release(step);
    }
  }
  poe_expert *product = graph_product(g);
  poei_plan_options options;
  poei_plan_options_default(&options);
  bool done = false;
  uint64_t at = 1;
  for (; !done; at += at < 40 ? 1 : 37) { /* each of the first, then every 37th of some thousand */
    poei_fired list = {0};
    poe_expert *out = NULL;
    poe_error error = {0};
    poei_alloc_fail_at(at);
    poe_status status = poei_rewrite(product, &options, "sparse gaussian algebra", &list, &out, &error);
    poei_alloc_fail_at(0);
    done = status == POE_OK;
    assert_true(done || (status == POE_E_MEMORY && out == NULL));
    poe_expert_release(out);
    poei_fired_free(&list);
  }
  assert_true(at > 300);
  poe_expert_release(product);
  graph_free(g);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_graphs), cmocka_unit_test(all_nodes),      cmocka_unit_test(clamped),
      cmocka_unit_test(groups),        cmocka_unit_test(divisors),       cmocka_unit_test(where_it_stays_silent),
      cmocka_unit_test(improper),      cmocka_unit_test(failing_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
