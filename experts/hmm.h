/* The state of a hidden Markov model, shared by its density (hmm.c) and its single-site view (hmm_local.c). */
#ifndef POE_EXPERTS_HMM_H
#define POE_EXPERTS_HMM_H

#include "experts/discrete.h"

typedef struct poei_hmm {
  size_t d, states, k;                 /* length, latent states, symbols                       */
  double *initial, *log_initial;       /* [states]                                             */
  double *transition, *log_transition; /* [states, states] from, to                            */
  double *back, *log_back;             /* [states, states] the same transposed                 */
  double *emission, *log_emission;     /* [states, k]                                          */
  double *log_symbol;                  /* [k + 1, states] the same transposed, its last row -inf */
  poe_support *support;                /* [d]                                                  */
  unsigned char *head;                 /* [d]                                                  */
} poei_hmm;

extern const poe_local_ops poei_hmm_local;

#endif
