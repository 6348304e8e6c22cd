/* Densities of independent coordinates given by the coefficients of their statistics: the closed form of products of
 * exponential families. Which family a coordinate belongs to is read off its coefficients and its support. */
#ifndef POE_EXPERTS_NATURAL_H
#define POE_EXPERTS_NATURAL_H

#include "poe/expert.h"

/* log f(x) = sum_s coefficient[s] T_s(x) + linear u - precision u^2 / 2 with u = x - origin, on the support: what is
 * Gaussian has an origin of its own, so that narrow Gaussians far from 0 lose no digits. */
typedef struct poei_natural_coordinate {
  poe_support support;
  double coefficient[POE_STATISTICS];
  double origin, linear, precision;
} poei_natural_coordinate;

/* Does its integral (or sum) over the support diverge? `why` (size bytes) then says where and by what; the answer does
 * not need a known family. */
bool poei_natural_diverges(const poei_natural_coordinate *coordinate, char *why, size_t size);
/* The family of a coordinate with a finite integral, as a word; NULL when it is none that is known. */
const char *poei_natural_kind(const poei_natural_coordinate *coordinate);

/* An expert with log p(x) = constant + sum_j log f_j(x_j), exact log Z and draws; copies coordinate[d].
 * POE_E_CAPABILITY when a coordinate is of no known family, POE_E_IMPROPER when its integral diverges. */
poe_status poei_natural_create(size_t d, const poei_natural_coordinate *coordinate, double constant, poe_expert **out,
                               poe_error *error);
/* Reads an expert of exponential families into coordinate[dim] (supports too) and *constant: a NATURAL structure, or
 * what the families of separable.h are, whatever structure they offer. POE_E_CAPABILITY for others. */
poe_status poei_natural_read(const poe_expert *expert, poei_natural_coordinate *coordinate, double *constant,
                             poe_error *error);

#endif
