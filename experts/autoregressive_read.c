/* Opening autoregressive(x | file=...) (experts/autoregressive.h): the network, what its output means, and the order of
 * the coordinates.
 *
 * A network over sequences that can be walked through (net/net.h) is autoregressive by its operators, in the order of
 * its positions. For others it is found through weights that are not 0 (net/dependence.h). */
#include "experts/autoregressive.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "experts/family.h"
#include "experts/network.h"
#include "formats/file_error.h"
#include "net/compile.h"
#include "net/dependence.h"
#include "net/layers.h"

void poei_autoregressive_destroy(void *self) {
  poei_autoregressive *a = self;
  if (a != NULL) {
    poei_net_release(a->net);
    poei_free(a->order);
    poei_free(a->first);
    poei_free(a->turn);
    poei_free(a->need);
    poei_free(a->support);
    poei_free(a->head);
    poei_free(a);
  }
}

/* ---- creation ---- */

/* The variable's values must be those of the conditional densities. */
static poe_status autoregressive_values(const poe_args *args, const poei_autoregressive *a, poe_error *error) {
  const poe_subject *subject = NULL;
  for (size_t j = 0; j < a->d; j++) {
    const poe_support *s = poei_family_support(args, j, &subject);
    bool continuous = a->conditional.values == 0;
    bool fits = continuous ? s->kind == POE_CONTINUOUS && isinf(s->low) && isinf(s->high)
                           : s->kind == POE_DISCRETE && s->low == 0.0 && s->high + 1.0 == (double)a->conditional.values;
    if (fits) {
      continue;
    }
    poe_status status =
        continuous
            ? poe_error_set(error, POE_E_TYPE, "the model in '%s' is over real numbers without bounds, but `%s` is not",
                            poe_args_find(args, "file")->text, subject->name)
            : poe_error_set(error, POE_E_TYPE, "the model in '%s' is over %zu values, but those of `%s` are others",
                            poe_args_find(args, "file")->text, a->conditional.values, subject->name);
    if (!continuous) {
      poe_error_hint(error, "declare it as %s", a->conditional.values == 2 ? "`binary`" : "`int(k)`");
    }
    return status;
  }
  return POE_OK;
}

/* poe.output: the conditional densities and where their parameters stand. */
static poe_status autoregressive_output(const poei_tensor_file *file, poei_autoregressive *a, poe_error *error) {
  json_t *output = NULL;
  poe_status status = poei_layers_metadata(file, "poe.output", &output, error);
  if (status != POE_OK) {
    return status;
  }
  poe_error inner = {0};
  const json_t *layout = json_object_get(output, "layout");
  const char *word = layout == NULL ? "grouped" : json_string_value(layout);
  bool grouped = word != NULL && strcmp(word, "grouped") == 0;
  if (layout == NULL && poei_net_positions(a->net) > 0) { /* parameters stand at their position */
    word = "interleaved";
    grouped = false;
  }
  status = poei_conditional_read(output, &a->conditional, &inner);
  if (status == POE_OK && !grouped && (word == NULL || strcmp(word, "interleaved") != 0)) {
    status = poe_error_set(&inner, POE_E_FORMAT, "poe.output: 'layout' must be \"grouped\" or \"interleaved\"");
  }
  size_t given = poei_net_out_dim(a->net),
         wanted = a->d * a->conditional.parameters; /* both small: see POEI_MAX_VALUE */
  if (status == POE_OK && given != wanted) {
    status =
        poe_error_set(&inner, POE_E_SHAPE, "the network gives %zu numbers, but %zu for each of %zu coordinates are %zu",
                      given, a->conditional.parameters, a->d, wanted);
  }
  if (status == POE_OK) {
    const poei_shape *in = &a->net->graph->nodes[0].shape;
    a->plane = grouped ? a->d : in->ndim == 3 ? in->size[1] * in->size[2] : 1;
  } else {
    poei_file_error(error, status, poei_tensor_file_path(file), NULL, "%s", inner.message);
    if (inner.hint[0] != '\0') {
      poe_error_hint(error, "%s", inner.hint);
    }
  }
  json_decref(output);
  return status;
}

