/* Does a density grow without bound along a ray? What no form shows (tails.c), its values far out can: a divisor that
 * is a flow or a formula, an energy that turns down.
 *
 * log p is looked at on rays c + r v, r = 1, 4, ... 4^24: along the axes and in random directions, from the origin (or
 * the inside of a bound) and a random point. That a ray rises proves nothing, since a ridge may get thinner faster than
 * it gets higher. So the lowest of several points around the ray is taken, at a distance rho(r), and what a tube of
 * that width holds is bounded by
 *
 *   h(r) = min log p + k log rho + log r,   rho = 1/r, 1/100 (k = m - 1) or r/10 (a cone: k log rho + log r = m log r)
 *
 * for m unbounded coordinates. If h rises over the last factor of 4000 in r like a power of r, from wherever values are
 * still finite, to more than it is anywhere nearer, the integral diverges unless the density turns round beyond 10^14:
 * refused. If it only rises like a multiple of log r, that may be a matter of scale: a caution. Differences of large
 * numbers rise and fall by their rounding: what is less than 1e-9 of the sum of the factors' sizes counts as nothing,
 * and so does what a change of r by less than a millionth changes nearly as much. Rays that fall prove nothing either,
 * and are let pass.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compose/exact/numeric.h"
#include "compose/exact/routes.h"
#include "compose/exact/words.h"
#include "compose/nodes/nodes.h"
#include "compose/nodes/sticks.h"
#include "core/alloc.h"
#include "poe/rng.h"

enum {
  FAR = 24,    /* the last radius is 4^FAR                            */
  LINE = 25,   /* radii                                               */
  WINDOW = 6,  /* steps over which a ray has to rise                  */
  LEAST = 10,  /* radii that must have values, unless the next is inf */
  AXES = 32,   /* of more unbounded coordinates as many are looked at */
  TURNS = 16,  /* random directions                                   */
  AROUND = 8,  /* points around a ray                                 */
  CENTRES = 2, /* from which rays start                               */
  SLOW = 2000  /* points of an integral inside: too slow to be probed */
};
static const double noise = 1e-9;   /* of the sizes of the factors                                         */
static const double nudge = 1e-6;   /* of a radius: what is more than rounding does not change              */
static const double huge = 1e20;    /* a logarithm from which an infinite one comes next of its own growth      */
static const double several = 4.0;  /* times the change there: a rise that is not its rounding              */
static const double slowest = 0.05; /* rise of h per radius that is not put down to the constants          */
static const double quickens = 2.0; /* growth of h's rise over half the window: r^eps has 64^eps, log r has 1 */

typedef enum shape { PIPE, TUBE, CONE, SHAPES } shape;
typedef enum verdict { FALLS, CREEPS, GROWS } verdict;

typedef struct rays {
  const poe_support *support;
  poei_evaluator evaluator;
  poe_stream stream;
  size_t dim, m;
  size_t *open;       /* [m] unbounded continuous coordinates       */
  double *centre, *v; /* [dim]                                      */
  double *x;          /* [LINE, dim]                                */
  double value[LINE]; /* along the ray                              */
  double rise;        /* of h over half the window, when it grows   */
} rays;

static double radius(size_t k) {
  return ldexp(1.0, 2 * (int)k);
}

/* ---- where to look ---- */

static void rays_centre(rays *self, bool random) {
  for (size_t j = 0, k = 0; j < self->dim; j++) {
    const poe_support *s = &self->support[j];
    double u = random ? poe_stream_uniform(&self->stream) : 0.5;
    bool low = isfinite(s->low), high = isfinite(s->high);
    if (s->kind == POE_DISCRETE) {
      double first = low ? s->low : 0.0, states = high ? s->high - first + 1.0 : 4.0;
      self->centre[j] = random ? first + fmin(floor(u * states), states - 1.0) : first;
    } else if (s->kind == POE_SIMPLEX || s->kind == POE_SIMPLEX_NEXT) {
      k = s->kind == POE_SIMPLEX ? poei_simplex_at(self->dim, self->support, j) : k;
      self->centre[j] = 1.0 / (double)k;
    } else if (low && high) {
      self->centre[j] = s->low + u * (s->high - s->low);
    } else if (low || high) {
      double inside = random ? -log(u) : 1.0;
      self->centre[j] = low ? s->low + inside : s->high - inside;
    } else {
      self->centre[j] = random ? poe_stream_normal(&self->stream) : 0.0;
    }
  }
}

