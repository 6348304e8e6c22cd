/* Operators on images [channels, height, width], for one type (each_type.h).
 *
 * A convolution is a matrix product per image and group: the patches under the kernel are unrolled into columns
 * [channels * kh * kw, placements] in scratch, and w[out, channels * kh * kw] times them is the output in its final
 * layout. A transposed convolution is its adjoint: the product first, then the columns are added up into the image.
 * Where the kernel is one pixel that moves by one, the image is its own columns. Working memory does not depend on n,
 * and a row's bits do not either.
 */

/* columns[(c, i, j), (y, x)] = image[c, y * stride + i * dilation - padding, ...], 0 outside. */
static void NAME(unroll)(const image_window *w, const REAL *image, REAL *columns) {
  for (size_t c = 0; c < w->channels; c++) {
    for (size_t i = 0; i < w->kernel[0]; i++) {
      for (size_t j = 0; j < w->kernel[1]; j++) {
        for (size_t y = 0; y < w->rows; y++) {
          size_t row = y * w->stride[0] + i * w->dilation[0]; /* counted from the padded edge */
          bool inside = row >= w->padding[0] && row - w->padding[0] < w->height;
          const REAL *from = image + (c * w->height + (inside ? row - w->padding[0] : 0)) * w->width;
          for (size_t x = 0; x < w->columns; x++) {
            size_t column = x * w->stride[1] + j * w->dilation[1];
            bool here = inside && column >= w->padding[1] && column - w->padding[1] < w->width;
            *columns++ = here ? from[column - w->padding[1]] : (REAL)0;
          }
        }
      }
    }
  }
}

/* The adjoint: image[...] += columns[...]. */
static void NAME(roll_up)(const image_window *w, const REAL *columns, REAL *image) {
  for (size_t c = 0; c < w->channels; c++) {
    for (size_t i = 0; i < w->kernel[0]; i++) {
      for (size_t j = 0; j < w->kernel[1]; j++) {
        for (size_t y = 0; y < w->rows; y++, columns += w->columns) {
          size_t row = y * w->stride[0] + i * w->dilation[0];
          if (row < w->padding[0] || row - w->padding[0] >= w->height) {
            continue;
          }
          REAL *to = image + (c * w->height + row - w->padding[0]) * w->width;
          for (size_t x = 0; x < w->columns; x++) {
            size_t column = x * w->stride[1] + j * w->dilation[1];
            if (column >= w->padding[1] && column - w->padding[1] < w->width) {
              to[column - w->padding[1]] += columns[x];
            }
          }
        }
      }
    }
  }
}

/* out[outs, placements] = w[outs, patch] columns(image), for one group of one image. */
static void NAME(correlate)(const image_window *w, size_t outs, const REAL *weight, const REAL *image, REAL beta,
                            REAL *out, REAL *scratch) {
  size_t patch = window_patch(w), places = w->rows * w->columns;
  if (!window_is_pixel(w)) {
    NAME(unroll)(w, image, scratch);
    image = scratch;
  }
  GEMM(false, false, outs, places, patch, (REAL)1, weight, patch, image, places, beta, out, places);
}

/* Its adjoint: image += columns'(w' from[outs, placements]). */
static void NAME(spread)(const image_window *w, size_t outs, const REAL *weight, const REAL *from, REAL *image,
                         REAL *scratch) {
  size_t patch = window_patch(w), places = w->rows * w->columns;
  if (window_is_pixel(w)) {
    GEMM(true, false, patch, places, outs, (REAL)1, weight, patch, from, places, (REAL)1, image, places);
    return;
  }
  GEMM(true, false, patch, places, outs, (REAL)1, weight, patch, from, places, (REAL)0, scratch, places);
  NAME(roll_up)(w, scratch, image);
}

/* Bias and activation of one row's z[channels, pixels], which is the tape's or y's own memory. */
static void NAME(finish)(const poei_call *call, REAL *z, REAL *y, REAL *tape) {
  const poei_attributes *attributes = &call->node->attributes;
  const poei_shape *shape = &call->node->shape;
  if (attributes->activation != POEI_IDENTITY || call->weights[1] != NULL) {
    ACTIVATE(attributes->activation, (REAL)attributes->parameter, shape->size[0], shape->size[1] * shape->size[2],
             call->weights[1], 1, 0, z, y, tape);
  }
}

