/* The search for modes (modes.h), continuous coordinates.
 *
 * L-BFGS ascends log p(x(u)) in unconstrained coordinates u, all starts in lockstep so that a network sees whole tiles.
 * Starts are draws of the plan's own base or sampler, and standard normals at scales of 1 to 1000 in u, because a
 * search must also begin where the density is small. Where the slope at an end of a range points inwards, u has stopped
 * at infinity short of a mode: such ends are dropped. Ends are one mode when nothing lies between them: the density at
 * three points of the segment that joins them is that of its ends.
 */
#include "answer/modes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer/modes_parts.h"
#include "compose/nodes/nodes.h"
#include "core/alloc.h"
#include "core/lbfgs.h"
#include "core/sparse.h"
#include "experts/form.h"

void poei_modes_free(poei_modes *modes) {
  poei_free(modes->x);
  poei_free(modes->log_density);
  poei_free(modes->starts);
  poei_free(modes->at_bound);
  *modes = (poei_modes){0};
}

poe_status poei_modes_make(size_t n, size_t dim, poei_modes *modes, poe_error *error) {
  size_t numbers = 0;
  *modes = (poei_modes){.dim = dim};
  if (poei_mul_size(n, dim, &numbers)) {
    modes->x = poei_alloc(numbers, sizeof *modes->x);
    modes->log_density = poei_alloc(n, sizeof *modes->log_density);
    modes->starts = poei_calloc(n, sizeof *modes->starts);
    modes->at_bound = poei_calloc(n, sizeof *modes->at_bound);
  }
  if (modes->x == NULL || modes->log_density == NULL || modes->starts == NULL || modes->at_bound == NULL) {
    poei_modes_free(modes);
    return poe_error_set(error, POE_E_MEMORY, "out of memory for %zu modes", n);
  }
  return POE_OK;
}

bool poei_modes_stopped(const poei_session *session) {
  return session->monitor.stop != NULL && atomic_load(session->monitor.stop);
}

/* ---- the energy in unconstrained space ---- */

typedef struct ascent {
  poei_session *session;
  const poe_expert *smooth; /* transform node without Jacobian */
  poei_runner *runner;
  size_t rounds;
} ascent;

static poe_status ascent_energy(void *context, size_t n, size_t d, const double *u, double *value, double *gradient,
                                poe_error *error) {
  ascent *a = context;
  if (poei_modes_stopped(a->session)) {
    return poe_error_set(error, POE_E_INTERRUPTED, "interrupted while searching for modes");
  }
  if (a->session->monitor.report != NULL) {
    a->session->monitor.report(a->session->monitor.context, "searching", ++a->rounds, 0);
  }
  poe_status status = poei_runner_rows(a->runner, a->smooth, (poe_rows){n, d, d, u}, value, gradient, error);
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    value[i] = -value[i];
    for (size_t j = 0; j < d; j++) {
      gradient[i * d + j] = -gradient[i * d + j];
    }
  }
  return status;
}

/* ---- starts ---- */

enum { CANDIDATES = 4 }; /* points tried for each start wanted */

/* Draws of what the plan can draw from exactly, in unconstrained space: u[n, d]. *made: how many, 0 or n. */
static poe_status starts_drawn(const poei_plan *plan, const poe_expert *smooth, uint64_t seed, size_t n, double *u,
                               size_t *made, poe_error *error) {
  *made = 0;
  const poe_expert *source = plan == NULL ? NULL : plan->base != NULL ? plan->base : plan->sampler;
  if (source == NULL) {
    return POE_OK;
  }
  const poei_run_options options = {.chains = n, .draws = 1, .thin = 1, .seed = seed};
  poei_draws draws = {0};
  poe_status status = poei_run_exact(source, &options, &draws, error);
  if (status != POE_OK) {
    return status;
  }
  if (plan->base != NULL) {
    memcpy(u, draws.x, n * draws.dim * sizeof *u);
  } else {
    poei_transform_unconstrain(smooth, n, draws.x, draws.dim, u, draws.dim);
  }
  *made = n;
  poei_draws_free(&draws);
  return POE_OK;
}

