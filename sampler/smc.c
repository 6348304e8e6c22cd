/* Sequential Monte Carlo from `base` to base * rest along base * rest^beta (run.h).
 *
 * Each island: exact draws of the base; then, until beta = 1: the next beta at which the incremental weights
 * w_i = rest(x_i)^(beta' - beta) have an effective number of half the particles, by bisection; systematic resampling;
 * moves that leave base * rest^beta' invariant (smc_moves.c). Beta is chosen on the particles of all islands together:
 * one chosen on an island's own N biases its log Z by about -1/N per temperature, which averaging over islands would
 * not lessen. An island's estimate of Z = int base rest / int base is the product of the mean incremental weights (Del
 * Moral, Doucet and Jasra 2006, equation 14; unbiased for a fixed path). The mean over islands is reported.
 *
 * Where rest grows along a tail of base * rest^beta faster than that falls, the weights of too large a step have no
 * variance: what estimates their ESS, log Z and its error has not seen the tail. So their tail index (smc_tail.c) is
 * kept at .1 or less too, well below the 1/2 from which on this is so: beta is chosen on the weights that it is judged
 * by, and goes further where the tail happens to be missing from them, which lowers log Z the more, the heavier the
 * tail. In a funnel, where it is that of the few particles in the neck, at .05 or less.
 *
 * The first step is taken from a larger pool of draws (smc_pool.c) where enough of them lie inside the support of rest.
 *
 * Hard edges: draws where rest = 0 are never particles. Where the pool does not suffice, the base is drawn until N of
 * its draws are inside; with n draws needed, (N - 1)/(n - 1) is unbiased for the mass inside (inverse sampling, Haldane
 * 1945), relative variance (1 - p)/(N - 2). The particles are exact draws of the base restricted to the support of
 * rest.
 *
 * Error: with W_k the share of first ancestor k in the last weights, N/(N-1) sum_k (W_k - 1/N)^2 estimates the relative
 * variance of one island's Z (Chan and Lai 2013, equation 2.13; Lee and Whiteley 2018: the genealogy of a single run).
 * The variance between islands, in Z and in log Z, estimates the same. All see what the others miss: the genealogy is
 * precise but blind to what no particle found; the variance between few islands is honest but noisy. The standard error
 * is the largest of the three, so that intervals cover at least as often as they say.
 *
 * Invariants: islands share beta and the tuning of moves, never particles; particles are resampled in order, so copies
 * of an ancestor stay neighbours. */
#include "sampler/smc.h"

#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "sampler/draws.h"
#include "sampler/kernels/density.h"

enum { SMC_LEAST_PARTICLES = 128, SMC_MOST_ROUNDS = 2000 };
#define SMC_ESS 0.5
#define SMC_INDEX 0.1      /* largest tail index of weights */
#define SMC_INDEX_FAN 0.05 /* the same once there was a funnel */
#define SMC_HEAVY 0.3      /* from here on tails are not an estimate's noise */
#define SMC_REMEMBERED 0.4 /* correlations of log densities that are told (run.h) */

/* ---- memory and tiles ---- */

size_t poei_smc_tile_rows(const poei_smc *smc, size_t tile, size_t *first) {
  size_t offset = tile % smc->tiles * smc->tile_rows, left = smc->particles - offset;
  *first = tile / smc->tiles * smc->particles + offset;
  return left < smc->tile_rows ? left : smc->tile_rows;
}

static void smc_free(poei_smc *smc) {
  double *arrays[] = {smc->x,        smc->start,      smc->logp,         smc->grad,
                      smc->log_base, smc->log_rest,   smc->grad_base,    smc->grad_rest,
                      smc->weight,   smc->acceptance, smc->energy,       smc->start_logp,
                      smc->metric,   smc->memory,     smc->first_metric, smc->tail};
  for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
    poei_free(arrays[i]);
  }
  poei_smc_fan_free(smc);
  poei_free(smc->island);
  poei_free(smc->diverging);
  poei_free(smc->eve);
  poei_free(smc->eve_spare);
  poei_free(smc->at);
  poei_free(smc->densities);
  poei_free(smc->gradients);
  poei_workers_free(&smc->workers);
}

