/* Linear algebra against plain loops, on both sides of the switch from own loops to LAPACK (d = 16). Tolerances are
 * multiples of d * epsilon times the size of the numbers; the matrices are well conditioned. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/linalg.h"
#include "core/numerics.h"
#include "poe/rng.h"
#include "tests/support/check.h"

enum { MOST = 70 };

static const size_t dims[] = {1, 2, 3, 5, 15, 16, 17, 40, MOST};

static double *numbers(size_t n, uint64_t seed) {
  double *x = poei_alloc(n, sizeof *x);
  poe_rng_normals(poe_rng_seed(seed), n, x);
  return x;
}

/* B B' + d I: symmetric positive definite, condition below ~ 10. */
static void positive(size_t d, uint64_t seed, double *a) {
  double *b = numbers(d * d, seed);
  for (size_t i = 0; i < d; i++) {
    for (size_t j = 0; j < d; j++) {
      double sum = i == j ? (double)d : 0.0;
      for (size_t k = 0; k < d; k++) {
        sum += b[i * d + k] * b[j * d + k];
      }
      a[i * d + j] = sum;
    }
  }
  poei_free(b);
}

static void test_gemm(void **state) {
  (void)state;
  static const size_t shape[][3] = {{1, 1, 1}, {3, 4, 5}, {64, 16, 7}, {2, 5, 0}, {17, 1, 33}};
  for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
    size_t m = shape[s][0], n = shape[s][1], k = shape[s][2], pad = 3;
    for (unsigned mode = 0; mode < 8; mode++) {
      bool ta = (mode & 1) != 0, tb = (mode & 2) != 0;
      double beta = (mode & 4) != 0 ? 0.5 : 0.0;
      size_t lda = (ta ? m : k) + pad, ldb = (tb ? k : n) + pad, ldc = n + pad;
      size_t na = (ta ? k : m) * lda + 1, nb = (tb ? n : k) * ldb + 1, nc = m * ldc;
      double *a = numbers(na, 1), *b = numbers(nb, 2), *c = numbers(nc, 3), *want = poei_copy(c, nc, sizeof *c);
      float *af = poei_alloc(na, sizeof *af), *bf = poei_alloc(nb, sizeof *bf), *cf = poei_alloc(nc, sizeof *cf);
      for (size_t i = 0; i < na; i++) {
        af[i] = (float)a[i];
      }
      for (size_t i = 0; i < nb; i++) {
        bf[i] = (float)b[i];
      }
      for (size_t i = 0; i < nc; i++) {
        cf[i] = (float)c[i];
      }
      if (beta == 0.0) { /* what was in C must not matter, not even NaN */
        c[0] = NAN;
        cf[0] = NAN;
      }
      for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
          double sum = 0.0;
          for (size_t l = 0; l < k; l++) {
            sum += (ta ? a[l * lda + i] : a[i * lda + l]) * (tb ? b[j * ldb + l] : b[l * ldb + j]);
          }
          want[i * ldc + j] = 1.5 * sum + (beta == 0.0 ? 0.0 : beta * want[i * ldc + j]);
        }
      }
      poei_dgemm(ta, tb, m, n, k, 1.5, a, lda, b, ldb, beta, c, ldc);
      poei_sgemm(ta, tb, m, n, k, 1.5F, af, lda, bf, ldb, (float)beta, cf, ldc);
      for (size_t i = 0; i < nc; i++) {
        check_close(c[i], want[i], 1e-13, 1e-13);
        check_close((double)cf[i], want[i], 3e-5, 1e-6);
      }
      poei_free(a), poei_free(b), poei_free(c), poei_free(want), poei_free(af), poei_free(bf), poei_free(cf);
    }
  }
  double x[3] = {1, 2, 3}, y[3] = {4, 5, 6};
  check_close(poei_ddot(3, x, y), 32.0, 0, 0);
  check_close(poei_ddot(0, x, y), 0.0, 0, 0);
}

static void test_cholesky(void **state) {
  (void)state;
  for (size_t s = 0; s < sizeof dims / sizeof *dims; s++) {
    size_t d = dims[s];
    double *a = poei_alloc(d * d, sizeof *a), *l = numbers(d * d, 9), *inverse = numbers(d * d, 8);
    positive(d, 11 + d, a);
    for (size_t i = 0; i < d; i++) { /* only the lower triangle is read */
      for (size_t j = i + 1; j < d; j++) {
        inverse[i * d + j] = a[i * d + j];
        a[i * d + j] = NAN;
      }
    }
    uint64_t allocations = poei_alloc_count();
    assert_int_equal(poei_cholesky(d, a, l), 0);
    assert_int_equal(poei_alloc_count(), allocations);
    for (size_t i = 0; i < d; i++) {
      for (size_t j = 0; j < d; j++) {
        double sum = 0.0;
        for (size_t k = 0; k < d; k++) {
          sum += l[i * d + k] * l[j * d + k];
        }
        check_close(sum, a[i >= j ? i * d + j : j * d + i], 1e-13 * (double)d, 1e-13);
        if (j > i) {
          assert_true(l[i * d + j] == 0.0);
        }
      }
    }
    double *in_place = poei_copy(a, d * d, sizeof *a);
    assert_int_equal(poei_cholesky(d, in_place, in_place), 0);
    check_same_bits(in_place, l, d * d);
    poei_cholesky_inverse(d, l, inverse);
    for (size_t i = 0; i < d; i++) {
      for (size_t j = 0; j < d; j++) {
        double sum = 0.0;
        for (size_t k = 0; k < d; k++) {
          sum += a[i >= k ? i * d + k : k * d + i] * inverse[k * d + j];
        }
        check_close(sum, i == j ? 1.0 : 0.0, 1e-12, 0);
        check_close(inverse[i * d + j], inverse[j * d + i], 0, 0);
      }
    }
    poei_free(a), poei_free(l), poei_free(inverse), poei_free(in_place);
  }
}

