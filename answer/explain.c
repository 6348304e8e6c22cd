/* The verb explain: the plan, before anything is computed. Constants that would be estimated are not: the plan is made
 * as if they were 0, and they are counted. A target that is refused is told as far as it goes: the tree, the rules, and
 * then why.
 */
#include <string.h>

#include "answer/explain_parts.h"
#include "compose/nodes/nodes.h"
#include "core/alloc.h"
#include "formats/json_text.h"

/* How far a plan goes: rewriting only, all but integrals, everything. */
typedef enum depth { VALUES, CHECKS, ALL } depth;

static poe_status outline(const poei_session *session, const poei_target *target, depth how, poei_trace *trace,
                          poei_plan **plan, size_t *constants, poe_error *error) {
  poei_plan_options options = poei_session_plan_options(session);
  options.values_only = how == VALUES;
  options.checks_only = how != ALL;
  options.names = target->names;
  options.trace = trace;
  poe_expert *tree = poe_expert_retain(target->expert);
  *constants = 0;
  *plan = NULL;
  poe_status status = poei_plan_build(tree, &options, plan, error);
  while (status == POE_OK && (*plan)->n_holes > 0) {
    poei_constant zero = {(*plan)->holes[0], 0.0, 0.0};
    poe_expert *filled = NULL;
    status = poei_fill_holes(tree, 1, &zero, &filled, error);
    poei_plan_destroy(*plan);
    *plan = NULL;
    if (status == POE_OK) {
      poe_expert_release(tree);
      tree = filled;
      (*constants)++;
      status = poei_plan_build(tree, &options, plan, error);
    }
  }
  poe_expert_release(tree);
  if (status != POE_OK) {
    poei_target_place(target, error);
  }
  return status;
}

poe_status poei_plan_outline(poei_session *session, const poei_target *target, poei_plan **plan, size_t *constants,
                             poe_error *error) {
  return outline(session, target, CHECKS, NULL, plan, constants, error);
}

poe_status poei_target_check_proper(poei_session *session, const poei_target *target, poe_error *error) {
  poei_plan *plan = NULL;
  size_t constants = 0;
  poe_status status = outline(session, target, VALUES, NULL, &plan, &constants, error);
  if (status == POE_OK) {
    status = poei_plan_check_proper(plan, error);
    if (status != POE_OK) {
      poei_target_place(target, error);
    }
  }
  poei_plan_destroy(plan);
  return status;
}

/* ---- the result ---- */

/* {status, message, hint, file, line, column} of why a target is refused. */
static json_t *refusal_json(const poe_error *why) {
  return json_pack("{s:s,s:s,s:s,s:s,s:i,s:i}", "status", poe_status_name(why->status), "message", why->message, "hint",
                   why->hint, "file", why->file, "line", why->line, "column", why->column);
}

/* What can be told of any target: its text and its tree. `why`: NULL, or why there is no plan. */
static poe_status begin_json(const poei_session *session, const char *name, const char *text, const poei_outline *tree,
                             const poe_error *why, json_t **result, poe_error *error) {
  json_t *out = json_pack("{s:s,s:s,s:s,s:b}", "target", name, "expression", text, "file",
                          poei_program_path(session->program), "rewritten", (int)!session->no_rewrite);
  json_t *written = NULL;
  poe_status status = poei_json_made(out, error);
  if (status == POE_OK) {
    status = poei_explain_tree(session->program, tree, &written, error);
  }
  if (status == POE_OK) {
    status = poei_json_set(status, out, "tree", written, error);
  }
  if (status == POE_OK && why != NULL) {
    status = poei_json_set(status, out, "method", json_null(), error);
    status = poei_json_set(status, out, "exact", json_false(), error);
    status = poei_json_set(status, out, "reason", json_string(why->message), error);
    status = poei_json_set(status, out, "refused", refusal_json(why), error);
  }
  if (status != POE_OK) {
    json_decref(out);
    return status;
  }
  *result = out;
  return POE_OK;
}

