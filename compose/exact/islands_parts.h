/* What the files of the islands expert share (islands*.c only). */
#ifndef POE_COMPOSE_EXACT_ISLANDS_PARTS_H
#define POE_COMPOSE_EXACT_ISLANDS_PARTS_H

#include "compose/exact/islands.h"
#include "compose/exact/live.h"

/* The islands that are one factor in different places share this. */
typedef struct poei_shore {
  size_t uses, states;
  poe_expert **sampler; /* [states] over the continuous coordinates; NULL: impossible, or no draws wanted */
  double *log_z;        /* [states]                                                                       */
  double error;         /* the largest bound of a quadrature                                              */
} poei_shore;

typedef struct poei_island {
  size_t n_continuous, n_discrete;
  size_t *continuous;  /* [n_continuous] the target's coordinates; owned with what follows */
  size_t *discrete;    /* [n_discrete] the target's coordinates, the first slowest         */
  size_t *cardinality; /* [n_discrete]                                                     */
  size_t *both;        /* [n_continuous + n_discrete] as its expert has them               */
  poei_shore *shore;
  const poe_expert *factor; /* of an island that is one factor: that, its exponent, and ... */
  double exponent;
  size_t *order; /* ... [both] where its coordinates are among both              */
} poei_island;

typedef struct poei_islands {
  poe_expert *target;
  size_t n, widest, n_discrete, grids;
  poei_island *island; /* [n]          */
  size_t *discrete;    /* [n_discrete] */
  double *low;         /* [target dim] */
  poei_live *live;
  double error, log_z;
  bool draws;
} poei_islands;

void poei_shore_release(poei_shore *shore); /* NULL is allowed */
void poei_islands_destroy(void *self);
/* An expert of a finished state, destroying it when that fails. */
poe_status poei_islands_wrap(poei_islands *self, poe_expert **out, poe_error *error);

#endif