static bool smc_arrays(poei_smc *smc, size_t rows, size_t numbers) {
  size_t gradients = smc->gradient ? numbers : 0, tiles = smc->islands * smc->tiles;
  double **arrays[] = {&smc->x, &smc->start, &smc->grad, &smc->grad_base, &smc->grad_rest};
  const size_t sizes[] = {numbers, numbers, gradients, gradients, gradients};
  for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
    if ((*arrays[i] = poei_calloc(sizes[i], sizeof(double))) == NULL) {
      return false;
    }
  }
  double **row_arrays[] = {&smc->logp,       &smc->log_base, &smc->log_rest,  &smc->weight,
                           &smc->acceptance, &smc->energy,   &smc->start_logp};
  for (size_t i = 0; i < sizeof row_arrays / sizeof *row_arrays; i++) {
    if ((*row_arrays[i] = poei_calloc(rows, sizeof(double))) == NULL) {
      return false;
    }
  }
  smc->diverging = poei_calloc(rows, 1);
  smc->eve = poei_calloc(rows, sizeof *smc->eve);
  smc->eve_spare = poei_calloc(rows, sizeof *smc->eve_spare);
  smc->at = poei_calloc(rows, sizeof *smc->at);
  smc->densities = poei_calloc(tiles, sizeof *smc->densities);
  smc->gradients = poei_calloc(tiles, sizeof *smc->gradients);
  smc->metric = poei_calloc(smc->d, sizeof(double));
  smc->first_metric = poei_calloc(smc->d, sizeof(double));
  smc->tail = poei_calloc(poei_smc_tail_room(rows), sizeof(double));
  smc->memory = poei_calloc(smc->d + 1, sizeof(double));
  smc->island = poei_calloc(smc->islands, sizeof *smc->island);
  bool fans = poei_smc_fan_create(smc, rows);
  return fans && smc->diverging != NULL && smc->eve != NULL && smc->eve_spare != NULL && smc->at != NULL &&
         smc->densities != NULL && smc->gradients != NULL && smc->metric != NULL && smc->first_metric != NULL &&
         smc->memory != NULL && smc->tail != NULL && smc->island != NULL;
}

static poe_status smc_create(poei_smc *smc, poe_error *error) {
  static const double one = 1.0;
  size_t rows, numbers, d = smc->d;
  smc->tile_rows = smc->particles < POEI_TILE ? smc->particles : POEI_TILE;
  smc->tiles = (smc->particles + smc->tile_rows - 1) / smc->tile_rows;
  bool fits = poei_mul_size(smc->islands, smc->particles, &rows) && poei_mul_size(rows, d, &numbers);
  if (fits && rows >= UINT32_MAX) {
    return poe_error_set(error, POE_E_USAGE, "%zu islands of %zu particles are too many", smc->islands, smc->particles);
  }
  smc->density = (poei_density){
      .n_terms = 2, .term = {smc->base, smc->rest}, .weight = {{.w = &one, .inc = 0}, {.w = &smc->beta, .inc = 0}}};
  if (!fits || !smc_arrays(smc, rows, numbers)) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for %zu islands of %zu particles", smc->islands,
                         smc->particles);
  }
  smc->settings.metric = smc->metric;
  smc->settings.step_size = smc->options.step_size > 0.0 ? smc->options.step_size
                            : smc->gradient              ? pow((double)d, -0.25)
                                                         : 2.0 / sqrt((double)d);
  for (size_t j = 0; j < d; j++) {
    bool moves = poe_expert_traits(smc->base)->support[j].kind != POE_DISCRETE;
    smc->metric[j] = smc->first_metric[j] = moves ? 1.0 : 0.0;
  }
  for (size_t m = 0; m < smc->islands; m++) {
    smc->island[m].min_ess = 1.0;
  }
  return poei_workers_create(smc->options.pool, poei_smc_scratch(smc), &smc->workers, error);
}

/* ---- draws of the base ---- */

poe_rng poei_smc_base_address(const poei_smc *smc, size_t round, size_t row) {
  poe_rng at = poe_rng_child(smc->root, POEI_SMC_KEY_BASE);
  at.chain = (uint32_t)row;
  at.step = (uint32_t)round;
  return at;
}

