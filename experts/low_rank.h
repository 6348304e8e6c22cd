/* N(x; m, diag(sd^2) + F F'): what `gaussian` with `factor` is underneath. The functions from destroy on have the
 * signatures of the expert's slots. */
#ifndef POE_EXPERTS_LOW_RANK_H
#define POE_EXPERTS_LOW_RANK_H

#include "poe/expert.h"

typedef struct poei_low_rank {
  size_t d, r;
  double *mean;  /* [d]                                               */
  double *scale; /* [d] 1 / sd                                        */
  double *w;     /* [d, r] F by rows, divided by sd                   */
  double *m;     /* [r, r] Cholesky factor of I + W'W                 */
  double offset; /* log density at the mean                           */
  poe_support *support;
  unsigned char *head;
} poei_low_rank;

/* Arrays for rank r in d dimensions, zero. NULL when out of memory or too large. */
poei_low_rank *poei_low_rank_alloc(size_t d, size_t r);
/* Derives the rest from mean, scale and w, which holds F as given. POE_E_DOMAIN when the numbers are too far apart. */
poe_status poei_low_rank_finish(poei_low_rank *g, poe_error *error);

extern const poe_expert_ops poei_low_rank_ops;
/* An expert made of it, named "low rank gaussian"; takes it over when it succeeds. */
poe_status poei_low_rank_wrap(poei_low_rank *g, poe_expert **out, poe_error *error);
/* The state of such an expert, or of a `gaussian` with a factor; NULL for any other. */
const poei_low_rank *poei_low_rank_of(const poe_expert *expert);

void poei_low_rank_destroy(void *self);
void poei_low_rank_traits(const void *self, poe_traits *traits);
size_t poei_low_rank_scratch(const void *self, unsigned want, size_t n);
poe_status poei_low_rank_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                  poe_scratch *scratch, poe_error *error);
poe_status poei_low_rank_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                poe_error *error);
poe_status poei_low_rank_log_z(const void *self, double *log_z, poe_error *error);
poe_status poei_low_rank_form(const void *self, poe_form *form, poe_error *error);

#endif
