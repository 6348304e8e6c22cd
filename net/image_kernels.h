/* Operators on images [channels, height, width], for one type. Included by ops.c with REAL, NAME(x), GEMM, ACTIVATE.
 *
 * A convolution is a matrix product per image: the patches under the kernel are unrolled into columns
 * [in * kh * kw, oh * ow] in scratch, and w[out, in * kh * kw] times them is the output in its final layout. Working
 * memory does not depend on n, and a row's bits do not either.
 */

/* columns[(c, i, j), (y, x)] = image[c, y * stride + i - padding, x * stride + j - padding], 0 outside. */
static void NAME(unroll)(const poei_window *window, const REAL *image, REAL *columns) {
  for (size_t c = 0; c < window->channels; c++) {
    for (size_t i = 0; i < window->kernel_height; i++) {
      for (size_t j = 0; j < window->kernel_width; j++) {
        for (size_t y = 0; y < window->out_height; y++) {
          size_t row = y * window->stride + i; /* counted from the padded edge */
          bool inside = row >= window->padding && row - window->padding < window->height;
          const REAL *from = image + (c * window->height + (inside ? row - window->padding : 0)) * window->width;
          for (size_t x = 0; x < window->out_width; x++) {
            size_t column = x * window->stride + j;
            bool here = inside && column >= window->padding && column - window->padding < window->width;
            *columns++ = here ? from[column - window->padding] : (REAL)0;
          }
        }
      }
    }
  }
}

/* The adjoint: image[...] += columns[...]. */
static void NAME(roll_up)(const poei_window *window, const REAL *columns, REAL *image) {
  for (size_t c = 0; c < window->channels; c++) {
    for (size_t i = 0; i < window->kernel_height; i++) {
      for (size_t j = 0; j < window->kernel_width; j++) {
        for (size_t y = 0; y < window->out_height; y++, columns += window->out_width) {
          size_t row = y * window->stride + i;
          if (row < window->padding || row - window->padding >= window->height) {
            continue;
          }
          REAL *to = image + (c * window->height + row - window->padding) * window->width;
          for (size_t x = 0; x < window->out_width; x++) {
            size_t column = x * window->stride + j;
            if (column >= window->padding && column - window->padding < window->width) {
              to[column - window->padding] += columns[x];
            }
          }
        }
      }
    }
  }
}

static void NAME(conv2d_forward)(const poei_call *call) {
  const poei_attributes *attributes = &call->node->attributes;
  poei_window window = window_of_conv(call->node, call->in[0], call->weight_shapes[0]);
  size_t out = call->node->shape.size[0], pixels = window.out_height * window.out_width;
  size_t patch = window.channels * window.kernel_height * window.kernel_width;
  const REAL *b = call->weights[1];
  REAL *columns = call->scratch;
  for (size_t r = 0; r < call->n; r++) {
    size_t at = r * out * pixels;
    REAL *y = (REAL *)call->y + at, *tape = call->tape == NULL ? NULL : (REAL *)call->tape + at;
    REAL *z = tape != NULL ? tape : y;
    NAME(unroll)(&window, (const REAL *)call->x[0] + r * call->in[0]->count, columns);
    GEMM(false, false, out, pixels, patch, (REAL)1, call->weights[0], patch, columns, pixels, (REAL)0, z, pixels);
    if (attributes->activation != POEI_IDENTITY || b != NULL) {
      ACTIVATE(attributes->activation, (REAL)attributes->parameter, out, pixels, b, 1, 0, z, y, tape);
    }
  }
}

static void NAME(conv2d_vjp)(const poei_call *call) {
  poei_window window = window_of_conv(call->node, call->in[0], call->weight_shapes[0]);
  size_t out = call->node->shape.size[0], pixels = window.out_height * window.out_width;
  size_t patch = window.channels * window.kernel_height * window.kernel_width;
  if (call->node->attributes.activation != POEI_IDENTITY) {
    NAME(through_activation)(call);
  }
  if (call->dx[0] == NULL) {
    return;
  }
  if (!call->accumulate[0]) {
    memset(call->dx[0], 0, call->n * call->in[0]->count * sizeof(REAL));
  }
  REAL *columns = call->scratch;
  for (size_t r = 0; r < call->n; r++) {
    const REAL *dz = (const REAL *)call->dy + r * out * pixels;
    GEMM(true, false, patch, pixels, out, (REAL)1, call->weights[0], patch, dz, pixels, (REAL)0, columns, pixels);
    NAME(roll_up)(&window, columns, (REAL *)call->dx[0] + r * call->in[0]->count);
  }
}

