/* What the readers of tensor files share: the open file they fill, npy headers, zip archives. */
#ifndef POE_FORMATS_TENSOR_READER_H
#define POE_FORMATS_TENSOR_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/file_error.h"
#include "formats/tensor_file.h"

/* An open file. A reader appends tensors and metadata; names are unique once it is indexed. */
struct poei_tensor_file {
  char *path;
  const char *format;
  unsigned char *bytes; /* [size], the file as it is */
  size_t size;
  size_t n, room;
  poei_tensor *tensors;        /* [n], in the file's order */
  void **blocks;               /* [n], memory of tensors whose data is not in bytes, else NULL */
  const poei_tensor **by_name; /* [n], sorted */
  size_t n_metadata;
  char **metadata; /* [n_metadata, 2]: key, value */
};

/* Appends a tensor whose name, dtype, shape and data are set; the name is copied. `block` (may be NULL) is what holds
 * the data when it is not the file's bytes; the file takes it, also on failure. */
poe_status poei_tensor_file_add(poei_tensor_file *file, const poei_tensor *tensor, void *block, poe_error *error);

/* *count = product of shape and *bytes = count * item; false when one of them overflows, or would if no dimension were
 * 0, so that callers may multiply dimensions without checks. */
bool poei_shape_count(size_t ndim, const size_t *shape, size_t item, size_t *count, size_t *bytes);

/* Like poei_tensor_file_open, of bytes[size] that are in memory already (from poei_alloc; taken whatever it returns);
 * `path` is for messages. */
poe_status poei_tensor_file_parse(const char *path, void *bytes, size_t size, poei_tensor_file **file,
                                  poe_error *error);

/* The three formats. file->path, bytes and size are set. */
poe_status poei_safetensors_read(poei_tensor_file *file, poe_error *error);
poe_status poei_npy_read(poei_tensor_file *file, poe_error *error);
poe_status poei_npz_read(poei_tensor_file *file, poe_error *error);
/* The refusal of a pickle, with the way out. */
poe_status poei_pickle_refuse(const char *path, poe_error *error);

/* The header of an npy array. */
typedef struct poei_npy_header {
  poei_tensor tensor; /* dtype, shape, count */
  size_t data_size;   /* bytes of data that follow */
  bool big_endian, fortran;
} poei_npy_header;
enum { POEI_NPY_START = 12, POEI_NPY_HEADER_LIMIT = 1 << 20 };
/* Total bytes of preamble and header text, from the array's first POEI_NPY_START bytes. `entry` names the array in
 * errors, NULL in a plain npy file. */
poe_status poei_npy_header_size(const char *path, const char *entry, const unsigned char *start, size_t *size,
                                poe_error *error);
/* Parses bytes[size], as long as poei_npy_header_size says. */
poe_status poei_npy_header_read(const char *path, const char *entry, const unsigned char *bytes, size_t size,
                                poei_npy_header *header, poe_error *error);
/* Appends the array to the file, in C order and little-endian whatever it was. The file takes `block` as above. */
poe_status poei_npy_add(poei_tensor_file *file, const char *name, const poei_npy_header *header,
                        const unsigned char *data, void *block, poe_error *error);

#endif
