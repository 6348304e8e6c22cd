/* What elimination says about discrete targets and plans (see discrete.h): errors in the target's words, marginals, the
 * most probable values.
 *
 * Marginals of a plan are those of its graph where it has one; of its components, weighted; of its blocks, side by
 * side.
 */
#include "compose/exact/discrete.h"
#include "compose/exact/islands.h"

#include <math.h>
#include <string.h>

#include "compose/exact/branches.h"
#include "compose/nodes/node.h"
#include "core/alloc.h"

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

poe_status poei_discrete_run(const poei_discrete *discrete, const poei_names *names, poei_junction *junction,
                             poe_error *error) {
  poe_status status = poei_junction_run(junction, error);
  if (status == POE_E_EMPTY) {
    size_t at = poei_junction_conflict(junction);
    if (at < discrete->dim) {
      char name[POEI_NAME_SIZE];
      poe_error_set(error, POE_E_EMPTY, "every joint value has probability 0: the experts contradict each other at %s",
                    poei_names_text(names, at, name, sizeof name));
    } else {
      poe_error_set(error, POE_E_EMPTY,
                    "every joint value has probability 0: the experts contradict each other, or the values given");
    }
  }
  return status;
}

/* summed[variables]: the hidden variables that are to be summed out before anything is maximised. What the coordinates
 * determine, such as the states of an automaton, need not be: a sum over them has one positive term. Their number. */
static poe_status list_summed(const poei_discrete *discrete, unsigned char *summed, size_t *count, poe_error *error) {
  size_t n = poei_field_variables(discrete->graph);
  for (size_t v = 0; v < n; v++) {
    summed[v] = v < discrete->dim;
  }
  for (size_t k = 0; k < discrete->n_maximised; k++) {
    summed[discrete->maximised[k]] = 1;
  }
  poe_status status = poei_field_determine(discrete->graph, summed, error);
  *count = 0;
  for (size_t v = 0; v < n; v++) {
    summed[v] = !summed[v];
    *count += summed[v];
  }
  return status;
}

static bool has_continuous(const poe_traits *traits) {
  for (size_t j = 0; j < traits->dim; j++) {
    if (traits->support[j].kind == POE_CONTINUOUS) {
      return true;
    }
  }
  return false;
}

/* What is asked of a graph. */
typedef enum question {
  MARGINALS, /* of a mixed expert those of the discrete coordinates           */
  BEST,      /* the most probable values                                      */
  BEST_JOINT /* together with values of what profiles are maximised over      */
} question;

/* A graph of the expert and a junction of it, run. */
static poe_status solve(const poe_expert *expert, const poei_plan_options *options, question asked,
                        poei_discrete **discrete, poei_junction **junction, poe_error *error) {
  poei_junction_goal goal = asked == MARGINALS ? POEI_JUNCTION_DRAWS : POEI_JUNCTION_BEST;
  poei_discrete *graph = NULL;
  poei_junction *tree = NULL;
  poe_status status = has_continuous(poe_expert_traits(expert)) && asked == MARGINALS
                          ? poei_discrete_beside(expert, options, &graph, error)
                      : asked == BEST_JOINT ? poei_discrete_open_best(expert, options, &graph, error)
                                            : poei_discrete_open(expert, options, &graph, error);
  unsigned char *summed = NULL;
  size_t count = 0;
  if (status == POE_OK && goal == POEI_JUNCTION_BEST) {
    summed = poei_alloc(poei_field_variables(graph->graph), 1);
    status = summed == NULL ? no_memory(error) : list_summed(graph, summed, &count, error);
  }
  if (status == POE_OK) {
    poei_junction_options own = {goal, options->byte_limit, count > 0 ? summed : NULL};
    status = poei_junction_create(graph->graph, &own, &tree, error);
  }
  if (status == POE_OK) {
    status = poei_discrete_run(graph, &options->names, tree, error);
  }
  if (status == POE_E_CAPABILITY && tree != NULL && count > 0) {
    poei_junction_size size = poei_junction_size_of(tree);
    char needed[32];
    poe_error_set(error, POE_E_CAPABILITY,
                  "the most probable values cannot be found exactly: summing out %zu hidden variables first leaves a "
                  "clique of %zu variables and %s of tables",
                  count, size.width + 1, poei_bytes_text(size.bytes, needed, sizeof needed));
  }
  poei_free(summed);
  if (status != POE_OK) {
    poei_junction_destroy(tree);
    poei_discrete_destroy(graph);
    return status;
  }
  *discrete = graph;
  *junction = tree;
  return POE_OK;
}

static poei_plan_options complete(const poei_plan_options *given) {
  poei_plan_options options;
  poei_plan_options_default(&options);
  if (given != NULL) {
    options.state_limit = given->state_limit != 0 ? given->state_limit : options.state_limit;
    options.names = given->names;
    options.byte_limit = given->byte_limit != 0 ? given->byte_limit : options.byte_limit;
  }
  return options;
}

/* ---- marginals ---- */

