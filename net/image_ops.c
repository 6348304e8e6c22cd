/* Operators on images [channels, height, width] (net/graph.h). Shapes, checks and costs are here, what they compute in
 * image_kernels.h. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/linalg.h"
#include "net/op_parts.h"

/* Largest window, stride, padding, dilation along an axis. */
enum { IMAGE_MOST = 4096 };

/* A kernel that moves over an image with zeros around: geometry of one group of a convolution, or of a pool. */
typedef struct image_window {
  size_t channels, height, width; /* the image                         */
  size_t kernel[2], stride[2], padding[2], dilation[2];
  size_t rows, columns; /* placements of the kernel          */
} image_window;

static size_t window_patch(const image_window *w) {
  return w->channels * w->kernel[0] * w->kernel[1];
}

/* Whether the image is its own columns. */
static bool window_is_pixel(const image_window *w) {
  return w->kernel[0] * w->kernel[1] * w->stride[0] * w->stride[1] == 1 && w->padding[0] + w->padding[1] == 0;
}

static image_window window_make(const poei_node *node, size_t channels, const poei_shape *image, const size_t *kernel,
                                const poei_shape *placements) {
  const poei_attributes *a = &node->attributes;
  return (image_window){.channels = channels,
                        .height = image->size[1],
                        .width = image->size[2],
                        .kernel = {kernel[0], kernel[1]},
                        .stride = {a->stride[0], a->stride[1]},
                        .padding = {a->padding[0], a->padding[1]},
                        .dilation = {a->dilation[0], a->dilation[1]},
                        .rows = placements->size[1],
                        .columns = placements->size[2]};
}

static image_window window_of_conv(const poei_node *node, const poei_shape *in, const poei_shape *weight) {
  return window_make(node, weight->size[1], in, weight->size + 2, &node->shape);
}

/* The kernel of a transposed convolution moves over its output and is placed once per pixel of its input. */
static image_window window_of_transpose(const poei_node *node, const poei_shape *in, const poei_shape *weight) {
  return window_make(node, weight->size[1], &node->shape, weight->size + 2, in);
}

static image_window window_of_pool(const poei_node *node, const poei_shape *in) {
  image_window window = window_make(node, in->size[0], in, node->attributes.size, &node->shape);
  window.dilation[0] = window.dilation[1] = 1;
  return window;
}

/* The pixels of one placement of a pool's window that are inside the image. */
typedef struct image_part {
  size_t top, bottom, left, right;
} image_part;

/* [first, last) of the window placed at `place` along one axis of the image. */
static void window_span(const image_window *w, size_t axis, size_t place, size_t *first, size_t *last) {
  size_t start = place * w->stride[axis], end = start + w->kernel[axis] - w->padding[axis];
  size_t size = axis == 0 ? w->height : w->width;
  *first = start > w->padding[axis] ? start - w->padding[axis] : 0;
  *last = end < size ? end : size;
}

static image_part window_part(const image_window *w, size_t placement) {
  image_part part;
  window_span(w, 0, placement / w->columns, &part.top, &part.bottom);
  window_span(w, 1, placement % w->columns, &part.left, &part.right);
  return part;
}

#define POEI_KERNELS "net/image_kernels.h"
#include "net/each_type.h"

/* ---- shapes ---- */

static poe_status image_check(const poei_shape *in, poe_error *error) {
  char text[160];
  if (in->ndim != 3) {
    return poe_error_set(error, POE_E_SHAPE, "the input has shape %s, but [channels, height, width] is needed",
                         poei_op_text(in, text));
  }
  return POE_OK;
}

/* Strides, paddings and dilations within bounds; 0 for a stride or dilation is refused. */
static poe_status image_check_moves(const poei_node *node, poe_error *error) {
  const poei_attributes *a = &node->attributes;
  for (size_t k = 0; k < 2; k++) {
    bool fits = a->stride[k] >= 1 && a->stride[k] <= IMAGE_MOST && a->dilation[k] >= 1 &&
                a->dilation[k] <= IMAGE_MOST && a->padding[k] <= IMAGE_MOST;
    if (!fits) {
      return poe_error_set(error, POE_E_DOMAIN,
                           "stride %zu, dilation %zu, padding %zu: stride and dilation must be 1..%d, padding 0..%d",
                           a->stride[k], a->dilation[k], a->padding[k], IMAGE_MOST, IMAGE_MOST);
    }
  }
  return POE_OK;
}

/* What a convolution and its transpose check alike: the weight is [size0, size1, kh, kw] with `channels` / groups
 * of the input in axis `axis`. */
