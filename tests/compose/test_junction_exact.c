/* The junction tree on graphs too large for brute force, against what is known otherwise: Kaufman's partition function
 * of the periodic Ising model, transfer matrices, the forward and backward recursions of chains, colourings of trees.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/junction.h"
#include "core/numerics.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

static poei_field *graph_new(size_t n, size_t cardinality) {
  poei_field *graph = NULL;
  poe_error error = {0};
  size_t variable;
  check_ok(poei_field_create(&graph, &error), error);
  for (size_t i = 0; i < n; i++) {
    check_ok(poei_field_variable(graph, cardinality, &variable, &error), error);
  }
  return graph;
}

static void pair(poei_field *graph, size_t a, size_t b, const double *log_value) {
  poe_error error = {0};
  check_ok(poei_field_add(graph, 2, (size_t[]){a, b}, log_value, &error), error);
}

static poei_junction *solve(const poei_field *graph, poei_junction_goal goal) {
  poei_junction_options options = {goal, (size_t)1 << 30, NULL};
  poei_junction *junction = NULL;
  poe_error error = {0};
  check_ok(poei_junction_create(graph, &options, &junction, &error), error);
  check_ok(poei_junction_run(junction, &error), error);
  return junction;
}

static double log_z_of(const poei_field *graph) {
  poei_junction *junction = solve(graph, POEI_JUNCTION_LOG_Z);
  double log_z = poei_junction_log_z(junction);
  poei_junction_destroy(junction);
  return log_z;
}

/* ---- Ising ---- */

static poei_field *ising(size_t rows, size_t columns, double k, bool periodic) {
  poei_field *graph = graph_new(rows * columns, 2);
  double table[4] = {k, -k, -k, k};
  for (size_t i = 0; i < rows; i++) {
    for (size_t j = 0; j < columns; j++) {
      if (j + 1 < columns || periodic) {
        pair(graph, i * columns + j, i * columns + (j + 1) % columns, table);
      }
      if (i + 1 < rows || periodic) {
        pair(graph, i * columns + j, (i + 1) % rows * columns + j, table);
      }
    }
  }
  return graph;
}

/* log Z of the n x m torus with K = beta J (Kaufman 1949, equation 1.62; Ferdinand and Fisher 1969, equation 2.2):
 * Z = (2 sinh 2K)^(nm/2) / 2 (prod 2 cosh(m g_{2r+1}/2) + prod 2 sinh(..) + prod 2 cosh(m g_{2r}/2) + prod 2 sinh(..)),
 * cosh g_l = cosh 2K coth 2K - cos(l pi / n), g_0 = 2K + log tanh K. */
static double kaufman(size_t n, size_t m, double k) {
  double term[4] = {0.0, 0.0, 0.0, 0.0}, sign = 1.0, top = -INFINITY, sum = 0.0;
  for (size_t l = 0; l < 2 * n; l++) {
    double a = cosh(2.0 * k) / tanh(2.0 * k) - cos((double)l * acos(-1.0) / (double)n);
    double g = l == 0 ? 2.0 * k + log(tanh(k)) : acosh(a), half = 0.5 * (double)m * fabs(g);
    size_t at = l % 2 == 1 ? 0 : 2;
    term[at] += half + log1p(exp(-2.0 * half));
    term[at + 1] += half + log(-expm1(-2.0 * half));
    sign = l == 0 && g < 0.0 ? -1.0 : sign;
  }
  for (size_t i = 0; i < 4; i++) {
    top = fmax(top, term[i]);
  }
  for (size_t i = 0; i < 4; i++) {
    sum += (i == 3 ? sign : 1.0) * exp(term[i] - top);
  }
  double log_sinh = 2.0 * k + log(-expm1(-4.0 * k)); /* of 2 sinh 2K */
  return 0.5 * (double)(n * m) * log_sinh - log(2.0) + top + log(sum);
}

static const double critical = 0.44068679350977151262; /* log(1 + sqrt 2) / 2 */

static void torus(void **state) {
  (void)state;
  static const struct {
    size_t n, m;
    double k;
  } cases[] = {{3, 4, 0.3},        {4, 3, 0.7},   {5, 5, critical}, {8, 8, 0.1}, {8, 8, critical},
               {10, 10, critical}, {10, 10, 0.6}, {9, 9, 3.0},      {6, 7, 40.0}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    poei_field *graph = ising(cases[i].n, cases[i].m, cases[i].k, true);
    check_close(log_z_of(graph), kaufman(cases[i].n, cases[i].m, cases[i].k), 1e-9, 1e-13);
    poei_field_destroy(graph);
  }
}

