/* A plan in JSON: the method with its reason, what it needs, and the plans that it is made of. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "answer/explain_parts.h"
#include "compose/exact/discrete.h"
#include "compose/exact/words.h"
#include "core/alloc.h"
#include "experts/sparse_normal.h"

/* ---- memory ---- */

/* Numbers of the sparse Gaussians in a tree: of their precisions, and of the factors of these. */
static void count_sparse(const poe_expert *expert, size_t *precision, size_t *factor) {
  const poei_sparse_normal *normal = poei_sparse_normal_of(expert);
  if (normal != NULL) {
    *precision += normal->precision.start[normal->d];
    *factor += normal->factor->start[normal->d];
  }
  for (size_t i = 0; i < poei_node_child_count(expert); i++) {
    count_sparse(poei_node_child(expert, i), precision, factor);
  }
}

static json_t *memory_json(const poei_plan *plan, poe_error *error) {
  json_t *memory = json_pack("{s:I}", "scratch_bytes_per_worker", (json_int_t)plan->scratch_bytes);
  poe_status status = poei_json_made(memory, error);
  const poei_discrete *discrete;
  const poei_junction *junction;
  if (plan->sampler != NULL && poei_elimination_parts(plan->sampler, &discrete, &junction)) {
    poei_junction_size size = poei_junction_size_of(junction);
    status = poei_json_set(status, memory, "treewidth", json_integer((json_int_t)size.width), error);
    status = poei_json_set(status, memory, "largest_clique_states", json_real(round(size.states)), error);
    status = poei_json_set(status, memory, "table_bytes", json_real(round(size.bytes)), error);
  }
  size_t precision = 0, factor = 0;
  count_sparse(plan->expert, &precision, &factor);
  if (factor > 0) {
    status = poei_json_set(status, memory, "precision_nonzeros", json_integer((json_int_t)precision), error);
    status = poei_json_set(status, memory, "factor_nonzeros", json_integer((json_int_t)factor), error);
  }
  if (status != POE_OK) {
    json_decref(memory);
    return NULL;
  }
  return memory;
}

/* ---- parts ---- */

static const char *part_role(const poei_plan *plan, size_t i) {
  switch (plan->method) {
  case POEI_METHOD_MIXTURE:
    return "component";
  case POEI_METHOD_BLOCKS:
    return "block";
  case POEI_METHOD_REST:
    return i == 0 ? "the Gaussian part: integrated and drawn exactly, given the other part"
                  : "what the other factors read, with the Gaussian's marginal there";
  case POEI_METHOD_JOINT:
    return "the joint density with the latent variables";
  case POEI_METHOD_MARGINAL:
    return "the continuous coordinates, the discrete ones summed out";
  default:
    return "part";
  }
}

/* The program's coordinates of part i. */
static size_t *part_ids(const poei_plan *plan, size_t i, const size_t *ids) {
  const poei_plan *part = plan->parts[i];
  const size_t *index = plan->part_index == NULL ? NULL : plan->part_index[i];
  size_t *own = poei_alloc(part->dim, sizeof *own);
  for (size_t j = 0; own != NULL && j < part->dim; j++) {
    size_t at = index == NULL ? j : index[j];
    own[j] = at < plan->dim ? ids[at] : SIZE_MAX;
  }
  return own;
}

static json_t *over_json(const poei_teller *teller, const poei_plan *plan, size_t n, const size_t *ids) {
  char over[POEI_TOLD_SIZE];
  poei_teller_over(teller, n, ids, over, sizeof over);
  if (plan->method == POEI_METHOD_JOINT) {
    size_t used = strlen(over);
    snprintf(over + used, sizeof over - used, " and the latent variables");
  }
  return json_string(over);
}

/* Part i over ids[its dim] of the program. */
static poe_status part_json(const poei_teller *teller, const poei_plan *plan, size_t i, const size_t *ids, json_t **out,
                            poe_error *error) {
  const poei_plan *part = plan->parts[i];
  char text[POEI_TOLD_SIZE];
  poei_teller_text(teller, part->written, ids, text, sizeof text);
  json_t *item = json_pack("{s:s,s:s,s:I,s:I}", "role", part_role(plan, i), "expression", text, "dimensions",
                           (json_int_t)part->dim, "times", (json_int_t)1);
  poe_status status = poei_json_made(item, error);
  if (status == POE_OK && plan->method == POEI_METHOD_MIXTURE) {
    status = poei_json_set(status, item, "probability", json_real(exp(plan->part_log_weight[i])), error);
  }
  if (status == POE_OK) {
    status = poei_json_set(status, item, "over", over_json(teller, plan, part->dim, ids), error);
  }
  if (status == POE_OK) {
    status = poei_explain_plan(teller, part, ids, item, error);
  }
  if (status != POE_OK) {
    json_decref(item);
    return status;
  }
  *out = item;
  return POE_OK;
}

