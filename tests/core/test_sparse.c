/* Sparse factorisation against the dense one on random matrices, and against closed forms on large ones: the second
 * difference (determinant n + 1, inverse min(i,j) (n + 1 - max(i,j)) / (n + 1)) and the Laplacian of a grid
 * (eigenvalues by cosines). Tolerances are multiples of rounding times the condition number, stated where they are
 * used. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/linalg.h"
#include "core/sparse.h"
#include "poe/rng.h"
#include "tests/support/check.h"

/* ---- matrices ---- */

static poei_sparse_matrix assemble(size_t n, size_t count, const poei_triplet *entry) {
  poei_sparse_matrix a;
  poe_error error = {0};
  check_ok(poei_sparse_assemble(n, count, entry, &a, &error), error);
  return a;
}

/* A sum of random couplings w (x_i - c x_j)^2 and a small multiple of the identity: positive definite, sparse; several
 * entries at one place, diagonals among the couplings. */
static poei_sparse_matrix random_graph(size_t n, uint64_t seed) {
  size_t edges = 2 * n, count = 0;
  poei_triplet *entry = poei_alloc(3 * edges + n, sizeof *entry);
  double *z = poei_alloc(4 * edges, sizeof *z);
  poe_rng_normals(poe_rng_seed(seed), 4 * edges, z);
  for (size_t e = 0; e < edges; e++) {
    size_t i = (size_t)(fabs(z[4 * e]) * 1e6) % n, j = (size_t)(fabs(z[4 * e + 1]) * 1e6) % n;
    double w = 0.1 + fabs(z[4 * e + 2]), c = z[4 * e + 3];
    entry[count++] = (poei_triplet){i, i, w};
    if (i != j) {
      entry[count++] = (poei_triplet){j, j, w * c * c};
      entry[count++] = (poei_triplet){i > j ? i : j, i > j ? j : i, -w * c};
    }
  }
  for (size_t i = 0; i < n; i++) {
    entry[count++] = (poei_triplet){i, i, 0.3};
  }
  poei_sparse_matrix a = assemble(n, count, entry);
  poei_free(entry);
  poei_free(z);
  return a;
}

/* `first` and `last` at the ends of the diagonal, 2 on the others, -1 beside them. */
static poei_sparse_matrix second_difference(size_t n, double first, double last) {
  poei_triplet *entry = poei_alloc(2 * n, sizeof *entry);
  size_t count = 0;
  for (size_t i = 0; i < n; i++) {
    entry[count++] = (poei_triplet){i, i, i == 0 ? first : i + 1 == n ? last : 2.0};
    if (i > 0) {
      entry[count++] = (poei_triplet){i, i - 1, -1.0};
    }
  }
  poei_sparse_matrix a = assemble(n, count, entry);
  poei_free(entry);
  return a;
}

static poei_sparse_factor *factor(const poei_sparse_matrix *a) {
  poei_sparse_factor *f = NULL;
  poei_sparse_failure failure = {0};
  bool failed;
  poe_error error = {0};
  check_ok(poei_sparse_analyse(a, &f, &error), error);
  check_ok(poei_sparse_factorise(f, a, &failed, &failure, &error), error);
  assert_false(failed);
  return f;
}

static double *dense(const poei_sparse_matrix *a) {
  double *full = poei_calloc(a->n * a->n, sizeof *full);
  for (size_t j = 0; j < a->n; j++) {
    assert_int_equal(a->row[a->start[j]], j);
    for (size_t k = a->start[j]; k < a->start[j + 1]; k++) {
      assert_true(k == a->start[j] || a->row[k] > a->row[k - 1]);
      full[a->row[k] * a->n + j] = full[j * a->n + a->row[k]] = a->value[k];
    }
  }
  return full;
}

/* ---- tests ---- */

static void test_against_dense(void **state) {
  (void)state;
  static const size_t sizes[] = {1, 2, 3, 7, 20, 60, 120};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    for (uint64_t seed = 1; seed <= 5; seed++) {
      size_t n = sizes[s];
      poei_sparse_matrix a = random_graph(n, seed);
      poei_sparse_factor *f = factor(&a);
      double *full = dense(&a), *l = poei_alloc(n * n, sizeof *l), *inverse = poei_alloc(n * n, sizeof *inverse);
      double *x = poei_alloc(3 * n, sizeof *x), *y = poei_alloc(3 * n, sizeof *y), *work = poei_alloc(n, sizeof *work);
      assert_int_equal(poei_cholesky(n, full, l), 0);
      poei_cholesky_inverse(n, l, inverse);
      /* condition numbers are below 1e4: 1e-11 is 500 times their rounding */
      check_close(poei_sparse_half_log_det(f), poei_cholesky_half_log_det(n, l), 1e-11, 1e-11);
      poe_rng_normals(poe_rng_seed(seed + 100), 3 * n, x);
      poei_sparse_multiply(&a, 3, x, y);
      for (size_t i = 0; i < n; i++) {
        for (size_t r = 0; r < 3; r++) {
          double sum = 0.0;
          for (size_t j = 0; j < n; j++) {
            sum += full[i * n + j] * x[j * 3 + r];
          }
          check_close(y[i * 3 + r], sum, 1e-12, 1e-12);
        }
      }
      double *b = poei_copy(x, n, sizeof *x);
      poei_sparse_solve(f, b, work);
      for (size_t i = 0; i < n; i++) {
        double sum = 0.0;
        for (size_t j = 0; j < n; j++) {
          sum += inverse[i * n + j] * x[j];
        }
        check_close(b[i], sum, 1e-11, 1e-11);
      }
      double *selected = poei_alloc(f->start[n], sizeof *selected);
      poei_sparse_inverse(f, selected, work);
      for (size_t j = 0; j < n; j++) {
        for (size_t k = f->start[j]; k < f->start[j + 1]; k++) {
          check_close(selected[k], inverse[f->order[f->row[k]] * n + f->order[j]], 1e-11, 1e-11);
        }
      }
      poei_free(b), poei_free(selected), poei_free(full), poei_free(l), poei_free(inverse);
      poei_free(x), poei_free(y), poei_free(work);
      poei_sparse_factor_destroy(f);
      poei_sparse_matrix_release(&a);
    }
  }
}