/* Along +/- axis `which` of those looked at; false when the support ends on that side. */
static bool rays_axis(rays *self, size_t which, bool up) {
  size_t looked = self->m < AXES ? self->m : AXES, c = self->open[which * self->m / looked];
  memset(self->v, 0, self->dim * sizeof *self->v);
  self->v[c] = up ? 1.0 : -1.0;
  return isinf(up ? self->support[c].high : self->support[c].low);
}

static void rays_turn(rays *self) {
  double norm = 0.0;
  memset(self->v, 0, self->dim * sizeof *self->v);
  for (size_t i = 0; i < self->m; i++) {
    size_t c = self->open[i];
    double v = poe_stream_normal(&self->stream);
    self->v[c] = isfinite(self->support[c].low) ? fabs(v) : isfinite(self->support[c].high) ? -fabs(v) : v;
    norm = hypot(norm, v);
  }
  for (size_t j = 0; j < self->dim; j++) {
    self->v[j] /= norm;
  }
}

static void rays_point(const rays *self, size_t k, double *x) {
  for (size_t j = 0; j < self->dim; j++) {
    x[j] = self->centre[j] + (self->v[j] == 0.0 ? 0.0 : radius(k) * self->v[j]);
  }
}

/* log p at radii first, first + step, ... into value[n]. */
static poe_status rays_look(rays *self, size_t first, size_t step, size_t n, double *value, poe_error *error) {
  for (size_t i = 0; i < n; i++) {
    rays_point(self, first + i * step, self->x + i * self->dim);
  }
  return poei_evaluator_run(&self->evaluator, n, self->x, value, error);
}

/* The lowest of log p at radius k and at AROUND points at distance rho from there. */
static poe_status rays_least(rays *self, size_t k, double rho, double *least, poe_error *error) {
  double value[AROUND];
  *least = self->value[k];
  for (size_t i = 0; i < AROUND; i++) {
    double *x = self->x + i * self->dim, norm = 0.0;
    for (size_t j = 0; j < self->m; j++) {
      x[self->open[j]] = poe_stream_normal(&self->stream);
      norm = hypot(norm, x[self->open[j]]);
    }
    for (size_t j = 0, at = 0; j < self->dim; j++) {
      bool moves = at < self->m && self->open[at] == j;
      const poe_support *s = &self->support[j];
      double step = moves ? rho * x[j] / norm : 0.0;
      x[j] = self->centre[j] + (self->v[j] == 0.0 ? 0.0 : radius(k) * self->v[j]) + step;
      at += moves;
      x[j] = moves && x[j] <= s->low ? 2.0 * s->low - x[j] : moves && x[j] >= s->high ? 2.0 * s->high - x[j] : x[j];
    }
  }
  poe_status status = self->m == 1 ? POE_OK : poei_evaluator_run(&self->evaluator, AROUND, self->x, value, error);
  for (size_t i = 0; i < AROUND && self->m > 1 && status == POE_OK; i++) {
    *least = value[i] < *least || isnan(value[i]) ? value[i] : *least;
  }
  return status;
}

/* ---- what a ray does ---- */

/* The last radius up to which log p is finite; *ends: what comes after it (-inf: nothing does). */
static size_t rays_last(const rays *self, double *ends) {
  size_t last = 0;
  while (last < FAR && isfinite(self->value[last + 1])) {
    last++;
  }
  *ends = last < FAR ? self->value[last + 1] : NAN;
  return last;
}

