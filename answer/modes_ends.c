/* What the ends of searches for modes are (modes_parts.h).
 *
 * L-BFGS also ends where its line search finds nothing better: at the ridges of a piecewise linear density, most of
 * which rise somewhere else. An end whose slope is not small is therefore judged by the slopes around it: the shortest
 * vector p in the convex hull of the gradients at points within eps is (nearly) 0 where the end is stationary in the
 * sense of Clarke, and a direction of ascent where it is not (gradient sampling: Burke, Lewis and Overton 2005). The
 * search goes on along p, with smaller and smaller eps, as long as that helps. Points lie in pairs on opposite sides,
 * so that a smooth peak is seen as one.
 *
 * At an end of a range the unconstrained coordinate runs to infinity. The density has an infinite spike there if it
 * rises by as much from one power of ten of the distance to the next, all the way; it grows without bound along the ray
 * through an end if it does so on every doubling of the distance.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "answer/modes_parts.h"
#include "compose/nodes/nodes.h"
#include "core/alloc.h"

enum {
  PAIRS = 16,      /* of points around an end, at most                  */
  SCALES = 7,      /* eps = 1e-2 ... 1e-8 of the end's size             */
  MOST_STEPS = 25, /* at each                                           */
  TRIALS = 14,     /* lengths of a step                                 */
  DECADES = 8,     /* of distances from an end of a range               */
  DOUBLINGS = 24   /* of the distance from the origin                   */
};
static const double small_slope = 1e-6; /* of max(1, |log density|)                  */
static const double short_hull = 0.02;  /* |p| against the largest gradient          */
static const double far_out = 1e4;      /* of an unconstrained coordinate            */
static const double gained = 1e-13;     /* of 1 + |log density|: less is rounding    */

typedef struct polish {
  const poei_ascent *a;
  size_t d, n;       /* coordinates, gradients                      */
  double *point, *g; /* [n, d], [n, d] around the end               */
  double *value;     /* [max(n, TRIALS)]                            */
  double *p, *trial; /* [d] ascent; [TRIALS, d] steps               */
  double largest;    /* of the gradients                            */
  size_t asked;      /* points                                      */
  poe_stream stream;
} polish;

static double length(size_t d, const double *v) {
  double norm = 0.0;
  for (size_t j = 0; j < d; j++) {
    norm = hypot(norm, v[j]);
  }
  return norm;
}

static double most(size_t d, const double *v) {
  double largest = 0.0;
  for (size_t j = 0; j < d; j++) {
    largest = fmax(largest, fabs(v[j]));
  }
  return largest;
}

static double dot(size_t d, const double *v, const double *w) {
  double sum = 0.0;
  for (size_t j = 0; j < d; j++) {
    sum += v[j] * w[j];
  }
  return sum;
}

/* ---- the hull of gradients ---- */

/* p[d] <- the shortest vector in the hull of g[n, d], by steps towards the corner that lies lowest along p (Gilbert
 * 1966). */
static void hull_shortest(size_t n, size_t d, const double *g, double *p) {
  enum { ROUNDS = 400 };
  memcpy(p, g, d * sizeof *p);
  for (size_t round = 0; round < ROUNDS; round++) {
    size_t low = 0;
    double least = INFINITY, square = dot(d, p, p);
    for (size_t i = 0; i < n; i++) {
      double along = dot(d, p, g + i * d);
      if (along < least) {
        least = along;
        low = i;
      }
    }
    double gap = square - least, wide = 0.0;
    if (!(gap > 1e-6 * square)) {
      return;
    }
    for (size_t j = 0; j < d; j++) {
      double way = g[low * d + j] - p[j];
      wide += way * way;
    }
    double t = wide > 0.0 ? fmin(gap / wide, 1.0) : 0.0;
    for (size_t j = 0; j < d; j++) {
      p[j] += t * (g[low * d + j] - p[j]);
    }
  }
}

/* Gradients at u[d] and at pairs of points within eps, and what their hull says: self->p. Those that are not finite are
 * left out. */