/* Windows of size x size, side by side; what is left over at the far edges is dropped, as in PyTorch. */
static void NAME(avg_pool2d_forward)(const poei_call *call) {
  size_t size = call->node->attributes.size, width = call->in[0]->size[2], height = call->in[0]->size[1];
  size_t planes = call->n * call->in[0]->size[0], oh = call->node->shape.size[1], ow = call->node->shape.size[2];
  REAL share = (REAL)1 / (REAL)(size * size);
  REAL *y = call->y;
  for (size_t p = 0; p < planes; p++) {
    const REAL *x = (const REAL *)call->x[0] + p * height * width;
    for (size_t i = 0; i < oh * ow; i++) {
      const REAL *corner = x + i / ow * size * width + i % ow * size;
      REAL sum = (REAL)0;
      for (size_t k = 0; k < size * size; k++) {
        sum += corner[k / size * width + k % size];
      }
      *y++ = sum * share;
    }
  }
}

static void NAME(avg_pool2d_vjp)(const poei_call *call) {
  size_t size = call->node->attributes.size, width = call->in[0]->size[2], height = call->in[0]->size[1];
  size_t planes = call->n * call->in[0]->size[0], oh = call->node->shape.size[1], ow = call->node->shape.size[2];
  REAL share = (REAL)1 / (REAL)(size * size);
  if (call->dx[0] == NULL) {
    return;
  }
  if (!call->accumulate[0]) {
    memset(call->dx[0], 0, call->n * call->in[0]->count * sizeof(REAL));
  }
  const REAL *dy = call->dy;
  for (size_t p = 0; p < planes; p++) {
    REAL *dx = (REAL *)call->dx[0] + p * height * width;
    for (size_t i = 0; i < oh * ow; i++, dy++) {
      REAL *corner = dx + i / ow * size * width + i % ow * size;
      for (size_t k = 0; k < size * size; k++) {
        corner[k / size * width + k % size] += *dy * share;
      }
    }
  }
}

/* The tape keeps, per output, where in its window the maximum was (the first of equals; NaN is larger than all, so that
 * it is seen). Windows are at most 4096 wide, so the index is exact in either type. */
static void NAME(max_pool2d_forward)(const poei_call *call) {
  size_t size = call->node->attributes.size, width = call->in[0]->size[2], height = call->in[0]->size[1];
  size_t planes = call->n * call->in[0]->size[0], oh = call->node->shape.size[1], ow = call->node->shape.size[2];
  REAL *y = call->y, *tape = call->tape;
  for (size_t p = 0; p < planes; p++) {
    const REAL *x = (const REAL *)call->x[0] + p * height * width;
    for (size_t i = 0; i < oh * ow; i++) {
      const REAL *corner = x + i / ow * size * width + i % ow * size;
      REAL best = corner[0];
      size_t where = 0;
      for (size_t k = 1; k < size * size; k++) {
        REAL v = corner[k / size * width + k % size];
        if (v > best || (isnan(v) && !isnan(best))) {
          best = v;
          where = k;
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
  size_t size = call->node->attributes.size, width = call->in[0]->size[2], height = call->in[0]->size[1];
  size_t planes = call->n * call->in[0]->size[0], oh = call->node->shape.size[1], ow = call->node->shape.size[2];
  if (call->dx[0] == NULL) {
    return;
  }
  if (!call->accumulate[0]) {
    memset(call->dx[0], 0, call->n * call->in[0]->count * sizeof(REAL));
  }
  const REAL *dy = call->dy, *tape = call->tape;
  for (size_t p = 0; p < planes; p++) {
    REAL *dx = (REAL *)call->dx[0] + p * height * width;
    for (size_t i = 0; i < oh * ow; i++, dy++, tape++) {
      size_t where = (size_t)*tape;
      dx[(i / ow * size + where / size) * width + i % ow * size + where % size] += *dy;
    }
  }
}
