/* Building tensor graphs (net/graph.h): memory, bounds, and the checks that are the same for every operator. */
#include "net/graph.h"

#include <string.h>

#include "core/alloc.h"

/* A vector of the widest instruction set, and a cache line: loads that straddle two lines cost twice. */
enum { GRAPH_ALIGNMENT = 64 };

poe_status poei_shape_make(size_t ndim, const size_t *size, poei_shape *shape, poe_error *error) {
  if (ndim > POEI_MAX_DIMS) {
    return poe_error_set(error, POE_E_SHAPE, "a shape of %zu sizes; at most %d are allowed", ndim, POEI_MAX_DIMS);
  }
  poei_shape made = {.ndim = ndim, .count = 1};
  for (size_t i = 0; i < ndim; i++) {
    made.size[i] = size[i];
    bool fits = size[i] != 0 && poei_mul_size(made.count, size[i], &made.count) && made.count <= POEI_MAX_VALUE;
    if (!fits) {
      char text[160];
      return poe_error_set(error, POE_E_SHAPE, "shape %s is empty or holds more than %zu numbers",
                           poei_shape_text(ndim, size, text, sizeof text), POEI_MAX_VALUE);
    }
  }
  *shape = made;
  return POE_OK;
}

poe_status poei_graph_create(poei_precision precision, poei_graph **graph, poe_error *error) {
  poei_graph *made = poei_calloc(1, sizeof *made);
  if (made == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for a network");
  }
  made->precision = precision;
  *graph = made;
  return POE_OK;
}

void poei_graph_destroy(poei_graph *graph) {
  if (graph == NULL) {
    return;
  }
  for (size_t i = 0; i < graph->n_weights; i++) {
    poei_free(graph->weights[i].name);
    poei_free(graph->weights[i].memory);
  }
  poei_free(graph->weights);
  poei_free(graph->nodes);
  poei_free(graph);
}

/* Room for one more element; NULL when out of memory (then the old array is still valid). */
static void *graph_grow(void *array, size_t count, size_t *capacity, size_t size) {
  if (count < *capacity) {
    return array;
  }
  size_t wanted = *capacity == 0 ? 8 : 2 * *capacity;
  void *grown = poei_realloc(array, wanted, size);
  if (grown != NULL) {
    *capacity = wanted;
  }
  return grown;
}

poe_status poei_graph_weight(poei_graph *graph, const char *name, size_t ndim, const size_t *size, int32_t *index,
                             void **data, poe_error *error) {
  poei_shape shape;
  poe_status status = poei_shape_make(ndim, size, &shape, error);
  if (status != POE_OK) {
    return status;
  }
  poei_weight *grown = graph_grow(graph->weights, graph->n_weights, &graph->weight_capacity, sizeof *grown);
  if (grown == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for the weights of a network");
  }
  graph->weights = grown;
  poei_weight weight = {.shape = shape};
  weight.name = poei_strdup(name);
  size_t number = graph->precision == POEI_FLOAT32 ? sizeof(float) : sizeof(double);
  weight.memory = poei_alloc(shape.count * number + GRAPH_ALIGNMENT, 1); /* count is bounded by poei_shape_make */
  if (weight.name == NULL || weight.memory == NULL) {
    poei_free(weight.name);
    poei_free(weight.memory);
    return poe_error_set(error, POE_E_MEMORY, "out of memory for weight '%s' of %zu numbers", name, shape.count);
  }
  size_t past = (uintptr_t)weight.memory % GRAPH_ALIGNMENT;
  weight.data = (unsigned char *)weight.memory + (GRAPH_ALIGNMENT - past) % GRAPH_ALIGNMENT;
  *index = (int32_t)graph->n_weights;
  *data = weight.data;
  graph->weights[graph->n_weights++] = weight;
  return POE_OK;
}

void poei_graph_drop_weight(poei_graph *graph) {
  poei_weight *last = &graph->weights[--graph->n_weights];
  poei_free(last->name);
  poei_free(last->memory);
}

/* What holds for every operator: as many inputs and weights as its record says, all of them there. */
static poe_status graph_check(const poei_graph *graph, const poei_node *node, poe_error *error) {
  const poei_op_record *record = poei_op_records[node->op];
  bool first = graph->n_nodes == 0;
  if (first != (node->op == POEI_OP_INPUT) || node->n_inputs != record->n_inputs ||
      node->n_weights > record->max_weights || graph->n_nodes >= POEI_MAX_NODES) {
    return poe_error_set(error, POE_E_FORMAT, "operator '%s' does not fit here (%zu inputs, %zu weights, node %zu)",
                         record->name, node->n_inputs, node->n_weights, graph->n_nodes);
  }
  for (size_t i = 0; i < node->n_inputs; i++) {
    if (node->inputs[i] < 0 || (size_t)node->inputs[i] >= graph->n_nodes) {
      return poe_error_set(error, POE_E_FORMAT, "operator '%s' has no input %zu", record->name, i);
    }
  }
  for (size_t i = 0; i < node->n_weights; i++) {
    bool absent = node->weights[i] < 0 && i >= record->min_weights;
    if (!absent && (node->weights[i] < 0 || (size_t)node->weights[i] >= graph->n_weights)) {
      return poe_error_set(error, POE_E_FORMAT, "operator '%s' has no weight %zu", record->name, i);
    }
  }
  return POE_OK;
}

poe_status poei_graph_add(poei_graph *graph, const poei_node *node, poei_value *value, poe_error *error) {
  poe_status status = graph_check(graph, node, error);
  if (status != POE_OK) {
    return status;
  }
  poei_node *grown = graph_grow(graph->nodes, graph->n_nodes, &graph->node_capacity, sizeof *grown);
  if (grown == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for a network");
  }
  graph->nodes = grown;
  poei_node added = *node;
  for (size_t i = added.n_weights; i < POEI_OP_MAX_WEIGHTS; i++) {
    added.weights[i] = -1;
  }
  added.n_weights = POEI_OP_MAX_WEIGHTS;
  status = poei_op_records[node->op]->infer(graph, &added, error);
  if (status == POE_OK) {
    *value = (poei_value)graph->n_nodes;
    graph->nodes[graph->n_nodes++] = added;
  }
  return status;
}

const poei_shape *poei_node_input_shape(const poei_graph *graph, const poei_node *node, size_t i) {
  return &graph->nodes[node->inputs[i]].shape;
}

const poei_shape *poei_node_weight_shape(const poei_graph *graph, const poei_node *node, size_t i) {
  return node->weights[i] < 0 ? NULL : &graph->weights[node->weights[i]].shape;
}