/* Draws of the critical 10 x 10 torus: their mean energy against -d log Z / dK, each draw's energy within 4.9 standard
 * deviations of its mean (variance d2 log Z / dK2), false alarm 1e-6; marginals are 1/2; the ground state has all spins
 * equal, and the first excited ones one spin turned. */
static void critical_torus(void **state) {
  (void)state;
  enum { DRAWS = 4000, SIDE = 10 };
  poei_field *graph = ising(SIDE, SIDE, critical, true);
  poei_junction *junction = solve(graph, POEI_JUNCTION_DRAWS);
  poe_error error = {0};
  double p[2 * SIDE * SIDE], total = 0.0, h = 1e-3;
  check_ok(poei_junction_marginals(junction, p, &error), error);
  for (size_t i = 0; i < 2 * SIDE * SIDE; i++) {
    check_close(p[i], 0.5, 1e-11, 0.0);
  }
  poe_scratch *scratch = poe_scratch_create(poei_junction_draw_scratch(junction));
  for (uint32_t d = 0; d < DRAWS; d++) {
    size_t x[SIDE * SIDE];
    poe_rng at = poe_rng_seed(11);
    at.chain = d;
    poei_junction_draw(junction, at, x, scratch);
    total += poei_field_log_value(graph, x) / critical;
  }
  double mean = (kaufman(SIDE, SIDE, critical + h) - kaufman(SIDE, SIDE, critical - h)) / (2.0 * h);
  double variance =
      (kaufman(SIDE, SIDE, critical + h) - 2.0 * kaufman(SIDE, SIDE, critical) + kaufman(SIDE, SIDE, critical - h)) /
      (h * h);
  check_close(total / DRAWS, mean, 4.9 * sqrt(variance / DRAWS) + 1e-3, 0.0);
  poe_scratch_destroy(scratch);
  poei_junction_destroy(junction);
  junction = solve(graph, POEI_JUNCTION_BEST);
  size_t x[3 * SIDE * SIDE], found;
  double best[3];
  check_ok(poei_junction_best(junction, 3, &found, x, best, &error), error);
  assert_int_equal(found, 3);
  check_close(best[0], 200.0 * critical, 1e-11, 0.0);
  check_close(best[1], 200.0 * critical, 1e-11, 0.0);
  check_close(best[2], 192.0 * critical, 1e-11, 0.0);
  poei_junction_destroy(junction);
  poei_field_destroy(graph);
}

/* Site by site through a grid of `columns` columns: log Z by a transfer over the states of the last `columns` sites. */
static double transfer(size_t rows, size_t columns, double k) {
  size_t states = (size_t)1 << columns;
  double *now = poet_doubles(states), *next = poet_doubles(states), log_scale = 0.0;
  for (size_t s = 0; s < states; s++) {
    now[s] = 1.0;
  }
  for (size_t i = 0; i < rows; i++) { /* bit j: the newest site of column j */
    for (size_t j = 0; j < columns; j++) {
      double top = 0.0;
      for (size_t s = 0; s < states; s++) {
        next[s] = 0.0;
        int spin = s >> j & 1 ? 1 : -1, left = j > 0 ? (s >> (j - 1) & 1 ? 1 : -1) : 0;
        for (int up = 0; up <= 1; up++) {
          size_t before = (s & ~((size_t)1 << j)) | ((size_t)up << j);
          double energy = k * (double)(spin * left) + (i > 0 ? k * (double)(spin * (up ? 1 : -1)) : 0.0);
          next[s] += (i > 0 || up == 0) ? exp(energy) * now[before] : 0.0;
        }
        top = fmax(top, next[s]);
      }
      log_scale += log(top);
      for (size_t s = 0; s < states; s++) {
        next[s] /= top;
      }
      double *swap = now;
      now = next;
      next = swap;
    }
  }
  double sum = poei_sum(now, states);
  free(now);
  free(next);
  return log_scale + log(sum);
}

static void open_grids(void **state) {
  (void)state;
  static const size_t shape[][2] = {{3, 4}, {30, 6}, {12, 12}, {30, 12}};
  for (size_t i = 0; i < sizeof shape / sizeof shape[0]; i++) {
    poei_field *graph = ising(shape[i][0], shape[i][1], 0.47, false);
    double expected = transfer(shape[i][0], shape[i][1] < 12 ? shape[i][1] : 12, 0.47);
    check_close(log_z_of(graph), expected, 1e-9, 1e-12);
    poei_field_destroy(graph);
  }
}

