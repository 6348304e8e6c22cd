/* The loops of vector.h, written once. The including file defines the vector type of its instruction set:
 *
 *   VD, VD_N, VD_LOAD, VD_STORE, VD_SQRT, VD_MUL, VD_SUB, VD_SET    doubles
 *   VF, VF_N, VF_LOAD, VF_STORE                                     floats
 *   VI, VI_SET, VI_ADD, VI_MUL32, VI_XOR, VI_OR, VI_AND, VI_SHL, VI_SHR, VI_AS_VD, VI_LANES   64-bit integers
 *   VD_STORE_PAIRS(out, a, b)                                       a0 b0 a1 b1 ...
 *   VECTOR_SINCOS                                                   SLEEF's pair of VD, members x (sine), y (cosine)
 *   SLEEF_D(name), SLEEF_F(name)                                    SLEEF's routine of that name for VD, for VF
 *   SLEEF_LOG_FAST, SLEEF_SINCOSPI                                  SLEEF's of 3.5 ulp for VD
 *   VECTOR_TABLE, VECTOR_NAME                                       the table to define
 *
 * Draws: Philox4x32-10 (Salmon et al. 2011, section 3.3) on one counter block per 64-bit lane, then Box and Muller
 * (1958): (sqrt(-2 log u) cos 2 pi v, sqrt(-2 log u) sin 2 pi v).
 * Not a header in the usual sense: included exactly once by each file that defines a table. */
#include <string.h>

#define VECTOR_LOOP(name, type, vector, width, load, store, call)                                                      \
  static void vector_##name(const type *x, type *out, size_t n) {                                                      \
    size_t i = 0;                                                                                                      \
    for (; i + (width) <= n; i += (width)) {                                                                           \
      store(out + i, call(load(x + i)));                                                                               \
    }                                                                                                                  \
    if (i < n) { /* the same routine in a padded vector, so that position never matters */                             \
      type tail[width] = {0};                                                                                          \
      memcpy(tail, x + i, (n - i) * sizeof *x);                                                                        \
      vector value = call(load(tail));                                                                                 \
      store(tail, value);                                                                                              \
      memcpy(out + i, tail, (n - i) * sizeof *out);                                                                    \
    }                                                                                                                  \
  }

#define VECTOR_LOOP_D(name) VECTOR_LOOP(name, double, VD, VD_N, VD_LOAD, VD_STORE, SLEEF_D(name))
#define VECTOR_LOOP_F(name) VECTOR_LOOP(name##f, float, VF, VF_N, VF_LOAD, VF_STORE, SLEEF_F(name))

VECTOR_LOOP_D(exp)
VECTOR_LOOP_D(log)
VECTOR_LOOP_D(log1p)
VECTOR_LOOP_D(tanh)
VECTOR_LOOP_D(erf)
VECTOR_LOOP_F(exp)
VECTOR_LOOP_F(log)
VECTOR_LOOP_F(log1p)
VECTOR_LOOP_F(tanh)
VECTOR_LOOP_F(erf)

static void vector_sincos(const double *x, double *sine, double *cosine, size_t n) {
  for (size_t i = 0; i < n; i += VD_N) {
    size_t count = n - i < VD_N ? n - i : VD_N;
    double in[VD_N] = {0}, s[VD_N], c[VD_N];
    memcpy(in, x + i, count * sizeof *x);
    VECTOR_SINCOS both = SLEEF_D(sincos)(VD_LOAD(in));
    VD_STORE(s, both.x);
    VD_STORE(c, both.y);
    memcpy(sine + i, s, count * sizeof *s);
    memcpy(cosine + i, c, count * sizeof *c);
  }
}

/* The two uniforms of VD_N consecutive blocks from `first` on. A lane's upper half is garbage between the rounds: the
 * multiplication reads the lower half only. */
static inline void vector_uniform_pair(poe_rng at, uint32_t first, VD *u, VD *v) {
  VI c0 = VI_ADD(VI_SET(first), VI_LANES), c1 = VI_SET(at.site), c2 = VI_SET(at.step), c3 = VI_SET(at.chain);
  uint32_t k0 = (uint32_t)at.key, k1 = (uint32_t)(at.key >> 32);
  for (int round = 0; round < 10; round++) {
    VI p0 = VI_MUL32(c0, VI_SET(0xD2511F53U)), p1 = VI_MUL32(c2, VI_SET(0xCD9E8D57U));
    c0 = VI_XOR(VI_XOR(VI_SHR(p1, 32), c1), VI_SET(k0));
    c2 = VI_XOR(VI_XOR(VI_SHR(p0, 32), c3), VI_SET(k1));
    c1 = p1;
    c3 = p0;
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  VI low = VI_SET(0xFFFFFFFFU), one = VI_SET(0x3FF0000000000000U); /* exponent of [1, 2) */
  VI a = VI_OR(VI_SHL(c1, 32), VI_AND(c0, low)), b = VI_OR(VI_SHL(c3, 32), VI_AND(c2, low));
  VD shift = VD_SET(1.0 - 0x1p-53); /* [1, 2) to the odd multiples of 2^-53 in (0, 1): exact */
  *u = VD_SUB(VI_AS_VD(VI_OR(VI_SHR(a, 12), one)), shift);
  *v = VD_SUB(VI_AS_VD(VI_OR(VI_SHR(b, 12), one)), shift);
}

static void vector_uniforms(poe_rng at, uint32_t first, size_t groups, double *out) {
  for (size_t i = 0; i < groups * POEI_VECTOR_GROUP; i += VD_N) {
    VD u, v;
    vector_uniform_pair(at, first + (uint32_t)i, &u, &v);
    VD_STORE_PAIRS(out + 2 * i, u, v);
  }
}

/* A draw's rounding is far below what a draw is uncertain by: SLEEF's routines of 3.5 ulp do. Some groups at a time go
 * through each routine, so that calls of one kind overlap. */
static void vector_normals(poe_rng at, uint32_t first, size_t groups, double *out) {
  enum { CHUNK = 4 };
  size_t n = groups * POEI_VECTOR_GROUP;
  for (size_t i = 0, m; i < n; i += m * VD_N) {
    VD radius[CHUNK], angle[CHUNK];
    m = (n - i) / VD_N < CHUNK ? (n - i) / VD_N : CHUNK;
    for (size_t k = 0; k < m; k++) {
      vector_uniform_pair(at, first + (uint32_t)(i + k * VD_N), &radius[k], &angle[k]);
    }
    for (size_t k = 0; k < m; k++) {
      radius[k] = VD_SQRT(VD_MUL(VD_SET(-2.0), SLEEF_LOG_FAST(radius[k])));
    }
    for (size_t k = 0; k < m; k++) {
      VECTOR_SINCOS turn = SLEEF_SINCOSPI(VD_MUL(VD_SET(2.0), angle[k]));
      VD_STORE_PAIRS(out + 2 * (i + k * VD_N), VD_MUL(radius[k], turn.y), VD_MUL(radius[k], turn.x));
    }
  }
}

const poei_vector_ops VECTOR_TABLE = {
    .name = VECTOR_NAME,
    .exp = vector_exp,
    .log = vector_log,
    .log1p = vector_log1p,
    .tanh = vector_tanh,
    .erf = vector_erf,
    .sincos = vector_sincos,
    .expf = vector_expf,
    .logf = vector_logf,
    .log1pf = vector_log1pf,
    .tanhf = vector_tanhf,
    .erff = vector_erff,
    .uniforms = vector_uniforms,
    .normals = vector_normals,
};
