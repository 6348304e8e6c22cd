/* npz: a zip archive of npy arrays. An array's name is its entry's without ".npy". The npy header is read first and
 * must account for the entry's declared size before memory for the numbers is taken. */
#include <string.h>

#include "core/alloc.h"
#include "formats/tensor_reader.h"
#include "formats/zip_archive.h"

/* A zip with data.pkl is what torch.save writes. */
static bool npz_is_pickle(const poei_zip *zip) {
  static const char member[] = "data.pkl";
  for (size_t i = 0; i < zip->n; i++) {
    const char *slash = strrchr(zip->entries[i].name, '/');
    if (strcmp(slash == NULL ? zip->entries[i].name : slash + 1, member) == 0) {
      return true;
    }
  }
  return false;
}

/* Does the header account for the entry's size? */
static poe_status npz_size_check(const poei_zip *zip, const poei_zip_entry *entry, size_t start,
                                 const poei_npy_header *header, poe_error *error) {
  if (header->data_size == entry->size - start) {
    return POE_OK;
  }
  char shape[96];
  return poei_file_error(error, POE_E_FORMAT, zip->path, entry->name,
                         "%s of shape %s takes %zu bytes, the entry declares %zu",
                         poei_dtype_name(header->tensor.dtype),
                         poei_shape_text(header->tensor.ndim, header->tensor.shape, shape, sizeof shape),
                         header->data_size, entry->size - start);
}

/* Bytes of the array's header, from its first ones; checked against the entry's size. */
static poe_status npz_start(const poei_zip *zip, const poei_zip_entry *entry, const unsigned char *first, size_t *start,
                            poe_error *error) {
  poe_status status = poei_npy_header_size(zip->path, entry->name, first, start, error);
  if (status == POE_OK && (*start > entry->size || *start < POEI_NPY_START)) {
    status = poei_file_error(error, POE_E_FORMAT, zip->path, entry->name,
                             "the npy header of %zu bytes does not fit the entry's %zu", *start, entry->size);
  }
  return status;
}

static poe_status npz_stored(poei_tensor_file *file, const poei_zip *zip, const poei_zip_entry *entry, const char *name,
                             poe_error *error) {
  size_t start = 0;
  poei_npy_header header;
  poe_status status = poei_zip_stored_check(zip, entry, error);
  if (status == POE_OK) {
    status = npz_start(zip, entry, entry->data, &start, error);
  }
  if (status == POE_OK) {
    status = poei_npy_header_read(zip->path, entry->name, entry->data, start, &header, error);
  }
  if (status == POE_OK) {
    status = npz_size_check(zip, entry, start, &header, error);
  }
  return status == POE_OK ? poei_npy_add(file, name, &header, entry->data + start, NULL, error) : status;
}

/* Inflates the header, checks it, then inflates the numbers into a block of their size. */
static poe_status npz_inflate(poei_zip_stream *stream, const poei_zip *zip, const poei_zip_entry *entry,
                              poei_npy_header *header, void **block, poe_error *error) {
  unsigned char first[POEI_NPY_START];
  size_t start = 0;
  poe_status status = poei_zip_stream_read(stream, first, sizeof first, error);
  if (status == POE_OK) {
    status = npz_start(zip, entry, first, &start, error);
  }
  if (status != POE_OK) {
    return status;
  }
  unsigned char *text = poei_alloc(start, 1);
  if (text == NULL) {
    return poei_file_memory_error(error, zip->path);
  }
  memcpy(text, first, sizeof first);
  status = poei_zip_stream_read(stream, text + sizeof first, start - sizeof first, error);
  if (status == POE_OK) {
    status = poei_npy_header_read(zip->path, entry->name, text, start, header, error);
  }
  if (status == POE_OK) {
    status = npz_size_check(zip, entry, start, header, error);
  }
  poei_free(text);
  if (status != POE_OK) {
    return status;
  }
  *block = poei_alloc(header->data_size, 1);
  if (*block == NULL) {
    return poei_file_memory_error(error, zip->path);
  }
  status = poei_zip_stream_read(stream, *block, header->data_size, error);
  return status == POE_OK ? poei_zip_stream_end(stream, error) : status;
}

static poe_status npz_deflated(poei_tensor_file *file, const poei_zip *zip, const poei_zip_entry *entry,
                               const char *name, poe_error *error) {
  poei_zip_stream stream;
  poei_npy_header header;
  void *block = NULL;
  poe_status status = poei_zip_stream_open(zip, entry, &stream, error);
  if (status != POE_OK) {
    return status;
  }
  status = npz_inflate(&stream, zip, entry, &header, &block, error);
  poei_zip_stream_close(&stream);
  if (status != POE_OK) {
    poei_free(block);
    return status;
  }
  return poei_npy_add(file, name, &header, block, block, error);
}

static poe_status npz_entry(poei_tensor_file *file, const poei_zip *zip, const poei_zip_entry *entry,
                            poe_error *error) {
  if (entry->size < POEI_NPY_START) {
    return poei_file_error(error, POE_E_FORMAT, zip->path, entry->name, "is not an npy array (%zu bytes)", entry->size);
  }
  size_t length = strlen(entry->name);
  if (length >= 4 && strcmp(entry->name + length - 4, ".npy") == 0) {
    length -= 4;
  }
  char *name = poei_strndup(entry->name, length);
  if (name == NULL) {
    return poei_file_memory_error(error, zip->path);
  }
  poe_status status = entry->method == POEI_ZIP_STORED ? npz_stored(file, zip, entry, name, error)
                                                       : npz_deflated(file, zip, entry, name, error);
  poei_free(name);
  return status;
}

poe_status poei_npz_read(poei_tensor_file *file, poe_error *error) {
  poei_zip zip;
  file->format = "npz";
  poe_status status = poei_zip_open(file->path, file->bytes, file->size, &zip, error);
  if (status != POE_OK) {
    return status;
  }
  if (npz_is_pickle(&zip)) {
    status = poei_pickle_refuse(file->path, error);
  }
  for (size_t i = 0; i < zip.n && status == POE_OK; i++) {
    status = npz_entry(file, &zip, &zip.entries[i], error);
  }
  poei_zip_close(&zip);
  return status;
}
