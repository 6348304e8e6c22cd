/* linear_gaussian(y, x | A, b, cov | sd): p(y | x) = N(y; A x + b, cov), normalised over y for each x.
 *
 * With r = y - b - A x the value is that of a Gaussian of mean 0 at r; the gradient g in r goes on to y as it is and to
 * x as -A' g. As a function of (y, x) it is a Gaussian without integral: precision [[P, -PA], [-A'P, A'PA]] around
 * (b, 0) (Bishop 2006, equations 2.113 to 2.115). Further variables after y are parts of x.
 *
 * Far from 0 the terms of r cancel: around 1e6 their rounding is 1e-10, which a standard deviation of 1e-3 turns into
 * 1e-7. A residual that lost four digits is summed again in twice the precision (Ogita, Rump and Oishi 2005,
 * SIAM J. Sci. Comput. 26, algorithm 5.3, Dot2), so that the value has the digits of its arguments wherever they lie.
 *
 * A scalar A stays a scalar: y = a x + b + noise over a large image is no matrix.
 */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/linalg.h"
#include "core/pool.h"
#include "experts/closed.h"
#include "experts/family.h"
#include "experts/list.h"
#include "experts/normals.h"
#include "experts/sparse_normal.h"

enum { TILE = POEI_TILE, PAD = 8 }; /* tiles of a multiple of eight rows, as in normals_eval.c */

static const double cancelled = 1.0 / 16384.0; /* of its largest terms: a residual smaller than that is summed again */

static const poe_param linear_gaussian_params[] = {
    {"A", POE_ARG_REAL, "dy,dx", NULL, "the matrix; a scalar is a multiple of the identity"},
    {"b", POE_ARG_REAL, "dy", "0", "the offset"},
    {"cov", POE_ARG_REAL, "dy,dy", NULL, "covariance of y given x; a scalar is a multiple of the identity"},
    {"sd", POE_ARG_REAL, "dy", NULL, "standard deviations of y given x"},
    {0},
};

typedef struct linear_gaussian {
  size_t dy, dx;
  poe_expert *noise; /* N(r; 0, cov) over y's coordinates */
  double *matrix;    /* A [dy, dx]; NULL: slope times 1   */
  double slope;
  double *offset;       /* b [dy]                            */
  double *reach;        /* [dy] sum_j |A_ij|                 */
  poe_support *support; /* [dy + dx]                         */
  unsigned char *head;  /* [dy + dx] 1 for y                 */
} linear_gaussian;

static void linear_gaussian_destroy(void *self) {
  linear_gaussian *g = self;
  if (g != NULL) {
    poe_expert_release(g->noise);
    poei_free(g->matrix);
    poei_free(g->offset);
    poei_free(g->reach);
    poei_free(g->support);
    poei_free(g->head);
    poei_free(g);
  }
}

/* The noise is a `gaussian` over y's coordinates with the spread as it was given. */
static poe_status linear_gaussian_noise(const poe_args *args, poe_expert **noise, poe_error *error) {
  static const char *const spreads[] = {"cov", "sd"};
  size_t which = 0;
  poe_status status = poei_family_one_of(args, 2, spreads, &which, error);
  if (status != POE_OK) {
    return status;
  }
  poe_arg given = *poe_args_find(args, spreads[which]);
  double sd = 0.0;
  if (which == 0 && given.ndim == 0 && given.type == POE_ARG_REAL && given.real[0] > 0.0 &&
      isfinite(given.real[0])) { /* as a matrix it is large */
    sd = sqrt(given.real[0]);
    given.name = "sd";
    given.real = &sd;
  }
  poe_args inner = {args->kind, 1, args->subjects, 1, &given};
  return poe_expert_create(&poei_gaussian_ops, &inner, noise, error);
}

/* Reads A and what each of its rows reaches; one number times the identity stays that. */
static poe_status linear_gaussian_matrix(const poe_args *args, linear_gaussian *g, poe_error *error) {
  const poe_arg *a = poe_args_find(args, "A");
  if (a != NULL && a->ndim == 0 && g->dy == g->dx && g->dy > 1) {
    poe_status status = poe_args_real(args, "A", 1, (size_t[]){1}, NAN, false, &g->slope, error);
    for (size_t i = 0; i < g->dy; i++) {
      g->reach[i] = fabs(g->slope);
    }
    return status;
  }
  g->matrix = poei_alloc(g->dy, g->dx * sizeof(double));
  if (g->matrix == NULL) {
    return poei_family_memory(args->kind, error);
  }
  poe_status status = poei_family_matrix(args, "A", g->dy, g->dx, g->matrix, error);
  for (size_t i = 0; status == POE_OK && i < g->dy; i++) {
    for (size_t j = 0; j < g->dx; j++) {
      g->reach[i] += fabs(g->matrix[i * g->dx + j]);
    }
  }
  return status;
}

