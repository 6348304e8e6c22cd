/* Independence Metropolis-Hastings: y ~ q whatever x is, accepted with min(1, w(y) / w(x)), w = p / q.
 *
 * Source: Hastings 1970, section 2.5; Tierney 1994, section 2.3.3: where w is bounded by M the chain forgets its start
 * at a rate of 1 - 1/M or faster, elsewhere it may stay where w is large for as long as it likes. q is an expert that
 * can be drawn, continuous, discrete or both; its constant cancels, as does the Jacobian where p and q are over the
 * same unconstrained coordinates. Where q is the density's first factor, as along a path, the ratio is that of the
 * other factors. */
#include <string.h>

#include "sampler/kernels/density.h"

static size_t imh_scratch(size_t n, size_t d) {
  return poe_scratch_need(n * d, sizeof(double)) + 4 * poe_scratch_need(n, sizeof(double)) +
         poe_scratch_need(n, sizeof(poe_rng)) + poe_scratch_need(n, 1);
}

static size_t imh_more(const poei_density *density, const poei_kernel_settings *settings, size_t n) {
  (void)density;
  const poe_expert *q = settings->proposal;
  size_t draws = poe_expert_scratch(q, POE_WANT_SAMPLE, n), values = poe_expert_scratch(q, POE_WANT_LOGP, n);
  size_t grad = settings->keeps_gradient ? poe_scratch_need(n * poe_expert_traits(q)->dim, sizeof(double)) : 0;
  return grad + (draws > values ? draws : values);
}

static poe_status imh_propose(const poei_kernel_settings *settings, const poei_tile *tile, double *y,
                              poe_scratch *scratch, poe_error *error) {
  size_t mark = poe_scratch_mark(scratch);
  poe_rng *at = poe_scratch_bytes(scratch, tile->n * sizeof *at);
  for (size_t i = 0; i < tile->n; i++) {
    at[i] = poe_rng_child(tile->at[i], POEI_SITE_PROPOSAL); /* experts use what sites they like */
  }
  poe_rows_out out = {.n = tile->n, .d = tile->d, .ld = tile->d, .x = y};
  poe_status status = poe_expert_sample(settings->proposal, out, at, scratch, error);
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status imh_step(const poei_density *density, const poei_kernel_settings *settings, poei_tile *tile,
                           uint64_t *densities, uint64_t *gradients, poe_scratch *scratch, poe_error *error) {
  static const double one = 1.0;
  size_t n = tile->n, d = tile->d, mark = poe_scratch_mark(scratch);
  poei_density q = {.n_terms = 1, .term = {settings->proposal}, .weight = {{.w = &one, .inc = 0}}};
  double *y = poe_scratch_doubles(scratch, n * d), *logp = poe_scratch_doubles(scratch, n);
  double *q_here = poe_scratch_doubles(scratch, n), *q_there = poe_scratch_doubles(scratch, n);
  double *ratio = poe_scratch_doubles(scratch, n);
  unsigned char *accepted = poe_scratch_bytes(scratch, n);
  double *grad = settings->keeps_gradient ? poe_scratch_doubles(scratch, n * d) : NULL;
  poe_status status = imh_propose(settings, tile, y, scratch, error);
  if (status == POE_OK) {
    status = poei_density_eval(density, n, d, y, logp, grad, scratch, error);
  }
  if (status == POE_OK) {
    status = poei_density_eval(&q, n, d, y, q_there, NULL, scratch, error);
  }
  if (status == POE_OK) {
    status = poei_density_eval(&q, n, d, tile->x, q_here, NULL, scratch, error);
  }
  for (size_t i = 0; i < n && status == POE_OK; i++) { /* where q vanishes it cannot have drawn: NaN, a divergence */
    ratio[i] = (logp[i] - tile->logp[i]) + (q_here[i] - q_there[i]) + (q_there[i] - q_there[i]);
    tile->energy[i] = NAN;
  }
  if (status == POE_OK) {
    poei_tile_decide(tile, y, logp, grad, ratio, accepted);
    *(grad != NULL ? gradients : densities) += n;
  }
  poe_scratch_release(scratch, mark);
  return status;
}

const poei_kernel poei_imh_kernel = {
    .name = "imh",
    .doc = "independence Metropolis-Hastings: proposals from an expert that can be drawn",
    .independent = true,
    .scratch = imh_scratch,
    .more = imh_more,
    .step = imh_step,
};
