/* Tables of numbers as comma-separated text.
 *
 * Reading splits the file in place. Numbers are decimal, "inf", "infinity" or "nan" in either case, read by strtod in
 * the C locale; what strtod takes beyond that (hexadecimal, nan(...)) and what overflows is an error, as is an empty
 * field. Writing uses the fewest of 15, 16 or 17 digits that give the same double back.
 * Invariant: every row has as many fields as the first line. */
#include "formats/csv.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/atomic_file.h"
#include "formats/c_locale.h"
#include "formats/file_error.h"
#include "formats/whole_file.h"

typedef enum csv_kind { CSV_NUMBER, CSV_TOO_LARGE, CSV_EMPTY, CSV_TEXT } csv_kind;

/* The field from begin to the NUL at end, blanks allowed around it. */
static csv_kind csv_number(const char *begin, const char *end, double *value) {
  while (begin < end && (*begin == ' ' || *begin == '\t')) {
    begin++;
  }
  while (end > begin && (end[-1] == ' ' || end[-1] == '\t')) {
    end--;
  }
  if (begin == end) {
    return CSV_EMPTY;
  }
  if (strspn(begin, "0123456789+-.eEinfatyINFATY") < (size_t)(end - begin)) {
    return CSV_TEXT;
  }
  char *stop;
  errno = 0;
  double read = strtod(begin, &stop);
  if (stop != end) {
    return CSV_TEXT;
  }
  if (errno == ERANGE && isinf(read)) {
    return CSV_TOO_LARGE;
  }
  *value = read;
  return CSV_NUMBER;
}

/* A file being read. */
typedef struct csv_reader {
  const char *path;
  char *at, *end;    /* what is left of the file */
  char *line, *stop; /* the current line, NUL-terminated at stop */
  size_t number;     /* its number, from 1 */
  size_t first;      /* number of the line that set the columns */
  poei_csv table;
  size_t room; /* doubles that table.values has room for */
} csv_reader;

/* An error at a byte of the current line. */
static poe_status csv_refuse(const csv_reader *reader, poe_error *error, const char *place, size_t span,
                             const char *what) {
  size_t column = (size_t)(place - reader->line) + 1;
  poe_status status = poei_file_error(error, POE_E_FORMAT, reader->path, NULL, "line %zu, column %zu: %s",
                                      reader->number, column, what);
  poe_error_at(error, reader->path, (int)(reader->number < INT32_MAX ? reader->number : 0),
               (int)(column < INT32_MAX ? column : 0), (int)(span < INT32_MAX ? span : 0));
  return status;
}

/* Steps to the next line that is neither empty nor a comment; false at the end. */
static bool csv_next(csv_reader *reader) {
  while (reader->at < reader->end) {
    char *line = reader->at, *stop = memchr(line, '\n', (size_t)(reader->end - line));
    reader->at = stop == NULL ? reader->end : stop + 1;
    stop = stop == NULL ? reader->end : stop;
    if (stop > line && stop[-1] == '\r') {
      stop--;
    }
    *stop = '\0';
    reader->line = line;
    reader->stop = stop;
    reader->number++;
    size_t blank = strspn(line, " \t");
    if (line + blank < stop && line[blank] != '#') {
      return true;
    }
  }
  return false;
}

static size_t csv_fields(const char *line, const char *stop) {
  size_t n = 1;
  for (const char *at = line; at < stop; at++) {
    n += *at == ',';
  }
  return n;
}

/* Whether the current line is to be taken as numbers (a number that is too large is still meant as one). */
static bool csv_is_data(const csv_reader *reader) {
  char *begin = reader->line;
  for (;;) {
    char *comma = memchr(begin, ',', (size_t)(reader->stop - begin)), *end = comma == NULL ? reader->stop : comma;
    double value;
    *end = '\0';
    csv_kind kind = csv_number(begin, end, &value);
    if (comma != NULL) {
      *comma = ',';
    }
    if (kind == CSV_EMPTY || kind == CSV_TEXT) {
      return false;
    }
    if (comma == NULL) {
      return true;
    }
    begin = comma + 1;
  }
}

/* Takes one name of a header off `at`: bare up to the comma, or in double quotes ("" stands for one). Writes it over
 * itself; returns the place after it (a comma or the line's end), NULL when a quote is not closed. */
