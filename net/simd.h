/* Which instruction set the kernels of this floor run on, chosen once at run time. The same C text is compiled for each
 * (kernel files are included once per variant). */
#ifndef POE_NET_SIMD_H
#define POE_NET_SIMD_H

typedef enum poei_simd { POEI_SIMD_PLAIN, POEI_SIMD_AVX2, POEI_SIMD_AVX512, POEI_SIMD_COUNT } poei_simd;

/* The best variant this processor has. Thread-safe, cheap. */
poei_simd poei_simd_level(void);
const char *poei_simd_name(poei_simd level);
/* Hook for tests and measurements, process-wide and atomic: use no variant above `level`. */
void poei_simd_limit(poei_simd level);

#if defined(__x86_64__)
#define POEI_TARGET_AVX2 __attribute__((target("avx2,fma")))
#define POEI_TARGET_AVX512 __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")))
#else /* one variant: the compiler's own */
#define POEI_TARGET_AVX2
#define POEI_TARGET_AVX512
#endif

/* A helper that takes on the instruction set of the kernel that calls it. */
#define POEI_ALWAYS_INLINE __attribute__((always_inline))

/* Before a loop whose iterations are independent although its pointers may be equal. */
#if defined(__clang__)
#define POEI_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define POEI_INDEPENDENT _Pragma("GCC ivdep")
#endif

#endif