/* h at radius k for one shape of its surroundings. */
static poe_status rays_held(rays *self, size_t k, shape which, double *h, poe_error *error) {
  double r = radius(k), rho = which == PIPE ? 0.01 : which == TUBE ? 1.0 / r : 0.1 * r;
  poe_status status = rays_least(self, k, rho, h, error);
  *h += ((double)self->m - 1.0) * log(rho) + log(r);
  return status;
}

/* Is there more around radius `last`, where h is `h`, than was found nearer to the centre? A rise to no more than that
 * is one of the bound alone, as where rho is less and less too wide for a ridge. GROWS only by a margin, since the
 * bound is not the same share of what there is everywhere. */
static poe_status rays_compare(rays *self, size_t last, double h, verdict *found, poe_error *error) {
  double most = -INFINITY, margin = (double)self->m * log(10.0);
  poe_stream around = self->stream;
  poe_status status = POE_OK;
  for (size_t k = 0; k + WINDOW <= last && status == POE_OK; k++) {
    for (shape s = PIPE; s < SHAPES && status == POE_OK; s++) {
      double held = -INFINITY;
      self->stream = around;
      status = rays_held(self, k, s, &held, error);
      most = fmax(most, held);
    }
  }
  *found = h > most + margin ? GROWS : h > most ? CREEPS : FALLS;
  return status;
}

/* h over the window that ends at radius `last`, for one shape of its surroundings. */
static poe_status rays_judge(rays *self, size_t last, bool infinite, shape which, verdict *found, poe_error *error) {
  double h[WINDOW + 1];
  size_t steps = last < WINDOW ? last : WINDOW;
  poe_stream around = self->stream;
  poe_status status = POE_OK;
  bool rises = true;
  for (size_t i = 0; i <= steps && rises; i++) {
    self->stream = around; /* the same points at all radii */
    status = rays_held(self, last - steps + i, which, &h[i], error);
    if (status != POE_OK) {
      return status;
    }
    rises = isfinite(h[i]) && (i == 0 || h[i] > h[i - 1] + slowest);
  }
  *found = FALLS;
  if (rises && steps >= 2) {
    double first = h[steps / 2] - h[0], second = h[2 * (steps / 2)] - h[steps / 2];
    bool far = h[steps] - h[0] > fabs(self->value[0]) || infinite;
    *found = !far ? FALLS : infinite || second > quickens * first ? GROWS : CREEPS;
    self->rise = *found == FALLS ? self->rise : second;
    status = *found == GROWS ? rays_compare(self, last, h[steps], found, error) : POE_OK;
  }
  return status;
}

static poe_status rays_follow(rays *self, verdict *found, size_t *last, poe_error *error) {
  double g[3], ends, m = (double)self->m;
  *found = FALLS;
  poe_status status = rays_look(self, FAR - 6, 3, 3, g, error);
  if (status != POE_OK || g[2] == -INFINITY || (isfinite(g[1]) && g[2] + m * log(64.0) <= g[1])) {
    return status; /* nearly all rays end here */
  }
  status = rays_look(self, 0, 1, LINE, self->value, error);
  *last = rays_last(self, &ends);
  bool infinite = ends == INFINITY && self->value[*last] > huge; /* not that of a part, as in log(1 + exp(x)) */
  if (status != POE_OK || !isfinite(self->value[0]) || ends == -INFINITY || (*last < LEAST && !infinite)) {
    return status;
  }
  for (shape s = PIPE; s < SHAPES && *found != GROWS && status == POE_OK; s++) {
    verdict own = FALLS;
    status = rays_judge(self, *last, infinite, s, &own, error);
    *found = own > *found ? own : *found;
  }
  return status;
}

/* By how much log p changes when radius `last` is changed by less than a millionth: by its rounding, where it is a
 * difference of large numbers. (At the radii themselves, powers of 4, one rounding is like the other.) */