static char *csv_name(char *at, char *stop, char **name, size_t *length) {
  while (at < stop && (*at == ' ' || *at == '\t')) {
    at++;
  }
  if (at == stop || *at != '"') {
    char *comma = memchr(at, ',', (size_t)(stop - at)), *end = comma == NULL ? stop : comma, *last = end;
    while (last > at && (last[-1] == ' ' || last[-1] == '\t')) {
      last--;
    }
    *name = at;
    *length = (size_t)(last - at);
    return end;
  }
  char *out = *name = ++at;
  for (; at < stop; at++) {
    if (*at == '"') {
      if (at + 1 == stop || at[1] != '"') {
        break;
      }
      at++;
    }
    *out++ = *at;
  }
  if (at == stop) {
    return NULL;
  }
  *length = (size_t)(out - *name);
  at++;
  return at + strspn(at, " \t");
}

static poe_status csv_header(csv_reader *reader, poe_error *error) {
  poei_csv *table = &reader->table;
  size_t most = csv_fields(reader->line, reader->stop), n = 0;
  table->names = poei_calloc(most, sizeof *table->names);
  if (table->names == NULL) {
    return poei_file_memory_error(error, reader->path);
  }
  table->columns = most; /* for csv_free; names beyond n are NULL */
  for (char *at = reader->line;; at++) {
    char *name, *begin = at;
    size_t length;
    at = csv_name(at, reader->stop, &name, &length);
    if (at == NULL || (at < reader->stop && *at != ',')) {
      return csv_refuse(reader, error, begin, 1, "a quoted name is not closed or goes on after its quote");
    }
    table->names[n] = poei_strndup(name, length);
    if (table->names[n++] == NULL) {
      return poei_file_memory_error(error, reader->path);
    }
    if (at == reader->stop) {
      break;
    }
  }
  table->columns = n;
  return POE_OK;
}

/* Makes room for one more row. */
static poe_status csv_grow(csv_reader *reader, poe_error *error) {
  poei_csv *table = &reader->table;
  size_t used = table->rows * table->columns;
  if (reader->room - used >= table->columns) {
    return POE_OK;
  }
  size_t room = reader->room + reader->room / 2 + (table->columns > 64 ? table->columns : 64);
  double *values = poei_realloc(table->values, room, sizeof *values);
  if (values == NULL) {
    return poei_file_memory_error(error, reader->path);
  }
  table->values = values;
  reader->room = room;
  return POE_OK;
}

static poe_status csv_field_error(const csv_reader *reader, csv_kind kind, const char *begin, const char *end,
                                  poe_error *error) {
  poei_shown shown;
  char what[160];
  poei_show(&shown, begin, (size_t)(end - begin));
  snprintf(what, sizeof what,
           kind == CSV_EMPTY  ? "an empty field%.0s"
           : kind == CSV_TEXT ? "'%s' is not a number"
                              : "'%s' is too large for a double",
           shown.text);
  poe_status status = csv_refuse(reader, error, begin, (size_t)(end - begin), what);
  if (kind == CSV_TEXT) {
    poe_error_hint(error, "numbers are separated by commas, with a decimal point, 'inf', '-inf' or 'nan'");
  }
  return status;
}

static poe_status csv_row(csv_reader *reader, poe_error *error) {
  poei_csv *table = &reader->table;
  size_t fields = csv_fields(reader->line, reader->stop);
  if (fields != table->columns) {
    char what[160];
    snprintf(what, sizeof what, "%zu field%s where line %zu has %zu", fields, fields == 1 ? "" : "s", reader->first,
             table->columns);
    return csv_refuse(reader, error, reader->line, (size_t)(reader->stop - reader->line), what);
  }
  poe_status status = csv_grow(reader, error);
  if (status != POE_OK) {
    return status;
  }
  double *out = table->values + table->rows * table->columns;
  char *begin = reader->line;
  for (size_t i = 0; i < fields; i++) {
    char *comma = memchr(begin, ',', (size_t)(reader->stop - begin)), *end = comma == NULL ? reader->stop : comma;
    *end = '\0';
    csv_kind kind = csv_number(begin, end, &out[i]);
    if (kind != CSV_NUMBER) {
      return csv_field_error(reader, kind, begin, end, error);
    }
    begin = end + 1;
  }
  table->rows++;
  return POE_OK;
}

