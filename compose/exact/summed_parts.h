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

/* A factor over discrete coordinates alone of which some are free: a part of its table at every point. */
typedef struct poei_summed_slice {
  const double *table;  /* of the graph                                                              */
  size_t states, start; /* what is left of it at a point, and where that begins among the live tables */
  size_t n;
  size_t *from;   /* [n] coordinates of the row: its free ones */
  size_t *stride; /* [n] of them in the table; owned with `from` */
  size_t *offset; /* [states] of what is left, in the table      */
} poei_summed_slice;

typedef struct poei_summed {
  size_t dim, target_dim, n_discrete, probabilities;
  size_t *own;          /* [dim] the target's coordinates that stay and are read with others that do not */
  size_t *discrete;     /* [n_discrete] the target's discrete coordinates that are summed out            */
  double *low;          /* [n_discrete]                                                                  */
  poe_support *support; /* [dim]                                                                         */
  size_t n;
  poei_summed_factor *factor; /* [n] */
  size_t widest;              /* coordinates of a factor at most */
  bool gradient;
  double offset_error;
  poei_live *live;
  size_t n_slices;
  poei_summed_slice *slice; /* [n_slices]                        */
  poei_discrete *graph;     /* whose tables they are; NULL: none */
  size_t *first_reader;     /* [dim + 1]                                                                       */
  size_t *reader;           /* [first_reader[dim]] the live tables that each coordinate has a part in, in order */
} poei_summed;

void poei_summed_destroy(void *self);
/* An expert of a finished state, destroying it when that fails. */
poe_status poei_summed_wrap(poei_summed *self, poe_expert **out, poe_error *error);
/* The part of the graph's table that a row leaves, into table[tables]. */
void poei_summed_slice_at(const poei_summed *self, const poei_summed_slice *slice, const double *x, double *table);
/* table[n, tables] of n rows over the expert's own coordinates, and what that needs of the scratch. */
size_t poei_summed_batch_scratch(const poei_summed *self, unsigned want);
poe_status poei_summed_tables(const poei_summed *self, poe_rows rows, double *table, poe_scratch *scratch,
                              poe_error *error);

/* The table of factor m at one row, into table[tables]. */
poe_status poei_summed_table(const poei_summed *self, size_t m, const double *x, double *table, poe_scratch *scratch,
                             poe_error *error);
/* summed_local.c: the single-site view, for which each coordinate's readers are listed. */
poe_status poei_summed_list_readers(poei_summed *self, poe_error *error);
extern const poe_local_ops poei_summed_local;
size_t poei_summed_onehot_scratch(const poei_summed *self);
poe_status poei_summed_onehot_grad_add(const void *state, poe_rows rows, poe_weights weights, double *out, size_t ldo,
                                       poe_scratch *scratch, poe_error *error);

/* How a factor's coordinates are in a target. Where only some discrete coordinates are summed out, the second kind is
 * what reads none of these. */
typedef enum poei_sort { POEI_ALL_DISCRETE, POEI_ALL_CONTINUOUS, POEI_MIXED } poei_sort;
poei_sort poei_sort_of(const poe_traits *traits, const poei_part *part);
/* A target whose discrete coordinates are summed out, or those in latent[dim] (NULL: all) at inverse temperature beta.
 */
typedef struct poei_summing {
  const poe_traits *traits;
  const poei_parts *parts;
  poei_sort *sorts; /* [parts->n] */
  const poei_plan_options *options;
  const unsigned char *latent;
  double beta;
} poei_summing;

static inline bool poei_summing_has(const poei_summing *opening, size_t c) {
  return opening->latent == NULL ? opening->traits->support[c].kind == POE_DISCRETE : opening->latent[c] != 0;
}
/* summed_open.c */
poei_sort poei_summed_sort(const poei_summing *opening, const poei_part *part);
/* The expert S of an opening, and all its factors over the coordinates that stay. */
poe_status poei_summed_make(const poei_summing *opening, poe_expert **out, poe_error *error);
poe_status poei_summed_close(const poei_summing *opening, const poe_expert *summed, poe_expert **marginal,
                             poe_error *error);
/* summed_slices.c: the junction tree of self->graph, whose factors factor[n] are the mixed ones, with the coordinates
 * that stay left out; place[target dim]: the expert's own coordinates. */
poe_status poei_summed_slice_tree(poei_summed *self, const poei_summing *opening, const size_t *factor,
                                  const size_t *place, poe_error *error);

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