static void NAME(conv2d_forward)(const poei_call *call) {
  image_window window = window_of_conv(call->node, call->in[0], call->weight_shapes[0]);
  size_t groups = call->node->attributes.groups, outs = call->node->shape.size[0] / groups;
  size_t out_each = call->node->shape.count / groups, in_each = call->in[0]->count / groups;
  const REAL *weight = call->weights[0], *x = call->x[0];
  for (size_t r = 0; r < call->n; r++) {
    size_t at = r * call->node->shape.count;
    REAL *y = (REAL *)call->y + at, *tape = call->tape == NULL ? NULL : (REAL *)call->tape + at;
    REAL *z = tape != NULL ? tape : y;
    for (size_t g = 0; g < groups; g++, x += in_each) {
      NAME(correlate)
      (&window, outs, weight + g * outs * window_patch(&window), x, (REAL)0, z + g * out_each, call->scratch);
    }
    NAME(finish)(call, z, y, tape);
  }
}

static void NAME(conv2d_vjp)(const poei_call *call) {
  image_window window = window_of_conv(call->node, call->in[0], call->weight_shapes[0]);
  size_t groups = call->node->attributes.groups, outs = call->node->shape.size[0] / groups;
  size_t out_each = call->node->shape.count / groups, in_each = call->in[0]->count / groups;
  if (call->node->attributes.activation != POEI_IDENTITY) {
    NAME(through_activation)(call);
  }
  REAL *dx = NAME(start)(call);
  if (dx == NULL) {
    return;
  }
  const REAL *weight = call->weights[0], *dz = call->dy;
  for (size_t r = 0; r < call->n; r++) {
    for (size_t g = 0; g < groups; g++, dz += out_each, dx += in_each) {
      NAME(spread)(&window, outs, weight + g * outs * window_patch(&window), dz, dx, call->scratch);
    }
  }
}

static void NAME(conv_transpose2d_forward)(const poei_call *call) {
  image_window window = window_of_transpose(call->node, call->in[0], call->weight_shapes[0]);
  size_t groups = call->node->attributes.groups, ins = call->in[0]->size[0] / groups;
  size_t out_each = call->node->shape.count / groups, in_each = call->in[0]->count / groups;
  const REAL *weight = call->weights[0], *x = call->x[0];
  for (size_t r = 0; r < call->n; r++) {
    size_t at = r * call->node->shape.count;
    REAL *y = (REAL *)call->y + at, *tape = call->tape == NULL ? NULL : (REAL *)call->tape + at;
    REAL *z = tape != NULL ? tape : y;
    memset(z, 0, call->node->shape.count * sizeof(REAL));
    for (size_t g = 0; g < groups; g++, x += in_each) {
      NAME(spread)(&window, ins, weight + g * ins * window_patch(&window), x, z + g * out_each, call->scratch);
    }
    NAME(finish)(call, z, y, tape);
  }
}

static void NAME(conv_transpose2d_vjp)(const poei_call *call) {
  image_window window = window_of_transpose(call->node, call->in[0], call->weight_shapes[0]);
  size_t groups = call->node->attributes.groups, ins = call->in[0]->size[0] / groups;
  size_t out_each = call->node->shape.count / groups, in_each = call->in[0]->count / groups;
  if (call->node->attributes.activation != POEI_IDENTITY) {
    NAME(through_activation)(call);
  }
  const REAL *weight = call->weights[0], *dz = call->dy;
  REAL *dx = call->dx[0];
  for (size_t r = 0; r < call->n && dx != NULL; r++) {
    for (size_t g = 0; g < groups; g++, dz += out_each, dx += in_each) {
      NAME(correlate)
      (&window, ins, weight + g * ins * window_patch(&window), dz, call->accumulate[0] ? (REAL)1 : (REAL)0, dx,
       call->scratch);
    }
  }
}

/* Windows that do not fit the padded image whole are dropped at the far edges, as in PyTorch. The mean counts padding
 * as 0 (count_include_pad). */
