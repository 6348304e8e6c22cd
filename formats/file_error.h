/* Errors about files. Names and texts that come from a file are shown cut to a readable length, with control characters
 * and broken UTF-8 replaced, so that a message can go to a terminal or into JSON as it is. */
#ifndef POE_FORMATS_FILE_ERROR_H
#define POE_FORMATS_FILE_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#include "poe/status.h"

/* A text ready to be shown. */
typedef struct poei_shown {
  char text[104];
} poei_shown;

/* Whether `length` bytes are well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates). */
bool poei_utf8_valid(const char *text, size_t length);
/* The first bytes of a text from a file, or the last ones of a path; returns shown->text. */
const char *poei_show(poei_shown *shown, const char *text, size_t length);
const char *poei_show_path(poei_shown *shown, const char *path);

/* "'path': 'entry': ..."; entry may be NULL when the error is about the whole file. */
#if defined(__GNUC__)
__attribute__((format(printf, 5, 6)))
#endif
poe_status
poei_file_error(poe_error *error, poe_status status, const char *path, const char *entry, const char *format, ...);
/* "cannot <verb> 'path': <what the system says of errno number>", POE_E_FILE. */
poe_status poei_file_system_error(poe_error *error, const char *verb, const char *path, int number);
/* "out of memory at 'path'", POE_E_MEMORY. */
poe_status poei_file_memory_error(poe_error *error, const char *path);

#endif
