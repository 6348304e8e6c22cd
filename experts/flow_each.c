/* Layers of a flow that treat every coordinate by itself, without a network: `affine` (actnorm, batch normalisation),
 * `dequantize`, `logit`.
 *
 *   affine      y = s x + t                               log |det| = sum log |s|
 *   dequantize  y = ((L - 1) x + 1/2) / L                 grey values k / (L - 1) to the middle of their cell of width
 * 1/L logit       y = log u - log(1 - u), u = a + (1 - 2a) x    log |det| = sum log(1 - 2a) - log u - log(1 - u)
 *
 * Kingma and Dhariwal 2018 (actnorm); Dinh, Sohl-Dickstein and Bengio 2017, section 4.1 (logit).
 */
#include <math.h>
#include <stdio.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "experts/flow.h"

/* ---- affine ---- */

typedef struct affine {
  size_t m;
  double *scale; /* [m] not 0 */
  double *shift; /* [m]       */
  double log_det;
} affine;

static void affine_destroy(void *self) {
  affine *a = self;
  if (a != NULL) {
    poei_free(a->scale);
    poei_free(a->shift);
    poei_free(a);
  }
}

static poe_status affine_apply(const void *self, poei_flow_pass *pass, poe_error *error) {
  const affine *a = self;
  for (size_t i = 0; i < pass->n; i++) {
    for (size_t j = 0; j < a->m; j++) {
      pass->x[i * pass->d + j] = a->scale[j] * pass->x[i * pass->d + j] + a->shift[j];
    }
    pass->log_p[i] += a->log_det;
  }
  poe_status status = poei_flow_rest(pass, error);
  for (size_t i = 0; pass->grad != NULL && i < pass->n; i++) {
    for (size_t j = 0; j < a->m; j++) {
      pass->grad[i * pass->d + j] *= a->scale[j];
    }
  }
  return status;
}

static void affine_invert(const void *self, poei_flow_pass *pass) {
  const affine *a = self;
  for (size_t i = 0; i < pass->n; i++) {
    for (size_t j = 0; j < a->m; j++) {
      pass->x[i * pass->d + j] = (pass->x[i * pass->d + j] - a->shift[j]) / a->scale[j];
    }
  }
}

static const poei_bijector affine_ops = {
    .keeps_boxes = true, .destroy = affine_destroy, .apply = affine_apply, .invert = affine_invert};

/* Takes over scale[m] and shift[m], also when it fails. */
static poe_status affine_finish(const poei_flow_reader *reader, double *scale, double *shift, poei_flow_layer *layer,
                                poe_error *error) {
  affine *made = poei_calloc(1, sizeof *made);
  if (made == NULL) {
    poei_free(scale);
    poei_free(shift);
    return poei_flow_no_memory(reader, error);
  }
  *made = (affine){.m = reader->view.count, .scale = scale, .shift = shift};
  for (size_t j = 0; j < made->m; j++) {
    double size = fabs(scale[j]), far = fmax(fabs(shift[j]), fabs(shift[j] / scale[j]));
    bool invertible = isfinite(size) && isfinite(shift[j]) && isfinite(log(size));
    bool usable = size <= POEI_FLOW_LARGEST && size * POEI_FLOW_LARGEST >= 1.0 && far <= POEI_FLOW_LARGEST;
    made->log_det += log(size);
    if (!usable) {
      char why[96] = "it has no inverse";
      if (invertible) {
        snprintf(why, sizeof why, "with numbers beyond %g, or below its inverse, densities overflow",
                 POEI_FLOW_LARGEST);
      }
      poe_status status =
          poei_flow_refuse(reader, error, POE_E_DOMAIN, "at coordinate %zu it scales by %g and shifts by %g: %s", j,
                           scale[j], shift[j], why);
      affine_destroy(made);
      return status;
    }
  }
  *layer = (poei_flow_layer){&affine_ops, made};
  return POE_OK;
}

poe_status poei_flow_read_affine(poei_flow_reader *reader, poei_flow_layer *layer, poe_error *error) {
  size_t m = reader->view.count;
  bool inverse = false, logs = json_object_get(reader->layer, "log_scale") != NULL;
  double *scale = NULL, *shift = NULL;
  poe_status status = poei_flow_keys(reader, logs ? "log_scale|shift|inverse" : "scale|shift|inverse", error);
  if (status == POE_OK) {
    status = poei_flow_flag(reader, "inverse", &inverse, error);
  }
  if (status == POE_OK) {
    status = poei_flow_spread(reader, logs ? "log_scale" : "scale", logs ? 0.0 : 1.0, m, &scale, error);
  }
  if (status == POE_OK) {
    status = poei_flow_spread(reader, "shift", 0.0, m, &shift, error);
  }
  if (status != POE_OK) {
    poei_free(scale);
    poei_free(shift);
    return status;
  }
  for (size_t j = 0; j < m; j++) {
    scale[j] = logs ? exp(scale[j]) : scale[j];
    if (inverse) { /* y = (x - t) / s */
      shift[j] = -shift[j] / scale[j];
      scale[j] = 1.0 / scale[j];
    }
  }
  return affine_finish(reader, scale, shift, layer, error);
}

