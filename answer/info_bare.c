/* What a state dict without metadata looks like (answer/info_parts.h). Nothing is known but names and shapes, so what
 * is printed is a suggestion: the line of the language where all weights are linear layers that follow each other, else
 * one line of poe.layers for each module, to be put in order and completed. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer/info_parts.h"
#include "answer/session.h"
#include "core/alloc.h"

/* ---- modules: tensors whose names are equal up to the last point ---- */

enum { MODULE_NAME = 512 }; /* longer names are not recognised */

typedef struct info_module {
  const char *name; /* that of its first tensor; the module is name[length] */
  size_t length;
} info_module;

static size_t module_length(const char *name) {
  const char *point = strrchr(name, '.');
  return point == NULL || point - name >= MODULE_NAME ? 0 : (size_t)(point - name);
}

/* Names in the order of a reader: runs of digits compare as numbers ("net.2" before "net.10"). */
static int module_order(const void *left, const void *right) {
  const info_module *a = left, *b = right;
  size_t i = 0, j = 0;
  while (i < a->length && j < b->length) {
    if (isdigit((unsigned char)a->name[i]) && isdigit((unsigned char)b->name[j])) {
      char *end[2];
      unsigned long x = strtoul(a->name + i, &end[0], 10), y = strtoul(b->name + j, &end[1], 10);
      if (x != y) {
        return x < y ? -1 : 1;
      }
      i = (size_t)(end[0] - a->name);
      j = (size_t)(end[1] - b->name);
    } else if (a->name[i] != b->name[j]) {
      return a->name[i] < b->name[j] ? -1 : 1;
    } else {
      i++;
      j++;
    }
  }
  return (i < a->length) - (j < b->length);
}

/* The tensor `part` of a module, NULL when there is none. */
static const poei_tensor *module_part(const poei_tensor_file *file, const info_module *module, const char *part) {
  char name[MODULE_NAME];
  int size =
      snprintf(name, sizeof name, "%.*s%s%s", (int)module->length, module->name, module->length > 0 ? "." : "", part);
  return size > 0 && (size_t)size < sizeof name ? poei_tensor_file_find(file, name) : NULL;
}

/* modules[*n] of the file, sorted, each once; NULL when out of memory. */
static info_module *module_list(const poei_tensor_file *file, size_t *n) {
  size_t count = poei_tensor_file_count(file), kept = 0;
  info_module *modules = poei_alloc(count + 1, sizeof *modules);
  for (size_t i = 0; modules != NULL && i < count; i++) {
    const char *name = poei_tensor_file_at(file, i)->name;
    modules[i] = (info_module){name, module_length(name)};
  }
  if (modules != NULL && count > 1) {
    qsort(modules, count, sizeof *modules, module_order);
  }
  for (size_t i = 0; modules != NULL && i < count; i++) {
    if (kept == 0 || module_order(&modules[kept - 1], &modules[i]) != 0) {
      modules[kept++] = modules[i];
    }
  }
  *n = kept;
  return modules;
}

/* ---- what a module is, by the names of its tensors ---- */

enum { KIND_KEYS = 6 };

typedef struct info_kind {
  const char *op, *fixed; /* fixed: more keys, as JSON */
  size_t ndim;            /* of the first tensor, 0: any */
  struct {
    const char *key, *part;
    bool optional;
  } keys[KIND_KEYS];
} info_kind;

/* The first one that fits counts. */
static const info_kind info_kinds[] = {
    {"batch_norm",
     "{}",
     1,
     {{"running_mean", "running_mean", false},
      {"running_var", "running_var", false},
      {"weight", "weight", true},
      {"bias", "bias", true}}},
    {"lu", /* nflows */
     "{\"diagonal_map\": \"softplus\", \"eps\": 0.001}",
     1,
     {{"lower", "lower_entries", false},
      {"upper", "upper_entries", false},
      {"diagonal", "unconstrained_upper_diag", false},
      {"bias", "bias", true}}},
    {"lu", /* Glow's 1 x 1 convolution */
     "{\"diagonal_map\": \"exp\"}",
     2,
     {{"permutation", "P", false},
      {"lower", "L", false},
      {"upper", "U", false},
      {"diagonal", "log_S", false},
      {"sign", "sign_S", false}}},
    {"affine", "{}", 0, {{"log_scale", "log_scale", false}, {"shift", "shift", false}}},
    {"affine", "{\"inverse\": true}", 0, {{"log_scale", "s", false}, {"shift", "t", false}}}, /* normflows */
    {"permute", "{}", 1, {{"permutation", "_permutation", false}}},                           /* nflows */
    {"permute", "{}", 1, {{"permutation", "inv_perm", false}}},                               /* normflows */
    {"conv2d", "{}", 4, {{"weight", "weight", false}, {"bias", "bias", true}, {"mask", "mask", true}}},
    {"linear", "{}", 2, {{"weight", "weight", false}, {"bias", "bias", true}, {"mask", "mask", true}}},
    {"layer_norm", "{}", 1, {{"weight", "weight", false}, {"bias", "bias", true}}},
};

