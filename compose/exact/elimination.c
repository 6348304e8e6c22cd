/* An all-discrete target by variable elimination: the same density, with exact log Z and draws (see junction.h).
 *
 * Values are those of the target itself; draws go backwards through the elimination order, each a function of its
 * address alone.
 */
#include <stdio.h>

#include "compose/exact/discrete.h"
#include "compose/exact/numeric.h"
#include "compose/exact/routes.h"
#include "core/alloc.h"

typedef struct elimination {
  poe_expert *target;
  poei_discrete *discrete;
  poei_junction *junction;
} elimination;

static void elimination_destroy(void *state) {
  elimination *self = state;
  poe_expert_release(self->target);
  poei_junction_destroy(self->junction);
  poei_discrete_destroy(self->discrete);
  poei_free(self);
}

static void elimination_traits(const void *state, poe_traits *traits) {
  *traits = *poe_expert_traits(((const elimination *)state)->target);
  traits->capabilities &= POE_CAN_EVAL;
  traits->capabilities |= POE_CAN_SAMPLE | POE_CAN_LOG_Z;
}

static size_t elimination_scratch(const void *state, unsigned want, size_t n) {
  const elimination *self = state;
  if ((want & POE_WANT_SAMPLE) == 0) {
    return poe_expert_scratch(self->target, POE_WANT_LOGP, n);
  }
  return poe_scratch_need(poei_field_variables(self->discrete->graph), sizeof(size_t)) +
         poei_junction_draw_scratch(self->junction);
}

static poe_status elimination_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                       poe_scratch *scratch, poe_error *error) {
  out.grad = NULL; /* there are no continuous coordinates */
  return poe_expert_eval_add(((const elimination *)state)->target, rows, weights, out, scratch, error);
}

enum { TOGETHER = 1 << 25 }; /* numbers held at a time for draws that are made together: a quarter of a GiB */

/* Where messages are made again: many draws share them. */
static poe_status draw_together(const elimination *self, poe_rows_out rows, const poe_rng *at, poe_error *error) {
  const poei_discrete *discrete = self->discrete;
  size_t n = poei_field_variables(discrete->graph), most = TOGETHER / (2 * n) + 1, total;
  most = most < rows.n ? most : rows.n;
  size_t *x = poei_mul_size(most, n, &total) ? poei_alloc(total, sizeof *x) : NULL;
  poe_status status = x == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  for (size_t first = 0; first < rows.n && status == POE_OK; first += most) {
    size_t count = rows.n - first < most ? rows.n - first : most;
    status = poei_junction_draws(self->junction, count, &at[first], x, error);
    for (size_t i = 0; i < count && status == POE_OK; i++) {
      for (size_t j = 0; j < discrete->dim; j++) {
        rows.x[(first + i) * rows.ld + j] = discrete->low[j] + (double)x[i * n + j];
      }
    }
  }
  poei_free(x);
  return status;
}

