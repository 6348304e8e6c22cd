/* Formulas: every operation against the C library, its derivative against the complex step or central differences,
 * sharing and folding, IEEE values, blocks of rows. */
#include <complex.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/special.h"
#include "net/formula_nodes.h"
#include "tests/support/check.h"

enum { MAX_ROWS = 150 };

/* Values and gradients (with seed 1) of n rows of dimension d, in an arena of the declared size. */
static void evaluate(const poei_formula *f, size_t n, size_t d, const double *x, double *value, double *grad) {
  double seed[MAX_ROWS];
  for (size_t i = 0; i < n; i++) {
    seed[i] = 1.0;
  }
  memset(grad, 0, n * d * sizeof *grad);
  poe_scratch *scratch = poe_scratch_create(poei_formula_scratch(f, POE_WANT_GRAD, n));
  uint64_t before = poei_alloc_count();
  poei_formula_eval(f, (poe_rows){n, d, d, x}, value, seed, grad, d, scratch);
  assert_int_equal(poei_alloc_count(), before);
  assert_int_equal(poe_scratch_mark(scratch), 0);
  poe_scratch_destroy(scratch);
  double again[MAX_ROWS];
  scratch = poe_scratch_create(poei_formula_scratch(f, POE_WANT_LOGP, n));
  poei_formula_eval(f, (poe_rows){n, d, d, x}, again, NULL, NULL, 0, scratch);
  poe_scratch_destroy(scratch);
  assert_memory_equal(again, value, n * sizeof *value);
}

static poei_formula *finish(poei_formula_builder *b, poei_formula_value root) {
  poe_error error = {0};
  poei_formula *f;
  check_ok(poei_formula_finish(b, root, &f, &error), error);
  poei_formula_builder_destroy(b);
  return f;
}

/* op(x0 .. x(n-1)). */
static poei_formula *formula_of(poei_formula_op op, size_t n) {
  poei_formula_builder *b = poei_formula_builder_create(n);
  poei_formula_value args[8];
  for (size_t i = 0; i < n; i++) {
    args[i] = poei_formula_coordinate(b, i);
  }
  return finish(b, poei_formula_apply(b, op, n, args));
}

/* ---- operations of one argument: complex arguments give derivatives without cancellation ---- */

static double complex cexpm1_(double complex z) {
  return cexp(z) - 1.0;
}
static double complex clog1p_(double complex z) {
  return clog(1.0 + z);
}
static double complex csoftplus(double complex z) {
  return clog(1.0 + cexp(z));
}
static double complex csigmoid(double complex z) {
  return 1.0 / (1.0 + cexp(-z));
}
static double complex cneg(double complex z) {
  return -z;
}

static void test_unary(void **state) {
  (void)state;
  static const struct {
    poei_formula_op op;
    double complex (*function)(double complex);
    double low, high;
  } ops[] = {{POEI_FORMULA_NEG, cneg, -3, 3},          {POEI_FORMULA_EXP, cexp, -20, 20},
             {POEI_FORMULA_LOG, clog, 0.01, 20},       {POEI_FORMULA_LOG1P, clog1p_, -0.9, 20},
             {POEI_FORMULA_EXPM1, cexpm1_, -3, 10},    {POEI_FORMULA_SQRT, csqrt, 0.01, 20},
             {POEI_FORMULA_SIN, csin, -10, 10},        {POEI_FORMULA_COS, ccos, -10, 10},
             {POEI_FORMULA_TANH, ctanh, -5, 5},        {POEI_FORMULA_SOFTPLUS, csoftplus, -10, 10},
             {POEI_FORMULA_SIGMOID, csigmoid, -10, 10}};
  for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
    poei_formula *f = formula_of(ops[k].op, 1);
    double x[MAX_ROWS], value[MAX_ROWS], grad[MAX_ROWS], step = 1e-20;
    for (size_t i = 0; i < MAX_ROWS; i++) {
      x[i] = ops[k].low + (ops[k].high - ops[k].low) * (double)i / (MAX_ROWS - 1);
    }
    evaluate(f, MAX_ROWS, 1, x, value, grad);
    for (size_t i = 0; i < MAX_ROWS; i++) {
      double complex z = ops[k].function(CMPLX(x[i], step));
      check_close(value[i], creal(z), 1e-15, 2e-14);
      check_close(grad[i], cimag(z) / step, 1e-15, 1e-13);
    }
    poei_formula_release(f);
  }
}

