/* A weighted sum of k Gaussians in d dimensions, prepared for evaluation: what `gaussian`, `gmm` and closed forms of
 * Gaussians are underneath. A builder allocates, fills log_weight, mean and factor (and precision), and finishes. The
 * functions from destroy on have the signatures of the expert's slots, so that a family's table names them directly. */
#ifndef POE_EXPERTS_NORMALS_H
#define POE_EXPERTS_NORMALS_H

#include "poe/expert.h"

typedef enum poei_normals_shape {
  POEI_NORMALS_DIAGONAL,   /* factor[k, d]: 1 / standard deviation              */
  POEI_NORMALS_COVARIANCE, /* factor[k, d, d]: Cholesky factor of the covariance */
  POEI_NORMALS_PRECISION   /* factor[k, d, d]: Cholesky factor of the precision  */
} poei_normals_shape;

typedef struct poei_normals {
  size_t k, d;
  poei_normals_shape shape;
  double *log_weight;   /* [k] log of each component's integral; -inf allowed, not all of them           */
  double *mean;         /* [k, d]                                                                        */
  double *factor;       /* see shape                                                                     */
  double *precision;    /* PRECISION: [k, d, d], else NULL                                               */
  double *offset;       /* [k] log density of each weighted component at its mean (finish)               */
  double *probability;  /* [k] weights that sum to 1 (finish)                                            */
  double *mean_t;       /* DIAGONAL, k > 1: [d, k], the means transposed (finish)                        */
  double *factor_t;     /* DIAGONAL, k > 1: [d, k]                                                       */
  double log_z;         /* log of the sum of the weights (finish)                                        */
  poe_support *support; /* [d] the real line                                                             */
  unsigned char *head;  /* [d] ones, or NULL when not normalised                                         */
} poei_normals;

/* Arrays for k components in d dimensions, all zero, on the heap. NULL when out of memory or too large. */
poei_normals *poei_normals_alloc(size_t k, size_t d, poei_normals_shape shape, bool normalised);
/* Derives the rest from log_weight, mean, factor and precision. */
void poei_normals_finish(poei_normals *normals);

void poei_normals_destroy(void *self);
void poei_normals_traits(const void *self, poe_traits *traits);
size_t poei_normals_scratch(const void *self, unsigned want, size_t n);
poe_status poei_normals_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                 poe_scratch *scratch, poe_error *error);
poe_status poei_normals_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                               poe_error *error);
poe_status poei_normals_log_z(const void *self, double *log_z, poe_error *error);
poe_status poei_normals_form(const void *self, poe_form *form, poe_error *error);
/* Of one diagonal component. */
poe_status poei_normals_structure(const void *self, poe_structure *structure, poe_error *error);

#endif
