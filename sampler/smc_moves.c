/* Moving the particles of sequential Monte Carlo (smc.h).
 *
 * Where all coordinates are discrete, a move is a Gibbs step, and before it one of independence Metropolis-Hastings
 * from the base, which forgets everything while the path is near its start. Where some are, both go before the move of
 * the continuous ones, whose metric is 0 along the others: they stay. What follows is about those.
 *
 * Each move is one HMC transition (random-walk Metropolis where a gradient is missing) that leaves base * rest^beta
 * invariant. The step size follows the acceptance of the moves before, log eps += 1.5 (acceptance - target); the metric
 * is the particles' weighted variance, drawn towards the one before.
 * Number of moves: until neither a coordinate nor the log density has a correlation above .1 + 2/sqrt(K) with its
 * values just after resampling (1/sqrt(K) is the noise of a correlation over K particles), or the largest one falls so
 * slowly that 60 moves would not get there (modes that moves do not leave). After Kantas, Beskos and Jasra 2014,
 * section 4.3, and Buchholz, Chopin and Jacob 2021. All this is measured on the particles of all islands together:
 * tuned on an island's own, the moves would depend on the particles that they move, and bias its log Z.
 *
 * Three provisions for targets that a step of one size does not suit (funnels, poles), at no cost to others.
 * After the sixth move and each one from there on particles also move along a coordinate that the spread of others
 * follows, where there is one (smc_fan.c): between the mouth and the neck of a funnel at once. From the seventh move on
 * every second one goes in steps of a quarter, or of a sixteenth, by turns: particles where the density is narrow move
 * at all. And where tails are heavy, or it took long, as many moves follow as there were: the correlations of heavy
 * tails are those of a few particles far out, so that stopping when they are small is stopping when nothing is out
 * there, which biases log Z down.
 *
 * What is left where moves ended too early is told by the log density alone: between modes that moves do not leave the
 * coordinates remember, the log density does not, and errors are right; in a funnel, both do. */
#include "sampler/smc.h"

#include <string.h>

#include "sampler/adaptation.h"
#include "sampler/kernels/density.h"

enum {
  SMC_MOVES = 60,
  SMC_LOOK_BACK = 4,
  SMC_LEAPFROG = 16,
  SMC_COLUMNS = 8,
  SMC_QUICK = 5,
  SMC_LONG = 8,
  SMC_MORE = 2,
  SMC_RARE = 10
};
#define SMC_TIME 1.5707963267948966 /* mean time of a trajectory: a quarter period */

static size_t smc_kernel_scratch(const poei_smc *smc, const poei_kernel *kernel, size_t n) {
  return kernel->scratch(n, smc->d) + (kernel->more == NULL ? 0 : kernel->more(&smc->density, &smc->settings, n));
}

size_t poei_smc_scratch(const poei_smc *smc) {
  size_t n = smc->tile_rows, bytes = poe_expert_scratch(smc->base, POE_WANT_SAMPLE, n);
  size_t density = poei_density_scratch(&smc->density, smc->gradient ? POE_WANT_GRAD : POE_WANT_LOGP, n);
  size_t values = poei_density_scratch(&smc->density, POE_WANT_LOGP, n);
  size_t step = smc_kernel_scratch(smc, smc->kernel, n);
  for (size_t k = 0; k < smc->n_also; k++) {
    size_t own = smc_kernel_scratch(smc, smc->also[k], n);
    step = own > step ? own : step;
  }
  size_t fan = poei_fan_scratch(n, smc->d);
  density = (density > values ? density : values) + (step > fan ? step : fan);
  return bytes > density ? bytes : density;
}

/* ---- evaluating both factors ---- */

static poe_status smc_factor(const poe_expert *expert, size_t n, size_t d, const double *x, double *logp, double *grad,
                             poe_scratch *scratch, poe_error *error) {
  static const double one = 1.0;
  poei_density density = {.n_terms = 1, .term = {expert}, .weight = {{.w = &one, .inc = 0}}};
  return poei_density_eval(&density, n, d, x, logp, grad, scratch, error);
}

