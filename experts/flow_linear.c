/* Linear layers of a flow: y = W x + b with a square W, of all coordinates or, for images, of the channels of every
 * pixel (the invertible 1 x 1 convolution of Kingma and Dhariwal 2018). log |det| = pixels * log |det W|.
 *
 * `linear` gives W, `lu` its factors W = P L U (L with ones on its diagonal). Either way W is kept whole for the way to
 * noise and factored with pivots for the way back. All in double.
 */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/linalg.h"
#include "core/numerics.h"
#include "experts/flow.h"
#include "net/product.h"

typedef struct linear {
  size_t k, pixels; /* channels, columns of each; pixels 1: a vector           */
  double *weight;   /* [k, k]                                                  */
  double *factor;   /* [k, k] L below the diagonal, U on and above             */
  size_t *pivot;    /* [k] row pivot[i] of W is row i of L U                   */
  double *bias;     /* [k]                                                     */
  double log_det;   /* of W                                                    */
} linear;

static void linear_destroy(void *self) {
  linear *l = self;
  if (l != NULL) {
    poei_free(l->weight);
    poei_free(l->factor);
    poei_free(l->pivot);
    poei_free(l->bias);
    poei_free(l);
  }
}

/* ---- factors ---- */

/* factor[k, k] = W with rows exchanged into L U, by Gaussian elimination with partial pivots. False: singular. */
static bool linear_factor(size_t k, double *factor, size_t *pivot, double *log_det) {
  *log_det = 0.0;
  for (size_t i = 0; i < k; i++) {
    pivot[i] = i;
  }
  for (size_t c = 0; c < k; c++) {
    size_t best = c;
    for (size_t r = c + 1; r < k; r++) {
      best = fabs(factor[r * k + c]) > fabs(factor[best * k + c]) ? r : best;
    }
    for (size_t j = 0; j < k && best != c; j++) {
      double kept = factor[c * k + j];
      factor[c * k + j] = factor[best * k + j];
      factor[best * k + j] = kept;
    }
    size_t kept = pivot[c];
    pivot[c] = pivot[best];
    pivot[best] = kept;
    *log_det += log(fabs(factor[c * k + c]));
    if (!isfinite(*log_det)) {
      return false;
    }
    for (size_t r = c + 1; r < k; r++) {
      double ratio = factor[r * k + c] /= factor[c * k + c];
      for (size_t j = c + 1; j < k; j++) {
        factor[r * k + j] -= ratio * factor[c * k + j];
      }
    }
  }
  return true;
}

/* x[k] <- W^-1 x, in place; row[k] is working memory. */
static void linear_solve(size_t k, const double *factor, const size_t *pivot, double *x, double *row) {
  for (size_t i = 0; i < k; i++) {
    double sum = x[pivot[i]];
    for (size_t j = 0; j < i; j++) {
      sum -= factor[i * k + j] * row[j];
    }
    row[i] = sum;
  }
  for (size_t i = k; i-- > 0;) {
    double sum = row[i];
    for (size_t j = i + 1; j < k; j++) {
      sum -= factor[i * k + j] * x[j];
    }
    x[i] = sum / factor[i * k + i];
  }
}

/* ---- evaluation ---- */

static size_t linear_scratch(const void *self, unsigned want, size_t n) {
  const linear *l = self;
  if ((want & POE_WANT_SAMPLE) != 0) {
    return 2 * poe_scratch_need(l->k, sizeof(double));
  }
  return (l->pixels == 1 ? 2 : 1) * poe_scratch_need((l->pixels == 1 ? n : 1) * l->k * l->pixels, sizeof(double));
}

/* x <- W x or W' x for every row of x[n, d]. */
static void linear_multiply(const linear *l, bool transposed, size_t n, size_t d, double *x, poe_scratch *scratch) {
  size_t mark = poe_scratch_mark(scratch), m = l->k * l->pixels;
  if (l->pixels > 1) {
    double *y = poe_scratch_doubles(scratch, m);
    for (size_t i = 0; i < n; i++) {
      poei_dgemm(transposed, false, l->k, l->pixels, l->k, 1.0, l->weight, l->k, x + i * d, l->pixels, 0.0, y,
                 l->pixels);
      memcpy(x + i * d, y, m * sizeof *y);
    }
  } else {
    double *from = poe_scratch_doubles(scratch, n * m), *to = poe_scratch_doubles(scratch, n * m);
    for (size_t i = 0; i < n; i++) {
      memcpy(from + i * m, x + i * d, m * sizeof *from);
    }
    if (transposed) {
      poei_product_back_double(n, m, m, from, l->weight, false, to);
    } else {
      poei_product_double(n, m, m, from, l->weight, to);
    }
    for (size_t i = 0; i < n; i++) {
      memcpy(x + i * d, to + i * m, m * sizeof *to);
    }
  }
  poe_scratch_release(scratch, mark);
}

