/* The header of an npy array, out. */
#ifndef POE_FORMATS_NPY_HEADER_H
#define POE_FORMATS_NPY_HEADER_H

#include "formats/file_error.h"
#include "formats/tensor_file.h"

enum { POEI_NPY_HEADER_ROOM = 512 };

/* Checks dtype and shape, writes magic, version 1.0 and dict, padded to a multiple of 64 bytes, into header; *size and
 * *data_size are the bytes of the header and of the numbers that follow. */
poe_status poei_npy_header_write(const char *path, const char *entry, poei_dtype dtype, size_t ndim,
                                 const size_t *shape, unsigned char header[POEI_NPY_HEADER_ROOM], size_t *size,
                                 size_t *data_size, poe_error *error);

#endif
