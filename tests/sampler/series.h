/* Fixed draws for the diagnostics: made by integer arithmetic and exact dyadic fractions, the same on every machine. */
#ifndef POE_TESTS_SAMPLER_SERIES_H
#define POE_TESTS_SAMPLER_SERIES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

/* name, chains, draws */
#define SERIES_LIST(X)                                                                                                 \
  X(SLOW, 4, 250)                                                                                                      \
  X(ODD, 4, 251)                                                                                                       \
  X(HEAVY, 2, 400)                                                                                                     \
  X(TIES, 4, 100)                                                                                                      \
  X(SHIFTED, 4, 200)                                                                                                   \
  X(ANTITHETIC, 3, 300)                                                                                                \
  X(BINARY, 2, 150)                                                                                                    \
  X(SHORT, 3, 9)                                                                                                       \
  X(TINY, 8, 5)                                                                                                        \
  X(STICKY, 4, 1000)

typedef enum series_case {
#define SERIES_ENUM(name, chains, draws) SERIES_##name,
  SERIES_LIST(SERIES_ENUM)
#undef SERIES_ENUM
      SERIES_COUNT
} series_case;

enum { SERIES_MAX = 4000 };

/* Uniform in [0, 1): splitmix64. */
static inline double series_uniform(uint64_t *state) {
  uint64_t z = *state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* x[chains, draws] */
static inline void series_make(series_case which, size_t chains, size_t draws, double *x) {
  uint64_t state = (uint64_t)which * 1000003u + 17u;
  double carry = which == SERIES_ANTITHETIC ? -0.5 : which == SERIES_STICKY ? 0.96875 : 0.75;
  for (size_t c = 0; c < chains; c++) {
    double value = 0.0;
    for (size_t s = 0; s < draws; s++) {
      double noise = series_uniform(&state) + series_uniform(&state) + series_uniform(&state) - 1.5;
      value = carry * value + noise;
      double out = value;
      if (which == SERIES_HEAVY) {
        out = 1.0 / (series_uniform(&state) - 0.5);
      } else if (which == SERIES_TIES) {
        out = floor(4.0 * value);
      } else if (which == SERIES_SHIFTED) {
        out = value + (c == 3 ? 1.0 : 0.0);
      } else if (which == SERIES_BINARY) {
        out = value > 0.25 ? 1.0 : 0.0;
      }
      x[c * draws + s] = out;
    }
  }
}

#endif
