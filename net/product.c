/* Rows times weights (net/product.h): the choice between BLAS and the kernels for few rows, by size alone. */
#include "net/product.h"

#include <string.h>

#include "core/linalg.h"
#include "net/simd.h"

/* Up to this many rows or outputs the kernels that read w in place win over BLAS, which packs it first: measured at
 * 512 x 784 single on one core (Zen 4, OpenBLAS 0.3.21), GFLOP/s forwards: 4 rows 96 against 31, 16 rows 96 against 66,
 * 32 rows 96 against 82; backwards 115 against 50, 112 against 86, 112 against 96. */
enum { PRODUCT_FEW_ROWS = 32, PRODUCT_FEW_OUTPUTS = 4, PRODUCT_BLOCK_BYTES = 1 << 17 };

/* BLAS computes the rows beyond a multiple of 8 by other kernels than the rest, so that a row's last bits would depend
 * on where it stands: such tiles (the last of a run) go to our own kernels whole. */
static bool product_by_blas(size_t n, size_t out) {
  return n > PRODUCT_FEW_ROWS && n % 8 == 0 && out > PRODUCT_FEW_OUTPUTS;
}

/* Rows of w of `bytes` each that stay in the second-level cache beside the rest; a multiple of 4. */
static size_t product_block(size_t bytes) {
  size_t rows = PRODUCT_BLOCK_BYTES / bytes / 4 * 4;
  return rows < 4 ? 4 : rows;
}

#define LANES_OF(type, n, alignment)                                                                                   \
  typedef type type##_x##n __attribute__((vector_size(n * sizeof(type)), aligned(alignment), may_alias))
LANES_OF(float, 4, 4);
LANES_OF(float, 8, 4);
LANES_OF(float, 16, 4);
LANES_OF(double, 2, 8);
LANES_OF(double, 4, 8);
LANES_OF(double, 8, 8);

#define REAL float
#define LANE_VECTOR(n) float_x##n
#define TARGET
#define NAME(x) x##_float_plain
#define VECTOR float_x4
#define LANES 4
#include "net/product_kernels.h"
#undef TARGET
#undef NAME
#undef VECTOR
#undef LANES
#define TARGET POEI_TARGET_AVX2
#define NAME(x) x##_float_avx2
#define VECTOR float_x8
#define LANES 8
#include "net/product_kernels.h"
#undef TARGET
#undef NAME
#undef VECTOR
#undef LANES
#define TARGET POEI_TARGET_AVX512
#define NAME(x) x##_float_avx512
#define VECTOR float_x16
#define LANES 16
#include "net/product_kernels.h"
#undef TARGET
#undef NAME
#undef VECTOR
#undef LANES
#undef REAL
#undef LANE_VECTOR

#define REAL double
#define LANE_VECTOR(n) double_x##n
#define TARGET
#define NAME(x) x##_double_plain
#define VECTOR double_x2
#define LANES 2
#include "net/product_kernels.h"
#undef TARGET
#undef NAME
#undef VECTOR
#undef LANES
#define TARGET POEI_TARGET_AVX2
#define NAME(x) x##_double_avx2
#define VECTOR double_x4
#define LANES 4
#include "net/product_kernels.h"
#undef TARGET
#undef NAME
#undef VECTOR
#undef LANES
#define TARGET POEI_TARGET_AVX512
#define NAME(x) x##_double_avx512
#define VECTOR double_x8
#define LANES 8
#include "net/product_kernels.h"
#undef TARGET
#undef NAME
#undef VECTOR
#undef LANES
#undef REAL
#undef LANE_VECTOR

void poei_product_steady_float(size_t n, size_t out, size_t in, const float *x, const float *w, float *y) {
  static void (*const few[POEI_SIMD_COUNT])(size_t, size_t, size_t, const float *, const float *,
                                            float *) = {few_float_plain, few_float_avx2, few_float_avx512};
  few[poei_simd_level()](n, out, in, x, w, y);
}

void poei_product_float(size_t n, size_t out, size_t in, const float *x, const float *w, float *y) {
  if (product_by_blas(n, out)) {
    poei_sgemm(false, true, n, out, in, 1.0f, x, in, w, in, 0.0f, y, out);
    return;
  }
  poei_product_steady_float(n, out, in, x, w, y);
}

void poei_product_back_float(size_t n, size_t out, size_t in, const float *dz, const float *w, bool accumulate,
                             float *dx) {
  if (product_by_blas(n, out)) {
    poei_sgemm(false, false, n, in, out, 1.0f, dz, out, w, in, accumulate ? 1.0f : 0.0f, dx, in);
    return;
  }
  static void (*const few[POEI_SIMD_COUNT])(size_t, size_t, size_t, const float *, const float *, bool, float *) = {
      few_back_float_plain, few_back_float_avx2, few_back_float_avx512};
  few[poei_simd_level()](n, out, in, dz, w, accumulate, dx);
}

void poei_product_head_float(size_t n, size_t out, size_t in, const float *x, const float *w, const float *b,
                             double *y) {
  static void (*const head[POEI_SIMD_COUNT])(size_t, size_t, size_t, const float *, const float *, const float *,
                                             double *) = {head_float_plain, head_float_avx2, head_float_avx512};
  head[poei_simd_level()](n, out, in, x, w, b, y);
}

void poei_product_steady_double(size_t n, size_t out, size_t in, const double *x, const double *w, double *y) {
  static void (*const few[POEI_SIMD_COUNT])(size_t, size_t, size_t, const double *, const double *,
                                            double *) = {few_double_plain, few_double_avx2, few_double_avx512};
  few[poei_simd_level()](n, out, in, x, w, y);
}

void poei_product_double(size_t n, size_t out, size_t in, const double *x, const double *w, double *y) {
  if (product_by_blas(n, out)) {
    poei_dgemm(false, true, n, out, in, 1.0, x, in, w, in, 0.0, y, out);
    return;
  }
  poei_product_steady_double(n, out, in, x, w, y);
}

void poei_product_back_double(size_t n, size_t out, size_t in, const double *dz, const double *w, bool accumulate,
                              double *dx) {
  if (product_by_blas(n, out)) {
    poei_dgemm(false, false, n, in, out, 1.0, dz, out, w, in, accumulate ? 1.0 : 0.0, dx, in);
    return;
  }
  static void (*const few[POEI_SIMD_COUNT])(size_t, size_t, size_t, const double *, const double *, bool, double *) = {
      few_back_double_plain, few_back_double_avx2, few_back_double_avx512};
  few[poei_simd_level()](n, out, in, dz, w, accumulate, dx);
}

void poei_product_head_double(size_t n, size_t out, size_t in, const double *x, const double *w, const double *b,
                              double *y) {
  static void (*const head[POEI_SIMD_COUNT])(size_t, size_t, size_t, const double *, const double *, const double *,
                                             double *) = {head_double_plain, head_double_avx2, head_double_avx512};
  head[poei_simd_level()](n, out, in, x, w, b, y);
}