/* Candidates u[CANDIDATES * starts, d]: the user's points, then in turn draws and normals of growing scale. */
static poe_status starts_make(const poei_plan *plan, const poe_expert *smooth, const poe_support *support,
                              const poei_mode_options *options, size_t d, double *u, poe_error *error) {
  size_t n = CANDIDATES * options->starts, made = 0;
  poe_status status = starts_drawn(plan, smooth, options->seed, n, u, &made, error);
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    if (i < options->n_init) {
      poei_transform_unconstrain(smooth, 1, options->init + i * d, d, u + i * d, d);
    } else if (made == 0 || i % 2 == 1) {
      poe_rng at = poe_rng_child(poe_rng_seed(options->seed), 0x6d6f6465u);
      at.chain = (uint32_t)i;
      poe_rng_normals(at, d, u + i * d);
      double scale = pow(10.0, (double)((i / 2) % 4));
      for (size_t j = 0; j < d; j++) { /* near an end of its range a coordinate hardly moves any more */
        bool bounded = isfinite(support[j].low) || isfinite(support[j].high);
        u[i * d + j] *= bounded ? fmin(scale, 3.0) : scale;
      }
    }
  }
  return status;
}

/* Moves the candidates of positive density to the front, at most `starts`; *kept: how many. */
static poe_status starts_choose(ascent *a, const poei_mode_options *options, size_t d, double *u, size_t *kept,
                                poe_error *error) {
  size_t n = CANDIDATES * options->starts;
  double *value = poei_alloc(n, sizeof *value);
  poe_status status = value == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  if (status == POE_OK) {
    status = poei_runner_rows(a->runner, a->smooth, (poe_rows){n, d, d, u}, value, NULL, error);
  }
  *kept = 0;
  for (size_t i = 0; i < n && status == POE_OK && *kept < options->starts; i++) {
    if (isfinite(value[i])) {
      memmove(u + *kept * d, u + i * d, d * sizeof *u);
      ++*kept;
    }
  }
  if (status == POE_OK && *kept == 0) {
    status = poe_error_set(error, POE_E_NUMERIC, "the density is 0 or not a number at all %zu starting points", n);
    poe_error_hint(error, "give points where it is positive with --init FILE");
  }
  poei_free(value);
  return status;
}

/* ---- from ends to modes ---- */

/* Is nothing between a and b, two points of equal log-density? */
static poe_status ends_joined(const ascent *a, size_t d, const double *p, const double *q, double level, double *work,
                              bool *joined, poe_error *error) {
  double value[3];
  for (size_t k = 0; k < 3; k++) {
    double t = 0.25 * (double)(k + 1);
    for (size_t j = 0; j < d; j++) {
      work[k * d + j] = (1.0 - t) * p[j] + t * q[j];
    }
  }
  poe_status status = poei_runner_rows(a->runner, a->smooth, (poe_rows){3, d, d, work}, value, NULL, error);
  *joined = status == POE_OK;
  for (size_t k = 0; k < 3 && *joined; k++) {
    *joined = fabs(value[k] - level) <= POEI_MODE_LEVEL * (1.0 + fabs(level));
  }
  return status;
}

typedef struct ended {
  double value;
  size_t index;
} ended;

static int ended_order(const void *left, const void *right) {
  const ended *a = left, *b = right;
  if (a->value != b->value) {
    return a->value < b->value ? -1 : 1;
  }
  return (a->index > b->index) - (a->index < b->index);
}

/* At which end of its range does x lie: -1, 0 (neither), 1. */
static int bound_side(const poe_support *support, double x) {
  double scale = isfinite(support->low) && isfinite(support->high) ? support->high - support->low : 1.0 + fabs(x);
  return x - support->low <= 1e-7 * scale ? -1 : support->high - x <= 1e-7 * scale ? 1 : 0;
}

/* Looks at the ends of ranges that x[d] lies at: *at_bound, there is one; *inward, the density rises away from one. */
static poe_status mode_bounds(const ascent *a, const poe_expert *target, size_t d, const double *x, double *slope,
                              bool *at_bound, bool *inward, poe_error *error) {
  const poe_support *support = poe_expert_traits(target)->support;
  double value = 0.0;
  *at_bound = *inward = false;
  for (size_t j = 0; j < d; j++) {
    *at_bound = *at_bound || bound_side(&support[j], x[j]) != 0;
  }
  poe_status status =
      *at_bound ? poei_runner_rows(a->runner, target, (poe_rows){1, d, d, x}, &value, slope, error) : POE_OK;
  for (size_t j = 0; j < d && *at_bound && status == POE_OK; j++) {
    *inward = *inward || bound_side(&support[j], x[j]) * slope[j] < -1e-4;
  }
  return status;
}