static poe_status polish_look(polish *self, const double *u, double eps, poe_error *error) {
  size_t d = self->d, kept = 0;
  memcpy(self->point, u, d * sizeof *u);
  for (size_t i = 1; i < self->n; i += 2) {
    double *right = self->point + i * d, *left = right + d, reach = 0.3 + 0.7 * poe_stream_uniform(&self->stream);
    for (size_t j = 0; j < d; j++) {
      left[j] = poe_stream_normal(&self->stream);
    }
    double scale = eps * reach / length(d, left);
    for (size_t j = 0; j < d; j++) {
      double step = scale * left[j];
      right[j] = u[j] + step;
      left[j] = u[j] - step;
    }
  }
  self->asked += self->n;
  poe_status status = poei_runner_rows(self->a->runner, self->a->smooth, (poe_rows){self->n, d, d, self->point},
                                       self->value, self->g, error);
  self->largest = 0.0;
  for (size_t i = 0; i < self->n && status == POE_OK; i++) {
    double norm = length(d, self->g + i * d);
    if (isfinite(norm) && isfinite(self->value[i])) {
      memmove(self->g + kept++ * d, self->g + i * d, d * sizeof *self->g);
      self->largest = fmax(self->largest, norm);
    }
  }
  memset(self->p, 0, d * sizeof *self->p);
  if (status == POE_OK && kept > 0) {
    hull_shortest(kept, d, self->g, self->p);
  }
  return status;
}

/* The best of steps along p from u[d], lengths from eps / 64 up; *better: it is an improvement, and was taken. */
static poe_status polish_step(polish *self, double eps, double *u, double *value, bool *better, poe_error *error) {
  size_t d = self->d, best = 0;
  double norm = length(d, self->p);
  *better = false;
  if (!(norm > 0.0)) {
    return POE_OK;
  }
  for (size_t i = 0; i < TRIALS; i++) {
    double step = eps * ldexp(1.0, 2 * (int)i - 6) / norm;
    for (size_t j = 0; j < d; j++) {
      self->trial[i * d + j] = u[j] + step * self->p[j];
    }
  }
  self->asked += TRIALS;
  poe_status status = poei_runner_rows(self->a->runner, self->a->smooth, (poe_rows){TRIALS, d, d, self->trial},
                                       self->value, NULL, error);
  for (size_t i = 1; i < TRIALS && status == POE_OK; i++) {
    best = self->value[i] > self->value[best] || isnan(self->value[best]) ? i : best;
  }
  if (status == POE_OK && isfinite(self->value[best]) && self->value[best] > *value + gained * (1.0 + fabs(*value))) {
    *better = true;
    *value = self->value[best];
    memcpy(u, self->trial + best * d, d * sizeof *u);
  }
  return status;
}

/* From u[d] upwards; *how: what it ended at. */
static poe_status polish_run(polish *self, double *u, double *value, poei_mode_end *how, poe_error *error) {
  double first = 0.0, last = 0.0;
  bool verified = false;
  poe_status status = POE_OK;
  enum { FINE = 3 };
  for (int k = 0; k < SCALES && status == POE_OK; k++) {
    bool better = true, flat = false;
    for (size_t step = 0; step < MOST_STEPS && better && status == POE_OK; step++) {
      double eps = pow(10.0, -2.0 - (double)k) * (1.0 + most(self->d, u));
      if (poei_modes_stopped(self->a->session)) {
        return poe_error_set(error, POE_E_INTERRUPTED, "interrupted while searching for modes");
      }
      status = polish_look(self, u, eps, error);
      if (status == POE_OK) {
        flat = length(self->d, self->p) <= short_hull * self->largest;
        status = polish_step(self, eps, u, value, &better, error);
      }
    }
    verified = verified || (k >= FINE && flat && !better);
    first = k == 0 ? self->largest : first;
    last = k <= FINE ? self->largest : last;
  }
  *how = !verified ? POEI_END_UNFINISHED : last > 0.1 * first ? POEI_END_KINK : POEI_END_SMOOTH;
  return status;
}

