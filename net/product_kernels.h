/* Products of 1 to 4 rows with w[out, in], for one type and instruction set. Included by product.c with REAL, VECTOR
 * (a vector of LANES REALs, no alignment required), LANES,
 * LANE_VECTOR(n) (a vector of n), TARGET and NAME(x). w is read once, front to back, several
 * of its rows side by side; what is kept in registers is the sums. At 4 rows and 100 GB/s of cache bandwidth that is
 * 200 GFLOP/s single: the reading and the arithmetic take equally long.
 */

/* Sum over the lanes, by halves. */
static inline TARGET REAL NAME(lane_sum)(const VECTOR *v) {
#if LANES == 16
  LANE_VECTOR(8)
  eight = __builtin_shufflevector(*v, *v, 0, 1, 2, 3, 4, 5, 6, 7) +
          __builtin_shufflevector(*v, *v, 8, 9, 10, 11, 12, 13, 14, 15);
#elif LANES == 8
  LANE_VECTOR(8) eight = *v;
#endif
#if LANES >= 8
  LANE_VECTOR(4)
  four = __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
#elif LANES == 4
  LANE_VECTOR(4) four = *v;
#endif
#if LANES >= 4
  return (four[0] + four[2]) + (four[1] + four[3]);
#else
  return (*v)[0] + (*v)[1];
#endif
}

/* y[r, 0..outs) = x[r] . w[o] for ROWS rows and OUTS weight rows. */
#define POEI_DOTS(ROWS, OUTS)                                                                                          \
  static inline TARGET void NAME(dots_##ROWS##_##OUTS)(size_t in, const REAL *x, const REAL *w, REAL *y, size_t ldy) { \
    VECTOR sum[ROWS][OUTS];                                                                                            \
    memset(sum, 0, sizeof sum);                                                                                        \
    size_t k = 0;                                                                                                      \
    for (; k + LANES <= in; k += LANES) {                                                                              \
      for (int o = 0; o < OUTS; o++) {                                                                                 \
        VECTOR weight = *(const VECTOR *)(const void *)(w + (size_t)o * in + k);                                       \
        for (int r = 0; r < ROWS; r++) {                                                                               \
          sum[r][o] += *(const VECTOR *)(const void *)(x + (size_t)r * in + k) * weight;                               \
        }                                                                                                              \
      }                                                                                                                \
    }                                                                                                                  \
    for (int r = 0; r < ROWS; r++) {                                                                                   \
      for (int o = 0; o < OUTS; o++) {                                                                                 \
        REAL total = NAME(lane_sum)(&sum[r][o]);                                                                       \
        for (size_t i = k; i < in; i++) {                                                                              \
          total += x[(size_t)r * in + i] * w[(size_t)o * in + i];                                                      \
        }                                                                                                              \
        y[(size_t)r * ldy + (size_t)o] = total;                                                                        \
      }                                                                                                                \
    }                                                                                                                  \
  }

/* dx[r] += sum_o dz[r, o] w[o] for ROWS rows and OUTS weight rows. */
#define POEI_SWEEP(ROWS, OUTS)                                                                                         \
  static inline TARGET void NAME(sweep_##ROWS##_##OUTS)(size_t in, const REAL *dz, size_t ldz, const REAL *w,          \
                                                        REAL *dx) {                                                    \
    VECTOR scale[ROWS][OUTS];                                                                                          \
    for (int r = 0; r < ROWS; r++) {                                                                                   \
      for (int o = 0; o < OUTS; o++) {                                                                                 \
        scale[r][o] = dz[(size_t)r * ldz + (size_t)o] + (VECTOR){0};                                                   \
      }                                                                                                                \
    }                                                                                                                  \
    size_t k = 0;                                                                                                      \
    for (; k + LANES <= in; k += LANES) {                                                                              \
      VECTOR sum[ROWS];                                                                                                \
      for (int r = 0; r < ROWS; r++) {                                                                                 \
        sum[r] = *(const VECTOR *)(const void *)(dx + (size_t)r * in + k);                                             \
      }                                                                                                                \
      for (int o = 0; o < OUTS; o++) {                                                                                 \
        VECTOR weight = *(const VECTOR *)(const void *)(w + (size_t)o * in + k);                                       \
        for (int r = 0; r < ROWS; r++) {                                                                               \
          sum[r] += scale[r][o] * weight;                                                                              \
        }                                                                                                              \
      }                                                                                                                \
      for (int r = 0; r < ROWS; r++) {                                                                                 \
        *(VECTOR *)(void *)(dx + (size_t)r * in + k) = sum[r];                                                         \
      }                                                                                                                \
    }                                                                                                                  \
    for (; k < in; k++) {                                                                                              \
      for (int r = 0; r < ROWS; r++) {                                                                                 \
        REAL sum = dx[(size_t)r * in + k];                                                                             \
        for (int o = 0; o < OUTS; o++) {                                                                               \
          sum += dz[(size_t)r * ldz + (size_t)o] * w[(size_t)o * in + k];                                              \
        }                                                                                                              \
        dx[(size_t)r * in + k] = sum;                                                                                  \
      }                                                                                                                \
    }                                                                                                                  \
  }

