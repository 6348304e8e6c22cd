/* Zip archives in memory: the central directory, checked, and the entries' bytes. */
#ifndef POE_FORMATS_ZIP_ARCHIVE_H
#define POE_FORMATS_ZIP_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#include "poe/status.h"

enum { POEI_ZIP_STORED = 0, POEI_ZIP_DEFLATED = 8 };

typedef struct poei_zip_entry {
  char *name; /* valid UTF-8, not empty */
  unsigned method;
  uint32_t crc;
  size_t local, packed, size; /* offset of the local header; bytes in the file; bytes they stand for */
  const unsigned char *data;  /* [packed] */
} poei_zip_entry;

typedef struct poei_zip {
  const char *path;
  size_t n;
  poei_zip_entry *entries; /* [n], in the directory's order */
} poei_zip;

/* Reads the directory of bytes[size] and checks it: every entry stored or deflated, not encrypted, inside the file,
 * apart from the others, and no longer than its packed bytes can stand for. Entries point into `bytes`. */
poe_status poei_zip_open(const char *path, const unsigned char *bytes, size_t size, poei_zip *zip, poe_error *error);
void poei_zip_close(poei_zip *zip);

/* An entry's bytes from first to last. */
typedef struct poei_zip_stream {
  const char *path;
  const poei_zip_entry *entry;
  z_stream z;
  size_t in_left, out_left; /* packed bytes not yet given to z; bytes not yet delivered */
  uint32_t crc;
} poei_zip_stream;
poe_status poei_zip_stream_open(const poei_zip *zip, const poei_zip_entry *entry, poei_zip_stream *stream,
                                poe_error *error);
/* The next n bytes; n <= out_left. */
poe_status poei_zip_stream_read(poei_zip_stream *stream, void *out, size_t n, poe_error *error);
/* All bytes delivered: was that all there is, and is the checksum right? */
poe_status poei_zip_stream_end(poei_zip_stream *stream, poe_error *error);
void poei_zip_stream_close(poei_zip_stream *stream);
/* Does the checksum of a stored entry fit? */
poe_status poei_zip_stored_check(const poei_zip *zip, const poei_zip_entry *entry, poe_error *error);

#endif
