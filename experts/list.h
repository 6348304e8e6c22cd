/* Every family and map, in one place. Adding one: write its file, add its line here and its entry in
 * tests/conformance (the tests do not build without it). */
#ifndef POE_EXPERTS_LIST_H
#define POE_EXPERTS_LIST_H

#include "poe/expert.h"

/* X(word of the language): defines poei_<word>_ops */
#define POEI_FAMILY_LIST(X)                                                                                            \
  X(gaussian)                                                                                                          \
  X(linear_gaussian)                                                                                                   \
  X(gmm)                                                                                                               \
  X(student_t)                                                                                                         \
  X(laplace)                                                                                                           \
  X(uniform)                                                                                                           \
  X(exponential)                                                                                                       \
  X(gamma)                                                                                                             \
  X(beta)                                                                                                              \
  X(dirichlet)                                                                                                         \
  X(lognormal)                                                                                                         \
  X(von_mises)                                                                                                         \
  X(poisson)                                                                                                           \
  X(kde)                                                                                                               \
  X(formula)                                                                                                           \
  X(bernoulli)                                                                                                         \
  X(categorical)                                                                                                       \
  X(table)                                                                                                             \
  X(energy)                                                                                                            \
  X(flow)                                                                                                              \
  X(classifier)                                                                                                        \
  X(autoregressive)                                                                                                    \
  X(uai)                                                                                                               \
  X(rbm)                                                                                                               \
  X(dbm)                                                                                                               \
  X(ising)                                                                                                             \
  X(potts)                                                                                                             \
  X(markov)                                                                                                            \
  X(hmm)                                                                                                               \
  X(automaton)                                                                                                         \
  X(regex)

#define POEI_MAP_LIST(X) X(decoder)

#define POEI_FAMILY_DECLARE(name) extern const poe_expert_ops poei_##name##_ops;
POEI_FAMILY_LIST(POEI_FAMILY_DECLARE)
#undef POEI_FAMILY_DECLARE
#define POEI_MAP_DECLARE(name) extern const poe_map_ops poei_##name##_ops;
POEI_MAP_LIST(POEI_MAP_DECLARE)
#undef POEI_MAP_DECLARE

/* All families and maps, each ending with NULL. */
extern const poe_expert_ops *const poei_families[];
extern const poe_map_ops *const poei_maps[];

/* The family or map of that word, NULL when there is none. */
const poe_expert_ops *poei_family_find(const char *kind);
const poe_map_ops *poei_map_find(const char *kind);

#endif