static bool polish_open(polish *self, const poei_ascent *a, size_t d) {
  size_t pairs = d < 4 ? 8 : d < PAIRS / 2 ? 2 * d : PAIRS, n = 2 * pairs + 1;
  *self = (polish){.a = a, .d = d, .n = n, .stream = poe_stream_open(poe_rng_seed(0x656e6473u))};
  self->point = poei_alloc(n, d * sizeof *self->point);
  self->g = poei_alloc(n, d * sizeof *self->g);
  self->value = poei_alloc(n > TRIALS ? n : TRIALS, sizeof *self->value);
  self->p = poei_alloc(d, sizeof *self->p);
  self->trial = poei_alloc(TRIALS, d * sizeof *self->trial);
  return self->point != NULL && self->g != NULL && self->value != NULL && self->p != NULL && self->trial != NULL;
}

static void polish_close(polish *self) {
  poei_free(self->point);
  poei_free(self->g);
  poei_free(self->value);
  poei_free(self->p);
  poei_free(self->trial);
}

/* ---- spikes and slopes without end ---- */

/* The end of coordinate j's range on side -1 or 1. */
static double range_end(const poe_support *support, int side) {
  return side < 0 ? support->low : support->high;
}

/* Does log p rise without bound as coordinate `which` of x[d] (SIZE_MAX: all) approaches the end of its range that it
 * lies at? */
static poe_status is_spike(const poei_ascent *a, const poe_expert *target, size_t d, const double *x, const int *side,
                           size_t which, bool *spike, poe_error *error) {
  const poe_support *support = poe_expert_traits(target)->support;
  double value[DECADES], *row = poei_alloc(DECADES, d * sizeof *row);
  if (row == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t k = 0; k < DECADES; k++) {
    for (size_t j = 0; j < d; j++) {
      bool both = isfinite(support[j].low) && isfinite(support[j].high);
      double gap = (both ? support[j].high - support[j].low : 1.0) * pow(10.0, -4.0 - (double)k);
      bool moves = side[j] != 0 && (which == SIZE_MAX || which == j);
      row[k * d + j] = moves ? range_end(&support[j], side[j]) - (double)side[j] * gap : x[j];
    }
  }
  poe_status status = poei_runner_rows(a->runner, target, (poe_rows){DECADES, d, d, row}, value, NULL, error);
  double first = value[1] - value[0], last = value[DECADES - 1] - value[DECADES - 2];
  *spike = status == POE_OK && first > 1e-6 && last > 0.5 * first;
  poei_free(row);
  return status;
}

/* Does log p grow, faster and faster, along the unbounded coordinates of x[d] on its way out from there? */
static poe_status is_endless(const poei_ascent *a, const poe_expert *target, size_t d, const double *x, bool *endless,
                             poe_error *error) {
  const poe_support *support = poe_expert_traits(target)->support;
  double value[DOUBLINGS], *row = poei_alloc(DOUBLINGS, d * sizeof *row);
  if (row == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t k = 0; k < DOUBLINGS; k++) {
    for (size_t j = 0; j < d; j++) {
      const poe_support *s = &support[j];
      double from = isfinite(s->low) ? s->low : isfinite(s->high) ? s->high : 0.0;
      bool open = !isfinite(s->low) || !isfinite(s->high);
      row[k * d + j] = open ? from + ldexp(x[j] - from, (int)k) : x[j];
    }
  }
  poe_status status = poei_runner_rows(a->runner, target, (poe_rows){DOUBLINGS, d, d, row}, value, NULL, error);
  *endless = status == POE_OK;
  for (size_t k = 1; k < DOUBLINGS && *endless; k++) {
    double before = k == 1 ? 0.0 : value[k - 1] - value[k - 2];
    *endless = value[k] > value[k - 1] + 1e-9 * fabs(value[k]) && value[k] - value[k - 1] > 1.01 * before;
  }
  poei_free(row);
  return status;
}

