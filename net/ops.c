/* The operators of tensor graphs (net/graph.h): one record each. What they compute is in dense_kernels.h and
 * image_kernels.h, written once and compiled for both types; here are shapes, checks and costs. */
#include <math.h>
#include <string.h>

#include "core/linalg.h"
#include "net/graph.h"
#include "net/product.h"

/* The geometry of a convolution. */
typedef struct poei_window {
  size_t channels, height, width;
  size_t kernel_height, kernel_width;
  size_t stride, padding;
  size_t out_height, out_width;
} poei_window;

static poei_window window_of_conv(const poei_node *node, const poei_shape *in, const poei_shape *weight) {
  return (poei_window){.channels = in->size[0],
                       .height = in->size[1],
                       .width = in->size[2],
                       .kernel_height = weight->size[2],
                       .kernel_width = weight->size[3],
                       .stride = node->attributes.stride,
                       .padding = node->attributes.padding,
                       .out_height = node->shape.size[1],
                       .out_width = node->shape.size[2]};
}

#define REAL float
#define NAME(x) x##_float
#define PRODUCT poei_product_float
#define PRODUCT_BACK poei_product_back_float
#define PRODUCT_HEAD poei_product_head_float
#define ACTIVATE poei_activate_float
#define GEMM poei_sgemm
#include "net/dense_kernels.h"
#include "net/image_kernels.h"
#undef REAL
#undef NAME
#undef PRODUCT
#undef PRODUCT_BACK
#undef PRODUCT_HEAD
#undef ACTIVATE
#undef GEMM

#define REAL double
#define NAME(x) x##_double
#define PRODUCT poei_product_double
#define PRODUCT_BACK poei_product_back_double
#define PRODUCT_HEAD poei_product_head_double
#define ACTIVATE poei_activate_double
#define GEMM poei_dgemm
#include "net/dense_kernels.h"
#include "net/image_kernels.h"
#undef REAL
#undef NAME
#undef PRODUCT
#undef PRODUCT_BACK
#undef PRODUCT_HEAD
#undef ACTIVATE
#undef GEMM

/* ---- shapes ---- */

static poe_status op_same_shape(const poei_graph *graph, poei_node *node, poe_error *error) {
  (void)error;
  node->shape = *poei_node_input_shape(graph, node, 0);
  return POE_OK;
}

static poe_status input_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  (void)graph;
  return poei_shape_make(node->attributes.shape.ndim, node->attributes.shape.size, &node->shape, error);
}

/* "[3, 4]" of a shape, in the caller's text. */
static const char *op_text(const poei_shape *shape, char text[160]) {
  return poei_shape_text(shape->ndim, shape->size, text, 160);
}

/* The optional bias (weight 1) must hold `count` numbers. */
static poe_status op_check_bias(const poei_graph *graph, const poei_node *node, size_t count, poe_error *error) {
  const poei_shape *bias = poei_node_weight_shape(graph, node, 1);
  if (bias != NULL && (bias->ndim != 1 || bias->count != count)) {
    char text[160];
    return poe_error_set(error, POE_E_SHAPE, "bias '%s' has shape %s, but [%zu] is needed",
                         graph->weights[node->weights[1]].name, op_text(bias, text), count);
  }
  return POE_OK;
}

static poe_status linear_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0), *w = poei_node_weight_shape(graph, node, 0);
  if (w->ndim != 2 || w->size[1] != in->count) {
    char text[160], have[160];
    return poe_error_set(error, POE_E_SHAPE, "weight '%s' has shape %s, but its input %s needs [out, %zu]",
                         graph->weights[node->weights[0]].name, op_text(w, text), op_text(in, have), in->count);
  }
  poe_status status = op_check_bias(graph, node, w->size[0], error);
  return status != POE_OK ? status : poei_shape_make(1, &w->size[0], &node->shape, error);
}

/* An image operator's input is [channels, height, width]. */
static poe_status op_check_image(const poei_shape *in, poe_error *error) {
  char text[160];
  if (in->ndim != 3) {
    return poe_error_set(error, POE_E_SHAPE, "the input has shape %s, but [channels, height, width] is needed",
                         op_text(in, text));
  }
  return POE_OK;
}

