/* The list of layers in poe.layers, to graph nodes (net/layers.h).
 *
 * Each kind of layer is a row of a table: its operator and the keys it may have. Keys that are not in the table,
 * missing ones and values of the wrong type are errors that name the layer by number and word. A residual layer holds
 * lists of its own and computes g(x) + f(x); batch normalisation is folded into one scaling by channels.
 */
#include "net/layers.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/file_error.h"

enum { LAYERS_MAX_NESTING = 8, LAYERS_MAX_SIDE = 1 << 24 };

typedef enum layer_key_kind {
  KEY_WEIGHT,
  KEY_BIAS,
  KEY_MASK,
  KEY_SIZE,
  KEY_PAIR,
  KEY_NUMBER,
  KEY_SHAPE
} layer_key_kind;

typedef struct layer_key {
  const char *name;
  layer_key_kind kind;
  size_t member; /* the others: offset in poei_attributes */
  bool required;
} layer_key;

enum { LAYER_MAX_KEYS = 8 };

typedef struct layer_rule {
  const char *word;
  poei_op op;
  layer_key keys[LAYER_MAX_KEYS];
} layer_rule;

#define MEMBER(name) offsetof(poei_attributes, name)

static const layer_rule layer_rules[] = {
    {"linear",
     POEI_OP_LINEAR,
     {{"weight", KEY_WEIGHT, 0, true}, {"mask", KEY_MASK, 0, false}, {"bias", KEY_BIAS, 0, false}}},
    {"conv2d",
     POEI_OP_CONV2D,
     {{"weight", KEY_WEIGHT, 0, true},
      {"mask", KEY_MASK, 0, false},
      {"bias", KEY_BIAS, 0, false},
      {"stride", KEY_PAIR, MEMBER(stride), false},
      {"padding", KEY_PAIR, MEMBER(padding), false},
      {"dilation", KEY_PAIR, MEMBER(dilation), false},
      {"groups", KEY_SIZE, MEMBER(groups), false}}},
    {"conv_transpose2d",
     POEI_OP_CONV_TRANSPOSE2D,
     {{"weight", KEY_WEIGHT, 0, true},
      {"mask", KEY_MASK, 0, false},
      {"bias", KEY_BIAS, 0, false},
      {"stride", KEY_PAIR, MEMBER(stride), false},
      {"padding", KEY_PAIR, MEMBER(padding), false},
      {"output_padding", KEY_PAIR, MEMBER(output_padding), false},
      {"dilation", KEY_PAIR, MEMBER(dilation), false},
      {"groups", KEY_SIZE, MEMBER(groups), false}}},
    {"avg_pool2d",
     POEI_OP_AVG_POOL2D,
     {{"size", KEY_PAIR, MEMBER(size), true},
      {"stride", KEY_PAIR, MEMBER(stride), false},
      {"padding", KEY_PAIR, MEMBER(padding), false}}},
    {"max_pool2d",
     POEI_OP_MAX_POOL2D,
     {{"size", KEY_PAIR, MEMBER(size), true},
      {"stride", KEY_PAIR, MEMBER(stride), false},
      {"padding", KEY_PAIR, MEMBER(padding), false}}},
    {"embedding", POEI_OP_EMBEDDING, {{"weight", KEY_WEIGHT, 0, true}}},
    {"one_hot", POEI_OP_EMBEDDING, {{"values", KEY_SIZE, MEMBER(size), true}}},
    {"upsample2d", POEI_OP_UPSAMPLE2D, {{"factor", KEY_PAIR, MEMBER(size), true}}},
    {"group_norm",
     POEI_OP_GROUP_NORM,
     {{"groups", KEY_SIZE, MEMBER(groups), true},
      {"weight", KEY_WEIGHT, 0, false},
      {"bias", KEY_BIAS, 0, false},
      {"eps", KEY_NUMBER, MEMBER(eps), false}}},
    {"reshape", POEI_OP_RESHAPE, {{"shape", KEY_SHAPE, MEMBER(shape), true}}},
    {"affine",
     POEI_OP_AFFINE,
     {{"scale", KEY_NUMBER, MEMBER(scale), false}, {"shift", KEY_NUMBER, MEMBER(shift), false}}},
    {"layer_norm",
     POEI_OP_LAYER_NORM,
     {{"weight", KEY_WEIGHT, 0, true}, {"bias", KEY_BIAS, 0, false}, {"eps", KEY_NUMBER, MEMBER(eps), false}}},
};
enum { LAYER_RULES = sizeof layer_rules / sizeof *layer_rules };