static bool module_is(const poei_tensor_file *file, const info_module *module, const info_kind *kind) {
  for (size_t k = 0; k < KIND_KEYS && kind->keys[k].key != NULL; k++) {
    const poei_tensor *tensor = module_part(file, module, kind->keys[k].part);
    if ((tensor == NULL && !kind->keys[k].optional) || (k == 0 && kind->ndim > 0 && tensor->ndim != kind->ndim)) {
      return false;
    }
  }
  return true;
}

/* The kind of a module, NULL when it is none of the above. */
static const info_kind *module_kind(const poei_tensor_file *file, const info_module *module) {
  for (size_t i = 0; i < sizeof info_kinds / sizeof info_kinds[0]; i++) {
    if (module_is(file, module, &info_kinds[i])) {
      return &info_kinds[i];
    }
  }
  return NULL;
}

/* Appends the module's line of poe.layers, as text. */
static poe_status module_line(const poei_tensor_file *file, const info_module *module, const info_kind *kind,
                              json_t *lines, poe_error *error) {
  json_t *layer = json_pack("{s:s}", "op", kind->op), *fixed = json_loads(kind->fixed, 0, NULL);
  poe_status status = layer == NULL || fixed == NULL ? poei_json_made(NULL, error) : POE_OK;
  for (size_t k = 0; status == POE_OK && k < KIND_KEYS && kind->keys[k].key != NULL; k++) {
    const poei_tensor *tensor = module_part(file, module, kind->keys[k].part);
    status =
        tensor == NULL ? POE_OK : poei_json_set(status, layer, kind->keys[k].key, json_string(tensor->name), error);
  }
  if (status == POE_OK && json_object_update(layer, fixed) != 0) {
    status = poei_json_made(NULL, error);
  }
  size_t size = status == POE_OK ? json_dumpb(layer, NULL, 0, 0) : 0;
  char *text = poei_alloc(size + 1, 1);
  if (status == POE_OK && (size == 0 || text == NULL)) {
    status = poei_json_made(NULL, error);
  }
  if (status == POE_OK) {
    text[json_dumpb(layer, text, size, 0)] = '\0';
    status = poei_json_append(status, lines, json_string(text), error);
  }
  poei_free(text);
  json_decref(layer);
  json_decref(fixed);
  return status;
}

/* Does a line name this tensor? */
static bool module_names(const poei_tensor_file *file, const poei_tensor *tensor) {
  info_module module = {tensor->name, module_length(tensor->name)};
  const info_kind *kind = module_kind(file, &module);
  for (size_t k = 0; kind != NULL && k < KIND_KEYS && kind->keys[k].key != NULL; k++) {
    if (module_part(file, &module, kind->keys[k].part) == tensor) {
      return true;
    }
  }
  return false;
}

/* ---- a stack of linear layers ---- */

static bool stack_is_linear(const poei_tensor_file *file, const info_module *modules, size_t n) {
  size_t width = 0, tensors = 0;
  for (size_t i = 0; i < n; i++) {
    const poei_tensor *weight = module_part(file, &modules[i], "weight"),
                      *bias = module_part(file, &modules[i], "bias");
    if (weight == NULL || weight->ndim != 2 || (i > 0 && weight->shape[1] != width)) {
      return false;
    }
    width = weight->shape[0];
    tensors += bias == NULL ? 1 : 2;
  }
  return n > 0 && tensors == poei_tensor_file_count(file);
}