/* Task: one tile of candidates of one island, drawn into `start`, their log rest into `logp`. */
static poe_status smc_task_base(void *context, size_t tile, poe_scratch *scratch, poe_error *error) {
  poei_smc *smc = context;
  size_t first, n = poei_smc_tile_rows(smc, tile, &first), d = smc->d;
  if (smc->island[tile / smc->tiles].filled == smc->particles) {
    return POE_OK;
  }
  for (size_t i = 0; i < n; i++) {
    smc->at[first + i] = poei_smc_base_address(smc, smc->round, first + i);
  }
  poe_rows_out out = {.n = n, .d = d, .ld = d, .x = smc->start + first * d};
  poe_status status = poe_expert_sample(smc->base, out, smc->at + first, scratch, error);
  if (status != POE_OK) {
    return status;
  }
  static const double one = 1.0;
  poei_density rest = {.n_terms = 1, .term = {smc->rest}, .weight = {{.w = &one, .inc = 0}}};
  smc->densities[tile] += n;
  return poei_density_eval(&rest, n, d, smc->start + first * d, smc->logp + first, NULL, scratch, error);
}

poe_status poei_smc_draw_base(poei_smc *smc, poe_error *error) {
  return poei_workers_run(&smc->workers, smc->islands * smc->tiles, smc_task_base, smc, error);
}

/* Where a density was not finite, for whoever asked. */
static void smc_blame(const poei_smc *smc, const double *x) {
  poei_trouble *trouble = smc->options.trouble;
  if (trouble != NULL && trouble->point != NULL) {
    memcpy(trouble->point, x, smc->d * sizeof *x);
    trouble->has_point = true;
  }
}

poe_status poei_smc_check_values(const poei_smc *smc, size_t which, poe_error *error) {
  for (size_t i = 0; i < smc->particles; i++) {
    size_t row = which * smc->particles + i;
    double value = smc->logp[row];
    if (isnan(value) || value == INFINITY) {
      smc_blame(smc, smc->start + row * smc->d);
      return poe_error_set(error, POE_E_NUMERIC, "the log density is %g at a draw that the path starts from",
                           fabs(value)); /* a NaN without sign */
    }
  }
  return POE_OK;
}

/* Keeps the candidates inside the support of rest, in order, until the island is full. */
static poe_status smc_keep(poei_smc *smc, size_t which, poe_error *error) {
  poei_smc_island *island = &smc->island[which];
  size_t n = smc->particles, d = smc->d;
  poe_status status = poei_smc_check_values(smc, which, error);
  if (status != POE_OK) {
    return status;
  }
  for (size_t i = 0; i < n && island->filled < n; i++) {
    size_t from = which * n + i, to = which * n + island->filled;
    island->tried++;
    if (smc->logp[from] != -INFINITY) {
      memcpy(smc->x + to * d, smc->start + from * d, d * sizeof(double));
      smc->eve[to] = island->filled++;
    }
  }
  return POE_OK;
}

static poe_status smc_fill(poei_smc *smc, poe_error *error) {
  size_t full = 0;
  poe_status status = POE_OK;
  for (; full < smc->islands && status == POE_OK && !poei_monitor_stopped(&smc->options.monitor); smc->round++) {
    if (smc->round == SMC_MOST_ROUNDS) {
      poe_error_set(error, POE_E_NUMERIC,
                    "all particles die: fewer than %zu of %zu draws at the start of the path lie where the target's "
                    "density is not 0",
                    smc->particles, smc->particles * SMC_MOST_ROUNDS);
      poe_error_hint(error, "check that the supports overlap, or start from an expert whose draws reach the others'");
      return POE_E_NUMERIC;
    }
    status = poei_smc_draw_base(smc, error);
    full = 0;
    for (size_t m = 0; m < smc->islands && status == POE_OK; m++) {
      status = smc->island[m].filled < smc->particles ? smc_keep(smc, m, error) : POE_OK;
      full += smc->island[m].filled == smc->particles;
    }
  }
  for (size_t m = 0; m < smc->islands && full == smc->islands; m++) {
    double n = (double)smc->particles, inside = (n - 1.0) / ((double)smc->island[m].tried - 1.0);
    smc->island[m].log_z = log(inside);
    smc->island[m].variance = (1.0 - inside) / (n - 2.0);
  }
  return status;
}

/* ---- weights ---- */

double poei_smc_weigh(const double *log_rest, size_t n, double change, double *weight, double *log_mean) {
  double most = -INFINITY, sum = 0.0, squares = 0.0;
  for (size_t i = 0; i < n; i++) {
    most = fmax(most, log_rest[i]);
  }
  for (size_t i = 0; i < n; i++) {
    weight[i] = change * (log_rest[i] - most);
  }
  poei_vexp(weight, weight, n);
  for (size_t i = 0; i < n; i++) {
    sum += weight[i];
  }
  for (size_t i = 0; i < n; i++) {
    weight[i] /= sum;
    squares += weight[i] * weight[i];
  }
  *log_mean = change * most + log(sum / (double)n);
  return 1.0 / (squares * (double)n);
}