/* Layers that are an operator with something worked out from the input's shape (layers_fill). */
static const layer_rule layer_flatten = {.word = "flatten", .op = POEI_OP_RESHAPE};
static const layer_rule layer_global_pool = {.word = "global_avg_pool2d", .op = POEI_OP_AVG_POOL2D};
static const layer_rule layer_instance_norm = {
    .word = "instance_norm",
    .op = POEI_OP_GROUP_NORM,
    .keys = {{"weight", KEY_WEIGHT, 0, false}, {"bias", KEY_BIAS, 0, false}, {"eps", KEY_NUMBER, MEMBER(eps), false}}};
static const layer_rule *const layer_derived[] = {&layer_flatten, &layer_global_pool, &layer_instance_norm};
static const layer_rule layer_plain_activation = {.op = POEI_OP_ACTIVATION};
static const layer_rule layer_leaky_relu = {.op = POEI_OP_ACTIVATION,
                                            .keys = {{"slope", KEY_NUMBER, MEMBER(parameter), false}}};
static const layer_rule layer_elu = {.op = POEI_OP_ACTIVATION,
                                     .keys = {{"alpha", KEY_NUMBER, MEMBER(parameter), false}}};

poe_status poei_layers_error(const poei_layers *layers, const char *word, poe_error *error, poe_status status,
                             const char *format, ...) {
  char text[POE_ERROR_MESSAGE_SIZE];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  poei_shown shown;
  return poei_file_error(error, status, poei_tensor_file_path(layers->file), NULL, "layer %zu ('%s'): %s",
                         layers->count, poei_show(&shown, word, strlen(word)), text);
}

/* ---- weights ---- */

static size_t layers_first_not_finite(const poei_graph *graph, const void *data, size_t count) {
  for (size_t i = 0; i < count; i++) {
    bool finite =
        graph->precision == POEI_FLOAT32 ? isfinite(((const float *)data)[i]) : isfinite(((const double *)data)[i]);
    if (!finite) {
      return i;
    }
  }
  return count;
}

void poei_layers_mark(poei_layers *layers, const poei_tensor *tensor) {
  for (size_t i = 0; i < poei_tensor_file_count(layers->file); i++) {
    layers->used[i] = layers->used[i] || poei_tensor_file_at(layers->file, i) == tensor;
  }
}

poe_status poei_layers_weight(poei_layers *layers, const char *name, int32_t *index, poe_error *error) {
  const poei_tensor *tensor;
  poe_status status = poei_tensor_file_require(layers->file, name, &tensor, error);
  if (status != POE_OK) {
    return status;
  }
  const char *path = poei_tensor_file_path(layers->file);
  void *data;
  poe_error inner = {0};
  status = poei_graph_weight(layers->graph, tensor->name, tensor->ndim, tensor->shape, index, &data, &inner);
  if (status != POE_OK) {
    return poei_file_error(error, status, path, name, "%s", inner.message);
  }
  if (layers->graph->precision == POEI_FLOAT32) {
    poei_tensor_to_float(tensor, data);
  } else {
    poei_tensor_to_double(tensor, data);
  }
  size_t bad = layers_first_not_finite(layers->graph, data, tensor->count);
  if (bad < tensor->count) {
    return poei_file_error(error, POE_E_FORMAT, path, name, "number %zu of this weight is not finite%s", bad,
                           layers->graph->precision == POEI_FLOAT32 ? " in single precision" : "");
  }
  poei_layers_mark(layers, tensor);
  return POE_OK;
}

