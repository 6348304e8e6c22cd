/* A Gaussian of sparse precision P = LL': log p = offset - (x - m)'P(x - m) / 2, in time proportional to its nonzeros.
 *
 * log Z = offset + (d/2) log 2 pi - sum log L_kk; a draw is m + L^-T z with z standard normal (Rue and Held 2005,
 * Gaussian Markov Random Fields, algorithm 2.4). Rows go eight at a time, side by side, so that every number of P or L
 * is read once for all of them; each row's arithmetic is that of a row alone.
 */
#include "experts/sparse_normal.h"

#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/closed.h"
#include "experts/family.h"
#include "experts/spd.h"

enum { LANES = 8 };

/* ---- making ---- */

poe_status poei_sparse_normal_factor(const poei_sparse_matrix *matrix, poei_sparse_factor **factor, char *why,
                                     size_t size, poe_error *error) {
  poei_sparse_factor *made = *factor;
  poe_status status = made == NULL ? poei_sparse_analyse(matrix, &made, error) : POE_OK;
  *factor = NULL;
  poei_sparse_failure failure = {.direction = poei_alloc(matrix->n, sizeof(double))};
  bool failed = false;
  if (status == POE_OK && failure.direction == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory for a sparse Gaussian");
  }
  if (status == POE_OK) {
    status = poei_sparse_factorise(made, matrix, &failed, &failure, error);
  }
  if (status == POE_OK && failed) {
    poei_spd_direction(matrix->n, failure.direction, failure.value, why, size);
    poe_error_set(error, POE_E_IMPROPER, "the density cannot be normalised: its precision is not positive along %s",
                  why);
    poe_error_hint(error, "multiply it by an expert that is proper in that direction");
    status = POE_E_IMPROPER;
  }
  poei_free(failure.direction);
  if (status != POE_OK) {
    poei_sparse_factor_destroy(made);
    return status;
  }
  *factor = made;
  return POE_OK;
}

poe_status poei_sparse_normal_create(const double *mean, poei_sparse_matrix *precision, poei_sparse_factor **factor,
                                     double offset, bool normalised, poei_sparse_normal **out, poe_error *error) {
  size_t d = precision->n;
  poei_sparse_normal *g = poei_calloc(1, sizeof *g);
  if (g != NULL) {
    g->mean = poei_copy(mean, d, sizeof *mean);
    g->support = poei_family_reals(d);
    g->head = normalised ? poei_family_heads(d) : NULL;
  }
  if (g == NULL || g->mean == NULL || g->support == NULL || (normalised && g->head == NULL)) {
    poei_sparse_normal_destroy(g);
    return poe_error_set(error, POE_E_MEMORY, "out of memory for a sparse Gaussian");
  }
  double integral = (double)d * POEI_LOG_2PI / 2.0 - poei_sparse_half_log_det(*factor);
  g->d = d;
  g->precision = *precision;
  g->factor = *factor;
  g->offset = normalised ? -integral : offset;
  g->log_z = normalised ? 0.0 : offset + integral;
  *precision = (poei_sparse_matrix){0};
  *factor = NULL;
  *out = g;
  return POE_OK;
}

void poei_sparse_normal_destroy(void *self) {
  poei_sparse_normal *g = self;
  if (g != NULL) {
    poei_sparse_matrix_release(&g->precision);
    poei_sparse_factor_destroy(g->factor);
    poei_free(g->mean);
    poei_free(g->support);
    poei_free(g->head);
    poei_free(g);
  }
}

void poei_sparse_normal_traits(const void *self, poe_traits *traits) {
  const poei_sparse_normal *g = self;
  *traits = (poe_traits){.dim = g->d, .support = g->support, .head = g->head};
  traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z | POE_CAN_STRUCTURE |
                         (g->d <= POEI_SPARSE_FORM ? (unsigned)POE_CAN_FORM : 0u);
}

poe_status poei_sparse_normal_log_z(const void *self, double *log_z, poe_error *error) {
  (void)error;
  *log_z = ((const poei_sparse_normal *)self)->log_z;
  return POE_OK;
}

/* ---- values ---- */

size_t poei_sparse_normal_scratch(const void *self, unsigned want, size_t n) {
  const poei_sparse_normal *g = self;
  (void)n;
  size_t lanes = poe_scratch_need(g->d * LANES, sizeof(double));
  return (want & POE_WANT_SAMPLE) != 0 ? lanes + poe_scratch_need(g->d, sizeof(double)) : 2 * lanes;
}

