/* What a model file means (answer/info_parts.h): its family, the variables to declare, the line to write, the shapes,
 * and whether it can be opened. The model is opened as the language would open it, by the family's own constructor, so
 * that what is said here is what will happen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer/info_parts.h"
#include "answer/session.h"
#include "compose/language/verbs.h"
#include "core/alloc.h"
#include "experts/conditionals.h"
#include "experts/flow.h"
#include "experts/list.h"
#include "net/heads.h"
#include "net/layers.h"

/* A variable to declare. */
typedef struct info_variable {
  const char *name;
  size_t values;    /* 0: real numbers, 2: binary, k: int(k) */
  double low, high; /* of real numbers                       */
  poei_shape shape; /* ndim 0: a scalar                      */
} info_variable;

enum { INFO_VARIABLES = 2, INFO_MAX_COORDINATES = 1 << 20 /* larger models are not tried */ };

typedef struct info_job {
  const poei_tensor_file *file;
  const char *family, *path, *description;
  info_variable variable[INFO_VARIABLES];
  size_t n;
  bool any_length;
  poei_heads heads;
  size_t out_ndim, out_shape[POEI_MAX_DIMS]; /* of a network; out_ndim 0: not said */
} info_job;

static json_t *info_sizes(size_t ndim, const size_t *shape) {
  json_t *list = json_array();
  for (size_t i = 0; list != NULL && i < ndim; i++) {
    if (json_array_append_new(list, json_integer((json_int_t)shape[i])) != 0) {
      json_decref(list);
      return NULL;
    }
  }
  return list;
}

/* ---- operators ---- */

/* Is `word` a layer of networks? Asked of the reader itself: a list of that one layer is not refused as unknown. */
static bool info_net_knows(const poei_tensor_file *file, const char *word) {
  poei_layers layers = {.file = file, .integers = true};
  poe_error error = {0};
  poei_node input = {.op = POEI_OP_INPUT};
  json_t *list = json_pack("[{s:s}]", "op", word);
  layers.used = poei_calloc(poei_tensor_file_count(file) + 1, 1);
  bool known = true;
  if (list != NULL && layers.used != NULL &&
      poei_shape_make(1, (size_t[]){1}, &input.attributes.shape, NULL) == POE_OK &&
      poei_graph_create(POEI_FLOAT32, &layers.graph, NULL) == POE_OK &&
      poei_graph_add(layers.graph, &input, &layers.value, NULL) == POE_OK) {
    known = poei_layers_from_json(&layers, list, &error) != POE_E_UNSUPPORTED;
  }
  poei_graph_destroy(layers.graph);
  poei_free(layers.used);
  json_decref(list);
  return known;
}

