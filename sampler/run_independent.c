/* Independence Metropolis-Hastings in bulk (run.h).
 *
 * Proposals come in blocks of all chains' next steps. The one of chain c at step s is drawn and decided on at two
 * children of the address (key of the seed, c, s), so that neither blocks nor threads change a bit: experts draw from
 * children of what they get, so that a decision at one of these would read a proposal's own numbers. Invariant: a step
 * allocates nothing. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "sampler/draws.h"
#include "sampler/kernels/density.h"
#include "sampler/run.h"
#include "sampler/workers.h"

enum { BLOCK_ROWS = 32 * POEI_TILE, BLOCK_NUMBERS = 1 << 22, MOST_WEIGHTS = 1 << 20 };

typedef struct independent_run {
  const poe_expert *base;
  poei_density rest;
  poei_run_options options;
  poei_draws *draws;
  poe_rng root;
  size_t d, chains, block; /* block: steps at a time                                */
  size_t first, steps;     /* of the current block                                  */
  double *y, *log_y;       /* [chains, block, d], [chains, block] proposals         */
  double *x, *log_x;       /* [chains, d], [chains] states; -inf: none yet          */
  unsigned char *diverged; /* [chains] since the last draw                          */
  double *log_weight;      /* [room] weights seen                                   */
  size_t room, seen, finished;
  poei_workers workers;
} independent_run;

static void independent_free(independent_run *run) {
  poei_free(run->y);
  poei_free(run->log_y);
  poei_free(run->x);
  poei_free(run->log_x);
  poei_free(run->diverged);
  poei_free(run->log_weight);
  poei_workers_free(&run->workers);
}

static poe_status independent_create(independent_run *run, poe_error *error) {
  const poei_run_options *o = &run->options;
  size_t steps = o->warmup + o->draws * o->thin, rows = BLOCK_ROWS, numbers, states;
  rows = BLOCK_NUMBERS / run->d < rows ? BLOCK_NUMBERS / run->d : rows;
  run->block = rows > run->chains ? rows / run->chains : 1;
  run->block = run->block < steps ? run->block : steps;
  bool fits = poei_mul_size(run->chains, run->block, &rows) && poei_mul_size(rows, run->d, &numbers) &&
              poei_mul_size(run->chains, run->d, &states) && poei_mul_size(run->chains, steps, &run->room);
  run->room = run->room < MOST_WEIGHTS ? run->room : MOST_WEIGHTS;
  if (!fits || (run->y = poei_alloc(numbers, sizeof(double))) == NULL ||
      (run->log_y = poei_alloc(rows, sizeof(double))) == NULL ||
      (run->x = poei_calloc(states, sizeof(double))) == NULL ||
      (run->log_x = poei_alloc(run->chains, sizeof(double))) == NULL ||
      (run->diverged = poei_calloc(run->chains, 1)) == NULL ||
      (run->log_weight = poei_alloc(run->room, sizeof(double))) == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for %zu chains of %zu coordinates", run->chains, run->d);
  }
  size_t draw = poe_expert_scratch(run->base, POE_WANT_SAMPLE, POEI_TILE);
  size_t value = poei_density_scratch(&run->rest, POE_WANT_LOGP, POEI_TILE);
  return poei_workers_create(o->pool, draw > value ? draw : value, &run->workers, error);
}

/* Where a chain draws its proposal of a step (POEI_SITE_PROPOSAL) or decides on it (POEI_SITE_ACCEPT). */
static poe_rng independent_address(const independent_run *run, uint32_t use, size_t chain, size_t step) {
  poe_rng at = poe_rng_child(run->root, use);
  at.chain = (uint32_t)chain;
  at.step = (uint32_t)step;
  return at;
}

