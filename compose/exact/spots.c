/* Finding where a density over one or two continuous coordinates has its mass (spots.h).
 *
 * Its gradient is followed upwards (core/lbfgs.h), in unconstrained coordinates, from what its parts know and from
 * starts at distances 1e-4, 1e-3, ... 1e8 around 0: a peak of any width is found that is uphill from one of them. How
 * wide a peak is along a coordinate is where the log-density has fallen by 1/2, on a ladder of powers of two. Peaks and
 * known spots whose height times width is negligible are dropped.
 *
 * No search is complete: a spike on whose slopes no start lies is not found. Whoever reports an integral says how many
 * starts there were.
 */
#include "compose/exact/spots.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/numeric.h"
#include "compose/nodes/node.h"
#include "core/alloc.h"
#include "core/lbfgs.h"
#include "core/numerics.h"

enum {
  MOST_PEAKS = 32,    /* found by ascent and handed out                             */
  MOST_CLIMBED = 128, /* known spots from which the gradient is followed           */
  DECADES = 13,       /* of distances from 0                                        */
  PER_DECADE = 4,     /* distances, in one dimension                                */
  DIRECTIONS = 8,     /* at each decade, in two dimensions                          */
  RUNGS = 96,         /* of the ladder on which widths are found                    */
  ITERATIONS = 100    /* of an ascent                                               */
};
static const double nearest = 1e-4;     /* the first distance                                                  */
static const double first_rung = 1e-14; /* relative to the spot                                               */
static const double negligible = 60.0;  /* nats of height times width under the best: e^-60 of its mass        */
static const double same_peak = 1e-3;   /* scales within which two ascents ended at the same peak              */
static const double fall = 0.5;         /* of the log-density, one standard deviation from a Gaussian's mean   */

void poei_spots_free(poei_spots *spots) {
  poei_free(spots->item);
  *spots = (poei_spots){0};
}

poe_status poei_spots_add(poei_spots *spots, poei_spot spot, poe_error *error) {
  if (spots->n == spots->capacity) {
    size_t capacity = spots->capacity == 0 ? 8 : 2 * spots->capacity;
    poei_spot *item = poei_realloc(spots->item, capacity, sizeof *item);
    if (item == NULL) {
      return poe_error_set(error, POE_E_MEMORY, "out of memory");
    }
    spots->item = item;
    spots->capacity = capacity;
  }
  spots->item[spots->n++] = spot;
  return POE_OK;
}

/* ---- candidates ---- */

/* A spot with the log-density there. */
typedef struct candidate {
  poei_spot spot;
  double value, mass; /* mass: value + log volume of the scales */
  bool climbed;       /* a peak found by ascent: its scale is still to be found */
} candidate;

static double log_volume(size_t d, const poei_spot *spot) {
  double sum = 0.0;
  for (size_t j = 0; j < d; j++) {
    sum += isfinite(spot->scale[j]) && spot->scale[j] > 0.0 ? log(spot->scale[j]) : 0.0;
  }
  return sum;
}

static int by_mass(const void *a, const void *b) {
  double x = ((const candidate *)a)->mass, y = ((const candidate *)b)->mass;
  return (y > x) - (y < x);
}

static int by_value(const void *a, const void *b) {
  double x = ((const candidate *)a)->value, y = ((const candidate *)b)->value;
  return (y > x) - (y < x);
}

/* Values at the candidates; those at which there is no density go. */
static poe_status evaluate(poei_evaluator *evaluator, size_t d, size_t *n, candidate *all, poe_error *error) {
  double *x = poei_alloc(*n * d, sizeof *x), *value = poei_alloc(*n, sizeof *value);
  poe_status status = x == NULL || value == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  if (status == POE_OK) {
    for (size_t i = 0; i < *n * d; i++) {
      x[i] = all[i / d].spot.at[i % d];
    }
    status = poei_evaluator_run(evaluator, *n, x, value, error);
  }
  size_t kept = 0;
  for (size_t i = 0; i < *n && status == POE_OK; i++) {
    if (isfinite(value[i])) {
      all[kept] = all[i];
      all[kept].value = value[i];
      all[kept++].mass = value[i] + log_volume(d, &all[i].spot);
    }
  }
  *n = status == POE_OK ? kept : *n;
  poei_free(x);
  poei_free(value);
  return status;
}

