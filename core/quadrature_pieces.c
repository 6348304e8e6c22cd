/* Pieces of a box for quadrature (quadrature_pieces.h).
 *
 * One map x = c + s t / (1 - t^2) shows everything there is, but not sharply: at a distance D from its centre doubles
 * are 2 D^2 / s epsilon apart, so a detail far from c, or much narrower than s, falls between them. Each spot with
 * such a detail gets a piece with a map around itself:
 *
 *   far from the centre of the map it is under: the piece is cut half-way between the two centres;
 *   within its bulk: a core of `core` scales is carved out of the piece, in two dimensions by up to four cuts.
 *
 * The rest of the box has a map around all spots when it resolves them, else around the widest. Spots are taken in
 * turn until each is resolved where it lies, since a cut may put an earlier one under a new map.
 */
#include "core/quadrature_pieces.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"

enum { MOST_PIECES = 256, PASSES = 4 };
static const double core = 1000.0;      /* half the width of a carved piece, in scales                  */
static const double sharpness = 1e-10;  /* spacing of doubles against a spot's scale, at most          */
static const double mass_reach = 8.0;   /* scales from a spot: beyond, a Gaussian has 1e-15 of its mass */
static const double outside_bulk = 8.0; /* scales from a centre, beyond which a spot is far            */

/* A piece while it is being cut: a box in x and the spot its map is around, SIZE_MAX: none. */
typedef struct box {
  double low[2], high[2];
  size_t owner;
} box;

typedef struct cutting {
  size_t d, n;
  const double *low, *high; /* of the whole box      */
  poei_spot *spot;          /* [n] inside it; [n]: their hull */
  box *item;                /* [MOST_PIECES]         */
  size_t boxes;
} cutting;

static bool known(double scale) {
  return isfinite(scale) && scale > 0.0;
}

static poei_axis axis_of(const cutting *c, size_t owner, size_t axis) {
  const poei_spot *p = owner == SIZE_MAX ? NULL : &c->spot[owner];
  double hint[2] = {0.0, 1.0};
  bool usable = p != NULL && known(p->scale[axis]);
  if (usable) {
    hint[0] = p->at[axis];
    hint[1] = p->scale[axis];
  }
  return poei_axis_make(c->low[axis], c->high[axis], usable ? hint : NULL);
}

/* How much coarser the doubles under the owner's map are, at a spot, than they should be; above 1 is too coarse. */
static double coarseness(const cutting *c, size_t owner, const poei_spot *p, size_t axis) {
  poei_axis map = axis_of(c, owner, axis);
  if (!known(p->scale[axis]) || !map.curved) {
    return 0.0;
  }
  double slope = exp(poei_axis_log_slope(&map, poei_axis_t(&map, p->at[axis])));
  return 2.0 * DBL_EPSILON * slope / (sharpness * p->scale[axis]);
}

static size_t box_of(const cutting *c, const poei_spot *p) {
  for (size_t i = 0; i + 1 < c->boxes; i++) {
    bool inside = true;
    for (size_t a = 0; a < c->d; a++) {
      inside = inside && p->at[a] >= c->item[i].low[a] && p->at[a] <= c->item[i].high[a];
    }
    if (inside) {
      return i;
    }
  }
  return c->boxes - 1;
}

/* Box i is cut at x along an axis; the part above it becomes a new box, whose index is returned. */
static size_t cut(cutting *c, size_t i, size_t axis, double x) {
  box *upper = &c->item[c->boxes];
  *upper = c->item[i];
  upper->low[axis] = c->item[i].high[axis] = x;
  return c->boxes++;
}

