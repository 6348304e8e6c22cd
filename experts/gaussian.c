/* gaussian(x | mean, sd | sd, factor | cov | precision | precision_file): N(x; mean, S), normalised.
 *
 * log p = -(x - m)' S^-1 (x - m) / 2 - log |2 pi S| / 2. One word over three states, each with a table of functions of
 * its own: one component of experts/normals.h (diagonal when sd was given or the matrix is diagonal, else through the
 * Cholesky factor of the matrix that was given, so that nothing is inverted), diagonal plus low rank
 * (experts/low_rank.h), and sparse precision (experts/sparse_normal.h).
 */
#include <string.h>

#include "core/alloc.h"
#include "core/linalg.h"
#include "experts/family.h"
#include "experts/list.h"
#include "experts/low_rank.h"
#include "experts/normals.h"
#include "experts/sparse_file.h"
#include "experts/sparse_normal.h"
#include "experts/spd.h"
#include "formats/tensor_file.h"

static const poe_param gaussian_params[] = {
    {"mean", POE_ARG_REAL, "d", "0", "the mean"},
    {"sd", POE_ARG_REAL, "d", NULL, "standard deviations of independent coordinates"},
    {"factor", POE_ARG_REAL, "d,r", NULL, "F of the covariance diag(sd^2) + F F', beside `sd`"},
    {"cov", POE_ARG_REAL, "d,d", NULL, "the covariance matrix; a scalar is a multiple of the identity"},
    {"precision", POE_ARG_REAL, "d,d", NULL, "the inverse covariance; a scalar is a multiple of the identity"},
    {"precision_file", POE_ARG_FILE, "", NULL, "the inverse covariance, sparse: npz of scipy.sparse.save_npz"},
    {0},
};

static const char *const gaussian_spread[] = {"sd", "cov", "precision", "precision_file"};
enum { SPREAD_SD, SPREAD_COV, SPREAD_PRECISION, SPREAD_FILE, SPREAD_COUNT };

typedef struct gaussian {
  const poe_expert_ops *as; /* one of the tables below: the slots from destroy on */
  void *state;
} gaussian;

static const poe_expert_ops gaussian_dense = {
    .destroy = poei_normals_destroy,
    .traits = poei_normals_traits,
    .scratch = poei_normals_scratch,
    .eval_add = poei_normals_eval_add,
    .sample = poei_normals_sample,
    .log_z = poei_normals_log_z,
    .form = poei_normals_form,
    .structure = poei_normals_structure,
};

static const poe_expert_ops gaussian_low_rank = {
    .destroy = poei_low_rank_destroy,
    .traits = poei_low_rank_traits,
    .scratch = poei_low_rank_scratch,
    .eval_add = poei_low_rank_eval_add,
    .sample = poei_low_rank_sample,
    .log_z = poei_low_rank_log_z,
    .form = poei_low_rank_form,
};

static const poe_expert_ops gaussian_sparse = {
    .destroy = poei_sparse_normal_destroy,
    .traits = poei_sparse_normal_traits,
    .scratch = poei_sparse_normal_scratch,
    .eval_add = poei_sparse_normal_eval_add,
    .sample = poei_sparse_normal_sample,
    .log_z = poei_sparse_normal_log_z,
    .form = poei_sparse_normal_form,
    .structure = poei_sparse_normal_structure,
};

/* ---- dense ---- */

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

static poe_status gaussian_create_dense(const poe_args *args, size_t which, size_t d, void **state, poe_error *error) {
  poei_normals *normals = NULL;
  poe_status status;
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
  *state = normals;
  return POE_OK;
}

/* ---- low rank ---- */

/* The rank of `factor`: [d, r], or [d] for one column. */
static poe_status gaussian_rank(const poe_args *args, size_t d, size_t *r, poe_error *error) {
  const poe_arg *arg = poe_args_find(args, "factor");
  bool fits = (arg->ndim == 1 || arg->ndim == 2) && arg->shape[0] == d;
  *r = !fits ? 0 : arg->ndim == 1 ? 1 : arg->shape[1];
  if (*r == 0) {
    char shape[160];
    return poe_args_error(arg, error, POE_E_SHAPE, "`factor` of `%s` has shape %s, but [%zu, r] is needed", args->kind,
                          poei_shape_text(arg->ndim, arg->shape, shape, sizeof shape), d);
  }
  return POE_OK;
}

static poe_status gaussian_create_low_rank(const poe_args *args, size_t which, size_t d, void **state,
                                           poe_error *error) {
  if (which != SPREAD_SD) {
    return poe_args_error(poe_args_find(args, "factor"), error, POE_E_USAGE,
                          "`factor` of `%s` goes with `sd`, not with `%s`", args->kind, gaussian_spread[which]);
  }
  size_t r = 0;
  poe_status status = gaussian_rank(args, d, &r, error);
  poei_low_rank *g = status == POE_OK ? poei_low_rank_alloc(d, r) : NULL;
  if (status == POE_OK && g == NULL) {
    status = poei_family_memory(args->kind, error);
  }
  if (status == POE_OK) {
    status = poe_args_real(args, "mean", 1, &d, 0.0, false, g->mean, error);
  }
  if (status == POE_OK) {
    status = poe_args_real(args, "sd", 1, &d, NAN, false, g->scale, error);
  }
  if (status == POE_OK) {
    status = poei_family_positive(args, "sd", d, g->scale, error);
  }
  for (size_t j = 0; status == POE_OK && j < d; j++) {
    g->scale[j] = 1.0 / g->scale[j];
  }
  if (status == POE_OK) {
    size_t numbers = d * r; /* allocated, so no overflow */
    status = poe_args_real(args, "factor", 1, &numbers, NAN, false, g->w, error);
  }
  if (status == POE_OK) {
    status = poei_low_rank_finish(g, error);
  }
  if (status != POE_OK) {
    poei_low_rank_destroy(g);
    return status;
  }
  *state = g;
  return POE_OK;
}

