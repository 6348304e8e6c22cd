/* Addressed randomness: a random number is a pure function of where it is used.
 *
 * Generator: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3") with
 * key = address.key and counter = {block, site, step, chain}. Nothing is stored between draws, so the same run gives
 * the same bits for any number of threads, and a resumed run continues with the bits of the uninterrupted one.
 */
#ifndef POE_RNG_H
#define POE_RNG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The address of a sequence of random numbers. A plain value: copy it freely. */
typedef struct poe_rng {
  uint64_t key;   /* from the seed, see poe_rng_seed, or from a parent address, see poe_rng_child */
  uint32_t chain; /* chain, particle or row                                                      */
  uint32_t step;  /* iteration                                                                   */
  uint32_t site;  /* use within the iteration                                                    */
} poe_rng;

/* A cursor over the sequence at one address. */
typedef struct poe_stream {
  poe_rng at;
  uint32_t block;   /* next counter block     */
  uint32_t used;    /* words used of `word`   */
  uint32_t word[4]; /* current output block   */
} poe_stream;

/* The root address of a user's seed; chain, step and site are 0. */
poe_rng poe_rng_seed(uint64_t seed);
/* An address whose sequence is independent of `at` and of every other child: same chain, step and site, another key.
 * Used by an expert that asks several children for draws at one address. */
poe_rng poe_rng_child(poe_rng at, uint32_t index);

/* Starts reading at `at`. */
poe_stream poe_stream_open(poe_rng at);
/* Next 32 random bits. */
uint32_t poe_stream_bits(poe_stream *stream);
/* Next uniform number in the open interval (0, 1), 53 bits, never 0 or 1. */
double poe_stream_uniform(poe_stream *stream);
/* Next standard normal number (Box-Muller; consumes two uniforms each call, so that the position stays predictable). */
double poe_stream_normal(poe_stream *stream);
/* Next standard exponential number, -log(uniform). */
double poe_stream_exponential(poe_stream *stream);
/* Next Gamma(shape, rate 1) number, shape > 0 (Marsaglia and Tsang 2000). */
double poe_stream_gamma(poe_stream *stream, double shape);
/* Next index in [0, n) with probability proportional to weight[i] >= 0 (n weights, positive sum), by inversion. */
size_t poe_stream_categorical(poe_stream *stream, const double *weight, size_t n);

/* Fills out[0..n) with uniforms in (0, 1) from the sequence at `at`. Vectorised. */
void poe_rng_uniforms(poe_rng at, size_t n, double *out);
/* Fills out[0..n) with standard normals from the sequence at `at`. Vectorised (Box-Muller by SLEEF); same numbers for
 * any n: out[i] does not depend on n. */
void poe_rng_normals(poe_rng at, size_t n, double *out);

#ifdef __cplusplus
}
#endif
#endif
