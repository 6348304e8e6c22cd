/* Heap memory of the library. Everything that allocates goes through here, so that a test can make every allocation
 * fail in turn (poei_alloc_fail_at) and count those made where none may be (poei_alloc_count). */
#ifndef POE_CORE_ALLOC_H
#define POE_CORE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* *out = a * b; false on overflow (then *out is untouched). */
bool poei_mul_size(size_t a, size_t b, size_t *out);
bool poei_add_size(size_t a, size_t b, size_t *out);

/* `count` elements of `size` bytes, NULL on overflow or exhaustion. A count of 0 gives a valid pointer. */
void *poei_alloc(size_t count, size_t size);
void *poei_calloc(size_t count, size_t size);
/* Keeps the contents; on failure NULL and `old` is still valid. */
void *poei_realloc(void *old, size_t count, size_t size);
void poei_free(void *memory);
/* Copies of a text, of `length` bytes of text (NUL appended), of `count` elements. NULL when out of memory. */
char *poei_strdup(const char *text);
char *poei_strndup(const char *text, size_t length);
void *poei_copy(const void *source, size_t count, size_t size);
/* A printf-formatted text on the heap; NULL when out of memory. */
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
char *
poei_format(const char *format, ...);

/* Test hooks, process-wide and atomic. The n-th allocation from now (1 = the next) and only it fails; 0 = none. */
void poei_alloc_fail_at(uint64_t n);
/* Allocations asked for since the process started. */
uint64_t poei_alloc_count(void);

#endif