/* NaN is kept only for a row that has one; overflow on the way is just far away. */
static double far_away(double square, size_t d, const double *x) {
  if (isfinite(square)) {
    return square;
  }
  for (size_t j = 0; j < d; j++) {
    if (isnan(x[j])) {
      return NAN;
    }
  }
  return INFINITY;
}

/* Up to LANES rows; r, y [d, LANES]. */
static void sparse_lanes(const poei_sparse_normal *g, poe_rows rows, poe_weights weights, poe_accum out, double *r,
                         double *y) {
  size_t d = g->d;
  double square[LANES] = {0};
  for (size_t i = 0; i < LANES; i++) {
    for (size_t j = 0; j < d; j++) {
      r[j * LANES + i] = i < rows.n ? rows.x[i * rows.ld + j] - g->mean[j] : 0.0;
    }
  }
  poei_sparse_multiply(&g->precision, LANES, r, y);
  for (size_t j = 0; j < d; j++) {
    for (size_t i = 0; i < LANES; i++) {
      square[i] += r[j * LANES + i] * y[j * LANES + i];
    }
  }
  for (size_t i = 0; i < rows.n; i++) {
    double w = weights.w[i * weights.inc], own = far_away(square[i], d, rows.x + i * rows.ld);
    poe_accum_value(&out.logp[i], w, g->offset - own / 2.0);
    for (size_t j = 0; out.grad != NULL && w != 0.0 && own < INFINITY && j < d; j++) {
      out.grad[i * out.ldg + j] -= w * y[j * LANES + i];
    }
  }
}

