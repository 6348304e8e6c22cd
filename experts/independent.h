/* Independent discrete coordinates over {0, ..., k-1}, each with its own probabilities: what `bernoulli` and
 * `categorical` are underneath. A builder allocates, fills log_p and finishes. The functions from destroy on have the
 * signatures of the expert's slots. */
#ifndef POE_EXPERTS_INDEPENDENT_H
#define POE_EXPERTS_INDEPENDENT_H

#include "poe/expert.h"

typedef struct poei_independent {
  size_t d, k;
  double *log_p;        /* [d, k] log probabilities, each row summing to 1 */
  double *p;            /* [d, k] (finish)                                 */
  poe_support *support; /* [d] 0 .. k-1                                    */
  unsigned char *head;  /* [d] ones                                        */
  bool small;           /* k^d states are few enough for a table           */
} poei_independent;

/* NULL when out of memory. */
poei_independent *poei_independent_alloc(size_t d, size_t k);
void poei_independent_finish(poei_independent *independent);

void poei_independent_destroy(void *self);
void poei_independent_traits(const void *self, poe_traits *traits);
size_t poei_independent_scratch(const void *self, unsigned want, size_t n);
poe_status poei_independent_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                     poe_scratch *scratch, poe_error *error);
poe_status poei_independent_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                   poe_error *error);
poe_status poei_independent_log_z(const void *self, double *log_z, poe_error *error);
poe_status poei_independent_form(const void *self, poe_form *form, poe_error *error);
poe_status poei_independent_structure(const void *self, poe_structure *structure, poe_error *error);
extern const poe_local_ops poei_independent_local;
poe_status poei_independent_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out,
                                            size_t ldo, poe_scratch *scratch, poe_error *error);

#endif
