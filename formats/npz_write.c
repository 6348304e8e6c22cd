/* npz out: a zip archive (PKWARE APPNOTE 6.3) of npy arrays, deflated where that helps, written front to back without
 * seeking: checksum and sizes follow each entry's data and stand in the directory. Fields that do not fit 32 bits go to
 * zip64 records. Invariant: the bytes are a function of the arrays alone (no dates, no host). */
#include <limits.h>
#include <string.h>
#include <zlib.h>

#include "core/alloc.h"
#include "formats/atomic_file.h"
#include "formats/bytes.h"
#include "formats/file_error.h"
#include "formats/npy_header.h"
#include "formats/npz_zip64.h"
#include "formats/tensor_write.h"

enum { NPZ_LARGE = 1 << 20, NPZ_PROBE = 1 << 18 }; /* data of that size is probed with a piece of that */
enum { NPZ_BUFFER = 65536, NPZ_LEVEL = 4, NPZ_DATE = 0x21 /* 1 January 1980, the first that a zip can say */ };
enum { NPZ_FLAGS = 0x808 /* sizes follow the data; the name is UTF-8 */ };

typedef struct npz_entry {
  char *name; /* with .npy */
  uint32_t crc;
  uint64_t packed, size, local;
  bool zip64; /* the sizes after the data have 8 bytes */
} npz_entry;

struct poei_npz_writer {
  poei_atomic_file *file;
  FILE *out;
  uint64_t at; /* bytes written */
  z_stream z;
  size_t n, room;
  npz_entry *entries; /* [n] */
  uint64_t wide;      /* values from here on take zip64 fields: 2^32 - 1 but in tests */
  unsigned char buffer[NPZ_BUFFER];
};

static void *npz_alloc(void *opaque, uInt count, uInt size) {
  (void)opaque;
  return poei_alloc(count, size);
}

static void npz_free(void *opaque, void *memory) {
  (void)opaque;
  poei_free(memory);
}

static void npz_writer_free(poei_npz_writer *writer) {
  deflateEnd(&writer->z);
  for (size_t i = 0; i < writer->n; i++) {
    poei_free(writer->entries[i].name);
  }
  poei_free(writer->entries);
  poei_free(writer);
}

