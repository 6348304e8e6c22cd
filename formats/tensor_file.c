/* Tensor files: which format it is, what is in it, and its numbers as double or float. The readers proper are
 * safetensors_read.c, npy_read.c and npz_read.c.
 * Invariants of an open file: names are unique and valid UTF-8; every tensor's data is count * item bytes long;
 * products of its dimensions cannot overflow. */
#include "formats/tensor_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/bytes.h"
#include "formats/tensor_reader.h"
#include "formats/whole_file.h"

const char *poei_dtype_name(poei_dtype dtype) {
  static const char *const names[] = {
#define TENSOR_DTYPE_NAME(name, size) #name,
      POEI_DTYPE_LIST(TENSOR_DTYPE_NAME)
#undef TENSOR_DTYPE_NAME
  };
  return (size_t)dtype < sizeof names / sizeof names[0] ? names[dtype] : "?";
}

size_t poei_dtype_size(poei_dtype dtype) {
  static const unsigned char sizes[] = {
#define TENSOR_DTYPE_SIZE(name, size) size,
      POEI_DTYPE_LIST(TENSOR_DTYPE_SIZE)
#undef TENSOR_DTYPE_SIZE
  };
  return (size_t)dtype < sizeof sizes ? sizes[dtype] : 0;
}

bool poei_shape_count(size_t ndim, const size_t *shape, size_t item, size_t *count, size_t *bytes) {
  size_t product = 1, total;
  bool empty = false;
  for (size_t i = 0; i < ndim; i++) {
    empty |= shape[i] == 0;
    if (!poei_mul_size(product, shape[i] == 0 ? 1 : shape[i], &product)) {
      return false;
    }
  }
  if (!poei_mul_size(product, item, &total) || total > SIZE_MAX / 2) {
    return false;
  }
  *count = empty ? 0 : product;
  *bytes = empty ? 0 : total;
  return true;
}

poe_status poei_tensor_file_add(poei_tensor_file *file, const poei_tensor *tensor, void *block, poe_error *error) {
  char *name = poei_strdup(tensor->name);
  if (name != NULL && file->n == file->room) {
    size_t room = file->room == 0 ? 8 : 2 * file->room;
    poei_tensor *tensors = poei_realloc(file->tensors, room, sizeof *tensors);
    file->tensors = tensors == NULL ? file->tensors : tensors;
    void **blocks = tensors == NULL ? NULL : poei_realloc(file->blocks, room, sizeof *blocks);
    file->blocks = blocks == NULL ? file->blocks : blocks;
    file->room = blocks == NULL ? file->room : room;
  }
  if (name == NULL || file->n == file->room) {
    poei_free(name);
    poei_free(block);
    return poei_file_memory_error(error, file->path);
  }
  file->tensors[file->n] = *tensor;
  file->tensors[file->n].name = name;
  file->blocks[file->n] = block;
  file->n++;
  return POE_OK;
}

static int tensor_by_name(const void *a, const void *b) {
  const poei_tensor *const *left = a, *const *right = b;
  return strcmp((*left)->name, (*right)->name);
}

/* Sorts the names and refuses doubles. */
static poe_status tensor_file_index(poei_tensor_file *file, poe_error *error) {
  file->by_name = poei_alloc(file->n, sizeof *file->by_name);
  if (file->by_name == NULL) {
    return poei_file_memory_error(error, file->path);
  }
  for (size_t i = 0; i < file->n; i++) {
    file->by_name[i] = &file->tensors[i];
  }
  if (file->n > 1) {
    qsort(file->by_name, file->n, sizeof *file->by_name, tensor_by_name);
  }
  for (size_t i = 1; i < file->n; i++) {
    if (strcmp(file->by_name[i - 1]->name, file->by_name[i]->name) == 0) {
      return poei_file_error(error, POE_E_FORMAT, file->path, file->by_name[i]->name, "the file holds this name twice");
    }
  }
  return POE_OK;
}

