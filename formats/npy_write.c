/* npy out: version 1.0, C order, little-endian, the data at a multiple of 64 bytes, as numpy writes it. */
#include <stdio.h>
#include <string.h>

#include "formats/atomic_file.h"
#include "formats/bytes.h"
#include "formats/npy_header.h"
#include "formats/tensor_reader.h"
#include "formats/tensor_write.h"

/* NULL for what numpy has no type for. */
static const char *npy_descr_of(poei_dtype dtype) {
  switch (dtype) {
  case POEI_F64:
    return "<f8";
  case POEI_F32:
    return "<f4";
  case POEI_F16:
    return "<f2";
  case POEI_BF16:
    return NULL;
  case POEI_I64:
    return "<i8";
  case POEI_I32:
    return "<i4";
  case POEI_I16:
    return "<i2";
  case POEI_I8:
    return "|i1";
  case POEI_U64:
    return "<u8";
  case POEI_U32:
    return "<u4";
  case POEI_U16:
    return "<u2";
  case POEI_U8:
    return "|u1";
  case POEI_BOOL:
    return "|b1";
  }
  return NULL;
}

poe_status poei_npy_header_write(const char *path, const char *entry, poei_dtype dtype, size_t ndim,
                                 const size_t *shape, unsigned char header[POEI_NPY_HEADER_ROOM], size_t *size,
                                 size_t *data_size, poe_error *error) {
  const char *descr = npy_descr_of(dtype);
  size_t count;
  if (descr == NULL) {
    return poei_file_error(error, POE_E_UNSUPPORTED, path, entry, "npy has no type for %s", poei_dtype_name(dtype));
  }
  if (ndim > POEI_MAX_DIMS || !poei_shape_count(ndim, shape, poei_dtype_size(dtype), &count, data_size)) {
    return poei_file_error(error, POE_E_USAGE, path, entry, "an array of %zu dimensions that is too large", ndim);
  }
  char *text = (char *)header + 10;
  size_t room = POEI_NPY_HEADER_ROOM - 10;
  size_t used = (size_t)snprintf(text, room, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
  for (size_t i = 0; i < ndim; i++) { /* at most 8 numbers of 20 digits: there is room */
    const char *after = i + 1 < ndim ? ", " : ndim == 1 ? "," : "";
    used += (size_t)snprintf(text + used, room - used, "%zu%s", shape[i], after);
  }
  used += (size_t)snprintf(text + used, room - used, "), }");
  size_t total = (10 + used + 1 + 63) / 64 * 64;
  memset(text + used, ' ', total - 10 - used);
  header[total - 1] = '\n';
  memcpy(header, "\x93NUMPY\1\0", 8);
  poei_store_u16(header + 8, (unsigned)(total - 10));
  *size = total;
  return POE_OK;
}

poe_status poei_npy_write(const char *path, poei_dtype dtype, size_t ndim, const size_t *shape, const void *data,
                          poe_error *error) {
  unsigned char header[POEI_NPY_HEADER_ROOM];
  size_t size, data_size;
  poe_status status = poei_npy_header_write(path, NULL, dtype, ndim, shape, header, &size, &data_size, error);
  poei_atomic_file *file;
  if (status == POE_OK) {
    status = poei_atomic_open(path, &file, error);
  }
  if (status != POE_OK) {
    return status;
  }
  FILE *out = poei_atomic_stream(file);
  fwrite(header, 1, size, out);
  if (data_size > 0) {
    fwrite(data, 1, data_size, out);
  }
  return poei_atomic_commit(file, error); /* which sees a failed write */
}