poe_status poei_layers_add(poei_layers *layers, const char *word, poei_node *node, poe_error *error) {
  poe_error inner = {0};
  node->n_inputs = poei_op_records[node->op]->n_inputs;
  if (node->n_inputs == 1) {
    node->inputs[0] = layers->value;
  }
  poe_status status = poei_graph_add(layers->graph, node, &layers->value, &inner);
  return status == POE_OK ? POE_OK : poei_layers_error(layers, word, error, status, "%s", inner.message);
}

/* Multiplies a weight that was just read by the tensor of that name, whose numbers must be 0 and 1. */
static poe_status layers_mask(poei_layers *layers, const char *name, int32_t index, poe_error *error) {
  int32_t at = 0;
  poe_status status = poei_layers_weight(layers, name, &at, error);
  if (status != POE_OK) {
    return status;
  }
  poei_weight *weight = &layers->graph->weights[index]; /* not before: the list may have moved */
  poei_weight *mask = &layers->graph->weights[at];
  const char *path = poei_tensor_file_path(layers->file);
  if (mask->shape.ndim != weight->shape.ndim ||
      memcmp(mask->shape.size, weight->shape.size, mask->shape.ndim * sizeof *mask->shape.size) != 0) {
    char have[160], need[160];
    return poei_file_error(error, POE_E_SHAPE, path, name, "this mask has shape %s, but its weight '%s' has %s",
                           poei_shape_text(mask->shape.ndim, mask->shape.size, have, sizeof have), weight->name,
                           poei_shape_text(weight->shape.ndim, weight->shape.size, need, sizeof need));
  }
  for (size_t i = 0; i < mask->shape.count; i++) {
    bool single = layers->graph->precision == POEI_FLOAT32;
    double one = single ? (double)((float *)mask->data)[i] : ((double *)mask->data)[i];
    if (one != 0.0 && one != 1.0) {
      return poei_file_error(error, POE_E_FORMAT, path, name, "number %zu of this mask is %g, but 0 or 1 is needed", i,
                             one);
    }
    if (one == 0.0 && single) {
      ((float *)weight->data)[i] = 0.0f;
    } else if (one == 0.0) {
      ((double *)weight->data)[i] = 0.0;
    }
  }
  poei_graph_drop_weight(layers->graph);
  return POE_OK;
}

/* ---- JSON ---- */

static const layer_rule *layers_find_rule(const char *word, poei_activation *activation) {
  for (size_t i = 0; i < LAYER_RULES; i++) {
    if (strcmp(layer_rules[i].word, word) == 0) {
      return &layer_rules[i];
    }
  }
  for (size_t i = 0; i < sizeof layer_derived / sizeof *layer_derived; i++) {
    if (strcmp(layer_derived[i]->word, word) == 0) {
      return layer_derived[i];
    }
  }
  *activation = poei_activation_find(word);
  switch (*activation) {
  case POEI_ACTIVATION_COUNT:
    return NULL;
  case POEI_LEAKY_RELU:
    return &layer_leaky_relu;
  case POEI_ELU:
    return &layer_elu;
  default:
    return &layer_plain_activation;
  }
}

/* A size in JSON: an integer in [0, LAYERS_MAX_SIDE]. */
static bool layers_size(const json_t *value, size_t *size) {
  if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > LAYERS_MAX_SIDE) {
    return false;
  }
  *size = (size_t)json_integer_value(value);
  return true;
}

/* One size for height and width, or a list of both. */
static bool layers_pair(const json_t *value, size_t *pair) {
  bool both = json_is_array(value) && json_array_size(value) == 2;
  return layers_size(both ? json_array_get(value, 0) : value, &pair[0]) &&
         layers_size(both ? json_array_get(value, 1) : value, &pair[1]);
}