static poe_status linear_gaussian_fill(const poe_args *args, linear_gaussian *g, poe_error *error) {
  g->offset = poei_alloc(g->dy, sizeof(double));
  g->reach = poei_calloc(g->dy, sizeof(double));
  g->support = poei_family_reals(g->dy + g->dx);
  g->head = poei_calloc(g->dy + g->dx, 1);
  if (g->offset == NULL || g->reach == NULL || g->support == NULL || g->head == NULL) {
    return poei_family_memory(args->kind, error);
  }
  memset(g->head, 1, g->dy);
  poe_status status = linear_gaussian_matrix(args, g, error);
  if (status == POE_OK) {
    status = linear_gaussian_noise(args, &g->noise, error);
  }
  return status == POE_OK ? poe_args_real(args, "b", 1, &g->dy, 0.0, false, g->offset, error) : status;
}

static poe_status linear_gaussian_create(const poe_args *args, void **self, poe_error *error) {
  poe_status status = poei_family_need(args, POE_CONTINUOUS, error);
  if (status != POE_OK) {
    return status;
  }
  if (args->n_subjects < 2) {
    return poe_error_set(error, POE_E_USAGE, "`%s` needs two variables before the bar: y, x", args->kind);
  }
  linear_gaussian *g = poei_calloc(1, sizeof *g);
  if (g == NULL) {
    return poei_family_memory(args->kind, error);
  }
  g->dy = args->subjects[0].dim;
  g->dx = poe_args_dim(args) - g->dy;
  status = linear_gaussian_fill(args, g, error);
  if (status != POE_OK) {
    linear_gaussian_destroy(g);
    return status;
  }
  *self = g;
  return POE_OK;
}

static void linear_gaussian_traits(const void *self, poe_traits *traits) {
  const linear_gaussian *g = self;
  size_t d = g->dy + g->dx;
  *traits = (poe_traits){.dim = d, .support = g->support, .head = g->head};
  traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT;
  if (d <= POEI_FORM_NUMBERS / d) {
    traits->capabilities |= POE_CAN_FORM;
  }
  if (g->matrix == NULL && (poe_expert_traits(g->noise)->capabilities & POE_CAN_STRUCTURE) != 0) {
    traits->capabilities |= POE_CAN_STRUCTURE;
  }
}

static size_t tile_padded(size_t n) {
  size_t tile = n < TILE ? n : TILE;
  return (tile + PAD - 1) / PAD * PAD;
}

static size_t linear_gaussian_scratch(const void *self, unsigned want, size_t n) {
  const linear_gaussian *g = self;
  size_t rows = tile_padded(n), number = sizeof(double);
  return 2 * poe_scratch_need(rows * g->dy, number) + poe_scratch_need(rows * g->dx, number) +
         poe_expert_scratch(g->noise, want, n);
}

static bool row_has_nan(size_t d, const double *x) {
  for (size_t j = 0; j < d; j++) {
    if (isnan(x[j])) {
      return true;
    }
  }
  return false;
}

/* sum += value, the rounding error going to *rest. */
static double two_sum(double sum, double value, double *rest) {
  double total = sum + value, part = total - sum;
  *rest += (sum - (total - part)) + (value - part);
  return total;
}

/* y[i] - b[i] - A[i] . x as if computed in twice the precision and rounded. */
static double linear_gaussian_exact(const linear_gaussian *g, size_t i, const double *y, const double *x) {
  bool scaled = g->matrix == NULL; /* then row i has one number, at i */
  const double *a = scaled ? &g->slope : g->matrix + i * g->dx, *at = scaled ? x + i : x;
  double rest = 0.0, sum = two_sum(y[i], -g->offset[i], &rest);
  for (size_t j = 0; j < (scaled ? 1 : g->dx); j++) {
    double product = -a[j] * at[j];
    rest += fma(-a[j], at[j], -product);
    sum = two_sum(sum, product, &rest);
  }
  return sum + rest;
}

/* One row of residuals, with those that lost digits summed again. */
static void linear_gaussian_sharpen(const linear_gaussian *g, const double *y, const double *x, double *residual) {
  double far = 0.0;
  for (size_t j = 0; j < g->dx; j++) {
    far = fmax(far, fabs(x[j]));
  }
  for (size_t i = 0; i < g->dy; i++) {
    if (fabs(residual[i]) < cancelled * (fabs(y[i]) + fabs(g->offset[i]) + g->reach[i] * far)) {
      double exact = linear_gaussian_exact(g, i, y, x);
      residual[i] = isnan(exact) ? residual[i] : exact; /* overflow on the way */
    }
  }
}