double poei_smc_next_change(const double *log_rest, size_t n, double most, double least_ess, double most_index,
                            double *weight, double *tail, double *index) {
  double low = 0.0, high = most, unused;
  bool all = poei_smc_weigh(log_rest, n, most, weight, &unused) >= least_ess;
  for (int k = 0; !all && k < 100 && high - low > 1e-3 * high; k++) {
    double middle = 0.5 * (low + high);
    *(poei_smc_weigh(log_rest, n, middle, weight, &unused) >= least_ess ? &low : &high) = middle;
  }
  double change = all ? most : low > 0.0 ? low : high;
  poei_smc_tail(log_rest, n, tail);
  *index = poei_smc_tail_index(tail, n, change);
  low = *index > most_index ? 0.0 : change;
  high = change;
  for (int k = 0; k < 100 && high - low > 1e-2 * high; k++) {
    double middle = 0.5 * (low + high);
    *(poei_smc_tail_index(tail, n, middle) > most_index ? &high : &low) = middle;
  }
  return low > 0.0 ? low : high;
}

/* From the last weights: relative variance and effective number of first ancestors. Ancestors are in ascending order.
 */
static void smc_genealogy(poei_smc_island *island, size_t founders, const double *weight, const size_t *eve, size_t n) {
  double squares = 0.0;
  for (size_t i = 0, next; i < n; i = next) {
    double share = 0.0;
    for (next = i; next < n && eve[next] == eve[i]; next++) {
      share += weight[next];
    }
    squares += share * share;
  }
  double count = (double)founders;
  island->variance += fmax(squares - 1.0 / count, 0.0) * count / (count - 1.0);
  island->ancestors = 1.0 / squares;
}

/* Systematic resampling (Carpenter, Clifford and Fearnhead 1999) into start, logp, grad; then x = start. */
static void smc_resample(poei_smc *smc, size_t which) {
  size_t n = smc->particles, d = smc->d, base = which * n;
  poe_rng at = poe_rng_child(smc->root, POEI_SMC_KEY_RESAMPLE);
  at.chain = (uint32_t)which;
  at.step = (uint32_t)smc->temperatures;
  poe_stream stream = poe_stream_open(at);
  double offset = poe_stream_uniform(&stream), reached = smc->weight[base] * (double)n;
  for (size_t i = 0, parent = 0; i < n; i++) {
    while ((double)i + offset > reached && parent + 1 < n) {
      reached += smc->weight[base + ++parent] * (double)n;
    }
    size_t from = base + parent, to = base + i;
    memcpy(smc->start + to * d, smc->x + from * d, d * sizeof(double));
    smc->logp[to] = smc->log_base[from] + smc->beta * smc->log_rest[from];
    for (size_t j = 0; smc->gradient && j < d; j++) {
      smc->grad[to * d + j] = smc->grad_base[from * d + j] + smc->beta * smc->grad_rest[from * d + j];
    }
    smc->eve_spare[to] = smc->eve[from];
  }
  memcpy(smc->x + base * d, smc->start + base * d, n * d * sizeof(double));
  memcpy(smc->start_logp + base, smc->logp + base, n * sizeof(double));
  memcpy(smc->eve + base, smc->eve_spare + base, n * sizeof *smc->eve);
}

/* Task: one island at the new beta. */
static poe_status smc_task_weigh(void *context, size_t which, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  poei_smc *smc = context;
  poei_smc_island *island = &smc->island[which];
  size_t n = smc->particles, base = which * n;
  double *weight = smc->weight + base, log_mean;
  double ess = poei_smc_weigh(smc->log_rest + base, n, smc->change, weight, &log_mean);
  island->log_z += log_mean;
  island->min_ess = fmin(island->min_ess, ess);
  if (smc->beta == 1.0) {
    smc_genealogy(island, smc->founders, weight, smc->eve + base, n);
  }
  return POE_OK;
}

static poe_status smc_task_resample(void *context, size_t which, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  smc_resample(context, which);
  return POE_OK;
}

