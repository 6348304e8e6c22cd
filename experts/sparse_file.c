/* Reading a symmetric sparse matrix from an npz (see sparse_file.h). The file is untrusted: every index is checked
 * before it is used, and sizes are those of the arrays that are there, never declared ones. */
#include "experts/sparse_file.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "experts/family.h"
#include "formats/file_error.h"
#include "formats/tensor_file.h"

/* The three arrays as numbers. */
typedef struct compressed {
  size_t d, n;
  double *start, *index, *value; /* [d + 1], [n], [n] */
} compressed;

static void compressed_free(compressed *c) {
  poei_free(c->start);
  poei_free(c->index);
  poei_free(c->value);
}

/* The tensor of that name as numbers on the heap; it must have one dimension and, unless count is SIZE_MAX, that many.
 */
static poe_status read_vector(const poei_tensor_file *file, const char *name, size_t *count, double **out,
                              poe_error *error) {
  const poei_tensor *tensor;
  poe_status status = poei_tensor_file_require(file, name, &tensor, error);
  if (status != POE_OK) {
    return status;
  }
  const char *path = poei_tensor_file_path(file);
  if (tensor->ndim != 1 || (*count != SIZE_MAX && tensor->count != *count)) {
    char shape[96], wanted[32] = "[n]";
    if (*count != SIZE_MAX) {
      poei_shape_text(1, count, wanted, sizeof wanted);
    }
    return poei_file_error(error, POE_E_FORMAT, path, name, "has shape %s, but %s is needed",
                           poei_shape_text(tensor->ndim, tensor->shape, shape, sizeof shape), wanted);
  }
  *count = tensor->count;
  *out = poei_alloc(tensor->count, sizeof **out);
  if (*out == NULL) {
    return poei_file_memory_error(error, path);
  }
  poei_tensor_to_double(tensor, *out);
  return POE_OK;
}

/* The optional arrays: the shape [2], and the name of the format. */
static poe_status check_kind(const poe_arg *arg, const poei_tensor_file *file, size_t d, poe_error *error) {
  const poei_tensor *format = poei_tensor_file_find(file, "format"), *shape = poei_tensor_file_find(file, "shape");
  const char *path = poei_tensor_file_path(file);
  if (format != NULL && format->dtype == POEI_U8 &&
      (format->count != 3 || (memcmp(format->data, "csr", 3) != 0 && memcmp(format->data, "csc", 3) != 0))) {
    poei_shown shown;
    return poei_file_error(error, POE_E_UNSUPPORTED, path, "format",
                           "is '%s'; csr and csc are read (scipy.sparse.save_npz of a.tocsr())",
                           poei_show(&shown, (const char *)format->data, format->count));
  }
  double size[2];
  if (shape != NULL && shape->count == 2) {
    poei_tensor_to_double(shape, size);
    if (size[0] != (double)d || size[1] != (double)d) {
      return poe_args_error(arg, error, POE_E_SHAPE,
                            "'%s' holds a matrix of shape [%.0f, %.0f], but [%zu, %zu] is needed", arg->text, size[0],
                            size[1], d, d);
    }
  }
  return POE_OK;
}

static poe_status check_indices(const char *path, const compressed *c, poe_error *error) {
  for (size_t i = 0; i <= c->d; i++) {
    double least = i == 0 ? 0.0 : c->start[i - 1], most = i == 0 ? 0.0 : (double)c->n;
    if (!(c->start[i] >= least && c->start[i] <= most) || (i == c->d && c->start[i] != (double)c->n) ||
        c->start[i] != floor(c->start[i])) {
      return poei_file_error(error, POE_E_FORMAT, path, "indptr", "does not go from 0 up to %zu: number %zu is %g",
                             c->n, i, c->start[i]);
    }
  }
  for (size_t k = 0; k < c->n; k++) {
    if (!(c->index[k] >= 0.0 && c->index[k] < (double)c->d) || c->index[k] != floor(c->index[k])) {
      return poei_file_error(error, POE_E_FORMAT, path, "indices", "number %zu is %g, not a column of %zu", k,
                             c->index[k], c->d);
    }
    if (!isfinite(c->value[k])) {
      return poei_file_error(error, POE_E_FORMAT, path, "data", "number %zu is %g", k, c->value[k]);
    }
  }
  return POE_OK;
}