static bool layers_shape(const json_t *value, poei_shape *shape) {
  shape->ndim = json_array_size(value); /* 0 unless it is an array */
  if (!json_is_array(value) || shape->ndim > POEI_MAX_DIMS) {
    return false;
  }
  for (size_t i = 0; i < shape->ndim; i++) {
    if (!layers_size(json_array_get(value, i), &shape->size[i])) {
      return false;
    }
  }
  return true;
}

/* One key of one layer into the node. */
static poe_status layers_read_key(poei_layers *layers, const char *word, const layer_key *key, const json_t *value,
                                  poei_node *node, poe_error *error) {
  unsigned char *member = (unsigned char *)&node->attributes + key->member;
  const char *wanted = NULL;
  switch (key->kind) {
  case KEY_WEIGHT:
  case KEY_BIAS:
    if (!json_is_string(value)) {
      wanted = "the name of a tensor";
      break;
    }
    node->n_weights = key->kind == KEY_BIAS ? 2 : node->n_weights == 0 ? 1 : node->n_weights;
    return poei_layers_weight(layers, json_string_value(value), &node->weights[key->kind == KEY_BIAS ? 1 : 0], error);
  case KEY_MASK:
    if (!json_is_string(value)) {
      wanted = "the name of a tensor";
      break;
    }
    return layers_mask(layers, json_string_value(value), node->weights[0], error);
  case KEY_SIZE:
    wanted = layers_size(value, (size_t *)(void *)member) ? NULL : "an integer >= 0";
    break;
  case KEY_PAIR:
    wanted = layers_pair(value, (size_t *)(void *)member) ? NULL : "an integer >= 0 or a list of two, [height, width]";
    break;
  case KEY_NUMBER:
    wanted = json_is_number(value) ? NULL : "a number";
    *(double *)(void *)member = json_number_value(value);
    break;
  case KEY_SHAPE:
    wanted = layers_shape(value, (poei_shape *)(void *)member) ? NULL : "a list of sizes";
    break;
  }
  return wanted == NULL ? POE_OK
                        : poei_layers_error(layers, word, error, POE_E_FORMAT, "'%s' must be %s", key->name, wanted);
}

static const layer_key *layers_find_key(const layer_rule *rule, const char *name) {
  for (size_t i = 0; i < LAYER_MAX_KEYS && rule->keys[i].name != NULL; i++) {
    if (strcmp(rule->keys[i].name, name) == 0) {
      return &rule->keys[i];
    }
  }
  return NULL;
}

/* Every key of the layer must be one of the rule's. */
static poe_status layers_check_keys(const poei_layers *layers, const char *word, const layer_rule *rule,
                                    const json_t *layer, poe_error *error) {
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)layer, name, value) {
    poei_shown shown;
    if (strcmp(name, "op") != 0 && layers_find_key(rule, name) == NULL) {
      return poei_layers_error(layers, word, error, POE_E_FORMAT, "it has no '%s'",
                               poei_show(&shown, name, strlen(name)));
    }
  }
  return POE_OK;
}

static poe_status layers_read_keys(poei_layers *layers, const char *word, const layer_rule *rule, const json_t *layer,
                                   poei_node *node, poe_error *error) {
  poe_status status = layers_check_keys(layers, word, rule, layer, error);
  for (size_t i = 0; i < LAYER_MAX_KEYS && rule->keys[i].name != NULL && status == POE_OK; i++) {
    const json_t *given = json_object_get(layer, rule->keys[i].name);
    if (given == NULL || json_is_null(given)) {
      if (rule->keys[i].required) {
        return poei_layers_error(layers, word, error, POE_E_FORMAT, "'%s' is missing", rule->keys[i].name);
      }
      continue;
    }
    status = layers_read_key(layers, word, &rule->keys[i], given, node, error);
  }
  return status;
}

