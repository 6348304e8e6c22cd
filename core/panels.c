/* Adaptive Gauss-Legendre panels over the live part of a density (panels.h).
 *
 * Each monotone piece is cut off where the density has fallen by exp(45) from its top, divided into panels that grow
 * away from both ends of the piece, and these are halved until 16 points on a panel and 16 on each of its halves agree
 * to 1e-13 of the whole: the halves, which are kept, are then some 2^32 times better (the density is analytic).
 * A quantile is the panel by its cumulated mass, then Newton's method inside it, kept within a bracket.
 */
#include "core/panels.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/alloc.h"

enum { NODES = 8, MOST = 512, DEEPEST = 40 };

static const double live_drop = 45.0, agreement = 1e-13;

/* Half of the symmetric 16-point rule on [-1, 1]. */
static const double node[NODES] = {0.095012509837637440185, 0.28160355077925891323, 0.45801677765722738634,
                                   0.61787624440264374845,  0.7554044083550030339,  0.86563120238783174388,
                                   0.94457502307323257608,  0.9894009349916499326};
static const double weight[NODES] = {0.18945061045506849629,  0.18260341504492358887, 0.16915651939500253819,
                                     0.14959598881657673208,  0.12462897125553387205, 0.09515851168249278481,
                                     0.062253523938647892863, 0.027152459411754094852};

typedef struct builder {
  poei_curve f;
  const void *context;
  double top, total;
  size_t n;
  double begin[MOST + 1], mass[MOST]; /* begin[n] is the end of the last panel */
} builder;

/* Integral of exp(f - top) over one panel. */
static double panel_mass(poei_curve f, const void *context, double top, double low, double high) {
  double half = 0.5 * (high - low), middle = low + half, sum = 0.0;
  for (int i = 0; i < NODES; i++) {
    sum +=
        weight[i] * (exp(f(context, middle - half * node[i]) - top) + exp(f(context, middle + half * node[i]) - top));
  }
  return half * sum;
}

static double builder_mass(const builder *b, double low, double high) {
  return panel_mass(b->f, b->context, b->top, low, high);
}

static bool is_live(const builder *b, double s) {
  return b->f(b->context, s) >= b->top - live_drop;
}

/* Where the density, falling from `from` (live) towards `to`, stops being live; NaN when it never does. */
static double live_end(const builder *b, double from, double to) {
  if (isfinite(to) && is_live(b, to)) {
    return to;
  }
  double side = to > from ? 1.0 : -1.0, step = isfinite(to) ? ldexp(fabs(to - from), -30) : 0x1p-20, inside = from;
  double outside = from + side * step;
  while (fabs(outside - from) < fabs(to - from) && is_live(b, outside)) {
    inside = outside;
    step *= 2.0;
    outside = from + side * step;
    if (isinf(outside)) {
      return NAN;
    }
  }
  outside = fabs(outside - from) < fabs(to - from) ? outside : to;
  while (inside == from || fabs(outside - inside) > 0.25 * fabs(outside - from)) {
    double middle = inside + 0.5 * (outside - inside); /* a little too far costs nothing */
    if (middle == inside || middle == outside) {
      break;
    }
    if (is_live(b, middle)) {
      inside = middle;
    } else {
      outside = middle;
    }
  }
  return outside;
}

/* Appends a panel, and an empty one before it where there is a gap. */
static void append(builder *b, double low, double high, double mass) {
  if (b->n > 0 && b->n + 1 < MOST && b->begin[b->n] != low) {
    b->mass[b->n++] = 0.0;
  }
  if (b->n == MOST) { /* so many are never needed; nothing is lost, only the place of a share */
    b->mass[--b->n] += mass;
  } else {
    b->begin[b->n] = low;
    b->mass[b->n] = mass;
  }
  b->begin[++b->n] = high;
}

/* Appends [low, high], whose mass is `whole`, halved as often as it takes. */
static void refine(builder *b, double low, double high, double whole) {
  struct {
    double low, high, mass;
    int depth;
  } stack[DEEPEST + 2];
  int n = 0;
  stack[n].low = low;
  stack[n].high = high;
  stack[n].mass = whole;
  stack[n++].depth = 0;
  while (n > 0) {
    n--;
    double from = stack[n].low, to = stack[n].high, middle = from + 0.5 * (to - from);
    int depth = stack[n].depth;
    double left = builder_mass(b, from, middle), right = builder_mass(b, middle, to);
    bool good = fabs(left + right - stack[n].mass) <= agreement * b->total;
    if (good || depth == DEEPEST) {
      append(b, from, to, left + right);
      continue;
    }
    stack[n].low = middle;
    stack[n].high = to;
    stack[n].mass = right;
    stack[n++].depth = depth + 1;
    stack[n].low = from;
    stack[n].high = middle;
    stack[n].mass = left;
    stack[n++].depth = depth + 1;
  }
}

