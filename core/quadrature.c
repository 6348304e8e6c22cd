/* Adaptive quadrature in log space, one and two dimensions (quadrature.h).
 *
 * Cells (intervals or rectangles) are kept in a heap by their error; the worst are halved until the sum of the errors
 * is small against the sum of the values (cells: quadrature_rule.c). Everything is kept in logarithms, so a peak
 * narrower than the grid is found by its slopes. Where the caller knows of mass, the box is cut into pieces with
 * coordinates that resolve it (quadrature_pieces.c), and cells around each spot are halved down to its scale before
 * their errors have a say: a peak between the points of a wide cell has no error there.
 *
 * The error of a half is at least what the two halves together moved the value: at a jump or a kink the two rules of
 * one cell can agree by accident, but hardly at two sizes. A cell too narrow to be halved has all its value as error.
 * When nothing but -inf was seen the integral is reported as exp(-inf) with an infinite error: quadrature cannot prove
 * that a support is empty.
 *
 * Invariant: the cells of the heap and the settled ones cover the box exactly once. */
#include "core/quadrature.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/numerics.h"
#include "core/quadrature_pieces.h"

enum {
  BATCH = 16,               /* cells per call of the integrand               */
  MOST_POINTS_1D = 300000,  /* evaluations after which it gives up, d = 1    */
  MOST_POINTS_2D = 6000000, /* d = 2                                         */
  SCAN_1D = 64,             /* cells of the first grid                       */
  SCAN_1D_HINTED = 32,      /* of a piece, when there are spots             */
  SCAN_2D = 16,             /* per coordinate                                */
  SCAN_2D_HINTED = 8,       /* per coordinate, of a piece                    */
  SCAN_2D_PIECE = 4,        /* the same when there are many                  */
  MANY_PIECES = 4,
  SAFETY = 4 /* on the sum of the errors: the worst of 1650
                placements of a kink had 3.3 times the sum    */
};
static const double seen = 8.0; /* scales: a cell this wide has points enough in a peak of that scale */

typedef struct quadrature {
  poei_log_integrand f;
  void *context;
  poe_error *error;
  size_t d, points; /* coordinates, points per cell */
  poei_pieces pieces;
  size_t evaluations;
  poei_cell *heap; /* [capacity], live [count]; largest error first */
  size_t count, capacity;
  double settled_value, settled_error; /* logs; cells too narrow to halve */
  double *x;                           /* [BATCH, points, d]              */
  double *log_value;                   /* [BATCH, points]                 */
  double *value;                       /* [BATCH, points]                 */
} quadrature;

/* ---- the heap of cells ---- */

