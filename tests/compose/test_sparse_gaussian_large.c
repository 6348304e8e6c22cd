/* Sparse Gaussian algebra on large graphs: a chain of 10,000 against the Kalman filter and smoother (at 0 and around
 * 1e6), a 100 x 100 grid against the eigenvalues of its Laplacian, draws against exact moments. */
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

/* ---- a chain of 10,000 against the Kalman filter ---- */

typedef struct chain_answer {
  double log_z, *mean, *variance;
} chain_answer;

/* x_0 ~ N(0, s0), x_i ~ N(a x_{i-1} + b, s), y_i ~ N(x_i, r): filter, then Rauch-Tung-Striebel smoother. */
static chain_answer kalman(size_t n, double s0, double a, double b, double s, double r, const double *y) {
  double *m = poet_doubles(n), *v = poet_doubles(n), *pm = poet_doubles(n), *pv = poet_doubles(n), log_z = 0.0;
  for (size_t i = 0; i < n; i++) {
    pm[i] = i == 0 ? 0.0 : a * m[i - 1] + b;
    pv[i] = i == 0 ? s0 * s0 : a * a * v[i - 1] + s * s;
    double total = pv[i] + r * r, gain = pv[i] / total, e = y[i] - pm[i];
    log_z += -0.5 * log(2.0 * acos(-1.0) * total) - 0.5 * e * e / total;
    m[i] = pm[i] + gain * e;
    v[i] = gain * r * r;
  }
  for (size_t i = n - 1; i-- > 0;) {
    double back = a * v[i] / pv[i + 1];
    m[i] += back * (m[i + 1] - pm[i + 1]);
    v[i] += back * back * (v[i + 1] - pv[i + 1]);
  }
  free(pm), free(pv);
  return (chain_answer){log_z, m, v};
}

/* The numbers are multiples of 1/1024, so that moving everything by `shift` is exact and changes no answer. */
static void long_chain(double shift) {
  enum { N = 10000 };
  double *y = poet_doubles(N), s0 = 2.0, a = 1.0, b = 0.125, s = 0.5, r = 0.75;
  graph *g = graph_new(N);
  for (size_t i = 0; i < N; i++) {
    y[i] = floor(1024.0 * (0.125 * (double)i + uniform(9, i, -1.5, 1.5))) / 1024.0;
    graph_add(g, leaf_normal(shift + y[i], r), &i, 1.0); /* ten thousand different factors */
    if (i == 0) {
      graph_add(g, leaf_normal(shift, s0), &i, 1.0);
    } else {
      graph_add(g, leaf_linear(a, b, s), (size_t[]){i, i - 1}, 1.0);
    }
  }
  chain_answer expected = kalman(N, s0, a, b, s, r, y);
  poe_expert *product = graph_product(g);
  size_t fired;
  poe_expert *out = rewrite(product, true, &fired);
  assert_int_equal(fired, 1);
  double log_z, *variance = poet_doubles(N);
  poe_error error = {0};
  check_ok(poe_expert_log_z(out, &log_z, &error), error);
  check_close(log_z, expected.log_z, 1e-9, 1e-12);
  check_ok(poei_sparse_normal_variances(sparse(out), variance, &error), error);
  for (size_t i = 0; i < N; i++) { /* the mean itself is rounded to the coordinates' last bit */
    check_close(sparse(out)->mean[i] - shift, expected.mean[i], 1e-9 + 4e-16 * shift, 1e-12);
    check_close(variance[i], expected.variance[i], 0.0, 1e-11);
  }
  free(y), free(variance), free(expected.mean), free(expected.variance);
  poe_expert_release(product), poe_expert_release(out);
  graph_free(g);
}

static void chain_of_ten_thousand(void **state) {
  (void)state;
  long_chain(0.0);
  long_chain(1048576.0);
}

/* ---- a grid against eigenvalues ---- */