/* Sorts the coordinates by level, each level ascending. */
static void autoregressive_sort(poei_autoregressive *a, const size_t *level) {
  size_t placed = 0;
  for (a->levels = 0; placed < a->d; a->levels++) {
    a->first[a->levels] = placed;
    for (size_t j = 0; j < a->d; j++) {
      if (level[j] == a->levels) {
        a->order[placed++] = j;
      }
    }
  }
  a->first[a->levels] = placed;
}

/* Which coordinate a number of the network's output is a parameter of. */
static size_t autoregressive_owner(const poei_autoregressive *a, size_t o) {
  return o / (a->conditional.parameters * a->plane) * a->plane + o % a->plane;
}

/* Positions of a network over sequences whose parameters stand at the position of their coordinate; else 0. */
static size_t autoregressive_positions(const poei_autoregressive *a) {
  size_t positions = poei_net_positions(a->net), outputs = poei_net_out_dim(a->net);
  if (positions == 0 || a->d % positions != 0) {
    return 0;
  }
  for (size_t o = 0; o < outputs; o++) {
    if (autoregressive_owner(a, o) / (a->d / positions) != o / (outputs / positions)) {
      return 0;
    }
  }
  return positions;
}

/* With an end symbol every coordinate depends on all before it: each has a level of its own, if the network allows
 * that order. needs[outputs, words] is work space. */
static poe_status autoregressive_in_turn(const poei_autoregressive *a, uint64_t *needs, size_t *level,
                                         poe_error *error) {
  size_t words = poei_dependence_words(a->d);
  poe_status status = poei_dependence_find(a->net->graph, needs, error);
  for (size_t o = 0; status == POE_OK && o < poei_net_out_dim(a->net); o++) {
    for (size_t i = autoregressive_owner(a, o); i < a->d; i++) {
      if ((needs[o * words + i / 64] >> i % 64 & 1) != 0) {
        return poe_error_set(error, POE_E_FORMAT,
                             "with an 'end' coordinates follow each other in turn, but the parameters of coordinate "
                             "%zu depend on coordinate %zu",
                             autoregressive_owner(a, o), i);
      }
    }
  }
  for (size_t j = 0; j < a->d; j++) {
    level[j] = j;
  }
  return status;
}

/* Levels of a network that is not walked through; owner[outputs] and level[d] are to be filled. */
static poe_status autoregressive_levels(const poei_autoregressive *a, size_t *owner, size_t *level, poe_error *error) {
  size_t outputs = poei_net_out_dim(a->net);
  if (!a->conditional.ends) {
    for (size_t o = 0; o < outputs; o++) {
      owner[o] = autoregressive_owner(a, o);
    }
    return poei_dependence_levels(a->net->graph, owner, level, error);
  }
  uint64_t *needs = poei_calloc(outputs * poei_dependence_words(a->d), sizeof *needs);
  poe_status status = needs == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory for a network")
                                    : autoregressive_in_turn(a, needs, level, error);
  poei_free(needs);
  return status;
}

/* The coordinates one after the other. Their numbers are an order that all experts can share, and one that what is
 * given often begins (the upper rows of an image); so they are taken if the network allows them. needs[outputs, words]
 * is work space, not needed by networks that are walked through or have an end: their levels are in that order. */
static poe_status autoregressive_turns(const poei_autoregressive *a, uint64_t *needs, poe_error *error) {
  for (size_t level = 0; level < a->levels; level++) {
    for (size_t k = a->first[level]; k < a->first[level + 1]; k++) {
      a->turn[k] = a->order[k];
      a->need[k] = a->first[level];
    }
  }
  if (a->positions > 0 || a->conditional.ends) {
    return POE_OK;
  }
  size_t words = poei_dependence_words(a->d), outputs = poei_net_out_dim(a->net);
  poe_status status = poei_dependence_find(a->net->graph, needs, error);
  for (size_t o = 0; o < outputs && status == POE_OK; o++) {
    for (size_t i = autoregressive_owner(a, o); i < a->d; i++) {
      if ((needs[o * words + i / 64] >> i % 64 & 1) != 0) {
        return POE_OK;
      }
    }
  }
  for (size_t j = 0; j < a->d && status == POE_OK; j++) {
    a->turn[j] = j;
    a->need[j] = 0;
  }
  for (size_t o = 0; o < outputs && status == POE_OK; o++) {
    size_t j = autoregressive_owner(a, o), i = j;
    while (i > a->need[j] && (needs[o * words + (i - 1) / 64] >> (i - 1) % 64 & 1) == 0) {
      i--;
    }
    a->need[j] = i;
  }
  return status;
}

