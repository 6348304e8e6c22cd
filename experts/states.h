/* A potential over a finite grid of discrete states: what `table` and closed forms of tables are underneath. The
 * functions from destroy on have the signatures of the expert's slots. */
#ifndef POE_EXPERTS_STATES_H
#define POE_EXPERTS_STATES_H

#include "poe/expert.h"

typedef struct poei_states {
  poe_form form;        /* TABLE                                                     */
  size_t count;         /* number of states                                          */
  double *cumulative;   /* [count] running sums of exp(log_value - its maximum)      */
  double log_z;         /* log of the sum                                            */
  poe_support *support; /* [dim] low .. low + cardinality - 1                        */
  size_t *stride;       /* [dim] distance of neighbours in a coordinate              */
} poei_states;

/* Takes over a TABLE form (which is left zeroed) when it succeeds. POE_E_EMPTY when every value is -inf, POE_E_DOMAIN
 * for NaN or +inf, POE_E_MEMORY. */
poe_status poei_states_create(poe_form *form, poei_states **states, poe_error *error);

void poei_states_destroy(void *self);
void poei_states_traits(const void *self, poe_traits *traits);
size_t poei_states_scratch(const void *self, unsigned want, size_t n);
poe_status poei_states_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                poe_scratch *scratch, poe_error *error);
poe_status poei_states_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                              poe_error *error);
poe_status poei_states_log_z(const void *self, double *log_z, poe_error *error);
poe_status poei_states_form(const void *self, poe_form *form, poe_error *error);
poe_status poei_states_structure(const void *self, poe_structure *structure, poe_error *error);
extern const poe_local_ops poei_states_local;
poe_status poei_states_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                       poe_scratch *scratch, poe_error *error);

/* Index of a discrete value among `cardinality` states from `low`; cardinality when it is none of them. NaN is none. */
size_t poei_state_index(double x, double low, size_t cardinality);

#endif