static poe_status elimination_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                     poe_error *error) {
  const elimination *self = state;
  const poei_discrete *discrete = self->discrete;
  if (!poei_junction_is_kept(self->junction)) {
    return draw_together(self, rows, at, error);
  }
  size_t mark = poe_scratch_mark(scratch);
  size_t *x = poe_scratch_bytes(scratch, poei_field_variables(discrete->graph) * sizeof *x);
  for (size_t i = 0; i < rows.n; i++) {
    poei_junction_draw(self->junction, at[i], x, scratch);
    for (size_t j = 0; j < discrete->dim; j++) {
      rows.x[i * rows.ld + j] = discrete->low[j] + (double)x[j];
    }
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

static poe_status elimination_log_z(const void *state, double *log_z, poe_error *error) {
  (void)error;
  *log_z = poei_junction_log_z(((const elimination *)state)->junction);
  return POE_OK;
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops elimination_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "elimination",
    .doc = "a discrete density with the messages of its junction tree",
    .params = no_params,
    .create = poei_node_create,
    .destroy = elimination_destroy,
    .traits = elimination_traits,
    .scratch = elimination_scratch,
    .eval_add = elimination_eval_add,
    .sample = elimination_sample,
    .log_z = elimination_log_z,
};

/* Takes over `discrete` and a junction that was run when it succeeds. */
static poe_status make(const poe_expert *target, poei_discrete *discrete, poei_junction *junction, poe_expert **out,
                       poe_error *error) {
  elimination *self = poei_calloc(1, sizeof *self);
  if (self == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  *self = (elimination){poe_expert_retain(target), discrete, junction};
  poe_status status = poe_expert_wrap(&elimination_ops, self, out, error);
  if (status != POE_OK) {
    poe_expert_release(self->target);
    poei_free(self);
  }
  return status;
}

bool poei_elimination_parts(const poe_expert *expert, const poei_discrete **discrete, const poei_junction **junction) {
  if (poe_expert_ops_of(expert) != &elimination_ops) {
    return false;
  }
  const elimination *self = poe_expert_self(expert);
  *discrete = self->discrete;
  *junction = self->junction;
  return true;
}

bool poei_elimination_draws_together(const poe_expert *expert) {
  const poei_discrete *discrete = NULL;
  const poei_junction *junction = NULL;
  return poei_elimination_parts(expert, &discrete, &junction) && !poei_junction_is_kept(junction);
}

poe_status poei_elimination_draw(const poe_expert *expert, poe_rows_out rows, const poe_rng *at, poe_error *error) {
  return draw_together(poe_expert_self(expert), rows, at, error);
}

/* ---- the route ---- */

enum { FEW_STATES = 256 }; /* joint states that are simply added up */

static bool applies(const poe_expert *target, const poei_plan_options *options, size_t states) {
  const poe_traits *traits = poe_expert_traits(target);
  for (size_t j = 0; j < traits->dim; j++) {
    if (traits->support[j].kind != POE_DISCRETE) {
      return false;
    }
  }
  double constant;
  return (states == 0 || (states > FEW_STATES && !options->no_rewrite)) &&
         poei_node_kind_of(poei_strip(target, &constant)) != POEI_NODE_mixture;
}

static char *describe(const poei_discrete *discrete, const poei_junction *junction, bool log_z_only,
                      const poe_error *no_draws) {
  poei_junction_size size = poei_junction_size_of(junction);
  char hidden[48] = "", tables[32];
  if (discrete->hidden > 0) {
    snprintf(hidden, sizeof hidden, " (%zu of them hidden)", discrete->hidden);
  }
  bool drawn = no_draws->message[0] == '\0', again = drawn && !log_z_only && !poei_junction_is_kept(junction);
  return poei_format(
      "%zu discrete variables%s are eliminated one by one: treewidth %zu, at most %.3g joint states at a "
      "time, %s of tables%s%s%s",
      discrete->dim + discrete->hidden, hidden, size.width, size.states,
      poei_bytes_text(size.bytes, tables, sizeof tables), again ? " of which some are made again" : "",
      drawn ? "" : "; for draws, ", no_draws->message);
}

/* An order, and the elimination when it is called for: *done. */
static poe_status run(const poei_discrete *discrete, const poei_plan_options *options, poei_junction_goal goal,
                      size_t states, poei_junction **junction, bool *done, poe_error *error) {
  poei_junction_options own = {.goal = goal, .byte_limit = options->byte_limit};
  poe_status status = poei_junction_create(discrete->graph, &own, junction, error);
  if (status == POE_OK && (states == 0 || poei_junction_size_of(*junction).work < (double)states)) {
    status = poei_discrete_run(discrete, &options->names, *junction, error);
    *done = status == POE_OK;
  }
  if (status != POE_OK) {
    poei_junction_destroy(*junction);
    *junction = NULL;
  }
  return status;
}

/* The answer of a graph; what is taken over is set to NULL. When the messages that draws need do not fit, log Z alone
 * may. */
static poe_status answer_from(const poe_expert *target, const poei_plan_options *options, bool log_z_only,
                              size_t states, poei_discrete **discrete, poei_elimination_answer *answer,
                              poe_error *error) {
  poei_junction *junction = NULL;
  poei_elimination_answer made = {0};
  poe_error no_draws = {0};
  poe_status status = POE_E_CAPABILITY;
  if (!log_z_only) {
    status = run(*discrete, options, POEI_JUNCTION_DRAWS, states, &junction, &made.done, &no_draws);
    *error = no_draws;
  }
  if (status == POE_E_CAPABILITY) {
    status = run(*discrete, options, POEI_JUNCTION_LOG_Z, states, &junction, &made.done, error);
    log_z_only = true;
  }
  if (status == POE_OK && made.done) {
    made.log_z = poei_junction_log_z(junction);
    made.reason = describe(*discrete, junction, log_z_only, &no_draws);
    status = made.reason == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  }
  if (status == POE_OK && made.done && !log_z_only) {
    status = make(target, *discrete, junction, &made.sampler, error);
  }
  if (made.sampler != NULL) {
    *discrete = NULL;
    junction = NULL;
  }
  poei_junction_destroy(junction);
  if (status != POE_OK) {
    poei_free(made.reason);
    return status;
  }
  *answer = made;
  return POE_OK;
}

poe_status poei_eliminate(const poe_expert *target, const poei_plan_options *options, bool log_z_only,
                          poei_elimination_answer *answer, poe_error *refusal, poe_error *error) {
  size_t states = poei_joint_states(target, options->state_limit);
  *answer = (poei_elimination_answer){0};
  if (!applies(target, options, states)) {
    return POE_OK;
  }
  poei_discrete *discrete = NULL;
  poe_error why = {0};
  poei_plan_options own = *options;
  if (states > 0) {
    own.state_limit = states - 1; /* one table of everything would be no gain */
  }
  poe_status status = poei_discrete_open(target, &own, &discrete, &why);
  if (status == POE_OK) {
    status = answer_from(target, options, log_z_only, states, &discrete, answer, &why);
  }
  poei_discrete_destroy(discrete);
  if (status == POE_E_CAPABILITY) {
    *refusal = why;
    return POE_OK;
  }
  if (status != POE_OK) {
    *error = why;
  }
  return status;
}
