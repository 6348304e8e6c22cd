/* Mixtures of Gaussians: building, log Z, closed form, exact draws (values and gradients are in normals_eval.c).
 *
 * p(x) = sum_c w_c N(x; m_c, S_c); with S = L L' or S^-1 = L L',
 * log N(m; m, S) = -(d/2) log 2 pi -+ sum_i log L_ii. A draw is m + L z or m + L^-T z with z standard normal.
 */
#include "experts/normals.h"

#include <string.h>

#include "core/alloc.h"
#include "core/linalg.h"
#include "core/numerics.h"
#include "experts/closed.h"
#include "experts/family.h"
#include "experts/sparse_normal.h"

/* Numbers in one component's factor. */
static size_t factor_size(const poei_normals *g) {
  return g->shape == POEI_NORMALS_DIAGONAL ? g->d : g->d * g->d;
}

poei_normals *poei_normals_alloc(size_t k, size_t d, poei_normals_shape shape, bool normalised) {
  poei_normals *g = poei_calloc(1, sizeof *g);
  size_t vector = 0, matrix = 0;
  if (g == NULL || !poei_mul_size(k, d, &vector) || !poei_mul_size(vector, d, &matrix)) {
    poei_free(g);
    return NULL;
  }
  bool diagonal = shape == POEI_NORMALS_DIAGONAL, transposed = diagonal && k > 1;
  *g = (poei_normals){.k = k, .d = d, .shape = shape};
  g->log_weight = poei_calloc(k, sizeof(double));
  g->offset = poei_calloc(k, sizeof(double));
  g->probability = poei_calloc(k, sizeof(double));
  g->mean = poei_calloc(vector, sizeof(double));
  g->factor = poei_calloc(diagonal ? vector : matrix, sizeof(double));
  g->precision = shape == POEI_NORMALS_PRECISION ? poei_calloc(matrix, sizeof(double)) : NULL;
  g->mean_t = transposed ? poei_calloc(vector, sizeof(double)) : NULL;
  g->factor_t = transposed ? poei_calloc(vector, sizeof(double)) : NULL;
  g->support = poei_family_reals(d);
  g->head = normalised ? poei_family_heads(d) : NULL;
  bool complete = g->log_weight != NULL && g->offset != NULL && g->probability != NULL && g->mean != NULL &&
                  g->factor != NULL && g->support != NULL;
  complete = complete && (shape != POEI_NORMALS_PRECISION || g->precision != NULL);
  complete = complete && (!transposed || (g->mean_t != NULL && g->factor_t != NULL));
  complete = complete && (!normalised || g->head != NULL);
  if (!complete) {
    poei_normals_destroy(g);
    return NULL;
  }
  return g;
}

void poei_normals_destroy(void *self) {
  poei_normals *g = self;
  if (g != NULL) {
    double *arrays[] = {g->log_weight, g->offset,    g->probability, g->mean,
                        g->factor,     g->precision, g->mean_t,      g->factor_t};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
      poei_free(arrays[i]);
    }
    poei_free(g->support);
    poei_free(g->head);
    poei_free(g);
  }
}

/* Half the log determinant of component c's covariance. */
static double half_log_det(const poei_normals *g, size_t c) {
  const double *factor = g->factor + c * factor_size(g);
  if (g->shape == POEI_NORMALS_COVARIANCE) {
    return poei_cholesky_half_log_det(g->d, factor);
  }
  if (g->shape == POEI_NORMALS_PRECISION) {
    return -poei_cholesky_half_log_det(g->d, factor);
  }
  double sum = 0.0;
  for (size_t j = 0; j < g->d; j++) {
    sum -= log(factor[j]);
  }
  return sum;
}

void poei_normals_finish(poei_normals *g) {
  g->log_z = poei_log_sum_exp(g->log_weight, g->k, 1);
  for (size_t c = 0; c < g->k; c++) {
    g->offset[c] = g->log_weight[c] - (double)g->d * POEI_LOG_2PI / 2.0 - half_log_det(g, c);
    g->probability[c] = exp(g->log_weight[c] - g->log_z);
  }
  for (size_t c = 0; g->mean_t != NULL && c < g->k; c++) {
    for (size_t j = 0; j < g->d; j++) {
      g->mean_t[j * g->k + c] = g->mean[c * g->d + j];
      g->factor_t[j * g->k + c] = g->factor[c * g->d + j];
    }
  }
}

