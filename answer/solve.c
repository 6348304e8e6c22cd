/* A target with all its constants: lower, plan, and fill the plan's holes, innermost first.
 *
 * compose/ never samples; a constant only an estimate can give (log Z of a mixture's component) is a hole in the plan.
 * Each is itself an expression: it is planned, estimated by its plan's own method, and put into a new tree, until no
 * hole is left. The estimate's seed is its digest, so everybody gets the same number.
 */
#include <stdio.h>
#include <string.h>

#include "answer/clamp.h"
#include "answer/digest.h"
#include "answer/session.h"
#include "core/alloc.h"

enum { ESTIMATES_MAX = 4096 };
enum { ESTIMATE_VERSION = 4 }; /* grows when estimates of the same expression change: old cache entries are then void */

poe_status poei_session_error(const poei_session *session, poe_error *error) {
  const poei_diagnostics *list = session->diagnostics;
  for (size_t i = 0; i < list->n; i++) {
    if (list->items[i].severity == POEI_ERROR) {
      if (error != NULL) {
        *error = list->items[i].error;
      }
      return list->items[i].error.status;
    }
  }
  return POE_OK;
}

static poe_status solve_estimate(poei_session *session, const poe_expert *hole, const poei_plan_options *options,
                                 poei_estimate *estimate, poe_error *error) {
  char hex[65];
  poe_status status = poei_digest(session->program, hole, "log_z smc 8x128 tol 0.05", hex, error);
  if (status != POE_OK) {
    return status;
  }
  estimate->method = poei_method_word(POEI_METHOD_SMC);
  if (!session->no_cache && poei_cache_read(hex, &estimate->log_z, &estimate->std_error, &estimate->memory)) {
    estimate->cached = true;
    return POE_OK;
  }
  poei_plan *plan = NULL;
  poei_plan_options proper = *options;
  proper.values_only = false;
  proper.prune = 0.0;
  proper.names = (poei_names){0}; /* the hole has coordinates of its own */
  status = poei_plan_build(hole, &proper, &plan, error);
  poei_log_z z = {0};
  if (status == POE_OK) {
    status = poei_plan_log_z(session, plan, poei_digest_seed(hex), POEI_LOG_Z_TOLERANCE, POEI_LOG_Z_ISLANDS,
                             POEI_LOG_Z_PARTICLES, &z, error);
  }
  poei_plan_destroy(plan);
  if (status == POE_OK) {
    estimate->log_z = z.log_z;
    estimate->std_error = z.std_error;
    estimate->memory = z.memory;
    estimate->method = z.method;
    if (!session->no_cache) {
      poei_cache_write(hex, z.log_z, z.std_error, z.memory);
    }
  }
  return status;
}

