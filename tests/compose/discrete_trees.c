/* Discrete experts and their states (see discrete_trees.h). */
#include "tests/compose/discrete_trees.h"

#include <math.h>
#include <stdlib.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/list.h"
#include "tests/compose/build.h"
#include "tests/conformance/conformance.h"
#include "tests/support/check.h"

/* ---- families that the builders lack ---- */

poe_expert *hmm(size_t d) {
  static const double initial[2] = {0.6, 0.4}, transition[4] = {0.9, 0.1, 0.25, 0.75},
                      emission[6] = {0.5, 0.3, 0.2, 0.1, 0.0, 0.9};
  poet_args a;
  poet_args_start(&a, "hmm");
  poet_args_discrete_variable(&a, "x", d, 3);
  poet_args_vector(&a, "initial", 2, initial);
  poet_args_matrix(&a, "transition", 2, 2, transition);
  poet_args_matrix(&a, "emission", 2, 3, emission);
  poe_expert *made = NULL;
  poe_error error = {0};
  check_ok(poe_expert_create(&poei_hmm_ops, &a.args, &made, &error), error);
  return made;
}

poe_expert *markov(size_t d) {
  static const double initial[3] = {0.5, 0.25, 0.25}, transition[9] = {0.1, 0.6, 0.3, 0.5, 0.5, 0.0, 0.2, 0.2, 0.6};
  poet_args a;
  poet_args_start(&a, "markov");
  poet_args_discrete_variable(&a, "x", d, 3);
  poet_args_vector(&a, "initial", 3, initial);
  poet_args_matrix(&a, "transition", 3, 3, transition);
  poe_expert *made = NULL;
  poe_error error = {0};
  check_ok(poe_expert_create(&poei_markov_ops, &a.args, &made, &error), error);
  return made;
}

poei_plan_options defaults(void) {
  poei_plan_options options;
  poei_plan_options_default(&options);
  return options;
}

/* ---- states ---- */

size_t states_of(const poe_expert *expert) {
  const poe_traits *traits = poe_expert_traits(expert);
  size_t states = 1;
  for (size_t j = 0; j < traits->dim; j++) {
    states *= (size_t)(traits->support[j].high - traits->support[j].low) + 1;
  }
  return states;
}

/* x[dim] of state s, the first coordinate slowest; index[dim] (NULL is allowed) counts from the lowest value. */
void point(const poe_expert *expert, size_t s, double *x, size_t *index) {
  const poe_traits *traits = poe_expert_traits(expert);
  for (size_t j = traits->dim; j-- > 0;) {
    size_t values = (size_t)(traits->support[j].high - traits->support[j].low) + 1;
    x[j] = traits->support[j].low + (double)(s % values);
    if (index != NULL) {
      index[j] = s % values;
    }
    s /= values;
  }
}

/* log Z of the graph with the coordinates clamped is the density there. */
void same_density(const poe_expert *expert) {
  enum { MOST = 64 };
  poei_plan_options options = defaults();
  poei_discrete *discrete = NULL;
  poe_error error = {0};
  size_t dim = poe_expert_traits(expert)->dim, index[MOST], value[256];
  double x[MOST];
  check_ok(poei_discrete_open(expert, &options, &discrete, &error), error);
  assert_int_equal(discrete->dim, dim);
  size_t n = poei_field_variables(discrete->graph);
  assert_true(dim <= MOST && n <= 256);
  for (size_t s = 0; s < states_of(expert); s++) {
    point(expert, s, x, index);
    for (size_t v = 0; v < n; v++) {
      value[v] = v < dim ? index[v] : POEI_FIELD_FREE;
    }
    poei_field *clamped = NULL;
    poei_junction *junction = NULL;
    poei_junction_options own = {.goal = POEI_JUNCTION_LOG_Z, .byte_limit = options.byte_limit};
    check_ok(poei_field_clamp(discrete->graph, value, &clamped, &error), error);
    check_ok(poei_junction_create(clamped, &own, &junction, &error), error);
    double expected = tree_value(expert, x);
    if (expected == -INFINITY) {
      check_fails(poei_junction_run(junction, &error), POE_E_EMPTY, error, "probability 0");
    } else {
      check_ok(poei_junction_run(junction, &error), error);
      check_close(poei_junction_log_z(junction), expected, 1e-11, 1e-12);
    }
    poei_junction_destroy(junction);
    poei_field_destroy(clamped);
  }
  poei_discrete_destroy(discrete);
}
