/* Activation functions (net/activation.h): tables of kernels by type and instruction set.
 *
 * Errors in units of the last place, both types, the largest over 8001 points of [-20, 20] (tests/net/test_activation.c
 * keeps them): relu 0; leaky_relu, elu 1; sigmoid, tanh, silu 2; softplus 2.5; gelu 4, gelu_tanh 10 where the value is
 * above 1e-3 in size. In gelu's negative tail the relative error grows like v^2 units, because e^(-v^2/2) does; the
 * absolute error does not grow.
 * Gelu's Phi(-a) = e^(-a^2/2) t (q0 + q1 u + q2 u^2 + ...), t = 1 / (1 + c a): single c = 0.21, u = t, fitted by us for
 * the least relative error on 0 <= a <= 14 (1.7e-8 before rounding); double c = 0.22, u in [-1, 1] linear in t,
 * interpolated by us at Chebyshev's points for 0 <= a <= 38.5 (1e-16).
 */
#include "net/activation.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "net/simd.h"

/* 1/2!, 1/3!, ... */
static const float exp_terms_float[] = {1.0f / 2, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720, 1.0f / 5040};
static const double exp_terms_double[] = {1.0 / 2,       1.0 / 6,        1.0 / 24,        1.0 / 120,
                                          1.0 / 720,     1.0 / 5040,     1.0 / 40320,     1.0 / 362880,
                                          1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0};

/* Phi(-size) for size >= 0, given e = e^(-size^2/2). */
static inline POEI_ALWAYS_INLINE float gelu_tail_float(float size, float e) {
  static const float q[] = {8.371157039e-02f, 8.506894470e-02f,  6.919156793e-02f, 1.248750281e-01f, -9.393049688e-02f,
                            3.494085020e-01f, -3.302597652e-01f, 2.835915513e-01f, -7.165689540e-02f};
  float t = 1.0f / (1.0f + 0.21f * size);
  float p = q[8];
  for (int i = 7; i >= 0; i--) {
    p = p * t + q[i];
  }
  return e * t * p;
}

static inline POEI_ALWAYS_INLINE double gelu_tail_double(double size, double e) {
  static const double q[] = {
      0.184156260800161043,      0.147055003959399918,    0.0953047644408926036,   0.0491444686457417183,
      0.0192100755134323723,     0.00500368145705965397,  0.000440763980612029776, -0.0002407906762390226,
      -0.0000884101959966793575, 5.74861518290422635e-6,  9.08438248069862851e-6,  2.49623474516856861e-7,
      -9.53775145623766148e-7,   -4.87899266076496807e-8, 1.12138313121582261e-7,  1.80792308829790696e-9,
      -1.41303154691296018e-8,   9.22896235026310764e-10, 1.647645602483639e-9,    -2.7557976541224869e-10,
      -1.24599300204770951e-10,  3.2586960015777177e-11};
  double t = 1.0 / (1.0 + 0.22 * size);
  double u = t * 2.2361275088547816 - 1.2361275088547816;
  double square = u * u;
  double even = q[20];
  double odd = q[21];
  for (int i = 18; i >= 0; i -= 2) { /* two short chains; the compiler unrolls no loop of 21 */
    even = even * square + q[i];
    odd = odd * square + q[i + 1];
  }
  double p = odd * u + even;
  return e * t * p;
}

#define REAL float
#define BITS uint32_t
#define LANES 16
#define EXP_LOW -87.0f
#define EXP_MAGIC 12582912.0f
#define EXP_SHIFT 23
#define EXP_BIAS 127
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#define EXP_TERMS exp_terms_float
#define EXP_TERM_COUNT 6
#define LOG1P_TERMS 7
#define GELU_TAIL gelu_tail_float
#define TARGET
#define NAME(x) x##_float_plain
#include "net/activation_kernels.h"
#undef TARGET
#undef NAME
#define TARGET POEI_TARGET_AVX2
#define NAME(x) x##_float_avx2
#include "net/activation_kernels.h"
#undef TARGET
#undef NAME
#define TARGET POEI_TARGET_AVX512
#define NAME(x) x##_float_avx512
#include "net/activation_kernels.h"
#undef TARGET
#undef NAME
#undef REAL
#undef BITS
#undef LANES
#undef EXP_LOW
#undef EXP_MAGIC
#undef EXP_SHIFT
#undef EXP_BIAS
#undef LN2_HIGH
#undef LN2_LOW
#undef EXP_TERMS
#undef EXP_TERM_COUNT
#undef LOG1P_TERMS
#undef GELU_TAIL

