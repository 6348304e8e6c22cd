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

/* One row from (y, v), moved in place by `length` steps of size e; how much H rises. */
static double fly(const poei_density *density, const poei_kernel_settings *s, size_t d, double e, size_t length,
                  double *y, double *v, double *grad, double *logp, poe_scratch *scratch) {
  double rise = *logp - 0.5 * poei_square_norm(v, d);
  for (size_t step = 0; step < length; step++) {
    for (size_t j = 0; j < d; j++) {
      double scale = e * sqrt(s->metric[j]);
      v[j] += 0.5 * scale * grad[j];
      y[j] += scale * v[j];
    }
    poei_density_eval(density, 1, d, y, logp, grad, scratch, NULL);
    for (size_t j = 0; j < d; j++) {
      v[j] += 0.5 * e * sqrt(s->metric[j]) * grad[j];
    }
  }
  return rise - *logp + 0.5 * poei_square_norm(v, d);
}

/* HMC where H rises by 40 or less; elsewhere the same momentum again, in steps of a quarter. */
static poe_status retry_step(broken_mistake mistake, const poei_density *density, const poei_kernel_settings *s,
                             poei_tile *t, poe_scratch *scratch) {
  size_t d = t->d;
  for (size_t i = 0; i < t->n; i++) {
    double *x = t->x + i * d, *grad = t->grad + i * d, v[TARGET_MAX_DIM];
    double y[2][TARGET_MAX_DIM], w[2][TARGET_MAX_DIM], g[2][TARGET_MAX_DIM], logp[2] = {t->logp[i], t->logp[i]};
    poe_rng_normals(t->at[i], d, v);
    for (size_t k = 0; k < 2; k++) {
      memcpy(y[k], x, d * sizeof *x);
      memcpy(w[k], v, d * sizeof *v);
      memcpy(g[k], grad, d * sizeof *grad);
    }
    double rise = fly(density, s, d, s->step_size, s->leapfrog, y[0], w[0], g[0], &logp[0], scratch);
    size_t end = rise > 40.0;
    if (end == 1) {
      rise = fly(density, s, d, 0.25 * s->step_size, 4 * s->leapfrog, y[1], w[1], g[1], &logp[1], scratch);
    }
    poe_rng at = t->at[i];
    at.site = 1;
    poe_stream stream = poe_stream_open(at);
    t->acceptance[i] = exp(fmin(-rise, 0.0));
    bool accepted = poe_stream_uniform(&stream) < t->acceptance[i];
    if (accepted && end == 1 && mistake != MISTAKE_ONE_WAY) {
      double back_logp = logp[1], back_y[TARGET_MAX_DIM], back_g[TARGET_MAX_DIM];
      for (size_t j = 0; j < d; j++) {
        back_y[j] = y[1][j];
        back_g[j] = g[1][j];
        v[j] = -w[1][j];
      }
      accepted = fly(density, s, d, s->step_size, s->leapfrog, back_y, v, back_g, &back_logp, scratch) > 40.0;
    }
    if (accepted) {
      memcpy(x, y[end], d * sizeof *x);
      memcpy(grad, g[end], d * sizeof *grad);
      t->logp[i] = logp[end];
    }
  }
  return POE_OK;
}

static poe_status broken_step(broken_move move, broken_mistake mistake, const poei_density *density,
                              const poei_kernel_settings *settings, poei_tile *tile, poe_scratch *scratch) {
  if (move == MOVE_RETRY) {
    return retry_step(mistake, density, settings, tile, scratch);
  }
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
