/* Reading a model file of family `flow` (experts/flow.h): poe.input, poe.layers from data to noise, poe.base. What the
 * readers of the single layers share is here too: keys, numbers, tensors, and errors that name the layer. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "experts/flow.h"
#include "formats/file_error.h"
#include "formats/json_text.h"

/* ---- errors ---- */

poe_status poei_flow_refuse(const poei_flow_reader *reader, poe_error *error, poe_status status, const char *format,
                            ...) {
  char text[POE_ERROR_MESSAGE_SIZE];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  const char *path = poei_tensor_file_path(reader->from.file);
  if (reader->number == 0) {
    return poei_file_error(error, status, path, NULL, "poe.base: %s", text);
  }
  poei_shown shown;
  return poei_file_error(error, status, path, NULL, "flow layer %zu ('%s'): %s", reader->number,
                         poei_show(&shown, reader->word, strlen(reader->word)), text);
}

poe_status poei_flow_no_memory(const poei_flow_reader *reader, poe_error *error) {
  return poei_file_memory_error(error, poei_tensor_file_path(reader->from.file));
}

/* ---- keys ---- */

/* The number of `word` in "a|b|c", SIZE_MAX when it is not one of them. */
static size_t read_word(const char *words, const char *word) {
  size_t length = strlen(word), number = 0;
  for (const char *at = words; at != NULL; number++) {
    const char *end = strchr(at, '|');
    size_t size = end == NULL ? strlen(at) : (size_t)(end - at);
    if (size == length && memcmp(at, word, length) == 0) {
      return number;
    }
    at = end == NULL ? NULL : end + 1;
  }
  return SIZE_MAX;
}

poe_status poei_flow_keys(const poei_flow_reader *reader, const char *words, poe_error *error) {
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)reader->layer, name, value) {
    if (strcmp(name, "op") != 0 && read_word(words, name) == SIZE_MAX) {
      poei_shown shown;
      poe_status status =
          poei_flow_refuse(reader, error, POE_E_FORMAT, "it has no '%s'", poei_show(&shown, name, strlen(name)));
      poe_error_hint(error, "its keys are %s", words[0] == '\0' ? "'op' alone" : words);
      return status;
    }
  }
  return POE_OK;
}

/* The value of a key, NULL when it is missing or null. */
static const json_t *read_key(const poei_flow_reader *reader, const char *key) {
  const json_t *value = json_object_get(reader->layer, key);
  return json_is_null(value) ? NULL : value;
}

poe_status poei_flow_choice(const poei_flow_reader *reader, const char *key, const char *words, size_t fallback,
                            size_t *which, poe_error *error) {
  const json_t *value = read_key(reader, key);
  *which = value == NULL ? fallback : json_is_string(value) ? read_word(words, json_string_value(value)) : SIZE_MAX;
  return *which != SIZE_MAX ? POE_OK
                            : poei_flow_refuse(reader, error, POE_E_FORMAT, "'%s' must be one of %s", key, words);
}

poe_status poei_flow_number(const poei_flow_reader *reader, const char *key, double fallback, double low, double high,
                            double *value, poe_error *error) {
  const json_t *given = read_key(reader, key);
  *value = given == NULL ? fallback : json_number_value(given);
  bool good = (given == NULL || json_is_number(given)) && *value >= low && *value <= high;
  return good ? POE_OK
              : poei_flow_refuse(reader, error, POE_E_DOMAIN, "'%s' must be a number from %g to %g", key, low, high);
}

poe_status poei_flow_flag(const poei_flow_reader *reader, const char *key, bool *value, poe_error *error) {
  const json_t *given = read_key(reader, key);
  *value = json_is_true(given);
  return given == NULL || json_is_boolean(given)
             ? POE_OK
             : poei_flow_refuse(reader, error, POE_E_FORMAT, "'%s' must be true or false", key);
}

size_t poei_flow_channels(const poei_flow_reader *reader) {
  return reader->view.size[0];
}

size_t poei_flow_pixels(const poei_flow_reader *reader) {
  return reader->view.count / reader->view.size[0];
}

