/* The integral over one latent coordinate of a row (marginal.h), adaptive quadrature in log space, and its gradient:
 *
 *   v(x) = (1/beta) log int exp(beta f(x, h)) dh,    dv/dx = int df/dx exp(beta f) dh / int exp(beta f) dh
 *
 * In the unconstrained u the line is cut at the peaks and at 2, 4, 7 and 12 scales to either side, and beyond the
 * outermost in coordinates that take infinity in; every cell has the Gauss-Kronrod value and the error of
 * core/quadrature_rule.c, and the worst are halved until the sum of the errors is below 1e-9 of the integral, or no
 * cell can be improved: where the log-density is rounded (single precision networks, large numbers) the halves of a
 * cell err as much as it does, and it is left. A row whose error is then above 1e-4 is NaN: its integral was not found,
 * or diverges. The gradient is summed over the nodes of the final cells.
 *
 * Near a finite end of the support, where doubles no longer tell h from the end, the line stops; what is cut off is
 * estimated from the slope there and counts as an error.
 */
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "compose/nodes/marginal.h"
#include "core/numerics.h"
#include "core/quadrature_rule.h"

enum { CELLS = 400, HALVED = 8, MARKS = 9, SAFETY = 4, PATIENCE = 8 };
static const double wanted = 1e-9, worst = 1e-4; /* relative error of an integral: aimed at, accepted   */
static const double negligible = 50.0;           /* nats of height times width under the best peak      */
static const double no_mass = 45.0;              /* nats: cells that do not count in a gradient         */
static const double better = 0.7;                /* that the error must fall to in PATIENCE rounds           */

typedef struct latent_cell {
  poei_cell cell;
  bool settled; /* too narrow to be halved */
} latent_cell;

typedef struct integral {
  poei_line *line;
  poei_axis axis[3]; /* the middle, and the two ends */
  size_t n;
  latent_cell *cell; /* [CELLS] */
  double *u, *g;     /* [POEI_LINE_ROWS] */
  double *slope;     /* [POEI_LINE_ROWS] */
  double cut;        /* log of what lies beyond the ends */
} integral;

size_t poei_marginal_integral_scratch(const poei_marginal *self, unsigned want) {
  return poei_line_scratch(self, want) + 3 * poe_scratch_need(POEI_LINE_ROWS, sizeof(double)) +
         poe_scratch_need(CELLS, sizeof(latent_cell)) + poe_scratch_need(self->wide, sizeof(double));
}

/* ---- cells ---- */

/* Evaluates n <= 2 HALVED cells. */
static poe_status evaluate(integral *q, size_t n, poei_cell *cells) {
  for (size_t i = 0; i < n; i++) {
    poei_cell_points(1, &q->axis[cells[i].piece], &cells[i], &q->u[i * POEI_LINE], &q->slope[i * POEI_LINE]);
  }
  poe_status status = poei_line_values(q->line, n * POEI_LINE, q->u, q->g);
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    double *g = &q->g[i * POEI_LINE], *slope = &q->slope[i * POEI_LINE];
    bool odd = false; /* NaN: no matter where there is no mass, else the cell is all error */
    for (size_t k = 0; k < POEI_LINE; k++) {
      odd = odd || isnan(g[k]);
      g[k] = isnan(g[k]) ? -INFINITY : g[k] + slope[k];
    }
    poei_cell_rule(1, &q->axis[cells[i].piece], &cells[i], g, slope);
    cells[i].log_error = odd ? fmax(cells[i].log_error, cells[i].log_value) : cells[i].log_error;
  }
  return status;
}

static poe_status first_cells(integral *q, size_t n, poei_cell *cells) {
  poe_status status = POE_OK;
  for (size_t first = 0; first < n && status == POE_OK; first += 2 * HALVED) {
    size_t count = n - first < 2 * HALVED ? n - first : 2 * HALVED;
    status = evaluate(q, count, &cells[first]);
    for (size_t i = 0; i < count; i++) {
      q->cell[q->n++] = (latent_cell){cells[first + i], false};
    }
  }
  return status;
}

/* log of the integral so far, and the bound on its relative error. */
static double total(const integral *q, double *bound) {
  double top = -INFINITY, value = 0.0, error = 0.0;
  for (size_t i = 0; i < q->n; i++) {
    top = fmax(top, q->cell[i].cell.log_value);
  }
  *bound = INFINITY;
  if (top == -INFINITY) {
    return top;
  }
  for (size_t i = 0; i < q->n; i++) {
    value += exp(q->cell[i].cell.log_value - top);
    error += exp(q->cell[i].cell.log_error - top);
  }
  *bound = (SAFETY * error + exp(q->cut - top)) / value;
  return top + log(value);
}

static bool is_halvable(const poei_cell *c) {
  double width = c->high[0] - c->low[0];
  return width > 256.0 * DBL_EPSILON * fmax(fabs(c->low[0]), fabs(c->high[0])) && width > 1e-290;
}

