/* The central directory of a zip archive (PKWARE APPNOTE 6.3, sections 4.3.7 to 4.3.16 and 4.5.3).
 *
 * The end record is found from the file's end, the directory from there (through the zip64 records where a field is all
 * ones), and each entry's data through its local header. Sizes and offsets come from the directory alone.
 * Invariants of what is accepted: the declared entries fill the directory exactly, which lies before its end record;
 * every entry lies before the directory and apart from the others; size is at most what deflate can make of `packed`
 * bytes. */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/bytes.h"
#include "formats/file_error.h"
#include "formats/zip_archive.h"

enum { ZIP_END = 22, ZIP_LOCATOR = 20, ZIP_END64 = 56, ZIP_CENTRAL = 46, ZIP_LOCAL = 30, ZIP_DEFLATE_RATIO = 1032 };

/* Where the directory is. */
typedef struct zip_directory {
  const char *path;
  const unsigned char *bytes;
  size_t size;
  uint64_t n, at, length;
} zip_directory;

static poe_status zip_refuse(const zip_directory *directory, poe_error *error, const char *what) {
  return poei_file_error(error, POE_E_FORMAT, directory->path, NULL, "the zip archive %s", what);
}

/* The zip64 end record, named by a locator just before the end record at `end`. */
static poe_status zip_find64(zip_directory *directory, size_t end, size_t *limit, poe_error *error) {
  if (end < ZIP_LOCATOR || poei_load_u32(directory->bytes + end - ZIP_LOCATOR) != 0x07064B50) {
    return zip_refuse(directory, error, "says it is zip64 and lacks the zip64 records");
  }
  const unsigned char *locator = directory->bytes + end - ZIP_LOCATOR;
  uint64_t at = poei_load_u64(locator + 8);
  if (poei_load_u32(locator + 4) != 0 || poei_load_u32(locator + 16) > 1) {
    return zip_refuse(directory, error, "is split over several files");
  }
  if (end - ZIP_LOCATOR < ZIP_END64 || at > end - ZIP_LOCATOR - ZIP_END64 ||
      poei_load_u32(directory->bytes + at) != 0x06064B50) {
    return zip_refuse(directory, error, "has a zip64 end record that is not where it should be");
  }
  const unsigned char *record = directory->bytes + at;
  if (poei_load_u32(record + 16) != 0 || poei_load_u32(record + 20) != 0 ||
      poei_load_u64(record + 24) != poei_load_u64(record + 32)) {
    return zip_refuse(directory, error, "is split over several files");
  }
  directory->n = poei_load_u64(record + 32);
  directory->length = poei_load_u64(record + 40);
  directory->at = poei_load_u64(record + 48);
  *limit = (size_t)at;
  return POE_OK;
}

/* Fills n, at and length; checks that the directory lies before its end record. */
static poe_status zip_find(zip_directory *directory, poe_error *error) {
  const unsigned char *bytes = directory->bytes;
  size_t size = directory->size, end = 0;
  bool found = false;
  for (size_t back = ZIP_END; back <= size && back <= ZIP_END + 65535 && !found; back++) {
    end = size - back;
    found = poei_load_u32(bytes + end) == 0x06054B50 && poei_load_u16(bytes + end + 20) == back - ZIP_END;
  }
  if (!found) {
    return zip_refuse(directory, error, "has no end record: it is cut off or damaged");
  }
  const unsigned char *record = bytes + end;
  unsigned disk = poei_load_u16(record + 4), here = poei_load_u16(record + 8);
  size_t limit = end;
  directory->n = poei_load_u16(record + 10);
  directory->length = poei_load_u32(record + 12);
  directory->at = poei_load_u32(record + 16);
  if (directory->n == 0xFFFF || directory->length == 0xFFFFFFFF || directory->at == 0xFFFFFFFF) {
    poe_status status = zip_find64(directory, end, &limit, error);
    if (status != POE_OK) {
      return status;
    }
  } else if (disk != 0 || poei_load_u16(record + 6) != 0 || here != directory->n) {
    return zip_refuse(directory, error, "is split over several files");
  }
  if (directory->at > limit || directory->length > limit - directory->at) {
    return zip_refuse(directory, error, "has a directory that does not lie before its end record");
  }
  if (directory->n > directory->length / ZIP_CENTRAL) {
    return zip_refuse(directory, error, "declares more entries than its directory has room for");
  }
  return POE_OK;
}