static poe_status csv_read_lines(csv_reader *reader, poe_error *error) {
  poe_status status = POE_OK;
  if (!csv_next(reader)) {
    return poei_file_error(error, POE_E_FORMAT, reader->path, NULL, "holds no numbers");
  }
  reader->first = reader->number;
  if (csv_is_data(reader)) {
    reader->table.columns = csv_fields(reader->line, reader->stop);
    status = csv_row(reader, error);
  } else {
    status = csv_header(reader, error);
  }
  while (status == POE_OK && csv_next(reader)) {
    status = csv_row(reader, error);
  }
  if (status == POE_OK && reader->table.values == NULL) { /* a header alone: values is valid all the same */
    reader->table.values = poei_alloc(0, sizeof(double));
    status = reader->table.values == NULL ? poei_file_memory_error(error, reader->path) : POE_OK;
  }
  return status;
}

poe_status poei_csv_parse(const char *path, char *text, size_t size, poei_csv *csv, poe_error *error) {
  csv_reader reader = {.path = path, .at = text, .end = text + size};
  poei_c_locale scope;
  if (size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
    reader.at += 3; /* the byte order mark that some spreadsheets write */
  }
  if (memchr(text, '\0', size) != NULL) {
    return poei_file_error(error, POE_E_FORMAT, path, NULL, "is not text (it holds a zero byte)");
  }
  if (!poei_c_locale_enter(&scope)) {
    return poei_file_memory_error(error, path);
  }
  poe_status status = csv_read_lines(&reader, error);
  poei_c_locale_leave(&scope);
  if (status != POE_OK) {
    poei_csv_free(&reader.table);
    return status;
  }
  *csv = reader.table;
  return POE_OK;
}

poe_status poei_csv_read(const char *path, poei_csv *csv, poe_error *error) {
  char *text;
  size_t size;
  poe_status status = poei_file_read(path, SIZE_MAX / 4, &text, &size, error);
  if (status == POE_OK) {
    status = poei_csv_parse(path, text, size, csv, error);
    poei_free(text);
  }
  return status;
}

void poei_csv_free(poei_csv *csv) {
  for (size_t i = 0; csv->names != NULL && i < csv->columns; i++) {
    poei_free(csv->names[i]);
  }
  poei_free(csv->names);
  poei_free(csv->values);
  *csv = (poei_csv){0};
}

/* A name of the header, in quotes when it could be taken for something else. */
static void csv_put_name(FILE *out, const char *name) {
  double value;
  if (strpbrk(name, ",\"# \t") == NULL && csv_number(name, name + strlen(name), &value) == CSV_TEXT) {
    fputs(name, out);
    return;
  }
  fputc('"', out);
  for (; *name != '\0'; name++) {
    if (*name == '"') {
      fputc('"', out);
    }
    fputc(*name, out);
  }
  fputc('"', out);
}

static void csv_put_number(FILE *out, double value) {
  char text[32];
  if (isnan(value)) {
    fputs("nan", out);
    return;
  }
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (digits == 17 || strtod(text, NULL) == value) {
      break;
    }
  }
  fputs(text, out);
}

poe_status poei_csv_write(const char *path, size_t rows, size_t columns, const double *values, const char *const *names,
                          poe_error *error) {
  if (columns == 0) {
    return poei_file_error(error, POE_E_USAGE, path, NULL, "a table needs at least one column");
  }
  for (size_t j = 0; names != NULL && j < columns; j++) {
    if (strpbrk(names[j], "\r\n") != NULL) {
      return poei_file_error(error, POE_E_USAGE, path, names[j], "a column's name has more than one line");
    }
  }
  poei_atomic_file *file;
  poe_status status = poei_atomic_open(path, &file, error);
  if (status != POE_OK) {
    return status;
  }
  poei_c_locale scope;
  if (!poei_c_locale_enter(&scope)) {
    poei_atomic_abort(file);
    return poei_file_memory_error(error, path);
  }
  FILE *out = poei_atomic_stream(file);
  for (size_t j = 0; names != NULL && j < columns; j++) {
    csv_put_name(out, names[j]);
    fputc(j + 1 < columns ? ',' : '\n', out);
  }
  for (size_t i = 0; i < rows && !ferror(out); i++) {
    for (size_t j = 0; j < columns; j++) {
      csv_put_number(out, values[i * columns + j]);
      fputc(j + 1 < columns ? ',' : '\n', out);
    }
  }
  poei_c_locale_leave(&scope);
  return poei_atomic_commit(file, error);
}
