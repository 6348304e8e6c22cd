/* SHA-256 (FIPS 180-4), to name the inputs of a run. */
#ifndef POE_FORMATS_DIGEST_H
#define POE_FORMATS_DIGEST_H

#include <stddef.h>

#include "poe/status.h"

/* SHA-256 of a file, or of `size` bytes, as 64 hexadecimal digits + NUL. */
poe_status poei_sha256_file(const char *path, char hex[65], poe_error *error);
void poei_sha256(const void *data, size_t size, char hex[65]);

#endif