/* ---- chains ---- */

/* Forward and backward recursions of a chain with its own tables: marginals and log Z. */
static void chains(void **state) {
  (void)state;
  enum { N = 4000, K = 3 };
  poe_stream stream = poe_stream_open(poe_rng_seed(3));
  double *table = poet_doubles(N * K * K), *forward = poet_doubles(N * K), *backward = poet_doubles(N * K);
  double *p = poet_doubles(N * K), log_z = 0.0;
  poei_field *graph = graph_new(N, K);
  for (size_t i = 0; i + 1 < N; i++) {
    for (size_t a = 0; a < K * K; a++) {
      table[i * K * K + a] = 3.0 * poe_stream_normal(&stream);
    }
    pair(graph, i, i + 1, &table[i * K * K]);
  }
  for (size_t a = 0; a < K; a++) {
    forward[a] = backward[(N - 1) * K + a] = 1.0;
  }
  for (size_t i = 1; i < N; i++) {
    double sum = 0.0;
    for (size_t b = 0; b < K; b++) {
      forward[i * K + b] = 0.0;
      for (size_t a = 0; a < K; a++) {
        forward[i * K + b] += forward[(i - 1) * K + a] * exp(table[(i - 1) * K * K + a * K + b]);
      }
      sum += forward[i * K + b];
    }
    log_z += log(sum);
    for (size_t b = 0; b < K; b++) {
      forward[i * K + b] /= sum;
    }
  }
  for (size_t i = N - 1; i-- > 0;) {
    double sum = 0.0;
    for (size_t a = 0; a < K; a++) {
      backward[i * K + a] = 0.0;
      for (size_t b = 0; b < K; b++) {
        backward[i * K + a] += exp(table[i * K * K + a * K + b]) * backward[(i + 1) * K + b];
      }
      sum += backward[i * K + a];
    }
    for (size_t a = 0; a < K; a++) {
      backward[i * K + a] /= sum;
    }
  }
  poei_junction *junction = solve(graph, POEI_JUNCTION_DRAWS);
  poe_error error = {0};
  check_close(poei_junction_log_z(junction), log_z, 1e-9, 1e-13);
  check_ok(poei_junction_marginals(junction, p, &error), error);
  for (size_t i = 0; i < N; i++) {
    double sum = 0.0;
    for (size_t a = 0; a < K; a++) {
      sum += forward[i * K + a] * backward[i * K + a];
    }
    for (size_t a = 0; a < K; a++) {
      check_close(p[i * K + a], forward[i * K + a] * backward[i * K + a] / sum, 1e-12, 1e-10);
    }
  }
  poei_junction_destroy(junction);
  poei_field_destroy(graph);
  free(table);
  free(forward);
  free(backward);
  free(p);
}

/* A thousand steps of a hidden Markov model times an automaton over the same symbols, against the forward recursion of
 * the joint chain. */