/* One hole of *plan estimated and filled: *filled and *plan are replaced. */
static poe_status solve_fill_one(poei_session *session, poei_solved *solved, const poei_plan_options *options,
                                 poe_error *error) {
  poei_estimate *grown = poei_realloc(solved->estimates, solved->n_estimates + 1, sizeof *grown);
  if (grown == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  solved->estimates = grown;
  poei_estimate *estimate = &grown[solved->n_estimates];
  memset(estimate, 0, sizeof *estimate);
  poe_status status = solve_estimate(session, solved->plan->holes[0], options, estimate, error);
  if (status != POE_OK) {
    return status;
  }
  solved->n_estimates++;
  poei_constant constant = {solved->plan->holes[0], estimate->log_z, estimate->std_error};
  poe_expert *filled = NULL;
  status = poei_fill_holes(solved->filled, 1, &constant, &filled, error);
  if (status != POE_OK) {
    return status;
  }
  poei_plan *plan = NULL;
  status = poei_plan_build(filled, options, &plan, error);
  if (status != POE_OK) {
    poe_expert_release(filled);
    return status;
  }
  poei_plan_destroy(solved->plan);
  poe_expert_release(solved->filled);
  solved->plan = plan;
  solved->filled = filled;
  return POE_OK;
}

void poei_target_place(const poei_target *target, poe_error *error) {
  if (error != NULL && error->line == 0 && error->file[0] == '\0') {
    poe_error_at(error, target->file, target->line, target->column, target->span);
  }
}

void poei_target_place_numbers(const poei_target *target, poe_status status, poe_error *error) {
  if (status == POE_E_NUMERIC || status == POE_E_IMPROPER) {
    poei_target_place(target, error);
  }
}

poe_status poei_prune_read(poei_session *session, const poei_action *action, poe_error *error) {
  session->prune = 0.0;
  return poei_option_number(action, "prune", 0.0, 0.5, &session->prune, error);
}

poei_plan_options poei_session_plan_options(const poei_session *session) {
  poei_plan_options options;
  poei_plan_options_default(&options);
  options.no_rewrite = session->no_rewrite;
  options.prune = session->prune;
  options.stop = session->monitor.stop;
  options.byte_limit = session->table_bytes > 0 ? session->table_bytes : options.byte_limit;
  return options;
}

typedef enum solve_what { SOLVE_ALL, SOLVE_VALUES, SOLVE_DIFFERENCES } solve_what;

static poe_status solve(poei_session *session, const char *expression, solve_what what, poei_solved *solved,
                        poe_error *error) {
  memset(solved, 0, sizeof *solved);
  poe_status status = poei_program_target(session->program, expression, &solved->target, session->diagnostics);
  if (status != POE_OK) {
    poe_status first = poei_session_error(session, error);
    if (first != POE_OK) {
      return first;
    }
    return poe_error_set(error, status, "the target cannot be built: %s", poe_status_text(status));
  }
  poei_plan_options options = poei_session_plan_options(session);
  options.values_only = what != SOLVE_ALL;
  options.names = solved->target.names;
  if (what == SOLVE_DIFFERENCES) {
    status = poei_drop_constants(solved->target.expert, &solved->filled, error);
  } else {
    solved->filled = poe_expert_retain(solved->target.expert);
  }
  if (status == POE_OK) {
    status = poei_plan_build(solved->filled, &options, &solved->plan, error);
  }
  while (status == POE_OK && solved->plan->n_holes > 0) {
    if (solved->n_estimates >= ESTIMATES_MAX) {
      status = poe_error_set(error, POE_E_CAPABILITY, "more than %d constants have to be estimated", ESTIMATES_MAX);
      break;
    }
    status = solve_fill_one(session, solved, &options, error);
  }
  if (status != POE_OK) {
    poei_target_place(&solved->target, error);
    poei_solved_free(solved);
  }
  return status;
}

poe_status poei_solve(poei_session *session, const char *expression, poei_solved *solved, poe_error *error) {
  session->prune = 0.0;
  return solve(session, expression, SOLVE_ALL, solved, error);
}

poe_status poei_solve_action(poei_session *session, const poei_action *action, poei_solved *solved, poe_error *error) {
  char *expression = NULL;
  poe_status status = poei_prune_read(session, action, error);
  if (status == POE_OK) {
    status = poei_clamp_target(session, action, &expression, error);
  }
  if (status == POE_OK) {
    status = solve(session, expression, SOLVE_ALL, solved, error);
  }
  poei_free(expression);
  return status;
}

poe_status poei_solve_values(poei_session *session, const char *expression, poei_solved *solved, poe_error *error) {
  return solve(session, expression, SOLVE_VALUES, solved, error);
}

poe_status poei_solve_differences(poei_session *session, const char *expression, poei_solved *solved,
                                  poe_error *error) {
  return solve(session, expression, SOLVE_DIFFERENCES, solved, error);
}

void poei_solved_free(poei_solved *solved) {
  poei_plan_destroy(solved->plan);
  poe_expert_release(solved->filled);
  poei_target_free(&solved->target);
  poei_free(solved->estimates);
  memset(solved, 0, sizeof *solved);
}
