/* The rewriting rules: each turns a node into one with the same log-density at every point that is cheaper or can do
 * more. One table, tried to a fixed point from the leaves up. Inside compose/ only. */
#ifndef POE_COMPOSE_EXACT_RULES_H
#define POE_COMPOSE_EXACT_RULES_H

#include "compose/plan.h"

/* X(identifier, name, moves, doc); moves: it only moves factors about, and every factor stays what it is */
#define POEI_RULE_LIST(X)                                                                                              \
  X(unwrap, "unwrap", true, "nodes that change nothing disappear")                                                     \
  X(flatten, "flatten", true, "products inside products, and constants inside them, come to the surface")              \
  X(collect, "collect", true, "equal factors become one with the sum of the exponents")                                \
  X(share_map, "share map", true, "several densities of one map's value become one, so that the map runs once")        \
  X(given, "push given", true, "clamped values go to the factors and components that read them")                       \
  X(formula, "split formula", true, "a formula that is a sum over different coordinates becomes a product")            \
  X(marginal, "marginal", true, "what reads no latent coordinate comes out of a marginal, and the rest falls apart")   \
  X(rbm, "RBM product", false, "restricted Boltzmann machines and independent factors become one machine")             \
  X(rbm_given, "RBM given", false, "clamped units of a machine go to the biases of the others")                        \
  X(sparse, "sparse gaussian algebra", false, "Gaussian factors of a large space become one of sparse precision")      \
  X(gaussian, "gaussian algebra", false, "Gaussian factors become one Gaussian; closed nodes become closed forms")     \
  X(conjugate, "conjugate", false, "exponential families over the same coordinate become one: coefficients add up")    \
  X(simplex, "dirichlet", false, "powers of the numbers of a simplex become one Dirichlet")                            \
  X(distribute, "distribute", false, "mixtures of Gaussians are multiplied out into one mixture")                      \
  X(sparse_mixture, "sparse mixtures", false, "mixtures of Gaussians over a large space, multiplied out")              \
  X(low_rank, "low rank", false, "large Gaussians of low rank and diagonal ones become one")                           \
  X(tables, "table algebra", false, "tables over discrete coordinates become one table")                               \
  X(common, "common factor", false, "a factor of every component comes out of a mixture")                              \
  X(blocks, "blocks", false, "factors are grouped into independent blocks of coordinates")

typedef struct poei_rule {
  const char *name, *doc;
  bool moves;
  bool (*applies)(const poe_expert *expert); /* cheap; may say yes too often */
  /* *out (a new reference) and *what (one line on the heap), or *out untouched at NULL when it does not apply. */
  poe_status (*rewrite)(const poe_expert *expert, const poei_plan_options *options, poe_expert **out, char **what,
                        poe_error *error);
} poei_rule;

#define POEI_RULE_DECLARE(identifier, name, moves, doc)                                                                \
  bool poei_rule_##identifier##_applies(const poe_expert *expert);                                                     \
  poe_status poei_rule_##identifier##_rewrite(const poe_expert *expert, const poei_plan_options *options,              \
                                              poe_expert **out, char **what, poe_error *error);
POEI_RULE_LIST(POEI_RULE_DECLARE)
#undef POEI_RULE_DECLARE

extern const poei_rule poei_rules[]; /* ends with a zeroed entry */

/* Rules that fired, in order. Owned by the caller; zero-initialise. */
typedef struct poei_fired {
  size_t n, capacity;
  poei_rule_fired *item;
} poei_fired;
void poei_fired_free(poei_fired *fired);

/* Rewrites a tree; `only` names the one rule to use, NULL: all. */
poe_status poei_rewrite(const poe_expert *expert, const poei_plan_options *options, const char *only, poei_fired *fired,
                        poe_expert **out, poe_error *error);

#endif