/* Task: one tile of the block's rows, chain after chain. */
static poe_status independent_task(void *context, size_t tile, poe_scratch *scratch, poe_error *error) {
  independent_run *run = context;
  size_t begin = tile * POEI_TILE, rows = run->chains * run->steps, d = run->d;
  size_t n = rows - begin < POEI_TILE ? rows - begin : POEI_TILE;
  poe_rng at[POEI_TILE];
  for (size_t i = 0; i < n; i++) {
    at[i] =
        independent_address(run, POEI_SITE_PROPOSAL, (begin + i) / run->steps, run->first + (begin + i) % run->steps);
  }
  double *y = run->y + begin * d;
  size_t mark = poe_scratch_mark(scratch);
  poe_status status = poe_expert_sample(run->base, (poe_rows_out){.n = n, .d = d, .ld = d, .x = y}, at, scratch, error);
  poe_scratch_release(scratch, mark);
  return status == POE_OK ? poei_density_eval(&run->rest, n, d, y, run->log_y + begin, NULL, scratch, error) : status;
}

/* Weights of the given starts. */
static poe_status independent_start(independent_run *run, const double *start, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t c = 0; c < run->chains; c++) {
    run->log_x[c] = -INFINITY;
  }
  if (start == NULL) {
    return POE_OK;
  }
  memcpy(run->x, start, run->chains * run->d * sizeof *start);
  for (size_t c = 0; c < run->chains && status == POE_OK; c += POEI_TILE) {
    size_t n = run->chains - c < POEI_TILE ? run->chains - c : POEI_TILE;
    status = poei_density_eval(&run->rest, n, run->d, run->x + c * run->d, run->log_x + c, NULL,
                               run->workers.scratch[0], error);
  }
  for (size_t c = 0; c < run->chains && status == POE_OK; c++) {
    if (!isfinite(run->log_x[c])) {
      poe_error_set(error, POE_E_NUMERIC, "chain %zu: the log weight at its start is %g", c,
                    isnan(run->log_x[c]) ? fabs(run->log_x[c]) : run->log_x[c]);
      poe_error_hint(error, "start where the density is finite and positive");
      status = POE_E_NUMERIC;
    }
  }
  return status;
}

/* Chain c decides on the proposal in row `row` of the block: its acceptance probability. */
static double independent_decide(independent_run *run, size_t c, size_t step, size_t row) {
  double there = run->log_y[row], here = run->log_x[c], probability;
  if (isnan(there) || there == INFINITY) {
    run->diverged[c] = 1;
    return 0.0;
  }
  if (there == -INFINITY) {
    return 0.0;
  }
  probability = there < here ? exp(there - here) : 1.0;
  poe_stream stream = poe_stream_open(independent_address(run, POEI_SITE_ACCEPT, c, step));
  if (poe_stream_uniform(&stream) < probability) {
    memcpy(run->x + c * run->d, run->y + row * run->d, run->d * sizeof *run->x);
    run->log_x[c] = there;
  }
  return probability;
}

static void independent_record(independent_run *run, size_t c, size_t draw, double acceptance) {
  poei_draws *draws = run->draws;
  size_t row = c * draws->draws + draw;
  memcpy(draws->x + row * run->d, run->x + c * run->d, run->d * sizeof *run->x);
  draws->lp[row] = run->log_x[c];
  draws->acceptance[row] = acceptance;
  draws->diverging[row] = run->diverged[c];
  run->diverged[c] = 0;
}

/* POE_E_NUMERIC when chain c has no state at the first draw. */
static poe_status independent_stateless(const independent_run *run, size_t c, poe_error *error) {
  if (run->log_x[c] != -INFINITY) {
    return POE_OK;
  }
  poe_error_set(error, POE_E_NUMERIC,
                "chain %zu: none of its %zu first proposals lies where the target's density is not 0", c,
                run->first + run->steps);
  poe_error_hint(error, "name an expert that reaches the others' support (--proposal), or give starting points");
  return POE_E_NUMERIC;
}