static poe_status linear_apply(const void *self, poei_flow_pass *pass, poe_error *error) {
  const linear *l = self;
  linear_multiply(l, false, pass->n, pass->d, pass->x, pass->scratch);
  for (size_t i = 0; i < pass->n; i++) {
    for (size_t j = 0; j < l->k * l->pixels; j++) {
      pass->x[i * pass->d + j] += l->bias[j / l->pixels];
    }
    pass->log_p[i] += (double)l->pixels * l->log_det;
  }
  poe_status status = poei_flow_rest(pass, error);
  if (status == POE_OK && pass->grad != NULL) {
    linear_multiply(l, true, pass->n, pass->d, pass->grad, pass->scratch);
  }
  return status;
}

static void linear_invert(const void *self, poei_flow_pass *pass) {
  const linear *l = self;
  size_t mark = poe_scratch_mark(pass->scratch);
  double *x = poe_scratch_doubles(pass->scratch, l->k), *row = poe_scratch_doubles(pass->scratch, l->k);
  for (size_t i = 0; i < pass->n; i++) {
    for (size_t p = 0; p < l->pixels; p++) {
      double *at = pass->x + i * pass->d + p;
      for (size_t c = 0; c < l->k; c++) {
        x[c] = at[c * l->pixels] - l->bias[c];
      }
      linear_solve(l->k, l->factor, l->pivot, x, row);
      for (size_t c = 0; c < l->k; c++) {
        at[c * l->pixels] = x[c];
      }
    }
  }
  poe_scratch_release(pass->scratch, mark);
}

static const poei_bijector linear_ops = {
    .destroy = linear_destroy, .scratch = linear_scratch, .apply = linear_apply, .invert = linear_invert};

/* ---- reading ---- */

/* The side of W: all columns of the view, or its channels when only their square fits `count` numbers. */
static poe_status linear_side(const poei_flow_reader *reader, const char *key, const poei_tensor *tensor, size_t *k,
                              poe_error *error) {
  size_t all = reader->view.count, channels = poei_flow_channels(reader);
  *k = tensor->count / all == all && tensor->count % all == 0 ? all : channels;
  if (*k * *k == tensor->count && *k <= tensor->count) {
    return POE_OK;
  }
  char text[160];
  return poei_flow_refuse(reader, error, POE_E_SHAPE, "tensor '%s' of '%s' has shape %s, but [%zu, %zu] is needed",
                          tensor->name, key, poei_shape_text(tensor->ndim, tensor->shape, text, sizeof text), channels,
                          channels);
}

/* W[k, k] becomes its inverse. False: singular. */
static bool linear_inverse(linear *l) {
  size_t k = l->k;
  double *x = poei_alloc(2 * k, sizeof *x), *made = poei_alloc(k * k, sizeof *made);
  bool good = x != NULL && made != NULL;
  for (size_t c = 0; good && c < k; c++) {
    memset(x, 0, k * sizeof *x);
    x[c] = 1.0;
    linear_solve(k, l->factor, l->pivot, x, x + k);
    for (size_t r = 0; r < k; r++) {
      made[r * k + c] = x[r];
    }
  }
  poei_free(x);
  if (good) {
    poei_free(l->weight);
    l->weight = made;
  } else {
    poei_free(made);
  }
  return good;
}

static poe_status linear_refactor(const poei_flow_reader *reader, linear *l, poe_error *error) {
  memcpy(l->factor, l->weight, l->k * l->k * sizeof *l->factor);
  double largest = 0.0;
  for (size_t i = 0; i < l->k * l->k; i++) {
    largest = fmax(largest, fabs(l->weight[i]));
  }
  for (size_t c = 0; c < l->k; c++) {
    largest = fmax(largest, fabs(l->bias[c]));
  }
  if (!(largest <= POEI_FLOW_LARGEST)) {
    return poei_flow_refuse(reader, error, POE_E_DOMAIN,
                            "it has the number %g, or its inverse has: beyond %g densities overflow", largest,
                            POEI_FLOW_LARGEST);
  }
  return linear_factor(l->k, l->factor, l->pivot, &l->log_det)
             ? POE_OK
             : poei_flow_refuse(reader, error, POE_E_DOMAIN, "its matrix is singular: it has no inverse");
}

