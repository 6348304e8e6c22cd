/* Addressed randomness (poe/rng.h): Philox4x32-10 of Random123 (Salmon, Moraes, Dror, Shaw 2011) on the counter
 * {block, site, step, chain} under the key of the address.
 *
 * uniform: the upper 52 of 64 bits, k, give (2k + 1) 2^-53: odd multiples of 2^-53, so 0 and 1 are impossible and the
 * distribution is symmetric. gamma: Marsaglia and Tsang (2000), section 2 and the boost of section 8 for shape < 1.
 * Invariants: the i-th number of poe_rng_uniforms is the i-th of poe_stream_uniform; a block gives two of them. */
#include "poe/rng.h"

#include <math.h>
#include <string.h>

#include <Random123/philox.h>

#include "core/numerics.h"
#include "core/vector.h"

/* Child keys come from the counters that no address of the library uses: chain, step and site all ones. */
#define RNG_CHILD_WORD 0xFFFFFFFFU

static philox4x32_ctr_t rng_block(poe_rng at, uint32_t block) {
  philox4x32_ctr_t counter = {{block, at.site, at.step, at.chain}};
  philox4x32_key_t key = {{(uint32_t)at.key, (uint32_t)(at.key >> 32)}};
  return philox4x32_R(10, counter, key);
}

poe_rng poe_rng_seed(uint64_t seed) {
  return (poe_rng){.key = seed, .chain = 0, .step = 0, .site = 0};
}

poe_rng poe_rng_child(poe_rng at, uint32_t index) {
  poe_rng place = {.key = at.key, .chain = RNG_CHILD_WORD, .step = RNG_CHILD_WORD, .site = RNG_CHILD_WORD};
  philox4x32_ctr_t word = rng_block(place, index);
  poe_rng child = at;
  child.key = (uint64_t)word.v[1] << 32 | word.v[0];
  return child;
}

poe_stream poe_stream_open(poe_rng at) {
  return (poe_stream){.at = at, .block = 0, .used = 4, .word = {0}};
}

uint32_t poe_stream_bits(poe_stream *stream) {
  if (stream->used == 4) {
    philox4x32_ctr_t word = rng_block(stream->at, stream->block++);
    memcpy(stream->word, word.v, sizeof stream->word);
    stream->used = 0;
  }
  return stream->word[stream->used++];
}

double poe_stream_uniform(poe_stream *stream) {
  uint64_t low = poe_stream_bits(stream), high = poe_stream_bits(stream);
  return ((double)((high << 32 | low) >> 12) + 0.5) * 0x1p-52;
}

double poe_stream_normal(poe_stream *stream) {
  double u = poe_stream_uniform(stream), v = poe_stream_uniform(stream);
  return sqrt(-2.0 * log(u)) * cos(2.0 * POEI_PI * v);
}

double poe_stream_exponential(poe_stream *stream) {
  return -log(poe_stream_uniform(stream));
}

double poe_stream_gamma(poe_stream *stream, double shape) {
  double boost = 1.0;
  if (shape < 1.0) {
    boost = exp(-poe_stream_exponential(stream) / shape); /* U^(1/shape) */
    shape += 1.0;
  }
  double d = shape - 1.0 / 3.0, c = 1.0 / (3.0 * sqrt(d));
  for (;;) {
    double x = poe_stream_normal(stream), root = 1.0 + c * x;
    double v = root * root * root, u = poe_stream_uniform(stream);
    if (root > 0.0 && log(u) < 0.5 * x * x + d - d * v + d * log(v)) {
      return boost * d * v;
    }
  }
}

size_t poe_stream_categorical(poe_stream *stream, const double *weight, size_t n) {
  double sum = 0.0;
  for (size_t i = 0; i < n; i++) {
    sum += weight[i];
  }
  double left = poe_stream_uniform(stream) * sum;
  size_t last = 0;
  for (size_t i = 0; i < n; i++) {
    if (weight[i] > 0.0) {
      last = i; /* rounding may leave a remainder behind the last positive weight */
      if (left < weight[i]) {
        return i;
      }
      left -= weight[i];
    }
  }
  return last;
}

typedef void (*rng_fill)(poe_rng at, uint32_t first, size_t groups, double *out);

/* Whole groups go straight to `out`, the rest through a buffer. */
static void rng_fill_all(rng_fill fill, poe_rng at, size_t n, double *out) {
  enum { NUMBERS = 2 * POEI_VECTOR_GROUP };
  size_t groups = n / NUMBERS, rest = n % NUMBERS;
  fill(at, 0, groups, out);
  if (rest > 0) {
    double buffer[NUMBERS];
    fill(at, (uint32_t)(groups * POEI_VECTOR_GROUP), 1, buffer);
    memcpy(out + groups * NUMBERS, buffer, rest * sizeof *out);
  }
}

void poe_rng_uniforms(poe_rng at, size_t n, double *out) {
  rng_fill_all(poei_vector_best()->uniforms, at, n, out);
}

void poe_rng_normals(poe_rng at, size_t n, double *out) {
  rng_fill_all(poei_vector_best()->normals, at, n, out);
}
