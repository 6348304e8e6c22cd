/* Reading constructor arguments: finding, shape and domain checks, broadcasting, errors at the argument's place. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "formats/tensor_file.h"
#include "poe/expert.h"

const poe_arg *poe_args_find(const poe_args *args, const char *name) {
  for (size_t i = 0; i < args->n_args; i++) {
    if (strcmp(args->args[i].name, name) == 0) {
      return &args->args[i];
    }
  }
  return NULL;
}

size_t poe_args_dim(const poe_args *args) {
  size_t dim = 0;
  for (size_t i = 0; i < args->n_subjects; i++) {
    dim += args->subjects[i].dim;
  }
  return dim;
}

poe_status poe_args_error(const poe_arg *arg, poe_error *error, poe_status status, const char *format, ...) {
  char message[POE_ERROR_MESSAGE_SIZE];
  va_list list;
  va_start(list, format);
  vsnprintf(message, sizeof message, format, list);
  va_end(list);
  poe_error_set(error, status, "%s", message);
  if (arg != NULL) {
    poe_error_at(error, NULL, arg->line, arg->column, arg->span);
  }
  return status;
}

/* The exact shape, or as many numbers where a vector (or one number) is wanted. */
static bool shape_fits(const poe_arg *arg, size_t ndim, const size_t *shape, size_t count, size_t given) {
  if (ndim <= 1) {
    return given == count;
  }
  return arg->ndim == ndim && memcmp(arg->shape, shape, ndim * sizeof *shape) == 0;
}

static bool shape_count(size_t ndim, const size_t *shape, size_t *count) {
  *count = 1;
  for (size_t i = 0; i < ndim; i++) {
    if (!poei_mul_size(*count, shape[i], count)) {
      return false;
    }
  }
  return true;
}

poe_status poe_args_real(const poe_args *args, const char *name, size_t ndim, const size_t *shape, double fallback,
                         bool allow_infinite, double *out, poe_error *error) {
  const poe_arg *arg = poe_args_find(args, name);
  size_t count = 0, given = 0;
  if (!shape_count(ndim, shape, &count)) {
    return poe_args_error(arg, error, POE_E_SHAPE, "`%s` of `%s` would be too large", name, args->kind);
  }
  if (arg == NULL) {
    if (isnan(fallback)) {
      return poe_error_set(error, POE_E_USAGE, "`%s` needs `%s`", args->kind, name);
    }
    for (size_t i = 0; i < count; i++) {
      out[i] = fallback;
    }
    return POE_OK;
  }
  if (arg->type != POE_ARG_REAL) {
    return poe_args_error(arg, error, POE_E_TYPE, "`%s` of `%s` must be numbers", name, args->kind);
  }
  if (!shape_count(arg->ndim, arg->shape, &given) || (arg->ndim > 0 && !shape_fits(arg, ndim, shape, count, given))) {
    char has[160], needs[160];
    return poe_args_error(arg, error, POE_E_SHAPE, "`%s` of `%s` has shape %s, but %s is needed", name, args->kind,
                          poei_shape_text(arg->ndim, arg->shape, has, sizeof has),
                          poei_shape_text(ndim, shape, needs, sizeof needs));
  }
  for (size_t i = 0; i < count; i++) {
    double value = arg->real[arg->ndim == 0 ? 0 : i];
    if (isnan(value) || (isinf(value) && !allow_infinite)) {
      return poe_args_error(arg, error, POE_E_DOMAIN, "`%s` of `%s` must be %s; number %zu is %g", name, args->kind,
                            allow_infinite ? "a number" : "finite", i, value);
    }
    out[i] = value;
  }
  return POE_OK;
}
