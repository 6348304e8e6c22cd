/* The arrays of a run's draws (target.h). */
#include "sampler/draws.h"

#include <string.h>

#include "core/alloc.h"

static double *draws_nans(size_t count) {
  double *x = poei_alloc(count, sizeof *x);
  for (size_t i = 0; x != NULL && i < count; i++) {
    x[i] = NAN;
  }
  return x;
}

poe_status poei_draws_create(size_t chains, size_t draws, size_t dim, poei_draws *out, poe_error *error) {
  poei_draws made = {.chains = chains, .draws = draws, .dim = dim};
  size_t rows, numbers;
  if (poei_mul_size(chains, draws, &rows) && poei_mul_size(rows, dim, &numbers) &&
      poei_mul_size(numbers, sizeof(double), &(size_t){0})) {
    made.x = poei_alloc(numbers, sizeof(double)); /* every draw that is kept is written */
    made.lp = draws_nans(rows);
    made.acceptance = draws_nans(rows);
    made.diverging = poei_calloc(rows, 1);
    made.energy = draws_nans(rows);
    made.step_size = draws_nans(chains);
  }
  if (made.x == NULL || made.lp == NULL || made.acceptance == NULL || made.diverging == NULL || made.energy == NULL ||
      made.step_size == NULL) {
    poei_draws_free(&made);
    poe_error_set(error, POE_E_MEMORY, "out of memory for %zu chains x %zu draws x %zu coordinates", chains, draws,
                  dim);
    poe_error_hint(error, "ask for fewer draws, or thin them");
    return POE_E_MEMORY;
  }
  *out = made;
  return POE_OK;
}

void poei_draws_free(poei_draws *draws) {
  if (draws == NULL) {
    return;
  }
  poei_free(draws->x);
  poei_free(draws->lp);
  poei_free(draws->acceptance);
  poei_free(draws->diverging);
  poei_free(draws->energy);
  poei_free(draws->step_size);
  *draws = (poei_draws){0};
}

void poei_draws_cut(poei_draws *draws, size_t kept) {
  size_t had = draws->draws, dim = draws->dim;
  if (kept >= had) {
    return;
  }
  for (size_t c = 1; c < draws->chains; c++) {
    memmove(draws->x + c * kept * dim, draws->x + c * had * dim, kept * dim * sizeof *draws->x);
    memmove(draws->lp + c * kept, draws->lp + c * had, kept * sizeof *draws->lp);
    memmove(draws->acceptance + c * kept, draws->acceptance + c * had, kept * sizeof *draws->acceptance);
    memmove(draws->diverging + c * kept, draws->diverging + c * had, kept);
    memmove(draws->energy + c * kept, draws->energy + c * had, kept * sizeof *draws->energy);
  }
  draws->draws = kept;
}

poe_status poei_run_defaults(const poe_expert *expert, const poei_run_options *options, poei_run_options *out,
                             poe_error *error) {
  const poe_traits *traits = poe_expert_traits(expert);
  *out = *options;
  out->chains = out->chains > 0 ? out->chains : 4;
  out->draws = out->draws > 0 ? out->draws : 1000;
  out->thin = out->thin > 0 ? out->thin : 1;
  out->warmup = out->warmup == POEI_NO_WARMUP ? 0 : out->warmup > 0 ? out->warmup : 1000;
  size_t steps;
  if (!poei_mul_size(out->draws, out->thin, &steps) || !poei_add_size(steps, out->warmup, &steps) ||
      steps >= UINT32_MAX || out->chains >= UINT32_MAX) {
    return poe_error_set(error, POE_E_USAGE, "%zu chains of %zu + %zu x %zu steps are too many", out->chains,
                         out->warmup, out->draws, out->thin);
  }
  if (isnan(out->step_size) || isinf(out->step_size) || out->step_size < 0.0) {
    return poe_error_set(error, POE_E_USAGE, "a step size must be a positive number");
  }
  if (traits->dim == 0) {
    return poe_error_set(error, POE_E_SHAPE, "there is no free coordinate to sample");
  }
  return POE_OK;
}