static void heap_push(quadrature *q, const poei_cell *c) {
  size_t i = q->count++;
  while (i > 0 && q->heap[(i - 1) / 2].log_error < c->log_error) {
    q->heap[i] = q->heap[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  q->heap[i] = *c;
}

/* Takes out cell i. */
static poei_cell heap_take(quadrature *q, size_t i) {
  poei_cell taken = q->heap[i], last = q->heap[--q->count];
  if (i == q->count) {
    return taken;
  }
  for (; i > 0 && q->heap[(i - 1) / 2].log_error < last.log_error; i = (i - 1) / 2) {
    q->heap[i] = q->heap[(i - 1) / 2];
  }
  for (size_t child; (child = 2 * i + 1) < q->count; i = child) {
    if (child + 1 < q->count && q->heap[child + 1].log_error > q->heap[child].log_error) {
      child++;
    }
    if (q->heap[child].log_error <= last.log_error) {
      break;
    }
    q->heap[i] = q->heap[child];
  }
  q->heap[i] = last;
  return taken;
}

static poe_status heap_reserve(quadrature *q, size_t more) {
  if (q->count + more <= q->capacity) {
    return POE_OK;
  }
  size_t capacity = 2 * q->capacity + more;
  poei_cell *heap = poei_realloc(q->heap, capacity, sizeof *heap);
  if (heap == NULL) {
    return poe_error_set(q->error, POE_E_MEMORY, "out of memory");
  }
  q->heap = heap;
  q->capacity = capacity;
  return POE_OK;
}

/* ---- evaluation ---- */

/* Evaluates the integrand over n <= BATCH cells. */
static poe_status evaluate(quadrature *q, poei_cell *cells, size_t n) {
  size_t total = n * q->points;
  for (size_t i = 0; i < n; i++) {
    poei_cell_points(q->d, q->pieces.item[cells[i].piece].axis, &cells[i], q->x + i * q->points * q->d,
                     q->value + i * q->points);
  }
  poe_status status = q->f(q->context, total, q->d, q->x, q->log_value, q->error);
  if (status != POE_OK) {
    return status;
  }
  q->evaluations += total;
  for (size_t i = 0; i < total; i++) {
    if (isnan(q->log_value[i]) || q->log_value[i] == INFINITY) {
      return poe_error_set(q->error, POE_E_NUMERIC, "the integrand's logarithm is %g at (%.9g%s%.9g)", q->log_value[i],
                           q->x[i * q->d], q->d == 2 ? ", " : ") = (", q->x[i * q->d + q->d - 1]);
    }
    q->log_value[i] += q->value[i]; /* the logs of the slopes */
  }
  for (size_t i = 0; i < n; i++) {
    poei_cell_rule(q->d, q->pieces.item[cells[i].piece].axis, &cells[i], q->log_value + i * q->points,
                   q->value + i * q->points);
  }
  return POE_OK;
}

/* ---- the search ---- */

/* The first grid of a piece: `side` cells per coordinate, all pushed. */
static poe_status scan(quadrature *q, unsigned which, size_t side) {
  const poei_piece *piece = &q->pieces.item[which];
  size_t cells = q->d == 1 ? side : side * side;
  poe_status status = heap_reserve(q, cells);
  poei_cell batch[BATCH];
  for (size_t start = 0; status == POE_OK && start < cells; start += BATCH) {
    size_t n = cells - start < BATCH ? cells - start : BATCH;
    for (size_t i = 0; i < n; i++) {
      batch[i] = (poei_cell){.piece = which};
      poei_piece_cell(q->d, piece, side, start + i, batch[i].low, batch[i].high);
    }
    status = evaluate(q, batch, n);
    for (size_t i = 0; status == POE_OK && i < n; i++) {
      heap_push(q, &batch[i]);
    }
  }
  return status;
}

/* Chooses a side that can be halved in floating point; false when none can. */
static bool cell_halvable(const quadrature *q, poei_cell *c) {
  for (size_t attempt = 0; attempt < q->d; attempt++) {
    double low = c->low[c->axis], high = c->high[c->axis];
    if (high - low > 256.0 * DBL_EPSILON * fmax(fabs(low), fabs(high)) && high - low > 1e-290) {
      return true;
    }
    c->axis = (unsigned)q->d - 1 - c->axis;
  }
  return false;
}

/* Halves n <= BATCH / 2 cells and pushes the halves. */
static poe_status halve(quadrature *q, poei_cell *parents, size_t n) {
  poei_cell halves[BATCH];
  for (size_t i = 0; i < n; i++) {
    unsigned axis = parents[i].axis;
    double middle = 0.5 * (parents[i].low[axis] + parents[i].high[axis]);
    halves[2 * i] = halves[2 * i + 1] = parents[i];
    halves[2 * i].high[axis] = halves[2 * i + 1].low[axis] = middle;
  }
  poe_status status = heap_reserve(q, 2 * n);
  if (status == POE_OK) {
    status = evaluate(q, halves, 2 * n);
  }
  for (size_t i = 0; status == POE_OK && i < n; i++) {
    poei_cell *a = &halves[2 * i], *b = &halves[2 * i + 1];
    double sum = poei_log_add(a->log_value, b->log_value), before = parents[i].log_value;
    double moved = before > sum ? poei_log_sub(before, sum) : poei_log_sub(sum, before);
    a->log_error = fmax(a->log_error, moved);
    b->log_error = fmax(b->log_error, moved);
    heap_push(q, a);
    heap_push(q, b);
  }
  return status;
}

/* Halves the cells of a piece around a spot until they are narrow enough for it. Taking cells out reorders the heap, so
 * it is gone through until there is nothing left to do. */
static poe_status seek(quadrature *q, unsigned which, const poei_spot *spot, size_t most) {
  const poei_piece *piece = &q->pieces.item[which];
  double low[2], high[2];
  if (!poei_piece_window(q->d, piece, spot, low, high)) {
    return POE_OK;
  }
  for (bool found = true; found;) {
    found = false;
    for (size_t i = 0; i < q->count && q->evaluations < most; i++) {
      poei_cell parent = q->heap[i];
      if (parent.piece != which ||
          !poei_piece_too_wide(q->d, piece, parent.low, parent.high, low, high, spot, seen, &parent.axis) ||
          !cell_halvable(q, &parent)) {
        continue;
      }
      heap_take(q, i);
      poe_status status = halve(q, &parent, 1);
      if (status != POE_OK) {
        return status;
      }
      found = true;
    }
  }
  return POE_OK;
}

/* Logs of the sums over all cells, and the bound on the error of the first. */
static void totals(const quadrature *q, double *log_integral, double *bound) {
  double high = q->settled_value;
  for (size_t i = 0; i < q->count; i++) {
    high = fmax(high, q->heap[i].log_value);
  }
  *log_integral = high;
  *bound = INFINITY;
  if (high == -INFINITY) {
    return;
  }
  double value = exp(q->settled_value - high), error = exp(q->settled_error - high);
  for (size_t i = 0; i < q->count; i++) {
    value += exp(q->heap[i].log_value - high);
    error += exp(q->heap[i].log_error - high);
  }
  error *= SAFETY;
  *log_integral = high + log(value);
  *bound = error < value ? -log1p(-error / value) : INFINITY;
}

static poe_status refine(quadrature *q, double tolerance, size_t most, poei_quadrature_result *result) {
  for (;;) {
    totals(q, &result->log_integral, &result->error_bound);
    result->evaluations = q->evaluations;
    result->converged = result->error_bound <= tolerance;
    if (result->converged || q->evaluations >= most || q->count == 0 || q->heap[0].log_error == -INFINITY) {
      return POE_OK;
    }
    /* A round halves the worst cells, several batches of them when there are many, so that summing stays cheap. */
    double least = q->heap[0].log_error - POEI_LOG_2 * 3.0;
    for (size_t batches = 1 + q->count / 256; batches > 0; batches--) {
      poei_cell parents[BATCH / 2];
      size_t n = 0;
      while (n < BATCH / 2 && q->count > 0 && q->heap[0].log_error >= least) {
        parents[n] = heap_take(q, 0);
        if (cell_halvable(q, &parents[n])) {
          n++;
        } else { /* as narrow as doubles go: nothing is known about it but its size */
          q->settled_value = poei_log_add(q->settled_value, parents[n].log_value);
          q->settled_error = poei_log_add(q->settled_error, fmax(parents[n].log_seen, parents[n].log_value));
        }
      }
      if (n == 0) {
        break;
      }
      poe_status status = halve(q, parents, n);
      if (status != POE_OK) {
        return status;
      }
    }
  }
}

static poe_status integrate(quadrature *q, size_t n, const poei_spot *spots, double tolerance,
                            poei_quadrature_result *result) {
  size_t d = q->d, side = d == 1 ? SCAN_1D : SCAN_2D, most = d == 1 ? MOST_POINTS_1D : MOST_POINTS_2D;
  if (n > 0) {
    side = d == 1 ? SCAN_1D_HINTED : q->pieces.n > MANY_PIECES ? SCAN_2D_PIECE : SCAN_2D_HINTED;
  }
  poe_status status = POE_OK;
  for (unsigned i = 0; i < q->pieces.n && status == POE_OK; i++) {
    status = scan(q, i, side);
    for (size_t k = 0; k < n && status == POE_OK; k++) {
      status = seek(q, i, &spots[k], most);
    }
  }
  poei_quadrature_result found = {.log_integral = -INFINITY, .error_bound = INFINITY};
  if (status == POE_OK) {
    status = refine(q, fmax(tolerance, 64.0 * DBL_EPSILON), most, &found);
  }
  if (status == POE_OK) {
    *result = found;
  }
  return status;
}

poe_status poei_quadrature_around(poei_log_integrand f, void *context, size_t d, const double *low, const double *high,
                                  size_t n, const poei_spot *spots, double tolerance, poei_quadrature_result *result,
                                  poe_error *error) {
  if (d != 1 && d != 2) {
    return poe_error_set(error, POE_E_SHAPE, "quadrature is for 1 or 2 dimensions, not %zu", d);
  }
  for (size_t i = 0; i < d; i++) {
    if (!(low[i] < high[i])) {
      return poe_error_set(error, POE_E_DOMAIN, "the interval [%g, %g] of coordinate %zu is empty", low[i], high[i], i);
    }
  }
  quadrature q = {.f = f,
                  .context = context,
                  .error = error,
                  .d = d,
                  .points = poei_cell_size(d),
                  .settled_value = -INFINITY,
                  .settled_error = -INFINITY};
  poe_status status = poei_pieces_make(d, low, high, n, spots, &q.pieces, error);
  if (status != POE_OK) {
    return status;
  }
  q.x = poei_alloc(BATCH * q.points * d, sizeof *q.x);
  q.log_value = poei_alloc(BATCH * q.points, sizeof *q.log_value);
  q.value = poei_alloc(BATCH * q.points, sizeof *q.value);
  if (q.x == NULL || q.log_value == NULL || q.value == NULL) {
    status = poe_error_set(error, POE_E_MEMORY, "out of memory");
  } else {
    status = integrate(&q, n, spots, tolerance, result);
  }
  poei_pieces_free(&q.pieces);
  poei_free(q.heap);
  poei_free(q.value);
  poei_free(q.log_value);
  poei_free(q.x);
  return status;
}

poe_status poei_quadrature(poei_log_integrand f, void *context, size_t d, const double *low, const double *high,
                           const double *scale_hint, double tolerance, poei_quadrature_result *result,
                           poe_error *error) {
  poei_spot spot = {.scale = {NAN, NAN}};
  for (size_t i = 0; scale_hint != NULL && i < d && i < 2; i++) {
    bool usable = isfinite(scale_hint[2 * i]) && isfinite(scale_hint[2 * i + 1]) && scale_hint[2 * i + 1] > 0.0;
    spot.at[i] = usable ? scale_hint[2 * i] : 0.0;
    spot.scale[i] = usable ? scale_hint[2 * i + 1] : NAN;
  }
  return poei_quadrature_around(f, context, d, low, high, scale_hint == NULL ? 0 : 1, &spot, tolerance, result, error);
}