/* Side by side as one by one, to the last bit, and L^-T undoes L^T. */
static void test_vectors_side_by_side(void **state) {
  (void)state;
  enum { N = 50, M = 8 };
  poei_sparse_matrix a = random_graph(N, 3);
  poei_sparse_factor *f = factor(&a);
  double x[N * M], y[N * M], one[N];
  poe_rng_normals(poe_rng_seed(4), (size_t)N * M, x);
  for (int transposed = 0; transposed <= 1; transposed++) {
    memcpy(y, x, sizeof x);
    (transposed ? poei_sparse_solve_lower_transposed : poei_sparse_solve_lower)(f, M, y);
    for (size_t r = 0; r < M; r++) {
      for (size_t i = 0; i < N; i++) {
        one[i] = x[i * M + r];
      }
      (transposed ? poei_sparse_solve_lower_transposed : poei_sparse_solve_lower)(f, 1, one);
      for (size_t i = 0; i < N; i++) {
        check_same_bits(&one[i], &y[i * M + r], 1);
      }
    }
  }
  poei_sparse_factor_destroy(f);
  poei_sparse_matrix_release(&a);
}

static void test_second_difference(void **state) {
  (void)state;
  size_t n = 10000;
  poei_sparse_matrix a = second_difference(n, 2.0, 2.0);
  poei_sparse_factor *f = factor(&a);
  assert_true(f->start[n] <= 3 * n); /* no fill to speak of: the pattern of a chain */
  check_close(2.0 * poei_sparse_half_log_det(f), log((double)n + 1.0), 1e-10, 0.0);
  double *inverse = poei_alloc(f->start[n], sizeof *inverse), *work = poei_alloc(n, sizeof *work);
  poei_sparse_inverse(f, inverse, work);
  for (size_t j = 0; j < n; j++) {
    for (size_t k = f->start[j]; k < f->start[j + 1]; k++) { /* condition number 4e7: 1e-8 relative */
      size_t p = f->order[j], q = f->order[f->row[k]], low = p < q ? p : q, high = p < q ? q : p;
      check_close(inverse[k], (double)(low + 1) * (double)(n - high) / (double)(n + 1), 0.0, 1e-8);
    }
  }
  poei_free(inverse), poei_free(work);
  poei_sparse_factor_destroy(f);
  poei_sparse_matrix_release(&a);
}

static void test_grid(void **state) {
  (void)state;
  size_t side = 100, n = side * side, count = 0;
  double kappa = 0.01, expected = 0.0, pi = acos(-1.0);
  poei_triplet *entry = poei_alloc(3 * n, sizeof *entry);
  for (size_t i = 0; i < side; i++) {
    for (size_t j = 0; j < side; j++) {
      size_t at = i * side + j;
      entry[count++] = (poei_triplet){at, at, 4.0 + kappa};
      if (i > 0) {
        entry[count++] = (poei_triplet){at, at - side, -1.0};
      }
      if (j > 0) {
        entry[count++] = (poei_triplet){at, at - 1, -1.0};
      }
      double s = (double)(i + 1) / (double)(side + 1), t = (double)(j + 1) / (double)(side + 1);
      expected += log(kappa + 4.0 - 2.0 * cos(pi * s) - 2.0 * cos(pi * t));
    }
  }
  poei_sparse_matrix a = assemble(n, count, entry);
  poei_sparse_factor *f = factor(&a);
  assert_true(f->start[n] < 500000); /* n^2 / 2 = 5e7 would be the dense triangle */
  check_close(2.0 * poei_sparse_half_log_det(f), expected, 0.0, 1e-12);
  poei_free(entry);
  poei_sparse_factor_destroy(f);
  poei_sparse_matrix_release(&a);
}