/* The end of a line of the language that opens the stack. */
static char *stack_arguments(const char *path, const info_module *modules, size_t n) {
  char *text = poei_format("file=\"%s\", layers=[", path);
  for (size_t i = 0; i < n && text != NULL; i++) {
    char *longer = poei_format("%s%s\"%.*s\"", text, i > 0 ? ", " : "", (int)modules[i].length, modules[i].name);
    poei_free(text);
    text = longer;
  }
  char *all = text == NULL ? NULL : poei_format(n > 1 ? "%s], activation=relu)" : "%s])", text);
  poei_free(text);
  return all;
}

static poe_status stack_suggest(const poei_tensor_file *file, const char *path, const info_module *modules, size_t n,
                                json_t *lines, poe_error *error) {
  size_t in = module_part(file, &modules[0], "weight")->shape[1];
  size_t out = module_part(file, &modules[n - 1], "weight")->shape[0];
  char *arguments = stack_arguments(path, modules, n);
  if (arguments == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poe_status status = poei_json_append(POE_OK, lines, json_sprintf("var x : real[%zu]", in), error);
  if (out == 1) {
    status = poei_json_append(status, lines, json_sprintf("a = energy(x | %s", arguments), error);
  } else {
    status = poei_json_append(status, lines, json_sprintf("y = decoder(x | %s", arguments), error);
    status = poei_json_append(status, lines, json_sprintf("var c : int(%zu)", out), error);
    status = poei_json_append(status, lines, json_sprintf("a = classifier(x, c | %s", arguments), error);
  }
  poei_free(arguments);
  return status;
}

/* ---- */

/* A line for each module of a known kind, and the names of the tensors that none of them has. */
static poe_status bare_modules(const poei_tensor_file *file, const info_module *modules, size_t n, json_t *lines,
                               json_t *unnamed, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    const info_kind *kind = module_kind(file, &modules[i]);
    status = kind == NULL ? POE_OK : module_line(file, &modules[i], kind, lines, error);
  }
  for (size_t i = 0; i < poei_tensor_file_count(file) && status == POE_OK; i++) {
    const poei_tensor *tensor = poei_tensor_file_at(file, i);
    status = module_names(file, tensor) ? POE_OK : poei_json_append(status, unnamed, json_string(tensor->name), error);
  }
  return status;
}

/* The family of files whose tensors have names of their own, NULL for others. */
static const char *bare_family(const poei_tensor_file *file) {
  static const struct {
    const char *family, *parts[3];
  } known[] = {{"rbm", {"W", "b", "c"}}, {"dbm", {"W1", "W2", "b"}}, {"gmm", {"weights", "means", NULL}}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    size_t k = 0;
    while (k < 3 && known[i].parts[k] != NULL && poei_tensor_file_find(file, known[i].parts[k]) != NULL) {
      k++;
    }
    if (k == 3 || known[i].parts[k] == NULL) {
      return known[i].family;
    }
  }
  return NULL;
}

poe_status poei_info_bare(const poei_tensor_file *file, const char *path, json_t *result, poe_error *error) {
  const char *family = bare_family(file);
  if (family != NULL) {
    return poei_info_family(file, family, path, NULL, result, error);
  }
  size_t n = 0;
  info_module *modules = module_list(file, &n);
  json_t *lines = json_array(), *unnamed = json_array();
  poe_status status = modules == NULL || lines == NULL || unnamed == NULL ? poei_json_made(NULL, error) : POE_OK;
  bool linear = status == POE_OK && stack_is_linear(file, modules, n);
  if (status == POE_OK) {
    status = linear ? stack_suggest(file, path, modules, n, lines, error)
                    : bare_modules(file, modules, n, lines, unnamed, error);
  }
  poei_free(modules);
  bool some = json_array_size(lines) > 0;
  const char *note = linear ? "activations are not in the file: write the one that was trained with"
                            : "a start for poe.layers (docs/MODEL-FORMAT.md): order, activations, strides and paddings "
                              "are not in the file";
  if (status == POE_OK && some) {
    status = poei_json_set(status, result, "note", json_string(note), error);
    status = poei_json_set(status, result, "suggestion", json_incref(lines), error);
  }
  if (status == POE_OK && some && !linear) {
    status = poei_json_set(status, result, "unnamed", json_incref(unnamed), error);
  }
  json_decref(lines);
  json_decref(unnamed);
  return status;
}