/* Chooses the next beta on the particles of all islands, then weighs and resamples each. */
static poe_status smc_temper(poei_smc *smc, poe_error *error) {
  size_t rows = smc->islands * smc->particles;
  for (size_t i = 0; i < rows; i++) {
    double value = smc->log_base[i] + smc->log_rest[i];
    if (!isfinite(value)) {
      smc_blame(smc, smc->x + i * smc->d);
      return poe_error_set(error, POE_E_NUMERIC, "the log density is %g at a particle",
                           isnan(value) ? fabs(value) : value);
    }
  }
  double left = 1.0 - smc->beta, index;
  smc->temperatures++;
  double most_index = smc->fans.seen ? SMC_INDEX_FAN : SMC_INDEX;
  smc->change = poei_smc_next_change(smc->log_rest, rows, left, SMC_ESS, most_index, smc->weight, smc->tail, &index);
  smc->heavy = smc->heavy || index > SMC_HEAVY;
  smc->beta = smc->change >= left ? 1.0 : smc->beta + smc->change;
  poe_status status = poei_workers_run(&smc->workers, smc->islands, smc_task_weigh, smc, error);
  if (status == POE_OK) {
    status = poei_smc_set_metric(smc, error);
  }
  if (status == POE_OK) {
    status = poei_smc_check_path(smc, error);
  }
  return status == POE_OK ? poei_workers_run(&smc->workers, smc->islands, smc_task_resample, smc, error) : status;
}

/* ---- results ---- */

static void smc_report(const poei_smc *smc, poei_smc_report *report) {
  double count = (double)smc->islands, most = -INFINITY, sum = 0.0, mean_log = 0.0;
  *report = (poei_smc_report){.steps = smc->temperatures, .min_ess_fraction = 1.0};
  for (size_t m = 0; m < smc->islands; m++) {
    const poei_smc_island *island = &smc->island[m];
    most = fmax(most, island->log_z);
    mean_log += island->log_z / count;
    report->ess += island->ancestors;
    report->min_ess_fraction = fmin(report->min_ess_fraction, island->min_ess);
  }
  for (size_t m = 0; m < smc->islands; m++) {
    sum += exp(smc->island[m].log_z - most);
  }
  double log_mean = most + log(sum / count), genealogy = 0.0, between = 0.0, between_logs = 0.0;
  for (size_t m = 0; m < smc->islands; m++) {
    double share = exp(smc->island[m].log_z - log_mean), off = smc->island[m].log_z - mean_log;
    genealogy += share * share * smc->island[m].variance / (count * count);
    between += (share - 1.0) * (share - 1.0);
    between_logs += off * off;
  }
  double freedom = count > 1.0 ? count * (count - 1.0) : 1.0; /* one island: both sums are 0 */
  report->log_z_ratio = log_mean;
  report->std_error = sqrt(fmax(genealogy, fmax(between, between_logs) / freedom));
  report->memory = smc->memory_left > SMC_REMEMBERED ? smc->memory_left : 0.0;
  report->acceptance = smc->steps > 0 ? smc->accepted / (double)smc->steps : NAN;
}

/* `draws` of each island's particles, spread evenly over them. */
static void smc_collect(const poei_smc *smc, poei_draws *draws) {
  for (size_t m = 0; m < draws->chains; m++) {
    for (size_t s = 0; s < draws->draws; s++) {
      size_t from = m * smc->particles + (2 * s + 1) * smc->particles / (2 * draws->draws);
      size_t row = m * draws->draws + s;
      memcpy(draws->x + row * smc->d, smc->x + from * smc->d, smc->d * sizeof(double));
      draws->lp[row] = smc->logp[from];
      draws->acceptance[row] = smc->steps > 0 ? smc->acceptance[from] : NAN;
    }
    draws->step_size[m] = smc->kernel->discrete ? NAN : smc->settings.step_size;
  }
  for (size_t t = 0; t < smc->islands * smc->tiles; t++) {
    draws->density_evaluations += smc->densities[t];
    draws->gradient_evaluations += smc->gradients[t];
  }
}

/* ---- the run ---- */

/* At the target nothing is left to move for when log Z is all that is wanted. */
static poe_status smc_move(poei_smc *smc, poe_error *error) {
  return smc->beta == 1.0 && smc->options.estimate_only ? POE_OK : poei_smc_move(smc, error);
}

