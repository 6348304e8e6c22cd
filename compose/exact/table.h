/* Algebra of tables over discrete coordinates (POE_FORM_TABLE). Results are allocated for the caller; on failure the
 * output is untouched. Thread-safe. */
#ifndef POE_COMPOSE_EXACT_TABLE_H
#define POE_COMPOSE_EXACT_TABLE_H

#include "compose/exact/gaussian.h"

/* Number of states of a table. */
size_t poei_table_states(const poe_form *form);
/* prod_i form_i(x[index_i]) ^ exponent_i; each of the dim coordinates must be in a factor. Values outside a factor's
 * range are impossible for it; 0/0 = 0; a/0 is POE_E_IMPROPER naming the state. POE_E_CAPABILITY above `limit` states,
 * POE_E_EMPTY when the ranges do not meet. */
poe_status poei_table_product(size_t dim, size_t n, const poei_scoped_form *factors, size_t limit, poe_form *out,
                              poe_error *error);
/* sum_k exp(log_weight_k) form_k over the smallest range that holds all. */
poe_status poei_table_mixture(size_t n, const poe_form *forms, const double *log_weight, size_t limit, poe_form *out,
                              poe_error *error);
/* Coordinates index[n] set to value[n]; over the others in order. */
poe_status poei_table_given(const poe_form *form, size_t n, const size_t *index, const double *value, poe_form *out,
                            poe_error *error);
/* (1/beta) log sum exp(beta .) over all coordinates but keep[n] (in that order); beta infinite: the maximum. */
poe_status poei_table_marginal(const poe_form *form, size_t n, const size_t *keep, double beta, poe_form *out,
                               poe_error *error);

#endif