/* From weight[k, k] (taken over, also when it fails) and the keys "bias" and "inverse". */
static poe_status linear_finish(poei_flow_reader *reader, size_t k, double *weight, poei_flow_layer *layer,
                                poe_error *error) {
  bool inverse = false;
  linear *l = poei_calloc(1, sizeof *l);
  if (l == NULL) {
    poei_free(weight);
    return poei_flow_no_memory(reader, error);
  }
  *l = (linear){.k = k, .pixels = reader->view.count / k, .weight = weight};
  l->factor = poei_alloc(k * k, sizeof *l->factor);
  l->pivot = poei_alloc(k, sizeof *l->pivot);
  poe_status status = l->factor == NULL || l->pivot == NULL ? poei_flow_no_memory(reader, error) : POE_OK;
  if (status == POE_OK) {
    status = poei_flow_flag(reader, "inverse", &inverse, error);
  }
  if (status == POE_OK) {
    status = poei_flow_spread(reader, "bias", 0.0, k, &l->bias, error);
  }
  if (status == POE_OK) {
    status = linear_refactor(reader, l, error);
  }
  if (status == POE_OK && inverse) { /* y = W^-1 (x - b) */
    linear_solve(k, l->factor, l->pivot, l->bias, l->weight);
    for (size_t c = 0; c < k; c++) {
      l->bias[c] = -l->bias[c];
    }
    status = linear_inverse(l) ? linear_refactor(reader, l, error) : poei_flow_no_memory(reader, error);
  }
  if (status != POE_OK) {
    linear_destroy(l);
    return status;
  }
  *layer = (poei_flow_layer){&linear_ops, l};
  return POE_OK;
}

poe_status poei_flow_read_linear(poei_flow_reader *reader, poei_flow_layer *layer, poe_error *error) {
  const poei_tensor *tensor = NULL;
  double *weight = NULL;
  size_t k = 0;
  poe_status status = poei_flow_keys(reader, "weight|bias|inverse", error);
  if (status == POE_OK) {
    status = poei_flow_tensor(reader, "weight", true, &tensor, &weight, error);
  }
  if (status == POE_OK) {
    status = linear_side(reader, "weight", tensor, &k, error);
  }
  if (status != POE_OK) {
    poei_free(weight);
    return status;
  }
  return linear_finish(reader, k, weight, layer, error);
}

/* ---- the factors of `lu` ---- */

/* One triangle into to[k, k]: from a matrix [k, k], or from its k (k - 1) / 2 numbers off the diagonal row by row. */
static poe_status lu_triangle(poei_flow_reader *reader, const char *key, bool upper, bool diagonal, size_t k,
                              double *to, poe_error *error) {
  const poei_tensor *tensor = NULL;
  double *from = NULL;
  poe_status status = poei_flow_tensor(reader, key, true, &tensor, &from, error);
  if (status != POE_OK) {
    return status;
  }
  bool packed = tensor->count != k * k;
  if (packed && (diagonal || tensor->count != k * (k - 1) / 2)) {
    char text[160];
    poei_free(from);
    return poei_flow_refuse(reader, error, POE_E_SHAPE, "tensor '%s' of '%s' has shape %s, but [%zu, %zu]%s is needed",
                            tensor->name, key, poei_shape_text(tensor->ndim, tensor->shape, text, sizeof text), k, k,
                            diagonal ? " (there is no 'diagonal')" : " or its part off the diagonal");
  }
  size_t next = 0;
  for (size_t i = 0; i < k; i++) {
    for (size_t j = upper ? i + 1 : 0; j < (upper ? k : i); j++) {
      to[i * k + j] = packed ? from[next++] : from[i * k + j];
    }
    if (diagonal) {
      to[i * k + i] = from[i * k + i];
    }
  }
  poei_free(from);
  return POE_OK;
}

