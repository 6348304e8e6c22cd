/* Layers of a flow that move numbers without changing them: `permute`, `reverse`, `squeeze`, `split`. All are one
 * permutation of the view's columns, y_i = x_index(i); log |det| = 0.
 *
 * squeeze: y[4c + 2i + j, r, s] = x[c, 2r + i, 2s + j]; split: the half that is kept comes first and is the new view
 * (Dinh, Sohl-Dickstein and Bengio 2017, sections 3.5 and 3.6).
 */
#include <string.h>

#include "core/alloc.h"
#include "experts/flow.h"

typedef struct layout {
  size_t m;
  size_t *index; /* [m] */
} layout;

static void layout_destroy(void *self) {
  layout *l = self;
  if (l != NULL) {
    poei_free(l->index);
    poei_free(l);
  }
}

static size_t layout_scratch(const void *self, unsigned want, size_t n) {
  (void)want;
  (void)n;
  return poe_scratch_need(((const layout *)self)->m, sizeof(double));
}

/* Every row of x[n, d]: new_i = old_index(i) or, backwards, new_index(i) = old_i. */
static void layout_move(const layout *l, size_t n, size_t d, double *x, bool backwards, poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch);
  double *old = poe_scratch_doubles(scratch, l->m);
  for (size_t r = 0; r < n; r++) {
    double *row = x + r * d;
    memcpy(old, row, l->m * sizeof *old);
    for (size_t i = 0; i < l->m; i++) {
      if (backwards) {
        row[l->index[i]] = old[i];
      } else {
        row[i] = old[l->index[i]];
      }
    }
  }
  poe_scratch_release(scratch, mark);
}

static poe_status layout_apply(const void *self, poei_flow_pass *pass, poe_error *error) {
  layout_move(self, pass->n, pass->d, pass->x, false, pass->scratch);
  poe_status status = poei_flow_rest(pass, error);
  if (status == POE_OK && pass->grad != NULL) {
    layout_move(self, pass->n, pass->d, pass->grad, true, pass->scratch);
  }
  return status;
}

static void layout_invert(const void *self, poei_flow_pass *pass) {
  layout_move(self, pass->n, pass->d, pass->x, true, pass->scratch);
}

static const poei_bijector layout_ops = {.keeps_boxes = true,
                                         .destroy = layout_destroy,
                                         .scratch = layout_scratch,
                                         .apply = layout_apply,
                                         .invert = layout_invert};

/* ---- reading ---- */

/* A layer with the identity as its index, to be filled. */
static layout *layout_make(const poei_flow_reader *reader, poe_error *error) {
  layout *made = poei_calloc(1, sizeof *made);
  size_t *index = poei_alloc(reader->view.count, sizeof *index);
  if (made == NULL || index == NULL) {
    poei_free(made);
    poei_free(index);
    poei_flow_no_memory(reader, error);
    return NULL;
  }
  for (size_t i = 0; i < reader->view.count; i++) {
    index[i] = i;
  }
  *made = (layout){.m = reader->view.count, .index = index};
  return made;
}

/* numbers[count] as a permutation of 0..count-1, applied to whole channels of `pixels` columns. */
static poe_status layout_fill(const poei_flow_reader *reader, size_t count, size_t pixels, const double *numbers,
                              size_t *index, poe_error *error) {
  unsigned char *seen = poei_calloc(count, 1);
  poe_status status = seen == NULL ? poei_flow_no_memory(reader, error) : POE_OK;
  for (size_t i = 0; i < count && status == POE_OK; i++) {
    bool good = numbers[i] >= 0.0 && numbers[i] < (double)count && numbers[i] == floor(numbers[i]);
    if (!good || seen[(size_t)numbers[i]]) {
      status = poei_flow_refuse(reader, error, POE_E_FORMAT,
                                "'permutation' must hold each of 0..%zu once, but number %zu is %g", count - 1, i,
                                numbers[i]);
      break;
    }
    seen[(size_t)numbers[i]] = 1;
    for (size_t k = 0; k < pixels; k++) {
      index[i * pixels + k] = (size_t)numbers[i] * pixels + k;
    }
  }
  poei_free(seen);
  return status;
}

