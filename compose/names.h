/* What coordinates are called in messages. compose/ numbers them; the language, which has names for them, says how. */
#ifndef POE_COMPOSE_NAMES_H
#define POE_COMPOSE_NAMES_H

#include <stddef.h>

/* text NULL: coordinates go by their number. */
typedef struct poei_names {
  const char *(*text)(const void *context, size_t coordinate, char *text, size_t size); /* returns text */
  const void *context;
} poei_names;

enum { POEI_NAME_SIZE = 96, POEI_DIRECTION_SIZE = 480 };

/* "z[3]", or "coordinate 3" (names NULL too), into text[size]; returns text. */
const char *poei_names_text(const poei_names *names, size_t coordinate, char *text, size_t size);
/* The direction v[dim] into text[size]: the coordinate it is along, or the largest entries of the unit vector, rounded:
 * "0.71*x - 0.71*y". Its sign is that of its largest entry turned positive. Returns text. */
const char *poei_direction_text(const poei_names *names, size_t dim, const double *v, char *text, size_t size);

#endif