static void product_of_chains(void **state) {
  (void)state;
  enum { N = 1000, A = 4, H = 5, Q = 6 };
  poe_stream stream = poe_stream_open(poe_rng_seed(5));
  double hidden[H * H], emission[H * A], automaton[Q * A * Q], log_z = 0.0;
  size_t to[Q * A];
  for (size_t i = 0; i < H * H; i++) {
    hidden[i] = poe_stream_normal(&stream);
  }
  for (size_t i = 0; i < H * A; i++) {
    emission[i] = poe_stream_normal(&stream);
  }
  for (size_t i = 0; i < Q * A; i++) { /* three symbols are possible in each state */
    to[i] = i % A == (i / A) % A ? Q : (size_t)(poe_stream_uniform(&stream) * Q);
    for (size_t q = 0; q < Q; q++) {
      automaton[i * Q + q] = to[i] == q ? 0.0 : -INFINITY;
    }
  }
  poei_field *graph = NULL;
  poe_error error = {0};
  size_t variable;
  check_ok(poei_field_create(&graph, &error), error);
  for (size_t i = 0; i < 3 * N + 1; i++) { /* symbols, hidden states, automaton's states */
    check_ok(poei_field_variable(graph, i < N ? A : i < 2 * N ? H : Q, &variable, &error), error);
  }
  for (size_t t = 0; t < N; t++) {
    pair(graph, N + t, t, emission);
    if (t + 1 < N) {
      pair(graph, N + t, N + t + 1, hidden);
    }
    check_ok(poei_field_add(graph, 3, (size_t[]){2 * N + t, t, 2 * N + t + 1}, automaton, &error), error);
  }
  double now[H * Q], next[H * Q];
  for (size_t i = 0; i < H * Q; i++) {
    now[i] = 1.0;
  }
  for (size_t t = 0; t < N; t++) {
    double moved[H * Q] = {0.0}, sum = 0.0;
    for (size_t h = 0; h < H; h++) {
      for (size_t q = 0; q < Q; q++) {
        for (size_t a = 0; a < A; a++) {
          if (to[q * A + a] < Q) {
            moved[h * Q + to[q * A + a]] += now[h * Q + q] * exp(emission[h * A + a]);
          }
        }
      }
    }
    memset(next, 0, sizeof next);
    for (size_t h = 0; h < H; h++) {
      for (size_t g = 0; g < H; g++) {
        for (size_t q = 0; q < Q; q++) {
          next[g * Q + q] += moved[h * Q + q] * (t + 1 < N ? exp(hidden[h * H + g]) : h == g ? 1.0 : 0.0);
        }
      }
    }
    for (size_t i = 0; i < H * Q; i++) {
      sum += next[i];
    }
    log_z += log(sum);
    for (size_t i = 0; i < H * Q; i++) {
      now[i] = next[i] / sum;
    }
  }
  check_close(log_z_of(graph), log_z, 1e-9, 1e-13);
  poei_field_destroy(graph);
}

/* ---- trees ---- */

/* Proper colourings of a tree of n vertices with q colours: q (q - 1)^(n - 1). Random trees, a star, a path. */
static void trees(void **state) {
  (void)state;
  enum { N = 20000, Q = 3 };
  double differ[Q * Q];
  for (size_t i = 0; i < Q * Q; i++) {
    differ[i] = i / Q == i % Q ? -INFINITY : 0.0;
  }
  for (int kind = 0; kind < 3; kind++) {
    poe_stream stream = poe_stream_open(poe_rng_seed(17));
    poei_field *graph = graph_new(N, Q);
    for (size_t i = 1; i < N; i++) {
      size_t other = kind == 0 ? (size_t)(poe_stream_uniform(&stream) * (double)i) : kind == 1 ? 0 : i - 1;
      pair(graph, i, other, differ);
    }
    check_close(log_z_of(graph), log((double)Q) + (N - 1.0) * log(Q - 1.0), 1e-9, 1e-13);
    poei_field_destroy(graph);
  }
}

/* A tree and one variable that all others read: treewidth 2, by the hub's degree of n. */
static void hub(void **state) {
  (void)state;
  enum { N = 20000 };
  poei_field *graph = graph_new(N + 1, 2);
  double same[4] = {0.7, -0.7, -0.7, 0.7}, lean[4] = {0.3, -0.3, -0.2, 0.2};
  for (size_t i = 0; i < N; i++) {
    pair(graph, N, i, lean);
    if (i > 0) {
      pair(graph, i - 1, i, same);
    }
  }
  double expected = -INFINITY;
  for (size_t h = 0; h < 2; h++) { /* given the hub, a chain in a field */
    double now[2] = {exp(lean[2 * h]), exp(lean[2 * h + 1])}, log_z = 0.0;
    for (size_t i = 1; i < N; i++) {
      double a = (now[0] * exp(same[0]) + now[1] * exp(same[2])) * exp(lean[2 * h]);
      double b = (now[0] * exp(same[1]) + now[1] * exp(same[3])) * exp(lean[2 * h + 1]);
      log_z += log(a + b);
      now[0] = a / (a + b);
      now[1] = b / (a + b);
    }
    expected = poei_log_add(expected, log_z + log(now[0] + now[1]));
  }
  poei_junction *junction = solve(graph, POEI_JUNCTION_LOG_Z);
  assert_int_equal(poei_junction_size_of(junction).width, 2);
  check_close(poei_junction_log_z(junction), expected, 1e-8, 1e-13);
  poei_junction_destroy(junction);
  poei_field_destroy(graph);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(torus),  cmocka_unit_test(critical_torus),    cmocka_unit_test(open_grids),
      cmocka_unit_test(chains), cmocka_unit_test(product_of_chains), cmocka_unit_test(trees),
      cmocka_unit_test(hub),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
