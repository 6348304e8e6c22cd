/* Products of exponential families, gathered coordinate by coordinate: their coefficients add up. Inside compose/exact
 * only. */
#ifndef POE_COMPOSE_EXACT_FAMILIES_H
#define POE_COMPOSE_EXACT_FAMILIES_H

#include "compose/exact/tree.h"
#include "compose/names.h"
#include "experts/natural.h"

/* What an expert is to such a product. */
typedef enum poei_family_sort {
  POEI_NO_FAMILY,
  POEI_GAUSSIAN_FAMILY, /* independent Gaussians                                           */
  POEI_SOME_FAMILY      /* independent coordinates of exponential families, not only these */
} poei_family_sort;
/* Looks through restrictions, plates, clamped values, slices, known constants and products. exponent: the power it is
 * raised to. Cheap enough to ask of every factor. POE_E_MEMORY. */
poe_status poei_family_sort_of(const poe_expert *expert, double exponent, poei_family_sort *sort, poe_error *error);

/* exp(constant) prod_c exp(extra_c) f_c(x_c). Zero-initialise; filled by start, add and settle in that order. */
typedef struct poei_families {
  size_t dim;
  double constant;
  poei_natural_coordinate *at; /* [dim] f_c; its support is where all positive factors are positive             */
  double *extra;               /* [dim]                                                                         */
  double *size;                /* [dim, POE_STATISTICS] of what was added up: rounding is relative to it         */
  double *pull;                /* [dim] the same of the slopes of Gaussian parts at 0 */
  poe_support *wall;           /* [dim] where all divisors are positive                                         */
  size_t *factors;             /* [dim] how many factors there are                                              */
  bool *whole;                 /* [dim] no divisor is 0 where the rest is not (settle)                          */
} poei_families;

poe_status poei_families_start(poei_families *families, size_t dim, poe_error *error);
void poei_families_free(poei_families *families);
/* Multiplies by expert^exponent over coordinates index[]; its sort must not be POEI_NO_FAMILY. POE_E_EMPTY when it is
 * 0 everywhere together with the others, POE_E_CAPABILITY when it turns out not to be a family. */
poe_status poei_families_add(poei_families *families, const poe_expert *expert, const size_t *index, double exponent,
                             poe_error *error);
/* Moves the origin of a coordinate's Gaussian part; the constant that leaves. */
double poei_families_recentre(poei_natural_coordinate *coordinate, double origin);
/* Coefficients that are nothing but rounding become 0 (or -1 where that is the edge of divergence). */
void poei_families_settle(poei_families *families);
/* The coordinates index[n] as one expert, times exp(constant); their extras are taken in. */
poe_status poei_families_close(const poei_families *families, size_t n, const size_t *index, double constant,
                               poe_expert **out, poe_error *error);

/* POE_E_IMPROPER naming a coordinate that only families are over, and whose integral diverges, with the reason. */
poe_status poei_check_families(const poe_expert *target, const poei_names *names, poe_error *error);

#endif
