/* Tables of text for a terminal: columns aligned, numbers to the right. */
#ifndef POE_REPORT_TABLE_H
#define POE_REPORT_TABLE_H

#include <stdio.h>

#include "poe/status.h"

typedef struct poei_table poei_table;

/* A table of `columns` >= 1 columns; NULL when out of memory. */
poei_table *poei_table_create(size_t columns);
void poei_table_free(poei_table *table); /* NULL is allowed */
/* Appends the next cell, row by row, cut at 511 bytes; failures are remembered and reported by print. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void
poei_table_cell(poei_table *table, const char *format, ...);
/* Prints with two spaces between columns, the first row as header over a rule, the first column to the left, the others
 * to the right. POE_E_MEMORY, and nothing is printed, when a cell could not be kept. */
poe_status poei_table_print(const poei_table *table, FILE *out);

#endif
