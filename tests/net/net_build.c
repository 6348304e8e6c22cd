#include "tests/net/net_build.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"

void net_numbers(uint32_t site, size_t n, double *out) {
  poe_rng at = poe_rng_seed(20240607);
  at.site = site;
  poe_rng_normals(at, n, out);
}

net_build net_build_start(poei_precision precision, size_t ndim, const size_t *shape) {
  poe_error error = {0};
  net_build build = {0};
  check_ok(poei_graph_create(precision, &build.graph, &error), error);
  poei_node node = {.op = POEI_OP_INPUT};
  node.attributes.shape.ndim = ndim;
  memcpy(node.attributes.shape.size, shape, ndim * sizeof *shape);
  poei_value value;
  check_ok(poei_graph_add(build.graph, &node, &value, &error), error);
  return build;
}

/* A weight of normal numbers / sqrt(fan), rounded to single so that both precisions have the same. */
static int32_t build_weight(net_build *build, size_t ndim, const size_t *shape, double fan) {
  poe_error error = {0};
  int32_t index;
  void *data;
  check_ok(poei_graph_weight(build->graph, "w", ndim, shape, &index, &data, &error), error);
  size_t count = build->graph->weights[index].shape.count;
  double *numbers = malloc(count * sizeof *numbers);
  assert_non_null(numbers);
  net_numbers(1000 + build->next_weight++, count, numbers);
  for (size_t i = 0; i < count; i++) {
    float number = (float)(numbers[i] / sqrt(fan));
    if (build->graph->precision == POEI_FLOAT32) {
      ((float *)data)[i] = number;
    } else {
      ((double *)data)[i] = (double)number;
    }
  }
  free(numbers);
  return index;
}

static poei_value build_add(net_build *build, poei_node *node, poei_value input) {
  poe_error error = {0};
  poei_value value;
  node->n_inputs = node->n_inputs == 0 ? 1 : node->n_inputs;
  node->inputs[0] = input;
  check_ok(poei_graph_add(build->graph, node, &value, &error), error);
  return value;
}

poei_value net_build_linear(net_build *build, poei_value input, size_t out, bool bias) {
  size_t in = build->graph->nodes[input].shape.count;
  poei_node node = {.op = POEI_OP_LINEAR, .n_weights = 2, .weights = {-1, -1}};
  node.weights[0] = build_weight(build, 2, (size_t[]){out, in}, (double)in);
  node.weights[1] = bias ? build_weight(build, 1, &out, 4.0) : -1;
  return build_add(build, &node, input);
}

poei_value net_build_linear_last(net_build *build, poei_value input, size_t out, bool bias) {
  const poei_shape *shape = &build->graph->nodes[input].shape;
  size_t in = shape->size[shape->ndim - 1];
  poei_node node = {.op = POEI_OP_LINEAR, .n_weights = 2, .weights = {-1, -1}};
  node.weights[0] = build_weight(build, 2, (size_t[]){out, in}, (double)in);
  node.weights[1] = bias ? build_weight(build, 1, &out, 4.0) : -1;
  return build_add(build, &node, input);
}

poei_value net_build_shift(net_build *build, poei_value input, bool weight) {
  const poei_shape *shape = &build->graph->nodes[input].shape;
  size_t width = shape->count / shape->size[0];
  poei_node node = {.op = POEI_OP_SHIFT, .n_weights = 1, .weights = {-1}, .attributes.scale = 0.5};
  node.weights[0] = weight ? build_weight(build, 1, &width, 1.0) : -1;
  return build_add(build, &node, input);
}

poei_value net_build_recurrent(net_build *build, poei_value input, poei_op op, size_t units, bool bias_ih,
                               bool bias_hh) {
  const poei_shape *shape = &build->graph->nodes[input].shape;
  size_t width = shape->count / shape->size[0], rows = (op == POEI_OP_GRU ? 3 : 4) * units;
  poei_node node = {.op = op, .n_weights = 4, .weights = {-1, -1, -1, -1}};
  node.weights[0] = build_weight(build, 2, (size_t[]){rows, width}, (double)width);
  node.weights[1] = build_weight(build, 2, (size_t[]){rows, units}, (double)units);
  node.weights[2] = bias_ih ? build_weight(build, 1, &rows, 1.0) : -1;
  node.weights[3] = bias_hh ? build_weight(build, 1, &rows, 1.0) : -1;
  return build_add(build, &node, input);
}