static poe_status conv2d_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0), *w = poei_node_weight_shape(graph, node, 0);
  poe_status status = op_check_image(in, error);
  if (status != POE_OK) {
    return status;
  }
  char text[160], have[160];
  if (w->ndim != 4 || w->size[1] != in->size[0]) {
    return poe_error_set(error, POE_E_SHAPE, "weight '%s' has shape %s, but its input %s needs [out, %zu, kh, kw]",
                         graph->weights[node->weights[0]].name, op_text(w, text), op_text(in, have), in->size[0]);
  }
  size_t stride = node->attributes.stride, padding = node->attributes.padding;
  if (stride < 1 || stride > 4096 || padding > 4096) {
    return poe_error_set(error, POE_E_DOMAIN, "stride %zu, padding %zu: stride must be 1..4096, padding 0..4096",
                         stride, padding);
  }
  if (in->size[1] + 2 * padding < w->size[2] || in->size[2] + 2 * padding < w->size[3]) {
    return poe_error_set(error, POE_E_SHAPE, "the kernel of '%s' %s is larger than its padded input %s",
                         graph->weights[node->weights[0]].name, op_text(w, text), op_text(in, have));
  }
  size_t out[3] = {w->size[0], (in->size[1] + 2 * padding - w->size[2]) / stride + 1,
                   (in->size[2] + 2 * padding - w->size[3]) / stride + 1};
  status = poei_shape_make(3, out, &node->shape, error);
  size_t columns[3] = {w->count / w->size[0], out[1], out[2]};
  poei_shape scratch; /* the unrolled image must stay within the same bound */
  status = status != POE_OK ? status : poei_shape_make(3, columns, &scratch, error);
  return status != POE_OK ? status : op_check_bias(graph, node, w->size[0], error);
}

static poe_status pool_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0);
  poe_status status = op_check_image(in, error);
  if (status != POE_OK) {
    return status;
  }
  size_t size = node->attributes.size;
  if (size < 1 || size > 4096 || size > in->size[1] || size > in->size[2]) {
    char text[160];
    return poe_error_set(error, POE_E_SHAPE, "a window of %zu does not fit the input %s", size, op_text(in, text));
  }
  size_t out[3] = {in->size[0], in->size[1] / size, in->size[2] / size};
  return poei_shape_make(3, out, &node->shape, error);
}

static poe_status reshape_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0), *wanted = &node->attributes.shape;
  poe_status status = poei_shape_make(wanted->ndim, wanted->size, &node->shape, error);
  if (status == POE_OK && node->shape.count != in->count) {
    char text[160], have[160];
    return poe_error_set(error, POE_E_SHAPE, "shape %s holds %zu numbers, but the input %s has %zu",
                         op_text(&node->shape, text), node->shape.count, op_text(in, have), in->count);
  }
  return status;
}

static poe_status affine_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  if (!isfinite(node->attributes.scale) || !isfinite(node->attributes.shift)) {
    return poe_error_set(error, POE_E_DOMAIN, "scale and shift must be finite");
  }
  return op_same_shape(graph, node, error);
}

static poe_status layer_norm_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0), *w = poei_node_weight_shape(graph, node, 0);
  bool fits = w->ndim >= 1 && w->ndim <= in->ndim &&
              memcmp(w->size, in->size + (in->ndim - w->ndim), w->ndim * sizeof *w->size) == 0;
  if (!fits) {
    char text[160], have[160];
    return poe_error_set(error, POE_E_SHAPE, "weight '%s' has shape %s, which is not the end of its input's shape %s",
                         graph->weights[node->weights[0]].name, op_text(w, text), op_text(in, have));
  }
  const poei_shape *bias = poei_node_weight_shape(graph, node, 1);
  if (bias != NULL && (bias->ndim != w->ndim || memcmp(bias->size, w->size, w->ndim * sizeof *w->size) != 0)) {
    return poe_error_set(error, POE_E_SHAPE, "bias '%s' and weight '%s' differ in shape",
                         graph->weights[node->weights[1]].name, graph->weights[node->weights[0]].name);
  }
  if (!(node->attributes.eps >= 0.0) || !isfinite(node->attributes.eps)) {
    return poe_error_set(error, POE_E_DOMAIN, "eps must be a finite number >= 0");
  }
  return op_same_shape(graph, node, error);
}

static poe_status activation_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  if (node->attributes.activation >= POEI_ACTIVATION_COUNT || !isfinite(node->attributes.parameter)) {
    return poe_error_set(error, POE_E_DOMAIN, "an activation's parameter must be finite");
  }
  return op_same_shape(graph, node, error);
}

static poe_status add_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *a = poei_node_input_shape(graph, node, 0), *b = poei_node_input_shape(graph, node, 1);
  if (a->count != b->count) {
    char text[160], other[160];
    return poe_error_set(error, POE_E_SHAPE, "shapes %s and %s cannot be added", op_text(a, text), op_text(b, other));
  }
  return op_same_shape(graph, node, error);
}

/* ---- costs ---- */

static size_t fused_tape(const poei_graph *graph, const poei_node *node) {
  (void)graph;
  return node->attributes.activation == POEI_IDENTITY ? 0 : node->shape.count;
}

static size_t value_tape(const poei_graph *graph, const poei_node *node) {
  (void)graph;
  return node->shape.count;
}

