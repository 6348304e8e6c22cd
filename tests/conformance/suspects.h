/* Deliberately wrong discrete experts, for the checks of the single-site view, the one-hot gradient and the structure
 * (test_checkers.c). */
#ifndef POE_TESTS_SUSPECTS_H
#define POE_TESTS_SUSPECTS_H

#include "tests/conformance/conformance.h"

/* X(defect, check that must see it) */
#define SUSPECT_LIST(X)                                                                                                \
  X(LOCAL_WRONG_VALUE, local)                                                                                          \
  X(LOCAL_FORGETS_A_SET, local)                                                                                        \
  X(LOCAL_STALE_NEIGHBOUR, local)                                                                                      \
  X(LOCAL_FINITE_WHERE_ZERO, local)                                                                                    \
  X(LOCAL_FINITE_WHERE_ZERO_ELSEWHERE, local)                                                                          \
  X(LOCAL_ALLOCATES, local)                                                                                            \
  X(LOCAL_TAKES_MORE_SCRATCH, local)                                                                                   \
  X(LOCAL_KEEPS_SCRATCH, local)                                                                                        \
  X(LOCAL_OVERRUNS, local)                                                                                             \
  X(LOCAL_POINTS_INTO_ITSELF, local)                                                                                   \
  X(LOCAL_WITHOUT_BOUNDS, local)                                                                                       \
  X(ONEHOT_WRONG_VALUE, onehot)                                                                                        \
  X(ONEHOT_OVERWRITES, onehot)                                                                                         \
  X(ONEHOT_IGNORES_WEIGHTS, onehot)                                                                                    \
  X(ONEHOT_TOUCHES_PADDING, onehot)                                                                                    \
  X(ONEHOT_GIVES_NAN, onehot)                                                                                          \
  X(ONEHOT_ALLOCATES, onehot)                                                                                          \
  X(ONEHOT_TAKES_MORE_SCRATCH, onehot)                                                                                 \
  X(STRUCTURE_WRONG_VALUE, structure)                                                                                  \
  X(STRUCTURE_MISSES_A_ZERO, structure)                                                                                \
  X(STRUCTURE_WRONG_CONSTANT, structure)                                                                               \
  X(STRUCTURE_WRONG_CARDINALITY, structure)                                                                            \
  X(STRUCTURE_UNKNOWN_VARIABLE, structure)                                                                             \
  X(STRUCTURE_REPEATED_VARIABLE, structure)                                                                            \
  X(STRUCTURE_NAN, structure)                                                                                          \
  X(STRUCTURE_WRONG_LATENT, structure)                                                                                 \
  X(STRUCTURE_WRITES_ON_FAILURE, failing_allocations)                                                                  \
  X(PREFIX_WRONG_TABLE, prefix)                                                                                        \
  X(PREFIX_WRONG_DENSITY, prefix)                                                                                      \
  X(PREFIX_WRONG_ORDER, prefix)                                                                                        \
  X(PREFIX_IGNORES_A_STEP, prefix)                                                                                     \
  X(PREFIX_MOVES_WHEN_ASKED, prefix)                                                                                   \
  X(PREFIX_ALLOCATES, prefix)                                                                                          \
  X(PREFIX_TAKES_MORE_SCRATCH, prefix)                                                                                 \
  X(PREFIX_KEEPS_SCRATCH, prefix)                                                                                      \
  X(PREFIX_OVERRUNS, prefix)                                                                                           \
  X(PREFIX_POINTS_INTO_ITSELF, prefix)

typedef enum suspect_defect {
  SUSPECT_SOUND,
#define SUSPECT_ENUM(defect, check) SUSPECT_##defect,
  SUSPECT_LIST(SUSPECT_ENUM)
#undef SUSPECT_ENUM
} suspect_defect;

/* Two coordinates of three values: a table with a zero, which is also a sum over a latent switch. */
extern suspect_defect suspect_building; /* what the next build is to be */
extern const poet_case suspect_case;
extern const poet_case suspect_prefix_case; /* a value, then a number given it */

#endif
