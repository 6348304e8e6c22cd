/* safetensors: u64 little-endian N, N bytes of JSON, the tensors' bytes.
 *
 * Checked: N at most 100,000,000 and inside the file; the JSON begins with '{' and has no key twice; each entry is
 * {dtype, shape, data_offsets [begin, end)} with a known dtype and a shape whose size is end - begin, computed without
 * overflow; the tensors in order of their offsets begin at 0, leave no hole, do not overlap and end where the file
 * ends;
 * __metadata__ maps texts to texts. Nothing is aligned. */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/bytes.h"
#include "formats/json_text.h"
#include "formats/tensor_reader.h"

enum { SAFETENSORS_HEADER_LIMIT = 100000000 };

typedef struct safetensors_span {
  size_t begin, end, index;
} safetensors_span;

static poe_status safetensors_dtype(const char *path, const char *entry, const json_t *value, poei_dtype *dtype,
                                    poe_error *error) {
  if (!json_is_string(value)) {
    return poei_file_error(error, POE_E_FORMAT, path, entry, "the dtype is %s",
                           value == NULL ? "missing" : "not a text");
  }
#define SAFETENSORS_DTYPE(name, size)                                                                                  \
  if (strcmp(json_string_value(value), #name) == 0) {                                                                  \
    *dtype = POEI_##name;                                                                                              \
    return POE_OK;                                                                                                     \
  }
  POEI_DTYPE_LIST(SAFETENSORS_DTYPE)
#undef SAFETENSORS_DTYPE
  poei_shown shown;
  return poei_file_error(error, POE_E_UNSUPPORTED, path, entry, "dtype %s is not supported",
                         poei_show(&shown, json_string_value(value), json_string_length(value)));
}

/* A JSON integer that is a size. */
static bool safetensors_size(const json_t *value, size_t *size) {
  if (!json_is_integer(value) || json_integer_value(value) < 0 || (uintmax_t)json_integer_value(value) > SIZE_MAX) {
    return false;
  }
  *size = (size_t)json_integer_value(value);
  return true;
}

static poe_status safetensors_shape(const char *path, const json_t *value, poei_tensor *tensor, poe_error *error) {
  if (!json_is_array(value)) {
    return poei_file_error(error, POE_E_FORMAT, path, tensor->name, "the shape is %s",
                           value == NULL ? "missing" : "not a list");
  }
  size_t ndim = json_array_size(value);
  if (ndim > POEI_MAX_DIMS) {
    return poei_file_error(error, POE_E_UNSUPPORTED, path, tensor->name, "%zu dimensions; at most %d are supported",
                           ndim, POEI_MAX_DIMS);
  }
  tensor->ndim = ndim;
  for (size_t i = 0; i < ndim; i++) {
    if (!safetensors_size(json_array_get(value, i), &tensor->shape[i])) {
      return poei_file_error(error, POE_E_FORMAT, path, tensor->name, "dimension %zu of the shape is not a size", i);
    }
  }
  return POE_OK;
}

static poe_status safetensors_offsets(const char *path, const char *entry, const json_t *value, size_t buffer,
                                      safetensors_span *span, poe_error *error) {
  if (!json_is_array(value) || json_array_size(value) != 2 ||
      !safetensors_size(json_array_get(value, 0), &span->begin) ||
      !safetensors_size(json_array_get(value, 1), &span->end)) {
    return poei_file_error(error, POE_E_FORMAT, path, entry, "data_offsets %s",
                           value == NULL ? "are missing" : "are not two sizes");
  }
  if (span->begin > span->end) {
    return poei_file_error(error, POE_E_FORMAT, path, entry, "data_offsets begin at %zu and end before, at %zu",
                           span->begin, span->end);
  }
  if (span->end > buffer) {
    return poei_file_error(error, POE_E_FORMAT, path, entry, "the data ends at byte %zu of a buffer of %zu", span->end,
                           buffer);
  }
  return POE_OK;
}

/* One tensor of the header; its data lies in buffer[buffer_size]. */
static poe_status safetensors_entry(poei_tensor_file *file, const char *name, json_t *value,
                                    const unsigned char *buffer, size_t buffer_size, safetensors_span *span,
                                    poe_error *error) {
  poei_tensor tensor = {.name = name};
  if (!json_is_object(value)) {
    return poei_file_error(error, POE_E_FORMAT, file->path, name, "the entry is not an object");
  }
  poe_status status = safetensors_dtype(file->path, name, json_object_get(value, "dtype"), &tensor.dtype, error);
  if (status == POE_OK) {
    status = safetensors_shape(file->path, json_object_get(value, "shape"), &tensor, error);
  }
  if (status == POE_OK) {
    status = safetensors_offsets(file->path, name, json_object_get(value, "data_offsets"), buffer_size, span, error);
  }
  if (status != POE_OK) {
    return status;
  }
  if (json_object_size(value) != 3) {
    return poei_file_error(error, POE_E_FORMAT, file->path, name,
                           "the entry has keys beside dtype, shape and data_offsets");
  }
  size_t bytes;
  char shape[96];
  if (!poei_shape_count(tensor.ndim, tensor.shape, poei_dtype_size(tensor.dtype), &tensor.count, &bytes)) {
    return poei_file_error(error, POE_E_FORMAT, file->path, name, "the size of shape %s overflows",
                           poei_shape_text(tensor.ndim, tensor.shape, shape, sizeof shape));
  }
  if (bytes != span->end - span->begin) {
    return poei_file_error(error, POE_E_FORMAT, file->path, name,
                           "%s of shape %s takes %zu bytes, data_offsets span %zu", poei_dtype_name(tensor.dtype),
                           poei_shape_text(tensor.ndim, tensor.shape, shape, sizeof shape), bytes,
                           span->end - span->begin);
  }
  tensor.data = buffer + span->begin;
  span->index = file->n;
  return poei_tensor_file_add(file, &tensor, NULL, error);
}

static poe_status safetensors_metadata(poei_tensor_file *file, json_t *value, poe_error *error) {
  if (!json_is_object(value)) {
    return poei_file_error(error, POE_E_FORMAT, file->path, "__metadata__", "is not an object");
  }
  file->metadata = poei_calloc(json_object_size(value), 2 * sizeof *file->metadata);
  if (file->metadata == NULL) {
    return poei_file_memory_error(error, file->path);
  }
  const char *key;
  json_t *text;
  json_object_foreach(value, key, text) {
    if (!json_is_string(text)) {
      poei_shown shown;
      return poei_file_error(error, POE_E_FORMAT, file->path, "__metadata__", "the value of '%s' is not a text",
                             poei_show(&shown, key, strlen(key)));
    }
    char **pair = file->metadata + 2 * file->n_metadata++;
    pair[0] = poei_strdup(key);
    pair[1] = poei_strdup(json_string_value(text));
    if (pair[0] == NULL || pair[1] == NULL) {
      return poei_file_memory_error(error, file->path);
    }
  }
  return POE_OK;
}

static int safetensors_by_offset(const void *a, const void *b) {
  const safetensors_span *left = a, *right = b;
  if (left->begin != right->begin) {
    return left->begin < right->begin ? -1 : 1;
  }
  return left->end < right->end ? -1 : left->end > right->end;
}

/* Do spans[n] tile the buffer? */
static poe_status safetensors_tiling(const poei_tensor_file *file, safetensors_span *spans, size_t n,
                                     size_t buffer_size, poe_error *error) {
  size_t expected = 0;
  if (n > 1) {
    qsort(spans, n, sizeof *spans, safetensors_by_offset);
  }
  for (size_t i = 0; i < n; i++) {
    const char *name = file->tensors[spans[i].index].name;
    if (spans[i].begin > expected) {
      return poei_file_error(error, POE_E_FORMAT, file->path, name, "a hole of %zu bytes lies before its data",
                             spans[i].begin - expected);
    }
    if (spans[i].begin < expected) {
      const char *other = file->tensors[spans[i - 1].index].name;
      poei_shown shown;
      return poei_file_error(error, POE_E_FORMAT, file->path, name, "its data overlaps that of '%s'",
                             poei_show(&shown, other, strlen(other)));
    }
    expected = spans[i].end;
  }
  if (expected != buffer_size) {
    return poei_file_error(error, POE_E_FORMAT, file->path, NULL, "%zu bytes at the end belong to no tensor",
                           buffer_size - expected);
  }
  return POE_OK;
}

static poe_status safetensors_header(poei_tensor_file *file, json_t *header, const unsigned char *buffer,
                                     size_t buffer_size, poe_error *error) {
  safetensors_span *spans = poei_alloc(json_object_size(header), sizeof *spans);
  if (spans == NULL) {
    return poei_file_memory_error(error, file->path);
  }
  poe_status status = POE_OK;
  const char *key;
  json_t *value;
  json_object_foreach(header, key, value) {
    status = strcmp(key, "__metadata__") == 0
                 ? safetensors_metadata(file, value, error)
                 : safetensors_entry(file, key, value, buffer, buffer_size, &spans[file->n], error);
    if (status != POE_OK) {
      break;
    }
  }
  if (status == POE_OK) {
    status = safetensors_tiling(file, spans, file->n, buffer_size, error);
  }
  poei_free(spans);
  return status;
}

poe_status poei_safetensors_read(poei_tensor_file *file, poe_error *error) {
  const char *path = file->path;
  file->format = "safetensors";
  if (file->size < 8) {
    return poei_file_error(error, POE_E_FORMAT, path, NULL, "%zu bytes are too few for a safetensors file", file->size);
  }
  uint64_t length = poei_load_u64(file->bytes);
  if (length > SAFETENSORS_HEADER_LIMIT) {
    return poei_file_error(error, POE_E_FORMAT, path, NULL,
                           "a safetensors header of %llu bytes is declared; the limit is %d",
                           (unsigned long long)length, SAFETENSORS_HEADER_LIMIT);
  }
  if (length > file->size - 8) {
    return poei_file_error(error, POE_E_FORMAT, path, NULL,
                           "the header of %llu bytes ends beyond the file's end (%zu bytes)",
                           (unsigned long long)length, file->size);
  }
  if (length == 0 || file->bytes[8] != '{') {
    return poei_file_error(error, POE_E_FORMAT, path, NULL, "the safetensors header does not begin with '{'");
  }
  poe_error inner = {0};
  json_t *header = poei_json_parse((const char *)file->bytes + 8, (size_t)length, &inner);
  if (header == NULL) {
    return inner.status == POE_E_MEMORY
               ? poei_file_memory_error(error, path)
               : poei_file_error(error, POE_E_FORMAT, path, NULL, "the safetensors header is %s", inner.message);
  }
  size_t start = 8 + (size_t)length;
  poe_status status = safetensors_header(file, header, file->bytes + start, file->size - start, error);
  json_decref(header);
  return status;
}
