/* The vector kernels for AVX-512F: 8 doubles, 16 floats at a time (vector.h). */
#include "core/vector.h"

#include <immintrin.h>
#include <sleef.h>

#define VD __m512d
#define VD_N 8
#define VD_LOAD _mm512_loadu_pd
#define VD_STORE _mm512_storeu_pd
#define VD_SET _mm512_set1_pd
#define VD_MUL _mm512_mul_pd
#define VD_SUB _mm512_sub_pd
#define VD_SQRT _mm512_sqrt_pd
#define VF __m512
#define VF_N 16
#define VF_LOAD _mm512_loadu_ps
#define VF_STORE _mm512_storeu_ps
#define VI __m512i
#define VI_SET(x) _mm512_set1_epi64((long long)(x))
#define VI_ADD _mm512_add_epi64
#define VI_MUL32 _mm512_mul_epu32
#define VI_XOR _mm512_xor_si512
#define VI_OR _mm512_or_si512
#define VI_AND _mm512_and_si512
#define VI_SHL _mm512_slli_epi64
#define VI_SHR _mm512_srli_epi64
#define VI_AS_VD _mm512_castsi512_pd
#define VI_LANES _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0)
#define VECTOR_SINCOS Sleef___m512d_2
#define SLEEF_D(name) SLEEF_D_(name)
#define SLEEF_D_(name) Sleef_finz_##name##d8_u10avx512f
#define SLEEF_F(name) Sleef_finz_##name##f16_u10avx512f
#define SLEEF_SINCOSPI Sleef_finz_sincospid8_u35avx512f
#define SLEEF_LOG_FAST Sleef_finz_logd8_u35avx512f
#define VECTOR_TABLE poei_vector_avx512
#define VECTOR_NAME "avx512"
#define VD_STORE_PAIRS(out, a, b) store_pairs(out, a, b)

static inline void store_pairs(double *out, __m512d a, __m512d b) {
  __m512i low = _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0), high = _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4);
  _mm512_storeu_pd(out, _mm512_permutex2var_pd(a, low, b));
  _mm512_storeu_pd(out + 8, _mm512_permutex2var_pd(a, high, b));
}

#include "core/vector_loops.h"
