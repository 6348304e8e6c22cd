/* Lists of diagnostics and how one is shown:
 *
 *   bad.poe:3:15: error: unknown expert 'flwo'
 *       3 | both = flow * flwo^0.5
 *         |               ^~~~ did you mean 'flow'?
 *
 * Invariant: what is shown of the source is one line of printable text, whatever the file holds.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "compose/language/syntax.h"
#include "core/alloc.h"

/* ---- spans ---- */

poei_span poei_span_join(poei_span first, poei_span last) {
  if (first.source == last.source && last.offset + last.length > first.offset) {
    first.length = last.offset + last.length - first.offset;
  }
  return first;
}

void poei_span_place(poei_span span, poe_error *error) {
  if (span.source && span.source->generated) {
    poe_error_at(error, span.source->path, 0, 0, 0);
    return;
  }
  size_t length = span.length;
  if (span.source && span.offset <= span.source->size) {
    size_t rest = span.source->size - span.offset;
    length = length < rest ? length : rest;
    const char *start = span.source->text + span.offset;
    const char *end = length > 0 ? memchr(start, '\n', length) : NULL;
    length = end ? (size_t)(end - start) : length;
  }
  poe_error_at(error, span.source ? span.source->path : NULL, span.line, span.column, (int)length);
}

/* ---- lists ---- */

void poei_diagnostics_free(poei_diagnostics *diagnostics) {
  if (diagnostics) {
    poei_free(diagnostics->items);
    *diagnostics = (poei_diagnostics){0};
  }
}

static bool same_error(const poe_error *a, const poe_error *b) {
  return a->line == b->line && a->column == b->column && strcmp(a->file, b->file) == 0 &&
         strcmp(a->message, b->message) == 0;
}

bool poei_diagnostics_add(poei_diagnostics *diagnostics, poei_severity severity, const poe_error *error) {
  diagnostics->errors += severity == POEI_ERROR;
  for (size_t i = 0; i < diagnostics->n; i++) {
    if (same_error(&diagnostics->items[i].error, error)) {
      diagnostics->errors -= severity == POEI_ERROR && diagnostics->items[i].severity == POEI_ERROR;
      return true;
    }
  }
  if (diagnostics->n >= POEI_MAX_DIAGNOSTICS) {
    return true;
  }
  if (diagnostics->n == diagnostics->capacity) {
    size_t capacity = diagnostics->capacity == 0 ? 4 : diagnostics->capacity * 2;
    poei_diagnostic *items = poei_realloc(diagnostics->items, capacity, sizeof *items);
    if (!items) {
      return false;
    }
    diagnostics->items = items;
    diagnostics->capacity = capacity;
  }
  diagnostics->items[diagnostics->n++] = (poei_diagnostic){.severity = severity, .error = *error};
  return true;
}

/* Takes away a character that was cut at the end of a text. */
static void mend(char *text) {
  size_t n = strlen(text), start = n;
  while (start > 0 && n - start < 3 && ((unsigned char)text[start - 1] & 0xC0u) == 0x80u) {
    start--;
  }
  if (start == 0) {
    return;
  }
  unsigned char c = (unsigned char)text[start - 1];
  size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;
  if (c >= 0xC0 && n - (start - 1) < length) {
    text[start - 1] = '\0';
  }
}

bool poei_report_error(poei_reader *reader, poei_severity severity, const poe_error *told) {
  poe_error copy = *told, *error = &copy;
  mend(copy.message);
  mend(copy.hint);
  mend(copy.file);
  if (severity == POEI_ERROR && reader->status == POE_OK) {
    reader->status = error->status;
  }
  if (!poei_diagnostics_add(reader->diagnostics, severity, error)) {
    reader->region->failed = true;
    reader->status = POE_E_MEMORY;
  }
  return false;
}

bool poei_report(poei_reader *reader, poe_status status, poei_span span, const char *hint, const char *format, ...) {
  poe_error error = {0};
  char message[POE_ERROR_MESSAGE_SIZE];
  va_list list;
  va_start(list, format);
  vsnprintf(message, sizeof message, format, list);
  va_end(list);
  poe_error_set(&error, status, "%s", message);
  if (hint && hint[0]) {
    poe_error_hint(&error, "%s", hint);
  }
  poei_span_place(span, &error);
  return poei_report_error(reader, POEI_ERROR, &error);
}

bool poei_report_memory(poei_reader *reader) {
  poe_error error = {0};
  if (reader->region->full && !reader->region->failed) {
    poe_error_set(&error, POE_E_MEMORY, "the program needs more than %zu MiB to be written out",
                  reader->region->limit >> 20);
    poe_error_hint(&error, "make the comprehensions smaller, or read numbers with data(...)");
  } else {
    poe_error_set(&error, POE_E_MEMORY, "out of memory");
  }
  reader->status = POE_E_MEMORY;
  return poei_report_error(reader, POEI_ERROR, &error);
}

