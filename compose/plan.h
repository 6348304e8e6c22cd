/* The planner: how a target will be answered.
 *
 * A plan holds the rewritten tree (same density at every point, cheaper or with more capabilities), which rules fired,
 * and how log Z and draws are to be had: exactly, by quadrature, or by sampling. compose/ never samples: a constant
 * only an estimate can give is a hole, listed innermost first, which answer/ fills before it plans again.
 */
#ifndef POE_COMPOSE_PLAN_H
#define POE_COMPOSE_PLAN_H

#include "poe/expert.h"

/* X(name, word, exact) how log Z and draws are obtained */
#define POEI_METHOD_LIST(X)                                                                                            \
  X(CLOSED, "closed form", true)                                                                                       \
  X(ENUMERATION, "enumeration", true)                                                                                  \
  X(QUADRATURE, "quadrature", false)                                                                                   \
  X(MIXTURE, "mixture of plans", false)                                                                                \
  X(BLOCKS, "independent blocks", false)                                                                               \
  X(SMC, "sequential Monte Carlo", false)                                                                              \
  X(MCMC, "Markov chain Monte Carlo", false)

typedef enum poei_method {
#define POEI_METHOD_ENUM(name, word, exact) POEI_METHOD_##name,
  POEI_METHOD_LIST(POEI_METHOD_ENUM)
#undef POEI_METHOD_ENUM
} poei_method;

const char *poei_method_word(poei_method method);

typedef struct poei_plan_options {
  bool values_only;     /* rewrite and find holes only: no method is chosen, properness is not checked (for score) */
  bool no_rewrite;      /* keep the tree as written                            */
  size_t mixture_limit; /* components a distributed product may have (default 4096)     */
  size_t state_limit;   /* states an enumeration may visit (default 2^20)      */
  double tolerance;     /* of quadrature, on log Z (default 1e-8)              */
} poei_plan_options;
void poei_plan_options_default(poei_plan_options *options);

typedef struct poei_rule_fired {
  const char *rule; /* name in the table                        */
  char *what;       /* what became what, one line               */
} poei_rule_fired;

/* Immutable once built. */
typedef struct poei_plan {
  poe_expert *written; /* as given                                                                    */
  poe_expert *expert;  /* rewritten: equal log p everywhere, user's space                             */
  size_t dim;
  size_t n_holes;     /* unfilled constants: nothing below is set while there are any                */
  poe_expert **holes; /* [n_holes] the un-normalised children in `written`, each once; only those with no hole inside:
                         once these are filled, the next plan lists the ones around them           */
  size_t n_rules;
  poei_rule_fired *rules;

  poei_method method; /* of draws (and of log Z unless has_log_z)                                    */
  char *reason;       /* why, and what stands in the way of an exact answer                          */
  bool exact;         /* draws and log Z are exact (closed form, enumeration)                        */
  bool has_log_z;
  double log_z, log_z_error; /* error: bound of quadrature or standard error of estimates inside; 0 exact */
  poei_method log_z_method;

  poe_expert *sampler; /* CLOSED, ENUMERATION, QUADRATURE: POE_CAN_SAMPLE, exact draws of the target in the user's
                          space, else NULL */
  size_t n_parts;      /* MIXTURE: components; BLOCKS: blocks                                         */
  struct poei_plan **parts;
  double *part_log_weight; /* MIXTURE: log of each component's probability, sums to 1                 */
  size_t **part_index;     /* BLOCKS: [part dim] coordinates of each block                            */

  poe_expert *smooth;   /* SMC, MCMC: target in unconstrained coordinates (a transform node)           */
  poe_expert *base;     /* SMC: samplable start, same unconstrained coordinates; NULL for MCMC          */
  poe_expert *rest;     /* SMC: target = base * rest                                                   */
  double base_log_z;    /* SMC: log Z of base                                                          */
  size_t scratch_bytes; /* per worker, for one tile with gradient                                      */
} poei_plan;

/* Plans a target. Improper targets (where a form shows it) are POE_E_IMPROPER, an empty support POE_E_EMPTY. */
poe_status poei_plan_build(const poe_expert *target, const poei_plan_options *options, poei_plan **plan,
                           poe_error *error);
void poei_plan_destroy(poei_plan *plan); /* NULL is allowed */

/* One filled constant. */
typedef struct poei_constant {
  const poe_expert *expert; /* one of plan->holes  */
  double log_z, std_error;
} poei_constant;
/* The target with its holes filled (others stay). Trees are immutable: this is a new tree. */
poe_status poei_fill_holes(const poe_expert *target, size_t n, const poei_constant *constants, poe_expert **out,
                           poe_error *error);

#endif
