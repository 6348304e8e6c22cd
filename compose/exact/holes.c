/* Constants that are not known yet: normalise nodes whose log Z is NaN.
 *
 * The planner fills what it can (closed form, enumeration, quadrature); what needs sampling is listed, innermost first:
 * only expressions that have no hole inside are listed, so each can be planned as it is, and after filling them the
 * next ones show up. Each expression counts once, by identity.
 */
#include <math.h>

#include "compose/exact/choose.h"
#include "compose/exact/tree.h"
#include "core/alloc.h"

typedef struct finder {
  const poei_plan_options *options;
  poei_memo memo;       /* node -> resolved node; mark: has holes left */
  poei_memo normalised; /* child -> its normalised form, so that each integral is computed once */
  size_t n, capacity;
  poe_expert **hole; /* [n] */
} finder;

static bool is_hole(const poe_expert *expert) {
  return poei_node_kind_of(expert) == POEI_NODE_normalise && isnan(poei_normalise_log_z(expert, NULL));
}

static bool marked(const poei_memo *memo, const poe_expert *expert) {
  const poei_memo_entry *entry = poei_memo_find(memo, expert);
  return entry != NULL && entry->mark;
}

static poe_status list_hole(finder *run, const poe_expert *child, poe_error *error) {
  for (size_t i = 0; i < run->n; i++) {
    if (run->hole[i] == child) {
      return POE_OK;
    }
  }
  if (run->n == run->capacity) {
    size_t capacity = run->capacity == 0 ? 4 : 2 * run->capacity;
    poe_expert **wide = poei_realloc(run->hole, capacity, sizeof *wide);
    if (wide == NULL) {
      return poe_error_set(error, POE_E_MEMORY, "out of memory");
    }
    run->hole = wide;
    run->capacity = capacity;
  }
  run->hole[run->n++] = poe_expert_retain(child);
  return POE_OK;
}

/* child, whole: the hole's child as written and with its own constants filled. *out: normalised, or NULL. */
static poe_status compute(finder *run, const poe_expert *child, const poe_expert *whole, poe_expert **out,
                          poe_error *error) {
  const poei_memo_entry *known = poei_memo_find(&run->normalised, child);
  if (known != NULL) {
    *out = known->value == NULL ? NULL : poe_expert_retain(known->value);
    return POE_OK;
  }
  poei_plan *plan = NULL;
  poe_status status = poei_plan_tree(whole, run->options, true, &plan, error);
  if (status == POE_OK && plan->has_log_z) {
    status = poei_normalise_create(whole, plan->log_z, plan->log_z_error, out, error);
  }
  poei_plan_destroy(plan);
  return status == POE_OK ? poei_memo_put(&run->normalised, child, *out, false, error) : status;
}

static poe_status visit(void *context, const poe_expert *expert, poe_expert **out, poe_error *error) {
  finder *run = context;
  const poei_memo_entry *known = poei_memo_find(&run->memo, expert);
  if (known != NULL) {
    *out = poe_expert_retain(known->value);
    return POE_OK;
  }
  poe_expert *made = NULL;
  poe_status status = poei_tree_rebuild(expert, visit, run, &made, error);
  bool holes = false;
  for (size_t i = 0; i < poei_node_child_count(expert); i++) {
    holes = holes || marked(&run->memo, poei_node_child(expert, i));
  }
  if (status == POE_OK && is_hole(expert) && !holes) {
    poe_expert *filled = NULL;
    status = compute(run, poei_node_child(expert, 0), poei_node_child(made, 0), &filled, error);
    if (status == POE_OK && filled != NULL) {
      poe_expert_release(made);
      made = filled;
    } else if (status == POE_OK) {
      holes = true;
      status = list_hole(run, poei_node_child(expert, 0), error);
    }
  }
  if (status == POE_OK) {
    status = poei_memo_put(&run->memo, expert, made, holes || is_hole(made), error);
  }
  if (status != POE_OK) {
    poe_expert_release(made);
    return status;
  }
  *out = made;
  return POE_OK;
}

poe_status poei_resolve_holes(const poe_expert *written, const poei_plan_options *options, poe_expert **resolved,
                              size_t *n, poe_expert ***holes, poe_error *error) {
  finder run = {.options = options};
  poe_status status = visit(&run, written, resolved, error);
  poei_memo_free(&run.memo);
  poei_memo_free(&run.normalised);
  if (status != POE_OK) {
    for (size_t i = 0; i < run.n; i++) {
      poe_expert_release(run.hole[i]);
    }
    poei_free(run.hole);
    return status;
  }
  *n = run.n;
  *holes = run.hole;
  return POE_OK;
}

/* ---- filling ---- */

typedef struct filler {
  size_t n;
  const poei_constant *constants;
  poei_memo memo;
} filler;

static poe_status fill(void *context, const poe_expert *expert, poe_expert **out, poe_error *error) {
  filler *run = context;
  const poei_memo_entry *known = poei_memo_find(&run->memo, expert);
  if (known != NULL) {
    *out = poe_expert_retain(known->value);
    return POE_OK;
  }
  poe_expert *made = NULL;
  poe_status status = poei_tree_rebuild(expert, fill, run, &made, error);
  for (size_t i = 0; i < run->n && status == POE_OK && is_hole(expert); i++) {
    const poei_constant *constant = &run->constants[i];
    if (constant->expert == poei_node_child(expert, 0)) {
      poe_expert *filled = NULL;
      status = poei_normalise_create(poei_node_child(made, 0), constant->log_z, constant->std_error, &filled, error);
      if (status == POE_OK) {
        poe_expert_release(made);
        made = filled;
      }
      break;
    }
  }
  if (status == POE_OK) {
    status = poei_memo_put(&run->memo, expert, made, false, error);
  }
  if (status != POE_OK) {
    poe_expert_release(made);
    return status;
  }
  *out = made;
  return POE_OK;
}

poe_status poei_fill_holes(const poe_expert *target, size_t n, const poei_constant *constants, poe_expert **out,
                           poe_error *error) {
  filler run = {.n = n, .constants = constants};
  poe_status status = fill(&run, target, out, error);
  poei_memo_free(&run.memo);
  return status;
}
