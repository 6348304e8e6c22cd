/* The search for modes (modes.h), continuous coordinates.
 *
 * L-BFGS ascends log p(x(u)) in unconstrained coordinates u, all starts in lockstep so that a network sees whole tiles.
 * Starts are draws of the plan's own base or sampler, and standard normals at scales of 1 to 1000 in u, because a
 * search must also begin where the density is small. Where the slope at an end of a range points inwards, u has stopped
 * at infinity short of a mode: such ends are dropped. What the others are, and where searches go on that ended short of
 * a mode, is in modes_ends.c. Ends are one mode when nothing lies between them: the density at three points of the
 * segment that joins them is that of its ends.
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
  poei_free(modes->end);
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
    modes->end = poei_calloc(n, sizeof *modes->end);
  }
  if (modes->x == NULL || modes->log_density == NULL || modes->starts == NULL || modes->at_bound == NULL ||
      modes->end == NULL) {
    poei_modes_free(modes);
    return poe_error_set(error, POE_E_MEMORY, "out of memory for %zu modes", n);
  }
  return POE_OK;
}

const char *poei_mode_end_word(poei_mode_end end) {
  static const char *const words[] = {NULL, "stationary", "kink", "infinite", "unfinished", NULL};
  return words[end];
}

bool poei_modes_stopped(const poei_session *session) {
  return session->monitor.stop != NULL && atomic_load(session->monitor.stop);
}

/* ---- the energy in unconstrained space ---- */