/* Takes in the halves of cell i. */
static void replace(integral *q, size_t i, poei_cell *a, poei_cell *b) {
  poei_cell *parent = &q->cell[i].cell;
  double sum = poei_log_add(a->log_value, b->log_value), before = parent->log_value;
  double moved = before > sum ? poei_log_sub(before, sum) : poei_log_sub(sum, before);
  a->log_error = fmax(a->log_error, moved);
  b->log_error = fmax(b->log_error, moved);
  q->cell[i] = (latent_cell){*a, false};
  q->cell[q->n++] = (latent_cell){*b, false};
}

/* Halves the worst cells until the error is small; *log_integral, *bound. */
static poe_status refine(integral *q, double *log_integral, double *bound) {
  double before = INFINITY, most;
  for (int round = 0, last = 0;; round++) {
    *log_integral = total(q, bound);
    most = -INFINITY;
    if (*bound < better * before) {
      before = *bound;
      last = round;
    }
    for (size_t i = 0; i < q->n; i++) {
      most = q->cell[i].settled ? most : fmax(most, q->cell[i].cell.log_error);
    }
    bool vain = round - last >= PATIENCE && *bound <= worst; /* the rest is rounding */
    if (*bound <= wanted || vain || most == -INFINITY || q->n + HALVED > CELLS) {
      return POE_OK;
    }
    poei_cell halves[2 * HALVED];
    size_t whose[HALVED], n = 0;
    for (size_t i = 0; i < q->n && n < HALVED; i++) {
      latent_cell *c = &q->cell[i];
      if (c->settled || c->cell.log_error < most - 3.0 * POEI_LOG_2) {
        continue;
      }
      c->settled = !is_halvable(&c->cell);
      if (c->settled) { /* nothing is known about it but its size */
        c->cell.log_error = fmax(c->cell.log_seen, c->cell.log_value);
        continue;
      }
      halves[2 * n] = halves[2 * n + 1] = c->cell;
      halves[2 * n].high[0] = halves[2 * n + 1].low[0] = 0.5 * (c->cell.low[0] + c->cell.high[0]);
      whose[n++] = i;
    }
    poe_status status = n == 0 ? POE_OK : evaluate(q, 2 * n, halves);
    if (status != POE_OK) {
      return status;
    }
    for (size_t k = 0; k < n; k++) {
      replace(q, whose[k], &halves[2 * k], &halves[2 * k + 1]);
    }
  }
}

/* ---- the cuts ---- */

typedef struct mark {
  double u, scale;
} mark;

static int by_place(const void *a, const void *b) {
  double x = ((const mark *)a)->u, y = ((const mark *)b)->u;
  return (x > y) - (x < y);
}

/* Where the line is cut: marks[*n], ascending, from the peaks that count. */
static void set_marks(const poei_warp *w, size_t n_modes, const poei_mode *modes, size_t *n, mark *marks) {
  static const double reach[4] = {2.0, 4.0, 7.0, 12.0};
  double best = -INFINITY;
  size_t all = 0;
  for (size_t k = 0; k < n_modes; k++) {
    best = fmax(best, modes[k].gm + log(modes[k].left + modes[k].right));
  }
  for (size_t k = 0; k < n_modes; k++) {
    const poei_mode *mode = &modes[k];
    if (mode->gm + log(mode->left + mode->right) < best - negligible) {
      continue;
    }
    marks[all++] = (mark){mode->m, fmin(mode->left, mode->right)};
    for (size_t r = 0; r < 4; r++) {
      marks[all++] = (mark){mode->m - reach[r] * mode->left, mode->left};
      marks[all++] = (mark){mode->m + reach[r] * mode->right, mode->right};
    }
  }
  qsort(marks, all, sizeof *marks, by_place);
  *n = 0;
  for (size_t k = 0; k < all; k++) {
    bool inside = marks[k].u > w->u_low && marks[k].u < w->u_high && isfinite(marks[k].u);
    if (inside && (*n == 0 || marks[k].u - marks[*n - 1].u > 0.25 * fmin(marks[k].scale, marks[*n - 1].scale))) {
      marks[(*n)++] = marks[k];
    }
  }
}

/* log of what an integrand with values g at the end and g_in a unit inside of it has beyond: +inf where it does not
 * fall. */
static double log_beyond(double g, double g_in) {
  return g == -INFINITY ? g : g_in > g ? g - log(g_in - g) : INFINITY;
}

/* What is cut off at the ends of a half-line or an interval. */
static poe_status measure_cut(integral *q) {
  const poei_warp *w = &q->line->self->warp;
  q->cut = -INFINITY;
  if (isinf(w->u_low) && isinf(w->u_high)) {
    return POE_OK;
  }
  double u[4] = {w->u_low, w->u_low + 1.0, w->u_high, w->u_high - 1.0}, g[4];
  poe_status status = poei_line_search(q->line, 4, u, g);
  if (status == POE_OK) {
    q->cut = poei_log_add(log_beyond(g[0], g[1]), log_beyond(g[2], g[3]));
  }
  return status;
}

