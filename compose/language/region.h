/* A region: memory that lives as long as a program and is freed at once.
 *
 * Everything the language builds (tokens, trees, values, terms) is taken from one. The total is bounded, because the
 * text is untrusted. Taking fails with NULL; the region remembers whether memory or the bound ran out.
 */
#ifndef POE_COMPOSE_LANGUAGE_REGION_H
#define POE_COMPOSE_LANGUAGE_REGION_H

#include <stdbool.h>
#include <stddef.h>

typedef struct poei_region {
  struct poei_region_block *blocks; /* the newest first                      */
  size_t total, limit;              /* bytes taken so far, most bytes to take */
  bool failed, full;                /* out of memory; beyond the limit        */
} poei_region;

void poei_region_init(poei_region *region, size_t limit);
void poei_region_free(poei_region *region);
/* `count` zeroed elements of `size` bytes, aligned for any type; NULL on failure. A count of 0 gives a valid pointer.
 */
void *poei_region_take(poei_region *region, size_t count, size_t size);
/* A copy of `length` bytes of text, NUL appended. */
char *poei_region_text(poei_region *region, const char *text, size_t length);
/* A copy of `count` elements. */
void *poei_region_copy(poei_region *region, const void *source, size_t count, size_t size);
/* A printf-formatted text. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
char *
poei_region_format(poei_region *region, const char *format, ...);
/* Makes room for one more element in a growing array of `*capacity` elements of which n are used: returns the array,
 * moved when it had to grow; NULL on failure. */
void *poei_region_grow(poei_region *region, void *array, size_t n, size_t *capacity, size_t size);

#endif
