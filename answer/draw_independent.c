/* Draws from independent proposals (draw_independent.h), and proposals that are named.
 *
 * Proposals and weights need no transform: they are drawn, and weighed, in the user's space.
 */
#include "answer/draw_independent.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compose/nodes/node.h"
#include "core/alloc.h"
#include "sampler/draws.h"

/* init[n_init, d] in turn for every chain, on the heap; NULL in *start: none was given. */
static poe_status independent_starts(const poei_run_options *options, size_t d, const double *init, size_t n_init,
                                     double **start, poe_error *error) {
  *start = NULL;
  if (n_init == 0) {
    return POE_OK;
  }
  *start = poei_alloc(options->chains * d, sizeof **start);
  if (*start == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t c = 0; c < options->chains; c++) {
    memcpy(*start + c * d, init + (c % n_init) * d, d * sizeof **start);
  }
  return POE_OK;
}

poe_status poei_draw_independent(const poei_session *session, const poei_plan *plan, const poei_run_options *options,
                                 const double *init, size_t n_init, poei_sampling *sampling, poe_error *error) {
  (void)session;
  const poe_expert *base = poei_node_child(plan->base, 0), *rest = poei_node_child(plan->rest, 0);
  double *start = NULL;
  poei_run_options wanted;
  poe_status status = poei_run_defaults(base, options, &wanted, error);
  if (status == POE_OK) {
    status = independent_starts(&wanted, plan->dim, init, n_init, &start, error);
  }
  if (status == POE_OK) {
    status = poei_run_independent(base, rest, options, start, &sampling->draws, &sampling->weights, error);
  }
  poei_free(start);
  if (status != POE_OK) {
    return status;
  }
  snprintf(sampling->method, sizeof sampling->method, "imh");
  snprintf(sampling->proposal, sizeof sampling->proposal, "%s", plan->start);
  sampling->has_weights = sampling->weights.n > 0;
  if (sampling->has_weights && poei_weights_trusted(&sampling->weights)) {
    double error_inside = poe_expert_traits(plan->expert)->offset_error;
    sampling->has_log_z = true;
    sampling->log_z = (poei_log_z){.log_z = plan->base_log_z + sampling->weights.log_mean,
                                   .std_error = hypot(sampling->weights.std_error, error_inside),
                                   .method = "importance sampling",
                                   .ess = sampling->weights.ess};
  }
  return POE_OK;
}

/* ---- proposals by name ---- */

/* What of a plan can be drawn exactly, evaluated, and has a known log Z; NULL: nothing. */
static const poe_expert *drawable(const poei_plan *plan) {
  const poe_expert *both[2] = {plan->expert, plan->sampler};
  for (size_t k = 0; k < 2; k++) {
    double log_z;
    bool exact = k == 0 || plan->method != POEI_METHOD_QUADRATURE;
    if (both[k] != NULL && exact && poei_expert_can(both[k], POE_CAN_SAMPLE | POE_CAN_EVAL) &&
        poei_expert_known_log_z(both[k], &log_z)) {
      return both[k];
    }
  }
  return NULL;
}

/* index[own->dim] in the target's coordinates. */
static poe_status place(const poei_target *target, const poei_target *own, const char *name, size_t *index,
                        poe_error *error) {
  for (size_t j = 0; j < own->dim; j++) {
    size_t at = 0;
    while (at < target->dim && target->coordinates[at] != own->coordinates[j]) {
      at++;
    }
    if (at == target->dim) {
      char text[POEI_NAME_SIZE];
      poei_names_text(&own->names, j, text, sizeof text);
      poe_error_set(error, POE_E_CAPABILITY, "the proposal `%s` is over %s, which is not free in the target", name,
                    text);
      poe_error_hint(error, "a proposal is over some or all of the coordinates that are drawn");
      return POE_E_CAPABILITY;
    }
    index[j] = at;
  }
  return POE_OK;
}

poe_status poei_propose(poei_session *session, const poei_solved *solved, const char *expression, poei_plan **plan,
                        poe_error *error) {
  poei_solved own;
  double prune = session->prune;
  poe_status status = poei_solve(session, expression, &own, error);
  session->prune = prune;
  if (status != POE_OK) {
    return status;
  }
  poei_proposal proposal = {.expert = drawable(own.plan), .name = expression};
  size_t *index = poei_alloc(own.target.dim, sizeof *index);
  if (index == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else if (proposal.expert == NULL) {
    status = poe_error_set(error, POE_E_CAPABILITY, "the proposal `%s` cannot be drawn exactly: %s", expression,
                           own.plan->reason);
  }
  if (status == POE_OK) {
    status = place(&solved->target, &own.target, expression, index, error);
  }
  if (status == POE_OK) {
    proposal.index = index;
    status = poei_plan_sampled(solved->plan, &proposal, plan, error);
  }
  poei_free(index);
  poei_solved_free(&own);
  return status;
}