poei_value net_build_nade(net_build *build, poei_value input, size_t units, size_t parameters,
                          poei_activation activation) {
  size_t d = build->graph->nodes[input].shape.count;
  bool one = parameters == 1;
  poei_node node = {.op = POEI_OP_NADE, .n_weights = 4, .attributes.activation = activation};
  node.weights[0] = build_weight(build, 2, (size_t[]){d, units}, 1.0);
  node.weights[1] =
      build_weight(build, one ? 2 : 3, one ? (size_t[]){d, units} : (size_t[]){d, parameters, units}, (double)units);
  node.weights[2] = build_weight(build, one ? 1 : 2, (size_t[]){d, parameters}, 1.0);
  node.weights[3] = build_weight(build, 1, &units, 1.0);
  return build_add(build, &node, input);
}

poei_value net_build_conv_with(net_build *build, poei_value input, bool transpose, size_t out, size_t kernel_height,
                               size_t kernel_width, const poei_attributes *moves, bool bias) {
  size_t in = build->graph->nodes[input].shape.size[0], groups = moves->groups;
  poei_node node = {.op = transpose ? POEI_OP_CONV_TRANSPOSE2D : POEI_OP_CONV2D, .n_weights = 2, .attributes = *moves};
  size_t first = transpose ? in : out, second = (transpose ? out : in) / groups;
  node.weights[0] = build_weight(build, 4, (size_t[]){first, second, kernel_height, kernel_width},
                                 (double)(in / groups * kernel_height * kernel_width));
  node.weights[1] = bias ? build_weight(build, 1, &out, 4.0) : -1;
  return build_add(build, &node, input);
}

poei_value net_build_conv(net_build *build, poei_value input, size_t out, size_t kernel_height, size_t kernel_width,
                          size_t stride, size_t padding, bool bias) {
  poei_attributes moves = {.stride = {stride, stride}, .padding = {padding, padding}, .dilation = {1, 1}, .groups = 1};
  return net_build_conv_with(build, input, false, out, kernel_height, kernel_width, &moves, bias);
}

poei_value net_build_pool_with(net_build *build, poei_value input, bool max, const poei_attributes *moves) {
  poei_node node = {.op = max ? POEI_OP_MAX_POOL2D : POEI_OP_AVG_POOL2D, .attributes = *moves};
  return build_add(build, &node, input);
}

poei_value net_build_pool(net_build *build, poei_value input, bool max, size_t size) {
  return net_build_pool_with(build, input, max, &(poei_attributes){.size = {size, size}});
}

poei_value net_build_upsample(net_build *build, poei_value input, size_t height, size_t width) {
  poei_node node = {.op = POEI_OP_UPSAMPLE2D, .attributes.size = {height, width}};
  return build_add(build, &node, input);
}

poei_value net_build_group_norm(net_build *build, poei_value input, size_t groups, bool weight, bool bias) {
  size_t channels = build->graph->nodes[input].shape.size[0];
  poei_node node = {.op = POEI_OP_GROUP_NORM, .n_weights = 2, .attributes = {.groups = groups, .eps = 1e-5}};
  node.weights[0] = weight ? build_weight(build, 1, &channels, 1.0) : -1;
  node.weights[1] = bias ? build_weight(build, 1, &channels, 1.0) : -1;
  return build_add(build, &node, input);
}

poei_value net_build_channel_affine(net_build *build, poei_value input, bool bias) {
  size_t channels = build->graph->nodes[input].shape.size[0];
  poei_node node = {.op = POEI_OP_CHANNEL_AFFINE, .n_weights = 2};
  node.weights[0] = build_weight(build, 1, &channels, 1.0);
  node.weights[1] = bias ? build_weight(build, 1, &channels, 1.0) : -1;
  return build_add(build, &node, input);
}

