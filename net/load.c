/* poei_net_load: from a tensor file to a compiled network.
 *
 * The architecture comes from the file's own metadata (poe.input, poe.layers) or, for a bare state dict, from the names
 * of its linear layers in order. Nothing in the file is believed: every shape must chain, every number be finite, every
 * tensor of a file that describes itself be used.
 */
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/file_error.h"
#include "formats/json_text.h"
#include "net/compile.h"
#include "net/layers.h"

static bool load_has_metadata(const poei_tensor_file *file) {
  for (size_t i = 0; i < poei_tensor_file_metadata_count(file); i++) {
    const char *key, *value;
    poei_tensor_file_metadata_at(file, i, &key, &value);
    if (strcmp(key, "poe.format") == 0 || strcmp(key, "poe.family") == 0 || strcmp(key, "poe.layers") == 0) {
      return true;
    }
  }
  return false;
}

poe_status poei_net_check_family(const poei_tensor_file *file, const char *family, poe_error *error) {
  if (!load_has_metadata(file)) {
    return POE_OK;
  }
  const char *path = poei_tensor_file_path(file);
  const char *format = poei_tensor_file_metadata(file, "poe.format");
  const char *found = poei_tensor_file_metadata(file, "poe.family");
  poei_shown shown;
  if (format == NULL || strcmp(format, "1") != 0) {
    format = format == NULL ? "missing" : format;
    poe_status status = poei_file_error(error, POE_E_UNSUPPORTED, path, NULL, "poe.format is %s, but 1 is needed",
                                        poei_show(&shown, format, strlen(format)));
    poe_error_hint(error, "write \"poe.format\": \"1\" into the file's metadata");
    return status;
  }
  if (found == NULL || strcmp(found, family) != 0) {
    found = found == NULL ? "missing" : found;
    poe_status status = poei_file_error(error, POE_E_FORMAT, path, NULL, "poe.family is %s, but this is used as %s",
                                        poei_show(&shown, found, strlen(found)), family);
    poe_error_hint(error, "open it as `%s(... | file=...)`, or write the family that it is into its metadata",
                   shown.text);
    return status;
  }
  return POE_OK;
}

/* ---- precision ---- */

static bool load_is_double(const poei_tensor_file *file, const char *name) {
  const poei_tensor *tensor = poei_tensor_file_find(file, name);
  return tensor != NULL && tensor->dtype == POEI_F64;
}

/* "net.0" -> "net.0.weight"; "" -> "weight". */
static char *load_name(const char *prefix, const char *part) {
  return poei_format("%s%s%s", prefix, prefix[0] == '\0' ? "" : ".", part);
}

poe_status poei_layers_precision(const poei_tensor_file *file, const char *given, poei_precision *precision,
                                 poe_error *error) {
  *precision = POEI_FLOAT32;
  if (given != NULL) {
    bool single = strcmp(given, "single") == 0;
    if (!single && strcmp(given, "double") != 0) {
      return poe_error_set(error, POE_E_USAGE, "precision is `single` or `double`, not `%s`", given);
    }
    *precision = single ? POEI_FLOAT32 : POEI_FLOAT64;
    return POE_OK;
  }
  for (size_t i = 0; i < poei_tensor_file_count(file); i++) {
    if (poei_tensor_file_at(file, i)->dtype == POEI_F64) {
      *precision = POEI_FLOAT64;
    }
  }
  return POE_OK;
}

static poe_status load_precision(const poei_net_source *source, poei_precision *precision, poe_error *error) {
  if (source->precision != NULL || source->n_layers == 0) {
    return poei_layers_precision(source->file, source->precision, precision, error);
  }
  *precision = POEI_FLOAT32;
  for (size_t i = 0; i < source->n_layers; i++) {
    char *name = load_name(source->layers[i], "weight");
    if (name == NULL) {
      return poei_file_memory_error(error, poei_tensor_file_path(source->file));
    }
    *precision = load_is_double(source->file, name) ? POEI_FLOAT64 : *precision;
    poei_free(name);
  }
  return POE_OK;
}

/* ---- the file's own description ---- */

poe_status poei_layers_metadata(const poei_tensor_file *file, const char *key, json_t **value, poe_error *error) {
  const char *path = poei_tensor_file_path(file), *text = poei_tensor_file_metadata(file, key);
  if (text == NULL) {
    return poei_file_error(error, POE_E_FORMAT, path, NULL, "its metadata has no %s", key);
  }
  poe_error inner = {0};
  *value = poei_json_parse(text, strlen(text), &inner);
  return *value != NULL ? POE_OK : poei_file_error(error, POE_E_FORMAT, path, NULL, "%s: %s", key, inner.message);
}

