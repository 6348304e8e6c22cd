/* Estimates kept between runs: one small JSON file per digest, written atomically. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "answer/digest.h"
#include "core/alloc.h"
#include "formats/text_file.h"

/* Directory of the cache on the heap, created when `create`; NULL when there is none. */
static char *cache_dir(bool create) {
  const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  char *base = NULL;
  if (xdg != NULL && xdg[0] == '/') {
    base = poei_strdup(xdg);
  } else if (home != NULL && home[0] == '/') {
    base = poei_format("%s/.cache", home);
  }
  if (base == NULL) {
    return NULL;
  }
  char *dir = poei_format("%s/poe", base);
  if (dir != NULL && create) {
    mkdir(base, 0700);
    mkdir(dir, 0700);
  }
  poei_free(base);
  return dir;
}

static char *cache_path(const char hex[65], bool create) {
  char *dir = cache_dir(create);
  char *path = dir == NULL ? NULL : poei_format("%s/%s.json", dir, hex);
  poei_free(dir);
  return path;
}

bool poei_cache_read(const char hex[65], double *log_z, double *std_error, double *memory) {
  char *path = cache_path(hex, false);
  char *text = NULL;
  size_t size = 0;
  bool found = false;
  if (path != NULL && poei_file_read(path, 4096, &text, &size, NULL) == POE_OK) {
    json_t *entry = poei_json_parse(text, size, NULL);
    json_t *z = json_object_get(entry, "log_z"), *se = json_object_get(entry, "std_error");
    json_t *left = json_object_get(entry, "memory");
    if (json_is_number(z) && json_is_number(se) && json_number_value(se) >= 0.0 && json_is_number(left) &&
        json_number_value(left) >= 0.0) {
      *log_z = json_number_value(z);
      *std_error = json_number_value(se);
      *memory = json_number_value(left);
      found = isfinite(*log_z) && isfinite(*std_error) && isfinite(*memory);
    }
    json_decref(entry);
  }
  poei_free(text);
  poei_free(path);
  return found;
}

void poei_cache_write(const char hex[65], double log_z, double std_error, double memory) {
  char *path = cache_path(hex, true);
  json_t *entry = json_pack("{s:o,s:o,s:o}", "log_z", poei_json_number(log_z), "std_error", poei_json_number(std_error),
                            "memory", poei_json_number(memory));
  if (path != NULL && entry != NULL) {
    (void)poei_json_write(path, entry, NULL);
  }
  json_decref(entry);
  poei_free(path);
}
