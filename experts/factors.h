/* Writing down a factor graph (POE_STRUCTURE_FACTORS): start, add the factors one after the other, done. */
#ifndef POE_EXPERTS_FACTORS_H
#define POE_EXPERTS_FACTORS_H

#include "poe/expert.h"

/* A graph of dim coordinates from 0 (cardinality k, the same for all) and `latents` latent variables (their
 * cardinality is 1 until the caller sets it), with room for `factors` factors. On failure *structure is untouched. */
poe_status poei_factors_start(poe_structure *structure, size_t dim, size_t k, size_t latents, size_t factors,
                              poe_error *error);
/* Adds a factor over variable[n]. *log_value points at its numbers (product of the cardinalities, first variable
 * slowest), uninitialised, for the caller to fill. On failure the graph is released. */
poe_status poei_factors_add(poe_structure *structure, size_t n, const size_t *variable, double **log_value,
                            poe_error *error);
/* The same with the numbers copied. */
poe_status poei_factors_copy(poe_structure *structure, size_t n, const size_t *variable, const double *log_value,
                             poe_error *error);

#endif
