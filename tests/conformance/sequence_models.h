/* Autoregressive models over sequences for the conformance suite: files, and their densities written out in loops. */
#ifndef POE_TESTS_SEQUENCE_MODELS_H
#define POE_TESTS_SEQUENCE_MODELS_H

#include "poe/expert.h"

/* X(name) */
#define POET_SEQUENCE_LIST(X)                                                                                          \
  X(strings)   /* int(4)[4] by a GRU with an end symbol */                                                             \
  X(letters)   /* int(3)[4] by two LSTM layers, one-hot, a learned start */                                            \
  X(numbers)   /* real[2] by an LSTM */                                                                                \
  X(pairs)     /* real[4], two at a position, by a GRU */                                                              \
  X(nade)      /* binary[6] */                                                                                         \
  X(real_nade) /* real[2], mixtures of two Gaussians */

#define POET_SEQUENCE_DECLARE(name)                                                                                    \
  poe_status poet_build_##name(poe_expert **expert, poe_error *error);                                                 \
  double poet_log_##name(const double *x);
POET_SEQUENCE_LIST(POET_SEQUENCE_DECLARE)
#undef POET_SEQUENCE_DECLARE

#endif
