/* The vector functions of every instruction set this processor has: against libm in at most 2 units in the last place
 * (libm's own error included), at the extremes, the same bits at any position and length, and the same bits from AVX2
 * and AVX-512. */
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/numerics.h"
#include "core/vector.h"
#include "tests/support/check.h"

enum { N = 4099 };

typedef void (*function_d)(const double *x, double *out, size_t n);
typedef void (*function_f)(const float *x, float *out, size_t n);

static const poei_vector_ops *tables[3];
static size_t n_tables;

static int find_tables(void **state) {
  (void)state;
  tables[n_tables++] = &poei_vector_scalar;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    tables[n_tables++] = &poei_vector_avx2;
  }
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma")) {
    tables[n_tables++] = &poei_vector_avx512;
  }
#endif
  print_message("the best table is %s\n", poei_vector_best()->name);
  assert_ptr_equal(poei_vector_best(), tables[n_tables - 1]);
  return 0;
}

static double tanh_of(double x) {
  return tanh(x);
}
static double erf_of(double x) {
  return erf(x);
}

/* A function of a table in both precisions, libm's, and the range of its ordinary arguments. */
typedef struct one_function {
  const char *name;
  size_t at_d, at_f; /* offsets in the table */
  double (*truth)(double);
  double low, high;
  bool log_scale; /* arguments spread over magnitudes */
} one_function;

static const one_function functions[] = {
    {"exp", offsetof(poei_vector_ops, exp), offsetof(poei_vector_ops, expf), exp, -700.0, 700.0, false},
    {"log", offsetof(poei_vector_ops, log), offsetof(poei_vector_ops, logf), log, -700.0, 700.0, true},
    {"log1p", offsetof(poei_vector_ops, log1p), offsetof(poei_vector_ops, log1pf), log1p, -700.0, 700.0, true},
    {"log1p", offsetof(poei_vector_ops, log1p), offsetof(poei_vector_ops, log1pf), log1p, -0.99, 1.0, false},
    {"tanh", offsetof(poei_vector_ops, tanh), offsetof(poei_vector_ops, tanhf), tanh_of, -30.0, 30.0, false},
    {"erf", offsetof(poei_vector_ops, erf), offsetof(poei_vector_ops, erff), erf_of, -8.0, 8.0, false},
};

static function_d double_of(const poei_vector_ops *ops, const one_function *f) {
  function_d call;
  memcpy(&call, (const char *)ops + f->at_d, sizeof call);
  return call;
}

static function_f float_of(const poei_vector_ops *ops, const one_function *f) {
  function_f call;
  memcpy(&call, (const char *)ops + f->at_f, sizeof call);
  return call;
}

static void arguments(const one_function *f, double shrink, double *x) {
  for (size_t i = 0; i < N; i++) {
    double t = f->low + (f->high - f->low) * ((double)i + 0.37) / N;
    x[i] = f->log_scale ? exp(t * shrink) : t * (f->high > 100.0 ? shrink : 1.0);
  }
}

static void test_accuracy(void **state) {
  (void)state;
  static double x[N], out[N];
  static float xf[N], outf[N];
  for (size_t t = 0; t < n_tables; t++) {
    for (size_t k = 0; k < sizeof functions / sizeof *functions; k++) {
      const one_function *f = &functions[k];
      arguments(f, 1.0, x);
      double_of(tables[t], f)(x, out, N);
      for (size_t i = 0; i < N; i++) {
        check_close(out[i], f->truth(x[i]), 0, 2.0 * DBL_EPSILON);
      }
      arguments(f, 0.12, x);
      for (size_t i = 0; i < N; i++) {
        xf[i] = (float)x[i];
      }
      float_of(tables[t], f)(xf, outf, N);
      for (size_t i = 0; i < N; i++) {
        check_close((double)outf[i], f->truth((double)xf[i]), 0, 1.5 * (double)FLT_EPSILON);
      }
    }
    double sine[N], cosine[N];
    for (size_t i = 0; i < N; i++) {
      x[i] = ((double)i - 2000.0) * 1.7;
    }
    tables[t]->sincos(x, sine, cosine, N);
    for (size_t i = 0; i < N; i++) {
      check_close(sine[i], sin(x[i]), 0, 2.0 * DBL_EPSILON);
      check_close(cosine[i], cos(x[i]), 0, 2.0 * DBL_EPSILON);
    }
  }
}