/* ---- showing ---- */

enum { WINDOW = 100, BEFORE = 60 }; /* bytes of a long line that are shown, and how many of them before the place */

/* A growing text; `failed` is sticky. */
typedef struct writer {
  char *text;
  size_t n, capacity;
  bool failed;
} writer;

static void put(writer *out, const char *text, size_t length) {
  if (out->failed) {
    return;
  }
  if (out->capacity - out->n <= length) {
    size_t capacity = out->capacity * 2 + length + 256;
    char *larger = poei_realloc(out->text, capacity, 1);
    if (!larger) {
      out->failed = true;
      return;
    }
    out->text = larger;
    out->capacity = capacity;
  }
  memcpy(out->text + out->n, text, length);
  out->n += length;
  out->text[out->n] = '\0';
}

static void put_text(writer *out, const char *text) {
  put(out, text, strlen(text));
}

/* The line of the place: from `*start`, `*length` bytes. False when the text has no such line. */
static bool find_line(const char *source, int line, const char **start, size_t *length) {
  for (int at = 1; at < line; at++) {
    source = strchr(source, '\n');
    if (!source) {
      return false;
    }
    source++;
  }
  *start = source;
  *length = strcspn(source, "\r\n");
  return true;
}

/* Continuation bytes of UTF-8 take no column on the screen. */
static bool takes_column(char c) {
  return ((unsigned char)c & 0xC0u) != 0x80u;
}

static void put_line(writer *out, const char *line, size_t length) {
  for (size_t i = 0; i < length; i++) {
    char c = (unsigned char)line[i] < 0x20 || line[i] == 0x7F ? ' ' : line[i];
    put(out, &c, 1);
  }
}

static void put_excerpt(writer *out, const poe_error *error, const char *source, const char *bright,
                        const char *plain) {
  const char *line;
  size_t length;
  if (!find_line(source, error->line, &line, &length)) {
    return;
  }
  size_t column = error->column > 0 ? (size_t)error->column - 1 : 0;
  column = column < length ? column : length;
  size_t from = length > WINDOW && column > BEFORE ? column - BEFORE : 0;
  while (from > 0 && !takes_column(line[from])) {
    from--;
  }
  size_t to = length - from > WINDOW ? from + WINDOW : length;
  while (to < length && !takes_column(line[to])) {
    to++;
  }
  char gutter[32];
  snprintf(gutter, sizeof gutter, "%5d | ", error->line);
  put_text(out, gutter);
  put_text(out, from > 0 ? "..." : "");
  put_line(out, line + from, to - from);
  put_text(out, to < length ? "...\n" : "\n");
  put_text(out, "      | ");
  put_text(out, from > 0 ? "   " : "");
  for (size_t i = from; i < column; i++) {
    put(out, " ", takes_column(line[i]));
  }
  put_text(out, bright);
  put_text(out, "^");
  size_t end = column + (error->span > 0 ? (size_t)error->span : 0);
  end = end < to ? end : to;
  for (size_t i = column + 1; i < end; i++) {
    put(out, "~", takes_column(line[i]));
  }
  put_text(out, plain);
  if (error->hint[0]) {
    put_text(out, " ");
    put_text(out, error->hint);
  }
  put_text(out, "\n");
}

char *poei_diagnostic_text(const poei_diagnostic *diagnostic, const char *source, bool colour) {
  const poe_error *error = &diagnostic->error;
  bool is_error = diagnostic->severity == POEI_ERROR;
  const char *bold = colour ? "\033[1m" : "", *plain = colour ? "\033[0m" : "";
  const char *bright = !colour ? "" : is_error ? "\033[1;31m" : "\033[1;35m";
  writer out = {0};
  char number[64];
  put_text(&out, bold);
  if (error->file[0]) {
    put_text(&out, error->file);
    put_text(&out, ":");
  }
  if (error->line > 0) {
    snprintf(number, sizeof number, "%d:%d:", error->line, error->column);
    put_text(&out, number);
  }
  put_text(&out, out.n > strlen(bold) ? " " : "");
  put_text(&out, plain);
  put_text(&out, bright);
  put_text(&out, is_error ? "error: " : "warning: ");
  put_text(&out, plain);
  put_text(&out, error->message);
  put_text(&out, "\n");
  if (source && error->line > 0) {
    put_excerpt(&out, error, source, bright, plain);
  } else if (error->hint[0]) {
    put_text(&out, "      ");
    put_text(&out, error->hint);
    put_text(&out, "\n");
  }
  if (out.failed) {
    poei_free(out.text);
    return NULL;
  }
  return out.text;
}