poe_status poei_npz_writer_open(const char *path, poei_npz_writer **writer, poe_error *error) {
  poei_npz_writer *opened = poei_calloc(1, sizeof *opened);
  if (opened == NULL) {
    return poei_file_memory_error(error, path);
  }
  opened->wide = 0xFFFFFFFF;
  opened->z.zalloc = npz_alloc;
  opened->z.zfree = npz_free;
  if (deflateInit2(&opened->z, NPZ_LEVEL, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    poei_free(opened);
    return poei_file_memory_error(error, path);
  }
  poe_status status = poei_atomic_open(path, &opened->file, error);
  if (status != POE_OK) {
    npz_writer_free(opened);
    return status;
  }
  opened->out = poei_atomic_stream(opened->file);
  *writer = opened;
  return POE_OK;
}

void poei_npz_writer_zip64_from(poei_npz_writer *writer, uint64_t limit) {
  writer->wide = limit;
}

static void npz_put(poei_npz_writer *writer, const void *data, size_t size) {
  fwrite(data, 1, size, writer->out); /* a failure stays in the stream: seen after each entry and by commit */
  writer->at += size;
}

/* Deflates data[size]; `last` ends the stream. */
static void npz_deflate(poei_npz_writer *writer, npz_entry *entry, const void *data, size_t size, bool last) {
  z_stream *z = &writer->z;
  const unsigned char *at = data;
  entry->crc = (uint32_t)crc32_z(entry->crc, at, size);
  do { /* zlib counts in uInt */
    uInt take = size > UINT_MAX ? UINT_MAX : (uInt)size;
    z->next_in = (Bytef *)at;
    z->avail_in = take;
    at += take;
    size -= take;
    do {
      z->next_out = writer->buffer;
      z->avail_out = NPZ_BUFFER;
      deflate(z, last && size == 0 ? Z_FINISH : Z_NO_FLUSH);
      size_t made = NPZ_BUFFER - z->avail_out;
      npz_put(writer, writer->buffer, made);
      entry->packed += made;
    } while (z->avail_out == 0);
  } while (size > 0);
}

/* Does a piece from the middle of large data shrink? Noise, as draws of real numbers are, costs much time and gives
 * nothing: it is put into the stream as it is. */
static bool npz_shrinks(poei_npz_writer *writer, const void *data, size_t size) {
  if (size < NPZ_LARGE) {
    return true;
  }
  z_stream *z = &writer->z;
  uint64_t made = 0;
  z->next_in = (Bytef *)(uintptr_t)data + size / 2;
  z->avail_in = NPZ_PROBE;
  do {
    z->next_out = writer->buffer;
    z->avail_out = NPZ_BUFFER;
    deflate(z, Z_FINISH);
    made += NPZ_BUFFER - z->avail_out;
  } while (z->avail_out == 0);
  deflateReset(z);
  return made < NPZ_PROBE - NPZ_PROBE / 10;
}

/* Local header, section 4.3.7. */
static void npz_put_local(poei_npz_writer *writer, const npz_entry *entry) {
  unsigned char header[30] = {0}, extra[20] = {0};
  size_t name = strlen(entry->name);
  poei_store_u32(header, 0x04034B50);
  poei_store_u16(header + 4, entry->zip64 ? 45 : 20);
  poei_store_u16(header + 6, NPZ_FLAGS);
  poei_store_u16(header + 8, Z_DEFLATED);
  poei_store_u16(header + 12, NPZ_DATE);
  poei_store_u16(header + 26, (unsigned)name);
  poei_store_u16(header + 28, entry->zip64 ? sizeof extra : 0);
  if (entry->zip64) { /* the extra field alone says that the sizes after the data are wide */
    poei_store_u32(header + 18, 0xFFFFFFFF);
    poei_store_u32(header + 22, 0xFFFFFFFF);
    poei_store_u16(extra, 1);
    poei_store_u16(extra + 2, 16);
  }
  npz_put(writer, header, sizeof header);
  npz_put(writer, entry->name, name);
  npz_put(writer, extra, entry->zip64 ? sizeof extra : 0);
}

/* Data descriptor, section 4.3.9. */
static void npz_put_sizes(poei_npz_writer *writer, const npz_entry *entry) {
  unsigned char record[24];
  poei_store_u32(record, 0x08074B50);
  poei_store_u32(record + 4, entry->crc);
  if (entry->zip64) {
    poei_store_u64(record + 8, entry->packed);
    poei_store_u64(record + 16, entry->size);
  } else {
    poei_store_u32(record + 8, (uint32_t)entry->packed);
    poei_store_u32(record + 12, (uint32_t)entry->size);
  }
  npz_put(writer, record, entry->zip64 ? 24 : 16);
}

/* Directory entry, section 4.3.12. */
static void npz_put_central(poei_npz_writer *writer, const npz_entry *entry) {
  unsigned char record[46] = {0}, extra[28];
  size_t name = strlen(entry->name), wide = 4;
  const struct {
    uint64_t value;
    size_t at;
  } fields[] = {{entry->size, 24}, {entry->packed, 20}, {entry->local, 42}}; /* in the extra field's order */
  for (size_t i = 0; i < 3; i++) {
    bool fits = fields[i].value < writer->wide;
    poei_store_u32(record + fields[i].at, fits ? (uint32_t)fields[i].value : 0xFFFFFFFF);
    if (!fits) {
      poei_store_u64(extra + wide, fields[i].value);
      wide += 8;
    }
  }
  poei_store_u16(extra, 1);
  poei_store_u16(extra + 2, (unsigned)(wide - 4));
  wide = wide == 4 ? 0 : wide;
  unsigned version = wide > 0 || entry->zip64 ? 45 : 20;
  poei_store_u32(record, 0x02014B50);
  poei_store_u16(record + 4, version);
  poei_store_u16(record + 6, version);
  poei_store_u16(record + 8, NPZ_FLAGS);
  poei_store_u16(record + 10, Z_DEFLATED);
  poei_store_u16(record + 14, NPZ_DATE);
  poei_store_u32(record + 16, entry->crc);
  poei_store_u16(record + 28, (unsigned)name);
  poei_store_u16(record + 30, (unsigned)wide);
  npz_put(writer, record, sizeof record);
  npz_put(writer, entry->name, name);
  npz_put(writer, extra, wide);
}

/* End records, sections 4.3.14 to 4.3.16. */
static void npz_put_end(poei_npz_writer *writer, uint64_t start, uint64_t length) {
  unsigned char wide[76] = {0}, end[22] = {0};
  uint64_t n = writer->n;
  bool zip64 = n >= 0xFFFF || n >= writer->wide || start >= writer->wide || length >= writer->wide;
  if (zip64) {
    poei_store_u32(wide, 0x06064B50);
    poei_store_u64(wide + 4, 44); /* bytes after this field */
    poei_store_u16(wide + 12, 45);
    poei_store_u16(wide + 14, 45);
    poei_store_u64(wide + 24, n);
    poei_store_u64(wide + 32, n);
    poei_store_u64(wide + 40, length);
    poei_store_u64(wide + 48, start);
    poei_store_u32(wide + 56, 0x07064B50);
    poei_store_u64(wide + 64, start + length);
    poei_store_u32(wide + 72, 1);
    npz_put(writer, wide, sizeof wide);
  }
  poei_store_u32(end, 0x06054B50);
  poei_store_u16(end + 8, zip64 ? 0xFFFF : (unsigned)n);
  poei_store_u16(end + 10, zip64 ? 0xFFFF : (unsigned)n);
  poei_store_u32(end + 12, zip64 ? 0xFFFFFFFF : (uint32_t)length);
  poei_store_u32(end + 16, zip64 ? 0xFFFFFFFF : (uint32_t)start);
  npz_put(writer, end, sizeof end);
}

/* A new entry for array `name`; it is not counted until it is complete. */
static poe_status npz_writer_entry(poei_npz_writer *writer, const char *name, npz_entry **entry, poe_error *error) {
  const char *path = poei_atomic_path(writer->file);
  size_t length = strlen(name);
  if (length > 65000 || !poei_utf8_valid(name, length)) {
    return poei_file_error(error, POE_E_USAGE, path, name, "the array's name is too long or not UTF-8");
  }
  for (size_t i = 0; i < writer->n; i++) {
    const char *other = writer->entries[i].name;
    if (strlen(other) == length + 4 && memcmp(other, name, length) == 0) {
      return poei_file_error(error, POE_E_USAGE, path, name, "the archive has an array of this name already");
    }
  }
  if (writer->n == writer->room) {
    size_t room = writer->room == 0 ? 8 : 2 * writer->room;
    npz_entry *entries = poei_realloc(writer->entries, room, sizeof *entries);
    if (entries == NULL) {
      return poei_file_memory_error(error, path);
    }
    writer->entries = entries;
    writer->room = room;
  }
  *entry = &writer->entries[writer->n];
  **entry = (npz_entry){.name = poei_format("%s.npy", name), .local = writer->at};
  return (*entry)->name == NULL ? poei_file_memory_error(error, path) : POE_OK;
}

poe_status poei_npz_writer_add(poei_npz_writer *writer, const char *name, poei_dtype dtype, size_t ndim,
                               const size_t *shape, const void *data, poe_error *error) {
  unsigned char header[POEI_NPY_HEADER_ROOM];
  size_t header_size, data_size;
  npz_entry *entry = NULL;
  const char *path = poei_atomic_path(writer->file);
  poe_status status = poei_npy_header_write(path, name, dtype, ndim, shape, header, &header_size, &data_size, error);
  if (status == POE_OK) {
    status = npz_writer_entry(writer, name, &entry, error);
  }
  if (status != POE_OK) {
    return status; /* nothing was written */
  }
  entry->size = (uint64_t)header_size + data_size;
  entry->zip64 = entry->size + entry->size / 1000 + 1024 >= writer->wide; /* deflate grows by less than that */
  npz_put_local(writer, entry);
  deflateParams(&writer->z, npz_shrinks(writer, data, data_size) ? NPZ_LEVEL : Z_NO_COMPRESSION, Z_DEFAULT_STRATEGY);
  npz_deflate(writer, entry, header, header_size, data_size == 0);
  if (data_size > 0) {
    npz_deflate(writer, entry, data, data_size, true);
  }
  deflateReset(&writer->z);
  npz_put_sizes(writer, entry);
  writer->n++;
  if (ferror(writer->out)) {
    return poei_file_error(error, POE_E_FILE, path, name, "cannot write (is the disk full?)");
  }
  return POE_OK;
}

poe_status poei_npz_writer_commit(poei_npz_writer *writer, poe_error *error) {
  uint64_t start = writer->at;
  for (size_t i = 0; i < writer->n; i++) {
    npz_put_central(writer, &writer->entries[i]);
  }
  npz_put_end(writer, start, writer->at - start);
  poe_status status = poei_atomic_commit(writer->file, error); /* fails when any write before did */
  npz_writer_free(writer);
  return status;
}

void poei_npz_writer_abort(poei_npz_writer *writer) {
  if (writer != NULL) {
    poei_atomic_abort(writer->file);
    npz_writer_free(writer);
  }
}
