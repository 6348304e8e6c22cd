/* Draws through another density: a marginal by its joint density, a mixed target by its continuous marginal.
 *
 * Joint: the latent coordinates of a draw are left out. Marginal: the discrete coordinates of a draw are exact given
 * its continuous ones (compose/exact/summed.h): no discrete move was ever proposed.
 */
#include "answer/draw_latent.h"

#include <string.h>

#include "compose/exact/summed.h"
#include "core/alloc.h"
#include "sampler/draws.h"

/* ---- discrete coordinates given the others ---- */

/* Rows of a mixed target in tiles over the pool. */
typedef struct given_job {
  const poe_expert *summed;
  size_t n, dim, draws, probabilities;
  double *x;        /* [n, dim]; draws: completed in place ...        */
  poe_rng at;       /* ... from here                                  */
  double *p;        /* [n, probabilities] or NULL: draws              */
  poe_rng *address; /* [workers, TILE]                                */
  poe_scratch **scratch;
  poe_error *errors; /* [workers] */
} given_job;

static poe_status given_tile(void *context, size_t index, size_t worker) {
  given_job *job = context;
  size_t first = index * POEI_TILE, count = job->n - first < POEI_TILE ? job->n - first : POEI_TILE;
  poe_scratch *scratch = job->scratch[worker];
  double *x = job->x + first * job->dim;
  if (job->p != NULL) {
    return poei_summed_marginals(job->summed, count, x, job->p + first * job->probabilities, scratch,
                                 &job->errors[worker]);
  }
  poe_rng *at = job->address + worker * POEI_TILE;
  for (size_t i = 0; i < count; i++) {
    at[i] = job->at;
    at[i].chain = (uint32_t)((first + i) / job->draws);
    at[i].step = (uint32_t)((first + i) % job->draws);
  }
  return poei_summed_draw(job->summed, count, x, at, scratch, &job->errors[worker]);
}

static poe_status given_run(const poei_session *session, given_job *job, poe_error *error) {
  size_t workers = session->pool == NULL ? 1 : poei_pool_threads(session->pool);
  job->scratch = poei_calloc(workers, sizeof(poe_scratch *));
  job->errors = poei_calloc(workers, sizeof *job->errors);
  job->address = poei_alloc(workers * POEI_TILE, sizeof *job->address);
  bool memory = job->scratch != NULL && job->errors != NULL && job->address != NULL;
  for (size_t w = 0; w < workers && memory; w++) {
    job->scratch[w] = poe_scratch_create(poei_summed_scratch(job->summed));
    memory = job->scratch[w] != NULL;
  }
  poe_status status = memory ? poei_pool_run(session->pool, (job->n + POEI_TILE - 1) / POEI_TILE, given_tile, job)
                             : poe_error_set(error, POE_E_MEMORY, "out of memory for %zu draws", job->n);
  for (size_t w = 0; w < workers && memory && status != POE_OK; w++) {
    if (job->errors[w].status == status && error != NULL) {
      *error = job->errors[w];
    }
  }
  for (size_t w = 0; w < workers && job->scratch != NULL; w++) {
    poe_scratch_destroy(job->scratch[w]);
  }
  poei_free(job->scratch);
  poei_free(job->errors);
  poei_free(job->address);
  return status;
}

poe_status poei_given_marginals(const poei_session *session, const poei_plan *plan, size_t n, const double *x,
                                double *p, poe_error *error) {
  given_job job = {.summed = plan->discrete, .n = n, .dim = plan->dim, .p = p};
  job.probabilities = poei_summed_probabilities(plan->discrete);
  job.x = (double *)(uintptr_t)x; /* probabilities leave it as it is */
  return given_run(session, &job, error);
}

/* ---- draws ---- */

/* The part's draws without what is left over: x[., dim] at the front of x[., part dim]. */
static void leave_out(poei_draws *draws, size_t dim) {
  for (size_t i = 0; i < draws->chains * draws->draws; i++) {
    memmove(draws->x + i * dim, draws->x + i * draws->dim, dim * sizeof *draws->x);
  }
  draws->dim = dim;
}

static poe_status complete(const poei_session *session, const poei_plan *plan, uint64_t seed, poei_draws *draws,
                           poe_error *error) {
  size_t d = plan->dim, n = draws->dim, count = draws->chains * draws->draws, numbers = 0;
  double *x = poei_mul_size(count, d, &numbers) ? poei_calloc(numbers, sizeof *x) : NULL;
  if (x == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory for %zu draws", count);
  }
  for (size_t i = 0; i < count; i++) {
    for (size_t j = 0; j < n; j++) {
      x[i * d + plan->part_index[0][j]] = draws->x[i * n + j];
    }
  }
  given_job job = {.summed = plan->discrete, .n = count, .dim = d, .draws = draws->draws, .x = x};
  job.at = poe_rng_seed(poei_part_seed(seed, 1));
  poe_status status = given_run(session, &job, error);
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