/* The diagonal of U: sign * map(diagonal) + eps. */
static poe_status lu_diagonal(poei_flow_reader *reader, size_t k, double *upper, poe_error *error) {
  size_t map = 0;
  double eps = 0.0, *diagonal = NULL, *sign = NULL;
  poe_status status = poei_flow_choice(reader, "diagonal_map", "identity|exp|softplus", 0, &map, error);
  if (status == POE_OK) {
    status = poei_flow_number(reader, "eps", map == 2 ? 1e-3 : 0.0, 0.0, 1.0, &eps, error);
  }
  if (status == POE_OK) {
    status = poei_flow_spread(reader, "diagonal", 1.0, k, &diagonal, error);
  }
  if (status == POE_OK) {
    status = poei_flow_spread(reader, "sign", 1.0, k, &sign, error);
  }
  for (size_t i = 0; status == POE_OK && i < k; i++) {
    double mapped = map == 0 ? diagonal[i] : map == 1 ? exp(diagonal[i]) : poei_softplus(diagonal[i]);
    upper[i * k + i] = sign[i] * (mapped + eps);
  }
  poei_free(diagonal);
  poei_free(sign);
  return status;
}

/* product[k, k] <- P product: P a matrix [k, k], or the numbers of the rows [k]. */
static poe_status lu_permute(poei_flow_reader *reader, size_t k, double *product, poe_error *error) {
  const poei_tensor *tensor = NULL;
  double *p = NULL;
  poe_status status = poei_flow_tensor(reader, "permutation", false, &tensor, &p, error);
  if (status != POE_OK || p == NULL) {
    return status;
  }
  double *moved = poei_alloc(k * k, sizeof *moved);
  if (moved == NULL) {
    status = poei_flow_no_memory(reader, error);
  } else if (tensor->count == k * k) {
    poei_dgemm(false, false, k, k, k, 1.0, p, k, product, k, 0.0, moved, k);
  } else {
    for (size_t i = 0; i < k && status == POE_OK; i++) {
      bool good = tensor->count == k && p[i] >= 0.0 && p[i] < (double)k && p[i] == floor(p[i]);
      status = good ? POE_OK
                    : poei_flow_refuse(reader, error, POE_E_FORMAT,
                                       "'permutation' must be %zu row numbers or a matrix [%zu, %zu]", k, k, k);
      if (good) {
        memcpy(moved + i * k, product + (size_t)p[i] * k, k * sizeof *moved);
      }
    }
  }
  if (status == POE_OK) {
    memcpy(product, moved, k * k * sizeof *moved);
  }
  poei_free(moved);
  poei_free(p);
  return status;
}

poe_status poei_flow_read_lu(poei_flow_reader *reader, poei_flow_layer *layer, poe_error *error) {
  size_t k = poei_flow_channels(reader), bytes;
  bool diagonal = json_object_get(reader->layer, "diagonal") == NULL;
  poe_status status = poei_flow_keys(reader,
                                     diagonal ? "lower|upper|permutation|bias|inverse"
                                              : "lower|upper|diagonal|diagonal_map|eps|sign|permutation|bias|inverse",
                                     error);
  if (status == POE_OK && (!poei_mul_size(k, k, &bytes) || bytes > POEI_MAX_VALUE)) {
    status = poei_flow_refuse(reader, error, POE_E_SHAPE, "a matrix of %zu rows is more than %zu numbers", k,
                              POEI_MAX_VALUE);
  }
  if (status != POE_OK) {
    return status;
  }
  double *lower = poei_calloc(k * k, sizeof *lower), *upper = poei_calloc(k * k, sizeof *upper);
  double *weight = poei_alloc(k * k, sizeof *weight);
  status = lower == NULL || upper == NULL || weight == NULL ? poei_flow_no_memory(reader, error) : POE_OK;
  if (status == POE_OK) {
    status = lu_triangle(reader, "lower", false, false, k, lower, error);
  }
  for (size_t i = 0; status == POE_OK && i < k; i++) {
    lower[i * k + i] = 1.0;
  }
  if (status == POE_OK) {
    status = lu_triangle(reader, "upper", true, diagonal, k, upper, error);
  }
  if (status == POE_OK && !diagonal) {
    status = lu_diagonal(reader, k, upper, error);
  }
  if (status == POE_OK) {
    poei_dgemm(false, false, k, k, k, 1.0, lower, k, upper, k, 0.0, weight, k);
    status = lu_permute(reader, k, weight, error);
  }
  poei_free(lower);
  poei_free(upper);
  if (status != POE_OK) {
    poei_free(weight);
    return status;
  }
  return linear_finish(reader, k, weight, layer, error);
}