static poe_status rays_rounding(rays *self, size_t last, double *spread, poe_error *error) {
  double value[LINE], low = self->value[last], high = low;
  for (size_t i = 0; i < LINE; i++) {
    double *x = self->x + i * self->dim,
           r = radius(last) * (1.0 + nudge * (2.0 * poe_stream_uniform(&self->stream) - 1));
    for (size_t j = 0; j < self->dim; j++) {
      x[j] = self->centre[j] + (self->v[j] == 0.0 ? 0.0 : r * self->v[j]);
    }
  }
  poe_status status = poei_evaluator_run(&self->evaluator, LINE, self->x, value, error);
  for (size_t i = 0; i < LINE && status == POE_OK; i++) {
    low = value[i] < low || isnan(value[i]) ? value[i] : low;
    high = value[i] > high ? value[i] : high;
  }
  *spread = high - low;
  return status;
}

/* ---- whose doing ---- */

/* What the factors say at radius `last` and three before: *size, the sum of their sizes; words[POEI_WORDS_SIZE] and
 * *divided, of the one that rises most. */
static poe_status rays_factors(rays *self, const poe_expert *target, size_t last, double *size, char *words,
                               bool *divided, poe_error *error) {
  poei_parts parts = {0};
  double most = -INFINITY;
  poe_status status = poei_parts_open(target, POEI_OPEN_ALL, &parts, NULL, error);
  *size = 0.0;
  if (status != POE_OK) {
    return status;
  }
  for (size_t i = 0; i < parts.n && status == POE_OK; i++) {
    const poei_part *part = &parts.item[i];
    poei_evaluator own = {0};
    double value[2];
    for (size_t k = 0; k < 2; k++) {
      double *x = self->x + (2 + k) * self->dim;
      rays_point(self, last - 3 + 3 * k, x);
      for (size_t j = 0; j < part->n; j++) {
        self->x[k * part->n + j] = x[part->index[j]];
      }
    }
    status = poei_evaluator_open(part->expert, &own, error);
    if (status == POE_OK) {
      status = poei_evaluator_run(&own, 2, self->x, value, error);
    }
    poei_evaluator_close(&own);
    double rise = part->exponent * (value[1] - value[0]);
    *size += fabs(part->exponent * value[1]);
    if (status == POE_OK && rise > most) {
      most = rise;
      poei_expert_words(part->expert, words, POEI_WORDS_SIZE);
      *divided = part->exponent < 0.0;
    }
  }
  poei_parts_free(&parts);
  return status;
}

static poe_status rays_tell(rays *self, const poe_expert *target, verdict found, size_t last, const poei_names *names,
                            char **caution, poe_error *error) {
  bool divided = false;
  double size = 0.0, spread = 0.0;
  char text[POEI_DIRECTION_SIZE], words[POEI_WORDS_SIZE] = "", whose[POEI_WORDS_SIZE + 64] = "";
  poe_status status = rays_rounding(self, last, &spread, error);
  if (status != POE_OK || !(self->rise > several * spread)) {
    return status;
  }
  status = last < 3 ? POE_OK : rays_factors(self, target, last, &size, words, &divided, error);
  if (status != POE_OK || (last >= 3 && !(self->rise > noise * size))) {
    return status;
  }
  poei_direction_text(names, self->dim, self->v, text, sizeof text);
  if (words[0] != '\0' && divided) {
    snprintf(whose, sizeof whose, ", where it is divided by %s %s", poei_article(words), words);
  } else if (words[0] != '\0') {
    snprintf(whose, sizeof whose, ", as %s %s in it does", poei_article(words), words);
  }
  if (found == GROWS) {
    poe_error_set(error, POE_E_IMPROPER,
                  "the density cannot be normalised: along %s it grows without bound%s (its logarithm is %.3g at a "
                  "distance of %.2g)",
                  text, whose, self->value[last], radius(last));
    poe_error_hint(error, divided ? "multiply it by an expert that falls off faster in that direction, or take less of "
                                    "the divisor"
                                  : "multiply it by an expert that falls off faster in that direction");
    return POE_E_IMPROPER;
  }
  if (caution != NULL && *caution == NULL) {
    *caution = poei_format("along %s the density falls too slowly, or not at all, as far as was looked (%.2g): its "
                           "integral may not be finite",
                           text, radius(last));
    return *caution == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  }
  return POE_OK;
}

