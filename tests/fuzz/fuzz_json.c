/* Any bytes as JSON: refused with a message, or a value that is written and read back the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formats/file_error.h"
#include "formats/json_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  poe_error error = {0};
  json_t *value = poei_json_parse((const char *)data, size, &error);
  if (value == NULL) {
    if (error.status != POE_E_FORMAT || !poei_utf8_valid(error.message, strlen(error.message))) {
      abort();
    }
    return 0;
  }
  char *text = json_dumps(value, JSON_ENCODE_ANY);
  json_t *back = text == NULL ? NULL : poei_json_parse(text, strlen(text), &error);
  if (back == NULL || !json_equal(value, back)) {
    abort();
  }
  free(text);
  json_decref(back);
  json_decref(value);
  return 0;
}
