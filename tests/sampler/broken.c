/* Kernels with one deliberate mistake each (broken.h), written apart from the library's: plain, from the formulas. */
#include "tests/sampler/broken.h"

#include <string.h>

#include "core/pool.h"
#include "sampler/kernels/density.h"
#include "tests/sampler/targets.h"

enum { ROOM = POEI_TILE * TARGET_MAX_DIM };

typedef struct proposals {
  double y[ROOM], grad[ROOM], noise[ROOM], logp[POEI_TILE], ratio[POEI_TILE];
} proposals;

static double log_q(const poei_kernel_settings *s, size_t d, const double *to, const double *from, const double *grad) {
  double sum = 0.0, e = s->step_size;
  for (size_t j = 0; j < d; j++) {
    double off = to[j] - from[j] - 0.5 * e * e * s->metric[j] * grad[j];
    sum -= 0.5 * off * off / (e * e * s->metric[j]);
  }
  return sum;
}

static void propose_rwm(const poei_density *density, const poei_kernel_settings *s, broken_mistake mistake,
                        const poei_tile *t, proposals *p, poe_scratch *scratch) {
  size_t d = t->d;
  for (size_t i = 0; i < t->n; i++) {
    double wider = mistake == MISTAKE_SCALE ? 0.5 + fabs(t->x[i * d]) : 1.0;
    for (size_t j = 0; j < d; j++) {
      p->y[i * d + j] = t->x[i * d + j] + wider * s->step_size * sqrt(s->metric[j]) * p->noise[i * d + j];
    }
  }
  poei_density_eval(density, t->n, d, p->y, p->logp, p->grad, scratch, NULL);
  for (size_t i = 0; i < t->n; i++) {
    p->ratio[i] = p->logp[i] - t->logp[i];
  }
}

static void propose_mala(const poei_density *density, const poei_kernel_settings *s, broken_mistake mistake,
                         const poei_tile *t, proposals *p, poe_scratch *scratch) {
  size_t d = t->d;
  double e = s->step_size, wider = mistake == MISTAKE_SCALE ? sqrt(2.0) : 1.0;
  for (size_t i = 0; i < t->n * d; i++) {
    double m = s->metric[i % d];
    p->y[i] = t->x[i] + 0.5 * e * e * m * t->grad[i] + wider * e * sqrt(m) * p->noise[i];
  }
  poei_density_eval(density, t->n, d, p->y, p->logp, p->grad, scratch, NULL);
  for (size_t i = 0; i < t->n; i++) {
    const double *x = t->x + i * d, *y = p->y + i * d;
    double back = log_q(s, d, x, y, p->grad + i * d), there = log_q(s, d, y, x, t->grad + i * d);
    p->ratio[i] = p->logp[i] - t->logp[i] + (mistake == MISTAKE_ONE_WAY ? 0.0 : back - there);
  }
}

static void propose_hmc(const poei_density *density, const poei_kernel_settings *s, broken_mistake mistake,
                        const poei_tile *t, proposals *p, poe_scratch *scratch) {
  size_t d = t->d;
  double e = s->step_size, before[POEI_TILE], *v = p->noise;
  memcpy(p->y, t->x, t->n * d * sizeof(double));
  memcpy(p->grad, t->grad, t->n * d * sizeof(double));
  for (size_t i = 0; i < t->n; i++) {
    before[i] = -t->logp[i];
    for (size_t j = 0; j < d; j++) {
      v[i * d + j] *= mistake == MISTAKE_SCALE ? sqrt(2.0) : 1.0;
      before[i] += 0.5 * v[i * d + j] * v[i * d + j];
    }
  }
  for (size_t step = 0; step < s->leapfrog; step++) {
    double first = mistake == MISTAKE_ONE_WAY && step == 0 ? 1.0 : 0.5;
    for (size_t i = 0; i < t->n * d; i++) {
      double scale = e * sqrt(s->metric[i % d]);
      v[i] += first * scale * p->grad[i];
      p->y[i] += scale * v[i];
    }
    poei_density_eval(density, t->n, d, p->y, p->logp, p->grad, scratch, NULL);
    for (size_t i = 0; i < t->n * d; i++) {
      v[i] += 0.5 * e * sqrt(s->metric[i % d]) * p->grad[i];
    }
  }
  for (size_t i = 0; i < t->n; i++) {
    double after = -p->logp[i];
    for (size_t j = 0; j < d; j++) {
      after += 0.5 * v[i * d + j] * v[i * d + j];
    }
    p->ratio[i] = before[i] - after;
  }
}

static poe_status broken_step(broken_move move, broken_mistake mistake, const poei_density *density,
                              const poei_kernel_settings *settings, poei_tile *tile, poe_scratch *scratch) {
  proposals p;
  double mean = 0.0;
  for (size_t i = 0; i < tile->n; i++) {
    poe_rng_normals(tile->at[i], tile->d, p.noise + i * tile->d);
  }
  (move == MOVE_RWM    ? propose_rwm
   : move == MOVE_MALA ? propose_mala
                       : propose_hmc)(density, settings, mistake, tile, &p, scratch);
  for (size_t i = 0; i < tile->n; i++) {
    p.ratio[i] *= mistake == MISTAKE_SIGN ? -1.0 : 1.0;
    tile->acceptance[i] = fmin(1.0, exp(p.ratio[i]));
    mean += tile->acceptance[i] / (double)tile->n;
  }
  for (size_t i = 0; i < tile->n; i++) {
    poe_rng at = tile->at[mistake == MISTAKE_BATCH ? 0 : i];
    at.site = 1;
    poe_stream stream = poe_stream_open(at);
    if (poe_stream_uniform(&stream) < (mistake == MISTAKE_BATCH ? mean : tile->acceptance[i])) {
      memcpy(tile->x + i * tile->d, p.y + i * tile->d, tile->d * sizeof(double));
      memcpy(tile->grad + i * tile->d, p.grad + i * tile->d, tile->d * sizeof(double));
      tile->logp[i] = p.logp[i];
    }
  }
  return POE_OK;
}

static size_t broken_scratch(size_t n, size_t d) {
  (void)n;
  (void)d;
  return 64;
}

#define BROKEN_DEFINE(name_, move_, mistake_)                                                                          \
  static poe_status step_##name_(const poei_density *density, const poei_kernel_settings *settings, poei_tile *tile,   \
                                 uint64_t *densities, uint64_t *gradients, poe_scratch *scratch, poe_error *error) {   \
    (void)densities;                                                                                                   \
    (void)gradients;                                                                                                   \
    (void)error;                                                                                                       \
    return broken_step(move_, mistake_, density, settings, tile, scratch);                                             \
  }                                                                                                                    \
  const poei_kernel broken_##name_ = {                                                                                 \
      .name = #name_,                                                                                                  \
      .needs_gradient = true,                                                                                          \
      .scratch = broken_scratch,                                                                                       \
      .step = step_##name_,                                                                                            \
  };
BROKEN_LIST(BROKEN_DEFINE)
