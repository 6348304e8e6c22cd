/* The planner: how a target will be answered.
 *
 * A plan holds the rewritten tree (same density at every point, cheaper or with more capabilities), which rules fired,
 * and how log Z and draws are to be had: exactly, by quadrature, or by sampling. compose/ never samples: a constant
 * only an estimate can give is a hole, listed innermost first, which answer/ fills before it plans again.
 */
#ifndef POE_COMPOSE_PLAN_H
#define POE_COMPOSE_PLAN_H

#include <stdatomic.h>

#include "compose/names.h"
#include "poe/expert.h"

/* X(name, word, exact) how log Z and draws are obtained */
#define POEI_METHOD_LIST(X)                                                                                            \
  X(CLOSED, "closed form", true)                                                                                       \
  X(ENUMERATION, "enumeration", true)                                                                                  \
  X(ELIMINATION, "elimination", true)                                                                                  \
  X(QUADRATURE, "quadrature", false)                                                                                   \
  X(MIXTURE, "mixture, component by component", false)                                                                 \
  X(BLOCKS, "independent blocks", false)                                                                               \
  X(REST, "a few coordinates first, the rest exactly", false)                                                          \
  X(JOINT, "joint with its latent variables", false)                                                                   \
  X(MARGINAL, "discrete coordinates summed out", false)                                                                \
  X(SMC, "sequential Monte Carlo", false)                                                                              \
  X(MCMC, "Markov chain Monte Carlo", false)

typedef enum poei_method {
#define POEI_METHOD_ENUM(name, word, exact) POEI_METHOD_##name,
  POEI_METHOD_LIST(POEI_METHOD_ENUM)
#undef POEI_METHOD_ENUM
} poei_method;

const char *poei_method_word(poei_method method);

typedef struct poei_plan_options {
  bool values_only;        /* rewrite and find holes only: no method is chosen, properness is not checked (for score) */
  bool no_rewrite;         /* keep the tree as written                            */
  size_t mixture_limit;    /* components a distributed product may have (default 4096)     */
  size_t state_limit;      /* states an enumeration may visit (default 2^20)      */
  double tolerance;        /* of quadrature, on log Z (default 1e-8)              */
  size_t byte_limit;       /* of the tables that elimination holds (default 1 GiB) */
  double prune;            /* mass of mixture components that may be left out (default 0: none; prune.h)   */
  poei_names names;        /* of the target's coordinates, for messages; their context outlives the plan */
  bool checks_only;        /* nothing is integrated: what quadrature could do is taken as done (for check) */
  const atomic_bool *stop; /* quadrature ends with POE_E_INTERRUPTED once it is true; NULL: never       */
  struct poei_trace *trace; /* filled with what the rules did (compose/exact/trace.h), also when the target is
                               refused; NULL: not wanted */
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
  char *caution;      /* why the integral may not be finite after all; NULL: nothing was seen        */
  bool exact;         /* draws and log Z are exact (closed form, enumeration, elimination)           */
  bool has_log_z;
  double log_z, log_z_error; /* error: bound of quadrature or standard error of estimates inside; 0 exact */
  poei_method log_z_method;
  double discarded; /* mass of mixture components left out (options.prune); log Z of the target is at most
                       -log(1 - discarded) above log_z, which log_z_error includes                   */
  size_t left_out;  /* how many they are                                                        */

  poe_expert *sampler; /* CLOSED, ENUMERATION, ELIMINATION, QUADRATURE: POE_CAN_SAMPLE, exact draws of the target in the
                          user's space, else NULL; ELIMINATION: NULL too when only log Z fits in memory */
  size_t n_parts;      /* MIXTURE: components; BLOCKS, REST: parts; JOINT, MARGINAL: one      */
  struct poei_plan **parts;
  double part_constant, part_constant_error; /* BLOCKS: log of what multiplies the blocks, with its standard error   */
  double *part_log_weight; /* MIXTURE: log of each component's probability, sums to 1                 */
  size_t **part_index; /* BLOCKS, REST, MARGINAL: [part dim] coordinates of each; JOINT: NULL, the plan's coordinates
                          are the first of the part's                                           */
  size_t n_read;       /* REST: two parts, a Gaussian (0) and what reads n_read of its coordinates (1): a draw of the
                          second takes their place, and coordinate j of the first moves by gain[j, :] times the change */
  size_t *read;        /* [n_read] of the plan's coordinates                                      */
  double *gain;        /* [part 0's dim, n_read]                                                  */
  const struct poei_plan *whole; /* of a part: the plan it belongs to, and which of its coordinates it is over */
  const size_t *whole_index;     /* [dim]; NULL: all of them                                           */
  poei_names names;              /* of the coordinates of a plan that is no part                       */

  poe_expert *discrete; /* MARGINAL: the discrete coordinates given the others (compose/exact/summed.h)  */

  poe_expert *smooth;   /* SMC, MCMC: target in unconstrained coordinates (a transform node)           */
  poe_expert *base;     /* SMC: samplable start, same unconstrained coordinates; NULL for MCMC          */
  poe_expert *rest;     /* SMC: target = base * rest                                                   */
  double base_log_z;    /* SMC: log Z of base                                                          */
  char *start;          /* SMC: what base is, in words                                                 */
  size_t scratch_bytes; /* per worker, for one tile with gradient                                      */
} poei_plan;

/* Plans a target. Improper targets (where a form shows it) are POE_E_IMPROPER, an empty support POE_E_EMPTY. */
poe_status poei_plan_build(const poe_expert *target, const poei_plan_options *options, poei_plan **plan,
                           poe_error *error);
void poei_plan_destroy(poei_plan *plan); /* NULL is allowed */
/* What a coordinate of the plan (or of a part) is called, into text[size]; returns text. */
const char *poei_plan_coordinate_text(const poei_plan *plan, size_t coordinate, char *text, size_t size);
/* Is a plan made with values_only one of a density that has a finite integral, as far as can be seen? POE_E_IMPROPER.
 */
poe_status poei_plan_check_proper(const poei_plan *plan, poe_error *error);

/* An expert to draw proposals from: POE_CAN_SAMPLE, POE_CAN_EVAL, known log Z. */
typedef struct poei_proposal {
  const poe_expert *expert;
  const size_t *index; /* [its dim] the target's coordinates */
  const char *name;    /* for messages                       */
} poei_proposal;

/* A plan for the same density that samples whatever else is possible: from a proposal, or (NULL) from where the planner
 * would start. POE_E_CAPABILITY when there is nothing to start from, or the proposal does not reach all of the support.
 */
poe_status poei_plan_sampled(const poei_plan *plan, const poei_proposal *proposal, poei_plan **out, poe_error *error);

/* The expert up to a constant factor: constants that cancel when points are compared (log Z of its factors) are left
 * out and need not be known. */
poe_status poei_drop_constants(const poe_expert *expert, poe_expert **out, poe_error *error);

/* One filled constant. */
typedef struct poei_constant {
  const poe_expert *expert; /* one of plan->holes  */
  double log_z, std_error;
} poei_constant;
/* The target with its holes filled (others stay). Trees are immutable: this is a new tree. */
poe_status poei_fill_holes(const poe_expert *target, size_t n, const poei_constant *constants, poe_expert **out,
                           poe_error *error);

#endif
