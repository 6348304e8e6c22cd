/* Layers over sequences, to graph nodes (net/layers.h): state dicts of torch.nn.GRU and torch.nn.LSTM by the prefix of
 * their tensors, all layers of a stack at once; the neural autoregressive estimator with its weights as papers write
 * them; the shift without which no recurrent network is autoregressive. */
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/file_error.h"
#include "net/layers.h"

static const struct {
  const char *word;
  poei_op op;
  const char *keys[6]; /* beside "op" */
} sequence_layers[] = {
    {"shift", POEI_OP_SHIFT, {"start"}},
    {"gru", POEI_OP_GRU, {"prefix"}},
    {"lstm", POEI_OP_LSTM, {"prefix"}},
    {"nade", POEI_OP_NADE, {"W", "V", "b", "c", "activation"}},
};
enum { SEQUENCE_LAYERS = sizeof sequence_layers / sizeof *sequence_layers };

static size_t sequence_find(const char *word) {
  size_t i = 0;
  while (i < SEQUENCE_LAYERS && strcmp(sequence_layers[i].word, word) != 0) {
    i++;
  }
  return i;
}

bool poei_layers_is_sequence(const char *word) {
  return sequence_find(word) < SEQUENCE_LAYERS;
}

static poe_status sequence_check_keys(const poei_layers *layers, size_t rule, const json_t *layer, poe_error *error) {
  const char *word = sequence_layers[rule].word, *name;
  json_t *value;
  json_object_foreach((json_t *)layer, name, value) {
    bool known = strcmp(name, "op") == 0;
    for (size_t i = 0; sequence_layers[rule].keys[i] != NULL && !known; i++) {
      known = strcmp(name, sequence_layers[rule].keys[i]) == 0;
    }
    if (!known) {
      poei_shown shown;
      return poei_layers_error(layers, word, error, POE_E_FORMAT, "it has no '%s'",
                               poei_show(&shown, name, strlen(name)));
    }
  }
  return POE_OK;
}

/* A tensor named by a key of the layer, as weight i. */
static poe_status sequence_tensor(poei_layers *layers, const char *word, const json_t *layer, const char *key,
                                  int32_t *index, poe_error *error) {
  const char *name = json_string_value(json_object_get(layer, key));
  if (name == NULL) {
    return poei_layers_error(layers, word, error, POE_E_FORMAT, "'%s' must be the name of a tensor", key);
  }
  return poei_layers_weight(layers, name, index, error);
}

/* ---- shift ---- */

static poe_status sequence_shift(poei_layers *layers, const json_t *layer, poe_error *error) {
  const json_t *start = json_object_get(layer, "start");
  poei_node node = {.op = POEI_OP_SHIFT, .weights = {-1, -1}};
  poe_status status = POE_OK;
  if (json_is_string(start)) {
    node.n_weights = 1;
    status = sequence_tensor(layers, "shift", layer, "start", &node.weights[0], error);
  } else if (start == NULL || json_is_number(start)) {
    node.attributes.scale = json_number_value(start); /* 0 where there is none */
  } else {
    status =
        poei_layers_error(layers, "shift", error, POE_E_FORMAT, "'start' must be a number or the name of a tensor");
  }
  return status == POE_OK ? poei_layers_add(layers, "shift", &node, error) : status;
}

/* ---- recurrent layers ---- */

enum { RECURRENT_NAME = 512 };

/* "rnn", "weight_ih", 0 -> "rnn.weight_ih_l0". */
static void recurrent_name(char name[RECURRENT_NAME], const char *prefix, const char *part, size_t layer) {
  snprintf(name, RECURRENT_NAME, "%s%s%s_l%zu", prefix, prefix[0] == '\0' ? "" : ".", part, layer);
}

static bool recurrent_has(const poei_layers *layers, const char *prefix, const char *part, size_t layer) {
  char name[RECURRENT_NAME];
  recurrent_name(name, prefix, part, layer);
  return poei_tensor_file_find(layers->file, name) != NULL;
}

/* Tensors of layers that are none of ours. */
static poe_status recurrent_check(const poei_layers *layers, const char *word, const char *prefix, poe_error *error) {
  char name[RECURRENT_NAME];
  snprintf(name, sizeof name, "%s%sweight_ih_l0_reverse", prefix, prefix[0] == '\0' ? "" : ".");
  if (poei_tensor_file_find(layers->file, name) != NULL) {
    return poei_layers_error(layers, word, error, POE_E_UNSUPPORTED,
                             "'%.200s' is of a bidirectional layer, which sees what comes after", name);
  }
  recurrent_name(name, prefix, "weight_hr", 0);
  if (poei_tensor_file_find(layers->file, name) != NULL) {
    return poei_layers_error(layers, word, error, POE_E_UNSUPPORTED,
                             "'%.200s' is of an LSTM with projections, which are not known", name);
  }
  return POE_OK;
}