static void check_one(function_d f, double x, double want) {
  double out;
  f(&x, &out, 1);
  if (isnan(want)) {
    assert_true(isnan(out));
  } else {
    check_close(out, want, DBL_TRUE_MIN, 2.0 * DBL_EPSILON);
  }
}

static void check_one_f(function_f f, float x, double want) {
  float out;
  f(&x, &out, 1);
  if (isnan(want)) {
    assert_true(isnan(out));
  } else {
    check_close((double)out, want, (double)FLT_TRUE_MIN, 1.5 * (double)FLT_EPSILON);
  }
}

static void test_extremes(void **state) {
  (void)state;
  for (size_t t = 0; t < n_tables; t++) {
    const poei_vector_ops *v = tables[t];
    const double inf = INFINITY;
    check_one(v->exp, -inf, 0.0), check_one(v->exp, inf, inf), check_one(v->exp, NAN, NAN);
    check_one(v->exp, 0.0, 1.0), check_one(v->exp, 710.0, inf), check_one(v->exp, -1e300, 0.0);
    check_one(v->exp, 1e300, inf), check_one(v->exp, -746.0, 0.0), check_one(v->exp, -720.0, exp(-720.0));
    check_one(v->exp, -745.1, exp(-745.1)), check_one(v->exp, 709.7, exp(709.7));
    check_one(v->log, 0.0, -inf), check_one(v->log, inf, inf), check_one(v->log, -1.0, NAN);
    check_one(v->log, NAN, NAN), check_one(v->log, DBL_TRUE_MIN, log(DBL_TRUE_MIN)), check_one(v->log, 1.0, 0.0);
    check_one(v->log, DBL_MAX, log(DBL_MAX)), check_one(v->log, 3e-310, log(3e-310));
    check_one(v->log1p, -1.0, -inf), check_one(v->log1p, inf, inf), check_one(v->log1p, -1.1, NAN);
    check_one(v->log1p, 1e-300, 1e-300), check_one(v->log1p, 1e306, log1p(1e306)), check_one(v->log1p, NAN, NAN);
    check_one(v->tanh, inf, 1.0), check_one(v->tanh, -inf, -1.0), check_one(v->tanh, 1e-300, 1e-300);
    check_one(v->tanh, 1e300, 1.0), check_one(v->tanh, NAN, NAN);
    check_one(v->erf, inf, 1.0), check_one(v->erf, -inf, -1.0), check_one(v->erf, NAN, NAN);
    check_one(v->erf, 1e-300, erf(1e-300));
    check_one_f(v->expf, -INFINITY, 0.0), check_one_f(v->expf, INFINITY, inf), check_one_f(v->expf, 89.0F, inf);
    check_one_f(v->expf, -104.0F, 0.0), check_one_f(v->expf, NAN, NAN), check_one_f(v->expf, 1e30F, inf);
    check_one_f(v->logf, 0.0F, -inf), check_one_f(v->logf, INFINITY, inf), check_one_f(v->logf, -1.0F, NAN);
    check_one_f(v->log1pf, -1.0F, -inf), check_one_f(v->log1pf, 1e-30F, 1e-30F), check_one_f(v->log1pf, -2.0F, NAN);
    check_one_f(v->tanhf, INFINITY, 1.0), check_one_f(v->tanhf, -1e30F, -1.0), check_one_f(v->tanhf, NAN, NAN);
    check_one_f(v->erff, INFINITY, 1.0), check_one_f(v->erff, -30.0F, -1.0), check_one_f(v->erff, NAN, NAN);
  }
}

