/* Kernels with one deliberate mistake each: the checks that our kernels pass must fail them. */
#ifndef POE_TESTS_SAMPLER_BROKEN_H
#define POE_TESTS_SAMPLER_BROKEN_H

#include "sampler/kernel.h"

/* X(name, move, mistake): broken_<name>. `sound` kernels have none and must pass: they show that it is the mistake that
 * is found. */
#define BROKEN_LIST(X)                                                                                                 \
  X(rwm_sound, MOVE_RWM, MISTAKE_NONE)                                                                                 \
  X(rwm_sign, MOVE_RWM, MISTAKE_SIGN)                                                                                  \
  X(rwm_batch, MOVE_RWM, MISTAKE_BATCH)                                                                                \
  X(rwm_scale, MOVE_RWM, MISTAKE_SCALE)                                                                                \
  X(mala_sound, MOVE_MALA, MISTAKE_NONE)                                                                               \
  X(mala_sign, MOVE_MALA, MISTAKE_SIGN)                                                                                \
  X(mala_batch, MOVE_MALA, MISTAKE_BATCH)                                                                              \
  X(mala_scale, MOVE_MALA, MISTAKE_SCALE)                                                                              \
  X(mala_one_way, MOVE_MALA, MISTAKE_ONE_WAY)                                                                          \
  X(hmc_sound, MOVE_HMC, MISTAKE_NONE)                                                                                 \
  X(hmc_sign, MOVE_HMC, MISTAKE_SIGN)                                                                                  \
  X(hmc_batch, MOVE_HMC, MISTAKE_BATCH)                                                                                \
  X(hmc_scale, MOVE_HMC, MISTAKE_SCALE)                                                                                \
  X(hmc_one_way, MOVE_HMC, MISTAKE_ONE_WAY)                                                                            \
  X(retry_sound, MOVE_RETRY, MISTAKE_NONE)                                                                             \
  X(retry_one_way, MOVE_RETRY, MISTAKE_ONE_WAY)

typedef enum broken_move {
  MOVE_RWM,
  MOVE_MALA,
  MOVE_HMC,
  MOVE_RETRY
} broken_move; /* RETRY: HMC's second attempt too */

typedef enum broken_mistake {
  MISTAKE_NONE,
  MISTAKE_SIGN,   /* the log ratio has the wrong sign                                                          */
  MISTAKE_BATCH,  /* one decision for the whole tile, by its mean acceptance                                   */
  MISTAKE_SCALE,  /* rwm: proposals grow with |x|, uncorrected; mala: noise of sqrt(2) eps where log q has eps;
                     hmc: momenta of variance 2 where the energy has 1                                         */
  MISTAKE_ONE_WAY /* mala: log q of the way back is missing; hmc: a full first kick, so that the way back is
                     not the way; retry: made also where the way back would not be attempted                  */
} broken_mistake;

#define BROKEN_DECLARE(name, move, mistake) extern const poei_kernel broken_##name;
BROKEN_LIST(BROKEN_DECLARE)
#undef BROKEN_DECLARE

#endif