/* ---- all of it ---- */

static poe_status rays_open(rays *self, const poe_expert *target, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  size_t room = traits->dim;
  *self = (rays){.support = traits->support, .dim = traits->dim, .stream = poe_stream_open(poe_rng_seed(0x72617973u))};
  self->open = poei_alloc(room, sizeof *self->open);
  self->centre = poei_alloc(room, sizeof *self->centre);
  self->v = poei_alloc(room, sizeof *self->v);
  self->x = poei_alloc(room, LINE * sizeof *self->x);
  if (self->open == NULL || self->centre == NULL || self->v == NULL || self->x == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  for (size_t c = 0; c < self->dim; c++) {
    if (self->support[c].kind == POE_CONTINUOUS && poei_support_unbounded(&self->support[c])) {
      self->open[self->m++] = c;
    }
  }
  return poei_evaluator_open(target, &self->evaluator, error);
}

static void rays_close(rays *self) {
  poei_evaluator_close(&self->evaluator);
  poei_free(self->open);
  poei_free(self->centre);
  poei_free(self->v);
  poei_free(self->x);
}

/* Is a point's value an integral, or one inside? Then a hundred points are too many to ask. */
static bool is_slow(const poe_expert *expert) {
  bool slow = poei_node_kind_of(expert) == POEI_NODE_marginal && poei_marginal_integrates(expert) &&
              poei_marginal_points(expert) > SLOW;
  for (size_t i = 0; i < poei_node_child_count(expert) && !slow; i++) {
    slow = is_slow(poei_node_child(expert, i));
  }
  return slow;
}

static poe_status rays_all(rays *self, const poe_expert *target, const poei_names *names, char **caution,
                           poe_error *error) {
  size_t axes = 2 * (self->m < AXES ? self->m : AXES), turns = self->m > 1 ? TURNS : 0;
  poe_status status = POE_OK;
  for (size_t c = 0; c < CENTRES && status == POE_OK; c++) {
    rays_centre(self, c > 0);
    for (size_t i = 0; i < axes + turns && status == POE_OK; i++) {
      verdict found = FALLS;
      size_t last = 0;
      if (i >= axes) {
        rays_turn(self);
      } else if (!rays_axis(self, i / 2, i % 2 == 0)) {
        continue;
      }
      status = rays_follow(self, &found, &last, error);
      if (status == POE_OK && found != FALLS) {
        status = rays_tell(self, target, found, last, names, caution, error);
      }
    }
  }
  return status;
}

poe_status poei_check_rays(const poe_expert *target, const poei_names *names, char **caution, poe_error *error) {
  const unsigned closed = POE_CAN_FORM | POE_CAN_STRUCTURE | POE_CAN_LOG_Z;
  if ((poe_expert_traits(target)->capabilities & closed) != 0 || !poei_expert_can(target, POE_CAN_EVAL) ||
      is_slow(target)) {
    return POE_OK;
  }
  rays self;
  poe_error own = {0};
  poe_status status = rays_open(&self, target, &own);
  if (status == POE_OK && self.m > 0) {
    status = rays_all(&self, target, names, caution, &own);
  }
  rays_close(&self);
  if (status != POE_E_MEMORY && status != POE_E_IMPROPER) {
    return POE_OK; /* what cannot be evaluated there is somebody else's to report */
  }
  if (error != NULL) {
    *error = own;
  }
  return status;
}