/* ---- sparse ---- */

static poe_status gaussian_create_sparse(const poe_args *args, size_t d, void **state, poe_error *error) {
  const poe_arg *arg = poe_args_find(args, gaussian_spread[SPREAD_FILE]);
  double *mean = poei_alloc(d, sizeof *mean);
  poei_sparse_matrix precision = {0};
  poei_sparse_factor *factor = NULL;
  poei_sparse_normal *g = NULL;
  char why[256];
  poe_status status = mean != NULL ? poe_args_real(args, "mean", 1, &d, 0.0, false, mean, error)
                                   : poei_family_memory(args->kind, error);
  if (status == POE_OK) {
    status = poei_sparse_file_read(args, arg->name, d, &precision, error);
  }
  if (status == POE_OK) {
    status = poei_sparse_normal_factor(&precision, &factor, why, sizeof why, error);
  }
  if (status == POE_E_IMPROPER) {
    status =
        poe_args_error(arg, error, POE_E_DOMAIN, "`%s` of `%s` is not positive definite: it is not positive along %s",
                       arg->name, args->kind, why);
  }
  if (status == POE_OK) {
    status = poei_sparse_normal_create(mean, &precision, &factor, 0.0, true, &g, error);
  }
  poei_free(mean);
  poei_sparse_matrix_release(&precision);
  poei_sparse_factor_destroy(factor);
  *state = g;
  return status;
}

/* ---- the word ---- */

static poe_status gaussian_create(const poe_args *args, void **self, poe_error *error) {
  size_t which = 0, d = poe_args_dim(args);
  poe_status status = poei_family_need(args, POE_CONTINUOUS, error);
  if (status == POE_OK) {
    status = poei_family_one_of(args, SPREAD_COUNT, gaussian_spread, &which, error);
  }
  gaussian *g = status == POE_OK ? poei_calloc(1, sizeof *g) : NULL;
  if (status == POE_OK && g == NULL) {
    status = poei_family_memory(args->kind, error);
  }
  if (status != POE_OK) {
    return status;
  }
  if (poe_args_find(args, "factor") != NULL) {
    g->as = &gaussian_low_rank;
    status = gaussian_create_low_rank(args, which, d, &g->state, error);
  } else if (which == SPREAD_FILE) {
    g->as = &gaussian_sparse;
    status = gaussian_create_sparse(args, d, &g->state, error);
  } else {
    g->as = &gaussian_dense;
    status = gaussian_create_dense(args, which, d, &g->state, error);
  }
  if (status != POE_OK) {
    poei_free(g);
    return status;
  }
  *self = g;
  return POE_OK;
}

static void gaussian_destroy(void *self) {
  gaussian *g = self;
  g->as->destroy(g->state);
  poei_free(g);
}

static void gaussian_traits(const void *self, poe_traits *traits) {
  const gaussian *g = self;
  g->as->traits(g->state, traits);
}

static size_t gaussian_scratch(const void *self, unsigned want, size_t n) {
  const gaussian *g = self;
  return g->as->scratch(g->state, want, n);
}

static poe_status gaussian_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                    poe_scratch *scratch, poe_error *error) {
  const gaussian *g = self;
  return g->as->eval_add(g->state, rows, weights, out, scratch, error);
}

static poe_status gaussian_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                  poe_error *error) {
  const gaussian *g = self;
  return g->as->sample(g->state, rows, at, scratch, error);
}

static poe_status gaussian_log_z(const void *self, double *log_z, poe_error *error) {
  const gaussian *g = self;
  return g->as->log_z(g->state, log_z, error);
}

static poe_status gaussian_form(const void *self, poe_form *form, poe_error *error) {
  const gaussian *g = self;
  return g->as->form(g->state, form, error);
}

/* The low-rank state never says that it has one. */
static poe_status gaussian_structure(const void *self, poe_structure *structure, poe_error *error) {
  const gaussian *g = self;
  return g->as->structure(g->state, structure, error);
}

const poe_expert_ops poei_gaussian_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "gaussian",
    .doc = "normal density N(x; mean, covariance)",
    .params = gaussian_params,
    .create = gaussian_create,
    .destroy = gaussian_destroy,
    .traits = gaussian_traits,
    .scratch = gaussian_scratch,
    .eval_add = gaussian_eval_add,
    .sample = gaussian_sample,
    .log_z = gaussian_log_z,
    .form = gaussian_form,
    .structure = gaussian_structure,
};

const poei_low_rank *poei_low_rank_of(const poe_expert *expert) {
  const poe_expert_ops *ops = poe_expert_ops_of(expert);
  const gaussian *g = ops == &poei_gaussian_ops ? poe_expert_self(expert) : NULL;
  return ops == &poei_low_rank_ops                  ? poe_expert_self(expert)
         : g != NULL && g->as == &gaussian_low_rank ? g->state
                                                    : NULL;
}
