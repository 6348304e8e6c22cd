/* The table of rewriting rules and the engine that tries them.
 *
 * Children first; then the rules in the order of the table, starting over whenever one fires, until none does. What a
 * rule builds may have new children: they are rewritten too. Results are remembered by node, so that shared
 * sub-expressions stay shared and are rewritten once. A bound on the number of firings per node makes an endless loop
 * impossible; stopping early is harmless, because every step keeps the density.
 *
 * The whole tree is gone through twice: first by the rules that only move factors about, then by all. So clamped values
 * reach the factors, and factors each other, before anything is closed: in a joint Gaussian that is closed first and
 * conditioned later, a width of 1e-3 given a coordinate of width 1e3 is the difference of two large numbers.
 */
#include "compose/exact/rules.h"

#include <string.h>

#include "compose/exact/trace.h"
#include "core/alloc.h"

const poei_rule poei_rules[] = {
#define POEI_RULE_ENTRY(identifier, name, moves, doc)                                                                  \
  {name, doc, moves, poei_rule_##identifier##_applies, poei_rule_##identifier##_rewrite},
    POEI_RULE_LIST(POEI_RULE_ENTRY)
#undef POEI_RULE_ENTRY
        {0}};

enum { MOST_FIRINGS = 1000 }; /* per node */

typedef struct engine {
  const poei_plan_options *options;
  const char *only;
  bool moving; /* only by the rules that move factors about */
  poei_fired *fired;
  poei_memo memo;
  poei_trace *trace;        /* NULL: nobody wants to know                                     */
  const size_t *place;      /* traced: the target's coordinates of the node that is looked at */
  const poe_expert *origin; /* what stood there before any rule */
} engine;

void poei_fired_free(poei_fired *fired) {
  for (size_t i = 0; i < fired->n; i++) {
    poei_free(fired->item[i].what);
  }
  poei_free(fired->item);
  *fired = (poei_fired){0};
}

/* Takes ownership of `what`. */
static poe_status record(poei_fired *fired, const char *rule, char *what, poe_error *error) {
  if (what == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (fired->n == fired->capacity) {
    size_t capacity = fired->capacity == 0 ? 8 : 2 * fired->capacity;
    poei_rule_fired *item = poei_realloc(fired->item, capacity, sizeof *item);
    if (item == NULL) {
      poei_free(what);
      return poe_error_set(error, POE_E_MEMORY, "out of memory");
    }
    fired->item = item;
    fired->capacity = capacity;
  }
  fired->item[fired->n++] = (poei_rule_fired){rule, what};
  return POE_OK;
}

static poe_status visit(void *context, const poe_expert *expert, poe_expert **out, poe_error *error);

static bool wanted(const engine *run, const poei_rule *rule) {
  return run->only != NULL ? strcmp(run->only, rule->name) == 0 : rule->moves || !run->moving;
}

/* The first rule that fires on *expert replaces it; *fired says whether one did. */
static poe_status fire(engine *run, poe_expert **expert, bool *fired, poe_error *error) {
  *fired = false;
  for (const poei_rule *rule = poei_rules; rule->name != NULL && !*fired; rule++) {
    if (!wanted(run, rule) || !rule->applies(*expert)) {
      continue;
    }
    poe_expert *next = NULL;
    char *what = NULL;
    poe_status status = rule->rewrite(*expert, run->options, &next, &what, error);
    if (status != POE_OK) {
      return status;
    }
    if (next != NULL) {
      status = record(run->fired, rule->name, what, error);
      if (status == POE_OK && run->trace != NULL) {
        status = poei_trace_fired(run->trace, rule->name, what, run->origin, *expert, next, run->place, error);
      }
      poe_expert_release(*expert);
      *expert = next;
      *fired = true;
      if (status != POE_OK) {
        return status;
      }
    }
  }
  return POE_OK;
}

/* The children of one node in order, each with its place. */
typedef struct descent {
  engine *run;
  const poe_expert *node;
  size_t next;
} descent;

static poe_status visit_child(void *context, const poe_expert *expert, poe_expert **out, poe_error *error) {
  descent *down = context;
  const size_t *place = down->run->place;
  size_t *own = poei_child_place(down->node, down->next++, place);
  if (own == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  down->run->place = own;
  poe_status status = visit(down->run, expert, out, error);
  down->run->place = place;
  poei_free(own);
  return status;
}

static poe_status rebuild(engine *run, const poe_expert *expert, poe_expert **out, poe_error *error) {
  if (run->trace == NULL) {
    return poei_tree_rebuild(expert, visit, run, out, error);
  }
  descent down = {run, expert, 0};
  return poei_tree_rebuild(expert, visit_child, &down, out, error);
}

static poe_status visit(void *context, const poe_expert *expert, poe_expert **out, poe_error *error) {
  engine *run = context;
  const poei_memo_entry *known = poei_memo_find(&run->memo, expert);
  if (known != NULL) {
    *out = poe_expert_retain(known->value);
    return POE_OK;
  }
  poe_expert *current = NULL;
  poe_status status = rebuild(run, expert, &current, error);
  bool fired = status == POE_OK;
  for (size_t step = 0; status == POE_OK && fired && step < MOST_FIRINGS; step++) {
    run->origin = expert;
    status = fire(run, &current, &fired, error);
    if (status == POE_OK && fired) {
      poe_expert *next = NULL;
      status = rebuild(run, current, &next, error);
      if (status == POE_OK) {
        poe_expert_release(current);
        current = next;
      }
    }
  }
  if (status == POE_OK) {
    status = poei_memo_put(&run->memo, expert, current, false, error);
  }
  if (status == POE_OK && current != expert) {
    status = poei_memo_put(&run->memo, current, current, false, error);
  }
  if (status == POE_OK && run->trace != NULL) {
    status = poei_trace_made(run->trace, current, expert, error);
  }
  if (status != POE_OK) {
    poe_expert_release(current);
    return status;
  }
  *out = current;
  return POE_OK;
}

poe_status poei_rewrite(const poe_expert *expert, const poei_plan_options *options, const char *only, poei_fired *fired,
                        poe_expert **out, poe_error *error) {
  size_t dim = poe_expert_traits(expert)->dim;
  size_t *place = options->trace == NULL ? NULL : poei_alloc(dim, sizeof *place);
  if (options->trace != NULL && place == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t j = 0; place != NULL && j < dim; j++) {
    place[j] = j;
  }
  poe_expert *current = poe_expert_retain(expert);
  poe_status status = POE_OK;
  for (int pass = only == NULL ? 0 : 1; pass < 2 && status == POE_OK; pass++) {
    engine run = {options, only, pass == 0, fired, {0}, options->trace, place, current};
    poe_expert *next = NULL;
    status = visit(&run, current, &next, error);
    poei_memo_free(&run.memo);
    poe_expert_release(current);
    current = next;
  }
  poei_free(place);
  if (status == POE_OK) {
    *out = current;
  }
  return status;
}
