/* JSON in and out (jansson), with the rules of poe: non-finite numbers are text, duplicate keys are errors. */
#ifndef POE_FORMATS_JSON_TEXT_H
#define POE_FORMATS_JSON_TEXT_H

#include <jansson.h>
#include <stddef.h>

#include "poe/status.h"

/* A number for JSON: real, or "inf", "-inf", "nan" as text. NULL when out of memory. */
json_t *poei_json_number(double value);
/* Array of n numbers. */
json_t *poei_json_numbers(const double *values, size_t n);
/* Parses text (duplicate keys refused, depth limited); NULL and an error naming line and column when it is not JSON. */
json_t *poei_json_parse(const char *text, size_t size, poe_error *error);
/* Writes an object to a file, indented, atomically. */
poe_status poei_json_write(const char *path, const json_t *value, poe_error *error);

#endif
