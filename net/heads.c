/* Reading poe.heads (net/heads.h). */
#include "net/heads.h"

#include <string.h>

#include "core/alloc.h"
#include "formats/file_error.h"
#include "formats/json_text.h"

void poei_heads_free(poei_heads *heads) {
  for (size_t i = 0; i < heads->n; i++) {
    poei_free(heads->head[i].label);
  }
  poei_free(heads->head);
  *heads = (poei_heads){0};
}

/* A name or label into text; the message says what was expected. */
static poe_status heads_text(const json_t *value, const char *what, char text[POEI_LABEL_SIZE], poe_error *error) {
  const char *given = json_string_value(value);
  if (given == NULL || given[0] == '\0' || strlen(given) >= POEI_LABEL_SIZE) {
    return poe_error_set(error, POE_E_FORMAT, "%s must be a text of 1 to %d bytes", what, POEI_LABEL_SIZE - 1);
  }
  memset(text, 0, POEI_LABEL_SIZE);
  memcpy(text, given, strlen(given));
  return POE_OK;
}

static bool heads_has_label(const poei_heads *heads, const char *label) {
  for (size_t i = 0; i < heads->n; i++) {
    for (size_t k = 0; k < heads->head[i].size; k++) {
      if (heads->head[i].label != NULL && strcmp(heads->head[i].label[k], label) == 0) {
        return true;
      }
    }
  }
  return false;
}

/* Fills the head that heads->n already counts: its labels are compared with all before them. */
static poe_status heads_labels(poei_heads *heads, const json_t *labels, poe_error *error) {
  poei_head *head = &heads->head[heads->n - 1];
  size_t size = head->sigmoid ? 1 : json_array_size(labels);
  char(*label)[POEI_LABEL_SIZE] = poei_calloc(size, sizeof *label);
  if (label == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  head->label = label;
  poe_status status = POE_OK;
  for (size_t k = 0; k < size && status == POE_OK; k++) {
    char text[POEI_LABEL_SIZE];
    memcpy(text, head->name, sizeof text);
    status = head->sigmoid ? POE_OK : heads_text(json_array_get(labels, k), "a label", text, error);
    if (status == POE_OK && heads_has_label(heads, text)) {
      return poe_error_set(error, POE_E_FORMAT, "the label '%s' is there twice", text);
    }
    head->size = k + 1;
    memcpy(label[k], text, sizeof text);
  }
  return status;
}

static poe_status heads_add(poei_heads *heads, const json_t *value, size_t first, poe_error *error) {
  const char *kind = json_string_value(json_object_get(value, "kind"));
  const json_t *name = json_object_get(value, "name"), *labels = json_object_get(value, "labels");
  bool sigmoid = kind != NULL && strcmp(kind, "sigmoid") == 0;
  bool softmax = kind != NULL && strcmp(kind, "softmax") == 0 && json_array_size(labels) >= 2 &&
                 json_array_size(labels) <= POEI_MAX_LABELS - first;
  if (!sigmoid && !softmax) {
    return poe_error_set(error, POE_E_FORMAT,
                         "a head is {name, kind: sigmoid} or {name, kind: softmax, labels: [two or more, at most %d]}",
                         POEI_MAX_LABELS);
  }
  heads->head[heads->n++] = (poei_head){.sigmoid = sigmoid, .first = first};
  poe_status status =
      sigmoid || name != NULL ? heads_text(name, "a name", heads->head[heads->n - 1].name, error) : POE_OK;
  return status == POE_OK ? heads_labels(heads, labels, error) : status;
}

poe_status poei_heads_read(const poei_tensor_file *file, size_t logits, poei_heads *heads, poe_error *error) {
  const char *text = poei_tensor_file_metadata(file, "poe.heads"), *path = poei_tensor_file_path(file);
  if (text == NULL) {
    return POE_OK;
  }
  poe_error inner = {0};
  json_t *list = poei_json_parse(text, strlen(text), &inner);
  size_t n = json_array_size(list), next = 0;
  poe_status status = list == NULL ? inner.status : POE_OK;
  if (status == POE_OK && (!json_is_array(list) || n == 0 || n > POEI_MAX_LABELS)) {
    status = poe_error_set(&inner, POE_E_FORMAT, "it is not a list of 1 to %d heads", POEI_MAX_LABELS);
  }
  if (status == POE_OK && (heads->head = poei_calloc(n, sizeof *heads->head)) == NULL) {
    status = poe_error_set(&inner, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < n && status == POE_OK && next < POEI_MAX_LABELS; i++) {
    status = heads_add(heads, json_array_get(list, i), next, &inner);
    next += status == POE_OK ? heads->head[i].size : 0;
  }
  if (status == POE_OK && (next != logits || heads->n != n)) {
    status = poe_error_set(&inner, POE_E_FORMAT, "it describes %zu logits, the network has %zu", next, logits);
  }
  json_decref(list);
  if (status != POE_OK) {
    poei_heads_free(heads);
    poei_file_error(error, status, path, NULL, "poe.heads: %s", inner.message);
  }
  return status;
}
