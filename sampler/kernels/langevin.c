/* The Langevin proposal y = x + (eps^2/2) M g(x) + eps sqrt(M) xi with g = grad log p and xi ~ N(0, I).
 *
 * Its density, q(y|x) = N(y; x + (eps^2/2) M g(x), eps^2 M), is -|xi|^2/2 up to a constant. The way back from y to x
 * needs the noise xi' with x - y - (eps^2/2) M g(y) = eps sqrt(M) xi', hence
 *   xi' = -(xi + (eps/2) sqrt(M) (g(x) + g(y))),
 * and log q(x|y) - log q(y|x) = (|xi|^2 - |xi'|^2) / 2.
 * Source: Rossky, Doll and Friedman 1978; Roberts and Tweedie 1996.
 *
 * A row's noise is drawn, used and summed while it is in the nearest cache; the way back is summed, never stored. The
 * loops over a row are compiled twice, for any processor and for AVX2. Invariant: both give the same bits (there is no
 * fused multiplication in either, and sums are in four parts in both). */
#include "sampler/kernels/langevin.h"

size_t poei_langevin_scratch(size_t n, size_t d) {
  return 3 * poe_scratch_need(n * d, sizeof(double)) + 3 * poe_scratch_need(n, sizeof(double)) +
         poe_scratch_need(d, sizeof(double)) + poe_scratch_need(n, 1);
}

#define LANGEVIN_INLINE static inline __attribute__((always_inline))

/* y[d] = x + scale (scale grad / 2 + xi). */
LANGEVIN_INLINE void langevin_move(size_t d, const double *scale, const double *x, const double *grad, const double *xi,
                                   double *restrict y) {
  for (size_t j = 0; j < d; j++) {
    y[j] = x[j] + scale[j] * (0.5 * scale[j] * grad[j] + xi[j]);
  }
}

/* |xi'|^2 of one row, in four sums like poei_square_norm; here, there: [d] the gradients at x and at y. */
LANGEVIN_INLINE double langevin_back(size_t d, const double *scale, const double *xi, const double *here,
                                     const double *there) {
  double part[4] = {0.0, 0.0, 0.0, 0.0};
  size_t j = 0;
  for (; j + 4 <= d; j += 4) {
    for (size_t k = 0; k < 4; k++) {
      double back = xi[j + k] + 0.5 * scale[j + k] * (here[j + k] + there[j + k]);
      part[k] += back * back;
    }
  }
  double sum = (part[0] + part[1]) + (part[2] + part[3]);
  for (; j < d; j++) {
    double back = xi[j] + 0.5 * scale[j] * (here[j] + there[j]);
    sum += back * back;
  }
  return sum;
}

typedef struct langevin_loops {
  void (*move)(size_t d, const double *scale, const double *x, const double *grad, const double *xi, double *y);
  double (*back)(size_t d, const double *scale, const double *xi, const double *here, const double *there);
} langevin_loops;

#define LANGEVIN_LOOPS(word, attribute)                                                                                \
  attribute static void word##_move(size_t d, const double *scale, const double *x, const double *grad,                \
                                    const double *xi, double *y) {                                                     \
    langevin_move(d, scale, x, grad, xi, y);                                                                           \
  }                                                                                                                    \
  attribute static double word##_back(size_t d, const double *scale, const double *xi, const double *here,             \
                                      const double *there) {                                                           \
    return langevin_back(d, scale, xi, here, there);                                                                   \
  }                                                                                                                    \
  static const langevin_loops word = {word##_move, word##_back};

LANGEVIN_LOOPS(langevin_plain, )
#if defined(__x86_64__)
LANGEVIN_LOOPS(langevin_avx2, __attribute__((target("avx2"))))
#endif

static const langevin_loops *langevin_best(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) {
    return &langevin_avx2;
  }
#endif
  return &langevin_plain;
}

poe_status poei_langevin_propose(const poei_density *density, const poei_kernel_settings *settings,
                                 const poei_tile *tile, poei_langevin *out, uint64_t *gradients, poe_scratch *scratch,
                                 poe_error *error) {
  size_t n = tile->n, d = tile->d;
  out->y = poe_scratch_doubles(scratch, n * d);
  out->grad = poe_scratch_doubles(scratch, n * d);
  out->logp = poe_scratch_doubles(scratch, n);
  out->log_ratio = poe_scratch_doubles(scratch, n);
  out->accepted = poe_scratch_bytes(scratch, n);
  double *xi = poe_scratch_doubles(scratch, n * d), *forward = poe_scratch_doubles(scratch, n);
  double *scale = poe_scratch_doubles(scratch, d);
  poei_metric_scale(settings, d, settings->step_size, scale);
  const langevin_loops *loops = langevin_best();
  for (size_t i = 0; i < n; i++) {
    size_t row = i * d;
    poe_rng at = tile->at[i];
    at.site += POEI_SITE_NOISE;
    poe_rng_normals(at, d, xi + row);
    loops->move(d, scale, tile->x + row, tile->grad + row, xi + row, out->y + row);
    forward[i] = poei_square_norm(xi + row, d);
  }
  poe_status status = poei_density_eval(density, n, d, out->y, out->logp, out->grad, scratch, error);
  if (status != POE_OK) {
    return status;
  }
  for (size_t i = 0; i < n; i++) {
    double back = loops->back(d, scale, xi + i * d, tile->grad + i * d, out->grad + i * d);
    out->log_ratio[i] = out->logp[i] - tile->logp[i] + 0.5 * (forward[i] - back);
  }
  *gradients += n;
  return POE_OK;
}
