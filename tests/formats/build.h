/* Tensor files built byte by byte, so that each of their rules can be broken. */
#ifndef POE_TESTS_FORMATS_BUILD_H
#define POE_TESTS_FORMATS_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes being put together. */
typedef struct build {
  size_t size;
  unsigned char at[1 << 16];
} build;

void build_put(build *out, const void *data, size_t size);
void build_number(build *out, uint64_t value, size_t width); /* little-endian */

/* Header length, header and `data` bytes 0, 1, 2, ... */
void build_safetensors(build *out, const char *header, size_t data);
/* Version, dict padded to 16 bytes, numbers. */
void build_npy(build *out, unsigned version, const char *dict, const void *data, size_t size);

/* One member of an archive. */
typedef struct build_member {
  const char *name;
  const unsigned char *data;
  size_t size;
  unsigned method;      /* 0 or 8 */
  size_t declared_less; /* the directory declares so many bytes less than there are */
  size_t tail;          /* bytes behind the data that the directory counts as packed */
} build_member;

/* Where things are in an archive of at most 8 members. */
typedef struct build_zip_places {
  size_t local[8], data[8], central[8], end;
} build_zip_places;

void build_zip(build *out, const build_member *members, size_t n, build_zip_places *places);

/* Writes it to the temporary directory; the path lives as poet_temp_path says. */
const char *build_file(const build *bytes, const char *name);

#endif
