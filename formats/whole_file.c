/* Reading a file in one piece. Memory follows the bytes that are really there: a regular file is read at its own size,
 * a pipe by doubling. */
#include "formats/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "formats/file_error.h"

enum { WHOLE_FIRST = 4096, WHOLE_PIPE_LIMIT = 1 << 30 };

/* Reads `fd` to its end into *data (room for *capacity bytes, one of them for the NUL). */
static poe_status whole_fill(int fd, const char *path, size_t limit, char **data, size_t capacity, size_t *size,
                             poe_error *error) {
  size_t used = 0;
  for (;;) {
    ssize_t got = read(fd, *data + used, capacity - 1 - used);
    if (got < 0) {
      if (errno == EINTR) {
        continue;
      }
      return poei_file_system_error(error, "read", path, errno);
    }
    used += (size_t)got;
    if (used > limit) {
      return poei_file_error(error, POE_E_FILE, path, NULL, "longer than the %zu bytes that are read", limit);
    }
    if (got == 0) {
      (*data)[used] = '\0';
      *size = used;
      return POE_OK;
    }
    if (used == capacity - 1) {
      char *more = poei_realloc(*data, capacity, 2);
      if (more == NULL) {
        return poei_file_memory_error(error, path);
      }
      *data = more;
      capacity *= 2;
    }
  }
}

poe_status poei_file_read(const char *path, size_t limit, char **data, size_t *size, poe_error *error) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return poei_file_system_error(error, "open", path, errno);
  }
  struct stat info;
  poe_status status = POE_OK;
  size_t capacity = WHOLE_FIRST;
  if (fstat(fd, &info) != 0) {
    status = poei_file_system_error(error, "read", path, errno);
  } else if (S_ISDIR(info.st_mode)) {
    status = poei_file_system_error(error, "read", path, EISDIR);
  } else if (S_ISREG(info.st_mode)) {
    if (info.st_size > 0 && (uintmax_t)info.st_size > limit) {
      status = poei_file_error(error, POE_E_FILE, path, NULL, "longer than the %zu bytes that are read", limit);
    } else if ((size_t)info.st_size + 2 > capacity) { /* one byte to see the end, one for the NUL */
      capacity = (size_t)info.st_size + 2;
    }
  } else if (limit > WHOLE_PIPE_LIMIT) {
    limit = WHOLE_PIPE_LIMIT;
  }
  char *bytes = NULL;
  if (status == POE_OK) {
    bytes = poei_alloc(capacity, 1);
    status = bytes == NULL ? poei_file_memory_error(error, path)
                           : whole_fill(fd, path, limit, &bytes, capacity, size, error);
  }
  close(fd);
  if (status != POE_OK) {
    poei_free(bytes);
    return status;
  }
  *data = bytes;
  return POE_OK;
}
