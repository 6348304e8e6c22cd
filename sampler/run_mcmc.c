/* A run of many Markov chains: starts, warmup with adaptation, draws.
 *
 * Chains live in tiles (workers.h: a function of their number alone). Warmup goes step by step, every tile advancing
 * once between two adaptations; afterwards the settings are frozen and each tile runs a batch of draws by itself.
 * Addresses: the transitions of chain c are at (key of the seed, c, step); starts and the trials that find a first step
 * size have child keys.
 * Invariants: a step allocates nothing; a chain's draws depend on its start, the seed and the settings alone. */
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "sampler/adaptation.h"
#include "sampler/draws.h"
#include "sampler/kernels/density.h"
#include "sampler/run.h"
#include "sampler/workers.h"

enum { MCMC_KEY_START = 1, MCMC_KEY_TRIAL = 2, MCMC_START_TRIES = 100, MCMC_STEP_TRIES = 60 };

/* HMC's mean time. The times being uniform on (0, 2 time), a standard Gaussian coordinate has autocorrelation
 * sin(4)/4 = -.19 and its square (1 + sin(8)/8)/2 = .56; at a quarter period, pi/2, these would be 0 and .5, for 4/5 of
 * the gradients, but tails of skewed and of curved densities are left more slowly: up to 3 % of runs of the default
 * lengths then fail the gate by their tail ESS, at 2 under 1 % (diagnostics.h). */
#define MCMC_TIME 2.0

/* State of all chains; arrays as in poei_tile. */
typedef struct mcmc_state {
  double *x, *grad;                   /* [chains, d] */
  double *logp, *acceptance, *energy; /* [chains]    */
  unsigned char *diverging;           /* [chains]    */
} mcmc_state;

typedef struct mcmc_run {
  poei_density density;
  const poei_kernel *kernel;
  poei_run_options options;
  const double *start; /* [chains, d] or NULL                                     */
  size_t d, tile_rows, tiles;
  poei_kernel_settings settings;
  double *metric, *center;         /* [d]                                                 */
  mcmc_state now, trial;           /* trial: copies on which a first step size is tried   */
  poe_rng *at;                     /* [chains]                                            */
  uint64_t *densities, *gradients; /* [tiles] rows evaluated                       */
  size_t *finished;                /* [tiles] draws recorded                              */
  poei_dual_averaging averaging;
  poei_moments moments;
  poei_workers workers;
  /* what the current tasks do */
  mcmc_state *acting;
  poe_rng root;
  size_t step;      /* of a single step                                    */
  size_t batch_end; /* of a batch of draws: record up to this one          */
  poei_draws *draws;
} mcmc_run;

/* ---- memory ---- */

static bool mcmc_state_create(mcmc_state *state, size_t chains, size_t numbers) {
  state->x = poei_calloc(numbers, sizeof(double));
  state->grad = poei_calloc(numbers, sizeof(double));
  state->logp = poei_calloc(chains, sizeof(double));
  state->acceptance = poei_calloc(chains, sizeof(double));
  state->energy = poei_calloc(chains, sizeof(double));
  state->diverging = poei_calloc(chains, 1);
  return state->x != NULL && state->grad != NULL && state->logp != NULL && state->acceptance != NULL &&
         state->energy != NULL && state->diverging != NULL;
}

static void mcmc_state_free(mcmc_state *state) {
  poei_free(state->x);
  poei_free(state->grad);
  poei_free(state->logp);
  poei_free(state->acceptance);
  poei_free(state->energy);
  poei_free(state->diverging);
}

static void mcmc_free(mcmc_run *run) {
  mcmc_state_free(&run->now);
  mcmc_state_free(&run->trial);
  poei_free(run->metric);
  poei_free(run->center);
  poei_free(run->moments.mean);
  poei_free(run->moments.squares);
  poei_free(run->at);
  poei_free(run->densities);
  poei_free(run->gradients);
  poei_free(run->finished);
  poei_workers_free(&run->workers);
}

