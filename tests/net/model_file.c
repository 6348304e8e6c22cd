#include "tests/net/model_file.h"

#include <stdlib.h>

#include "tests/support/check.h"

enum { MODEL_TENSORS = 16 };

const char *model_write(const char *file, size_t n, const model_tensor *tensors, const char *const (*metadata)[2]) {
  poei_tensor list[MODEL_TENSORS] = {0};
  float *owned[MODEL_TENSORS] = {0};
  assert_true(n <= MODEL_TENSORS);
  for (size_t i = 0; i < n; i++) {
    const model_tensor *t = &tensors[i];
    list[i].name = t->name;
    list[i].dtype = POEI_F32;
    list[i].ndim = t->columns == 0 ? 1 : 2;
    list[i].shape[0] = t->rows;
    list[i].shape[1] = t->columns;
    list[i].count = t->rows * (t->columns == 0 ? 1 : t->columns);
    if (t->data == NULL) {
      owned[i] = malloc((list[i].count + 1) * sizeof *owned[i]);
      assert_non_null(owned[i]);
      for (size_t k = 0; k < list[i].count; k++) {
        owned[i][k] = 0.01f * (float)(k + 1);
      }
    }
    list[i].data = (const unsigned char *)(t->data == NULL ? owned[i] : t->data);
  }
  size_t pairs = 0;
  while (metadata != NULL && metadata[pairs][0] != NULL) {
    pairs++;
  }
  const char *path = poet_temp_path(file);
  poe_error error = {0};
  check_ok(poei_safetensors_write(path, n, list, pairs, metadata, &error), error);
  for (size_t i = 0; i < n; i++) {
    free(owned[i]);
  }
  return path;
}
