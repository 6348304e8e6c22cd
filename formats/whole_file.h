/* Reading a file in one piece. */
#ifndef POE_FORMATS_WHOLE_FILE_H
#define POE_FORMATS_WHOLE_FILE_H

#include <stddef.h>

#include "poe/status.h"

/* Reads a whole file of at most `limit` bytes; *data is NUL-terminated beyond *size and freed with poei_free. Pipes are
 * read too, up to `limit` or 1 GiB. On failure (POE_E_FILE, _MEMORY) the outputs are untouched. */
poe_status poei_file_read(const char *path, size_t limit, char **data, size_t *size, poe_error *error);

#endif
