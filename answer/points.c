/* Points in from files: csv, npy or npz, as n x d doubles. */
#include <string.h>

#include "answer/session.h"
#include "core/alloc.h"
#include "formats/tensor_file.h"
#include "formats/text_file.h"

static poe_status points_csv(const char *path, double **x, size_t *n, size_t *d, poe_error *error) {
  poei_csv csv = {0};
  poe_status status = poei_csv_read(path, &csv, error);
  if (status == POE_OK) {
    *x = csv.values;
    *n = csv.rows;
    *d = csv.columns;
    csv.values = NULL;
    poei_csv_free(&csv);
  }
  return status;
}

static poe_status points_tensor(const char *path, double **x, size_t *n, size_t *d, poe_error *error) {
  poei_tensor_file *file = NULL;
  poe_status status = poei_tensor_file_open(path, &file, error);
  if (status != POE_OK) {
    return status;
  }
  const poei_tensor *tensor = poei_tensor_file_count(file) == 1 ? poei_tensor_file_at(file, 0) : NULL;
  if (tensor == NULL) {
    tensor = poei_tensor_file_find(file, "x");
  }
  if (tensor == NULL || tensor->ndim == 0) {
    poe_error_set(error, POE_E_FORMAT, "%s: points need one array, or one named 'x', with a row per point", path);
    status = POE_E_FORMAT;
  } else {
    double *values = poei_alloc(tensor->count, sizeof *values);
    if (values == NULL) {
      status = poe_error_set(error, POE_E_MEMORY, "out of memory for %zu numbers", tensor->count);
    } else {
      poei_tensor_to_double(tensor, values);
      *x = values;
      *n = tensor->ndim == 1 ? tensor->count : tensor->shape[0];
      *d = *n == 0 ? 0 : tensor->count / *n;
    }
  }
  poei_tensor_file_close(file);
  return status;
}

poe_status poei_points_read(const char *path, double **x, size_t *n, size_t *d, poe_error *error) {
  const char *ending = strrchr(path, '.');
  if (ending != NULL &&
      (strcmp(ending, ".npy") == 0 || strcmp(ending, ".npz") == 0 || strcmp(ending, ".safetensors") == 0)) {
    return points_tensor(path, x, n, d, error);
  }
  return points_csv(path, x, n, d, error);
}

bool poei_program_density_named(const poei_program *program, const char *name) {
  for (size_t i = 0; i < poei_program_density_count(program); i++) {
    if (strcmp(poei_program_density(program, i), name) == 0) {
      return true;
    }
  }
  return false;
}
