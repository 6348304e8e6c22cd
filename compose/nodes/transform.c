/* A density over unconstrained coordinates u: log p(x(u)) + log |dx/du|, coordinate by coordinate.
 *
 *   (-inf, inf)   x = u                                  log dx/du = 0
 *   (low, inf)    x = low + e^u                          log dx/du = u
 *   (-inf, high)  x = high - e^u                         log |dx/du| = u
 *   (low, high)   x = low + (high - low) / (1 + e^-u)    log dx/du = log(high - low) - |u| - 2 log(1 + e^-|u|)
 *   simplex       stick-breaking by u_0 .. u_{k-2} (sticks.c); u_{k-1} is standard normal and changes nothing, so that
 *                 rows keep their length and log Z its value
 *   discrete      x = u
 *
 * Applied once, at the root; weights and powers inside never see the Jacobian. However extreme u is, x stays strictly
 * inside open ends (where rounding would put it on the end it takes the next double) and finite, and the Jacobian does
 * not overflow. The variant without Jacobian serves factors of a density whose Jacobian is counted elsewhere.
 *
 * A half-line has no scale, and e^u none either: x of order 1e-6 and 1e6 look the same but for a shift of u, and power
 * tails become exponential ones. Measured with hmc at default lengths, the softplus x = low + log(1 + e^u) gives 2 to 4
 * times the effective draws per gradient where x is of order 1 and its tail is light (exp makes a wall of it), but
 * every run fails the gate on half normals of scale 1e6 (the wall is then at the bound, of width 1), and 16 to 26 runs
 * of 40 do on x^-3 in 5 dimensions, on half Cauchy and on log normal densities of sigma 2. With e^u 2 of 800 such runs
 * do.
 */
#include <float.h>
#include <string.h>

#include "compose/nodes/node.h"
#include "compose/nodes/sticks.h"
#include "compose/nodes/view.h"
#include "core/alloc.h"
#include "core/numerics.h"

typedef enum warp_kind { IDENTITY, ABOVE, BELOW, BETWEEN, STICKS } warp_kind;

enum { IDLE_DRAW = 0x49444c45 }; /* address of the draws of idle coordinates: no child has so high a number */

typedef struct warp {
  warp_kind kind;
  double low, high;       /* the ends                                     */
  double lowest, highest; /* the extreme doubles x may take               */
  double log_width;       /* BETWEEN                                      */
  size_t sticks;          /* STICKS: numbers of the simplex that begins here, 0 inside of one */
} warp;

typedef struct transform {
  poei_node node;
  bool jacobian, identity; /* identity: every coordinate is left as it is */
  warp *warp;              /* [dim] */
  poe_support *given;      /* [dim] the support transformed by */
} transform;

/* ---- one coordinate ---- */

static warp warp_of(const poe_support *support) {
  if (support->kind == POE_DISCRETE) {
    return (warp){.kind = IDENTITY};
  }
  if (support->kind != POE_CONTINUOUS) {
    return (warp){.kind = STICKS};
  }
  bool low = isfinite(support->low), high = isfinite(support->high);
  warp w = {.kind = low && high ? BETWEEN
                    : low       ? ABOVE
                    : high      ? BELOW
                                : IDENTITY,
            .low = support->low,
            .high = support->high,
            .lowest = -DBL_MAX,
            .highest = DBL_MAX};
  if (low) {
    w.lowest = support->low_open ? nextafter(support->low, INFINITY) : support->low;
  }
  if (high) {
    w.highest = support->high_open ? nextafter(support->high, -INFINITY) : support->high;
  }
  w.log_width = w.kind == BETWEEN ? log(support->high - support->low) : 0.0;
  return w;
}

static double warp_constrain(const warp *w, double u) {
  double x = u;
  switch (w->kind) {
  case IDENTITY:
    return u;
  case ABOVE:
    x = w->low + exp(u);
    break;
  case BELOW:
    x = w->high - exp(u);
    break;
  case BETWEEN: /* measured from the nearer end, where digits are needed */
    x = u < 0.0 ? w->low + (w->high - w->low) * (exp(u) / (1.0 + exp(u)))
                : w->high - (w->high - w->low) * (exp(-u) / (1.0 + exp(-u)));
    break;
  case STICKS:
    break;
  }
  return x < w->lowest ? w->lowest : x > w->highest ? w->highest : x; /* NaN passes */
}