/* The direction of a failure shows it: v'Av is what was reported. */
static void check_failure(const poei_sparse_matrix *a, double most) {
  size_t n = a->n;
  poei_sparse_factor *f = NULL;
  double *v = poei_alloc(n, sizeof *v), *av = poei_alloc(n, sizeof *av), sum = 0.0;
  poei_sparse_failure failure = {.direction = v};
  bool failed;
  poe_error error = {0};
  check_ok(poei_sparse_analyse(a, &f, &error), error);
  check_ok(poei_sparse_factorise(f, a, &failed, &failure, &error), error);
  assert_true(failed);
  assert_null(f->value);
  poei_sparse_multiply(a, 1, v, av);
  double size = 0.0;
  for (size_t i = 0; i < n; i++) {
    sum += v[i] * av[i];
    size += v[i] * v[i];
  }
  assert_true(v[failure.coordinate] == 1.0);
  check_close(sum, failure.value, 1e-10 * size, 1e-10);
  assert_true(failure.value <= most);
  poei_free(v), poei_free(av);
  poei_sparse_factor_destroy(f);
}

static void test_failures(void **state) {
  (void)state;
  poei_sparse_matrix a = second_difference(10000, 1.0, 1.0); /* a walk that nobody holds: constants cost nothing */
  check_failure(&a, 1e-11);
  poei_sparse_matrix_release(&a);
  a = second_difference(50, 2.0, 0.5); /* from the far end the second pivot is 2 - 1 / 0.5 = 0 */
  check_failure(&a, 1e-14);
  poei_sparse_matrix_release(&a);
  a = assemble(3, 2, (poei_triplet[]){{0, 0, 1.0}, {2, 2, 1.0}}); /* nothing about coordinate 1 */
  check_failure(&a, 0.0);
  poei_sparse_matrix_release(&a);
  for (uint64_t seed = 1; seed <= 10; seed++) { /* random, with one diagonal taken down */
    a = random_graph(40, seed);
    a.value[a.start[17]] -= 20.0;
    check_failure(&a, 0.0);
    poei_sparse_matrix_release(&a);
  }
}

/* A pivot of 1e-13 of its diagonal is rounding along a walk of 10,000 steps, but not between two neighbours. */
static void test_narrow_pairs_in_a_large_matrix(void **state) {
  (void)state;
  size_t n = 10000, count = 0;
  double tight = 1e13, expected = 0.0;
  poei_triplet *entry = poei_alloc(2 * n, sizeof *entry);
  for (size_t i = 0; i < n; i += 2) {
    entry[count++] = (poei_triplet){i, i, tight};
    entry[count++] = (poei_triplet){i + 1, i + 1, tight + 1.0};
    entry[count++] = (poei_triplet){i + 1, i, -tight};
    expected += log(tight); /* tight (tight + 1) - tight^2 */
  }
  poei_sparse_matrix a = assemble(n, count, entry);
  poei_sparse_factor *f = factor(&a);
  /* tight + 1 is rounded in its last bit, 2^-9, which is 0.2 % of the Schur complement 1 */
  check_close(2.0 * poei_sparse_half_log_det(f), expected, 0.004 * (double)n / 2.0, 0.0);
  poei_free(entry);
  poei_sparse_factor_destroy(f);
  poei_sparse_matrix_release(&a);
}

static void test_bad_entries(void **state) {
  (void)state;
  poei_sparse_matrix a = {0};
  poe_error error = {0};
  check_fails(poei_sparse_assemble(3, 1, &(poei_triplet){3, 0, 1.0}, &a, &error), POE_E_SHAPE, error, "[3, 0]");
  check_fails(poei_sparse_assemble(3, 1, &(poei_triplet){0, 1, 1.0}, &a, &error), POE_E_SHAPE, error, "[0, 1]");
  assert_null(a.start);
  poei_sparse_matrix_release(NULL);
  poei_sparse_factor_destroy(NULL);
}

static void test_failing_allocations(void **state) {
  (void)state;
  bool done = false;
  for (uint64_t at = 1; !done; at++) {
    assert_true(at < 100);
    poei_sparse_matrix a = {0};
    poei_sparse_factor *f = NULL;
    poei_sparse_failure failure = {0};
    bool failed = false;
    poe_error error = {0};
    poei_triplet entry[3] = {{0, 0, 2.0}, {1, 0, 1.0}, {1, 1, 2.0}};
    poei_alloc_fail_at(at);
    poe_status status = poei_sparse_assemble(2, 3, entry, &a, &error);
    if (status == POE_OK) {
      status = poei_sparse_analyse(&a, &f, &error);
    }
    if (status == POE_OK) {
      status = poei_sparse_factorise(f, &a, &failed, &failure, &error);
    }
    poei_alloc_fail_at(0);
    assert_false(failed);
    done = status == POE_OK;
    assert_true(done || (status == POE_E_MEMORY && error.status == POE_E_MEMORY));
    poei_sparse_factor_destroy(f);
    poei_sparse_matrix_release(&a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_dense),     cmocka_unit_test(test_vectors_side_by_side),
      cmocka_unit_test(test_second_difference), cmocka_unit_test(test_grid),
      cmocka_unit_test(test_failures),          cmocka_unit_test(test_narrow_pairs_in_a_large_matrix),
      cmocka_unit_test(test_bad_entries),       cmocka_unit_test(test_failing_allocations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
