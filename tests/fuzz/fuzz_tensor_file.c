/* Any bytes as a tensor file: they are refused with a message, or every number of every tensor can be read. */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/tensor_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static double values[4096];
  poei_tensor_file *file = NULL;
  poe_error error = {0};
  void *bytes = poei_copy(data, size, 1);
  if (bytes == NULL) {
    return 0;
  }
  poe_status status = poei_tensor_file_parse("fuzz.bin", bytes, size, &file, &error);
  if (status != POE_OK) {
    bool named = status == POE_E_FORMAT || status == POE_E_UNSUPPORTED || status == POE_E_MEMORY;
    if (!named || error.status != status || error.message[0] == '\0' || file != NULL ||
        !poei_utf8_valid(error.message, strlen(error.message))) {
      abort();
    }
    return 0;
  }
  for (size_t i = 0; i < poei_tensor_file_count(file); i++) {
    poei_tensor tensor = *poei_tensor_file_at(file, i);
    if (poei_tensor_file_find(file, tensor.name) != poei_tensor_file_at(file, i)) {
      abort();
    }
    for (size_t left = tensor.count; left > 0; left -= tensor.count) {
      tensor.count = left < 4096 ? left : 4096;
      poei_tensor_to_double(&tensor, values);
      tensor.data += tensor.count * poei_dtype_size(tensor.dtype);
    }
  }
  const poei_tensor *none;
  poei_tensor_file_require(file, "\n", &none, &error);
  poei_tensor_file_close(file);
  return 0;
}