/* ---- tensors ---- */

poe_status poei_flow_tensor(poei_flow_reader *reader, const char *key, bool required, const poei_tensor **tensor,
                            double **numbers, poe_error *error) {
  const json_t *value = read_key(reader, key);
  *numbers = NULL;
  if (value == NULL) {
    return required ? poei_flow_refuse(reader, error, POE_E_FORMAT, "'%s' is missing", key) : POE_OK;
  }
  if (!json_is_string(value)) {
    return poei_flow_refuse(reader, error, POE_E_FORMAT, "'%s' must be the name of a tensor", key);
  }
  const char *name = json_string_value(value), *path = poei_tensor_file_path(reader->from.file);
  const poei_tensor *found;
  poe_error inner = {0};
  poe_status status = poei_tensor_file_require(reader->from.file, name, &found, &inner);
  if (status != POE_OK) {
    return poei_flow_refuse(reader, error, status, "%s", inner.message);
  }
  double *made = found->count > POEI_MAX_VALUE ? NULL : poei_alloc(found->count + 1, sizeof *made);
  if (made == NULL) {
    return found->count > POEI_MAX_VALUE
               ? poei_file_error(error, POE_E_SHAPE, path, name, "it has more than %zu numbers", POEI_MAX_VALUE)
               : poei_flow_no_memory(reader, error);
  }
  poei_tensor_to_double(found, made);
  for (size_t i = 0; i < found->count; i++) {
    if (!isfinite(made[i])) {
      poei_free(made);
      return poei_file_error(error, POE_E_FORMAT, path, name, "number %zu of this tensor is not finite", i);
    }
  }
  for (size_t i = 0; i < poei_tensor_file_count(reader->from.file); i++) {
    reader->from.used[i] = reader->from.used[i] || poei_tensor_file_at(reader->from.file, i) == found;
  }
  *numbers = made;
  *tensor = found;
  return POE_OK;
}

poe_status poei_flow_spread(poei_flow_reader *reader, const char *key, double fallback, size_t count, double **numbers,
                            poe_error *error) {
  const poei_tensor *tensor = NULL;
  double *given = NULL;
  const json_t *value = read_key(reader, key);
  *numbers = NULL;
  if (json_is_number(value)) {
    fallback = json_number_value(value);
  } else {
    poe_status status = poei_flow_tensor(reader, key, false, &tensor, &given, error);
    if (status != POE_OK) {
      return status;
    }
  }
  size_t have = given == NULL ? 1 : tensor->count, channels = poei_flow_channels(reader);
  bool by_channel = count == reader->view.count && have == channels;
  if (have != count && have != 1 && !by_channel) {
    char text[160];
    poei_free(given);
    return poei_flow_refuse(reader, error, POE_E_SHAPE,
                            "tensor '%s' of '%s' has shape %s, but 1, %zu or %zu numbers fit", json_string_value(value),
                            key, poei_shape_text(tensor->ndim, tensor->shape, text, sizeof text), channels, count);
  }
  double *made = poei_alloc(count, sizeof *made);
  if (made == NULL) {
    poei_free(given);
    return poei_flow_no_memory(reader, error);
  }
  for (size_t j = 0; j < count; j++) {
    made[j] = given == NULL ? fallback : given[have == count ? j : have == 1 ? 0 : j / (count / have)];
  }
  poei_free(given);
  *numbers = made;
  return POE_OK;
}

poe_status poei_flow_list(poei_flow_reader *reader, const char *key, double **numbers, size_t *count,
                          poe_error *error) {
  const json_t *list = read_key(reader, key);
  if (!json_is_array(list)) {
    const poei_tensor *tensor = NULL;
    poe_status status = poei_flow_tensor(reader, key, true, &tensor, numbers, error);
    *count = status == POE_OK ? tensor->count : 0;
    return status;
  }
  *count = json_array_size(list);
  *numbers = poei_alloc(*count + 1, sizeof **numbers);
  for (size_t i = 0; *numbers != NULL && i < *count; i++) {
    const json_t *item = json_array_get(list, i);
    (*numbers)[i] = json_is_integer(item) ? (double)json_integer_value(item) : -1.0;
  }
  return *numbers == NULL ? poei_flow_no_memory(reader, error) : POE_OK;
}

