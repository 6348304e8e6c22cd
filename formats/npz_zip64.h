/* The zip64 records of an npz at sizes that a test can write. */
#ifndef POE_FORMATS_NPZ_ZIP64_H
#define POE_FORMATS_NPZ_ZIP64_H

#include <stdint.h>

#include "formats/tensor_write.h"

/* Sizes, offsets and counts from `limit` on are written to 64-bit fields; without this call, from 2^32 - 1 on. */
void poei_npz_writer_zip64_from(poei_npz_writer *writer, uint64_t limit);

#endif