poei_value net_build_activation(net_build *build, poei_value input, poei_activation activation) {
  poei_node node = {.op = POEI_OP_ACTIVATION};
  node.attributes.activation = activation;
  node.attributes.parameter = poei_activation_parameter(activation);
  return build_add(build, &node, input);
}

poei_value net_build_layer_norm(net_build *build, poei_value input, size_t ndim) {
  const poei_shape in = build->graph->nodes[input].shape;
  poei_node node = {.op = POEI_OP_LAYER_NORM, .n_weights = 2};
  node.attributes.eps = 1e-5;
  node.weights[0] = build_weight(build, ndim, in.size + (in.ndim - ndim), 1.0);
  node.weights[1] = build_weight(build, ndim, in.size + (in.ndim - ndim), 1.0);
  return build_add(build, &node, input);
}

poei_value net_build_affine(net_build *build, poei_value input, double scale, double shift) {
  poei_node node = {.op = POEI_OP_AFFINE};
  node.attributes.scale = scale;
  node.attributes.shift = shift;
  return build_add(build, &node, input);
}

poei_value net_build_reshape(net_build *build, poei_value input, size_t ndim, const size_t *shape) {
  poei_node node = {.op = POEI_OP_RESHAPE};
  node.attributes.shape.ndim = ndim;
  memcpy(node.attributes.shape.size, shape, ndim * sizeof *shape);
  return build_add(build, &node, input);
}

poei_value net_build_add(net_build *build, poei_value a, poei_value b) {
  poei_node node = {.op = POEI_OP_ADD, .n_inputs = 2, .inputs = {a, b}};
  return build_add(build, &node, a);
}

poei_net *net_build_finish(net_build *build) {
  poe_error error = {0};
  poei_net *net;
  check_ok(poei_net_compile(build->graph, &net, &error), error);
  return net;
}

/* ---- the naive evaluation: straight from the definitions, nothing shared with net/ ---- */

static double naive_weight(const poei_graph *graph, int32_t weight, size_t i) {
  const void *data = graph->weights[weight].data;
  return graph->precision == POEI_FLOAT32 ? (double)((const float *)data)[i] : ((const double *)data)[i];
}

static double naive_bias(const poei_graph *graph, const poei_node *node, size_t i) {
  return node->weights[1] < 0 ? 0.0 : naive_weight(graph, node->weights[1], i);
}

double net_naive_weight(const poei_graph *graph, const poei_node *node, size_t weight, size_t i) {
  return node->weights[weight] < 0 ? 0.0 : naive_weight(graph, node->weights[weight], i);
}

double net_naive_activation(poei_activation activation, double v) {
  switch (activation) {
  case POEI_RELU:
    return v > 0.0 ? v : 0.0;
  case POEI_LEAKY_RELU:
    return v > 0.0 ? v : 0.01 * v;
  case POEI_ELU:
    return v > 0.0 ? v : expm1(v);
  case POEI_GELU:
    return 0.5 * v * erfc(-v / sqrt(2.0));
  case POEI_GELU_TANH:
    return 0.5 * v * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (v + 0.044715 * v * v * v)));
  case POEI_SILU:
    return v / (1.0 + exp(-v));
  case POEI_SOFTPLUS:
    return v > 30.0 ? v : log1p(exp(v));
  case POEI_TANH:
    return tanh(v);
  case POEI_SIGMOID:
    return 1.0 / (1.0 + exp(-v));
  default:
    return v;
  }
}

/* Weight (a, b, i, j) of a convolution. */
static double naive_kernel(const poei_graph *graph, const poei_node *node, size_t a, size_t b, size_t i, size_t j) {
  const poei_shape *w = &graph->weights[node->weights[0]].shape;
  return naive_weight(graph, node->weights[0], ((a * w->size[1] + b) * w->size[2] + i) * w->size[3] + j);
}

