/* Files that appear under their name only when complete. */
#ifndef POE_FORMATS_ATOMIC_FILE_H
#define POE_FORMATS_ATOMIC_FILE_H

#include <stdio.h>

#include "poe/status.h"

/* A file that appears under its name only when complete: it is written beside the target and renamed. A target that is
 * a link keeps being one (what it points to is replaced); a device or a pipe is written directly. */
typedef struct poei_atomic_file poei_atomic_file;
poe_status poei_atomic_open(const char *path, poei_atomic_file **file, poe_error *error);
FILE *poei_atomic_stream(poei_atomic_file *file);
const char *poei_atomic_path(const poei_atomic_file *file);
/* Flushes, syncs, renames; frees `file` whatever it returns. On failure an old file of that name is as it was. */
poe_status poei_atomic_commit(poei_atomic_file *file, poe_error *error);
void poei_atomic_abort(poei_atomic_file *file); /* NULL is allowed */

#endif
