/* Looking along one latent coordinate of one row (marginal.h): where the integrand, or what is maximised, has its
 * peaks, and how wide they are.
 *
 * Looked at first is a ladder that does not depend on the row: u = 0 and +-10^(k/2) from 1e-3 to 1e7 on the whole line,
 * u = log |h - end| from -35 to 35 on a half-line, u = logit from -30 to 30 on an interval; and, at 0 and +-2 scales,
 * the spots that factors over the latent coordinate alone name (compose/exact/spots_known.c). Where all of it is -inf,
 * 16 times as many points. Every point that is no lower than its neighbours is then followed to its peak, by parabolas
 * and halving; outside of the ladder in steps that grow. A peak on whose slopes no two of these points lie is missed
 * unless it is within a dozen scales of another, where the integral looks closely.
 *
 * Everything is a function of the row alone: the inner expert is always asked about the same numbers of points.
 */
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "compose/exact/spots.h"
#include "compose/exact/tree.h"
#include "compose/nodes/marginal.h"
#include "core/alloc.h"

enum { MOST_SPOTS = 8, MOST_ROUNDS = 200, SCALE_ROUNDS = 60, MOST_STEPS = 300 };
static const double peak = 2.0;       /* nats: a bracket that falls by less shows its peak            */
static const double log_reach = 35.0; /* of the ladder on a half-line, and its steps beyond           */
static const double line_end = 1e300; /* of the whole line                                            */
static const double resolved = 1e-15; /* of an end, relative to it: nearer points are not told from it */

/* ---- coordinates ---- */

static poei_warp warp_of(const poe_support *support) {
  poei_warp w = {support->low, support->high, -DBL_MAX, DBL_MAX, -INFINITY, INFINITY};
  bool low = isfinite(w.low), high = isfinite(w.high);
  double width = low && high ? w.high - w.low : 1.0;
  double near_low = log(fmax(resolved * fabs(w.low), 1e-300) / width);
  double near_high = log(fmax(resolved * fabs(w.high), 1e-300) / width);
  if (low) {
    w.least = support->low_open ? nextafter(w.low, INFINITY) : w.low;
  }
  if (high) {
    w.most = support->high_open ? nextafter(w.high, -INFINITY) : w.high;
  }
  if (low || high) {
    w.u_low = low ? near_low : near_high;
    w.u_high = low && high ? -near_high : 690.0;
  }
  return w;
}

double poei_warp_h(const poei_warp *w, double u) {
  bool low = isfinite(w->low), high = isfinite(w->high);
  double h = u;
  if (low && high) { /* measured from the nearer end, where digits are needed */
    double share = exp(-fabs(u)) / (1.0 + exp(-fabs(u)));
    h = u < 0.0 ? w->low + (w->high - w->low) * share : w->high - (w->high - w->low) * share;
  } else if (low || high) {
    h = low ? w->low + exp(u) : w->high - exp(u);
  }
  return h < w->least ? w->least : h > w->most ? w->most : h;
}

double poei_warp_log_slope(const poei_warp *w, double u) {
  bool low = isfinite(w->low), high = isfinite(w->high);
  if (low && high) {
    return log(w->high - w->low) - fabs(u) - 2.0 * log1p(exp(-fabs(u)));
  }
  return low || high ? u : 0.0;
}

static double warp_u(const poei_warp *w, double h) {
  bool low = isfinite(w->low), high = isfinite(w->high);
  double below = low ? log(fmax(h - w->low, DBL_MIN)) : 0.0, above = high ? log(fmax(w->high - h, DBL_MIN)) : 0.0;
  return low && high ? below - above : low ? below : high ? above : h;
}

/* ---- the looks ---- */

static bool add_look(poei_marginal *self, double u) {
  if (self->looks == POEI_LINE_LOOKS || !(u > self->warp.u_low && u < self->warp.u_high)) {
    return false;
  }
  self->look[self->looks++] = u;
  return true;
}

