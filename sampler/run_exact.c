/* Exact draws: draw s of chain c is the expert's own at the address (seed, c, s).
 *
 * Draws are made in blocks over all chains, so that an interrupted run keeps the same number of each. */
#include "core/alloc.h"
#include "sampler/draws.h"
#include "sampler/run.h"
#include "sampler/workers.h"

enum { EXACT_TILES = 8, EXACT_BLOCK = EXACT_TILES * POEI_TILE };

typedef struct exact_run {
  const poe_expert *expert;
  poei_draws *draws;
  poe_rng root;
  size_t first, last; /* the block: draws [first, last) of every chain */
  bool evaluates;
} exact_run;

/* Task: one tile of one chain within the block. */
static poe_status exact_task(void *context, size_t index, poe_scratch *scratch, poe_error *error) {
  const exact_run *run = context;
  poei_draws *draws = run->draws;
  size_t chain = index / EXACT_TILES, d = draws->dim, begin = run->first + index % EXACT_TILES * POEI_TILE;
  if (begin >= run->last) {
    return POE_OK;
  }
  size_t n = run->last - begin < POEI_TILE ? run->last - begin : POEI_TILE, row = chain * draws->draws + begin;
  poe_rng at[POEI_TILE];
  for (size_t i = 0; i < n; i++) {
    at[i] = run->root;
    at[i].chain = (uint32_t)chain;
    at[i].step = (uint32_t)(begin + i);
  }
  double *x = draws->x + row * d, *lp = draws->lp + row;
  poe_rows_out out = {.n = n, .d = d, .ld = d, .x = x};
  poe_status status = poe_expert_sample(run->expert, out, at, scratch, error);
  if (status != POE_OK || !run->evaluates) {
    return status;
  }
  static const double one = 1.0;
  for (size_t i = 0; i < n; i++) {
    lp[i] = 0.0;
  }
  return poe_expert_eval_add(run->expert, (poe_rows){.n = n, .d = d, .ld = d, .x = x},
                             (poe_weights){.w = &one, .inc = 0}, (poe_accum){.logp = lp, .grad = NULL, .ldg = d},
                             scratch, error);
}

static poe_status exact_draw(exact_run *run, const poei_run_options *options, poei_workers *workers, poe_error *error) {
  size_t done = 0, wanted = run->draws->draws;
  poe_status status = POE_OK;
  while (done < wanted && status == POE_OK && !poei_monitor_stopped(&options->monitor)) {
    run->first = done;
    run->last = wanted - done < EXACT_BLOCK ? wanted : done + EXACT_BLOCK;
    status = poei_workers_run(workers, run->draws->chains * EXACT_TILES, exact_task, run, error);
    done = run->last;
    poei_monitor_report(&options->monitor, "draws", done, wanted);
  }
  if (run->evaluates) {
    run->draws->density_evaluations = (uint64_t)run->draws->chains * done;
  }
  run->draws->interrupted = done < wanted;
  poei_draws_cut(run->draws, done);
  return status;
}

poe_status poei_run_exact(const poe_expert *expert, const poei_run_options *options, poei_draws *draws,
                          poe_error *error) {
  const poe_traits *traits = poe_expert_traits(expert);
  poei_run_options wanted;
  if ((traits->capabilities & POE_CAN_SAMPLE) == 0) {
    return poe_error_set(error, POE_E_CAPABILITY, "`%s` cannot be drawn from exactly", poe_expert_ops_of(expert)->kind);
  }
  poe_status status = poei_run_defaults(expert, options, &wanted, error);
  if (status != POE_OK) {
    return status;
  }
  poei_draws made = {0};
  poei_workers workers = {0};
  exact_run run = {.expert = expert,
                   .draws = &made,
                   .root = poe_rng_seed(wanted.seed),
                   .evaluates = (traits->capabilities & POE_CAN_EVAL) != 0};
  size_t bytes = poe_expert_scratch(expert, POE_WANT_SAMPLE, POEI_TILE);
  size_t more = run.evaluates ? poe_expert_scratch(expert, POE_WANT_LOGP, POEI_TILE) : 0;
  status = poei_workers_create(wanted.pool, bytes > more ? bytes : more, &workers, error);
  if (status == POE_OK) {
    status = poei_draws_create(wanted.chains, wanted.draws, traits->dim, &made, error);
  }
  if (status == POE_OK) {
    status = exact_draw(&run, &wanted, &workers, error);
  }
  poei_workers_free(&workers);
  if (status != POE_OK) {
    poei_draws_free(&made);
    return status;
  }
  *draws = made;
  return POE_OK;
}