static poe_status smc_task_refresh(void *context, size_t tile, poe_scratch *scratch, poe_error *error) {
  poei_smc *smc = context;
  size_t first, n = poei_smc_tile_rows(smc, tile, &first), d = smc->d;
  double *grad_base = smc->gradient ? smc->grad_base + first * d : NULL;
  double *grad_rest = smc->gradient ? smc->grad_rest + first * d : NULL;
  const double *x = smc->x + first * d;
  poe_status status = smc_factor(smc->base, n, d, x, smc->log_base + first, grad_base, scratch, error);
  if (status == POE_OK) {
    status = smc_factor(smc->rest, n, d, x, smc->log_rest + first, grad_rest, scratch, error);
  }
  *(smc->gradient ? &smc->gradients[tile] : &smc->densities[tile]) += n;
  return status;
}

poe_status poei_smc_refresh(poei_smc *smc, poe_error *error) {
  return poei_workers_run(&smc->workers, smc->islands * smc->tiles, smc_task_refresh, smc, error);
}

/* ---- tuning ---- */

/* Columns first.. of a task that takes SMC_COLUMNS of them; returns how many. */
static size_t smc_columns(const poei_smc *smc, size_t index, size_t *first) {
  *first = index * SMC_COLUMNS;
  return smc->d - *first < SMC_COLUMNS ? smc->d - *first : SMC_COLUMNS;
}

static poe_status smc_each_columns(poei_smc *smc, poei_worker_task task, poe_error *error) {
  return poei_workers_run(&smc->workers, (smc->d + SMC_COLUMNS - 1) / SMC_COLUMNS, task, smc, error);
}

/* Task: the metric of a few coordinates. The weights of every island sum to 1. */
static poe_status smc_task_metric(void *context, size_t index, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  poei_smc *smc = context;
  size_t first, columns = smc_columns(smc, index, &first), rows = smc->islands * smc->particles, d = smc->d;
  double mean[SMC_COLUMNS] = {0}, variance[SMC_COLUMNS] = {0}, squares = 0.0, islands = (double)smc->islands;
  for (size_t i = 0; i < rows; i++) {
    double weight = smc->weight[i] / islands;
    squares += weight * weight;
    for (size_t j = 0; j < columns; j++) {
      mean[j] += weight * smc->x[i * d + first + j];
    }
  }
  for (size_t i = 0; i < rows; i++) {
    for (size_t j = 0; j < columns; j++) {
      double off = smc->x[i * d + first + j] - mean[j];
      variance[j] += smc->weight[i] / islands * off * off;
    }
  }
  double keep = smc->temperatures > 1 ? 5.0 / (1.0 / squares + 5.0) : 0.0; /* as by five observations of the last one */
  const poe_support *support = poe_expert_traits(smc->base)->support;
  for (size_t j = 0; j < columns; j++) {
    double now = fmin(fmax(variance[j], 1e-200), 1e200);
    bool moves = support[first + j].kind != POE_DISCRETE;
    smc->metric[first + j] = moves ? (1.0 - keep) * now + keep * smc->metric[first + j] : 0.0;
  }
  return POE_OK;
}

poe_status poei_smc_set_metric(poei_smc *smc, poe_error *error) {
  poe_status status = smc->options.fixed_metric ? POE_OK : smc_each_columns(smc, smc_task_metric, error);
  if (smc->temperatures == 1) {
    memcpy(smc->first_metric, smc->metric, smc->d * sizeof(double));
  }
  return status;
}

