/* What the UAI files of a target hold. A network has no lines of the program's language to point at: its variables and
 * tables are told by the numbers that the file gives them, both from 0.
 */
#include <string.h>

#include "answer/explain_parts.h"
#include "compose/nodes/nodes.h"
#include "formats/uai.h"

typedef struct search {
  const poei_program *program;
  json_t *list;
  const poei_outline *last;
  poe_status status;
  poe_error *error;
} search;

/* "1, 4, 7" of a table's variables. */
static void variables_text(const poei_uai_factor *factor, char *text, size_t size) {
  size_t used = 0;
  text[0] = '\0';
  for (size_t j = 0; j < factor->n; j++) {
    if (used + 32 > size) {
      snprintf(text + used, size - used, ", ...");
      return;
    }
    used += (size_t)snprintf(text + used, size - used, "%s%zu", j > 0 ? ", " : "", factor->variable[j]);
  }
}

static json_t *network_json(const poei_outline *node, const char *path, const poei_uai *network) {
  size_t largest = 0;
  char variables[256] = "";
  for (size_t f = 1; f < network->factors; f++) {
    largest = network->factor[f].states > network->factor[largest].states ? f : largest;
  }
  json_t *out =
      json_pack("{s:s?,s:s,s:s,s:I,s:I}", "name", node->name, "file", path, "type", network->bayes ? "BAYES" : "MARKOV",
                "variables", (json_int_t)network->n, "tables", (json_int_t)network->factors);
  if (out != NULL && network->factors > 0) {
    const poei_uai_factor *factor = &network->factor[largest];
    variables_text(factor, variables, sizeof variables);
    json_t *table = json_pack("{s:I,s:I,s:s}", "table", (json_int_t)largest, "entries", (json_int_t)factor->states,
                              "variables", variables);
    if (json_object_set_new(out, "largest", table) != 0) {
      json_decref(out);
      return NULL;
    }
  }
  return out;
}

static bool find_network(void *context, const poe_expert *expert, size_t dim, const size_t *ids,
                         const poei_outline *node, const char *step) {
  (void)step;
  (void)dim;
  (void)ids;
  search *s = context;
  while (poei_node_kind_of(expert) != POEI_NODE_LEAF && poei_node_child_count(expert) == 1) {
    expert = poei_node_child(expert, 0);
  }
  size_t n = 0;
  const poe_arg *args = strcmp(node->kind, "uai") == 0 && node != s->last && !node->again
                            ? poei_program_arguments(s->program, expert, &n)
                            : NULL;
  s->last = node;
  for (size_t i = 0; args != NULL && i < n && s->status == POE_OK; i++) {
    poei_uai network = {0};
    if (strcmp(args[i].name, "file") == 0 && poei_uai_read(args[i].text, &network, s->error) == POE_OK) {
      s->status = poei_json_append(POE_OK, s->list, network_json(node, args[i].text, &network), s->error);
      poei_uai_free(&network);
    }
  }
  return s->status == POE_OK;
}

poe_status poei_explain_networks(const poei_program *program, const poei_outline *outline, json_t **out,
                                 poe_error *error) {
  search s = {.program = program, .list = json_array(), .error = error};
  s.status = poei_json_made(s.list, error);
  if (s.status == POE_OK) {
    poei_outline_mentions(outline, find_network, &s);
  }
  if (s.status != POE_OK) {
    json_decref(s.list);
    return s.status;
  }
  *out = s.list;
  return POE_OK;
}
