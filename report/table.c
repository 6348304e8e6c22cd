/* Text tables: cells are collected, then printed with the widths they turned out to need. */
#include "report/table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "core/alloc.h"

struct poei_table {
  size_t columns, n, capacity;
  char **cells; /* [n], row by row */
  bool failed;
};

poei_table *poei_table_create(size_t columns) {
  poei_table *table = poei_calloc(1, sizeof *table);
  if (table != NULL) {
    table->columns = columns;
  }
  return table;
}

void poei_table_free(poei_table *table) {
  if (table != NULL) {
    for (size_t i = 0; i < table->n; i++) {
      poei_free(table->cells[i]);
    }
    poei_free(table->cells);
    poei_free(table);
  }
}

void poei_table_cell(poei_table *table, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (table->n == table->capacity) {
    size_t capacity = 2 * table->capacity + 32;
    char **cells = poei_realloc(table->cells, capacity, sizeof *cells);
    if (cells == NULL) {
      table->failed = true;
      return;
    }
    table->cells = cells;
    table->capacity = capacity;
  }
  char *copy = poei_strdup(text);
  if (copy == NULL) {
    table->failed = true;
    return;
  }
  table->cells[table->n++] = copy;
}

/* Characters on screen: bytes that do not continue a UTF-8 sequence. */
static size_t table_width(const char *text) {
  size_t width = 0;
  for (; *text != '\0'; text++) {
    width += ((unsigned char)*text & 0xc0u) != 0x80u;
  }
  return width;
}

static size_t table_column_width(const poei_table *table, size_t column) {
  size_t widest = 0;
  for (size_t i = column; i < table->n; i += table->columns) {
    size_t width = table_width(table->cells[i]);
    widest = width > widest ? width : widest;
  }
  return widest;
}

static void table_pad(FILE *out, size_t n, char fill) {
  while (n-- > 0) {
    fputc(fill, out);
  }
}

static void table_print_cell(const poei_table *table, size_t i, size_t width, FILE *out) {
  size_t column = i % table->columns, shown = table_width(table->cells[i]);
  bool last = column + 1 == table->columns || i + 1 == table->n;
  if (column > 0) {
    fputs("  ", out);
    table_pad(out, width - shown, ' ');
  }
  fputs(table->cells[i], out);
  if (column == 0 && !last) {
    table_pad(out, width - shown, ' ');
  }
  if (last) {
    fputc('\n', out);
  }
}

poe_status poei_table_print(const poei_table *table, FILE *out) {
  size_t *widths = poei_alloc(table->columns, sizeof *widths), rule = 0;
  if (widths == NULL || table->failed) {
    poei_free(widths);
    return POE_E_MEMORY;
  }
  for (size_t c = 0; c < table->columns; c++) {
    widths[c] = table_column_width(table, c);
    rule += widths[c] + (c > 0 ? 2 : 0);
  }
  for (size_t i = 0; i < table->n; i++) {
    table_print_cell(table, i, widths[i % table->columns], out);
    if (i + 1 == table->columns) {
      table_pad(out, rule, '-');
      fputc('\n', out);
    }
  }
  poei_free(widths);
  return POE_OK;
}
