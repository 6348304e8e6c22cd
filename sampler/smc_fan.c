/* Fans among the particles of sequential Monte Carlo (smc.h), for moves along them (kernels/fan.h).
 *
 * A coordinate on which the spread of others depends is looked for where moves take long: one that is correlated, by
 * more than four standard errors, with the sum over the others of log |x_j - mean_j|. Before each move one of these is
 * drawn, with probability in proportion to its squared correlation, and the other coordinates are fitted to it,
 *   x_j = center_j + tilt_j u + e^(a_j + rate_j u) noise,
 * by four rounds of least squares for center and tilt, with weights e^(-2 rate_j u) (the narrow end knows where the
 * middle is), and for a_j and rate_j on log |x_j - center_j - tilt_j u| (Harvey 1976). Coordinates whose rate is not
 * four standard errors away from 0 are left out.
 *
 * All this is measured on where the particles of all islands were resampled, so that a move hardly depends on the
 * particle that it moves; what is drawn depends on the step's address alone. A pass over the particles per temperature
 * and one per coordinate drawn anew: nothing where moves settle soon. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "sampler/smc.h"

enum { FAN_ROUNDS = 4 };
#define FAN_SURE 4.0               /* standard errors */
#define FAN_NOISE 1.11072073453959 /* sd of log |z|, z a standard normal number: pi / sqrt(8) */
#define FAN_LEAST 1e-12            /* of a standard deviation: nearer to the middle counts as that */

bool poei_smc_fan_create(poei_smc *smc, size_t rows) {
  poei_smc_fans *fans = &smc->fans;
  fans->level = poei_calloc(rows, sizeof(double));
  fans->score = poei_calloc(smc->d, sizeof(double));
  fans->mean = poei_calloc(smc->d, sizeof(double));
  fans->sd = poei_calloc(smc->d, sizeof(double));
  fans->fan.center = poei_calloc(smc->d, sizeof(double));
  fans->fan.tilt = poei_calloc(smc->d, sizeof(double));
  fans->fan.rate = poei_calloc(smc->d, sizeof(double));
  return fans->level != NULL && fans->score != NULL && fans->mean != NULL && fans->sd != NULL &&
         fans->fan.center != NULL && fans->fan.tilt != NULL && fans->fan.rate != NULL;
}

void poei_smc_fan_free(poei_smc *smc) {
  poei_smc_fans *fans = &smc->fans;
  poei_free(fans->level);
  poei_free(fans->score);
  poei_free(fans->mean);
  poei_free(fans->sd);
  poei_free(fans->fan.center);
  poei_free(fans->fan.tilt);
  poei_free(fans->fan.rate);
}

static size_t fan_rows(const poei_smc *smc) {
  return smc->islands * smc->particles;
}

/* ---- which coordinates ---- */

/* How far a particle is from the mean of coordinate j, in logs; 0 where the coordinate does not move. */
static double fan_log_off(const poei_smc *smc, size_t i, size_t j) {
  double sd = smc->fans.sd[j];
  return sd > 0.0 ? log(fmax(fabs(smc->start[i * smc->d + j] - smc->fans.mean[j]), FAN_LEAST * sd)) : 0.0;
}

/* Task: mean and standard deviation of a coordinate; 0 for one that is discrete. */
static poe_status fan_task_moments(void *context, size_t j, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  poei_smc *smc = context;
  size_t rows = fan_rows(smc), d = smc->d;
  double mean = 0.0, square = 0.0;
  for (size_t i = 0; i < rows; i++) {
    mean += smc->start[i * d + j] / (double)rows;
  }
  for (size_t i = 0; i < rows; i++) {
    double off = smc->start[i * d + j] - mean;
    square += off * off / (double)rows;
  }
  bool discrete = poe_expert_traits(smc->base)->support[j].kind == POE_DISCRETE;
  smc->fans.mean[j] = mean;
  smc->fans.sd[j] = discrete ? 0.0 : sqrt(square);
  return POE_OK;
}