static poe_status mcmc_create(mcmc_run *run, poe_error *error) {
  size_t chains = run->options.chains, d = run->d, numbers;
  run->tile_rows = poei_tile_rows(chains);
  run->tiles = (chains + run->tile_rows - 1) / run->tile_rows;
  if (!poei_mul_size(chains, d, &numbers) || !mcmc_state_create(&run->now, chains, numbers) ||
      !mcmc_state_create(&run->trial, chains, numbers) || (run->metric = poei_alloc(d, sizeof(double))) == NULL ||
      (run->center = poei_alloc(d, sizeof(double))) == NULL ||
      (run->moments.mean = poei_alloc(d, sizeof(double))) == NULL ||
      (run->moments.squares = poei_alloc(d, sizeof(double))) == NULL ||
      (run->at = poei_calloc(chains, sizeof *run->at)) == NULL ||
      (run->densities = poei_calloc(run->tiles, sizeof *run->densities)) == NULL ||
      (run->gradients = poei_calloc(run->tiles, sizeof *run->gradients)) == NULL ||
      (run->finished = poei_calloc(run->tiles, sizeof *run->finished)) == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for %zu chains of %zu coordinates", chains, d);
  }
  run->moments.d = d;
  poei_moments_clear(&run->moments);
  for (size_t j = 0; j < d; j++) {
    run->metric[j] = 1.0;
  }
  size_t n = run->tile_rows;
  unsigned want = run->kernel->needs_gradient ? POE_WANT_GRAD : POE_WANT_LOGP;
  size_t more = run->kernel->more == NULL ? 0 : run->kernel->more(&run->density, &run->settings, n);
  return poei_workers_create(run->options.pool,
                             poei_density_scratch(&run->density, want, n) + run->kernel->scratch(n, d) + more,
                             &run->workers, error);
}

/* ---- tiles ---- */

static poei_tile mcmc_tile(mcmc_run *run, size_t tile, mcmc_state *state) {
  size_t first = tile * run->tile_rows, left = run->options.chains - first;
  return (poei_tile){
      .n = left < run->tile_rows ? left : run->tile_rows,
      .d = run->d,
      .x = state->x + first * run->d,
      .logp = state->logp + first,
      .grad = state->grad + first * run->d,
      .acceptance = state->acceptance + first,
      .energy = state->energy + first,
      .diverging = state->diverging + first,
      .at = run->at + first,
  };
}

static poe_status mcmc_advance(mcmc_run *run, size_t index, mcmc_state *state, size_t step, poe_scratch *scratch,
                               poe_error *error) {
  poei_tile tile = mcmc_tile(run, index, state);
  poe_rng *at = run->at + index * run->tile_rows;
  for (size_t i = 0; i < tile.n; i++) {
    at[i] = run->root;
    at[i].chain = (uint32_t)(index * run->tile_rows + i);
    at[i].step = (uint32_t)step;
  }
  return run->kernel->step(&run->density, &run->settings, &tile, &run->densities[index], &run->gradients[index],
                           scratch, error);
}

static poe_status mcmc_task_step(void *context, size_t index, poe_scratch *scratch, poe_error *error) {
  mcmc_run *run = context;
  return mcmc_advance(run, index, run->acting, run->step, scratch, error);
}

static void mcmc_record(mcmc_run *run, const poei_tile *tile, size_t chain, size_t draw) {
  poei_draws *draws = run->draws;
  for (size_t i = 0; i < tile->n; i++) {
    size_t row = (chain + i) * draws->draws + draw;
    memcpy(draws->x + row * run->d, tile->x + i * run->d, run->d * sizeof(double));
    draws->lp[row] = tile->logp[i];
    draws->acceptance[row] = run->kernel->biased ? NAN : tile->acceptance[i];
    draws->diverging[row] = tile->diverging[i];
    draws->energy[row] = tile->energy[i];
  }
}