static poe_status layers_unknown(const poei_layers *layers, const char *word, poe_error *error) {
  poe_status status = poei_layers_error(layers, word, error, POE_E_UNSUPPORTED, "this layer is not known");
  poe_error_hint(error,
                 "known are linear, conv2d, conv_transpose2d, avg_pool2d, max_pool2d, global_avg_pool2d, upsample2d, "
                 "batch_norm, group_norm, instance_norm, layer_norm, reshape, flatten, affine, residual, embedding, "
                 "one_hot, shift, gru, lstm, nade and the activations %s",
                 POEI_ACTIVATION_WORDS);
  return status;
}

/* What a layer's operator is told when its keys do not say: PyTorch's defaults, and what follows from the shape of the
 * input. */
static void layers_fill(const poei_layers *layers, const layer_rule *rule, poei_attributes *attributes) {
  const poei_shape *in = &layers->graph->nodes[layers->value].shape;
  bool pool = rule->op == POEI_OP_AVG_POOL2D || rule->op == POEI_OP_MAX_POOL2D; /* stride 0: that of the window */
  for (size_t k = 0; k < 2; k++) {
    attributes->stride[k] = pool ? 0 : 1;
    attributes->dilation[k] = 1;
  }
  attributes->groups = 1;
  attributes->scale = 1.0;
  attributes->eps = 1e-5;
  if (rule == &layer_flatten) {
    attributes->shape.ndim = 1;
    attributes->shape.size[0] = in->count;
  } else if (rule == &layer_global_pool && in->ndim == 3) {
    memcpy(attributes->size, in->size + 1, sizeof attributes->size);
  } else if (rule == &layer_instance_norm && in->ndim > 0) {
    attributes->groups = in->size[0];
  }
}

/* Whether a value holds the numbers of the input, in another place or shape. */
static bool layers_has_values(const poei_graph *graph, poei_value value) {
  while (graph->nodes[value].op == POEI_OP_SHIFT || graph->nodes[value].op == POEI_OP_RESHAPE) {
    value = graph->nodes[value].inputs[0];
  }
  return graph->nodes[value].op == POEI_OP_INPUT;
}

static poe_status layers_add_plain(poei_layers *layers, const char *word, const json_t *layer, poe_error *error) {
  poei_activation activation = POEI_IDENTITY;
  const layer_rule *rule = layers_find_rule(word, &activation);
  if (rule == NULL) {
    return layers_unknown(layers, word, error);
  }
  if (rule->op == POEI_OP_EMBEDDING && !(layers->integers && layers_has_values(layers->graph, layers->value))) {
    return poei_layers_error(layers, word, error, POE_E_UNSUPPORTED,
                             layers->integers ? "it needs the network's input as it is, before other layers"
                                              : "only autoregressive models of discrete variables may have it");
  }
  poei_node node = {.op = rule->op, .weights = {-1, -1}};
  layers_fill(layers, rule, &node.attributes);
  if (rule->op == POEI_OP_ACTIVATION) {
    node.attributes.activation = activation;
    node.attributes.parameter = poei_activation_parameter(activation);
  }
  poe_status status = layers_read_keys(layers, word, rule, layer, &node, error);
  if (status == POE_OK && rule->op == POEI_OP_LINEAR) {
    status = poei_layers_degrees_mask(layers, &node, error);
  }
  return status == POE_OK ? poei_layers_add(layers, word, &node, error) : status;
}

/* ---- batch normalisation ---- */

/* The statistics and weights of one layer, [channels] each. */
enum { NORM_MEAN, NORM_VARIANCE, NORM_WEIGHT, NORM_BIAS, NORM_PARTS };
static const char *const norm_keys[NORM_PARTS] = {"running_mean", "running_var", "weight", "bias"};