poe_status poei_layers_input(const poei_tensor_file *file, poei_shape *shape, poe_error *error) {
  json_t *list;
  poe_status status = poei_layers_metadata(file, "poe.input", &list, error);
  if (status != POE_OK) {
    return status;
  }
  size_t ndim = json_is_array(list) ? json_array_size(list) : 0, size[POEI_MAX_DIMS] = {0};
  bool good = ndim >= 1 && ndim <= POEI_MAX_DIMS;
  for (size_t i = 0; good && i < ndim; i++) {
    json_int_t given = json_integer_value(json_array_get(list, i)); /* 0 unless it is an integer */
    good = given > 0 && (unsigned long long)given <= POEI_MAX_VALUE;
    size[i] = good ? (size_t)given : 0;
  }
  json_decref(list);
  if (!good) {
    return poei_file_error(error, POE_E_FORMAT, poei_tensor_file_path(file), NULL,
                           "poe.input is not a list of 1 to %d sizes from 1 to %zu", POEI_MAX_DIMS, POEI_MAX_VALUE);
  }
  poe_error inner = {0};
  status = poei_shape_make(ndim, size, shape, &inner);
  return status == POE_OK
             ? POE_OK
             : poei_file_error(error, status, poei_tensor_file_path(file), NULL, "poe.input: %s", inner.message);
}

static poe_status load_input(poei_layers *layers, poei_node *node, const char *what, size_t in_dim, poe_error *error) {
  const char *path = poei_tensor_file_path(layers->file);
  poe_error inner = {0};
  poe_status status = poei_graph_add(layers->graph, node, &layers->value, &inner);
  if (status != POE_OK) {
    return poei_file_error(error, status, path, NULL, "%s: %s", what, inner.message);
  }
  const poei_shape *shape = &layers->graph->nodes[0].shape;
  if (in_dim != 0 && shape->count != in_dim) {
    char text[160];
    return poei_file_error(error, POE_E_SHAPE, path, NULL, "%s %s takes %zu numbers, but the variable has %zu", what,
                           poei_shape_text(shape->ndim, shape->size, text, sizeof text), shape->count, in_dim);
  }
  return POE_OK;
}

/* Whether one of the names of poe.ignore (NULL: none) is `name`; a star at one end stands for anything. */
static bool load_ignored(const json_t *ignore, const char *name) {
  size_t i, length = strlen(name);
  const json_t *item;
  json_array_foreach(ignore, i, item) {
    const char *word = json_string_value(item);
    size_t size = json_string_length(item);
    bool tail = size > 0 && word[0] == '*', head = size > 0 && !tail && word[size - 1] == '*';
    word += tail;
    size -= (size_t)tail + (size_t)head;
    bool fits = head || tail ? size <= length : size == length;
    if (fits && memcmp(name + (tail ? length - size : 0), word, size) == 0) {
      return true;
    }
  }
  return false;
}

/* Names the tensors that no layer uses. */
static poe_status load_unused(const poei_layers *layers, const json_t *ignore, poe_error *error) {
  char list[400] = "";
  size_t unused = 0;
  for (size_t i = 0; i < poei_tensor_file_count(layers->file); i++) {
    const poei_tensor *at = poei_tensor_file_at(layers->file, i);
    if (layers->used[i] || load_ignored(ignore, at->name)) {
      continue;
    }
    poei_shown shown;
    char shape[96];
    size_t length = strlen(list);
    if (length + sizeof shown.text + sizeof shape + 5 < sizeof list) {
      snprintf(list + length, sizeof list - length, "%s'%s' %s", unused == 0 ? "" : ", ",
               poei_show(&shown, at->name, strlen(at->name)),
               poei_shape_text(at->ndim, at->shape, shape, sizeof shape));
    }
    unused++;
  }
  if (unused == 0) {
    return POE_OK;
  }
  poe_status status = poei_file_error(error, POE_E_FORMAT, poei_tensor_file_path(layers->file), NULL,
                                      "%zu tensors are used by no layer of poe.layers: %s", unused, list);
  poe_error_hint(error, "leave them out of the file, name them in a layer, or list them in poe.ignore");
  return status;
}

poe_status poei_layers_check_used(const poei_layers *layers, poe_error *error) {
  json_t *ignore = NULL;
  poe_status status = poei_tensor_file_metadata(layers->file, "poe.ignore") == NULL
                          ? POE_OK
                          : poei_layers_metadata(layers->file, "poe.ignore", &ignore, error);
  bool texts = ignore == NULL || json_is_array(ignore);
  for (size_t i = 0; texts && i < json_array_size(ignore); i++) {
    texts = json_is_string(json_array_get(ignore, i));
  }
  if (status == POE_OK && !texts) {
    status = poei_file_error(error, POE_E_FORMAT, poei_tensor_file_path(layers->file), NULL,
                             "poe.ignore is not a list of names of tensors");
  }
  status = status == POE_OK ? load_unused(layers, ignore, error) : status;
  json_decref(ignore);
  return status;
}

