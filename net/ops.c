/* The table of operators (net/graph.h) and what their records share. */
#include <math.h>
#include <string.h>

#include "net/op_parts.h"

const poei_op_record *const poei_op_records[POEI_OP_COUNT] = {
#define OP_ENTRY(name, word) [POEI_OP_##name] = &poei_op_##word,
    POEI_OP_LIST(OP_ENTRY)
#undef OP_ENTRY
};

poe_status poei_op_same_shape(const poei_graph *graph, poei_node *node, poe_error *error) {
  (void)error;
  node->shape = *poei_node_input_shape(graph, node, 0);
  return POE_OK;
}

const char *poei_op_text(const poei_shape *shape, char text[160]) {
  return poei_shape_text(shape->ndim, shape->size, text, 160);
}

poe_status poei_op_check_bias(const poei_graph *graph, const poei_node *node, size_t count, poe_error *error) {
  const poei_shape *bias = poei_node_weight_shape(graph, node, 1);
  if (bias != NULL && (bias->ndim != 1 || bias->count != count)) {
    char text[160];
    return poe_error_set(error, POE_E_SHAPE, "bias '%s' has shape %s, but [%zu] is needed",
                         graph->weights[node->weights[1]].name, poei_op_text(bias, text), count);
  }
  return POE_OK;
}

poe_status poei_op_check_eps(const poei_node *node, poe_error *error) {
  double eps = node->attributes.eps;
  return eps >= 0.0 && isfinite(eps) ? POE_OK : poe_error_set(error, POE_E_DOMAIN, "eps must be a finite number >= 0");
}

double poei_op_flops_each(const poei_graph *graph, const poei_node *node) {
  (void)graph;
  return (double)node->shape.count;
}

size_t poei_op_tape_each(const poei_graph *graph, const poei_node *node) {
  (void)graph;
  return node->shape.count;
}

size_t poei_op_tape_fused(const poei_graph *graph, const poei_node *node) {
  (void)graph;
  return node->attributes.activation == POEI_IDENTITY ? 0 : node->shape.count;
}

void poei_op_depend_unite(size_t words, uint64_t *to, const uint64_t *from, size_t count) {
  for (size_t i = 0; i < count * words; i++) {
    to[i] |= from[i];
  }
}

void poei_op_depend_each(const poei_graph *graph, const poei_node *node, size_t words, const uint64_t *const *from,
                         uint64_t *sets) {
  (void)graph;
  for (size_t k = 0; k < node->n_inputs; k++) {
    poei_op_depend_unite(words, sets, from[k], node->shape.count);
  }
}

void poei_op_depend_groups(const poei_node *node, size_t m, size_t words, const uint64_t *from, uint64_t *sets) {
  for (size_t first = 0; first < node->shape.count; first += m) {
    for (size_t i = 0; i < m; i++) {
      poei_op_depend_unite(words, sets + first * words, from + (first + i) * words, 1);
    }
    for (size_t i = 1; i < m; i++) {
      memcpy(sets + (first + i) * words, sets + first * words, words * sizeof *sets);
    }
  }
}

void poei_op_depend_before(const poei_graph *graph, const poei_node *node, size_t positions, bool strict, size_t words,
                           const uint64_t *from, uint64_t *sets) {
  size_t in = poei_node_input_shape(graph, node, 0)->count / positions, out = node->shape.count / positions;
  for (size_t t = 0; t < positions; t++) {
    uint64_t *first = sets + t * out * words;
    if (t > 0) {
      memcpy(first, first - out * words, words * sizeof *first);
    }
    for (size_t i = 0; i < in && (t > 0 || !strict); i++) {
      poei_op_depend_unite(words, first, from + ((strict ? t - 1 : t) * in + i) * words, 1);
    }
    for (size_t o = 1; o < out; o++) {
      memcpy(first + o * words, first, words * sizeof *first);
    }
  }
}

bool poei_op_by_position_each(const poei_graph *graph, const poei_node *node, size_t positions) {
  (void)graph;
  return node->shape.count % positions == 0;
}

bool poei_op_connects(const poei_graph *graph, const poei_node *node, size_t i) {
  const void *data = graph->weights[node->weights[0]].data;
  return graph->precision == POEI_FLOAT32 ? ((const float *)data)[i] != 0.0f : ((const double *)data)[i] != 0.0;
}