/* The cells between the marks, and beyond them. */
static poe_status cut_line(integral *q, size_t n, const mark *marks) {
  const poei_warp *w = &q->line->self->warp;
  poei_cell cells[POEI_LINE_MODES * MARKS + 1];
  double first = marks[0].u, last = marks[n - 1].u;
  double low_hint[2] = {first, 12.0 * marks[0].scale}, high_hint[2] = {last, 12.0 * marks[n - 1].scale};
  q->axis[0] = (poei_axis){.low = -INFINITY, .high = INFINITY, .t_low = -INFINITY, .t_high = INFINITY};
  q->axis[1] = poei_axis_make(w->u_low, w->u_high, low_hint);
  q->axis[2] = poei_axis_make(w->u_low, w->u_high, high_hint);
  for (size_t k = 0; k + 1 < n; k++) {
    cells[k] = (poei_cell){.low = {marks[k].u, 0.0}, .high = {marks[k + 1].u, 1.0}, .piece = 0};
  }
  cells[n - 1] = (poei_cell){.low = {q->axis[1].t_low, 0.0}, .high = {0.0, 1.0}, .piece = 1};
  cells[n] = (poei_cell){.low = {0.0, 0.0}, .high = {q->axis[2].t_high, 1.0}, .piece = 2};
  return first_cells(q, n + 1, cells);
}

/* ---- the gradient ---- */

/* grad[dim] = the mean of df/dx under the normalised integrand, over the nodes of the final cells. */
static poe_status mean_gradient(integral *q, double log_integral, double *grad) {
  poei_line *line = q->line;
  const poei_marginal *self = line->self;
  double sum = 0.0, weight[POEI_LINE];
  memset(grad, 0, (self->wide - 1) * sizeof *grad);
  for (size_t i = 0; i < q->n; i++) {
    const poei_cell *c = &q->cell[i].cell;
    if (c->log_value < log_integral - no_mass) {
      continue;
    }
    poei_cell_points(1, &q->axis[c->piece], c, q->u, q->slope);
    poei_line_weights(c, weight);
    for (size_t k = 0; k < POEI_LINE; k++) {
      q->g[k] = poei_warp_h(&self->warp, q->u[k]);
      q->slope[k] += poei_warp_log_slope(&self->warp, q->u[k]) - log_integral;
    }
    poe_status status = poei_line_at(line, POEI_LINE, q->g, true);
    if (status != POE_OK) {
      return status;
    }
    for (size_t k = 0; k < POEI_LINE; k++) {
      double w = weight[k] == 0.0 || line->value[k] == -INFINITY
                     ? 0.0
                     : weight[k] * exp(self->beta * line->value[k] + q->slope[k]);
      sum += w;
      for (size_t j = 0; w > 0.0 && j + 1 < self->wide; j++) {
        grad[j] += w * line->grad[k * self->wide + self->inner_free[j]];
      }
    }
  }
  for (size_t j = 0; j + 1 < self->wide; j++) {
    grad[j] /= sum;
  }
  return POE_OK;
}

/* ---- a row ---- */

static poe_status integrate(integral *q, double *value, double *grad) {
  const poei_marginal *self = q->line->self;
  poei_mode modes[POEI_LINE_MODES];
  mark marks[POEI_LINE_MODES * MARKS];
  size_t n = 0, cuts = 0;
  double log_integral = -INFINITY, bound = 0.0;
  poe_status status = poei_line_modes(q->line, modes, &n);
  if (status != POE_OK || n == 0 || q->line->bad != 0.0) {
    *value = q->line->bad != 0.0 ? q->line->bad : -INFINITY;
    return status;
  }
  status = poei_line_scales(q->line, n, modes);
  if (status == POE_OK) {
    status = measure_cut(q);
  }
  set_marks(&self->warp, n, modes, &cuts, marks);
  *value = NAN;
  if (status == POE_OK && cuts > 0) {
    status = cut_line(q, cuts, marks);
    status = status == POE_OK ? refine(q, &log_integral, &bound) : status;
    *value = bound <= worst ? log_integral / self->beta : NAN;
  }
  if (q->line->bad != 0.0) {
    *value = q->line->bad;
  }
  return status == POE_OK && grad != NULL && isfinite(*value) ? mean_gradient(q, log_integral, grad) : status;
}

poe_status poei_marginal_integral(poei_line *line, double *value, double *grad) {
  size_t start = poe_scratch_mark(line->scratch);
  integral q = {.line = line};
  q.cell = poe_scratch_bytes(line->scratch, CELLS * sizeof *q.cell);
  q.u = poe_scratch_doubles(line->scratch, POEI_LINE_ROWS);
  q.g = poe_scratch_doubles(line->scratch, POEI_LINE_ROWS);
  q.slope = poe_scratch_doubles(line->scratch, POEI_LINE_ROWS);
  if (grad != NULL) {
    memset(grad, 0, (line->self->wide - 1) * sizeof *grad);
  }
  poe_status status = integrate(&q, value, grad);
  poe_scratch_release(line->scratch, start);
  return status;
}