/* Part `part` into numbers[channels]; weight and bias may be absent and are then left as they are. */
static poe_status norm_read(poei_layers *layers, const json_t *layer, size_t part, size_t channels, double *numbers,
                            poe_error *error) {
  const json_t *name = json_object_get(layer, norm_keys[part]);
  if (part >= NORM_WEIGHT && (name == NULL || json_is_null(name))) {
    return POE_OK;
  }
  if (!json_is_string(name)) {
    return poei_layers_error(layers, "batch_norm", error, POE_E_FORMAT, "'%s' must be the name of a tensor",
                             norm_keys[part]);
  }
  const poei_tensor *tensor;
  poe_status status = poei_tensor_file_require(layers->file, json_string_value(name), &tensor, error);
  if (status != POE_OK) {
    return status;
  }
  const char *path = poei_tensor_file_path(layers->file);
  if (tensor->ndim != 1 || tensor->count != channels) {
    char text[160];
    return poei_file_error(error, POE_E_SHAPE, path, tensor->name, "its shape is %s, but [%zu] is needed",
                           poei_shape_text(tensor->ndim, tensor->shape, text, sizeof text), channels);
  }
  poei_tensor_to_double(tensor, numbers);
  for (size_t c = 0; c < channels; c++) {
    if (!isfinite(numbers[c]) || (part == NORM_VARIANCE && numbers[c] < 0.0)) {
      return poei_file_error(error, POE_E_FORMAT, path, tensor->name, "number %zu is not %s", c,
                             part == NORM_VARIANCE ? "a variance" : "finite");
    }
  }
  poei_layers_mark(layers, tensor);
  return POE_OK;
}

/* Adds numbers[channels] to the graph's weights. */
static poe_status norm_weight(poei_layers *layers, size_t channels, const double *numbers, int32_t *index,
                              poe_error *error) {
  void *data;
  poe_error inner = {0};
  poe_status status = poei_graph_weight(layers->graph, "batch_norm", 1, &channels, index, &data, &inner);
  if (status != POE_OK) {
    return poei_layers_error(layers, "batch_norm", error, status, "%s", inner.message);
  }
  for (size_t c = 0; c < channels; c++) {
    if (layers->graph->precision == POEI_FLOAT32) {
      ((float *)data)[c] = (float)numbers[c];
    } else {
      ((double *)data)[c] = numbers[c];
    }
  }
  return layers_first_not_finite(layers->graph, data, channels) == channels
             ? POE_OK
             : poei_layers_error(layers, "batch_norm", error, POE_E_FORMAT,
                                 "weight / sqrt(running_var + eps) overflows");
}

/* y = (x - mean) / sqrt(var + eps) * w + b, folded into scale and shift in double. */
static poe_status layers_add_batch_norm(poei_layers *layers, const json_t *layer, poe_error *error) {
  static const layer_rule rule = {.word = "batch_norm",
                                  .op = POEI_OP_CHANNEL_AFFINE,
                                  .keys = {{"running_mean"}, {"running_var"}, {"weight"}, {"bias"}, {"eps"}}};
  const poei_shape *in = &layers->graph->nodes[layers->value].shape;
  const json_t *eps_value = json_object_get(layer, "eps");
  double eps = eps_value == NULL ? 1e-5 : json_number_value(eps_value);
  poei_node node = {.op = POEI_OP_CHANNEL_AFFINE, .n_weights = 2};
  node.attributes.eps = eps;
  poe_status status = layers_check_keys(layers, rule.word, &rule, layer, error);
  if (status == POE_OK && (in->ndim == 0 || !(eps >= 0.0) || !isfinite(eps))) {
    status = poei_layers_error(layers, rule.word, error, POE_E_FORMAT,
                               in->ndim == 0 ? "the input has no channels" : "'eps' must be a finite number >= 0");
  }
  size_t channels = status == POE_OK && in->ndim > 0 ? in->size[0] : 1;
  double *numbers = poei_alloc(NORM_PARTS * channels, sizeof *numbers);
  if (numbers == NULL) {
    return status != POE_OK ? status : poei_file_memory_error(error, poei_tensor_file_path(layers->file));
  }
  double *mean = numbers, *variance = numbers + channels, *weight = variance + channels, *bias = weight + channels;
  for (size_t c = 0; c < channels; c++) {
    weight[c] = 1.0;
    bias[c] = 0.0;
  }
  for (size_t part = 0; part < NORM_PARTS && status == POE_OK; part++) {
    status = norm_read(layers, layer, part, channels, numbers + part * channels, error);
  }
  for (size_t c = 0; c < channels && status == POE_OK; c++) {
    weight[c] /= sqrt(variance[c] + eps);
    bias[c] -= mean[c] * weight[c];
  }
  status = status == POE_OK ? norm_weight(layers, channels, weight, &node.weights[0], error) : status;
  status = status == POE_OK ? norm_weight(layers, channels, bias, &node.weights[1], error) : status;
  poei_free(numbers);
  return status == POE_OK ? poei_layers_add(layers, rule.word, &node, error) : status;
}

