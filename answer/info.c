/* The verb info: what a model or data file holds. Nothing in it is executed. */
#include <string.h>

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

static poe_status info_file(const poei_tensor_file *file, const char *path, json_t **result, poe_error *error) {
  json_int_t numbers = 0;
  json_t *tensors = json_array(), *metadata = json_object();
  poe_status status = info_tensors(file, tensors, error);
  for (size_t i = 0; i < poei_tensor_file_count(file); i++) {
    numbers += (json_int_t)poei_tensor_file_at(file, i)->count;
  }
  for (size_t i = 0; i < poei_tensor_file_metadata_count(file); i++) {
    const char *key = NULL, *value = NULL;
    poei_tensor_file_metadata_at(file, i, &key, &value);
    status = poei_json_set(status, metadata, key, json_string(value), error);
  }
  if (status == POE_OK) {
    *result = json_pack("{s:s,s:s,s:s?,s:O,s:I,s:O,s:[]}", "file", path, "format", poei_tensor_file_format(file),
                        "family", poei_tensor_file_metadata(file, "poe.family"), "tensors", tensors, "numbers", numbers,
                        "metadata", metadata, "missing_ops");
    status = poei_json_made(*result, error);
  }
  json_decref(tensors);
  json_decref(metadata);
  return status;
}

poe_status poei_answer_info(const char *path, json_t **result, poe_error *error) {
  const char *ending = strrchr(path, '.');
  if (ending != NULL && strcmp(ending, ".csv") == 0) {
    return info_csv(path, result, error);
  }
  poei_tensor_file *file = NULL;
  poe_status status = poei_tensor_file_open(path, &file, error);
  if (status == POE_OK) {
    status = info_file(file, path, result, error);
    poei_tensor_file_close(file);
  }
  return status;
}