/* The spots that an expert's factors over coordinate c alone name; marginals are looked into. */
static poe_status find_spots(const poe_expert *expert, size_t c, poei_spots *spots, poe_error *error) {
  poei_parts parts;
  poe_status status = poei_parts_open(expert, POEI_OPEN_ALL, &parts, NULL, error);
  if (status != POE_OK) {
    return status;
  }
  for (size_t i = 0; i < parts.n && status == POE_OK; i++) {
    const poei_part *part = &parts.item[i];
    for (size_t j = 0; j < part->n && status == POE_OK; j++) {
      if (part->index[j] != c) {
        continue;
      }
      if (part->n == 1 && poe_expert_traits(part->expert)->dim == 1) {
        status = poei_spots_known(part->expert, spots, error);
      } else if (poei_node_kind_of(part->expert) == POEI_NODE_marginal) {
        status = find_spots(poei_node_child(part->expert, 0), poei_marginal_free(part->expert)[j], spots, error);
      }
    }
  }
  poei_parts_free(&parts);
  return status;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void add_ladder(poei_marginal *self) {
  bool low = isfinite(self->warp.low), high = isfinite(self->warp.high);
  add_look(self, 0.0);
  for (int k = 1; k <= 20; k++) {
    double u = low && high ? 1.5 * k : log_reach / 20.0 * k;
    u = low || high ? u : pow(10.0, -3.0 + 0.5 * (k - 1));
    add_look(self, u);
    add_look(self, -u);
  }
  if (!low && !high) {
    add_look(self, 1e7);
    add_look(self, -1e7);
  }
}

poe_status poei_line_prepare(poei_marginal *self, poe_error *error) {
  poei_spots spots = {0};
  self->warp = warp_of(&poe_expert_traits(self->inner)->support[self->at]);
  self->look = poei_alloc(POEI_LINE_LOOKS, sizeof *self->look);
  poe_status status = self->look == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                         : find_spots(self->inner, self->at, &spots, error);
  if (status == POE_OK) {
    add_ladder(self);
    for (size_t i = 0; i < spots.n && i < MOST_SPOTS; i++) {
      const poei_spot *spot = &spots.item[i];
      double reach = isfinite(spot->scale[0]) ? 2.0 * spot->scale[0] : 0.0;
      for (int side = -1; side <= 1; side++) {
        double h = spot->at[0] + side * reach;
        if (h > self->warp.low && h < self->warp.high) {
          add_look(self, warp_u(&self->warp, h));
        }
      }
    }
    qsort(self->look, self->looks, sizeof *self->look, by_size);
    size_t kept = 1;
    for (size_t k = 1; k < self->looks; k++) {
      if (self->look[k] > self->look[kept - 1]) {
        self->look[kept++] = self->look[k];
      }
    }
    self->looks = kept;
  }
  poei_spots_free(&spots);
  return status;
}

/* ---- values ---- */

size_t poei_line_scratch(const poei_marginal *self, unsigned want) {
  size_t block = poe_scratch_need(POEI_LINE_ROWS * self->wide, sizeof(double));
  size_t looks = poe_scratch_need(POEI_LINE_LOOKS * POEI_LINE_DENSE, sizeof(double));
  size_t own = poe_scratch_need(POEI_LINE_ROWS, sizeof(double)); /* value; h of poei_line_values */
  return poei_child_scratch(self->inner, want, POEI_LINE_ROWS) + block * ((want & POE_WANT_GRAD) != 0 ? 2 : 1) +
         2 * looks + 2 * own;
}

void poei_line_open(poei_line *line, const poei_marginal *self, bool gradient, poe_scratch *scratch, poe_error *error) {
  *line = (poei_line){.self = self, .scratch = scratch, .error = error};
  line->x = poe_scratch_doubles(scratch, POEI_LINE_ROWS * self->wide);
  line->value = poe_scratch_doubles(scratch, POEI_LINE_ROWS);
  line->grad = gradient ? poe_scratch_doubles(scratch, POEI_LINE_ROWS * self->wide) : NULL;
  line->u = poe_scratch_doubles(scratch, POEI_LINE_LOOKS * POEI_LINE_DENSE);
  line->g = poe_scratch_doubles(scratch, POEI_LINE_LOOKS * POEI_LINE_DENSE);
}

void poei_line_row(poei_line *line, const double *free) {
  const poei_marginal *self = line->self;
  line->bad = 0.0;
  line->nan = false;
  for (size_t j = 0; j + 1 < self->wide; j++) {
    line->x[self->inner_free[j]] = free[j];
  }
  line->x[self->at] = 0.0;
  for (size_t i = 1; i < POEI_LINE_ROWS; i++) {
    memcpy(&line->x[i * self->wide], line->x, self->wide * sizeof *line->x);
  }
}

poe_status poei_line_at(poei_line *line, size_t n, const double *h, bool gradient) {
  static const double one = 1.0;
  const poei_marginal *self = line->self;
  size_t wide = self->wide;
  for (size_t i = 0; i < n; i++) {
    line->x[i * wide + self->at] = h[i];
  }
  memset(line->value, 0, n * sizeof *line->value);
  if (gradient) {
    memset(line->grad, 0, n * wide * sizeof *line->grad);
  }
  poe_accum out = {line->value, gradient ? line->grad : NULL, wide};
  return poei_child_eval(self->inner, (poe_rows){n, wide, wide, line->x}, (poe_weights){&one, 0}, out, line->scratch,
                         line->error);
}

poe_status poei_line_values(poei_line *line, size_t n, const double *u, double *g) {
  const poei_marginal *self = line->self;
  size_t mark = poe_scratch_mark(line->scratch);
  double *h = poe_scratch_doubles(line->scratch, POEI_LINE_ROWS);
  poe_status status = POE_OK;
  for (size_t first = 0; first < n && status == POE_OK; first += POEI_LINE_ROWS) {
    size_t count = n - first < POEI_LINE_ROWS ? n - first : POEI_LINE_ROWS;
    for (size_t i = 0; i < count; i++) {
      h[i] = poei_warp_h(&self->warp, u[first + i]);
    }
    status = poei_line_at(line, count, h, false);
    for (size_t i = 0; i < count && status == POE_OK; i++) {
      double value = line->value[i];
      line->bad = value == INFINITY ? INFINITY : line->bad;
      g[first + i] = isinf(value)        ? -INFINITY
                     : isinf(self->beta) ? value
                                         : self->beta * value + poei_warp_log_slope(&self->warp, u[first + i]);
    }
  }
  poe_scratch_release(line->scratch, mark);
  return status;
}

poe_status poei_line_search(poei_line *line, size_t n, const double *u, double *g) {
  poe_status status = poei_line_values(line, n, u, g);
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    if (isnan(g[i])) {
      line->nan = true;
      g[i] = -INFINITY;
    }
  }
  return status;
}

