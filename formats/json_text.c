/* JSON (RFC 8259) through jansson. Numbers that JSON cannot hold are the texts "inf", "-inf" and "nan". */
#include "formats/json_text.h"

#include <math.h>
#include <string.h>

#include "formats/atomic_file.h"
#include "formats/file_error.h"

json_t *poei_json_number(double value) {
  if (isnan(value)) {
    return json_string("nan");
  }
  if (isinf(value)) {
    return json_string(value > 0 ? "inf" : "-inf");
  }
  return json_real(value);
}

json_t *poei_json_numbers(const double *values, size_t n) {
  json_t *array = json_array();
  for (size_t i = 0; array != NULL && i < n; i++) {
    if (json_array_append_new(array, poei_json_number(values[i])) != 0) {
      json_decref(array);
      return NULL;
    }
  }
  return array;
}

json_t *poei_json_parse(const char *text, size_t size, poe_error *error) {
  json_error_t found = {0}; /* jansson leaves parts of it alone when memory ends */
  json_t *value = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &found);
  if (value != NULL) {
    return value;
  }
  if (json_error_code(&found) == json_error_out_of_memory || found.text[0] == '\0') { /* jansson does not always say */
    poe_error_set(error, POE_E_MEMORY, "out of memory reading JSON");
    return NULL;
  }
  poei_shown reason;
  poe_error_set(error, POE_E_FORMAT, "not JSON: line %d, column %d: %s", found.line, found.column,
                poei_show(&reason, found.text, strlen(found.text)));
  poe_error_at(error, NULL, found.line > 0 ? found.line : 0, found.column > 0 ? found.column : 0, 0);
  return NULL;
}

static int json_put(const char *text, size_t size, void *stream) {
  return fwrite(text, 1, size, stream) == size ? 0 : -1;
}

poe_status poei_json_write(const char *path, const json_t *value, poe_error *error) {
  poei_atomic_file *file;
  poe_status status = poei_atomic_open(path, &file, error);
  if (status != POE_OK) {
    return status;
  }
  FILE *out = poei_atomic_stream(file);
  int failed = json_dump_callback(value, json_put, out, JSON_INDENT(2) | JSON_ENCODE_ANY);
  if (failed && !ferror(out)) {
    poei_atomic_abort(file);
    return poei_file_memory_error(error, path);
  }
  fputc('\n', out);
  return poei_atomic_commit(file, error);
}