/* Every chain goes through its proposals of the block. */
static poe_status independent_block(independent_run *run, poe_error *error) {
  size_t warmup = run->options.warmup, thin = run->options.thin;
  for (size_t c = 0; c < run->chains; c++) {
    for (size_t s = 0; s < run->steps; s++) {
      size_t step = run->first + s, row = c * run->steps + s;
      if (run->seen < run->room) {
        double w = run->log_y[row];
        run->log_weight[run->seen++] = isnan(w) || w == INFINITY ? -INFINITY : w;
      }
      double acceptance = independent_decide(run, c, step, row);
      if (step < warmup) {
        run->diverged[c] = 0; /* warmup's do not count */
      } else if ((step - warmup) % thin == thin - 1) {
        if (independent_stateless(run, c, error) != POE_OK) {
          return POE_E_NUMERIC;
        }
        independent_record(run, c, (step - warmup) / thin, acceptance);
      }
    }
  }
  return POE_OK;
}

static poe_status independent_all(independent_run *run, poe_error *error) {
  const poei_run_options *o = &run->options;
  size_t all = o->warmup + o->draws * o->thin;
  poe_status status = POE_OK;
  while (run->first < all && status == POE_OK && !poei_monitor_stopped(&o->monitor)) {
    run->steps = all - run->first < run->block ? all - run->first : run->block;
    size_t rows = run->chains * run->steps;
    status = poei_workers_run(&run->workers, (rows + POEI_TILE - 1) / POEI_TILE, independent_task, run, error);
    if (status == POE_OK) {
      status = independent_block(run, error);
    }
    run->draws->density_evaluations += rows;
    run->first += run->steps;
    bool warm = run->first <= o->warmup;
    poei_monitor_report(&o->monitor, warm ? "warmup" : "draws", warm ? run->first : (run->first - o->warmup) / o->thin,
                        warm ? o->warmup : o->draws);
  }
  run->finished = run->first > o->warmup ? (run->first - o->warmup) / o->thin : 0;
  run->draws->interrupted = run->finished < o->draws;
  poei_draws_cut(run->draws, run->finished);
  return status;
}

static poe_status independent_check(const poe_expert *base, const poe_expert *rest, poe_error *error) {
  const poe_traits *first = poe_expert_traits(base), *second = poe_expert_traits(rest);
  if (first->dim != second->dim) {
    return poe_error_set(error, POE_E_SHAPE, "the proposals have %zu coordinates and the target has %zu", first->dim,
                         second->dim);
  }
  if ((first->capabilities & POE_CAN_SAMPLE) == 0) {
    return poe_error_set(error, POE_E_CAPABILITY,
                         "`%s` cannot be drawn from exactly; `imh` draws its proposals from it",
                         poe_expert_ops_of(base)->kind);
  }
  if ((second->capabilities & POE_CAN_EVAL) == 0) {
    return poe_error_set(error, POE_E_CAPABILITY, "`%s` cannot be evaluated; `imh` needs that",
                         poe_expert_ops_of(rest)->kind);
  }
  return POE_OK;
}

poe_status poei_run_independent(const poe_expert *base, const poe_expert *rest, const poei_run_options *options,
                                const double *start, poei_draws *draws, poei_weights *weights, poe_error *error) {
  static const double one = 1.0;
  poei_draws made = {0};
  independent_run run = {.base = base,
                         .rest = {.n_terms = 1, .term = {rest}, .weight = {{.w = &one, .inc = 0}}},
                         .draws = &made,
                         .root = poe_rng_seed(options->seed),
                         .d = poe_expert_traits(base)->dim};
  poe_status status = independent_check(base, rest, error);
  if (status == POE_OK) {
    status = poei_run_defaults(base, options, &run.options, error);
    run.chains = run.options.chains;
  }
  if (status == POE_OK) {
    status = independent_create(&run, error);
  }
  if (status == POE_OK) {
    status = poei_draws_create(run.chains, run.options.draws, run.d, &made, error);
  }
  if (status == POE_OK) {
    status = independent_start(&run, start, error);
  }
  if (status == POE_OK) {
    status = independent_all(&run, error);
  }
  if (status == POE_OK && run.seen > 0) {
    status = poei_weights_judge(run.log_weight, run.seen, weights, error);
  }
  independent_free(&run);
  if (status != POE_OK) {
    poei_draws_free(&made);
    return status;
  }
  *draws = made;
  return POE_OK;
}