/* correlation[columns] of the columns of x[rows, ld] with those of y[rows, ld]; 1 where one of them is constant. */
static void smc_correlations(const double *x, const double *y, size_t rows, size_t columns, size_t ld,
                             double *correlation) {
  double mx[SMC_COLUMNS] = {0}, my[SMC_COLUMNS] = {0};
  double xx[SMC_COLUMNS] = {0}, yy[SMC_COLUMNS] = {0}, xy[SMC_COLUMNS] = {0};
  for (size_t i = 0; i < rows; i++) {
    for (size_t j = 0; j < columns; j++) {
      mx[j] += x[i * ld + j] / (double)rows;
      my[j] += y[i * ld + j] / (double)rows;
    }
  }
  for (size_t i = 0; i < rows; i++) {
    for (size_t j = 0; j < columns; j++) {
      double u = x[i * ld + j] - mx[j], v = y[i * ld + j] - my[j];
      xx[j] += u * u;
      yy[j] += v * v;
      xy[j] += u * v;
    }
  }
  for (size_t j = 0; j < columns; j++) {
    correlation[j] = xx[j] > 0.0 && yy[j] > 0.0 ? xy[j] / sqrt(xx[j] * yy[j]) : 1.0;
  }
}

/* Is it a discrete coordinate at which almost all particles are the same? Its correlation is one of a few particles. */
static bool smc_rare(const poei_smc *smc, size_t j) {
  size_t rows = smc->islands * smc->particles, others = 0;
  if (poe_expert_traits(smc->base)->support[j].kind != POE_DISCRETE) {
    return false;
  }
  for (size_t i = 1; i < rows && others < SMC_RARE; i++) {
    others += smc->x[i * smc->d + j] != smc->x[j];
  }
  return others < SMC_RARE;
}

/* Task: what a few coordinates remember of the start. */
static poe_status smc_task_memory(void *context, size_t index, poe_scratch *scratch, poe_error *error) {
  (void)scratch;
  (void)error;
  poei_smc *smc = context;
  size_t first, columns = smc_columns(smc, index, &first), rows = smc->islands * smc->particles;
  smc_correlations(smc->x + first, smc->start + first, rows, columns, smc->d, smc->memory + first);
  for (size_t j = 0; j < columns; j++) {
    if (smc_rare(smc, first + j)) {
      smc->memory[first + j] = 0.0;
    }
  }
  return POE_OK;
}

/* The largest correlation, over the coordinates and the log density, of the particles with where they started. */
static poe_status smc_memory(poei_smc *smc, double *most, poe_error *error) {
  size_t rows = smc->islands * smc->particles;
  poe_status status = smc_each_columns(smc, smc_task_memory, error);
  smc_correlations(smc->logp, smc->start_logp, rows, 1, 1, smc->memory + smc->d);
  *most = smc->memory[0];
  for (size_t j = 1; j <= smc->d; j++) {
    *most = fmax(*most, smc->memory[j]);
  }
  return status;
}

/* ---- moves ---- */

/* The addresses of kernel k's turn at rows first .. first + n: each has its own, as what an earlier one accepted by
 * says where the state is, and the next must not decide by the same numbers. */
static void smc_addresses(poei_smc *smc, size_t k, size_t first, size_t n) {
  poe_rng root = poe_rng_child(smc->root, POEI_SMC_KEY_MOVE);
  root = k < smc->n_also ? poe_rng_child(root, (uint32_t)(POEI_SITE_VALUE + k)) : root;
  for (size_t i = first; i < first + n; i++) {
    smc->at[i] = root;
    smc->at[i].chain = (uint32_t)i;
    smc->at[i].step = (uint32_t)smc->steps;
  }
}

static poe_status smc_task_move(void *context, size_t index, poe_scratch *scratch, poe_error *error) {
  poei_smc *smc = context;
  size_t first, n = poei_smc_tile_rows(smc, index, &first), d = smc->d;
  poei_tile tile = {
      .n = n,
      .d = d,
      .x = smc->x + first * d,
      .logp = smc->logp + first,
      .grad = smc->grad + first * (smc->gradient ? d : 0),
      .acceptance = smc->acceptance + first,
      .energy = smc->energy + first,
      .diverging = smc->diverging + first,
      .at = smc->at + first,
  };
  poe_status status = POE_OK;
  for (size_t k = 0; k <= smc->n_also && status == POE_OK; k++) {
    const poei_kernel *kernel = k < smc->n_also ? smc->also[k] : smc->kernel;
    smc_addresses(smc, k, first, n);
    status = kernel->step(&smc->density, &smc->settings, &tile, &smc->densities[index], &smc->gradients[index], scratch,
                          error);
  }
  return status;
}

