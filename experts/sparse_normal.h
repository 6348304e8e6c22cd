/* One Gaussian whose precision is sparse: what `gaussian` with a precision from a file and the planner's sparse algebra
 * are underneath. The functions from destroy on have the signatures of the expert's slots. */
#ifndef POE_EXPERTS_SPARSE_NORMAL_H
#define POE_EXPERTS_SPARSE_NORMAL_H

#include "core/sparse.h"
#include "poe/expert.h"

enum { POEI_SPARSE_FORM = 300 }; /* a dense form is offered up to this many coordinates */

/* log p(x) = offset - (x - m)' P (x - m) / 2 */
typedef struct poei_sparse_normal {
  size_t d;
  double *mean; /* [d] */
  poei_sparse_matrix precision;
  poei_sparse_factor *factor;
  double offset, log_z;
  poe_support *support; /* [d] the real line                          */
  unsigned char *head;  /* [d] ones, or NULL when not normalised      */
} poei_sparse_normal;

/* Takes over *precision and its *factor, and copies mean[d], when it succeeds (both are then zero). With
 * `normalised` the offset is that of log Z = 0. POE_E_MEMORY. */
poe_status poei_sparse_normal_create(const double *mean, poei_sparse_matrix *precision, poei_sparse_factor **factor,
                                     double offset, bool normalised, poei_sparse_normal **out, poe_error *error);
/* An expert made of it, named "sparse gaussian". */
poe_status poei_sparse_normal_wrap(poei_sparse_normal *normal, poe_expert **out, poe_error *error);
/* The state of such an expert, NULL for any other. */
const poei_sparse_normal *poei_sparse_normal_of(const poe_expert *expert);

/* variance[d] of each coordinate, by the selected inverse. POE_E_MEMORY. */
poe_status poei_sparse_normal_variances(const poei_sparse_normal *normal, double *variance, poe_error *error);

/* Factors a matrix: *factor is its analysis, or NULL to have it analysed. On failure *factor is destroyed and NULL;
 * when the matrix is not positive definite that is POE_E_IMPROPER, and why[size] says along which direction
 * (experts/spd.h).
 */
poe_status poei_sparse_normal_factor(const poei_sparse_matrix *matrix, poei_sparse_factor **factor, char *why,
                                     size_t size, poe_error *error);

void poei_sparse_normal_destroy(void *self);
void poei_sparse_normal_traits(const void *self, poe_traits *traits);
size_t poei_sparse_normal_scratch(const void *self, unsigned want, size_t n);
poe_status poei_sparse_normal_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                       poe_scratch *scratch, poe_error *error);
poe_status poei_sparse_normal_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                     poe_error *error);
poe_status poei_sparse_normal_log_z(const void *self, double *log_z, poe_error *error);
poe_status poei_sparse_normal_form(const void *self, poe_form *form, poe_error *error);
poe_status poei_sparse_normal_structure(const void *self, poe_structure *structure, poe_error *error);

/* The SPARSE structure of one Gaussian: zero linear part, nothing but the mean as origin; copies. */
poe_status poei_sparse_structure(const double *mean, double offset, const poei_sparse_matrix *precision,
                                 poe_structure *structure, poe_error *error);
/* The same for independent coordinates of 1 / standard deviation scale[d]. */
poe_status poei_diagonal_structure(size_t d, const double *mean, const double *scale, double offset,
                                   poe_structure *structure, poe_error *error);

#endif