/* ---- the others: central differences of the C library's function ---- */

static double c_erf(size_t n, const double *x) {
  (void)n;
  return erf(x[0]);
}
static double c_lgamma(size_t n, const double *x) {
  (void)n;
  return lgamma(x[0]);
}
static double c_abs(size_t n, const double *x) {
  (void)n;
  return fabs(x[0]);
}
static double c_relu(size_t n, const double *x) {
  (void)n;
  return fmax(x[0], 0.0);
}
static double c_add(size_t n, const double *x) {
  (void)n;
  return x[0] + x[1];
}
static double c_sub(size_t n, const double *x) {
  (void)n;
  return x[0] - x[1];
}
static double c_mul(size_t n, const double *x) {
  (void)n;
  return x[0] * x[1];
}
static double c_div(size_t n, const double *x) {
  (void)n;
  return x[0] / x[1];
}
static double c_pow(size_t n, const double *x) {
  (void)n;
  return pow(x[0], x[1]);
}
static double c_atan2(size_t n, const double *x) {
  (void)n;
  return atan2(x[0], x[1]);
}
static double c_min(size_t n, const double *x) {
  double v = x[0];
  for (size_t i = 1; i < n; i++) {
    v = fmin(v, x[i]);
  }
  return v;
}
static double c_max(size_t n, const double *x) {
  double v = x[0];
  for (size_t i = 1; i < n; i++) {
    v = fmax(v, x[i]);
  }
  return v;
}
static double c_sum(size_t n, const double *x) {
  double v = 0.0;
  for (size_t i = 0; i < n; i++) {
    v += x[i];
  }
  return v;
}
static double c_logsumexp(size_t n, const double *x) {
  double v = 0.0;
  for (size_t i = 0; i < n; i++) {
    v += exp(x[i]);
  }
  return log(v);
}
static double c_norm(size_t n, const double *x) {
  double v = 0.0;
  for (size_t i = 0; i < n; i++) {
    v += x[i] * x[i];
  }
  return sqrt(v);
}

static void test_others(void **state) {
  (void)state;
  static const struct {
    poei_formula_op op;
    size_t n;
    double (*function)(size_t n, const double *x);
    double low, high;
  } ops[] = {
      {POEI_FORMULA_ERF, 1, c_erf, -3, 3},
      {POEI_FORMULA_LGAMMA, 1, c_lgamma, 0.05, 30},
      {POEI_FORMULA_LGAMMA, 1, c_lgamma, -2.9, -2.1},
      {POEI_FORMULA_ABS, 1, c_abs, -3.1, 3},
      {POEI_FORMULA_RELU, 1, c_relu, -3.1, 3},
      {POEI_FORMULA_ADD, 2, c_add, -3, 3},
      {POEI_FORMULA_SUB, 2, c_sub, -3, 3},
      {POEI_FORMULA_MUL, 2, c_mul, -3, 3},
      {POEI_FORMULA_DIV, 2, c_div, 0.3, 3},
      {POEI_FORMULA_POW, 2, c_pow, 0.3, 3},
      {POEI_FORMULA_ATAN2, 2, c_atan2, 0.3, 3},
      {POEI_FORMULA_MIN, 3, c_min, -3, 3},
      {POEI_FORMULA_MAX, 4, c_max, -3, 3},
      {POEI_FORMULA_SUM, 5, c_sum, -3, 3},
      {POEI_FORMULA_SUM, 1, c_sum, -3, 3},
      {POEI_FORMULA_LOGSUMEXP, 3, c_logsumexp, -5, 5},
      {POEI_FORMULA_LOGSUMEXP, 1, c_logsumexp, -5, 5},
      {POEI_FORMULA_NORM, 3, c_norm, -3, 3},
      {POEI_FORMULA_NORM, 1, c_norm, -3.1, 3},
  };
  for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
    size_t n = ops[k].n;
    poei_formula *f = formula_of(ops[k].op, n);
    double x[MAX_ROWS * 5], value[MAX_ROWS], grad[MAX_ROWS * 5], step = 1e-6;
    poe_rng at = poe_rng_seed(7);
    at.site = (uint32_t)k;
    poe_rng_uniforms(at, MAX_ROWS * n, x);
    for (size_t i = 0; i < MAX_ROWS * n; i++) {
      x[i] = ops[k].low + (ops[k].high - ops[k].low) * x[i];
    }
    evaluate(f, MAX_ROWS, n, x, value, grad);
    for (size_t r = 0; r < MAX_ROWS; r++) {
      double *row = x + r * n;
      check_close(value[r], ops[k].function(n, row), 4e-15, 4e-15);
      for (size_t j = 0; j < n; j++) {
        double here = row[j];
        row[j] = here + step;
        double up = ops[k].function(n, row);
        row[j] = here - step;
        double slope = (up - ops[k].function(n, row)) / (2.0 * step);
        row[j] = here;
        check_close(grad[r * n + j], slope, 2e-7, 2e-7);
      }
    }
    poei_formula_release(f);
  }
}