/* By how much the steps of move k after a resampling are finer than the tuned ones. */
static double smc_finer(size_t k) {
  size_t turn = k < SMC_QUICK ? 0 : (k - SMC_QUICK) % 4;
  return turn == 1 ? 4.0 : turn == 3 ? 16.0 : 1.0;
}

/* Moves every particle, for the k-th time at this temperature, and tunes the step size of the next move. */
static poe_status smc_move_once(poei_smc *smc, size_t k, poe_error *error) {
  size_t rows = smc->islands * smc->particles;
  double tuned = smc->settings.step_size, finer = smc->options.step_size > 0.0 ? 1.0 : smc_finer(k);
  smc->settings.step_size = tuned / finer;
  size_t leapfrog = poei_leapfrog_steps(SMC_TIME, smc->settings.step_size);
  leapfrog = leapfrog < SMC_LEAPFROG ? leapfrog : SMC_LEAPFROG;
  smc->settings.leapfrog = smc->options.leapfrog > 0 ? smc->options.leapfrog : leapfrog;
  poe_status status = poei_workers_run(&smc->workers, smc->islands * smc->tiles, smc_task_move, smc, error);
  smc->settings.step_size = tuned;
  double acceptance = 0.0;
  for (size_t i = 0; i < rows; i++) {
    acceptance += smc->acceptance[i] / (double)rows;
  }
  smc->accepted += acceptance;
  smc->steps++;
  if (smc->options.step_size == 0.0 && finer == 1.0 && smc->kernel->target_acceptance > 0.0) {
    smc->settings.step_size *= exp(1.5 * (acceptance - smc->kernel->target_acceptance));
  }
  return status;
}

/* Will `memory`, which was `before` SMC_LOOK_BACK moves ago, not fall to `enough` within `left` moves? */
static bool smc_stagnant(double before, double memory, double enough, size_t left) {
  double pace = log(before / memory) / SMC_LOOK_BACK;
  return !(log(memory / enough) <= pace * (double)left);
}

poe_status poei_smc_move(poei_smc *smc, poe_error *error) {
  double before[SMC_LOOK_BACK] = {1.0, 1.0, 1.0, 1.0}, memory = 1.0;
  double enough = 0.1 + 2.0 / sqrt((double)(smc->islands * smc->particles));
  size_t moves = SMC_MOVES, k = 0;
  bool settled = false;
  for (; k < moves && !poei_monitor_stopped(&smc->options.monitor); k++) {
    poe_status status = smc_move_once(smc, k, error);
    if (status == POE_OK && k == SMC_QUICK) {
      status = poei_smc_fan_find(smc, error);
    }
    if (status == POE_OK && k >= SMC_QUICK) {
      status = poei_smc_fan_move(smc, error);
    }
    if (status == POE_OK && !settled) {
      status = smc_memory(smc, &memory, error);
    }
    if (status != POE_OK) {
      return status;
    }
    if (!settled && memory <= enough) {
      settled = true;
      moves = smc->heavy || k >= SMC_LONG ? SMC_MORE * (k + 1) : k + 1;
    } else if (!settled && k >= 2 * SMC_LOOK_BACK &&
               smc_stagnant(before[k % SMC_LOOK_BACK], memory, enough, SMC_MOVES - k)) {
      break;
    }
    before[k % SMC_LOOK_BACK] = memory;
  }
  if (!settled && !poei_monitor_stopped(&smc->options.monitor)) {
    smc->memory_left = fmax(smc->memory_left, smc->memory[smc->d]);
  }
  return POE_OK;
}
