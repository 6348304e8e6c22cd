/* Points: from files (csv, npy, npz, safetensors) as n x d doubles, and fixed ones of a support. */
#include <math.h>
#include <string.h>

#include "answer/session.h"
#include "compose/nodes/sticks.h"
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

/* A point of one coordinate's support: heavy-tailed where unbounded, so that both scales and tails are seen. */
static double points_coordinate(const poe_support *s, double u) {
  if (s->kind == POE_DISCRETE) {
    double low = isfinite(s->low) ? s->low : 0.0, high = isfinite(s->high) ? s->high : low + 16.0;
    return fmin(high, floor(low + u * (high - low + 1.0)));
  }
  if (isfinite(s->low) && isfinite(s->high)) {
    return s->low + u * (s->high - s->low);
  }
  if (isfinite(s->low)) {
    return s->low - log(u);
  }
  return isfinite(s->high) ? s->high + log(u) : tan(3.0 * (u - 0.5));
}

void poei_support_points(const poe_support *support, size_t d, size_t n, double *x) {
  poe_stream stream = poe_stream_open(poe_rng_seed(20201u));
  for (size_t i = 0; i < n * d; i++) {
    x[i] = points_coordinate(&support[i % d], poe_stream_uniform(&stream));
  }
  for (size_t i = 0; i < n * d; i++) { /* numbers of a simplex sum to 1 */
    size_t k = poei_simplex_at(d, support, i % d);
    double sum = 0.0;
    for (size_t j = 0; j < k; j++) {
      sum += x[i + j];
    }
    for (size_t j = 0; j < k; j++) {
      x[i + j] /= sum;
    }
  }
}