/* Do two parts read the same, but for their variables and probabilities? */
static poe_status same_part(const json_t *a, const json_t *b, bool *same, poe_error *error) {
  static const char *const own[] = {"times", "probability", "over"};
  json_t *x = json_copy((json_t *)(uintptr_t)a), *y = json_copy((json_t *)(uintptr_t)b);
  poe_status status = x == NULL ? poei_json_made(x, error) : poei_json_made(y, error);
  for (size_t k = 0; status == POE_OK && k < sizeof own / sizeof own[0]; k++) {
    json_object_del(x, own[k]);
    json_object_del(y, own[k]);
  }
  *same = status == POE_OK && json_equal(x, y);
  json_decref(x);
  json_decref(y);
  return status;
}

/* The list of parts so far; the last one may stand for several, over ids[n] together. */
typedef struct part_list {
  json_t *list;
  size_t n, *ids;
} part_list;

/* Appends a part over ids[dim], or counts it to the last one. Takes `item`. */
static poe_status append_part(const poei_teller *teller, const poei_plan *plan, part_list *parts, json_t *item,
                              size_t dim, const size_t *ids, poe_error *error) {
  json_t *last = json_array_get(parts->list, json_array_size(parts->list) - 1);
  bool same = false;
  poe_status status = last == NULL ? POE_OK : same_part(last, item, &same, error);
  size_t before = same ? parts->n : 0;
  size_t *together = status == POE_OK ? poei_realloc(parts->ids, before + dim, sizeof *together) : NULL;
  if (status != POE_OK || together == NULL) {
    json_decref(item);
    return status != POE_OK ? status : poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  memcpy(together + before, ids, dim * sizeof *ids);
  parts->ids = together;
  parts->n = before + dim;
  if (!same) {
    return poei_json_append(POE_OK, parts->list, item, error);
  }
  const json_t *share = json_object_get(item, "probability");
  double sum = json_real_value(json_object_get(last, "probability")) + json_real_value(share);
  json_int_t times = json_integer_value(json_object_get(last, "times")) + 1;
  status = poei_json_set(status, last, "times", json_integer(times), error);
  if (share != NULL) {
    status = poei_json_set(status, last, "probability", json_real(sum), error);
  } else if (plan->method == POEI_METHOD_BLOCKS) {
    status = poei_json_set(status, last, "over", over_json(teller, plan, parts->n, parts->ids), error);
  }
  json_decref(item);
  return status;
}

static poe_status parts_json(const poei_teller *teller, const poei_plan *plan, const size_t *ids, json_t *out,
                             poe_error *error) {
  enum { FEW_PARTS = 12 }; /* more are told together, whatever their step */
  part_list parts = {.list = json_array()};
  poei_teller exact = *teller;
  exact.steps = plan->n_parts <= FEW_PARTS;
  poe_status status = poei_json_made(parts.list, error);
  for (size_t i = 0; i < plan->n_parts && status == POE_OK; i++) {
    json_t *item = NULL;
    size_t *own = plan->parts[i] == NULL ? NULL : part_ids(plan, i, ids);
    if (plan->parts[i] == NULL) {
      continue;
    }
    status = own == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                         : part_json(&exact, plan, i, own, &item, error);
    if (status == POE_OK) {
      status = append_part(teller, plan, &parts, item, plan->parts[i]->dim, own, error);
    }
    poei_free(own);
  }
  poei_free(parts.ids);
  return poei_json_set(status, out, "parts", parts.list, error);
}

/* ---- the path of sequential Monte Carlo ---- */

static const char *path_text(const poei_teller *teller, const poe_expert *smooth, const size_t *ids, char *text,
                             size_t size) {
  bool wrapped = poei_node_kind_of(smooth) == POEI_NODE_transform;
  return poei_teller_text(teller, wrapped ? poei_node_child(smooth, 0) : smooth, ids, text, size);
}

static json_t *path_json(const poei_teller *teller, const poei_plan *plan, const size_t *ids) {
  char from[POEI_TOLD_SIZE], by[POEI_TOLD_SIZE];
  path_text(teller, plan->base, ids, from, sizeof from);
  path_text(teller, plan->rest, ids, by, sizeof by);
  return json_pack("{s:s,s:s}", "from", from, "through", by);
}

/* ---- plans ---- */

poe_status poei_explain_plan(const poei_teller *teller, const poei_plan *plan, const size_t *ids, json_t *out,
                             poe_error *error) {
  poe_status status = poei_json_set(POE_OK, out, "method", json_string(poei_method_word(plan->method)), error);
  status = poei_json_set(status, out, "exact", json_boolean(plan->exact), error);
  poei_method log_z = plan->has_log_z ? plan->log_z_method : plan->method;
  bool known = plan->has_log_z && plan->log_z_error == 0.0;
  status = poei_json_set(status, out, "log_z_method", json_string(poei_method_word(log_z)), error);
  status = poei_json_set(status, out, "log_z_exact", json_boolean(known), error);
  status = poei_json_set(status, out, "reason", json_string(plan->reason), error);
  if (plan->caution != NULL) {
    status = poei_json_set(status, out, "caution", json_string(plan->caution), error);
  }
  status = poei_json_set(status, out, "scratch_bytes", json_integer((json_int_t)plan->scratch_bytes), error);
  if (status == POE_OK) {
    status = poei_json_set(status, out, "memory", memory_json(plan, error), error);
  }
  if (status == POE_OK && plan->base != NULL && plan->rest != NULL) {
    status = poei_json_set(status, out, "path", path_json(teller, plan, ids), error);
  }
  if (status == POE_OK && plan->n_parts > 0) {
    status = parts_json(teller, plan, ids, out, error);
  }
  return status;
}

/* ---- what stands in the way of an exact answer ---- */

enum { MOST_OBSTACLES = 32 };

typedef struct obstacle_list {
  size_t n;
  const poei_outline *node[MOST_OBSTACLES];
  size_t dim[MOST_OBSTACLES];
  const char *kind[MOST_OBSTACLES];
  char words[MOST_OBSTACLES][POEI_WORDS_SIZE];
} obstacle_list;

/* The call of a family underneath what a leaf was wrapped in. */
static const poe_expert *family_of(const poe_expert *expert) {
  while (poei_node_kind_of(expert) != POEI_NODE_LEAF && poei_node_child_count(expert) == 1) {
    expert = poei_node_child(expert, 0);
  }
  return expert;
}

static bool find_obstacle(void *context, const poe_expert *expert, size_t dim, const size_t *ids,
                          const poei_outline *node, const char *step) {
  (void)step;
  (void)dim;
  (void)ids;
  obstacle_list *all = context;
  const poe_expert *leaf = family_of(expert);
  unsigned closed = poe_expert_traits(leaf)->capabilities & (POE_CAN_FORM | POE_CAN_STRUCTURE);
  if (node->text == NULL || poei_node_kind_of(leaf) != POEI_NODE_LEAF || closed != 0 || node->again) {
    return true;
  }
  for (size_t i = 0; i < all->n; i++) {
    if (all->node[i] == node) { /* one of several equal ones */
      return true;
    }
  }
  if (all->n < MOST_OBSTACLES) {
    poei_expert_words(leaf, all->words[all->n], sizeof all->words[0]);
    all->kind[all->n] = poe_expert_ops_of(leaf)->kind;
    all->dim[all->n] = poe_expert_traits(leaf)->dim;
    all->node[all->n++] = node;
  }
  return true;
}

/* "`eight` at 5:9 is a neural energy over 784 variables" */
static void obstacle_text(const poei_session *session, const obstacle_list *all, size_t i, char *text, size_t size) {
  const poei_outline *node = all->node[i];
  char place[POE_ERROR_FILE_SIZE + 32] = "", many[32] = "", is[POEI_WORDS_SIZE + 64];
  if (node->line > 0) {
    bool main = strcmp(node->file, poei_program_path(session->program)) == 0;
    snprintf(place, sizeof place, " at %s%s%d:%d", main ? "" : node->file, main ? "" : ":", node->line, node->column);
  }
  if (node->count > 1) {
    snprintf(many, sizeof many, ", %zu times", node->count);
  }
  snprintf(is, sizeof is, "%s %s over %zu variable%s%s", poei_article(all->words[i]), all->words[i], all->dim[i],
           all->dim[i] == 1 ? "" : "s", many);
  if (node->name != NULL) {
    snprintf(text, size, "`%s`%s is %s", node->name, place, is);
  } else if (node->inside != NULL) {
    snprintf(text, size, "`%s` has%s %s", node->inside, place, is);
  } else {
    snprintf(text, size, "%s%s", is, place);
  }
}

poe_status poei_explain_obstacles(const poei_session *session, const poei_outline *outline, json_t **out,
                                  poe_error *error) {
  obstacle_list *all = poei_calloc(1, sizeof *all);
  json_t *list = json_array();
  poe_status status = all == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : poei_json_made(list, error);
  if (status == POE_OK) {
    poei_outline_mentions(outline, find_obstacle, all);
  }
  for (size_t i = 0; status == POE_OK && i < all->n; i++) {
    const poei_outline *node = all->node[i];
    char text[POEI_TOLD_SIZE + POE_ERROR_FILE_SIZE];
    obstacle_text(session, all, i, text, sizeof text);
    json_t *item = json_pack("{s:s?,s:s,s:s,s:I,s:I,s:s,s:i,s:i}", "expert", node->name, "kind", all->kind[i], "what",
                             text, "dimensions", (json_int_t)all->dim[i], "times", (json_int_t)node->count, "file",
                             node->file, "line", node->line, "column", node->column);
    status = poei_json_append(status, list, item, error);
  }
  poei_free(all);
  if (status != POE_OK) {
    json_decref(list);
    return status;
  }
  *out = list;
  return POE_OK;
}
