/* gmm(x | weights, means, covs | sds) or gmm(x | file=...): sum_c w_c N(x; m_c, S_c), normalised.
 *
 * Weights are scaled to sum to 1 (equal when not given); components of weight 0 are dropped. The file (safetensors or
 * npz) holds the tensors `means` [k,d], `covs` [k,d,d] or `sds` [k,d], and `weights` [k]: the same as the arguments, so
 * both are read into one description and built by one function.
 */
#include <string.h>

#include "core/alloc.h"
#include "experts/family.h"
#include "experts/list.h"
#include "experts/normals.h"
#include "experts/spd.h"
#include "formats/tensor_file.h"

static const poe_param gmm_params[] = {
    {"weights", POE_ARG_REAL, "k", NULL, "weights of the components, scaled to sum to 1 (default: equal)"},
    {"means", POE_ARG_REAL, "k,d", NULL, "means of the components"},
    {"covs", POE_ARG_REAL, "k,d,d", NULL, "covariance matrices"},
    {"sds", POE_ARG_REAL, "k,d", NULL, "standard deviations; [k] or a scalar when shared by the coordinates"},
    {"file", POE_ARG_FILE, "", NULL, "safetensors or npz with weights, means and covs or sds"},
    {0},
};

/* The arguments of a mixture wherever they came from. */
typedef struct gmm_source {
  poe_args args;   /* kind and subjects of the user's, arguments below        */
  poe_arg arg[3];  /* weights, means, covs or sds                             */
  double *numbers; /* of a file, NULL otherwise                               */
} gmm_source;

/* ---- reading a file into arguments ---- */

static poe_status gmm_read_tensors(const poe_args *args, const poei_tensor_file *file, gmm_source *source,
                                   poe_error *error) {
  const char *spread = poei_tensor_file_find(file, "covs") != NULL ? "covs" : "sds";
  const char *names[] = {"means", spread, "weights"};
  const poei_tensor *tensors[3] = {NULL};
  size_t total = 0, n = 0;
  for (size_t i = 0; i < 3; i++) {
    if (i == 2 && poei_tensor_file_find(file, names[i]) == NULL) {
      continue; /* equal weights */
    }
    poe_status status = poei_tensor_file_require(file, names[i], &tensors[i], error);
    if (status != POE_OK) {
      return status;
    }
    if (!poei_add_size(total, tensors[i]->count, &total)) {
      return poei_family_memory(args->kind, error);
    }
    n++;
  }
  source->numbers = poei_alloc(total, sizeof(double));
  if (source->numbers == NULL) {
    return poei_family_memory(args->kind, error);
  }
  const poe_arg *place = poe_args_find(args, "file");
  double *next = source->numbers;
  for (size_t i = 0; i < n; i++) {
    poe_arg *arg = &source->arg[i];
    *arg = (poe_arg){.name = names[i], .type = POE_ARG_REAL, .ndim = tensors[i]->ndim, .real = next};
    arg->line = place->line;
    arg->column = place->column;
    arg->span = place->span;
    memcpy(arg->shape, tensors[i]->shape, tensors[i]->ndim * sizeof arg->shape[0]);
    poei_tensor_to_double(tensors[i], next);
    next += tensors[i]->count;
  }
  source->args.n_args = n;
  return POE_OK;
}

static poe_status gmm_read(const poe_args *args, gmm_source *source, poe_error *error) {
  const poe_arg *place = poe_args_find(args, "file");
  source->args = (poe_args){args->kind, args->n_subjects, args->subjects, 0, source->arg};
  if (args->n_args > 1) {
    return poe_args_error(place, error, POE_E_USAGE, "`%s` takes either a file or numbers, not both", args->kind);
  }
  poei_tensor_file *file = NULL;
  poe_status status = poei_tensor_file_open(place->text, &file, error);
  if (status == POE_OK) {
    status = gmm_read_tensors(args, file, source, error);
    poei_tensor_file_close(file);
  }
  return status;
}

/* ---- building ---- */

