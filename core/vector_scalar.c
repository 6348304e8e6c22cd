/* The vector kernels for any processor: one number at a time, without fused multiply-add (vector.h). */
#include "core/vector.h"

#include <math.h>
#include <sleef.h>

static inline double as_double(uint64_t bits);

#define VD double
#define VD_N 1
#define VD_LOAD(p) (*(p))
#define VD_STORE(p, x) ((void)(*(p) = (x)))
#define VD_SET(x) (x)
#define VD_MUL(a, b) ((a) * (b))
#define VD_SUB(a, b) ((a) - (b))
#define VD_SQRT sqrt
#define VF float
#define VF_N 1
#define VF_LOAD(p) (*(p))
#define VF_STORE(p, x) ((void)(*(p) = (x)))
#define VI uint64_t
#define VI_SET(x) ((uint64_t)(x))
#define VI_ADD(a, b) ((a) + (b))
#define VI_MUL32(a, b) ((uint64_t)(uint32_t)(a) * (uint32_t)(b))
#define VI_XOR(a, b) ((a) ^ (b))
#define VI_OR(a, b) ((a) | (b))
#define VI_AND(a, b) ((a) & (b))
#define VI_SHL(a, n) ((a) << (n))
#define VI_SHR(a, n) ((a) >> (n))
#define VI_AS_VD(x) as_double(x)
#define VI_LANES 0U
#define VECTOR_SINCOS Sleef_double_2
#define SLEEF_D(name) SLEEF_D_(name)
#define SLEEF_D_(name) Sleef_cinz_##name##d1_u10purec
#define SLEEF_F(name) Sleef_cinz_##name##f1_u10purec
#define SLEEF_SINCOSPI Sleef_cinz_sincospid1_u35purec
#define SLEEF_LOG_FAST Sleef_cinz_logd1_u35purec
#define VECTOR_TABLE poei_vector_scalar
#define VECTOR_NAME "scalar"
#define VD_STORE_PAIRS(out, a, b) ((out)[0] = (a), (void)((out)[1] = (b)))

#include "core/vector_loops.h"

static inline double as_double(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
