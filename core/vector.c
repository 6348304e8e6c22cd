/* Chooses the vector kernels for this processor, once, and passes the elementwise functions of numerics.h to them. */
#include "core/vector.h"

#include <stdatomic.h>

#include "core/numerics.h"

static const poei_vector_ops *vector_choose(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma")) {
    return &poei_vector_avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return &poei_vector_avx2;
  }
#endif
  return &poei_vector_scalar;
}

const poei_vector_ops *poei_vector_best(void) {
  /* Threads that race here all store the same pointer. */
  static _Atomic(const poei_vector_ops *) chosen;
  const poei_vector_ops *ops = atomic_load_explicit(&chosen, memory_order_relaxed);
  if (ops == NULL) {
    ops = vector_choose();
    atomic_store_explicit(&chosen, ops, memory_order_relaxed);
  }
  return ops;
}

void poei_vexp(const double *x, double *out, size_t n) {
  poei_vector_best()->exp(x, out, n);
}

void poei_vlog(const double *x, double *out, size_t n) {
  poei_vector_best()->log(x, out, n);
}

void poei_vlog1p(const double *x, double *out, size_t n) {
  poei_vector_best()->log1p(x, out, n);
}

void poei_vtanh(const double *x, double *out, size_t n) {
  poei_vector_best()->tanh(x, out, n);
}

void poei_verf(const double *x, double *out, size_t n) {
  poei_vector_best()->erf(x, out, n);
}

void poei_vsincos(const double *x, double *sine, double *cosine, size_t n) {
  poei_vector_best()->sincos(x, sine, cosine, n);
}

void poei_vexpf(const float *x, float *out, size_t n) {
  poei_vector_best()->expf(x, out, n);
}

void poei_vlogf(const float *x, float *out, size_t n) {
  poei_vector_best()->logf(x, out, n);
}

void poei_vlog1pf(const float *x, float *out, size_t n) {
  poei_vector_best()->log1pf(x, out, n);
}

void poei_vtanhf(const float *x, float *out, size_t n) {
  poei_vector_best()->tanhf(x, out, n);
}

void poei_verff(const float *x, float *out, size_t n) {
  poei_vector_best()->erff(x, out, n);
}