static void grid_of_ten_thousand(void **state) {
  (void)state;
  enum { SIDE = 100, N = SIDE * SIDE };
  double kappa = 0.05, pi = acos(-1.0), one = 1.0, none = 0.0, expected = 0.0;
  size_t *pairs = poei_alloc(4 * (size_t)N, sizeof *pairs), *every = poei_alloc(N, sizeof *every), m = 0;
  for (size_t i = 0; i < SIDE; i++) {
    for (size_t j = 0; j < SIDE; j++) {
      size_t at = i * SIDE + j;
      every[at] = at;
      if (j + 1 < SIDE) {
        pairs[2 * m] = at + 1;
        pairs[2 * m++ + 1] = at;
      }
      if (i + 1 < SIDE) {
        pairs[2 * m] = at + SIDE;
        pairs[2 * m++ + 1] = at;
      }
      expected -= 0.5 * log(kappa + 4.0 - 2.0 * cos(pi * (double)i / SIDE) - 2.0 * cos(pi * (double)j / SIDE));
    }
  }
  /* each pair and each node brings its own constant; the integral brings one per node */
  expected += 0.5 * (double)N * log(kappa) - 0.5 * (double)m * log(2.0 * pi);
  tree t = {0};
  const poe_expert *edges = tree_plate(&t, tree_linear(&t, 1, 1, &one, &none, 1.0), m, N, pairs);
  const poe_expert *nodes = tree_plate(&t, tree_normal(&t, 0.0, 1.0 / sqrt(kappa)), N, N, every);
  const poe_expert *field = tree_times(&t, edges, nodes);
  tree_check(&t);
  size_t fired;
  poe_expert *out = rewrite(field, true, &fired);
  double log_z;
  poe_error error = {0};
  check_ok(poe_expert_log_z(out, &log_z, &error), error);
  check_close(log_z, expected, 1e-9, 1e-12);
  /* the mean variance is the mean of the inverse eigenvalues: their sum is the trace */
  double *variance = poet_doubles(N), trace = 0.0, inverse = 0.0;
  check_ok(poei_sparse_normal_variances(sparse(out), variance, &error), error);
  for (size_t i = 0; i < N; i++) {
    trace += variance[i];
    double p = (double)(i / SIDE) / SIDE, q = (double)(i % SIDE) / SIDE;
    inverse += 1.0 / (kappa + 4.0 - 2.0 * cos(pi * p) - 2.0 * cos(pi * q));
  }
  check_close(trace, inverse, 0.0, 1e-10);
  struct rusage usage;
  assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  assert_true(usage.ru_maxrss < 400 * 1024); /* kilobytes; one dense matrix of the grid would be 800 megabytes */
#endif
  free(variance);
  poei_free(pairs), poei_free(every);
  poe_expert_release(out);
  tree_free(&t);
}

/* ---- draws ---- */

/* 3 D statistics (mean, variance, product of neighbours), each within 6 of its standard errors: false alarms are fewer
 * than 900 * 2e-9 = 2e-6 by the normal tail, which the sums of 20,000 squares follow closely enough. */
static void draws_have_the_moments(void **state) {
  (void)state;
  enum { D = 300, N = 20000 };
  graph *g = graph_new(D);
  for (size_t i = 0; i < D; i++) {
    graph_add(g, leaf_normal(uniform(3, i, -1.0, 1.0), 1.5), &i, 1.0);
    if (i > 0) {
      graph_add(g, leaf_linear(0.7, 0.2, 0.6), (size_t[]){i, (i - 1) / 2}, 1.0); /* a tree */
    }
  }
  poe_expert *product = graph_product(g);
  size_t fired;
  poe_expert *out = rewrite(product, false, &fired);
  const poei_sparse_normal *normal = sparse(out);
  double *variance = poet_doubles(D), *pair = poet_doubles(D), *column = poet_doubles(D), *work = poet_doubles(D);
  poe_error error = {0};
  check_ok(poei_sparse_normal_variances(normal, variance, &error), error);
  for (size_t i = 1; i < D; i++) { /* covariance with the parent, by solving for a column */
    memset(column, 0, D * sizeof *column);
    column[i] = 1.0;
    poei_sparse_solve(normal->factor, column, work);
    check_close(column[i], variance[i], 0.0, 1e-11);
    pair[i] = column[(i - 1) / 2];
  }
  double *x = poet_doubles((size_t)N * D);
  for (uint64_t seed = 1; seed <= 2; seed++) {
    assert_int_equal(poet_draw(out, seed, N, D, x), POE_OK);
    for (size_t j = 0; j < D; j++) {
      double sum = 0.0, square = 0.0, product_of = 0.0;
      size_t up = j == 0 ? 0 : (j - 1) / 2;
      for (size_t i = 0; i < N; i++) {
        double z = x[i * D + j] - normal->mean[j], p = x[i * D + up] - normal->mean[up];
        sum += z;
        square += z * z;
        product_of += z * p;
      }
      double v = variance[j], c = j == 0 ? v : pair[j], both = v * variance[up] + c * c;
      assert_true(fabs(sum / N) < 6.0 * sqrt(v / N));
      assert_true(fabs(square / N - v) < 6.0 * v * sqrt(2.0 / N));
      assert_true(fabs(product_of / N - c) < 6.0 * sqrt(both / N));
    }
  }
  free(x), free(variance), free(pair), free(column), free(work);
  poe_expert_release(product), poe_expert_release(out);
  graph_free(g);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(chain_of_ten_thousand),
      cmocka_unit_test(grid_of_ten_thousand),
      cmocka_unit_test(draws_have_the_moments),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