/* Layers 0, 1, ... of the prefix, as many as the file has. */
static poe_status sequence_recurrent(poei_layers *layers, const char *word, poei_op op, const json_t *layer,
                                     poe_error *error) {
  static const char *const parts[4] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
  const char *prefix = json_string_value(json_object_get(layer, "prefix"));
  if (prefix == NULL || strlen(prefix) > RECURRENT_NAME / 2) {
    return poei_layers_error(layers, word, error, POE_E_FORMAT,
                             "'prefix' must be what stands before '.weight_ih_l0', of at most %d characters",
                             RECURRENT_NAME / 2);
  }
  poe_status status = recurrent_check(layers, word, prefix, error);
  for (size_t l = 0; status == POE_OK && (l == 0 || recurrent_has(layers, prefix, parts[0], l)); l++) {
    poei_node node = {.op = op, .n_weights = 4, .weights = {-1, -1, -1, -1}};
    for (size_t i = 0; i < 4 && status == POE_OK; i++) {
      char name[RECURRENT_NAME];
      recurrent_name(name, prefix, parts[i], l);
      if (i < 2 || recurrent_has(layers, prefix, parts[i], l)) {
        status = poei_layers_weight(layers, name, &node.weights[i], error);
      }
    }
    status = status == POE_OK ? poei_layers_add(layers, word, &node, error) : status;
  }
  return status;
}

/* ---- NADE ---- */

/* Turns weight [rows, columns] of the graph into [columns, rows]. */
static poe_status nade_transpose(poei_layers *layers, int32_t index, poe_error *error) {
  poei_weight *w = &layers->graph->weights[index];
  size_t rows = w->shape.size[0], columns = w->shape.size[1];
  size_t size = layers->graph->precision == POEI_FLOAT32 ? sizeof(float) : sizeof(double);
  unsigned char *turned = poei_alloc(w->shape.count, size);
  if (turned == NULL) {
    return poei_file_memory_error(error, poei_tensor_file_path(layers->file));
  }
  for (size_t i = 0; i < rows; i++) {
    for (size_t j = 0; j < columns; j++) {
      memcpy(turned + (j * rows + i) * size, (const unsigned char *)w->data + (i * columns + j) * size, size);
    }
  }
  memcpy(w->data, turned, w->shape.count * size);
  w->shape.size[0] = columns;
  w->shape.size[1] = rows;
  poei_free(turned);
  return POE_OK;
}

/* W [hidden, d] has one column for each coordinate; the operator wants them as rows. */
static poe_status sequence_nade(poei_layers *layers, const json_t *layer, poe_error *error) {
  poei_node node = {.op = POEI_OP_NADE, .n_weights = 4, .weights = {-1, -1, -1, -1}};
  const json_t *activation = json_object_get(layer, "activation");
  const char *given = activation == NULL ? "sigmoid" : json_string_value(activation);
  node.attributes.activation = given == NULL ? POEI_ACTIVATION_COUNT : poei_activation_find(given);
  if (node.attributes.activation == POEI_ACTIVATION_COUNT) {
    return poei_layers_error(layers, "nade", error, POE_E_FORMAT, "'activation' must be one of %s",
                             POEI_ACTIVATION_WORDS);
  }
  node.attributes.parameter = poei_activation_parameter(node.attributes.activation);
  poe_status status = POE_OK;
  for (size_t i = 0; i < 4 && status == POE_OK; i++) {
    status =
        sequence_tensor(layers, "nade", layer, sequence_layers[sequence_find("nade")].keys[i], &node.weights[i], error);
  }
  const poei_shape *in = &layers->graph->nodes[layers->value].shape;
  const poei_shape *w = status == POE_OK ? &layers->graph->weights[node.weights[0]].shape : NULL;
  if (w != NULL && (w->ndim != 2 || w->size[1] != in->count || in->ndim != 1)) {
    char text[160], have[160];
    return poei_layers_error(layers, "nade", error, POE_E_SHAPE,
                             "weight '%s' has shape %s, but its input %s needs [hidden, %zu] and to be flat",
                             layers->graph->weights[node.weights[0]].name,
                             poei_shape_text(w->ndim, w->size, text, sizeof text),
                             poei_shape_text(in->ndim, in->size, have, sizeof have), in->count);
  }
  status = status == POE_OK ? nade_transpose(layers, node.weights[0], error) : status;
  return status == POE_OK ? poei_layers_add(layers, "nade", &node, error) : status;
}

poe_status poei_layers_sequence(poei_layers *layers, const char *word, const json_t *layer, poe_error *error) {
  size_t rule = sequence_find(word);
  poe_status status = sequence_check_keys(layers, rule, layer, error);
  if (status != POE_OK) {
    return status;
  }
  switch (sequence_layers[rule].op) {
  case POEI_OP_SHIFT:
    return sequence_shift(layers, layer, error);
  case POEI_OP_NADE:
    return sequence_nade(layers, layer, error);
  default:
    return sequence_recurrent(layers, word, sequence_layers[rule].op, layer, error);
  }
}
