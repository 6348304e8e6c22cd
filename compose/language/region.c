/* The region of region.h: a list of blocks, each twice as large as the last up to a megabyte.
 *
 * Invariant: every pointer handed out stays valid until poei_region_free; nothing is freed or moved before.
 */
#include "compose/language/region.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"

enum { FIRST_BLOCK = 4096, LARGEST_BLOCK = 1 << 20, ALIGNMENT = 16 };

struct poei_region_block {
  struct poei_region_block *next;
  size_t size, used; /* bytes of data[] */
  _Alignas(16) unsigned char data[];
};

void poei_region_init(poei_region *region, size_t limit) {
  *region = (poei_region){.limit = limit};
}

void poei_region_free(poei_region *region) {
  struct poei_region_block *block = region->blocks;
  while (block) {
    struct poei_region_block *next = block->next;
    poei_free(block);
    block = next;
  }
  region->blocks = NULL;
  region->total = 0;
}

static struct poei_region_block *add_block(poei_region *region, size_t bytes) {
  size_t size = region->blocks ? region->blocks->size * 2 : FIRST_BLOCK;
  if (size > LARGEST_BLOCK) {
    size = LARGEST_BLOCK;
  }
  if (size < bytes) {
    size = bytes;
  }
  struct poei_region_block *block = poei_alloc(1, sizeof(struct poei_region_block) + size);
  if (!block) {
    region->failed = true;
    return NULL;
  }
  *block = (struct poei_region_block){.next = region->blocks, .size = size};
  region->blocks = block;
  return block;
}

void *poei_region_take(poei_region *region, size_t count, size_t size) {
  size_t bytes;
  if (!poei_mul_size(count, size, &bytes) || bytes > region->limit || region->total > region->limit - bytes) {
    region->full = true;
    return NULL;
  }
  bytes = bytes == 0 ? ALIGNMENT : (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  struct poei_region_block *block = region->blocks;
  if (!block || block->size - block->used < bytes) {
    block = add_block(region, bytes);
    if (!block) {
      return NULL;
    }
  }
  void *memory = block->data + block->used;
  block->used += bytes;
  region->total += bytes;
  memset(memory, 0, bytes);
  return memory;
}

char *poei_region_text(poei_region *region, const char *text, size_t length) {
  char *copy = poei_region_take(region, length + 1, 1);
  if (copy) {
    memcpy(copy, text, length);
    copy[length] = '\0';
  }
  return copy;
}

void *poei_region_copy(poei_region *region, const void *source, size_t count, size_t size) {
  void *copy = poei_region_take(region, count, size);
  if (copy && count > 0) {
    memcpy(copy, source, count * size);
  }
  return copy;
}

char *poei_region_format(poei_region *region, const char *format, ...) {
  va_list list, again;
  va_start(list, format);
  va_copy(again, list);
  int length = vsnprintf(NULL, 0, format, list);
  va_end(list);
  char *text = length < 0 ? NULL : poei_region_take(region, (size_t)length + 1, 1);
  if (text) {
    vsnprintf(text, (size_t)length + 1, format, again);
  }
  va_end(again);
  return text;
}

void *poei_region_grow(poei_region *region, void *array, size_t n, size_t *capacity, size_t size) {
  if (n < *capacity) {
    return array;
  }
  size_t wanted = *capacity == 0 ? 4 : *capacity * 2;
  void *larger = poei_region_take(region, wanted, size);
  if (!larger) {
    return NULL;
  }
  if (n > 0) {
    memcpy(larger, array, n * size);
  }
  *capacity = wanted;
  return larger;
}
