/* Targets over discrete coordinates of finitely many values as factor graphs, and what exact elimination says about
 * them: a route of the planner, marginals, the most probable values. Inside compose/, and for answer/.
 *
 * A target is opened through products, powers, slices, plates, clamped values, constants and mixtures down to experts
 * that give their factors (POE_STRUCTURE_FACTORS); what gives none is tabulated when it is over few coordinates. Hidden
 * variables of the experts, and one for each mixture saying which component, are summed over.
 */
#ifndef POE_COMPOSE_EXACT_DISCRETE_H
#define POE_COMPOSE_EXACT_DISCRETE_H

#include "compose/exact/junction.h"
#include "compose/plan.h"

/* ---- targets as graphs ---- */

typedef struct poei_discrete {
  poei_field *graph; /* its first dim variables are the coordinates, in order          */
  size_t dim;
  size_t hidden;                  /* variables with two values or more that are no coordinates       */
  double *low;                    /* [dim] the smallest value of each coordinate; the graph's 0      */
  size_t n_maximised, *maximised; /* hidden variables that are to be maximised over, not summed       */
} poei_discrete;

/* POE_E_CAPABILITY, saying why, when the target is no such graph; POE_E_IMPROPER, naming a state, when a divisor is 0
 * where the rest is not. Limits and names are those of the options. */
poe_status poei_discrete_open(const poe_expert *target, const poei_plan_options *options, poei_discrete **out,
                              poe_error *error);
/* The same for the most probable values: latent variables of profiles may be variables of the graph, to be maximised
 * over with the coordinates. */
poe_status poei_discrete_open_best(const poe_expert *target, const poei_plan_options *options, poei_discrete **out,
                                   poe_error *error);
/* The same of a target with continuous coordinates, over the discrete ones alone: POE_E_CAPABILITY when a factor reads
 * both kinds. */
poe_status poei_discrete_beside(const poe_expert *target, const poei_plan_options *options, poei_discrete **out,
                                poe_error *error);
void poei_discrete_destroy(poei_discrete *discrete); /* NULL is allowed */
/* poei_junction_run in the target's words: POE_E_EMPTY names a coordinate. */
poe_status poei_discrete_run(const poei_discrete *discrete, const poei_names *names, poei_junction *junction,
                             poe_error *error);

/* ---- the planner's route ---- */

typedef struct poei_elimination_answer {
  bool done; /* the route was taken; else nothing below is set                        */
  double log_z;
  poe_expert *sampler; /* the target's density with exact log Z and draws; NULL for log_z_only, and when only log Z
                          fits the byte limit */
  char *reason;        /* on the heap */
} poei_elimination_answer;

/* All coordinates discrete: by elimination, unless there are so few joint states that adding them up is no more work
 * (or, without rewriting, few enough to add them up as the target is written), or the target is a mixture, whose
 * components are better answered each on its own. *refusal: why the route cannot be taken, when that is so; an error is
 * one that every route would meet. */
poe_status poei_eliminate(const poe_expert *target, const poei_plan_options *options, bool log_z_only,
                          poei_elimination_answer *answer, poe_error *refusal, poe_error *error);
/* The graph and the junction of such a sampler; false for any other expert. */
bool poei_elimination_parts(const poe_expert *expert, const poei_discrete **discrete, const poei_junction **junction);
/* Does such a sampler hold too few messages to draw one by one? Then many draws at once are much cheaper than few. */
bool poei_elimination_draws_together(const poe_expert *expert);
/* rows.n draws of such a sampler, the i-th a function of at[i]; takes memory from the heap. */
poe_status poei_elimination_draw(const poe_expert *expert, poe_rows_out rows, const poe_rng *at, poe_error *error);

/* ---- what plans know ---- */

/* The probabilities of the values of each discrete coordinate. */
typedef struct poei_marginals {
  size_t dim;
  size_t *states; /* [dim] number of values, 0 for a continuous coordinate  */
  double *low;    /* [dim] smallest value                                   */
  size_t *start;  /* [dim] where its probabilities begin                    */
  double *p;      /* [sum of states]                                        */
  double error;   /* bound on that of each, by quadrature; 0: exact          */
} poei_marginals;

/* The exact marginals of a plan's target (options NULL: defaults). POE_E_CAPABILITY, saying why, where the plan has
 * none; continuous coordinates are passed over. */
poe_status poei_plan_marginals(const poei_plan *plan, const poei_plan_options *options, poei_marginals *marginals,
                               poe_error *error);
void poei_marginals_free(poei_marginals *marginals);
/* Adds the probabilities of a part to those of the whole, over whose coordinates index[part dim] it is (NULL: the
 * first). */
void poei_marginals_place(const poei_marginals *part, const size_t *index, poei_marginals *whole);

/* The k most probable points of an all-discrete target, best first: *found rows of x[k, dim] and log_density[k]; fewer
 * when fewer have positive density. Hidden variables are summed out before anything is maximised, but for those that
 * the coordinates determine. Where a profile's latent variables cannot go before the coordinates, they are maximised
 * over with them; then there are fewer points, too, when they share very many of the best values with one another.
 * POE_E_CAPABILITY, saying why, when that cannot be done exactly; POE_E_EMPTY. */
poe_status poei_plan_best(const poei_plan *plan, const poei_plan_options *options, size_t k, size_t *found, double *x,
                          double *log_density, poe_error *error);

#endif
