/* Grids of grey images with captions, as PNG. */
#ifndef POE_REPORT_IMAGE_GRID_H
#define POE_REPORT_IMAGE_GRID_H

#include <stddef.h>

#include "poe/status.h"

/* A captioned block of images. */
typedef struct poei_image_band {
  const char *caption; /* ASCII; other bytes are left blank */
  size_t n;
  const double *images; /* [n, height, width] in [0, 1]; outside is clipped, NaN is black */
} poei_image_band;

/* Writes the bands below one another, `columns` images a row, small images magnified. */
poe_status poei_image_grid_write(const char *path, size_t height, size_t width, size_t columns, size_t n_bands,
                                 const poei_image_band *bands, poe_error *error);

/* Whether write would find these sizes acceptable (images are not looked at): POE_E_SHAPE where the picture would be
 * larger than 20000 pixels a side. */
poe_status poei_image_grid_check(size_t height, size_t width, size_t columns, size_t n_bands,
                                 const poei_image_band *bands, poe_error *error);

#endif