/* Whether the graph has an operator that sees the position it stands at and those before. */
static bool autoregressive_recurs(const poei_graph *graph) {
  bool recurs = false;
  for (size_t i = 0; i < graph->n_nodes; i++) {
    recurs = recurs || graph->nodes[i].op == POEI_OP_GRU || graph->nodes[i].op == POEI_OP_LSTM;
  }
  return recurs;
}

/* Shows that the network is autoregressive and finds its order. */
static poe_status autoregressive_order(const poei_tensor_file *file, poei_autoregressive *a, poe_error *error) {
  size_t *owner = poei_alloc(poei_net_out_dim(a->net), sizeof *owner), *level = poei_calloc(a->d, sizeof *level);
  a->order = poei_alloc(a->d, sizeof *a->order);
  a->first = poei_alloc(a->d + 1, sizeof *a->first);
  a->turn = poei_alloc(a->d, sizeof *a->turn);
  a->need = poei_alloc(a->d, sizeof *a->need);
  a->positions = autoregressive_positions(a);
  bool looks = a->positions == 0 && !a->conditional.ends; /* long sequences would need much memory */
  uint64_t *needs = poei_alloc(looks ? poei_net_out_dim(a->net) : 1, poei_dependence_words(a->d) * sizeof *needs);
  poe_error inner = {0};
  poe_status status = POE_OK;
  if (owner == NULL || level == NULL || a->order == NULL || a->first == NULL || a->turn == NULL || a->need == NULL ||
      needs == NULL) {
    status = poei_file_memory_error(error, poei_tensor_file_path(file));
  } else {
    status = a->positions > 0 ? POE_OK : autoregressive_levels(a, owner, level, &inner);
    if (status == POE_OK) {
      autoregressive_sort(a, level);
      status = autoregressive_turns(a, needs, &inner);
    }
    if (status != POE_OK) {
      poei_file_error(error, status, poei_tensor_file_path(file), NULL, "%s", inner.message);
      if (status == POE_E_FORMAT && autoregressive_recurs(a->net->graph)) {
        poe_error_hint(error,
                       "put {\"op\": \"shift\"} before the recurrent layers, so that they see what comes before");
      }
    }
  }
  poei_free(needs);
  poei_free(owner);
  poei_free(level);
  return status;
}

static poe_status autoregressive_read(const poe_args *args, const poei_tensor_file *file, poei_autoregressive *a,
                                      poe_error *error) {
  const poe_arg *precision = poe_args_find(args, "precision");
  poei_net_source source = {.file = file, .in_dim = a->d, .precision = precision == NULL ? NULL : precision->text};
  source.integers = true;
  for (size_t j = 0; j < a->d; j++) {
    source.integers = source.integers && a->support[j].kind == POE_DISCRETE;
  }
  poe_status status = poei_net_check_family(file, "autoregressive", error);
  status = status == POE_OK ? poei_net_load(&source, &a->net, error) : status;
  status = status == POE_OK ? autoregressive_output(file, a, error) : status;
  return status == POE_OK ? autoregressive_order(file, a, error) : status;
}

poe_status poei_autoregressive_create(const poe_args *args, void **self, poe_error *error) {
  const poe_arg *path = poe_args_find(args, "file");
  if (poe_args_dim(args) == 0 || path == NULL) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs %s", args->kind,
                         path == NULL ? "`file`" : "a variable before the bar");
  }
  poei_autoregressive *a = poei_calloc(1, sizeof *a);
  if (a == NULL) {
    return poei_family_memory(args->kind, error);
  }
  a->d = poe_args_dim(args);
  a->support = poei_family_declared(args);
  a->head = poei_family_heads(a->d);
  poei_tensor_file *file = NULL;
  poe_status status = a->support == NULL || a->head == NULL ? poei_family_memory(args->kind, error)
                                                            : poei_network_file(args, &file, error);
  status = status == POE_OK ? autoregressive_read(args, file, a, error) : status;
  status = status == POE_OK ? autoregressive_values(args, a, error) : status;
  poei_tensor_file_close(file);
  status = poei_family_file_status(status, error);
  if (status != POE_OK) {
    poe_error_at(error, NULL, path->line, path->column, path->span);
    poei_autoregressive_destroy(a);
    return status;
  }
  *self = a;
  return POE_OK;
}
