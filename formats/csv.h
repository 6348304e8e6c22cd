/* Tables of numbers as comma-separated text. */
#ifndef POE_FORMATS_CSV_H
#define POE_FORMATS_CSV_H

#include <stddef.h>

#include "poe/status.h"

/* A table of numbers; names are there when the first line was a header. Freed with poei_csv_free. */
typedef struct poei_csv {
  size_t rows, columns;
  double *values; /* [rows, columns] */
  char **names;   /* [columns] or NULL */
} poei_csv;
/* Reads comma-separated numbers ("inf", "-inf", "nan" too); lines starting with # and empty lines are skipped; a first
 * line that is not all numbers is a header. The decimal point is a point whatever the locale. Errors name line and
 * column, in the message and as the error's place; *csv is then untouched. */
poe_status poei_csv_read(const char *path, poei_csv *csv, poe_error *error);
/* The same of text[size] with a NUL behind it, which is written over; `path` is for messages. */
poe_status poei_csv_parse(const char *path, char *text, size_t size, poei_csv *csv, poe_error *error);
void poei_csv_free(poei_csv *csv);
/* names may be NULL; numbers are written so that reading them gives the same doubles. */
poe_status poei_csv_write(const char *path, size_t rows, size_t columns, const double *values, const char *const *names,
                          poe_error *error);

#endif
