/* Activations against long double, for every type and instruction set, with and without derivative, at every width. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "net/activation.h"
#include "net/simd.h"
#include "tests/support/check.h"

/* f(v) and f'(v) by the formulas of docs/MODEL-FORMAT.md in long double. */
static long double exact(poei_activation activation, long double v, long double a, long double *slope) {
  long double root = sqrtl(2.0L), s = 1.0L / (1.0L + expl(-v));
  switch (activation) {
  case POEI_RELU:
    *slope = v > 0.0L ? 1.0L : 0.0L;
    return v > 0.0L ? v : 0.0L;
  case POEI_LEAKY_RELU:
    *slope = v > 0.0L ? 1.0L : a;
    return v > 0.0L ? v : a * v;
  case POEI_ELU:
    *slope = v > 0.0L ? 1.0L : a * expl(v);
    return v > 0.0L ? v : a * expm1l(v);
  case POEI_GELU: {
    long double phi = 0.5L * erfcl(-v / root);
    *slope = phi + v * expl(-0.5L * v * v) / sqrtl(2.0L * 3.14159265358979323846264338L);
    return v * phi;
  }
  case POEI_GELU_TANH: {
    long double c = sqrtl(2.0L / 3.14159265358979323846264338L), u = c * (v + 0.044715L * v * v * v);
    long double q = 1.0L / (1.0L + expl(-2.0L * u));
    *slope = q + v * q * (1.0L - q) * 2.0L * c * (1.0L + 3.0L * 0.044715L * v * v);
    return v * q;
  }
  case POEI_SILU:
    *slope = s + v * s * (1.0L - s);
    return v * s;
  case POEI_SOFTPLUS:
    *slope = s;
    return v > 0.0L ? v + log1pl(expl(-v)) : log1pl(expl(v));
  case POEI_TANH: {
    long double c = coshl(v);
    *slope = 1.0L / (c * c);
    return tanhl(v);
  }
  case POEI_SIGMOID: {
    long double e = expl(-fabsl(v));
    *slope = e / ((1.0L + e) * (1.0L + e));
    return s;
  }
  default:
    *slope = 1.0L;
    return v;
  }
}

enum { POINTS = 8001 };
static float z_float[POINTS], y_float[POINTS], d_float[POINTS];
static double z_double[POINTS], y_double[POINTS], d_double[POINTS];

/* Largest errors over the grid, relative to a size: |f| (but at least `floor`), in units of eps. */
static void measure(poei_activation activation, double size, double *value, double *slope, bool single) {
  double a = poei_activation_parameter(activation), eps = single ? 0x1p-24 : 0x1p-53;
  *value = *slope = 0.0;
  for (int i = 0; i < POINTS; i++) {
    long double d, y = exact(activation, single ? (long double)z_float[i] : (long double)z_double[i],
                             single ? (long double)(float)a : (long double)a, &d);
    long double ey = fabsl((single ? (long double)y_float[i] : (long double)y_double[i]) - y);
    long double ed = fabsl((single ? (long double)d_float[i] : (long double)d_double[i]) - d);
    /* Relative where the value is above 1e-3 in size (the tails of gelu lose digits by the rounding of v^2), absolute
     * in units of 1e-3 below. */
    *value = fmax(*value, (double)(ey / fmaxl(fabsl(y), 1e-3L)) / eps);
    *slope = fmax(*slope, (double)(ed / fmaxl(fabsl(d), (long double)size)) / eps);
  }
}

/* Half-ulp units that each activation may be off, value and slope. The slopes of silu and gelu cross 0 as differences
 * of terms of size 1: there the error is measured against 1; elsewhere against the slope, or 1e-3 if it is smaller. */
static const struct {
  poei_activation activation;
  double value, slope, slope_size;
} allowed[] = {
    {POEI_IDENTITY, 0, 0, 1e-3}, {POEI_RELU, 0, 0, 1e-3},     {POEI_LEAKY_RELU, 1, 0, 1e-3},
    {POEI_ELU, 2, 2, 1e-3},      {POEI_GELU, 10, 6, 1.0},     {POEI_GELU_TANH, 24, 6, 1.0},
    {POEI_SILU, 5, 5, 1.0},      {POEI_SOFTPLUS, 5, 4, 1e-3}, {POEI_TANH, 4, 7, 1e-3},
    {POEI_SIGMOID, 4, 7, 1e-3},
};

static void test_accuracy(void **state) {
  (void)state;
  assert_int_equal(sizeof allowed / sizeof *allowed, POEI_ACTIVATION_COUNT);
  for (int level = 0; level < POEI_SIMD_COUNT; level++) {
    poei_simd_limit((poei_simd)level);
    if (poei_simd_level() != (poei_simd)level) {
      continue; /* this processor has not got it */
    }
    for (size_t k = 0; k < POEI_ACTIVATION_COUNT; k++) {
      poei_activation activation = allowed[k].activation;
      double a = poei_activation_parameter(activation), value, slope;
      for (int i = 0; i < POINTS; i++) {
        z_double[i] = 20.0 * (i - POINTS / 2) / (POINTS / 2) + 1e-3 * sin(i);
        z_float[i] = (float)z_double[i];
      }
      poei_activate_float(activation, (float)a, 1, POINTS, NULL, 0, 0, z_float, y_float, d_float);
      poei_activate_double(activation, a, 1, POINTS, NULL, 0, 0, z_double, y_double, d_double);
      for (int single = 0; single < 2; single++) {
        measure(activation, allowed[k].slope_size, &value, &slope, single == 1);
        print_message("%-8s %-10s %s: value %.1f, slope %.1f half units in the last place\n",
                      poei_simd_name((poei_simd)level), poei_activation_name(activation), single ? "single" : "double",
                      value, slope);
        assert_true(value <= allowed[k].value);
        assert_true(slope <= allowed[k].slope);
      }
    }
  }
  poei_simd_limit(POEI_SIMD_COUNT - 1);
}