static void NAME(avg_pool2d_forward)(const poei_call *call) {
  image_window w = window_of_pool(call->node, call->in[0]);
  REAL share = (REAL)1 / (REAL)(w.kernel[0] * w.kernel[1]), *y = call->y;
  for (size_t p = 0; p < call->n * w.channels; p++) {
    const REAL *x = (const REAL *)call->x[0] + p * w.height * w.width;
    for (size_t at = 0; at < w.rows * w.columns; at++) {
      image_part part = window_part(&w, at);
      REAL sum = (REAL)0;
      for (size_t i = part.top; i < part.bottom; i++) {
        for (size_t j = part.left; j < part.right; j++) {
          sum += x[i * w.width + j];
        }
      }
      *y++ = sum * share;
    }
  }
}

static void NAME(avg_pool2d_vjp)(const poei_call *call) {
  image_window w = window_of_pool(call->node, call->in[0]);
  REAL share = (REAL)1 / (REAL)(w.kernel[0] * w.kernel[1]), *start = NAME(start)(call);
  const REAL *dy = call->dy;
  for (size_t p = 0; p < call->n * w.channels && start != NULL; p++) {
    REAL *dx = start + p * w.height * w.width;
    for (size_t at = 0; at < w.rows * w.columns; at++, dy++) {
      image_part part = window_part(&w, at);
      for (size_t i = part.top; i < part.bottom; i++) {
        for (size_t j = part.left; j < part.right; j++) {
          dx[i * w.width + j] += *dy * share;
        }
      }
    }
  }
}

/* The tape keeps, per output, which pixel of the part of its window that is inside held the maximum (the first of
 * equals; NaN is larger than all, so that it is seen). Parts have at most 2^24 pixels: exact in either type. */
static void NAME(max_pool2d_forward)(const poei_call *call) {
  image_window w = window_of_pool(call->node, call->in[0]);
  REAL *y = call->y, *tape = call->tape;
  for (size_t p = 0; p < call->n * w.channels; p++) {
    const REAL *x = (const REAL *)call->x[0] + p * w.height * w.width;
    for (size_t at = 0; at < w.rows * w.columns; at++) {
      image_part part = window_part(&w, at);
      REAL best = x[part.top * w.width + part.left];
      size_t where = 0, k = 0;
      for (size_t i = part.top; i < part.bottom; i++) {
        for (size_t j = part.left; j < part.right; j++, k++) {
          REAL v = x[i * w.width + j];
          if (v > best || (isnan(v) && !isnan(best))) {
            best = v;
            where = k;
          }
        }
      }
      *y++ = best;
      if (tape != NULL) {
        *tape++ = (REAL)where;
      }
    }
  }
}

static void NAME(max_pool2d_vjp)(const poei_call *call) {
  image_window w = window_of_pool(call->node, call->in[0]);
  const REAL *dy = call->dy, *tape = call->tape;
  REAL *start = NAME(start)(call);
  for (size_t p = 0; p < call->n * w.channels && start != NULL; p++) {
    REAL *dx = start + p * w.height * w.width;
    for (size_t at = 0; at < w.rows * w.columns; at++, dy++, tape++) {
      image_part part = window_part(&w, at);
      size_t where = (size_t)*tape, across = part.right - part.left;
      dx[(part.top + where / across) * w.width + part.left + where % across] += *dy;
    }
  }
}

static void NAME(upsample2d_forward)(const poei_call *call) {
  const size_t *factor = call->node->attributes.size, *in = call->in[0]->size, *out = call->node->shape.size;
  REAL *y = call->y;
  for (size_t p = 0; p < call->n * in[0]; p++) {
    const REAL *x = (const REAL *)call->x[0] + p * in[1] * in[2];
    for (size_t i = 0; i < out[1]; i++) {
      for (size_t j = 0; j < out[2]; j++) {
        *y++ = x[i / factor[0] * in[2] + j / factor[1]];
      }
    }
  }
}

static void NAME(upsample2d_vjp)(const poei_call *call) {
  const size_t *factor = call->node->attributes.size, *in = call->in[0]->size, *out = call->node->shape.size;
  const REAL *dy = call->dy;
  REAL *start = NAME(start)(call);
  for (size_t p = 0; p < call->n * in[0] && start != NULL; p++) {
    REAL *dx = start + p * in[1] * in[2];
    for (size_t i = 0; i < out[1]; i++) {
      for (size_t j = 0; j < out[2]; j++) {
        dx[i / factor[0] * in[2] + j / factor[1]] += *dy++;
      }
    }
  }
}
