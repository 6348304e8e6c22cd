/* A description beside a tensor file: the poe.* metadata of files that have none of their own, such as a state dict as
 * a training library wrote it. The description is a JSON object; texts are taken as they are, other values as their
 * JSON text, which is what safetensors metadata would hold. */
#include <string.h>

#include "core/alloc.h"
#include "formats/json_text.h"
#include "formats/tensor_reader.h"
#include "formats/whole_file.h"

enum { DESCRIBE_LIMIT = 1 << 24 };

/* A value's text on the heap, NULL when out of memory. */
static char *describe_text(const json_t *value) {
  if (json_is_string(value)) {
    return poei_strdup(json_string_value(value));
  }
  size_t size = json_dumpb(value, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
  char *text = size == 0 ? NULL : poei_alloc(size + 1, 1);
  if (text != NULL) {
    text[json_dumpb(value, text, size, JSON_COMPACT | JSON_ENCODE_ANY)] = '\0';
  }
  return text;
}

/* Sets metadata `key`; one that the file has is replaced. */
static poe_status describe_set(poei_tensor_file *file, const char *key, const json_t *value, poe_error *error) {
  char *text = describe_text(value);
  if (text == NULL) {
    return poei_file_memory_error(error, file->path);
  }
  for (size_t i = 0; i < file->n_metadata; i++) {
    if (strcmp(file->metadata[2 * i], key) == 0) {
      poei_free(file->metadata[2 * i + 1]);
      file->metadata[2 * i + 1] = text;
      return POE_OK;
    }
  }
  char **longer = poei_realloc(file->metadata, 2 * (file->n_metadata + 1), sizeof *longer);
  file->metadata = longer == NULL ? file->metadata : longer;
  char *name = longer == NULL ? NULL : poei_strdup(key);
  if (name == NULL) {
    poei_free(text);
    return poei_file_memory_error(error, file->path);
  }
  file->metadata[2 * file->n_metadata] = name;
  file->metadata[2 * file->n_metadata + 1] = text;
  file->n_metadata++;
  return POE_OK;
}

poe_status poei_tensor_file_describe(poei_tensor_file *file, const char *path, poe_error *error) {
  char *text = NULL;
  size_t size = 0;
  poe_error inner = {0};
  poe_status status = poei_file_read(path, DESCRIBE_LIMIT, &text, &size, error);
  if (status != POE_OK) {
    return status;
  }
  json_t *object = poei_json_parse(text, size, &inner);
  poei_free(text);
  if (object == NULL) {
    return poei_file_error(error, inner.status, path, NULL, "%s", inner.message);
  }
  const char *key;
  json_t *value;
  if (!json_is_object(object)) {
    status = poei_file_error(error, POE_E_FORMAT, path, NULL, "a description is a JSON object of poe.* keys");
  }
  json_object_foreach(object, key, value) {
    if (status == POE_OK && strncmp(key, "poe.", 4) != 0) {
      poei_shown shown;
      status = poei_file_error(error, POE_E_FORMAT, path, NULL, "'%s' is no key of a description",
                               poei_show(&shown, key, strlen(key)));
      poe_error_hint(error, "its keys begin with poe.: poe.family, poe.input, poe.layers, ...");
    }
    status = status == POE_OK ? describe_set(file, key, value, error) : status;
  }
  json_decref(object);
  return status;
}
