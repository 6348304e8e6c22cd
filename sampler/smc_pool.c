/* The first step of the path, in bulk (smc.h).
 *
 * Draws of the base are cheap: exact, independent, and weighed by one value of rest, no gradient. So the first step
 * does not start from as many draws as there are particles but from a pool of POOL_ROUNDS times as many, and goes to
 * the largest beta at which the pooled weights are still worth as many independent draws as there are particles and
 * their tail index (smc_tail.c) is .4 or less (noise of the fit is small for so many weights). Where
 * the target is not far from the base this is all of the path; elsewhere it saves its first temperatures, whose moves
 * would cost more.
 *
 * An island's factor of Z is the mean of rest^beta over its share of the pool (unbiased for a fixed beta, which is
 * chosen on all islands together); points where rest = 0 count with weight 0. Particles are resampled systematically
 * from the pool, in order; only their log rest is kept, and the few that survive are drawn again at their addresses.
 */
#include "sampler/smc.h"

#include <string.h>

#include "core/alloc.h"

enum { POOL_ROUNDS = 64, POOL_PLENTY = 4, POOL_MOST_NUMBERS = 1 << 24 };
#define POOL_INDEX 0.4 /* largest tail index of the pooled weights */

/* Rounds of N draws per island: fewer when memory would grow, 1 when a pool is not worth it. */
static size_t pool_rounds(const poei_smc *smc) {
  size_t most = POOL_MOST_NUMBERS / (smc->islands * smc->particles);
  return most < POOL_ROUNDS ? most : POOL_ROUNDS;
}

/* Draws round after round, log rest into pool[islands, rounds, particles]. */
static poe_status pool_fill(poei_smc *smc, size_t rounds, double *pool, poe_error *error) {
  size_t n = smc->particles;
  for (smc->round = 0; smc->round < rounds && !poei_monitor_stopped(&smc->options.monitor); smc->round++) {
    poe_status status = poei_smc_draw_base(smc, error);
    for (size_t m = 0; m < smc->islands && status == POE_OK; m++) {
      memcpy(pool + (m * rounds + smc->round) * n, smc->logp + m * n, n * sizeof *pool);
      status = poei_smc_check_values(smc, m, error);
    }
    if (status != POE_OK) {
      return status;
    }
    poei_monitor_report(&smc->options.monitor, "draws of the base", smc->round + 1, rounds);
  }
  return POE_OK;
}

/* Does every island have at least as many draws inside the support of rest as it has particles? */
static bool pool_suffices(const poei_smc *smc, size_t rounds, const double *pool) {
  size_t size = rounds * smc->particles;
  for (size_t m = 0; m < smc->islands; m++) {
    size_t inside = 0;
    for (size_t i = 0; i < size; i++) {
      inside += pool[m * size + i] != -INFINITY;
    }
    if (inside < smc->particles) {
      return false;
    }
  }
  return true;
}

/* Systematic resampling of an island's pool: the address of each particle into `at`, its first ancestor into `eve`. */
static void pool_resample(poei_smc *smc, size_t which, size_t size, const double *weight) {
  size_t n = smc->particles;
  poe_rng at = poe_rng_child(smc->root, POEI_SMC_KEY_RESAMPLE);
  at.chain = (uint32_t)which;
  poe_stream stream = poe_stream_open(at);
  double offset = poe_stream_uniform(&stream), reached = weight[0] * (double)n;
  for (size_t i = 0, parent = 0; i < n; i++) {
    while ((double)i + offset > reached && parent + 1 < size) {
      reached += weight[++parent] * (double)n;
    }
    smc->at[which * n + i] = poei_smc_base_address(smc, parent / n, which * n + parent % n);
    smc->eve[which * n + i] = parent;
  }
}

/* Task: the particles of a tile, drawn again at their addresses. */
static poe_status pool_task_redraw(void *context, size_t tile, poe_scratch *scratch, poe_error *error) {
  poei_smc *smc = context;
  size_t first, n = poei_smc_tile_rows(smc, tile, &first), d = smc->d;
  poe_rows_out out = {.n = n, .d = d, .ld = d, .x = smc->x + first * d};
  return poe_expert_sample(smc->base, out, smc->at + first, scratch, error);
}

/* The particles at the new beta: density, gradient, and where the moves start from. */
static poe_status pool_settle(poei_smc *smc, poe_error *error) {
  size_t rows = smc->islands * smc->particles, d = smc->d;
  poe_status status = poei_workers_run(&smc->workers, smc->islands * smc->tiles, pool_task_redraw, smc, error);
  if (status == POE_OK) {
    status = poei_smc_refresh(smc, error);
  }
  for (size_t i = 0; i < rows; i++) {
    smc->logp[i] = smc->log_base[i] + smc->beta * smc->log_rest[i];
    smc->weight[i] = 1.0 / (double)smc->particles;
    for (size_t j = 0; smc->gradient && j < d; j++) {
      smc->grad[i * d + j] = smc->grad_base[i * d + j] + smc->beta * smc->grad_rest[i * d + j];
    }
  }
  memcpy(smc->start, smc->x, rows * d * sizeof *smc->x);
  memcpy(smc->start_logp, smc->logp, rows * sizeof *smc->logp);
  return status == POE_OK ? poei_smc_set_metric(smc, error) : status;
}

static poe_status pool_weigh(poei_smc *smc, size_t rounds, const double *pool, double *weight, bool *settled,
                             poe_error *error) {
  size_t size = rounds * smc->particles;
  double unused;
  smc->change = poei_smc_next_change(pool, smc->islands * size, 1.0, 1.0 / (double)rounds, POOL_INDEX, weight,
                                     weight + smc->islands * size, &unused);
  smc->beta = smc->change;
  smc->temperatures = 1;
  smc->founders = size;
  *settled = smc->beta == 1.0;
  for (size_t m = 0; m < smc->islands; m++) {
    poei_smc_island *island = &smc->island[m];
    double log_mean, ess = poei_smc_weigh(pool + m * size, size, smc->change, weight, &log_mean);
    island->log_z = log_mean;
    *settled = *settled && ess * (double)rounds >= (double)POOL_PLENTY;
    island->min_ess = fmin(1.0, ess * (double)rounds);
    island->filled = smc->particles;
    pool_resample(smc, m, size, weight);
    if (smc->beta == 1.0) {
      double squares = 1.0 / (ess * (double)size), count = (double)size;
      island->variance = fmax(squares - 1.0 / count, 0.0) * count / (count - 1.0);
      island->ancestors = 1.0 / squares;
    }
  }
  return pool_settle(smc, error);
}

poe_status poei_smc_pool(poei_smc *smc, bool *used, bool *settled, poe_error *error) {
  size_t rounds = pool_rounds(smc), numbers = rounds * smc->islands * smc->particles;
  *used = *settled = false;
  if (rounds < 2) {
    return POE_OK;
  }
  double *pool = poei_alloc(2 * numbers + poei_smc_tail_room(numbers), sizeof *pool);
  if (pool == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for %zu draws of the base", numbers);
  }
  poe_status status = pool_fill(smc, rounds, pool, error);
  if (status == POE_OK && !poei_monitor_stopped(&smc->options.monitor) && pool_suffices(smc, rounds, pool)) {
    *used = true;
    status = pool_weigh(smc, rounds, pool, pool + numbers, settled, error);
  }
  smc->round = 0;
  poei_free(pool);
  return status;
}
