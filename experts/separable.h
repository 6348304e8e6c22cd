/* Independent coordinates, each with a one-dimensional law of its own: what `exponential`, `gamma`, `beta`,
 * `lognormal`, `von_mises` and `poisson` are underneath, and the closed form of their products. A builder allocates,
 * fills law, p and support (and constant), and finishes. The functions from destroy on have the signatures of the
 * expert's slots. */
#ifndef POE_EXPERTS_SEPARABLE_H
#define POE_EXPERTS_SEPARABLE_H

#include "experts/laws.h"

typedef struct poei_separable {
  size_t d;
  double constant;               /* log p = constant + the sum of the laws' values        */
  const poei_law **law;          /* [d]                                                   */
  double (*p)[POEI_LAW_NUMBERS]; /* [d]                                                   */
  poe_support *support;          /* [d]                                                   */
  void **table;                  /* [d] for draws (finish); equal neighbours share one    */
  double *inside;                /* [d] a point of the support (finish)                   */
  double log_z;                  /* (finish)                                              */
  unsigned char *head;           /* [d] ones, NULL when log Z is not 0 (finish)           */
  bool finite;                   /* discrete, of few values each (finish)                 */
  bool small;                    /* with few enough joint states for a table (finish)     */
} poei_separable;

/* NULL when out of memory. */
poei_separable *poei_separable_alloc(size_t d);
/* Masses and what draws need. POE_E_MEMORY; POE_E_IMPROPER, POE_E_CAPABILITY of a law, naming the coordinate. */
poe_status poei_separable_finish(poei_separable *separable, poe_error *error);

typedef enum poei_sign { POEI_ANY_NUMBER, POEI_POSITIVE, POEI_NOT_NEGATIVE } poei_sign;

/* How a family over independent coordinates is described. */
typedef struct poei_separable_family {
  poe_coordinate_kind kind;
  const poei_law *law;
  size_t n; /* parameters, 1 or 2, each one number per coordinate */
  struct {
    const char *name;
    double fallback; /* NaN: must be given */
    poei_sign sign;
  } param[2];
  /* From one coordinate's parameters to p, and the range of the law; it is met with the declared one. */
  poe_support (*set)(const double *param, const poe_support *declared, double *p);
} poei_separable_family;
/* Reads, checks and finishes. POE_E_EMPTY when a variable has nothing of the law's range. */
poe_status poei_separable_create(const poei_separable_family *family, const poe_args *args, void **self,
                                 poe_error *error);

void poei_separable_destroy(void *self);
void poei_separable_traits(const void *self, poe_traits *traits);
size_t poei_separable_scratch(const void *self, unsigned want, size_t n);
poe_status poei_separable_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                   poe_scratch *scratch, poe_error *error);
poe_status poei_separable_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                 poe_error *error);
poe_status poei_separable_log_z(const void *self, double *log_z, poe_error *error);
poe_status poei_separable_form(const void *self, poe_form *form, poe_error *error);
/* NATURAL, or FACTORS where all coordinates are discrete and of few values. */
poe_status poei_separable_structure(const void *self, poe_structure *structure, poe_error *error);
/* Where all coordinates are discrete and of few values. */
extern const poe_local_ops poei_separable_local;
poe_status poei_separable_onehot_grad_add(const void *self, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                          poe_scratch *scratch, poe_error *error);

/* Between separable.c and separable_local.c: the log-values of coordinate j at all its values, and the rest of it. */
void poei_separable_values(const poei_separable *separable, size_t j, double *value);
poe_status poei_separable_factors(const poei_separable *separable, poe_structure *structure, poe_error *error);
size_t poei_separable_onehot_scratch(const poei_separable *separable);

#endif