static double warp_unconstrain(const warp *w, double x) {
  switch (w->kind) {
  case ABOVE:
    return log(fmax(x - w->low, DBL_MIN));
  case BELOW:
    return log(fmax(w->high - x, DBL_MIN));
  case BETWEEN:
    return log(fmax(x - w->low, DBL_MIN)) - log(fmax(w->high - x, DBL_MIN));
  case IDENTITY:
  case STICKS:
    break;
  }
  return x;
}

/* log |dx/du|, its derivative in u, and dx/du. */
static void warp_slopes(const warp *w, double u, double *log_slope, double *curvature, double *slope) {
  *log_slope = 0.0;
  *curvature = 0.0;
  *slope = 1.0;
  if (w->kind == ABOVE || w->kind == BELOW) {
    *log_slope = u;
    *curvature = 1.0;
    *slope = w->kind == ABOVE ? exp(u) : -exp(u);
  } else if (w->kind == BETWEEN) {
    *log_slope = w->log_width - fabs(u) - 2.0 * log1p(exp(-fabs(u)));
    *curvature = -tanh(0.5 * u);
    *slope = exp(*log_slope);
  }
}

/* ---- rows ---- */

/* x[dim] of u[dim], and back; in place is allowed. */
static void constrain_row(const transform *self, const double *u, double *x) {
  size_t dim = self->node.traits.dim;
  for (size_t j = 0, step; j < dim; j += step) {
    size_t k = self->warp[j].sticks;
    step = k > 0 ? k : 1;
    if (k > 0) {
      poei_sticks_break(k, &u[j], &x[j]);
    } else {
      x[j] = warp_constrain(&self->warp[j], u[j]);
    }
  }
}

static void unconstrain_row(const transform *self, const double *x, double *u) {
  size_t dim = self->node.traits.dim;
  for (size_t j = 0, step; j < dim; j += step) {
    size_t k = self->warp[j].sticks;
    step = k > 0 ? k : 1;
    if (k > 0) {
      poei_sticks_join(k, &x[j], &u[j]);
      u[j + k - 1] = 0.0;
    } else {
      u[j] = warp_unconstrain(&self->warp[j], x[j]);
    }
  }
}

/* ---- slots ---- */

static void transform_destroy(void *state) {
  transform *self = state;
  poei_free(self->warp);
  poei_free(self->given);
  poei_node_free(&self->node);
}

static size_t transform_scratch(const void *state, unsigned want, size_t n) {
  const transform *self = state;
  size_t bytes = poei_child_scratch(self->node.child[0], want, n);
  if (self->identity || (want & POE_WANT_SAMPLE) != 0) {
    return bytes;
  }
  size_t block = poe_scratch_need(n * self->node.traits.dim, sizeof(double));
  return bytes + block + ((want & POE_WANT_GRAD) != 0 ? block : 0);
}

/* log |dx/du| of one simplex and the density of its idle coordinate; takes slope[k] in x, and theirs, to grad[k]. */
static double pull_sticks(const transform *self, size_t k, const double *u, const double *x, const double *slope,
                          double w, double *grad) {
  double idle = u[k - 1], wanted = self->jacobian ? w : 0.0;
  if (grad != NULL) {
    poei_sticks_pull(k, u, x, slope, wanted, grad);
    grad[k - 1] -= wanted == 0.0 ? 0.0 : wanted * idle;
  }
  return poei_sticks_log_slope(k, u) - 0.5 * (idle * idle + POEI_LOG_2PI);
}

/* The same of one coordinate; along: the slope in x. */
static double pull_warp(const transform *self, const warp *by, double u, double along, double w, double *grad) {
  double log_slope, curvature, slope;
  warp_slopes(by, u, &log_slope, &curvature, &slope);
  if (grad != NULL) {
    *grad += (along == 0.0 ? 0.0 : along * slope) + (self->jacobian ? w * curvature : 0.0);
  }
  return log_slope;
}

