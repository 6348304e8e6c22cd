/* SHA-256, FIPS 180-4 section 6.2. Padding as in section 5.1.1: a one bit, zeros, the length in bits as 64-bit
 * big-endian number. */
#include "formats/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "formats/file_error.h"

typedef struct sha256 {
  uint32_t h[8];
  uint64_t bytes;          /* taken so far */
  unsigned char block[64]; /* the last bytes % 64 of them */
} sha256;

/* First 32 bits of the fractional parts of the cube roots of the first 64 primes (section 4.2.2). */
static const uint32_t sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static void sha256_start(sha256 *state) {
  static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(state->h, first, sizeof first);
  state->bytes = 0;
}

static uint32_t sha256_rotate(uint32_t x, unsigned n) {
  return x >> n | x << (32 - n);
}

static void sha256_block(uint32_t h[8], const unsigned char *block) {
  uint32_t w[64], v[8];
  for (unsigned t = 0; t < 16; t++) {
    const unsigned char *at = block + 4 * t;
    w[t] = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
  }
  for (unsigned t = 16; t < 64; t++) {
    uint32_t a = w[t - 15], b = w[t - 2];
    uint32_t s0 = sha256_rotate(a, 7) ^ sha256_rotate(a, 18) ^ a >> 3;
    uint32_t s1 = sha256_rotate(b, 17) ^ sha256_rotate(b, 19) ^ b >> 10;
    w[t] = s1 + w[t - 7] + s0 + w[t - 16];
  }
  memcpy(v, h, sizeof v);
  for (unsigned t = 0; t < 64; t++) { /* v = a b c d e f g h */
    uint32_t s1 = sha256_rotate(v[4], 6) ^ sha256_rotate(v[4], 11) ^ sha256_rotate(v[4], 25);
    uint32_t choose = (v[4] & v[5]) ^ (~v[4] & v[6]);
    uint32_t t1 = v[7] + s1 + choose + sha256_k[t] + w[t];
    uint32_t s0 = sha256_rotate(v[0], 2) ^ sha256_rotate(v[0], 13) ^ sha256_rotate(v[0], 22);
    uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
    memmove(v + 1, v, 7 * sizeof v[0]);
    v[4] += t1;
    v[0] = t1 + s0 + majority;
  }
  for (unsigned i = 0; i < 8; i++) {
    h[i] += v[i];
  }
}

static void sha256_take(sha256 *state, const unsigned char *data, size_t size) {
  size_t held = (size_t)(state->bytes % 64);
  state->bytes += size;
  if (held > 0) {
    size_t take = size < 64 - held ? size : 64 - held;
    memcpy(state->block + held, data, take);
    data += take;
    size -= take;
    if (held + take < 64) {
      return;
    }
    sha256_block(state->h, state->block);
  }
  for (; size >= 64; data += 64, size -= 64) {
    sha256_block(state->h, data);
  }
  if (size > 0) {
    memcpy(state->block, data, size);
  }
}

static void sha256_end(sha256 *state, char hex[65]) {
  static const unsigned char padding[64] = {0x80};
  static const char digit[] = "0123456789abcdef";
  uint64_t bits = state->bytes * 8;
  unsigned char length[8];
  for (unsigned i = 0; i < 8; i++) {
    length[i] = (unsigned char)(bits >> (56 - 8 * i) & 0xFF);
  }
  size_t held = (size_t)(state->bytes % 64);
  sha256_take(state, padding, held < 56 ? 56 - held : 120 - held);
  sha256_take(state, length, sizeof length);
  for (unsigned i = 0; i < 64; i++) {
    hex[i] = digit[state->h[i / 8] >> (28 - 4 * (i % 8)) & 15];
  }
  hex[64] = '\0';
}

void poei_sha256(const void *data, size_t size, char hex[65]) {
  sha256 state;
  sha256_start(&state);
  sha256_take(&state, data, size);
  sha256_end(&state, hex);
}

poe_status poei_sha256_file(const char *path, char hex[65], poe_error *error) {
  unsigned char buffer[16384];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return poei_file_system_error(error, "open", path, errno);
  }
  sha256 state;
  sha256_start(&state);
  ssize_t got;
  while ((got = read(fd, buffer, sizeof buffer)) != 0) {
    if (got > 0) {
      sha256_take(&state, buffer, (size_t)got);
    } else if (errno != EINTR) {
      poe_status status = poei_file_system_error(error, "read", path, errno);
      close(fd);
      return status;
    }
  }
  close(fd);
  sha256_end(&state, hex);
  return POE_OK;
}
