/* Text and small binary files: reading whole, writing atomically, csv, png, json and SHA-256. */
#ifndef POE_FORMATS_TEXT_FILE_H
#define POE_FORMATS_TEXT_FILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "poe/status.h"

/* Reads a whole file of at most `limit` bytes; *data is NUL-terminated beyond *size and freed with poei_free. */
poe_status poei_file_read(const char *path, size_t limit, char **data, size_t *size, poe_error *error);

/* A file that appears under its name only when complete. */
typedef struct poei_atomic_file poei_atomic_file;
poe_status poei_atomic_open(const char *path, poei_atomic_file **file, poe_error *error);
FILE *poei_atomic_stream(poei_atomic_file *file);
/* Flushes, syncs, renames; frees `file` whatever it returns. */
poe_status poei_atomic_commit(poei_atomic_file *file, poe_error *error);
void poei_atomic_abort(poei_atomic_file *file); /* NULL is allowed */

/* A table of numbers; names are there when the first line was a header. Freed with poei_csv_free. */
typedef struct poei_csv {
  size_t rows, columns;
  double *values; /* [rows, columns] */
  char **names;   /* [columns] or NULL */
} poei_csv;
/* Reads comma-separated numbers ("inf", "-inf", "nan" too); lines starting with # and empty lines are skipped; a first
 * line that is not all numbers is a header. Errors name line and column. */
poe_status poei_csv_read(const char *path, poei_csv *csv, poe_error *error);
void poei_csv_free(poei_csv *csv);
/* names may be NULL; numbers are written so that reading them gives the same doubles. */
poe_status poei_csv_write(const char *path, size_t rows, size_t columns, const double *values, const char *const *names,
                          poe_error *error);

/* 8-bit PNG; channels 1 (grey) or 3 (rgb); pixels[height, width, channels]. */
poe_status poei_png_write(const char *path, size_t width, size_t height, size_t channels, const uint8_t *pixels,
                          poe_error *error);

/* A number for JSON: real, or "inf", "-inf", "nan" as text. NULL when out of memory. */
json_t *poei_json_number(double value);
/* Array of n numbers. */
json_t *poei_json_numbers(const double *values, size_t n);
/* Parses text (duplicate keys refused, depth limited); NULL and an error naming line and column when it is not JSON. */
json_t *poei_json_parse(const char *text, size_t size, poe_error *error);
/* Writes an object to a file, indented, atomically. */
poe_status poei_json_write(const char *path, const json_t *value, poe_error *error);

/* SHA-256 (FIPS 180-4) of a file as 64 hexadecimal digits + NUL. */
poe_status poei_sha256_file(const char *path, char hex[65], poe_error *error);
void poei_sha256(const void *data, size_t size, char hex[65]);

#endif
