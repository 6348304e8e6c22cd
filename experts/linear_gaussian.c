/* linear_gaussian(y, x | A, b, cov | sd): p(y | x) = N(y; A x + b, cov), normalised over y for each x.
 *
 * With r = y - A x the value is that of a Gaussian of mean b at r; the gradient g in r goes on to y as it is and to x
 * as -A' g. As a function of (y, x) it is a Gaussian without integral: precision [[P, -PA], [-A'P, A'PA]] around
 * (b, 0) (Bishop 2006, equations 2.113 to 2.115). Further variables after y are parts of x.
 */
#include <string.h>

#include "core/alloc.h"
#include "core/linalg.h"
#include "core/pool.h"
#include "experts/closed.h"
#include "experts/family.h"
#include "experts/list.h"
#include "experts/normals.h"

enum { TILE = POEI_TILE, PAD = 8 }; /* tiles of a multiple of eight rows, as in normals_eval.c */

static const poe_param linear_gaussian_params[] = {
    {"A", POE_ARG_REAL, "dy,dx", NULL, "the matrix; a scalar is a multiple of the identity"},
    {"b", POE_ARG_REAL, "dy", "0", "the offset"},
    {"cov", POE_ARG_REAL, "dy,dy", NULL, "covariance of y given x; a scalar is a multiple of the identity"},
    {"sd", POE_ARG_REAL, "dy", NULL, "standard deviations of y given x"},
    {0},
};

typedef struct linear_gaussian {
  size_t dy, dx;
  poe_expert *noise;    /* N(r; b, cov) over y's coordinates */
  double *matrix;       /* A [dy, dx]                        */
  poe_support *support; /* [dy + dx]                         */
  unsigned char *head;  /* [dy + dx] 1 for y                 */
} linear_gaussian;

static void linear_gaussian_destroy(void *self) {
  linear_gaussian *g = self;
  if (g != NULL) {
    poe_expert_release(g->noise);
    poei_free(g->matrix);
    poei_free(g->support);
    poei_free(g->head);
    poei_free(g);
  }
}

/* The noise is a `gaussian` over y's coordinates with b as its mean and the spread as it was given; b[dy] is room. */
static poe_status linear_gaussian_noise(const poe_args *args, double *b, poe_expert **noise, poe_error *error) {
  static const char *const spreads[] = {"cov", "sd"};
  size_t which = 0, dy = args->subjects[0].dim;
  poe_status status = poei_family_one_of(args, 2, spreads, &which, error);
  if (status == POE_OK) {
    status = poe_args_real(args, "b", 1, &dy, 0.0, false, b, error);
  }
  if (status != POE_OK) {
    return status;
  }
  poe_arg given[2] = {*poe_args_find(args, spreads[which]),
                      {.name = "mean", .type = POE_ARG_REAL, .ndim = 1, .shape = {dy}, .real = b}};
  poe_args inner = {args->kind, 1, args->subjects, 2, given};
  return poe_expert_create(&poei_gaussian_ops, &inner, noise, error);
}

static poe_status linear_gaussian_fill(const poe_args *args, linear_gaussian *g, poe_error *error) {
  g->matrix = poei_alloc(g->dy, g->dx * sizeof(double));
  g->support = poei_family_reals(g->dy + g->dx);
  g->head = poei_calloc(g->dy + g->dx, 1);
  if (g->matrix == NULL || g->support == NULL || g->head == NULL) {
    return poei_family_memory(args->kind, error);
  }
  memset(g->head, 1, g->dy);
  poe_status status = poei_family_matrix(args, "A", g->dy, g->dx, g->matrix, error);
  if (status != POE_OK) {
    return status;
  }
  double *b = poei_alloc(g->dy, sizeof *b);
  status = b != NULL ? linear_gaussian_noise(args, b, &g->noise, error) : poei_family_memory(args->kind, error);
  poei_free(b);
  return status;
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

/* residual[padded, dy] = y - x A'; x[padded, dx] receives a padded copy of the rows' x. */
static void linear_gaussian_residual(const linear_gaussian *g, poe_rows rows, size_t padded, double *x,
                                     double *residual) {
  memset(x + rows.n * g->dx, 0, (padded - rows.n) * g->dx * sizeof *x);
  memset(residual + rows.n * g->dy, 0, (padded - rows.n) * g->dy * sizeof *residual);
  for (size_t i = 0; i < rows.n; i++) {
    const double *row = rows.x + i * rows.ld;
    memcpy(residual + i * g->dy, row, g->dy * sizeof *row);
    memcpy(x + i * g->dx, row + g->dy, g->dx * sizeof *row);
  }
  poei_dgemm(false, true, padded, g->dy, g->dx, -1.0, x, g->dx, g->matrix, g->dx, 1.0, residual, g->dy);
  for (size_t i = 0; i < rows.n; i++) {
    double sum = 0.0;
    for (size_t j = 0; j < g->dy; j++) {
      sum += residual[i * g->dy + j];
    }
    if (isnan(sum) && !row_has_nan(rows.d, rows.x + i * rows.ld)) { /* infinity minus infinity: far, not unknown */
      residual[i * g->dy] = INFINITY;
      memset(residual + i * g->dy + 1, 0, (g->dy - 1) * sizeof *residual);
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
  poei_dgemm(false, false, padded, dx, dy, 1.0, grad, dy, g->matrix, dx, 0.0, x, dx);
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
  memcpy(form->origin, noise->origin, dy * sizeof(double)); /* y - A x - b = (y - b) - A (x - 0) */
  memcpy(form->linear, noise->linear, dy * sizeof(double));
  for (size_t j = 0; j < dx; j++) {
    for (size_t i = 0; i < dy; i++) {
      form->linear[dy + j] -= g->matrix[i * dx + j] * noise->linear[i];
    }
  }
  for (size_t i = 0; i < dy; i++) {
    memcpy(form->precision + i * d, noise->precision + i * dy, dy * sizeof(double));
    for (size_t j = 0; j < dx; j++) {
      form->precision[i * d + dy + j] = form->precision[(dy + j) * d + i] = -pa[i * dx + j];
    }
  }
  double *corner = form->precision + dy * d + dy;
  poei_dgemm(true, false, dx, dx, dy, 1.0, g->matrix, dx, pa, dx, 0.0, corner, d);
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
    poei_dgemm(false, false, g->dy, g->dx, g->dy, 1.0, noise.precision, g->dy, g->matrix, g->dx, 0.0, pa, g->dx);
    linear_gaussian_spread(g, &noise, pa, &made);
    *form = made;
  }
  poei_free(pa);
  poe_form_release(&noise);
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
};