/* Ends u[n, d] with energies[n], as distinct modes, best first. */
static poe_status ends_to_modes(const ascent *a, const poe_expert *target, size_t n, size_t d, const double *u,
                                const double *energy, const poei_lbfgs_end *end, size_t keep, poei_modes *modes,
                                poe_error *error) {
  ended *order = poei_alloc(n, sizeof *order);
  size_t *kept = poei_alloc(n, sizeof *kept);
  double *work = poei_alloc(3 * d, sizeof *work);
  poe_status status = poei_modes_make(n, d, modes, error);
  if (status == POE_OK && (order == NULL || kept == NULL || work == NULL)) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    order[i] = (ended){energy[i], i};
    modes->unconverged += end[i] == POEI_LBFGS_LIMIT;
  }
  if (status == POE_OK) {
    qsort(order, n, sizeof *order, ended_order);
  }
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    const double *at = u + order[i].index * d;
    double level = -order[i].value;
    bool known = false;
    for (size_t k = modes->n; k-- > 0 && !known && status == POE_OK;) {
      if (modes->log_density[k] - level > POEI_MODE_LEVEL * (1.0 + fabs(level))) {
        break; /* those before are higher still */
      }
      status = ends_joined(a, d, u + kept[k] * d, at, level, work, &known, error);
      modes->starts[k] += known;
    }
    if (!known) {
      kept[modes->n] = order[i].index;
      modes->log_density[modes->n] = level;
      modes->starts[modes->n++] = 1;
    }
  }
  size_t found = modes->n;
  modes->n = 0;
  for (size_t k = 0; k < found && status == POE_OK; k++) {
    double *x = modes->x + modes->n * d;
    bool inward = false;
    poei_transform_constrain(a->smooth, 1, u + kept[k] * d, d, x, d);
    status = mode_bounds(a, target, d, x, work, &modes->at_bound[modes->n], &inward, error);
    if (!inward) {
      modes->log_density[modes->n] = modes->log_density[k];
      modes->starts[modes->n++] = modes->starts[k];
    }
  }
  modes->distinct = modes->n;
  modes->n = modes->n < keep ? modes->n : keep;
  if (status == POE_OK && modes->n == 0) {
    status = poe_error_set(error, POE_E_NUMERIC, "none of the %zu searches ended at a mode", n);
    poe_error_hint(error, "more --starts, or points near one with --init FILE");
  }
  poei_free(order);
  poei_free(kept);
  poei_free(work);
  return status;
}

/* ---- all of it ---- */

/* A search that found no bottom: named by the coordinate that went farthest. */
static poe_status search_ran_away(const ascent *a, size_t d, const double *u, poe_error *error) {
  size_t far = 0;
  for (size_t j = 1; j < d; j++) {
    far = fabs(u[j]) > fabs(u[far]) ? j : far;
  }
  double *x = poei_alloc(d, sizeof *x);
  if (x == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  poei_transform_constrain(a->smooth, 1, u, d, x, d);
  poe_error_set(error, POE_E_NUMERIC, "the density grows without bound: a search ran away with coordinate %zu at %.4g",
                far, x[far]);
  poei_free(x);
  return POE_E_NUMERIC;
}

static poe_status search(ascent *a, const poe_expert *target, const poei_plan *plan, const poei_mode_options *options,
                         poei_modes *modes, poe_error *error) {
  size_t d = poe_expert_traits(target)->dim, numbers = 0, n = 0;
  double *u = NULL, *value = poei_alloc(options->starts, sizeof *value);
  poei_lbfgs_end *end = poei_alloc(options->starts, sizeof *end);
  if (poei_mul_size(CANDIDATES * options->starts, d, &numbers)) {
    u = poei_alloc(numbers, sizeof *u);
  }
  poe_status status = POE_OK;
  if (u == NULL || value == NULL || end == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory for %zu searches", options->starts);
  }
  if (status == POE_OK) {
    status = starts_make(plan, a->smooth, poe_expert_traits(target)->support, options, d, u, error);
  }
  if (status == POE_OK) {
    status = starts_choose(a, options, d, u, &n, error);
  }
  poei_lbfgs_options how;
  poei_lbfgs_defaults(&how);
  size_t evaluations = 0;
  if (status == POE_OK) {
    status = poei_lbfgs(ascent_energy, a, n, d, u, &how, value, end, &evaluations, error);
  }
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    status = end[i] == POEI_LBFGS_UNBOUNDED ? search_ran_away(a, d, u + i * d, error) : POE_OK;
  }
  if (status == POE_OK) {
    status = ends_to_modes(a, target, n, d, u, value, end, options->keep, modes, error);
  }
  if (status == POE_OK) {
    modes->evaluations = evaluations;
    snprintf(modes->method, sizeof modes->method, "L-BFGS from %zu starts", n);
  }
  poei_free(u);
  poei_free(value);
  poei_free(end);
  return status;
}

