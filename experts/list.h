/* Every family and map, in one place. Adding one: write its file, add its line here and its entry in
 * tests/conformance (the tests do not build without it). */
#ifndef POE_EXPERTS_LIST_H
#define POE_EXPERTS_LIST_H

#include "poe/expert.h"

/* X(word of the language): defines poei_<word>_ops. By group, as `poe help experts` shows them. */
#define POEI_REAL_FAMILY_LIST(X)                                                                                       \
  X(gaussian)                                                                                                          \
  X(linear_gaussian)                                                                                                   \
  X(gmm)                                                                                                               \
  X(student_t) X(laplace) X(uniform) X(exponential) X(gamma) X(beta) X(dirichlet) X(lognormal) X(von_mises) X(kde)
#define POEI_ANY_FAMILY_LIST(X) X(formula)
#define POEI_DISCRETE_FAMILY_LIST(X) X(bernoulli) X(categorical) X(poisson) X(table) X(ising) X(potts) X(uai)
#define POEI_SEQUENCE_FAMILY_LIST(X) X(markov) X(hmm) X(automaton) X(regex)
#define POEI_NEURAL_FAMILY_LIST(X) X(energy) X(flow) X(autoregressive) X(classifier) X(rbm) X(dbm)

#define POEI_FAMILY_LIST(X)                                                                                            \
  POEI_REAL_FAMILY_LIST(X)                                                                                             \
  POEI_DISCRETE_FAMILY_LIST(X) POEI_SEQUENCE_FAMILY_LIST(X) POEI_NEURAL_FAMILY_LIST(X) POEI_ANY_FAMILY_LIST(X)

/* Y(title, list above) */
#define POEI_FAMILY_GROUP_LIST(Y)                                                                                      \
  Y("Real variables", POEI_REAL_FAMILY_LIST)                                                                           \
  Y("Discrete variables", POEI_DISCRETE_FAMILY_LIST)                                                                   \
  Y("Sequences", POEI_SEQUENCE_FAMILY_LIST)                                                                            \
  Y("Trained models, from files", POEI_NEURAL_FAMILY_LIST)                                                             \
  Y("Any variables", POEI_ANY_FAMILY_LIST)

#define POEI_MAP_LIST(X) X(decoder)

#define POEI_FAMILY_DECLARE(name) extern const poe_expert_ops poei_##name##_ops;
POEI_FAMILY_LIST(POEI_FAMILY_DECLARE)
#undef POEI_FAMILY_DECLARE
#define POEI_MAP_DECLARE(name) extern const poe_map_ops poei_##name##_ops;
POEI_MAP_LIST(POEI_MAP_DECLARE)
#undef POEI_MAP_DECLARE

/* A group of families, in the order of `families`, which ends with NULL. */
typedef struct poei_family_group {
  const char *title;
  const poe_expert_ops *const *families;
} poei_family_group;

/* The groups; a title of NULL ends them. Together they are all families. */
extern const poei_family_group poei_family_groups[];
/* All families and maps, each ending with NULL. */
extern const poe_expert_ops *const poei_families[];
extern const poe_map_ops *const poei_maps[];

/* The family or map of that word, NULL when there is none. */
const poe_expert_ops *poei_family_find(const char *kind);
const poe_map_ops *poei_map_find(const char *kind);

#endif