poe_status poei_sparse_normal_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                       poe_scratch *scratch, poe_error *error) {
  (void)error;
  const poei_sparse_normal *g = self;
  size_t mark = poe_scratch_mark(scratch);
  double *r = poe_scratch_doubles(scratch, g->d * LANES), *y = poe_scratch_doubles(scratch, g->d * LANES);
  for (size_t start = 0; start < rows.n; start += LANES) {
    size_t n = rows.n - start < LANES ? rows.n - start : LANES;
    poe_rows part = {n, rows.d, rows.ld, rows.x + start * rows.ld};
    poe_weights part_weights = {weights.w + start * weights.inc, weights.inc};
    poe_accum part_out = {out.logp + start, out.grad != NULL ? out.grad + start * out.ldg : NULL, out.ldg};
    sparse_lanes(g, part, part_weights, part_out, r, y);
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

/* ---- draws ---- */

poe_status poei_sparse_normal_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                     poe_error *error) {
  (void)error;
  const poei_sparse_normal *g = self;
  size_t mark = poe_scratch_mark(scratch), d = g->d;
  double *z = poe_scratch_doubles(scratch, d * LANES), *one = poe_scratch_doubles(scratch, d);
  for (size_t start = 0; start < rows.n; start += LANES) {
    size_t n = rows.n - start < LANES ? rows.n - start : LANES;
    memset(z, 0, d * LANES * sizeof *z);
    for (size_t i = 0; i < n; i++) {
      poe_rng_normals(at[start + i], d, one);
      for (size_t k = 0; k < d; k++) {
        z[k * LANES + i] = one[k];
      }
    }
    poei_sparse_solve_lower_transposed(g->factor, LANES, z);
    for (size_t k = 0; k < d; k++) {
      size_t c = g->factor->order[k];
      for (size_t i = 0; i < n; i++) {
        rows.x[(start + i) * rows.ld + c] = g->mean[c] + z[k * LANES + i];
      }
    }
  }
  poe_scratch_release(scratch, mark);
  return POE_OK;
}

/* ---- marginals ---- */

poe_status poei_sparse_normal_variances(const poei_sparse_normal *normal, double *variance, poe_error *error) {
  const poei_sparse_factor *factor = normal->factor;
  double *inverse = poei_alloc(factor->start[normal->d], sizeof *inverse),
         *work = poei_alloc(factor->most, sizeof *work);
  poe_status status = POE_OK;
  if (inverse == NULL || work == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory for the variances of a sparse Gaussian");
  } else {
    poei_sparse_inverse(factor, inverse, work);
    for (size_t k = 0; k < normal->d; k++) {
      variance[factor->order[k]] = inverse[factor->start[k]];
    }
  }
  poei_free(inverse);
  poei_free(work);
  return status;
}

/* ---- forms ---- */

poe_status poei_sparse_normal_form(const void *self, poe_form *form, poe_error *error) {
  const poei_sparse_normal *g = self;
  poe_status status = poei_form_gaussians(form, 1, g->d, error);
  if (status != POE_OK) {
    return status;
  }
  for (size_t j = 0; j < g->d; j++) {
    for (size_t k = g->precision.start[j]; k < g->precision.start[j + 1]; k++) {
      size_t i = g->precision.row[k];
      form->precision[i * g->d + j] = form->precision[j * g->d + i] = g->precision.value[k];
    }
  }
  memcpy(form->origin, g->mean, g->d * sizeof *g->mean);
  form->constant[0] = g->offset;
  return POE_OK;
}

/* A zeroed structure with room for `numbers` of the precision. */
static poe_status structure_room(size_t d, size_t numbers, poe_structure *structure, poe_error *error) {
  poe_structure made = {.kind = POE_STRUCTURE_SPARSE, .dim = d};
  poe_sparse_gaussian *sparse = &made.as.sparse;
  sparse->origin = poei_calloc(d, sizeof *sparse->origin);
  sparse->linear = poei_calloc(d, sizeof *sparse->linear);
  sparse->column_start = poei_calloc(d + 1, sizeof *sparse->column_start);
  sparse->row = poei_calloc(numbers, sizeof *sparse->row);
  sparse->precision = poei_calloc(numbers, sizeof *sparse->precision);
  if (sparse->origin == NULL || sparse->linear == NULL || sparse->column_start == NULL || sparse->row == NULL ||
      sparse->precision == NULL) {
    poe_structure_release(&made);
    return poe_error_set(error, POE_E_MEMORY, "out of memory for a sparse Gaussian");
  }
  *structure = made;
  return POE_OK;
}

poe_status poei_sparse_structure(const double *mean, double offset, const poei_sparse_matrix *precision,
                                 poe_structure *structure, poe_error *error) {
  size_t d = precision->n, numbers = precision->start[d];
  poe_status status = structure_room(d, numbers, structure, error);
  if (status == POE_OK) {
    poe_sparse_gaussian *sparse = &structure->as.sparse;
    sparse->constant = offset;
    memcpy(sparse->origin, mean, d * sizeof *mean);
    memcpy(sparse->column_start, precision->start, (d + 1) * sizeof *precision->start);
    memcpy(sparse->row, precision->row, numbers * sizeof *precision->row);
    memcpy(sparse->precision, precision->value, numbers * sizeof *precision->value);
  }
  return status;
}

poe_status poei_diagonal_structure(size_t d, const double *mean, const double *scale, double offset,
                                   poe_structure *structure, poe_error *error) {
  poe_status status = structure_room(d, d, structure, error);
  if (status == POE_OK) {
    poe_sparse_gaussian *sparse = &structure->as.sparse;
    sparse->constant = offset;
    memcpy(sparse->origin, mean, d * sizeof *mean);
    for (size_t j = 0; j < d; j++) {
      sparse->column_start[j + 1] = j + 1;
      sparse->row[j] = j;
      sparse->precision[j] = scale[j] * scale[j];
    }
  }
  return status;
}

poe_status poei_sparse_normal_structure(const void *self, poe_structure *structure, poe_error *error) {
  const poei_sparse_normal *g = self;
  return poei_sparse_structure(g->mean, g->offset, &g->precision, structure, error);
}

/* ---- as an expert of its own ---- */

static const poe_param no_params[] = {{0}};

static const poe_expert_ops sparse_normal_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "sparse gaussian",
    .doc = "one Gaussian of sparse precision",
    .params = no_params,
    .destroy = poei_sparse_normal_destroy,
    .traits = poei_sparse_normal_traits,
    .scratch = poei_sparse_normal_scratch,
    .eval_add = poei_sparse_normal_eval_add,
    .sample = poei_sparse_normal_sample,
    .log_z = poei_sparse_normal_log_z,
    .form = poei_sparse_normal_form,
    .structure = poei_sparse_normal_structure,
};

poe_status poei_sparse_normal_wrap(poei_sparse_normal *normal, poe_expert **out, poe_error *error) {
  poe_status status = poe_expert_wrap(&sparse_normal_ops, normal, out, error);
  if (status != POE_OK) {
    poei_sparse_normal_destroy(normal);
  }
  return status;
}

const poei_sparse_normal *poei_sparse_normal_of(const poe_expert *expert) {
  return poe_expert_ops_of(expert) == &sparse_normal_ops ? poe_expert_self(expert) : NULL;
}
