/* Gibbs sampling of discrete coordinates: one after the other is drawn from its conditional given all others,
 *   P(x_j = v) ~ p(x with x_j = v).
 *
 * Source: Geman and Geman 1984. Experts with a single-site view answer from a state of their own, which costs a
 * fraction of an evaluation; the others are evaluated at every value of the coordinate, all rows of the tile together,
 * and then a step moves no more than GIBBS_SITES coordinates, drawn anew for each step (the same for all rows). A
 * coordinate of more than GIBBS_VALUES values takes a symmetric step of 1 to 64 instead, as random-walk Metropolis
 * does. Continuous coordinates stay. Every conditional update leaves the density invariant, whatever the order, which
 * is chosen without looking at the state. */
#include <string.h>

#include "sampler/kernels/density.h"

enum { GIBBS_VALUES = 64, GIBBS_SITES = 32, GIBBS_REACH = 6, GIBBS_TERMS = 2 };

/* Number of values of a discrete coordinate; 0: too many for a table. */
static size_t gibbs_values(const poe_support *support) {
  double values = support->high - support->low + 1.0;
  return values <= GIBBS_VALUES ? (size_t)values : 0;
}

static const poe_support *gibbs_support(const poei_density *density) {
  return poe_expert_traits(density->term[0])->support;
}

/* A step in progress; arrays from the scratch. */
typedef struct gibbs {
  const poei_density *density;
  poei_tile *tile;
  const poe_local_ops *local[GIBBS_TERMS]; /* NULL: the term is evaluated */
  unsigned char *state[GIBBS_TERMS];       /* [n, bytes[t]]               */
  size_t bytes[GIBBS_TERMS];
  size_t n_sites, *site; /* [d] the coordinates to move come first */
  double *table;         /* [n, GIBBS_VALUES]                      */
  double *old, *value;   /* [n]                                    */
  uint64_t evaluated;
} gibbs;

static size_t gibbs_state_bytes(const poe_expert *term) {
  const poe_local_ops *local = poe_expert_local(term);
  return local == NULL ? 0 : (local->state_bytes(poe_expert_self(term)) + 63) / 64 * 64;
}

static size_t gibbs_scratch(size_t n, size_t d) {
  return poe_scratch_need(d, sizeof(size_t)) + poe_scratch_need(n * GIBBS_VALUES, sizeof(double)) +
         poe_scratch_need(2 * n, sizeof(double)) + poe_scratch_need(n, sizeof(double)) +
         poe_scratch_need(GIBBS_VALUES, sizeof(double));
}

static size_t gibbs_more(const poei_density *density, const poei_kernel_settings *settings, size_t n) {
  (void)settings;
  size_t bytes = 0, most = 0;
  for (size_t t = 0; t < density->n_terms; t++) {
    const poe_local_ops *local = poe_expert_local(density->term[t]);
    bytes += poe_scratch_need(n * gibbs_state_bytes(density->term[t]), 1);
    size_t own = local == NULL ? 0 : local->scratch(poe_expert_self(density->term[t]));
    most = own > most ? own : most;
  }
  return bytes + most;
}

/* Which coordinates this step moves: all discrete ones, or some of them drawn without replacement. */
static void gibbs_scan(gibbs *g, bool all) {
  const poe_support *support = gibbs_support(g->density);
  size_t discrete = 0;
  for (size_t j = 0; j < g->tile->d; j++) {
    if (support[j].kind == POE_DISCRETE) {
      g->site[discrete++] = j;
    }
  }
  g->n_sites = all || discrete < GIBBS_SITES ? discrete : GIBBS_SITES;
  poe_rng at = g->tile->at[0];
  at.chain = UINT32_MAX; /* the same for all rows */
  at.site += POEI_SITE_SCAN;
  poe_stream stream = poe_stream_open(at);
  for (size_t k = 0; k < g->n_sites && g->n_sites < discrete; k++) {
    size_t other = k + (size_t)(poe_stream_uniform(&stream) * (double)(discrete - k)), held = g->site[k];
    g->site[k] = g->site[other];
    g->site[other] = held;
  }
}

