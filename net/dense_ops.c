/* Operators that do not care how their numbers are arranged: linear maps, elementwise functions, views (net/graph.h).
 * Shapes, checks and costs are here, what they compute in dense_kernels.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "net/op_parts.h"
#include "net/product.h"

#define POEI_KERNELS "net/dense_kernels.h"
#include "net/each_type.h"

static poe_status input_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  (void)graph;
  return poei_shape_make(node->attributes.shape.ndim, node->attributes.shape.size, &node->shape, error);
}

/* The weight's inputs are all numbers of a row, or those along its last axis. */
static poe_status linear_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0), *w = poei_node_weight_shape(graph, node, 0);
  bool flat = w->ndim == 2 && w->size[1] == in->count;
  bool last = w->ndim == 2 && in->ndim >= 2 && w->size[1] == in->size[in->ndim - 1];
  if (!flat && !last) {
    char text[160], have[160], other[64] = "";
    if (in->ndim >= 2) {
      snprintf(other, sizeof other, " or [out, %zu]", in->size[in->ndim - 1]);
    }
    return poe_error_set(error, POE_E_SHAPE, "weight '%s' has shape %s, but its input %s needs [out, %zu]%s",
                         graph->weights[node->weights[0]].name, poei_op_text(w, text), poei_op_text(in, have),
                         in->count, other);
  }
  poe_status status = poei_op_check_bias(graph, node, w->size[0], error);
  if (status != POE_OK || flat) {
    return status != POE_OK ? status : poei_shape_make(1, &w->size[0], &node->shape, error);
  }
  size_t size[POEI_MAX_DIMS];
  memcpy(size, in->size, in->ndim * sizeof *size);
  size[in->ndim - 1] = w->size[0];
  return poei_shape_make(in->ndim, size, &node->shape, error);
}

/* How often the product is made for each row. */
static size_t linear_times(const poei_graph *graph, const poei_node *node) {
  return node->shape.count / poei_node_weight_shape(graph, node, 0)->size[0];
}

static poe_status reshape_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0), *wanted = &node->attributes.shape;
  poe_status status = poei_shape_make(wanted->ndim, wanted->size, &node->shape, error);
  if (status == POE_OK && node->shape.count != in->count) {
    char text[160], have[160];
    return poe_error_set(error, POE_E_SHAPE, "shape %s holds %zu numbers, but the input %s has %zu",
                         poei_op_text(&node->shape, text), node->shape.count, poei_op_text(in, have), in->count);
  }
  return status;
}

static poe_status affine_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  if (!isfinite(node->attributes.scale) || !isfinite(node->attributes.shift)) {
    return poe_error_set(error, POE_E_DOMAIN, "scale and shift must be finite");
  }
  return poei_op_same_shape(graph, node, error);
}

static poe_status activation_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  if (node->attributes.activation >= POEI_ACTIVATION_COUNT || !isfinite(node->attributes.parameter)) {
    return poe_error_set(error, POE_E_DOMAIN, "an activation's parameter must be finite");
  }
  return poei_op_same_shape(graph, node, error);
}

static poe_status add_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *a = poei_node_input_shape(graph, node, 0), *b = poei_node_input_shape(graph, node, 1);
  if (a->count != b->count) {
    char text[160], other[160];
    return poe_error_set(error, POE_E_SHAPE, "shapes %s and %s cannot be added", poei_op_text(a, text),
                         poei_op_text(b, other));
  }
  return poei_op_same_shape(graph, node, error);
}

static double linear_flops(const poei_graph *graph, const poei_node *node) {
  return 2.0 * (double)poei_node_weight_shape(graph, node, 0)->count * (double)linear_times(graph, node);
}

static void linear_gemms(const poei_graph *graph, const poei_node *node, size_t n, poei_gemm_shape *shapes) {
  const poei_shape *w = poei_node_weight_shape(graph, node, 0);
  size_t rows = n * linear_times(graph, node);
  shapes[0] = (poei_gemm_shape){.transposed_b = true, .m = rows, .n = w->size[0], .k = w->size[1], .times = 1};
  shapes[1] = (poei_gemm_shape){.m = rows, .n = w->size[1], .k = w->size[0], .times = 1};
}

static void linear_depend(const poei_graph *graph, const poei_node *node, size_t words, const uint64_t *const *from,
                          uint64_t *sets) {
  const poei_shape *w = poei_node_weight_shape(graph, node, 0);
  for (size_t m = 0; m < linear_times(graph, node); m++) {
    for (size_t i = 0; i < w->count; i++) {
      if (poei_op_connects(graph, node, i)) {
        poei_op_depend_unite(words, sets + (m * w->size[0] + i / w->size[1]) * words,
                             from[0] + (m * w->size[1] + i % w->size[1]) * words, 1);
      }
    }
  }
}

static bool linear_by_position(const poei_graph *graph, const poei_node *node, size_t positions) {
  return linear_times(graph, node) % positions == 0;
}

const poei_op_record poei_op_input = {.name = "input", .infer = input_infer};

const poei_op_record poei_op_linear = {.name = "linear",
                                       .n_inputs = 1,
                                       .min_weights = 1,
                                       .max_weights = 2,
                                       .fuses_activation = true,
                                       .has_head = true,
                                       .infer = linear_infer,
                                       POEI_OP_FUNCTIONS(linear),
                                       .flops = linear_flops,
                                       .tape = poei_op_tape_fused,
                                       .by_position = linear_by_position,
                                       .depend = linear_depend,
                                       .gemms = linear_gemms};

const poei_op_record poei_op_reshape = {
    .name = "reshape", .n_inputs = 1, .view = true, .infer = reshape_infer, .depend = poei_op_depend_each};

const poei_op_record poei_op_affine = {.name = "affine",
                                       .n_inputs = 1,
                                       .infer = affine_infer,
                                       POEI_OP_FUNCTIONS(affine),
                                       .flops = poei_op_flops_each,
                                       .by_position = poei_op_by_position_each,
                                       .depend = poei_op_depend_each};

const poei_op_record poei_op_activation = {.name = "activation",
                                           .n_inputs = 1,
                                           .infer = activation_infer,
                                           POEI_OP_FUNCTIONS(activation),
                                           .flops = poei_op_flops_each,
                                           .tape = poei_op_tape_each,
                                           .by_position = poei_op_by_position_each,
                                           .depend = poei_op_depend_each};

const poei_op_record poei_op_add = {.name = "add",
                                    .n_inputs = 2,
                                    .infer = add_infer,
                                    POEI_OP_FUNCTIONS(add),
                                    .flops = poei_op_flops_each,
                                    .by_position = poei_op_by_position_each,
                                    .depend = poei_op_depend_each};