/* ---- peaks ---- */

/* The next point beyond u in a direction; false where the line ends. */
static bool step_out(const poei_warp *w, double u, double direction, double *next) {
  bool whole = isinf(w->low) && isinf(w->high);
  double end = direction > 0.0 ? w->u_high : w->u_low;
  if (whole) {
    *next = u * direction > 1.0 ? 10.0 * u : u + 10.0 * direction;
    return fabs(*next) <= line_end;
  }
  if (direction > 0.0 ? u >= end : u <= end) {
    return false;
  }
  *next = u + direction * log_reach;
  *next = direction > 0.0 ? fmin(*next, end) : fmax(*next, end);
  return true;
}

/* Follows g outwards from a mode whose bracket is open to one side. At the end of a half-line or interval it is closed
 * by the end; on the whole line there is no peak then: NaN. */
static poe_status follow_out(poei_line *line, poei_mode *mode, double direction) {
  const poei_warp *w = &line->self->warp;
  double next, value;
  for (size_t k = 0; k < MOST_STEPS; k++) {
    if (!step_out(w, mode->m, direction, &next)) {
      break;
    }
    poe_status status = poei_line_search(line, 1, &next, &value);
    if (status != POE_OK) {
      return status;
    }
    double *end = direction > 0.0 ? &mode->b : &mode->a, *start = direction > 0.0 ? &mode->a : &mode->b;
    double *end_g = direction > 0.0 ? &mode->gb : &mode->ga, *start_g = direction > 0.0 ? &mode->ga : &mode->gb;
    if (value <= mode->gm) {
      *end = next;
      *end_g = value;
      return POE_OK;
    }
    *start = mode->m;
    *start_g = mode->gm;
    mode->m = next;
    mode->gm = value;
  }
  if (isinf(w->low) && isinf(w->high)) {
    line->bad = NAN;
  }
  if (direction > 0.0) {
    mode->b = mode->m + 1.0;
    mode->gb = -INFINITY;
  } else {
    mode->a = mode->m - 1.0;
    mode->ga = -INFINITY;
  }
  return POE_OK;
}

