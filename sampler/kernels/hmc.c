/* Hamiltonian Monte Carlo with a fresh momentum per draw, a jittered number of leapfrog steps, and a second attempt in
 * smaller steps where the first one fails.
 *
 * In whitened momentum p ~ N(0, I): H(x, p) = -log p(x) + |p|^2/2, moved by leapfrog.h. The end point is accepted with
 * min(1, exp(H0 - H1)); flipping the momentum makes the map an involution and, the momentum being thrown away and |p|
 * unchanged, needs no instruction. The number of steps is uniform on 1..2 leapfrog - 1 (mean: leapfrog): a fixed length
 * can be a period of the target. It depends on the step's address alone, not on a state or a chain, so that all tiles
 * move in lockstep. Source: Duane et al. 1987; Neal 2011 (sections 2 and 3.2 on jitter).
 *
 * Second attempt. A step that suits most of the target is too long where it is much steeper (the wall that a bound
 * becomes under x = e^u, the ends of a banana): there the leapfrog is unstable, H1 - H0 is hundreds or more, and chains
 * would stay for long where they are. Let D be the states (x, p) from which it ends with H1 - H0 > 40 or not a number;
 * these are refused for certain (exp(-40) is below the last digit of 1). From a state of D the same p is followed for
 * the same time in steps of a quarter, to (x', p'), accepted with min(1, exp(H0 - H1)) if (x', -p') is in D too, that
 * is, if the way back would be attempted at all. The map is an involution of D: detailed balance holds. Source: delayed
 * rejection, Tierney and Mira 1999, Modi, Barnett and Carpenter 2024, for a first attempt that is surely refused. It
 * is made row by row (few rows need it).
 *
 * One step in four ends with a dilation about the centre of what the warmup saw (dilation.h), for heavy tails.
 *
 * Divergence: at the end of the second attempt H1 - H0 > 1000 or not a number. */
#include <string.h>

#include "sampler/kernels/dilation.h"
#include "sampler/kernels/leapfrog.h"

#define HMC_DIVERGENCE 1000.0
#define HMC_HOPELESS 40.0
enum { HMC_FINER = 4 };

/* Trajectories of n rows: their start on entry, their end on return. */
typedef struct hmc_rows {
  double *y, *p, *grad;          /* [n, d]                               */
  double *logp, *energy, *ratio; /* [n] energy: H0; ratio: H0 - H1       */
} hmc_rows;

typedef struct hmc_rule {
  size_t length;        /* leapfrog steps               */
  double *scale, *fine; /* [d] steps, and those of the second attempt */
} hmc_rule;

static size_t hmc_rows_scratch(size_t n, size_t d) {
  return 3 * poe_scratch_need(n * d, sizeof(double)) + 3 * poe_scratch_need(n, sizeof(double));
}

static size_t hmc_scratch(size_t n, size_t d) {
  return poei_dilation_scratch(n, d) + hmc_rows_scratch(n, d) + 2 * hmc_rows_scratch(1, d) +
         2 * poe_scratch_need(d, sizeof(double)) + poe_scratch_need(n, 1);
}

static hmc_rows hmc_rows_take(poe_scratch *scratch, size_t n, size_t d) {
  hmc_rows rows;
  rows.y = poe_scratch_doubles(scratch, n * d);
  rows.p = poe_scratch_doubles(scratch, n * d);
  rows.grad = poe_scratch_doubles(scratch, n * d);
  rows.logp = poe_scratch_doubles(scratch, n);
  rows.energy = poe_scratch_doubles(scratch, n);
  rows.ratio = poe_scratch_doubles(scratch, n);
  return rows;
}

static size_t hmc_length(const poei_tile *tile, size_t leapfrog) {
  poe_rng at = tile->at[0];
  at.chain = UINT32_MAX; /* the same for all chains */
  at.site += POEI_SITE_LENGTH;
  poe_stream stream = poe_stream_open(at);
  size_t most = leapfrog > 0 ? 2 * leapfrog - 1 : 1;
  return 1 + (size_t)(poe_stream_uniform(&stream) * (double)most);
}

static poe_status hmc_follow(const poei_density *density, size_t n, size_t d, size_t length, const double *scale,
                             hmc_rows *rows, poe_scratch *scratch, poe_error *error) {
  for (size_t i = 0; i < n; i++) {
    rows->energy[i] = 0.5 * poei_square_norm(rows->p + i * d, d) - rows->logp[i];
  }
  poe_status status =
      poei_leapfrog(density, n, d, length, scale, rows->y, rows->p, rows->logp, rows->grad, scratch, error);
  for (size_t i = 0; status == POE_OK && i < n; i++) {
    rows->ratio[i] = rows->energy[i] - (0.5 * poei_square_norm(rows->p + i * d, d) - rows->logp[i]);
  }
  return status;
}

/* Did row i end more than `rise` above its start, or nowhere? Leaving the support does not count: there the density is
 * truly 0, and smaller steps would leave it too. */