/* ---- values at the edges ---- */

static double at_point(poei_formula_op op, size_t n, const double *x, double *grad) {
  poei_formula *f = formula_of(op, n);
  double value;
  evaluate(f, 1, n, x, &value, grad);
  poei_formula_release(f);
  return value;
}

static void test_edges(void **state) {
  (void)state;
  double g[3];
  assert_true(isnan(at_point(POEI_FORMULA_LOG, 1, (double[]){-1.0}, g)));
  assert_true(at_point(POEI_FORMULA_LOG, 1, (double[]){0.0}, g) == -INFINITY);
  assert_true(isnan(at_point(POEI_FORMULA_SQRT, 1, (double[]){-1.0}, g)));
  assert_true(isnan(at_point(POEI_FORMULA_POW, 2, (double[]){-1.0, 0.5}, g)));
  assert_true(at_point(POEI_FORMULA_DIV, 2, (double[]){1.0, 0.0}, g) == INFINITY);
  /* far out, nothing overflows */
  check_close(at_point(POEI_FORMULA_SOFTPLUS, 1, (double[]){1e4}, g), 1e4, 0.0, 0.0);
  check_close(g[0], 1.0, 0.0, 0.0);
  check_close(at_point(POEI_FORMULA_SOFTPLUS, 1, (double[]){-1e4}, g), 0.0, 0.0, 0.0);
  check_close(at_point(POEI_FORMULA_SIGMOID, 1, (double[]){-1e4}, g), 0.0, 0.0, 0.0);
  check_close(at_point(POEI_FORMULA_SIGMOID, 1, (double[]){50.0}, g), 1.0, 0.0, 0.0);
  check_close(g[0], exp(-50.0), 0.0, 1e-14);
  at_point(POEI_FORMULA_TANH, 1, (double[]){20.0}, g);
  check_close(g[0], 4.0 * exp(-40.0), 0.0, 1e-13);
  check_close(at_point(POEI_FORMULA_LOGSUMEXP, 2, (double[]){1000.0, 1000.0}, g), 1000.0 + log(2.0), 0.0, 1e-15);
  check_close(g[0], 0.5, 0.0, 1e-13);
  assert_true(at_point(POEI_FORMULA_LOGSUMEXP, 2, (double[]){-INFINITY, -INFINITY}, g) == -INFINITY);
  check_close(g[0], 0.0, 0.0, 0.0);
  assert_true(at_point(POEI_FORMULA_LOGSUMEXP, 2, (double[]){INFINITY, 0.0}, g) == INFINITY);
  check_close(at_point(POEI_FORMULA_NORM, 2, (double[]){3e200, 4e200}, g), 5e200, 0.0, 1e-15);
  check_close(g[1], 0.8, 0.0, 1e-15);
  check_close(at_point(POEI_FORMULA_NORM, 2, (double[]){0.0, 0.0}, g), 0.0, 0.0, 0.0);
  check_close(g[0], 0.0, 0.0, 0.0);
  assert_true(isnan(at_point(POEI_FORMULA_NORM, 2, (double[]){NAN, INFINITY}, g)));
  assert_true(isnan(at_point(POEI_FORMULA_MIN, 2, (double[]){NAN, 1.0}, g)));
  /* the choices at kinks and ties */
  at_point(POEI_FORMULA_ABS, 1, (double[]){0.0}, g);
  check_close(g[0], 0.0, 0.0, 0.0);
  at_point(POEI_FORMULA_RELU, 1, (double[]){0.0}, g);
  check_close(g[0], 0.0, 0.0, 0.0);
  at_point(POEI_FORMULA_MAX, 3, (double[]){1.0, 2.0, 2.0}, g);
  check_close(g[0] + 10.0 * g[1] + 100.0 * g[2], 10.0, 0.0, 0.0);
  at_point(POEI_FORMULA_POW, 2, (double[]){0.0, 2.5}, g);
  check_close(g[0], 0.0, 0.0, 0.0);
  check_close(g[1], 0.0, 0.0, 0.0);
  /* gamma at integers, halves and poles */
  check_close(poei_log_gamma(1.0), 0.0, 1e-14, 0.0);
  check_close(poei_log_gamma(0.5), 0.5 * log(acos(-1.0)), 0.0, 1e-15);
  check_close(poei_log_gamma(171.0), lgamma(171.0), 0.0, 1e-15);
  check_close(poei_log_gamma(-20.25), lgamma(-20.25), 0.0, 1e-15);
  check_close(poei_log_gamma(1e-300), lgamma(1e-300), 0.0, 1e-15);
  assert_true(poei_log_gamma(-3.0) == INFINITY && isnan(poei_digamma(0.0)));
  check_close(poei_digamma(1.0), -0.57721566490153286061, 0.0, 1e-14);
  check_close(poei_digamma(-0.5), 0.03648997397857652056, 0.0, 1e-13);
}

