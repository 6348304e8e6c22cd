/* The leapfrog (Stoermer-Verlet) integrator of H(x, p) = -log p(x) + |p|^2/2, in whitened momentum p ~ N(0, I):
 *   p += (eps/2) sqrt(M) g(x);  x += eps sqrt(M) p;  p += (eps/2) sqrt(M) g(x).
 * Volume-preserving and reversible: negating p and moving again leads back. Its energy error is O(eps^2).
 * Source: Duane et al. 1987; Neal 2011, equations 2.28 to 2.30. */
#include "sampler/kernels/leapfrog.h"

/* p += factor * scale * g, rows of d. */
static void leapfrog_kick(size_t n, size_t d, const double *scale, double factor, const double *grad, double *p) {
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < d; j++) {
      p[i * d + j] += factor * scale[j] * grad[i * d + j];
    }
  }
}

poe_status poei_leapfrog(const poei_density *density, size_t n, size_t d, size_t length, const double *scale, double *y,
                         double *p, double *logp, double *grad, poe_scratch *scratch, poe_error *error) {
  leapfrog_kick(n, d, scale, 0.5, grad, p);
  for (size_t step = 1; step <= length; step++) {
    for (size_t i = 0; i < n; i++) {
      for (size_t j = 0; j < d; j++) {
        y[i * d + j] += scale[j] * p[i * d + j];
      }
    }
    poe_status status = poei_density_eval(density, n, d, y, logp, grad, scratch, error);
    if (status != POE_OK) {
      return status;
    }
    leapfrog_kick(n, d, scale, step < length ? 1.0 : 0.5, grad, p); /* two half kicks in one between steps */
  }
  return POE_OK;
}