/* Reads the zip64 extra field (id 1): 8-byte values for those of size, packed and local that are all ones. */
static bool zip_extra(const unsigned char *extra, size_t length, uint64_t *size, uint64_t *packed, uint64_t *local) {
  uint64_t *fields[3] = {size, packed, local};
  bool wanted = *size == 0xFFFFFFFF || *packed == 0xFFFFFFFF || *local == 0xFFFFFFFF;
  while (length >= 4) {
    size_t id = poei_load_u16(extra), part = poei_load_u16(extra + 2), at = 4;
    if (part > length - 4) {
      return false;
    }
    for (size_t i = 0; id == 1 && i < 3; i++) {
      if (*fields[i] == 0xFFFFFFFF) {
        if (at + 8 > part + 4) {
          return false;
        }
        *fields[i] = poei_load_u64(extra + at);
        at += 8;
      }
    }
    if (id == 1) {
      return true;
    }
    extra += 4 + part;
    length -= 4 + part;
  }
  return !wanted; /* a value of exactly 2^32 - 1 needs the field too */
}

static const char *zip_method_name(unsigned method) {
  static const struct {
    unsigned method;
    const char *name;
  } known[] = {{1, "shrunk"}, {6, "imploded"}, {9, "deflate64"}, {12, "bzip2"},
               {14, "lzma"},  {93, "zstd"},    {95, "xz"},       {99, "AES"}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (known[i].method == method) {
      return known[i].name;
    }
  }
  return "unknown";
}

/* Flags, method and sizes of an entry whose fields are set. */
static poe_status zip_entry_check(const zip_directory *directory, const poei_zip_entry *entry, unsigned flags,
                                  poe_error *error) {
  if ((flags & 0x2041) != 0 || entry->method == 99) {
    return poei_file_error(error, POE_E_UNSUPPORTED, directory->path, entry->name, "is encrypted");
  }
  if ((flags & 0x20) != 0) {
    return poei_file_error(error, POE_E_UNSUPPORTED, directory->path, entry->name, "is patch data");
  }
  if (entry->method != POEI_ZIP_STORED && entry->method != POEI_ZIP_DEFLATED) {
    return poei_file_error(error, POE_E_UNSUPPORTED, directory->path, entry->name,
                           "is compressed by method %u (%s); stored and deflate are read", entry->method,
                           zip_method_name(entry->method));
  }
  if (entry->method == POEI_ZIP_STORED && entry->packed != entry->size) {
    return poei_file_error(error, POE_E_FORMAT, directory->path, entry->name, "is stored, %zu bytes that stand for %zu",
                           entry->packed, entry->size);
  }
  if (entry->size / ZIP_DEFLATE_RATIO > entry->packed) {
    return poei_file_error(error, POE_E_FORMAT, directory->path, entry->name,
                           "%zu packed bytes cannot stand for the declared %zu", entry->packed, entry->size);
  }
  return POE_OK;
}

/* Finds the data of an entry through its local header, whose name must be the same. */
static poe_status zip_entry_locate(const zip_directory *directory, poei_zip_entry *entry, size_t name_length,
                                   poe_error *error) {
  size_t limit = (size_t)directory->at;
  const char *what = NULL;
  if (limit < ZIP_LOCAL || entry->local > limit - ZIP_LOCAL) {
    what = "lies outside of the archive";
  } else {
    const unsigned char *local = directory->bytes + entry->local;
    size_t name = poei_load_u16(local + 26), start = entry->local + ZIP_LOCAL + name + poei_load_u16(local + 28);
    if (poei_load_u32(local) != 0x04034B50) {
      what = "has no local header where the directory says";
    } else if (start > limit || entry->packed > limit - start) {
      what = "is cut off: its data reaches into the directory";
    } else if (name != name_length || memcmp(local + ZIP_LOCAL, entry->name, name) != 0) {
      what = "has another name in its local header";
    } else if (poei_load_u16(local + 8) != entry->method) {
      what = "has another method in its local header";
    } else {
      entry->data = directory->bytes + start;
    }
  }
  return what == NULL ? POE_OK : poei_file_error(error, POE_E_FORMAT, directory->path, entry->name, "%s", what);
}

