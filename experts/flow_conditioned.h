/* Couplings and autoregressive layers of a flow: what experts/flow_conditioned_read.c fills and
 * experts/flow_conditioned.c evaluates. */
#ifndef POE_EXPERTS_FLOW_CONDITIONED_H
#define POE_EXPERTS_FLOW_CONDITIONED_H

#include "experts/flow.h"
#include "experts/flow_curve.h"

typedef struct poei_conditioned {
  poei_net *net;
  poei_curve curve;
  bool inverse;       /* T^-1 leads from data to noise                                            */
  bool sequential;    /* autoregressive: in and out are all columns of the view                   */
  bool from_noise;    /* the network reads the noise                                              */
  size_t n_in, *in;   /* columns the network reads                                                */
  unsigned char *off; /* [n_in] 1: enters as 0 (masked couplings)                                 */
  size_t n_out, *out; /* columns that are transformed                                             */
  size_t *slot;       /* [n_out] place of each among the network's outputs                        */
  size_t inner;       /* parameter p of slot s is output (s / inner * P + p) * inner + s % inner  */
  size_t passes;      /* levels                                                                   */
  size_t *level;      /* [n_out] 0 depends on nothing                                             */
} poei_conditioned;

/* Where parameter 0 of the k-th transformed column lies in a row of the network's output; the others follow `inner`
 * apart. */
static inline size_t poei_conditioned_place(const poei_conditioned *c, size_t k) {
  return c->slot[k] / c->inner * c->curve.parameters * c->inner + c->slot[k] % c->inner;
}

extern const poei_bijector poei_conditioned_layer;

#endif
