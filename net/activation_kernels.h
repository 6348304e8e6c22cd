/* The activation functions for one type and one instruction set. Included by activation.c with
 *   REAL, BITS      float and uint32_t, or double and uint64_t
 *   TARGET          function attribute of the instruction set
 *   NAME(x)         x with the suffix of type and set
 * and constants of the type: EXP_LOW, EXP_MAGIC, EXP_SHIFT, EXP_BIAS, LN2_HIGH, LN2_LOW, EXP_TERMS, LOG1P_TERMS.
 *
 * Everything is branch-free on selects so that the compiler turns each loop into vector code. All exponentials have
 * arguments <= 0, so nothing overflows; below EXP_LOW they are 0. Multiplication and addition may be contracted
 * (-ffp-contract=fast for this file), alike for every element.
 */

/* e^x - 1 = scale * p + (scale - 1) and e^x = scale * p + scale for x <= 0: x = k log 2 + r, |r| <= log(2)/2,
 * scale = 2^k, p = e^r - 1 by its Taylor series (truncation below 6e-9 single, 5e-18 double). */
static inline TARGET REAL NAME(exp_parts)(REAL x, REAL *scale) {
  REAL clamped = x < EXP_LOW ? EXP_LOW : x;
  REAL shifted = clamped * (REAL)1.4426950408889634 + EXP_MAGIC; /* the low bits now hold k */
  REAL k = shifted - EXP_MAGIC;
  REAL r = clamped - k * LN2_HIGH;
  r = r - k * LN2_LOW;
  BITS bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << EXP_SHIFT) + ((BITS)EXP_BIAS << EXP_SHIFT);
  memcpy(scale, &bits, sizeof *scale);
  REAL p = EXP_TERMS[EXP_TERM_COUNT - 1];
  for (int i = EXP_TERM_COUNT - 2; i >= 0; i--) {
    p = p * r + EXP_TERMS[i];
  }
  return p * (r * r) + r;
}

/* e^x, x <= 0. */
static inline TARGET REAL NAME(exp_negative)(REAL x) {
  REAL scale;
  REAL p = NAME(exp_parts)(x, &scale);
  REAL value = scale * p + scale;
  return x < EXP_LOW ? (REAL)0 : value;
}

/* e^x - 1, relatively accurate near 0, and *e = e^x, relatively accurate far out; x <= 0. */
static inline TARGET REAL NAME(expm1_negative)(REAL x, REAL *e) {
  REAL scale;
  REAL p = NAME(exp_parts)(x, &scale);
  *e = scale * p + scale;
  return scale * p + (scale - (REAL)1);
}

/* log(1 + e) for 0 <= e <= 1: 2 atanh(s), s = e / (2 + e) <= 1/3, by its series. */
static inline TARGET REAL NAME(log1p_unit)(REAL e) {
  REAL s = e / ((REAL)2 + e);
  REAL square = s * s;
  REAL p = (REAL)1 / (REAL)(2 * LOG1P_TERMS + 1);
  for (int i = LOG1P_TERMS - 1; i >= 0; i--) {
    p = p * square + (REAL)1 / (REAL)(2 * i + 1);
  }
  return (REAL)2 * s * p;
}

static inline TARGET REAL NAME(magnitude)(REAL x) {
  return x < (REAL)0 ? -x : x;
}

/* Each function below sets y = f(v), d = f'(v); a is the activation's parameter. */

static inline TARGET void NAME(identity)(REAL v, REAL a, REAL *y, REAL *d) {
  (void)a;
  *y = v;
  *d = (REAL)1;
}

/* NaN passes through to y. Steps are made of a comparison's 0 or 1: selects with one condition become branches. */
static inline TARGET void NAME(relu)(REAL v, REAL a, REAL *y, REAL *d) {
  (void)a;
  *y = v < (REAL)0 ? (REAL)0 : v;
  *d = (REAL)(v > (REAL)0);
}

static inline TARGET void NAME(leaky_relu)(REAL v, REAL a, REAL *y, REAL *d) {
  REAL positive = (REAL)(v > (REAL)0);
  *y = (v < (REAL)0 ? (REAL)0 : v) + a * (v > (REAL)0 ? (REAL)0 : v);
  *d = positive + a * ((REAL)1 - positive);
}

static inline TARGET void NAME(elu)(REAL v, REAL a, REAL *y, REAL *d) {
  REAL low = v > (REAL)0 ? (REAL)0 : v;
  REAL e;
  REAL m = NAME(expm1_negative)(low, &e);
  *y = v > (REAL)0 ? v : a * m;
  *d = v > (REAL)0 ? (REAL)1 : a * e;
}

/* s = 1 / (1 + e^-v), 1 - s and s (1 - s), each relatively accurate: e = e^-|v|, r = 1 / (1 + e). */
static inline TARGET void NAME(logistic)(REAL v, REAL *s, REAL *slope) {
  REAL e = NAME(exp_negative)(-NAME(magnitude)(v));
  REAL r = (REAL)1 / ((REAL)1 + e);
  *s = v < (REAL)0 ? e * r : r;
  *slope = e * r * r;
}

static inline TARGET void NAME(sigmoid)(REAL v, REAL a, REAL *y, REAL *d) {
  (void)a;
  NAME(logistic)(v, y, d);
}

static inline TARGET void NAME(silu)(REAL v, REAL a, REAL *y, REAL *d) {
  (void)a;
  REAL s, slope;
  NAME(logistic)(v, &s, &slope);
  *y = v * s;
  *d = s + v * slope;
}

/* 0.5 v (1 + tanh(sqrt(2/pi) (v + 0.044715 v^3))) = v sigmoid(2 u). |v| is capped inside u, where the sigmoid is 0 or 1
 * long before, so that v^3 does not overflow. */
