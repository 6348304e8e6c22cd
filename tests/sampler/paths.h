/* Paths base * rest^beta whose log Z is known, for the tests of sequential Monte Carlo. */
#ifndef POE_TESTS_SAMPLER_PATHS_H
#define POE_TESTS_SAMPLER_PATHS_H

#include "tests/sampler/targets.h"

enum { PATHS = 12 };

typedef struct path {
  const char *name;
  target base, rest;
  double log_z; /* of the integral of base * rest over that of base */
} path;

path path_make(int which);

#endif