/* `out` rows of w against ROWS rows; y, dz have stride ld. */
#define POEI_FEW(ROWS)                                                                                                 \
  POEI_DOTS(ROWS, 4)                                                                                                   \
  POEI_DOTS(ROWS, 1)                                                                                                   \
  POEI_SWEEP(ROWS, 4)                                                                                                  \
  POEI_SWEEP(ROWS, 1)                                                                                                  \
  static inline TARGET void NAME(few_##ROWS)(size_t out, size_t in, const REAL *x, const REAL *w, REAL *y,             \
                                             size_t ld) {                                                              \
    size_t o = 0;                                                                                                      \
    for (; o + 4 <= out; o += 4) {                                                                                     \
      NAME(dots_##ROWS##_4)(in, x, w + o * in, y + o, ld);                                                             \
    }                                                                                                                  \
    for (; o < out; o++) {                                                                                             \
      NAME(dots_##ROWS##_1)(in, x, w + o * in, y + o, ld);                                                             \
    }                                                                                                                  \
  }                                                                                                                    \
  static inline TARGET void NAME(few_back_##ROWS)(size_t out, size_t in, const REAL *dz, size_t ld, const REAL *w,     \
                                                  REAL *dx) {                                                          \
    size_t o = 0;                                                                                                      \
    for (; o + 4 <= out; o += 4) {                                                                                     \
      NAME(sweep_##ROWS##_4)(in, dz + o, ld, w + o * in, dx);                                                          \
    }                                                                                                                  \
    for (; o < out; o++) {                                                                                             \
      NAME(sweep_##ROWS##_1)(in, dz + o, ld, w + o * in, dx);                                                          \
    }                                                                                                                  \
  }

POEI_FEW(1)
POEI_FEW(2)
POEI_FEW(3)
POEI_FEW(4)
#undef POEI_FEW
#undef POEI_DOTS
#undef POEI_SWEEP

/* Any number of rows, by fours. A block of w at a time goes past all of them, so that memory is read once and what is
 * read again comes from the cache. */
static TARGET void NAME(few)(size_t n, size_t out, size_t in, const REAL *x, const REAL *w, REAL *y) {
  size_t block = product_block(in * sizeof *w), rest = n % 4;
  for (size_t o = 0; o < out; o += block) {
    size_t size = out - o < block ? out - o : block;
    const REAL *part = w + o * in;
    for (size_t r = 0; r + 4 <= n; r += 4) {
      NAME(few_4)(size, in, x + r * in, part, y + r * out + o, out);
    }
    const REAL *last = x + (n - rest) * in;
    REAL *to = y + (n - rest) * out + o;
    if (rest == 3) {
      NAME(few_3)(size, in, last, part, to, out);
    } else if (rest == 2) {
      NAME(few_2)(size, in, last, part, to, out);
    } else if (rest == 1) {
      NAME(few_1)(size, in, last, part, to, out);
    }
  }
}

static TARGET void NAME(few_back)(size_t n, size_t out, size_t in, const REAL *dz, const REAL *w, bool accumulate,
                                  REAL *dx) {
  size_t block = product_block(in * sizeof *w), rest = n % 4;
  if (!accumulate) {
    memset(dx, 0, n * in * sizeof *dx);
  }
  for (size_t o = 0; o < out; o += block) {
    size_t size = out - o < block ? out - o : block;
    const REAL *part = w + o * in;
    for (size_t r = 0; r + 4 <= n; r += 4) {
      NAME(few_back_4)(size, in, dz + r * out + o, out, part, dx + r * in);
    }
    const REAL *last = dz + (n - rest) * out + o;
    REAL *to = dx + (n - rest) * in;
    if (rest == 3) {
      NAME(few_back_3)(size, in, last, out, part, to);
    } else if (rest == 2) {
      NAME(few_back_2)(size, in, last, out, part, to);
    } else if (rest == 1) {
      NAME(few_back_1)(size, in, last, out, part, to);
    }
  }
}

/* One row's products with w in double, in eight interleaved sums. */
static TARGET void NAME(head)(size_t n, size_t out, size_t in, const REAL *x, const REAL *w, const REAL *b, double *y) {
  for (size_t r = 0; r < n; r++, x += in) {
    for (size_t o = 0; o < out; o++) {
      const REAL *weight = w + o * in;
      double sum[8] = {0.0};
      size_t k = 0;
      for (; k + 8 <= in; k += 8) {
        for (size_t i = 0; i < 8; i++) {
          sum[i] += (double)x[k + i] * (double)weight[k + i];
        }
      }
      double total = ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
      for (; k < in; k++) {
        total += (double)x[k] * (double)weight[k];
      }
      y[r * out + o] = b == NULL ? total : total + (double)b[o];
    }
  }
}