/* Adds the Jacobian, and takes the child's gradient[n, d] at x[n, d] from x to u. */
static void pull_back(const transform *self, poe_rows u, const double *x, poe_weights weights, poe_accum out,
                      const double *grad) {
  for (size_t i = 0; i < u.n; i++) {
    double total = 0.0, w = weights.w[i * weights.inc];
    const double *from = &u.x[i * u.ld];
    for (size_t j = 0, step; j < u.d; j += step) {
      size_t k = self->warp[j].sticks, at = i * u.d + j;
      double *to = out.grad == NULL ? NULL : &out.grad[i * out.ldg + j];
      const double *slope = grad == NULL ? NULL : &grad[at];
      step = k > 0 ? k : 1;
      total += k > 0 ? pull_sticks(self, k, &from[j], &x[at], slope, w, to)
                     : pull_warp(self, &self->warp[j], from[j], slope == NULL ? 0.0 : *slope, w, to);
    }
    if (self->jacobian) {
      poe_accum_value(&out.logp[i], w, total);
    }
  }
}

static poe_status transform_eval_add(const void *state, poe_rows rows, poe_weights weights, poe_accum out,
                                     poe_scratch *scratch, poe_error *error) {
  const transform *self = state;
  if (self->identity) {
    return poei_child_eval(self->node.child[0], rows, weights, out, scratch, error);
  }
  size_t mark = poe_scratch_mark(scratch), size = rows.n * rows.d, d = rows.d;
  double *x = poe_scratch_doubles(scratch, size);
  for (size_t i = 0; i < rows.n; i++) {
    constrain_row(self, &rows.x[i * rows.ld], &x[i * d]);
  }
  poe_accum part = {.logp = out.logp, .ldg = d};
  if (out.grad != NULL) {
    part.grad = poe_scratch_doubles(scratch, size);
    memset(part.grad, 0, size * sizeof(double));
  }
  poe_status status = poei_child_eval(self->node.child[0], (poe_rows){rows.n, d, d, x}, weights, part, scratch, error);
  if (status == POE_OK) {
    pull_back(self, rows, x, weights, out, part.grad);
  }
  poe_scratch_release(scratch, mark);
  return status;
}

static poe_status transform_sample(const void *state, poe_rows_out rows, const poe_rng *at, poe_scratch *scratch,
                                   poe_error *error) {
  const transform *self = state;
  poe_status status = poe_expert_sample(self->node.child[0], rows, at, scratch, error);
  for (size_t i = 0; i < rows.n && status == POE_OK; i++) {
    double *row = &rows.x[i * rows.ld];
    unconstrain_row(self, row, row);
    poe_stream idle = poe_stream_open(poe_rng_child(at[i], IDLE_DRAW));
    for (size_t j = 0; j < rows.d; j++) {
      if (self->warp[j].sticks > 0) {
        row[j + self->warp[j].sticks - 1] = poe_stream_normal(&idle);
      }
    }
  }
  return status;
}

static poe_status transform_log_z(const void *state, double *log_z, poe_error *error) {
  return poe_expert_log_z(((const transform *)state)->node.child[0], log_z, error);
}

static poe_status transform_form(const void *state, poe_form *form, poe_error *error) {
  return poe_expert_form(((const transform *)state)->node.child[0], form, error);
}

static const poe_param no_params[] = {{0}};

static const poe_expert_ops transform_ops = {
    .struct_size = sizeof(poe_expert_ops),
    .kind = "transform",
    .doc = "a density in unconstrained coordinates",
    .params = no_params,
    .create = poei_node_create,
    .destroy = transform_destroy,
    .traits = poei_node_traits,
    .scratch = transform_scratch,
    .eval_add = transform_eval_add,
    .sample = transform_sample,
    .log_z = transform_log_z,
    .form = transform_form,
    .local = &poei_node_local,
};

/* ---- making and looking in ---- */

/* Have all leaves with discrete coordinates a single-site view of their own? What is made of them may have one without
 * that, by evaluating them row by row. */
static bool sites_answer(const poe_expert *expert) {
  const poe_traits *traits = poe_expert_traits(expert);
  for (size_t i = 0; i < poei_node_child_count(expert); i++) {
    if (!sites_answer(poei_node_child(expert, i))) {
      return false;
    }
  }
  bool discrete = false;
  for (size_t j = 0; j < traits->dim; j++) {
    discrete = discrete || traits->support[j].kind == POE_DISCRETE;
  }
  return !discrete || poei_expert_can(expert, POE_CAN_LOCAL);
}

static poe_status view_sites(transform *self, poe_error *error) {
  poei_view_term whole = {self->node.child[0], 1.0, NULL, NULL};
  poe_status status = poei_node_view(&self->node, 1, &whole, NULL, false, error);
  self->node.traits.capabilities &= ~(unsigned)POE_CAN_ONEHOT;
  return status;
}

