/* Dependences through a graph (net/dependence.h): bit sets, forwards, one operator after the other. */
#include "net/dependence.h"

#include <string.h>

#include "core/alloc.h"
#include "net/op_parts.h"

/* Words of bit sets over all numbers of a network above which it is refused. */
#define DEPENDENCE_MAX_WORDS ((size_t)1 << 26)

size_t poei_dependence_words(size_t m) {
  return (m + 63) / 64;
}

/* The sets of every node, one after the other in `sets`; where[i]: those of node i begin there. */
static poe_status dependence_spread(const poei_graph *graph, size_t words, const size_t *where, uint64_t *sets,
                                    poe_error *error) {
  for (size_t i = 0; i < graph->n_nodes; i++) {
    const poei_node *node = &graph->nodes[i];
    const poei_op_record *record = poei_op_records[node->op];
    const uint64_t *from[POEI_OP_MAX_INPUTS] = {NULL};
    for (size_t k = 0; k < node->n_inputs; k++) {
      from[k] = sets + where[node->inputs[k]];
    }
    if (node->op == POEI_OP_INPUT) {
      for (size_t j = 0; j < node->shape.count; j++) {
        sets[where[i] + j * words + j / 64] = (uint64_t)1 << j % 64;
      }
    } else if (record->depend != NULL) {
      record->depend(graph, node, words, from, sets + where[i]);
    } else {
      return poe_error_set(error, POE_E_UNSUPPORTED, "what an operator '%s' depends on is not known", record->name);
    }
  }
  return POE_OK;
}

poe_status poei_dependence_find(const poei_graph *graph, uint64_t *needs, poe_error *error) {
  size_t words = poei_dependence_words(graph->nodes[0].shape.count), total = 0;
  const poei_node *last = &graph->nodes[graph->n_nodes - 1];
  size_t *where = poei_alloc(graph->n_nodes, sizeof *where);
  if (where == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for a network");
  }
  for (size_t i = 0; i < graph->n_nodes && total <= DEPENDENCE_MAX_WORDS; i++) {
    where[i] = total;
    total += graph->nodes[i].shape.count * words; /* at most 2^24 times 2^18 */
  }
  if (total > DEPENDENCE_MAX_WORDS) {
    poei_free(where);
    return poe_error_set(error, POE_E_UNSUPPORTED, "a network of %zu inputs is too large to be shown autoregressive",
                         graph->nodes[0].shape.count);
  }
  uint64_t *sets = poei_calloc(total, sizeof *sets);
  poe_status status = sets == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory for a network")
                                   : dependence_spread(graph, words, where, sets, error);
  if (status == POE_OK) {
    memcpy(needs, sets + where[graph->n_nodes - 1], last->shape.count * words * sizeof *needs);
  }
  poei_free(sets);
  poei_free(where);
  return status;
}

/* The first coordinate without a level and one that it waits for. */
static poe_status dependence_refuse(size_t m, size_t words, const uint64_t *needs, const uint64_t *below,
                                    const size_t *levels, poe_error *error) {
  size_t j = 0, on = 0;
  while (levels[j] != SIZE_MAX) {
    j++;
  }
  while (on + 1 < m && ((needs[j * words + on / 64] & ~below[on / 64]) >> on % 64 & 1) == 0) {
    on++;
  }
  return poe_error_set(
      error, POE_E_FORMAT,
      "the network is not autoregressive: the parameters of coordinate %zu depend on coordinate %zu, %s", j, on,
      j == on ? "itself" : "and those of that one, over others, on it");
}

/* Levels from needs[m, words]; below, next: [words] work space, zero before. */
static poe_status dependence_order(size_t m, size_t words, const uint64_t *needs, uint64_t *below, uint64_t *next,
                                   size_t *levels, poe_error *error) {
  size_t placed = 0;
  for (size_t j = 0; j < m; j++) {
    levels[j] = SIZE_MAX;
  }
  for (size_t level = 0; placed < m; level++) {
    size_t before = placed;
    for (size_t j = 0; j < m; j++) {
      uint64_t missing = 0;
      for (size_t w = 0; w < words && missing == 0; w++) {
        missing = needs[j * words + w] & ~below[w];
      }
      if (levels[j] == SIZE_MAX && missing == 0) {
        levels[j] = level;
        next[j / 64] |= (uint64_t)1 << j % 64;
        placed++;
      }
    }
    if (placed == before) {
      return dependence_refuse(m, words, needs, below, levels, error);
    }
    memcpy(below, next, words * sizeof *next);
  }
  return POE_OK;
}

poe_status poei_dependence_levels(const poei_graph *graph, const size_t *owner, size_t *levels, poe_error *error) {
  size_t m = graph->nodes[0].shape.count, words = poei_dependence_words(m);
  size_t outputs = graph->nodes[graph->n_nodes - 1].shape.count;
  uint64_t *needs = poei_calloc(outputs * words, sizeof *needs); /* both bounded by POEI_MAX_VALUE */
  uint64_t *joined = poei_calloc((m + 2) * words, sizeof *joined);
  poe_status status = needs == NULL || joined == NULL
                          ? poe_error_set(error, POE_E_MEMORY, "out of memory for a network")
                          : poei_dependence_find(graph, needs, error);
  for (size_t o = 0; status == POE_OK && o < outputs; o++) {
    poei_op_depend_unite(words, joined + owner[o] * words, needs + o * words, 1);
  }
  if (status == POE_OK) {
    uint64_t *below = joined + m * words;
    status = dependence_order(m, words, joined, below, below + words, levels, error);
  }
  poei_free(needs);
  poei_free(joined);
  return status;
}
