/* Sparse Gaussian algebra: random graphs against dense algebra written out here, a chain of 10,000 against the Kalman
 * filter and smoother (at 0 and around 1e6), a 100 x 100 grid against the eigenvalues of its Laplacian, draws against
 * exact moments; where the rule must not fire, improper products, failing memory.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "compose/exact/rules.h"
#include "compose/exact/sparse_gaussian.h"
#include "core/alloc.h"
#include "core/linalg.h"
#include "experts/list.h"
#include "experts/sparse_normal.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

/* ---- products of many factors ---- */

enum { MOST = 32768 };

/* A product under construction; the experts are released with it. */
typedef struct graph {
  size_t dim, n, used;
  poe_expert *expert[MOST];
  const size_t *index[MOST];
  double exponent[MOST];
  size_t room[4 * MOST];
} graph;

static graph *graph_new(size_t dim) {
  graph *g = calloc(1, sizeof *g);
  assert_non_null(g);
  g->dim = dim;
  return g;
}

static void graph_free(graph *g) {
  for (size_t i = 0; i < g->n; i++) {
    poe_expert_release(g->expert[i]);
  }
  free(g);
}

/* Takes over the expert. */
static void graph_add(graph *g, poe_expert *expert, const size_t *index, double exponent) {
  size_t n = poe_expert_traits(expert)->dim;
  assert_true(g->n < MOST && g->used + n <= sizeof g->room / sizeof *g->room);
  memcpy(g->room + g->used, index, n * sizeof *index);
  g->index[g->n] = g->room + g->used;
  g->used += n;
  g->exponent[g->n] = exponent;
  g->expert[g->n++] = expert;
}

static poe_expert *graph_product(const graph *g) {
  poe_expert *out = NULL;
  poe_error error = {0};
  check_ok(poei_product_create_scoped(g->dim, g->n, (const poe_expert *const *)g->expert, g->index, g->exponent, &out,
                                      &error),
           error);
  return out;
}

static poe_expert *leaf_normal(double mean, double sd) {
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
static poe_expert *leaf_linear(double a, double b, double sd) {
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
static poe_expert *rewrite(const poe_expert *expert, bool all, size_t *fired) {
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

static const poei_sparse_normal *sparse(const poe_expert *expert) {
  const poei_sparse_normal *normal = poei_sparse_normal_of(expert);
  assert_non_null(normal);
  return normal;
}

/* Values and gradients at points around `centre`, to a relative `tolerance` of the largest. */
static void same_density(const poe_expert *a, const poe_expert *b, double centre, double tolerance) {
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

static double uniform(uint64_t seed, size_t i, double low, double high) {
  return poet_spread(seed * 1000003 + i, 17, low, high);
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
      cmocka_unit_test(random_graphs),
      cmocka_unit_test(all_nodes),
      cmocka_unit_test(clamped),
      cmocka_unit_test(chain_of_ten_thousand),
      cmocka_unit_test(grid_of_ten_thousand),
      cmocka_unit_test(draws_have_the_moments),
      cmocka_unit_test(groups),
      cmocka_unit_test(divisors),
      cmocka_unit_test(where_it_stays_silent),
      cmocka_unit_test(improper),
      cmocka_unit_test(failing_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
