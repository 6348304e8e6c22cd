/* Checks and arrays shared by the families. */
#include "experts/family.h"

#include <string.h>

#include "core/alloc.h"
#include "experts/spd.h"

const poe_support *poei_family_support(const poe_args *args, size_t coordinate, const poe_subject **subject) {
  for (size_t i = 0; i < args->n_subjects; i++) {
    if (coordinate < args->subjects[i].dim) {
      if (subject != NULL) {
        *subject = &args->subjects[i];
      }
      return &args->subjects[i].support[coordinate];
    }
    coordinate -= args->subjects[i].dim;
  }
  return NULL;
}

poe_status poei_family_need(const poe_args *args, poe_coordinate_kind kind, poe_error *error) {
  size_t dim = poe_args_dim(args);
  if (dim == 0) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs a variable before the bar", args->kind);
  }
  for (size_t j = 0; j < dim; j++) {
    const poe_subject *subject = NULL;
    bool discrete = poei_family_support(args, j, &subject)->kind == POE_DISCRETE;
    if (discrete == (kind == POE_DISCRETE)) {
      continue;
    }
    if (kind == POE_CONTINUOUS) {
      poe_error_set(error, POE_E_TYPE, "`%s` is a density of real variables, but `%s` is discrete", args->kind,
                    subject->name);
      poe_error_hint(error, "bernoulli, categorical, poisson, uniform and table are for discrete variables");
    } else {
      poe_error_set(error, POE_E_TYPE, "`%s` needs discrete variables, but `%s` is real", args->kind, subject->name);
      poe_error_hint(error, "declare `%s` as binary or int(k)", subject->name);
    }
    return POE_E_TYPE;
  }
  return POE_OK;
}

poe_status poei_family_need_finite(const poe_args *args, poe_error *error) {
  poe_status status = poei_family_need(args, POE_DISCRETE, error);
  size_t dim = poe_args_dim(args);
  for (size_t j = 0; status == POE_OK && j < dim; j++) {
    const poe_subject *subject = NULL;
    const poe_support *support = poei_family_support(args, j, &subject);
    if (!isfinite(support->low) || !isfinite(support->high)) {
      status = poe_error_set(error, POE_E_TYPE, "`%s` needs finitely many values, but `%s` has no bound", args->kind,
                             subject->name);
      poe_error_hint(error, "declare `%s` as int(k)", subject->name);
    }
  }
  return status;
}

poe_status poei_family_one_of(const poe_args *args, size_t n, const char *const *names, size_t *which,
                              poe_error *error) {
  const poe_arg *found = NULL;
  char list[160] = "";
  for (size_t i = 0; i < n; i++) {
    size_t used = strlen(list), length = strlen(names[i]);
    if (used + length + 6 < sizeof list) {
      const char *join = i == 0 ? "" : i + 1 == n ? " or " : ", ";
      memcpy(list + used, join, strlen(join));
      memcpy(list + used + strlen(join), names[i], length + 1);
    }
    const poe_arg *arg = poe_args_find(args, names[i]);
    if (arg != NULL && found != NULL) {
      return poe_args_error(arg, error, POE_E_USAGE, "`%s` takes either `%s` or `%s`, not both", args->kind,
                            found->name, arg->name);
    }
    if (arg != NULL) {
      found = arg;
      *which = i;
    }
  }
  return found != NULL ? POE_OK : poe_error_set(error, POE_E_USAGE, "`%s` needs %s", args->kind, list);
}

poe_status poei_family_positive(const poe_args *args, const char *name, size_t n, const double *values,
                                poe_error *error) {
  for (size_t i = 0; i < n; i++) {
    if (!(values[i] > 0.0)) {
      return poe_args_error(poe_args_find(args, name), error, POE_E_DOMAIN,
                            "`%s` of `%s` must be positive; number %zu is %g", name, args->kind, i, values[i]);
    }
  }
  return POE_OK;
}

poe_status poei_family_matrix(const poe_args *args, const char *name, size_t rows, size_t columns, double *out,
                              poe_error *error) {
  const poe_arg *arg = poe_args_find(args, name);
  size_t shape[2] = {rows, columns};
  if (arg != NULL && arg->ndim == 0 && rows != columns) {
    return poe_args_error(arg, error, POE_E_SHAPE, "`%s` of `%s` must be a matrix [%zu, %zu], not one number", name,
                          args->kind, rows, columns);
  }
  /* A 1 x 1 matrix may come as any one number. */
  poe_status status = poe_args_real(args, name, rows * columns == 1 ? 1 : 2, shape, NAN, false, out, error);
  for (size_t i = 0; status == POE_OK && arg->ndim == 0 && i < rows; i++) {
    for (size_t j = 0; j < columns; j++) {
      out[i * columns + j] = i == j ? arg->real[0] : 0.0;
    }
  }
  return status;
}

