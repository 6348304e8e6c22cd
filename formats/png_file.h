/* Pictures out. */
#ifndef POE_FORMATS_PNG_FILE_H
#define POE_FORMATS_PNG_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "poe/status.h"

/* 8-bit PNG; channels 1 (grey) or 3 (rgb); pixels[height, width, channels]. */
poe_status poei_png_write(const char *path, size_t width, size_t height, size_t channels, const uint8_t *pixels,
                          poe_error *error);

#endif