/* ["length", 3]: as many positions as the variable has, of 3 numbers. *shape is untouched for lists of sizes alone. */
static poe_status load_length(const poei_tensor_file *file, size_t in_dim, poei_shape *shape, poe_error *error) {
  json_t *list;
  poe_status status = poei_layers_metadata(file, "poe.input", &list, error);
  if (status != POE_OK) {
    return status;
  }
  const char *word = json_string_value(json_array_get(list, 0)); /* NULL unless it is a text */
  size_t ndim = json_array_size(list), each = 1, size[POEI_MAX_DIMS] = {0};
  bool length = word != NULL && strcmp(word, "length") == 0 && ndim <= POEI_MAX_DIMS && in_dim > 0;
  for (size_t i = 1; length && i < ndim; i++) {
    json_int_t given = json_integer_value(json_array_get(list, i));
    length = given > 0 && (unsigned long long)given <= POEI_MAX_VALUE && each <= POEI_MAX_VALUE;
    size[i] = length ? (size_t)given : 0;
    each *= length ? size[i] : 1;
  }
  json_decref(list);
  if (!length) {
    return POE_OK; /* sizes, or a list that poei_layers_input refuses */
  }
  if (in_dim % each != 0) {
    return poei_file_error(error, POE_E_SHAPE, poei_tensor_file_path(file), NULL,
                           "poe.input takes %zu numbers at each position, but the variable has %zu", each, in_dim);
  }
  size[0] = in_dim / each;
  poe_error inner = {0};
  status = poei_shape_make(ndim, size, shape, &inner);
  return status == POE_OK
             ? POE_OK
             : poei_file_error(error, status, poei_tensor_file_path(file), NULL, "poe.input: %s", inner.message);
}

static poe_status load_described(poei_layers *layers, size_t in_dim, poe_error *error) {
  poei_node input = {.op = POEI_OP_INPUT};
  json_t *array = NULL;
  poe_status status = load_length(layers->file, in_dim, &input.attributes.shape, error);
  if (status == POE_OK && input.attributes.shape.ndim == 0) {
    status = poei_layers_input(layers->file, &input.attributes.shape, error);
  }
  if (status == POE_OK) {
    status = load_input(layers, &input, "poe.input", in_dim, error);
  }
  if (status == POE_OK) {
    status = poei_layers_metadata(layers->file, "poe.layers", &array, error);
  }
  status = status == POE_OK ? poei_layers_degrees(layers, error) : status;
  status = status == POE_OK ? poei_layers_from_json(layers, array, error) : status;
  status = status == POE_OK ? poei_layers_degrees_end(layers, error) : status;
  json_decref(array);
  json_decref(layers->degrees);
  layers->degrees = NULL;
  return status == POE_OK ? poei_layers_check_used(layers, error) : status;
}

/* ---- bare state dicts ---- */

static poe_status load_activation(const char *word, const char *parameter, poei_activation *activation,
                                  poe_error *error) {
  *activation = word == NULL ? POEI_IDENTITY : poei_activation_find(word);
  if (*activation == POEI_ACTIVATION_COUNT) {
    poe_status status = poe_error_set(error, POE_E_NAME, "unknown %s '%s'", parameter, word);
    poe_error_hint(error, "known are %s", POEI_ACTIVATION_WORDS);
    return status;
  }
  return POE_OK;
}

