/* Atomic files: open a new file in the target's folder, write, fsync, rename, fsync the folder. POSIX promises that
 * rename replaces the name in one step, and the sync before it that the new name never points to missing bytes. */
#define _XOPEN_SOURCE 700 /* realpath */

#include "formats/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "formats/file_error.h"

struct poei_atomic_file {
  char *path;   /* as the caller wrote it, for messages       */
  char *target; /* the same with links resolved               */
  char *temp;   /* where it is written; NULL = the target itself (devices) */
  FILE *stream;
};

static void atomic_free(poei_atomic_file *file) {
  poei_free(file->path);
  poei_free(file->target);
  poei_free(file->temp);
  poei_free(file);
}

/* Opens a file that did not exist before beside the target. The umask applies; an old file's mode is kept. */
static int atomic_create(poei_atomic_file *file, const struct stat *old) {
  for (unsigned attempt = 0; attempt < 1000; attempt++) {
    poei_free(file->temp);
    file->temp = poei_format("%s.%ld-%u.part", file->target, (long)getpid(), attempt);
    if (file->temp == NULL) {
      errno = ENOMEM;
      return -1;
    }
    int fd = open(file->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) {
      if (old != NULL && fchmod(fd, old->st_mode & 0777) != 0) {
        errno = 0; /* a file system without modes: nothing to keep */
      }
      return fd;
    }
    if (errno != EEXIST) {
      break;
    }
  }
  int number = errno;
  poei_free(file->temp);
  file->temp = NULL;
  errno = number;
  return -1;
}

static poe_status atomic_start(poei_atomic_file *file, poe_error *error) {
  struct stat old;
  bool exists = stat(file->path, &old) == 0;
  if (exists && S_ISDIR(old.st_mode)) {
    return poei_file_system_error(error, "write", file->path, EISDIR);
  }
  char resolved[PATH_MAX];
  const char *target = exists && realpath(file->path, resolved) != NULL ? resolved : file->path;
  file->target = poei_strdup(target);
  if (file->target == NULL) {
    return poei_file_memory_error(error, file->path);
  }
  int fd = exists && !S_ISREG(old.st_mode) ? open(file->target, O_WRONLY | O_CLOEXEC)
                                           : atomic_create(file, exists ? &old : NULL);
  if (fd < 0) {
    return errno == ENOMEM ? poei_file_memory_error(error, file->path)
                           : poei_file_system_error(error, "write", file->path, errno);
  }
  file->stream = fdopen(fd, "wb");
  if (file->stream == NULL) {
    int number = errno;
    close(fd);
    if (file->temp != NULL) {
      unlink(file->temp);
    }
    return poei_file_system_error(error, "write", file->path, number);
  }
  return POE_OK;
}

poe_status poei_atomic_open(const char *path, poei_atomic_file **file, poe_error *error) {
  poei_atomic_file *opened = poei_calloc(1, sizeof *opened);
  if (opened == NULL || (opened->path = poei_strdup(path)) == NULL) {
    poei_free(opened);
    return poei_file_memory_error(error, path);
  }
  poe_status status = atomic_start(opened, error);
  if (status != POE_OK) {
    atomic_free(opened);
    return status;
  }
  *file = opened;
  return POE_OK;
}

FILE *poei_atomic_stream(poei_atomic_file *file) {
  return file->stream;
}

const char *poei_atomic_path(const poei_atomic_file *file) {
  return file->path;
}

/* Makes a rename durable. Best effort: the data is safe under one of the two names either way. */
static void atomic_sync_folder(const char *target) {
  char folder[PATH_MAX];
  const char *slash = strrchr(target, '/');
  size_t length = slash == NULL ? 0 : slash == target ? 1 : (size_t)(slash - target);
  if (length >= sizeof folder) {
    return;
  }
  memcpy(folder, length == 0 ? "." : target, length == 0 ? 1 : length);
  folder[length == 0 ? 1 : length] = '\0';
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    fsync(fd);
    close(fd);
  }
}

poe_status poei_atomic_commit(poei_atomic_file *file, poe_error *error) {
  int number = 0;
  errno = 0;
  if (fflush(file->stream) != 0 || ferror(file->stream)) {
    number = errno == 0 ? EIO : errno; /* an earlier write failed; its errno is gone */
  } else if (file->temp != NULL && fsync(fileno(file->stream)) != 0 && errno != EINVAL) {
    number = errno;
  }
  if (fclose(file->stream) != 0 && number == 0) {
    number = errno;
  }
  if (number == 0 && file->temp != NULL && rename(file->temp, file->target) != 0) {
    number = errno;
  }
  if (file->temp != NULL) {
    if (number == 0) {
      atomic_sync_folder(file->target);
    } else {
      unlink(file->temp);
    }
  }
  poe_status status = number == 0 ? POE_OK : poei_file_system_error(error, "write", file->path, number);
  atomic_free(file);
  return status;
}

void poei_atomic_abort(poei_atomic_file *file) {
  if (file == NULL) {
    return;
  }
  fclose(file->stream);
  if (file->temp != NULL) {
    unlink(file->temp);
  }
  atomic_free(file);
}
