/* Errors about files: see file_error.h. Invariant: what is shown of a file's own text is valid UTF-8 without control
 * characters and fits its buffer. */
#include "formats/file_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the well-formed UTF-8 character at text[0..length), 0 when there is none. */
static size_t utf8_length(const unsigned char *text, size_t length) {
  unsigned lead = text[0];
  if (lead < 0x80) {
    return 1;
  }
  size_t size = lead >= 0xC2 && lead <= 0xDF ? 2 : (lead & 0xF0) == 0xE0 ? 3 : lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
  if (size == 0 || size > length) {
    return 0;
  }
  for (size_t i = 1; i < size; i++) {
    if ((text[i] & 0xC0) != 0x80) {
      return 0;
    }
  }
  /* Overlong forms, surrogates, and beyond U+10FFFF show in the second byte. */
  unsigned second = text[1];
  bool wrong = (lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) || (lead == 0xF0 && second < 0x90) ||
               (lead == 0xF4 && second > 0x8F);
  return wrong ? 0 : size;
}

bool poei_utf8_valid(const char *text, size_t length) {
  for (size_t at = 0; at < length;) {
    size_t size = utf8_length((const unsigned char *)text + at, length - at);
    if (size == 0) {
      return false;
    }
    at += size;
  }
  return true;
}

/* Appends text to out[used, room), replacing what is not fit to print; stops before a character that has no room.
 * Returns the new length; *all tells whether everything went in. */
static size_t show_append(char *out, size_t used, size_t room, const char *text, size_t length, bool *all) {
  const unsigned char *bytes = (const unsigned char *)text;
  size_t at = 0;
  while (at < length) {
    size_t size = utf8_length(bytes + at, length - at);
    bool control = size == 0 || bytes[at] < 0x20 || bytes[at] == 0x7F || (bytes[at] == 0xC2 && bytes[at + 1] < 0xA0);
    size_t step = size == 0 ? 1 : size, shown = control ? 1 : size;
    if (used + shown > room) {
      break;
    }
    if (control) {
      out[used] = '?';
    } else {
      memcpy(out + used, bytes + at, size);
    }
    used += shown;
    at += step;
  }
  *all = at == length;
  return used;
}

const char *poei_show(poei_shown *shown, const char *text, size_t length) {
  bool all;
  size_t used = show_append(shown->text, 0, sizeof shown->text - 4, text, length, &all);
  memcpy(shown->text + used, all ? "" : "...", all ? 1 : 4);
  return shown->text;
}

const char *poei_show_path(poei_shown *shown, const char *path) {
  size_t length = strlen(path), room = sizeof shown->text - 1, used = 0;
  bool all;
  if (length > room) { /* a path is known by its end; a character cut in two is shown as ? */
    memcpy(shown->text, "...", 3);
    used = 3;
    path += length - (room - used);
    length = room - used;
  }
  used = show_append(shown->text, used, room, path, length, &all);
  shown->text[used] = '\0';
  return shown->text;
}

poe_status poei_file_error(poe_error *error, poe_status status, const char *path, const char *entry, const char *format,
                           ...) {
  poei_shown file, part;
  char text[POE_ERROR_MESSAGE_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (entry == NULL) {
    return poe_error_set(error, status, "'%s': %s", poei_show_path(&file, path), text);
  }
  return poe_error_set(error, status, "'%s': '%s': %s", poei_show_path(&file, path),
                       poei_show(&part, entry, strlen(entry)), text);
}

poe_status poei_file_system_error(poe_error *error, const char *verb, const char *path, int number) {
  poei_shown file;
  char reason[128];
  if (strerror_r(number, reason, sizeof reason) != 0) {
    snprintf(reason, sizeof reason, "system error %d", number);
  }
  return poe_error_set(error, POE_E_FILE, "cannot %s '%s': %s", verb, poei_show_path(&file, path), reason);
}

poe_status poei_file_memory_error(poe_error *error, const char *path) {
  poei_shown file;
  return poe_error_set(error, POE_E_MEMORY, "out of memory at '%s'", poei_show_path(&file, path));
}