/* Far out: no NaN, the right limits, for all of them. */
static void test_extremes(void **state) {
  (void)state;
  static const double far[] = {-1e30, -1e4, -200.0, -0.0, 0.0, 200.0, 1e4, 1e30};
  for (int k = 0; k < POEI_ACTIVATION_COUNT; k++) {
    poei_activation activation = (poei_activation)k;
    double a = poei_activation_parameter(activation);
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
      float zf = (float)far[i], yf, df;
      double zd = far[i], yd, dd;
      poei_activate_float(activation, (float)a, 1, 1, NULL, 0, 0, &zf, &yf, &df);
      poei_activate_double(activation, a, 1, 1, NULL, 0, 0, &zd, &yd, &dd);
      bool bounded = activation == POEI_TANH || activation == POEI_SIGMOID;
      bool to_zero = activation == POEI_RELU || activation == POEI_GELU || activation == POEI_GELU_TANH ||
                     activation == POEI_SILU || activation == POEI_SOFTPLUS;
      double limit = far[i] > 0.0                    ? (bounded ? 1.0 : far[i])
                     : to_zero                       ? 0.0
                     : activation == POEI_ELU        ? -a
                     : activation == POEI_TANH       ? -1.0
                     : activation == POEI_SIGMOID    ? 0.0
                     : activation == POEI_LEAKY_RELU ? a * far[i]
                                                     : far[i];
      assert_true(isfinite(yf) && isfinite(df) && isfinite(yd) && isfinite(dd));
      if (fabs(far[i]) >= 200.0) {
        check_close(yd, limit, 1e-80, 1e-15);
        check_close((double)yf, limit, 1e-34, 1e-7);
        check_close(dd,
                    far[i] > 0.0 ? (bounded ? 0.0 : 1.0)
                    : activation == POEI_IDENTITY || activation == POEI_LEAKY_RELU
                        ? (activation == POEI_IDENTITY ? 1.0 : a)
                        : 0.0,
                    1e-80, 1e-15);
      }
    }
    float nan_in = NAN, nan_out, unused;
    poei_activate_float(activation, (float)a, 1, 1, NULL, 0, 0, &nan_in, &nan_out, &unused);
    assert_true(isnan(nan_out));
  }
}

/* An element's bits do not depend on the width, its place, the bias' layout, or whether the slope is wanted. */
static void test_position(void **state) {
  (void)state;
  enum { WIDTH = 67 };
  for (int k = 0; k < POEI_ACTIVATION_COUNT; k++) {
    poei_activation activation = (poei_activation)k;
    float a = (float)poei_activation_parameter(activation), z[WIDTH], bias[WIDTH], y[WIDTH], d[WIDTH], alone[WIDTH];
    for (int i = 0; i < WIDTH; i++) {
      z[i] = (float)(3.0 * sin(i));
      bias[i] = (float)cos(i);
    }
    poei_activate_float(activation, a, 1, WIDTH, bias, 0, 1, z, y, d);
    for (int i = 0; i < WIDTH; i++) {
      float one, slope;
      poei_activate_float(activation, a, 1, 1, &bias[i], 1, 0, &z[i], &one, &slope);
      assert_memory_equal(&one, &y[i], sizeof one);
      assert_memory_equal(&slope, &d[i], sizeof slope);
    }
    poei_activate_float(activation, a, WIDTH, 1, bias, 1, 0, z, alone, NULL);
    assert_memory_equal(alone, y, sizeof y);
    /* in place on either side */
    memcpy(alone, z, sizeof z);
    poei_activate_float(activation, a, 1, WIDTH, bias, 0, 1, alone, alone, NULL);
    assert_memory_equal(alone, y, sizeof y);
    memcpy(alone, z, sizeof z);
    float moved[WIDTH];
    poei_activate_float(activation, a, 1, WIDTH, bias, 0, 1, alone, moved, alone);
    assert_memory_equal(moved, y, sizeof y);
    assert_memory_equal(alone, d, sizeof d);
  }
}

static void test_words(void **state) {
  (void)state;
  assert_int_equal(poei_activation_find("gelu_tanh"), POEI_GELU_TANH);
  assert_int_equal(poei_activation_find("swish"), POEI_ACTIVATION_COUNT);
  assert_string_equal(poei_activation_name(POEI_SILU), "silu");
  assert_string_equal(POEI_ACTIVATION_WORDS, "identity|relu|leaky_relu|elu|gelu|gelu_tanh|silu|softplus|tanh|sigmoid");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_accuracy), cmocka_unit_test(test_extremes),
                                     cmocka_unit_test(test_position), cmocka_unit_test(test_words)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