/* Draws of one tile up to run->batch_end; a divergence in a thinned-out step is kept in the draw after it. */
static poe_status mcmc_task_draws(void *context, size_t index, poe_scratch *scratch, poe_error *error) {
  mcmc_run *run = context;
  poei_tile tile = mcmc_tile(run, index, &run->now);
  unsigned char seen[POEI_TILE];
  while (run->finished[index] < run->batch_end && !poei_monitor_stopped(&run->options.monitor)) {
    size_t draw = run->finished[index], thin = run->options.thin;
    memset(seen, 0, sizeof seen);
    for (size_t k = 0; k < thin; k++) {
      poe_status status = mcmc_advance(run, index, &run->now, run->options.warmup + draw * thin + k, scratch, error);
      if (status != POE_OK) {
        return status;
      }
      for (size_t i = 0; i < tile.n; i++) {
        seen[i] |= tile.diverging[i];
      }
    }
    memcpy(tile.diverging, seen, tile.n);
    mcmc_record(run, &tile, index * run->tile_rows, draw);
    run->finished[index]++;
  }
  return POE_OK;
}

/* ---- starts ---- */

static poe_status mcmc_start_error(const mcmc_run *run, const poei_tile *tile, size_t row, size_t chain,
                                   poe_error *error) {
  double value = tile->logp[row], logp = isnan(value) ? fabs(value) : value; /* a NaN without sign */
  if (run->start == NULL) {
    poe_error_set(error, POE_E_NUMERIC,
                  "chain %zu: no finite log density in %d starts uniform in (-2, 2); the last was %g", chain,
                  MCMC_START_TRIES, logp);
    poe_error_hint(error, "give a start inside the support, or sample from an expert that can be drawn exactly");
    return POE_E_NUMERIC;
  }
  poe_error_set(error, POE_E_NUMERIC, "chain %zu: the log density at its start is %g%s", chain, logp,
                isfinite(logp) ? " but its gradient is not finite" : "");
  poe_error_hint(error, "start where the density is finite and positive");
  return POE_E_NUMERIC;
}

static bool mcmc_start_good(const mcmc_run *run, const poei_tile *tile, size_t row) {
  bool good = isfinite(tile->logp[row]);
  for (size_t j = 0; good && run->kernel->needs_gradient && j < run->d; j++) {
    good = isfinite(tile->grad[row * run->d + j]);
  }
  return good;
}

static poe_status mcmc_task_start(void *context, size_t index, poe_scratch *scratch, poe_error *error) {
  mcmc_run *run = context;
  poei_tile tile = mcmc_tile(run, index, &run->now);
  size_t first = index * run->tile_rows, bad = tile.n;
  for (size_t attempt = 0; attempt < (run->start != NULL ? 1 : MCMC_START_TRIES) && bad > 0; attempt++) {
    for (size_t i = 0; i < tile.n; i++) {
      double *x = tile.x + i * run->d;
      if (run->start != NULL) {
        memcpy(x, run->start + (first + i) * run->d, run->d * sizeof *x);
      } else if (attempt == 0 || !mcmc_start_good(run, &tile, i)) {
        poe_rng at = run->root;
        at.chain = (uint32_t)(first + i);
        at.step = (uint32_t)attempt;
        poe_rng_uniforms(at, run->d, x);
        for (size_t j = 0; j < run->d; j++) {
          x[j] = 4.0 * x[j] - 2.0;
        }
      }
    }
    poe_status status = poei_density_eval(&run->density, tile.n, run->d, tile.x, tile.logp,
                                          run->kernel->needs_gradient ? tile.grad : NULL, scratch, error);
    if (status != POE_OK) {
      return status;
    }
    *(run->kernel->needs_gradient ? &run->gradients[index] : &run->densities[index]) += tile.n;
    bad = 0;
    for (size_t i = 0; i < tile.n; i++) {
      bad += !mcmc_start_good(run, &tile, i);
    }
  }
  for (size_t i = 0; bad > 0 && i < tile.n; i++) {
    if (!mcmc_start_good(run, &tile, i)) {
      return mcmc_start_error(run, &tile, i, first + i, error);
    }
  }
  return POE_OK;
}

/* ---- adaptation ---- */

static double mcmc_mean_acceptance(const mcmc_run *run, const mcmc_state *state) {
  double sum = 0.0;
  for (size_t c = 0; c < run->options.chains; c++) {
    sum += state->acceptance[c];
  }
  return sum / (double)run->options.chains;
}

static void mcmc_set_step(mcmc_run *run, double step_size) {
  run->settings.step_size = step_size;
  run->settings.leapfrog =
      run->options.leapfrog > 0 ? run->options.leapfrog : poei_leapfrog_steps(MCMC_TIME, step_size);
}

