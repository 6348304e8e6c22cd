/* Marginals from draws (see marginals_drawn.h).
 *
 * By Rao and Blackwell, E[p(s_j = v | x)] over draws of x has the mean of the frequency of s_j = v and a variance that
 * is never larger where draws are independent. The standard error is sd / sqrt(ESS) of the series that is averaged
 * (Vehtari et al. 2021), the draws themselves where they are independent.
 */
#include "answer/marginals_drawn.h"

#include <math.h>
#include <string.h>

#include "answer/draw_latent.h"
#include "compose/exact/summed.h"
#include "core/alloc.h"
#include "sampler/draws.h"

static poe_status no_memory(poe_error *error) {
  return poe_error_set(error, POE_E_MEMORY, "out of memory");
}

void poei_drawn_marginals_free(poei_drawn_marginals *drawn) {
  poei_marginals_free(&drawn->m);
  poei_free(drawn->std_error);
  *drawn = (poei_drawn_marginals){0};
}

/* All zero, over the ranges of a target. */
static poe_status drawn_open(const poe_traits *traits, poei_drawn_marginals *out, poe_error *error) {
  size_t total = 0;
  poei_marginals *m = &out->m;
  *out = (poei_drawn_marginals){.m = {.dim = traits->dim}};
  m->states = poei_calloc(traits->dim, sizeof *m->states);
  m->low = poei_calloc(traits->dim, sizeof *m->low);
  m->start = poei_calloc(traits->dim, sizeof *m->start);
  for (size_t j = 0; m->states != NULL && m->low != NULL && m->start != NULL && j < traits->dim; j++) {
    const poe_support *s = &traits->support[j];
    bool finite = s->kind == POE_DISCRETE && s->high - s->low < 1e6;
    m->states[j] = finite ? (size_t)(s->high - s->low) + 1 : 0;
    m->low[j] = s->low;
    m->start[j] = total;
    total += m->states[j];
  }
  m->p = poei_calloc(total, sizeof *m->p);
  out->std_error = poei_calloc(total, sizeof *out->std_error);
  if (m->states == NULL || m->low == NULL || m->start == NULL || m->p == NULL || out->std_error == NULL) {
    poei_drawn_marginals_free(out);
    return no_memory(error);
  }
  return POE_OK;
}

/* ---- one number ---- */

typedef struct drawing {
  poei_session *session;
  const poei_plan_options *options;
  const poei_sampling *sampling;
  poei_drawn_marginals *out;
} drawing;

/* By how much probabilities differ that are equal but for rounding. */
#define ROUNDED 1e-12

/* The mean of a series of the draws, stride apart, and its standard error. */
static poe_status take_mean(const drawing *run, const double *x, size_t stride, size_t at, poe_error *error) {
  const poei_draws *draws = &run->sampling->draws;
  size_t n = draws->chains * draws->draws;
  double mean = 0.0, square = 0.0, ess = (double)n;
  for (size_t i = 0; i < n; i++) {
    mean += x[i * stride] / (double)n;
  }
  for (size_t i = 0; i < n; i++) {
    double off = x[i * stride] - mean;
    square += off * off;
  }
  run->out->m.p[at] = mean;
  double sd = n < 2 ? NAN : sqrt(square / (double)(n - 1));
  if (!(sd > ROUNDED)) { /* the same in all draws: such a series has no autocorrelation */
    run->out->std_error[at] = sd;
    return POE_OK;
  }
  poe_status status = POE_OK;
  if (!run->sampling->exact) {
    status = poei_ess_mean((poei_series){x, draws->chains, draws->draws, draws->draws * stride, stride}, &ess, error);
  }
  run->out->std_error[at] = sd / sqrt(ess);
  return status;
}

static size_t at_coordinate(const size_t *index, size_t j) {
  return index == NULL ? j : index[j];
}

/* ---- coordinates ---- */

/* Values of coordinate c of the whole, counted. */
static poe_status count(const drawing *run, size_t c, poe_error *error) {
  const poei_draws *draws = &run->sampling->draws;
  const poei_marginals *m = &run->out->m;
  size_t n = draws->chains * draws->draws;
  double *hit = poei_alloc(n, sizeof *hit);
  poe_status status = hit == NULL ? no_memory(error) : POE_OK;
  for (size_t v = 0; v < m->states[c] && status == POE_OK; v++) {
    for (size_t i = 0; i < n; i++) {
      hit[i] = draws->x[i * draws->dim + c] == m->low[c] + (double)v ? 1.0 : 0.0;
    }
    status = take_mean(run, hit, 1, m->start[c] + v, error);
  }
  poei_free(hit);
  run->out->counted = run->out->counted || m->states[c] > 0;
  return status;
}