/* mean[dim] of a Gaussian whose dense form has one component. *done: it was one. */
static poe_status dense_mean(const poe_expert *target, double *mean, bool *done, poe_error *error) {
  size_t dim = poe_expert_traits(target)->dim;
  poe_form form = {0};
  poe_status status = POE_OK;
  if (poe_expert_form(target, &form, NULL) == POE_OK && form.kind == POE_FORM_GAUSSIANS && form.components == 1) {
    double log_z = 0.0, *factor = poei_alloc(dim * dim, sizeof *factor);
    status = factor == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
    *done = factor != NULL && poei_form_component(&form, 0, factor, mean, &log_z, NULL) == POE_OK;
    poei_free(factor);
  }
  poe_form_release(&form);
  return status;
}

/* The same of a sparse one: origin + P^-1 linear. */
static poe_status sparse_mean(const poe_expert *target, double *mean, bool *done, poe_error *error) {
  size_t dim = poe_expert_traits(target)->dim;
  poe_structure structure = {0};
  poe_status status = poe_expert_structure(target, &structure, error);
  if (status == POE_OK && structure.kind == POE_STRUCTURE_SPARSE) {
    const poe_sparse_gaussian *g = &structure.as.sparse;
    const poei_sparse_matrix p = {dim, g->column_start, g->row, g->precision};
    poei_sparse_factor *factor = NULL;
    poei_sparse_failure failure = {0};
    bool failed = false;
    double *work = poei_alloc(dim, sizeof *work);
    status =
        work == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : poei_sparse_analyse(&p, &factor, error);
    if (status == POE_OK) {
      status = poei_sparse_factorise(factor, &p, &failed, &failure, error);
    }
    *done = status == POE_OK && !failed;
    if (*done) {
      memcpy(mean, g->linear, dim * sizeof *mean);
      poei_sparse_solve(factor, mean, work);
    }
    for (size_t j = 0; *done && j < dim; j++) {
      mean[j] += g->origin[j];
    }
    poei_sparse_factor_destroy(factor);
    poei_free(work);
  }
  poe_structure_release(&structure);
  return status;
}

/* The mode of one Gaussian is its mean. *done: it was one. */
static poe_status closed_mode(const poe_expert *target, poei_modes *modes, bool *done, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  *done = false;
  if ((traits->capabilities & (POE_CAN_FORM | POE_CAN_STRUCTURE)) == 0) {
    return POE_OK;
  }
  poe_status status = poei_modes_make(1, traits->dim, modes, error);
  if (status == POE_OK && (traits->capabilities & POE_CAN_STRUCTURE) != 0) {
    status = sparse_mean(target, modes->x, done, error);
  }
  if (status == POE_OK && !*done && (traits->capabilities & POE_CAN_FORM) != 0) {
    status = dense_mean(target, modes->x, done, error);
  }
  if (status != POE_OK || !*done) {
    poei_modes_free(modes);
    return status;
  }
  modes->n = modes->distinct = modes->starts[0] = 1;
  modes->exact = true;
  snprintf(modes->method, sizeof modes->method, "mean of a Gaussian");
  return POE_OK;
}

poe_status poei_modes_continuous(poei_session *session, const poe_expert *target, const poei_plan *plan,
                                 const poei_mode_options *options, poei_modes *modes, poe_error *error) {
  if ((poe_expert_traits(target)->capabilities & POE_CAN_GRADIENT) == 0) {
    poe_error_set(error, POE_E_CAPABILITY, "`%s` has no gradient; minimising over continuous coordinates needs one",
                  poe_expert_ops_of(target)->kind);
    return POE_E_CAPABILITY;
  }
  bool closed = false;
  poe_status status = closed_mode(target, modes, &closed, error);
  if (closed) {
    poe_rows rows = {1, modes->dim, modes->dim, modes->x};
    modes->evaluations = 1;
    return poei_evaluate_rows(session, target, rows, modes->log_density, NULL, error);
  }
  poe_expert *smooth = NULL;
  ascent a = {.session = session};
  if (status == POE_OK) {
    status = poei_transform_create_over(target, poe_expert_traits(target)->support, false, &smooth, error);
  }
  if (status == POE_OK) {
    a.smooth = smooth;
    status = poei_runner_open(session, poe_expert_scratch(smooth, POE_WANT_GRAD, POEI_TILE), &a.runner, error);
  }
  if (status == POE_OK) {
    status = search(&a, target, plan, options, modes, error);
  }
  if (status != POE_OK) {
    poei_modes_free(modes);
  }
  poei_runner_close(a.runner);
  poe_expert_release(smooth);
  return status;
}