/* Doubles or halves the step size until the mean acceptance of one short step from the current states crosses the
 * target (after Hoffman and Gelman 2014, algorithm 4, over all chains at once). `round` addresses its randomness. */
static poe_status mcmc_find_step(mcmc_run *run, size_t round, poe_error *error) {
  size_t chains = run->options.chains, numbers = chains * run->d;
  poe_rng root = run->root;
  poe_status status = POE_OK;
  int direction = 0;
  run->root = poe_rng_child(root, MCMC_KEY_TRIAL);
  run->settings.leapfrog = 1;
  for (size_t k = 0; k < MCMC_STEP_TRIES && status == POE_OK; k++) {
    memcpy(run->trial.x, run->now.x, numbers * sizeof(double));
    memcpy(run->trial.grad, run->now.grad, numbers * sizeof(double));
    memcpy(run->trial.logp, run->now.logp, chains * sizeof(double));
    run->acting = &run->trial;
    run->step = round * MCMC_STEP_TRIES + k;
    status = poei_workers_run(&run->workers, run->tiles, mcmc_task_step, run, error);
    int wanted = mcmc_mean_acceptance(run, &run->trial) > run->kernel->target_acceptance ? 1 : -1;
    if (direction != 0 && wanted != direction) {
      break;
    }
    direction = wanted;
    run->settings.step_size *= direction > 0 ? 2.0 : 0.5;
  }
  run->root = root;
  mcmc_set_step(run, run->settings.step_size);
  poei_dual_averaging_start(&run->averaging, run->kernel->target_acceptance, run->settings.step_size);
  return status;
}

static poe_status mcmc_warmup(mcmc_run *run, poe_error *error) {
  const poei_run_options *options = &run->options;
  size_t warmup = options->warmup, every = warmup / 100 + 1, round = 0;
  bool adapts = options->step_size == 0.0 && run->kernel->target_acceptance > 0.0;
  poei_windows windows = poei_windows_start(options->fixed_metric ? 0 : warmup);
  mcmc_set_step(run, options->step_size > 0.0 ? options->step_size : 2.0 / sqrt((double)run->d));
  poe_status status = adapts ? mcmc_find_step(run, round++, error) : POE_OK;
  for (size_t step = 0; step < warmup && status == POE_OK; step++) {
    if (poei_monitor_stopped(&options->monitor)) {
      return POE_OK;
    }
    run->acting = &run->now;
    run->step = step;
    status = poei_workers_run(&run->workers, run->tiles, mcmc_task_step, run, error);
    if (status == POE_OK && adapts) {
      mcmc_set_step(run, poei_dual_averaging_update(&run->averaging, mcmc_mean_acceptance(run, &run->now)));
    }
    if (status == POE_OK && poei_windows_feeds(&windows, step)) {
      poei_moments_add(&run->moments, run->now.x, options->chains);
      if (poei_windows_ends(&windows, step)) {
        poei_moments_metric(&run->moments, run->metric);
        memcpy(run->center, run->moments.mean, run->d * sizeof *run->center);
        run->settings.center = run->center;
        poei_moments_clear(&run->moments);
        status = adapts ? mcmc_find_step(run, round++, error) : POE_OK;
      }
    }
    if ((step + 1) % every == 0 || step + 1 == warmup) {
      poei_monitor_report(&options->monitor, "warmup", step + 1, warmup);
    }
  }
  if (status == POE_OK && adapts && warmup > 0) {
    mcmc_set_step(run, poei_dual_averaging_final(&run->averaging));
  }
  return status;
}

/* ---- the run ---- */

static poe_status mcmc_draw(mcmc_run *run, poe_error *error) {
  const poei_run_options *options = &run->options;
  size_t every = options->draws / 100 + 1, done = 0;
  poe_status status = POE_OK;
  while (done < options->draws && status == POE_OK && !poei_monitor_stopped(&options->monitor)) {
    run->batch_end = options->draws - done < every ? options->draws : done + every;
    status = poei_workers_run(&run->workers, run->tiles, mcmc_task_draws, run, error);
    done = options->draws;
    for (size_t t = 0; t < run->tiles; t++) {
      done = run->finished[t] < done ? run->finished[t] : done;
    }
    poei_monitor_report(&options->monitor, "draws", done, options->draws);
  }
  run->draws->interrupted = done < options->draws;
  poei_draws_cut(run->draws, done);
  return status;
}