static poe_status gibbs_open(gibbs *g, poe_scratch *scratch, poe_error *error) {
  bool all = true;
  poe_status status = POE_OK;
  for (size_t t = 0; t < g->density->n_terms; t++) {
    const poe_expert *term = g->density->term[t];
    g->local[t] = poe_expert_local(term);
    g->bytes[t] = gibbs_state_bytes(term);
    g->state[t] = g->local[t] == NULL ? NULL : poe_scratch_bytes(scratch, g->tile->n * g->bytes[t]);
    all = all && g->local[t] != NULL;
    for (size_t i = 0; i < g->tile->n && g->local[t] != NULL && status == POE_OK; i++) {
      status = g->local[t]->open(poe_expert_self(term), g->tile->x + i * g->tile->d, g->state[t] + i * g->bytes[t],
                                 scratch, error);
    }
  }
  gibbs_scan(g, all);
  return status;
}

static poe_weights gibbs_weight(const gibbs *g, size_t t, size_t row) {
  poe_weights w = g->density->weight[t];
  w.w += row * w.inc;
  return w;
}

/* Adds term t's share of the conditionals of coordinate j, by its single-site view. */
static poe_status gibbs_ask(gibbs *g, size_t t, size_t j, size_t values, poe_scratch *scratch, poe_error *error) {
  size_t mark = poe_scratch_mark(scratch);
  double *own = poe_scratch_doubles(scratch, GIBBS_VALUES);
  poe_status status = POE_OK;
  for (size_t i = 0; i < g->tile->n && status == POE_OK; i++) {
    status = g->local[t]->conditional(poe_expert_self(g->density->term[t]), g->state[t] + i * g->bytes[t], j, own,
                                      scratch, error);
    double w = *gibbs_weight(g, t, i).w;
    for (size_t v = 0; v < values && status == POE_OK; v++) {
      poe_accum_value(&g->table[i * GIBBS_VALUES + v], w, own[v]);
    }
  }
  poe_scratch_release(scratch, mark);
  return status;
}

/* The same by evaluating it, all rows at one value after the other. */
static poe_status gibbs_try(gibbs *g, size_t t, size_t j, size_t values, poe_scratch *scratch, poe_error *error) {
  size_t n = g->tile->n, d = g->tile->d;
  double low = gibbs_support(g->density)[j].low;
  poe_rows rows = {.n = n, .d = d, .ld = d, .x = g->tile->x};
  poe_status status = POE_OK;
  for (size_t v = 0; v < values && status == POE_OK; v++) {
    for (size_t i = 0; i < n; i++) {
      g->tile->x[i * d + j] = low + (double)v;
    }
    memset(g->value, 0, n * sizeof *g->value);
    size_t mark = poe_scratch_mark(scratch);
    status = poe_expert_eval_add(g->density->term[t], rows, g->density->weight[t],
                                 (poe_accum){.logp = g->value, .grad = NULL, .ldg = d}, scratch, error);
    poe_scratch_release(scratch, mark);
    for (size_t i = 0; i < n; i++) {
      poe_accum_value(&g->table[i * GIBBS_VALUES + v], 1.0, g->value[i]);
    }
    g->evaluated += n;
  }
  return status;
}

/* Draws coordinate j of row i from its table; stays where that is no distribution. */
static void gibbs_choose(gibbs *g, size_t i, size_t j, size_t values) {
  double low = gibbs_support(g->density)[j].low, *p = g->table + i * GIBBS_VALUES, most = -INFINITY, sum = 0.0;
  bool sound = true;
  for (size_t v = 0; v < values; v++) {
    sound = sound && p[v] < INFINITY; /* not NaN either */
    most = fmax(most, p[v]);
  }
  if (!sound || most == -INFINITY) {
    g->tile->diverging[i] = g->tile->diverging[i] || !sound;
    return;
  }
  for (size_t v = 0; v < values; v++) {
    p[v] = exp(p[v] - most);
    sum += p[v];
  }
  size_t here = (size_t)(g->old[i] - low);
  poe_rng at = g->tile->at[i];
  at.site += POEI_SITE_VALUE + (uint32_t)j;
  poe_stream stream = poe_stream_open(at);
  g->tile->x[i * g->tile->d + j] = low + (double)poe_stream_categorical(&stream, p, values);
  g->tile->acceptance[i] += (here < values ? 1.0 - p[here] / sum : 1.0) / (double)g->n_sites;
}