/* Gives spot k a piece of its own out of box i, along the axis where it needs one most. */
static void claim(cutting *c, size_t i, size_t k, size_t axis) {
  const poei_spot *p = &c->spot[k];
  size_t owner = c->item[i].owner;
  double centre = owner == SIZE_MAX ? 0.0 : c->spot[owner].at[axis];
  double width = owner == SIZE_MAX ? 1.0 : c->spot[owner].scale[axis], way = p->at[axis] - centre;
  double middle = centre + 0.5 * way;
  if (fabs(way) > outside_bulk * (width + p->scale[axis]) && middle > c->item[i].low[axis] &&
      middle < c->item[i].high[axis]) {
    size_t upper = cut(c, i, axis, middle);
    c->item[way > 0.0 ? upper : i].owner = k;
    return;
  }
  for (size_t a = 0; a < c->d; a++) {
    double reach = core * p->scale[a];
    if (!known(p->scale[a])) {
      continue;
    }
    if (p->at[a] - reach > c->item[i].low[a]) {
      i = cut(c, i, a, p->at[a] - reach);
    }
    if (p->at[a] + reach < c->item[i].high[a]) {
      cut(c, i, a, p->at[a] + reach);
    }
  }
  c->item[i].owner = k;
}

/* One spot after the other; false when all are resolved where they are. */
static bool pass(cutting *c) {
  bool changed = false;
  for (size_t k = 0; k < c->n && c->boxes + 4 < MOST_PIECES; k++) {
    size_t i = box_of(c, &c->spot[k]), axis = 0;
    double worst = 0.0;
    for (size_t a = 0; a < c->d; a++) {
      double own = c->item[i].owner == k ? 0.0 : coarseness(c, c->item[i].owner, &c->spot[k], a);
      axis = own > worst ? a : axis;
      worst = fmax(worst, own);
    }
    if (worst > 1.0) {
      claim(c, i, k, axis);
      changed = true;
    }
  }
  return changed;
}

/* Where mass is looked for along a coordinate of which nothing is known. */
static void set_usual(const cutting *c, poei_spot *spot, size_t axis) {
  double low = c->low[axis], high = c->high[axis];
  bool bounded = isfinite(low) && isfinite(high);
  spot->at[axis] = bounded ? 0.5 * low + 0.5 * high : isfinite(low) ? low : isfinite(high) ? high : 0.0;
  spot->scale[axis] = bounded ? 0.5 * high - 0.5 * low : 1.0;
}

/* A spot's mass may reach into the box from a little outside; from further away it says nothing. */
static void move_inside(const cutting *c, poei_spot *spot) {
  bool tells = true;
  for (size_t a = 0; a < c->d; a++) {
    double reach = mass_reach * spot->scale[a];
    tells = tells && !(spot->at[a] < c->low[a] - reach) && !(spot->at[a] > c->high[a] + reach);
  }
  for (size_t a = 0; a < c->d; a++) {
    if (tells && known(spot->scale[a])) {
      spot->at[a] = fmin(fmax(spot->at[a], c->low[a]), c->high[a]);
    } else {
      set_usual(c, spot, a);
    }
  }
}

/* spot[n] becomes the middle and half the extent of all that is known. */
static void make_hull(cutting *c) {
  poei_spot *hull = &c->spot[c->n];
  *hull = (poei_spot){.scale = {NAN, NAN}};
  for (size_t a = 0; a < c->d; a++) {
    double low = INFINITY, high = -INFINITY;
    for (size_t k = 0; k < c->n; k++) {
      double scale = c->spot[k].scale[a];
      low = known(scale) ? fmin(low, c->spot[k].at[a] - scale) : low;
      high = known(scale) ? fmax(high, c->spot[k].at[a] + scale) : high;
    }
    if (low < high) {
      hull->at[a] = 0.5 * low + 0.5 * high;
      hull->scale[a] = 0.5 * high - 0.5 * low;
    }
  }
}

/* Whose map the box has before it is cut. */
static size_t first_owner(cutting *c) {
  size_t best = SIZE_MAX;
  double most = -INFINITY, worst = 0.0;
  make_hull(c);
  for (size_t k = 0; k < c->n; k++) {
    double size = 0.0;
    for (size_t a = 0; a < c->d; a++) {
      size += known(c->spot[k].scale[a]) ? log(c->spot[k].scale[a]) : 0.0;
      worst = fmax(worst, coarseness(c, c->n, &c->spot[k], a));
    }
    best = size > most ? k : best;
    most = fmax(most, size);
  }
  return c->n > 0 && worst <= 1.0 ? c->n : best;
}