/* ---- graphs ---- */

/* Rosenbrock's energy, its gradient in closed form, in blocks and with padding. */
static void test_graph(void **state) {
  (void)state;
  enum { N = 131, LD = 3 };
  poei_formula_builder *b = poei_formula_builder_create(2);
  poei_formula_value x = poei_formula_coordinate(b, 0), y = poei_formula_coordinate(b, 1);
  poei_formula_value two = poei_formula_constant(b, 2.0);
  poei_formula_value square = poei_formula_apply(b, POEI_FORMULA_POW, 2, (poei_formula_value[]){x, two});
  poei_formula_value off = poei_formula_apply(b, POEI_FORMULA_SUB, 2, (poei_formula_value[]){y, square});
  poei_formula_value valley = poei_formula_apply(b, POEI_FORMULA_POW, 2, (poei_formula_value[]){off, two});
  poei_formula_value sum = poei_formula_apply(b, POEI_FORMULA_ADD, 2, (poei_formula_value[]){square, valley});
  poei_formula *f = finish(b, poei_formula_apply(b, POEI_FORMULA_DIV, 2, (poei_formula_value[]){sum, two}));
  assert_int_equal(poei_formula_dim(f), 2);
  double rows[N * LD], value[N], grad[N * LD], seed[N];
  for (size_t i = 0; i < N * LD; i++) {
    rows[i] = sin((double)i);
    grad[i] = 5.0;
  }
  for (size_t i = 0; i < N; i++) {
    seed[i] = i % 3 == 0 ? 0.0 : (double)i;
  }
  poe_scratch *scratch = poe_scratch_create(poei_formula_scratch(f, POE_WANT_GRAD, N));
  poei_formula_eval(f, (poe_rows){N, 2, LD, rows}, value, seed, grad, LD, scratch);
  poe_scratch_destroy(scratch);
  for (size_t i = 0; i < N; i++) {
    double u = rows[i * LD], v = rows[i * LD + 1], e = v - u * u;
    check_close(value[i], 0.5 * (u * u + e * e), 1e-15, 1e-15);
    check_close(grad[i * LD], 5.0 + seed[i] * (u - 2.0 * u * e), 1e-12, 1e-14);
    check_close(grad[i * LD + 1], 5.0 + seed[i] * e, 1e-12, 1e-14);
    check_close(grad[i * LD + 2], 5.0, 0.0, 0.0);
  }
  poei_formula_release(f);
}

