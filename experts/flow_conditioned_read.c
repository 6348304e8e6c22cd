/* Reading `coupling` and `autoregressive` (experts/flow_conditioned.h, docs/MODEL-FORMAT.md): which columns the network
 * reads, which are transformed, and where among its outputs their parameters are. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "experts/flow_conditioned.h"

/* A layer that reads n_in and transforms n_out columns, to be filled; both arrays of columns hold 0, 1, 2, ... */
static poei_conditioned *conditioned_make(const poei_flow_reader *reader, size_t n_in, size_t n_out, poe_error *error) {
  poei_conditioned *c = poei_calloc(1, sizeof *c);
  if (c != NULL) {
    c->in = poei_alloc(n_in, sizeof *c->in);
    c->off = poei_calloc(n_in, 1);
    c->out = poei_alloc(n_out, sizeof *c->out);
    c->slot = poei_alloc(n_out, sizeof *c->slot);
    c->level = poei_calloc(n_out, sizeof *c->level);
  }
  if (c == NULL || c->in == NULL || c->off == NULL || c->out == NULL || c->slot == NULL || c->level == NULL) {
    poei_conditioned_layer.destroy(c);
    poei_flow_no_memory(reader, error);
    return NULL;
  }
  c->n_in = n_in;
  c->n_out = n_out;
  c->passes = 1;
  for (size_t k = 0; k < n_in; k++) {
    c->in[k] = k;
  }
  for (size_t k = 0; k < n_out; k++) {
    c->out[k] = c->slot[k] = k;
  }
  return c;
}

/* The keys that both kinds have. `inner`: columns that lie next to each other in the layout "interleaved". */
static poe_status conditioned_read_layout(const poei_flow_reader *reader, size_t slots, size_t inner,
                                          poei_conditioned *c, poe_error *error) {
  size_t layout = 0;
  poe_status status = poei_flow_choice(reader, "layout", "grouped|interleaved", 0, &layout, error);
  c->inner = layout == 0 ? slots : inner;
  return status == POE_OK ? poei_flow_flag(reader, "inverse", &c->inverse, error) : status;
}

poe_status poei_flow_read_autoregressive(poei_flow_reader *reader, poei_flow_layer *layer, poe_error *error) {
  size_t m = reader->view.count, from = 0, *owner = NULL;
  poei_curve curve;
  poe_status status = poei_curve_read(reader, "from|layout|inverse|layers", &curve, error);
  if (status == POE_OK) {
    status = poei_flow_choice(reader, "from", "data|noise", 0, &from, error);
  }
  poei_conditioned *c = status == POE_OK ? conditioned_make(reader, m, m, error) : NULL;
  if (c == NULL) {
    return status == POE_OK ? POE_E_MEMORY : status;
  }
  c->curve = curve;
  c->sequential = true;
  c->from_noise = from == 1;
  status = conditioned_read_layout(reader, m, poei_flow_pixels(reader), c, error);
  size_t outputs = 0;
  if (status == POE_OK && (!poei_mul_size(m, curve.parameters, &outputs) || outputs > POEI_MAX_VALUE)) {
    status = poei_flow_refuse(reader, error, POE_E_SHAPE, "%zu coordinates with %zu parameters are too many", m,
                              curve.parameters);
  }
  if (status == POE_OK) {
    owner = poei_alloc(outputs, sizeof *owner);
    status = owner == NULL ? poei_flow_no_memory(reader, error) : POE_OK;
  }
  for (size_t k = 0; status == POE_OK && k < m; k++) {
    for (size_t p = 0; p < curve.parameters; p++) {
      owner[poei_conditioned_place(c, k) + p * c->inner] = k;
    }
  }
  if (status == POE_OK) {
    status = poei_flow_network(reader, &reader->view, outputs, owner, c->level, &c->net, error);
  }
  poei_free(owner);
  if (status != POE_OK) {
    poei_conditioned_layer.destroy(c);
    return status;
  }
  for (size_t k = 0; k < m; k++) {
    c->passes = c->level[k] + 1 > c->passes ? c->level[k] + 1 : c->passes;
  }
  *layer = (poei_flow_layer){&poei_conditioned_layer, c};
  return POE_OK;
}

/* "transformed" as numbers of coordinates or channels. */
static poe_status coupling_numbers(poei_flow_reader *reader, unsigned char *mark, poe_error *error) {
  size_t channels = poei_flow_channels(reader), pixels = poei_flow_pixels(reader), count = 0;
  double *numbers = NULL;
  poe_status status = poei_flow_list(reader, "transformed", &numbers, &count, error);
  for (size_t i = 0; i < count && status == POE_OK; i++) {
    if (numbers[i] >= 0.0 && numbers[i] < (double)channels && numbers[i] == floor(numbers[i])) {
      memset(mark + (size_t)numbers[i] * pixels, 1, pixels);
    } else {
      status =
          poei_flow_refuse(reader, error, POE_E_DOMAIN, "'transformed' must hold numbers from 0 to %zu", channels - 1);
    }
  }
  poei_free(numbers);
  return status;
}

