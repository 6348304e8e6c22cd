/* The verb info: what a model or data file holds, and what to write to use it (answer/info_parts.h). Nothing in it is
 * executed. */
#include <string.h>

#include "answer/info_parts.h"
#include "answer/session.h"
#include "formats/tensor_file.h"
#include "formats/text_file.h"

static poe_status info_tensors(const poei_tensor_file *file, json_t *tensors, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t i = 0; i < poei_tensor_file_count(file); i++) {
    const poei_tensor *tensor = poei_tensor_file_at(file, i);
    json_t *shape = json_array();
    for (size_t k = 0; k < tensor->ndim; k++) {
      status = poei_json_append(status, shape, json_integer((json_int_t)tensor->shape[k]), error);
    }
    json_t *entry =
        json_pack("{s:s,s:s,s:o}", "name", tensor->name, "dtype", poei_dtype_name(tensor->dtype), "shape", shape);
    status = poei_json_append(status, tensors, entry, error);
  }
  return status;
}

static poe_status info_csv(const char *path, json_t **result, poe_error *error) {
  poei_csv csv = {0};
  poe_status status = poei_csv_read(path, &csv, error);
  if (status != POE_OK) {
    return status;
  }
  json_t *names = json_array();
  for (size_t i = 0; csv.names != NULL && i < csv.columns; i++) {
    status = poei_json_append(status, names, json_string(csv.names[i]), error);
  }
  if (status == POE_OK) {
    *result =
        json_pack("{s:s,s:s,s:I,s:I,s:O,s:[],s:n,s:[]}", "file", path, "format", "csv", "rows", (json_int_t)csv.rows,
                  "columns", (json_int_t)csv.columns, "names", names, "tensors", "family", "missing_ops");
    status = poei_json_made(*result, error);
  }
  json_decref(names);
  poei_csv_free(&csv);
  return status;
}

static poe_status info_metadata(const poei_tensor_file *file, json_t *metadata, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t i = 0; i < poei_tensor_file_metadata_count(file); i++) {
    const char *key = NULL, *value = NULL;
    poei_tensor_file_metadata_at(file, i, &key, &value);
    status = poei_json_set(status, metadata, key, json_string(value), error);
  }
  return status;
}

/* What the file is good for: a model, or numbers. */
static poe_status info_meaning(const poei_tensor_file *file, const char *path, const char *description, json_t *result,
                               poe_error *error) {
  size_t n = poei_tensor_file_count(file);
  const poei_tensor *first = n > 0 ? poei_tensor_file_at(file, 0) : NULL;
  if (poei_tensor_file_metadata(file, "poe.family") != NULL) {
    return poei_info_model(file, path, description, result, error);
  }
  if (n == 1 && strcmp(poei_tensor_file_format(file), "npy") == 0 && first->ndim > 0) {
    size_t rows = first->shape[0];
    poe_status status = poei_json_set(POE_OK, result, "rows", json_integer((json_int_t)rows), error);
    json_int_t columns = rows > 0 ? (json_int_t)(first->count / rows) : 0;
    return poei_json_set(status, result, "columns", json_integer(columns), error);
  }
  return poei_info_bare(file, path, result, error);
}

static poe_status info_file(const poei_tensor_file *file, const char *path, const char *description, json_t **result,
                            poe_error *error) {
  size_t numbers = 0, bytes = 0;
  json_t *tensors = json_array(), *metadata = json_object(), *out = NULL;
  poe_status status = info_tensors(file, tensors, error);
  for (size_t i = 0; i < poei_tensor_file_count(file); i++) {
    const poei_tensor *tensor = poei_tensor_file_at(file, i);
    numbers += tensor->count;
    bytes += tensor->count * poei_dtype_size(tensor->dtype);
  }
  status = status == POE_OK ? info_metadata(file, metadata, error) : status;
  if (status == POE_OK) {
    out = json_pack("{s:s,s:s,s:s?,s:O,s:I,s:I,s:I,s:O,s:[]}", "file", path, "format", poei_tensor_file_format(file),
                    "family", poei_tensor_file_metadata(file, "poe.family"), "tensors", tensors, "numbers",
                    (json_int_t)numbers, "parameters", (json_int_t)poei_info_parameters(file), "bytes",
                    (json_int_t)bytes, "metadata", metadata, "missing_ops");
    status = poei_json_made(out, error);
  }
  if (status == POE_OK) {
    status = info_meaning(file, path, description, out, error);
  }
  json_decref(tensors);
  json_decref(metadata);
  if (status != POE_OK) {
    json_decref(out);
    return status;
  }
  *result = out;
  return POE_OK;
}

poe_status poei_answer_info(const char *path, const char *description, json_t **result, poe_error *error) {
  const char *ending = strrchr(path, '.');
  if (ending != NULL && strcmp(ending, ".csv") == 0) {
    return info_csv(path, result, error);
  }
  poei_tensor_file *file = NULL;
  poe_status status = poei_tensor_file_open(path, &file, error);
  if (status == POE_OK && description != NULL) {
    status = poei_tensor_file_describe(file, description, error);
  }
  if (status == POE_OK) {
    status = info_file(file, path, description, result, error);
  }
  poei_tensor_file_close(file);
  return status;
}