static poe_status smc_run(poei_smc *smc, bool *interrupted, poe_error *error) {
  const poei_monitor *monitor = &smc->options.monitor;
  bool pooled, settled;
  poe_status status = poei_smc_pool(smc, &pooled, &settled, error);
  if (status == POE_OK && !pooled) {
    status = smc_fill(smc, error);
  } else if (status == POE_OK && !settled) {
    status = smc_move(smc, error);
  }
  while (status == POE_OK && smc->beta < 1.0 && !poei_monitor_stopped(monitor)) {
    status = poei_smc_refresh(smc, error);
    if (status == POE_OK) {
      status = smc_temper(smc, error);
    }
    if (status == POE_OK) {
      status = smc_move(smc, error);
    }
    poei_monitor_report(monitor, "path", (size_t)(1000.0 * smc->beta), 1000);
  }
  *interrupted = poei_monitor_stopped(monitor);
  if (status == POE_OK && smc->beta < 1.0) {
    return poe_error_set(error, POE_E_INTERRUPTED, "interrupted before the particles reached the target");
  }
  return status;
}

static poe_status smc_check(const poe_expert *base, const poe_expert *rest, poe_error *error) {
  const poe_traits *first = poe_expert_traits(base), *second = poe_expert_traits(rest);
  if (first->dim != second->dim) {
    return poe_error_set(error, POE_E_SHAPE, "the path starts in %zu coordinates and ends in %zu", first->dim,
                         second->dim);
  }
  if ((first->capabilities & (POE_CAN_SAMPLE | POE_CAN_EVAL)) != (POE_CAN_SAMPLE | POE_CAN_EVAL)) {
    poe_error_set(error, POE_E_CAPABILITY, "`%s` cannot be drawn from exactly; `smc` starts from such an expert",
                  poe_expert_ops_of(base)->kind);
    return POE_E_CAPABILITY;
  }
  if ((second->capabilities & POE_CAN_EVAL) == 0) {
    return poe_error_set(error, POE_E_CAPABILITY, "`%s` cannot be evaluated", poe_expert_ops_of(rest)->kind);
  }
  return POE_OK;
}

/* Which kernels move the particles. */
static void smc_kernels(poei_smc *smc) {
  const poe_traits *base = poe_expert_traits(smc->base), *rest = poe_expert_traits(smc->rest);
  size_t discrete = 0;
  for (size_t j = 0; j < base->dim; j++) {
    discrete += base->support[j].kind == POE_DISCRETE;
  }
  smc->gradient = (base->capabilities & rest->capabilities & POE_CAN_GRADIENT) != 0 && discrete < base->dim;
  smc->kernel = discrete == base->dim ? &poei_gibbs_kernel : smc->gradient ? &poei_hmc_kernel : &poei_rwm_kernel;
  if (discrete > 0) {
    smc->also[smc->n_also++] = &poei_imh_kernel;
  }
  if (discrete > 0 && discrete < base->dim) {
    smc->also[smc->n_also++] = &poei_gibbs_kernel;
  }
  smc->settings.proposal = smc->base;
  smc->settings.keeps_gradient = smc->gradient;
}

poe_status poei_run_smc(const poe_expert *base, const poe_expert *rest, const poei_run_options *options,
                        poei_draws *draws, poei_smc_report *report, poe_error *error) {
  poei_smc smc = {.base = base, .rest = rest, .root = poe_rng_seed(options->seed)};
  poei_draws made = {0};
  bool interrupted = false;
  poe_status status = smc_check(base, rest, error);
  if (status == POE_OK) {
    status = poei_run_defaults(base, options, &smc.options, error);
  }
  if (status == POE_OK) {
    smc_kernels(&smc);
    smc.d = poe_expert_traits(base)->dim;
    smc.islands = smc.options.chains;
    smc.particles = smc.options.draws > SMC_LEAST_PARTICLES ? smc.options.draws : SMC_LEAST_PARTICLES;
    smc.founders = smc.particles;
    status = smc_create(&smc, error);
  }
  if (status == POE_OK) {
    status = poei_draws_create(smc.islands, smc.options.draws, smc.d, &made, error);
  }
  if (status == POE_OK) {
    status = smc_run(&smc, &interrupted, error);
  }
  if (status == POE_OK) {
    smc_collect(&smc, &made);
    smc_report(&smc, report);
    made.interrupted = interrupted;
    *draws = made;
  } else {
    poei_draws_free(&made);
  }
  smc_free(&smc);
  return status;
}