/* Rows are alike wherever they stand, and a formula too large for one block of 64 gives the same numbers. */
static void test_blocks(void **state) {
  (void)state;
  enum { D = 400, N = 70 };
  poei_formula_builder *b = poei_formula_builder_create(D);
  poei_formula_value terms[D];
  for (size_t i = 0; i < D; i++) {
    poei_formula_value x = poei_formula_coordinate(b, i);
    terms[i] = poei_formula_apply(b, POEI_FORMULA_TANH, 1, &x);
  }
  poei_formula *f = finish(b, poei_formula_apply(b, POEI_FORMULA_SUM, D, terms));
  assert_true(f->block < 64 && f->block >= 8);
  double *x = malloc(N * D * sizeof *x), *grad = malloc(N * D * sizeof *x), value[N];
  for (size_t r = 0; r < N; r++) {
    for (size_t i = 0; i < D; i++) {
      x[r * D + i] = cos((double)i);
    }
  }
  evaluate(f, N, D, x, value, grad);
  for (size_t r = 1; r < N; r++) {
    check_same_bits(&value[r], &value[0], 1);
    check_same_bits(grad + r * D, grad, D);
  }
  double expected = 0.0;
  for (size_t i = 0; i < D; i++) {
    expected += tanh(cos((double)i));
    check_close(grad[i], 1.0 / (cosh(cos((double)i)) * cosh(cos((double)i))), 0.0, 1e-13);
  }
  check_close(value[0], expected, 1e-12, 1e-13);
  free(x);
  free(grad);
  poei_formula_release(f);
}

static void test_sharing(void **state) {
  (void)state;
  poei_formula_builder *b = poei_formula_builder_create(2);
  poei_formula_value x = poei_formula_coordinate(b, 0), y = poei_formula_coordinate(b, 1);
  poei_formula_value zero = poei_formula_constant(b, 0.0), one = poei_formula_constant(b, 1.0);
  assert_int_equal(poei_formula_coordinate(b, 0), x);
  assert_int_equal(poei_formula_constant(b, 1.0), one);
  assert_int_not_equal(poei_formula_constant(b, -0.0), zero);
  poei_formula_value xy = poei_formula_apply(b, POEI_FORMULA_MUL, 2, (poei_formula_value[]){x, y});
  assert_int_equal(poei_formula_apply(b, POEI_FORMULA_MUL, 2, (poei_formula_value[]){y, x}), xy);
  assert_int_equal(poei_formula_apply(b, POEI_FORMULA_ADD, 2, (poei_formula_value[]){x, zero}), x);
  assert_int_equal(poei_formula_apply(b, POEI_FORMULA_MUL, 2, (poei_formula_value[]){one, x}), x);
  assert_int_equal(poei_formula_apply(b, POEI_FORMULA_POW, 2, (poei_formula_value[]){x, one}), x);
  poei_formula_value minus = poei_formula_apply(b, POEI_FORMULA_NEG, 1, &x);
  assert_int_equal(poei_formula_apply(b, POEI_FORMULA_NEG, 1, &minus), x);
  /* x * 0 is not 0: it is NaN where x is infinite */
  assert_int_not_equal(poei_formula_apply(b, POEI_FORMULA_MUL, 2, (poei_formula_value[]){x, zero}), zero);
  /* constants fold, also over many arguments */
  poei_formula_value many[6];
  for (size_t i = 0; i < 6; i++) {
    many[i] = poei_formula_constant(b, (double)i);
  }
  assert_int_equal(poei_formula_apply(b, POEI_FORMULA_SUM, 6, many), poei_formula_constant(b, 15.0));
  assert_int_equal(poei_formula_apply(b, POEI_FORMULA_NORM, 2, (poei_formula_value[]){many[3], many[4]}),
                   poei_formula_constant(b, 5.0));
  assert_int_equal(poei_formula_apply(b, POEI_FORMULA_MAX, 6, many), many[5]);
  /* what the root does not need is not in the formula; the builder can go on */
  poe_error error = {0};
  poei_formula *f, *g;
  check_ok(poei_formula_finish(b, xy, &f, &error), error);
  assert_int_equal(f->n_nodes, 3);
  check_ok(poei_formula_finish(b, many[5], &g, &error), error);
  assert_int_equal(g->n_nodes, 1);
  double point[2] = {1.0, 2.0}, value, grad[2];
  evaluate(g, 1, 2, point, &value, grad);
  check_close(value, 5.0, 0.0, 0.0);
  check_close(grad[0], 0.0, 0.0, 0.0);
  poei_formula_builder_destroy(b);
  poei_formula *kept = poei_formula_retain(f);
  poei_formula_release(f);
  poei_formula_release(kept);
  poei_formula_release(g);
}

