/* Any bytes as a table: refused with a message and a place, or rows * columns numbers. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/csv.h"
#include "formats/file_error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  poei_csv csv = {0};
  poe_error error = {0};
  char *text = poei_alloc(size + 1, 1);
  if (text == NULL) {
    return 0;
  }
  if (size > 0) {
    memcpy(text, data, size);
  }
  text[size] = '\0';
  poe_status status = poei_csv_parse("fuzz.csv", text, size, &csv, &error);
  poei_free(text);
  if (status != POE_OK) {
    if ((status != POE_E_FORMAT && status != POE_E_MEMORY) || !poei_utf8_valid(error.message, strlen(error.message))) {
      abort();
    }
    return 0;
  }
  double sum = 0;
  for (size_t i = 0; i < csv.rows * csv.columns; i++) {
    sum += csv.values[i];
  }
  for (size_t j = 0; csv.names != NULL && j < csv.columns; j++) {
    sum += (double)strlen(csv.names[j]);
  }
  if (csv.columns == 0 || (csv.rows == 0 && sum < 0)) {
    abort();
  }
  poei_csv_free(&csv);
  return 0;
}