static poe_status conv_check(const poei_graph *graph, const poei_node *node, size_t axis, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0), *w = poei_node_weight_shape(graph, node, 0);
  size_t groups = node->attributes.groups;
  poe_status status = image_check(in, error);
  status = status == POE_OK ? image_check_moves(node, error) : status;
  if (status != POE_OK) {
    return status;
  }
  const char *name = graph->weights[node->weights[0]].name;
  char text[160], have[160];
  if (groups < 1 || in->size[0] % groups != 0) {
    return poe_error_set(error, POE_E_SHAPE, "%zu channels do not divide into %zu groups", in->size[0], groups);
  }
  size_t channels = axis == 1 ? in->size[0] / groups : in->size[0];
  if (w->ndim != 4 || w->size[axis] != channels || w->size[2] > IMAGE_MOST || w->size[3] > IMAGE_MOST) {
    return poe_error_set(error, POE_E_SHAPE,
                         axis == 1 ? "weight '%s' has shape %s, but its input %s needs [out, %zu, kh, kw]"
                                   : "weight '%s' has shape %s, but its input %s needs [%zu, out / groups, kh, kw]",
                         name, poei_op_text(w, text), poei_op_text(in, have), channels);
  }
  if (axis == 1 && w->size[0] % groups != 0) {
    return poe_error_set(error, POE_E_SHAPE, "the %zu outputs of '%s' do not divide into %zu groups", w->size[0], name,
                         groups);
  }
  return POE_OK;
}

/* The columns of one group must stay within the bound of a value too. */
static poe_status conv_check_columns(const image_window *window, poe_error *error) {
  size_t columns[3] = {window_patch(window), window->rows, window->columns};
  poei_shape scratch;
  return poei_shape_make(3, columns, &scratch, error);
}

static poe_status conv2d_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0), *w = poei_node_weight_shape(graph, node, 0);
  const poei_attributes *a = &node->attributes;
  poe_status status = conv_check(graph, node, 1, error);
  if (status != POE_OK) {
    return status;
  }
  size_t out[3] = {w->size[0]};
  for (size_t k = 0; k < 2; k++) {
    size_t padded = in->size[1 + k] + 2 * a->padding[k], reach = a->dilation[k] * (w->size[2 + k] - 1) + 1;
    if (padded < reach) {
      char text[160], have[160];
      return poe_error_set(error, POE_E_SHAPE, "the kernel of '%s' %s is larger than its padded input %s",
                           graph->weights[node->weights[0]].name, poei_op_text(w, text), poei_op_text(in, have));
    }
    out[1 + k] = (padded - reach) / a->stride[k] + 1;
  }
  status = poei_shape_make(3, out, &node->shape, error);
  if (status == POE_OK) {
    image_window window = window_of_conv(node, in, w);
    status = conv_check_columns(&window, error);
  }
  return status == POE_OK ? poei_op_check_bias(graph, node, w->size[0], error) : status;
}

static poe_status conv_transpose2d_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0), *w = poei_node_weight_shape(graph, node, 0);
  const poei_attributes *a = &node->attributes;
  poe_status status = conv_check(graph, node, 0, error);
  if (status != POE_OK) {
    return status;
  }
  size_t out[3];
  if (!poei_mul_size(w->size[1], a->groups, &out[0])) {
    return poe_error_set(error, POE_E_SHAPE, "%zu groups are too many", a->groups);
  }
  for (size_t k = 0; k < 2; k++) {
    if (a->output_padding[k] >= a->stride[k] && a->output_padding[k] >= a->dilation[k]) {
      return poe_error_set(error, POE_E_DOMAIN, "output_padding %zu must be less than the stride or the dilation",
                           a->output_padding[k]);
    }
    size_t reach =
        (in->size[1 + k] - 1) * a->stride[k] + a->dilation[k] * (w->size[2 + k] - 1) + a->output_padding[k] + 1;
    if (reach <= 2 * a->padding[k]) {
      return poe_error_set(error, POE_E_SHAPE, "padding %zu leaves nothing of the output", a->padding[k]);
    }
    out[1 + k] = reach - 2 * a->padding[k];
  }
  status = poei_shape_make(3, out, &node->shape, error);
  if (status == POE_OK) {
    image_window window = window_of_transpose(node, in, w);
    status = conv_check_columns(&window, error);
  }
  return status == POE_OK ? poei_op_check_bias(graph, node, out[0], error) : status;
}

static poe_status pool_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0);
  poei_attributes *a = &node->attributes;
  poe_status status = image_check(in, error);
  size_t out[3] = {0};
  for (size_t k = 0; k < 2 && status == POE_OK; k++) {
    size_t size = a->size[k];
    a->stride[k] = a->stride[k] == 0 ? size : a->stride[k]; /* side by side */
    if (size < 1 || size > IMAGE_MOST || a->padding[k] > size / 2 || size > in->size[1 + k] + 2 * a->padding[k]) {
      char text[160];
      return poe_error_set(error, POE_E_SHAPE,
                           "a window of %zu with padding %zu (at most half the window) does not fit the input %s", size,
                           a->padding[k], poei_op_text(in, text));
    }
    out[1 + k] = (in->size[1 + k] + 2 * a->padding[k] - size) / a->stride[k] + 1;
  }
  if (status == POE_OK) {
    out[0] = in->size[0];
    a->dilation[0] = a->dilation[1] = 1;
    status = image_check_moves(node, error);
  }
  return status == POE_OK ? poei_shape_make(3, out, &node->shape, error) : status;
}

