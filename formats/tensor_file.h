/* Tensor files in: safetensors, npz, npy. The file is untrusted: every size is checked before it is used, and what is
 * not understood is refused by name. Pickles (.pt, .pth) are recognised and refused with the export recipe. */
#ifndef POE_FORMATS_TENSOR_FILE_H
#define POE_FORMATS_TENSOR_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "poe/status.h"

#define POEI_DTYPE_LIST(X)                                                                                             \
  X(F64, 8)                                                                                                            \
  X(F32, 4)                                                                                                            \
  X(F16, 2) X(BF16, 2) X(I64, 8) X(I32, 4) X(I16, 2) X(I8, 1) X(U64, 8) X(U32, 4) X(U16, 2) X(U8, 1) X(BOOL, 1)

typedef enum poei_dtype {
#define POEI_DTYPE_ENUM(name, size) POEI_##name,
  POEI_DTYPE_LIST(POEI_DTYPE_ENUM)
#undef POEI_DTYPE_ENUM
} poei_dtype;

enum { POEI_MAX_DIMS = 8 };

/* One tensor of an open file. `data` is little-endian, row-major, not necessarily aligned, and belongs to the file. */
typedef struct poei_tensor {
  const char *name;
  poei_dtype dtype;
  size_t ndim, shape[POEI_MAX_DIMS];
  size_t count; /* product of shape */
  const unsigned char *data;
} poei_tensor;

typedef struct poei_tensor_file poei_tensor_file;

const char *poei_dtype_name(poei_dtype dtype); /* "F32" ... */
size_t poei_dtype_size(poei_dtype dtype);

/* Opens a file and reads all of it (format found from its first bytes). npy holds one tensor, named "". On failure
 * *file is untouched; errors name the file and what is wrong (POE_E_FILE, _FORMAT, _UNSUPPORTED, _MEMORY). */
poe_status poei_tensor_file_open(const char *path, poei_tensor_file **file, poe_error *error);
void poei_tensor_file_close(poei_tensor_file *file);
const char *poei_tensor_file_path(const poei_tensor_file *file);
const char *poei_tensor_file_format(const poei_tensor_file *file); /* "safetensors", "npz", "npy" */
size_t poei_tensor_file_count(const poei_tensor_file *file);
const poei_tensor *poei_tensor_file_at(const poei_tensor_file *file, size_t index);
/* The tensor of that name, NULL when there is none. */
const poei_tensor *poei_tensor_file_find(const poei_tensor_file *file, const char *name);
/* Like find, but a missing tensor is POE_E_FORMAT; the message lists what was wanted and the names and shapes that are
 * there. */
poe_status poei_tensor_file_require(const poei_tensor_file *file, const char *name, const poei_tensor **tensor,
                                    poe_error *error);
/* Metadata of a safetensors file: value of a key, NULL when absent. */
const char *poei_tensor_file_metadata(const poei_tensor_file *file, const char *key);
size_t poei_tensor_file_metadata_count(const poei_tensor_file *file);
void poei_tensor_file_metadata_at(const poei_tensor_file *file, size_t index, const char **key, const char **value);
/* Adds the keys of a description, a JSON object of poe.* keys in the file at `path`, to the metadata; one that is there
 * already is replaced. On failure the file may have some of them. POE_E_FILE, _FORMAT, _MEMORY. */
poe_status poei_tensor_file_describe(poei_tensor_file *file, const char *path, poe_error *error);

/* Converts all `count` numbers of a tensor. Integers and booleans become numbers; 64-bit integers are rounded. */
void poei_tensor_to_double(const poei_tensor *tensor, double *out);
void poei_tensor_to_float(const poei_tensor *tensor, float *out);
/* "[784, 512]" into text[size]; returns text. */
const char *poei_shape_text(size_t ndim, const size_t *shape, char *text, size_t size);

#endif
