/* Statuses and error texts: the three tables of poe/status.h, expanded from its one list, and the setters of poe_error.
 * Invariants: every text of a poe_error stays NUL-terminated; a NULL error is accepted everywhere. */
#include "poe/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct status_entry {
  const char *name;
  const char *text;
  int exit_code;
} status_entry;

static const status_entry status_table[] = {
#define STATUS_ENTRY(name, exit_code, text) {#name, text, exit_code},
    POE_STATUS_LIST(STATUS_ENTRY)
#undef STATUS_ENTRY
};

/* NULL for a value outside the list. */
static const status_entry *status_find(poe_status status) {
  size_t index = (size_t)status;
  return index < sizeof status_table / sizeof *status_table ? &status_table[index] : NULL;
}

const char *poe_status_name(poe_status status) {
  const status_entry *entry = status_find(status);
  return entry != NULL ? entry->name : "?";
}

const char *poe_status_text(poe_status status) {
  const status_entry *entry = status_find(status);
  return entry != NULL ? entry->text : "unknown status";
}

int poe_status_exit_code(poe_status status) {
  const status_entry *entry = status_find(status);
  return entry != NULL ? entry->exit_code : 4;
}

/* vsnprintf leaves the buffer unspecified when it fails (a bad multibyte text): then it is emptied. */
static void status_print(char *out, size_t size, const char *format, va_list arguments) {
  if (vsnprintf(out, size, format, arguments) < 0) {
    out[0] = '\0';
  }
}

poe_status poe_error_set(poe_error *error, poe_status status, const char *format, ...) {
  if (error == NULL) {
    return status;
  }
  /* The arguments may point into the error itself (a message wrapped in a longer one): print before clearing. */
  char message[POE_ERROR_MESSAGE_SIZE];
  va_list arguments;
  va_start(arguments, format);
  status_print(message, sizeof message, format, arguments);
  va_end(arguments);
  memset(error, 0, sizeof *error);
  error->status = status;
  memcpy(error->message, message, strlen(message) + 1);
  return status;
}

void poe_error_hint(poe_error *error, const char *format, ...) {
  if (error == NULL) {
    return;
  }
  char hint[POE_ERROR_HINT_SIZE];
  va_list arguments;
  va_start(arguments, format);
  status_print(hint, sizeof hint, format, arguments);
  va_end(arguments);
  memcpy(error->hint, hint, strlen(hint) + 1);
}

void poe_error_at(poe_error *error, const char *file, int line, int column, int span) {
  if (error == NULL) {
    return;
  }
  if (file != NULL && file != error->file) {
    snprintf(error->file, sizeof error->file, "%s", file);
  }
  error->line = line;
  error->column = column;
  error->span = span;
}