#define REAL double
#define BITS uint64_t
#define LANES 16
#define EXP_LOW -708.0
#define EXP_MAGIC 6755399441055744.0
#define EXP_SHIFT 52
#define EXP_BIAS 1023
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#define EXP_TERMS exp_terms_double
#define EXP_TERM_COUNT 12
#define LOG1P_TERMS 16
#define GELU_TAIL gelu_tail_double
#define TARGET
#define NAME(x) x##_double_plain
#include "net/activation_kernels.h"
#undef TARGET
#undef NAME
#define TARGET POEI_TARGET_AVX2
#define NAME(x) x##_double_avx2
#include "net/activation_kernels.h"
#undef TARGET
#undef NAME
#define TARGET POEI_TARGET_AVX512
#define NAME(x) x##_double_avx512
#include "net/activation_kernels.h"
#undef TARGET
#undef NAME
#undef REAL
#undef BITS
#undef LANES
#undef EXP_LOW
#undef EXP_MAGIC
#undef EXP_SHIFT
#undef EXP_BIAS
#undef LN2_HIGH
#undef LN2_LOW
#undef EXP_TERMS
#undef EXP_TERM_COUNT
#undef LOG1P_TERMS
#undef GELU_TAIL

typedef void kernel_float(float, size_t, size_t, const float *, size_t, size_t, const float *, float *, float *);
typedef void kernel_double(double, size_t, size_t, const double *, size_t, size_t, const double *, double *, double *);

static kernel_float *const kernels_float[POEI_ACTIVATION_COUNT][POEI_SIMD_COUNT] = {
#define KERNELS(name, word, parameter) {word##_rows_float_plain, word##_rows_float_avx2, word##_rows_float_avx512},
    POEI_ACTIVATION_LIST(KERNELS)
#undef KERNELS
};
static kernel_double *const kernels_double[POEI_ACTIVATION_COUNT][POEI_SIMD_COUNT] = {
#define KERNELS(name, word, parameter) {word##_rows_double_plain, word##_rows_double_avx2, word##_rows_double_avx512},
    POEI_ACTIVATION_LIST(KERNELS)
#undef KERNELS
};

void poei_activate_float(poei_activation activation, float parameter, size_t rows, size_t width, const float *bias,
                         size_t row_step, size_t column_step, const float *z, float *y, float *d) {
  kernels_float[activation][poei_simd_level()](parameter, rows, width, bias, row_step, column_step, z, y, d);
}

void poei_activate_double(poei_activation activation, double parameter, size_t rows, size_t width, const double *bias,
                          size_t row_step, size_t column_step, const double *z, double *y, double *d) {
  kernels_double[activation][poei_simd_level()](parameter, rows, width, bias, row_step, column_step, z, y, d);
}

static const struct {
  const char *word;
  double parameter;
} activation_table[POEI_ACTIVATION_COUNT] = {
#define ROW(name, word, parameter) {#word, parameter},
    POEI_ACTIVATION_LIST(ROW)
#undef ROW
};

const char *poei_activation_name(poei_activation activation) {
  return activation < POEI_ACTIVATION_COUNT ? activation_table[activation].word : "?";
}

double poei_activation_parameter(poei_activation activation) {
  return activation < POEI_ACTIVATION_COUNT ? activation_table[activation].parameter : 0.0;
}

poei_activation poei_activation_find(const char *word) {
  int i = 0;
  while (i < POEI_ACTIVATION_COUNT && strcmp(activation_table[i].word, word) != 0) {
    i++;
  }
  return (poei_activation)i;
}
