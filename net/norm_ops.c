/* Normalising operators and the scaling by channels that batch normalisation becomes at inference (net/graph.h).
 * Shapes, checks and costs are here, what they compute in norm_kernels.h. */
#include <math.h>
#include <string.h>

#include "net/op_parts.h"

#define POEI_KERNELS "net/norm_kernels.h"
#include "net/each_type.h"

static poe_status layer_norm_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0), *w = poei_node_weight_shape(graph, node, 0);
  bool fits = w->ndim >= 1 && w->ndim <= in->ndim &&
              memcmp(w->size, in->size + (in->ndim - w->ndim), w->ndim * sizeof *w->size) == 0;
  if (!fits) {
    char text[160], have[160];
    return poe_error_set(error, POE_E_SHAPE, "weight '%s' has shape %s, which is not the end of its input's shape %s",
                         graph->weights[node->weights[0]].name, poei_op_text(w, text), poei_op_text(in, have));
  }
  const poei_shape *bias = poei_node_weight_shape(graph, node, 1);
  if (bias != NULL && (bias->ndim != w->ndim || memcmp(bias->size, w->size, w->ndim * sizeof *w->size) != 0)) {
    return poe_error_set(error, POE_E_SHAPE, "bias '%s' and weight '%s' differ in shape",
                         graph->weights[node->weights[1]].name, graph->weights[node->weights[0]].name);
  }
  poe_status status = poei_op_check_eps(node, error);
  return status == POE_OK ? poei_op_same_shape(graph, node, error) : status;
}

/* Weight and bias, where they are, must have one number per channel: the first axis of the input. */
static poe_status norm_check_channels(const poei_graph *graph, const poei_node *node, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0), *w = poei_node_weight_shape(graph, node, 0);
  char text[160], have[160];
  if (in->ndim == 0) {
    return poe_error_set(error, POE_E_SHAPE, "the input has no channels");
  }
  if (w != NULL && (w->ndim != 1 || w->count != in->size[0])) {
    return poe_error_set(error, POE_E_SHAPE, "weight '%s' has shape %s, but its input %s needs [%zu]",
                         graph->weights[node->weights[0]].name, poei_op_text(w, text), poei_op_text(in, have),
                         in->size[0]);
  }
  return poei_op_check_bias(graph, node, in->size[0], error);
}

static poe_status group_norm_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  poe_status status = norm_check_channels(graph, node, error);
  status = status == POE_OK ? poei_op_check_eps(node, error) : status;
  size_t channels = status == POE_OK ? poei_node_input_shape(graph, node, 0)->size[0] : 1;
  if (status == POE_OK && (node->attributes.groups < 1 || channels % node->attributes.groups != 0)) {
    return poe_error_set(error, POE_E_SHAPE, "%zu channels do not divide into %zu groups", channels,
                         node->attributes.groups);
  }
  return status == POE_OK ? poei_op_same_shape(graph, node, error) : status;
}

static poe_status channel_affine_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  poe_status status = norm_check_channels(graph, node, error);
  return status == POE_OK ? poei_op_same_shape(graph, node, error) : status;
}

static size_t layer_norm_tape(const poei_graph *graph, const poei_node *node) {
  return node->shape.count + node->shape.count / poei_node_weight_shape(graph, node, 0)->count;
}

static size_t group_norm_tape(const poei_graph *graph, const poei_node *node) {
  (void)graph;
  return node->shape.count + node->attributes.groups;
}

static bool layer_norm_by_position(const poei_graph *graph, const poei_node *node, size_t positions) {
  return node->shape.count / poei_node_weight_shape(graph, node, 0)->count % positions == 0;
}

static void layer_norm_depend(const poei_graph *graph, const poei_node *node, size_t words, const uint64_t *const *from,
                              uint64_t *sets) {
  poei_op_depend_groups(node, poei_node_weight_shape(graph, node, 0)->count, words, from[0], sets);
}

static void group_norm_depend(const poei_graph *graph, const poei_node *node, size_t words, const uint64_t *const *from,
                              uint64_t *sets) {
  (void)graph;
  poei_op_depend_groups(node, node->shape.count / node->attributes.groups, words, from[0], sets);
}

const poei_op_record poei_op_layer_norm = {.name = "layer_norm",
                                           .n_inputs = 1,
                                           .min_weights = 1,
                                           .max_weights = 2,
                                           .infer = layer_norm_infer,
                                           POEI_OP_FUNCTIONS(layer_norm),
                                           .flops = poei_op_flops_each,
                                           .tape = layer_norm_tape,
                                           .by_position = layer_norm_by_position,
                                           .depend = layer_norm_depend};

const poei_op_record poei_op_group_norm = {.name = "group_norm",
                                           .n_inputs = 1,
                                           .max_weights = 2,
                                           .infer = group_norm_infer,
                                           POEI_OP_FUNCTIONS(group_norm),
                                           .flops = poei_op_flops_each,
                                           .tape = group_norm_tape,
                                           .depend = group_norm_depend};

const poei_op_record poei_op_channel_affine = {.name = "channel_affine",
                                               .n_inputs = 1,
                                               .min_weights = 1,
                                               .max_weights = 2,
                                               .infer = channel_affine_infer,
                                               POEI_OP_FUNCTIONS(channel_affine),
                                               .flops = poei_op_flops_each,
                                               .depend = poei_op_depend_each};
