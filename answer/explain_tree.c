/* The tree as written, in JSON. */
#include <math.h>
#include <string.h>

#include "answer/explain_parts.h"

static json_t *over_json(const poei_outline *node, poe_error *error) {
  json_t *list = json_array();
  poe_status status = poei_json_made(list, error);
  for (size_t i = 0; i < node->n_over && status == POE_OK; i++) {
    const poei_outline_over *over = &node->over[i];
    json_t *item = json_pack("{s:s,s:s,s:I,s:I,s:b}", "name", over->name, "text", over->text, "count",
                             (json_int_t)over->count, "of", (json_int_t)over->of, "derived", (int)over->derived);
    status = poei_json_append(status, list, item, error);
  }
  if (status != POE_OK) {
    json_decref(list);
    return NULL;
  }
  return list;
}

/* The coordinates that disappear at a node, with the values they are given. */
static json_t *gone_json(const poei_program *program, const poei_outline *node, poe_error *error) {
  enum { MOST_VALUES = 1000 };
  json_t *list = json_array();
  char name[POEI_NAME_SIZE];
  poe_status status = poei_json_made(list, error);
  for (size_t i = 0; i < node->n_gone && i < MOST_VALUES && status == POE_OK; i++) {
    poei_program_coordinate_text(program, node->gone[i], name, sizeof name);
    json_t *item = node->gone_value != NULL ? json_pack("{s:s,s:f}", "variable", name, "value", node->gone_value[i])
                                            : json_pack("{s:s}", "variable", name);
    status = poei_json_append(status, list, item, error);
  }
  if (status != POE_OK) {
    json_decref(list);
    return NULL;
  }
  return list;
}

/* What only some nodes have. */
static poe_status more_json(const poei_program *program, const poei_outline *node, const char *role, json_t *out,
                            poe_error *error) {
  poe_status status = POE_OK;
  if (role != NULL) {
    status = poei_json_set(status, out, role, json_real(node->factor), error);
  }
  if (node->count != 1) {
    status = poei_json_set(status, out, "count", json_integer((json_int_t)node->count), error);
  }
  if (node->step != NULL) {
    status = poei_json_set(status, out, "step", json_string(node->step), error);
  }
  if (node->again) {
    status = poei_json_set(status, out, "again", json_true(), error);
  }
  if (node->n_gone > 0) {
    char over[256];
    poei_program_over_text(program, node->n_gone, node->gone, over, sizeof over);
    const char *key = node->gone_value != NULL ? "given" : "without";
    status = poei_json_set(status, out, key, json_string(over), error);
    if (status == POE_OK) {
      status = poei_json_set(status, out, "coordinates", gone_json(program, node, error), error);
    }
  }
  if (node->kind[0] == 'm' && node->n_gone > 0 && isfinite(node->beta) && node->beta != 1.0) {
    status = poei_json_set(status, out, "beta", json_real(node->beta), error);
  }
  return status;
}

/* What the factor of a node is called: a weight in a mixture, an exponent elsewhere, told when it is not 1. */
static const char *factor_role(const poei_outline *parent, const poei_outline *node) {
  if (parent != NULL && parent->term != NULL && strcmp(parent->kind, "mixture") == 0) {
    return "weight";
  }
  return node->factor != 1.0 ? "exponent" : NULL;
}

static poe_status node_json(const poei_program *program, const poei_outline *parent, const poei_outline *node,
                            json_t **out, poe_error *error) {
  json_t *tree = json_pack("{s:s,s:s?,s:s?,s:{s:s,s:i,s:i}}", "kind", node->kind, "name", node->name, "text",
                           node->text, "place", "file", node->file, "line", node->line, "column", node->column);
  json_t *children = json_array();
  poe_status status = poei_json_made(tree, error);
  status = status == POE_OK ? poei_json_made(children, error) : status;
  if (status == POE_OK) {
    status = poei_json_set(status, tree, "variables", over_json(node, error), error);
  }
  if (status == POE_OK) {
    status = more_json(program, node, factor_role(parent, node), tree, error);
  }
  for (size_t i = 0; i < node->n && status == POE_OK; i++) {
    json_t *child = NULL;
    status = node_json(program, node, node->children[i], &child, error);
    status = status == POE_OK ? poei_json_append(status, children, child, error) : status;
  }
  if (tree == NULL) {
    json_decref(children);
    return status;
  }
  status = poei_json_set(status, tree, "children", children, error);
  if (status != POE_OK) {
    json_decref(tree);
    return status;
  }
  *out = tree;
  return POE_OK;
}

poe_status poei_explain_tree(const poei_program *program, const poei_outline *outline, json_t **out, poe_error *error) {
  return node_json(program, NULL, outline, out, error);
}
