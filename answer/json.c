/* Building results: a chain of steps stops at the first allocation of jansson that fails. */
#include "answer/session.h"

poe_status poei_json_set(poe_status status, json_t *object, const char *key, json_t *value, poe_error *error) {
  if (status != POE_OK) {
    json_decref(value);
    return status;
  }
  return json_object_set_new(object, key, value) == 0 ? POE_OK : poe_error_set(error, POE_E_MEMORY, "out of memory");
}

poe_status poei_json_append(poe_status status, json_t *array, json_t *value, poe_error *error) {
  if (status != POE_OK) {
    json_decref(value);
    return status;
  }
  return json_array_append_new(array, value) == 0 ? POE_OK : poe_error_set(error, POE_E_MEMORY, "out of memory");
}

poe_status poei_json_made(const json_t *value, poe_error *error) {
  return value != NULL ? POE_OK : poe_error_set(error, POE_E_MEMORY, "out of memory");
}
