/* What the kernels share (density.h).
 *
 * Decision: Metropolis et al. 1953, Hastings 1970: accept y from x with probability min(1, p(y) q(x|y) / p(x) q(y|x)).
 * Invariants: every row decides by its own address; no heap memory. */
#include "sampler/kernels/density.h"

#include <string.h>

const poei_kernel *const poei_kernels[] = {
#define DENSITY_ENTRY(word) &poei_##word##_kernel,
    POEI_KERNEL_LIST(DENSITY_ENTRY)
#undef DENSITY_ENTRY
        NULL,
};

const poei_kernel *poei_kernel_find(const char *name) {
  for (size_t i = 0; poei_kernels[i] != NULL; i++) {
    if (strcmp(poei_kernels[i]->name, name) == 0) {
      return poei_kernels[i];
    }
  }
  return NULL;
}

size_t poei_density_scratch(const poei_density *density, unsigned want, size_t n) {
  size_t most = 0; /* the terms are evaluated one after the other */
  for (size_t t = 0; t < density->n_terms; t++) {
    size_t need = poe_expert_scratch(density->term[t], want, n);
    most = need > most ? need : most;
  }
  return most;
}

poe_status poei_density_eval(const poei_density *density, size_t n, size_t d, const double *x, double *logp,
                             double *grad, poe_scratch *scratch, poe_error *error) {
  memset(logp, 0, n * sizeof *logp);
  if (grad != NULL) {
    memset(grad, 0, n * d * sizeof *grad);
  }
  poe_rows rows = {.n = n, .d = d, .ld = d, .x = x};
  poe_accum out = {.logp = logp, .grad = grad, .ldg = d};
  for (size_t t = 0; t < density->n_terms; t++) {
    size_t mark = poe_scratch_mark(scratch);
    poe_status status = poe_expert_eval_add(density->term[t], rows, density->weight[t], out, scratch, error);
    poe_scratch_release(scratch, mark);
    if (status != POE_OK) {
      return status;
    }
  }
  return POE_OK;
}

void poei_tile_noise(const poei_tile *tile, double *noise) {
  for (size_t i = 0; i < tile->n; i++) {
    poe_rng at = tile->at[i];
    at.site += POEI_SITE_NOISE;
    poe_rng_normals(at, tile->d, noise + i * tile->d);
  }
}

void poei_metric_scale(const poei_kernel_settings *settings, size_t d, double factor, double *scale) {
  for (size_t j = 0; j < d; j++) {
    scale[j] = factor * sqrt(settings->metric[j]);
  }
}

double poei_square_norm(const double *x, size_t d) {
  double part[4] = {0.0, 0.0, 0.0, 0.0}; /* four sums, so that the compiler may use vector registers */
  size_t j = 0;
  for (; j + 4 <= d; j += 4) {
    for (size_t k = 0; k < 4; k++) {
      part[k] += x[j + k] * x[j + k];
    }
  }
  double sum = (part[0] + part[1]) + (part[2] + part[3]);
  for (; j < d; j++) {
    sum += x[j] * x[j];
  }
  return sum;
}

void poei_tile_decide(poei_tile *tile, const double *y, const double *logp_y, const double *grad_y,
                      const double *log_ratio, unsigned char *accepted) {
  size_t d = tile->d;
  for (size_t i = 0; i < tile->n; i++) {
    accepted[i] = 0;
    tile->acceptance[i] = 0.0;
    tile->diverging[i] = isnan(logp_y[i]) || logp_y[i] == INFINITY || isnan(log_ratio[i]);
    if (tile->diverging[i] || logp_y[i] == -INFINITY) {
      continue;
    }
    double probability = log_ratio[i] < 0.0 ? exp(log_ratio[i]) : 1.0;
    tile->acceptance[i] = probability;
    poe_rng at = tile->at[i];
    at.site += POEI_SITE_ACCEPT;
    poe_stream stream = poe_stream_open(at);
    if (poe_stream_uniform(&stream) < probability) {
      accepted[i] = 1;
      memcpy(tile->x + i * d, y + i * d, d * sizeof *y);
      tile->logp[i] = logp_y[i];
      if (grad_y != NULL) {
        memcpy(tile->grad + i * d, grad_y + i * d, d * sizeof *y);
      }
    }
  }
}
