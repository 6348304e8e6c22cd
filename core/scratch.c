/* The scratch arena of poe/expert.h: one block of memory, a position, and the highest position ever reached.
 * Invariants: base and used are multiples of SCRATCH_ALIGNMENT; used <= size; bytes base[used..size) are poisoned under
 * AddressSanitizer, as is a redzone behind every piece taken, so that an overrun or a use after release is caught. */
#include "poe/expert.h"

#include "core/alloc.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SCRATCH_POISONS 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SCRATCH_POISONS 1
#endif

#ifdef SCRATCH_POISONS
#include <sanitizer/asan_interface.h>
enum { SCRATCH_REDZONE = 64 };
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
enum { SCRATCH_REDZONE = 0 };
#endif

enum { SCRATCH_ALIGNMENT = 64 };

struct poe_scratch {
  void *memory;        /* as allocated                                   */
  unsigned char *base; /* [size] the aligned part of it                  */
  size_t size, used, high;
};

/* What an overflowing need saturates to: so large that no arena can have it, so small that a sum of needs cannot wrap
 * around to something that an arena can have. */
#define SCRATCH_TOO_MUCH (SIZE_MAX >> 10)

size_t poe_scratch_need(size_t count, size_t size) {
  size_t bytes;
  if (!poei_mul_size(count, size, &bytes) || bytes > SCRATCH_TOO_MUCH) {
    return SCRATCH_TOO_MUCH;
  }
  size_t unit = SCRATCH_ALIGNMENT;
  return (bytes + unit - 1) / unit * unit + SCRATCH_REDZONE;
}

void *poe_scratch_bytes(poe_scratch *scratch, size_t bytes) {
  size_t need = poe_scratch_need(bytes, 1);
  if (need > scratch->size - scratch->used) {
    return NULL;
  }
  unsigned char *piece = scratch->base + scratch->used;
  scratch->used += need;
  if (scratch->used > scratch->high) {
    scratch->high = scratch->used;
  }
  ASAN_UNPOISON_MEMORY_REGION(piece, bytes);
  return piece;
}

double *poe_scratch_doubles(poe_scratch *scratch, size_t count) {
  size_t bytes;
  return poei_mul_size(count, sizeof(double), &bytes) ? poe_scratch_bytes(scratch, bytes) : NULL;
}

float *poe_scratch_floats(poe_scratch *scratch, size_t count) {
  size_t bytes;
  return poei_mul_size(count, sizeof(float), &bytes) ? poe_scratch_bytes(scratch, bytes) : NULL;
}

size_t poe_scratch_mark(const poe_scratch *scratch) {
  return scratch->used;
}

void poe_scratch_release(poe_scratch *scratch, size_t mark) {
  if (mark < scratch->used) {
    ASAN_POISON_MEMORY_REGION(scratch->base + mark, scratch->used - mark);
    scratch->used = mark;
  }
}

poe_scratch *poe_scratch_create(size_t bytes) {
  size_t size = poe_scratch_need(bytes, 1) - SCRATCH_REDZONE;
  poe_scratch *scratch = poei_alloc(1, sizeof *scratch);
  unsigned char *memory = poei_alloc(size + SCRATCH_ALIGNMENT, 1);
  if (scratch == NULL || memory == NULL) {
    poei_free(memory);
    poei_free(scratch);
    return NULL;
  }
  size_t past = (uintptr_t)memory % SCRATCH_ALIGNMENT;
  *scratch = (poe_scratch){.memory = memory,
                           .base = memory + (past == 0 ? 0 : SCRATCH_ALIGNMENT - past),
                           .size = size,
                           .used = 0,
                           .high = 0};
  ASAN_POISON_MEMORY_REGION(scratch->base, size);
  return scratch;
}

void poe_scratch_destroy(poe_scratch *scratch) {
  if (scratch != NULL) {
    ASAN_UNPOISON_MEMORY_REGION(scratch->base, scratch->size);
    poei_free(scratch->memory);
    poei_free(scratch);
  }
}

size_t poe_scratch_high_water(const poe_scratch *scratch) {
  return scratch->high;
}
