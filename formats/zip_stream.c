/* The bytes of a zip entry. Inflating (RFC 1951, zlib) never writes more than the declared size, and all of it must
 * agree: the deflate stream ends where the packed bytes end, the size is the declared one, the CRC-32 is right. */
#include <limits.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/file_error.h"
#include "formats/zip_archive.h"

static void *zip_alloc(void *opaque, uInt count, uInt size) {
  (void)opaque;
  return poei_alloc(count, size);
}

static void zip_free(void *opaque, void *memory) {
  (void)opaque;
  poei_free(memory);
}

poe_status poei_zip_stream_open(const poei_zip *zip, const poei_zip_entry *entry, poei_zip_stream *stream,
                                poe_error *error) {
  *stream = (poei_zip_stream){.path = zip->path, .entry = entry, .in_left = entry->packed, .out_left = entry->size};
  stream->z.zalloc = zip_alloc;
  stream->z.zfree = zip_free;
  stream->z.next_in = (Bytef *)entry->data;
  if (inflateInit2(&stream->z, -MAX_WBITS) != Z_OK) {
    return poei_file_memory_error(error, zip->path);
  }
  return POE_OK;
}

static poe_status zip_stream_damaged(const poei_zip_stream *stream, const char *what, poe_error *error) {
  return poei_file_error(error, POE_E_FORMAT, stream->path, stream->entry->name, "the compressed data is damaged: %s",
                         what);
}

/* One step of inflate into out[n]. zlib counts in uInt, so both sides go in pieces. */
static int zip_stream_step(poei_zip_stream *stream, unsigned char *out, size_t n, size_t *wrote) {
  z_stream *z = &stream->z;
  uInt take = stream->in_left > UINT_MAX ? UINT_MAX : (uInt)stream->in_left;
  uInt give = n > UINT_MAX ? UINT_MAX : (uInt)n;
  z->avail_in = take;
  z->next_out = out;
  z->avail_out = give;
  int code = inflate(z, Z_NO_FLUSH);
  stream->in_left -= take - z->avail_in;
  *wrote = give - z->avail_out;
  return code;
}

poe_status poei_zip_stream_read(poei_zip_stream *stream, void *out, size_t n, poe_error *error) {
  unsigned char *at = out;
  while (n > 0) {
    size_t wrote, before = stream->in_left;
    int code = zip_stream_step(stream, at, n, &wrote);
    if (code == Z_MEM_ERROR) {
      return poei_file_memory_error(error, stream->path);
    }
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
      return zip_stream_damaged(stream, "it is not a deflate stream", error);
    }
    stream->crc = (uint32_t)crc32_z(stream->crc, at, wrote);
    at += wrote;
    n -= wrote;
    stream->out_left -= wrote;
    if (n > 0 && (code == Z_STREAM_END || (wrote == 0 && stream->in_left == before))) {
      return zip_stream_damaged(stream, "it ends before the declared size", error);
    }
  }
  return POE_OK;
}

poe_status poei_zip_stream_end(poei_zip_stream *stream, poe_error *error) {
  unsigned char beyond;
  size_t wrote, before;
  int code;
  do { /* the end mark may lie in the bytes not yet looked at */
    before = stream->in_left;
    code = zip_stream_step(stream, &beyond, 1, &wrote);
    if (wrote > 0) {
      return zip_stream_damaged(stream, "it goes on beyond the declared size", error);
    }
  } while (code == Z_OK && stream->in_left < before);
  if (code == Z_MEM_ERROR) {
    return poei_file_memory_error(error, stream->path);
  }
  if (code != Z_STREAM_END) {
    return zip_stream_damaged(stream, "it has no end", error);
  }
  if (stream->in_left > 0) {
    return zip_stream_damaged(stream, "bytes follow its end", error);
  }
  if (stream->crc != stream->entry->crc) {
    return poei_file_error(error, POE_E_FORMAT, stream->path, stream->entry->name, "the checksum (CRC-32) is wrong");
  }
  return POE_OK;
}

void poei_zip_stream_close(poei_zip_stream *stream) {
  inflateEnd(&stream->z);
}

poe_status poei_zip_stored_check(const poei_zip *zip, const poei_zip_entry *entry, poe_error *error) {
  if ((uint32_t)crc32_z(0, entry->data, entry->size) != entry->crc) {
    return poei_file_error(error, POE_E_FORMAT, zip->path, entry->name, "the checksum (CRC-32) is wrong");
  }
  return POE_OK;
}
