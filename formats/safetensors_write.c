/* safetensors out: see safetensors_read.c for the format. The widest types come first and the header is padded to 8
 * bytes, so that every tensor is aligned to its item; tensors of one width keep the caller's order. */
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/atomic_file.h"
#include "formats/bytes.h"
#include "formats/json_text.h"
#include "formats/tensor_reader.h"
#include "formats/tensor_write.h"

/* Adds key: value; the value is taken. False when out of memory. */
static bool safetensors_put(json_t *object, const char *key, json_t *value) {
  return json_object_set_new(object, key, value) == 0;
}

static poe_status safetensors_name_check(const char *path, const json_t *object, const char *name, poe_error *error) {
  if (!poei_utf8_valid(name, strlen(name)) || strcmp(name, "__metadata__") == 0) {
    return poei_file_error(error, POE_E_USAGE, path, name, "cannot be a name in a safetensors file");
  }
  if (json_object_get(object, name) != NULL) {
    return poei_file_error(error, POE_E_USAGE, path, name, "the name is there twice");
  }
  return POE_OK;
}

static poe_status safetensors_put_metadata(const char *path, json_t *header, size_t n, const char *const (*metadata)[2],
                                           poe_error *error) {
  json_t *object = json_object();
  if (!safetensors_put(header, "__metadata__", object)) {
    return poei_file_memory_error(error, path);
  }
  for (size_t i = 0; i < n; i++) {
    const char *value = metadata[i][1];
    poe_status status = safetensors_name_check(path, object, metadata[i][0], error);
    if (status != POE_OK) {
      return status;
    }
    if (!poei_utf8_valid(value, strlen(value))) {
      return poei_file_error(error, POE_E_USAGE, path, metadata[i][0], "the metadata is not UTF-8");
    }
    if (!safetensors_put(object, metadata[i][0], json_string(value))) {
      return poei_file_memory_error(error, path);
    }
  }
  return POE_OK;
}

/* One tensor of the header, whose data begins at *offset; moves *offset behind it. */
static poe_status safetensors_put_tensor(const char *path, json_t *header, const poei_tensor *tensor, size_t *offset,
                                         poe_error *error) {
  size_t count, bytes, end;
  poe_status status = safetensors_name_check(path, header, tensor->name, error);
  if (status != POE_OK) {
    return status;
  }
  if (tensor->ndim > POEI_MAX_DIMS ||
      !poei_shape_count(tensor->ndim, tensor->shape, poei_dtype_size(tensor->dtype), &count, &bytes) ||
      !poei_add_size(*offset, bytes, &end) || end > INT64_MAX) {
    return poei_file_error(error, POE_E_USAGE, path, tensor->name, "a tensor of %zu dimensions that is too large",
                           tensor->ndim);
  }
  json_t *shape = json_array();
  bool made = shape != NULL;
  for (size_t i = 0; made && i < tensor->ndim; i++) {
    made = json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i])) == 0;
  }
  json_t *entry = made ? json_pack("{s:s, s:O, s:[I, I]}", "dtype", poei_dtype_name(tensor->dtype), "shape", shape,
                                   "data_offsets", (json_int_t)*offset, (json_int_t)end)
                       : NULL;
  json_decref(shape);
  if (entry == NULL || !safetensors_put(header, tensor->name, entry)) {
    return poei_file_memory_error(error, path);
  }
  *offset = end;
  return POE_OK;
}

static poe_status safetensors_put_header(const char *path, json_t *header, size_t n, const poei_tensor *tensors,
                                         size_t n_metadata, const char *const (*metadata)[2], poe_error *error) {
  poe_status status = POE_OK;
  size_t offset = 0;
  if (n_metadata > 0) {
    status = safetensors_put_metadata(path, header, n_metadata, metadata, error);
  }
  for (size_t width = 8; width > 0; width /= 2) {
    for (size_t i = 0; i < n && status == POE_OK; i++) {
      if (poei_dtype_size(tensors[i].dtype) == width) {
        status = safetensors_put_tensor(path, header, &tensors[i], &offset, error);
      }
    }
  }
  return status;
}

/* A header as text, and where it goes: counted first, then written. */
typedef struct safetensors_sink {
  FILE *out;
  size_t size;
} safetensors_sink;

static int safetensors_take(const char *text, size_t size, void *data) {
  safetensors_sink *sink = data;
  sink->size += size;
  return sink->out == NULL || fwrite(text, 1, size, sink->out) == size ? 0 : -1;
}

static poe_status safetensors_put_file(const char *path, const json_t *header, size_t n, const poei_tensor *tensors,
                                       poe_error *error) {
  safetensors_sink sink = {0};
  if (json_dump_callback(header, safetensors_take, &sink, JSON_COMPACT) != 0) {
    return poei_file_memory_error(error, path);
  }
  poei_atomic_file *file;
  poe_status status = poei_atomic_open(path, &file, error);
  if (status != POE_OK) {
    return status;
  }
  unsigned char length[8];
  size_t text = sink.size, padded = (text + 7) / 8 * 8;
  poei_store_u64(length, padded);
  sink.out = poei_atomic_stream(file);
  fwrite(length, 1, sizeof length, sink.out);
  if (json_dump_callback(header, safetensors_take, &sink, JSON_COMPACT) != 0 && !ferror(sink.out)) {
    poei_atomic_abort(file);
    return poei_file_memory_error(error, path);
  }
  fwrite("       ", 1, padded - text, sink.out);
  for (size_t width = 8; width > 0; width /= 2) {
    for (size_t i = 0; i < n; i++) {
      size_t count, bytes;
      if (poei_dtype_size(tensors[i].dtype) == width &&
          poei_shape_count(tensors[i].ndim, tensors[i].shape, width, &count, &bytes) && bytes > 0) {
        fwrite(tensors[i].data, 1, bytes, sink.out);
      }
    }
  }
  return poei_atomic_commit(file, error); /* which sees a failed write */
}

poe_status poei_safetensors_write(const char *path, size_t n, const poei_tensor *tensors, size_t n_metadata,
                                  const char *const (*metadata)[2], poe_error *error) {
  json_t *header = json_object();
  if (header == NULL) {
    return poei_file_memory_error(error, path);
  }
  poe_status status = safetensors_put_header(path, header, n, tensors, n_metadata, metadata, error);
  if (status == POE_OK) {
    status = safetensors_put_file(path, header, n, tensors, error);
  }
  json_decref(header);
  return status;
}
