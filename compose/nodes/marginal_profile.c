/* The maximum along one latent coordinate of a row (marginal.h), and its gradient by the envelope theorem:
 *
 *   v(x) = max_h f(x, h) = f(x, h*(x)),    dv/dx = df/dx at (x, h*)    (Milgrom and Segal 2002, theorem 1)
 *
 * Every peak that looking found is narrowed as far as values tell points apart, which leaves h* uncertain by the square
 * root of rounding; where f is smooth two secant steps on df/dh take that away. Finite ends of the support, where f
 * need not be flat, are looked at themselves; an open end stands for its limit.
 */
#include "compose/nodes/marginal.h"

static const double finest = 1e-15;     /* of a value, relative             */
static const double secant = 1e-4;      /* of the distance of its two points to the width of the peak */
static const double same_value = 1e-12; /* that a secant step may lose to rounding                   */

/* Two secant steps on df/du from the peak *u of height *value, where df/dh is known. */
static poe_status polish(poei_line *line, double width, double *u, double *value) {
  const poei_marginal *self = line->self;
  if (line->grad == NULL || !poei_expert_can(self->inner, POE_CAN_GRADIENT)) {
    return POE_OK;
  }
  for (int k = 0; k < 2; k++) {
    double delta = secant * width, h[2] = {poei_warp_h(&self->warp, *u), poei_warp_h(&self->warp, *u + delta)};
    poe_status status = poei_line_at(line, 2, h, true);
    if (status != POE_OK) {
      return status;
    }
    bool whole = isinf(self->warp.low) && isinf(self->warp.high);
    double slope = whole ? 1.0 : exp(poei_warp_log_slope(&self->warp, *u));
    double slope_on = whole ? 1.0 : exp(poei_warp_log_slope(&self->warp, *u + delta));
    double here = line->grad[self->at] * slope, on = line->grad[self->wide + self->at] * slope_on;
    double next = *u - here * delta / (on - here), found;
    if (!(fabs(next - *u) < width)) { /* a kink, or no number */
      return POE_OK;
    }
    status = poei_line_values(line, 1, &next, &found);
    if (status != POE_OK || !(found >= *value - same_value * fmax(1.0, fabs(*value)))) {
      return status;
    }
    *u = next;
    *value = fmax(found, *value);
  }
  return POE_OK;
}

/* A finite end of the support may be the best place. */
static poe_status try_ends(poei_line *line, double *h, double *value) {
  const poei_warp *w = &line->self->warp;
  double end[2];
  size_t n = 0;
  if (isfinite(w->low)) {
    end[n++] = w->least;
  }
  if (isfinite(w->high)) {
    end[n++] = w->most;
  }
  poe_status status = n == 0 ? POE_OK : poei_line_at(line, n, end, false);
  for (size_t i = 0; i < n && status == POE_OK; i++) {
    if (line->value[i] > *value) {
      *value = line->value[i];
      *h = end[i];
    }
  }
  return status;
}

poe_status poei_marginal_profile(poei_line *line, double *value, double *grad) {
  const poei_marginal *self = line->self;
  poei_mode modes[POEI_LINE_MODES], *best = NULL;
  double width[POEI_LINE_MODES], u = 0.0, h = NAN;
  size_t n = 0;
  *value = -INFINITY;
  poe_status status = poei_line_modes(line, modes, &n);
  for (size_t k = 0; k < n; k++) {
    width[k] = 0.5 * (modes[k].b - modes[k].a);
  }
  if (status == POE_OK) {
    status = poei_line_narrow(line, n, modes, finest);
  }
  for (size_t k = 0; k < n; k++) {
    best = best == NULL || modes[k].gm > best->gm ? &modes[k] : best;
  }
  if (status == POE_OK && best != NULL) {
    u = best->m;
    *value = best->gm;
    status = polish(line, width[best - modes], &u, value);
    h = poei_warp_h(&self->warp, u);
  }
  if (status == POE_OK) {
    status = try_ends(line, &h, value);
  }
  if (line->bad != 0.0) {
    *value = line->bad;
  }
  if (grad != NULL) {
    for (size_t j = 0; j + 1 < self->wide; j++) {
      grad[j] = 0.0;
    }
  }
  if (status == POE_OK && grad != NULL && isfinite(*value)) {
    status = poei_line_at(line, 1, &h, true);
    for (size_t j = 0; j + 1 < self->wide && status == POE_OK; j++) {
      grad[j] = line->grad[self->inner_free[j]];
    }
  }
  return status;
}