poe_status poei_flow_read_dequantize(poei_flow_reader *reader, poei_flow_layer *layer, poe_error *error) {
  size_t m = reader->view.count;
  double levels = 0.0;
  poe_status status = poei_flow_keys(reader, "levels", error);
  if (status == POE_OK) {
    status = poei_flow_number(reader, "levels", 256.0, 2.0, 65536.0, &levels, error);
  }
  if (status != POE_OK) {
    return status;
  }
  double *scale = poei_alloc(m, sizeof *scale), *shift = poei_alloc(m, sizeof *shift);
  if (scale == NULL || shift == NULL) {
    poei_free(scale);
    poei_free(shift);
    return poei_flow_no_memory(reader, error);
  }
  for (size_t j = 0; j < m; j++) {
    scale[j] = (levels - 1.0) / levels;
    shift[j] = 0.5 / levels;
  }
  return affine_finish(reader, scale, shift, layer, error);
}

/* ---- logit ---- */

typedef struct logit {
  size_t m;
  double alpha;
} logit;

static void logit_destroy(void *self) {
  poei_free(self);
}

static size_t logit_scratch(const void *self, unsigned want, size_t n) {
  return (want & POE_WANT_GRAD) != 0 ? poe_scratch_need(n * ((const logit *)self)->m, sizeof(double)) : 0;
}

static poe_status logit_apply(const void *self, poei_flow_pass *pass, poe_error *error) {
  const logit *l = self;
  size_t mark = poe_scratch_mark(pass->scratch);
  double *kept = pass->grad == NULL ? NULL : poe_scratch_doubles(pass->scratch, pass->n * l->m);
  double slope = 1.0 - 2.0 * l->alpha, log_slope = log(slope);
  for (size_t i = 0; i < pass->n; i++) {
    for (size_t j = 0; j < l->m; j++) {
      double *x = &pass->x[i * pass->d + j], u = l->alpha + slope * *x;
      if (u <= 0.0 || u >= 1.0) { /* outside: on with a point inside, so that nothing but log p shows it */
        pass->log_p[i] = -INFINITY;
        u = 0.5;
      }
      double log_u = log(u), log_v = log1p(-u);
      *x = log_u - log_v;
      pass->log_p[i] += log_slope - log_u - log_v;
      if (kept != NULL) {
        kept[i * l->m + j] = u;
      }
    }
  }
  poe_status status = poei_flow_rest(pass, error);
  for (size_t i = 0; kept != NULL && i < pass->n; i++) {
    for (size_t j = 0; j < l->m; j++) {
      double u = kept[i * l->m + j], *g = &pass->grad[i * pass->d + j];
      *g = slope / (u * (1.0 - u)) * (*g + 2.0 * u - 1.0);
    }
  }
  poe_scratch_release(pass->scratch, mark);
  return status;
}

/* Draws stay inside the open interval, where the density is positive; the ends come from infinite corners alone. */
static void logit_invert(const void *self, poei_flow_pass *pass) {
  const logit *l = self;
  double slope = 1.0 - 2.0 * l->alpha, low = -l->alpha / slope, high = (1.0 - l->alpha) / slope;
  for (size_t i = 0; i < pass->n; i++) {
    for (size_t j = 0; j < l->m; j++) {
      double *x = &pass->x[i * pass->d + j], z = *x;
      *x = (poei_sigmoid(z) - l->alpha) / slope;
      if (isfinite(z)) {
        *x = fmin(fmax(*x, low + 1e-15 * (high - low)), high - 1e-15 * (high - low));
      }
    }
  }
}

static const poei_bijector logit_ops = {.keeps_boxes = true,
                                        .destroy = logit_destroy,
                                        .scratch = logit_scratch,
                                        .apply = logit_apply,
                                        .invert = logit_invert};

poe_status poei_flow_read_logit(poei_flow_reader *reader, poei_flow_layer *layer, poe_error *error) {
  double alpha = 0.0;
  poe_status status = poei_flow_keys(reader, "alpha", error);
  if (status == POE_OK) {
    status = poei_flow_number(reader, "alpha", 0.0, 0.0, 0.49, &alpha, error);
  }
  logit *made = status == POE_OK ? poei_calloc(1, sizeof *made) : NULL;
  if (made == NULL) {
    return status == POE_OK ? poei_flow_no_memory(reader, error) : status;
  }
  *made = (logit){.m = reader->view.count, .alpha = alpha};
  *layer = (poei_flow_layer){&logit_ops, made};
  return POE_OK;
}