/* The directory's record at *at; moves *at behind it. */
static poe_status zip_entry_read(const zip_directory *directory, size_t *at, poei_zip_entry *entry, poe_error *error) {
  size_t limit = (size_t)(directory->at + directory->length);
  const unsigned char *record = directory->bytes + *at;
  if (limit - *at < ZIP_CENTRAL || poei_load_u32(record) != 0x02014B50) {
    return zip_refuse(directory, error, "has a directory with fewer entries than declared");
  }
  size_t name = poei_load_u16(record + 28), extra = poei_load_u16(record + 30), note = poei_load_u16(record + 32);
  if (limit - *at - ZIP_CENTRAL < name + extra + note) {
    return zip_refuse(directory, error, "has a directory entry that is cut off");
  }
  const char *text = (const char *)record + ZIP_CENTRAL;
  if (name == 0 || memchr(text, '\0', name) != NULL || !poei_utf8_valid(text, name)) {
    return zip_refuse(directory, error, "has an entry whose name is empty or not UTF-8 text");
  }
  entry->name = poei_strndup(text, name);
  if (entry->name == NULL) {
    return poei_file_memory_error(error, directory->path);
  }
  uint64_t packed = poei_load_u32(record + 20), size = poei_load_u32(record + 24), local = poei_load_u32(record + 42);
  if (!zip_extra(record + ZIP_CENTRAL + name, extra, &size, &packed, &local)) {
    return poei_file_error(error, POE_E_FORMAT, directory->path, entry->name, "has a broken zip64 field");
  }
  if (size > SIZE_MAX / 2 || packed > SIZE_MAX / 2 || local > SIZE_MAX / 2) {
    return poei_file_error(error, POE_E_FORMAT, directory->path, entry->name, "declares a size that overflows");
  }
  entry->method = poei_load_u16(record + 10);
  entry->crc = poei_load_u32(record + 16);
  entry->packed = (size_t)packed;
  entry->size = (size_t)size;
  entry->local = (size_t)local;
  *at += ZIP_CENTRAL + name + extra + note;
  poe_status status = zip_entry_check(directory, entry, poei_load_u16(record + 8), error);
  return status == POE_OK ? zip_entry_locate(directory, entry, name, error) : status;
}

static int zip_by_offset(const void *a, const void *b) {
  const poei_zip_entry *const *left = a, *const *right = b;
  return (*left)->local < (*right)->local ? -1 : (*left)->local > (*right)->local;
}

/* Entries that share bytes would let a small file stand for an immense one. */
static poe_status zip_overlap(const poei_zip *zip, const unsigned char *bytes, poe_error *error) {
  const poei_zip_entry **order = poei_alloc(zip->n, sizeof *order);
  if (order == NULL) {
    return poei_file_memory_error(error, zip->path);
  }
  for (size_t i = 0; i < zip->n; i++) {
    order[i] = &zip->entries[i];
  }
  if (zip->n > 1) {
    qsort(order, zip->n, sizeof *order, zip_by_offset);
  }
  poe_status status = POE_OK;
  for (size_t i = 1; i < zip->n && status == POE_OK; i++) {
    const poei_zip_entry *before = order[i - 1], *entry = order[i];
    if ((size_t)(before->data - bytes) + before->packed > entry->local) {
      status = poei_file_error(error, POE_E_FORMAT, zip->path, entry->name, "overlaps another entry");
    }
  }
  poei_free(order);
  return status;
}

poe_status poei_zip_open(const char *path, const unsigned char *bytes, size_t size, poei_zip *zip, poe_error *error) {
  zip_directory directory = {.path = path, .bytes = bytes, .size = size};
  *zip = (poei_zip){.path = path};
  poe_status status = zip_find(&directory, error);
  if (status != POE_OK) {
    return status;
  }
  zip->entries = poei_calloc((size_t)directory.n, sizeof *zip->entries);
  if (zip->entries == NULL) {
    return poei_file_memory_error(error, path);
  }
  size_t at = (size_t)directory.at;
  while (status == POE_OK && zip->n < directory.n) {
    status = zip_entry_read(&directory, &at, &zip->entries[zip->n++], error);
  }
  if (status == POE_OK && at != directory.at + directory.length) {
    status = zip_refuse(&directory, error, "has a directory with more than the declared entries");
  }
  if (status == POE_OK) {
    status = zip_overlap(zip, bytes, error);
  }
  if (status != POE_OK) {
    poei_zip_close(zip);
  }
  return status;
}

void poei_zip_close(poei_zip *zip) {
  for (size_t i = 0; i < zip->n; i++) {
    poei_free(zip->entries[i].name);
  }
  poei_free(zip->entries);
  *zip = (poei_zip){0};
}