static poe_status gmm_components(const poe_args *args, size_t d, size_t *k, poe_error *error) {
  const poe_arg *means = poe_args_find(args, "means");
  if (means == NULL) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs `means` or `file`", args->kind);
  }
  *k = means->ndim == 2 ? means->shape[0] : 0;
  if (means->ndim == 1 && d == 1) {
    *k = means->shape[0]; /* one number per component */
  }
  if (*k == 0) {
    char shape[160];
    return poe_args_error(means, error, POE_E_SHAPE, "`means` of `%s` has shape %s, but [k, %zu] is needed", args->kind,
                          poei_shape_text(means->ndim, means->shape, shape, sizeof shape), d);
  }
  return POE_OK;
}

/* sds[k,d] from [k,d], from one per component, or from a scalar. */
static poe_status gmm_sds(const poe_args *args, size_t k, size_t d, double *sds, poe_error *error) {
  const poe_arg *arg = poe_args_find(args, "sds");
  size_t shape[2] = {k, d};
  poe_status status;
  if (arg->ndim == 1) {
    status = poe_args_real(args, "sds", 1, &k, NAN, false, sds, error);
    for (size_t c = k; status == POE_OK && c-- > 0;) {
      double sd = sds[c]; /* spread from the back: the source of c is never overwritten before it is read */
      for (size_t j = d; j-- > 0;) {
        sds[c * d + j] = sd;
      }
    }
  } else {
    status = poe_args_real(args, "sds", 2, shape, NAN, false, sds, error);
  }
  return status == POE_OK ? poei_family_positive(args, "sds", k * d, sds, error) : status;
}

/* covs[k,d,d]; when d is 1 also one number per component. */
static poe_status gmm_covs(const poe_args *args, size_t k, size_t d, double *covs, bool *diagonal, poe_error *error) {
  const poe_arg *arg = poe_args_find(args, "covs");
  size_t shape[3] = {k, d, d};
  if (arg->ndim == 0 && d > 1) {
    return poe_args_error(arg, error, POE_E_SHAPE, "`covs` of `%s` must be matrices [%zu, %zu, %zu], not one number",
                          args->kind, k, d, d);
  }
  bool vector = d == 1 && arg->ndim == 1;
  poe_status status = poe_args_real(args, "covs", vector ? 1 : 3, shape, NAN, false, covs, error);
  *diagonal = true;
  for (size_t c = 0; status == POE_OK && c < k; c++) {
    *diagonal = *diagonal && poei_spd_diagonal(d, covs + c * d * d);
  }
  return status;
}

static poe_status gmm_factor(const poe_args *args, size_t c, size_t d, bool diagonal, double *cov,
                             poei_normals *normals, size_t at, poe_error *error) {
  double *factor = normals->factor + at * (diagonal ? d : d * d);
  poe_status status = POE_OK;
  if (!diagonal) {
    status = poei_family_factor(args, "covs", d, cov, factor, error);
  }
  for (size_t j = 0; diagonal && status == POE_OK && j < d; j++) {
    if (cov[j * d + j] > 0.0) {
      factor[j] = 1.0 / sqrt(cov[j * d + j]);
    } else {
      status = poe_args_error(poe_args_find(args, "covs"), error, POE_E_DOMAIN,
                              "`covs` of `%s` is not positive definite: it is not positive along x[%zu] (value %.3g)",
                              args->kind, j, cov[j * d + j]);
    }
  }
  if (status == POE_E_DOMAIN && error != NULL) {
    poe_error_hint(error, "this is component %zu, counted from 0", c);
  }
  return status;
}