static poe_status upsample2d_infer(const poei_graph *graph, poei_node *node, poe_error *error) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0);
  const size_t *factor = node->attributes.size;
  poe_status status = image_check(in, error);
  if (status != POE_OK) {
    return status;
  }
  size_t out[3] = {in->size[0]};
  if (!poei_mul_size(in->size[1], factor[0], &out[1]) || !poei_mul_size(in->size[2], factor[1], &out[2])) {
    return poe_error_set(error, POE_E_SHAPE, "factors %zu and %zu are too large", factor[0], factor[1]);
  }
  return poei_shape_make(3, out, &node->shape, error);
}

/* ---- costs ---- */

static size_t conv2d_scratch(const poei_graph *graph, const poei_node *node) {
  image_window w = window_of_conv(node, poei_node_input_shape(graph, node, 0), poei_node_weight_shape(graph, node, 0));
  return window_is_pixel(&w) ? 0 : window_patch(&w) * w.rows * w.columns;
}

static size_t conv_transpose2d_scratch(const poei_graph *graph, const poei_node *node) {
  image_window w =
      window_of_transpose(node, poei_node_input_shape(graph, node, 0), poei_node_weight_shape(graph, node, 0));
  return window_is_pixel(&w) ? 0 : window_patch(&w) * w.rows * w.columns;
}

static double conv2d_flops(const poei_graph *graph, const poei_node *node) {
  double pixels = (double)node->shape.size[1] * (double)node->shape.size[2];
  return 2.0 * (double)poei_node_weight_shape(graph, node, 0)->count * pixels;
}

static double conv_transpose2d_flops(const poei_graph *graph, const poei_node *node) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0);
  double pixels = (double)in->size[1] * (double)in->size[2];
  return 2.0 * (double)poei_node_weight_shape(graph, node, 0)->count * pixels;
}

/* The product of one group with the columns of one image, and its adjoint. */
static void conv_gemms(const image_window *w, size_t outs, size_t times, poei_gemm_shape *with, poei_gemm_shape *back) {
  size_t patch = window_patch(w), places = w->rows * w->columns;
  *with = (poei_gemm_shape){.m = outs, .n = places, .k = patch, .times = times};
  *back = (poei_gemm_shape){.transposed_a = true, .m = patch, .n = places, .k = outs, .times = times};
}

static void conv2d_gemms(const poei_graph *graph, const poei_node *node, size_t n, poei_gemm_shape *shapes) {
  image_window w = window_of_conv(node, poei_node_input_shape(graph, node, 0), poei_node_weight_shape(graph, node, 0));
  size_t groups = node->attributes.groups;
  conv_gemms(&w, node->shape.size[0] / groups, n * groups, &shapes[0], &shapes[1]);
}

static void conv_transpose2d_gemms(const poei_graph *graph, const poei_node *node, size_t n, poei_gemm_shape *shapes) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0);
  image_window w = window_of_transpose(node, in, poei_node_weight_shape(graph, node, 0));
  size_t groups = node->attributes.groups;
  conv_gemms(&w, in->size[0] / groups, n * groups, &shapes[1], &shapes[0]);
}

/* ---- dependences ---- */

/* Every placement of the kernel, one number of the weight after the other. Forwards the placement depends on the pixel
 * under it; in a transposed convolution the pixel on the placement. */
static void conv_depend(const poei_graph *graph, const poei_node *node, const image_window *w, size_t groups,
                        size_t outs, bool transpose, size_t words, const uint64_t *from, uint64_t *sets) {
  size_t patch = window_patch(w), places = w->rows * w->columns, plane = w->height * w->width;
  size_t taps = w->kernel[0] * w->kernel[1];
  for (size_t i = 0; i < groups * outs * patch; i++) { /* number i of the weight */
    size_t out = i / patch, channel = out / outs * w->channels + i % patch / taps, tap = i % taps;
    for (size_t at = 0; at < places && poei_op_connects(graph, node, i); at++) {
      size_t y = at / w->columns * w->stride[0] + tap / w->kernel[1] * w->dilation[0];
      size_t x = at % w->columns * w->stride[1] + tap % w->kernel[1] * w->dilation[1];
      bool inside =
          y >= w->padding[0] && y - w->padding[0] < w->height && x >= w->padding[1] && x - w->padding[1] < w->width;
      if (inside) {
        size_t pixel = channel * plane + (y - w->padding[0]) * w->width + x - w->padding[1], place = out * places + at;
        size_t to = transpose ? pixel : place, source = transpose ? place : pixel;
        poei_op_depend_unite(words, sets + to * words, from + source * words, 1);
      }
    }
  }
}