/* ---- ascents ---- */

typedef struct ascent {
  const poe_expert *smooth; /* the target in unconstrained coordinates */
  poe_scratch *scratch;
  const atomic_bool *stop;
} ascent;

/* Minus the log-density and its gradient. */
static poe_status objective(void *context, size_t n, size_t d, const double *u, double *value, double *gradient,
                            poe_error *error) {
  ascent *climb = context;
  double minus = -1.0;
  poe_status status = POE_OK;
  if (climb->stop != NULL && atomic_load(climb->stop)) {
    return poe_error_set(error, POE_E_INTERRUPTED, "interrupted while looking for where the density has its mass");
  }
  memset(value, 0, n * sizeof *value);
  memset(gradient, 0, n * d * sizeof *gradient);
  for (size_t first = 0; first < n && status == POE_OK; first += POEI_EVALUATOR_ROWS) {
    size_t count = n - first < POEI_EVALUATOR_ROWS ? n - first : POEI_EVALUATOR_ROWS;
    status = poe_expert_eval_add(climb->smooth, (poe_rows){count, d, d, &u[first * d]}, (poe_weights){&minus, 0},
                                 (poe_accum){&value[first], &gradient[first * d], d}, climb->scratch, error);
  }
  return status;
}

/* A distance in an unconstrained coordinate: that of a bounded one grows with the logarithm. */
static double distance(const poe_support *support, double r) {
  bool free = isinf(support->low) && isinf(support->high);
  return free ? r : copysign(log1p(fabs(r)), r);
}

/* Starts around 0, u[1 + DECADES * DIRECTIONS, d]. */
static void ladder(const poe_traits *traits, double *u) {
  size_t d = traits->dim;
  memset(u, 0, d * sizeof *u);
  for (size_t k = 0; k < DECADES * DIRECTIONS; k++) {
    double *start = &u[(k + 1) * d], steps = (double)(k / (d == 1 ? 2 : DIRECTIONS));
    double r = nearest * pow(10.0, d == 1 ? steps / PER_DECADE : steps);
    /* In two dimensions the directions turn from one distance to the next, off the axes. */
    double angle = d == 1 ? POEI_PI * (double)(k % 2) : 2.0 * POEI_PI * ((double)k + 0.37 * steps) / DIRECTIONS + 0.2;
    start[0] = distance(&traits->support[0], r * cos(angle));
    if (d == 2) {
      start[1] = distance(&traits->support[1], r * sin(angle));
    }
  }
}