poe_status poei_flow_read_permute(poei_flow_reader *reader, poei_flow_layer *layer, poe_error *error) {
  double *numbers = NULL;
  size_t count = 0, pixels = poei_flow_pixels(reader);
  poe_status status = poei_flow_keys(reader, "permutation", error);
  if (status == POE_OK) {
    status = poei_flow_list(reader, "permutation", &numbers, &count, error);
  }
  if (status == POE_OK && count != reader->view.count && count != poei_flow_channels(reader)) {
    status = poei_flow_refuse(reader, error, POE_E_SHAPE, "'permutation' has %zu numbers, but %zu are needed", count,
                              poei_flow_channels(reader));
  }
  layout *made = status == POE_OK ? layout_make(reader, error) : NULL;
  if (made != NULL) {
    status = layout_fill(reader, count, count == reader->view.count ? 1 : pixels, numbers, made->index, error);
  } else if (status == POE_OK) {
    status = POE_E_MEMORY;
  }
  poei_free(numbers);
  if (status != POE_OK) {
    layout_destroy(made);
    return status;
  }
  *layer = (poei_flow_layer){&layout_ops, made};
  return POE_OK;
}

poe_status poei_flow_read_reverse(poei_flow_reader *reader, poei_flow_layer *layer, poe_error *error) {
  poe_status status = poei_flow_keys(reader, "", error);
  layout *made = status == POE_OK ? layout_make(reader, error) : NULL;
  if (made == NULL) {
    return status == POE_OK ? POE_E_MEMORY : status;
  }
  size_t channels = poei_flow_channels(reader), pixels = poei_flow_pixels(reader);
  for (size_t i = 0; i < made->m; i++) {
    made->index[i] = (channels - 1 - i / pixels) * pixels + i % pixels;
  }
  *layer = (poei_flow_layer){&layout_ops, made};
  return POE_OK;
}

poe_status poei_flow_read_squeeze(poei_flow_reader *reader, poei_flow_layer *layer, poe_error *error) {
  poe_status status = poei_flow_keys(reader, "", error);
  poei_shape *view = &reader->view;
  if (status == POE_OK && (view->ndim != 3 || view->size[1] % 2 != 0 || view->size[2] % 2 != 0)) {
    char text[160];
    return poei_flow_refuse(reader, error, POE_E_SHAPE,
                            "it needs [channels, height, width] with even sides, but what arrives is %s",
                            poei_shape_text(view->ndim, view->size, text, sizeof text));
  }
  layout *made = status == POE_OK ? layout_make(reader, error) : NULL;
  if (made == NULL) {
    return status == POE_OK ? POE_E_MEMORY : status;
  }
  size_t height = view->size[1], width = view->size[2], quarter = height * width / 4;
  for (size_t i = 0; i < made->m; i++) {
    size_t out = i / quarter, row = i % quarter / (width / 2), column = i % (width / 2);
    made->index[i] = (out / 4 * height + 2 * row + out % 4 / 2) * width + 2 * column + out % 2;
  }
  *view = (poei_shape){.ndim = 3, .size = {4 * view->size[0], height / 2, width / 2}, .count = view->count};
  *layer = (poei_flow_layer){&layout_ops, made};
  return POE_OK;
}

poe_status poei_flow_read_split(poei_flow_reader *reader, poei_flow_layer *layer, poe_error *error) {
  size_t keep = 0, channels = poei_flow_channels(reader), pixels = poei_flow_pixels(reader);
  poe_status status = poei_flow_keys(reader, "keep", error);
  if (status == POE_OK) {
    status = poei_flow_choice(reader, "keep", "first|last", 0, &keep, error);
  }
  if (status == POE_OK && channels < 2) {
    status = poei_flow_refuse(reader, error, POE_E_SHAPE, "there are not two channels to split");
  }
  layout *made = status == POE_OK ? layout_make(reader, error) : NULL;
  if (made == NULL) {
    return status == POE_OK ? POE_E_MEMORY : status;
  }
  size_t first = (channels + 1) / 2, kept = keep == 0 ? first : channels - first; /* as torch.chunk halves */
  for (size_t i = 0; keep == 1 && i < made->m; i++) {
    made->index[i] = (i + first * pixels) % made->m;
  }
  reader->view.size[0] = kept;
  reader->view.count = kept * pixels;
  *layer = (poei_flow_layer){&layout_ops, made};
  return POE_OK;
}
