/* The search for modes of a density: where it is largest, in the user's space (no Jacobian). */
#ifndef POE_ANSWER_MODES_H
#define POE_ANSWER_MODES_H

#include "answer/session.h"

typedef struct poei_mode_options {
  size_t starts; /* searches begun                                        */
  size_t keep;   /* modes kept, the best first                            */
  uint64_t seed;
  size_t n_init;      /* starting points of the user                           */
  const double *init; /* [n_init, dim], user's space                      */
  poei_names names;   /* of the target's coordinates                      */
} poei_mode_options;

/* What a mode of continuous coordinates is. */
typedef enum poei_mode_end {
  POEI_END_NONE,       /* found exactly, or of discrete coordinates                                    */
  POEI_END_SMOOTH,     /* the slope is 0                                                               */
  POEI_END_KINK,       /* the slope jumps, and no direction leads up                                   */
  POEI_END_SPIKE,      /* at ends of ranges, where the density is infinite                             */
  POEI_END_UNFINISHED, /* neither was found out: the search may have ended short of a mode             */
  POEI_END_ENDLESS     /* inside the search only: the density grows along the ray from the origin      */
} poei_mode_end;
/* "stationary", "kink", "infinite", "unfinished"; NULL for POEI_END_NONE. */
const char *poei_mode_end_word(poei_mode_end end);

/* Distinct modes, best first; freed with poei_modes_free. */
typedef struct poei_modes {
  size_t n, dim;
  double *x;           /* [n, dim]                                               */
  double *log_density; /* [n]                                                    */
  size_t *starts;      /* [n] searches that ended there; 1 each where it is exact */
  bool *at_bound;      /* [n] a coordinate lies at an end of its range            */
  poei_mode_end *end;  /* [n]                                                     */
  size_t distinct;     /* how many there were, kept or not                        */
  size_t unconverged;  /* searches that ended short of a mode                     */
  size_t evaluations;  /* points at which density (and gradient) were asked       */
  bool exact;          /* the first is the global maximum                         */
  char method[64];
} poei_modes;

/* Continuous coordinates by L-BFGS in unconstrained space from many starts; discrete ones by elimination or enumeration
 * where they allow it (exact), else by coordinate ascent; mixed ones by the two in turn. `plan` (NULL allowed) is the
 * plan of `target`: starts are drawn from it. POE_E_CAPABILITY naming what has no gradient, POE_E_NUMERIC where the
 * density grows without bound or no start has positive density. */
poe_status poei_modes_find(poei_session *session, const poe_expert *target, const poei_plan *plan,
                           const poei_mode_options *options, poei_modes *modes, poe_error *error);
void poei_modes_free(poei_modes *modes);

/* Allocates room for n modes of dim coordinates; POE_E_MEMORY. */
poe_status poei_modes_make(size_t n, size_t dim, poei_modes *modes, poe_error *error);

#endif