static void conv2d_depend(const poei_graph *graph, const poei_node *node, size_t words, const uint64_t *const *from,
                          uint64_t *sets) {
  image_window w = window_of_conv(node, poei_node_input_shape(graph, node, 0), poei_node_weight_shape(graph, node, 0));
  size_t groups = node->attributes.groups;
  conv_depend(graph, node, &w, groups, node->shape.size[0] / groups, false, words, from[0], sets);
}

static void conv_transpose2d_depend(const poei_graph *graph, const poei_node *node, size_t words,
                                    const uint64_t *const *from, uint64_t *sets) {
  const poei_shape *in = poei_node_input_shape(graph, node, 0);
  image_window w = window_of_transpose(node, in, poei_node_weight_shape(graph, node, 0));
  size_t groups = node->attributes.groups;
  conv_depend(graph, node, &w, groups, in->size[0] / groups, true, words, from[0], sets);
}

static void pool_depend(const poei_graph *graph, const poei_node *node, size_t words, const uint64_t *const *from,
                        uint64_t *sets) {
  image_window w = window_of_pool(node, poei_node_input_shape(graph, node, 0));
  for (size_t o = 0; o < node->shape.count; o++) {
    size_t plane = o / (w.rows * w.columns) * w.height * w.width;
    image_part part = window_part(&w, o % (w.rows * w.columns));
    for (size_t i = part.top; i < part.bottom; i++) {
      for (size_t j = part.left; j < part.right; j++) {
        poei_op_depend_unite(words, sets + o * words, from[0] + (plane + i * w.width + j) * words, 1);
      }
    }
  }
}

static void upsample2d_depend(const poei_graph *graph, const poei_node *node, size_t words, const uint64_t *const *from,
                              uint64_t *sets) {
  const size_t *factor = node->attributes.size, *in = poei_node_input_shape(graph, node, 0)->size;
  const size_t *out = node->shape.size;
  for (size_t o = 0; o < node->shape.count; o++) {
    size_t c = o / (out[1] * out[2]), y = o / out[2] % out[1], x = o % out[2];
    size_t pixel = (c * in[1] + y / factor[0]) * in[2] + x / factor[1];
    poei_op_depend_unite(words, sets + o * words, from[0] + pixel * words, 1);
  }
}

/* ---- records ---- */

const poei_op_record poei_op_conv2d = {.name = "conv2d",
                                       .n_inputs = 1,
                                       .min_weights = 1,
                                       .max_weights = 2,
                                       .fuses_activation = true,
                                       .infer = conv2d_infer,
                                       POEI_OP_FUNCTIONS(conv2d),
                                       .flops = conv2d_flops,
                                       .tape = poei_op_tape_fused,
                                       .scratch = conv2d_scratch,
                                       .depend = conv2d_depend,
                                       .gemms = conv2d_gemms};

const poei_op_record poei_op_conv_transpose2d = {.name = "conv_transpose2d",
                                                 .n_inputs = 1,
                                                 .min_weights = 1,
                                                 .max_weights = 2,
                                                 .fuses_activation = true,
                                                 .infer = conv_transpose2d_infer,
                                                 POEI_OP_FUNCTIONS(conv_transpose2d),
                                                 .flops = conv_transpose2d_flops,
                                                 .tape = poei_op_tape_fused,
                                                 .scratch = conv_transpose2d_scratch,
                                                 .depend = conv_transpose2d_depend,
                                                 .gemms = conv_transpose2d_gemms};

const poei_op_record poei_op_avg_pool2d = {.name = "avg_pool2d",
                                           .n_inputs = 1,
                                           .infer = pool_infer,
                                           POEI_OP_FUNCTIONS(avg_pool2d),
                                           .flops = poei_op_flops_each,
                                           .depend = pool_depend};

const poei_op_record poei_op_max_pool2d = {.name = "max_pool2d",
                                           .n_inputs = 1,
                                           .infer = pool_infer,
                                           POEI_OP_FUNCTIONS(max_pool2d),
                                           .flops = poei_op_flops_each,
                                           .tape = poei_op_tape_each,
                                           .depend = pool_depend};

const poei_op_record poei_op_upsample2d = {.name = "upsample2d",
                                           .n_inputs = 1,
                                           .infer = upsample2d_infer,
                                           POEI_OP_FUNCTIONS(upsample2d),
                                           .flops = poei_op_flops_each,
                                           .depend = upsample2d_depend};