static void finish(const cutting *c, poei_pieces *pieces) {
  pieces->n = c->boxes;
  for (size_t i = 0; i < c->boxes; i++) {
    poei_piece *piece = &pieces->item[i];
    for (size_t a = 0; a < c->d; a++) {
      piece->axis[a] = axis_of(c, c->item[i].owner, a);
      piece->t_low[a] = poei_axis_t(&piece->axis[a], c->item[i].low[a]);
      piece->t_high[a] = poei_axis_t(&piece->axis[a], c->item[i].high[a]);
    }
  }
}

poe_status poei_pieces_make(size_t d, const double *low, const double *high, size_t n, const poei_spot *spots,
                            poei_pieces *pieces, poe_error *error) {
  cutting c = {.d = d, .n = n, .low = low, .high = high, .boxes = 1};
  c.spot = poei_alloc(n + 1, sizeof *c.spot);
  c.item = poei_alloc(MOST_PIECES, sizeof *c.item);
  poei_pieces made = {.item = poei_calloc(MOST_PIECES, sizeof *made.item)};
  poe_status status = POE_OK;
  if (c.spot == NULL || c.item == NULL || made.item == NULL) {
    poei_pieces_free(&made);
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else {
    for (size_t k = 0; k < n; k++) {
      c.spot[k] = spots[k];
      move_inside(&c, &c.spot[k]);
    }
    c.item[0] = (box){.owner = first_owner(&c)};
    memcpy(c.item[0].low, low, d * sizeof *low);
    memcpy(c.item[0].high, high, d * sizeof *high);
    for (size_t k = 0; k < PASSES && pass(&c); k++) {
    }
    finish(&c, &made);
    *pieces = made;
  }
  poei_free(c.spot);
  poei_free(c.item);
  return status;
}

void poei_pieces_free(poei_pieces *pieces) {
  poei_free(pieces->item);
  *pieces = (poei_pieces){0};
}

void poei_piece_cell(size_t d, const poei_piece *piece, size_t side, size_t k, double *low, double *high) {
  size_t at[2] = {k % side, k / side};
  for (size_t a = 0; a < d; a++) {
    double start = piece->t_low[a], width = piece->t_high[a] - start;
    low[a] = start + width * (double)at[a] / (double)side;
    high[a] = at[a] + 1 == side ? piece->t_high[a] : start + width * (double)(at[a] + 1) / (double)side;
  }
}

bool poei_piece_window(size_t d, const poei_piece *piece, const poei_spot *spot, double *low, double *high) {
  for (size_t a = 0; a < d; a++) {
    double reach = known(spot->scale[a]) ? mass_reach * spot->scale[a] : 0.0;
    low[a] = poei_axis_t(&piece->axis[a], spot->at[a] - reach);
    high[a] = poei_axis_t(&piece->axis[a], spot->at[a] + reach);
    if (!(high[a] >= piece->t_low[a] && low[a] <= piece->t_high[a])) { /* also NaN */
      return false;
    }
  }
  return true;
}

bool poei_piece_too_wide(size_t d, const poei_piece *piece, const double *low, const double *high,
                         const double *window_low, const double *window_high, const poei_spot *spot, double widest,
                         unsigned *axis) {
  double worst = 1.0;
  for (size_t a = 0; a < d; a++) {
    if (low[a] > window_high[a] || high[a] < window_low[a]) {
      return false;
    }
  }
  for (unsigned a = 0; a < d; a++) {
    double width = poei_axis_x(&piece->axis[a], high[a]) - poei_axis_x(&piece->axis[a], low[a]);
    double excess = known(spot->scale[a]) ? width / (widest * spot->scale[a]) : 0.0;
    if (excess > worst) {
      worst = excess;
      *axis = a;
    }
  }
  return worst > 1.0;
}