static void test_position_and_length_do_not_matter(void **state) {
  (void)state;
  static double x[N], all[N], part[N];
  static float xf[N], allf[N], partf[N];
  for (size_t t = 0; t < n_tables; t++) {
    for (size_t k = 0; k < sizeof functions / sizeof *functions; k++) {
      const one_function *f = &functions[k];
      arguments(f, 0.12, x);
      for (size_t i = 0; i < N; i++) {
        xf[i] = (float)x[i];
      }
      double_of(tables[t], f)(x, all, N);
      float_of(tables[t], f)(xf, allf, N);
      for (size_t n = 0; n < 70; n++) {
        for (size_t start = 0; start < 20; start++) {
          memset(part, 0x55, sizeof part);
          memset(partf, 0x55, sizeof partf);
          double guard = part[n];
          float guardf = partf[n];
          double_of(tables[t], f)(x + start, part, n);
          check_same_bits(part, all + start, n);
          check_same_bits(&part[n], &guard, 1); /* nothing behind n is written */
          float_of(tables[t], f)(xf + start, partf, n);
          if (n > 0) {
            assert_memory_equal(partf, allf + start, n * sizeof *partf);
          }
          assert_memory_equal(&partf[n], &guardf, sizeof guardf);
        }
      }
      memcpy(part, x, sizeof part); /* in place */
      double_of(tables[t], f)(part, part, N);
      check_same_bits(part, all, N);
      memcpy(partf, xf, sizeof partf);
      float_of(tables[t], f)(partf, partf, N);
      assert_memory_equal(partf, allf, sizeof partf);
    }
  }
}

static void test_sincos_position_and_aliasing(void **state) {
  (void)state;
  double x[45], sine[45], cosine[45], s[45], c[45];
  for (size_t i = 0; i < 45; i++) {
    x[i] = 0.3 * (double)i - 4.0;
  }
  for (size_t t = 0; t < n_tables; t++) {
    tables[t]->sincos(x, sine, cosine, 45);
    for (size_t n = 0; n < 45; n++) {
      tables[t]->sincos(x + 45 - n, s, c, n);
      check_same_bits(s, sine + 45 - n, n);
      check_same_bits(c, cosine + 45 - n, n);
    }
    memcpy(s, x, sizeof x);
    tables[t]->sincos(s, s, c, 45);
    check_same_bits(s, sine, 45);
    memcpy(c, x, sizeof x);
    tables[t]->sincos(c, s, c, 45);
    check_same_bits(c, cosine, 45);
  }
}

static void test_instruction_sets_agree(void **state) {
  (void)state;
  if (n_tables < 3) {
    skip();
  }
  static double x[N], a[N], b[N], c[N], d[N];
  static float xf[N], af[N], bf[N];
  for (size_t k = 0; k < sizeof functions / sizeof *functions; k++) {
    for (int small = 0; small < 2; small++) {
      arguments(&functions[k], small ? 0.12 : 1.0, x);
      double_of(tables[1], &functions[k])(x, a, N);
      double_of(tables[2], &functions[k])(x, b, N);
      check_same_bits(a, b, N);
      for (size_t i = 0; i < N; i++) {
        xf[i] = (float)x[i];
      }
      float_of(tables[1], &functions[k])(xf, af, N);
      float_of(tables[2], &functions[k])(xf, bf, N);
      assert_memory_equal(af, bf, sizeof af);
    }
  }
  tables[1]->sincos(x, a, b, N);
  tables[2]->sincos(x, c, d, N);
  check_same_bits(a, c, N);
  check_same_bits(b, d, N);
  poe_rng at = {.key = 0x123456789abcdef0U, .chain = 3, .step = 5, .site = 7};
  tables[1]->normals(at, 11, N / 16, a);
  tables[2]->normals(at, 11, N / 16, b);
  check_same_bits(a, b, N / 16 * 16);
  for (size_t t = 1; t < 3; t++) { /* integers: the plain table too has these bits */
    tables[0]->uniforms(at, 11, N / 16, a);
    tables[t]->uniforms(at, 11, N / 16, b);
    check_same_bits(a, b, N / 16 * 16);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_accuracy),
      cmocka_unit_test(test_extremes),
      cmocka_unit_test(test_position_and_length_do_not_matter),
      cmocka_unit_test(test_sincos_position_and_aliasing),
      cmocka_unit_test(test_instruction_sets_agree),
  };
  return cmocka_run_group_tests(tests, find_tables, NULL);
}