/* Which columns a coupling transforms, mark[m] = 1; *whole: whole channels. */
static poe_status coupling_marks(poei_flow_reader *reader, unsigned char *mark, bool *whole, poe_error *error) {
  enum { FIRST, LAST, EVEN, ODD, BOARD_EVEN, BOARD_ODD };
  size_t channels = poei_flow_channels(reader), pixels = poei_flow_pixels(reader), which = 0;
  const json_t *given = json_object_get(reader->layer, "transformed");
  *whole = true;
  if (json_is_array(given) ||
      (json_is_string(given) && poei_tensor_file_find(reader->from.file, json_string_value(given)) != NULL)) {
    return coupling_numbers(reader, mark, error);
  }
  if (given == NULL) {
    return poei_flow_refuse(reader, error, POE_E_FORMAT, "'transformed' is missing");
  }
  poe_status status = poei_flow_choice(
      reader, "transformed", "first_half|last_half|even|odd|checkerboard_even|checkerboard_odd", 0, &which, error);
  if (status == POE_OK && which >= BOARD_EVEN && reader->view.ndim != 3) {
    status = poei_flow_refuse(reader, error, POE_E_SHAPE, "a checkerboard needs [channels, height, width]");
  }
  *whole = which < BOARD_EVEN;
  for (size_t j = 0; status == POE_OK && j < reader->view.count; j++) {
    size_t channel = j / pixels, width = reader->view.ndim == 3 ? reader->view.size[2] : 1;
    size_t board = (j % pixels / width + j % width) % 2, half = (channels + 1) / 2;
    mark[j] = which == FIRST  ? channel < half
              : which == LAST ? channel >= half
              : *whole        ? channel % 2 == (which == ODD)
                              : board == (which == BOARD_ODD);
  }
  return status;
}

/* The layer from its marks: what the network reads, what is transformed, and the shape of the network's input. */
static poe_status coupling_columns(poei_flow_reader *reader, const unsigned char *mark, bool whole, bool masked,
                                   poei_conditioned **made, poei_shape *input, poe_error *error) {
  size_t m = reader->view.count, pixels = poei_flow_pixels(reader), n_out = 0;
  for (size_t j = 0; j < m; j++) {
    n_out += mark[j];
  }
  if (n_out == 0 || n_out == m) {
    return poei_flow_refuse(reader, error, POE_E_DOMAIN, "it transforms %s of the %zu coordinates",
                            n_out == 0 ? "none" : "all", m);
  }
  poei_conditioned *c = conditioned_make(reader, masked ? m : m - n_out, n_out, error);
  if (c == NULL) {
    return POE_E_MEMORY;
  }
  for (size_t j = 0, in = 0, out = 0; j < m; j++) {
    if (mark[j]) {
      c->slot[out] = masked ? j : out;
      c->out[out++] = j;
    } else if (!masked) {
      c->in[in++] = j;
    }
    c->off[masked ? j : 0] = masked && mark[j];
  }
  *input = reader->view;
  if (!masked) {
    bool image = reader->view.ndim == 3 && whole;
    *input = (poei_shape){.ndim = image ? 3 : 1, .size = {image ? c->n_in / pixels : c->n_in}, .count = c->n_in};
    memcpy(input->size + 1, reader->view.size + 1, 2 * sizeof *input->size);
  }
  *made = c;
  return POE_OK;
}

poe_status poei_flow_read_coupling(poei_flow_reader *reader, poei_flow_layer *layer, poe_error *error) {
  poei_curve curve;
  bool whole = true, masked = false;
  poei_shape input = {0};
  poei_conditioned *c = NULL;
  unsigned char *mark = NULL;
  poe_status status = poei_curve_read(reader, "transformed|masked|layout|inverse|layers", &curve, error);
  if (status == POE_OK) {
    mark = poei_calloc(reader->view.count, 1);
    status = mark == NULL ? poei_flow_no_memory(reader, error) : coupling_marks(reader, mark, &whole, error);
  }
  if (status == POE_OK) {
    status = poei_flow_flag(reader, "masked", &masked, error);
  }
  if (status == POE_OK) {
    status = coupling_columns(reader, mark, whole, masked, &c, &input, error);
  }
  poei_free(mark);
  if (status == POE_OK) {
    size_t slots = masked ? reader->view.count : c->n_out;
    c->curve = curve;
    status = conditioned_read_layout(reader, slots, whole || masked ? poei_flow_pixels(reader) : 1, c, error);
    if (status == POE_OK) {
      status = poei_flow_network(reader, &input, slots * curve.parameters, NULL, NULL, &c->net, error);
    }
  }
  if (status != POE_OK) {
    poei_conditioned_layer.destroy(c);
    return status;
  }
  *layer = (poei_flow_layer){&poei_conditioned_layer, c};
  return POE_OK;
}