/* The panel after `at` of a first division of [low, high] that grows away from both ends. */
static double next_panel(double low, double high, double at) {
  double first = fmin(0.25, 0.125 * (high - low)), step = fmax(first, fmin(at - low, 0.5 * (high - at)));
  return high - at < 1.5 * step || at + step <= at ? high : at + step;
}

/* Calls for every piece that has mass: its live part. False when the integral diverges. */
static bool for_pieces(builder *b, size_t n, const double *cut, void (*visit)(builder *b, double low, double high)) {
  for (size_t i = 0; i < n; i++) {
    double low = cut[i], high = cut[i + 1];
    bool low_live = isfinite(low) && is_live(b, low), high_live = isfinite(high) && is_live(b, high);
    if (!(low < high) || (!low_live && !high_live)) {
      continue;
    }
    double from = low_live ? low : live_end(b, high, low), to = high_live ? high : live_end(b, low, high);
    if (isnan(from) || isnan(to)) {
      return false;
    }
    visit(b, from, to);
  }
  return true;
}

static void visit_total(builder *b, double low, double high) {
  for (double at = low, next; at < high; at = next) {
    next = next_panel(low, high, at);
    b->total += builder_mass(b, at, next);
  }
}

static void visit_refine(builder *b, double low, double high) {
  for (double at = low, next; at < high; at = next) {
    next = next_panel(low, high, at);
    refine(b, at, next, builder_mass(b, at, next));
  }
}

/* False when the integral diverges. */
static bool build(builder *b, poei_curve f, const void *context, size_t n, const double *cut) {
  b->f = f;
  b->context = context;
  b->top = -INFINITY;
  b->total = 0.0;
  b->n = 0;
  for (size_t i = 0; i <= n; i++) {
    if (isfinite(cut[i])) {
      b->top = fmax(b->top, f(context, cut[i]));
    }
  }
  return for_pieces(b, n, cut, visit_total) && for_pieces(b, n, cut, visit_refine) && b->n > 0;
}

double poei_panels_log_mass(poei_curve f, const void *context, size_t n, const double *cut) {
  builder b;
  if (!build(&b, f, context, n, cut)) {
    return INFINITY;
  }
  double sum = 0.0;
  for (size_t i = 0; i < b.n; i++) {
    sum += b.mass[i];
  }
  return b.top + log(sum);
}

poei_panels *poei_panels_create(poei_curve f, const void *context, size_t n, const double *cut) {
  builder b;
  if (!build(&b, f, context, n, cut)) {
    return NULL;
  }
  poei_panels *panels = poei_alloc(1, sizeof *panels + (b.n + 1) * sizeof panels->at[0]);
  if (panels == NULL) {
    return NULL;
  }
  panels->n = b.n;
  panels->top = b.top;
  double sum = 0.0;
  for (size_t i = 0; i <= b.n; i++) {
    panels->at[i][0] = b.begin[i];
    panels->at[i][1] = sum;
    sum += i < b.n ? b.mass[i] : 0.0;
  }
  return panels;
}

double poei_panels_quantile(const poei_panels *panels, poei_curve f, const void *context, double u) {
  double target = u * panels->at[panels->n][1];
  size_t low = 0, high = panels->n - 1; /* the first panel that ends above the target */
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (panels->at[middle + 1][1] > target) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  double begin = panels->at[low][0], end = panels->at[low + 1][0], mass = panels->at[low + 1][1] - panels->at[low][1];
  double wanted = target - panels->at[low][1], from = begin, to = end;
  double s = begin + (end - begin) * fmin(wanted / mass, 1.0);
  for (int i = 0; i < 60; i++) {
    double excess = panel_mass(f, context, panels->top, begin, s) - wanted;
    from = excess > 0.0 ? from : s;
    to = excess > 0.0 ? s : to;
    double next = s - excess / exp(f(context, s) - panels->top);
    next = next >= from && next <= to ? next : 0.5 * (from + to);
    double moved = fabs(next - s);
    s = next;
    if (moved <= 1e-15 * (end - begin) || fabs(excess) <= 1e-16 * mass) {
      break;
    }
  }
  return s;
}
