/* Draws through another density: a marginal by its joint density, a mixed target by its continuous marginal.
 *
 * Joint: the latent coordinates of a draw are left out. Marginal: the discrete coordinates of a draw are exact given
 * its continuous ones, by the target's values at all their joint values (so that estimates from the draws are
 * Rao-Blackwellised in distribution: no discrete move was ever proposed).
 */
#include <math.h>
#include <string.h>

#include "answer/draw_latent.h"
#include "core/alloc.h"
#include "core/numerics.h"
#include "sampler/draws.h"

/* The part's draws without what is left over: x[., dim] at the front of x[., part dim]. */
static void leave_out(poei_draws *draws, size_t dim) {
  for (size_t i = 0; i < draws->chains * draws->draws; i++) {
    memmove(draws->x + i * dim, draws->x + i * draws->dim, dim * sizeof *draws->x);
  }
  draws->dim = dim;
}

/* The discrete coordinates of a plan and their joint values. */
typedef struct completion {
  const poei_plan *plan;
  size_t n, states;
  size_t *index; /* [n] discrete coordinates     */
  double *row;   /* [states, dim]                */
  double *logp;  /* [states]                     */
  poei_runner *runner;
} completion;

static void completion_free(completion *c) {
  poei_free(c->index);
  poei_free(c->row);
  poei_free(c->logp);
  poei_runner_close(c->runner);
}

static poe_status completion_make(const poei_session *session, const poei_plan *plan, completion *c, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(plan->expert);
  size_t d = plan->dim, numbers = 0;
  *c = (completion){.plan = plan, .states = 1, .index = poei_alloc(d, sizeof *c->index)};
  for (size_t j = 0; c->index != NULL && j < d; j++) {
    if (traits->support[j].kind == POE_DISCRETE) {
      c->index[c->n++] = j;
      c->states *= (size_t)(traits->support[j].high - traits->support[j].low) + 1; /* few: the planner has counted */
    }
  }
  if (poei_mul_size(c->states, d, &numbers)) {
    c->row = poei_alloc(numbers, sizeof *c->row);
    c->logp = poei_alloc(c->states, sizeof *c->logp);
  }
  if (c->index == NULL || c->row == NULL || c->logp == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t s = 0; s < c->states; s++) {
    size_t left = s;
    for (size_t k = c->n; k-- > 0;) {
      const poe_support *support = &traits->support[c->index[k]];
      size_t values = (size_t)(support->high - support->low) + 1;
      c->row[s * d + c->index[k]] = support->low + (double)(left % values);
      left /= values;
    }
  }
  return poei_runner_open(session, poe_expert_scratch(plan->expert, POE_WANT_LOGP, POEI_TILE), &c->runner, error);
}

/* The discrete coordinates of x[dim], whose continuous ones are there, and its log-density. */
static poe_status complete_one(completion *c, poe_rng at, double *x, double *logp, poe_error *error) {
  size_t d = c->plan->dim, n = c->plan->parts[0]->dim;
  const size_t *continuous = c->plan->part_index[0];
  for (size_t s = 0; s < c->states; s++) {
    for (size_t j = 0; j < n; j++) {
      c->row[s * d + continuous[j]] = x[continuous[j]];
    }
  }
  poe_rows rows = {c->states, d, d, c->row};
  poe_status status = poei_runner_rows(c->runner, c->plan->expert, rows, c->logp, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  double total = poei_log_sum_exp(c->logp, c->states, 1), sum = 0.0;
  poe_stream stream = poe_stream_open(at);
  double u = poe_stream_uniform(&stream);
  size_t taken = 0;
  for (size_t s = 0; s < c->states; s++) { /* the last possible one where rounding keeps the sum below u */
    sum += exp(c->logp[s] - total);
    taken = c->logp[s] > -INFINITY ? s : taken;
    if (sum > u && c->logp[s] > -INFINITY) {
      break;
    }
  }
  memcpy(x, c->row + taken * d, d * sizeof *x);
  *logp = c->logp[taken];
  return POE_OK;
}

static poe_status complete(const poei_session *session, const poei_plan *plan, uint64_t seed, poei_draws *draws,
                           poe_error *error) {
  completion c;
  size_t d = plan->dim, n = draws->dim, count = draws->chains * draws->draws, numbers = 0;
  double *x = poei_mul_size(count, d, &numbers) ? poei_calloc(numbers, sizeof *x) : NULL;
  poe_status status = x == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory for %zu draws", count)
                                : completion_make(session, plan, &c, error);
  poe_rng at = poe_rng_seed(poei_part_seed(seed, 1));
  for (size_t i = 0; i < count && status == POE_OK; i++) {
    for (size_t j = 0; j < n; j++) {
      x[i * d + plan->part_index[0][j]] = draws->x[i * n + j];
    }
    at.chain = (uint32_t)(i / draws->draws);
    at.step = (uint32_t)(i % draws->draws);
    status = complete_one(&c, at, x + i * d, &draws->lp[i], error);
  }
  if (x != NULL) {
    completion_free(&c);
  }
  if (status != POE_OK) {
    poei_free(x);
    return status;
  }
  poei_free(draws->x);
  draws->x = x;
  draws->dim = d;
  return POE_OK;
}

poe_status poei_draw_latent(poei_session *session, const poei_plan *plan, const char *method,
                            const poei_run_options *options, poei_sampling *sampling, poe_error *error) {
  poe_status status = poei_draw(session, plan->parts[0], method, options, NULL, 0, sampling, error);
  if (status != POE_OK) {
    return status;
  }
  if (plan->method == POEI_METHOD_JOINT) {
    leave_out(&sampling->draws, plan->dim);
    return POE_OK;
  }
  status = complete(session, plan, options->seed, &sampling->draws, error);
  if (status != POE_OK) {
    poei_sampling_free(sampling);
  }
  return status;
}
