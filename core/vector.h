/* The kernels behind the vector functions of numerics.h and the vectorised draws of poe/rng.h, one table per
 * instruction set. The loops are written once (vector_loops.h) and compiled per set (vector_avx2.c, ...).
 *
 * Invariants: an element's result does not depend on its position or on n (a tail runs through the same vector routine
 * in a padded vector). AVX2 and AVX-512 give equal bits: both use SLEEF's deterministic FMA routines. The plain table
 * runs where there is no FMA unit; its last bits differ. */
#ifndef POE_CORE_VECTOR_H
#define POE_CORE_VECTOR_H

#include <stddef.h>
#include <stdint.h>

#include "poe/rng.h"

/* Counter blocks per group of the draws; a block gives one pair of doubles. */
enum { POEI_VECTOR_GROUP = 8 };

typedef struct poei_vector_ops {
  const char *name;
  void (*exp)(const double *x, double *out, size_t n);
  void (*log)(const double *x, double *out, size_t n);
  void (*log1p)(const double *x, double *out, size_t n);
  void (*tanh)(const double *x, double *out, size_t n);
  void (*erf)(const double *x, double *out, size_t n);
  void (*sincos)(const double *x, double *sine, double *cosine, size_t n);
  void (*expf)(const float *x, float *out, size_t n);
  void (*logf)(const float *x, float *out, size_t n);
  void (*log1pf)(const float *x, float *out, size_t n);
  void (*tanhf)(const float *x, float *out, size_t n);
  void (*erff)(const float *x, float *out, size_t n);
  /* Uniforms (or normals) of counter blocks first .. first + 8 groups - 1: block b fills out[2 (b - first)] and the
   * next; out[16 groups]. */
  void (*uniforms)(poe_rng at, uint32_t first, size_t groups, double *out);
  void (*normals)(poe_rng at, uint32_t first, size_t groups, double *out);
} poei_vector_ops;

extern const poei_vector_ops poei_vector_scalar;
#if defined(__x86_64__)
extern const poei_vector_ops poei_vector_avx2;
extern const poei_vector_ops poei_vector_avx512;
#endif

/* The best table this processor can run; chosen once. */
const poei_vector_ops *poei_vector_best(void);

#endif
