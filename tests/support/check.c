#include "tests/support/check.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void poet_check_close(double actual, double expected, double absolute, double relative, const char *what,
                      const char *file, int line) {
  if (actual == expected) {
    return;
  }
  double scale = fmax(fabs(actual), fabs(expected));
  if (isfinite(actual) && isfinite(expected) && fabs(actual - expected) <= absolute + relative * scale) {
    return;
  }
  print_error("%s:%d: %s is %.17g, expected %.17g (difference %.3g, allowed %.3g)\n", file, line, what, actual,
              expected, actual - expected, absolute + relative * scale);
  _fail(file, line);
}

void poet_check_same_bits(const double *a, const double *b, size_t n, const char *file, int line) {
  for (size_t i = 0; i < n; i++) {
    if (memcmp(&a[i], &b[i], sizeof *a) != 0) {
      print_error("%s:%d: number %zu differs: %.17g and %.17g\n", file, line, i, a[i], b[i]);
      _fail(file, line);
    }
  }
}

void poet_check_status(poe_status actual, poe_status expected, const poe_error *error, const char *what,
                       const char *file, int line) {
  if (actual != expected) {
    print_error("%s:%d: %s: %s (%s), expected %s\n", file, line, what, poe_status_name(actual), error->message,
                poe_status_name(expected));
    _fail(file, line);
  }
}

void poet_check_fails(poe_status actual, poe_status expected, const poe_error *error, const char *part,
                      const char *what, const char *file, int line) {
  poet_check_status(actual, expected, error, what, file, line);
  if (error->status != expected || strstr(error->message, part) == NULL) {
    print_error("%s:%d: %s: the message '%s' (%s) does not contain '%s'\n", file, line, what, error->message,
                poe_status_name(error->status), part);
    _fail(file, line);
  }
}

static char temp_dir[64];

static void temp_remove(void) {
  DIR *dir = opendir(temp_dir);
  if (dir == NULL) {
    return;
  }
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    char path[384];
    snprintf(path, sizeof path, "%s/%s", temp_dir, entry->d_name);
    unlink(path);
  }
  closedir(dir);
  rmdir(temp_dir);
}

const char *poet_temp_dir(void) {
  if (temp_dir[0] == '\0') {
    snprintf(temp_dir, sizeof temp_dir, "/tmp/poe-test-XXXXXX");
    if (mkdtemp(temp_dir) == NULL) {
      fail_msg("no temporary directory");
    }
    atexit(temp_remove);
  }
  return temp_dir;
}

const char *poet_temp_path(const char *name) {
  static char path[16][256];
  static unsigned next;
  char *slot = path[next++ % 16];
  snprintf(slot, sizeof path[0], "%s/%s", poet_temp_dir(), name);
  return slot;
}

const char *poet_temp_file(const char *name, const void *data, size_t size) {
  const char *path = poet_temp_path(name);
  FILE *file = fopen(path, "wb");
  if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0) {
    fail_msg("cannot write %s", path);
  }
  return path;
}
