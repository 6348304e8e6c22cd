/* The uniform density on the sequences of one length that an automaton accepts: 1 on each of them, 0 elsewhere. What
 * automaton and regex are underneath. The functions from destroy on have the signatures of the expert's slots. */
#ifndef POE_EXPERTS_ACCEPTED_H
#define POE_EXPERTS_ACCEPTED_H

#include "experts/dfa.h"
#include "experts/discrete.h"

typedef struct poei_accepted {
  poei_dfa dfa;
  size_t d;
  size_t segment; /* steps between the counts that are kept                                             */
  double *count;  /* [segments, states] log number of accepted ends, up to a factor, at segment, 2 segment, ..., d */
  double log_z;   /* log of the number of accepted sequences                                            */
  size_t numbers; /* in the factors of its structure; 0: too many                                       */
  poe_support *support; /* [d] */
} poei_accepted;

/* The density over sequences of length d; takes the automaton over (zeroing it) when it succeeds. POE_E_EMPTY when no
 * sequence of that length is accepted. */
poe_status poei_accepted_create(poei_dfa *dfa, size_t d, poei_accepted **accepted, poe_error *error);

void poei_accepted_destroy(void *self);
void poei_accepted_traits(const void *self, poe_traits *traits);
size_t poei_accepted_scratch(const void *self, unsigned want, size_t n);
poe_status poei_accepted_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                  poe_scratch *scratch, poe_error *error);
poe_status poei_accepted_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                poe_error *error);
poe_status poei_accepted_log_z(const void *self, double *log_z, poe_error *error);
poe_status poei_accepted_structure(const void *self, poe_structure *structure, poe_error *error);
extern const poe_local_ops poei_accepted_local;
poe_status poei_accepted_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                         poe_scratch *scratch, poe_error *error);

/* Fills a->numbers (accepted_views.c). */
poe_status poei_accepted_measure(poei_accepted *a, poe_error *error);

#endif
