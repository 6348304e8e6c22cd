/* What the discrete families share: checks of their variables, small joint tables, and one-hot gradients made of the
 * conditionals of a single-site view. */
#ifndef POE_EXPERTS_DISCRETE_H
#define POE_EXPERTS_DISCRETE_H

#include "poe/expert.h"

enum {
  POEI_TABLE_STATES = 4096, /* beside its factors, a family offers its joint table up to this many states */
  POEI_VALUES_MAX = 1 << 24 /* values of one coordinate                                                   */
};

/* The number of values, which all coordinates must share; they are 0, 1, ..., k-1. POE_E_TYPE, POE_E_SHAPE naming the
 * variable that does not fit. */
poe_status poei_discrete_values(const poe_args *args, size_t *k, poe_error *error);
/* Like values; the subjects must be scalars and vectors, which make one sequence end to end. */
poe_status poei_discrete_sequence(const poe_args *args, size_t *k, poe_error *error);
/* Reads the matrix argument `name` [rows, columns] of conditional probabilities into *p and their logs into *log_p,
 * both allocated (and left to the caller also on failure): each row must sum to 1 within 1e-5, and is divided by its
 * sum. rows = 1 takes a vector. E_SHAPE before any memory is taken, E_DOMAIN naming the row. */
poe_status poei_discrete_stochastic(const poe_args *args, const char *name, size_t rows, size_t columns, double **p,
                                    double **log_p, poe_error *error);

/* d copies of the integers 0 .. k-1; NULL when out of memory. */
poe_support *poei_discrete_support(size_t d, size_t k);
/* k^d <= POEI_TABLE_STATES */
bool poei_discrete_small(size_t d, size_t k);
/* The TABLE form of an expert with a finite support, by evaluating every state. */
poe_status poei_discrete_form(const poe_expert_ops *ops, const void *self, poe_form *form, poe_error *error);

/* One-hot gradients of n rows as the conditionals of ops->local, for experts all of whose coordinates are discrete:
 * the slot onehot_grad_add, and the scratch it needs. */
size_t poei_onehot_scratch(const poe_local_ops *local, const void *self, size_t dim, const poe_support *support);
poe_status poei_onehot_grad_add(const poe_local_ops *local, const void *self, const poe_support *support, poe_rows rows,
                                poe_weights weights, double *out, size_t ldo, poe_scratch *scratch, poe_error *error);

/* The state of a single-site view over coordinates of k values from 0: each as an index, k where it is none of them. */
typedef struct poei_sites {
  size_t broken; /* how much of the density vanishes at this row: meaning by family */
  uint32_t value[];
} poei_sites;
size_t poei_sites_bytes(size_t dim);
/* Reads x[dim]; broken counts the coordinates that are none of the values. */
void poei_sites_open(poei_sites *sites, size_t dim, size_t k, const double *x);

#endif
