/* Draws from one- and two-dimensional densities by inverse CDF on an adaptive grid.
 *
 * Cells carry the density at 3 points per coordinate and are halved, worst first, until interpolating between those
 * points (linearly, bilinearly) errs by less than a stated total variation. A draw picks a cell by its mass, a quarter
 * of the cell, and inverts the (bi)linear density in it: in two dimensions the marginal of the first coordinate, then
 * the conditional of the second. Points never leave the support.
 *
 * Coordinates t are those of quadrature (core/quadrature_pieces.h): the support in pieces, each a finite box of its own
 * t that resolves the spots in it, around which cells are halved first. Ends of the support are approached, not
 * evaluated. Invariant: values are relative to exp(reference), the largest log-value of density times slope seen.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "compose/exact/numeric.h"
#include "compose/nodes/node.h"
#include "core/alloc.h"
#include "core/quadrature_pieces.h"

enum {
  SIDE_1D = 256,
  SIDE_2D = 48, /* cells of the first grid, per coordinate */
  SIDE_1D_PIECE = 64,
  SIDE_2D_PIECE = 12,     /* the same of each of several pieces      */
  MOST_CELLS_1D = 100000, /* after which it gives up                 */
  MOST_CELLS_2D = 400000,
  POINTS = 9,
  ROUND = 64 /* cells halved at a time                  */
};

static const double tolerance_1d = 1e-6, tolerance_2d = 1e-4; /* total variation */
static const double end_gap = 1e-9;                           /* of an end, relative to the width */
static const double seen = 2.0;                               /* scales: cells around a spot     */

typedef struct cell {
  double low[2], high[2];   /* in t; one dimension: [0] only, [1] is 0..1                            */
  double log_value[POINTS]; /* [3, 3] at low, middle, high of each coordinate, first coordinate slowest */
  double error;             /* at the reference of the time; see rescale                              */
  unsigned axis;            /* the coordinate to halve                                                */
  unsigned piece;           /* in whose t it is                                                       */
} cell;

typedef struct grid {
  poe_expert *target;
  size_t d;
  poei_pieces pieces;
  size_t n, capacity;
  cell *cell;         /* [n] a heap by error while it is built */
  double *cumulative; /* [n] masses, summed up                 */
  double reference;
} grid;

/* ---- coordinates ---- */

static const poei_axis *axis_of(const grid *self, const cell *c, unsigned axis) {
  return &self->pieces.item[c->piece].axis[axis];
}

/* t of point k in 0..2 of a side; an end of the whole box is approached only. */
static double side_point(const grid *self, const cell *c, unsigned axis, int k) {
  const poei_axis *map = axis_of(self, c, axis);
  double t = k == 0 ? c->low[axis] : k == 2 ? c->high[axis] : 0.5 * (c->low[axis] + c->high[axis]);
  double gap = end_gap * (map->t_high - map->t_low);
  return fmin(fmax(t, map->t_low + gap), map->t_high - gap);
}

/* ---- cells ---- */

/* Error of a cell, per coordinate: how far the middles are from the mean of their neighbours, times the area. Halving
 * shows that interpolating through the middles errs by a quarter of it where the density is smooth, half at a jump. */
static void rate(const grid *self, cell *c) {
  double v[POINTS], by_axis[2] = {0.0, 0.0};
  for (int p = 0; p < POINTS; p++) {
    v[p] = exp(c->log_value[p] - self->reference);
  }
  double area = c->high[0] - c->low[0];
  if (self->d == 1) {
    c->error = 0.5 * area * fabs(v[3] - 0.5 * (v[0] + v[6]));
    c->axis = 0;
    return;
  }
  area *= c->high[1] - c->low[1];
  for (int k = 0; k < 3; k++) {
    double share = k == 1 ? 0.5 : 0.25;
    by_axis[0] += share * fabs(v[3 + k] - 0.5 * (v[k] + v[6 + k]));
    by_axis[1] += share * fabs(v[3 * k + 1] - 0.5 * (v[3 * k] + v[3 * k + 2]));
  }
  c->axis = by_axis[1] > by_axis[0] ? 1 : 0;
  c->error = 0.5 * area * (by_axis[0] + by_axis[1]);
}

