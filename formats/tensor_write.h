/* Tensor files out: npz (zip with deflate), npy, safetensors. Written to a temporary file beside the target and renamed
 * on commit, so that an interrupted run leaves the old file or a complete new one. */
#ifndef POE_FORMATS_TENSOR_WRITE_H
#define POE_FORMATS_TENSOR_WRITE_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/tensor_file.h"

typedef struct poei_npz_writer poei_npz_writer;

poe_status poei_npz_writer_open(const char *path, poei_npz_writer **writer, poe_error *error);
/* Adds array `name` (C order, `dtype` little-endian numbers at `data`). */
poe_status poei_npz_writer_add(poei_npz_writer *writer, const char *name, poei_dtype dtype, size_t ndim,
                               const size_t *shape, const void *data, poe_error *error);
/* Commit closes, syncs and renames, and frees the writer whatever it returns; abort removes the temporary file. NULL is
 * allowed. */
poe_status poei_npz_writer_commit(poei_npz_writer *writer, poe_error *error);
void poei_npz_writer_abort(poei_npz_writer *writer);

poe_status poei_npy_write(const char *path, poei_dtype dtype, size_t ndim, const size_t *shape, const void *data,
                          poe_error *error);

/* tensors[n] with name, dtype, shape and data set; metadata as n_metadata pairs key, value. */
poe_status poei_safetensors_write(const char *path, size_t n, const poei_tensor *tensors, size_t n_metadata,
                                  const char *const (*metadata)[2], poe_error *error);

#endif