/* out[padded, columns] = x A' (transposed) or x A, times scale, added to out when `add`. */
static void linear_gaussian_apply(const linear_gaussian *g, bool transposed, size_t padded, double scale,
                                  const double *x, bool add, double *out) {
  size_t columns = transposed ? g->dy : g->dx, inner = transposed ? g->dx : g->dy;
  if (g->matrix != NULL) {
    poei_dgemm(false, transposed, padded, columns, inner, scale, x, inner, g->matrix, g->dx, add ? 1.0 : 0.0, out,
               columns);
    return;
  }
  for (size_t i = 0; i < padded * columns; i++) {
    out[i] = (add ? out[i] : 0.0) + scale * g->slope * x[i];
  }
}

/* residual[padded, dy] = y - b - x A'; x[padded, dx] receives a padded copy of the rows' x. */
static void linear_gaussian_residual(const linear_gaussian *g, poe_rows rows, size_t padded, double *x,
                                     double *residual) {
  memset(x + rows.n * g->dx, 0, (padded - rows.n) * g->dx * sizeof *x);
  memset(residual + rows.n * g->dy, 0, (padded - rows.n) * g->dy * sizeof *residual);
  for (size_t i = 0; i < rows.n; i++) {
    const double *row = rows.x + i * rows.ld;
    for (size_t j = 0; j < g->dy; j++) {
      residual[i * g->dy + j] = row[j] - g->offset[j];
    }
    memcpy(x + i * g->dx, row + g->dy, g->dx * sizeof *row);
  }
  linear_gaussian_apply(g, true, padded, -1.0, x, true, residual);
  for (size_t i = 0; i < rows.n; i++) {
    double sum = 0.0;
    for (size_t j = 0; j < g->dy; j++) {
      sum += residual[i * g->dy + j];
    }
    if (isnan(sum) && !row_has_nan(rows.d, rows.x + i * rows.ld)) { /* infinity minus infinity: far, not unknown */
      residual[i * g->dy] = INFINITY;
      memset(residual + i * g->dy + 1, 0, (g->dy - 1) * sizeof *residual);
    } else if (isfinite(sum)) {
      linear_gaussian_sharpen(g, rows.x + i * rows.ld, x + i * g->dx, residual + i * g->dy);
    }
  }
}

static poe_status linear_gaussian_tile(const linear_gaussian *g, poe_rows rows, poe_weights weights, poe_accum out,
                                       double *residual, double *x, double *grad, poe_scratch *scratch,
                                       poe_error *error) {
  size_t padded = tile_padded(rows.n), dy = g->dy, dx = g->dx;
  linear_gaussian_residual(g, rows, padded, x, residual);
  poe_rows inner = {rows.n, dy, dy, residual};
  poe_accum to = {out.logp, out.grad != NULL ? grad : NULL, dy};
  memset(grad, 0, padded * dy * sizeof *grad);
  poe_status status = poe_expert_eval_add(g->noise, inner, weights, to, scratch, error);
  if (status != POE_OK || out.grad == NULL) {
    return status;
  }
  linear_gaussian_apply(g, false, padded, 1.0, grad, false, x);
  for (size_t i = 0; i < rows.n; i++) {
    double *row = out.grad + i * out.ldg;
    for (size_t j = 0; j < dy; j++) {
      row[j] += grad[i * dy + j];
    }
    for (size_t j = 0; j < dx; j++) {
      row[dy + j] -= x[i * dx + j];
    }
  }
  return POE_OK;
}