/* Where the tap k of a kernel placed at `place` lies along an axis. */
static long naive_tap(const poei_node *node, size_t axis, size_t place, size_t k) {
  const poei_attributes *a = &node->attributes;
  return (long)(place * a->stride[axis] + k * a->dilation[axis]) - (long)a->padding[axis];
}

static double naive_conv(const poei_graph *graph, const poei_node *node, const poei_shape *in, const double *x,
                         size_t o, size_t y0, size_t x0) {
  const poei_shape *w = &graph->weights[node->weights[0]].shape;
  size_t first = o / (w->size[0] / node->attributes.groups) * w->size[1]; /* channel of the group */
  double sum = naive_bias(graph, node, o);
  for (size_t c = 0; c < w->size[1]; c++) {
    for (size_t i = 0; i < w->size[2]; i++) {
      for (size_t j = 0; j < w->size[3]; j++) {
        long row = naive_tap(node, 0, y0, i), column = naive_tap(node, 1, x0, j);
        if (row >= 0 && column >= 0 && row < (long)in->size[1] && column < (long)in->size[2]) {
          sum += x[((first + c) * in->size[1] + (size_t)row) * in->size[2] + (size_t)column] *
                 naive_kernel(graph, node, o, c, i, j);
        }
      }
    }
  }
  return sum;
}

/* From the definition: every input pixel adds its kernel around the place where it stands in the output. */
static double naive_transpose(const poei_graph *graph, const poei_node *node, const poei_shape *in, const double *x,
                              size_t o, size_t y0, size_t x0) {
  const poei_shape *w = &graph->weights[node->weights[0]].shape;
  size_t each = in->size[0] / node->attributes.groups, group = o / w->size[1];
  double sum = naive_bias(graph, node, o);
  for (size_t at = 0; at < each * in->size[1] * in->size[2]; at++) {
    size_t c = group * each + at / (in->size[1] * in->size[2]);
    size_t row = at / in->size[2] % in->size[1], column = at % in->size[2];
    for (size_t i = 0; i < w->size[2]; i++) {
      for (size_t j = 0; j < w->size[3]; j++) {
        if (naive_tap(node, 0, row, i) == (long)y0 && naive_tap(node, 1, column, j) == (long)x0) {
          sum += x[(c * in->size[1] + row) * in->size[2] + column] * naive_kernel(graph, node, c, o % w->size[1], i, j);
        }
      }
    }
  }
  return sum;
}

static double naive_pool(const poei_node *node, const poei_shape *in, const double *x, size_t c, size_t y0, size_t x0) {
  const size_t *size = node->attributes.size;
  double sum = 0.0, best = -INFINITY;
  for (size_t i = 0; i < size[0]; i++) {
    for (size_t j = 0; j < size[1]; j++) {
      long row = naive_tap(node, 0, y0, i), column = naive_tap(node, 1, x0, j);
      if (row >= 0 && column >= 0 && row < (long)in->size[1] && column < (long)in->size[2]) {
        double v = x[(c * in->size[1] + (size_t)row) * in->size[2] + (size_t)column];
        sum += v;
        best = fmax(best, v);
      }
    }
  }
  return node->op == POEI_OP_MAX_POOL2D ? best : sum / (double)(size[0] * size[1]);
}

static double naive_group_norm(const poei_graph *graph, const poei_node *node, const poei_shape *in, const double *x,
                               size_t at) {
  size_t m = in->count / node->attributes.groups, first = at / m * m, channel = at / (in->count / in->size[0]);
  double mean = 0.0, var = 0.0;
  for (size_t i = first; i < first + m; i++) {
    mean += x[i] / (double)m;
  }
  for (size_t i = first; i < first + m; i++) {
    var += (x[i] - mean) * (x[i] - mean) / (double)m;
  }
  double weight = node->weights[0] < 0 ? 1.0 : naive_weight(graph, node->weights[0], channel);
  return (x[at] - mean) / sqrt(var + node->attributes.eps) * weight + naive_bias(graph, node, channel);
}