static double mass(const grid *self, const cell *c) {
  static const double weight[3] = {0.25, 0.5, 0.25};
  double sum = 0.0, area = c->high[0] - c->low[0];
  for (int i = 0; i < 3; i++) {
    for (int j = 0; j < 3; j++) {
      if (self->d == 1 && j > 0) {
        continue;
      }
      sum += weight[i] * (self->d == 1 ? 1.0 : weight[j]) * exp(c->log_value[3 * i + j] - self->reference);
    }
  }
  return sum * area * (self->d == 1 ? 1.0 : c->high[1] - c->low[1]);
}

static void heap_push(grid *self, const cell *c) {
  size_t i = self->n++;
  while (i > 0 && self->cell[(i - 1) / 2].error < c->error) {
    self->cell[i] = self->cell[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  self->cell[i] = *c;
}

static void heap_sink(grid *self, size_t i, cell c) {
  for (size_t child; (child = 2 * i + 1) < self->n; i = child) {
    child += child + 1 < self->n && self->cell[child + 1].error > self->cell[child].error;
    if (self->cell[child].error <= c.error) {
      break;
    }
    self->cell[i] = self->cell[child];
  }
  self->cell[i] = c;
}

static cell heap_pop(grid *self) {
  cell top = self->cell[0], last = self->cell[--self->n];
  heap_sink(self, 0, last);
  return top;
}

/* ---- evaluation ---- */

/* Evaluates the points of count <= 2 * ROUND cells that are still NaN. x, value: room for all of them. */
static poe_status complete(grid *self, poei_evaluator *evaluator, cell *cells, size_t count, double *x, double *value,
                           poe_error *error) {
  size_t n = 0, d = self->d;
  for (size_t c = 0; c < count; c++) {
    for (int p = 0; p < POINTS; p += d == 1 ? 3 : 1) {
      if (isnan(cells[c].log_value[p])) {
        x[n * d] = poei_axis_x(axis_of(self, &cells[c], 0), side_point(self, &cells[c], 0, p / 3));
        if (d == 2) {
          x[n * d + 1] = poei_axis_x(axis_of(self, &cells[c], 1), side_point(self, &cells[c], 1, p % 3));
        }
        n++;
      }
    }
  }
  poe_status status = poei_evaluator_run(evaluator, n, x, value, error);
  n = 0;
  for (size_t c = 0; c < count && status == POE_OK; c++) {
    for (int p = 0; p < POINTS && status == POE_OK; p += d == 1 ? 3 : 1) {
      if (!isnan(cells[c].log_value[p])) {
        continue;
      }
      double slope = poei_axis_log_slope(axis_of(self, &cells[c], 0), side_point(self, &cells[c], 0, p / 3));
      if (d == 2) {
        slope += poei_axis_log_slope(axis_of(self, &cells[c], 1), side_point(self, &cells[c], 1, p % 3));
      }
      double found = value[n++] + slope;
      if (isnan(found) || found == INFINITY) {
        return poe_error_set(error, POE_E_NUMERIC, "the log-density is %g on the grid", found);
      }
      cells[c].log_value[p] = found;
      self->reference = fmax(self->reference, found);
    }
  }
  return status;
}

/* Halves `parent`; what it knows is passed on, the rest is NaN. */
static void halve(const cell *parent, cell *halves) {
  unsigned a = parent->axis;
  int along = a == 0 ? 3 : 1, across = a == 0 ? 1 : 3;
  for (int side = 0; side < 2; side++) {
    cell *half = &halves[side];
    *half = *parent;
    double middle = 0.5 * (parent->low[a] + parent->high[a]);
    half->low[a] = side == 0 ? parent->low[a] : middle;
    half->high[a] = side == 0 ? middle : parent->high[a];
    for (int k = 0; k < 3; k++) {
      half->log_value[k * across] = parent->log_value[side * along + k * across];
      half->log_value[2 * along + k * across] = parent->log_value[(side + 1) * along + k * across];
      half->log_value[along + k * across] = NAN;
    }
  }
}

/* Errors were rated at an older reference: rates all again and restores the heap. */
static void rescale(grid *self) {
  for (size_t i = 0; i < self->n; i++) {
    rate(self, &self->cell[i]);
  }
  for (size_t i = self->n / 2; i-- > 0;) {
    heap_sink(self, i, self->cell[i]);
  }
}

static poe_status reserve(grid *self, size_t more, poe_error *error) {
  if (self->n + more <= self->capacity) {
    return POE_OK;
  }
  size_t capacity = 2 * self->capacity + more;
  cell *wide = poei_realloc(self->cell, capacity, sizeof *wide);
  if (wide == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  self->cell = wide;
  self->capacity = capacity;
  return POE_OK;
}

/* The first cells of a piece. */
static poe_status first_cells(grid *self, unsigned which, size_t side, poei_evaluator *evaluator, double *x,
                              double *value, poe_error *error) {
  const poei_piece *piece = &self->pieces.item[which];
  size_t cells = self->d == 1 ? side : side * side;
  poe_status status = reserve(self, cells, error);
  cell batch[ROUND];
  for (size_t first = 0; first < cells && status == POE_OK; first += ROUND) {
    size_t count = cells - first < ROUND ? cells - first : ROUND;
    for (size_t k = 0; k < count; k++) {
      batch[k] = (cell){.high = {1.0, 1.0}, .piece = which};
      poei_piece_cell(self->d, piece, side, first + k, batch[k].low, batch[k].high);
      for (int p = 0; p < POINTS; p++) {
        batch[k].log_value[p] = self->d == 1 && p % 3 != 0 ? 0.0 : NAN;
      }
    }
    status = complete(self, evaluator, batch, count, x, value, error);
    if (status == POE_OK) {
      memcpy(&self->cell[self->n], batch, count * sizeof *batch);
      self->n += count;
    }
  }
  return status;
}

/* Halves the cells of a piece around a spot until they are narrow enough for it. */
static poe_status seek(grid *self, unsigned which, const poei_spot *spot, poei_evaluator *evaluator, double *x,
                       double *value, poe_error *error) {
  const poei_piece *piece = &self->pieces.item[which];
  size_t d = self->d, most = d == 1 ? MOST_CELLS_1D / 2 : MOST_CELLS_2D / 2;
  double low[2], high[2];
  if (!poei_piece_window(d, piece, spot, low, high)) {
    return POE_OK;
  }
  for (size_t i = 0; i < self->n; i++) { /* the second halves come after all others */
    while (self->n < most && self->cell[i].piece == which &&
           poei_piece_too_wide(d, piece, self->cell[i].low, self->cell[i].high, low, high, spot, seen,
                               &self->cell[i].axis)) {
      cell halves[2];
      halve(&self->cell[i], halves);
      poe_status status = reserve(self, 1, error);
      if (status == POE_OK) {
        status = complete(self, evaluator, halves, 2, x, value, error);
      }
      if (status != POE_OK) {
        return status;
      }
      self->cell[i] = halves[0];
      self->cell[self->n++] = halves[1];
    }
  }
  return POE_OK;
}

static poe_status first_grid(grid *self, const poei_spots *spots, poei_evaluator *evaluator, double *x, double *value,
                             poe_error *error) {
  bool one = self->pieces.n == 1;
  size_t side = self->d == 1 ? (one ? SIDE_1D : SIDE_1D_PIECE) : (one ? SIDE_2D : SIDE_2D_PIECE);
  poe_status status = POE_OK;
  for (unsigned i = 0; i < self->pieces.n && status == POE_OK; i++) {
    status = first_cells(self, i, side, evaluator, x, value, error);
    for (size_t k = 0; k < spots->n && status == POE_OK; k++) {
      status = seek(self, i, &spots->item[k], evaluator, x, value, error);
    }
  }
  return status;
}

/* Halves the worst cells until the sum of the errors is below the tolerance; false when there would be too many. */
static poe_status refine(grid *self, poei_evaluator *evaluator, double *x, double *value, bool *reached,
                         poe_error *error) {
  double tolerance = self->d == 1 ? tolerance_1d : tolerance_2d;
  size_t most = self->d == 1 ? MOST_CELLS_1D : MOST_CELLS_2D, next_sum = 0;
  *reached = false;
  cell halves[2 * ROUND];
  while (self->n < most) {
    if (self->n >= next_sum) { /* summing is as much work as a round; do it every few percent of growth */
      double error_sum = 0.0, total = 0.0;
      for (size_t i = 0; i < self->n; i++) {
        error_sum += self->cell[i].error;
        total += mass(self, &self->cell[i]);
      }
      if (error_sum <= tolerance * total) {
        *reached = total > 0.0;
        return POE_OK;
      }
      next_sum = self->n + self->n / 16;
    }
    poe_status status = reserve(self, 2 * ROUND, error);
    size_t count = self->n < ROUND ? self->n : ROUND;
    double before = self->reference;
    for (size_t k = 0; k < count && status == POE_OK; k++) {
      cell parent = heap_pop(self);
      halve(&parent, &halves[2 * k]);
    }
    if (status == POE_OK) {
      status = complete(self, evaluator, halves, 2 * count, x, value, error);
    }
    if (status != POE_OK) {
      return status;
    }
    for (size_t k = 0; k < 2 * count; k++) {
      rate(self, &halves[k]);
      heap_push(self, &halves[k]);
    }
    if (self->reference > before + 1.0) { /* a peak came up: what was rated before counts less now */
      rescale(self);
      next_sum = 0;
    }
  }
  return POE_OK;
}

/* ---- draws ---- */

/* Inverse CDF of the density that is linear from a to b over [0, 1]. */
static double invert_linear(double a, double b, double u) {
  double root = sqrt(a * a + (b * b - a * a) * u);
  return a + root > 0.0 ? fmin((a + b) * u / (a + root), 1.0) : u;
}

/* The piece, 0 or 1, of two with weights a and b; *u becomes a fresh uniform number. */
static int choose(double a, double b, double *u) {
  double split = a + b > 0.0 ? a / (a + b) : 0.5;
  if (*u < split) {
    *u = *u / split;
    return 0;
  }
  *u = split < 1.0 ? (*u - split) / (1.0 - split) : 0.0;
  return 1;
}

static void draw_in_cell(const grid *self, const cell *c, double u, double w, double *t) {
  double v[POINTS];
  double width = c->high[0] - c->low[0];
  for (int p = 0; p < POINTS; p++) {
    v[p] = exp(c->log_value[p] - self->reference);
  }
  if (self->d == 1) {
    int half = choose(v[0] + v[3], v[3] + v[6], &u);
    t[0] = c->low[0] + 0.5 * width * ((double)half + invert_linear(v[3 * half], v[3 * half + 3], u));
    return;
  }
  double m[3]; /* the marginal at the three columns of the first coordinate */
  for (int i = 0; i < 3; i++) {
    m[i] = 0.25 * v[3 * i] + 0.5 * v[3 * i + 1] + 0.25 * v[3 * i + 2];
  }
  int half = choose(m[0] + m[1], m[1] + m[2], &u);
  double s = invert_linear(m[half], m[half + 1], u), row[3];
  for (int j = 0; j < 3; j++) {
    row[j] = (1.0 - s) * v[3 * half + j] + s * v[3 * half + 3 + j];
  }
  int part = choose(row[0] + row[1], row[1] + row[2], &w);
  t[0] = c->low[0] + 0.5 * width * ((double)half + s);
  t[1] = c->low[1] + 0.5 * (c->high[1] - c->low[1]) * ((double)part + invert_linear(row[part], row[part + 1], w));
}

static poe_status grid_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                              poe_error *error) {
  (void)scratch;
  (void)error;
  const grid *self = state;
  for (size_t i = 0; i < rows.n; i++) {
    poe_stream stream = poe_stream_open(at[i]);
    double u = poe_stream_uniform(&stream) * self->cumulative[self->n - 1], t[2];
    size_t low = 0, high = self->n - 1;
    while (low < high) {
      size_t middle = low + (high - low) / 2;
      if (self->cumulative[middle] > u) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    double first = poe_stream_uniform(&stream), second = poe_stream_uniform(&stream);
    draw_in_cell(self, &self->cell[low], first, second, t);
    for (size_t j = 0; j < self->d; j++) {
      rows.x[i * rows.ld + j] = poei_axis_x(axis_of(self, &self->cell[low], (unsigned)j), t[j]);
    }
  }
  return POE_OK;
}

/* ---- the expert ---- */

static void grid_destroy(void *state) {
  grid *self = state;
  poe_expert_release(self->target);
  poei_pieces_free(&self->pieces);
  poei_free(self->cell);
  poei_free(self->cumulative);
  poei_free(self);
}

static void grid_traits(const void *state, poe_traits *traits) {
  *traits = *poe_expert_traits(((const grid *)state)->target);
  traits->capabilities &= POE_CAN_EVAL | POE_CAN_GRADIENT;
  traits->capabilities |= POE_CAN_SAMPLE;
}

static size_t grid_scratch(const void *state, unsigned want, size_t n) {
  const grid *self = state;
  return (want & POE_WANT_SAMPLE) != 0 ? 0 : poe_expert_scratch(self->target, want, n);
}

static poe_status grid_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                poe_scratch *scratch, poe_error *error) {
  return poe_expert_eval_add(((const grid *)state)->target, rows, weights, out, scratch, error);
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops grid_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "grid",
    .doc = "a density of one or two coordinates with an adaptive grid for draws",
    .params = no_params,
    .create = poei_node_create,
    .destroy = grid_destroy,
    .traits = grid_traits,
    .scratch = grid_scratch,
    .eval_add = grid_eval_add,
    .sample = grid_sample,
};

static poe_status build(grid *self, const poei_spots *spots, bool *reached, poe_error *error) {
  size_t room = 2 * ROUND * POINTS;
  double *x = poei_alloc(room * 2, sizeof *x), *value = poei_alloc(room, sizeof *value);
  poei_evaluator evaluator = {0};
  poe_status status = x == NULL || value == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                                 : poei_evaluator_open(self->target, &evaluator, error);
  evaluator.stop = spots->stop;
  if (status == POE_OK) {
    status = first_grid(self, spots, &evaluator, x, value, error);
  }
  if (status == POE_OK && self->reference > -INFINITY) {
    rescale(self);
    status = refine(self, &evaluator, x, value, reached, error);
  }
  poei_evaluator_close(&evaluator);
  poei_free(x);
  poei_free(value);
  if (status == POE_OK && *reached) {
    self->cumulative = poei_alloc(self->n, sizeof *self->cumulative);
    status = self->cumulative == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory") : POE_OK;
  }
  double total = 0.0;
  for (size_t i = 0; status == POE_OK && *reached && i < self->n; i++) {
    total += mass(self, &self->cell[i]);
    self->cumulative[i] = total;
  }
  return status;
}

poe_status poei_grid_create(const poe_expert *target, const poei_spots *spots, double log_z, double log_z_bound,
                            poe_expert **out, poe_error *error) {
  const poe_traits *traits = poe_expert_traits(target);
  grid *self = poei_calloc(1, sizeof *self);
  if (self == NULL) {
    return poe_error_set(error, POE_E_MEMORY, "out of memory");
  }
  double low[2], high[2];
  bool reached = false;
  self->target = poe_expert_retain(target);
  self->d = traits->dim;
  self->reference = -INFINITY;
  for (size_t j = 0; j < self->d; j++) {
    low[j] = traits->support[j].low;
    high[j] = traits->support[j].high;
  }
  poe_status status = poei_pieces_make(self->d, low, high, spots->n, spots->item, &self->pieces, error);
  if (status == POE_OK) {
    status = build(self, spots, &reached, error);
  }
  if (status == POE_OK && reached) { /* two methods that disagree are not to be trusted */
    double own = log(self->cumulative[self->n - 1]) + self->reference;
    reached = fabs(own - log_z) <= 1e-3 + log_z_bound;
  }
  if (status != POE_OK || !reached) {
    grid_destroy(self);
    return status == POE_E_NUMERIC ? POE_OK : status;
  }
  return poei_node_wrap(&grid_ops, self, out, error);
}