static poe_status mcmc_check(const poe_expert *target, const poei_kernel *kernel, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  const char *kind = poe_expert_ops_of(target)->kind;
  for (size_t j = 0; j < traits->dim; j++) {
    bool discrete = traits->support[j].kind == POE_DISCRETE;
    if (discrete != kernel->discrete) {
      return poe_error_set(error, POE_E_CAPABILITY, "`%s` moves %s coordinates, but coordinate %zu of `%s` is %s",
                           kernel->name, kernel->discrete ? "discrete" : "continuous", j, kind,
                           discrete ? "discrete" : "continuous");
    }
  }
  if ((traits->capabilities & POE_CAN_EVAL) == 0) {
    return poe_error_set(error, POE_E_CAPABILITY, "`%s` cannot be evaluated; `%s` needs that", kind, kernel->name);
  }
  if (kernel->needs_gradient && (traits->capabilities & POE_CAN_GRADIENT) == 0) {
    poe_error_set(error, POE_E_CAPABILITY, "`%s` has no gradient; `%s` needs one", kind, kernel->name);
    poe_error_hint(error, "use --method rwm");
    return POE_E_CAPABILITY;
  }
  return POE_OK;
}

/* The start that failed, for whoever asked; those that were not tried have a density of 0. */
static void mcmc_blame(const mcmc_run *run) {
  poei_trouble *trouble = run->options.trouble;
  poei_tile all = {.logp = run->now.logp, .grad = run->now.grad};
  for (size_t c = 0; trouble != NULL && trouble->point != NULL && c < run->options.chains; c++) {
    if (!mcmc_start_good(run, &all, c)) {
      memcpy(trouble->point, run->now.x + c * run->d, run->d * sizeof(double));
      trouble->has_point = true;
      return;
    }
  }
}

static poe_status mcmc_run_all(mcmc_run *run, uint64_t seed, poei_draws *draws, poe_error *error) {
  run->draws = draws;
  run->root = poe_rng_child(poe_rng_seed(seed), MCMC_KEY_START);
  poe_status status = poei_workers_run(&run->workers, run->tiles, mcmc_task_start, run, error);
  if (status == POE_E_NUMERIC) {
    mcmc_blame(run);
  }
  run->root = poe_rng_seed(seed);
  if (status == POE_OK) {
    status = mcmc_warmup(run, error);
  }
  if (status == POE_OK) {
    status = mcmc_draw(run, error);
  }
  for (size_t c = 0; c < draws->chains; c++) {
    draws->step_size[c] = run->kernel->discrete ? NAN : run->settings.step_size;
  }
  for (size_t t = 0; t < run->tiles; t++) {
    draws->density_evaluations += run->densities[t];
    draws->gradient_evaluations += run->gradients[t];
  }
  return status;
}

poe_status poei_run_mcmc(const poe_expert *target, const poei_kernel *kernel, const poei_run_options *options,
                         const double *start, poei_draws *draws, poe_error *error) {
  static const double one = 1.0;
  mcmc_run run = {.density = {.n_terms = 1, .term = {target}, .weight = {{.w = &one, .inc = 0}}},
                  .kernel = kernel,
                  .start = start,
                  .d = poe_expert_traits(target)->dim};
  poei_draws made = {0};
  poe_status status = mcmc_check(target, kernel, error);
  if (status == POE_OK) {
    status = poei_run_defaults(target, options, &run.options, error);
  }
  if (status == POE_OK) {
    status = mcmc_create(&run, error);
    run.settings.metric = run.metric;
  }
  if (status == POE_OK) {
    status = poei_draws_create(run.options.chains, run.options.draws, run.d, &made, error);
  }
  if (status == POE_OK) {
    status = mcmc_run_all(&run, run.options.seed, &made, error);
  }
  mcmc_free(&run);
  if (status != POE_OK) {
    poei_draws_free(&made);
    return status;
  }
  *draws = made;
  return POE_OK;
}