poe_status poei_family_factor(const poe_args *args, const char *name, size_t d, double *matrix, double *factor,
                              poe_error *error) {
  const poe_arg *arg = poe_args_find(args, name);
  size_t i = 0, j = 0;
  if (!poei_spd_symmetrise(d, matrix, &i, &j)) {
    return poe_args_error(arg, error, POE_E_DOMAIN,
                          "`%s` of `%s` is not symmetric: entry [%zu, %zu] is %g and [%zu, %zu] is %g", name,
                          args->kind, i, j, matrix[i * d + j], j, i, matrix[j * d + i]);
  }
  char why[256];
  if (!poei_spd_factor(d, matrix, factor, why, sizeof why)) {
    return poe_args_error(arg, error, POE_E_DOMAIN,
                          "`%s` of `%s` is not positive definite: it is not positive along %s", name, args->kind, why);
  }
  return POE_OK;
}

poe_status poei_family_log_weights(const poe_args *args, const char *name, size_t n, double *weights,
                                   poe_error *error) {
  const poe_arg *arg = poe_args_find(args, name);
  double sum = 0.0;
  for (size_t i = 0; i < n; i++) {
    if (!(weights[i] >= 0.0) || isinf(weights[i])) {
      return poe_args_error(arg, error, POE_E_DOMAIN, "`%s` of `%s` must be at least 0; number %zu is %g", name,
                            args->kind, i, weights[i]);
    }
    sum += weights[i];
  }
  if (!(sum > 0.0) || isinf(sum)) {
    return poe_args_error(arg, error, POE_E_DOMAIN, "`%s` of `%s` must have a positive sum; it is %g", name, args->kind,
                          sum);
  }
  for (size_t i = 0; i < n; i++) {
    weights[i] = log(weights[i]) - log(sum);
  }
  return POE_OK;
}

poe_status poei_family_file_status(poe_status status, poe_error *error) {
  if (status != POE_E_SHAPE && status != POE_E_DOMAIN) {
    return status;
  }
  if (error != NULL) {
    error->status = POE_E_FORMAT;
  }
  return POE_E_FORMAT;
}

poe_status poei_family_memory(const char *kind, poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory for a `%s`", kind);
}

poe_support *poei_family_reals(size_t d) {
  poe_support *support = poei_alloc(d, sizeof *support);
  for (size_t j = 0; support != NULL && j < d; j++) {
    support[j] = (poe_support){POE_CONTINUOUS, -INFINITY, INFINITY, true, true};
  }
  return support;
}

unsigned char *poei_family_heads(size_t d) {
  unsigned char *head = poei_alloc(d, 1);
  if (head != NULL) {
    memset(head, 1, d);
  }
  return head;
}

poe_support *poei_family_declared(const poe_args *args) {
  size_t dim = poe_args_dim(args);
  poe_support *support = poei_alloc(dim, sizeof *support);
  for (size_t j = 0; support != NULL && j < dim; j++) {
    support[j] = *poei_family_support(args, j, NULL);
    support[j].kind = support[j].kind == POE_DISCRETE ? POE_DISCRETE : POE_CONTINUOUS;
  }
  return support;
}

bool poei_family_inside(const poe_support *support, size_t d, const double *x) {
  for (size_t j = 0; j < d; j++) {
    const poe_support *s = &support[j];
    bool above = s->low_open ? x[j] > s->low : x[j] >= s->low;
    bool below = s->high_open ? x[j] < s->high : x[j] <= s->high;
    bool whole = s->kind == POE_CONTINUOUS || x[j] == floor(x[j]);
    if ((!above || !below || !whole) && !isnan(x[j])) {
      return false;
    }
  }
  return true;
}

/* Eight partial sums: long enough for the compiler to keep them in vector registers, added in one fixed order. */
enum { LANES = 8 };

static double lanes_sum(const double *sum) {
  return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

double poei_scaled_square(size_t d, const double *x, const double *mean, const double *scale) {
  double sum[LANES] = {0};
  size_t whole = d - d % LANES;
  for (size_t j = 0; j < whole; j += LANES) {
    for (size_t l = 0; l < LANES; l++) {
      double z = (x[j + l] - mean[j + l]) * scale[j + l];
      sum[l] += z * z;
    }
  }
  for (size_t j = whole; j < d; j++) {
    double z = (x[j] - mean[j]) * scale[j];
    sum[j - whole] += z * z;
  }
  return lanes_sum(sum);
}

double poei_dot(size_t d, const double *x, const double *y) {
  double sum[LANES] = {0};
  size_t whole = d - d % LANES;
  for (size_t j = 0; j < whole; j += LANES) {
    for (size_t l = 0; l < LANES; l++) {
      sum[l] += x[j + l] * y[j + l];
    }
  }
  for (size_t j = whole; j < d; j++) {
    sum[j - whole] += x[j] * y[j];
  }
  return lanes_sum(sum);
}
