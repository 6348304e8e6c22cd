/* The vector kernels for AVX2 with FMA: 4 doubles, 8 floats at a time (vector.h). */
#include "core/vector.h"

#include <immintrin.h>
#include <sleef.h>

#define VD __m256d
#define VD_N 4
#define VD_LOAD _mm256_loadu_pd
#define VD_STORE _mm256_storeu_pd
#define VD_SET _mm256_set1_pd
#define VD_MUL _mm256_mul_pd
#define VD_SUB _mm256_sub_pd
#define VD_SQRT _mm256_sqrt_pd
#define VF __m256
#define VF_N 8
#define VF_LOAD _mm256_loadu_ps
#define VF_STORE _mm256_storeu_ps
#define VI __m256i
#define VI_SET(x) _mm256_set1_epi64x((long long)(x))
#define VI_ADD _mm256_add_epi64
#define VI_MUL32 _mm256_mul_epu32
#define VI_XOR _mm256_xor_si256
#define VI_OR _mm256_or_si256
#define VI_AND _mm256_and_si256
#define VI_SHL _mm256_slli_epi64
#define VI_SHR _mm256_srli_epi64
#define VI_AS_VD _mm256_castsi256_pd
#define VI_LANES _mm256_set_epi64x(3, 2, 1, 0)
#define VECTOR_SINCOS Sleef___m256d_2
#define SLEEF_D(name) SLEEF_D_(name)
#define SLEEF_D_(name) Sleef_finz_##name##d4_u10avx2
#define SLEEF_F(name) Sleef_finz_##name##f8_u10avx2
#define SLEEF_SINCOSPI Sleef_finz_sincospid4_u35avx2
#define SLEEF_LOG_FAST Sleef_finz_logd4_u35avx2
#define VECTOR_TABLE poei_vector_avx2
#define VECTOR_NAME "avx2"
#define VD_STORE_PAIRS(out, a, b) store_pairs(out, a, b)

static inline void store_pairs(double *out, __m256d a, __m256d b) {
  __m256d even = _mm256_unpacklo_pd(a, b), odd = _mm256_unpackhi_pd(a, b); /* a0 b0 a2 b2 and a1 b1 a3 b3 */
  _mm256_storeu_pd(out, _mm256_permute2f128_pd(even, odd, 0x20));
  _mm256_storeu_pd(out + 4, _mm256_permute2f128_pd(even, odd, 0x31));
}

#include "core/vector_loops.h"
