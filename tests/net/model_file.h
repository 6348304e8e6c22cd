/* Writing small model files for tests. */
#ifndef POE_TESTS_MODEL_FILE_H
#define POE_TESTS_MODEL_FILE_H

#include "formats/tensor_write.h"

/* A float32 tensor of at most 2 dimensions (columns 0: a vector), numbers given or i -> 0.01 (i + 1). */
typedef struct model_tensor {
  const char *name;
  size_t rows, columns;
  const float *data;
} model_tensor;

/* Writes a safetensors file of n tensors; metadata pairs end with a NULL key. Returns its path. */
const char *model_write(const char *file, size_t n, const model_tensor *tensors, const char *const (*metadata)[2]);

#endif