/* Follows the gradient from the ladder and from the first `best` of candidates all[*n]; appends the peaks. */
static poe_status climb(const poe_expert *target, const atomic_bool *stop, size_t best, candidate *all, size_t *n,
                        size_t *starts, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  size_t d = traits->dim, most = 1 + DECADES * DIRECTIONS + best, count = 0;
  double *u = poei_alloc(most * d, sizeof *u), *value = poei_alloc(most, sizeof *value);
  poei_lbfgs_end *end = poei_alloc(most, sizeof *end);
  poe_expert *smooth = NULL;
  ascent up = {0};
  poe_status status = u == NULL || value == NULL || end == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                                                : poei_transform_create(target, &smooth, error);
  if (status == POE_OK) {
    up = (ascent){smooth, poe_scratch_create(poe_expert_scratch(smooth, POE_WANT_GRAD, POEI_EVALUATOR_ROWS)), stop};
    status = up.scratch == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  }
  if (status == POE_OK) {
    poei_lbfgs_options options;
    poei_lbfgs_defaults(&options);
    options.memory = 4;
    options.iterations = ITERATIONS;
    options.gradient = options.improvement = 1e-12;
    ladder(traits, u);
    count = 1 + DECADES * DIRECTIONS;
    for (size_t i = 0; i < best; i++) {
      poei_transform_unconstrain(smooth, 1, all[i].spot.at, d, &u[(count + i) * d], d);
    }
    count += best;
    status = poei_lbfgs(objective, &up, count, d, u, &options, value, end, NULL, error);
  }
  if (status == POE_OK) {
    poei_transform_constrain(smooth, count, u, d, u, d);
    *starts = count;
  }
  for (size_t i = 0; i < count && status == POE_OK; i++) {
    bool finite = isfinite(u[i * d]) && isfinite(u[i * d + d - 1]);
    if (end[i] != POEI_LBFGS_BAD_START && finite) {
      candidate *made = &all[(*n)++];
      *made = (candidate){.spot = {{NAN, NAN}, {NAN, NAN}}, .climbed = true};
      memcpy(made->spot.at, &u[i * d], d * sizeof *u);
    }
  }
  poe_expert_release(smooth);
  poe_scratch_destroy(up.scratch);
  poei_free(u);
  poei_free(value);
  poei_free(end);
  return status;
}

/* ---- widths ---- */

/* The scales of a peak: twice the distance at which the density has fallen, to the nearer side. */
static poe_status measure(poei_evaluator *evaluator, size_t d, candidate *peak, poe_error *error) {
  double x[2 * RUNGS * 2], value[2 * RUNGS];
  for (size_t a = 0; a < d; a++) {
    double at = peak->spot.at[a], h = first_rung * fmax(fabs(at), 1e-2);
    for (size_t k = 0; k < RUNGS; k++, h *= 2.0) {
      for (size_t side = 0; side < 2; side++) {
        double *point = &x[(2 * k + side) * d];
        memcpy(point, peak->spot.at, d * sizeof *point);
        point[a] += side == 0 ? -h : h;
      }
    }
    poe_status status = poei_evaluator_run(evaluator, 2 * RUNGS, x, value, error);
    if (status != POE_OK) {
      return status;
    }
    for (size_t k = 0; k < RUNGS && isnan(peak->spot.scale[a]); k++) {
      double low = fmin(value[2 * k], value[2 * k + 1]);
      if (low <= peak->value - fall) {
        double reached = fabs(x[2 * k * d + a] - at);
        double wide = low == -INFINITY ? 0.5 : fmax(sqrt(fall / (peak->value - low)), 0.25); /* on a parabola */
        peak->spot.scale[a] = 2.0 * reached * wide;
      }
    }
  }
  peak->mass = peak->value + log_volume(d, &peak->spot);
  return POE_OK;
}

/* Is there an accepted spot so near that it shows this one, which is within `reach` of its scales and not narrower? */
static bool is_shown(size_t d, size_t n, const candidate *accepted, const poei_spot *one, double reach) {
  for (size_t i = 0; i < n; i++) {
    bool shown = true;
    for (size_t j = 0; j < d; j++) {
      double at = accepted[i].spot.at[j], scale = accepted[i].spot.scale[j], own = one->scale[j];
      bool near = fabs(one->at[j] - at) <= reach * scale || one->at[j] == at;
      shown = shown && near && (isnan(own) || !(own < 0.5 * scale));
    }
    if (shown) {
      return true;
    }
  }
  return false;
}