/* Task: the level of a tile's particles: log distances from the means, all coordinates together. */
static poe_status fan_task_level(void *context, size_t tile, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  poei_smc *smc = context;
  size_t first, n = poei_smc_tile_rows(smc, tile, &first);
  for (size_t i = first; i < first + n; i++) {
    smc->fans.level[i] = 0.0;
    for (size_t j = 0; j < smc->d; j++) {
      smc->fans.level[i] += fan_log_off(smc, i, j);
    }
  }
  return POE_OK;
}

/* Task: the squared correlation of a coordinate with the level of the others; 0 where it may be noise. */
static poe_status fan_task_score(void *context, size_t j, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  poei_smc *smc = context;
  poei_smc_fans *fans = &smc->fans;
  size_t rows = fan_rows(smc), d = smc->d;
  double count = (double)rows, mean = 0.0, yy = 0.0, uy = 0.0;
  fans->score[j] = 0.0;
  if (!(fans->sd[j] > 0.0)) {
    return POE_OK;
  }
  for (size_t i = 0; i < rows; i++) {
    mean += (fans->level[i] - fan_log_off(smc, i, j)) / count;
  }
  for (size_t i = 0; i < rows; i++) {
    double y = fans->level[i] - fan_log_off(smc, i, j) - mean;
    yy += y * y;
    uy += y * (smc->start[i * d + j] - fans->mean[j]) / fans->sd[j];
  }
  double square = yy > 0.0 ? uy * uy / (yy * count) : 0.0;
  fans->score[j] = square * count > FAN_SURE * FAN_SURE ? square : 0.0;
  return POE_OK;
}

poe_status poei_smc_fan_find(poei_smc *smc, poe_error *error) {
  poe_status status = poei_workers_run(&smc->workers, smc->d, fan_task_moments, smc, error);
  if (status == POE_OK) {
    status = poei_workers_run(&smc->workers, smc->islands * smc->tiles, fan_task_level, smc, error);
  }
  if (status == POE_OK) {
    status = poei_workers_run(&smc->workers, smc->d, fan_task_score, smc, error);
  }
  smc->fans.total = 0.0;
  for (size_t j = 0; j < smc->d; j++) {
    smc->fans.total += smc->fans.score[j];
  }
  smc->fans.fan.along = smc->d; /* none is fitted */
  return status;
}

/* ---- one of them ---- */

/* center + tilt u through the particles' coordinate j, weighted by e^(-2 rate u). False when they have no line. */
static bool fan_line(const poei_smc *smc, size_t j, double rate, double *center, double *tilt) {
  const poei_fan *fan = &smc->fans.fan;
  size_t rows = fan_rows(smc), d = smc->d;
  double s0 = 0.0, s1 = 0.0, s2 = 0.0, y0 = 0.0, y1 = 0.0, top = -INFINITY;
  for (size_t i = 0; i < rows; i++) {
    top = fmax(top, -2.0 * rate * (smc->start[i * d + fan->along] - fan->origin) / fan->unit);
  }
  for (size_t i = 0; i < rows; i++) {
    double u = (smc->start[i * d + fan->along] - fan->origin) / fan->unit, y = smc->start[i * d + j];
    double weight = exp(-2.0 * rate * u - top);
    s0 += weight;
    s1 += weight * u;
    s2 += weight * u * u;
    y0 += weight * y;
    y1 += weight * u * y;
  }
  double determinant = s0 * s2 - s1 * s1;
  if (!(determinant > 0.0)) {
    return false;
  }
  *tilt = (s0 * y1 - s1 * y0) / determinant;
  *center = (y0 - *tilt * s1) / s0;
  return true;
}