/* Keeps the highest POEI_LINE_MODES. */
static void add_mode(poei_mode *modes, size_t *n, const poei_mode *mode) {
  if (*n < POEI_LINE_MODES) {
    modes[(*n)++] = *mode;
    return;
  }
  size_t lowest = 0;
  for (size_t k = 1; k < *n; k++) {
    lowest = modes[k].gm < modes[lowest].gm ? k : lowest;
  }
  if (modes[lowest].gm < mode->gm) {
    modes[lowest] = *mode;
  }
}

/* The looks of this row, and more of them when they saw nothing: *n points line->u, line->g. */
static poe_status look(poei_line *line, size_t *n) {
  const poei_marginal *self = line->self;
  memcpy(line->u, self->look, self->looks * sizeof *line->u);
  *n = self->looks;
  poe_status status = poei_line_search(line, *n, line->u, line->g);
  bool seen = false;
  for (size_t k = 0; k < *n; k++) {
    seen = seen || line->g[k] > -INFINITY;
  }
  if (seen || status != POE_OK || line->bad != 0.0) {
    return status;
  }
  *n = 0;
  for (size_t k = 0; k + 1 < self->looks; k++) {
    for (size_t j = 0; j < POEI_LINE_DENSE; j++) {
      double share = (double)j / POEI_LINE_DENSE;
      line->u[(*n)++] = (1.0 - share) * self->look[k] + share * self->look[k + 1];
    }
  }
  return poei_line_search(line, *n, line->u, line->g);
}

poe_status poei_line_modes(poei_line *line, poei_mode *modes, size_t *n) {
  size_t looks = 0;
  *n = 0;
  poe_status status = look(line, &looks);
  const double *u = line->u, *g = line->g;
  for (size_t k = 0; k < looks && status == POE_OK; k++) {
    bool first = k == 0, last = k + 1 == looks;
    if (g[k] > -INFINITY && (first || g[k] > g[k - 1]) && (last || g[k] >= g[k + 1])) {
      poei_mode mode = {.m = u[k], .gm = g[k], .a = first ? u[k] : u[k - 1], .b = last ? u[k] : u[k + 1]};
      mode.ga = first ? -INFINITY : g[k - 1];
      mode.gb = last ? -INFINITY : g[k + 1];
      if (first) {
        status = follow_out(line, &mode, -1.0);
      }
      if (last && status == POE_OK) {
        status = follow_out(line, &mode, 1.0);
      }
      add_mode(modes, n, &mode);
    }
  }
  if (*n == 0 && line->nan) {
    line->bad = NAN;
  }
  return status == POE_OK ? poei_line_narrow(line, *n, modes, peak) : status;
}

/* ---- narrowing ---- */

/* The next point of a bracket; false when it is narrow enough. */
static bool propose(const poei_mode *s, double fine, size_t round, double *p) {
  double fa = s->gm - s->ga, fb = s->gm - s->gb, l = s->m - s->a, r = s->b - s->m;
  if ((fa <= fine && fb <= fine) || s->b - s->a <= 4.0 * DBL_EPSILON * fmax(fabs(s->a), fabs(s->b)) ||
      s->b - s->a < 1e-300) {
    return false;
  }
  if (round % 3 != 2 && isfinite(fa) && isfinite(fb)) {
    /* g(m + t) = g(m) + k t - c t^2 / 2 through the three points */
    double c = 2.0 * (fa / l + fb / r) / (l + r), k = fa / l - 0.5 * c * l, shift = k / c;
    double side = fine < peak ? (l > r ? -1.0 : 1.0) : (fa > fb ? -1.0 : 1.0);
    double step = fine < peak ? 0.05 * fmax(l, r) : 1.4 / sqrt(c);
    *p = s->m + (fabs(shift) > 0.1 * step ? shift : side * step);
    if (*p > s->a && *p < s->b && *p != s->m) {
      return true;
    }
  }
  bool left = fa == fb ? l > r : fa > fb;
  if (fine < peak && isfinite(fa) && isfinite(fb)) {
    left = l > r;
  }
  *p = left ? s->m - 0.5 * l : s->m + 0.5 * r;
  return *p > s->a && *p < s->b && *p != s->m;
}