/* Peaks first, from the highest; then the known spots that no peak shows. chosen[n]: room. */
static poe_status accept(poei_evaluator *evaluator, size_t d, size_t n, candidate *all, candidate *chosen,
                         poei_spots *spots, poe_error *error) {
  size_t count = 0;
  poe_status status = POE_OK;
  qsort(all, n, sizeof *all, by_value);
  for (int climbed = 1; climbed >= 0; climbed--) {
    for (size_t i = 0; i < n && status == POE_OK; i++) {
      bool turn = all[i].climbed == (climbed == 1) && (climbed == 0 || count < MOST_PEAKS);
      if (!turn || is_shown(d, count, chosen, &all[i].spot, same_peak)) {
        continue;
      }
      if (all[i].climbed) {
        status = measure(evaluator, d, &all[i], error);
      }
      if (!is_shown(d, count, chosen, &all[i].spot, 0.5)) {
        chosen[count++] = all[i];
      }
    }
  }
  qsort(chosen, count, sizeof *chosen, by_mass);
  for (size_t i = 0; i < count && status == POE_OK && chosen[i].mass > chosen[0].mass - negligible; i++) {
    status = poei_spots_add(spots, chosen[i].spot, error);
  }
  return status;
}

/* Candidates: what is known, and the peaks above the best of it and above the ladder. all[known + most climbed + ...].
 */
static poe_status gather(const poe_expert *target, poei_evaluator *evaluator, const poei_spots *known, candidate *all,
                         size_t *n, size_t *starts, poe_error *error) {
  size_t d = poe_expert_traits(target)->dim;
  for (*n = 0; *n < known->n; (*n)++) {
    all[*n].spot = known->item[*n];
  }
  poe_status status = evaluate(evaluator, d, n, all, error);
  if (status == POE_OK && poei_expert_can(target, POE_CAN_GRADIENT)) {
    qsort(all, *n, sizeof *all, by_mass);
    size_t first = *n, most = first < MOST_CLIMBED ? first : MOST_CLIMBED;
    status = climb(target, evaluator->stop, most, all, n, starts, error);
    size_t fresh = *n - first;
    status = status == POE_OK ? evaluate(evaluator, d, &fresh, all + first, error) : status;
    *n = first + fresh;
  }
  return status;
}

poe_status poei_spots_find(const poe_expert *target, poei_spots *spots, poe_error *error) {
  poei_spots known = {0}, found = {.stop = spots->stop};
  poei_evaluator evaluator = {0};
  poe_status status = poei_spots_known(target, &known, error);
  size_t n = 0, room = known.n + MOST_CLIMBED + 1 + DECADES * DIRECTIONS;
  candidate *all = status == POE_OK ? poei_calloc(room, sizeof *all) : NULL;
  candidate *chosen = status == POE_OK ? poei_calloc(room, sizeof *chosen) : NULL;
  if (status == POE_OK && (all == NULL || chosen == NULL)) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  if (status == POE_OK) {
    status = poei_evaluator_open(target, &evaluator, error);
    evaluator.stop = spots->stop;
  }
  if (status == POE_OK) {
    found.known = known.n;
    status = gather(target, &evaluator, &known, all, &n, &found.ascents, error);
  }
  if (status == POE_OK) {
    status = accept(&evaluator, poe_expert_traits(target)->dim, n, all, chosen, &found, error);
  }
  if (status == POE_OK && found.ascents == 0 && found.n > 0) { /* what is known may not be all there is */
    status = poei_spots_add(&found, (poei_spot){.scale = {NAN, NAN}}, error);
  }
  poei_evaluator_close(&evaluator);
  poei_spots_free(&known);
  poei_free(all);
  poei_free(chosen);
  if (status != POE_OK) {
    poei_spots_free(&found);
    return status;
  }
  *spots = found;
  return POE_OK;
}

char *poei_spots_text(const poei_spots *spots) {
  const char *caution = "a spike that none of these leads to would be missed";
  if (spots->ascents == 0) {
    return poei_format("looked on a grid and around %zu of %zu spots that its factors name: %s", spots->n, spots->known,
                       caution);
  }
  return poei_format("looked around %zu spot%s, from %zu that its factors name and %zu ascents: %s", spots->n,
                     spots->n == 1 ? "" : "s", spots->known, spots->ascents, caution);
}