static poe_status read_compressed(const poe_arg *arg, compressed *c, poe_error *error) {
  poei_tensor_file *file = NULL;
  poe_status status = poei_tensor_file_open(arg->text, &file, error);
  if (status != POE_OK) {
    return status;
  }
  size_t rows = c->d + 1;
  c->n = SIZE_MAX;
  status = check_kind(arg, file, c->d, error);
  if (status == POE_OK) {
    status = read_vector(file, "indptr", &rows, &c->start, error);
  }
  if (status == POE_OK) {
    status = read_vector(file, "indices", &c->n, &c->index, error);
  }
  if (status == POE_OK) {
    status = read_vector(file, "data", &c->n, &c->value, error);
  }
  if (status == POE_OK) {
    status = check_indices(arg->text, c, error);
  }
  poei_tensor_file_close(file);
  return status;
}

/* The entries with both triangles folded onto the lower one, each off the diagonal times `lower` or `upper`. */
static void fold(const compressed *c, double lower, double upper, poei_triplet *entry) {
  for (size_t i = 0; i < c->d; i++) {
    for (size_t k = (size_t)c->start[i]; k < (size_t)c->start[i + 1]; k++) {
      size_t j = (size_t)c->index[k];
      double factor = i == j ? 1.0 : i > j ? lower : upper;
      entry[k] = (poei_triplet){i > j ? i : j, i > j ? j : i, factor * c->value[k]};
    }
  }
}

/* gap: the lower triangle minus the upper one (and the diagonal as it is). */
static poe_status check_symmetric(const poe_args *args, const poe_arg *arg, const poei_sparse_matrix *a,
                                  const poei_sparse_matrix *gap, poe_error *error) {
  for (size_t j = 0; j < gap->n; j++) {
    for (size_t k = gap->start[j] + 1; k < gap->start[j + 1]; k++) {
      size_t i = gap->row[k];
      double scale = sqrt(fabs(a->value[a->start[i]])) * sqrt(fabs(a->value[a->start[j]]));
      if (!(fabs(gap->value[k]) <= 1e-6 * scale)) {
        return poe_args_error(arg, error, POE_E_DOMAIN,
                              "`%s` of `%s` is not symmetric: entries [%zu, %zu] and [%zu, %zu] differ by %g",
                              arg->name, args->kind, i, j, j, i, gap->value[k]);
      }
    }
  }
  return POE_OK;
}

poe_status poei_sparse_file_read(const poe_args *args, const char *name, size_t d, poei_sparse_matrix *out,
                                 poe_error *error) {
  const poe_arg *arg = poe_args_find(args, name);
  compressed c = {.d = d};
  poei_triplet *entry = NULL;
  poei_sparse_matrix made = {0}, gap = {0};
  poe_status status = read_compressed(arg, &c, error);
  if (status == POE_OK) {
    entry = poei_alloc(c.n, sizeof *entry);
    status = entry != NULL ? POE_OK : poei_family_memory(args->kind, error);
  }
  if (status == POE_OK) {
    fold(&c, 0.5, 0.5, entry);
    status = poei_sparse_assemble(d, c.n, entry, &made, error);
  }
  if (status == POE_OK) {
    fold(&c, 1.0, -1.0, entry);
    status = poei_sparse_assemble(d, c.n, entry, &gap, error);
  }
  if (status == POE_OK) {
    status = check_symmetric(args, arg, &made, &gap, error);
  }
  compressed_free(&c);
  poei_free(entry);
  poei_sparse_matrix_release(&gap);
  if (status != POE_OK) {
    poei_sparse_matrix_release(&made);
    return status;
  }
  *out = made;
  return POE_OK;
}
