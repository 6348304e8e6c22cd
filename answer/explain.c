/* The verb explain: the plan, before anything is computed. Constants that would be estimated are not: the plan is made
 * as if they were 0, and they are counted. */
#include "answer/session.h"
#include "compose/nodes/nodes.h"
#include "core/alloc.h"
#include "formats/text_file.h"

static poe_status outline(const poei_session *session, const poei_target *target, bool values_only, poei_plan **plan,
                          size_t *constants, poe_error *error) {
  poei_plan_options options;
  poei_plan_options_default(&options);
  options.no_rewrite = session->no_rewrite;
  options.values_only = values_only;
  options.names = target->names;
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
  return outline(session, target, false, plan, constants, error);
}

poe_status poei_target_check_proper(poei_session *session, const poei_target *target, poe_error *error) {
  poei_plan *plan = NULL;
  size_t constants = 0;
  poe_status status = outline(session, target, true, &plan, &constants, error);
  if (status == POE_OK) {
    status = poei_plan_check_proper(plan, error);
    if (status != POE_OK) {
      poei_target_place(target, error);
    }
  }
  poei_plan_destroy(plan);
  return status;
}

/* ---- what stands in the way of an exact answer ---- */

enum { MOST_OBSTACLES = 32 };

/* The leaves that have neither a dense nor a factored closed form, each once. */
typedef struct obstacles {
  size_t n, more;
  const poe_expert *leaf[MOST_OBSTACLES];
} obstacles;

static void find_obstacles(const poe_expert *expert, obstacles *all) {
  if (poei_node_kind_of(expert) != POEI_NODE_LEAF) {
    for (size_t i = 0; i < poei_node_child_count(expert); i++) {
      find_obstacles(poei_node_child(expert, i), all);
    }
    return;
  }
  if ((poe_expert_traits(expert)->capabilities & (POE_CAN_FORM | POE_CAN_STRUCTURE)) != 0) {
    return;
  }
  for (size_t i = 0; i < all->n; i++) {
    if (all->leaf[i] == expert) {
      return;
    }
  }
  if (all->n < MOST_OBSTACLES) {
    all->leaf[all->n++] = expert;
  } else {
    all->more++;
  }
}

/* [{expert, kind, dimensions, file, line, column}] of a plan that is not exact. */
static poe_status obstacles_json(const poei_session *session, const poei_target *target, const poei_plan *plan,
                                 json_t **result, poe_error *error) {
  obstacles all = {0};
  json_t *list = json_array();
  poe_status status = poei_json_made(list, error);
  if (!plan->exact) {
    find_obstacles(target->expert, &all);
  }
  for (size_t i = 0; i < all.n && status == POE_OK; i++) {
    const poe_expert *leaf = all.leaf[i];
    const char *name = NULL;
    poe_error place = {0};
    poei_program_origin(session->program, leaf, &name, &place);
    json_t *item = json_pack("{s:s?,s:s,s:I,s:s,s:i,s:i}", "expert", name, "kind", poe_expert_ops_of(leaf)->kind,
                             "dimensions", (json_int_t)poe_expert_traits(leaf)->dim, "file", place.file, "line",
                             place.line, "column", place.column);
    status = poei_json_append(status, list, item, error);
  }
  if (status != POE_OK) {
    json_decref(list);
    return status;
  }
  *result = list;
  return POE_OK;
}

/* ---- the result ---- */

static poe_status explain_json(const poei_session *session, const poei_target *target, const poei_plan *plan,
                               const char *tree, size_t constants, json_t **result, poe_error *error) {
  json_t *rules = json_array(), *parts = json_array();
  poe_status status = POE_OK;
  for (size_t i = 0; i < plan->n_rules; i++) {
    json_t *rule = json_pack("{s:s,s:s}", "rule", plan->rules[i].rule, "what", plan->rules[i].what);
    status = poei_json_append(status, rules, rule, error);
  }
  for (size_t i = 0; i < plan->n_parts; i++) {
    json_t *part = json_pack("{s:s,s:s,s:b}", "method", poei_method_word(plan->parts[i]->method), "reason",
                             plan->parts[i]->reason, "exact", (int)plan->parts[i]->exact);
    status = poei_json_append(status, parts, part, error);
  }
  json_t *out = NULL;
  if (status == POE_OK) {
    out = json_pack("{s:s,s:s,s:I,s:s,s:O,s:s,s:b,s:s,s:I,s:I}", "target", target->name, "expression", target->text,
                    "dimensions", (json_int_t)target->dim, "tree", tree, "rules", rules, "method",
                    poei_method_word(plan->method), "exact", (int)plan->exact, "reason", plan->reason, "scratch_bytes",
                    (json_int_t)plan->scratch_bytes, "constants", (json_int_t)constants);
    status = poei_json_made(out, error);
  }
  json_t *standing = NULL;
  if (status == POE_OK) {
    status = obstacles_json(session, target, plan, &standing, error);
  }
  if (status == POE_OK) {
    status = poei_json_set(status, out, "obstacles", standing, error);
  }
  if (plan->n_parts > 0) {
    status = poei_json_set(status, out, "parts", json_incref(parts), error);
  }
  json_decref(rules);
  json_decref(parts);
  if (status != POE_OK) {
    json_decref(out);
    return status;
  }
  *result = out;
  return POE_OK;
}

poe_status poei_answer_explain(poei_session *session, const poei_action *action, json_t **result, poe_error *error) {
  const char *expression = action->n_targets > 0 ? action->targets[0] : NULL;
  poei_target target;
  poe_status status = poei_program_target(session->program, expression, &target, session->diagnostics);
  if (status != POE_OK) {
    poe_status first = poei_session_error(session, error);
    return first != POE_OK ? first : poe_error_set(error, status, "the target cannot be built");
  }
  poei_plan *plan = NULL;
  size_t constants = 0;
  status = poei_plan_outline(session, &target, &plan, &constants, error);
  char *tree = status == POE_OK ? poei_program_tree(session->program, expression, session->diagnostics) : NULL;
  if (status == POE_OK && tree == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (status == POE_OK) {
    status = explain_json(session, &target, plan, tree, constants, result, error);
  }
  poei_free(tree);
  poei_plan_destroy(plan);
  poei_target_free(&target);
  return status;
}
