/* gaussian(x | mean, sd | cov | precision): N(x; mean, S), normalised.
 *
 * log p = -(x - m)' S^-1 (x - m) / 2 - log |2 pi S| / 2. One component of experts/normals.h: diagonal when sd was given
 * or the matrix is diagonal, else through the Cholesky factor of the matrix that was given, so that nothing is
 * inverted.
 */
#include <string.h>

#include "core/alloc.h"
#include "core/linalg.h"
#include "experts/family.h"
#include "experts/list.h"
#include "experts/normals.h"
#include "experts/spd.h"

static const poe_param gaussian_params[] = {
    {"mean", POE_ARG_REAL, "d", "0", "the mean"},
    {"sd", POE_ARG_REAL, "d", NULL, "standard deviations of independent coordinates"},
    {"cov", POE_ARG_REAL, "d,d", NULL, "the covariance matrix; a scalar is a multiple of the identity"},
    {"precision", POE_ARG_REAL, "d,d", NULL, "the inverse covariance; a scalar is a multiple of the identity"},
    {0},
};

static const char *const gaussian_spread[] = {"sd", "cov", "precision"};
enum { SPREAD_SD, SPREAD_COV, SPREAD_PRECISION, SPREAD_COUNT };

static poe_status gaussian_from_sd(const poe_args *args, size_t d, poei_normals **out, poe_error *error) {
  poei_normals *normals = poei_normals_alloc(1, d, POEI_NORMALS_DIAGONAL, true);
  if (normals == NULL) {
    return poei_family_memory(args->kind, error);
  }
  poe_status status = poe_args_real(args, "sd", 1, &d, NAN, false, normals->factor, error);
  if (status == POE_OK) {
    status = poei_family_positive(args, "sd", d, normals->factor, error);
  }
  for (size_t j = 0; status == POE_OK && j < d; j++) {
    normals->factor[j] = 1.0 / normals->factor[j];
  }
  *out = normals;
  return status;
}

/* matrix[d,d] is the covariance or precision as given; overwritten. */
static poe_status gaussian_from_matrix(const poe_args *args, size_t which, size_t d, double *matrix, poei_normals **out,
                                       poe_error *error) {
  const char *name = gaussian_spread[which];
  poe_status status = poei_family_matrix(args, name, d, d, matrix, error);
  bool precision = which == SPREAD_PRECISION, diagonal = status == POE_OK && poei_spd_diagonal(d, matrix);
  poei_normals *normals = NULL;
  if (status == POE_OK) {
    normals = poei_normals_alloc(1, d,
                                 diagonal    ? POEI_NORMALS_DIAGONAL
                                 : precision ? POEI_NORMALS_PRECISION
                                             : POEI_NORMALS_COVARIANCE,
                                 true);
    status = normals != NULL ? POE_OK : poei_family_memory(args->kind, error);
  }
  if (status != POE_OK) {
    return status;
  }
  *out = normals;
  if (!diagonal) {
    status = poei_family_factor(args, name, d, matrix, normals->factor, error);
    if (status == POE_OK && precision) {
      memcpy(normals->precision, matrix, d * d * sizeof *matrix);
    }
    return status;
  }
  for (size_t j = 0; status == POE_OK && j < d; j++) {
    double value = matrix[j * d + j];
    if (!(value > 0.0)) {
      return poe_args_error(poe_args_find(args, name), error, POE_E_DOMAIN,
                            "`%s` of `%s` is not positive definite: it is not positive along x[%zu] (value %.3g)", name,
                            args->kind, j, value);
    }
    normals->factor[j] = precision ? sqrt(value) : 1.0 / sqrt(value);
  }
  return status;
}

static poe_status gaussian_create(const poe_args *args, void **self, poe_error *error) {
  size_t which = 0, d = poe_args_dim(args);
  poe_status status = poei_family_need(args, POE_CONTINUOUS, error);
  if (status == POE_OK) {
    status = poei_family_one_of(args, SPREAD_COUNT, gaussian_spread, &which, error);
  }
  if (status != POE_OK) {
    return status;
  }
  poei_normals *normals = NULL;
  if (which == SPREAD_SD) {
    status = gaussian_from_sd(args, d, &normals, error);
  } else {
    double *matrix = poei_alloc(d, d * sizeof *matrix);
    status = matrix != NULL ? gaussian_from_matrix(args, which, d, matrix, &normals, error)
                            : poei_family_memory(args->kind, error);
    poei_free(matrix);
  }
  if (status == POE_OK) {
    status = poe_args_real(args, "mean", 1, &d, 0.0, false, normals->mean, error);
  }
  if (status != POE_OK) {
    poei_normals_destroy(normals);
    return status;
  }
  poei_normals_finish(normals);
  *self = normals;
  return POE_OK;
}

const poe_expert_ops poei_gaussian_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "gaussian",
    .doc = "normal density N(x; mean, covariance)",
    .params = gaussian_params,
    .create = gaussian_create,
    .destroy = poei_normals_destroy,
    .traits = poei_normals_traits,
    .scratch = poei_normals_scratch,
    .eval_add = poei_normals_eval_add,
    .sample = poei_normals_sample,
    .log_z = poei_normals_log_z,
    .form = poei_normals_form,
};
