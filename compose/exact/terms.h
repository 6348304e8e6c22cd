/* The Gaussians that a factor of a product is a sum of, and their values (terms.c). Inside compose/exact only. */
#ifndef POE_COMPOSE_EXACT_TERMS_H
#define POE_COMPOSE_EXACT_TERMS_H

#include "compose/exact/tree.h"

/* exp(log_weight) times one Gaussian. */
typedef struct poei_term {
  const poe_expert *expert; /* evaluates it; NULL: the form does   */
  const poe_form *form;
  size_t component;
  double log_weight;
  size_t n_rows, n_minus;
  double *row, *minus; /* [n_rows, n], [n_minus, n] precision = row' row - minus' minus */
} poei_term;

/* The terms of one part over its n coordinates. Zero-initialise. */
typedef struct poei_terms {
  size_t n, n_forms, n_terms;
  poei_term *term; /* [n_terms]       */
  poe_form *form;  /* [n_forms]       */
  double *rows;    /* [n_terms, n, n] */
} poei_terms;

/* The terms of an expert of Gaussians, without the box around it; the expert must outlive them. *diagonal becomes false
 * when a precision is not diagonal. On failure close it as well. */
poe_status poei_terms_open(poei_terms *terms, const poe_expert *expert, bool *diagonal, poe_error *error);
void poei_terms_close(poei_terms *terms);
/* Bytes of scratch for the values of `rows` points. */
size_t poei_term_scratch(const poei_term *term, size_t rows);
/* value[count] and gradient[count, n] of a term (its weight included) at x[count, n]. */
poe_status poei_term_values(const poei_term *term, size_t n, size_t count, const double *x, double *value,
                            double *gradient, poe_scratch *scratch, poe_error *error);

/* The form of an expert without the box around it (restrict nodes, truncated Gaussians). */
poe_status poei_unboxed_form(const poe_expert *expert, poe_form *form, poe_error *error);

#endif
