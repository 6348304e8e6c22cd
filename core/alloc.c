/* Heap memory with overflow-checked sizes, and the hooks by which tests fail one allocation (alloc.h).
 * Invariant: every allocation of the library passes alloc_refused() exactly once. */
#include "core/alloc.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t alloc_asked;    /* allocations asked for since the start    */
static _Atomic uint64_t alloc_fails_at; /* the value of alloc_asked that fails, 0 = none */

bool poei_mul_size(size_t a, size_t b, size_t *out) {
  if (b != 0 && a > SIZE_MAX / b) {
    return false;
  }
  *out = a * b;
  return true;
}

bool poei_add_size(size_t a, size_t b, size_t *out) {
  if (a > SIZE_MAX - b) {
    return false;
  }
  *out = a + b;
  return true;
}

/* Counts one allocation and says whether a test wants it to fail. */
static bool alloc_refused(void) {
  uint64_t number = atomic_fetch_add_explicit(&alloc_asked, 1, memory_order_relaxed) + 1;
  return number == atomic_load_explicit(&alloc_fails_at, memory_order_relaxed);
}

/* No machine has more; sizes above it come from damaged files, and sanitizers stop the program over them. */
#define ALLOC_MOST (SIZE_MAX >> 25)

/* Bytes of count * size, at least 1 (malloc(0) may be NULL); false when it is too much. */
static bool alloc_bytes(size_t count, size_t size, size_t *bytes) {
  if (!poei_mul_size(count, size, bytes) || *bytes > ALLOC_MOST) {
    return false;
  }
  if (*bytes == 0) {
    *bytes = 1;
  }
  return true;
}

void *poei_alloc(size_t count, size_t size) {
  size_t bytes;
  if (alloc_refused() || !alloc_bytes(count, size, &bytes)) {
    return NULL;
  }
  return malloc(bytes);
}

void *poei_calloc(size_t count, size_t size) {
  size_t bytes;
  if (alloc_refused() || !alloc_bytes(count, size, &bytes)) {
    return NULL;
  }
  return calloc(bytes, 1);
}

void *poei_realloc(void *old, size_t count, size_t size) {
  size_t bytes;
  if (alloc_refused() || !alloc_bytes(count, size, &bytes)) {
    return NULL;
  }
  return realloc(old, bytes);
}

void poei_free(void *memory) {
  free(memory);
}

char *poei_strdup(const char *text) {
  return poei_strndup(text, strlen(text));
}

char *poei_strndup(const char *text, size_t length) {
  size_t bytes;
  if (!poei_add_size(length, 1, &bytes)) {
    return NULL;
  }
  char *copy = poei_alloc(bytes, 1);
  if (copy != NULL) {
    if (length > 0) {
      memcpy(copy, text, length);
    }
    copy[length] = '\0';
  }
  return copy;
}

void *poei_copy(const void *source, size_t count, size_t size) {
  void *copy = poei_alloc(count, size);
  if (copy != NULL && count * size > 0) { /* the product fits: the allocation succeeded */
    memcpy(copy, source, count * size);
  }
  return copy;
}

char *poei_format(const char *format, ...) {
  va_list arguments, again;
  va_start(arguments, format);
  va_copy(again, arguments);
  int length = vsnprintf(NULL, 0, format, arguments);
  va_end(arguments);
  char *text = length < 0 ? NULL : poei_alloc((size_t)length + 1, 1);
  if (text != NULL) {
    vsnprintf(text, (size_t)length + 1, format, again);
  }
  va_end(again);
  return text;
}

void poei_alloc_fail_at(uint64_t n) {
  uint64_t now = atomic_load_explicit(&alloc_asked, memory_order_relaxed);
  atomic_store_explicit(&alloc_fails_at, n == 0 ? 0 : now + n, memory_order_relaxed);
}

uint64_t poei_alloc_count(void) {
  return atomic_load_explicit(&alloc_asked, memory_order_relaxed);
}