/* ---- an end ---- */

/* At which end of its range does x lie: -1, 0 (neither), 1. */
int poei_bound_side(const poe_support *support, double x) {
  double scale = isfinite(support->low) && isfinite(support->high) ? support->high - support->low : 1.0 + fabs(x);
  return x - support->low <= 1e-7 * scale ? -1 : support->high - x <= 1e-7 * scale ? 1 : 0;
}

/* Moves the coordinates of an end at which the density is infinite onto the ends of their ranges; *found: there are
 * some. */
static poe_status end_spikes(const poei_ascent *a, const poe_expert *target, size_t d, double *x, bool *found,
                             poe_error *error) {
  const poe_support *support = poe_expert_traits(target)->support;
  int *side = poei_alloc(d, 2 * sizeof *side), *spiked = side == NULL ? NULL : side + d;
  bool any = false;
  *found = false;
  if (side == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t j = 0; j < d; j++) {
    side[j] = support[j].kind == POE_CONTINUOUS ? poei_bound_side(&support[j], x[j]) : 0;
    any = any || side[j] != 0;
  }
  bool spike = false;
  poe_status status = any ? is_spike(a, target, d, x, side, SIZE_MAX, &spike, error) : POE_OK;
  *found = spike;
  for (size_t j = 0; j < d && *found && status == POE_OK; j++) {
    spike = false;
    status = side[j] != 0 ? is_spike(a, target, d, x, side, j, &spike, error) : POE_OK;
    spiked[j] = spike ? side[j] : 0;
  }
  for (size_t j = 0; j < d && *found && status == POE_OK; j++) {
    x[j] = spiked[j] != 0 ? range_end(&support[j], spiked[j]) : x[j];
  }
  poei_free(side);
  return status;
}

/* One end, whose slope is g[d]. */
static poe_status end_judge(polish *self, const poe_expert *target, const double *g, bool search, poei_search_end *end,
                            poe_error *error) {
  size_t d = self->d;
  double scale = fmax(1.0, fabs(end->value)), slope = most(d, g);
  bool spike = false, endless = false;
  end->how = POEI_END_SMOOTH;
  poei_transform_constrain(self->a->smooth, 1, end->u, d, end->x, d);
  poe_status status = end_spikes(self->a, target, d, end->x, &spike, error);
  bool still = slope <= small_slope * scale;
  if (status == POE_OK && !spike && (!still || most(d, end->u) > far_out)) {
    status = is_endless(self->a, target, d, end->x, &endless, error);
  }
  if (spike || endless || still || status != POE_OK) {
    end->how = spike ? POEI_END_SPIKE : endless ? POEI_END_ENDLESS : POEI_END_SMOOTH;
    return status;
  }
  end->how = POEI_END_UNFINISHED;
  return search ? polish_run(self, end->u, &end->value, &end->how, error) : POE_OK;
}

poe_status poei_ends_judge(const poei_ascent *a, const poe_expert *target, size_t n, size_t d, poei_search_end *end,
                           size_t budget, size_t *asked, poe_error *error) {
  polish self;
  double *u = poei_alloc(n, d * sizeof *u), *g = poei_alloc(n, d * sizeof *g), *value = poei_alloc(n, sizeof *value);
  poe_status status = POE_OK;
  if (!polish_open(&self, a, d) || u == NULL || g == NULL || value == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory for the ends of %zu searches", n);
  }
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    memcpy(u + i * d, end[i].u, d * sizeof *u);
  }
  if (status == POE_OK) {
    status = poei_runner_rows(a->runner, a->smooth, (poe_rows){n, d, d, u}, value, g, error);
  }
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    status = end_judge(&self, target, g + i * d, self.asked < budget, &end[i], error);
  }
  *asked = self.asked + n;
  polish_close(&self);
  poei_free(u);
  poei_free(g);
  poei_free(value);
  return status;
}