static poe_status set_traits(transform *self, poe_error *error) {
  const poe_expert *child = self->node.child[0];
  const poe_traits *traits = poe_expert_traits(child);
  const unsigned char *touch = poei_node_touch(child);
  self->identity = true;
  bool covers = true;
  for (size_t j = 0; j < traits->dim; j++) {
    if (traits->support[j].kind == POE_DISCRETE && self->given[j].kind != POE_DISCRETE) {
      poe_error_set(error, POE_E_CAPABILITY, "coordinate %zu is discrete: it has no unconstrained form", j);
      return POE_E_CAPABILITY;
    }
    if (self->given[j].kind == POE_DISCRETE) {
      self->node.support[j] = self->given[j];
    }
    bool stick = j > 0 && (self->given[j - 1].kind == POE_SIMPLEX || self->given[j - 1].kind == POE_SIMPLEX_NEXT);
    if (self->given[j].kind == POE_SIMPLEX_NEXT && !stick) {
      return poe_error_set(error, POE_E_CAPABILITY, "coordinate %zu is part of a simplex without its first", j);
    }
    self->warp[j] = warp_of(&self->given[j]);
    self->warp[j].sticks = poei_simplex_at(traits->dim, self->given, j);
    self->identity = self->identity && self->warp[j].kind == IDENTITY;
    covers = covers && poei_support_covers(&self->given[j], &traits->support[j]);
    bool sticks = self->warp[j].kind == STICKS; /* a number depends on all sticks before it */
    self->node.touch[j] = touch == NULL || touch[j] || sticks || (self->jacobian && self->warp[j].kind != IDENTITY);
  }
  unsigned own =
      traits->capabilities & ~(unsigned)(POE_CAN_STRUCTURE | POE_CAN_LOCAL | POE_CAN_ONEHOT | POE_CAN_PREFIX);
  if (!self->identity) {
    own &= ~(unsigned)POE_CAN_FORM;
  }
  if (!self->identity && !(self->jacobian && covers)) {
    own &= ~(unsigned)(POE_CAN_SAMPLE | POE_CAN_LOG_Z);
  } else if (traits->head != NULL) {
    memcpy(self->node.head, traits->head, traits->dim);
  }
  poei_node_publish_head(&self->node);
  self->node.traits.capabilities = own;
  self->node.traits.offset_error = traits->offset_error;
  return self->identity && sites_answer(child) ? view_sites(self, error) : POE_OK;
}

poe_status poei_transform_create_over(const poe_expert *child, const poe_support *support, bool jacobian,
                                      poe_expert **out, poe_error *error) {
  size_t dim = poe_expert_traits(child)->dim;
  transform *self = poei_node_new(sizeof *self, dim, 1, &child, error);
  if (self == NULL) {
    return POE_E_MEMORY;
  }
  self->jacobian = jacobian;
  self->warp = poei_alloc(dim, sizeof *self->warp);
  self->given = poei_copy(support, dim, sizeof *support);
  poe_status status = self->warp == NULL || self->given == NULL ? poe_error_set(error, POE_E_MEMORY, "out of memory")
                                                                : set_traits(self, error);
  if (status != POE_OK) {
    transform_destroy(self);
    return status;
  }
  return poei_node_wrap(&transform_ops, self, out, error);
}

poe_status poei_transform_create(const poe_expert *child, poe_expert **out, poe_error *error) {
  return poei_transform_create_over(child, poe_expert_traits(child)->support, true, out, error);
}

void poei_transform_constrain(const poe_expert *expert, size_t n, const double *u, size_t ldu, double *x, size_t ldx) {
  const transform *self = poe_expert_self(expert);
  for (size_t i = 0; i < n; i++) {
    constrain_row(self, &u[i * ldu], &x[i * ldx]);
  }
}

void poei_transform_unconstrain(const poe_expert *expert, size_t n, const double *x, size_t ldx, double *u,
                                size_t ldu) {
  const transform *self = poe_expert_self(expert);
  for (size_t i = 0; i < n; i++) {
    unconstrain_row(self, &x[i * ldx], &u[i * ldu]);
  }
}

static poe_status transform_rebuild(const poei_node *node, const poe_expert *const *children, poe_expert **out,
                                    poe_error *error) {
  const transform *self = (const transform *)node;
  return poei_transform_create_over(children[0], self->given, self->jacobian, out, error);
}

const poei_node_look poei_transform_look = {&transform_ops, "transform", transform_rebuild};