/* ---- the chain ---- */

static poe_status read_layer(poei_flow_reader *reader, poei_flow_layer *layer, poe_error *error) {
#define READ_LAYER(name)                                                                                               \
  if (strcmp(reader->word, #name) == 0) {                                                                              \
    return poei_flow_read_##name(reader, layer, error);                                                                \
  }
  POEI_FLOW_LAYER_LIST(READ_LAYER)
#undef READ_LAYER
  poe_status status = poei_flow_refuse(reader, error, POE_E_UNSUPPORTED, "this layer is not known");
#define READ_NAME(name) " " #name
  poe_error_hint(error, "layers of a flow are%s", POEI_FLOW_LAYER_LIST(READ_NAME));
#undef READ_NAME
  return status;
}

static poe_status read_layers(poei_flow_reader *reader, const json_t *list, poei_flow *flow, poe_error *error) {
  const char *path = poei_tensor_file_path(reader->from.file);
  size_t n = json_array_size(list);
  if (!json_is_array(list) || n > POEI_FLOW_MAX_LAYERS) {
    return poei_file_error(error, POE_E_FORMAT, path, NULL, "poe.layers is not a list of at most %d layers",
                           POEI_FLOW_MAX_LAYERS);
  }
  flow->layers = poei_calloc(n + 1, sizeof *flow->layers);
  if (flow->layers == NULL) {
    return poei_flow_no_memory(reader, error);
  }
  for (size_t k = 0; k < n; k++) {
    reader->layer = json_array_get(list, k);
    reader->word = json_string_value(json_object_get(reader->layer, "op"));
    reader->number = k + 1;
    if (reader->word == NULL) {
      return poei_file_error(error, POE_E_FORMAT, path, NULL, "flow layer %zu is not an object with a text 'op'",
                             k + 1);
    }
    poe_status status = read_layer(reader, &flow->layers[k], error);
    if (status != POE_OK) {
      return status;
    }
    flow->n_layers++;
  }
  return POE_OK;
}

/* poe.base, {"op": "normal"} when there is none. */
static poe_status read_base(poei_flow_reader *reader, poei_flow *flow, poe_error *error) {
  json_t *base = NULL;
  poe_status status = poei_tensor_file_metadata(reader->from.file, "poe.base") == NULL
                          ? POE_OK
                          : poei_layers_metadata(reader->from.file, "poe.base", &base, error);
  reader->number = 0;
  reader->layer = base;
  size_t shape[1] = {flow->d};
  poe_error inner = {0};
  if (status == POE_OK && base != NULL && !json_is_object(base)) {
    status = poei_flow_refuse(reader, error, POE_E_FORMAT, "it is not an object with a text 'op'");
  }
  if (status == POE_OK) {
    status = poei_shape_make(1, shape, &reader->view, &inner); /* d was a shape's count already */
  }
  if (status == POE_OK) {
    status = poei_flow_read_base(reader, flow->d, &flow->base, error);
  }
  json_decref(base);
  return status;
}

/* The box of the data on which the flow is defined: that of the layers before the first one without `keeps_boxes`,
 * each of which maps the whole line onto the whole line or, `logit`, its box. Found by sending the corners back. */
static poe_status read_domain(const poei_flow_reader *reader, poei_flow *flow, poe_error *error) {
  size_t d = flow->d, n = 0;
  double *corners = poei_alloc(2 * d, sizeof *corners);
  poe_scratch *scratch = poe_scratch_create(poe_scratch_need(2 * d, sizeof(double)));
  flow->low = poei_alloc(d, sizeof *flow->low);
  flow->high = poei_alloc(d, sizeof *flow->high);
  if (corners == NULL || scratch == NULL || flow->low == NULL || flow->high == NULL) {
    poei_free(corners);
    poe_scratch_destroy(scratch);
    return poei_flow_no_memory(reader, error);
  }
  for (size_t j = 0; j < d; j++) {
    corners[j] = -INFINITY;
    corners[d + j] = INFINITY;
  }
  while (n < flow->n_layers && flow->layers[n].ops->keeps_boxes) {
    n++;
  }
  poei_flow_pass pass = {.flow = flow, .n = 2, .d = d, .x = corners, .scratch = scratch};
  while (n-- > 0) { /* such layers take a row of scratch at most */
    flow->layers[n].ops->invert(flow->layers[n].self, &pass);
  }
  for (size_t j = 0; j < d; j++) {
    flow->low[j] = fmin(corners[j], corners[d + j]);
    flow->high[j] = fmax(corners[j], corners[d + j]);
  }
  poei_free(corners);
  poe_scratch_destroy(scratch);
  return POE_OK;
}

static poe_status read_file(poei_flow_reader *reader, const char *precision, size_t d, poei_flow *flow,
                            poe_error *error) {
  const poei_tensor_file *file = reader->from.file;
  const char *path = poei_tensor_file_path(file);
  json_t *list = NULL;
  poe_status status = poei_net_check_family(file, "flow", error);
  if (status == POE_OK) {
    status = poei_layers_precision(file, precision, &reader->precision, error);
  }
  if (status == POE_OK) {
    status = poei_layers_metadata(file, "poe.layers", &list, error);
  }
  if (status == POE_OK) {
    status = poei_layers_input(file, &reader->view, error);
  }
  if (status == POE_OK && reader->view.count != d) {
    char text[160];
    status = poei_file_error(error, POE_E_SHAPE, path, NULL, "poe.input %s takes %zu numbers, but the variable has %zu",
                             poei_shape_text(reader->view.ndim, reader->view.size, text, sizeof text),
                             reader->view.count, d);
  }
  if (status == POE_OK && reader->view.ndim != 3) { /* [m], or [channels, height, width] */
    poe_error unused = {0};
    status = poei_shape_make(1, &d, &reader->view, &unused);
  }
  if (status == POE_OK) {
    flow->d = d;
    status = read_layers(reader, list, flow, error);
  }
  json_decref(list);
  if (status == POE_OK) {
    status = read_base(reader, flow, error);
  }
  if (status == POE_OK) {
    status = poei_layers_check_used(&reader->from, error);
  }
  return status == POE_OK ? read_domain(reader, flow, error) : status;
}

poe_status poei_flow_from_file(const poei_tensor_file *file, const char *precision, size_t d, poei_flow **flow,
                               poe_error *error) {
  poei_flow_reader reader = {.from.file = file};
  poei_flow *made = poei_calloc(1, sizeof *made);
  reader.from.used = poei_calloc(poei_tensor_file_count(file) + 1, 1);
  poe_status status = made == NULL || reader.from.used == NULL
                          ? poei_file_memory_error(error, poei_tensor_file_path(file))
                          : read_file(&reader, precision, d, made, error);
  poei_free(reader.from.used);
  if (status != POE_OK) {
    poei_flow_destroy(made);
    return status;
  }
  *flow = made;
  return POE_OK;
}

poe_status poei_flow_read(const char *path, const char *precision, size_t d, poei_flow **flow, poe_error *error) {
  poei_tensor_file *file = NULL;
  poe_status status = poei_tensor_file_open(path, &file, error);
  if (status == POE_OK) {
    status = poei_flow_from_file(file, precision, d, flow, error);
  }
  poei_tensor_file_close(file);
  return status;
}

void poei_flow_destroy(poei_flow *flow) {
  if (flow == NULL) {
    return;
  }
  for (size_t k = 0; k < flow->n_layers; k++) {
    flow->layers[k].ops->destroy(flow->layers[k].self);
  }
  poei_flow_base_clear(&flow->base);
  poei_free(flow->layers);
  poei_free(flow->low);
  poei_free(flow->high);
  poei_free(flow);
}