void poei_marginals_free(poei_marginals *marginals) {
  poei_free(marginals->states);
  poei_free(marginals->low);
  poei_free(marginals->start);
  poei_free(marginals->p);
  *marginals = (poei_marginals){0};
}

/* All zero, over the ranges of a target. */
static poe_status marginals_open(const poe_traits *traits, poei_marginals *out, poe_error *error) {
  poei_marginals made = {.dim = traits->dim};
  made.states = poei_alloc(traits->dim, sizeof *made.states);
  made.low = poei_alloc(traits->dim, sizeof *made.low);
  made.start = poei_alloc(traits->dim, sizeof *made.start);
  size_t total = 0;
  for (size_t j = 0; made.states != NULL && made.low != NULL && made.start != NULL && j < traits->dim; j++) {
    const poe_support *support = &traits->support[j];
    made.start[j] = total;
    made.low[j] = support->low;
    made.states[j] = support->kind == POE_DISCRETE ? poei_support_states(support) : 0;
    if (support->kind == POE_DISCRETE && made.states[j] == 0) {
      poei_marginals_free(&made);
      return poe_error_set(error, POE_E_CAPABILITY, "coordinate %zu takes infinitely many values", j);
    }
    if (!poei_add_size(total, made.states[j], &total)) {
      total = SIZE_MAX; /* cannot be allocated */
    }
  }
  made.p = poei_calloc(total, sizeof *made.p);
  if (made.states == NULL || made.low == NULL || made.start == NULL || made.p == NULL) {
    poei_marginals_free(&made);
    return no_memory(error);
  }
  *out = made;
  return POE_OK;
}

/* The graph's first variables are the coordinates, and so are the first of its marginals. */
static poe_status from_junction(const poei_discrete *discrete, const poei_junction *junction, poei_marginals *out,
                                poe_error *error) {
  double *p = poei_alloc(poei_field_values(discrete->graph), sizeof *p);
  poe_status status = p == NULL ? no_memory(error) : poei_junction_marginals(junction, p, error);
  size_t values = 0;
  for (size_t j = 0; j < out->dim; j++) { /* none of a continuous one */
    values += out->states[j];
  }
  if (status == POE_OK) {
    memcpy(out->p, p, values * sizeof *p);
  }
  poei_free(p);
  return status;
}

/* out[coordinate of the whole] += weight * part[coordinate of the part]; index NULL: the same coordinates. */
static void add_part(poei_marginals *out, const poei_marginals *part, double weight, const size_t *index) {
  out->error = part->error > out->error ? part->error : out->error;
  for (size_t j = 0; j < part->dim; j++) {
    size_t c = index == NULL ? j : index[j];
    for (size_t a = 0; a < part->states[j] && out->states[c] > 0; a++) {
      double at = part->low[j] + (double)a - out->low[c];
      if (at >= 0.0 && at < (double)out->states[c]) {
        out->p[out->start[c] + (size_t)at] += weight * part->p[part->start[j] + a];
      }
    }
  }
}

static bool has_discrete(const poe_traits *traits) {
  for (size_t j = 0; j < traits->dim; j++) {
    if (traits->support[j].kind == POE_DISCRETE) {
      return true;
    }
  }
  return false;
}

void poei_marginals_place(const poei_marginals *part, const size_t *index, poei_marginals *whole) {
  add_part(whole, part, 1.0, index);
}

static poe_status find_marginals(const poei_plan *plan, const poei_plan_options *options, poei_marginals *out,
                                 poe_error *error);

static poe_status from_parts(const poei_plan *plan, const poei_plan_options *options, poei_marginals *out,
                             poe_error *error) {
  poe_status status = POE_OK;
  bool through = plan->method == POEI_METHOD_MARGINAL || plan->method == POEI_METHOD_JOINT;
  bool weighed = plan->method == POEI_METHOD_MIXTURE && plan->log_z_error != 0.0; /* blocks need no constants */
  if (has_discrete(poe_expert_traits(plan->expert)) && (through || weighed)) {
    return poe_error_set(error, POE_E_CAPABILITY, "the probabilities depend on integrals that are not exact");
  }
  for (size_t i = 0; i < plan->n_parts && status == POE_OK; i++) {
    poei_marginals part = {0};
    bool mixture = plan->method == POEI_METHOD_MIXTURE;
    double weight = mixture ? exp(plan->part_log_weight[i]) : 1.0;
    if (weight > 0.0 && has_discrete(poe_expert_traits(plan->parts[i]->expert))) {
      status = find_marginals(plan->parts[i], options, &part, error);
    }
    if (status == POE_OK) {
      add_part(out, &part, weight, mixture ? NULL : plan->part_index[i]);
    }
    poei_marginals_free(&part);
  }
  return status;
}