static poe_status ascent_energy(void *context, size_t n, size_t d, const double *u, double *value, double *gradient,
                                poe_error *error) {
  poei_ascent *a = context;
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

enum {
  CANDIDATES = 4, /* points tried for each start wanted    */
  STEPS = 12      /* between an end and a better one nearby */
};

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
static poe_status starts_choose(poei_ascent *a, const poei_mode_options *options, size_t d, double *u, size_t *kept,
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
static poe_status ends_joined(const poei_ascent *a, size_t d, const double *p, const double *q, double level,
                              double *work, bool *joined, poe_error *error) {
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

static int end_order(const void *left, const void *right) {
  const poei_search_end *a = left, *b = right;
  if (a->value != b->value) {
    return a->value > b->value ? -1 : 1;
  }
  return (a->u > b->u) - (a->u < b->u);
}

/* Looks at the ends of ranges that x[d] lies at: *at_bound, there is one; *inward, the density rises away from one. */
static poe_status mode_bounds(const poei_ascent *a, const poe_expert *target, size_t d, const double *x, double *slope,
                              bool *at_bound, bool *inward, poe_error *error) {
  const poe_support *support = poe_expert_traits(target)->support;
  double value = 0.0;
  *at_bound = *inward = false;
  for (size_t j = 0; j < d; j++) {
    *at_bound = *at_bound || poei_bound_side(&support[j], x[j]) != 0;
  }
  poe_status status =
      *at_bound ? poei_runner_rows(a->runner, target, (poe_rows){1, d, d, x}, &value, slope, error) : POE_OK;
  for (size_t j = 0; j < d && *at_bound && status == POE_OK; j++) {
    *inward = *inward || poei_bound_side(&support[j], x[j]) * slope[j] < -1e-4;
  }
  return status;
}

/* Does the density nowhere fall on the way from q, an end, to p, a better one nearby? Then q is not quite an end: on a
 * kink what is left of the way to the mode shows in the value. Looked at from q on in shorter and shorter steps. */
static poe_status ends_rising(const poei_ascent *a, size_t d, const double *p, const double *q, double least,
                              double *work, bool *joined, poe_error *error) {
  double value[STEPS], apart = 0.0, size = 1.0;
  for (size_t j = 0; j < d; j++) {
    apart = fmax(apart, fabs(p[j] - q[j]));
    size = fmax(size, fabs(p[j]));
  }
  *joined = false;
  if (!(apart <= 1e-2 * size)) {
    return POE_OK;
  }
  for (size_t k = 0; k < STEPS; k++) {
    double t = k == 0 ? 0.75 : ldexp(1.0, -(int)k);
    for (size_t j = 0; j < d; j++) {
      work[k * d + j] = t * p[j] + (1.0 - t) * q[j];
    }
  }
  poe_status status = poei_runner_rows(a->runner, a->smooth, (poe_rows){STEPS, d, d, work}, value, NULL, error);
  *joined = status == POE_OK;
  for (size_t k = 0; k < STEPS && *joined; k++) {
    *joined = value[k] >= least - 1e-12 * (1.0 + fabs(least));
  }
  return status;
}

/* Is an end the same as an earlier one? Values of spikes differ: those are told by where they are. */
static poe_status end_known(const poei_ascent *a, size_t d, const poei_search_end *known, const poei_search_end *end,
                            double *work, bool *same, poe_error *error) {
  *same = known->how == end->how;
  if (end->how == POEI_END_SPIKE) {
    for (size_t j = 0; j < d; j++) {
      *same = *same && fabs(known->x[j] - end->x[j]) <= 1e-5 * (1.0 + fabs(end->x[j]));
    }
    return POE_OK;
  }
  if (known->how == POEI_END_KINK && end->how == POEI_END_KINK) { /* found to within the distance at which one looks */
    double apart = 0.0, size = 1.0;
    for (size_t j = 0; j < d; j++) {
      apart = fmax(apart, fabs(known->u[j] - end->u[j]));
      size = fmax(size, fabs(known->u[j]));
    }
    if (apart <= 1e-5 * size) {
      *same = true;
      return POE_OK;
    }
  }
  *same = known->how != POEI_END_SPIKE && fabs(known->value - end->value) <= POEI_MODE_LEVEL * (1.0 + fabs(end->value));
  poe_status status = *same ? ends_joined(a, d, known->u, end->u, end->value, work, same, error) : POE_OK;
  if (status == POE_OK && !*same && known->how != POEI_END_SPIKE) {
    status = ends_rising(a, d, known->u, end->u, end->value, work, same, error);
  }
  return status;
}

/* The distinct ones among ends[n], best first, go to the front with the number of their starts; *found: how many. An
 * unfinished end below a mode is no news: it is counted and dropped. */
static poe_status ends_distinct(const poei_ascent *a, size_t d, size_t n, poei_search_end *ends, poei_modes *modes,
                                double *work, size_t *found, poe_error *error) {
  bool verified = false;
  *found = 0;
  poe_status status = POE_OK;
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    bool known = false;
    for (size_t k = *found; k-- > 0 && !known && status == POE_OK;) {
      status = end_known(a, d, &ends[k], &ends[i], work, &known, error);
      modes->starts[k] += known;
      ends[k].how = known && ends[k].how == POEI_END_UNFINISHED ? ends[i].how : ends[k].how;
    }
    modes->unconverged += !known && ends[i].how == POEI_END_UNFINISHED;
    verified = verified || ends[i].how != POEI_END_UNFINISHED;
    if (!known && !(verified && ends[i].how == POEI_END_UNFINISHED)) {
      poei_search_end kept = ends[*found];
      ends[*found] = ends[i];
      ends[i] = kept;
      modes->starts[(*found)++] = 1;
    }
  }
  return status;
}

/* Writes distinct ends as modes, but for those at ends of ranges from which the density rises inwards. */
static poe_status ends_write(const poei_ascent *a, const poe_expert *target, size_t found, size_t d,
                             const poei_search_end *ends, poei_modes *modes, double *work, poe_error *error) {
  poe_status status = POE_OK;
  for (size_t k = 0; k < found && status == POE_OK; k++) {
    double *x = modes->x + modes->n * d;
    bool inward = false, spike = ends[k].how == POEI_END_SPIKE;
    if (spike) {
      memcpy(x, ends[k].x, d * sizeof *x);
      modes->at_bound[modes->n] = true;
    } else {
      poei_transform_constrain(a->smooth, 1, ends[k].u, d, x, d);
      status = mode_bounds(a, target, d, x, work, &modes->at_bound[modes->n], &inward, error);
    }
    if (!inward) {
      modes->log_density[modes->n] = spike ? INFINITY : ends[k].value;
      modes->end[modes->n] = ends[k].how;
      modes->starts[modes->n++] = modes->starts[k];
    }
  }
  return status;
}

/* Judged ends[n] as distinct modes, best first. */
static poe_status ends_to_modes(const poei_ascent *a, const poe_expert *target, size_t n, size_t d,
                                poei_search_end *ends, size_t keep, poei_modes *modes, poe_error *error) {
  double *work = poei_alloc(d, STEPS * sizeof *work);
  size_t found = 0;
  poe_status status = poei_modes_make(n, d, modes, error);
  if (status == POE_OK && work == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (status == POE_OK) {
    for (size_t i = 0; i < n; i++) { /* infinite ones first */
      ends[i].value = ends[i].how == POEI_END_SPIKE ? INFINITY : ends[i].value;
    }
    qsort(ends, n, sizeof *ends, end_order);
    status = ends_distinct(a, d, n, ends, modes, work, &found, error);
  }
  if (status == POE_OK) {
    status = ends_write(a, target, found, d, ends, modes, work, error);
  }
  modes->distinct = modes->n;
  modes->n = modes->n < keep ? modes->n : keep;
  if (status == POE_OK && modes->n == 0) {
    status = poe_error_set(error, POE_E_NUMERIC, "none of the %zu searches ended at a mode", n);
    poe_error_hint(error, "more --starts, or points near one with --init FILE");
  }
  poei_free(work);
  return status;
}

/* ---- all of it ---- */

/* A search that found no bottom: named by the coordinate that went farthest, of those that stayed near 0 by the one
 * with the steepest slope. */
static poe_status search_ran_away(const poei_ascent *a, const poei_mode_options *options, size_t d, const double *u,
                                  poe_error *error) {
  size_t far = 0;
  double *x = poei_alloc(d, sizeof *x), *slope = poei_alloc(d, sizeof *slope), value = 0.0;
  if (x == NULL || slope == NULL) {
    poei_free(x);
    poei_free(slope);
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t j = 0; j < d; j++) { /* beside the pole, where there is a slope */
    x[j] = u[j] + 1e-9 * (1.0 + fabs(u[j]));
  }
  poe_status status = poei_runner_rows(a->runner, a->smooth, (poe_rows){1, d, d, x}, &value, slope, error);
  bool near = true;
  for (size_t j = 0; j < d; j++) {
    slope[j] = isfinite(slope[j]) ? slope[j] : INFINITY;
  }
  for (size_t j = 0; j < d; j++) {
    near = near && fabs(u[j]) < 1e6;
  }
  for (size_t j = 1; j < d && status == POE_OK; j++) {
    far = (near && fabs(slope[j]) > fabs(slope[far])) || (!near && fabs(u[j]) > fabs(u[far])) ? j : far;
  }
  if (status == POE_OK) {
    char name[POEI_NAME_SIZE];
    poei_transform_constrain(a->smooth, 1, u, d, x, d);
    poei_names_text(&options->names, far, name, sizeof name);
    poe_error_set(error, POE_E_NUMERIC,
                  "the density grows without bound, so that its energy has no minimum: a search ran away with %s at "
                  "%.4g",
                  name, x[far]);
    poe_error_hint(error, "multiply it by an expert that holds %s, or give it a value with --clamp", name);
    status = POE_E_NUMERIC;
  }
  poei_free(x);
  poei_free(slope);
  return status;
}

/* The ends of n searches at u[n, d], with energies, judged. x[n, d]: room for points. */
static poe_status search_judge(const poei_ascent *a, const poe_expert *target, const poei_mode_options *options,
                               size_t n, size_t d, double *u, double *x, const double *energy, poei_search_end *ends,
                               size_t *evaluations, poe_error *error) {
  size_t asked = 0;
  for (size_t i = 0; i < n; i++) {
    ends[i] = (poei_search_end){u + i * d, x + i * d, -energy[i], POEI_END_NONE};
  }
  qsort(ends, n, sizeof *ends, end_order);
  poe_status status = poei_ends_judge(a, target, n, d, ends, 2000 + 2 * *evaluations, &asked, error);
  *evaluations += asked;
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    if (ends[i].how == POEI_END_ENDLESS) {
      char text[POEI_DIRECTION_SIZE];
      status = poe_error_set(error, POE_E_NUMERIC,
                             "the density grows without bound along %s, so that its energy has no minimum",
                             poei_direction_text(&options->names, d, ends[i].x, text, sizeof text));
      poe_error_hint(error, "multiply it by an expert that holds it in that direction");
    }
  }
  return status;
}

static poe_status search(poei_ascent *a, const poe_expert *target, const poei_plan *plan,
                         const poei_mode_options *options, poei_modes *modes, poe_error *error) {
  size_t d = poe_expert_traits(target)->dim, numbers = 0, n = 0;
  double *u = NULL, *x = NULL, *value = poei_alloc(options->starts, sizeof *value);
  poei_lbfgs_end *end = poei_alloc(options->starts, sizeof *end);
  poei_search_end *ends = poei_alloc(options->starts, sizeof *ends);
  if (poei_mul_size(CANDIDATES * options->starts, d, &numbers)) {
    u = poei_alloc(numbers, sizeof *u);
    x = poei_alloc(options->starts * d, sizeof *x);
  }
  poe_status status = POE_OK;
  if (u == NULL || x == NULL || value == NULL || end == NULL || ends == NULL) {
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
    status = end[i] == POEI_LBFGS_UNBOUNDED ? search_ran_away(a, options, d, u + i * d, error) : POE_OK;
  }
  if (status == POE_OK) {
    status = search_judge(a, target, options, n, d, u, x, value, ends, &evaluations, error);
  }
  if (status == POE_OK) {
    status = ends_to_modes(a, target, n, d, ends, options->keep, modes, error);
  }
  if (status == POE_OK) {
    modes->evaluations = evaluations;
    snprintf(modes->method, sizeof modes->method, "L-BFGS from %zu starts", n);
  }
  poei_free(u);
  poei_free(x);
  poei_free(value);
  poei_free(end);
  poei_free(ends);
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
  poei_ascent a = {.session = session};
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