static poe_status linear_gaussian_eval_add(const void *self, poe_rows rows, poe_weights weights, poe_accum out,
                                           poe_scratch *scratch, poe_error *error) {
  const linear_gaussian *g = self;
  size_t mark = poe_scratch_mark(scratch), padded = tile_padded(rows.n);
  double *residual = poe_scratch_doubles(scratch, padded * g->dy);
  double *x = poe_scratch_doubles(scratch, padded * g->dx);
  double *grad = poe_scratch_doubles(scratch, padded * g->dy);
  poe_status status = POE_OK;
  for (size_t start = 0; status == POE_OK && start < rows.n; start += TILE) {
    size_t n = rows.n - start < TILE ? rows.n - start : TILE;
    poe_rows part = {n, rows.d, rows.ld, rows.x + start * rows.ld};
    poe_weights part_weights = {weights.w + start * weights.inc, weights.inc};
    poe_accum part_out = {out.logp + start, out.grad != NULL ? out.grad + start * out.ldg : NULL, out.ldg};
    status = linear_gaussian_tile(g, part, part_weights, part_out, residual, x, grad, scratch, error);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

/* Spreads the noise's form over (y, x); pa[dy, dx] is P A. */
static void linear_gaussian_spread(const linear_gaussian *g, const poe_form *noise, const double *pa, poe_form *form) {
  size_t dy = g->dy, dx = g->dx, d = dy + dx;
  form->constant[0] = noise->constant[0];
  memcpy(form->origin, g->offset, dy * sizeof(double)); /* y - b - A x = (y - b) - A (x - 0) */
  for (size_t i = 0; i < dy; i++) {
    memcpy(form->precision + i * d, noise->precision + i * dy, dy * sizeof(double));
    for (size_t j = 0; j < dx; j++) {
      form->precision[i * d + dy + j] = form->precision[(dy + j) * d + i] = -pa[i * dx + j];
    }
  }
  double *corner = form->precision + dy * d + dy;
  if (g->matrix != NULL) {
    poei_dgemm(true, false, dx, dx, dy, 1.0, g->matrix, dx, pa, dx, 0.0, corner, d);
  }
  for (size_t i = 0; g->matrix == NULL && i < dx; i++) {
    for (size_t j = 0; j < dx; j++) {
      corner[i * d + j] = g->slope * pa[i * dx + j];
    }
  }
  for (size_t i = 0; i < dx; i++) { /* exactly symmetric, which a product is only to rounding */
    for (size_t j = 0; j < i; j++) {
      corner[j * d + i] = corner[i * d + j];
    }
  }
}

static poe_status linear_gaussian_form(const void *self, poe_form *form, poe_error *error) {
  const linear_gaussian *g = self;
  poe_form noise = {0}, made = {0};
  poe_status status = poe_expert_form(g->noise, &noise, error);
  if (status != POE_OK) {
    return status;
  }
  double *pa = poei_alloc(g->dy, g->dx * sizeof *pa);
  status =
      pa != NULL ? poei_form_gaussians(&made, 1, g->dy + g->dx, error) : poei_family_memory("linear_gaussian", error);
  if (status == POE_OK) {
    linear_gaussian_apply(g, false, g->dy, 1.0, noise.precision, false, pa);
    linear_gaussian_spread(g, &noise, pa, &made);
    *form = made;
  }
  poei_free(pa);
  poe_form_release(&noise);
  return status;
}

/* y_i - a x_i alone has an inverse variance q_i: P has q_i at (y_i, y_i), -a q_i beside it, a^2 q_i at (x_i, x_i). */
static poe_status linear_gaussian_structure(const void *self, poe_structure *structure, poe_error *error) {
  const linear_gaussian *g = self;
  size_t d = g->dy;
  poe_structure noise = {0};
  poei_triplet *entry = poei_alloc(d, 3 * sizeof *entry);
  double *origin = poei_calloc(2 * d, sizeof *origin);
  poei_sparse_matrix precision = {0};
  poe_status status = entry == NULL || origin == NULL ? poei_family_memory("linear_gaussian", error)
                                                      : poe_expert_structure(g->noise, &noise, error);
  for (size_t i = 0; i < d && status == POE_OK; i++) {
    double q = noise.as.sparse.precision[i]; /* diagonal: one number a column */
    entry[3 * i] = (poei_triplet){i, i, q};
    entry[3 * i + 1] = (poei_triplet){d + i, i, -g->slope * q};
    entry[3 * i + 2] = (poei_triplet){d + i, d + i, g->slope * g->slope * q};
    origin[i] = g->offset[i];
  }
  if (status == POE_OK) {
    status = poei_sparse_assemble(2 * d, 3 * d, entry, &precision, error);
  }
  if (status == POE_OK) {
    status = poei_sparse_structure(origin, noise.as.sparse.constant, &precision, structure, error);
  }
  poei_sparse_matrix_release(&precision);
  poe_structure_release(&noise);
  poei_free(entry);
  poei_free(origin);
  return status;
}

const poe_expert_ops poei_linear_gaussian_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "linear_gaussian",
    .doc = "normal density of y around A x + b",
    .params = linear_gaussian_params,
    .create = linear_gaussian_create,
    .destroy = linear_gaussian_destroy,
    .traits = linear_gaussian_traits,
    .scratch = linear_gaussian_scratch,
    .eval_add = linear_gaussian_eval_add,
    .form = linear_gaussian_form,
    .structure = linear_gaussian_structure,
};