static size_t layer_norm_tape(const poei_graph *graph, const poei_node *node) {
  return node->shape.count + node->shape.count / poei_node_weight_shape(graph, node, 0)->count;
}

static size_t conv2d_scratch(const poei_graph *graph, const poei_node *node) {
  const poei_shape *w = poei_node_weight_shape(graph, node, 0);
  return w->count / w->size[0] * node->shape.size[1] * node->shape.size[2];
}

static double elementwise_flops(const poei_graph *graph, const poei_node *node) {
  (void)graph;
  return (double)node->shape.count;
}

static double linear_flops(const poei_graph *graph, const poei_node *node) {
  return 2.0 * (double)poei_node_weight_shape(graph, node, 0)->count;
}

static double conv2d_flops(const poei_graph *graph, const poei_node *node) {
  double pixels = (double)node->shape.size[1] * (double)node->shape.size[2];
  return 2.0 * (double)poei_node_weight_shape(graph, node, 0)->count * pixels;
}

static void linear_gemms(const poei_graph *graph, const poei_node *node, size_t n, poei_gemm_shape *shapes) {
  const poei_shape *w = poei_node_weight_shape(graph, node, 0);
  shapes[0] = (poei_gemm_shape){.transposed_b = true, .m = n, .n = w->size[0], .k = w->size[1], .times = 1};
  shapes[1] = (poei_gemm_shape){.m = n, .n = w->size[1], .k = w->size[0], .times = 1};
}

static void conv2d_gemms(const poei_graph *graph, const poei_node *node, size_t n, poei_gemm_shape *shapes) {
  const poei_shape *w = poei_node_weight_shape(graph, node, 0);
  size_t pixels = node->shape.size[1] * node->shape.size[2], patch = w->count / w->size[0];
  shapes[0] = (poei_gemm_shape){.m = w->size[0], .n = pixels, .k = patch, .times = n};
  shapes[1] = (poei_gemm_shape){.transposed_a = true, .m = patch, .n = pixels, .k = w->size[0], .times = n};
}

/* ---- records ---- */

#define OP_FUNCTIONS(word)                                                                                             \
  .forward = {word##_forward_float, word##_forward_double}, .vjp = {word##_vjp_float, word##_vjp_double}

const poei_op_record poei_op_records[POEI_OP_COUNT] = {
    [POEI_OP_INPUT] = {.name = "input", .infer = input_infer},
    [POEI_OP_LINEAR] = {.name = "linear",
                        .n_inputs = 1,
                        .min_weights = 1,
                        .max_weights = 2,
                        .fuses_activation = true,
                        .has_head = true,
                        .infer = linear_infer,
                        OP_FUNCTIONS(linear),
                        .flops = linear_flops,
                        .tape = fused_tape,
                        .gemms = linear_gemms},
    [POEI_OP_CONV2D] = {.name = "conv2d",
                        .n_inputs = 1,
                        .min_weights = 1,
                        .max_weights = 2,
                        .fuses_activation = true,
                        .infer = conv2d_infer,
                        OP_FUNCTIONS(conv2d),
                        .flops = conv2d_flops,
                        .tape = fused_tape,
                        .scratch = conv2d_scratch,
                        .gemms = conv2d_gemms},
    [POEI_OP_AVG_POOL2D] = {.name = "avg_pool2d",
                            .n_inputs = 1,
                            .infer = pool_infer,
                            OP_FUNCTIONS(avg_pool2d),
                            .flops = elementwise_flops},
    [POEI_OP_MAX_POOL2D] = {.name = "max_pool2d",
                            .n_inputs = 1,
                            .infer = pool_infer,
                            OP_FUNCTIONS(max_pool2d),
                            .flops = elementwise_flops,
                            .tape = value_tape},
    [POEI_OP_RESHAPE] = {.name = "reshape", .n_inputs = 1, .view = true, .infer = reshape_infer},
    [POEI_OP_AFFINE] =
        {.name = "affine", .n_inputs = 1, .infer = affine_infer, OP_FUNCTIONS(affine), .flops = elementwise_flops},
    [POEI_OP_LAYER_NORM] = {.name = "layer_norm",
                            .n_inputs = 1,
                            .min_weights = 1,
                            .max_weights = 2,
                            .infer = layer_norm_infer,
                            OP_FUNCTIONS(layer_norm),
                            .flops = elementwise_flops,
                            .tape = layer_norm_tape},
    [POEI_OP_ACTIVATION] = {.name = "activation",
                            .n_inputs = 1,
                            .infer = activation_infer,
                            OP_FUNCTIONS(activation),
                            .flops = elementwise_flops,
                            .tape = value_tape},
    [POEI_OP_ADD] = {.name = "add", .n_inputs = 2, .infer = add_infer, OP_FUNCTIONS(add), .flops = elementwise_flops},
};