/* A coordinate of many values: a symmetric step, accepted or not (Metropolis). */
static poe_status gibbs_walk(gibbs *g, size_t j, poe_scratch *scratch, poe_error *error) {
  size_t n = g->tile->n, d = g->tile->d;
  double *x = g->tile->x;
  poe_status status = poei_density_eval(g->density, n, d, x, g->value, NULL, scratch, error);
  for (size_t i = 0; i < n; i++) {
    poe_rng at = g->tile->at[i];
    at.site += POEI_SITE_VALUE + (uint32_t)j;
    poe_stream stream = poe_stream_open(at);
    double length = ceil(exp2(GIBBS_REACH * poe_stream_uniform(&stream)));
    x[i * d + j] += poe_stream_uniform(&stream) < 0.5 ? -length : length;
    g->table[i * GIBBS_VALUES + 1] = log(poe_stream_uniform(&stream));
  }
  if (status == POE_OK) { /* what is outside of the support has no density */
    double *there = g->old + n;
    status = poei_density_eval(g->density, n, d, x, there, NULL, scratch, error);
    for (size_t i = 0; i < n; i++) {
      double ratio = there[i] - g->value[i];
      bool accepted = there[i] < INFINITY && g->table[i * GIBBS_VALUES + 1] < ratio;
      g->tile->diverging[i] = g->tile->diverging[i] || isnan(there[i]) || there[i] == INFINITY;
      g->tile->acceptance[i] += (ratio < 0.0 ? exp(ratio) : there[i] < INFINITY ? 1.0 : 0.0) / (double)g->n_sites;
      x[i * d + j] = accepted ? x[i * d + j] : g->old[i];
    }
  }
  g->evaluated += 2 * n;
  return status;
}

/* Moves coordinate j of every row. */
static poe_status gibbs_site(gibbs *g, size_t j, poe_scratch *scratch, poe_error *error) {
  size_t n = g->tile->n, d = g->tile->d, values = gibbs_values(&gibbs_support(g->density)[j]);
  poe_status status = POE_OK;
  for (size_t i = 0; i < n; i++) {
    g->old[i] = g->tile->x[i * d + j];
    memset(g->table + i * GIBBS_VALUES, 0, values * sizeof *g->table);
  }
  if (values == 0) {
    status = gibbs_walk(g, j, scratch, error);
  }
  for (size_t t = 0; t < g->density->n_terms && values > 0 && status == POE_OK; t++) {
    status = (g->local[t] != NULL ? gibbs_ask : gibbs_try)(g, t, j, values, scratch, error);
  }
  for (size_t i = 0; i < n && values > 0; i++) {
    g->tile->x[i * d + j] = g->old[i];
    if (status == POE_OK) {
      gibbs_choose(g, i, j, values);
    }
  }
  for (size_t t = 0; t < g->density->n_terms; t++) {
    for (size_t i = 0; i < n && g->local[t] != NULL && status == POE_OK; i++) {
      double now = g->tile->x[i * d + j];
      if (now != g->old[i]) {
        status = g->local[t]->set(poe_expert_self(g->density->term[t]), g->state[t] + i * g->bytes[t], j, now, scratch,
                                  error);
      }
    }
  }
  return status;
}

static poe_status gibbs_step(const poei_density *density, const poei_kernel_settings *settings, poei_tile *tile,
                             uint64_t *densities, uint64_t *gradients, poe_scratch *scratch, poe_error *error) {
  size_t n = tile->n, d = tile->d, mark = poe_scratch_mark(scratch);
  gibbs g = {.density = density,
             .tile = tile,
             .site = poe_scratch_bytes(scratch, d * sizeof(size_t)),
             .table = poe_scratch_doubles(scratch, n * GIBBS_VALUES),
             .old = poe_scratch_doubles(scratch, 2 * n),
             .value = poe_scratch_doubles(scratch, n)};
  for (size_t i = 0; i < n; i++) {
    tile->acceptance[i] = 0.0;
    tile->energy[i] = NAN;
    tile->diverging[i] = 0;
  }
  poe_status status = gibbs_open(&g, scratch, error);
  for (size_t k = 0; k < g.n_sites && status == POE_OK; k++) {
    status = gibbs_site(&g, g.site[k], scratch, error);
  }
  if (status == POE_OK) {
    status = poei_density_eval(density, n, d, tile->x, tile->logp, settings->keeps_gradient ? tile->grad : NULL,
                               scratch, error);
  }
  *densities += g.evaluated + (settings->keeps_gradient ? 0 : n);
  *gradients += settings->keeps_gradient ? n : 0;
  poe_scratch_release(scratch, mark);
  return status;
}

const poei_kernel poei_gibbs_kernel = {
    .name = "gibbs",
    .doc = "Gibbs sampling: discrete coordinates, each given all others",
    .discrete = true,
    .scratch = gibbs_scratch,
    .more = gibbs_more,
    .step = gibbs_step,
};