void poei_normals_traits(const void *self, poe_traits *traits) {
  const poei_normals *g = self;
  *traits = (poe_traits){.dim = g->d, .support = g->support, .head = g->head};
  traits->capabilities = POE_CAN_EVAL | POE_CAN_GRADIENT | POE_CAN_SAMPLE | POE_CAN_LOG_Z;
  size_t vector = g->k * g->d; /* allocated, so no overflow */
  if (vector <= POEI_FORM_NUMBERS / g->d) {
    traits->capabilities |= POE_CAN_FORM;
  }
  if (g->k == 1 && g->shape == POEI_NORMALS_DIAGONAL) {
    traits->capabilities |= POE_CAN_STRUCTURE;
  }
}

poe_status poei_normals_log_z(const void *self, double *log_z, poe_error *error) {
  (void)error;
  *log_z = ((const poei_normals *)self)->log_z;
  return POE_OK;
}

/* ---- closed form around the mean: origin m, precision P, linear 0, constant offset ---- */

static void form_component(const poei_normals *g, size_t c, poe_form *form) {
  size_t d = g->d;
  const double *factor = g->factor + c * factor_size(g);
  double *precision = form->precision + c * d * d;
  if (g->shape == POEI_NORMALS_DIAGONAL) {
    for (size_t j = 0; j < d; j++) {
      precision[j * d + j] = factor[j] * factor[j];
    }
  } else if (g->shape == POEI_NORMALS_PRECISION) {
    memcpy(precision, g->precision + c * d * d, d * d * sizeof *precision);
  } else {
    poei_cholesky_inverse(d, factor, precision);
  }
  memcpy(form->origin + c * d, g->mean + c * d, d * sizeof *form->origin);
  form->constant[c] = g->offset[c];
}

poe_status poei_normals_form(const void *self, poe_form *form, poe_error *error) {
  const poei_normals *g = self;
  poe_status status = poei_form_gaussians(form, g->k, g->d, error);
  for (size_t c = 0; status == POE_OK && c < g->k; c++) {
    form_component(g, c, form);
  }
  return status;
}

poe_status poei_normals_structure(const void *self, poe_structure *structure, poe_error *error) {
  const poei_normals *g = self;
  return poei_diagonal_structure(g->d, g->mean, g->factor, g->offset[0], structure, error);
}

/* ---- exact draws ---- */

/* x[d] holds standard normals and becomes a draw of component c. One row at a time, so that it depends on nothing else.
 */
static void draw_transform(const poei_normals *g, size_t c, double *x) {
  size_t d = g->d;
  const double *mean = g->mean + c * d, *factor = g->factor + c * factor_size(g);
  if (g->shape == POEI_NORMALS_DIAGONAL) {
    for (size_t j = 0; j < d; j++) {
      x[j] /= factor[j];
    }
  } else if (g->shape == POEI_NORMALS_PRECISION) {
    poei_solve_lower_transposed(d, factor, 1, x, d);
  } else {
    for (size_t i = d; i-- > 0;) { /* from the last row of L, which alone reads the last normal */
      x[i] = poei_dot(i + 1, factor + i * d, x);
    }
  }
  for (size_t j = 0; j < d; j++) {
    x[j] += mean[j];
  }
}

poe_status poei_normals_sample(const void *self, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                               poe_error *error) {
  (void)scratch;
  (void)error;
  const poei_normals *g = self;
  for (size_t i = 0; i < rows.n; i++) {
    double *x = rows.x + i * rows.ld;
    size_t c = 0;
    poe_rng normals = at[i];
    if (g->k > 1) { /* the component reads the row's own sequence, the normals a child's */
      poe_stream stream = poe_stream_open(at[i]);
      c = poe_stream_categorical(&stream, g->probability, g->k);
      normals = poe_rng_child(at[i], 1);
    }
    poe_rng_normals(normals, g->d, x);
    draw_transform(g, c, x);
  }
  return POE_OK;
}
