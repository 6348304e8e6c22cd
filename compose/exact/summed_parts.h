/* What the files of the summed expert share (summed*.c only). */
#ifndef POE_COMPOSE_EXACT_SUMMED_PARTS_H
#define POE_COMPOSE_EXACT_SUMMED_PARTS_H

#include "compose/exact/discrete.h"
#include "compose/exact/live.h"
#include "compose/exact/summed.h"
#include "compose/exact/tree.h"

enum { POEI_SUMMED_ROWS = 64 }; /* rows of a factor evaluated at a time */

/* A mixed factor: an expert to a positive power, at some of the target's coordinates. */
typedef struct poei_summed_factor {
  poe_expert *expert; /* retained */
  double exponent;
  size_t n, states, start; /* its coordinates; joint values of the discrete ones, and where their table begins */
  size_t *from;            /* [n] coordinate of the row for a continuous one, SIZE_MAX for a discrete one     */
  double *low;             /* [n] smallest value of a discrete coordinate                                     */
  size_t n_digits;
  size_t *digit;       /* [n_digits] its discrete coordinates that count, the first slowest; owned with `from` */
  size_t *cardinality; /* [n_digits]                                                                           */
} poei_summed_factor;

typedef struct poei_summed {
  size_t dim, target_dim, n_discrete, probabilities;
  size_t *own;          /* [dim] the target's continuous coordinates that mixed factors read */
  size_t *discrete;     /* [n_discrete] the target's discrete coordinates                    */
  double *low;          /* [n_discrete]                                                      */
  poe_support *support; /* [dim]                                                             */
  size_t n;
  poei_summed_factor *factor; /* [n] */
  size_t widest;              /* coordinates of a factor at most */
  bool gradient;
  double offset_error;
  poei_live *live;
} poei_summed;

void poei_summed_destroy(void *self);
/* An expert of a finished state, destroying it when that fails. */
poe_status poei_summed_wrap(poei_summed *self, poe_expert **out, poe_error *error);
/* table[n, tables] of n rows over the expert's own coordinates, and what that needs of the scratch. */
size_t poei_summed_batch_scratch(const poei_summed *self, unsigned want);
poe_status poei_summed_tables(const poei_summed *self, poe_rows rows, double *table, poe_scratch *scratch,
                              poe_error *error);

/* How a factor's coordinates are in a target. */
typedef enum poei_sort { POEI_ALL_DISCRETE, POEI_ALL_CONTINUOUS, POEI_MIXED } poei_sort;
poei_sort poei_sort_of(const poe_traits *traits, const poei_part *part);
/* mixed_factors.c: the factors of a mixed target, plates of mixed factors opened into their sets (one after the other
 * in the list). To be freed when it fails, too. */
poe_status poei_mixed_factors(const poe_expert *target, poei_parts *parts, poe_error *error);

/* discrete_open.c: the graph of some factors of a target, those in member[parts->n], all of whose coordinates are
 * discrete; its first variables are the target's discrete coordinates in order. Then come n factors with the tables
 * value[n] (NULL: 1 everywhere) over the discrete coordinates scope[i].index[scope[i].n], the first slowest, whose
 * numbers in the graph are factor[n] (NULL: not wanted). Errors as for poei_discrete_open. */
poe_status poei_discrete_open_among(const poe_traits *traits, const poei_parts *parts, const unsigned char *member,
                                    size_t n, const poei_scope *scope, const double *const *value, size_t *factor,
                                    const poei_plan_options *options, poei_discrete **out, poe_error *error);

#endif