/* Everything read and checked: weights[k] (log), means[k,d], spread[k,d] (sds) or [k,d,d] (covs). */
static poe_status gmm_assemble(const poe_args *args, size_t k, size_t d, const double *weights, const double *means,
                               double *spread, bool sds, bool diagonal, poei_normals **out, poe_error *error) {
  size_t kept = 0;
  for (size_t c = 0; c < k; c++) {
    kept += weights[c] != -INFINITY;
  }
  poei_normals *normals = poei_normals_alloc(kept, d, diagonal ? POEI_NORMALS_DIAGONAL : POEI_NORMALS_COVARIANCE, true);
  if (normals == NULL) {
    return poei_family_memory(args->kind, error);
  }
  poe_status status = POE_OK;
  for (size_t c = 0, at = 0; status == POE_OK && c < k; c++) {
    if (weights[c] == -INFINITY) {
      continue;
    }
    normals->log_weight[at] = weights[c];
    memcpy(normals->mean + at * d, means + c * d, d * sizeof *means);
    for (size_t j = 0; sds && j < d; j++) {
      normals->factor[at * d + j] = 1.0 / spread[c * d + j];
    }
    if (!sds) {
      status = gmm_factor(args, c, d, diagonal, spread + c * d * d, normals, at, error);
    }
    at++;
  }
  if (status != POE_OK) {
    poei_normals_destroy(normals);
    return status;
  }
  poei_normals_finish(normals);
  *out = normals;
  return POE_OK;
}

static poe_status gmm_build(const poe_args *args, poei_normals **out, poe_error *error) {
  static const char *const spreads[] = {"sds", "covs"};
  size_t k = 0, which = 0, vector = 0, matrix = 0, total = 0, d = poe_args_dim(args);
  poe_status status = gmm_components(args, d, &k, error);
  if (status == POE_OK) {
    status = poei_family_one_of(args, 2, spreads, &which, error);
  }
  if (status != POE_OK) {
    return status;
  }
  bool sds = which == 0, diagonal = true;
  double *work = NULL;
  if (poei_mul_size(k, d, &vector) && poei_mul_size(vector, sds ? 1 : d, &matrix) &&
      poei_add_size(vector, matrix, &total) && poei_add_size(total, k, &total)) {
    work = poei_alloc(total, sizeof *work);
  }
  if (work == NULL) {
    return poei_family_memory(args->kind, error);
  }
  double *weights = work, *means = weights + k, *spread = means + vector;
  size_t shape[2] = {k, d};
  bool flat = poe_args_find(args, "means")->ndim == 1;
  status = poe_args_real(args, "means", flat ? 1 : 2, shape, NAN, false, means, error);
  if (status == POE_OK) {
    status = poe_args_real(args, "weights", 1, &k, 1.0, false, weights, error);
  }
  if (status == POE_OK) {
    status = poei_family_log_weights(args, "weights", k, weights, error);
  }
  if (status == POE_OK) {
    status = sds ? gmm_sds(args, k, d, spread, error) : gmm_covs(args, k, d, spread, &diagonal, error);
  }
  if (status == POE_OK) {
    status = gmm_assemble(args, k, d, weights, means, spread, sds, diagonal, out, error);
  }
  poei_free(work);
  return status;
}

static poe_status gmm_create(const poe_args *args, void **self, poe_error *error) {
  poe_status status = poei_family_need(args, POE_CONTINUOUS, error);
  if (status != POE_OK) {
    return status;
  }
  const poe_arg *place = poe_args_find(args, "file");
  poei_normals *normals = NULL;
  if (place == NULL) {
    status = gmm_build(args, &normals, error);
  } else {
    gmm_source source = {0};
    status = gmm_read(args, &source, error);
    if (status == POE_OK) {
      status = gmm_build(&source.args, &normals, error);
      if (status != POE_OK && error != NULL && error->hint[0] == '\0') {
        poe_error_hint(error, "read from %s", place->text);
      }
    }
    poei_free(source.numbers);
  }
  if (status == POE_OK) {
    *self = normals;
  }
  return status;
}

const poe_expert_ops poei_gmm_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "gmm",
    .doc = "mixture of normal densities",
    .params = gmm_params,
    .create = gmm_create,
    .destroy = poei_normals_destroy,
    .traits = poei_normals_traits,
    .scratch = poei_normals_scratch,
    .eval_add = poei_normals_eval_add,
    .sample = poei_normals_sample,
    .log_z = poei_normals_log_z,
    .form = poei_normals_form,
};