static void take_in(poei_mode *s, double p, double gp) {
  bool higher = gp > s->gm, right = p > s->m;
  if (higher) {
    *(right ? &s->a : &s->b) = s->m;
    *(right ? &s->ga : &s->gb) = s->gm;
    s->m = p;
    s->gm = gp;
  } else {
    *(right ? &s->b : &s->a) = p;
    *(right ? &s->gb : &s->ga) = gp;
  }
}

poe_status poei_line_narrow(poei_line *line, size_t n, poei_mode *modes, double fine) {
  double p[POEI_LINE_MODES], g[POEI_LINE_MODES];
  size_t whose[POEI_LINE_MODES];
  for (size_t round = 0; round < MOST_ROUNDS; round++) {
    size_t asked = 0;
    for (size_t k = 0; k < n; k++) {
      double noise = fine < peak ? fine * fmax(1.0, fabs(modes[k].gm)) : fine;
      if (propose(&modes[k], noise, round, &p[asked])) {
        whose[asked++] = k;
      }
    }
    if (asked == 0) {
      break;
    }
    poe_status status = poei_line_search(line, asked, p, g);
    if (status != POE_OK) {
      return status;
    }
    for (size_t i = 0; i < asked; i++) {
      take_in(&modes[whose[i]], p[i], g[i]);
    }
  }
  return POE_OK;
}

/* ---- scales ---- */

/* One side of a mode whose scale is being found. */
typedef struct rung {
  double step, low, high; /* steps known to fall by too little, by too much */
  bool done;
} rung;

static void climb_rung(rung *side, double fall) {
  if (fall < 0.1) {
    side->low = side->step;
    side->step = side->high > 0.0 ? sqrt(side->low * side->high) : 3.0 * side->step;
  } else if (fall > 3.0) {
    side->high = side->step;
    side->step = side->low > 0.0 ? sqrt(side->low * side->high) : 0.4 * side->step;
  } else {
    side->step *= fmin(fmax(sqrt(0.5 / fall), 0.3), 3.0);
    side->done = true;
  }
  side->done = side->done || (side->low > 0.0 && side->high > 0.0 && side->high < 1.2 * side->low) ||
               side->step > line_end || side->step < 1e-290;
}

poe_status poei_line_scales(poei_line *line, size_t n, poei_mode *modes) {
  rung side[2 * POEI_LINE_MODES];
  double p[2 * POEI_LINE_MODES], g[2 * POEI_LINE_MODES];
  size_t whose[2 * POEI_LINE_MODES];
  for (size_t i = 0; i < 2 * n; i++) {
    const poei_mode *mode = &modes[i / 2];
    side[i] = (rung){.step = i % 2 == 0 ? mode->m - mode->a : mode->b - mode->m};
  }
  for (size_t round = 0; round < SCALE_ROUNDS; round++) {
    size_t asked = 0;
    for (size_t i = 0; i < 2 * n; i++) {
      if (!side[i].done) {
        p[asked] = modes[i / 2].m + (i % 2 == 0 ? -side[i].step : side[i].step);
        whose[asked++] = i;
      }
    }
    if (asked == 0) {
      break;
    }
    poe_status status = poei_line_search(line, asked, p, g);
    if (status != POE_OK) {
      return status;
    }
    for (size_t i = 0; i < asked; i++) {
      climb_rung(&side[whose[i]], modes[whose[i] / 2].gm - g[i]);
    }
  }
  for (size_t i = 0; i < 2 * n; i++) {
    *(i % 2 == 0 ? &modes[i / 2].left : &modes[i / 2].right) = side[i].step;
  }
  return POE_OK;
}