/* Each possible joint value of the discrete coordinates counts for itself. */
static void from_branches(const poe_expert *branches, poei_marginals *out) {
  size_t n, m;
  const size_t *index;
  const double *p, *value;
  poei_branches_look(branches, &n, &p, &m, &index, &value);
  for (size_t k = 0; k < n; k++) {
    for (size_t j = 0; j < m; j++) {
      out->p[out->start[index[j]] + (size_t)(value[k * m + j] - out->low[index[j]])] += p[k];
    }
  }
}

static poe_status find_marginals(const poei_plan *plan, const poei_plan_options *options, poei_marginals *out,
                                 poe_error *error) {
  const poei_discrete *discrete = NULL;
  const poei_junction *junction = NULL;
  poei_discrete *own = NULL;
  poei_junction *tree = NULL;
  poei_marginals made = {0};
  poe_status status = marginals_open(poe_expert_traits(plan->expert), &made, error);
  if (status == POE_OK && plan->n_parts > 0) {
    status = from_parts(plan, options, &made, error);
  } else if (status == POE_OK && plan->sampler != NULL && poei_branches_is(plan->sampler)) {
    from_branches(plan->sampler, &made);
  } else if (status == POE_OK && plan->sampler != NULL && poei_islands_is(plan->sampler)) {
    status = poei_islands_marginals(plan->sampler, made.p, error);
    made.error = expm1(2.0 * poei_islands_error(plan->sampler)); /* numerator and sum are both off by as much */
  } else if (status == POE_OK && plan->sampler != NULL && poei_elimination_parts(plan->sampler, &discrete, &junction)) {
    status = from_junction(discrete, junction, &made, error);
  } else if (status == POE_OK && has_discrete(poe_expert_traits(plan->expert))) {
    status = solve(plan->expert, options, MARGINALS, &own, &tree, error);
    status = status == POE_OK ? from_junction(own, tree, &made, error) : status;
  }
  poei_junction_destroy(tree);
  poei_discrete_destroy(own);
  if (status != POE_OK) {
    poei_marginals_free(&made);
    return status;
  }
  *out = made;
  return POE_OK;
}

poe_status poei_plan_marginals(const poei_plan *plan, const poei_plan_options *options, poei_marginals *marginals,
                               poe_error *error) {
  poei_plan_options all = complete(options);
  return find_marginals(plan, &all, marginals, error);
}

/* ---- the most probable values ---- */

/* Row x[n] as one of the best points, unless it is there already (with another value of what is maximised over). */
static void take_best(const poei_discrete *discrete, const size_t *value, double log_value, size_t *found, double *x,
                      double *log_density) {
  double *own = x + *found * discrete->dim;
  for (size_t j = 0; j < discrete->dim; j++) {
    own[j] = discrete->low[j] + (double)value[j];
  }
  for (size_t i = 0; i < *found; i++) {
    if (memcmp(x + i * discrete->dim, own, discrete->dim * sizeof *own) == 0) {
      return;
    }
  }
  log_density[(*found)++] = log_value;
}

/* The best k points among the best `count` of the junction; *all: there are no more than these. */
static poe_status list_best(const poei_discrete *discrete, const poei_junction *junction, size_t k, size_t count,
                            size_t *found, double *x, double *log_density, bool *all, poe_error *error) {
  size_t n = poei_field_variables(discrete->graph), total, got = 0;
  size_t *value = poei_mul_size(count, n, &total) ? poei_alloc(total, sizeof *value) : NULL;
  double *level = poei_alloc(count, sizeof *level);
  poe_status status = value == NULL || level == NULL ? no_memory(error)
                                                     : poei_junction_best(junction, count, &got, value, level, error);
  *found = 0;
  for (size_t i = 0; i < got && *found < k && status == POE_OK; i++) {
    take_best(discrete, value + i * n, level[i], found, x, log_density);
  }
  *all = got < count;
  poei_free(value);
  poei_free(level);
  return status;
}

poe_status poei_plan_best(const poei_plan *plan, const poei_plan_options *options, size_t k, size_t *found, double *x,
                          double *log_density, poe_error *error) {
  enum { MOST_TIMES = 1 << 10, MOST_NUMBERS = 1 << 24 };
  poei_plan_options all = complete(options);
  poei_discrete *discrete = NULL;
  poei_junction *junction = NULL;
  poe_error joint = {0};
  bool complete_list = false;
  poe_status status = solve(plan->expert, &all, BEST, &discrete, &junction, error);
  if (status == POE_E_CAPABILITY) { /* max_x max_h is bound to no order */
    status = solve(plan->expert, &all, BEST_JOINT, &discrete, &junction, &joint);
    if (status != POE_OK && status != POE_E_CAPABILITY) {
      *error = joint;
    }
  }
  for (size_t times = 1; times <= MOST_TIMES && status == POE_OK; times *= 2) {
    status = list_best(discrete, junction, k, k * times, found, x, log_density, &complete_list, error);
    if (*found == k || complete_list || discrete->n_maximised == 0 ||
        2 * k * times > MOST_NUMBERS / poei_field_variables(discrete->graph)) {
      break;
    }
  }
  poei_junction_destroy(junction);
  poei_discrete_destroy(discrete);
  return status;
}