poe_status poei_pickle_refuse(const char *path, poe_error *error) {
  poei_file_error(error, POE_E_UNSUPPORTED, path, NULL,
                  "is a Python pickle (.pt, .pth), which runs code when it is opened; poe does not read it");
  poe_error_hint(error, "export the weights in Python:\n"
                        "  from torch import load; from safetensors.torch import save_file\n"
                        "  m = load(\"m.pt\", map_location=\"cpu\")  # a model: m = m.state_dict()\n"
                        "  save_file({k: v.contiguous() for k, v in m.items()}, \"m.safetensors\")");
  return POE_E_UNSUPPORTED;
}

static bool tensor_file_starts(const poei_tensor_file *file, const char *magic, size_t size) {
  return file->size >= size && memcmp(file->bytes, magic, size) == 0;
}

static bool tensor_file_is_named(const poei_tensor_file *file, const char *ending) {
  size_t length = strlen(file->path), tail = strlen(ending);
  return length >= tail && strcmp(file->path + length - tail, ending) == 0;
}

/* Files that users may take for tensor files, by their first bytes. */
static poe_status tensor_file_refuse(const poei_tensor_file *file, poe_error *error) {
  static const struct {
    const char *magic;
    size_t size;
    const char *name;
  } known[] = {{"\x89HDF\r\n\x1a\n", 8, "HDF5 (also .h5, .nc of netCDF-4)"},
               {"CDF", 3, "netCDF"},
               {"GGUF", 4, "GGUF"},
               {"\x1f\x8b", 2, "gzip"},
               {"MATLAB", 6, "MATLAB"}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (tensor_file_starts(file, known[i].magic, known[i].size)) {
      return poei_file_error(error, POE_E_UNSUPPORTED, file->path, NULL,
                             "is a %s file; tensors are read from safetensors, npz and npy", known[i].name);
    }
  }
  if (file->size == 0) {
    return poei_file_error(error, POE_E_FORMAT, file->path, NULL, "is empty");
  }
  return poei_file_error(error, POE_E_FORMAT, file->path, NULL,
                         "is not a tensor file (its first bytes are not those of safetensors, npz or npy)");
}

/* safetensors has no magic of its own: a length, then '{'. It is asked for before pickles and zips, whose magic can be
 * a length too (the bytes 80 02 are a header of 640). */
static poe_status tensor_file_dispatch(poei_tensor_file *file, poe_error *error) {
  if (file->size > 8 && file->bytes[8] == '{' && poei_load_u32(file->bytes + 4) == 0) {
    return poei_safetensors_read(file, error);
  }
  if (tensor_file_starts(file, "\x93NUMPY", 6)) {
    return poei_npy_read(file, error);
  }
  if (tensor_file_starts(file, "PK\3\4", 4) || tensor_file_starts(file, "PK\5\6", 4)) {
    return poei_npz_read(file, error);
  }
  if (tensor_file_is_named(file, ".safetensors") || (file->size > 8 && file->bytes[8] == '{')) {
    return poei_safetensors_read(file, error);
  }
  if (file->size >= 2 && file->bytes[0] == 0x80 && file->bytes[1] >= 2 && file->bytes[1] <= 5) {
    return poei_pickle_refuse(file->path, error);
  }
  return tensor_file_refuse(file, error);
}

poe_status poei_tensor_file_parse(const char *path, void *bytes, size_t size, poei_tensor_file **file,
                                  poe_error *error) {
  poei_tensor_file *opened = poei_calloc(1, sizeof *opened);
  if (opened == NULL || (opened->path = poei_strdup(path)) == NULL) {
    poei_free(opened);
    poei_free(bytes);
    return poei_file_memory_error(error, path);
  }
  opened->bytes = bytes;
  opened->size = size;
  poe_status status = tensor_file_dispatch(opened, error);
  if (status == POE_OK) {
    status = tensor_file_index(opened, error);
  }
  if (status != POE_OK) {
    poei_tensor_file_close(opened);
    return status;
  }
  *file = opened;
  return POE_OK;
}

poe_status poei_tensor_file_open(const char *path, poei_tensor_file **file, poe_error *error) {
  char *bytes;
  size_t size;
  poe_status status = poei_file_read(path, SIZE_MAX / 4, &bytes, &size, error);
  return status == POE_OK ? poei_tensor_file_parse(path, bytes, size, file, error) : status;
}