static double naive_layer_norm(const poei_graph *graph, const poei_node *node, const double *x, size_t at) {
  size_t m = graph->weights[node->weights[0]].shape.count, first = at / m * m;
  double mean = 0.0, var = 0.0;
  for (size_t i = 0; i < m; i++) {
    mean += x[first + i] / (double)m;
  }
  for (size_t i = 0; i < m; i++) {
    var += (x[first + i] - mean) * (x[first + i] - mean) / (double)m;
  }
  return (x[at] - mean) / sqrt(var + node->attributes.eps) * naive_weight(graph, node->weights[0], at - first) +
         naive_bias(graph, node, at - first);
}

/* Number `at` of the node's value. */
static double naive_number(const poei_graph *graph, const poei_node *node, double *const *values, const double *x,
                           size_t at) {
  if (node->op == POEI_OP_INPUT) {
    return x[at];
  }
  const poei_shape *in = &graph->nodes[node->inputs[0]].shape;
  const double *from = values[node->inputs[0]];
  switch (node->op) {
  case POEI_OP_LINEAR: {
    const poei_shape *w = &graph->weights[node->weights[0]].shape; /* [out, in]: in blocks of in numbers */
    size_t out = at % w->size[0], block = at / w->size[0];
    double sum = naive_bias(graph, node, out);
    for (size_t i = 0; i < w->size[1]; i++) {
      sum += from[block * w->size[1] + i] * naive_weight(graph, node->weights[0], out * w->size[1] + i);
    }
    return sum;
  }
  case POEI_OP_SHIFT:
  case POEI_OP_GRU:
  case POEI_OP_LSTM:
  case POEI_OP_NADE:
    return net_naive_sequence(graph, node, in, from, at);
  case POEI_OP_CONV2D:
  case POEI_OP_CONV_TRANSPOSE2D:
  case POEI_OP_AVG_POOL2D:
  case POEI_OP_MAX_POOL2D:
  case POEI_OP_UPSAMPLE2D: {
    size_t columns = node->shape.size[2], pixels = node->shape.size[1] * columns;
    size_t c = at / pixels, y0 = at % pixels / columns, x0 = at % columns;
    const size_t *factor = node->attributes.size;
    return node->op == POEI_OP_CONV2D             ? naive_conv(graph, node, in, from, c, y0, x0)
           : node->op == POEI_OP_CONV_TRANSPOSE2D ? naive_transpose(graph, node, in, from, c, y0, x0)
           : node->op == POEI_OP_UPSAMPLE2D ? from[(c * in->size[1] + y0 / factor[0]) * in->size[2] + x0 / factor[1]]
                                            : naive_pool(node, in, from, c, y0, x0);
  }
  case POEI_OP_GROUP_NORM:
    return naive_group_norm(graph, node, in, from, at);
  case POEI_OP_CHANNEL_AFFINE: {
    size_t channel = at / (in->count / in->size[0]);
    return from[at] * naive_weight(graph, node->weights[0], channel) + naive_bias(graph, node, channel);
  }
  case POEI_OP_AFFINE:
    return node->attributes.scale * from[at] + node->attributes.shift;
  case POEI_OP_LAYER_NORM:
    return naive_layer_norm(graph, node, from, at);
  case POEI_OP_ACTIVATION:
    return net_naive_activation(node->attributes.activation, from[at]);
  case POEI_OP_ADD:
    return from[at] + values[node->inputs[1]][at];
  default:
    return from[at];
  }
}

void net_naive(const poei_graph *graph, const double *x, double *y) {
  double **values = calloc(graph->n_nodes, sizeof *values);
  assert_non_null(values);
  for (size_t i = 0; i < graph->n_nodes; i++) {
    const poei_node *node = &graph->nodes[i];
    values[i] = malloc(node->shape.count * sizeof **values);
    assert_non_null(values[i]);
    for (size_t at = 0; at < node->shape.count; at++) {
      values[i][at] = naive_number(graph, node, values, x, at);
    }
  }
  memcpy(y, values[graph->n_nodes - 1], graph->nodes[graph->n_nodes - 1].shape.count * sizeof *y);
  for (size_t i = 0; i < graph->n_nodes; i++) {
    free(values[i]);
  }
  free(values);
}