static inline TARGET void NAME(gelu_tanh)(REAL v, REAL a, REAL *y, REAL *d) {
  (void)a;
  REAL low = v < (REAL)-100 ? (REAL)-100 : v;
  REAL w = low > (REAL)100 ? (REAL)100 : low;
  REAL square = w * w;
  REAL s, slope;
  NAME(logistic)((REAL)1.5957691216057308 * w * ((REAL)1 + (REAL)0.044715 * square), &s, &slope);
  *y = v * s;
  *d = s + w * slope * ((REAL)1.5957691216057308 * ((REAL)1 + (REAL)0.134145 * square));
}

static inline TARGET void NAME(softplus)(REAL v, REAL a, REAL *y, REAL *d) {
  (void)a;
  REAL e = NAME(exp_negative)(-NAME(magnitude)(v));
  REAL r = (REAL)1 / ((REAL)1 + e);
  *y = (v < (REAL)0 ? (REAL)0 : v) + NAME(log1p_unit)(e);
  *d = v < (REAL)0 ? e * r : r;
}

/* tanh |v| = -m / (2 + m), m = e^-2|v| - 1; tanh' = 4 e / (1 + e)^2 with 1 + e = 2 + m. */
static inline TARGET void NAME(tanh)(REAL v, REAL a, REAL *y, REAL *d) {
  (void)a;
  REAL e;
  REAL m = NAME(expm1_negative)((REAL)-2 * NAME(magnitude)(v), &e);
  REAL r = (REAL)1 / ((REAL)2 + m);
  REAL t = -m * r;
  *y = v < (REAL)0 ? -t : t;
  *d = (REAL)4 * e * r * r;
}

/* v Phi(v), with Phi(-|v|) by GELU_TAIL. */
static inline TARGET void NAME(gelu)(REAL v, REAL a, REAL *y, REAL *d) {
  (void)a;
  REAL size = NAME(magnitude)(v);
  REAL e = NAME(exp_negative)((REAL)-0.5 * v * v);
  REAL tail = GELU_TAIL(size, e);
  REAL phi = v < (REAL)0 ? tail : (REAL)1 - tail;
  *y = v * phi;
  *d = phi + v * e * (REAL)0.39894228040143268;
}

/* For each: a block of LANES elements, a row of any width (the rest goes through a padded block, the same code), rows.
 */
#define POEI_ROWS(function)                                                                                            \
  static inline TARGET void NAME(function##_block)(REAL a, const REAL *bias, const REAL *z, REAL *y, REAL *d) {        \
    POEI_INDEPENDENT                                                                                                   \
    for (int i = 0; i < LANES; i++) {                                                                                  \
      NAME(function)(z[i] + bias[i], a, &y[i], &d[i]);                                                                 \
    }                                                                                                                  \
  }                                                                                                                    \
  static inline TARGET void NAME(function##_block_value)(REAL a, const REAL *bias, const REAL *z, REAL *y) {           \
    POEI_INDEPENDENT                                                                                                   \
    for (int i = 0; i < LANES; i++) {                                                                                  \
      REAL unused;                                                                                                     \
      NAME(function)(z[i] + bias[i], a, &y[i], &unused);                                                               \
    }                                                                                                                  \
  }                                                                                                                    \
  static TARGET void NAME(function##_rows)(REAL a, size_t rows, size_t width, const REAL *bias, size_t row_step,       \
                                           size_t column_step, const REAL *z, REAL *y, REAL *d) {                      \
    for (size_t r = 0; r < rows; r++) {                                                                                \
      REAL same[LANES], in[LANES], out[LANES], slope[LANES];                                                           \
      const REAL *from = bias == NULL ? NULL : bias + r * row_step;                                                    \
      bool moving = bias != NULL && column_step == 1;                                                                  \
      for (int i = 0; i < LANES; i++) {                                                                                \
        same[i] = bias == NULL ? (REAL)0 : from[0];                                                                    \
      }                                                                                                                \
      size_t c = 0;                                                                                                    \
      for (; c + LANES <= width; c += LANES) {                                                                         \
        const REAL *b = moving ? from + c : same;                                                                      \
        if (d != NULL) {                                                                                               \
          NAME(function##_block)(a, b, z + c, y + c, d + c);                                                           \
        } else {                                                                                                       \
          NAME(function##_block_value)(a, b, z + c, y + c);                                                            \
        }                                                                                                              \
      }                                                                                                                \
      if (c < width) {                                                                                                 \
        size_t rest = width - c;                                                                                       \
        for (size_t i = 0; i < LANES; i++) {                                                                           \
          in[i] = i < rest ? z[c + i] : (REAL)0;                                                                       \
          same[i] = moving && i < rest ? from[c + i] : same[i];                                                        \
        }                                                                                                              \
        NAME(function##_block)(a, same, in, out, slope);                                                               \
        memcpy(y + c, out, rest * sizeof(REAL));                                                                       \
        if (d != NULL) {                                                                                               \
          memcpy(d + c, slope, rest * sizeof(REAL));                                                                   \
        }                                                                                                              \
      }                                                                                                                \
      z += width;                                                                                                      \
      y += width;                                                                                                      \
      d = d == NULL ? NULL : d + width;                                                                                \
    }                                                                                                                  \
  }
POEI_ROWS(identity)
POEI_ROWS(relu)
POEI_ROWS(leaky_relu)
POEI_ROWS(elu)
POEI_ROWS(gelu)
POEI_ROWS(gelu_tanh)
POEI_ROWS(silu)
POEI_ROWS(softplus)
POEI_ROWS(tanh)
POEI_ROWS(sigmoid)
#undef POEI_ROWS