static bool hmc_broke(const hmc_rows *rows, size_t i, double rise) {
  return isnan(rows->ratio[i]) || rows->logp[i] == INFINITY || (rows->ratio[i] < -rise && rows->logp[i] != -INFINITY);
}

/* The second attempt for row i of a tile, which is in D. ends[2]: room for one row each. */
static poe_status hmc_retry(const poei_density *density, const hmc_rule *rule, poei_tile *tile, size_t i,
                            hmc_rows *ends, uint64_t *gradients, poe_scratch *scratch, poe_error *error) {
  size_t d = tile->d, bytes = d * sizeof(double);
  hmc_rows *end = &ends[0], *back = &ends[1];
  poei_tile row = {.n = 1, .d = d, .at = tile->at + i};
  poei_density own = *density;
  for (size_t t = 0; t < own.n_terms; t++) {
    own.weight[t].w += i * own.weight[t].inc;
  }
  memcpy(end->y, tile->x + i * d, bytes);
  memcpy(end->grad, tile->grad + i * d, bytes);
  end->logp[0] = tile->logp[i];
  poei_tile_noise(&row, end->p); /* the momentum of the first attempt */
  poe_status status = hmc_follow(&own, 1, d, HMC_FINER * rule->length, rule->fine, end, scratch, error);
  *gradients += HMC_FINER * rule->length;
  if (status != POE_OK) {
    return status;
  }
  tile->diverging[i] = hmc_broke(end, 0, HMC_DIVERGENCE);
  poe_rng at = tile->at[i];
  at.site += POEI_SITE_RETRY;
  poe_stream stream = poe_stream_open(at);
  if (hmc_broke(end, 0, HMC_HOPELESS) || !(poe_stream_uniform(&stream) < exp(fmin(end->ratio[0], 0.0)))) {
    return POE_OK;
  }
  memcpy(back->y, end->y, bytes);
  memcpy(back->grad, end->grad, bytes);
  back->logp[0] = end->logp[0];
  for (size_t j = 0; j < d; j++) {
    back->p[j] = -end->p[j];
  }
  status = hmc_follow(&own, 1, d, rule->length, rule->scale, back, scratch, error);
  *gradients += rule->length;
  if (status == POE_OK && hmc_broke(back, 0, HMC_HOPELESS)) {
    memcpy(tile->x + i * d, end->y, bytes);
    memcpy(tile->grad + i * d, end->grad, bytes);
    tile->logp[i] = end->logp[0];
    tile->energy[i] = end->energy[0] - end->ratio[0];
  }
  return status;
}

static poe_status hmc_step(const poei_density *density, const poei_kernel_settings *settings, poei_tile *tile,
                           uint64_t *densities, uint64_t *gradients, poe_scratch *scratch, poe_error *error) {
  (void)densities;
  size_t n = tile->n, d = tile->d, mark = poe_scratch_mark(scratch);
  hmc_rows rows = hmc_rows_take(scratch, n, d);
  hmc_rows ends[2] = {hmc_rows_take(scratch, 1, d), hmc_rows_take(scratch, 1, d)};
  hmc_rule rule = {.length = hmc_length(tile, settings->leapfrog),
                   .scale = poe_scratch_doubles(scratch, d),
                   .fine = poe_scratch_doubles(scratch, d)};
  unsigned char *accepted = poe_scratch_bytes(scratch, n);
  poei_metric_scale(settings, d, settings->step_size, rule.scale);
  poei_metric_scale(settings, d, settings->step_size / HMC_FINER, rule.fine);
  poei_tile_noise(tile, rows.p);
  memcpy(rows.y, tile->x, n * d * sizeof(double));
  memcpy(rows.grad, tile->grad, n * d * sizeof(double));
  memcpy(rows.logp, tile->logp, n * sizeof(double));
  poe_status status = hmc_follow(density, n, d, rule.length, rule.scale, &rows, scratch, error);
  if (status == POE_OK) {
    *gradients += n * rule.length;
    poei_tile_decide(tile, rows.y, rows.logp, rows.grad, rows.ratio, accepted);
  }
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    tile->energy[i] = accepted[i] ? rows.energy[i] - rows.ratio[i] : rows.energy[i];
    if (hmc_broke(&rows, i, HMC_HOPELESS)) {
      status = hmc_retry(density, &rule, tile, i, ends, gradients, scratch, error);
    }
  }
  poe_scratch_release(scratch, mark);
  if (status == POE_OK && settings->center != NULL && poei_dilates(tile)) {
    status = poei_dilate(density, settings, tile, gradients, scratch, error);
  }
  return status;
}

const poei_kernel poei_hmc_kernel = {
    .name = "hmc",
    .doc = "Hamiltonian Monte Carlo with jittered trajectories",
    .needs_gradient = true,
    .target_acceptance = 0.8,
    .scratch = hmc_scratch,
    .step = hmc_step,
};