/* Linear layer `prefix` and the activation after it. */
static poe_status load_bare_layer(poei_layers *layers, const char *prefix, size_t in_dim, poei_activation activation,
                                  poe_error *error) {
  const char *path = poei_tensor_file_path(layers->file);
  char *weight = load_name(prefix, "weight"), *bias = load_name(prefix, "bias");
  poei_node node = {.op = POEI_OP_LINEAR, .n_weights = 2, .weights = {-1, -1}};
  poe_status status = POE_OK;
  if (weight == NULL || bias == NULL) {
    status = poei_file_memory_error(error, path);
  } else {
    status = poei_layers_weight(layers, weight, &node.weights[0], error);
  }
  if (status == POE_OK && layers->graph->weights[node.weights[0]].shape.ndim != 2) {
    char text[160];
    const poei_shape *shape = &layers->graph->weights[node.weights[0]].shape;
    status = poei_file_error(error, POE_E_UNSUPPORTED, path, weight, "shape %s is not that of a linear layer [out, in]",
                             poei_shape_text(shape->ndim, shape->size, text, sizeof text));
    poe_error_hint(error, "layers other than linear need poe.layers metadata in the file (docs/MODEL-FORMAT.md)");
  }
  if (status == POE_OK && poei_tensor_file_find(layers->file, bias) != NULL) {
    status = poei_layers_weight(layers, bias, &node.weights[1], error);
  }
  if (status == POE_OK && layers->graph->n_nodes == 0) {
    poei_node input = {.op = POEI_OP_INPUT};
    input.attributes.shape.ndim = 1;
    input.attributes.shape.size[0] = layers->graph->weights[node.weights[0]].shape.size[1];
    char what[160];
    snprintf(what, sizeof what, "'%.120s', whose input", weight);
    status = load_input(layers, &input, what, in_dim, error);
  }
  if (status == POE_OK) {
    layers->count++;
    status = poei_layers_add(layers, prefix, &node, error);
  }
  poei_free(weight);
  poei_free(bias);
  if (status == POE_OK && activation != POEI_IDENTITY) {
    poei_node after = {.op = POEI_OP_ACTIVATION};
    after.attributes.activation = activation;
    after.attributes.parameter = poei_activation_parameter(activation);
    status = poei_layers_add(layers, prefix, &after, error);
  }
  return status;
}

static poe_status load_bare(poei_layers *layers, const poei_net_source *source, poe_error *error) {
  poei_activation between, after;
  poe_status status = load_activation(source->activation, "activation", &between, error);
  if (status == POE_OK) {
    status = load_activation(source->output_activation, "output_activation", &after, error);
  }
  if (status == POE_OK && source->activation == NULL && source->n_layers > 1) {
    status = poe_error_set(error, POE_E_USAGE, "`layers` needs `activation`, what stands between them");
    poe_error_hint(error, "one of %s", POEI_ACTIVATION_WORDS);
  }
  for (size_t i = 0; status == POE_OK && i < source->n_layers; i++) {
    status =
        load_bare_layer(layers, source->layers[i], source->in_dim, i + 1 < source->n_layers ? between : after, error);
  }
  return status;
}

/* ---- */

/* Which of the two descriptions applies; neither or both is an error. */
static poe_status load_check_source(const poei_net_source *source, poe_error *error) {
  const char *path = poei_tensor_file_path(source->file);
  bool described = poei_tensor_file_metadata(source->file, "poe.layers") != NULL;
  bool arguments = source->n_layers != 0 || source->activation != NULL || source->output_activation != NULL;
  if (described && arguments) {
    return poei_file_error(error, POE_E_USAGE, path, NULL,
                           "it says its own layers; `layers`, `activation` and `output_activation` are for files that "
                           "do not");
  }
  if (!described && source->n_layers == 0) {
    const poei_tensor *unused;
    poe_error inner = {0}; /* lists what is there */
    poei_tensor_file_require(source->file, "poe.layers", &unused, &inner);
    poe_status status = poei_file_error(error, POE_E_FORMAT, path, NULL,
                                        "it does not say how its tensors make a network (%s)", inner.message);
    poe_error_hint(error, "name its linear layers in order, as in layers=[\"net.0\", \"net.2\"], activation=silu");
    return status;
  }
  return POE_OK;
}

poe_status poei_net_load(const poei_net_source *source, poei_net **net, poe_error *error) {
  const char *path = poei_tensor_file_path(source->file);
  poei_layers layers = {.file = source->file, .integers = source->integers};
  poei_precision precision = POEI_FLOAT32;
  poe_status status = load_check_source(source, error);
  if (status == POE_OK) {
    status = load_precision(source, &precision, error);
  }
  if (status == POE_OK) {
    status = poei_graph_create(precision, &layers.graph, error);
  }
  if (status != POE_OK) {
    return status;
  }
  layers.used = poei_calloc(poei_tensor_file_count(source->file) + 1, 1);
  if (layers.used == NULL) {
    status = poei_file_memory_error(error, path);
  } else if (source->n_layers > 0) {
    status = load_bare(&layers, source, error);
  } else {
    status = load_described(&layers, source->in_dim, error);
  }
  poei_free(layers.used);
  if (status == POE_OK) {
    poe_error inner = {0};
    status = poei_net_compile(layers.graph, net, &inner);
    if (status != POE_OK) {
      poei_file_error(error, status, path, NULL, "%s", inner.message);
    }
  }
  if (status != POE_OK) {
    poei_graph_destroy(layers.graph);
  }
  return status;
}
