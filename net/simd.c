/* Choice of the instruction set (net/simd.h): what the processor and the operating system both support, capped by the
 * test hook. The answer is the same for the whole life of a process unless a test lowers it. */
#include "net/simd.h"

#include <stdatomic.h>

static _Atomic int simd_cap = POEI_SIMD_COUNT - 1;

static poei_simd simd_best(void) {
#if defined(__x86_64__)
  /* The compiler's runtime asks cpuid once, before main; these read a word. */
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq")) {
    return POEI_SIMD_AVX512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return POEI_SIMD_AVX2;
  }
#endif
  return POEI_SIMD_PLAIN;
}

poei_simd poei_simd_level(void) {
  poei_simd best = simd_best();
  int cap = atomic_load_explicit(&simd_cap, memory_order_relaxed);
  return (int)best < cap ? best : (poei_simd)cap;
}

void poei_simd_limit(poei_simd level) {
  atomic_store_explicit(&simd_cap, (int)level, memory_order_relaxed);
}

const char *poei_simd_name(poei_simd level) {
  static const char *const names[POEI_SIMD_COUNT] = {"plain", "AVX2", "AVX-512"};
  return level < POEI_SIMD_COUNT ? names[level] : "?";
}