/* ---- lists ---- */

static poe_status layers_list(poei_layers *layers, const json_t *array, int nesting, poe_error *error);

/* g(x) + f(x): f the list "layers", g the list "shortcut" (x itself where there is none). */
static poe_status layers_add_residual(poei_layers *layers, const json_t *layer, int nesting, poe_error *error) {
  const json_t *inner = json_object_get(layer, "layers"), *shortcut = json_object_get(layer, "shortcut");
  if (!json_is_array(inner) || json_object_size(layer) != (shortcut == NULL ? 2 : 3)) {
    return poei_layers_error(layers, "residual", error, POE_E_FORMAT,
                             "it takes 'layers' and, where needed, 'shortcut', lists of layers, alone");
  }
  poei_value start = layers->value;
  size_t number = layers->count;
  poei_node node = {.op = POEI_OP_ADD};
  poe_status status = shortcut == NULL ? POE_OK : layers_list(layers, shortcut, nesting + 1, error);
  node.inputs[0] = layers->value;
  layers->value = start;
  status = status == POE_OK ? layers_list(layers, inner, nesting + 1, error) : status;
  if (status == POE_OK) {
    node.inputs[1] = layers->value;
    size_t reached = layers->count;
    layers->count = number; /* the sum is this layer's, not the last inner one's */
    status = poei_layers_add(layers, "residual", &node, error);
    layers->count = reached;
  }
  return status;
}

static poe_status layers_list(poei_layers *layers, const json_t *array, int nesting, poe_error *error) {
  const char *path = poei_tensor_file_path(layers->file);
  if (!json_is_array(array)) {
    return poei_file_error(error, POE_E_FORMAT, path, NULL, "poe.layers is not a list");
  }
  if (nesting > LAYERS_MAX_NESTING) {
    return poei_file_error(error, POE_E_UNSUPPORTED, path, NULL, "residual layers are nested more than %d deep",
                           LAYERS_MAX_NESTING);
  }
  for (size_t i = 0; i < json_array_size(array); i++) {
    const json_t *layer = json_array_get(array, i);
    const char *word = json_string_value(json_object_get(layer, "op"));
    layers->count++;
    if (word == NULL) {
      return poei_file_error(error, POE_E_FORMAT, path, NULL, "layer %zu is not an object with a text 'op'",
                             layers->count);
    }
    poe_status status = strcmp(word, "residual") == 0     ? layers_add_residual(layers, layer, nesting, error)
                        : strcmp(word, "batch_norm") == 0 ? layers_add_batch_norm(layers, layer, error)
                        : poei_layers_is_sequence(word)   ? poei_layers_sequence(layers, word, layer, error)
                                                          : layers_add_plain(layers, word, layer, error);
    if (status != POE_OK) {
      return status;
    }
  }
  return POE_OK;
}

poe_status poei_layers_from_json(poei_layers *layers, const json_t *array, poe_error *error) {
  return layers_list(layers, array, 0, error);
}