/* Conditional probabilities of a mixed plan over the coordinates index[plan dim] of the whole, averaged. */
static poe_status average(const drawing *run, const poei_plan *plan, const size_t *index, poe_error *error) {
  const poei_draws *draws = &run->sampling->draws;
  const size_t *discrete;
  size_t n = draws->chains * draws->draws, d = plan->dim, all = poei_summed_probabilities(plan->discrete), total, wide;
  size_t coordinates = poei_summed_discrete(plan->discrete, &discrete), at = 0;
  bool fits = poei_mul_size(n, all, &total) && poei_mul_size(n, d, &wide);
  double *p = fits ? poei_alloc(total, sizeof *p) : NULL, *x = fits ? poei_alloc(wide, sizeof *x) : NULL;
  for (size_t i = 0; x != NULL && i < n; i++) {
    for (size_t j = 0; j < d; j++) {
      x[i * d + j] = draws->x[i * draws->dim + at_coordinate(index, j)];
    }
  }
  poe_status status =
      p == NULL || x == NULL ? no_memory(error) : poei_given_marginals(run->session, plan, n, x, p, error);
  for (size_t k = 0; k < coordinates && status == POE_OK; k++) {
    size_t c = at_coordinate(index, discrete[k]);
    const poe_support *support = &poe_expert_traits(plan->expert)->support[discrete[k]];
    size_t values = (size_t)(support->high - support->low) + 1;
    for (size_t v = 0; v < values && status == POE_OK; v++, at++) {
      double offset = support->low + (double)v - run->out->m.low[c];
      if (offset >= 0.0 && offset < (double)run->out->m.states[c]) {
        status = take_mean(run, p + at, all, run->out->m.start[c] + (size_t)offset, error);
      }
    }
  }
  poei_free(p);
  poei_free(x);
  run->out->averaged = true;
  return status;
}

/* Exact marginals of a part, where its plan has them: *done. */
static poe_status take_exact(const drawing *run, const poei_plan *plan, const size_t *index, bool *done,
                             poe_error *error) {
  poei_marginals own = {0};
  poe_error why = {0};
  poe_status status = poei_plan_marginals(plan, run->options, &own, &why);
  if (status == POE_E_CAPABILITY) {
    return POE_OK;
  }
  if (status != POE_OK) {
    *error = why;
    return status;
  }
  *done = true;
  poei_marginals_place(&own, index, &run->out->m);
  poei_marginals_free(&own);
  return POE_OK;
}

static bool has_discrete(const poei_plan *plan) {
  const poe_traits *traits = poe_expert_traits(plan->expert);
  for (size_t j = 0; j < traits->dim; j++) {
    if (traits->support[j].kind == POE_DISCRETE) {
      return true;
    }
  }
  return false;
}

/* The discrete coordinates of a plan, or part of one, over coordinates index[plan dim] of the whole (NULL: the same).
 */
static poe_status fill(const drawing *run, const poei_plan *plan, const size_t *index, poe_error *error) {
  bool done = !has_discrete(plan);
  poe_status status = done ? POE_OK : take_exact(run, plan, index, &done, error);
  if (status != POE_OK || done) {
    return status;
  }
  if (plan->method == POEI_METHOD_MARGINAL) {
    return average(run, plan, index, error);
  }
  if (plan->method != POEI_METHOD_BLOCKS && plan->method != POEI_METHOD_REST) {
    for (size_t j = 0; j < plan->dim && status == POE_OK; j++) {
      status = count(run, at_coordinate(index, j), error);
    }
    return status;
  }
  size_t *own = poei_alloc(plan->dim, sizeof *own);
  status = own == NULL ? no_memory(error) : POE_OK;
  for (size_t b = 0; b < plan->n_parts && status == POE_OK; b++) {
    for (size_t j = 0; j < plan->parts[b]->dim; j++) {
      own[j] = at_coordinate(index, plan->part_index[b][j]);
    }
    status = fill(run, plan->parts[b], own, error);
  }
  poei_free(own);
  return status;
}

poe_status poei_marginals_draw(poei_session *session, const poei_plan *plan, const poei_plan_options *options,
                               const poei_run_options *settings, poei_drawn_marginals *out, poe_error *error) {
  poei_sampling sampling = {0};
  drawing run = {session, options, &sampling, out};
  poe_status status = drawn_open(poe_expert_traits(plan->expert), out, error);
  if (status == POE_OK) {
    status = poei_draw(session, plan, "auto", settings, NULL, 0, &sampling, error);
  }
  if (status == POE_OK) {
    status = poei_gate_run(&sampling.draws, sampling.exact, sampling.biased, &out->gate, error);
  }
  if (status == POE_OK) {
    out->draws = sampling.draws.chains * sampling.draws.draws;
    status = fill(&run, plan, NULL, error);
  }
  poei_sampling_free(&sampling);
  if (status != POE_OK) {
    poei_drawn_marginals_free(out);
  }
  return status;
}