/* The slope of log |x_j - center - tilt u| on u, which is standardised. */
static double fan_slope(const poei_smc *smc, size_t j, double center, double tilt) {
  const poei_fan *fan = &smc->fans.fan;
  size_t rows = fan_rows(smc), d = smc->d;
  double slope = 0.0, least = FAN_LEAST * smc->fans.sd[j];
  for (size_t i = 0; i < rows; i++) {
    double u = (smc->start[i * d + fan->along] - fan->origin) / fan->unit;
    double off = smc->start[i * d + j] - center - tilt * u;
    slope += u * log(fmax(fabs(off), least)) / (double)rows;
  }
  return slope;
}

/* Task: how a coordinate follows the one of the fan. */
static poe_status fan_task_fit(void *context, size_t j, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  poei_smc *smc = context;
  poei_fan *fan = &smc->fans.fan;
  double center = smc->fans.mean[j], tilt = 0.0, rate = 0.0;
  bool line = j != fan->along && smc->fans.sd[j] > 0.0;
  for (int round = 0; round < FAN_ROUNDS && line; round++) {
    line = fan_line(smc, j, rate, &center, &tilt);
    rate = line ? fan_slope(smc, j, center, tilt) : 0.0;
  }
  bool sure = line && fabs(rate) > FAN_SURE * FAN_NOISE / sqrt((double)fan_rows(smc));
  fan->center[j] = center;
  fan->tilt[j] = sure ? tilt : 0.0;
  fan->rate[j] = sure ? rate : 0.0;
  return POE_OK;
}

/* The coordinate of this step's fan. */
static size_t fan_draw(const poei_smc *smc) {
  poe_rng at = poe_rng_child(smc->root, POEI_SMC_KEY_FAN);
  at.chain = UINT32_MAX; /* the same for all particles */
  at.step = (uint32_t)smc->steps;
  poe_stream stream = poe_stream_open(at);
  double left = poe_stream_uniform(&stream) * smc->fans.total;
  size_t chosen = smc->d;
  for (size_t j = 0; j < smc->d && (left >= 0.0 || chosen == smc->d); j++) {
    if (smc->fans.score[j] > 0.0) {
      chosen = j;
      left -= smc->fans.score[j];
    }
  }
  return chosen;
}

/* Task: one tile along the fan. */
static poe_status fan_task_move(void *context, size_t index, poe_scratch *scratch, poe_error *error) {
  poei_smc *smc = context;
  size_t first, n = poei_smc_tile_rows(smc, index, &first), d = smc->d;
  poe_rng root = poe_rng_child(smc->root, POEI_SMC_KEY_FAN);
  for (size_t i = first; i < first + n; i++) {
    smc->at[i] = root;
    smc->at[i].chain = (uint32_t)i;
    smc->at[i].step = (uint32_t)smc->steps;
  }
  poei_tile tile = {.n = n,
                    .d = d,
                    .x = smc->x + first * d,
                    .logp = smc->logp + first,
                    .grad = smc->grad + first * (smc->gradient ? d : 0),
                    .at = smc->at + first};
  *(smc->gradient ? &smc->gradients[index] : &smc->densities[index]) += n;
  return poei_fan_step(&smc->density, &smc->fans.fan, &tile, smc->gradient, scratch, error);
}

poe_status poei_smc_fan_move(poei_smc *smc, poe_error *error) {
  poei_smc_fans *fans = &smc->fans;
  if (!(fans->total > 0.0)) {
    return POE_OK;
  }
  size_t along = fan_draw(smc);
  poe_status status = POE_OK;
  if (fans->fan.along != along) {
    fans->fan.along = along;
    fans->fan.origin = fans->mean[along];
    fans->fan.unit = fans->sd[along];
    status = poei_workers_run(&smc->workers, smc->d, fan_task_fit, smc, error);
  }
  bool any = false;
  for (size_t j = 0; j < smc->d; j++) {
    any = any || fans->fan.rate[j] != 0.0;
  }
  if (status != POE_OK || !any) {
    return status;
  }
  fans->seen = true;
  return poei_workers_run(&smc->workers, smc->islands * smc->tiles, fan_task_move, smc, error);
}