/* What is known of a target that was lowered; plan NULL: none. */
static poe_status planned_json(const poei_session *session, const poei_target *target, const poei_outline *tree,
                               const poei_trace *trace, const poei_plan *plan, json_t *out, poe_error *error) {
  poei_teller teller;
  json_t *rules = NULL, *obstacles = NULL, *networks = NULL;
  char over[256];
  bool failed = false;
  poei_program_over_text(session->program, target->dim, target->coordinates, over, sizeof over);
  poe_status status = poei_json_set(POE_OK, out, "dimensions", json_integer((json_int_t)target->dim), error);
  status = poei_json_set(status, out, "over", json_string(over), error);
  if (status == POE_OK) {
    status = poei_teller_open(&teller, session->program, target, tree, trace, &failed, error);
  }
  if (status != POE_OK) {
    return status;
  }
  status = poei_explain_rules(&teller, &rules, error);
  if (status == POE_OK) {
    status = poei_json_set(status, out, "rules", rules, error);
  }
  if (status == POE_OK && plan != NULL) {
    status = poei_explain_plan(&teller, plan, target->coordinates, out, error);
  }
  if (status == POE_OK && (plan == NULL || !plan->exact)) {
    status = poei_explain_obstacles(session, tree, &obstacles, error);
  } else if (status == POE_OK) {
    obstacles = json_array();
  }
  if (status == POE_OK) {
    status = poei_json_set(status, out, "obstacles", obstacles, error);
  }
  if (status == POE_OK) {
    status = poei_explain_networks(session->program, tree, &networks, error);
  }
  if (status == POE_OK && json_array_size(networks) > 0) {
    status = poei_json_set(status, out, "networks", networks, error);
  } else {
    json_decref(networks);
  }
  poei_teller_close(&teller);
  return status == POE_OK && failed ? poe_error_set(error, POE_E_MEMORY, "out of memory") : status;
}

static poe_status lowered_json(poei_session *session, const poei_target *target, const poei_outline *tree,
                               json_t **result, poe_error *error) {
  poei_plan *plan = NULL;
  poei_trace trace = {0};
  size_t constants = 0;
  poe_error why = {0}, later = {0};
  json_t *out = NULL;
  poe_status planned = outline(session, target, ALL, &trace, &plan, &constants, &why);
  poe_status status = planned;
  if (planned != POE_E_MEMORY) {
    status = begin_json(session, target->name, target->text, tree, planned == POE_OK ? NULL : &why, &out, &later);
  }
  if (planned != POE_E_MEMORY && status == POE_OK) {
    status = planned_json(session, target, tree, &trace, plan, out, &later);
    status = poei_json_set(status, out, "constants", json_integer((json_int_t)constants), &later);
    if (plan != NULL && session->prune > 0.0) {
      status = poei_json_set(status, out, "discarded_mass", poei_json_number(plan->discarded), &later);
    }
  }
  poei_plan_destroy(plan);
  poei_trace_free(&trace);
  if (status != POE_OK) {
    json_decref(out);
    *error = planned == POE_E_MEMORY ? why : later;
    return status;
  }
  *result = out;
  if (planned != POE_OK) {
    *error = why;
  }
  return planned;
}

/* A target whose experts cannot be made. */
static poe_status unlowered_json(poei_session *session, const char *expression, const poei_outline *tree,
                                 const poe_error *why, json_t **result, poe_error *error) {
  const poei_program *program = session->program;
  size_t n = poei_program_density_count(program);
  const char *name = expression != NULL ? expression : n > 0 ? poei_program_density(program, n - 1) : "";
  return begin_json(session, name, name, tree, why, result, error);
}

poe_status poei_answer_explain(poei_session *session, const poei_action *action, json_t **result, poe_error *error) {
  const char *expression = action->n_targets > 0 ? action->targets[0] : NULL;
  poei_target target;
  poe_status status = poei_prune_read(session, action, error);
  if (status != POE_OK) {
    return status;
  }
  status = poei_program_target(session->program, expression, &target, session->diagnostics);
  const poei_outline *tree = NULL;
  if (status != POE_E_MEMORY) {
    tree = poei_program_outline(session->program, expression, session->diagnostics);
  }
  if (status != POE_OK) {
    poe_error why = {0}, later = {0};
    poe_status first = poei_session_error(session, &why);
    if (first == POE_OK) {
      first = poe_error_set(&why, status, "the target cannot be built");
    }
    *error = why;
    if (tree != NULL && unlowered_json(session, expression, tree, &why, result, &later) != POE_OK) {
      *error = later;
      return later.status;
    }
    return first;
  }
  status = tree == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                        : lowered_json(session, &target, tree, result, error);
  poei_target_free(&target);
  return status;
}