void poei_tensor_file_close(poei_tensor_file *file) {
  if (file == NULL) {
    return;
  }
  for (size_t i = 0; i < file->n; i++) {
    poei_free((void *)file->tensors[i].name);
    poei_free(file->blocks[i]);
  }
  for (size_t i = 0; i < 2 * file->n_metadata; i++) {
    poei_free(file->metadata[i]);
  }
  poei_free(file->metadata);
  poei_free(file->tensors);
  poei_free(file->blocks);
  poei_free(file->by_name);
  poei_free(file->bytes);
  poei_free(file->path);
  poei_free(file);
}

const char *poei_tensor_file_path(const poei_tensor_file *file) {
  return file->path;
}

const char *poei_tensor_file_format(const poei_tensor_file *file) {
  return file->format;
}

size_t poei_tensor_file_count(const poei_tensor_file *file) {
  return file->n;
}

const poei_tensor *poei_tensor_file_at(const poei_tensor_file *file, size_t index) {
  return &file->tensors[index];
}

/* The tensor whose name is name[length]. */
static const poei_tensor *tensor_file_lookup(const poei_tensor_file *file, const char *name, size_t length) {
  size_t low = 0, high = file->n;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    const char *other = file->by_name[middle]->name;
    int order = strncmp(other, name, length);
    if (order == 0 && other[length] == '\0') {
      return file->by_name[middle];
    }
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return NULL;
}

const poei_tensor *poei_tensor_file_find(const poei_tensor_file *file, const char *name) {
  size_t length = strlen(name);
  const poei_tensor *tensor = tensor_file_lookup(file, name, length);
  if (tensor == NULL && length >= 4 && strcmp(name + length - 4, ".npy") == 0 && strcmp(file->format, "npz") == 0) {
    tensor = tensor_file_lookup(file, name, length - 4); /* an array may also be asked for as the archive's member */
  }
  return tensor;
}

poe_status poei_tensor_file_require(const poei_tensor_file *file, const char *name, const poei_tensor **tensor,
                                    poe_error *error) {
  const poei_tensor *found = poei_tensor_file_find(file, name);
  if (found != NULL) {
    *tensor = found;
    return POE_OK;
  }
  char list[480] = "";
  size_t used = 0, i = 0;
  for (; i < file->n; i++) {
    poei_shown shown;
    char shape[96], item[224];
    const poei_tensor *at = &file->tensors[i];
    poei_show(&shown, at->name, strlen(at->name));
    size_t length = strlen(shown.text) + strlen(poei_shape_text(at->ndim, at->shape, shape, sizeof shape)) + 5;
    if (used + length + 24 > sizeof list || length >= sizeof item) { /* 24: room for "and N more" */
      break;
    }
    snprintf(item, sizeof item, "%s'%s' %s", i == 0 ? "" : ", ", shown.text, shape);
    memcpy(list + used, item, strlen(item) + 1);
    used += strlen(item);
  }
  if (i < file->n) {
    snprintf(list + used, sizeof list - used, " and %zu more", file->n - i);
  }
  return poei_file_error(error, POE_E_FORMAT, file->path, name, "there is no tensor of this name; the file holds %s",
                         file->n == 0 ? "none" : list);
}

const char *poei_tensor_file_metadata(const poei_tensor_file *file, const char *key) {
  for (size_t i = 0; i < file->n_metadata; i++) {
    if (strcmp(file->metadata[2 * i], key) == 0) {
      return file->metadata[2 * i + 1];
    }
  }
  return NULL;
}

size_t poei_tensor_file_metadata_count(const poei_tensor_file *file) {
  return file->n_metadata;
}

void poei_tensor_file_metadata_at(const poei_tensor_file *file, size_t index, const char **key, const char **value) {
  *key = file->metadata[2 * index];
  *value = file->metadata[2 * index + 1];
}

const char *poei_shape_text(size_t ndim, const size_t *shape, char *text, size_t size) {
  size_t used = 0;
  for (size_t i = 0; i <= ndim && used < size; i++) {
    int wrote = i == ndim ? snprintf(text + used, size - used, ndim == 0 ? "[]" : "]")
                          : snprintf(text + used, size - used, "%s%zu", i == 0 ? "[" : ", ", shape[i]);
    used += wrote < 0 ? size : (size_t)wrote;
  }
  return text;
}