static bool info_flow_knows(const char *word) {
#define FLOW_WORD(name)                                                                                                \
  if (strcmp(word, #name) == 0) {                                                                                      \
    return true;                                                                                                       \
  }
  POEI_FLOW_LAYER_LIST(FLOW_WORD)
#undef FLOW_WORD
  return false;
}

static bool info_listed(const json_t *list, const char *word) {
  size_t i;
  const json_t *item;
  json_array_foreach(list, i, item) {
    if (strcmp(json_string_value(item), word) == 0) {
      return true;
    }
  }
  return false;
}

enum { INFO_NESTING = 12 };

/* Appends the words of `layers` that nothing here knows to `missing`, each once. */
static poe_status info_missing(const poei_tensor_file *file, const json_t *layers, bool flow, int nesting,
                               json_t *missing, poe_error *error) {
  size_t i;
  const json_t *layer;
  poe_status status = POE_OK;
  json_array_foreach(layers, i, layer) {
    const char *word = json_string_value(json_object_get(layer, "op"));
    if (word != NULL && !(flow ? info_flow_knows(word) : info_net_knows(file, word)) && !info_listed(missing, word)) {
      status = poei_json_append(status, missing, json_string(word), error);
    }
    for (size_t k = 0; k < 2 && status == POE_OK && nesting < INFO_NESTING; k++) {
      const json_t *inner = json_object_get(layer, k == 0 ? "layers" : "shortcut");
      status = info_missing(file, inner, false, nesting + 1, missing, error);
    }
  }
  return status;
}

/* ---- parameters ---- */

/* Whether a layer names tensor `name` as its mask. */
static bool info_is_mask(const json_t *layers, const char *name, int nesting) {
  size_t i;
  const json_t *layer;
  json_array_foreach(layers, i, layer) {
    const char *mask = json_string_value(json_object_get(layer, "mask"));
    if (mask != NULL && strcmp(mask, name) == 0) {
      return true;
    }
    for (size_t k = 0; k < 2 && nesting < INFO_NESTING; k++) {
      if (info_is_mask(json_object_get(layer, k == 0 ? "layers" : "shortcut"), name, nesting + 1)) {
        return true;
      }
    }
  }
  return false;
}

/* Whether poe.degrees, of which masks are made, names tensor `name`. */
static bool info_is_degrees(const json_t *degrees, const char *name) {
  size_t i;
  const json_t *list;
  json_array_foreach(degrees, i, list) {
    if (json_is_string(list) && strcmp(json_string_value(list), name) == 0) {
      return true;
    }
  }
  return false;
}

/* A list of the metadata; NULL where there is none. */
static json_t *info_list(const poei_tensor_file *file, const char *key) {
  json_t *list = NULL;
  poe_error unused = {0};
  return poei_layers_metadata(file, key, &list, &unused) == POE_OK ? list : NULL;
}

size_t poei_info_parameters(const poei_tensor_file *file) {
  json_t *layers = info_list(file, "poe.layers"), *degrees = info_list(file, "poe.degrees");
  size_t total = 0;
  for (size_t i = 0; i < poei_tensor_file_count(file); i++) {
    const poei_tensor *tensor = poei_tensor_file_at(file, i);
    if (tensor->dtype <= POEI_BF16 && !info_is_mask(layers, tensor->name, 0) &&
        !info_is_degrees(degrees, tensor->name)) {
      total += tensor->count;
    }
  }
  json_decref(layers);
  json_decref(degrees);
  return total;
}

/* ---- variables ---- */

static void info_variable_set(info_job *job, size_t i, const char *name, size_t values, const poei_shape *shape) {
  job->variable[i] = (info_variable){.name = name, .values = values, .low = -INFINITY, .high = INFINITY};
  if (shape != NULL) {
    job->variable[i].shape = *shape;
  } else {
    job->variable[i].shape.count = 1;
  }
  job->n = i + 1;
}

enum { INFO_LENGTH = 16 };

/* poe.input; *any_length: of sequences, which are taken INFO_LENGTH long here. */
static poe_status info_input(const poei_tensor_file *file, poei_shape *input, bool *any_length, poe_error *error) {
  json_t *list = NULL;
  poe_status status = poei_layers_metadata(file, "poe.input", &list, error);
  const char *word = json_string_value(json_array_get(list, 0));
  size_t ndim = json_array_size(list), size[POEI_MAX_DIMS] = {INFO_LENGTH};
  *any_length = word != NULL && strcmp(word, "length") == 0 && ndim <= POEI_MAX_DIMS;
  for (size_t i = 1; *any_length && i < ndim; i++) {
    json_int_t given = json_integer_value(json_array_get(list, i));
    size[i] = given > 0 ? (size_t)given : 0;
  }
  json_decref(list);
  if (status != POE_OK) {
    return status;
  }
  return *any_length ? poei_shape_make(ndim, size, input, error) : poei_layers_input(file, input, error);
}

/* The values of an autoregressive model's coordinates. */
static poe_status info_output(info_job *job, poe_error *error) {
  json_t *output = NULL;
  poei_conditional conditional;
  poe_status status = poei_layers_metadata(job->file, "poe.output", &output, error);
  if (status == POE_OK) {
    status = poei_conditional_read(output, &conditional, error);
  }
  if (status == POE_OK) {
    job->variable[0].values = conditional.values;
  }
  json_decref(output);
  return status;
}

/* The variables of the families whose files say poe.input. */
static poe_status info_described(info_job *job, poe_error *error) {
  bool decoder = strcmp(job->family, "decoder") == 0;
  poei_shape input;
  poe_status status = info_input(job->file, &input, &job->any_length, error);
  if (status != POE_OK) {
    return status;
  }
  info_variable_set(job, 0, decoder ? "z" : "x", 0, &input);
  if (strcmp(job->family, "flow") == 0) {
    poei_flow *flow = NULL;
    status = poei_flow_from_file(job->file, NULL, input.count, &flow, error);
    for (size_t j = 0; status == POE_OK && j < flow->d; j++) {
      bool same = flow->low[j] == flow->low[0] && flow->high[j] == flow->high[0];
      job->variable[0].low = same ? flow->low[0] : -INFINITY;
      job->variable[0].high = same ? flow->high[0] : INFINITY;
    }
    poei_flow_destroy(flow);
    return status;
  }
  poei_net *net = NULL;
  if (strcmp(job->family, "autoregressive") == 0) {
    status = info_output(job, error);
  }
  if (status == POE_OK) {
    poei_net_source source = {.file = job->file, .in_dim = input.count, .integers = job->variable[0].values > 0};
    status = poei_net_load(&source, &net, error);
  }
  if (status != POE_OK) {
    return status;
  }
  job->out_ndim = poei_net_out_shape(net, job->out_shape);
  if (strcmp(job->family, "classifier") == 0) {
    size_t logits = poei_net_out_dim(net);
    status = poei_heads_read(job->file, logits, &job->heads, error);
    const poei_head *head = job->heads.n > 0 ? &job->heads.head[0] : NULL;
    bool one = head != NULL ? head->sigmoid : logits == 1;
    info_variable_set(job, 1, "c", one ? 2 : head != NULL ? head->size : logits, NULL);
  }
  poei_net_release(net);
  return status;
}

/* The variables of the families that are tensors of fixed names: real[columns] or units[rows]. */
static poe_status info_named(info_job *job, poe_error *error) {
  bool gmm = strcmp(job->family, "gmm") == 0;
  const char *name = gmm ? "means" : strcmp(job->family, "rbm") == 0 ? "W" : "W1";
  const poei_tensor *tensor = NULL;
  poe_status status = poei_tensor_file_require(job->file, name, &tensor, error);
  if (status != POE_OK) {
    return status;
  }
  size_t d = tensor->ndim == 2 ? tensor->shape[gmm ? 1 : 0] : gmm && tensor->ndim == 1 ? 1 : 0;
  poei_shape shape;
  status = poei_shape_make(1, &d, &shape, error);
  if (status == POE_OK) {
    bool real = gmm || poei_tensor_file_find(job->file, "sd") != NULL;
    info_variable_set(job, 0, gmm ? "x" : "v", real ? 0 : 2, &shape);
  }
  return status;
}

static poe_status info_variables(info_job *job, poe_error *error) {
  static const char *const named[] = {"gmm", "rbm", "dbm"};
  for (size_t i = 0; i < sizeof named / sizeof named[0]; i++) {
    if (strcmp(job->family, named[i]) == 0) {
      return info_named(job, error);
    }
  }
  return info_described(job, error);
}

/* ---- what to write ---- */

/* As many digits as the number has: bounds that cut off a flow by a rounding would make another density of it. */
static void info_exact(double value, char *text, size_t size) {
  int digits = 6;
  do {
    snprintf(text, size, "%.*g", digits++, value);
  } while (digits <= 17 && strtod(text, NULL) != value);
}

static json_t *info_declaration(const info_variable *v) {
  char space[32] = "real", shape[200] = "", bounds[80] = "";
  if (v->values > 0) {
    snprintf(space, sizeof space, v->values == 2 ? "binary" : "int(%zu)", v->values);
  } else if (isfinite(v->low) && isfinite(v->high)) {
    char low[32], high[32];
    info_exact(v->low, low, sizeof low);
    info_exact(v->high, high, sizeof high);
    snprintf(bounds, sizeof bounds, " in [%s, %s]", low, high);
  }
  if (v->shape.ndim > 0) {
    poei_shape_text(v->shape.ndim, v->shape.size, shape, sizeof shape);
  }
  return json_sprintf("var %s : %s%s%s", v->name, space, shape, bounds);
}

static json_t *info_use(const info_job *job) {
  char extra[POEI_LABEL_SIZE + 32] = "";
  if (job->heads.n > 1) {
    snprintf(extra, sizeof extra, ", head=\"%s\"", job->heads.head[0].name);
  }
  bool map = poei_map_find(job->family) != NULL, described = job->description != NULL;
  return json_sprintf("%s = %s(%s%s%s | file=\"%s\"%s%s%s%s)", map ? "image" : "a", job->family, job->variable[0].name,
                      job->n > 1 ? ", " : "", job->n > 1 ? job->variable[1].name : "", job->path,
                      described ? ", description=\"" : "", described ? job->description : "", described ? "\"" : "",
                      extra);
}

/* ---- can it be opened? ---- */

static void info_support(const info_variable *v, poe_support *support) {
  bool low = isfinite(v->low), high = isfinite(v->high);
  for (size_t j = 0; j < v->shape.count; j++) {
    support[j] = v->values > 0 ? (poe_support){POE_DISCRETE, 0.0, (double)v->values - 1.0, false, false}
                               : (poe_support){POE_CONTINUOUS, v->low, v->high, !low, !high};
  }
}

/* Opens the model as the language would. */
static poe_status info_open(const info_job *job, poe_error *error) {
  poe_subject subjects[INFO_VARIABLES];
  poe_support *support[INFO_VARIABLES] = {NULL};
  poe_status status = POE_OK;
  for (size_t i = 0; i < job->n && status == POE_OK; i++) {
    const info_variable *v = &job->variable[i];
    support[i] = poei_alloc(v->shape.count, sizeof *support[i]);
    if (support[i] == NULL) {
      status = poe_error_set(error, POE_E_MEMORY, "out of memory");
    } else {
      info_support(v, support[i]);
      subjects[i] = (poe_subject){v->name, v->shape.ndim, v->shape.size, v->shape.count, support[i]};
    }
  }
  const char *head = job->heads.n > 1 ? job->heads.head[0].name : NULL;
  poe_arg arg[3] = {{.name = "file", .type = POE_ARG_FILE, .text = job->path}};
  size_t n = 1;
  if (job->description != NULL) {
    arg[n++] = (poe_arg){.name = "description", .type = POE_ARG_FILE, .text = job->description};
  }
  if (head != NULL) {
    arg[n++] = (poe_arg){.name = "head", .type = POE_ARG_STRING, .text = head};
  }
  poe_args args = {job->family, job->n, subjects, n, arg};
  const poe_expert_ops *family = poei_family_find(job->family);
  poe_expert *expert = NULL;
  poe_map *map = NULL;
  if (status == POE_OK) {
    status = family != NULL ? poe_expert_create(family, &args, &expert, error)
                            : poe_map_create(poei_map_find(job->family), &args, &map, error);
  }
  poe_expert_release(expert);
  poe_map_release(map);
  for (size_t i = 0; i < job->n; i++) {
    poei_free(support[i]);
  }
  return status;
}

/* ---- */

static poe_status info_heads(const poei_heads *heads, json_t *result, poe_error *error) {
  json_t *list = json_array();
  poe_status status = poei_json_made(list, error);
  for (size_t i = 0; i < heads->n && status == POE_OK; i++) {
    const poei_head *head = &heads->head[i];
    json_t *entry = json_pack("{s:s,s:s,s:I}", "name", head->name, "kind", head->sigmoid ? "sigmoid" : "softmax",
                              "labels", (json_int_t)(head->sigmoid ? 2 : head->size));
    status = poei_json_append(status, list, entry, error);
  }
  return poei_json_set(status, result, "heads", list, error);
}

/* What is wrong becomes part of the result; running out of memory stays an error. */
static poe_status info_problem(json_t *result, const poe_error *found, poe_error *error) {
  if (found->status == POE_E_MEMORY) {
    return poe_error_set(error, POE_E_MEMORY, "%s", found->message);
  }
  poe_status status = poei_json_set(POE_OK, result, "problem", json_string(found->message), error);
  return found->hint[0] == '\0' ? status : poei_json_set(status, result, "hint", json_string(found->hint), error);
}

static poe_status info_lines(const info_job *job, json_t *result, poe_error *error) {
  json_t *declare = json_array();
  poe_status status = poei_json_made(declare, error);
  for (size_t i = 0; i < job->n && status == POE_OK; i++) {
    status = poei_json_append(status, declare, info_declaration(&job->variable[i]), error);
  }
  const poei_shape *input = &job->variable[0].shape;
  status = poei_json_set(status, result, "declare", declare, error);
  status = poei_json_set(status, result, "use", info_use(job), error);
  status = poei_json_set(status, result, "input_shape", info_sizes(input->ndim, input->size), error);
  if (job->out_ndim > 0) {
    status = poei_json_set(status, result, "output_shape", info_sizes(job->out_ndim, job->out_shape), error);
  }
  if (job->any_length) {
    status = poei_json_set(status, result, "note",
                           json_sprintf("sequences of any length: %d stands for it", INFO_LENGTH), error);
  }
  return job->heads.n > 0 && status == POE_OK ? info_heads(&job->heads, result, error) : status;
}

/* A family that is none, with the nearest that is. */
static void info_no_family(const char *family, poe_error *found) {
  static const char *const words[] = {"energy", "decoder", "classifier", "flow", "autoregressive", "gmm", "rbm", "dbm"};
  const char *nearest = poei_nearest_word(family, sizeof words / sizeof words[0], words);
  poe_error_set(found, POE_E_FORMAT, "poe.family is '%.80s', which is not a family of models", family);
  if (nearest != NULL) {
    poe_error_hint(found, "did you mean '%s'?", nearest);
  }
}

poe_status poei_info_family(const poei_tensor_file *file, const char *family, const char *path, const char *description,
                            json_t *result, poe_error *error) {
  info_job job = {.file = file, .family = family, .path = path, .description = description};
  poe_error found = {0};
  if (poei_family_find(family) == NULL && poei_map_find(family) == NULL) {
    info_no_family(family, &found);
    return info_problem(result, &found, error);
  }
  poe_status wrong = info_variables(&job, &found), status = POE_OK;
  if (job.n > 0) {
    status = info_lines(&job, result, error);
  }
  if (wrong == POE_OK && job.variable[0].shape.count <= INFO_MAX_COORDINATES) {
    wrong = info_open(&job, &found);
  }
  poei_heads_free(&job.heads);
  return status == POE_OK && wrong != POE_OK ? info_problem(result, &found, error) : status;
}

poe_status poei_info_model(const poei_tensor_file *file, const char *path, const char *description, json_t *result,
                           poe_error *error) {
  const char *family = poei_tensor_file_metadata(file, "poe.family");
  json_t *layers = NULL, *missing = json_array();
  poe_error unused = {0};
  poe_status status = poei_json_made(missing, error);
  if (status == POE_OK && poei_layers_metadata(file, "poe.layers", &layers, &unused) == POE_OK) {
    status = info_missing(file, layers, strcmp(family, "flow") == 0, 0, missing, error);
  }
  json_decref(layers);
  status = poei_json_set(status, result, "missing_ops", missing, error);
  return status == POE_OK ? poei_info_family(file, family, path, description, result, error) : status;
}