static void test_cholesky_names_the_bad_minor(void **state) {
  (void)state;
  for (size_t s = 0; s < sizeof dims / sizeof *dims; s++) {
    size_t d = dims[s];
    for (size_t bad = 0; bad<d; bad += d> 5 ? 7 : 1) {
      for (int kind = 0; kind < 3; kind++) {
        double *a = poei_alloc(d * d, sizeof *a), *l = poei_alloc(d * d, sizeof *l);
        positive(d, 3, a);
        a[bad * d + bad] = kind == 0 ? -1.0 : kind == 1 ? NAN : INFINITY;
        assert_int_equal(poei_cholesky(d, a, l), bad + 1);
        poei_free(a), poei_free(l);
      }
    }
  }
  const double zero[1] = {0.0};
  double l[1];
  assert_int_equal(poei_cholesky(1, zero, l), 1);
  assert_int_equal(poei_cholesky(0, zero, l), 0);
}

static void test_log_det(void **state) {
  (void)state;
  /* The matrix with a_ij = min(i, j) (from 1) has L all ones below the diagonal, so scaled by 4 its determinant is
   * 4^d. */
  for (size_t s = 0; s < sizeof dims / sizeof *dims; s++) {
    size_t d = dims[s];
    double *a = poei_alloc(d * d, sizeof *a);
    for (size_t i = 0; i < d; i++) {
      for (size_t j = 0; j < d; j++) {
        a[i * d + j] = 4.0 * (double)((i < j ? i : j) + 1);
      }
    }
    assert_int_equal(poei_cholesky(d, a, a), 0);
    check_close(poei_cholesky_half_log_det(d, a), (double)d * POEI_LOG_2, 1e-12, 1e-13);
    poei_free(a);
  }
}

static void test_solves(void **state) {
  (void)state;
  for (size_t s = 0; s < sizeof dims / sizeof *dims; s++) {
    size_t d = dims[s], n = 5, ldx = d + 2;
    double *l = poei_alloc(d * d, sizeof *l), *x = numbers(n * ldx, 4), *start = poei_copy(x, n * ldx, sizeof *x);
    positive(d, 21, l);
    assert_int_equal(poei_cholesky(d, l, l), 0);
    for (int transposed = 0; transposed < 2; transposed++) {
      memcpy(x, start, n * ldx * sizeof *x);
      (transposed ? poei_solve_lower_transposed : poei_solve_lower)(d, l, n, x, ldx);
      for (size_t row = 0; row < n; row++) {
        for (size_t i = 0; i < ldx; i++) {
          if (i >= d) { /* the gap between rows is not touched */
            check_same_bits(&x[row * ldx + i], &start[row * ldx + i], 1);
            continue;
          }
          double sum = 0.0;
          for (size_t k = 0; k < d; k++) {
            sum += (transposed ? l[k * d + i] : l[i * d + k]) * x[row * ldx + k];
          }
          check_close(sum, start[row * ldx + i], 1e-12, 1e-12);
        }
      }
    }
    poei_solve_lower(d, l, 0, x, ldx);
    poei_free(l), poei_free(x), poei_free(start);
  }
}

static void test_eigen(void **state) {
  (void)state;
  for (size_t s = 0; s < sizeof dims / sizeof *dims; s++) {
    size_t d = dims[s];
    double *a = poei_alloc(d * d, sizeof *a), *v = poei_alloc(d * d, sizeof *v),
           *values = poei_alloc(d, sizeof *values);
    positive(d, 31, a);
    assert_true(poei_symmetric_eigen(d, a, values, v));
    for (size_t k = 0; k < d; k++) {
      assert_true(k == 0 || values[k] >= values[k - 1]);
      for (size_t i = 0; i < d; i++) { /* A v_k = value_k v_k, rows orthonormal */
        double sum = 0.0, dot = 0.0;
        for (size_t j = 0; j < d; j++) {
          sum += a[i * d + j] * v[k * d + j];
          dot += v[k * d + j] * v[i * d + j];
        }
        check_close(sum, values[k] * v[k * d + i], 1e-12 * values[d - 1], 0);
        check_close(dot, i == k ? 1.0 : 0.0, 1e-12, 0);
      }
    }
    poei_alloc_fail_at(1);
    assert_false(poei_symmetric_eigen(d, a, values, v));
    poei_alloc_fail_at(0);
    a[0] = NAN;
    assert_false(poei_symmetric_eigen(d, a, values, v));
    poei_free(a), poei_free(v), poei_free(values);
  }
  assert_true(poei_symmetric_eigen(0, NULL, NULL, NULL));
}

static void test_core_name(void **state) {
  (void)state;
  assert_non_null(poei_linalg_core_name());
  assert_true(strlen(poei_linalg_core_name()) > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_gemm),
      cmocka_unit_test(test_cholesky),
      cmocka_unit_test(test_cholesky_names_the_bad_minor),
      cmocka_unit_test(test_log_det),
      cmocka_unit_test(test_solves),
      cmocka_unit_test(test_eigen),
      cmocka_unit_test(test_core_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
