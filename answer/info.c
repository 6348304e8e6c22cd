/* The verb info: what a model or data file holds. Nothing in it is executed. */
#include <stdio.h>
#include <string.h>

#include "answer/session.h"
#include "core/alloc.h"
#include "formats/tensor_file.h"
#include "formats/text_file.h"

static json_t *info_tensors(const poei_tensor_file *file) {
  json_t *tensors = json_array();
  for (size_t i = 0; i < poei_tensor_file_count(file); i++) {
    const poei_tensor *tensor = poei_tensor_file_at(file, i);
    json_t *shape = json_array();
    for (size_t k = 0; k < tensor->ndim; k++) {
      json_array_append_new(shape, json_integer((json_int_t)tensor->shape[k]));
    }
    json_array_append_new(tensors, json_pack("{s:s,s:s,s:o}", "name", tensor->name, "dtype",
                                             poei_dtype_name(tensor->dtype), "shape", shape));
  }
  return tensors;
}

static json_t *info_csv(const poei_csv *csv) {
  json_t *names = json_array();
  for (size_t i = 0; csv->names != NULL && i < csv->columns; i++) {
    json_array_append_new(names, json_string(csv->names[i]));
  }
  return json_pack("{s:s,s:I,s:I,s:o,s:[],s:n,s:[]}", "format", "csv", "rows", (json_int_t)csv->rows, "columns",
                   (json_int_t)csv->columns, "names", names, "tensors", "family", "missing_ops");
}

poe_status poei_answer_info(const char *path, json_t **result, poe_error *error) {
  const char *ending = strrchr(path, '.');
  if (ending != NULL && strcmp(ending, ".csv") == 0) {
    poei_csv csv = {0};
    poe_status status = poei_csv_read(path, &csv, error);
    if (status == POE_OK) {
      *result = info_csv(&csv);
      poei_csv_free(&csv);
    }
    return status;
  }
  poei_tensor_file *file = NULL;
  poe_status status = poei_tensor_file_open(path, &file, error);
  if (status != POE_OK) {
    return status;
  }
  json_int_t numbers = 0;
  for (size_t i = 0; i < poei_tensor_file_count(file); i++) {
    numbers += (json_int_t)poei_tensor_file_at(file, i)->count;
  }
  json_t *metadata = json_object();
  for (size_t i = 0; i < poei_tensor_file_metadata_count(file); i++) {
    const char *key = NULL, *value = NULL;
    poei_tensor_file_metadata_at(file, i, &key, &value);
    json_object_set_new(metadata, key, json_string(value));
  }
  const char *family = poei_tensor_file_metadata(file, "poe.family");
  *result =
      json_pack("{s:s,s:s,s:s?,s:o,s:I,s:o,s:[]}", "file", path, "format", poei_tensor_file_format(file), "family",
                family, "tensors", info_tensors(file), "numbers", numbers, "metadata", metadata, "missing_ops");
  poei_tensor_file_close(file);
  return *result == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
}
