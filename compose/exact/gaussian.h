/* Algebra of Gaussian-mixture forms (POE_FORM_GAUSSIANS). All results are allocated for the caller, who releases them
 * with poe_form_release; on failure the output is untouched. Thread-safe. */
#ifndef POE_COMPOSE_EXACT_GAUSSIAN_H
#define POE_COMPOSE_EXACT_GAUSSIAN_H

#include "poe/expert.h"

/* A form over part of the coordinates of a product. */
typedef struct poei_scoped_form {
  poe_form form;
  const size_t *index; /* [form.dim] coordinates of the product; NULL: 0..form.dim-1 */
  double exponent;
} poei_scoped_form;

/* prod_i form_i(x[index_i]) ^ exponent_i over dim coordinates; with n = 1 an embedding or a power. Coordinates that no
 * factor has stay flat (precision 0). A mixture may have exponent 1 or a small whole one; POE_E_CAPABILITY when it has
 * another, or when the result has more than `limit` components or does not fit in memory. */
poe_status poei_gaussians_product(size_t dim, size_t n, const poei_scoped_form *factors, size_t limit, poe_form *out,
                                  poe_error *error);
/* sum_k exp(log_weight_k) form_k: equal dimensions. */
poe_status poei_gaussians_mixture(size_t n, const poe_form *forms, const double *log_weight, size_t limit,
                                  poe_form *out, poe_error *error);
/* Coordinates index[n] set to value[n]; over the others in order. Nothing is renormalised. */
poe_status poei_gaussians_given(const poe_form *form, size_t n, const size_t *index, const double *value, poe_form *out,
                                poe_error *error);
/* Integrates out all coordinates but keep[n] (in that order). POE_E_IMPROPER when the integral diverges. */
poe_status poei_gaussians_marginal(const poe_form *form, size_t n, const size_t *keep, poe_form *out, poe_error *error);

#endif