/* Thousands of nodes: the table of nodes grows and sharing still works. */
static void test_growth(void **state) {
  (void)state;
  poei_formula_builder *b = poei_formula_builder_create(1);
  poei_formula_value x = poei_formula_coordinate(b, 0), v = x, checkpoint = x;
  for (int i = 0; i < 3000; i++) {
    poei_formula_value c = poei_formula_constant(b, (double)i + 0.5);
    v = poei_formula_apply(b, POEI_FORMULA_ADD, 2, (poei_formula_value[]){v, c});
    checkpoint = i == 10 ? v : checkpoint;
  }
  poei_formula_value again = x;
  for (int i = 0; i <= 10; i++) {
    poei_formula_value c = poei_formula_constant(b, (double)i + 0.5);
    again = poei_formula_apply(b, POEI_FORMULA_ADD, 2, (poei_formula_value[]){again, c});
  }
  assert_int_equal(again, checkpoint);
  poei_formula *f = finish(b, v);
  double point = 1.0, value, grad;
  evaluate(f, 1, 1, &point, &value, &grad);
  check_close(value, 1.0 + 3000.0 * 1500.0, 0.0, 0.0);
  check_close(grad, 1.0, 0.0, 0.0);
  poei_formula_release(f);
}

static void test_failures(void **state) {
  (void)state;
  poe_error error = {0};
  poei_formula *f = NULL;
  poei_formula_builder *b = poei_formula_builder_create(1);
  assert_true(poei_formula_coordinate(b, 1) < 0);
  check_fails(poei_formula_finish(b, 0, &f, &error), POE_E_SHAPE, error, "beyond");
  poei_formula_builder_destroy(b);
  b = poei_formula_builder_create(1);
  poei_formula_value x = poei_formula_coordinate(b, 0);
  assert_true(poei_formula_apply(b, POEI_FORMULA_ADD, 1, &x) < 0);
  check_fails(poei_formula_finish(b, x, &f, &error), POE_E_TYPE, error, "wrong number");
  poei_formula_builder_destroy(b);
  poei_formula_release(NULL);
  poei_formula_builder_destroy(NULL);
  for (uint64_t at = 1;; at++) { /* every allocation failing in turn */
    f = NULL;
    error = (poe_error){0};
    poei_alloc_fail_at(at);
    b = poei_formula_builder_create(2);
    poe_status status = POE_E_MEMORY;
    if (b != NULL) {
      poei_formula_value v = poei_formula_coordinate(b, 0);
      for (int i = 0; i < 300; i++) {
        poei_formula_value c = poei_formula_constant(b, (double)i + 0.25);
        v = poei_formula_apply(b, POEI_FORMULA_ADD, 2, (poei_formula_value[]){v, c});
      }
      status = poei_formula_finish(b, v, &f, &error);
    }
    poei_alloc_fail_at(0);
    poei_formula_builder_destroy(b);
    if (status == POE_OK) {
      double point[2] = {0.0, 0.0}, value, grad[2];
      evaluate(f, 1, 2, point, &value, grad);
      check_close(value, 300.0 * 149.75, 0.0, 0.0);
      poei_formula_release(f);
      if (at > 40) {
        break;
      }
      continue; /* the failure was one that only makes things slower */
    }
    assert_int_equal(status, POE_E_MEMORY);
    assert_null(f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_unary),  cmocka_unit_test(test_others),   cmocka_unit_test(test_edges),
      cmocka_unit_test(test_graph),  cmocka_unit_test(test_blocks),   cmocka_unit_test(test_sharing),
      cmocka_unit_test(test_growth), cmocka_unit_test(test_failures),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
