/* Nearest images of a reference set without the images: distances between random projections (see evaluate/judge.h).
 * For a Gaussian m-column projection |P'(x - y)|^2 / m is unbiased for |x - y|^2 with relative standard deviation
 * sqrt(2/m).
 */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/linalg.h"
#include "evaluate/judge.h"
#include "formats/tensor_file.h"

struct poei_reference {
  size_t d, m, n, heldout;
  float *projection; /* [d, m]                                */
  float *codes;      /* [n, m] already scaled                 */
  float *norms;      /* [n] squared norms of the codes        */
  double *nearest;   /* [heldout]                             */
};

void poei_reference_close(poei_reference *reference) {
  if (reference != NULL) {
    poei_free(reference->projection);
    poei_free(reference->codes);
    poei_free(reference->norms);
    poei_free(reference->nearest);
    poei_free(reference);
  }
}

static poe_status reference_scale(const poei_tensor_file *file, poei_reference *self, poe_error *error) {
  const poei_tensor *scale = NULL;
  poe_status status = poei_tensor_file_require(file, "scale", &scale, error);
  if (status != POE_OK) {
    return status;
  }
  if (scale->count != 1) {
    return poe_error_set(error, POE_E_FORMAT, "'scale' must be one number");
  }
  double value = 0.0;
  poei_tensor_to_double(scale, &value);
  if (!(value > 0.0 && value < 1e30)) {
    return poe_error_set(error, POE_E_FORMAT, "'scale' must be positive");
  }
  for (size_t i = 0; i < self->n; i++) {
    double norm = 0.0;
    for (size_t j = 0; j < self->m; j++) {
      float *code = &self->codes[i * self->m + j];
      *code = (float)(*code * value);
      norm += (double)*code * (double)*code;
    }
    self->norms[i] = (float)norm;
  }
  return POE_OK;
}

/* Every number of the file is finite; `name` is for the message. */
static poe_status reference_finite(const char *name, size_t n, const float *values, poe_error *error) {
  for (size_t i = 0; i < n; i++) {
    if (!isfinite(values[i])) {
      return poe_error_set(error, POE_E_FORMAT, "'%s' has a number that is not finite", name);
    }
  }
  return POE_OK;
}

static poe_status reference_numbers(const poei_tensor_file *file, poei_reference *self, poe_error *error) {
  poe_status status = reference_finite("projection", self->d * self->m, self->projection, error);
  if (status == POE_OK) {
    status = reference_scale(file, self, error);
  }
  if (status == POE_OK) {
    status = reference_finite("codes", self->n * self->m, self->codes, error);
  }
  for (size_t i = 0; status == POE_OK && i < self->heldout; i++) {
    if (!(self->nearest[i] >= 0.0 && isfinite(self->nearest[i]))) {
      status = poe_error_set(error, POE_E_FORMAT, "'heldout_nearest' has a number that is no distance");
    }
  }
  return status;
}

static poe_status reference_read(const poei_tensor_file *file, poei_reference *self, poe_error *error) {
  const poei_tensor *projection = NULL, *codes = NULL, *nearest = NULL;
  poe_status status = poei_tensor_file_require(file, "projection", &projection, error);
  if (status == POE_OK) {
    status = poei_tensor_file_require(file, "codes", &codes, error);
  }
  if (status == POE_OK) {
    status = poei_tensor_file_require(file, "heldout_nearest", &nearest, error);
  }
  if (status != POE_OK) {
    return status;
  }
  if (projection->ndim != 2 || codes->ndim != 2 || projection->count == 0 || codes->count == 0 ||
      codes->shape[1] != projection->shape[1] || nearest->count == 0) {
    return poe_error_set(error, POE_E_FORMAT,
                         "a reference has projection [d, m], codes [N, m] and heldout_nearest [M]");
  }
  self->d = projection->shape[0];
  self->m = projection->shape[1];
  self->n = codes->shape[0];
  self->heldout = nearest->count;
  self->projection = poei_alloc(projection->count, sizeof *self->projection);
  self->codes = poei_alloc(codes->count, sizeof *self->codes);
  self->norms = poei_alloc(self->n, sizeof *self->norms);
  self->nearest = poei_alloc(self->heldout, sizeof *self->nearest);
  if (self->projection == NULL || self->codes == NULL || self->norms == NULL || self->nearest == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poei_tensor_to_float(projection, self->projection);
  poei_tensor_to_float(codes, self->codes);
  poei_tensor_to_double(nearest, self->nearest);
  return reference_numbers(file, self, error);
}

poe_status poei_reference_open(const char *path, poei_reference **reference, poe_error *error) {
  poei_tensor_file *file = NULL;
  poe_status status = poei_tensor_file_open(path, &file, error);
  if (status != POE_OK) {
    return status;
  }
  poei_reference *self = poei_calloc(1, sizeof *self);
  status = self == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : reference_read(file, self, error);
  poei_tensor_file_close(file);
  if (status != POE_OK) {
    poe_error_at(error, path, 0, 0, 0);
    poei_reference_close(self);
    return status;
  }
  *reference = self;
  return POE_OK;
}

size_t poei_reference_dim(const poei_reference *reference) {
  return reference->d;
}

const double *poei_reference_heldout(const poei_reference *reference, size_t *n) {
  *n = reference->heldout;
  return reference->nearest;
}

/* Distance of a projected row code[m] to the nearest of the codes, given cross[n] = -2 codes . code: the differences
 * |y|^2 - 2 x.y find it, and its distance is then taken from the coordinates, because the sum cancels near 0. */
static double reference_distance(const poei_reference *reference, const float *code, const float *cross) {
  size_t m = reference->m, nearest = 0;
  float best = INFINITY;
  for (size_t k = 0; k < reference->n; k++) {
    float squared = cross[k] + reference->norms[k];
    if (squared < best) {
      best = squared;
      nearest = k;
    }
  }
  double sum = 0.0;
  for (size_t j = 0; j < m; j++) {
    double gap = (double)code[j] - (double)reference->codes[nearest * m + j];
    sum += gap * gap;
  }
  return sqrt(sum / (double)m); /* a row with NaN has distance NaN */
}

enum { NEAREST_BLOCK = 64 };

poe_status poei_reference_nearest(const poei_reference *reference, size_t n, const double *x, double *distance,
                                  poe_error *error) {
  size_t d = reference->d, m = reference->m, size = reference->n;
  float *rows = poei_alloc(d, NEAREST_BLOCK * sizeof *rows);
  float *code = poei_alloc(m, NEAREST_BLOCK * sizeof *code);
  float *cross = poei_alloc(size, NEAREST_BLOCK * sizeof *cross);
  bool memory = rows != NULL && code != NULL && cross != NULL;
  for (size_t first = 0; memory && first < n; first += NEAREST_BLOCK) {
    size_t block = n - first < NEAREST_BLOCK ? n - first : NEAREST_BLOCK;
    for (size_t i = 0; i < block * d; i++) {
      rows[i] = (float)x[first * d + i];
    }
    poei_sgemm(false, false, block, m, d, 1.0f, rows, d, reference->projection, m, 0.0f, code, m);
    poei_sgemm(false, true, block, size, m, -2.0f, code, m, reference->codes, m, 0.0f, cross, size);
    for (size_t i = 0; i < block; i++) {
      distance[first + i] = reference_distance(reference, code + i * m, cross + i * size);
    }
  }
  poei_free(rows);
  poei_free(code);
  poei_free(cross);
  return memory ? POE_OK : poe_error_set(error, POE_E_MEMORY, "out of memory for nearest images");
}
